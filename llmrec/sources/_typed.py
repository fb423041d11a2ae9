"""Columns of a foreign table as ids, numbers, times and texts; a value that is none is refused with its row."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import polars as pl

from llmrec.errors import DataError
from llmrec.sources._files import File

BETWEEN = "|"
"""What separates the entries of a list in a text file."""
_WHOLE = r"\.0+$"
_FORMS = 3
"""A column may hold so many: dates alone, with a time, with a zone."""
DATE = r"^\s*\d{4}-\d{2}-\d{2}"
"""How the text of a date begins."""


@runtime_checkable
class Located(Protocol):
    """Rows of a file that know where they stand."""

    @property
    def path(self) -> Path:
        """Of the file."""

    def where(self, row: int) -> str:
        """How a message names a row."""


@dataclass(frozen=True)
class Typed:
    """Some columns of a file by our names, checked when they are asked for."""

    file: Located
    frame: pl.DataFrame

    @classmethod
    def read(cls, file: File, places: dict[str, int]) -> "Typed":
        """Reads the columns at these places."""
        frame = file.read(sorted(set(places.values())))
        return cls(file, frame.select(frame[str(place)].alias(ours) for ours, place in places.items()))

    def codes(self, name: str) -> pl.Series:
        """Ids as a categorical; every row needs one."""
        ids = self.ids(name)
        return ids if ids.dtype == pl.Categorical else ids.cast(pl.Categorical)

    def ids(self, name: str) -> pl.Series:
        """Ids as strings or a categorical; every row needs one."""
        ids = self._of(name, "a string or a whole number", lambda kind: kind.is_integer() or _is_text(kind))
        empty = ids.is_null()
        if ids.dtype == pl.String:
            empty |= (ids.str.strip_chars() == "").fill_null(True)
        elif _is_text(ids.dtype):  # in Parquet an empty string is no null
            empty |= (ids == "").fill_null(True)
        self._refuse(empty, ids, f"{name} is empty, every row needs one")
        return ids if ids.dtype in (pl.String, pl.Categorical) else ids.cast(pl.String)

    def keys(self, name: str) -> pl.Series:
        """Ids as strings of which each has one row; a second one is refused."""
        ids = self.ids(name).cast(pl.String)
        bare = ids.str.strip_chars()
        again = ~bare.is_first_distinct()
        if again.any():
            first = self.file.where(bare.to_list().index(bare.filter(again)[0]))
            self._refuse(again, ids, f"{name} has a row already, {first.removeprefix(f'{self.file.path}, ')}")
        return ids

    def text(self, name: str) -> pl.Series:
        """A text; an empty one is null."""
        return self._of(name, "a string", _is_text).cast(pl.String).replace("", None)

    def texts(self, name: str) -> pl.Series:
        """A list of texts; in a text file they are separated by ``|``."""
        values = self._of(name, "a string or a list of strings", lambda kind: kind in (pl.String, pl.List(pl.String)))
        if values.dtype == pl.String:
            values = values.str.split(BETWEEN)
        return values.list.eval(pl.element().str.strip_chars().replace("", None).drop_nulls()).fill_null([])

    def number(self, name: str) -> pl.Series:
        """A finite number."""
        given = self._of(name, "a number", lambda kind: kind.is_numeric() or kind == pl.String)
        values = given.cast(pl.Float64, strict=False)
        self._refuse(~values.is_finite().fill_null(False), given, f"{name} must be a number")
        return values

    def whole(self, name: str, *, optional: bool = False) -> pl.Series:
        """An int64, read from the digits: no float stands between, which would merge large values."""
        given = self._of(name, "a whole number", lambda kind: kind.is_integer() or kind in (pl.String, pl.Float64))
        values = given.cast(pl.Int64, strict=False)
        if given.dtype == pl.String and values.null_count() > given.null_count():
            values = given.str.replace(_WHOLE, "").cast(pl.Int64, strict=False)
        wrong = values.is_null() & given.is_not_null() if optional else values.is_null()
        if given.dtype == pl.Float64:
            wrong |= (values.cast(pl.Float64) != given).fill_null(False)
        self._refuse(wrong, given, f"{name} must be a whole number (64 bits)")
        return values

    def microseconds(self, name: str) -> pl.Series:
        """Dates as int64 microseconds since 1970, UTC where no zone is said."""
        given = self._of(name, "a date", lambda kind: kind in (pl.String, pl.Date, pl.Datetime))
        values = given
        if given.dtype == pl.String:
            values = _dates(given)
        self._refuse(values.is_null(), given, f"{name} must be a date such as 2020-01-31 or 2020-01-31T10:00:00Z")
        return values.dt.epoch("us").alias(name)

    def is_date(self, name: str) -> bool:
        """Whether the file itself says that the column holds dates."""
        return self.frame.schema[name] in (pl.Date, pl.Datetime)

    def _of(self, name: str, rule: str, allowed: Callable[[Any], bool]) -> pl.Series:
        values = self.frame[name]
        if not allowed(values.dtype):
            raise DataError(f"{self.file.path}: {name} must be {rule}, is {values.dtype}")
        return values

    def _refuse(self, wrong: pl.Series, values: pl.Series, rule: str) -> None:
        if not wrong.any():
            return
        row = int(wrong.arg_max() or 0)
        more = f" (and {wrong.sum() - 1} more such rows)" if wrong.sum() > 1 else ""
        found = "" if values[row] is None else values[row]
        raise DataError(f"{self.file.where(row)}: {rule}; found {found!r}{more}")


def _dates(texts: pl.Series) -> pl.Series:
    """One pass takes the form of its first text, such as with a zone or without; null where there is no date."""
    dates = pl.Series(texts.name, [None] * len(texts), dtype=pl.Datetime("us", "UTC"))
    left = texts.str.contains(DATE)
    for _ in range(_FORMS):
        if not left.any():
            break
        with suppress(pl.exceptions.PolarsError):
            some = pl.select(pl.when(left).then(texts)).to_series()
            dates = dates.fill_null(some.str.to_datetime(time_unit="us", time_zone="UTC", strict=False))
        left &= dates.is_null()
    return dates


def _is_text(kind: Any) -> bool:
    return kind in (pl.String, pl.Categorical, pl.Enum)
