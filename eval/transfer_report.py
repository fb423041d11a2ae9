"""What ``eval.transfer`` says of its cells: metrics by task, what learned, what is stored, and what was forgotten."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from eval import terminal, transfer_free, transfer_plot
from eval.terminal import Line
from eval.transfer_cells import Cell, Study, evaluation_name
from eval.transfer_free import FREQUENT
from eval.transfer_rows import Cost, Row, cost, forgotten
from llmrec import evaluation, protocol, report
from llmrec.evaluation import Interval
from llmrec.report import PairedTest, Runs, interval
from llmrec.runs import RunTable, write_json, write_text
from llmrec.task_results import METRICS, SELECTION
from llmrec.tasks import Task

CHANCE = "chance"
COSTS = (
    "learned",
    "learned without items",
    "stored networks",
    "stored MB",
    "task seconds",
    "source seconds",
    "source nDCG@10",
    "after keeping",
)


class Report:
    """All finished cells of a study.

    Args:
        study: what was asked.
        rivals: methods that every other one is tested against.
    """

    def __init__(self, study: Study, rivals: Sequence[str]) -> None:
        self.study, self.cells, self.missing = study, study.found(), study.missing()
        self.rivals = [rival for rival in rivals if rival in (*self.cells, *transfer_free.NAMES)]
        self.tasks: Sequence[Task] = study.course.tasks if self.cells else ()

    @cached_property
    def rows(self) -> dict[str, list[Row]]:
        """Chance, what needs no network and every method, by task."""
        return {task.name: list(self._rows(task)) for task in self.tasks}

    def _rows(self, task: Task) -> Iterator[Row]:
        names = METRICS if task.kind == "items" else ("accuracy",)
        for name, tables in self._tables[task.name].items():
            if name == FREQUENT:
                chances = {each: evaluation.chance(tables[0], evaluation_name(each)) for each in names}
                n = tables[0].cases["user_id"].n_unique()
                yield Row(CHANCE, n, {each: Interval(*[value] * 3) for each, value in chances.items()})
            users = {each: evaluation.mean_over_runs(tables, evaluation_name(each))["value"] for each in names}
            found = {each: evaluation.bootstrap(values.to_numpy()) for each, values in users.items()}
            told = [cell.task(task.name) for cell in self.cells.get(name, [])]
            if task.kind == "label" and told:
                macro = [np.mean([one["test"]["macro-F1"][end] for one in told]) for end in Interval._fields]
                found["macro-F1"] = Interval(*map(float, macro))
            share = float(np.mean([one["trainable_share"] for one in told])) if told else None
            yield Row(name, len(users[names[0]]), found, len(told), share)

    @cached_property
    def _tables(self) -> dict[str, Runs]:
        """Run tables by task and row, what needs no network first.

        Raises:
            ProtocolError: cells that were measured differently.
            RunError: cells of other data or task files than those that are there now.
        """
        found: dict[str, Runs] = {}
        for task in self.tasks:
            trained = {name: [cell.tables[task.name] for cell in cells] for name, cells in self.cells.items()}
            protocols = {
                f"{name} seed {cell.seed}, task {task.name}": cell.tables[task.name].protocol
                for name, cells in self.cells.items()
                for cell in cells
            }
            protocol.require_equal(protocols)
            self.study.require_course(protocols)
            free = self.study.free(task, next(iter(protocols.values())))
            found[task.name] = {**{name: [table] for name, table in free.items()}, **trained}
        return found

    @cached_property
    def tests(self) -> dict[str, list[PairedTest]]:
        """Every method against those that it should come near to or beat, by task."""
        found = {}
        for task in self.tasks:
            tables, metric = self._tables[task.name], evaluation_name(SELECTION[task.kind])
            rivals = [rival for rival in self.rivals if rival in tables]
            pairs = [(name, rival) for rival in rivals for name in self.cells if name != rival]
            found[task.name] = report.paired_tests(tables, pairs, (metric,))
        return found

    @cached_property
    def costs(self) -> list[Cost]:
        """One line a method."""
        return [cost(name, cells, [task.name for task in self.tasks]) for name, cells in self.cells.items()]

    @cached_property
    def forgotten(self) -> dict[str, dict[str, float | None]]:
        """By method and task, see :func:`eval.transfer_rows.forgotten`."""
        return {name: dict(forgotten(cells)) for name, cells in self.cells.items()}

    def show(self, width: int | None = None) -> str:
        """All tables as text for a terminal, each cut in several where it is too wide."""
        console = Console(width=width, highlight=False)
        with console.capture() as captured:
            for title, heads, lines in self._parts(terminal.short):
                for part in terminal.fitting(title, heads, lines, console.width):
                    console.print(part)
            for note in self._notes():
                console.print(note, markup=False, style="dim")
        return captured.get()

    @property
    def text(self) -> str:
        """The same as Markdown."""
        parts = []
        for title, heads, lines in self._parts(interval):
            parts += ["| " + " | ".join([title, *heads]) + " |", "|---" * (1 + len(heads)) + "|"]
            parts += ["| " + " | ".join([name, *line]) + " |" for name, line in lines] + [""]
        return "\n".join([*parts, *(f"- {note}" for note in self._notes()), ""])

    def as_json(self) -> dict[str, Any]:
        """The same as plain values."""
        groups = {
            task.name: {
                "kind": task.kind,
                "metric": SELECTION[task.kind],
                "rows": [_plain(row) for row in self.rows[task.name]],
                "paired_tests": [
                    {**asdict(test), "difference": test.difference._asdict(), "verdict": test.verdict}
                    for test in self.tests[task.name]
                ],
                "protocol": self._first(task).protocol.model_dump(),
            }
            for task in self.tasks
        }
        return {
            "groups": groups,
            "costs": [asdict(cost) for cost in self.costs],
            "forgotten": self.forgotten,
            "missing": self.missing,
            "notes": list(self.study.course.notes) if self.cells else [],
            "provenance": {name: [cell.results["provenance"] for cell in cells] for name, cells in self.cells.items()},
        }

    def save(self, path: Path) -> None:
        """Writes Markdown, JSON and a plot beside each other; nothing while no cell is finished."""
        if not self.cells:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path.with_name(path.name + ".md"), self.text)
        write_json(path.with_name(path.name + ".json"), self.as_json())
        metrics = {task.name: SELECTION[task.kind] for task in self.tasks}
        transfer_plot.plot(self.rows, metrics, path.with_name(path.name + ".png"))

    def _parts(self, told: Callable[[Interval], str]) -> Iterator[tuple[str, list[str], list[Line]]]:
        """Title, headings and lines of each table; ``told`` writes a mean with its interval."""
        if not self.cells:
            return
        heads = [f"{task.name} {SELECTION[task.kind]}" for task in self.tasks]
        rows = {task.name: {row.name: row for row in self.rows[task.name]} for task in self.tasks}
        most = max(rows.values(), key=len)
        values = {name: [_metric(rows[task.name].get(name), task, told) for task in self.tasks] for name in most}
        yield "method", heads, list(values.items())
        costs = [*COSTS]
        yield "cost", costs, [(each.name, _told(each)) for each in self.costs]
        longest = sorted(self.forgotten.values(), key=len, reverse=True)
        names = list(dict.fromkeys(name for each in longest for name in each))
        yield "after the last task", names, [(name, _changes(each, names)) for name, each in self.forgotten.items()]
        for rival in self.rivals:
            if tested := [name for name in self.cells if name != rival]:
                yield f"less {rival}", heads, [(name, self._against(name, rival)) for name in tested]

    def _against(self, name: str, rival: str) -> list[str]:
        lines = []
        for tests in self.tests.values():
            found = [test for test in tests if (test.first, test.second) == (name, rival)]
            lines.append(f"{terminal.value(found[0].difference, '+')} {found[0].verdict}" if found else "-")
        return lines

    def _notes(self) -> Iterable[str]:
        if self.missing:
            yield f"Missing: {', '.join(self.missing)}."
        if not self.cells:
            return
        number = sum(map(len, self.tests.values()))
        yield (
            "Means over seeds, 95 % bootstrap over test users. most frequent: what the task's training shows most, "
            "for everyone (popularity, the majority class). naive Bayes, logistic regression: of how often each item "
            "of the history was met, smoothing and strength by validation. learned: of the parameters that answer a "
            "task, the mean over tasks, and without the vectors of items; stored: for all tasks, by the bytes of a "
            "network without heads; a method that keeps one network answers the source too, so its bytes and seconds "
            "hold the source's. source nDCG@10: of the pre-trained network, on next items of the source (of seeds that "
            "kept it); after keeping: of a method that leaves the source a part of the network, with that part. "
            "Seconds: with one thread, beside other trainings, so they compare roughly."
        )
        yield (
            "After the last task: the metric of an earlier task, less what it was when that had just been learned; "
            "same: the ten best and the target's place are what they were for every test user."
        )
        yield (
            f"Paired over users: beats: the whole 95 % interval above 0; not worse: it reaches 0. {number} such tests; "
            "nothing is corrected for their number."
        )
        for name, cells in self.cells.items():
            if free := [cell.results["tasks"][-1]["capacity"]["free"] for cell in cells if _has_capacity(cell)]:
                yield f"{name}: {np.mean(free):.0%} of the weights are free after the last task."
        if cut := self._at_the_last_epoch():
            yield f"Still rising when training ended (best at the last epoch allowed): {', '.join(cut)}."
        for task in self.tasks:
            yield f"{task.name}: {self._first(task).protocol.line()}"
        yield from self.study.course.notes

    def _at_the_last_epoch(self) -> list[str]:
        """Methods and tasks whose best epoch was the last one allowed, with the number of seeds."""
        found = Counter[str]()
        learned = self.study.options.transfer
        assert learned is not None
        most = learned.training.epochs
        for name, cells in self.cells.items():
            for task in (task for cell in cells for task in cell.results["tasks"]):
                if list(task.get("best_epochs", {}).values())[-1:] == [most]:
                    found[f"{name} {task['name']}"] += 1
        return [f"{name} ({seeds} of {len(self.study.seeds)} seeds)" for name, seeds in found.items()]

    def _first(self, task: Task) -> RunTable:
        return self._tables[task.name][FREQUENT][0]


def _metric(row: Row | None, task: Task, told: Callable[[Interval], str]) -> str:
    if row is None:  # a label alone is told by a linear model
        return "-"
    found = row.metrics[SELECTION[task.kind]]
    return terminal.value(found) if row.name == CHANCE else told(found)


def _has_capacity(cell: Cell) -> bool:
    return "capacity" in cell.results["tasks"][-1]


def _plain(row: Row) -> dict[str, Any]:
    return asdict(row) | {"metrics": {name: value._asdict() for name, value in row.metrics.items()}}


def _changes(found: dict[str, float | None], names: list[str]) -> list[str]:
    def told(name: str) -> str:
        change = found.get(name, np.nan)
        return (
            "same"
            if change is None
            else "-"
            if np.isnan(change)
            else terminal.value(Interval(change, change, change), "+")
        )

    return [told(name) for name in names]


def _told(cost: Cost) -> list[str]:
    shares = [f"{100 * share:.3g} %" for share in (cost.share, cost.share_without_items)]
    stored = [f"{cost.stored:.2f}", f"{cost.stored_bytes / 1e6:.2f}"]
    of_source = [
        "-" if value is None else terminal.value(Interval(*[value] * 3)) for value in (cost.source, cost.source_kept)
    ]
    return [*shares, *stored, f"{cost.seconds:,.0f}", f"{cost.source_seconds:,.0f}", *of_source]
