"""Conure's masks: quotas to the weight, owners that never change, and a network that forgets nothing."""

from pathlib import Path

import pytest
import torch
from small_course import lifelong

from llmrec import components
from llmrec.errors import ConfigError, RunError
from llmrec.masks import Masks
from llmrec.optimizer import learned_weight


def trunk(head: str = "nextitnet") -> torch.nn.Module:
    torch.manual_seed(0)
    return components.create("heads", components.resolve("heads", {"name": head, "num_layers": 2}), 16, 10).eval()


def owners(masks: Masks) -> torch.Tensor:
    return torch.cat([kernel.owner.flatten() for kernel in masks.kernels])


def test_a_task_owns_its_share_of_every_kernel_to_within_a_weight() -> None:
    masks, p = Masks(trunk()), 0.7
    for number in range(6):
        masks.prune(number, p)
    for kernel in masks.kernels:
        for number in range(6):
            expected = (1 - p) * p**number * kernel.owner.numel()
            assert abs(int((kernel.owner == number + 1).sum()) - expected) <= 1
    capacity = masks.capacity()
    assert capacity["free"] == pytest.approx(p**6, abs=0.002)
    assert sum(capacity["owned"].values()) + capacity["free"] == pytest.approx(1)
    assert list(capacity["owned"]) == [str(number) for number in range(6)]


def test_the_largest_of_the_free_weights_are_taken_and_ties_go_to_the_first() -> None:
    layer = torch.nn.Linear(10, 1)
    layer.weight.data = torch.tensor([[3.0, -9.0, 1.0, 1.0, -1.0, 1.0, 0.5, 8.0, 0.0, 1.0]])
    masks = Masks(torch.nn.Sequential(layer))
    masks.prune(0, 0.7)
    assert owners(masks).tolist() == [1, 1, 0, 0, 0, 0, 0, 1, 0, 0]
    masks.prune(1, 0.7)  # of seven, four of which tie
    assert owners(masks).tolist() == [1, 1, 2, 2, 0, 0, 0, 1, 0, 0]


def test_masks_are_packed_a_bit_a_weight() -> None:
    masks = Masks(trunk())
    for number in range(3):
        masks.prune(number, 0.6)
    before = owners(masks).clone()
    packed = [masks.packed(number) for number in range(3)]
    assert [len(each) for each in packed] == [-(-len(before) // 8)] * 3
    for kernel in masks.kernels:
        kernel.owner.zero_()
    for number in range(3):
        masks.unpack(number, packed[number])
    assert torch.equal(owners(masks), before)


def test_what_is_seen_and_what_learns() -> None:
    layer = torch.nn.Linear(6, 1, bias=False)
    layer.weight.data = torch.arange(6.0, 0.0, -1.0)[None]
    masks = Masks(torch.nn.Sequential(layer))

    def gradient() -> list[float]:
        learned_weight(layer).grad = None
        layer(torch.ones(1, 6)).sum().backward()
        return learned_weight(layer).grad[0].tolist()

    masks.prune(0, 0.5)  # owns three
    masks.train(1)
    assert layer.weight[0].tolist() == [6, 5, 4, 3, 2, 1]
    assert gradient() == [0, 0, 0, 1, 1, 1]
    masks.prune(1, 0.34)  # owns two more
    masks.retrain(1)
    assert layer.weight[0].tolist() == [6, 5, 4, 3, 2, 0]
    assert gradient() == [0, 0, 0, 1, 1, 0]
    masks.recall(0)
    assert layer.weight[0].tolist() == [6, 5, 4, 0, 0, 0]
    assert layer.weight.requires_grad is False or gradient() == [0] * 6


def test_decay_and_momentum_move_no_weight_that_is_held() -> None:
    layer = torch.nn.Linear(40, 30)
    masks = Masks(torch.nn.Sequential(layer))
    masks.prune(0, 0.5)
    weight = learned_weight(layer)
    before, own = weight.detach().clone(), masks.kernels[0].owner == 1
    optimizer = torch.optim.AdamW([weight], lr=0.1, weight_decay=0.5)
    optimizer.state[weight] = {
        "step": torch.tensor(1.0),
        "exp_avg": torch.ones_like(weight),  # of an earlier phase, say
        "exp_avg_sq": torch.ones_like(weight),
    }
    hold = masks.train(1)
    layer(torch.randn(8, 40)).square().sum().backward()
    optimizer.step()
    assert not torch.equal(weight[own], before[own]), "without the masks it would"
    hold()
    assert torch.equal(weight[own], before[own])
    assert (weight[~own] != before[~own]).all()


def test_a_trunk_of_transformers_is_masked_and_a_recurrent_one_is_refused() -> None:
    assert len(Masks(trunk("sasrec")).kernels) == 2 * 4
    with pytest.raises(ConfigError, match="not what GRU4Rec is made of; take --head nextitnet or sasrec"):
        Masks(components.create("heads", components.resolve("heads", "gru4rec"), 16, 10))


def test_a_task_is_refused_when_nothing_is_free() -> None:
    masks = Masks(trunk())
    masks.prune(0, 0.001)
    assert masks.num_free == 2 * 2  # one a kernel
    masks.train(1)
    masks.prune(1, 0.001)
    assert masks.num_free == 0
    with pytest.raises(RunError, match=r"no weight is free for task 2.*\(method\.prune\)"):
        masks.train(2)
    nearly = Masks(trunk())
    nearly.prune(0, 0.001)
    with pytest.raises(RunError, match=r"pruning 0\.9 of 4 free weights leaves task 1 with none"):
        nearly.prune(1, 0.9)


@pytest.mark.slow
def test_a_full_network_ends_the_run_with_what_to_do(tmp_path: Path) -> None:
    plan = lifelong(tmp_path / "run", "conure", "transfer.method.prune=[0.0001]", "training.epochs=1")
    with pytest.raises(RunError, match="no weight is free for task 1"):
        plan.run()
    assert (tmp_path / "run/tasks/00-walk/result.json").is_file(), "what was learned before is kept"


@pytest.mark.parametrize("prune", ["[]", "[1.0]", "[0.5, 0]"])
def test_shares_that_are_none_are_refused(tmp_path: Path, prune: str) -> None:
    with pytest.raises(ConfigError, match="prune must be shares between 0 and 1"):
        lifelong(tmp_path, "conure", f"transfer.method.prune={prune}")
