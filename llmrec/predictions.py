"""Metrics of predictions, ratings and choices: each a value with an interval over users.

A user's predictions go together into a draw of the bootstrap, as his cases do where rankings are measured.
"""

from collections.abc import Callable

import numpy as np
import polars as pl
from jaxtyping import Float

from llmrec.errors import DataError
from llmrec.evaluation import Interval

DRAWS = 1000
Weights = Float[np.ndarray, " rows"]


def ratings(predictions: pl.DataFrame, users: pl.Series, fallback: float) -> dict[str, Interval]:
    """RMSE and MAE over every row.

    Args:
        predictions: as in :class:`llmrec.runs.RunTable`; ``score`` is the number that was read off the answer, null
            where none was: such a row counts as ``fallback``. The whole range of numbers counts as it is.
        users: whose each row is.
        fallback: what to say where a model says nothing, such as the mean of the training ratings.

    Raises:
        DataError: a target that is no number.
    """
    from sklearn.metrics import mean_absolute_error, root_mean_squared_error

    try:
        targets = predictions["target"].cast(pl.Float64).to_numpy()
    except pl.exceptions.PolarsError as error:
        raise DataError(f"the target of a rating must be a number: {error}") from None
    said = predictions["score"].fill_null(fallback).to_numpy()
    return {
        "RMSE": _interval(lambda weights: root_mean_squared_error(targets, said, sample_weight=weights), users),
        "MAE": _interval(lambda weights: mean_absolute_error(targets, said, sample_weight=weights), users),
    }


def choices(predictions: pl.DataFrame, users: pl.Series, positive: str) -> dict[str, Interval]:
    """Accuracy of the words that were chosen, and AUC of the probability of one of them.

    Args:
        predictions: as in :class:`llmrec.runs.RunTable`; ``score`` grows with the probability of ``positive``.
        users: whose each row is.
        positive: the word whose probability ``score`` tells.

    Raises:
        DataError: all targets are the same word, so that there is no order to measure.
    """
    from sklearn.metrics import roc_auc_score

    right = (predictions["target"] == predictions["prediction"]).to_numpy()
    wanted, scores = (predictions["target"] == positive).to_numpy(), predictions["score"].to_numpy()
    if wanted.all() or not wanted.any():
        raise DataError(f"AUC needs two kinds of targets; all {len(wanted)} are {predictions['target'][0]!r}")

    def auc(weights: Weights) -> float:
        both = 0 < weights[wanted].sum() < weights.sum()  # a draw may hold one kind alone
        return float(roc_auc_score(wanted, scores, sample_weight=weights)) if both else np.nan

    return {
        "accuracy": _interval(lambda weights: float(np.average(right, weights=weights)), users),
        "AUC": _interval(auc, users),
    }


def _interval(statistic: Callable[[Weights], float], users: pl.Series) -> Interval:
    """A statistic of weighted rows with its 95 % percentile interval over draws of users."""
    own = users.rank("dense").to_numpy().astype(np.int64) - 1
    number, random = int(own.max()) + 1, np.random.default_rng(0)
    draws = random.multinomial(number, np.full(number, 1 / number), size=DRAWS)
    low, high = np.nanpercentile([statistic(times[own].astype(np.float64)) for times in draws], [2.5, 97.5])
    value = float(statistic(np.ones(len(own))))
    return Interval(value, min(float(low), value), max(float(high), value))
