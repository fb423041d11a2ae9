"""Times of a log that may be dates, seconds or milliseconds, to seconds."""

from collections.abc import Callable

import polars as pl

from llmrec.errors import DataError
from llmrec.sources._typed import DATE, Located, Typed

YEAR_2100 = 4_102_444_800
"""In seconds; as milliseconds the same number is a day of 1970."""


def in_time(table: Typed) -> tuple[pl.DataFrame, list[str]]:
    """The log of a table with ``user_id``, ``item_id`` and ``timestamp``, and notes.

    Raises:
        DataError: an empty id, a time that is neither a date nor a whole number, or seconds among milliseconds.
    """
    dates = table.frame["timestamp"].str.contains(DATE).any()
    times = table.microseconds("timestamp") if dates else table.whole("timestamp")
    log = pl.DataFrame([table.codes("user_id"), table.codes("item_id"), times])
    if dates:
        return coarsened(log, 1_000_000), [f"{table.file.path.name}: times are dates, read as UTC"]
    return in_seconds(log, table.file)


def in_seconds(log: pl.DataFrame, file: Located) -> tuple[pl.DataFrame, list[str]]:
    """The log of a file whose times are seconds or, if they lie beyond the year 2100 as such, milliseconds; and notes.

    Raises:
        DataError: seconds among milliseconds.
    """
    times = log["timestamp"]
    late = times > YEAR_2100
    refuse_mixture(times, late, file.where)
    if not late.any():
        return log, []
    return coarsened(log, 1000), [f"{file.path.name}: times are milliseconds, read as such"]


def coarsened(log: pl.DataFrame, per_second: int) -> pl.DataFrame:
    """Finer times order the log before they become seconds, where they would tie."""
    return log.sort("timestamp", maintain_order=True).with_columns(pl.col("timestamp") // per_second)


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
