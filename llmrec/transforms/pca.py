"""Principal components."""

import torch
from jaxtyping import Float
from torch import Tensor


class PCA:
    """Projection on the leading principal components, scaled by one number to mean variance 1.

    Args:
        out_dim: components kept; fewer where the vectors have fewer.
    """

    def __init__(self, *, out_dim: int = 64) -> None:
        if out_dim < 1:
            raise ValueError(f"out_dim must be at least 1, came {out_dim}")
        self.out_dim = out_dim

    def fit(self, vectors: Float[Tensor, "n dim"]) -> tuple[Tensor, Tensor]:
        """Mean and scaled components ``[dim, out_dim]``."""
        mean = vectors.mean(dim=0)
        variance, components = principal_components(vectors - mean)
        kept = components[:, : self.out_dim]
        return mean, kept / variance[: self.out_dim].mean().clamp(min=1e-12).sqrt()


def principal_components(centred: Float[Tensor, "n dim"]) -> tuple[Float[Tensor, " dim"], Float[Tensor, "dim dim"]]:
    """Variances in falling order, and the directions as columns."""
    covariance = centred.double().T @ centred.double() / len(centred)
    variance, components = torch.linalg.eigh(covariance)
    return variance.flip(0).clamp(min=0).float(), components.flip(1).float()
