"""BM25 over item texts against a loop over words."""

import re
from math import log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.baselines import Known
from llmrec.baselines.bm25 import BM25
from llmrec.sequences import Sequences

TEXTS = ["", "Alien, Horror Horror", "Aliens Horror", "Heat: a Crime of crime", "M", "Up Children up", ""]
NUM_ITEMS = 6


def fitted(texts: list[str] = TEXTS, **options: float) -> BM25:
    return BM25(**options).fit(Known(Sequences.from_lists([[1, 2]]), len(texts) - 1, texts=texts))


def scored(baseline: BM25, *histories: list[int]) -> np.ndarray:
    return baseline.score(Sequences.from_lists(list(histories))).numpy()


def naive(history: list[int], item: int, k1: float, b: float, decay: float, last: int) -> float:
    documents = [re.findall(r"\w+", text.lower()) for text in TEXTS]
    average = sum(map(len, documents)) / NUM_ITEMS
    total = 0.0
    for age, seen in enumerate(reversed(history)):
        for word in documents[seen] if age < last else []:
            number, count = sum(word in each for each in documents), documents[item].count(word)
            rarity = log(1 + (NUM_ITEMS - number + 0.5) / (number + 0.5))
            norm = k1 * (1 - b + b * len(documents[item]) / average)
            total += decay**age * rarity * (count * (k1 + 1) / (count + norm) if count else 0)
    return total


@settings(deadline=None, max_examples=30)
@given(
    histories=st.lists(st.lists(st.integers(1, NUM_ITEMS), max_size=5), min_size=1, max_size=3),
    k1=st.floats(0, 3),
    b=st.floats(0, 1),
)
def test_bm25_is_the_naive_loop(histories, k1, b):
    expected = [[naive(history, item, k1, b, 0.5, 3) for item in range(NUM_ITEMS + 1)] for history in histories]
    scores = scored(fitted(k1=k1, b=b, decay=0.5, last=3), *histories)
    np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-7)


def test_no_history_and_an_item_without_a_word_say_nothing():
    scores = scored(fitted(), [], [6], [4])
    assert not scores[:2].any()
    assert np.flatnonzero(scores[2]).tolist() == [4], "a title of one letter is a word too"
    assert not scores[:, [0, 6]].any()


def test_a_rare_word_counts_more_than_a_common_one_and_a_short_text_more_than_a_long_one():
    texts = [
        "",
        "alien common",
        "alien other",
        "ship common",
        "sea common",
        "sky common",
        "alien is on board of this ship",
    ]
    scores = scored(fitted(texts), [1])[0]
    assert scores[2] > scores[3] > 0
    assert scores[2] > scores[6] > 0
    even = scored(fitted(texts, b=0.0), [1])[0]
    assert even[2] == pytest.approx(even[6])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"k1": -0.1}, "k1 must be at least 0, came -0.1"),
        ({"b": 1.1}, "b must be between 0 and 1, came 1.1"),
        ({"decay": -1.0}, "decay must be between 0 and 1, came -1"),
    ],
)
def test_an_option_out_of_range_is_refused(options, said):
    with pytest.raises(ValueError, match=said):
        BM25(**options)


@pytest.mark.parametrize("texts", [["", "7", "?!"], ["", "a", "b"], ["", "", ""]])
def test_texts_without_a_word_cannot_be_searched_and_make_no_baseline(texts: list[str]):
    known = Known(Sequences.from_lists([[1, 2]]), 2, texts)
    assert not known.has("texts")
    assert Known(Sequences.from_lists([[1, 2]]), 2, ["", "7", "The 8"]).has("texts")
