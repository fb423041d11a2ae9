"""Rows as templates see them: known columns, empty texts, titles that several items share, and what a case knows."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from conftest import toy_tables

from llmrec.interactions import INTERACTION_COLUMNS, ITEM_COLUMNS, USER_COLUMNS, Dataset
from llmrec.prompt_rows import PromptRows, columns, emptied, filled, item_rows, labels
from llmrec.prompting import Prompt
from llmrec.splits.leave_one_out import LeaveOneOut


def shop() -> Dataset:
    """One user of five interactions, among items two of which share a title."""
    log = pl.DataFrame(
        {
            "user_id": ["ann"] * 5,
            "item_id": ["a", "b", "c", "d", "a"],
            "timestamp": [1, 2, 3, 4, 5],
            "rating": [1.0, 2.0, 3.0, 4.0, 5.0],
        }
    )
    titles = ["Sabrina (1954)", "Sabrina (1995)", "Heat", "Heat", None]
    return Dataset.from_tables("shop", log, pl.DataFrame({"item_id": ["a", "b", "c", "d", "e"], "title": titles}))


def test_rows_have_every_known_column_and_an_absent_text_is_empty():
    row = item_rows(shop())[4]
    assert row == {
        "item_id": "e",
        "id": "item_e",
        "title": "",
        "genres": [],
        "categories": [],
        "brand": "",
        "description": "",
        "features": [],
        "image": "",
        "tags": [],
        "price": None,
    }
    variables = PromptRows(shop()).variables(LeaveOneOut().split(shop()).test, 0)
    assert variables["user"] == {
        "user_id": "ann",
        "id": "user_ann",
        "name": "",
        "gender": "",
        "age": None,
        "occupation": "",
        "zip_code": "",
    }
    empty = dict.fromkeys(("review", "summary", "feature", "explanation", "part"), "")
    assert variables["interaction"] == {"timestamp": 5, "rating": 5.0} | empty


def test_the_fields_are_the_known_columns_and_those_of_the_data():
    known = columns(replace(shop(), items=shop().items.with_columns(shelf=pl.lit(3))))
    assert set(known["item"]) == {"item_id", "id", "shelf", *ITEM_COLUMNS}
    assert known["shown"] == [*known["item"], "text"]
    assert known["candidate"] == [*known["shown"], "label"]
    assert set(known["user"]) == {"user_id", "id", *USER_COLUMNS}
    assert set(known["interaction"]) == {"timestamp", *INTERACTION_COLUMNS}
    assert filled(shop()) == {
        "item": {"item_id", "id", "title"},
        "shown": {"item_id", "id", "title", "text"},
        "candidate": {"item_id", "id", "title", "text", "label"},
        "user": {"user_id", "id"},
        "interaction": {"timestamp", "rating"},
    }


@pytest.mark.parametrize("column", ["title", "description"])
def test_a_column_of_blanks_is_not_filled(column):
    items = shop().items.with_columns(pl.lit(" \u200b").alias(column), genres=pl.lit([], dtype=pl.List(pl.String)))
    assert filled(replace(shop(), items=items))["item"] == {"item_id", "id", "title"} - {column}


def test_an_emptied_row_keeps_its_fields_and_types():
    assert emptied({"title": "Heat", "genres": ["Crime"], "age": 3, "rating": 4.5, "zip": None}) == {
        "title": "",
        "genres": [],
        "age": 0,
        "rating": 0.0,
        "zip": None,
    }


def test_titles_that_several_items_share_end_with_the_id_in_prompts_but_not_in_item_texts():
    """A26: a title is no key; `Sabrina (1954)` and `Sabrina (1995)` need no more than their year."""
    titles = [row["title"] for row in PromptRows(shop()).items[1:]]
    assert titles == ["Sabrina (1954)", "Sabrina (1995)", "Heat [c]", "Heat [d]", ""]
    assert [row["title"] for row in item_rows(shop())][2:4] == ["Heat", "Heat"]


def test_items_are_shown_by_a_text_that_tells_them_apart_else_by_title_or_id():
    assert [row["text"] for row in PromptRows(shop()).items[1:]] == [
        "Sabrina (1954)", "Sabrina (1995)", "Heat [c]", "Heat [d]", "e",
    ]  # fmt: skip
    texts = ["", "Sabrina, romance", "Sabrina, comedy", "Heat, crime", "Heat, crime", "Brazil"]
    assert [row["text"] for row in PromptRows(shop(), texts).items[1:]] == [
        *texts[1:3], "Heat, crime [c]", "Heat, crime [d]", "Brazil",
    ]  # fmt: skip


def test_candidates_have_labels_none_of_which_begins_another():
    split = LeaveOneOut().split(shop())
    asked = PromptRows(shop()).variables(split.test, 0, candidates=[5, 1, 2])
    assert [(row["label"], row["item_id"]) for row in asked["candidates"]] == [("A", "e"), ("B", "a"), ("C", "b")]
    assert labels(26)[-1] == "Z"
    assert labels(100)[:2] == ("AA", "AB")
    for number in (1, 26, 27, 700):
        assert len(set(labels(number))) == number
        assert len({len(label) for label in labels(number)}) == 1


def test_of_a_history_only_the_last_items_are_shown_where_that_is_asked_for():
    split, rows = LeaveOneOut().split(shop()), PromptRows(shop())
    for last, shown in ((None, "abcd"), (2, "cd"), (9, "abcd"), (0, "")):
        history = rows.variables(split.test, 0, last=last)["history"]
        assert "".join(row["item_id"] for row in history) == shown


def test_titles_of_blanks_are_empty_and_no_titles_that_items_share():
    data = shop()
    blank = replace(data, items=data.items.with_columns(title=pl.Series(["\u200b\x00", " ", "", "Heat", None])))
    assert [row["title"] for row in PromptRows(blank).items[1:]] == ["", "", "", "Heat", ""]


def test_a_case_knows_its_history_oldest_first_and_the_interaction_asked_for():
    split = LeaveOneOut().split(shop())
    rows = PromptRows(shop())
    asked = rows.variables(split.test, 0, candidates=[5, 1])
    assert [row["item_id"] for row in asked["history"]] == ["a", "b", "c", "d"]
    assert (asked["item"]["item_id"], asked["interaction"]["rating"]) == ("a", 5.0), "the last of two with this item"
    assert [row["item_id"] for row in asked["candidates"]] == ["e", "a"]
    asked = rows.variables(split.validation, 0)
    assert (asked["item"]["item_id"], asked["interaction"]["rating"]) == ("d", 4.0)


def test_of_two_interactions_with_one_item_each_case_knows_its_own():
    """The later one is the test interaction, and nothing of it may reach validation."""
    log = pl.DataFrame(
        {"user_id": "u", "item_id": [*"ABCEE"], "timestamp": range(1, 6), "rating": [3.0, 3.0, 3.0, 1.5, 5.0]}
    )
    data = Dataset.from_tables("again", log)
    split = LeaveOneOut().split(data)
    rows = PromptRows(data)
    asked = [rows.variables(cases, 0)["interaction"] for cases in (split.validation, split.test)]
    assert [(each["timestamp"], each["rating"]) for each in asked] == [(4, 1.5), (5, 5.0)]


def test_candidates_hold_the_target_once_and_nothing_of_the_history(toy):
    test, rows = LeaveOneOut().split(toy).test, PromptRows(toy)
    places = []
    for case in range(len(test)):
        drawn = rows.draw_candidates(test, case, 5, seed=3)
        assert drawn == rows.draw_candidates(test, case, 5, seed=3)
        assert len(drawn) == len(set(drawn)) <= 5
        assert set(drawn) & set(test.histories[case].tolist()) <= {int(test.target[case])}
        places.append(drawn.index(test.target[case]))
    assert len(set(places)) == 5, "the target has no place of its own"
    assert sorted(rows.draw_candidates(test, 0, 10_000, seed=0)) == sorted(
        {*range(1, toy.num_items + 1)} - {*test.histories[0].tolist()} | {int(test.target[0])}
    )


def test_no_input_holds_the_title_of_its_target():
    """C2: 5-item user; assert target title not in prompt; P5's prompts call items by their ids."""
    titles = ["Alien", "Brazil", "Casablanca", "Dune", "Eraserhead"]
    ids = [f"item_{letter}" for letter in "abcde"]
    items = pl.DataFrame({"item_id": list("abcde"), "title": titles})
    log = pl.DataFrame({"user_id": ["ann"] * 5, "item_id": list("abcde"), "timestamp": [1, 2, 3, 4, 5]})
    split = LeaveOneOut().split(Dataset.from_tables("films", log, items))
    for cases, known in ((split.validation, 3), (split.test, 4)):
        variables = PromptRows(split.dataset).variables(cases, 0)
        for name, called in (("p5/sequential/next_item", ids), ("zeroshot/rank", titles)):
            prompt = Prompt.load(name)
            given = prompt.given(**variables)
            assert [each for each in called if each in given] == called[:known]
            assert prompt.render(prompt.answer, **variables) == called[known]


def test_the_training_sequence_of_a_user_gives_the_rows_of_the_toy_log(toy):
    split = LeaveOneOut().split(toy)
    variables = PromptRows(toy).variables(split.test, 7)
    assert [row["item_id"] for row in variables["history"]] == toy.item_ids[split.test.histories[7]].tolist()
    own = toy.interactions.filter(user=int(split.test.user[7]))
    assert variables["interaction"]["timestamp"] == own["timestamp"][-1]
    assert np.isclose(variables["interaction"]["rating"], own["rating"][-1])
    assert toy_tables()[1].filter(item_id=variables["item"]["item_id"])["title"][0] == variables["item"]["title"]


def test_items_are_called_what_a_model_knows_them_by():
    case = LeaveOneOut().split(shop()).test
    rows = PromptRows(shop(), ids=["", "item_7", "item_8", "item_9", "item_1", "item_2"])
    assert [row["id"] for row in rows.variables(case, 0)["history"]] == ["item_7", "item_8", "item_9", "item_1"]
    plain = PromptRows(shop()).variables(case, 0)
    assert [row["id"] for row in plain["history"]] == ["item_a", "item_b", "item_c", "item_d"]
    assert (plain["user"]["id"], plain["separator"], plain["claimed"]) == ("user_ann", ", ", 1)
