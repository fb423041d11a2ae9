"""Tunings that run the whole language model: what learns, what stays to the bit, and what PEFT makes of an adapter."""

import pytest
import tiny_models
import torch
from peft import PeftModel
from test_loading import wide
from test_top_blocks import TEXTS, Whole, learn
from torch import nn

from llmrec import components, loading, optimizer
from llmrec.errors import ConfigError
from llmrec.features import encode
from llmrec.options import TrainingOptions
from llmrec.tuning import TextSource

KINDS = list(tiny_models.ARCHITECTURES)


def trunk(name: str, kind: str, **options) -> nn.Module:
    tuning = components.create("tuning", components.resolve("tuning", {"name": name, **options}))
    return tuning.trunk(tiny_models.source(lambda: None, TEXTS, kind))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_in_full_tuning_every_weight_learns_as_in_the_model_itself(kind):
    full = trunk("full", kind)
    names = {name for name, _ in full.encoder.named_parameters()}
    whole = Whole(kind, names)
    torch.testing.assert_close(learn(full), learn(whole), rtol=0, atol=1e-4)  # sums over other padding
    after = dict(whole.encoder.named_parameters())
    for name, weight in full.encoder.named_parameters():
        torch.testing.assert_close(weight, after[name], rtol=0, atol=1e-4)


ADDED = [("lora", {}), ("lora", {"dora": True}), ("lora", {"gradient_checkpointing": True}), ("ia3", {})]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), ADDED, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_of_lora_only_the_additions_learn_and_all_of_them_do(kind, name, options):
    """E14: every lora_B has moved after a step; compared is the whole state, bit for bit, after three with decay."""
    model = trunk(name, kind, **options)
    before = {name: weight.clone() for name, weight in model.encoder.state_dict().items()}
    learn(model)
    after = model.encoder.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {name for name in before if "lora_" in name or "ia3_" in name}
    assert all(after[name].norm() > 0 for name in moved if "lora_B" in name)
    assert len(model.state_dict()) == len(moved), "the model itself is not saved"


@pytest.mark.slow
def test_an_adapter_is_read_by_peft_and_changes_what_the_model_says(tmp_path):
    """E16: compare outputs with and without the adapter."""
    model = trunk("lora", "llama", rank=4, alpha=32)
    vectors = learn(model)
    model.save_pretrained(tmp_path / "adapter")
    bare = loading.load(tiny_models.files("llama"), "fp32", "resident")
    without = encode(TEXTS[1:], bare, "mean", 150)[0]
    adapted = PeftModel.from_pretrained(bare.model, tmp_path / "adapter").eval()
    batch = bare.tokenizer(TEXTS[1], return_tensors="pt")
    found = adapted(**batch).last_hidden_state.mean(dim=1)[0]
    torch.testing.assert_close(found, vectors[0], rtol=0, atol=1e-5)
    assert (without[0] - vectors[0]).abs().max() > 0.01
    assert not list(tmp_path.rglob("*.bin")), "safetensors, never pickle"


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_additions_merged_into_the_weights_give_the_same_vectors(kind):
    model = trunk("lora", kind, rank=4, alpha=32)
    vectors = learn(model)
    object.__setattr__(model, "encoder", model.merged())
    assert not any("lora" in name for name, _ in model.encoder.named_parameters())
    torch.testing.assert_close(model()[1:], vectors, rtol=0, atol=1e-4)


@pytest.mark.slow
def test_additions_are_loaded_by_name():
    model, other = trunk("lora", "opt"), trunk("lora", "opt")
    vectors = learn(model)
    other.load_state_dict(model.state_dict())
    torch.testing.assert_close(other()[1:].detach(), vectors)
    odd = {f"x{name}": weight for name, weight in model.state_dict().items()}
    with pytest.raises(RuntimeError, match="Missing key"):
        trunk("lora", "opt").load_state_dict(odd)


@pytest.mark.parametrize("name", ["full", "lora"])
@pytest.mark.parametrize("options", [{"learning_rate": 0.0}, {"weight_decay": -1.0}])
def test_rates_out_of_range_are_refused(name, options):
    with pytest.raises(ConfigError, match="must be"):
        components.create("tuning", components.resolve("tuning", {"name": name, **options}))


@pytest.mark.parametrize("options", [{"rank": 0}, {"alpha": 0}])
def test_options_of_lora_out_of_range_are_refused(options):
    with pytest.raises(ConfigError, match="must be at least 1"):
        components.create("tuning", components.resolve("tuning", {"name": "lora", **options}))


@pytest.mark.parametrize(
    ("name", "kind"), [("lora", "llama"), ("full", "gpt2"), ("top_blocks", "gpt2"), ("full", "bert")]
)
def test_the_matrices_of_a_language_model_decay_whatever_its_layers_are_called(name, kind):
    options = {"blocks": 1} if name == "top_blocks" else {}
    model = trunk(name, kind, weight_decay=0.3, learning_rate=0.007, **options)
    *_, decayed, rest = optimizer.parameter_groups(model, TrainingOptions())
    assert (decayed["weight_decay"], rest["weight_decay"]) == (0.3, 0.0)
    assert decayed["peak"] == rest["peak"] == 0.007
    tables = {id(each.weight) for each in model.encoder.modules() if isinstance(each, nn.Embedding)}
    assert decayed["params"] and all(each.dim() == 2 and id(each) not in tables for each in decayed["params"])
    assert all(each.dim() == 1 or id(each) in tables for each in rest["params"])
    assert len(decayed["params"]) + len(rest["params"]) == len(list(model.parameters()))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("full", {}),
        ("lora", {}),
        ("ia3", {}),
        ("top_blocks", {"blocks": 1}),
        ("houlsby", {"bottleneck": 8}),
        ("parallel", {"bottleneck": 8}),
        ("compacter", {"bottleneck": 8}),
        ("k_adapter", {"hidden_dim": 12}),
        ("soft_prompt", {"length": 3}),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_blocks_that_compute_twice_learn_the_same(kind, name, options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        once = trunk(name, kind, **options)
        torch.manual_seed(0)
        twice = trunk(name, kind, **options, gradient_checkpointing=True)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: kept.append(tensor.numel()) or tensor, lambda tensor: tensor
    ):
        once().sum()
        before, kept[:] = sum(kept), []
        twice().sum().backward()
    assert sum(kept) < before, "less is kept for the way back"
    once().sum().backward()
    torch.testing.assert_close(learn(twice), learn(once))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lora", "ia3"])
@pytest.mark.parametrize("bits", ["8bit", "4bit"])
def test_additions_learn_beside_quantised_weights(name, bits, tmp_path):
    tuning = components.create("tuning", components.resolve("tuning", name))
    load = lambda way: loading.load(loading.find(str(wide(tmp_path / "model"))), "fp32", way)
    model = tuning.trunk(TextSource(list, TEXTS, load, bits, "mean", "fp32", 150))
    weights = dict(model.encoder.named_parameters())
    before = {key: weight.detach().clone() for key, weight in weights.items()}
    learn(model)
    moved = {key for key in before if not torch.equal(before[key], weights[key])}
    assert moved == {key for key in before if "lora_" in key or "ia3_" in key} != set()
    assert any(weight.dtype in (torch.int8, torch.uint8) for weight in model.encoder.parameters())
    with pytest.raises(
        ConfigError, match="additions to quantised weights cannot be worked into these without rounding"
    ):
        model.merged()


@pytest.mark.parametrize(
    ("name", "how"), [("lora", "streamed"), ("full", "4bit"), ("full", "sharded"), ("top_blocks", "8bit")]
)
def test_a_model_that_cannot_learn_so_is_refused(name, how):
    tuning = components.create("tuning", components.resolve("tuning", name))
    with pytest.raises(
        ConfigError, match=f"what is {how} cannot learn so; this tuning takes features.loading=resident"
    ):
        tuning.trunk(tiny_models.source(lambda: None, TEXTS, "llama", how))
