"""Times of a log that may be dates, seconds or milliseconds, to seconds."""

from collections.abc import Callable

import polars as pl

from llmrec.errors import DataError
from llmrec.sources._typed import DATE, Located, Typed

YEAR_1990, YEAR_2100 = 631_152_000, 4_102_444_800
"""In seconds. What lies between them in one unit does not in the other, and what does in none may be any mark, such as
0 for an unknown time."""


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
    """The log of a file whose times are seconds or, if that puts them between the years 1990 and 2100, milliseconds;
    and notes.

    Raises:
        DataError: seconds among milliseconds.
    """
    times, name = log["timestamp"], file.path.name
    refuse_mixture(times, file.where)
    if _probable(times, 1000).any():
        return coarsened(log, 1000), [f"{name}: times are milliseconds, read as such"]
    late = (times > YEAR_2100).sum()
    return log, [f"{name}: {late} times lie beyond the year 2100 as seconds"] if late else []


def coarsened(log: pl.DataFrame, per_second: int) -> pl.DataFrame:
    """Finer times order the log before they become seconds, where they would tie."""
    return log.sort("timestamp", maintain_order=True).with_columns(pl.col("timestamp") // per_second)


def refuse_mixture(times: pl.Series, where: Callable[[int], str]) -> None:
    """Refuses seconds among milliseconds, which no unit puts in order.

    Args:
        times: whole numbers.
        where: how a message names a row.
    """
    seconds, milliseconds = _probable(times, 1), _probable(times, 1000)
    if seconds.any() and milliseconds.any():
        row = int(seconds.arg_max() or 0)
        raise DataError(
            f"{where(row)}: timestamp is {times[row]}, which are seconds, and {milliseconds.sum()} others are "
            "milliseconds (beyond the year 2100 as seconds); use one unit"
        )


def _probable(times: pl.Series, per_second: int) -> pl.Series:
    """Which times this unit puts between the years 1990 and 2100."""
    return times.is_between(YEAR_1990 * per_second, YEAR_2100 * per_second)
