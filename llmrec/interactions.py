"""A log of who met what and when, checked and indexed: the one form of data behind everything else."""

import hashlib
import sys
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

from llmrec.errors import DataError

ITEM_COLUMNS = {
    "title": pl.String,
    "genres": pl.List(pl.String),
    "description": pl.String,
    "image": pl.String,
    "brand": pl.String,
    "categories": pl.List(pl.String),
    "features": pl.List(pl.String),
    "tags": pl.List(pl.String),
    "price": pl.Float64,
}
USER_COLUMNS = {"name": pl.String, "gender": pl.String, "age": pl.Int64, "occupation": pl.String, "zip_code": pl.String}
INTERACTION_COLUMNS = {
    "rating": pl.Float64,
    "review": pl.String,
    "summary": pl.String,
    "feature": pl.String,
    "explanation": pl.String,
    "part": pl.String,
}
TimeUnit = Literal["seconds", "order"]


@dataclass(frozen=True)
class Dataset:
    """Interactions, items and users as three columnar tables.

    Ids are strings end to end. The item in row ``i`` of ``items`` has index ``i + 1``, and index 0 is padding; users
    are counted the same way. ``interactions`` holds the indices ``user`` and ``item``, ``timestamp`` (int64, seconds
    UTC) and optional typed columns, sorted by user, time and file order: rows of one user at one time keep the order
    of the file, never that of the ids, which would make an artificial pattern.

    Build one with :meth:`from_tables`.
    """

    name: str
    interactions: pl.DataFrame
    items: pl.DataFrame
    users: pl.DataFrame
    notes: tuple[str, ...] = field(default=())
    """What the reader found and mended, for the data report; never silent."""
    time_unit: TimeUnit = "seconds"
    """``order``: the source has no times; ``timestamp`` is the position 0, 1, 2 ... within the user."""
    derived_columns: tuple[str, ...] = field(default=())
    """Columns of the log that were made from others and were not read."""
    images: Path | None = None
    """Folder of the items' images, named after the item ids, such as ``<item_id>.jpg``, in it or in folders inside;
    None where the source has none."""

    @classmethod
    def from_tables(
        cls,
        name: str,
        interactions: pl.DataFrame,
        items: pl.DataFrame | None = None,
        users: pl.DataFrame | None = None,
        *,
        time_unit: TimeUnit = "seconds",
        text_ids: bool = False,
    ) -> "Dataset":
        """Checks three tables with string ids and indexes them.

        Blanks around an id go, with a note: they are no part of it and would make two users or items of one.

        Args:
            name: how reports call the data set.
            interactions: ``user_id``, ``item_id`` (strings, or categoricals of them, which take a quarter of the
                memory), ``timestamp`` (int64, in file order) and optional columns.
            items: ``item_id`` and optional columns; items that only the log knows are appended.
            users: ``user_id`` and optional columns; users that only the log knows are appended.
            time_unit: what ``timestamp`` counts.
            text_ids: whether ids are texts of the source, which stay as they are written.

        Raises:
            DataError: a missing or mistyped column, a null, or an id that stands twice in an item or user table.
        """
        _check_log(name, interactions)
        items, item, item_note = _indexed(name, "item", items, interactions["item_id"], text_ids)
        users, user, user_note = _indexed(name, "user", users, interactions["user_id"], text_ids)
        items = _with_prices(items)
        _check_types(name, "items", items, ITEM_COLUMNS)
        _check_types(name, "users", users, USER_COLUMNS)
        _check_types(name, "interactions", interactions, INTERACTION_COLUMNS)
        rest = interactions.drop("user_id", "item_id", "timestamp")
        log = _sorted(pl.DataFrame([user, item, interactions["timestamp"], *rest]))
        return cls(name, log, items, users, tuple(item_note + user_note), time_unit)

    @classmethod
    def of_items(cls, name: str, items: Any) -> "Dataset":
        """A catalogue without a log, checked as in :meth:`from_tables`: items that nobody can have met yet.

        Args:
            name: how errors call it.
            items: a table of polars, or of pandas.

        Raises:
            DataError: no table, no string column ``item_id``, an id that is null or stands twice, or a mistyped column.
        """
        items = _of_polars(name, items)
        if items.schema.get("item_id") != pl.String or (items["item_id"] == "").fill_null(True).any():
            raise DataError(
                f"{name}: the table needs a string column 'item_id' without nulls or empty strings; it has "
                f"{dict(items.schema)}"
            )
        if twice := items.filter(pl.col("item_id").is_duplicated())["item_id"].unique().sort().to_list():
            raise DataError(f"{name}: {len(twice)} item ids stand twice, such as {twice[:3]}")
        items = _with_prices(items)
        _check_types(name, "items", items, ITEM_COLUMNS)
        log = pl.DataFrame(schema={"user": pl.Int32, "item": pl.Int32, "timestamp": pl.Int64})
        return cls(name, log, items, pl.DataFrame(schema={"user_id": pl.String}))

    @property
    def num_items(self) -> int:
        """Items in the catalogue; padding is not counted."""
        return len(self.items)

    @property
    def num_users(self) -> int:
        """Users in the table; padding is not counted."""
        return len(self.users)

    @cached_property
    def item_ids(self) -> np.ndarray:
        """Item ids by index (objects); entry 0 is the empty string of the padding."""
        return np.array(["", *self.items["item_id"]], dtype=object)

    @cached_property
    def user_ids(self) -> np.ndarray:
        """User ids by index (objects); entry 0 is the empty string of the padding."""
        return np.array(["", *self.users["user_id"]], dtype=object)

    @cached_property
    def content_hash(self) -> str:
        """Sixteen hexadecimal digits over log and item table; the same for every file layout of the same data."""
        digest = hashlib.sha256(b"" if self.time_unit == "seconds" else self.time_unit.encode())
        log = self.interactions.drop(self.derived_columns)
        for table in (self.users.select("user_id"), self.items, log):
            for column in sorted(table.columns):
                digest.update(f"{column}\x1f".encode())
                values = table[column]
                if values.dtype.is_numeric() and not values.null_count():
                    digest.update(np.ascontiguousarray(values.to_numpy()).tobytes())
                else:
                    texts = ("\x1dNone" if value == "None" else str(value) for value in values.to_list())
                    digest.update("\x1e".join(texts).encode())
        return digest.hexdigest()[:16]


def _of_polars(name: str, table: Any) -> pl.DataFrame:
    """A table of polars or pandas as one of polars; a cell that pandas calls nan becomes a null."""
    if isinstance(table, pl.DataFrame):
        return table
    pandas = sys.modules.get("pandas")  # whoever has one of its tables has loaded it, and nobody else needs it
    if pandas is None or not isinstance(table, pandas.DataFrame):
        raise DataError(f"{name}: must be a table of polars or pandas (a DataFrame), came {type(table).__name__}")
    try:
        return pl.from_pandas(table)
    except (TypeError, ValueError) as error:  # Arrow's, which do not say which column, and that of a name that two have
        raise DataError(
            f"{name}: a column of the table holds values of several kinds, or two have one name: {error}"
        ) from None


def _check_log(name: str, log: pl.DataFrame) -> None:
    strings = (pl.String, pl.Categorical)
    for column, kinds in (("user_id", strings), ("item_id", strings), ("timestamp", (pl.Int64,))):
        if column not in log.columns:
            raise DataError(f"{name}: interactions have no column {column!r}; they have {log.columns}")
        if log.schema[column] not in kinds:
            raise DataError(
                f"{name}: column {column!r} must be {kinds[0]}, is {log.schema[column]}. Ids stay strings (leading "
                "zeros count) and times are whole seconds (32-bit floats merge neighbouring events)"
            )
        if nulls := log[column].null_count():
            row = log[column].is_null().arg_max()
            raise DataError(f"{name}: {nulls} interactions have no {column}; the first is row {(row or 0) + 1}")
    if log.is_empty():
        raise DataError(f"{name}: the log has no interactions")


def _with_prices(items: pl.DataFrame) -> pl.DataFrame:
    """Prices in whole units are numbers like any other."""
    whole = "price" in items.columns and items.schema["price"].is_integer()
    return items.with_columns(pl.col("price").cast(pl.Float64)) if whole else items


def _check_types(name: str, table: str, frame: pl.DataFrame, known: dict) -> None:
    for column, kind in known.items():
        if column in frame.columns and frame.schema[column] != kind:
            raise DataError(f"{name}: {table} column {column!r} must be {kind}, is {frame.schema[column]}")


def _indexed(
    name: str, side: str, table: pl.DataFrame | None, ids: pl.Series, text_ids: bool
) -> tuple[pl.DataFrame, pl.Series, list[str]]:
    """The table with every id of the log, the index of each row's id, and notes.

    Each row's string is hashed once; from then on there are only codes, and strings of the distinct ids.
    """
    key = f"{side}_id"
    codes = ids.cast(pl.Categorical)
    seen = codes.unique(maintain_order=True)
    written = seen.cast(pl.String).alias(key)
    bare = written if text_ids else written.str.strip_chars()
    padded = bare != written
    rows = int(codes.to_physical().is_in(seen.filter(padded).to_physical().implode()).sum()) if padded.any() else 0
    notes = _blanks(written.filter(padded), rows, "log")
    if (bare == "").any():
        raise DataError(f"{name}: the log has a row whose {side} id is empty; every row needs one")
    labels = bare.to_frame()
    known = labels.unique(maintain_order=True)
    table, told = (known, []) if table is None else _with_missing(name, side, table, known, text_ids)
    index = labels.join(_index(table, side), on=key, how="left", maintain_order="left")[side]
    distinct = seen.to_physical().to_numpy()
    lookup = np.zeros(distinct.max() + 1, dtype=np.int32)
    lookup[distinct] = index.to_numpy()
    return table, pl.Series(side, lookup[codes.to_physical().to_numpy()]), notes + told


def _with_missing(
    name: str, side: str, table: pl.DataFrame, seen: pl.DataFrame, text_ids: bool
) -> tuple[pl.DataFrame, list[str]]:
    key = f"{side}_id"
    if key not in table.columns or table.schema[key] != pl.String:
        raise DataError(f"{name}: the {side} table needs a string column {key!r}; it has {dict(table.schema)}")
    notes: list[str] = []
    if not text_ids:
        written, table = table[key], table.with_columns(pl.col(key).str.strip_chars())
        padded = written.filter((table[key] != written).fill_null(False))
        notes = _blanks(padded, len(padded), f"{side} table")
    if (table[key] == "").fill_null(True).any():
        raise DataError(f"{name}: the {side} table has a row whose {side} id is empty; every row needs one")
    if twice := table.filter(pl.col(key).is_duplicated())[key].unique().sort().to_list():
        raise DataError(f"{name}: {len(twice)} {side} ids stand twice in the {side} table, such as {twice[:3]}")
    missing = seen.join(table.select(key), on=key, how="anti", maintain_order="left")
    if len(missing) == len(seen):
        raise DataError(
            f"{name}: not one {side} id of the log is in the {side} table (log: {seen[key].head(3).to_list()}, "
            f"table: {table[key].head(3).to_list()}); do the two files number them differently?"
        )
    notes += [f"{len(missing)} {side}s of the log are not in the {side} table"] if len(missing) else []
    return pl.concat([table, missing], how="diagonal"), notes


def _blanks(padded: pl.Series, rows: int, table: str) -> list[str]:
    """A note of the ids that had blanks around them."""
    if not rows:
        return []
    return [f"blanks around the {padded.name} removed: {rows} rows of the {table}, such as {padded[0]!r}"]


def _index(table: pl.DataFrame, side: str) -> pl.DataFrame:
    return table.select(f"{side}_id").with_row_index(side, offset=1).cast({side: pl.Int32})


def _sorted(log: pl.DataFrame) -> pl.DataFrame:
    """By user, time and file order."""
    users, first, last = log.select(pl.max("user"), pl.min("timestamp"), last=pl.max("timestamp")).row(0)
    span = last - first + 1
    if (users + 1) * span >= 2**63:
        return log.sort("user", "timestamp", maintain_order=True)
    # One number sorts in a fraction of the time of two columns, which then come out of it again.
    key = log["user"].cast(pl.Int64) * span + (log["timestamp"] - first)
    if key.is_sorted():
        return log
    by_key = log.drop("user", "timestamp").with_columns(key.alias("")).sort("", maintain_order=True)
    user, time = (pl.col("") // span).cast(pl.Int32), pl.col("") % span + first
    return by_key.with_columns(user=user, timestamp=time).select(log.columns)
