"""Folders of the items' images beside a log."""

from pathlib import Path

_NAMES = ("images", "covers", "posters")
_ENDINGS = ("_cover", "_covers")


def image_folder(folder: Path) -> Path | None:
    """The folder's ``images/``, ``covers/``, ``posters/`` or ``<something>_cover(s)/``, the first in this order."""
    named = [folder / name for name in _NAMES]
    rest = sorted(path for path in folder.glob("*") if path.name.endswith(_ENDINGS))
    return next((path for path in [*named, *rest] if path.is_dir()), None)
