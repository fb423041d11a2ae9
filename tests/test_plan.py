"""``llmrec plan`` and the table of names: what a model costs, from its shape alone."""

import json

import pytest
import tiny_models
from transformers import AutoConfig

from llmrec import cli
from llmrec.errors import ConfigError
from llmrec.loading import MODELS, plan
from llmrec.loading.plan import Rates, Shape, costs
from llmrec.loading.skeleton import encoder_of, outline

SMALL = Shape(parameters=1_100, linear=900, block=100, rest=100, blocks=10, hidden=8, inner=32)
RATES = Rates({"fp32": 1e9, "bf16": 4e9}, disk=1e6)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_the_parameters_of_the_table_are_those_of_the_shape(name):
    encoder = encoder_of(outline(AutoConfig.for_model(**MODELS[name].shape)))
    weights = [weight.numel() for key, weight in encoder.named_parameters() if "pooler" not in key]
    assert sum(weights) == MODELS[name].parameters
    size = name.rpartition("-")[2].upper()
    if size[:-1].replace(".", "").isdigit():  # OPT counts by another rule, Gemma and Qwen round
        told = float(size[:-1]) * {"M": 1e6, "B": 1e9}[size[-1]]
        assert sum(weights) == pytest.approx(told, rel=0.25)


def test_a_shape_counts_blocks_and_what_stands_beside_them():
    shape = plan.shape_of(str(tiny_models.folder("llama")))
    # q, k, v, o of 16 x 16 and gate, up, down of 16 x 32, two norms of 16 in each of two blocks; embedding and norm
    assert shape.linear == 2 * (4 * 16 * 16 + 3 * 16 * 32)
    assert shape.block == 4 * 16 * 16 + 3 * 16 * 32 + 2 * 16
    assert shape.rest == tiny_models.VOCABULARY * 16 + 16
    assert (shape.blocks, shape.hidden, shape.inner) == (2, 16, 32)
    assert shape.parameters == 2 * shape.block + shape.rest


def test_every_kind_of_model_has_a_shape():
    for kind in tiny_models.ARCHITECTURES:
        shape = plan.shape_of(str(tiny_models.folder(kind)))
        assert shape.parameters >= shape.blocks * shape.linear // shape.blocks + shape.rest > 0


def test_costs_of_numbers_one_can_add_up():
    table = {cost.strategy: cost for cost in costs(SMALL, items=10, tokens=5, rates=RATES)}
    assert table["resident fp32"].weights == 4 * 1_100
    assert table["resident bf16"].weights == 2 * 1_100
    assert table["8bit"].weights == 900 + 2 * 200
    assert table["streamed bf16"].weights == 2 * (100 + 100), "two blocks, or one and what stands outside"
    work = 2 * 50 * 900 + 4 * 50 * 5 * 8 * 10
    assert {cost.operations for cost in table.values()} == {work}
    assert table["resident fp32"].seconds > table["resident bf16"].seconds
    assert table["streamed bf16"].seconds <= table["resident bf16"].seconds, "reading and computing go on at a time"
    assert all(cost.peak > cost.weights for cost in table.values())


def test_auto_takes_the_whole_model_where_it_fits():
    _, peak = plan.memory("resident fp32", SMALL)
    assert plan.chosen(SMALL, "fp32", int(peak) + 1) == "resident"
    assert plan.chosen(SMALL, "fp32", int(peak) - 1) == "streamed"


@pytest.mark.parametrize(("text", "size"), [("24GB", 24 * 10**9), ("1.5 gb", 1.5 * 10**9), ("512MB", 512 * 10**6)])
def test_memory_is_said_in_gigabytes(text, size):
    assert plan.parse_bytes(text) == size


@pytest.mark.parametrize("text", ["24", "GB", "much", "-1GB", "1TB"])
def test_other_memory_is_refused(text):
    with pytest.raises(ConfigError, match="memory must be such as 24GB or 512MB"):
        plan.parse_bytes(text)


@pytest.mark.slow
def test_rates_of_this_machine_are_positive_and_bf16_is_measured_apart(monkeypatch, tmp_path):
    monkeypatch.setenv("LLMREC_CACHE", str(tmp_path))
    monkeypatch.setattr(plan, "_disk_rate", lambda: 1e9)
    rates = plan.measure()
    assert rates.operations.keys() == {"fp32", "bf16"}
    assert all(rate > 1e8 for rate in rates.operations.values())


def test_the_command_prints_a_table_of_80_columns_or_json(monkeypatch, capsys):
    monkeypatch.setattr(plan, "measure", lambda: RATES)
    assert cli.main(["plan", "opt-125m", "--items", "1682", "--tokens", "16", "--memory", "2GB"]) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    assert "opt-125m: 0.13 billion parameters in 12 blocks" in text
    assert "--loading auto takes: resident (bf16), resident (fp32)." in " ".join(text.split())
    assert cli.main(["plan", "opt-13b", "--memory", "9GB", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["auto"] == {"fp32": "streamed", "bf16": "streamed"}
    assert [row["strategy"] for row in found["strategies"] if row["fits"]] == ["4bit", "streamed fp32", "streamed bf16"]


@pytest.mark.parametrize("words", [["opt-14b"], ["opt-125m", "--items", "0"], ["opt-125m", "--memory", "much"]])
def test_what_cannot_be_planned_ends_with_2(words, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(plan, "measure", lambda: RATES)
    assert cli.main(["plan", *words]) == 2
    assert capsys.readouterr().err.startswith("error: ")


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "config.json").unlink(),
        lambda folder: (folder / "config.json").write_text('{"model_type": "of tomorrow"}', encoding="utf-8"),
        lambda folder: folder.with_suffix(".gguf").write_bytes(b"GGUF"),
    ],
    ids=["no config", "unknown kind", "damaged gguf"],
)
def test_what_is_no_model_is_refused_as_loading_refuses_it(tmp_path, damage, capsys):
    folder = tiny_models.copy("llama", tmp_path / "model")
    damage(folder)
    name = folder.with_suffix(".gguf") if folder.with_suffix(".gguf").exists() else folder
    assert cli.main(["plan", str(name)]) == 2
    assert f"error: {name} cannot be read as a model: " in capsys.readouterr().err


def test_the_name_of_a_table_of_ids_is_not_what_was_meant(capsys):
    assert cli.main(["plan", "id"]) == 2
    told = capsys.readouterr().err
    assert "no model 'id'" in told and "did you mean 'id'" not in told and " id, " not in told
