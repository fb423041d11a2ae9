"""The cells of ``eval.transfer --benchmark``: a data set, a system and a seed each, after the runs on sources."""

import json
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

import yaml

from eval import cells
from eval.paper_files import Benchmark, Options
from llmrec import preparation, starting, train
from llmrec.errors import DataError
from llmrec.runs import RunFolder, write_text
from llmrec.sources import load_dataset

Cells = dict[str, list[cells.Cell]]
"""By system, one for each seed."""
_OF_ORIGIN = ("model", "features", "images")
"""Options that the run on the source may have replaced by models of its own."""


@dataclass(frozen=True)
class Study:
    """A benchmark on the data of a folder.

    ``data_dir`` holds a folder for each data set, or the files of all; ``more`` are further flags of every run; from
    ``stop`` on, in seconds of ``time.monotonic``, no cell is begun.
    """

    benchmark: Benchmark
    data_dir: Path
    more: tuple[str, ...] = ()
    stop: float = float("inf")
    _making: Lock = field(default_factory=Lock)

    def check(self, wanted: Mapping[str, Sequence[str]]) -> None:
        """Refuses options that no run could have, before anything is trained.

        Args:
            wanted: systems by target.

        Raises:
            ConfigError: a part or option that does not exist.
        """
        for target, systems in wanted.items():
            for system in systems:
                preparation.check(train.options_of(self.flags(target, system, 0))[0].resolved())

    def absent(self, wanted: Mapping[str, Sequence[str]]) -> dict[str, str]:
        """Targets whose data, or those of the source that their systems go on from, cannot be read, and why."""
        faults = {target: self._fault(target) for target in wanted}
        for target, systems in wanted.items():
            source = self.benchmark.source_of(target)
            if source and any(self.benchmark.systems[name].pretrained for name in systems):
                faults[source] = faults[source] if source in faults else self._fault(source)
                faults[target] = faults[target] or faults[source]
        return {target: fault for target in wanted if (fault := faults[target])}

    def _fault(self, data: str) -> str:
        try:
            load_dataset(*self._place(data))
        except DataError as error:
            return f"{data}: {error}".splitlines()[0]
        return ""

    def train(self, wanted: Mapping[str, Sequence[str]], seeds: Sequence[int], jobs: int) -> dict[str, Cells]:
        """Cells by target; those that are too late are left out, with all seeds of their system.

        Args:
            wanted: systems by target.
            seeds: of the runs, and of those on the source that they go on from.
            jobs: how many are trained at a time.
        """
        with ThreadPoolExecutor(jobs) as pool:
            begun = {
                target: {name: [pool.submit(self.cell, target, name, seed) for seed in seeds] for name in systems}
                for target, systems in wanted.items()
            }
            done = {
                target: {name: [each.result() for each in runs] for name, runs in systems.items()}
                for target, systems in begun.items()
            }
        return {
            target: {name: [cell for cell in runs if cell] for name, runs in systems.items() if all(runs)}
            for target, systems in done.items()
        }

    def cell(self, target: str, system: str, seed: int) -> cells.Cell | None:
        """A cell found or trained, that of its source before it; None: too late."""
        name = f"{self.benchmark.name}-{target}-{system}"
        if not RunFolder(cells.STUDY / f"{name}-s{seed}").finished and time.monotonic() >= self.stop:
            return None
        flags = self.flags(target, system, seed)
        if twin := self.benchmark.systems[system].pretrained:
            self.begin(str(self.benchmark.source_of(target)), twin, seed)
            flags += _learned_models(flags)
        return cells.trained(name, *flags)({}, seed)

    def begin(self, source: str, system: str, seed: int) -> None:
        """Sees to it that there is a run on a source."""
        flags = [*self._data(source), *_overrides(self.benchmark.options(system, None)), *self.more]
        with self._making:  # cells that begin at the same time ask for the same one
            cells.trained(f"{self.benchmark.name}-{source}-{system}", *flags)({}, seed)

    def flags(self, target: str, system: str, seed: int) -> list[str]:
        """What makes a run one of a system on a target."""
        options = _overrides(self.benchmark.options(system, target))
        twin = self.benchmark.systems[system].pretrained
        source = f"{self.benchmark.name}-{self.benchmark.source_of(target)}-{twin}-s{seed}"
        begins = [f"training.init_from={cells.STUDY / source}"] if twin else []
        return [*self._data(target), *options, *self.more, *begins]

    def _data(self, data: str) -> list[str]:
        name, folder = self._place(data)
        return ["--data", name, "--data-dir", str(folder)]

    def _place(self, data: str) -> tuple[str, Path]:
        """How a data set is called, and where it is; where the benchmark says how it is read, a file that says so."""
        if self.benchmark.files is None:
            return data, self.data_dir
        folder = self.data_dir / data if (self.data_dir / data).is_dir() else self.data_dir
        file = cells.STUDY / f"{self.benchmark.name}-{data}.yaml"
        text = yaml.safe_dump({"name": data, "source": self.benchmark.files})
        file.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            if file.read_text(encoding="utf-8") == text:
                return str(file), folder
        write_text(file, text)
        return str(file), folder


def _learned_models(flags: list[str]) -> list[str]:
    """The models that the run on the source has made of its own, where this one reads items with them."""
    asked = train.options_of(flags)[0].resolved()
    before, after = (each.model_dump(mode="json") for each in (asked, starting.over_learned_model(asked)))
    return _overrides({name: after[name] for name in _OF_ORIGIN if after.get(name) != before.get(name)})


def _overrides(options: Options) -> list[str]:
    return [f"{name}={json.dumps(value)}" for name, value in options.items()]
