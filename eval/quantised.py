"""What 8 and 4 bits do to the items' vectors and to the recommender on them: ``python -m eval.quantised``.

A language model's own bf16 weights against the same quantised (LLM.int8, NF4): standardised cosine of the vectors,
SASRec on each with a paired test, memory, and texts a second. Raw cosines would say little: those of
two unlike texts are above .9 already for a decoder.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eval import cells, compare, shapes
from eval.flags import at_least
from eval.speed import machine
from llmrec import preparation, train
from llmrec.errors import RunError, exit_code

WAYS = ("resident", "8bit", "4bit")
RESULTS = Path("eval/results/quantised")


@exit_code
def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser("eval.quantised", description=__doc__)
    parser.add_argument("--model", default="smollm2-135m", help="language model (default: %(default)s)")
    parser.add_argument("--texts", type=at_least(1), default=400, help="to time (default: %(default)s)")
    cells.add_seeds(parser)
    cells.add_jobs(parser)
    arguments = parser.parse_args(argv)
    study(arguments.model, arguments.texts, arguments.jobs, range(arguments.seeds))
    return 0


def study(name: str, number: int, jobs: int, seeds: Sequence[int]) -> None:
    """Trains, measures, prints the tables and writes eval/results/quantised.*."""
    from llmrec import report

    load = os.getloadavg()[0]
    folder = shapes.as_folder(name, Path("runs/folders") / name)
    flags = ["--model", str(folder), "features.precision=bf16"]
    costs = {way: _cost(folder, way, number) for way in WAYS}
    systems = {
        f"{name} {way}": cells.System(cells.trained(f"quantised-{name}-{way}", *flags, "--loading", way))
        for way in WAYS
    }
    chosen = cells.choose(systems, jobs, seeds)
    runs = {label: each.tables() for label, each in chosen.items()}
    exact = f"{name} {WAYS[0]}"
    pairs = [(label, exact) for label in runs if label != exact]
    vectors = {way: _vectors([*flags, "--loading", way]) for way in WAYS}
    lines = [
        "",
        f"| weights | standardised cosine to bf16 | texts a second, {number} texts | peak memory of the process |",
        "|---|---|---|---|",
    ]
    for way in WAYS:
        cosine = _cosine(vectors[WAYS[0]], vectors[way])
        seconds = costs[way]["seconds"] - costs[way]["seconds_of_loading"]
        rate, memory = number / seconds, costs[way]["bytes"] / 1e9
        label = "bf16" if way == WAYS[0] else way
        lines.append(f"| {label} | {cosine:.4f} | {rate:.1f} | {memory:.2f} GB |")
    lines += ["", f"Load average before: {load:.2f}. {machine()}.", ""]
    compare.save(runs, pairs, RESULTS, "\n".join(lines))
    print(report.show(runs, pairs))
    print("\n".join(lines))


def _cost(folder: Path, way: str, number: int) -> dict[str, float]:
    """Seconds and memory of encoding, in a process of its own."""
    command = [sys.executable, "-m", "eval.encode_once", str(folder), way, "bf16", str(number)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RunError(f"encoding {way} failed: {done.stderr.strip().splitlines()[-1]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _vectors(flags: list[str]) -> Any:
    """The vectors that the runs were trained on."""
    from llmrec.console import Console
    from llmrec.item_text import ItemText
    from llmrec.sources import load_dataset

    options = train.options_of(flags)[0].resolved()
    split = preparation.cut(options, load_dataset(options.data), Console(quiet=True))
    return ItemText.of(options, split.dataset, lambda done, total: None).vectors()[1:]


def _cosine(exact: Any, rough: Any) -> float:
    """Mean cosine of rows after standardising each side by itself, as the recommender does."""
    import torch.nn.functional as F

    from llmrec import transforms
    from llmrec.transforms.standardise import Standardise

    first, second = (transforms.apply(each, *Standardise().fit(each)) for each in (exact, rough))
    return float(F.cosine_similarity(first, second).mean())


if __name__ == "__main__":
    sys.exit(main())
