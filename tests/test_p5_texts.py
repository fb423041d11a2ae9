"""Explanations and headlines in ``python -m eval.p5``: derived, written, measured, beside what needs no training."""

import io
import json
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from small_shop import full_shop
from small_writers import build, options, split_of

from eval import p5, p5_report, p5_rows, p5_study, p5_texts
from eval.p5_answers import Answers, predicted
from eval.p5_study import Result, Said
from llmrec import cli, predictions, train
from llmrec.candidates import drawn
from llmrec.console import Console
from llmrec.evaluation import Interval
from llmrec.explanations import WORDS
from llmrec.interactions import Dataset
from llmrec.prompt_rows import PromptRows
from llmrec.prompting import Prompt
from llmrec.runs import read_json

pytestmark = pytest.mark.slow
FEW = "p5.examples={explanation: 2, review: 2, sequential: 1}"
USUAL, LATEST = "most frequent text of the training part", "latest of the item in the training part"
NOUNS = ("tin", "box", "mug", "bag", "pen")


def shop(**columns: pl.Expr) -> Dataset:
    """A shop with every field, in which some are otherwise."""
    data = full_shop()
    log = data.interactions.with_columns(**columns)
    return Dataset(data.name, log, data.items, data.users)


def study_of(data: Dataset) -> p5_study.Study:
    split = split_of(data)
    candidates = drawn(split.test.take(np.arange(2)), data, 2, 0)
    return p5_study.Study(options(FEW), split, split.test, candidates, 0, Console(quiet=True))


def prompts(*names: str) -> list[Prompt]:
    return [Prompt.load(f"p5/{name}") for name in names]


# What needs no training


def log_of(*texts: tuple[str, str, str | None], last: str = "what is asked for") -> Dataset:
    """Each text is said by a user about an item at its place in time; everybody then meets ``a`` and ``b``."""
    rows = [(user, item, 10 * place, text) for place, (user, item, text) in enumerate(texts)]
    for number, user in enumerate(dict.fromkeys(user for user, *_ in texts)):
        rows += [(user, "b", 1000 + number, "validates"), (user, "a", 2000 + number, last)]
    log = pl.DataFrame(rows, ["user_id", "item_id", "timestamp", "explanation"], orient="row")
    titles = pl.DataFrame({"item_id": [*"abcdef"], "title": [*"ABCDEF"]})
    return Dataset.from_tables("said", log.with_columns(rating=pl.lit(4.0), summary=pl.lit("Fine")), titles)


def test_the_most_frequent_text_and_the_latest_of_the_item_are_those_of_the_training_part():
    data = log_of(
        ("u", "c", "so so"), ("u", "a", "early"), ("v", "c", "so so"), ("v", "a", "later"), ("w", "d", "so so")
    )
    study = study_of(data)
    table = p5_texts._simple_texts(Prompt.load("p5/explanation/by_title"), study, PromptRows(data))
    assert table[USUAL].to_list() == ["so so"] * 3
    assert table[LATEST].to_list() == ["later"] * 3, "not what validation and test say of the item"
    assert table["target"].to_list() == ["what is asked for"] * 3
    usual, latest = p5_texts.without_training(study, prompts("explanation/by_title", "explanation/stars_by_title"))
    assert (usual.way, latest.way, usual.about, usual.n) == (USUAL, LATEST, "explanation", 3)
    assert usual.counts == {"empty": 0, "unique": 1}
    assert usual.metrics["ROUGE-1"].value == 0


def test_about_an_item_of_which_nothing_is_said_the_latest_is_the_most_frequent():
    data = log_of(("u", "c", "so so"), ("v", "d", "so so"), ("w", "d", "once"))
    table = p5_texts._simple_texts(Prompt.load("p5/explanation/by_title"), study_of(data), PromptRows(data))
    assert table[LATEST].to_list() == ["so so"] * 3


def test_where_training_says_nothing_there_is_no_such_row():
    data = log_of(("u", "c", None), ("v", "d", None))
    data = Dataset(
        data.name,
        data.interactions.with_columns(explanation=pl.when(pl.col("timestamp") >= 2000).then("explanation")),
        data.items,
        data.users,
    )
    assert p5_texts.without_training(study_of(data), prompts("explanation/by_title")) == []


def test_prompts_that_ask_for_the_same_share_a_kind():
    study = study_of(full_shop())
    kinds = {
        name: p5_texts.kind(Prompt.load(f"p5/{name}"), study)
        for name in (
            "explanation/by_title",
            "explanation/feature_stars_by_ids",
            "explanation/stars_and_text",
            "other_domain/explanation_if_liked",
            "review/headline",
        )
    }
    assert list(kinds.values()) == ["explanation", "explanation", "5.0: explanation", "explanation", "summary"]
    body = "{% block input %}{{ user.id }}{% endblock %}{% block target %}{{ item.title }}{% endblock %}"
    assert p5_texts.kind(Prompt.parse("p5/own/mine", f"---\ntask: text\n---\n{body}"), study) is None


# What a model writes


def test_a_text_prompt_is_asked_about_cases_that_have_what_it_asks_for_and_shows():
    known = (pl.int_range(pl.len()) % 6 != 5) | (pl.col("user") > 3)
    data = shop(explanation=pl.when(known).then("explanation"), feature=pl.when(pl.col("user") > 5).then("feature"))
    model, _, split = build(data, FEW)
    asked = Answers(model, PromptRows(data, ids=model.ids.names), split.test, longest=6)
    prompt, with_feature = prompts("explanation/by_title", "explanation/feature_by_title")
    said = asked.texts(prompt)
    assert said["case_id"].to_list() == asked.ids[3:]
    assert asked.texts(with_feature)["case_id"].to_list() == asked.ids[5:]
    assert said["target"].to_list() == [f"it is reason {6 * user + 5}" for user in range(3, 12)]
    assert said["score"].null_count() == 9
    texts = [prompt.render("input", **asked.rows.variables(split.test, row)) for row in range(3, 12)]
    assert [found[0] for found in model.write(texts, 6, 4)] == said["prediction"].to_list()


def test_stars_are_asked_for_by_the_reviews_that_there_are():
    """Training leaves them out where there is no review, and a prompt without one asks for nothing."""
    data = shop(review=pl.when(pl.col("user") > 3).then("review"))
    model, _, split = build(data, FEW)
    asked = Answers(model, PromptRows(data, ids=model.ids.names), split.test)
    by_review, by_ids = (asked.ratings(each)["expected"] for each in prompts("review/stars", "rating/by_ids"))
    assert by_review["case_id"].to_list() == asked.ids[3:]
    assert by_ids["case_id"].to_list() == asked.ids


def test_a_table_of_texts_becomes_a_row_and_an_empty_one_a_note():
    study, prompt = study_of(full_shop()), Prompt.load("p5/explanation/by_title")
    ids = study.cases.case_ids(study.split.dataset.user_ids)
    table = predicted(ids, ["it is a reason"] * 12, ["it is"] * 8 + [""] * 4)
    (said,) = p5_rows._text("run", "by_title", prompt, table, study).predictions
    assert (said.n, said.about, said.counts) == (12, "explanation", {"empty": 4, "unique": 2})
    assert said.told == "4 empty"
    assert said.metrics == predictions.texts(table, pl.Series(study.cases.user))
    nothing = p5_rows._text("run", "by_title", prompt, table.head(0), study)
    assert (nothing.predictions, nothing.notes) == (
        [],
        ["run by_title: left out, for no case has what it asks for and shows"],
    )


def test_what_is_written_most_often_is_told_and_cut():
    table = pl.DataFrame({"prediction": ["a gift", "x" * 70, "a gift"]})
    assert p5_texts.most_often(table) == "'a gift' (2 of 3)"
    assert p5_texts.most_often(table[1:2]) == f"'{'x' * 60} ...' (1 of 1)"


# The commands


@pytest.fixture(scope="module")
def gifts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Reviews of Amazon as they are published: no explanation and no feature in them."""
    folder, random = tmp_path_factory.mktemp("gifts"), np.random.default_rng(0)
    reviews = []
    for user in range(20):
        for place, item in enumerate(random.choice(10, 5, replace=False).tolist()):
            noun = NOUNS[item % 5]
            review = f"Nice {noun} for us. It is number {item}." if place % 3 else f"I use the {noun} a lot!!! Buy"
            about = {
                "reviewerID": f"u{user}",
                "asin": f"i{item}",
                "unixReviewTime": 1_400_000_000 + 86_400 * (20 * place + user),
            }
            reviews.append(
                about | {"overall": float(4 + place % 2), "reviewText": review, "summary": f"Good {noun} {place}"}
            )
    items = [{"asin": f"i{item}", "title": f"Gift {NOUNS[item % 5]} no. {item}"} for item in range(10)]
    for name, rows in (("reviews", reviews), ("meta", items)):
        (folder / f"{name}.json").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def told(gifts: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A run of one epoch with derived explanations, and what the command says of it as JSON."""
    place = tmp_path_factory.mktemp("runs") / "writer-s0"
    overrides = ["p5.explanations=derived", "p5.max_target=16", "p5.vocabulary=400", FEW, "training.epochs=1"]
    flags = ["--model", "t5-tiny", "--data", "gifts", "--data-dir", str(gifts), "--output", str(place)]
    assert train.main([*flags, *overrides]) == 0
    with redirect_stdout(io.StringIO()) as out:
        assert p5.main([str(place), "--candidates", "3", "--asked", "4", "--json"]) == 0
    return place, json.loads(out.getvalue())


def test_texts_of_a_run_are_measured_beside_simple_ones(told):
    place, said = told
    texts = [each for each in said["predictions"] if each["about"]]
    assert {each["about"] for each in texts} == {"explanation", "5.0: explanation", "summary"}
    asked = {each["prompt"]: each for each in texts if each["run"]}
    assert set(asked) == {
        *(f"explanation/{name}" for name in ("by_title", "feature_by_title", "feature_stars_by_ids")),
        *(f"explanation/{name}" for name in ("headline_by_ids", "stars_and_text", "stars_by_title")),
        "review/headline",
    }
    for each in texts:
        assert each["n"] == 20 and list(each["metrics"]) == ["BLEU-2", "BLEU-4", "ROUGE-1", "ROUGE-2", "ROUGE-L"]
        assert 0 <= each["metrics"]["ROUGE-L"]["low"] <= each["metrics"]["ROUGE-L"]["value"] <= 100
        assert each["counts"]["empty"] <= 20 and 1 <= each["counts"]["unique"] <= 20
    simple = {(each["about"], each["way"]): each["metrics"]["ROUGE-1"]["value"] for each in texts if not each["run"]}
    assert set(simple) == {
        (about, way) for about in ("explanation", "5.0: explanation", "summary") for way in (USUAL, LATEST)
    }
    assert simple["summary", LATEST] > simple["summary", USUAL] + 10, "headlines name the item"
    assert any(note.startswith("writer explanation/by_title writes most often '") for note in said["notes"])
    for group in said["groups"].values():
        assert group["protocol"]["explanations"] == WORDS
    assert read_json(place / "metrics.json")["protocol"]["explanations"] == WORDS


def test_the_tables_say_by_what_texts_are_measured(told, capsys):
    capsys.readouterr()
    assert p5.main([str(told[0]), "--candidates", "3", "--asked", "4", "--users", "6"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "texts: 5.0: explanation unique BLEU-2 BLEU-4" in said
    assert " of 6 " in said
    assert "Texts: the likeliest of 4 beams" in said and "tok:13a" in said


def test_no_interval_of_a_text_is_cut_off_in_a_terminal():
    metrics = dict.fromkeys(("BLEU-2", "BLEU-4", "ROUGE-1", "ROUGE-2", "ROUGE-L"), Interval(88.84, 77.66, 100.0))
    told = Said("gift", "explanation/by_title", "", 9_318, metrics, "", "explanation", {"empty": 0, "unique": 1_202})
    lines = [line.rstrip() for line in p5_report.show(Result(predictions=[told]), 80).splitlines()]
    assert sum(line.count("88.8 [77.7, 100.0]") for line in lines) == 5
    assert any("1,202 of 9,318" in line for line in lines)
    assert max(map(len, lines)) <= 80


def test_runs_with_other_explanations_are_not_asked_together(told, gifts, tmp_path, capsys):
    flags = ["--model", "t5-tiny", "--data", "gifts", "--data-dir", str(gifts), "--output", str(tmp_path / "given-s0")]
    assert train.main([*flags, "p5.vocabulary=400", "p5.examples={review: 1, sequential: 1}", "training.epochs=1"]) == 0
    assert p5.main([str(told[0]), str(tmp_path / "given-s0")]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "given-s0 was trained with p5.explanations=given" in said
    assert p5.main([str(tmp_path / "given-s0"), "--candidates", "3", "--asked", "4", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {each["about"] for each in found["predictions"]} == {None, "summary"}
    assert all("explanations" not in group["protocol"] for group in found["groups"].values())


def test_exported_examples_have_derived_explanations(gifts, tmp_path, capsys):
    from datasets import load_from_disk

    config, folder = tmp_path / "p5.yaml", tmp_path / "examples"
    config.write_text("model: t5-tiny\np5: {explanations: derived, examples: {explanation: 3}}\n", encoding="utf-8")
    flags = ["--config", str(config), "--data", "gifts", "--data-dir", str(gifts), "--output", str(folder)]
    assert cli.main(["prompts", "export", *flags]) == 0
    rows = load_from_disk(str(folder))
    targets = {text.removeprefix("4.0: ").removeprefix("5.0: ") for text in rows["target"]}
    assert targets <= {f"Nice {noun} for us." for noun in NOUNS} | {f"I use the {noun} a lot!!!" for noun in NOUNS}
    assert len(targets) > 5
    assert not any("for us" in text or "a lot" in text for text in rows["input"]), "no input shows the review"
