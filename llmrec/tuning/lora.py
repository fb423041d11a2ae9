"""Low-rank additions to the language model's matrices learn (PEFT)."""

from torch import nn

from llmrec.tuning import Source
from llmrec.tuning._adapters import Adapted
from llmrec.tuning._trunk import Learning


class Lora:
    """LoRA (arXiv:2106.09685): beside every linear layer of the blocks a product of two thin matrices learns.

    A step runs the model over the items of the batch, so take a loss that compares these alone, such as
    in_batch_softmax.

    Args:
        rank: of the products.
        alpha: the products count ``alpha / rank``.
        dora: the lengths of the matrices' columns learn besides their directions (DoRA, arXiv:2402.09353).
        learning_rate: of the additions.
        weight_decay: of their matrices.
        gradient_checkpointing: blocks compute twice instead of keeping what they computed.
    """

    def __init__(
        self,
        *,
        rank: int = 8,
        alpha: int = 16,
        dora: bool = False,
        learning_rate: float = 1e-4,
        weight_decay: float = 0.01,
        gradient_checkpointing: bool = False,
    ) -> None:
        if rank < 1:
            raise ValueError(f"rank must be at least 1, came {rank}")
        if alpha < 1:
            raise ValueError(f"alpha must be at least 1, came {alpha}")
        self.rank, self.alpha, self.dora = rank, alpha, dora
        self.learning = Learning(learning_rate, weight_decay, gradient_checkpointing)

    def trunk(self, source: Source) -> nn.Module:
        """The model with its additions."""
        from peft import LoraConfig

        config = LoraConfig(
            r=self.rank, lora_alpha=self.alpha, use_dora=self.dora, target_modules="all-linear", bias="none"
        )
        return Adapted(source, self.learning, config)
