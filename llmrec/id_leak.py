"""Whether the numbers that items are called by tell what comes next.

P5 (arXiv:2203.13366) numbers items along the whole log, so that the answer is often the largest number seen plus 1
(discussed in https://github.com/jeykigung/P5/pull/3).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llmrec.splits import Cases

_NUMBERED = re.compile(r"(\D*)(\d+)")


@dataclass(frozen=True)
class Leak:
    """How often the target has the largest number of the history plus 1.

    Numbers along the training part alone may be right above chance and tell nothing: what one user met has numbers side
    by side, and another may meet it in the same order.
    """

    share: float
    chance: float
    """The same if the numbers were dealt out at random, in expectation."""
    cases: int

    @property
    def words(self) -> str:
        """One line for a report."""
        return (
            f"the largest number of the history plus 1 is the target in {self.share:.2%} of {self.cases:,} cases "
            f"(by chance {self.chance:.2%})"
        )


def next_number(cases: Cases, names: Sequence[str]) -> Leak | None:
    """Measures how often "the largest number so far plus 1" is right.

    Of numbers without gaps that are dealt out at random, each item that is not in the history has the one asked for
    with a chance of one in all items: the largest is in the history, and nothing is asked for, just as often as that
    makes up for the items that the history rules out. An item of the history never has it.

    Args:
        cases: with histories; cases without one ask for nothing and are not counted.
        names: of the items, by index; entry 0 (padding) does not matter.

    Returns:
        Share and chance; None where names are not one text followed by a number, or no case has a history.
    """
    numbers = _numbers(names)
    cases = cases.take(np.flatnonzero(cases.histories.lengths > 0))
    if numbers is None or not len(cases):
        return None
    starts, seen = cases.histories.offsets[:-1], cases.histories.values
    follows = numbers[cases.target] == np.maximum.reduceat(numbers[seen], starts) + 1
    repeats = np.logical_or.reduceat(seen == cases.target[cases.histories.rows()], starts)
    return Leak(float(follows.mean()), float((~repeats).mean()) / (len(names) - 1), len(cases))


def _numbers(names: Sequence[str]) -> np.ndarray | None:
    """By index; None where not every name ends with one, or the texts before it differ."""
    found = [_NUMBERED.fullmatch(name) for name in names[1:]]
    if not all(found) or len({match[1] for match in found if match}) != 1:
        return None
    return np.array([0, *(int(match[2]) for match in found if match)])
