"""Dropout that draws a byte per value: rate, scale, and nothing outside training."""

import pytest
import torch

from llmrec.heads._dropout import Dropout


@pytest.mark.parametrize("rate", [0.1, 0.2, 0.5, 0.6, 0.9])
def test_the_share_of_zeros_is_the_rate_and_the_mean_stays(rate):
    torch.manual_seed(0)
    values = Dropout(rate).train()(torch.ones(1000, 1000))
    zeros = (values == 0).double().mean().item()
    assert zeros == pytest.approx(round(rate * 256) / 256, abs=3e-3), "five standard errors at most"
    assert zeros == pytest.approx(rate, abs=1 / 512 + 3e-3)
    assert values.double().mean().item() == pytest.approx(1.0, abs=2e-2)
    assert values[values > 0].unique().tolist() == pytest.approx([256 / (256 - round(rate * 256))])


def test_each_value_is_decided_for_itself():
    torch.manual_seed(0)
    kept = (Dropout(0.5).train()(torch.ones(8, 100_000)) > 0).double()
    together = torch.corrcoef(kept) - torch.eye(8)
    assert together.abs().max() < 5 / 100_000**0.5, "the eight bytes of one number are as good as independent"


def test_nothing_is_dropped_outside_training_or_at_rate_zero_and_no_number_drawn():
    values, before = torch.randn(3, 5), torch.get_rng_state()
    assert Dropout(0.5).eval()(values) is values
    assert Dropout(0.0).train()(values) is values
    assert torch.equal(torch.get_rng_state(), before)


def test_the_gradient_passes_where_the_value_did():
    values = torch.ones(50, 7, requires_grad=True)
    out = Dropout(0.5).train()(values)
    (gradient,) = torch.autograd.grad(out.sum(), values)
    assert torch.equal(gradient, out.detach())


@pytest.mark.parametrize("rate", [-0.1, 1.0, 1.5])
def test_a_rate_that_is_none_is_refused(rate):
    with pytest.raises(ValueError, match="dropout must be at least 0 and below 1"):
        Dropout(rate)
