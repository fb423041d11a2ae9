"""The pre-training files of PeterRec and Conure: what each user met, without saying whose it is."""

from pathlib import Path

import polars as pl

from llmrec.errors import DataError
from llmrec.interactions import Dataset
from llmrec.sources._orders import numbered
from llmrec.sources._tables import read_lines


class Peterrec:
    """Lines ``0,0,i1,...,in``, oldest first, left-padded with 0 (PeterRec, SIGIR 2020; Conure, SIGIR 2021).

    Users have no ids; the user of a line is called by its number. There are no times and no texts. The fine-tuning
    files beside it, ``i1,...,in,,t1,t2``, are named by the files of tasks, see :mod:`llmrec.tasks.options`.

    Args:
        file: of the folder; unset: the only one whose name has ``pretrain`` in it.
    """

    expects = "one *pretrain*.csv with lines '0,0,item,item,...' (PeterRec, Conure)"

    def __init__(self, *, file: str = "*pretrain*.csv") -> None:
        self.file = file

    def detect(self, folder: Path) -> bool:
        """Whether one file is clearly the log."""
        return len(self._logs(folder)) == 1

    def read(self, folder: Path, name: str) -> Dataset:
        """Reads the file.

        Raises:
            DataError: no such file, a line with a gap, with targets or with nothing but padding.
        """
        logs = self._logs(folder)
        if len(logs) != 1:
            raise DataError(f"{folder} does not hold {self.expects}; the option file names it")
        lists = []
        for line, text in enumerate(read_lines(logs[0], "utf-8-sig"), 1):
            items = _unpadded(text.split(","))
            if not items or not all(items) or "0" in items:
                raise DataError(
                    f"{logs[0]}, line {line}: expected items separated by commas, left-padded with 0; found {text!r}"
                )
            lists.append(items)
        users = [str(number) for number in range(1, len(lists) + 1)]
        log = numbered(pl.DataFrame({"user_id": users, "item_id": lists}))
        return Dataset.from_tables(name, log, time_unit="order")

    def _logs(self, folder: Path) -> list[Path]:
        return sorted(folder.glob(self.file)) if folder.is_dir() else []


def fine_tuning(path: Path) -> list[tuple[list[str], list[str]]]:
    """Reads lines ``0,i1,...,in,,t1,t2,...``.

    Returns:
        History and targets of every line; the padding in front is taken away, and a history may be empty.

    Raises:
        DataError: a file that cannot be read, or a line without the empty field or without a target behind it.
    """
    lines = []
    for number, text in enumerate(read_lines(path, "utf-8-sig"), 1):
        shown, gap, asked = f",{text.replace(' ', '')}".partition(",,")
        history, targets = _unpadded(shown.split(",")[1:]), asked.strip(",").split(",")
        if not gap or not all(targets) or "0" in history:
            raise DataError(
                f"{path}, line {number}: expected a history left-padded with 0, an empty field and targets, such as "
                f"0,7,8,,3,4; found {text!r}"
            )
        lines.append((history, targets))
    return lines


def _unpadded(items: list[str]) -> list[str]:
    """Without the zeros in front."""
    stripped = [item.strip() for item in items]
    first = next((place for place, item in enumerate(stripped) if item != "0"), len(stripped))
    return stripped[first:]
