"""Dataset -> training sequences and evaluation cases."""

from dataclasses import dataclass, field, replace
from functools import cached_property, partial

import numpy as np
import polars as pl

from llmrec.errors import ConfigError, DataError
from llmrec.interactions import Dataset
from llmrec.sequences import Sequences

DRAWN = "; of {:,} users drawn at random (seed 0)"
"""What is said behind the description of a split of which only so many users are asked about."""
NOT_DRAWN = "not among those drawn"
"""The reason of all others who could be asked about."""
_NO_ROWS = partial(pl.DataFrame, schema={"user_id": pl.String, "interactions": pl.Int64})


@dataclass(frozen=True)
class Cases:
    """One prediction to make per row.

    ``histories[i]`` is what is known of user ``user[i]`` when ``target[i]`` is to be found; ``target_index`` numbers a
    user's targets. Each is a question of its own: the other targets are candidates like any item.
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

    def require(self, part: str) -> None:
        """Raises DataError if there are no cases: nothing can be measured without a target."""
        if not len(self):
            raise DataError(
                f"the {part} has no case: no target, or no interaction before one; check the split's options, and that "
                "the data's own parts are labelled"
            )


@dataclass(frozen=True)
class Split:
    """A data set in three physical parts: no array of one part can be reached from another.

    ``train`` has one sequence per user (row ``i`` is user ``i + 1``), without any validation or test target.
    """

    dataset: Dataset
    name: str
    """Of the split's file."""
    train: Sequences
    validation: Cases
    test: Cases
    description: str
    """Which interactions are targets, in words, with every option that changes them."""
    test_history: str
    """What is known of a user when his test target is asked for, in words."""
    without_case: pl.DataFrame
    """Users that have neither a validation nor a test case (``user_id``, ``reason``)."""
    unused: pl.DataFrame = field(default_factory=_NO_ROWS)
    """Interactions that neither train nor are a target or part of a history: how many of whom (``user_id``,
    ``interactions``)."""

    @cached_property
    def log_rows(self) -> np.ndarray:
        """Of each value of the training part, its row in the log: what is held out may stand before and between."""
        train = self.train
        users = np.arange(1, len(train) + 1) if train.users is None else train.users
        events = {"user": users[train.rows()], "item": train.values, "timestamp": train.times}
        key = [name for name, values in events.items() if values is not None]
        nth = pl.int_range(pl.len()).over(key).alias("nth")
        log = self.dataset.interactions.select(pl.col(key).cast(pl.Int64)).with_row_index("row")
        own = pl.DataFrame({name: events[name] for name in key}).cast(pl.Int64)
        found = own.with_columns(nth).join(log.with_columns(nth), on=[*key, "nth"], how="left", maintain_order="left")
        return found["row"].to_numpy()

    def cold_items(self) -> pl.DataFrame:
        """Items that are targets and have no training interaction (``item_id``, ``reason``)."""
        size = self.dataset.num_items
        targets = [np.bincount(part.target, minlength=size + 1)[1:] for part in (self.validation, self.test)]
        asked = self.dataset.items.select("item_id", validation=pl.Series(targets[0]), test=pl.Series(targets[1]))
        cold = asked.filter(pl.Series(self.train.counts(size)[1:] == 0), pl.col("validation") + pl.col("test") > 0)
        reason = pl.format("{} validation and {} test targets", "validation", "test")
        return cold.select("item_id", reason=reason)

    def of_users(self, number: int) -> "Split":
        """The same training part with the cases of at most so many users, drawn at random.

        Args:
            number: of users; of all, the split itself.
        """
        everybody = np.unique(np.concatenate([self.validation.user, self.test.user]))
        if number >= len(everybody):
            return self
        chosen = np.random.default_rng(0).permutation(everybody)[:number]
        parts = [part.take(np.flatnonzero(np.isin(part.user, chosen))) for part in (self.validation, self.test)]
        others = self.dataset.user_ids[np.setdiff1d(everybody, chosen)].astype(str)
        left_out = pl.DataFrame({"user_id": others}).with_columns(reason=pl.lit(NOT_DRAWN))
        return replace(
            self,
            validation=parts[0],
            test=parts[1],
            description=self.description + DRAWN.format(number),
            without_case=pl.concat([self.without_case, left_out]),
        )

    def learning_from(self, number: int) -> "Split":
        """The same cases with the training histories of at most so many users, drawn at random; others' are empty.

        Args:
            number: of users of whom a next item is to be learned; of all, the split itself.

        Raises:
            ConfigError: more than there are.
        """
        train, lengths = self.train, self.train.lengths
        somebody = np.flatnonzero(lengths > 1)
        if number > len(somebody):
            raise ConfigError(f"training.users: came {number:,}, but a next item is to be learned of {len(somebody):,}")
        if number == len(somebody):
            return self
        chosen = np.isin(np.arange(len(train)), np.random.default_rng(0).permutation(somebody)[:number])
        kept = chosen[train.rows()]
        offsets = np.concatenate([[0], np.cumsum(np.where(chosen, lengths, 0))]).astype(np.int64)
        times = None if train.times is None else train.times[kept]
        return replace(self, train=replace(train, values=train.values[kept], offsets=offsets, times=times))

    def require_cases(self) -> None:
        """Raises DataError if validation or test has no case."""
        self.validation.require(f"validation part of {self.dataset.name} under {self.name}")
        self.test.require(f"test part of {self.dataset.name} under {self.name}")
