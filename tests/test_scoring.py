"""``recommend``: ids in, ids out."""

import numpy as np
import polars as pl
import pytest
import torch

from llmrec.errors import DataError
from llmrec.runs import RANKINGS
from llmrec.scoring import recommend
from llmrec.sequences import Sequences

IDS = np.array(["", "0001388703", "b", "c", "d", "e"], dtype=object)


class LaterIsBetter:
    """Item i scores i, plus 10 where it was seen last."""

    def score(self, histories: Sequences) -> torch.Tensor:
        scores = torch.arange(6.0).repeat(len(histories), 1)
        for row in range(len(histories)):
            scores[row, histories[row][-1:]] += 10
        return scores


def ask(*arguments, **options) -> pl.DataFrame:
    return recommend(LaterIsBetter(), IDS, *arguments, **options)


def lists(table: pl.DataFrame) -> dict[str, list[str]]:
    return {user[0]: part["item_id"].to_list() for user, part in table.group_by("user_id", maintain_order=True)}


def test_the_answer_is_a_rankings_table_of_item_ids():
    """F15: predict() output type check; ids are the catalogue's own strings, not indices or semantic ids."""
    table = ask([["b"], ["c", "d"]], k=5)
    assert dict(table.schema) == RANKINGS
    assert set(table["item_id"]) == set(IDS[1:])
    assert table.row(0) == ("recommend/0/0", "0", "e", 5.0, 1)
    assert lists(table) == {"0": ["e", "d", "c", "0001388703"], "1": ["e", "b", "0001388703"]}
    assert table["rank"].to_list() == [1, 2, 3, 4, 1, 2, 3]


def test_each_history_gets_its_users_name_and_k_items():
    table = ask([["b"], []], users=["ann", "bob"], k=2)
    assert lists(table) == {"ann": ["e", "d"], "bob": ["e", "d"]}
    assert table["case_id"].unique(maintain_order=True).to_list() == ["recommend/0/ann", "recommend/0/bob"]


def test_an_empty_history_and_no_history_at_all_are_allowed():
    assert lists(ask([[]], k=10)) == {"0": ["e", "d", "c", "b", "0001388703"]}
    nothing = ask([])
    assert (len(nothing), dict(nothing.schema)) == (0, RANKINGS)


def test_seen_items_are_left_out_unless_asked_for():
    """B7: the model scores the last item highest."""
    assert lists(ask([["b"]], k=1)) == {"0": ["e"]}
    assert lists(ask([["b"]], k=1, exclude_seen=False)) == {"0": ["b"]}


def test_k_beyond_the_catalogue_gives_what_is_left():
    """B2: 5 items, k = 10."""
    assert len(ask([[]], k=10)) == 5
    assert len(ask([list(IDS[1:])], k=10)) == 0
    assert len(ask([["b", "b", "c"]], k=10)) == 5 - 2


def test_only_candidates_come_back_and_seen_ones_among_them_do_not():
    assert lists(ask([["b"]], candidates=["b", "c", "0001388703"])) == {"0": ["c", "0001388703"]}
    assert lists(ask([["b"]], candidates=["b", "c"], exclude_seen=False)) == {"0": ["b", "c"]}
    assert len(ask([["b"]], candidates=[])) == 0


@pytest.mark.parametrize("unknown", ["1388703", "", "x"])
def test_an_unknown_id_is_named(unknown: str):
    with pytest.raises(DataError, match=f"history: 1 of 2 ids are not in the catalogue of 5 .* '{unknown}'"):
        ask([["b"], ["b", unknown]])
    with pytest.raises(DataError, match=f"candidates: 1 of 1 ids are not in the catalogue .* '{unknown}'"):
        ask([["b"]], candidates=[unknown])


def test_a_string_where_a_list_belongs_is_refused():
    with pytest.raises(DataError, match="history must be lists of item ids, came the string 'b'"):
        ask(["b", "c"])
    with pytest.raises(DataError, match="history must be lists of item ids, came the string 'b'"):
        ask("bc")
    with pytest.raises(DataError, match="candidates must be lists of item ids, came the string 'bcd'"):
        ask([["b"]], candidates="bcd")
    with pytest.raises(DataError, match="users must be a list of names, came the string 'xy'"):
        ask([["b"], ["c"]], users="xy")


@pytest.mark.parametrize("users", [[], ["ann"], ["ann", "bob", "cem"]])
def test_every_history_needs_its_user(users: list[str]):
    with pytest.raises(DataError, match=f"{len(users)} users for 2 histories"):
        ask([["b"], ["c"]], users=users)


@pytest.mark.parametrize("k", [0, -1])
def test_k_below_one_is_refused(k: int):
    with pytest.raises(DataError, match=f"k must be at least 1, came {k}"):
        ask([["b"]], k=k)


def test_scores_that_are_not_finite_raise():
    """B6: a model that answers NaN recommends nothing."""

    class Broken:
        def score(self, histories: Sequences) -> torch.Tensor:
            return torch.full((len(histories), 6), float("nan"))

    with pytest.raises(DataError, match="5 scores are not finite"):
        recommend(Broken(), IDS, [[]])
