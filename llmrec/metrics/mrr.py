"""MRR@k."""

import numpy as np

from llmrec.metrics import RankMetric


class MRR(RankMetric):
    """Reciprocal rank of the (first) right item, 0 beyond rank ``k``; the mean over users is the MRR."""

    def gain(self, rank: np.ndarray) -> np.ndarray:
        """``1 / rank``."""
        return 1 / rank

    def of_hits(self, hits: np.ndarray, num_relevant: int) -> float:
        """Reciprocal of the first hit's place."""
        places = np.flatnonzero(hits)
        return float(1 / (places[0] + 1)) if len(places) else 0.0
