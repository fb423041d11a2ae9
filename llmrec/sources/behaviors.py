"""Histories in ``behaviors.tsv`` and one text per item beside it, as MoRec, TCF and NineRec use them."""

from dataclasses import replace
from itertools import chain, islice
from pathlib import Path

import polars as pl

from llmrec.errors import DataError
from llmrec.interactions import Dataset
from llmrec.sources._histories import ITEM_NAMES, USER_NAMES, bare, drop_header, read_histories
from llmrec.sources._images import image_folder, image_notes
from llmrec.sources._lines import first_line, rows
from llmrec.sources._orders import numbered
from llmrec.sources._texts import clean

_LOG, _LOGS = "behaviors.tsv", ("*_users*.tsv",)
_ITEMS, _TABLES = ("items.tsv", "news.tsv", "videos.tsv"), ("*_items*.tsv", "*_news*.tsv", "*_videos*.tsv")
_THIRD = "the third field of the lines is not read"
_LAYOUTS = {1: "id", 2: "id, text", 3: "id, text, one more"}
_TEXT_NAMES = {"title", "description", "text", "name", "abstract", "caption"}


class Behaviors:
    """``behaviors.tsv`` with lines ``user<TAB>item item ...``, oldest first, and a table ``id<TAB>text``.

    MoRec (arXiv:2303.13835), TCF (arXiv:2305.11700), NineRec (arXiv:2309.07705) and Adapter4Rec (arXiv:2305.15036). The
    table is called ``items.tsv``, ``news.tsv`` or ``videos.tsv``; a third field of its lines is not read. MoRec and
    Adapter4Rec call the two ``hm_50w_users.tsv`` and ``hm_50w_items.tsv``, or ``Adressa_users_base.tsv`` and
    ``Adressa_news_base.tsv``. There are no times. Repeats are kept.

    The items' images, if there are any, lie in a folder ``images/``, ``covers/`` or ``<something>_cover(s)/``. Then the
    table may hold ids alone, and beside ``behaviors.tsv`` be missing: items are those of the log.

    Either file may have a header; taken for an item it would shift every numbered vector by one. Line 1 of the table is
    a header if nobody met its id and it reads like the names of columns (``itemid``, ``title``); a header that says
    ``description`` names the column so, any other text is the title. Which files had one stands in the notes.
    """

    expects = (
        "behaviors.tsv or X_users.tsv with lines 'user<TAB>item item ...' and items.tsv, news.tsv, videos.tsv, "
        "X_items.tsv or X_news.tsv with 'id<TAB>text' or ids alone; beside images/ or covers/ behaviors.tsv will do "
        "(MoRec, TCF, Adapter4Rec)"
    )

    def detect(self, folder: Path) -> bool:
        """Whether log and table are there, or images instead of the table, and the first line of the log has two
        fields."""
        return _files(folder) is not None

    def read(self, folder: Path, name: str) -> Dataset:
        """Reads both files.

        Raises:
            DataError: a line with other fields, a user without items or with two lines, or an item that stands twice.
        """
        files = _files(folder)
        if files is None:
            raise DataError(f"{folder} does not hold {self.expects}; of logs and of tables there must be one")
        path, tables = files
        log, images = read_histories(path), image_folder(folder)
        items, notes = _items(tables[0], log) if tables else (None, ["no item table: the items are those of the log"])
        _, *rest = log.values()
        notes += drop_header(path, log, {*chain(*rest)} if items is None else set(items["item_id"]))
        lists = pl.DataFrame({"user_id": list(log), "item_id": list(log.values())})
        data = Dataset.from_tables(name, numbered(lists), items, time_unit="order")
        return replace(data, notes=(*notes, *image_notes(data.items["item_id"], images), *data.notes), images=images)


def _files(folder: Path) -> tuple[Path, list[Path]] | None:
    """The log, and the table if there is one; None where they are not clearly there."""
    logs = [path for path in _named(folder, (_LOG,), _LOGS) if first_line(path).count("\t") == 1]
    named = [path for path in _named(folder, _ITEMS, _TABLES) if path not in logs]
    tables = [path for path in named if (line := first_line(path)) and line.count("\t") + 1 in _LAYOUTS]
    if len(logs) != 1 or len(tables) > 1:
        return None
    pictured = not named and logs[0].name == _LOG and image_folder(folder) is not None
    if tables and logs[0].name != _LOG and not _holds_histories(logs[0], tables[0]):
        return None  # a table of what users are, say
    return (logs[0], tables) if tables or pictured else None


def _holds_histories(path: Path, table: Path) -> bool:
    """Whether lines of a file, by its beginning, list items of the table, some of them several."""
    with path.open(encoding="utf-8", errors="replace") as file:
        met = [line.partition("\t")[2].split() for line in islice(file, 100)]
    with table.open(encoding="utf-8", errors="replace") as file:
        known = {line.partition("\t")[0].strip() for line in file}
    items = [item for items in met for item in items]
    return any(len(items) > 1 for items in met) and 2 * sum(item in known for item in items) > len(items)


def _named(folder: Path, names: tuple[str, ...], patterns: tuple[str, ...]) -> list[Path]:
    """Files by these names or, if there are none, by the publishers' longer ones."""
    short = [folder / name for name in names if (folder / name).is_file()]
    return short or sorted({path for pattern in patterns for path in folder.glob(pattern)})


def _items(path: Path, log: dict[str, list[str]]) -> tuple[pl.DataFrame, list[str]]:
    """The item table, and what was found in it."""
    table, width = _read_items(path)
    first = next(iter(log))
    titled = bare(first) in USER_NAMES and {bare(item) for item in log[first]} <= ITEM_NAMES
    met = {item for user, items in log.items() for item in items if not (titled and user == first)}
    column, header = _header(table, met)
    notes = {1: [f"{path.name}: ids alone, so items have no text"], 3: [f"{path.name}: {_THIRD}"]}.get(width, [])
    if header:
        del table[header]
        rest = f"; its texts are the {column}" if width > 1 else ""
        notes.append(f"{path.name}: line 1 is a header ({header}), no item{rest}")
    ids = pl.Series("item_id", list(table), dtype=pl.String)
    if width == 1:
        return pl.DataFrame([ids]), notes
    texts, told = clean(ids, pl.Series(column, list(table.values()), dtype=pl.String), column)
    return pl.DataFrame([ids, texts]), [*notes, *told]


def _read_items(path: Path) -> tuple[dict[str, str], int]:
    """Texts by id, and how many fields the lines have."""
    texts: dict[str, str] = {}
    width = 1
    for number, (item, *rest) in rows(path, _LAYOUTS):
        if item in texts or not item:
            raise DataError(f"{path}, line {number}: the id {item!r} {'stands a second time' if item else 'is empty'}")
        texts[item] = rest[0] if rest else ""
        width = 1 + len(rest)
    return texts, width


def _header(table: dict[str, str], met: set[str]) -> tuple[str, str]:
    """What the texts are, and the id in line 1 if that is a header."""
    item, text = next(iter(table.items()))
    title = bare(text)
    if item in met or not (bare(item) in ITEM_NAMES or (title in _TEXT_NAMES and item.isalpha())):
        return "title", ""
    return "description" if title == "description" else "title", item
