"""MovieLens 100K: fields separated by tabs and by ``|``, one 0 or 1 per genre."""

from pathlib import Path

import polars as pl

from llmrec.errors import DataError
from llmrec.sources._encodings import Encoding
from llmrec.sources._tables import read_latin
from llmrec.sources._texts import clean

FILES = ("u.data", "u.item")
_GENRES = [
    "unknown",
    "Action",
    "Adventure",
    "Animation",
    "Children's",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Film-Noir",
    "Horror",
    "Musical",
    "Mystery",
    "Romance",
    "Sci-Fi",
    "Thriller",
    "War",
    "Western",
]


def log(folder: Path, encoding: Encoding, skip: bool) -> tuple[pl.DataFrame, list[str]]:
    """``u.data``."""
    table, notes = read_latin(folder / "u.data", ["user_id", "item_id", "rating", "timestamp"], "\t", encoding, skip)
    frame, skipped = table.ratings()
    return frame, notes + skipped


def items(folder: Path, encoding: Encoding) -> tuple[pl.DataFrame, list[str]]:
    """``u.item``; release dates and web addresses are not read."""
    genres = _genres(folder / "u.genre")
    columns = ["item_id", "title", "release_date", "video_release_date", "url", *genres]
    table, notes = read_latin(folder / "u.item", columns, "|", encoding)
    for genre in genres:
        flag = table.frame[genre]
        table.refuse(~flag.is_in(["0", "1"]), flag, f"the flag of genre {genre} must be 0 or 1")
    named = [pl.when(pl.col(genre) == "1").then(pl.lit(genre)) for genre in genres]
    ids = table.keys("item_id")
    titles, mended = clean(ids, table.frame["title"])
    lists = table.frame.select(genres=pl.concat_list(named).list.drop_nulls())["genres"]
    return pl.DataFrame([ids, titles, lists]), notes + mended


def users(folder: Path, encoding: Encoding) -> pl.DataFrame:
    """``u.user``."""
    columns = ["user_id", "age", "gender", "occupation", "zip_code"]
    table, _ = read_latin(folder / "u.user", columns, "|", encoding)
    text = [table.frame[column].replace("", None) for column in ("gender", "occupation", "zip_code")]
    return pl.DataFrame([table.keys("user_id"), table.whole("age", optional=True), *text])


def _genres(path: Path) -> list[str]:
    if not path.is_file():
        return _GENRES
    table, _ = read_latin(path, ["genre", "number"], "|", "auto")
    number = table.whole("number")
    table.refuse(number != pl.Series(range(len(number))), number, "genres must be numbered from 0 in file order")
    if table.frame["genre"].is_duplicated().any():
        raise DataError(f"{path}: a genre stands twice in {table.frame['genre'].to_list()}; name every genre once")
    return table.frame["genre"].to_list()
