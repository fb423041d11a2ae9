"""The training loop: one page, exact to the bit when resumed.

Whatever is random in a step depends on seed and step alone, so nothing of a random generator's state has to be kept.
"""

import json
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from llmrec import fsdp
from llmrec.checkpoints import Progress, copy_of, load_checkpoint, save_checkpoint
from llmrec.errors import DivergedError, NotFiniteError
from llmrec.optimizer import parameter_groups
from llmrec.options import TrainingOptions
from llmrec.runs import RunFolder

Validate = Callable[[Any], dict[str, float]]
Report = Callable[[dict[str, Any]], None]
SELECTION = "nDCG@10"
COLLAPSE_SHARE, COLLAPSE_STEP, COLLAPSE_POPULAR = 2.0, 0.2, 0.5
"""A warning is due where coverage falls to less than one part in so many within an epoch, or the correlation rises by
so much and to more than this."""


@runtime_checkable
class Share(Protocol):
    """One process's share of a batch: tensors in the order of the step's arguments."""

    def __iter__(self) -> Iterator[Tensor]: ...

    @property
    def num_targets(self) -> int:
        """How many targets it holds."""
        ...


@runtime_checkable
class Batches(Protocol):
    """The training part in an order that depends on seed and epoch alone."""

    def epoch(self, epoch: int, first: int, rank: int, world: int) -> Iterator[tuple[Share, int]]:
        """A process's share of every batch from number ``first`` on, with the targets of the whole batch."""
        ...


def fit(
    model: nn.Module,
    step: nn.Module,
    batches: Batches,
    options: TrainingOptions,
    *,
    seed: int,
    validate: Validate,
    folder: RunFolder,
    accelerator: Accelerator,
    report: Report,
    after_step: Callable[[], None] = lambda: None,
    selection: str = SELECTION,
) -> Progress:
    """Trains until the metric has not risen for ``patience`` epochs and restores the weights of its best epoch.

    Of a model that learned elsewhere the weights that it begins with are judged too, as epoch 0. Patience does not
    count from there: what is added to it may first make it worse.

    Args:
        model: on the accelerator's device; trained in place.
        step: makes the mean loss of a share, in nats; called with its tensors and a generator for what it draws.
        batches: of the training part.
        options: see :class:`llmrec.options.TrainingOptions`.
        seed: of order, cuts and dropout.
        validate: gives the validation metrics, the same on every process.
        folder: where ``metrics.jsonl`` and the checkpoint go; a checkpoint found there is resumed.
        accelerator: processes and device.
        report: called with each row of ``metrics.jsonl``.
        after_step: called when the optimizer has moved the weights, to put some of them back, say.
        selection: the validation metric that tells which epoch is best.
    """
    optimizer = torch.optim.AdamW(parameter_groups(model, options), lr=options.learning_rate, fused=True)
    module, optimizer = accelerator.prepare(step, optimizer)
    log = _Log(folder.path / "metrics.jsonl", accelerator.is_main_process, report)
    progress, best = Progress(), copy_of(model)
    if folder.checkpoint.is_file():
        progress, best = load_checkpoint(folder.checkpoint, model, optimizer, folder.basis)
        if progress.best_epoch >= 0:  # a checkpoint of an older version does not tell
            progress.highest = max(progress.highest, progress.best[selection])
    if last := log.last_step():
        log.write({"event": "resume", "step": progress.step, "steps_repeated": last - progress.step})
    if not progress.step and options.init_from is not None and options.epochs:
        progress.best = validated(model, module, validate, 0)
        log.write({"event": "start", "validation": progress.best})
    rank, world = accelerator.process_index, accelerator.num_processes

    while progress.epoch < options.epochs and progress.misses < options.patience:
        started = time.perf_counter()
        model.train()
        for batch, targets in batches.epoch(progress.epoch, progress.step_in_epoch, rank, world):
            set_rates(optimizer, options, progress)
            mean = take_step(module, optimizer, batch, targets, options, (seed, progress.step), accelerator)
            after_step()
            progress.step += 1
            progress.step_in_epoch += 1
            progress.loss_sum += mean * targets
            progress.targets += targets
            log.write({"event": "step", "step": progress.step, "loss": mean})
            if progress.step % options.checkpoint_steps == 0:
                started = clock(progress, started)
                writes = accelerator.is_main_process
                save_checkpoint(folder.checkpoint, model, optimizer, progress, best, folder.basis, writes)
        clock(progress, started)

        if judge(progress, validated(model, module, validate, progress.step), selection, log, accelerator):
            best = copy_of(model)

    model.load_state_dict(best)
    fsdp.open_root(module)
    model.train(True)  # forgets what it kept of the last epoch, such as item vectors
    model.eval()
    return progress


def validated(model: nn.Module, module: nn.Module, validate: Validate, steps: int) -> dict[str, float]:
    """The metrics of the validation part, between two steps of the (wrapped) step.

    Raises:
        DivergedError: after so many steps the scores are not finite.
    """
    fsdp.open_root(module)
    try:
        values = validate(model)
    except NotFiniteError as error:
        raise DivergedError(f"after {steps} steps {error}; {_cure(steps)}") from None
    fsdp.close_root(module)
    return values


def clock(progress: Progress, started: float) -> float:
    """Adds the seconds since then, and says what time it is now."""
    now = time.perf_counter()
    progress.seconds += now - started
    return now


def judge(progress: Progress, values: dict[str, float], selection: str, log: "_Log", accelerator: Accelerator) -> bool:
    """Writes an epoch down and begins the next; returns whether it was the best so far.

    Args:
        progress: at the end of the epoch; moved on.
        values: of its validation.
        selection: which of them tells what is better.
        log: ``metrics.jsonl``.
        accelerator: whose trackers are told too.
    """
    if warning := collapse(progress.validation, values):
        log.write({"event": "warning", "epoch": progress.epoch, "message": warning})
    progress.validation = values
    better = values[selection] > progress.best.get(selection, -1.0)
    if better:
        progress.best, progress.best_epoch = values, progress.epoch
    risen = values[selection] > progress.highest
    progress.highest = max(progress.highest, values[selection])
    progress.misses = 0 if risen else progress.misses + 1
    loss = progress.loss_sum / max(1, progress.targets)
    epoch = {"event": "epoch", "epoch": progress.epoch, "step": progress.step, "loss": loss}
    log.write({**epoch, "validation": values, "best": better, "seconds": progress.seconds})
    accelerator.log({"loss": loss, **{f"validation/{name}": each for name, each in values.items()}}, progress.epoch)
    progress.epoch, progress.step_in_epoch, progress.loss_sum, progress.targets = progress.epoch + 1, 0, 0.0, 0
    return better


def collapse(before: dict[str, float], now: dict[str, float]) -> str | None:
    """What to warn of when the lists suddenly hold far fewer items, or far more popular ones, than an epoch earlier.

    In-batch negatives can end so without a sign in the loss (eSASRec reports nDCG@10 from .156 to .002 on ML-20M).
    """
    coverage, correlation = "coverage", "popularity correlation"
    if coverage not in before or coverage not in now:
        return None
    fewer = now[coverage] < before[coverage] / COLLAPSE_SHARE
    popular = now[correlation] > max(COLLAPSE_POPULAR, before[correlation] + COLLAPSE_STEP)
    if not fewer and not popular:
        return None
    return (
        f"the lists changed at once: {coverage} {before[coverage]:.3f} to {now[coverage]:.3f} of the catalogue, "
        f"{correlation} {before[correlation]:.2f} to {now[correlation]:.2f}. If nDCG falls too, take --loss softmax or "
        "a share of uniform negatives (loss.uniform_share)"
    )


def set_rates(optimizer: Any, options: TrainingOptions, progress: Progress) -> None:
    """The learning rate of each group for the next step: it rises step by step and may fall epoch by epoch."""
    share = min(1.0, (progress.step + 1) / max(1, options.warmup_steps))
    if options.decay == "linear":
        share *= 1 - progress.epoch / options.epochs
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * share


def take_step(
    module: nn.Module,
    optimizer: Any,
    batch: Share,
    targets: int,
    options: TrainingOptions,
    seed_and_step: tuple[int, int],
    accelerator: Accelerator,
) -> float:
    """One step of the optimizer; returns the mean loss of the batch over all processes.

    Args:
        module: the (wrapped) step.
        optimizer: over its parameters.
        batch: this process's share.
        targets: of the whole batch.
        options: clipping.
        seed_and_step: all that the step's randomness depends on, besides the process.
        accelerator: processes and device.

    Raises:
        DivergedError: the loss is not finite.
    """
    seed, step = seed_and_step
    generator = seed_step(seed, step, accelerator.process_index)
    # Processes hold unequal numbers of targets; the mean of these is the mean over the whole batch. Heads that draw
    # which items they fill in have as many of them in expectation alone.
    share = batch.num_targets * accelerator.num_processes / targets
    value = module(*(part.to(accelerator.device) for part in batch), generator) * share
    accelerator.backward(value)
    accelerator.clip_grad_norm_(module.parameters(), options.clip_norm)
    optimizer.step()
    optimizer.zero_grad()
    mean = float(accelerator.reduce(value.detach(), "mean"))
    if not math.isfinite(mean):
        raise DivergedError(f"the loss is {mean} in step {step + 1}; {_cure(step)}")
    return mean


def _cure(steps: int) -> str:
    return "lower training.learning_rate" if steps else "no step was taken yet, so look at the item vectors"


def seed_step(seed: int, step: int, rank: int) -> torch.Generator:
    """Seeds torch for one step and returns a generator for what the step draws itself."""
    first, second = np.random.SeedSequence([seed, step, rank]).generate_state(2)
    torch.manual_seed(int(first))
    return torch.Generator().manual_seed(int(second))


class _Log:
    """Appends rows to ``metrics.jsonl``; what a crash left half-written is closed by a line end."""

    def __init__(self, path: Path, writes: bool, report: Report) -> None:
        self.path, self.report = path, report
        self.file = path.open("a", encoding="utf-8", buffering=1) if writes else None
        if self.file and path.stat().st_size and not path.read_bytes().endswith(b"\n"):
            self.file.write("\n")

    def write(self, row: dict[str, Any]) -> None:
        if self.file:
            self.file.write(json.dumps(row) + "\n")
            self.report(row)

    def last_step(self) -> int:
        """That of the last attempt, which may have gone on from before another's end; 0 where nothing is written."""
        if self.file is None:
            return 0
        last = 0
        for line in self.path.read_text(encoding="utf-8").splitlines():
            if line.startswith(('{"event": "step"', '{"event": "resume"')) and line.endswith("}"):
                last = json.loads(line)["step"]
        return last
