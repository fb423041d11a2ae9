"""Adapters made of a few shared small matrices and vectors of their own learn."""

from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from llmrec.errors import ConfigError
from llmrec.tuning import Source
from llmrec.tuning._bottleneck import Bottleneck, Bottlenecks, adapt_head, check_widths
from llmrec.tuning._trunk import Learning

NUM_RULES = 4
"""Products that a layer's matrix is the sum of, and the side of the small matrices in them; both the paper's ``n``."""


class Compacter:
    """Compacter (Karimi Mahabadi et al. 2021, arXiv:2106.04647): Houlsby's adapters with hypercomplex layers.

    The matrix of a layer is ``sum_i kron(A_i, s_i t_i)`` over four rules ``A_i`` of 4 x 4, which all layers of the
    language model share, a column ``s_i`` and a row ``t_i`` of the layer's own (rank 1). The head has rules of its own.
    The columns of the up-projections begin with zeros, so that at first the vectors are those of the model.

    A step runs the model over the items of the batch, so take a loss that compares these alone, such as
    in_batch_softmax.

    Args:
        bottleneck: width of the language model's adapters; a multiple of 4, as must be the model's.
        head_bottleneck: width of those in the head; 0: none there.
        learning_rate: of the language model's adapters; those of the head learn as the head does.
        weight_decay: of their matrices.
        gradient_checkpointing: blocks compute twice instead of keeping what they computed.
    """

    def __init__(
        self,
        *,
        bottleneck: int = 64,
        head_bottleneck: int = 16,
        learning_rate: float = 4e-3,
        weight_decay: float = 0.0,
        gradient_checkpointing: bool = False,
    ) -> None:
        check_widths(bottleneck, head_bottleneck)
        for name, width in (("bottleneck", bottleneck), ("head_bottleneck", head_bottleneck)):
            if width % NUM_RULES:
                raise ValueError(f"{name} must be a multiple of {NUM_RULES}, came {width}")
        self.bottleneck, self.head_bottleneck = bottleneck, head_bottleneck
        self.learning = Learning(learning_rate, weight_decay, gradient_checkpointing)

    def trunk(self, source: Source) -> nn.Module:
        """The model with its adapters."""
        rules = _Rules()
        trunk = Bottlenecks(source, self.learning, self.bottleneck, partial(_make, rules))
        trunk.rules = rules
        return trunk

    def adapt_head(self, head: nn.Module) -> None:
        """Puts adapters into the head's blocks."""
        if self.head_bottleneck:
            rules = _Rules()
            adapt_head(head, self.head_bottleneck, partial(_make, rules))
            head.rules = rules


class _Rules(nn.Module):
    """The small matrices that layers share."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(NUM_RULES, NUM_RULES, NUM_RULES) / NUM_RULES**0.5)


class _Hypercomplex(nn.Module):
    """A linear layer whose matrix has entries of variance ``1 / inputs`` at first."""

    rules: _Rules

    def __init__(self, rules: _Rules, inputs: int, outputs: int) -> None:
        super().__init__()
        object.__setattr__(self, "rules", rules)  # not registered: they are saved once, by who made them
        self.column = nn.Parameter(torch.randn(NUM_RULES, inputs // NUM_RULES) / inputs**0.5)
        self.row = nn.Parameter(torch.randn(NUM_RULES, outputs // NUM_RULES))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, read: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        # Entry (a p, b q) of the sum of Kronecker products.
        matrix = torch.einsum("iab,ip,iq->apbq", self.rules.weight, self.column, self.row)
        given: Tensor = nn.functional.linear(read, matrix.reshape(read.shape[-1], -1).T, self.bias)
        return given


def _make(rules: _Rules, dim: int, bottleneck: int) -> nn.Module:
    if dim % NUM_RULES:
        raise ConfigError(f"compacter takes models whose width is a multiple of {NUM_RULES}, came {dim}; take houlsby")
    down, up = _Hypercomplex(rules, dim, bottleneck), _Hypercomplex(rules, bottleneck, dim)
    nn.init.zeros_(up.column)
    return Bottleneck(down, up, "serial", "gelu")
