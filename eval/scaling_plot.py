"""HR@10 and nDCG@10 by the parameters of the item encoder."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmrec import evaluation
from llmrec.evaluation import Interval
from llmrec.loading import plan
from llmrec.report import SHOWN, Runs
from llmrec.runs import write_atomically

if TYPE_CHECKING:
    from eval.scaling import System

COLOURS = {"sasrec": "tab:blue", "dssm_id": "tab:orange"}


def plot(title: str, systems: "dict[str, System]", runs: Runs, path: Path) -> None:
    """Frozen models as points, ids and what needs no training as lines.

    Args:
        title: of the figure.
        systems: by the names of trained rows.
        runs: rows, trained or not.
        path: of the PNG.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    trained = {label: systems[label] for label in runs if label in systems}
    sizes = sorted({parameters(each) for each in trained.values() if any(on_curve(each, head) for head in COLOURS)})
    figure, axes = pyplot.subplots(1, len(SHOWN), figsize=(11, 4.4), layout="constrained")
    for axis, metric in zip(axes, SHOWN, strict=True):
        for head in COLOURS:
            _curve(axis, head, trained, {label: _interval(runs, label, metric) for label in trained})
        for label, colour in (("popularity", "tab:gray"), ("tfidf", "tab:olive")):
            if label in runs:
                axis.axhline(_interval(runs, label, metric).value, color=colour, linestyle=":", label=label)
        axis.set_xscale("log")
        told = [f"{size / 1e6:.0f}M" if size < 1e9 else f"{size / 1e9:.1f}B" for size in sizes]
        axis.set_xticks(sizes, told, rotation=45)  # those of like sizes would run into one another
        axis.minorticks_off()
        axis.set_xlabel("parameters of the item encoder")
        axis.set_ylabel(f"{metric}, 95 % interval over users")
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    figure.legend(*axes[-1].get_legend_handles_labels(), fontsize="small", loc="outside right center")
    figure.suptitle(title)
    write_atomically(path, lambda part: figure.savefig(part, format="png", dpi=120))
    pyplot.close(figure)


def _curve(axis: Any, head: str, trained: "dict[str, System]", values: dict[str, Interval]) -> None:
    colour = COLOURS[head]
    for twin, style, words in ((False, "o", head), (True, "x", f"{head}, random weights")):
        rows = [label for label, each in trained.items() if on_curve(each, head) and each.twin == twin]
        for place, label in enumerate(rows):
            found = values[label]
            spread = [[found.value - found.low], [found.high - found.value]]
            named = None if place else words
            at = parameters(trained[label])
            axis.errorbar(at, found.value, yerr=spread, fmt=style, color=colour, capsize=3, label=named)
    for label, each in trained.items():
        if each.head == head and each.model == "id" and each.loss != "softmax":
            axis.axhline(values[label].value, color=colour, linestyle="--", label=f"{head}, ids")


def on_curve(system: "System", head: str) -> bool:
    """Whether a system is a frozen language model under this head."""
    return system.head == head and system.model != "id" and not system.continued


def parameters(system: "System") -> int:
    """Weights that an item's text passes."""
    shape = plan.shape_of(system.model)
    return shape.rest + shape.block * system.blocks if system.blocks else shape.parameters


def _interval(runs: Runs, label: str, metric: str) -> Interval:
    return evaluation.bootstrap(evaluation.mean_over_runs(runs[label], metric)["value"].to_numpy())
