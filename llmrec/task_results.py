"""What a network answers to a task: run tables, and their metrics with interval and chance level."""

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import torch
from jaxtyping import Float
from torch import Tensor

from llmrec import evaluation, predictions
from llmrec.interactions import Dataset
from llmrec.protocol import Protocol
from llmrec.runs import RunTable
from llmrec.scoring import Scorer
from llmrec.sequences import Sequences
from llmrec.splits import Cases
from llmrec.tasks import Task
from llmrec.user_network import UserNetwork

SELECTION = {"items": "nDCG@10", "label": "accuracy"}
"""Metric of validation that the best epoch is chosen by, for each kind of task."""
METRICS = ("HR@10", "nDCG@10", "MRR@5")
LISTED = 10
BATCH = 512


class Answers:
    """Scores of a task's classes for any histories, by index from 1, as everything that ranks expects them.

    Args:
        network: that has the task's head.
        number: of the task.
        max_seq_len: only so many of the most recent items of a history are read.
    """

    def __init__(self, network: UserNetwork, number: int, max_seq_len: int) -> None:
        self.network, self.number, self.max_seq_len = network, number, max_seq_len

    @torch.no_grad()
    def score(self, histories: Sequences) -> Float[Tensor, "batch classes_and_one"]:
        """In evaluation mode; column 0 belongs to no class."""
        self.network.eval()
        device = self.network.token.device
        parts = [
            self.network(part.to(device), self.number).float().cpu()
            for part in histories.padded(self.max_seq_len).split(BATCH)
        ]
        scores = torch.cat(parts)
        return torch.cat([scores.new_zeros(len(scores), 1), scores], dim=1)


def validation(network: UserNetwork, number: int, task: Task, max_seq_len: int) -> dict[str, float]:
    """The metric that epochs are chosen by, a mean over users.

    Raises:
        DataError: the validation part is empty.
    """
    cases = _rank(Answers(network, number, max_seq_len), task, "validation", None)[0]
    name = SELECTION[task.kind]
    measured = name if task.kind == "items" else "HR@1"
    return {name: evaluation.means((cases, cases), (measured,))[measured]}


def measure(
    answers: Scorer,
    task: Task,
    part: str,
    user_ids: np.ndarray,
    protocol: dict[str, Any],
    provenance: dict[str, Any],
) -> RunTable:
    """The run table of a part of a task; of a label task with its predictions.

    Args:
        answers: scores of the task's classes, by index from 1.
        task: whose part it is.
        part: ``validation`` or ``test``.
        user_ids: of the source's users by index.
        protocol: the fields of :class:`llmrec.protocol.Protocol` that the task does not tell.
        provenance: saved beside the numbers.

    Raises:
        DataError: the part is empty.
    """
    cases, rankings = _rank(answers, task, part, user_ids)
    said = None
    if task.kind == "label":
        first = rankings.filter(pl.col("rank") == 1).select("case_id", prediction="item_id", score="score")
        said = cases.select("case_id", "target").join(first, on="case_id", maintain_order="left")
    described = Protocol(
        targets=task.description or f"{task.kind} of the task {task.name}",
        mask_history=False,
        k=LISTED,
        cases=evaluation.cases_hash(cases["case_id"]),
        **protocol,
    )
    return RunTable(cases, rankings, described, provenance, said)


def metrics(task: Task, table: RunTable) -> dict[str, dict[str, float]]:
    """Every metric with its interval over users, the number of users and what chance reaches.

    Those of a label task also tell the share of the most frequent class (``majority``).
    """
    if task.kind == "items":
        return evaluation.summary(table, METRICS)
    assert table.predictions is not None
    users, targets = table.cases["user_id"], table.cases["target"]
    majority = int(targets.value_counts()["count"].to_numpy().max()) / len(targets)
    facts = {"n": users.n_unique(), "chance": 1 / len(task.classes), "majority": majority}
    return {name: {**value._asdict(), **facts} for name, value in predictions.labels(table.predictions, users).items()}


def _rank(answers: Scorer, task: Task, part: str, user_ids: np.ndarray | None) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Cases and rankings of a part; without their ids users are called by their numbers."""
    examples = task.parts[part]
    if user_ids is None:
        user_ids = np.arange(examples.users.max(initial=0) + 1).astype(str).astype(object)
    order = pl.DataFrame({"user": examples.users}).select(pl.int_range(pl.len()).over("user")).to_series().to_numpy()
    cases = Cases(task.name, examples.users, examples.targets + 1, order, examples.histories)
    classes = Dataset.of_items(task.name, pl.DataFrame({"item_id": list(task.classes)}))
    catalogue = replace(classes, users=pl.DataFrame({"user_id": user_ids[1:].tolist()}))
    return evaluation.rank_cases(answers, cases, catalogue, mask_history=False, k=LISTED)
