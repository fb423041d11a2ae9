"""Any table of interactions, as CSV, TSV or Parquet, with a map from its columns to ours."""

import codecs
from bisect import bisect_right
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Literal

import polars as pl

from llmrec.errors import DataError
from llmrec.interactions import Dataset, TimeUnit
from llmrec.sources._files import ENDINGS, File, open_file
from llmrec.sources._images import image_folder, image_notes
from llmrec.sources._spellings import ITEMS, LOG, USERS, Wanted, check, find, separated
from llmrec.sources._texts import clean, on_one_line
from llmrec.sources._times import YEAR_1990, YEAR_2100, coarsened, refuse_mixture
from llmrec.sources._typed import Located, Typed

_PER_SECOND = {"s": 1, "ms": 1000, "dates": 1_000_000, "order": 1}
_TEXTS = ("review", "summary", "part")
_LISTS = ("genres", "categories", "features", "tags")


class Tables:
    """A file of interactions and, if they are named, one of items and one of users: ``.csv``, ``.tsv``, ``.parquet``.

    Ids are strings, leading zeros and all, without the blanks around them; times become whole seconds. A CSV file may
    quote fields with ``"``; where tabs separate, quotes mean nothing. Lists (genres, categories, features, tags) are
    separated by ``|`` in text files. Texts of items become one line each, reviews stay as they are.

    Columns with a usual name are found: users as user_id, userId, user, uid, reviewerID; items as item_id, itemId,
    movieId, item, iid, asin; times as timestamp, time, date, unixReviewTime, sort_timestamp. Any other name is said
    with ``columns``, and nothing is guessed: files of pairs without a header stand as user,item with some publishers
    and as item,user with others.

    Args:
        interactions: the file in the folder; ``part-*.csv`` takes all that fit, in the order of their names, as one
            log. By default the only file whose header names users, items and times.
        columns: our name: theirs, or its place counted from 1 if ``header`` is said, for user_id, item_id, timestamp,
            rating, review, summary and part.
        items: file with a row per item.
        item_columns: the same for item_id, title, genres, description, image, brand, categories, features and tags.
        users: file with a row per user.
        user_columns: the same for user_id, gender, age, occupation and zip_code.
        separator: the character between two fields of every file; by default a comma in ``.csv`` and a tab in all
            others or, where line 1 has the needed columns by one other alone of ``, ; |``, tab and blank, that one.
        header: whether line 1 names the columns. By default it must.
        time: what a time is: seconds since 1970, milliseconds, dates (2020-01-31T10:00:00Z), or order: the log has
            none, and a user's rows stand in their order, or ascend in the column that ``columns`` calls timestamp.
        encoding: of text files.
    """

    expects = "one .csv, .tsv or .parquet whose header names user, item and time; for any other, a YAML file"

    def __init__(
        self,
        *,
        interactions: str = "",
        columns: dict[str, str | int] | None = None,
        items: str = "",
        item_columns: dict[str, str | int] | None = None,
        users: str = "",
        user_columns: dict[str, str | int] | None = None,
        separator: str = "",
        header: bool | None = None,
        time: Literal["s", "ms", "dates", "order"] = "s",
        encoding: str = "utf-8",
    ) -> None:
        if len(separator) > 1:
            raise ValueError(f"separator must be one character, came {separator!r}")
        try:
            codecs.lookup(encoding)
        except LookupError:
            raise ValueError(f"encoding {encoding!r} is not known, such as utf-8 or latin-1") from None
        self.interactions, self.items, self.users = interactions, items, users
        self.separator, self.header, self.time, self.encoding = separator, header, time, encoding
        check("columns", columns or {}, LOG, header)
        check("item_columns", item_columns or {}, ITEMS, header)
        check("user_columns", user_columns or {}, USERS, header)
        spellings = LOG
        if time == "order" and "timestamp" not in (columns or {}):
            spellings = {ours: names for ours, names in spellings.items() if ours != "timestamp"}
        needed = tuple(ours for ours in ("user_id", "item_id", "timestamp") if ours in spellings)
        self._log_columns = Wanted("columns", spellings, columns or {}, needed)
        self._item_columns = Wanted("item_columns", ITEMS, item_columns or {}, ("item_id",))
        self._user_columns = Wanted("user_columns", USERS, user_columns or {}, ("user_id",))

    def detect(self, folder: Path) -> bool:
        """Whether the named file is there or, if none is named, exactly one that may be it."""
        return bool(self._logs(folder)) if self.interactions else len(self._fitting(folder)) == 1

    def fault(self, folder: Path) -> str:
        """Why the only table of the folder cannot be the log; empty where it can, or where there are none or several.

        A ``.txt`` beside it may be prose, as a README is.
        """
        paths = [path for path in self._tables(folder) if path.suffix != ".txt" and path.is_file()]
        if len(paths) != 1:
            return ""
        try:
            self._find(paths[0], self._log_columns)
        except DataError as error:
            return str(error)
        return ""

    def read(self, folder: Path, name: str) -> Dataset:
        """Reads the tables.

        Raises:
            DataError: a file or column that is not there, a row or value that cannot be used, with file and line.
        """
        log, notes = self._log(self._logs(folder) or self._which(folder))
        items, item_notes = self._items(folder / self.items) if self.items else (None, [])
        users, user_notes = self._users(folder / self.users) if self.users else (None, [])
        unit: TimeUnit = "order" if self.time == "order" else "seconds"
        data = Dataset.from_tables(name, log, items, users, time_unit=unit)
        images = image_folder(folder)
        notes = [*notes, *item_notes, *user_notes, *data.notes, *image_notes(data.items["item_id"], images)]
        return replace(data, notes=tuple(notes), images=images)

    def _logs(self, folder: Path) -> list[Path]:
        try:
            return sorted(folder.glob(self.interactions)) if self.interactions else []
        except (NotImplementedError, ValueError, IndexError) as error:
            raise DataError(
                f"interactions must be a file in the folder or a pattern such as part-*.csv, came "
                f"{self.interactions!r} ({error})"
            ) from None

    def _which(self, folder: Path) -> list[Path]:
        """The only file that may hold the interactions; if there is one table alone, its own fault says more."""
        if self.interactions:
            raise DataError(f"no file in {folder} fits interactions: {self.interactions!r} (have: {_names(folder)})")
        paths = self._fitting(folder) or self._tables(folder)
        if len(paths) != 1:
            raise DataError(
                f"{folder}: which table holds the interactions? Say it with interactions: FILE (have: {_names(folder)})"
            )
        return paths

    def _tables(self, folder: Path) -> list[Path]:
        named = {folder / name for name in (self.items, self.users) if name}
        return sorted(path for path in folder.glob("*") if path.suffix in ENDINGS and path not in named)

    def _fitting(self, folder: Path) -> list[Path]:
        fitting = []
        for path in self._tables(folder):
            with suppress(DataError):
                self._find(path, self._log_columns)
                fitting.append(path)
        return fitting

    def _find(self, path: Path, wanted: Wanted) -> tuple[File, dict[str, int], list[str]]:
        """The file, the places of its columns, and a note of a separator that was not said."""
        file = open_file(path, self.separator, self.encoding)
        file, notes = (file, []) if self.separator else separated(file, wanted)
        return *find(file, wanted, self.header), notes

    def _read(self, path: Path, wanted: Wanted) -> tuple[Typed, list[str]]:
        file, places, notes = self._find(path, wanted)
        rest = [name for place, name in enumerate(file.first) if file.titled and place not in places.values()]
        notes += [f"{path.name}: columns not read: {', '.join(rest)}"] if rest else []
        return Typed.read(file, places), notes

    def _log(self, paths: list[Path]) -> tuple[pl.DataFrame, list[str]]:
        parts: list[pl.DataFrame] = []
        files: list[Located] = []
        scales: set[int] = set()
        notes: list[str] = []
        for path in paths:
            table, unread = self._read(path, self._log_columns)
            part, scale = self._columns(table)
            parts.append(part)
            files.append(table.file)
            scales.add(scale)
            notes = notes or unread
        if len(scales) > 1:
            raise DataError(f"{paths[0].parent}: some of {len(paths)} files hold dates, others numbers; use one form")
        log = pl.concat(parts, how="diagonal")
        if self.time == "order":
            return _numbered(log), notes
        if (scale := scales.pop()) != _PER_SECOND["dates"]:
            refuse_mixture(log["timestamp"], partial(_where, files, parts))
        return _in_seconds(log, scale, notes)

    def _columns(self, table: Typed) -> tuple[pl.DataFrame, int]:
        """The log of one file with times as they stand there, and how many of their units are a second."""
        columns = [table.codes("user_id"), table.codes("item_id")]
        scale = 1
        if "timestamp" in table.frame.columns:
            dates = self.time == "dates" or table.is_date("timestamp")
            columns.append(table.microseconds("timestamp") if dates else table.whole("timestamp"))
            scale = _PER_SECOND["dates" if dates else self.time]
        for name, read in (("rating", table.number), *((text, table.text) for text in _TEXTS)):
            columns += [read(name)] if name in table.frame.columns else []
        return pl.DataFrame(columns), scale

    def _items(self, path: Path) -> tuple[pl.DataFrame, list[str]]:
        table, notes = self._read(path, self._item_columns)
        ids = table.keys("item_id")
        columns = [ids]
        for name in table.frame.columns[1:]:
            if name == "title":
                texts, mended = clean(ids, table.text(name).fill_null(""))
            else:
                texts, mended = on_one_line(ids, table.texts(name) if name in _LISTS else table.text(name), name)
            columns.append(texts)
            notes += mended
        return pl.DataFrame(columns), notes

    def _users(self, path: Path) -> tuple[pl.DataFrame, list[str]]:
        table, notes = self._read(path, self._user_columns)
        columns = [table.keys("user_id")]
        for name in table.frame.columns[1:]:
            columns.append(table.whole(name, optional=True) if name == "age" else table.text(name))
        return pl.DataFrame(columns), notes


def _names(folder: Path) -> str:
    return ", ".join(sorted(path.name for path in folder.glob("*"))) or "nothing"


def _in_seconds(log: pl.DataFrame, scale: int, notes: list[str]) -> tuple[pl.DataFrame, list[str]]:
    """The log with the times that are seconds now, and the notes with doubts about them."""
    log = coarsened(log, scale) if scale > 1 else log
    return log, notes + _doubts(log["timestamp"], scale)


def _doubts(times: pl.Series, scale: int) -> list[str]:
    """A note of seconds that are so far away that another unit may be meant."""
    if scale == _PER_SECOND["ms"] and (times < YEAR_1990).all():
        return ["all times lie before the year 1990 as milliseconds; if they are seconds, set time: s"]
    if not (late := int((times > YEAR_2100).sum())):
        return []
    cure = " as seconds; if they are milliseconds, set time: ms" if scale == 1 else ""
    return [f"{late} times lie beyond the year 2100{cure}"]


def _where(files: list[Located], parts: list[pl.DataFrame], row: int) -> str:
    """How a message names a row of the log, by the file that it was read from."""
    starts = [0, *accumulate(map(len, parts))]
    place = bisect_right(starts, row) - 1
    return files[place].where(row - starts[place])


def _numbered(log: pl.DataFrame) -> pl.DataFrame:
    if "timestamp" in log.columns:
        log = log.sort("timestamp", maintain_order=True)
    return log.with_columns(timestamp=pl.int_range(pl.len(), dtype=pl.Int64).over("user_id"))
