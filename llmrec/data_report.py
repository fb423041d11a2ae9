"""What a data set holds, before anything is trained on it: ``llmrec data check``."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
from rich import box
from rich.console import Console
from rich.table import Table

from llmrec.filtering import Filtered
from llmrec.interactions import ITEM_COLUMNS, Dataset
from llmrec.splits import Split

WIDTH = 80
DAY = 86_400
REASONS_SHOWN = 4
NEXT_ID_SUSPECT = 0.02
"""From this share on, if chance alone gives less, ids follow the order of reading: Beauty.txt has 4.4 %, MovieLens
100K 0.3 %."""


def facts(filtered: Filtered, split: Split | None) -> dict[str, Any]:
    """Counts and shares of a split data set; padding is not counted.

    Args:
        filtered: the data set and who left it.
        split: leave-one-out of what is left; None where no user has interactions enough.

    Returns:
        Plain values by name; shares from 0 to 1, times in seconds, null where the data set has no times, no texts or
        no split.
    """
    data = filtered.dataset
    counts = np.bincount(data.interactions["item"].to_numpy(), minlength=data.num_items + 1)[1:]
    return {
        "name": data.name,
        "content_hash": data.content_hash,
        "time_unit": data.time_unit,
        "users_left_out": _reasons(filtered.users),
        "items_left_out": _reasons(filtered.items),
        "users": data.num_users,
        "items": data.num_items,
        "interactions": len(data.interactions),
        "history": _history(data),
        "repeated_pairs": _repeated(data),
        **_times(data),
        "items_without_interactions": int((counts == 0).sum()),
        "missing_texts": _missing_texts(data),
        "duplicate_titles": _duplicate_titles(data),
        **_cases(split),
        "notes": list(data.notes),
    }


def _cases(split: Split | None) -> dict[str, Any]:
    if split is None:
        return {"users_without_case": None, "cases": 0, "cold_test_items": None, "next_ids": None}
    return {
        "users_without_case": _reasons(split.without_case),
        "cases": len(split.test),
        "cold_test_items": _cold(split),
        "next_ids": _next_ids(split),
    }


def _history(data: Dataset) -> dict[str, int | float]:
    lengths = np.bincount(data.interactions["user"].to_numpy(), minlength=data.num_users + 1)[1:]
    return {"shortest": int(lengths.min()), "median": float(np.median(lengths)), "longest": int(lengths.max())}


def _repeated(data: Dataset) -> dict[str, int | float]:
    return _part(~_first_met(data).to_numpy())


def _first_met(data: Dataset) -> pl.Series:
    """By row: whether the user meets the item for the first time."""
    pairs = data.interactions["user"].cast(pl.Int64) * (data.num_items + 1) + data.interactions["item"]
    return pairs.is_first_distinct()


def _part(marked: np.ndarray) -> dict[str, int | float]:
    return {"number": int(marked.sum()), "share": float(marked.mean())}


def _times(data: Dataset) -> dict[str, Any]:
    """Rows that share user and time with another, and how long the users' logs are."""
    if data.time_unit == "order":
        return {"time_ties": None, "session_span": None}
    user, time = data.interactions["user"].to_numpy(), data.interactions["timestamp"].to_numpy()
    same = (user[1:] == user[:-1]) & (time[1:] == time[:-1])
    tied = np.concatenate([same, [False]]) | np.concatenate([[False], same])
    first = np.flatnonzero(np.concatenate([[True], user[1:] != user[:-1]]))
    spans = np.concatenate([time[first[1:] - 1], time[-1:]]) - time[first]
    return {
        "time_ties": _part(tied),
        "session_span": {
            "median": float(np.median(spans)),
            "percentile_90": float(np.quantile(spans, 0.9)),
            "users_within_a_day": _part(spans < DAY),
        },
    }


def _missing_texts(data: Dataset) -> dict[str, int]:
    """By column: items and rows without the text, or with an empty list."""
    missing = {}
    for table in (data.items.select(column for column in data.items.columns if column in ITEM_COLUMNS), _reviews(data)):
        for column in table.columns:
            values = table[column]
            if values.dtype not in (pl.List, pl.String):
                continue
            empty = values.list.len() == 0 if values.dtype == pl.List else values == ""
            missing[column] = int((values.is_null() | empty.fill_null(False)).sum())
    return missing


def _reviews(data: Dataset) -> pl.DataFrame:
    return data.interactions.select(column for column in data.interactions.columns if column in ("review", "summary"))


def _duplicate_titles(data: Dataset) -> dict[str, int] | None:
    if "title" not in data.items.columns:
        return None
    titles = data.items["title"].drop_nulls()
    shared = titles.filter(titles.is_duplicated())
    return {"titles": shared.n_unique(), "items": len(shared)}


def _reasons(users: pl.DataFrame) -> dict[str, int]:
    """How many left for each reason; the order of the table, so that runs print alike."""
    return dict(
        users.group_by("reason", maintain_order=True)
        .len()
        .sort("len", descending=True, maintain_order=True)
        .iter_rows()
    )


def _cold(split: Split) -> dict[str, Any]:
    """Items that are to be found in a test case and that nobody trains on."""
    trained = split.train.counts(split.dataset.num_items) > 0
    cold = ~trained[split.test.target]
    items = np.unique(split.test.target[cold])
    return {"items": len(items), "cases": int(cold.sum()), "ids": split.dataset.item_ids[items].tolist()}


def _next_ids(split: Split) -> dict[str, dict[str, float]] | None:
    """How often an item has the largest number so far plus 1: ids given in the order of reading tell what comes next.

    P5's sequential ids are such (discussed in https://github.com/jeykigung/P5/pull/3). The chance is that of numbers
    dealt out at random, see :func:`llmrec.id_leak.next_number`.
    """
    data = split.dataset
    numbers = data.items["item_id"].cast(pl.Int64, strict=False)
    if not (numbered := numbers.count()):
        return None
    number = pl.concat([pl.Series([None], dtype=pl.Int64), numbers])
    log = data.interactions.select("user", number=number.gather(data.interactions["item"]), new=_first_met(data))
    largest = pl.col("number").cum_max().forward_fill().shift().over("user")
    follows = (pl.col("number") == largest + 1).fill_null(False)
    rows = log.select(
        follows=follows, fresh=pl.col("new") & pl.col("number").is_not_null(), known=largest.is_not_null()
    )
    lengths = np.bincount(log["user"].to_numpy(), minlength=data.num_users + 1)[1:]
    last = np.cumsum(lengths)[split.test.user - 1] - 1
    return {
        "test_targets": _beside_chance(rows[last], numbered),
        "all_rows": _beside_chance(rows.filter("known"), numbered),
    }


def _beside_chance(rows: pl.DataFrame, numbered: int) -> dict[str, float]:
    """How often the next number follows, how often it would by chance, and of how many rows."""
    share, fresh = (rows[name].mean() or 0.0 for name in ("follows", "fresh"))
    return {"share": share, "chance": fresh / numbered, "rows": len(rows)}  # type: ignore[dict-item,operator]


def _tells(follows: dict[str, float]) -> bool:
    """Whether ids tell more than chance does: by five standard errors, for rows that resemble each other scatter more
    than rows that do not."""
    share, chance = follows["share"], follows["chance"]
    scatter = (chance * (1 - chance) / max(follows["rows"], 1)) ** 0.5
    return share >= NEXT_ID_SUSPECT and share - chance > 5 * scatter


def show(found: dict[str, Any]) -> str:
    """The facts as a table of at most 80 columns."""
    table = Table(box=box.SIMPLE, show_header=False, title=f"{found['name']}  {found['content_hash']}", padding=(0, 1))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _lines(found):
        table.add_row(name, value)
    console = Console(width=WIDTH, highlight=False, markup=False, color_system=None)
    with console.capture() as text:
        console.print(table)
    return "\n".join(line.rstrip() for line in text.get().splitlines()).strip("\n")


def _lines(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for side in ("users", "items"):
        if left := found[f"{side}_left_out"]:
            yield f"{side} left out", _listed(left)
    yield "users", f"{found['users']:,}"
    yield "items", f"{found['items']:,}, {found['items_without_interactions']:,} of them without an interaction"
    history = found["history"]
    lengths = f"{history['shortest']:,} to {history['longest']:,} a user, median {history['median']:,.0f}"
    yield "interactions", f"{found['interactions']:,}; {lengths}"
    yield "repeated user-item pairs", _counted(found["repeated_pairs"])
    yield from _time_lines(found)
    yield (
        "items and rows without",
        ", ".join(f"{name}: {number:,}" for name, number in found["missing_texts"].items()) or "there are no texts",
    )
    if (shared := found["duplicate_titles"]) is not None:
        yield "titles that several items have", f"{shared['titles']:,}, on {shared['items']:,} items"
    yield "test cases (leave-one-out)", f"{found['cases']:,}"
    if found["cases"]:
        yield "users without a case", _listed(found["users_without_case"])
        cold = found["cold_test_items"]
        some = f", such as {', '.join(cold['ids'][:3])}" if cold["items"] else ""
        yield "test items nobody trains on", f"{cold['items']:,} in {cold['cases']:,} cases{some}"
    if (follows := found["next_ids"]) is not None:
        yield "largest id so far plus 1", _follows(follows)
    for note in found["notes"]:
        yield "note", note


def _time_lines(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if (span := found["session_span"]) is None:
        yield "times", "none, only an order"
        return
    yield "rows that tie in time", _counted(found["time_ties"])
    yield "span of a user's log", f"median {_duration(span['median'])}, 90 %: {_duration(span['percentile_90'])}"
    yield "users within one day", _counted(span["users_within_a_day"])


def _follows(follows: dict[str, dict[str, float]]) -> str:
    text = ", ".join(
        f"{each['share']:.1%} of {'the test targets' if name == 'test_targets' else 'all rows'} (by chance "
        f"{each['chance']:.1%})"
        for name, each in follows.items()
    )
    if not any(map(_tells, follows.values())):
        return text
    return f"{text}: the ids follow the order of reading, and a model that reads them sees what comes next"


def _counted(part: dict[str, int | float]) -> str:
    return f"{part['number']:,} ({part['share']:.1%})"


def _listed(numbers: dict[str, int]) -> str:
    """The total, and the commonest reasons with their numbers."""
    shown = [f"{name} ({number:,})" for name, number in list(numbers.items())[:REASONS_SHOWN]]
    more = sum(list(numbers.values())[REASONS_SHOWN:])
    return f"{sum(numbers.values()):,}: " + "; ".join(shown + [f"others ({more:,})"] * (more > 0)) if numbers else "0"


def _duration(seconds: float) -> str:
    for size, unit in ((DAY, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} seconds"
