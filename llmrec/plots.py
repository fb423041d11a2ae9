"""Metrics of runs as pictures."""

from pathlib import Path

from llmrec.report import SHOWN, TESTED, Row, Runs, rows
from llmrec.runs import write_atomically


def of_runs(runs: Runs, path: Path, shown: tuple[str, ...] = SHOWN) -> None:
    """Metrics beside each other with their intervals as a PNG, chance level dashed."""
    _draw([("", rows(runs, shown), name) for name in shown], path)


def of_groups(groups: dict[str, Runs], path: Path) -> None:
    """nDCG@10 of every group beside each other as a PNG, chance level dashed."""
    _draw([(group, rows(runs), TESTED) for group, runs in groups.items()], path)


def _draw(panels: list[tuple[str, list[Row], str]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = [row.name for row in panels[0][1]][::-1]
    size = (2 + 4 * len(panels), 1.4 + 0.42 * len(names))
    figure, grid = pyplot.subplots(1, len(panels), figsize=size, sharey=True, layout="constrained", squeeze=False)
    axes = grid[0]
    for axis, (title, table, name) in zip(axes, panels, strict=True):
        for place, row in enumerate(table[::-1]):
            value = row.metrics[name]
            colour = "tab:gray" if row.seconds is None else "tab:blue"  # gray: nothing was trained
            spread = [[value.value - value.low], [value.high - value.value]]
            axis.errorbar(value.value, place, xerr=spread, fmt="o", color=colour, capsize=3)
        axis.axvline(table[0].chance[name], color="tab:red", linestyle="--", linewidth=1, label="chance")
        axis.set_yticks(range(len(names)), names)
        axis.set_ylim(-0.5, len(names) - 0.5)
        axis.set_title(title, fontsize="medium")
        axis.set_xlabel(f"{name}\nmean and 95 % interval, {table[0].n} users")
        axis.set_xlim(left=0)
        axis.grid(axis="x", alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    figure.legend(*axes[-1].get_legend_handles_labels(), loc="outside upper right")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda part: figure.savefig(part, format="png", dpi=120))
    pyplot.close(figure)
