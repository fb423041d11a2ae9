"""``eval.tallrec``: halves by people, cells that are kept and found again, and a table that says what is missing."""

import json
from pathlib import Path

import numpy as np
import pytest
import tiny_models
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from eval import tallrec, tallrec_cells, tallrec_report
from llmrec.console import Console
from llmrec.protocol import digest

FILMS = [str(number) for number in range(200)]


def entries(seed: int, people: int, rows: int) -> list[dict[str, str]]:
    """People whose rows slide over their list; they like even films, mostly."""
    random, result = np.random.default_rng(seed), []
    for _ in range(people):
        films = random.permutation(FILMS)[: rows + 4].tolist()
        likes = {film: (int(film) % 2 == 0) != (random.random() < 0.2) for film in films}
        for start in range(rows):
            shown, target = films[start : start + 4], films[start + 4]
            lists = [", ".join(f'"{film}"' for film in shown if likes[film] == kind) for kind in (True, False)]
            text = f"User Preference: {lists[0]}\nUser Unpreference: {lists[1]}\n"
            asked = f'Whether the user will like the target movie "{target}"?'
            result.append({"instruction": "", "input": text + asked, "output": "Yes." if likes[target] else "No."})
    return result


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLMREC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tallrec_cells, "STUDY", tmp_path / "study")
    monkeypatch.setattr(tallrec, "RESULTS", tmp_path / "results")
    place = tmp_path / "tallrec" / "movie"
    place.mkdir(parents=True)
    for seed, name in enumerate(("valid", "test")):
        (place / f"{name}.json").write_text(json.dumps(entries(seed, 10, 5)), encoding="utf-8")
    return place.parent


@pytest.fixture
def model(tmp_path: Path) -> str:
    """One that has a token for each of the two words."""
    place = tmp_path / "tiny"
    model = AutoModelForCausalLM.from_pretrained(tiny_models.writer("llama"))
    tokenizer = AutoTokenizer.from_pretrained(tiny_models.writer("llama"))
    tokenizer.add_tokens(["Yes", "No"])
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    with torch.no_grad():  # far enough from zero for what it says to differ
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.mul_(4)
    for each in (model, tokenizer):
        each.save_pretrained(place)
    return str(place)


def words(folder: Path, model: str, *more: object) -> list[str]:
    quick = ("--blocks", 1, "--epochs", 4, "--learned", 40, "--selection", 15, "--learning-rate", 0.02)
    return [*map(str, ("--data-dir", folder, "--model", model, "--rows", 0, 8, 16, "--draws", 2, *quick, *more))]


def test_nobody_is_in_both_halves():
    people = np.repeat(np.arange(7), [5, 1, 9, 3, 3, 2, 2])
    for seed in range(10):
        first, second = tallrec_cells.halves(people, seed)
        assert sorted([*first, *second]) == list(range(25))
        assert not set(people[first]) & set(people[second])
        assert 12 < len(first) <= 12 + 9


def test_the_best_number_of_epochs_is_the_smallest_of_several():
    assert tallrec_report.best({"2": 0.5, "4": 0.7, "12": 0.7}) == 4


@pytest.mark.slow
def test_the_study_trains_keeps_and_reports(folder, model, tmp_path, capsys, monkeypatch):
    """Cut off after the first cell it goes on with the others, and nothing is made twice."""
    assert tallrec.main(words(folder, model, "--minutes", 0, "--save", "toy")) == 0
    said = capsys.readouterr().out
    assert (
        "Missing: zero-shot, draw 0; probe on 8 rows, draw 0, 1; probe on 16 rows, draw 0, 1; "
        "LoRA on 8 rows, draw 0, 1; LoRA on 16 rows, draw 0, 1."
    ) in said
    assert "like share in the prompt | 1 |" in said and "tiny, zero-shot" not in said

    assert tallrec.main(words(folder, model, "--save", "toy", "--json")) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads((tmp_path / "results" / "tallrec-toy.json").read_text(encoding="utf-8"))
    rows = {row["name"]: row for row in found["rows"]}
    assert list(rows) == [
        "like share in the prompt",
        "title like rate, 8 rows",
        "title like rate, 16 rows",
        "tiny, zero-shot",
        "tiny, probe on 8 rows",
        "tiny, probe on 16 rows",
        "tiny, LoRA on 8 rows",
        "tiny, LoRA on 16 rows",
    ]
    assert {row["n"] for row in found["rows"]} == {50} and found["missing"] == []
    assert [row["draws"] for row in found["rows"]] == [1, 2, 2, 1, 2, 2, 2, 2]
    lora = rows["tiny, LoRA on 16 rows"]
    share = rows["like share in the prompt"]["metrics"]["AUC"]["value"]
    assert lora["against_like_share"]["value"] == pytest.approx(lora["metrics"]["AUC"]["value"] - share)
    assert "10 people of 50 rows" in (tmp_path / "results" / "tallrec-toy.md").read_text(encoding="utf-8")
    assert digest(found["protocol"]) in (tmp_path / "results" / "tallrec-toy.md").read_text(encoding="utf-8")
    assert (tmp_path / "results" / "tallrec-toy.png").stat().st_size > 10_000

    kept = json.loads((tmp_path / "study" / "movie-tiny" / "n16-d1.json").read_text(encoding="utf-8"))
    assert len(kept["scores"]) == 50 and list(kept["selection"]) == ["1", "2", "3"]
    untrained = json.loads((tmp_path / "study" / "movie-tiny" / "n0-d0.json").read_text(encoding="utf-8"))
    assert not np.allclose(kept["scores"], untrained["scores"], atol=1e-3), "the additions were there when it was asked"

    monkeypatch.setattr(tallrec_cells, "LabelModel", None)
    assert tallrec.main(words(folder, model)) == 0, "all cells are found again"
    assert "0.7198" in capsys.readouterr().out
    assert tallrec.main(words(folder, model, "--learning-rate", 0.5)) == 2
    assert "was made with other options (learning_rate: 0.02 kept, 0.5 asked for)" in capsys.readouterr().err


def test_larger_sets_of_a_draw_hold_its_smaller_ones(folder, model):
    options = tallrec_cells.Options(
        model, "instructions/alpaca", 1, 1e-3, 16, epochs=12, learned=100, selection=15, test=20, seed=0
    )
    study = tallrec_cells.Study(folder / "movie", options, Console(quiet=True))
    assert len(study.train) == 25 and len(study.selection) == 15 and len(study.test) == 20
    assert study.drawn(16, 3)[:8].tolist() == study.drawn(8, 3).tolist() != study.drawn(8, 4).tolist()
    assert [options.recipe(rows).epochs for rows in (4, 16, 60)] == [12, 6, 3]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--rows", 31), "the training half has 25 rows; --rows cannot be 31"),
        (("--prompt", "zeroshot/pointwise", "--rows", 0), "take one of prompts/instructions/"),
        (("--data", "book"), "cannot be read as JSON"),
        (("--selection", 1), "--selection: AUC needs rows of both answers, and these 1 have not"),
    ],
)
def test_what_cannot_be_asked_is_refused(folder, model, capsys, more, message):
    assert tallrec.main(words(folder, model, *more)) == 2
    assert message in capsys.readouterr().err
