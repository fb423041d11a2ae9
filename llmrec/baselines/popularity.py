"""What most people take."""

import torch
from torch import Tensor

from llmrec.baselines import Known, Needs
from llmrec.sequences import Sequences


class Popularity:
    """Items by their number of training interactions."""

    needs: Needs = "nothing"

    def fit(self, known: Known) -> "Popularity":
        """Counts."""
        self.counts = torch.from_numpy(known.train.counts(known.num_items)).float()
        return self

    def score(self, histories: Sequences) -> Tensor:
        """The same counts for everyone."""
        return self.counts.expand(len(histories), -1)
