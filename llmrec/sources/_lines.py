"""Lines of UTF-8 files, plain or gzipped, one at a time and with their numbers, for files larger than the memory."""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

from llmrec.errors import DataError


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines with their numbers from 1, without LF or CRLF; a mark of byte order at the start is dropped.

    Raises:
        DataError: the file cannot be read or has a byte that is no UTF-8.
    """
    number = 0
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            for number, line in enumerate(file, 1):
                yield number, line.decode("utf-8" if number > 1 else "utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise DataError(f"{path}, line {number}: byte 0x{byte:02x} is not UTF-8; convert the file to UTF-8") from None
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"cannot read {path} after line {number}: {error}") from None


def rows(path: Path, layouts: dict[int, str]) -> Iterator[tuple[int, list[str]]]:
    """Fields between tabs with the number of their line; quotes mean nothing.

    Args:
        path: of the file.
        layouts: what the fields are by how many there are; all lines must have as many as line 1.

    Raises:
        DataError: a line with another number of fields, or an empty file.
    """
    allowed, blank = layouts, 0
    for number, line in lines(path):
        if not line:  # no fault at the end of the file
            blank = blank or number
            continue
        found = line.split("\t")
        if blank or len(found) not in allowed:
            raise DataError(
                f"{path}, line {blank or number}: expected fields separated by tabs "
                f"({' or '.join(allowed.values())}), found {'' if blank else line[:200]!r}"
            )
        allowed = {len(found): layouts[len(found)]}
        yield number, found
    if allowed is layouts:
        raise DataError(f"{path} is empty")


def first_line(path: Path) -> str:
    """The first line as far as it can be read; empty for a file that is no text."""
    try:
        return next(lines(path), (0, ""))[1]
    except DataError:
        return ""
