"""What every head keeps to (no later item, no batch mate and no padding moves a user vector), and each one's block."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmrec import components
from llmrec.errors import ConfigError, DataError
from llmrec.heads.dssm import Dssm
from llmrec.heads.dssm_id import DssmId
from llmrec.heads.esasrec import ESASRec
from llmrec.heads.nextitnet import NextItNet
from llmrec.heads.sasrec import SASRec

DIM, LONGEST, NUM_USERS = 16, 10, 5
SETTINGS = [{"name": name} for name in components.names("heads")] + [
    {"name": "sasrec", "norm": "pre", "activation": "gelu"},
    {"name": "sasrec", "num_layers": 1, "num_heads": 4},
    {"name": "esasrec", "num_layers": 1, "num_heads": 4},
    {"name": "dssm", "num_layers": 2, "hidden_dim": 24},
    {"name": "dssm_id", "num_layers": 1},
    {"name": "gru4rec", "num_layers": 2, "hidden_dim": 24},
    {"name": "bert4rec", "num_layers": 1, "num_heads": 4},
    {"name": "transrec", "num_layers": 1, "num_heads": 2, "inner_dim": 24, "future": 2},
    {"name": "grec", "num_layers": 4, "norm": "pre", "dropout": 0.2},
    {"name": "nextitnet", "num_layers": 4, "norm": "pre"},
    {"name": "nextitnet", "num_layers": 2, "dilations": [1, 2], "dropout": 0.2},
    {"name": "nextitnet", "num_layers": 1, "kernel_size": 5, "dilations": [1], "gate": True},
]

BOTH_WAYS = {"transrec"}
"""Heads that read all of the history for its one user vector, the last, and hide nothing."""
WITHOUT_DROPOUT = {"nextitnet", "grec"}
"""Heads whose papers have none; the option exists, and one of each head's settings takes it."""


def by_user(setting: dict[str, Any]) -> bool:
    return getattr(components.load("heads", setting["name"]), "by_user", False)


def bidirectional(setting: dict[str, Any]) -> bool:
    return getattr(components.load("heads", setting["name"]), "bidirectional", False)


def causal(setting: dict[str, Any]) -> bool:
    return not bidirectional(setting) and setting["name"] not in BOTH_WAYS


def heads(settings: list[dict[str, Any]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("setting", settings, ids=lambda setting: "-".join(map(str, setting.values())))


OF_ITEMS = [setting for setting in SETTINGS if not by_user(setting)]
every_head = heads(SETTINGS)
every_head_of_items = heads(OF_ITEMS)
every_causal_head = heads([setting for setting in SETTINGS if causal(setting)])
every_bidirectional_head = heads([setting for setting in SETTINGS if bidirectional(setting)])
every_head_that_knows_order = heads([setting for setting in OF_ITEMS if setting["name"] != "dssm"])
every_causal_head_that_knows_order = heads(
    [setting for setting in OF_ITEMS if setting["name"] != "dssm" and causal(setting)]
)


class OfOneUser(nn.Module):
    """A head with a table of users, called as the others are: all histories are user 3's."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, items: Tensor, mask: Tensor) -> Tensor:
        vectors: Tensor = self.head(items, mask, torch.full((len(items),), 3))
        return vectors


def build(setting: dict[str, Any]) -> nn.Module:
    supplied = (DIM, LONGEST, NUM_USERS) if by_user(setting) else (DIM, LONGEST)
    head: nn.Module = components.create("heads", components.resolve("heads", setting), *supplied)
    return OfOneUser(head) if by_user(setting) else head


def make(setting: dict[str, Any]) -> nn.Module:
    torch.manual_seed(0)
    head = build(setting)
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


@every_causal_head
def test_a_later_item_does_not_change_an_earlier_user_vector(setting):
    head = make(setting)
    items, mask = histories(8, 5)
    for changed in range(8):
        other = items.clone()
        other[:, changed] = torch.randn(2, DIM) * 10
        before, after = head(items, mask), head(other, mask)
        assert torch.equal(before[:, :changed], after[:, :changed])
        itself = not torch.allclose(before[0, changed], after[0, changed])
        assert itself is not by_user(setting), "but it changes its own, where items matter at all"


@every_bidirectional_head
def test_a_place_asked_for_sees_all_items_but_its_own(setting):
    head = make(setting)
    items, mask = histories(8)
    asked = torch.zeros_like(mask)
    asked[:, [3, 7]] = True
    before = head(head.cloze.hide(items, asked), mask)
    for changed in range(8):
        other = items.clone()
        other[:, changed] = torch.randn(DIM) * 10
        moved = (head(head.cloze.hide(other, asked), mask) - before).abs().amax(dim=-1)[0] > 1e-4
        assert moved[[3, 7]].tolist() == [not asked[0, changed]] * 2


@every_head_of_items
def test_every_item_of_the_history_changes_the_last_user_vector(setting):
    head = make(setting)
    items, mask = histories(LONGEST)
    for changed in range(LONGEST):
        other = items.clone()
        other[:, changed] = torch.randn(DIM) * 10
        assert (head(items, mask)[:, -1] - head(other, mask)[:, -1]).abs().max() > 1e-4


@every_head_that_knows_order
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
    assert by_user(setting) or torch.isfinite(items.grad).all()
    learned = [parameter for name, parameter in head.named_parameters() if name != "cloze.vector"]
    assert all(torch.isfinite(parameter.grad).all() for parameter in learned)
    # An empty history is scored with the vector after one padding: it must be the same in every batch.
    head.eval()
    empty = torch.zeros(1, 1, DIM), torch.zeros(1, 1, dtype=torch.bool)
    torch.testing.assert_close(head(*empty)[0, -1], head(items, mask)[1, -1])


@every_head
def test_evaluation_is_deterministic_and_training_drops_out_where_there_is_a_rate(setting):
    head = make(setting)
    items, mask = histories(6, 4)
    evaluated = head(items, mask)
    assert torch.equal(head(items, mask), evaluated)
    head.train()
    if components.resolve("heads", setting)["dropout"]:
        assert not torch.equal(head(items, mask), head(items, mask))
    else:
        assert setting["name"] in WITHOUT_DROPOUT, "a head drops out unless its paper has no dropout"
        assert torch.equal(head(items, mask), evaluated)


@every_head
def test_every_parameter_and_every_item_gets_a_gradient(setting):
    head = make(setting).train()
    items, mask = histories(LONGEST, 4)
    items.requires_grad_()
    asked = torch.zeros_like(mask)
    if bidirectional(setting):
        asked[:, -1] = True
        users = head(head.cloze.hide(items, asked), mask)
    else:
        users = head(items, mask)
    (users * torch.randn_like(users))[mask].sum().backward()
    silent = [name for name, each in head.named_parameters() if each.grad is None or not each.grad.any()]
    assert silent == []
    if not by_user(setting):
        assert (items.grad.abs().sum(dim=-1) > 0).equal(mask & ~asked)


@every_head
def test_a_head_is_saved_and_restored_by_its_state(setting):
    head = make(setting)
    torch.manual_seed(9)
    other = build(setting).eval()
    items, mask = histories(7)
    assert not torch.allclose(other(items, mask), head(items, mask))
    other.load_state_dict(head.state_dict())
    assert torch.equal(other(items, mask), head(items, mask))


@every_head
def test_padded_positions_get_zeros(setting):
    items, mask = histories(3, 8)
    users = make(setting)(items, mask)
    assert (users[0, :5] == 0).all()
    assert (users[0, 5:].abs().sum(dim=1) > 0).all()


@pytest.mark.slow
@every_causal_head
def test_a_head_learns_which_group_of_items_its_user_stays_with(setting):
    """Planted: four groups of five items; each user meets items of one group alone."""
    generator = torch.Generator().manual_seed(0)
    group = torch.arange(32) % 4
    item = group[:, None] * 5 + torch.randint(5, (32, LONGEST + 1), generator=generator)
    torch.manual_seed(0)
    head, table = build(setting).train(), nn.Parameter(torch.randn(20, DIM) * 0.1)
    if by_user(setting):
        head, index = head.head, (torch.arange(32) % (NUM_USERS - 1) + 1,)
        assert torch.equal((index[0] - 1) % 4, group)
    else:
        index = ()
    optimizer = torch.optim.Adam([*head.parameters(), table], lr=0.02)
    for _ in range(60):
        users = head(table[item[:, :-1]], torch.ones(32, LONGEST, dtype=torch.bool), *index)
        loss = F.cross_entropy((users @ table.T).flatten(0, 1), item[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    users = head.eval()(table[item[:, :-1]], torch.ones(32, LONGEST, dtype=torch.bool), *index)
    mass = (users @ table.T).softmax(dim=-1).view(32, LONGEST, 4, 5).sum(dim=-1)
    assert mass[torch.arange(32), :, group].mean() > 0.9, "0.25 is chance"


@pytest.mark.slow
@every_causal_head_that_knows_order
def test_a_head_that_knows_order_learns_what_follows_what(setting):
    """Planted: item i is followed by item i + 1, whatever came before."""
    start = torch.arange(12)
    item = (start[:, None] + torch.arange(LONGEST + 1)) % 12
    torch.manual_seed(0)
    head, table = build(setting).train(), nn.Parameter(torch.randn(12, DIM) * 0.1)
    optimizer = torch.optim.Adam([*head.parameters(), table], lr=0.02)
    for _ in range(60):
        users = head(table[item[:, :-1]], torch.ones(12, LONGEST, dtype=torch.bool))
        loss = F.cross_entropy((users @ table.T).flatten(0, 1), item[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    users = head.eval()(table[item[:, :-1]], torch.ones(12, LONGEST, dtype=torch.bool))
    found = (users @ table.T).argmax(dim=-1)
    assert (found == item[:, 1:]).double().mean() > 0.9, "1/12 is chance"


# SASRec

TORCHS = {
    "self_attn.in_proj_": "query_key_value.",
    "self_attn.out_proj.": "attention_output.",
    "linear1.": "inner.",
    "linear2.": "outer.",
    "norm1.": "attention_norm.",
    "norm2.": "feed_forward_norm.",
}
"""How a layer of torch and a block call the same weights."""
WEIGHT_BIAS = ("weight", "bias")


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
        layer.load_state_dict(
            {theirs + each: block.state_dict()[ours + each] for theirs, ours in TORCHS.items() for each in WEIGHT_BIAS}
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


def test_sasrec_begins_with_xavier_normal_weights_and_zero_biases():
    torch.manual_seed(0)
    head = SASRec(64, 50)
    for module in head.modules():
        if isinstance(module, nn.Linear):
            assert (module.bias == 0).all()
            expected = (2 / (module.in_features + module.out_features)) ** 0.5
            assert module.weight.std().item() == pytest.approx(expected, rel=0.05)
    assert head.position.weight.std().item() == pytest.approx((2 / (64 + 50)) ** 0.5, rel=0.05)


# TransRec


def test_transrec_is_torchs_own_encoder_over_items_plus_positions_and_sees_both_ways():
    head = make({"name": "transrec", "num_layers": 2})
    items, mask = histories(6, 4)
    hidden = head.input_norm(items + head.position.weight[LONGEST - 6 :])
    for block in head.blocks:
        layer = nn.TransformerEncoderLayer(DIM, 4, DIM // 2, activation="gelu", batch_first=True).eval()
        layer.load_state_dict(
            {theirs + each: block.state_dict()[ours + each] for theirs, ours in TORCHS.items() for each in WEIGHT_BIAS}
        )
        hidden = layer(hidden, src_key_padding_mask=~mask)
    torch.testing.assert_close(head(items, mask)[mask], hidden[mask], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "option", "came", "message"),
    [
        ("transrec", "inner_dim", 0, "inner_dim must be at least 1, came 0"),
        ("transrec", "future", 0, "future must be at least 1, came 0"),
        ("transrec", "num_layers", -1, "num_layers must be at least 0, came -1"),
        ("transrec", "num_heads", 3, "num_heads=3 does not divide embedding_dim=16"),
        ("cpc", "future", 0, "future must be at least 1, came 0"),
    ],
)
def test_options_of_heads_with_futures_that_make_no_sense_are_refused(name, option, came, message):
    with pytest.raises(ConfigError, match=f"head '{name}': {message}"):
        build({"name": name, option: came})


# eSASRec


def test_esasrec_is_torchs_own_attention_and_a_swiglu_network_behind_gates():
    head = make({"name": "esasrec"})
    items, mask = histories(6)
    hidden = items + head.position.weight[LONGEST - 6 :]
    for layer in head.layers:
        attention = nn.MultiheadAttention(DIM, 2, batch_first=True)
        state = layer.state_dict()
        names = {"in_proj_": "query_key_value.", "out_proj.": "attention_output."}
        attention.load_state_dict(
            {theirs + each: state[ours + each] for theirs, ours in names.items() for each in ("weight", "bias")}
        )
        inside = layer.attention_norm(hidden)
        causal = nn.Transformer.generate_square_subsequent_mask(6)
        mixed, _ = attention(inside, inside, inside, attn_mask=causal, is_causal=True, need_weights=False)
        hidden = hidden + torch.sigmoid(layer.attention_gate(hidden)) * mixed
        inside = layer.feed_forward_norm(hidden)
        switch = inside @ state["switch.weight"].T
        fed = (switch * torch.sigmoid(switch) * (inside @ state["inner.weight"].T)) @ state["outer.weight"].T
        hidden = hidden + torch.sigmoid(layer.feed_forward_gate(hidden)) * fed
    torch.testing.assert_close(head(items, mask), hidden, atol=1e-5, rtol=1e-5)


def test_closed_gates_let_items_and_positions_pass_as_they_are():
    head = ESASRec(DIM, LONGEST).eval()
    for layer in head.layers:
        for gate in (layer.attention_gate, layer.feed_forward_gate):
            nn.init.zeros_(gate.weight)
            nn.init.constant_(gate.bias, -1e4)
    items, mask = histories(4)
    assert torch.equal(head(items, mask), items + head.position.weight[LONGEST - 4 :])


# GRU4Rec


def test_gru4rec_is_torchs_own_network_over_the_real_items_alone():
    head = make({"name": "gru4rec", "num_layers": 2, "hidden_dim": 24})
    items, mask = histories(7, 3)
    states, _ = head.recurrent(items[1:, 4:])
    torch.testing.assert_close(head(items, mask)[1:, 4:], head.output(states))


@pytest.mark.parametrize("option", ["num_layers", "hidden_dim"])
def test_a_recurrent_network_of_nothing_is_refused(option):
    with pytest.raises(ConfigError, match=f"head 'gru4rec': {option} must be at least 1, came 0"):
        build({"name": "gru4rec", option: 0})


# NextItNet


def convolved(convolution: nn.Conv1d, inside: Tensor) -> Tensor:
    """A causal convolution spelt out: places d apart, the last of them the present one; nothing before the first."""
    size, step = convolution.kernel_size[0], convolution.dilation[0]
    rows = []
    for position in range(inside.shape[1]):
        total = convolution.bias
        for tap in range(size):
            place = position - (size - 1 - tap) * step
            if place >= 0:
                total = total + inside[:, place] @ convolution.weight[:, :, tap].T
        rows.append(total.expand(len(inside), -1))
    return torch.stack(rows, dim=1)


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_nextitnets_blocks_are_two_dilated_convolutions_beside_a_skip(norm):
    head = make({"name": "nextitnet", "num_layers": 3, "dilations": [1, 3], "norm": norm, "gate": norm == "pre"})
    assert [(block.first.dilation[0], block.second.dilation[0]) for block in head.blocks] == [(1, 2), (3, 6), (1, 2)]
    items, mask = histories(8)
    hidden = items
    for block in head.blocks:
        inside = hidden
        for convolution, normed in ((block.first, block.first_norm), (block.second, block.second_norm)):
            if norm == "post":
                inside = normed(convolved(convolution, inside)).relu()
            else:
                inside = convolved(convolution, normed(inside).relu())
        hidden = hidden + (inside if norm == "post" else block.gate * inside)
    torch.testing.assert_close(head(items, mask), hidden, atol=1e-5, rtol=1e-5)


def test_nextitnet_reaches_as_far_as_its_dilations_add_up_to():
    """Each block reads (k - 1)(d + 2d) places further back: 2 * 3 * (1 + 2) = 18 for dilations 1 and 2."""
    torch.manual_seed(0)
    head = NextItNet(DIM, 30, num_layers=2, dilations=(1, 2)).eval()
    items, mask = histories(30)
    items.requires_grad_()
    (gradient,) = torch.autograd.grad(head(items, mask)[0, -1].square().sum(), items)
    reached = gradient[0].abs().sum(dim=-1) > 0
    assert reached.nonzero()[0].item() == 30 - 1 - 18
    assert reached[-19:].all()


def test_patches_of_a_block_take_what_a_convolution_gave_and_what_entered_it():
    head = make({"name": "nextitnet", "num_layers": 1})
    items, mask = histories(6)
    before, seen = head(items, mask), []

    class Patch(nn.Module):
        def forward(self, given: Tensor, entered: Tensor) -> Tensor:
            seen.append((given, entered))
            return given + self.shift * entered

    block = head.blocks[0]
    for name in ("first_patch", "second_patch"):
        patch = Patch()
        patch.shift = 0.0
        setattr(block, name, patch)
        assert torch.equal(head(items, mask), before), "one that changes nothing"
        given, entered = seen[-1]
        assert torch.equal(entered, items if name == "first_patch" else block.first_norm(seen[0][0]).relu())
        convolution = block.first if name == "first_patch" else block.second
        torch.testing.assert_close(given, convolved(convolution, entered), atol=1e-5, rtol=1e-5)
        patch.shift = 0.5
        assert (head(items, mask) - before).abs().max() > 1e-3
        patch.shift = 0.0


def test_gated_blocks_begin_as_nothing_and_learn():
    torch.manual_seed(0)
    head = NextItNet(DIM, LONGEST, num_layers=2, gate=True)
    items, mask = histories(4)
    assert torch.equal(head(items, mask), items)
    (head(items, mask) * torch.randn_like(items)).sum().backward()
    assert all(block.gate.grad.abs().item() > 0 for block in head.blocks)


@pytest.mark.parametrize(
    ("option", "came", "message"),
    [
        ("num_layers", -1, "num_layers must be at least 0, came -1"),
        ("kernel_size", 1, "kernel_size must be at least 2, came 1"),
        ("dilations", [1, 0], r"dilations must be numbers from 1 on, came \[1, 0\]"),
        ("dilations", [], r"dilations must be numbers from 1 on, came \[\]"),
        ("dropout", 1.0, "dropout must be at least 0 and below 1, came 1.0"),
    ],
)
def test_convolutions_that_make_no_sense_are_refused(option, came, message):
    with pytest.raises(ConfigError, match=f"head 'nextitnet': {message}"):
        build({"name": "nextitnet", option: came})


# DSSM


def test_dssm_without_layers_is_the_running_mean_of_the_real_items():
    items, mask = histories(5, 3)
    users = Dssm(DIM, LONGEST, num_layers=0).eval()(items, mask)
    for row, padding in ((0, 0), (1, 2)):
        for position in range(padding, 5):
            torch.testing.assert_close(users[row, position], items[row, padding : position + 1].mean(dim=0))


def test_dssm_puts_its_layers_on_the_mean_and_does_not_see_the_order():
    head = make({"name": "dssm", "num_layers": 1, "hidden_dim": 24})
    items, mask = histories(6)
    first, last = (layer for layer in head.layers if isinstance(layer, nn.Linear))
    assert (first.in_features, first.out_features, last.in_features, last.out_features) == (DIM, 24, 24, DIM)
    torch.testing.assert_close(head(items, mask)[0, -1], last(first(items[0].mean(dim=0)).relu()))
    torch.testing.assert_close(head(items.flip(1), mask)[:, -1], head(items, mask)[:, -1])


def test_dssm_id_gives_each_user_one_vector_whatever_the_history():
    torch.manual_seed(0)
    head = DssmId(DIM, LONGEST, NUM_USERS).eval()
    items, mask = histories(6, 2, 4)
    vectors = head(items, mask, torch.tensor([5, 1, 5]))
    assert torch.equal(vectors, head(items.flip(1) * 7, mask, torch.tensor([5, 1, 5])))
    for row, user in ((0, 5), (1, 1), (2, 5)):
        assert torch.equal(vectors[row], head.users.weight[user] * mask[row, :, None])
    assert not torch.equal(vectors[0, -1], vectors[1, -1])
    nothing = head(items * 0, mask & False, torch.tensor([5, 1, 5]))
    assert torch.equal(nothing[:, -1], vectors[:, -1]) and not nothing[:, :-1].any()


def test_dssm_id_refuses_people_who_are_not_in_its_training_log():
    head = DssmId(DIM, LONGEST, NUM_USERS)
    items, mask = histories(3, 3, 3)
    with pytest.raises(DataError, match="2 of 3 histories are of users that dssm_id does not know: it knows only"):
        head(items, mask, torch.tensor([0, 2, 0]))
    nobody = head(items[:1] * 0, mask[:1] & False, torch.tensor([0]))
    assert not nobody.any(), "a process without a share of a batch trains on one row of padding"


@pytest.mark.parametrize("name", ["dssm", "dssm_id"])
def test_sizes_of_the_layers_that_make_no_sense_are_refused(name):
    for option, came in (("num_layers", -1), ("hidden_dim", 0)):
        with pytest.raises(ConfigError, match=f"head '{name}': {option} must be at least .*, came {came}"):
            build({"name": name, option: came})
