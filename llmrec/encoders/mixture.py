"""A vector made from whatever an item has: its text, its image, or both."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from llmrec.encoders._tower import Described, Tower, scattered


class Mixture(nn.Module):
    """One tower for texts and one for images, whose vectors lie in one space (TransRec, arXiv:2206.06190).

    An item with both has the mean of the two; items with neither share a learned vector. Each tower reads the items
    that have its modality, and what it gives goes back to their places, so that a history may mix them freely.

    Args:
        text: what the language model gives, and which items have a text.
        image: what the vision model gives, and which items have an image.
        embedding_dim: width of an item vector.
        projection_layers: linear layers of each tower, with GELU between them.
        hidden_dim: width between the layers.
        dropout: on the transformed vectors and between the layers.
    """

    has_text: Tensor
    has_image: Tensor

    def __init__(
        self,
        text: Described,
        image: Described,
        embedding_dim: int,
        *,
        projection_layers: int = 2,
        hidden_dim: int = 128,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        sizes = (embedding_dim, projection_layers, hidden_dim, dropout)
        self.text = Tower(text.trunk, text.shift, text.matrix, *sizes)
        self.image = Tower(image.trunk, image.shift, image.matrix, *sizes)
        self.register_buffer("has_text", text.present, persistent=False)
        self.register_buffer("has_image", image.present, persistent=False)
        self.missing = nn.Parameter(torch.randn(embedding_dim) * 0.02)

    def forward(self, items: Int[Tensor, " n"] | None = None) -> Float[Tensor, "n dim"]:
        """Vectors of these items or of all; zeros for item 0."""
        index = torch.arange(len(self.has_text), device=self.has_text.device) if items is None else items
        towers = [(self.text, self.has_text[index]), (self.image, self.has_image[index])]
        return scattered(towers, index, self.missing)
