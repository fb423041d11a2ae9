"""What the other baselines say together."""

from itertools import product
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from llmrec import metrics
from llmrec.baselines import Baseline, Known, Needs
from llmrec.baselines.co_occurrence import CoOccurrence
from llmrec.baselines.cosine import Cosine
from llmrec.baselines.popularity import Popularity
from llmrec.baselines.tfidf import Tfidf
from llmrec.ranking import Masked, Ranker, Tiles
from llmrec.sequences import Sequences
from llmrec.splits import Cases

PARTS = {"popularity": Popularity, "co_occurrence": CoOccurrence, "tfidf": Tfidf, "cosine": Cosine}
METRIC = "nDCG@10"
CHUNK_SCORES = 1 << 23
"""Scores of each part held at once while the weights are chosen."""


class Mix:
    """Weighted sum of popularity, co-occurrence, TF-IDF and cosine, whichever can be made.

    The scores of each have mean 0 and standard deviation 1 over the items of each row. The weights are those of a
    grid that reach the highest nDCG@10 on the validation cases, the most even ones among equals.

    Args:
        steps: the weights are multiples of one over this, and sum to 1.
        cases: the most validation cases to choose by; of more, so many are drawn, the same ones every time.
    """

    needs: Needs = "validation"

    def __init__(self, *, steps: int = 4, cases: int = 2000) -> None:
        if min(steps, cases) < 1:
            raise ValueError(f"steps and cases must be at least 1, came {steps} and {cases}")
        self.steps, self.cases = steps, cases
        self.chosen: dict[str, Any] = {}

    def fit(self, known: Known) -> "Mix":
        """Fits every part on the training part, and chooses their weights on the validation cases."""
        parts: dict[str, Baseline] = {name: part() for name, part in PARTS.items()}
        self.parts = {name: part.fit(known) for name, part in parts.items() if known.has(part.needs)}
        grid = _grid(len(self.parts), self.steps)
        values, number = self._measure(known, grid)
        best = int(values.argmax())
        self.weights = grid[best]
        weights = dict(zip(self.parts, self.weights.tolist(), strict=True))
        self.chosen = {"weights": weights, f"validation {METRIC}": float(values[best]), "validation cases": number}
        return self

    def score(self, histories: Sequences) -> Tensor:
        """Weighted sums of standardised scores."""
        some = [part for part, weight in zip(self.parts.values(), self.weights, strict=True) if weight]
        return _weighted(self.weights[self.weights > 0], [_standardise(part.score(histories)) for part in some])

    def _standardised(self, histories: Sequences) -> list[Float[Tensor, "batch catalogue"]]:
        return [_standardise(part.score(histories)) for part in self.parts.values()]

    def _measure(self, known: Known, grid: Float[Tensor, "points parts"]) -> tuple[Float[np.ndarray, " points"], int]:
        """The mean over users for each point of the grid, and how many cases it rests on."""
        assert known.validation is not None
        rows = self._drawn(len(known.validation))
        ranker, step = Ranker(known.num_items, 10), max(1, CHUNK_SCORES // (known.num_items + 1))
        parts = []
        for some in np.split(rows, range(step, len(rows), step)):
            cases = known.validation.take(some)
            masked = Masked.histories(cases.histories, known.mask_history)
            parts.append(self._measure_chunk(cases, masked, ranker, grid))
        user = known.validation.user[rows]
        share = 1 / np.bincount(user)[user] / len(np.unique(user))
        return np.concatenate(parts, axis=1) @ share, len(rows)

    def _measure_chunk(
        self, cases: Cases, masked: Masked, ranker: Ranker, grid: Float[Tensor, "points parts"]
    ) -> Float[np.ndarray, "points cases"]:
        metric, target = metrics.parse(METRIC), torch.from_numpy(cases.target).long()
        scores, values = self._standardised(cases.histories), []
        for weights in grid:
            ranked = ranker.rank(_tiles(_weighted(weights, scores)), target, masked)
            values.append(metric(ranked.target_above.numpy(), ranked.target_tied.numpy()))
        return np.stack(values)

    def _drawn(self, number: int) -> np.ndarray:
        if number <= self.cases:
            return np.arange(number)
        return np.sort(np.random.default_rng(0).choice(number, self.cases, replace=False))


def _grid(parts: int, steps: int) -> Float[Tensor, "points parts"]:
    """All weights that sum to 1, the most even ones first."""
    points = [point for point in product(range(steps + 1), repeat=parts) if sum(point) == steps]
    return torch.tensor(sorted(points, key=lambda point: sum(each**2 for each in point))).float() / steps


def _tiles(scores: Float[Tensor, "batch catalogue"]) -> Tiles:
    return lambda start, stop, out: out.copy_(scores[:, start:stop])


def _weighted(
    weights: Float[Tensor, " parts"], scores: list[Float[Tensor, "batch catalogue"]]
) -> Float[Tensor, "batch catalogue"]:
    total = torch.zeros_like(scores[0])
    for weight, part in zip(weights.tolist(), scores, strict=True):
        total.add_(part, alpha=weight)
    return total


def _standardise(scores: Float[Tensor, "batch catalogue"]) -> Float[Tensor, "batch catalogue"]:
    """Mean 0 and standard deviation 1 over the items of each row; zeros where all are alike."""
    items = scores[:, 1:]
    centred = scores - items.mean(dim=1, keepdim=True)
    spread = items.std(dim=1, correction=0, keepdim=True)
    centred = torch.where(spread > 0, centred / spread, 0.0)
    centred[:, 0] = 0
    return centred
