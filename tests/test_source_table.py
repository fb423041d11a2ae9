"""Any table with a column map: what is found, what is asked for, what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from conftest import ROOT

from llmrec import components, filtering
from llmrec.errors import ConfigError, DataError
from llmrec.interactions import Dataset
from llmrec.options import FilterOptions
from llmrec.sources import load_dataset

STAMPS = (887692900, 887692901, 887692960)
REAL = ROOT.parent / "shared" / "data" / "ml-latest-small"


def read(folder: Path, **options: Any) -> Dataset:
    spec = components.resolve("sources", {"name": "table", **options})
    return components.create("sources", spec).read(folder, "shop")


def write(folder: Path, text: str, name: str = "log.csv", encoding: str = "utf-8") -> Path:
    (folder / name).write_text(text, encoding=encoding, newline="")
    return folder


def rows(data: Dataset) -> list[tuple[str, str, int]]:
    """User, item and time, in the order of the data set."""
    log = data.interactions
    users, items = data.user_ids[log["user"].to_numpy()], data.item_ids[log["item"].to_numpy()]
    return list(zip(users, items, log["timestamp"].to_list()))


def refusal(folder: Path, **options: Any) -> str:
    with pytest.raises((DataError, ConfigError)) as error:
        read(folder, **options)
    return str(error.value)


# Columns


@pytest.mark.parametrize("time", ["time", "timestamp", "date", "unixReviewTime", "sort_timestamp"])
def test_a_time_column_is_known_by_its_usual_names(tmp_path, time):
    """A12: header `user_id,item_id,rating,time`."""
    write(tmp_path, f"user_id,item_id,rating,{time}\nu,b,3,20\nu,a,4.5,10\n")
    data = load_dataset("shop", tmp_path)
    assert rows(data) == [("u", "a", 10), ("u", "b", 20)]
    assert data.interactions["rating"].to_list() == [4.5, 3.0]


@pytest.mark.parametrize("user", ["user_id", "userId", "user", "uid", "reviewerID"])
@pytest.mark.parametrize("item", ["item_id", "itemId", "movieId", "item", "iid", "asin"])
def test_users_and_items_are_known_by_their_usual_names(tmp_path, user, item):
    write(tmp_path, f"{item}\t{user}\ttime\nx\tu\t1\n", "log.tsv")
    assert rows(load_dataset("shop", tmp_path)) == [("u", "x", 1)]


def test_without_a_time_column_the_run_ends_before_it_begins(tmp_path):
    """A12: a log without times is refused with the names a time may have, not late in training."""
    write(tmp_path, "user_id,item_id,rating,clock\nu,x,3,20\n")
    message = refusal(tmp_path)
    assert "expected columns timestamp (timestamp|time|date|unixReviewTime|sort_timestamp)" in message
    assert "found ['user_id', 'item_id', 'rating', 'clock']" in message
    assert "columns: {timestamp: NAME}" in message
    assert rows(read(tmp_path, columns={"timestamp": "clock"})) == [("u", "x", 20)]


def test_an_order_is_taken_only_where_it_is_said(tmp_path):
    write(tmp_path, "user,item\nu,c\nv,a\nu,a\nu,b\n")
    assert "timestamp" in refusal(tmp_path)
    data = read(tmp_path, time="order")
    assert data.time_unit == "order"
    assert rows(data) == [("u", "c", 0), ("u", "a", 1), ("u", "b", 2), ("v", "a", 0)]


def test_an_order_may_stand_in_a_column_and_a_time_that_is_not_meant_is_noted(tmp_path):
    write(tmp_path, "user,item,place,time\nu,c,30,1\nu,a,10,2\nu,b,20,3\n")
    assert rows(read(tmp_path, time="order", columns={"timestamp": "place"})) == [
        ("u", "a", 0),
        ("u", "b", 1),
        ("u", "c", 2),
    ]
    data = read(tmp_path, time="order")
    assert [item for _, item, _ in rows(data)] == ["c", "a", "b"]
    assert data.notes == ("log.csv: columns not read: place, time",)


def test_several_columns_that_may_be_meant_are_a_question(tmp_path):
    write(tmp_path, "user_id,userId,item,time,date\nu,v,x,1,2\n")
    assert "user_id may be any of the columns user_id, userId; say which one with columns: {user_id: NAME}" in refusal(
        tmp_path
    )
    assert "timestamp may be any of the columns time, date" in refusal(tmp_path, columns={"user_id": "userId"})
    assert rows(read(tmp_path, columns={"user_id": "userId", "timestamp": "date"})) == [("v", "x", 2)]


@pytest.mark.parametrize("said", [None, {"title": "title"}])
def test_a_column_whose_name_stands_twice_is_said_by_its_place(tmp_path, said):
    write(tmp_path, "user,item,time\nu,a,1\n")
    write(tmp_path, "item_id,title,title\na,One,Eins\n", "meta.csv")
    tables = {"interactions": "log.csv", "items": "meta.csv"}
    message = refusal(tmp_path, **tables, item_columns=said)
    assert "title may be any of the columns title, title; say which one with header: true and item_columns: " in message
    assert message.endswith("{title: PLACE}, which is 2 or 3, counted from 1")
    assert read(tmp_path, **tables, header=True, item_columns={"title": 3}).items.rows() == [("a", "Eins")]


def test_pairs_without_a_header_are_never_guessed(tmp_path):
    write(tmp_path, "100,7,5\n101,7,6\n")
    message = refusal(tmp_path)
    assert "found ['100', '7', '5']" in message
    assert "header: false and columns: {user_id: 1, item_id: 2, timestamp: 3}" in message
    assert "needs header: false and columns" in refusal(tmp_path, header=False)
    one = read(tmp_path, header=False, columns={"user_id": 1, "item_id": 2, "timestamp": 3})
    other = read(tmp_path, header=False, columns={"user_id": 2, "item_id": 1, "timestamp": 3})
    assert (one.num_users, one.num_items) == (2, 1)
    assert (other.num_users, other.num_items) == (1, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"columns": {"user_id": 1, "item_id": 1, "timestamp": 3}}, "user_id and item_id are both column 1 ('user')"),
        ({"columns": {"user_id": "item"}}, "user_id and item_id are both column 2 ('item')"),
        ({"columns": {"rating": "time"}}, "timestamp and rating are both column 3 ('time')"),
        ({"time": "order", "columns": {"timestamp": "item"}}, "item_id and timestamp are both column 2 ('item')"),
        ({"items": "meta.csv", "item_columns": {"item_id": "brand"}}, "item_id and brand are both column 2 ('brand')"),
    ],
)
def test_one_column_is_not_two(tmp_path, options, message):
    write(tmp_path, "user,item,time\nu,a,1\nv,a,2\n")
    write(tmp_path, "title,brand\na,Acme\n", "meta.csv")
    assert message in refusal(tmp_path, interactions="log.csv", header=True, **options)


def test_one_column_is_several_fields_where_the_user_says_so_of_each(tmp_path):
    write(tmp_path, "user,item,r\nu,2,4\nu,1,3\n")
    write(tmp_path, "name\n1\n2\n", "meta.csv")
    fields = dict.fromkeys(("item_id", "title", "description"), "name")
    data = read(tmp_path, interactions="log.csv", items="meta.csv", item_columns=fields, time="order")
    assert data.items.rows() == [("1", "1", "1"), ("2", "2", "2")]
    for said in ({"timestamp": "r", "rating": "r"}, {"timestamp": "item", "item_id": "item"}):
        data = read(tmp_path, interactions="log.csv", columns=said, time="order")
        assert rows(data) == [("u", "1", 0), ("u", "2", 1)]


def test_a_title_may_be_the_id_of_its_item(tmp_path):
    write(tmp_path, "user,item,time\nu,a,1\n")
    write(tmp_path, "title,brand\na,Acme\n", "meta.csv")
    data = read(tmp_path, interactions="log.csv", items="meta.csv", item_columns={"item_id": "title"})
    assert data.items.rows() == [("a", "a", "Acme")]


def test_a_separator_that_is_not_there_prints_expected_and_found_and_the_likely_one(tmp_path):
    """A3: `user_id:token item_id:token timestamp:float` separated by blanks."""
    write(tmp_path, "user_id:token item_id:token timestamp:float\nu x 5\n", "log.tsv")
    message = refusal(tmp_path)
    assert "expected columns user_id (user_id|userId|user|uid|reviewerID); item_id (" in message
    assert "found ['user_id:token item_id:token timestamp:float']" in message
    assert "seems to be separated by blanks, not '\\t': set separator: ' '" in message
    names = {"user_id": "user_id:token", "item_id": "item_id:token", "timestamp": "timestamp:float"}
    assert rows(read(tmp_path, separator=" ", columns=names)) == [("u", "x", 5)]


def test_the_separator_of_each_file_is_found_by_its_columns_and_noted(tmp_path):
    """A log with semicolons and an item table with commas: one separator cannot be said for both."""
    write(tmp_path, 'item;user;time;review\na;u;1;"good, so; far"\n')
    write(tmp_path, "item,title\na,One; and all\n", "meta.csv")
    write(tmp_path, "who|years\nu|31\n", "people.tsv")
    tables = {"items": "meta.csv", "users": "people.tsv", "user_columns": {"user_id": "who", "age": "years"}}
    data = read(tmp_path, **tables)
    assert (rows(data), data.interactions["review"].to_list()) == ([("u", "a", 1)], ["good, so; far"])
    assert (data.items.rows(), data.users.rows()) == ([("a", "One; and all")], [("u", 31)])
    assert data.notes == (
        "log.csv: fields are separated by semicolons",
        "people.tsv: fields are separated by bars",
    )
    message = refusal(tmp_path, separator=";", **tables)
    assert "meta.csv: expected columns item_id" in message
    assert "separated by commas, not ';': set separator: ',' or, if other files have another, none" in message
    places = {"user_id": 2, "item_id": 1, "timestamp": 3}
    write(tmp_path, "a;u;1\nb;u;2\n")
    assert rows(read(tmp_path, header=False, interactions="log.csv", columns=places)) == [("u", "a", 1), ("u", "b", 2)]


def test_a_separator_that_divides_nothing_is_told_though_a_column_is_missing(tmp_path):
    write(tmp_path, "user;item\nu;a\n")
    assert "seems to be separated by semicolons, not ',': set separator: ';'" in refusal(tmp_path)
    message = refusal(tmp_path, separator=";")
    assert "expected columns timestamp" in message
    assert "separated by" not in message


def test_a_separator_is_asked_for_where_several_fit(tmp_path):
    write(tmp_path, "user;item;time;x|user|item|time\nu;a;1;|v|b|2\n")
    assert "set separator: ';'" in refusal(tmp_path)
    assert rows(read(tmp_path, separator=";")) == [("u", "a", 1)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"columns": {"user": "u"}}, "columns: there is no column 'user' here; did you mean 'user_id'?"),
        ({"columns": {"user_id": 1}}, "columns: user_id=1 is a place, counted from 1; say header: true or false"),
        ({"columns": {"user_id": 0}, "header": True}, "columns: user_id=0 is a place, counted from 1"),
        ({"item_columns": {"rating": "x"}}, "item_columns: there is no column 'rating' here"),
        ({"separator": "::"}, "separator must be one character, came '::'"),
        ({"encoding": "utf-9"}, "encoding 'utf-9' is not known"),
        ({"time": "years"}, "time: Input should be 's', 'ms', 'dates' or 'order'"),
    ],
)
def test_an_option_that_cannot_be_meant_is_refused_without_a_file(tmp_path, options, message):
    assert message in refusal(tmp_path, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"columns": {"user_id": "usr"}},
            "columns says that user_id is column 'usr'; did you mean 'user'? (have: item",
        ),
        ({"columns": {"user_id": 9}, "header": True}, "columns says that user_id is column 9, there are 3"),
        ({"interactions": "orders.csv"}, "fits interactions: 'orders.csv' (have: log.csv)"),
        ({"items": "goods.csv"}, "there is no file"),
    ],
)
def test_a_file_or_column_that_is_not_there_is_refused_with_what_is(tmp_path, options, message):
    write(tmp_path, "user,item,time\nu,x,1\n")
    assert message in refusal(tmp_path, **options)


# Values


def test_ids_keep_their_leading_zeros_and_two_numberings_are_refused(tmp_path):
    """A11: item `0001388703` in reviews, `1388703` in features."""
    write(tmp_path, "user_id,asin,time\n007,0001388703,1\n7,0001388703,2\n")
    write(tmp_path, "asin,title\n1388703,Hymns\n", "meta.csv")
    message = refusal(tmp_path, interactions="log.csv", items="meta.csv")
    assert "not one item id of the log is in the item table (log: ['0001388703'], table: ['1388703'])" in message
    data = read(tmp_path, interactions="log.csv")
    assert data.user_ids.tolist() == ["", "007", "7"]
    assert data.item_ids.tolist() == ["", "0001388703"]


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_neighbouring_times_stay_apart(tmp_path, ending):
    """A13: stamps 887692900/…901/…960, which are one number as 32-bit floats; as milliseconds, too."""
    assert len({np.float32(stamp) for stamp in STAMPS}) == 1
    for unit, scale in (("s", 1), ("ms", 1000)):
        order = [(f"i{place}", STAMPS[place] * scale) for place in (2, 0, 1)]
        table = pl.DataFrame(order, schema=["item", "time"], orient="row").with_columns(user=pl.lit("u"))
        (tmp_path / unit).mkdir()
        getattr(table, f"write_{ending}")(tmp_path / unit / f"log.{ending}")
        data = read(tmp_path / unit, time=unit)
        assert rows(data) == [("u", f"i{place}", stamp) for place, stamp in enumerate(STAMPS)]
        assert data.interactions.schema["timestamp"] == pl.Int64


def test_milliseconds_of_one_second_keep_their_order(tmp_path):
    """A13: ms stamps collapse; here they order the log before they become seconds."""
    write(tmp_path, "user,item,time\nu,b,1700000000900\nu,c,1700000001000\nu,a,1700000000100\n")
    assert rows(read(tmp_path, time="ms")) == [("u", "a", 1700000000), ("u", "b", 1700000000), ("u", "c", 1700000001)]
    data = read(tmp_path)
    assert data.notes == ("3 times lie beyond the year 2100 as seconds; if they are milliseconds, set time: ms",)
    assert [item for _, item, _ in rows(data)] == ["a", "b", "c"]


@pytest.mark.parametrize("unit", ["s", "ms"])
def test_seconds_among_milliseconds_are_refused_whichever_unit_is_said(tmp_path, unit):
    """One row in seconds would go to January 1970, ahead of what its user met years before."""
    write(tmp_path, "user,item,time\nu,a,1600000000000\nu,b,1600000001\nu,c,1600000002000\n")
    message = refusal(tmp_path, time=unit)
    assert "log.csv, line 3: timestamp is 1600000001, which are seconds, and 2 others are milliseconds" in message
    write(tmp_path, "user,item,time\nu,a,1600000000000\n", "part-0.csv")
    write(tmp_path, "user,item,time\nu,b,1600000001\n", "part-1.csv")
    assert "part-1.csv, line 2: timestamp is 1600000001" in refusal(tmp_path, time=unit, interactions="part-*.csv")


@pytest.mark.parametrize("unknown", [0, -1])
def test_a_mark_for_an_unknown_time_is_no_second_among_milliseconds(tmp_path, unknown):
    write(tmp_path, f"user,item,time\nu,a,1600000000000\nu,b,{unknown}\n")
    assert rows(read(tmp_path, time="ms")) == [("u", "b", unknown), ("u", "a", 1600000000)]


def test_seconds_that_are_said_to_be_milliseconds_are_noted(tmp_path):
    write(tmp_path, "user,item,time\nu,a,1600000000\nu,b,1600000001\n")
    said = "all times lie before the year 1990 as milliseconds; if they are seconds, set time: s"
    assert read(tmp_path, time="ms").notes == (said,)
    assert read(tmp_path).notes == ()


def test_a_time_that_is_far_away_and_no_millisecond_is_not_taken_for_one(tmp_path):
    """The last second of the year 9999, or nines alone, stand for "never"; milliseconds may count from the start of a
    log."""
    for never in (253402300799, 9999999999999):
        write(tmp_path, f"user,item,time\nu,a,1600000000\nu,b,{never}\n")
        assert read(tmp_path).notes == (
            "1 times lie beyond the year 2100 as seconds; if they are milliseconds, set time: ms",
        )
    write(tmp_path, "user,item,time\nu,a,0\nu,b,9000000000\n")
    assert rows(read(tmp_path, time="ms")) == [("u", "a", 0), ("u", "b", 9_000_000)]


def test_32_bit_float_times_are_refused_and_64_bit_ones_must_be_whole(tmp_path):
    """A13: timestamps cast to float32 have lost their order already."""
    table = pl.DataFrame({"user": ["u"] * 3, "item": ["a", "b", "c"], "time": [float(stamp) for stamp in STAMPS]})
    table.write_parquet(tmp_path / "log.parquet")
    assert [time for _, _, time in rows(read(tmp_path))] == list(STAMPS)
    table.with_columns(pl.col("time") + 0.5).write_parquet(tmp_path / "log.parquet")
    assert "log.parquet, row 1: timestamp must be a whole number (64 bits); found 887692900.5" in refusal(tmp_path)
    table.cast({"time": pl.Float32}).write_parquet(tmp_path / "log.parquet")
    assert "timestamp must be a whole number, is Float32" in refusal(tmp_path)


def test_images_beside_the_log_are_those_of_its_items(tmp_path):
    write(tmp_path, "user,item,time\nann,7,1\nann,8,2\nbob,7,3\n")
    assert read(tmp_path).images is None
    (tmp_path / "images").mkdir()
    for name in ("7.jpg", "stray.png"):
        (tmp_path / "images" / name).touch()
    data = read(tmp_path)
    assert data.images == tmp_path / "images"
    assert {"no image in images/: item 8", "images/: 1 images are named after no item"} <= set(data.notes)
    kept = filtering.apply(data, FilterOptions(with_image=True)).dataset
    assert kept.item_ids[1:].tolist() == ["7"]


def test_two_files_with_interleaved_times_are_one_sorted_log(tmp_path):
    """A15: two files with interleaved times; all columns move together."""
    write(tmp_path, "user,item,rating,time\nu,a,1,10\nv,d,4,5\nu,c,3,30\n", "part-0.csv")
    write(tmp_path, "user,item,rating,time\nu,b,2,20\nv,e,5,1\nu,f,6,10\n", "part-1.csv")
    data = read(tmp_path, interactions="part-*.csv")
    assert rows(data) == [("u", "a", 10), ("u", "f", 10), ("u", "b", 20), ("u", "c", 30), ("v", "e", 1), ("v", "d", 5)]
    assert data.interactions["rating"].to_list() == [1.0, 6.0, 2.0, 3.0, 5.0, 4.0]


def test_dates_are_seconds_in_utc(tmp_path):
    write(tmp_path, "user,item,time\nu,c,2020-01-02\nu,a,2020-01-01T01:00:00+02:00\nu,b,2020-01-01 00:00:00\n")
    day = 18262 * 86400  # 2020-01-01
    assert rows(read(tmp_path, time="dates")) == [("u", "a", day - 3600), ("u", "b", day), ("u", "c", day + 86400)]
    assert "line 2: timestamp must be a whole number (64 bits); found '2020-01-02' (and 2 more" in refusal(tmp_path)
    write(tmp_path, "user,item,time\nu,c,2020-01-02\nu,c,01/02/2020\nu,c,2020-13-45\n")
    assert (
        "line 3: timestamp must be a date such as 2020-01-31 or 2020-01-31T10:00:00Z; found '01/02/2020' (and 1"
        in refusal(tmp_path, time="dates")
    )


def test_a_parquet_file_says_itself_what_its_columns_are(tmp_path):
    table = pl.DataFrame({"user": [7, 7], "item": ["b", "a"], "date": ["2020-01-02", "2020-01-01"]})
    table = table.with_columns(pl.col("date").str.to_date(), pl.col("item").cast(pl.Categorical))
    table.write_parquet(tmp_path / "log.parquet")
    assert rows(read(tmp_path)) == [("7", "a", 18262 * 86400), ("7", "b", 18263 * 86400)]
    table.with_columns(user=pl.Series([0.5, None])).write_parquet(tmp_path / "log.parquet")
    assert "user_id must be a string or a whole number, is Float64" in refusal(tmp_path)
    table.with_columns(user=pl.Series(["u", None])).write_parquet(tmp_path / "log.parquet")
    assert "log.parquet, row 2: user_id is empty, every row needs one" in refusal(tmp_path)
    (tmp_path / "log.parquet").write_bytes(b"PAR")
    assert "log.parquet cannot be read as Parquet" in refusal(tmp_path, interactions="log.parquet")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("u,a,1\n,b,2\n", "log.csv, line 3: user_id is empty, every row needs one; found ''"),
        ('u,a,1\n"","b",2\n', "log.csv, line 3: user_id is empty"),
        (
            "u,a,1\nu,,2\nu,,3\n",
            "log.csv, line 3: item_id is empty, every row needs one; found '' (and 1 more such rows)",
        ),
        ("u,a,1\nu,b,964982224a\n", "log.csv, line 3: timestamp must be a whole number (64 bits); found '964982224a'"),
        ("u,a,1.0\nu,b,1.5\n", "log.csv, line 3: timestamp must be a whole number (64 bits); found '1.5'"),
        ("u,a,1\nu,b,\n", "log.csv, line 3: timestamp must be a whole number (64 bits); found ''"),
        ("u,a,1\n ,b,2\n", "log.csv, line 3: user_id is empty, every row needs one; found ' '"),
        ('u,"a\nb",1\nu,c,x\n', "log.csv, line 4: timestamp must be a whole number (64 bits); found 'x'"),
        ("u,a,1\nu,b\n", "log.csv, line 3: expected 3 fields separated by ',' (user, item, time); found 'u,b'"),
        ("u,a,1\nu,b,c,2\n", "log.csv, line 3: expected 3 fields separated by ',' (user, item, time); found 'u,b,c,2'"),
        ("u,a,1,9\n", "log.csv, line 2: expected 3 fields separated by ',' (user, item, time); found 'u,a,1,9'"),
        (
            "u,a,1\n,,\n,,\n\n",
            "log.csv, line 3: user_id is empty, every row needs one; found '' (and 1 more such rows)",
        ),
        ("u,a,1\n\n,,\n", "log.csv, line 3: expected 3 fields separated by ',' (user, item, time); found ''"),
        (",,\n", "log.csv, line 2: user_id is empty"),
        ("u,a,1\n\nu,b,2\n", "log.csv, line 3: expected 3 fields separated by ',' (user, item, time); found ''"),
        ("", "no interactions"),
    ],
)
def test_a_row_that_cannot_be_used_is_refused_with_its_line(tmp_path, text, message):
    write(tmp_path, "user,item,time\n" + text)
    assert message in refusal(tmp_path)


@pytest.mark.parametrize("ending", ["csv", "parquet"])
@pytest.mark.parametrize("side", ["item", "user"])
def test_an_id_that_stands_twice_in_a_table_is_refused_with_both_places(tmp_path, ending, side):
    write(tmp_path, "user,item,time\n1,1,1\n")
    table = pl.DataFrame({side: ["1", "2", "2"], "brand" if side == "item" else "gender": ["a\nb", "c", "d"]})
    getattr(table, f"write_{ending}")(tmp_path / f"meta.{ending}")
    places = ("line 5", "line 4") if ending == "csv" else ("row 3", "row 2")
    message = refusal(tmp_path, interactions="log.csv", **{f"{side}s": f"meta.{ending}"})
    assert f"meta.{ending}, {places[0]}: {side}_id has a row already, {places[1]}; found '2'" in message


def test_an_id_with_a_blank_behind_it_is_the_same_id(tmp_path):
    """Every third id of an export is padded: no user is made of it, and the table has one row of it."""
    write(tmp_path, "user,item,time\n001,037,1\n001 ,038 ,2\n")
    data = read(tmp_path)
    assert (data.user_ids.tolist(), data.item_ids.tolist()) == (["", "001"], ["", "037", "038"])
    assert "blanks around the user_id removed: 1 rows of the log, such as '001 '" in data.notes
    write(tmp_path, "item,title\n037,A\n038,B\n037 ,C\n", "meta.csv")
    message = refusal(tmp_path, interactions="log.csv", items="meta.csv")
    assert "meta.csv, line 4: item_id has a row already, line 2; found '037 '" in message


def test_a_rating_that_is_no_number_is_refused_and_an_empty_last_field_is_not_a_missing_one(tmp_path):
    write(tmp_path, "user,item,time,rating,review\nu,a,1,5,\nu,b,2,4,good\n")
    data = read(tmp_path)
    assert data.interactions["review"].to_list() == [None, "good"]
    write(tmp_path, "user,item,time,rating\nu,a,1,5\nu,b,2,nan\n")
    assert "log.csv, line 3: rating must be a number; found 'nan'" in refusal(tmp_path)


def test_line_ends_blanks_and_the_mark_of_utf_8_change_nothing(tmp_path):
    write(tmp_path, "\ufeffuser, item ,time\r\nu,é,1\r\nu,b,2.0\r\n\r\n")
    assert rows(read(tmp_path)) == [("u", "é", 1), ("u", "b", 2)]


def test_another_encoding_is_said_and_a_byte_outside_of_it_has_its_line(tmp_path):
    write(tmp_path, "user,item,time\nu,a,1\nu,é,2\n", encoding="latin-1")
    assert "log.csv, line 3: byte 0xe9 is not utf-8; set the option encoding" in refusal(tmp_path)
    assert rows(read(tmp_path, encoding="latin-1"))[1] == ("u", "é", 2)


def test_quotes_mean_something_in_csv_and_nothing_between_tabs(tmp_path):
    write(tmp_path, 'item,title\na,"Yes, ""No"" & Co"\nb,\n', "items.csv")
    write(tmp_path, 'item\ttitle\na\t"Great Performances" Cats\nb\t5" nails\n', "items.tsv")
    write(tmp_path, "user,item,time\nu,a,1\n")
    quoted = read(tmp_path, interactions="log.csv", items="items.csv")
    assert quoted.items["title"].to_list() == ['Yes, "No" & Co', None]
    assert quoted.notes == ("no title: item b",)
    plain = read(tmp_path, interactions="log.csv", items="items.tsv")
    assert plain.items["title"].to_list() == ['"Great Performances" Cats', '5" nails']


def test_a_text_of_an_item_is_one_line(tmp_path):
    """A prompt lists one title a line, and a table of recommendations has a row of each."""
    write(tmp_path, "user,item,time\nu,a,1\n")
    table = "item,title,brand,genres\n"
    table += 'a,"Blauer ""Stuhl"" \r\n\n Nr 35","A\u2028B","War|Sea\nand sky"\n'
    table += 'b,"\nTwo\t3",C,Sea\n'
    write(tmp_path, table, "items.csv")
    data = read(tmp_path, interactions="log.csv", items="items.csv")
    assert data.items.rows() == [
        ("a", 'Blauer "Stuhl" Nr 35', ["War", "Sea and sky"], "A B"),
        ("b", "Two\t3", ["Sea"], "C"),
    ]
    assert data.notes == (
        "blanks around the title removed: item b",
        "line ends in the title made blanks: item a",
        "line ends in the genres made blanks: item a",
        "line ends in the brand made blanks: item a",
    )


def test_items_and_users_come_with_their_texts_and_lists(tmp_path):
    write(tmp_path, "user,item,time,part\nu,b,1,train\nv,a,2,test\n")
    write(tmp_path, "sku,label,genres,price\na,One,War|Drama,5\nb,Two,,6\n", "items.csv")
    write(tmp_path, "uid,age,occupation\nv,31,\nu,,smith\n", "users.csv")
    names = {"item_id": "sku", "title": "label"}
    data = read(tmp_path, interactions="log.csv", items="items.csv", item_columns=names, users="users.csv")
    assert data.items.rows() == [("a", "One", ["War", "Drama"]), ("b", "Two", [])]
    assert data.users.rows() == [("v", 31, None), ("u", None, "smith")]
    assert data.interactions["part"].to_list() == ["test", "train"]
    assert data.notes == ("items.csv: columns not read: price",)


# Which file


def test_the_only_table_that_fits_is_found_and_two_are_a_question(tmp_path):
    write(tmp_path, "user,item,time\nu,a,1\n")
    write(tmp_path, "item,title\na,A\n", "items.csv")
    assert load_dataset("shop", tmp_path).num_users == 1
    write(tmp_path, "user,item,time\nu,a,1\n", "more.csv")
    with pytest.raises(DataError, match="no data set 'shop' in a known layout"):
        load_dataset("shop", tmp_path)
    message = refusal(tmp_path)
    assert (
        "which table holds the interactions? Say it with interactions: FILE (have: items.csv, log.csv, more.csv)"
        in message
    )


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("log.csv", b"user,time\nu,1\n", "expected columns item_id (item_id|itemId|movieId|item|iid|asin); found"),
        ("log.csv", b"user,item,item,time\nu,a,b,1\n", "item_id may be any of the columns item, item"),
        ("log.tsv", b"user\tuserId\titem\ttime\nu\tv\ta\t1\n", "user_id may be any of the columns user, userId"),
        ("log.csv", b"User_ID,item,time\nu,a,1\n", "found ['User_ID', 'item', 'time']"),
        ("log.csv", b"", "log.csv is empty"),
        ("log.parquet", b"PAR1", "log.parquet cannot be read as Parquet"),
    ],
)
@pytest.mark.parametrize("inside", ["", "shop"])
def test_the_fault_of_the_only_table_of_a_folder_is_told_before_the_layouts(tmp_path, name, content, message, inside):
    folder = tmp_path / inside
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(content)
    (folder / "README.txt").write_text("What this is.\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"^no data set 'shop' in a known layout") as error:
        load_dataset("shop", tmp_path)
    told, _, listed = str(error.value).partition("A folder must hold one of")
    assert f"The only table there cannot be read: {folder / name}" in told
    assert message in told
    assert "source: {name: table, ...} in a YAML file" in told
    assert "  recbole: " in listed
    write(folder, "a,b\n", "more.csv")
    with pytest.raises(DataError) as error:
        load_dataset("shop", tmp_path)
    assert "The only table" not in str(error.value)


@pytest.mark.skipif(not REAL.is_dir(), reason="the real MovieLens files are not there")
def test_a_real_csv_with_a_broken_time_is_refused_with_its_line():
    message = refusal(REAL, interactions="ratings.csv")
    assert "ratings.csv, line 4: timestamp must be a whole number (64 bits); found '964982224a'" in message


def test_a_quote_that_is_not_closed_is_refused_with_its_line_and_swallows_no_row(tmp_path):
    lines = [f'u{row % 5},i{row % 7},{row},"{"Vinyl 7" + chr(34) if row in (10, 20) else "fine"}"' for row in range(50)]
    (tmp_path / "log.csv").write_text("user_id,item_id,timestamp,review\n" + "\n".join(lines), encoding="utf-8")
    with pytest.raises(DataError, match=r"log\.csv, line 12: .*a field that holds a quote must be quoted itself"):
        load_dataset("x", tmp_path)


def test_a_header_with_blank_lines_alone_is_an_empty_log(tmp_path):
    (tmp_path / "log.csv").write_text("user_id,item_id,timestamp\r\n\r\n", encoding="utf-8")
    with pytest.raises(DataError, match="no interactions"):
        load_dataset("x", tmp_path)


def test_a_neighbour_with_an_endless_line_or_a_folder_does_no_harm(tmp_path):
    (tmp_path / "log.csv").write_text("user_id,item_id,timestamp\nu,a,1\nu,b,2\n", encoding="utf-8")
    (tmp_path / "notes.csv").write_text("x" * 140_000, encoding="utf-8")
    (tmp_path / "pairs.txt").write_text("user_id\titem_id\n1\t10\n", encoding="utf-8")
    (tmp_path / "folder.txt").mkdir()
    assert len(load_dataset("x", tmp_path).interactions) == 2


def test_a_damaged_or_odd_parquet_file_is_refused(tmp_path):
    log = pl.DataFrame({"user": ["u", ""], "item": ["a", "b"], "time": [1, 2]})
    log.write_parquet(tmp_path / "log.parquet")
    assert "row 2: user_id is empty, every row needs one; found ''" in refusal(tmp_path)
    log.with_columns(user=pl.lit("u"), time=pl.duration(seconds="time")).write_parquet(tmp_path / "log.parquet")
    assert "timestamp must be a whole number, is Duration" in refusal(tmp_path)
    raw = bytearray((tmp_path / "log.parquet").read_bytes())
    raw[4:60] = bytes(56)
    (tmp_path / "log.parquet").write_bytes(raw)
    assert "log.parquet cannot be read as Parquet" in refusal(tmp_path)


def test_columns_of_users_are_said_like_those_of_items(tmp_path):
    write(tmp_path, "user,item,time\nu,a,1\n")
    write(tmp_path, "who,years\nu,31\n", "people.csv")
    columns = {"user_id": "who", "age": "years"}
    data = read(tmp_path, interactions="log.csv", users="people.csv", user_columns=columns)
    assert data.users.rows() == [("u", 31)]
    assert "user_columns" in refusal(tmp_path, users="people.csv", user_columns={"height": "years"})


@pytest.mark.parametrize("pattern", ["/etc/passwd", "."])
def test_a_pattern_that_no_folder_can_fit_is_refused(tmp_path, pattern):
    assert f"interactions must be a file in the folder or a pattern such as part-*.csv, came {pattern!r}" in refusal(
        write(tmp_path, "user,item,time\nu,a,1\n"), interactions=pattern
    )
