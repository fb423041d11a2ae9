"""Who trains, who validates and who tests, once for all tasks."""

from dataclasses import dataclass

import numpy as np

from llmrec.errors import DataError
from llmrec.tasks import PARTS

_SHARE, _FEWEST = 0.1, 3
DESCRIPTION = "users are split once for source and tasks: 80% train, 10% validate, 10% test (seed {seed})"


@dataclass(frozen=True)
class Users:
    """All users by index; index 0 is padding.

    ``part[i]`` is the place of user ``i``'s part in :data:`llmrec.tasks.PARTS`, -1 for who is in none.
    """

    ids: np.ndarray
    part: np.ndarray

    @classmethod
    def split(cls, ids: np.ndarray, active: np.ndarray, persons: np.ndarray, seed: int) -> "Users":
        """Draws a tenth of the active users for validation and a tenth for the test.

        Args:
            ids: by index; entry 0 is padding.
            active: indices of those that did anything.
            persons: for each index that of the first user who is the same person, who share a part.
            seed: of the draw.

        Raises:
            DataError: fewer than three persons.
        """
        drawn = np.unique(persons[active])
        if len(drawn) < _FEWEST:
            raise DataError(f"{len(drawn)} users cannot be split; train, validation and test need {_FEWEST} or more")
        part = np.full(len(ids), -1)
        part[drawn] = _drawn(len(drawn), np.random.default_rng(seed))
        part[active] = part[persons[active]]
        return cls(ids, part)

    def more(self, ids: list[str], seed: list[int]) -> "Users":
        """With new users behind, who are split among themselves; fewer than three of them train."""
        part = _drawn(len(ids), np.random.default_rng(seed))
        return Users(np.append(self.ids, np.array(ids, dtype=object)), np.append(self.part, part))

    def within(self, name: str) -> np.ndarray:
        """Marks the users of a part."""
        return self.part == PARTS.index(name)


def _drawn(number: int, generator: np.random.Generator) -> np.ndarray:
    """The part of each of so many users, as a place in :data:`llmrec.tasks.PARTS`."""
    held = max(1, round(_SHARE * number)) if number >= _FEWEST else 0
    part = np.zeros(number, dtype=np.int64)
    order = generator.permutation(number)
    part[order[:held]] = PARTS.index("validation")
    part[order[held : 2 * held]] = PARTS.index("test")
    return part
