"""From a name to a checked and loaded model: what is refused and why, and that no code of a model ever runs."""

import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path

import gguf
import numpy as np
import psutil
import pytest
import tiny_models
import torch
from conftest import ROOT
from safetensors.torch import load_file, save_file
from transformers import (
    CanineConfig,
    CanineModel,
    CanineTokenizer,
    LlamaConfig,
    LlamaModel,
    PerceiverConfig,
    PerceiverModel,
)

from llmrec import loading
from llmrec.errors import ConfigError, DataError, MemoryLimitError
from llmrec.features import encode
from llmrec.loading.blocks import block_list, states
from llmrec.loading.skeleton import outline, parameters

EVIL = """
from pathlib import Path
Path({mark!r}).touch()
from transformers import LlamaConfig, LlamaModel, PreTrainedTokenizerFast
class EvilConfig(LlamaConfig):
    model_type = "evil"
class EvilModel(LlamaModel):
    config_class = EvilConfig
class EvilTokenizer(PreTrainedTokenizerFast):
    pass
"""
LOAD = """
import sys
from llmrec import loading
from llmrec.errors import DataError
try:
    loading.load(loading.find(sys.argv[1]), "fp32")
except DataError as error:
    print("refused:", error)
"""


def changed(tmp_path: Path, kind: str = "llama", **config: object) -> Path:
    return tiny_models.copy(kind, tmp_path / "model", **config)


def load(folder: Path, precision: loading.Precision = "fp32") -> loading.LanguageModel:
    return loading.load(loading.find(str(folder)), precision, "resident")


# Names


@pytest.mark.parametrize(
    ("name", "asked", "pooling"),
    [
        ("bge-base", "auto", "cls"),
        ("bge-base", "mean", "mean"),
        ("BAAI/bge-base-en-v1.5", "auto", "cls"),
        ("opt-125m", "auto", "mean"),
        ("some/model", "auto", "mean"),
        ("some/model", "last", "last"),
    ],
)
def test_auto_pools_as_the_model_was_trained_to(name, asked, pooling):
    assert loading.pooling_of(name, asked) == pooling


@pytest.mark.parametrize("size", ["125m", "350m", "1.3b", "2.7b", "6.7b", "13b", "30b", "66b", "iml-1.3b"])
def test_opt_names_are_those_of_facebook(size):
    assert loading.repository_of(f"opt-{size}") == f"facebook/opt-{size}"


def test_a_hub_id_is_itself():
    assert loading.repository_of("Qwen/Qwen2.5-0.5B") == "Qwen/Qwen2.5-0.5B"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("smollm-135m", "did you mean 'smollm2-135m'"),
        ("minilm", "did you mean 'minilm-l6'"),
        ("ID", "have: beit-base, bert-base, "),
        ("./models/mine", "a folder that exists"),
        ("a/b/c", "a folder that exists or a .gguf file"),
        ("owner/", "hub id (owner/name)"),
    ],
)
def test_a_name_that_is_none_is_refused_with_the_nearest(name, hint):
    with pytest.raises(ConfigError, match=f"no model '{re.escape(name)}'") as error:
        loading.find(name)
    assert hint in str(error.value)


def test_a_gguf_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match=rf"no file {tmp_path}/model.gguf"):
        loading.find(str(tmp_path / "model.gguf"))


# Folders


def test_a_folder_without_a_config_says_what_a_model_holds(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty has no config.json; a model folder holds config.json, a tokenizer and"):
        loading.find(str(tmp_path / "empty"))


def test_a_folder_without_weights_is_refused(tmp_path):
    folder = changed(tmp_path)
    (folder / "model.safetensors").unlink()
    with pytest.raises(DataError, match=r"model has no \*.safetensors$"):
        loading.find(str(folder))


class Bomb:
    """Unpickled, it leaves a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


def test_pickled_weights_are_never_loaded(tmp_path):
    folder, mark = changed(tmp_path), tmp_path / "mark"
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(mark)))
    with pytest.raises(
        DataError, match=r"has no \*.safetensors \(pytorch_model.bin is a pickle, which is never loaded"
    ):
        load(folder)
    # Beside safetensors it is not so much as opened.
    (folder / "model.safetensors").write_bytes((tiny_models.folder("llama") / "model.safetensors").read_bytes())
    load(folder)
    assert not mark.exists()
    pickle.loads((folder / "pytorch_model.bin").read_bytes())  # noqa: S301
    assert mark.exists(), "the bomb works"


def test_a_missing_shard_is_named(tmp_path):
    folder = changed(tmp_path)
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(weights)
    shards = {"model-00001-of-00002.safetensors": names[:5], "model-00002-of-00002.safetensors": names[5:]}
    for shard, held in shards.items():
        save_file({name: weights[name] for name in held}, folder / shard, {"format": "pt"})
    index = {"metadata": {}, "weight_map": {name: shard for shard, held in shards.items() for name in held}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    assert_weights_of(load(folder), weights)
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(DataError, match=r"lacks 1 of 2 shards, such as model-00002-of-00002.safetensors"):
        loading.find(str(folder))


# Weights


def assert_weights_of(model: loading.LanguageModel, saved: dict[str, torch.Tensor]) -> None:
    found = model.model.state_dict()
    assert found.keys() >= saved.keys()
    assert [name for name, tensor in saved.items() if not torch.equal(found[name], tensor.to(found[name].dtype))] == []


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("kind", list(tiny_models.ARCHITECTURES))
def test_loaded_weights_are_those_of_the_checkpoint_to_the_bit(kind, precision):
    saved = load_file(tiny_models.folder(kind) / "model.safetensors")
    model = tiny_models.loaded(kind, precision)
    assert len(saved) > 10
    if kind == "t5":  # of encoder and decoder the one that reads
        saved = {name.removeprefix("encoder."): saved[name] for name in saved if name.startswith("encoder.")}
    assert_weights_of(model, saved)
    assert {parameter.dtype for parameter in model.model.parameters()} == {loading.DTYPES[precision]}
    assert not any(parameter.requires_grad for parameter in model.model.parameters())
    assert not model.model.training


@pytest.mark.parametrize("kind", ["llama", "opt", "gpt2"])
def test_a_weight_that_the_file_lacks_is_not_drawn_at_random(tmp_path, kind):
    folder = changed(tmp_path, kind)
    weights = load_file(folder / "model.safetensors")
    gone = sorted(weights)[3]
    save_file({k: v for k, v in weights.items() if k != gone}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(DataError, match=f"lacks 1 weights of its model, such as {re.escape(gone)}"):
        load(folder)
    save_file({f"other.{k}": v for k, v in weights.items()}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(DataError, match=f"lacks {len(weights)} weights"):
        load(folder)


def test_a_pooler_may_be_missing_since_no_vector_passes_it(tmp_path):
    folder = changed(tmp_path, "bert")
    weights = {k: v for k, v in load_file(folder / "model.safetensors").items() if "pooler" not in k}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    assert_weights_of(load(folder), weights)


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: os.truncate(folder / "model.safetensors", 3000),
        lambda folder: os.truncate(folder / "model.safetensors", 0),
        lambda folder: (folder / "config.json").write_text("{", encoding="utf-8"),
        lambda folder: (folder / "config.json").write_text("{}", encoding="utf-8"),
        lambda folder: (folder / "tokenizer.json").write_text("{}", encoding="utf-8"),
        lambda folder: [path.unlink() for path in folder.glob("tokenizer*")],
    ],
    ids=["half the weights", "no weights", "half a config", "no model type", "empty tokenizer", "no tokenizer"],
)
def test_damaged_files_are_refused_with_their_folder(tmp_path, damage):
    folder = changed(tmp_path)
    damage(folder)
    with pytest.raises(DataError, match=f"{folder} cannot be read as a model: "):
        load(folder)


def test_weights_of_another_size_than_the_config_says_are_refused(tmp_path):
    with pytest.raises(DataError, match="cannot be read as a model"):
        load(changed(tmp_path, hidden_size=32))


# Memory


def test_a_model_larger_than_the_free_memory_is_refused_with_both_figures():
    free = psutil.virtual_memory().available
    with pytest.raises(MemoryLimitError) as error:
        loading.require_memory("big", 2 * free, "fp32")
    message = str(error.value)
    assert f"big needs {2 * free * 4 / 1e9:.1f} GB for {2 * free / 1e9:.2f} billion parameters in fp32" in message
    told = float(re.search(r"and ([\d.]+) GB are free", message)[1])
    assert told == pytest.approx(free / 1e9, rel=0.5)
    assert "features.precision=bf16 for half of it" in message
    with pytest.raises(
        MemoryLimitError, match=r"in bf16, and [\d.]+ GB are free. Take a smaller model, features.loading=streamed$"
    ) as error:
        loading.require_memory("big", 2 * free, "bf16")
    assert f"big needs {2 * free * 2 / 1e9:.1f} GB for " in str(error.value)
    loading.require_memory("small", free // 4 // 4, "fp32")


def test_memory_is_asked_for_before_the_weights_are_read(tmp_path):
    folder = changed(tmp_path, vocab_size=10**9, hidden_size=4096)
    (folder / "model.safetensors").write_bytes(b"never read")
    with pytest.raises(MemoryLimitError, match=r"model needs 16\d\d\d.\d GB"):
        load(folder)


# Code


@pytest.mark.slow
@pytest.mark.parametrize("part", ["model", "tokenizer"])
def test_code_of_a_model_is_never_run_even_where_the_user_would_say_yes(tmp_path, part):
    mark = tmp_path / "mark"
    folder = changed(tmp_path)
    (folder / "evil.py").write_text(EVIL.format(mark=str(mark)), encoding="utf-8")
    entry = {
        "model": {"model_type": "evil", "auto_map": {"AutoConfig": "evil.EvilConfig", "AutoModel": "evil.EvilModel"}},
        "tokenizer": {"tokenizer_class": "EvilTokenizer", "auto_map": {"AutoTokenizer": [None, "evil.EvilTokenizer"]}},
    }[part]
    path = folder / {"model": "config.json", "tokenizer": "tokenizer_config.json"}[part]
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | entry), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(folder)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HOME": str(tmp_path / "home")},
        input="y\n" * 9,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
    assert not mark.exists()
    assert done.stdout.startswith("refused:"), done.stderr
    assert "Do you wish to run" not in done.stdout + done.stderr


# Ways into memory


@pytest.mark.slow
@pytest.mark.parametrize("memory", [None, {"cpu": 20_000}, {"cpu": 10}], ids=["all", "some on disk", "all on disk"])
@pytest.mark.parametrize("kind", ["opt", "gemma3"])
def test_a_model_spread_over_memory_and_disk_gives_the_same_vectors(kind, memory, monkeypatch, tmp_path):
    """E11: 1-layer RAM budget."""
    monkeypatch.setenv("LLMREC_CACHE", str(tmp_path))
    model = loading.load(tiny_models.files(kind), "fp32", "sharded", max_memory=memory)
    texts = ["Toy Story (1995)", "Alien", "Seven Samurai (12), Drama War"]
    expected = encode(texts, tiny_models.loaded(kind), "mean", 64)[0]
    assert torch.equal(encode(texts, model, "mean", 64)[0], expected)


@pytest.mark.slow
@pytest.mark.parametrize(("bits", "distance"), [("8bit", 0.02), ("4bit", 0.2)])
def test_quantised_weights_work_without_a_gpu_and_say_nothing(bits, distance, tmp_path, capfd, recwarn):
    """E8: `--loading 4bit` on a machine without a GPU."""
    folder = wide(tmp_path / "model")
    texts = ["Toy Story (1995)", "Alien", "Seven Samurai (12), Drama War"]
    exact = encode(texts, loading.load(loading.find(str(folder)), "fp32", "resident"), "mean", 64)[0]
    capfd.readouterr()
    model = loading.load(loading.find(str(folder)), "fp32", bits)
    found = encode(texts, model, "mean", 64)[0]
    printed = capfd.readouterr()
    assert (printed.out, printed.err) == ("", "")
    assert [str(each.message) for each in recwarn if "MatMul" in str(each.message)] == []
    assert 0 < (found - exact).norm() / exact.norm() < distance
    kinds = {type(module).__name__ for module in model.model.modules()}
    assert ("Linear8bitLt" if bits == "8bit" else "Linear4bit") in kinds


def wide(folder: Path) -> Path:
    """A model whose widths the kernels of 4 bits can take."""
    tiny_models.copy("llama", folder)
    config = LlamaConfig(
        vocab_size=tiny_models.VOCABULARY,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
    )
    torch.manual_seed(0)
    LlamaModel(config).save_pretrained(folder)
    return folder


def test_without_bitsandbytes_the_user_is_told_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"features.loading=8bit needs bitsandbytes; pip install bitsandbytes"):
        loading.load(tiny_models.files("llama"), "fp32", "8bit")


# Odd files


def test_a_folder_called_snapshots_is_no_revision(tmp_path):
    one, two = (tiny_models.copy("llama", tmp_path / name / "snapshots" / "final") for name in ("one", "two"))
    weights = load_file(two / "model.safetensors")
    save_file({**weights, "norm.weight": weights["norm.weight"] * 2}, two / "model.safetensors", {"format": "pt"})
    assert loading.find(str(one)).revision != loading.find(str(two)).revision


@pytest.mark.parametrize("text", ["{", "{}", "[]", '{"weight_map": 5}'])
def test_a_damaged_index_is_named(tmp_path, text):
    folder = changed(tmp_path)
    (folder / "model.safetensors.index.json").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"model.safetensors.index.json is damaged"):
        loading.find(str(folder))


def test_of_t5_the_half_that_reads_is_in_memory():
    model = tiny_models.loaded("t5")
    half = parameters(outline(model.config))
    assert sum(weight.numel() for weight in model.model.parameters()) == half
    assert not any("decoder" in name for name, _ in model.model.named_modules())


# Fewer blocks


@pytest.mark.slow
@pytest.mark.parametrize("how", ["resident", "streamed"])
@pytest.mark.parametrize("kind", list(tiny_models.ARCHITECTURES))
@pytest.mark.parametrize("blocks", [1, 2])
def test_fewer_blocks_give_the_hidden_states_behind_them(kind, how, blocks, tmp_path, monkeypatch):
    """What stands behind the last block, such as a norm, runs on them too; which the model says of its own states."""
    monkeypatch.setenv("LLMREC_CACHE", str(tmp_path))
    short = loading.load(tiny_models.files(kind), "fp32", how, blocks=blocks)
    whole = loading.load(tiny_models.files(kind), "fp32", "resident")
    batch = dict(whole.tokenizer(["Toy Story Heat Alien"], return_tensors="pt"))
    behind, last = [], []
    _, every = block_list(whole.model)
    every[blocks - 1].register_forward_hook(lambda block, given, output: behind.append(states(output)))
    whole.runs.encoder(**batch)
    with torch.no_grad():  # the same states come out of the last block of the whole
        replaced = every[-1].register_forward_hook(lambda block, given, output: swapped(output, behind[0]))
        (last,) = whole.runs.last_hidden_states([batch], lambda done, total: None)
        replaced.remove()
        (found,) = short.runs.last_hidden_states([batch], lambda done, total: None)
    torch.testing.assert_close(found, last)


def swapped(output: object, hidden: torch.Tensor) -> object:
    return (hidden, *output[1:]) if isinstance(output, tuple) else hidden


def test_more_blocks_than_there_are_are_refused():
    with pytest.raises(DataError, match=r"LlamaModel has 2 blocks, so features\.blocks cannot be 3"):
        loading.load(tiny_models.files("llama"), "fp32", blocks=3)


# GGUF


def gguf_of(path: Path, architecture: str) -> Path:
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_block_count(2)
    writer.add_tensor("token_embd.weight", np.zeros((4, 8), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("architecture", ["wavtokenizer-dec", "no such thing"])
def test_a_gguf_file_of_another_architecture_is_refused_with_its_name(tmp_path, architecture):
    path = gguf_of(tmp_path / "odd.gguf", architecture)
    with pytest.raises(DataError, match=rf"odd\.gguf cannot be read as a model: .*{architecture}"):
        loading.load(loading.find(str(path)), "fp32")


def test_a_gguf_file_that_was_cut_is_refused(tmp_path):
    path = gguf_of(tmp_path / "cut.gguf", "llama")
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DataError, match=r"cut\.gguf cannot be read as a model"):
        loading.load(loading.find(str(path)), "fp32")


def test_what_is_no_gguf_file_is_refused(tmp_path):
    (tmp_path / "text.gguf").write_text("hello, this is no model at all")
    with pytest.raises(DataError, match=r"text\.gguf cannot be read as a model"):
        loading.load(loading.find(str(tmp_path / "text.gguf")), "fp32")


# A config, weights and a tokenizer that do not belong together

WAYS = ["resident", "sharded", "streamed"]


def load_by(
    folder: Path, how: loading.Loading, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> loading.LanguageModel:
    monkeypatch.setenv("LLMREC_CACHE", str(tmp_path / "cache"))
    return loading.load(loading.find(str(folder)), "fp32", how)


def assert_reads_as(model: loading.LanguageModel, kind: str) -> None:
    """The same vectors, but for rounding, as the model that nothing was added to."""
    texts = ["Heat", "Toy Story"]
    plain = encode(texts, tiny_models.loaded(kind), "mean", 64)[0]
    torch.testing.assert_close(encode(texts, model, "mean", 64)[0], plain, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize(
    ("kind", "entries", "left_out"),
    [
        ("qwen3", {"model_type": "llama"}, r"4 weights of blocks .* such as layers.0.self_attn.k_norm.weight"),
        ("llama", {"num_hidden_layers": 1}, r"9 weights of blocks .* such as layers.1.input_layernorm.weight"),
        ("t5", {"num_layers": 1}, r"9 weights of blocks .* such as encoder.block.1.layer"),
    ],
    ids=["another architecture", "fewer blocks", "fewer blocks of an encoder"],
)
def test_weights_that_the_config_has_no_place_for_are_not_left_out(kind, entries, left_out, how, tmp_path, monkeypatch):
    with pytest.raises(DataError, match=left_out):
        load_by(changed(tmp_path, kind, **entries), how, tmp_path, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("how", [*WAYS, "8bit"])
def test_whole_numbers_without_their_scale_are_not_taken_for_weights(how, tmp_path, monkeypatch):
    folder = wide(tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    name = "layers.1.mlp.up_proj.weight"
    save_file(weights | {name: weights[name].to(torch.int8)}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(DataError, match=f"{name} holds I8; only F64, F32, F16, BF16 can be read, or quantised"):
        load_by(folder, how, tmp_path, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("kind", ["llama", "gpt2", "bert"])
def test_what_stands_beside_the_blocks_and_old_buffers_in_them_may_be_idle(kind, how, tmp_path, monkeypatch):
    idle = {
        "llama": ["lm_head.weight", "score.weight", "layers.0.self_attn.rotary_emb.inv_freq"],
        "gpt2": ["lm_head.weight", "h.0.attn.bias", "h.1.attn.masked_bias"],
        "bert": ["cls.predictions.bias", "embeddings.position_ids"],
    }[kind]
    folder = changed(tmp_path, kind)
    weights = load_file(folder / "model.safetensors")
    save_file(weights | {name: torch.ones(3) for name in idle}, folder / "model.safetensors", {"format": "pt"})
    assert_reads_as(load_by(folder, how, tmp_path, monkeypatch), kind)


@pytest.mark.parametrize("how", WAYS)
def test_scales_of_a_quantised_cache_of_keys_and_values_are_idle(how, tmp_path, monkeypatch):
    folder = changed(tmp_path)
    weights = load_file(folder / "model.safetensors")
    scales = {f"layers.{block}.self_attn.{name}_scale": torch.ones(()) for block in (0, 1) for name in "kv"}
    save_file(weights | scales, folder / "model.safetensors", {"format": "pt"})
    assert_reads_as(load_by(folder, how, tmp_path, monkeypatch), "llama")


def test_a_writer_is_held_to_its_config_too(tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(tiny_models.writer("qwen3"), folder)
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | {"model_type": "llama"}))
    with pytest.raises(DataError, match=r"4 weights of blocks .* such as model.layers.0.self_attn.k_norm.weight"):
        loading.load_writer(loading.find(str(folder)), "fp32")


def test_a_token_that_the_model_has_no_vector_of_is_named_where_a_text_has_it(tmp_path):
    folder = changed(tmp_path, vocab_size=100)
    weights = load_file(folder / "model.safetensors")
    rows = {"embed_tokens.weight": weights["embed_tokens.weight"][:100].clone()}
    save_file(weights | rows, folder / "model.safetensors", {"format": "pt"})
    model = load(folder)
    known, late = (model.tokenizer.convert_ids_to_tokens(number) for number in (99, 100))
    assert len(encode([known], model, "mean", 64)[0]) == 1
    with pytest.raises(DataError, match=rf"reads '{late}' as number 100, and the model has vectors of 100 tokens"):
        encode([known, late], model, "mean", 64)


def test_a_model_without_a_table_of_tokens_takes_any(tmp_path):
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    hashes = {"num_hash_functions": 2, "num_hash_buckets": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    CanineModel(CanineConfig(**sizes, **hashes, max_position_embeddings=160)).save_pretrained(tmp_path)
    CanineTokenizer().save_pretrained(tmp_path)
    assert encode(["Heat", "\u4e2d"], load(tmp_path), "mean", 64)[0].isfinite().all()
    latents = PerceiverModel(PerceiverConfig(num_latents=4, d_latents=8, d_model=8, num_self_attends_per_block=1))
    loading.require_rows("perceiver", latents, None, [261])


@pytest.mark.slow
def test_weights_of_another_training_beside_the_models_own_are_not_read(tmp_path, monkeypatch):
    monkeypatch.setenv("LLMREC_CACHE", str(tmp_path / "cache"))
    folder, texts = changed(tmp_path), ["Toy Story (1995)", "Alien"]
    weights = load_file(folder / "model.safetensors")
    other = {name: each * 2 for name, each in weights.items()}
    save_file(other, folder / "model_ema.safetensors", {"format": "pt"})
    expected = encode(texts, tiny_models.loaded("llama"), "mean", 64)[0]
    streamed = lambda: encode(texts, loading.load(loading.find(str(folder)), "fp32", "streamed"), "mean", 64)[0]
    assert torch.equal(streamed(), expected)
    (folder / "model.safetensors").rename(folder / "weights.safetensors")
    with pytest.raises(DataError, match=r"stands in model_ema.safetensors and in weights.safetensors; leave only the"):
        streamed()
    (folder / "weights.safetensors").rename(folder / "part-1.safetensors")
    index = {"weight_map": dict.fromkeys(weights, "part-1.safetensors")}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    assert torch.equal(streamed(), expected)
