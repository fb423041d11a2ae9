"""A vector made from the item's text by a language model."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from llmrec.encoders._tower import Tower


class Text(Tower):
    """Text vectors, a fixed linear transform, and a learned projection to the recommender's width.

    The papers' dimension transformation (MoRec, arXiv:2303.13835; TCF, arXiv:2305.11700) is one linear layer with GELU;
    two layers with standardised input did better in our trials.

    Args:
        trunk: returns the text vectors of the items it is called with, or of all by index,
            ``[num_items + 1, text_dim]``; what of it learns is the tuning's affair.
        shift: of the transform, see :mod:`llmrec.transforms`.
        matrix: of the transform.
        embedding_dim: width of an item vector.
        projection_layers: linear layers, with GELU between them.
        hidden_dim: width between the layers.
        dropout: on the transformed text vectors and between the layers.
        gain: of the last layer at the start. The papers' 1 begins with scores of a standard deviation of some 7, which
            few steps do not unlearn; with little to learn from, an eighth does better.
    """

    def __init__(
        self,
        trunk: Callable[[Tensor | None], Tensor],
        shift: Tensor,
        matrix: Tensor,
        embedding_dim: int,
        *,
        projection_layers: int = 2,
        hidden_dim: int = 128,
        dropout: float = 0.1,
        gain: float = 1.0,
    ) -> None:
        super().__init__(trunk, shift, matrix, embedding_dim, projection_layers, hidden_dim, dropout, gain)

    def forward(self, items: Int[Tensor, " n"] | None = None) -> Float[Tensor, "n dim"]:
        """Vectors of these items or of all; zeros for item 0."""
        vectors = self.projected(items)
        index = torch.arange(len(vectors), device=vectors.device) if items is None else items
        return vectors * (index > 0)[:, None].to(vectors)
