"""Images as a vision model reads them: pixels in batches, each a text of one token."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from llmrec.pixels import PixelStore

PATCH = 16
"""Pixels to a side of what counts as a token when batches are made."""


@dataclass(frozen=True)
class Pictures:
    """Images of one size, read from the store when a batch is made."""

    store: PixelStore
    keys: list[str]
    size: int
    """Pixels to a side."""

    @property
    def lengths(self) -> Int[np.ndarray, " n"]:
        """Of each image, in patches."""
        return np.full(len(self.keys), max(1, self.size // PATCH) ** 2)

    def batch(self, rows: list[int]) -> tuple[dict[str, Tensor], Bool[Tensor, "batch 1"]]:
        """Pixels of some images, and that the one token of each is its own."""
        pixels = self.store.read([self.keys[row] for row in rows])
        return {"pixels": pixels}, torch.ones(len(rows), 1, dtype=torch.bool)
