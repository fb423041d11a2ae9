"""No preference at all."""

import torch
from torch import Tensor

from llmrec.baselines import Known, Needs
from llmrec.sequences import Sequences


class Random:
    """Every item alike. The metrics' rule for ties turns this into the exact expectation of a random order."""

    needs: Needs = "nothing"

    def fit(self, known: Known) -> "Random":
        """Notes the size of the catalogue."""
        self.num_items = known.num_items
        return self

    def score(self, histories: Sequences) -> Tensor:
        """Zeros."""
        return torch.zeros(len(histories), self.num_items + 1)
