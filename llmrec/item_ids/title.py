"""The items' own titles."""

from collections import Counter
from collections.abc import Set

import polars as pl

from llmrec.errors import DataError
from llmrec.item_ids import ItemIds, TextVectors
from llmrec.sequences import Sequences


class Title:
    """The title on one line; one that several items share ends with the item's id, as in all prompts.

    A language model may know something of a title, and items added after training have one too. Titles are longer than
    numbers, and say nothing of who met the items (arXiv:2305.06569).
    """

    def name(self, train: Sequences, items: pl.DataFrame, seed: int, vectors: TextVectors) -> ItemIds:
        """Names all items by their titles.

        Raises:
            DataError: an item without a title.
        """
        return ItemIds(("", *_told_apart(items, frozenset())))

    def of_new(self, items: pl.DataFrame, known: ItemIds) -> list[str]:
        """Names further items by their titles; one that a known item has already ends with the new item's id.

        Raises:
            DataError: an item without a title.
        """
        return _told_apart(items, frozenset(known.names))


def _told_apart(items: pl.DataFrame, taken: Set[str]) -> list[str]:
    names, ids = _titles(items), items["item_id"].to_list()
    # Once is enough but where a title looks like another one that ends with an id.
    while shared := {name for name, number in Counter(names).items() if number > 1 or name in taken}:
        names = [f"{name} [{item}]" if name in shared else name for name, item in zip(names, ids, strict=True)]
    return names


def _titles(items: pl.DataFrame) -> list[str]:
    titles = items["title"].to_list() if "title" in items.columns else [None] * len(items)
    names = [" ".join((title or "").split()) for title in titles]
    if without := [item for item, name in zip(items["item_id"], names, strict=True) if not name]:
        raise DataError(
            f"item id 'title': {len(without)} of {len(names)} items have no title, such as {without[:3]}; give them "
            "one, or take item id 'sequential', 'collaborative' or 'random'"
        )
    return names
