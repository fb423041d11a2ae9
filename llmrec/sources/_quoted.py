"""Comma-separated files with a header, where quotes are real: a title may hold commas, quotes and line ends."""

import csv
import io
from pathlib import Path

import polars as pl

from llmrec.errors import DataError
from llmrec.sources._tables import Table, split_lines, split_rows


def read_csv(path: Path, text: str, spellings: dict[str, tuple[str, ...]], *, skip: bool = False) -> Table:
    """Reads a CSV file as string columns.

    Args:
        path: for messages.
        text: what the file holds.
        spellings: needed columns and the header names that stand for each.
        skip: whether the table collects faults instead of raising them.

    Raises:
        DataError: a missing or repeated column, an open quote or a row with another number of fields.
    """
    lines = split_lines(path, text)
    header = [name.strip() for name in next(csv.reader([lines[0]]))]
    columns = _named(path, header, spellings)
    if '"' in text:
        return _quoted(path, text, columns, skip)
    return split_rows(path, lines[1:], columns, ",", first_line=2, skip=skip)


def _named(path: Path, header: list[str], spellings: dict[str, tuple[str, ...]]) -> list[str]:
    meaning = {spelling: column for column, accepted in spellings.items() for spelling in accepted}
    columns = [meaning.get(name, name) for name in header]
    for column, accepted in spellings.items():
        if columns.count(column) != 1:
            times = "twice" if column in columns else "nowhere"
            raise DataError(
                f"{path}, line 1: expected the column {' or '.join(accepted)} once, separated by commas; it stands "
                f"{times} in {header}"
            )
    return columns


def _quoted(path: Path, text: str, columns: list[str], skip: bool) -> Table:
    reader = csv.reader(io.StringIO(text.rstrip("\r\n"), newline=""), strict=True)
    rows: list[list[str]] = []
    lines = []
    line = 1
    try:
        for row in reader:
            rows.append(row)
            lines.append(line)
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{path}, line {line}: {error}; a field that holds a quote must be quoted itself") from None
    return _table(path, columns, rows[1:], lines[1:], skip)


def _table(path: Path, columns: list[str], rows: list[list[str]], lines: list[int], skip: bool) -> Table:
    wide = [row + [None] * (len(columns) - len(row)) for row in rows]
    frame = pl.DataFrame(
        {name: pl.Series([row[place] for row in wide], dtype=pl.String) for place, name in enumerate(columns)}
    )
    table = Table(path, frame, pl.Series(lines, dtype=pl.UInt32), [] if skip else None)
    wrong = pl.Series([len(row) != len(columns) for row in rows], dtype=pl.Boolean)
    shown = pl.Series([",".join(row) for row in rows], dtype=pl.String)
    table.refuse(wrong, shown, f"expected {len(columns)} fields separated by ',' ({', '.join(columns)})")
    return table
