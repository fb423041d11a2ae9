"""What everything that scores a whole catalogue has in common: ``recommend``."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol, runtime_checkable

import numpy as np
import polars as pl
import torch
from jaxtyping import Float, Int
from torch import Tensor

from llmrec import ranking
from llmrec.errors import DataError
from llmrec.runs import RANKINGS
from llmrec.sequences import Sequences

CHUNK_SCORES = 1 << 26
"""Scores held at once; rows are taken in chunks of this size over the catalogue."""


@runtime_checkable
class Scorer(Protocol):
    """A model that gives every item of its catalogue a score for each history."""

    def score(self, histories: Sequences) -> Float[Tensor, "batch catalogue"]:
        """Scores by item index; column 0 (padding) is ignored."""
        ...


@runtime_checkable
class DotProducts(Protocol):
    """A scorer whose scores are dot products of a user's vector and every item's; whole rows are never held."""

    def user_embeddings(self, histories: Sequences) -> Float[Tensor, "batch dim"]:
        """One vector per history."""
        ...

    def item_embeddings(self) -> Float[Tensor, "catalogue dim"]:
        """One vector per item index."""
        ...


@runtime_checkable
class ScoresSome(Protocol):
    """A scorer that need not score the whole catalogue to score a few items."""

    def score_some(self, histories: Sequences, items: Sequence[Int[np.ndarray, " _"]]) -> list[Float[np.ndarray, " _"]]:
        """What ``score`` gives the items of each row, by index."""
        ...


def tiles(scorer: Scorer, histories: Sequences) -> ranking.Tiles:
    """What gives a scorer's scores for a range of item indices."""
    if isinstance(scorer, DotProducts):
        users, items = scorer.user_embeddings(histories).cpu(), scorer.item_embeddings().cpu()
        return lambda start, stop, out: torch.mm(users, items[start:stop].T, out=out)
    scores = scorer.score(histories).float()
    return lambda start, stop, out: out.copy_(scores[:, start:stop])


def recommend(
    scorer: Scorer,
    item_ids: np.ndarray,
    histories: Sequence[Sequence[str]],
    *,
    users: Sequence[str] | None = None,
    user_indices: np.ndarray | None = None,
    k: int = 10,
    candidates: Sequence[str] | None = None,
    exclude_seen: bool = True,
) -> pl.DataFrame:
    """The best items for each history, as a rankings table.

    Args:
        scorer: what gives the scores.
        item_ids: by index, entry 0 for the padding.
        histories: lists of item ids, oldest first; an empty one is allowed.
        users: names for the rows; by default their numbers.
        user_indices: whose the histories are, by index, for a scorer with a table of users.
        k: items per history; fewer come back where fewer are left.
        candidates: ids to choose from; by default the whole catalogue.
        exclude_seen: whether items of the history are left out.

    Returns:
        ``case_id, user_id, item_id, score, rank``.

    Raises:
        DataError: an id that is not in the catalogue, ``k`` below 1, or as many users as histories not given.
    """
    if k < 1:
        raise DataError(f"k must be at least 1, came {k}")
    if isinstance(users, str):
        raise DataError(f"users must be a list of names, came the string {users!r}")
    names = [str(row) for row in range(len(histories))] if users is None else list(map(str, users))
    if len(names) != len(histories):
        raise DataError(f"{len(names)} users for {len(histories)} histories; give one each")
    index = {str(item): position for position, item in enumerate(item_ids) if position}
    known = Sequences.from_lists([lookup(index, history, "history") for history in histories])
    known = replace(known, users=user_indices)
    barred = torch.full((len(item_ids),), candidates is not None)
    barred[lookup(index, candidates or [], "candidates")] = False
    barred[0] = True
    chunk = max(1, CHUNK_SCORES // len(item_ids))
    tables = []
    for start in range(0, max(1, len(known)), chunk):
        part = known.take(np.arange(start, min(start + chunk, len(known))))
        out = barred | (ranking.excluded(part, len(item_ids) - 1) if exclude_seen else barred.expand(len(part), -1))
        items, scores = ranking.top_k(scorer.score(part).float(), out, k)
        some = names[start : start + chunk]
        tables.append(rankings_table([f"recommend/0/{name}" for name in some], some, item_ids, items, scores))
    return pl.concat(tables)


def rankings_table(
    case_ids: list[str], users: list[str], item_ids: np.ndarray, items: Tensor, scores: Tensor
) -> pl.DataFrame:
    """Top-k lists by index as a rankings table; places without an item (index 0) are left out."""
    depth = items.shape[1]
    table = pl.DataFrame(
        {
            "case_id": np.repeat(np.array(case_ids, dtype=object), depth),
            "user_id": np.repeat(np.array(users, dtype=object), depth),
            "item_id": item_ids[items.numpy().ravel()],
            "score": scores.double().numpy().ravel(),
            "rank": np.tile(np.arange(1, depth + 1), len(users)),
        },
        schema=RANKINGS,
    )
    return table.filter(pl.Series(items.numpy().ravel() > 0))


def lookup(index: dict[str, int], ids: Sequence[str], where: str) -> list[int]:
    """Indices of item ids.

    Raises:
        DataError: names the first unknown id.
    """
    if isinstance(ids, str):
        raise DataError(f"{where} must be lists of item ids, came the string {ids!r}")
    unknown = [item for item in ids if str(item) not in index]
    if unknown:
        raise DataError(
            f"{where}: {len(unknown)} of {len(ids)} ids are not in the catalogue of {len(index)} items, such as "
            f"{unknown[0]!r}. Ids are strings as in the item table"
        )
    return [index[str(item)] for item in ids]
