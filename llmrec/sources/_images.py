"""Folders of the items' images beside a log: which folder it is, and which items have none."""

from pathlib import Path

import polars as pl

from llmrec.covers import files_in
from llmrec.sources._tables import note

_NAMES = ("images", "covers", "cover", "posters")
_ENDINGS = ("_cover", "_covers")


def image_folder(folder: Path) -> Path | None:
    """The folder's ``images/``, ``cover(s)/`` or ``posters/``, the first in this order, else ``<something>_cover(s)/``
    if it is the only one: of several it cannot be told whose they are."""
    rest = [path for path in folder.glob("*") if path.name.endswith(_ENDINGS) and path.is_dir()]
    return plain_folder(folder) or (rest[0] if len(rest) == 1 else None)


def plain_folder(folder: Path) -> Path | None:
    """The same of names that stand for nothing else."""
    return next((path for path in (folder / name for name in _NAMES) if path.is_dir()), None)


def image_notes(ids: pl.Series, images: Path | None) -> list[str]:
    """Which items have no image, and how many images are of no item; the images themselves are not opened.

    Args:
        ids: of the items; an image is named after one, ``<item_id>.jpg``, and may lie in a folder inside.
        images: the folder, if there is one.
    """
    if images is None:
        return []
    found = {path.stem for path in files_in(images)[0]}
    strangers = len(found.difference(ids))
    notes = note(ids, ~ids.is_in(sorted(found)), f"no image in {images.name}/")
    return [*notes, f"{images.name}/: {strangers} images are named after no item"] if strangers else notes
