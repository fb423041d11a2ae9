"""The network of users, and the losses of its tasks."""

import numpy as np
import pytest
import torch
from small_course import course, lifelong

from llmrec import components, task_losses
from llmrec.lessons import Lesson, TaskBatches
from llmrec.user_network import UserNetwork

DIM, ITEMS, LENGTH = 8, 12, 10


def network(head: str = "nextitnet", **options: object) -> UserNetwork:
    torch.manual_seed(0)
    trunk = components.create("heads", components.resolve("heads", {"name": head, "num_layers": 2}), DIM, LENGTH + 1)
    made = UserNetwork(ITEMS, DIM, trunk, **options).eval()
    for weight in made.parameters():
        weight.data += 0.3 * torch.randn_like(weight)  # else layers of almost nothing would hide what is wrong
    made.items.weight.data[0] = 0
    return made


HISTORY = torch.tensor([[0, 0, 3, 5, 7, 2], [1, 2, 3, 4, 5, 6]])


@pytest.mark.parametrize("head", ["nextitnet", "sasrec"])
def test_no_place_knows_what_comes_after_it(head: str) -> None:
    made, changed = network(head), HISTORY.clone()
    changed[:, 4] = 9
    before, after = made.hidden(HISTORY), made.hidden(changed)
    assert torch.equal(before[:, :4], after[:, :4])
    assert (before[:, 4:] - after[:, 4:]).abs().amax(dim=-1).min() > 1e-3


@pytest.mark.parametrize("head", ["nextitnet", "sasrec"])
def test_padding_changes_no_users_vector(head: str) -> None:
    made = network(head)
    wider = torch.nn.functional.pad(HISTORY, (4, 0))
    assert torch.allclose(made.encode(HISTORY, made.token), made.encode(wider, made.token), atol=1e-5)


def test_the_users_vector_is_that_of_a_token_behind_the_history() -> None:
    made = network()
    made.items.weight.data[9] = made.token
    appended = torch.cat([HISTORY, torch.full((2, 1), 9)], dim=1)
    assert torch.equal(made.encode(HISTORY, made.token), made.hidden(appended)[:, -1])
    assert not torch.allclose(made.encode(HISTORY, made.token), made.encode(HISTORY, 2 * made.token), atol=1e-3)


def test_a_user_without_a_history_has_a_vector() -> None:
    made = network()
    empty = made.encode(torch.zeros(1, 3, dtype=torch.long), made.token)
    assert torch.isfinite(empty).all()
    assert empty.abs().max() > 0


def test_tasks_have_tokens_and_outputs_of_their_own() -> None:
    made = network()
    first, second = made.add_head(1, 4), made.add_head(2, 3)
    assert (made(HISTORY, 1).shape, made(HISTORY, 2).shape, made(HISTORY, 0).shape) == ((2, 4), (2, 3), (2, ITEMS))
    assert torch.equal(first.token, made.token)
    before = made(HISTORY, 2)
    first.token.data += 1.0
    assert torch.equal(made(HISTORY, 2), before), "nor does one move with another"
    assert torch.equal(second.token, made.token)


def test_the_next_item_is_told_by_a_layer_of_its_own_or_by_the_vectors_themselves() -> None:
    made = network()
    hidden = made.hidden(HISTORY)[:, -1]
    assert made.output is not None
    assert torch.allclose(made(HISTORY, 0), made.output(hidden), atol=1e-5)
    tied = network(tied=True)
    assert tied.output is None
    assert torch.allclose(tied(HISTORY, 0), tied.hidden(HISTORY)[:, -1] @ tied.items.weight[1:].T, atol=1e-5)
    assert "output.weight" not in tied.state_dict()


@pytest.mark.parametrize("head", ["grec", "bert4rec"])
def test_a_trunk_that_reads_both_ways_never_sees_what_it_is_asked_for(head: str) -> None:
    made, changed = network(head), HISTORY.clone()
    changed[:, 4] = 9
    masked = torch.zeros(2, 6, dtype=torch.bool)
    masked[:, 4] = True
    assert torch.equal(made.hidden(HISTORY, masked), made.hidden(changed, masked))
    assert not torch.equal(made.hidden(HISTORY), made.hidden(changed))
    behind = made.next_item(HISTORY)
    gap = torch.nn.functional.pad(HISTORY, (0, 1), value=11)
    assert torch.equal(behind, made.hidden(gap, torch.arange(7)[None] == 6)[:, -1]), "whatever stands in the gap"


def test_pre_training_is_the_mean_cross_entropy_of_every_next_item(tmp_path) -> None:
    plan = lifelong(tmp_path, "full", "head.dilations=[1]")
    made = plan._new().eval()
    lesson = Lesson.of_source(plan.course.source, plan.course.train, made, plan.config)
    batch, targets = next(iter(lesson.batches.epoch(0, 0, 0, 1)))
    loss = lesson.step(*batch, torch.Generator().manual_seed(0)).item()
    total = 0.0
    for history, target in zip(batch.history, batch.target):
        real = target > 0
        scores = made.hidden(history[None])[0][real] @ made.output.weight.T + made.output.bias
        total += torch.nn.functional.cross_entropy(scores, target[real] - 1, reduction="sum").item()
    assert loss == pytest.approx(total / targets, abs=1e-5)
    assert loss == pytest.approx(np.log(12), abs=0.3), "untrained"


def test_batches_of_a_task_hold_every_example_once_and_can_begin_anywhere() -> None:
    examples = course().tasks[0].parts["train"]
    batches = TaskBatches(examples, 8, 16, seed=3)
    whole = list(batches.epoch(1))
    assert [number for _, number in whole] == [16, 16, 16, 12]
    assert sum(int(batch.target.sum()) for batch, _ in whole) == examples.targets.sum()
    again = list(batches.epoch(1, first=2))
    assert all(torch.equal(a.history, b.history) for (a, _), (b, _) in zip(whole[2:], again, strict=True))
    assert not torch.equal(whole[0][0].target, next(iter(batches.epoch(2)))[0].target)
    shares = [next(iter(batches.epoch(1, 0, rank, 2)))[0] for rank in (0, 1)]
    assert sorted(torch.cat([each.target for each in shares]).tolist()) == sorted(whole[0][0].target.tolist())


# Losses of tasks


def test_negatives_by_popularity_are_drawn_with_their_probabilities() -> None:
    counts = np.array([5, 40, 1, 20, 20])  # ranks: 1, 3, 4, 0, 2 and so on
    negatives = task_losses.PopularNegatives(counts, rho=0.3)
    weights = np.exp(-np.arange(1, 6) / (0.3 * 5))
    share = (weights / weights.sum())[[3, 0, 4, 1, 2]]  # by class: 1 is first, 3 before 4, then 0 and 2
    target = torch.full((200_000,), 3)
    drawn = torch.bincount(negatives.draw(target, torch.Generator().manual_seed(0)), minlength=5) / len(target)
    expected = np.where(np.arange(5) == 3, 0.0, share)
    assert drawn[3] == 0, "never the target"
    assert drawn.numpy() == pytest.approx(expected / expected.sum(), abs=0.005)


@pytest.mark.parametrize("target", range(5))
def test_no_negative_is_the_target_wherever_it_ranks(target: int) -> None:
    negatives = task_losses.PopularNegatives(np.array([5, 40, 1, 20, 20]), rho=0.3)
    drawn = negatives.draw(torch.full((5000,), target), torch.Generator().manual_seed(1))
    assert set(drawn.tolist()) == set(range(5)) - {target}


@pytest.mark.parametrize(("target", "drawn"), [(0, 1), (3, 0)])
def test_a_sampler_that_hardly_reaches_down_draws_the_most_popular_other_class(target: int, drawn: int) -> None:
    negatives = task_losses.PopularNegatives(np.array([9, 5, 3, 1, 1, 1]), rho=0.0001)
    assert set(negatives.draw(torch.full((600,), target), torch.Generator().manual_seed(0)).tolist()) == {drawn}


def test_losses_are_what_they_are_by_hand() -> None:
    scores, target = torch.tensor([[1.0, -2.0], [0.5, 3.0]]), torch.tensor([0, 0])
    counts, generator = np.array([3, 1]), torch.Generator()
    right, wrong = scores[:, 0].numpy(), scores[:, 1].numpy()  # of two classes the other is the only negative
    by_hand = {
        "softmax": np.mean(np.log(np.exp(right) + np.exp(wrong)) - right),
        "bce": np.mean(np.log1p(np.exp(-right))) + np.mean(np.log1p(np.exp(wrong))),
        "bpr": np.mean(np.log1p(np.exp(wrong - right))),
    }
    for name, value in by_hand.items():
        assert task_losses.make(name, counts, 0.3)(scores, target, generator).item() == pytest.approx(value, abs=1e-5)
