"""Recall@k."""

import numpy as np

from llmrec.metrics import RankMetric


class Recall(RankMetric):
    """Share of the right items that stand among the first ``k``; with one target a case the same as HR@k."""

    def gain(self, rank: np.ndarray) -> np.ndarray:
        """1 at every rank."""
        return np.ones_like(rank)

    def of_hits(self, hits: np.ndarray, num_relevant: int) -> float:
        """Hits over all right items."""
        return float(hits.sum()) / num_relevant
