"""Losses: pure functions of user and item vectors, never of a full score matrix.

``loss(users[n,d], items[m,d], target[n], *, item_ids, log_popularity, history_ids, num_items, generator) -> scalar`` in
nats per target: ``target`` is the row of ``items`` that was right, ``item_ids[m]`` says which item each row is,
``log_popularity[m]`` is the log of its share of the training log, ``history_ids[n, width]`` are the items of the window
with all its targets (0 = padding), ``num_items`` is the size of the catalogue and ``generator`` draws negatives. A loss
uses of these what it needs.

``items`` are all items of the catalogue in order, so ``item_ids`` is 1 ... ``num_items``. A loss that compares others
has a method ``columns(targets, num_items, generator) -> Columns``, and is then called with the vectors of these: what
it does not name need not be encoded. Id 0 is padding, and rows of one id hold one vector.
"""

from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor


class Targets(NamedTuple):
    """A process's targets, as places in the left-padded windows of the whole batch."""

    windows: Int[Tensor, "batch width"]
    row: Int[Tensor, " n"]
    place: Int[Tensor, " n"]

    @property
    def ids(self) -> Int[Tensor, " n"]:
        """The items that were right."""
        return self.windows[self.row, self.place]


class Columns(NamedTuple):
    """The ids of the items compared, and which of them each target is."""

    ids: Int[Tensor, " m"]
    right: Int[Tensor, " n"]


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


def compared(loss: Loss, targets: Targets, num_items: int, generator: torch.Generator) -> Columns:
    """What a loss compares: the columns that it asks for, or the catalogue."""
    if hasattr(loss, "columns"):
        columns: Columns = loss.columns(targets, num_items, generator)
        return columns
    return Columns(torch.arange(1, num_items + 1, device=targets.windows.device), targets.ids - 1)
