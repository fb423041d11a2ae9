"""Images on their way to a vision model: read from the store, against what a loader does that decodes them anew."""

import argparse
import gc
import random
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from eval.memory import PeakMemory
from eval.speed import Timing

STORE, ANEW, DECODE = "llmrec, from the store", "PIL and NumPy, anew each epoch", "llmrec, decoding once"
SIZE, WIDTH, HEIGHT = 224, 400, 600
ASKED = 15_000
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def add_options(parser: argparse.ArgumentParser) -> None:
    """How many images, and where they lie meanwhile."""
    parser.set_defaults(threads=1)
    parser.add_argument("--images", type=int, default=512, help="decoded, and read from the store, in one repetition")
    parser.add_argument("--catalogue", type=int, default=100_000, help="images of the one pass whose memory is watched")
    parser.add_argument("--batch", type=int, default=128, help="images in a batch")
    parser.add_argument("--folder", type=Path, default=Path("runs/speed"), help="where they lie while it runs")


def measure(arguments: argparse.Namespace) -> Timing:
    """All make bf16 of the same JPEG files, each in one process; then one pass over a catalogue in random order."""
    import torch

    from eval.speed import alternate
    from llmrec.covers import Covers
    from llmrec.image_files import decoded
    from llmrec.normalisation import Normalisation
    from llmrec.pixels import PixelStore, decode

    torch.set_num_threads(arguments.threads)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        files = _files(Path(name), arguments.images)
        kilobytes = sum(path.stat().st_size for path in files) / len(files) / 1e3
        store = PixelStore(Path(name) / "store", SIZE)
        keys = decode(Covers([None, *files], ()), store, workers=1, progress=lambda done, total: None)[0][1:]
        delivery = _Delivery(Normalisation(MEAN, STD, torch.bfloat16), arguments.batch)
        systems: dict[str, Any] = {
            STORE: lambda: delivery.whole(store, keys),
            ANEW: lambda: _anew(files, delivery.room),
            DECODE: lambda: [decoded(path, SIZE) for path in files],
        }
        seconds = alternate(systems, arguments.repeats)
        facts = _one_pass(delivery, Path(name), arguments.catalogue)
    return Timing(
        title=f"{arguments.images:,} JPEG files of {WIDTH} x {HEIGHT} pixels ({kilobytes:.0f} kB on average) to bf16 "
        f"of {SIZE} x {SIZE}, batches of {arguments.batch}, {arguments.threads} thread",
        unit="images",
        work=arguments.images,
        seconds=seconds,
        ratios=[(STORE, ANEW, "none"), (DECODE, ANEW, "none")],
        notes=[
            f"Asked for: {ASKED:,} images a second and core from the store, its pages in memory.",
            f"One pass in random order over {arguments.catalogue:,} images ({facts['catalogue']}): "
            f"{facts['images_a_second_in_one_pass']:,.0f} a second, peak anonymous memory (RssAnon) of the process "
            f"{facts['peak_rss_anon_bytes'] / 1e9:.2f} GB, asked for: under 2 GB.",
        ],
        facts=facts,
    )


class _Delivery:
    """Batches into the same memory, one after the other."""

    def __init__(self, normalise: Any, batch: int) -> None:
        import torch

        self.normalise, self.batch = normalise, batch
        self.room = torch.empty(batch, 3, SIZE, SIZE, dtype=normalise.dtype)

    def whole(self, store: Any, keys: list[str]) -> None:
        for start in range(0, len(keys), self.batch):
            some = keys[start : start + self.batch]
            self.normalise.read(store, some, self.room[: len(some)])


def _one_pass(delivery: _Delivery, folder: Path, number: int) -> dict[str, Any]:
    """Speed and memory of a large catalogue, every image of it once."""
    store, how = _catalogue(folder, number)
    order = random.Random(0).sample(_names(number), number)
    gc.collect()
    with PeakMemory() as memory:
        started = time.perf_counter()
        delivery.whole(store, order)
        rate = number / (time.perf_counter() - started)
    return {"catalogue": how, "images_a_second_in_one_pass": rate, "peak_rss_anon_bytes": memory.peak}


def _anew(files: list[Path], room: Any) -> None:
    """What a data set of images does in every epoch."""
    import numpy as np
    import torch
    from PIL import Image

    mean, std = np.array(MEAN, dtype=np.float32), np.array(STD, dtype=np.float32)
    for start in range(0, len(files), len(room)):
        images = []
        for path in files[start : start + len(room)]:
            with Image.open(path) as image:
                pixels = np.asarray(image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BICUBIC))
            images.append(((pixels.astype(np.float32) / 255 - mean) / std).transpose(2, 0, 1))
        room[: len(images)] = torch.from_numpy(np.stack(images))


def _files(folder: Path, number: int) -> list[Path]:
    """JPEG files with about as many details as a poster."""
    import numpy as np
    from PIL import Image

    generator = np.random.default_rng(0)
    paths = [folder / f"{row}.jpg" for row in range(number)]
    for path in paths:
        coarse = Image.fromarray(generator.integers(0, 256, (HEIGHT // 10, WIDTH // 10, 3), dtype=np.uint8))
        coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC).save(path, quality=85)
    return paths


def _catalogue(folder: Path, number: int) -> tuple[Any, str]:
    """A store of noise; of files with holes for their content if the disk has not twice the room."""
    import numpy as np

    from llmrec.pixels import SHARD_IMAGES, PixelStore
    from llmrec.runs import write_json

    size = 3 * SIZE * SIZE
    whole = shutil.disk_usage(folder).free > 2 * number * size
    noise = np.random.default_rng(0).integers(0, 256, SHARD_IMAGES * size, dtype=np.uint8)
    place = folder / "catalogue" / str(SIZE)
    place.mkdir(parents=True)
    names = _names(number)
    for start in range(0, number, SHARD_IMAGES):
        some = names[start : start + SHARD_IMAGES]
        with (place / f"{start}.uint8").open("wb") as shard:
            shard.truncate(len(some) * size)
            if whole:
                shard.write(noise[: len(some) * size].data)
        write_json(place / f"{start}.json", {"keys": some})
    return PixelStore(place.parent, SIZE), f"{number * size / 1e9:.1f} GB {'on disk' if whole else 'of sparse files'}"


def _names(number: int) -> list[str]:
    return [f"image {row}" for row in range(number)]
