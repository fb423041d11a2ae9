"""``train.py`` as a user meets it: exit codes, what a run leaves behind, which stream tells what."""

import json
import re
from pathlib import Path

import polars as pl
import pytest
from small_runs import BIN, Answer, arguments, execute, metrics, numbers, rows
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from llmrec import components, train
from llmrec.evaluation import METRICS

FILES = {
    "shuffled",
    "config.json",
    "metrics.jsonl",
    "metrics.json",
    "model.safetensors",
    "item_embeddings.safetensors",
    "items.parquet",
    "validation",
    "test",
    "baselines",
    "tensorboard",
}


@pytest.fixture
def train_py(capsys: pytest.CaptureFixture[str]):
    """Runs ``train.py`` in this process."""

    def call(*words: str) -> Answer:
        capsys.readouterr()
        try:
            code = train.main([str(word) for word in words])
        except SystemExit as end:
            code = end.code
        return Answer(code, *capsys.readouterr())

    return call


@pytest.fixture(scope="module")
def run(toy_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two epochs, beside nothing else."""
    folder = tmp_path_factory.mktemp("runs") / "toy-run"
    assert train.main(arguments(toy_folder, folder, "--epochs", "2")) == 0
    return folder


@pytest.mark.slow
def test_training_prints_one_table_and_leaves_the_whole_run_behind(toy_folder: Path, tmp_path: Path, train_py) -> None:
    folder = tmp_path / "run"
    answer = train_py("--data", "toy", "--data-dir", toy_folder, "--epochs", 2, "--output", folder)
    assert answer.code == 0
    assert {path.name for path in folder.iterdir()} == FILES
    assert {path.name for path in (folder / "baselines").iterdir()} == {*components.names("baselines")} - {
        "cosine",
        "smoothed",
    }
    for table in ("test", "validation", "baselines/tfidf"):
        assert {path.name for path in (folder / table).iterdir()} == {
            "cases.parquet",
            "rankings.parquet",
            "protocol.json",
            "provenance.json",
        }
    for word in ("popularity", "random", "tfidf", "run", "HR@10", "nDCG@10", "chance", "paired test", "leave_one_out"):
        assert word in answer.out
    assert answer.out.count("HR@10") == 2, "the table, and the run by groups of its cases"
    value = metrics(folder)["test"]["nDCG@10"]["value"]
    assert f"{value:.4f}".lstrip("0") in next(line for line in answer.out.splitlines() if line.startswith("run "))
    assert answer.err.splitlines()[0].startswith(f"{folder}: 1 process on ")
    assert answer.err.splitlines()[1] == "toy: 40 users, 30 items, 629 interactions; 549 train, 40 validate, 40 test"
    assert "epochs, weights of epoch" in answer.err
    assert "epochs, weights of epoch" not in answer.out


@pytest.mark.slow
def test_metrics_json_has_every_metric_with_interval_users_and_chance(run: Path, toy_folder: Path) -> None:
    content = metrics(run)
    assert list(content) == ["validation", "test", "shuffled", "protocol", "provenance"]
    for part in ("validation", "test"):
        assert set(content[part]) == set(METRICS)
        for fields in content[part].values():
            assert list(fields) == ["value", "low", "high", "n", "chance"]
            assert 0 <= fields["low"] <= fields["value"] <= fields["high"] <= 1
            assert 0 < fields["chance"] < 1
            assert fields["n"] == 40
    # A tied place counts one in so many: with c candidates a random order hits the first ten with 10 / c.
    candidates = pl.read_parquet(run / "test" / "cases.parquet")
    reachable = candidates.filter(pl.col("target_above") < pl.col("num_candidates"))
    expected = (10 / reachable["num_candidates"]).clip(upper_bound=1).sum() / 40
    assert content["test"]["HR@10"]["chance"] == pytest.approx(expected, abs=1e-12)
    facts = content["provenance"]
    assert (facts["seed"], facts["model"], facts["epochs"], facts["processes"]) == (0, "id", 2, 1)
    assert set(facts["seconds"]) == {"encode", "train"}
    assert {"torch", "transformers", "llmrec"} <= set(facts["versions"])
    assert content["protocol"]["mask_history"] is True


@pytest.mark.slow
def test_json_prints_what_metrics_json_holds_and_nothing_else(toy_folder: Path, tmp_path: Path, train_py) -> None:
    answer = train_py(*arguments(toy_folder, tmp_path / "run", "--epochs", "1", "--json"))
    assert answer.code == 0
    assert json.loads(answer.out) == json.loads((tmp_path / "run" / "metrics.json").read_text("utf-8"))


def test_metrics_jsonl_ends_with_the_last_epoch_and_its_validation(run: Path) -> None:
    epochs = rows(run, "epoch")
    assert [row["epoch"] for row in epochs] == [0, 1]
    assert epochs[1]["step"] == rows(run, "step")[-1]["step"] == len(rows(run, "step"))
    best = metrics(run)["provenance"]["best_epoch"]
    for name in METRICS:
        measured = metrics(run)["validation"][name]["value"]
        assert measured == pytest.approx(epochs[best - 1]["validation"][name], abs=1e-12)


def test_tensorboard_gets_loss_and_validation_of_every_epoch(run: Path) -> None:
    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    losses = events.Scalars("loss")
    assert [event.step for event in losses] == [0, 1]
    assert [event.value for event in losses] == pytest.approx([row["loss"] for row in rows(run, "epoch")], rel=1e-6)
    wanted = [row["validation"]["nDCG@10"] for row in rows(run, "epoch")]
    assert [event.value for event in events.Scalars("validation/nDCG@10")] == pytest.approx(wanted, rel=1e-6)


@pytest.mark.slow
def test_the_script_does_in_a_process_of_its_own_what_main_does_here(
    toy_folder: Path, tmp_path: Path, run: Path
) -> None:
    words = arguments(toy_folder, tmp_path / "run", "--epochs", "2", "--json")
    done = execute(str(BIN / "python"), "llmrec/train.py", *words)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == metrics(tmp_path / "run")
    assert numbers(tmp_path / "run") == numbers(run)
    assert "epochs, weights of epoch" in done.stderr
    assert "Traceback" not in done.stderr
    again = execute(str(BIN / "python"), "llmrec/train.py", *words)
    assert (again.returncode, again.stdout) == (2, "")
    assert again.stderr.splitlines()[-1].startswith("error: ")


@pytest.mark.slow
def test_the_mask_can_be_taken_off_by_an_override_and_stands_in_the_protocol(
    toy_folder: Path, tmp_path: Path, run: Path, train_py
) -> None:
    words = arguments(toy_folder, tmp_path / "run", "--epochs", "2", "protocol.mask_history=false", "--json")
    content = json.loads(train_py(*words).out)
    assert content["protocol"]["mask_history"] is False
    assert {**content["protocol"], "mask_history": True} == metrics(run)["protocol"]
    assert content["test"]["nDCG@10"]["value"] != metrics(run)["test"]["nDCG@10"]["value"]
    # Without the mask every case has the whole catalogue of 30 to choose from.
    assert content["test"]["HR@10"]["chance"] == pytest.approx(10 / 30, abs=1e-12)


@pytest.mark.slow
def test_the_filter_comes_before_the_split_and_both_say_what_they_left_out(
    toy_folder: Path, tmp_path: Path, train_py
) -> None:
    chosen = ["filter.dedupe=last", "filter.max_history=6", "split.name=temporal", "split.target=successive"]
    words = arguments(toy_folder, tmp_path / "run", "--epochs", "1", *chosen, "split.test=0.2", "--json")
    answer = train_py(*words)
    protocol = json.loads(answer.out)["protocol"]
    assert (protocol["split"], protocol["filter"]) == ("temporal", "dedupe last, last 6 of each user")
    assert "every interaction of each user since 1970-01-12 " in protocol["targets"]
    assert protocol["test_history"] == "everything before the target, held-out interactions included"
    said = answer.err.splitlines()
    assert any(line.startswith("  dedupe last: ") for line in said)
    assert any(line.startswith("  most recent 6 interactions of each user kept: ") for line in said)
    assert re.search(
        r"^  \d+ users have no case, such as 'u\d+' \(no interaction since 1970-", answer.err, re.MULTILINE
    )
    cases = pl.read_parquet(tmp_path / "run" / "test" / "cases.parquet")
    assert cases["target_index"].max() > 0
    assert json.loads(answer.out)["test"]["HR@10"]["n"] == cases["user_id"].n_unique() < len(cases)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cold_item", "user_ratio"])
def test_every_split_of_plain_data_can_be_trained_on(name: str, toy_folder: Path, tmp_path: Path, train_py) -> None:
    words = arguments(toy_folder, tmp_path / "run", "--epochs", "1", f"split={name}", "--json")
    assert json.loads(train_py(*words).out)["protocol"]["split"] == name


def test_a_split_that_the_data_do_not_fit_ends_before_anything_is_trained(
    toy_folder: Path, tmp_path: Path, train_py
) -> None:
    answer = train_py(*arguments(toy_folder, tmp_path / "run", "split=given"))
    assert answer.code == 2
    assert "error: toy brings no split: its interactions have no column 'part'" in answer.err
    answer = train_py(*arguments(toy_folder, tmp_path / "run", "filter.k_core=500"))
    assert answer.code == 2
    assert "error: toy: filter '500-core' leaves no interaction (500-core, pass 1: 40 users and 30 items" in answer.err


@pytest.mark.slow
def test_options_of_a_file_are_overridden_by_flags_and_those_by_overrides(
    toy_folder: Path, tmp_path: Path, train_py
) -> None:
    file = tmp_path / "options.yaml"
    file.write_text("training: {epochs: 7, batch_size: 32}\nhead: {name: sasrec, num_layers: 3}\n", encoding="utf-8")
    words = arguments(toy_folder, tmp_path / "run", "--config", str(file), "--epochs", "1", "head.dropout=0.1")
    assert train_py(*words).code == 0
    saved = json.loads((tmp_path / "run" / "config.json").read_text("utf-8"))
    assert saved["training"]["epochs"] == 1
    assert saved["training"]["batch_size"] == 8
    assert (saved["head"]["num_layers"], saved["head"]["dropout"], saved["head"]["norm"]) == (1, 0.1, "post")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--head", "sasrecc"], "did you mean 'sasrec'"),
        (["head.name=3"], "head must be a name (have: "),
        (["--loss", "softmx"], "did you mean 'softmax'"),
        (["--tuning", "frozn"], "did you mean 'frozen'"),
        (["head.num_layer=3"], "did you mean 'num_layers'"),
        (["training.epoch=3"], "did you mean 'epochs'"),
        (["--epochs", "-1"], "training.epochs"),
        (["--seed", "-1"], "seed"),
        (["--model", "minilm-l7"], "did you mean 'minilm-l6'"),
        (["mask_history"], "key.path=value"),
        (["--config", "nowhere.yaml"], "nowhere.yaml"),
        (["--epochs", "many"], "invalid int value"),
        (["--loss", "gbce", "loss.t=2"], "t must be from 0 to 1, came 2"),
        (["head.num_heads=0"], "num_heads=0"),
        (["head.num_layers=-1"], "num_layers must be at least 0, came -1"),
        (["--head", "esasrec", "head.num_heads=-2"], "num_heads=-2"),
        (
            ["--model", "minilm-l6", "transform=whitening", "transform.epsilon=-1"],
            "epsilon must be at least 0, came -1",
        ),
        (["--epoch", "1", "--hed", "sasrec"], "unrecognized arguments: --hed"),
    ],
)
def test_a_mistake_ends_with_2_one_message_and_no_traceback(
    toy_folder: Path, tmp_path: Path, train_py, words: list[str], said: str
) -> None:
    answer = train_py(*arguments(toy_folder, tmp_path / "run", *words))
    assert answer.code == 2
    assert said in answer.err
    assert answer.out == ""
    assert "Traceback" not in answer.err
    assert answer.err.count("error: ") == 1
    assert "interactions" not in answer.err, "what the options alone tell is refused before data are read"


def test_missing_data_and_strange_folders_are_refused(toy_folder: Path, tmp_path: Path, train_py) -> None:
    answer = train_py(*arguments(tmp_path / "nowhere", tmp_path / "run"))
    assert answer.code == 2
    assert "nowhere does not exist" in answer.err
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("years of work", encoding="utf-8")
    answer = train_py(*arguments(toy_folder, other, "--overwrite"))
    assert answer.code == 2
    assert "is not empty and holds no run" in answer.err
    assert [path.name for path in other.iterdir()] == ["thesis.txt"]


def test_help_shows_flags_components_and_examples(train_py) -> None:
    answer = train_py("--help")
    assert answer.code == 0
    assert "accelerate launch llmrec/train.py --model id" in answer.out
    for kind in components.KINDS:
        for name in components.names(kind):
            assert name in answer.out
    answer = train_py("--help", "sasrec")
    assert answer.code == 0
    assert "num_layers" in answer.out
    answer = train_py("--help", "sasrek")
    assert answer.code == 2
    assert "did you mean 'sasrec'" in answer.err
