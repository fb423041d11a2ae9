"""``llmrec prompts stats``: by family, what training can do with P5's prompts, and how long they are."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import tiny_models
from conftest import ROOT
from small_shop import full_shop

from llmrec import cli, loading
from llmrec.errors import ConfigError, DataError
from llmrec.interactions import Dataset
from llmrec.prompt_families import facts, show

ML_100K = ROOT.parent / "shared" / "data" / "ml-100k"


@pytest.fixture(autouse=True)
def _own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)


def families(data: Dataset, split: str = "leave_one_out", model: str | None = None) -> dict[str, dict]:
    return {row["family"]: row for row in facts(data, split, model)["families"]}


def counts(data: Dataset, split: str = "leave_one_out") -> dict[str, list[int]]:
    rows = families(data, split).values()
    return {row["family"][3:]: [row[key] for key in ("prompts", "unseen", "switched_off", "examples")] for row in rows}


def test_every_training_interaction_is_an_example_and_a_history_needs_one_before():
    """12 users with six interactions, of which four train."""
    assert counts(full_shop()) == {
        "anonymous": [1, 0, 0, 36],
        "continuation": [2, 0, 0, 36],
        "direct": [8, 1, 0, 48],
        "explanation": [12, 1, 0, 48],
        "openp5/sequential": [11, 1, 0, 36],
        "openp5/straightforward": [11, 1, 0, 48],
        "other_domain": [7, 7, 0, 0],
        "rating": [10, 1, 0, 48],
        "review": [4, 1, 0, 48],
        "sequential": [13, 1, 0, 36],
        "yelp/direct": [8, 1, 0, 48],
        "yelp/explanation": [10, 1, 0, 48],
        "yelp/rating": [10, 1, 0, 48],
        "yelp/review": [3, 1, 0, 48],
        "yelp/sequential": [13, 1, 0, 36],
    }


def test_interactions_that_lack_what_is_asked_for_are_none():
    data = full_shop()
    blank = data.interactions.with_columns(
        rating=pl.when(pl.col("user") != 1).then("rating"),
        explanation=pl.when(pl.col("user") > 3).then("explanation").otherwise(pl.lit(" ")),
        summary=pl.lit(None, pl.String),
    )
    found = counts(replace(data, interactions=blank, users=data.users.drop("name")))
    assert found["rating"] == [10, 1, 5, 44]
    assert found["explanation"] == [12, 1, 7, 36]
    assert found["review"] == [4, 1, 3, 44], "headlines are never filled"
    assert found["sequential"] == [13, 1, 7, 36]


def test_other_splits_have_examples_too():
    assert counts(full_shop(), "user_ratio")["direct"][3] > 48


@pytest.mark.slow
def test_lengths_are_those_of_the_texts_in_words_or_in_tokens(monkeypatch: pytest.MonkeyPatch):
    texts = {"input": "{{ user.id }} says {{ item.title }}", "target": "{{ interaction.summary }}"}
    body = "".join(f"{{% block {name} %}}{text}{{% endblock %}}" for name, text in texts.items())
    place = Path("prompts/p5/own/mine.jinja")
    place.parent.mkdir(parents=True)
    place.write_text(f"---\ndescription: mine\ntask: text\n---\n{body}\n", encoding="utf-8")
    words = families(full_shop())["p5/own"]
    assert (words["input"], words["target"]) == ({"mean": 4, "longest": 4}, {"mean": 2, "longest": 2})
    folder = str(tiny_models.folder("bert"))
    tokens = families(full_shop(), model=folder)["p5/own"]
    tokenizer = loading.load_tokenizer(loading.at_hand(folder))
    target = [len(ids) for ids in tokenizer([f"Headline {number}" for number in range(72)])["input_ids"]]
    assert min(target) <= tokens["target"]["mean"] <= tokens["target"]["longest"] <= max(target)
    assert tokens["target"]["longest"] > 2, "a start and an end are tokens too"


@pytest.mark.slow
def test_the_lengths_are_the_same_every_time_and_none_where_nothing_is_asked(toy):
    assert facts(toy, "leave_one_out") == facts(toy, "leave_one_out")
    found = families(toy)
    assert found["p5/explanation"]["input"] is found["p5/explanation"]["target"] is None
    assert found["p5/sequential"]["target"] == {"mean": 1.0, "longest": 1}


@pytest.mark.slow
def test_the_command_prints_a_table_that_fits_or_json(
    toy_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    words = ["prompts", "stats", "--data", "toy", "--data-dir", str(toy_folder)]
    monkeypatch.setenv("COLUMNS", "80")
    assert cli.main(words) == 0
    table = capsys.readouterr().out.splitlines()
    assert max(map(len, table)) <= 80
    assert [line.split()[0] for line in table if line.strip().startswith("p5/")] == [
        f"p5/{family}"
        for family in [
            "anonymous",
            "continuation",
            "direct",
            "explanation",
            "openp5/sequential",
            "openp5/straightforward",
            "other_domain",
            "rating",
            "review",
            "sequential",
            "yelp/direct",
            "yelp/explanation",
            "yelp/rating",
            "yelp/review",
            "yelp/sequential",
        ]
    ]
    assert [line.split() for line in table if line.split()[:1] == ["p5/review"]] == [["p5/review", *"4140----"]]
    assert cli.main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["data"], found["unit"], found["model"]) == ("toy", "words", None)
    assert show(found) == "\n".join(table).strip("\n")
    monkeypatch.setenv("COLUMNS", "64")
    assert max(map(len, show(found).splitlines())) <= 64


def test_a_model_without_a_tokenizer_is_refused(toy, tmp_path: Path):
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(DataError, match="bare has no tokenizer that can be read"):
        facts(toy, "leave_one_out", str(tmp_path / "bare"))
    with pytest.raises(ConfigError):
        facts(toy, "leave_one_out", "no-such-model")


@pytest.mark.slow
@pytest.mark.skipif(not ML_100K.is_dir(), reason="needs shared/data/ml-100k beside the project")
def test_ml_100k_offers_every_position_of_its_histories(capsys: pytest.CaptureFixture[str]):
    assert cli.main(["prompts", "stats", "--data", "ml-100k", "--data-dir", str(ML_100K), "--json"]) == 0
    rows = {row["family"]: row for row in json.loads(capsys.readouterr().out)["families"]}
    assert {name[3:]: (row["switched_off"], row["examples"]) for name, row in rows.items()} == {
        "anonymous": (0, 97_171),
        "continuation": (0, 97_171),
        "direct": (4, 98_114),
        "explanation": (12, 0),
        "openp5/sequential": (0, 97_171),
        "openp5/straightforward": (0, 98_114),
        "other_domain": (7, 0),
        "rating": (5, 98_114),
        "review": (4, 0),
        "sequential": (7, 97_171),
        "yelp/direct": (4, 98_114),
        "yelp/explanation": (10, 0),
        "yelp/rating": (5, 98_114),
        "yelp/review": (3, 0),
        "yelp/sequential": (7, 97_171),
    }
    assert np.isclose(rows["p5/rating"]["target"]["mean"], 1)
