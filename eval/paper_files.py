"""Benchmarks of papers as files below ``eval/benchmarks/``: data, protocol, settings, systems and published figures.

All options are those of ``llmrec/train.py``. A system takes, later ones winning, the options of ``protocol``,
``settings``, what it reads of items, the data set, and its own.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator, model_validator

from llmrec import components
from llmrec.errors import ConfigError, nearest

FOLDER = Path(__file__).parent / "benchmarks"
Options = dict[str, Any]
COMMON = (
    "Tables of embeddings, biases and norms have no weight decay.",
    "Gradients are cut to a norm of 1, those of all weights together.",
    "A pre-trained model learns without its dropout, and its batch norms keep their statistics.",
    "The vectors of titles and covers have a dropout of 0.1 before their projection.",
)
"""Departures of all the files."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class System(BaseModel):
    """A row of the tables; what stands beside the two fields are options of its runs."""

    model_config = ConfigDict(extra="allow", frozen=True)
    reads: tuple[str, ...] = ()
    """What of items, by the names of the file's ``items``; empty: their ids."""
    pretrained: str | None = None
    """The system whose run on the source it goes on from; it has that one's options and its own."""

    @field_validator("reads", mode="before")
    @classmethod
    def _one(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @property
    def options(self) -> Options:
        """Its own."""
        return dict(self.model_extra or {})


class Target(_Part):
    """A data set that systems are compared on."""

    source: str | None = None
    """Where what goes on has begun; null: the file's ``source``."""
    systems: tuple[str, ...] = ()
    """Those that are run there; empty: all."""
    settings: Options = {}


class Published(_Part):
    """The paper's own figures, as they are printed there."""

    unit: Literal["percent", "fraction"]
    metrics: tuple[str, ...]
    """What the figures of a system are, in this order; fewer figures are the first of them."""
    figures: dict[str, dict[str, tuple[float, ...] | dict[str, float]]] = {}
    """By data set and system; where it is not the first ones that are printed, by metric."""

    @model_validator(mode="after")
    def _of_the_metrics(self) -> "Published":
        for target, systems in self.figures.items():
            for system, figures in systems.items():
                named = figures if isinstance(figures, dict) else {}
                if unknown := [metric for metric in named if metric not in self.metrics]:
                    have = ", ".join(self.metrics)
                    raise ValueError(f"figures.{target}.{system}: {unknown[0]!r} is none of the metrics ({have})")
                if len(figures) > len(self.metrics):
                    raise ValueError(f"figures.{target}.{system}: {len(figures)} figures, {len(self.metrics)} metrics")
        return self

    def fractions(self, target: str) -> dict[str, dict[str, float]]:
        """Of a data set, by system and metric, as fractions."""
        by = 100 if self.unit == "percent" else 1
        printed = {
            system: figures if isinstance(figures, dict) else dict(zip(self.metrics, figures, strict=False))
            for system, figures in self.figures.get(target, {}).items()
        }
        return {system: {metric: each / by for metric, each in found.items()} for system, found in printed.items()}


class Miniature(_Part):
    """What makes runs small: on data of ``python -m tests.miniature`` a minute is enough."""

    files: Options | None = None
    source: str | None = None
    targets: dict[str, Target] = {}
    """In the place of the file's, where there are any."""
    settings: Options = {}
    items: dict[str, Options] = {}
    """In the place of the file's, by name."""
    systems: dict[str, Options]
    """Those that are run, with further options."""


class Benchmark(_Part):
    """One paper's comparison."""

    name: str
    paper: str
    protocol: Options
    """What decides how is measured: ``split``, ``filter`` and ``protocol`` of a run."""
    settings: Options
    files: Options | None = None
    """Source of ``llmrec/sources`` that reads the data, with its options; null: found by what the folder holds."""
    source: str | None = None
    items: dict[str, Options] = {}
    systems: dict[str, System]
    targets: dict[str, Target]
    published: Published
    departures: tuple[str, ...] = ()
    """What is done otherwise than in this paper, a sentence each; see also :data:`COMMON`."""
    miniature: Miniature

    def fault(self) -> str:
        """The first name that the file uses and does not have, in words; empty: none."""
        uses: list[tuple[str, Iterable[str], Mapping[str, Any]]]
        uses = [(f"systems.{name}.reads", each.reads, self.items) for name, each in self.systems.items()]
        uses += [
            (f"systems.{name}.pretrained", _some(each.pretrained), self.systems) for name, each in self.systems.items()
        ]
        targets = [*self.targets.items(), *self.miniature.targets.items()]
        uses += [(f"targets.{name}.systems", each.systems, self.systems) for name, each in targets]
        uses += [("miniature.systems", self.miniature.systems, self.systems)]
        uses += [("published.figures", self.published.figures, self.targets)]
        uses += [(f"published.figures.{name}", each, self.systems) for name, each in self.published.figures.items()]
        wrong = [(where, name, have) for where, names, have in uses for name in names if name not in have]
        return f"{wrong[0][0]}: there is no {wrong[0][1]!r}{nearest(wrong[0][1], wrong[0][2])}" if wrong else ""

    def small(self) -> "Benchmark":
        """The same for made data, to which published figures say nothing."""
        mini = self.miniature
        systems = {name: self.systems[name].model_dump() for name in mini.systems}
        changes = {
            "name": f"{self.name}-miniature",
            "files": mini.files or self.files,
            "source": mini.source or self.source,
            "targets": mini.targets or self.targets,
            "settings": merged(self.settings, mini.settings),
            "items": {**self.items, **mini.items},
            "systems": {name: System(**merged(each, mini.systems[name])) for name, each in systems.items()},
            "published": self.published.model_copy(update={"figures": {}}),
        }
        return self.model_copy(update=changes)

    def source_of(self, target: str) -> str | None:
        """Where what goes on on a target has begun."""
        return self.targets[target].source or self.source

    def reads(self, system: str) -> tuple[str, ...]:
        """What a system knows of items."""
        chosen = self.systems[system]
        return self.reads(chosen.pretrained) if chosen.pretrained else chosen.reads

    def options(self, system: str, target: str | None) -> Options:
        """Of a system's runs on a target; None: on a source."""
        of_target = self.targets[target].settings if target else {}
        items = [self.items[name] for name in self.reads(system)]
        return merged(self.protocol, self.settings, *items, of_target, self._own(system))

    def systems_of(self, target: str) -> list[str]:
        """What is run on a target."""
        have = self.targets[target].systems or tuple(self.systems)
        return [name for name in self.systems if name in have]

    def _own(self, system: str) -> Options:
        chosen = self.systems[system]
        return merged(self._own(chosen.pretrained) if chosen.pretrained else {}, chosen.options)


def names() -> list[str]:
    """The benchmarks that there are."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load(name: str) -> Benchmark:
    """Reads and checks a benchmark.

    Raises:
        ConfigError: there is none of this name, or its file has a key or name that does not exist.
    """
    chosen("benchmark", [name], names())
    path = FOLDER / f"{name}.yaml"
    try:
        found = Benchmark(name=name, **yaml.safe_load(path.read_text(encoding="utf-8")))
    except (yaml.YAMLError, TypeError) as error:
        raise ConfigError(f"{path} cannot be read as YAML: {error}") from None
    except ValidationError as error:
        raise ConfigError(f"{path}: {components.explain(error)}") from None
    if fault := found.fault():
        raise ConfigError(f"{path}: {fault}")
    return found


def _some(name: str | None) -> tuple[str, ...]:
    return () if name is None else (name,)


def chosen(what: str, wanted: Iterable[str], known: Iterable[str]) -> list[str]:
    """The names that are wanted, once each.

    Raises:
        ConfigError: one that is not known.
    """
    wanted, known = list(dict.fromkeys(wanted)), list(known)
    if unknown := [name for name in wanted if name not in known]:
        raise ConfigError(f"no {what} {unknown[0]!r}{nearest(unknown[0], known)}")
    return wanted


def merged(*parts: Mapping[str, Any]) -> Options:
    """Options put together, later ones winning; those of a component that is exchanged for another go with it."""
    result: Options = {}
    for part in parts:
        for key, value in part.items():
            old = result.get(key)
            if not isinstance(old, dict) or not isinstance(value, dict):
                result[key] = value
            elif value.get("name", old.get("name")) == old.get("name"):
                result[key] = merged(old, value)
            else:
                result[key] = value
    return result
