"""Linear maps of text vectors, fitted on the items of the training part.

``fit(vectors)`` returns ``shift[dim]`` and ``matrix``; a vector ``x`` becomes ``(x - shift) * matrix`` where ``matrix``
is a vector of scales, and ``(x - shift) @ matrix`` where it is ``[dim, out_dim]``.
"""

from jaxtyping import Float
from torch import Tensor


def apply(vectors: Float[Tensor, "n dim"], shift: Float[Tensor, " dim"], matrix: Tensor) -> Float[Tensor, "n out"]:
    """Applies a fitted transform."""
    centred = vectors - shift
    return centred * matrix if matrix.ndim == 1 else centred @ matrix
