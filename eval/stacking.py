"""Stacking a deep NextItNet against training it from nothing: what both reach, and after how many seconds.

A stacked one begins with so many epochs of --blocks, goes on for as many with twice the blocks, and so on up to --deep
(StackRec, Wang et al. 2021, arXiv:2012.07598); its seconds are those of all its stages. Both end by the same patience.
Leave one out, width 64, window 50, full softmax, gated blocks, one thread. What is finished in
runs/study/ is used again.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from eval import cells, compare
from eval.flags import at_least
from llmrec import report
from llmrec.errors import exit_code
from llmrec.runs import read_json, write_atomically

OUTPUT = Path("eval/results/stacking")
SCRATCH, SHALLOW, WAYS = "from nothing", "shallow", ("adjacent", "cross")
METRIC = "nDCG@10"
FLAGS = ["--head", "nextitnet", "head.gate=true", "training.batch_size=32"]
EPOCHS, PATIENCE = 60, 5
EXAMPLES = """examples:
  python -m eval.stacking --data-dir ml-100k --jobs 2
  python -m eval.stacking --blocks 4 --deep 16 --stage 3
"""


@dataclass(frozen=True)
class Curve:
    """Validation nDCG@10 of a model by the seconds of training behind it, epoch by epoch, stages before it included."""

    seconds: list[float]
    values: list[float]

    @property
    def best(self) -> float:
        """The highest value."""
        return max(self.values)

    def until(self, wanted: float) -> float | None:
        """Seconds until a value is reached; None if it never is."""
        return next(
            (seconds for seconds, value in zip(self.seconds, self.values, strict=True) if value >= wanted), None
        )


@exit_code
def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(
        "eval.stacking", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--blocks", type=at_least(1), default=2, help="of the first stage (default: 2)")
    parser.add_argument("--deep", type=at_least(1), default=8, help="blocks of the deep model (default: 8)")
    parser.add_argument("--stage", type=at_least(1), default=3, help="epochs of each stage (default: 3)")
    parser.add_argument("--data", default="ml-100k", help="as of train.py (default: %(default)s)")
    cells.add_data_dir(parser)
    cells.add_seeds(parser)
    cells.add_jobs(parser)
    arguments = parser.parse_args(argv)
    doubled = list(_depths(arguments.blocks, arguments.deep))
    if doubled[-1] != arguments.deep or len(doubled) < 2:
        parser.error(f"--deep must be --blocks doubled once or more, came {arguments.blocks} and {arguments.deep}")
    study(arguments, doubled)
    return 0


def study(arguments: argparse.Namespace, depths: Sequence[int]) -> None:
    """Trains what is missing, prints the tables and writes eval/results/stacking.*."""
    flags = [*FLAGS, "--data", arguments.data, *arguments.data_dir]
    shallow = _Stages(arguments.data, flags, depths[:1], arguments.stage, SHALLOW)
    cells.choose({SHALLOW: cells.System(shallow)}, arguments.jobs, range(arguments.seeds))  # both ways begin with it
    systems = {
        f"NextItNet {depths[-1]} {way}": cells.System(_Stages(arguments.data, flags, depths, arguments.stage, way))
        for way in (SCRATCH, *WAYS)
    }
    chosen = cells.choose(systems, arguments.jobs, range(arguments.seeds))
    runs: report.Runs = cells.baselines(chosen[next(iter(systems))])
    runs |= {name: each.tables() for name, each in chosen.items()}
    first, *stacked = systems
    pairs = [(name, first) for name in stacked] + [(name, report.REFERENCE) for name in systems]
    curves = {name: [curve(_folder(cell)) for cell in each.runs] for name, each in chosen.items()}
    stages = " to ".join(map(str, depths))
    note = f"Stacked from {stages} blocks, {arguments.stage} epochs a stage before the last."
    text = f"{times(curves)}\n{note}\n"
    compare.save(runs, pairs, OUTPUT, "\n" + text)
    plot(curves, OUTPUT.with_name(f"{OUTPUT.name}.png"))
    print(report.show(runs, pairs))
    print(text)


def times(curves: dict[str, list[Curve]]) -> str:
    """Best validation and the seconds until what the first system reached at best, as Markdown; means over seeds."""
    wanted = [curve.best for curve in next(iter(curves.values()))]
    lines = [
        "| system | best validation nDCG@10 | training, s | until the first one's best, s | seeds that reach it |",
        "|---|---|---|---|---|",
    ]
    for name, found in curves.items():
        reached = [curve.until(value) for curve, value in zip(found, wanted, strict=True)]
        times = [seconds for seconds in reached if seconds is not None]
        until = f"{mean(times):,.0f}" if times else "-"
        best, whole = mean(curve.best for curve in found), mean(curve.seconds[-1] for curve in found)
        lines.append(f"| {name} | {best:.4f} | {whole:,.0f} | {until} | {len(times)} of {len(found)} |")
    return "\n".join(lines)


def plot(curves: dict[str, list[Curve]], path: Path) -> None:
    """Validation by seconds of training, one line a seed."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(7, 4.2), layout="constrained")
    for place, (name, found) in enumerate(curves.items()):
        for number, curve in enumerate(found):
            label = name if number == 0 else None
            axis.plot(curve.seconds, curve.values, color=f"C{place}", marker=".", alpha=0.7, label=label)
    axis.set_xlabel("seconds of training, those of the stages before included")
    axis.set_ylabel(f"validation {METRIC}, a line for each seed")
    axis.grid(alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(fontsize="small")
    write_atomically(path, lambda part: figure.savefig(part, format="png", dpi=120))
    pyplot.close(figure)


def curve(folder: Path) -> Curve:
    """Of a finished run and the runs that it began with."""
    begun = read_json(folder / "config.json")["training"]["init_from"]
    before = curve(Path(begun)).seconds[-1] if begun else 0.0
    rows = [row for row in _log(folder) if row["event"] == "epoch"]
    values = [row["validation"][METRIC] for row in rows]
    return Curve([before + row["seconds"] for row in rows], values)


def _folder(cell: cells.Cell) -> Path:
    assert cell.folder is not None, "only runs of this package have a curve"
    return cell.folder


def _log(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def _depths(first: int, last: int) -> Iterator[int]:
    while first <= last:
        yield first
        first *= 2


class _Stages:
    """Trains a deep model, one stage behind the other; from nothing there is one stage."""

    def __init__(self, data: str, flags: Sequence[str], depths: Sequence[int], stage: int, way: str) -> None:
        self.data, self.flags, self.depths, self.stage, self.way = data, flags, depths, stage, way

    def __call__(self, setting: cells.Setting, seed: int) -> cells.Cell:
        first, deep = self.depths[0], self.depths[-1]
        if self.way == SCRATCH:
            return self._train(f"{deep}-blocks", deep, self._last, seed)
        cell = self._train(f"{first}-blocks-{self.stage}-epochs", first, self._short, seed)
        for depth in self.depths[1:]:
            begun = [f"training.init_from={cell.folder}", f"training.stacking={self.way}"]
            own = self._last if depth == deep else self._short
            cell = self._train(f"{first}-{self.way}-{depth}-{self.stage}-epochs", depth, [*own, *begun], seed)
        return cell

    @property
    def _short(self) -> list[str]:
        return [f"training.epochs={self.stage}", f"training.patience={self.stage}"]

    @property
    def _last(self) -> list[str]:
        return [f"training.epochs={EPOCHS}", f"training.patience={PATIENCE}"]

    def _train(self, name: str, blocks: int, options: Sequence[str], seed: int) -> cells.Cell:
        flags = [*self.flags, f"head.num_layers={blocks}", *options]
        return cells.trained(f"stacking-{Path(self.data).stem}-{name}", *flags)({}, seed)


if __name__ == "__main__":
    sys.exit(main())
