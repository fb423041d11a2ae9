"""MicroLens: a log of micro-videos with titles, categories and covers."""

import csv
from dataclasses import replace
from pathlib import Path

import polars as pl

from llmrec.errors import DataError
from llmrec.interactions import Dataset
from llmrec.sources._histories import ITEM_NAMES, bare
from llmrec.sources._images import image_folder, image_notes
from llmrec.sources._pairs import Columns, read_log
from llmrec.sources._video_titles import in_language

_TITLES = ("*_title_en.csv", "*_titles.csv")
_TAGS = "tags_to_summary.csv"
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
        images = image_folder(folder)
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
    """Ids, texts and notes of lines ``id,text``; a text may hold commas that no quotes enclose."""
    texts: dict[str, str] = {}
    header, bare_commas = 0, 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.reader(lines, strict=True)
            for fields in reader:
                item, text = (fields[0].strip(), ",".join(fields[1:])) if fields else ("", "")
                if bare(item) in ITEM_NAMES:
                    header += 1
                elif not item or len(fields) < 2 or item in texts:
                    fault = f"the id {item!r} stands a second time" if item in texts else "expected id,text"
                    raise DataError(f"{path}, line {reader.line_num}: {fault}; found {','.join(fields)!r}")
                else:
                    texts[item] = text
                    bare_commas += len(fields) > 2
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path}, line {reader.line_num + 1}: {error}; a field begins and ends with a quote") from None
    notes = [f"{path.name}: {header} lines are a header, no item"] if header else []
    notes += [f"{path.name}: {bare_commas} texts hold commas without quotes, read whole"] if bare_commas else []
    return pl.Series("item_id", list(texts), dtype=pl.String), pl.Series(list(texts.values()), dtype=pl.String), notes


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
