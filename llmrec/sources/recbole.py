"""RecBole's atomic files: one tab-separated file each for the log, the items and the users."""

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import polars as pl

from llmrec.errors import DataError
from llmrec.interactions import Dataset
from llmrec.sources._tables import Table, note, read_lines, split_rows, strip_titles

_FIELD = re.compile(r"[^:\s]+:(token|token_seq|float|float_seq)")
_TITLES = ("movie_title", "title", "name")
_GENRES = ("class", "genre", "genres")
_UNKNOWN = "unkonwn"  # how RecBole's converter spells what the original leaves empty or calls "unknown"


class Recbole:
    """RecBole atomic files ``X.inter``, ``X.item`` and, if there is one, ``X.user``.

    UTF-8, separated by tabs, the header names ``field:type``, quotes mean nothing. Times are read as int64.
    A title is ``movie_title``, ``title`` or ``name``, with ``release_year`` in brackets behind it; genres are
    the blank-separated ``class``, ``genre`` or ``genres``. Fields that are not read are listed in the notes.

    Format: https://recbole.io/docs/user_guide/data/atomic_files.html
    """

    expects = "X.inter and X.item, X.user if there is one (RecBole atomic files)"

    def detect(self, folder: Path) -> bool:
        """Whether the folder holds a log and an item file of one name."""
        return bool(_stems(folder))

    def read(self, folder: Path, name: str) -> Dataset:
        """Reads the files called ``name``, or the only ones there are.

        Raises:
            DataError: a header, row or value that the format does not allow, with file and line.
        """
        stem = _stem(folder, name)
        log, log_notes = _log(_read(folder / f"{stem}.inter", ("user_id", "item_id", "timestamp")))
        items, item_notes = _items(_read(folder / f"{stem}.item", ("item_id",)))
        users: pl.DataFrame | None = None
        user_notes: list[str] = []
        if (folder / f"{stem}.user").is_file():
            users, user_notes = _users(_read(folder / f"{stem}.user", ("user_id",)))
        data = Dataset.from_tables(name, log, items, users)
        return replace(data, notes=(*log_notes, *item_notes, *user_notes, *data.notes))


def read_items(path: Path) -> tuple[pl.DataFrame, list[str]]:
    """An item file alone, for the layouts that borrow it; the table and its notes."""
    return _items(_read(path, ("item_id",)))


def _stems(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.inter") if path.with_suffix(".item").is_file())


def _stem(folder: Path, name: str) -> str:
    stems = _stems(folder)
    if name in stems:
        return name
    if len(stems) != 1:
        raise DataError(f"{folder} holds several data sets ({', '.join(stems)}), none of them {name!r}; name one")
    return stems[0]


def _read(path: Path, needed: tuple[str, ...]) -> Table:
    header, *rows = read_lines(path, "utf-8-sig")
    fields = header.split("\t")
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
    return split_rows(path, rows, columns, "\t", first_line=2)


def _log(table: Table) -> tuple[pl.DataFrame, list[str]]:
    columns = [table.ids("user_id"), table.ids("item_id"), table.whole("timestamp")]
    if "rating" in table.frame.columns:
        columns.append(table.number("rating"))
    return pl.DataFrame(columns), _unread(table, {column.name for column in columns})


def _items(table: Table) -> tuple[pl.DataFrame, list[str]]:
    items = [table.ids("item_id")]
    notes: list[str] = []
    if title := _first(table, _TITLES):
        titles, notes = _titles(table, title)
        items.append(titles)
    if genres := _first(table, _GENRES):
        items.append(table.frame[genres].alias("genres").str.extract_all(r"\S+"))
    return pl.DataFrame(items), notes + _unread(table, {"item_id", title, "release_year" if title else None, genres})


def _titles(table: Table, field: str) -> tuple[pl.Series, list[str]]:
    ids = table.frame["item_id"]
    titles, notes = strip_titles(ids, table.frame[field].alias("title"))
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


def _users(table: Table) -> tuple[pl.DataFrame, list[str]]:
    users = [table.ids("user_id")]
    if "age" in table.frame.columns:
        users.append(table.whole("age", optional=True))
    for column in ("gender", "occupation", "zip_code"):
        if column in table.frame.columns:
            users.append(table.frame[column].replace("", None))
    return pl.DataFrame(users), _unread(table, {column.name for column in users})


def _first(table: Table, accepted: tuple[str, ...]) -> str | None:
    return next((column for column in accepted if column in table.frame.columns), None)


def _unread(table: Table, read: set[str | None]) -> list[str]:
    rest = [column for column in table.frame.columns if column not in read]
    return [f"{table.path.name}: fields not read: {', '.join(rest)}"] if rest else []
