"""P5's prompts by family, on one data set: what training can do with them, and how long they are.

A family is a folder below ``prompts/p5/``: ``rating``, or ``yelp/rating`` of a set of its own.
"""

import shutil
from collections import defaultdict
from collections.abc import Callable
from statistics import fmean
from typing import Any

import numpy as np
import polars as pl
from rich import box
from rich.console import Console
from rich.table import Table

from llmrec import loading
from llmrec.generative.examples import Fields
from llmrec.interactions import Dataset
from llmrec.prompt_check import cut
from llmrec.prompt_rows import PromptRows, has_values, labelled, tables
from llmrec.prompting import Prompt, found
from llmrec.sequences import Sequences
from llmrec.splits import Cases, Split

EXAMPLES = 100
"""Examples that each prompt is rendered for; their lengths are shown."""

_Measure = Callable[[list[str]], list[int]]


def facts(dataset: Dataset, split: str, model: str | None = None) -> dict[str, Any]:
    """Counts and lengths of every family; the same every time.

    Args:
        dataset: that the prompts are for.
        split: name of the split whose training part gives the examples.
        model: whose tokens are counted, a name or a folder on this machine; None: words.

    Raises:
        PromptError: a prompt file that cannot be read.
        ConfigError: no such split or model.
        DataError: data that the split refuses, or a model without a tokenizer.
    """
    families = defaultdict(list)
    places = found()
    for name in places:
        if (prompt := Prompt.load(name, places)).kind == "p5":
            families[name.rpartition("/")[0]].append(prompt)
    measure, training = _measure(model), _Training(cut(dataset, split))
    rows = [{"family": family} | training.facts(prompts, measure) for family, prompts in families.items()]
    unit = "words" if model is None else "tokens"
    return {"data": dataset.name, "split": split, "unit": unit, "model": model, "families": rows}


def show(found: dict[str, Any]) -> str:
    """The facts as a table that fits the terminal; names of families are folded where there is little room."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=0)
    table.add_column("family", overflow="fold")
    for heading in ("prompts", "unseen", "off", "examples", "input\nmean", "max", "target\nmean", "max"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in found["families"]:
        counts = [f"{row[name]:,}" for name in ("prompts", "unseen", "switched_off", "examples")]
        table.add_row(row["family"], *counts, *_lengths(row["input"]), *_lengths(row["target"]))
    console = Console(width=shutil.get_terminal_size().columns, highlight=False, color_system=None)
    with console.capture() as text:
        console.print(table)
        console.print(
            f"{found['data']}, {found['split']}. off: show what the data never fill, or ratings that are no stars of "
            "five. examples: training interactions that a prompt which is neither off nor unseen can ask for. Lengths "
            f"in {found['unit']}, of {EXAMPLES} examples a prompt."
        )
    return "\n".join(line.rstrip() for line in text.get().splitlines()).strip("\n")


def _lengths(found: dict[str, float] | None) -> list[str]:
    return ["-", "-"] if found is None else [f"{found['mean']:.1f}", f"{found['longest']:,}"]


def _measure(model: str | None) -> _Measure:
    if model is None:
        return lambda texts: [len(text.split()) for text in texts]
    tokenizer = loading.load_tokenizer(loading.at_hand(model))
    return lambda texts: [len(ids) for ids in tokenizer(texts)["input_ids"]]


class _Training:
    """The training interactions of a split, each a possible example."""

    def __init__(self, split: Split) -> None:
        self.rows, self.train = PromptRows(split.dataset), split.train
        self.fields = Fields(split)
        self.sequence = split.train.rows()
        self.place = np.arange(len(self.sequence)) - split.train.offsets[self.sequence]
        self.has = _has(split)
        self._known: dict[int, tuple[Cases, dict[str, Any]]] = {}

    def facts(self, prompts: list[Prompt], measure: _Measure) -> dict[str, Any]:
        """Those of one family."""
        on = [prompt for prompt in prompts if not self.fields.lacking(prompt)]
        asked = [self._asked(prompt) for prompt in on if not prompt.head.unseen]
        texts = [text for prompt in on for row in self._some(prompt) if (text := self._render(prompt, row))[1]]
        lengths = [measure(list(side)) for side in zip(*texts, strict=True)] or [[], []]
        return {
            "prompts": len(prompts),
            "unseen": sum(prompt.head.unseen for prompt in prompts),
            "switched_off": len(prompts) - len(on),
            "examples": int(np.any(asked, axis=0).sum()) if asked else 0,
        } | {
            side: {"mean": fmean(each), "longest": max(each)} if each else None
            for side, each in zip(("input", "target"), lengths, strict=True)
        }

    def _asked(self, prompt: Prompt) -> np.ndarray:
        """Which interactions have what the prompt is made of, and something before them if a history is shown."""
        asked = self.place > 0 if prompt.anatomy.shows("history") else np.ones(len(self.place), dtype=bool)
        for place in prompt.anatomy.alternatives():
            if place[0].variable == "interaction":
                asked = asked & np.any([self.has[str(use.field)] for use in place], axis=0)
        return asked

    def _some(self, prompt: Prompt) -> list[int]:
        rows = np.random.default_rng(0).permutation(np.flatnonzero(self._asked(prompt)))[:EXAMPLES]
        chosen: list[int] = rows.tolist()
        return chosen

    def _render(self, prompt: Prompt, row: int) -> tuple[str, str]:
        if row not in self._known:  # prompts that ask about the same interactions have their examples in common
            self._known[row] = self._variables(row)
        case, variables = self._known[row]
        if prompt.anatomy.shows("candidates"):
            drawn = self.rows.draw_candidates(case, 0, prompt.head.candidates, seed=row)
            variables = variables | {"candidates": labelled([self.rows.items[item] for item in drawn])}
        return prompt.given(**variables), prompt.render(str(prompt.answer), **variables)

    def _variables(self, row: int) -> tuple[Cases, dict[str, Any]]:
        """A training interaction as a case, and what prompts know of it."""
        user, item = np.array([self.sequence[row] + 1]), self.train.values[row : row + 1]
        known = Sequences.from_lists([self.train.values[row - self.place[row] : row]])
        case = Cases("training", user, item, self.place[row : row + 1], known)
        return case, self.rows.variables(case, 0)


def _has(split: Split) -> dict[str, np.ndarray]:
    """By field of the log, which training interactions fill it."""
    key = ["user", "item", "timestamp"]
    log = pl.concat(
        [split.dataset.interactions.select(key[:2]), tables(split.dataset)["interaction"]], how="horizontal"
    )
    fields = [column for column in log.columns if column not in key]
    known = log.select(*key, *(has_values(log[field]) for field in fields)).unique(key, keep="first")
    asked = pl.DataFrame(
        {"user": split.train.rows() + 1, "item": split.train.values, "timestamp": split.train.times}
    ).cast({name: log.schema[name] for name in key})
    joined = asked.join(known, on=key, how="left", maintain_order="left")
    return {field: joined[field].to_numpy() for field in fields}
