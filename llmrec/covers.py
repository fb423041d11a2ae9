"""Which image file shows each item, by its name."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

from llmrec.errors import DataError

ENDINGS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp"})
NamedBy = Literal["auto", "id"]

_LISTED = 3
"""Names that a note or an error shows."""
_FEW = 5
"""Fewer files than this are not taken for a numbering."""
_FILLED = 0.9
"""Share of the numbers up to the highest that files bear if they count rows, of which a few may have failed."""
_COMPARED = 64
"""Files whose bytes are looked for in the folders beside theirs."""
_TWINS = 3
"""Files found there under a higher number, at which the names are doubted."""


@dataclass(frozen=True)
class Covers:
    """Image files of a catalogue.

    ``files``: by item index, None where an item has no image; entry 0 belongs to the padding. ``notes``: what a run
    tells of items without an image and of files without an item.
    """

    files: list[Path | None]
    notes: tuple[str, ...]


def find(item_ids: Sequence[str], folder: Path, named_by: NamedBy = "auto") -> Covers:
    """Joins files named ``<item_id>.<ending>`` to items; the ending says that it is an image, in any case of letters.

    Of several files of an item the first counts: files of a folder before those of its sub-folders, each in the order
    of their names.

    Images are often numbered by the row of some table, and where items have numbers for ids too such names join without
    an error and show other items. With ``auto`` this is refused where it can be seen, which is

    - in the names: they are whole numbers that fill 0 or 1 to the highest (to 90 %), at least one is no item, and the
      catalogue goes on beyond the highest or, starting at 0, begins before them. Ids that fill their range would do so
      from the first item to the last;
    - in a folder beside this one: at least three files have the same bytes as those of other items there, and all of
      them a higher number there. The row of an item in a table that is sorted by id is never above its id, and seldom
      in another table, so the lower numbers are the rows. At most about a hundred files are compared.

    It cannot be seen where a few files of a numbering are there, all of whose numbers happen to be ids, and no other
    folder; nor where ids without gaps were sorted in another way.

    Args:
        item_ids: by item index; entry 0 belongs to the padding.
        folder: of the images, looked through with its sub-folders.
        named_by: ``id`` says that the names are item ids and are to be believed.

    Raises:
        DataError: no such folder; no image in it; none named after an item; names that count rows.
    """
    if not folder.is_dir():
        raise DataError(f"the folder of images {folder} {'is a file' if folder.exists() else 'does not exist'}")
    images, others = files_in(folder)
    if not images:
        ways = f"; it holds {_some(others)}" if others else ""
        raise DataError(f"{folder} holds no image ({', '.join(sorted(ENDINGS))}), nor do its sub-folders{ways}")
    by_name: dict[str, list[Path]] = {}
    for path in images:
        by_name.setdefault(path.stem, []).append(path)
    known = set(item_ids[1:])
    if known.isdisjoint(by_name):
        raise DataError(
            f"none of the {len(images):,} images in {folder} is named after an item: images are {_some(by_name)}, "
            f"items {_some(item_ids[1:])}; an image of item {item_ids[1]!r} must be {item_ids[1]}.jpg, say"
        )
    if named_by == "auto":
        _refuse_rows(by_name, known, folder)
    files = [None, *(by_name.get(item, [None])[0] for item in item_ids[1:])]
    return Covers(files, tuple(_told(item_ids, by_name, others, folder)))


def is_empty(folder: Path) -> bool:
    """Whether a folder that exists has no image, nor have its sub-folders."""
    return folder.is_dir() and not files_in(folder)[0]


def files_in(folder: Path) -> tuple[list[Path], list[str]]:
    """Images in the order in which they count, and the names of all other files.

    Raises:
        DataError: a sub-folder that cannot be read.
    """
    images, others = [], []

    def refuse(error: OSError) -> None:
        raise DataError(f"{error.filename} cannot be looked through: {error.strerror}")

    for place, below, names in os.walk(folder, onerror=refuse, followlinks=True):
        below.sort()
        for name in sorted(names):
            path = Path(place, name)
            if path.suffix.lower() in ENDINGS:
                images.append(path)
            else:
                others.append(name)
    return images, others


def _told(item_ids: Sequence[str], by_name: dict[str, list[Path]], others: list[str], folder: Path) -> Iterator[str]:
    lacking = [item for item in item_ids[1:] if item not in by_name]
    if lacking:
        yield f"{len(lacking):,} of {len(item_ids) - 1:,} items have no image in {folder}, such as {_some(lacking)}"
    known = set(item_ids[1:])
    strays = [path.name for name, paths in by_name.items() if name not in known for path in paths]
    if strays:
        yield f"{len(strays):,} images in {folder} belong to no item, such as {_some(strays)}"
    twice = [paths for name, paths in by_name.items() if name in known and len(paths) > 1]
    if twice:
        first, second = twice[0][:2]
        yield f"{len(twice):,} items have several images, and the first counts: {first}, say, and not {second}"
    if others:
        yield f"{len(others):,} files in {folder} are no images by their ending, such as {_some(others)}"


def _refuse_rows(by_name: dict[str, list[Path]], known: set[str], folder: Path) -> None:
    """Raises DataError if the names count the rows of a table; see :func:`find`."""
    numbers, ids = _numbers(by_name), _numbers(known)
    if len(numbers) < max(_FEW, _FILLED * len(by_name)) or not ids:
        return
    because = ""
    if strays := _strays_of_rows(numbers, ids):
        because = (
            f"they fill {min(numbers)} to {max(numbers):,}, {len(strays):,} of them, such as "
            f"{_some(map(str, sorted(strays)))}, are no item, and items go from {min(ids)} to {max(ids):,}"
        )
    elif twins := _higher_twins(by_name, known, folder):
        here, there = twins[0]
        because = f"{len(twins)} of them lie in a folder beside it under higher numbers, such as {here} as {there}"
    if because:
        raise DataError(
            f"the images in {folder} seem to be numbered by the rows of a table and not by item ids: {because}. Name "
            "them after the items; images.named_by=id (without a vision model filter.with_image=id) says that they are"
        )


def _numbers(names: Iterable[str]) -> set[int]:
    """What names count that are whole numbers written as such."""
    return {int(name) for name in names if name.isascii() and name.isdecimal() and str(int(name)) == name}


def _strays_of_rows(numbers: set[int], ids: set[int]) -> set[int]:
    """Numbers that are no item, if the numbers are a range with hardly a gap that is not the range of the ids."""
    lowest, highest = min(numbers), max(numbers)
    filled = len(numbers) >= _FILLED * (highest + 1 - min(1, lowest))
    elsewhere = max(ids) > highest or min(ids) == 0 < lowest
    return numbers - ids if filled and elsewhere else set()


def _higher_twins(by_name: dict[str, list[Path]], known: set[str], folder: Path) -> list[tuple[Path, Path]]:
    """Images here and the same images beside, if all that are another item there bear a higher number."""
    numbered = sorted(_numbers(by_name))
    some = [by_name[str(number)][0] for number in numbered[:: max(1, len(numbered) // _COMPARED)]]
    by_size: dict[int, list[Path]] = {}
    try:
        for path in _beside(folder, known):
            by_size.setdefault(path.stat().st_size, []).append(path)
        twins = [(here, _same(here, by_size.get(here.stat().st_size, []))) for here in some]
    except OSError:  # what cannot be read proves nothing
        return []
    other = [(here, there) for here, there in twins if there is not None and here.stem != there.stem]
    higher = all(int(here.stem) < int(there.stem) for here, there in other)
    return other if higher and len(other) >= _TWINS else []


def _beside(folder: Path, known: set[str]) -> Iterator[Path]:
    """Images named by the number of an item that lie directly in folders beside this one."""
    here = folder.resolve()
    for each in here.parent.iterdir():
        if each.is_dir() and each != here:
            for place, _, names in islice(os.walk(each), 1):
                paths = [Path(place, name) for name in names]
                images = [path for path in paths if path.suffix.lower() in ENDINGS and path.stem in known]
                yield from (path for path in images if _numbers([path.stem]))


def _same(path: Path, others: list[Path]) -> Path | None:
    """The one file with the same bytes; None if there are several, as of a picture that stands for missing ones."""
    content = path.read_bytes()
    same = [other for other in others if other.read_bytes() == content]
    return same[0] if len(same) == 1 else None


def _some(names: Iterable[str]) -> str:
    """The first few, quoted."""
    return ", ".join(repr(name) for name, _ in zip(names, range(_LISTED), strict=False))
