"""Global time: everything before a moment trains, what comes after validates and tests."""

from typing import Literal

import numpy as np
import polars as pl

from llmrec.errors import DataError
from llmrec.interactions import Dataset
from llmrec.splits import Split
from llmrec.splits._log import Log, Marks, Rows

Target = Literal["last", "first", "random", "successive"]
_WHICH = {
    "last": "the last interaction",
    "first": "the first interaction",
    "random": "one interaction at random",
    "successive": "every interaction",
}


class Temporal:
    """Cuts the log at two moments, the same for everyone, as a system in use would have to.

    Nothing is trained on that happened at or after a moment at which anyone is asked. The history of a target is all
    that its user did before it, held-out interactions included. A target needs at least one earlier interaction of its
    user; users without such a target have no case and are listed.

    "Time to Split: Exploring Data Splitting Strategies for Offline Evaluation of Sequential Recommenders",
    arXiv:2507.16289.

    Args:
        validation: share of all interactions between the first cut and the second, in (0, 1). A cut falls between two
            different times, where it comes nearest to the share.
        test: share of all interactions from the second cut on.
        target: which of a user's interactions of a part are asked for; ``successive``: each of them, as a case of its
            own.
        seed: of the ``random`` target.
    """

    def __init__(self, *, validation: float = 0.1, test: float = 0.1, target: Target = "last", seed: int = 0) -> None:
        if not (validation > 0 and test > 0 and validation + test < 1):
            raise ValueError(f"validation and test must be above 0 and together below 1, came {validation} and {test}")
        if seed < 0:
            raise ValueError(f"seed must be at least 0, came {seed}")
        self.validation, self.test, self.target, self.seed = validation, test, target, seed

    def split(self, dataset: Dataset) -> Split:
        """Cuts the data set.

        Raises:
            DataError: the data have no times, or too few different ones for three parts.
        """
        if dataset.time_unit != "seconds":
            raise DataError(
                f"{dataset.name} has no times, only each user's order, so there is no moment at which "
                "everyone's log could be cut; use the split leave_one_out or, if the publisher ships parts, given"
            )
        log = Log.of(dataset)
        first, second = self._cuts(log)
        after = (log.time >= first) & log.follows(np.ones(len(log.time), dtype=bool))
        return log.split(
            name="temporal",
            train=log.time < first,
            validation=self._targets(log, after & (log.time < second)),
            test=self._targets(log, after & (log.time >= second)),
            known=np.ones(len(log.time), dtype=bool),
            description=self._describe(first, second),
            test_history="everything before the target, held-out interactions included",
            reason=pl.when(pl.col("held_out") == 0)
            .then(pl.lit(f"no interaction since {_utc(first)}"))
            .otherwise(pl.lit(f"no interaction before a target since {_utc(first)}")),
        )

    def _cuts(self, log: Log) -> tuple[int, int]:
        """The first moment of validation and that of test."""
        times, firsts = np.unique(log.time, return_counts=True)
        before = np.cumsum(firsts) - firsts
        if len(times) < 3:
            raise DataError(
                f"{log.dataset.name} has {len(times)} different times; a split by time needs at least 3 (one each to "
                "train, validate and test)"
            )
        wanted = len(log.time) * np.array([1 - self.validation - self.test, 1 - self.test])
        first = 1 + int(np.argmin(abs(before[1:-1] - wanted[0])))
        second = first + 1 + int(np.argmin(abs(before[first + 1 :] - wanted[1])))
        return int(times[first]), int(times[second])

    def _targets(self, log: Log, part: Marks) -> Rows:
        if self.target == "successive":
            return np.flatnonzero(part)
        if self.target == "first":
            return log.one_per_user(part, -np.arange(len(part)))
        if self.target == "random":
            return log.one_per_user(part, np.random.default_rng(self.seed).random(len(part)))
        return log.one_per_user(part)

    def _describe(self, first: int, second: int) -> str:
        drawn = f" (seed {self.seed})" if self.target == "random" else ""
        return (
            f"{_WHICH[self.target]}{drawn} of each user since {_utc(second)} tests ({self.test:g} of all), since "
            f"{_utc(first)} validates ({self.validation:g})"
        )


def _utc(seconds: int) -> str:
    return str(np.datetime64(seconds, "s")).replace("T", " ") + " UTC"
