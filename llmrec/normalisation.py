"""From the pixels that are kept to the numbers that a vision model reads."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from llmrec.pixels import PixelStore

_TOGETHER = 4
"""Images that are normalised in one call, so that they stay in the processor's cache."""
_READ = 32
"""Images that are read in one call."""


class Normalisation:
    """Pixels as a vision model reads them: ``(pixels / 255 - mean) / std`` by channel, in one multiply-add.

    A batch normalisation that does not learn is this very function, and its kernel is the one of torch that computes it
    in fp32 and rounds once to ``dtype``; 0 to 255 are exact in bf16 too.

    Args:
        mean: of each channel, pixels being 0 to 1.
        std: of each channel.
        dtype: of the result, fp32 or bf16.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], dtype: torch.dtype) -> None:
        self.mean, self.variance = 255 * torch.tensor(mean), (255 * torch.tensor(std)).square()
        self.dtype = dtype

    def __call__(
        self, pixels: UInt8[Tensor, "n 3 size size"], out: Float[Tensor, "n 3 size size"] | None = None
    ) -> Float[Tensor, "n 3 size size"]:
        """Normalised pixels on the device of the given ones.

        Args:
            pixels: RGB.
            out: is filled, where given. Memory fresh from the system costs more than the arithmetic, so whoever needs
                no batch beyond the next one does well to give the same tensor again.
        """
        result = torch.empty(pixels.shape, dtype=self.dtype, device=pixels.device) if out is None else out
        mean, variance = self.mean.to(pixels.device), self.variance.to(pixels.device)
        unused = mean.new_empty(0)
        step = _TOGETHER if pixels.device.type == "cpu" else max(len(pixels), 1)
        for some, room in zip(pixels.split(step), result.split(step), strict=True):
            torch.native_batch_norm(
                some.to(self.dtype), None, None, mean, variance, False, 0.0, 0.0, out=(room, unused, unused)
            )
        return result

    def read(
        self, store: PixelStore, keys: Sequence[str], out: Float[Tensor, "n 3 size size"] | None = None
    ) -> Float[Tensor, "n 3 size size"]:
        """The same of images of a store, a few at a time, so that no pixel leaves the processor's cache between.

        Raises:
            DataError: as :meth:`PixelStore.read`.
        """
        result = torch.empty(len(keys), 3, store.size, store.size, dtype=self.dtype) if out is None else out
        pixels = torch.empty(min(_READ, len(keys)), 3, store.size, store.size, dtype=torch.uint8)
        for start in range(0, len(keys), _READ):
            room = result[start : start + _READ]
            self(store.read(keys[start : start + _READ], pixels[: len(room)]), room)
        return result
