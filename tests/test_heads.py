"""What every head keeps to (no later item, no batch mate and no padding moves a user vector), and SASRec's block."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmrec import components
from llmrec.heads.sasrec import SASRec

DIM, LONGEST = 16, 10
SETTINGS = [{"name": name} for name in components.names("heads")] + [
    {"name": "sasrec", "norm": "pre", "activation": "gelu"},
    {"name": "sasrec", "num_layers": 1, "num_heads": 4},
]
every_head = pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: "-".join(map(str, setting.values())))


def make(setting: dict[str, Any]) -> nn.Module:
    torch.manual_seed(0)
    head = components.create("heads", components.resolve("heads", setting), DIM, LONGEST)
    with torch.no_grad():  # away from ones and zeros, so that each parameter matters
        for parameter in head.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return head.eval()


def histories(*lengths: int, seed: int = 1) -> tuple[Tensor, Tensor]:
    """Random item vectors, left-padded to the longest; the padding holds zeros as encoders give them."""
    generator = torch.Generator().manual_seed(seed)
    width = max(lengths)
    mask = torch.arange(width) >= width - torch.tensor(lengths)[:, None]
    return torch.randn(len(lengths), width, DIM, generator=generator) * mask[..., None], mask


@every_head
@pytest.mark.parametrize("width", [1, 4, LONGEST])
def test_there_is_one_finite_vector_for_every_position(setting, width):
    items, mask = histories(width, width, width)
    users = make(setting)(items, mask)
    assert users.shape == (3, width, DIM)
    assert torch.isfinite(users).all()


@every_head
def test_a_later_item_does_not_change_an_earlier_user_vector(setting):
    head = make(setting)
    items, mask = histories(8, 5)
    for changed in range(8):
        other = items.clone()
        other[:, changed] = torch.randn(2, DIM) * 10
        before, after = head(items, mask), head(other, mask)
        assert torch.equal(before[:, :changed], after[:, :changed])
        assert not torch.allclose(before[0, changed], after[0, changed]), "but it changes its own"


@every_head
def test_every_item_of_the_history_changes_the_last_user_vector(setting):
    head = make(setting)
    items, mask = histories(LONGEST)
    for changed in range(LONGEST):
        other = items.clone()
        other[:, changed] = torch.randn(DIM) * 10
        assert (head(items, mask)[:, -1] - head(other, mask)[:, -1]).abs().max() > 1e-4


@every_head
def test_the_order_of_the_history_matters(setting):
    items, mask = histories(6)
    swapped = items[:, [1, 0, 2, 3, 4, 5]]
    head = make(setting)
    assert (head(items, mask)[:, -1] - head(swapped, mask)[:, -1]).abs().max() > 1e-4


@every_head
@pytest.mark.parametrize("padding", [1, 3, 7])
def test_a_padded_history_gets_the_vectors_that_it_gets_alone(setting, padding):
    head = make(setting)
    items, mask = histories(3, 3 + padding)
    alone = head(items[:1, padding:], mask[:1, padding:])
    beside = head(items, mask)[:1, padding:]
    torch.testing.assert_close(beside, alone, atol=1e-5, rtol=0)
    noise = torch.where(mask[..., None], items, torch.randn_like(items) * 100)
    torch.testing.assert_close(head(noise, mask)[:1, padding:], alone, atol=1e-5, rtol=0)


@every_head
def test_batch_mates_and_their_order_do_not_matter(setting):
    head = make(setting)
    items, mask = histories(4, 9, 1, 9)
    together = head(items, mask)
    for row in range(4):
        torch.testing.assert_close(head(items[row : row + 1], mask[row : row + 1])[0], together[row])
    torch.testing.assert_close(head(items.flip(0), mask.flip(0)), together.flip(0))


@every_head
def test_a_row_of_nothing_but_padding_stays_finite_and_so_do_its_gradients(setting):
    head = make(setting).train()
    items, mask = histories(5, 5)
    mask[1] = False
    items = (items * mask[..., None]).requires_grad_()
    users = head(items, mask)
    assert torch.isfinite(users).all()
    users.sum().backward()
    assert torch.isfinite(items.grad).all()
    assert all(torch.isfinite(parameter.grad).all() for parameter in head.parameters())
    # An empty history is scored with the vector after one padding: it must be the same in every batch.
    head.eval()
    empty = torch.zeros(1, 1, DIM), torch.zeros(1, 1, dtype=torch.bool)
    torch.testing.assert_close(head(*empty)[0, -1], head(items, mask)[1, -1])


@every_head
def test_evaluation_is_deterministic_and_training_drops_out(setting):
    head = make(setting)
    items, mask = histories(6, 4)
    assert torch.equal(head(items, mask), head(items, mask))
    head.train()
    assert not torch.equal(head(items, mask), head(items, mask))


@every_head
def test_every_parameter_and_every_item_gets_a_gradient(setting):
    head = make(setting).train()
    items, mask = histories(LONGEST, 4)
    items.requires_grad_()
    users = head(items, mask)
    (users * torch.randn_like(users))[mask].sum().backward()
    silent = [name for name, each in head.named_parameters() if each.grad is None or not each.grad.any()]
    assert silent == []
    assert (items.grad.abs().sum(dim=-1) > 0).equal(mask)


@every_head
def test_a_head_is_saved_and_restored_by_its_state(setting):
    head = make(setting)
    torch.manual_seed(9)
    other = components.create("heads", components.resolve("heads", setting), DIM, LONGEST).eval()
    items, mask = histories(7)
    assert not torch.allclose(other(items, mask), head(items, mask))
    other.load_state_dict(head.state_dict())
    assert torch.equal(other(items, mask), head(items, mask))


# SASRec


@pytest.mark.parametrize("norm", ["post", "pre"])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_sasrec_is_torchs_own_transformer_layer_over_items_plus_positions(norm, activation):
    head = make({"name": "sasrec", "norm": norm, "activation": activation})
    items, mask = histories(6)
    hidden = head.input_norm(items + head.position.weight[LONGEST - 6 :])
    for block in head.blocks:
        layer = nn.TransformerEncoderLayer(
            DIM, 2, 4 * DIM, activation=activation, batch_first=True, norm_first=norm == "pre"
        ).eval()
        names = {
            "self_attn.in_proj_": "query_key_value.",
            "self_attn.out_proj.": "attention_output.",
            "linear1.": "inner.",
            "linear2.": "outer.",
            "norm1.": "attention_norm.",
            "norm2.": "feed_forward_norm.",
        }
        state = block.state_dict()
        layer.load_state_dict(
            {theirs + each: state[ours + each] for theirs, ours in names.items() for each in ("weight", "bias")}
        )
        hidden = layer(hidden, src_mask=nn.Transformer.generate_square_subsequent_mask(6), is_causal=True)
    torch.testing.assert_close(head(items, mask), head.output_norm(hidden), atol=1e-5, rtol=1e-5)


def test_sasrec_normalises_at_the_input_or_at_the_end():
    post, pre = (SASRec(DIM, LONGEST, norm=norm) for norm in ("post", "pre"))
    assert isinstance(post.input_norm, nn.LayerNorm)
    assert isinstance(post.output_norm, nn.Identity)
    assert isinstance(pre.input_norm, nn.Identity)
    assert isinstance(pre.output_norm, nn.LayerNorm)


def test_sasrec_counts_positions_from_the_most_recent_item_backwards():
    head = SASRec(DIM, LONGEST, num_layers=0, norm="pre").eval()
    users = head(torch.zeros(1, 3, DIM), torch.ones(1, 3, dtype=torch.bool))
    expected = F.layer_norm(head.position.weight[[LONGEST - 3, LONGEST - 2, LONGEST - 1]], (DIM,))
    torch.testing.assert_close(users[0], expected)


def test_sasrec_gives_zeros_at_padded_positions():
    items, mask = histories(3, 8)
    users = make({"name": "sasrec"})(items, mask)
    assert (users[0, :5] == 0).all()
    assert (users[0, 5:].abs().sum(dim=1) > 0).all()


def test_sasrec_begins_with_xavier_normal_weights_and_zero_biases():
    torch.manual_seed(0)
    head = SASRec(64, 50)
    for module in head.modules():
        if isinstance(module, nn.Linear):
            assert (module.bias == 0).all()
            expected = (2 / (module.in_features + module.out_features)) ** 0.5
            assert module.weight.std().item() == pytest.approx(expected, rel=0.05)
    assert head.position.weight.std().item() == pytest.approx((2 / (64 + 50)) ** 0.5, rel=0.05)
