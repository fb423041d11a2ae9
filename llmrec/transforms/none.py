"""No transform."""

import torch
from jaxtyping import Float
from torch import Tensor


class Identity:
    """Vectors as the language model gave them."""

    def fit(self, vectors: Float[Tensor, "n dim"]) -> tuple[Tensor, Tensor]:
        """Shift 0, scale 1."""
        return torch.zeros(vectors.shape[1]), torch.ones(vectors.shape[1])
