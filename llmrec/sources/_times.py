"""Times of a log that may be dates, seconds or milliseconds, to seconds."""

from collections.abc import Callable

import polars as pl

from llmrec.errors import DataError
from llmrec.sources._typed import DATE, Typed

YEAR_2100 = 4_102_444_800
"""In seconds; as milliseconds the same number is a day of 1970."""


def in_time(table: Typed) -> tuple[pl.DataFrame, list[str]]:
    """The log of a table with ``user_id``, ``item_id`` and ``timestamp``, and notes.

    Finer times order the log before they become seconds, where they would tie.

    Raises:
        DataError: an empty id, a time that is neither a date nor a whole number, or seconds among milliseconds.
    """
    times, per_second, notes = _times(table)
    log = pl.DataFrame([table.codes("user_id"), table.codes("item_id"), times])
    if per_second > 1:
        log = log.sort("timestamp", maintain_order=True).with_columns(pl.col("timestamp") // per_second)
    return log, notes


def _times(table: Typed) -> tuple[pl.Series, int, list[str]]:
    """Times as they stand there, how many of their units are a second, and notes."""
    name = table.file.path.name
    if table.frame["timestamp"].str.contains(DATE).any():
        return table.microseconds("timestamp"), 1_000_000, [f"{name}: times are dates, read as UTC"]
    times = table.whole("timestamp")
    late = times > YEAR_2100
    refuse_mixture(times, late, table.file.where)
    return (times, 1000, [f"{name}: times are milliseconds, read as such"]) if late.any() else (times, 1, [])


def refuse_mixture(times: pl.Series, late: pl.Series, where: Callable[[int], str]) -> None:
    """Refuses seconds among milliseconds, which no unit puts in order.

    Args:
        times: whole numbers.
        late: which of them can only be milliseconds.
        where: how a message names a row.
    """
    early = times <= YEAR_2100
    if late.any() and early.any():
        row = int(early.arg_max() or 0)
        raise DataError(
            f"{where(row)}: timestamp is {times[row]}, which are seconds, and {late.sum()} others are milliseconds "
            "(beyond the year 2100 as seconds); use one unit"
        )
