"""Leave-one-out: a user's last interaction tests, the one before it validates, the rest trains."""

from typing import Literal

import numpy as np
import polars as pl

from llmrec.errors import DataError
from llmrec.interactions import Dataset
from llmrec.sequences import Sequences
from llmrec.splits import Cases, Split

MIN_HISTORY = 1
"""Training interactions that a user needs before his targets."""


class LeaveOneOut:
    """Last interaction = test target, last but one = validation target.

    Users with fewer than three interactions have no case: all they did stays in training, and they are listed.

    Args:
        test_history: whether the validation target is part of the history when the test target is predicted.
    """

    def __init__(self, *, test_history: Literal["training + validation", "training"] = "training + validation") -> None:
        self.test_history = test_history

    def split(self, dataset: Dataset) -> Split:
        """Cuts the data set.

        Raises:
            DataError: no user has the three interactions that a case needs.
        """
        log = dataset.interactions
        items, times = log["item"].to_numpy().astype(np.int32), log["timestamp"].to_numpy()
        lengths = np.bincount(log["user"].to_numpy(), minlength=dataset.num_users + 1)[1:]
        stops = np.cumsum(lengths)
        has_case = lengths >= MIN_HISTORY + 2
        if not has_case.any():
            raise DataError(
                f"{dataset.name}: no user has {MIN_HISTORY + 2} interactions (the longest history has "
                f"{lengths.max()}); leave-one-out needs one to train, one to validate and one to test"
            )
        rows = np.flatnonzero(has_case)
        train = _prefixes(items, times, np.arange(1, len(lengths) + 1), stops - lengths, lengths - 2 * has_case)
        seen = lengths[rows] - (1 if self.test_history == "training + validation" else 2)
        known = _prefixes(items, times, rows + 1, (stops - lengths)[rows], seen)
        first = np.zeros(len(rows), dtype=np.int64)
        return Split(
            dataset=dataset,
            name="leave_one_out",
            train=train,
            validation=Cases("next_item", rows + 1, items[stops[rows] - 2], first, train.take(rows)),
            test=Cases("next_item", rows + 1, items[stops[rows] - 1], first.copy(), known),
            description="last interaction of each user, the one before it validates",
            test_history=self.test_history,
            without_case=_short_users(dataset, lengths, has_case),
        )


def _prefixes(
    items: np.ndarray, times: np.ndarray, users: np.ndarray, starts: np.ndarray, lengths: np.ndarray
) -> Sequences:
    """Copies the first ``lengths`` items behind each start, so that nothing later can be reached from them.

    The stretches ascend and do not overlap, so a mask of one byte per item finds them.
    """
    some = lengths > 0
    edges = np.zeros(len(items) + 1, dtype=np.int8)
    edges[starts[some]] += 1
    edges[(starts + lengths)[some]] -= 1
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    inside = np.cumsum(edges[:-1], dtype=np.int8).view(np.bool_)
    return Sequences(items[inside], offsets, users.astype(np.int32), times[inside])


def _short_users(dataset: Dataset, lengths: np.ndarray, has_case: np.ndarray) -> pl.DataFrame:
    reason = pl.format(f"{{}} interactions, needs {MIN_HISTORY + 2}", "length").alias("reason")
    users = dataset.users.select("user_id", length=pl.Series(lengths))
    return users.filter(pl.Series(~has_case)).select("user_id", reason)
