"""Runs that begin with a decoder alone: it learns whole or by additions, is restored, and is a recommender like T5."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from small_runs import metrics
from small_writers import causal_folder, options, split_of, t5_folder, teacher_forced
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from llmrec import building, loading, preparation, train, training
from llmrec.errors import ConfigError, DataError, RunError
from llmrec.generative import making, origins
from llmrec.generative.causal_writer import CausalWriter
from llmrec.generative.trie import Trie
from llmrec.item_ids import ItemIds
from llmrec.optimizer import parameter_groups
from llmrec.options import LoraOptions, P5Options

pytestmark = pytest.mark.slow
NO_TOKENS = ItemIds(("", "item_1"))
COLLABORATIVE = "item_ids={name: collaborative, clusters: 3, leaf: 4}"
LESS = ["training.epochs=1", "training.batch_size=16", "training.warmup_steps=0", "p5.examples={sequential: 1}"]
LORA = "p5.lora={rank: 2, alpha: 4}"
KINDS = ("llama", "opt", "gpt2")


@pytest.fixture(params=KINDS)
def folder(request, tmp_path) -> Path:
    return causal_folder(tmp_path / "model", request.param)


def trained(model: str | Path, run: Path, data: Path, *more: str) -> int:
    where = ["--data", "toy", "--data-dir", str(data), "--output", str(run), "--model", str(model)]
    return train.main([*where, *LESS, *more])


def built(toy, *overrides: str, model: Path):
    training.seed_step(0, 0, 0)
    return making.build(options("p5.vocabulary=1000", "p5.examples={sequential: 1}", *overrides, model=str(model)), toy)


@torch.no_grad()
def test_a_prompt_is_read_as_the_model_reads_it_with_a_line_between_it_and_its_answer(folder):
    writer, tokenizer = origins.pretrained(str(folder), NO_TOKENS, P5Options())
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    whole = torch.tensor(tokenizer(["So far user_7 has chosen item_1003\nitem_1004"])["input_ids"])
    asked = torch.tensor(tokenizer(["So far user_7 has chosen item_1003"], add_special_tokens=False)["input_ids"])
    name = tokenizer("item_1004", add_special_tokens=False)["input_ids"]
    said = writer.logits(writer.read(asked), writer.mask(asked), torch.tensor([[writer.start, *name]]))
    wanted = model(whole).logits[:, -len(name) - 1 :]
    assert torch.allclose(said[:, :, : wanted.shape[2]], wanted, atol=1e-5)  # GPT-2 got a piece that fills up
    assert said.std() > 0.1
    assert len({writer.end, writer.padding, writer.start}) == 3


@pytest.mark.parametrize("ids", ["item_ids=random", COLLABORATIVE])
def test_scores_are_likelihoods_of_names_and_beams_find_them(ids, folder, toy):
    made, _ = built(split_of(toy), ids, model=folder)
    texts = made.asking.texts(split_of(toy).test.histories.take(torch.arange(3).numpy()))
    found = made.likelihoods(texts)
    assert found.exp().sum(dim=1).tolist() == pytest.approx([1.0] * 3, abs=1e-4)
    for row, text in enumerate(texts):
        for item in (1, 7, 30):
            assert found[row, item - 1].item() == pytest.approx(
                teacher_forced(made, text, made.ids.names[item]), abs=1e-3
            )
    some = [[4, 9, 30], [7], [2, 1]]
    scores = made.score_some(split_of(toy).test.histories.take(np.arange(3)), [np.array(items) for items in some])
    for row, (items, each) in enumerate(zip(some, scores, strict=True)):
        assert each.tolist() == pytest.approx([found[row, item - 1].item() for item in items], abs=1e-4)
    for row, beams in enumerate(made.beams(texts, 30)):
        assert len(beams) == 30
        assert [score for _, score in beams] == pytest.approx(
            [found[row, item - 1].item() for item, _ in beams], abs=1e-3
        )


@torch.no_grad()
def test_of_a_single_name_the_likelihood_is_one_without_a_question(folder, toy):
    made, _ = built(split_of(toy), model=folder)
    alone = Trie.of([tuple(made.tokenizer("item_1")["input_ids"])], made.writer.start, made.writer.end)
    assert made.likelihoods(["So far", "What next?"], alone).tolist() == [[0.0], [0.0]]


@pytest.mark.parametrize("more", [(), (LORA,), (LORA, "p5.precision=bf16")])
def test_a_run_is_restored_with_equal_scores(more, folder, toy, toy_folder, tmp_path):
    run = tmp_path / "run"
    assert trained(folder, run, toy_folder, COLLABORATIVE, *more) == 0
    assert metrics(run)["provenance"]["revision"] == loading.find(str(folder)).revision
    if not more:
        shutil.rmtree(folder)  # it has all weights
    histories = split_of(toy).test.histories
    one, other = building.load(run), building.load(run)
    assert isinstance(one.writer, CausalWriter)
    assert one.score(histories).equal(other.score(histories))
    assert one.recommend([["i3", "i4"]], k=5).height == 5
    saved = load_file(run / "model.safetensors")
    learned = sum(each.numel() for each in saved.values())
    assert (learned < 6000) == bool(more)
    assert {"lora_A" in name or "trainable_tokens" in name for name in saved if "lora_B" not in name} == {bool(more)}


def test_what_learned_loads_in_plain_peft(folder, toy, toy_folder, tmp_path):
    run = tmp_path / "run"
    assert trained(folder, run, toy_folder, COLLABORATIVE, LORA, "training.learning_rate=0.05") == 0
    made = building.load(run)
    base = AutoModelForCausalLM.from_pretrained(folder)
    before = made.tokenizer("So far item_1 <c0>", return_tensors="pt")["input_ids"]
    base.resize_token_embeddings(max(len(made.tokenizer), base.config.vocab_size), mean_resizing=False)
    untouched = base(before).logits
    plain = PeftModel.from_pretrained(base, run / "adapter").eval()
    wanted, found = plain(before).logits.detach(), made.writer.model(before).logits.detach()
    for logits in (wanted, found):
        logits[..., made.writer.padding] = 0.0  # GPT-2 got that piece here, and it is never written
    assert torch.allclose(found, wanted, atol=1e-4)
    assert (found - untouched)[..., : made.writer.padding].abs().max() > 0.1
    told = json.loads((run / "adapter" / "adapter_config.json").read_text(encoding="utf-8"))
    assert told["base_model_name_or_path"] == str(folder)


def test_additions_and_vectors_of_new_pieces_learn_and_nothing_else(folder, toy):
    made, _ = built(split_of(toy), COLLABORATIVE, LORA, "training.learning_rate=0.01", model=folder)
    texts = torch.tensor(made.tokenizer(["So far <c0><i1>"])["input_ids"])
    base = {name: weight.detach().clone() for name, weight in made.writer.model.named_parameters()}
    groups = parameter_groups(made, options("training.learning_rate=0.01").training)
    assert {group["peak"] for group in groups if group["params"]} == {0.01}
    assert sum(len(group["params"]) for group in groups) == len(list(made.parameters()))
    optimizer = torch.optim.AdamW(made.parameters(), lr=0.01)
    for _ in range(2):  # the second factor of an addition begins with zeros
        optimizer.zero_grad()
        made.writer(texts, torch.tensor([[len(made.tokenizer) - 1, 5, made.writer.end]])).sum().backward()
        optimizer.step()
    moved = {name for name, weight in made.writer.model.named_parameters() if not weight.equal(base[name])}
    assert moved == {name for name in base if "lora_" in name or "trainable_tokens" in name}
    assert any("trainable_tokens" in name for name in moved)


@pytest.mark.parametrize("bits", ["8bit", "4bit"])
def test_a_model_of_few_bits_learns_and_is_restored(bits, toy, toy_folder, tmp_path):
    pytest.importorskip("bitsandbytes")
    folder, run = causal_folder(tmp_path / "model", "llama"), tmp_path / "run"
    assert trained(folder, run, toy_folder, "item_ids=random", LORA, f"p5.loading={bits}") == 0
    kinds = {type(module).__name__ for module in building.load(run).writer.model.modules()}
    assert any(bits.removesuffix("bit") in kind for kind in kinds if kind.startswith("Linear")), kinds
    histories = split_of(toy).test.histories
    assert building.load(run).score(histories).equal(building.load(run).score(histories))


def test_a_shape_of_a_decoder_alone_learns_from_nothing(toy, toy_folder, tmp_path):
    assert trained("llama-tiny", tmp_path / "run", toy_folder, "p5.vocabulary=400") == 0
    made = building.load(tmp_path / "run")
    assert isinstance(made.writer, CausalWriter)
    assert made.score(split_of(toy).test.histories).shape[1] == 31


def test_beams_find_names_where_no_piece_of_a_line_is_there(toy):
    """A shape's own vocabulary has no end of a line, so an answer starts with the piece of the end."""
    made, _ = built(split_of(toy), model=Path("llama-tiny"))
    assert made.writer.start == made.writer.end
    (found,) = made.beams(["So far"], 5)
    exact = made.likelihoods(["So far"])[0]
    assert len(found) == 5
    assert [score for _, score in found] == pytest.approx([exact[item - 1].item() for item, _ in found], abs=1e-3)


@torch.no_grad()
def test_a_padding_that_a_model_had_not_is_hardly_ever_said(tmp_path):
    """Of random numbers it might be all that is said: GPT-2's scores lie far below zero."""
    writer, tokenizer = origins.pretrained(str(causal_folder(tmp_path / "model", "gpt2")), NO_TOKENS, P5Options())
    table = writer.model.get_input_embeddings().weight
    assert table[writer.padding].equal(table[: writer.padding].mean(0))
    ids = torch.tensor(tokenizer(["So far user_7 has chosen"])["input_ids"])
    said = writer.logits(writer.read(ids), writer.mask(ids), torch.tensor([[writer.start, 5, 6]])).softmax(2)
    assert said[..., writer.padding].max() <= 1 / len(tokenizer)


@pytest.mark.parametrize("kind", ["t5", "t5-untied"])
@torch.no_grad()
def test_the_decoder_reads_names_by_the_vectors_that_learn(kind, tmp_path):
    ids = ItemIds(("", "<c0>", "<c1>"), ("<c0>", "<c1>"))
    writer, tokenizer = origins.pretrained(str(t5_folder(tmp_path / "model", kind)), ids, P5Options(lora=LoraOptions()))
    new, model = torch.tensor([[len(tokenizer) - 1]]), writer.model
    before = model.decoder.embed_tokens(new).clone()
    for name, weight in writer.named_parameters():
        if "trainable_tokens" in name:
            weight.add_(5)
    for part in (model, model.encoder, model.decoder):
        assert torch.allclose(part.get_input_embeddings()(new), before + 5)


# What is refused


@pytest.mark.parametrize(
    ("kind", "sizes", "why"),
    [
        ("mpt", {"d_model": 16, "n_layers": 1, "n_heads": 2}, "counts places itself"),
        ("mamba", {"hidden_size": 16, "num_hidden_layers": 1, "state_size": 4}, "passes a state"),
        (
            "lfm2",
            {
                **{"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32},
                **{"num_key_value_heads": 1, "layer_types": ["conv", "full_attention"]},
            },
            "passes a state",
        ),
    ],
)
def test_a_model_whose_places_no_mask_keeps_apart_is_refused(kind, sizes, why, tmp_path):
    folder = causal_folder(tmp_path / "model", "gpt2")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    own = AutoConfig.for_model(kind, **sizes, vocab_size=len(tokenizer), eos_token_id=0, bos_token_id=0)
    AutoModelForCausalLM.from_config(own).save_pretrained(folder)
    with pytest.raises(DataError, match=rf"\({kind}\) {why}"):
        origins.pretrained(str(folder), NO_TOKENS, P5Options())


def test_additions_under_other_names_are_refused_and_not_left_out(toy, toy_folder, tmp_path):
    """E16: an adapter whose names fit nothing was left out without a word, and all metrics were 0."""
    folder, run = causal_folder(tmp_path / "model", "llama"), tmp_path / "run"
    assert trained(folder, run, toy_folder, LORA) == 0
    weights = load_file(run / "model.safetensors")
    save_file({name.replace("lora_A", "lora_X"): each for name, each in weights.items()}, run / "model.safetensors")
    with pytest.raises(RunError, match="the weights do not fit"):
        building.load(run)


def test_additions_to_another_model_are_refused(toy, toy_folder, tmp_path):
    folder, run = causal_folder(tmp_path / "model", "llama"), tmp_path / "run"
    assert trained(folder, run, toy_folder, LORA) == 0
    weights = load_file(folder / "model.safetensors")
    save_file({name: each + 1 for name, each in weights.items()}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(RunError, match=r"has additions to revision .*; here is"):
        building.load(run)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["p5.loading=4bit"], r"p5\.loading is for a model that keeps its weights; add p5\.lora=\{\}"),
        (["p5.precision=bf16"], r"p5\.precision is for a model that keeps its weights"),
        ([LORA, "training.embedding_learning_rate=0.1"], r"leave training\.embedding_learning_rate out"),
    ],
)
def test_options_that_would_reach_nothing_are_refused(overrides, message):
    with pytest.raises(ConfigError, match=message):
        options(*overrides)


def test_a_shape_has_no_additions():
    with pytest.raises(ConfigError, match=r"t5-tiny begins with new weights, which have to learn; leave p5\.lora out"):
        preparation.check(options(LORA))


def test_a_prompt_longer_than_the_model_reads_is_refused(toy, toy_folder, tmp_path):
    folder = causal_folder(tmp_path / "model", "opt")
    told = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    made, _ = built(split_of(toy), model=folder)
    made.writer.model.config.max_position_embeddings = 20
    assert told["max_position_embeddings"] == 512
    with pytest.raises(DataError, match="and the model has 20 positions"):
        made.score(split_of(toy).test.histories)
