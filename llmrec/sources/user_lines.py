"""One user a line, his items in the order in which he met them."""

import re
from dataclasses import replace
from pathlib import Path

import polars as pl

from llmrec.errors import DataError
from llmrec.interactions import Dataset
from llmrec.sources._orders import numbered
from llmrec.sources._spellings import LOG
from llmrec.sources._tables import read_lines

_WORD = re.compile(rb"[\w-]+")
_NAMES = ("sequential_data.txt", "user_sequence.txt")
_COLUMNS = {name.lower() for names in LOG.values() for name in names}


class UserLines:
    """Lines ``user item item ...``, oldest first, separated by blanks or tabs; UTF-8, no header, no times, no texts.

    The layout of S3-Rec's ``Beauty.txt``, P5's ``sequential_data.txt`` and OpenP5's ``user_sequence.txt``. Numbered
    attributes that some publishers put beside it (``X_item2attributes.json``) are not read: nothing says which
    attribute a number means.

    Args:
        file: of the folder; unset: the only ``.txt`` file whose first line is a user and two items at least, or one
            that is called as P5's or OpenP5's.
    """

    expects = "one .txt file with lines 'user item item ...' (S3-Rec, P5, OpenP5)"

    def __init__(self, *, file: str = "") -> None:
        self.file = file

    def detect(self, folder: Path) -> bool:
        """Whether one file is clearly the log."""
        return len(self._logs(folder)) == 1

    def read(self, folder: Path, name: str) -> Dataset:
        """Reads the file.

        Raises:
            DataError: no such file, a line with fewer than two words, or a user with two lines.
        """
        logs = self._logs(folder)
        if len(logs) != 1:
            raise DataError(f"{folder} does not hold {self.expects}; the option file names it")
        rows = [line.split() for line in read_lines(logs[0], "utf-8-sig")]
        if short := [line for line, words in enumerate(rows, 1) if len(words) < 2]:
            raise DataError(
                f"{logs[0]}, line {short[0]}: expected 'user item item ...', found {' '.join(rows[short[0] - 1])!r}"
            )
        log = pl.DataFrame({"user_id": [words[0] for words in rows], "item_id": [words[1:] for words in rows]})
        twice = log["user_id"].is_duplicated()
        if twice.any():
            raise DataError(
                f"{logs[0]}: user {log['user_id'].filter(twice)[0]!r} has two lines; which comes first is not known. "
                "If these are pairs, describe the file with a YAML file and source: table"
            )
        data = Dataset.from_tables(name, numbered(log), time_unit="order")
        unread = sorted(path.name for path in folder.glob("*_item2attributes.json"))
        notes = [f"{path} not read: it numbers attributes and has no map of their names" for path in unread]
        return replace(data, notes=(*notes, *data.notes))

    def _logs(self, folder: Path) -> list[Path]:
        if self.file:
            return [folder / self.file] if (folder / self.file).is_file() else []
        texts = sorted(path for path in folder.glob("*.txt") if _looks_so(path))
        return [path for path in texts if path.name in _NAMES] or texts


def _looks_so(path: Path) -> bool:
    """Whether the first line is a user and two items at least: pairs, tables with a header and prose are none."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        words = file.readline(1 << 20).split()
    named = {word.decode("utf-8", "replace").lower() for word in words} & _COLUMNS
    return len(words) > 2 and not named and all(_WORD.fullmatch(word) for word in words)
