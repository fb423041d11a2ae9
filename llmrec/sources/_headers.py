"""Comma-separated files whose header may be missing, or stand again where files were put together."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from llmrec.errors import DataError
from llmrec.sources._files import TextFile
from llmrec.sources._typed import Typed


@dataclass(frozen=True)
class Kept:
    """The rows of a file that are no header; each still knows its line."""

    file: TextFile
    rows: pl.Series
    """Places of the rows in the file, from 0."""

    @property
    def path(self) -> Path:
        """Of the file."""
        return self.file.path

    def where(self, row: int) -> str:
        """How a message names a row."""
        return self.file.where(self.rows[row])


def open_csv(path: Path) -> TextFile:
    """A file with commas and real quotes, of which no line is known to be a header."""
    return TextFile(path, ",", "utf-8", titled=False)


def read_rows(file: TextFile, places: Mapping[str, int], *, header: bool) -> tuple[Typed, list[str]]:
    """Columns by our names.

    Args:
        file: as :func:`open_csv` opens it.
        places: of the columns, from 0.
        header: whether line 1 is a header; wherever it stands again it is no row either, and a note tells how often.

    Raises:
        DataError: a row with another number of fields or a byte that is not UTF-8, with its line.
    """
    frame = file.read(sorted(set(places.values())))
    frame = frame.select(frame[str(place)].alias(ours) for ours, place in places.items())
    titles = pl.lit(header)
    for ours, place in places.items():
        titles &= pl.col(ours).str.strip_chars().eq_missing(file.first[place] or None)
    frame = frame.with_row_index("row").with_columns(titles.alias(""))
    again = frame[""].sum() - header
    frame = frame.filter(~pl.col("")).drop("")
    notes = [f"{file.path.name}: the header stands again in {again} lines, which are no rows"] if again else []
    return Typed(Kept(file, frame["row"]), frame.drop("row")), notes


def places_of(file: TextFile, columns: Mapping[str, str]) -> dict[str, int]:
    """Where columns stand that a header must name.

    Args:
        file: the table.
        columns: our names: theirs.

    Raises:
        DataError: a name that stands nowhere in the header, or twice.
    """
    for theirs in columns.values():
        if file.first.count(theirs) != 1:
            times = "twice" if theirs in file.first else "nowhere"
            raise DataError(
                f"{file.path}, line 1: expected the column {theirs} once, separated by commas; it stands {times} in "
                f"{file.first}"
            )
    return {ours: file.first.index(theirs) for ours, theirs in columns.items()}
