"""nDCG@k."""

import numpy as np

from llmrec.metrics import RankMetric


class NDCG(RankMetric):
    """Normalised discounted cumulative gain with binary relevance (Järvelin & Kekäläinen 2002, 10.1145/582415.582418).

    A target at rank ``r`` is worth ``1 / log2(r + 1)``. The ideal list holds ``min(k, right items)`` hits at the top,
    never just as many as were retrieved, which would inflate the value.
    """

    def gain(self, rank: np.ndarray) -> np.ndarray:
        """``1 / log2(rank + 1)``."""
        return 1 / np.log2(rank + 1)

    def of_hits(self, hits: np.ndarray, num_relevant: int) -> float:
        """Gain of the hits over the gain of the ideal list."""
        gains = self.gain(np.arange(1, self.k + 1, dtype=np.float64))
        return float(gains[: len(hits)][hits].sum() / gains[: min(self.k, num_relevant)].sum())
