"""What ``eval.p5`` says: rankings by group, ratings, choices, texts, and what else was seen."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from eval.p5_answers import TEXT_BEAMS
from eval.p5_study import AMONG, MASKED, OPEN, Result, Said
from llmrec import plots, predictions, report
from llmrec.report import interval
from llmrec.runs import write_json, write_text

SHOWN = {MASKED: report.SHOWN, OPEN: report.SHOWN, AMONG: ("HR@1", "nDCG@10")}
"""Metrics by group; of a few candidates the target is soon among ten."""
Cells = list[list[str]]


def show(result: Result, width: int | None = None) -> str:
    """All tables as text for a terminal."""
    console = Console(width=width, highlight=False)
    with console.capture() as captured:
        for title, heads, cells in _tables(result):
            table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1))
            table.add_column(title, overflow="fold", min_width=16)
            for head in heads:
                table.add_column(head, justify="right", no_wrap=True)
            for row in cells:
                table.add_row(*map(escape, row))
            console.print(table)
        for line in _lines(result):
            console.print(line, markup=False, style="dim")
    return captured.get()


def markdown(result: Result) -> str:
    """The same as Markdown."""
    parts = []
    for title, heads, cells in _tables(result):
        parts += [f"| {' | '.join((title, *heads))} |", "|---" * (1 + len(heads)) + "|"]
        parts += ["| " + " | ".join(row) + " |" for row in cells] + [""]
    return "\n".join([*parts, *(f"- {line}" for line in _lines(result)), ""])


def as_json(result: Result) -> dict[str, Any]:
    """The same as plain values."""
    return {
        "groups": {name: report.as_json(runs, _pairs(result, runs)) for name, runs in result.rankings.items()},
        "predictions": [
            asdict(each) | {"metrics": {name: value._asdict() for name, value in each.metrics.items()}}
            for each in result.predictions
        ],
        "notes": result.notes,
    }


def save(path: Path, result: Result) -> None:
    """Writes the tables as Markdown, the figures as JSON and the rankings of the whole catalogue as a plot."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path.with_name(path.name + ".md"), markdown(result))
    write_json(path.with_name(path.name + ".json"), as_json(result))
    whole = {group: result.rankings[group] for group in (MASKED, OPEN)}
    plots.of_groups(whole, path.with_name(path.name + ".png"))


def _tables(result: Result) -> Iterator[tuple[str, list[str], Cells]]:
    """Title, headings behind it and cells of each; one without rows is left out."""
    for group, runs in result.rankings.items():
        shown = SHOWN[group]
        rows = report.rows(runs, shown)
        chance = ", ".join(f"{rows[0].chance[name]:.4f}" for name in shown)
        title = f"{group}; {rows[0].n} users, chance {chance}"
        yield title, list(shown), [_ranked(row, shown) for row in rows]
        tests = report.paired_tests(runs, _pairs(result, runs), shown)
        cells = [[f"{t.first} - {t.second}", t.metric, interval(t.difference, sign="+"), t.verdict] for t in tests]
        if cells:
            yield f"{group}: paired tests", ["metric", "difference", "verdict"], cells
    for title, heads in (("ratings", ("RMSE", "MAE")), ("choices", ("accuracy", "AUC"))):
        said = [each for each in result.predictions if heads[0] in each.metrics]
        cells = [[_name(each), *(interval(each.metrics[head]) for head in heads)] for each in said]
        if cells:
            yield f"{title}; {said[0].n} cases", list(heads), cells
    for about in dict.fromkeys(each.about for each in result.predictions if each.about is not None):
        yield from _of_texts(about, [each for each in result.predictions if each.about == about])


def _of_texts(about: str, said: list[Said]) -> Iterator[tuple[str, list[str], Cells]]:
    """Two tables, for one would be too wide."""
    bleu, rouge = ["BLEU-2", "BLEU-4"], ["ROUGE-1", "ROUGE-2", "ROUGE-L"]
    unique = [f"{each.counts['unique']:,} of {each.n:,}" for each in said]
    cells = [[_name(each), number, *_percents(each, bleu)] for number, each in zip(unique, said, strict=True)]
    yield f"texts: {about}", ["unique", *bleu], cells
    yield f"texts: {about}", rouge, [[_name(each), *_percents(each, rouge)] for each in said]


def _percents(said: Said, names: list[str]) -> list[str]:
    """With one decimal: BLEU and ROUGE are in per cent already."""
    found = (said.metrics[name] for name in names)
    return [f"{value:.1f} [{low:.1f}, {high:.1f}]" for value, low, high in found]


def _ranked(row: report.Row, shown: tuple[str, ...]) -> list[str]:
    seeds = f" ({row.seeds} seeds)" if row.seeds > 1 else ""
    return [row.name + seeds, *(interval(row.metrics[name]) for name in shown)]


def _name(said: Said) -> str:
    words = " ".join(part for part in (said.run, said.prompt, said.way) if part)
    return f"{words} ({said.told})" if said.told else words


def _lines(result: Result) -> Iterable[str]:
    """What was seen besides, the protocols, and where each run comes from, said once a run."""
    yield from result.notes
    for group, runs in result.rankings.items():
        yield f"{group}: {next(iter(runs.values()))[0].protocol.line()}"
    yield from report.provenance_lines(result.trained)
    yield (
        "Intervals: 95 %, bootstrap over users. (unseen): a prompt that training does not use. written: read off the "
        "likeliest text, and what is no number counts as the mean of the training part. expected: the mean over 1.0 to "
        "5.0 by their likelihoods."
    )
    if any(each.about is not None for each in result.predictions):
        yield (
            f"Texts: the likeliest of {TEXT_BEAMS} beams, as it is; unique: how many different ones there are, of all "
            f"cases. {predictions.text_protocol()}."
        )


def _pairs(result: Result, runs: report.Runs) -> list[tuple[str, str]]:
    """Those of the tests whose rows are in this group."""
    return [pair for pair in result.pairs if runs.keys() >= set(pair)]
