"""Instruction files and which of two words a model answers: nothing but the place behind the prompt, and each alone."""

import json
import shutil
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import tiny_models
import torch
from conftest import ROOT
from transformers import AutoModelForCausalLM

from llmrec import instructions, loading, prompt_check, prompt_report
from llmrec.errors import ConfigError, DataError, PromptError
from llmrec.instructions import WORDS, Instruction
from llmrec.labels import LabelModel, Recipe
from llmrec.prompting import Prompt

REAL = ROOT.parent / "shared" / "data" / "tallrec"
PROMPT = "instructions/alpaca"
SAYS = ("War", "Drama")
"""Words of the tiny models' vocabulary."""
FOLDER = tempfile.TemporaryDirectory(prefix="label-models-")


def row(liked: list[str], disliked: list[str], target: str, output: str = "Yes.", number: int = 0) -> Instruction:
    likes, dislikes = (", ".join(f'"{title}"' for title in titles) for titles in (liked, disliked))
    asked = f'Whether the user will like the target movie "{target}"?'
    told = f"User Preference: {likes}\nUser Unpreference: {dislikes}\n{asked}"
    return Instruction("Answer.", told, output, f"test.json, row {number}")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMREC_CACHE", str(tmp_path / "cache"))


# Files


def write(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_rows_come_as_they_stand(tmp_path):
    entry = {"instruction": "Say Yes. or No.", "input": "No. 1 Shampoo", "output": "No."}
    (read,) = instructions.read(write(tmp_path / "some.json", [entry]))
    assert (read.instruction, read.input, read.output) == tuple(entry.values())
    assert read.place == f"{tmp_path / 'some.json'}, row 0"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "must hold a list of rows, holds dict"),
        ([], "holds no row"),
        (["Yes."], r"some.json, row 0: no text under 'instruction' .*; found 'Yes.'"),
        ([{"instruction": "", "input": "", "output": "Yes."}, {"instruction": "", "output": "Yes."}], "row 1.*'input'"),
        ([{"instruction": "", "input": 3, "output": "Yes."}], "row 0: no text under 'input'"),
        ([{"instruction": "", "input": "", "output": "Yes"}], "row 0: the output must be 'Yes.' or 'No.', is 'Yes'"),
    ],
)
def test_what_is_no_instruction_file_is_refused_with_its_row(tmp_path, content, message):
    with pytest.raises(DataError, match=message):
        instructions.read(write(tmp_path / "some.json", content))


def test_what_is_no_json_is_refused(tmp_path):
    (tmp_path / "some.json").write_text("[", encoding="utf-8")
    with pytest.raises(DataError, match="cannot be read as JSON"):
        instructions.read(tmp_path / "some.json")


def test_a_prompt_holds_instruction_and_input_and_ends_where_the_answer_begins():
    asked = row(["Heat (1995)"], [], "Yes Man (2008)")
    (told,) = instructions.prompts([asked], Prompt.load(PROMPT))
    assert f"### Task:\nAnswer.\n\n### About:\n{asked.input}\n" in told
    assert told.endswith("### Answer:\n")
    (bare,) = instructions.prompts([Instruction("Answer.", "", "Yes.", "")], Prompt.load(PROMPT))
    assert "About" not in bare and "{" not in bare


@pytest.mark.slow
def test_prompts_of_logs_and_of_instructions_are_not_taken_for_one_another(toy):
    with pytest.raises(PromptError, match="asks about a user of a log"):
        instructions.prompts([row([], [], "Heat")], Prompt.load("zeroshot/pointwise"))
    with pytest.raises(PromptError, match="filled by an instruction file"):
        prompt_report.rendered(PROMPT, toy, "leave_one_out", None)
    with pytest.raises(PromptError, match="no variable 'history'"):
        Prompt.parse("instructions/own", "---\n---\n{% block prompt %}{{ history }}{% endblock %}")
    assert prompt_check.check([PROMPT], toy, "leave_one_out").faults == []


# What asks no model


def test_the_share_of_likes_is_read_off_the_prompt():
    rows = [row(["A", "B", "C"], ["D"], "E"), row([], ["D"], "E"), row([], [], "E")]
    assert instructions.like_shares(rows).tolist() == [0.75, 0.0, 0.5]
    with pytest.raises(DataError, match=r"test.json, row 7: expected 'User Preference"):
        instructions.like_shares([Instruction("", "Heat", "Yes.", "test.json, row 7")])


def test_the_rate_of_a_title_counts_lists_and_answers():
    """Of seven mentions four are likes; A is liked in two of three, and what nobody names has the mean."""
    train = [row(["A", "B"], ["C"], "A"), row(["B"], ["A"], "D", "No.")]
    rates = instructions.title_rates(train, [row([], [], title) for title in ("A", "D", "other")])
    assert rates == pytest.approx([(2 + 4 / 7) / 4, (4 / 7) / 2, 4 / 7])


def test_rows_that_slide_over_one_list_are_one_persons():
    films = [f"Film {number}" for number in range(12)]
    slides = [row(films[start : start + 5], films[start + 5 : start + 8], films[start + 8]) for start in range(3)]
    others = [row(["X", "Y"], [], "Z"), row(["Y"], ["W"], "Z"), row([], [], "Z"), row([], [], "Z")]
    assert instructions.people([*slides, *others]).tolist() == [0, 0, 0, 1, 1, 2, 3]


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_dir(), reason="the published files are not here")
def test_the_real_files():
    """The share of likes alone reaches what TALLRec's model is published with (.7198 and .6438 from 256 rows)."""
    found = {}
    for name in ("movie", "book"):
        rows = instructions.read(REAL / name / "test.json")
        wanted, shares = instructions.wanted(rows), instructions.like_shares(rows)
        above = shares[wanted][:, None] - shares[~wanted]
        area = (above > 0).mean() + (above == 0).mean() / 2
        found[name] = len(rows), wanted.sum(), len(set(instructions.people(rows))), round(float(area), 4)
    assert found == {"movie": (1000, 528, 16, 0.726), "book": (2427, 1054, 2427, 0.6962)}


# Which of two words


PROMPTS = [
    "Heat is War Drama ? \n",
    "Toy Story the president of Alien Aliens Seven Samurai 5 6 7 8 \n",
    "Joe \n",
    "Drama Drama War Drama 1 2 3 \n",
    "who are you ? War War \n",
    "Film 1 Film 2 Film 3 Film 4 Film 5 Film 6 Film 7 Film 8 \n",
]


@cache
def files(kind: str) -> loading.ModelFiles:
    """A model whose weights are far enough from zero for what it says to differ."""
    model = AutoModelForCausalLM.from_pretrained(tiny_models.writer(kind))
    place = shutil.copytree(tiny_models.writer(kind), tempfile.mkdtemp(dir=FOLDER.name), dirs_exist_ok=True)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.mul_(4)
    model.save_pretrained(place)
    return loading.find(str(place))


def label_model(kind: str, blocks: int | None = None, words: tuple[str, str] = SAYS) -> LabelModel:
    return LabelModel(files(kind), PROMPTS, words, blocks)


@pytest.fixture(params=["llama", "opt", "gemma3"])
def kind(request) -> str:
    return request.param


def test_a_score_is_the_softmax_of_the_two_words_behind_the_prompt(kind):
    asked = label_model(kind)
    found = asked.score(range(len(PROMPTS)))
    tokens = asked.tokens.encoded["input_ids"]
    for place, ids in enumerate(tokens):
        with torch.no_grad():
            said = asked.model(torch.tensor([ids])).logits[0, -1]
        assert found[place] == pytest.approx(said[asked.pieces[place]].softmax(0)[0].item(), abs=1e-4)
    assert found.std() > 0.01


def test_what_is_all_but_certain_is_still_in_order(monkeypatch):
    asked = label_model("llama")
    monkeypatch.setattr(asked, "_differences", lambda rows: torch.tensor([18.0, 20.0, -18.0])[rows])
    assert np.argsort(asked.score([0, 1, 2])).tolist() == [2, 0, 1]
    assert len(set(asked.score([0, 1, 2]))) == 3


@pytest.mark.slow
@pytest.mark.parametrize("blocks", [None, 1])
def test_a_row_scores_the_same_alone_and_in_any_company(kind, blocks):
    asked = label_model(kind, blocks)
    together = asked.score(range(len(PROMPTS)))
    assert together.std() > 0.01
    alone = [asked.score([place])[0] for place in range(len(PROMPTS))]
    few = asked.score([5, 2])
    assert alone == pytest.approx(together, abs=1e-4)
    assert few == pytest.approx(together[[5, 2]], abs=1e-4)


@pytest.mark.slow
def test_kept_states_change_no_score(kind, monkeypatch):
    monkeypatch.setattr("llmrec.labels._PART", 4)
    whole, kept = label_model(kind), label_model(kind, blocks=1)
    assert len(kept.states) == 2 and not whole.states
    assert kept.score(range(6)) == pytest.approx(whole.score(range(6)), abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("blocks", [None, 1])
def test_few_rows_are_learned_and_the_model_is_left_as_it_was(blocks):
    asked = label_model("llama", blocks)
    before = asked.score(range(6))
    wanted = np.array([True, False, True, False])
    with asked.adapted(Recipe(epochs=30, learning_rate=0.02, batch_size=2), seed=0):
        assert asked.score(range(6)) == pytest.approx(before, abs=1e-6), "additions begin with nothing"
        epochs = list(asked.learn(range(4), wanted, Recipe(30, 0.02, 2), seed=0))
        after = asked.score(range(6))
        expected = 2 if blocks == 1 else 4  # query and so on of each block, twice
        assert len(asked.additions) == 7 * expected
    assert epochs == list(range(1, 31))
    assert (after[:4][wanted] > 0.7).all() and (after[:4][~wanted] < 0.3).all()
    assert asked.score(range(6)) == pytest.approx(before, abs=1e-6)
    assert asked.additions == []


@pytest.mark.slow
def test_a_seed_tells_what_is_learned():
    def learned(seed: int) -> np.ndarray:
        asked, recipe = label_model("llama", 1), Recipe(3, 0.01, 2)
        with asked.adapted(recipe, seed):
            list(asked.learn(range(4), np.array([True, False, False, True]), recipe, seed))
            return asked.score(range(6))

    first = learned(3)
    assert np.array_equal(first, learned(3))
    assert not np.allclose(first, learned(4), atol=1e-4)


@pytest.mark.slow
def test_the_words_are_told_apart_by_what_the_tokenizer_makes_of_them_behind_the_prompt():
    asked = label_model("opt")
    tokenizer = loading.load_tokenizer(files("opt"))
    assert asked.pieces.tolist() == [tokenizer.convert_tokens_to_ids(list(SAYS))] * len(PROMPTS)
    with pytest.raises(ConfigError, match="does not tell 'War 1' from 'War 2' by a first token of their own"):
        label_model("llama", words=("War 1", "War 2"))


def test_a_prompt_that_the_model_cannot_read_whole_is_refused():
    fits = "7 " * tiny_models.POSITIONS
    assert LabelModel(files("llama"), [fits], SAYS).tokens.lengths.tolist() == [tiny_models.POSITIONS]
    with pytest.raises(DataError, match=r"1 prompts are longer than the 160 tokens.*number 1.*shorten the histories"):
        LabelModel(files("llama"), ["Heat", fits + "7"], SAYS)


@pytest.mark.parametrize("blocks", [0, 2])
def test_some_blocks_learn_and_some_do_not(blocks):
    with pytest.raises(ConfigError, match="blocks must be from 1 to 1"):
        label_model("llama", blocks)


def test_yes_and_no_in_titles_and_behind_the_answer_are_no_answers():
    """Two prompts that differ by such titles are scored by the model alone: the place of the answer is the last one."""
    assert WORDS == ("Yes.", "No.")
    titles = instructions.prompts([row(["No. 1 Shampoo"], ["Yes Man (2008)"], "No. 1 Shampoo")], Prompt.load(PROMPT))
    asked = LabelModel(files("llama"), titles, ("War. No.\n\n### Explanation: Drama", "Drama. War"))
    assert asked.pieces.tolist() == LabelModel(files("llama"), titles, SAYS).pieces.tolist()
    assert 0 < asked.score([0])[0] < 1
