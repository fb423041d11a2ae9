"""Heads that read both ways: what training hides from them, what recommending asks for, and that they learn by it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from small_runs import Job, same
from torch import Tensor

from llmrec import components
from llmrec.errors import ConfigError
from llmrec.heads._cloze import Cloze
from llmrec.matching import MatchingStep
from llmrec.sequences import Sequences, TrainingBatches

NAMES = [n for n in components.names("heads") if getattr(components.load("heads", n), "bidirectional", False)]
every_bidirectional_head = pytest.mark.parametrize("name", NAMES)


def job_of(name: str, folder: Path, *more: str) -> Job:
    return Job(folder, f"head.name={name}", "head.dropout=0", *more)


def windows(number: int, width: int) -> Tensor:
    """Windows of 2 to ``width`` items, left-padded."""
    lengths = torch.arange(number) % (width - 1) + 2
    return (torch.arange(width) >= width - lengths[:, None]).long() * 7


def test_these_heads_read_both_ways() -> None:
    assert NAMES == ["bert4rec", "grec"]


def test_about_the_share_of_places_is_asked_for_and_never_padding_or_nothing() -> None:
    given = windows(4000, 20)
    drawn = Cloze(4, 0.3, 0.0).draw(given, torch.Generator().manual_seed(0))
    assert not drawn[given == 0].any()
    assert drawn.any(dim=1).all()
    whole = drawn[(given > 0).all(dim=1)]
    # A window of 20 has 6 by expectation; that one place is asked for in any case adds .7 ** 20 = .0008 more.
    assert whole.double().mean().item() == pytest.approx(0.3, abs=0.03)
    assert whole.double().mean(dim=0).std().item() < 0.06, "each place alike"
    pairs = drawn[(given > 0).sum(dim=1) == 2]
    assert pairs[:, -2:].double().mean().item() == pytest.approx((2 * 0.3 * 0.7 + 2 * 0.09 + 0.49) / 2, abs=0.07)


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_a_share_of_windows_asks_for_its_last_item_alone(share: float) -> None:
    given = windows(2000, 12)
    drawn = Cloze(4, 0.9, share).draw(given, torch.Generator().manual_seed(1))
    long = (given > 0).sum(dim=1) >= 8
    alone = drawn[:, -1] & (drawn.sum(dim=1) == 1)
    assert alone[long].double().mean().item() == pytest.approx(share, abs=0.04)


def test_what_is_asked_for_depends_on_the_generator_alone() -> None:
    cloze, given = Cloze(4, 0.2, 0.1), windows(50, 9)
    drawn = []
    for seed, of_torch in ((0, 1), (0, 2), (1, 1)):
        torch.manual_seed(of_torch)
        drawn.append(cloze.draw(given, torch.Generator().manual_seed(seed)))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


@every_bidirectional_head
@pytest.mark.parametrize(
    ("option", "came", "message"),
    [
        ("mask_share", 0.0, "mask_share must be above 0 and below 1, came 0.0"),
        ("mask_share", 1.0, "mask_share must be above 0 and below 1, came 1.0"),
        ("last_share", 1.5, "last_share must be from 0 to 1, came 1.5"),
        ("num_layers", -1, "num_layers must be at least 0, came -1"),
    ],
)
def test_shares_out_of_range_are_refused(name: str, option: str, came: float, message: str) -> None:
    with pytest.raises(ConfigError, match=f"head '{name}': {message}"):
        components.create("heads", components.resolve("heads", {"name": name, option: came}), 8, 10)


def test_a_convolution_over_both_sides_has_a_middle() -> None:
    spec = components.resolve("heads", {"name": "grec", "kernel_size": 4})
    with pytest.raises(ConfigError, match="head 'grec': kernel_size must be odd where either side is read, came 4"):
        components.create("heads", spec, 8, 10)


@every_bidirectional_head
def test_a_step_asks_for_hidden_items_of_whole_windows(name: str, tmp_path: Path) -> None:
    job, handed = job_of(name, tmp_path), {}

    def loss(users: Tensor, items: Tensor, target: Tensor, **more: Tensor) -> Tensor:
        handed.update(users=users, target=target, **more)
        return users.square().sum()

    model = job.model.train()
    step = MatchingStep(model, loss, job.split.train.counts(model.num_items))
    batch, _ = next(TrainingBatches(job.split.train, 10, 16, "all", seed=0).epoch(0))
    step(*batch, torch.Generator().manual_seed(3))
    assert batch.windows.shape[1] == 11, "ten items and the one asked for behind them"
    hidden = model.head.cloze.draw(batch.windows, torch.Generator().manual_seed(3))
    items = model.encoder()
    vectors = torch.where(hidden[..., None], model.head.cloze.vector, items[batch.windows])
    torch.testing.assert_close(handed["users"], model.head(vectors, batch.windows > 0)[hidden], rtol=1e-5, atol=1e-6)
    assert torch.equal(handed["target"] + 1, batch.windows[hidden])
    assert torch.equal(handed["history_ids"], batch.windows[hidden.nonzero()[:, 0]])


@every_bidirectional_head
def test_no_gradient_reaches_the_vector_of_an_item_that_is_hidden_wherever_it_stands(name: str, tmp_path: Path) -> None:
    model = job_of(name, tmp_path, "head.last_share=1", "head.num_layers=2").model.train()
    with torch.no_grad():  # away from ones and zeros
        for parameter in model.head.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    step = MatchingStep(model, lambda users, *_, **__: users.square().sum(), np.ones(model.num_items + 1))
    window = torch.tensor([[3, 1, 4, 9, 2, 6]])
    rows = torch.tensor([0])
    step(window[:, :-1], window[:, 1:], rows, window, rows, torch.Generator()).backward()
    moved = model.encoder.embedding.grad.abs().sum(dim=1) > 0
    assert (moved.nonzero()[:, 0] + 1).tolist() == [1, 2, 3, 4, 9], "but not 6, the last"


@every_bidirectional_head
def test_a_process_without_a_share_of_the_batch_moves_nothing(name: str, tmp_path: Path) -> None:
    job = job_of(name, tmp_path)
    step = MatchingStep(job.model.train(), components.create("losses", job.options.loss), np.ones(31))
    batches = TrainingBatches(job.split.train, 10, 1, "all", seed=0)
    batch, _ = next(batches.epoch(0, rank=1, world=2))
    assert not len(batch.rows)
    loss = step(*batch, torch.Generator())
    loss.backward()
    assert loss.item() == 0
    assert all(each.grad is not None and not each.grad.any() for each in step.parameters()), "but each takes part"


@every_bidirectional_head
def test_recommending_asks_for_a_hidden_item_behind_the_history(name: str, tmp_path: Path) -> None:
    model = job_of(name, tmp_path).model.eval()
    histories = [[5, 8, 2], [], list(range(1, 11)), list(range(7, 19))]
    items, mask = model.encoder(), model.head.cloze.vector
    found = model.user_embeddings(Sequences.from_lists(histories))
    for row, history in enumerate(histories):
        read = torch.cat([items[history[-10:]], mask[None]])[None]
        alone = model.head(read, torch.ones(1, read.shape[1], dtype=torch.bool))[0, -1]
        torch.testing.assert_close(found[row], alone, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@every_bidirectional_head
def test_it_learns_what_comes_next_far_better_than_popularity_knows_it(name: str, tmp_path: Path) -> None:
    """Planted: item i is followed by i + 1 of a cycle of 6, wherever a user begins."""
    options = ["head.last_share=0.3", "training.epochs=1", "embedding_dim=32", "head.num_layers=2"]
    job = job_of(name, tmp_path, *options)
    sequences = [[(start + step) % 6 + 1 for step in range(3 + start // 6)] for start in range(24)] * 2
    train = Sequences.from_lists([each[:-1] for each in sequences])
    last = torch.tensor([each[-1] for each in sequences])
    counts = train.counts(job.model.num_items)
    step = MatchingStep(job.model.train(), components.create("losses", job.options.loss), counts)
    optimizer = torch.optim.Adam(step.parameters(), lr=0.003)
    batches, generator = TrainingBatches(train, 10, 16, "all", seed=0), torch.Generator().manual_seed(0)
    for epoch in range(25):
        for batch, _ in batches.epoch(epoch):
            step(*batch, generator).backward()
            optimizer.step()
            optimizer.zero_grad()
    scores = job.model.eval().score(train)
    hits = (scores[:, 1:].argmax(dim=1) + 1 == last).double().mean().item()
    popular = (torch.from_numpy(counts).argmax() == last).double().mean().item()
    assert popular < 0.2
    assert hits > 0.9


@pytest.mark.slow
@every_bidirectional_head
def test_training_that_was_cut_off_goes_on_to_the_same_weights(name: str, tmp_path: Path) -> None:
    options = ("head.name=" + name, "training.epochs=3", "training.checkpoint_steps=2")
    whole = Job(tmp_path / "whole", *options)
    whole.fit()
    cut = Job(tmp_path / "cut", *options)

    def end(row: dict) -> None:
        if row["event"] == "step" and row["step"] == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cut.fit(report=end)
    again = Job(tmp_path / "cut", *options)
    again.fit()
    assert again.logged("resume")[0]["step"] == 4
    assert same(again.weights[-1], whole.weights[-1])
