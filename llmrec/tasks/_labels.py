"""What a table of users says of each: a label, or nothing."""

from difflib import get_close_matches
from pathlib import Path

import numpy as np
import polars as pl

from llmrec.errors import ConfigError, nearest
from llmrec.interactions import Dataset
from llmrec.tasks.options import LabelFile


def labels(dataset: Dataset, options: LabelFile, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The label of each user.

    Returns:
        The place of each user's label, in the order of the table, -1 where there is none; and all labels as text:
        groups and numbers rising, words by the alphabet.

    Raises:
        ConfigError: no such column, a misspelt label said to be unknown, or groups of what is no number.
    """
    table = dataset.users.drop("user_id")
    if options.column not in table.columns:
        raise ConfigError(
            f"{path}: column: users of {dataset.name} have no column {options.column!r}"
            f"{nearest(options.column, table.columns)}"
        )
    column = table[options.column]
    if column.dtype.is_nested():
        raise ConfigError(f"{path}: column: a label is one value; {options.column!r} holds {column.dtype}")
    if column.dtype == pl.String:
        column = column.str.strip_chars()
    said = column.cast(pl.String)
    have = said.drop_nulls().unique().to_list()
    for value in options.unknown:  # a filter may have left nobody who has it, so only what looks misspelt is refused
        if value not in have and get_close_matches(value, have, n=1):
            raise ConfigError(f"{path}: unknown: nobody has the {options.column} {value!r}{nearest(value, have)}")
    known = (said.is_not_null() & (said != "") & ~said.is_in(options.unknown)).fill_null(False).to_numpy()
    if column.dtype.is_float():
        known &= column.is_not_nan().fill_null(False).to_numpy()
    place = np.full(len(column), -1)
    if options.groups:
        if not column.dtype.is_numeric():
            raise ConfigError(f"{path}: groups are for numbers; column {options.column!r} holds {column.dtype}")
        place[known] = np.searchsorted(options.groups, column.to_numpy()[known], side="right")
        return place, np.array(_groups(options.groups), dtype=object)
    values = column.filter(known).unique().sort()
    place[known] = values.search_sorted(column.filter(known)).to_numpy()
    return place, values.cast(pl.String).to_numpy().astype(object)


def _groups(starts: tuple[int, ...]) -> list[str]:
    """Names of the groups that begin there, and of the one before."""
    ends = [end - 1 for end in starts[1:]]
    between = [str(start) if start == end else f"{start} to {end}" for start, end in zip(starts, ends, strict=False)]
    return [f"under {starts[0]}", *between, f"{starts[-1]} and over"]
