"""Results by group of cases: how popular the target is, how long the history, and whether its order matters."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import polars as pl

from llmrec import evaluation
from llmrec.evaluation import Interval
from llmrec.runs import RunTable
from llmrec.sequences import Sequences
from llmrec.splits import Cases, Split

COLD = 3
"""Most training interactions of a target that still counts as cold."""
LENGTHS = (5, 10, 20, 50)
"""Upper ends of the groups of history lengths."""
SHOWN = ("HR@10", "nDCG@10")


class Slice(NamedTuple):
    """One group of cases; metrics by name, each with the interval over the group's users."""

    by: str
    group: str
    cases: int
    users: int
    metrics: dict[str, Interval]
    chance: dict[str, float]


def with_counts(cases: pl.DataFrame, split: Split) -> pl.DataFrame:
    """The cases with ``target_count``: how often training shows each target."""
    counts = split.train.counts(split.dataset.num_items)[1:]
    known = split.dataset.items.select(target="item_id", target_count=pl.Series(counts, dtype=pl.Int64))
    return cases.drop("target_count").join(known, on="target", how="left", maintain_order="left")


def shuffled(cases: Cases, seed: int) -> Cases:
    """The same cases with every history in a random order, which says how much a model listens to the order."""
    histories = cases.histories
    order = np.lexsort((np.random.default_rng(seed).random(len(histories.values)), histories.rows()))
    mixed = Sequences(histories.values[order], histories.offsets, histories.users)
    return replace(cases, histories=mixed)


def shown(items: pl.DataFrame) -> pl.Series | None:
    """The ids of the items with an image, of the item table of a run over images; None of another run."""
    return items.filter(pl.col("pixels").is_not_null())["item_id"] if "pixels" in items.columns else None


def slices(table: RunTable, shown: pl.Series | None = None) -> list[Slice]:
    """Groups of a run table by the target's popularity and by history length; empty where neither is known.

    Cold targets, without a training row or with at most three, are groups of their own; the others make three groups
    of as equal numbers of cases as ties in popularity allow.

    Args:
        table: of the run.
        shown: ids of the items with an image; whether the target has one makes two more groups.
    """
    known = table.cases.filter(pl.col("target_count").is_not_null())
    groups = [("target seen", group, rows) for group, rows in _by_popularity(known)]
    lengths = table.cases.filter(pl.col("history_length").is_not_null())
    groups += [("history", group, rows) for group, rows in _by_length(lengths)]
    if shown is not None:
        seen = pl.col("target").is_in(shown.implode())
        groups += [
            ("target image:", "there", table.cases.filter(seen)),
            ("target image:", "none", table.cases.filter(~seen)),
        ]
    return [_slice(table, by, group, rows) for by, group, rows in groups if len(rows)]


def only(table: RunTable, keep: pl.Series, words: str, column: str = "user_id") -> RunTable:
    """The part of a run table whose ``column`` is among the values to keep, with a protocol of its own.

    Args:
        table: to take from.
        keep: values of the column.
        words: what the kept cases are, for the protocol.
        column: of ``cases``.
    """
    cases = table.cases.filter(pl.col(column).is_in(keep.implode()))
    lists = table.rankings.join(cases.select("case_id"), on="case_id", how="semi")
    narrowed = {"targets": f"{table.protocol.targets}; {words}", "cases": evaluation.cases_hash(cases["case_id"])}
    return replace(table, cases=cases, rankings=lists, protocol=table.protocol.model_copy(update=narrowed))


def _by_popularity(cases: pl.DataFrame) -> list[tuple[str, pl.DataFrame]]:
    count = pl.col("target_count")
    warm = cases.filter(count > COLD)
    result = [("0", cases.filter(count == 0)), (f"1 to {COLD}", cases.filter(count.is_between(1, COLD)))]
    thirds = np.quantile(warm["target_count"].to_numpy(), [1 / 3, 2 / 3, 1], method="higher") if len(warm) else []
    low = COLD + 1
    for end in sorted({int(third) for third in thirds}):
        result.append((f"{low} to {end}" if low < end else str(end), warm.filter(count.is_between(low, end))))
        low = end + 1
    return result


def _by_length(cases: pl.DataFrame) -> list[tuple[str, pl.DataFrame]]:
    length, result, low = pl.col("history_length"), [], 0
    for end in LENGTHS:
        result.append((f"{low} to {end}", cases.filter(length.is_between(low, end))))
        low = end + 1
    return [*result, (f"over {LENGTHS[-1]}", cases.filter(length > LENGTHS[-1]))]


def _slice(table: RunTable, by: str, group: str, rows: pl.DataFrame) -> Slice:
    part = only(table, rows["case_id"], f"{by} {group}", "case_id")
    values = {name: evaluation.per_user(part, name)["value"].to_numpy() for name in SHOWN}
    return Slice(
        by,
        group,
        len(rows),
        len(values[SHOWN[0]]),
        {name: evaluation.bootstrap(each) for name, each in values.items()},
        {name: evaluation.chance(part, name) for name in SHOWN},
    )
