"""A run that writes names and goes on from one on other data: what it takes along, and what is refused."""

import re
from pathlib import Path

import polars as pl
import pytest
from conftest import toy_tables, write_recbole
from safetensors.torch import load_file
from small_runs import arguments as of_vectors
from small_writers import causal_folder, options

from llmrec import building, train
from llmrec.errors import RunError
from llmrec.generative.vocabulary import require_pieces, train_vocabulary, unwritten
from llmrec.item_ids import ItemIds

SHORT = ["training.epochs=1", "training.batch_size=16", "p5.examples={sequential: 1, rating: 1}"]
STILL = ["training.learning_rate=1e-30", "training.embedding_learning_rate=1", "training.weight_decay=0"]


def writer(data: Path, folder: Path, *more: str) -> list[str]:
    where = ["--data", data.name, "--data-dir", str(data), "--output", str(folder)]
    return ["--config", "configs/p5.yaml", *where, *SHORT, *more]


@pytest.fixture(scope="module")
def first(toy_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("first") / "run"
    assert train.main(writer(toy_folder, folder, "p5.vocabulary=400")) == 0
    return folder


@pytest.fixture(scope="module")
def shops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Other people and more items, whose ids have letters that the first log has not; so has one title."""
    log, items = toy_tables(num_users=16, num_items=50, seed=1)
    log = log.with_columns(pl.col("user_id").str.replace("u", "Q"), pl.col("item_id").str.replace("i", "Z"))
    items = items.with_columns(pl.col("item_id").str.replace("i", "Z"), pl.col("title").str.replace("Film 7 ", "Ž "))
    return write_recbole(tmp_path_factory.mktemp("second") / "shops", "shops", log, items)


@pytest.mark.slow
def test_weights_and_pieces_are_those_of_the_run_and_the_names_those_of_the_new_items(
    first: Path, shops: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder = tmp_path / "second"
    assert train.main(writer(shops, folder, f"training.init_from={first}", "p5.vocabulary=400", *STILL)) == 0
    assert "16 users have letters in their names that no piece has, such as user_Q0" in capsys.readouterr().err
    before, after = load_file(first / "model.safetensors"), load_file(folder / "model.safetensors")
    assert before.keys() == after.keys()
    assert all(after[name].equal(weight) for name, weight in before.items()), "no table counts as new"
    assert (folder / "tokenizer/tokenizer.json").read_bytes() == (first / "tokenizer/tokenizer.json").read_bytes()
    model = building.load(folder)
    assert (model.num_items, len(model.asking.rows.users) - 1) == (50, 16)
    found = model.recommend([["Z1", "Z2"]], users=["Q3"], k=48)
    assert {*found["item_id"], "Z1", "Z2"} == {f"Z{number}" for number in range(50)}


@pytest.mark.slow
def test_titles_of_other_letters_are_ranked_too_and_counted(toy_folder, shops, tmp_path, capsys):
    titles = ["item_ids=title", "p5.max_target=256"]
    assert train.main(writer(toy_folder, tmp_path / "one", "p5.vocabulary=400", *titles)) == 0
    assert train.main(writer(shops, tmp_path / "two", *titles, f"training.init_from={tmp_path / 'one'}")) == 0
    assert "1 items have letters in their names that no piece has, such as Ž (1957)" in capsys.readouterr().err
    found = building.load(tmp_path / "two").recommend([["Z1"]], k=49)
    assert len(found) == 49 and "Z7" in set(found["item_id"])


@pytest.mark.slow
def test_without_an_epoch_the_run_is_measured_as_it_was(first: Path, toy_folder: Path, tmp_path: Path):
    again = tmp_path / "again"
    assert train.main(writer(toy_folder, again, f"training.init_from={first}", "training.epochs=0")) == 0
    assert (again / "metrics.jsonl").read_text(encoding="utf-8") == "", "nothing was trained"
    before, after = (pl.read_parquet(folder / "test" / "rankings.parquet") for folder in (first, again))
    assert after.equals(before)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["item_ids={name: collaborative, clusters: 3, leaf: 4}"], r"pieces that the run has not, such as <c0>; take"),
        (["item_ids=title", "p5.vocabulary=500"], "p5.vocabulary=500 reaches nothing, for .*run has pieces of its own"),
        (["--model", "llama-tiny"], "its model is t5-tiny; leave --model llama-tiny for that one"),
    ],
)
def test_what_the_run_cannot_go_on_to_is_refused(first, shops, tmp_path, capsys, more, message):
    assert train.main(writer(shops, tmp_path / "run", f"training.init_from={first}", *more)) == 2
    assert re.search(message, capsys.readouterr().err)


@pytest.mark.slow
def test_additions_go_on_learning_and_a_run_without_them_is_none_to_go_on_from(toy_folder, shops, tmp_path, capsys):
    lora = ["p5.lora={rank: 2}", "training.embedding_learning_rate=null", "training.learning_rate=0.05"]
    model = ["--model", str(causal_folder(tmp_path / "model", "llama"))]
    assert train.main(writer(toy_folder, tmp_path / "one", *model, *lora)) == 0
    goes_on = [*model, f"training.init_from={tmp_path / 'one'}"]
    assert train.main(writer(shops, tmp_path / "two", *goes_on, *lora, "training.epochs=8")) == 0
    before, after = (load_file(tmp_path / run / "model.safetensors") for run in ("one", "two"))
    assert before.keys() == after.keys()
    assert not any(after[name].equal(weight) for name, weight in before.items())
    assert building.load(tmp_path / "two").num_items == 50
    assert train.main(writer(shops, tmp_path / "whole", *goes_on)) == 2
    assert "p5.lora is rank=2 alpha=16 there and None here; take the same" in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_of_vectors_is_none_to_go_on_from(toy_folder: Path, tmp_path: Path):
    assert train.main(of_vectors(toy_folder, tmp_path / "vectors", "--epochs", "1")) == 0
    taken = options(f"training.init_from={tmp_path / 'vectors'}")
    with pytest.raises(RunError, match=r"it compares vectors; name a run that writes names"):
        building._origin(taken)


@pytest.mark.slow
def test_users_of_two_platforms_with_the_same_name_are_not_joined(first: Path, tmp_path: Path, capsys):
    log, items = toy_tables(num_users=16, num_items=50, seed=1)
    others = write_recbole(tmp_path / "toy", "toy", log, items)  # another log of the same name
    words = writer(others, tmp_path / "second", f"training.init_from={first}", "p5.vocabulary=400", *STILL)
    assert train.main(words) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert "16 of 16 users of toy have names of users of toy, such as 'u0', and p5/" in told
    assert "ask by prompts without users (configs/p5-titles.yaml)" in told
    nobody = ["--model", "t5-tiny", "p5.examples={anonymous: 1}", "p5.prompt=p5/anonymous/next_item"]
    assert train.main([*words[2:6], *nobody, f"training.init_from={first}", "training.epochs=0"]) == 0


@pytest.mark.slow
def test_a_run_does_not_go_on_in_its_own_folder(first: Path, toy_folder: Path, capsys):
    """--overwrite would have deleted it before it was read."""
    assert train.main(writer(toy_folder, first, f"training.init_from={first}", "--overwrite")) == 2
    assert "is the folder that this run is saved in; --output names another" in capsys.readouterr().err
    assert (first / "model.safetensors").exists()


def test_an_unfinished_run_is_none_to_go_on_from(tmp_path: Path):
    with pytest.raises(RunError, match="holds no run"):
        building._origin(options(f"training.init_from={tmp_path}"))


def test_names_need_pieces_for_all_of_their_letters():
    tokenizer = train_vocabulary(["user_u1 chose item_1001, item_1002"] * 20, 260)
    assert unwritten(tokenizer, ["item_1003", "item_Z9", "chose"]) == ["item_Z9"]
    require_pieces(tokenizer, ItemIds(("", "item_77", "Žižkov")))
    with pytest.raises(RunError, match="have 2 pieces that the run has not, such as <c0>"):
        require_pieces(tokenizer, ItemIds(("", "<c0><i0>"), ("<c0>", "<i0>")))
