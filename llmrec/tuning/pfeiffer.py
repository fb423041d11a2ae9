"""A narrow network in every block of the language model learns, and one in every block of the head."""

from torch import nn

from llmrec.tuning import Source
from llmrec.tuning._bottleneck import Bottleneck, Bottlenecks, adapt_head, check_widths, linear_layers
from llmrec.tuning._trunk import Learning


class Pfeiffer:
    """Serial adapters (Pfeiffer et al. 2020, arXiv:2005.00247) behind the feed-forward network of each block alone.

    Half as many weights as ``houlsby`` has, of the same form with ReLU and before the residual sum. The layer norm that
    the paper has beside them is the model's own, which stays as it is.

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
        learning_rate: float = 1e-4,
        weight_decay: float = 0.0,
        gradient_checkpointing: bool = False,
    ) -> None:
        check_widths(bottleneck, head_bottleneck)
        self.bottleneck, self.head_bottleneck = bottleneck, head_bottleneck
        self.learning = Learning(learning_rate, weight_decay, gradient_checkpointing)

    def trunk(self, source: Source) -> nn.Module:
        """The model with its adapters."""
        return Bottlenecks(source, self.learning, self.bottleneck, _make, ("feed_forward",))

    def adapt_head(self, head: nn.Module) -> None:
        """Puts adapters into the head's blocks."""
        adapt_head(head, self.head_bottleneck, _make, ("feed_forward",))


def _make(dim: int, bottleneck: int) -> nn.Module:
    return Bottleneck(*linear_layers(dim, bottleneck), "serial", "relu")
