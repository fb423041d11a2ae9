"""The backend vllm: what needs no vLLM, then vLLM itself with a real model, in process and behind its own server.

The tests marked vllm run by ``make test-vllm``; on two cores they take some minutes.
"""

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import loopback
import pytest
import tiny_models

from llmrec import loading
from llmrec.backends import Backend, Reply, Request
from llmrec.backends import vllm as module
from llmrec.backends.openai import OpenAI
from llmrec.backends.transformers import Transformers
from llmrec.backends.vllm import Vllm
from llmrec.errors import BackendError, ConfigError, DataError

# Else a CPU's memory is taken for keys and values as far as it is free.
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")
PATIENCE = 600
TITLES = ("Heat (1995)", "Toy Story (1995)", "The Silence of the Lambs (1991)", "Seven (1995)")
LETTERS = [
    Request("You recommend films.", f"Seen: Aliens.\n{films}\nAnswer with one letter.", options=tuple("ABCD"))
    for films in ("A. Heat\nB. Alien\nC. Big\nD. Seven", "A. Big\nB. Heat\nC. Seven\nD. Alien")
]
MANY = Request("", "Say a letter.", options=tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"))
NAMES = Request("", "Which film next?", (("Seen Aliens.", "Alien (1979)"),), (*TITLES, "A"))
TEXTS = [
    Request("", "Name 4 colours.", max_new_tokens=12),
    Request("", "Say only the word yes.", max_new_tokens=40),
    Request("Be brief.", "Who are you?", (("Hello!", "Hello, you."),), max_new_tokens=5),
]


# Without vLLM


def test_without_vllm_it_is_said_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    backend = Vllm(str(tiny_models.folder("llama")))
    assert isinstance(backend, Backend)
    for ask in (backend.identity, lambda: list(backend.answer([Request("", "Who", max_new_tokens=1)]))):
        with pytest.raises(ConfigError, match=r"llmrec\[vllm\].* make vllm .*--backend transformers"):
            ask()


def test_a_gguf_file_is_refused(tmp_path):
    (tmp_path / "model.gguf").touch()
    with pytest.raises(ConfigError, match=r"the file model\.gguf, and vllm reads a folder of safetensors"):
        Vllm(str(tmp_path / "model.gguf")).count_tokens(LETTERS[0])


def test_a_folder_without_a_tokenizer_is_refused(tmp_path):
    folder = tiny_models.copy("llama", tmp_path / "model")
    for path in folder.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(DataError, match="cannot be read as a model"):
        Vllm(str(folder)).count_tokens(LETTERS[0])


def test_tokens_are_counted_without_vllm_as_transformers_counts_them(monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    place = str(tiny_models.folder("opt"))
    request = Request("Who are you ?", "Joe Biden", (("Heat", "Alien"),))
    assert Vllm(place).count_tokens(request) == Transformers(place).count_tokens(request) > 8


@pytest.mark.parametrize(
    ("length", "more", "says"),
    [
        (12, {"max_new_tokens": 5}, "has 8 tokens and its answer up to 5, and .* reads 12"),
        # vLLM writes a token behind all that it reads.
        (11, {"options": ("Heat", "Toy Story Heat")}, "has 8 tokens and its answer up to 4, and .* reads 11"),
        (8, {"options": ("Heat",)}, "has 8 tokens and its answer up to 1, and .* reads 8"),
        # The model has 160 positions, so more is not promised.
        (2048, {"max_new_tokens": 153}, "has 8 tokens and its answer up to 153, and .* reads 160"),
    ],
)
def test_a_prompt_that_is_too_long_with_its_answer_is_refused_before_anything_is_asked(length, more, says):
    backend = Vllm(str(tiny_models.folder("llama")), max_model_len=length)
    short = Request("", "Heat", options=("Alien",))
    long = Request("", "Who are you ? Heat Alien", case="u7", **more)
    backend._ask = lambda asked: pytest.fail("vLLM was asked")
    with pytest.raises(BackendError, match=f"case 'u7': the prompt {says}"):
        list(backend.answer([short, long]))


@pytest.mark.parametrize(
    ("options", "says"),
    [({"max_model_len": 1}, "max_model_len must be"), ({"max_logprobs": 0}, "max_logprobs must be")],
)
def test_options_out_of_range_are_refused(options, says):
    with pytest.raises(ValueError, match=says):
        Vllm("m", **options)


# In process


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The one real model at hand that talks, out of its .gguf file, which vLLM does not read."""
    pytest.importorskip("vllm", reason="vLLM is not installed: make test-vllm")
    model, tokenizer = loading.load_writer(loading.find("smollm2-135m"), "bf16")
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    place = tmp_path_factory.mktemp("smollm2") / "model"
    model.save_pretrained(place)
    tokenizer.save_pretrained(place)
    return place


@pytest.fixture(scope="module")
def engine(folder: Path) -> Vllm:
    return Vllm(str(folder), dtype="float32")


@pytest.fixture(scope="module")
def reference(folder: Path) -> Transformers:
    return Transformers(str(folder), precision="fp32")


def answers(backend: Backend, requests: list[Request]) -> list[Reply]:
    replies = dict(backend.answer(requests))
    return [replies[place] for place in range(len(requests))]


@pytest.mark.vllm
@pytest.mark.slow
@pytest.mark.parametrize("requests", [LETTERS, [MANY], [NAMES]], ids=["4 letters", "36 signs", "titles"])
def test_options_are_as_likely_as_transformers_has_it(engine, reference, requests):
    """F8: server that rejects logprobs > 20; in process those beyond are asked for by themselves, and none is None."""
    for found, wanted in zip(answers(engine, requests), answers(reference, requests), strict=True):
        assert found.logprobs == pytest.approx(wanted.logprobs, abs=1e-2)
        assert (found.tokens, found.prompt_tokens) == (wanted.tokens, wanted.prompt_tokens)
        assert (found.text, found.completion_tokens, found.ended) == ("", 0, "stop")
    assert engine.trial is None, "it always tells"


@pytest.mark.vllm
@pytest.mark.slow
def test_of_many_options_some_are_beyond_what_vllm_tells_at_once(engine, monkeypatch):
    """Else the comparison above would say nothing about them."""
    asked = []
    ask = engine._ask
    monkeypatch.setattr(engine, "_ask", lambda some: asked.append(len(some)) or ask(some))
    answers(engine, [MANY])
    assert asked[0] == 1 and len(MANY.options) - engine.max_logprobs <= asked[1] < len(MANY.options)


@pytest.mark.vllm
@pytest.mark.slow
def test_texts_are_those_of_transformers(engine, reference):
    """F7: T=0 is not deterministic under batching, so what is compared is fp32, where rounding turns no token here."""
    for found, wanted in zip(answers(engine, TEXTS), answers(reference, TEXTS), strict=True):
        assert (found.text, found.ended) == (wanted.text, wanted.ended)
        assert (found.prompt_tokens, found.completion_tokens) == (wanted.prompt_tokens, wanted.completion_tokens)
        assert found.seconds > 0
    assert {reply.ended for reply in answers(engine, TEXTS)} == {"stop", "length"}


@pytest.mark.vllm
@pytest.mark.slow
@pytest.mark.parametrize("more", [{"options": ("A", "B")}, {"options": ("A", "Toy Story")}, {"max_new_tokens": 3}])
def test_a_prompt_that_just_fits_is_answered(engine, more):
    """Else what is let through would be refused by vLLM in words of its own."""
    left = engine.max_model_len - engine._question(Request("", "", **more)).answer
    lengths = {count: engine.count_tokens(Request("", " film" * count)) for count in range(1900, engine.max_model_len)}
    [count] = [count for count, length in lengths.items() if length == left]
    [reply] = answers(engine, [Request("", " film" * count, **more)])
    assert reply.prompt_tokens == left and (all(value < 0 for value in reply.logprobs) or reply.text)
    with pytest.raises(BackendError, match="Nothing is cut"):
        answers(engine, [Request("", " film" * (count + 1), **more)])


@pytest.mark.vllm
@pytest.mark.slow
def test_answers_come_batch_by_batch(engine, monkeypatch):
    monkeypatch.setattr(module, "_BATCH", 2)
    asked = []
    ask = engine._ask
    monkeypatch.setattr(engine, "_ask", lambda some: asked.extend(some) or ask(some))
    coming = engine.answer([TEXTS[0], *LETTERS, TEXTS[1], TEXTS[0]])
    assert next(coming)[0] == 0
    assert len(asked) == 2, "the other three are not begun"
    assert [place for place, _ in coming] == [1, 2, 3, 4]


@pytest.mark.vllm
@pytest.mark.slow
def test_its_identity_names_the_model_and_the_version(engine, folder):
    import vllm

    revision = loading.find(str(folder)).revision
    assert engine.identity() == {
        "backend": "vllm", "revision": revision, "dtype": "float32", "version": vllm.__version__
    }  # fmt: skip


# Behind its server


@contextmanager
def serving(folder: Path, log: Path) -> Iterator[str]:
    """Address of vLLM's own server, which ends with the block, whatever happens in it."""
    address = loopback.closed_port()
    port = address.rpartition(":")[2]
    # Its script `vllm` asks for the metadata of a package that the build for CPUs calls otherwise.
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder), "--port", port]
    # bfloat16 takes minutes for an answer on a CPU without instructions for it.
    command += ["--dtype", "float32", "--max-model-len", "2048", "--enforce-eager", "--host", "127.0.0.1"]
    own = {**os.environ, "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
    with log.open("w", encoding="utf-8") as output:
        server = subprocess.Popen(
            [*command, "--served-model-name", "smollm2"],
            env=own, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    try:
        wait_for(f"{address}/health", server, log)
        yield f"{address}/v1"
    finally:
        # Its engine runs in processes of its own.
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def wait_for(url: str, server: subprocess.Popen, log: Path) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and server.poll() is None:
        try:
            urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5).close()
            return
        except OSError:  # urllib.error.URLError is one
            time.sleep(1)
    pytest.fail(f"the server is not up; it said:\n{log.read_text(encoding='utf-8')[-3000:]}")


@pytest.mark.vllm
@pytest.mark.slow
def test_its_server_answers_as_the_model_in_process_does(folder, reference, tmp_path, monkeypatch):
    for name in ("OPENAI_API_KEY", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    requests = [*LETTERS, *TEXTS]
    wanted = answers(reference, requests)
    with serving(folder, tmp_path / "server.log") as url:
        backend = OpenAI("smollm2", url=url, timeout=300.0, retries=0)
        assert None not in answers(backend, [backend.trial])[0].logprobs
        found = answers(backend, requests)
    for mine, theirs in zip(found, wanted, strict=True):
        assert mine.logprobs == pytest.approx(theirs.logprobs, abs=1e-2)
        assert (mine.text, mine.ended) == (theirs.text, theirs.ended)
        assert mine.prompt_tokens == theirs.prompt_tokens
