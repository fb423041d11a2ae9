"""Models of the hub: its cache without a network, and its real client against a hub on the loopback."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny_models
from conftest import ROOT
from small_hub import Hub

from llmrec import assets, loading
from llmrec.errors import AssetError, ConfigError, MemoryLimitError

COMMIT = "0123456789abcdef0123456789abcdef01234567"
MAIN, CONVERTED = "a" * 40, "b" * 40
LOAD = """
import sys
from llmrec import loading
from llmrec.errors import LlmrecError
try:
    files = loading.find(sys.argv[1])
    print(files.revision, loading.load(files, "fp32").model.config.model_type)
except LlmrecError as error:
    print(type(error).__name__, error)
"""


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Caches of this test's own and HF_HUB_OFFLINE=1; huggingface_hub reads where its cache is once, at import."""
    monkeypatch.setenv("LLMREC_CACHE", str(tmp_path / "llmrec"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    assets.hub_reachable.cache_clear()
    yield
    assets.hub_reachable.cache_clear()


def test_a_model_in_the_hubs_cache_is_found_offline_and_known_by_its_commit(offline, tmp_path):
    folder = tiny_models.snapshot("opt", tmp_path / "hub", "facebook/opt-125m", COMMIT)
    for name in ("opt-125m", "facebook/opt-125m"):
        files = loading.find(name)
        assert files == loading.ModelFiles(name, folder)
        assert files.revision == COMMIT
    assert loading.cached_models() == ["facebook/opt-125m"]


def test_the_hubs_own_conversion_of_a_pickled_model_is_found_too(offline, tmp_path):
    main = tiny_models.snapshot("opt", tmp_path / "hub", "facebook/opt-125m", "0" * 40)
    (main / "model.safetensors").rename(main / "pytorch_model.bin")
    with pytest.raises(AssetError, match=r"is in the hub's cache, but .*pytorch_model.bin is a pickle.* is set"):
        loading.find("opt-125m")
    tiny_models.snapshot("opt", tmp_path / "hub", "facebook/opt-125m", COMMIT, ref="refs/pr/7")
    assert loading.find("opt-125m").revision == COMMIT
    (main / "pytorch_model.bin").rename(main / "model.safetensors")
    assert loading.find("opt-125m").revision == "0" * 40, "the main branch comes first where it has safetensors"


def test_what_is_neither_cached_nor_reachable_is_refused_with_what_is_at_hand(offline, tmp_path):
    with pytest.raises(AssetError, match="Models at hand: none"):
        loading.find("facebook/opt-350m")
    tiny_models.snapshot("opt", tmp_path / "hub", "facebook/opt-125m", COMMIT)
    with pytest.raises(AssetError) as error:
        loading.find("opt-350m")
    message = str(error.value)
    assert "opt-350m (facebook/opt-350m) is not in the hub's cache, and HF_HUB_OFFLINE is set" in message
    assert "Models at hand: facebook/opt-125m" in message
    assert "--model path/to/folder" in message


def test_a_download_larger_than_the_disk_is_refused_before_it_begins(monkeypatch, tmp_path):
    monkeypatch.setattr("llmrec.assets.hub_reachable", lambda: True)
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Disk", (), {"free": 10**9}))
    with pytest.raises(MemoryLimitError, match=r"opt-66b takes 131\.4 GB, and .* has 1\.0 GB free"):
        loading.find("opt-66b")


def test_a_model_that_the_hub_does_not_have_is_named_by_its_folder():
    with pytest.raises(ConfigError, match=r"opt-175b is in no repository of the hub; name the folder"):
        loading.find("opt-175b")


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    converted = tiny_models.copy("opt", tmp_path / "converted")
    pickled = tiny_models.copy("opt", tmp_path / "pickled")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    running = Hub("facebook/opt-125m", {"main": (MAIN, pickled), "refs/pr/7": (CONVERTED, converted)})
    yield running
    running.stop()


def load(name: str, home: Path, **environment: str) -> str:
    here = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    here |= {
        "OMP_NUM_THREADS": "1",
        "HF_HOME": str(home),
        "LLMREC_CACHE": str(home / "llmrec"),
        "no_proxy": "127.0.0.1",
    }
    command = [sys.executable, "-c", LOAD, name]
    done = subprocess.run(
        command, cwd=ROOT, env=here | environment, capture_output=True, encoding="utf-8", timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.slow
def test_a_pickled_model_comes_as_the_hubs_own_conversion_and_is_found_again_offline(hub, tmp_path):
    home = tmp_path / "home"
    assert load("opt-125m", home, HF_ENDPOINT=hub.url) == f"{CONVERTED} opt"
    fetched = [request for request in hub.requests if "resolve" in request]
    assert any("model.safetensors" in request for request in fetched)
    assert not any("pytorch_model.bin" in request for request in fetched), "a pickle is not even downloaded"
    asked = len(hub.requests)
    assert load("facebook/opt-125m", home, HF_ENDPOINT=hub.url, HF_HUB_OFFLINE="1") == f"{CONVERTED} opt"
    assert load("opt-125m", home, HF_ENDPOINT=hub.url) == f"{CONVERTED} opt", "nor online is the hub asked again"
    assert len(hub.requests) == asked


@pytest.mark.slow
def test_a_repository_that_the_hub_does_not_know_is_the_users_to_mend(hub, tmp_path):
    answer = load("opt-125", tmp_path, HF_ENDPOINT=hub.url)
    assert answer.startswith("AssetError facebook/opt-125 cannot be fetched from the hub: RepositoryNotFoundError")


@pytest.mark.slow
def test_an_interrupted_download_is_gone_on_with(hub, tmp_path):
    home = tmp_path / "home"
    assert load("opt-125m", home, HF_ENDPOINT=hub.url) == f"{CONVERTED} opt"
    snapshot = home / "hub" / "models--facebook--opt-125m" / "snapshots" / CONVERTED
    (snapshot / "model.safetensors").resolve().unlink()
    (snapshot / "model.safetensors").unlink()
    offline = load("opt-125m", home, HF_ENDPOINT=hub.url, HF_HUB_OFFLINE="1")
    assert offline.startswith("AssetError opt-125m (facebook/opt-125m) is in the hub's cache, but ")
    assert f"{snapshot} has no *.safetensors" in offline
    assert "HF_HUB_OFFLINE is set" in offline
    assert load("opt-125m", home, HF_ENDPOINT=hub.url) == f"{CONVERTED} opt"
