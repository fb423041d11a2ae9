"""A model run block by block: the same vectors as the whole one, resumed where it stopped; what is refused before."""

import json
import os
from pathlib import Path

import pytest
import tiny_models
import torch
from safetensors.torch import load_file, save_file
from transformers import DebertaV2Config, DebertaV2Model, MixtralConfig, MixtralModel

from llmrec import loading
from llmrec.errors import ConfigError, DataError, MemoryLimitError, RunError
from llmrec.features import encode
from llmrec.loading import streamed
from llmrec.loading.plan import memory, shape_of
from llmrec.tokens import Tokens, batches_by_length

KINDS = list(tiny_models.ARCHITECTURES)
TEXTS = [
    "Toy Story (1995)",
    " ".join(f"{number} Heat" for number in range(60)),
    "Alien",
    "Seven Samurai (12), Drama War",
]


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("LLMREC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("llmrec.tokens.BATCH_TOKENS", 64)  # several batches
    return tmp_path / "cache"


def stream(folder: Path, precision: loading.Precision = "fp32") -> loading.LanguageModel:
    return loading.load(loading.find(str(folder)), precision, "streamed")


def vectors(model: loading.LanguageModel, texts: list[str] = TEXTS, **more) -> torch.Tensor:
    return encode(texts, model, "mean", 150, **more)[0]


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_streamed_model_gives_the_vectors_of_the_whole_one(kind, precision, cache):
    whole = tiny_models.loaded(kind, precision)
    model = stream(tiny_models.folder(kind), precision)
    assert torch.equal(vectors(model), vectors(whole))
    again = vectors(model, TEXTS[::-1])
    assert torch.equal(again.flip(0), vectors(whole)), "a second call begins anew"
    assert {weight.device.type for weight in model.runs.blocks[-1].parameters()} == {"meta"}, "read and let go"
    assert list((cache / "streamed").iterdir()) == [], "hidden states are removed behind the last batch"


def test_hidden_states_are_told_block_by_block():
    told = []
    vectors(stream(tiny_models.folder("gemma3")), progress=lambda done, total: told.append((done, total)))
    assert told == [(block, 7) for block in range(2, 8)]


class Stop(Exception):
    pass


@pytest.mark.slow
def test_a_run_that_was_cut_off_goes_on_behind_the_last_block(monkeypatch):
    whole = vectors(tiny_models.loaded("gemma3"))
    read = []

    def told(done: int, total: int) -> None:
        if done == 4:
            raise Stop

    with pytest.raises(Stop):
        vectors(stream(tiny_models.folder("gemma3")), progress=told)
    model = stream(tiny_models.folder("gemma3"))
    before = model.runs._read_block
    monkeypatch.setattr(model.runs, "_read_block", lambda index, *room: read.append(index) or before(index, *room))
    assert torch.equal(vectors(model), whole)
    assert read == [0, 4, 5, 6, 0], "blocks 1 to 3 are passed; the first tells what the others are called with"


@pytest.mark.slow
def test_states_of_other_texts_or_of_another_precision_are_not_taken(monkeypatch):
    def told(done: int, total: int) -> None:
        raise Stop

    with pytest.raises(Stop):
        vectors(stream(tiny_models.folder("gemma3")), progress=told)
    for texts, precision in ((TEXTS[1:], "fp32"), (TEXTS, "bf16")):
        found = vectors(stream(tiny_models.folder("gemma3"), precision), texts)
        assert torch.equal(found, vectors(tiny_models.loaded("gemma3", precision), texts))


def test_of_large_models_auto_streams_what_the_memory_does_not_hold(monkeypatch):
    files = loading.find(str(tiny_models.folder("llama")))
    assert not loading.load(files, "fp32").takes_all
    monkeypatch.setattr("psutil.virtual_memory", lambda: type("Free", (), {"available": 1000}))
    assert loading.load(files, "fp32").takes_all
    with pytest.raises(MemoryLimitError):
        loading.load(files, "fp32", "resident")
    needed = memory("resident fp32", shape_of(str(tiny_models.folder("llama"))))[1]
    monkeypatch.setattr("psutil.virtual_memory", lambda: type("Free", (), {"available": int(2.5 * needed)}))
    for processes, streams in ((1, False), (2, False), (3, True)):
        monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
        assert loading.load(files, "fp32").takes_all == streams, "each process has a model of its own"


# What is refused before hours are spent


def sharded(to: Path, kind: str = "gemma3") -> Path:
    """The model in two shards, the blocks from number 3 on in the second."""
    folder = tiny_models.copy(kind, to)
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    late = {name for name in weights if name.startswith("layers.") and int(name.split(".")[1]) >= 3}
    shards = {"model-1.safetensors": weights.keys() - late, "model-2.safetensors": late}
    for shard, names in shards.items():
        save_file({name: weights[name] for name in names}, folder / shard, {"format": "pt"})
    index = {"weight_map": {name: shard for shard, names in shards.items() for name in names}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    return folder


def test_shards_are_read_wherever_a_weight_stands(tmp_path):
    assert torch.equal(vectors(stream(sharded(tmp_path / "model"))), vectors(tiny_models.loaded("gemma3")))


def test_names_below_a_prefix_and_those_of_old_are_found(tmp_path):
    folder = tiny_models.copy("bert", tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    for new, old in (("LayerNorm.weight", "LayerNorm.gamma"), ("LayerNorm.bias", "LayerNorm.beta")):
        weights = {f"bert.{name.removeprefix('bert.')}".replace(new, old): each for name, each in weights.items()}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    assert torch.equal(vectors(stream(folder)), vectors(tiny_models.loaded("bert")))


@pytest.mark.parametrize("bytes_left", [5000, 100, 0])
def test_a_truncated_shard_is_named_before_anything_is_read(tmp_path, bytes_left):
    folder = sharded(tmp_path / "model")
    os.truncate(folder / "model-2.safetensors", bytes_left)
    with pytest.raises(DataError, match=r"model-2.safetensors cannot be read as safetensors"):
        stream(folder)


def test_a_weight_that_is_missing_or_has_another_shape_is_named(tmp_path):
    folder = tiny_models.copy("llama", tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    gone = {name: each for name, each in weights.items() if name != "layers.1.mlp.up_proj.weight"}
    save_file(gone, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(DataError, match=r"lacks 1 weights of its model, such as layers.1.mlp.up_proj.weight"):
        stream(folder)
    save_file(
        gone | {"layers.1.mlp.up_proj.weight": torch.zeros(3, 16)}, folder / "model.safetensors", {"format": "pt"}
    )
    with pytest.raises(
        DataError, match=r"layers.1.mlp.up_proj.weight has the shape \[3, 16\], the config says \[32, 16"
    ):
        stream(folder)


def test_weights_that_transformers_renames_are_missing_rather_than_those_of_another_config(tmp_path):
    sizes = {"vocab_size": 8, "hidden_size": 16, "num_hidden_layers": 2, "intermediate_size": 32}
    config = MixtralConfig(**sizes, num_attention_heads=2, num_key_value_heads=1, num_local_experts=2)
    MixtralModel(config).save_pretrained(tmp_path)
    with pytest.raises(DataError, match=r"lacks 6 weights of its model, such as layers.0.mlp"):
        stream(tmp_path)


def test_a_value_that_is_not_finite_names_the_text_and_the_block(tmp_path):
    folder = tiny_models.copy("llama", tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    weights["layers.1.mlp.down_proj.weight"][:] = torch.inf
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(DataError, match=r"block 1 gives a value that is not finite .* the text '.*Heat"):
        vectors(stream(folder))


def test_a_gguf_file_is_not_streamed(tmp_path):
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    with pytest.raises(ConfigError, match=r"a .gguf file cannot be streamed"):
        loading.load(loading.find(str(tmp_path / "model.gguf")), "fp32", "streamed")


def test_a_disk_without_room_is_refused_with_both_figures(monkeypatch):
    monkeypatch.setattr(streamed.shutil, "disk_usage", lambda path: type("Disk", (), {"free": 1000}))
    with pytest.raises(MemoryLimitError, match=r"hidden states take 0.0 GB and .* has 0.0 GB free; set LLMREC_CACHE"):
        vectors(stream(tiny_models.folder("llama")))


def test_two_runs_over_the_same_texts_do_not_share_their_states(cache):
    """The second is told who has them; those that a dead process left are taken over."""
    model, states = stream(tiny_models.folder("llama")), cache / "streamed"
    running = vectors_step_by_step(model)
    next(running)
    (lock,) = states.glob("*.lock")
    assert lock.read_text() == str(os.getpid())
    lock.write_text("1")
    with pytest.raises(RunError, match="process 1 streams the same texts through the same model"):
        vectors(stream(tiny_models.folder("llama")))
    lock.write_text("999999999")
    assert torch.equal(vectors(stream(tiny_models.folder("llama"))), vectors(tiny_models.loaded("llama")))
    assert list(states.iterdir()) == []


def vectors_step_by_step(model: loading.LanguageModel):
    tokens = Tokens.of(TEXTS, model, 150)
    batches = [tokens.batch(group)[0] for group in batches_by_length(tokens.lengths)]
    return model.runs.last_hidden_states(batches, lambda done, total: None)


@pytest.mark.slow
@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: os.truncate(path, 8)])
def test_states_that_are_gone_or_cut_are_made_again(cache, damage):
    def told(done: int, total: int) -> None:
        if done == 4:
            raise Stop

    with pytest.raises(Stop):
        vectors(stream(tiny_models.folder("gemma3")), progress=told)
    for path in (cache / "streamed").glob("*/*.bin"):
        damage(path)
    assert torch.equal(vectors(stream(tiny_models.folder("gemma3"))), vectors(tiny_models.loaded("gemma3")))


def test_weights_of_eight_bits_are_not_taken_for_whole_ones(tmp_path):
    folder = tiny_models.copy("llama", tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    weights["layers.1.mlp.up_proj.weight"] = weights["layers.1.mlp.up_proj.weight"].to(torch.float8_e4m3fn)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(DataError, match=r"layers.1.mlp.up_proj.weight holds F8_E4M3; only F64, F32, F16, BF16 can"):
        stream(folder)
    quantised = tiny_models.copy("llama", tmp_path / "other", quantization_config={"quant_method": "fp8"})
    with pytest.raises(DataError, match="holds quantised weights, which cannot be streamed"):
        stream(quantised)


def test_a_model_that_does_something_between_its_blocks_is_refused(tmp_path):
    """DeBERTa has a convolution behind its first block."""
    tiny_models.copy("bert", tmp_path / "model")
    sizes = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}
    config = DebertaV2Config(vocab_size=tiny_models.VOCABULARY, **sizes, conv_kernel_size=3)
    DebertaV2Model(config).save_pretrained(tmp_path / "model")
    with pytest.raises(DataError, match="something happens to the hidden states between two DebertaV2Layers"):
        vectors(stream(tmp_path / "model"))
