"""Items that followed soon upon what was seen last."""

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from llmrec.baselines import Known, Needs, decayed, require_recency
from llmrec.sequences import Sequences


class CoOccurrence:
    """How often an item followed another in training, summed over the recent history with geometric decay.

    An item that came ``d`` places later counts ``1 / d``.

    Args:
        window: the most places between the two.
        decay: weight of an item relative to the one seen after it.
        last: how many recent items count.
    """

    needs: Needs = "nothing"

    def __init__(self, *, window: int = 10, decay: float = 0.8, last: int = 20) -> None:
        require_recency(decay, last)
        if window < 1:
            raise ValueError(f"window must be at least 1, came {window}")
        self.window, self.decay, self.last = window, decay, last

    def fit(self, known: Known) -> "CoOccurrence":
        """Counts the pairs of each distance."""
        rows, values, size = known.train.rows(), known.train.values, known.num_items + 1
        self.followed = sparse.csr_array((size, size), dtype=np.float32)
        for distance in range(1, self.window + 1):
            same = rows[distance:] == rows[:-distance]
            pairs = (values[:-distance][same], values[distance:][same])
            shares = np.full(len(pairs[0]), 1 / distance, dtype=np.float32)
            self.followed += sparse.csr_array((shares, pairs), shape=(size, size))
        return self

    def score(self, histories: Sequences) -> Tensor:
        """Weighted sums of shares."""
        bags = decayed(histories, self.followed.shape[0] - 1, self.decay, self.last)
        return torch.from_numpy((bags @ self.followed).toarray())
