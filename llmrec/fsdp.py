"""Weights, gradients and states of the optimizer spread over processes: FSDP2, torch's ``fully_shard``.

Launched with ``configs/accelerate/fsdp.yaml``, every process holds a part of each parameter. Files hold whole ones, so
runs and checkpoints look the same however they were trained.
"""

import os
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor, distribute_tensor

from llmrec import components
from llmrec.errors import ConfigError


def asked() -> bool:
    """Whether the launcher was told to spread the weights."""
    return os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"


def check_launch(tuning: str) -> None:
    """Refuses what the launcher was told and cannot be done.

    Args:
        tuning: its name.

    Raises:
        ConfigError: DeepSpeed, or FSDP where the tuning has nothing to spread.
    """
    if os.environ.get("ACCELERATE_USE_DEEPSPEED", "false").lower() == "true":
        raise ConfigError(
            "DeepSpeed keeps the optimizer's state in files of its own, from which no run can be resumed exactly; "
            "configs/accelerate/fsdp.yaml spreads weights, gradients and states of the optimizer as ZeRO does"
        )
    able = [name for name in components.names("tuning") if getattr(components.load("tuning", name), "spreads", False)]
    if asked() and tuning not in able:
        raise ConfigError(f"tuning {tuning} has nothing to spread: launch without FSDP, or take {' or '.join(able)}")


def whole(tensors: Mapping[str, Tensor], *, keep: bool) -> dict[str, Tensor]:
    """Whole copies in main memory, one tensor gathered at a time.

    Args:
        tensors: by name; where they are spread, every process has to call this with the same names.
        keep: whether this process wants them; else it only takes part and gets nothing.
    """
    copies = {}
    for name, tensor in tensors.items():
        gathered = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
        if keep:
            copies[name] = gathered.detach().cpu().clone().contiguous()
    return copies


def part(tensor: Tensor, like: Tensor) -> Tensor:
    """This process's part of a whole tensor, if that is spread to which it belongs.

    Args:
        tensor: whole, the same in all processes.
        like: the parameter itself, or the one whose state it is.
    """
    if not isinstance(like, DTensor) or tensor.shape != like.shape:
        return tensor
    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


def open_root(module: nn.Module) -> None:
    """Gathers what belongs to no block, so that parts of the module can be called by themselves.

    The module's own forward does so too, and forgets it after the way back.
    """
    if isinstance(module, FSDPModule):
        module._get_fsdp_state()._lazy_init()  # a run may be resumed right before it is validated
        module.unshard()


def close_root(module: nn.Module) -> None:
    """Lets go what :func:`open_root` gathered; weights are read and set as parts."""
    if isinstance(module, FSDPModule):
        module.reshard()


def most(number: int, modules: Iterable[nn.Module], device: torch.device) -> int:
    """The largest of the processes' numbers, where one of these modules is spread; else the number."""
    if not any(isinstance(module, FSDPModule) for module in modules):
        return number
    largest = torch.tensor(number, device=device)
    torch.distributed.all_reduce(largest, torch.distributed.ReduceOp.MAX)
    return int(largest)
