"""What a task is answered by without a network: counts, and a linear model of the items met."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import MultinomialNB
from torch import Tensor

from llmrec.sequences import Sequences
from llmrec.tasks import Examples, Task

FREQUENT, BAYES, LINEAR = "most frequent", "naive Bayes", "logistic regression"
NAMES = (FREQUENT, BAYES, LINEAR)
SMOOTHING = (0.1, 1.0, 10.0)
STRENGTHS = (0.001, 0.01, 0.1)
"""Of a linear model's weights, from the least to the most free."""
BELOW_ALL = -1e6
"""Of classes that training never shows."""


class Frequencies:
    """Scores of classes: how often training shows each; popularity, or the majority class."""

    def __init__(self, task: Task) -> None:
        counts = np.bincount(task.parts["train"].targets, minlength=len(task.classes))
        self.scores = torch.from_numpy(np.concatenate([[0], counts])).float()

    def score(self, histories: Sequences) -> Float[Tensor, "batch classes_and_one"]:
        """The same for all."""
        return self.scores.expand(len(histories), -1)


class OfItems:
    """Log-probabilities of classes by a model of how often each item of the source was met.

    Args:
        model: of scikit-learn, without its weights.
        task: whose training part it is fitted to.
        num_items: of the source.
    """

    def __init__(self, model: Any, task: Task, num_items: int) -> None:
        train: Examples = task.parts["train"]
        self.num_items, self.num_classes = num_items, len(task.classes)
        self.model = model.fit(self._bags(train.histories), train.targets)

    def score(self, histories: Sequences) -> Float[Tensor, "batch classes_and_one"]:
        """Of every class; the first column is the padding's."""
        found = torch.full((len(histories), 1 + self.num_classes), BELOW_ALL)
        known = torch.from_numpy(1 + self.model.classes_)
        found[:, known] = torch.from_numpy(self.model.predict_log_proba(self._bags(histories))).float()
        return found

    def _bags(self, histories: Sequences) -> sparse.csr_array:
        where = histories.rows(), histories.values
        return sparse.csr_array((np.ones(len(where[0])), where), shape=(len(histories), 1 + self.num_items))


def answers(task: Task, num_items: int) -> Iterator[tuple[str, Sequence[Any]]]:
    """Names of rows, each with what is to be compared in validation.

    Args:
        task: to be answered.
        num_items: of the source.
    """
    yield FREQUENT, [Frequencies(task)]
    yield BAYES, [OfItems(MultinomialNB(alpha=alpha), task, num_items) for alpha in SMOOTHING]
    if task.kind == "label":
        models = [LogisticRegression(C=strength, max_iter=1000) for strength in STRENGTHS]
        yield LINEAR, [OfItems(model, task, num_items) for model in models]
