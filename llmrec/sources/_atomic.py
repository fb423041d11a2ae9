"""RecBole's atomic files: headers of ``name:type``, item tables with titles, years and genres."""

import re
from collections import Counter
from pathlib import Path

import polars as pl

from llmrec.errors import DataError
from llmrec.sources._tables import Table, note, read_lines, split_rows
from llmrec.sources._texts import clean

_FIELD = re.compile(r"[^:\s]+:(token|token_seq|float|float_seq)")
_TITLES = ("movie_title", "title", "name")
_GENRES = ("class", "genre", "genres")
_UNKNOWN = "unkonwn"  # how RecBole's converter spells what the original leaves empty or calls "unknown"


def read_atomic(path: Path, needed: tuple[str, ...]) -> Table:
    """Reads one atomic file: UTF-8, separated by tabs, quotes mean nothing.

    Args:
        path: the file.
        needed: fields it must have.

    Raises:
        DataError: a header or row that the format does not allow, with file and line.
    """
    lines = read_lines(path, "utf-8-sig")
    fields = lines[0].split("\t")
    for field in fields:
        if not _FIELD.fullmatch(field):
            raise DataError(
                f"{path}, line 1: expected a header of fields name:type separated by tabs, such as "
                f"'user_id:token\\titem_id:token\\ttimestamp:float'; found {len(fields)} field(s), "
                f"one of them is {field!r}"
            )
    columns = [field.split(":")[0] for field in fields]
    if twice := [column for column, count in Counter(columns).items() if count > 1]:
        raise DataError(f"{path}, line 1: field {twice[0]!r} stands twice; name every field once")
    if missing := [column for column in needed if column not in columns]:
        raise DataError(f"{path}, line 1: no field {missing[0]!r}; needed are {list(needed)}, found {columns}")
    return split_rows(path, lines[1:], columns, "\t", first_line=2)


def atomic_items(path: Path) -> tuple[pl.DataFrame, list[str]]:
    """Reads ``X.item``: id, title with the year in brackets behind it, genres; and notes.

    Raises:
        DataError: as :func:`read_atomic`.
    """
    table = read_atomic(path, ("item_id",))
    items = [table.keys("item_id")]
    notes: list[str] = []
    if title := _first(table, _TITLES):
        titles, notes = _titles(table, title)
        items.append(titles)
    if genres := _first(table, _GENRES):
        items.append(table.frame[genres].alias("genres").str.extract_all(r"\S+"))
    return pl.DataFrame(items), notes + not_read(table, {"item_id", title, "release_year" if title else None, genres})


def not_read(table: Table, read: set[str | None]) -> list[str]:
    """A note of the fields that nobody asked for."""
    rest = [column for column in table.frame.columns if column not in read]
    return [f"{table.path.name}: fields not read: {', '.join(rest)}"] if rest else []


def _titles(table: Table, field: str) -> tuple[pl.Series, list[str]]:
    ids = table.frame["item_id"]
    titles, notes = clean(ids, table.frame[field].alias("title"))
    notes += note(ids, (titles == _UNKNOWN).fill_null(False), f"title {_UNKNOWN!r} mended to 'unknown'")
    titles = titles.replace(_UNKNOWN, "unknown")
    if "release_year" not in table.frame.columns:
        return titles, notes
    years = table.frame["release_year"].str.strip_chars()
    notes += note(ids, years == _UNKNOWN, f"release_year {_UNKNOWN!r} left out")
    years = years.replace(["", _UNKNOWN], None)
    odd = (~years.str.contains(r"^\d{4}$")).fill_null(False)
    notes += note(ids, odd, "release_year is not a year, put behind the title as it is")
    return titles + (" (" + years + ")").fill_null(""), notes


def _first(table: Table, accepted: tuple[str, ...]) -> str | None:
    return next((column for column in accepted if column in table.frame.columns), None)
