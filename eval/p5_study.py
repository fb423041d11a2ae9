"""Whom ``eval.p5`` asks about, and what came of it."""

import argparse
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from llmrec import config, evaluation, preparation, slices
from llmrec.baselines import Known
from llmrec.candidates import Candidates, drawn, generator
from llmrec.config import RunConfig
from llmrec.console import Console
from llmrec.errors import RunError
from llmrec.evaluation import Interval
from llmrec.generative.examples import are_stars, ratings_of
from llmrec.interactions import Dataset
from llmrec.item_text import ItemText
from llmrec.protocol import Protocol
from llmrec.runs import RunFolder, RunTable, read_json
from llmrec.sources import load_dataset
from llmrec.splits import Cases, Split

MASKED, OPEN, AMONG = "history masked", "history not masked", "among candidates"
"""Groups of rankings; each has a protocol of its own."""
CANDIDATES = 100
"""In P5's prompts, unless training lists fewer."""


@dataclass(frozen=True)
class Said:
    """One row of the table of predictions."""

    run: str
    """Empty for what needs no training, and so is the prompt."""
    prompt: str
    way: str
    n: int
    metrics: dict[str, Interval]
    told: str = ""
    """What else there is to say of it."""
    about: str | None = None
    """Of a text, what it looks like, such as ``explanation``."""
    counts: dict[str, int] = field(default_factory=dict)
    """Of texts, how many are ``empty``, and how many different ones there are (``unique``)."""


@dataclass
class Result:
    """Rankings by group and name, rows of predictions, and a line for whatever else was seen."""

    rankings: dict[str, dict[str, list[RunTable]]] = field(default_factory=dict)
    predictions: list[Said] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    pairs: list[tuple[str, str]] = field(default_factory=list)
    """What is tested against what."""
    trained: dict[str, list[RunTable]] = field(default_factory=dict)
    """A table of each trained run, for its provenance."""

    def add(self, other: "Result") -> None:
        """Puts the rows of another one behind these; rows of one name are seeds of one model."""
        for group, rows in other.rankings.items():
            for name, tables in rows.items():
                self.rankings.setdefault(group, {}).setdefault(name, []).extend(tables)
        for name, tables in other.trained.items():
            self.trained.setdefault(name, []).extend(tables)
        self.pairs += [pair for pair in other.pairs if pair not in self.pairs]
        self.predictions += other.predictions
        self.notes += other.notes

    def compare(self, against: list[str]) -> None:
        """Tests each run also against the first one and those of vectors, and says what share of these it reaches."""
        first, *others = dict.fromkeys(name for name, _ in self.pairs)
        self.pairs += [(name, other) for name in (first, *others) for other in against]
        self.pairs += [(name, first) for name in others]
        for name in (first, *others):
            for other in against:
                own, its = (_hits(self.rankings[OPEN][each]) for each in (name, other))
                told = f"{own / its:.2f} of that of {other}" if its else f"{own:.4f}, that of {other} 0"
                self.notes.append(f"{OPEN}: HR@10 of {name} is {told}")


def _hits(tables: list[RunTable]) -> float:
    return float(evaluation.mean_over_runs(tables, "HR@10")["value"].to_numpy().mean())


@dataclass(frozen=True)
class Study:
    """The data that all runs were trained on, and who is asked."""

    options: RunConfig
    split: Split
    cases: Cases
    candidates: Candidates
    seed: int
    console: Console
    only: tuple[str, ...] = ()
    """Names of the prompts to ask by; empty: all of a run."""

    @classmethod
    def of(cls, arguments: argparse.Namespace, console: Console) -> "Study":
        """Cuts the data of the first run as it was cut for training, and draws users and candidates.

        Raises:
            RunError: no finished run, one that compares vectors, or runs with other explanations.
        """
        options, *others = (options_of(folder) for folder in arguments.runs)
        for run, other in zip(arguments.runs[1:], others, strict=True):
            if _explained(other) != _explained(options):
                raise RunError(
                    f"{run} was trained with p5.explanations={_explained(other)}, {arguments.runs[0]} with "
                    f"{_explained(options)}; ask about them one after the other"
                )
        folder = Path(arguments.data_dir[1]) if arguments.data_dir else options.data_dir
        split = preparation.cut(options, load_dataset(options.data, folder), console)
        rows: np.ndarray = np.arange(len(split.test))
        if len(rows) > arguments.users:
            rows = np.sort(generator(arguments.seed, "users").choice(rows, arguments.users, replace=False))
        cases = split.test.take(rows)
        few = cases.take(np.sort(generator(arguments.seed, "asked").permutation(len(cases))[: arguments.asked]))
        number = arguments.candidates or _listed(options, few, split.dataset)
        candidates = drawn(few, split.dataset, number, arguments.seed)
        return cls(options, split, cases, candidates, arguments.seed, console, tuple(arguments.prompts))

    @cached_property
    def known(self) -> Known:
        """What training-free rows may look at."""
        return ItemText.of(self.options, self.split.dataset, lambda done, total: None).known(self.split)

    @cached_property
    def stars(self) -> pl.DataFrame | None:
        """``user, item, rating`` of the training part; None unless there are some and all are from 1 to 5."""
        found = ratings_of(self.split)
        return found if len(found) and are_stars(found["rating"]) else None

    def users_of(self, predictions: pl.DataFrame) -> pl.Series:
        """Whose each row of a table of predictions is."""
        ids = self.cases.case_ids(self.split.dataset.user_ids)
        owners = pl.DataFrame({"case_id": ids, "user": self.cases.user})
        return predictions.join(owners, on="case_id", how="left", maintain_order="left")["user"]

    def protocol(self, group: str) -> Protocol:
        """Of one group of rankings."""
        full = evaluation.protocol_of(self.split, self.options)
        cases = self.candidates.cases if group == AMONG else self.cases
        told: dict[str, Any] = {"cases": evaluation.cases_hash(cases.case_ids(self.split.dataset.user_ids))}
        told["mask_history"] = group != OPEN
        if group == AMONG:
            told["candidates"] = f"{self.candidates.words} ({self.candidates.hash})"
            told |= {"candidate_seed": self.seed, "k": len(self.candidates.items[0])}
        return full.model_copy(update=told)

    def full(self, scorer: Any, facts: dict[str, Any]) -> dict[str, RunTable]:
        """Rankings of the whole catalogue, with the history in them and without."""
        return {group: self._ranked(scorer, self.protocol(group), facts) for group in (MASKED, OPEN)}

    def among(self, scores: Any, facts: dict[str, Any]) -> RunTable:
        """Rankings of the candidates."""
        cases, lists = self.candidates.ranked(scores)
        return RunTable(slices.with_counts(cases, self.split), lists, self.protocol(AMONG), facts)

    def _ranked(self, scorer: Any, protocol: Protocol, facts: dict[str, Any]) -> RunTable:
        ranked, lists = evaluation.rank_cases(
            scorer, self.cases, self.split.dataset, mask_history=protocol.mask_history, k=protocol.k
        )
        return RunTable(slices.with_counts(ranked, self.split), lists, protocol, facts)


def _listed(options: RunConfig, cases: Cases, data: Dataset) -> int:
    """As many candidates as training lists, or all there are."""
    assert options.p5 is not None
    met = max(len({*cases.histories[row].tolist(), int(cases.target[row])}) for row in range(len(cases)))
    return min(options.p5.candidates or CANDIDATES, data.num_items - met + 1)


def _explained(options: RunConfig) -> str:
    assert options.p5 is not None
    return options.p5.explanations


def options_of(folder: Path) -> RunConfig:
    """Of a finished run that writes names.

    Raises:
        RunError: no finished run, or one that compares vectors.
    """
    RunFolder(folder).require_finished()
    options = config.parse(read_json(folder / "config.json"))
    if options.p5 is None:
        raise RunError(f"{folder} is a run that compares vectors; name it behind --against")
    return options
