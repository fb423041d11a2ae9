"""What items are called in prompts that name them by an id of their own, as those of P5 and OpenP5 do.

An item id takes its options as keyword-only arguments; ``name(train, items, seed, vectors)`` sees the training part,
the item table and vectors of the items' texts, so nothing of a validation or test target can reach a name. The order of
the table may tell of them (items often stand there in the order in which the whole log first shows them), and so may
ids that number them; no drawn name follows either.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NoReturn, Protocol, runtime_checkable

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from llmrec.errors import DataError
from llmrec.sequences import Sequences

Order = Int[np.ndarray, " _"]
"""Item indices."""
TextVectors = Callable[[str, str], Float[np.ndarray, "items dims"]]
"""``vectors(model, prompt)``: what a text encoder makes of the texts that a prompt writes, one row per row of the item
table. Only a kind that calls it pays for it."""


@dataclass(frozen=True)
class ItemIds:
    """How items are called in prompts.

    Raises:
        DataError: two items of one name, or one without.
    """

    names: tuple[str, ...]
    """By index; entry 0 (padding) is empty, all are different."""
    tokens: tuple[str, ...] = ()
    """Pieces of names that a vocabulary must keep whole."""
    collision_rate: float | None = None
    """Share of the items whose codes another item has too, before something else told them apart; None: no codes."""

    def __post_init__(self) -> None:
        if twice := [name for name, number in Counter(("", *self.names[1:])).items() if number > 1]:
            raise DataError(
                f"{len(twice)} names of items stand twice or are empty, such as {twice[:3]}; every item needs one of "
                "its own"
            )

    @property
    def hash(self) -> str:
        """Sixteen hexadecimal digits over the names in their order: a model knows items by these and no others."""
        return hashlib.sha256(json.dumps(self.names).encode()).hexdigest()[:16]


@runtime_checkable
class Naming(Protocol):
    """What every item id offers."""

    def name(self, train: Sequences, items: pl.DataFrame, seed: int, vectors: TextVectors) -> ItemIds:
        """Names every item.

        Args:
            train: the training part, one sequence per user.
            items: the item table; row ``i`` is the item with index ``i + 1``.
            seed: of whatever is drawn.
            vectors: of the items' texts.
        """
        ...

    def of_new(self, items: pl.DataFrame, known: ItemIds) -> list[str]:
        """Names items added after training, one per row, none of them known.

        Raises:
            DataError: this kind has no names for them.
        """
        ...


def shuffled(items: pl.DataFrame, seed: int) -> Order:
    """All item indices in a random order that depends on seed and item ids alone, not on the order of the table."""
    by_id = items["item_id"].arg_sort().to_numpy().astype(np.int64) + 1
    return np.random.default_rng(seed).permutation(by_id)


def numbered(order: Order, first: int) -> ItemIds:
    """``item_<number>``, counted from ``first`` along an order of all items."""
    names = np.empty(len(order) + 1, dtype=object)
    names[0], names[order] = "", [f"item_{number}" for number in range(first, first + len(order))]
    return ItemIds(tuple(names.tolist()))


def dealt_out(ids: ItemIds, items: pl.DataFrame, seed: int) -> ItemIds:
    """The same names given to other items at random: a control that keeps pieces and lengths and tells nothing."""
    before, after = shuffled(items, seed), shuffled(items, seed + 1)
    names = np.array(ids.names, dtype=object)
    names[after] = names[before]
    return replace(ids, names=tuple(names.tolist()))


def require_first(first: int) -> None:
    """Raises ValueError unless numbers can begin there."""
    if first < 0:
        raise ValueError(f"first must be at least 0, came {first}")


def refuse_new(kind: str, origin: str, items: pl.DataFrame) -> NoReturn:
    """Raises DataError: items added after training cannot get a name of a kind that comes from somewhere else."""
    raise DataError(
        f"item id {kind!r} takes its names from {origin}, so {len(items)} items added after training have none, such "
        f"as {items['item_id'].head(3).to_list()}; train with item id 'title', which names items by a text they bring "
        "along"
    )
