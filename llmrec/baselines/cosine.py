"""Items whose frozen text vectors point where the recent history points."""

import torch
import torch.nn.functional as F
from torch import Tensor

from llmrec.baselines import Known, Needs, decayed, require_recency
from llmrec.sequences import Sequences
from llmrec.transforms.standardise import Standardise


class Cosine:
    """Cosine of standardised text vectors, summed over the recent history with geometric decay.

    Args:
        decay: weight of an item relative to the one seen after it.
        last: how many recent items count.
    """

    needs: Needs = "vectors"

    def __init__(self, *, decay: float = 0.8, last: int = 20) -> None:
        require_recency(decay, last)
        self.decay, self.last = decay, last

    def fit(self, known: Known) -> "Cosine":
        """Standardises over the items of the training part: raw vectors of decoders all point one way."""
        assert known.vectors is not None
        seen = known.train.counts(known.num_items) > 0
        shift, scale = Standardise().fit(known.vectors[seen])
        self.vectors = F.normalize((known.vectors - shift) * scale)
        self.vectors[0] = 0
        return self

    def score(self, histories: Sequences) -> Tensor:
        """Weighted sums of cosines."""
        bags = decayed(histories, len(self.vectors) - 1, self.decay, self.last)
        return torch.from_numpy(bags @ self.vectors.numpy()) @ self.vectors.T
