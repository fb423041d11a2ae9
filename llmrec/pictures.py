"""Images as a vision model reads them: pixels in batches, each a text of one token."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from llmrec.loading.vision import VisionModel
from llmrec.normalisation import Normalisation
from llmrec.pixels import PixelStore

PATCH = 16
"""Pixels to a side of what counts as a token when batches are made."""


@dataclass(frozen=True)
class Pictures:
    """Images of one size, read from the store and normalised when a batch is made."""

    store: PixelStore
    keys: list[str]
    normalisation: Normalisation

    @classmethod
    def of(cls, store: PixelStore, keys: list[str], model: VisionModel) -> "Pictures":
        """As the model wants them."""
        return cls(store, keys, Normalisation(model.mean, model.std, model.model.dtype))

    @property
    def lengths(self) -> Int[np.ndarray, " n"]:
        """Of each image, in patches."""
        return np.full(len(self.keys), max(1, self.store.size // PATCH) ** 2)

    def batch(self, rows: list[int]) -> tuple[dict[str, Tensor], Bool[Tensor, "batch 1"]]:
        """What the model is called with for some images, and that the one token of each is its own."""
        values = self.normalisation.read(self.store, [self.keys[row] for row in rows])
        return {"pixel_values": values}, torch.ones(len(rows), 1, dtype=torch.bool)
