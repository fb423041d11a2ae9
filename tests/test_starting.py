"""Training that begins with the weights of another run: which are taken, which stay new, what is refused."""

from pathlib import Path

import polars as pl
import pytest
import tiny_models
import torch
from conftest import toy_tables, write_recbole
from safetensors.torch import load_file
from small_runs import Job, arguments, rows, same

from llmrec import config, starting, train
from llmrec.errors import ConfigError, RunError
from llmrec.recommender import Recommender
from llmrec.runs import read_json, write_json

COMMON = ["--loss", "in_batch_softmax", "head.dropout=0", "training.epochs=2"]


def of_text(data: Path, folder: Path, *more: str) -> list[str]:
    return arguments(data, folder, "--model", str(tiny_models.folder("llama")), *COMMON, *more)


def in_words(kind: str) -> str:
    revision = tiny_models.files(kind).revision[:8]
    return f"{tiny_models.folder(kind)} (16 wide, {tiny_models.VOCABULARY} tokens, revision {revision})"


@pytest.fixture(scope="module")
def frozen(toy_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("starting") / "frozen"
    assert train.main(of_text(toy_folder, folder)) == 0
    return folder


@pytest.mark.slow
def test_head_and_projection_come_from_the_run_and_the_blocks_from_the_model(
    frozen: Path, toy_folder: Path, tmp_path: Path, capsys
) -> None:
    tuned = tmp_path / "tuned"
    still = ["training.learning_rate=1e-30", "tuning.learning_rate=1e-30", "training.weight_decay=0"]
    more = ["--tuning", "top_blocks", "tuning.blocks=1", f"training.init_from={frozen}", *still]
    assert train.main(of_text(toy_folder, tuned, *more)) == 0
    assert f"begins with the weights of {frozen}; new are 10 others" in " ".join(capsys.readouterr().err.split())
    before, after = load_file(frozen / "model.safetensors"), load_file(tuned / "model.safetensors")
    assert all(torch.equal(after[name], weight) for name, weight in before.items())
    assert {name.split(".")[1] for name in after.keys() - before.keys()} == {"trunk"}
    best = [row for row in rows(frozen, "epoch") if row["best"]][-1]
    assert rows(tuned, "epoch")[0]["validation"] == pytest.approx(best["validation"], abs=1e-6)


@pytest.mark.slow
def test_training_begins_where_the_run_ended_each_time_alike(frozen: Path, toy_folder: Path, tmp_path: Path) -> None:
    once, twice = tmp_path / "once", tmp_path / "twice"
    origin = f"training.init_from={frozen}"
    assert train.main(of_text(toy_folder, once, origin)) == 0
    assert train.main(of_text(toy_folder, twice, origin)) == 0
    assert load_file(once / "model.safetensors").keys() == load_file(frozen / "model.safetensors").keys()
    first = rows(frozen, "step")[0]["loss"]
    assert rows(once, "step")[0]["loss"] == rows(twice, "step")[0]["loss"] != first


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--model", "id"], "has the encoder 'text', and this run has the encoder 'id'"),
        (["--head", "dssm_id"], "tables of users or of items that began as texts fit no other run"),
        (["encoder.name=id_from_text"], "tables of users or of items that began as texts fit no other run"),
        (["embedding_dim=16"], "has the shape"),
        (["max_seq_len=12"], "in this run it has [12, 8]: max_seq_len is 10 there and 12 here; leave it out"),
        (["head.num_layers=0"], "weights that this run has not, such as head."),
        (
            ["--model", str(tiny_models.folder("qwen3"))],
            f"language model: {in_words('llama')} there, {in_words('qwen3')} here",
        ),
        (["features.pooling=last"], "features.pooling: mean there, last here"),
        (["features.blocks=1"], "features.blocks: None there, 1 here"),
        (["transform=none"], "transform: standardise there, none here"),
    ],
)
def test_what_does_not_fit_is_refused(more, message, frozen: Path, toy_folder: Path, tmp_path: Path, capsys) -> None:
    words = of_text(toy_folder, tmp_path / "run", f"training.init_from={frozen}", *more)
    assert train.main(words) == 2
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_what_is_refused_leaves_the_run_that_it_would_overwrite(frozen: Path, toy_folder: Path, tmp_path: Path) -> None:
    done = tmp_path / "done"
    assert train.main([*of_text(toy_folder, done), "training.epochs=0"]) == 0
    before = {path: path.stat().st_mtime_ns for path in done.rglob("*") if path.is_file()}
    wider = [*of_text(toy_folder, done), "--init", str(frozen), "embedding_dim=16", "--overwrite"]
    assert train.main(wider) == 2
    assert {path: path.stat().st_mtime_ns for path in done.rglob("*") if path.is_file()} == before
    assert train.main([*of_text(toy_folder, done), "--init", str(frozen), "training.epochs=0", "--overwrite"]) == 0
    assert read_json(done / "config.json")["training"]["init_from"] == str(frozen)


@pytest.mark.slow
def test_adapters_go_on_as_they_were_and_what_differs_is_named(toy_folder: Path, tmp_path: Path, capsys) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    adapters = ["--tuning", "houlsby", "tuning.bottleneck=4", "tuning.head_bottleneck=2"]
    pca = ["transform.name=pca", "transform.out_dim=8", "training.epochs=0"]
    assert train.main([*of_text(toy_folder, source, *adapters), *pca]) == 0
    begin = [*of_text(toy_folder, target), *pca, "--init", str(source)]
    on = "go on with tuning=houlsby tuning.bottleneck=4 tuning.head_bottleneck=2, or begin with a run of frozen, top_b"
    for words, message in (
        ([], f"and this run has another tuning; {on}"),
        (["--tuning", "houlsby", "tuning.bottleneck=4"], f"and this run has another tuning.head_bottleneck; {on}"),
        ([*adapters, "transform.out_dim=4"], "transform.out_dim is 8 there and 4 here; leave it out"),
    ):
        assert train.main([*begin, *words]) == 2
        assert message in " ".join(capsys.readouterr().err.split())
    assert train.main([*begin, *adapters, "head.num_heads=4", "tuning.learning_rate=0.1"]) == 0
    shown = capsys.readouterr().err
    assert "  the same weights compute otherwise now: head.num_heads is 2 there and 4 here\n" in shown


def test_a_folder_without_a_finished_run_is_refused(toy_folder: Path, tmp_path: Path, capsys) -> None:
    assert train.main(of_text(toy_folder, tmp_path / "run", f"training.init_from={tmp_path}")) == 2
    assert "holds no run" in capsys.readouterr().err


def test_weights_of_a_tuning_go_along_where_they_mean_the_same() -> None:
    def form(*words: str) -> dict:
        return starting._form(config.load(None, [*words], {"model": "minilm-l6"}).tuning)

    assert form("tuning=lora") == form("tuning=lora", "tuning.learning_rate=0.1", "tuning.weight_decay=0")
    assert form("tuning=lora") != form("tuning=lora", "tuning.alpha=8")
    assert form("tuning=top_blocks") != form("tuning=top_blocks", "tuning.blocks=1"), "its first would be the last"


@pytest.mark.slow
@pytest.mark.parametrize("tuning", ["full", "top_blocks", "lora"])
def test_a_language_model_that_learned_goes_along(tuning: str, toy_folder: Path, tmp_path: Path, capsys) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    learn = ["--tuning", tuning, "tuning.learning_rate=0.01", *(["tuning.blocks=1"] if tuning == "top_blocks" else [])]
    assert train.main(of_text(toy_folder, source, *learn)) == 0
    assert train.main([*of_text(toy_folder, target, "--init", str(source)), "training.epochs=0"]) == 0
    assert "new are 0 others" in " ".join(capsys.readouterr().err.split())
    vectors = [load_file(run / "item_embeddings.safetensors")["item_embeddings"] for run in (source, target)]
    torch.testing.assert_close(vectors[1], vectors[0], atol=1e-5, rtol=1e-4)
    assert read_json(target / "config.json")["model"] == str(source / "language_model")
    public = tmp_path / "public"
    assert train.main([*of_text(toy_folder, public), "training.epochs=0"]) == 0
    plain = load_file(public / "item_embeddings.safetensors")["item_embeddings"]
    assert (plain - vectors[0]).abs().max() > 0.01, "else nothing was learned"
    lists = [pl.read_parquet(run / "test" / "rankings.parquet") for run in (source, target)]
    assert lists[0]["item_id"].to_list() == lists[1]["item_id"].to_list()
    capsys.readouterr()
    for word, other in (
        ("features.pooling=last", "mean there, last here"),
        ("features.blocks=1", "None there, 1 here"),
    ):
        assert train.main([*of_text(toy_folder, tmp_path / "other", "--init", str(source)), word]) == 2
        assert f"reads items otherwise ({word.partition('=')[0]}: {other})" in " ".join(capsys.readouterr().err.split())


@pytest.mark.slow
def test_adapters_that_are_not_as_in_training_are_noticed_by_what_they_do(toy_folder: Path, tmp_path: Path) -> None:
    """All weights are there; by other options a known item would get another vector than it has."""
    run, new = tmp_path / "run", pl.DataFrame({"item_id": ["new"], "title": ["Heat"], "genres": [["War"]]})
    assert train.main(of_text(toy_folder, run, "--tuning", "lora", "tuning.learning_rate=0.05")) == 0
    model = Recommender.load(run)
    model.add_items(new)
    assert model.item_ids[-1] == "new" and len(model.item_embeddings()) == len(model.item_ids) == 32
    options = read_json(run / "config.json")
    for tuning in ({"name": "frozen"}, options["tuning"] | {"alpha": 10 * options["tuning"]["alpha"]}):
        write_json(run / "config.json", options | {"tuning": tuning})
        with pytest.raises(RunError, match=r"item 'i\d+' is read as a vector that is \d+% away from that in item_emb"):
            Recommender.load(run).add_items(new)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("learns", "tuning", "moved"),
    [
        ("projection", "frozen", {"encoder.projection"}),
        ("new", "lora", {"encoder.trunk"}),
        ("new", "houlsby", {"encoder.trunk", "head.blocks"}),
    ],
)
def test_only_what_is_to_learn_moves(learns, tuning, moved, toy_folder: Path, tmp_path: Path) -> None:
    source, folder = tmp_path / "source", tmp_path / "run"
    assert train.main([*of_text(toy_folder, source), "training.epochs=0"]) == 0
    more = ["--tuning", tuning, "--init", str(source), f"training.learns={learns}", "training.learning_rate=0.03"]
    more += ["tuning.learning_rate=0.03"] if tuning != "frozen" else []
    assert train.main([*of_text(toy_folder, folder, *more), "training.epochs=4"]) == 0
    assert read_json(folder / "metrics.json")["provenance"]["best_epoch"] > 0, "else the beginning was restored"
    before, after = load_file(source / "model.safetensors"), load_file(folder / "model.safetensors")
    other = {name for name in after if name not in before or not torch.equal(before[name], after[name])}
    assert {".".join(name.split(".")[:2]) for name in other} == moved
    learned = read_json(folder / "metrics.json")["provenance"]["trainable_parameters"]
    assert learned == sum(after[name].numel() for name in other)
    if tuning != "frozen":
        ends = [after[name] for name in other if name.endswith(("up.weight", "lora_B/default/weight"))]
        assert ends and all(weight.any() for weight in ends), "which begin with zeros"


def test_a_model_that_is_gone_goes_by_its_name_and_revision() -> None:
    assert starting._in_words("owner/gone", "0123456789") == "owner/gone (revision 01234567)"
    assert starting._in_words(str(tiny_models.folder("llama")), "0123456789").endswith("llama (revision 01234567)")


def test_adapters_that_came_along_are_not_new(tmp_path: Path) -> None:
    job = Job(tmp_path, f"model={tiny_models.folder('llama')}", "tuning=houlsby", "tuning.bottleneck=4")
    options = job.options.training.model_copy(update={"init_from": Path("runs/source"), "learns": "new"})
    message = r"weights of this tuning, such as encoder.trunk.adapters.*came from runs/source; take training.learns=all"
    with pytest.raises(ConfigError, match=message):
        starting.let_learn(job.model, options, [])


@pytest.mark.slow
def test_a_source_named_from_here_is_found_from_anywhere(toy_folder: Path, tmp_path: Path, monkeypatch) -> None:
    """Its model is written below it, and what the new run says of it must not depend on where it was started."""
    source = tmp_path / "source"
    assert train.main(of_text(toy_folder, source, "--tuning", "full", "training.epochs=0")) == 0
    options = lambda *words: train.options_of(["--init", "source", *words])[0].resolved()
    monkeypatch.chdir(tmp_path)
    assert starting.over_learned_model(options()).model == str(source / "language_model")
    named = options("--model", "source/language_model")
    assert starting.over_learned_model(named).model == "source/language_model", "what the user says stays"


@pytest.mark.slow
def test_users_of_two_platforms_with_the_same_name_are_not_joined(frozen: Path, tmp_path: Path) -> None:
    """The target's users are called as the source's are, or otherwise: its weights are the same, bit for bit."""
    log, items = toy_tables(num_users=30, seed=1)
    named = {"same": log, "other": log.with_columns(pl.col("user_id").str.replace("u", "v"))}
    weights, losses = [], []
    for name, each in named.items():
        words = of_text(write_recbole(tmp_path / name / "toy", "toy", each, items), tmp_path / name / "run")
        assert train.main([*words, "--init", str(frozen), "training.epochs=2"]) == 0
        weights.append(load_file(tmp_path / name / "run" / "model.safetensors"))
        losses.append([row["loss"] for row in rows(tmp_path / name / "run", "step")])
    assert same(*weights)
    assert losses[0] == losses[1] and len(set(losses[0])) > 3, "they learned, whether or not it was for the better"


def test_what_leaves_nothing_to_learn_is_refused(frozen: Path, toy_folder: Path, tmp_path: Path, capsys) -> None:
    assert train.main(of_text(toy_folder, tmp_path / "run", "--init", str(frozen), "training.learns=new")) == 2
    assert "training.learns=new: nothing would learn; take a tuning that adds weights" in capsys.readouterr().err
    assert train.main(of_text(toy_folder, tmp_path / "run", "training.learns=projection")) == 2
    assert "learns=projection needs a finished run" in capsys.readouterr().err
