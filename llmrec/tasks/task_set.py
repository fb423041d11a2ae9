"""A source and the tasks of its users, with all that a later run must agree with."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from llmrec.errors import DataError
from llmrec.protocol import digest
from llmrec.sequences import Sequences
from llmrec.tasks import PARTS, Examples, Task
from llmrec.tasks._naming import some


@dataclass(frozen=True)
class SourceTask:
    """What a network is pre-trained on: the next item of the source.

    ``items[i]`` is the id of the item with index ``i + 1``; index 0 is padding. ``train`` holds the whole sequences of
    the users that train. ``validation`` and ``test`` ask for the last item of each other user, ``targets[i]`` being a
    position in ``items``, and show what stands before it.
    """

    name: str
    items: tuple[str, ...]
    train: Sequences
    validation: Examples
    test: Examples
    notes: tuple[str, ...] = field(default=())
    """What was left out, of whom and why, in words."""
    description: str = ""
    """The source in words, for the protocol."""


@dataclass(frozen=True)
class TaskSet:
    """A source and its tasks, whose users are split once: nobody who tests one of them trains another.

    ``user_ids`` are the ids that ``Examples.users`` point to; entry 0 is the empty string of the padding.
    """

    source: SourceTask
    tasks: tuple[Task, ...]
    user_ids: np.ndarray
    data: str
    facts: dict[str, Any]
    """What the set was made of: hash of the data, seed, longest history, and the options of every file."""
    description: str
    """How users were split, in words."""
    notes: tuple[str, ...] = field(default=())
    """How far source and tasks share their users, in words."""

    @cached_property
    def hash(self) -> str:
        """Sixteen hexadecimal digits over data, seed, options, items, classes and all examples."""
        found = hashlib.sha256(digest(self.facts).encode())
        _add(found, self.source.items, self.source.train)
        for part in (self.source.validation, self.source.test):
            _add(found, (), part.histories, part.targets, part.users)
        for task in self.tasks:
            for name in PARTS:
                part = task.parts[name]
                _add(found, task.classes, part.histories, part.targets, part.users)
        return found.hexdigest()[:16]

    def describe(self) -> list[str]:
        """The set in a few lines: users, examples, classes, what is most frequent, and how long histories are."""
        source, train = self.source, self.source.train
        lines = [
            f"{self.data}: {self.description}",
            f"source {source.name}: {len(source.items):,} items; {source.description}",
            f"  train {len(train):,} users, {len(train.values):,} events, {_spread(train.lengths)}",
            *(f"  {name} {_part(part)}" for name, part in (("validation", source.validation), ("test", source.test))),
            *_indented(source.notes),
        ]
        for number, task in enumerate(self.tasks, 1):
            lines.append(f"task {number} {task.name} ({task.kind}): {len(task.classes):,} classes; {task.description}")
            lines += [f"  {name} {_part(task.parts[name])}, {_most_frequent(task, name)}" for name in PARTS]
            lines += _indented(task.notes)
        return [*lines, *self.notes]


def require_same_items(saved: Sequence[str], items: Sequence[str]) -> None:
    """Checks that a network was pre-trained on these items under these indices.

    Args:
        saved: ids of the items that it knows, in the order of its table.
        items: those of the source now.

    Raises:
        DataError: an item is gone, new or elsewhere; some are named.
    """
    if list(saved) == list(items):
        return
    then, now = ({item: index for index, item in enumerate(ids)} for ids in (saved, items))
    gone = [item for item in saved if item not in now]
    new = [item for item in items if item not in then]
    moved = [item for item in items if item in then and then[item] != now[item]]
    faults = [
        f"{len(ids)} {what} ({some(ids)})"
        for ids, what in ((gone, "gone"), (new, "new"), (moved, "under another index"))
        if ids
    ]
    raise DataError(
        f"the source's items changed since pre-training, {len(saved)} then and {len(items)} now: {'; '.join(faults)}. "
        "Pre-train again, or take the data, the files of tasks and the seed of that time"
    )


def _add(found: Any, names: Iterable[str], sequences: Sequences, *arrays: np.ndarray) -> None:
    """Puts names and numbers into a hash; all numbers as of 64 bits, whatever they are held as."""
    found.update("\x1e".join(names).encode())
    for array in (sequences.offsets, sequences.values, *arrays):
        found.update(array.astype(np.int64).tobytes())


def _indented(notes: Iterable[str]) -> list[str]:
    return [f"  - {note}" for note in notes]


def _part(part: Examples) -> str:
    return f"{len(np.unique(part.users)):,} users, {len(part):,} examples, {_spread(part.histories.lengths)}"


def _spread(lengths: np.ndarray) -> str:
    if not len(lengths):
        return "no histories"
    return f"histories of {lengths.min():,} to {lengths.max():,} items, median {np.median(lengths):,.0f}"


def _most_frequent(task: Task, part: str) -> str:
    """The share of what is most frequent in training: what an answer that reads no history gets right."""
    top = int(np.bincount(task.parts["train"].targets, minlength=len(task.classes)).argmax())
    return f"{task.classes[top]} in {np.mean(task.parts[part].targets == top):.1%}"
