"""Splits by item, by user and by the publisher: who is held out, who is asked for what, and what nobody uses."""

from dataclasses import replace

import polars as pl
import pytest
from small_logs import asked, case, letters, log_of, trained

from llmrec.errors import DataError
from llmrec.splits.cold_item import ColdItem
from llmrec.splits.given import Given
from llmrec.splits.user_ratio import UserRatio

LETTERS = "abcdefghij"


def cold(share: float = 0.2, seed: int = 0):
    """Ten users with the same ten items, each beginning with another one."""
    return ColdItem(share=share, seed=seed).split(log_of(*(LETTERS[place:] + LETTERS[:place] for place in range(10))))


# Cold items


def test_no_interaction_with_a_held_out_item_is_in_training_or_in_a_history():
    split = cold()
    warm = set("".join(trained(split)))
    held = {part: {target for _, _, target in asked(split, part)} for part in ("validation", "test")}
    for part in ("validation", "test"):
        assert not set("".join(history for _, history, _ in asked(split, part))) - warm
    assert len(warm) == 6
    assert warm | held["validation"] | held["test"] == set(LETTERS)
    assert not held["validation"] & held["test"]
    assert [len(sequence) for sequence in trained(split)] == [6] * 10
    assert split.dataset.num_items == 10, "the catalogue holds cold items too"
    assert split.cold_items()["item_id"].to_list() == sorted(set(LETTERS) - warm)


def test_the_target_is_the_last_cold_item_that_has_a_warm_one_before_it():
    split = cold()
    items = dict(zip((f"u{number}" for number in range(1, 11)), (LETTERS[at:] + LETTERS[:at] for at in range(10))))
    warm = set("".join(trained(split)))
    held = {target for _, _, target in asked(split, "test")}
    for user, history, target in asked(split, "test"):
        place = items[user].index(target)
        assert history == "".join(item for item in items[user][:place] if item in warm)
        assert not set(items[user][place + 1 :]) & held


def test_another_seed_holds_out_other_items_and_the_protocol_says_so():
    seen = {seed: (cold(seed=seed).cold_items()["item_id"].to_list(), cold(seed=seed).description) for seed in range(3)}
    assert len({str(items) for items, _ in seen.values()}) > 1
    assert seen[2][1].endswith("0.2 of the items test, as many others validate (seed 2)")


def test_users_without_a_cold_item_or_with_nothing_before_it_are_listed():
    data = log_of(*[LETTERS] * 4, "a", "b", "c", "d", "e", "f", "g", "h", "i", "j")
    split = ColdItem(share=0.2).split(data)
    warm = set("".join(trained(split)))
    for user, reason in split.without_case.rows():
        mine = letters(data, data.interactions.filter(data.interactions["user"] == int(user[1:]))["item"].to_numpy())
        expected = "met no held-out item" if mine in warm else "met no trained item before a held-out one"
        assert reason == expected
    assert len(split.without_case) == 10
    with pytest.raises(DataError, match="of 2 items with interactions, 1 each for validation and test leave none"):
        ColdItem().split(log_of("ab", "ba"))


# Users


def test_held_out_users_are_not_trained_on_and_asked_for_their_last_item():
    data = log_of(*[LETTERS] * 20)
    split = UserRatio(validation=0.1, test=0.25, seed=3).split(data)
    assert (len(split.validation), len(split.test)) == (2, 5)
    out = {*split.validation.user.tolist(), *split.test.user.tolist()}
    assert len(out) == 7
    assert trained(split) == ["" if user in out else LETTERS for user in range(1, 21)]
    assert {case[1:] for case in asked(split, "test")} == {(LETTERS[:-1], "j")}
    assert split.unused.is_empty()
    assert set(split.without_case["reason"]) == {"not drawn, trains"}
    assert split.description.endswith("0.25 of the users test, 0.1 validate (seed 3)")
    others = UserRatio(validation=0.1, test=0.25, seed=4).split(data)
    assert others.test.user.tolist() != split.test.user.tolist()


def test_a_user_with_one_interaction_is_never_drawn():
    for seed in range(5):
        split = UserRatio(validation=0.3, test=0.3, seed=seed).split(log_of("a", "ab", "abc", "abcd"))
        assert trained(split)[0] == "a"
        assert split.without_case.row(0) == ("u1", "1 interactions, needs 2")
        assert (len(split.validation), len(split.test)) == (1, 1)
    with pytest.raises(DataError, match="of 2 users with 2 interactions or more, 1 for validation and 1 for test"):
        UserRatio().split(log_of("ab", "a", "abc"))


# The publisher's parts


def test_the_parts_of_the_publisher_are_followed_to_the_row():
    split = Given().split(log_of("abcde", "fgh", "ij", "k", parts="rrvee" + "rev" + "rr" + "e"))
    assert trained(split) == ["ab", "f", "ij", ""]
    assert asked(split, "validation") == [("u1", "ab", "c"), ("u2", "fg", "h")]
    assert asked(split, "test") == [("u1", "abc", "d"), ("u1", "abcd", "e"), ("u2", "f", "g")]
    assert split.test.target_index.tolist() == [0, 1, 0]
    assert split.test.case_ids(split.dataset.user_ids)[:2] == ["next_item/0/u1", "next_item/1/u1"]
    assert split.without_case.rows() == [
        ("u3", "no validation or test interaction"),
        ("u4", "no interaction before a validation or test one"),
    ]
    assert split.unused.rows() == [("u4", 1)]
    assert case(split, "test", 2) == ("u2", "f", "g")


def test_data_without_parts_or_with_other_ones_are_refused():
    with pytest.raises(DataError, match=r"letters brings no split: its interactions have no column 'part' \(they have"):
        Given().split(log_of("abc"))
    data = log_of("abc", parts="rve")
    for values, message in (
        (["train", "valid", "test"], "no part 'valid'; did you mean 'validation'"),
        (["train", None, "test"], "1 interactions have no part"),
    ):
        log = data.interactions.with_columns(pl.Series("part", values))
        with pytest.raises(DataError, match=message):
            Given().split(replace(data, interactions=log))
