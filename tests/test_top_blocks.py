"""Tuning the top blocks over kept states: the same as tuning them in the whole model, and nothing else moves."""

import copy
import shutil
from pathlib import Path

import pytest
import tiny_models
import torch
from torch import nn

from llmrec import components, loading
from llmrec.errors import ConfigError, MemoryLimitError
from llmrec.features import pool
from llmrec.tokens import Tokens

KINDS = list(tiny_models.ARCHITECTURES)
TEXTS = ["", "Toy Story (1995)", " ".join(f"{number} Heat" for number in range(60)), "Alien", "Toy Story (1995)"]


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("LLMREC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def trunk(kind: str, blocks: int = 1, how: str = "resident") -> nn.Module:
    tuning = components.create("tuning", {"name": "top_blocks", "blocks": blocks})
    return tuning.trunk(tiny_models.source(lambda: None, TEXTS, kind, how))


class Whole(nn.Module):
    """The model as a whole, of which only the weights of these names learn."""

    def __init__(self, kind: str, names: set[str]) -> None:
        super().__init__()
        self.model = loading.load(tiny_models.files(kind), "fp32", "resident")
        self.tokens = Tokens.of(TEXTS[1:], self.model, 150)
        self.encoder = self.model.model
        for name, weight in self.encoder.named_parameters():
            weight.requires_grad_(name in names)

    def forward(self) -> torch.Tensor:
        batch, own = self.tokens.batch(list(range(len(TEXTS) - 1)))
        return pool(self.encoder(**batch).last_hidden_state, own, "mean")


def names_of(module: nn.Module) -> dict[str, torch.Tensor]:
    """Names in the whole model of what a trunk's tuning moves."""
    places = {id(weight): name for name, weight in module.encoder.named_parameters()}
    return {places[id(weight)]: weight for weight in module.parameters()}


def learn(module: nn.Module, steps: int = 3) -> torch.Tensor:
    torch.manual_seed(0)
    wanted = torch.randn(len(TEXTS) - 1, module()[-1].shape[0])
    # Not Adam: the gradient of a key's bias is zero but for rounding, which Adam would blow up to a whole step.
    optimizer = torch.optim.SGD([each for each in module.parameters() if each.requires_grad], 0.1, weight_decay=0.1)
    for _ in range(steps):
        loss = (module()[-len(wanted) :] - wanted).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return module()[-len(wanted) :].detach()


@pytest.mark.slow
@pytest.mark.parametrize("how", ["resident", "streamed"])
@pytest.mark.parametrize("kind", KINDS)
def test_three_steps_over_kept_states_are_three_steps_through_the_whole_model(kind, how):
    """Fp32: to 1e-5; compared are the vectors and every weight of the model, with decay."""
    top = trunk(kind, how=how)
    names = set(names_of(top))
    whole = Whole(kind, names)
    before = {name: weight.clone() for name, weight in whole.encoder.state_dict().items()}
    torch.testing.assert_close(learn(top), learn(whole), rtol=0, atol=1e-5)
    after = whole.encoder.state_dict()
    for name, weight in names_of(top).items():
        torch.testing.assert_close(weight, after[name], rtol=0, atol=1e-5)
        assert weight.dim() == 1 or not torch.equal(weight, before[name]), f"{name} learns"
    kept = {name: weight for name, weight in top.encoder.state_dict().items() if name not in names}
    assert all(torch.equal(weight, before[name]) for name, weight in kept.items()), "and nothing else"


def test_what_learns_is_the_top_and_what_stands_behind_it():
    assert {name.split(".")[0] for name in names_of(trunk("llama"))} == {"layers", "norm"}
    assert all(name.startswith(("layers.1.", "norm.")) for name in names_of(trunk("llama")))
    assert all(name.startswith("encoder.layer.1.") for name in names_of(trunk("bert"))), "no pooler"
    assert any("project_out" in name for name in names_of(trunk("opt-350m")))


@pytest.mark.slow
@pytest.mark.parametrize("how", ["resident", "streamed"])
def test_between_the_first_block_and_the_top_nothing_is_in_memory(how, cache):
    top = trunk("gemma3", blocks=2, how=how)
    devices = [{weight.device.type for weight in block.parameters()} for block in top.standing.blocks]
    assert devices == [{"cpu"}, *[{"meta"}] * 4, {"cpu"}, {"cpu"}]
    assert not list((cache / "streamed").glob("*")), "nothing is left of streaming"


def test_kept_states_are_found_again(cache, monkeypatch):
    vectors = trunk("gemma3", blocks=2)()
    (file,) = (cache / "top_blocks").iterdir()
    made = file.stat().st_mtime_ns
    run = lambda *given: pytest.fail("the lower blocks run again")
    monkeypatch.setattr("llmrec.loading.resident.Resident.entering", run)
    assert torch.equal(trunk("gemma3", blocks=2)(), vectors)
    assert file.stat().st_mtime_ns == made
    monkeypatch.undo()


def test_a_disk_without_room_for_the_states_is_refused(cache, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda place: shutil._ntuple_diskusage(1, 1, 0))
    with pytest.raises(MemoryLimitError, match=r"what enters block 1 of .* takes 0\.0 GB, and .* has 0\.0 GB free"):
        trunk("llama")
    assert not list((cache / "top_blocks").iterdir())


@pytest.mark.slow
def test_what_was_learned_is_saved_and_loaded_without_the_rest():
    first = trunk("gemma3", blocks=3)
    vectors = learn(first)
    state = copy.deepcopy(first.state_dict())
    assert len(state) == len(list(first.parameters())), "neither embeddings nor lower blocks"
    second = trunk("gemma3", blocks=3)
    second.load_state_dict(state)
    assert torch.equal(second()[1:].detach(), vectors)


def test_a_trunk_that_trains_has_no_dropout():
    top = trunk("opt").train()
    assert torch.equal(top(), top())
    assert top.training


@pytest.mark.parametrize("blocks", [2, 3])
def test_the_first_block_is_never_one_of_the_top(blocks):
    with pytest.raises(ConfigError, match=f"tuning.blocks must be below the 2 blocks of the model, came {blocks}"):
        trunk("llama", blocks)


@pytest.mark.parametrize("options", [{"blocks": 0}, {"learning_rate": 0.0}, {"weight_decay": -1.0}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ConfigError, match="must be"):
        components.create("tuning", components.resolve("tuning", {"name": "top_blocks", **options}))
