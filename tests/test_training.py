"""The training loop itself: what it adds up, when it stops, which weights it keeps, how it steps."""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_runs import Job, same
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_pre_hook

from llmrec import components, evaluation, matching, optimizer, recommender, training
from llmrec.errors import DivergedError, RunError
from llmrec.losses import Columns, Targets
from llmrec.matching import MatchingStep
from llmrec.options import TrainingOptions
from llmrec.sequences import TrainingBatches

STILL = ["head.dropout=0", "training.learning_rate=1e-12"]


@contextmanager
def watched_steps() -> Iterator[list[tuple[list[float], list[float], float]]]:
    """Learning rates, decays and the norm of all gradients, as the optimizer meets them in each step."""
    seen: list[tuple[list[float], list[float], float]] = []

    def look(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        groups = optimizer.param_groups
        squares = [each.grad.square().sum() for group in groups for each in group["params"] if each.grad is not None]
        rates, decays = [group["lr"] for group in groups], [group["weight_decay"] for group in groups]
        seen.append((rates, decays, math.sqrt(sum(squares))))

    handle = register_optimizer_step_pre_hook(look)
    try:
        yield seen
    finally:
        handle.remove()


def test_the_loss_of_an_epoch_is_the_mean_cross_entropy_over_every_target_summed_by_hand(tmp_path: Path) -> None:
    job = Job(tmp_path, *STILL, "max_seq_len=40", "training.windows=last", "training.epochs=1")
    model, train = job.model.eval(), job.split.train
    total, targets = 0.0, 0
    with torch.no_grad():
        items = model.encoder()
        for row in range(len(train)):
            sequence = torch.from_numpy(train[row]).long()
            if len(sequence) < 2:
                continue
            users = model.head(items[sequence[None, :-1]], torch.ones(1, len(sequence) - 1, dtype=torch.bool))[0]
            total += F.cross_entropy(users @ items[1:].T, sequence[1:] - 1, reduction="sum").item()
            targets += len(sequence) - 1
    job.fit()
    assert targets == sum(len(train[row]) - 1 for row in range(len(train))) == 549 - 40
    assert job.logged("epoch")[0]["loss"] == pytest.approx(total / targets, abs=1e-5)
    assert total / targets == pytest.approx(math.log(30), abs=0.1)  # untrained: near log of the number of items


def test_the_loss_of_an_epoch_is_that_of_its_steps_weighted_by_their_targets(tmp_path: Path) -> None:
    job = Job(tmp_path, "training.epochs=2")
    job.fit()
    batches = TrainingBatches(job.split.train, 10, 16, "all", seed=0)
    steps, done = job.logged("step"), 0
    for epoch, row in enumerate(job.logged("epoch")):
        weights = [targets for _, targets in batches.epoch(epoch)]
        losses = [step["loss"] for step in steps[done : done + len(weights)]]
        done += len(weights)
        assert len(set(weights)) > 1  # else a plain mean would do
        assert row["loss"] == pytest.approx(np.average(losses, weights=weights), abs=1e-12)
        assert row["step"] == done
    assert done == len(steps) == steps[-1]["step"]


def test_what_is_reported_is_what_metrics_jsonl_holds(tmp_path: Path) -> None:
    job = Job(tmp_path, "training.epochs=2")
    job.fit()
    lines = (tmp_path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == job.rows
    assert len(job.logged("epoch")) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scores", "epochs", "best"),
    [
        ([0.1, 0.3, 0.2, 0.25, 0.9], 2 + 2, 2),  # two without a better one behind the second
        ([0.3, 0.3, 0.3, 0.9], 1 + 2, 1),  # an equal value is no better one
        ([0.1, 0.2, 0.1, 0.3, 0.2, 0.2, 0.9], 4 + 2, 4),  # a better one in time starts the count again
        ([0.0, 0.0, 0.0], 1 + 2, 1),  # nothing is ever hit: the first epoch is the best there is
    ],
)
def test_training_stops_after_exactly_patience_epochs_without_a_better_one(
    tmp_path: Path, scores: list[float], epochs: int, best: int
) -> None:
    job = Job(tmp_path, "training.patience=2", "training.epochs=50")
    position = job.fit(scores)
    assert (position.epoch, position.best_epoch + 1) == (epochs, best)
    assert len(job.weights) == epochs
    assert position.best["nDCG@10"] == scores[best - 1]
    assert [row["epoch"] + 1 for row in job.logged("epoch") if row["best"]][-1] == best


def test_a_training_that_gets_worse_after_epoch_2_keeps_the_weights_of_epoch_2(tmp_path: Path) -> None:
    """B15: the last epoch is not the one that is kept."""
    job = Job(tmp_path, "training.patience=3", "training.epochs=50")
    position = job.fit([0.1, 0.5, 0.4, 0.3, 0.2])
    assert position.best_epoch + 1 == 2
    assert position.epoch == len(job.weights) == 5
    kept = training.copy_of(job.model)
    assert same(kept, job.weights[1])
    assert not same(kept, job.weights[4])
    assert torch.equal(job.model.item_embeddings(), job.model.encoder())  # nor are the vectors those of epoch 5
    assert not job.model.training


def test_of_a_model_that_learned_elsewhere_the_beginning_is_kept_if_no_epoch_is_better(tmp_path: Path) -> None:
    told = ("training.patience=2", "training.epochs=50", f"training.init_from={tmp_path}")
    job = Job(tmp_path / "worse", *told)
    position = job.fit([0.5, 0.4, 0.5, 0.45, 0.4, 0.6])
    assert (position.best_epoch + 1, position.epoch, len(job.weights)) == (0, 4, 5)
    assert same(training.copy_of(job.model), job.weights[0]) and not same(job.weights[0], job.weights[2])
    assert [row["validation"]["nDCG@10"] for row in job.logged("start")] == [0.5]
    better = Job(tmp_path / "better", *told)
    assert better.fit([0.5, 0.2, 0.3, 0.25, 0.6, 0.1, 0.1]).best_epoch + 1 == 4, "two below the beginning are no reason"
    assert same(training.copy_of(better.model), better.weights[4])
    still = Job(tmp_path / "still", "training.epochs=0", told[-1])
    assert still.fit([]).best == {} and still.logged("start") == [], "nothing to choose from"


@pytest.mark.slow
def test_ten_epochs_of_which_the_seventh_was_best_end_with_the_seventh(tmp_path: Path) -> None:
    """F11: the checkpoint is chosen by validation, and the choice is recorded."""
    job = Job(tmp_path, "training.epochs=10")
    position = job.fit([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.9, 0.8, 0.7, 0.6])
    assert position.best_epoch + 1 == 7
    assert position.epoch == len(job.weights) == 10
    assert same(training.copy_of(job.model), job.weights[6])
    assert not same(job.weights[6], job.weights[9])


def test_the_learning_rate_rises_over_the_warm_up_and_then_stays(tmp_path: Path) -> None:
    job = Job(tmp_path, "training.warmup_steps=4", "training.learning_rate=0.01", "training.epochs=2")
    with watched_steps() as steps:
        job.fit()
    rates = [step[0] for step in steps]
    expected = [0.01 * 1 / 4, 0.01 * 2 / 4, 0.01 * 3 / 4] + [0.01] * (len(steps) - 3)
    assert len(steps) >= 6
    assert rates == [[pytest.approx(rate)] * 2 for rate in expected]


@pytest.mark.slow
def test_a_linear_decay_goes_down_by_equal_parts_from_epoch_to_epoch(tmp_path: Path) -> None:
    more = ("training.decay=linear", "training.embedding_learning_rate=0.08")
    job = Job(tmp_path, "training.warmup_steps=0", "training.learning_rate=0.01", "training.epochs=4", *more)
    with watched_steps() as steps:
        job.fit()
    rates = list(dict.fromkeys(step[0][1] for step in steps))
    assert rates == [pytest.approx(rate) for rate in (0.01, 0.0075, 0.005, 0.0025)]
    assert all(step[0][2] == pytest.approx(8 * step[0][0]) for step in steps), "of every group alike"


def test_without_a_warm_up_the_first_step_has_the_full_learning_rate(tmp_path: Path) -> None:
    job = Job(tmp_path, "training.warmup_steps=0", "training.learning_rate=0.01", "training.epochs=1")
    with watched_steps() as steps:
        job.fit()
    assert steps[0][0] == [0.01, 0.01]


def test_gradients_are_clipped_to_the_given_norm_over_all_weights(tmp_path: Path) -> None:
    with watched_steps() as free:
        Job(tmp_path / "free", "training.clip_norm=1e6", "training.epochs=1").fit()
    with watched_steps() as clipped:
        Job(tmp_path / "clipped", "training.clip_norm=0.001", "training.epochs=1").fit()
    assert min(norm for _, _, norm in free) > 0.01
    assert [norm for _, _, norm in clipped] == [pytest.approx(0.001, rel=1e-2)] * len(free)


def test_only_the_weights_of_linear_layers_decay(tmp_path: Path) -> None:
    model = Job(tmp_path).model
    decayed, rest = optimizer.parameter_groups(model, TrainingOptions(weight_decay=0.3))
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    block = "head.blocks.0."
    linear = ("query_key_value", "attention_output", "inner", "outer")
    assert {names[id(each)] for each in decayed["params"]} == {f"{block}{layer}.weight" for layer in linear}
    assert (decayed["weight_decay"], rest["weight_decay"]) == (0.3, 0.0)
    others = {names[id(each)] for each in rest["params"]}
    assert {"encoder.embedding", "head.position.weight", f"{block}inner.bias", "head.input_norm.weight"} <= others
    assert len(decayed["params"]) + len(rest["params"]) == len(names)


def test_embeddings_may_learn_at_another_rate(tmp_path: Path) -> None:
    """The items' own and those of positions; biases and norms keep the rate of the linear layers."""
    job = Job(tmp_path, "training.embedding_learning_rate=0.07", "training.warmup_steps=0", "training.epochs=1")
    groups = optimizer.parameter_groups(job.model, job.options.training)
    names = {id(parameter): name for name, parameter in job.model.named_parameters()}
    fast = {names[id(each)] for group in groups if group["peak"] == 0.07 for each in group["params"]}
    assert fast == {"encoder.embedding", "head.position.weight"}
    assert sum(len(group["params"]) for group in groups) == len(names)
    with watched_steps() as steps:
        job.fit()
    assert steps[0][0] == [0.001, 0.001, 0.07]


def test_the_optimizer_gets_the_decay_and_frozen_weights_are_in_no_group(tmp_path: Path) -> None:
    job = Job(tmp_path, "training.weight_decay=0.25", "training.epochs=1")
    job.model.head.position.weight.requires_grad_(False)
    before = job.model.head.position.weight.clone()
    with watched_steps() as steps:
        job.fit()
    assert steps[0][1] == [0.25, 0.0]
    assert torch.equal(job.model.head.position.weight, before)
    groups = optimizer.parameter_groups(job.model, job.options.training)
    assert sum(len(group["params"]) for group in groups) == len(list(job.model.parameters())) - 1


def test_a_loss_that_is_not_finite_ends_training_and_says_what_to_do(tmp_path: Path) -> None:
    job = Job(tmp_path, "training.learning_rate=1e30", "training.epochs=3")
    with pytest.raises(RunError, match=r"the loss is (nan|inf) in step \d+; lower training.learning_rate"):
        job.fit()


def test_scores_that_are_not_finite_at_the_end_of_an_epoch_are_the_trainings_fault_too(tmp_path: Path) -> None:
    """There may be no step left to notice it by its loss."""
    job = Job(tmp_path, "training.batch_size=4096", "training.epochs=1")

    def validate(model: recommender.Recommender) -> dict[str, float]:
        model.eval()
        with torch.no_grad():
            model.head.position.weight.fill_(torch.nan)
        return evaluation.means(
            evaluation.rank_cases(model, job.split.validation, job.split.dataset, mask_history=True, k=10)
        )

    with pytest.raises(DivergedError, match=r"after \d+ steps \d+ scores are not finite.*lower training.learning_rate"):
        job.fit(validate=validate)


@pytest.mark.slow
def test_the_loss_learns_the_cycle_of_the_log(tmp_path: Path) -> None:
    job = Job(tmp_path, "training.epochs=25", "training.learning_rate=0.02", "head.dropout=0")
    job.fit()
    losses = [row["loss"] for row in job.logged("epoch")]
    assert losses[-1] < losses[0] - 1.0
    assert losses[-1] > 0.2 * math.log(30)  # one step in five is drawn at random: nobody can know it


@pytest.mark.slow
def test_another_seed_gives_other_weights_and_the_same_seed_the_same(tmp_path: Path) -> None:
    first, second, other = (Job(tmp_path / f"{n}", "training.epochs=2", seed=s) for n, s in enumerate((3, 3, 4)))
    for job in (first, second, other):
        job.fit()
    assert first.logged("step") == second.logged("step")
    assert same(training.copy_of(first.model), training.copy_of(second.model))
    assert not same(training.copy_of(first.model), training.copy_of(other.model))


def test_items_that_training_never_shows_count_as_seen_once(tmp_path: Path) -> None:
    job = Job(tmp_path)
    step = MatchingStep(job.model, lambda *_, **__: torch.zeros(()), np.array([0, 6, 0, 2]))
    assert step.log_popularity.tolist() == pytest.approx([math.log(6 / 8), math.log(1 / 8), math.log(2 / 8)])
    assert step.num_items == 3


def test_a_loss_is_told_the_item_that_followed_the_window_it_is_in(tmp_path: Path) -> None:
    seen: list[tuple[Tensor, Tensor]] = []

    def loss(users: Tensor, items: Tensor, target: Tensor, *, history_ids: Tensor, **_: Any) -> Tensor:
        seen.append((target + 1, history_ids))
        return F.cross_entropy(users @ items.T, target)

    Job(tmp_path, "training.epochs=1").fit(loss=loss)
    for target, history in seen:
        assert len(target) == len(history)
        assert (history == target[:, None]).any(dim=1).all()
    assert sum(len(target) for target, _ in seen) == 549 - 40


def test_every_step_and_process_draws_its_own_numbers_and_always_the_same(tmp_path: Path) -> None:
    def draw(*place: int) -> tuple[float, float]:
        generator = training.seed_step(*place)
        return torch.rand(()).item(), torch.rand((), generator=generator).item()

    places = [(0, 1, 0), (0, 2, 0), (0, 1, 1), (1, 1, 0)]
    drawn = [draw(*place) for place in places]
    assert len({number for pair in drawn for number in pair}) == 2 * len(places)
    assert [draw(*place) for place in places] == drawn

    seeds: list[int] = []

    def loss(users: Tensor, items: Tensor, target: Tensor, *, generator: torch.Generator, **_: Any) -> Tensor:
        seeds.append(generator.initial_seed())
        return F.cross_entropy(users @ items.T, target)

    position = Job(tmp_path, "training.epochs=2").fit(loss=loss)
    assert len(set(seeds)) == len(seeds) == position.step


@pytest.mark.parametrize("group", [1, 3, 7, 100])
def test_windows_in_groups_of_like_length_give_the_loss_of_the_whole_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: int
) -> None:
    job = Job(tmp_path, "head.dropout=0.0")
    monkeypatch.setattr(matching, "GROUP", group)
    handed: dict = {}

    def loss(users: torch.Tensor, items: torch.Tensor, target: torch.Tensor, **more: torch.Tensor) -> torch.Tensor:
        handed.update(users=users, target=target, **more)
        return users.sum()

    step = MatchingStep(job.model.train(), loss, job.split.train.counts(job.model.num_items))
    batch, targets = next(TrainingBatches(job.split.train, 10, 16, "all", seed=0).epoch(0))
    step(*batch, torch.Generator())
    rows = batch.target > 0
    whole = job.model.user_embedding(job.model.encoder(), batch.history, batch.user)[rows]
    assert len(handed["users"]) == targets
    torch.testing.assert_close(handed["users"], whole, rtol=1e-5, atol=1e-6)
    assert torch.equal(handed["target"] + 1, batch.target[rows])
    windows = torch.cat([batch.history, batch.target[:, -1:]], dim=1)
    assert torch.equal(handed["history_ids"], windows[rows.nonzero()[:, 0]])


def test_a_loss_that_names_its_columns_gets_these_and_the_right_one_of_them(tmp_path: Path) -> None:
    job, handed = Job(tmp_path, "head.dropout=0.0"), {}

    class InBatch:
        def columns(self, targets: Targets, num_items: int, generator: torch.Generator) -> Columns:
            handed.update(asked=targets.ids)
            return Columns(
                torch.cat([torch.tensor([1, num_items, 0]), targets.ids]), torch.arange(len(targets.row)) + 3
            )

        def __call__(self, users: torch.Tensor, items: torch.Tensor, target: torch.Tensor, **more: torch.Tensor):
            handed.update(users=users, items=items, target=target, **more)
            return users.sum()

    asked = []
    job.model.encoder.register_forward_pre_hook(lambda module, given: asked.extend(given))
    step = MatchingStep(job.model.train(), InBatch(), job.split.train.counts(job.model.num_items))
    batch, _ = next(TrainingBatches(job.split.train, 10, 16, "all", seed=0).epoch(0))
    step(*batch, torch.Generator())
    read = torch.cat([torch.tensor([0]), handed["item_ids"], batch.history.flatten()])
    assert torch.equal(asked[0], read.unique()), "and no others"
    assert torch.equal(handed["asked"], batch.target[batch.target > 0])
    whole = job.model.user_embedding(job.model.encoder(), batch.history, batch.user)[batch.target > 0]
    torch.testing.assert_close(handed["users"], whole, rtol=1e-5, atol=1e-6)
    assert torch.equal(handed["item_ids"][handed["target"]], batch.target[batch.target > 0])
    assert torch.equal(handed["items"], job.model.encoder()[handed["item_ids"]])
    real = handed["item_ids"] > 0
    shares = job.split.train.counts(job.model.num_items) / len(job.split.train.values)
    assert torch.allclose(
        handed["log_popularity"][real].exp(), torch.from_numpy(shares).float()[handed["item_ids"][real]]
    )
    assert handed["item_ids"][:3].tolist() == [1, job.model.num_items, 0]


@pytest.mark.parametrize("loss", ["softmax", "in_batch_softmax"])
def test_shares_of_a_batch_have_the_loss_of_the_whole(tmp_path: Path, loss: str) -> None:
    """In-batch negatives come from the whole batch, however many processes share it."""
    job = Job(tmp_path, "head.dropout=0", f"loss={loss}")
    made = components.create("losses", job.options.loss)
    step = MatchingStep(job.model.eval(), made, job.split.train.counts(job.model.num_items))
    batches, means = TrainingBatches(job.split.train, 10, 16, "all", seed=0), []
    for world in (1, 3):
        parts = [next(batches.epoch(0, rank=rank, world=world)) for rank in range(world)]
        shares = [int((batch.target > 0).sum()) / targets for batch, targets in parts]
        values = [step(*batch, torch.Generator()) for batch, _ in parts]
        means.append(sum(value * share for value, share in zip(values, shares)))
    torch.testing.assert_close(means[0], means[1])


@pytest.mark.parametrize(
    ("coverage", "correlation", "warned"),
    [(0.41, 0.3, False), (0.39, 0.3, True), (0.8, 0.49, False), (0.8, 0.56, True), (0.9, -0.5, False)],
)
def test_lists_that_collapse_within_an_epoch_are_warned_of(coverage: float, correlation: float, warned: bool) -> None:
    before = {"nDCG@10": 0.1, "coverage": 0.8, "popularity correlation": 0.35}
    now = {"nDCG@10": 0.1, "coverage": coverage, "popularity correlation": correlation}
    message = training.collapse(before, now)
    assert (message is not None) is warned
    assert message is None or f"coverage 0.800 to {coverage:.3f}" in message
    assert training.collapse({}, now) is None


def test_a_collapse_is_logged_with_its_epoch(tmp_path: Path) -> None:
    job = Job(tmp_path, "training.epochs=3")
    script = iter([(0.9, 0.1), (0.2, 0.9), (0.2, 0.9)])

    def validate(model: recommender.Recommender) -> dict[str, float]:
        coverage, correlation = next(script)
        return {"nDCG@10": 0.1, "coverage": coverage, "popularity correlation": correlation}

    job.fit(validate=validate)
    (warning,) = job.logged("warning")
    assert warning["epoch"] == 1
    assert "popularity correlation 0.10 to 0.90" in warning["message"]
