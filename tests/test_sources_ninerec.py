"""NineRec: pairs in either order, histories, titles in two languages, covers."""

from pathlib import Path
from typing import Any

import pytest

from llmrec import components
from llmrec.errors import DataError
from llmrec.interactions import Dataset
from llmrec.sources import load_dataset

ITEMS = 'v7,韩国电影，《女教师》,"Korean Movie, The Governess"\nv1,猫,Cats &amp; dogs \nv3,只有中文,\nv4,...,…!\n'
USER_FIRST = "u2,v1,1600000500\nu1,v7,1600000000\nu1,v3,1600000200\nu1,v1,1600000100\nu2,v4,1600000600\n"
ITEM_FIRST = "".join(f"{item},{user},{time}\n" for user, item, time in (x.split(",") for x in USER_FIRST.split()))
HISTORIES = "u1\tv7 v1 v3\nu2\tv1 v4\n"
MET = {"u1": ["v7", "v1", "v3"], "u2": ["v1", "v4"]}


def write(folder: Path, x: str = "QB", **files: str) -> Path:
    """The files ``X_item.csv``, ``X_pair.csv`` and so on, as they come; lines end as the text says."""
    folder.mkdir(exist_ok=True)
    for name, text in {"item": ITEMS, **files}.items():
        ending = "tsv" if name == "behaviour" else "csv"
        (folder / f"{x}_{name}.{ending}").write_bytes(text.encode())
    return folder


def read(folder: Path, name: str = "x", **options: Any) -> Dataset:
    source = components.create("sources", components.resolve("sources", {"name": "ninerec", **options}))
    return source.read(folder, name)


def histories(data: Dataset) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for user, item in data.interactions.select("user", "item").rows():
        found.setdefault(data.user_ids[user], []).append(data.item_ids[item])
    return found


@pytest.mark.parametrize(("pair", "order"), [(USER_FIRST, "user_id, item_id"), (ITEM_FIRST, "item_id, user_id")])
@pytest.mark.parametrize("with_histories", [True, False])
def test_pairs_are_read_in_either_order_of_their_columns(tmp_path, pair, order, with_histories):
    """The page says user,item,time and the script reads item,user,time; there is no header."""
    files = {"pair": pair} | ({"behaviour": HISTORIES} if with_histories else {})
    data = load_dataset("x", write(tmp_path, **files))
    assert histories(data) == MET
    assert data.time_unit == "seconds"
    assert data.interactions["timestamp"].to_list() == [1_600_000_000 + s for s in (500, 600, 0, 100, 200)]
    assert f"QB_pair.csv: the columns are {order}, timestamp" in data.notes


NUMBERS = {"item": "1,甲,One\n2,乙,Two\n3,丙,Three\n", "pair": "1,2,100\n1,3,200\n2,1,300\n"}


def test_numbers_that_may_be_users_and_items_are_told_apart_by_the_histories(tmp_path):
    assert histories(load_dataset("x", write(tmp_path, **NUMBERS, behaviour="1\t2 3\n2\t1\n"))) == {
        "1": ["2", "3"],
        "2": ["1"],
    }
    (tmp_path / "QB_behaviour.tsv").write_text("2\t1\n3\t1\n1\t2\n")
    assert histories(load_dataset("x", tmp_path)) == {"1": ["2"], "2": ["1"], "3": ["1"]}


def test_columns_that_cannot_be_told_apart_are_refused_until_the_user_says_which(tmp_path):
    """Both orders fit the item table here; taken the wrong way round, users would be recommended to items."""
    write(tmp_path, **NUMBERS)
    with pytest.raises(DataError, match=r"QB_pair\.csv: whether line 1 \(1,2,100\) is user,item or item,user cannot"):
        read(tmp_path)
    with pytest.raises(DataError, match="of 3 rows 3 have an id of the item table in column 1 and 3 in column 2"):
        read(tmp_path)
    assert histories(read(tmp_path, columns="user_item_time")) == {"1": ["2", "3"], "2": ["1"]}
    assert histories(read(tmp_path, columns="item_user_time")) == {"1": ["2"], "2": ["1"], "3": ["1"]}


def test_columns_of_which_none_fits_the_items_are_refused(tmp_path):
    with pytest.raises(DataError, match="of 2 rows 0 have an id of the item table in column 1 and 0 in column 2"):
        read(write(tmp_path, pair="u1,x1,100\nu1,x2,200\n"))


@pytest.mark.parametrize(("header", "rows"), [("user_id,item_id,time", USER_FIRST), ("item,user,ts", ITEM_FIRST)])
def test_a_header_says_the_order_and_is_no_pair_wherever_it_stands(tmp_path, header, rows):
    first, rest = rows.split("\n", 1)
    data = read(write(tmp_path, pair=f"{header}\n{first}\n{header}\n{rest}"))
    assert histories(data) == MET
    assert f"QB_pair.csv: line 1 is a header ({header}), no pair" in data.notes
    assert "QB_pair.csv: the header stands again in 1 lines, which are no rows" in data.notes


def test_a_header_of_the_items_is_no_item(tmp_path):
    data = read(write(tmp_path, item=f"id,title,title_en\n{ITEMS}id,title,title_en\n", pair=USER_FIRST))
    assert data.items["item_id"].to_list() == ["v7", "v1", "v3", "v4"]
    assert "QB_item.csv: line 1 is a header (id,title,title_en), no item" in data.notes
    assert "QB_item.csv: the header stands again in 1 lines, which are no rows" in data.notes


@pytest.mark.parametrize("language", ["english", "chinese"])
def test_a_header_that_names_the_languages_says_which_is_which(tmp_path, language):
    told = 'item_id,English,Chinese\nv7,"Korean Movie, The Governess",韩国电影\nv1,Cats,猫\nv3,,只有中文\nv4,b,乙\n'
    titles = read(write(tmp_path, item=told, pair=USER_FIRST), language=language).items["title"].to_list()
    assert titles[1] == {"english": "Cats", "chinese": "猫"}[language]
    alone = write(tmp_path / "alone", item="item_id,english\nv7,a\nv1,Cats\nv3,c\nv4,d\n", pair=USER_FIRST)
    assert read(alone, language="english").items["title"].to_list()[1] == "Cats"


def test_lines_may_end_as_on_windows(tmp_path):
    plain = read(write(tmp_path / "plain", pair=USER_FIRST, behaviour=HISTORIES))
    crlf = {"item": ITEMS, "pair": USER_FIRST, "behaviour": HISTORIES}
    other = read(write(tmp_path / "crlf", **{name: text.replace("\n", "\r\n") for name, text in crlf.items()}))
    assert other.content_hash == plain.content_hash
    assert other.items.rows() == plain.items.rows()


def test_a_mark_of_byte_order_is_no_part_of_an_id(tmp_path):
    assert histories(read(write(tmp_path, item=f"\ufeff{ITEMS}", pair=f"\ufeff{ITEM_FIRST}"))) == MET


def test_titles_are_english_and_an_item_without_one_takes_the_chinese(tmp_path):
    data = read(write(tmp_path, pair=USER_FIRST))
    assert data.items["title"].to_list() == ["Korean Movie, The Governess", "Cats & dogs", "只有中文", None]
    assert {
        "no english title, chinese taken: item v3",
        "title without a letter or a digit, read as none: item v4",
        "HTML entities in the title resolved: item v1",
        "blanks around the title removed: item v1",
        "no title: item v4",
    } <= set(data.notes)


def test_titles_may_be_chinese(tmp_path):
    data = read(write(tmp_path, pair=USER_FIRST), language="chinese")
    assert data.items["title"].to_list() == ["韩国电影，《女教师》", "猫", "只有中文", None]
    assert not any("taken" in note for note in data.notes)
    alone = read(write(tmp_path / "alone", item="v1,猫\nv4,狗\n", pair="u1,v1,5\nu1,v4,6\n"))
    assert alone.items["title"].to_list() == ["猫", "狗"]
    assert "no english title, chinese taken: item v1, v4" in alone.notes


@pytest.mark.parametrize("pair", [None, "u1,v7\nu1,v1\nu1,v3\nu2,v1\nu2,v4\n", USER_FIRST.replace("1600000", "x")])
def test_qb_and_tn_have_no_times_and_the_order_of_their_histories(tmp_path, pair):
    if pair is not None and "x" in pair:
        pair = "".join(",".join([*line.split(",")[:2], ""]) + "\n" for line in pair.split())
    data = read(write(tmp_path, behaviour=HISTORIES, **({} if pair is None else {"pair": pair})))
    assert histories(data) == MET
    assert data.time_unit == "order"
    told = "QB_pair.csv: not read, it has no times; the order is that of QB_behaviour.tsv"
    assert (told in data.notes) == (pair is not None)


def test_pairs_without_times_and_without_histories_have_no_order(tmp_path):
    with pytest.raises(DataError, match=r"QB_pair\.csv has no times and QB_behaviour\.tsv is not there"):
        read(write(tmp_path, pair="u1,v7\nu1,v1\n"))


def test_histories_that_say_something_else_than_the_pairs_are_told(tmp_path):
    data = read(write(tmp_path, pair=USER_FIRST, behaviour="u1\tv7 v1\nu2\tv1 v4\n"), columns="user_item_time")
    assert histories(data) == MET
    assert "QB_behaviour.tsv: 1 users have other items there, such as u1; the pairs are taken" in data.notes


TIMES = {
    "milliseconds": ("16000000{}000", "QB_pair.csv: times are milliseconds, read as such"),
    "dates": ("2020-09-13 12:27:{}", "QB_pair.csv: times are dates, read as UTC"),
}


@pytest.mark.parametrize("form", TIMES)
def test_times_may_be_milliseconds_or_dates(tmp_path, form):
    """1,600,000,000 seconds are 2020-09-13 12:26:40."""
    pattern, note = TIMES[form]
    pairs = (("v1", "21"), ("v7", "20"), ("v3", "22"))
    data = read(write(tmp_path, pair="".join(f"{item},u1,{pattern.format(second)}\n" for item, second in pairs)))
    assert histories(data) == {"u1": ["v7", "v1", "v3"]}
    minute = 0 if form == "milliseconds" else 20
    assert data.interactions["timestamp"].to_list() == [1_600_000_000 + minute + second for second in (20, 21, 22)]
    assert note in data.notes


def test_milliseconds_order_the_log_before_they_become_seconds(tmp_path):
    rows = "v1,u1,1600000000900\nv7,u1,1600000000100\n"
    data = read(write(tmp_path, pair=rows))
    assert histories(data) == {"u1": ["v7", "v1"]}
    assert data.interactions["timestamp"].to_list() == [1_600_000_000] * 2


FAULTS = {
    "v1,u1,1600000000900\nv7,u1,1600000001\n": r"line 2: timestamp is 1600000001, which are seconds, and 1 others are",
    "v1,u1,1600000000\nv7,u1,soon\n": r"line 2: timestamp must be a whole number \(64 bits\); found 'soon'",
    "v1,u1,1600000000\nv7,,1600000001\n": r"line 2: user_id is empty, every row needs one",
    "v1,u1,1600000000\nv7,u1\n": r"line 2: expected 3 fields separated by ','; found 'v7,u1'",
    "v1,u1,1600000000,x\n": r"line 1: expected user,item,time or item,user,time; found v1,u1,1600000000,x",
}


@pytest.mark.parametrize("rows", FAULTS)
def test_a_row_that_cannot_be_used_is_named_with_its_line(tmp_path, rows):
    with pytest.raises(DataError, match=rf"QB_pair\.csv, {FAULTS[rows]}"):
        read(write(tmp_path, pair=rows))


def test_a_line_is_named_where_it_stands_behind_a_header(tmp_path):
    with pytest.raises(DataError, match=r"QB_pair\.csv, line 4: timestamp must be .* found 'soon'"):
        read(write(tmp_path, pair="item,user,time\nv1,u1,5\nitem,user,time\nv7,u1,soon\n"))


def test_covers_are_the_platforms_own_and_items_without_one_are_told(tmp_path):
    write(tmp_path, pair=USER_FIRST)
    assert read(tmp_path).images is None
    (tmp_path / "QB_cover").mkdir()
    for stem in ("v7", "v1", "v3", "v99"):
        (tmp_path / "QB_cover" / f"{stem}.jpg").touch()
    data = read(tmp_path)
    assert data.images == tmp_path / "QB_cover"
    assert {"no image in QB_cover/: item v4", "QB_cover/: 1 images are named after no item"} <= set(data.notes)


@pytest.mark.parametrize("above", [True, False])
def test_both_sources_share_one_folder_of_covers(tmp_path, above):
    folder = write(tmp_path / "Bili_500K", "Bili_500K", pair=USER_FIRST)
    shared = (tmp_path if above else folder) / "Source_Bili_2M_cover"
    shared.mkdir()
    assert read(folder).images == shared
    assert read(write(tmp_path / "QB", pair=USER_FIRST)).images is None


def test_of_several_platforms_in_a_folder_one_is_named(tmp_path):
    write(tmp_path, "QB", pair=USER_FIRST)
    write(tmp_path, "TN", behaviour="u9\tv1 v7\n")
    assert list(histories(load_dataset("TN", tmp_path))) == ["u9"], "called as the data set"
    assert list(histories(read(tmp_path, "anything", platform="QB"))) == ["u2", "u1"]
    with pytest.raises(DataError, match=r"holds several platforms \(have: QB, TN\); name one with platform"):
        read(tmp_path, "KU")
    with pytest.raises(DataError, match=r"holds no platform 'KU' \(have: QB, TN\)"):
        read(tmp_path, platform="KU")


def test_an_item_that_the_table_lacks_does_not_hide_the_order(tmp_path):
    rows = "".join(f"u{number},v{(1, 3, 4, 7)[number % 4]},{number}\n" for number in range(19))
    data = read(write(tmp_path, pair=f"{rows}u19,v999,19\n"))
    assert histories(data)["u19"] == ["v999"]
    assert "1 items of the log are not in the item table" in data.notes
