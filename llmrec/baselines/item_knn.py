"""Items that the same people had in their histories."""

from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from llmrec.baselines import Known, Needs, decayed, require_recency
from llmrec.sequences import Sequences

CHUNK_PAIRS = 1 << 24
"""Pairs of items compared at once, before all but the nearest are dropped."""


class ItemKNN:
    """Cosine of items over the users that had them, summed over the recent history with geometric decay.

    Only the nearest items of each item count (Deshpande & Karypis 2004, 10.1145/963770.963776). How often a user had
    an item makes no difference, and an item is no neighbour of itself.

    Args:
        neighbours: how many of the nearest items each item keeps; among equals the lower index goes first.
        shrink: added to the denominator of the cosine, so that a few shared users weigh less.
        decay: weight of an item relative to the one seen after it.
        last: how many recent items count.
    """

    needs: Needs = "nothing"

    def __init__(self, *, neighbours: int = 100, shrink: float = 10.0, decay: float = 0.8, last: int = 20) -> None:
        require_recency(decay, last)
        if neighbours < 1:
            raise ValueError(f"neighbours must be at least 1, came {neighbours}")
        if shrink < 0:
            raise ValueError(f"shrink must be at least 0, came {shrink}")
        self.neighbours, self.shrink, self.decay, self.last = neighbours, shrink, decay, last

    def fit(self, known: Known) -> "ItemKNN":
        """Finds the nearest items of every item, many items at a time."""
        train, size = known.train, known.num_items + 1
        where = (train.rows(), train.values)
        users = sparse.csr_array((np.ones(len(train.values), np.float32), where), shape=(len(train), size))
        users.data[:] = 1
        items, step = users.T.tocsr(), max(1, CHUNK_PAIRS // size)
        norms = np.sqrt(items.sum(axis=1, dtype=np.float64))
        parts = [self._nearest(items[start : start + step] @ users, start, norms) for start in range(0, size, step)]
        self.similarity = sparse.vstack(parts, format="csr")
        return self

    def score(self, histories: Sequences) -> Tensor:
        """Weighted sums of cosines."""
        bags = decayed(histories, self.similarity.shape[0] - 1, self.decay, self.last)
        return torch.from_numpy((bags @ self.similarity).toarray())

    def _nearest(self, together: Any, start: int, norms: np.ndarray) -> sparse.csr_array:
        """Rows from ``start`` on of the cosines, from the number of users that pairs have in common."""
        together.sort_indices()
        pairs = together.tocoo()
        cosines = pairs.data / (norms[pairs.row + start] * norms[pairs.col] + self.shrink)
        # No cosine is above 1, so one number sorts by row and by cosine; equals stay in the order of their index.
        order = np.argsort(pairs.row + (1 - cosines) / 2, kind="stable")
        order = order[pairs.row[order] + start != pairs.col[order]]
        row = pairs.row[order]
        order = order[np.arange(len(row)) - np.searchsorted(row, row) < self.neighbours]
        kept = (cosines[order].astype(np.float32), (pairs.row[order], pairs.col[order]))
        return sparse.csr_array(kept, shape=pairs.shape)
