"""One user vector that is trained to tell several items behind its history, as in TransRec."""

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from small_course import lifelong
from small_runs import Job, same
from torch import Tensor

from llmrec import components
from llmrec.lessons import Lesson
from llmrec.losses import Targets, _negatives
from llmrec.matching import MatchingStep
from llmrec.sequences import Batch, Sequences, TrainingBatches

HEADS = ["transrec", "cpc"]


def job_of(folder: Path, *more: str, head: str = "transrec", future: int = 3) -> Job:
    return Job(folder, f"head.name={head}", f"head.future={future}", "head.dropout=0", *more)


def step_of(job: Job) -> MatchingStep:
    """In training mode, with weights away from ones and zeros."""
    with torch.no_grad():
        for number, parameter in enumerate(job.model.parameters()):
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number)))
    counts = job.split.train.counts(job.model.num_items)
    return MatchingStep(job.model.train(), components.create("losses", job.options.loss), counts)


def batches_of(job: Job) -> TrainingBatches:
    return TrainingBatches(job.split.train, 10, 16, "all", 0, future=job.model.future)


def batch_of(*windows: list[int], future: int) -> Batch:
    batch, _ = next(TrainingBatches(Sequences.from_lists([*windows]), 10, 16, "last", 0, future=future).epoch(0))
    return batch


def pairs(job: Job, batch: Batch) -> list[tuple[Tensor, int, list[int]]]:
    """For each target in order: the user vector of its window by itself, the target, and the window's items."""
    found = []
    items = job.model.encoder()
    for row, targets in enumerate(batch.target):
        history = batch.history[row][batch.history[row] > 0]
        user = job.model.head(items[history][None], torch.ones(1, len(history), dtype=torch.bool))[0, -1]
        window = batch.windows[batch.rows[row]].tolist()
        found += [(user, target, window) for target in targets.tolist() if target]
    return found


@pytest.mark.parametrize("head", HEADS)
def test_bce_is_the_papers_loss_summed_by_hand(tmp_path: Path, head: str) -> None:
    """TransRec: mean BCE of the positives against 1 plus that of as many negatives against 0."""
    job = job_of(tmp_path, "loss=bce", head=head)
    step = step_of(job)
    batch, told = next(batches_of(job).epoch(0))
    found = pairs(job, batch)
    outside = torch.tensor([window for _, _, window in found])
    negatives = _negatives.draw(outside, 1, job.model.num_items, torch.Generator().manual_seed(5))[:, 0].tolist()
    right = wrong = 0.0
    for (user, target, window), negative in zip(found, negatives, strict=True):
        assert negative not in window
        right += -math.log(torch.sigmoid(user @ job.model.encoder()[target]).item())
        wrong += -math.log(1 - torch.sigmoid(user @ job.model.encoder()[negative]).item())
    assert len(found) == told == batch.num_targets > 2 * len(batch.rows)
    assert {int(number) for number in (batch.target > 0).sum(dim=1)} == {1, 2, 3}, "windows of all kinds"
    value = step(*batch, torch.Generator().manual_seed(5)).item()
    assert value == pytest.approx(right / len(found) + wrong / len(found), abs=1e-5)


@pytest.mark.parametrize("head", HEADS)
def test_the_softmax_of_the_batch_is_summed_by_hand(tmp_path: Path, head: str) -> None:
    """Against all columns of the batch's windows but those of the own window's items, its other futures too."""
    job = job_of(tmp_path, "loss=in_batch_softmax", head=head)
    step = step_of(job)
    batch, _ = next(batches_of(job).epoch(0))
    share = job.split.train.counts(job.model.num_items) / len(job.split.train.values)
    items, total = job.model.encoder(), 0.0
    columns = [item for item in batch.windows.flatten().tolist() if item]
    found = pairs(job, batch)
    for user, target, window in found:
        compared = [target, *(item for item in columns if item not in window)]
        logits = [(user @ items[item]).item() - math.log(share[item]) for item in compared]
        total += math.log(sum(map(math.exp, logits))) - logits[0]
    assert step(*batch, torch.Generator()).item() == pytest.approx(total / len(found), abs=1e-4)


@pytest.mark.parametrize("loss", ["bce", "in_batch_softmax", "softmax", "sampled_softmax", "bpr"])
def test_one_future_is_the_loss_of_the_last_position_alone(tmp_path: Path, loss: str) -> None:
    """What ``cpc`` was before it had the option: SASRec of whose targets the last of each window alone is kept."""
    last, every = (
        job_of(tmp_path, f"loss={loss}", head="cpc", future=1),
        Job(tmp_path, f"loss={loss}", "head.dropout=0"),
    )
    assert (last.model.future, every.model.future) == (1, 0)
    steps = [step_of(last), step_of(every)]
    assert same(last.model.state_dict(), every.model.state_dict())
    for (one, told), (other, _) in zip(batches_of(last).epoch(1), batches_of(every).epoch(1), strict=True):
        alone = other.target.clone()
        alone[:, :-1] = 0
        values = [
            step(*batch, torch.Generator().manual_seed(2))
            for step, batch in zip(steps, (one, other._replace(target=alone)), strict=True)
        ]
        assert values[0].item() == values[1].item()
        assert told == one.num_targets == len(one.rows)
    first, second = (
        torch.autograd.grad(value, [*step.parameters()]) for value, step in zip(values, steps, strict=True)
    )
    assert all(torch.equal(*each) for each in zip(first, second, strict=True))


def test_the_head_reads_each_window_once_and_the_encoder_each_item(tmp_path: Path) -> None:
    job = job_of(tmp_path, "loss=in_batch_softmax", future=5)
    step, read, encoded = step_of(job), [], []
    job.model.head.register_forward_pre_hook(lambda module, given: read.append(len(given[0])))
    job.model.encoder.register_forward_pre_hook(lambda module, given: encoded.append(given[0].tolist()))
    batch, _ = next(batches_of(job).epoch(0))
    step(*batch, torch.Generator())
    assert sum(read) == len(batch.rows) < batch.num_targets
    assert encoded == [sorted({0, *batch.windows.flatten().tolist()})]


def test_no_target_moves_the_user_vector_that_is_to_tell_it(tmp_path: Path) -> None:
    job, handed = job_of(tmp_path, future=3), []
    step = step_of(job)
    step.loss = lambda users, items, target, **more: handed.append((users, target + 1)) or users.sum()
    for windows in ([[5, 8, 2, 9, 1, 4], [3, 7]], [[5, 8, 2, 11, 12, 13], [3, 14]], [[5, 8, 6, 9, 1, 4], [10, 7]]):
        step(*batch_of(*windows, future=3), torch.Generator())
    (users, targets), (other, others), (moved, _) = handed
    assert sorted(targets.tolist()) == [1, 4, 7, 9]
    assert sorted(others.tolist()) == [11, 12, 13, 14]
    assert torch.equal(users, other), "other targets"
    assert (moved - users).abs().amax(dim=1).min() > 1e-3, "another item of the history"


def test_a_history_of_two_items_is_one_item_and_one_future(tmp_path: Path) -> None:
    job = job_of(tmp_path, "loss=softmax", future=5)
    step, batch = step_of(job), batch_of([4, 9], [6], future=5)
    assert (batch.history.tolist(), batch.target.tolist(), batch.windows.tolist()) == ([[4]], [[9]], [[4, 9]])
    items = job.model.encoder()
    user = job.model.head(items[torch.tensor([[4]])], torch.ones(1, 1, dtype=torch.bool))[0]
    expected = F.cross_entropy(user @ items[1:].T, torch.tensor([9 - 1])).item()
    assert step(*batch, torch.Generator()).item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("loss", ["bce", "bpr"])
def test_with_negatives_of_its_own_the_encoder_meets_no_other_item(tmp_path: Path, loss: str) -> None:
    job = job_of(tmp_path, f"loss={loss}", future=5)
    step, encoded = step_of(job), []
    job.model.encoder.register_forward_pre_hook(lambda module, given: encoded.append(given[0].tolist()))
    batch, _ = next(TrainingBatches(job.split.train, 10, 2, "all", 0, future=5).epoch(0))
    row, column = batch.target.nonzero(as_tuple=True)
    place = column + batch.windows.shape[1] - batch.target.shape[1]
    drawn = _negatives.draw(batch.windows[row], 1, job.model.num_items, torch.Generator().manual_seed(5))
    step(*batch, torch.Generator().manual_seed(5))
    assert torch.equal(batch.windows[row, place], batch.target[row, column])
    assert encoded == [sorted({0, *batch.windows.flatten().tolist(), *drawn.flatten().tolist()})]
    assert len(encoded[0]) < job.model.num_items


@pytest.mark.parametrize("loss", ["softmax", "in_batch_softmax"])
def test_shares_of_a_batch_have_the_loss_of_the_whole(tmp_path: Path, loss: str) -> None:
    job = job_of(tmp_path, f"loss={loss}")
    step, batches, means = step_of(job), batches_of(job), []
    for world in (1, 3):
        parts = [next(batches.epoch(0, rank=rank, world=world)) for rank in range(world)]
        assert len({told for _, told in parts}) == 1
        assert sum(batch.num_targets for batch, _ in parts) == parts[0][1]
        means.append(sum(step(*batch, torch.Generator()) * batch.num_targets / told for batch, told in parts))
    torch.testing.assert_close(means[0], means[1])


@pytest.mark.parametrize("loss", ["softmax", "in_batch_softmax", "bce"])
def test_a_process_without_a_share_of_the_batch_moves_nothing(tmp_path: Path, loss: str) -> None:
    step = step_of(job := job_of(tmp_path, f"loss={loss}"))
    batch, _ = next(TrainingBatches(job.split.train, 10, 1, "all", 0, future=3).epoch(0, rank=1, world=2))
    assert not len(batch.rows)
    loss = step(*batch, torch.Generator())
    loss.backward()
    assert loss.item() == 0
    assert all(each.grad is not None and not each.grad.any() for each in step.parameters()), "but each takes part"


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("loss", ["softmax", "in_batch_softmax", "bce"])
def test_no_process_meets_a_history_that_is_longer_than_the_head_knows(tmp_path: Path, head: str, loss: str) -> None:
    """With futures windows are longer than histories."""
    job = job_of(tmp_path, f"loss={loss}", head=head, future=5)
    step, shares = step_of(job), []
    long = Sequences.from_lists([[1 + (start + place) % 30 for place in range(20)] for start in range(3)])
    for batch, _ in TrainingBatches(long, 10, 1, "all", 0, future=5).epoch(0, rank=1, world=2):
        assert step(*batch, torch.Generator()).item() == 0
        shares.append((len(batch.rows), batch.windows.shape[1]))
    assert (0, 15) in shares


@pytest.mark.slow
@pytest.mark.parametrize("windows", ["all", "last"])
def test_training_that_was_cut_off_goes_on_to_the_same_weights(windows: str, tmp_path: Path) -> None:
    options = ("training.epochs=3", "training.checkpoint_steps=2", f"training.windows={windows}")
    whole = job_of(tmp_path / "whole", *options)
    whole.fit()
    cut = job_of(tmp_path / "cut", *options)

    def end(row: dict) -> None:
        if row["event"] == "step" and row["step"] == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cut.fit(report=end)
    again = job_of(tmp_path / "cut", *options)
    again.fit()
    assert again.logged("resume")[0]["step"] == 4
    assert same(again.weights[-1], whole.weights[-1])


@pytest.mark.slow
@pytest.mark.parametrize("head", HEADS)
def test_it_learns_which_items_follow_far_better_than_by_chance(tmp_path: Path, head: str) -> None:
    """Planted: four of five steps go on to the next item of a cycle of 30, so the next few follow each history."""
    quick = ("training.learning_rate=0.01", "embedding_dim=16", "head.num_layers=2", "training.epochs=25")
    job = job_of(tmp_path, "loss=in_batch_softmax", *quick, head=head, future=5)
    job.fit()
    assert job.logged("epoch")[0]["loss"] - job.logged("epoch")[-1]["loss"] > 0.5
    cases = job.split.test
    best = job.model.score(cases.histories)[:, 1:].topk(5).indices + 1
    hits = (best == torch.from_numpy(cases.target)[:, None]).any(dim=1).double().mean().item()
    assert hits > 2 * 5 / 30


# User networks


def test_pre_training_asks_one_vector_for_every_future(tmp_path: Path) -> None:
    plan = lifelong(tmp_path, "full", "head.name=transrec", "head.future=3")
    made = plan._new().eval()
    lesson = Lesson.of_source(plan.course.source, plan.course.train, made, plan.config)
    batch, told = next(iter(lesson.batches.epoch(0, 0, 0, 1)))
    total = 0.0
    for history, targets in zip(batch.history, batch.target, strict=True):
        scores = made.output(made.hidden(history[None])[:, -1])[0]
        total += sum(F.cross_entropy(scores, target - 1).item() for target in targets if target)
    assert lesson.step(*batch, torch.Generator()).item() == pytest.approx(total / told, abs=1e-5)
    assert told == int((batch.windows.count_nonzero(dim=1) - 1).clamp_max(3).sum()) > len(batch.rows)


@pytest.mark.parametrize("loss", ["bce", "bpr", "in_batch_softmax"])
def test_pre_training_compares_the_columns_that_a_loss_asks_for(tmp_path: Path, loss: str) -> None:
    plan = lifelong(tmp_path, "full", "head.name=transrec", "head.future=3", f"loss={loss}")
    made = plan._new().eval()
    lesson = Lesson.of_source(plan.course.source, plan.course.train, made, plan.config)
    batch, _ = next(iter(lesson.batches.epoch(0, 0, 0, 1)))
    row, column = batch.target.nonzero(as_tuple=True)
    targets = Targets(batch.windows, row, column + batch.windows.shape[1] - batch.target.shape[1])
    counts = plan.course.train.counts(len(plan.course.source.classes))[1:]
    share = torch.from_numpy(counts).clamp_min(1).float() / len(plan.course.train.values)
    ids, right = lesson.step.loss.columns(targets, len(counts), torch.Generator().manual_seed(3))
    scores = made.output(made.hidden(batch.history)[:, -1])[row][:, ids - 1]
    if loss == "in_batch_softmax":
        own = (batch.windows[row][:, :, None] == ids).any(dim=1) | (ids == 0)
        own[torch.arange(len(row)), right] = False
        logits = (scores - share.log()[ids - 1]).masked_fill(own, -torch.inf)
        expected = F.cross_entropy(logits, right)
    else:
        hit, miss = (
            scores.gather(1, right[:, None])[:, 0],
            scores[torch.arange(len(row)), len(row) + torch.arange(len(row))],
        )
        expected = F.softplus(miss - hit).mean() if loss == "bpr" else (F.softplus(-hit) + F.softplus(miss)).mean()
    found = lesson.step(*batch, torch.Generator().manual_seed(3))
    assert found.item() == pytest.approx(expected.item(), abs=1e-5)


def test_views_are_of_whole_windows_whatever_the_futures(tmp_path: Path) -> None:
    plan = lifelong(tmp_path, "clue", "head.name=transrec", "head.future=5")
    lesson = Lesson.of_source(plan.course.source, plan.course.train, plan._new(), plan.config)
    (phase,) = components.create("transfer", plan.config.transfer.method).pretraining(lesson)
    batch, told = next(iter(phase.batches.epoch(0, 0, 0, 1)))
    assert told == int((batch.windows.count_nonzero(dim=1) - 1).sum()), "each position has a target"
    assert batch.history.shape[1] == batch.windows.shape[1] - 1
