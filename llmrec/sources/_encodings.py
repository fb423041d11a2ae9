"""Bytes to text: a layout declares its encoding, the file may be in the other one, a mixture is refused."""

from pathlib import Path
from typing import Literal

from llmrec.errors import DataError

Encoding = Literal["auto", "utf-8", "latin-1"]


def read_bytes(path: Path) -> bytes:
    """The whole file.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None


def decode(path: Path, raw: bytes, encoding: str) -> str:
    """Decodes strictly.

    Raises:
        DataError: a byte that the encoding does not allow, with its line.
    """
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}, line {line}: byte 0x{raw[error.start]:02x} is not {error.encoding}; "
            f"convert the file to {error.encoding}"
        ) from None


def decode_either(path: Path, raw: bytes, declared: str, chosen: Encoding = "auto") -> tuple[str, list[str]]:
    """Decodes a file that may have been re-encoded between Latin-1 and UTF-8.

    Every byte is a Latin-1 character, so UTF-8 is tried first: text that is UTF-8 by accident is very rare.

    Args:
        path: for messages.
        raw: what the file holds.
        declared: the encoding in which the layout is published; another one is noted.
        chosen: ``auto`` looks, anything else is taken as it is.

    Returns:
        The text and notes.

    Raises:
        DataError: a byte outside the chosen encoding, or lines in both encodings.
    """
    if chosen != "auto":
        return decode(path, raw, "utf-8-sig" if chosen == "utf-8" else chosen), []
    try:
        text, found = raw.decode("utf-8-sig"), "utf-8"
    except UnicodeDecodeError as error:
        _refuse_mixture(path, raw, raw.count(b"\n", 0, error.start) + 1)
        text, found = raw.decode("latin-1"), "latin-1"
    if raw.isascii() or found == declared:
        return text, []
    return text, [f"{path.name} is read as {found}; this layout is published in {declared}"]


def _refuse_mixture(path: Path, raw: bytes, latin: int) -> None:
    for number, line in enumerate(raw.split(b"\n"), start=1):
        if not line.isascii() and _is_utf8(line):
            raise DataError(
                f"{path}, line {number} is UTF-8, line {latin} is not; convert the file to one encoding, or say "
                "which one with the option encoding (utf-8 or latin-1)"
            )


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
