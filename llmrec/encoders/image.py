"""A vector made from the item's image by a vision model."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from llmrec.encoders._tower import Described, Tower, scattered


class Image(Tower):
    """Image vectors, a fixed linear transform, and a learned projection (MoRec, arXiv:2303.13835).

    Items without a usable image share one learned vector; the run says how many they are.

    Args:
        image: what the vision model gives, and which items have an image.
        embedding_dim: width of an item vector.
        projection_layers: linear layers, with GELU between them.
        hidden_dim: width between the layers.
        dropout: on the transformed image vectors and between the layers.
        gain: of the last layer at the start. The papers' 1 begins with scores of a standard deviation of some 7, which
            few steps do not unlearn; with little to learn from, an eighth does better.
    """

    present: Tensor

    def __init__(
        self,
        image: Described,
        embedding_dim: int,
        *,
        projection_layers: int = 2,
        hidden_dim: int = 128,
        dropout: float = 0.1,
        gain: float = 1.0,
    ) -> None:
        super().__init__(
            image.trunk, image.shift, image.matrix, embedding_dim, projection_layers, hidden_dim, dropout, gain
        )
        self.register_buffer("present", image.present, persistent=False)
        self.missing = nn.Parameter(torch.randn(embedding_dim) * 0.02)

    def forward(self, items: Int[Tensor, " n"] | None = None) -> Float[Tensor, "n dim"]:
        """Vectors of these items or of all; zeros for item 0."""
        index = torch.arange(len(self.present), device=self.present.device) if items is None else items
        return scattered([(self, self.present[index])], index, self.missing)
