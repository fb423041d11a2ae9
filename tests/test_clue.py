"""CLUE over a course of tasks: what learns, what pre-trainings are shared, and runs that are cut off."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from small_course import lifelong

from llmrec.contrast import AGREEMENT
from llmrec.errors import ConfigError
from llmrec.runs import read_json

pytestmark = pytest.mark.slow
ONE = ("training.epochs=2", "transfer.training.epochs=1")
WARM = ("transfer.method.warm_start=next_item", "transfer.method.projector=mlp", "head=sasrec", "head.num_layers=1")


@pytest.mark.parametrize(
    ("tuning", "learned"), [("frozen", {"heads.1.output.weight", "heads.1.output.bias"}), ("full", None)]
)
def test_a_probe_stores_its_output_and_tuning_everything(tmp_path: Path, tuning: str, learned: set[str] | None) -> None:
    plan = lifelong(tmp_path / "run", "clue", *ONE, f"transfer.method.tuning={tuning}")
    results = plan.run()
    stored = load_file(plan.folder / "tasks" / "01-far" / "model.safetensors")
    network = plan.answers(1).network
    assert network.pooling == "mean"
    assert set(stored) == (
        learned or {name for name, _ in network.named_parameters() if not name.startswith(("output.", "token"))}
    )
    before = load_file(plan.pretrained_folder / "network.safetensors")
    same = {name for name, value in network.state_dict().items() if name in before and torch.equal(value, before[name])}
    assert (same == set(before)) == (tuning == "frozen")
    assert results["tasks"][0]["trainable"] == sum(each.numel() for each in stored.values())


def test_pre_training_is_judged_by_how_well_views_are_told_apart(tmp_path: Path) -> None:
    plan = lifelong(tmp_path / "run", "clue", "training.epochs=12")
    found = read_json(plan.pretrain() / "metrics.json")
    assert found["validation"][AGREEMENT] > 1.3 / (2 * 15 - 1), "better than by chance among 15 users"
    assert "test" not in found, "it tells no next items"


def test_runs_share_a_pre_training_unless_they_differ_in_it(tmp_path: Path) -> None:
    def place(*more: str) -> Path:
        return lifelong(tmp_path / "run", "clue", *more).pretrained_folder

    assert place() == place("transfer.method.tuning=full")
    others = ("views=dropout", "crop=0.5", "temperature=0.2", "projector=mlp", "pooling=token", "warm_start=next_item")
    assert len({place(), *(place(f"transfer.method.{option}") for option in others)}) == 1 + len(others)
    assert place() != lifelong(tmp_path / "run", "full").pretrained_folder


def test_views_by_dropout_need_some(tmp_path: Path) -> None:
    """Two equal views are told from all others by any network."""
    with pytest.raises(ConfigError, match=r"views=dropout: both views .* the same, .*set head.dropout=0.1"):
        lifelong(tmp_path / "run", "clue", *ONE, "transfer.method.views=dropout").run()
    whole = [f"transfer.method.{name}" for name in ("crop=1", "mask=0", "reorder=0")]
    with pytest.raises(ConfigError, match=r"views=augmentation with Ratios\(crop=1.0, .*both views .* the same"):
        lifelong(tmp_path / "run", "clue", *ONE, *whole).run()


@pytest.mark.parametrize("views", ["augmentation", "dropout"])
def test_pre_training_goes_on_to_the_same_end_wherever_it_was_cut_off(tmp_path: Path, views: str) -> None:
    options = (*ONE, *WARM, "head.dropout=0.1", f"transfer.method.views={views}")
    whole = lifelong(tmp_path / "whole" / "run", "clue", *options).pretrain()
    crashes = 0
    while True:
        plan = lifelong(tmp_path / "cut" / "run", "clue", *options, "training.checkpoint_steps=3", watch=_crash_at(7))
        try:
            again = plan.pretrain()
            break
        except InterruptedError:
            crashes += 1
    assert crashes >= 2, "in both phases"
    first, second = (load_file(folder / "network.safetensors") for folder in (whole, again))
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def _crash_at(step: int) -> Callable[[int, str], Any]:
    """Watches phases; at so many steps, counted over all, it raises."""
    taken = [0]

    @contextmanager
    def watch(epochs: int, selection: str) -> Iterator[Callable[[dict], None]]:
        def report(row: dict) -> None:
            taken[0] += row["event"] == "step"
            if taken[0] >= step:
                raise InterruptedError

        yield report

    return watch
