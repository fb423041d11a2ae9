"""Items near to what was seen: by the people that had both, and by what followed."""

from math import sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.baselines import Known
from llmrec.baselines import item_knn as item_knn_file
from llmrec.baselines.co_occurrence import CoOccurrence
from llmrec.baselines.item_knn import ItemKNN
from llmrec.sequences import Sequences

NUM_ITEMS = 6
"""Item 6 is never met."""
logs = st.lists(st.lists(st.integers(1, 5), max_size=8), min_size=1, max_size=6)


def known(*train: list[int]) -> Known:
    return Known(Sequences.from_lists(list(train)), NUM_ITEMS)


def scored(baseline: ItemKNN | CoOccurrence, *histories: list[int]) -> np.ndarray:
    return baseline.score(Sequences.from_lists(list(histories))).numpy()


def summed(near: np.ndarray, histories: list[list[int]], decay: float, last: int) -> np.ndarray:
    """The naive sum over histories of what is near to each item."""
    scores = np.zeros((len(histories), NUM_ITEMS + 1))
    for row, history in enumerate(histories):
        for age, item in enumerate(reversed(history)):
            if age < last:
                scores[row] += decay**age * near[item]
    return scores


# Item kNN


@pytest.mark.slow
@settings(deadline=None, max_examples=50)
@given(train=logs, histories=logs, shrink=st.floats(0, 5))
def test_item_knn_with_all_neighbours_is_the_naive_loop(train, histories, shrink):
    near = np.zeros((NUM_ITEMS + 1, NUM_ITEMS + 1))
    having = [{user for user, items in enumerate(train) if item in items} for item in range(NUM_ITEMS + 1)]
    for one, other in np.ndindex(near.shape):
        if one != other and having[one] & having[other]:
            norm = sqrt(len(having[one]) * len(having[other]))
            near[one, other] = len(having[one] & having[other]) / (norm + shrink)
    baseline = ItemKNN(neighbours=NUM_ITEMS, shrink=shrink, decay=0.5, last=3).fit(known(*train))
    np.testing.assert_allclose(scored(baseline, *histories), summed(near, histories, 0.5, 3), rtol=1e-5)


def test_item_knn_keeps_the_nearest_of_each_item_and_the_lower_index_among_equals():
    train = known([1, 2], [1, 2], [1, 3], [1, 5], [4])
    both = scored(ItemKNN(neighbours=2, shrink=0.0).fit(train), [1])[0]
    # Item 1 has four users, item 2 two of them, items 3 and 5 one each.
    np.testing.assert_allclose(both, [0, 0, 2 / sqrt(4 * 2), 1 / sqrt(4 * 1), 0, 0, 0], rtol=1e-6)
    assert np.flatnonzero(scored(ItemKNN(neighbours=1, shrink=0.0).fit(train), [1])[0]).tolist() == [2]
    assert np.flatnonzero(scored(ItemKNN(neighbours=1, shrink=0.0).fit(train), [5])[0]).tolist() == [1]


def test_item_knn_is_the_same_whatever_is_compared_at_once(monkeypatch):
    generator = np.random.default_rng(0)
    train = known(*(generator.integers(1, 6, size=4).tolist() for _ in range(30)))
    at_once = scored(ItemKNN(neighbours=2).fit(train), *([item] for item in range(1, 7)))
    monkeypatch.setattr(item_knn_file, "CHUNK_PAIRS", 2 * (NUM_ITEMS + 1))
    np.testing.assert_array_equal(scored(ItemKNN(neighbours=2).fit(train), *([item] for item in range(1, 7))), at_once)


def test_an_item_is_no_neighbour_of_itself_and_one_user_alone_says_less_when_shrunk():
    plain, shrunk = (scored(ItemKNN(shrink=shrink).fit(known([1, 2, 2])), [1])[0] for shrink in (0.0, 10.0))
    assert plain.tolist() == [0, 0, 1, 0, 0, 0, 0]
    assert shrunk[2] == pytest.approx(1 / (1 + 10))


# Co-occurrence


@settings(deadline=None, max_examples=50)
@given(train=logs, histories=logs, window=st.integers(1, 10))
def test_co_occurrence_is_the_naive_loop(train, histories, window):
    followed = np.zeros((NUM_ITEMS + 1, NUM_ITEMS + 1))
    for items in train:
        for place, item in enumerate(items):
            for distance, later in enumerate(items[place + 1 : place + 1 + window], 1):
                followed[item, later] += 1 / distance
    baseline = CoOccurrence(window=window, decay=0.5, last=3).fit(known(*train))
    np.testing.assert_allclose(scored(baseline, *histories), summed(followed, histories, 0.5, 3), rtol=1e-5)


def test_co_occurrence_goes_forward_and_ends_with_the_user():
    baseline = CoOccurrence(window=2).fit(known([1, 2, 3, 4], [5, 1]))
    assert scored(baseline, [1])[0].tolist() == [0, 0, 1, 1 / 2, 0, 0, 0], "neither 4, three places on, nor 5"
    assert scored(baseline, [4])[0].tolist() == [0] * 7, "what the next user did first does not follow"


# Both


@pytest.mark.parametrize("baseline", [ItemKNN, CoOccurrence])
def test_nothing_is_near_to_no_history_or_to_an_item_nobody_had(baseline):
    scores = scored(baseline().fit(known([1, 2], [], [2, 3])), [], [6], [1])
    assert not scores[:2].any()
    assert scores[2].any()
    assert not scores[:, [0, 6]].any()


@pytest.mark.parametrize("baseline", [ItemKNN, CoOccurrence])
def test_a_log_without_any_interaction_gives_zeros(baseline):
    assert not scored(baseline().fit(known([], [])), [1, 2]).any()


@pytest.mark.parametrize(
    ("baseline", "options", "said"),
    [
        (ItemKNN, {"neighbours": 0}, "neighbours must be at least 1, came 0"),
        (ItemKNN, {"shrink": -1.0}, "shrink must be at least 0, came -1"),
        (ItemKNN, {"decay": 1.5}, "decay must be between 0 and 1, came 1.5"),
        (CoOccurrence, {"window": 0}, "window must be at least 1, came 0"),
        (CoOccurrence, {"last": 0}, "last must be at least 1, came 0"),
    ],
)
def test_an_option_out_of_range_is_refused(baseline, options, said):
    with pytest.raises(ValueError, match=said):
        baseline(**options)
