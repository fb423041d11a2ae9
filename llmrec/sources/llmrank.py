"""The logs that LLMRank publishes: one row a user, with his history and the item that followed."""

from dataclasses import replace
from pathlib import Path

import polars as pl

from llmrec.errors import DataError
from llmrec.interactions import Dataset
from llmrec.sources._atomic import atomic_items
from llmrec.sources._orders import numbered
from llmrec.sources._tables import read_lines, split_rows

_HEADER = "user_id:token\titem_id_list:token_seq\titem_id:token"


class Llmrank:
    """LLMRank's ``X.test.inter`` with one ``.item`` file beside (ECIR 2024, arXiv:2305.08845).

    A row is a user: his history, cut to its last 49 items, and the test target. ``X.valid.inter``, if it is there, must
    be the same without the last item; it adds nothing and is only checked. There are no times.
    """

    expects = "X.test.inter with user_id, item_id_list and item_id, and one .item file (LLMRank)"

    def detect(self, folder: Path) -> bool:
        """Whether there is one such log and one item file."""
        return len(_logs(folder)) == 1 and len(list(folder.glob("*.item"))) == 1

    def read(self, folder: Path, name: str) -> Dataset:
        """Reads the folder.

        Raises:
            DataError: a header or row that the format does not allow, or a validation file that differs.
        """
        if not self.detect(folder):
            raise DataError(f"{folder} does not hold {self.expects}")
        path = _logs(folder)[0]
        lists = _lists(path)
        validation = path.with_name(path.name.replace(".test.", ".valid."))
        if validation.is_file():
            _require_shorter(validation, lists)
        items, notes = atomic_items(next(folder.glob("*.item")))
        data = Dataset.from_tables(name, numbered(lists), items, time_unit="order")
        return replace(data, notes=(*notes, *data.notes))


def _logs(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.test.inter"))


def _lists(path: Path) -> pl.DataFrame:
    lines = read_lines(path, "utf-8")
    header = lines[0]
    if header != _HEADER:
        raise DataError(f"{path}, line 1: expected the header {_HEADER!r}, found {header!r}")
    table = split_rows(path, lines[1:], ["user_id", "history", "target"], "\t", first_line=2)
    table.refuse(table.frame["target"] == "", table.frame["user_id"], "item_id is empty, every row needs one")
    users = table.frame["user_id"]
    table.refuse(users.is_duplicated() & ~users.is_first_distinct(), users, "user_id has a row already")
    history = table.frame["history"].str.extract_all(r"\S+")
    lists = pl.DataFrame([table.ids("user_id"), history, table.frame["target"]])
    return lists.select("user_id", item_id=pl.concat_list("history", "target"))


def _require_shorter(path: Path, lists: pl.DataFrame) -> None:
    shorter = _lists(path)
    expected = lists.with_columns(pl.col("item_id").list.head(pl.col("item_id").list.len() - 1))
    if not shorter.equals(expected):
        raise DataError(f"{path} must hold the histories of the test file without their last item, and does not")
