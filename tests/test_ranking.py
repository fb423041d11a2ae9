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


def rank(scores: torch.Tensor, target: torch.Tensor, out: torch.Tensor, k: int) -> ranking.Ranked:
    """Of scores and a mask by item index, the padding's column first."""
    masked = ranking.Masked.of(*out[:, 1:].nonzero(as_tuple=True))
    masked = ranking.Masked(masked.rows, masked.items + 1)
    ranker = ranking.Ranker(scores.shape[1] - 1, k)
    return ranker.rank(lambda start, stop, room: room.copy_(scores[:, start:stop]), target, masked)


def ranked(scores: torch.Tensor, target: int, out: torch.Tensor, k: int = 10) -> tuple[int, int, int, list[int]]:
    result = rank(scores, torch.tensor([target]), out, k)
    counts = (result.target_above, result.target_tied, result.num_candidates)
    return (*(int(count) for count in counts), result.items[0].tolist())


def test_the_mask_holds_each_rows_history_and_the_padding():
    histories = Sequences.from_lists([[1, 3, 3], [], [2]])
    expected = [[True, True, False, True], [True, False, False, False], [True, False, True, False]]
    assert ranking.excluded(histories, 3).tolist() == expected


@pytest.mark.slow
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
        rank(scores, torch.tensor([2]), without(of=3), 2)
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
    together = rank(scores, targets, out, 5)
    for number in range(50):
        one = slice(number, number + 1)
        alone = rank(scores[one], targets[one], out[one], 5)
        assert all(torch.equal(a[one], b) for a, b in zip(together, alone, strict=True))


@pytest.mark.parametrize(
    ("num_items", "tile", "block"), [(1000, 64, 16), (1024, 128, 32), (37, 64, 16), (300, 4096, 256)]
)
def test_tiles_and_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch, num_items: int, tile: int, block: int):
    monkeypatch.setattr(ranking, "TILE", tile)
    monkeypatch.setattr(ranking, "BLOCK", block)
    generator = torch.Generator().manual_seed(0)
    scores = torch.randint(0, 40, (60, num_items + 1), generator=generator).float()
    target = torch.randint(1, num_items + 1, (60,), generator=generator)
    out = torch.rand(60, num_items + 1, generator=generator) < 0.3
    out[0] = True
    out[0, [5, 7]] = False
    out[:, 0] = True
    result = rank(scores, target, out, 10)
    own, left = scores.gather(1, target[:, None]), ~out
    hidden = out.gather(1, target[:, None])[:, 0]
    assert 0 < hidden.sum() < 60
    number = left.sum(dim=1)
    assert torch.equal(result.num_candidates, number)
    assert torch.equal(result.target_above, torch.where(hidden, number, ((scores > own) & left).sum(dim=1)))
    assert torch.equal(result.target_tied, torch.where(hidden, 0, ((scores == own) & left).sum(dim=1) - 1))
    assert torch.equal(result.scores, scores.masked_fill(out, -torch.inf).topk(10, dim=1).values)
    listed = result.items > 0
    assert torch.equal(scores.gather(1, result.items)[listed], result.scores[listed])
    assert not out.gather(1, result.items)[listed].any()
    assert listed[0].sum() == 2
    assert all(len(set(row[row > 0].tolist())) == (row > 0).sum() for row in result.items)


def test_equal_vectors_tie_whatever_tile_they_lie_in():
    generator = torch.Generator().manual_seed(0)
    users, items = torch.randn(50, 64, generator=generator), torch.randn(9000, 64, generator=generator)
    items[8500] = items[17]
    target = torch.full((50,), 18)
    nothing = ranking.Masked.of(target[:0], target[:0])
    result = ranking.Ranker(9000, 5).rank(
        lambda start, stop, room: torch.mm(users, items[start - 1 : stop - 1].T, out=room), target, nothing
    )
    assert result.target_tied.tolist() == [1] * 50
