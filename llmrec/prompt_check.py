"""Looks for what is wrong with prompts: on their own, beside one another, and rendered for real users."""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from llmrec import components
from llmrec.errors import ConfigError, DataError, PromptError, nearest
from llmrec.generative.examples import Fields
from llmrec.interactions import Dataset
from llmrec.options import FeatureOptions
from llmrec.prompt_fields import Use
from llmrec.prompt_rows import HISTORY, PromptRows, columns, emptied, filled, labelled
from llmrec.prompting import Prompt, found, item_texts
from llmrec.splits import Split

CANDIDATES = 20
"""Candidates in a zero-shot case; ChatGPT-style rankers are mostly asked about so many. P5's prompts name their own."""

ITEM_PROMPT = FeatureOptions().prompt
"""How a zero-shot prompt calls items unless told otherwise."""
_FEW = 5
"""Candidates are compared with one another in lists of so many."""
_Variables = dict[str, Any]
_UNRENDERED = "cannot be rendered"
_LEAK = "the answer stands in its own input"
_EMPTY = "is empty: no answer to learn or to compare with"
_REPEAT = "the answer stands in the history or in another field that may be shown (a repeat, or part of another text)"


@dataclass
class Findings:
    """Faults make the check fail, notes do not; one line each."""

    tried: list[str] = field(default_factory=list)
    """Names of those that were rendered."""
    passed: list[str] = field(default_factory=list)
    """Names of those without a fault."""
    switched_off: int = 0
    """How many more the data cannot be shown with; of each a note says which field is missing."""
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def check(names: list[str], dataset: Dataset, split: str, *, cases: int = 200, seed: int = 0) -> Findings:
    """Checks prompts by name on a data set; without names all there are.

    A field that the data never fill is a fault of a prompt that was named; others are switched off.

    Args:
        names: such as ``p5/sequential/next_item``.
        dataset: whose users and items the prompts are rendered for.
        split: name of the split whose test targets are asked for.
        cases: how many users P5 and zero-shot prompts are rendered for; item prompts are for every item.
        seed: of the users and of their candidates.

    Raises:
        PromptError: a name that no prompt has.
        ConfigError: fewer than one case, or a negative seed.
        DataError: data that the split refuses.
    """
    if cases < 1:
        raise ConfigError(f"cases must be at least 1, came {cases}")
    if seed < 0:
        raise ConfigError(f"seed must be at least 0, came {seed}")
    places = found()
    if unknown := [name for name in names if name not in places]:
        raise PromptError(f"no prompt {unknown[0]!r}{nearest(unknown[0], places)}")
    findings = Findings()
    loaded = list(_load(places, findings, names or list(places)))
    chosen = [prompt for prompt in loaded if not names or prompt.name in names]
    alike = _same_bodies(loaded, chosen)
    findings.faults += [f"{first}: the same body as {', '.join(rest)}; delete one" for first, *rest in alike]
    trial = _Trial(dataset, split, cases, seed, findings)
    for prompt in chosen:
        trial.examine(prompt, named=bool(names))
    faulty = {fault.partition(": ")[0] for fault in findings.faults}.union(*alike)
    findings.passed = [name for name in findings.tried if name not in faulty]
    return findings


def cut(dataset: Dataset, split: str) -> Split:
    """Splits a data set by the name of a split.

    Raises:
        ConfigError: no such split.
        DataError: a split that leaves nobody to ask about.
    """
    parts: Split = components.create("splits", components.resolve("splits", split)).split(dataset)
    if not len(parts.test):
        raise DataError(f"{dataset.name}: split {split!r} leaves no test case to render a prompt for")
    return parts


def rows_for(kind: str, dataset: Dataset) -> tuple[PromptRows, str]:
    """Rows that prompts of a kind are filled with, and why they are not those of ``eval.zeroshot``, if they are not.

    It calls items as ITEM_PROMPT says, unless told otherwise, and refuses data that this gives no texts; prompts for it
    are then shown and checked with titles.
    """
    if kind != "zeroshot":
        return PromptRows(dataset), ""
    try:
        return PromptRows(dataset, item_texts(dataset, Prompt.load(ITEM_PROMPT))), ""
    except (DataError, PromptError) as error:
        return PromptRows(dataset), f"items are shown by their titles or ids; eval.zeroshot would say: {error}"


def stands_in(answer: str, text: str) -> bool:
    """Whether a text holds an answer as whole words, whatever their case and the blanks between."""
    words = r"\s+".join(map(re.escape, answer.split()))
    return bool(words) and re.search(rf"(?<!\w){words}(?!\w)", text, re.IGNORECASE) is not None


def _load(places: dict[str, list[Path]], findings: Findings, reported: list[str]) -> Iterator[Prompt]:
    for name in places:
        try:
            yield Prompt.load(name, places)
        except PromptError as error:
            findings.faults += [f"{name}: {fault}" for fault in error.faults if name in reported]


def _same_bodies(loaded: list[Prompt], chosen: list[Prompt]) -> list[tuple[str, ...]]:
    """Names of the prompts that say the same, together."""
    names: dict[str, list[str]] = defaultdict(list)
    for prompt in loaded:
        names[prompt.body.strip()].append(prompt.name)
    return sorted({tuple(names[prompt.body.strip()]) for prompt in chosen if len(names[prompt.body.strip()]) > 1})


class _Trial:
    """A data set and some of its users, on which prompts are tried one by one."""

    def __init__(self, dataset: Dataset, split: str, cases: int, seed: int, findings: Findings) -> None:
        self.dataset, self.seed, self.findings = dataset, seed, findings
        self.columns, self.filled = columns(dataset), filled(dataset)
        parts = cut(dataset, split)
        self.fields = Fields(parts)
        self._rows = cache(partial(rows_for, dataset=parts.dataset))
        order = np.random.default_rng(seed).permutation(len(parts.test))[:cases]
        self.cases = parts.test.take(np.sort(order))
        self._known: dict[tuple[int, int | None], _Variables] = {}

    def examine(self, prompt: Prompt, named: bool) -> None:
        """Adds what is wrong with one prompt, or that it is switched off."""
        if prompt.kind == "instructions":  # a file of its own fills it; what can be said without one, parsing has said
            self.findings.tried.append(prompt.name)
            return
        unknown = prompt.anatomy.unknown_fields(self.columns)
        empty = prompt.anatomy.never_filled(self.columns, self.filled)
        if empty and not unknown and not named:
            self._switch_off(prompt, empty)
            return
        stars = self.fields.unlike_stars(prompt) if prompt.kind == "p5" else ""
        if stars and not named:
            self.findings.switched_off += 1
            self.findings.notes.append(f"{prompt.name}: switched off: {stars}")
            return
        self.findings.tried.append(prompt.name)
        faults = unknown + [
            f"line {use.line}: {use.variable}.{use.field} is never filled in {self.dataset.name}" for use in empty
        ]
        faults += [stars] if stars else []
        if not unknown:  # else every case would say so again
            faults += self._item_faults(prompt) if prompt.kind == "items" else self._case_faults(prompt)
        self.findings.faults += [f"{prompt.name}: {fault}" for fault in faults]

    def _switch_off(self, prompt: Prompt, empty: list[Use]) -> None:
        fields = ", ".join(f"{use.variable}.{use.field}" for use in empty)
        what = f"{fields} {'is' if len(empty) == 1 else 'are'} never filled in {self.dataset.name}"
        self.findings.switched_off += 1
        self.findings.notes.append(f"{prompt.name}: switched off: {what}")

    def _item_faults(self, prompt: Prompt) -> list[str]:
        try:
            texts = item_texts(self.dataset, prompt)[1:]
        except (DataError, PromptError) as error:
            return [str(error)]
        faults = []
        if len(texts) > 1 and len(set(texts)) == 1:
            faults.append(f"all {len(texts)} items have one text, {texts[0]!r}; name a field that tells them apart")
        limit = prompt.head.max_chars or max(map(len, texts))
        if longer := [row for row, text in enumerate(texts) if len(text) > limit]:
            faults.append(
                f"the text is longer than max_chars {limit} for {len(longer)} of {len(texts)} items, such as "
                f"{self.dataset.item_ids[longer[0] + 1]!r}: {len(texts[longer[0]])} characters"
            )
        return faults

    def _case_faults(self, prompt: Prompt) -> list[str]:
        """One line per kind of fault, with the number of cases and the first user."""
        if otherwise := self._rows(prompt.kind)[1]:
            self.findings.notes.append(f"{prompt.name}: {otherwise}")
        met: dict[str, list[str]] = defaultdict(list)
        for row in range(len(self.cases)):
            variables = self._variables(prompt, row)
            for fault, detail in _faults_of_case(prompt, variables):
                met[fault].append(f"user {variables['user']['user_id']!r}{detail and ': '}{detail}")
        lines = {
            fault: f"{fault} in {len(users)} of {len(self.cases)} cases, such as {users[0]}"
            for fault, users in met.items()
        }
        for fault in [fault for fault, users in met.items() if self._is_note(prompt, fault, len(users))]:
            self.findings.notes.append(f"{prompt.name}: {lines.pop(fault)}")
        return list(lines.values()) + ([] if _UNRENDERED in lines else self._alike(prompt))

    def _is_note(self, prompt: Prompt, fault: str, met: int) -> bool:
        """Whether people come back to things, or some rows, though not all, lack what a P5 prompt asks for."""
        return fault == _REPEAT or (prompt.kind == "p5" and fault.endswith(_EMPTY) and met < len(self.cases))

    def _variables(self, prompt: Prompt, row: int) -> _Variables:
        number, last = (CANDIDATES, HISTORY) if prompt.kind == "zeroshot" else (prompt.head.candidates, None)
        rows, _ = self._rows(prompt.kind)
        if (row, last) not in self._known:
            self._known[row, last] = rows.variables(self.cases, row, last=last)
        if not prompt.anatomy.shows("candidates"):
            return self._known[row, last]
        drawn = rows.draw_candidates(self.cases, row, number, self.seed)
        return self._known[row, last] | {"candidates": labelled([rows.items[item] for item in drawn])}

    def _alike(self, prompt: Prompt) -> list[str]:
        """Items of the catalogue that the prompt shows as the same candidate: an answer could mean either."""
        if not prompt.anatomy.shows("candidates"):
            return []
        variables = self._variables(prompt, 0)
        number = min(_FEW, len(variables["candidates"]))
        seen: dict[str, str] = {}
        pairs = []
        for item in self._rows(prompt.kind)[0].items[1:]:
            try:
                text = prompt.given(**variables | {"candidates": labelled([item] * number)})
            except PromptError as error:
                return [f"{_UNRENDERED} with candidate {item['item_id']!r}: {error}"]
            first = seen.setdefault(text, item["item_id"])
            if first != item["item_id"]:
                pairs.append(f"{first!r} and {item['item_id']!r}")
        if not pairs:
            return []
        return [f"{len(pairs)} items look like another one among the candidates, such as {pairs[0]}; show more fields"]


def _faults_of_case(prompt: Prompt, variables: _Variables) -> Iterator[tuple[str, str]]:
    """Faults of one case, each with what this case has of it."""
    no_candidates = {"candidates": [emptied(row) for row in variables["candidates"]]}
    try:
        given, answer = prompt.given(**variables), prompt.render(str(prompt.answer), **variables)
        unlisted = prompt.given(**variables | no_candidates)
        bare = prompt.given(**variables | no_candidates | _what_may_be_shown(prompt, variables))
        shows_itself = _from_history(prompt) and _shows_marks(prompt, variables | no_candidates)
    except PromptError as error:
        yield _UNRENDERED, str(error)
        return
    limit = prompt.head.max_chars
    if not given:
        yield "the input is empty", ""
    if not answer:
        yield f"block {prompt.answer!r} {_EMPTY}", ""
    if limit and len(given) > limit:
        yield f"the input is longer than max_chars {limit} and the answer would be cut off", f"{len(given)} characters"
    if shows_itself or (_says_something(prompt, answer) and stands_in(answer, unlisted)):
        yield _LEAK if shows_itself or stands_in(answer, bare) else _REPEAT, repr(answer)


def _from_history(prompt: Prompt) -> bool:
    return any(use.section == prompt.answer and use.variable == "history" for use in prompt.anatomy.uses)


def _shows_marks(prompt: Prompt, variables: _Variables) -> bool:
    """Whether an answer made of the history stands in the input when no two rows of the history are alike.

    Every text of the history becomes a mark of its own; an item that merely comes back is then no leak.
    """
    marked = {
        "history": [
            {name: f"{place}mark{name}" if isinstance(value, str) else value for name, value in row.items()}
            for place, row in enumerate(variables["history"])
        ]
    }
    try:
        answer, given = prompt.render(str(prompt.answer), **variables | marked), prompt.given(**variables | marked)
    except PromptError:  # a template that takes texts apart, which a mark does not look like
        return False
    return _says_something(prompt, answer) and stands_in(answer, given)


def _what_may_be_shown(prompt: Prompt, variables: _Variables) -> _Variables:
    """Empty rows for the history and for what the kind of target lets the input show.

    With them, what is left of an input comes from the template, from the user's row, or from the field asked for.
    """
    empty: _Variables = {"history": [emptied(row) for row in variables["history"]]}
    asked = [use for use in prompt.anatomy.uses if use.section == prompt.answer]
    if any(use.variable == "item" for use in asked):
        return empty
    kept = {use.field for use in asked if use.variable == "interaction"}
    others = {name: value for name, value in variables["interaction"].items() if name not in kept}
    interaction = variables["interaction"] | emptied(others)
    return empty | {"item": emptied(variables["item"]), "interaction": interaction}


def _says_something(prompt: Prompt, answer: str) -> bool:
    """Whether an answer can be searched for: not a bare number, nor a choice that the template itself offers."""
    return any(letter.isalpha() for letter in answer) and not stands_in(answer, prompt.body)
