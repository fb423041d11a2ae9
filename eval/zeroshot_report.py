"""What a zero-shot study says: one table, and under it what was seen of the prompted model's answers."""

import os
import re
import shutil
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from llmrec import evaluation, plots, protocol
from llmrec.asking import Usage
from llmrec.errors import RunError
from llmrec.evaluation import Interval
from llmrec.report import PairedTest, interval
from llmrec.runs import read_json, write_atomically, write_json, write_text

if TYPE_CHECKING:
    from eval.zeroshot_rows import Result, Study
    from llmrec.zeroshot import Outcome

_MOST_PLACES = 10
"""Places of which each has a line."""


def check_folder(folder: Path, facts: dict[str, Any], *, overwrite: bool) -> None:
    """Refuses a folder that cannot be written to or holds another study; what it holds stays as it is.

    Raises:
        RunError: it is refused. The same study may be written again.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = any(folder.iterdir())
    except OSError as error:
        raise RunError(f"{folder} cannot be written to: {error.strerror}; --output names another folder") from None
    if not os.access(folder, os.W_OK):
        raise RunError(f"{folder}: nothing can be written to it; --output names another folder")
    if not held or overwrite:
        return
    saved = read_json(folder / "config.json") if (folder / "config.json").is_file() else {}
    if different := _different(saved, facts):
        raise RunError(
            f"{folder} holds a study with other options ({', '.join(different)}); --output names another folder, "
            "--overwrite writes over it"
        )


def _different(saved: dict[str, Any], facts: dict[str, Any]) -> list[str]:
    """Options that differ, those of the command by their own names."""
    before, now = ({**each, **each.get("zeroshot", {})} for each in (saved, facts))
    return [key for key in sorted({*before, *now} - {"zeroshot"}) if before.get(key) != now.get(key)]


def _clear(folder: Path) -> None:
    """Takes away what an earlier study says, its last file first."""
    (folder / "metrics.json").unlink(missing_ok=True)
    shutil.rmtree(folder / "rows", ignore_errors=True)
    for path in [*folder.glob("answers-*.parquet"), *folder.glob("table.*"), folder / "candidates.parquet"]:
        path.unlink(missing_ok=True)


def save(folder: Path, study: "Study", result: "Result") -> None:
    """Writes options, run tables, records of the answers, candidates, table and plot, ``metrics.json`` last.

    What an earlier study left is taken away only now: what fails before leaves it whole.
    """
    _clear(folder)
    write_json(folder / "config.json", study.facts())
    study.candidates.save(folder / "candidates.parquet")
    for name, tables in result.rows.items():
        for number, table in enumerate(tables):
            table.save(folder / "rows" / f"{_file(name)}{f'-{number}' if len(tables) > 1 else ''}")
    for name, outcome in result.outcomes.items():
        write_atomically(folder / f"answers-{_file(name)}.parquet", outcome.records.write_parquet)
    save_table(folder / "table", result)
    write_json(folder / "metrics.json", as_json(result))


def save_table(path: Path, result: "Result") -> None:
    """Writes the table as Markdown, its figures as JSON and its plot, beside each other."""
    write_text(path.with_name(path.name + ".md"), markdown(result))
    write_json(path.with_name(path.name + ".json"), as_json(result))
    plots.of_runs(result.rows, path.with_name(path.name + ".png"), result.task.shown)


def show(result: "Result", width: int | None = None) -> str:
    """The table and what stands under it, as text for a terminal."""
    console = Console(width=width, highlight=False)
    first, second = result.task.shown
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1))
    table.add_column("model", overflow="fold", min_width=12)
    table.add_column("kind", overflow="fold")
    for heading in (first, second):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column(f"{first} minus the model", overflow="fold")
    for cells in _cells(result):
        table.add_row(*map(escape, cells))
    with console.capture() as captured:
        console.print(table)
        for line in lines(result):
            console.print(line, markup=False, style="dim")
    return captured.get()


def markdown(result: "Result") -> str:
    """The same as Markdown."""
    first, second = result.task.shown
    rows = [f"| model | kind | {first} | {second} | {first} minus the model |", "|---|---|---|---|---|"]
    rows += ["| " + " | ".join(cells) + " |" for cells in _cells(result)]
    return "\n".join([*rows, "", *(f"- {line}" for line in lines(result)), ""])


def as_json(result: "Result") -> dict[str, Any]:
    """The same as plain values."""
    return {
        "model": result.model,
        "rows": [
            {"kind": result.kinds[name], **_figures(name, tables, result.task.shown)}
            for name, tables in result.rows.items()
        ],
        "chance": {name: evaluation.chance(result.rows[result.model][0], name) for name in result.task.shown},
        "paired_tests": [
            {"row": test.first, "against": test.second, "metric": test.metric, **test.difference._asdict()}
            for test in _tests(result)
        ],
        "lines": lines(result),
        "protocol": result.rows[result.model][0].protocol.model_dump(),
    }


def lines(result: "Result") -> list[str]:
    """What must be known beside the table."""
    first = result.rows[result.model][0]
    outcome = result.outcomes[result.model]
    found = [first.protocol.line(), *result.notes, *_missing(outcome)]
    found += [f"{result.model}: {line}" for line in _answers(outcome)]
    found += [f"{result.model}: {line}" for line in _places(outcome)]
    if result.again:
        best = [[int(each.argmax()) for each in asked.scores] for asked in (outcome, *result.again)]
        varied = np.mean([len(set(places)) > 1 for places in zip(*best, strict=True)])
        found.append(f"{result.model}: asked again, the best candidate is another one in {varied:.1%} of the cases")
    if result.recall:
        by_id, behind = (interval(each) for each in (result.recall.title_from_id, result.recall.next_line))
        found.append(f"{result.model} knows by heart: titles from ids {by_id}, next lines of the item file {behind}")
    found += [f"{name}: {_usage(usage)}" for name, usage in _usages(result).items()]
    found.append(f"{result.model}: " + ", ".join(f"{key} {value}" for key, value in result.facts.items()))
    found.append(
        "Intervals: 95 %, 10,000 bootstrap draws over users. not worse: the interval reaches 0. Candidates that an "
        "answer does not name tie below those that it names. popularity, recent_popularity, co_occurrence, item_knn, "
        "smoothed, mix and trained runs read the site's log; the prompted model does not, but for examples (shots)."
    )
    return found


def _usages(result: "Result") -> dict[str, Usage]:
    """What each set of questions took."""
    found = {name: each.usage for name, each in result.outcomes.items()}
    found |= {f"{result.model}, asked again": each.usage for each in result.again}
    found |= {"whether it tells how likely options are": result.tried} if result.tried.requests else {}
    return found | ({"what it knows by heart": result.recall.usage} if result.recall else {})


def _usage(usage: Usage) -> str:
    cost = f", cost {usage.cost:.4f}" if usage.cost else ""
    return (
        f"{usage.requests} questions, {usage.prompt_tokens:,} tokens read, {usage.completion_tokens:,} written, "
        f"{usage.seconds:.0f} s of asking{cost}"
    )


def _cells(result: "Result") -> list[list[str]]:
    protocol.require_equal({name: tables[0].protocol for name, tables in result.rows.items()})
    first, second = result.task.shown
    model = result.rows[result.model]
    chance = [_number(evaluation.chance(model[0], name)) for name in (first, second)]
    tests = {test.first: test for test in _tests(result)}
    rows = [["chance", "", *chance, ""]]
    for name, tables in result.rows.items():
        values = [interval(_interval(tables, first)), _number(_interval(tables, second).value)]
        test = tests.get(name)
        seeds = f" ({len(tables)} seeds)" if len(tables) > 1 else ""
        told = f"{interval(test.difference, sign='+')} {test.verdict}" if test else ""
        rows.append([name + seeds, result.kinds[name], *values, told])
    return rows


def _tests(result: "Result") -> list[PairedTest]:
    metric, model = result.task.shown[0], result.rows[result.model]
    return [
        PairedTest(name, result.model, metric, evaluation.paired_difference(tables, model, metric))
        for name, tables in result.rows.items()
        if name != result.model
    ]


def _figures(name: str, tables: list[Any], metrics: tuple[str, ...]) -> dict[str, Any]:
    values = {each: _interval(tables, each)._asdict() for each in metrics}
    return {"name": name, "seeds": len(tables), "n": tables[0].cases["user_id"].n_unique(), "metrics": values}


def _interval(tables: list[Any], metric: str) -> Interval:
    return evaluation.bootstrap(evaluation.mean_over_runs(tables, metric)["value"].to_numpy())


def _answers(outcome: "Outcome") -> list[str]:
    """How answers could be read, where they were texts; and how the rounds agree, where there were several."""
    records, found = outcome.records, []
    texts = records.filter(pl.col("named").is_not_null())
    if len(texts):
        status = dict(texts["status"].value_counts(sort=True).iter_rows())
        invented = int(texts["invented"].list.len().sum())
        named, repeated = int(texts["named"].sum()), int(texts["duplicates"].sum())
        sizes = [len(scores) for scores in outcome.scores]
        ratio = f"{named / (named + invented):.4f}" if named + invented else "none named"
        found.append(
            "answers "
            + ", ".join(f"{name} {number / len(texts):.1%}" for name, number in status.items())
            + f"; valid ratio {ratio} ({invented} invented, {repeated} named twice); {named / len(texts):.2f} of "
            f"{np.mean(sizes):.0f} candidates named"
        )
    if outcome.taus:
        rounds = len(records) / len(outcome.scores)
        found.append(
            f"Kendall's tau between rounds {np.mean(outcome.taus):.3f}; {rounds:.2f} rounds a case until settled"
        )
    return found


def _missing(outcome: "Outcome") -> list[str]:
    """How often the target is no candidate; nothing where it always is one."""
    first = outcome.records.filter(pl.col("round") == 0)
    there = len(first) - first["place_of_target"].null_count()
    return [f"The target is among the candidates in {there} of {len(first)} cases."] if there < len(first) else []


def _places(outcome: "Outcome") -> list[str]:
    """How often the target is picked and what is picked, by the place where it stands."""
    records = outcome.records.filter(pl.col("place_of_target").is_not_null())
    size = max(map(len, outcome.scores))
    picked = records["picked"]
    edges = np.linspace(0, size, min(size, _MOST_PLACES) + 1).round().astype(int)
    parts = []
    for low, high in pairwise(edges):
        there = records.filter(pl.col("place_of_target").is_between(low, high - 1))
        right = (there["picked"] == there["place_of_target"]).fill_null(False).mean()
        share = picked.is_between(low, high - 1).fill_null(False).mean()
        place = f"{low + 1}" if high == low + 1 else f"{low + 1}-{high}"
        parts.append(f"{place}: {_share(right)} right, {_share(share)} of the picks")
    return ["by place of the target, " + "; ".join(parts)]


def _number(value: float) -> str:
    return re.sub(r"(?<!\d)0\.", ".", f"{value:.4f}")


def _share(value: Any) -> str:
    return "-" if value is None else f"{value:.3f}"


def _file(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name)
