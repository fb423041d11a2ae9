"""What the cells of ``eval.transfer`` come to, method by method."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from eval.transfer_cells import Cell
from llmrec.evaluation import Interval
from llmrec.task_results import SELECTION


@dataclass(frozen=True)
class Row:
    """One method on one task; without seeds nothing was trained.

    ``metrics``: means over seeds with intervals over users; ``share``: of all parameters that answer the task, how many
    learned for it.
    """

    name: str
    n: int
    metrics: dict[str, Interval]
    seeds: int = 0
    share: float | None = None


@dataclass(frozen=True)
class Cost:
    """What a method takes for all tasks together, means over seeds.

    ``share`` and ``share_without_items``: of all parameters that answer a task, and of all but the vectors of items,
    how many learned for it, means over tasks. ``stored``: bytes for all tasks by those of one network, without heads.
    ``seconds``: of training on tasks; ``source_seconds``: of the pre-training, which methods share.
    """

    name: str
    seeds: int
    share: float
    share_without_items: float
    stored: float
    seconds: float
    source_seconds: float


def cost(name: str, cells: list[Cell], tasks: list[str]) -> Cost:
    """What the cells of a method took for these tasks."""

    def mean(key: str) -> float:
        return float(np.mean([cell.task(task)[key] for cell in cells for task in tasks]))

    seconds = [sum(task["seconds"] for task in cell.results["tasks"]) for cell in cells]
    stored = [cell.results["stored_bytes"] / cell.results["network_bytes"] for cell in cells]
    return Cost(
        name=name,
        seeds=len(cells),
        share=mean("trainable_share"),
        share_without_items=mean("trainable_share_without_items"),
        stored=float(np.mean(stored)),
        seconds=float(np.mean(seconds)),
        source_seconds=float(np.mean([cell.source_seconds for cell in cells])),
    )


def forgotten(cells: list[Cell]) -> Iterator[tuple[str, float | None]]:
    """Each earlier task of a method, and its metric after the last one less what it was when just learned.

    A mean over seeds; None where every answer is the one it was.
    """
    for before in cells[0].results["tasks"][:-1]:
        name, metric = before["name"], SELECTION[before["kind"]]
        lasts = [cell.results["tasks"][-1] for cell in cells]
        same = all(last["unchanged"][name] for last in lasts)
        changes = [
            last["earlier"][name][metric]["value"] - cell.task(name)["test"][metric]["value"]
            for last, cell in zip(lasts, cells, strict=True)
        ]
        yield name, None if same else float(np.mean(changes))
