"""PixelRec: two files told apart by their headers, counts that look ahead, covers."""

from pathlib import Path
from typing import Any

import pytest

from llmrec import components
from llmrec.errors import DataError
from llmrec.interactions import Dataset
from llmrec.sources import load_dataset

LOG = "item_id,user_id,timestamp\ni10,u1,1605059546\ni2,u1,1605059500\ni10,u3,1628914341\n"
COUNTS = "view_number,comment_number,thumbup_number,share_number,coin_number,favorite_number,barrage_number"
ITEMS = (
    f"item_id,{COUNTS},title,tag,description\n"
    'i2,799668.0,739.0,8050.0,220.0,84.0,1049.0,510.0,"My boyfriend, a turtle…",Pet Reptiles,Should I brush it off?\n'
    "i10,,,,,,,,Kept &amp; broken,,\n"
    "i3,1,1,1,1,1,1,1,!!!,Comedy,-\n"
)


def write(folder: Path, log: str = LOG, items: str | None = ITEMS) -> Path:
    (folder / "interaction.csv").write_bytes(log.encode())
    if items is not None:
        (folder / "item_info.csv").write_bytes(items.encode())
    return folder


def read(folder: Path, name: str = "x", **options: Any) -> Dataset:
    source = components.create("sources", components.resolve("sources", {"name": "pixelrec", **options}))
    return source.read(folder, name)


def met(data: Dataset) -> list[tuple[str, str, int]]:
    rows = data.interactions.select("user", "item", "timestamp").rows()
    return [(data.user_ids[user], data.item_ids[item], time) for user, item, time in rows]


MET = [("u1", "i2", 1_605_059_500), ("u1", "i10", 1_605_059_546), ("u3", "i10", 1_628_914_341)]


def test_the_log_has_the_item_first_and_ids_keep_their_prefix(tmp_path):
    data = load_dataset("x", write(tmp_path))
    assert met(data) == MET
    assert data.time_unit == "seconds"
    assert "read as pixelrec; the folder also fits table" in data.notes


def test_items_have_titles_tags_and_descriptions_and_no_counts(tmp_path):
    """Views and likes were counted after the log: as features they tell what is popular later."""
    data = read(write(tmp_path))
    assert data.items.columns == ["item_id", "title", "description", "tags"]
    assert data.items.rows() == [
        ("i2", "My boyfriend, a turtle…", "Should I brush it off?", ["Pet Reptiles"]),
        ("i10", "Kept & broken", None, []),
        ("i3", None, "-", ["Comedy"]),
    ]
    named = COUNTS.replace(",", ", ")
    assert {
        f"item_info.csv: columns not read, for they were counted after the interactions: {named}",
        "title without a letter or a digit, read as none: item i3",
        "no title: item i3",
        "no tag: item i10",
        "no description: item i10",
        "HTML entities in the title resolved: item i10",
    } <= set(data.notes)


def test_a_table_in_two_languages_is_read_in_the_wanted_one(tmp_path):
    items = "item_id,title_en,title\ni2,A turtle,龟\ni10,,猫\n"
    english = read(write(tmp_path, items=items))
    assert english.items["title"].to_list() == ["A turtle", "猫"]
    assert "no english title, chinese taken: item i10" in english.notes
    assert read(tmp_path, language="chinese").items["title"].to_list() == ["龟", "猫"]


def test_milliseconds_are_read_as_such(tmp_path):
    log = LOG
    for seconds, rest in (("1605059546", "123"), ("1605059500", "900"), ("1628914341", "000")):
        log = log.replace(seconds, seconds + rest)
    data = read(write(tmp_path, log))
    assert met(data) == MET
    assert "interaction.csv: times are milliseconds, read as such" in data.notes


def test_a_header_that_stands_again_is_no_row(tmp_path):
    log = f"{LOG}{LOG.splitlines()[0]}\ni2,u9,1605059600\n"
    data = read(write(tmp_path, log, f"{ITEMS}{ITEMS.splitlines()[0]}\n"))
    assert met(data) == [*MET, ("u9", "i2", 1_605_059_600)]
    assert data.num_items == 3
    told = "the header stands again in 1 lines, which are no rows"
    assert {f"interaction.csv: {told}", f"item_info.csv: {told}"} <= set(data.notes)


def test_lines_may_end_as_on_windows(tmp_path):
    plain = read(write(tmp_path))
    crlf = read(write(tmp_path, LOG.replace("\n", "\r\n"), ITEMS.replace("\n", "\r\n")))
    assert crlf.content_hash == plain.content_hash
    assert crlf.items.rows() == plain.items.rows()


def test_covers_lie_beside_and_items_without_one_are_told(tmp_path):
    (tmp_path / "cover").mkdir()
    for stem in ("i2", "i10"):
        (tmp_path / "cover" / f"{stem}.jpg").touch()
    data = read(write(tmp_path))
    assert data.images == tmp_path / "cover"
    assert "no image in cover/: item i3" in data.notes
    (tmp_path / "item_info.csv").unlink()
    assert load_dataset("x", tmp_path).items.columns == ["item_id"], "covers are enough"


@pytest.mark.parametrize("folders", [("dataset", "information"), ("Interaction", "Item Information")])
def test_files_of_one_name_in_two_folders_are_told_apart_by_their_headers(tmp_path, folders):
    for folder, text in zip(folders, (LOG, ITEMS)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "Pixel200K.csv").write_text(text)
    assert met(load_dataset("Pixel200K", tmp_path)) == MET
    (tmp_path / folders[0] / "Pixel1M.csv").write_text(LOG)
    assert met(read(tmp_path, "Pixel200K")) == MET
    with pytest.raises(DataError, match=r"must hold one of these logs, has .*Pixel1M\.csv, .*Pixel200K\.csv; name the"):
        read(tmp_path, "x")


def test_a_folder_with_a_log_alone_is_another_layout(tmp_path):
    write(tmp_path, items=None)
    assert "read as pixelrec" not in " ".join(load_dataset("x", tmp_path).notes)
    with pytest.raises(DataError, match="must hold one of these logs, has none"):
        read(tmp_path.parent / "missing")


FAULTS = {
    "i2,u1,soon\n": r"line 5: timestamp must be a whole number \(64 bits\); found 'soon'",
    "i2,,1605059546\n": r"line 5: user_id is empty",
    "i2,u1\n": r"line 5: expected 3 fields separated by ','; found 'i2,u1'",
    "i2,u1,1605059546123\n": r"line 2: timestamp is 1605059546, which are seconds, and 1 others are milliseconds",
}


@pytest.mark.parametrize("row", FAULTS)
def test_a_row_that_cannot_be_used_is_named_with_its_line(tmp_path, row):
    with pytest.raises(DataError, match=rf"interaction\.csv, {FAULTS[row]}"):
        read(write(tmp_path, LOG + row))
