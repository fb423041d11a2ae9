"""Collaborative item ids: paths through a tree of items that the same people met."""

import re

import numpy as np
import polars as pl
import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from small_texts import no_texts

from llmrec.item_ids import ItemIds, collaborative, shuffled
from llmrec.item_ids.collaborative import Collaborative
from llmrec.sequences import Sequences
from llmrec.sources import load_dataset
from llmrec.splits.leave_one_out import LeaveOneOut

ML_100K = ROOT.parent / "shared" / "data" / "ml-100k"
logs = st.lists(st.lists(st.integers(1, 12), max_size=6), min_size=1, max_size=8)


def numbers(count: int) -> pl.DataFrame:
    return pl.DataFrame({"item_id": list(map(str, range(1, count + 1)))})


def pieces(names: ItemIds) -> list[list[str]]:
    """The tokens of every name."""
    found = [re.findall("<[ci][0-9]+>", name) for name in names.names[1:]]
    assert ["".join(path) for path in found] == list(names.names[1:])
    return found


def shared(one: list[str], other: list[str]) -> int:
    return next((depth for depth, (a, b) in enumerate(zip(one, other)) if a != b), min(len(one), len(other)))


@pytest.mark.slow
@settings(deadline=None, max_examples=50)
@given(train=logs, clusters=st.integers(2, 5), leaf=st.integers(1, 4), seed=st.integers(0, 3))
def test_paths_are_complete_and_none_is_the_beginning_of_another(train, clusters, leaf, seed):
    names = Collaborative(clusters=clusters, leaf=leaf).name(Sequences.from_lists(train), numbers(15), seed, no_texts)
    paths = pieces(names)
    assert {token for path in paths for token in path} == set(names.tokens)
    assert len(set(names.tokens)) == len(names.tokens)
    assert all(path[-1][1] == "i" and all(token[1] == "c" for token in path[:-1]) for path in paths)
    assert all(int(path[-1][2:-1]) < leaf for path in paths)
    assert all(int(token[2:-1]) <= clusters for path in paths for token in path[:-1])


def test_items_of_one_community_share_more_of_their_names_than_items_of_two():
    generator = np.random.default_rng(0)
    ones = [generator.choice(np.arange(1, 31), 6, replace=False) for _ in range(60)]
    others = [generator.choice(np.arange(31, 61), 6, replace=False) for _ in range(60)]
    train = Sequences.from_lists([*ones, *others, np.array([1, 31]), np.array([2, 32])])
    flat = pieces(Collaborative(clusters=2, leaf=40).name(train, numbers(60), 0, no_texts))
    assert [len({path[0] for path in half}) for half in (flat[:30], flat[30:])] == [1, 1]
    assert flat[0][0] != flat[30][0]
    deep = pieces(Collaborative(clusters=2, leaf=10).name(train, numbers(60), 0, no_texts))
    within = np.mean([shared(deep[a], deep[b]) for a in range(30) for b in range(a)])
    assert within > 1
    assert max(shared(deep[a], deep[b]) for a in range(30) for b in range(30, 60)) == 0


def test_a_graph_in_pieces_is_never_cut_through_a_piece_that_fits():
    pairs = [[2 * pair + 1, 2 * pair + 2] for pair in range(40)]
    paths = pieces(Collaborative(clusters=4, leaf=5).name(Sequences.from_lists(pairs), numbers(80), 0, no_texts))
    assert [pair for pair in pairs if paths[pair[0] - 1][:-1] != paths[pair[1] - 1][:-1]] == []


def test_items_without_a_link_have_a_branch_of_their_own():
    train = Sequences.from_lists([[1, 2, 3], [2, 3, 4], [5], [6, 6], []])
    paths = pieces(Collaborative(clusters=2, leaf=4).name(train, numbers(8), 0, no_texts))
    assert {path[0] for path in paths[4:]} & {path[0] for path in paths[:4]} == set()
    assert len({path[0] for path in paths[4:]}) == 1


@pytest.mark.parametrize("users", [1, 3])
def test_what_clustering_does_not_split_is_cut_at_random(users):
    everything = Sequences.from_lists([list(range(1, 51))] * users)
    paths = pieces(Collaborative(clusters=5, leaf=10).name(everything, numbers(50), 0, no_texts))
    assert sorted(map(tuple, paths)) == sorted((f"<c{c}>", f"<i{i}>") for c in range(5) for i in range(10))
    assert paths != pieces(Collaborative(clusters=5, leaf=10).name(everything, numbers(50), 1, no_texts))


def test_the_places_of_a_cluster_go_by_popularity():
    """By users: who meets an item again and again is one."""
    train = Sequences.from_lists([[1, 2, 3, 3, 3, 3, 3], [4, 2, 1], [2, 1], [2, 4]])
    assert Collaborative().name(train, numbers(5), 0, no_texts).names == ("", "<i1>", "<i0>", "<i3>", "<i2>", "<i4>")
    paths = pieces(Collaborative(clusters=2, leaf=3).name(train, numbers(5), 0, no_texts))
    assert all(path[-1] == "<i0>" for path in paths if path[:-1] not in [each[:-1] for each in paths if each != path])


def test_fewer_items_than_clusters_and_a_catalogue_of_one_leaf():
    train = Sequences.from_lists([[1, 2], [2, 3]])
    names = Collaborative().name(train, numbers(3), 0, no_texts)
    assert sorted(names.names[1:]) == list(names.tokens) == ["<i0>", "<i1>", "<i2>"]
    assert len(set(Collaborative(leaf=1).name(train, numbers(3), 0, no_texts).names)) == 4


def test_names_stay_short_even_if_each_clustering_takes_one_item_off(monkeypatch):
    monkeypatch.setattr(collaborative._Graph, "parts", lambda self, group, number: [group[:1], group[1:]])
    paths = pieces(Collaborative(clusters=2, leaf=1).name(Sequences.from_lists([[1, 2]]), numbers(200), 0, no_texts))
    assert max(map(len, paths)) <= collaborative.DEEPEST + np.ceil(np.log2(200)) + 1


@pytest.mark.slow
@pytest.mark.skipif(not ML_100K.is_dir(), reason="../shared/data/ml-100k is missing")
def test_collaborative_names_of_ml_100k_are_short_and_near_for_what_follows():
    split = LeaveOneOut().split(load_dataset("ml-100k", ML_100K))
    names = Collaborative().name(split.train, split.dataset.items, 0, no_texts)
    paths = [[], *pieces(names)]
    assert max(map(len, paths)) <= 4
    last = split.test.histories.values[split.test.histories.offsets[1:] - 1]
    random = shuffled(split.dataset.items, 0)[: len(last)]
    near, far = (
        np.mean([paths[a][0] == paths[b][0] for a, b in zip(last, each)]) for each in (split.test.target, random)
    )
    assert near > 2 * far
