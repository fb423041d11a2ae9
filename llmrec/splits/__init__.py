"""Dataset -> training sequences and evaluation cases."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from llmrec.interactions import Dataset
from llmrec.sequences import Sequences


@dataclass(frozen=True)
class Cases:
    """One prediction to make per row.

    ``histories[i]`` is what is known of user ``user[i]`` when ``target[i]`` is to be found; ``target_index`` numbers a
    user's targets, whose other targets are left out of this one's ranking.
    """

    task: str
    user: np.ndarray
    target: np.ndarray
    target_index: np.ndarray
    histories: Sequences

    def __len__(self) -> int:
        return len(self.user)

    def case_ids(self, user_ids: np.ndarray) -> list[str]:
        """``task/target_index/user_id`` of every case."""
        return [
            f"{self.task}/{index}/{user_ids[user]}" for user, index in zip(self.user, self.target_index, strict=True)
        ]

    def take(self, rows: np.ndarray) -> "Cases":
        """The named cases, in the order asked for."""
        return Cases(self.task, self.user[rows], self.target[rows], self.target_index[rows], self.histories.take(rows))


@dataclass(frozen=True)
class Split:
    """A data set in three physical parts: no array of one part can be reached from another.

    ``train`` has one sequence per user (row ``i`` is user ``i + 1``), without any validation or test target.
    """

    dataset: Dataset
    train: Sequences
    validation: Cases
    test: Cases
    description: str
    without_case: pl.DataFrame
    """Users that have no validation or test case (``user_id``, ``reason``); they still train."""
