"""What ``eval.transfer --source`` refuses before anything is trained: a slip is found now and not after hours."""

import time
from collections.abc import Sequence

from eval.domain_cells import Study
from eval.domain_methods import settings
from llmrec import building, filtering, merged_model, preparation
from llmrec.config import RunConfig
from llmrec.console import Console
from llmrec.errors import ConfigError, DataError, RunError
from llmrec.sources import load_dataset

SAID_ELSEWHERE = {
    "data": "--source and --target",
    "data_dir": "--data-dir",
    "model": "--model",
    "head": "--head",
    "tuning": "--methods and --source-tuning",
    "seed": "--seeds",
    "output": "--output for the tables; runs lie in runs/study",
    "training.init_from": "--source",
    "training.learns": "--methods",
    "training.users": "--users",
    "training.epochs": "--epochs and --source-epochs",
    "training.learning_rate": "nothing, for all methods are tried with the same rates",
    "tuning.learning_rate": "nothing, for all methods are tried with the same rates",
}
"""Options that the study has of its own, so that what is said of one would not reach all of its runs."""


def check_overrides(overrides: Sequence[str]) -> None:
    """Raises ConfigError for an option that would not reach every run."""
    for word in overrides:
        if told := SAID_ELSEWHERE.get(word.partition("=")[0]):
            raise ConfigError(f"{word}: this study sets that itself; take {told}")


def check(study: Study, methods: Sequence[str]) -> None:
    """Refuses what could not be trained.

    Raises:
        ConfigError: a method, part, option or model that does not exist, a source that no other run can begin with, or
            more users than there are.
        DataError: data that are not there, where anything is to be trained.
        RunError: cells are kept of other data than the target's, or with other options.
    """
    merged_model.require_merged(study.source_tuning, "--source-tuning")
    first, wanted = study.source_options(), list[RunConfig]()
    preparation.check(first)
    for method in methods:
        for setting in settings(method):
            options = study.options(method, setting, 0)
            preparation.check(options)
            if not study.kept.has(study.name(method, setting, 0), options.model_dump(mode="json")):
                wanted.append(options)
    _require_same_data(study)
    if wanted and time.monotonic() < study.stop:
        building.find_model(first)
        for options in (first, wanted[0]):
            preparation.cut(options, load_dataset(options.data, options.data_dir), Console(quiet=True))


def _require_same_data(study: Study) -> None:
    """Raises RunError where kept cells are of other data than those of a run on the target, if these are here."""
    if not study.kept.names():
        return
    options = study.options("scratch", next(settings("scratch")), 0)
    try:
        data = load_dataset(options.data, options.data_dir)
    except DataError:
        return
    then = study.kept.protocol().data_hash
    found = filtering.apply(data, options.filter).dataset.content_hash
    if found != then:
        raise RunError(
            f"{study.kept.folder} holds cells of other data than {study.target} is now ({then[:8]} then, "
            f"{found[:8]} now); delete it to measure all methods again"
        )
