"""One user representation for many tasks: every transfer method on every task, what learned for it and what it forgot.

A cell is a method with a seed; it learns the tasks of a folder one after the other and is tested on users that no task
trains on. Cells are trained below runs/transfer, those of one seed from the same pre-trained network; finished ones are
kept in eval/results/transfer, those of other options than the usual ones apart, so the same command goes on where it
stopped. Beside them stand chance and whatever is most frequent in training.

A method may have options behind a colon: clue:tuning=full. head_only:network=new is a probe of a random network. Those
with a dot are of the run: conure:transfer.order=[gender,romance,sci-fi] learns the tasks in another order.

With --source instead of --tasks nothing is shared but language: see python -m eval.transfer --source A --help.
With --benchmark a paper's comparison is run from its file: see python -m eval.transfer --benchmark ninerec --help.
"""

import argparse
import hashlib
import json
import sys
import time
from pathlib import Path
from typing import Any

from eval import cells
from llmrec import config
from llmrec.errors import ConfigError, DivergedError, exit_code, nearest

CONFIG = Path(__file__).parent.parent / "configs" / "peterrec.yaml"
RESULTS = Path("eval/results")
RIVALS = ("full", "scratch", "most frequent")
METHODS = ("scratch", "full", "head_only", "sequential", "peterrec", "conure", "clue")
EXAMPLES = """examples:
  python -m eval.transfer --data ml-100k --tasks configs/tasks/ml-100k --seeds 1
  python -m eval.transfer --data ml-1m --tasks configs/tasks/ml-1m --jobs 2 --minutes 60 --save ml-1m
  python -m eval.transfer --data ml-1m --tasks configs/tasks/ml-1m --methods full peterrec peterrec:form=parallel
  python -m eval.transfer --data ml-1m --tasks configs/tasks/ml-1m --config configs/clue.yaml \\
      --methods clue head_only:pooling=mean --rivals head_only:pooling=mean
  python -m eval.transfer --source amazon-office --target amazon-industrial --data-dir FOLDER
  python -m eval.transfer --benchmark ninerec --data-dir FOLDER --targets QB --systems sasrec-id sasrec-text
"""


@exit_code
def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    given = {word.partition("=")[0] for word in argv}
    if "--benchmark" in given:
        from eval import papers

        return papers.main(argv)
    if "--source" in given:
        from eval import domains

        return domains.main(argv)
    run(cells.parsed(parser(), argv))
    return 0


def parser() -> argparse.ArgumentParser:
    """Flags of the command, without torch."""
    result = argparse.ArgumentParser(
        "eval.transfer", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    result.add_argument("overrides", nargs="*", metavar="key.path=value", help="more options of every cell")
    result.add_argument("--data", default="ml-100k", help="as of train.py (default: %(default)s)")
    cells.add_data_dir(result)
    result.add_argument("--tasks", type=Path, required=True, help="folder of the source's file and of its tasks'")
    result.add_argument(
        "--methods",
        nargs="+",
        default=METHODS,
        metavar="NAME",
        help=f"of llmrec/transfer (default: {' '.join(METHODS)})",
    )
    result.add_argument(
        "--rivals",
        nargs="+",
        metavar="NAME",
        help="what every other method is tested against, also 'logistic regression' and 'naive Bayes' "
        f"(default: {' '.join(RIVALS)})",
    )
    result.add_argument(
        "--config",
        type=Path,
        default=CONFIG,
        help="trunk and training of every cell, whatever method it names (default: configs/peterrec.yaml)",
    )
    cells.add_seeds(result)
    cells.add_jobs(result)
    result.add_argument("--minutes", type=float, default=float("inf"), help="after so many no other cell is begun")
    result.add_argument("--save", metavar="NAME", help="also write eval/results/transfer-NAME.md, .json and .png")
    result.add_argument("--json", action="store_true", help="print the figures as JSON instead of the tables")
    return result


def run(arguments: argparse.Namespace) -> None:
    """Trains the cells that are missing, prints what those that are there came to, and saves it if asked to.

    Raises:
        DivergedError: cells diverged; the others are printed and saved all the same.
        RunError: a cell that failed otherwise.
    """
    from eval import transfer_cells, transfer_free, transfer_report

    methods = [transfer_cells.Chosen.parse(text) for text in dict.fromkeys(arguments.methods)]
    known = (*arguments.methods, *transfer_free.NAMES)
    if unknown := [name for name in arguments.rivals or () if name not in known]:
        raise ConfigError(f"--rivals {unknown[0]!r} is none of --methods{nearest(unknown[0], known)}")
    flags = ["--config", str(arguments.config), "--data", arguments.data, *arguments.data_dir, *arguments.overrides]
    flags += [f"transfer.tasks={arguments.tasks}"]
    study = transfer_cells.Study(flags, methods, range(arguments.seeds), variant(arguments))
    study.train(arguments.jobs, time.monotonic() + 60 * arguments.minutes)
    report = transfer_report.Report(study, arguments.rivals or RIVALS)
    if arguments.save:
        report.save(RESULTS / f"transfer-{arguments.save}")
    print(json.dumps(report.as_json(), indent=2) if arguments.json else report.show())
    if study.diverged:
        raise DivergedError(f"missing, for they diverged: {'; '.join(study.diverged)}")


def variant(arguments: argparse.Namespace) -> str:
    """A digest of what is asked for besides the usual trunk, options and tasks; empty where nothing is."""
    said: dict[str, Any] = {}
    if arguments.config.resolve() != CONFIG.resolve():
        said["config"] = config.read_file(arguments.config)
    if arguments.overrides:
        said["overrides"] = sorted(arguments.overrides)
    if arguments.tasks.name != Path(arguments.data).stem:
        said["tasks"] = arguments.tasks.name
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:8] if said else ""


if __name__ == "__main__":
    sys.exit(main())
