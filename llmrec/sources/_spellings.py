"""Which column of a foreign table is which: what the user says, else the usual names, never a guess."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

from llmrec.errors import DataError, nearest
from llmrec.sources._files import File, TextFile

LOG = {
    "user_id": ("user_id", "userId", "user", "uid", "reviewerID"),
    "item_id": ("item_id", "itemId", "movieId", "item", "iid", "asin"),
    "timestamp": ("timestamp", "time", "date", "unixReviewTime", "sort_timestamp"),
    "rating": ("rating", "overall"),
    "review": ("review", "reviewText"),
    "summary": ("summary",),
    "part": ("part",),
}
ITEMS = {
    "item_id": LOG["item_id"],
    "title": ("title", "name"),
    "genres": ("genres",),
    "description": ("description",),
    "image": ("image",),
    "brand": ("brand",),
    "categories": ("categories",),
    "features": ("features",),
    "tags": ("tags",),
}
USERS = {
    "user_id": LOG["user_id"],
    "gender": ("gender",),
    "age": ("age",),
    "occupation": ("occupation",),
    "zip_code": ("zip_code",),
}
_MAY_BE_ONE = {"item_id", "title"}
"""Fields that may be one column unsaid: some tables know items by their titles alone."""
_SEPARATORS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars", " ": "blanks"}


@dataclass(frozen=True)
class Wanted:
    """What is looked for in a table, and what the user said about it."""

    option: str
    """The option in which the user says which column is which."""
    spellings: dict[str, tuple[str, ...]]
    chosen: dict[str, str | int]
    needed: tuple[str, ...]


def check(
    option: str, chosen: dict[str, str | int], spellings: dict[str, tuple[str, ...]], header: bool | None
) -> None:
    """Checks a column map without a file.

    Raises:
        ValueError: a column that we do not know, or a place where names are expected.
    """
    for ours, theirs in chosen.items():
        if ours not in spellings:
            raise ValueError(f"{option}: there is no column {ours!r} here{nearest(ours, spellings)}")
        if isinstance(theirs, int) and (header is None or theirs < 1):
            raise ValueError(
                f"{option}: {ours}={theirs} is a place, counted from 1; say header: true or false with it, too"
            )


def separated(file: File, wanted: Wanted) -> tuple[File, list[str]]:
    """The file with the only separator by which line 1 has the needed columns, unless the usual one does; and a note.

    Where none or several do, the file comes back as it was, and :func:`find` says what it lacks.
    """
    if not isinstance(file, TextFile) or _fits(file, wanted):
        return file, []
    fitting = [other for separator in _SEPARATORS if _fits(other := replace(file, separator=separator), wanted)]
    if len(fitting) != 1:
        return file, []
    return fitting[0], [f"{file.path.name}: fields are separated by {_SEPARATORS[fitting[0].separator]}"]


def find(file: File, wanted: Wanted, header: bool | None) -> tuple[File, dict[str, int]]:
    """Finds the wanted columns in a file.

    Args:
        file: the table.
        wanted: what to look for.
        header: whether the first line names the columns; None: only if it names every needed one.

    Returns:
        The file, which now knows whether it has a header, and the place of each column that is there.

    Raises:
        DataError: a needed column that is not there, several that may be it, one that is another as well, or a file
            without a known header.
    """
    if isinstance(file, TextFile) and header is False:
        file = replace(file, titled=False)
    names = file.first if file.titled else [""] * len(file.first)
    found = {ours: place for ours in wanted.spellings if (place := _place(file.path, names, ours, wanted)) is not None}
    if missing := [ours for ours in wanted.needed if ours not in found]:
        raise DataError(_missing(file, missing, wanted, header))
    for one, other in combinations(found, 2):
        if (place := found[one]) == found[other] and not _may_be_one({one, other}, wanted):
            raise DataError(
                f"{file.path}: {one} and {other} are both column {place + 1} ({file.first[place]!r}); say with "
                f"{wanted.option} which column each of them is"
            )
    return file, found


def _may_be_one(pair: set[str], wanted: Wanted) -> bool:
    """Whether two fields may be read from one column: where the user says so of both, or nothing depends on it."""
    if pair == {"user_id", "item_id"}:
        return False
    return pair == _MAY_BE_ONE or pair <= wanted.chosen.keys() or pair.isdisjoint(wanted.needed)


def _fits(file: TextFile, wanted: Wanted) -> bool:
    """Whether line 1 has every needed column, by its name or its place."""
    try:
        names = file.first
    except DataError:
        return False
    return all(_stands(wanted.chosen.get(ours), wanted.spellings[ours], names) for ours in wanted.needed)


def _stands(said: str | int | None, usual: tuple[str, ...], names: list[str]) -> bool:
    if isinstance(said, int):
        return said <= len(names)
    return any(name in names for name in (usual if said is None else (said,)))


def _place(path: Path, names: list[str], ours: str, wanted: Wanted) -> int | None:
    said = wanted.chosen.get(ours)
    if isinstance(said, int):
        if said > len(names):
            raise DataError(f"{path}: {wanted.option} says that {ours} is column {said}, there are {len(names)}")
        return said - 1
    accepted = wanted.spellings[ours] if said is None else (said,)
    fitting = [place for place, name in enumerate(names) if name in accepted]
    if said is not None and not fitting:
        raise DataError(f"{path}: {wanted.option} says that {ours} is column {said!r}{nearest(said, set(names))}")
    if len(fitting) > 1:
        called = [names[place] for place in fitting]
        which = f"{wanted.option}: {{{ours}: NAME}}"
        if len(set(called)) < len(called):  # a name does not tell them apart
            places = " or ".join(str(place + 1) for place in fitting)
            which = f"header: true and {wanted.option}: {{{ours}: PLACE}}, which is {places}, counted from 1"
        raise DataError(f"{path}: {ours} may be any of the columns {', '.join(called)}; say which one with {which}")
    return fitting[0] if fitting else None


def _missing(file: File, missing: list[str], wanted: Wanted, header: bool | None) -> str:
    example = ", ".join(f"{ours}: {number}" for number, ours in enumerate(wanted.needed, 1))
    by_place = f"header: false and {wanted.option}: {{{example}}} with its places, counted from 1"
    if isinstance(file, TextFile) and header is False:
        return f"{file.path}: {' and '.join(missing)} not found; a file without a header needs {by_place}"
    expected = "; ".join(f"{ours} ({'|'.join(wanted.spellings[ours])})" for ours in missing)
    text = (
        f"{file.path}: expected columns {expected}; found {file.first}. Say which column it is with "
        f"{wanted.option}: {{{missing[0]}: NAME}}"
    )
    if not isinstance(file, TextFile):
        return text
    return f"{text}{_other_separator(file, wanted)}; if line 1 is no header, set {by_place}"


def _other_separator(file: TextFile, wanted: Wanted) -> str:
    line = file.separator.join(file.first)
    fields = {other: [name.strip() for name in line.split(other)] for other in _SEPARATORS if other != file.separator}
    likely = [other for other, names in fields.items() if _knows(names, wanted)]
    if len(file.first) == 1:  # the line is not divided, so another separator may lack needed columns, too
        likely += [other for other, names in fields.items() if len(names) > 1 and other != " "]
    if not likely:
        return ""
    return (
        f"; the file seems to be separated by {_SEPARATORS[likely[0]]}, not {file.separator!r}: set separator: "
        f"{likely[0]!r} or, if other files have another, none: that of each file is then found by the names of its "
        "columns"
    )


def _knows(names: Iterable[str], wanted: Wanted) -> bool:
    known = {name.split(":")[0] for name in names}
    return all(known & {str(wanted.chosen.get(ours)), *wanted.spellings[ours]} for ours in wanted.needed)
