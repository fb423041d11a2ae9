"""DeLong's test against its definition: every pair compared, the covariances of the placements as they stand in it."""

import numpy as np
import polars as pl
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from llmrec.delong import difference
from llmrec.predictions import area

RANDOM = np.random.default_rng(0)


def sample(rows: int, ties: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    wanted = RANDOM.permutation(np.arange(rows) < rows // 3)
    first, second = (wanted * strength + RANDOM.normal(size=rows) for strength in (1.0, 0.5))
    return (wanted, first.round(), second.round()) if ties else (wanted, first, second)


def by_pairs(wanted: np.ndarray, first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Difference of the areas and its p, by DeLong's own formulas over all pairs."""
    kernels = []
    for scores in (first, second):
        above = scores[wanted][:, None] - scores[~wanted]
        kernels.append((above > 0) + (above == 0) / 2)
    rows, columns = ([each.mean(axis=axis) for each in kernels] for axis in (1, 0))
    covariance = np.cov(rows) / wanted.sum() + np.cov(columns) / (~wanted).sum()
    value = kernels[0].mean() - kernels[1].mean()
    error = np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    return value, 2 * stats.norm.sf(abs(value) / error)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("rows", [9, 30, 101])
def test_the_fast_form_is_delongs(rows, ties):
    wanted, first, second = sample(rows, ties)
    found = difference(wanted, first[None], second[None], pl.Series(range(rows)))
    value, p = by_pairs(wanted, first, second)
    assert found.value == pytest.approx(roc_auc_score(wanted, first) - roc_auc_score(wanted, second))
    assert (found.value, found.p) == pytest.approx((value, p))
    assert found.low < value < found.high
    assert (found.p < 0.05) == (found.low > 0 or found.high < 0)


def test_the_other_way_round_only_the_sign_differs():
    wanted, first, second = sample(50, ties=True)
    users = pl.Series(range(50))
    there, back = (
        difference(wanted, first[None], second[None], users),
        difference(wanted, second[None], first[None], users),
    )
    assert (there.value, there.low, there.p) == pytest.approx((-back.value, -back.high, back.p))


def test_of_equal_scores_there_is_no_difference():
    wanted, first, _ = sample(40, ties=False)
    found = difference(wanted, first[None], first[None], pl.Series(range(40)))
    assert found == (0.0, 0.0, 0.0, 1.0)


def test_draws_count_by_their_mean_area():
    wanted, first, second = sample(60, ties=False)
    users, noise = pl.Series(range(60)), RANDOM.normal(size=60)
    found = difference(wanted, np.stack([first, noise]), second[None], users)
    areas = [roc_auc_score(wanted, each) for each in (first, noise, second)]
    assert found.value == pytest.approx((areas[0] + areas[1]) / 2 - areas[2])
    twice = difference(wanted, np.stack([first, first]), second[None], users)
    assert twice == pytest.approx(difference(wanted, first[None], second[None], users))
    mean = area(wanted, np.stack([first, noise]), users)
    assert mean.value == pytest.approx((areas[0] + areas[1]) / 2)
    assert mean.low < mean.value < mean.high


def test_rows_of_one_user_go_together():
    """Everybody four times: what is known is as if he were there once, but for the number of degrees of freedom."""
    wanted, first, second = sample(200, ties=False)
    alone = difference(wanted, first[None], second[None], pl.Series(range(200)))
    copies = [np.repeat(each, 4) for each in (wanted, first, second)]
    users = pl.Series(np.repeat(np.arange(200), 4))
    together = difference(copies[0], copies[1][None], copies[2][None], users)
    assert together == pytest.approx(alone, abs=1e-6)
    apart = difference(copies[0], copies[1][None], copies[2][None], pl.Series(range(800)))
    assert apart.p < alone.p and apart.high - apart.low < 0.6 * (alone.high - alone.low)
