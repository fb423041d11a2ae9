"""Several rankings into one, against counting by hand and against trying every order."""

from itertools import combinations, permutations

import numpy as np
import pytest
from scipy.stats import kendalltau

from llmrec import merging


def rounds(*rows: list[float]) -> np.ndarray:
    return np.array(rows, dtype=np.float64)


def against(order: tuple[int, ...], scores: np.ndarray) -> int:
    """How many pairs of any round an order, best first, has the other way round."""
    return sum(int(row[low] > row[high]) for row in scores for high, low in combinations(order, 2))


def tried(scores: np.ndarray) -> np.ndarray:
    """Kemeny's rule by trying every order."""
    orders = list(permutations(range(scores.shape[1])))
    costs = [against(order, scores) for order in orders]
    best = [order for order, cost in zip(orders, costs) if cost == min(costs)]
    places = np.mean([np.argsort(order) for order in best], axis=0)
    return scores.shape[1] - 1 - places


def test_borda_is_the_mean_number_of_candidates_below():
    merged = merging.borda(rounds([3, 2, 1], [5, 9, 0]))
    assert merged.tolist() == [1.5, 1.5, 0.0]


def test_in_bordas_rule_those_that_tie_share_their_places():
    assert merging.borda(rounds([1, 1, 0, 0])).tolist() == [2.5, 2.5, 0.5, 0.5]
    assert merging.borda(rounds([7, 7, 7])).tolist() == [1, 1, 1]


def test_of_one_round_both_rules_keep_the_order():
    scores = rounds([0.3, -2.0, 11.0, 0.4])
    for rule in (merging.borda, merging.kemeny):
        assert rule(scores).tolist() == [1, 0, 3, 2]


@pytest.mark.parametrize("seed", range(20))
def test_kemeny_is_what_trying_every_order_finds(seed: int):
    generator = np.random.default_rng(seed)
    number, times = int(generator.integers(1, 6)), int(generator.integers(1, 6))
    scores = generator.integers(0, 4, size=(times, number)).astype(float)
    assert merging.kemeny(scores) == pytest.approx(tried(scores), abs=1e-12)


def test_kemeny_puts_the_winner_of_every_comparison_first_where_borda_does_not():
    """Condorcet's own objection: a beats both others three to two, b has more points."""
    scores = rounds([2, 1, 0], [2, 1, 0], [2, 1, 0], [0, 2, 1], [0, 2, 1])
    assert np.argmax(merging.kemeny(scores)) == 0
    assert np.argmax(merging.borda(scores)) == 1


def test_what_nothing_tells_apart_ties():
    for rule in (merging.borda, merging.kemeny):
        assert len(set(rule(np.zeros((3, 5))).tolist())) == 1
        circle = rule(rounds([2, 1, 0], [0, 2, 1], [1, 0, 2]))
        assert circle == pytest.approx([1, 1, 1])


def test_kemeny_of_the_longest_list_keeps_its_order_and_a_longer_one_is_refused():
    scores = np.arange(merging.SHORT, dtype=float)[None, :].repeat(3, axis=0)
    assert merging.kemeny(scores).tolist() == list(range(merging.SHORT))
    with pytest.raises(ValueError, match="at most 8 candidates, came 9; take borda"):
        merging.kemeny(np.zeros((1, 9)))


def test_an_order_is_settled_when_every_pair_stands_as_it_did():
    assert merging.settled(np.array([1.0, 2, 3]), np.array([-5.0, 0, 0.1]))
    assert not merging.settled(np.array([1.0, 2, 3]), np.array([1.0, 3, 2]))
    assert not merging.settled(np.array([1.0, 2, 3]), np.array([1.0, 2, 2]))
    assert not merging.settled(np.array([1.0, 2, 2]), np.array([1.0, 2, 3]))


@pytest.mark.parametrize("seed", range(5))
def test_kendall_without_ties_is_scipys(seed: int):
    generator = np.random.default_rng(seed)
    first, second = generator.permutation(9).astype(float), generator.permutation(9).astype(float)
    assert merging.kendall(first, second) == pytest.approx(kendalltau(first, second).statistic)
    assert merging.kendall(first, first) == 1 and merging.kendall(first, -first) == -1


@pytest.mark.parametrize("seed", range(5))
def test_kendall_with_ties_is_scipys_tau_b(seed: int):
    first, second = np.random.default_rng(seed).integers(0, 3, (2, 8)).astype(float)
    assert merging.kendall(first, second) == pytest.approx(kendalltau(first, second).statistic)
    assert merging.kendall(first, first) == pytest.approx(1)


def test_rankings_that_tell_nothing_apart_agree_with_one_another_alone():
    assert merging.kendall(np.zeros(4), np.zeros(4)) == 1
    assert merging.kendall(np.zeros(4), np.arange(4.0)) == 0


def test_one_candidate_stands_in_the_same_order_always():
    assert merging.kendall(np.zeros(1), np.ones(1)) == 1
