"""Cross-entropy over the items of the batch, corrected for their popularity."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from llmrec.losses import Columns, Targets
from llmrec.losses._cross_entropy import cross_entropy


class InBatchSoftmax:
    """In-batch cross-entropy of TCF (IBCE, arXiv:2305.11700) and MoRec (arXiv:2303.13835), in nats per target.

    Compared are all items of the batch's windows, one column each time an item occurs, and the share
    ``uniform_share`` of further columns drawn uniformly from the catalogue (mixed negative sampling, Yang et al. 2020).
    Column ``j`` of row ``i`` has the logit ``u_i . v_j - power * log q_j``, where
    ``q_j = (1 - uniform_share) * p_j + uniform_share / num_items`` is the probability that a column holds this item
    and ``p_j`` its share of the training log; the papers have ``power = 1`` and ``uniform_share = 0``. Left out are
    padding and every column whose item stands anywhere in the row's own window, other users' columns too, but for the
    one column of the target itself.

    Columns of one item differ in nothing, so each item is scored once and counted as often as it occurs.

    Args:
        power: of the correction; 0 leaves it out.
        uniform_share: of the columns, drawn from the whole catalogue; from 0 to below 1.
        chunk_rows: users whose scores are held at once.
    """

    def __init__(self, *, power: float = 1.0, uniform_share: float = 0.0, chunk_rows: int = 128) -> None:
        if not math.isfinite(power):
            raise ValueError(f"power must be a number, came {power}")
        if not 0 <= uniform_share < 1:
            raise ValueError(f"uniform_share must be at least 0 and below 1, came {uniform_share}")
        if chunk_rows < 1:
            raise ValueError(f"chunk_rows must be at least 1, came {chunk_rows}")
        self.power, self.uniform_share, self.chunk_rows = power, uniform_share, chunk_rows

    def columns(self, targets: Targets, num_items: int, generator: torch.Generator) -> Columns:
        """The items of the batch's windows, row by row and with their padding, and those drawn uniformly."""
        windows = targets.windows
        number = round(int((windows > 0).sum()) * self.uniform_share / (1 - self.uniform_share))
        drawn = torch.randint(1, num_items + 1, (number,), generator=generator, device=generator.device)
        right = targets.row * windows.shape[1] + targets.place
        return Columns(torch.cat([windows.flatten(), drawn.to(windows)]), right)

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
        """Mean over the targets; see :mod:`llmrec.losses` for the arguments."""
        ids, place, count = item_ids.unique(return_inverse=True, return_counts=True)
        column = torch.zeros_like(ids).scatter_(0, place, torch.arange(len(item_ids), device=ids.device))
        correction = self._correction(log_popularity[column], num_items).to(users.dtype)
        offset = (count.log() - correction).masked_fill(ids == 0, -torch.inf)
        right = place[target][:, None]
        # Ids of the window that are no column fall on the right item, which is set afterwards.
        found = torch.searchsorted(ids, history_ids).clamp_max(len(ids) - 1)
        own = torch.where(ids[found] == history_ids, found, right)

        def adjust(scores: Tensor, rows: slice) -> None:
            once = scores.gather(1, right[rows]) - correction[right[rows]]
            scores.add_(offset).scatter_(1, own[rows], -torch.inf).scatter_(1, right[rows], once)

        vectors = F.embedding(column, items)
        return cross_entropy(users, vectors, right[:, 0], self.chunk_rows, adjust=adjust)

    def _correction(self, log_popularity: Float[Tensor, " m"], num_items: int) -> Float[Tensor, " m"]:
        if self.uniform_share:
            uniform = torch.full_like(log_popularity, math.log(self.uniform_share / num_items))
            log_popularity = torch.logaddexp(log_popularity + math.log1p(-self.uniform_share), uniform)
        return self.power * log_popularity
