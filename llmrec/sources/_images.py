"""Folders of the items' images beside a log: which folder it is, and which items have none."""

from pathlib import Path

import polars as pl

from llmrec.covers import ENDINGS
from llmrec.sources._tables import note

_NAMES = ("images", "covers", "cover", "posters")
_ENDINGS = ("_cover", "_covers")


def image_folder(folder: Path) -> Path | None:
    """The folder's ``images/``, ``cover(s)/``, ``posters/`` or ``<something>_cover(s)/``, the first in this order."""
    named = [folder / name for name in _NAMES]
    rest = sorted(path for path in folder.glob("*") if path.name.endswith(_ENDINGS))
    return next((path for path in [*named, *rest] if path.is_dir()), None)


def image_notes(ids: pl.Series, images: Path | None) -> list[str]:
    """Which items have no image, and how many images are of no item; the images themselves are not opened.

    Args:
        ids: of the items; an image is named after one, ``<item_id>.jpg``, and may lie in a folder inside.
        images: the folder, if there is one.
    """
    if images is None:
        return []
    found = {path.stem for path in images.rglob("*") if path.suffix.lower() in ENDINGS}
    strangers = len(found.difference(ids))
    notes = note(ids, ~ids.is_in(sorted(found)), f"no image in {images.name}/")
    return [*notes, f"{images.name}/: {strangers} images are named after no item"] if strangers else notes
