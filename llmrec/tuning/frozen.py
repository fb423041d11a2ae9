"""The language model stays as it is."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from llmrec.tuning import Source


class Frozen:
    """Item texts are encoded once; only projection and head learn (TCF's FR, arXiv:2305.11700)."""

    def trunk(self, source: Source) -> nn.Module:
        """A module without parameters that holds the vectors."""
        return _Vectors(source.vectors)


class _Vectors(nn.Module):
    """Fetches the vectors on first use, so that a saved run recommends without its language model."""

    vectors: Tensor | None
    place: Tensor

    def __init__(self, features: Callable[[], Tensor]) -> None:
        super().__init__()
        self.features = features
        self.register_buffer("vectors", None, persistent=False)
        self.register_buffer("place", torch.empty(0), persistent=False)  # moves with the module; vectors come later

    def forward(self, items: Tensor | None = None) -> Tensor:
        if self.vectors is None:
            self.vectors = self.features().to(self.place.device)
        return self.vectors if items is None else self.vectors[items]
