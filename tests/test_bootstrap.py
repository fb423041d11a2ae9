"""Intervals over users and paired differences, against plain resampling."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tables import counted

from llmrec import evaluation
from llmrec.errors import RunError
from llmrec.evaluation import Interval
from llmrec.report import PairedTest

UNIT = st.floats(0, 1, allow_subnormal=False)


def skewed(users: int) -> np.ndarray:
    """Values like a metric's: most 0, the rest spread over a few levels."""
    generator = np.random.default_rng(1)
    return np.where(generator.random(users) < 0.7, 0.0, 1 / np.log2(generator.integers(2, 12, size=users)))


@pytest.mark.slow
@pytest.mark.parametrize("users", [20, 200])
def test_the_interval_is_that_of_plain_resampling(users: int):
    values = skewed(users)
    generator = np.random.default_rng(2)
    means = np.array([values[generator.integers(0, users, size=users)].mean() for _ in range(10_000)])
    low, high = np.percentile(means, [2.5, 97.5])
    interval = evaluation.bootstrap(values)
    # Each end has a Monte-Carlo error of about 0.04 standard errors; 90 % intervals would differ by 0.3.
    error = 0.12 * values.std() / np.sqrt(users)
    assert interval.value == values.mean()
    assert interval.low == pytest.approx(low, abs=error)
    assert interval.high == pytest.approx(high, abs=error)


@pytest.mark.parametrize("bins", [64, evaluation.BINS])
def test_very_many_distinct_values_are_drawn_by_bins(monkeypatch, bins: int):
    values = np.random.default_rng(3).random(5000) ** 4
    monkeypatch.setattr(evaluation, "BINS", bins)
    interval, error = evaluation.bootstrap(values), values.std() / np.sqrt(len(values))
    assert interval.value == values.mean()
    assert interval.low == pytest.approx(values.mean() - 1.96 * error, abs=0.12 * error)
    assert interval.high == pytest.approx(values.mean() + 1.96 * error, abs=0.12 * error)
    distinct, counts = evaluation._distinct(values)
    assert len(distinct) <= bins and counts.sum() == 5000
    assert distinct @ counts == pytest.approx(values.sum(), rel=1e-12), "no mean moves"


@given(values=st.lists(UNIT, min_size=1, max_size=30), seed=st.integers(0, 5))
@settings(deadline=None, max_examples=40)
def test_the_interval_holds_the_value_and_comes_out_the_same_again(values: list[float], seed: int):
    interval = evaluation.bootstrap(np.array(values), seed)
    assert interval.low - 1e-12 <= interval.value <= interval.high + 1e-12
    assert min(values) - 1e-12 <= interval.low and interval.high <= max(values) + 1e-12
    assert evaluation.bootstrap(np.array(values), seed) == interval


def test_the_order_of_the_users_does_not_matter_and_the_seed_does():
    values = skewed(50)
    assert evaluation.bootstrap(values[::-1])[1:] == evaluation.bootstrap(values)[1:]
    assert evaluation.bootstrap(values, seed=1) != evaluation.bootstrap(values, seed=0)


def test_equal_values_have_an_interval_without_width():
    assert evaluation.bootstrap(np.full(7, 0.5)) == Interval(0.5, 0.5, 0.5)


def test_users_are_drawn_not_cases():
    """B9: a user with ten equal cases is one user and does not make the interval narrower."""
    ranks = [0, 1, 2, 5, 20, 30, 40, 50]
    once = counted([(f"user-{rank}", rank, 0) for rank in ranks])
    often = counted([(f"user-{rank}", rank, 0) for rank in ranks for _ in range(10)])
    one, ten = (evaluation.summary(table, ("nDCG@10",))["nDCG@10"] for table in (once, often))
    assert ten == pytest.approx(one, abs=1e-12)
    assert ten["n"] == 8
    assert one["high"] - one["low"] > 0.3


def test_differences_are_taken_user_by_user_whatever_the_order_of_the_rows():
    better = [("ann", 0, 0), ("bob", 3, 0), ("cem", 50, 0)]
    worse = [("cem", 50, 0), ("bob", 4, 0), ("ann", 1, 0)]
    gains = 1 / np.log2(np.arange(2, 12))
    expected = evaluation.bootstrap(np.array([gains[0] - gains[1], gains[3] - gains[4], 0.0]))
    assert evaluation.paired_difference([counted(better)], [counted(worse)], "nDCG@10") == pytest.approx(expected)
    unpaired = evaluation.summary(counted(better), ("nDCG@10",))["nDCG@10"]
    assert expected.high - expected.low < (unpaired["high"] - unpaired["low"]) / 2


def test_seeds_are_averaged_user_by_user_before_the_difference():
    first = [counted([("ann", 0, 0), ("bob", 90, 0)]), counted([("ann", 90, 0), ("bob", 90, 0)])]
    second = [counted([("ann", 90, 0), ("bob", 0, 0)])]
    assert evaluation.mean_over_runs(first, "HR@10").rows() == [("ann", 1 / 2), ("bob", 0.0)]
    difference = evaluation.paired_difference(first, second, "HR@10")
    assert difference == evaluation.bootstrap(np.array([1 / 2 - 0, 0 - 1]))
    assert difference.value == -1 / 4


@pytest.mark.parametrize("users", [["ann"], ["ann", "bob", "cem"], ["ann", "cem"]])
def test_runs_with_other_users_are_not_compared(users: list[str]):
    one = counted([("ann", 0, 0), ("bob", 0, 0)])
    other = counted([(user, 0, 0) for user in users])
    common = len({"ann", "bob"} & set(users))
    with pytest.raises(RunError, match=f"have 2 and {len(users)} users, {common} in common"):
        evaluation.paired_difference([one], [other], "HR@10")


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.001, 0.2, "beats"),
        (0.0, 0.2, "not worse"),
        (-0.1, 0.2, "not worse"),
        (-0.1, 0.0, "not worse"),
        (0.0, 0.0, "not worse"),
        (-0.1, -0.001, "worse"),
    ],
)
def test_the_verdict_depends_on_which_side_of_zero_the_interval_lies(low: float, high: float, verdict: str):
    assert PairedTest("a", "b", "nDCG@10", Interval((low + high) / 2, low, high)).verdict == verdict


@pytest.mark.parametrize(
    ("ours", "theirs", "verdict"), [(0, 9, "beats"), (9, 0, "worse"), (4, 4, "not worse"), (50, 50, "not worse")]
)
def test_a_constant_difference_is_decided_by_its_sign(ours: int, theirs: int, verdict: str):
    one, other = (counted([(f"user-{number}", rank, 0) for number in range(30)]) for rank in (ours, theirs))
    difference = evaluation.paired_difference([one], [other], "nDCG@10")
    assert PairedTest("one", "other", "nDCG@10", difference).verdict == verdict


@pytest.mark.parametrize("value", [0.1, 0.0028924, 1 / 3])
@pytest.mark.parametrize("users", [7, 2024])
def test_an_interval_of_one_value_is_that_value_to_the_last_bit(value: float, users: int):
    """One unmasked catalogue gives every user the same chance; a plot refuses an interval beside its mean."""
    found = evaluation.bootstrap(np.full(users, value))
    assert found.low <= found.value <= found.high
    assert found.high - found.low < 1e-15
