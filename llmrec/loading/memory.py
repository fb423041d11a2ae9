"""What weights take, and what is free."""

import shutil
from pathlib import Path
from typing import Literal

import psutil
import torch
from torch import nn

from llmrec.errors import MemoryLimitError

Precision = Literal["fp32", "bf16"]
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def require_disk(name: str, needed: int, folder: Path) -> None:
    """Refuses a download that the disk has no room for.

    Raises:
        MemoryLimitError: with the bytes it needs and the bytes that are free.
    """
    place = next(each for each in (folder, *folder.absolute().parents) if each.is_dir())
    free = shutil.disk_usage(place).free
    if needed > free:
        raise MemoryLimitError(f"{name} takes {needed / 1e9:.1f} GB, and {place} has {free / 1e9:.1f} GB free")


def require_memory(name: str, parameters: int, precision: Precision) -> None:
    """Refuses a model that does not fit.

    Raises:
        MemoryLimitError: with the bytes it needs and the bytes that are free.
    """
    needed = parameters * DTYPES[precision].itemsize
    free = psutil.virtual_memory().available
    if needed > free:
        raise MemoryLimitError(
            f"{name} needs {needed / 1e9:.1f} GB for {parameters / 1e9:.2f} billion parameters in {precision}, and "
            f"{free / 1e9:.1f} GB are free. Take a smaller model, features.loading=streamed"
            + (", or features.precision=bf16 for half of it" if precision == "fp32" else "")
        )


def fits_on_gpu(model: nn.Module) -> bool:
    """Whether this process has a GPU with twice the room that the weights take."""
    needed = sum(weight.numel() * weight.element_size() for weight in model.parameters())
    return torch.cuda.is_available() and 2 * needed < torch.cuda.mem_get_info()[0]
