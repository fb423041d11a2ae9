"""PeterRec's model patches: small networks inside the blocks of a frozen trunk."""

from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from llmrec.errors import ConfigError
from llmrec.heads._convolution import ConvolutionBlock

BOTTLENECK = 4
"""A patch is so many times as narrow as the trunk."""


class Patch(nn.Module):
    """A bottleneck with GELU beside or behind a convolution (Yuan et al. 2020, arXiv:2001.04253).

    ``serial`` reads what the convolution gave and takes its place; ``parallel`` reads what entered it and is added. It
    begins with an up-projection of zeros: with its own skip the serial form then changes nothing, and the parallel one
    does so without. As PeterRec's code has it the parallel form keeps the skip and begins with another network.

    Args:
        dim: channels of the trunk.
        form: see above.
        skip: whether what is read is added to what the patch makes of it.
    """

    def __init__(self, dim: int, form: Literal["serial", "parallel"], skip: bool) -> None:
        super().__init__()
        self.form, self.skip = form, skip
        self.down = nn.Linear(dim, max(1, dim // BOTTLENECK))
        self.up = nn.Linear(max(1, dim // BOTTLENECK), dim)
        nn.init.trunc_normal_(self.down.weight, std=0.02, a=-0.04, b=0.04)
        nn.init.zeros_(self.down.bias)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(
        self, convolved: Float[Tensor, "batch seq dim"], entered: Float[Tensor, "batch seq dim"]
    ) -> Float[Tensor, "batch seq dim"]:
        """What goes on in the place of what the convolution gave."""
        read = convolved if self.form == "serial" else entered
        made = self.up(F.gelu(self.down(read), approximate="tanh"))
        made = made + read if self.skip else made
        return made if self.form == "serial" else convolved + made


def blocks_of(trunk: nn.Module) -> list[ConvolutionBlock]:
    """The blocks of a trunk that can be patched.

    Raises:
        ConfigError: it has none.
    """
    blocks = [block for block in trunk.modules() if isinstance(block, ConvolutionBlock)]
    if not blocks:
        raise ConfigError(
            f"model patches stand behind convolutions, and {type(trunk).__name__} has no block of them; take --head "
            "nextitnet, or a method that needs no patches, such as head_only"
        )
    return blocks


def insert(trunk: nn.Module, form: Literal["serial", "parallel"], skip: bool) -> None:
    """Puts two new patches into every block.

    Raises:
        ConfigError: the trunk has no block that can be patched.
    """
    for block in blocks_of(trunk):
        dim, device = block.first.out_channels, block.first.weight.device
        block.first_patch = Patch(dim, form, skip).to(device)
        block.second_patch = Patch(dim, form, skip).to(device)
