"""Mean 0 and variance 1 per dimension."""

from jaxtyping import Float
from torch import Tensor

DEAD = 1e-4
"""A dimension is constant if it varies less than this share of what half of them vary."""


class Standardise:
    """Each dimension minus its mean, over its standard deviation.

    The raw vectors of decoders share a large common direction (mean cosine above .9 for SmolLM2); this removes it.
    """

    def fit(self, vectors: Float[Tensor, "n dim"]) -> tuple[Tensor, Tensor]:
        """Mean and reciprocal standard deviation; a constant dimension becomes 0.

        Dead ones, of which MiniLM has three, hold noise of rounding: blown up to variance 1 they would be features made
        of nothing, and a language model that learns would get all its gradient through them.
        """
        spread = vectors.std(dim=0, correction=0)
        alive = spread > DEAD * spread.median()
        return vectors.mean(dim=0), alive / spread.where(alive, 1.0)
