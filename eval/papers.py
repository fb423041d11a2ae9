"""A paper's comparison, run from its file in eval/benchmarks: systems on data sets, beside the paper's figures.

Systems that go on from a source begin with the run of the same system there, which is trained or found in runs/study,
as all cells are: the same command goes on where it stopped. What the folder lacks, a data set or its covers, is named
and left out with the systems that read it.
With --miniature runs are small, for the made data of `python -m tests.miniature ninerec DIR`.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval import cells
from llmrec import config
from llmrec.errors import ConfigError, DataError, RunError, exit_code

if TYPE_CHECKING:
    from eval.paper_files import Benchmark

EXAMPLES = """examples:
  python -m eval.transfer --benchmark ninerec --data-dir /data/NineRec --targets QB KU --systems sasrec-id sasrec-text
  python -m eval.transfer --benchmark ninerec --data-dir /data/NineRec --targets KU files.columns=item_user_time
  python -m tests.miniature ninerec /tmp/ninerec
  python -m eval.transfer --benchmark ninerec --miniature --data-dir /tmp/ninerec --seeds 1
"""
OF_FILES = "files."
"""What options of how the data are read begin with, on the command line."""


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
    result.add_argument(
        "overrides",
        nargs="*",
        metavar="key.path=value",
        help="more options of every run; files.key=value: of how the data are read, such as files.language=english",
    )
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
        RunError: cells ended with an error; the others are printed and saved all the same.
    """
    from eval import paper_cells, paper_files, paper_report

    benchmark = paper_files.load(arguments.benchmark)
    benchmark = benchmark.small() if arguments.miniature else benchmark
    stop = time.monotonic() + 60 * arguments.minutes
    more, files = _parted(arguments.overrides)
    study = paper_cells.Study(benchmark, arguments.data_dir, more, stop, files)
    wanted = _wanted(benchmark, arguments.systems, arguments.targets)
    study.check(wanted)
    lacking = study.lacking(wanted)
    absent = {
        target: "; ".join(dict.fromkeys(why.values()))
        for target, why in lacking.items()
        if len(why) == len(wanted[target])
    }
    if len(absent) == len(wanted):
        told = "; ".join(absent.values())
        raise DataError(f"{arguments.data_dir} has no data set to run the benchmark {benchmark.name} on: {told}")
    able = {
        target: [name for name in names if name not in lacking[target]]
        for target, names in wanted.items()
        if target not in absent
    }
    trained = study.train(able, range(arguments.seeds), arguments.jobs)
    reports = [
        paper_report.Report(benchmark, target, found, lacking[target] | missing)
        for target, (found, missing) in trained.items()
    ]
    if arguments.output:
        paper_report.save(benchmark, reports, absent, arguments.output)
    if arguments.json:
        print(json.dumps(paper_report.as_json(reports), indent=2))
    else:
        print(paper_report.show(benchmark, reports, absent))
    if study.failed:
        raise RunError(
            f"{len(study.failed)} cells ended with an error ({', '.join(study.failed)}); their rows are missing"
        )


def _parted(overrides: Sequence[str]) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Options of runs as they are, and those of how data are read."""
    of_files = [each.removeprefix(OF_FILES) for each in overrides if each.startswith(OF_FILES)]
    return tuple(each for each in overrides if not each.startswith(OF_FILES)), config.read_overrides(of_files)


def _wanted(
    benchmark: "Benchmark", systems: Sequence[str] | None, targets: Sequence[str] | None
) -> dict[str, list[str]]:
    """Systems by target, of those that are asked for.

    Raises:
        ConfigError: one that the file has not, or none of the systems is run on a target.
    """
    from eval.paper_files import chosen

    systems = chosen("system", systems or benchmark.systems, benchmark.systems)
    targets = chosen("target", targets or benchmark.targets, benchmark.targets)
    wanted = {target: [name for name in benchmark.systems_of(target) if name in systems] for target in targets}
    if not any(wanted.values()):
        raise ConfigError(f"the benchmark {benchmark.name} runs none of {', '.join(systems)} on {', '.join(targets)}")
    return {target: names for target, names in wanted.items() if names}


if __name__ == "__main__":
    sys.exit(main())
