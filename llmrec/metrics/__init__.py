"""Ranking metrics: the value of a target whose rank is known up to ties.

A metric is a gain per rank. ``metric(above, tied)`` is the exact expectation of that gain when the target takes each of
the ``tied + 1`` places behind the ``above`` better items with equal probability, so a constant score measures like a
random order, and the chance level of ``n`` candidates is ``metric(0, n - 1)``. Ranks count from 1.
"""

import re

import numpy as np
from jaxtyping import Bool, Float

from llmrec import components
from llmrec.errors import ConfigError, DataError

NAMES = {"HR": "hr", "nDCG": "ndcg", "MRR": "mrr", "Recall": "recall"}


class RankMetric:
    """Base of the ranking metrics.

    Args:
        k: the deepest rank that still counts.
    """

    def __init__(self, k: int) -> None:
        self.k = k

    def gain(self, rank: Float[np.ndarray, " ranks"]) -> Float[np.ndarray, " ranks"]:
        """What a target at this rank (from 1) is worth, before the cut at ``k``."""
        raise NotImplementedError

    def of_hits(self, hits: Bool[np.ndarray, " places"], num_relevant: int) -> float:
        """The metric of one ranked list of up to ``k`` places, each a hit or not."""
        raise NotImplementedError

    def of_list(self, relevant: np.ndarray, num_relevant: int) -> float:
        """The metric of one ranked list in which several items may be right.

        Args:
            relevant: for each place from the first on, whether that item is right.
            num_relevant: how many right items there are, in the list or not.

        Raises:
            DataError: no right item at all, or more in the list than there are, so that one must stand in it twice.
        """
        hits = np.asarray(relevant, dtype=bool)
        if num_relevant < max(1, hits.sum()):
            raise DataError(f"{hits.sum()} places are right of {num_relevant} right items; does an item stand twice?")
        return self.of_hits(hits[: self.k], num_relevant)

    def __call__(self, above: np.ndarray, tied: np.ndarray) -> Float[np.ndarray, " cases"]:
        """Expected gain per case.

        Args:
            above: candidates that score higher than the target.
            tied: other candidates that score the same.
        """
        gains = np.concatenate([[0.0], np.cumsum(self.gain(np.arange(1, self.k + 1, dtype=np.float64)))])
        first, last = np.minimum(above, self.k), np.minimum(above + tied + 1, self.k)
        values: np.ndarray = (gains[last] - gains[first]) / (tied + 1)
        return values


def parse(specification: str) -> RankMetric:
    """Builds a metric from its name, such as ``nDCG@10``.

    Raises:
        ConfigError: not of the form ``name@k`` with a known name.
    """
    match = re.fullmatch(r"(\w+)@([1-9]\d*)", specification)
    if not match or match[1] not in NAMES:
        raise ConfigError(f"no metric {specification!r}; allowed are {', '.join(NAMES)} with a depth, such as nDCG@10")
    metric: RankMetric = components.load("metrics", NAMES[match[1]])(int(match[2]))
    return metric
