"""Models of a true shape with random weights, in the layout of the hub's cache: what a machine bears, without a hub."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoConfig, AutoModel, AutoTokenizer

from llmrec import assets, loading
from llmrec.loading.blocks import block_list
from llmrec.loading.names import MODELS
from llmrec.loading.skeleton import encoder_of, outline, where

COMMIT = "0" * 40
_WRITING = Lock()
TOKENIZER = "minilm-l6"
"""Whose tokenizer reads the texts: its numbers of tokens are real ones, and every vocabulary here is larger."""


def write(name: str, hub: Path) -> Path:
    """Writes a model of that name's shape in bf16, a shard for each block, so that no more than one is in memory.

    Args:
        name: short name of the model.
        hub: the hub's cache, ``$HF_HOME/hub``.

    Returns:
        The snapshot; one that is whole is used again.
    """
    folder = hub / f"models--{MODELS[name].repository.replace('/', '--')}"
    place = folder / "snapshots" / COMMIT
    if (place / "model.safetensors.index.json").is_file():
        return place
    place.mkdir(parents=True, exist_ok=True)
    (folder / "refs").mkdir(exist_ok=True)
    (folder / "refs" / "main").write_text(COMMIT, encoding="utf-8")
    config = AutoConfig.for_model(**MODELS[name].shape)
    config.save_pretrained(place)
    AutoTokenizer.from_pretrained(assets.fetch(TOKENIZER), local_files_only=True).save_pretrained(place)
    model = outline(config)
    encoder = encoder_of(model)
    inside = f"{block_list(encoder)[0]}."
    shards: dict[str, dict[str, Tensor]] = {}
    for key, weight in encoder.named_parameters():
        number = key.removeprefix(inside).partition(".")[0] if key.startswith(inside) else "rest"
        shards.setdefault(f"model-{number}.safetensors", {})[key] = weight
    generator = torch.Generator().manual_seed(0)
    for shard, weights in shards.items():
        drawn = {key: _draw(key, weight, generator) for key, weight in weights.items()}
        save_file(drawn, place / shard, {"format": "pt"})
    index = {"metadata": {}, "weight_map": {key: shard for shard, weights in shards.items() for key in weights}}
    (place / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    return place


def twin(name: str, folder: Path) -> Path:
    """Writes a model of the same architecture, shape and tokenizer with weights as they are before any training.

    Args:
        name: of the model, as ``--model`` takes it.
        folder: to write to; a model that is there is used again.
    """

    def random(options: dict[str, Any]) -> Any:
        config = AutoConfig.from_pretrained(**options)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return AutoModel.from_config(config, dtype=torch.float32, trust_remote_code=False)

    return _saved(name, folder, random)


def as_folder(name: str, folder: Path) -> Path:
    """Writes a model as bf16 safetensors, a ``.gguf`` file too: what is quantised further or streamed is read so."""

    def plain(options: dict[str, Any]) -> Any:
        read = loading.load(loading.find(name), "bf16", "resident").model
        config = AutoConfig.from_pretrained(**options)
        copy = AutoModel.from_config(config, dtype=torch.bfloat16, trust_remote_code=False)
        copy.load_state_dict(read.state_dict())
        return copy

    return _saved(name, folder, plain)


def _saved(name: str, folder: Path, make: Callable[[dict[str, Any]], Any]) -> Path:
    """Writes a model under another name and renames, one at a time: the generator of random weights is everybody's."""
    with _WRITING:
        if folder.is_dir():
            return folder
        options, part = where(loading.find(name)), folder.with_name(f".{folder.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        model = make(options)
        if hasattr(model.config, "quantization_config"):  # of a .gguf file
            del model.config.quantization_config
        AutoTokenizer.from_pretrained(**options).save_pretrained(part)
        model.save_pretrained(part)
        part.replace(folder)
        return folder


def _draw(key: str, weight: Tensor, generator: torch.Generator) -> Tensor:
    """Norms are ones, biases zeros, matrices small enough that nothing overflows behind a hundred blocks."""
    if weight.dim() == 1:
        return (
            torch.ones(weight.shape, dtype=torch.bfloat16)
            if "norm" in key.lower() and "bias" not in key
            else (torch.zeros(weight.shape, dtype=torch.bfloat16))
        )
    drawn = torch.empty(weight.shape, dtype=torch.bfloat16)
    return drawn.normal_(0, 0.5 / math.sqrt(weight.shape[-1]), generator=generator)
