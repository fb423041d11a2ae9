"""From text to vector: what is pooled, and that a text's vector is its own affair, whatever stands beside it."""

import json
import re
import shutil
from itertools import pairwise

import numpy as np
import pytest
import tiny_models
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import loaded

from llmrec import features, loading
from llmrec.errors import DataError
from llmrec.features import encode, pool
from llmrec.tokens import BATCH_TOKENS, batches_by_length

KINDS = list(tiny_models.ARCHITECTURES)
POOLINGS = ["mean", "last", "cls"]
SHORT = "Toy Story (1995)"
LONG = " ".join(f"{number} Heat" for number in range(60))
every_kind = pytest.mark.parametrize("kind", KINDS)


def vectors(kind: str, texts: list[str], pooling: features.Pooling = "mean", precision: loading.Precision = "fp32"):
    return encode(texts, loaded(kind, precision), pooling, 150)[0]


def hidden(kind: str, text: str) -> torch.Tensor:
    """Last hidden states of a text alone, straight from transformers."""
    model = loaded(kind)
    return model.model(**model.tokenizer(text, return_tensors="pt")).last_hidden_state[0]


# Batch mates


@every_kind
@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_texts_vector_does_not_depend_on_the_text_beside_it(kind, pooling):
    """E3: same text alone and beside a long one."""
    alone, beside = vectors(kind, [SHORT], pooling), vectors(kind, [SHORT, LONG], pooling)
    torch.testing.assert_close(beside[:1], alone, atol=1e-5, rtol=0)
    torch.testing.assert_close(beside[1:], vectors(kind, [LONG], pooling), atol=1e-5, rtol=0)
    if pooling != "cls":
        assert (beside[0] - beside[1]).abs().max() > 0.01, "two texts have two vectors"


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("kind", ["opt", "opt-350m"])
def test_opt_gives_finite_vectors_for_texts_of_unequal_length(kind, precision):
    """E1: ["Who are you?", "Joe Biden is the president of"]."""
    texts = ["Who are you?", "Joe Biden is the president of"]
    together = vectors(kind, texts, precision=precision)
    assert torch.isfinite(together).all()
    assert (together[0] - together[1]).abs().max() > 0.01


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_llama_gives_finite_vectors_for_texts_of_3_and_128_tokens(precision):
    """E2: texts of 3 and 128 tokens."""
    texts = ["Who are you", " ".join(str(number) for number in range(128))]
    lengths = [len(ids) for ids in loaded("llama").tokenizer(texts)["input_ids"]]
    assert lengths == [3, 128]
    together = vectors("llama", texts, precision=precision)
    assert torch.isfinite(together).all()
    if precision == "fp32":
        torch.testing.assert_close(together[:1], vectors("llama", texts[:1]), atol=1e-5, rtol=0)


def test_a_model_without_a_padding_token_encodes_a_batch_and_keeps_its_weights():
    """E5: gpt2 batch of 2."""
    model = loaded("gpt2")
    assert model.tokenizer.pad_token == model.tokenizer.eos_token == "</s>"
    assert model.model.get_input_embeddings().num_embeddings == tiny_models.VOCABULARY, "no row was added"
    both = vectors("gpt2", [SHORT, LONG])
    torch.testing.assert_close(both[0], hidden("gpt2", SHORT).mean(dim=0), atol=1e-5, rtol=0)


def test_opt_puts_a_bos_before_every_text_which_is_not_pooled_and_makes_no_text_of_nothing():
    """E6: empty string -> 1 token."""
    model = loaded("opt")
    assert model.tokenizer("")["input_ids"] == [model.tokenizer.bos_token_id]
    torch.testing.assert_close(vectors("opt", [SHORT])[0], hidden("opt", SHORT)[1:].mean(dim=0), atol=1e-5, rtol=0)
    with pytest.raises(DataError, match="reads no token in ''"):
        vectors("opt", [SHORT, ""])


@pytest.mark.slow
def test_bf16_vectors_hardly_depend_on_their_31_batch_mates():
    """E7: same text in batch of 1 and 32, bf16."""
    mates = [f"Film {number} ({number}) Heat " * (1 + number % 5) for number in range(31)]
    for kind in KINDS:
        alone = vectors(kind, [SHORT], precision="bf16")[0]
        among = vectors(kind, [SHORT, *mates], precision="bf16")[0]
        assert (alone - among).norm() / alone.norm() < 0.02, "bf16 holds about three digits"


def test_the_odd_one_among_opts_is_read_as_transformers_reads_it():
    """E18: tiny OPTConfig(do_layer_norm_before=False, word_embed_proj_dim≠hidden_size)."""
    model = loaded("opt-350m").model
    assert not model.config.do_layer_norm_before
    assert model.config.word_embed_proj_dim == 8 != model.config.hidden_size == 16
    found = vectors("opt-350m", [SHORT, LONG])
    assert found.shape == (2, 8), "the width of the output is that of the embeddings"
    torch.testing.assert_close(found[0], hidden("opt-350m", SHORT)[1:].mean(dim=0), atol=1e-5, rtol=0)


@every_kind
def test_bf16_is_close_to_fp32(kind):
    texts = [SHORT, LONG, "Alien"]
    exact, short = vectors(kind, texts), vectors(kind, texts, precision="bf16")
    assert short.dtype == torch.float32, "pooled in fp32"
    assert loaded(kind, "bf16").model.dtype == torch.bfloat16
    assert torch.nn.functional.cosine_similarity(exact, short).min() > 0.99


# Pooling


def test_pooling_of_numbers_one_can_add_up():
    states = torch.tensor([[[1.0], [2.0], [4.0], [8.0]], [[16.0], [32.0], [64.0], [128.0]]])
    own = torch.tensor([[False, True, True, False], [False, True, False, False]])
    assert pool(states, own, "mean")[:, 0].tolist() == [(2 + 4) / 2, 32]
    assert pool(states, own, "last")[:, 0].tolist() == [4, 32]
    assert pool(states, own, "cls")[:, 0].tolist() == [1, 16]


@pytest.mark.parametrize(("pooling", "expected"), [("mean", slice(1, -1)), ("last", slice(-2, -1)), ("cls", slice(1))])
def test_of_bert_the_words_are_pooled_without_cls_sep_and_padding(pooling, expected):
    states = hidden("bert", SHORT)
    assert len(states) == 7, "[CLS] Toy Story ( 1995 ) [SEP], 1995 being unknown"
    found = vectors("bert", [SHORT, LONG], pooling)[0]
    torch.testing.assert_close(found, states[expected].mean(dim=0), atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_of_a_model_without_special_tokens_every_token_is_the_texts_own(kind):
    states = hidden(kind, SHORT)
    assert len(states) == 5
    torch.testing.assert_close(vectors(kind, [SHORT, LONG])[0], states.mean(dim=0), atol=1e-5, rtol=0)
    torch.testing.assert_close(vectors(kind, [SHORT, LONG], "last")[0], states[-1], atol=1e-5, rtol=0)


# Order, batches, limits


@pytest.mark.slow
@every_kind
def test_vectors_come_in_the_order_of_the_texts(kind):
    texts = ["Heat", LONG, "Alien Aliens", SHORT, "Seven Samurai (12), Drama War", "Film"]
    together = vectors(kind, texts)
    for row, text in enumerate(texts):
        torch.testing.assert_close(together[row], vectors(kind, [text])[0], atol=1e-5, rtol=0)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, BATCH_TOKENS + 50), min_size=1, max_size=40))
def test_every_row_is_in_one_batch_and_batches_hold_texts_of_like_length(lengths):
    batches = list(batches_by_length(np.array(lengths)))
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    sizes = [[lengths[row] for row in batch] for batch in batches]
    assert all(len(each) == 1 or max(each) * len(each) <= BATCH_TOKENS for each in sizes), "padded tokens"
    assert all(min(before) >= max(after) for before, after in pairwise(sizes)), "the longest first"
    full = [(len(each) + 1) * max(each) > BATCH_TOKENS for each in sizes[:-1]]
    assert all(full), "no batch is smaller than it must be"


def test_texts_that_are_cut_are_told_from_those_that_just_fit():
    model = loaded("gpt2")
    five, six = "Alien 1 2 3 4", "Alien 1 2 3 4 5"
    made, cut = encode([six, five, "Heat"], model, "last", 5)
    assert cut.tolist() == [True, False, False]
    torch.testing.assert_close(made[0], made[1]), "what is cut is the end"
    # BERT's own two tokens count, and [SEP] stays at the end of a text that is cut.
    made, cut = encode([six, "Alien 1 2"], loaded("bert"), "mean", 5)
    assert cut.tolist() == [True, False]
    torch.testing.assert_close(made[0], made[1])


def test_a_vector_that_is_not_finite_is_refused_and_names_the_text(tmp_path):
    model = loading.load(loading.find(str(tiny_models.copy("llama", tmp_path / "broken"))), "fp32")
    word = model.tokenizer.convert_tokens_to_ids("Samurai")
    with torch.no_grad():
        model.model.get_input_embeddings().weight[word] = torch.inf
    texts = ["Alien", LONG, "Seven Samurai", "Heat"]
    with pytest.raises(
        DataError, match=r"broken gives a vector that is not finite for 'Seven Samurai'; try features.pre"
    ):
        encode(texts, model, "mean", 150)
    assert torch.isfinite(encode(texts[:2], model, "mean", 150)[0]).all()


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_a_text_without_a_token_is_refused_and_named(kind):
    with pytest.raises(DataError, match="reads no token in '   '"):
        encode(["Heat", "   "], loaded(kind), "last", 150)


@pytest.mark.parametrize("text", ["", "   ", "\u200b", "\x00", "\ufffd"])
def test_a_text_that_its_tokenizer_leaves_nothing_of_is_refused_and_named(tmp_path, text):
    """BERT drops what nobody sees; all such texts would have the vector of [CLS][SEP]."""
    folder = tiny_models.copy("bert", tmp_path / "bert")
    (folder / "tokenizer.json").unlink()
    words = ["<pad>", "</s>", "[UNK]", "[CLS]", "[SEP]", "heat"]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    kind = {"tokenizer_class": "BertTokenizer", "pad_token": "<pad>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(kind), encoding="utf-8")
    model = loading.load(loading.find(str(folder)), "fp32")
    with pytest.raises(DataError, match=re.escape(f"reads no token in {text!r} (marks of the ends not counted")):
        encode(["heat", text], model, "mean", 150)
    with pytest.raises(DataError, match=r"reads no token in 'heat' .* features.max_tokens=2\)"):
        encode(["heat"], model, "mean", 2)


def test_more_tokens_than_the_model_has_positions_are_refused_with_the_limit():
    longer = " ".join(["Heat"] * 170)
    with pytest.raises(DataError, match=r"reads at most 160 tokens; set features.max_tokens=160"):
        encode([longer], loaded("bert"), "mean", 200)
    made, cut = encode([longer], loaded("bert"), "mean", 160)
    assert torch.isfinite(made).all()
    assert cut.tolist() == [True]


def test_a_model_whose_positions_begin_behind_the_padding_reads_fewer_tokens():
    """RoBERTa's 514 positions hold 512 tokens."""
    longer = " ".join(["Heat"] * 170)
    with pytest.raises(DataError, match=r"reads at most 159 tokens; set features.max_tokens=159"):
        encode([longer], loaded("roberta"), "mean", 160)
    assert torch.isfinite(encode([longer], loaded("roberta"), "mean", 159)[0]).all()


def test_the_tokenizer_pads_right_whatever_its_files_say(tmp_path):
    folder = tiny_models.copy("gpt2", tmp_path / "left")
    path = folder / "tokenizer_config.json"
    path.write_text(path.read_text(encoding="utf-8").replace("{", '{"padding_side": "left",', 1), encoding="utf-8")
    model = loading.load(loading.find(str(folder)), "fp32")
    assert model.tokenizer.padding_side == "right"
    torch.testing.assert_close(encode([SHORT, LONG], model, "mean", 150)[0], vectors("gpt2", [SHORT, LONG]))
    shutil.rmtree(folder)
