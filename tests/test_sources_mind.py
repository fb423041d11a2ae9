"""MIND's impressions and news."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from llmrec.errors import DataError
from llmrec.interactions import Dataset
from llmrec.sources import load_dataset
from llmrec.sources.mind import Mind

NEWS = "".join(
    f"N{number}\tnews\tus\t Title {number}\tAbout &amp; {number}\thttp://x/{number}\t[]\t[]\n" for number in range(1, 8)
)
FIRST = int(datetime(2019, 11, 11, 9, 5, 58, tzinfo=UTC).timestamp())
ROWS = [
    ("2", "U1", "11/11/2019 3:00:00 PM", "N1 N2", "N5-0 N4-1 N3-1"),
    ("1", "U1", "11/11/2019 9:05:58 AM", "N1 N2", "N6-1 N5-0"),
    ("3", "U2", "11/12/2019 12:00:01 AM", "", "N1-1"),
]


def write(folder: Path, impressions: list[tuple[str, ...]], news: str = NEWS) -> Path:
    text = "".join("\t".join(fields) + "\n" for fields in impressions)
    (folder / "behaviors.tsv").write_text(text, encoding="utf-8")
    (folder / "news.tsv").write_text(news, encoding="utf-8")
    return folder


def histories(data: Dataset) -> dict[str, list[tuple[str, int]]]:
    found: dict[str, list[tuple[str, int]]] = {}
    for user, item, time in data.interactions.select("user", "item", "timestamp").rows():
        found.setdefault(data.user_ids[user], []).append((data.item_ids[item], time))
    return found


CLICKS = {
    "U1": [
        ("N1", FIRST - 2),
        ("N2", FIRST - 1),
        ("N6", FIRST),
        ("N4", FIRST + 5 * 3600 + 54 * 60 + 2),
        ("N3", FIRST + 5 * 3600 + 54 * 60 + 2),
    ],
    "U2": [("N1", FIRST + 14 * 3600 + 54 * 60 + 3)],
}


@pytest.mark.parametrize("without", [0, 1])
def test_the_history_repeated_on_every_impression_is_taken_once(tmp_path, without):
    """A19: two impressions of one user, same history; behaviors.tsv of five columns, and of four without their id."""
    data = load_dataset("x", write(tmp_path, [row[without:] for row in ROWS]))
    assert histories(data) == CLICKS
    assert data.time_unit == "seconds"
    assert any(note.startswith("2 interactions are of histories, taken once a user") for note in data.notes)
    assert "2 impressions were shown and not clicked: no interactions" in data.notes


@pytest.mark.parametrize(
    ("line", "message"), [("N1\t" + "\t" * 6, "'N1' stands a second time"), ("\t" * 7, "'' is empty")]
)
def test_news_that_stand_twice_or_have_no_id_are_refused_with_their_line(tmp_path, line, message):
    """As where the train and the dev part were put together."""
    with pytest.raises(DataError, match=rf"news\.tsv, line 8: the id {message}"):
        load_dataset("x", write(tmp_path, ROWS, f"{NEWS}{line}\n"))


def test_impressions_without_labels_are_refused(tmp_path):
    """A20: impressions `N1 N2` instead of `N1-1 N2-0`."""
    write(tmp_path, [*ROWS, ("4", "U3", "11/12/2019 1:00:00 PM", "N1", "N1 N2")])
    with pytest.raises(DataError, match=r"behaviors\.tsv, line 4: impressions without labels \('N1 N2'.*measured"):
        load_dataset("x", tmp_path)


@pytest.mark.parametrize("shown", ["", "N1-1 N2", "N1-2", "-1"])
def test_impressions_with_other_labels_are_refused(tmp_path, shown):
    with pytest.raises(DataError, match="line 1: impressions without labels"):
        load_dataset("x", write(tmp_path, [("1", "U1", "11/11/2019 9:05:58 AM", "N1", shown)]))


def test_news_have_title_abstract_and_categories(tmp_path):
    bare = "N8\t\t\t\t\thttp://x\t[]\t[]\n"
    data = load_dataset("x", write(tmp_path, ROWS, NEWS + bare))
    assert data.items.columns == ["item_id", "title", "description", "categories"]
    assert data.items.row(0) == ("N1", "Title 1", "About & 1", ["news", "us"])
    assert data.items.row(7) == ("N8", None, None, None)
    assert {"no title: item N8", "no description: item N8"} <= set(data.notes)


def test_users_whose_histories_differ_are_told_and_have_that_of_their_first_impression(tmp_path):
    longer = [("2", "U1", "11/11/2019 3:00:00 PM", "N1 N2 N6", "N4-1"), *ROWS[1:]]
    data = load_dataset("x", write(tmp_path, longer))
    assert [item for item, _ in histories(data)["U1"]] == ["N1", "N2", "N6", "N4"]
    assert "1 users have histories that differ by impression; that of the first is taken" in data.notes


def test_users_without_history_and_click_are_told(tmp_path):
    data = load_dataset("x", write(tmp_path, [*ROWS, ("4", "U3", "11/12/2019 1:00:00 PM", "", "N1-0")]))
    assert list(histories(data)) == ["U1", "U2"]
    assert "1 users have neither a history nor a click: left out" in data.notes


FAULTS = {
    "a time of another format": (("4", "U3", "13/31/2019 1:00:00 PM", "N1", "N1-1"), "line 4: a time looks like"),
    "a field too many": (("4", "U3", "11/12/2019 1:00:00 PM", "N1", "N1-1", "x"), "line 4: expected fields"),
    "no impression id": (("U3", "11/12/2019 1:00:00 PM", "N1", "N1-1"), "line 4: expected fields"),
    "no user": (("4", "", "11/12/2019 1:00:00 PM", "N1", "N1-1"), "line 4: the user is empty"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_line_that_cannot_be_used_is_named(tmp_path, fault):
    row, message = FAULTS[fault]
    with pytest.raises(DataError, match=rf"behaviors\.tsv, {message}"):
        load_dataset("x", write(tmp_path, [*ROWS, row]))


def test_a_news_line_with_other_fields_is_named(tmp_path):
    with pytest.raises(DataError, match=r"news\.tsv, line 8: expected fields"):
        load_dataset("x", write(tmp_path, ROWS, f"{NEWS}N8\tTitle\n"))


def test_a_folder_without_news_is_another_layout(tmp_path):
    write(tmp_path, ROWS)
    assert Mind().detect(tmp_path)
    (tmp_path / "news.tsv").unlink()
    assert not Mind().detect(tmp_path)
