"""The cells of ``eval.transfer``: a method and a seed each, in the order in which they may be trained.

Finished ones are kept in the repository: ``NAME.json`` with the content of ``results.json`` and the options, written
last, and a folder for each task as :mod:`eval.kept` describes it.
"""

import json
import re
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from eval import cells, transfer_free
from eval.kept import OF_THE_MACHINE, Kept
from llmrec import components, config, evaluation, pretrained, task_results, train
from llmrec.config import RunConfig
from llmrec.course import Course
from llmrec.errors import ConfigError, DivergedError, RunError
from llmrec.protocol import Protocol
from llmrec.runs import RunFolder, RunTable, provenance, read_json, write_json
from llmrec.task_results import SELECTION
from llmrec.tasks import Task
from llmrec.transfer import Method

STUDY = Path("runs/transfer")
KEPT = Path("eval/results/transfer")


@dataclass(frozen=True)
class Chosen:
    """A method with its options and those of its runs, as it was asked for."""

    label: str
    specification: dict[str, Any]
    overrides: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> "Chosen":
        """Reads ``NAME`` or ``NAME:option=value:...``; an option with a dot is one of the run.

        Raises:
            ConfigError: a method or an option that does not exist; the message names the nearest.
        """
        name, *options = text.split(":")
        overrides = [option for option in options if "." in option.partition("=")[0]]
        own = config.read_overrides([option for option in options if option not in overrides])
        return cls(text, components.resolve("transfer", {**own, "name": name}), tuple(overrides))

    @cached_property
    def method(self) -> Method:
        """Made from the options."""
        made: Method = components.create("transfer", self.specification)
        return made

    @property
    def folder(self) -> str:
        """The beginning of its run folders' names."""
        return re.sub(r"[^\w.-]+", "_", self.label)


@dataclass(frozen=True)
class Cell:
    """A finished cell: the content of its ``results.json``, and its run table of each task by name."""

    seed: int
    results: dict[str, Any]
    tables: dict[str, RunTable]
    source_seconds: float
    """Of the pre-training that it begins with, which other cells share."""
    source_test: dict[str, Any] | None
    """Metrics of the pre-trained network on its own next items, where it tells them and that was kept."""

    @classmethod
    def load(cls, folder: Path, name: str) -> "Cell":
        """Reads a kept one."""
        facts = read_json(folder / f"{name}.json")
        names = [task["name"] for task in facts["results"]["tasks"]]
        tables = {task: Kept(folder / task).load(name)[0].table for task in names}
        return cls(facts["seed"], facts["results"], tables, facts["source_seconds"], facts.get("source_test"))

    def task(self, name: str) -> dict[str, Any]:
        """What ``results.json`` tells of a task."""
        found: dict[str, Any] = next(task for task in self.results["tasks"] if task["name"] == name)
        return found


class Study:
    """Methods and seeds over one folder of tasks.

    Args:
        flags: of ``llmrec/train.py``: data, trunk, tasks.
        methods: none twice.
        seeds: of each.
        variant: tells cells of these flags from others over the same data; empty for the usual ones.
    """

    def __init__(self, flags: list[str], methods: Sequence[Chosen], seeds: Sequence[int], variant: str = "") -> None:
        self.flags, self.methods, self.seeds, self.variant = flags, methods, seeds, variant
        self.diverged: list[str] = []
        """Why there is nothing of cells whose loss did not stay finite."""
        self.options: RunConfig = train.options_of(self._flags(replace(methods[0], overrides=())))[0].resolved()

    @cached_property
    def course(self) -> Course:
        """What every cell learns."""
        assert self.options.transfer is not None
        return train.course(self.options).ordered(self.options.transfer.order)

    def train(self, jobs: int, stop: float) -> None:
        """Trains what is missing, unless it is too late to begin.

        Args:
            jobs: how many cells at a time.
            stop: when no other cell is begun, in seconds of ``time.monotonic``.

        Raises:
            ConfigError: a method that leaves tasks out.
            RunError: a cell that failed, or a finished one of other options. One that diverges stands in ``diverged``,
                and the others go on.
        """
        for chosen in self.methods:
            self._require_all_tasks(chosen)

        def one(cell: tuple[Chosen, int]) -> None:
            folder, arguments = self.folder(*cell), self._arguments(*cell)
            if self._has(*cell):
                asked = train.options_of(arguments)[0].resolved().model_dump(mode="json")
                kept = read_json(self._kept(*cell))["config"]
                cells.require_equal(folder.name, kept, asked, apart_from=OF_THE_MACHINE)
                return
            if RunFolder(folder).finished:
                cells.require_same(folder, arguments)
            elif time.monotonic() < stop:
                try:
                    cells.run([*arguments, "--resume"], folder)
                except DivergedError as error:
                    self.diverged.append(str(error))
                    return
            else:
                return
            self._keep(*cell)

        for wave in self._waves():
            with ThreadPoolExecutor(jobs) as pool:
                list(pool.map(one, wave))

    def found(self) -> dict[str, list[Cell]]:
        """Finished cells by label; a method without one is left out."""
        have = {
            chosen.label: [
                Cell.load(self.kept, self.folder(chosen, seed).name) for seed in self.seeds if self._has(chosen, seed)
            ]
            for chosen in self.methods
        }
        return {label: each for label, each in have.items() if each}

    def missing(self) -> list[str]:
        """Cells that are not there."""
        return [
            self.folder(each, seed).name for each in self.methods for seed in self.seeds if not self._has(each, seed)
        ]

    def require_course(self, protocols: Mapping[str, Protocol]) -> None:
        """Raises RunError where a cell was measured with other data or task files than the study has."""
        if old := [name for name, each in protocols.items() if each.data_hash != self.course.hash]:
            raise RunError(
                f"{len(old)} finished cells are of other data or task files, such as {old[0]}; restore these, or "
                f"delete {self.kept} and {STUDY} to train them again"
            )

    def free(self, task: Task, protocol: Protocol) -> dict[str, RunTable]:
        """What needs no network, by name; of several forms of one the best in validation.

        Args:
            task: that is answered.
            protocol: of the cells' tables.
        """
        shared = protocol.model_dump(exclude={"targets", "mask_history", "k", "cases"})
        metric = evaluation_name(SELECTION[task.kind])

        def measured(answers: Any, part: str, name: str) -> RunTable:
            facts = provenance(baseline={"name": name})
            return task_results.measure(answers, task, part, self.course.user_ids, shared, facts)

        def validated(answers: Any) -> float:
            values = evaluation.mean_over_runs([measured(answers, "validation", "")], metric)["value"]
            return float(values.to_numpy().mean())

        found = transfer_free.answers(task, len(self.course.source.classes))
        chosen = {name: max(forms, key=validated) if forms[1:] else forms[0] for name, forms in found}
        return {name: measured(answers, "test", name) for name, answers in chosen.items()}

    def folder(self, chosen: Chosen, seed: int) -> Path:
        """Of a cell."""
        return STUDY / self.name / f"{chosen.folder}-s{seed}"

    @property
    def kept(self) -> Path:
        """Where finished cells are kept."""
        return KEPT / self.name

    @property
    def name(self) -> str:
        """Of the folders of its cells."""
        return "-".join([Path(self.options.data).stem, *([self.variant] if self.variant else [])])

    def _kept(self, chosen: Chosen, seed: int) -> Path:
        return self.kept / f"{self.folder(chosen, seed).name}.json"

    def _has(self, chosen: Chosen, seed: int) -> bool:
        return self._kept(chosen, seed).is_file()

    def _keep(self, chosen: Chosen, seed: int) -> None:
        """Copies what a finished run came to."""
        folder = self.folder(chosen, seed)
        config, results = (read_json(folder / f"{name}.json") for name in ("config", "results"))
        for place in sorted(each.parent for each in (folder / "tasks").glob("*/result.json")):
            task = self.kept / read_json(place / "result.json")["name"]
            Kept(task).save(folder.name, RunTable.load(place / "test"), seed=seed)
        source = read_json(Path(results["source"]) / "metrics.json") if results["source"] else {"seconds": 0.0}
        facts = {
            "config": {key: value for key, value in config.items() if key not in OF_THE_MACHINE},
            "seed": seed,
            "source_seconds": source["seconds"],
            "source_test": source.get("test"),
            "results": results,
        }
        write_json(self._kept(chosen, seed), facts)

    def _require_all_tasks(self, chosen: Chosen) -> None:
        learned = train.options_of(self._flags(chosen))[0].transfer
        assert learned is not None
        left = [task.name for task in self.course.tasks if task.name not in learned.order]
        if learned.order and left:
            raise ConfigError(
                f"--methods {chosen.label}: leaves out {', '.join(left)}, and a study asks every method for "
                "every task; name all of them"
            )

    def _waves(self) -> list[list[tuple[Chosen, int]]]:
        """Seed by seed, and of a seed so that no pre-trained network is made by two cells at the same time."""
        waves: list[list[Chosen]] = []
        making: list[set[str]] = []
        for chosen in self.methods:
            options = train.options_of(self._flags(chosen))[0].resolved()
            needed = set() if chosen.method.begins == "new" else pretrained.chain(options, chosen.method, self.course)
            place = 0
            while place < len(waves) and needed & making[place]:
                needed -= making[place]
                place += 1
            if place == len(waves):
                waves.append([])
                making.append(set())
            waves[place].append(chosen)
            making[place] |= needed
        return [[(chosen, seed) for chosen in wave] for seed in self.seeds for wave in waves]

    def _flags(self, chosen: Chosen) -> list[str]:
        return [*self.flags, f"transfer.method={json.dumps(chosen.specification)}", *chosen.overrides]

    def _arguments(self, chosen: Chosen, seed: int) -> list[str]:
        return [*self._flags(chosen), "--seed", str(seed), "--output", str(self.folder(chosen, seed))]


def evaluation_name(metric: str) -> str:
    """A metric of tasks as run tables know it: accuracy is whether the class with the highest score is right."""
    return {"accuracy": "HR@1"}.get(metric, metric)
