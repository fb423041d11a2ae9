"""Explanations and feature words made from reviews: which sentence, which word, and what a protocol says of them."""

from collections import Counter

import polars as pl
import pytest
from conftest import ROOT
from small_shop import full_shop, shop

from llmrec import config, evaluation, explanations, preparation
from llmrec.console import Console
from llmrec.errors import ConfigError, DataError
from llmrec.explanations import content_words, derived, first_sentence, shared_word
from llmrec.interactions import Dataset
from llmrec.prompt_check import check
from llmrec.prompting import Prompt, found
from llmrec.sources import load_dataset

GIFTS = ROOT.parent / "shared" / "data" / "amazon-gift-cards"
DERIVED = "p5.explanations=derived"


def reviewed(*rows: tuple[str | None, str | None]) -> Dataset:
    """A log in which one user reviews an item after the other: review and title."""
    ids = [f"i{number}" for number in range(len(rows))]
    log = pl.DataFrame({"user_id": "u", "item_id": ids, "timestamp": range(len(rows))})
    log = log.with_columns(review=pl.Series([review for review, _ in rows], dtype=pl.String))
    titles = pl.Series("title", [title for _, title in rows], dtype=pl.String)
    return Dataset.from_tables("reviewed", log, pl.DataFrame({"item_id": ids}).with_columns(titles))


def run_options(*overrides: str) -> config.RunConfig:
    return config.load(None, ["p5.vocabulary=400", *overrides], {"model": "t5-tiny", "data": "toy"}).resolved()


# Sentences


@pytest.mark.parametrize(
    ("review", "sentence", "explains"),
    [
        ("Worked as promised. Bought two.", "Worked as promised.", True),
        ("Great!!! Love it", "Great!!!", False),
        ("e.g. this one here", "e.g.", False),
        ("Costs 4.99 only. Nice", "Costs 4.99 only.", True),
        ("What more could I want?! Nothing", "What more could I want?!", True),
        ("Well... that was fast", "Well...", False),
        ("no end in sight", "no end in sight", True),
        ("One line with words\nand another.", "One line with words", True),
        ("\n \r\nThe first is blank. Yes", "The first is blank.", True),
        ("Bought it again<br />and again. Good", "Bought it again", True),
        ('<a class="x" href="/dp/B0">My <b>old</b> card</a> is gone. Pity', "My old card is gone.", True),
        ("Tom &amp; I liked it. Yes", "Tom & I liked it.", True),
        ("\U0001f600 \U0001f600 \U0001f44d \U0001f44d", "\U0001f600 \U0001f600 \U0001f44d \U0001f44d", False),
        ("5 out of 5 \U0001f44d", "5 out of 5 \U0001f44d", True),
        ("Très bien emballé. Merci", "Très bien emballé.", True),
        ("<br><br>", "", False),
        ("Good card", "Good card", False),
        (None, "", False),
        ("   ", "", False),
    ],
)
def test_the_first_sentence_explains_if_it_has_three_words(review, sentence, explains):
    assert first_sentence(review or "") == sentence
    made = derived(reviewed((review, "Card"), ("So many words here", "Card"))).interactions
    assert made["explanation"][0] == (sentence if explains else None)


# Features


def test_content_words_are_letters_and_no_stop_words():
    assert content_words("The Gift-Card for her: T.G.I. Friday's $25 iPhone6 gift CARD &amp; Café_x") == [
        "gift",
        "card",
        "friday",
    ]
    assert content_words("") == content_words("of the 12") == []


def test_the_feature_is_the_rarest_title_word_of_the_sentence_else_of_the_review():
    titles = [["gift", "card", "tin"], ["gift", "card", "starbucks"], ["gift", "box"]]
    counts = Counter(word for title in titles for word in title)
    assert shared_word(titles[0], counts, "A gift card for him.", "A gift card for him. In a tin!") == "card"
    assert shared_word(titles[0], counts, "Ships fast.", "Ships fast. A TIN gift") == "tin"
    assert shared_word(titles[1], counts, "Starbucks!", "Starbucks! gift") == "starbucks"
    assert shared_word(titles[2], counts, "Gifts in boxes.", "Gifts in boxes.") is None
    assert shared_word([], counts, "A gift.", "A gift.") is None
    assert shared_word(["one", "two"], Counter(one=1, two=1), "two one", "") == "one", "of a tie the first of the title"


def test_both_are_columns_and_a_note_counts_them():
    data = reviewed(
        ("The tin came late. Sad", "Gift Card in a Tin"),
        ("Tin", "Gift Card in a Tin (Red)"),
        ("It was all right", None),
        (None, "Gift Card"),
    )
    made = derived(data)
    assert made.interactions["explanation"].to_list() == ["The tin came late.", None, "It was all right", None]
    assert made.interactions["feature"].to_list() == ["tin", "tin", None, None]
    assert made.notes[-1] == (
        "explanations derived: 2 of 4 interactions have a first sentence of 3 words or more, 2 a feature word, 1 both"
    )
    assert made.interactions.drop("explanation", "feature").equals(data.interactions)
    assert made.content_hash == data.content_hash, "it says what was read"


def test_without_titles_there_is_no_feature():
    log = pl.DataFrame({"user_id": ["u"], "item_id": ["i"], "timestamp": [0], "review": ["A gift card for you."]})
    made = derived(Dataset.from_tables("bare", log)).interactions
    assert (made["explanation"].to_list(), made["feature"].to_list()) == (["A gift card for you."], [None])


# What is refused


def test_data_without_reviews_or_with_explanations_are_refused():
    with pytest.raises(DataError, match=r"shop: no interaction has a review .*p5.explanations=given"):
        derived(shop())
    with pytest.raises(DataError, match="no interaction has a review"):
        derived(reviewed((None, "Card")))
    for own in ("explanation", "feature"):
        other = {"explanation": "feature", "feature": "explanation"}[own]
        data = full_shop()
        data = Dataset(data.name, data.interactions.drop(other), data.items, data.users)
        with pytest.raises(DataError, match=f"column '{own}' of its own.*leave the option out"):
            derived(data)


def test_only_given_and_derived_are_options():
    with pytest.raises(ConfigError, match=r"p5.explanations.*'given' or 'derived'"):
        config.load(None, ["p5.explanations=made"], {"model": "t5-tiny"})


# Protocol


def test_the_protocol_names_what_was_derived_and_others_keep_their_hash():
    data = reviewed(*[(f"The number {n} is fine.", f"Item number{n}") for n in range(6)])
    plain, with_option = run_options(), run_options(DERIVED)
    console = Console(quiet=True)
    given, made = (preparation.cut(options, data, console) for options in (plain, with_option))
    before, after = evaluation.protocol_of(given, plain), evaluation.protocol_of(made, with_option)
    assert "explanation" not in given.dataset.interactions.columns
    assert made.dataset.interactions["explanation"].null_count() == 0
    assert before.difference(after) == {"explanations": (None, explanations.WORDS)}
    assert "explanations" not in before.model_dump() and "explanations" not in before.line()
    assert before.hash != after.hash
    assert f"explanations {explanations.WORDS}; protocol {after.hash}" in after.line()
    assert type(after).model_validate_json(after.model_dump_json()) == after


def test_a_filter_takes_the_columns_along():
    data = reviewed(*[(f"The number {n} is fine.", f"Item number{n}") for n in range(6)])
    recent = "filter.max_history=4"
    made, given = (
        preparation.cut(run_options(*more, recent), data, Console(quiet=True)).dataset for more in ([DERIVED], [])
    )
    assert made.interactions["explanation"].to_list() == [f"The number {n} is fine." for n in range(2, 6)]
    assert made.content_hash == given.content_hash


# Real data


@pytest.mark.slow
@pytest.mark.skipif(not GIFTS.is_dir(), reason="needs shared/data/amazon-gift-cards beside the project")
def test_on_gift_cards_no_prompt_shows_what_it_asks_for():
    made = derived(load_dataset("amazon-gift-cards", GIFTS))
    assert made.notes[-1] == (
        "explanations derived: 2,037 of 2,972 interactions have a first sentence of 3 words or more, 1,591 a feature "
        "word, 1,318 both"
    )
    names = [name for name in found() if name.startswith(("p5/explanation/", "p5/review/"))]
    by_id = [name for name in names if not Prompt.load(name).anatomy.shows("user", "name")]
    assert len(by_id) == 8
    assert check(by_id, made, "leave_one_out", cases=200).faults == []
    loved = made.interactions.filter(pl.col("explanation").is_not_null())
    review = loved["review"].str.replace_all(r"\s+", " ")
    begins = [text.startswith(said[:9]) for text, said in zip(review, loved["explanation"])]
    assert sum(begins) > 0.97 * len(begins), "all but those with HTML"
