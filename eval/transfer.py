"""What was learned in one place, used in another: by tasks over shared items, or where nothing is shared but language.

With --tasks every transfer method learns every task of a folder, and tables say what learned and what was forgotten.
A cell is a method with a seed; it learns the tasks of a folder one after the other and is tested on users that no task
trains on. Cells are trained below runs/transfer, those of one seed from the same pre-trained network; finished ones are
kept in eval/results/transfer, so the same command goes on where it stopped. Beside them stand chance and whatever is
most frequent in training.

A method may have options behind a colon: clue:tuning=full. head_only:network=new is a probe of a random network.

With --source and --target a recommender over texts begins on one platform and goes on on others. A method is zero_shot,
scratch, head_only or any tuning of the language model; of each the learning rate that is best in validation is taken.
Cells are kept in eval/results/domains. scratch, the public language model alone, always stands beside the others.
"""

import argparse
import json
import sys
import time
from pathlib import Path

from eval import cells
from llmrec.errors import ConfigError, LlmrecError

CONFIG = Path(__file__).parent.parent / "configs" / "peterrec.yaml"
RESULTS = Path("eval/results")
METHODS = ("scratch", "full", "head_only", "sequential", "peterrec", "conure", "clue")
EXAMPLES = """examples:
  python -m eval.transfer --data ml-100k --tasks configs/tasks/ml-100k --seeds 1
  python -m eval.transfer --data ml-1m --tasks configs/tasks/ml-1m --jobs 2 --minutes 60 --save ml-1m
  python -m eval.transfer --data ml-1m --tasks configs/tasks/ml-1m --methods full peterrec peterrec:form=parallel
  python -m eval.transfer --data ml-1m --tasks configs/tasks/ml-1m --config configs/clue.yaml --methods head_only clue
  python -m eval.transfer --source amazon-office --target amazon-industrial --model minilm-l6 --data-dir FOLDER
  python -m eval.transfer --source ml-1m --target shop.yaml games.yaml --methods zero_shot frozen houlsby --seeds 1
"""
DOMAIN_METHODS = ("zero_shot", "scratch", "head_only", "frozen", "top_blocks", "full", "houlsby", "lora")


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    try:
        run(parser().parse_intermixed_args(argv))
    except LlmrecError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def parser() -> argparse.ArgumentParser:
    """Flags of the command, without torch."""
    result = argparse.ArgumentParser(
        "eval.transfer", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    result.add_argument("overrides", nargs="*", metavar="key.path=value", help="more options of every cell")
    result.add_argument("--data", default="ml-100k", help="as of train.py (default: %(default)s)")
    cells.add_data_dir(result)
    what = result.add_mutually_exclusive_group(required=True)
    what.add_argument("--tasks", type=Path, help="folder of the source's file and of its tasks'")
    what.add_argument("--source", help="name of the data on which recommenders over texts begin")
    result.add_argument("--target", nargs="+", default=[], metavar="DATA", help="with --source: where they go on")
    result.add_argument("--model", default="minilm-l6", help="with --source: language model (default: %(default)s)")
    result.add_argument("--head", default="sasrec", help="with --source: user encoder (default: %(default)s)")
    result.add_argument(
        "--source-tuning", default="frozen", help="what of the language model learns on the source (default: frozen)"
    )
    result.add_argument("--epochs", type=cells.positive, default=20, help="with --source: the most (default: 20)")
    result.add_argument(
        "--methods",
        nargs="+",
        metavar="NAME",
        help=f"default: {' '.join(METHODS)}; with --source: {' '.join(DOMAIN_METHODS)}",
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
    """Trains the cells that are missing, prints what those that are there came to, and saves it if asked to."""
    from eval import transfer_cells, transfer_report

    if arguments.source:
        domains(arguments)
        return
    methods = [transfer_cells.Chosen.parse(text) for text in dict.fromkeys(arguments.methods or METHODS)]
    flags = ["--config", str(arguments.config), "--data", arguments.data, *arguments.data_dir, *arguments.overrides]
    study = transfer_cells.Study([*flags, f"transfer.tasks={arguments.tasks}"], methods, range(arguments.seeds))
    study.train(arguments.jobs, time.monotonic() + 60 * arguments.minutes)
    report = transfer_report.Report(study)
    if arguments.save:
        report.save(RESULTS / f"transfer-{arguments.save}")
    print(json.dumps(report.as_json(), indent=2) if arguments.json else report.show())


def domains(arguments: argparse.Namespace) -> None:
    """The same for one source of texts and its targets."""
    from eval import domain_cells, domain_report

    if not arguments.target:
        raise ConfigError("--source needs a --target, or several: names of data")
    # What was brought along is worth what it is better than scratch: it may be worth nothing.
    methods = [*dict.fromkeys([*(arguments.methods or DOMAIN_METHODS), "scratch"])]
    stop = time.monotonic() + 60 * arguments.minutes
    own = arguments.model, arguments.head, arguments.source_tuning, arguments.epochs, stop
    more = (*arguments.data_dir, *arguments.overrides)
    reports = []
    for target in arguments.target:
        study = domain_cells.Study(arguments.source, target, *own, more)
        chosen: dict[str, cells.Chosen] = {}
        missing: list[str] = []
        for name, system in study.systems(methods).items():
            try:
                chosen |= cells.choose({name: system}, arguments.jobs, range(arguments.seeds))
            except domain_cells.TooLate:
                missing.append(name)
        reports.append(domain_report.Report(study.title, chosen, study.free(), missing))
        print(reports[-1].show())
    if arguments.save:
        domain_report.save(reports, RESULTS / f"domains-{arguments.save}")


if __name__ == "__main__":
    sys.exit(main())
