"""Losses: pure functions of user and item vectors, never of a full score matrix.

``loss(users[n,d], items[m,d], target[n], *, item_ids, log_popularity, history_ids, num_items, generator) -> scalar`` in
nats per target: ``target`` is the row of ``items`` that was right, ``item_ids[m]`` says which item each row is,
``log_popularity[m]`` is the log of its share of the training log, ``history_ids[n, width]`` are the items of the window
with all its targets (0 = padding), ``num_items`` is the size of the catalogue and ``generator`` draws negatives. A loss
uses of these what it needs.

``items`` are all items of the catalogue in order, so ``item_ids`` is 1 ... ``num_items``. A loss that wants to compare
others has a method ``columns(windows[batch, width], num_items, generator) -> ids[m]``: given the left-padded windows of
the batch, it returns the ids of the rows of ``items`` that it is then called with. They begin with ``windows``, row by
row, because ``target`` points to the place of the window that was right; id 0 is padding, and rows of one id hold one
vector.
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
        history_ids: Int[Tensor, "n width"],
        num_items: int,
        generator: torch.Generator,
    ) -> Float[Tensor, ""]:
        """Mean over the targets, in nats."""
        ...
