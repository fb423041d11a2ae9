"""A vector made from whatever an item has: its text, its image, or both."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from llmrec.encoders._tower import Described, Kept, Tower, Unread, scattered


class Mixture(nn.Module):
    """One tower for texts and one for images, whose vectors lie in one space (TransRec, arXiv:2206.06190).

    An item with both has the mean of the two; items with neither share a learned vector. Each tower reads the items
    that have its modality, and what it gives goes back to their places, so that a history may mix them freely. Where no
    item has one of them, as on TransRec's platforms of texts or of covers alone, its tower is that of the run that this
    one begins with, kept for the next platform, or there is none.

    Args:
        text: what the language model gives, and which items have a text, if any has.
        image: what the vision model gives, and which items have an image, if any has.
        embedding_dim: width of an item vector.
        projection_layers: linear layers of each tower, with GELU between them.
        hidden_dim: width between the layers.
        dropout: on the transformed vectors and between the layers.
        gain: of the last layer at the start. The papers' 1 begins with scores of a standard deviation of some 7, which
            few steps do not unlearn; with little to learn from, an eighth does better.
    """

    has_text: Tensor
    has_image: Tensor

    def __init__(
        self,
        text: Described | Unread,
        image: Described | Unread,
        embedding_dim: int,
        *,
        projection_layers: int = 2,
        hidden_dim: int = 128,
        dropout: float = 0.1,
        gain: float = 1.0,
    ) -> None:
        super().__init__()

        def tower(known: Described | Unread) -> Tower | Kept:
            if isinstance(known, Unread):
                return Kept(known.weights)
            sizes = (embedding_dim, projection_layers, hidden_dim, dropout, gain)
            return Tower(known.trunk, known.shift, known.matrix, *sizes)

        self.text, self.image = tower(text), tower(image)
        self.register_buffer("has_text", text.present, persistent=False)
        self.register_buffer("has_image", image.present, persistent=False)
        self.missing = nn.Parameter(torch.randn(embedding_dim) * 0.02)

    def forward(self, items: Int[Tensor, " n"] | None = None) -> Float[Tensor, "n dim"]:
        """Vectors of these items or of all; zeros for item 0."""
        index = torch.arange(len(self.has_text), device=self.has_text.device) if items is None else items
        towers = [(self.text, self.has_text[index]), (self.image, self.has_image[index])]
        return scattered(towers, index, self.missing)
