"""A small source with three tasks, in which there is something to learn, and a run of a method over it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator

from llmrec import config
from llmrec.course import Course
from llmrec.lifelong import Lifelong
from llmrec.phases import Trainer
from llmrec.sequences import Sequences
from llmrec.tasks import Examples, Task

ITEMS, USERS = 12, 90
PARTS = {"train": slice(0, 60), "validation": slice(60, 75), "test": slice(75, 90)}
QUICK = [
    "embedding_dim=16",
    "max_seq_len=8",
    "head.num_layers=2",
    "training.batch_size=16",
    "training.epochs=3",
    "training.warmup_steps=0",
    "training.learning_rate=0.01",
    "transfer.training.batch_size=16",
    "transfer.training.epochs=3",
    "transfer.training.warmup_steps=0",
    "transfer.training.learning_rate=0.01",
]


def course(seed: int = 0) -> Course:
    """Users walk round a cycle of items, by steps of one or of two; what is asked follows from item and step."""
    generator = np.random.default_rng(seed)
    steps = generator.integers(1, 3, size=USERS)
    starts, lengths = generator.integers(ITEMS, size=USERS), generator.integers(4, 10, size=USERS)
    histories = [
        1 + (start + step * np.arange(length)) % ITEMS
        for start, step, length in zip(starts, steps, lengths, strict=True)
    ]
    last = np.array([history[-1] for history in histories]) - 1

    def parts(targets: np.ndarray, cut: int = 0) -> dict[str, Examples]:
        some = Sequences.from_lists([history[: len(history) - cut] for history in histories])
        users = np.arange(USERS)
        return {name: Examples(some.take(users[rows]), targets[rows], users[rows] + 1) for name, rows in PARTS.items()}

    items = tuple(f"i{number}" for number in range(ITEMS))
    source = Task("walk", "items", items, parts(last, cut=1), description="the next item of the walk")
    tasks = (
        Task("far", "items", tuple(f"j{number}" for number in range(6)), parts(last // 2), description="far item"),
        Task("step", "label", ("one", "two"), parts(steps - 1), description="how far a user steps"),
        Task("half", "label", ("first", "second"), parts(last // 6), description="where the user is"),
    )
    train = Sequences.from_lists(histories[PARTS["train"]])
    names = np.array(["", *(f"u{user}" for user in range(USERS))], dtype=object)
    return Course(source, train, tasks, names, "walks", f"walks{seed}", "users 60/15/15")


@contextmanager
def silent(epochs: int, selection: str) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Says nothing of a phase."""
    yield lambda row: None


def lifelong(folder: Path, method: str, *more: str, watch: Any = silent, of: Course | None = None) -> Lifelong:
    """A method over the small course; ``more`` are overrides of options."""
    chosen = [f"transfer.method.name={method}", "transfer.tasks=unused", "head=nextitnet"]
    options = config.load(None, [*chosen, *QUICK, *more], {"output": folder}).resolved()
    trainer = Trainer(Accelerator(cpu=True), options.seed, watch)
    return Lifelong(options, course() if of is None else of, folder, trainer)
