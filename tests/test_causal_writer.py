"""A decoder alone as a writer: what it says of a name does not depend on what stands beside it."""

from itertools import pairwise

import pytest
import tiny_models
import torch
from torch.nn.functional import pad
from transformers import AutoConfig, AutoModelForCausalLM

from llmrec.errors import DataError
from llmrec.generative.causal_writer import CausalWriter
from llmrec.generative.trie import Trie

KINDS = ("llama", "opt", "gpt2", "qwen3")
START, END, PADDING = 3, 1, 0


@pytest.fixture(params=KINDS)
def writer(request) -> CausalWriter:
    model = AutoModelForCausalLM.from_pretrained(tiny_models.writer(request.param)).eval()
    with torch.no_grad():  # far enough from zero for what it says to differ
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.mul_(4)
    return CausalWriter(model, START, END, PADDING)


def prompts(*rows: list[int]) -> torch.Tensor:
    width = max(map(len, rows))
    return torch.stack([pad(torch.tensor(row), (0, width - len(row)), value=PADDING) for row in rows])


@torch.no_grad()
def test_what_is_said_behind_a_prompt_is_what_the_model_says_of_the_whole_text(writer):
    ids = prompts([5, 6, 7, END], [8, 9, 4, 5, 6, 7, END])
    written = torch.tensor([[START, 5, 6]]).expand(2, -1)
    said = writer.logits(ids, writer.mask(ids), written)
    for row, text in enumerate(([5, 6, 7], [8, 9, 4, 5, 6, 7])):
        alone = writer.model(torch.tensor([[*text, START, 5, 6]])).logits[0, -3:]
        assert torch.allclose(said[row], alone, atol=1e-4)
    assert said.std() > 0.1


@torch.no_grad()
def test_beginnings_in_one_sequence_are_as_each_alone(writer):
    ids = prompts([5, 6, 7, END], [8, 9, 4, 5, 6, 7, END])
    paths = torch.tensor([[START, 5, 6, 7], [START, 9, 8, 7], [START, 5, 9, 9]])
    mask = writer.mask(ids)
    asked = torch.tensor([[True, False, True, True], [True, True, False, False], [False, True, False, True]])
    together, places = writer.beginnings(writer.read(ids), mask, paths, asked)
    assert together.shape[1] == 6  # the first piece is that of all, the second of two
    for row, path in enumerate(paths):
        alone = writer.logits(ids, mask, path.expand(2, -1))
        assert torch.allclose(together[:, places[row, asked[row]]], alone[:, asked[row]], atol=1e-4)


def test_no_more_is_read_than_gpt_neos_windows_show():
    own = AutoConfig.for_model(
        "gpt_neo",
        **{"vocab_size": 40, "hidden_size": 16, "num_layers": 2, "num_heads": 2, "window_size": 4},
        attention_types=[[["global", "local"], 1]],
    )
    writer = CausalWriter(AutoModelForCausalLM.from_config(own), START, END, PADDING)
    with pytest.raises(DataError, match="the model has 4 pieces in the window"):
        writer(prompts([5, 6, 7, END]), prompts([6, END]))


def test_the_loss_is_that_of_the_target_alone(writer):
    ids, targets = prompts([5, 6, 7, END], [8, 9, END]), prompts([6, END], [5, 7, 8, END])
    told = writer(ids, targets)
    for row, (asked, wanted) in enumerate((([5, 6, 7], [6, END]), ([8, 9], [5, 7, 8, END]))):
        text = torch.tensor([[*asked, START, *wanted]])
        said = writer.model(text).logits[0].log_softmax(1)
        total = -sum(said[place - 1, text[0, place]] for place in range(len(asked) + 1, text.shape[1]))
        assert told[row].item() == pytest.approx(total.item() / len(wanted), abs=1e-4)


@torch.no_grad()
def test_a_search_under_a_trie_finds_what_the_likelihoods_say(writer):
    names = [(5, 6), (5, 7), (8,), (9, 4, 5)]
    trie = Trie.of(names, START, END)
    ids = prompts([5, 6, 7, END], [8, 9, 4, 5, 6, 7, END])
    said = writer.beginnings(writer.read(ids), writer.mask(ids), trie.paths, trie.asked(0, len(trie.paths)))
    exact = trie.log_likelihoods(trie.told(*said))
    found = writer.search(
        ids,
        lambda said: trie.allowed(said) or [PADDING],
        num_beams=4,
        num_return_sequences=4,
        do_sample=False,
        max_new_tokens=4,
        length_penalty=0.0,
        early_stopping=False,
        renormalize_logits=True,
        output_scores=True,
    )
    for row in range(2):
        scores = found.sequences_scores.view(2, 4)[row].tolist()
        rows = found.sequences.view(2, 4, -1)[row].tolist()
        assert all(said[0] == START for said in rows)
        items = [names.index(tuple(said[1 : said.index(END)])) for said in rows]
        assert scores == pytest.approx(exact[row, items].tolist(), abs=1e-3)
        assert all(one >= other for one, other in pairwise(scores))
        assert sorted(items) == [0, 1, 2, 3]
