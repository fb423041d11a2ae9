"""Two views of a sequence, the loss that tells them from others, and what vectors learned so are worth."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from llmrec import components
from llmrec.contrast import ContrastiveStep, Ratios, agreement, augment, crop, mask, nt_xent, reorder
from llmrec.errors import ConfigError
from llmrec.sequences import Sequences, TrainingBatches
from llmrec.training import seed_step
from llmrec.user_network import UserNetwork

LENGTHS = (0, 1, 2, 7, 20)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture
def history() -> torch.Tensor:
    """Left-padded sequences 1, 2, 3 ... of several lengths, many of each."""
    return Sequences.from_lists([list(range(1, n + 1)) for n in LENGTHS for _ in range(200)]).padded(20)


def real(rows: torch.Tensor) -> list[list[int]]:
    """The items of left-padded rows; padding may stand on the left alone."""
    found = [row[row > 0].tolist() for row in rows]
    assert all(row.tolist() == [0] * (len(row) - len(items)) + items for row, items in zip(rows, found))
    return found


def test_a_crop_keeps_a_contiguous_part_of_its_share(history, generator):
    starts = set()
    for before, after in zip(real(history), real(crop(history, 0.4, generator))):
        assert len(after) == min(len(before), max(1, math.floor(0.4 * len(before))))
        assert after == list(range(after[0], after[0] + len(after))) if before else after == []
        starts |= {after[0]} if len(before) == 20 else set()
    assert starts == set(range(1, 14)), "every place of a part of 8 in 20"


def test_reordering_permutes_only_inside_a_part_of_its_share(history, generator):
    firsts = set()
    for before, after in zip(real(history), real(reorder(history, 0.6, generator))):
        assert sorted(after) == before
        moved = [place for place, (a, b) in enumerate(zip(before, after)) if a != b]
        assert not moved or moved[-1] - moved[0] < math.floor(0.6 * len(before))
        firsts |= {moved[0]} if len(before) == 20 else set()
    assert {0, 8} <= firsts, "the part may stand at either end"


def test_all_orders_of_the_part_are_as_likely(generator):
    rows = torch.tensor([[0, 1, 2, 3]]).repeat(6000, 1)
    orders, counts = reorder(rows, 1.0, generator).unique(dim=0, return_counts=True)
    assert len(orders) == 6
    assert counts.tolist() == pytest.approx([1000] * 6, abs=5 * 1000**0.5)


def test_the_mask_hides_its_share_of_the_items_and_no_padding(history, generator):
    hidden = mask(history, 0.6, generator)
    lengths = (history > 0).sum(dim=1)
    assert hidden.sum(dim=1).tolist() == [math.floor(0.6 * n) for n in lengths.tolist()]
    assert not hidden[history == 0].any()
    assert hidden[lengths == 20].double().mean(dim=0).tolist() == pytest.approx([0.6] * 20, abs=0.2)


def test_each_row_of_a_view_is_of_one_augmentation_and_a_ratio_of_zero_leaves_it_out(history, generator):
    long = history[(history > 0).sum(dim=1) == 20]
    view = augment(long, Ratios(0.4, 0.6, 0.6), generator)
    cropped = (view.items > 0).sum(dim=1) == 8
    masked = view.masked.any(dim=1)
    moved = (view.items != long).any(dim=1) & ~cropped
    assert torch.equal(cropped.int() + masked.int() + moved.int(), torch.ones(200, dtype=torch.int32))
    assert min(cropped.sum(), masked.sum(), moved.sum()) > 200 / 3 - 5 * (200 * 2 / 9) ** 0.5
    only = augment(long, Ratios(0.0, 0.6, 0.0), generator)
    assert torch.equal(only.items, long)
    assert only.masked.sum(dim=1).tolist() == [12] * 200


def test_random_vectors_lose_the_logarithm_of_the_other_views():
    torch.manual_seed(0)
    first, second = torch.randn(2, 64, 4096)
    loss = nt_xent(first, second, torch.zeros(64, dtype=torch.long), 1.0)
    assert loss.item() == pytest.approx(math.log(2 * 64 - 1), abs=0.02)


def test_the_loss_is_the_mean_over_both_directions_of_its_formula():
    torch.manual_seed(0)
    first, second = torch.randn(2, 5, 3, dtype=torch.double)
    views = [each / each.norm() for each in [*first, *second]]
    losses = []
    for i, view in enumerate(views):
        others = {k: math.exp(view @ views[k] / 0.2) for k in range(10) if k != i}
        losses.append(-math.log(others[(i + 5) % 10] / sum(others.values())))
    assert nt_xent(first, second, torch.arange(1, 6), 0.2).item() == pytest.approx(np.mean(losses), abs=1e-12)
    assert nt_xent(3 * first, second, torch.arange(1, 6), 0.2).item() == pytest.approx(np.mean(losses), abs=1e-12)


def test_other_rows_of_the_same_user_are_no_negatives():
    torch.manual_seed(0)
    first, second = torch.randn(2, 4, 8)
    kept = torch.tensor([0, 1, 2])
    one_user_twice = nt_xent(first[[0, 1, 2, 2]], second[[0, 1, 2, 2]], torch.tensor([5, 6, 7, 7]), 0.5)
    apart = nt_xent(first[kept], second[kept], torch.tensor([5, 6, 7]), 0.5)
    unknown = nt_xent(first[[0, 1, 2, 2]], second[[0, 1, 2, 2]], torch.zeros(4, dtype=torch.long), 0.5)
    # Rows 0 and 1 see both copies of row 2 as negatives; each copy sees only them.
    assert apart < one_user_twice < unknown
    nobody_else = nt_xent(first, second, torch.full((4,), 9), 0.5)
    assert nobody_else.item() == 0.0, "only the other view is left to choose from"


def network(head: str, **options) -> UserNetwork:
    torch.manual_seed(0)
    trunk = components.create("heads", components.resolve("heads", {"name": head, **options}), 16, 21)
    return UserNetwork(40, 16, trunk)


@pytest.mark.slow
def test_without_dropout_and_augmentation_both_views_are_one(history, generator):
    first, second = ContrastiveStep(network("sasrec", dropout=0.0), None, 0.1, "mlp").views(history, generator)
    assert torch.allclose(F.cosine_similarity(first, second), torch.ones(len(first)))
    first, second = ContrastiveStep(network("sasrec", dropout=0.2), None, 0.1, "mlp").views(history, generator)
    assert F.cosine_similarity(first, second).max() < 1 - 1e-4


def test_masked_places_show_the_mask_token_and_not_the_item(generator):
    step = ContrastiveStep(network("sasrec", dropout=0.0), Ratios(0.0, 1.0, 0.0), 0.1, "none")
    first, second = step.views(torch.tensor([[1, 2, 3], [4, 5, 6]]), generator)
    assert torch.equal(first[0], first[1]) and torch.equal(first, second)
    first[0, 0].backward()
    assert step.mask_token.grad.abs().sum() > 0
    assert step.network.items.weight.grad.abs().sum() == 0


@pytest.mark.parametrize(("projector", "layers"), [("none", 0), ("linear", 1), ("mlp", 3)])
def test_projectors(projector, layers):
    assert len(ContrastiveStep(network("sasrec", dropout=0.0), None, 0.1, projector).projector) == layers


def clusters(users: int) -> tuple[Sequences, np.ndarray]:
    """Users who take most of their items from one of four groups of ten; and which."""
    random = np.random.default_rng(0)
    cluster = random.integers(0, 4, users)
    own = random.random((users, 6)) < 0.5
    items = np.where(
        own, 10 * cluster[:, None] + random.integers(1, 11, (users, 6)), random.integers(1, 41, (users, 6))
    )
    flat = Sequences.from_lists(list(items))
    return Sequences(flat.values, flat.offsets, np.arange(1, users + 1)), cluster


def probe(model: UserNetwork, sequences: Sequences, cluster: np.ndarray) -> float:
    """Accuracy of a linear classifier over frozen user vectors, on the half that it was not fitted to."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    model.eval()
    with torch.no_grad():
        vectors = model.encode(sequences.padded(20), model.token).numpy()
    half = len(vectors) // 2
    scaled = StandardScaler().fit(vectors[:half]).transform(vectors)
    return LogisticRegression(max_iter=500).fit(scaled[:half], cluster[:half]).score(scaled[half:], cluster[half:])


@pytest.mark.slow
def test_a_frozen_probe_of_what_was_learned_beats_a_random_network():
    sequences, cluster = clusters(400)
    random, learned = network("nextitnet", num_layers=2), network("nextitnet", num_layers=2)
    random.pooling = learned.pooling = "mean"
    step = ContrastiveStep(learned, Ratios(0.4, 0.6, 0.6), 0.2, "none")
    batches = TrainingBatches(sequences, 20, 64, "last", 0)
    optimizer = torch.optim.Adam(step.parameters(), lr=3e-3)
    before = agreement(step, sequences, 20, 64, seed=0)
    assert agreement(step, sequences, 20, 64, seed=0) == before, "the same views whenever it is asked"
    for epoch in range(16):
        step.train()
        for number, (batch, _) in enumerate(batches.epoch(epoch)):
            step(*batch, seed_step(0, 100 * epoch + number, 0)).backward()
            optimizer.step()
            optimizer.zero_grad()
    assert agreement(step, sequences, 20, 64, seed=0) > 2 * before
    assert probe(learned, sequences, cluster) > probe(random, sequences, cluster) + 0.2


@pytest.mark.slow
def test_a_pass_is_the_same_whenever_its_step_is_taken_again(history):
    step = ContrastiveStep(network("sasrec", dropout=0.2), Ratios(0.4, 0.6, 0.6), 0.1, "none").train()
    batch = (history[:, 1:], history[:, 1:], torch.arange(len(history)), history, torch.arange(len(history)))
    first = step(*batch, seed_step(3, 7, 0))
    assert step(*batch, seed_step(3, 8, 0)) != first
    assert step(*batch, seed_step(3, 7, 0)) == first


def test_options_out_of_range_are_named():
    for options in ({"crop": 1.5}, {"crop": 0, "mask": 0, "reorder": 0}, {"temperature": 0}):
        with pytest.raises(ConfigError, match=r"transfer 'clue': .*(shares from 0 to 1|above 0)"):
            components.create("transfer", components.resolve("transfer", {"name": "clue", **options}))
