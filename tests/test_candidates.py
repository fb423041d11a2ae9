"""Among which items a target is to be found: drawn, from a file, from a retriever; and what their scores measure."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from conftest import toy_tables
from small_logs import log_of
from tables import PROTOCOL

from llmrec import candidates, evaluation
from llmrec.candidates import Candidates, drawn, retrieved, stored
from llmrec.errors import ConfigError, DataError
from llmrec.interactions import Dataset
from llmrec.runs import RANKINGS, RunTable
from llmrec.sequences import Sequences
from llmrec.splits import Cases
from llmrec.splits.leave_one_out import LeaveOneOut

TOY = Dataset.from_tables("toy", *toy_tables())
CASES = LeaveOneOut().split(TOY).test
LETTERS = log_of("abcd", "bcda", "cdef", "ghij")
FOUR = LeaveOneOut().split(LETTERS).test
"""u1 knows abc and is to find d; u2 bcd, a; u3 cde, f; u4 ghi, j."""


def ids(chosen: Candidates, row: int) -> list[str]:
    return chosen.dataset.item_ids[chosen.items[row]].tolist()


def names(chosen: Candidates) -> list[set[str]]:
    return [set(ids(chosen, row)) for row in range(len(chosen.items))]


def measured(chosen: Candidates, scores: list[np.ndarray]) -> tuple[RunTable, dict[str, dict[str, float]]]:
    table = RunTable(*chosen.ranked(scores), PROTOCOL, {})
    return table, evaluation.summary(table, ("HR@1", "HR@3", "nDCG@10", "MRR@10"))


def lists(**items: str) -> pl.DataFrame:
    """Lists of u1 ... as a retriever saves them; the rows are in an order that means nothing."""
    rows = [
        (f"next_item/0/{user}", user, item, -float(rank), rank)
        for user, letters in items.items()
        for rank, item in enumerate(letters, 1)
    ]
    return pl.DataFrame(rows, RANKINGS, orient="row").sort("item_id")


def file(folder: Path, *lines: str) -> Path:
    path = folder / "pool.random"
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


# Drawn


def test_drawn_candidates_hold_the_target_once_and_nothing_else_of_the_history():
    chosen = drawn(CASES, TOY, 6, seed=0)
    for row, items in enumerate(chosen.items):
        assert len(set(items.tolist())) == len(items) == 6
        assert (items == CASES.target[row]).sum() == 1
        assert not set(items.tolist()) & (set(CASES.histories[row].tolist()) - {CASES.target[row]})
        assert items.min() >= 1


def test_a_target_that_was_met_before_is_still_a_candidate():
    again = log_of("abcda", "efgh")
    cases = LeaveOneOut().split(again).test
    chosen = drawn(cases, again, 4, seed=0)
    assert "a" in ids(chosen, 0) and not set(ids(chosen, 0)) & set("bcd")


def test_a_case_is_given_the_same_candidates_in_the_same_order_whatever_other_cases_are_asked_about():
    whole = drawn(CASES, TOY, 6, seed=0)
    rows = np.array([7, 3])
    some = drawn(CASES.take(rows), TOY, 6, seed=0)
    assert [items.tolist() for items in some.items] == [whole.items[row].tolist() for row in rows]
    assert [items.tolist() for items in whole.take(rows).items] == [items.tolist() for items in some.items]


def test_another_seed_draws_other_candidates():
    assert names(drawn(CASES, TOY, 6, seed=0)) != names(drawn(CASES, TOY, 6, seed=1))


def test_the_target_stands_at_another_place_in_every_case():
    places = [drawn(CASES, TOY, 6, seed=0).place_of_target(row) for row in range(len(CASES))]
    assert set(places) == set(range(6))


def test_cases_with_the_same_history_are_shuffled_apart():
    twins = log_of(*["abcd"] * 12, "efghij")
    orders = {tuple(items) for items in drawn(LeaveOneOut().split(twins).test, twins, 5, seed=0).items[:12]}
    assert len(orders) >= 10


def test_too_few_items_outside_of_a_history_are_refused_with_the_case():
    assert len(drawn(FOUR, LETTERS, 7, seed=0).items[0]) == 7
    with pytest.raises(ConfigError, match=r"case 'next_item/0/u1' has 6 items outside of its history .* 8 candidates"):
        drawn(FOUR, LETTERS, 8, seed=0)


def test_one_candidate_is_no_choice(tmp_path):
    with pytest.raises(ConfigError, match="at least 2 candidates, came 1"):
        drawn(FOUR, LETTERS, 1, seed=0)
    with pytest.raises(ConfigError, match="at least 2"):
        stored(FOUR, LETTERS, file(tmp_path, "u1\ta b"), 1, 0, insert_target=False)
    with pytest.raises(ConfigError, match="at least 2"):
        retrieved(FOUR, LETTERS, lists(u1="ab"), "pop", 1, insert_target=False)


# Stored


def test_a_file_gives_the_first_of_each_line_in_an_order_of_the_cases_own(tmp_path):
    path = file(tmp_path, *(f"u{user}\tj i h g f e d c b a" for user in (4, 1, 2, 3)))
    chosen, notes = stored(FOUR, LETTERS, path, 9, 0, insert_target=False)
    assert names(chosen) == [set("jihgfedcb")] * 4 and notes == []
    assert len({tuple(items) for items in chosen.items}) == 4
    assert chosen.words == "the first 9 of pool.random" and chosen.seed is None
    assert [chosen.place_of_target(row) is None for row in range(4)] == [False, True, False, False]


def test_with_the_target_inserted_it_is_there_once_and_the_rest_is_drawn_from_the_line(tmp_path):
    path = file(tmp_path, "u1\te f g h d", "u2\te f g h", "u3\te g h i", "u4\ta b c d")
    chosen, _ = stored(FOUR, LETTERS, path, 4, 0, insert_target=True)
    lines = ["efgh", "efgh", "eghi", "abcd"]
    for row, target in enumerate("dafj"):
        assert ids(chosen, row).count(target) == 1 and len(names(chosen)[row]) == 4
        assert names(chosen)[row] - {target} <= set(lines[row])
    assert chosen.seed == 0 and "target inserted among 3 drawn" in chosen.words


def test_users_without_a_case_are_counted_and_cases_without_a_line_leave(tmp_path):
    path = file(tmp_path, "nobody\ta b", "u3\tf g", "u1\td g")
    chosen, notes = stored(FOUR, LETTERS, path, 2, 0, insert_target=False)
    assert chosen.ids == ["next_item/0/u1", "next_item/0/u3"]
    assert notes == ["pool.random: 1 of 3 users have no case"]
    with pytest.raises(DataError, match="none of its 1 users has a case, such as 'nobody'"):
        stored(FOUR, LETTERS, file(tmp_path, "nobody\ta b"), 2, 0, insert_target=False)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["u1\ta b", "u2 c d"], r"pool\.random, line 2: expected a user, a tab and item ids, found 'u2 c d'"),
        (["u1\t"], r"pool\.random, line 1: expected a user, a tab"),
        (["u1\ta b", "u2\ta z"], r"pool\.random, line 2: 'z' is none of the 10 items"),
        (["u1\ta b", "u2\ta b", "u1\tc d"], r"pool\.random, line 3: user 'u1' has a line already"),
        (["u1\ta b c", "u2\ta a a"], r"pool\.random: user 'u2' has 1 candidates, too few"),
        ([], r"pool\.random is empty"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_its_line(tmp_path, lines: list[str], message: str):
    with pytest.raises(DataError, match=message):
        stored(FOUR, LETTERS, file(tmp_path, *lines), 2, 0, insert_target=False)


def test_a_line_whose_other_items_are_too_few_beside_the_target_is_refused(tmp_path):
    path = file(tmp_path, "u1\td a b")
    assert len(stored(FOUR, LETTERS, path, 3, 0, insert_target=True)[0].items[0]) == 3
    with pytest.raises(DataError, match="too few"):
        stored(FOUR, LETTERS, path, 4, 0, insert_target=True)


def test_a_file_that_is_not_there_or_not_utf_8_is_refused(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        stored(FOUR, LETTERS, tmp_path / "nowhere", 2, 0, insert_target=False)
    (tmp_path / "latin").write_bytes(b"u1\t\xe9 b\n")
    with pytest.raises(DataError, match="cannot be read"):
        stored(FOUR, LETTERS, tmp_path / "latin", 2, 0, insert_target=False)


# Retrieved


def test_a_target_that_was_not_retrieved_stays_missing_and_is_a_miss_at_any_depth():
    found = lists(u1="hgd", u2="hge", u3="hgb", u4="hge")
    chosen = retrieved(FOUR, LETTERS, found, "popularity", 3, insert_target=False)
    assert names(chosen) == [set("hgd"), set("hge"), set("hgb"), set("hge")]
    assert [chosen.place_of_target(row) is None for row in range(4)] == [False, True, True, True]
    table, numbers = measured(chosen, [np.zeros(3)] * 4)
    assert numbers["HR@3"]["value"] == 1 / 4 == numbers["HR@3"]["chance"]
    assert evaluation.summary(table, ("HR@1000",))["HR@1000"]["value"] == 1 / 4
    assert "inserted" not in chosen.words


def test_an_inserted_target_takes_the_place_of_the_last_and_the_words_say_so():
    found = lists(u1="hgd", u2="hge", u3="hg", u4="hgej")
    chosen = retrieved(FOUR, LETTERS, found, "popularity", 3, insert_target=True)
    assert names(chosen) == [set("hgd"), set("hga"), set("hgf"), set("hgj")]
    assert chosen.words == "the first 3 of popularity, target inserted where it was missing"


def test_a_list_that_ends_before_the_depth_gives_what_there_is():
    chosen = retrieved(FOUR, LETTERS, lists(u1="hd", u2="a", u3="hgf", u4="j"), "pop", 50, insert_target=False)
    assert [len(items) for items in chosen.items] == [2, 1, 3, 1]


def test_nothing_of_the_retrievers_order_is_left():
    found = lists(**{f"u{user}": "jihgfedcba" for user in (1, 2, 3, 4)})
    orders = {"".join(ids(retrieved(FOUR, LETTERS, found, "pop", 10, insert_target=False), row)) for row in range(4)}
    assert len(orders) == 4 and "jihgfedcba" not in orders


def test_a_case_without_a_list_and_an_item_of_other_data_are_refused():
    with pytest.raises(DataError, match="pop has no list for case 'next_item/0/u3'"):
        retrieved(FOUR, LETTERS, lists(u1="ab", u2="ab", u4="ab"), "pop", 2, insert_target=False)
    with pytest.raises(DataError, match=r"pop .*'z'"):
        retrieved(FOUR, LETTERS, lists(u1="ab", u2="az", u3="ab", u4="ab"), "pop", 2, insert_target=False)


# What scores measure


def test_equal_scores_measure_exactly_as_chance_and_an_oracle_measures_one():
    chosen = drawn(CASES, TOY, 6, seed=0)
    _, constant = measured(chosen, [np.full(6, 0.25)] * len(CASES))
    for name, numbers in constant.items():
        assert numbers["value"] == pytest.approx(numbers["chance"], abs=1e-15), name
    assert constant["HR@1"]["chance"] == pytest.approx(1 / 6) and constant["HR@3"]["chance"] == pytest.approx(1 / 2)
    oracle = [(items == target).astype(float) for items, target in zip(chosen.items, CASES.target)]
    assert all(numbers["value"] == 1 for numbers in measured(chosen, oracle)[1].values())


def test_ranked_counts_what_is_above_and_tied_and_lists_every_candidate_once():
    chosen = drawn(FOUR, LETTERS, 5, seed=0)
    chosen = replace(
        chosen, items=[np.r_[target, items[items != target]] for target, items in zip(FOUR.target, chosen.items)]
    )
    scores = [np.array([2.0, 3.0, 2.0, 2.0, 1.0])] * 4
    cases, rankings = chosen.ranked(scores)
    assert cases["target_above"].to_list() == [1] * 4 and cases["target_tied"].to_list() == [2] * 4
    assert cases["num_candidates"].to_list() == [5] * 4 and cases["case_id"].to_list() == chosen.ids
    for row, case in enumerate(chosen.ids):
        mine = rankings.filter(pl.col("case_id") == case)
        assert set(mine["item_id"]) == names(chosen)[row] and len(mine) == 5
        assert mine["rank"].to_list() == [1, 2, 3, 4, 5] and mine["score"].to_list() == [3, 2, 2, 2, 1]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_scores_that_are_not_finite_are_refused_with_the_case(bad: float):
    chosen = drawn(FOUR, LETTERS, 3, seed=0)
    with pytest.raises(DataError, match="case 'next_item/0/u2' has scores that are not finite"):
        chosen.ranked([np.zeros(3), np.array([0, bad, 1]), np.zeros(3), np.zeros(3)])


def test_scores_are_those_that_the_scorer_gives_the_candidates(monkeypatch):
    class ByLast:
        def score(self, histories: Sequences) -> torch.Tensor:
            last = torch.tensor([float(histories[row][-1]) for row in range(len(histories))])
            return 100 * last[:, None] + torch.arange(TOY.num_items + 1.0)

    monkeypatch.setattr(candidates, "CHUNK_SCORES", 3 * (TOY.num_items + 1))
    chosen = drawn(CASES, TOY, 6, seed=0)
    found = chosen.scores(ByLast())
    assert len(found) == len(CASES) > 3
    for row, values in enumerate(found):
        assert values.tolist() == [100 * float(CASES.histories[row][-1]) + item for item in chosen.items[row]]


# Hash and file


def test_the_hash_is_of_the_sets_and_not_of_their_order():
    chosen = drawn(CASES, TOY, 6, seed=0)
    turned = replace(chosen, items=[items[::-1] for items in chosen.items])
    rows = np.arange(len(CASES))[::-1]
    assert chosen.hash == turned.hash == chosen.take(rows).hash and len(chosen.hash) == 16
    assert chosen.hash != drawn(CASES, TOY, 6, seed=1).hash != chosen.take(rows[1:]).hash


def test_what_is_saved_is_a_row_for_each_candidate_in_its_place(tmp_path):
    chosen = retrieved(FOUR, LETTERS, lists(u1="hd", u2="ac", u3="hgf", u4="j"), "pop", 50, insert_target=False)
    chosen.save(tmp_path / "candidates.parquet")
    table = pl.read_parquet(tmp_path / "candidates.parquet")
    assert table.columns == ["case_id", "place", "item_id"] and table["place"].to_list() == [1, 2, 1, 2, 1, 2, 3, 1]
    for row, case in enumerate(chosen.ids):
        assert table.filter(pl.col("case_id") == case)["item_id"].to_list() == ids(chosen, row)


def test_cases_and_candidates_must_be_as_many():
    chosen = drawn(FOUR, LETTERS, 3, seed=0)
    with pytest.raises(AssertionError):
        Candidates(FOUR, chosen.items[:3], LETTERS, "three")
    assert isinstance(chosen.cases, Cases)
