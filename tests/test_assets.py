"""Named assets: cache, sources in order, checksums, crashes, races; against real servers, wheels and pip."""

import hashlib
import json
import os
import re
import shutil
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from loopback import Server, closed_port, python

from llmrec import assets
from llmrec.errors import AssetError

FILES = {"u.data": b"1\t1\t3\t5\n", "u.item": b"1|A\n", "u.user": b"1|24\n", "u.genre": b"unknown|0\n"}


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.stop()


@pytest.fixture(autouse=True)
def alone(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A cache of its own; without the mark ``network`` also no hub, and no package index but a folder."""
    (tmp_path / "index").mkdir()
    monkeypatch.setenv("LLMREC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    if not request.node.get_closest_marker("network"):
        for name in ("HF_ENDPOINT", "HF_HUB_CACHE", "HF_HUB_OFFLINE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
        monkeypatch.setenv("no_proxy", "127.0.0.1")
    assets.hub_reachable.cache_clear()
    yield
    assets.hub_reachable.cache_clear()
    shutil.rmtree(tmp_path / "cache", ignore_errors=True)  # pytest would keep 190 MB of each of three runs


def zipped(path: Path, folder: str) -> bytes:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in {**FILES, "README": b"not asked for"}.items():
            archive.writestr(f"{folder}/{name}", content)
    return path.read_bytes()


def publish(tmp_path: Path, server: Server) -> assets.Asset:
    """A small stand-in for ml-100k as a zip file on the server."""
    server.pages["/ml-100k.zip"] = zipped(tmp_path / "made.zip", "ml-100k")
    digest = hashlib.md5((tmp_path / "made.zip").read_bytes()).hexdigest()
    return replace(assets.ASSETS["ml-100k"], archive=f"{server.url}/ml-100k.zip", archive_md5=digest)


def wheel(tmp_path: Path, **changed: bytes) -> dict[str, str]:
    """Puts a wheel with the files where pip looks; returns the checksums that they should have."""
    with zipfile.ZipFile(tmp_path / "index" / "recbole-1.2.1-py3-none-any.whl", "w") as archive:
        for name, content in FILES.items():
            archive.writestr(f"recbole/dataset_example/ml-100k/{name}", changed.get(name.replace(".", "_"), content))
        about = "recbole-1.2.1.dist-info"
        archive.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: recbole\nVersion: 1.2.1\n")
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", "")
    return {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}


def use(monkeypatch: pytest.MonkeyPatch, asset: assets.Asset) -> None:
    monkeypatch.setitem(assets.ASSETS, asset.name, asset)


FETCH_ARCHIVE = """
import sys
from dataclasses import replace
from llmrec import assets
url, md5 = sys.argv[1:]
assets.ASSETS["ml-100k"] = replace(assets.ASSETS["ml-100k"], archive=url, archive_md5=md5)
print(assets.fetch("ml-100k"))
"""


def in_cache() -> list[str]:
    return sorted(path.name for path in (assets.cache_folder() / "assets").iterdir())


def test_the_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    assert assets.cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("LLMREC_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert assets.cache_folder() == tmp_path / "xdg" / "llmrec"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert assets.cache_folder() == tmp_path / ".cache" / "llmrec"


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(AssetError, match=r"no asset 'minilm'; did you mean 'minilm-l6'\? \(have: .*smollm2-135m\)"):
        assets.fetch("minilm")


def test_the_canonical_source_comes_first_and_the_cache_needs_none(tmp_path, server, monkeypatch, capsys):
    use(monkeypatch, publish(tmp_path, server))
    folder = assets.fetch("ml-100k")
    assert folder == tmp_path / "cache" / "assets" / "ml-100k"
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "asset.json"} == FILES
    record = json.loads((folder / "asset.json").read_text(encoding="utf-8"))
    assert record["source"] == f"{server.url}/ml-100k.zip"
    assert "research use only" in record["licence"]
    assert record["files"]["u.data"] == {"bytes": 8, "sha256": hashlib.sha256(FILES["u.data"]).hexdigest()}
    printed = capsys.readouterr()
    assert printed.out == ""
    assert re.fullmatch(r"llmrec: ml-100k comes from http.*zip; licence: MovieLens 100K, .*\n", printed.err)
    assert assets.cached() == assets.cached("dataset") == ["ml-100k"]
    assert assets.cached("model") == []
    asked = len(server.requests)
    assert assets.fetch("ml-100k") == folder
    assert len(server.requests) == asked
    assert capsys.readouterr().err == ""
    assert in_cache() == ["ml-100k"]


@pytest.mark.slow
def test_a_source_that_sends_something_else_is_passed_over_for_the_wheel(tmp_path, server, monkeypatch):
    use(monkeypatch, replace(publish(tmp_path, server), archive_md5="0" * 32, files=wheel(tmp_path)))
    folder = assets.fetch("ml-100k")
    assert "GET /ml-100k.zip" in server.requests
    assert json.loads((folder / "asset.json").read_text(encoding="utf-8"))["source"] == "package recbole==1.2.1"
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "asset.json"} == FILES


@pytest.mark.slow
def test_a_wheel_with_other_content_is_refused(tmp_path, monkeypatch):
    files = wheel(tmp_path, u_item=b"1|B\n")
    use(monkeypatch, replace(assets.ASSETS["ml-100k"], archive=closed_port(), files=files))
    with pytest.raises(AssetError, match=f"u.item is damaged or another version: sha256 .*{files['u.item']}"):
        assets.fetch("ml-100k")
    assert in_cache() == []


@pytest.mark.slow
def test_offline_names_the_cache_each_source_and_the_way_out(tmp_path, server, monkeypatch):
    use(monkeypatch, publish(tmp_path, server))
    assets.fetch("ml-100k")
    address = closed_port()
    use(monkeypatch, replace(assets.ASSETS["ml-100k"], name="ml-1k", archive=address))
    with pytest.raises(AssetError) as error:
        assets.fetch("ml-1k")
    message = str(error.value)
    assert f"The cache {tmp_path / 'cache' / 'assets'} holds: ml-100k." in message
    assert re.search(rf"{address}: .*Connection refused", message)
    assert "package recbole==1.2.1: ERROR: No matching distribution found for recbole==1.2.1" in message
    assert "--data-dir FOLDER" in message
    assert in_cache() == ["ml-100k"]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda folder: (folder / "u.item").unlink(), "u.item: No such file"),
        (lambda folder: (folder / "u.data").write_bytes(b"1\t1"), "u.data has 3 bytes, must have 8"),
        (lambda folder: (folder / "asset.json").unlink(), "asset.json: No such file"),
        (
            lambda folder: (folder / "asset.json").write_text('{"files"', encoding="utf-8"),
            "asset.json cannot be read",
        ),
    ],
)
def test_a_damaged_entry_is_fetched_again_with_a_notice(tmp_path, server, monkeypatch, capsys, damage, reason):
    use(monkeypatch, publish(tmp_path, server))
    folder = assets.fetch("ml-100k")
    damage(folder)
    capsys.readouterr()
    assert assets.fetch("ml-100k") == folder
    notice, licence = capsys.readouterr().err.splitlines()
    assert notice.startswith("llmrec: ml-100k in the cache is damaged")
    assert reason in notice
    assert "licence" in licence
    assert {name: (folder / name).read_bytes() for name in FILES} == FILES
    assert in_cache() == ["ml-100k"]


@pytest.mark.slow
def test_a_crash_before_the_rename_leaves_nothing_that_counts(tmp_path, server, monkeypatch):
    asset = publish(tmp_path, server)
    crash = "import os; from pathlib import Path; Path.replace = lambda *_: os._exit(9)\n"
    process = python(crash + FETCH_ARCHIVE, asset.archive, asset.archive_md5)
    process.communicate(timeout=60)
    assert process.returncode == 9
    (left,) = in_cache()
    assert left.startswith(".ml-100k-")
    assert len(list((tmp_path / "cache").rglob("u.data"))) == 1

    use(monkeypatch, replace(asset, archive=closed_port()))
    with pytest.raises(AssetError, match="holds: nothing"):
        assets.fetch("ml-100k")
    use(monkeypatch, asset)
    os.utime(tmp_path / "cache" / "assets" / left, (time.time() - 90_000,) * 2)
    assert (assets.fetch("ml-100k") / "u.data").read_bytes() == FILES["u.data"]
    assert in_cache() == ["ml-100k"]


def test_two_processes_at_once_end_with_one_whole_copy(tmp_path, server):
    asset = publish(tmp_path, server)
    server.before_get = threading.Barrier(2, timeout=30).wait
    processes = [python(FETCH_ARCHIVE, asset.archive, asset.archive_md5) for _ in range(2)]
    results = [process.communicate(timeout=60) for process in processes]
    folder = tmp_path / "cache" / "assets" / "ml-100k"
    assert [out.strip() for out, _ in results] == [str(folder)] * 2, results
    assert server.requests.count("GET /ml-100k.zip") == 2
    assert {name: (folder / name).read_bytes() for name in FILES} == FILES
    assert in_cache() == ["ml-100k"]


def test_a_copy_of_a_faster_process_is_kept(tmp_path, server, monkeypatch):
    """The other process finishes exactly while this one downloads."""
    asset = publish(tmp_path, server)
    use(monkeypatch, asset)
    faster = tmp_path / "cache" / "assets" / "ml-100k"

    def other_process() -> None:
        server.before_get = lambda: None
        python(FETCH_ARCHIVE, asset.archive, asset.archive_md5).communicate(timeout=60)
        (faster / "mark").touch()

    server.before_get = other_process
    assert assets.fetch("ml-100k") == faster
    assert (faster / "mark").exists()
    assert in_cache() == ["ml-100k"]


def test_a_cache_that_cannot_be_written_says_so(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("LLMREC_CACHE", str(tmp_path / "file"))
    with pytest.raises(AssetError, match=r"cannot write to the cache .*; set LLMREC_CACHE"):
        assets.fetch("ml-100k")


def in_parts(tmp_path: Path, whole: bytes) -> assets.Asset:
    """Gemma with other content, in two wheels where pip looks."""
    files = {}
    for number, content in enumerate((b"first ", b"second")):
        name = f"gemma_part{number}/data/model.gguf.part0{number}"
        with zipfile.ZipFile(tmp_path / "index" / f"gemma_part{number}-1.0-py3-none-any.whl", "w") as archive:
            archive.writestr(name, content)
            about = f"gemma_part{number}-1.0.dist-info"
            archive.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: gemma-part{number}\nVersion: 1.0\n")
            archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            archive.writestr(f"{about}/RECORD", "")
        files[name] = hashlib.sha256(content).hexdigest()
    joined = ("model.gguf", hashlib.sha256(whole).hexdigest())
    wheels = ("gemma-part0==1.0", "gemma-part1==1.0")
    return replace(assets.ASSETS["gemma-3-270m"], wheels=wheels, files=files, joined=joined)


@pytest.mark.slow
def test_parts_of_a_file_are_put_together_once_its_terms_are_accepted(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    use(monkeypatch, in_parts(tmp_path, b"first second"))
    with pytest.raises(AssetError, match=r"ai\.google\.dev/gemma/terms .*llmrec fetch gemma-3-270m --accept-terms"):
        assets.fetch("gemma-3-270m")
    assert in_cache() == []
    path = assets.fetch("gemma-3-270m", accept_terms=True)
    assert path.read_bytes() == b"first second"
    assert sorted(each.name for each in path.parent.iterdir()) == ["asset.json", "model.gguf"]
    assert assets.fetch("gemma-3-270m") == path


@pytest.mark.slow
def test_parts_that_make_another_file_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    use(monkeypatch, in_parts(tmp_path, b"another whole"))
    with pytest.raises(AssetError, match=r"model\.gguf is damaged or another version"):
        assets.fetch("gemma-3-270m", accept_terms=True)
    assert in_cache() == []


@pytest.mark.network
@pytest.mark.parametrize("name", sorted(assets.ASSETS))
def test_every_asset_is_fetched_for_real(name, capsys):
    path = assets.fetch(name, accept_terms=True)
    assert path.exists()
    assert assets.ASSETS[name].licence in capsys.readouterr().err
    assert assets.fetch(name) == path
    assert capsys.readouterr().err == ""
