"""Additions to the language model's linear layers that learn in its place, as PEFT makes them."""

from pathlib import Path
from typing import Any

from llmrec.errors import ConfigError
from llmrec.loading import additions
from llmrec.loading.blocks import block_list
from llmrec.tuning import Source
from llmrec.tuning._trunk import Learning, Trunk


class Adapted(Trunk):
    """The model, whose own weights may be quantised (QLoRA, arXiv:2305.14314), with its additions.

    They are saved with the run and, under ``adapter/``, as PEFT reads them.

    Args:
        source: texts and model.
        learning: of the additions.
        config: of PEFT.
    """

    def __init__(self, source: Source, learning: Learning, config: Any) -> None:
        super().__init__(source, learning, ("8bit", "4bit"))
        blocks = block_list(self.encoder)[1]
        adapted = additions.adapted(self.encoder, config)  # the additions are fp32 whatever the model is
        object.__setattr__(self, "encoder", adapted)
        self.prepare(blocks)
        learns = {name: weight for name, weight in adapted.named_parameters() if weight.requires_grad}
        for name, weight in learns.items():
            self.register_parameter(name.replace(".", "/"), weight)  # names of parameters hold no dots

    def merged(self) -> Any:
        """The model with its additions worked into its weights.

        Raises:
            ConfigError: these are quantised.
        """
        adapted: Any = self.encoder
        if getattr(adapted.get_base_model(), "quantization_method", None) is not None:
            raise ConfigError(
                "additions to quantised weights cannot be worked into these without rounding; take a run with "
                "features.loading=resident"
            )
        return adapted.float().merge_and_unload()

    def save_pretrained(self, folder: Path) -> None:
        """Writes the additions as PEFT reads them."""
        adapted: Any = self.encoder
        adapted.save_pretrained(folder, safe_serialization=True)
