"""Cross-entropy over all items, fused with the product of users and items."""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from llmrec.losses._cross_entropy import cross_entropy


class Softmax:
    """Full softmax: ``mean_i( log sum_j exp(u_i . v_j) - u_i . v_target(i) )``, in nats per target.

    Scores are made for a few rows at a time and dropped again once their share of the gradients is known, so memory
    grows with ``chunk_rows * num_items`` and never with ``targets * num_items``.

    Args:
        chunk_rows: users whose scores are held at once.
        precision: of the products with the item vectors; sums and exponentials are in fp32 either way.
    """

    def __init__(self, *, chunk_rows: int = 128, precision: Literal["fp32", "bf16"] = "fp32") -> None:
        if chunk_rows < 1:
            raise ValueError(f"chunk_rows must be at least 1, came {chunk_rows}")
        self.chunk_rows = chunk_rows
        self.half = precision == "bf16"

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
        """Mean cross-entropy; see :mod:`llmrec.losses` for the arguments."""
        return cross_entropy(users, items, target, self.chunk_rows, half=self.half)
