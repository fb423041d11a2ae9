"""What does a language model learn from few answered prompts? TALLRec's question (arXiv:2305.00447), with its controls.

A model is asked whether a user will like an item, untrained and with LoRA on a few rows; beside it stand the share of
likes in the very prompt, which asks no model, and how often the item is liked in the training rows. Every finished cell
(a number of rows, a draw) is kept below eval/results/tallrec, so the same command goes on where it stopped.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from eval.flags import at_least
from llmrec.errors import exit_code

RESULTS = Path("eval/results")
UNTRAINED, PROBE, LORA = "zero-shot", "probe", "lora"
"""Ways of being asked: as the model is, by a linear layer over its last hidden state, or with additions that learn."""
EXAMPLES = """examples:
  python -m eval.tallrec --data movie --data-dir /where/it/lies/tallrec --rows 0
  python -m eval.tallrec --data movie --data-dir /where/it/lies/tallrec --rows 0 16 64 256 --draws 10 --minutes 60
  python -m eval.tallrec --data book --data-dir /where/it/lies/tallrec --draws 5 --save book
"""


@exit_code
def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    run(parser().parse_args(argv))
    return 0


def parser() -> argparse.ArgumentParser:
    """Flags of the command, without torch."""
    result = argparse.ArgumentParser(
        "eval.tallrec", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    result.add_argument("--data", choices=("movie", "book"), default="movie", help="(default: %(default)s)")
    result.add_argument("--data-dir", type=Path, required=True, help="folder that holds movie/ or book/")
    result.add_argument("--model", default="smollm2-135m", help="as --model of train.py (default: %(default)s)")
    result.add_argument("--prompt", default="instructions/alpaca", help="file below prompts/ (default: %(default)s)")
    result.add_argument(
        "--rows",
        type=at_least(0),
        nargs="+",
        default=[0, 16, 64, 256],
        help="training rows; 0: untrained (0 16 64 256)",
    )
    result.add_argument(
        "--ways", choices=(PROBE, LORA), nargs="+", default=[PROBE, LORA], help="of learning from rows (default: both)"
    )
    result.add_argument("--draws", type=at_least(1), default=10, help="of the training rows (default: %(default)s)")
    _add_learning(result)
    result.add_argument(
        "--selection", type=at_least(1), default=200, help="rows that tell the epochs, at most (default: 200)"
    )
    result.add_argument("--test", type=at_least(1), default=sys.maxsize, help="test rows, at most (default: all)")
    result.add_argument(
        "--seed", type=int, default=0, help="of the halves and of the rows drawn from them (default: 0)"
    )
    result.add_argument("--minutes", type=float, default=float("inf"), help="after so many no other cell is begun")
    result.add_argument("--save", metavar="NAME", help="also write eval/results/tallrec-NAME.*")
    result.add_argument("--json", action="store_true", help="print the figures as JSON instead of the table")
    return result


def _add_learning(result: argparse.ArgumentParser) -> None:
    result.add_argument(
        "--blocks", type=at_least(0), default=6, help="how many at the end learn; 0: all (default: %(default)s)"
    )
    result.add_argument("--learning-rate", type=float, default=1e-3, help="(default: %(default)s)")
    result.add_argument("--batch-size", type=at_least(1), default=16, help="(default: %(default)s)")
    result.add_argument("--epochs", type=at_least(1), default=12, help="at most (default: %(default)s)")
    result.add_argument(
        "--learned", type=at_least(1), default=512, help="rows to learn from in all epochs together (default: 512)"
    )


def run(arguments: argparse.Namespace) -> None:
    """Makes the cells that are missing, prints the table of those that are there, and saves it if asked to."""
    from eval.tallrec_cells import Cell, Options, Study
    from eval.tallrec_report import Report
    from llmrec.console import Console

    options = Options(
        model=arguments.model,
        prompt=arguments.prompt,
        blocks=arguments.blocks or None,
        learning_rate=arguments.learning_rate,
        batch_size=arguments.batch_size,
        epochs=arguments.epochs,
        learned=arguments.learned,
        selection=arguments.selection,
        test=arguments.test,
        seed=arguments.seed,
    )
    study = Study(arguments.data_dir / arguments.data, options, Console())
    sizes = sorted(set(arguments.rows))
    study.drawn(sizes[-1], 0)  # too many are refused before hours are spent
    stop = time.monotonic() + 60 * arguments.minutes
    found = {place: study.cell(*place) for place in _order(arguments.ways, sizes, arguments.draws)}
    for place, cell in found.items():
        if cell is None and time.monotonic() < stop:
            found[place] = study.make(*place)
    lines: dict[tuple[str, int], list[Cell | None]] = {}
    for (way, rows, _), cell in found.items():
        lines.setdefault((way, rows), []).append(cell)
    report = Report(study, lines)
    if arguments.save:
        report.save(RESULTS / f"tallrec-{arguments.save}")
    print(json.dumps(report.as_json(), indent=2) if arguments.json else report.text)


def _order(ways: Sequence[str], sizes: Sequence[int], draws: int) -> Iterator[tuple[str, int, int]]:
    """Way by way, the first draw of every size before the second of any; untrained there is but one."""
    if 0 in sizes:
        yield UNTRAINED, 0, 0
    for way in ways:
        yield from ((way, rows, draw) for draw in range(draws) for rows in sizes if rows)


if __name__ == "__main__":
    sys.exit(main())
