"""Dilated convolutions over left-padded histories: what NextItNet and its relatives share."""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from llmrec.heads._dropout import Dropout


class ConvolutionBlock(nn.Module):
    """Two dilated convolutions with layer norms and ReLU beside a skip, as NextItNet, GRec and PeterRec have them.

    ``first_patch`` and ``second_patch`` are None or take what a convolution gave and what entered it, and give what
    goes on in its place (PeterRec's model patches).

    Args:
        dim: channels.
        kernel_size: places that a convolution reads.
        dilation: steps between them in the first convolution; twice as many in the second.
        causal: whether a place reads itself and earlier ones, or as many on either side.
        norm: ``post`` normalises behind each convolution (NextItNet, PeterRec), ``pre`` before it (Conure).
        gate: whether a learned scalar that begins at 0 multiplies what the convolutions add to the skip (StackRec).
    """

    def __init__(
        self,
        dim: int,
        kernel_size: int,
        dilation: int,
        causal: bool,
        norm: Literal["post", "pre"],
        gate: bool = False,
    ) -> None:
        super().__init__()
        self.causal, self.norm = causal, norm
        self.first = nn.Conv1d(dim, dim, kernel_size, dilation=dilation)
        self.first_norm = nn.LayerNorm(dim, eps=1e-8)
        self.second = nn.Conv1d(dim, dim, kernel_size, dilation=2 * dilation)
        self.second_norm = nn.LayerNorm(dim, eps=1e-8)
        self.gate = nn.Parameter(torch.zeros(1)) if gate else None
        self.first_patch: nn.Module | None = None
        self.second_patch: nn.Module | None = None

    def forward(
        self, entered: Float[Tensor, "batch seq dim"], mask: Bool[Tensor, "batch seq"]
    ) -> Float[Tensor, "batch seq dim"]:
        """What leaves the block; at padded positions it means nothing."""
        inner = self._half(self.first, self.first_patch, self.first_norm, entered, mask)
        added = self._half(self.second, self.second_patch, self.second_norm, inner, mask)
        return entered + (added if self.gate is None else self.gate * added)

    def _half(
        self, convolution: nn.Conv1d, patch: nn.Module | None, norm: nn.LayerNorm, entered: Tensor, mask: Tensor
    ) -> Tensor:
        if self.norm == "pre":
            entered = F.relu(norm(entered))
        entered = entered * mask[..., None]  # a padded place is as empty as what stands before the history
        convolved = self._convolve(convolution, entered)
        if patch is not None:
            convolved = patch(convolved, entered)
        return convolved if self.norm == "pre" else F.relu(norm(convolved))

    def _convolve(self, convolution: nn.Conv1d, entered: Tensor) -> Tensor:
        reach = (convolution.kernel_size[0] - 1) * convolution.dilation[0]
        sides = (reach, 0) if self.causal else (reach // 2, reach - reach // 2)
        given: Tensor = convolution(F.pad(entered.transpose(1, 2), sides))
        return given.transpose(1, 2)


class Convolutions(nn.Module):
    """Blocks one behind the other; their dilations repeat.

    Args:
        dim: channels.
        num_layers: blocks.
        kernel_size: places that a convolution reads.
        dilations: of the first convolutions, repeated over the blocks.
        causal: see :class:`ConvolutionBlock`.
        norm: see :class:`ConvolutionBlock`.
        gate: see :class:`ConvolutionBlock`.
        dropout: on the input.

    Raises:
        ValueError: an option out of range.
    """

    def __init__(
        self,
        dim: int,
        num_layers: int,
        kernel_size: int,
        dilations: Sequence[int],
        causal: bool,
        norm: Literal["post", "pre"],
        gate: bool,
        dropout: float,
    ) -> None:
        super().__init__()
        if num_layers < 0:
            raise ValueError(f"num_layers must be at least 0, came {num_layers}")
        if kernel_size < 2:
            raise ValueError(f"kernel_size must be at least 2, came {kernel_size}")
        if not causal and not kernel_size % 2:
            raise ValueError(f"kernel_size must be odd where either side is read, came {kernel_size}")
        if not dilations or min(dilations) < 1:
            raise ValueError(f"dilations must be numbers from 1 on, came {list(dilations)}")
        self.dropout = Dropout(dropout)
        self.blocks = nn.ModuleList(
            ConvolutionBlock(dim, kernel_size, dilations[number % len(dilations)], causal, norm, gate)
            for number in range(num_layers)
        )
        self.apply(_initialise)

    def forward(
        self, items: Float[Tensor, "batch seq dim"], mask: Bool[Tensor, "batch seq"]
    ) -> Float[Tensor, "batch seq dim"]:
        """Vectors of all places; zero at padded ones."""
        hidden = self.dropout(items)
        for block in self.blocks:
            hidden = block(hidden, mask)
        return hidden * mask[..., None]


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv1d):
        nn.init.trunc_normal_(module.weight, std=0.02, a=-0.04, b=0.04)
        assert module.bias is not None
        nn.init.zeros_(module.bias)
