"""A vector made from the item's text by a language model."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from llmrec import transforms


class Text(nn.Module):
    """Text vectors, a fixed linear transform, and a learned projection to the recommender's width.

    The papers' dimension transformation (MoRec, arXiv:2303.13835; TCF, arXiv:2305.11700) is one linear layer with GELU;
    two layers with standardised input did better in our trials.

    Args:
        trunk: returns the text vectors of the items it is called with, or of all by index,
            ``[num_items + 1, text_dim]``; what of it learns is the tuning's affair.
        shift: of the transform, see :mod:`llmrec.transforms`.
        matrix: of the transform.
        embedding_dim: width of an item vector.
        projection_layers: linear layers, 1 to 3, with GELU between them.
        hidden_dim: width between the layers.
        dropout: on the transformed text vectors and between the layers.
    """

    shift: Tensor
    matrix: Tensor

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
    ) -> None:
        super().__init__()
        if not 1 <= projection_layers <= 3:
            raise ValueError(f"projection_layers must be 1, 2 or 3, came {projection_layers}")
        if hidden_dim < 1:
            raise ValueError(f"hidden_dim must be at least 1, came {hidden_dim}")
        self.trunk = trunk
        self.register_buffer("shift", shift)
        self.register_buffer("matrix", matrix)
        text_dim = matrix.shape[-1]
        widths = [text_dim, *[hidden_dim] * (projection_layers - 1), embedding_dim]
        layers: list[nn.Module] = []
        for index in range(projection_layers):
            layers += [nn.GELU()] if index else []
            layers += [nn.Dropout(dropout), nn.Linear(widths[index], widths[index + 1])]
        self.projection = nn.Sequential(*layers)
        for layer in self.projection:
            if isinstance(layer, nn.Linear):
                nn.init.xavier_normal_(layer.weight)
                nn.init.zeros_(layer.bias)

    def forward(self, items: Int[Tensor, " n"] | None = None) -> Float[Tensor, "n dim"]:
        """Vectors of these items or of all; zeros for item 0."""
        vectors = self.projection(transforms.apply(self.trunk(items), self.shift, self.matrix))
        index = torch.arange(len(vectors), device=vectors.device) if items is None else items
        return vectors * (index > 0)[:, None].to(vectors)
