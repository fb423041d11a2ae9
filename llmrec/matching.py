"""What a recommender of user and item vectors learns from a batch of windows."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from llmrec.losses import Loss, Targets, compared
from llmrec.recommender import Recommender

GROUP = 32
"""Windows in one call of the head."""


class MatchingStep(nn.Module):
    """From a batch to the loss of a recommender: what is wrapped for several processes."""

    log_popularity: Tensor

    def __init__(self, recommender: Recommender, loss: Loss, counts: np.ndarray) -> None:
        super().__init__()
        self.recommender, self.loss, self.num_items = recommender, loss, len(counts) - 1
        # By this name accelerate asks which modules FSDP is to spread each by itself.
        trunk = getattr(recommender.encoder, "trunk", None)
        self._no_split_modules = getattr(trunk, "learning_blocks", [])
        # A share of 0 has no logarithm: items that training never shows count as seen once.
        share = torch.from_numpy(np.maximum(counts[1:], 1) / max(counts.sum(), 1)).float()
        self.register_buffer("log_popularity", share.log(), persistent=False)

    def forward(
        self,
        history: Int[Tensor, "batch seq"],
        target: Int[Tensor, "batch ahead"],
        user: Int[Tensor, " batch"],
        windows: Int[Tensor, "whole width"],
        rows: Int[Tensor, " batch"],
        generator: torch.Generator,
    ) -> Float[Tensor, ""]:
        """Mean loss of this process's targets, in nats; for the arguments see :class:`llmrec.sequences.Batch`.

        A bidirectional head reads whole windows, and its targets are the items that are hidden from it there. One with
        futures meets all targets of a window with the user vector after its history.
        """
        assert self.recommender.encoder is not None
        masked = None
        if self.recommender.bidirectional:
            cloze: Any = self.recommender.head.cloze
            history = windows[rows]
            masked = cloze.draw(history, generator)
            target = history * masked
        if not len(history):  # a process without a share of the last batch still takes part in the average
            history, target, user = history.new_zeros(1, 1), target.new_zeros(1, 1), user.new_zeros(1)
            masked = None if masked is None else masked.new_zeros(1, 1)
        row, column = torch.nonzero(target, as_tuple=True)
        targets = Targets(windows, rows[row], column + windows.shape[1] - target.shape[1])
        ids, right = compared(self.loss, targets, self.num_items, generator)
        items, place = self._items(ids, history)
        users = self._user_embeddings(items, place[history], target, user, masked)
        if not len(row):
            return (users.sum() + items.sum()) * 0.0
        return self.loss(
            users,
            F.embedding(place[ids], items) if hasattr(self.loss, "columns") else items[1:],
            right,
            item_ids=ids,
            log_popularity=self.log_popularity[(ids - 1).clamp_min(0)],
            history_ids=windows[targets.row],
            num_items=self.num_items,
            generator=generator,
        )

    def _items(
        self, ids: Int[Tensor, " m"], history: Int[Tensor, "batch seq"]
    ) -> tuple[Float[Tensor, "n dim"], Int[Tensor, " catalogue"]]:
        """Vectors of the items that are read or that the loss compares, and at which row of them each item stands."""
        assert self.recommender.encoder is not None
        place = torch.arange(self.num_items + 1, device=ids.device)
        if not hasattr(self.loss, "columns"):
            return self.recommender.encoder(), place
        needed = torch.cat([ids.new_zeros(1), ids, history.flatten()]).unique()
        place[needed] = torch.arange(len(needed), device=ids.device)
        return self.recommender.encoder(needed), place

    def _user_embeddings(
        self,
        items: Float[Tensor, "catalogue dim"],
        history: Int[Tensor, "batch seq"],
        target: Int[Tensor, "batch ahead"],
        user: Int[Tensor, " batch"],
        masked: Bool[Tensor, "batch seq"] | None,
    ) -> Float[Tensor, "n dim"]:
        """A user vector for each target, row by row; windows of like length share a call of the head.

        Most windows are far shorter than the longest, and the head would work on the padding as on the rest.
        """
        lengths, order = (history > 0).sum(dim=1).sort()
        parts = []
        for group, widths in zip(order.split(GROUP), lengths.split(GROUP), strict=True):
            width = max(1, int(widths[-1]))
            hidden = None if masked is None else masked[group, -width:]
            vectors = self.recommender.user_embedding(items, history[group, -width:], user[group], hidden)
            if self.recommender.future:
                vectors = vectors[:, -1:].expand(-1, target.shape[1], -1)
            parts.append(vectors[target[group, -vectors.shape[1] :] > 0])
        place = (target > 0)[order].nonzero()[:, 0]
        # From the order of the groups back to that of the rows; stable, so positions keep theirs.
        return torch.cat(parts)[torch.argsort(order[place], stable=True)]
