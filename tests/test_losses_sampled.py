"""Losses over drawn negatives: the draw itself, and each loss against the formula written as a double loop."""

import math

import pytest
import torch
import torch.nn.functional as F
from test_losses import called, context, gradients, inputs
from torch import Tensor

from llmrec.errors import DataError
from llmrec.losses import Targets, _negatives
from llmrec.losses.bce import Bce
from llmrec.losses.bpr import Bpr
from llmrec.losses.gbce import Gbce
from llmrec.losses.sampled_softmax import SampledSoftmax
from llmrec.losses.softmax import Softmax


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def case(n: int = 7, m: int = 11) -> tuple[Tensor, Tensor, Tensor]:
    return inputs(n, m, dim=4, dtype=torch.float64)


# The draw


@pytest.mark.parametrize("forbidden", [[0, 0, 0, 0], [3, 0, 3, 3], [1, 2, 3, 7], [7, 5, 1, 0], [4, 5, 6, 3]])
def test_negatives_are_uniform_over_the_items_outside_the_window(forbidden):
    drawn = _negatives.draw(torch.tensor([forbidden]), 40_000, 7, seeded())[0]
    allowed = sorted(set(range(1, 8)) - set(forbidden))
    counts = torch.bincount(drawn, minlength=8)
    assert counts.nonzero()[:, 0].tolist() == allowed
    expected = 40_000 / len(allowed)
    chi_square = ((counts[allowed] - expected) ** 2 / expected).sum().item()
    assert chi_square < 22.5, "0.999 of the distribution with 6 degrees of freedom, the most there are"


def test_negatives_are_never_in_the_window_of_their_row_whatever_its_order_and_repeats():
    windows = torch.randint(0, 30, (500, 25), generator=seeded(1))
    drawn = _negatives.draw(windows, 64, 29, seeded())
    assert drawn.min() >= 1
    assert drawn.max() <= 29
    assert not (drawn[:, :, None] == windows[:, None, :]).any()
    for window, row in zip(windows, drawn):
        assert set(row.tolist()) <= set(range(1, 30)) - set(window.tolist())
    assert len({tuple(row.tolist()) for row in drawn}) == 500, "each row draws for itself"


def test_the_one_item_that_is_left_is_found_at_once():
    """A24: of 10,000 items only one is outside the window."""
    window = torch.arange(1, 10_001)
    window[4321] = 0
    assert _negatives.draw(window[None], 3, 10_000, seeded()).tolist() == [[4322, 4322, 4322]]


def test_a_window_that_holds_every_item_is_refused_with_what_to_do():
    """A24: 10 items, user with all 10, max_len 100."""
    windows = F.pad(torch.stack([torch.arange(1, 11), torch.arange(0, 10)]), (90, 0))
    with pytest.raises(DataError) as error:
        _negatives.draw(windows, 1, 10, seeded())
    assert "1 of 2 targets stand in a window that holds every one of the 10 items" in str(error.value)
    assert "lower max_seq_len" in str(error.value)


def test_the_draw_depends_on_the_generator_alone():
    windows, before = torch.zeros(5, 1, dtype=torch.long), torch.get_rng_state()
    first, same, other = (_negatives.draw(windows, 9, 1000, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("number", [1, 4, 6, 50])
def test_distinct_negatives_are_other_items_without_repeats_and_each_as_often(number):
    target = torch.arange(7).repeat(3000)
    drawn = _negatives.draw_distinct(target, number, 7, seeded())
    assert drawn.shape == (21_000, min(number, 6))
    assert (drawn.sort(dim=1).values.diff(dim=1) > 0).all()
    for right in range(7):
        counts = torch.bincount(drawn[target == right].flatten(), minlength=7)
        assert counts[right] == 0
        expected = 3000 * min(number, 6) / 6
        assert (counts[torch.arange(7) != right] - expected).abs().max() < 5 * expected**0.5


def test_distinct_negatives_are_of_each_targets_own():
    target = torch.zeros(200, dtype=torch.long)
    drawn = _negatives.draw_distinct(target, 8, 10_000, seeded())
    assert len({tuple(row.tolist()) for row in drawn}) > 190, "two may begin at the same place"
    assert len(drawn.unique()) > 1000
    with pytest.raises(DataError, match="a catalogue of 1 items has no negatives"):
        _negatives.draw_distinct(target, 8, 1, seeded())


# The scores


def test_scores_of_are_the_products_with_each_users_own_items():
    users, items, _ = case()
    rows = torch.randint(0, 11, (7, 5), generator=seeded())
    ours, plain = _negatives.scores_of(users, items, rows), torch.einsum("nd,nkd->nk", users, items[rows])
    torch.testing.assert_close(ours, plain)
    slope = torch.randn(7, 5, dtype=torch.float64)
    for found, expected in zip(
        gradients((ours * slope).sum(), users, items), gradients(_sum(plain, slope), users, items)
    ):
        torch.testing.assert_close(found, expected)
    assert torch.autograd.gradcheck(lambda *vectors: _negatives.scores_of(*vectors, rows), (users, items))


def _sum(scores: Tensor, slope: Tensor) -> Tensor:
    return (scores * slope).sum()


# Losses with negatives of each target's own


def naive(name: str, users: Tensor, items: Tensor, target: Tensor, negatives: Tensor, beta: float = 1.0) -> Tensor:
    """The formulas as the papers write them, one score at a time."""
    rows = []
    for user, right, wrong in zip(users, target.tolist(), negatives.tolist()):
        hit = torch.sigmoid(user @ items[right])
        misses = [torch.sigmoid(user @ items[each - 1]) for each in wrong]
        if name == "bce":
            rows.append(-hit.log() - sum((1 - miss).log() for miss in misses) / len(misses))
        elif name == "bpr":
            pairs = [torch.sigmoid(user @ items[right] - user @ items[each - 1]).log() for each in wrong]
            rows.append(-sum(pairs) / len(pairs))
        else:
            rows.append(-((hit**beta).log() + sum((1 - miss).log() for miss in misses)) / (len(misses) + 1))
    return torch.stack(rows).mean()


def assert_equal_with_gradients(ours: Tensor, expected: Tensor, users: Tensor, items: Tensor) -> None:
    torch.testing.assert_close(ours, expected)
    for found, wanted in zip(gradients(ours, users, items), gradients(expected, users, items)):
        torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("number", [1, 3])
@pytest.mark.parametrize(("name", "loss"), [("bce", Bce), ("bpr", Bpr)])
def test_bce_and_bpr_equal_the_double_loop_over_negatives_outside_the_window(name, loss, number):
    users, items, target = case()
    windows = context(users, items, target)["history_ids"]
    negatives = _negatives.draw(windows, number, 11, seeded())
    expected = naive(name, users, items, target, negatives)
    assert_equal_with_gradients(called(loss(num_negatives=number), users, items, target), expected, users, items)


@pytest.mark.parametrize(("number", "t"), [(1, 0.75), (4, 0.75), (4, 0.0), (4, 1.0), (50, 0.5)])
def test_gbce_equals_the_papers_formula(number, t):
    users, items, target = case()
    alpha = min(1, number / (11 - 1))
    beta = alpha * (t * (1 - 1 / alpha) + 1 / alpha)
    negatives = _negatives.draw_distinct(target, number, 11, seeded()) + 1
    expected = naive("gbce", users, items, target, negatives, beta)
    assert_equal_with_gradients(called(Gbce(num_negatives=number, t=t), users, items, target), expected, users, items)


def test_gbce_equals_the_authors_transformed_logits():
    users, items, target = case(40)
    beta = 1 - 0.75 * (1 - 3 / 10)
    negatives = _negatives.draw_distinct(target, 3, 11, seeded()) + 1
    right = (users * items[target]).sum(dim=1, keepdim=True)
    transformed = -((torch.sigmoid(right) ** -beta) - 1).log()
    logits = torch.cat([transformed, torch.einsum("nd,nkd->nk", users, items[negatives - 1])], dim=1)
    labels = torch.tensor([[1.0, 0, 0, 0]], dtype=torch.float64).expand(40, 4)
    expected = F.binary_cross_entropy_with_logits(logits, labels)
    assert_equal_with_gradients(called(Gbce(num_negatives=3), users, items, target), expected, users, items)


def test_gbce_without_correction_is_bce_averaged_over_all_scores():
    users, items, target = case(m=2)  # with two items both losses can only draw the other one
    plain = called(Bce(), users, items, target, history_ids=target[:, None] + 1)
    torch.testing.assert_close(called(Gbce(num_negatives=1, t=0.0), users, items, target), plain / 2)


def test_gbce_draws_from_all_items_but_the_target():
    users, items, target = inputs(1, 3)
    window = torch.tensor([[1, 2, 3]])  # the sampling rate counts the items of the window too
    value = called(Gbce(num_negatives=2), users * 0, items, target, history_ids=window)
    assert value.item() == pytest.approx(math.log(2))  # beta is 1


def test_large_scores_keep_their_slope():
    """The authors clip probabilities at 1e-10: beyond a score of 23 nothing is learnt."""
    users = torch.tensor([[-60.0, 60.0]]).requires_grad_()
    value = called(Gbce(num_negatives=1, t=0.0), users, torch.eye(2), torch.tensor([0]))
    assert value.item() == pytest.approx((60 + 60) / 2)
    (gradient,) = torch.autograd.grad(value, users)
    assert gradient.tolist() == [[-0.5, 0.5]]


@pytest.mark.parametrize("loss", [Bce(), Bpr(), Bce(num_negatives=4), Gbce(num_negatives=4)])
def test_gradients_pass_gradcheck(loss):
    users, items, target = case(4, 6)
    assert torch.autograd.gradcheck(lambda *vectors: called(loss, *vectors, target), (users, items))


@pytest.mark.parametrize("loss", [Bce(num_negatives=3), Bpr(num_negatives=3)])
def test_bce_and_bpr_name_the_targets_and_behind_them_each_ones_negatives(loss):
    windows = torch.tensor([[0, 4, 1, 2], [3, 1, 5, 6], [0, 0, 8, 1]])
    targets = Targets(windows, torch.tensor([0, 0, 2]), torch.tensor([2, 3, 3]))
    ids, right = loss.columns(targets, 9, seeded())
    assert ids[right].tolist() == [1, 2, 1]
    negatives = ids[3:].view(3, 3)
    assert torch.equal(negatives, _negatives.draw(windows[[0, 0, 2]], 3, 9, seeded()))


# Sampled softmax


@pytest.mark.parametrize("scale", [None, 1.0])
@pytest.mark.parametrize("number", [10, 5000])
def test_sampled_softmax_over_every_item_once_is_the_full_softmax(scale, number):
    users, items, target = case()
    loss = SampledSoftmax(num_negatives=number, scale=scale)
    assert_equal_with_gradients(
        called(loss, users, items, target), called(Softmax(), users, items, target), users, items
    )


@pytest.mark.parametrize(("scale", "alpha"), [(None, (11 - 1) / 5), (1.0, 1.0), (100.0, 100.0)])
def test_sampled_softmax_equals_the_double_loop(scale, alpha):
    users, items, target = case()
    negatives = _negatives.draw_distinct(target, 5, 11, seeded()).tolist()
    rows = []
    for user, right, wrong in zip(users, target.tolist(), negatives):
        masses = sum(torch.exp(user @ items[each]) for each in wrong)
        rows.append(torch.log(torch.exp(user @ items[right]) + alpha * masses) - user @ items[right])
    loss = SampledSoftmax(num_negatives=5, scale=scale)
    assert_equal_with_gradients(called(loss, users, items, target), torch.stack(rows).mean(), users, items)


@pytest.mark.slow
def test_the_sum_over_the_sample_estimates_the_sum_over_the_catalogue_without_bias():
    users, items, target = (each.detach() for each in inputs(3, 40, dim=4))
    full = (users @ items.T).exp().sum(dim=1)[0]
    right = (users[0] @ items[target[0]]).exp()
    estimates = [
        called(SampledSoftmax(num_negatives=10), users[:1], items, target[:1], generator=seeded(seed)).exp() * right
        for seed in range(1000)
    ]
    found = torch.stack(estimates)
    assert abs(found.mean() - full) < 4 * found.std() / 1000**0.5


def test_sampled_softmax_passes_gradcheck():
    users, items, target = case(4, 6)
    loss = SampledSoftmax(num_negatives=3)
    assert torch.autograd.gradcheck(lambda *vectors: called(loss, *vectors, target), (users, items))
