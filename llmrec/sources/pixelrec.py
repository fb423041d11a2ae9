"""PixelRec: a log of video covers with titles, tags and descriptions."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import polars as pl

from llmrec.errors import DataError
from llmrec.interactions import Dataset
from llmrec.sources._headers import open_csv, places_of, read_rows
from llmrec.sources._images import image_folder, image_notes
from llmrec.sources._lines import first_line
from llmrec.sources._texts import clean
from llmrec.sources._times import in_time
from llmrec.sources._video_titles import in_language

_LOG = {"item_id": "item_id", "user_id": "user_id", "timestamp": "timestamp"}
_TITLES = {"english": "title_en", "chinese": "title"}
_FOLDERS = {"dataset", "interaction", "interactions", "information", "item_information", "item_info", "items"}


class Pixelrec:
    """PixelRec of any size (SDM 2024, arXiv:2309.06789): Pixel200K, Pixel1M, Pixel8M, PixelRec50K.

    Two files of any name, here or in folders such as ``dataset/`` and ``information/``, are told apart by their
    headers: the log has ``item_id,user_id,timestamp`` (seconds or milliseconds) and the item table ``item_id`` and
    ``title``. Where there are several, such as ``Pixel200K.csv`` and ``Pixel1M.csv``, the one called as the data set is
    meant. Covers are ``<item_id>.jpg`` in ``cover(s)/`` or ``images/``.

    The item table's counts (views, comments, likes, shares, coins, favourites, bullet comments) are not read: they were
    taken after the log and would tell a model what is popular later.

    Args:
        language: of the titles where the table has both ``title_en`` and ``title``, english or chinese; an item
            without a title in it takes the other. A table with ``title`` alone is translated already.
    """

    expects = "a .csv with item_id,user_id,timestamp and one with item_id and title, or covers (PixelRec)"

    def __init__(self, *, language: Literal["english", "chinese"] = "english") -> None:
        self.language = language

    def detect(self, folder: Path) -> bool:
        """Whether there is a log, and items or covers."""
        logs, tables = _files(folder)
        return bool(logs) and bool(tables or image_folder(folder))

    def read(self, folder: Path, name: str) -> Dataset:
        """Reads log and items.

        Raises:
            DataError: no log or several, or a row or time that cannot be used.
        """
        logs, tables = _files(folder)
        file = open_csv(_chosen(folder, name, logs, "logs"))
        table, notes = read_rows(file, places_of(file, _LOG), header=True)
        log, times = in_time(table)
        items, told = self._items(_chosen(folder, name, tables, "item tables")) if tables else (None, [])
        data = Dataset.from_tables(name, log, items)
        images = image_folder(folder)
        covers = image_notes(data.items["item_id"], images)
        return replace(data, notes=(*notes, *times, *told, *data.notes, *covers), images=images)

    def _items(self, path: Path) -> tuple[pl.DataFrame, list[str]]:
        file = open_csv(path)
        titles = _TITLES if "title_en" in file.first else {"english": "title"}
        texts: dict[str, str] = {name: name for name in ("tag", "description") if name in file.first}
        table, notes = read_rows(file, places_of(file, {"item_id": "item_id", **titles, **texts}), header=True)
        ids = table.keys("item_id")
        title, told = in_language(ids, {name: table.text(name) for name in titles}, self.language)
        columns, notes = [ids, title], notes + told
        for name in texts:
            column, told = clean(ids, table.text(name).fill_null(""), name)
            columns.append(column)
            notes += told
        items = pl.DataFrame(columns)
        if "tag" in texts:
            lists = pl.when(pl.col("tag").is_not_null()).then(pl.concat_list("tag")).otherwise([]).alias("tags")
            items = items.with_columns(lists).drop("tag")
        unread = [name for name in file.first if name not in ("item_id", *titles.values(), *texts)]
        counts = f"{path.name}: columns not read, for they were counted after the interactions: {', '.join(unread)}"
        return items, notes + [counts] * bool(unread)


def _files(folder: Path) -> tuple[list[Path], list[Path]]:
    """Logs and item tables, told apart by their headers."""
    logs, tables = [], []
    inside = [path for path in sorted(folder.glob("*")) if path.name.lower().replace(" ", "_") in _FOLDERS]
    for path in [path for place in (folder, *inside) for path in sorted(place.glob("*.csv"))]:
        header = {name.strip() for name in first_line(path).split(",")}
        if header == set(_LOG):
            logs.append(path)
        elif {"item_id", "title"} <= header and "user_id" not in header:
            tables.append(path)
    return logs, tables


def _chosen(folder: Path, name: str, paths: list[Path], what: str) -> Path:
    called = [path for path in paths if path.stem == name] or paths
    if len(called) == 1:
        return called[0]
    have = ", ".join(str(path.relative_to(folder)) for path in called) or "none"
    raise DataError(f"{folder} must hold one of these {what}, has {have}; name the data set as one is called")
