"""Cross-entropy over all items, fused with the product of users and items."""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor


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
        history_ids: Int[Tensor, "n seq"],
        generator: torch.Generator,
    ) -> Float[Tensor, ""]:
        """Mean cross-entropy; see :mod:`llmrec.losses` for the arguments."""
        loss: Tensor = _FusedSoftmax.apply(users, items, target, self.chunk_rows, self.half)
        return loss


class _FusedSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx, users, items, target, chunk_rows, half):  # type: ignore[no-untyped-def]
        total = users.new_zeros(())
        user_gradient, item_gradient = torch.empty_like(users), torch.zeros_like(items)
        precision = torch.bfloat16 if half else users.dtype
        left, columns = users.to(precision), items.to(precision)
        across = columns.T.contiguous()
        for start in range(0, len(users), chunk_rows):
            rows = slice(start, start + chunk_rows)
            scores = (left[rows] @ across).to(users.dtype)
            right = target[rows, None]
            peak = scores.amax(dim=1, keepdim=True)
            hit = scores.gather(1, right)
            weights = scores.sub_(peak).exp_()
            mass = weights.sum(dim=1, keepdim=True)
            total += (mass.log() + peak - hit).sum()
            weights.div_(mass).scatter_add_(1, right, weights.new_full(right.shape, -1.0))
            weights = weights.to(precision)
            user_gradient[rows] = weights @ columns
            item_gradient += weights.T @ left[rows]
        ctx.save_for_backward(user_gradient.div_(len(users)), item_gradient.div_(len(users)))
        return total / len(users)

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        user_gradient, item_gradient = ctx.saved_tensors
        return user_gradient * gradient, item_gradient * gradient, None, None, None
