"""The metric of each task by the share of parameters that learned for it."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

from llmrec.runs import write_atomically

if TYPE_CHECKING:
    from eval.transfer_rows import Row

COLUMNS = 3
MARKERS = "osD^vPX*<>x"
"""One more than there are colors, so the eleventh method does not look like the first."""
LINES = ("--", ":", "-.", "-")
TITLE = 34
"""Letters on a line above a panel."""
APART = 1.08
"""Methods of which as much learns stand beside each other by this factor."""


def plot(rows: "Mapping[str, Sequence[Row]]", metrics: Mapping[str, str], path: Path) -> None:
    """One panel a task: methods as points with intervals, what learned nothing as lines.

    Args:
        rows: by task.
        metrics: what is shown of each.
        path: of the PNG.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    columns = min(COLUMNS, len(rows))
    lines = -(-len(rows) // columns)
    figure, axes = pyplot.subplots(
        lines, columns, figsize=(3 + 3.4 * columns, 1 + 2.8 * lines), squeeze=False, layout="constrained"
    )
    for axis in axes.flat[len(rows) :]:
        axis.set_visible(False)
    # A method looks the same in all panels, whatever others a panel has.
    looks = _looks(row.name for found in rows.values() for row in found if row.share is not None)
    styles = dict(
        zip(dict.fromkeys(row.name for each in rows.values() for row in each if row.share is None), cycle(LINES))
    )
    for axis, (task, found) in zip(axes.flat, rows.items(), strict=False):
        trained = [row for row in found if row.share is not None]
        for place, row in enumerate(trained):
            value, crowd = row.metrics[metrics[task]], [each for each in trained[:place] if _near(each, row)]
            spread = [[value.value - value.low], [value.high - value.value]]
            at = (row.share or 0) / APART ** len(crowd)
            axis.errorbar(at, value.value, yerr=spread, linestyle="none", capsize=3, label=row.name, **looks[row.name])
        for row in (each for each in found if each.share is None):
            level = row.metrics[metrics[task]].value
            axis.axhline(level, color="tab:gray", linestyle=styles[row.name], label=row.name)
        axis.set_xscale("log")
        _describe(axis, task, metrics[task])
    _finish(figure, "share of parameters that learn for the task; 95 % intervals over test users", path)


def plot_curves(curves: "Mapping[str, Mapping[str, Sequence[Row]]]", metric: str, path: Path) -> None:
    """One panel a target: every row by how many users were learned from, with intervals.

    Args:
        curves: rows by target and number of users in words, the fewest first.
        metric: that is shown.
        path: of the PNG.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(
        1, len(curves), figsize=(3 + 3.4 * len(curves), 3.8), squeeze=False, layout="constrained"
    )
    looks = _looks(row.name for found in curves.values() for rows in found.values() for row in rows)
    for axis, (target, found) in zip(axes.flat, curves.items(), strict=True):
        places = list(found)
        for number, name in enumerate(dict.fromkeys(row.name for rows in found.values() for row in rows)):
            points = [(words, row.metrics[metric]) for words, rows in found.items() for row in rows if row.name == name]
            at = [places.index(words) + 0.03 * number for words, _ in points]
            spread = [[each.value - each.low for _, each in points], [each.high - each.value for _, each in points]]
            values = [each.value for _, each in points]
            axis.errorbar(at, values, yerr=spread, capsize=3, label=name, **looks[name])
        axis.set_xticks(range(len(places)), places)
        axis.set_ylim(bottom=0)
        _describe(axis, target, metric)
    _finish(figure, "users learned from; 95 % intervals over test users", path)


def _looks(names: Iterable[str]) -> dict[str, dict[str, str]]:
    """Color and marker of each name."""
    places = enumerate(dict.fromkeys(names))
    return {name: {"color": f"C{place}", "marker": MARKERS[place % len(MARKERS)]} for place, name in places}


def _describe(axis: Any, title: str, metric: str) -> None:
    axis.set_title(fill(title, TITLE, break_on_hyphens=False), fontsize="medium")
    axis.set_ylabel(metric)
    axis.grid(alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)


def _finish(figure: Any, words: str, path: Path) -> None:
    """Adds the legend of all panels and what they share below, and writes the figure."""
    from matplotlib import pyplot

    figure.supxlabel(words)
    handles: dict[str, Any] = {}
    for axis in figure.axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    figure.legend(handles.values(), handles.keys(), loc="outside right upper", fontsize="small")
    write_atomically(path, lambda part: figure.savefig(part, format="png", dpi=120))
    pyplot.close(figure)


def _near(one: "Row", other: "Row") -> bool:
    assert one.share is not None and other.share is not None
    return max(one.share, other.share) < APART * min(one.share, other.share)
