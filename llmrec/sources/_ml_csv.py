"""MovieLens as comma-separated files: ml-latest, ml-latest-small, ml-20m, ml-25m, ml-32m."""

from pathlib import Path

import polars as pl

from llmrec.sources._encodings import Encoding, decode_either, read_bytes
from llmrec.sources._quoted import read_csv
from llmrec.sources._tables import Table, note
from llmrec.sources._texts import clean, on_one_line

FILES = ("ratings.csv", "movies.csv")
NO_GENRES = "(no genres listed)"
_ITEM = {"item_id": ("movieId", "item_id", "movie_id")}
_USER = {"user_id": ("userId", "user_id")}


def log(folder: Path, encoding: Encoding, skip: bool) -> tuple[pl.DataFrame, list[str]]:
    """``ratings.csv``."""
    wanted = {**_USER, **_ITEM, "rating": ("rating",), "timestamp": ("timestamp",)}
    table, notes = _read(folder / "ratings.csv", wanted, encoding, skip)
    frame, skipped = table.ratings()
    return frame, notes + skipped


def items(folder: Path, encoding: Encoding) -> tuple[pl.DataFrame, list[str]]:
    """``movies.csv`` with, where they are there, ``tags.csv`` and the numbers in ``links.csv``."""
    wanted = {**_ITEM, "title": ("title",), "genres": ("genres",)}
    table, notes = _read(folder / "movies.csv", wanted, encoding)
    ids = table.keys("item_id")
    titles, mended = clean(ids, table.frame["title"])
    genres, none = split_genres(ids, table.frame["genres"])
    films, notes = pl.DataFrame([ids, titles, genres]), notes + mended + none
    for name, add in (("tags.csv", _with_tags), ("links.csv", _with_links)):
        if (folder / name).is_file():
            films, more = add(films, folder / name, encoding)
            notes += more
    return films, notes


def split_genres(ids: pl.Series, genres: pl.Series) -> tuple[pl.Series, list[str]]:
    """``A|B`` to a list; no genres to an empty one, with a note."""
    none = genres == NO_GENRES
    lists = genres.replace(NO_GENRES, "").str.extract_all(r"[^|]+").alias("genres")
    return lists, note(ids, none, f"{NO_GENRES!r} read as no genres")


def _with_tags(films: pl.DataFrame, path: Path, encoding: Encoding) -> tuple[pl.DataFrame, list[str]]:
    table, notes = _read(path, {**_ITEM, "tag": ("tag",)}, encoding)
    ids = table.ids("item_id")
    flat, mended = on_one_line(ids, table.frame["tag"].str.strip_chars(), "tag")
    given = pl.DataFrame([ids, flat])
    tags = given.group_by("item_id", maintain_order=True).agg(tags=pl.col("tag").unique(maintain_order=True))
    films = films.join(tags, on="item_id", how="left", maintain_order="left")
    joined = films["tags"].count()
    return films.with_columns(pl.col("tags").fill_null([])), [
        *notes,
        *mended,
        f"tags.csv: {len(given)} tags on {joined} films; users wrote them at any time, also after their last rating",
        *_strangers(tags, films, path),
    ]


def _with_links(films: pl.DataFrame, path: Path, encoding: Encoding) -> tuple[pl.DataFrame, list[str]]:
    table, notes = _read(path, {**_ITEM, "imdb_id": ("imdbId",), "tmdb_id": ("tmdbId",)}, encoding)
    links = table.frame.select("item_id", pl.col("imdb_id", "tmdb_id").replace("", None)).unique(
        "item_id", keep="first", maintain_order=True
    )
    joined = films.join(links, on="item_id", how="left", maintain_order="left")
    return joined, notes + _strangers(links, films, path)


def _strangers(frame: pl.DataFrame, films: pl.DataFrame, path: Path) -> list[str]:
    unknown = frame.join(films, on="item_id", how="anti")
    return [f"{path.name}: {len(unknown)} films are not in movies.csv and left out"] if len(unknown) else []


def _read(
    path: Path, wanted: dict[str, tuple[str, ...]], encoding: Encoding, skip: bool = False
) -> tuple[Table, list[str]]:
    text, notes = decode_either(path, read_bytes(path), "utf-8", encoding)
    return read_csv(path, text, wanted, skip=skip), notes
