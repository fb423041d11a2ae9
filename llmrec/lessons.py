"""A task as a transfer method meets it: with the network that is to learn it, its batches and its loss."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from llmrec import components, task_losses
from llmrec.config import RunConfig
from llmrec.errors import DataError
from llmrec.losses import Loss, Targets, compared
from llmrec.options import TrainingOptions
from llmrec.phases import Phase
from llmrec.sequences import Sequences, TrainingBatches
from llmrec.task_results import SELECTION, validation
from llmrec.tasks import Examples, Task
from llmrec.training import Batches
from llmrec.user_network import UserNetwork, with_one

SOURCE = 0
"""Number of the source among the tasks."""


@dataclass(frozen=True)
class Lesson:
    """One task for one network.

    ``number`` is 0 for the source, whose task is the next item at every position; tasks count from 1. ``seed`` is that
    of the run, for what a method adds to train with.
    """

    number: int
    task: Task
    network: UserNetwork
    step: nn.Module
    batches: Batches
    options: TrainingOptions
    max_seq_len: int
    seed: int

    @classmethod
    def of_source(cls, task: Task, train: Sequences, network: UserNetwork, config: RunConfig) -> "Lesson":
        """The source's own: ``config.training`` and ``config.loss`` are its."""
        loss, training = components.create("losses", config.loss), config.training
        counts = train.counts(len(task.classes))
        cut = (config.max_seq_len, training.batch_size, training.windows, config.seed)
        batches = TrainingBatches(train, *cut, future=network.future)
        step = NextItemStep(network, loss, counts)
        return cls(SOURCE, task, network, step, batches, training, config.max_seq_len, config.seed)

    @classmethod
    def of_task(cls, number: int, task: Task, network: UserNetwork, config: RunConfig) -> "Lesson":
        """That of a task whose head the network has; ``config.transfer`` says how it is trained.

        Raises:
            DataError: nothing to train on, or a single class.
        """
        assert config.transfer is not None
        examples, options = task.parts["train"], config.transfer.training
        if not len(examples) or len(task.classes) < 2:
            raise DataError(
                f"task {task.name!r} has {len(examples)} examples to train on and {len(task.classes)} classes; there "
                "must be an example and two classes. Leave the task out or look at what its file asks for"
            )
        counts = np.bincount(examples.targets, minlength=len(task.classes))
        step = TaskStep(network, number, task_losses.make(config.transfer.loss, counts, config.transfer.rho))
        batches = TaskBatches(examples, config.max_seq_len, options.batch_size, config.seed)
        return cls(number, task, network, step, batches, options, config.max_seq_len, config.seed)

    def named_weights(self) -> list[tuple[str, nn.Parameter]]:
        """All that answers the task, with the names it has in the network: item vectors, trunk and head."""
        own = f"heads.{self.number}." if self.number else "output."
        every = self.network.named_parameters()
        return [(name, weight) for name, weight in every if name.startswith(("items.", "trunk.", own))]

    def weights(self) -> list[nn.Parameter]:
        """All that answers the task."""
        return [weight for _, weight in self.named_weights()]

    def head(self) -> list[nn.Parameter]:
        """What the task has to itself; nothing for a source whose items are told by their vectors."""
        head = self.network.head(self.number) if self.number else self.network.output
        return [] if head is None else list(head.parameters())

    def phase(
        self,
        name: str,
        learns: Iterable[nn.Parameter],
        *,
        after_step: Callable[[], None] = lambda: None,
        trainable: int | None = None,
        epochs: int | None = None,
    ) -> Phase:
        """A phase that trains on the task's examples and keeps the epoch that is best in validation.

        Args:
            name: of the phase.
            learns: the weights that do.
            after_step: called when the optimizer has moved them.
            trainable: how many numbers learn, where only some of those in ``learns`` do.
            epochs: the most; None: as the options say.
        """
        options = self.options if epochs is None else self.options.model_copy(update={"epochs": epochs})
        selection = SELECTION[self.task.kind]
        return Phase(
            name, self.step, self.batches, tuple(learns), self.validate, selection, options, after_step, trainable
        )

    def validate(self) -> dict[str, float]:
        """Metrics of the validation part as the network stands."""
        return validation(self.network, self.number, self.task, self.max_seq_len)


class NextItemStep(nn.Module):
    """The next item of the source at every position of a window; of a bidirectional trunk the items hidden from it, and
    of one with futures those behind the history."""

    log_popularity: Tensor

    def __init__(self, network: UserNetwork, loss: Loss, counts: Int[np.ndarray, " items"]) -> None:
        super().__init__()
        self.network, self.loss, self.num_items = network, loss, len(counts) - 1
        share = torch.from_numpy(np.maximum(counts[1:], 1) / max(counts.sum(), 1)).float()
        self.register_buffer("log_popularity", share.log(), persistent=False)

    def forward(
        self,
        history: Int[Tensor, "batch seq"],
        target: Int[Tensor, "batch ahead"],
        user: Int[Tensor, " batch"],
        windows: Int[Tensor, "whole width"],
        rows: Int[Tensor, " batch"],
        generator: torch.Generator,
    ) -> Float[Tensor, ""]:
        """Mean loss of the targets, in nats; for the arguments see :class:`llmrec.sequences.Batch`."""
        masked = None
        if self.network.bidirectional:
            cloze: Any = self.network.trunk.cloze
            history = windows[rows]
            masked = cloze.draw(history, generator)
            target = history * masked
        row, column = torch.nonzero(target, as_tuple=True)
        targets = Targets(windows, rows[row], column + windows.shape[1] - target.shape[1])
        ids, right = compared(self.loss, targets, self.num_items, generator)
        vectors, items = self.network.hidden(history, masked), self.network.source_items()
        if self.network.future:
            vectors = vectors[:, -1:].expand(-1, target.shape[1], -1)
        return self.loss(
            with_one(vectors[row, column]),
            items[(ids - 1).clamp_min(0)] if hasattr(self.loss, "columns") else items,
            right,
            item_ids=ids,
            log_popularity=self.log_popularity[(ids - 1).clamp_min(0)],
            history_ids=windows[targets.row],
            num_items=self.num_items,
            generator=generator,
        )


class TaskStep(nn.Module):
    """The right class of each history's user."""

    def __init__(self, network: UserNetwork, number: int, loss: task_losses.TaskLoss) -> None:
        super().__init__()
        self.network, self.number, self.loss = network, number, loss

    def forward(
        self, history: Int[Tensor, "batch seq"], target: Int[Tensor, " batch"], generator: torch.Generator
    ) -> Float[Tensor, ""]:
        """Mean loss of the examples, in nats."""
        return self.loss(self.network(history, self.number), target, generator)


class TaskBatch(NamedTuple):
    """Left-padded histories and, for each, the index of its class."""

    history: Int[Tensor, "batch seq"]
    target: Int[Tensor, " batch"]

    @property
    def num_targets(self) -> int:
        """Examples."""
        return len(self.target)


class TaskBatches:
    """Examples in an order that depends on seed and epoch alone, so that a run resumes at any step.

    Args:
        examples: the training part of a task.
        max_seq_len: only so many of the most recent items of a history are read.
        batch_size: examples in a batch, over all processes.
        seed: of the order.
    """

    def __init__(self, examples: Examples, max_seq_len: int, batch_size: int, seed: int) -> None:
        self.examples, self.max_seq_len, self.batch_size, self.seed = examples, max_seq_len, batch_size, seed

    def epoch(self, epoch: int, first: int = 0, rank: int = 0, world: int = 1) -> Iterator[tuple[TaskBatch, int]]:
        """Yields this process's share of every batch from number ``first`` on, with the examples of the whole batch."""
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.examples))
        for start in range(first * self.batch_size, len(order), self.batch_size):
            chosen = order[start : start + self.batch_size]
            mine = chosen[rank::world]
            history = self.examples.histories.take(mine).padded(self.max_seq_len)
            yield TaskBatch(history, torch.from_numpy(self.examples.targets[mine]).long()), len(chosen)
