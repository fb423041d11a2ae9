"""Cross-entropy over the right item and a sample of the others."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from llmrec.losses import _negatives


class SampledSoftmax:
    """``mean_i( log( exp(s_i+) + alpha * sum_k exp(s_ik-) ) - s_i+ )``, in nats per target.

    Each target has negatives of its own, drawn uniformly and without repeats from all other items, so that none is the
    right one by accident.

    With ``scale`` unset, ``alpha = (num_items - 1) / num_negatives``, the correction for the sampling probability
    (log-q; of a uniform draw it is the same for all items): the sum is then an unbiased estimate of that over the
    catalogue, and with ``num_negatives`` of all other items the loss is the full softmax. A number takes its place as
    in the scaled sampled softmax of Xu et al. (arXiv:2402.06216, 2408.14238), who use 100.

    Args:
        num_negatives: drawn per target, at most all other items; memory grows with ``targets * num_negatives``.
        scale: what the sum over the negatives is multiplied by; unset: by what makes up for the sampling.
    """

    def __init__(self, *, num_negatives: int = 256, scale: float | None = None) -> None:
        if num_negatives < 1:
            raise ValueError(f"num_negatives must be at least 1, came {num_negatives}")
        if scale is not None and not 0 < scale < math.inf:
            raise ValueError(f"scale must be above 0, came {scale}")
        self.num_negatives, self.scale = num_negatives, scale

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
        alpha = (num_items - 1) / negatives.shape[1] if self.scale is None else self.scale
        logits = torch.cat([scores[:, :1], scores[:, 1:] + math.log(alpha)], dim=1)
        return F.cross_entropy(logits, torch.zeros_like(target))
