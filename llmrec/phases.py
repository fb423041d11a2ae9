"""Phases of training, which the one training loop runs one behind the other; a finished one is never run again."""

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from llmrec import training
from llmrec.checkpoints import Progress
from llmrec.errors import RunError
from llmrec.options import TrainingOptions
from llmrec.runs import RunFolder, write_atomically


@dataclass(frozen=True)
class Phase:
    """A stretch of training with one set of weights that learn.

    ``step`` holds the network and whatever else learns with it; what is not in ``learns`` stays as it is. ``validate``
    measures the network as it stands, and ``selection`` is the metric by which the best epoch is kept.
    """

    name: str
    """Of its folder, so unique in a task."""
    step: nn.Module
    """Makes the mean loss of a share in nats, called with its tensors and a generator."""
    batches: training.Batches
    learns: tuple[nn.Parameter, ...]
    validate: Callable[[], dict[str, float]]
    selection: str
    options: TrainingOptions
    after_step: Callable[[], None] = lambda: None
    """Called when the optimizer has moved the weights."""
    trainable: int | None = None
    """How many numbers learn, where only some of those in ``learns`` do."""

    @property
    def num_trainable(self) -> int:
        """How many numbers learn."""
        return sum(each.numel() for each in self.learns) if self.trainable is None else self.trainable


@dataclass(frozen=True)
class Trained:
    """What a phase came to."""

    name: str
    trainable: int
    progress: Progress
    learned: frozenset[str]
    """Names of the weights that learned, in the network."""


@dataclass(frozen=True)
class Trainer:
    """Runs phases below a folder.

    ``basis`` is what a checkpoint must share with the run to be resumed; ``watch`` gets the most epochs and the metric
    of a phase, and gives a context whose value is called with the rows of its ``metrics.jsonl``.
    """

    accelerator: Accelerator
    seed: int
    watch: Callable[[int, str], Any]
    basis: dict[str, Any] = field(default_factory=dict)

    def run(self, phases: Iterable[Phase], network: nn.Module, folder: Path) -> list[Trained]:
        """Trains phase by phase in place; what comes between two of them is the caller's, and must not be random.

        Args:
            phases: asked for one by one, each when the one before has ended.
            network: what is kept of a phase: its weights and buffers.
            folder: has a folder for each phase, with ``metrics.jsonl`` and, once finished, the network's state.

        Raises:
            RunError: the state of a finished phase is damaged or is that of another network.
        """
        return [self._run(phase, network, RunFolder(folder / phase.name, self.basis)) for phase in phases]

    def _run(self, phase: Phase, network: nn.Module, folder: RunFolder) -> Trained:
        state, own = folder.path / "state.safetensors", {id(weight) for weight in phase.learns}
        learned = frozenset(name for name, weight in network.named_parameters() if id(weight) in own)
        if state.is_file():
            return Trained(phase.name, phase.num_trainable, load_state(state, network), learned)
        folder.path.mkdir(parents=True, exist_ok=True)
        phase.step.requires_grad_(False)
        for weight in phase.learns:
            weight.requires_grad_(True)
        with self.watch(phase.options.epochs, phase.selection) as report:
            progress = training.fit(
                phase.step,
                phase.step,
                phase.batches,
                phase.options,
                seed=self.seed,
                validate=lambda _: phase.validate(),
                folder=folder,
                accelerator=self.accelerator,
                report=report,
                after_step=phase.after_step,
                selection=phase.selection,
            )
        save_state(state, network, progress)
        folder.checkpoint.unlink(missing_ok=True)
        return Trained(phase.name, phase.num_trainable, progress, learned)


def save_state(path: Path, network: nn.Module, progress: Progress) -> None:
    """Writes weights and buffers, and where training ended, in one safetensors file."""
    state = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    metadata = {"progress": json.dumps(asdict(progress))}
    write_atomically(path, lambda part: save_file(state, part, metadata=metadata))


def load_state(path: Path, network: nn.Module) -> Progress:
    """Restores what :func:`save_state` wrote; returns where training ended.

    Raises:
        RunError: missing, damaged, or of another network.
    """
    try:
        with safe_open(path, framework="pt") as file:
            progress = Progress(**json.loads((file.metadata() or {})["progress"]))
            network.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise RunError(
            f"{path} is missing, damaged or of another network ({error}); --overwrite begins again"
        ) from None
    return progress
