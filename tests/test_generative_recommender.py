"""A language model that writes names, as a recommender: its scores, its beams, and what a run keeps of it."""

import json
import shutil
from pathlib import Path

import forked
import numpy as np
import polars as pl
import pytest
import torch
from small_runs import digests, kill_when, last_step, metrics, numbers, rows
from small_writers import build, options, split_of, teacher_forced
from torch.nn.functional import pad

from llmrec import building, config, preparation, train
from llmrec.errors import ConfigError, RunError
from llmrec.prompting import Prompt
from llmrec.sequences import Sequences

pytestmark = pytest.mark.slow
TINY = ["training.epochs=2", "training.batch_size=16", "p5.examples={sequential: 1, rating: 1}", "p5.vocabulary=400"]
LISTS = "p5.examples={continuation: 1}"
VARIABLES = {"user": {"id": "user_1"}, "history": [{"id": "item_1"}], "separator": ", "}
WEIGHTS = ("model.safetensors", "test/rankings.parquet", "item_ids.json", "tokenizer/tokenizer.json")


@pytest.fixture
def model(toy):
    made, _, split = build(toy)
    return made, split.test.histories.take(np.arange(3))


@pytest.mark.parametrize("ids", ["random", "title", "{name: collaborative, clusters: 3, leaf: 4}"])
@torch.no_grad()
def test_scores_are_the_likelihoods_of_all_names_and_beams_find_the_same(toy, ids):
    made, _, split = build(toy, f"item_ids={ids}")
    histories = split.test.histories.take(np.arange(2))
    texts, scores = made.asking.texts(histories), made.score(histories)
    assert scores[:, 0].tolist() == [-torch.inf] * 2
    assert scores[:, 1:].exp().sum(1).tolist() == pytest.approx([1, 1], abs=1e-5)
    for row, text in enumerate(texts):
        wanted = [teacher_forced(made, text, name) for name in made.ids.names[1:]]
        assert scores[row, 1:].tolist() == pytest.approx(wanted, abs=1e-4)
    assert scores[:, 1:].std() > 0.1, "else their order says nothing"
    for row, (best,) in enumerate(made.beams(texts, 1)):
        assert best[1] <= scores[row].max() + 1e-4
    for number in (30, 45):  # as many beams as items, and more: the surplus is dropped
        for row, found in enumerate(made.beams(texts, number)):
            items, told = zip(*found)
            assert list(items) == scores[row].argsort(descending=True)[:30].tolist()
            assert list(told) == pytest.approx(scores[row, list(items)].tolist(), abs=1e-4)


@pytest.mark.parametrize("ids", ["random", "title", "{name: collaborative, clusters: 3, leaf: 4}"])
def test_a_few_items_have_the_scores_that_they_have_in_the_whole_catalogue(toy, ids):
    made, _, split = build(toy, f"item_ids={ids}")
    histories, some = split.test.histories.take(np.arange(3)), [[4, 9, 30], [7], [2, 1]]
    whole = made.score(histories)
    found = made.score_some(histories, [np.array(items) for items in some])
    for row, (items, scores) in enumerate(zip(some, found, strict=True)):
        assert scores.tolist() == pytest.approx(whole[row, items].tolist(), abs=1e-5)


def test_scores_depend_on_nothing_beside_them_and_know_no_dropout(model):
    made, histories = model
    made.train()
    together = made.score(histories)
    assert not made.training
    assert made.score(histories).equal(together)
    made.train()
    assert made.likelihoods(made.asking.texts(histories)).equal(together[:, 1:])
    for row in range(3):
        assert torch.allclose(made.score(histories.take(np.array([row])))[0, 1:], together[row, 1:], atol=1e-5)
    assert made.score(histories.take(np.array([], dtype=int))).shape == (0, 31)
    assert pad(together[:, 1:], (1, 0), value=-torch.inf).equal(together)


def test_a_large_catalogue_is_scored_a_few_prompts_at_a_time(model, monkeypatch):
    made, histories = model
    whole = made.score(histories)
    monkeypatch.setattr("llmrec.generative.recommender.ROOM", 1)
    assert torch.allclose(made.score(histories), whole, atol=1e-5)


def test_users_whom_training_does_not_show_are_asked_about_without_their_names(model):
    made, histories = model
    known, unknown = made.asking.texts(histories), made.asking.texts(Sequences(histories.values, histories.offsets))
    assert all("user_u" in text for text in known)
    assert not any("user" in text for text in unknown)
    assert all(text.startswith("Somebody has chosen") for text in unknown)
    made.asking.known[1] = False  # in the table, but training has nothing of this one
    assert "user" not in made.asking.text(histories[0], 1)
    assert "user_u1" in made.asking.text(histories[0], 2)


def test_recommend_masks_and_takes_names(model):
    made, _ = model
    seen = [["i1", "i2", "i3"], ["i4"]]
    assert made.knows_users, "its prompt shows them"
    found = made.recommend(seen, users=["u1", "nobody"], k=30)
    for user, items in zip(["u1", "nobody"], seen):
        listed = found.filter(pl.col("user_id") == user)["item_id"].to_list()
        assert sorted([*listed, *items]) == sorted(made.item_ids[1:])
    few = made.recommend(seen, candidates=["i7", "i4"], exclude_seen=False)
    assert set(few["item_id"]) == {"i7", "i4"}
    anonymous = made.recommend(seen[:1], k=30)
    assert not anonymous["score"].equals(found.filter(pl.col("user_id") == "u1")["score"])


# Options


@pytest.mark.parametrize(
    ("overrides", "flags", "message"),
    [
        (["head=dssm"], {}, "a run that writes names .p5. has no head; leave it out"),
        (["loss=bce", "features.pooling=mean"], {}, "has no features, loss; leave them out"),
        (["max_seq_len=20"], {}, "has no max_seq_len"),
        ([], {"model": "id"}, "needs a language model, such as --model t5-tiny"),
        (["training.windows=last"], {}, "has no training.windows; leave it out"),
        (["training.stacking=cross", "training.init_from=run"], {}, "has no training.stacking; leave it out"),
        (["p5.examples={sequential: -1}"], {}, "p5.examples.sequential.*-1"),
        (["p5.examples={sequential: 0}"], {}, "at least one family"),
        (["p5.exampels={sequential: 1}"], {}, "no option 'p5.exampels'; did you mean 'examples'"),
    ],
)
def test_options_that_reach_nothing_are_refused(overrides, flags, message):
    with pytest.raises(ConfigError, match=message):
        options(*overrides, **flags)


def test_item_ids_reach_only_a_run_that_writes():
    with pytest.raises(ConfigError, match=r"compares vectors \(no p5\) has no item_ids"):
        config.load(None, ["item_ids=title"], {}).resolved()


@pytest.mark.parametrize(
    ("overrides", "flags", "message"),
    [
        ([], {"model": "t5-tini"}, "no model 't5-tini' that writes names; did you mean 't5-tiny'"),
        (["p5.examples={rateing: 1}"], {}, "no family 'rateing'; did you mean 'rating'"),
        (["p5.prompt=p5/rating/by_ids"], {}, "p5.prompt: p5/rating/by_ids does not ask for an item"),
        (["p5.prompt=p5/sequential/pick"], {}, "p5.prompt: p5/sequential/pick does not ask for an item"),
        (["p5.anonymous=p5/sequential/next_item"], {}, "p5.anonymous: .* shows a user"),
        (["item_ids={name: random, first: -1}"], {}, "first must be at least 0, came -1"),
    ],
)
def test_what_needs_no_data_is_refused_before_it_is_read(overrides, flags, message):
    with pytest.raises(ConfigError, match=message):
        preparation.check(options(*overrides, **flags))


# Runs


def arguments(data: Path, folder: Path, *more: str) -> list[str]:
    where = ["--data", "toy", "--data-dir", str(data), "--output", str(folder)]
    return ["--config", "configs/p5.yaml", "--model", "t5-tiny", *where, *TINY, *more]


@pytest.fixture(scope="module")
def run(toy_folder, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("p5") / "run"
    assert train.main(arguments(toy_folder, folder)) == 0
    return folder


def test_a_run_is_measured_beside_the_baselines_and_loads_with_equal_scores(run, toy):
    content = metrics(run)
    assert content["provenance"]["pieces_per_id"] == 3
    assert 1 < content["provenance"]["padding"] < 2
    assert 0 <= content["test"]["nDCG@10"]["value"] <= content["test"]["HR@10"]["value"]
    assert (run / "baselines" / "popularity" / "rankings.parquet").is_file()
    assert len(rows(run, "epoch")) == 2
    model, split = building.load(run), split_of(toy)
    saved = pl.read_parquet(run / "test" / "rankings.parquet")
    scores = model.score(split.test.histories)
    index = {item: number for number, item in enumerate(model.item_ids)}
    for case, part in enumerate(saved.partition_by("case_id", maintain_order=True)):
        assert part["score"].to_list() == pytest.approx(
            scores[case, [index[item] for item in part["item_id"]]].tolist(), abs=1e-5
        )
    assert model.asking.known.tolist() == [False] + [True] * 40
    assert model.recommend([["i1", "i2"]], users=["u1"], k=3).height == 3


@pytest.mark.parametrize("name", ["item_ids.json", "prompts.json", "tokenizer", "users.parquet", "model.safetensors"])
@pytest.mark.parametrize("damage", ["missing", "damaged"])
def test_a_run_with_a_missing_or_damaged_file_is_refused(run, tmp_path, name, damage):
    folder = shutil.copytree(run, tmp_path / "run")
    path = folder / name
    if damage == "damaged":
        for each in path.iterdir() if path.is_dir() else [path]:
            each.write_bytes(b"{" + each.read_bytes()[:20])
    elif path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    with pytest.raises(RunError, match=f"{path.stem}.* missing or damaged"):
        building.load(folder)


def test_a_run_asks_by_the_words_it_was_trained_with_whatever_the_file_says_now(run, toy, tmp_path, monkeypatch):
    name = building.load(run).asking.prompt.name
    before = building.load(run).asking.text(np.array([1, 2]), 1)
    file = tmp_path / "prompts" / f"{name}.jinja"
    file.parent.mkdir(parents=True)
    file.write_text(
        Prompt.load(name).source.replace("{% block input -%}\n", "{% block input -%}\nNow, "), encoding="utf-8"
    )
    trained = build(toy, LISTS)[1].used
    monkeypatch.chdir(tmp_path)
    assert Prompt.load(name).render("input", **VARIABLES).startswith("Now, ")
    assert building.load(run).asking.text(np.array([1, 2]), 1) == before
    edited = build(toy, LISTS)[1].used
    assert edited.keys() == trained.keys()
    assert [each for each in edited if edited[each] != trained[each]] == [name], "an unfinished run is not resumed"


@pytest.mark.parametrize("change", ["order", "hash", "nothing"])
def test_other_item_ids_than_those_of_training_are_refused(run, tmp_path, change):
    """OpenP5's issue 32: with other ids than those of training a checkpoint is worth nothing."""
    folder = shutil.copytree(run, tmp_path / "run")
    told = json.loads((folder / "item_ids.json").read_text(encoding="utf-8"))
    if change == "order":
        told["names"][1:3] = told["names"][2:0:-1]
    elif change == "hash":
        told["hash"] = "feedfeedfeedfeed"
    else:
        del told["tokens"]
    (folder / "item_ids.json").write_text(json.dumps(told), encoding="utf-8")
    with pytest.raises(RunError, match=r"item_ids\.json"):
        building.load(folder)


def test_a_killed_run_ends_bit_for_bit_like_one_that_was_not(run, toy_folder, tmp_path):
    folder, more = tmp_path / "run", ("training.checkpoint_steps=2",)
    reference = tmp_path / "whole"
    assert train.main(arguments(toy_folder, reference, *more)) == 0
    process = forked.Training(arguments(toy_folder, folder, *more))
    kill_when(process, folder, lambda: last_step(folder) >= 7)
    done = forked.train(arguments(toy_folder, folder, *more, "--resume"))
    assert done.returncode == 0, done.stderr
    assert len(rows(folder, "resume")) == 1
    assert digests(folder, WEIGHTS) == digests(reference, WEIGHTS)
    assert numbers(folder) == numbers(reference)
    assert digests(run, WEIGHTS) == digests(reference, WEIGHTS)


def test_two_processes_train_what_one_does(toy_folder, tmp_path):
    """A T5 by name has dropout, so all but nothing is learned here: shares and order are what is compared."""
    still = ("training.epochs=1", "training.learning_rate=1e-12", "training.embedding_learning_rate=null")
    one, two = tmp_path / "one", tmp_path / "two"
    assert train.main(arguments(toy_folder, one, *still)) == 0
    done = forked.train(arguments(toy_folder, two, *still), 2)
    assert done.returncode == 0, done.stderr
    assert digests(one, ("item_ids.json", "tokenizer/tokenizer.json")) == digests(
        two, ("item_ids.json", "tokenizer/tokenizer.json")
    )
    losses = [[row["loss"] for row in rows(folder, "step")] for folder in (one, two)]
    assert losses[0] == pytest.approx(losses[1], rel=0.1), "dropout differs, the examples do not"
    first, second = (pl.read_parquet(folder / "test" / "rankings.parquet") for folder in (one, two))
    assert first.select("case_id", "item_id").equals(second.select("case_id", "item_id"))
    assert (first["score"] - second["score"]).abs().max() < 1e-4
