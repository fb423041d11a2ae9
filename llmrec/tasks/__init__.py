"""What a user's history is asked for: the next item of a domain, or something about the user."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from llmrec.sequences import Sequences

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Examples:
    """Histories with what is asked for each.

    ``histories`` hold indices of the source's items, oldest first, and nothing that came after the target;
    ``targets[i]`` is an index into the task's ``classes``; ``users[i]`` is whose example it is, an index into the
    source's users, for intervals by user.
    """

    histories: Sequences
    targets: np.ndarray
    users: np.ndarray

    def __len__(self) -> int:
        return len(self.targets)


@dataclass(frozen=True)
class Task:
    """One question asked of many users, in three parts that share no user."""

    name: str
    kind: Literal["items", "label"]
    """``items``: the classes are ids of items and are ranked; ``label``: one of a few is told."""
    classes: tuple[str, ...]
    parts: Mapping[str, Examples]
    """``train``, ``validation`` and ``test``."""
    notes: tuple[str, ...] = field(default=())
    """What was left out, of whom and why, in words."""
    description: str = ""
    """The task in words, for the protocol."""
