"""The training loop: one page, exact to the bit when resumed.

Whatever is random in a step depends on seed and step alone, so nothing of a random generator's state has to be kept.
"""

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from jaxtyping import Float, Int
from torch import Tensor, nn

from llmrec import fsdp
from llmrec.checkpoints import Progress, copy_of, load_checkpoint, save_checkpoint
from llmrec.config import TrainingOptions
from llmrec.errors import RunError
from llmrec.losses import Loss
from llmrec.optimizer import parameter_groups
from llmrec.recommender import Recommender
from llmrec.runs import RunFolder
from llmrec.sequences import Batch, Sequences, TrainingBatches

Validate = Callable[[Recommender], dict[str, float]]
Report = Callable[[dict[str, Any]], None]
SELECTION = "nDCG@10"
COLLAPSE_SHARE, COLLAPSE_STEP, COLLAPSE_POPULAR = 2.0, 0.2, 0.5
"""A warning is due where coverage falls to less than one part in so many within an epoch, or the correlation rises by
so much and to more than this."""
GROUP = 32
"""Windows in one call of the head."""


class TrainingStep(nn.Module):
    """From a batch to its loss: what is wrapped for several processes."""

    item_ids: Tensor
    log_popularity: Tensor

    def __init__(self, recommender: Recommender, loss: Loss, counts: np.ndarray) -> None:
        super().__init__()
        self.recommender, self.loss = recommender, loss
        # By this name accelerate asks which modules FSDP is to spread each by itself.
        trunk = getattr(recommender.encoder, "trunk", None)
        self._no_split_modules = getattr(trunk, "learning_blocks", [])
        self.register_buffer("item_ids", torch.arange(1, len(counts)), persistent=False)
        # A share of 0 has no logarithm: items that training never shows count as seen once.
        share = torch.from_numpy(np.maximum(counts[1:], 1) / max(counts.sum(), 1)).float()
        self.register_buffer("log_popularity", share.log(), persistent=False)

    def forward(
        self,
        history: Int[Tensor, "batch seq"],
        target: Int[Tensor, "batch seq"],
        user: Int[Tensor, " batch"],
        windows: Int[Tensor, "whole width"],
        rows: Int[Tensor, " batch"],
        generator: torch.Generator,
    ) -> Float[Tensor, ""]:
        """Mean loss of this process's targets, in nats; for the arguments see :class:`llmrec.sequences.Batch`."""
        assert self.recommender.encoder is not None
        ids, right = self._columns(windows, rows, target, generator)
        items, place = self._items(ids)
        if not len(history):  # a process without a share of the last batch still takes part in the average
            history, target, user = history.new_zeros(1, 1), target.new_zeros(1, 1), user.new_zeros(1)
        places = torch.nonzero(target, as_tuple=True)
        users = self._user_embeddings(items, place[history], target, user)
        if not len(places[0]):
            return (users.sum() + items.sum()) * 0.0
        return self.loss(
            users,
            items[1:] if ids is self.item_ids else F.embedding(place[ids], items),
            right[places],
            item_ids=ids,
            log_popularity=self.log_popularity[(ids - 1).clamp_min(0)],
            history_ids=windows[rows[places[0]]],
            num_items=len(self.item_ids),
            generator=generator,
        )

    def _items(self, ids: Int[Tensor, " m"]) -> tuple[Float[Tensor, "n dim"], Int[Tensor, " catalogue"]]:
        """Vectors of the items that the batch holds or the loss compares, and at which row of them each item stands."""
        assert self.recommender.encoder is not None
        place = torch.arange(len(self.item_ids) + 1, device=ids.device)
        if ids is self.item_ids:
            return self.recommender.encoder(), place
        needed = torch.cat([ids.new_zeros(1), ids]).unique()
        place[needed] = torch.arange(len(needed), device=ids.device)
        return self.recommender.encoder(needed), place

    def _user_embeddings(
        self,
        items: Float[Tensor, "catalogue dim"],
        history: Int[Tensor, "batch seq"],
        target: Int[Tensor, "batch seq"],
        user: Int[Tensor, " batch"],
    ) -> Float[Tensor, "n dim"]:
        """User vectors at the positions with a target, row by row; windows of like length share a call of the head.

        Most windows are far shorter than the longest, and the head would work on the padding as on the rest.
        """
        lengths, order = (history > 0).sum(dim=1).sort()
        parts = []
        for group, widths in zip(order.split(GROUP), lengths.split(GROUP), strict=True):
            width = max(1, int(widths[-1]))
            vectors = self.recommender.user_embedding(items, history[group, -width:], user[group])
            parts.append(vectors[target[group, -width:] > 0])
        place = (target > 0)[order].nonzero()[:, 0]
        # From the order of the groups back to that of the rows; stable, so positions keep theirs.
        return torch.cat(parts)[torch.argsort(order[place], stable=True)]

    def _columns(
        self,
        windows: Int[Tensor, "whole width"],
        rows: Int[Tensor, " batch"],
        target: Int[Tensor, "batch seq"],
        generator: torch.Generator,
    ) -> tuple[Int[Tensor, " m"], Int[Tensor, "batch seq"]]:
        """The items that the loss compares, and which of them each target is: those it asks for, or the catalogue."""
        if not hasattr(self.loss, "columns"):
            return self.item_ids, target - 1
        place = torch.arange(windows.numel(), device=windows.device).view_as(windows)
        return self.loss.columns(windows, len(self.item_ids), generator), place[rows, -target.shape[1] :]


def fit(
    recommender: Recommender,
    loss: Loss,
    train: Sequences,
    options: TrainingOptions,
    *,
    seed: int,
    validate: Validate,
    folder: RunFolder,
    accelerator: Accelerator,
    report: Report,
) -> Progress:
    """Trains until validation nDCG@10 has not risen for ``patience`` epochs and restores the best weights.

    Args:
        recommender: on the accelerator's device; trained in place.
        loss: see :mod:`llmrec.losses`.
        train: the training part.
        options: see :class:`llmrec.config.TrainingOptions`.
        seed: of order, cuts and dropout.
        validate: gives the validation metrics, the same on every process.
        folder: where ``metrics.jsonl`` and the checkpoint go; a checkpoint found there is resumed.
        accelerator: processes and device.
        report: called with each row of ``metrics.jsonl``.
    """
    counts = train.counts(recommender.num_items)
    optimizer = torch.optim.AdamW(parameter_groups(recommender, options), lr=options.learning_rate, fused=True)
    module, optimizer = accelerator.prepare(TrainingStep(recommender, loss, counts), optimizer)
    batches = TrainingBatches(train, recommender.max_seq_len, options.batch_size, options.windows, seed)
    log = _Log(folder.path / "metrics.jsonl", accelerator.is_main_process, report)
    progress, best = Progress(), copy_of(recommender)
    if folder.checkpoint.is_file():
        progress, best = load_checkpoint(folder.checkpoint, recommender, optimizer, folder.basis)
        log.write({"event": "resume", "step": progress.step, "steps_repeated": log.last_step() - progress.step})
    rank, world = accelerator.process_index, accelerator.num_processes

    while progress.epoch < options.epochs and progress.misses < options.patience:
        started = time.perf_counter()
        recommender.train()
        for batch, targets in batches.epoch(progress.epoch, progress.step_in_epoch, rank, world):
            mean = take_step(module, optimizer, batch, targets, options, (seed, progress.step), accelerator)
            progress.step += 1
            progress.step_in_epoch += 1
            progress.loss_sum += mean * targets
            progress.targets += targets
            log.write({"event": "step", "step": progress.step, "loss": mean})
            if progress.step % options.checkpoint_steps == 0:
                writes = accelerator.is_main_process
                save_checkpoint(folder.checkpoint, recommender, optimizer, progress, best, folder.basis, writes)
        progress.seconds += time.perf_counter() - started

        fsdp.open_root(module)
        values = validate(recommender)
        fsdp.close_root(module)
        if judge(progress, values, log, accelerator):
            best = copy_of(recommender)

    recommender.load_state_dict(best)
    fsdp.open_root(module)
    recommender.train(True)  # forgets the item vectors of the last epoch
    recommender.eval()
    return progress


def judge(progress: Progress, values: dict[str, float], log: "_Log", accelerator: Accelerator) -> bool:
    """Writes an epoch down and begins the next; returns whether it was the best so far.

    Args:
        progress: at the end of the epoch; moved on.
        values: of its validation.
        log: ``metrics.jsonl``.
        accelerator: whose trackers are told too.
    """
    if warning := collapse(progress.validation, values):
        log.write({"event": "warning", "epoch": progress.epoch, "message": warning})
    progress.validation = values
    better = values[SELECTION] > progress.best.get(SELECTION, -1.0)
    if better:
        progress.best, progress.best_epoch, progress.misses = values, progress.epoch, 0
    else:
        progress.misses += 1
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


def take_step(
    module: nn.Module,
    optimizer: Any,
    batch: Batch,
    targets: int,
    options: TrainingOptions,
    seed_and_step: tuple[int, int],
    accelerator: Accelerator,
) -> float:
    """One step of the optimizer; returns the mean loss of the batch over all processes.

    Args:
        module: the (wrapped) :class:`TrainingStep`.
        optimizer: over its parameters.
        batch: this process's share.
        targets: of the whole batch.
        options: learning rate, warm-up and clipping.
        seed_and_step: all that the step's randomness depends on, besides the process.
        accelerator: processes and device.

    Raises:
        RunError: the loss is not finite.
    """
    seed, step = seed_and_step
    generator = seed_step(seed, step, accelerator.process_index)
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * min(1.0, (step + 1) / max(1, options.warmup_steps))
    history, target, user, windows, rows = (part.to(accelerator.device) for part in batch)
    # Processes hold unequal numbers of targets; the mean of these is the mean over the whole batch.
    share = int((target > 0).sum()) * accelerator.num_processes / targets
    value = module(history, target, user, windows, rows, generator) * share
    accelerator.backward(value)
    accelerator.clip_grad_norm_(module.parameters(), options.clip_norm)
    optimizer.step()
    optimizer.zero_grad()
    mean = float(accelerator.reduce(value.detach(), "mean"))
    if not math.isfinite(mean):
        cure = "lower training.learning_rate" if step else "no step was taken yet, so look at the item vectors"
        raise RunError(f"the loss is {mean} in step {step + 1}; {cure}")
    return mean


def seed_step(seed: int, step: int, rank: int) -> torch.Generator:
    """Seeds torch for one step and returns a generator for the loss."""
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
        steps = [0]
        for line in self.path.read_text(encoding="utf-8").splitlines():
            if line.startswith('{"event": "step"') and line.endswith("}"):
                steps.append(json.loads(line)["step"])
        return max(steps)
