"""The filter: what it takes, in which order, and that it says so."""

import re
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from small_logs import LOG, letters, log_of, rows_of

from llmrec import config, evaluation, filtering
from llmrec.config import RunConfig
from llmrec.console import Console
from llmrec.errors import DataError
from llmrec.filtering import Filtered
from llmrec.interactions import Dataset
from llmrec.options import FilterOptions
from llmrec.sources import load_dataset
from llmrec.splits.leave_one_out import LeaveOneOut
from llmrec.splits.temporal import Temporal

ML_100K = ROOT.parent / "shared" / "data" / "ml-100k"


def filtered(dataset: Dataset, **options: int | str) -> Filtered:
    return filtering.apply(dataset, FilterOptions(**options))


def sequences(dataset: Dataset) -> dict[str, str]:
    """Each user's items in order."""
    parts = dataset.interactions.partition_by("user", as_dict=True)
    return {dataset.user_ids[user]: letters(dataset, part["item"].to_numpy()) for (user,), part in parts.items()}


def test_without_an_option_nothing_changes(toy):
    result = filtering.apply(toy, FilterOptions())
    assert result.dataset.content_hash == toy.content_hash
    assert result.dataset.notes == toy.notes
    assert (len(result.users), len(result.items)) == (0, 0)
    assert FilterOptions().words == "none"


def test_the_folder_of_the_images_stays(tmp_path):
    data = replace(log_of("abacb", "abab"), images=tmp_path)
    assert filtered(data, dedupe="first", k_core=2).dataset.images == tmp_path


@pytest.mark.parametrize(("dedupe", "left"), [("none", "abacb"), ("first", "abc"), ("last", "acb")])
def test_repeats_stay_or_go_as_told_and_are_counted(dedupe, left):
    result = filtered(log_of("abacb", "abab"), dedupe=dedupe)
    assert sequences(result.dataset)["u1"] == left
    assert result.dataset.notes == (() if dedupe == "none" else (f"dedupe {dedupe}: 4 repeated interactions left out",))
    assert result.dataset.num_items == 3


@pytest.mark.parametrize(
    ("dedupe", "left"),
    [("first", "i1 i2 i3 i4"), ("last", "i2 i1 i3 i4"), ("none", "i1 i2 i1 i3 i4")],
)
def test_which_of_two_equal_events_stays_is_an_option_stated_in_the_protocol(dedupe, left):
    """A16: (u1,i1,1),(u1,i1,9)."""
    # i2 stands between the two, i3 and i4 behind them, so the order that is left tells which one went.
    data = rows_of([("u1", "i1", 1), ("u1", "i1", 9), ("u1", "i2", 5), ("u1", "i3", 10), ("u1", "i4", 11)])
    options = config.parse({"filter": {"dedupe": dedupe}})
    split = LeaveOneOut().split(filtering.apply(data, options.filter).dataset)
    assert list(data.item_ids[[*split.test.histories[0], split.test.target[0]]]) == left.split()
    protocol = evaluation.protocol_of(split, options)
    assert protocol.filter == ("none" if dedupe == "none" else f"dedupe {dedupe}")
    assert f"filter: {protocol.filter}; protocol" in protocol.line()
    assert (protocol.data_hash == data.content_hash) == (dedupe == "none")


CHAIN = log_of(*["abcde"] * 5, "abcdf")
"""Item f goes (one interaction), which leaves u6 four of five; without u6 nothing else falls below five."""


def test_a_core_is_taken_until_it_is_stable():
    """A22: chain where dropping an item pushes a user under 5."""
    result = filtered(CHAIN, k_core=5)
    assert result.items.rows() == [("f", "1 interactions, needs 5")]
    assert result.users.rows() == [("u6", "4 interactions, needs 5")]
    assert result.dataset.notes == (
        "5-core, pass 1: 0 users and 1 items leave; 6 users, 5 items and 29 interactions stay",
        "5-core, pass 2: 1 users and 0 items leave; 5 users, 5 items and 25 interactions stay",
    )
    assert sequences(result.dataset) == {f"u{number}": "abcde" for number in range(1, 6)}


def test_users_below_the_minimum_leave_with_the_core_and_are_listed():
    result = filtered(log_of("ab", "abc", "abcd", "a"), min_history=3)
    assert result.users.rows() == [("u1", "2 interactions, needs 3"), ("u4", "1 interactions, needs 3")]
    assert result.items.rows() == [], "without a core the catalogue stays"
    assert sequences(result.dataset) == {"u2": "abc", "u3": "abcd"}
    # Four interactions each: u2 and u3 leave, then c and d (one user each) fall below two, and u1 keeps only two items.
    both = log_of("abcd", "abc", "abd", "abcde")
    with pytest.raises(
        DataError, match=r"filter '2-core, users with at least 5' leaves no interaction \(.*pass 2: 1 use"
    ):
        filtered(both, k_core=2, min_history=5)


def test_only_the_most_recent_interactions_of_a_user_stay_if_told():
    result = filtered(log_of("abcde", "ab", "bcd"), max_history=3)
    assert sequences(result.dataset) == {"u1": "cde", "u2": "ab", "u3": "bcd"}
    assert result.dataset.notes == ("most recent 3 interactions of each user kept: 2 older ones of 1 users left out",)
    assert result.dataset.num_items == 5


def test_a_filter_that_leaves_nothing_says_what_each_pass_took():
    message = r"letters: filter '9-core' leaves no interaction \(9-core, pass 1: 1 users and 3 items leave"
    with pytest.raises(DataError, match=message):
        filtered(log_of("abc"), k_core=9)


def test_the_tables_keep_their_rows_in_order_and_lose_those_that_left():
    log = pl.DataFrame([("u1", "x", 1), ("u2", "z", 2), ("u1", "z", 3), ("u2", "x", 4)], LOG, orient="row")
    items = pl.DataFrame({"item_id": ["new", "z", "y", "x"], "title": ["New", "Z", "Y", "X"]})
    users = pl.DataFrame({"user_id": ["silent", "u2", "u1"], "gender": ["F", "M", "F"]})
    data = Dataset.from_tables("three", log, items, users)
    core = filtered(data, k_core=2)
    assert core.dataset.items.rows() == [("z", "Z"), ("x", "X")]
    assert core.dataset.users.rows() == [("u2", "M"), ("u1", "F")]
    assert core.dataset.interactions.rows() == [(1, 1, 2), (1, 2, 4), (2, 2, 1), (2, 1, 3)]
    assert core.items.rows() == [("new", "0 interactions, needs 2"), ("y", "0 interactions, needs 2")]
    assert core.users.rows() == [("silent", "0 interactions, needs 2")]
    assert core.dataset.interactions.schema == data.interactions.schema
    assert filtered(data, dedupe="last").dataset.content_hash == data.content_hash


def test_positions_of_a_log_without_times_are_counted_anew():
    log = pl.DataFrame([("u1", item, place) for place, item in enumerate("abab")], LOG, orient="row")
    data = Dataset.from_tables("order", log, time_unit="order")
    assert filtered(data, dedupe="last").dataset.interactions["timestamp"].to_list() == [0, 1]
    assert filtered(data, max_history=3).dataset.interactions["timestamp"].to_list() == [0, 1, 2]
    assert filtered(data, max_history=3).dataset.interactions.schema == data.interactions.schema


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"k_core": 5, "dedupe": "first"}, "dedupe first, 5-core"),
        ({"k_core": 5, "min_history": 5}, "5-core"),
        ({"k_core": 5, "min_history": 8, "max_history": 50}, "5-core, users with at least 8, last 50 of each user"),
        ({"min_history": 3}, "users with at least 3"),
        ({"min_history": 1, "k_core": 1}, "1-core"),
    ],
)
def test_the_filter_in_words_names_its_steps_in_order(options, words):
    assert FilterOptions(**options).words == words
    assert config.parse({"filter": options}).filter.words == words


@settings(deadline=None, max_examples=40)
@given(
    rows=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=40),
    k_core=st.integers(0, 3),
    min_history=st.integers(1, 4),
)
def test_no_user_and_no_item_of_a_core_is_below_it_and_no_larger_core_exists(rows, k_core, min_history):
    log = [(f"u{user}", f"i{item}", time) for time, (user, item) in enumerate(rows)]
    left = set(log)
    while True:  # one at a time, the slow way
        users, items = ([row[side] for row in left] for side in (0, 1))
        few = [row for row in left if users.count(row[0]) < max(k_core, min_history) or items.count(row[1]) < k_core]
        if not few:
            break
        left -= {few[0]}
    try:
        result = filtered(rows_of(log), k_core=k_core, min_history=min_history)
    except DataError:
        assert left == set()
        return
    data = result.dataset
    table = data.interactions
    found = zip(data.user_ids[table["user"]], data.item_ids[table["item"]], table["timestamp"])
    assert set(found) == left
    assert data.num_users + len(result.users) == len({row[0] for row in log})
    assert data.num_items + len(result.items) == len({row[1] for row in log})
    assert np.unique(table["user"]).tolist() == list(range(1, data.num_users + 1))


@pytest.mark.skipif(not ML_100K.is_dir(), reason="../shared/data/ml-100k is missing")
def test_the_5_core_of_ml_100k_takes_333_films_and_nobody():
    result = filtered(load_dataset("ml-100k", ML_100K), k_core=5)
    assert (result.dataset.num_users, result.dataset.num_items) == (943, 1682 - 333)
    assert len(result.dataset.interactions) == 99_287
    assert [re.search("pass . ?.*", note)[0] for note in result.dataset.notes if "pass" in note] == [
        "pass 1: 0 users and 333 items leave; 943 users, 1,349 items and 99,287 interactions stay"
    ]
    assert RunConfig(filter={"k_core": 5}).filter.words == "5-core"


def test_the_console_tells_who_has_no_case_from_who_was_not_drawn(capsys):
    result = filtered(log_of("a", "abc", "abcd", "abcde", "bcd"))
    Console().say_data(result, LeaveOneOut().split(result.dataset).of_users(1))
    said = [line for line in capsys.readouterr().err.splitlines() if "case" in line]
    assert said == [
        "  1 users have no case, such as 'u1' (1 interactions, needs 3)",
        "  3 users have a case and are not asked about: protocol.users draws fewer",
    ]


def test_the_console_says_who_and_what_was_left_out_and_what_nobody_uses(capsys):
    data = log_of(*["abcdef"] * 5, "abcdeg", "bcdefa", stamps=[*range(6)] * 6 + [0, 1, 2, 3, 3, 4])
    result = filtered(data, k_core=6)
    Console().say_data(result, Temporal(target="first", validation=0.4, test=0.2).split(result.dataset))
    assert capsys.readouterr().err.splitlines()[1:] == [
        "  6-core, pass 1: 0 users and 1 items leave; 7 users, 6 items and 41 interactions stay",
        "  6-core, pass 2: 1 users and 0 items leave; 6 users, 6 items and 36 interactions stay",
        "  1 users were left out, such as 'u6' (5 interactions, needs 6)",
        "  1 items were left out, such as 'g' (1 interactions, needs 6)",
        "  3 interactions of 1 users are held out and in no case",
        "  2 target items have no training interaction, such as 'd' (1 validation and 0 test targets)",
    ]
