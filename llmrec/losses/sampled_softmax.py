"""Cross-entropy over the right item and a sample of the others."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


class SampledSoftmax:
    """``mean_i( log( exp(s_i+) + alpha_i * sum_k exp(s_ik-) ) - s_i+ )``, in nats per target.

    Negatives are drawn uniformly and without replacement from the catalogue, once a call and for all targets together:
    one product of matrices, where samples of each target's own would cost several times as much. A negative that is a
    target's right item is left out of that target's sum.

    With ``scale`` unset, ``alpha_i = (num_items - 1) / negatives left``, the correction for the sampling probability
    (log-q; for a uniform draw it is the same for all items): the sum is then an unbiased estimate of that over the
    catalogue, and all of it if ``num_negatives`` reaches ``num_items``. A number takes its place as in the scaled
    sampled softmax of Xu et al. (arXiv:2402.06216, 2408.14238), who use 100.

    Args:
        num_negatives: drawn per step; memory grows with ``targets * num_negatives``.
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
        """Mean over the targets; see :mod:`llmrec.losses` for the arguments."""
        order = torch.randperm(num_items, generator=generator, device=generator.device)
        negatives = order[: self.num_negatives].to(users.device)
        accidental = target[:, None] == negatives
        left = (~accidental).sum(dim=1, keepdim=True)
        alpha = (num_items - 1) / left.clamp_min(1) if self.scale is None else torch.tensor(self.scale)
        wrong = (users @ items[negatives].T + alpha.to(users).log()).masked_fill(accidental, -torch.inf)
        right = (users * items[target]).sum(dim=1, keepdim=True)
        return F.cross_entropy(torch.cat([right, wrong], dim=1), torch.zeros_like(target))
