"""What ``eval.transfer --source`` says of its cells: accuracy on each target beside what learned, and what it cost."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from eval import cells, terminal, transfer_plot
from eval.domain_cells import Study
from eval.domain_methods import FROM_NOTHING, GAIN
from eval.terminal import Line
from eval.transfer_rows import Row
from llmrec import report
from llmrec.evaluation import Interval
from llmrec.report import SHOWN, TESTED, Runs, interval
from llmrec.runs import write_json, write_text

BEST = "full"
"""What every method is to come near to."""
RIVALS = (*FROM_NOTHING, "tfidf")
"""What it should beat: what brings nothing along, or learns nothing."""
MARGIN = 0.02
"""Of the accuracy of :data:`BEST`: what is lost below that is no loss."""
Told = Callable[[Interval, str], str]
LINES = ("popularity", "tfidf")
"""Rows without training that the plot shows."""


@dataclass(frozen=True)
class Cost:
    """What a method takes, means over seeds: parameters that learned and all, bytes that are stored for the target
    beside the source's run, seconds of training, and the most memory."""

    learned: float
    parameters: float
    stored_bytes: float
    seconds: float
    memory_bytes: float

    @property
    def share(self) -> float:
        """Of the parameters, how many learned."""
        return self.learned / self.parameters


@dataclass(frozen=True)
class Nearness:
    """Whether a method is as good as full tuning within the margin, by the interval of the paired difference.

    ``verdict``: inferior where the whole interval is below the margin, non-inferior where none of it is, else
    undecided; ``width``: of the interval, by the accuracy of full tuning.
    """

    difference: Interval
    margin: float
    width: float

    @property
    def verdict(self) -> str:
        """In a word."""
        if self.difference.low > -self.margin:
            return "non-inferior"
        return "inferior" if self.difference.high < -self.margin else "undecided"


class Report:
    """All methods on one target.

    Args:
        study: source, target and what they have in common.
        chosen: by method.
        missing: methods that lack a cell, or which of their seeds.
    """

    def __init__(self, study: Study, chosen: Mapping[str, cells.Chosen], missing: Sequence[str] = ()) -> None:
        self.study, self.title, self.chosen, self.missing = study, study.title, chosen, missing
        self.runs: Runs = {**study.free(), **{name: each.tables() for name, each in chosen.items()}}
        self.rows = {row.name: row for row in report.rows(self.runs)} if self.runs else {}
        self.costs = {name: _cost(each) for name, each in chosen.items()}

    def against(self, name: str, rival: str) -> Interval | None:
        """The paired difference in nDCG@10; None where there is no such rival."""
        if rival not in self.runs or name == rival:
            return None
        return report.paired_tests(self.runs, [(name, rival)])[0].difference

    def nearness(self, name: str) -> Nearness | None:
        """To full tuning."""
        difference = self.against(name, BEST)
        if difference is None:
            return None
        best = self.rows[BEST].metrics[TESTED].value
        if not best:  # there is nothing to come near to
            return None
        return Nearness(difference, MARGIN * best, (difference.high - difference.low) / best)

    def show(self, width: int | None = None) -> str:
        """The table for a terminal."""
        console = Console(width=width, highlight=False)
        with console.capture() as captured:
            console.print(self.title, markup=False, style="bold")
            for part in terminal.fitting("method", *self._table(terminal.short), console.width):
                console.print(part)
            for note in self._notes():
                console.print(note, markup=False, style="dim")
        return captured.get()

    @property
    def text(self) -> str:
        """The same as Markdown."""
        heads, lines = self._table(interval)
        table = ["| " + " | ".join(["method", *heads]) + " |", "|---" * (1 + len(heads)) + "|"]
        table += ["| " + " | ".join([name, *line]) + " |" for name, line in lines]
        return "\n".join([f"**{self.title}**", "", *table, "", *(f"- {note}" for note in self._notes()), ""])

    def as_json(self) -> dict[str, Any]:
        """The same as plain values."""
        if not self.runs:
            return {"missing": [*self.missing]}
        near = {name: self.nearness(name) for name in self.chosen}
        return {
            **report.as_json(
                self.runs,
                [(name, rival) for name in self.chosen for rival in RIVALS if self.against(name, rival)],
            ),
            "costs": {name: {**asdict(cost), "share": cost.share} for name, cost in self.costs.items()},
            "near_full": {
                name: {**asdict(each), "difference": each.difference._asdict(), "verdict": each.verdict}
                for name, each in near.items()
                if each is not None
            },
            "settings": {name: each.setting for name, each in self.chosen.items()},
            "missing": [*self.missing],
        }

    @property
    def plotted(self) -> list[Row]:
        """As :mod:`eval.transfer_plot` takes them; what nothing learned for has no share."""
        return [
            Row(name, row.n, row.metrics, share=self.costs[name].share or None if name in self.costs else None)
            for name, row in self.rows.items()
            if name in self.costs or name in LINES
        ]

    @property
    def _heads(self) -> list[str]:
        costs = ["learned", "stored MB", "seconds", "memory GB"]
        return [*SHOWN, *costs, f"less {BEST}", f"within {MARGIN:.0%}", *(f"less {rival}" for rival in RIVALS)]

    def _table(self, told: Told) -> tuple[list[str], list[Line]]:
        """Headings and rows, without columns in which nothing stands: there may be no rival."""
        lines = list(self._lines(told))
        filled = [place for place in range(len(self._heads)) if any(line[place] for _, line in lines)]
        return [self._heads[place] for place in filled], [(name, [line[at] for at in filled]) for name, line in lines]

    def _lines(self, told: Told) -> Iterator[Line]:
        """Rows of the table; ``told`` writes a mean with its interval, and a sign before it if asked for."""
        for name, row in self.rows.items():
            values = [told(row.metrics[metric], "") for metric in SHOWN]
            less = [self.against(name, rival) for rival in RIVALS]
            tests = [told(each, "+") if each else "" for each in less]
            yield name, [*values, *self._cost(name), *self._near(name, told), *tests]

    def _cut(self, chosen: cells.Chosen) -> bool:
        """Whether it was best at the last epoch allowed."""
        most = self.study.recipe.epochs[1]
        return any(table.provenance["best_epoch"] == most for table in chosen.tables())

    def _cost(self, name: str) -> list[str]:
        if (cost := self.costs.get(name)) is None:
            return [""] * 4
        stored, memory = cost.stored_bytes / 1e6, cost.memory_bytes / 1e9
        return [f"{100 * cost.share:.3g} %", f"{stored:.2f}", f"{cost.seconds:,.0f}", f"{memory:.2f}"]

    def _near(self, name: str, told: Told) -> list[str]:
        found = self.nearness(name) if name in self.chosen else None
        if found is None:
            return ["", ""]
        return [told(found.difference, "+"), f"{found.verdict} (width {found.width:.0%})"]

    def _notes(self) -> Iterator[str]:
        if self.missing:
            yield f"Missing: {', '.join(self.missing)}."
        if cut := [name for name, chosen in self.chosen.items() if self._cut(chosen)]:
            yield f"Still rising when training ended (best at the last epoch allowed, some seed): {', '.join(cut)}."
        if self.study.users:
            yield (
                "All seeds learn from the same users; epochs and rates are chosen on the validation cases of all users."
            )
        if not any(name in self.chosen for name in FROM_NOTHING):
            rows = " or ".join(FROM_NOTHING)
            yield f"Without {rows} nothing is told of what the source was good for: a model without it may be better."
        if not self.runs:
            return
        yield next(iter(self.runs.values()))[0].protocol.line()
        yield (
            "Means over seeds, 95 % bootstrap over users; learning rate by validation on the first seed. learned: of "
            "all parameters, the language model's included; stored: what the target has that the source's run has not; "
            "seconds: of training alone, with one thread; memory: the most of a run."
        )
        yield (
            "scratch and scratch_frozen begin with the public language model and nothing of the source; all of it "
            f"learns, or none; their projection begins as usual or {GAIN:g} times as large, whichever is better in "
            "validation. Where a tuning has additions for the user encoder too, these and those of the language "
            "model learn alone; else projection and user encoder learn beside what the tuning lets learn. scratch, "
            "full and top_blocks: the language model's own weights learn at a twentieth of the rate."
        )
        yield (
            f"within {MARGIN:.0%}: the paired difference in nDCG@10 to {BEST}: non-inferior: its whole interval above "
            f"-{MARGIN:.0%} of that; inferior: the whole below; undecided: else. width: of the interval, by {BEST}."
        )
        if settings := [(name, chosen.setting) for name, chosen in self.chosen.items() if chosen.setting]:
            yield f"Chosen: {_told(settings)}."
        if lost := [(name, setting) for name, chosen in self.chosen.items() for setting in chosen.diverged]:
            yield f"Diverged, so not to be chosen: {_told(lost)}."
        yield from report.provenance_lines({name: self.runs[name] for name in self.chosen})


def save(reports: Sequence[Report], path: Path) -> None:
    """Writes Markdown, JSON and a plot of all targets beside each other, and one of learning curves where a
    target has rows of two numbers of users; nothing of a target without a row."""
    if not (reports := [each for each in reports if each.rows]):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path.with_name(path.name + ".md"), "\n".join(each.text for each in reports))
    groups = {each.title: each.as_json() for each in reports}
    write_json(path.with_name(path.name + ".json"), {"groups": groups})
    metrics = {each.title: TESTED for each in reports}
    transfer_plot.plot({each.title: each.plotted for each in reports}, metrics, path.with_name(path.name + ".png"))
    curves: dict[str, dict[str, list[Row]]] = {}
    for each in reports:
        words = f"{each.study.users:,}" if each.study.users else "all"
        curves.setdefault(each.study.target, {})[words] = each.plotted
    if curves := {target: found for target, found in curves.items() if len(found) > 1}:
        transfer_plot.plot_curves(curves, TESTED, path.with_name(path.name + "-curve.png"))


def _told(settings: Sequence[tuple[str, cells.Setting]]) -> str:
    return "; ".join(f"{name} {', '.join(f'{key} {each}' for key, each in some.items())}" for name, some in settings)


def _cost(chosen: cells.Chosen) -> Cost:
    facts = [table.provenance for table in chosen.tables()]

    def mean(key: str) -> float:
        return float(np.mean([fact[key] for fact in facts]))

    seconds = float(np.mean([fact["seconds"]["train"] for fact in facts]))
    learned = mean("trainable_parameters") if seconds else 0.0
    return Cost(learned, mean("parameters"), mean("stored_bytes"), seconds, mean("peak_memory_bytes"))
