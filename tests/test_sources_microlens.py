"""MicroLens: pairs with and without a header, titles with commas, categories, covers."""

from pathlib import Path
from typing import Any

import pytest

from llmrec import components
from llmrec.errors import DataError
from llmrec.interactions import Dataset
from llmrec.sources import load_dataset

PAIRS = "user,item,timestamp\n1,101,1583378629552\n1,103,1583378630000\n2,101,1583378629000\n1,102,1583378629000\n"
TITLES = '101,One, two &amp; three\n102,"Said ""hello"", twice"\n103,\n104,#\n'
TAGS = "101,Food\n102,Film and TV\n103,\n"


def write(folder: Path, size: str = "MicroLens-100k", **files: str) -> Path:
    names = {"pairs": f"{size}_pairs.csv", "histories": f"{size}_pairs.tsv", "titles": f"{size}_title_en.csv"}
    for name, text in {"titles": TITLES, **files}.items():
        (folder / names.get(name, f"{name}.csv")).write_bytes(text.encode())
    return folder


def read(folder: Path, **options: Any) -> Dataset:
    source = components.create("sources", components.resolve("sources", {"name": "microlens", **options}))
    return source.read(folder, "x")


def histories(data: Dataset) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for user, item in data.interactions.select("user", "item").rows():
        found.setdefault(data.user_ids[user], []).append(data.item_ids[item])
    return found


MET = {"1": ["102", "101", "103"], "2": ["101"]}


def test_pairs_under_a_header_have_milliseconds(tmp_path):
    data = load_dataset("x", write(tmp_path, pairs=PAIRS))
    assert histories(data) == MET
    assert data.interactions["timestamp"].to_list() == [1_583_378_629] * 3 + [1_583_378_630]
    assert {
        "MicroLens-100k_pairs.csv: line 1 is a header (user,item,timestamp), no pair",
        "MicroLens-100k_pairs.csv: times are milliseconds, read as such",
    } <= set(data.notes)


@pytest.mark.parametrize("swapped", [False, True])
def test_pairs_without_a_header_are_told_by_the_titles(tmp_path, swapped):
    rows = [line.split(",") for line in PAIRS.split()[1:]]
    pairs = "".join(",".join([b, a, t] if swapped else [a, b, t]) + "\n" for a, b, t in rows)
    data = read(write(tmp_path, pairs=pairs))
    assert histories(data) == MET
    order = "item_id, user_id" if swapped else "user_id, item_id"
    assert f"MicroLens-100k_pairs.csv: the columns are {order}, timestamp" in data.notes


def test_numbers_that_may_be_either_are_told_by_the_histories_or_refused(tmp_path):
    files = {"titles": "1,One\n2,Two\n3,Three\n", "pairs": "1,2,5\n1,3,6\n2,1,7\n"}
    with pytest.raises(
        DataError, match=r"MicroLens-100k_pairs\.csv: whether line 1 \(1,2,5\) is user,item or item,user"
    ):
        read(write(tmp_path, **files))
    assert histories(read(tmp_path, columns="item_user_time")) == {"1": ["2"], "2": ["1"], "3": ["1"]}
    (tmp_path / "MicroLens-100k_pairs.tsv").write_text("1\t2 3\n2\t1\n")
    assert histories(read(tmp_path)) == {"1": ["2", "3"], "2": ["1"]}


def test_histories_alone_have_an_order(tmp_path):
    data = load_dataset("x", write(tmp_path, histories="1\t102 101 103\n2\t101\n"))
    assert histories(data) == MET
    assert data.time_unit == "order"


def test_titles_keep_their_commas_and_lose_their_quotes(tmp_path):
    data = read(write(tmp_path, pairs=PAIRS))
    assert data.items["title"].to_list() == ["One, two & three", 'Said "hello", twice', None, None]
    assert {
        "MicroLens-100k_title_en.csv: 1 texts hold commas without quotes, read whole",
        "title without a letter or a digit, read as none: item 104",
        "no title: item 103, 104",
    } <= set(data.notes)


def test_quotes_that_do_not_enclose_a_title_are_part_of_it(tmp_path):
    data = read(write(tmp_path, pairs=PAIRS, titles='101,"Hi" she said\n102,He said "hi", twice\n"103","All"\n\n'))
    assert data.items["title"].to_list() == ['"Hi" she said', 'He said "hi", twice', "All"]


def test_titles_of_the_50k_have_a_header(tmp_path):
    write(tmp_path, "MicroLens-50k", pairs=PAIRS)
    (tmp_path / "MicroLens-50k_title_en.csv").unlink()
    (tmp_path / "MicroLens-50k_titles.csv").write_text(f"item,title\n{TITLES}item,title\n")
    data = load_dataset("x", tmp_path)
    assert data.items["item_id"].to_list() == ["101", "102", "103", "104"]
    assert "MicroLens-50k_titles.csv: 2 lines are a header, no item" in data.notes


def test_lines_may_end_as_on_windows(tmp_path):
    plain = read(write(tmp_path, pairs=PAIRS))
    crlf = {"pairs": PAIRS, "titles": TITLES, "tags_to_summary": TAGS}
    write(tmp_path, **{name: text.replace("\n", "\r\n") for name, text in crlf.items()})
    assert read(tmp_path).items.select("item_id", "title").rows() == plain.items.rows()
    assert histories(read(tmp_path)) == MET


def test_covers_of_another_size_are_not_taken(tmp_path):
    (tmp_path / "MicroLens-50k_covers").mkdir()
    assert read(write(tmp_path, pairs=PAIRS)).images is None
    (tmp_path / "covers").mkdir()
    assert read(write(tmp_path, pairs=PAIRS)).images == tmp_path / "covers"


def test_a_category_and_covers_join_the_items(tmp_path):
    (tmp_path / "MicroLens-100k_covers").mkdir()
    for item in ("101", "102", "103"):
        (tmp_path / "MicroLens-100k_covers" / f"{item}.jpg").touch()
    data = read(write(tmp_path, pairs=PAIRS, tags_to_summary=TAGS))
    assert data.items["categories"].to_list() == [["Food"], ["Film and TV"], None, None]
    assert data.images == tmp_path / "MicroLens-100k_covers"
    assert {"no categories: 2 items", "no image in MicroLens-100k_covers/: item 104"} <= set(data.notes)


def test_likes_and_comments_are_not_read_and_told(tmp_path):
    (tmp_path / "MicroLens-100k_likes_and_views.txt").write_text("101\t5\t9\n")
    (tmp_path / "MicroLens-100k_comment_en.txt").write_text("1\t101\tnice\n")
    data = read(write(tmp_path, pairs=PAIRS))
    assert data.items.columns == ["item_id", "title"]
    told = "not read, it was counted or written after the interactions"
    assert {f"MicroLens-100k_{name}.txt: {told}" for name in ("likes_and_views", "comment_en")} <= set(data.notes)


def test_two_sizes_in_a_folder_are_one_too_many(tmp_path):
    write(tmp_path, pairs=PAIRS)
    write(tmp_path, "MicroLens-50k", pairs=PAIRS)
    with pytest.raises(DataError, match="of one size, holds MicroLens-100k, MicroLens-50k"):
        read(tmp_path)


FAULTS = {
    "101,Again\n": "the id '101' stands a second time; found '101,Again'",
    ",Nothing\n": "expected id,text; found ',Nothing'",
    "105\n": "expected id,text; found '105'",
    '105,"open\n': "the text has a quote that is not closed; a text is one line; found",
}


@pytest.mark.parametrize("line", FAULTS)
def test_a_title_that_cannot_be_used_is_named_with_its_line(tmp_path, line):
    with pytest.raises(DataError, match=rf"MicroLens-100k_title_en\.csv, line 5: {FAULTS[line]}"):
        read(write(tmp_path, pairs=PAIRS, titles=TITLES + line))
