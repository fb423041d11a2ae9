"""HR@k, the hit rate."""

import numpy as np

from llmrec.metrics import RankMetric


class HR(RankMetric):
    """Whether a right item stands among the first ``k``: 0 or 1, however many do.

    With one target a case this equals Recall@k. A count of hits is not a hit rate and is never reported as one.
    """

    def gain(self, rank: np.ndarray) -> np.ndarray:
        """1 at every rank."""
        return np.ones_like(rank)

    def of_hits(self, hits: np.ndarray, num_relevant: int) -> float:
        """1 if there is any."""
        return float(hits.any())
