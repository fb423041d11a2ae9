"""From scores to ranks: masks, top-k lists, and how many items stand above a target and tie with it."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from llmrec.errors import DataError
from llmrec.sequences import Sequences


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
        DataError: a score that is not finite; sorting would rank NaN first.
    """
    _require_finite(scores, out)
    values, items = torch.topk(scores.masked_fill(out, -torch.inf), min(k, scores.shape[1] - 1), dim=1)
    return items.masked_fill(values == -torch.inf, 0), values


def rank(
    scores: Float[Tensor, "batch catalogue"],
    target: Int[Tensor, " batch"],
    out: Bool[Tensor, "batch catalogue"],
    k: int,
) -> Ranked:
    """Ranks every candidate against each row's target.

    A target that is itself ``out`` (it stands in a masked history) is no candidate and can never be recommended: all
    candidates count as above it, and it is a miss at any depth.

    Raises:
        DataError: a score that is not finite.
    """
    items, values = top_k(scores, out, k)
    reference = scores.gather(1, target[:, None])
    above = ((scores > reference) & ~out).sum(dim=1)
    tied = ((scores == reference) & ~out).sum(dim=1) - 1
    candidates = (~out).sum(dim=1)
    hidden = out.gather(1, target[:, None])[:, 0]
    return Ranked(items, values, torch.where(hidden, candidates, above), torch.where(hidden, 0, tied), candidates)


def _require_finite(scores: Tensor, out: Tensor) -> None:
    bad = ~torch.isfinite(scores) & ~out
    if bad.any():
        row, item = bad.nonzero()[0].tolist()
        raise DataError(
            f"{int(bad.sum())} scores are not finite, the first for item {item} in row {row} ({scores[row, item]}); "
            "nothing can be ranked by them. Training with a lower learning rate or in fp32 is the usual cure"
        )
