"""What ``eval.transfer --benchmark`` says: for each data set our figures beside the paper's, and paired tests."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from types import MappingProxyType
from typing import Any

from rich.console import Console

from eval import cells, terminal
from eval.paper_cells import Cells
from eval.paper_files import COMMON, Benchmark
from eval.terminal import Line
from llmrec import report
from llmrec.evaluation import METRICS, Interval
from llmrec.report import SHOWN, TESTED, Runs, interval
from llmrec.runs import write_json, write_text

Told = Callable[[Interval, str], str]
VERDICTS = ("beats", "not worse", "worse")
MADE = "The data are made, so that the paper's figures say nothing of them."


class Report:
    """A benchmark on one data set.

    Args:
        benchmark: with the published figures.
        target: the data set.
        found: cells by system.
        missing: systems without cells, and why.
    """

    def __init__(
        self, benchmark: Benchmark, target: str, found: Cells, missing: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self.benchmark, self.target, self.found, self.missing = benchmark, target, found, missing
        # Those at other depths than all tables have come first, as the papers print them.
        self.shown = (*(metric for metric in benchmark.published.metrics if metric not in SHOWN), *SHOWN)
        self.published = benchmark.published.fractions(target)
        self.runs: Runs = {**self._free(), **{name: [run.table for run in runs] for name, runs in found.items()}}
        self.rows = {row.name: row for row in report.rows(self.runs, self.shown)} if self.runs else {}
        self.tests = report.paired_tests(self.runs, self.pairs)

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """What goes on from a source with what does not, and what reads several things with what reads fewer."""
        systems = self.benchmark.systems
        twins = [(name, systems[name].pretrained or "") for name in self.found]
        parts = [(first, second) for first in self.found for second in self.found if self._reads_more(first, second)]
        return [pair for pair in twins if pair[1] in self.found] + parts

    def parts(self, told: Told) -> Iterator[tuple[str, list[str], list[Line]]]:
        """Tables: what the first column is, the other headings, and the rows."""
        shown = self.shown
        ours = [(name, [told(row.metrics[metric], "") for metric in shown]) for name, row in self.rows.items()]
        ours += [(name, [""] * len(shown)) for name in self.published if name not in self.rows]
        theirs = {name: [_printed(self.published.get(name, {}).get(metric)) for metric in shown] for name, _ in ours}
        heads = [*shown, *(f"{metric} of the paper" for metric in shown)]
        filled = [place for place in range(len(heads)) if any([*line, *theirs[name]][place] for name, line in ours)]
        lines = [(name, [[*line, *theirs[name]][place] for place in filled]) for name, line in ours]
        yield "system", [heads[place] for place in filled], lines
        if self.tests:
            tests = [
                (f"{each.first} - {each.second}", [told(each.difference, "+"), each.verdict]) for each in self.tests
            ]
            yield "paired test", [f"difference in {TESTED}", "verdict"], tests

    def notes(self) -> Iterator[str]:
        """Sentences below the tables."""
        for why in dict.fromkeys(self.missing.values()):
            yield f"Missing: {', '.join(name for name in self.missing if self.missing[name] == why)}, because {why}"
        if self.runs:
            yield f"Protocol: {next(iter(self.runs.values()))[0].protocol.line()}."
            yield from report.provenance_lines(self.runs)

    def as_json(self) -> dict[str, Any]:
        """The same as plain values, and what the paper has."""
        metrics = tuple(dict.fromkeys((*METRICS, *self.shown)))
        measured = report.as_json(self.runs, self.pairs, metrics) if self.runs else {}
        return {**measured, "published": self.published, "missing": dict(self.missing)}

    def _free(self) -> Runs:
        """Rows without training, of the first run that has each; those of vectors, which texts alone have there, say
        what these were made of."""
        free: Runs = {}
        for name, runs in self.found.items():
            if not self.benchmark.systems[name].pretrained:
                texts = [part for part in self.benchmark.reads(name) if "model" in self.benchmark.items[part]]
                own = cells.baselines(cells.Chosen(runs, runs), " and ".join(texts))
                free = {**own, **free}
        return free

    def _reads_more(self, first: str, second: str) -> bool:
        """Whether two systems differ in nothing but that the first reads something of items besides."""
        more, less = (set(self.benchmark.reads(name)) for name in (first, second))
        head, other = (self.benchmark.options(name, self.target).get("head") for name in (first, second))
        begun, new = (bool(self.benchmark.systems[name].pretrained) for name in (first, second))
        return bool(less) and less < more and head == other and begun == new


class Overall:
    """All data sets at once: means, each data set alike, and on how many of them a system is better than another."""

    def __init__(self, reports: Sequence[Report]) -> None:
        self.reports = [each for each in reports if each.runs]
        self.shown = self.reports[0].shown
        self.target = f"mean over {len(self.reports)} data sets"

    def parts(self, told: Told) -> Iterator[tuple[str, list[str], list[Line]]]:
        """Tables, as those of one data set but without intervals, so that ``told`` has nothing to write."""
        yield "system", [*self.shown], [(name, [*map(_printed, found)]) for name, found in self.means().items()]
        if counts := self.counts():
            told_counts = [(pair, [str(found[verdict]) for verdict in VERDICTS]) for pair, found in counts.items()]
            yield "data sets on which it", [*VERDICTS], told_counts

    def means(self) -> dict[str, list[float]]:
        """By system that has a row everywhere, the mean of each metric shown."""
        names = [name for name in self.reports[0].rows if all(name in each.rows for each in self.reports)]
        return {
            name: [fmean(each.rows[name].metrics[metric].value for each in self.reports) for metric in self.shown]
            for name in names
        }

    def counts(self) -> dict[str, dict[str, int]]:
        """By pair of systems, how many paired tests end in each verdict."""
        told = [(f"{test.first} - {test.second}", test.verdict) for each in self.reports for test in each.tests]
        pairs = dict.fromkeys(pair for pair, _ in told)
        return {pair: {verdict: told.count((pair, verdict)) for verdict in VERDICTS} for pair in pairs}

    def notes(self) -> Iterator[str]:
        """How to read them."""
        yield "Each data set counts alike; the mean has no interval, for no data sets were drawn."
        known = dict.fromkeys(name for each in self.reports for name in each.rows)
        if absent := [name for name in known if name not in self.means()]:
            yield f"No mean, for want of a row on each of them: {', '.join(absent)}."


def show(benchmark: Benchmark, reports: Sequence[Report], absent: Mapping[str, str], width: int | None = None) -> str:
    """All for a terminal."""
    console = Console(width=width, highlight=False)
    with console.capture() as captured:
        console.print(benchmark.paper, markup=False, style="bold")
        for each in _parts(reports):
            console.print(f"\n{each.target}", markup=False, style="bold")
            for title, heads, lines in each.parts(terminal.short):
                for table in terminal.fitting(title, heads, lines, console.width):
                    console.print(table)
            for note in each.notes():
                console.print(note, markup=False, style="dim")
        for note in _notes(benchmark, absent):
            console.print(note, markup=False, style="dim")
    return captured.get()


def text(benchmark: Benchmark, reports: Sequence[Report], absent: Mapping[str, str]) -> str:
    """All as Markdown."""
    result = [benchmark.paper, ""]
    for each in _parts(reports):
        result += [f"**{each.target}**", ""]
        for title, heads, lines in each.parts(interval):
            result += ["| " + " | ".join([title, *heads]) + " |", "|---" * (1 + len(heads)) + "|"]
            result += ["| " + " | ".join([name, *line]) + " |" for name, line in lines] + [""]
        result += [*(f"- {note}" for note in each.notes()), ""]
    return "\n".join([*result, *(f"- {note}" for note in _notes(benchmark, absent)), ""])


def as_json(reports: Sequence[Report]) -> dict[str, Any]:
    """All data sets with a row."""
    groups = {each.target: each.as_json() for each in reports if each.runs}
    if len(groups) < 2:
        return {"groups": groups}
    overall = Overall(reports)
    means = {name: dict(zip(overall.shown, found, strict=True)) for name, found in overall.means().items()}
    return {"groups": groups, "means": means, "verdicts": overall.counts()}


def save(benchmark: Benchmark, reports: Sequence[Report], absent: Mapping[str, str], path: Path) -> None:
    """Writes Markdown and JSON beside each other; nothing where there is no row yet."""
    if not (reports := [each for each in reports if each.runs]):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path.with_name(path.name + ".md"), text(benchmark, reports, absent))
    write_json(path.with_name(path.name + ".json"), as_json(reports))


def _notes(benchmark: Benchmark, absent: Mapping[str, str]) -> Iterator[str]:
    for target, why in absent.items():
        yield f"No data of {target}: {why}"
    if not benchmark.published.figures:
        yield MADE
    yield f"Otherwise than in the paper: {' '.join((*benchmark.departures, *COMMON))}"
    yield (
        "Means over seeds, 95 % bootstrap over users; random: the exact expectation of chance. beats: the whole "
        "interval above 0; not worse: it reaches 0."
    )


def _parts(reports: Sequence[Report]) -> list[Report | Overall]:
    return [*([Overall(reports)] if sum(bool(each.runs) for each in reports) > 1 else []), *reports]


def _printed(figure: float | None) -> str:
    return "" if figure is None else terminal.value(Interval(figure, figure, figure))
