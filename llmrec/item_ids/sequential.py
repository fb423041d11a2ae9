"""Numbers in the order in which training shows the items."""

from typing import Literal

import numpy as np
import polars as pl

from llmrec.item_ids import ItemIds, TextVectors, numbered, refuse_new, require_first, shuffled
from llmrec.sequences import Sequences


class Sequential:
    """``item_<number>``, counted along the training sequences, one user after the other (arXiv:2305.06569).

    Items that one user met one after the other have numbers that lie close, and so share their first digits. Each is
    numbered where it is first met; items that training never shows come after all others, in a random order, so no
    number tells anything of a held-out interaction.

    Args:
        first: the smallest number.
        order: of the users: as they stand in the data, or those with the fewest or the most training interactions
            first; equals stay as they stand.
    """

    def __init__(
        self, *, first: int = 1001, order: Literal["original", "short_first", "long_first"] = "original"
    ) -> None:
        require_first(first)
        self.first, self.order = first, order

    def name(self, train: Sequences, items: pl.DataFrame, seed: int, vectors: TextVectors) -> ItemIds:
        """Numbers items along the sequences, then the rest."""
        met, where = np.unique(train.take(self._users(train)).values, return_index=True)
        rest = shuffled(items, seed)
        return numbered(np.concatenate([met[np.argsort(where)], rest[~np.isin(rest, met)]]), self.first)

    def of_new(self, items: pl.DataFrame, known: ItemIds) -> list[str]:
        """Refuses: no training sequence has them.

        Raises:
            DataError: always.
        """
        refuse_new("sequential", "the training log", items)

    def _users(self, train: Sequences) -> np.ndarray:
        sign = {"original": 0, "short_first": 1, "long_first": -1}[self.order]
        return np.argsort(sign * train.lengths, kind="stable")
