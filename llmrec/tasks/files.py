"""A folder of YAML files and a data set to a source and its tasks."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from llmrec.interactions import Dataset
from llmrec.sources import load_dataset
from llmrec.tasks import Task
from llmrec.tasks._domains import Domains
from llmrec.tasks._events import Events, Histories
from llmrec.tasks._labels import labels
from llmrec.tasks._lines import Persons, Read, Reader
from llmrec.tasks._logs import SecondLog
from llmrec.tasks._making import Maker
from llmrec.tasks._naming import counted
from llmrec.tasks._users import DESCRIPTION, Users
from llmrec.tasks.options import Folder, ItemsFile, LabelFile, TaskFile
from llmrec.tasks.task_set import TaskSet


def load(folder: Path, dataset: Dataset, seed: int, max_seq_len: int, data_dir: Path | None = None) -> TaskSet:
    """Makes the source and the tasks that a folder's files ask for.

    An item of the source is known if a user who trains met it; others leave the histories and are told in a note.

    Args:
        folder: of files ``<number>_<name>.yaml``, see :mod:`llmrec.tasks.options`; the first is the source.
        dataset: the log of the source, and what is known of its items and users.
        seed: of the split of users.
        max_seq_len: of the longest history.
        data_dir: where a file or second log that a task names lies; None: beside the task's file.

    Raises:
        ConfigError: a file that asks for what there is not; the message names file and key.
        DataError: nothing is left of a domain or part, or a task has one class.
    """
    files = Folder.read(folder)
    course = _Tasks(files, dataset, seed, max_seq_len, data_dir or folder)
    tasks = tuple(course.task(name, options, files.paths[name]) for name, options in files.tasks.items())
    facts = {"data": dataset.content_hash, "seed": seed, "max_seq_len": max_seq_len, "files": files.facts}
    ids, notes = course.maker.users.ids, tuple(course.overlap)
    return TaskSet(course.source, tasks, ids, dataset.name, facts, DESCRIPTION.format(seed=seed), notes)


class _Tasks:
    """The source, then one task after the other."""

    def __init__(self, files: Folder, log: Dataset, seed: int, max_seq_len: int, data_dir: Path) -> None:
        self.log, self.seed, self.data_dir, self.overlap = log, seed, data_dir, list[str]()
        mappings = {options.users for options in files.tasks.values()}
        persons = Persons(log) if mappings - {None} else None
        first = np.arange(len(log.user_ids)) if persons is None or "history" not in mappings else persons.first
        users = Users.split(log.user_ids, log.interactions["user"].unique().sort().to_numpy(), first, seed)
        self.domains = Domains(log, users.within("train"))
        domain, notes = self.domains.take(files.source, files.paths[files.name])
        items = np.flatnonzero(domain & (self.domains.counts > 0))
        index = np.zeros(log.num_items + 1, dtype=np.int32)
        index[items] = np.arange(1, len(items) + 1)
        self.maker = Maker(users, Histories.of(log, index), max_seq_len)
        events = self.maker.histories.events(domain)
        strange = log.item_ids[np.setdiff1d(events.classes, items)]
        notes += counted(strange, "left out of all histories, no user who trains met them", "items")
        again = log.user_ids[first != np.arange(len(first))]
        notes += counted(again, "with the history of another, in whose part they are")
        self.source = self.maker.source(files.name, events, items, f"next of {files.source.words}", notes)
        self.reader = None if persons is None else Reader(persons, self.source.items)

    def task(self, name: str, options: TaskFile, path: Path) -> Task:
        """A task; its users, if they are new, are known to those that follow."""
        if self.reader is not None and options.file is not None and options.users is not None:
            seed = [self.seed, len(self.overlap)]
            read = self.reader.read(self.data_dir / options.file, options.users, self.maker, seed)
            return self._of_lines(name, options, read)
        second = None
        if options.log is not None:
            second = SecondLog(load_dataset(str(self.data_dir / options.log)), self.maker.users)
            self.overlap += second.overlap
        if isinstance(options, ItemsFile):
            return self._items(name, options, path, second)
        return self._label(name, options, path, second)

    def _of_lines(self, name: str, options: TaskFile, read: Read) -> Task:
        self.maker = read.maker
        self.overlap.append(read.overlap)
        if isinstance(options, ItemsFile):
            notes = [*read.notes, *self._shared(read.events.names)]
            description = f"targets of {options.file}; {_asked(options)}"
            return self.maker.task(name, "items", read.events, description, notes, options.per_user)
        events, notes = _labelled(read.events, options.unknown)
        description = f"label of {options.file}, from the whole history of its line"
        return self.maker.task(name, "label", events, description, [*read.notes, *notes])

    def _items(self, name: str, options: ItemsFile, path: Path, second: SecondLog | None) -> Task:
        histories, users = self.maker.histories, self.maker.users
        if second is None:
            domain, notes = self.domains.take(options, path)
            events, of = histories.events(domain), ""
        else:
            domain, notes = Domains(second.log, second.training).take(options, path)
            events, of = second.events(domain, histories), f" of {second.log.name}"
            notes += self._shared(second.log.item_ids[np.flatnonzero(domain)])
        without = np.setdiff1d(np.flatnonzero(users.part[: len(self.log.user_ids)] >= 0), events.users)
        notes += counted(users.ids[without], "without a target")
        description = f"next of {options.words}{of}; {_asked(options)}"
        return self.maker.task(name, "items", events, description, notes, options.per_user)

    def _label(self, name: str, options: LabelFile, path: Path, second: SecondLog | None) -> Task:
        log = self.log if second is None else second.log
        own = np.arange(len(log.user_ids)) if second is None else second.own
        place, names = labels(log, options, path)
        told, own = place >= 0, own[1:]
        met = self.maker.users.part[own] >= 0
        notes = counted(log.user_ids[1:][met & ~told], f"left out, nothing is known of their {options.column}")
        notes += counted(log.user_ids[1:][~met & told], "left out, the source's log has no event of them")
        rows = np.flatnonzero(met & told)
        rows = rows[np.argsort(own[rows])]
        events = Events(own[rows], self.maker.histories.lengths[own[rows]], place[rows], names)
        description = f"{options.column} of a user, from all that he met in the source"
        return self.maker.task(name, "label", events, description, notes)

    def _shared(self, names: Iterable[str]) -> list[str]:
        """A note of ids that are also those of items of the source."""
        known = set(self.source.items)
        return counted(
            [name for name in names if name in known], "called as one of the source, taken for others", "items"
        )


def _asked(options: ItemsFile) -> str:
    which = "every one" if options.per_user is None else f"the last {options.per_user}"
    return f"{which} of a user who trains, the last one of the others"


def _labelled(events: Events, unknown: tuple[str, ...]) -> tuple[Events, list[str]]:
    """One label for each user, the last that he has."""
    told = ~np.isin(events.names[events.classes].astype(str), unknown)
    known = events.take(told)
    one = known.newest(1)
    notes = [f"left out: {(~told).sum():,} labels that say nothing"] if not told.all() else []
    notes += [f"left out: {len(known) - len(one):,} labels of users with a later one"] if len(one) < len(known) else []
    return one, notes
