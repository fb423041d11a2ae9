"""A factor for every output of the language model's linear layers learns (PEFT)."""

from torch import nn

from llmrec.tuning import Source
from llmrec.tuning._adapters import Adapted
from llmrec.tuning._trunk import Learning


class Ia3:
    """(IA)3 (arXiv:2205.05638), here at every linear layer of the blocks: some thousand weights a block.

    A step runs the model over the items of the batch, so take a loss that compares these alone, such as
    in_batch_softmax.

    Args:
        learning_rate: of the factors.
        gradient_checkpointing: blocks compute twice instead of keeping what they computed.
    """

    def __init__(self, *, learning_rate: float = 1e-3, gradient_checkpointing: bool = False) -> None:
        self.learning = Learning(learning_rate, 0.0, gradient_checkpointing)

    def trunk(self, source: Source) -> nn.Module:
        """The model with its factors."""
        from peft import IA3Config

        return Adapted(source, self.learning, IA3Config(target_modules="all-linear", feedforward_modules=[]))
