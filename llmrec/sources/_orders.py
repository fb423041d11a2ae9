"""Logs that know an order and no times: lists of items to interactions numbered within the user."""

import polars as pl


def numbered(lists: pl.DataFrame) -> pl.DataFrame:
    """Unrolls one list per user to one interaction per row.

    Args:
        lists: ``user_id`` and one or more list columns of equal lengths: ``item_id`` and what goes with each item.

    Returns:
        The interactions in order; ``timestamp`` counts 0, 1, 2 ... within the user.
    """
    columns = [column for column in lists.columns if column != "user_id"]
    log = lists.filter(pl.col("item_id").list.len() > 0).explode(columns)
    return log.with_columns(timestamp=pl.int_range(pl.len(), dtype=pl.Int64).over("user_id"))
