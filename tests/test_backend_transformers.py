"""A language model in this process, against plain full passes of the same model, one text at a time."""

import json
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
import torch
from safetensors.torch import load_file, save_file

from llmrec import loading
from llmrec.backends import Backend, Reply, Request, _continuations
from llmrec.backends._rendering import prompt_of
from llmrec.backends.transformers import Transformers
from llmrec.errors import BackendError, DataError

KINDS = ("opt", "opt-350m", "llama", "qwen3", "gemma3", "gpt2")
ENGLISH = [word for word in tiny_models.WORDS if word.isalpha()]
CHAT = "{% for m in messages %}{{ m.role }} {{ m.content }} , {% endfor %}answer :"
NO_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" + CHAT


def text(length: int, seed: int) -> str:
    return " ".join(np.random.default_rng(seed).choice(ENGLISH, length))


def asked(user: str, *options: str, **more: Any) -> Request:
    return Request("", user, options=options, **more)


def backend(kind: str = "llama", template: str | None = None, **options: Any) -> Transformers:
    return Transformers(str(tiny_models.writer(kind, template)), precision="fp32", **options)


def changed(folder: Path, to: Path, file: str, **entries: object) -> Path:
    """A copy with these entries of one of its files."""
    shutil.copytree(folder, to)
    path = to / file
    old = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    path.write_text(json.dumps(old | entries), encoding="utf-8")
    return to


def answers(of: Transformers, requests: list[Request]) -> list[Reply]:
    found = dict(of.answer(requests))
    assert sorted(found) == list(range(len(requests)))
    return [found[place] for place in range(len(requests))]


@cache
def plain(name: str) -> tuple[Any, Any]:
    model, tokenizer = loading.load_writer(loading.find(name), "fp32")
    return model.eval(), tokenizer


def read(of: Transformers, request: Request) -> str:
    """What the model reads."""
    return prompt_of(plain(of.name)[1], request)[0]


@torch.no_grad()
def looped(of: Transformers, request: Request) -> list[float]:
    """Log-likelihoods by a whole pass for each option: no cache, no padding, no batch."""
    model, tokenizer = plain(of.name)
    beginning = f"{request.user}\n\nAnswer:"
    start, sums = len(tokenizer(beginning)["input_ids"]), []
    for option in request.options:
        ids = torch.tensor([tokenizer(f"{beginning} {option}")["input_ids"]])
        told = model(input_ids=ids[:, :-1], use_cache=False).logits[0].log_softmax(dim=-1)
        sums.append(float(sum(told[place - 1, ids[0, place]] for place in range(start, ids.shape[1]))))
    return sums


@torch.no_grad()
def greedy(of: Transformers, request: Request, number: int) -> str:
    """The likeliest next word, over and over, by whole passes."""
    model, tokenizer = plain(of.name)
    ids = tokenizer(f"{request.user}\n\nAnswer:")["input_ids"]
    start = len(ids)
    for _ in range(number):
        best = int(model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax())
        if best == tokenizer.eos_token_id:
            break
        ids.append(best)
    return str(tokenizer.decode(ids[start:], skip_special_tokens=True))


def various() -> list[Request]:
    """Prompts of all lengths, some of which begin alike, with options of one to four tokens."""
    beginning = text(30, 0)
    users = [
        *(text(length, length) for length in (1, 5, 23, 50)),
        *(f"{beginning} {text(n, n)}" for n in (1, 4, 9, 20)),
    ]
    return [asked(user, "Heat", "Toy Story", f"{text(3, place)} Heat", "Alien") for place, user in enumerate(users)]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_log_likelihoods_are_those_of_plain_passes_alone_and_in_a_batch(kind: str):
    of, requests = backend(kind), various()
    together = answers(of, requests)
    for request, reply in zip(requests, together):
        expected = looped(of, request)
        assert list(reply.logprobs) == pytest.approx(expected, abs=1e-4)
        assert list(answers(of, [request])[0].logprobs) == pytest.approx(expected, abs=1e-4)
        assert reply.tokens == (1, 2, 4, 1) and reply.text == ""


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_texts_are_those_of_the_likeliest_words_alone_and_in_a_batch(kind: str):
    of = backend(kind)
    requests = [asked(text(length, length), max_new_tokens=5) for length in (2, 30, 7, 60)]
    together = [reply.text for reply in answers(of, requests)]
    assert together == [greedy(of, request, 5) for request in requests]
    assert together == [answers(of, [request])[0].text for request in requests]
    assert len(set(together)) > 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["opt", "qwen3", "gpt2"])
@pytest.mark.parametrize("batch_tokens", [1, 150, 100_000])
def test_long_common_beginnings_and_small_batches_change_nothing(kind: str, batch_tokens: int):
    shared, half = text(60, 0), text(33, 1)
    users = [f"{shared} {text(length, length)}" for length in (1, 3, 30, 8, 8)]
    users += [f"{shared} {half} {text(length, length)}" for length in (1, 2, 25)] + [shared, f"{half} {text(4, 4)}"]
    requests = [asked(user, "Heat", "Toy Story Heat Alien Film", "Toy Story") for user in users]
    of = backend(kind, batch_tokens=batch_tokens)
    for request, reply in zip(requests, answers(of, requests)):
        assert list(reply.logprobs) == pytest.approx(looped(of, request), abs=1e-4)


@pytest.mark.slow
def test_padding_between_a_beginning_and_what_follows_pushes_nothing_out_of_a_window(tmp_path):
    """Each prompt fits into the window alone; with the padding of its batch it would not."""
    folder = changed(tiny_models.writer("gemma3"), tmp_path / "model", "config.json", sliding_window=52)
    of = Transformers(str(folder), precision="fp32")
    early, late = text(40, 1), text(22, 2)
    users = [f"{early} {word}" for word in ("Heat", "Alien")] + [f"{late} {text(19, seed)}" for seed in (3, 4)]
    requests = [asked(user, "Heat Toy", "Story") for user in users]
    for request, reply in zip(requests, answers(of, requests)):
        assert list(reply.logprobs) == pytest.approx(looped(of, request), abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("limit", ["batch_tokens", "_CACHE_BYTES", "_LOGITS"])
def test_prompts_that_all_begin_alike_keep_within_the_limits_too(monkeypatch, limit: str):
    """As with examples before the question: half of every prompt is the same."""
    of, shared = backend(batch_tokens=100 if limit == "batch_tokens" else 4096), text(60, 0)
    model, seen = of._model, []
    if limit != "batch_tokens":
        each = model.config.vocab_size if limit == "_LOGITS" else _continuations.Continuations(model, 1).token_bytes
        monkeypatch.setattr(_continuations, limit, 10 * each if limit == "_LOGITS" else 700 * each)
    hook = lambda module, inputs, named: seen.append((named["input_ids"].shape, named["attention_mask"].numel()))
    model.register_forward_pre_hook(hook, with_kwargs=True)
    requests = [asked(f"{shared} {text(5, seed)}", "Heat", "Alien") for seed in range(40)]
    for request, reply in zip(requests, answers(of, requests)):
        assert list(reply.logprobs) == pytest.approx(looped(of, request), abs=1e-4)
    most = {
        "batch_tokens": max(shape.numel() for shape, _ in seen) <= 100,
        "_CACHE_BYTES": max(held for _, held in seen) <= 700,
        "_LOGITS": max(shape[0] for shape, _ in seen) <= 10,
    }
    assert most[limit] and len(seen) > 2


def test_answers_carry_their_places_and_equal_prompts_their_own_options():
    of = backend()
    requests = [asked("Toy Story", "Heat"), asked("Film", max_new_tokens=3), asked("Toy Story", "Alien", "Heat")]
    first, written, third = answers(of, requests)
    assert len(first.logprobs) == 1 and len(third.logprobs) == 2 and first.logprobs[0] == third.logprobs[1]
    assert written.logprobs == () and written.completion_tokens <= 3
    assert [reply.prompt_tokens for reply in (first, third)] == [of.count_tokens(requests[0])] * 2


def test_a_text_that_is_cut_says_so_and_answers_of_two_lengths_stay_apart():
    of, user = backend(), text(12, 5)
    requests = [asked(user, max_new_tokens=number) for number in (2, 100, 4)]
    two, many, four = answers(of, requests)
    assert (two.ended, two.completion_tokens, four.completion_tokens) == ("length", 2, 4)
    assert four.text.startswith(two.text) and many.text.startswith(four.text)


def test_a_text_ends_where_the_model_ends_it(tmp_path):
    tokenizer = json.loads((tiny_models.writer("llama") / "tokenizer_config.json").read_text(encoding="utf-8"))
    of = backend()
    first = answers(of, [asked("Toy Story", max_new_tokens=1)])[0].text
    folder = changed(
        tiny_models.writer("llama"), tmp_path / "model", "tokenizer_config.json", **(tokenizer | {"eos_token": first})
    )
    (reply,) = answers(Transformers(str(folder), precision="fp32"), [asked("Toy Story", max_new_tokens=9)])
    assert (reply.text, reply.ended, reply.completion_tokens) == ("", "stop", 0)


# What is refused


def test_a_prompt_longer_than_the_model_reads_is_refused_before_anything_is_asked():
    """D1: 3,000-token history."""
    of = backend()
    long = asked(text(3000, 0), "Heat", case="next_item/0/u7")
    with pytest.raises(
        BackendError, match=r"case 'next_item/0/u7': the prompt has 300\d tokens .* reads 160\. Nothing is"
    ):
        next(iter(of.answer([asked("Heat", "Heat"), long])))


@pytest.mark.parametrize("kind", ["llama", "opt"])
def test_an_answer_needs_room_behind_its_prompt(kind: str):
    of = backend(kind)
    frame = of.count_tokens(asked("Heat")) - 1
    full = text(tiny_models.POSITIONS - frame, 0)
    assert answers(of, [asked(full, "Heat")])[0].logprobs == pytest.approx(looped(of, asked(full, "Heat")), abs=1e-4)
    for request in (asked(full, max_new_tokens=1), asked(full, "Heat", "Toy Story")):
        with pytest.raises(BackendError, match=f"has {tiny_models.POSITIONS} tokens and its answer up to 1"):
            answers(of, [request])


def test_encoders_with_a_decoder_and_models_without_a_head_are_refused():
    for kind, message in (("t5", "is an encoder with a decoder"), ("llama", r"lacks 1 weights.*lm_head")):
        with pytest.raises(DataError, match=message):
            answers(Transformers(str(tiny_models.folder(kind)), precision="fp32"), [asked("Heat", "Heat")])


def test_a_batch_of_nothing_is_refused():
    with pytest.raises(ValueError, match="batch_tokens must be at least 1, came 0"):
        Transformers("anything", batch_tokens=0)


# What the model reads

TALK = Request("You know Film", "Who is Joe ?", (("Heat ?", "Alien"),), ("Heat",))


def test_without_a_chat_template_messages_are_plain_text_that_ends_with_answer():
    expected = "You know Film\n\nHeat ?\n\nAnswer: Alien\n\nWho is Joe ?\n\nAnswer:"
    assert read(backend(), TALK) == expected
    assert read(backend(), Request("", "Heat")) == "Heat\n\nAnswer:"


def test_a_chat_template_gets_roles_and_one_that_knows_no_system_gets_it_with_the_first_question():
    expected = "system You know Film , user Heat ? , assistant Alien , user Who is Joe ? , answer :"
    assert read(backend("llama", CHAT), TALK) == expected
    assert read(backend("llama", NO_SYSTEM), TALK) == expected.replace("system ", "user ").replace(
        "Film , user Heat", "Film\n\nHeat"
    )
    assert read(backend("llama", NO_SYSTEM), Request("", "Heat")) == "user Heat , answer :"


def test_a_template_that_cannot_be_filled_at_all_is_not_hidden():
    with pytest.raises(Exception, match="never"):
        answers(backend("llama", "{{ raise_exception('never') }}"), [TALK])


def test_with_a_chat_template_options_follow_the_template():
    of = backend("opt", CHAT)
    model, tokenizer = plain(of.name)
    ids = tokenizer(read(of, TALK) + " Heat", add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        told = model(input_ids=torch.tensor([ids])).logits[0, -2].log_softmax(dim=-1)[ids[-1]]
    assert answers(of, [TALK])[0].logprobs == pytest.approx([float(told)], abs=1e-4)


# The folder's own settings


@pytest.mark.parametrize(
    "settings",
    [
        {"do_sample": True, "temperature": 9.0, "top_k": 0, "top_p": 0.99},
        {"do_sample": True, "min_p": 0.0001, "typical_p": 0.9, "epsilon_cutoff": 0.0001, "temperature": 9.0},
        {"num_beams": 3, "num_return_sequences": 2, "early_stopping": True},
        {"repetition_penalty": 5.0, "no_repeat_ngram_size": 1},
        {"max_length": 3, "min_new_tokens": 2, "suppress_tokens": [7, 8, 9, 10]},
    ],
)
def test_settings_of_the_folder_that_sample_or_punish_are_not_used(tmp_path, settings: dict[str, object]):
    """D5: two calls give the same text, alone or in a batch, that of the likeliest words."""
    folder = changed(tiny_models.writer("llama"), tmp_path / "model", "generation_config.json", **settings)
    of = Transformers(str(folder), precision="fp32")
    requests = [asked(text(length, length), max_new_tokens=6) for length in (3, 40)]
    expected = [greedy(backend(), request, 6) for request in requests]
    for _ in range(2):
        assert [reply.text for reply in answers(of, requests)] == expected


def test_the_identity_names_the_revision_and_how_the_model_is_held():
    of = backend()
    assert isinstance(of, Backend) and of.trial is None
    files = loading.find(of.name)
    facts = {"backend": "transformers", "revision": files.revision, "reading": files.reading, "precision": "fp32"}
    assert of.identity() == facts
    assert Transformers(of.name, loading="8bit").identity()["loading"] == "8bit"
    assert Transformers(of.name).precision in ("fp32", "bf16")


def test_another_chat_template_makes_other_answers(tmp_path: Path):
    """The weights are the same, what they are asked is not."""
    first, second = (
        backend(template=CHAT),
        Transformers(str(shutil.copytree(backend(template=CHAT).name, tmp_path / "m"))),
    )
    assert first.identity() == second.identity() | {"precision": "fp32"}
    for file in ("chat_template.jinja", "tokenizer_config.json"):
        path = tmp_path / "m" / file
        if path.is_file():
            path.write_text(path.read_text(encoding="utf-8").replace("answer :", "says :"), encoding="utf-8")
    changed = Transformers(second.name)
    assert changed.identity()["reading"] != first.identity()["reading"]


def test_a_token_that_the_model_has_no_vector_of_is_refused_before_anything_is_scored(tmp_path):
    folder = changed(tiny_models.writer("llama"), tmp_path / "model", "config.json", vocab_size=100)
    weights = load_file(folder / "model.safetensors")
    few = {name: each[:100].clone() if len(each) == tiny_models.VOCABULARY else each for name, each in weights.items()}
    save_file(few, folder / "model.safetensors", {"format": "pt"})
    of = Transformers(str(folder), precision="fp32")
    early, late = (of.loaded()[1].convert_ids_to_tokens(number) for number in (99, 100))
    assert len(answers(of, [asked(early, early)])) == 1
    with pytest.raises(DataError, match=rf"reads '{late}' as number 100, and the model has vectors of 100 tokens"):
        next(of.answer([asked(early, late)]))
