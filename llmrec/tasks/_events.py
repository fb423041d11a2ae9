"""What users met in the source, and what they are asked for."""

from dataclasses import dataclass, replace

import numpy as np

from llmrec.interactions import Dataset
from llmrec.sequences import Sequences


@dataclass(frozen=True)
class Events:
    """What users are asked for, in the order of users and, of one user, of time.

    ``classes[i]`` is a place in ``names``, and the user of event ``i`` has ``before[i]`` events in the source before
    it.
    """

    users: np.ndarray
    before: np.ndarray
    classes: np.ndarray
    names: np.ndarray

    def __len__(self) -> int:
        return len(self.users)

    def take(self, rows: np.ndarray) -> "Events":
        """The named events; rows are places or marks."""
        return Events(self.users[rows], self.before[rows], self.classes[rows], self.names)

    def newest(self, number: int) -> "Events":
        """The last so many of each user."""
        left = np.searchsorted(self.users, self.users, side="right") - np.arange(len(self))
        return self.take(left <= number)


@dataclass(frozen=True)
class Histories:
    """Each user's events in the source, oldest first, by indices of the source's items.

    User ``i`` has ``values[offsets[i]:offsets[i + 1]]``. ``rows`` are their rows in the log, which is sorted by user,
    time and file order; users that are not of the log come last and have none.
    """

    log: Dataset
    values: np.ndarray
    offsets: np.ndarray
    rows: np.ndarray

    @classmethod
    def of(cls, log: Dataset, index: np.ndarray) -> "Histories":
        """The events of the items whose index in the source, by their index in the log, is above 0."""
        user, item = (log.interactions[name].to_numpy() for name in ("user", "item"))
        rows = np.flatnonzero(index[item])
        lengths = np.bincount(user[rows], minlength=log.num_users + 1)
        return cls(log, index[item[rows]].astype(np.int32), np.concatenate([[0], np.cumsum(lengths)]), rows)

    @property
    def lengths(self) -> np.ndarray:
        """Events by user."""
        return np.diff(self.offsets)

    def more(self, lists: list[list[int]]) -> "Histories":
        """With the events of new users behind."""
        new = Sequences.from_lists(lists)
        offsets = np.append(self.offsets, self.offsets[-1] + new.offsets[1:])
        return replace(self, values=np.append(self.values, new.values), offsets=offsets)

    def events(self, chosen: np.ndarray) -> Events:
        """Those of the log with the chosen items, marked by index: rows of one time keep the order of the file."""
        user, item = (self.log.interactions[name].to_numpy() for name in ("user", "item"))
        rows = np.flatnonzero(chosen[item])
        before = np.searchsorted(self.rows, rows) - self.offsets[user[rows]]
        return Events(user[rows].astype(np.int64), before, item[rows], self.log.item_ids)

    def whole(self, users: np.ndarray) -> Sequences:
        """All that each of the users met."""
        return self._cut(users, self.lengths[users], self.lengths[users])

    def before(self, users: np.ndarray, times: np.ndarray) -> np.ndarray:
        """How many events each of the users, who are of the log, had before his time."""
        own, met = (self.log.interactions[name].to_numpy()[self.rows] for name in ("user", "timestamp"))
        first = min(met.min(initial=0), times.min(initial=0))
        span = max(met.max(initial=0), times.max(initial=0)) - first + 1
        key = own.astype(np.int64) * span + (met - first)
        return np.searchsorted(key, users * span + (times - first)) - self.offsets[users]

    def last(self, events: Events, max_seq_len: int) -> Sequences:
        """What stood before each event, its last ``max_seq_len`` items."""
        return self._cut(events.users, events.before, np.minimum(events.before, max_seq_len))

    def _cut(self, users: np.ndarray, stops: np.ndarray, lengths: np.ndarray) -> Sequences:
        """From each of the users so many events, which end before his event ``stops``."""
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        first = self.offsets[users] + stops - lengths
        index = np.repeat(first - offsets[:-1], lengths) + np.arange(offsets[-1])
        return Sequences(self.values[index], offsets, users.astype(np.int32))
