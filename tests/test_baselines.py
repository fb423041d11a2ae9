"""Rows without training: popularity, no preference, shared words, near vectors."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from llmrec import components
from llmrec.baselines import Baseline, Known, decayed
from llmrec.baselines.cosine import Cosine
from llmrec.baselines.popularity import Popularity
from llmrec.baselines.random import Random
from llmrec.baselines.smoothed import Smoothed
from llmrec.baselines.tfidf import Tfidf
from llmrec.sequences import Sequences
from llmrec.splits import Cases

TEXTS = ["", "Alien, Horror", "Aliens, Horror", "Heat, Crime", "Casino, Crime", "Up, Children", "Bambi, Children"]
TRAIN = replace(Sequences.from_lists([[1, 2, 2], [2, 3], [], [4, 2, 6]]), times=np.arange(8))
ONE = np.array([1])
VALIDATION = Cases("next_item", ONE, np.array([3]), ONE, Sequences.from_lists([[1, 2, 2]]))
NUM_ITEMS = 6
every_baseline = pytest.mark.parametrize("name", components.names("baselines"))


def vectors() -> Tensor:
    return torch.cat([torch.zeros(1, 5), torch.randn(NUM_ITEMS, 5, generator=torch.Generator().manual_seed(0))])


def known() -> Known:
    return Known(TRAIN, NUM_ITEMS, TEXTS, vectors(), times=True, validation=VALIDATION)


def fitted(name: str) -> Baseline:
    baseline: Baseline = components.create("baselines", components.resolve("baselines", name))
    return baseline.fit(known())


def histories(*lists: list[int]) -> Sequences:
    return Sequences.from_lists(list(lists))


@every_baseline
def test_a_baseline_scores_every_item_for_every_history_even_an_empty_one(name):
    scores = fitted(name).score(histories([1, 2], [], [6, 6, 6, 5]))
    assert scores.shape == (3, NUM_ITEMS + 1)
    assert scores.dtype == torch.float32
    assert torch.isfinite(scores).all()


@every_baseline
def test_a_baseline_answers_a_history_alike_alone_and_beside_others(name):
    baseline = fitted(name)
    together = baseline.score(histories([1, 2], [3], [6, 6, 6, 5]))
    for row, history in enumerate(([1, 2], [3], [6, 6, 6, 5])):
        torch.testing.assert_close(baseline.score(histories(history))[0], together[row])


@every_baseline
def test_a_baseline_says_what_it_needs_and_gets_along_with_it(name):
    baseline = components.create("baselines", components.resolve("baselines", name))
    only = {
        "nothing": Known(TRAIN, NUM_ITEMS),
        "texts": Known(TRAIN, NUM_ITEMS, texts=TEXTS),
        "vectors": Known(TRAIN, NUM_ITEMS, vectors=vectors()),
        "times": Known(TRAIN, NUM_ITEMS, times=True),
        "validation": Known(TRAIN, NUM_ITEMS, validation=VALIDATION),
    }
    assert only[baseline.needs].has(baseline.needs)
    assert baseline.fit(only[baseline.needs]).score(histories([1])).shape == (1, NUM_ITEMS + 1)


def test_known_has_what_it_was_given():
    nothing, texts = Known(TRAIN, NUM_ITEMS), Known(TRAIN, NUM_ITEMS, texts=TEXTS)
    assert [nothing.has(needs) for needs in ("nothing", "texts", "vectors")] == [True, False, False]
    assert [texts.has(needs) for needs in ("nothing", "texts", "vectors")] == [True, True, False]
    assert known().has("vectors")


def test_popularity_is_the_number_of_training_interactions():
    scores = fitted("popularity").score(histories([1], [5, 6]))
    assert scores.tolist() == [[0, 1, 4, 1, 1, 0, 1]] * 2
    assert scores[0].argmax() == 2


def test_popularity_does_not_see_the_histories_it_is_asked_about():
    assert torch.equal(
        Popularity().fit(known()).score(histories([5] * 50))[0], fitted("popularity").score(histories([]))[0]
    )


def test_random_has_no_preference():
    assert Random().fit(known()).score(histories([1], [2, 3])).unique().tolist() == [0]


@settings(deadline=None, max_examples=50)
@given(
    lists=st.lists(st.lists(st.integers(1, 5), max_size=8), min_size=1, max_size=4),
    decay=st.floats(0.1, 1),
    last=st.integers(1, 6),
)
def test_decayed_is_the_naive_loop(lists, decay, last):
    expected = np.zeros((len(lists), 6))
    for row, history in enumerate(lists):
        for age, item in enumerate(reversed(history)):
            if age < last:
                expected[row, item] += decay**age
    np.testing.assert_allclose(decayed(histories(*lists), 5, decay, last).toarray(), expected, rtol=1e-6)


def test_decayed_counts_a_repeated_item_each_time():
    assert decayed(histories([2, 1, 2]), 2, 0.5, 20).toarray().tolist() == [[0, 0.5, 1 + 0.25]]
    assert decayed(histories([2, 1, 2]), 2, 0.5, 2).toarray().tolist() == [[0, 0.5, 1]]


def test_tfidf_prefers_the_genre_of_what_was_seen():
    scores = fitted("tfidf").score(histories([1], [3], [5]))
    for row, (seen, akin) in enumerate(((1, 2), (3, 4), (5, 6))):
        rest = [item for item in range(1, 7) if item not in (seen, akin)]
        assert scores[row, akin] > scores[row, rest].max()
        assert scores[row, seen] == pytest.approx(1, abs=1e-6), "the cosine of a text with itself"
    assert (scores[:, 0] == 0).all()


def test_tfidf_weighs_a_rare_shared_word_more_than_a_common_one():
    texts = ["", "alien common", "alien other", "ship common", "sea common", "sky common"]
    scores = Tfidf().fit(Known(TRAIN, 5, texts=texts)).score(histories([1]))
    assert scores[0, 2] > scores[0, 3]


@pytest.mark.parametrize("baseline", [Tfidf, Cosine])
def test_what_was_seen_last_counts_most_and_what_was_long_ago_nothing(baseline):
    one = baseline().fit(known())
    recent, old = one.score(histories([1, 5], [5, 1]))
    assert recent[6] != pytest.approx(old[6])
    first, second, both = (one.score(histories(history))[0] for history in ([1], [5], [1, 5]))
    torch.testing.assert_close(both, second + 0.8 * first)
    forgetful = baseline(last=1, decay=1.0).fit(known())
    torch.testing.assert_close(*forgetful.score(histories([1, 5], [2, 3, 5])))


def test_cosine_is_that_of_vectors_standardised_over_the_training_items():
    seen = [1, 2, 3, 4, 6]
    raw = vectors()
    scaled = (raw - raw[seen].mean(dim=0)) / raw[seen].std(dim=0, correction=0)
    expected = torch.nn.functional.cosine_similarity(scaled[None, 1:], scaled[1:, None], dim=2)
    scores = Cosine().fit(known()).score(histories(*([item] for item in range(1, 7))))
    torch.testing.assert_close(scores[:, 1:], expected)
    assert (scores[:, 0] == 0).all()


def test_smoothed_vectors_take_something_of_what_was_met_beside_them():
    """By hand, from the pairs of the training part: items next to each other count 1, two places apart a half."""
    share, met = 0.4, np.zeros((NUM_ITEMS + 1, NUM_ITEMS + 1))
    for sequence in TRAIN:
        for place, item in enumerate(sequence):
            for later in range(place + 1, len(sequence)):
                met[item, sequence[later]] += 1 / (later - place)
                met[sequence[later], item] += 1 / (later - place)
    own = Cosine().fit(known()).vectors.numpy()
    expected = own.copy()
    for item in range(1, NUM_ITEMS + 1):
        if met[item].any():
            expected[item] = (1 - share) * own[item] + share * met[item] / met[item].sum() @ own
    expected /= np.maximum(np.linalg.norm(expected, axis=1, keepdims=True), 1e-12)
    found = Smoothed(share=share, steps=1).fit(known())
    np.testing.assert_allclose(found.vectors.numpy(), expected, atol=1e-6)
    assert any(not met[item].any() for item in range(1, NUM_ITEMS + 1)), "one has no neighbour and keeps its own"
    scores, plain = (each.fit(known()).score(histories([1, 2])) for each in (Smoothed(share=0.0), Cosine()))
    torch.testing.assert_close(scores, plain)


def test_cosine_does_not_care_for_a_direction_that_all_vectors_share():
    shifted = vectors() + 100 * torch.tensor([1.0, 0.5, 0, 0, 0])
    plain, other = (
        Cosine().fit(Known(TRAIN, NUM_ITEMS, vectors=each)).score(histories([1, 2])) for each in (vectors(), shifted)
    )
    torch.testing.assert_close(plain, other, atol=1e-3, rtol=0)
