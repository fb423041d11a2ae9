"""Metrics of predictions: the values of a well-kept library, intervals over users, and nothing left out."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score, root_mean_squared_error

from llmrec.errors import DataError
from llmrec.predictions import choices, ratings
from llmrec.runs import PREDICTIONS


def table(targets: list[str], words: list[str], scores: list[float | None]) -> pl.DataFrame:
    ids = [f"test/0/{row}" for row in range(len(targets))]
    return pl.DataFrame(
        {"case_id": ids, "target": targets, "prediction": words, "score": scores}, schema=dict(PREDICTIONS)
    )


def users(number: int) -> pl.Series:
    return pl.Series([f"u{row}" for row in range(number)])


def test_ratings_err_over_the_whole_range_and_what_cannot_be_read_counts_as_the_fallback():
    made = table(["5.0", "1.0", "3.0", "4.0"], ["5.0", "1.0", "what?", "3.5"], [5.0, 1.0, None, 3.5])
    found = ratings(made, users(4), fallback=2.0)
    assert found["RMSE"].value == pytest.approx(root_mean_squared_error([5, 1, 3, 4], [5, 1, 2, 3.5]))
    assert found["MAE"].value == pytest.approx(1.5 / 4)
    assert found["RMSE"].low < found["RMSE"].value < found["RMSE"].high


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.booleans(), st.sampled_from([0.1, 0.2, 0.5, 0.7])), min_size=2, max_size=30))
def test_auc_counts_ties_half_as_scikit_learn_does(rows):
    wanted, scores = [row[0] for row in rows], [row[1] for row in rows]
    made = table(["yes" if each else "no" for each in wanted], ["yes"] * len(rows), list(scores))
    if len(set(wanted)) == 1:
        with pytest.raises(DataError, match="two kinds of targets"):
            choices(made, users(len(rows)), "yes")
        return
    found = choices(made, users(len(rows)), "yes")
    assert found["AUC"].value == pytest.approx(roc_auc_score(wanted, scores))
    assert found["accuracy"].value == pytest.approx(np.mean(wanted))


def test_intervals_are_over_users_not_over_rows():
    """Ten rows of each of four users say no more than one of each does."""
    scores = [1.0, 2.0, 3.0, 4.0]
    once = ratings(table(["3.0"] * 4, [""] * 4, scores), users(4), 3.0)
    often = ratings(table(["3.0"] * 40, [""] * 40, scores * 10), pl.concat([users(4)] * 10), 3.0)
    assert often["MAE"] == pytest.approx(once["MAE"])


def test_a_rating_that_is_no_number_is_refused():
    with pytest.raises(DataError, match="must be a number"):
        ratings(table(["good"], ["5"], [5.0]), users(1), 3.0)
