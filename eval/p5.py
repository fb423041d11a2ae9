"""What a language model that writes names makes of every P5 prompt, seen in training or not: ``python -m eval.p5 RUN``.

Next items are ranked among the whole catalogue, with the history left out of the lists and again with it in them,
beside what needs no training and the runs named by --against. Prompts that show candidates are asked about 100, by the
likelihood of each name or the probability of yes. Stars are read off what is written (RMSE, MAE), choices off the
likelihoods of the two words (accuracy, AUC).
"""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval import cells
from llmrec.errors import LlmrecError

if TYPE_CHECKING:
    from eval.p5_answers import Result, Said

RESULTS = Path("eval/results")
EXAMPLES = """examples:
  python -m eval.p5 runs/ml-100k-p5-t5-tiny-random-s0
  python -m eval.p5 runs/ml-100k-p5-t5-tiny-*-s0 --against runs/ml-100k-sasrec-id-softmax-s0 --save ml-100k
"""


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    try:
        run(parser().parse_args(argv))
    except LlmrecError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def parser() -> argparse.ArgumentParser:
    """Flags of the command, without torch."""
    result = argparse.ArgumentParser(
        "eval.p5", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    result.add_argument("runs", nargs="+", type=Path, help="finished runs of one data set that write names")
    cells.add_data_dir(result)
    result.add_argument(
        "--against", nargs="+", type=Path, default=[], metavar="RUN", help="trained runs that compare vectors"
    )
    result.add_argument("--users", type=cells.positive, default=10_000, help="cases at most (default: 10000)")
    result.add_argument(
        "--asked", type=cells.positive, default=200, help="of these, cases asked with candidates (default: 200)"
    )
    result.add_argument("--candidates", type=cells.positive, default=100, help="of each of them (default: 100)")
    result.add_argument("--seed", type=int, default=0, help="of users, candidates and claims (default: 0)")
    result.add_argument("--save", metavar="NAME", help="also write eval/results/p5-NAME.md, .json and .png")
    result.add_argument("--json", action="store_true", help="print the figures as JSON instead of the tables")
    return result


def run(arguments: argparse.Namespace) -> None:
    """Asks every run, ranks the same with all others, prints and saves."""
    from eval import p5_answers, zeroshot_candidates
    from llmrec.console import Console

    console = Console()
    study = p5_answers.Study.of(arguments, console)
    against = zeroshot_candidates.trained_runs(arguments.against, study.protocol(p5_answers.MASKED))
    for folder in arguments.runs:
        p5_answers.options_of(folder)
        zeroshot_candidates.require_held_out(folder, study.protocol(p5_answers.MASKED))
    result = study.free()
    result.predictions += p5_answers.without_training(study)
    for name, folders in against.items():
        result.add(study.trained(name, folders))
    for folder in arguments.runs:
        result.add(p5_answers.ask(folder, study))
    result.pairs += [(first, name) for first, _ in result.pairs for name in against]
    if arguments.save:
        save(RESULTS / f"p5-{arguments.save}", result)
    print(json.dumps(as_json(result), indent=2) if arguments.json else show(result))


def show(result: "Result", width: int | None = None) -> str:
    """All tables as text for a terminal."""
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from llmrec import report

    console = Console(width=width, highlight=False)
    with console.capture() as captured:
        for group, runs in result.rankings.items():
            console.print(f"[bold]{group}[/bold]")
            print_table = report.show(runs, _pairs(result, runs), width)
            console.print(print_table, markup=False)
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1))
        for heading in ("run", "prompt", "way"):
            table.add_column(heading, overflow="fold")
        for heading in ("n", "unread", "metric", "value"):
            table.add_column(heading, justify="right", no_wrap=True)
        for cells in _said(result):
            table.add_row(*map(escape, cells))
        console.print(table)
        for line in result.notes:
            console.print(line, markup=False, style="dim")
    return captured.get()


def markdown(result: "Result") -> str:
    """The same as Markdown."""
    from llmrec import report

    parts = []
    for group, runs in result.rankings.items():
        parts += [f"## {group}", "", report.markdown(runs, _pairs(result, runs))]
    parts += ["## ratings and choices", "", "| run | prompt | way | n | unread | metric | value |", "|---" * 7 + "|"]
    parts += ["| " + " | ".join(cells) + " |" for cells in _said(result)]
    return "\n".join([*parts, "", *(f"- {line}" for line in result.notes), ""])


def as_json(result: "Result") -> dict[str, Any]:
    """The same as plain values."""
    from llmrec import report

    return {
        "groups": {name: report.as_json(runs, _pairs(result, runs)) for name, runs in result.rankings.items()},
        "predictions": [
            asdict(each) | {"metrics": {name: value._asdict() for name, value in each.metrics.items()}}
            for each in result.predictions
        ],
        "notes": result.notes,
    }


def save(path: Path, result: "Result") -> None:
    """Writes the tables as Markdown, the figures as JSON and the plot of the unmasked rankings."""
    from eval.p5_answers import OPEN
    from llmrec import report
    from llmrec.runs import write_json, write_text

    write_text(path.with_name(path.name + ".md"), markdown(result))
    write_json(path.with_name(path.name + ".json"), as_json(result))
    report.plot(result.rankings[OPEN], path.with_name(path.name + ".png"))


def _pairs(result: "Result", runs: Any) -> list[tuple[str, str]]:
    """Those of the asked-for tests whose rows are in this group."""
    return [pair for pair in result.pairs if runs.keys() >= set(pair)]


def _said(result: "Result") -> Iterator[list[str]]:
    """Cells of the table of predictions, a metric a row."""
    from llmrec.report import interval

    for each in result.predictions:
        prompt = _prompt(each)
        for name, value in each.metrics.items():
            yield [each.run, prompt, each.way, str(each.n), str(each.unread), name, interval(value)]


def _prompt(said: "Said") -> str:
    return said.prompt.removeprefix("p5/") + (" (unseen)" if said.seen is False else "")


if __name__ == "__main__":
    sys.exit(main())
