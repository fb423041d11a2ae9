"""Who ranks the candidates in a zero-shot study: the prompted model, what needs no training, and trained runs."""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from eval import zeroshot_candidates
from eval.zeroshot_tasks import Task, model_of
from llmrec import assets, components, evaluation, loading, memorised, prompt_statistics, runs, slices, zeroshot
from llmrec.answer_store import AnswerStore
from llmrec.asking import Asker, Prices, Usage
from llmrec.backends import Backend
from llmrec.backends.scripted import Scripted
from llmrec.baselines import Chooses
from llmrec.candidates import Candidates, Scores
from llmrec.config import RunConfig
from llmrec.console import Console
from llmrec.errors import ConfigError, nearest
from llmrec.item_text import ItemText
from llmrec.memorised import Recall
from llmrec.prompt_rows import PromptRows, labels
from llmrec.prompting import Prompt
from llmrec.protocol import Protocol
from llmrec.questions import shows_letters
from llmrec.runs import RunTable
from llmrec.sequences import Sequences
from llmrec.splits import Cases, Split
from llmrec.zeroshot import Outcome, Way

_SEED = 0
"""Of the order of shuffled histories."""


@dataclass
class Result:
    """Run tables by name, seeds of one model together, and what was seen of the prompted model's answers.

    ``kinds``: of what each row is made; ``outcomes``: of the prompted model's rows by name, the first is the model as
    asked for; ``again``: the same asked once more each; ``tried``: what it took to learn whether options can be scored.
    """

    task: Task
    rows: dict[str, list[RunTable]]
    kinds: dict[str, str]
    outcomes: dict[str, Outcome]
    again: list[Outcome]
    tried: Usage
    recall: Recall | None
    facts: dict[str, Any]
    notes: list[str]

    @property
    def model(self) -> str:
        """The row that all others are tested against."""
        return next(iter(self.outcomes))


@dataclass
class Study:
    """One task on one data set: everything that is settled before anybody is asked.

    ``instead``: how a server is asked in the end if it does not tell what the scoring needs; None where that is known.
    """

    arguments: argparse.Namespace
    task: Task
    options: RunConfig
    split: Split
    candidates: Candidates
    way: Way
    instead: Way | None
    asker: Asker
    console: Console
    specifications: dict[str, Any]
    notes: list[str]
    trained: dict[str, dict[Path, RunTable]]

    @classmethod
    def of(
        cls,
        arguments: argparse.Namespace,
        task: Task,
        options: RunConfig,
        split: Split,
        scoring: dict[str, Any],
        backend: dict[str, Any],
        console: Console,
    ) -> "Study":
        """Draws users and candidates and makes the backend.

        Raises:
            ConfigError: options that do not go together.
            DataError: candidates that cannot be made.
        """
        number = arguments.depth or arguments.candidates or task.candidates
        full = evaluation.protocol_of(split, options)
        trained = zeroshot_candidates.trained_runs(arguments.against, full)
        candidates, notes = zeroshot_candidates.settle(arguments, split, full, number)
        asked = components.create("backends", backend, model_of(arguments))
        if options.uses_text and not arguments.dry_run:
            loading.find(options.model)  # what cannot be had is told before anybody is asked
        prices = Prices.read(arguments.prices, model_of(arguments)) if arguments.prices else Prices()
        store = AnswerStore(arguments.answers or assets.cache_folder() / "answers.sqlite")
        asker = Asker(asked, store, prices, arguments.max_cost)
        written = components.resolve("scorings", "generate")
        untold = _untold(asker, scoring, number, may_ask=not arguments.dry_run)
        if untold:
            note = f"{model_of(arguments)} does not tell {untold}: generate in the place of {scoring['name']}"
            notes.append(note + ("; with another --answers file it is asked again" if asked.trial else ""))
            scoring = written
        way = _way(arguments, task, scoring, number)
        instead = _way(arguments, task, written, number) if untold is None else None
        told = {"scoring": scoring, "backend": _shown(backend, asked)}
        study = cls(arguments, task, options, split, candidates, way, instead, asker, console, told, notes, trained)
        if isinstance(asked, Scripted):
            targets = [study.rows.items[item] for item in candidates.cases.target]
            titles = [(row["title"] or row["item_id"], row["text"]) for row in targets]
            asked.tell(dict(zip(candidates.ids, titles, strict=True)))
        _require_shown(study)
        if arguments.shots:
            if not shows_letters(way.prompt, "answer"):
                name = way.prompt.name
                raise ConfigError(f"--shots need a prompt whose answer is one candidate's letter, which {name} has not")
            size = 2 if scoring["name"] == "pairwise" else number
            found = zeroshot.examples(split, study.rows, way, arguments.shots, size)
            study.way = replace(way, shots=arguments.shots, examples=found)
        return study

    @property
    def name(self) -> str:
        """Of the folder."""
        model = Path(model_of(self.arguments)).name.removesuffix(".gguf")
        data = Path(self.options.data).stem
        scoring, task = self.specifications["scoring"]["name"], self.arguments.task.replace("@", "-")
        return f"zeroshot-{data}-{task}-{model}-{scoring}-s{self.arguments.seed}"

    @property
    def label(self) -> str:
        """Of the prompted model's row."""
        scoring = self.specifications["scoring"]
        words = [str(value) for key, value in scoring.items() if key == "norm"]
        return " ".join([Path(model_of(self.arguments)).name.removesuffix(".gguf"), scoring["name"], *words])

    def facts(self) -> dict[str, Any]:
        """All options, for ``config.json``."""
        apart = (
            "output",
            "overwrite",
            "json",
            "save",
            "dry_run",
            "answers",
            "max_cost",
            "overrides",
            "data_dir",
            "against",
        )
        flags = {name: value for name, value in vars(self.arguments).items() if name not in apart}
        data = self.options.model_dump(mode="json", include={"data", "filter", "split", "features", "model"})
        known = {"candidate_hash": self.candidates.hash, "prompt": self.way.prompt.source}
        return {"zeroshot": {key: str(value) for key, value in flags.items()}, **data, **self.specifications, **known}

    @cached_property
    def text(self) -> ItemText:
        """Of the items, as the prompt shows them."""
        return ItemText.of(self.options, self.split.dataset, lambda done, total: None)

    @cached_property
    def rows(self) -> PromptRows:
        """What prompts know of users and items."""
        return PromptRows(self.split.dataset, self.text.texts)

    @cached_property
    def protocol(self) -> Protocol:
        """Of every row."""
        full = evaluation.protocol_of(self.split, self.options)
        longest = max(map(len, self.candidates.items))
        return full.model_copy(
            update={
                "candidates": f"{self.candidates.words} ({self.candidates.hash})",
                "candidate_seed": self.candidates.seed,
                "k": longest,
                "cases": evaluation.cases_hash(self.candidates.ids),
            }
        )

    def estimate(self) -> str:
        """What asking would take, in words."""
        name, usage = self._dearest()
        unsure = (
            f" Whether {model_of(self.arguments)} tells how likely options are is one short question more; if not, it "
            "is asked to generate, and these are the figures of the dearer way."
            if self.instead
            else ""
        )
        cost = f", at most {usage.cost:.4f} by the price file" if self.arguments.prices else ""
        return (
            f"{len(self.candidates.items)} cases by {name}, up to {self.way.rounds} orders each: {usage.requests} "
            f"questions are not answered yet, some {usage.prompt_tokens:,} tokens to read and up to "
            f"{usage.completion_tokens:,} to write{cost}.{unsure} The shuffled history, each length of --curve and "
            f"each repeat take as much again, and what the model knows by heart is asked in {2 * memorised.PROBES} "
            "short questions. Nothing was asked."
        )

    def _dearest(self) -> tuple[str, Usage]:
        """The scoring by which asking may take the most, and what it takes."""
        ways = {self.specifications["scoring"]["name"]: self.way}
        if self.instead:
            ways["generate"] = replace(self.instead, shots=self.way.shots, examples=self.way.examples)
        found = {name: zeroshot.estimate(self.candidates, self.rows, way, self.asker) for name, way in ways.items()}
        return max(found.items(), key=lambda each: (each[1].cost, each[1].prompt_tokens + each[1].completion_tokens))

    def measure(self) -> Result:
        """Ranks with all others, asks, and makes run tables; what costs nothing comes first, for it may fail too."""
        free = {name: [self._table(scores, **how)] for name, scores, how in self._free()}
        trained = self._trained()
        asked = self._asked()
        outcomes = {}
        for name, candidates, way in asked:
            with self.console.counting(f"{name}: {len(candidates.items)} cases") as self.asker.progress:
                outcomes[name] = zeroshot.rank(candidates, self.rows, way, self.asker)
        again = [self._again(*asked[0][1:], repeat) for repeat in range(1, self.arguments.repeats)]
        with self.console.counting("what it knows by heart") as self.asker.progress:
            recall = memorised.probe(self.split.dataset, self.asker)
        told = {"model": model_of(self.arguments), **self.asker.backend.identity(), "prompt": self.way.prompt.name}
        kinds = dict.fromkeys(free, "no training") | dict.fromkeys(outcomes, "LLM prompted")
        rows = free | {name: [self._table(each.scores, **told)] for name, each in outcomes.items()} | trained
        kinds |= {name: zeroshot_candidates.kind_of(next(iter(each))) for name, each in self.trained.items()}
        shown = {"history": self.way.last, "rounds": self.way.rounds, "shots": self.way.shots}
        facts = {**told, **shown, "merge": self.way.merge}
        facts |= {kind: _words(each) for kind, each in self.specifications.items()}
        return Result(self.task, rows, kinds, outcomes, again, self.asker.tried, recall, facts, self.notes)

    def _asked(self) -> list[tuple[str, Candidates, Way]]:
        """Rows of the prompted model: as asked for, with the shown items shuffled, with other numbers of them."""
        shown = _cut(self.candidates.cases, self.way.last)
        shuffled = replace(self.candidates, cases=slices.shuffled(shown, _SEED))
        asked = [(self.label, self.candidates, self.way), (f"{self.label}, history shuffled", shuffled, self.way)]
        for last in _curve(self.arguments.curve):
            asked.append((f"{self.label}, history {last}", self.candidates, replace(self.way, last=last)))
        return asked

    def _again(self, candidates: Candidates, way: Way, repeat: int) -> Outcome:
        with self.console.counting(f"{self.label}, asked again") as self.asker.progress:
            return zeroshot.rank(candidates, self.rows, way, self.asker, repeat)

    def _free(self) -> Iterator[tuple[str, list[Scores], dict[str, Any]]]:
        """What needs no training."""
        with self.console.counting("item vectors") as self.text.progress:
            known = self.text.known(self.split)
        for name in components.names("baselines"):
            specification = components.resolve("baselines", name)
            baseline = components.create("baselines", specification)
            if name != "random" and known.has(baseline.needs):
                scorer = baseline.fit(known)
                chosen = {"chosen": scorer.chosen} if isinstance(scorer, Chooses) else {}
                yield name, self.candidates.scores(scorer), {"baseline": specification, **chosen}
        if self.text.missing:
            self.notes.append(f"without the rows that read texts: {self.text.missing}")
        overlap = prompt_statistics.overlap(self.candidates, self.rows, self.way.last)
        yield "prompt statistics", overlap, {"baseline": {"name": "prompt_statistics", "last": self.way.last}}

    def _trained(self) -> dict[str, list[RunTable]]:
        """The runs of ``--against``, seeds of one model together."""
        return {
            name: [
                self._table(zeroshot_candidates.scores_of(folder, self.candidates), **saved.provenance)
                for folder, saved in runs_of_one.items()
            ]
            for name, runs_of_one in self.trained.items()
        }

    def _table(self, scores: Sequence[Scores], **facts: Any) -> RunTable:
        cases, lists = self.candidates.ranked(scores)
        made = facts if "versions" in facts else runs.provenance(**facts)
        return RunTable(slices.with_counts(cases, self.split), lists, self.protocol, made)


def _untold(asker: Asker, scoring: dict[str, Any], number: int, *, may_ask: bool) -> str | None:
    """What a scoring needs of so many candidates and the backend does not tell; None where a server must be asked."""
    if not components.create("scorings", scoring).needs_options:
        return ""
    name = scoring["name"]
    several_tokens = name == "likelihood" or (name == "letters" and len(labels(number)[0]) > 1)
    if several_tokens and not asker.backend.scores_whole:
        return "how likely options of several tokens are"
    if not (may_ask or asker.knows_scoring):
        return None
    return "" if asker.scores_options() else "how likely an option is"


def _require_shown(study: Study) -> None:
    """Refuses a prompt that leaves out some candidates for a scoring that asks about all of them at once.

    A prompt that shows none is another matter: then all are judged alike.

    Raises:
        ConfigError: some are left out.
    """
    scoring, asked_for = study.specifications["scoring"]["name"], study.arguments.scoring
    number = len(study.candidates.items[0])
    shown = zeroshot.question(study.candidates, study.rows, study.way, 0, np.arange(number)).shown
    if scoring in ("letters", "generate") and 0 < shown < number:
        why = "" if scoring == asked_for else f" (in the place of {asked_for}, as the model tells no log-likelihoods)"
        raise ConfigError(
            f"--prompt {study.way.prompt.name} shows {shown} of {number} candidates, and --scoring {scoring}{why} asks "
            "about all at once; a prompt that shows two is for --scoring pairwise, one that shows one is for pointwise"
        )


def _shown(specification: dict[str, Any], backend: Backend) -> dict[str, Any]:
    """A backend's options as they are printed and kept: a server's address as its identity has it, without a login."""
    return specification | ({"url": backend.identity()["url"]} if "url" in specification else {})


def _words(specification: dict[str, Any]) -> str:
    """A component and its options in one word each."""
    options = [f"{key}={value}" for key, value in specification.items() if key != "name"]
    return " ".join([specification["name"], *options])


def _way(arguments: argparse.Namespace, task: Task, scoring: dict[str, Any], number: int) -> Way:
    if arguments.merge not in zeroshot.MERGES:
        raise ConfigError(f"--merge: no way {arguments.merge!r}{nearest(arguments.merge, zeroshot.MERGES)}")
    chosen = components.create("scorings", scoring)
    prompt = Prompt.load(arguments.prompt or chosen.prompt or task.prompt)
    if prompt.kind != "zeroshot":
        raise ConfigError(f"--prompt {prompt.name}: must be one of prompts/zeroshot/")
    if scoring["name"] in ("letters", "pairwise") and not shows_letters(prompt):
        raise ConfigError(f"--prompt {prompt.name} shows no labels, which --scoring {scoring['name']} reads off")
    wanted = min(task.wanted, number)
    return Way(prompt, chosen, wanted, arguments.history, arguments.rounds, arguments.merge, arguments.seed)


def _cut(cases: Cases, last: int) -> Cases:
    """The same cases with the last items of their histories alone."""
    known = [cases.histories[row] for row in range(len(cases))]
    histories = [history[max(0, len(history) - last) :] for history in known]
    return replace(cases, histories=replace(Sequences.from_lists(histories), users=cases.histories.users))


def _curve(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",") if part]
    except ValueError:
        raise ConfigError(f"--curve takes numbers with commas between, came {text!r}") from None
