"""The Cloze objective: a head that reads later items too learns to name items that it is not shown."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn


class Cloze(nn.Module):
    """Which places of a window are asked for, and the vector that stands there in the place of the item's own.

    As in BERT4Rec (arXiv:1904.06690), some windows ask for their last item alone, since recommending asks for nothing
    else: the items that are hidden elsewhere have others behind them.

    Args:
        dim: width of item vectors.
        mask_share: of a window's places asked for, above 0 and below 1; at least one place is.
        last_share: of the windows that ask for their last item alone, from 0 to 1.

    Raises:
        ValueError: a share out of range.
    """

    def __init__(self, dim: int, mask_share: float, last_share: float) -> None:
        super().__init__()
        if not 0 < mask_share < 1:
            raise ValueError(f"mask_share must be above 0 and below 1, came {mask_share}")
        if not 0 <= last_share <= 1:
            raise ValueError(f"last_share must be from 0 to 1, came {last_share}")
        self.mask_share, self.last_share = mask_share, last_share
        self.vector = nn.Parameter(torch.randn(dim) * 0.02)

    def draw(self, windows: Int[Tensor, "batch width"], generator: torch.Generator) -> Bool[Tensor, "batch width"]:
        """The places asked for.

        Args:
            windows: item indices, left-padded with 0.
            generator: of all that is random here.
        """
        real, device = windows > 0, generator.device
        chance = torch.rand(windows.shape, generator=generator, device=device).to(windows.device)
        alone = torch.rand((len(windows), 1), generator=generator, device=device).to(windows.device) < self.last_share
        least = chance.masked_fill(~real, torch.inf).argmin(dim=1, keepdim=True)
        some = (chance < self.mask_share).scatter(1, least, True)
        last = torch.zeros_like(real)
        last[:, -1] = True
        return torch.where(alone, last, some) & real

    def hide(
        self, items: Float[Tensor, "batch seq dim"], masked: Bool[Tensor, "#batch seq"]
    ) -> Float[Tensor, "batch seq dim"]:
        """The item vectors with the mask's own at the places asked for."""
        return torch.where(masked[..., None], self.vector, items)
