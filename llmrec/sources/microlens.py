"""MicroLens: a log of micro-videos with titles, categories and covers."""

import re
from dataclasses import replace
from pathlib import Path

import polars as pl

from llmrec.errors import DataError
from llmrec.interactions import Dataset
from llmrec.sources._histories import ITEM_NAMES, bare
from llmrec.sources._images import image_notes, plain_folder
from llmrec.sources._lines import lines
from llmrec.sources._pairs import Columns, read_log
from llmrec.sources._video_titles import in_language

_TITLES = ("*_title_en.csv", "*_titles.csv")
_TAGS = "tags_to_summary.csv"
_QUOTED = re.compile(r'"((?:[^"]|"")*)"')
_UNREAD = ("*_likes_and_views.txt", "*_comment*.txt")


class Microlens:
    """MicroLens of any size (arXiv:2309.15379), such as MicroLens-50k and MicroLens-100k.

    - ``X_pairs.csv``: the log with times in milliseconds; user, item, time under a header, and in either order without.
      Which it is is told by the header, else by ``X_pairs.tsv``, else by the ids of the titles.
    - ``X_pairs.tsv``: ``user<TAB>item item ...``, oldest first; read where the pairs are not there.
    - ``X_title_en.csv`` or ``X_titles.csv``: id, title in English, whose commas may stand without quotes.
    - if they are there, ``tags_to_summary.csv`` (id, category) and ``X_covers/<id>.jpg``.

    Likes, views and comments are not read: they were counted after the log.

    Args:
        columns: the order of the columns of the pairs, where neither a header nor the ids tell it.
    """

    expects = "X_pairs.csv or X_pairs.tsv, and X_title_en.csv or X_titles.csv (MicroLens)"

    def __init__(self, *, columns: Columns = "auto") -> None:
        self.columns: Columns = columns

    def detect(self, folder: Path) -> bool:
        """Whether there are titles of one size and a log."""
        return len(_sizes(folder)) == 1

    def read(self, folder: Path, name: str) -> Dataset:
        """Reads the folder.

        Raises:
            DataError: files of no size or of several, a row that cannot be used, or columns whose order cannot be told.
        """
        sizes = _sizes(folder)
        if len(sizes) != 1:
            raise DataError(f"{folder} must hold {self.expects} of one size, holds {', '.join(sizes) or 'none'}")
        (size, path), *_ = sizes.items()
        ids, titles, notes = _pairs_of_texts(path)
        titles, told = in_language(ids, {"english": titles}, "english")
        items = pl.DataFrame([ids, titles])
        if (folder / _TAGS).is_file():
            items, tags = _with_categories(items, folder / _TAGS)
            told += tags
        log = read_log(folder / f"{size}_pairs.csv", folder / f"{size}_pairs.tsv", set(ids), self.columns)
        data = Dataset.from_tables(name, log.frame, items, time_unit=log.unit)
        own = folder / f"{size}_covers"
        images = own if own.is_dir() else plain_folder(folder)  # covers of another size are of other items
        covers = image_notes(data.items["item_id"], images)
        notes = [*log.notes, *notes, *told, *data.notes, *covers, *_unread(folder)]
        return replace(data, notes=tuple(notes), images=images)


def _sizes(folder: Path) -> dict[str, Path]:
    """The item table of each size that has a log, by the name of the size; English by name comes first."""
    found: dict[str, Path] = {}
    for pattern in _TITLES:
        for path in sorted(folder.glob(pattern)):
            size = path.name.removesuffix(pattern[1:])
            if any((folder / f"{size}_pairs{ending}").is_file() for ending in (".csv", ".tsv")):
                found.setdefault(size, path)
    return found


def _pairs_of_texts(path: Path) -> tuple[pl.Series, pl.Series, list[str]]:
    """Ids, texts and notes of lines ``id,text``; a text may hold commas and quotes that no quotes enclose."""
    texts: dict[str, str] = {}
    headers, bare_commas = 0, 0
    for number, line in lines(path):
        item, comma, text = line.partition(",")
        item, quoted = item.strip().strip('"'), _QUOTED.fullmatch(text.strip())
        if bare(item) in ITEM_NAMES:
            headers += 1
        elif line.strip():
            if fault := _fault(item, comma, text, item in texts):
                raise DataError(f"{path}, line {number}: {fault}; found {line[:200]!r}")
            texts[item] = quoted[1].replace('""', '"') if quoted else text
            bare_commas += not quoted and "," in text
    notes = [f"{path.name}: {headers} lines are a header, no item"] if headers else []
    notes += [f"{path.name}: {bare_commas} texts hold commas without quotes, read whole"] if bare_commas else []
    return pl.Series("item_id", list(texts), dtype=pl.String), pl.Series(list(texts.values()), dtype=pl.String), notes


def _fault(item: str, comma: str, text: str, again: bool) -> str:
    if not item or not comma:
        return "expected id,text"
    if again:
        return f"the id {item!r} stands a second time"
    open_quote = text.lstrip().startswith('"') and text.count('"') % 2
    return "the text has a quote that is not closed; a text is one line" if open_quote else ""


def _with_categories(items: pl.DataFrame, path: Path) -> tuple[pl.DataFrame, list[str]]:
    ids, texts, notes = _pairs_of_texts(path)
    categories = pl.DataFrame([ids, texts.str.strip_chars().alias("category")]).filter(pl.col("category") != "")
    joined = items.join(categories, on="item_id", how="left", maintain_order="left")
    lists = pl.when(pl.col("category").is_not_null()).then(pl.concat_list("category")).alias("categories")
    without = joined["category"].null_count()
    return joined.select("item_id", "title", lists), notes + [f"no categories: {without} items"] * bool(without)


def _unread(folder: Path) -> list[str]:
    names = sorted(path.name for pattern in _UNREAD for path in folder.glob(pattern))
    return [f"{name}: not read, it was counted or written after the interactions" for name in names]
