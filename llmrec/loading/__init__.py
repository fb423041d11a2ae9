"""How a language model gets into memory: from a name to a checked, loaded model and its tokenizer."""

import contextlib
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from llmrec import assets
from llmrec.errors import ConfigError, DataError
from llmrec.loading.blocks import shorten
from llmrec.loading.files import ModelFiles, at_hand, cached_models, find, repository_of
from llmrec.loading.memory import DTYPES, Precision, fits_on_gpu, require_memory
from llmrec.loading.names import MODELS, Known, Pooling, pooling_of
from llmrec.loading.plan import Shape, chosen
from llmrec.loading.quantised import keep_layout, quantisation
from llmrec.loading.resident import Resident
from llmrec.loading.shared import apart, once, shared
from llmrec.loading.skeleton import encoder_of, outline, parameters, reading, skeleton, where, width_and_vocabulary
from llmrec.loading.streamed import Streamed
from llmrec.loading.weights import Shards, require_place, require_rows, require_whole

__all__ = [
    "DTYPES", "MODELS", "Known", "LanguageModel", "Loading", "ModelFiles", "Pooling", "Precision", "apart", "at_hand",
    "cached_models", "find", "load", "load_seq2seq", "load_tokenizer",
    "load_writer", "pooling_of", "reads_apart", "repository_of", "require_memory", "require_rows", "shared",
    "width_and_vocabulary",
]  # fmt: skip

Held = Literal["resident", "sharded", "8bit", "4bit"]
Loading = Literal["auto", "resident", "sharded", "8bit", "4bit", "streamed"]
Batch = dict[str, Tensor]
Progress = Callable[[int, int], None]
MaxMemory = dict[int | str, int | str] | None


@runtime_checkable
class Runs(Protocol):
    """What gives a model's hidden states."""

    encoder: nn.Module

    def last_hidden_states(self, batches: list[Batch], progress: Progress) -> Iterator[Tensor]:
        """One tensor ``[batch, seq, dim]`` for each batch; ``progress`` hears of steps done and steps in all."""
        ...

    def entering(self, index: int, batches: list[Batch], progress: Progress) -> Iterator[Tensor]:
        """The same of the hidden states that enter a block, from the second on."""
        ...

    def keep(self, number: int) -> None:
        """Lets all blocks go but the first and the last so many, which are in memory then."""
        ...


@dataclass(frozen=True)
class LanguageModel:
    """A loaded model, its tokenizer (right padding, a padding token set), its config and its files."""

    runs: Runs
    tokenizer: Any
    config: Any
    files: ModelFiles

    @property
    def model(self) -> Any:
        """The module; of a streamed model most weights are on no device."""
        return self.runs.encoder

    @property
    def takes_all(self) -> bool:
        """Whether all texts are to be given at once: every run reads all weights."""
        return isinstance(self.runs, Streamed)


def load(
    files: ModelFiles,
    precision: Precision,
    loading: Loading = "auto",
    *,
    max_memory: MaxMemory = None,
    blocks: int | None = None,
) -> LanguageModel:
    """Loads a model for encoding.

    ``trust_remote_code`` stays off and only safetensors or GGUF are read. See :func:`shared` for many runs over one
    model.

    Args:
        files: of the model.
        precision: of weights and hidden states.
        loading: ``resident`` in memory; ``sharded`` over all devices, the memory and the disk; ``8bit`` and ``4bit`` in
            memory with quantised weights; ``streamed`` block by block; ``auto``: resident if it fits, else streamed.
        max_memory: of a sharded model, by device: ``{"cpu": "8GB", 0: "20GB"}``; None: what is free.
        blocks: only the first so many run; None: all.

    Raises:
        ConfigError: a ``.gguf`` file is to be taken otherwise than whole, or bitsandbytes is not installed.
        MemoryLimitError: the weights are larger than the free memory.
        DataError: the files cannot be read as a model.
    """
    from transformers import AutoConfig, AutoTokenizer

    _quiet()
    options = where(files)
    if loading not in ("auto", "resident") and files.path.is_file():
        raise ConfigError(f"{files.path}: a .gguf file cannot be {loading}; take features.loading=resident")
    with reading(files):
        config = AutoConfig.from_pretrained(**options)
        empty = outline(config)
        if loading == "auto" and files.path.is_dir():
            loading = _auto(empty, precision)
        runs: Runs
        if loading == "streamed":
            runs = _streamed(files, config, precision, blocks)
        elif loading in ("auto", "resident"):
            key = files.path.resolve(), precision, blocks
            runs = Resident(once(key, lambda: _whole(files, parameters(empty), precision, blocks)))
        else:
            encoder = _in_memory(files, precision if loading == "sharded" else "bf16", **_how(loading, max_memory))
            if blocks is not None:
                shorten(encoder, blocks)
            runs = Resident(encoder)
        tokenizer = AutoTokenizer.from_pretrained(padding_side="right", **options)
    return LanguageModel(runs, _with_padding(tokenizer, files), config, files)


def load_writer(files: ModelFiles, precision: Precision, loading: Held = "resident") -> tuple[Any, Any]:
    """Loads a model that writes text, with its head, and its tokenizer.

    Args:
        files: of the model.
        precision: of weights and hidden states.
        loading: how it is held, see :func:`load`; what is streamed would be read anew for every token.

    Raises:
        ConfigError: a ``.gguf`` file is to be taken otherwise than whole, or bitsandbytes is not installed.
        MemoryLimitError: the weights are larger than the free memory.
        DataError: the files cannot be read as such a model.
    """
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    _quiet()
    if loading != "resident" and files.path.is_file():
        raise ConfigError(f"{files.path}: a .gguf file cannot be {loading}; take backend.loading=resident")
    with reading(files):
        config = AutoConfig.from_pretrained(**where(files))
        if config.is_encoder_decoder:
            raise DataError(f"{files.path} is an encoder with a decoder ({config.model_type}); take a decoder alone")
        if loading == "resident":
            require_memory(files.name, parameters(outline(config)), precision)
        quantised = loading in ("8bit", "4bit")
        model = _weighed(AutoModelForCausalLM, files, "bf16" if quantised else precision, _how(loading, None))
        if loading == "resident" and fits_on_gpu(model):
            model.to("cuda")
        tokenizer = AutoTokenizer.from_pretrained(padding_side="left", **where(files))
    return model, _with_padding(tokenizer, files)


def reads_apart(files: ModelFiles) -> bool:
    """Whether a model reads with an encoder and writes with a decoder, as T5 does.

    Raises:
        DataError: the files cannot be read as a model.
    """
    from transformers import AutoConfig

    _quiet()
    with reading(files):
        return bool(AutoConfig.from_pretrained(**where(files)).is_encoder_decoder)


def load_seq2seq(files: ModelFiles, kinds: Sequence[str]) -> tuple[Any, Any]:
    """Loads an encoder with its decoder and its head, in single precision on the CPU, and its tokenizer.

    Args:
        files: of the model.
        kinds: architectures that will do, such as ``t5``.

    Raises:
        MemoryLimitError: the weights are larger than the free memory.
        DataError: another architecture, or files that cannot be read as such a model.
    """
    from transformers import AutoConfig, AutoModelForSeq2SeqLM, AutoTokenizer

    _quiet()
    with reading(files):
        config = AutoConfig.from_pretrained(**where(files))
        if config.model_type not in kinds:
            raise DataError(
                f"{files.name} is of the architecture {config.model_type}, and what is wanted is an encoder with a "
                f"decoder like T5's ({', '.join(kinds)}), such as flan-t5-small"
            )
        require_memory(files.name, sum(weight.numel() for weight in outline(config).parameters()), "fp32")
        model = _weighed(AutoModelForSeq2SeqLM, files, "fp32", {})
        tokenizer = AutoTokenizer.from_pretrained(padding_side="right", **where(files))
    return model, _with_padding(tokenizer, files)


def load_tokenizer(files: ModelFiles) -> Any:
    """Loads what a model cuts texts into tokens with; its weights need not be there.

    Raises:
        DataError: the files cannot be read as a tokenizer.
    """
    from transformers import AutoTokenizer

    _quiet()
    try:
        return AutoTokenizer.from_pretrained(**where(files))
    except Exception as error:  # readers of foreign files fail in more ways than can be listed
        raise DataError(f"{files.path} has no tokenizer that can be read: {type(error).__name__}: {error}") from error


def _quiet() -> None:
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def _with_padding(tokenizer: Any, files: ModelFiles) -> Any:
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token  # masked everywhere, so any token will do
    if tokenizer.pad_token is None:
        raise DataError(f"{files.path}: the tokenizer has neither a padding token nor one to take for it")
    return tokenizer


def _auto(empty: Any, precision: Precision) -> Loading:
    try:
        return chosen(Shape.of(encoder_of(empty)), precision)
    except DataError:  # it cannot be taken apart
        return "resident"


def _whole(files: ModelFiles, weights: int, precision: Precision, blocks: int | None) -> Any:
    """The text encoder in memory, on the GPU that belongs to this process if there is room."""
    require_memory(files.name, weights, precision)
    encoder = _in_memory(files, precision)
    if blocks is not None:
        shorten(encoder, blocks)
    return encoder.to("cuda") if fits_on_gpu(encoder) else encoder


def _streamed(files: ModelFiles, config: Any, precision: Precision, blocks: int | None) -> Streamed:
    if getattr(config, "quantization_config", None):
        raise DataError(f"{files.path} holds quantised weights, which cannot be streamed")
    model = skeleton(config, precision)
    shards, revision = Shards(files.path, model), files.revision
    unexpected = shards.unexpected(model)
    if blocks is not None:
        shorten(encoder_of(model), blocks)
        revision = f"{revision}, {blocks} blocks"
    runs = Streamed(model, shards, DTYPES[precision], revision, _workspace())
    # Weights that transformers would rename are missing and too many at once; that they are missing is what ends it.
    require_place(files.path, model, unexpected)
    return runs


def _how(loading: Loading | Held, max_memory: MaxMemory) -> dict[str, Any]:
    """Arguments of ``from_pretrained``."""
    if loading == "sharded":
        folder = _workspace() / "offload"
        folder.mkdir(parents=True, exist_ok=True)
        memory = dict(max_memory) if max_memory else None  # transformers writes numbers into it
        return {"device_map": "auto", "max_memory": memory, "offload_folder": folder}
    if loading in ("8bit", "4bit"):
        device = f"cuda:{torch.cuda.current_device()}" if torch.cuda.is_available() else "cpu"
        return {"quantization_config": quantisation(loading), "device_map": device}
    return {}


def _in_memory(files: ModelFiles, precision: Precision, **how: Any) -> Any:
    from transformers import AutoConfig, AutoModel, AutoModelForTextEncoding

    two_sided = AutoConfig.from_pretrained(**where(files)).is_encoder_decoder
    kind = AutoModelForTextEncoding if two_sided else AutoModel  # of T5 the decoder is twice the rest
    model = _weighed(kind, files, precision, how)
    return model.get_encoder() if two_sided else model


def _weighed(kind: Any, files: ModelFiles, precision: Precision, how: dict[str, Any]) -> Any:
    """The model with its weights, all of them."""
    import transformers

    # Versions that can leave a .gguf file packed do so with the right kernels at hand, and nothing could learn then.
    if files.path.is_file() and hasattr(transformers, "GgufConfig"):
        how = how | {"quantization_config": transformers.GgufConfig(dequantize=True)}
    with contextlib.redirect_stderr(io.StringIO()):  # the GGUF reader's own progress bar cannot be switched off
        model, report = kind.from_pretrained(
            dtype=DTYPES[precision], use_safetensors=True, output_loading_info=True, **where(files), **how
        )
    require_whole(files.path, model, report)
    keep_layout(model)
    return model


def _workspace() -> Path:
    return assets.cache_folder() / "streamed"
