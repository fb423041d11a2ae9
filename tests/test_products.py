"""Products in bf16 where the CPU has no instructions for it: as exact as its own."""

from pathlib import Path

import pytest
import tiny_models
import torch
import torch.nn.functional as F
from torch import Tensor

from llmrec import components, loading
from llmrec.loading import products
from llmrec.loading.products import WideProducts, quick_products
from llmrec.tuning import TextSource


def pair(width: int = 64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(8, width, generator=generator), torch.randn(16, width, generator=generator)


def test_a_product_is_the_fp32_product_of_what_is_rounded() -> None:
    x, w = (each.bfloat16() for each in pair())
    with WideProducts():
        found = [F.linear(x, w), x @ w.T, torch.matmul(x, w.T), torch.addmm(x.new_zeros(16), x, w.T)]
    wanted = (x.float() @ w.float().T).bfloat16()
    assert found[0].dtype == torch.bfloat16
    assert all(torch.equal(each, wanted) for each in found)


def test_autocast_rounds_its_operands_and_its_result() -> None:
    x, w = pair()
    w.requires_grad_()
    with WideProducts(), torch.autocast("cpu", torch.bfloat16):
        found = F.linear(x, w)
    with torch.autocast("cpu", torch.bfloat16):
        own = F.linear(x, w)
    assert found.dtype == own.dtype == torch.bfloat16
    assert torch.allclose(found, own, atol=0.1, rtol=0.01)
    (quick,) = torch.autograd.grad(found.float().square().sum(), w)
    (plain,) = torch.autograd.grad(own.float().square().sum(), w)
    assert quick.dtype == torch.float32 and torch.allclose(quick, plain, rtol=0.02, atol=0.5)


def test_fp32_and_integers_are_left_alone() -> None:
    x, w = pair()
    with WideProducts():
        assert torch.equal(F.linear(x, w), x @ w.T)
        whole = torch.full((2, 2), 257)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(whole @ whole, torch.full((2, 2), 2 * 257**2))
            assert (x.double() @ w.double().T).dtype == torch.float64
        with pytest.raises(RuntimeError, match="dtype"):
            x.bfloat16() @ w.T


def test_operands_may_have_names_and_a_place_for_the_result() -> None:
    x, w = (each.bfloat16() for each in pair())
    place = torch.empty(8, 16, dtype=torch.bfloat16)
    with WideProducts():
        assert torch.equal(F.linear(input=x, weight=w), F.linear(x, w))
        assert torch.matmul(x, w.T, out=place) is place and place.any()


@pytest.mark.parametrize(("capability", "taken"), [("AVX2", True), ("AVX512", False)])
def test_only_cpus_without_instructions_for_bf16_compute_so(
    capability: str, taken: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    x, w = (each.bfloat16() for each in pair(4096))
    with quick_products(), torch.profiler.profile(record_shapes=False) as profile:
        F.linear(x, w)
    seen = [each.key for each in profile.key_averages()]
    assert ("aten::_to_copy" in seen) == taken


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bert", "gpt2", "opt", "t5", "gemma3"])
def test_a_language_model_in_bf16_gives_what_torch_s_own_products_give(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = []
    for capability in ("AVX2", "AVX512"):
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)  # noqa: B023 - called at once
        model = loading.load(loading.find(str(tiny_models.folder(kind))), "bf16", "resident")
        batch = dict(model.tokenizer(["Toy Story", "Heat"], padding=True, return_tensors="pt"))
        (hidden,) = model.runs.last_hidden_states([batch], lambda done, total: None)
        vectors.append(hidden.float())
    assert torch.allclose(vectors[0], vectors[1], atol=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["resident", "streamed"])
def test_a_language_model_that_is_loaded_takes_them(how: loading.Loading, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = products_taken(monkeypatch)
    model = loading.load(loading.find(str(tiny_models.folder("opt"))), "bf16", how)
    batch = dict(model.tokenizer(["Toy Story", "Heat"], padding=True, return_tensors="pt"))
    list(model.runs.last_hidden_states([batch], lambda done, total: None))
    blocks = model.config.num_hidden_layers
    assert len(taken) >= 6 * blocks, "four matrices of attention and two behind it in each block"


@pytest.mark.slow
@pytest.mark.parametrize("twice", [False, True])
def test_a_language_model_that_learns_takes_them_on_both_ways(twice: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks that compute twice do so on the way back, where no context of the forward holds any more."""
    taken = products_taken(monkeypatch)
    options = {"name": "full", "gradient_checkpointing": twice}
    tuning = components.create("tuning", components.resolve("tuning", options))
    trunk = tuning.trunk(source(tiny_models.folder("opt")))
    vectors = trunk(torch.arange(1, 3))
    forward = len(taken)
    vectors.square().sum().backward()
    assert forward > 0 and len(taken) == (2 * forward if twice else forward)


def products_taken(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What is computed so from now on, on any CPU."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    taken, asked = list[object](), products._is_rough

    def is_rough(arguments: list[object]) -> bool:
        rough = asked(arguments)
        taken.extend([arguments] * rough)
        return rough

    monkeypatch.setattr(products, "_is_rough", is_rough)
    return taken


def source(folder: Path) -> TextSource:
    def load(how: loading.Loading) -> loading.LanguageModel:
        return loading.load(loading.find(str(folder)), "bf16", how)

    return TextSource(list, ["", "Toy Story", "Heat"], load, "resident", "mean", "bf16", 30)
