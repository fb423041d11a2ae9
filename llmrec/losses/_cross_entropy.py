"""Cross-entropy fused with the product of users and items: scores live for a few rows at a time."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor


def cross_entropy(
    users: Float[Tensor, "n dim"],
    items: Float[Tensor, "m dim"],
    target: Int[Tensor, " n"],
    chunk_rows: int,
    *,
    half: bool = False,
    adjust: Callable[[Tensor, slice], None] | None = None,
) -> Float[Tensor, ""]:
    """``mean_i( log sum_j exp(s_ij) - s_i,target(i) )`` with ``s_ij = u_i . v_j``, adjusted.

    Args:
        users: user vectors.
        items: vectors of the items compared.
        target: the row of ``items`` that was right.
        chunk_rows: users whose scores are held at once.
        half: multiply in bf16; sums and exponentials keep the precision of ``users``.
        adjust: given the scores of a slice of the rows, adds constants to them or sets them to ``-inf``, in place.
    """
    loss: Tensor = _CrossEntropy.apply(users, items, target, chunk_rows, half, adjust)
    return loss


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx, users, items, target, chunk_rows, half, adjust):  # type: ignore[no-untyped-def]
        total = users.new_zeros(())
        user_gradient, item_gradient = torch.empty_like(users), torch.zeros_like(items)
        precision = torch.bfloat16 if half else users.dtype
        left, columns = users.to(precision), items.to(precision)
        across = columns.T.contiguous()
        for start in range(0, len(users), chunk_rows):
            rows = slice(start, start + chunk_rows)
            scores = (left[rows] @ across).to(users.dtype)
            if adjust is not None:
                adjust(scores, rows)
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
        return user_gradient * gradient, item_gradient * gradient, None, None, None, None
