"""RecBole's atomic files: one tab-separated file each for the log, the items and the users."""

from dataclasses import replace
from pathlib import Path

import polars as pl

from llmrec.errors import DataError
from llmrec.interactions import Dataset
from llmrec.sources._atomic import atomic_items, not_read, read_atomic
from llmrec.sources._tables import Table
from llmrec.sources._times import in_seconds


class Recbole:
    """RecBole atomic files ``X.inter``, ``X.item`` and, if there is one, ``X.user``.

    UTF-8, separated by tabs, the header names ``field:type``, quotes mean nothing. Times are read as int64:
    seconds or, if that puts them between the years 1990 and 2100, milliseconds.
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
        log, log_notes = _log(read_atomic(folder / f"{stem}.inter", ("user_id", "item_id", "timestamp")))
        items, item_notes = atomic_items(folder / f"{stem}.item")
        users: pl.DataFrame | None = None
        user_notes: list[str] = []
        if (folder / f"{stem}.user").is_file():
            users, user_notes = _users(read_atomic(folder / f"{stem}.user", ("user_id",)))
        data = Dataset.from_tables(name, log, items, users)
        return replace(data, notes=(*log_notes, *item_notes, *user_notes, *data.notes))


def _stems(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.inter") if path.with_suffix(".item").is_file())


def _stem(folder: Path, name: str) -> str:
    stems = _stems(folder)
    if name in stems:
        return name
    if len(stems) != 1:
        raise DataError(f"{folder} holds several data sets ({', '.join(stems)}), none of them {name!r}; name one")
    return stems[0]


def _log(table: Table) -> tuple[pl.DataFrame, list[str]]:
    columns = [table.ids("user_id"), table.ids("item_id"), table.whole("timestamp")]
    if "rating" in table.frame.columns:
        columns.append(table.number("rating"))
    log, notes = in_seconds(pl.DataFrame(columns), table)
    return log, notes + not_read(table, {column.name for column in columns})


def _users(table: Table) -> tuple[pl.DataFrame, list[str]]:
    users = [table.keys("user_id")]
    if "age" in table.frame.columns:
        users.append(table.whole("age", optional=True))
    for column in ("gender", "occupation", "zip_code"):
        if column in table.frame.columns:
            users.append(table.frame[column].replace("", None))
    return pl.DataFrame(users), not_read(table, {column.name for column in users})
