"""Windows and batches: every position once, no user's items in another's window, the same from wherever one resumes."""

import time

import numpy as np
import pytest
import torch
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.sequences import Sequences, TrainingBatches, all_windows, last_windows
from llmrec.sources import load_dataset
from llmrec.splits.leave_one_out import LeaveOneOut

ML_100K = ROOT.parent / "shared" / "data" / "ml-100k"
QUICK = settings(deadline=None, max_examples=50)
LENGTHS = st.lists(st.integers(0, 12), max_size=6)


def numbered(lengths: list[int]) -> Sequences:
    """Sequences whose values are 1, 2, 3 ... through all of them, so that a value tells where it stood."""
    values = np.arange(1, sum(lengths) + 1)
    return Sequences.from_lists(np.split(values, np.cumsum(lengths)[:-1]) if lengths else [])


def batches(
    sequences: Sequences, windows: str = "all", batch_size: int = 3, seed: int = 0, future: int = 0
) -> TrainingBatches:
    return TrainingBatches(sequences, 4, batch_size, windows, seed, future=future)


@pytest.fixture
def some() -> Sequences:
    return numbered([0, 1, 2, 3, 5, 9, 14, 20])


@QUICK
@given(lengths=LENGTHS, max_seq_len=st.integers(1, 6), data=st.data())
def test_every_item_but_the_first_is_a_target_exactly_once_for_any_shift(lengths, max_seq_len, data):
    sequences = numbered(lengths)
    shift = np.array([data.draw(st.integers(0, max_seq_len - 1)) for _ in lengths], dtype=np.int64)
    cuts = all_windows(sequences.offsets, max_seq_len, shift)
    targets = [item for start, stop in cuts for item in range(start + 1, stop)]
    starts, stops = sequences.offsets[:-1], sequences.offsets[1:]
    expected = [item for start, stop in zip(starts, stops) for item in range(start + 1, stop)]
    assert sorted(targets) == expected
    for start, stop in cuts:
        assert 1 <= stop - start - 1 <= max_seq_len
        assert any(first <= start and stop <= last for first, last in zip(starts, stops)), "a window crosses users"


@pytest.mark.parametrize("length", [0, 1, 2])
def test_the_shortest_sequences_give_one_window_where_there_is_a_target(length):
    cuts = all_windows(np.array([0, length]), 3, np.array([0]))
    assert cuts.tolist() == ([[0, 2]] if length == 2 else [])
    assert last_windows(np.array([0, length]), 3).tolist() == cuts.tolist()


def test_the_shift_is_by_how_much_the_last_window_falls_short():
    # Six targets (items 1 to 6), three to a window: 4-6 and 1-3; moved by one: 5-6, 2-4 and 1.
    assert all_windows(np.array([0, 7]), 3, np.array([0])).tolist() == [[3, 7], [0, 4]]
    assert all_windows(np.array([0, 7]), 3, np.array([1])).tolist() == [[4, 7], [1, 5], [0, 2]]


@QUICK
@given(lengths=LENGTHS, max_seq_len=st.integers(1, 6))
def test_the_last_window_of_a_user_ends_with_his_last_item_and_is_as_long_as_it_may_be(lengths, max_seq_len):
    sequences = numbered(lengths)
    expected = [
        [stop - min(stop - start, max_seq_len + 1), stop]
        for start, stop in zip(sequences.offsets[:-1], sequences.offsets[1:])
        if stop - start >= 2
    ]
    assert last_windows(sequences.offsets, max_seq_len).tolist() == expected


@QUICK
@given(lengths=LENGTHS.filter(len), data=st.data())
def test_taking_sequences_is_taking_from_a_list(lengths, data):
    sequences = numbered(lengths)
    rows = data.draw(st.lists(st.integers(0, len(lengths) - 1), max_size=8))
    taken = sequences.take(np.array(rows, dtype=np.int64))
    assert [one.tolist() for one in taken] == [sequences[row].tolist() for row in rows]
    assert not np.shares_memory(taken.values, sequences.values)


def test_counts_and_rows_are_those_of_the_lists():
    sequences = Sequences.from_lists([[2, 2, 5], [], [1]])
    assert sequences.counts(6).tolist() == [0, 1, 2, 0, 0, 1, 0]
    assert sequences.rows().tolist() == [0, 0, 0, 2]
    assert sequences.lengths.tolist() == [3, 0, 1]
    assert len(Sequences.from_lists([])) == 0


def test_padding_stands_left_and_the_most_recent_item_last():
    padded = Sequences.from_lists([[1, 2, 3, 4, 5], [6], [], [7, 8]]).padded(3)
    assert padded.tolist() == [[3, 4, 5], [0, 0, 6], [0, 0, 0], [0, 7, 8]]
    assert Sequences.from_lists([[], []]).padded(3).tolist() == [[0], [0]]
    assert Sequences.from_lists([[1], [2, 3]]).padded(50).tolist() == [[0, 1], [2, 3]], "no wider than needed"


@pytest.mark.parametrize("windows", ["all", "last"])
def test_the_target_stands_one_step_after_its_history(some, windows):
    for batch, _ in batches(some, windows).epoch(0):
        history, target, user, whole, rows = batch
        assert len(user) == len(history) == len(rows)
        assert torch.equal(whole[rows], torch.cat([history, target[:, -1:]], dim=1)), "alone, the batch is the share"
        assert history.shape == target.shape
        assert history.shape[1] <= 4
        real = history > 0
        assert torch.equal(target[real], history[real] + 1), "values are numbered through, so the next one is one more"
        assert (target[~real] == 0).all()
        assert real[:, -1].all(), "the most recent item stands last"
        assert (real.int().diff(dim=1) >= 0).all(), "padding stands left"


def test_an_epoch_holds_every_target_once_and_tells_how_many(some):
    targets, told = [], 0
    for batch, number in batches(some).epoch(3):
        targets += batch.target[batch.target > 0].tolist()
        told += number
    firsts = some.offsets[:-1][some.lengths > 0] + 1
    assert sorted(targets) == sorted(set(range(1, len(some.values) + 1)) - set(firsts.tolist()))
    assert told == len(targets) == int(np.maximum(some.lengths - 1, 0).sum())


@pytest.mark.parametrize("windows", ["all", "last"])
def test_of_a_window_the_last_item_alone_may_be_the_target(some, windows):
    plain, last = batches(some, windows), batches(some, windows, future=1)
    for (batch, _), (other, told) in zip(plain.epoch(2), last.epoch(2), strict=True):
        assert torch.equal(other.history, batch.history) and torch.equal(other.target, batch.target[:, -1:])
        assert told == other.num_targets == len(other.history)
    (batch, _), (other, _) = next(plain.epoch(2)), next(last.every_position().epoch(2))
    assert torch.equal(batch.target, other.target), "and there is a way back"


@QUICK
@given(lengths=LENGTHS, future=st.integers(1, 7), windows=st.sampled_from(["all", "last"]), epoch=st.integers(0, 3))
def test_futures_are_the_last_items_of_a_window_and_the_history_is_what_stands_before(lengths, future, windows, epoch):
    for batch, told in batches(numbered(lengths), windows, future=future).epoch(epoch):
        assert batch.history.shape[1] <= 4
        assert told == batch.num_targets
        for row in range(len(batch.rows)):
            history, target, window = (
                part[row][part[row] > 0] for part in (batch.history, batch.target, batch.windows)
            )
            assert torch.equal(torch.cat([history, target]), window)
            assert len(target) == min(future, len(window) - 1), "at least one item of history"
            assert 1 <= len(history) <= 4
            assert (window.diff() == 1).all(), "values are numbered through: neighbours of one user"
            assert batch.target[row, -1] == batch.windows[row, -1] > 0, "padding stands left"


@QUICK
@given(lengths=LENGTHS, future=st.integers(1, 7))
def test_no_user_of_two_items_is_left_out_whatever_the_futures(lengths, future):
    sequences = numbered(lengths)
    lasts = (sequences.offsets[1:][sequences.lengths >= 2]).tolist()
    for windows in ("all", "last"):
        found = [batch.target[:, -1].tolist() for batch, _ in batches(sequences, windows, future=future).epoch(1)]
        drawn = [item for each in found for item in each]
        assert set(lasts) <= set(drawn), "every epoch has a window that ends with the last item"
    assert sorted(drawn) == lasts, "and of the last windows each does"


def test_every_item_but_the_first_of_a_history_becomes_a_target_and_how_often():
    """With a history of 4 and 3 futures an item far from both ends has one of 4 + 3 - 1 cuts before and two behind."""
    sequences, epochs = numbered([2, 3, 5, 40]), 300
    cutting = batches(sequences, batch_size=32, future=3)
    times = np.zeros(51, dtype=np.int64)
    for epoch in range(epochs):
        for batch, _ in cutting.epoch(epoch):
            times += np.bincount(batch.target[batch.target > 0], minlength=51)
    firsts = (sequences.offsets[:-1] + 1).tolist()
    assert np.flatnonzero(times == 0).tolist() == [0, *firsts]
    assert times[2] == times[5] == epochs, "the only future of two items, the last of three"
    assert times[20:40] / epochs == pytest.approx(3 / (4 + 3 - 1), abs=0.1)
    assert times.max() <= epochs, "nothing is a target twice where there are fewer futures than history"


def test_the_last_windows_with_futures_are_longer_by_these(some):
    """Four items of history and three futures, of users who have as many."""
    found = [window for batch, _ in batches(some, "last", future=3).epoch(0) for window in batch.windows]
    expected = [sequence[-7:].tolist() for sequence in some if len(sequence) >= 2]
    assert sorted(window[window > 0].tolist() for window in found) == expected


def test_last_windows_hold_at_most_max_seq_len_targets_of_each_user(some):
    targets = [item for batch, _ in batches(some, "last").epoch(0) for item in batch.target[batch.target > 0].tolist()]
    expected = [sequence[1:][-4:] for sequence in some]
    assert sorted(targets) == np.concatenate(expected).tolist()


@pytest.mark.parametrize(("first", "future"), [(0, 0), (1, 0), (2, 0), (4, 0), (0, 3), (1, 3), (3, 3)])
def test_batches_do_not_depend_on_where_one_resumes(some, first, future):
    whole = list(batches(some, future=future).epoch(2))
    assert first < len(whole)
    resumed = list(batches(some, future=future).epoch(2, first=first))
    assert len(resumed) == len(whole) - first
    for (one, targets), (other, others) in zip(whole[first:], resumed):
        assert targets == others
        assert torch.equal(one.history, other.history)
        assert torch.equal(one.target, other.target)


@pytest.mark.parametrize("future", [0, 3])
@pytest.mark.parametrize("world", [2, 3])
def test_the_ranks_together_hold_the_whole_batch_and_nothing_twice(some, world, future):
    whole = list(batches(some, future=future).epoch(1))
    shares = [list(batches(some, future=future).epoch(1, rank=rank, world=world)) for rank in range(world)]
    for step, (batch, targets) in enumerate(whole):
        parts = [share[step] for share in shares]
        together = [row[row > 0].tolist() for part, _ in parts for row in part.target]
        assert sorted(together) == sorted(row[row > 0].tolist() for row in batch.target)
        assert [number for _, number in parts] == [targets] * world, "every rank knows the targets of the whole batch"
        assert sum(int((part.target > 0).sum()) for part, _ in parts) == targets


def test_a_rank_without_a_window_still_gets_a_batch():
    parts = [list(batches(numbered([3]), "last").epoch(0, rank=rank, world=3)) for rank in range(3)]
    assert [[len(batch.history) for batch, _ in part] for part in parts] == [[1], [0], [0]]
    assert [targets for part in parts for _, targets in part] == [2, 2, 2]


def test_cuts_and_order_change_with_epoch_and_seed_and_with_nothing_else(some):
    def seen(seed: int, epoch: int) -> list:
        return [batch.target.tolist() for batch, _ in batches(some, seed=seed).epoch(epoch)]

    assert seen(0, 0) == seen(0, 0)
    assert len({str(seen(seed, epoch)) for seed in (0, 1) for epoch in (0, 1)}) == 4
    cuts = [{tuple(cut) for cut in batches(some).cuts(epoch)[0].tolist()} for epoch in range(4)]
    assert len(set(map(frozenset, cuts))) > 1, "windows are cut at other places each epoch"


@pytest.mark.skipif(not ML_100K.is_dir(), reason="../shared/data/ml-100k is missing")
@pytest.mark.parametrize(("windows", "targets"), [("all", 100_000 - 3 * 943), ("last", 38_762)])
def test_an_epoch_of_ml_100k_has_the_known_number_of_targets(windows, targets):
    """F13: 943 users, here with the real lengths: 100,000 events less two targets and the first one of each user."""
    train = LeaveOneOut().split(load_dataset("ml-100k", ML_100K)).train
    if windows == "last":
        assert targets == np.minimum(train.lengths - 1, 50).sum()
    assert targets in (97_171, 38_762)
    assert sum(number for _, number in TrainingBatches(train, 50, 128, windows, 0).epoch(0)) == targets


def test_all_positions_of_943_users_are_trained_in_one_pass():
    """F13: 943 users x 106 events: 943 * 105 targets in at most ceil((105 + 49) / 50) windows a user, not in rows."""
    sequences = Sequences.from_lists([np.arange(1, 107) for _ in range(943)])
    cutting = TrainingBatches(sequences, 50, 128, "all", 0)
    started = time.process_time()
    windows = targets = 0
    for batch, number in cutting.epoch(0):
        windows, targets = windows + len(batch.history), targets + number
    seconds = time.process_time() - started
    assert targets == 943 * 105 == 99_015
    assert 943 * 3 <= windows <= 943 * 4
    assert seconds < 2, "cutting an epoch must not count beside training it (one row per target: 314 s)"
