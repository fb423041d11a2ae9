"""The sets of prompts beside P5's own: P5's for Yelp and OpenP5's, and a model that is trained on users alone."""

import io
import json
import re
from collections import Counter
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from conftest import ROOT, write_recbole
from small_shop import full_shop
from small_writers import split_of

from eval import p5, p5_study
from llmrec import building, train
from llmrec.errors import ConfigError
from llmrec.generative.examples import Examples, prompts_of, seen_prompts
from llmrec.prompt_check import check
from llmrec.prompt_rows import PromptRows
from llmrec.prompting import Prompt, found
from llmrec.sequences import Sequences

FAMILIES = {
    "openp5/sequential": 11,
    "openp5/straightforward": 11,
    "yelp/rating": 10,
    "yelp/sequential": 13,
    "yelp/explanation": 10,
    "yelp/review": 3,
    "yelp/direct": 8,
}
NUMBERED = {
    "openp5/sequential": "OpenP5's sequential ",
    "openp5/straightforward": "OpenP5's straightforward ",
    "yelp/rating": "P5's 1-",
    "yelp/sequential": "P5's 2-",
    "yelp/explanation": "P5's 3-",
    "yelp/review": "P5's 4-",
    "yelp/direct": "P5's 5-",
}
ALL = {family: prompts_of(family) for family in FAMILIES}
PROMPTS = [prompt for prompts in ALL.values() for prompt in prompts]
ID, NAME, ITEM, TITLE, PAST, POOL = "user.id", "user.name", "item.id", "item.title", "history.id", "candidates.id"
STARS, FEATURE, REVIEW = "interaction.rating", "interaction.feature", "interaction.review"
EXPLANATIONS = [
    {ID, TITLE},
    {ID, STARS, TITLE},
    {NAME, TITLE},
    {NAME, STARS, ITEM},
    {FEATURE, ID, ITEM},
    {NAME, ITEM},
    {FEATURE, ID, TITLE},
    {FEATURE, NAME, TITLE},
    {FEATURE, STARS, ID, ITEM},
    {FEATURE, STARS, NAME, ITEM},
]
"""What P5's explanations for Yelp are made from, 3-1 to 3-10."""
USERS_ALONE = "openp5/straightforward"


def place(prompt: Prompt) -> int:
    """Its number in the original set."""
    told = re.match(r"As (?:OpenP5's \w+ |P5's \d-)(\d+)(?: for Yelp)?: ", prompt.head.description)
    assert told, prompt.head.description
    return int(told[1])


def shown(prompt: Prompt) -> set[str]:
    """Fields in its input."""
    return {f"{use.variable}.{use.field}" for use in prompt.anatomy.uses if use.section == "input"}


def said(prompt: Prompt) -> tuple[str, ...]:
    """The words of its input that do not come from the data."""
    given = prompt.body.partition("{%- endblock")[0].partition("-%}")[2]
    return tuple(re.sub(r"\{\{.*?\}\}|\W", " ", given).casefold().split())


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_is_as_large_as_the_original_and_holds_out_its_last(family):
    prompts = ALL[family]
    assert sorted(map(place, prompts)) == list(range(1, FAMILIES[family] + 1))
    assert all(prompt.head.description.startswith(f"As {NUMBERED[family]}") for prompt in prompts)
    held_out = [prompt for prompt in prompts if prompt.head.unseen]
    assert [place(prompt) for prompt in held_out] == [FAMILIES[family]]
    seen = {prompt.name for prompt in seen_prompts(family, ())}
    assert seen == {prompt.name for prompt in prompts} - {held_out[0].name}


def test_sets_are_families_in_a_folder_that_is_none_itself():
    assert {prompt.name for prompt in PROMPTS} == {name for name in found() if re.match("p5/(yelp|openp5)/", name)}
    assert not {prompt.name for prompt in prompts_of("rating")} & {prompt.name for prompt in ALL["yelp/rating"]}
    for wrong in ("yelp", "openp5", "yelp/rating/by_ids", ""):
        with pytest.raises(ConfigError, match=rf"p5\.examples: no family '{wrong}'"):
            prompts_of(wrong)
    with pytest.raises(ConfigError, match="did you mean 'yelp/rating'"):
        prompts_of("yelp/ratings")


def test_openp5_shows_a_user_and_his_history_or_the_user_alone():
    for family, fields in (("openp5/sequential", {ID, PAST}), (USERS_ALONE, {ID})):
        for prompt in ALL[family]:
            assert shown(prompt) == fields, prompt.name
            assert prompt.head.task == "item"


@pytest.mark.slow
def test_yelps_prompts_ask_as_p5s_do_and_know_neither_headline_nor_brand_nor_price():
    fields = set().union(*map(shown, (prompt for prompt in PROMPTS if prompt.name.startswith("p5/yelp/"))))
    assert fields == {ID, NAME, ITEM, TITLE, PAST, POOL, "candidates.title", STARS, FEATURE, REVIEW}
    for family in ("rating", "sequential", "direct"):
        ours = {place(prompt): prompt for prompt in ALL[f"yelp/{family}"]}
        for other in prompts_of(family):
            same = ours[place(other)]
            assert (shown(same), same.head.model_dump(exclude={"description"})) == (
                shown(other),
                other.head.model_dump(exclude={"description"}),
            )
    for prompt in ALL["yelp/explanation"]:
        assert (shown(prompt), prompt.head.task) == (EXPLANATIONS[place(prompt) - 1], "text")
    for prompt in ALL["yelp/review"]:
        assert (shown(prompt), prompt.head.task) == ({NAME if place(prompt) == 3 else ID, REVIEW}, "rating")


@pytest.mark.slow
def test_no_two_prompts_say_the_same_words():
    every = [*PROMPTS, *(Prompt.load(name) for name in found() if re.fullmatch("p5/[^/]+/[^/]+", name))]
    words = Counter(frozenset(said(prompt)) for prompt in every if len(said(prompt)) > 3)
    assert [each for each, number in words.items() if number > 1] == []
    assert all(len(said(prompt)) > 3 for prompt in PROMPTS)


@pytest.mark.slow
def test_all_of_them_can_be_asked_of_data_with_every_field_and_nothing_leaks():
    data = full_shop()
    findings = check([prompt.name for prompt in PROMPTS], data, "leave_one_out", cases=12)
    assert (len(findings.tried), findings.faults, findings.switched_off) == (sum(FAMILIES.values()), [], 0)


@pytest.mark.slow
def test_what_the_data_never_fill_switches_off_just_the_prompts_that_need_it():
    data = full_shop()
    bare = replace(data, users=data.users.drop("name"), interactions=data.interactions.drop("feature", "review"))
    made = Examples(split_of(bare), PromptRows(bare), dict.fromkeys(FAMILIES, 1), 0)
    lacking = {prompt.name for prompt in PROMPTS if {NAME, FEATURE, REVIEW} & shown(prompt) and not prompt.head.unseen}
    assert set(made.switched_off) == lacking
    assert not any(name.startswith("p5/openp5/") for name in lacking)


@pytest.mark.slow
def test_a_user_alone_is_asked_about_any_item_of_training_the_first_one_too():
    data = full_shop()
    made = Examples(split_of(data), PromptRows(data), {USERS_ALONE: 40, "openp5/sequential": 40}, 0)
    drawn = made.epoch(0)
    alone = np.array([not prompt.anatomy.shows("history") for prompt in made.prompts])[drawn[:, 1]]
    assert Counter(drawn[alone][:, 0].tolist()) == dict.fromkeys(range(12), 40)
    assert set(drawn[alone][:, 2].tolist()) == {0, 1, 2, 3}
    assert set(drawn[~alone][:, 2].tolist()) == {1, 2, 3}
    for row, text, target in made.written(drawn, (0, 0)):
        user, _, item = drawn[row].tolist()
        assert target == made.rows.items[made.split.train[user][item]]["id"]
        assert made.rows.users[made.users[user]]["id"] in text
        assert ("item_" in text) != bool(alone[row])


# A run

OPTIONS = [
    "training.epochs=10",
    "training.batch_size=8",
    "p5.vocabulary=400",
    "p5.examples={openp5/straightforward: 24, openp5/sequential: 2, yelp/rating: 1, yelp/direct: {choice: 1, pick: 0}}",
    "p5.prompt=p5/openp5/straightforward/looking",
    "p5.anonymous=p5/anonymous/next_item",
    "p5.hold_out=[p5/openp5/straightforward/which]",
]
ASKED = "openp5/straightforward/looking"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Each of eight users met eight of ten items, in no order: one half of them the first ten, the other the rest."""
    generator = np.random.default_rng(0)
    rows = [
        (f"u{user}", f"i{10 * (user % 2) + item}", 100 * user + step, float(generator.integers(1, 6)))
        for user in range(8)
        for step, item in enumerate(generator.permutation(10)[:8])
    ]
    log = pl.DataFrame(rows, ["user_id", "item_id", "timestamp", "rating"], orient="row")
    titles = {"item_id": [f"i{item}" for item in range(20)], "title": [f"Place {item}" for item in range(20)]}
    items = pl.DataFrame(titles).with_columns(genres=pl.lit(["none"]))
    return write_recbole(tmp_path_factory.mktemp("data") / "towns", "towns", log, items)


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sets") / "writer-s0"
    where = ["--data", "towns", "--data-dir", str(data), "--output", str(folder)]
    assert train.main([*where, "--config", str(ROOT / "configs" / "p5.yaml"), *OPTIONS]) == 0
    return folder


@pytest.fixture(scope="module")
def told(run: Path, data: Path) -> dict[str, Any]:
    """What eval.p5 says of it."""
    with redirect_stdout(io.StringIO()) as out:
        assert p5.main([str(run), "--data-dir", str(data), "--candidates", "5", "--asked", "10", "--json"]) == 0
    return json.loads(out.getvalue())


@pytest.mark.slow
def test_a_model_of_users_alone_learns_what_each_is_about_and_looks_at_no_history(run):
    model = building.load(run)
    scores, again = (
        model.score(replace(Sequences.from_lists([history] * 8), users=np.arange(1, 9, dtype=np.int32)))
        for history in ([1], [20, 3])
    )
    assert again.equal(scores), "the history is no part of the question"
    items = np.array([int(item[1:]) // 10 for item in model.item_ids[1:]])
    groups = np.array([int(row["user_id"][1:]) % 2 for row in model.asking.rows.users[1:]])
    own = items == groups[:, None]
    assert own.mean() == 0.5
    assert (scores[:, 1:].exp().numpy() * own).sum(1).mean() > 0.8


@pytest.mark.slow
def test_users_whom_training_does_not_show_are_asked_by_the_other_prompt(run):
    model = building.load(run)
    text = "user_u0 is browsing without a plan. Is there something to propose?"
    assert model.asking.text(np.array([1, 2]), 1) == text
    assert "user" not in model.asking.text(np.array([1, 2]), 0)
    few = model.recommend([["i1", "i2"], ["i1", "i2"]], users=["u0", "nobody"], k=3)
    assert few["user_id"].to_list() == ["u0"] * 3 + ["nobody"] * 3


@pytest.mark.slow
def test_every_prompt_of_a_set_that_the_data_can_fill_has_a_row(told):
    rows = {
        group: {row["name"].removeprefix("writer ") for row in each["rows"] if row["name"].startswith("writer ")}
        for group, each in told["groups"].items()
    }
    unseen = {"which", "top_unseen"}
    openp5 = [*ALL["openp5/sequential"], *ALL[USERS_ALONE]]
    names = {prompt.name.removeprefix("p5/") for prompt in openp5}
    held_out = {f"openp5/sequential/{name}" for name in unseen} | {f"{USERS_ALONE}/{name}" for name in unseen}
    expected = {f"{name} (unseen)" if name in held_out else name for name in names}
    assert {name for name in rows[p5_study.MASKED] if name.startswith("openp5/")} == expected
    assert rows[p5_study.MASKED] - expected == {"anonymous/next_item (unseen)"}
    assert rows[p5_study.AMONG] == {
        f"yelp/direct/{name}" for name in ("by_ids", "by_title", "pick (unseen)", "best_unseen (unseen)")
    }
    predicted = {each["prompt"] for each in told["predictions"] if each["run"]}
    assert predicted == {
        f"yelp/rating/{name}" for name in ("by_ids", "by_title", "claimed_by_ids", "liked_by_ids", "menu")
    }


@pytest.mark.slow
def test_the_ranking_by_its_own_prompt_is_what_the_run_measured(run, told):
    own = {row["name"]: row for row in told["groups"][p5_study.MASKED]["rows"]}[f"writer {ASKED}"]
    measured = json.loads((run / "metrics.json").read_text(encoding="utf-8"))["test"]
    assert own["n"] == 8
    assert own["metrics"]["nDCG@10"]["value"] == pytest.approx(measured["nDCG@10"]["value"], abs=1e-6)
