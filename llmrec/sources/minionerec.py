"""MiniOneRec's windows: rows of a history of up to ten items and the item that followed, put together again by user."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from llmrec.errors import DataError, nearest
from llmrec.interactions import Dataset
from llmrec.sources._files import TextFile
from llmrec.sources._orders import numbered
from llmrec.sources._texts import clean, descriptions, unquoted_list

_COLUMNS = ("user_id", "history_item_id", "item_id")
_PARTS = {"valid": "validation", "test": "test"}
_BRIEF = {"office": "Office_Products", "industrial": "Industrial_and_Scientific"}
LONGEST = 10
"""Items of a window's history."""


class Minionerec:
    """MiniOneRec's Amazon sets (arXiv:2510.24431): ``valid/*.csv`` and ``test/*.csv`` with ``index/*.item.json``.

    A row is a window, not a user, so each user's sequence is rebuilt: the history of his first window, then the
    validation targets, then the test targets, in the order of the files; windows that do not continue one another are
    refused. The column ``part`` says train (what stands before the first target), validation or test; there are no
    times. Repeats are kept. Items of the catalogue that nobody met stay in it.

    The folder may hold several sets; the end of the name picks one: ``amazon-office``, ``amazon-industrial``. The user
    ids of the sets are numbered anew in each: equal ids are not the same people.
    """

    expects = "valid/X*.csv, test/X*.csv and index/X.item.json (MiniOneRec)"

    def detect(self, folder: Path) -> bool:
        """Whether there is a set with all its files."""
        return bool(_sets(folder))

    def read(self, folder: Path, name: str) -> Dataset:
        """Reads the set that the name means, or the only one.

        Raises:
            DataError: no such set, a file that cannot be read, or windows that contradict each other.
        """
        files = _pick(folder, name)
        windows = pl.concat([_windows(files[part], told) for part, told in _PARTS.items()])
        lists, parts = _timelines(windows, folder)
        log = pl.DataFrame({"user_id": list(lists), "item_id": list(lists.values()), "part": list(parts.values())})
        items, notes = _items(files["index"])
        data = Dataset.from_tables(name, numbered(log), items, time_unit="order")
        told = (
            f"{len(windows)} windows of {len(lists)} users put together; what stood before the first is not published"
        )
        return replace(data, notes=(told, *notes, *data.notes))


def _sets(folder: Path) -> dict[str, dict[str, Path]]:
    found = {}
    for index in sorted((folder / "index").glob("*.item.json")):
        stem = index.name.removesuffix(".item.json")
        files = {part: sorted((folder / part).glob(f"{stem}*.csv")) for part in _PARTS}
        if all(len(paths) == 1 for paths in files.values()):
            found[stem] = {"index": index, **{part: paths[0] for part, paths in files.items()}}
    return found


def _pick(folder: Path, name: str) -> dict[str, Path]:
    sets = _sets(folder)
    ending = name.rpartition("-")[2]
    wanted = _BRIEF.get(ending, ending)
    if wanted in sets:
        return sets[wanted]
    if len(sets) == 1:
        return next(iter(sets.values()))
    have = [*(brief for brief, stem in _BRIEF.items() if stem in sets), *sets]
    raise DataError(f"{folder} holds several sets and {name!r} ends like none of them{nearest(ending, have)}")


def _windows(path: Path, part: str) -> pl.DataFrame:
    file = TextFile(path, ",", "utf-8")
    if missing := [column for column in _COLUMNS if column not in file.first]:
        raise DataError(f"{path}, line 1: no column {missing[0]!r}; needed are {list(_COLUMNS)}, found {file.first}")
    places = [file.first.index(column) for column in _COLUMNS]
    table = file.read(places).rename({str(place): name for place, name in zip(places, _COLUMNS, strict=True)})
    for column in _COLUMNS:
        if table[column].null_count():
            row = int(table[column].is_null().arg_max() or 0)
            raise DataError(f"{file.where(row)}: {column} is empty, every row needs one")
    history = pl.col("history_item_id").str.strip_chars("[]").str.extract_all(r"[^\s,'\"]+")
    return table.select("user_id", "item_id", history=history, part=pl.lit(part))


def _timelines(windows: pl.DataFrame, folder: Path) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Items and their parts by user.

    Raises:
        DataError: a window whose history is not what the windows before it say.
    """
    lists: dict[str, list[str]] = {}
    parts: dict[str, list[str]] = {}
    for user, item, history, part in windows.rows():
        if user not in lists:
            lists[user], parts[user] = list(history), ["train"] * len(history)
        elif lists[user][-LONGEST:] != history:
            raise DataError(
                f"{folder}: a {part} window of user {user!r} has the history {history}, and those before it end with "
                f"{lists[user][-LONGEST:]}; the rows must stand in order of time"
            )
        lists[user].append(item)
        parts[user].append(part)
    return lists, parts


def _items(path: Path) -> tuple[pl.DataFrame, list[str]]:
    try:
        entries: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as JSON: {error}") from None
    if not isinstance(entries, dict) or not all(isinstance(entry, dict) for entry in entries.values()):
        raise DataError(f"{path} must hold an object with one object per item, such as {{'0': {{'title': 'Pen'}}}}")
    ids = pl.Series("item_id", list(entries), dtype=pl.String)
    columns, notes = [ids], []
    for field in ("title", "brand", "description"):
        raw = [str(entry.get(field) or "") for entry in entries.values()]
        if field == "description":
            texts, told = descriptions(ids, [" ".join(unquoted_list(text)) for text in raw])
        else:
            texts, told = clean(ids, pl.Series(field, raw, dtype=pl.String), field)
        columns.append(texts)
        notes += told
    return pl.DataFrame(columns), notes
