"""The padding's row in a table of item vectors."""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def with_padding(table: Float[Tensor, "num_items dim"], items: Int[Tensor, " n"] | None) -> Float[Tensor, "n dim"]:
    """Rows of a table that begins with item 1; zeros for item 0.

    Args:
        table: a row per item.
        items: indices; None takes all, from 0 on.
    """
    if items is None:
        return torch.cat([table.new_zeros(1, table.shape[1]), table])
    return table[(items - 1).clamp_min(0)] * (items > 0)[:, None].to(table)
