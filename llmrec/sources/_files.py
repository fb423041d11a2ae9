"""Delimited text and Parquet of any make: columns as they stand there, and where in the file a row is.

Columns go by their place, from 0, so that files without a header are read alike.
"""

import csv
import io
from collections.abc import Generator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import polars as pl

from llmrec.errors import DataError

PARQUET = ".parquet"
ENDINGS = (".csv", ".tsv", ".txt", PARQUET)


@dataclass(frozen=True)
class ParquetFile:
    """A Parquet file; its columns have names and types."""

    path: Path
    titled = True

    @cached_property
    def first(self) -> list[str]:
        """The names of the columns.

        Raises:
            DataError: the file cannot be read.
        """
        try:
            return list(pl.read_parquet_schema(self.path))
        except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
            raise DataError(f"{self.path} cannot be read as Parquet: {error}") from None

    def read(self, places: list[int]) -> pl.DataFrame:
        """The columns at these places, with the place as their name.

        Raises:
            DataError: the file is damaged.
        """
        names = [self.first[place] for place in places]
        try:
            frame = pl.read_parquet(self.path, columns=names)
        except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
            raise DataError(f"{self.path} cannot be read as Parquet: {error}") from None
        return frame.select(frame[name].alias(str(place)) for name, place in zip(names, places, strict=True))

    def where(self, row: int) -> str:
        """How a message names a row."""
        return f"{self.path}, row {row + 1}"


@dataclass(frozen=True)
class TextFile:
    """Text with one row per line; quotes mean something unless a tab separates."""

    path: Path
    separator: str
    encoding: str
    titled: bool = True
    """Whether line 1 is a header."""

    @cached_property
    def first(self) -> list[str]:
        """The fields of line 1.

        Raises:
            DataError: the file cannot be read or is empty.
        """
        rows = self._rows()
        try:
            return [field.strip() for field in next(rows)[1]]
        except StopIteration:
            raise DataError(f"{self.path} is empty") from None
        except OSError as error:
            raise DataError(f"cannot read {self.path}: {error.strerror}") from None
        finally:
            rows.close()

    def read(self, places: list[int]) -> pl.DataFrame:
        """The columns at these places as strings, with the place as their name; an empty field is null.

        Raises:
            DataError: a row with another number of fields or a byte that the encoding does not allow, with its line.
        """
        try:
            frame = pl.read_csv(
                self.path if self._is_utf8 else io.BytesIO(self._decoded().encode()),
                has_header=False,
                skip_rows=int(self.titled),
                separator=self.separator,
                quote_char=self._quote,
                infer_schema=False,
            )
        except pl.exceptions.NoDataError:
            return pl.DataFrame(schema={str(place): pl.String for place in places})
        except pl.exceptions.PolarsError as error:
            self._decoded()
            self._explain()
            raise DataError(f"{self.path} cannot be read: {str(error).splitlines()[0]}") from None
        frame = self._without_blank_end(frame)
        if frame.is_empty():
            return pl.DataFrame(schema={str(place): pl.String for place in places})
        if self._quote and self._has_quotes():
            # A quote that is not closed swallows rows, and polars says nothing of it.
            for _ in self._rows():
                pass
        # Whether a field is empty or missing is not told apart there.
        if frame.width != len(self.first) or frame.to_series(-1).null_count():
            self._explain()
        return frame.select(frame.to_series(place).replace("", None).alias(str(place)) for place in places)

    def _without_blank_end(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Blank lines at the end of a file are no rows; a row of empty fields is one, and polars reads both alike."""
        if frame.is_empty() or any(value is not None for value in frame.row(-1)):
            return frame
        end = max((number for number, (_, row) in enumerate(self._rows(), 1) if row), default=0)
        return frame.head(end - self.titled)

    def where(self, row: int) -> str:
        """How a message names a row; the file is read again as far as there, for a quoted field may hold line ends."""
        lines = (line for line, _ in self._rows())
        return f"{self.path}, line {next(line for number, line in enumerate(lines) if number == row + self.titled)}"

    def _has_quotes(self) -> bool:
        with self.path.open("rb") as file:
            return any(b'"' in block for block in iter(lambda: file.read(1 << 20), b""))

    @property
    def _is_utf8(self) -> bool:
        return self.encoding.replace("_", "-").lower() in ("utf-8", "utf8", "utf-8-sig")

    @property
    def _quote(self) -> str | None:
        return None if self.separator == "\t" else '"'

    def _decoded(self) -> str:
        raw = self.path.read_bytes()
        try:
            return raw.decode("utf-8-sig" if self._is_utf8 else self.encoding)
        except UnicodeDecodeError as error:
            line = raw.count(b"\n", 0, error.start) + 1
            raise DataError(
                f"{self.path}, line {line}: byte 0x{raw[error.start]:02x} is not {self.encoding}; set the option "
                "encoding"
            ) from None

    def _rows(self) -> Generator[tuple[int, list[str]]]:
        """The line on which each row begins, and its fields."""
        encoding = "utf-8-sig" if self._is_utf8 else self.encoding
        with self.path.open(encoding=encoding, errors="replace", newline="") as lines:
            reader = csv.reader(
                lines,
                delimiter=self.separator,
                quoting=csv.QUOTE_MINIMAL if self._quote else csv.QUOTE_NONE,
                strict=True,
            )
            start = 1
            try:
                for row in reader:
                    yield start, row
                    start = reader.line_num + 1
            except csv.Error as error:
                cure = "; a field that holds a quote must be quoted itself" if self._quote else ""
                raise DataError(f"{self.path}, line {start}: {error}{cure}") from None

    def _explain(self) -> None:
        """Raises for the first row with another number of fields, if there is one."""
        blank = 0
        for line, row in self._rows():
            if not row:
                blank = blank or line  # no fault at the end of the file
            elif blank or len(row) != len(self.first):
                names = f" ({', '.join(self.first)})" if self.titled else ""
                raise DataError(
                    f"{self.path}, line {blank or line}: expected {len(self.first)} fields separated by "
                    f"{self.separator!r}{names}; found {'' if blank else self.separator.join(row)!r}"
                )


File = ParquetFile | TextFile


def open_file(path: Path, separator: str, encoding: str) -> File:
    """A table by its ending: ``.parquet``, ``.csv`` (commas) or anything else (tabs), unless a separator is said.

    Raises:
        DataError: there is no such file.
    """
    if not path.is_file():
        have = sorted(other.name for other in path.parent.glob("*") if other.suffix in ENDINGS)
        raise DataError(f"there is no file {path} (the folder has: {', '.join(have) or 'no table'})")
    if path.suffix == PARQUET:
        return ParquetFile(path)
    return TextFile(path, separator or ("," if path.suffix == ".csv" else "\t"), encoding)
