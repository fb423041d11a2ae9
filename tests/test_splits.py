"""Leave-one-out: what is held out cannot be reached from what is trained on, and nobody is dropped in silence."""

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from conftest import ROOT, toy_tables
from small_logs import case, letters, log_of, trained

from llmrec import components, evaluation
from llmrec.config import RunConfig
from llmrec.errors import ConfigError, DataError
from llmrec.interactions import Dataset
from llmrec.sequences import Sequences
from llmrec.sources import load_dataset
from llmrec.splits.leave_one_out import LeaveOneOut

ML_100K = ROOT.parent / "shared" / "data" / "ml-100k"


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
    protocol = evaluation.protocol_of(split, RunConfig())
    assert protocol.test_history == mode


def test_some_users_can_be_asked_for_all_and_the_protocol_says_so(toy):
    whole = LeaveOneOut().split(toy)
    some = whole.of_users(2)
    assert np.array_equal(some.train.values, whole.train.values), "everybody trains"
    assert len(some.test) == len(some.validation) == 2
    assert some.test.user.tolist() == some.validation.user.tolist()
    row = whole.test.user.tolist().index(some.test.user[0])
    assert some.test.histories[0].tolist() == whole.test.histories[row].tolist()
    assert some.test.target[0] == whole.test.target[row]
    assert some.without_case["reason"].to_list() == ["not among those drawn"] * (toy.num_users - 2)
    protocols = [evaluation.protocol_of(split, RunConfig()) for split in (whole, some)]
    assert protocols[1].targets == f"{protocols[0].targets}; of 2 users drawn at random (seed 0)"
    assert protocols[0].cases != protocols[1].cases
    assert whole.of_users(toy.num_users) is whole


def test_few_may_be_learned_from_and_the_same_ones_are_among_more(toy):
    whole = LeaveOneOut().split(toy)
    two, five = whole.learning_from(2), whole.learning_from(5)
    short = replace(whole, train=Sequences.from_lists([[1], [2, 3], [4], [5, 6]])).learning_from(1)
    assert sorted(short.train.lengths.tolist()) == [0, 0, 0, 2], "of one item nothing is learned, so it is not drawn"
    learned = [{row for row in range(len(split.train)) if len(split.train[row])} for split in (two, five)]
    assert (len(learned[0]), len(learned[1])) == (2, 5) and learned[0] < learned[1]
    assert all(two.train[row].tolist() == whole.train[row].tolist() for row in learned[0])
    assert len(two.train) == len(whole.train) and len(two.train.times) == len(two.train.values)
    assert two.test is whole.test, "everybody is asked for"
    assert whole.learning_from(toy.num_users) is whole
    with pytest.raises(ConfigError, match=f"came 5,000, but a next item is to be learned of {toy.num_users}"):
        whole.learning_from(5000)


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
