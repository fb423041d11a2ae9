"""What it takes to encode items with a language model, told before anything is downloaded: ``llmrec plan``.

Everything follows from the shape of the model, the number of texts and their tokens; only the rates of this machine's
matrix products and of its disk are measured, in a few seconds.
"""

import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psutil
import torch
from torch import Tensor, nn

from llmrec import assets
from llmrec.errors import ConfigError
from llmrec.loading.blocks import block_list
from llmrec.loading.files import at_hand
from llmrec.loading.memory import DTYPES, Precision
from llmrec.loading.names import MODELS
from llmrec.loading.products import quick_products
from llmrec.loading.skeleton import encoder_of, outline, reading, where

STRATEGIES = ("resident fp32", "resident bf16", "8bit", "4bit", "streamed fp32", "streamed bf16")
BATCH_TOKENS = 2048
"""Padded tokens that pass a model at a time."""
_PROCESS = 0.45e9
"""Bytes of a process that has imported torch and transformers and holds a tokenizer."""
_START = 2.5
"""Seconds until a model's classes and its tokenizer are there."""
_SLOWER = {"resident": 1.5, "streamed": 1.7, "8bit": 2.0, "4bit": 3.0}
"""How much longer than the bare products a whole block takes: norms, attention, activations, casts."""
_HOLES = 0.15e9
"""Bytes that the C library keeps between the weights that come and the activations that go while streaming."""
_FREED = 2.5, 0.8e9
"""Bytes for each weight that is made 4 bits, and at most, that are freed in loading and kept by the C library. Of 8
bits nothing is foretold: there it depends on the activations, whose outliers are multiplied apart.

These factors were measured with ``python -m eval.loading plan --calibration``."""
_BITS = {"8bit": 1.0, "4bit": 0.5 * (1 + 8 / 64 / 4)}
"""Bytes of a quantised weight with its scales."""


@dataclass(frozen=True)
class Shape:
    """What costs something in a model: counts of weights and widths, nothing else.

    ``linear`` counts the weights of linear layers in all blocks, ``block`` all weights of the largest block, ``rest``
    those outside of the blocks.
    """

    parameters: int
    linear: int
    block: int
    rest: int
    blocks: int
    hidden: int
    inner: int

    @classmethod
    def of(cls, encoder: Any) -> "Shape":
        """Reads them off a model whose weights may be on no device."""
        _, blocks = block_list(encoder)
        linear = [_matrix(module) for module in blocks.modules() if _is_linear(module)]
        sizes = [sum(weight.numel() for weight in block.parameters()) for block in blocks]
        total = sum(weight.numel() for key, weight in encoder.named_parameters() if "pooler" not in key)
        return cls(
            parameters=total,
            linear=sum(weight.numel() for weight in linear),
            block=max(sizes),
            rest=total - sum(sizes),
            blocks=len(blocks),
            hidden=encoder.config.hidden_size,
            inner=max(max(weight.shape) for weight in linear),
        )


def shape_of(name: str) -> Shape:
    """The shape of a model by its name; nothing is downloaded.

    Raises:
        ConfigError: no such name, or a hub id whose config is not in the cache.
        DataError: files that cannot be read as a model.
    """
    from transformers import AutoConfig

    if name in MODELS:
        return Shape.of(encoder_of(outline(AutoConfig.for_model(**MODELS[name].shape))))
    files = at_hand(name)
    with reading(files):
        return Shape.of(encoder_of(outline(AutoConfig.from_pretrained(**where(files)))))


@dataclass(frozen=True)
class Rates:
    """What this machine does in a second: operations of a matrix product by precision, bytes read from its disk."""

    operations: dict[Precision, float]
    disk: float


@dataclass(frozen=True)
class Cost:
    """What one strategy takes: bytes of weights in memory, peak bytes of the process, operations and seconds."""

    strategy: str
    weights: float
    peak: float
    operations: float
    seconds: float


def costs(shape: Shape, items: int, tokens: int, rates: Rates) -> list[Cost]:
    """The cost of every strategy.

    Args:
        shape: of the model.
        items: texts to encode.
        tokens: of a text, on average.
        rates: of this machine.
    """
    return [_cost(strategy, shape, items, tokens, rates) for strategy in STRATEGIES]


def memory(strategy: str, shape: Shape) -> tuple[float, float]:
    """Bytes of weights in memory, and the most that the process takes."""
    how, precision = _parts(strategy)
    size = DTYPES[precision].itemsize
    activations = BATCH_TOKENS * (4 * shape.hidden + 2 * shape.inner) * size
    if how == "streamed":  # a block and the next, or the first and what stands outside of the blocks
        weights = float(size * (shape.block + max(shape.block, shape.rest)))
    elif how in _BITS:
        weights = shape.linear * _BITS[how] + size * (shape.parameters - shape.linear)
    else:
        weights = float(size * shape.parameters)
    return weights, _PROCESS + weights + activations + _freed(how, shape)


def _freed(how: str, shape: Shape) -> float:
    each, most = _FREED
    return {"streamed": _HOLES, "4bit": min(each * shape.linear, most)}.get(how, 0.0)


def _parts(strategy: str) -> tuple[str, Precision]:
    how, _, precision = strategy.partition(" ")
    return how, "fp32" if precision == "fp32" else "bf16"


def _cost(strategy: str, shape: Shape, items: int, tokens: int, rates: Rates) -> Cost:
    how, precision = _parts(strategy)
    weights, peak = memory(strategy, shape)
    seen = items * tokens
    operations = 2.0 * seen * shape.linear + 4.0 * seen * tokens * shape.hidden * shape.blocks
    compute = operations / rates.operations[precision] * _SLOWER[how]
    read = DTYPES[precision].itemsize * shape.parameters / rates.disk
    seconds = max(compute, read) if how == "streamed" else compute + read
    return Cost(strategy, weights, peak, operations, _START + seconds)


def measure(precisions: tuple[Precision, ...] = ("fp32", "bf16")) -> Rates:
    """Takes the rates of this machine, in some three seconds."""
    return Rates({precision: _product_rate(precision) for precision in precisions}, _disk_rate())


def _product_rate(precision: Precision, width: int = 2048) -> float:
    a, b = (torch.randn(BATCH_TOKENS, width).to(DTYPES[precision]) for _ in range(2))
    b = torch.randn(width, 2 * width).to(DTYPES[precision])
    with quick_products():
        a @ b
        best = min(_seconds(lambda: a @ b) for _ in range(5))
    return 2 * BATCH_TOKENS * width * 2 * width / best


def _disk_rate(size: int = 1 << 28) -> float:
    """Bytes a second of a file that is not in the page cache, where the system can be told to forget it."""
    assets.cache_folder().mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=assets.cache_folder()) as file:
        file.write(os.urandom(1 << 20) * (size >> 20))
        file.flush()
        os.fsync(file.fileno())
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        path = Path(file.name)
        return size / _seconds(path.read_bytes)


def _seconds(run: Any) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def _matrix(module: Any) -> Tensor:
    weight: Tensor = module.weight
    return weight


def _is_linear(module: Any) -> bool:
    return isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"


def parse_bytes(text: str) -> int:
    """``24GB`` or ``512MB`` as bytes.

    Raises:
        ConfigError: anything else.
    """
    for unit, size in (("GB", 10**9), ("MB", 10**6)):
        number = text.upper().removesuffix(unit).strip()
        if text.upper().endswith(unit) and number.replace(".", "", 1).isdigit():
            return int(float(number) * size)
    raise ConfigError(f"memory must be such as 24GB or 512MB, came {text!r}")


def chosen(shape: Shape, precision: Precision, free: int | None = None) -> Literal["resident", "streamed"]:
    """What ``auto`` takes at a precision: the whole model if it fits into the free memory, else block by block.

    What is free is shared by the processes of this machine, each of which loads a model of its own.
    """
    free = psutil.virtual_memory().available // int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if free is None else free
    return "resident" if memory(f"resident {precision}", shape)[1] <= free else "streamed"
