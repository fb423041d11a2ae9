"""Logs as pairs and as histories: ``user,item,time`` or ``item,user,time`` without a header, and ``user<TAB>items``."""

from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

import polars as pl

from llmrec.errors import DataError
from llmrec.interactions import TimeUnit
from llmrec.sources._files import TextFile
from llmrec.sources._headers import open_csv, read_rows
from llmrec.sources._histories import ITEM_NAMES, USER_NAMES, bare, drop_header, read_histories
from llmrec.sources._orders import numbered
from llmrec.sources._times import in_time

Columns = Literal["auto", "user_item_time", "item_user_time"]
_ORDERS: dict[Columns, tuple[str, str]] = {
    "user_item_time": ("user_id", "item_id"),
    "item_user_time": ("item_id", "user_id"),
}
_LOOKED_AT = 10_000
"""Rows by which the order of the columns is told."""
_FITS = 0.9
"""Share of these rows that must agree; an item table may lack some items of the log."""


@dataclass(frozen=True)
class PairLog:
    """A log and what was found in its files."""

    frame: pl.DataFrame
    """``user_id``, ``item_id`` and ``timestamp``."""
    unit: TimeUnit
    notes: list[str]


def read_log(pairs: Path, histories: Path, items: set[str], columns: Columns) -> PairLog:
    """Reads the pairs if they have times, else the histories, which have an order.

    Args:
        pairs: CSV with user, item (or item, user) and, unless the publisher keeps it back, time.
        histories: lines ``user<TAB>item item ...``; either file may be missing.
        items: ids of the item table, by which the order of the columns is told where there are no histories.
        columns: the order of the columns if it is known.

    Raises:
        DataError: no times and no histories, an order of columns that cannot be told, or a row that cannot be used.
    """
    past: dict[str, list[str]] = {}
    notes: list[str] = []
    if histories.is_file():
        past = read_histories(histories)
        notes += drop_header(histories, past, items)
    if pairs.is_file() and _has_times(open_csv(pairs)):
        log, told = _read_pairs(open_csv(pairs), past, items, columns)
        return PairLog(log, "seconds", [*notes, *told, *_differences(log, past, histories)])
    if not past:
        raise DataError(
            f"{pairs} has no times and {histories.name} is not there, so the order of the interactions is not known; "
            "put the publisher's histories beside it"
        )
    notes += [f"{pairs.name}: not read, it has no times; the order is that of {histories.name}"] * pairs.is_file()
    lists = pl.DataFrame({"user_id": list(past), "item_id": list(past.values())})
    return PairLog(numbered(lists), "order", notes)


def _has_times(file: TextFile) -> bool:
    """Whether there is a third column and line 2, which is no header, has something in it."""
    if len(file.first) not in (2, 3):
        raise DataError(f"{file.path}, line 1: expected user,item,time or item,user,time; found {','.join(file.first)}")
    return len(file.first) == 3 and file.read([2]).slice(1, 1)["2"].null_count() == 0


def _read_pairs(
    file: TextFile, past: dict[str, list[str]], items: set[str], columns: Columns
) -> tuple[pl.DataFrame, list[str]]:
    named = _named(file.first)
    told = [f"{file.path.name}: line 1 is a header ({','.join(file.first)}), no pair"] if named else []
    order = columns if columns != "auto" else named or _order(file, past, items)
    first, second = _ORDERS[order]
    table, notes = read_rows(file, {first: 0, second: 1, "timestamp": 2}, header=bool(named))
    log, times = in_time(table)
    said = [f"{file.path.name}: the columns are {first}, {second}, timestamp"]
    return log, [*told, *said, *notes, *times]


def _named(first: list[str]) -> Columns | None:
    """The order that a header says; None if line 1 is a pair."""
    one, two = (bare(name) for name in first[:2])
    if one in USER_NAMES and two in ITEM_NAMES:
        return "user_item_time"
    return "item_user_time" if one in ITEM_NAMES and two in USER_NAMES else None


def _order(file: TextFile, past: dict[str, list[str]], items: set[str]) -> Columns:
    """The one order that fits the histories or, where they tell nothing, the item table.

    Raises:
        DataError: both fit, or neither.
    """
    rows = file.read([0, 1]).head(_LOOKED_AT).rows()
    met = {user: set(past[user]) for user in {id_ for row in rows for id_ in row} & past.keys()}
    by_past = (sum(b in met.get(a, ()) for a, b in rows), sum(a in met.get(b, ()) for a, b in rows))
    by_items = (sum(b in items for _, b in rows), sum(a in items for a, _ in rows))
    for user_first, item_first in (by_past, by_items):
        fitting = (user_first >= _FITS * len(rows), item_first >= _FITS * len(rows))
        if sum(fitting) == 1:
            return "user_item_time" if fitting[0] else "item_user_time"
    raise DataError(
        f"{file.path}: whether line 1 ({','.join(file.first)}) is user,item or item,user cannot be told: of "
        f"{len(rows)} rows {by_items[1]} have an id of the item table in column 1 and {by_items[0]} in column 2. Say "
        "it with columns: user_item_time or columns: item_user_time under source in a YAML file"
    )


def _differences(log: pl.DataFrame, past: dict[str, list[str]], histories: Path) -> list[str]:
    """How many users have other items in the histories, which are not read where the pairs have times."""
    if not past:
        return []
    met = log.select(pl.col("user_id", "item_id").cast(pl.String)).group_by("user_id").agg("item_id")
    pairs = dict(met.rows())
    other = [user for user in past.keys() | pairs.keys() if sorted(past.get(user, ())) != sorted(pairs.get(user, ()))]
    if not other:
        return []
    shown = ", ".join(islice(sorted(other), 3))
    return [f"{histories.name}: {len(other)} users have other items there, such as {shown}; the pairs are taken"]
