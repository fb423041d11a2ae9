"""Tasks whose lines have a history and targets and no user id (PeterRec, Conure)."""

from dataclasses import replace
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from llmrec.interactions import Dataset
from llmrec.sources.peterrec import fine_tuning
from llmrec.tasks._events import Events
from llmrec.tasks._making import Maker
from llmrec.tasks._naming import counted


class Persons:
    """Who is whom by history: exactly the same items in the same order are the same user.

    Args:
        log: of the source.
    """

    def __init__(self, log: Dataset) -> None:
        user, item = (log.interactions[name].to_numpy() for name in ("user", "item"))
        stops = np.searchsorted(user, np.arange(log.num_users + 1), side="right")
        self._users: dict[bytes, int] = {}
        self.first = np.arange(log.num_users + 1)
        """For each user of the log the first one with the same history."""
        for index in np.unique(user):
            items = log.item_ids[item[stops[index - 1] : stops[index]]]
            self.first[index] = self.find(items.tolist(), int(index))

    def find(self, history: list[str], otherwise: int) -> int:
        """Whose history this is; if it is nobody's, it becomes that of user ``otherwise``."""
        return self._users.setdefault(_key(history), otherwise)

    def of_log(self, history: list[str]) -> int:
        """The log's user with this history, 0 if there is none."""
        found = self._users.get(_key(history), 0)
        return found if found < len(self.first) else 0


class Line(NamedTuple):
    """What somebody met in the source, and what is asked for."""

    number: int
    history: list[str]
    targets: list[str]


class Read(NamedTuple):
    """A file's events, the maker that knows its users too, and notes: of the task, and of whom it shares."""

    events: Events
    maker: Maker
    notes: list[str]
    overlap: str


class Reader:
    """Reads fine-tuning files, one after the other.

    Args:
        persons: those of the source's log.
        items: of the source, in the order of their indices.
    """

    def __init__(self, persons: Persons, items: tuple[str, ...]) -> None:
        self._persons = persons
        self._index = {item: index for index, item in enumerate(items, 1)}

    def read(self, path: Path, mapping: Literal["none", "history"], maker: Maker, seed: list[int]) -> Read:
        """Reads a file.

        Args:
            path: of the file.
            mapping: ``history``: a line with the history of a known user is his; ``none``: each is a user of its own.
            maker: of the source and the tasks before.
            seed: of the split of new users.

        Raises:
            DataError: a line that is none.
        """
        lines = [Line(number, *line) for number, line in enumerate(fine_tuning(path), 1)]
        users = np.zeros(len(lines), dtype=np.int64)
        new: list[Line] = []
        for place, line in enumerate(lines):
            own = len(maker.users.ids) + len(new)
            users[place] = self._persons.find(line.history, own) if mapping == "history" else own
            new += [line] if users[place] == own else []
        known = [[self._index[item] for item in line.history if item in self._index] for line in new]
        ids = [f"{path.name}:{line.number}" for line in new]
        grown = replace(maker, users=maker.users.more(ids, seed), histories=maker.histories.more(known))
        strange = dict.fromkeys(item for line in new for item in line.history if item not in self._index)
        notes = counted(strange, "left out of its histories, the source does not have them", "items")
        return Read(_events(lines, users, grown), grown, notes, self._overlap(path.name, mapping, lines, users, grown))

    def _overlap(self, name: str, mapping: str, lines: list[Line], users: np.ndarray, maker: Maker) -> str:
        same = np.array([self._persons.of_log(line.history) for line in lines])
        report = f"{name}: {(same > 0).sum():,} of {len(lines):,} histories stand in the source exactly as they are"
        if mapping == "history":
            return f"{report}, and are taken for the same users"
        training = maker.users.within("train")
        asked = ~training[users]
        return (
            f"{report}; users are not mapped, and {(asked & training[same]).sum():,} of {asked.sum():,} lines that "
            "validate or test have a history that the source trains on"
        )


def _events(lines: list[Line], users: np.ndarray, maker: Maker) -> Events:
    names = sorted({target for line in lines for target in line.targets}, key=lambda name: (len(name), name))
    place = {name: number for number, name in enumerate(names)}
    order = np.argsort(users, kind="stable")
    whose = np.repeat(users[order], [len(lines[row].targets) for row in order])
    classes = np.array([place[each] for each in chain(*(lines[row].targets for row in order))], dtype=np.int64)
    return Events(whose, maker.histories.lengths[whose], classes, np.array(names, dtype=object))


def _key(history: list[str]) -> bytes:
    return blake2b(",".join(history).encode(), digest_size=16).digest()
