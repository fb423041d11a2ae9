"""An embedding table that begins as the items' text vectors and is then trained."""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from llmrec import transforms
from llmrec.encoders._padding import with_padding
from llmrec.transforms.pca import principal_components


class IdFromText(nn.Module):
    """An ID table initialised from text vectors (LLM2BERT4Rec, arXiv:2309.09261), scaled to the usual initial spread.

    The vectors are reduced to their ``embedding_dim`` principal components over the catalogue's texts (no interaction
    enters). With ``keep_top`` the leading ones stay as they are and only the rest learns, as in AlphaFuse (SIGIR 2025),
    which learns the ID part in the directions that text leaves empty.

    Args:
        trunk: returns the text vectors of all items by index, ``[num_items + 1, text_dim]``; read once.
        shift: of the transform, see :mod:`llmrec.transforms`.
        matrix: of the transform.
        embedding_dim: width of an item vector, at most that of the transformed text vectors.
        init_std: standard deviation of the initial values.
        keep_top: leading dimensions that stay frozen.
    """

    frozen: Tensor

    def __init__(
        self,
        trunk: Callable[[], Tensor],
        shift: Tensor,
        matrix: Tensor,
        embedding_dim: int,
        *,
        init_std: float = 0.02,
        keep_top: int = 0,
    ) -> None:
        super().__init__()
        if not 0 <= init_std < math.inf:
            raise ValueError(f"init_std must be at least 0 and finite, came {init_std}")
        if matrix.shape[-1] < embedding_dim:
            raise ValueError(
                f"embedding_dim={embedding_dim} is more than the {matrix.shape[-1]} dimensions of the texts"
            )
        if not 0 <= keep_top < embedding_dim:
            raise ValueError(f"keep_top must be from 0 to {embedding_dim - 1}, came {keep_top}")
        self.register_buffer("shift", shift)
        self.register_buffer("matrix", matrix)
        with torch.no_grad():
            vectors = transforms.apply(trunk()[1:], shift, matrix)
            centred = vectors - vectors.mean(dim=0)
            reduced = centred @ principal_components(centred)[1][:, :embedding_dim]
            if not reduced.std() > 0:
                raise ValueError("all items have one text vector; the prompt must tell them apart")
            vectors = reduced * (init_std / reduced.std())
        self.register_buffer("frozen", vectors[:, :keep_top].clone())
        self.learned = nn.Parameter(vectors[:, keep_top:].clone())

    def forward(self, items: Int[Tensor, " n"] | None = None) -> Float[Tensor, "n dim"]:
        """Vectors of these items or of all; zeros for item 0."""
        return with_padding(torch.cat([self.frozen, self.learned], dim=1), items)
