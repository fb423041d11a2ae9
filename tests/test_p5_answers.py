"""What a model that writes names answers about cases: stars, one of two words, one of several items, free text."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from conftest import toy_tables
from small_writers import build, options, split_of, teacher_forced

from eval import p5_rows, p5_study
from eval.p5_answers import STARS, Answers, _read
from llmrec.candidates import drawn
from llmrec.console import Console
from llmrec.errors import DataError
from llmrec.generative.batches import padded
from llmrec.generative.vocabulary import pieces_of
from llmrec.interactions import Dataset
from llmrec.prompt_rows import PromptRows
from llmrec.prompting import Prompt

pytestmark = pytest.mark.slow
FEW = "p5.examples={sequential: 1, rating: 1}"


def answers(model, split, cases=None) -> Answers:
    return Answers(model, PromptRows(split.dataset, ids=model.ids.names), cases if cases is not None else split.test)


@pytest.fixture(scope="module")
def made():
    """A model of random weights and the toy log that it was made for."""
    model, _, split = build(Dataset.from_tables("toy", *toy_tables()), FEW)
    return model, split


@pytest.fixture(scope="module")
def other():
    """Another model for the same cases: its items have other names and its weights follow them."""
    model, _, split = build(Dataset.from_tables("toy", *toy_tables()), FEW, "item_ids=title", "seed=1")
    with torch.no_grad():
        for weights in model.parameters():
            weights.add_(torch.randn_like(weights), alpha=0.1)
    return model, split


def some_without_stars() -> Dataset:
    """The toy log in which nobody rates an item of an even number."""
    log, items = toy_tables()
    odd = pl.col("item_id").str.slice(1).cast(pl.Int64) % 2 == 1
    return Dataset.from_tables("toy", log.with_columns(rating=pl.when(odd).then("rating")), items)


# Stars


@torch.no_grad()
def test_expected_stars_are_the_mean_over_all_ratings_by_their_likelihoods(made):
    """Beside a loop over the 41 texts, each read by itself."""
    model, split = made
    asked, prompt = answers(model, split, split.test.take(np.arange(2))), Prompt.load("p5/rating/by_ids")
    found = asked.ratings(prompt)["expected"]
    assert len(STARS) == 41 and (STARS[0], STARS[10], STARS[-1]) == ("1.0", "2.0", "5.0")
    for row in range(2):
        text = prompt.render("input", **asked.rows.variables(asked.cases, row))
        shares = np.exp([teacher_forced(model, text, stars, STARS) for stars in STARS])
        assert shares.sum() == pytest.approx(1, abs=1e-5)
        assert found["score"][row] == pytest.approx(float(shares @ np.array(STARS, dtype=float)), abs=1e-4)
        assert found["prediction"][row] == STARS[shares.argmax()]
    everybody = answers(model, split).ratings(prompt)["expected"]["score"]
    assert everybody.is_between(1, 5, closed="none").all()
    assert everybody.std() > 0, "else the input makes no difference"


@pytest.mark.parametrize(
    ("text", "stars"),
    [
        ("1", 1.0),
        ("1.0", 1.0),
        ("4.25", 4.25),
        ("5.0", 5.0),
        ("5.00", 5.0),
        *[
            (text, None)
            for text in ("", "0.9", "5.1", "6", "-3", "nan", "inf", "1e0", "4.", "4.2 stars", "I say 4", "4,2")
        ],
    ],
)
def test_only_a_whole_number_from_1_to_5_is_read(text, stars):
    """D3: an answer that goes on explaining is no number, and no digit is picked out of it."""
    assert _read(text) == stars


def test_a_text_that_is_no_number_has_no_score(made):
    """D6: a model that never learned to write gives no number; nothing is made up and nothing fails."""
    model, split = made
    written = answers(model, split).ratings(Prompt.load("p5/rating/by_ids"))["written"]
    assert written["score"].null_count() == len(written) == 40
    assert all(_read(text) is None for text in written["prediction"])


def test_who_has_learned_to_write_stars_is_read_as_he_writes():
    model, examples, split = build(Dataset.from_tables("toy", *toy_tables()), "p5.examples={rating: 10}")
    asked, prompt = answers(model, split), Prompt.load("p5/rating/by_ids")
    drawn_ones = [row for row in examples.epoch(0).tolist() if examples.prompts[row[1]].name == prompt.name]
    pairs = examples.write(np.array(drawn_ones), (0, 0))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    sides = [padded(pieces_of(model.tokenizer, side), model.writer.padding) for side in zip(*pairs, strict=True)]
    for step in range(25):
        rows = torch.arange(32) + step * 8 % len(pairs) - len(pairs)
        optimizer.zero_grad()
        model.writer(sides[0][rows], sides[1][rows]).mean().backward()
        optimizer.step()
    found = asked.ratings(prompt)
    texts, scores = found["written"]["prediction"], found["written"]["score"]
    assert scores.null_count() < 10
    for text, score in zip(texts, scores):
        assert score is None or score == float(text)


def test_rows_without_stars_are_left_out():
    dataset = some_without_stars()
    model, _, split = build(dataset, FEW)
    asked = answers(model, split)
    rated = [
        case
        for case, item in zip(asked.ids, dataset.item_ids[split.test.target], strict=True)
        if int(item.removeprefix("i")) % 2
    ]
    assert 10 < len(rated) < 30
    for table in asked.ratings(Prompt.load("p5/rating/by_ids")).values():
        assert table["case_id"].to_list() == rated
        assert table["target"].str.contains(r"^[1-5]\.0$").all()
    assert asked.choices(Prompt.load("p5/rating/liked_by_ids"), 0)["case_id"].to_list() == rated
    assert asked.choices(Prompt.load("p5/rating/claimed_by_ids"), 0)["case_id"].to_list() == rated
    without = np.flatnonzero([case not in rated for case in asked.ids])
    nobody = answers(model, split, split.test.take(without))
    tables, chosen = nobody.ratings(Prompt.load("p5/rating/by_ids")), Prompt.load("p5/rating/liked_by_ids")
    assert [len(table) for table in tables.values()] == [0, 0]
    candidates = drawn(nobody.cases.take(np.arange(2)), dataset, 3, 0)
    study = p5_study.Study(options(FEW), split, nobody.cases, candidates, 0, Console())
    assert p5_rows.free(study).predictions == p5_rows._rated("run", "by_ids", tables, study) == []
    said = p5_rows._chosen("run", "liked_by_ids", chosen, nobody.choices(chosen, 0), study)
    assert (said.predictions, said.notes) == ([], ["run liked_by_ids: left out, for all 0 answers are the same"])


# Choices


def test_what_is_claimed_is_the_same_for_every_model_and_right_about_half_of_the_time(made, other):
    prompt = Prompt.load("p5/rating/claimed_by_ids")
    first, second = (answers(*each).choices(prompt, 3) for each in (made, other))
    assert first.select("case_id", "target").equals(second.select("case_id", "target"))
    assert not first["score"].equals(second["score"])
    assert not first["target"].equals(answers(*made).choices(prompt, 4)["target"]), "another seed, another claim"
    many = [answers(*made).choices(prompt, seed)["target"] for seed in range(8)]
    assert 0.4 < (pl.concat(many) == "yes").mean() < 0.6


@torch.no_grad()
def test_a_choice_is_the_likelier_word_and_its_score_the_share_of_the_first(made):
    model, split = made
    asked, prompt = answers(model, split, split.test.take(np.arange(3))), Prompt.load("p5/rating/liked_by_ids")
    found = asked.choices(prompt, 0)
    for row, (word, score) in enumerate(zip(found["prediction"], found["score"])):
        text = prompt.render("input", **asked.rows.variables(asked.cases, row))
        likes, dislikes = (np.exp(teacher_forced(model, text, each, prompt.head.words)) for each in prompt.head.words)
        assert likes + dislikes == pytest.approx(1, abs=1e-5)
        assert score == pytest.approx(likes, abs=1e-5)
        assert word == ("like" if likes > dislikes else "dislike")


def test_a_target_that_is_no_word_of_its_prompt_is_refused(made):
    body = "{% block input %}{{ user.id }}?{% endblock %}{% block target %}maybe{% endblock %}"
    prompt = Prompt.parse("p5/rating/mine", f"---\ntask: choice\n---\n{body}")
    with pytest.raises(DataError, match=r"'p5/rating/mine' asks for 'maybe', and its head names the words yes and no"):
        answers(*made).choices(prompt, 0)


# Candidates


@torch.no_grad()
def test_candidates_are_ordered_by_the_probability_of_yes_of_each_alone(made):
    model, split = made
    candidates = drawn(split.test.take(np.arange(3)), split.dataset, 4, 0)
    asked, prompt = answers(model, split), Prompt.load("p5/sequential/is_next")
    found = asked.by_yes(prompt, candidates)
    assert [len(each) for each in found] == [4, 4, 4]
    for row, items in enumerate(candidates.items):
        alone = []
        for item in items.tolist():
            text = prompt.render("input", **asked.rows.variables(candidates.cases, row, [item]))
            assert model.ids.names[item] in text
            alone.append(np.exp(teacher_forced(model, text, "yes", ["yes", "no"])))
        assert found[row].tolist() == pytest.approx(alone, abs=1e-5)
        assert np.argsort(found[row]).tolist() == np.argsort(alone).tolist()
        assert np.std(alone) > 1e-4, "else their order says nothing"


@torch.no_grad()
def test_picks_are_the_likelihoods_of_the_candidates_names(made):
    model, split = made
    candidates = drawn(split.test.take(np.arange(2)), split.dataset, 5, 0)
    asked, prompt = answers(model, split), Prompt.load("p5/sequential/pick")
    for row, scores in enumerate(asked.picks(prompt, candidates)):
        items = candidates.items[row].tolist()
        text = prompt.render("input", **asked.rows.variables(candidates.cases, row, items))
        names = [model.ids.names[item] for item in items]
        assert ", ".join(names) in text, "in the order of the candidates"
        assert scores.tolist() == pytest.approx([teacher_forced(model, text, name) for name in names], abs=1e-4)


# Free text


def test_without_the_trie_only_names_of_the_catalogue_are_valid(made):
    """D14: the share of texts that name an item is told, D10 and a name that no item has counts as none."""
    model, split = made
    cases, prompt = split.test.take(np.arange(4)), Prompt.load("p5/sequential/next_item")
    asked = answers(model, split, cases)
    texts = [prompt.render("input", **asked.rows.variables(cases, row, last=20)) for row in range(4)]
    said = [text for found in model.write(texts, model.longest_name, 3) for text in found]
    told = asked.free(prompt, 3)
    assert told["texts"] == len(said) == 12
    assert told["valid"] == 0, "random weights write no name"
    some = next(filter(None, said))
    called = replace(model.ids, names=("", some, *model.ids.names[2:]))
    before, model.ids = model.ids, called
    try:
        assert asked.free(prompt, 3)["valid"] == said.count(some) / 12 > 0
    finally:
        model.ids = before


def test_a_text_that_several_beams_say_is_a_duplicate(made, monkeypatch):
    """D5: texts that stand twice in a list are told of; beams under the trie never repeat an item."""
    model, split = made
    asked, prompt = answers(model, split, split.test.take(np.arange(2))), Prompt.load("p5/sequential/next_item")
    monkeypatch.setattr(model, "write", lambda *_: [["a", "b", "a", "a"], ["c", "d", "e", "f"]])
    assert asked.free(prompt, 4)["duplicates"] == 2 / 8
    monkeypatch.undo()
    texts = model.asking.texts(asked.cases.histories)
    for found in model.beams(texts, 40):
        items = [item for item, _ in found]
        assert len(items) == len(set(items)) == 30


def test_the_first_of_two_meetings_is_not_the_one_asked_about():
    """Of an item that comes back, the stars of the case are those given then, not the earlier or later ones."""
    log = pl.DataFrame({"user_id": ["u"] * 5, "item_id": [*"abcda"], "timestamp": range(5)})
    log = log.with_columns(rating=pl.Series([1.0, 2.0, 2.0, 2.0, 5.0]))
    titles = pl.DataFrame({"item_id": [*"abcd"], "title": ["A", "B", "C", "D"]})
    dataset = Dataset.from_tables("again", log, titles)
    split = split_of(dataset)
    model, _, _ = build(dataset, FEW, split=split)
    assert answers(model, split).ratings(Prompt.load("p5/rating/by_ids"))["expected"]["target"].to_list() == ["5.0"]
