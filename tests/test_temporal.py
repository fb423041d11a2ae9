"""The split by global time: where it cuts, whom it asks for what, and what it knows then."""

import numpy as np
import polars as pl
import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from small_logs import LOG, asked, log_of, rows_of, trained

from llmrec import evaluation
from llmrec.baselines import Known
from llmrec.baselines.random import Random
from llmrec.config import RunConfig
from llmrec.errors import DataError
from llmrec.interactions import Dataset
from llmrec.runs import RunTable
from llmrec.sources import load_dataset
from llmrec.splits.temporal import Temporal

ML_100K = ROOT.parent / "shared" / "data" / "ml-100k"
USERS = ("abcdef", "ghijkl", "mn")
STAMPS = [1, 2, 6, 7, 8, 9, 1, 3, 4, 5, 8, 10, 9, 10]
"""14 rows; with 0.2 for validation the cut comes nearest at time 7 (8 rows before), with 0.2 for test at 9 (10)."""


def split_of(target: str = "last", seed: int = 0):
    return Temporal(validation=0.2, test=0.3, target=target, seed=seed).split(log_of(*USERS, stamps=STAMPS))


def test_what_came_before_the_first_cut_trains_whoever_did_it():
    split = split_of()
    assert trained(split) == ["abc", "ghij", ""]
    assert asked(split, "validation") == [("u1", "abcd", "e"), ("u2", "ghij", "k")]
    assert asked(split, "test") == [("u1", "abcde", "f"), ("u2", "ghijk", "l"), ("u3", "m", "n")]
    assert split.without_case.is_empty()
    assert split.unused.is_empty()
    assert split.description == (
        "the last interaction of each user since 1970-01-01 00:00:09 UTC tests (0.3 of all), since "
        "1970-01-01 00:00:07 UTC validates (0.2)"
    )


@pytest.mark.parametrize(
    ("target", "validation", "test"),
    [
        ("first", ["abc>d", "ghij>k"], ["abcde>f", "ghijk>l", "m>n"]),
        ("successive", ["abc>d", "abcd>e", "ghij>k"], ["abcde>f", "ghijk>l", "m>n"]),
    ],
)
def test_which_interaction_of_a_part_is_asked_for_is_an_option(target, validation, test):
    split = split_of(target)
    for part, expected in (("validation", validation), ("test", test)):
        assert [f"{history}>{item}" for _, history, item in asked(split, part)] == expected
    assert split.validation.target_index.tolist() == ([0, 0] if target == "first" else [0, 1, 0])


def test_a_random_target_depends_on_the_seed_alone():
    seen = {seed: asked(split_of("random", seed), "validation")[0] for seed in range(8)}
    assert set(seen.values()) == {("u1", "abc", "d"), ("u1", "abcd", "e")}
    assert asked(split_of("random", 1), "validation")[0] == seen[1]
    assert "one interaction at random (seed 3) of each user" in split_of("random", 3).description


def test_what_is_held_out_and_not_asked_for_is_counted():
    split = split_of("first")
    assert split.unused.is_empty(), "e stands in u1's test history"
    data = log_of("abc", "xyz", stamps=[1, 5, 6, 1, 2, 9])
    split = Temporal(validation=0.3, test=0.2, target="first").split(data)
    assert asked(split, "validation") == [("u1", "a", "b")]
    assert split.unused.rows() == [("u1", 1)]


def test_a_user_who_did_nothing_before_has_no_case_and_is_listed():
    data = log_of("abc", "d", "abe", "ab", stamps=[1, 7, 9, 9, 2, 8, 9, 3, 4])
    split = Temporal(validation=0.2, test=0.3).split(data)
    assert dict(split.without_case.rows()) == {
        "u2": "no interaction before a target since 1970-01-01 00:00:07 UTC",
        "u4": "no interaction since 1970-01-01 00:00:07 UTC",
    }
    assert split.unused.rows() == [("u2", 1)]


def test_a_new_user_is_asked_for_the_first_interaction_that_has_one_before_it():
    data = log_of("abcde", "fgh", stamps=[1, 2, 3, 4, 9, 9, 9, 9])
    for target, expected in (("first", ("u2", "f", "g")), ("last", ("u2", "fg", "h"))):
        split = Temporal(validation=0.1, test=0.5, target=target).split(data)
        assert expected in asked(split, "test")


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(
    times=st.lists(st.integers(-5, 12), min_size=3, max_size=40).filter(lambda times: len(set(times)) > 2),
    validation=st.floats(0.05, 0.45),
    test=st.floats(0.05, 0.45),
)
def test_no_time_stands_on_both_sides_of_a_cut_and_the_cut_is_the_nearest(times, validation, test):
    rows = [(f"u{place % 4}", f"i{place}", time) for place, time in enumerate(times)]
    split = Temporal(validation=validation, test=test, target="successive").split(rows_of(rows))
    log = dict(zip(split.dataset.interactions["item"], split.dataset.interactions["timestamp"]))
    edges = sorted(set(times))
    before = [sum(time < edge for time in times) for edge in edges]
    wanted = len(times) * (1 - validation - test)
    first = 1 + int(np.argmin([abs(number - wanted) for number in before[1:-1]]))
    assert sorted(split.train.times.tolist()) == sorted(time for time in times if time < edges[first])
    late = [log[item] for item in split.test.target.tolist()]
    middle = [log[item] for item in split.validation.target.tolist()]
    assert min(middle + late, default=99) >= edges[first] > split.train.times.max()
    assert max(middle, default=-99) < min(late, default=99)


def test_data_without_times_or_with_too_few_are_refused():
    log = pl.DataFrame([("u1", "a", 0), ("u1", "b", 1), ("u1", "c", 2)], LOG, orient="row")
    ordered = Dataset.from_tables("games", log, time_unit="order")
    with pytest.raises(DataError, match=r"games has no times, only each user's order.*leave_one_out or.*given"):
        Temporal().split(ordered)
    with pytest.raises(DataError, match="letters has 2 different times; a split by time needs at least 3"):
        Temporal().split(log_of("abc", stamps=[1, 1, 2]))


def test_times_beyond_the_calendar_are_cut_too():
    split = Temporal().split(log_of("abc", "abd", stamps=[10**13, 2 * 10**13, 3 * 10**13] * 2))
    assert [len(split.train.values), len(split.validation), len(split.test)] == [2, 2, 2]


def test_users_count_once_however_often_they_are_asked():
    """B9: one user with 2 test items, one with 1: here successive targets, u1 is asked twice and u2 once."""
    data = log_of("abcde", "bcdea", stamps=[1, 2, 3, 8, 9, 1, 2, 3, 4, 9])
    split = Temporal(validation=0.1, test=0.3, target="successive").split(data)
    assert [split.dataset.user_ids[user] for user in split.test.user] == ["u1", "u1", "u2"]
    scorer = Random().fit(Known(split.train, 5))
    ranked = evaluation.rank_cases(scorer, split.test, data, mask_history=True, k=10)
    assert ranked[0]["num_candidates"].to_list() == [5 - 3, 5 - 4, 5 - 4]
    table = RunTable(*ranked, evaluation.protocol_of(split, RunConfig()), {})
    assert evaluation.summary(table, ("HR@1",))["HR@1"]["value"] == pytest.approx(((1 / 2 + 1) / 2 + 1) / 2)


@pytest.mark.skipif(not ML_100K.is_dir(), reason="../shared/data/ml-100k is missing")
def test_ml_100k_is_cut_in_march_1998():
    split = Temporal().split(load_dataset("ml-100k", ML_100K))
    assert "since 1998-03-31 22:11:49 UTC tests (0.1 of all), since 1998-03-07 02:21:09" in split.description
    assert (len(split.train.values), len(split.validation), len(split.test)) == (79_999, 197, 166)
    assert split.without_case["reason"].unique().to_list() == ["no interaction since 1998-03-07 02:21:09 UTC"]
    assert len(split.without_case) == 642
    assert split.unused.is_empty()
    assert len(split.cold_items()) == 9
