"""Histories in ``behaviors.tsv`` and one text per item beside it, as MoRec, TCF and NineRec use them."""

from dataclasses import replace
from pathlib import Path

import polars as pl

from llmrec.errors import DataError
from llmrec.interactions import Dataset
from llmrec.sources._histories import ITEM_NAMES, USER_NAMES, bare, drop_header, read_histories
from llmrec.sources._images import image_folder, image_notes
from llmrec.sources._lines import first_line, rows
from llmrec.sources._orders import numbered
from llmrec.sources._texts import clean

_LOG = "behaviors.tsv"
_ITEMS = ("items.tsv", "news.tsv", "videos.tsv")
_TEXT_NAMES = {"title", "description", "text", "name", "abstract", "caption"}


class Behaviors:
    """``behaviors.tsv`` with lines ``user<TAB>item item ...``, oldest first, and a table ``id<TAB>text``.

    MoRec (arXiv:2303.13835), TCF (arXiv:2305.11700) and NineRec (arXiv:2309.07705). The table is called ``items.tsv``,
    ``news.tsv`` or ``videos.tsv``; a third field of its lines is not read. There are no times. Repeats are kept.

    The items' images, if there are any, lie in a folder ``images/``, ``covers/`` or ``<something>_cover(s)/``.

    Either file may have a header; taken for an item it would shift every numbered vector by one. Line 1 of the table is
    a header if nobody met its id and it reads like the names of columns (``itemid``, ``title``); a header that says
    ``description`` names the column so, any other text is the title. Which files had one stands in the notes.
    """

    expects = (
        "behaviors.tsv with lines 'user<TAB>item item ...' and items.tsv, news.tsv or videos.tsv with 'id<TAB>text'"
    )

    def detect(self, folder: Path) -> bool:
        """Whether both files are there and the first line of the log has two fields."""
        return first_line(folder / _LOG).count("\t") == 1 and len(_tables(folder)) == 1

    def read(self, folder: Path, name: str) -> Dataset:
        """Reads both files.

        Raises:
            DataError: a line with other fields, a user without items or with two lines, or an item that stands twice.
        """
        tables = _tables(folder)
        if len(tables) != 1:
            raise DataError(f"{folder} does not hold {self.expects}; of these tables there must be one")
        log = read_histories(folder / _LOG)
        table, width = _read_items(tables[0])
        notes = [f"{tables[0].name}: the third field of the lines is not read"] if width == 3 else []
        first = next(iter(log))
        titled = bare(first) in USER_NAMES and {bare(item) for item in log[first]} <= ITEM_NAMES
        met = {item for user, items in log.items() for item in items if not (titled and user == first)}
        column, header = _header(table, met)
        if header:
            del table[header]
            notes.append(f"{tables[0].name}: line 1 is a header ({header}), no item; its texts are the {column}")
        notes += drop_header(folder / _LOG, log, table)
        ids = pl.Series("item_id", list(table), dtype=pl.String)
        texts, told = clean(ids, pl.Series(column, list(table.values()), dtype=pl.String), column)
        lists = pl.DataFrame({"user_id": list(log), "item_id": list(log.values())})
        data = Dataset.from_tables(name, numbered(lists), pl.DataFrame([ids, texts]), time_unit="order")
        images = image_folder(folder)
        notes += [*told, *image_notes(data.items["item_id"], images)]
        return replace(data, notes=(*notes, *data.notes), images=images)


def _tables(folder: Path) -> list[Path]:
    return [folder / name for name in _ITEMS if first_line(folder / name).count("\t") in (1, 2)]


def _read_items(path: Path) -> tuple[dict[str, str], int]:
    """Texts by id, and how many fields the lines have."""
    texts: dict[str, str] = {}
    width = 2
    for number, (item, text, *rest) in rows(path, {2: "id, text", 3: "id, text, one more"}):
        if item in texts or not item:
            raise DataError(f"{path}, line {number}: the id {item!r} {'stands a second time' if item else 'is empty'}")
        texts[item] = text
        width = 2 + len(rest)
    return texts, width


def _header(table: dict[str, str], met: set[str]) -> tuple[str, str]:
    """What the texts are, and the id in line 1 if that is a header."""
    item, text = next(iter(table.items()))
    title = bare(text)
    if item in met or not (bare(item) in ITEM_NAMES or (title in _TEXT_NAMES and item.isalpha())):
        return "title", ""
    return "description" if title == "description" else "title", item
