"""The whole language model learns."""

from typing import Any

from torch import nn

from llmrec.tuning import Source
from llmrec.tuning._trunk import Learning, Trunk


class Full:
    """Every weight of the language or vision model learns, word embeddings included; no vector is kept between steps.

    A step runs the model over the items of the batch, so take a loss that compares these alone, such as
    in_batch_softmax. Dropout of the model stays off; a vision model from nothing alone is in training mode.

    Args:
        learning_rate: of the language model's weights.
        weight_decay: of its matrices.
        gradient_checkpointing: blocks compute twice instead of keeping what they computed.
    """

    spreads = True
    """Over processes, under FSDP."""

    def __init__(
        self, *, learning_rate: float = 5e-5, weight_decay: float = 0.01, gradient_checkpointing: bool = False
    ) -> None:
        self.learning = Learning(learning_rate, weight_decay, gradient_checkpointing)

    def trunk(self, source: Source) -> nn.Module:
        """The model itself."""
        return _Whole(source, self.learning)


class _Whole(Trunk):
    rewrites = True

    def __init__(self, source: Source, learning: Learning) -> None:
        super().__init__(source, learning)
        self.prepare(self.found_blocks())
        self.learned = self.encoder.float().requires_grad_(True)

    def merged(self) -> Any:
        """The model itself."""
        return self.encoder
