"""A folder of YAML files and a data set to a source and its tasks."""

from pathlib import Path

import numpy as np

from llmrec.interactions import Dataset
from llmrec.tasks import Task
from llmrec.tasks._domains import Domains
from llmrec.tasks._events import Events, Histories
from llmrec.tasks._labels import labels
from llmrec.tasks._making import Maker
from llmrec.tasks._naming import counted
from llmrec.tasks._users import DESCRIPTION, Users
from llmrec.tasks.options import Folder, ItemsFile, LabelFile
from llmrec.tasks.task_set import SourceTask, TaskSet


def load(folder: Path, dataset: Dataset, seed: int, max_seq_len: int) -> TaskSet:
    """Makes the source and the tasks that a folder's files ask for.

    An item of the source is known if a user who trains met it; others leave the histories and are told in a note.

    Args:
        folder: of files ``<number>_<name>.yaml``, see :mod:`llmrec.tasks.options`; the first is the source.
        dataset: the log, and what is known of items and users.
        seed: of the split of users.
        max_seq_len: of the longest history.

    Raises:
        ConfigError: a file that asks for what there is not; the message names file and key.
        DataError: nothing is left of a domain or part, or a task has one class.
    """
    files = Folder.read(folder)
    users = Users.split(dataset.user_ids, dataset.interactions["user"].unique().sort().to_numpy(), seed)
    domains = Domains(dataset, users)
    maker, source = _source(files, domains, users, max_seq_len)
    tasks = []
    for name, options in files.tasks.items():
        if isinstance(options, ItemsFile):
            tasks.append(_items(name, options, files.paths[name], domains, maker))
        else:
            tasks.append(_label(name, options, files.paths[name], maker))
    facts = {"data": dataset.content_hash, "seed": seed, "max_seq_len": max_seq_len, "files": files.facts}
    return TaskSet(source, tuple(tasks), dataset.user_ids, dataset.name, facts, DESCRIPTION.format(seed=seed))


def _source(files: Folder, domains: Domains, users: Users, max_seq_len: int) -> tuple[Maker, SourceTask]:
    log, options = domains.dataset, files.source
    domain, notes = domains.take(options, files.paths[files.name])
    items = np.flatnonzero(domain & (domains.counts > 0))
    index = np.zeros(log.num_items + 1, dtype=np.int32)
    index[items] = np.arange(1, len(items) + 1)
    histories = Histories.of(log, index)
    events = histories.events(domain)
    strange = np.setdiff1d(events.classes, items)
    notes += counted(log.item_ids[strange], "left out of all histories, no user who trains met them", "items")
    maker = Maker(users, histories, max_seq_len)
    return maker, maker.source(files.name, events, items, f"next of {options.words}", notes)


def _items(name: str, options: ItemsFile, path: Path, domains: Domains, maker: Maker) -> Task:
    domain, notes = domains.take(options, path)
    events = maker.histories.events(domain)
    without = np.setdiff1d(np.flatnonzero(maker.users.part >= 0), events.users)
    notes += counted(maker.users.ids[without], "without a target")
    last = "" if options.per_user is None else f"the last {options.per_user} of "
    description = f"next of {options.words}; {last}all targets of a user train, the last one is asked"
    return maker.task(name, "items", events, description, notes, options.per_user)


def _label(name: str, options: LabelFile, path: Path, maker: Maker) -> Task:
    log = maker.histories.log
    place, names = labels(log, options, path)
    told, active = place >= 0, maker.users.part[1:] >= 0
    notes = counted(log.user_ids[1:][active & ~told], f"left out, nothing is known of their {options.column}")
    notes += counted(log.user_ids[1:][~active & told], "left out, the log has no event of them")
    users = 1 + np.flatnonzero(active & told)
    events = Events(users, maker.histories.lengths[users], place[users - 1], names)
    return maker.task(name, "label", events, f"{options.column} of a user, from all that he met in the source", notes)
