"""From scores to run tables, and from run tables to numbers."""

from math import log2

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from tables import PROTOCOL, counted, listed

from llmrec import components, evaluation, metrics
from llmrec.baselines import Known
from llmrec.errors import DataError, ProtocolError, RunError
from llmrec.interactions import Dataset
from llmrec.protocol import require_equal
from llmrec.runs import RunTable
from llmrec.scoring import Scorer
from llmrec.sequences import Sequences
from llmrec.splits import Cases, Split

ALL = evaluation.METRICS


class Fixed:
    """The same scores for every history."""

    def __init__(self, *scores: float) -> None:
        self.scores = torch.tensor([0.0, *scores])

    def score(self, histories: Sequences) -> torch.Tensor:
        return self.scores.expand(len(histories), -1)


class OfHistory:
    """Scores that depend on every item of the history; whole numbers below ``levels``, so that many tie."""

    def __init__(self, num_items: int, levels: int) -> None:
        generator = np.random.default_rng(0)
        self.weights = torch.from_numpy(generator.integers(0, 10**6, size=(num_items + 1, num_items + 1)))
        self.levels = levels

    def score(self, histories: Sequences) -> torch.Tensor:
        rows = [self.weights[torch.from_numpy(histories[row]).long()].sum(0) for row in range(len(histories))]
        return (torch.stack(rows) % self.levels).float()


class LastItemFirst:
    """Item i scores i, the last item of the history above all."""

    def __init__(self, num_items: int) -> None:
        self.num_items = num_items

    def score(self, histories: Sequences) -> torch.Tensor:
        scores = torch.arange(self.num_items + 1.0).repeat(len(histories), 1)
        for row in range(len(histories)):
            scores[row, int(histories[row][-1])] = 1000
        return scores


@pytest.fixture
def split(toy: Dataset) -> Split:
    return components.create("splits", components.resolve("splits", "leave_one_out")).split(toy)


def catalogue(num_items: int, users: tuple[str, ...] = ("ann", "bob")) -> Dataset:
    """A data set of these users in which all did everything; item number i is called ``item-i``."""
    rows = [(user, f"item-{item}", item) for user in users for item in range(1, num_items + 1)]
    return Dataset.from_tables("toy", pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row"))


def cases(*rows: tuple[int, int, list[int]]) -> Cases:
    """Cases from (user index, target, history)."""
    users, targets, histories = zip(*rows)
    number = [users[:place].count(user) for place, user in enumerate(users)]
    index = [np.array(column, dtype=np.int64) for column in (users, targets, number)]
    return Cases("next_item", *index, Sequences.from_lists([list(history) for history in histories]))


def run(scorer: Scorer, part: Cases, dataset: Dataset, mask_history: bool = True, k: int = 10) -> RunTable:
    ranked = evaluation.rank_cases(scorer, part, dataset, mask_history=mask_history, k=k)
    return RunTable(*ranked, PROTOCOL.model_copy(update={"mask_history": mask_history, "k": k}), {})


def value(table: RunTable, metric: str) -> float:
    return evaluation.summary(table, (metric,))[metric]["value"]


def test_run_tables_hold_original_ids_and_what_was_counted():
    """F17: original ids back, not internal ints."""
    table = run(Fixed(1, 2, 3, 4, 5), cases((2, 4, [1, 5])), catalogue(5), k=2)
    expected = ("next_item/0/bob", "bob", "next_item", 0, "item-4", 0, 0, 3, 2, None)
    assert table.cases.rows() == [expected]
    assert table.rankings.rows() == [
        ("next_item/0/bob", "bob", "item-4", 4.0, 1),
        ("next_item/0/bob", "bob", "item-3", 3.0, 2),
    ]


def test_a_list_deeper_than_the_catalogue_is_cut_and_still_measured():
    """B2: 5 items, k = 10."""
    table = run(Fixed(5, 4, 3, 2, 1), cases((1, 5, [1])), catalogue(5))
    assert table.rankings["item_id"].to_list() == ["item-2", "item-3", "item-4", "item-5"]
    assert value(table, "HR@10") == 1
    assert value(table, "nDCG@10") == pytest.approx(1 / log2(5))


@pytest.mark.parametrize("metric", ALL)
def test_constant_scores_measure_exactly_like_chance(metric: str):
    """B5: all scores 0, 101 candidates."""
    table = run(Fixed(*[0.0] * 101), cases((1, 7, [])), catalogue(101, ("ann",)))
    gain = {"HR@10": 10, "Recall@10": 10, "MRR@10": sum(1 / rank for rank in range(1, 11))}
    gain["nDCG@10"] = sum(1 / log2(rank + 1) for rank in range(1, 11))
    assert value(table, metric) == pytest.approx(gain[metric] / 101)
    assert evaluation.chance(table, metric) == value(table, metric)


@pytest.mark.parametrize("mask", [True, False])
def test_the_random_baseline_is_chance_on_a_log_with_repeats(toy: Dataset, split: Split, mask: bool):
    hidden = [target in split.test.histories[row] for row, target in enumerate(split.test.target)]
    assert 0 < sum(hidden) < len(hidden)
    protocol = PROTOCOL.model_copy(update={"mask_history": mask})
    tables = evaluation.baseline_tables(Known(split.train, toy.num_items), split.test, toy, protocol)
    assert list(tables) == ["co_occurrence", "item_knn", "popularity", "random"]  # the others need more than the log
    assert tables["popularity"].provenance["baseline"] == {"name": "popularity"}
    for metric in ALL:
        assert value(tables["random"], metric) == pytest.approx(evaluation.chance(tables["random"], metric), abs=1e-12)
        assert evaluation.chance(tables["popularity"], metric) == evaluation.chance(tables["random"], metric)


def test_a_score_that_is_not_finite_stops_the_evaluation(toy: Dataset, split: Split):
    """B6: target score NaN."""
    scores = np.arange(toy.num_items, dtype=float)
    scores[split.test.target[0] - 1] = np.nan
    with pytest.raises(DataError, match=f"not finite, the first for item {split.test.target[0]} in row"):
        run(Fixed(*scores), split.test, toy, mask_history=False)


def test_the_history_mask_changes_the_number_and_the_protocol():
    """B7: model that scores last item highest."""
    data, one = catalogue(5), cases((1, 5, [2, 3]))
    masked, bare = (run(LastItemFirst(5), one, data, mask_history=mask) for mask in (True, False))
    assert masked.rankings["item_id"].to_list() == ["item-5", "item-4", "item-1"]
    assert bare.rankings["item_id"].to_list() == ["item-3", "item-5", "item-4", "item-2", "item-1"]
    assert (value(masked, "nDCG@10"), value(bare, "nDCG@10")) == (1, pytest.approx(1 / log2(3)))
    assert (masked.cases["num_candidates"].item(), bare.cases["num_candidates"].item()) == (3, 5)
    with pytest.raises(ProtocolError, match="mask_history: True against False"):
        require_equal({"masked": masked.protocol, "bare": bare.protocol})


@pytest.mark.parametrize("metric", ["HR@10", "nDCG@10", "MRR@10", "Recall@1000"])
def test_a_target_in_its_masked_history_is_a_miss_at_any_depth(metric: str):
    part = cases((1, 2, [2, 3]))
    table = run(Fixed(1, 9, 3, 4), part, catalogue(4))
    assert "item-2" not in table.rankings["item_id"]
    assert value(table, metric) == 0
    assert evaluation.means((table.cases, table.rankings), (metric,)) == {metric: 0}
    assert evaluation.chance(table, metric) == 0
    assert value(run(Fixed(1, 9, 3, 4), part, catalogue(4), mask_history=False), metric) == 1


def test_each_user_counts_once_however_many_targets_he_has():
    """B9: one user with 2 test items, one with 1."""
    part = cases((1, 5, []), (1, 1, []), (2, 5, []))
    table = run(Fixed(1, 2, 3, 4, 5), part, catalogue(5))
    assert value(table, "HR@1") == pytest.approx(((1 + 0) / 2 + 1) / 2)
    assert evaluation.summary(table, ("HR@1",))["HR@1"]["n"] == 2
    assert evaluation.per_user(table, "HR@1").rows() == [("ann", 0.5), ("bob", 1.0)]


def test_two_targets_in_the_top_k_are_one_hit_rate():
    """B12: 2 targets in top-k."""
    table = run(Fixed(1, 2, 3, 4, 5), cases((1, 5, []), (1, 4, [])), catalogue(5))
    assert value(table, "HR@2") == 1


def test_a_users_other_targets_stay_candidates_and_earlier_ones_leave_with_the_history():
    part = cases((1, 4, [1]), (1, 3, [1, 4]), (1, 5, [1, 4, 3]), (2, 5, [1]), (2, 3, [1]))
    table = run(Fixed(1, 2, 3, 4, 5), part, catalogue(5))
    assert table.cases["target_above"].to_list() == [1, 1, 0, 0, 2]
    assert table.cases["num_candidates"].to_list() == [4, 3, 2, 4, 4]
    assert run(Fixed(1, 2, 3, 4, 5), part, catalogue(5), False).cases["num_candidates"].to_list() == [5] * 5


@pytest.mark.slow
@pytest.mark.parametrize("levels", [4, 10**6])
def test_the_size_of_the_evaluation_batch_changes_nothing(monkeypatch, toy: Dataset, split: Split, levels: int):
    """B13: same scores, eval batch 1 vs 512."""
    tables = {}
    for batch in (1, 7, 512):
        monkeypatch.setattr(evaluation, "CHUNK_SCORES", batch * (toy.num_items + 1))
        tables[batch] = run(OfHistory(toy.num_items, levels), split.test, toy)
    for batch in (1, 7):
        assert_frame_equal(tables[batch].cases, tables[512].cases, check_exact=True)
        assert_frame_equal(tables[batch].rankings, tables[512].rankings, check_exact=True)
        assert evaluation.summary(tables[batch]) == evaluation.summary(tables[512])
    assert tables[1].cases["target_tied"].sum() > 0 or levels > 4


def test_all_users_are_measured_and_their_number_is_given():
    """B10: 10,001 users."""
    data = catalogue(4, tuple(f"user-{number}" for number in range(10_001)))
    part = components.create("splits", components.resolve("splits", "leave_one_out")).split(data).test
    table = run(Fixed(1, 2, 3, 4), part, data)
    assert evaluation.summary(table, ("HR@10",))["HR@10"] == {"value": 1, "low": 1, "high": 1, "n": 10_001, "chance": 1}
    assert table.cases["user_id"].n_unique() == 10_001


def test_no_cases_are_refused_and_an_empty_share_gives_empty_tables():
    one, none = cases((1, 1, [])), np.empty(0, dtype=np.int64)
    with pytest.raises(DataError, match="the part that is to be ranked has no case"):
        run(Fixed(1, 2), one.take(none), catalogue(2))
    share = evaluation.rank_cases(Fixed(1, 2), one, catalogue(2), mask_history=True, k=10, share=slice(1, None, 2))
    assert [len(table) for table in share] == [0, 0]


def test_metrics_of_a_run_name_its_protocol_and_provenance(toy: Dataset, split: Split):
    scorer = OfHistory(toy.num_items, 50)
    tables = {"validation": run(scorer, split.validation, toy), "test": run(scorer, split.test, toy)}
    result = evaluation.run_metrics(tables)
    assert result["protocol"] == PROTOCOL.model_dump()
    assert result["provenance"] == {}
    for part, table in tables.items():
        means = evaluation.means((table.cases, table.rankings))
        assert means == pytest.approx({metric: result[part][metric]["value"] for metric in ALL}, abs=1e-12)
        assert result[part]["nDCG@10"]["low"] < means["nDCG@10"] < result[part]["nDCG@10"]["high"]
    assert result["test"] != result["validation"]


def test_the_hash_of_the_cases_ignores_their_order_and_knows_every_id(split: Split):
    ids = split.test.case_ids(split.dataset.user_ids)
    assert evaluation.cases_hash(ids[::-1]) == evaluation.cases_hash(ids)
    assert evaluation.cases_hash(ids[:-1]) != evaluation.cases_hash(ids)


def test_plain_lists_measure_like_counts_where_nothing_ties(toy: Dataset, split: Split):
    table = run(OfHistory(toy.num_items, 10**6), split.test, toy)
    assert table.cases["target_tied"].sum() == 0
    null = pl.lit(None, dtype=pl.Int64)
    shuffled = table.rankings.sample(fraction=1, shuffle=True, seed=0)
    lists = RunTable(table.cases.with_columns(target_above=null, target_tied=null), shuffled, table.protocol, {})
    for metric in (*ALL, "nDCG@3", "HR@1"):
        assert_frame_equal(evaluation.per_user(lists, metric), evaluation.per_user(table, metric), abs_tol=1e-12)


@pytest.mark.slow
@given(scores=st.lists(st.integers(0, 3), min_size=1, max_size=10), place=st.integers(0, 9), k=st.integers(1, 10))
@settings(deadline=None, max_examples=40)
def test_ties_inside_a_plain_list_share_their_places(scores: list[int], place: int, k: int):
    scores, place = sorted(scores, reverse=True), place % len(scores)
    rows = [(f"item-{number}", float(score), number + 1) for number, score in enumerate(scores)][::-1]
    table = listed(f"item-{place}", rows)
    mates = [rank for rank, score in enumerate(scores, 1) if score == scores[place]]
    for name in metrics.NAMES:
        metric = metrics.parse(f"{name}@{k}")
        expected = sum(metric(np.array([rank - 1]), np.array([0]))[0] for rank in mates) / len(mates)
        assert value(table, f"{name}@{k}") == pytest.approx(expected, abs=1e-12)


def test_a_plain_list_without_scores_counts_by_its_ranks():
    table = listed("b", [("c", None, 3), ("a", None, 1), ("b", None, 2)])
    assert value(table, "MRR@10") == 1 / 2
    assert value(listed("z", [("a", None, 1)]), "HR@10") == 0
    assert value(listed("z", []), "HR@10") == 0


def test_a_metric_deeper_than_the_plain_lists_is_refused():
    with pytest.raises(RunError, match="a metric at 10 was asked for, and only lists of 5 items are known"):
        value(listed("a", [("a", 1.0, 1)], k=5), "HR@10")
    assert value(counted([("ann", 20, 0)]), "HR@50") == 1  # counts know every depth


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_plain_lists_with_scores_that_are_not_finite_are_refused(bad: float):
    """B6: target score NaN, here in another library's output."""
    with pytest.raises(DataError, match="scores that are not finite"):
        value(listed("a", [("a", bad, 1), ("b", 0.5, 2)]), "HR@10")


def test_a_plain_list_that_repeats_an_item_is_refused():
    """D5: `[A,A,A,A,B,...]`, target A."""
    with pytest.raises(DataError, match="an item stands twice in the list of case 'next_item/0/ann'"):
        value(listed("A", [(item, 5.0 - rank, rank) for rank, item in enumerate("AAAAB", 1)]), "nDCG@10")


def test_without_the_number_of_candidates_there_is_no_chance_level():
    with pytest.raises(RunError, match="1 cases have no num_candidates"):
        evaluation.chance(listed("a", [("a", 1.0, 1)], candidates=None), "HR@10")


def test_the_spread_of_lists_is_their_share_of_the_catalogue_and_their_taste_for_the_popular():
    ids = np.array(["", "a", "b", "c", "d"], dtype=object)
    lists = pl.DataFrame({"item_id": ["a", "a", "b", "a", "b", "c"]})
    found = evaluation.spread(lists, np.array([0, 9, 5, 3, 0]), ids)
    assert found == {"coverage": 3 / 4, "popularity correlation": pytest.approx(1.0)}
    against = evaluation.spread(lists, np.array([0, 0, 3, 5, 9]), ids)
    assert against["popularity correlation"] == pytest.approx(-1.0)
    assert evaluation.spread(lists, np.zeros(5, dtype=int), ids)["popularity correlation"] == 0
