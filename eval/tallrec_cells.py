"""Who is asked by ``eval.tallrec``, and its cells: what a model trained on a few rows says of every test row."""

import hashlib
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from jaxtyping import Float, Int
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from eval.tallrec import LORA, PROBE
from llmrec import instructions, loading
from llmrec.console import Console
from llmrec.errors import ConfigError, DataError, RunError
from llmrec.instructions import Instruction
from llmrec.labels import LabelModel, Recipe
from llmrec.loading import Progress
from llmrec.prompting import Prompt
from llmrec.runs import provenance, read_json, write_json

STUDY = Path("eval/results/tallrec")
"""Cells are small enough for the repository; folders of runs do not outlive the machine they lie on."""
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Of a probe: weights that are compared on the selection rows, from the least to the most free."""
LOOKS = 3
"""Numbers of epochs that are compared on the selection rows."""


@dataclass(frozen=True)
class Options:
    """What the scores of a cell depend on, besides the data.

    ``learned``: about how many rows a model learns from, those of all epochs counted, between ``LOOKS`` and ``epochs``
    epochs. ``test`` and ``selection``: rows asked about, at most.
    """

    model: str
    prompt: str
    blocks: int | None
    learning_rate: float
    batch_size: int
    epochs: int
    learned: int
    selection: int
    test: int
    seed: int

    def recipe(self, rows: int) -> Recipe:
        """How a model learns from so many rows."""
        epochs = int(np.clip(self.learned // rows, LOOKS, self.epochs))
        return Recipe(epochs, self.learning_rate, self.batch_size)


@dataclass(frozen=True)
class Cell:
    """One line of scores ``[test rows]``, and how they were made."""

    scores: Float[np.ndarray, " rows"]
    facts: dict[str, Any]


class Study:
    """One data set under one set of options.

    The validation file is cut in two halves by people: models learn from rows of the first, and how many epochs are
    best is told by rows of the second. A draw is an order of the first half, so its smaller sets are parts of its
    larger ones.

    Args:
        folder: with ``valid.json`` and ``test.json``.
        options: of the cells.
        console: says how far they are.

    Raises:
        DataError: files that cannot be read, or rows to be asked about that all have one answer.
    """

    def __init__(self, folder: Path, options: Options, console: Console) -> None:
        self.options, self.console, self.name = options, console, folder.name
        self.prompt = Prompt.load(options.prompt)
        test, valid = (instructions.read(folder / f"{part}.json") for part in ("test", "valid"))
        learned, selected = halves(instructions.people(valid), options.seed)
        few = _some(selected, options.selection, options.seed)
        self.train, self.selection = [valid[row] for row in learned], [valid[row] for row in few]
        asked = _some(np.arange(len(test)), options.test, options.seed)
        self.test = [test[row] for row in asked]
        self.people = pl.Series(instructions.people(test)[asked])
        self.wanted = instructions.wanted(self.test)
        for option, rows in (("test", self.test), ("selection", self.selection)):
            if len({row.output for row in rows}) < 2:
                raise DataError(
                    f"--{option}: AUC needs rows of both answers, and these {len(rows)} have not; ask for more"
                )
        self.data_hash = _digest(row for part in (valid, test) for row in part)
        label = Path(options.model).name
        self.folder = STUDY / f"{self.name}-{label}"

    @cached_property
    def model(self) -> LabelModel:
        """The language model over all prompts: those of the test rows, the selection rows and the training half."""
        files, rows = loading.find(self.options.model), [*self.test, *self.selection, *self.train]
        asked = instructions.prompts(rows, self.prompt)
        words = instructions.WORDS
        with self._shown("hidden states") as progress:
            return LabelModel(files, asked, words, self.options.blocks, progress)

    @cached_property
    def hidden(self) -> Float[np.ndarray, "prompts dim"]:
        """The untrained model's last hidden state behind every prompt of :attr:`model`."""
        with self._shown("last hidden states") as progress:
            return self.model.hidden(progress)

    def drawn(self, rows: int, draw: int) -> Int[np.ndarray, " rows"]:
        """Places of the training half that a cell learns from.

        Raises:
            ConfigError: it has fewer.
        """
        if rows > len(self.train):
            raise ConfigError(f"the training half has {len(self.train)} rows; --rows cannot be {rows}")
        order = np.random.default_rng([self.options.seed, draw]).permutation(len(self.train))
        return order[:rows]

    def free(self, name: str, sizes: Sequence[int], draws: int) -> dict[str, Float[np.ndarray, "draws rows"]]:
        """Scores that ask no model, by name; ``name`` is that of the share of likes in the prompt."""
        found = {name: instructions.like_shares(self.test)[None]}
        for size in sizes:
            sets = [[self.train[place] for place in self.drawn(size, draw)] for draw in range(draws)]
            rates = [instructions.title_rates(rows, self.test) for rows in sets]
            found[f"title like rate, {size} rows"] = np.stack(rates)
        return found

    def cell(self, way: str, rows: int, draw: int) -> Cell | None:
        """A finished cell; None if there is none yet.

        Raises:
            RunError: it was made with other options or other data.
        """
        path = self._path(way, rows, draw)
        if not path.exists():
            return None
        facts = read_json(path)
        asked = self._asked()
        if different := [key for key in asked if facts["options"].get(key) != asked[key]]:
            pairs = "; ".join(f"{key}: {facts['options'].get(key)} kept, {asked[key]} asked for" for key in different)
            raise RunError(f"{path} was made with other options ({pairs}); delete it to make it again")
        return Cell(np.array(facts.pop("scores")), facts)

    def make(self, way: str, rows: int, draw: int) -> Cell:
        """Learns from some rows, unless untrained, asks about every test row and keeps what is said."""
        label = f"{self.name}, {rows} rows, draw {draw}"
        facts: dict[str, Any] = {"way": way, "rows": rows, "draw": draw, "options": self._asked()}
        model, test = self.model, range(len(self.test))
        hidden = self.hidden if way == PROBE else None  # made once, so its seconds are those of no draw
        start = time.perf_counter()
        if hidden is not None:
            scores, facts["selection"] = self._probed(hidden, rows, draw)
        elif way == LORA:
            scores, facts["selection"] = self._trained(rows, draw, label)
        else:
            with self._shown(label) as progress:
                scores = model.score(test, progress)
        facts["seconds"] = time.perf_counter() - start
        path = self._path(way, rows, draw)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, provenance(**facts) | {"scores": scores.tolist()})
        return Cell(scores, facts)

    def _probed(
        self, hidden: Float[np.ndarray, "prompts dim"], rows: int, draw: int
    ) -> tuple[Float[np.ndarray, " rows"], dict[float, float]]:
        """Scores of a logistic regression over the model's last hidden state, and AUC on the selection rows by C."""
        test, held_out, train = np.split(hidden, np.cumsum([len(self.test), len(self.selection)]))
        right, drawn = instructions.wanted(self.selection), self.drawn(rows, draw)
        wanted = instructions.wanted([self.train[place] for place in drawn])
        if len(set(wanted.tolist())) < 2:  # nothing to tell apart
            return np.full(len(test), wanted.mean()), {STRENGTHS[0]: 0.5}
        found: dict[float, float] = {}
        scores: dict[float, Float[np.ndarray, " rows"]] = {}
        for strength in STRENGTHS:
            probe = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=1000))
            probe.fit(train[drawn], wanted)
            found[strength] = roc_auc_score(right, probe.decision_function(held_out))
            scores[strength] = probe.predict_proba(test)[:, 1]
        return scores[max(found, key=lambda each: (found[each], -each))], found

    def _trained(self, rows: int, draw: int, label: str) -> tuple[Float[np.ndarray, " rows"], dict[int, float]]:
        """Scores of the best number of epochs, and AUC on the selection rows by this number."""
        model, recipe, drawn = self.model, self.options.recipe(rows), self.drawn(rows, draw)
        held_out = range(len(self.test), len(self.test) + len(self.selection))
        right = instructions.wanted(self.selection)
        wanted = instructions.wanted([self.train[place] for place in drawn])
        looks = {-(-recipe.epochs * look // LOOKS) for look in range(1, LOOKS + 1)}
        found: dict[int, float] = {}
        best: list[torch.Tensor] = []
        with self._shown(label) as progress, model.adapted(recipe, draw):
            for epoch in model.learn((drawn + held_out.stop).tolist(), wanted, recipe, draw):
                progress(epoch, recipe.epochs)
                if epoch in looks:
                    found[epoch] = roc_auc_score(right, model.score(held_out))
                    if found[epoch] > max((value for other, value in found.items() if other != epoch), default=-1):
                        best = [weight.detach().clone() for weight in model.additions]
            with torch.no_grad():
                for weight, value in zip(model.additions, best, strict=True):
                    weight.copy_(value)
            return model.score(range(len(self.test)), progress), found

    def protocol(self) -> dict[str, Any]:
        """The conditions of the figures."""
        return {
            "data": f"tallrec {self.name}",
            "data_hash": self.data_hash,
            "prompt": f"{self.prompt.name} ({self.prompt.hash})",
            "asked": f"{len(self.test)} rows of test.json, of {self.people.n_unique()} people",
            "rows": _digest(self.test),
            "trained_on": f"rows of one half of valid.json ({len(self.train)}), cut by people",
            "selected_on": f"{len(self.selection)} rows of the other half",
            "seed": self.options.seed,
            "metric": "AUC, ties count half",
        }

    def _asked(self) -> dict[str, Any]:
        """What a kept cell must have been made with."""
        return asdict(self.options) | {"prompt_hash": self.prompt.hash, "data_hash": self.data_hash}

    def _path(self, way: str, rows: int, draw: int) -> Path:
        prefix = "probe-" if way == PROBE else ""
        return self.folder / f"{prefix}n{rows}-d{draw}.json"

    @contextmanager
    def _shown(self, label: str) -> Iterator[Progress]:
        self.console.say(label)
        with self.console.counting(label) as progress:
            yield progress


def halves(people: Int[np.ndarray, " rows"], seed: int) -> tuple[Int[np.ndarray, " some"], Int[np.ndarray, " others"]]:
    """Cuts rows in two so that nobody is on both sides, the first as soon as it has half of the rows."""
    order = np.random.default_rng(seed).permutation(people.max() + 1)
    counts = np.bincount(people)[order].cumsum()
    first = order[: np.searchsorted(counts, len(people) / 2) + 1]
    inside = np.isin(people, first)
    return np.flatnonzero(inside), np.flatnonzero(~inside)


def _some(rows: Int[np.ndarray, " all"], number: int, seed: int) -> Int[np.ndarray, " some"]:
    """At most so many of some rows, in their order."""
    return np.sort(np.random.default_rng(seed).permutation(rows)[:number])


def _digest(rows: Iterable[Instruction]) -> str:
    texts = [[row.instruction, row.input, row.output] for row in rows]
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()[:16]
