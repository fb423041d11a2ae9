"""Generalised binary cross-entropy: the right item's probability to a power that makes up for the sampling."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from llmrec.losses import _negatives


class Gbce:
    """gSASRec's loss (Petrov & Macdonald 2023, arXiv:2308.07192), in nats per score.

    ``mean_i( -log sigmoid(s_i+)^beta - sum_k log(1 - sigmoid(s_ik-)) ) / (num_negatives + 1)`` with
    ``beta = alpha * (t * (1 - 1 / alpha) + 1 / alpha) = 1 - t * (1 - alpha)`` and the sampling rate
    ``alpha = num_negatives / (num_items - 1)``. Each target has negatives of its own, drawn uniformly and without
    repeats from all items but the right one, the user's other items included: ``alpha`` counts these too.

    The authors turn the right item's score into the logit of ``sigmoid(s)^beta``, in 64 bits and clipped; here
    ``-log sigmoid(s)^beta = beta * softplus(-s)`` is used, which is the same and exact in 32.

    Args:
        num_negatives: drawn per target; at most all other items.
        t: how far the overconfidence that sampling brings is corrected, from 0 (plain BCE) to 1 (fully).
    """

    def __init__(self, *, num_negatives: int = 256, t: float = 0.75) -> None:
        if num_negatives < 1:
            raise ValueError(f"num_negatives must be at least 1, came {num_negatives}")
        if not 0 <= t <= 1:
            raise ValueError(f"t must be from 0 to 1, came {t}")
        self.num_negatives, self.t = num_negatives, t

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
        """Mean over the targets; see :mod:`llmrec.losses` for the arguments.

        Raises:
            DataError: the catalogue holds one item.
        """
        negatives = _negatives.draw_distinct(target, self.num_negatives, num_items, generator)
        scores = _negatives.scores_of(users, items, torch.cat([target[:, None], negatives], dim=1))
        beta = 1 - self.t * (1 - negatives.shape[1] / (num_items - 1))
        right, wrong = beta * F.softplus(-scores[:, :1]), F.softplus(scores[:, 1:])
        return torch.cat([right, wrong], dim=1).mean()
