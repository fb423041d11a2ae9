"""What a language model that writes names makes of every P5 prompt, seen in training or not: ``python -m eval.p5 RUN``.

Next items are ranked among the whole catalogue, with the history left out of the lists and again with it in them,
beside what needs no training and the runs named by --against. Prompts that show candidates rank them by the likelihood
of each name or the probability of yes. Stars are read off what is written (RMSE, MAE), choices off the
likelihoods of the two words (accuracy, AUC). Explanations and headlines are written by a beam search (BLEU, ROUGE).

Without RUN it is the study of four kinds of names on MovieLens-100K, which trains what is missing below runs/study.
"""

import argparse
import json
import sys
from pathlib import Path

from eval import cells
from eval.flags import at_least
from llmrec.errors import exit_code

RESULTS = Path("eval/results")
EXAMPLES = """examples:
  python -m eval.p5 runs/ml-100k-p5-t5-tiny-random-s0
  python -m eval.p5 runs/ml-100k-p5-t5-tiny-*-s0 --against runs/ml-100k-sasrec-id-softmax-s0 --save mine
  python -m eval.p5 runs/big-s0 --prompts p5/rating/by_title p5/other_domain/stars --users 100
  python -m eval.p5 --jobs 2 --save ml-100k
"""


@exit_code
def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    run(parser().parse_args(argv))
    return 0


def parser() -> argparse.ArgumentParser:
    """Flags of the command, without torch."""
    result = argparse.ArgumentParser(
        "eval.p5", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    result.add_argument("runs", nargs="*", type=Path, help="finished runs of one data set that write names")
    cells.add_data_dir(result)
    result.add_argument("--seeds", type=at_least(1), default=1, help="of each kind of names (default: 1)")
    cells.add_jobs(result)
    result.add_argument(
        "--against", nargs="+", type=Path, default=[], metavar="RUN", help="trained runs that compare vectors"
    )
    result.add_argument(
        "--prompts",
        nargs="+",
        default=[],
        metavar="NAME",
        help="ask by these and each run's own alone, of whatever family (default: all of its families)",
    )
    result.add_argument("--users", type=at_least(1), default=10_000, help="cases at most (default: 10000)")
    result.add_argument(
        "--asked", type=at_least(1), default=200, help="of these, cases asked with candidates (default: 200)"
    )
    result.add_argument("--candidates", type=at_least(1), help="of each of them (default: as many as training listed)")
    result.add_argument("--seed", type=int, default=0, help="of users, candidates and claims (default: 0)")
    result.add_argument("--save", metavar="NAME", help="also write eval/results/p5-NAME.md, .json and .png")
    result.add_argument("--json", action="store_true", help="print the figures as JSON instead of the tables")
    return result


def run(arguments: argparse.Namespace) -> None:
    """Asks every run, ranks the same with all others, prints and saves."""
    from eval import p5_cells, p5_report, p5_rows, p5_study, zeroshot_candidates
    from llmrec.console import Console

    if not arguments.runs:
        found = p5_cells.trained(arguments.data_dir, arguments.jobs, arguments.seeds)
        arguments.runs, arguments.against = found[0], [*found[1], *arguments.against]
    study = p5_study.Study.of(arguments, Console())
    protocol = study.protocol(p5_study.MASKED)
    against = zeroshot_candidates.trained_runs(arguments.against, protocol)
    asked = zeroshot_candidates.trained_runs(arguments.runs, protocol)
    prompts = {
        prompt.name: prompt
        for folder in arguments.runs
        for prompt in p5_rows.prompts(p5_study.options_of(folder), study.split.dataset, study.only)
    }
    result = p5_rows.free(study, list(prompts.values()))
    for name, folders in against.items():
        for folder, saved in folders.items():
            result.add(p5_rows.of_vectors(study, name, folder, saved))
    for name, folders in asked.items():
        for folder in folders:
            result.add(p5_rows.ask(name, folder, study))
    result.compare(list(against))
    print(json.dumps(p5_report.as_json(result), indent=2) if arguments.json else p5_report.show(result))
    if arguments.save:
        p5_report.save(RESULTS / f"p5-{arguments.save}", result)


if __name__ == "__main__":
    sys.exit(main())
