"""Results by group of cases: who is in which group, what each is worth, and histories in a random order."""

import numpy as np
import polars as pl
import pytest
from tables import PROTOCOL

from llmrec import components, report, slices
from llmrec.interactions import Dataset
from llmrec.runs import CASES, RANKINGS, RunTable
from llmrec.sequences import Sequences
from llmrec.splits import Cases


def table(*rows: tuple[int, int | None, int | None]) -> RunTable:
    """Cases of one user each: candidates above the target of 100, its training rows, the length of the history."""
    cases = [
        (f"next_item/0/u{number}", f"u{number}", "next_item", 0, f"i{number}", above, 0, 100, length, count)
        for number, (above, count, length) in enumerate(rows)
    ]
    return RunTable(pl.DataFrame(cases, schema=CASES, orient="row"), pl.DataFrame(schema=RANKINGS), PROTOCOL, {})


def groups(run: RunTable, by: str) -> dict[str, int]:
    return {each.group: each.cases for each in slices.slices(run) if each.by == by}


def test_cold_targets_stand_apart_and_the_others_make_three_groups_of_equal_size():
    counts = [0, 0, 1, 3, 4, 4, 4, 7, 8, 9, 10, 11, 12]
    found = groups(table(*((0, count, 5) for count in counts)), "target seen")
    assert found == {"0": 2, "1 to 3": 2, "4 to 7": 4, "8 to 10": 3, "11 to 12": 2}, "as equal as steps allow"


def test_targets_of_equal_popularity_stay_in_one_group():
    assert groups(table(*((0, 7, 5) for _ in range(9))), "target seen") == {"4 to 7": 9}
    assert groups(table((0, 2, 5)), "target seen") == {"1 to 3": 1}


def test_histories_are_grouped_by_length():
    found = groups(table(*((0, 9, length) for length in (0, 5, 6, 10, 20, 50, 51, 900))), "history")
    assert found == {"0 to 5": 2, "6 to 10": 2, "11 to 20": 1, "21 to 50": 1, "over 50": 2}


def test_each_group_has_its_own_value_and_chance():
    run = table((0, 0, 3), (99, 0, 3), (0, 8, 30))
    cold = next(each for each in slices.slices(run) if each.group == "0")
    assert cold.metrics["HR@10"].value == 1 / 2
    assert cold.chance["HR@10"] == pytest.approx(10 / 100)
    assert (cold.cases, cold.users) == (2, 2)
    warm = next(each for each in slices.slices(run) if each.group == "4 to 8")
    assert warm.metrics["nDCG@10"].value == 1


def test_what_is_not_known_makes_no_group():
    assert slices.slices(table((0, None, None))) == []


def test_counts_are_those_of_the_training_part(toy: Dataset):
    split = components.create("splits", components.resolve("splits", "leave_one_out")).split(toy)
    cases = pl.DataFrame({"target": ["i3", "i7"], "target_count": [None, None]})
    counted = slices.with_counts(cases, split)["target_count"].to_list()
    trained = [toy.item_ids[item] for item in split.train.values]
    assert counted == [trained.count("i3"), trained.count("i7")]


def test_shuffling_keeps_each_history_and_changes_its_order():
    lists = [list(range(1, 30)), [5], [], [7, 7, 8]]
    some = np.arange(4)
    cases = Cases("next_item", some + 1, some + 1, some * 0, Sequences.from_lists(lists))
    mixed = slices.shuffled(cases, seed=0)
    assert [sorted(each.tolist()) for each in mixed.histories] == [sorted(each) for each in lists]
    assert mixed.histories[0].tolist() != lists[0]
    assert slices.shuffled(cases, seed=0).histories.values.tolist() == mixed.histories.values.tolist()
    assert slices.shuffled(cases, seed=1).histories.values.tolist() != mixed.histories.values.tolist()
    assert cases.histories[0].tolist() == lists[0]


def test_the_table_of_groups_fits_eighty_columns():
    run = table((0, 0, 3), (99, 2, 7), (0, 8, 30), (3, 12345, 12345))
    shown = report.show_slices("ml-100k-sasrec-minilm-l6-frozen-softmax-s0", run, run, width=80)
    assert max(map(len, shown.splitlines())) <= 80
    assert "…" not in shown
    labels = (
        "all",
        "histories shuffled",
        "target seen 0 ",
        "target seen 1 to 3",
        "history 21 to 50",
        "history over 50",
    )
    for label in labels:
        assert label in shown
