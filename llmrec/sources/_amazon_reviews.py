"""Amazon's reviews as JSON lines, in the spellings of 2014, 2018 and 2023."""

import codecs
import gzip
import json
import zlib
from pathlib import Path
from types import NoneType
from typing import Any, NoReturn

import polars as pl

from llmrec.errors import DataError
from llmrec.sources._lines import lines

USERS = ("reviewerID", "user_id")
ITEMS = ("asin", "parent_asin")
_SECONDS, _MILLISECONDS = ("unixReviewTime",), ("timestamp", "sort_timestamp")
_RATINGS = ("overall", "rating")
_TEXTS = {"review": ("reviewText", "text"), "summary": ("summary", "title"), "name": ("reviewerName",)}
_SCHEMA = (
    dict.fromkeys((*USERS, *ITEMS), pl.String)
    | dict.fromkeys((*_SECONDS, *_MILLISECONDS), pl.Int64)
    | dict.fromkeys(_RATINGS, pl.Float64)
    | {key: pl.String for keys in _TEXTS.values() for key in keys}
)
_YEAR_1995, _YEAR_2100 = 788_918_400_000, 4_102_444_800_000
"""Amazon's first year and a far one, in milliseconds."""


def read_reviews(path: Path) -> pl.DataFrame:
    """Reads one file.

    Returns:
        ``user_id``, ``asin``, ``parent_asin`` (one of them may be null), ``time`` (int64, milliseconds), ``rating``,
        ``review``, ``summary`` and ``name`` of the user in file order; reviews of 2023 have no names.

    Raises:
        DataError: a line that is no JSON object or has no user, item or time, with file and line.
    """
    try:
        table = pl.read_ndjson(_content(path), schema=_SCHEMA)
    except (OSError, EOFError, zlib.error, pl.exceptions.PolarsError) as error:
        _explain(path)
        raise DataError(f"{path} cannot be read as JSON lines: {str(error).splitlines()[0]}") from None
    table = table.with_columns(pl.col(*USERS, *ITEMS).replace("", None))
    time = pl.coalesce(*_MILLISECONDS, *(pl.col(key) * 1000 for key in _SECONDS))
    texts = {ours: pl.coalesce(theirs) for ours, theirs in _TEXTS.items()}
    reviews = table.select(
        pl.coalesce(USERS).alias("user_id"), *ITEMS, time=time, rating=pl.coalesce(_RATINGS), **texts
    )
    named = pl.col("user_id").is_not_null() & pl.coalesce(ITEMS).is_not_null()
    dated = pl.col("time").is_between(_YEAR_1995, _YEAR_2100).fill_null(False)
    if not reviews.select((named & dated).all()).item():
        _explain(path)
    return reviews


def release(row: dict[str, Any]) -> str:
    """Which year's form a review has."""
    if "user_id" in row:
        return "2023 (user_id, times in milliseconds)"
    year = "2014" if "helpful" in row else "2018" if "verified" in row else "2014 or 2018"
    return f"{year} (reviewerID, times in seconds)"


def _content(path: Path) -> Path | bytes:
    """What polars can read: neither a mark of byte order nor gzip."""
    if path.suffix == ".gz":
        return gzip.decompress(path.read_bytes()).removeprefix(codecs.BOM_UTF8)
    with path.open("rb") as file:
        marked = file.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8
    return path.read_bytes().removeprefix(codecs.BOM_UTF8) if marked else path


def _explain(path: Path) -> None:
    """Raises for the first line that cannot be used."""
    for number, line in lines(path):
        if line.strip() and (fault := _fault(line)):
            raise DataError(f"{path}, line {number}: {fault}; found {line[:200]!r}")


def _fault(line: str) -> str:
    try:
        row = json.loads(line, parse_constant=_no_number)
    except ValueError as error:
        return f"not JSON ({error})"
    if not isinstance(row, dict):
        return "not a JSON object"
    for keys, kind, what in (
        (USERS, (str, int), "user"),
        (ITEMS, (str, int), "item"),
        (_SECONDS + _MILLISECONDS, (int,), "time as a whole number"),
    ):
        if type(_first(row, keys)) not in kind:  # in Python true is an int
            return f"no {what} ({' or '.join(keys)})"
    if type(_first(row, _RATINGS)) not in (int, float, NoneType):
        return f"the rating must be a number ({' or '.join(_RATINGS)})"
    return _unlikely(row)


def _no_number(constant: str) -> NoReturn:
    """Python reads NaN and Infinity, which are no JSON."""
    raise ValueError(f"{constant} is no number there")


def _first(row: dict[str, Any], keys: tuple[str, ...]) -> Any:
    return next((row[key] for key in keys if row.get(key) not in (None, "")), None)


def _unlikely(row: dict[str, Any]) -> str:
    milliseconds = _first(row, _MILLISECONDS)
    time = _first(row, _SECONDS) * 1000 if milliseconds is None else milliseconds
    if _YEAR_1995 <= time <= _YEAR_2100:
        return ""
    return f"the time must lie in 1995 to 2100 ({_SECONDS[0]} in seconds, {' or '.join(_MILLISECONDS)} in milliseconds)"
