"""A second log, whose users are those of the source by their ids."""

import numpy as np

from llmrec.interactions import Dataset
from llmrec.tasks._events import Events, Histories
from llmrec.tasks._naming import counted
from llmrec.tasks._users import Users


class SecondLog:
    """Finds the source's users in another log.

    Args:
        log: the other one.
        users: of the source.
    """

    def __init__(self, log: Dataset, users: Users) -> None:
        index = {name: place for place, name in enumerate(users.ids) if users.part[place] >= 0}
        self.log, self.users = log, users
        self.own = np.array([index.get(name, 0) for name in log.user_ids])
        """For each user of the log his index in the source; 0: he is not there."""

    @property
    def overlap(self) -> list[str]:
        """How many users are in both, and who is in one of them only."""
        both = self.own[self.own > 0]
        only = np.setdiff1d(np.flatnonzero(self.users.part >= 0), both)
        name = self.log.name
        return [
            f"{name}: {len(both):,} users are in the source too",
            *counted(self.users.ids[only], f"of the source not in {name}"),
            *counted(self.log.user_ids[1:][self.own[1:] == 0], f"of {name} not in the source"),
        ]

    @property
    def training(self) -> np.ndarray:
        """Marks the users that train, by their index in the log."""
        return (self.own > 0) & self.users.within("train")[self.own]

    def events(self, chosen: np.ndarray, histories: Histories) -> Events:
        """Those with the chosen items, marked by index.

        Where both logs have times, what was met in the source in an earlier second stands before an event; else all
        that was met there does.
        """
        user, item, time = (self.log.interactions[name].to_numpy() for name in ("user", "item", "timestamp"))
        rows = np.flatnonzero(chosen[item] & (self.own[user] > 0))
        rows = rows[np.argsort(self.own[user[rows]], kind="stable")]
        whose = self.own[user[rows]]
        if "order" in (self.log.time_unit, histories.log.time_unit):
            before = histories.lengths[whose]
        else:
            before = histories.before(whose, time[rows])
        return Events(whose, before, item[rows], self.log.item_ids)
