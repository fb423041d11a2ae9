"""Items whose texts answer the texts of what was seen last."""

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from llmrec.baselines import Known, Needs, decayed, require_recency
from llmrec.sequences import Sequences


class BM25:
    """Okapi BM25 with the words of the recent history as the query and every item's text as a document.

    Each word counts as often as it stands in the history, with geometric decay (Robertson & Zaragoza 2009,
    10.1561/1500000019). A word of ``df`` of ``n`` texts weighs ``log(1 + (n - df + 0.5) / (df + 0.5))``, which is
    never negative.

    Args:
        k1: how much a word gains by standing in a text again; 0 asks only whether it does.
        b: how far long texts are held against themselves, 0 to 1.
        decay: weight of an item relative to the one seen after it.
        last: how many recent items count.
    """

    needs: Needs = "texts"

    def __init__(self, *, k1: float = 1.2, b: float = 0.75, decay: float = 0.8, last: int = 20) -> None:
        require_recency(decay, last)
        if k1 < 0:
            raise ValueError(f"k1 must be at least 0, came {k1}")
        if not 0 <= b <= 1:
            raise ValueError(f"b must be between 0 and 1, came {b}")
        self.k1, self.b, self.decay, self.last = k1, b, decay, last

    def fit(self, known: Known) -> "BM25":
        """Weighs every word of every text; the padding is no document."""
        from sklearn.feature_extraction.text import CountVectorizer

        # Words of one character count too: otherwise a catalogue of such titles has no word at all.
        counts = sparse.csr_array(CountVectorizer(token_pattern=r"\w+", dtype=np.float32).fit_transform(known.texts))
        found = counts.tocoo()
        number = np.bincount(found.col)
        rarity = np.log1p((known.num_items - number + 0.5) / (number + 0.5))
        lengths = counts.sum(axis=1)
        norm = self.k1 * (1 - self.b + self.b * lengths / lengths[1:].mean())
        weights = rarity[found.col] * found.data * (self.k1 + 1) / (found.data + norm[found.row])
        self.counts = counts
        self.weights = sparse.csr_array((weights.astype(np.float32), (found.row, found.col)), shape=counts.shape)
        return self

    def score(self, histories: Sequences) -> Tensor:
        """Sums over the words of the query."""
        query = decayed(histories, self.counts.shape[0] - 1, self.decay, self.last) @ self.counts
        return torch.from_numpy((query @ self.weights.T).toarray())
