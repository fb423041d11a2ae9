"""Speed as a ratio against a named peer, both timed in one run on an idle machine.

Each benchmark alternates between the systems, prints the load average before it began, and marks figures taken while
the machine was busy. Results go to eval/results/speed-<benchmark>.md and .json.
"""

import argparse
import json
import os
import platform
import statistics
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from llmrec.errors import exit_code
from llmrec.runs import provenance, write_json, write_text

RESULTS = Path("eval/results")
BENCHMARKS = {
    "train": "targets a second of SASRec against RecTools and RePlay, and minutes to RecTools' quality",
    "heads": "targets a second of NextItNet against SASRec with as many weights",
    "encode": "texts a second of the item encoder against sentence-transformers",
    "images": "images a second and core from the store to a model against decoding them anew with PIL",
    "top_blocks": "training the top blocks of a language model over kept hidden states against running all of it",
    "p5": "examples a second of a language model that learns to write names against a plain loop of transformers",
    "zeroshot": "users a second of a prompted ranker that reads letters off against plain generate",
    "rank": "full ranking with mask, lists and tie counts against the bare matrix products",
}
IDLE = 0.3
"""Load average above which a figure is marked."""
EXAMPLES = """examples:
  python -m eval.speed rank
  python -m eval.speed train --rectools-python .venv-peers/bin/python
  python -m eval.speed encode --help
"""


@dataclass
class Timing:
    """What a benchmark found.

    ``seconds`` holds every timed repetition by system, ``work`` how many units one repetition did, ``ratios`` pairs of
    systems (faster first) with the least ratio that was aimed at, ``notes`` what a reader must know besides.
    """

    title: str
    unit: str
    work: float
    seconds: dict[str, list[float]]
    ratios: list[tuple[str, str, str]]
    notes: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    def middle(self, system: str) -> float:
        """Median seconds of one repetition."""
        return statistics.median(self.seconds[system])

    def ratio(self, fast: str, slow: str) -> float:
        """How many times as fast the first is."""
        return self.middle(slow) / self.middle(fast)


@exit_code
def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    arguments = parser().parse_args(argv)
    load = os.getloadavg()[0]
    timing = import_module(f"eval.benchmarks.{arguments.benchmark}").measure(arguments)
    text = markdown(timing, load)
    record = {**vars(timing), "load_average": load, "machine": machine(), "provenance": provenance()}
    if arguments.save:
        RESULTS.mkdir(parents=True, exist_ok=True)
        write_text(RESULTS / f"speed-{arguments.benchmark}.md", text)
        write_json(RESULTS / f"speed-{arguments.benchmark}.json", record)
    print(json.dumps(record, indent=2, default=str) if arguments.json else text)
    return 0


def parser() -> argparse.ArgumentParser:
    """Benchmarks and their options."""
    result = argparse.ArgumentParser(
        "eval.speed", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = result.add_subparsers(required=True, dest="benchmark", metavar="BENCHMARK")
    for name, told in BENCHMARKS.items():
        verb = verbs.add_parser(name, help=told, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
        verb.add_argument("--repeats", type=int, default=5, help="timed repetitions of each system")
        verb.add_argument("--threads", type=int, default=os.cpu_count(), help="threads of each system")
        verb.add_argument("--json", action="store_true", help="print JSON instead of the table")
        verb.add_argument("--save", action="store_true", help=f"also write {RESULTS}/speed-{name}.md and .json")
        import_module(f"eval.benchmarks.{name}").add_options(verb)
    return result


def alternate(systems: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    """Seconds of every repetition, the systems taking turns; each is run once before, which is not counted."""
    from time import perf_counter

    seconds: dict[str, list[float]] = {name: [] for name in systems}
    for turn in range(repeats + 1):
        for name, run in systems.items():
            started = perf_counter()
            run()
            if turn:
                seconds[name].append(perf_counter() - started)
    return seconds


def markdown(timing: Timing, load: float) -> str:
    """The table with its conditions."""
    lines = [
        f"| {timing.title} | {timing.unit} a second | seconds, median (min to max) | runs |",
        "|---|---|---|---|",
    ]
    for name, runs in timing.seconds.items():
        spread = f"{timing.middle(name):.3g} ({min(runs):.3g} to {max(runs):.3g})"
        rate = timing.work / timing.middle(name)
        lines.append(f"| {name} | {rate:,.{0 if rate >= 10 else 2}f} | {spread} | {len(runs)} |")
    lines += ["", "| ratio | found | asked for |", "|---|---|---|"]
    lines += [f"| {a} to {b} | {timing.ratio(a, b):.2f}x | {asked} |" for a, b, asked in timing.ratios]
    busy = f" **The machine was busy (above {IDLE}): these figures compare little.**" if load > IDLE else ""
    lines += ["", f"Load average before: {load:.2f}.{busy} {machine()}.", ""]
    return "\n".join([*lines, *(f"- {note}" for note in timing.notes), ""])


def machine() -> str:
    """Processor and its number of cores."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        named = [line for line in cpuinfo.read_text(encoding="utf-8").splitlines() if line.startswith("model name")]
        model = named[0].partition(":")[2].strip() if named else model
    return f"{model}, {os.cpu_count()} cores"


if __name__ == "__main__":
    sys.exit(main())
