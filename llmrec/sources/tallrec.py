"""TALLRec's prompts, read back into what a user liked and did not like."""

import json
import re
from dataclasses import replace
from pathlib import Path

import polars as pl

from llmrec.errors import DataError
from llmrec.interactions import Dataset
from llmrec.sources._orders import numbered
from llmrec.sources._texts import clean

_FILES = {"valid": "validation", "test": "test"}
_ROW = re.compile(
    r"User Preference: ?(?P<liked>.*)\nUser Unpreference: ?(?P<disliked>.*)\n"
    r'Whether the user will like the target (?:movie|book) "(?P<target>.*)"\?',
    re.DOTALL,
)
_ANSWERS = {"Yes.": 1.0, "No.": 0.0}


def told(text: str) -> tuple[list[str], list[str], str] | None:
    """What the input of a row says is liked, disliked and asked about; None where it says something else."""
    match = _ROW.fullmatch(text)
    return match and (_titles(match["liked"]), _titles(match["disliked"]), _title(match["target"]))


class Tallrec:
    """TALLRec's instruction data (RecSys 2023, arXiv:2305.00447): ``movie`` and ``book`` with ``valid`` and ``test``.

    A row becomes a user, such as ``test/17``: what he liked (rating 1) and did not like (rating 0), in the order of the
    prompt and with ``part`` train, and last the target with its label and ``part`` validation or test. That order is
    not one of time. An item's id is its text in the prompt, a book's author included; so is its title. Ids keep blanks
    that stand around the text, for by them a prompt is found again.

    In the movie rows the label of a test target stands in a neighbouring row's input almost always (98.4 %): whatever
    looks at several test rows at once has seen the answers.

    A name that ends in ``book`` means the books, any other the movies.
    """

    expects = "movie/ or book/ with valid.json and test.json (TALLRec)"

    def detect(self, folder: Path) -> bool:
        """Whether one of the two sets is whole."""
        return any(_whole(folder / name) for name in ("movie", "book"))

    def read(self, folder: Path, name: str) -> Dataset:
        """Reads one of the two sets.

        Raises:
            DataError: a file that is no such JSON, or a row that says something else than expected.
        """
        place = folder / ("book" if name.endswith("book") else "movie")
        if not _whole(place):
            raise DataError(f"{place} does not hold valid.json and test.json")
        rows = [row for file, part in _FILES.items() for row in _rows(place / f"{file}.json", file, part)]
        log = numbered(pl.DataFrame(rows, schema=["user_id", "item_id", "rating", "part"], orient="row"))
        ids = log["item_id"].unique(maintain_order=True)
        titles, notes = clean(ids, ids.alias("title"))
        data = Dataset.from_tables(name, log, pl.DataFrame([ids, titles]), time_unit="order", text_ids=True)
        return replace(data, notes=(*notes, *data.notes))


def listed(path: Path) -> list[object]:
    """The rows of a file, whatever they are.

    Raises:
        DataError: no list in JSON.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as JSON: {error}") from None
    if not isinstance(entries, list):
        raise DataError(f"{path} must hold a list of rows, holds {type(entries).__name__}")
    return entries


def _whole(folder: Path) -> bool:
    return all((folder / f"{file}.json").is_file() for file in _FILES)


def _rows(path: Path, file: str, part: str) -> list[tuple[str, list[str], list[float], list[str]]]:
    result = []
    for number, entry in enumerate(listed(path)):
        row = entry if isinstance(entry, dict) else {}
        said, answer = told(str(row.get("input", ""))), str(row.get("output"))
        if not said or answer not in _ANSWERS:
            raise DataError(
                f"{path}, row {number}: expected 'User Preference: ...', 'User Unpreference: ...', 'Whether the user "
                f"will like the target ...?' and the output Yes. or No.; found {str(entry)[:200]!r}"
            )
        liked, disliked, target = said
        items = [*liked, *disliked, target]
        ratings = [1.0] * len(liked) + [0.0] * len(disliked) + [_ANSWERS[answer]]
        parts = ["train"] * (len(items) - 1) + [part]
        result.append((f"{file}/{number}", items, ratings, parts))
    return result


def _titles(listed: str) -> list[str]:
    """Splits ``"A", "B" written by C``: a title ends where a comma is followed by a quote."""
    return [_title(part) for part in re.split(r', (?=")', listed.strip()) if part.strip()]


def _title(text: str) -> str:
    """One title as it is called everywhere: without the quotes that close around it, its own kept."""
    text = text.strip()
    written = re.fullmatch(r'"(.*)" written by (.*)', text, re.DOTALL)
    if written:
        return f"{written[1]} written by {written[2]}"
    return text.removeprefix('"').removesuffix('"')
