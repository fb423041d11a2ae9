"""Losses over the classes of a task: functions of all their scores, since a task has few."""

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

Name = Literal["softmax", "bce", "bpr"]
WORDS = {
    "softmax": "softmax over all classes",
    "bce": "binary cross-entropy with one uniform negative",
    "bpr": "BPR with negatives by popularity",
}
"""For the protocol: a loss that compares two classes is not one for a ranking of all, nor the other way round."""


TaskLoss = Callable[[Float[Tensor, "n classes"], Int[Tensor, " n"], torch.Generator], Float[Tensor, ""]]
"""Mean over the examples in nats, from the scores of all classes and the right one; the generator draws negatives."""


def make(name: Name, counts: Int[np.ndarray, " classes"], rho: float) -> TaskLoss:
    """The loss of a task.

    Args:
        name: see :data:`WORDS`.
        counts: how often training shows each class.
        rho: see :class:`PopularNegatives`.
    """
    if name == "softmax":
        return _softmax
    if name == "bce":
        return _bce
    negatives = PopularNegatives(counts, rho)

    def bpr(scores: Tensor, target: Tensor, generator: torch.Generator) -> Tensor:
        negative = negatives.draw(target, generator)
        return F.softplus(_of(scores, negative) - _of(scores, target)).mean()

    return bpr


_LEAST_REACH = 0.05
"""Of the classes; with less the shares of all but the first would be lost in rounding, where it is the target too."""


class PopularNegatives:
    """Negatives by popularity: ``p(r) ~ exp(-(r + 1) / (rho * T))`` for the class of rank r (from 0) among T.

    The static sampler of LambdaFM (Yuan et al. 2016, 10.1145/2983323.2983758) that PeterRec and Conure take.

    Args:
        counts: how often training shows each class; classes of one count are in order.
        rho: how far down the sampler reaches; small numbers draw the popular alone.
    """

    def __init__(self, counts: Int[np.ndarray, " classes"], rho: float) -> None:
        order = np.argsort(-counts, kind="stable")
        reach = max(rho * len(counts), _LEAST_REACH)
        weights = np.exp(-(np.arange(len(counts)) + 1) / reach)
        self.order = torch.from_numpy(order)
        self.rank = torch.from_numpy(np.argsort(order))
        self.share = torch.from_numpy(weights / weights.sum())
        """Of the draws, by rank."""
        self.below = self.share.cumsum(0) - self.share

    def draw(self, target: Int[Tensor, " n"], generator: torch.Generator) -> Int[Tensor, " n"]:
        """One class for each target, never the target itself, and none drawn twice for that."""
        own = self.rank[target.cpu()]
        spread = torch.rand(len(target), dtype=torch.float64, generator=generator)
        place = spread * (1 - self.share[own])
        # What lies at or behind the target's own stretch moves on by its length.
        place = torch.where(place < self.below[own], place, place + self.share[own])
        rank = (torch.searchsorted(self.below, place, right=True) - 1).clamp(0, len(self.order) - 1)
        return self.order[rank].to(target.device)


def _softmax(scores: Tensor, target: Tensor, generator: torch.Generator) -> Tensor:
    return F.cross_entropy(scores, target)


def _bce(scores: Tensor, target: Tensor, generator: torch.Generator) -> Tensor:
    others = scores.shape[1] - 1
    drawn = torch.randint(others, target.shape, generator=generator).to(target.device)
    negative = drawn + (drawn >= target)
    return F.softplus(-_of(scores, target)).mean() + F.softplus(_of(scores, negative)).mean()


def _of(scores: Tensor, classes: Tensor) -> Tensor:
    return scores.gather(1, classes[:, None])[:, 0]
