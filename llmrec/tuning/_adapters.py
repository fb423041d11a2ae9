"""Additions to the language model's linear layers that learn in its place, as PEFT makes them."""

from pathlib import Path
from typing import Any

from torch import nn

from llmrec.errors import ConfigError
from llmrec.loading import additions
from llmrec.loading.vision import Eye
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
        blocks = self.found_blocks()
        eye = self.encoder if isinstance(self.encoder, Eye) else None
        if eye is not None and not any(isinstance(each, nn.Linear) for each in eye.network.modules()):
            raise ConfigError(
                f"a {eye.config.model_type} has no linear layers that additions could learn beside; take the tuning "
                "top_blocks or full"
            )
        # The additions are fp32 whatever the model is.
        adapted = additions.adapted(self.encoder if eye is None else eye.network, config)
        object.__setattr__(self, "adapted", adapted)  # as the encoder, it is not registered
        if eye is None:
            object.__setattr__(self, "encoder", adapted)
        else:
            eye.network = adapted
        self.prepare(blocks)
        learns = {name: weight for name, weight in adapted.named_parameters() if weight.requires_grad}
        for name, weight in learns.items():
            self.register_parameter(name.replace(".", "/"), weight)  # names of parameters hold no dots

    def merged(self) -> Any:
        """The model with its additions worked into its weights.

        Raises:
            ConfigError: these are quantised.
        """
        adapted: Any = self.adapted
        if getattr(adapted.get_base_model(), "quantization_method", None) is not None:
            raise ConfigError(
                "additions to quantised weights cannot be worked into these without rounding; take a run with "
                "features.loading=resident"
            )
        merged = adapted.float().merge_and_unload()
        return Eye(merged) if isinstance(self.encoder, Eye) else merged

    def save_pretrained(self, folder: Path) -> None:
        """Writes the additions as PEFT reads them."""
        adapted: Any = self.adapted
        adapted.save_pretrained(folder, safe_serialization=True)
