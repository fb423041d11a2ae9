"""What every loss keeps to, and the fused softmax against the plain one: value, gradients and memory."""

import math
from typing import Any

import polars as pl
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from llmrec import components
from llmrec.encoders.id import Id
from llmrec.errors import ConfigError, DataError
from llmrec.heads.sasrec import SASRec
from llmrec.interactions import Dataset
from llmrec.losses import Loss, Targets
from llmrec.losses.softmax import Softmax
from llmrec.matching import MatchingStep
from llmrec.recommender import Recommender
from llmrec.sequences import Sequences, TrainingBatches

EXACT = ("softmax", "in_batch_softmax")
"""Losses that draw nothing as their options stand."""
ITEMS = [f"i{number}" for number in range(10)]
every_loss = pytest.mark.parametrize("name", components.names("losses"))


def make(name: str) -> Loss:
    loss: Loss = components.create("losses", components.resolve("losses", name))
    return loss


def inputs(n: int = 12, m: int = 9, dim: int = 5, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    """User vectors, item vectors and the row of the right item of each user."""
    generator = torch.Generator().manual_seed(0)
    users, items = (torch.randn(rows, dim, generator=generator, dtype=dtype).requires_grad_() for rows in (n, m))
    return users, items, torch.randint(m, (n,), generator=generator)


def context(users: Tensor, items: Tensor, target: Tensor) -> dict[str, Any]:
    """What else a loss is told: ids, popularity, a window per user (padding, another item, target) and a generator."""
    other = (target + 1) % len(items)
    return {
        "item_ids": torch.arange(1, len(items) + 1),
        "log_popularity": torch.full((len(items),), -math.log(len(items))),
        "history_ids": torch.stack([torch.zeros_like(target), other + 1, target + 1], dim=1),
        "num_items": len(items),
        "generator": torch.Generator().manual_seed(0),
    }


def called(loss: Loss, users: Tensor, items: Tensor, target: Tensor, **changed: Any) -> Tensor:
    """The loss over a catalogue, or over the columns of it that the loss asks for, as a training step calls it."""
    more = {**context(users, items, target), **changed}
    if hasattr(loss, "columns"):
        windows = more["history_ids"]
        row = torch.arange(len(windows))
        last = torch.full_like(row, windows.shape[1] - 1)
        ids, target = loss.columns(Targets(windows, row, last), len(items), more["generator"])
        more |= {"item_ids": ids, "log_popularity": more["log_popularity"][(ids - 1).clamp_min(0)]}
        items = F.embedding(ids, F.pad(items, (0, 0, 1, 0)))
    return loss(users, items, target, **more)


def gradients(value: Tensor, users: Tensor, items: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(value, (users, items))


@every_loss
def test_a_loss_is_one_finite_number_with_gradients_for_users_and_items(name):
    users, items, target = inputs()
    value = called(make(name), users, items, target)
    assert value.shape == ()
    assert value.dtype == users.dtype
    user_gradient, item_gradient = gradients(value, users, items)
    for gradient, tensor in ((user_gradient, users), (item_gradient, items)):
        assert gradient.shape == tensor.shape
        assert torch.isfinite(gradient).all()
    assert user_gradient.any(dim=1).all()
    moved = item_gradient.any(dim=1)
    assert moved[target].all()
    assert moved.sum() > len(target.unique()), "items that were wrong are pushed away"


@every_loss
def test_the_loss_falls_when_the_score_of_the_right_item_rises(name):
    scores, items, target = torch.randn(6, 9), torch.eye(9), torch.tensor([0, 3, 3, 5, 8, 1])
    values = []
    for lead in (-50.0, -2.0, 0.0, 2.0, 50.0):
        users = scores.scatter_add(1, target[:, None], torch.full((6, 1), lead))
        values.append(called(make(name), users, items, target).item())
    assert values == sorted(values, reverse=True)
    assert len(set(values)) == 5


@every_loss
def test_the_generator_alone_decides_what_is_drawn(name):
    users, items, target = inputs(m=600)
    before = torch.get_rng_state()
    first, same, other = (
        called(make(name), users, items, target, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, same)
    assert torch.equal(first, other) is (name in EXACT)


@every_loss
def test_a_window_that_holds_the_whole_catalogue_ends_with_a_number_or_an_error(name):
    """A24: 10 items, user with all 10, max_len 100: no search for a negative that cannot be found."""
    dataset = Dataset.from_tables("ten", pl.DataFrame({"user_id": "u", "item_id": ITEMS, "timestamp": range(10)}))
    values = dataset.interactions["item"].to_numpy()
    train = Sequences.from_lists([values])
    batch, _ = next(TrainingBatches(train, 100, 16, "last", seed=0).epoch(0))
    assert sorted({*batch.history[0].tolist(), *batch.target[0].tolist()} - {0}) == list(range(1, 11))
    torch.manual_seed(0)
    recommender = Recommender(Id(10, 8), SASRec(8, 100), dataset.item_ids, 100)
    step = MatchingStep(recommender, make(name), train.counts(10))
    if name in ("bce", "bpr"):
        with pytest.raises(DataError, match=r"9 of 9 targets stand in a window that holds every one of the 10 items"):
            step(*batch, torch.Generator().manual_seed(0))
    else:
        assert torch.isfinite(step(*batch, torch.Generator().manual_seed(0)))


@every_loss
def test_a_step_down_the_gradient_lowers_the_loss_and_lifts_the_right_item(name):
    users, items, target = inputs()
    before = called(make(name), users, items, target)
    user_gradient, item_gradient = gradients(before, users, items)
    moved = users.detach() - 0.5 * user_gradient, items.detach() - 0.5 * item_gradient
    assert called(make(name), *moved, target) < before
    lead = [
        (each_users @ each_items.T).log_softmax(dim=1).gather(1, target[:, None]).mean()
        for each_users, each_items in ((users, items), moved)
    ]
    assert lead[1] > lead[0]


@every_loss
@pytest.mark.parametrize("scale", [1e3, 1e-8])
def test_large_and_tiny_scores_stay_finite(name, scale):
    users, items, target = inputs()
    users = (users.detach() * scale).requires_grad_()
    value = called(make(name), users, items, target)
    assert torch.isfinite(value)
    assert all(torch.isfinite(gradient).all() for gradient in gradients(value, users, items))


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"name": "bce", "num_negatives": 0}, "num_negatives must be at least 1, came 0"),
        ({"name": "bpr", "num_negatives": -1}, "num_negatives must be at least 1, came -1"),
        ({"name": "gbce", "num_negatives": 0}, "num_negatives must be at least 1, came 0"),
        ({"name": "gbce", "t": 1.5}, "t must be from 0 to 1, came 1.5"),
        ({"name": "sampled_softmax", "num_negatives": 0}, "num_negatives must be at least 1, came 0"),
        ({"name": "sampled_softmax", "scale": 0}, "scale must be above 0, came 0"),
        ({"name": "in_batch_softmax", "uniform_share": 1}, "uniform_share must be at least 0 and below 1, came 1"),
        ({"name": "in_batch_softmax", "power": float("nan")}, "power must be a number, came nan"),
        ({"name": "in_batch_softmax", "chunk_rows": 0}, "chunk_rows must be at least 1, came 0"),
    ],
)
def test_options_out_of_range_are_refused(spec, said):
    with pytest.raises(ConfigError, match=f"loss '{spec['name']}': {said}"):
        components.create("losses", components.resolve("losses", spec))


class Largest(TorchDispatchMode):
    """Notes the most numbers that any tensor made inside the block holds."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for each in out if isinstance(out, tuple | list) else [out]:
            if isinstance(each, Tensor):
                self.numbers = max(self.numbers, each.numel())
        return out


@pytest.mark.slow
@every_loss
def test_no_tensor_of_targets_times_items_is_ever_made(name):
    n, m, dim = 4096, 3000, 8
    users, items, target = inputs(n, m, dim)
    with Largest() as seen:
        called(make(name), users, items, target).backward()
    assert 0 < seen.numbers <= n * m / 4
    with Largest() as plain:
        F.cross_entropy(users @ items.T, target).backward()
    assert plain.numbers == n * m, "the plain loss, by which the measurement is tried, does make one"


# Softmax


@pytest.mark.parametrize("chunk_rows", [1, 5, 12, 512])
def test_softmax_equals_the_plain_cross_entropy_in_value_and_both_gradients(chunk_rows):
    users, items, target = inputs(dtype=torch.float64)
    plain = F.cross_entropy(users @ items.T, target)
    fused = called(Softmax(chunk_rows=chunk_rows), users, items, target)
    torch.testing.assert_close(fused, plain, atol=1e-12, rtol=0)
    pairs = zip(gradients(fused, users, items), gradients(plain, users, items))
    for ours, expected in pairs:
        torch.testing.assert_close(ours, expected, atol=1e-12, rtol=0)


def test_softmax_is_the_sum_that_its_docstring_writes():
    users, items = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    first = math.log(math.exp(1) + math.exp(0) + math.exp(1)) - 1  # scores 1, 0, 1; item 0 was right
    second = math.log(math.exp(0) + math.exp(2) + math.exp(2)) - 0  # scores 0, 2, 2; item 0 was right
    value = called(Softmax(), users, items, torch.tensor([0, 0]))
    assert value.item() == pytest.approx((first + second) / 2, abs=1e-6)


def test_softmax_of_equal_scores_is_the_logarithm_of_the_catalogue():
    value = called(Softmax(), torch.zeros(4, 3), torch.randn(50, 3), torch.tensor([0, 1, 2, 49]))
    assert value.item() == pytest.approx(math.log(50), abs=1e-6)


def test_softmax_does_not_depend_on_chunk_rows():
    users, items, target = inputs(100, 40)
    values = [called(Softmax(chunk_rows=rows), users, items, target) for rows in (1, 7, 100)]
    found = [(value, *gradients(value, users, items)) for value in values]
    for other in found[1:]:
        for one, two in zip(found[0], other):
            torch.testing.assert_close(one, two, atol=1e-6, rtol=1e-5)


def test_the_gradient_of_softmax_passes_gradcheck():
    users, items, target = inputs(5, 4, 3, dtype=torch.float64)

    def scaled(*vectors: Tensor) -> Tensor:
        return called(Softmax(chunk_rows=2), *vectors, target) * 3.0

    assert torch.autograd.gradcheck(scaled, (users, items))


def test_softmax_counts_a_right_item_that_two_users_share_twice():
    users, items, _ = inputs(2, 4, dtype=torch.float64)
    target = torch.tensor([3, 3])
    for ours, expected in zip(
        gradients(called(Softmax(), users, items, target), users, items),
        gradients(F.cross_entropy(users @ items.T, target), users, items),
    ):
        torch.testing.assert_close(ours, expected)


def test_between_the_passes_softmax_keeps_vectors_and_no_scores():
    n, m, dim = 64, 300, 8
    users, items, target = inputs(n, m, dim)
    saved: list[tuple[int, ...]] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: saved.append(tuple(tensor.shape)) or tensor, _same):
        value = called(Softmax(chunk_rows=16), users, items, target)
    assert saved == [(n, dim), (m, dim)]
    with Largest() as seen:
        value.backward()
    assert seen.numbers == max(n, m) * dim


def _same(tensor: Tensor) -> Tensor:
    return tensor


def test_the_memory_of_softmax_grows_with_chunk_rows_alone():
    n, m, dim = 1000, 300, 4
    users, items, target = inputs(n, m, dim)
    for chunk_rows in (20, 200):
        with Largest() as seen:
            called(Softmax(chunk_rows=chunk_rows), users, items, target)
        assert seen.numbers == chunk_rows * m


def test_softmax_leaves_its_inputs_as_they_were():
    users, items, target = inputs()
    before = users.detach().clone(), items.detach().clone(), target.clone()
    called(Softmax(chunk_rows=5), users, items, target).backward()
    assert torch.equal(users, before[0])
    assert torch.equal(items, before[1])
    assert torch.equal(target, before[2])


def test_products_in_bf16_hardly_change_value_and_gradients():
    users, items, target = inputs(n=300, m=500, dim=64)
    exact, rough = (Softmax(precision=precision) for precision in ("fp32", "bf16"))
    value, close = called(exact, users, items, target), called(rough, users, items, target)
    assert close.item() == pytest.approx(value.item(), rel=2e-3)
    for right, near in zip(gradients(value, users, items), gradients(close, users, items)):
        assert not torch.equal(right, near), "the option reaches the products"
        assert (right - near).abs().max() < 0.02 * right.abs().max()
