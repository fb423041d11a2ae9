"""Whether numbers tell what comes next: they do along the whole log, and not where the training part settles them."""

from itertools import permutations

import numpy as np
import pytest
from conftest import ROOT
from small_logs import log_of
from small_texts import no_texts

from llmrec.id_leak import next_number
from llmrec.item_ids.random import Random
from llmrec.item_ids.sequential import Sequential
from llmrec.sequences import Sequences
from llmrec.sources import load_dataset
from llmrec.splits import Cases
from llmrec.splits.leave_one_out import LeaveOneOut

BEAUTY = ROOT.parent / "shared" / "data" / "amazon-beauty"


def cases(*rows: tuple[list[int], int]) -> Cases:
    histories = Sequences.from_lists([history for history, _ in rows])
    users, targets = np.arange(1, len(rows) + 1), np.array([target for _, target in rows])
    return Cases("next_item", users, targets, np.zeros(len(rows), dtype=np.int64), histories)


def test_numbers_along_the_whole_log_give_the_target_away():
    """C1: the first line of the common Beauty.txt is `1 1 2 3 4 5`."""
    split = LeaveOneOut().split(log_of("12345"))
    found = next_number(split.test, ["", *(f"item_{number}" for number in range(1001, 1006))])
    assert (found.share, found.cases) == (1.0, 1)
    assert "is the target in 100.00% of 1 cases (by chance 20.00%)" in found.words
    assert next_number(split.test, split.dataset.item_ids.tolist()) == found


def test_sequential_numbers_of_the_training_part_tell_no_more_than_chance():
    """C1: numbered along the training part, held-out items are anywhere."""
    generator = np.random.default_rng(0)
    letters = [chr(65 + item) for item in range(40)]
    data = log_of(*("".join(generator.choice(letters, 8, replace=False)) for _ in range(4000)))
    split = LeaveOneOut().split(data)
    for naming in (Sequential(), Random()):
        found = next_number(split.test, naming.name(split.train, data.items, 0, no_texts).names)
        assert found.chance == 1 / 40
        assert abs(found.share - found.chance) < 4 * np.sqrt(found.chance / 4000)


@pytest.mark.parametrize("rows", [[([1, 2], 4)], [([3], 1), ([1, 2, 4], 3)], [([2, 5, 2], 5), ([1], 2)]])
def test_the_chance_is_the_mean_over_all_ways_to_deal_the_numbers_out(rows):
    asked = cases(*rows)
    found = [next_number(asked, ["", *map(str, dealt)]) for dealt in permutations(range(7, 12))]
    assert np.mean([each.share for each in found]) == pytest.approx(found[0].chance)


def test_names_that_carry_no_number_and_cases_without_history_measure_nothing():
    asked = cases(([1, 2], 3), ([], 1))
    assert next_number(asked, ["", "item_1", "item_2", "item_3"]).cases == 1
    assert next_number(cases(([], 1)), ["", "item_1"]) is None
    for names in (
        ["Heat", "Alien 3", "Seven"],
        ["Rocky 1", "Rocky 2", "Alien 3"],
        ["<c0><i0>", "<c0><i1>", "<c1><i0>"],
    ):
        assert next_number(asked, ["", *names]) is None


@pytest.mark.slow
@pytest.mark.skipif(not BEAUTY.is_dir(), reason="../shared/data/amazon-beauty is missing")
def test_the_common_beauty_file_tells_by_its_own_ids_and_not_by_ours():
    """C1: Beauty.txt is numbered in reading order."""
    data = load_dataset("Beauty", BEAUTY)
    split = LeaveOneOut().split(data)
    own = next_number(split.test, data.item_ids.tolist())
    assert own.share > 200 * own.chance
    # What one user met in training has numbers side by side, and another may meet it in the same order.
    for naming, factor in ((Random(), 100), (Sequential(), 8)):
        found = next_number(split.test, naming.name(split.train, data.items, 0, no_texts).names)
        assert found.share < own.share / factor
