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
_FAR = 2
"""How many times the number of items the highest id is at least where ids are far from counting rows."""
_STRAYS = 0.1
"""Share of the files that are no item, at which numbers that could be rows are taken for them."""
_COMPARED = 64
"""Files whose bytes are looked for in the folders beside theirs."""
_TWINS = 3
"""Files found there under a higher number, at which the names are doubted."""
_SAYING = "images.named_by=id (without a vision model filter.with_image=id) says that they are"


@dataclass(frozen=True)
class Covers:
    """Image files of a catalogue.

    ``files``: by item index, None where an item has no image; entry 0 belongs to the padding. ``notes``: what a run
    tells of items without an image and of files without an item. ``doubt``: what cannot be told of the names, "" if
    nothing.
    """

    files: list[Path | None]
    notes: tuple[str, ...]
    doubt: str = ""


def find(
    item_ids: Sequence[str],
    folder: Path,
    named_by: NamedBy = "auto",
    *,
    others: Sequence[str] = (),
    needed: bool = True,
) -> Covers:
    """Joins files named ``<item_id>.<ending>`` to items; the ending says that it is an image, in any case of letters.

    Of several files of an item the first counts: files of a folder before those of its sub-folders, each in the order
    of their names.

    Images are often numbered by the row of some table, and where items have numbers for ids too such names join without
    an error and show other items. With ``auto`` this is refused where it can be seen, which is

    - in the names: they are whole numbers that fill 0 or 1 to the highest (to 90 %), at least one is no item, and the
      catalogue goes on beyond the highest or, starting at 0, begins before them. Ids that fill their range would do so
      from the first item to the last;
    - in the names and the number of items: none is above it, a tenth is no item, and ids go to more than twice as far.
      Of such ids hardly any would be so low;
    - in a folder beside this one: at least three files have the same bytes as those of other items there, and all of
      them a higher number there. The row of an item in a table that is sorted by id is never above its id, and seldom
      in another table, so the lower numbers are the rows. At most about a hundred files are compared.

    It cannot be seen where a few files of a numbering are there, all of whose numbers happen to be ids, and no other
    folder, which is told as a doubt; nor where ids without gaps were sorted in another way.

    Args:
        item_ids: by item index; entry 0 belongs to the padding.
        folder: of the images, looked through with its sub-folders.
        named_by: ``id`` says that the names are item ids and are to be believed.
        others: ids of the rest of the catalogue, whose images may lie there too.
        needed: whether one item at least must have an image.

    Raises:
        DataError: no such folder; no image in it, or none named after an item, where one is needed; names that count
            rows.
    """
    if not folder.is_dir():
        raise DataError(f"the folder of images {folder} {'is a file' if folder.exists() else 'does not exist'}")
    images, rest = files_in(folder)
    if needed and not images:
        ways = f"; it holds {_some(rest)}" if rest else ""
        raise DataError(f"{folder} holds no image ({', '.join(sorted(ENDINGS))}), nor do its sub-folders{ways}")
    by_name: dict[str, list[Path]] = {}
    for path in images:
        by_name.setdefault(path.stem, []).append(path)
    if needed and by_name.keys().isdisjoint(item_ids[1:]):
        raise DataError(
            f"none of the {len(images):,} images in {folder} is named after an item: images are {_some(by_name)}, "
            f"items {_some(item_ids[1:])}; an image of item {item_ids[1]!r} must be {item_ids[1]}.jpg, say"
        )
    known = {*item_ids[1:], *others}
    doubt = _doubt(by_name, known, folder) if named_by == "auto" else ""
    files = [None, *(by_name.get(item, [None])[0] for item in item_ids[1:])]
    strays = [path.name for name, paths in by_name.items() if name not in known for path in paths]
    return Covers(files, tuple(_told(item_ids, by_name, strays, rest, folder)), doubt)


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


def _told(
    item_ids: Sequence[str], by_name: dict[str, list[Path]], strays: list[str], rest: list[str], folder: Path
) -> Iterator[str]:
    lacking = [item for item in item_ids[1:] if item not in by_name]
    if lacking:
        yield f"{len(lacking):,} of {len(item_ids) - 1:,} items have no image in {folder}, such as {_some(lacking)}"
    if strays:
        yield f"{len(strays):,} images in {folder} belong to no item, such as {_some(strays)}"
    own = set(item_ids[1:])
    twice = [paths for name, paths in by_name.items() if name in own and len(paths) > 1]
    if twice:
        first, second = twice[0][:2]
        yield f"{len(twice):,} items have several images, and the first counts: {first}, say, and not {second}"
    if rest:
        yield f"{len(rest):,} files in {folder} are no images by their ending, such as {_some(rest)}"


def _doubt(by_name: dict[str, list[Path]], known: set[str], folder: Path) -> str:
    """Raises DataError if the names count the rows of a table, and says if they may; see :func:`find`."""
    numbers, ids = _numbers(by_name), _numbers(known)
    if not numbers or len(numbers) < _FILLED * len(by_name) or not ids:
        return ""
    if len(numbers) >= _FEW and (because := _counting(numbers, ids, len(known)) or _beneath(by_name, known, folder)):
        raise DataError(
            f"the images in {folder} seem to be numbered by the rows of a table and not by item ids: {because}. Name "
            f"them after the items; {_SAYING}"
        )
    shown = numbers & ids
    # There are no more rows than items, and where ids are no higher either, row and id may well be the same.
    if not shown or max(numbers) > len(known) or max(ids) <= len(known):
        return ""
    last = str(max(shown))
    return (
        f"the {len(numbers):,} images in {folder} are named by numbers, which may be item ids or rows of a table, and "
        f"nothing tells which: see whether {by_name[last][0]} shows item {last!r}; {_SAYING}"
    )


def _numbers(names: Iterable[str]) -> set[int]:
    """What names count that are whole numbers written as such."""
    return {int(name) for name in names if name.isascii() and name.isdecimal() and str(int(name)) == name}


def _counting(numbers: set[int], ids: set[int], rows: int) -> str:
    """What shows that the numbers count rows, of which there are as many as items; "" if nothing does."""
    lowest, highest, strays = min(numbers), max(numbers), numbers - ids
    filled = len(numbers) >= _FILLED * (highest + 1 - min(1, lowest))
    elsewhere = max(ids) > highest or min(ids) == 0 < lowest
    far = highest <= rows and max(ids) > _FAR * rows and len(strays) >= _STRAYS * len(numbers)
    if not strays or not (far or (filled and elsewhere)):
        return ""
    what = f"fill {lowest} to {highest:,}" if filled else f"are at most {rows:,}, the number of items"
    return (
        f"they {what}, {len(strays):,} of them, such as {_some(map(str, sorted(strays)))}, are no item, and items go "
        f"from {min(ids)} to {max(ids):,}"
    )


def _beneath(by_name: dict[str, list[Path]], known: set[str], folder: Path) -> str:
    """What shows that the numbers are below the ids of the same images; "" if nothing does."""
    twins = _higher_twins(by_name, known, folder)
    if not twins:
        return ""
    here, there = twins[0]
    return f"{len(twins)} of them lie in a folder beside it under higher numbers, such as {here} as {there}"


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
