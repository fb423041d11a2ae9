"""What ``eval.transfer --source`` refuses before anything is trained: a slip is found now and not after hours."""

import time
from collections.abc import Callable, Sequence
from itertools import product

from eval import cells
from eval.domain_cells import Study
from eval.domain_methods import FROM_NOTHING, settings
from llmrec import building, filtering, merged_model, preparation
from llmrec.config import RunConfig
from llmrec.console import Console
from llmrec.errors import ConfigError, DataError, RunError
from llmrec.interactions import Dataset

Load = Callable[..., Dataset]
"""As :func:`llmrec.sources.load_dataset`; the targets of a command have one source, and its sizes one target."""
_RATES = "all methods are tried with the same rates; leave it out"
OWN = {
    "data": "take --source and --target",
    "data_dir": "take --data-dir",
    "model": "take --model",
    "head.name": "take --head",
    "tuning": "take --methods and --source-tuning",
    "seed": "take --seeds",
    "output": "runs lie in runs/study; leave it out",
    "training.init_from": "take --source",
    "training.learns": "take --methods",
    "training.users": "take --users",
    "training.epochs": "take --epochs and --source-epochs",
    "training.learning_rate": _RATES,
}
"""Options that the study sets itself, so that what is said of one would not reach all of its runs."""


def check_overrides(overrides: Sequence[str]) -> None:
    """Raises ConfigError for an option that would not reach every run."""
    for word, (option, told) in product(overrides, OWN.items()):
        if cells.touches(word, option):
            raise ConfigError(f"{word}: this study sets {option} itself; {told}")


def check(study: Study, methods: Sequence[str], seeds: Sequence[int], load: Load) -> None:
    """Refuses what could not be trained.

    Raises:
        ConfigError: a method, part, option or model that does not exist, a source that no other run can begin with, or
            more users than there are.
        DataError: data that are not there, where anything is to be trained on them.
        RunError: cells are kept of other data than the target's, or with other options.
    """
    merged_model.require_merged(study.source_tuning, "--source-tuning")
    source, lacking = study.source_options(), dict[str, RunConfig]()
    preparation.check(source)
    for method in methods:
        tried = list(settings(method))
        cells.refuse_own(study.recipe.overrides, [key for setting in tried for key in setting])
        for setting in tried:
            target = study.options(method, setting, seeds[0])
            preparation.check(target)
        if _lacks(study, method, tried, seeds):
            lacking[method] = target
    _require_same_data(study, target, load)
    if not lacking or time.monotonic() >= study.stop:
        return
    building.find_model(source)
    begun = [source] if lacking.keys() - FROM_NOTHING.keys() and not study.has_sources(seeds) else []
    for options in (*begun, next(iter(lacking.values()))):
        preparation.cut(options, load(options.data, options.data_dir), Console(quiet=True))


def _lacks(study: Study, method: str, tried: Sequence[cells.Setting], seeds: Sequence[int]) -> bool:
    """Whether a setting was not tried with the first seed, or none of them was with another."""
    first, *rest = ([study.has(method, setting, seed) for setting in tried] for seed in seeds)
    return not all(first) or not all(map(any, rest))


def _require_same_data(study: Study, options: RunConfig, load: Load) -> None:
    """Raises RunError where kept cells are of other data than those of a run on the target, if these are here."""
    if not study.kept.names():
        return
    try:
        data = load(options.data, options.data_dir)
    except (DataError, ConfigError):
        return
    then = study.kept.protocol().data_hash
    found = filtering.apply(data, options.filter).dataset.content_hash
    if found != then:
        raise RunError(
            f"{study.kept.folder} holds cells of other data than {study.target} is now ({then[:8]} then, "
            f"{found[:8]} now); delete it to measure all methods again"
        )
