"""Amazon's reviews and metadata as JSON lines, as McAuley's group published them in 2014, 2018 and 2023."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import polars as pl

from llmrec.errors import DataError
from llmrec.interactions import Dataset
from llmrec.sources._amazon_items import Metadata, item_id, item_table, parse, read_metadata
from llmrec.sources._amazon_reviews import USERS, read_reviews, release
from llmrec.sources._lines import first_line
from llmrec.sources._texts import clean_rows, unescaped

_ENDINGS = (".json", ".jsonl", ".json.gz", ".jsonl.gz")


class Amazon:
    """Review files and metadata files of one folder (2014, 2018 and 2023: arXiv:2403.03952), plain or gzipped.

    All review files are one log, read in the order of their names; reviews of one user at one time keep that order. A
    review is of the product that the metadata lists: of ``parent_asin`` where the metadata has it, else of ``asin``.
    Times of 2023 are milliseconds: they sort the log and become seconds. Repeats of a user and an item are kept. A user
    is called by the name under his latest review; those of 2023 have none.

    Args:
        catalogue: ``reviewed``: the items that a review names, with metadata or without; ``all``: also those that the
            metadata lists and nobody reviewed.
    """

    expects = "a file of reviews and one of metadata in JSON lines (.json, .jsonl, also .gz; Amazon 2014, 2018, 2023)"

    def __init__(self, *, catalogue: Literal["reviewed", "all"] = "reviewed") -> None:
        self.catalogue = catalogue

    def detect(self, folder: Path) -> bool:
        """Whether there is a file of reviews and one of metadata, by their first lines."""
        reviews, metadata, _ = _files(folder)
        return bool(reviews and metadata)

    def read(self, folder: Path, name: str) -> Dataset:
        """Reads the folder.

        Raises:
            DataError: a line that cannot be used, or reviews and metadata that have no item in common.
        """
        releases, paths, notes = _files(folder)
        if not (releases and paths):
            raise DataError(f"{folder} does not hold {self.expects}")
        reviews = pl.concat([read_reviews(path) for path in releases])
        named = set(reviews["asin"].drop_nulls()) | set(reviews["parent_asin"].drop_nulls())
        metadata = read_metadata(paths, None if self.catalogue == "all" else named)
        notes += [f"{path.name}: reviews in the form of {form}" for path, form in releases.items()]
        log, told = _log(reviews, metadata, folder)
        items, mended = item_table(metadata.entries)
        data = Dataset.from_tables(name, log.drop("name"), items, _users(log))
        return replace(data, notes=(*notes, *told, *metadata.notes(), *mended, *data.notes))


def _files(folder: Path) -> tuple[dict[Path, str], list[Path], list[str]]:
    """Review files with their releases, metadata files, and notes; a file also there without ``.gz`` is read once."""
    reviews, metadata, notes = {}, [], []
    for path in sorted(folder.glob("*")):
        if not path.name.endswith(_ENDINGS):
            continue
        row, _ = parse(first_line(path)) or ({}, False)
        if not item_id(row):
            notes.append(f"{path.name} not read: its first line is neither a review nor the metadata of an item")
            continue
        if path.suffix == ".gz" and path.with_suffix("").is_file():
            notes.append(f"{path.name} not read: {path.stem} is the same unpacked")
        elif any(key in row for key in USERS):
            reviews[path] = release(row)
        else:
            metadata.append(path)
    return reviews, metadata, notes


def _log(reviews: pl.DataFrame, metadata: Metadata, folder: Path) -> tuple[pl.DataFrame, list[str]]:
    """The interactions in order of time, and how many of them have metadata."""
    known = pl.Series(list(metadata.entries), dtype=pl.String).implode()
    parent, asin = pl.col("parent_asin"), pl.col("asin")
    usual = pl.coalesce(parent, asin) if metadata.counts["parents"] else pl.coalesce(asin, parent)
    item = pl.when(parent.is_in(known)).then(parent).when(asin.is_in(known)).then(asin).otherwise(usual)
    log = reviews.with_columns(item_id=item)
    joined = log.select(pl.col("item_id").is_in(known).sum()).item()
    if not joined:
        raise DataError(
            f"{folder}: join rate 0, not one review is of an item in the metadata (reviews: "
            f"{log['item_id'].unique(maintain_order=True).head(3).to_list()}, metadata: {metadata.sample}); ids are "
            "strings, leading zeros count"
        )
    notes = [f"join rate {joined / len(log):.1%}: {joined} of {len(log)} reviews are of items that have metadata"]
    texts = []
    for column in ("review", "summary"):
        mended, told = clean_rows(log[column], column)
        texts.append(mended)
        notes += told
    log = log.with_columns(texts).sort("time", maintain_order=True)
    log = log.select("user_id", "item_id", "rating", "review", "summary", "name", timestamp=pl.col("time") // 1000)
    return log, notes


def _users(log: pl.DataFrame) -> pl.DataFrame | None:
    """Users by the names that stand under their latest reviews; None where no review has one."""
    named = log.with_columns(unescaped(log["name"]).str.replace_all(r"\s+", " ").str.strip_chars().replace("", None))
    names = named.group_by("user_id", maintain_order=True).agg(pl.col("name").drop_nulls().last())
    return names if names["name"].count() else None
