"""Adapters of the language model: where they stand, what they compute and which weights learn."""

import bitsandbytes
import pytest
import tiny_models
import torch
import torch.nn.functional as F
from peft import PeftModel
from test_loading import wide
from test_top_blocks import TEXTS, learn
from torch import nn
from transformers import BertConfig, BertModel, MixtralConfig, MixtralModel

from llmrec import components, loading
from llmrec.errors import ConfigError
from llmrec.features import pool
from llmrec.tokens import Tokens
from llmrec.tuning import TextSource
from llmrec.tuning._sub_layers import sub_layers

KINDS = list(tiny_models.ARCHITECTURES)
ADAPTERS = ["compacter", "houlsby", "k_adapter", "parallel", "pfeiffer", "soft_prompt"]
WIDTHS = {"bottleneck": 8, "head_bottleneck": 4}
SMALL = {"k_adapter": {"hidden_dim": 12}, "soft_prompt": {"length": 3}}


def tuning(name: str, **options):
    small = SMALL.get(name, WIDTHS)
    return components.create("tuning", components.resolve("tuning", {"name": name, **small, **options}))


def trunk(name: str, kind: str = "llama", **options) -> nn.Module:
    return tuning(name, **options).trunk(tiny_models.source(lambda: None, TEXTS, kind))


# Where they stand


LAST = {
    "bert": ("attention.output.dense", "output.dense"),
    "roberta": ("attention.output.dense", "output.dense"),
    "t5": ("layer.0.SelfAttention.o", "layer.1.DenseReluDense.wo"),
    "opt": ("self_attn.out_proj", "fc2"),
    "opt-350m": ("self_attn.out_proj", "fc2"),
    "llama": ("self_attn.o_proj", "mlp.down_proj"),
    "qwen3": ("self_attn.o_proj", "mlp.down_proj"),
    "gemma3": ("self_attn.o_proj", "mlp.down_proj"),
    "gpt2": ("attn.c_proj", "mlp.c_proj"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_last_linear_layers_of_either_sub_layer_are_found_in_every_block(kind):
    model = tiny_models.loaded(kind)
    batch = model.tokenizer("Toy Story", return_tensors="pt")
    _, blocks = loading.blocks.block_list(model.model)
    found = sub_layers(model.model, lambda: model.model(**batch))
    for block, parts in zip(blocks, found, strict=True):
        names = {module: name for name, module in block.named_modules()}
        assert (names[parts["attention"].last], names[parts["feed_forward"].last]) == LAST[kind]
        assert {part.dim for part in parts.values()} == {16}
        assert parts["attention"].first is not parts["feed_forward"].first


def test_a_mixture_of_experts_has_no_place_behind_its_experts(tmp_path):
    """Its experts are no layers of their own; the tuning to take is named."""
    folder = tiny_models.copy("llama", tmp_path / "model")
    sizes = tiny_models._SIZES | {"num_key_value_heads": 1, "num_local_experts": 2}
    MixtralModel(MixtralConfig(**tiny_models._COMMON, **sizes)).save_pretrained(folder)
    load = lambda way: loading.load(loading.find(str(folder)), "fp32", way)
    with pytest.raises(
        ConfigError, match=r"MixtralModel gives what leaves its feed-forward network.*take --tuning lora"
    ):
        tuning("houlsby").trunk(TextSource(list, TEXTS, load, "resident", "mean", "fp32", 150))


@pytest.mark.parametrize(("name", "activation"), [("houlsby", "relu"), ("houlsby", "gelu"), ("parallel", "relu")])
@pytest.mark.parametrize("kind", ["bert", "opt", "gpt2"])
def test_an_adapter_computes_what_its_paper_says(name, activation, kind):
    """``a + up(f(down(a)))`` behind the attention's output ``a``; of what enters, and without a skip, beside it."""
    plain = loading.load(tiny_models.files(kind), "fp32", "resident").model
    adapted = trunk(name, kind, **({"activation": activation} if name == "houlsby" else {}))
    adapter = adapted.adapters[0]["attention"]
    nn.init.normal_(adapter.up.weight)
    kept = {}
    batch, _ = adapted.tokens.batch([0])
    for key, model in (("plain", plain), ("adapted", adapted.encoder)):
        _, blocks = loading.blocks.block_list(model)
        last = blocks[0].get_submodule(LAST[kind][0])
        last.register_forward_hook(lambda module, given, output, key=key: kept.update({key: output}))
    first = {"bert": "attention.self.query", "opt": "self_attn.q_proj", "gpt2": "attn.c_attn"}[kind]
    layer = loading.blocks.block_list(plain)[1][0].get_submodule(first)
    layer.register_forward_hook(lambda module, given, output: kept.update(entered=given[0]))
    with torch.no_grad():
        plain(**batch), adapted.encoder(**batch)
    read = kept["plain"] if name == "houlsby" else kept["entered"]
    function = torch.relu if activation == "relu" else nn.functional.gelu
    inner = function(read @ adapter.down.weight.T + adapter.down.bias)
    torch.testing.assert_close(kept["adapted"], kept["plain"] + inner @ adapter.up.weight.T + adapter.up.bias)
    assert (kept["adapted"] - kept["plain"]).abs().max() > 1e-3


def test_the_matrix_of_compacter_is_a_sum_of_kronecker_products():
    model = trunk("compacter")
    layer = model.adapters[1]["feed_forward"].down
    assert layer.rules is model.adapters[0]["attention"].up.rules is model.rules
    terms = zip(model.rules.weight, layer.column, layer.row, strict=True)
    matrix = sum(torch.kron(rule, torch.outer(column, row)) for rule, column, row in terms)
    read = torch.randn(5, 16)
    torch.testing.assert_close(layer(read), read @ matrix)


@pytest.mark.slow
def test_a_soft_prompt_stands_before_the_text_and_takes_nothing_from_it():
    """The longest text stays whole, and its own tokens are pooled."""
    for kind in KINDS:
        prompted = trunk("soft_prompt", kind)
        model = tiny_models.loaded(kind)
        embed, vectors = model.model.get_input_embeddings(), prompted().detach()
        for row, text in enumerate(TEXTS[1:4]):
            batch, own = prompted.tokens.batch([row])
            assert batch["input_ids"].tolist() == [model.tokenizer(text)["input_ids"]]
            lengthened = torch.cat([prompted.prompt.weight[None], embed(batch["input_ids"])], dim=1)
            states = model.model(inputs_embeds=lengthened).last_hidden_state[:, 3:]
            torch.testing.assert_close(vectors[row + 1], pool(states, own, "mean")[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["llama", "gemma3"])
def test_a_prompt_begins_with_embeddings_of_the_vocabulary(kind):
    """As the model looks them up: Gemma's are scaled."""
    embeddings = tiny_models.loaded(kind).model.get_input_embeddings()
    table = embeddings(torch.arange(tiny_models.VOCABULARY))
    assert torch.equal(table, embeddings.weight) == (kind == "llama")
    for vector in trunk("soft_prompt", kind, length=5).prompt.weight:
        assert (table == vector).all(dim=1).any()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["llama", "bert"])
def test_a_prompt_is_read_by_peft(kind, tmp_path):
    prompted = trunk("soft_prompt", kind)
    learn(prompted)
    prompted.save_pretrained(tmp_path / "adapter")
    bare = loading.load(tiny_models.files(kind), "fp32", "resident")
    batch, _ = prompted.tokens.batch([0, 1, 2])
    with torch.no_grad():
        without, ours = bare.model(**batch).last_hidden_state, prompted.read(batch)
        theirs = PeftModel.from_pretrained(bare.model, tmp_path / "adapter").eval()(**batch).last_hidden_state[:, 3:]
    real = batch["attention_mask"].bool()
    torch.testing.assert_close(theirs[real], ours[real], rtol=0, atol=1e-5)
    assert (without - ours)[real].abs().max() > 0.01
    assert sorted(path.name for path in (tmp_path / "adapter").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]


def test_a_prompt_for_which_the_model_has_no_positions_is_refused():
    with pytest.raises(ConfigError, match=r"tuning.length=100 and a text of 1\d\d tokens are longer than the 160"):
        trunk("soft_prompt", "bert", length=100)


# What learns


def test_so_many_weights_learn_as_the_sizes_say():
    """Tiny LLaMA: 2 blocks of width 16, bottlenecks of 8."""
    adapter = 16 * 8 + 8 + 8 * 16 + 16
    hypercomplex = 4 * (16 / 4 + 8 / 4) + 8 + 4 * (8 / 4 + 16 / 4) + 16
    block = (12 * 36 + 36) + (12 * 12 + 12) + (12 * 48 + 48) + (48 * 12 + 12) + 2 * 24
    expected = {
        "houlsby": 2 * 2 * adapter,
        "parallel": 2 * 2 * adapter,
        "pfeiffer": 2 * adapter,
        "compacter": 2 * 2 * hypercomplex + 4**3,
        "k_adapter": 2 * (16 * 12 + 12 + 2 * block) + (16 + 12) * 16 + 16,
        "soft_prompt": 3 * 16,
    }
    assert {name: sum(each.numel() for each in trunk(name).parameters()) for name in expected} == expected


def test_by_default_houlsby_learns_two_percent_of_bert_base():
    """Adapter4Rec tells of 2.23 %; the two blocks of its head add 8,512 weights of adapters to these 2.4 million."""
    plain = components.create("tuning", components.resolve("tuning", "houlsby"))
    with torch.device("meta"):
        bert, adapter = BertModel(BertConfig(), add_pooling_layer=False), plain._make(768, plain.bottleneck)
    whole = sum(each.numel() for each in bert.parameters())
    learning = 12 * 2 * sum(each.numel() for each in adapter.parameters())
    assert (whole, learning) == (108_891_648, 12 * 2 * (2 * 768 * 64 + 64 + 768))
    assert learning / (whole + learning) == pytest.approx(0.0214, abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("used", [False, True], ids=["new", "used before"])
def test_gradients_pass_through_4_bits_as_through_the_weights_that_these_stand_for(used, tmp_path):
    """Also where the processor has kernels of its own for layers that do not learn (AVX512-BF16)."""
    load = lambda way: loading.load(loading.find(str(wide(tmp_path / "model"))), "fp32", way)
    shared = load("4bit")
    if used:
        with torch.no_grad():
            shared.model(**Tokens.of(["Alien"], shared, 150).batch([0])[0])
    model = tuning("houlsby").trunk(TextSource(list, TEXTS, lambda way: shared, "4bit", "mean", "fp32", 150))
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(0, 0.05, generator=torch.Generator().manual_seed(0))
    model.eval()
    with torch.no_grad():
        model()

    def gradients() -> torch.Tensor:
        model.zero_grad()
        model.train()().square().sum().backward()
        return torch.cat([weight.grad.flatten() for weight in model.parameters()])

    found = gradients()
    for layer in [each for each in model.encoder.modules() if isinstance(each, bitsandbytes.nn.Linear4bit)]:
        whole = bitsandbytes.functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state).to(torch.bfloat16)
        bias = None if layer.bias is None else layer.bias.to(torch.bfloat16)
        layer.forward = lambda x, whole=whole, bias=bias: F.linear(x.to(torch.bfloat16), whole, bias).to(x.dtype)
    assert (found - gradients()).norm() < 0.02 * found.norm()


@pytest.mark.slow
@pytest.mark.parametrize("name", ADAPTERS)
@pytest.mark.parametrize("bits", ["8bit", "4bit"])
def test_adapters_learn_beside_quantised_weights(name, bits, tmp_path):
    load = lambda way: loading.load(loading.find(str(wide(tmp_path / "model"))), "fp32", way)
    model = tuning(name).trunk(TextSource(list, TEXTS, load, bits, "mean", "fp32", 150))
    start = model().detach()
    before = {key: weight.detach().clone() for key, weight in model.encoder.state_dict().items()}
    learned = {key: weight.detach().clone() for key, weight in model.named_parameters()}
    vectors = learn(model)
    assert all(torch.equal(before[key], weight) for key, weight in model.encoder.state_dict().items())
    assert all(not torch.equal(learned[key], weight) for key, weight in model.named_parameters())
    assert all(weight.dtype == torch.float32 for weight in model.parameters())
    assert any(weight.dtype in (torch.int8, torch.uint8) for weight in model.encoder.parameters())
    assert (vectors - start[1:]).abs().max() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("name", ADAPTERS)
def test_adapters_of_a_model_in_bf16_are_fp32_and_change_nothing_at_first(name):
    load = lambda way: loading.load(tiny_models.files("llama"), "bf16", way)
    source = TextSource(list, TEXTS, load, "resident", "mean", "bf16", 150)
    model, plain = tuning(name).trunk(source), components.create("tuning", {"name": "lora"}).trunk(source)
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    if name != "soft_prompt":
        assert torch.equal(model(), plain())
    before = model().detach()
    assert (learn(model) - before[1:]).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("houlsby", {"bottleneck": 0}, "bottleneck must be at least 1, came 0"),
        ("pfeiffer", {"head_bottleneck": -1}, "head_bottleneck must be at least 0, came -1"),
        ("parallel", {"bottleneck": 0}, "bottleneck must be at least 1, came 0"),
        ("compacter", {"bottleneck": 6}, "bottleneck must be a multiple of 4, came 6"),
        ("k_adapter", {"hidden_dim": 100}, "hidden_dim must be a multiple of 12, came 100"),
        ("k_adapter", {"num_layers": 0}, "num_layers must be at least 1, came 0"),
        ("soft_prompt", {"length": 0}, "length must be at least 1, came 0"),
        ("houlsby", {"learning_rate": 0.0}, "learning_rate must be above 0"),
    ],
)
def test_options_out_of_range_are_refused(name, options, message):
    with pytest.raises(ConfigError, match=message):
        tuning(name, **options)
