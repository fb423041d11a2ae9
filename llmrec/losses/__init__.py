"""Losses: pure functions of user and item vectors, never of a full score matrix.

``loss(users[n,d], items[m,d], target[n], *, item_ids, log_popularity, history_ids, generator) -> scalar`` in nats per
target: ``target`` is the row of ``items`` that was right, ``item_ids[m]`` says which item each row is,
``log_popularity[m]`` is the log of its share of the training log, ``history_ids[n, seq]`` are the items of the window
(0 = padding) and ``generator`` draws negatives. A loss uses of these what it needs.
"""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor


@runtime_checkable
class Loss(Protocol):
    """What every loss is called with; shapes as above."""

    def __call__(
        self,
        users: Float[Tensor, "n dim"],
        items: Float[Tensor, "m dim"],
        target: Int[Tensor, " n"],
        *,
        item_ids: Int[Tensor, " m"],
        log_popularity: Float[Tensor, " m"],
        history_ids: Int[Tensor, "n seq"],
        generator: torch.Generator,
    ) -> Float[Tensor, ""]:
        """Mean over the targets, in nats."""
        ...
