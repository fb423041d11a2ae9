"""What a network that is pre-trained on a source depends on: the name of its folder, and whether it fits a run."""

from pathlib import Path
from typing import Any

from llmrec import components, runs
from llmrec import config as configuration
from llmrec.config import RunConfig
from llmrec.course import Course
from llmrec.errors import ConfigError, RunError
from llmrec.protocol import digest
from llmrec.tasks.task_set import require_same_items
from llmrec.transfer import Method

_PARTS = {"head": "heads", "loss": "losses"}
_OPTIONS = ("embedding_dim", "max_seq_len", "head", "loss", "training", "filter", "seed")
_OF_THE_NETWORK = ("embedding_dim", "max_seq_len", "head", "tied", "objective")
"""What must be the same where a folder is given, but for dropout; how it was trained is its own affair."""
ITEMS = "items.json"
"""Ids of the source's items, and a digest of what pre-training saw and was judged by."""


def folder_name(config: RunConfig, method: Method, course: Course) -> str:
    """The same for all runs that would pre-train the same network."""
    return f"source-{digest({**_facts(config, method), 'source': course.source_hash})}"


def shallower(config: RunConfig) -> RunConfig:
    """The options of the network of half as many blocks, which may itself begin with a shallower one.

    Raises:
        ConfigError: a head without blocks, or one whose blocks cannot be halved.
    """
    assert config.transfer is not None
    blocks, left = config.head.get("num_layers"), config.transfer.doublings - 1
    if blocks is None or blocks % 2:
        raise ConfigError(
            f"transfer.stacking={config.transfer.stacking}: head.num_layers={blocks} of {config.head['name']} cannot "
            f"be halved; with transfer.doublings={config.transfer.doublings} it must be a multiple of "
            f"{2**config.transfer.doublings}"
        )
    own = {"doublings": left} if left else {"stacking": "none", "doublings": 1}
    transfer = config.transfer.model_copy(update=own)
    return config.model_copy(update={"head": config.head | {"num_layers": blocks // 2}, "transfer": transfer})


def chain(config: RunConfig, method: Method, course: Course) -> set[str]:
    """The folders of the network and of the shallower ones that it begins with."""
    assert config.transfer is not None
    name = folder_name(config, method, course)
    return {name} | (set() if config.transfer.stacking == "none" else chain(shallower(config), method, course))


def save_source(folder: Path, course: Course) -> None:
    """Writes down what the network was pre-trained on."""
    runs.write_json(folder / ITEMS, {"items": list(course.source.classes), "source": course.source_hash})


def require_fitting(folder: Path, config: RunConfig, method: Method, course: Course) -> None:
    """Refuses a given network that is another one than this run would begin with, or that has met its test users.

    Raises:
        RunError: no such network, unfinished, of other items, users or options; the message names them.
    """
    place = runs.RunFolder(folder)
    if place.finished and not (folder / ITEMS).is_file():
        raise RunError(
            f"transfer.pretrained={folder} is a run of another kind; a network that is pre-trained on a source lies in "
            "a folder source-..., which a run with transfer makes beside its own"
        )
    place.require_finished("tasks")
    found = runs.read_json(folder / ITEMS)
    require_same_items(found["items"], course.source.classes)
    saved = configuration.parse(runs.read_json(folder / "config.json")).resolved()
    assert saved.transfer is not None
    then = _facts(saved, components.create("transfer", saved.transfer.method))
    now = _facts(config, method)
    for facts in (then, now):
        facts["head"] = {name: value for name, value in facts["head"].items() if name != "dropout"}
    told = [
        f"{name}: {then.get(name)} there, {now.get(name)} here"
        for name in _OF_THE_NETWORK
        if then.get(name) != now.get(name)
    ]
    if "source" not in found:
        told.append("source: it does not say which users it has met")
    elif found["source"] != course.source_hash:
        told.append("source: other users or histories there, so that it may have met the users that test here")
    if told:
        raise RunError(
            f"transfer.pretrained={folder} is another network ({'; '.join(told)}); leave it out to train one"
        )


def _facts(config: RunConfig, method: Method) -> dict[str, Any]:
    """Without what has its default, lest an option that comes later lead to another folder."""
    assert config.transfer is not None
    facts = config.model_dump(mode="json", include=set(_OPTIONS), exclude_defaults=True)
    facts |= {field: components.brief(kind, getattr(config, field)) for field, kind in _PARTS.items()}
    facts |= {"tied": config.transfer.tied, **method.origin}
    stacked = {"stacking": [config.transfer.stacking, config.transfer.doublings]}
    return facts | ({} if config.transfer.stacking == "none" else stacked)
