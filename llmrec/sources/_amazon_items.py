"""Amazon's metadata lines to an item table."""

import ast
import json
from collections import Counter
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import polars as pl

from llmrec.errors import DataError
from llmrec.markup import plain
from llmrec.sources._lines import lines
from llmrec.sources._texts import clean, descriptions, unquoted_list

_LISTS = {"categories": ("categories", "category"), "features": ("features", "feature")}
_TEXTS = {"title": ("title",), "brand": ("brand", "store"), "description": ("description",)}


@dataclass
class Metadata:
    """What the metadata files say."""

    entries: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Raw columns by item id, in file order."""
    counts: Counter[str] = field(default_factory=Counter)
    """``lines``, ``unnamed`` (no review names them), ``literals``, ``parents``, ``identical`` and ``different``."""
    sample: list[str] = field(default_factory=list)
    """The first ids, for messages."""

    def add(self, row: dict[str, Any], named: set[str] | None) -> None:
        """Takes a line; of two that differ the first stays.

        Raises:
            ValueError: an object where a text is to stand.
        """
        item = item_id(row)
        self.counts.update(["lines", *["parents"] * bool(row.get("parent_asin"))])
        self.sample += [item] * (len(self.sample) < 3)
        if named is not None and item not in named:
            self.counts["unnamed"] += 1
            return
        entry = _entry(row)
        if self.entries.setdefault(item, entry) is not entry:
            self.counts["identical" if self.entries[item] == entry else "different"] += 1

    def notes(self) -> list[str]:
        """What was found in the lines."""
        told = {
            "unnamed": "metadata lines that no review names, left out (option catalogue: all)",
            "literals": "metadata lines are Python literals instead of JSON, read as such (the release of 2014)",
            "identical": "metadata lines repeat an id and say the same, taken once",
            "different": "metadata lines repeat an id and say something else, the first taken",
        }
        return [
            f"{self.counts[kind]} of {self.counts['lines']} {what}" for kind, what in told.items() if self.counts[kind]
        ]


def parse(line: str) -> tuple[dict[str, Any], bool] | None:
    """An object and whether it is a Python literal; None for a line that is neither."""
    literal = line.startswith("{'")
    try:
        row = ast.literal_eval(line) if literal else json.loads(line)
    except (ValueError, SyntaxError):
        return None
    return (row, literal) if isinstance(row, dict) else None


def item_id(row: dict[str, Any]) -> str:
    """The id that a metadata line describes, or an empty string."""
    return str(row.get("parent_asin") or row.get("asin") or "")


def read_metadata(paths: list[Path], named: set[str] | None) -> Metadata:
    """Reads the files.

    Args:
        paths: of the files.
        named: ids to keep; None keeps all.

    Raises:
        DataError: a line that is no object or has no id, with file and line.
    """
    metadata = Metadata()
    for path in paths:
        for number, line in lines(path):
            if not line.strip():
                continue
            row, literal = parse(line) or ({}, False)
            if not item_id(row):
                raise DataError(
                    f"{path}, line {number}: a metadata line is a JSON object with asin or parent_asin; "
                    f"found {line[:200]!r}"
                )
            metadata.counts["literals"] += literal
            try:
                metadata.add(row, named)
            except ValueError as error:
                raise DataError(f"{path}, line {number}: {error}") from None
    return metadata


def item_table(entries: dict[str, dict[str, Any]]) -> tuple[pl.DataFrame, list[str]]:
    """The columns cleaned, and what was mended."""
    ids = pl.Series("item_id", list(entries), dtype=pl.String)
    columns, notes = [ids], []
    for name in _TEXTS:
        raw = [entry[name] for entry in entries.values()]
        column = pl.Series(name, raw, dtype=pl.String)
        texts, told = descriptions(ids, raw) if name == "description" else clean(ids, column, name)
        columns.append(texts)
        notes += told
    for name in _LISTS:
        lists, told = _clean_lists([entry[name] for entry in entries.values()], name)
        columns.append(lists)
        notes += told
    table = pl.DataFrame(columns)
    bare = table.filter(pl.all_horizontal(pl.exclude("item_id").is_null()))["item_id"]
    return table, notes + ([f"no text in any field: {len(bare)} items, such as {bare[0]}"] if len(bare) else [])


def _entry(row: dict[str, Any]) -> dict[str, Any]:
    texts = {ours: _joined(_first(row, keys)) for ours, keys in _TEXTS.items()}
    return texts | {ours: _flat(_first(row, keys)) for ours, keys in _LISTS.items()}


def _first(row: dict[str, Any], keys: tuple[str, ...]) -> Any:
    return next((row[key] for key in keys if row.get(key)), "")


def _joined(value: Any) -> str:
    return " ".join(unquoted_list(value) if isinstance(value, str) else _flat(value))


def _flat(value: Any) -> list[str]:
    """The strings of a list, of a list of lists (2014's paths of categories) or of a lone string."""
    parts = value if isinstance(value, list) else [value]
    flat = chain.from_iterable(part if isinstance(part, list) else [part] for part in parts)
    texts = [part for part in flat if part is not None]
    if odd := [part for part in texts if isinstance(part, dict)]:
        raise ValueError(f"a text or a list of texts must stand where {odd[0]!r} stands")
    return [str(part) for part in texts]


def _clean_lists(lists: list[list[str]], name: str) -> tuple[pl.Series, list[str]]:
    """Each string once, without markup, entities and blanks; a list without any is null."""
    resolved = [[plain(part) for part in parts] for parts in lists]
    kept = [[part for part in dict.fromkeys(parts) if part] or None for parts in resolved]
    mended = sum(before != after for before, after in zip(lists, resolved, strict=True))
    empty = kept.count(None)
    notes = [f"HTML entities, markup or blanks in the {name} removed: {mended} items"] if mended else []
    notes += [f"no {name}: {empty} items"] if empty else []
    return pl.Series(name, kept, dtype=pl.List(pl.String)), notes
