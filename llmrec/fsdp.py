"""Weights, gradients and states of the optimizer spread over processes: FSDP2, torch's ``fully_shard``.

Launched with ``configs/accelerate/fsdp.yaml``, every process holds a part of each parameter. Files hold whole ones, so
runs and checkpoints look the same however they were trained.
"""

import os
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from llmrec import components
from llmrec.errors import ConfigError


def asked() -> bool:
    """Whether the launcher was told to spread the weights."""
    return os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"


def check_launch(tuning: str, *, images: bool = False) -> None:
    """Refuses what the launcher was told and cannot be done.

    Args:
        tuning: its name.
        images: whether a vision model takes part.

    Raises:
        ConfigError: DeepSpeed, FSDP of a vision model, or FSDP where the tuning has nothing to spread.
    """
    if os.environ.get("ACCELERATE_USE_DEEPSPEED", "false").lower() == "true":
        raise ConfigError(
            "DeepSpeed keeps the optimizer's state in files of its own, from which no run can be resumed exactly; "
            "configs/accelerate/fsdp.yaml spreads weights, gradients and states of the optimizer as ZeRO does"
        )
    if not asked():
        return
    if images:
        raise ConfigError("a vision model is not spread over processes: launch a run over images without FSDP")
    able = [name for name in components.names("tuning") if getattr(components.load("tuning", name), "spreads", False)]
    if tuning not in able:
        raise ConfigError(f"tuning {tuning} has nothing to spread: launch without FSDP, or take {' or '.join(able)}")


def check_begun(accelerator: Any) -> None:
    """Refuses another FSDP than that of ``configs/accelerate/fsdp.yaml``.

    Raises:
        ConfigError: no GPUs, the first version, or weights that are to lie or to be read otherwise.
    """
    if not asked():
        return
    how = "see configs/accelerate/fsdp.yaml"
    plugin = getattr(accelerator.state, "fsdp_plugin", None)
    if plugin is None or not accelerator.is_fsdp2:
        here = f"{torch.cuda.device_count()} are here"
        raise ConfigError(f"FSDP was asked for: it takes GPUs, of which {here}, and fsdp_version 2, {how}")
    from torch.distributed.fsdp import CPUOffloadPolicy

    if isinstance(plugin.cpu_offload, CPUOffloadPolicy) or plugin.cpu_ram_efficient_loading:
        raise ConfigError(f"FSDP is to go without fsdp_offload_params and fsdp_cpu_ram_efficient_loading, {how}")


def whole(tensors: Mapping[str, Tensor], *, keep: bool) -> dict[str, Tensor]:
    """Whole tensors in main memory, gathered one at a time; those that are there already are not copied.

    Args:
        tensors: by name; where they are spread, every process has to call this with the same names.
        keep: whether this process wants them; else it only takes part and gets nothing.
    """
    found = {}
    for name, tensor in tensors.items():
        gathered = tensor.full_tensor() if _is_spread(tensor) else tensor  # type: ignore[attr-defined]
        if keep:
            found[name] = gathered.detach().cpu().contiguous()
    return found


def part(tensor: Tensor, like: Tensor) -> Tensor:
    """This process's part of a whole tensor, if that is spread to which it belongs.

    Args:
        tensor: whole, the same in all processes.
        like: the parameter itself, or the one whose state it is.
    """
    if not _is_spread(like) or tensor.shape != like.shape:
        return tensor
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(like, DTensor)
    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


def open_root(module: nn.Module) -> None:
    """Gathers what belongs to no block, so that parts of the module can be called by themselves.

    The module's own forward does so too, and forgets it after the way back.
    """
    if asked():
        root: Any = module
        root._get_fsdp_state()._lazy_init()  # no public name; a run may be resumed right before it is validated
        root.unshard()


def close_root(module: nn.Module) -> None:
    """Lets go what :func:`open_root` gathered; weights are read and set as parts."""
    if asked():
        root: Any = module
        root.reshard()


def most(number: int, modules: Iterable[nn.Module], device: torch.device) -> int:
    """The largest of the processes' numbers, where one of these modules is spread; else the number."""
    if not asked():
        return number
    from torch.distributed.fsdp import FSDPModule

    if not any(isinstance(module, FSDPModule) for module in modules):
        return number
    largest = torch.tensor(number, device=device)
    torch.distributed.all_reduce(largest, torch.distributed.ReduceOp.MAX)
    return int(largest)


def _is_spread(tensor: Tensor) -> bool:
    if not asked():  # the import takes most of a second
        return False
    from torch.distributed.tensor import DTensor

    return isinstance(tensor, DTensor)
