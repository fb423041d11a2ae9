"""A learned vector per item id."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn


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

    def forward(self) -> Float[Tensor, "catalogue dim"]:
        """All item vectors, row 0 zeros."""
        return torch.cat([self.embedding.new_zeros(1, self.embedding.shape[1]), self.embedding])
