"""MovieLens with fields separated by two colons: ml-1m and ml-10m."""

from pathlib import Path

import polars as pl

from llmrec.sources._encodings import Encoding
from llmrec.sources._ml_csv import split_genres
from llmrec.sources._tables import read_latin
from llmrec.sources._texts import clean

FILES = ("ratings.dat", "movies.dat")
_OCCUPATIONS = [
    "other",
    "academic/educator",
    "artist",
    "clerical/admin",
    "college/grad student",
    "customer service",
    "doctor/health care",
    "executive/managerial",
    "farmer",
    "homemaker",
    "K-12 student",
    "lawyer",
    "programmer",
    "retired",
    "sales/marketing",
    "scientist",
    "self-employed",
    "technician/engineer",
    "tradesman/craftsman",
    "unemployed",
    "writer",
]
"""Names of the numbers in ``users.dat``, as its README lists them."""


def log(folder: Path, encoding: Encoding, skip: bool) -> tuple[pl.DataFrame, list[str]]:
    """``ratings.dat``."""
    columns = ["user_id", "item_id", "rating", "timestamp"]
    table, notes = read_latin(folder / "ratings.dat", columns, "::", encoding, skip)
    frame, skipped = table.ratings()
    return frame, notes + skipped


def items(folder: Path, encoding: Encoding) -> tuple[pl.DataFrame, list[str]]:
    """``movies.dat``."""
    table, notes = read_latin(folder / "movies.dat", ["item_id", "title", "genres"], "::", encoding)
    ids = table.keys("item_id")
    titles, mended = clean(ids, table.frame["title"])
    genres, none = split_genres(ids, table.frame["genres"])
    return pl.DataFrame([ids, titles, genres]), notes + mended + none


def users(folder: Path, encoding: Encoding) -> pl.DataFrame:
    """``users.dat``."""
    return read_users(folder / "users.dat", "::", encoding)


def read_users(path: Path, separator: str, encoding: Encoding) -> pl.DataFrame:
    """Who rated; an age is the lower bound of its bracket, 1 means under 18."""
    columns = ["user_id", "gender", "age", "occupation", "zip_code"]
    table, _ = read_latin(path, columns, separator, encoding)
    number = table.whole("occupation")
    table.refuse(~number.is_between(0, 20), table.frame["occupation"], "occupation must be a number from 0 to 20")
    named = number.replace_strict(range(21), _OCCUPATIONS, return_dtype=pl.String)
    text = [table.frame[column].replace("", None) for column in ("gender", "zip_code")]
    return pl.DataFrame([table.keys("user_id"), table.whole("age"), text[0], named, text[1]])
