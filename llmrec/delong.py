"""DeLong's test of two areas under the ROC curve that were measured on the same rows."""

from typing import NamedTuple

import numpy as np
import polars as pl
from jaxtyping import Bool, Float
from scipy import stats


class Difference(NamedTuple):
    """First area less second, its 95 % interval, and the two-sided p of there being none."""

    value: float
    low: float
    high: float
    p: float


def difference(
    wanted: Bool[np.ndarray, " rows"],
    first: Float[np.ndarray, "draws rows"],
    second: Float[np.ndarray, "others rows"],
    users: pl.Series,
) -> Difference:
    """DeLong's paired test (Biometrics 44, 1988) of the mean area over draws, computed as by Sun and Xu (2014).

    The area is the mean of the rows' placements, and so is a mean of areas of the means of these; several scores of a
    row, such as those of models trained on different rows, are one statistic. Rows of one user go together (Obuchowski,
    Biometrics 53, 1997); where every row is a user of his own this is DeLong's test.

    Args:
        wanted: which rows are to score high; some, not all.
        first: scores, one line for each draw.
        second: the same of what is compared; it may have another number of draws.
        users: whose each row is.
    """
    placed = np.mean([_placements(wanted, each) for each in first], axis=0)
    placed = placed - np.mean([_placements(wanted, each) for each in second], axis=0)
    value = float(placed[wanted].mean())
    error = np.sqrt(_variance(wanted, placed - value, users))
    p = 2 * stats.norm.sf(abs(value) / error) if error else float(value == 0)
    width = stats.norm.ppf(0.975) * error
    return Difference(value, float(value - width), float(value + width), float(p))


def _placements(wanted: Bool[np.ndarray, " rows"], scores: Float[np.ndarray, " rows"]) -> Float[np.ndarray, " rows"]:
    """Of a wanted row the share of the others that it scores above, of another that of the wanted ones above it.

    Ties count half. The ranks among all rows and among those of a kind tell it without comparing pairs.
    """
    ranks = stats.rankdata(scores)
    result = np.empty(len(scores))
    above = ranks[wanted] - stats.rankdata(scores[wanted])
    below = ranks[~wanted] - stats.rankdata(scores[~wanted])
    result[wanted] = above / len(below)
    result[~wanted] = 1 - below / len(above)
    return result


def _variance(wanted: Bool[np.ndarray, " rows"], over: Float[np.ndarray, " rows"], users: pl.Series) -> float:
    """Of the mean over wanted rows, by what placements are over it, summed user by user."""
    own = users.rank("dense").to_numpy().astype(np.int64) - 1
    total, number = 0.0, own.max() + 1
    sums = []
    for kind in (wanted, ~wanted):
        has = np.bincount(own[kind], minlength=number) > 0
        sums.append(np.bincount(own[kind], over[kind], number) / kind.sum())
        total += has.sum() / (has.sum() - 1) * (sums[-1] ** 2).sum()
    return float(total + 2 * number / (number - 1) * (sums[0] * sums[1]).sum())
