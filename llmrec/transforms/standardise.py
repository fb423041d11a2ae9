"""Mean 0 and variance 1 per dimension."""

from jaxtyping import Float
from torch import Tensor


class Standardise:
    """Each dimension minus its mean, over its standard deviation.

    The raw vectors of decoders share a large common direction (mean cosine above .9 for SmolLM2); this removes it.
    """

    def fit(self, vectors: Float[Tensor, "n dim"]) -> tuple[Tensor, Tensor]:
        """Mean and reciprocal standard deviation; a constant dimension becomes 0."""
        spread = vectors.std(dim=0, correction=0)
        return vectors.mean(dim=0), (spread > 0) / spread.clamp(min=1e-12)
