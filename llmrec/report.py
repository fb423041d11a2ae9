"""Tables, paired tests and plots, all made from run tables of one protocol."""

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import polars as pl
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from llmrec import evaluation, protocol, slices
from llmrec.evaluation import Interval
from llmrec.runs import RunTable

SHOWN = ("HR@10", "nDCG@10")
TESTED = "nDCG@10"
REFERENCE = "popularity"

Runs = dict[str, list[RunTable]]
"""Run tables by name; several under one name are seeds of one model."""


@dataclass(frozen=True)
class Row:
    """One line of a results table; metrics by name, each as value, low, high."""

    name: str
    metrics: dict[str, Interval]
    n: int
    chance: dict[str, float]
    seeds: int
    trainable_parameters: int | None
    seconds: float | None


@dataclass(frozen=True)
class PairedTest:
    """Difference ``first - second`` in one metric, with the interval over users."""

    first: str
    second: str
    metric: str
    difference: Interval

    @property
    def verdict(self) -> str:
        """In the words used everywhere: beats, not worse, worse."""
        if self.difference.low > 0:
            return "beats"
        return "not worse" if self.difference.high >= 0 else "worse"


def rows(runs: Runs, metrics: tuple[str, ...] = evaluation.METRICS) -> list[Row]:
    """One row per name, the per-user metrics averaged over its seeds.

    Raises:
        ProtocolError: the runs were measured differently.
    """
    protocol.require_equal(
        {f"{name} ({i})": table.protocol for name, tables in runs.items() for i, table in enumerate(tables)}
    )
    return [_row(name, tables, metrics) for name, tables in runs.items()]


def paired_tests(
    runs: Runs, pairs: Iterable[tuple[str, str]], metrics: tuple[str, ...] = (TESTED,)
) -> list[PairedTest]:
    """The paired test of each pair of names in each metric."""
    return [
        PairedTest(a, b, metric, evaluation.paired_difference(runs[a], runs[b], metric))
        for a, b in pairs
        for metric in metrics
    ]


def show(runs: Runs, pairs: Iterable[tuple[str, str]], width: int | None = None) -> str:
    """The tables as text for a terminal: results, paired tests, protocol."""
    console = Console(width=width, highlight=False)
    with console.capture() as captured:
        console.print(_results_table(rows(runs)))
        if tests := paired_tests(runs, pairs):
            console.print(_tests_table(tests))
        for line in [_first(runs).protocol.line(), *provenance_lines(runs)]:
            console.print(line, markup=False, style="dim")
        console.print(
            "[dim]Intervals: 95 %, 10,000 bootstrap draws over users. beats: the whole interval above 0; not worse: "
            "it reaches 0. random: exact expectation.[/dim]"
        )
    return captured.get()


def show_slices(
    name: str,
    test: RunTable,
    shuffled: RunTable | None = None,
    width: int | None = None,
    shown: pl.Series | None = None,
) -> str:
    """One run by groups of its cases, and with its histories shuffled, as text for a terminal.

    Args:
        name: of the run.
        test: its run table.
        shuffled: the same with shuffled histories.
        width: of the terminal; None: as it is.
        shown: ids of the items with an image, in a run over images.
    """
    result = Table(title=escape(name), box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=0, title_style="")
    result.add_column("cases", overflow="fold")
    for heading in ("users", *slices.SHOWN, "chance"):
        result.add_column(heading, justify="right", no_wrap=True)
    result.add_row("all", *_slice_cells(test))
    if shuffled is not None:
        result.add_row("histories shuffled", *_slice_cells(shuffled))
    for part in slices.slices(test, shown):
        cells = [str(part.users), *(interval(part.metrics[each]) for each in slices.SHOWN)]
        result.add_row(f"{part.by} {part.group}", *cells, _number(part.chance[TESTED]))
    console = Console(width=width, highlight=False)
    with console.capture() as captured:
        console.print(result)
    return captured.get()


def _slice_cells(table: RunTable) -> list[str]:
    found = evaluation.summary(table, slices.SHOWN)
    values = [interval(Interval(each["value"], each["low"], each["high"])) for each in found.values()]
    return [str(found[TESTED]["n"]), *values, _number(found[TESTED]["chance"])]


def markdown(runs: Runs, pairs: Iterable[tuple[str, str]]) -> str:
    """The same as Markdown."""
    return "\n".join([measured(runs, pairs), *(f"- {line}" for line in provenance_lines(runs)), ""])


def measured(runs: Runs, pairs: Iterable[tuple[str, str]]) -> str:
    """Results, paired tests and protocol as Markdown, without the provenance."""
    result = [
        "| model | seeds | HR@10 | nDCG@10 | n | chance HR / nDCG | trainable | seconds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows(runs):
        cells = [row.name, str(row.seeds), *(interval(row.metrics[name]) for name in SHOWN), str(row.n)]
        chance = " / ".join(f"{row.chance[name]:.4f}" for name in SHOWN)
        result.append(
            "| " + " | ".join([*cells, chance, _count(row.trainable_parameters), _seconds(row.seconds)]) + " |"
        )
    if tests := paired_tests(runs, pairs, SHOWN):
        result += ["", "| paired test | metric | difference | verdict |", "|---|---|---|---|"]
        for test in tests:
            difference = interval(test.difference, sign="+")
            result.append(f"| {test.first} - {test.second} | {test.metric} | {difference} | {test.verdict} |")
    return "\n".join([*result, "", f"Protocol: {_first(runs).protocol.line()}.", ""])


def provenance_lines(runs: Runs) -> list[str]:
    """Where each trained row comes from, in one line: what may differ between rows and is never refused."""
    lines = []
    for name, tables in runs.items():
        facts = [table.provenance for table in tables if "seed" in table.provenance]
        if facts:
            told = {"seed": "seeds", "best_epoch": "weights of epochs", "processes": "processes", "threads": "threads"}
            told |= {"load_average": "load average at the start"}
            parts = [f"{words} {_listed(facts, key)}" for key, words in told.items() if key in facts[0]]
            if any(fact.get("pieces_per_id") == 1 for fact in facts):
                parts.insert(0, "an ID-token model: some items are pieces of their own, not texts that it reads")
            parts += _distinct("revision", [fact.get("revision", "")[:12] for fact in facts])
            parts += _distinct("images", [_seen(fact.get("images", {})) for fact in facts])
            parts += _distinct("prompt", [fact.get("features", {}).get("prompt", "") for fact in facts])
            parts += _distinct("transform", [fact.get("transform", {}).get("name", "") for fact in facts])
            parts += _distinct("input changes:", [str(fact.get("input_changes") or "") for fact in facts])
            for library in ("torch", "rectools"):
                parts += _distinct(library, [fact.get("versions", {}).get(library, "") for fact in facts])
            parts += _distinct("commit", [fact.get("commit") or "" for fact in facts])
            lines.append(f"{name}: {'; '.join(parts)}")
    return lines


def _seen(images: dict[str, Any]) -> str:
    """The vision model of a run and what it read, in words."""
    if not images:
        return ""
    revision = f" ({images['revision'][:12]})" if images["revision"] else ", from nothing"
    return f"{images['model']}{revision} at {images['size']} pixels, {images['items_without_image']} items without"


def as_json(
    runs: Runs, pairs: Iterable[tuple[str, str]], metrics: tuple[str, ...] = evaluation.METRICS
) -> dict[str, Any]:
    """The same as plain values."""
    return {
        "rows": [
            asdict(row) | {"metrics": {name: value._asdict() for name, value in row.metrics.items()}}
            for row in rows(runs, metrics)
        ],
        "paired_tests": [
            {**asdict(test), "difference": test.difference._asdict(), "verdict": test.verdict}
            for test in paired_tests(runs, pairs, SHOWN)
        ],
        "protocol": _first(runs).protocol.model_dump(),
        "provenance": {name: [table.provenance for table in tables] for name, tables in runs.items()},
    }


def frame(runs: Runs) -> pl.DataFrame:
    """The rows as a table, a column per metric and end of its interval."""
    flat = []
    for row in rows(runs):
        record: dict[str, Any] = {"model": row.name, "seeds": row.seeds, "n": row.n}
        for name, value in row.metrics.items():
            record |= {name: value.value, f"{name}_low": value.low, f"{name}_high": value.high}
            record[f"{name}_chance"] = row.chance[name]
        flat.append(record | {"trainable_parameters": row.trainable_parameters, "seconds": row.seconds})
    return pl.DataFrame(flat, infer_schema_length=None)


def _row(name: str, tables: list[RunTable], shown: tuple[str, ...]) -> Row:
    metrics = {each: evaluation.mean_over_runs(tables, each) for each in shown}
    first = tables[0].provenance
    seconds = [sum(table.provenance["seconds"].values()) for table in tables if "seconds" in table.provenance]
    return Row(
        name=name,
        metrics={each: evaluation.bootstrap(values["value"].to_numpy()) for each, values in metrics.items()},
        n=len(metrics[shown[0]]),
        chance={each: evaluation.chance(tables[0], each) for each in metrics},
        seeds=len(tables),
        trainable_parameters=first.get("trainable_parameters"),
        seconds=sum(seconds) / len(seconds) if seconds else None,
    )


def _results_table(table: list[Row]) -> Table:
    result = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=0)  # every one of 80 columns counts
    result.add_column("model", overflow="fold", min_width=9)
    for heading in [*SHOWN, "n", "chance", "params", "sec"]:
        result.add_column(heading, justify="right", no_wrap=True)
    for row in table:
        cells = [interval(row.metrics[name]) for name in SHOWN]
        cells += [str(row.n), _number(row.chance[TESTED]), _count(row.trainable_parameters), _seconds(row.seconds)]
        seeds = f" ({row.seeds} seeds)" if row.seeds > 1 else ""
        result.add_row(escape(row.name + seeds), *cells)
    return result


def _tests_table(tests: list[PairedTest]) -> Table:
    result = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    for heading in ("paired test", f"difference in {TESTED}", "verdict"):
        result.add_column(heading, overflow="fold")
    for test in tests:
        result.add_row(escape(f"{test.first} - {test.second}"), interval(test.difference, sign="+"), test.verdict)
    return result


def interval(found: Interval, sign: str = "") -> str:
    """Value and ends, as tables have them."""
    value, low, high = (_number(number, sign) for number in found)
    return f"{value} [{low}, {high}]"


def _number(number: float, sign: str = "") -> str:
    return re.sub(r"(?<!\d)0\.", ".", f"{number:{sign}.4f}")


def _listed(facts: list[dict[str, Any]], key: str) -> str:
    values = [fact.get(key, "?") for fact in facts]
    return ", ".join(f"{value:.2f}" if isinstance(value, float) else str(value) for value in values)


def _distinct(words: str, values: list[str]) -> list[str]:
    """The words and every value that occurs; nothing where none is known."""
    known = list(dict.fromkeys(value for value in values if value))
    return [f"{words} {', '.join(known)}"] if known else []


def _count(number: int | None) -> str:
    if number is None:
        return "-"
    return f"{number / 1e6:.1f}M" if number >= 1_000_000 else f"{number / 1e3:.0f}k" if number >= 1_000 else str(number)


def _seconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.0f}"


def _first(runs: Runs) -> RunTable:
    return next(iter(runs.values()))[0]
