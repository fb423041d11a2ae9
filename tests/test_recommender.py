"""A trained recommender saved, loaded, trained on and asked; with ids and with the texts of a language model."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import tiny_models
import torch
from accelerate import Accelerator
from conftest import toy_tables
from safetensors.torch import load_file, save_file
from small_runs import Job, arguments, metrics, same

from llmrec import components, config, recommender, train, training
from llmrec.errors import ConfigError, DataError, PromptError, RunError
from llmrec.interactions import Dataset
from llmrec.item_text import ItemText
from llmrec.matching import MatchingStep
from llmrec.prompting import Prompt
from llmrec.recommender import Recommender
from llmrec.runs import RunFolder, read_json, write_json
from llmrec.sequences import Sequences, TrainingBatches

HISTORIES = [["i3", "i4", "i5"], ["i29"], []]
QUIET = ["training.epochs=6", "training.learning_rate=0.02", "training.warmup_steps=0"]


@pytest.fixture(scope="module")
def language_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT in a folder of its own, which the tests delete."""
    return tiny_models.copy("bert", tmp_path_factory.mktemp("model") / "bert")


@pytest.fixture(scope="module")
def id_run(toy_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("id") / "run"
    assert train.main(arguments(toy_folder, folder, *QUIET)) == 0
    return folder


@pytest.fixture(scope="module")
def text_run(toy_folder: Path, language_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("text") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMREC_CACHE", str(folder.parent / "cache"))
        assert train.main(arguments(toy_folder, folder, "--model", str(language_model), *QUIET)) == 0
    return folder


@pytest.fixture(scope="module")
def id_from_text_run(toy_folder: Path, language_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("id_from_text") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMREC_CACHE", str(folder.parent / "cache"))
        words = ["--model", str(language_model), *QUIET, "encoder.name=id_from_text", "encoder.keep_top=2"]
        assert train.main(arguments(toy_folder, folder, *words)) == 0
    return folder


@pytest.fixture(scope="module")
def tuned_run(toy_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tuned") / "run"
    model = tiny_models.copy("bert", folder.parent / "bert")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMREC_CACHE", str(folder.parent / "cache"))
        words = [
            "--model",
            str(model),
            *QUIET,
            "--tuning",
            "top_blocks",
            "tuning.blocks=1",
            "tuning.learning_rate=0.001",
        ]
        assert train.main(arguments(toy_folder, folder, *words, "--loss", "in_batch_softmax")) == 0
    return folder


@pytest.fixture(params=["id", "text", "id_from_text", "tuned"])
def run(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished run of either kind."""
    folder: Path = request.getfixturevalue(f"{request.param}_run")
    monkeypatch.setenv("LLMREC_CACHE", str(folder.parent / "cache"))
    return folder


def fit_once_more(model: Recommender, folder: Path) -> list[dict]:
    """One epoch on the toy log; returns the rows of metrics.jsonl."""
    folder.mkdir()
    options = config.load(None, ["training.epochs=1", "training.warmup_steps=0", "training.batch_size=16"], {})
    resolved = options.resolved()
    split = components.create("splits", resolved.split).split(Dataset.from_tables("toy", *toy_tables()))
    rows: list[dict] = []
    training.fit(
        model,
        MatchingStep(model, components.create("losses", resolved.loss), split.train.counts(model.num_items)),
        TrainingBatches(split.train, model.max_seq_len, resolved.training.batch_size, "all", seed=7),
        resolved.training,
        seed=7,
        validate=lambda trained: {"nDCG@10": 0.5},
        folder=RunFolder(folder),
        accelerator=Accelerator(),
        report=rows.append,
    )
    return rows


@pytest.mark.slow
def test_saved_loaded_and_trained_on_for_an_epoch(run: Path, tmp_path: Path) -> None:
    """F2: save, load, fit(1 epoch) works, and the loaded recommender answers as the saved one did."""
    model = Recommender.load(run, to_train=True)
    before, loaded = training.copy_of(model), model.recommend(HISTORIES)
    assert loaded.equals(Recommender.load(run).recommend(HISTORIES))
    assert torch.equal(model.encoder(), model.item_embeddings())  # weights and saved vectors belong together
    rows = fit_once_more(model, tmp_path / "more")
    after = training.copy_of(model)
    trained_losses = [
        row["loss"]
        for line in (run / "metrics.jsonl").read_text("utf-8").splitlines()
        if "loss" in (row := json.loads(line))
    ]
    assert [row["event"] for row in rows][-1] == "epoch"
    assert rows[-1]["loss"] < trained_losses[0] - 0.2  # it begins from what was learned, not anew
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    learned = {name for name, each in model.named_parameters() if each.requires_grad}
    assert changed == learned
    again = model.recommend(HISTORIES)
    assert not again["score"].equals(loaded["score"])

    shutil.copytree(run, tmp_path / "saved")
    model.save(tmp_path / "saved")
    reloaded = Recommender.load(tmp_path / "saved")
    assert reloaded.recommend(HISTORIES).equals(again)
    assert same(training.copy_of(Recommender.load(tmp_path / "saved", to_train=True)), after)


def test_what_is_loaded_ranks_the_test_cases_as_the_run_did(run: Path, toy: Dataset) -> None:
    saved = pl.read_parquet(run / "test" / "rankings.parquet")
    split = components.create("splits", config.RunConfig().resolved().split).split(toy)
    histories = [toy.item_ids[split.test.histories[row]].tolist() for row in range(len(split.test))]
    users = toy.user_ids[split.test.user].tolist()
    table = Recommender.load(run).recommend(histories, users=users, k=10)
    assert table["item_id"].to_list() == saved["item_id"].to_list()
    assert table["user_id"].to_list() == saved["user_id"].to_list()
    assert (table["score"] - saved["score"]).abs().max() < 1e-5


def test_a_recommender_loaded_to_recommend_needs_no_language_model(
    text_run: Path, language_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = shutil.copytree(text_run, tmp_path / "run")
    expected = Recommender.load(run).recommend(HISTORIES)
    monkeypatch.setenv("LLMREC_CACHE", str(tmp_path / "empty"))
    away = language_model.rename(language_model.with_name("away"))
    try:
        model = Recommender.load(run)
        assert model.recommend(HISTORIES).equals(expected)
        assert model.encoder is None
        with pytest.raises(ConfigError):
            Recommender.load(run, to_train=True).encoder()
    finally:
        away.rename(language_model)
    assert not (tmp_path / "empty").exists()


def damage_nothing_but(name: str) -> Callable[[Path], None]:
    def half(run: Path) -> None:
        content = (run / name).read_bytes()
        (run / name).write_bytes(content[: len(content) // 2])

    return half


def wrong_vectors(run: Path) -> None:
    vectors = load_file(run / "item_embeddings.safetensors")["item_embeddings"]
    save_file({"item_embeddings": vectors[:-1].contiguous()}, run / "item_embeddings.safetensors")


def other_width(run: Path) -> None:
    saved = json.loads((run / "config.json").read_text("utf-8"))
    (run / "config.json").write_text(json.dumps({**saved, "embedding_dim": 16}), encoding="utf-8")


NEEDED = ["config.json", "items.parquet", "model.safetensors", "item_embeddings.safetensors"]


@pytest.mark.parametrize(
    "harm",
    [
        *(pytest.param(lambda run, name=name: (run / name).unlink(), id=f"no {name}") for name in NEEDED),
        *(pytest.param(damage_nothing_but(name), id=f"half {name}") for name in NEEDED),
        wrong_vectors,
        other_width,
    ],
)
@pytest.mark.parametrize("to_train", [False, True])
def test_a_run_with_a_missing_or_damaged_file_is_refused(
    id_run: Path, tmp_path: Path, harm: Callable[[Path], None], to_train: bool
) -> None:
    run = shutil.copytree(id_run, tmp_path / "run")
    harm(run)
    with pytest.raises(RunError, match=str(run)):
        Recommender.load(run, to_train=to_train)


def test_an_unfinished_run_is_refused_and_the_finished_ones_beside_it_are_named(id_run: Path, tmp_path: Path) -> None:
    shutil.copytree(id_run, tmp_path / "finished")
    run = shutil.copytree(id_run, tmp_path / "unfinished")
    (run / "metrics.json").unlink()
    with pytest.raises(RunError, match=rf"unfinished run; finished runs beside it: {tmp_path / 'finished'}$"):
        Recommender.load(run)
    with pytest.raises(RunError, match=rf"nowhere holds no run; finished runs beside it: {tmp_path / 'finished'}$"):
        Recommender.load(str(tmp_path / "nowhere"))


def test_an_answer_holds_item_ids_best_first_without_what_was_seen(run: Path) -> None:
    """F15: recommend returns the data set's own item ids as strings, never an index or a code."""
    table = Recommender.load(run).recommend([["i3", "i4"]], k=28)
    assert dict(table.schema)["item_id"] == pl.String
    assert set(table["item_id"]) == {f"i{item}" for item in range(30)} - {"i3", "i4"}
    assert table["score"].is_sorted(descending=True)
    assert table["rank"].to_list() == list(range(1, 28 + 1))


def test_only_the_latest_items_of_a_long_history_count_and_padding_does_not(id_run: Path) -> None:
    model = Recommender.load(id_run)
    recent = [f"i{item}" for item in range(10)]  # max_seq_len is 10
    long = model.recommend([["i20", "i21", *recent]], exclude_seen=False, k=30)
    short = model.recommend([recent], exclude_seen=False, k=30)
    assert long["item_id"].equals(short["item_id"])
    alone = model.recommend([["i7"]], k=5)
    beside = model.recommend([recent, ["i7"]], k=5).filter(pl.col("user_id") == "1")
    assert alone["item_id"].to_list() == beside["item_id"].to_list()
    assert np.allclose(alone["score"], beside["score"], atol=1e-6)


def test_no_history_at_all_gives_scores_of_no_rows(id_run: Path) -> None:
    model = Recommender.load(id_run)
    assert model.score(Sequences.from_lists([])).shape == (0, 31)
    assert model.score(Sequences.from_lists([[1, 2], []])).shape == (2, 31)


def test_scores_are_products_of_user_vector_and_item_vectors(id_run: Path) -> None:
    model = Recommender.load(id_run)
    items = load_file(id_run / "item_embeddings.safetensors")["item_embeddings"]
    with torch.no_grad():
        user = model.head(items[torch.tensor([[4, 5]])], torch.ones(1, 2, dtype=torch.bool))[0, -1]
    assert torch.allclose(model.score(Sequences.from_lists([[4, 5]]))[0], items @ user, atol=1e-6)


def test_training_forgets_the_item_vectors_it_kept(tmp_path: Path) -> None:
    model = Job(tmp_path).model
    first = model.item_embeddings()
    assert model.item_embeddings() is first
    model.train()
    with torch.no_grad():
        model.encoder.embedding += 1.0
    assert torch.equal(model.item_embeddings()[1:], first[1:] + 1.0)


def test_a_text_run_says_which_model_and_revision_and_how_many_texts_were_cut(
    text_run: Path, language_model: Path
) -> None:
    facts = metrics(text_run)["provenance"]
    assert facts["model"] == str(language_model)
    assert len(facts["revision"]) == 40
    assert facts["texts_cut"] == 0
    assert facts["transform"] == {"name": "standardise"}
    texts = pl.read_parquet(text_run / "items.parquet")["text"]
    assert texts[3] == "Film 3 (1953), Comedy"
    # Only projection and head learn: [16 -> 128 -> 8] and SASRec, no word vector.
    weights = load_file(text_run / "model.safetensors")
    buffers = weights["encoder.shift"].numel() + weights["encoder.matrix"].numel()
    assert facts["trainable_parameters"] == sum(each.numel() for each in weights.values()) - buffers
    assert weights["encoder.projection.1.weight"].shape == (128, 16)


@pytest.mark.slow
def test_a_text_run_that_was_cut_off_goes_on_to_the_same_weights(
    language_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMREC_CACHE", str(tmp_path / "cache"))
    options = (f"model={language_model}", "training.epochs=2", "training.checkpoint_steps=4")
    whole = Job(tmp_path / "whole", *options)
    whole.fit([0.1, 0.2])

    def fall(row: dict) -> None:
        if row.get("step") == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Job(tmp_path / "run", *options).fit([0.1, 0.2], report=fall)
    second = Job(tmp_path / "run", *options)
    second.fit([0.1, 0.2])
    assert second.logged("resume") == [{"event": "resume", "step": 4, "steps_repeated": 1}]
    assert same(training.copy_of(second.model), training.copy_of(whole.model))


def test_text_vectors_follow_the_module_to_another_device() -> None:
    """Fetched after the move to a GPU, they must go there too; the meta device stands in for one."""
    frozen = components.create("tuning", {"name": "frozen"}).trunk(tiny_models.source(lambda: torch.ones(3, 4)))
    assert frozen.to("meta")().device.type == "meta"


def test_an_id_run_on_items_without_text_goes_without_and_a_text_run_refuses(tmp_path: Path) -> None:
    log, _ = toy_tables()
    bare = Dataset.from_tables("bare", log)
    ids = ItemText.of(config.RunConfig().resolved(), bare, lambda done, total: None)
    assert ids.texts is None
    assert ids.column(3).to_list() == [None, None, None]
    assert ids.provenance() == {"model": "id"}
    known = ids.known(components.create("splits", components.resolve("splits", "leave_one_out")).split(bare))
    assert (known.texts, known.vectors) == (None, None)
    with pytest.raises((DataError, PromptError)):
        ItemText.of(config.RunConfig(model="minilm-l6").resolved(), bare, lambda done, total: None)


@pytest.mark.slow
def test_a_cold_feature_store_gives_the_weights_of_a_warm_one(
    toy_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F10: a checkpoint without its pooler makes transformers draw one, from the generator that also draws weights."""
    monkeypatch.setenv("LLMREC_CACHE", str(tmp_path / "cache"))
    bert = tiny_models.copy("bert", tmp_path / "bert")
    weights = {name: each for name, each in load_file(bert / "model.safetensors").items() if "pooler" not in name}
    save_file(weights, bert / "model.safetensors", metadata={"format": "pt"})
    for name in ("cold", "warm"):
        assert train.main(arguments(toy_folder, tmp_path / name, "--model", str(bert), "--epochs", "1")) == 0
    cold, warm = (load_file(tmp_path / name / "model.safetensors") for name in ("cold", "warm"))
    assert same(cold, warm)


# New items


def new_items(*titles: str | None) -> pl.DataFrame:
    return pl.DataFrame({"item_id": [f"new{number}" for number in range(len(titles))], "title": list(titles)})


def test_new_items_are_encoded_from_their_text_and_ranked_at_once(
    text_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMREC_CACHE", str(text_run.parent / "cache"))
    model = Recommender.load(text_run)
    items = pl.read_parquet(text_run / "items.parquet")
    before = model.recommend(HISTORIES, k=30, exclude_seen=False)
    same = items.select(item_id=pl.lit("copy"), title="title", genres="genres").row(4, named=True)
    table = pl.DataFrame([same, same | {"item_id": "other", "title": "Something else (1999)"}])
    model.add_items(table)
    assert model.num_items == 32
    after = model.recommend(HISTORIES, k=32, exclude_seen=False)
    for case in ("0", "1", "2"):
        scores = dict(after.filter(pl.col("user_id") == case).select("item_id", "score").rows())
        assert scores["copy"] == pytest.approx(scores["i4"], abs=1e-5), "the same text is the same vector"
        assert case == "2" or scores["other"] != pytest.approx(scores["i4"], abs=1e-5), "no history, no preference"
        old = dict(before.filter(pl.col("user_id") == case).select("item_id", "score").rows())
        assert {item: scores[item] for item in old} == pytest.approx(old, abs=1e-6), "the others are as they were"
    assert len(model.recommend([["i3", "copy"]], k=3)) == 3, "a new item may stand in a history"
    assert Recommender.load(text_run).num_items == 30, "the run is as it was"


def test_new_items_may_come_from_pandas_and_nothing_else(text_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMREC_CACHE", str(text_run.parent / "cache"))
    tables = [new_items("A", "B"), pd.DataFrame({"item_id": ["new0", "new1"], "title": ["A", "B"]})]
    models = [Recommender.load(text_run) for _ in tables]
    for model, table in zip(models, tables):
        model.add_items(table)
    assert models[0].item_embeddings().equal(models[1].item_embeddings())
    with pytest.raises(DataError, match=r"must be a table of polars or pandas \(a DataFrame\), came dict"):
        models[0].add_items({"item_id": ["new2"]})
    with pytest.raises(DataError, match="a column of the table holds values of several kinds"):
        models[0].add_items(pd.DataFrame({"item_id": ["new2", 3]}))


def test_a_recommender_is_saved_where_a_string_says(id_run: Path, tmp_path: Path) -> None:
    Recommender.load(id_run, to_train=True).save(str(tmp_path / "new"))
    saved = load_file(tmp_path / "new" / "model.safetensors")
    assert {name: value.tolist() for name, value in saved.items()} == {
        name: value.tolist() for name, value in load_file(id_run / "model.safetensors").items()
    }


def test_new_items_that_cannot_be_added_are_refused_by_name(text_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMREC_CACHE", str(text_run.parent / "cache"))
    model = Recommender.load(text_run)
    with pytest.raises(DataError, match=r"1 of 2 new items are in the catalogue already, such as 'i7'"):
        model.add_items(new_items("A", "B").with_columns(pl.Series("item_id", ["i7", "x"])))
    with pytest.raises(DataError, match=r"1 item ids stand twice, such as \['x'\]"):
        model.add_items(new_items("A", "B").with_columns(item_id=pl.lit("x")))
    with pytest.raises(DataError, match=r"gives no text for 1 items, such as \['new1'\]"):
        model.add_items(new_items("A", None))
    with pytest.raises(DataError, match="needs a string column 'item_id'"):
        model.add_items(pl.DataFrame({"item_id": [1], "title": ["A"]}))
    assert model.num_items == 30


def test_new_items_are_described_with_the_weights_as_they_are_now(
    text_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMREC_CACHE", str(text_run.parent / "cache"))
    model = Recommender.load(text_run, to_train=True).train()
    with torch.no_grad():
        for weight in model.encoder.parameters():
            weight.add_(0.3)
    model.eval()
    same = pl.read_parquet(text_run / "items.parquet").select(pl.lit("copy").alias("item_id"), "title", "genres")
    model.add_items(same[3:4])
    vectors = model.item_embeddings()
    torch.testing.assert_close(vectors[-1], vectors[1 + model.item_ids[1:].tolist().index("i3")])
    model.add_items(new_items("A")[:0])
    assert model.num_items == 31
    with pytest.raises(RunError, match="items were added to this recommender; to train on, load it again"):
        model.train()


@pytest.mark.parametrize(
    ("kind", "instead"), [("id", "such as --model minilm-l6"), ("id_from_text", "train with encoder.name=text")]
)
def test_a_table_of_ids_takes_no_new_items(kind: str, instead: str, request: pytest.FixtureRequest) -> None:
    model = Recommender.load(request.getfixturevalue(f"{kind}_run"))
    with pytest.raises(DataError, match=rf"\['new0'\] cannot be added: this recommender knows items by .*{instead}$"):
        model.add_items(new_items("A"))


@pytest.mark.slow
def test_a_prompt_that_changed_is_noticed_by_resume_and_by_new_items(
    toy_folder: Path, language_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One half of the training, or of the catalogue, would be of other texts than the rest."""
    monkeypatch.setenv("LLMREC_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "prompts" / "items" / "mine.jinja"
    path.parent.mkdir(parents=True)
    source = "---\n---\n{% block text %}{{ item.FIELD }}{% endblock %}\n"
    path.write_text(source.replace("FIELD", "title"), encoding="utf-8")
    then = Prompt.load("items/mine").hash
    words = ["--model", str(language_model), "features.prompt=items/mine", "training.epochs=1"]
    given = arguments(toy_folder, tmp_path / "run", *words, "training.checkpoint_steps=1")
    options, _ = train.options_of(given)
    with pytest.raises(KeyboardInterrupt), pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "measure", stopped)
        train.run(options)
    path.write_text(source.replace("FIELD", "title | upper"), encoding="utf-8")
    now = Prompt.load("items/mine").hash
    with pytest.raises(
        RunError, match=rf"another basis \(item prompt: {then} then, {now} now\); put back what changed"
    ):
        train.run(options, resume=True)
    path.write_text(source.replace("FIELD", "title"), encoding="utf-8")
    train.run(options, resume=True, show="nothing")

    model = Recommender.load(tmp_path / "run")
    model.add_items(new_items("Film 3 (1953)"))
    path.write_text(source.replace("FIELD", "title | upper"), encoding="utf-8")
    with pytest.raises(RunError, match=rf"'items/mine' has the hash {now} now, and .* by {then}; put the prompt back"):
        model.add_items(new_items("A").with_columns(item_id=pl.lit("late")))
    kept = read_json(tmp_path / "run" / "metrics.json")
    del kept["provenance"]["item_prompt_hash"]  # as an older version saved it
    write_json(tmp_path / "run" / "metrics.json", kept)
    old = Recommender.load(tmp_path / "run")
    old.add_items(new_items("A"))


def stopped(*given: object) -> None:
    raise KeyboardInterrupt


def test_new_items_need_no_run_on_disk(
    toy: Dataset, language_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMREC_CACHE", str(tmp_path))
    options = config.load(None, ["embedding_dim=8"], {"model": str(language_model)}).resolved()
    split = components.create("splits", options.split).split(toy)
    model = recommender.build(options, split, ItemText.of(options, toy, lambda done, total: None)).eval()
    model.add_items(new_items("Film 3 (1953)"))
    assert model.recommend([["i3"]], k=31, exclude_seen=False).height == 31


def test_a_table_of_users_holds_those_of_training_alone(toy: Dataset) -> None:
    """By a split of users the tested ones have no training row; a vector never trained would rank at random."""
    options = config.load(None, ["embedding_dim=8"], {"head": "dssm_id"}).resolved()
    text = ItemText.of(options, toy, lambda done, total: None)
    strangers = components.create("splits", {"name": "user_ratio"}).split(toy)
    with pytest.raises(DataError, match=r"\d+ of \d+ cases are of users without a training row, such as 'u\d+'"):
        recommender.build(options, strangers, text)
    split = components.create("splits", {"name": "leave_one_out"}).split(toy)
    shown, one = split.train.lengths.copy(), np.array([1])
    shown[0] = 0
    part = replace(
        split.train, values=split.train.values[split.train.lengths[0] :], offsets=np.append(0, shown.cumsum())
    )
    without = replace(split, train=part, validation=split.validation.take(one), test=split.test.take(one))
    model = recommender.build(options, without, text).eval()
    assert model.recommend([["i1"]], users=["u1"], k=2).height == 2
    with pytest.raises(DataError, match="1 of 1 users were not in the training log"):
        model.recommend([["i1"]], users=["u0"])
    with pytest.raises(DataError, match="users must be a list of names, came the string 'u1'"):
        model.recommend([["i1"]], users="u1")


def test_another_language_model_in_the_place_of_the_runs_own_is_refused(
    tuned_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMREC_CACHE", str(tmp_path / "cache"))
    folder = tuned_run.parent / "bert"
    kept = (folder / "model.safetensors").read_bytes()
    weights = load_file(folder / "model.safetensors")
    save_file({name: each * 1.5 for name, each in weights.items()}, folder / "model.safetensors", {"format": "pt"})
    try:
        with pytest.raises(RunError, match=r"has the revision \w+ now, and the run was trained on \w+"):
            Recommender.load(tuned_run, to_train=True)
        model = Recommender.load(tuned_run)
        assert len(model.recommend(HISTORIES, k=3)) == 9, "which needs no language model"
        with pytest.raises(RunError, match="the run was trained on"):
            model.add_items(new_items("Heat (1995)").with_columns(genres=pl.Series([["Crime"]])))
    finally:
        (folder / "model.safetensors").write_bytes(kept)
