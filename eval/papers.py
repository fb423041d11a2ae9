"""A paper's comparison, run from its file in eval/benchmarks: systems on data sets, beside the paper's figures.

Systems that go on from a source begin with the run of the same system there, which is trained or found in runs/study,
as all cells are: the same command goes on where it stopped. A data set that the folder lacks is named and left out.
With --miniature runs are small, for the made data of `python -m tests.miniature ninerec DIR`.
"""

import argparse
import json
import sys
import time
from pathlib import Path

from eval import cells
from llmrec.errors import DataError, exit_code

EXAMPLES = """examples:
  python -m eval.transfer --benchmark ninerec --data-dir /data/NineRec --targets QB KU --systems sasrec-id sasrec-text
  python -m tests.miniature ninerec /tmp/ninerec
  python -m eval.transfer --benchmark ninerec --miniature --data-dir /tmp/ninerec --seeds 1
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
    result.add_argument(
        "--benchmark", required=True, metavar="NAME", help="a file of eval/benchmarks: ninerec, morec ..."
    )
    result.add_argument("--data-dir", type=Path, required=True, help="with a folder for each data set")
    result.add_argument("--miniature", action="store_true", help="the file's small settings, for made data")
    result.add_argument("--systems", nargs="+", metavar="NAME", help="of the file (default: all)")
    result.add_argument("--targets", nargs="+", metavar="DATA", help="data sets of the file (default: all)")
    cells.add_seeds(result)
    cells.add_jobs(result)
    result.add_argument("--minutes", type=float, default=float("inf"), help="after so many no other cell is begun")
    result.add_argument("--output", type=Path, help="path without ending: also writes .md and .json there")
    result.add_argument("--json", action="store_true", help="print the figures as JSON instead of the tables")
    return result


def run(arguments: argparse.Namespace) -> None:
    """Trains the cells that are missing, prints what those that are there came to, and saves it if asked to.

    Raises:
        ConfigError: a benchmark, system, data set or option that does not exist.
        DataError: the folder has none of the data sets.
    """
    from eval import paper_cells, paper_files, paper_report

    benchmark = paper_files.load(arguments.benchmark)
    benchmark = benchmark.small() if arguments.miniature else benchmark
    systems = paper_files.chosen("system", arguments.systems or benchmark.systems, benchmark.systems)
    targets = paper_files.chosen("target", arguments.targets or benchmark.targets, benchmark.targets)
    stop = time.monotonic() + 60 * arguments.minutes
    study = paper_cells.Study(benchmark, arguments.data_dir, tuple(arguments.overrides), stop)
    wanted = {target: [name for name in benchmark.systems_of(target) if name in systems] for target in targets}
    study.check(wanted)
    absent = study.absent(wanted)
    if len(absent) == len(wanted):
        told = "; ".join(absent.values())
        raise DataError(f"{arguments.data_dir} has no data set of the benchmark {benchmark.name}: {told}")
    wanted = {target: names for target, names in wanted.items() if target not in absent}
    found = study.train(wanted, range(arguments.seeds), arguments.jobs)
    reports = [
        paper_report.Report(
            benchmark, target, found[target], [name for name in wanted[target] if name not in found[target]]
        )
        for target in wanted
    ]
    if arguments.output:
        paper_report.save(benchmark, reports, absent, arguments.output)
    if arguments.json:
        print(json.dumps(paper_report.as_json(reports), indent=2))
    else:
        print(paper_report.show(benchmark, reports, absent))


if __name__ == "__main__":
    sys.exit(main())
