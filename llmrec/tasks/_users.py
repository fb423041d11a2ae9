"""Who trains, who validates and who tests, once for all tasks."""

from dataclasses import dataclass

import numpy as np

from llmrec.errors import DataError
from llmrec.tasks import PARTS

_SHARE = 0.1
DESCRIPTION = "users are split once for source and tasks: 80% train, 10% validate, 10% test (seed {seed})"


@dataclass(frozen=True)
class Users:
    """All users by index; index 0 is padding.

    ``part[i]`` is the place of user ``i``'s part in :data:`llmrec.tasks.PARTS`, -1 for who is in none.
    """

    ids: np.ndarray
    part: np.ndarray

    @classmethod
    def split(cls, ids: np.ndarray, active: np.ndarray, seed: int) -> "Users":
        """Draws a tenth of the active users for validation and a tenth for the test.

        Args:
            ids: by index; entry 0 is padding.
            active: indices of those that did anything.
            seed: of the draw.

        Raises:
            DataError: fewer than three active users.
        """
        part = np.full(len(ids), -1)
        part[active] = drawn(len(active), np.random.default_rng(seed))
        return cls(ids, part)

    def within(self, name: str) -> np.ndarray:
        """Marks the users of a part."""
        return self.part == PARTS.index(name)


def drawn(number: int, generator: np.random.Generator) -> np.ndarray:
    """The part of each of so many users, as a place in :data:`llmrec.tasks.PARTS`."""
    held = max(1, round(_SHARE * number))
    if number < 2 * held + 1:
        raise DataError(f"{number} users cannot be split into train, validation and test; there must be three or more")
    part = np.zeros(number, dtype=np.int64)
    order = generator.permutation(number)
    part[order[:held]] = PARTS.index("validation")
    part[order[held : 2 * held]] = PARTS.index("test")
    return part
