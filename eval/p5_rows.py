"""What one run that writes names makes of every prompt of its families, seen in training or not."""

import argparse
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from eval.p5_answers import Answers
from eval.zeroshot_candidates import scores_of
from llmrec import building, components, config, evaluation, id_leak, predictions, runs, slices, train
from llmrec.baselines import Known
from llmrec.candidates import Candidates, drawn, generator
from llmrec.config import RunConfig
from llmrec.console import Console
from llmrec.errors import RunError
from llmrec.evaluation import Interval
from llmrec.generative.examples import prompts_of, question
from llmrec.generative.recommender import GenerativeRecommender
from llmrec.interactions import Dataset
from llmrec.item_text import ItemText
from llmrec.prompt_rows import PromptRows, columns, filled
from llmrec.prompting import Prompt
from llmrec.protocol import Protocol
from llmrec.runs import RunFolder, RunTable, read_json
from llmrec.sequences import Sequences
from llmrec.sources import load_dataset
from llmrec.splits import Cases, Split

MASKED, OPEN, AMONG = "history masked", "history not masked", "among candidates"
"""Groups of rankings; each has a protocol of its own."""
BEAMS = 10
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


@dataclass
class Result:
    """Rankings by group and name, rows of predictions, and a line for whatever else was seen."""

    rankings: dict[str, dict[str, list[RunTable]]] = field(default_factory=lambda: {MASKED: {}, OPEN: {}, AMONG: {}})
    predictions: list[Said] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    pairs: list[tuple[str, str]] = field(default_factory=list)
    """What is tested against what."""
    trained: dict[str, list[RunTable]] = field(default_factory=dict)
    """A table of each trained run, for its provenance."""

    def add(self, other: "Result") -> None:
        """Puts the rows of another one behind these."""
        for group, rows in other.rankings.items():
            self.rankings[group] |= rows
        self.trained |= other.trained
        for name in ("predictions", "notes", "pairs"):
            getattr(self, name).extend(getattr(other, name))


@dataclass(frozen=True)
class Study:
    """The data that all runs were trained on, and who is asked."""

    options: RunConfig
    split: Split
    cases: Cases
    candidates: Candidates
    seed: int
    console: Console

    @classmethod
    def of(cls, arguments: argparse.Namespace, console: Console) -> "Study":
        """Cuts the data of the first run as it was cut for training, and draws users and candidates.

        Raises:
            RunError: no finished run, or one that compares vectors.
        """
        options = options_of(arguments.runs[0])
        folder = Path(arguments.data_dir[1]) if arguments.data_dir else options.data_dir
        split = train.cut(options, load_dataset(options.data, folder), console)
        rows = np.arange(len(split.test))
        if len(rows) > arguments.users:
            rows = np.sort(generator(arguments.seed, "users").choice(rows, arguments.users, replace=False))
        cases = split.test.take(rows)
        few = cases.take(np.sort(generator(arguments.seed, "asked").permutation(len(cases))[: arguments.asked]))
        candidates = drawn(few, split.dataset, arguments.candidates or _listed(options), arguments.seed)
        return cls(options, split, cases, candidates, arguments.seed, console)

    @cached_property
    def known(self) -> Known:
        """What training-free rows may look at."""
        return ItemText.of(self.options, self.split.dataset, lambda done, total: None).known(self.split)

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

    def free(self) -> Result:
        """What needs no training."""
        result = Result()
        for name in components.names("baselines"):
            specification = components.resolve("baselines", name)
            baseline = components.create("baselines", specification)
            if self.known.has(baseline.needs):
                scorer, facts = baseline.fit(self.known), runs.provenance(baseline=specification)
                for group, table in self.full(scorer, facts).items():
                    result.rankings[group][name] = [table]
                result.rankings[AMONG][name] = [self.among(self.candidates.scores(scorer), facts)]
        result.predictions = _ratings_without_training(self)
        return result

    def of_vectors(self, name: str, folders: dict[Path, RunTable]) -> Result:
        """A run of vectors, its seeds together."""
        result = Result()
        for folder, saved in folders.items():
            model = building.load(folder)
            for group, table in self.full(model, saved.provenance).items():
                result.rankings[group].setdefault(name, []).append(table)
            table = self.among(scores_of(folder, self.candidates), saved.provenance)
            result.rankings[AMONG].setdefault(name, []).append(table)
        result.trained[name] = result.rankings[MASKED][name]
        return result

    def _ranked(self, scorer: Any, protocol: Protocol, facts: dict[str, Any]) -> RunTable:
        ranked, lists = evaluation.rank_cases(
            scorer, self.cases, self.split.dataset, mask_history=protocol.mask_history, k=protocol.k
        )
        return RunTable(slices.with_counts(ranked, self.split), lists, protocol, facts)


def _listed(options: RunConfig) -> int:
    assert options.p5 is not None
    return options.p5.candidates or CANDIDATES


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


def ask(folder: Path, study: Study) -> Result:
    """Asks one run by every prompt of its families that the data can fill.

    Args:
        folder: of the run.
        study: whom to ask about.
    """
    options, run = options_of(folder), folder.absolute().name
    assert options.p5 is not None
    model, data = building.load(folder), study.split.dataset
    assert isinstance(model, GenerativeRecommender)
    asked = Answers(model, PromptRows(data, ids=model.ids.names), study.cases)
    saved = RunTable.load(folder / "test")
    result, seen = Result(trained={run: [saved]}), set(saved.provenance["prompts"])
    for prompt in prompts(options, data):
        short = _short(prompt, seen)
        name, facts = f"{run} {short}", {**saved.provenance, "prompt": prompt.name}
        kind = question(prompt)
        with study.console.counting(name):
            if kind == "item":
                for group, ranked in study.full(_Kept(model.by(prompt)), facts).items():
                    result.rankings[group][name] = [ranked]
                if prompt.name == options.p5.prompt:
                    result.notes.append(f"{run}: {_written(asked, prompt)}")
                    result.pairs.append((name, "popularity"))
            elif kind == "pick" or (kind == "choice" and prompt.anatomy.shows("candidates")):
                scores = (asked.picks if kind == "pick" else asked.by_yes)(prompt, study.candidates)
                result.rankings[AMONG][name] = [study.among(scores, facts)]
            elif kind == "rating":
                result.predictions += _rated(run, short, asked.ratings(prompt), study)
            elif kind == "choice":
                result.add(_chosen(run, short, prompt, asked.choices(prompt, study.seed), study))
    if leak := id_leak.next_number(study.cases, model.ids.names):
        result.notes.append(f"{run}: {leak.words}")
    return result


class _Kept:
    """A scorer that is asked once for what is ranked twice."""

    def __init__(self, scorer: Any) -> None:
        self.scorer, self.known = scorer, dict[tuple[bytes, ...], Any]()

    def score(self, histories: Sequences) -> Any:
        users = histories.user_indices().numpy()
        key = tuple(part.tobytes() for part in (histories.values, histories.offsets, users))
        if key not in self.known:
            self.known[key] = self.scorer.score(histories)
        return self.known[key]


def prompts(options: RunConfig, data: Dataset) -> list[Prompt]:
    """Those of a run's families that the data can fill.

    Raises:
        PromptError: one that cannot be read, or shows a field that no row has.
    """
    assert options.p5 is not None
    known, full = columns(data), filled(data)
    found = [prompt for family, number in options.p5.examples.items() if number for prompt in prompts_of(family)]
    for prompt in found:
        prompt.check_fields(known)
    return [prompt for prompt in found if not prompt.anatomy.never_filled(known, full)]


def _short(prompt: Prompt, seen: set[str]) -> str:
    return prompt.name.removeprefix("p5/") + ("" if prompt.name in seen else " (unseen)")


def _written(asked: Answers, prompt: Prompt) -> str:
    found = asked.free(prompt, BEAMS)
    return (
        f"without the trie {found['valid']:.2%} of the {found['texts']:,} texts of {BEAMS} beams name an item, and "
        f"{found['duplicates']:.2%} are said twice"
    )


def _users(table: pl.DataFrame, study: Study) -> pl.Series:
    ids = study.cases.case_ids(study.split.dataset.user_ids)
    owners = pl.DataFrame({"case_id": ids, "user": study.cases.user})
    return table.join(owners, on="case_id", how="left", maintain_order="left")["user"]


def _rated(run: str, prompt: str, tables: dict[str, pl.DataFrame], study: Study) -> list[Said]:
    """Nothing where no case has stars."""
    found = []
    for way, table in tables.items() if len(tables["written"]) else ():
        metrics = predictions.ratings(table, _users(table, study), _mean_rating(study.split))
        unread = table["score"].null_count()
        told = f"{unread} no number from 1 to 5" if unread else ""
        found.append(Said(run, prompt, way, len(table), metrics, told))
    return found


def _chosen(run: str, name: str, prompt: Prompt, table: pl.DataFrame, study: Study) -> Result:
    """A note where all answers are the same, as of very few cases: they have no order to measure."""
    if table["target"].n_unique() < 2:
        return Result(notes=[f"{run} {name}: left out, for all {len(table)} answers are the same"])
    word, most = prompt.head.words[0], table["target"].value_counts(sort=True)
    metrics = predictions.choices(table, _users(table, study), word)
    told = f"always {most['target'][0]}: {most['count'][0] / len(table):.4f}"
    return Result(predictions=[Said(run, name, f"({word}?)", len(table), metrics, told)])


def _training_ratings(split: Split) -> pl.DataFrame:
    """``user, item, rating`` of the training part, where there is one."""
    return split.dataset.interactions.select("user", "item", "rating")[split.log_rows].drop_nulls()


def _mean_rating(split: Split) -> float:
    return float(_training_ratings(split)["rating"].to_numpy().mean())


def _ratings_without_training(study: Study) -> list[Said]:
    """The mean of the training ratings, and the same with what item and user add to it (shrunk by ten ratings)."""
    if "rating" not in study.split.dataset.interactions.columns:
        return []
    log, mean, rows = _training_ratings(study.split), _mean_rating(study.split), PromptRows(study.split.dataset)
    over = log["rating"].to_numpy() - mean
    item, user = log["item"].to_numpy(), log["user"].to_numpy()
    of_item = _adds(item, over, len(rows.items))
    of_user = _adds(user, over - of_item[item], len(rows.users))
    cases, found = study.cases, []
    places = (each.tolist() for each in (cases.user, cases.target, cases.histories.lengths))
    events = [rows.interaction(*each) for each in zip(*places, strict=True)]
    table = pl.DataFrame(
        {
            "case_id": cases.case_ids(study.split.dataset.user_ids),
            "target": [None if event["rating"] is None else str(event["rating"]) for event in events],
            "mean": mean,
            "mean, item and user": np.clip(mean + of_item[cases.target] + of_user[cases.user], 1, 5),
        }
    ).drop_nulls()
    for way in table.columns[2:] if len(table) else ():
        metrics = predictions.ratings(table.rename({way: "score"}), _users(table, study), mean)
        found.append(Said("", "", f"{way} of the training part", len(table), metrics))
    return found


def _adds(places: np.ndarray, over: np.ndarray, number: int) -> np.ndarray:
    """By index, what ratings are above the rest on average, drawn to nothing where there are few."""
    added: np.ndarray = np.bincount(places, over, number) / (np.bincount(places, minlength=number) + 10)
    return added
