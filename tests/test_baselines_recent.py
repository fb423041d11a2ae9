"""Popularity of the last days, and when it cannot be made."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from llmrec import components, config
from llmrec.baselines import Known
from llmrec.baselines.recent_popularity import DAY, RecentPopularity
from llmrec.interactions import Dataset
from llmrec.item_text import ItemText
from llmrec.sequences import Sequences
from llmrec.splits import Split

TRAIN = replace(
    Sequences.from_lists([[1, 2, 3], [], [2, 3, 3]]),
    times=np.array([0, 3 * DAY, 10 * DAY, 2 * DAY, 3 * DAY + 1, 9 * DAY], dtype=np.int64),
)


@pytest.mark.parametrize("days", [1, 2, 7, 8, 365])
def test_recent_popularity_is_the_naive_loop(days: int):
    expected = np.zeros(5)
    for item, time in zip(TRAIN.values, TRAIN.times):
        expected[item] += 10 * DAY - time < days * DAY
    scores = RecentPopularity(days=days).fit(Known(TRAIN, 4, times=True)).score(Sequences.from_lists([[1], [], [4]]))
    assert scores.tolist() == [expected.tolist()] * 3


def test_exactly_so_many_days_ago_is_too_long_ago():
    scores = RecentPopularity(days=7).fit(Known(TRAIN, 4, times=True)).score(Sequences.from_lists([[]]))
    assert scores.tolist() == [[0, 0, 0, 3, 0]]


def test_less_than_a_day_is_refused():
    with pytest.raises(ValueError, match="days must be at least 1, came 0"):
        RecentPopularity(days=0)


def test_it_is_not_made_without_times():
    assert Known(TRAIN, 4, times=True).has("times")
    assert not Known(TRAIN, 4).has("times")
    assert not Known(replace(TRAIN, times=None), 4, times=True).has("times")


@pytest.mark.parametrize(("unit", "made"), [("seconds", True), ("order", False)])
def test_positions_are_not_taken_for_seconds(unit, made):
    rows = [(user, item, place) for user in "ab" for place, item in enumerate("xyz")]
    log = pl.DataFrame(rows, ["user_id", "item_id", "timestamp"], orient="row")
    data = Dataset.from_tables("letters", log, time_unit=unit)
    split: Split = components.create("splits", components.resolve("splits", "leave_one_out")).split(data)
    known = ItemText.of(config.RunConfig().resolved(), data, lambda done, total: None).known(split)
    assert known.has("times") is made
