"""Semantic item ids: codes of the items' texts by residual k-means."""

import json
import re
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from conftest import toy_tables
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from small_runs import digests, metrics
from small_texts import words_of
from small_writers import build, split_of
from tiny_models import copy

from llmrec import building, train
from llmrec.errors import DataError
from llmrec.interactions import Dataset
from llmrec.item_ids import ItemIds
from llmrec.item_ids.semantic import COMPONENTS, Semantic, residual_codes
from llmrec.sequences import Sequences

NOBODY = Sequences.from_lists([[]])
GENRES = ("Comedy", "Drama", "War", "Horror")
texts = st.lists(
    st.sampled_from(["Heat", "Heat 2", "Alien", "Aliens 3 3", "Toy Story", "Seven"]), min_size=1, max_size=14
)


def titled(*titles: str) -> pl.DataFrame:
    return pl.DataFrame({"item_id": [str(place) for place in range(1, len(titles) + 1)], "title": titles})


def films(number: int) -> pl.DataFrame:
    """So many of each genre, one behind the other; the genre stands in a title more often than the number."""
    return titled(*(f"{genre} {genre} {genre} {place}" for genre in GENRES for place in range(number)))


def named(items: pl.DataFrame, made: Semantic, log: Sequences = NOBODY, seed: int = 0) -> ItemIds:
    return made.name(log, items, seed, words_of(items))


def pieces(ids: ItemIds) -> list[tuple[str, ...]]:
    """The tokens of every name."""
    found = [tuple(re.findall("<[a-z][0-9]+>", name)) for name in ids.names[1:]]
    assert ["".join(path) for path in found] == list(ids.names[1:])
    return found


def planted(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Vectors that are a coarse and a fine part, four of each, five times, in any order; and which two parts."""
    generator = np.random.default_rng(seed)
    parts = generator.permutation([(coarse, fine) for coarse in range(4) for fine in range(4) for _ in range(5)])
    directions = np.linalg.qr(generator.normal(size=(24, 8)))[0].T
    vectors = directions[parts[:, 0]] + 0.3 * directions[4 + parts[:, 1]]
    return vectors + generator.normal(scale=0.005, size=vectors.shape), parts


# Codes


@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e3])
def test_the_first_code_is_the_coarse_part_and_the_second_the_fine_one_of_all_items(scale):
    vectors, parts = planted()
    codes = residual_codes(scale * vectors, 2, 4, np.random.default_rng(0))
    for level in (0, 1):
        assert len(set(zip(codes[:, level].tolist(), parts[:, level].tolist()))) == 4, "each code is one part"
        assert len(set(codes[:, level].tolist())) == 4


def test_codes_follow_from_vectors_and_seed():
    vectors, _ = planted()
    first, again, other = (residual_codes(vectors, 3, 8, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert first.tolist() == again.tolist()
    assert first.tolist() != other.tolist()
    assert first.shape == (80, 3)


@pytest.mark.parametrize(
    ("vectors", "codes"),
    [
        (np.ones((1, 8)), [[0, 0, 0]]),
        (np.full((5, 8), 0.1), [[0, 0, 0]] * 5),
        (np.zeros((3, 1), dtype=np.float32), [[0, 0, 0]] * 3),
    ],
)
def test_one_item_and_items_of_one_vector_have_one_code(vectors, codes):
    assert residual_codes(vectors, 3, 64, np.random.default_rng(0)).tolist() == codes


def test_fewer_different_vectors_than_codes_have_a_first_code_each():
    few = np.random.default_rng(0).normal(size=(6, 8))
    codes = residual_codes(np.concatenate([few, few, few[:1]]), 3, 64, np.random.default_rng(0))
    assert sorted(codes[:6, 0].tolist()) == list(range(6))
    assert codes[6:].tolist() == [*codes[:6].tolist(), codes[0].tolist()]
    assert codes[:, 1:].max() == 0, "nothing is left of them"


def test_no_cluster_of_a_level_takes_most_items_of_many_dimensions():
    """What is left of isotropic vectors has no clusters, and k-means in all dimensions puts most of it in one."""
    vectors = np.random.default_rng(0).normal(size=(600, 300)).astype(np.float32)
    assert vectors.shape[1] > COMPONENTS
    codes = residual_codes(vectors, 3, 32, np.random.default_rng(0))
    for level in range(3):
        assert np.bincount(codes[:, level]).max() < 600 / 8


# Names


def test_items_of_like_texts_share_their_first_codes():
    paths = pieces(named(films(10), Semantic(codes=4)))
    first = [{path[0] for path in paths[10 * place : 10 * place + 10]} for place in range(4)]
    assert [len(each) for each in first] == [1] * 4
    assert len(set.union(*first)) == 4


@pytest.mark.slow
@settings(deadline=None, max_examples=50)
@given(titles=texts, levels=st.integers(1, 4), codes=st.integers(2, 7), seed=st.integers(0, 3))
def test_names_are_codes_and_those_of_one_path_are_told_apart(titles, levels, codes, seed):
    ids = named(titled(*titles), Semantic(levels=levels, codes=codes), seed=seed)
    paths, letters = pieces(ids), "abcde"
    assert {token for path in paths for token in path} == set(ids.tokens)
    assert len(set(ids.tokens)) == len(ids.tokens)
    assert all("".join(piece[1] for piece in path) in (letters[:levels], letters[: levels + 1]) for path in paths)
    assert all(int(piece[2:-1]) < codes for path in paths for piece in path[:levels])
    sharing = Counter(path[:levels] for path in paths)
    places = {path: {each[levels:] for each in paths if each[:levels] == path} for path in sharing}
    for path, number in sharing.items():
        alone = {()}
        assert places[path] == (alone if number == 1 else {(f"<{letters[levels]}{place}>",) for place in range(number)})
    assert ids.collision_rate == sum(number for number in sharing.values() if number > 1) / len(titles)
    for one, path in zip(titles, paths):
        assert all(path[:levels] == other[:levels] for two, other in zip(titles, paths) if one == two)


def test_one_item_one_text_and_a_text_for_each():
    assert named(titled("Heat"), Semantic()) == ItemIds(("", "<a0><b0><c0>"), ("<a0>", "<b0>", "<c0>"), 0.0)
    same = named(titled(*["Heat"] * 3), Semantic(levels=1))
    assert sorted(same.names[1:]) == ["<a0><b0>", "<a0><b1>", "<a0><b2>"]
    assert same.collision_rate == 1
    assert named(titled("Heat", "Alien", "Seven"), Semantic()).collision_rate == 0


def test_the_log_settles_nothing_but_the_last_piece_and_there_the_most_popular_comes_first():
    items = titled("Heat", "Heat", "Alien", "Heat", "Seven", "Seven")
    train = Sequences.from_lists([[4, 2, 4, 5], [4, 2, 6], [6, 3, 3, 3, 3]])
    ids, untrained = named(items, Semantic(), train), named(items, Semantic())
    assert [path[:3] for path in pieces(ids)] == [path[:3] for path in pieces(untrained)]
    assert [path[3:] for path in pieces(ids)] == [("<d2>",), ("<d1>",), (), ("<d0>",), ("<d1>",), ("<d0>",)]
    assert ids.collision_rate == untrained.collision_rate == 5 / 6


def test_names_do_not_depend_on_the_rows_of_the_table():
    items = films(6)
    order = np.random.default_rng(1).permutation(len(items))
    names = named(items, Semantic(codes=3)).names[1:]
    moved = named(items[order], Semantic(codes=3)).names[1:]
    assert dict(zip(items[order]["item_id"], moved)) == dict(zip(items["item_id"], names))


def test_names_dealt_out_anew_keep_pieces_and_collisions():
    plain, dealt = (named(films(10), Semantic(codes=3, shuffled=each)) for each in (False, True))
    assert sorted(plain.names) == sorted(dealt.names)
    assert (plain.tokens, plain.collision_rate) == (dealt.tokens, dealt.collision_rate)
    assert sum(a == b for a, b in zip(plain.names, dealt.names)) < 15


def test_the_encoder_and_the_prompt_of_the_options_are_asked():
    asked = []

    def vectors(model: str, prompt: str) -> np.ndarray:
        asked.append((model, prompt))
        return np.eye(2)

    for each in (Semantic(), Semantic(model="bge-small", prompt="items/title")):
        each.name(NOBODY, titled("Heat", "Alien"), 0, vectors)
    assert asked == [("minilm-l6", "items/title_genres"), ("bge-small", "items/title")]


# Runs


def semantic(encoder: Path, **more: object) -> str:
    return "item_ids=" + json.dumps({"name": "semantic", "model": str(encoder), "codes": 4, "levels": 2, **more})


@pytest.fixture
def encoder(tmp_path, monkeypatch) -> Path:
    """A small text encoder without a pooler, which loading it draws, and a feature store that is empty."""
    monkeypatch.setenv("LLMREC_CACHE", str(tmp_path / "cache"))
    folder = copy("bert", tmp_path / "encoder")
    weights = load_file(folder / "model.safetensors")
    kept = {name: tensor for name, tensor in weights.items() if "pooler" not in name}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.slow
def test_a_run_names_trains_restores_and_recommends(encoder, toy, toy_folder, tmp_path, capsys):
    small = (
        "training.epochs=1",
        "training.batch_size=16",
        "p5.examples={sequential: 1, rating: 1}",
        "p5.vocabulary=400",
    )
    common = ["--config", "configs/p5.yaml", "--data", "toy", "--data-dir", str(toy_folder), *small, semantic(encoder)]
    cold, warm = tmp_path / "cold", tmp_path / "warm"
    assert train.main([*common, "--output", str(cold)]) == 0
    told = metrics(cold)["provenance"]
    codes = Counter("".join(name.partition("<c")[0]) for name in building.load(cold).ids.names[1:])
    assert told["collision_rate"] == sum(number for number in codes.values() if number > 1) / 30 > 0
    assert told["pieces_per_id"] >= 2
    assert f"{told['collision_rate']:.1%} of the items share all codes" in capsys.readouterr().err
    # With its vectors in the store the encoder is not loaded, and that changes no weight of the writer.
    assert train.main([*common, "--output", str(warm)]) == 0
    files = ("model.safetensors", "item_ids.json", "test/rankings.parquet")
    assert digests(warm, files) == digests(cold, files)
    shutil.rmtree(encoder)
    model, split = building.load(cold), split_of(toy)
    saved = pl.read_parquet(cold / "test" / "rankings.parquet").filter(pl.col("rank") == 1)
    best = model.recommend(
        [[model.item_ids[item] for item in split.test.histories[row]] for row in range(3)],
        users=["u0", "u1", "u2"],
        k=1,
    )
    assert best["item_id"].to_list() == saved["item_id"].head(3).to_list()
    with pytest.raises(DataError, match=r"item id 'semantic' takes its names from .* 1 items added after training"):
        model.add_items(pl.DataFrame({"item_id": ["n1"], "title": ["Film 7"]}))


@pytest.mark.slow
def test_items_of_one_text_are_told_apart_and_found(encoder, toy):
    log, items = toy_tables()
    same = items.with_columns(title=pl.lit("Heat"), genres=pl.lit(["War"]))
    model, _, split = build(Dataset.from_tables("toy", log, same), semantic(encoder))
    assert model.ids.collision_rate == 1
    assert model.trie.open_ended == 0
    scores = model.score(split.test.histories.take(np.arange(2)))
    assert scores[:, 1:].exp().sum(1).tolist() == pytest.approx([1, 1], abs=1e-5)


@pytest.mark.slow
def test_an_item_without_a_text_is_named(encoder):
    log, items = toy_tables()
    some = items.with_columns(
        title=pl.when(pl.col("item_id") == "i3").then(None).otherwise("title"),
        genres=pl.when(pl.col("item_id") == "i3").then(None).otherwise("genres"),
    )
    with pytest.raises(DataError, match=r"'items/title_genres' gives no text for 1 items, such as \['i3'\]"):
        build(Dataset.from_tables("toy", log, some), semantic(encoder))
