"""From the pixels that are kept to the numbers that a vision model reads."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from llmrec.pixels import PixelStore

_CHUNK = 8
"""Images read and normalised at a time, so that they stay in the processor's cache."""


class Normalisation:
    """Pixels as a vision model reads them: ``(pixels / 255 - mean) / std`` by channel, in one multiply-add.

    A batch normalisation that does not learn is this very function and the one kernel of torch that computes it in
    fp32 and rounds once to ``dtype``; 0 to 255 are exact in bf16 too.

    Args:
        mean: of each channel, pixels being 0 to 1.
        std: of each channel.
        dtype: of the result, fp32 or bf16.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], dtype: torch.dtype) -> None:
        centre, spread = torch.tensor(mean, dtype=torch.float64), torch.tensor(std, dtype=torch.float64)
        self.scale, self.shift, self.dtype = (1 / (255 * spread)).float(), (-centre / spread).float(), dtype

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
        step = _CHUNK if pixels.device.type == "cpu" else max(len(pixels), 1)
        for part, room in zip(pixels.split(step), result.split(step), strict=True):
            self._apply(part, room)
        return result

    def read(
        self, store: PixelStore, keys: Sequence[str], out: Float[Tensor, "n 3 size size"] | None = None
    ) -> Float[Tensor, "n 3 size size"]:
        """The same of images of a store, a few at a time, so that no pixel leaves the processor's cache between.

        Raises:
            DataError: as :meth:`PixelStore.read`.
        """
        shape = len(keys), 3, store.size, store.size
        result = torch.empty(shape, dtype=self.dtype) if out is None else out
        for start in range(0, len(keys), _CHUNK):
            self._apply(store.read(keys[start : start + _CHUNK]), result[start : start + _CHUNK])
        return result

    def _apply(self, pixels: UInt8[Tensor, "n 3 size size"], out: Float[Tensor, "n 3 size size"]) -> None:
        scale, shift = self.scale.to(pixels.device), self.shift.to(pixels.device)
        kept = torch.zeros_like(shift), torch.ones_like(scale)
        saved = scale.new_empty(0), scale.new_empty(0)
        torch.native_batch_norm(pixels.to(self.dtype), scale, shift, *kept, False, 0.0, 0.0, out=(out, *saved))
