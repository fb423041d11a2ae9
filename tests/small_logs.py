"""Small logs to split, and what a split made of them in letters."""

import numpy as np
import polars as pl

from llmrec.interactions import Dataset
from llmrec.splits import Cases, Split

LOG = ["user_id", "item_id", "timestamp"]


def log_of(*users: str, stamps: list[int] | None = None, parts: str | None = None) -> Dataset:
    """One user per string, one interaction per letter: ``log_of("abc")`` is u1 with the items a, b, c in that order.

    Args:
        users: whose items.
        stamps: of all rows; else 0, 1, 2 ...
        parts: a letter per row: t(r)ain, (v)alidation or t(e)st is written r, v or e.
    """
    rows = [(f"u{number}", item) for number, items in enumerate(users, 1) for item in items]
    times = stamps or list(range(len(rows)))
    table = pl.DataFrame(rows, schema=LOG[:2], orient="row")
    table = table.with_columns(pl.Series("timestamp", times, dtype=pl.Int64))
    if parts is not None:
        names = {"r": "train", "v": "validation", "e": "test"}
        table = table.with_columns(pl.Series("part", [names[letter] for letter in parts]))
    return Dataset.from_tables("letters", table)


def rows_of(rows: list[tuple[str, str, int]]) -> Dataset:
    """A data set of these (user, item, time)."""
    return Dataset.from_tables("rows", pl.DataFrame(rows, LOG, orient="row"))


def varied() -> Dataset:
    """A log that fits every split: times that tie, users with 0 to 11 interactions, no pair twice, parts given."""
    generator = np.random.default_rng(0)
    rows = []
    for user in range(30):
        number = int(generator.integers(1, 12))
        times = 1_000_000 + np.sort(generator.integers(0, 40, number)) + 2 * user
        items = generator.choice(25, number, replace=False)
        parts = generator.choice(["train", "validation", "test"], number, p=[0.7, 0.15, 0.15])
        rows += [(f"u{user}", f"i{item}", int(time), str(part)) for item, time, part in zip(items, times, parts)]
    log = pl.DataFrame(rows, [*LOG, "part"], orient="row")
    users = pl.DataFrame({"user_id": ["silent", *log["user_id"].unique(maintain_order=True)]})
    return Dataset.from_tables("varied", log, users=users)


def letters(dataset: Dataset, items: np.ndarray) -> str:
    return "".join(dataset.item_ids[items])


def trained(split: Split) -> list[str]:
    return [letters(split.dataset, sequence) for sequence in split.train]


def case(split: Split, part: str, row: int = 0) -> tuple[str, str, str]:
    """User, history and target of a case."""
    cases: Cases = getattr(split, part)
    history = letters(split.dataset, cases.histories[row])
    return split.dataset.user_ids[cases.user[row]], history, letters(split.dataset, cases.target[row : row + 1])


def asked(split: Split, part: str) -> list[tuple[str, str, str]]:
    """All cases of a part."""
    return [case(split, part, row) for row in range(len(getattr(split, part)))]
