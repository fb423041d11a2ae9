"""Events to the examples of three parts, with a note of everything that is left out."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from llmrec.errors import DataError
from llmrec.sequences import Sequences
from llmrec.tasks import PARTS, Examples, Task
from llmrec.tasks._events import Events, Histories
from llmrec.tasks._naming import counted
from llmrec.tasks._users import Users
from llmrec.tasks.task_set import SourceTask


@dataclass(frozen=True)
class Maker:
    """Makes examples: every event of a user who trains, the last one of each other user.

    ``max_seq_len`` is the length of the longest history.
    """

    users: Users
    histories: Histories
    max_seq_len: int

    def source(self, name: str, events: Events, items: np.ndarray, description: str, notes: list[str]) -> SourceTask:
        """The source, whose users that train show all that they met, and the others are asked for their last item.

        Args:
            name: of the source.
            events: of its domain.
            items: their classes that have an index, rising.
            description: of the domain.
            notes: to go before its own.

        Raises:
            DataError: a part without an example.
        """
        others = events.take(~self.users.within("train")[events.users]).newest(1)
        asked, empty = self._with_history(others)
        parts, unknown = self._held_out(asked, items)
        training = np.flatnonzero(self.users.within("train") & (self.histories.lengths > 0))
        train = self.histories.whole(training)
        notes = [*notes, *empty, *unknown]
        _require(name, {"train": train, **parts}, notes)
        ids = tuple(str(each) for each in events.names[items])
        return SourceTask(name, ids, train, parts["validation"], parts["test"], tuple(notes), description)

    def task(
        self,
        name: str,
        kind: Literal["items", "label"],
        events: Events,
        description: str,
        notes: list[str],
        per_user: int | None = None,
    ) -> Task:
        """A task, whose classes are those that training shows.

        Args:
            name: of the task.
            kind: what its classes are.
            events: all of them.
            description: of the task.
            notes: to go before its own.
            per_user: only so many of the last events of each user train; None: all.

        Raises:
            DataError: a part without an example, or fewer than two classes.
        """
        events, empty = self._with_history(events)
        train = self._of("train", events)
        train = train if per_user is None else train.newest(per_user)
        classes = np.unique(train.classes)
        parts, unknown = self._held_out(events, classes)
        parts = {"train": self._examples(train, classes), **parts}
        notes = [*notes, *empty, *unknown]
        _require(name, parts, notes)
        names = tuple(str(each) for each in events.names[classes])
        if len(names) < 2:
            raise DataError(f"task {name!r}: training shows one class, {names[0]!r}; there must be two or more")
        return Task(name, kind, names, parts, tuple(notes), description)

    def _with_history(self, events: Events) -> tuple[Events, list[str]]:
        able = events.take(events.before > 0)
        if len(able) == len(events):
            return events, []
        lost = np.setdiff1d(events.users, able.users)
        note = f"left out: {len(events) - len(able):,} targets that no item of the source comes before"
        return able, [note, *counted(self.users.ids[lost], "with such targets only")]

    def _held_out(self, events: Events, classes: np.ndarray) -> tuple[dict[str, Examples], list[str]]:
        parts, notes = {}, []
        for part in PARTS[1:]:
            asked = self._of(part, events).newest(1)
            known = np.isin(asked.classes, classes)
            lost = asked.take(~known)
            whose = zip(self.users.ids[lost.users], lost.names[lost.classes], strict=True)
            pairs = [f"{user} ({target})" for user, target in whose]
            notes += counted(pairs, f"left out of {part}, no training example has their target")
            parts[part] = self._examples(asked.take(known), classes)
        return parts, notes

    def _of(self, part: str, events: Events) -> Events:
        return events.take(self.users.within(part)[events.users])

    def _examples(self, events: Events, classes: np.ndarray) -> Examples:
        histories = self.histories.last(events, self.max_seq_len)
        return Examples(histories, np.searchsorted(classes, events.classes), events.users)


def _require(name: str, parts: Mapping[str, Examples | Sequences], notes: Iterable[str]) -> None:
    if empty := [part for part, examples in parts.items() if not len(examples)]:
        why = "; ".join(notes) or "no user of that part has a target"
        raise DataError(f"{name}: no example in {' and '.join(empty)}: {why}. Ask for more, or leave the file out")
