"""The prompts of P5: how many, what each shows, what each asks for, and when each is switched off."""

import re
from collections import Counter
from dataclasses import replace
from typing import Any

import polars as pl
import pytest
from conftest import ROOT
from small_shop import full_shop

from llmrec.interactions import Dataset
from llmrec.prompt_check import Findings, check
from llmrec.prompt_rows import PromptRows
from llmrec.prompting import Prompt, found
from llmrec.sources import load_dataset
from llmrec.splits.leave_one_out import LeaveOneOut

ML_100K = ROOT.parent / "shared" / "data" / "ml-100k"
FAMILIES = {"rating": 10, "sequential": 13, "explanation": 12, "review": 4, "direct": 8, "other_domain": 7}
UNSEEN = {
    "rating": "1-10",
    "sequential": "2-13",
    "explanation": "3-12",
    "review": "4-4",
    "direct": "5-8",
    "other_domain": "Z-1 Z-2 Z-3 Z-4 Z-5 Z-6 Z-7",
}
ID, NAME, ITEM, TITLE = "user.id", "user.name", "item.id", "item.title"
STARS, FEATURE, HEADLINE = "interaction.rating", "interaction.feature", "interaction.summary"
PAST, POOL, CLAIM = "history.id", "candidates.id", "claimed"
FACTS = {TITLE, "item.brand", "item.price"}
SHOWN = {
    "rating/by_ids": ("1-1", {ID, ITEM}),
    "rating/by_title": ("1-2", {ID, TITLE}),
    "rating/claimed_by_ids": ("1-3", {ID, ITEM, CLAIM}),
    "rating/liked_by_ids": ("1-4", {ID, ITEM}),
    "rating/menu": ("1-5", {ID, ITEM, TITLE}),
    "rating/by_name": ("1-6", {NAME, ITEM}),
    "rating/by_name_and_title": ("1-7", {NAME, TITLE}),
    "rating/claimed_by_name_and_title": ("1-8", {NAME, TITLE, CLAIM}),
    "rating/liked_by_name_and_title": ("1-9", {NAME, TITLE}),
    "rating/by_name_and_title_unseen": ("1-10", {NAME, TITLE}),
    "sequential/next_item": ("2-1", {ID, PAST}),
    "sequential/continue_list": ("2-2", {ID, PAST}),
    "sequential/recommend_next": ("2-3", {ID, PAST}),
    "sequential/next_item_by_name": ("2-4", {NAME, PAST}),
    "sequential/continue_list_by_name": ("2-5", {NAME, PAST}),
    "sequential/recommend_next_by_name": ("2-6", {NAME, PAST}),
    "sequential/pick": ("2-7", {ID, PAST, POOL}),
    "sequential/pick_by_name": ("2-8", {NAME, PAST, POOL}),
    "sequential/pick_candidates_first": ("2-9", {ID, PAST, POOL}),
    "sequential/pick_by_name_candidates_first": ("2-10", {NAME, PAST, POOL}),
    "sequential/is_next": ("2-11", {ID, PAST, POOL}),
    "sequential/is_next_by_name": ("2-12", {NAME, PAST, POOL}),
    "sequential/next_by_name_unseen": ("2-13", {NAME, PAST}),
    "explanation/by_title": ("3-1", {ID, TITLE}),
    "explanation/headline_by_ids": ("3-2", {HEADLINE, ID, ITEM}),
    "explanation/stars_by_title": ("3-3", {ID, STARS, TITLE}),
    "explanation/by_name": ("3-4", {NAME, TITLE}),
    "explanation/headline_by_name": ("3-5", {HEADLINE, NAME, TITLE}),
    "explanation/stars_by_name": ("3-6", {NAME, STARS, ITEM}),
    "explanation/stars_and_text": ("3-7", {FEATURE, ID, ITEM}),
    "explanation/stars_and_text_by_name": ("3-8", {NAME, ITEM}),
    "explanation/feature_by_title": ("3-9", {FEATURE, ID, TITLE}),
    "explanation/feature_by_name": ("3-10", {FEATURE, NAME, TITLE}),
    "explanation/feature_stars_by_ids": ("3-11", {FEATURE, STARS, ID, ITEM}),
    "explanation/feature_stars_by_name_unseen": ("3-12", {FEATURE, STARS, NAME, ITEM}),
    "review/headline": ("4-1", {ID, "interaction.review"}),
    "review/stars": ("4-2", {ID, "interaction.review"}),
    "review/headline_by_name": ("4-3", {NAME, "interaction.review"}),
    "review/stars_by_name_unseen": ("4-4", {NAME, "interaction.review"}),
    "direct/by_ids": ("5-1", {ID, POOL}),
    "direct/by_name": ("5-2", {NAME, POOL}),
    "direct/by_name_and_title": ("5-3", {NAME, "candidates.title"}),
    "direct/by_title": ("5-4", {ID, "candidates.title"}),
    "direct/pick_by_name": ("5-5", {NAME, POOL}),
    "direct/best_by_name": ("5-6", {NAME, POOL}),
    "direct/pick": ("5-7", {ID, POOL}),
    "direct/best_unseen": ("5-8", {ID, POOL}),
    "other_domain/liked": ("Z-1", {ID, *FACTS}),
    "other_domain/stars_by_name": ("Z-2", {NAME, *FACTS}),
    "other_domain/stars": ("Z-3", {ID, *FACTS}),
    "other_domain/liked_by_name": ("Z-4", {NAME, *FACTS}),
    "other_domain/explanation_by_name": ("Z-5", {NAME, *FACTS}),
    "other_domain/feature_stars_explanation": ("Z-6", {FEATURE, STARS, ID, *FACTS}),
    "other_domain/explanation_if_liked": ("Z-7", {NAME, TITLE}),
}
"""By name: which of P5's, and what its input shows."""
ALL = {name: Prompt.load(f"p5/{name}") for name in SHOWN}


def case(data: Dataset, row: int = 0, prompt: Prompt | None = None) -> dict[str, Any]:
    """What prompts know of a test case."""
    split = LeaveOneOut().split(data)
    rows = PromptRows(data)
    drawn = rows.draw_candidates(split.test, row, prompt.head.candidates if prompt else 100, seed=0)
    return rows.variables(split.test, row, drawn)


def checked(data: Dataset) -> Findings:
    return check([], data, "leave_one_out", cases=8)


def off(findings: Findings) -> set[str]:
    """Names of the prompts of P5 that are switched off."""
    return {
        note.partition(":")[0].removeprefix("p5/")
        for note in findings.notes
        if note.startswith("p5/") and ": switched off: " in note
    }


def test_there_are_as_many_as_in_p5_and_the_same_ones_are_held_out():
    shipped = [path for path in (ROOT / "prompts" / "p5").rglob("*.jinja") if path.parent.parent.name == "p5"]
    shipped = [path for path in shipped if path.parent.name in FAMILIES]
    assert Counter(path.parent.name for path in shipped) == FAMILIES
    assert {f"p5/{name}" for name in SHOWN} <= set(found()) and len(SHOWN) == len(shipped) == 54
    for family, kinds in UNSEEN.items():
        held_out = [name for name in SHOWN if name.startswith(f"{family}/") and ALL[name].head.unseen]
        assert [SHOWN[name][0] for name in held_out] == kinds.split()


@pytest.mark.parametrize("name", SHOWN)
def test_a_prompt_shows_what_its_kind_shows_and_nothing_else(name):
    kind, shown = SHOWN[name]
    prompt = ALL[name]
    read = {f"{use.variable}.{use.field}" for use in prompt.anatomy.uses if use.section == "input"}
    given = prompt.body.partition("{% endblock")[0].partition("{%- endblock")[0]
    assert read | ({CLAIM} if re.search(r"\bclaimed\b", given) else set()) == shown
    assert prompt.head.description.startswith(f"As P5's {kind}: ")
    assert (PAST in shown) == ("history[-20:] |" in given and "join(separator)" in given)
    assert (prompt.head.candidates == 1) == ("candidates[0]" in given)


def test_no_two_prompts_of_a_family_say_the_same_words():
    said = {name: re.sub(r"\{\{.*?\}\}|\W", " ", ALL[name].body.partition("endblock")[0]).split() for name in SHOWN}
    for name, words in said.items():
        others = [said[other] for other in SHOWN if other != name and other.split("/")[0] == name.split("/")[0]]
        assert len(words) > 4
        assert all(set(words) != set(other) for other in others)
    bodies = [re.sub(r"\W", "", prompt.body).casefold() for prompt in ALL.values()]
    assert len(set(bodies)) == len(bodies)


@pytest.mark.slow
def test_on_data_with_every_field_all_of_them_can_be_used():
    data = full_shop()
    findings = checked(data)
    assert (findings.faults, off(findings)) == ([], set())
    for prompt in ALL.values():
        for row in range(12):
            variables = case(data, row, prompt)
            given, target = prompt.given(**variables), prompt.render("target", **variables)
            assert given and "{" not in given and "None" not in given
            disliked = variables["interaction"]["rating"] < 4
            assert target or (disliked and prompt.name == "p5/other_domain/explanation_if_liked")


def asked(name: str, **changes: Any) -> str:
    """The target of the first case, in which something is otherwise."""
    variables = case(full_shop(), 0, ALL[name])
    interaction = variables["interaction"] | {"explanation": "it fits", **changes.pop("interaction", {})}
    return ALL[name].render("target", **variables | {"interaction": interaction} | changes)


@pytest.mark.parametrize("name", [name for name in SHOWN if ALL[name].head.task == "rating"])
def test_stars_are_asked_for_with_one_decimal(name):
    for stars, target in ((5.0, "5.0"), (3.74, "3.7"), (1, "1.0"), (None, "")):
        assert asked(name, interaction={"rating": stars}) == target


@pytest.mark.parametrize("name", ["rating/claimed_by_ids", "rating/claimed_by_name_and_title"])
def test_a_claim_is_true_if_those_stars_were_given(name):
    for stars, claimed, target in ((4.0, 4, "yes"), (4.0, 5, "no"), (3.5, 3, "no"), (None, 3, "")):
        assert asked(name, interaction={"rating": stars}, claimed=claimed) == target


@pytest.mark.parametrize(
    "name",
    ["rating/liked_by_ids", "rating/liked_by_name_and_title", "other_domain/liked", "other_domain/liked_by_name"],
)
def test_from_four_stars_it_is_a_like(name):
    for stars, target in ((5.0, "like"), (4.0, "like"), (3.5, "dislike"), (1.0, "dislike"), (None, "")):
        assert asked(name, interaction={"rating": stars}) == target


@pytest.mark.parametrize("name", [name for name in SHOWN if "candidates[0]" in ALL[name].body])
def test_one_candidate_is_right_if_it_is_the_target(name):
    variables = case(full_shop())
    for row in variables["candidates"]:
        target = "yes" if row["item_id"] == variables["item"]["item_id"] else "no"
        assert ALL[name].render("target", **variables | {"candidates": [row]}) == target


@pytest.mark.parametrize("name", [name for name in SHOWN if ALL[name].head.task == "item"])
def test_items_are_answered_by_the_name_that_the_input_uses(name):
    variables = case(full_shop(), 3)
    target, given = ALL[name].render("target", **variables), ALL[name].given(**variables)
    assert target == f"item_{variables['item']['item_id']}"
    assert (target in re.findall(r"item_i\d+", given)) == (POOL in SHOWN[name][1])
    if PAST in SHOWN[name][1]:
        for separator in (", ", " -> "):
            ids = [f"item_{row['item_id']}" for row in variables["history"]]
            assert separator.join(ids) in ALL[name].given(**variables | {"separator": separator})


def test_of_a_long_history_the_last_twenty_items_are_shown():
    variables = case(full_shop())
    history = [{**variables["history"][0], "id": f"item_{number}"} for number in range(30)]
    given = ALL["sequential/next_item"].given(**variables | {"history": history})
    assert re.findall(r"item_\d+", given) == [f"item_{number}" for number in range(10, 30)]


def test_texts_are_the_sentence_the_stars_with_it_or_the_headline():
    assert asked("explanation/by_title") == asked("explanation/feature_stars_by_ids") == "it fits"
    for name in ("explanation/stars_and_text", "explanation/stars_and_text_by_name"):
        assert asked(name, interaction={"rating": 4.0}) == "4.0: it fits"
        assert asked(name, interaction={"rating": None}) == asked(name, interaction={"explanation": ""}) == ""
    for name in ("review/headline", "review/headline_by_name"):
        assert asked(name, interaction={"summary": "Fine"}) == "Fine"
    for stars, target in ((4.0, "it fits"), (3.0, ""), (None, "")):
        assert asked("other_domain/explanation_if_liked", interaction={"rating": stars}) == target


def test_stars_in_an_input_are_written_as_people_do():
    variables = case(full_shop())
    for stars, written in ((4.0, "received 4 of 5 stars"), (3.5, "received 3.5 of 5 stars")):
        interaction = variables["interaction"] | {"rating": stars}
        assert written in ALL["explanation/stars_by_title"].given(**variables | {"interaction": interaction})


def test_titles_come_through_whatever_is_in_them():
    data = full_shop()
    titles = ['"{{ user.id }}" {% x %}', "it's <b> & 100 %", "two\nlines {0} %s"]
    for title in titles:
        odd = replace(data, items=data.items.with_columns(title=pl.lit(title) + " #" + pl.col("item_id")))
        for name in [name for name in SHOWN if {TITLE, "candidates.title"} & SHOWN[name][1]]:
            variables = case(odd, 0, ALL[name])
            row = variables["item"] if TITLE in SHOWN[name][1] else variables["candidates"][0]
            assert f"{title} #{row['item_id']}" in ALL[name].given(**variables)


def test_an_item_without_brand_and_price_is_of_an_unknown_one():
    variables = case(full_shop())
    bare = variables | {"item": variables["item"] | {"brand": "", "price": None}}
    assert "Brand: Acme\nPrice: 12.5\n" in ALL["other_domain/stars_by_name"].given(**variables)
    assert "Brand: unknown\nPrice: unknown\n" in ALL["other_domain/stars_by_name"].given(**bare)


@pytest.mark.slow
def test_what_the_data_never_fill_switches_off_just_the_prompts_that_need_it():
    data = full_shop()
    explaining = {name for name in SHOWN if "interaction.explanation" in ALL[name].body}
    assert len(explaining) == 15
    for bare, expected in (
        (replace(data, users=data.users.drop("name")), {name for name in SHOWN if NAME in SHOWN[name][1]}),
        (replace(data, interactions=data.interactions.drop("explanation")), explaining),
        (replace(data, items=data.items.drop("brand")), {name for name in SHOWN if "item.brand" in SHOWN[name][1]}),
    ):
        findings = checked(bare)
        assert findings.faults == []
        assert off(findings) & set(SHOWN) == expected


@pytest.mark.slow
@pytest.mark.skipif(not ML_100K.is_dir(), reason="needs shared/data/ml-100k beside the project")
def test_on_ml_100k_those_are_on_that_need_ids_titles_and_stars():
    findings = checked(load_dataset("ml-100k", ML_100K))
    assert findings.faults == []
    usable = {ID, ITEM, TITLE, STARS, PAST, POOL, CLAIM, "candidates.title"}
    on = {name for name, (_, shown) in SHOWN.items() if shown <= usable and not name.startswith("explanation/")}
    assert set(SHOWN) - off(findings) == on
    assert Counter(name.split("/")[0] for name in on) == {"rating": 5, "sequential": 6, "direct": 4}
