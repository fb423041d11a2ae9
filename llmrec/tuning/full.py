"""The whole language model learns."""

from torch import nn

from llmrec.tuning import Source
from llmrec.tuning._trunk import Trunk, require_rates


class Full:
    """Every weight of the language model learns, word embeddings included; no vector is kept between steps.

    A step runs the model over the items of the batch, so take a loss that compares these alone, such as
    in_batch_softmax. Dropout of the language model stays off.

    Args:
        learning_rate: of the language model's weights.
        weight_decay: of its matrices.
    """

    def __init__(self, *, learning_rate: float = 5e-5, weight_decay: float = 0.01) -> None:
        require_rates(learning_rate, weight_decay)
        self.learning_rate, self.weight_decay = learning_rate, weight_decay

    def trunk(self, source: Source) -> nn.Module:
        """The model itself."""
        return _Whole(source, self.learning_rate, self.weight_decay)


class _Whole(Trunk):
    def __init__(self, source: Source, learning_rate: float, weight_decay: float) -> None:
        super().__init__(source, learning_rate, weight_decay)
        self.learned = self.encoder.float().requires_grad_(True)
