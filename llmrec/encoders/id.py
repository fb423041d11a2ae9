"""A learned vector per item id."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from llmrec.encoders._padding import with_padding


class Id(nn.Module):
    """The embedding table of classic recommenders: strong on items with many interactions, blind to new ones.

    Args:
        num_items: items in the catalogue, padding not counted.
        embedding_dim: width of an item vector.
        init_std: standard deviation of the initial values.
    """

    def __init__(self, num_items: int, embedding_dim: int, *, init_std: float = 0.02) -> None:
        super().__init__()
        if not 0 <= init_std < math.inf:
            raise ValueError(f"init_std must be at least 0 and finite, came {init_std}")
        self.embedding = nn.Parameter(torch.randn(num_items, embedding_dim) * init_std)

    def forward(self, items: Int[Tensor, " n"] | None = None) -> Float[Tensor, "n dim"]:
        """Vectors of these items or of all; zeros for item 0."""
        return with_padding(self.embedding, items)
