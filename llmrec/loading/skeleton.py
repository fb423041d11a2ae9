"""A model without its weights: what its config alone says."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from llmrec.errors import DataError, LlmrecError
from llmrec.loading.files import ModelFiles
from llmrec.loading.memory import DTYPES, Precision


def where(files: ModelFiles) -> dict[str, Any]:
    """Arguments of every ``from_pretrained``: no network and no code but our own."""
    # Left unset, trust_remote_code asks on the terminal and runs the model's own code after a "y".
    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    if files.path.is_file():
        return options | {"pretrained_model_name_or_path": files.path.parent, "gguf_file": files.path.name}
    return options | {"pretrained_model_name_or_path": files.path}


@contextmanager
def reading(files: ModelFiles) -> Iterator[None]:
    """Makes a DataError of what goes wrong within: readers of foreign files fail in more ways than can be listed."""
    try:
        yield
    except LlmrecError:
        raise
    except Exception as error:
        raise DataError(f"{files.path} cannot be read as a model: {type(error).__name__}: {error}") from error


def outline(config: Any) -> Any:
    """The model on no device at all: names and shapes."""
    from transformers import AutoModel

    with torch.device("meta"):
        return AutoModel.from_config(config, trust_remote_code=False)


def skeleton(config: Any, precision: Precision) -> Any:
    """The model with its weights on no device; buffers, which no file holds, are real."""
    from accelerate import init_empty_weights
    from transformers import AutoModel

    with init_empty_weights(include_buffers=False):
        model = AutoModel.from_config(config, dtype=DTYPES[precision], trust_remote_code=False)
    model.tie_weights()
    return model


def width_and_vocabulary(files: ModelFiles) -> tuple[int, int]:
    """Width of a model's hidden states, and how many tokens it knows, by its config alone.

    Raises:
        DataError: the config cannot be read.
    """
    from transformers import AutoConfig

    with reading(files):
        config = AutoConfig.from_pretrained(**where(files)).get_text_config()
        return config.hidden_size, config.vocab_size


def encoder_of(model: Any) -> Any:
    """The part that reads a text: all of it, or the encoder of T5."""
    return model.get_encoder() if model.config.is_encoder_decoder else model


def parameters(model: Any) -> int:
    """Weights of the part that reads a text."""
    return sum(weight.numel() for weight in encoder_of(model).parameters())
