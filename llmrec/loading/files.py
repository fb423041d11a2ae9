"""From a name to a model's files: short names, hub ids, folders and ``.gguf`` files; the hub's cache before the hub."""

import hashlib
import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from llmrec import assets
from llmrec.errors import AssetError, ConfigError, DataError, nearest
from llmrec.loading.memory import require_disk
from llmrec.loading.names import MODELS, VISION

_FILES = ["*.json", "*.txt", "*.model", "*.jinja", "*.safetensors"]
_OF_TEXTS = ("tokenizer*.json", "*.txt", "*.model", "*.jinja")


@dataclass(frozen=True)
class ModelFiles:
    """A model on disk: a folder with ``config.json`` and safetensors, or one ``.gguf`` file."""

    name: str
    path: Path

    @cached_property
    def revision(self) -> str:
        """The hub's commit where the folder is one of its snapshots, else a hash of weights, config and vocabulary."""
        if self.path.parent.name == "snapshots" and self.path.parent.parent.name.startswith("models--"):
            return self.path.name
        return _digest(
            self._weights + sorted(self.path.glob("*.json") if self.path.is_dir() else []) + self._vocabulary
        )

    @cached_property
    def reading(self) -> str:
        """A hash of tokenizer and chat template, which make tokens of messages; empty where the revision has it."""
        if self.path.is_file():
            return ""
        return _digest(sorted({path for pattern in _OF_TEXTS for path in self.path.glob(pattern)}))[:16]

    @property
    def _weights(self) -> list[Path]:
        return [self.path] if self.path.is_file() else sorted(self.path.glob("*.safetensors"))

    @property
    def _vocabulary(self) -> list[Path]:
        """What a tokenizer is made of, beside JSON files; a ``tokenizer.json`` holds all of it, and is read alone.

        Other texts in the folder are somebody's notes, which change no vector.
        """
        if self.path.is_file() or (self.path / "tokenizer.json").is_file():
            return []
        return sorted(path for pattern in ("vocab.txt", "merges.txt", "*.model") for path in self.path.glob(pattern))

    def check(self) -> None:
        """Says in time what is missing.

        Raises:
            DataError: no config, no safetensors, or a shard that the index names and the folder lacks.
        """
        if self.path.is_file():
            return
        if not (self.path / "config.json").is_file():
            raise DataError(
                f"{self.path} has no config.json; a model folder holds config.json, a tokenizer and safetensors"
            )
        if not self._weights:
            pickled = [path.name for path in self.path.glob("*.bin")]
            hint = f" ({pickled[0]} is a pickle, which is never loaded; convert it)" if pickled else ""
            raise DataError(f"{self.path} has no *.safetensors{hint}")
        index = self.path / "model.safetensors.index.json"
        if index.is_file():
            try:
                named = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise DataError(f"{index} is damaged: {error!r}") from None
            if missing := sorted(shard for shard in named if not (self.path / shard).is_file()):
                raise DataError(f"{self.path} lacks {len(missing)} of {len(named)} shards, such as {missing[0]}")


def find(name: str) -> ModelFiles:
    """Finds or fetches a model's files.

    Args:
        name: a short name (``opt-125m``), a hub id (``facebook/opt-125m``), a folder or a ``.gguf`` file.

    Raises:
        ConfigError: no such name.
        AssetError: neither cached nor reachable.
        MemoryLimitError: not cached, and larger than the room on the disk.
        DataError: incomplete files.
    """
    if path := _local(name):
        files = ModelFiles(name, path)
    elif name in assets.ASSETS and assets.ASSETS[name].kind == "model":
        files = ModelFiles(name, assets.fetch(name))
    else:
        files = ModelFiles(name, _from_hub(name))
    files.check()
    return files


def at_hand(name: str) -> ModelFiles:
    """The same without network and without a look at the weights, which may be missing.

    Raises:
        ConfigError: no such name, or none whose config lies on this machine.
        DataError: a ``.gguf`` file that is not there.
    """
    if path := _local(name):
        return ModelFiles(name, path)
    if name in assets.cached("model"):
        return ModelFiles(name, assets.fetch(name))
    for snapshot in _cached_snapshots(repository_of(name)):
        if (snapshot / "config.json").is_file():
            return ModelFiles(name, snapshot)
    raise ConfigError(f"the shape of {name!r} is not known here: it is no short name, and not in the hub's cache")


def _local(name: str) -> Path | None:
    path = Path(name).expanduser()
    if path.suffix == ".gguf" and not path.exists():
        raise DataError(f"no file {path}")
    return path.resolve() if path.suffix == ".gguf" or path.is_dir() else None


def _from_hub(name: str) -> Path:
    repository = repository_of(name)
    from huggingface_hub import constants, snapshot_download

    faults = []
    for snapshot in _cached_snapshots(repository):
        try:
            ModelFiles(name, snapshot).check()
        except DataError as error:  # an interrupted download, or pickles alone
            faults.append(str(error))
        else:
            return snapshot
    if not assets.hub_reachable():
        raise _not_available(name, repository, faults)
    if name in MODELS:
        require_disk(name, 2 * MODELS[name].parameters, Path(constants.HF_HUB_CACHE))
    try:
        return Path(snapshot_download(repository, allow_patterns=_FILES, revision=_safetensors_revision(repository)))
    except AssetError:
        raise
    except Exception as error:  # the client lets errors of its HTTP library through, which changed between versions
        raise AssetError(f"{repository} cannot be fetched from the hub: {type(error).__name__}: {error}") from error


def _cached_snapshots(repository: str) -> list[Path]:
    """Snapshots in the hub's cache, the main branch's first; the hub's conversions of pickles have their own."""
    refs = {ref: found for repo in _cached() if repo.repo_id == repository for ref, found in repo.refs.items()}
    return [refs[ref].snapshot_path for ref in sorted(refs, key=lambda ref: (ref != "main", ref))]


def _cached() -> list[Any]:
    from huggingface_hub import constants, scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        return [repo for repo in scan_cache_dir(constants.HF_HUB_CACHE).repos if repo.repo_type == "model"]
    except CacheNotFound:
        return []


def repository_of(name: str) -> str:
    """The hub id behind a name; ``opt-*`` maps to ``facebook/opt-*``.

    Raises:
        ConfigError: neither a known name nor of the form ``owner/name``.
    """
    if name in MODELS:
        if not MODELS[name].repository:
            raise ConfigError(f"{name} is in no repository of the hub; name the folder that holds it")
        return MODELS[name].repository
    if name in VISION:
        return VISION[name]
    if name.startswith("opt-"):
        return f"facebook/{name}"
    if name.count("/") == 1 and all(name.split("/")) and not name.startswith((".", "~")):
        return name
    known = {*MODELS, *VISION, "id"} - {name}  # id itself comes here where it is of no use
    raise ConfigError(
        f"no model {name!r}{nearest(name, known)}; besides these: a hub id (owner/name), a folder that exists or a "
        ".gguf file"
    )


def _safetensors_revision(repository: str) -> str | None:
    """The main branch where it has safetensors, else the hub's own conversion of its pickles."""
    from huggingface_hub import HfApi

    api = HfApi()
    if any(file.endswith(".safetensors") for file in api.list_repo_files(repository)):
        return None
    for discussion in api.get_repo_discussions(repository, discussion_type="pull_request"):
        if discussion.author == "SFconvertbot":
            return discussion.git_reference
    raise AssetError(f"{repository} holds pickled weights only, which are never loaded; convert them to safetensors")


def _not_available(name: str, repository: str, faults: list[str]) -> Exception:
    why = "HF_HUB_OFFLINE is set" if os.environ.get("HF_HUB_OFFLINE") else "the hub cannot be reached"
    state = f"is in the hub's cache, but {faults[0]}" if faults else "is not in the hub's cache"
    return AssetError(
        f"{name} ({repository}) {state}, and {why}. Models at hand: "
        f"{', '.join(cached_models()) or 'none'}. A local copy is named by its path: --model path/to/folder"
    )


def cached_models() -> list[str]:
    """Hub ids in the hub's cache and names in llmrec's own, without touching the network."""
    return sorted([*(repo.repo_id for repo in _cached()), *assets.cached("model")])


def _digest(paths: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.name.encode())
        with path.open("rb") as file:
            while block := file.read(1 << 24):
                digest.update(block)
    return digest.hexdigest()[:40]
