"""StackRec: which block of a shallow run each block of a deep one begins as, and whose tables of ids go along."""

import json
from pathlib import Path

import polars as pl
import pytest
import torch
from conftest import toy_tables, write_recbole
from safetensors.torch import load_file
from small_runs import arguments, rows
from torch import Tensor

from llmrec import components, config, recommender, stacking, starting, train
from llmrec.errors import ConfigError
from llmrec.interactions import Dataset
from llmrec.item_text import ItemText

STILL = ["training.learning_rate=1e-30", "training.weight_decay=0", "training.epochs=1"]


def shallow() -> dict[str, Tensor]:
    """Two blocks: block i has the weight i + 1 and the gate 10 (i + 1)."""
    blocks = {f"head.blocks.{i}.first.weight": torch.full((2, 3), i + 1.0) for i in range(2)}
    gates = {f"head.blocks.{i}.gate": torch.full((1,), 10 * (i + 1.0)) for i in range(2)}
    return blocks | gates | {"encoder.embedding": torch.ones(5, 2), "head.position.weight": torch.ones(4, 2)}


@pytest.mark.parametrize(("how", "old"), [("adjacent", [1, 1, 2, 2]), ("cross", [1, 2, 1, 2])])
def test_each_block_is_copied_twice_and_its_gate_is_closed_again(how: str, old: list[int]) -> None:
    given = shallow()
    deep = stacking.stack(given, how)
    for new, value in enumerate(old):
        assert torch.equal(deep.pop(f"head.blocks.{new}.first.weight"), torch.full((2, 3), float(value)))
        assert torch.equal(deep.pop(f"head.blocks.{new}.gate"), torch.zeros(1))
    assert deep.keys() == {"encoder.embedding", "head.position.weight"}
    assert all(torch.equal(deep[name], given[name]) for name in deep)


def test_copies_are_no_views_of_each_other() -> None:
    deep = stacking.stack(shallow(), "adjacent")
    deep["head.blocks.0.first.weight"] += 1
    assert (deep["head.blocks.1.first.weight"] == 1).all()


def test_blocks_are_those_of_the_head_alone() -> None:
    names = ["head.blocks.0.a", "head.blocks.0.b", "head.blocks.11.a", "encoder.trunk.blocks.3.a", "head.layers.0.a"]
    assert stacking.num_blocks(names) == 2
    assert stacking.num_blocks(names[3:]) == 0


def test_stacking_needs_a_run_to_begin_with() -> None:
    with pytest.raises(ConfigError, match="stacking needs the finished run whose blocks are doubled; name it with"):
        config.load(None, ["training.stacking=cross"], {})


def nextitnet(data: Path, folder: Path, *more: str) -> list[str]:
    return arguments(data, folder, "--head", "nextitnet", "head.num_layers=2", "head.dilations=[1,2]", *more)


@pytest.fixture(scope="module")
def run(toy_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run over item ids with two gated blocks."""
    folder = tmp_path_factory.mktemp("stacking") / "shallow"
    assert train.main(nextitnet(toy_folder, folder, "head.gate=true", "training.epochs=3")) == 0
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("how", "old"), [("adjacent", [0, 0, 1, 1]), ("cross", [0, 1, 0, 1])])
def test_a_deep_run_begins_with_the_blocks_of_a_shallow_one(
    run: Path, toy_folder: Path, tmp_path: Path, how: str, old: list[int]
) -> None:
    more = ["head.gate=true", "head.num_layers=4", f"training.init_from={run}", f"training.stacking={how}", *STILL]
    assert train.main(nextitnet(toy_folder, tmp_path / "deep", *more)) == 0
    before, after = (load_file(folder / "model.safetensors") for folder in (run, tmp_path / "deep"))
    assert before["head.blocks.0.gate"].abs() > 0
    parts = [name.removeprefix("head.blocks.0.") for name in before if name.startswith("head.blocks.0.")]
    assert len(parts) == 9
    for new, block in enumerate(old):
        for part in parts:
            expected = before[f"head.blocks.{block}.{part}"]
            expected = torch.zeros(1) if part == "gate" else expected
            assert torch.allclose(after[f"head.blocks.{new}.{part}"], expected, atol=1e-20, rtol=0)
    assert torch.equal(after["encoder.embedding"], before["encoder.embedding"])


@pytest.mark.slow
def test_a_run_over_ids_goes_on_where_another_ended(run: Path, toy_folder: Path, tmp_path: Path, capsys) -> None:
    more = ["head.gate=true", f"training.init_from={run}", *STILL]
    assert train.main(nextitnet(toy_folder, tmp_path / "again", *more)) == 0
    assert f"begins with the weights of {run}; new are 0 others" in " ".join(capsys.readouterr().err.split())
    best = [row for row in rows(run, "epoch") if row["best"]][-1]
    assert rows(tmp_path / "again", "epoch")[0]["validation"] == pytest.approx(best["validation"], abs=1e-6)


def renamed(folder: Path, change: dict[str, str]) -> Path:
    log, items = toy_tables()
    tables = [table.with_columns(pl.col("item_id").replace(change)) for table in (log, items)]
    return write_recbole(folder / "toy", "toy", *tables)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["head.num_layers=3"], "has 2 blocks, that of this run 3; head.num_layers=4 doubles them"),
        (["head.num_layers=2"], "has 2 blocks, that of this run 2; head.num_layers=4 doubles them"),
        (["head.num_layers=4", "head.gate=false"], "weights that this run has not, such as head.blocks"),
        (["head.num_layers=4", "head.kernel_size=5"], "has the shape [8, 8, 3], in this run it has [8, 8, 5]"),
    ],
)
def test_a_head_that_is_not_twice_as_deep_is_refused(
    run: Path, toy_folder: Path, tmp_path: Path, more, message, capsys
):
    options = ["head.gate=true", f"training.init_from={run}", "training.stacking=cross", *more]
    assert train.main(nextitnet(toy_folder, tmp_path / "deep", *options)) == 2
    assert message in capsys.readouterr().err


def test_a_run_over_other_ids_is_refused_with_their_names(run: Path, tmp_path: Path, capsys) -> None:
    data = renamed(tmp_path, {"i3": "new", "i7": "newer"})
    more = ["head.gate=true", f"training.init_from={run}"]
    assert train.main(nextitnet(data, tmp_path / "run", *more)) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert (
        "has a table of other item ids: 2 of 30 items of this run are new, such as 'new'; 2 of 30 items of that" in told
    )
    assert "run are gone, such as 'i3'; only the same items fit it" in told


def test_ids_in_another_order_keep_their_own_vectors(run: Path) -> None:
    options = config.parse(json.loads((run / "config.json").read_text()))
    log, items = toy_tables()
    dataset = Dataset.from_tables("toy", log, items.reverse())
    split = components.create("splits", options.split).split(dataset)
    model = recommender.build(options, split, ItemText.of(options, dataset, lambda done, total: None))
    assert starting.begin_with(model, options, run) == []
    there = recommender.read_items(run)["item_id"].to_list()
    here = dataset.item_ids[1:].tolist()
    assert here != there
    table = load_file(run / "model.safetensors")["encoder.embedding"]
    for row, item in enumerate(here):
        assert torch.equal(model.encoder.embedding[row], table[there.index(item)])


@pytest.mark.slow
@pytest.mark.parametrize("head", ["gru4rec", "esasrec"])
def test_a_head_without_blocks_has_nothing_to_stack(head: str, toy_folder: Path, tmp_path: Path, capsys) -> None:
    first = arguments(toy_folder, tmp_path / "first", "--head", head, "training.epochs=1")
    assert train.main(first) == 0
    more = [f"training.init_from={tmp_path / 'first'}", "training.stacking=adjacent"]
    assert train.main(arguments(toy_folder, tmp_path / "second", "--head", head, *more)) == 2
    assert "0 blocks, that of this run 0, so that there is nothing to double" in capsys.readouterr().err
