"""Products in bf16 where the CPU has no instructions for it: as exact as its own, and as fast as fp32."""

import pytest
import tiny_models
import torch
import torch.nn.functional as F
from torch import Tensor

from llmrec import loading
from llmrec.loading.products import WideProducts, quick_products


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
        assert (torch.arange(4).view(2, 2) @ torch.arange(4).view(2, 2)).dtype == torch.int64


@pytest.mark.parametrize(("capability", "taken"), [("AVX2", True), ("AVX512", False)])
def test_only_cpus_without_instructions_for_bf16_compute_so(
    capability: str, taken: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    x, w = (each.bfloat16() for each in pair(4096))
    seen: list[torch.dtype] = []
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
