"""A recommender over texts that begins on one platform and goes on on others, where nothing is shared but language.

A method is zero_shot, head_only, any tuning of the language model, or one that brings nothing along but the public
language model: scratch, where all of it learns, and scratch_frozen, where none of it does. Of each the learning rate
that is best in validation is taken. One of those two always stands beside the others, scratch unless the other is
named, and is trained first: what was brought along may be worth nothing. The source is trained or found in runs/study.
Finished cells are kept in eval/results/domains, those of other options than the usual ones apart, so the same command
goes on where it stopped.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from functools import cache
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval import cells
from eval.domain_methods import FROM_NOTHING, METHODS
from eval.flags import at_least
from llmrec.errors import DivergedError, exit_code

if TYPE_CHECKING:
    from eval.domain_cells import Study
    from eval.domain_report import Report

SOURCE_EPOCHS, EPOCHS = 20, 5
EXAMPLES = """examples:
  python -m eval.transfer --source amazon-office --target amazon-industrial --data-dir FOLDER --jobs 2 \\
      --output eval/results/domains-office
  python -m eval.transfer --source ml-1m --target shop.yaml games.yaml --methods zero_shot frozen houlsby --seeds 1
  python -m eval.transfer --source ml-1m --target llmrank-games --users 10 100 1000 all --methods zero_shot frozen
"""


@exit_code
def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    run(cells.parsed(parser(), argv))
    return 0


def parser() -> argparse.ArgumentParser:
    """Flags of the command, without torch."""
    result = argparse.ArgumentParser(
        "eval.transfer", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    result.add_argument("overrides", nargs="*", metavar="key.path=value", help="more options of every run")
    result.add_argument("--source", required=True, metavar="DATA", help="where recommenders begin, as of train.py")
    result.add_argument("--target", required=True, nargs="+", metavar="DATA", help="where they go on")
    cells.add_data_dir(result)
    result.add_argument(
        "--users",
        nargs="+",
        type=_users,
        default=[None],
        metavar="NUMBER",
        help="learn from so many users of a target, or from all of them; several make a learning curve (default: all)",
    )
    result.add_argument("--methods", nargs="+", default=METHODS, metavar="NAME", help=f"default: {' '.join(METHODS)}")
    result.add_argument("--model", default="minilm-l6", help="language model (default: %(default)s)")
    result.add_argument("--head", default="sasrec", help="user encoder (default: %(default)s)")
    result.add_argument(
        "--source-tuning", default="frozen", help="what of the language model learns on the source (default: frozen)"
    )
    result.add_argument("--epochs", type=at_least(1), default=EPOCHS, help="the most of a run (default: %(default)s)")
    result.add_argument(
        "--source-epochs",
        type=at_least(1),
        default=SOURCE_EPOCHS,
        help="the most of a run on the source (default: %(default)s)",
    )
    cells.add_seeds(result)
    cells.add_jobs(result)
    result.add_argument("--minutes", type=float, default=float("inf"), help="after so many no other cell is begun")
    result.add_argument("--output", type=Path, help="path without ending: also writes .md, .json and .png there")
    result.add_argument("--json", action="store_true", help="print the figures as JSON instead of the tables")
    return result


def _users(text: str) -> int | None:
    if text == "all":
        return None
    try:
        return at_least(1)(text)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"{error}; 'all' is allowed too") from None


def run(arguments: argparse.Namespace) -> None:
    """Trains what is missing, target by target, prints what there is and saves it if asked to."""
    from eval import domain_cells, domain_checks, domain_report
    from llmrec.sources import load_dataset

    domain_checks.check_overrides(arguments.overrides)
    beside = [name for name in FROM_NOTHING if name in arguments.methods] or ["scratch"]
    methods = [*dict.fromkeys([*beside, *arguments.methods])]
    recipe = domain_cells.Recipe((arguments.source_epochs, arguments.epochs), tuple(arguments.overrides))
    own = arguments.model, arguments.head, arguments.source_tuning, recipe, time.monotonic() + 60 * arguments.minutes
    sizes = sorted(set(arguments.users), key=lambda users: float("inf") if users is None else users)
    reports, found = [], dict[str, Any]()
    studies = [
        domain_cells.Study(arguments.source, target, *own, users, tuple(arguments.data_dir))
        for target, users in product(dict.fromkeys(arguments.target), sizes)
    ]
    load = cache(load_dataset)
    for study in studies:
        domain_checks.check(study, methods, range(arguments.seeds), load)
    del load  # what was read
    for study in studies:
        reports.append(_report(study, methods, arguments.jobs, arguments.seeds))
        if arguments.json:
            found[study.title] = reports[-1].as_json()
        else:
            print(reports[-1].show())
        if arguments.output:  # a later target may fail
            domain_report.save(reports, arguments.output)
    if arguments.json:
        print(json.dumps(found, indent=2))


def _report(study: "Study", methods: Sequence[str], jobs: int, seeds: int) -> "Report":
    """What there is of every method: where no cell is begun any more, the first of its seeds, as far as kept."""
    from eval import domain_cells, domain_report

    chosen: dict[str, cells.Chosen] = {}
    missing = []
    for name, system in study.systems(methods).items():
        for count in range(seeds, 0, -1):
            try:
                chosen |= cells.choose({name: system}, jobs, range(count))
            except domain_cells.TooLate:
                continue
            except DivergedError as error:
                missing.append(str(error))
            break
        there = {cell.seed for cell in chosen[name].runs} if name in chosen else set()
        if not there:
            missing.append(name)
        elif lacking := [seed for seed in range(seeds) if seed not in there]:
            missing.append(f"{name} (seed {', '.join(map(str, lacking))})")
    return domain_report.Report(study, chosen, missing)


if __name__ == "__main__":
    sys.exit(main())
