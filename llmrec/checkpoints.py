"""The state of an unfinished training: where it stands, and everything that has to be there again to go on."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from llmrec import fsdp
from llmrec.errors import RunError
from llmrec.runs import write_atomically


@dataclass
class Progress:
    """Where training stands; saved with every checkpoint."""

    step: int = 0
    epoch: int = 0
    step_in_epoch: int = 0
    loss_sum: float = 0.0
    targets: int = 0
    best_epoch: int = -1
    best: dict[str, float] = field(default_factory=dict)
    validation: dict[str, float] = field(default_factory=dict)
    highest: float = -1.0
    """Of the epochs; what a run begins with may be better, and is judged as ``best`` alone."""
    misses: int = 0
    seconds: float = 0.0


def copy_of(module: nn.Module) -> dict[str, Tensor]:
    """The weights as they are now."""
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def save_checkpoint(
    path: Path,
    model: nn.Module,
    optimizer: Any,
    progress: Progress,
    best: dict[str, Tensor],
    basis: dict[str, Any],
    writes: bool = True,
) -> None:
    """Weights, best weights, optimizer and position in one safetensors file, so that one rename makes it valid.

    Every process calls this, since the weights may be spread over them.

    Args:
        path: of the file.
        model: its weights.
        optimizer: its state.
        progress: where training stands.
        best: the best weights so far.
        basis: what must be the same when training goes on, besides the options, by name.
        writes: whether this process is the one that writes.
    """
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    tensors |= {f"best.{name}": tensor for name, tensor in best.items()}
    for number, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{name}": tensor for name, tensor in state.items()}
    tensors = fsdp.whole(tensors, keep=writes)
    if not writes:
        return
    # Frozen buffers stand in both halves; safetensors refuses tensors that share memory.
    tensors = {name: tensor.clone() for name, tensor in tensors.items()}
    metadata = {"progress": json.dumps(asdict(progress)), "basis": json.dumps(basis)}
    write_atomically(path, lambda part: save_file(tensors, part, metadata=metadata))


def load_checkpoint(
    path: Path, model: nn.Module, optimizer: Any, basis: dict[str, Any]
) -> tuple[Progress, dict[str, Tensor]]:
    """Restores what :func:`save_checkpoint` wrote; returns the position and the best weights.

    What an older version did not write down of its basis is not compared.

    Raises:
        RunError: the file is damaged, or training began on another basis.
    """
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "best": {}, "optimizer": {}}
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            saved, progress = json.loads(metadata["basis"]), Progress(**json.loads(metadata["progress"]))
            for key in file.keys():  # noqa: SIM118 - not a mapping
                part, name = key.split(".", 1)
                parts[part][name] = file.get_tensor(key)
    except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
        raise RunError(f"{path} is damaged ({error}); --overwrite begins again") from None
    if different := [name for name in basis if name in saved and saved[name] != basis[name]]:
        pairs = "; ".join(f"{name}: {saved[name]} then, {basis[name]} now" for name in different)
        raise RunError(
            f"{path} was made on another basis ({pairs}); put back what changed, or --overwrite begins again"
        )
    own = model.state_dict()
    for half in ("model", "best"):  # a name that is not there is refused below
        parts[half] = {name: fsdp.part(value, own.get(name, value)) for name, value in parts[half].items()}
    model.load_state_dict(parts["model"])
    states: dict[int, dict[str, Tensor]] = {}
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    for key, tensor in parts["optimizer"].items():
        number, name = key.split(".", 1)
        states.setdefault(int(number), {})[name] = fsdp.part(tensor, weights[int(number)])
    optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})
    return progress, parts["best"]
