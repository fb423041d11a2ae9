"""From scores to ranks: masks, top-k lists, and how many items stand above a target and tie with it."""

from collections.abc import Callable
from typing import NamedTuple, NoReturn

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from llmrec.errors import NotFiniteError
from llmrec.sequences import Sequences

BLOCK = 256
"""Items with one maximum: only blocks whose maximum reaches the list or the target are looked into."""
TILE = 4096
"""Items scored at once; with a few hundred rows they stay in the processor's cache until they are counted."""
LOWEST = torch.finfo(torch.float32).min
"""Score of an item that is no candidate: below every other, and finite, so that a true infinity stands out."""

Tiles = Callable[[int, int, Float[Tensor, "batch width"]], object]
"""Writes the scores of the items from the first index up to but not including the second into the tensor."""


class Ranked(NamedTuple):
    """The best items of each row, and how the row's target fared.

    ``target_above`` counts the candidates with a higher score, ``target_tied`` those with an equal one, the target
    itself not counted. Where the target is no candidate, ``target_above`` equals ``num_candidates``.
    """

    items: Int[Tensor, "batch k"]
    scores: Float[Tensor, "batch k"]
    target_above: Int[Tensor, " batch"]
    target_tied: Int[Tensor, " batch"]
    num_candidates: Int[Tensor, " batch"]


class Masked(NamedTuple):
    """Items that are no candidates, as pairs of row and item index, each pair once and sorted by item."""

    rows: Int[Tensor, " pairs"]
    items: Int[Tensor, " pairs"]

    @classmethod
    def of(cls, rows: Int[Tensor, " n"], items: Int[Tensor, " n"]) -> "Masked":
        """Sorts pairs and drops those that occur again."""
        number = int(rows.max()) + 1 if len(rows) else 1
        pairs = torch.unique(items * number + rows)
        return cls(pairs % number, pairs // number)

    @classmethod
    def histories(cls, histories: Sequences, masked: bool) -> "Masked":
        """What leaves the rankings of these histories: their items, or nothing."""
        rows, items = (histories.rows(), histories.values) if masked else (np.empty(0), np.empty(0))
        return cls.of(torch.from_numpy(rows).long(), torch.from_numpy(items).long())

    def between(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Rows and items of the pairs whose item lies in ``[start, stop)``."""
        first, last = torch.searchsorted(self.items, torch.tensor([start, stop], device=self.items.device)).tolist()
        return self.rows[first:last], self.items[first:last]

    def holds(self, target: Int[Tensor, " batch"]) -> Bool[Tensor, " batch"]:
        """Whether each row's target is one of its masked items."""
        hidden = torch.zeros_like(target, dtype=torch.bool)
        hidden[self.rows[self.items == target[self.rows]]] = True
        return hidden


def excluded(histories: Sequences, num_items: int) -> Bool[Tensor, "batch catalogue"]:
    """A mask of the items in each history, padding included."""
    mask = torch.zeros(len(histories), num_items + 1, dtype=torch.bool)
    mask[torch.from_numpy(histories.rows()), torch.from_numpy(histories.values).long()] = True
    mask[:, 0] = True
    return mask


def top_k(
    scores: Float[Tensor, "batch catalogue"], out: Bool[Tensor, "batch catalogue"], k: int
) -> tuple[Int[Tensor, "batch k"], Float[Tensor, "batch k"]]:
    """The ``k`` best items of each row that are not ``out``; item 0 with score ``-inf`` where fewer are left.

    Raises:
        NotFiniteError: a score that is not finite; sorting would rank NaN first.
    """
    if not torch.isfinite(scores.masked_fill(out, 0.0)).all():
        _refuse(scores.masked_fill(out, 0.0), 0)
    values, items = torch.topk(scores.masked_fill(out, -torch.inf), min(k, scores.shape[1] - 1), dim=1)
    return items.masked_fill(values == -torch.inf, 0), values


class Ranker:
    """Ranks batch after batch over one catalogue; the room for the scores is kept between them.

    Args:
        num_items: of the catalogue.
        k: length of the lists; shorter where the catalogue is.
    """

    def __init__(self, num_items: int, k: int) -> None:
        self.num_items, self.k = num_items, min(k, num_items)
        self.width = min(TILE, -(-num_items // BLOCK) * BLOCK)
        self._scores = self._marks = torch.empty(0, 0, 0)

    def rank(self, tiles: Tiles, target: Int[Tensor, " batch"], masked: Masked) -> Ranked:
        """Ranks every candidate against each row's target.

        A target that is itself masked is no candidate and can never be recommended: all candidates count as above it,
        and it is a miss at any depth.

        Args:
            tiles: gives the scores of a range of item indices (1 to ``num_items``), the same for all rows.
            target: item index per row.
            masked: the items that are no candidates.

        Raises:
            NotFiniteError: a score of a candidate that is not finite.
        """
        scores, maxima = self._fill(tiles, len(target), masked)
        rows, place = torch.arange(len(target), device=target.device), target - 1
        within = place % self.width
        reference = scores[place // self.width, rows, within // BLOCK, within % BLOCK][:, None]
        above, reached = self._count(scores, maxima, reference)
        candidates = self.num_items - torch.bincount(masked.rows, minlength=len(target))
        hidden = masked.holds(target)
        items, values = _best(scores, maxima, self.k)
        above = torch.where(hidden, candidates, above)
        return Ranked(items, values, above, torch.where(hidden, 0, reached - above - 1), candidates)

    def _fill(
        self, tiles: Tiles, batch: int, masked: Masked
    ) -> tuple[Float[Tensor, "tiles batch blocks block"], Float[Tensor, "tiles batch blocks"]]:
        """All scores, tile by tile, and the maximum of each block.

        What is masked or beyond the catalogue has the lowest score there is.
        """
        number, device = -(-self.num_items // self.width), masked.rows.device
        if self._scores.shape[:2] != (number, batch) or self._scores.device != device:
            self._scores = torch.empty(number, batch, self.width, device=device)
            self._marks = torch.empty(1, batch, self.width, device=device)
        scores = self._scores.view(number, batch, self.width // BLOCK, BLOCK)
        maxima = torch.empty(scores.shape[:3], device=device)
        for place, start in enumerate(range(1, self.num_items + 1, self.width)):
            tile = self._scores[place]
            stop = min(start + self.width, self.num_items + 1)
            tiles(start, stop, tile[:, : stop - start])
            tile[:, stop - start :] = LOWEST
            rows, items = masked.between(start, stop)
            tile[rows, items - start] = LOWEST
            torch.amax(scores[place], dim=-1, out=maxima[place])  # NaN and infinity show in the maxima and the minimum
            if not (torch.isfinite(maxima[place]).all() and torch.isfinite(tile.amin(dim=-1)).all()):
                _refuse(tile, start)
        return scores, maxima

    def _count(
        self,
        scores: Float[Tensor, "tiles batch blocks block"],
        maxima: Float[Tensor, "tiles batch blocks"],
        reference: Float[Tensor, "batch 1"],
    ) -> tuple[Int[Tensor, " batch"], Int[Tensor, " batch"]]:
        """How many scores of each row are above, and how many are at least its reference."""
        batch = len(reference)
        above, reached = (torch.zeros(batch, dtype=torch.long, device=reference.device) for _ in range(2))
        for tile, peaks in zip(scores.flatten(2), maxima, strict=True):
            reach = (peaks >= reference).any(dim=1).nonzero()[:, 0]
            # To copy most of the rows takes longer than to count in all.
            rows = reach if 2 * len(reach) <= batch else slice(None)
            some, own = tile[rows], reference[rows]
            # Comparisons that write floats run many times faster on a CPU than those that write booleans.
            marks = self._marks[0, : len(own)]
            above[rows] += torch.gt(some, own, out=marks).sum(dim=1).long()
            reached[rows] += torch.ge(some, own, out=marks).sum(dim=1).long()
        return above, reached


def _best(
    scores: Float[Tensor, "tiles batch blocks block"], maxima: Float[Tensor, "tiles batch blocks"], k: int
) -> tuple[Int[Tensor, "batch k"], Float[Tensor, "batch k"]]:
    """The k best items of each row: they lie in the k blocks with the highest maxima."""
    number, batch, per_tile = maxima.shape
    peaks = maxima.transpose(0, 1).reshape(batch, number * per_tile)
    blocks = peaks.topk(min(k, number * per_tile), dim=1).indices.sort(dim=1).values
    rows = torch.arange(batch, device=maxima.device)[:, None]
    inside = scores[blocks // per_tile, rows, blocks % per_tile].view(batch, blocks.shape[1] * BLOCK)
    values, places = inside.topk(k, dim=1)
    items = blocks.gather(1, places // BLOCK) * BLOCK + places % BLOCK + 1
    gone = values == LOWEST
    return items.masked_fill(gone, 0), values.masked_fill(gone, -torch.inf)


def _refuse(scores: Float[Tensor, "batch width"], start: int) -> NoReturn:
    bad = ~torch.isfinite(scores)
    row, item = bad.nonzero()[0].tolist()
    raise NotFiniteError(
        f"{int(bad.sum())} scores are not finite, the first for item {item + start} in row {row} "
        f"({scores[row, item]}); nothing can be ranked by them. Training with a lower learning rate or in fp32 is the "
        "usual cure"
    )
