"""What the splits share: the log as arrays, marks over its rows, and the copies of them that make a split."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Bool, Int

from llmrec.interactions import Dataset
from llmrec.sequences import Sequences
from llmrec.splits import Cases, Split

Marks = Bool[np.ndarray, " rows"]
Rows = Int[np.ndarray, " _"]


@dataclass(frozen=True)
class Log:
    """The interactions by row, sorted by user, time and file order."""

    dataset: Dataset
    user: np.ndarray
    item: np.ndarray
    time: np.ndarray
    first: np.ndarray
    """Each row's user's first row."""

    @classmethod
    def of(cls, dataset: Dataset) -> "Log":
        """The arrays of a data set."""
        user, item, time = (dataset.interactions[name].to_numpy() for name in ("user", "item", "timestamp"))
        counts = np.bincount(user)
        return cls(dataset, user, item.astype(np.int32), time, (np.cumsum(counts) - counts)[user])

    def follows(self, known: Marks) -> Marks:
        """Marks the rows before which their user has at least one known row."""
        before = np.concatenate([[0], np.cumsum(known)])
        return before[:-1] > before[self.first]

    def one_per_user(self, marked: Marks, order: np.ndarray | None = None) -> Rows:
        """Each user's marked row with the greatest ``order``, without one the last; ascending."""
        rows = np.flatnonzero(marked)
        ranked = rows if order is None else rows[np.lexsort((order[rows], self.user[rows]))]
        return np.sort(ranked[np.diff(self.user[ranked], append=0) != 0])

    def split(
        self,
        *,
        name: str,
        train: Marks,
        validation: Rows,
        test: Rows,
        known: Marks,
        description: str,
        test_history: str,
        reason: pl.Expr,
    ) -> Split:
        """Copies the parts and lists what is in none.

        Args:
            name: of the split.
            train: rows to train on.
            validation: target rows, ascending.
            test: target rows, ascending.
            known: rows that stand in the history of a later target.
            description: of the targets.
            test_history: of the test part.
            reason: why a user has no case, from his numbers of ``interactions`` and of ``held_out`` ones.
        """
        used = train | self._before(validation, known) | self._before(test, known)
        used[validation] = used[test] = True
        cases = self._per_user(np.concatenate([validation, test]))
        users = self.dataset.users.select(
            "user_id",
            interactions=pl.Series(self._per_user()),
            held_out=pl.Series(self._per_user(np.flatnonzero(~train))),
            unused=pl.Series(self._per_user(np.flatnonzero(~used))),
        )
        return Split(
            dataset=self.dataset,
            name=name,
            train=self._training(train),
            validation=self._cases(validation, known),
            test=self._cases(test, known),
            description=description,
            test_history=test_history,
            without_case=users.filter(pl.Series(cases == 0)).select("user_id", reason=reason),
            unused=users.filter(pl.col("unused") > 0).select("user_id", interactions="unused"),
        )

    def _per_user(self, rows: Rows | slice = slice(None)) -> np.ndarray:
        """How many of the rows each user of the table has."""
        return np.bincount(self.user[rows], minlength=self.dataset.num_users + 1)[1:]

    def _before(self, targets: Rows, known: Marks) -> Marks:
        """Marks the known rows that stand before any target of their user."""
        last = np.full(self.dataset.num_users + 1, -1)
        last[self.user[targets]] = targets
        return known & (np.arange(len(self.user)) < last[self.user])

    def _training(self, train: Marks) -> Sequences:
        users = np.arange(1, self.dataset.num_users + 1, dtype=np.int32)
        offsets = np.concatenate([[0], np.cumsum(self._per_user(np.flatnonzero(train)))])
        return Sequences(self.item[train], offsets, users, self.time[train])

    def _cases(self, targets: Rows, known: Marks) -> Cases:
        rows = np.flatnonzero(known)
        before = np.concatenate([[0], np.cumsum(known)])
        start, stop = before[self.first[targets]], before[targets]
        offsets = np.concatenate([[0], np.cumsum(stop - start)])
        index = rows[np.repeat(start - offsets[:-1], stop - start) + np.arange(offsets[-1])]
        users = self.user[targets]
        histories = Sequences(self.item[index], offsets, users.astype(np.int32), self.time[index])
        number = np.arange(len(targets)) - np.searchsorted(users, users)
        return Cases("next_item", users.astype(np.int64), self.item[targets], number, histories)
