"""Amazon's reviews and metadata as JSON lines: three releases, their spellings and their gaps."""

import gzip
import json
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from conftest import ROOT

from llmrec import components
from llmrec.errors import ConfigError, DataError
from llmrec.interactions import Dataset
from llmrec.sources import load_dataset
from llmrec.sources._texts import unquoted_list
from llmrec.sources.amazon import Amazon

REAL = ROOT.parent / "shared" / "data" / "amazon-gift-cards"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason="the published files are not in ../shared/data")
DAY = 1_500_000_000
Rows = list[dict[str, Any]]


def review(user: str, item: str, time: int = DAY, **more: Any) -> dict[str, Any]:
    """A line of 2018."""
    return {"reviewerID": user, "asin": item, "unixReviewTime": time, "overall": 4.0, "verified": True, **more}


def new_review(user: str, asin: str, parent: str, milliseconds: int) -> dict[str, Any]:
    """A line of 2023."""
    ids = {"user_id": user, "asin": asin, "parent_asin": parent}
    return {**ids, "timestamp": milliseconds, "rating": 5.0, "title": "Head", "text": "Body"}


def write(folder: Path, **files: Rows | str) -> Path:
    for stem, rows in files.items():
        text = rows if isinstance(rows, str) else "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{stem}.json").write_text(text, encoding="utf-8")
    return folder


def histories(data: Dataset) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for user, item in data.interactions.select("user", "item").rows():
        found.setdefault(data.user_ids[user], []).append(data.item_ids[item])
    return found


def item(data: Dataset, name: str) -> dict[str, Any]:
    return data.items.row(by_predicate=pl.col("item_id") == name, named=True)


def test_a_review_of_2018_gives_every_column(tmp_path):
    text = {"reviewText": " Good &amp; cheap ", "summary": "Fine", "style": {"Size:": " 5"}}
    about = {"title": " A&#39;s ", "brand": "Acme", "category": ["Cards", "Cards", "Caf&eacute;"]}
    about |= {"description": ["<b>One</b>", "two"], "feature": ["Small ", ""]}
    write(tmp_path, a=[review("u", "i", **text)], meta=[{"asin": "i", **about}])
    data = load_dataset("x", tmp_path)
    assert data.interactions.rows() == [(1, 1, DAY, 4.0, "Good & cheap", "Fine")]
    expected = {"item_id": "i", "title": "A's", "brand": "Acme", "description": "One two"}
    assert item(data, "i") == expected | {"categories": ["Cards", "Café"], "features": ["Small"]}
    assert "a.json: reviews in the form of 2018 (reviewerID, times in seconds)" in data.notes
    assert "HTML entities in the review resolved: 1 rows" in data.notes


def test_a_user_is_called_by_the_name_under_his_latest_review(tmp_path):
    rows = [
        review("u", "i", unixReviewTime=DAY + 2, reviewerName=" Ann &amp;\n Bob "),
        review("u", "j", unixReviewTime=DAY + 1, reviewerName="Ann"),
        review("u", "k", unixReviewTime=DAY + 3, reviewerName=""),
        review("v", "i"),
    ]
    data = load_dataset("x", write(tmp_path, a=rows, meta=[{"asin": "i"}]))
    assert dict(data.users.select("user_id", "name").iter_rows()) == {"u": "Ann & Bob", "v": None}


def test_a_metadata_line_without_a_title_is_an_item_without_a_title(tmp_path):
    """A6: a metadata line that is `{"asin":"B0"}`."""
    data = load_dataset("x", write(tmp_path, a=[review("u", "B0")], meta=[{"asin": "B0"}]))
    assert item(data, "B0")["title"] is None
    assert "no title: item B0" in data.notes


def test_reviews_join_metadata_by_parent(tmp_path):
    """A7: a metadata line with only `parent_asin`, a review with both."""
    rows = [new_review("u", "child", "P", DAY * 1000), new_review("u", "lone", "Q", DAY * 1000)]
    data = load_dataset("x", write(tmp_path, a=rows, meta=[{"parent_asin": "P", "title": "Parent", "store": "Shop"}]))
    assert histories(data) == {"u": ["P", "Q"]}
    assert (item(data, "P")["title"], item(data, "P")["brand"]) == ("Parent", "Shop")
    assert "join rate 50.0%: 1 of 2 reviews are of items that have metadata" in data.notes
    assert "1 items of the log are not in the item table" in data.notes


def test_an_empty_parent_or_user_is_none(tmp_path):
    rows = [new_review("u", "A3", "", DAY * 1000), new_review("u", "", "P", DAY * 1000 + 1000)]
    rows += [{**review("v", "A3"), "reviewerID": "", "user_id": "v"}]
    meta = [{"parent_asin": "P", "title": "Parent"}, {"asin": "A3", "parent_asin": "", "title": "Alone"}]
    assert histories(load_dataset("x", write(tmp_path, a=rows, meta=meta))) == {"u": ["A3", "P"], "v": ["A3"]}
    write(tmp_path, meta=meta[:1])
    assert histories(load_dataset("x", tmp_path)) == {"u": ["A3", "P"], "v": ["A3"]}


def test_reviews_of_2023_join_metadata_that_knows_no_parents(tmp_path):
    rows = [new_review("u", "child", "P", DAY * 1000), new_review("u", "lone", "Q", DAY * 1000)]
    data = load_dataset("x", write(tmp_path, a=rows, meta=[{"asin": "child", "title": "Child"}]))
    assert histories(data) == {"u": ["child", "lone"]}


def test_empty_texts_become_null_and_are_counted(tmp_path):
    """A8: `{"title":"","description":[],"features":[]}`."""
    bare = {"parent_asin": "P", "title": "", "description": [], "features": []}
    data = load_dataset("x", write(tmp_path, a=[new_review("u", "c", "P", DAY * 1000)], meta=[bare]))
    assert {value for key, value in item(data, "P").items() if key != "item_id"} == {None}
    assert {"no title: item P", "no features: 1 items", "no text in any field: 1 items, such as P"} <= set(data.notes)


def test_files_are_read_without_the_library_that_ran_the_publishers_script(tmp_path, monkeypatch):
    """A10: `datasets>=4` with `trust_remote_code=True`; here the JSON lines are read, and nothing else is needed."""
    monkeypatch.setitem(sys.modules, "datasets", None)
    write(tmp_path, a=[new_review("u", "c", "P", DAY * 1000)], meta=[{"parent_asin": "P", "title": "T"}])
    assert load_dataset("x", tmp_path).interactions.rows() == [(1, 1, DAY, 5.0, "Body", "Head")]


def test_ids_that_two_files_write_differently_are_refused_with_both(tmp_path):
    """A11: item `0001388703` in the reviews, `1388703` in the metadata."""
    write(tmp_path, a=[review("u", "0001388703")], meta=[{"asin": "1388703", "title": "T"}])
    with pytest.raises(DataError, match=r"join rate 0.*\['0001388703'\].*\['1388703'\].*leading zeros"):
        load_dataset("x", tmp_path)


@pytest.mark.parametrize("catalogue", ["reviewed", "all"])
def test_a_join_rate_of_0_is_refused_whatever_the_catalogue(tmp_path, catalogue):
    write(tmp_path, a=[review("u", "a")], meta=[{"asin": "b"}])
    with pytest.raises(DataError, match="join rate 0"):
        Amazon(catalogue=catalogue).read(tmp_path, "x")


def test_times_are_whole_numbers_and_never_floats(tmp_path):
    """A13: 887692900, 887692901 and 887692960, which one 32-bit float holds as the same number."""
    stamps = [887692960, 887692900, 887692901]
    rows = [review("u", f"i{stamp}", stamp) for stamp in stamps]
    data = load_dataset("x", write(tmp_path, a=rows, meta=[{"asin": f"i{stamps[0]}"}]))
    assert data.interactions["timestamp"].to_list() == sorted(stamps)
    assert histories(data) == {"u": [f"i{stamp}" for stamp in sorted(stamps)]}


def test_milliseconds_order_reviews_of_one_second(tmp_path):
    rows = [new_review("u", "", name, DAY * 1000 + part) for name, part in (("c", 900), ("a", 100), ("b", 500))]
    data = load_dataset("x", write(tmp_path, a=rows, meta=[{"parent_asin": "a"}]))
    assert histories(data) == {"u": ["a", "b", "c"]}
    assert data.interactions["timestamp"].to_list() == [DAY] * 3


def test_review_files_are_one_log(tmp_path):
    """A15: two files with interleaved times; ties keep the order of the files, and ratings stay with their items."""
    first = [review("u", "a", DAY, overall=1.0), review("u", "d", DAY + 2, overall=4.0)]
    second = [review("u", "c", DAY + 1, overall=3.0), review("u", "b", DAY, overall=2.0)]
    data = load_dataset("x", write(tmp_path, part2=second, part1=first, meta=[{"asin": "a"}]))
    assert histories(data) == {"u": ["a", "b", "c", "d"]}
    assert data.interactions["rating"].to_list() == [1.0, 2.0, 3.0, 4.0]


def test_gzipped_files_and_literals_of_2014_are_read(tmp_path):
    old = {**review("u", "i"), "helpful": [0, 1]}
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(json.dumps(old).encode()))
    literal = "{'asin': 'i', 'title': 'It\\'s', 'categories': [['Books', 'New'], ['Books']], 'description': 'Long.'}\n"
    data = load_dataset("x", write(tmp_path, meta=literal))
    found = item(data, "i")
    assert (found["title"], found["description"], found["categories"]) == ("It's", "Long.", ["Books", "New"])
    assert "a.json.gz: reviews in the form of 2014 (reviewerID, times in seconds)" in data.notes
    assert any(note.startswith("1 of 1 metadata lines are Python literals") for note in data.notes)


def test_a_file_whose_first_line_is_neither_kind_is_named(tmp_path):
    folder = write(tmp_path, reviews=[review("u", "B1")], meta=[{"asin": "B1", "title": "Mug"}])
    (folder / "more.json").write_text("{broken\n", encoding="utf-8")
    notes = load_dataset("x", folder).notes
    assert "more.json not read: its first line is neither a review nor the metadata of an item" in notes


def test_a_file_beside_its_gzipped_self_is_read_once(tmp_path):
    write(tmp_path, a=[review("u", "i")], meta=[{"asin": "i"}])
    (tmp_path / "a.json.gz").write_bytes(gzip.compress((tmp_path / "a.json").read_bytes()))
    data = load_dataset("x", tmp_path)
    assert len(data.interactions) == 1
    assert "a.json.gz not read: a.json is the same unpacked" in data.notes


def test_of_metadata_lines_with_one_id_the_first_stays(tmp_path):
    lines = [{"asin": "i", "title": title} for title in ("One", "One", "Two")]
    data = load_dataset("x", write(tmp_path, a=[review("u", "i")], meta=lines))
    assert item(data, "i")["title"] == "One"
    assert "1 of 3 metadata lines repeat an id and say the same, taken once" in data.notes
    assert "1 of 3 metadata lines repeat an id and say something else, the first taken" in data.notes


def test_items_that_nobody_reviewed_are_an_option(tmp_path):
    write(tmp_path, a=[review("u", "i")], meta=[{"asin": "other"}, {"asin": "i"}])
    assert load_dataset("x", tmp_path).items["item_id"].to_list() == ["i"]
    assert Amazon(catalogue="all").read(tmp_path, "x").items["item_id"].to_list() == ["other", "i"]
    with pytest.raises(ConfigError, match="catalogue"):
        components.resolve("sources", {"name": "amazon", "catalogue": "some"})


GOOD = json.dumps(review("u", "i"))
FAULTS = {
    "not json": "not JSON",
    '{"reviewerID": "u"': "not JSON",
    "[1]": "not a JSON object",
    '{"asin": "i", "unixReviewTime": 1500000000}': "no user",
    '{"reviewerID": "", "asin": "i", "unixReviewTime": 1500000000}': "no user",
    '{"reviewerID": "u", "unixReviewTime": 1500000000}': "no item",
    '{"reviewerID": "u", "asin": "i"}': "no time",
    '{"reviewerID": "u", "asin": "i", "unixReviewTime": "06 17, 2018"}': "no time as a whole number",
    '{"reviewerID": "u", "asin": "i", "unixReviewTime": 1500000000, "overall": "good"}': "the rating must be a number",
    '{"reviewerID": "u", "asin": "i", "unixReviewTime": 1500000000, "overall": true}': "the rating must be a number",
    '{"reviewerID": "u", "asin": "i", "unixReviewTime": 1500000000, "overall": NaN}': r"not JSON \(NaN is no number",
    '{"user_id": "u", "asin": "i", "timestamp": 1500000000}': "the time must lie in 1995 to 2100",
}


@pytest.mark.parametrize("line", FAULTS)
def test_a_review_line_that_cannot_be_used_is_named(tmp_path, line):
    write(tmp_path, a=f"{GOOD}\n\n{line}\n", meta=[{"asin": "i"}])
    with pytest.raises(DataError, match=rf"a\.json, line 3: {FAULTS[line]}"):
        load_dataset("x", tmp_path)


def test_a_byte_that_is_no_utf8_is_named(tmp_path):
    write(tmp_path, a=[review("u", "i")], meta=[{"asin": "i"}])
    (tmp_path / "a.json").write_bytes(f"{GOOD}\n".encode() + GOOD.replace('"u"', '"\xe9"').encode("latin-1"))
    with pytest.raises(DataError, match=r"a\.json, line 2: byte 0xe9 is not UTF-8"):
        load_dataset("x", tmp_path)


def test_a_metadata_line_that_cannot_be_used_is_named(tmp_path):
    write(tmp_path, a=[review("u", "i")], meta='{"asin": "i"}\n{"title": "T"}\n')
    with pytest.raises(DataError, match=r"meta\.json, line 2: a metadata line is a JSON object with asin"):
        load_dataset("x", tmp_path)


def test_a_folder_without_metadata_is_another_layout(tmp_path):
    assert not Amazon().detect(write(tmp_path, a=[review("u", "i")], list="[\n1]\n"))
    with pytest.raises(DataError, match="does not hold a file of reviews and one of metadata"):
        Amazon().read(tmp_path, "x")


@needs_real
def test_gift_cards_are_what_their_notes_say():
    data = load_dataset("amazon-gift-cards", REAL)
    log = data.interactions
    assert (data.num_users, data.num_items, len(log)) == (458, 148, 2972)
    assert (log["rating"] == 5).sum() / 2972 == pytest.approx(0.926, abs=5e-4)
    assert len(log) - log.select("user", "item").n_unique() == 7
    assert log["review"].null_count() == 6
    assert (log["review"].fill_null("").str.count_matches(r"\S+") < 3).sum() == 823
    assert log.group_by("user").agg(pl.col("timestamp").n_unique())["timestamp"].eq(1).sum() == 146
    assert "1399 of 1547 metadata lines that no review names, left out (option catalogue: all)" in data.notes
    assert "join rate 100.0%: 2972 of 2972 reviews are of items that have metadata" in data.notes


@needs_real
def test_titles_of_gift_cards_have_neither_entities_nor_outer_blanks():
    titles = load_dataset("amazon-gift-cards", REAL).items["title"]
    assert titles.null_count() == 0
    assert not titles.str.contains(r"^\s|\s$|&#39;|&amp;").any()
    assert "Noodles & Company Gift Card" in titles.to_list()


@pytest.mark.slow
@needs_real
def test_all_gift_cards_of_the_metadata_are_an_option():
    assert Amazon(catalogue="all").read(REAL, "x").num_items == 1547


@pytest.mark.parametrize("packed", [False, True])
def test_a_mark_of_byte_order_before_the_reviews_changes_nothing(tmp_path, packed):
    write(tmp_path, a=[review("u", "i")], meta=[{"asin": "i", "title": "Mug"}])
    raw = b"\xef\xbb\xbf" + (tmp_path / "a.json").read_bytes()
    (tmp_path / "a.json").unlink()
    (tmp_path / ("a.json.gz" if packed else "a.json")).write_bytes(gzip.compress(raw) if packed else raw)
    assert histories(load_dataset("x", tmp_path)) == {"u": ["i"]}


def test_lists_with_gaps_lose_them_and_an_object_is_no_text(tmp_path):
    write(tmp_path, a=[review("u", "i")], meta=[{"asin": "i", "title": "Mug", "category": ["Cups", None]}])
    assert item(load_dataset("x", tmp_path), "i")["categories"] == ["Cups"]
    write(tmp_path, meta=[{"asin": "other", "brand": {"name": "Acme"}}, {"asin": "i", "title": "Mug"}])
    assert item(load_dataset("x", tmp_path), "i")["title"] == "Mug", "an item that nobody names harms nobody"
    for odd in ({"brand": {"name": "Acme"}}, {"description": ["Fine", {"name": "Acme"}]}):
        write(tmp_path, meta=[{"asin": "i"} | odd])
        with pytest.raises(DataError, match=r"meta.json, line 1: a text .* must stand where \{'name': 'Acme'\} stands"):
            load_dataset("x", tmp_path)


def test_an_entity_is_resolved_once(tmp_path):
    write(
        tmp_path, a=[review("u", "i")], meta=[{"asin": "i", "title": "A &amp;amp; B", "description": "A &amp;amp; B"}]
    )
    found = item(load_dataset("x", tmp_path), "i")
    assert found["title"] == found["description"] == "A &amp; B"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("['One', \"it's two\"]", ["One", "it's two"]),
        ("['The world's best', 'with \\n a break']", ["The world's best", "with \n a break"]),
        ("['12\" wide', '', 'it's 3\" deep']", ['12" wide', "", "it's 3\" deep"]),
        (" ['a', None, 'b',]\n", ["a", "b"]),
        ("['it's 5\\xa0cm', '12\\u2033 \\tC:\\\\new']", ["it's 5\xa0cm", "12\u2033 \tC:\\new"]),
        ("[sic] a text", ["[sic] a text"]),
        ("[ ]", []),
        ("[]", []),
        ("", []),
    ],
)
def test_a_list_written_as_text_is_read_even_with_quotes_that_nobody_escaped(text, parts):
    assert unquoted_list(text) == parts
