"""Weights of linear layers in 8 or 4 bits (bitsandbytes), on a GPU or on the CPU."""

import importlib.util
import logging
import warnings
from typing import Any, Literal

import torch

from llmrec.errors import ConfigError

Bits = Literal["8bit", "4bit"]


def quantisation(bits: Bits) -> Any:
    """What tells transformers to quantise while it loads; the activations are bf16.

    8 bits: LLM.int8 (arXiv:2208.07339). 4 bits: NF4 with doubly quantised scales (arXiv:2305.14314).

    Raises:
        ConfigError: bitsandbytes is not installed.
    """
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ConfigError(f"features.loading={bits} needs bitsandbytes; pip install bitsandbytes, or take resident")
    from transformers import BitsAndBytesConfig

    quiet()
    if bits == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )


def keep_layout(model: Any) -> None:
    """Has layers of 4 bits stay laid out as they were loaded.

    On CPUs that know AVX512-BF16 bitsandbytes would lay the weights of a layer out anew when it first computes without
    gradients. The kernel for these has no derivative, so that what learns below goes astray without an error, and their
    scales are rounded on the way there and on the way back.

    Args:
        model: changed in place; any may be given.
    """
    for layer in model.modules():
        if hasattr(layer, "support_avx512bf16_for_cpu"):
            layer.support_avx512bf16_for_cpu = False


def quiet() -> None:
    """Silences what bitsandbytes says of every layer: that inputs are cast, and that a faster kernel is elsewhere."""
    warnings.filterwarnings("ignore", message=".*MatMul8bitLt.*")
    for name in ("bitsandbytes", "bitsandbytes.autograd._functions", "bitsandbytes.cextension"):
        logging.getLogger(name).setLevel(logging.ERROR)
