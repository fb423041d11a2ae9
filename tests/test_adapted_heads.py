"""Adapters in the head's blocks, and runs with adapters of both kinds: a loaded run answers as the trained one did."""

import inspect
import shutil
from pathlib import Path

import polars as pl
import pytest
import tiny_models
import torch
from safetensors.torch import load_file, save_file
from small_runs import arguments, metrics
from test_adapters import tuning
from torch import nn

from llmrec import components, train
from llmrec.errors import ConfigError, RunError
from llmrec.heads._attention import TransformerBlock
from llmrec.recommender import Recommender

OF_HEADS = ["compacter", "houlsby", "parallel", "pfeiffer"]
ITEMS = torch.randn(2, 6, 16, generator=torch.Generator().manual_seed(0))
MASK = torch.tensor([[False, False, True, True, True, True], [True] * 6])


def head(name: str, **options) -> nn.Module:
    torch.manual_seed(0)
    table = (5,) if "num_users" in inspect.signature(components.load("heads", name)).parameters else ()
    return components.create("heads", components.resolve("heads", {"name": name, **options}), 16, 10, *table).eval()


@pytest.mark.parametrize("name", OF_HEADS)
@pytest.mark.parametrize("kind", ["bert4rec", "grec", "nextitnet", "sasrec", "transrec"])
def test_adapters_of_a_head_change_nothing_until_they_learn(kind, name):
    plain, adapted = head(kind), head(kind)
    tuning(name).adapt_head(adapted)
    own = {key for key, _ in plain.named_parameters()}
    adapters = {key: weight for key, weight in adapted.named_parameters() if key not in own}
    assert torch.equal(adapted(ITEMS, MASK), plain(ITEMS, MASK))
    blocks = len(plain.blocks)
    assert sum(key.endswith("up.bias") for key in adapters) == blocks * (1 if name == "pfeiffer" else 2)
    for weight in adapters.values():
        nn.init.normal_(weight)
    assert not torch.allclose(adapted(ITEMS, MASK), plain(ITEMS, MASK), atol=0.01)


@pytest.mark.parametrize("norm", ["post", "pre"])
@pytest.mark.parametrize("name", ["houlsby", "parallel"])
def test_a_block_of_a_head_adds_its_adapters_before_the_skip(name, norm):
    """The feed-forward network's adapter; that of the attention is as at the start."""
    torch.manual_seed(0)
    block = TransformerBlock(16, 2, 0.0, norm, "relu")
    holder = nn.Sequential(block)
    visible = torch.ones(2, 1, 6, 6, dtype=torch.bool)
    tuning(name).adapt_head(holder)
    adapter = block.feed_forward_adapter
    nn.init.normal_(adapter.up.weight)
    kept = {}
    block.outer.register_forward_hook(lambda module, given, output: kept.update(gave=output))
    block.inner.register_forward_hook(lambda module, given, output: kept.update(entered=given[0]))
    block.feed_forward_norm.register_forward_pre_hook(lambda module, given: kept.update(sum=given[0]))
    given = block(ITEMS, visible)
    read = kept["gave"] if name == "houlsby" else kept["entered"]
    added = kept["gave"] + torch.relu(read @ adapter.down.weight.T) @ adapter.up.weight.T
    if norm == "post":
        torch.testing.assert_close(kept["sum"], kept["entered"] + added)
    else:  # the norm's input is the skip
        torch.testing.assert_close(given, kept["sum"] + added)


@pytest.mark.parametrize("kind", components.names("heads"))
def test_a_head_is_adapted_or_refused_and_the_message_names_those_that_can_be(kind):
    plain = head(kind)
    try:
        tuning("houlsby").adapt_head(plain)
        able = True
    except ConfigError as error:
        able = False
        assert f"tuning.head_bottleneck=4: {type(plain).__name__} has no block that takes adapters" in str(error)
        assert "tuning.head_bottleneck=0 leaves the head as it is" in str(error)
        assert "the heads bert4rec, cpc, grec, nextitnet, sasrec and transrec have" in str(error)
    assert able == (kind in ("bert4rec", "cpc", "grec", "nextitnet", "sasrec", "transrec"))
    bare = head(kind)
    tuning("houlsby", head_bottleneck=0).adapt_head(bare)
    assert bare.state_dict().keys() == head(kind).state_dict().keys()


# Runs


QUICK = ["--loss", "in_batch_softmax", "training.epochs=2", "training.warmup_steps=0", "training.learning_rate=0.01"]
FILE = "model.safetensors"
HISTORIES = [["i3", "i4", "i5"], ["i20"]]


@pytest.fixture(scope="module")
def run(toy_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapted") / "run"
    words = ["--model", str(tiny_models.folder("bert")), "--tuning", "houlsby", "tuning.learning_rate=0.01", *QUICK]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMREC_CACHE", str(folder.parent / "cache"))
        assert train.main(arguments(toy_folder, folder, *words)) == 0
    return folder


@pytest.mark.slow
def test_a_run_saved_and_loaded_recommends_with_its_adapters(run, monkeypatch):
    """E16: the answers of the loaded run are those of the trained one, and those without either kind of adapter not."""
    monkeypatch.setenv("LLMREC_CACHE", str(run.parent / "cache"))
    model = Recommender.load(run, to_train=True)
    saved, answers = model.item_embeddings(), model.recommend(HISTORIES)
    assert torch.equal(model.encoder(), saved), "the weights make the vectors that the run was measured with"
    assert answers.equals(Recommender.load(run).recommend(HISTORIES))
    for module in (model.encoder.trunk, model.head):
        ups = [each for name, each in module.named_parameters() if ".up." in name]
        kept = [each.detach().clone() for each in ups]
        assert len(ups) == 2 * (4 if module is not model.head else 2)
        for each in ups:
            nn.init.zeros_(each)
        model.train().eval()  # forgets the item vectors
        assert (model.recommend(HISTORIES)["score"] - answers["score"]).abs().max() > 1e-3
        with torch.no_grad():
            for each, value in zip(ups, kept, strict=True):
                each.copy_(value)
    model.train().eval()
    assert model.recommend(HISTORIES).equals(answers)


def test_adapters_that_are_not_among_the_weights_are_named_before_a_new_item_is_read(run, tmp_path, monkeypatch):
    monkeypatch.setenv("LLMREC_CACHE", str(run.parent / "cache"))
    broken = shutil.copytree(run, tmp_path / "run")
    saved = load_file(run / FILE)
    save_file({name.replace("trunk.adapters", "trunk.adapter"): each for name, each in saved.items()}, broken / FILE)
    new = pl.DataFrame({"item_id": ["new"], "title": ["Heat"], "genres": [["War"]]})
    message = r"lacks 16, such as encoder.trunk.adapters.0.attention.down.weight: an adapter that was not loaded"
    with pytest.raises(RunError, match=message):
        Recommender.load(broken).add_items(new)
    loaded = Recommender.load(run)
    loaded.add_items(new)
    assert loaded.item_ids[-1] == "new" and len(loaded.item_embeddings()) == len(loaded.item_ids) == 32


def test_the_reported_number_of_weights_that_learn_is_that_of_adapters_projection_and_head(run):
    """Tiny BERT of 2 blocks, width 16; projection 16 -> 128 -> 8; SASRec of one block, width 8, 10 places."""
    of_model = 2 * 2 * (2 * 16 * 64 + 64 + 16)
    of_head = 2 * (2 * 8 * 16 + 16 + 8)
    projection = 16 * 128 + 128 + 128 * 8 + 8
    sasrec = 10 * 8 + 2 * 8 + (8 * 24 + 24) + (8 * 8 + 8) + (8 * 32 + 32) + (32 * 8 + 8) + 2 * 16
    assert metrics(run)["provenance"]["trainable_parameters"] == of_model + of_head + projection + sasrec


def test_a_head_that_takes_no_adapters_is_refused_before_anything_is_read(tmp_path, capsys):
    words = ["--model", "minilm-l6", "--tuning", "houlsby", "--head", "gru4rec", "--output", str(tmp_path / "run")]
    assert train.main(["--data", "nowhere", *words]) == 2
    assert "GRU4Rec has no block that takes adapters" in " ".join(capsys.readouterr().err.split())
