"""The cells of ``eval.transfer --benchmark``: a data set, a system and a seed each, after the runs on sources."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from threading import Lock

import yaml

from eval import cells
from eval.paper_files import Benchmark, Options, merged
from llmrec import components, covers, preparation, starting, train
from llmrec.errors import DataError, LlmrecError, RunError
from llmrec.interactions import Dataset
from llmrec.runs import RunFolder, write_text
from llmrec.sources import load_dataset

Cells = dict[str, list[cells.Cell]]
"""By system, one for each seed."""
Missing = dict[str, str]
"""By system that has no cells, why."""
_OF_ORIGIN = ("model", "features", "images")
"""Options that the run on the source may have replaced by models of its own."""
_LATE = "no time was left for it"


@dataclass(frozen=True)
class Study:
    """A benchmark on the data of a folder.

    ``data_dir`` holds a folder for each data set, or the files of all; ``more`` are further flags of every run; from
    ``stop`` on, in seconds of ``time.monotonic``, no cell is begun; ``files`` are further options of how the data are
    read.
    """

    benchmark: Benchmark
    data_dir: Path
    more: tuple[str, ...] = ()
    stop: float = float("inf")
    files: Options = field(default_factory=dict)
    _making: Lock = field(default_factory=Lock)
    failed: dict[str, str] = field(default_factory=dict)
    """Runs that ended with an error, and with which."""

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

    def lacking(self, wanted: Mapping[str, Sequence[str]]) -> dict[str, Missing]:
        """Why systems cannot be run, by target: data or covers that cannot be read, there or on the source.

        Args:
            wanted: systems by target.

        Raises:
            ConfigError: no way to read files is like that.
        """
        read = cache(self._read)

        @cache  # a folder of a hundred thousand covers is looked through once, whatever reads it
        def fault(data: str, seen: tuple[Path | None, covers.NamedBy] | None) -> str:
            found = read(data)
            why = found if isinstance(found, str) else seen and _fault_of_covers(found, *seen)
            first, *rest = f"{data}: {why}".splitlines()
            name, folder = self._place(data)
            more = f" 'llmrec data check {name} --data-dir {folder}' tells the rest." if rest else ""
            return first + more if why else ""

        return {
            target: {name: why for name in systems if (why := self._lack(target, name, fault))}
            for target, systems in wanted.items()
        }

    def _read(self, data: str) -> Dataset | str:
        """A data set, or why there is none."""
        try:
            return load_dataset(*self._place(data))
        except DataError as error:
            return str(error)

    def _lack(self, target: str, system: str, fault: Callable[..., str]) -> str:
        options = train.options_of(self.flags(target, system, 0))[0]
        images = None if options.uses_text else options.images  # a mixture reads what there is
        seen = (images.folder, images.named_by) if images else None
        source = self.benchmark.source_of(target) if self.benchmark.systems[system].pretrained else None
        return fault(target, seen) or (fault(source, seen) if source else "")

    def train(
        self, wanted: Mapping[str, Sequence[str]], seeds: Sequence[int], jobs: int
    ) -> dict[str, tuple[Cells, Missing]]:
        """By target the cells, and of systems that lack one, too late or with an error, why; these lack all seeds.

        Args:
            wanted: systems by target.
            seeds: of the runs, and of those on the source that they go on from.
            jobs: how many are trained at a time.
        """
        with ThreadPoolExecutor(jobs) as pool:
            begun = {
                target: {name: [pool.submit(self._tried, target, name, seed) for seed in seeds] for name in systems}
                for target, systems in wanted.items()
            }
            done = {
                target: {name: [each.result() for each in runs] for name, runs in systems.items()}
                for target, systems in begun.items()
            }
        return {target: _told_apart(systems) for target, systems in done.items()}

    def _tried(self, target: str, system: str, seed: int) -> cells.Cell | str:
        """A cell, or why there is none: the others go on."""
        try:
            return self.cell(target, system, seed) or _LATE
        except LlmrecError as error:
            self.failed[f"{self.benchmark.name}-{target}-{system}-s{seed}"] = str(error)
            return str(error)

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
        name = f"{self.benchmark.name}-{source}-{system}"
        run = f"{name}-s{seed}"
        with self._making:  # cells that begin at the same time ask for the same one
            if run in self.failed:  # and so do those of other targets
                raise RunError(self.failed[run])
            try:
                cells.trained(name, *flags)({}, seed)
            except LlmrecError as error:
                self.failed[run] = str(error)
                raise

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
        source = merged(self.benchmark.files or {}, self.files)
        if not source:
            return data, self.data_dir
        components.resolve("sources", source)
        folder = self.data_dir / data if (self.data_dir / data).is_dir() else self.data_dir
        # What is read in another way has another name, so that no cell of the one stands for the other.
        file = cells.STUDY / f"{self.benchmark.name}-{data}{cells.named(self.files)}.yaml"
        text = yaml.safe_dump({"name": data, "source": source})
        file.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            if file.read_text(encoding="utf-8") == text:
                return str(file), folder
        write_text(file, text)
        return str(file), folder


def _fault_of_covers(data: Dataset, folder: Path | None, named_by: covers.NamedBy) -> str:
    folder = folder or data.images
    if folder is None:
        return "there is no folder of covers"
    try:
        covers.find(data.item_ids.tolist(), folder, named_by)
    except DataError as error:
        return str(error)
    return ""


def _told_apart(systems: Mapping[str, Sequence[cells.Cell | str]]) -> tuple[Cells, Missing]:
    found: Cells = {}
    missing: Missing = {}
    for name, runs in systems.items():
        done = [each for each in runs if isinstance(each, cells.Cell)]
        reasons = [each for each in runs if isinstance(each, str)]
        if reasons:
            missing[name] = "; ".join(dict.fromkeys(reasons))
        else:
            found[name] = done
    return found, missing


def _learned_models(flags: list[str]) -> list[str]:
    """The models that the run on the source has made of its own, where this one reads items with them."""
    asked = train.options_of(flags)[0].resolved()
    before, after = (each.model_dump(mode="json") for each in (asked, starting.over_learned_model(asked)))
    return _overrides({name: after[name] for name in _OF_ORIGIN if after.get(name) != before.get(name)})


def _overrides(options: Options) -> list[str]:
    return [f"{name}={json.dumps(value)}" for name, value in options.items()]
