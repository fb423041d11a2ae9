"""Two narrow networks in every block of the language model learn, and two in every block of the head."""

from torch import nn

from llmrec.tuning import Source
from llmrec.tuning._bottleneck import Activation, Bottleneck, Bottlenecks, adapt_head, check_widths, linear_layers
from llmrec.tuning._trunk import Learning


class Houlsby:
    """Serial adapters (Houlsby et al. 2019, arXiv:1902.00751) behind attention and feed-forward network of each block.

    An adapter is a linear layer down, an activation, a linear layer up and a skip, before the block's residual sum.
    This is what Adapter4Rec (Fu et al. 2024, arXiv:2305.15036) found best for recommendation; its sizes are the
    defaults. The up-projections begin with zeros, so that at first the vectors are those of the model.

    A step runs the model over the items of the batch, so take a loss that compares these alone, such as
    in_batch_softmax.

    Args:
        bottleneck: width of the language model's adapters.
        head_bottleneck: width of those in the head; 0: none there.
        activation: between the two layers.
        learning_rate: of the language model's adapters; those of the head learn as the head does.
        weight_decay: of their matrices.
        gradient_checkpointing: blocks compute twice instead of keeping what they computed.
    """

    def __init__(
        self,
        *,
        bottleneck: int = 64,
        head_bottleneck: int = 16,
        activation: Activation = "relu",
        learning_rate: float = 1.5e-4,
        weight_decay: float = 0.0,
        gradient_checkpointing: bool = False,
    ) -> None:
        check_widths(bottleneck, head_bottleneck)
        self.bottleneck, self.head_bottleneck, self.activation = bottleneck, head_bottleneck, activation
        self.learning = Learning(learning_rate, weight_decay, gradient_checkpointing)

    def trunk(self, source: Source) -> nn.Module:
        """The model with its adapters."""
        return Bottlenecks(source, self.learning, self.bottleneck, self._make)

    def adapt_head(self, head: nn.Module) -> None:
        """Puts adapters into the head's blocks."""
        adapt_head(head, self.head_bottleneck, self._make)

    def _make(self, dim: int, bottleneck: int) -> nn.Module:
        return Bottleneck(*linear_layers(dim, bottleneck), "serial", self.activation)
