"""The cells of ``eval.transfer --source``: a method, a learning rate and a seed each, on one target.

A method (:mod:`eval.domain_methods`) is no more than flags of ``llmrec/train.py``. Finished cells are kept in the
repository, see :mod:`eval.kept`.
"""

import hashlib
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from threading import Lock
from typing import Any

from torch import Tensor

from eval import cells
from eval.domain_methods import FROM_NOTHING, NOT_TUNINGS, OWN_WEIGHTS, adapts_head, settings
from eval.domains import EPOCHS, SOURCE_EPOCHS
from eval.kept import Kept
from llmrec import merged_model, train
from llmrec.config import RunConfig
from llmrec.errors import RunError
from llmrec.loading import plan, pooling_of
from llmrec.merged_model import FOLDER
from llmrec.recommender import read_weights
from llmrec.runs import RunFolder, RunTable

KEPT = Path("eval/results/domains")
SETS = {
    "amazon-office": (
        "split=given",
        "protocol.mask_history=false",
        "max_seq_len=10",
        "features.prompt=items/title_brand",
    ),
}
SETS["amazon-industrial"] = SETS["amazon-office"]
"""Options of data that have parts of their own."""
READING = ("max_seq_len=", "features.prompt=")
"""Those that a source and its targets must share."""
SETTINGS = (
    "--loss",
    "in_batch_softmax",
    "loss.uniform_share=0",
    "training.batch_size=32",
    "training.warmup_steps=20",
)
"""The same for the source and for every method: what compares the items of a batch lets a language model learn."""


class TooLate(Exception):
    """A cell that is missing and is not to be begun any more."""


@dataclass(frozen=True)
class Recipe:
    """How a source and all methods are trained.

    ``epochs`` are the most on the source and on the target; ``overrides`` are further options of every run. Cells of
    the usual epochs and of no further options are kept under a plain name, others under one that holds a digest.
    """

    epochs: tuple[int, int]
    overrides: tuple[str, ...] = ()

    @property
    def usual(self) -> bool:
        """Whether it is what the command does unless told otherwise."""
        return self.epochs == (SOURCE_EPOCHS, EPOCHS) and not self.overrides

    @property
    def name(self) -> list[str]:
        """Its part of the name of a folder; nothing for the usual one."""
        return [] if self.usual else [_digest([self.epochs, sorted(self.overrides)])]

    @property
    def source_name(self) -> list[str]:
        """The same of the source, which is trained alike whatever the epochs on the target are."""
        return [f"{self.epochs[0]}-epochs", *([_digest(sorted(self.overrides))] if self.overrides else [])]

    @property
    def words(self) -> str:
        """What a title says of it."""
        source, target = self.epochs
        return "" if self.usual else ", ".join(["", f"{source} and {target} epochs", *self.overrides])


@dataclass(frozen=True)
class Study:
    """One source and one target.

    ``model`` and ``head`` are those of both; ``source_tuning`` is what of the language model learned on the source;
    ``recipe`` is how runs are trained; from ``stop`` on, in seconds of ``time.monotonic``, no cell is begun; ``users``:
    of the target so many are learned from, None: all; ``data_dir`` are the flags that say where the data are.
    """

    source: str
    target: str
    model: str
    head: str
    source_tuning: str
    recipe: Recipe
    stop: float
    users: int | None = None
    data_dir: tuple[str, ...] = ()
    _making: Lock = field(default_factory=Lock)

    @property
    def kept(self) -> Kept:
        """Where finished cells are."""
        words = [_short(self.source), "to", _short(self.target), Path(self.model).name, self.head]
        words += [self.source_tuning] if self.source_tuning != "frozen" else []
        words += [f"{self.users}-users"] if self.users else []
        return Kept(KEPT / "-".join([*words, *self.recipe.name]))

    @property
    def title(self) -> str:
        """In words."""
        learned = f", {self.source_tuning} on the source" if self.source_tuning != "frozen" else ""
        few = f", {self.users} users" if self.users else ""
        names = f"{_short(self.source)} to {_short(self.target)}{few}, {Path(self.model).name}, {self.head}"
        return f"{names}{learned}{self.recipe.words}"

    def systems(self, methods: Sequence[str]) -> dict[str, cells.System]:
        """Methods with the settings that they are tried with.

        Raises:
            ConfigError: a method that does not exist.
        """
        return {name: cells.System(partial(self.cell, name), list(settings(name))) for name in methods}

    def cell(self, method: str, setting: cells.Setting, seed: int) -> cells.Cell:
        """A cell of the target, kept, found in runs/study or trained; the source before it.

        Raises:
            TooLate: it is not kept, and no cell is begun any more.
        """
        name, flags = self.name(method, setting, seed), self._on_target(method, seed)
        options = self.options(method, setting, seed).model_dump(mode="json")
        if not self.kept.has(name, options):
            if time.monotonic() < self.stop and method not in FROM_NOTHING:
                self.origin(seed)
                self._same_source(seed)
            if time.monotonic() >= self.stop:  # which may have passed while the source was trained
                raise TooLate(name)
            trained = cells.trained(f"{self.kept.folder.name}-{method}", *flags)(setting, seed)
            assert trained.folder is not None
            self.kept.begin(trained.table)
            if self._public or method in FROM_NOTHING:  # else their vectors are of a model that learned on the source
                for path in sorted((trained.folder / "baselines").iterdir()):
                    if path.name not in self.kept.names():
                        self.kept.save(path.name, RunTable.load(path), seed=0)
            table = replace(
                trained.table, provenance=trained.table.provenance | self._sizes(trained.folder, method, seed)
            )
            self.kept.save(name, table, seed=seed, options=options, validation=trained.validation)
        return replace(self.kept.load(name)[0], setting=setting)

    def name(self, method: str, setting: cells.Setting, seed: int) -> str:
        """Of a cell among those of the study."""
        return f"{method}{cells.named(setting)}-s{seed}"

    def options(self, method: str, setting: cells.Setting, seed: int) -> RunConfig:
        """Those of a cell of the target."""
        overrides = [f"{key}={value}" for key, value in setting.items()]
        return train.options_of([*self._on_target(method, seed), *overrides, "--seed", str(seed)])[0].resolved()

    def has(self, method: str, setting: cells.Setting, seed: int) -> bool:
        """Whether a cell is kept; raises RunError if it is and was trained with other options."""
        options = self.options(method, setting, seed).model_dump(mode="json")
        return self.kept.has(self.name(method, setting, seed), options)

    def has_sources(self, seeds: Sequence[int]) -> bool:
        """Whether the runs on the source are there."""
        return all(RunFolder(self._origin(seed)).finished for seed in seeds)

    def source_options(self) -> RunConfig:
        """Those of the run on the source."""
        return train.options_of(self._on_source)[0].resolved()

    def free(self) -> dict[str, list[RunTable]]:
        """Kept rows of the target that need no training."""
        tables = {name: self.kept.load(name)[0].table for name in self.kept.names()}
        return {name: [table] for name, table in tables.items() if "baseline" in table.provenance}

    def flags(self, method: str, seed: int) -> list[str]:
        """What makes a run on the target one of a method."""
        if method in FROM_NOTHING:
            return ["--model", self.model, "--tuning", FROM_NOTHING[method]]
        tuning = "frozen" if method in NOT_TUNINGS else method
        flags = ["--model", self.model if self._public else str(self._origin(seed) / FOLDER), "--tuning", tuning]
        if not self._public and (pooling := self._pooling) != "mean":  # which a folder does not tell
            flags += [f"features.pooling={pooling}"]
        flags += [] if self._public else ["features.blocks=null"]  # those that are left out are out of the folder
        flags += ["--init", str(self._origin(seed))]
        if method == "zero_shot":
            return [*flags, "training.epochs=0"]
        if method == "head_only":
            return [*flags, "training.learns=projection"]
        return [*flags, *(["training.learns=new"] if adapts_head(tuning) else [])]

    def origin(self, seed: int) -> cells.Cell:
        """The run on the source, found in runs/study or trained."""
        with self._making:  # cells that begin at the same time ask for the same one
            run = cells.trained(self._source, *self._on_source)({}, seed)
            merged_model.of_run(self._origin(seed))
        return run

    @property
    def _public(self) -> bool:
        return self.source_tuning in merged_model.KEEP_THE_MODEL

    @property
    def _on_source(self) -> list[str]:
        """What makes a run one on the source."""
        begins = ["--model", self.model, "--tuning", self.source_tuning]
        return [*self._flags(self.source, self.recipe.epochs[0]), *begins]

    def _on_target(self, method: str, seed: int) -> list[str]:
        few = [f"training.users={self.users}"] if self.users else []
        return [*self._flags(self.target, self.recipe.epochs[1]), *few, *self.flags(method, seed)]

    @property
    def _source(self) -> str:
        # The recipe is part of the name, for cells are kept with the name of what they began with.
        words = ["source", _short(self.source), Path(self.model).name, self.head, self.source_tuning]
        return "-".join([*words, *self.recipe.source_name])

    def _origin(self, seed: int) -> Path:
        return cells.STUDY / f"{self._source}-s{seed}"

    def _flags(self, data: str, epochs: int) -> list[str]:
        # What shape and reading follow from is said of every run: one that begins with the source must fit it.
        reading = [word for word in SETS.get(self.source, ()) if word.startswith(READING)]
        own = [*reading, *(word for word in SETS.get(data, ()) if not word.startswith(READING))]
        return [
            "--data",
            data,
            "--head",
            self.head,
            *own,
            *SETTINGS,
            f"training.epochs={epochs}",
            f"training.patience={max(epochs // 4, 3)}",
            *self.data_dir,
            *self.recipe.overrides,
        ]

    @cached_property
    def _pooling(self) -> str:
        """How texts of the source are pooled."""
        options = self.source_options()
        return pooling_of(options.model, options.features.pooling)

    @cached_property
    def _parameters(self) -> int:
        """Of the language model, as far as it runs."""
        shape, own = plan.shape_of(self.model), train.options_of(self._flags(self.target, 1))[0].features.blocks
        return shape.parameters - (0 if own is None else max(0, shape.blocks - own) * shape.block)

    def _sizes(self, folder: Path, method: str, seed: int) -> dict[str, Any]:
        """Of a run: all of its parameters, and bytes of what it does not share with the source."""
        own = read_weights(folder)
        shared = {} if method in FROM_NOTHING else read_weights(self._origin(seed))
        of_the_model = ("encoder.trunk.",) if FROM_NOTHING.get(method, method) in OWN_WEIGHTS else ()
        counted = (*of_the_model, "encoder.shift", "encoder.matrix")  # the transform is fitted and learns nothing
        rest = [weight for name, weight in own.items() if not name.startswith(counted)]
        new = [weight for name, weight in own.items() if name not in shared or not weight.equal(shared[name])]
        sizes = {"parameters": self._parameters + _numbers(rest), "stored_bytes": 4 * _numbers(new)}
        return sizes | ({} if method in FROM_NOTHING else {"source": self._same_source(seed)})

    def _same_source(self, seed: int) -> str:
        """A digest of the source's weights.

        Raises:
            RunError: kept cells of this seed began with other ones.
        """
        digest = hashlib.sha256((self._origin(seed) / "model.safetensors").read_bytes()).hexdigest()[:16]
        for name in self.kept.names():
            cell = self.kept.load(name)[0]
            if cell.seed == seed and cell.table.provenance.get("source", digest) != digest:
                raise RunError(
                    f"{name} began with other weights of {self._source} than those that are in {cells.STUDY} now, "
                    f"which were trained anew; delete {self.kept.folder} to measure all methods again"
                )
        return digest


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:8]


def _short(data: str) -> str:
    """Of a file that describes data its name."""
    return Path(data).stem if data.endswith((".yaml", ".yml")) else data


def _numbers(weights: Iterable[Tensor]) -> int:
    return sum(weight.numel() for weight in weights)
