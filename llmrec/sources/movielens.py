"""The files of MovieLens 100K as GroupLens publishes them."""

from dataclasses import replace
from pathlib import Path

import polars as pl

from llmrec.errors import DataError
from llmrec.interactions import Dataset
from llmrec.sources._tables import Table, read_lines, split_rows, strip_titles

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


class Movielens:
    """MovieLens 100K: ``u.data``, ``u.item`` and, if they are there, ``u.user`` and ``u.genre``.

    Latin-1; ``u.data`` is separated by tabs, the others by ``|``; no header, quotes mean nothing. The title
    ends with the year. Release dates and web addresses of the films are not read.

    Format: https://files.grouplens.org/datasets/movielens/ml-100k-README.txt
    """

    expects = "u.data and u.item, u.user if there is one (MovieLens 100K of GroupLens)"

    def detect(self, folder: Path) -> bool:
        """Whether the folder holds the log and the films."""
        return (folder / "u.data").is_file() and (folder / "u.item").is_file()

    def read(self, folder: Path, name: str) -> Dataset:
        """Reads the folder.

        Raises:
            DataError: a row or value that the format does not allow, with file and line.
        """
        items, notes = _items(folder)
        users = _users(folder / "u.user") if (folder / "u.user").is_file() else None
        data = Dataset.from_tables(name, _log(folder / "u.data"), items, users)
        return replace(data, notes=(*notes, *data.notes))


def _read(path: Path, columns: list[str], separator: str) -> Table:
    return split_rows(path, read_lines(path, "latin-1"), columns, separator)


def _log(path: Path) -> pl.DataFrame:
    table = _read(path, ["user_id", "item_id", "rating", "timestamp"], "\t")
    return pl.DataFrame([table.ids("user_id"), table.ids("item_id"), table.whole("timestamp"), table.number("rating")])


def _items(folder: Path) -> tuple[pl.DataFrame, list[str]]:
    genres = _genres(folder / "u.genre")
    columns = ["item_id", "title", "release_date", "video_release_date", "url", *genres]
    table = _read(folder / "u.item", columns, "|")
    for genre in genres:
        flag = table.frame[genre]
        table.refuse(~flag.is_in(["0", "1"]), flag, f"the flag of genre {genre} must be 0 or 1")
    named = [pl.when(pl.col(genre) == "1").then(pl.lit(genre)) for genre in genres]
    ids = table.ids("item_id")
    titles, notes = strip_titles(ids, table.frame["title"])
    return pl.DataFrame(
        [ids, titles, table.frame.select(genres=pl.concat_list(named).list.drop_nulls())["genres"]]
    ), notes


def _genres(path: Path) -> list[str]:
    if not path.is_file():
        return _GENRES
    table = _read(path, ["genre", "number"], "|")
    number = table.whole("number")
    table.refuse(number != pl.Series(range(len(number))), number, "genres must be numbered from 0 in file order")
    if table.frame["genre"].is_duplicated().any():
        raise DataError(f"{path}: a genre stands twice in {table.frame['genre'].to_list()}; name every genre once")
    return table.frame["genre"].to_list()


def _users(path: Path) -> pl.DataFrame:
    table = _read(path, ["user_id", "age", "gender", "occupation", "zip_code"], "|")
    text = [table.frame[column].replace("", None) for column in ("gender", "occupation", "zip_code")]
    return pl.DataFrame([table.ids("user_id"), table.whole("age", optional=True), *text])
