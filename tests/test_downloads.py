"""The hub: when it is asked, and what its own cache gives."""

import socket
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from loopback import Server, closed_port, python

from llmrec.downloads import hub_reachable

FETCH = "import sys; from llmrec import assets; print(assets.fetch(sys.argv[1])); print(*sys.modules)"


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.stop()


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Caches of its own, no hub, an empty package index."""
    for name in ("HF_ENDPOINT", "HF_HUB_CACHE", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LLMREC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    hub_reachable.cache_clear()
    yield
    hub_reachable.cache_clear()


def in_hub_cache(folder: Path, repository: str) -> Path:
    """Lays a model of tiny files down as the hub's client does."""
    place = folder / "hub" / "hub" / f"models--{repository.replace('/', '--')}"
    snapshot = place / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text("a" * 40, encoding="utf-8")
    for name in ("config.json", "tokenizer.json", "model.safetensors", "unasked.bin"):
        (snapshot / name).write_text("{}", encoding="utf-8")
    return snapshot


@pytest.mark.slow
def test_offline_model_names_the_hub_and_the_model_option():
    process = python(FETCH, "minilm-l6", HF_HUB_OFFLINE="1")
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "huggingface.co/sentence-transformers/all-MiniLM-L6-v2: not in the hub's cache" in errors
    assert "holds: nothing" in errors
    assert "--model /path/to/folder" in errors


@pytest.mark.parametrize("value", ["1", "true", "YES"])
def test_offline_mode_of_the_hub_makes_no_probe(server, monkeypatch, value):
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("HF_HUB_OFFLINE", value)
    assert not hub_reachable()
    assert server.requests == []


def test_the_hub_is_probed_once_per_process(server, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    assert hub_reachable()
    assert hub_reachable()
    assert len(server.requests) == 1


@pytest.mark.parametrize("page", ["/missing", None])
def test_a_hub_that_refuses_is_not_reachable(server, monkeypatch, page):
    monkeypatch.setenv("HF_ENDPOINT", server.url + page if page else closed_port())
    assert not hub_reachable()


@pytest.mark.slow
def test_a_hub_that_hangs_costs_three_seconds(monkeypatch):
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{listener.getsockname()[1]}")
        start = time.monotonic()
        assert not hub_reachable()
        assert 2.5 < time.monotonic() - start < 4


@pytest.mark.slow
def test_a_model_in_the_cache_of_the_hub_is_used_where_it_lies(tmp_path):
    snapshot = in_hub_cache(tmp_path, "HuggingFaceTB/SmolLM2-135M-Instruct")
    first, notice = python(FETCH, "smollm2-135m", HF_HUB_OFFLINE="1").communicate(timeout=60)
    assert first.splitlines()[0] == str(snapshot)
    assert "licence: SmolLM2-135M-Instruct, Apache-2.0" in notice
    again, silence = python(FETCH, "smollm2-135m", HF_HUB_OFFLINE="1").communicate(timeout=60)
    assert again.splitlines()[0] == str(snapshot)
    assert silence == ""
    loaded = again.splitlines()[1].split()
    assert not {"huggingface_hub", "torch", "transformers", "rich"} & set(loaded)

    (snapshot / "config.json").unlink()
    _, errors = python(FETCH, "smollm2-135m", HF_HUB_OFFLINE="1").communicate(timeout=60)
    assert "smollm2-135m in the cache is damaged" in errors
    assert f"{snapshot} has no config.json" in errors


@pytest.mark.slow
def test_a_model_in_the_cache_of_the_hub_must_match_its_checksum(tmp_path):
    in_hub_cache(tmp_path, "sentence-transformers/all-MiniLM-L6-v2")
    process = python(FETCH, "minilm-l6", HF_HUB_OFFLINE="1")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "is damaged or another version: sha256" in errors
    assert list((tmp_path / "cache" / "assets").iterdir()) == []
