"""In-batch softmax against TCF's recipe, written as loops over rows and columns."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from test_losses import Largest
from torch import Tensor

from llmrec.losses import Targets
from llmrec.losses.in_batch_softmax import InBatchSoftmax

WINDOWS = torch.tensor([[0, 0, 4, 1, 2], [3, 1, 5, 3, 6], [0, 2, 7, 4, 7], [0, 0, 0, 8, 1]])
TARGETS = Targets(WINDOWS, torch.tensor([0, 0, 1, 2, 3]), torch.tensor([4, 3, 1, 4, 4]))
NUM_ITEMS, DIM = 9, 4
SHARES = torch.tensor([0.3, 0.2, 0.12, 0.1, 0.08, 0.08, 0.06, 0.04, 0.02], dtype=torch.float64)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def table(num_items: int = NUM_ITEMS, dim: int = DIM) -> Tensor:
    """Vectors of all items by index, row 0 zeros."""
    vectors = torch.randn(num_items, dim, generator=seeded(5), dtype=torch.float64)
    return F.pad(vectors, (0, 0, 1, 0)).requires_grad_()


def step(
    loss: InBatchSoftmax, items: Tensor, users: Tensor | None = None, windows: Tensor = WINDOWS, **changed: Any
) -> tuple[Tensor, dict[str, Any]]:
    """The loss as a training step calls it; also what it was called with."""
    real = (windows[:, :-1] > 0).nonzero()
    if users is None:
        users = torch.randn(len(real), items.shape[1], generator=seeded(6), dtype=torch.float64)
    shares = changed.get("shares", SHARES)
    ids, target = loss.columns(Targets(windows, real[:, 0], real[:, 1] + 1), len(shares), seeded())
    given = {
        "users": users.requires_grad_(),
        "items": F.embedding(ids, items),
        "target": target,
        "item_ids": ids,
        "log_popularity": shares.log()[(ids - 1).clamp_min(0)],
        "history_ids": windows[real[:, 0]],
        "num_items": len(shares),
        "generator": seeded(),
    }
    return loss(**given), given


def naive(given: dict[str, Any], power: float, share: float) -> Tensor:
    """Seed recipe: a logit per column, the window's ids masked, then the label unmasked."""
    rows = []
    ids = given["item_ids"].tolist()
    for user, label, window in zip(given["users"], given["target"].tolist(), given["history_ids"].tolist()):
        logits = []
        for column, each in enumerate(ids):
            if column != label and (each in window or each == 0):
                continue
            drawn = (1 - share) * given["log_popularity"][column].exp() + share / given["num_items"]
            logits.append((column, user @ given["items"][column] - power * drawn.log()))
        hit = dict(logits)[label]
        rows.append(torch.stack([logit for _, logit in logits]).logsumexp(dim=0) - hit)
    return torch.stack(rows).mean()


@pytest.mark.parametrize("chunk_rows", [1, 3, 128])
@pytest.mark.parametrize(("power", "share"), [(1.0, 0.0), (0.5, 0.0), (0.0, 0.0), (1.0, 0.4), (0.7, 0.6)])
def test_in_batch_softmax_equals_the_double_loop_in_value_and_gradients(power, share, chunk_rows):
    items = table()
    ours, given = step(InBatchSoftmax(power=power, uniform_share=share, chunk_rows=chunk_rows), items)
    expected = naive(given, power, share)
    torch.testing.assert_close(ours, expected)
    vectors = (given["users"], items)
    pairs = zip(torch.autograd.grad(ours, vectors, retain_graph=True), torch.autograd.grad(expected, vectors))
    for found, wanted in pairs:
        torch.testing.assert_close(found, wanted)


def test_in_batch_softmax_is_the_recipe_of_tcf_with_its_matrix_of_masks():
    """The released code's steps, vectorised: -inf for own ids and pads, the label kept, cross-entropy over rows."""
    items = table()
    ours, given = step(InBatchSoftmax(), items)
    ids, label = given["item_ids"], given["target"]
    logits = given["users"] @ given["items"].T - given["log_popularity"]
    own = (ids == 0) | (given["history_ids"][:, :, None] == ids).any(dim=1)
    own[torch.arange(len(label)), label] = False
    torch.testing.assert_close(ours, F.cross_entropy(logits.masked_fill(own, -torch.inf), label))


def test_multiplying_all_popularities_leaves_the_loss_as_it_is():
    values = [step(InBatchSoftmax(), table(), shares=SHARES * factor)[0] for factor in (1.0, 7.0, 1e-6)]
    torch.testing.assert_close(values[1], values[0])
    torch.testing.assert_close(values[2], values[0])


def test_without_power_popularity_does_not_matter_and_with_it_it_does():
    flat = torch.full((NUM_ITEMS,), 1 / NUM_ITEMS, dtype=torch.float64)
    for share in (0.0, 0.5):
        values = [
            step(InBatchSoftmax(power=0.0, uniform_share=share), table(), shares=each)[0] for each in (SHARES, flat)
        ]
        torch.testing.assert_close(*values)
    values = [step(InBatchSoftmax(), table(), shares=each)[0] for each in (SHARES, flat)]
    assert abs(values[0] - values[1]) > 0.01


def test_items_of_the_own_window_are_never_wrong_in_whoevers_window_they_stand():
    items = table()
    alone, _ = step(InBatchSoftmax(), items, windows=WINDOWS[:1])
    assert alone.item() == pytest.approx(0.0, abs=1e-12), "with one window there is nothing that could be wrong"
    (gradient,) = torch.autograd.grad(alone, items)
    torch.testing.assert_close(gradient, torch.zeros_like(items), atol=1e-12, rtol=0)
    twice, _ = step(InBatchSoftmax(), items, windows=WINDOWS[:1].repeat(2, 1))
    assert twice.item() == pytest.approx(0.0, abs=1e-12), "nor with the same items in another's window"


def test_columns_are_the_windows_row_by_row_and_then_the_uniform_draws():
    ids, right = InBatchSoftmax().columns(TARGETS, NUM_ITEMS, seeded())
    assert torch.equal(ids, WINDOWS.flatten())
    assert torch.equal(ids[right], TARGETS.ids)
    ids, right = InBatchSoftmax(uniform_share=0.75).columns(TARGETS, NUM_ITEMS, seeded())
    assert torch.equal(ids[right], TARGETS.ids)
    assert torch.equal(ids[: WINDOWS.numel()], WINDOWS.flatten())
    real = int((WINDOWS > 0).sum())
    assert len(ids) - WINDOWS.numel() == 3 * real, "three quarters of the real columns are drawn"
    many = InBatchSoftmax(uniform_share=0.999).columns(TARGETS, NUM_ITEMS, seeded()).ids[WINDOWS.numel() :]
    counts = torch.bincount(many, minlength=NUM_ITEMS + 1)
    assert counts[0] == 0
    expected = len(many) / NUM_ITEMS
    chi_square = ((counts[1:] - expected) ** 2 / expected).sum().item()
    assert chi_square < 26.1, "0.999 of the distribution with 8 degrees of freedom"


def test_the_columns_depend_on_the_generator_alone():
    before = torch.get_rng_state()
    loss = InBatchSoftmax(uniform_share=0.5)
    first, same, other = (loss.columns(TARGETS, 1000, seeded(seed)).ids for seed in (1, 1, 2))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.slow
def test_large_scores_stay_finite_and_gradcheck_passes():
    items = table()
    loss = InBatchSoftmax(uniform_share=0.3, chunk_rows=3)
    _, given = step(loss, items)
    for scale in (1e3, 1e-8):
        value, more = step(loss, items, given["users"].detach() * scale)
        assert all(torch.isfinite(each).all() for each in torch.autograd.grad(value, (more["users"], items)))
    assert torch.autograd.gradcheck(lambda users, vectors: step(loss, vectors, users)[0], (given["users"], items))


def test_a_batch_of_many_repeats_is_scored_once_per_item():
    windows = torch.randint(1, NUM_ITEMS + 1, (200, 21), generator=seeded())
    with Largest() as seen:
        step(InBatchSoftmax(chunk_rows=50), table(), windows=windows)
    rows, columns = 200 * 20, 200 * 21
    assert seen.numbers <= rows * 21, "the windows of the rows are the largest tensor"
    assert rows * 21 < rows * columns / 100


def test_a_wrong_item_counts_as_often_as_it_stands_in_the_batch():
    windows = torch.tensor([[1, 2], [3, 4], [3, 4], [4, 3]])
    flat = torch.full((NUM_ITEMS,), 1 / NUM_ITEMS, dtype=torch.float64)
    users = torch.zeros(4, DIM, dtype=torch.float64)  # all scores 0
    value, _ = step(InBatchSoftmax(), table(), users, windows, shares=flat)
    # First row: its target and the six columns of the others; the others: theirs and the first window's two.
    assert value.item() == pytest.approx((math.log(1 + 6) + 3 * math.log(1 + 2)) / 4)
