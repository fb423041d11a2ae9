"""What the cells of ``eval.transfer`` come to, method by method."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

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
    how many learned for it, means over tasks. ``stored``: bytes for all tasks by those of one network, without heads;
    ``stored_bytes``: the same as a number. ``seconds``: of training on tasks; ``source_seconds``: of the pre-training,
    which methods share. ``source``: nDCG@10 of the pre-trained network on next items of the source, as far as it tells
    them; ``source_kept``: the same of a method that answers the source with what the source may keep.
    """

    name: str
    seeds: int
    share: float
    share_without_items: float
    stored: float
    stored_bytes: float
    seconds: float
    source_seconds: float
    source: float | None
    source_kept: float | None


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
        stored_bytes=float(np.mean([cell.results["stored_bytes"] for cell in cells])),
        seconds=float(np.mean(seconds)),
        source_seconds=float(np.mean([cell.source_seconds for cell in cells])),
        source=_mean_or_none(cell.source_test for cell in cells),
        source_kept=_mean_or_none(
            task["test"] for cell in cells for task in cell.results["tasks"] if task["name"] not in tasks
        ),
    )


def _mean_or_none(tests: Iterable[dict[str, Any] | None]) -> float | None:
    values = [test["nDCG@10"]["value"] for test in tests if test is not None]
    return float(np.mean(values)) if values else None


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
