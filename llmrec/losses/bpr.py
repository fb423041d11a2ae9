"""Bayesian personalised ranking: the right item above others that the user has not met."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from llmrec.losses._negatives import OwnNegatives


class Bpr(OwnNegatives):
    """``mean_ik( -log sigmoid(s_i+ - s_ik-) )`` (Rendle et al. 2009, arXiv:1205.2618), in nats per target.

    Negatives are drawn uniformly from the items outside the window (history and all targets), for each target anew.

    Args:
        num_negatives: draws per target; memory grows with ``targets * num_negatives * embedding_dim``.
    """

    def __init__(self, *, num_negatives: int = 1) -> None:
        if num_negatives < 1:
            raise ValueError(f"num_negatives must be at least 1, came {num_negatives}")
        self.num_negatives = num_negatives

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
        right, wrong = self.scores(users, items, target)
        return F.softplus(wrong - right).mean()
