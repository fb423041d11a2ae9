"""From image files to pixels: every kind of file, broken ones, the store on disk, what reaches the model."""

import hashlib
import os
import random
import subprocess
import sys
import zlib
from pathlib import Path
from struct import pack

import dying_worker
import numpy as np
import pytest
import torch
from conftest import ROOT
from PIL import Image

from llmrec import cores, image_files, pixels
from llmrec.covers import Covers
from llmrec.errors import DataError, RunError
from llmrec.image_files import content_key, decoded
from llmrec.normalisation import Normalisation
from llmrec.pixels import PixelStore, decode

POSTERS = ROOT.parent / "shared" / "data" / "ml-latest-small" / "posters"
RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def halves(
    left: tuple[int, ...] = RED, right: tuple[int, ...] = BLUE, size: int = 32, mode: str = "RGB"
) -> Image.Image:
    image = Image.new(mode, (size, size), left)
    image.paste(right, (size // 2, 0, size, size))
    return image


def corners(path: Path) -> dict[str, tuple[int, ...]]:
    """Colours decoded near two corners, rounded to steps of 15, which JPEG hardly passes."""
    found = decoded(path, 16)
    assert found.shape == (3, 16, 16)
    assert found.dtype == np.uint8
    rounded = np.round(found.astype(float) / 15).astype(int) * 15
    return {"left": tuple(rounded[:, 2, 2].tolist()), "right": tuple(rounded[:, 2, -3].tolist())}


def saved(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


def covers_of(*paths: Path | None) -> Covers:
    return Covers([None, *paths], ())


def some_files(folder: Path, number: int, seed: int = 0) -> list[Path]:
    """Small files of noise, each another."""
    noise = np.random.default_rng(seed).integers(0, 256, (number, 4, 4, 3), dtype=np.uint8)
    return [saved(folder / f"{seed}-{row}.png", Image.fromarray(values)) for row, values in enumerate(noise)]


def silent(done: int, total: int) -> None:
    pass


def fill(store: PixelStore, paths: list[Path]) -> list[str]:
    return decode(covers_of(*paths), store, workers=1, progress=silent)[0][1:]


# Kinds of files


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "gif", "bmp"])
def test_every_format_gives_its_colours(tmp_path, ending):
    assert corners(saved(tmp_path / f"a.{ending}", halves())) == {"left": RED, "right": BLUE}


def test_the_content_says_what_a_file_is_and_not_its_ending(tmp_path):
    assert corners(saved(tmp_path / "a.jpg", halves(), format="PNG")) == {"left": RED, "right": BLUE}


def test_grayscale_gives_three_equal_channels(tmp_path):
    for mode in ("L", "1"):
        image = Image.new("L", (32, 32), 255).convert(mode)
        image.paste(0, (16, 0, 32, 32))
        assert corners(saved(tmp_path / f"{mode}.png", image)) == {"left": WHITE, "right": (0, 0, 0)}


def test_cmyk_as_adobe_writes_it_is_not_a_negative(tmp_path):
    ink = halves((0, 255, 255, 0), (255, 255, 0, 0), mode="CMYK")
    path = saved(tmp_path / "a.jpg", ink, quality=95)
    assert b"Adobe" in path.read_bytes(), "which stands for inverted values"
    assert corners(path) == {"left": RED, "right": BLUE}


def test_transparent_parts_are_white(tmp_path):
    clear = halves((255, 0, 0, 255), (0, 0, 0, 0), mode="RGBA")
    assert corners(saved(tmp_path / "rgba.png", clear)) == {"left": RED, "right": WHITE}
    assert corners(saved(tmp_path / "rgba.webp", clear, lossless=True)) == {"left": RED, "right": WHITE}
    palette = halves().quantize(4)
    assert corners(saved(tmp_path / "p.png", palette)) == {"left": RED, "right": BLUE}
    behind = palette.getpixel((31, 0))
    assert corners(saved(tmp_path / "p.gif", palette, transparency=behind)) == {"left": RED, "right": WHITE}
    assert corners(saved(tmp_path / "named.png", halves(), transparency=BLUE)) == {"left": RED, "right": WHITE}
    half = halves((0, 255), (0, 128), mode="LA")
    assert corners(saved(tmp_path / "la.png", half)) == {"left": (0, 0, 0), "right": (120, 120, 120)}


def test_16_bits_are_cut_to_8_and_not_clipped(tmp_path):
    values = np.full((32, 32), 0x4B00, dtype=np.uint16)
    values[:, 16:] = 0xE1FF
    path = saved(tmp_path / "a.png", Image.fromarray(values))
    assert corners(path) == {"left": (0x4B,) * 3, "right": (0xE1,) * 3}


@pytest.mark.parametrize("ending", ["gif", "webp"])
def test_of_an_animation_the_first_frame_counts(tmp_path, ending):
    path = saved(tmp_path / f"a.{ending}", halves(), save_all=True, append_images=[halves(BLUE, RED)], duration=9)
    with Image.open(path) as image:
        assert image.n_frames == 2
    assert corners(path) == {"left": RED, "right": BLUE}


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_stands_as_exif_says(tmp_path, orientation):
    from PIL import ImageOps

    upright = Image.fromarray(np.random.default_rng(0).integers(0, 256, (2, 2, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = upright.resize((32, 32), Image.Resampling.NEAREST)
    path = saved(tmp_path / "a.png", image, exif=exif)
    with Image.open(path) as stored:
        right = np.asarray(ImageOps.exif_transpose(stored))
    assert (decoded(path, 32) == right.transpose(2, 0, 1)).all()


def test_damaged_exif_leaves_the_picture(tmp_path):
    path = saved(tmp_path / "a.jpg", halves(), quality=95, exif=b"Exif\0\0MM\0*\xff\xff\xff\xff\0\1")
    assert corners(path) == {"left": RED, "right": BLUE}


def test_one_pixel_fills_the_square_and_a_long_image_is_squashed(tmp_path):
    dot = decoded(saved(tmp_path / "dot.png", Image.new("RGB", (1, 1), (9, 8, 7))), 16)
    assert (dot == np.array([9, 8, 7])[:, None, None]).all()
    strip = halves(size=320).crop((0, 0, 320, 10))
    assert corners(saved(tmp_path / "strip.png", strip)) == {"left": RED, "right": BLUE}


def test_quick_decoding_is_near_the_exact_bicubic(tmp_path):
    smooth = np.random.default_rng(0).integers(0, 256, (12, 9, 3), dtype=np.uint8)
    path = saved(tmp_path / "a.jpg", Image.fromarray(smooth).resize((900, 1200), Image.Resampling.BICUBIC), quality=95)
    with Image.open(path) as image:
        exact = np.asarray(image.resize((64, 64), Image.Resampling.BICUBIC), dtype=int).transpose(2, 0, 1)
    assert np.abs(decoded(path, 64) - exact).mean() < 1
    assert np.abs(decoded(path, 64) - exact).max() < 12


@pytest.mark.skipif(not POSTERS.is_dir(), reason="posters are not in ../shared/data/ml-latest-small")
def test_real_posters_are_what_bicubic_makes_of_them():
    for path in sorted(POSTERS.iterdir())[:10]:
        with Image.open(path) as image:
            exact = np.asarray(image.convert("RGB").resize((224, 224), Image.Resampling.BICUBIC)).transpose(2, 0, 1)
        assert (decoded(path, 224) == exact).all(), "none is so large that it is reduced first"


# Broken files


def bomb(path: Path, side: int) -> Path:
    """A PNG whose header promises more than it holds."""
    header = pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunk = lambda name, data: pack(">I", len(data)) + name + data + pack(">I", zlib.crc32(name + data))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(10))))
    return path


def test_broken_files_say_why(tmp_path):
    whole = saved(tmp_path / "whole.jpg", halves(size=256), quality=95).read_bytes()
    cut, text, short = tmp_path / "cut.jpg", tmp_path / "text.jpg", tmp_path / "short.jpg"
    cut.write_bytes(whole[: len(whole) // 2])
    text.write_text("<html>404</html>", encoding="utf-8")
    short.write_bytes(whole[:2])
    with pytest.raises(DataError, match="damaged: image file is truncated"):
        decoded(cut, 16)
    with pytest.raises(DataError, match="not an image that can be read"):
        decoded(text, 16)
    with pytest.raises(DataError, match="damaged: "):
        decoded(short, 16)
    for path in (tmp_path / "none.jpg", tmp_path):
        with pytest.raises(DataError, match=r"No such file|Is a directory"):
            content_key(path)
    short.write_bytes(b"")
    with pytest.raises(DataError, match="an empty file"):
        content_key(short)


def test_one_wrong_byte_of_a_png_is_found_wherever_it_stands(tmp_path):
    """Pillow decodes a PNG that is asked for its EXIF, and does not tell of the damage a second time."""
    noise = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    whole = saved(tmp_path / "whole.png", Image.fromarray(noise)).read_bytes()
    found = 0
    for place in range(60, len(whole) - 20, 131):
        path = tmp_path / f"{place}.png"
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        with pytest.raises(DataError, match=r"damaged|not an image"):
            decoded(path, 16)
        found += 1
    assert found > 40


@pytest.mark.parametrize("failure", [MemoryError(), OSError(5, "Input/output error")])
def test_what_the_system_fails_to_do_is_not_held_against_the_image(tmp_path, monkeypatch, failure):
    store, paths = PixelStore(tmp_path / "store", 4), some_files(tmp_path, 2)

    def fail(file, size):
        raise failure

    with monkeypatch.context() as patched:
        patched.setattr(image_files, "_opened", fail)
        with pytest.raises(RunError, match=r"0-0\.png: (no memory left|Input/output error)"):
            fill(store, paths)
    assert list(store.folder.iterdir()) == []
    keys = fill(store, paths)
    assert PixelStore(tmp_path / "store", 4).missing(keys) == []


def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded(tmp_path):
    for side, told in ((20_000, "more than 50,000,000 pixels"), (9_000, "9,000 x 9,000 pixels, more than 50,000,000")):
        with pytest.raises(DataError, match=told):
            decoded(bomb(tmp_path / "a.png", side), 16)
    with pytest.raises(DataError, match="damaged: "):
        decoded(bomb(tmp_path / "a.png", 7_000), 16)


@pytest.mark.slow
def test_a_jpeg_of_20000_by_20000_pixels_takes_little_memory(tmp_path):
    whole = saved(tmp_path / "a.jpg", Image.new("L", (20_000, 20_000), 60))
    code = (
        "import resource; from pathlib import Path; from llmrec.image_files import decoded\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        f"assert (decoded(Path({str(whole)!r}), 224) == 60).all()\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    used = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=100).stdout
    assert 1024 * int(used) < 100e6


def test_a_progressive_jpeg_of_too_many_pixels_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(image_files, "MAX_PIXELS", 64 * 64)
    assert corners(saved(tmp_path / "a.jpg", halves(size=128), quality=95)) == {"left": RED, "right": BLUE}
    with pytest.raises(DataError, match="128 x 128 pixels, more than 4,096"):
        decoded(saved(tmp_path / "b.jpg", halves(size=128), progressive=True), 16)


# The store


def test_pixels_are_read_back_in_any_order_and_as_often_as_asked(tmp_path, monkeypatch):
    monkeypatch.setattr(pixels, "SHARD_IMAGES", 5)
    monkeypatch.setattr(pixels, "FEW_IMAGES", 1)
    monkeypatch.setattr(pixels, "_VECTORS", 3)
    paths = some_files(tmp_path, 17)
    store = PixelStore(tmp_path / "store", 4)
    keys = fill(store, paths)
    assert len(store) == 17
    assert len(list((tmp_path / "store" / "4").glob("*.uint8"))) == 4, "17 images in shards of 5"
    for seed in range(5):
        some = random.Random(seed).choices(range(17), k=30)
        found = store.read([keys[row] for row in some])
        assert (found.numpy() == np.stack([decoded(paths[row], 4) for row in some])).all()
    assert store.read(keys).shape == (17, 3, 4, 4)
    assert store.read([]).shape == (0, 3, 4, 4)


def test_a_key_that_is_not_there_is_named(tmp_path):
    store = PixelStore(tmp_path, 4)
    with pytest.raises(DataError, match=r"lacks 2 of the images asked for, such as 'a'; run once with the folder"):
        store.read(["a", "b", "a"])


def test_a_later_store_finds_the_pixels_without_the_image_files(tmp_path):
    paths = some_files(tmp_path, 3)
    keys = fill(PixelStore(tmp_path / "store", 4), paths)
    before = PixelStore(tmp_path / "store", 4).read(keys)
    for path in paths:
        path.unlink()
    assert torch.equal(PixelStore(tmp_path / "store", 4).read(keys), before)
    assert PixelStore(tmp_path / "store", 8).missing(keys) == keys, "another size is another store"


def test_only_what_is_missing_is_decoded(tmp_path, monkeypatch):
    paths = some_files(tmp_path, 4)
    store, seen = PixelStore(tmp_path / "store", 4), []
    decode(covers_of(*paths[:3]), store, workers=1, progress=lambda done, total: seen.append((done, total)))
    decode(covers_of(*paths), store, workers=1, progress=lambda done, total: seen.append((done, total)))
    decode(covers_of(*paths), store, workers=1, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(0, 3), (3, 3), (0, 1), (1, 1)]


def test_an_interrupted_run_keeps_the_shards_that_are_done(tmp_path, monkeypatch):
    monkeypatch.setattr(pixels, "SHARD_IMAGES", 2)
    monkeypatch.setattr(pixels, "FEW_IMAGES", 1)
    paths = some_files(tmp_path, 6)

    def interrupt(done: int, total: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        decode(covers_of(*paths), PixelStore(tmp_path / "store", 4), workers=1, progress=interrupt)
    again = PixelStore(tmp_path / "store", 4)
    assert len(again) == 4
    assert again.missing(fill(again, paths)) == []
    assert len(again) == 6


def test_two_writers_of_overlapping_images_do_no_harm(tmp_path):
    paths = some_files(tmp_path, 6)
    first, second = PixelStore(tmp_path / "store", 4), PixelStore(tmp_path / "store", 4)
    fill(first, paths[:4])
    keys = fill(second, paths)
    third = PixelStore(tmp_path / "store", 4)
    expected = np.stack([decoded(path, 4) for path in paths])
    for store in (second, third):
        assert (store.read(keys).numpy() == expected).all()


def test_a_damaged_shard_is_named_with_what_to_do(tmp_path):
    keys = fill(PixelStore(tmp_path / "store", 4), some_files(tmp_path, 3))
    (shard,) = (tmp_path / "store" / "4").glob("*.uint8")
    index = shard.with_suffix(".json")
    store = PixelStore(tmp_path / "store", 4)
    os.truncate(shard, 3 * 48 - 1)
    with pytest.raises(DataError, match=f"{shard.name} is cut short"):
        store.read(keys)
    with pytest.raises(DataError, match=f"143 bytes for 3 images of 48; delete {index.name}"):
        PixelStore(tmp_path / "store", 4)
    index.write_text("{", encoding="utf-8")
    with pytest.raises(
        DataError, match=f"{index.name} or its pixels are damaged .* delete it, and they are made again"
    ):
        PixelStore(tmp_path / "store", 4)
    index.unlink()
    assert PixelStore(tmp_path / "store", 4).missing(keys) == keys


# Decoding a catalogue


def test_broken_and_repeated_images_are_counted_and_named(tmp_path):
    good, other = some_files(tmp_path, 2)
    twin, empty, text = tmp_path / "twin.png", tmp_path / "empty.jpg", tmp_path / "text.jpg"
    twin.write_bytes(good.read_bytes())
    empty.write_bytes(b"")
    text.write_text("404", encoding="utf-8")
    store = PixelStore(tmp_path / "store", 4)
    keys, notes = decode(covers_of(good, None, empty, twin, text, other), store, workers=1, progress=silent)
    assert keys == ["", content_key(good), "", "", content_key(good), "", content_key(other)]
    assert notes == [
        "2 image files cannot be used, and their items have no image: "
        f"{empty} (an empty file); {text} (not an image that can be read)",
        f"1 images stand under several items, 2 in all, such as {good} and {twin}, and are kept once",
    ]
    assert len(store) == 2


def test_a_broken_file_is_tried_once_and_named_every_time(tmp_path):
    text = tmp_path / "text.jpg"
    text.write_text("404", encoding="utf-8")
    found, folder = covers_of(*some_files(tmp_path, 1), text), tmp_path / "store"
    first = decode(found, PixelStore(folder, 4), workers=1, progress=silent)
    steps: list[tuple[int, int]] = []
    again = decode(found, PixelStore(folder, 4), workers=1, progress=lambda *step: steps.append(step))
    assert again == first and "text.jpg (not an image that can be read)" in first[1][0]
    assert steps == [], "nothing was left to decode"
    assert len(list((folder / "4").glob("*.json"))) == 1
    with pytest.raises(DataError, match="lacks 1 of the images asked for"):
        PixelStore(folder, 4).read([content_key(text)])


def test_a_catalogue_without_one_usable_image_has_no_keys_and_says_why(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"")
    store = PixelStore(tmp_path / "store", 4)
    keys, (note,) = decode(covers_of(tmp_path / "a.jpg", None), store, workers=1, progress=silent)
    assert (keys, len(store)) == (["", "", ""], 0)
    assert note.endswith("a.jpg (an empty file)")
    assert decode(covers_of(None), store, workers=1, progress=silent) == (["", ""], [])


def test_of_many_broken_files_a_few_are_named(tmp_path):
    for number in range(12):
        (tmp_path / f"{number}.jpg").write_bytes(b"")
    paths = [*some_files(tmp_path, 1), *(tmp_path / f"{number}.jpg" for number in range(12))]
    _, (note,) = decode(covers_of(*paths), PixelStore(tmp_path / "store", 4), workers=1, progress=silent)
    assert note.startswith("12 image files cannot be used")
    assert note.endswith("7.jpg (an empty file) and 4 more")


@pytest.mark.slow
def test_two_processes_make_what_one_makes(tmp_path, monkeypatch):
    monkeypatch.setattr(pixels, "FEW_IMAGES", 4)
    paths = some_files(tmp_path, 20)
    alone, store = PixelStore(tmp_path / "alone", 8), PixelStore(tmp_path / "store", 8)
    seen: list[tuple[int, int]] = []
    keys, notes = decode(covers_of(*paths), store, workers=2, progress=lambda *step: seen.append(step))
    assert keys[1:] == fill(alone, paths)
    assert torch.equal(store.read(keys[1:]), alone.read(keys[1:]))
    assert (seen, notes) == ([(0, 20), (10, 20), (20, 20)], [])


@pytest.mark.slow
def test_a_worker_that_dies_is_told_and_does_not_hang(tmp_path, monkeypatch):
    monkeypatch.setattr(pixels, "FEW_IMAGES", 1)
    monkeypatch.setattr(pixels, "write_pixels", dying_worker.die)
    told = "a process that decodes images ended before its time.* 2 decode at a time, .* on Linux 'taskset -c 0'"
    with pytest.raises(RunError, match=told):
        decode(covers_of(*some_files(tmp_path, 4)), PixelStore(tmp_path / "s", 4), workers=2, progress=silent)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system does not bind processes to cores")
def test_cores_that_the_process_may_not_use_do_not_count():
    allowed = os.sched_getaffinity(0)
    assert cores.usable() == len(allowed)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert cores.usable() == 1
    finally:
        os.sched_setaffinity(0, allowed)


# The way to the model


def exact(values: torch.Tensor) -> torch.Tensor:
    mean, std = (torch.tensor(each, dtype=torch.float64).view(3, 1, 1) for each in (MEAN, STD))
    return (values.double() / 255 - mean) / std


@pytest.mark.parametrize(("number", "size"), [(0, 4), (1, 1), (8, 5), (9, 7), (20, 16)])
def test_normalised_pixels_are_the_formula_rounded_once(number, size):
    values = torch.randint(0, 256, (number, 3, size, size), dtype=torch.uint8)
    found = Normalisation(MEAN, STD, torch.float32)(values)
    torch.testing.assert_close(found.double(), exact(values), atol=1e-6, rtol=0)
    short = Normalisation(MEAN, STD, torch.bfloat16)(values)
    assert torch.equal(short, found.to(torch.bfloat16))


def test_all_values_of_all_channels_are_exact():
    values = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(1, 3, 16, 16).contiguous()
    torch.testing.assert_close(
        Normalisation(MEAN, STD, torch.float32)(values).double(), exact(values), atol=1e-6, rtol=0
    )


def test_a_batch_from_the_store_is_the_same_and_fills_what_is_given(tmp_path):
    store = PixelStore(tmp_path / "store", 8)
    keys = fill(store, some_files(tmp_path, 21))
    asked = [*keys[::-1], keys[3], keys[3]]
    normalise, out = Normalisation(MEAN, STD, torch.bfloat16), torch.empty(23, 3, 8, 8, dtype=torch.bfloat16)
    found = normalise.read(store, asked, out)
    assert found is out
    assert torch.equal(found, normalise(store.read(asked)))
    assert torch.equal(normalise.read(store, asked), found)
    assert normalise.read(store, []).shape == (0, 3, 8, 8)


def test_a_store_of_an_earlier_version_that_did_not_tell_what_is_broken_goes_on(tmp_path):
    """It had an empty shard for a file that cannot be used, under the name of that file's key."""
    path = tmp_path / "cut.jpg"
    path.write_bytes(b"\xff\xd8 cut")
    key = content_key(path)
    store = PixelStore(tmp_path / "store", 4)
    old = store.folder / hashlib.sha256(key.encode()).hexdigest()[:24]
    old.with_suffix(".uint8").write_bytes(b"")
    old.with_suffix(".json").write_text('{"keys": []}', encoding="utf-8")
    whole = some_files(tmp_path, 1)
    fill(store, whole)
    for _ in range(2):
        store = PixelStore(tmp_path / "store", 4)
        keys, notes = decode(covers_of(path, *whole), store, workers=1, progress=silent)
        assert keys[1] == "" and len(store.read(keys[2:])) == 1 and "1 image files cannot be used" in notes[0]
