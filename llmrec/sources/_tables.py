"""Delimited text without quoting, read strictly: every fault names the file, the line and the value."""

from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from llmrec.errors import DataError
from llmrec.sources._encodings import Encoding, decode, decode_either, read_bytes
from llmrec.sources._times import in_seconds

_LISTED = 20
"""Skipped rows that a note lists one by one."""


class RowError(DataError):
    """A row that cannot be used, in a file that can be read without it."""


@dataclass(frozen=True)
class Table:
    """A text file as string columns that still know their lines."""

    path: Path
    frame: pl.DataFrame
    lines: pl.Series
    """The line of the file that holds each row."""
    faults: list[tuple[pl.Series, pl.Series, str]] | None = None
    """None: a fault is raised. A list: faults are collected, and :meth:`sound` leaves their rows out."""

    def ids(self, column: str) -> pl.Series:
        """A column of ids as they stand in the file; an empty one is refused."""
        values = self.frame[column]
        self.refuse((values.str.strip_chars() == "").fill_null(True), values, f"{column} is empty, every row needs one")
        return values

    def keys(self, column: str) -> pl.Series:
        """A column of ids of which each has one row; a second one is refused."""
        values = self.ids(column)
        bare = values.str.strip_chars()
        again = ~bare.is_first_distinct()
        if again.any():
            first = self.lines[bare.to_list().index(bare.filter(again)[0])]
            self.refuse(again, values, f"{column} has a row already, line {first}")
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
        """Raises for the first row marked as wrong, or collects the rows where faults are collected.

        Args:
            wrong: booleans by row.
            values: what to print of the row.
            rule: what is allowed.

        Raises:
            RowError: names file, line, rule, value and how many more rows there are.
        """
        if not wrong.any():
            return
        if self.faults is not None:
            self.faults.append((wrong, values, rule))
            return
        row = wrong.to_list().index(True)
        more = f" (and {wrong.sum() - 1} more such lines)" if wrong.sum() > 1 else ""
        raise RowError(f"{self.where(row)}: {rule}; found {values[row]!r}{more}")

    def where(self, row: int) -> str:
        """How a message names a row."""
        return f"{self.path}, line {self.lines[row]}"

    def ratings(self) -> tuple[pl.DataFrame, list[str]]:
        """The columns of a log of ratings, and notes of its times and of each row that was left out."""
        columns = [self.ids("user_id"), self.ids("item_id"), self.whole("timestamp"), self.number("rating")]
        table, skipped = self.sound(columns)
        log, notes = in_seconds(table.frame, table)
        return log, notes + skipped

    def sound(self, columns: list[pl.Series]) -> tuple["Table", list[str]]:
        """The columns without the rows in which a fault was collected, and a note of each such row."""
        table = replace(self, frame=pl.DataFrame(columns))
        rows: dict[int, str] = {}
        for wrong, values, rule in self.faults or []:
            for row in wrong.arg_true():
                rows.setdefault(row, f"line {self.lines[row]} ({rule}; found {values[row]!r})")
        if not rows:
            return table, []
        listed = ", ".join(rows[row] for row in sorted(rows)[:_LISTED])
        more = f" and {len(rows) - _LISTED} more" if len(rows) > _LISTED else ""
        keep = ~pl.int_range(len(self.lines), eager=True).is_in(list(rows))
        table = replace(table, frame=table.frame.filter(keep), lines=self.lines.filter(keep))
        return table, [f"{self.path.name}: {len(rows)} row(s) skipped: {listed}{more}"]


def read_lines(path: Path, encoding: str) -> pl.Series:
    """Reads a text file; lines end at LF or CRLF only, for Latin-1 text may hold the other line separators.

    Raises:
        DataError: the file cannot be read, is empty or has a byte that the encoding does not allow.
    """
    return split_lines(path, decode(path, read_bytes(path), encoding))


def split_lines(path: Path, text: str) -> pl.Series:
    """The lines of a text, as one flat column: a list of Python strings would take several times the memory.

    Raises:
        DataError: there are none.
    """
    text = text.rstrip("\r\n")
    if not text:
        raise DataError(f"{path} is empty")
    return pl.Series("row", [text.replace("\r\n", "\n")]).str.split("\n").explode()


def split_rows(
    path: Path, rows: pl.Series, columns: list[str], separator: str, *, first_line: int = 1, skip: bool = False
) -> Table:
    """Splits rows at a separator; quotes mean nothing.

    Args:
        path: for messages.
        rows: the lines.
        columns: names of the fields.
        separator: what stands between two fields.
        first_line: the line of the file that holds row 0.
        skip: whether the table collects faults instead of raising them.

    Raises:
        DataError: a row with another number of fields.
    """
    fields = rows.str.split_exact(separator, len(columns) - 1).struct.rename_fields(columns).struct.unnest()
    lines = pl.int_range(first_line, first_line + len(rows), dtype=pl.UInt32, eager=True)
    table = Table(path, fields, lines, [] if skip else None)
    count = rows.str.count_matches(separator, literal=True) + 1
    rule = f"expected {len(columns)} fields separated by {separator!r} ({', '.join(columns)})"
    table.refuse(count != len(columns), rows, rule)
    return table


def read_latin(
    path: Path, columns: list[str], separator: str, encoding: Encoding, skip: bool = False
) -> tuple[Table, list[str]]:
    """Reads a file without a header that is published in Latin-1, see :func:`split_rows`; also notes.

    Raises:
        DataError: a byte outside the encoding, or a row with another number of fields.
    """
    text, notes = decode_either(path, read_bytes(path), "latin-1", encoding)
    return split_rows(path, split_lines(path, text), columns, separator, skip=skip), notes


def note(ids: pl.Series, which: pl.Series, what: str) -> list[str]:
    """One line for the data report: what was found, in how many items and in which; none if in none."""
    found = ids.filter(which).to_list()
    if len(found) > 5:
        return [f"{what}: {len(found)} items, such as {', '.join(found[:5])}"]
    return [f"{what}: item {', '.join(found)}"] if found else []


def _unread(text: pl.Series, values: pl.Series, optional: bool) -> pl.Series:
    return values.is_null() & (text != "") if optional else values.is_null()
