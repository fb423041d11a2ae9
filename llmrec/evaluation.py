"""From scores to a run table, and from a run table to numbers with their interval and chance level."""

import hashlib
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch
from jaxtyping import Float

from llmrec import components, explanations, metrics, ranking, scoring
from llmrec.baselines import Chooses, Known
from llmrec.config import RunConfig
from llmrec.errors import DataError, RunError
from llmrec.interactions import Dataset
from llmrec.protocol import Protocol
from llmrec.runs import CASES, RunTable, provenance
from llmrec.scoring import CHUNK_SCORES, Scorer, rankings_table
from llmrec.splits import Cases, Split

METRICS = ("HR@10", "nDCG@10", "MRR@10", "Recall@10")
DRAWS = 10_000
BINS = 1024


class Interval(NamedTuple):
    """A mean and the ends of its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


def rank_cases(
    scorer: Scorer, cases: Cases, dataset: Dataset, *, mask_history: bool, k: int, share: slice = slice(None)
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Ranks the whole catalogue for each case, a chunk of cases at a time.

    Args:
        scorer: gives the scores.
        cases: whose targets are to be found.
        dataset: of the cases.
        mask_history: whether the items of the history leave the ranking.
        k: length of the lists.
        share: which cases to rank; several processes take one share each.

    Returns:
        The ``cases`` and ``rankings`` tables of :class:`RunTable`.

    Raises:
        DataError: there are no cases, or a score is not finite.
    """
    cases.require("part that is to be ranked")
    mine, chunk = np.arange(len(cases))[share], max(1, CHUNK_SCORES // (dataset.num_items + 1))
    ranker, starts = ranking.Ranker(dataset.num_items, k), range(chunk, len(mine), chunk)
    parts = [_rank_chunk(scorer, cases.take(rows), dataset, mask_history, ranker) for rows in np.split(mine, starts)]
    return pl.concat([part[0] for part in parts]), pl.concat([part[1] for part in parts])


def cases_table(cases: Cases, dataset: Dataset, above: Any, tied: Any, num_candidates: Any) -> pl.DataFrame:
    """The ``cases`` table of :class:`RunTable`.

    Args:
        cases: by index.
        dataset: that has their ids.
        above: per case, how many candidates score higher than the target; None where only lists are known.
        tied: how many others score the same; None likewise.
        num_candidates: how many items were ranked.
    """
    columns = {
        "case_id": cases.case_ids(dataset.user_ids),
        "user_id": dataset.user_ids[cases.user].tolist(),
        "task": [cases.task] * len(cases),
        "target_index": cases.target_index,
        "target": dataset.item_ids[cases.target].tolist(),
        "target_above": [None] * len(cases) if above is None else np.asarray(above),
        "target_tied": [None] * len(cases) if tied is None else np.asarray(tied),
        "num_candidates": np.asarray(num_candidates),
        "history_length": cases.histories.lengths,
        "target_count": [None] * len(cases),
    }
    return pl.DataFrame(columns, schema=CASES)


def cases_hash(case_ids: Iterable[str]) -> str:
    """Hash of the case ids, whatever their order."""
    return hashlib.sha256("\n".join(sorted(case_ids)).encode()).hexdigest()[:16]


def summary(table: RunTable, specifications: tuple[str, ...] = METRICS) -> dict[str, dict[str, float]]:
    """Every metric of a run table with interval, number of users and chance level.

    Raises:
        RunError: a metric that looks deeper than the saved lists where only lists are known.
    """
    result = {}
    for name in specifications:
        values = per_user(table, name)["value"].to_numpy()
        interval = bootstrap(values)
        result[name] = {**interval._asdict(), "n": len(values), "chance": chance(table, name)}
    return result


def chance(table: RunTable, specification: str) -> float:
    """What a random order of each case's candidates is expected to reach; nothing where the target is none of them.

    Raises:
        RunError: a case whose number of candidates is not known.
    """
    if unknown := table.cases["num_candidates"].null_count():
        raise RunError(f"{unknown} cases have no num_candidates; without it there is no chance level")
    number = table.cases["num_candidates"].to_numpy()
    values = metrics.parse(specification)(np.zeros_like(number), np.maximum(number, 1) - 1)
    reachable = table.cases.select((pl.col("target_above") < pl.col("num_candidates")).fill_null(True)).to_series()
    return _mean_over_users(table.cases, values * reachable.to_numpy())


def means(tables: tuple[pl.DataFrame, pl.DataFrame], specifications: tuple[str, ...] = METRICS) -> dict[str, float]:
    """Mean over users of every metric, for choosing the epoch: no interval, no chance level."""
    parsed = {name: metrics.parse(name) for name in specifications}
    return {
        name: _mean_over_users(tables[0], metric(*_counted(tables[0], metric.k))) for name, metric in parsed.items()
    }


def spread(rankings: pl.DataFrame, counts: np.ndarray, item_ids: np.ndarray) -> dict[str, float]:
    """How wide the lists reach: the share of the catalogue in them, and the rank correlation with popularity.

    Args:
        rankings: lists of all cases.
        counts: training interactions by item index.
        item_ids: by item index.
    """
    known = pl.DataFrame({"item_id": item_ids[1:].tolist(), "count": counts[1:]})
    listed = rankings.group_by("item_id").agg(times=pl.len())
    both = known.join(listed, on="item_id", how="left").with_columns(pl.col("times").fill_null(0))
    correlation = both.select(pl.corr("times", "count", method="spearman")).item()
    return {
        "coverage": len(listed) / len(known),
        "popularity correlation": 0.0 if correlation is None or np.isnan(correlation) else float(correlation),
    }


def run_metrics(tables: dict[str, RunTable]) -> dict[str, Any]:
    """The content of ``metrics.json``: each part's summary, the protocol and the provenance."""
    test = tables["test"]
    summaries = {part: summary(table) for part, table in tables.items()}
    return {**summaries, "protocol": test.protocol.model_dump(), "provenance": test.provenance}


def baseline_tables(known: Known, cases: Cases, dataset: Dataset, protocol: Protocol) -> dict[str, RunTable]:
    """Run tables of every baseline that can be made from what is known."""
    tables = {}
    for name in components.names("baselines"):
        specification = components.resolve("baselines", name)
        baseline = components.create("baselines", specification)
        if known.has(baseline.needs):
            scorer = baseline.fit(known)
            ranked = rank_cases(scorer, cases, dataset, mask_history=protocol.mask_history, k=protocol.k)
            facts = {"chosen": scorer.chosen} if isinstance(scorer, Chooses) else {}
            tables[name] = RunTable(*ranked, protocol, provenance(baseline=specification, **facts))
    return tables


def per_user(table: RunTable, specification: str) -> pl.DataFrame:
    """``user_id, value``: the metric of each user, the mean over his cases; sorted by id."""
    above, tied = _counts(table, metrics.parse(specification).k)
    values = metrics.parse(specification)(above, tied)
    return _user_means(table.cases.select("user_id").with_columns(value=values))


def bootstrap(values: Float[np.ndarray, " users"], seed: int = 0) -> Interval:
    """Mean over users with the 95 % percentile interval of 10,000 bootstrap draws over users.

    Resampling users is drawing how often each distinct value occurs, so the draws come from a multinomial over the
    distinct values: the same distribution, and fast for a million users. Of more than ``BINS`` distinct values those of
    one bin are drawn as their mean, which moves the interval by some hundredth of its width.
    """
    return _bootstrap(np.ascontiguousarray(values, dtype=np.float64).tobytes(), seed)


@lru_cache(maxsize=1024)
def _bootstrap(contents: bytes, seed: int) -> Interval:
    """The same of the bytes of the values: tables, plots and tests ask for one interval again and again."""
    values = np.frombuffer(contents)
    distinct, counts = _distinct(values)
    generator = np.random.default_rng(seed)
    draws = np.concatenate(
        [generator.multinomial(len(values), counts / len(values), size=DRAWS // 10) @ distinct for _ in range(10)]
    )
    low, high = np.percentile(draws / len(values), [2.5, 97.5])
    mean = float(values.mean())
    # Draws over a single distinct value sum in another order and may miss it by the last bit.
    return Interval(mean, min(float(low), mean), max(float(high), mean))


def _distinct(values: Float[np.ndarray, " users"]) -> tuple[np.ndarray, np.ndarray]:
    """The values that occur and how often each does; of very many, the means of bins of equal width."""
    distinct, counts = np.unique(values, return_counts=True)
    if len(distinct) <= BINS:
        return distinct, counts
    number = np.digitize(values, np.linspace(distinct[0], distinct[-1], BINS + 1)[1:-1])
    sums, counts = np.bincount(number, weights=values), np.bincount(number)
    return sums[counts > 0] / counts[counts > 0], counts[counts > 0]


def paired_difference(a: list[RunTable], b: list[RunTable], specification: str) -> Interval:
    """Difference a - b of the per-user metric, each averaged over its runs (seeds), with a bootstrap over users.

    ``a`` beats ``b`` if the lower end is above 0, and is not worse if the upper end is at least 0.

    Raises:
        RunError: the two have not the same users.
    """
    first, second = (mean_over_runs(tables, specification) for tables in (a, b))
    joined = first.join(second, on="user_id", how="inner", suffix="_b")
    if not len(joined) == len(first) == len(second):
        raise RunError(f"the compared runs have {len(first)} and {len(second)} users, {len(joined)} in common")
    return bootstrap((joined["value"] - joined["value_b"]).to_numpy())


def protocol_of(split: Split, options: RunConfig) -> Protocol:
    """The protocol of a full ranking over the catalogue.

    Args:
        split: of the filtered data.
        options: with the filter and the protocol's own.
    """
    derived = options.p5 is not None and options.p5.explanations == "derived"
    return Protocol(
        data=split.dataset.name,
        data_hash=split.dataset.content_hash,
        split=split.name,
        targets=split.description,
        test_history=split.test_history,
        mask_history=options.protocol.mask_history,
        filter=options.filter.words,
        candidates="catalogue",
        k=options.protocol.k,
        cases=cases_hash(split.test.case_ids(split.dataset.user_ids)),
        explanations=explanations.WORDS if derived else None,
    )


def _rank_chunk(
    scorer: Scorer, cases: Cases, dataset: Dataset, mask_history: bool, ranker: ranking.Ranker
) -> tuple[pl.DataFrame, pl.DataFrame]:
    target = torch.from_numpy(cases.target).long()
    masked = ranking.Masked.histories(cases.histories, mask_history)
    ranked = ranker.rank(scoring.tiles(scorer, cases.histories), target, masked)
    table = cases_table(cases, dataset, ranked.target_above, ranked.target_tied, ranked.num_candidates)
    ids, users = table["case_id"].to_list(), table["user_id"].to_list()
    return table, rankings_table(ids, users, dataset.item_ids, ranked.items, ranked.scores)


def _counts(table: RunTable, depth: int) -> tuple[np.ndarray, np.ndarray]:
    """Items above and tied with each target, from the cases or, where they are null, from the saved lists."""
    if not any(table.cases.select("target_above", "target_tied").null_count().row(0)):
        return _counted(table.cases, depth)
    if depth > table.protocol.k:
        raise RunError(f"a metric at {depth} was asked for, and only lists of {table.protocol.k} items are known")
    if twice := table.rankings.filter(pl.struct("case_id", "item_id").is_duplicated())["case_id"].to_list():
        raise DataError(f"an item stands twice in the list of case {twice[0]!r}; keep its best place, close the gap")
    if table.rankings["score"].is_nan().any() or table.rankings["score"].is_infinite().any():
        raise DataError("the rankings hold scores that are not finite; nothing can be measured by them")
    target = table.cases.select("case_id", item_id="target")
    places = target.join(table.rankings, on=["case_id", "item_id"], how="left", maintain_order="left")
    mates = (
        table.rankings.join(places.select("case_id", own="score"), on="case_id")
        .filter(pl.col("score") == pl.col("own"))
        .group_by("case_id")
        .agg(first=pl.col("rank").min(), tied=pl.len() - 1)
    )
    found = places.join(mates, on="case_id", how="left", maintain_order="left").with_columns(
        above=pl.coalesce(pl.col("first"), pl.col("rank")) - 1, tied=pl.col("tied").fill_null(0)
    )
    return found["above"].fill_null(table.protocol.k).to_numpy(), found["tied"].to_numpy()


def _counted(cases: pl.DataFrame, depth: int) -> tuple[np.ndarray, np.ndarray]:
    """The counts saved with the cases; a target that is no candidate stands below ``depth``, however few there are."""
    missed = pl.col("target_above") >= pl.col("num_candidates")
    above = cases.select(pl.when(missed).then(pl.max_horizontal("target_above", depth)).otherwise("target_above"))
    return above.to_series().to_numpy(), cases["target_tied"].to_numpy()


def _mean_over_users(cases: pl.DataFrame, values: np.ndarray) -> float:
    return float(np.mean(_user_means(cases.select("user_id").with_columns(value=values))["value"].to_numpy()))


def _user_means(values: pl.DataFrame) -> pl.DataFrame:
    return values.group_by("user_id").agg(pl.col("value").mean()).sort("user_id")


def mean_over_runs(tables: list[RunTable], specification: str) -> pl.DataFrame:
    """``user_id, value``: the per-user metric averaged over runs that differ in their seed."""
    return _user_means(pl.concat([per_user(table, specification) for table in tables]))
