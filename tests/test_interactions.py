"""The canonical data set: order, indices, checks and content hash."""

import sys

import pandas as pd
import polars as pl
import pytest

from llmrec.errors import DataError
from llmrec.interactions import Dataset


def log(rows: list[tuple[str, str, int]], **columns: list) -> pl.DataFrame:
    schema = {"user_id": pl.String, "item_id": pl.String, "timestamp": pl.Int64}
    return pl.DataFrame(rows, schema=schema, orient="row").with_columns(**{k: pl.Series(v) for k, v in columns.items()})


def items(*rows: tuple[str, str]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema={"item_id": pl.String, "title": pl.String}, orient="row")


def history(data: Dataset, user: str) -> list[str]:
    index = data.user_ids.tolist().index(user)
    return data.item_ids[data.interactions.filter(pl.col("user") == index)["item"].to_numpy()].tolist()


def test_indices_start_at_one_in_table_order_and_zero_is_padding():
    data = Dataset.from_tables("toy", log([("b", "y", 1), ("a", "x", 2)]), items(("x", "X"), ("y", "Y"), ("z", "Z")))
    assert data.item_ids.tolist() == ["", "x", "y", "z"]
    assert data.user_ids.tolist() == ["", "b", "a"]
    assert (data.num_users, data.num_items) == (2, 3)
    assert data.interactions.rows() == [(1, 2, 1), (2, 1, 2)]


def test_rows_of_one_user_at_one_time_keep_the_order_of_the_file():
    table = items(*((str(number), f"film {number}") for number in range(1, 10)))
    data = Dataset.from_tables("toy", log([("u", item, 100) for item in "91537"]), table)
    assert history(data, "u") == ["9", "1", "5", "3", "7"]


def test_time_orders_a_user_across_interleaved_rows_and_columns_move_along():
    rows = [("u", "a", 30), ("v", "b", 20), ("u", "c", 10), ("v", "d", 5), ("u", "e", 10)]
    data = Dataset.from_tables("toy", log(rows, rating=[1.0, 2.0, 3.0, 4.0, 5.0]))
    assert history(data, "u") == ["c", "e", "a"]
    assert history(data, "v") == ["d", "b"]
    assert data.interactions["rating"].to_list() == [3.0, 5.0, 1.0, 4.0, 2.0]


def test_items_and_users_that_only_the_log_knows_are_appended_and_noted():
    users = pl.DataFrame({"user_id": ["v"], "age": [30]})
    data = Dataset.from_tables("toy", log([("u", "new", 1), ("v", "old", 2)]), items(("old", "Old")), users)
    assert data.items.rows() == [("old", "Old"), ("new", None)]
    assert data.users.rows() == [("v", 30), ("u", None)]
    assert data.notes == (
        "1 items of the log are not in the item table",
        "1 users of the log are not in the user table",
    )


def test_blanks_around_ids_make_no_second_user_or_item_and_are_noted():
    """An export pads some of its ids: `001 ` and `001` are one user, in whichever table."""
    rows = [("001", "a", 1), ("001 ", "b", 2), ("\u00a0002", " a", 3), ("002", "c", 4), ("001 ", "a\t", 5)]
    users = pl.DataFrame({"user_id": ["002", "001 "], "age": [20, 30]})
    table = items((" c", "C"), ("a", "A"), ("b", "B"))
    for kind in (pl.String, pl.Categorical):
        frame = log(rows).cast({"user_id": kind, "item_id": kind})
        data = Dataset.from_tables("toy", frame, table, users)
        assert data.item_ids.tolist() == ["", "c", "a", "b"]
        assert data.user_ids.tolist() == ["", "002", "001"]
        assert (history(data, "001"), history(data, "002")) == (["a", "b", "a"], ["a", "c"])
        assert data.notes == (
            "blanks around the item_id removed: 2 rows of the log, such as ' a'",
            "blanks around the item_id removed: 1 rows of the item table, such as ' c'",
            "blanks around the user_id removed: 3 rows of the log, such as '001 '",
            "blanks around the user_id removed: 1 rows of the user table, such as '001 '",
        )
    assert Dataset.from_tables("toy", log(rows)).num_users == 2
    assert Dataset.from_tables("toy", log(rows), text_ids=True).num_users == 4
    with pytest.raises(DataError, match="1 item ids stand twice in the item table, such as \\['a'\\]"):
        Dataset.from_tables("toy", log(rows), items(("a", "A"), ("a ", "B")))


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (log([("u", "i", 1)]).drop("timestamp"), "no column 'timestamp'"),
        (log([("u", "i", 1)]).cast({"timestamp": pl.Float32}), "'timestamp' must be Int64, is Float32"),
        (log([("7", "i", 1)]).cast({"user_id": pl.Int64}), "'user_id' must be String, is Int64"),
        (log([("u", "i", 1), ("u", None, 2)]), "1 interactions have no item_id; the first is row 2"),
        (log([]), "no interactions"),
        (log([("u", "i", 1)], rating=["5"]), "'rating' must be Float64, is String"),
    ],
)
def test_a_log_that_cannot_be_used_is_refused(frame, message):
    with pytest.raises(DataError, match=message):
        Dataset.from_tables("toy", frame)


def test_an_item_that_stands_twice_is_refused():
    with pytest.raises(DataError, match=r"1 item ids stand twice in the item table, such as \['x'\]"):
        Dataset.from_tables("toy", log([("u", "x", 1)]), items(("x", "X"), ("x", "Y")))


def test_tables_that_number_items_differently_are_refused():
    with pytest.raises(DataError, match=r"not one item id of the log is in the item table.*0001388703.*1388703"):
        Dataset.from_tables("toy", log([("u", "0001388703", 1)]), items(("1388703", "X")))


def test_the_hash_changes_with_order_times_titles_and_nothing_else():
    rows, table = [("u", "x", 1), ("u", "y", 1)], items(("x", "X"), ("y", "Y"))
    base = Dataset.from_tables("toy", log(rows), table).content_hash
    assert Dataset.from_tables("other name", log(rows), table).content_hash == base
    changed = {
        Dataset.from_tables("toy", log(rows[::-1]), table).content_hash,
        Dataset.from_tables("toy", log([("u", "x", 1), ("u", "y", 2)]), table).content_hash,
        Dataset.from_tables("toy", log(rows), items(("x", "X"), ("y", "Z"))).content_hash,
        Dataset.from_tables("toy", log(rows), table.reverse()).content_hash,
    }
    assert len(changed) == 4
    assert base not in changed


def test_positions_are_another_content_than_the_same_numbers_as_seconds():
    rows = [("u", "x", 0), ("u", "y", 1)]
    seconds, order = (Dataset.from_tables("toy", log(rows), time_unit=unit) for unit in ("seconds", "order"))
    assert (seconds.time_unit, order.time_unit) == ("seconds", "order")
    assert seconds.content_hash == Dataset.from_tables("toy", log(rows)).content_hash != order.content_hash


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"categories": ["War"]}, r"items column 'categories' must be List\(String\), is String"),
        ({"features": [["a"]], "tags": [[1]]}, r"items column 'tags' must be List\(String\), is List\(Int64\)"),
        ({"description": [["a"]]}, r"items column 'description' must be String, is List\(String\)"),
        ({"brand": [1]}, "items column 'brand' must be String, is Int64"),
    ],
)
def test_known_item_columns_have_their_type(columns, message):
    table = items(("x", "X")).with_columns(**{name: pl.Series(values) for name, values in columns.items()})
    with pytest.raises(DataError, match=message):
        Dataset.from_tables("toy", log([("u", "x", 1)]), table)


def test_an_empty_id_is_refused_wherever_it_stands():
    rows = log([("u", "a", 1), ("u", "", 2)])
    with pytest.raises(DataError, match="the log has a row whose item id is empty"):
        Dataset.from_tables("toy", rows)
    with pytest.raises(DataError, match="the item table has a row whose item id is empty"):
        Dataset.from_tables("toy", log([("u", "a", 1)]), items(("a", "A"), ("", "B")))
    with pytest.raises(DataError, match="without nulls or empty strings"):
        Dataset.of_items("new", items(("", "B")))


@pytest.mark.parametrize(
    "table",
    [
        pd.DataFrame({"item_id": ["a", "b"], "title": ["x", 1]}),
        pd.DataFrame({"item_id": ["a", "b"], "title": [1, "x"]}),
        pd.DataFrame([["a", "b"]], columns=["item_id", "item_id"]),
    ],
)
def test_columns_of_pandas_that_polars_has_no_form_for_are_refused(table):
    with pytest.raises(DataError, match="new: a column of the table holds values of several kinds, or two have one"):
        Dataset.of_items("new", table)


def test_without_pandas_what_is_no_table_is_refused_as_with_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(DataError, match=r"must be a table of polars or pandas \(a DataFrame\), came dict"):
        Dataset.of_items("new", {"item_id": ["a"]})


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"item_id": [1, 2]}, "needs a string column 'item_id'"),
        ({"name": ["a"]}, "needs a string column 'item_id'"),
        ({"item_id": ["a", None]}, "has a row whose item id is empty"),
    ],
)
def test_an_item_table_without_an_id_for_every_row_is_refused(table, message):
    with pytest.raises(DataError, match=message):
        Dataset.from_tables("toy", log([("u", "a", 1)]), pl.DataFrame(table))


def test_the_hash_tells_a_missing_title_from_one_that_is_called_none():
    named, missing = (pl.DataFrame({"item_id": ["a", "b"], "title": ["A", title]}) for title in ("None", None))
    hashes = {Dataset.from_tables("toy", log([("u", "a", 1)]), table).content_hash for table in (named, missing)}
    assert len(hashes) == 2
