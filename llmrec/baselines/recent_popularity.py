"""What most people take these days."""

import torch
from torch import Tensor

from llmrec.baselines import Known, Needs
from llmrec.sequences import Sequences

DAY = 86_400
"""Seconds."""


class RecentPopularity:
    """Items by their number of interactions in the last days of the training part.

    Args:
        days: how many, counted back from the last training interaction of anyone.
    """

    needs: Needs = "times"

    def __init__(self, *, days: int = 7) -> None:
        if days < 1:
            raise ValueError(f"days must be at least 1, came {days}")
        self.days = days

    def fit(self, known: Known) -> "RecentPopularity":
        """Counts what lies less than so many days before the last interaction."""
        times = known.train.times
        assert times is not None
        recent = times > times.max(initial=0) - self.days * DAY
        self.counts = torch.bincount(
            torch.from_numpy(known.train.values[recent]).long(), minlength=known.num_items + 1
        ).float()
        return self

    def score(self, histories: Sequences) -> Tensor:
        """The same counts for everyone."""
        return self.counts.expand(len(histories), -1)
