"""Layouts in which papers publish their logs: gSASRec, LLMRank, MiniOneRec, TALLRec."""

import json
from pathlib import Path

import polars as pl
import pytest
from conftest import ROOT

from llmrec.errors import DataError
from llmrec.interactions import Dataset
from llmrec.sources import load_dataset
from llmrec.sources.gsasrec import Gsasrec

REAL = ROOT.parent / "shared" / "data"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason="the published files are not in ../shared/data")
ITEM_HEADER = "item_id:token\tmovie_title:token_seq\trelease_year:token\tgenre:token_seq\n"


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def sequences(data: Dataset) -> dict[str, list[tuple[str, ...]]]:
    """Of each user: item id and what else a row has, in order."""
    rows: dict[str, list[tuple[str, ...]]] = {}
    more = [column for column in data.interactions.columns if column not in ("user", "item", "timestamp")]
    for user, item, *rest in data.interactions.select("user", "item", *more).rows():
        rows.setdefault(data.user_ids[user], []).append((data.item_ids[item], *rest))
    return rows


# gSASRec


GSASREC = {
    "train/input.txt": "1 2\n3\n2 1\n",
    "val/input.txt": "2 1 4\n",
    "val/output.txt": "3\n",
    "test/output.txt": "3\n1\n2\n",
}


def test_gsasrec_users_are_lines_and_validation_users_are_told_by_their_sequence(tmp_path):
    data = load_dataset("ml-1m", write(tmp_path, GSASREC))
    assert sequences(data) == {
        "1": [("1", "train"), ("2", "train"), ("3", "test")],
        "2": [("3", "train"), ("1", "test")],
        "3": [("2", "train"), ("1", "train"), ("4", "train"), ("3", "validation"), ("2", "test")],
    }
    assert data.time_unit == "order"
    assert data.interactions["timestamp"].to_list() == [0, 1, 2, 0, 1, 0, 1, 2, 3, 4]
    assert any(note.startswith("2 users lack the item before their test target") for note in data.notes)
    assert any("items have numbers and no text" in note for note in data.notes)


def test_gsasrec_items_get_their_movielens_ids_and_titles(tmp_path):
    titles = "".join(f"{item}0\tFilm {item}\t1990\tDrama\n" for item in range(1, 6))
    files = GSASREC | {"ml-1m.item": ITEM_HEADER + titles, "sas_to_original_items.txt": "1 10\n2 20\n3 30\n4 40\n"}
    data = load_dataset("ml-1m", write(tmp_path, files))
    assert sequences(data)["2"] == [("30", "train"), ("10", "test")]
    assert data.items["title"].to_list() == [f"Film {item} (1990)" for item in range(1, 5)], "50 is not of this set"
    assert "1 items that nobody met are left out" in data.notes
    whole = Gsasrec(unmet="kept").read(tmp_path, "ml-1m")
    assert whole.items["title"].to_list() == [f"Film {item} (1990)" for item in range(1, 6)]
    assert sequences(whole) == sequences(data) and not any("left out" in note for note in whole.notes)
    (tmp_path / "sas_to_original_items.txt").write_text("1 10\n2 20\n3 30\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"has no entry for 1 items of the log, such as '4'"):
        load_dataset("ml-1m", tmp_path)
    for twice in ("1 10\n2 10\n3 30\n4 40\n", "1 10\n2 20\n3 30\n4 40\n4 50\n"):
        (tmp_path / "sas_to_original_items.txt").write_text(twice, encoding="utf-8")
        with pytest.raises(DataError, match=r"sas_to_original_items\.txt is no map from one id to one"):
            load_dataset("ml-1m", tmp_path)


def test_gsasrec_users_keep_their_numbers_and_get_what_movielens_knows_of_them(tmp_path):
    people = {"ml1m_users.dat": "7\tF\t1\t10\t48067\n8\tM\t56\t0\t\n", "sas_to_original_users.txt": "1 8\n2 9\n3 7\n"}
    data = load_dataset("ml-1m", write(tmp_path, GSASREC | people))
    assert data.users.rows() == [
        ("1", 56, "M", "other", None),
        ("2", None, None, None, None),
        ("3", 1, "F", "K-12 student", "48067"),
    ]
    assert "1 users are not in ml1m_users.dat" in data.notes
    alone = load_dataset("ml-1m", write(tmp_path / "alone", GSASREC))
    assert alone.content_hash == data.content_hash, "nothing measured before was about other data"
    (tmp_path / "sas_to_original_users.txt").write_text("1 8\n2 9\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"sas_to_original_users.txt has no entry for 1 users, such as '3'"):
        load_dataset("ml-1m", tmp_path)


def test_a_user_of_gsasrec_with_two_validation_lines_is_refused(tmp_path):
    files = GSASREC | {"val/input.txt": "2 1 4\n2 1 3\n", "val/output.txt": "3\n4\n"}
    with pytest.raises(DataError, match=r"val/input.txt, line 2: user 3 has a line already"):
        load_dataset("ml-1m", write(tmp_path, files))


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("test/output.txt", "3\n1\n", "3 lines in train/input.txt and 2 in test/output.txt"),
        ("val/input.txt", "2 3 4\n", "val/input.txt, line 1: no line of train/input.txt is it but for its last item"),
        ("train/input.txt", "2 1\n3\n2 1\n", "two lines of train/input.txt are equal"),
    ],
)
def test_gsasrec_files_that_do_not_fit_together_are_refused(tmp_path, file, text, message):
    with pytest.raises(DataError, match=message):
        load_dataset("ml-1m", write(tmp_path, GSASREC | {file: text}))


@pytest.mark.slow
@needs_real
def test_the_real_ml_1m_of_gsasrec():
    data = load_dataset("ml-1m", REAL)
    assert (data.num_users, data.num_items, len(data.interactions)) == (6040, 3416, 994_083)
    parts = dict(data.interactions["part"].value_counts().rows())
    assert (parts["test"], parts["validation"]) == (6040, 512)
    assert data.items["title"].null_count() == 0
    assert data.users["gender"].value_counts(sort=True).rows() == [("M", 4331), ("F", 1709)]
    assert any(note.startswith("5528 users lack the item before") for note in data.notes)


# LLMRank


LLMRANK_HEADER = "user_id:token\titem_id_list:token_seq\titem_id:token\n"
LLMRANK = {
    "G-2.test.inter": LLMRANK_HEADER + "a\t1 2 3\t4\nb\t2\t1\n",
    "G.item": "item_id:token\ttitle:token_seq\n" + "".join(f"{item}\tGame {item}\n" for item in range(1, 6)),
}


def test_llmrank_rows_are_users_with_their_history_and_target(tmp_path):
    data = load_dataset("llmrank-games", write(tmp_path, LLMRANK))
    assert sequences(data) == {"a": [("1",), ("2",), ("3",), ("4",)], "b": [("2",), ("1",)]}
    assert data.num_items == 5, "a game that nobody met stays in the catalogue"
    assert data.time_unit == "order"


def test_llmrank_validation_must_be_the_test_without_its_last_item(tmp_path):
    write(tmp_path, LLMRANK | {"G-2.valid.inter": LLMRANK_HEADER + "a\t1 2\t3\nb\t\t2\n"})
    assert load_dataset("llmrank-games", tmp_path).num_users == 2
    write(tmp_path, {"G-2.valid.inter": LLMRANK_HEADER + "a\t1 2\t9\nb\t\t2\n"})
    with pytest.raises(DataError, match=r"G-2.valid.inter must hold the histories of the test file"):
        load_dataset("llmrank-games", tmp_path)


@pytest.mark.parametrize(
    ("log", "message"),
    [
        ("user\titems\titem\na\t1\t2\n", r"test.inter, line 1: expected the header"),
        (LLMRANK_HEADER + "a\t1 2\n", r"test.inter, line 2: expected 3 fields"),
        (LLMRANK_HEADER + "a\t1\t2\nb\t1\t\n", r"test.inter, line 3: item_id is empty"),
        (LLMRANK_HEADER + "a\t1 2\t3\nb\t1\t2\na\t3\t1\n", r"test.inter, line 4: user_id has a row already"),
    ],
)
def test_llmrank_refuses_what_it_cannot_use(tmp_path, log, message):
    with pytest.raises(DataError, match=message):
        load_dataset("llmrank-games", write(tmp_path, LLMRANK | {"G-2.test.inter": log}))


@pytest.mark.slow
@needs_real
def test_the_real_games_of_llmrank():
    data = load_dataset("llmrank-games", REAL)
    assert (data.num_users, data.num_items, len(data.interactions)) == (50_546, 16_859, 440_264)
    shared = data.items.filter(pl.col("title").is_duplicated())
    assert len(shared) >= 788, "editions share a title and stay apart"


# MiniOneRec


COLUMNS = "user_id,history_item_title,item_title,history_item_id,item_id,history_item_sid,item_sid\n"


def window(user: str, history: list[int], item: int) -> str:
    return f'{user},"[\'A, ""x""\']",Title,"{history}",{item},"[\'<a>\']",<a>\n'


def minionerec(folder: Path, stem: str, valid: str, test: str) -> Path:
    items = {
        str(item): {
            "title": f"Pen &amp; {item}",
            "brand": "",
            "categories": "",
            "description": "['<!-- x --><p>A pen</p> ', 'to write']",
        }
        for item in range(6)
    }
    files = {f"valid/{stem}_5.csv": COLUMNS + valid, f"test/{stem}_5.csv": COLUMNS + test}
    return write(folder, files | {f"index/{stem}.item.json": json.dumps(items)})


def test_minionerec_windows_become_users_again(tmp_path):
    valid = window("A1", [3, 1], 2) + window("A2", [4], 4) + window("A1", [3, 1, 2], 2)
    test = window("A1", [3, 1, 2, 2], 0) + window("A3", [1], 3)
    data = load_dataset("shop", minionerec(tmp_path, "Office_Products", valid, test))
    parts = ["train", "train", "validation", "validation", "test"]
    assert sequences(data) == {
        "A1": list(zip("31220", parts)),
        "A2": [("4", "train"), ("4", "validation")],
        "A3": [("1", "train"), ("3", "test")],
    }
    row = data.items.row(0, named=True)
    assert row == {"item_id": "0", "title": "Pen & 0", "brand": None, "description": "A pen to write"}
    assert data.num_items == 6
    assert any("5 windows of 3 users put together" in note for note in data.notes)


def test_minionerec_windows_longer_than_ten_continue_what_is_known(tmp_path):
    items = [index % 5 for index in range(12)]
    valid = "".join(window("A1", items[max(0, end - 10) : end], items[end]) for end in (10, 11))
    data = load_dataset("shop", minionerec(tmp_path, "Office_Products", valid, window("A2", [1], 2)))
    assert [item for item, _ in sequences(data)["A1"]] == [str(item) for item in items]


def test_minionerec_windows_that_contradict_each_other_are_refused(tmp_path):
    folder = minionerec(tmp_path, "Office_Products", window("A1", [3, 1], 2), window("A1", [3, 1], 4))
    with pytest.raises(DataError, match=r"test window of user 'A1' has the history \['3', '1'\], and those before it"):
        load_dataset("shop", folder)


@pytest.mark.parametrize("text", ["[]", '{"1": "Pen"}'])
def test_minionerec_items_of_other_json_are_refused(tmp_path, text):
    folder = minionerec(tmp_path, "Office_Products", window("A1", [1], 2), window("A1", [1, 2], 3))
    (folder / "index" / "Office_Products.item.json").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match="must hold an object with one object per item"):
        load_dataset("shop", folder)


def test_minionerec_sets_in_one_folder_are_picked_by_the_end_of_the_name(tmp_path):
    for stem, user in (("Office_Products", "O"), ("Industrial_and_Scientific", "I")):
        minionerec(tmp_path / "amazon-office-industrial", stem, window(user, [1], 2), window(user, [1, 2], 3))
    assert load_dataset("amazon-office", tmp_path).user_ids.tolist() == ["", "O"]
    assert load_dataset("amazon-industrial", tmp_path / "amazon-office-industrial").user_ids.tolist() == ["", "I"]
    with pytest.raises(DataError, match=r"holds several sets and 'mine' ends like none .*have: .*industrial, office"):
        load_dataset("mine", tmp_path / "amazon-office-industrial")


def test_minionerec_rows_that_a_quote_would_swallow_are_refused(tmp_path):
    broken = window("A1", [3, 1], 2).replace(",Title,", ',"Vinyl 7"",')
    folder = minionerec(tmp_path, "Office_Products", window("A2", [1], 2) + broken, window("A3", [1], 2))
    with pytest.raises(DataError, match=r"valid/Office_Products_5.csv, line 3: "):
        load_dataset("shop", folder)


def test_minionerec_without_a_needed_column_is_refused(tmp_path):
    folder = minionerec(tmp_path, "Office_Products", window("A1", [1], 2), window("A1", [1, 2], 3))
    (folder / "test/Office_Products_5.csv").write_text("user_id,item_id\nA1,3\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"Office_Products_5.csv, line 1: no column 'history_item_id'"):
        load_dataset("shop", folder)


@pytest.mark.slow
@needs_real
@pytest.mark.parametrize(
    ("name", "users", "items", "met", "interactions", "tests"),
    [("amazon-office", 3231, 3459, 3317, 22_447, 4866), ("amazon-industrial", 3285, 3686, 3541, 22_743, 4533)],
)
def test_the_real_sets_of_minionerec(name, users, items, met, interactions, tests):
    data = load_dataset(name, REAL)
    assert (data.num_users, data.num_items, len(data.interactions)) == (users, items, interactions)
    assert data.interactions["item"].n_unique() == met
    assert (data.interactions["part"] == "test").sum() == tests
    assert not data.items["title"].str.contains("&amp;", literal=True).any()
    assert not data.items["description"].drop_nulls().str.contains("<!--|</", literal=False).any()


# TALLRec


def row(liked: str, disliked: str, target: str, answer: str, kind: str = "movie") -> dict[str, str]:
    asked = f'Whether the user will like the target {kind} "{target}"?'
    return {
        "instruction": "",
        "input": f"User Preference: {liked}\nUser Unpreference: {disliked}\n{asked}",
        "output": answer,
    }


def tallrec(folder: Path, kind: str, valid: list[dict], test: list[dict]) -> Path:
    return write(folder, {f"{kind}/valid.json": json.dumps(valid), f"{kind}/test.json": json.dumps(test)})


def test_tallrec_rows_become_users_with_their_likes_dislikes_and_target(tmp_path):
    valid = [row('"Heat (1995)", "Crying Game, The (1992)"', "", "Alien (1979)", "Yes.")]
    folder = tallrec(tmp_path, "movie", valid, [row("", '"Heat (1995)"', "M (1931)", "No.")])
    data = load_dataset("tallrec", folder)
    assert sequences(data) == {
        "valid/0": [
            ("Heat (1995)", 1.0, "train"),
            ("Crying Game, The (1992)", 1.0, "train"),
            ("Alien (1979)", 1.0, "validation"),
        ],
        "test/0": [("Heat (1995)", 0.0, "train"), ("M (1931)", 0.0, "test")],
    }
    assert data.items["title"].to_list() == data.items["item_id"].to_list()


def test_tallrec_books_keep_the_quotes_of_their_own_and_have_their_author(tmp_path):
    liked = (
        '"The Firm" written by John Grisham, "Dave Barry\'s Guide (Contains: \\"A\\" / \\"B\\")"" written by Dave Barry'
    )
    rows = [row(liked, '" Q-Zone" written by Greg Cox', '"Fire Ice" written by Clive Cussler', "No.", "book")]
    data = load_dataset("tallrec-book", tallrec(tmp_path, "book", rows, rows))
    assert data.item_ids.tolist()[1:] == [
        "The Firm written by John Grisham",
        'Dave Barry\'s Guide (Contains: \\"A\\" / \\"B\\")" written by Dave Barry',
        " Q-Zone written by Greg Cox",
        "Fire Ice written by Clive Cussler",
    ], "an id is the text of the prompt, blanks and all"


@pytest.mark.parametrize(
    "wrong",
    [
        {"input": "User Preference: x", "output": "Yes."},
        row("", "", "Alien (1979)", "Perhaps."),
        {"output": "Yes."},
    ],
)
def test_tallrec_rows_that_say_something_else_are_refused_with_their_number(tmp_path, wrong):
    fine = row("", '"Heat (1995)"', "M (1931)", "No.")
    with pytest.raises(DataError, match=r"valid.json, row 1: expected 'User Preference"):
        load_dataset("tallrec", tallrec(tmp_path, "movie", [fine, wrong], [fine]))


@pytest.mark.slow
@needs_real
@pytest.mark.parametrize(("name", "users", "tests"), [("tallrec", 2000, 1000), ("tallrec-book", 4854, 2427)])
def test_the_real_rows_of_tallrec(name, users, tests):
    data = load_dataset(name, REAL)
    assert data.num_users == users
    targets = data.interactions.filter(pl.col("part") == "test")
    assert len(targets) == tests
    if name == "tallrec":
        assert targets["rating"].sum() == 528
        assert data.interactions.filter(pl.col("part") == "validation")["rating"].sum() == 658


@pytest.mark.parametrize("text", ["{}", "[1]", '["x"]'])
def test_tallrec_files_of_other_json_are_refused(tmp_path, text):
    folder = tallrec(tmp_path, "movie", [], [])
    (folder / "movie" / "valid.json").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"valid.json(, row 0: expected| must hold a list of rows, holds dict)"):
        load_dataset("tallrec", folder)
