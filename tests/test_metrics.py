"""Ranking metrics against brute force and against ir_measures."""

from itertools import permutations
from math import log2

import ir_measures
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ir_measures import RR, R, Success, nDCG

from llmrec import components, metrics
from llmrec.errors import ConfigError, DataError

NAMES = components.names("metrics")
ORACLE = {"hr": Success, "ndcg": nDCG, "mrr": RR, "recall": R}
DEPTHS = st.integers(1, 20)
COUNTS = st.integers(0, 40)


def make(name: str, k: int) -> metrics.RankMetric:
    return components.load("metrics", name)(k)


def value(name: str, k: int, above: int, tied: int = 0) -> float:
    return float(make(name, k)(np.array([above]), np.array([tied]))[0])


def one_hit(place: int, length: int) -> np.ndarray:
    return np.arange(1, length + 1) == place


def oracle(name: str, k: int, order: list[str], relevant: list[str]) -> float:
    qrels = [ir_measures.Qrel("q", item, 1) for item in relevant]
    run = [ir_measures.ScoredDoc("q", item, float(len(order) - place)) for place, item in enumerate(order)]
    measure = ORACLE[name] @ k
    return float(ir_measures.calc_aggregate([measure], qrels, run)[measure])


def test_every_metric_file_can_be_asked_for_by_name_and_has_an_oracle():
    assert sorted(metrics.NAMES.values()) == NAMES == sorted(ORACLE)
    for label, name in metrics.NAMES.items():
        parsed = metrics.parse(f"{label}@7")
        assert (type(parsed), parsed.k) == (components.load("metrics", name), 7)


@pytest.mark.parametrize("wrong", ["nDCG", "nDCG@0", "nDCG@-1", "nDCG@1.5", "ndcg@10", "AUC@10", "@10", "nDCG@10 "])
def test_a_metric_that_is_not_name_at_depth_is_refused_with_what_is_allowed(wrong: str):
    with pytest.raises(ConfigError, match=r"no metric .*HR, nDCG, MRR, Recall") as caught:
        metrics.parse(wrong)
    assert repr(wrong) in str(caught.value)


@pytest.mark.parametrize("name", NAMES)
@given(k=DEPTHS, above=COUNTS, tied=COUNTS)
@settings(deadline=None, max_examples=50)
def test_a_tied_target_is_worth_the_mean_over_the_places_it_may_take(name: str, k: int, above: int, tied: int):
    metric = make(name, k)
    places = [metric.of_list(one_hit(place, above + tied + 1), 1) for place in range(above + 1, above + tied + 2)]
    assert value(name, k, above, tied) == pytest.approx(sum(places) / len(places), abs=1e-12)
    assert 0 <= value(name, k, above, tied) <= 1


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@given(data=st.data(), k=DEPTHS, items=st.integers(1, 12))
@settings(deadline=None, max_examples=50)
def test_a_list_with_several_right_items_is_measured_as_ir_measures_does(name: str, data, k: int, items: int):
    catalogue = [f"item{number}" for number in range(items)]
    relevant = data.draw(st.sets(st.sampled_from(catalogue), min_size=1))
    order = data.draw(st.permutations(catalogue))[: data.draw(st.integers(1, items))]
    ours = make(name, k).of_list(np.array([item in relevant for item in order]), len(relevant))
    assert ours == pytest.approx(oracle(name, k, order, sorted(relevant)), abs=1e-9)
    assert 0 <= ours <= 1


@pytest.mark.parametrize("name", NAMES)
@given(k=DEPTHS, above=st.integers(0, 30))
@settings(deadline=None, max_examples=50)
def test_a_target_without_ties_is_measured_as_ir_measures_does(name: str, k: int, above: int):
    order = [f"item{number}" for number in range(above)] + ["target", "last"]
    assert value(name, k, above) == pytest.approx(oracle(name, k, order, ["target"]), abs=1e-9)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("k", [1, 2, 3, 10])
def test_ties_are_the_mean_of_ir_measures_over_every_order_of_the_tied(name: str, k: int):
    above, tied = ["first"], ["target", "b", "c", "d"]
    orders = [above + list(order) + ["last"] for order in permutations(tied)]
    mean = sum(oracle(name, k, order, ["target"]) for order in orders) / len(orders)
    assert value(name, k, len(above), len(tied) - 1) == pytest.approx(mean, abs=1e-9)


@given(k=DEPTHS, above=COUNTS, tied=COUNTS)
@settings(deadline=None, max_examples=50)
def test_with_one_target_recall_is_the_hit_rate_and_nothing_exceeds_it(k: int, above: int, tied: int):
    """D5: nDCG@k (and MRR@k) never exceed HR@k, whatever the rank."""
    hit = value("hr", k, above, tied)
    assert value("recall", k, above, tied) == hit
    assert value("mrr", k, above, tied) <= value("ndcg", k, above, tied) + 1e-12 <= hit + 2e-12


@given(hits=st.lists(st.booleans(), min_size=1, max_size=15), missing=st.integers(0, 3), k=DEPTHS)
@settings(deadline=None, max_examples=50)
def test_in_a_list_with_several_right_items_nothing_exceeds_the_hit_rate(hits: list[bool], missing: int, k: int):
    """D5: the same where several items of a list are right."""
    right = max(1, sum(hits) + missing)
    values = {name: make(name, k).of_list(np.array(hits), right) for name in NAMES}
    assert max(values.values()) <= values["hr"] + 1e-12


@pytest.mark.parametrize("name", NAMES)
def test_a_list_that_repeats_the_target_is_refused_not_measured_above_one(name: str):
    """D5: `[A,A,A,A,B,...]` with target A would give nDCG@5 = 1 + 1/log2(3) + ... > 1."""
    answer = np.array(["A", "A", "A", "A", "B"])
    with pytest.raises(DataError, match="4 places are right of 1 right items"):
        make(name, 5).of_list(answer == "A", 1)
    assert make(name, 5).of_list(np.array(["A", "B"]) == "A", 1) == 1


@pytest.mark.parametrize("name", NAMES)
def test_a_list_for_which_nothing_is_right_has_no_value(name: str):
    with pytest.raises(DataError, match="of 0 right items"):
        make(name, 5).of_list(np.array([False, False]), 0)


@pytest.mark.parametrize("name", NAMES)
def test_ten_right_recommendations_measure_exactly_one(name: str):
    """B1: all ten recommendations relevant."""
    assert make(name, 10).of_list(np.ones(10, dtype=bool), 10) == 1


@pytest.mark.parametrize("name", NAMES)
def test_a_depth_beyond_the_list_counts_as_misses_not_as_an_error(name: str):
    """B2: 5 items, k = 10; the ideal list of nDCG holds min(k, right items) hits whatever the catalogue."""
    last_of_five = {"hr": 1.0, "recall": 1.0, "mrr": 1 / 5, "ndcg": 1 / log2(6)}[name]
    assert value(name, 10, 4) == pytest.approx(last_of_five)
    assert make(name, 10).of_list(one_hit(5, 5), 1) == pytest.approx(last_of_five)
    chance = {"hr": 1.0, "recall": 1.0, "mrr": sum(1 / r for r in range(1, 6)) / 5}
    chance["ndcg"] = sum(1 / log2(r + 1) for r in range(1, 6)) / 5
    assert value(name, 10, 0, 4) == pytest.approx(chance[name])


def test_the_ideal_list_holds_all_right_items_not_only_the_retrieved():
    """B3: 3 relevant, only rank 1 hit -> NDCG@3 = 1/2.1309 = 0.4693."""
    ndcg = make("ndcg", 3).of_list(np.array([True, False, False]), 3)
    assert ndcg == pytest.approx(1 / (1 + 1 / log2(3) + 1 / 2))
    assert round(ndcg, 4) == 0.4693
    assert ndcg == pytest.approx(oracle("ndcg", 3, ["a", "x", "y"], ["a", "b", "c"]), abs=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_a_constant_score_is_worth_its_chance_not_a_hit(name: str):
    """B5: all scores 0, 101 candidates."""
    gains = {"hr": 10.0, "recall": 10.0, "mrr": sum(1 / r for r in range(1, 11))}
    gains["ndcg"] = sum(1 / log2(r + 1) for r in range(1, 11))
    assert value(name, 10, 0, 100) == pytest.approx(gains[name] / 101)


def test_a_hit_rate_counts_a_user_once_however_many_hits():
    """B12: 2 targets in top-k; the hit rate stays 1 and recall is the share found."""
    hits = np.array([True, False, True, False])
    assert make("hr", 4).of_list(hits, 2) == 1
    assert make("hr", 4).of_list(hits, 4) == 1
    assert make("recall", 4).of_list(hits, 4) == 2 / 4


def test_values_come_back_per_case():
    values = make("ndcg", 2)(np.array([0, 1, 2, 0]), np.array([0, 0, 0, 1]))
    assert values.tolist() == pytest.approx([1, 1 / log2(3), 0, (1 + 1 / log2(3)) / 2])
