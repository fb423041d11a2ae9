"""Histories as flat arrays with offsets, and the training windows and batches cut from them on the fly."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor


@dataclass(frozen=True)
class Sequences:
    """Many sequences of item indices, oldest first, in one flat array.

    Sequence ``i`` is ``values[offsets[i]:offsets[i + 1]]``; nothing is padded, so memory is what the log holds.
    """

    values: np.ndarray
    offsets: np.ndarray
    users: np.ndarray | None = None
    """Whose each sequence is, by index; 0 where the user is not known, None where nobody is."""
    times: np.ndarray | None = None
    """When each value was met (int64, seconds UTC), or None."""

    @classmethod
    def from_lists(cls, lists: list[list[int]] | list[np.ndarray]) -> "Sequences":
        """Flattens a list of sequences."""
        lengths = np.array([len(one) for one in lists], dtype=np.int64)
        values = np.concatenate([np.asarray(one, dtype=np.int32) for one in lists]) if lists else np.empty(0, np.int32)
        return cls(values.astype(np.int32), np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> np.ndarray:
        return self.values[self.offsets[row] : self.offsets[row + 1]]

    @property
    def lengths(self) -> np.ndarray:
        """Number of items in each sequence."""
        return np.diff(self.offsets)

    def take(self, rows: np.ndarray) -> "Sequences":
        """A copy of the named sequences, in the order asked for."""
        lengths = self.lengths[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        users = None if self.users is None else self.users[rows]
        if np.array_equal(rows, np.arange(len(self))):  # a plain copy is many times faster than one by index
            return Sequences(self.values.copy(), offsets, users, None if self.times is None else self.times.copy())
        index = np.repeat(self.offsets[rows] - offsets[:-1], lengths) + np.arange(offsets[-1])
        return Sequences(self.values[index], offsets, users, None if self.times is None else self.times[index])

    def counts(self, num_items: int) -> np.ndarray:
        """How often each item occurs, by index; entry 0 (padding) is 0."""
        return np.bincount(self.values, minlength=num_items + 1)

    def rows(self) -> np.ndarray:
        """The sequence number of every value."""
        return np.repeat(np.arange(len(self)), self.lengths)

    def user_indices(self) -> Int[Tensor, " batch"]:
        """Whose each sequence is, by index; 0 where that is not known."""
        users = np.zeros(len(self), dtype=np.int64) if self.users is None else self.users.astype(np.int64)
        return torch.from_numpy(users)

    def padded(self, max_seq_len: int) -> Int[Tensor, "batch seq"]:
        """The last ``max_seq_len`` items of each sequence, left-padded with 0, most recent last."""
        return _left_pad(self.values, np.maximum(self.offsets[1:] - max_seq_len, self.offsets[:-1]), self.offsets[1:])


class Batch(NamedTuple):
    """One process's share of a batch of training windows.

    ``target`` holds the last items of each window: the one that followed each position of ``history``, or with futures
    those behind it. Items are left-padded with 0. ``user`` is whose window each is, by index. ``windows`` are those of
    the whole batch, each with its last target, and ``rows`` says which of them are this process's.
    """

    history: Int[Tensor, "batch seq"]
    target: Int[Tensor, "batch ahead"]
    user: Int[Tensor, " batch"]
    windows: Int[Tensor, "whole width"]
    rows: Int[Tensor, " batch"]

    @property
    def num_targets(self) -> int:
        """Targets in all windows."""
        return int((self.target > 0).sum())


class TrainingBatches:
    """Batches of windows in an order that depends on seed and epoch alone, so that a run resumes at any step.

    Args:
        sequences: the training part, one sequence per user.
        max_seq_len: the most items of a history.
        batch_size: windows in a batch, over all processes.
        windows: ``all`` cuts every sequence so that each position is a target exactly once an epoch, at another place
            each epoch; ``last`` keeps only the most recent window of each user.
        seed: of the cuts and of the order.
        future: 0: each position of a history has the next item as target. From 1 on the last so many items of a window
            are all targets of its one history, which ends before them: fewer where the window would be left without a
            history, and no user of two items or more is left out. A window has ``max_seq_len + future`` items at most.
            With ``all`` any item but the first of a sequence is a target in about ``future`` of ``max_seq_len + future
            - 1`` epochs, the last ones far more often, since a window ends with them in each.
    """

    def __init__(
        self,
        sequences: Sequences,
        max_seq_len: int,
        batch_size: int,
        windows: Literal["all", "last"],
        seed: int,
        *,
        future: int = 0,
    ) -> None:
        self.sequences, self.max_seq_len, self.batch_size = sequences, max_seq_len, batch_size
        self.windows, self.seed, self.future = windows, seed, future

    def every_position(self) -> "TrainingBatches":
        """Batches of the same sequences in which each position has the next item as target."""
        return TrainingBatches(self.sequences, self.max_seq_len, self.batch_size, self.windows, self.seed)

    def epoch(self, epoch: int, first: int = 0, rank: int = 0, world: int = 1) -> Iterator[tuple[Batch, int]]:
        """Yields this process's share of every batch from number ``first`` on, with the targets of the whole batch.

        The last batch may be smaller; nothing is repeated to fill it.
        """
        cuts, order = self.cuts(epoch)
        users = self.sequences.user_indices()
        for number in range(first * self.batch_size, len(order), self.batch_size):
            start, stop = cuts[order[number : number + self.batch_size]].T
            read, ahead = self._parts(start, stop)
            windows = _left_pad(self.sequences.values, start, stop)
            mine = slice(rank, None, world)
            history = _left_pad(self.sequences.values, start[mine], read[mine])
            target = _left_pad(self.sequences.values, ahead[mine], stop[mine])
            owner = np.searchsorted(self.sequences.offsets, start[mine], side="right") - 1
            rows = torch.arange(len(start))[mine]
            yield Batch(history, target, users[owner], windows, rows), int((stop - ahead).sum())

    def _parts(self, start: np.ndarray, stop: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where the history of each window stops, and where its targets start."""
        if not self.future:
            return stop - 1, start + 1
        ahead = np.maximum(stop - self.future, start + 1)
        return ahead, ahead

    def cuts(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Start and stop of every window of an epoch, and the order in which they are taken."""
        generator = np.random.default_rng([self.seed, epoch])
        most = self.max_seq_len + max(self.future - 1, 0)
        shift = generator.integers(0, most, size=len(self.sequences))
        if self.windows == "last":
            cuts = last_windows(self.sequences.offsets, most)
        else:
            cuts = all_windows(self.sequences.offsets, most, shift)
        return cuts, generator.permutation(len(cuts))


def all_windows(offsets: np.ndarray, most: int, shift: np.ndarray) -> np.ndarray:
    """Cuts each sequence into windows such that every item but the first stands behind another in exactly one.

    Args:
        offsets: as in :class:`Sequences`.
        most: items of a window behind its first.
        shift: per sequence, by how many items (0 to ``most - 1``) the last window falls short.

    Returns:
        ``[num_windows, 2]``: start and stop in the flat array.
    """
    targets = np.maximum(np.diff(offsets) - 1, 0)
    number = np.where(targets > 0, -(-(targets + shift) // most), 0)
    row = np.repeat(np.arange(len(targets)), number)
    back = np.arange(number.sum()) - np.repeat(np.cumsum(number) - number, number)
    stop = targets[row] + shift[row] - back * most
    start = np.maximum(stop - most, 0)
    return np.stack([offsets[row] + start, offsets[row] + np.minimum(stop, targets[row]) + 1], axis=1)


def last_windows(offsets: np.ndarray, most: int) -> np.ndarray:
    """The most recent window of each sequence of two items or more, as start and stop in the flat array.

    Args:
        offsets: as in :class:`Sequences`.
        most: items of a window behind its first.
    """
    stop = offsets[1:]
    start = np.maximum(stop - most - 1, offsets[:-1])
    return np.stack([start, stop], axis=1)[stop - offsets[:-1] >= 2]


def _left_pad(values: np.ndarray, start: np.ndarray, stop: np.ndarray) -> Tensor:
    lengths = stop - start
    width = int(lengths.max(initial=1))
    column = np.arange(width) - (width - lengths)[:, None]
    index = np.maximum(start[:, None] + column, 0)
    padded = (
        np.where(column >= 0, values[np.minimum(index, max(len(values) - 1, 0))], 0)
        if len(values)
        else (np.zeros((len(start), width)))
    )
    return torch.from_numpy(padded.astype(np.int64))
