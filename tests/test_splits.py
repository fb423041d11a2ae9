"""Splits: what is held out cannot be reached from what is trained on, and nobody is dropped in silence."""

from dataclasses import fields
from typing import Any

import numpy as np
import polars as pl
import pytest
from conftest import ROOT, toy_tables

from llmrec import components, evaluation
from llmrec.config import ProtocolOptions
from llmrec.errors import DataError
from llmrec.interactions import Dataset
from llmrec.sources import load_dataset
from llmrec.splits import Cases, Split
from llmrec.splits.leave_one_out import LeaveOneOut

ML_100K = ROOT.parent / "shared" / "data" / "ml-100k"


def log_of(*users: str, stamps: list[int] | None = None) -> Dataset:
    """One user per string, one interaction per letter: ``log_of("abc")`` is u1 with the items a, b, c in that order."""
    rows = [(f"u{number}", item) for number, items in enumerate(users, 1) for item in items]
    times = stamps or list(range(len(rows)))
    table = pl.DataFrame(rows, schema=["user_id", "item_id"], orient="row")
    return Dataset.from_tables("letters", table.with_columns(pl.Series("timestamp", times, dtype=pl.Int64)))


def letters(dataset: Dataset, items: np.ndarray) -> str:
    return "".join(dataset.item_ids[items])


def trained(split: Split) -> list[str]:
    return [letters(split.dataset, sequence) for sequence in split.train]


def case(split: Split, part: str, row: int = 0) -> tuple[str, str, str]:
    """User, history and target of a case."""
    cases: Cases = getattr(split, part)
    history = letters(split.dataset, cases.histories[row])
    return split.dataset.user_ids[cases.user[row]], history, letters(split.dataset, cases.target[row : row + 1])


def arrays(split: Split) -> dict[str, np.ndarray]:
    """Every array that a split holds, by where it is."""
    found = {"train": split.train.values, "train offsets": split.train.offsets}
    for part in ("validation", "test"):
        cases = getattr(split, part)
        plain = {field.name: getattr(cases, field.name) for field in fields(cases)}
        found |= {f"{part} {name}": value for name, value in plain.items() if isinstance(value, np.ndarray)}
        found[f"{part} histories"] = cases.histories.values
    return found


@pytest.mark.parametrize("name", components.names("splits"))
def test_no_array_of_one_part_shares_memory_with_another_or_with_the_log(name, toy):
    """C3: custom model reading train history."""
    split = components.create("splits", components.resolve("splits", name)).split(toy)
    found = arrays(split)
    log = {column: toy.interactions[column].to_numpy() for column in ("user", "item", "timestamp")}
    shared = [
        (first, second)
        for first, one in found.items()
        for second, other in {**found, **{f"log {column}": values for column, values in log.items()}}.items()
        if first != second and first.split()[0] != second.split()[0] and np.shares_memory(one, other)
    ]
    assert shared == []
    assert all(value.base is None or not np.shares_memory(value.base, log["item"]) for value in found.values())


def test_a_model_that_reads_all_of_the_training_part_sees_no_target(toy):
    """C3: custom model reading train history; the targets are the two events behind each user's training part."""
    split = LeaveOneOut().split(toy)
    for user, (sequence, theirs) in enumerate(zip(split.train, toy.interactions.partition_by("user")), 1):
        items = theirs["item"].to_list()
        assert len(items) >= 5
        assert sequence.tolist() == items[:-2]
        assert [split.validation.user[user - 1], split.validation.target[user - 1]] == [user, items[-2]]
        assert [split.test.user[user - 1], split.test.target[user - 1]] == [user, items[-1]]
    assert len(split.train.values) == len(toy.interactions) - 2 * toy.num_users
    # Writing over the training part, as a careless model might, changes no case.
    before = split.test.histories.values.copy()
    split.train.values[:] = 0
    assert (split.test.histories.values == before).all()
    assert (split.validation.histories.values > 0).all()


def test_the_last_event_tests_and_the_one_before_it_validates():
    split = LeaveOneOut().split(log_of("abcde"))
    assert trained(split) == ["abc"]
    assert case(split, "validation") == ("u1", "abc", "d")
    assert case(split, "test") == ("u1", "abcd", "e")
    assert split.test.case_ids(split.dataset.user_ids) == ["next_item/0/u1"]
    assert split.without_case.is_empty()


@pytest.mark.parametrize(("mode", "history"), [("training + validation", "abcd"), ("training", "abc")])
def test_the_history_for_test_is_either_of_two_and_the_protocol_says_which(mode, history):
    """C5: history for test = train vs train+valid."""
    spec = components.resolve("splits", {"name": "leave_one_out", "test_history": mode})
    dataset = log_of("abcde")
    split = components.create("splits", spec).split(dataset)
    assert case(split, "test") == ("u1", history, "e")
    assert case(split, "validation") == ("u1", "abc", "d"), "validation is the same either way"
    protocol = evaluation.protocol_of(dataset, spec, split.description, split.test, ProtocolOptions())
    assert protocol.test_history == mode


def test_users_too_short_for_a_case_train_and_are_listed_with_the_reason():
    """A17: users with 1, 2, 3 and 4 rows."""
    split = LeaveOneOut().split(log_of("a", "ab", "abc", "abcd"))
    assert split.without_case.rows() == [("u1", "1 interactions, needs 3"), ("u2", "2 interactions, needs 3")]
    assert trained(split) == ["a", "ab", "a", "ab"]
    assert [case(split, "validation", row) for row in (0, 1)] == [("u3", "a", "b"), ("u4", "ab", "c")]
    assert [case(split, "test", row) for row in (0, 1)] == [("u3", "ab", "c"), ("u4", "abc", "d")]
    assert len(split.validation) == len(split.test) == 2


def test_a_user_of_the_table_without_any_event_is_listed_too():
    table = pl.DataFrame({"user_id": ["u1", "u1", "u1"], "item_id": ["a", "b", "c"], "timestamp": [1, 2, 3]})
    dataset = Dataset.from_tables("quiet", table, users=pl.DataFrame({"user_id": ["silent", "u1"]}))
    split = LeaveOneOut().split(dataset)
    assert split.without_case.rows() == [("silent", "0 interactions, needs 3")]
    assert trained(split) == ["", "a"]
    assert case(split, "test") == ("u1", "ab", "c")


def test_a_log_without_any_case_is_refused():
    with pytest.raises(DataError, match=r"letters: no user has 3 interactions \(the longest history has 2\)"):
        LeaveOneOut().split(log_of("a", "ab"))


@pytest.mark.parametrize(
    ("dedupe", "train", "test"),
    [("none", "aba", ("u1", "abac", "b")), ("first", "a", ("u1", "ab", "c")), ("last", "a", ("u1", "ac", "b"))],
)
def test_repeats_stay_or_go_before_anything_is_cut(dedupe, train, test):
    split = LeaveOneOut(dedupe=dedupe).split(log_of("abacb"))
    assert trained(split) == [train]
    assert case(split, "test") == test


@pytest.mark.parametrize(
    ("dedupe", "left"),
    [("first", "i1 i2 i3 i4"), ("last", "i2 i1 i3 i4"), ("none", "i1 i2 i1 i3 i4")],
)
def test_which_of_two_equal_events_stays_is_an_option_stated_in_the_protocol(dedupe, left):
    """A16: (u1,i1,1),(u1,i1,9)."""
    # i2 stands between the two, i3 and i4 behind them, so the order that is left tells which one went.
    rows = [("u1", "i1", 1), ("u1", "i1", 9), ("u1", "i2", 5), ("u1", "i3", 10), ("u1", "i4", 11)]
    dataset = Dataset.from_tables("rows", pl.DataFrame(rows, ["user_id", "item_id", "timestamp"], orient="row"))
    spec = components.resolve("splits", {"name": "leave_one_out", "dedupe": dedupe})
    split = components.create("splits", spec).split(dataset)
    assert list(dataset.item_ids[[*split.test.histories[0], split.test.target[0]]]) == left.split()
    protocol = evaluation.protocol_of(dataset, spec, split.description, split.test, ProtocolOptions())
    assert protocol.dedupe == dedupe


def test_dedupe_can_leave_a_user_without_a_case():
    split = LeaveOneOut(dedupe="first").split(log_of("aaab", "abc"))
    assert split.without_case.rows() == [("u1", "2 interactions, needs 3")]
    assert trained(split) == ["ab", "a"]


def test_taking_cases_keeps_each_with_its_history():
    split = LeaveOneOut().split(log_of("abc", "bcd", "cdea"))
    some = split.test.take(np.array([2, 0]))
    assert some.case_ids(split.dataset.user_ids) == ["next_item/0/u3", "next_item/0/u1"]
    assert [letters(split.dataset, history) for history in some.histories] == ["cde", "ab"]
    assert letters(split.dataset, some.target) == "ac"


def test_the_order_of_users_in_the_file_does_not_matter():
    log, _ = toy_tables(num_users=6)
    table: Any = log.sort("user_id", descending=True, maintain_order=True)
    one, other = (LeaveOneOut().split(Dataset.from_tables("toy", each)) for each in (log, table))
    targets = [
        dict(zip(split.test.case_ids(split.dataset.user_ids), split.dataset.item_ids[split.test.target]))
        for split in (one, other)
    ]
    assert targets[0] == targets[1]


@pytest.mark.skipif(not ML_100K.is_dir(), reason="../shared/data/ml-100k is missing")
def test_ml_100k_splits_into_the_known_counts():
    split = LeaveOneOut().split(load_dataset("ml-100k", ML_100K))
    assert (len(split.train.values), len(split.validation), len(split.test)) == (100_000 - 2 * 943, 943, 943)
    assert split.without_case.is_empty()
