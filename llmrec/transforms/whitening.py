"""Whitening."""

import torch
from jaxtyping import Float
from torch import Tensor

from llmrec.transforms.pca import principal_components


class Whitening:
    """ZCA whitening: decorrelated dimensions of variance 1, turned as little as possible (WhitenRec, ICDE 2024).

    Args:
        epsilon: added to each variance, as a share of the mean variance, so that noise is not blown up.
    """

    def __init__(self, *, epsilon: float = 1e-3) -> None:
        if epsilon < 0:
            raise ValueError(f"epsilon must be at least 0, came {epsilon}")
        self.epsilon = epsilon

    def fit(self, vectors: Float[Tensor, "n dim"]) -> tuple[Tensor, Tensor]:
        """Mean and the symmetric matrix ``(covariance + epsilon)^(-1/2)``."""
        mean = vectors.mean(dim=0)
        variance, components = principal_components(vectors - mean)
        scale = (variance + self.epsilon * variance.mean()).clamp(min=1e-12).rsqrt()
        return mean, torch.einsum("ik,k,jk->ij", components, scale, components)
