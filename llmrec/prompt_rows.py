"""Rows of a data set as templates see them: every known column is there, and an absent text is an empty one.

Users and items have a field more than their tables: ``id``, the name by which a language model knows them. Items of a
history or among the candidates also have ``text``, how they are shown (by an item prompt, else the title, else the id).
Candidates have a ``label`` too: A, B ... by their place.
"""

from collections import Counter
from collections.abc import Sequence
from functools import cache, cached_property
from itertools import islice, product
from string import ascii_uppercase
from typing import Any

import numpy as np
import polars as pl

from llmrec.interactions import INTERACTION_COLUMNS, ITEM_COLUMNS, USER_COLUMNS, Dataset
from llmrec.splits import Cases

Row = dict[str, Any]
HISTORY = 10
"""Recent items that a prompted model is shown unless told otherwise; longer histories seem not to help one
(arXiv:2601.20316, 50 users)."""
_BLANK = r"^[\s\p{Cc}\p{Cf}]*$"
"""Texts that nobody can see: nothing but blanks, control characters and marks of no width."""
_KNOWN: dict[str, dict[str, Any]] = {"user": USER_COLUMNS, "item": ITEM_COLUMNS, "interaction": INTERACTION_COLUMNS}


def tables(dataset: Dataset) -> dict[str, pl.DataFrame]:
    """The tables ``user``, ``item`` and ``interaction`` with every known column, null where the data has none."""
    log = dataset.interactions.drop("user", "item")
    users = dataset.users.with_columns(id=pl.format("user_{}", "user_id"))
    items = dataset.items.with_columns(id=pl.format("item_{}", "item_id"))
    return {
        name: frame.with_columns(
            pl.lit(None, dtype=kind).alias(column)
            for column, kind in _KNOWN[name].items()
            if column not in frame.columns
        )
        for name, frame in (("user", users), ("item", items), ("interaction", log))
    }


def columns(dataset: Dataset) -> dict[str, list[str]]:
    """Names of the fields, by table; ``shown`` and ``candidate`` are items in a history and among candidates."""
    found = {name: frame.columns for name, frame in tables(dataset).items()}
    return found | {"shown": [*found["item"], "text"], "candidate": [*found["item"], "text", "label"]}


def item_rows(dataset: Dataset) -> list[Row]:
    """One row per item, in the order of the table; an absent or blank text is ``""``, an absent list ``[]``."""
    return _rows(tables(dataset)["item"])


def filled(dataset: Dataset) -> dict[str, set[str]]:
    """By table, the fields that at least one row fills."""
    found = {
        name: {column for column in frame.columns if has_values(frame[column]).any()}
        for name, frame in tables(dataset).items()
    }
    return found | {"shown": {*found["item"], "text"}, "candidate": {*found["item"], "text", "label"}}


def has_values(column: pl.Series) -> pl.Series:
    """Which rows of a column say something: no null, no blank text and no empty list."""
    if column.dtype == pl.String:
        return ~column.str.contains(_BLANK).fill_null(True)
    if isinstance(column.dtype, pl.List):
        return (column.list.len() > 0).fill_null(False)
    return column.is_not_null()


@cache
def labels(number: int) -> tuple[str, ...]:
    """What stands before so many candidates: A to Z, of more AA, AB ...; none is the beginning of another."""
    width = 1
    while len(ascii_uppercase) ** width < number:
        width += 1
    return tuple("".join(letters) for letters in islice(product(ascii_uppercase, repeat=width), number))


def labelled(rows: Sequence[Row]) -> list[Row]:
    """Rows as candidates."""
    return [row | {"label": label} for row, label in zip(rows, labels(len(rows)), strict=True)]


def emptied(row: Row) -> Row:
    """The same fields with nothing in them: what remains of a text is then the template's own."""
    return {field: None if value is None else type(value)() for field, value in row.items()}


class PromptRows:
    """Turns cases into the variables of a prompt.

    Of P5's prompts, ``separator`` stands between the items of a history, and ``claimed`` are stars that somebody says
    were given; training draws both. ``following`` begins with the item that is asked for; training goes on with what
    came after it.

    A title or text that several items share ends with the item's id here, for a title is what a model answers with.

    Args:
        dataset: the data that the cases were cut from.
        texts: how items are shown, by index; None: by their titles, else their ids.
        ids: what a language model calls the items, by index; None: ``item_`` and their ids.
    """

    def __init__(self, dataset: Dataset, texts: Sequence[str] | None = None, ids: Sequence[str] | None = None) -> None:
        self.dataset, self.texts, self.ids = dataset, texts, ids
        self._tables = tables(dataset)

    @cached_property
    def items(self) -> list[Row]:
        """Item rows by index; entry 0 (padding) is empty."""
        rows = _rows(self._tables["item"])
        _tell_apart(rows, "title")
        for place, row in enumerate(rows, 1):
            row["text"] = self.texts[place] if self.texts else row["title"] or row["item_id"]
            row["id"] = self.ids[place] if self.ids else row["id"]
        _tell_apart(rows, "text")
        return [{}, *rows]

    @cached_property
    def users(self) -> list[Row]:
        """User rows by index; entry 0 (padding) is empty."""
        return [{}, *_rows(self._tables["user"])]

    def variables(
        self, cases: Cases, row: int, candidates: Sequence[int] = (), last: int | None = None
    ) -> dict[str, Any]:
        """What the templates know of one case.

        Args:
            cases: of a split of the data set.
            row: which case.
            candidates: item indices, in the order in which the model is to see them.
            last: how many recent items of the history are known; None: all.
        """
        user, target, known = int(cases.user[row]), int(cases.target[row]), cases.histories[row]
        return {
            "user": self.users[user],
            "history": [self.items[item] for item in known[max(0, len(known) - last) if last is not None else 0 :]],
            "item": self.items[target],
            "following": [self.items[target]],
            "candidates": labelled([self.items[item] for item in candidates]),
            "interaction": self.interaction(user, target, len(known)),
            "separator": ", ",
            "claimed": 1 + row % 5,
        }

    def draw_candidates(self, cases: Cases, row: int, number: int, seed: int) -> list[int]:
        """The target among ``number - 1`` items that are not in the history, in an order of the case's own.

        A single candidate is the target in one half of the cases and another item in the other.
        """
        generator = np.random.default_rng([seed, row])
        others = np.setdiff1d(np.arange(1, self.dataset.num_items + 1), cases.histories[row])
        others = generator.permutation(others[others != cases.target[row]])[: max(number, 2) - 1]
        drawn: list[int] = generator.permutation(np.append(others, cases.target[row]))[:number].tolist()
        return drawn

    def interaction(self, user: int, item: int, seen: int) -> Row:
        """The user's first interaction with the item behind so many others: the one that a case is about.

        A later one with the same item is not known yet.
        """
        first, last = np.searchsorted(self._users, [user, user + 1])
        places = np.flatnonzero(self._items[first:last] == item)
        row = first + places[min(int(np.searchsorted(places, seen)), len(places) - 1)]
        return self.events(np.array([row]))[0]

    def events(self, rows: np.ndarray) -> list[Row]:
        """Rows of the log, by their numbers."""
        return _rows(self._tables["interaction"][rows])

    @cached_property
    def _users(self) -> np.ndarray:
        return self.dataset.interactions["user"].to_numpy()

    @cached_property
    def _items(self) -> np.ndarray:
        return self.dataset.interactions["item"].to_numpy()


def _tell_apart(rows: list[Row], field: str) -> None:
    """Ends what several rows share with their ids."""
    counts = Counter(row[field] for row in rows)
    for row in rows:
        if row[field] and counts[row[field]] > 1:
            row[field] = f"{row[field]} [{row['item_id']}]"


def _rows(frame: pl.DataFrame) -> list[Row]:
    texts = [column for column, kind in frame.schema.items() if kind == pl.String]
    lists = [column for column, kind in frame.schema.items() if isinstance(kind, pl.List)]
    rows = frame.with_columns(
        pl.when(pl.col(text).str.contains(_BLANK)).then(pl.lit("")).otherwise(pl.col(text).fill_null("")).alias(text)
        for text in texts
    ).to_dicts()
    for row in rows:
        row.update({column: row[column] or [] for column in lists})
    return rows
