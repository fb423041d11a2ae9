"""What is learned one after the other: a source, and the tasks of its users."""

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from llmrec.errors import ConfigError, nearest
from llmrec.sequences import Sequences
from llmrec.tasks import Task
from llmrec.tasks.task_set import TaskSet


@dataclass(frozen=True)
class Course:
    """What is to be learned: the source, and the tasks in the order in which they come.

    ``source`` is the task of its next item, ``train`` its sequences; ``user_ids`` are those of all users by index.
    """

    source: Task
    train: Sequences
    tasks: tuple[Task, ...]
    user_ids: np.ndarray
    data: str
    hash: str
    """Of data and tasks."""
    split: str
    """Which users are in which part, in words."""
    notes: tuple[str, ...] = ()
    """How far source and tasks share their users, in words."""
    lines: tuple[str, ...] = ()
    """Source and tasks in words, with sizes and with what was left out."""

    @classmethod
    def of(cls, tasks: TaskSet) -> "Course":
        """What the files of a folder ask of a data set."""
        source = tasks.source
        parts = {"validation": source.validation, "test": source.test}
        task = Task(source.name, "items", source.items, parts, source.notes, source.description)
        return cls(
            task,
            source.train,
            tasks.tasks,
            tasks.user_ids,
            tasks.data,
            tasks.hash,
            tasks.description,
            tasks.notes,
            tuple(tasks.describe()),
        )

    def task(self, number: int) -> Task:
        """Number 0 is the source."""
        return self.tasks[number - 1] if number else self.source

    @cached_property
    def source_hash(self) -> str:
        """Sixteen hexadecimal digits over what pre-training sees and is judged by."""
        found = hashlib.sha256("\n".join(self.source.classes).encode())
        validated = self.source.parts["validation"]
        for sequences in (self.train, validated.histories):
            found.update(sequences.offsets.tobytes() + sequences.values.tobytes())
        found.update(validated.targets.tobytes())
        return found.hexdigest()[:16]

    def ordered(self, names: tuple[str, ...]) -> "Course":
        """The same with these tasks in this order; all as they are where none is named.

        Raises:
            ConfigError: a task that does not exist or is named twice.
        """
        known = {task.name: task for task in self.tasks}
        for name in names:
            if name not in known:
                raise ConfigError(f"transfer.order: no task {name!r}{nearest(name, known)}")
        if len(set(names)) < len(names):
            raise ConfigError(f"transfer.order: a task is learned once, came {list(names)}")
        tasks = tuple(known[name] for name in names) or self.tasks
        return replace(self, tasks=tasks)
