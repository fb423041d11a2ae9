"""Numbers without a meaning."""

import polars as pl

from llmrec.item_ids import ItemIds, TextVectors, numbered, refuse_new, require_first, shuffled
from llmrec.sequences import Sequences


class Random:
    """``item_<number>``, the numbers dealt out at random: nothing is told by them, and what they share is chance.

    P5 (arXiv:2203.13366) has numbers in the order of its whole log, which give held-out items away; random ones are the
    control of OpenP5 (arXiv:2306.11134) and of "How to Index Item IDs" (arXiv:2305.06569).

    Args:
        first: the smallest number.
    """

    def __init__(self, *, first: int = 1001) -> None:
        require_first(first)
        self.first = first

    def name(self, train: Sequences, items: pl.DataFrame, seed: int, vectors: TextVectors) -> ItemIds:
        """Numbers all items in a random order."""
        return numbered(shuffled(items, seed), self.first)

    def of_new(self, items: pl.DataFrame, known: ItemIds) -> list[str]:
        """Refuses: a number that no model was trained on means nothing to it.

        Raises:
            DataError: always.
        """
        refuse_new("random", "a draw of numbers before training", items)
