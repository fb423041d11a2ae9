"""The cells of a study: one trained model each, found again when the study is run again.

A system is tried with every one of its settings on the first seed, the best on validation is taken, and only that one
is trained with the other seeds and looked at on the test part. Cells are processes of their own, so several can be
trained at a time, one thread each; a cell cut off half-way goes on from its checkpoint.
"""

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from eval.flags import at_least
from llmrec import components, config, train
from llmrec.errors import ConfigError, DivergedError, RunError
from llmrec.runs import RunFolder, RunTable, read_json

STUDY = Path("runs/study")
SEEDS = (0, 1, 2)
Setting = dict[str, Any]
"""Options of a run, as ``key.path: value``; those not named are the system's own."""
GRID: list[Setting] = [
    {"training.batch_size": 32, "head.dropout": 0.2, "training.learning_rate": 0.001},
    {"training.batch_size": 32, "head.dropout": 0.4, "training.learning_rate": 0.002},
]
EPOCHS, PATIENCE = 100, 20
OVERRIDE = re.compile(r"[a-z]\w*(\.\w+)*=")


@dataclass(frozen=True)
class Cell:
    """One trained model: its validation nDCG@10, its run table of the test part and its folder, if it is ours."""

    setting: Setting
    seed: int
    validation: float
    table: RunTable
    folder: Path | None = None


Train = Callable[[Setting, int], Cell]


@dataclass(frozen=True)
class System:
    """What is trained, and the settings it is tried with."""

    train: Train
    settings: Sequence[Setting] = ({},)


@dataclass(frozen=True)
class Chosen:
    """What a system reached on validation with each setting, and its runs with the best."""

    tried: list[Cell]
    runs: list[Cell]
    diverged: list[Setting] = field(default_factory=list)
    """Settings with which the loss did not stay finite, so that there is nothing to choose; one that was chosen, with
    the ``seed`` that is missing among the runs."""

    @property
    def setting(self) -> Setting:
        """The best on validation."""
        return self.runs[0].setting

    def tables(self) -> list[RunTable]:
        """Run tables of the test part, one per seed."""
        return [cell.table for cell in self.runs]


def choose(systems: Mapping[str, System], jobs: int = 1, seeds: Sequence[int] = SEEDS) -> dict[str, Chosen]:
    """Trains every setting on the first seed, and each system's best on the others.

    Args:
        systems: by name.
        jobs: how many cells are trained at a time.
        seeds: the first tells the settings apart.

    Raises:
        DivergedError: every setting of a system diverged.
        RunError: a cell that failed otherwise.
    """
    with ThreadPoolExecutor(jobs) as pool:
        begun = {
            name: [pool.submit(system.train, setting, seeds[0]) for setting in system.settings]
            for name, system in systems.items()
        }
        tried = {name: _told_apart(systems[name].settings, cells) for name, cells in begun.items()}
        for name, (cells, diverged) in tried.items():
            if not cells:
                raise DivergedError(f"{name} diverged with each of its settings: {'; '.join(map(_words, diverged))}")
        best = {name: max(cells, key=lambda cell: cell.validation) for name, (cells, _) in tried.items()}
        more = {
            name: [pool.submit(system.train, best[name].setting, seed) for seed in seeds[1:]]
            for name, system in systems.items()
        }
        found = {}
        for name, (cells, diverged) in tried.items():
            runs, lost = _told_apart([best[name].setting | {"seed": seed} for seed in seeds[1:]], more[name])
            found[name] = Chosen(cells, [best[name], *runs], [*diverged, *lost])
        return found


def _told_apart(settings: Sequence[Setting], begun: Sequence[Future[Cell]]) -> tuple[list[Cell], list[Setting]]:
    """What was trained, and the settings that diverged."""
    done, diverged = [], []
    for setting, cell in zip(settings, begun, strict=True):
        try:
            done.append(cell.result())
        except DivergedError:
            diverged.append(setting)
    return done, diverged


def trained(name: str, *flags: str) -> Train:
    """Models of this package.

    Args:
        name: of the run folders, before setting and seed.
        flags: of ``llmrec/train.py``.

    Raises:
        ConfigError: by what it returns, for an option among the flags that the study sets itself.
    """

    def train_cell(setting: Setting, seed: int) -> Cell:
        refuse_own(flags, ("seed", "output", *setting))
        folder = STUDY / f"{name}{named(setting)}-s{seed}"
        overrides = [f"{key}={value}" for key, value in setting.items()]
        arguments = [*flags, *overrides, "--seed", str(seed), "--output", str(folder), "--resume"]
        if not RunFolder(folder).finished:
            run(arguments, folder)
        require_same(folder, arguments)
        metrics = read_json(folder / "metrics.json")
        return Cell(setting, seed, metrics["validation"]["nDCG@10"]["value"], RunTable.load(folder / "test"), folder)

    return train_cell


def refuse_own(words: Iterable[str], own: Iterable[str]) -> None:
    """Raises ConfigError for an option among ``key.path=value`` words that a study sets itself, whole or in part."""
    for word, option in product(words, own):
        if touches(word, option):
            raise ConfigError(f"{word}: this study has values of its own for {option}; leave it out")


def touches(word: str, option: str) -> bool:
    """Whether ``key.path=value`` says something of an option, of a part of it, or of all that it is a part of."""
    path, said, _ = word.partition("=")
    return bool(said) and (f"{path}.".startswith(f"{option}.") or f"{option}.".startswith(f"{path}."))


def on_ml_100k(model: str, *flags: str) -> System:
    """SASRec over item ids (``id``) or a language model on MovieLens-100K, with the grid that every system gets there.

    Args:
        model: as ``--model``.
        flags: more of ``llmrec/train.py``.
    """
    fixed = (f"training.patience={PATIENCE}", "--model", model, "--epochs", str(EPOCHS))
    return System(trained("-".join([model, *flags]), *fixed, *flags), GRID)


def require_same(folder: Path, arguments: list[str]) -> None:
    """A finished cell stands for these arguments only if it was trained with them.

    Raises:
        RunError: names the options that differ.
    """
    asked = train.options_of(arguments)[0].resolved().model_dump(mode="json")
    require_equal(str(folder), read_json(folder / "config.json"), asked, apart_from=("output",))


def require_equal(cell: str, saved: dict[str, Any], asked: dict[str, Any], apart_from: Sequence[str]) -> None:
    """Raises RunError unless a cell was trained with these options; those that came later had their defaults."""
    trained = config.completed(saved)
    both = dict.fromkeys([*asked, *trained])  # some are told only where they say something
    if different := [name for name in both if name not in apart_from and trained.get(name) != asked.get(name)]:
        pairs = "; ".join(f"{name}: {trained.get(name)} trained, {asked.get(name)} asked for" for name in different)
        raise RunError(f"{cell} was trained with other options ({pairs}); delete it to train it again")


def named(setting: Setting) -> str:
    """A setting as the end of a folder's name."""
    return "".join(f"-{key.rpartition('.')[2]}_{value}" for key, value in setting.items())


def baselines(chosen: Chosen, model: str = "text") -> dict[str, list[RunTable]]:
    """The training-free rows that stand beside a system's first run.

    Args:
        chosen: of a system of this package.
        model: whose vectors some rows compare, where the system has any.
    """
    folder = chosen.runs[0].folder
    assert folder is not None, "only runs of this package bring baselines"
    tables = {path.name: RunTable.load(path) for path in sorted((folder / "baselines").iterdir())}
    looks = of_vectors(tables)
    return {f"{name} {model}" if name in looks else name: [table] for name, table in tables.items()}


def of_vectors(baselines: Collection[str]) -> set[str]:
    """Those that compare vectors of a language model, and the mix, where there are vectors."""
    looks = {name for name in baselines if getattr(components.load("baselines", name), "needs", None) == "vectors"}
    return looks | ({"mix"} & set(baselines) if looks else set())


def tried_table(systems: Mapping[str, Chosen]) -> str:
    """Validation nDCG@10 of every cell on the first seed, as Markdown; the chosen one in bold."""
    lines = ["| model | setting | validation nDCG@10 |", "|---|---|---|"]
    for name, chosen in systems.items():
        for cell in chosen.tried:
            value = f"**{cell.validation:.4f}**" if cell.setting == chosen.setting else f"{cell.validation:.4f}"
            lines.append(f"| {name} | {_words(cell.setting)} | {value} |")
        lines += [f"| {name} | {_words(setting)} | diverged |" for setting in chosen.diverged]
    return "\n".join(lines) + "\n"


def _words(setting: Setting) -> str:
    return ", ".join(f"{key} {each}" for key, each in setting.items()) or "as its file says"


def parsed(parser: argparse.ArgumentParser, argv: list[str] | None) -> argparse.Namespace:
    """Arguments of a command whose ``key.path=value`` words may stand anywhere: a flag that takes several words before
    them would else take them too. What follows a flag of one word is its own."""
    words = sys.argv[1:] if argv is None else argv
    takes_one = {flag for action in parser._actions for flag in action.option_strings if action.nargs is None}
    pairs = list(zip(["", *words], words, strict=False))
    overrides = [before not in takes_one and bool(OVERRIDE.match(word)) for before, word in pairs]
    ordered = sorted(zip(overrides, words, strict=True), key=lambda pair: not pair[0])  # stable
    return parser.parse_args([word for _, word in ordered])


def add_data_dir(parser: argparse.ArgumentParser) -> None:
    """The flag of every study on data of one's own; its value are flags of ``llmrec/train.py``."""
    parser.add_argument(
        "--data-dir",
        type=lambda text: ["--data-dir", text],
        default=[],
        help="folder of the data, if they are not to be fetched",
    )


def add_seeds(parser: argparse.ArgumentParser) -> None:
    """The flag of every study over several seeds."""
    parser.add_argument("--seeds", type=at_least(1), default=len(SEEDS), help="how many (default: 3)")


def add_jobs(parser: argparse.ArgumentParser) -> None:
    """The flag of every study that trains."""
    parser.add_argument(
        "--jobs", type=at_least(1), default=1, help="cells trained at a time, one thread each (default: 1)"
    )


def run(arguments: list[str], folder: Path) -> None:
    """Trains a cell in a process of its own, whose log lies beside its folder.

    Raises:
        DivergedError: its loss did not stay finite.
        RunError: it failed otherwise; the message is the error that it ended with, or else the last line of its log.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    log = folder.with_name(folder.name + ".log")
    sys.stderr.write(f"{folder} (its log: {log})\n")  # print writes the end of a line apart: cells begin together
    with log.open("a", encoding="utf-8") as file:
        before = file.tell()
        command = [sys.executable, train.__file__, *arguments]
        done = subprocess.run(
            command, stdout=file, stderr=file, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
    if done.returncode:
        said = "\n" + (log.read_bytes()[before:].decode("utf-8").strip() or "nothing")
        last = said[said.rfind("\nerror: " if "\nerror: " in said else "\n") + 1 :]
        kind = DivergedError if done.returncode == DivergedError.status else RunError
        raise kind(f"{folder} ended with exit code {done.returncode} (its log: {log}): {last}")
