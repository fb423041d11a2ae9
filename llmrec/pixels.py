"""Pixels of image files: decoded once, kept by content, read by position."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from llmrec.covers import Covers
from llmrec.errors import DataError, RunError
from llmrec.image_files import content_key, write_pixels
from llmrec.loading.memory import require_disk
from llmrec.runs import read_json

Progress = Callable[[int, int], None]
SHARD_IMAGES = 1024
"""In one file at most, which is what an interrupted worker loses."""
FEW_IMAGES = 64
"""Decoded in less time than a process takes to start."""
_VECTORS = 512
"""Rows asked for in one call of the system, which takes 1,024 at most."""
_LISTED = 8
"""Files that a note names at most."""


class PixelStore:
    """Decoded images on disk, found by the hash of their file; one folder for each size.

    Shards of raw uint8 lie beside the list of their keys, which is written last. Both come by an atomic rename and are
    never changed, so writers never meet and a reader sees whole shards only. Files that cannot be used stand there with
    the reason and are not tried again. Pixels are read by position and never mapped, because pages of a mapping count
    as memory of the process.

    Args:
        folder: of all sizes.
        size: of either side, in pixels.

    Raises:
        DataError: a damaged shard.
    """

    def __init__(self, folder: Path, size: int) -> None:
        self.size, self.folder = size, folder / str(size)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._shards: list[Path] = []
        self._starts = [0]
        self._number: dict[str, int] = {}
        self.broken: dict[str, str] = {}
        """Why a file cannot be used, by key."""
        self.refresh()

    def __len__(self) -> int:
        return len(self._number)

    @property
    def image_bytes(self) -> int:
        """What an image takes."""
        return 3 * self.size * self.size

    def refresh(self) -> None:
        """Takes up shards that were added since."""
        known = set(self._shards)
        for index in sorted(self.folder.glob("*.json")):
            shard = index.with_suffix(".uint8")
            if shard not in known:
                keys, broken = self._keys(index, shard)
                self.broken.update(broken)
                self._number.update(zip(keys, range(self._starts[-1], self._starts[-1] + len(keys)), strict=True))
                self._shards.append(shard)
                self._starts.append(self._starts[-1] + len(keys))

    def missing(self, keys: Iterable[str]) -> list[str]:
        """Keys that the store knows nothing of, each once, in the order given."""
        return [key for key in dict.fromkeys(keys) if key not in self._number and key not in self.broken]

    def read(
        self, keys: Sequence[str], out: UInt8[Tensor, "n 3 size size"] | None = None
    ) -> UInt8[Tensor, "n 3 size size"]:
        """Pixels of images, in the order of their keys, which may repeat.

        Args:
            keys: of the images.
            out: contiguous; is filled, where given.

        Raises:
            DataError: a key that the store lacks, or a shard that was cut short.
        """
        pixels = torch.empty(len(keys), 3, self.size, self.size, dtype=torch.uint8) if out is None else out
        rows = pixels.view(len(keys), self.image_bytes).numpy()
        for shard, first, places in self._runs(self._numbers(keys)) if keys else ():
            self._fill([memoryview(rows[place]) for place in places], self._shards[shard], first)
        return pixels

    def _keys(self, index: Path, shard: Path) -> tuple[list[str], dict[str, str]]:
        try:
            told = read_json(index)
            keys: list[str] = told["keys"]
            size = shard.stat().st_size
        except (RunError, KeyError, OSError) as error:
            raise DataError(
                f"{index} or its pixels are damaged ({error}); delete it, and they are made again"
            ) from None
        if size != len(keys) * self.image_bytes:
            raise DataError(
                f"{shard} is damaged: {size:,} bytes for {len(keys):,} images of {self.image_bytes:,}; delete "
                f"{index.name}, and they are made again"
            )
        return keys, told.get("broken", {})

    def _numbers(self, keys: Sequence[str]) -> Int[np.ndarray, " n"]:
        try:
            return np.fromiter((self._number[key] for key in keys), np.int64, len(keys))
        except KeyError:
            lacking = [key for key in dict.fromkeys(keys) if key not in self._number]
            raise DataError(
                f"{self.folder} lacks {len(lacking):,} of the images asked for, such as {lacking[0]!r}; run once with "
                "the folder of the image files, and they are decoded again"
            ) from None

    def _runs(self, numbers: Int[np.ndarray, " n"]) -> Iterator[tuple[int, int, Int[np.ndarray, " run"]]]:
        """Shard, first row and places asked for of every run of neighbouring rows."""
        order = np.argsort(numbers, kind="stable")
        ordered = numbers[order]
        shards = np.searchsorted(self._starts, ordered, side="right") - 1
        ends = (np.diff(ordered) != 1) | (np.diff(shards) != 0) | (np.arange(1, len(order)) % _VECTORS == 0)
        for begin, end in pairwise([0, *(np.flatnonzero(ends) + 1), len(order)]):
            shard = int(shards[begin])
            yield shard, int(ordered[begin]) - self._starts[shard], order[begin:end]

    def _fill(self, rows: list[memoryview], shard: Path, first: int) -> None:
        descriptor = os.open(shard, os.O_RDONLY)
        try:
            got = os.preadv(descriptor, rows, first * self.image_bytes)
        finally:
            os.close(descriptor)
        if got != len(rows) * self.image_bytes:
            raise DataError(f"{shard} is cut short; delete it and its .json, and its images are decoded again")


def decode(covers: Covers, store: PixelStore, *, workers: int, progress: Progress) -> tuple[list[str], list[str]]:
    """Sees to it that the store has the pixels of every cover; only what it lacks is decoded, equal files once.

    Args:
        covers: which file shows each item.
        store: is filled.
        workers: processes that decode, started afresh ("spawn"), because threads of torch and polars hang after a fork.
        progress: called with images done and images to do.

    Returns:
        The key by item index, "" where there is no usable image; notes of files that cannot be used, with the reason,
        and of images that several items share.

    Raises:
        MemoryLimitError: the disk has no room for the pixels.
        RunError: a worker died.
    """
    indices = [index for index, path in enumerate(covers.files) if path is not None]
    paths = [path for path in covers.files if path is not None]
    with ThreadPoolExecutor(workers) as threads:
        hashed = list(threads.map(_hashed, paths))
    first: dict[str, Path] = {}
    for (key, _), path in zip(hashed, paths, strict=True):
        if key:
            first.setdefault(key, path)
    _fill(store, first, workers, progress)
    keys, broken = [""] * len(covers.files), []
    for index, path, (key, reason) in zip(indices, paths, hashed, strict=True):
        if why := reason or store.broken.get(key):
            broken.append(f"{path} ({why})")
        else:
            keys[index] = key
    return keys, [*_told_broken(broken), *_told_shared(keys, covers)]


def _hashed(path: Path) -> tuple[str, str]:
    """The key, or "" and the reason."""
    try:
        return content_key(path), ""
    except DataError as error:
        return "", str(error)


def _fill(store: PixelStore, paths: dict[str, Path], workers: int, progress: Progress) -> None:
    """Decodes what is missing."""
    missing = store.missing(paths)
    if not missing:
        return
    require_disk(
        f"{len(missing):,} images of {store.size} x {store.size} pixels", len(missing) * store.image_bytes, store.folder
    )
    size = min(SHARD_IMAGES, max(FEW_IMAGES, -(-len(missing) // workers)))
    files = [(key, paths[key]) for key in missing]
    batches = [files[start : start + size] for start in range(0, len(files), size)]
    done = 0
    progress(done, len(missing))
    for number in _written(store, batches, workers):
        done += number
        progress(done, len(missing))
    store.refresh()


def _written(store: PixelStore, batches: list[list[tuple[str, Path]]], workers: int) -> Iterator[int]:
    """Number of files of every shard, as they are finished."""
    write = partial(write_pixels, store.folder, store.size)
    if min(workers, len(batches)) == 1:
        for batch in batches:
            write(batch)
            yield len(batch)
        return
    with ProcessPoolExecutor(min(workers, len(batches)), mp_context=get_context("spawn")) as pool:
        begun = {pool.submit(write, batch): len(batch) for batch in batches}
        try:
            for each in as_completed(begun):
                each.result()
                yield begun[each]
        except BrokenProcessPool:
            raise RunError(
                "a process that decodes images ended before its time, as when memory runs out; what is done is kept. "
                f"{min(workers, len(batches))} decode at a time, one for each core; on Linux 'taskset -c 0' before the "
                "command leaves one core, and then the command decodes alone. A script of your own must begin under "
                "if __name__ == '__main__'"
            ) from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _LISTED:,} more" if len(names) > _LISTED else ""
    return "; ".join(names[:_LISTED]) + more


def _told_broken(broken: list[str]) -> list[str]:
    if not broken:
        return []
    return [f"{len(broken):,} image files cannot be used, and their items have no image: {_some(broken)}"]


def _told_shared(keys: list[str], covers: Covers) -> list[str]:
    """What is told of images that stand under several items."""
    under: dict[str, list[int]] = {}
    for index, key in enumerate(keys):
        if key:
            under.setdefault(key, []).append(index)
    shared = [indices for indices in under.values() if len(indices) > 1]
    if not shared:
        return []
    names = " and ".join(str(covers.files[index]) for index in max(shared, key=len)[:2])
    items = sum(map(len, shared))
    return [f"{len(shared):,} images stand under several items, {items:,} in all, such as {names}, and are kept once"]
