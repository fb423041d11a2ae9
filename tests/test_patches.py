"""PeterRec's model patches: nothing at first, and the only thing that learns."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from small_course import lifelong

from llmrec import components, patches
from llmrec.errors import ConfigError

HISTORY = torch.tensor([[0, 0, 3, 5, 7, 2], [1, 2, 3, 4, 5, 6]])


def trunk(**options: object) -> torch.nn.Module:
    torch.manual_seed(0)
    spec = components.resolve("heads", {"name": "nextitnet", "num_layers": 2, **options})
    return components.create("heads", spec, 16, 10).eval()


@pytest.mark.parametrize("norm", ["post", "pre"])
@pytest.mark.parametrize(("form", "skip", "same"), [
    ("serial", True, True),
    ("parallel", False, True),
    ("serial", False, False),  # the convolution is lost
    ("parallel", True, False),  # what entered is added once more, as in PeterRec's code
])  # fmt: skip
def test_new_patches_change_nothing_where_the_skip_suits_the_form(norm: str, form: str, skip: bool, same: bool) -> None:
    plain, items = trunk(norm=norm), torch.randn(2, 6, 16)
    mask = HISTORY > 0
    before = plain(items, mask)
    patches.insert(plain, form, skip)
    assert torch.equal(plain(items, mask), before) == same


@pytest.mark.parametrize("form", ["serial", "parallel"])
def test_a_patch_is_a_bottleneck_with_the_gelu_of_the_paper(form: str) -> None:
    patch = patches.Patch(16, form, skip=form == "serial")
    assert patch.down.weight.shape == (4, 16)
    patch.up.weight.data.normal_()
    convolved, entered = torch.randn(2, 3, 16), torch.randn(2, 3, 16)
    read = convolved if form == "serial" else entered
    inner = read @ patch.down.weight.T + patch.down.bias
    gelu = 0.5 * inner * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (inner + 0.044715 * inner**3)))
    assert torch.allclose(patch(convolved, entered), convolved + gelu @ patch.up.weight.T, atol=1e-5)


def test_every_block_has_two() -> None:
    patched = trunk()
    patches.insert(patched, "serial", True)
    assert sum(isinstance(each, patches.Patch) for each in patched.modules()) == 2 * 2


def test_a_trunk_without_convolutions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="SASRec has no block of them; take --head nextitnet"):
        lifelong(tmp_path, "peterrec", "head=sasrec", "training.epochs=0").run()


@pytest.mark.slow
@pytest.mark.parametrize(("form", "norms"), [("serial", True), ("parallel", False)])
def test_all_but_patches_norms_and_head_is_bit_identical_afterwards(tmp_path: Path, form: str, norms: bool) -> None:
    chosen = (f"transfer.method.form={form}", f"transfer.method.norms={str(norms).lower()}", "transfer.order=[far]")
    plan = lifelong(tmp_path / "run", "peterrec", *chosen, "transfer.training.weight_decay=0.5")
    results = plan.run()
    before = load_file(plan.pretrained_folder / "network.safetensors")
    stored = load_file(tmp_path / "run/tasks/01-far/model.safetensors")
    norm = {f"trunk.blocks.{block}.second_norm.{part}" for block in (0, 1) for part in ("weight", "bias")}
    assert stored.keys() & before.keys() == (norm if norms else set())
    assert all(not torch.equal(stored[name], before[name]) for name in stored.keys() & before.keys())
    after = plan.answers(1).network.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before.keys() - stored.keys())
    learned = {name.rsplit(".", 2)[0] for name in stored if "patch" in name}
    assert learned == {f"trunk.blocks.{block}.{which}_patch" for block in (0, 1) for which in ("first", "second")}
    patch = 2 * 16 * 4 + 4 + 16
    own = 4 * patch + (2 * 32 if norms else 0) + 16 + 6 * 17
    (task,) = results["tasks"]
    assert task["trainable"] == own == sum(each.numel() for each in stored.values())
    assert task["stored_bytes"] == 4 * own
    whole = sum(each.numel() for name, each in after.items() if name not in ("token", "output.weight", "output.bias"))
    assert task["trainable_share"] == pytest.approx(own / whole)
    assert task["trainable_share_without_items"] == pytest.approx(own / (whole - 13 * 16))
