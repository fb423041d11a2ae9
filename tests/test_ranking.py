"""From scores to counts and lists, against counting by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec import ranking
from llmrec.errors import DataError
from llmrec.sequences import Sequences


def row(*values: float) -> torch.Tensor:
    """Scores of one case; the padding's column comes first and is the best of all, which must not matter."""
    return torch.tensor([[99.0, *values]])


def without(*items: int, of: int) -> torch.Tensor:
    mask = torch.zeros(1, of + 1, dtype=torch.bool)
    mask[0, [0, *items]] = True
    return mask


def ranked(scores: torch.Tensor, target: int, out: torch.Tensor, k: int = 10) -> tuple[int, int, int, list[int]]:
    result = ranking.rank(scores, torch.tensor([target]), out, k)
    counts = (result.target_above, result.target_tied, result.num_candidates)
    return (*(int(count) for count in counts), result.items[0].tolist())


def test_the_mask_holds_each_rows_history_and_the_padding():
    histories = Sequences.from_lists([[1, 3, 3], [], [2]])
    expected = [[True, True, False, True], [True, False, False, False], [True, False, True, False]]
    assert ranking.excluded(histories, 3).tolist() == expected


@given(data=st.data(), items=st.integers(1, 8), k=st.integers(1, 12))
@settings(deadline=None)
def test_counts_and_lists_are_those_of_counting_by_hand(data, items: int, k: int):
    catalogue = list(range(1, items + 1))
    scores = data.draw(st.lists(st.integers(-3, 3), min_size=items, max_size=items))
    out = data.draw(st.sets(st.sampled_from(catalogue)))
    target = data.draw(st.sampled_from(catalogue))
    above, tied, candidates, best = ranked(row(*scores), target, without(*out, of=items), k)

    left = [item for item in catalogue if item not in out]
    own = scores[target - 1]
    if target in out:
        assert (above, tied) == (len(left), 0)
    else:
        assert above == sum(scores[item - 1] > own for item in left)
        assert tied == sum(scores[item - 1] == own for item in left) - 1
    assert candidates == len(left)
    expected = sorted((scores[item - 1] for item in left), reverse=True)[:k]
    assert [scores[item - 1] for item in best if item] == expected
    assert len(set(best) - {0}) == len(expected) and not out & set(best)


def test_a_list_deeper_than_the_catalogue_ends_with_it():
    """B2: 5 items, k = 10."""
    above, tied, candidates, best = ranked(row(1, 5, 2, 4, 3), 1, without(of=5), k=10)
    assert (above, tied, candidates) == (4, 0, 5)
    assert best == [2, 4, 5, 3, 1]


def test_equal_scores_count_as_tied_never_as_better_or_worse():
    """B5: all scores 0, 101 candidates."""
    assert ranked(torch.zeros(1, 102), 1, without(of=101))[:3] == (0, 100, 101)
    assert ranked(torch.zeros(1, 102), 101, without(of=101))[:3] == (0, 100, 101)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("item", [2, 3])
def test_a_score_that_is_not_finite_raises_and_names_the_item(bad: float, item: int):
    """B6: target score NaN, which sorting would rank first; also any other candidate's."""
    scores = row(1, 2, 3)
    scores[0, item] = bad
    with pytest.raises(DataError, match=f"1 scores are not finite, the first for item {item} in row 0"):
        ranking.rank(scores, torch.tensor([2]), without(of=3), 2)
    with pytest.raises(DataError, match="not finite"):
        ranking.top_k(scores, without(of=3), 2)


def test_scores_of_items_that_are_out_may_be_anything():
    scores = row(1, float("nan"), 3)
    scores[0, 0] = float("inf")
    assert ranked(scores, 1, without(2, of=3)) == (1, 0, 2, [3, 1, 0])


def test_a_target_in_its_masked_history_has_every_candidate_above_it_and_is_never_listed():
    assert ranked(row(9, 3, 2, 1), 1, without(1, of=4)) == (3, 0, 3, [2, 3, 4, 0])


def test_tied_items_that_are_out_are_not_counted():
    assert ranked(row(1, 1, 1, 2), 1, without(2, 4, of=4))[:3] == (0, 1, 2)


def test_every_row_is_ranked_by_itself():
    scores = torch.from_numpy(np.random.default_rng(0).integers(0, 4, size=(50, 21))).float()
    targets = torch.from_numpy(np.random.default_rng(1).integers(1, 21, size=50))
    out = torch.from_numpy(np.random.default_rng(2).random((50, 21)) < 0.2)
    together = ranking.rank(scores, targets, out, 5)
    for number in range(50):
        one = slice(number, number + 1)
        alone = ranking.rank(scores[one], targets[one], out[one], 5)
        assert all(torch.equal(a[one], b) for a, b in zip(together, alone, strict=True))
