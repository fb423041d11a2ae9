"""Narrow networks beside the sub-layers of the language model's blocks learn, and of the head's."""

from torch import nn

from llmrec.tuning import Source
from llmrec.tuning._bottleneck import Bottleneck, Bottlenecks, adapt_head, check_widths, linear_layers
from llmrec.tuning._trunk import Learning


class Parallel:
    """Parallel adapters (He et al. 2022, arXiv:2110.04366) beside attention and feed-forward network of each block.

    An adapter reads what the sub-layer reads and is added to what that gives. It has no skip of its own: the block's
    counts once, where Adapter4Rec's code adds it a second time.

    A step runs the model over the items of the batch, so take a loss that compares these alone, such as
    in_batch_softmax.

    Args:
        bottleneck: width of the language model's adapters.
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
        learning_rate: float = 1.5e-4,
        weight_decay: float = 0.0,
        gradient_checkpointing: bool = False,
    ) -> None:
        check_widths(bottleneck, head_bottleneck)
        self.bottleneck, self.head_bottleneck = bottleneck, head_bottleneck
        self.learning = Learning(learning_rate, weight_decay, gradient_checkpointing)

    def trunk(self, source: Source) -> nn.Module:
        """The model with its adapters."""
        return Bottlenecks(source, self.learning, self.bottleneck, _make)

    def adapt_head(self, head: nn.Module) -> None:
        """Puts adapters into the head's blocks."""
        adapt_head(head, self.head_bottleneck, _make)


def _make(dim: int, bottleneck: int) -> nn.Module:
    return Bottleneck(*linear_layers(dim, bottleneck), "parallel", "relu")
