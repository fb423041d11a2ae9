"""Text vectors smoothed over what was met together, compared with the recent history."""

import numpy as np
import torch
import torch.nn.functional as F
from scipy import sparse

from llmrec.baselines import Known
from llmrec.baselines.co_occurrence import CoOccurrence
from llmrec.baselines.cosine import Cosine


class Smoothed(Cosine):
    """Cosine of text vectors that have taken something of those of their neighbours in the log.

    Neighbours are items that training shows soon before or after one another, weighted as in ``co_occurrence``; in each
    step a vector becomes a mean of what it was at first and of its neighbours' (arXiv:1810.05997, without anything that
    learns). An item without neighbours keeps its own.

    Args:
        share: of the neighbours in the mean; 0: ``cosine``.
        steps: how often they are asked, and so how far away neighbours count.
        decay: weight of an item relative to the one seen after it.
        last: how many recent items count.
    """

    def __init__(self, *, share: float = 0.5, steps: int = 2, decay: float = 0.8, last: int = 20) -> None:
        super().__init__(decay=decay, last=last)
        if not 0 <= share < 1:
            raise ValueError(f"share must be at least 0 and below 1, came {share}")
        if steps < 1:
            raise ValueError(f"steps must be at least 1, came {steps}")
        self.share, self.steps = share, steps

    def fit(self, known: Known) -> "Smoothed":
        """Standardises as ``cosine`` does, and smooths."""
        super().fit(known)
        followed = CoOccurrence().fit(known).followed
        met = followed + followed.T
        number = np.asarray(met.sum(axis=1)).ravel()
        neighbours = sparse.diags_array(1 / np.where(number > 0, number, 1)) @ met
        own = self.vectors.numpy()
        shares = np.where(number > 0, self.share, 0)[:, None].astype(np.float32)
        smooth = own
        for _ in range(self.steps):
            smooth = (1 - shares) * own + shares * (neighbours @ smooth).astype(np.float32)
        self.vectors = F.normalize(torch.from_numpy(smooth))
        return self
