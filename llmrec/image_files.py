"""One image file to the pixels that an encoder reads, and many to one file of them.

Free of torch, because the processes that decode import it.
"""

import hashlib
import warnings
from pathlib import Path
from struct import error as StructError
from typing import BinaryIO

import numpy as np
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile

from llmrec.errors import DataError, RunError
from llmrec.runs import write_atomically, write_json

MAX_PIXELS = 50_000_000
"""Of an image in memory, 400 MB for a moment if it has an alpha channel. A JPEG is made smaller by up to 8 before."""
REDUCING_GAP = 2.0
"""How many times the size wanted a cheap reduction leaves for the bicubic filter."""
_ORIENTATION = 0x0112
_TURNED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def content_key(path: Path) -> str:
    """Hash of a file's bytes.

    Raises:
        DataError: the reason why there is none, without the path.
    """
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256")
            if not file.tell():
                raise DataError("an empty file")
    except OSError as error:
        raise DataError(error.strerror or str(error)) from None
    return digest.hexdigest()[:32]


def decoded(path: Path, size: int) -> UInt8[np.ndarray, "3 size size"]:
    """RGB pixels, squashed to a square with PIL's antialiased bicubic filter, as MoRec's systems do (arXiv:2303.13835).

    The first frame of an animation; upright, if EXIF says how the camera was held; transparent parts white; 16 bits cut
    to the upper 8. Colour profiles are not applied.

    Args:
        path: of the file, whose content says what it is, whatever its ending.
        size: of either side, in pixels.

    Raises:
        DataError: the reason why the file cannot be used, without its path.
        RunError: the system failed, not the file, which may be whole.
    """
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return _square(_opened(file, size), size)
    except DataError:
        raise
    except UnidentifiedImageError:
        raise DataError("not an image that can be read") from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise DataError(f"more than {MAX_PIXELS:,} pixels") from None
    except MemoryError:
        raise RunError(f"{path}: no memory left to decode it") from None
    except Exception as error:  # PIL raises nearly anything on a damaged file
        if isinstance(error, OSError) and error.errno is not None:
            raise RunError(f"{path}: {error.strerror}") from None
        raise DataError(f"damaged: {error}") from None


def write_pixels(folder: Path, size: int, files: list[tuple[str, Path]]) -> None:
    """Decodes files into one shard: their pixels one behind the other, then the keys that say whose they are, and the
    reasons of those that have none.

    Args:
        folder: of the shards.
        size: of either side, in pixels.
        files: key and path of each; the same files make the same shard, so that two writers may meet.

    Raises:
        RunError: the system failed; nothing is written, for what cannot be used now may well be whole.
    """
    # The first form of a shard did not tell what was broken; one of the same files must not be taken for it.
    name = hashlib.sha256(" ".join(["2", *(key for key, _ in files)]).encode()).hexdigest()[:24]
    broken: dict[str, str] = {}

    def write(part: Path) -> None:
        with part.open("wb") as shard:
            for key, path in files:
                try:
                    shard.write(decoded(path, size).data)
                except DataError as error:
                    broken[key] = str(error)

    write_atomically(folder / f"{name}.uint8", write)
    keys = [key for key, _ in files if key not in broken]
    write_json(folder / f"{name}.json", {"keys": keys, "broken": broken})


def _opened(file: BinaryIO, size: int) -> Image.Image:
    """The image, not yet decoded, with no more pixels than allowed."""
    jpeg = file.read(2) == b"\xff\xd8"
    file.seek(0)
    image = JpegImageFile(file) if jpeg else Image.open(file)
    stored = image.size
    side = int(REDUCING_GAP * size)
    image.draft(None, (side, side))
    # A progressive JPEG is kept whole before any of it can be made smaller.
    width, height = stored if "progressive" in image.info else image.size
    if width * height > MAX_PIXELS:
        raise DataError(f"{stored[0]:,} x {stored[1]:,} pixels, more than {MAX_PIXELS:,}")
    return image


def _square(image: Image.Image, size: int) -> UInt8[np.ndarray, "3 size size"]:
    image.load()  # first, for who asks a damaged PNG for its EXIF is not told of the damage any more
    orientation = _orientation(image)
    small = _plain(image).resize((size, size), Image.Resampling.BICUBIC, reducing_gap=REDUCING_GAP)
    if small.mode == "RGBA":
        small = Image.alpha_composite(Image.new("RGBA", small.size, "white"), small)
    if orientation in _TURNED:
        small = small.transpose(_TURNED[orientation])
    return np.ascontiguousarray(np.asarray(small.convert("RGB")).transpose(2, 0, 1))


def _plain(image: Image.Image) -> Image.Image:
    """In a mode of 8 bits a channel, in which neighbouring values are neighbouring colours."""
    if image.mode.startswith("I"):
        return Image.fromarray((np.asarray(image).clip(0, 65535) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        return image.convert("RGBA")
    return image if image.mode == "L" else image.convert("RGB")


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except (OSError, SyntaxError, ValueError, TypeError, KeyError, StructError):
        return 1  # the picture may be whole although what is told about it is not
