"""behaviors.tsv with a history a line, as MoRec, TCF and NineRec use it."""

from pathlib import Path

import polars as pl
import pytest

from llmrec.errors import DataError
from llmrec.interactions import Dataset
from llmrec.sources import load_dataset
from llmrec.sources.behaviors import Behaviors
from llmrec.sources.mind import Mind

LOG = "u1\tN2 N1 N3\nu2\tN3 N2\n"
TABLE = "N1\tOne\nN2\tTwo &amp; a half\nN3\tThree\nN4\tFour\n"


def write(folder: Path, log: str = LOG, to: str = "behaviors", **tables: str) -> Path:
    for stem, text in {to: log, **tables}.items():
        (folder / f"{stem}.tsv").write_text(text, encoding="utf-8")
    return folder


def histories(data: Dataset) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for user, item in data.interactions.select("user", "item").rows():
        found.setdefault(data.user_ids[user], []).append(data.item_ids[item])
    return found


@pytest.mark.parametrize("table", ["items", "news", "videos"])
def test_histories_have_an_order_and_items_have_titles(tmp_path, table):
    data = load_dataset("x", write(tmp_path, **{table: TABLE}))
    assert histories(data) == {"u1": ["N2", "N1", "N3"], "u2": ["N3", "N2"]}
    assert data.time_unit == "order"
    assert data.interactions["timestamp"].to_list() == [0, 1, 2, 0, 1]
    assert data.items.rows() == [("N1", "One"), ("N2", "Two & a half"), ("N3", "Three"), ("N4", "Four")]
    assert data.notes == ("HTML entities in the title resolved: item N2",)


@pytest.mark.parametrize(
    ("header", "column"),
    [
        ("newsid\ttitle", "title"),
        ("itemid\tdescription", "description"),
        ("video_id\tText", "title"),
        ("pid\tTitle", "title"),
    ],
)
def test_a_header_is_no_item(tmp_path, header, column):
    """Taken for item 1, a header shifts the vectors of all items by one."""
    data = load_dataset("x", write(tmp_path, items=f"{header}\n{TABLE}"))
    assert data.items.columns == ["item_id", column]
    assert data.items["item_id"].to_list() == ["N1", "N2", "N3", "N4"]
    name = header.split("\t")[0]
    assert f"items.tsv: line 1 is a header ({name}), no item; its texts are the {column}" in data.notes


@pytest.mark.parametrize("line", ["N0\tTitle", "N0\tDescription of a day"])
def test_a_first_item_whose_text_reads_like_a_header_stays(tmp_path, line):
    assert load_dataset("x", write(tmp_path, items=f"{line}\n{TABLE}")).items["item_id"][0] == "N0"


def test_a_first_item_that_somebody_met_is_no_header(tmp_path):
    data = load_dataset("x", write(tmp_path, log="u1\tid N1\n", items=f"id\ttitle\n{TABLE}"))
    assert data.items.row(0) == ("id", "title")
    assert histories(data) == {"u1": ["id", "N1"]}


def test_a_header_of_the_log_is_no_user(tmp_path):
    data = load_dataset("x", write(tmp_path, log=f"user_id\titem_ids\n{LOG}", items=TABLE))
    assert list(histories(data)) == ["u1", "u2"]
    assert "behaviors.tsv: line 1 is a header (user_id), no user" in data.notes


def test_headers_of_both_files_are_neither_a_user_nor_an_item(tmp_path):
    folder = write(tmp_path, "user_id\titem_id\nu1\ta b\nu2\tb a\n", items="item_id\ttitle\na\tAlpha\nb\tBeta\n")
    data = load_dataset("x", folder)
    assert histories(data) == {"u1": ["a", "b"], "u2": ["b", "a"]}
    assert data.items["title"].to_list() == ["Alpha", "Beta"]


def test_a_user_who_is_called_like_a_header_stays_with_his_items(tmp_path):
    data = load_dataset("x", write(tmp_path, log=f"user\tN1 N2\n{LOG}", items=TABLE))
    assert list(histories(data)) == ["user", "u1", "u2"]


def test_a_third_field_is_not_read_and_told(tmp_path):
    data = load_dataset("x", write(tmp_path, items="N1\tOne\tx\nN2\tTwo\tx\nN3\tThree\tx\n"))
    assert data.items["title"].to_list() == ["One", "Two", "Three"]
    assert "items.tsv: the third field of the lines is not read" in data.notes


@pytest.mark.parametrize(
    ("users", "items"),
    [
        ("mind_60w_users", "mind_60w_items"),
        ("mind_60w_users", "mind_60w_news"),
        ("Adressa_users_base_2w", "Adressa_news_base"),
    ],
)
def test_morec_and_adapter4rec_call_the_same_files_after_their_sets(tmp_path, users, items):
    data = load_dataset("x", write(tmp_path, to=users, **{items: TABLE}))
    assert histories(data) == {"u1": ["N2", "N1", "N3"], "u2": ["N3", "N2"]}
    assert data.items["title"].to_list() == ["One", "Two & a half", "Three", "Four"]


@pytest.mark.parametrize("files", [("hm_50w_users", "hm_50w_items"), ("behaviors", "items")])
def test_a_table_of_ids_alone_is_one_of_items_without_texts(tmp_path, files):
    """As MoRec has of H&M and Adapter4Rec of Amazon, whose items are seen."""
    log, table = files
    (tmp_path / "covers").mkdir()
    for ids in ("v3\nv1\nv2\nv4\n", "itemid\nv3\nv1\nv2\nv4\n"):
        data = load_dataset("x", write(tmp_path, "u1\tv2 v1 v3\nu2\tv3 v2\n", to=log, **{table: ids}))
        assert histories(data) == {"u1": ["v2", "v1", "v3"], "u2": ["v3", "v2"]}
        assert data.items.rows() == [("v3",), ("v1",), ("v2",), ("v4",)]
        assert data.images == tmp_path / "covers"
        assert f"{table}.tsv: ids alone, so items have no text" in data.notes
        header = f"{table}.tsv: line 1 is a header (itemid), no item"
        assert (header in data.notes) == ids.startswith("itemid")


def test_one_column_of_titles_is_no_table_of_ids(tmp_path):
    with pytest.raises(DataError, match="not one item id of the log is in the item table"):
        load_dataset("x", write(tmp_path, items="One\nTwo\nThree\n"))


def test_beside_covers_a_log_needs_no_table(tmp_path):
    folder = write(tmp_path, f"user_id\titem_ids\n{LOG}uid\tN3 N1\n")
    assert not Behaviors().detect(folder)
    (folder / "hm_cover").mkdir()
    (folder / "hm_cover" / "N1.jpg").write_bytes(b"")
    data = load_dataset("x", folder)
    assert histories(data) == {"u1": ["N2", "N1", "N3"], "u2": ["N3", "N2"], "uid": ["N3", "N1"]}
    assert data.items.rows() == [("N2",), ("N1",), ("N3",)]
    assert data.images == folder / "hm_cover"
    assert data.notes == (
        "no item table: the items are those of the log",
        "behaviors.tsv: line 1 is a header (user_id), no user",
        "no image in hm_cover/: item N2, N3",
    )


def test_a_user_who_is_called_like_a_header_stays_where_there_is_no_table(tmp_path):
    (tmp_path / "covers").mkdir()
    assert list(histories(load_dataset("x", write(tmp_path, f"uid\tN1 N2\n{LOG}")))) == ["uid", "u1", "u2"]


def test_a_table_of_users_beside_covers_is_no_log(tmp_path):
    (tmp_path / "covers").mkdir()
    folder = write(tmp_path, "u1\t25\nu2\t31\n", to="some_users")
    assert not Behaviors().detect(folder)
    write(tmp_path, "1\tU1\t11/11/2019 9:05:58 AM\tN1\tN2-1 N3-0\n")
    assert not Behaviors().detect(folder), "behaviors.tsv counts before it, whatever it holds"


@pytest.mark.parametrize("users", ["u1\tv25\nu2\tv31\nu3\tv25\n", "u1\tNew York\nu2\tLos Angeles\nu3\tRome\n"])
def test_a_table_of_users_beside_one_of_items_is_no_log(tmp_path, users):
    """Its second column is called like some items, or has blanks: not both, as histories have."""
    folder = write(tmp_path, users, to="shop_users", shop_items="v25\ttitle\nv31\ttitle\nv7\ttitle\n")
    with pytest.raises(DataError, match="no data set 'x' in a known layout"):
        load_dataset("x", folder)


def test_several_logs_or_a_table_of_other_fields_are_not_guessed_at(tmp_path):
    folder = write(tmp_path, to="hm_users", hm_items="v1\n", bili_users=LOG)
    assert not Behaviors().detect(folder)
    (tmp_path / "mind").mkdir()
    (tmp_path / "mind" / "covers").mkdir()
    news = "N1\tnews\tus\tOne\tAbstract\thttp://x\t[]\t[]\n"
    assert not Behaviors().detect(write(tmp_path / "mind", news=news)), "there is a table, and it is another one"


FAULTS = {
    "u1 N1\n": (TABLE, r"behaviors\.tsv, line 3: expected fields separated by tabs \(user, items"),
    "u1\tN1\tN2\n": (TABLE, r"behaviors\.tsv, line 3: expected fields"),
    "u1\tN1\n": (TABLE, r"behaviors\.tsv, line 3: user 'u1' has a second line"),
    "u3\t \n": (TABLE, r"behaviors\.tsv, line 3: a line has a user and one item"),
    "\tN1\n": (TABLE, r"behaviors\.tsv, line 3: a line has a user and one item"),
    "\nu3\tN1\n": (TABLE, r"behaviors\.tsv, line 3: expected fields.*found ''"),
    "u3\tN1\n": (f"{TABLE}N5\tFive\tand more\n", r"items\.tsv, line 5: expected fields separated by tabs \(id, text\)"),
    "u4\tN1\n": (f"{TABLE}N1\tOne\n", r"items\.tsv, line 5: the id 'N1' stands a second time"),
    "u5\tN1\n": (f"{TABLE}\tOne\n", r"items\.tsv, line 5: the id '' is empty"),
}


@pytest.mark.parametrize("line", FAULTS)
def test_a_line_that_cannot_be_used_is_named(tmp_path, line):
    table, message = FAULTS[line]
    with pytest.raises(DataError, match=message):
        load_dataset("x", write(tmp_path, log=LOG + line, items=table))


def test_a_byte_that_is_no_utf8_is_named(tmp_path):
    write(tmp_path, items="")
    (tmp_path / "items.tsv").write_bytes(b"N1\tOne\nN2\tCaf\xe9\n")
    with pytest.raises(DataError, match=r"items\.tsv, line 2: byte 0xe9 is not UTF-8"):
        load_dataset("x", tmp_path)


def test_blank_lines_at_the_end_are_no_rows(tmp_path):
    assert load_dataset("x", write(tmp_path, log=f"{LOG}\n\n", items=TABLE)).num_users == 2


def test_the_log_of_mind_is_another_layout(tmp_path):
    log = "1\tU1\t11/11/2019 9:05:58 AM\tN1\tN2-1 N3-0\n"
    news = "N1\tnews\tus\tOne\tAbstract\thttp://x\t[]\t[]\n"
    assert not Behaviors().detect(write(tmp_path, log=log, news=news))
    assert not Behaviors().detect(write(tmp_path, log=log.removeprefix("1\t"), news=TABLE))
    assert not Mind().detect(write(tmp_path, news=TABLE))


def test_two_tables_are_one_too_many(tmp_path):
    write(tmp_path, items=TABLE, videos=TABLE)
    assert not Behaviors().detect(tmp_path)
    with pytest.raises(DataError, match="there must be one"):
        Behaviors().read(tmp_path, "x")


def test_a_text_that_is_empty_is_null(tmp_path):
    data = load_dataset("x", write(tmp_path, items=f"{TABLE}N5\t \n"))
    assert data.items.filter(pl.col("title").is_null())["item_id"].to_list() == ["N5"]
    assert "no title: item N5" in data.notes


@pytest.mark.parametrize("name", ["images", "covers", "bili_covers", "hm_cover"])
def test_a_folder_of_images_beside_the_log_is_found(tmp_path, name):
    assert load_dataset("x", write(tmp_path, items=TABLE)).images is None
    without = load_dataset("x", tmp_path).content_hash
    (tmp_path / name).mkdir()
    data = load_dataset("x", tmp_path)
    assert data.images == tmp_path / name
    assert data.content_hash == without
