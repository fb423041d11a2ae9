"""Low-rank additions to the language model's matrices learn (PEFT)."""

from pathlib import Path
from typing import Any

from torch import nn

from llmrec.tuning import Source
from llmrec.tuning._trunk import Trunk, require_rates


class Lora:
    """LoRA (arXiv:2106.09685): beside every linear layer of the blocks a product of two thin matrices learns.

    They are saved with the run and, under ``adapter/``, as PEFT reads them. A step runs the model over the items of the
    batch, so take a loss that compares these alone, such as in_batch_softmax.

    Args:
        rank: of the products.
        alpha: the products count ``alpha / rank``.
        learning_rate: of the additions.
        weight_decay: of their matrices.
    """

    def __init__(
        self, *, rank: int = 8, alpha: int = 16, learning_rate: float = 1e-4, weight_decay: float = 0.01
    ) -> None:
        if rank < 1:
            raise ValueError(f"rank must be at least 1, came {rank}")
        if alpha < 1:
            raise ValueError(f"alpha must be at least 1, came {alpha}")
        require_rates(learning_rate, weight_decay)
        self.rank, self.alpha, self.learning_rate, self.weight_decay = rank, alpha, learning_rate, weight_decay

    def trunk(self, source: Source) -> nn.Module:
        """The model with its additions."""
        return _Added(source, self)


class _Added(Trunk):
    def __init__(self, source: Source, options: Lora) -> None:
        super().__init__(source, options.learning_rate, options.weight_decay)
        from peft import LoraConfig, get_peft_model

        config = LoraConfig(r=options.rank, lora_alpha=options.alpha, target_modules="all-linear", bias="none")
        adapted = get_peft_model(self.encoder, config)  # the additions are fp32 whatever the model is
        object.__setattr__(self, "encoder", adapted)
        learns = {name: weight for name, weight in adapted.named_parameters() if weight.requires_grad}
        for name, weight in learns.items():
            self.register_parameter(name.replace(".", "/"), weight)  # names of parameters hold no dots

    def save_pretrained(self, folder: Path) -> None:
        """Writes the additions as PEFT reads them."""
        adapted: Any = self.encoder
        adapted.save_pretrained(folder, safe_serialization=True)
