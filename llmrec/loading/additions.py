"""Low-rank and like additions to a language model, as PEFT makes them."""

import warnings
from typing import Any


def adapted(model: Any, config: Any) -> Any:
    """PEFT's model around another, whose layers it changes in place.

    Args:
        model: as transformers has it.
        config: of PEFT.
    """
    from peft import get_peft_model

    with warnings.catch_warnings():  # PEFT asks for an attribute that transformers has renamed
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
        return get_peft_model(model, config)
