"""Delimited text without quoting, read strictly: every fault names the file, the line and the value."""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from llmrec.errors import DataError


@dataclass(frozen=True)
class Table:
    """A text file as string columns that still know their lines."""

    path: Path
    frame: pl.DataFrame
    first_line: int
    """Line of the file that holds row 0."""

    def ids(self, column: str) -> pl.Series:
        """A column of ids as they stand in the file; an empty one is refused."""
        values = self.frame[column]
        self.refuse(values == "", values, f"{column} is empty, every row needs one")
        return values

    def whole(self, column: str, *, optional: bool = False) -> pl.Series:
        """A column as int64, read from the digits: no float stands between, which would merge large values.

        Args:
            column: name of the column.
            optional: whether an empty field is null instead of an error.
        """
        text = self.frame[column]
        values = text.str.replace(r"\.0+$", "").cast(pl.Int64, strict=False)
        self.refuse(_unread(text, values, optional), text, f"{column} must be a whole number (64 bits)")
        return values

    def number(self, column: str) -> pl.Series:
        """A column as finite Float64."""
        text = self.frame[column]
        values = text.cast(pl.Float64, strict=False)
        self.refuse(~values.is_finite().fill_null(False), text, f"{column} must be a number")
        return values

    def refuse(self, wrong: pl.Series, values: pl.Series, rule: str) -> None:
        """Raises for the first row marked as wrong.

        Args:
            wrong: booleans by row.
            values: what to print of the row.
            rule: what is allowed.

        Raises:
            DataError: names file, line, rule, value and how many more rows there are.
        """
        if not wrong.any():
            return
        row = wrong.to_list().index(True)
        more = f" (and {wrong.sum() - 1} more such lines)" if wrong.sum() > 1 else ""
        raise DataError(f"{self.path}, line {row + self.first_line}: {rule}; found {values[row]!r}{more}")


def read_lines(path: Path, encoding: str) -> list[str]:
    """Reads a text file; lines end at LF or CRLF only, for Latin-1 text may hold the other line separators.

    Raises:
        DataError: the file cannot be read, is empty or has a byte that the encoding does not allow.
    """
    try:
        text = path.read_bytes().decode(encoding).rstrip("\r\n")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}, line {line}: byte 0x{error.object[error.start]:02x} is not {error.encoding}; "
            f"convert the file to {error.encoding}"
        ) from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None
    if not text:
        raise DataError(f"{path} is empty")
    return text.replace("\r\n", "\n").split("\n")


def split_rows(path: Path, rows: list[str], columns: list[str], separator: str, first_line: int = 1) -> Table:
    """Splits rows at a separator; quotes mean nothing.

    Raises:
        DataError: a row with another number of fields.
    """
    text = pl.Series("row", rows, dtype=pl.String)
    count = text.str.count_matches(separator, literal=True) + 1
    rule = f"expected {len(columns)} fields separated by {separator!r} ({', '.join(columns)})"
    Table(path, pl.DataFrame(), first_line).refuse(count != len(columns), text, rule)
    fields = text.str.split_exact(separator, len(columns) - 1).struct.rename_fields(columns).struct.unnest()
    return Table(path, fields, first_line)


def strip_titles(ids: pl.Series, titles: pl.Series) -> tuple[pl.Series, list[str]]:
    """Removes blanks around titles; an empty title becomes null, never a text to embed; notes tell which."""
    stripped = titles.str.strip_chars()
    notes = note(ids, stripped != titles, "blanks around the title removed")
    notes += note(ids, stripped == "", "no title")
    return stripped.replace("", None), notes


def note(ids: pl.Series, which: pl.Series, what: str) -> list[str]:
    """One line for the data report: what was found, in how many items and in which; none if in none."""
    found = ids.filter(which).to_list()
    more = f" and {len(found) - 5} more" if len(found) > 5 else ""
    return [f"{what}: item {', '.join(found[:5])}{more}"] if found else []


def _unread(text: pl.Series, values: pl.Series, optional: bool) -> pl.Series:
    return values.is_null() & (text != "") if optional else values.is_null()
