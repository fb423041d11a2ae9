"""Options that a run has of the one it begins with: which, beneath which layers, and for whom they are not."""

from pathlib import Path
from typing import Any

import pytest
import tiny_models
from small_runs import ROOT

from llmrec import config, inherited, train
from llmrec.config import RunConfig
from llmrec.runs import read_json, write_json

ADAPTER = ROOT / "configs" / "adapter.yaml"
SHAPE = ["embedding_dim=8", "max_seq_len=12", "transform=none", "encoder.projection_layers=2"]
HEAD = ["head.num_layers=1", "head.dropout=0.3"]
READS = ["features.prompt=items/title_brand", "features.pooling=last", "features.max_tokens=20", "features.blocks=1"]


def finished(folder: Path, *overrides: str, **flags: Any) -> Path:
    """A run as far as its options go."""
    options = config.load(None, list(overrides), {"model": "minilm-l6", **flags}).resolved()
    folder.mkdir()
    write_json(folder / "config.json", options.model_dump(mode="json"))
    write_json(folder / "metrics.json", {})
    return folder


def options_of(*words: str) -> RunConfig:
    return train.options_of([*words])[0].resolved()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return finished(tmp_path / "source", *SHAPE, *HEAD, *READS)


def test_what_decides_shape_and_reading_is_as_the_source_has_it(source: Path) -> None:
    begun, options = config.parse(read_json(source / "config.json")), options_of("--init", str(source))
    for field in ("model", "embedding_dim", "max_seq_len", "transform", "encoder", "head", "features"):
        assert getattr(options, field) == getattr(begun, field) != getattr(RunConfig().resolved(), field), field


def test_what_stands_for_a_machine_or_a_log_is_the_runs_own(tmp_path: Path) -> None:
    begun = [
        "features.precision=bf16",
        "features.loading=resident",
        "split=user_ratio",
        "images.folder=/covers",
        "seed=3",
    ]
    source = finished(tmp_path / "source", *begun, "training.batch_size=7", "images.size=64", images="resnet-mini")
    options = options_of("--init", str(source), "images.tuning=full")
    assert (options.features, options.split["name"]) == (RunConfig().features, "leave_one_out")
    assert (options.seed, options.training.batch_size) == (0, 32)
    assert options.images is not None
    assert (options.images.model, options.images.size, options.images.folder) == ("resnet-mini", 64, None)


def test_every_layer_stands_above_the_source(source: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("max_seq_len: 20\nembedding_dim: 16\nhead: {dropout: 0.1}\nfeatures: {blocks: 2}\n", "utf-8")
    flags = ["--config", str(file), "--head", "sasrec", "--init", str(source), "max_seq_len=30", "features.blocks=null"]
    options = options_of(*flags)
    assert (options.max_seq_len, options.embedding_dim, options.features.blocks) == (30, 16, None)
    assert (options.head["dropout"], options.head["num_layers"]) == (0.1, 1)
    assert options.features.max_tokens == 20
    other = options_of("--init", str(source), "--head", "gru4rec", "--model", "id")
    assert other.head == config.load(None, [], {"head": "gru4rec"}).resolved().head, "no options of another head"
    assert other.encoder["name"] == "id"


def test_a_method_that_says_all_is_what_it_was(source: Path) -> None:
    words = ["--model", "minilm-l6", *SHAPE, *HEAD, *READS, "--tuning", "lora", "--init"]
    assert options_of(*words, str(source)).model_dump(exclude={"training"}) == options_of(
        *words, str(source / "missing")
    ).model_dump(exclude={"training"})


def test_stacked_blocks_are_as_many_as_the_run_says(source: Path) -> None:
    stacked = options_of(f"training.init_from={source}", "training.stacking=cross")
    assert (stacked.head["num_layers"], stacked.head["dropout"]) == (2, 0.3)


@pytest.mark.parametrize("own", [{"p5": {}, "model": "t5-tiny"}, {"transfer": {"tasks": "tasks"}}])
def test_runs_that_write_names_or_learn_tasks_take_nothing(own: dict[str, Any], source: Path, tmp_path: Path) -> None:
    said = {**own, "training": {"init_from": source}}
    assert inherited.completed(said) == said
    write_json(source / "config.json", {"data": "toy", **own})
    assert inherited.completed({"training": {"init_from": str(source)}}) == {"training": {"init_from": str(source)}}


@pytest.mark.parametrize("more", [[], ["--config", str(ADAPTER)], ["encoder.projection_layers=2"]])
def test_a_missing_or_unfinished_source_is_said_at_once(
    more: list[str], source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--output", str(tmp_path / "run"), *more, "--init"]
    assert train.main([*words, str(tmp_path / "nowhere")]) == 2
    assert f"{tmp_path / 'nowhere'} holds no run; finished runs beside it: {source}" in capsys.readouterr().err
    (source / "metrics.json").unlink()
    assert train.main([*words, str(source)]) == 2
    assert f"{source} holds an unfinished run" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_the_shipped_adapters_fit_a_source_of_any_size_on_data_without_parts(toy_folder: Path, tmp_path: Path) -> None:
    data, source, target = ["--data", "toy", "--data-dir", str(toy_folder)], tmp_path / "source", tmp_path / "target"
    data += ["--epochs", "0"]
    model = ["--model", str(tiny_models.folder("llama")), "--loss", "in_batch_softmax"]
    sizes = ["embedding_dim=8", "head.num_layers=1", "max_seq_len=12", "encoder.projection_layers=1"]
    assert train.main([*data, *model, *sizes, "--output", str(source)]) == 0
    words = [*data, "--config", str(ADAPTER), "--init", str(source), "--output", str(target)]
    assert train.main(words) == 0
    begun, saved = read_json(source / "config.json"), read_json(target / "config.json")
    for field in ("model", "embedding_dim", "max_seq_len", "encoder", "head"):
        assert saved[field] == begun[field]
