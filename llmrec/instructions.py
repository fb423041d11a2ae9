"""Instruction files: rows of an instruction, an input and one of two words as output (TALLRec, arXiv:2305.00447)."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from llmrec.errors import DataError, PromptError
from llmrec.prompting import Prompt
from llmrec.sources.tallrec import listed, told

WORDS = ("Yes.", "No.")
"""Answers of TALLRec's files; the first says that the user likes the item."""
_KEYS = ("instruction", "input", "output")


class Told(NamedTuple):
    """What the input of a row says of a user, and the item asked about."""

    liked: list[str]
    disliked: list[str]
    target: str


@dataclass(frozen=True)
class Instruction:
    """One row of a file; ``place`` names both in messages."""

    instruction: str
    input: str
    output: str
    place: str

    @property
    def told(self) -> Told:
        """What the input says of a user.

        Raises:
            DataError: it is no list of likes and dislikes.
        """
        if said := told(self.input):
            return Told(*said)
        raise DataError(
            f"{self.place}: expected 'User Preference: ...', 'User Unpreference: ...' and 'Whether the user will like "
            f"the target ...?' in the input; found {self.input[:200]!r}"
        )


def read(path: Path, words: Sequence[str] = WORDS) -> list[Instruction]:
    """Reads a JSON list of objects with ``instruction``, ``input`` and ``output``.

    Args:
        path: of the file.
        words: what ``output`` may be.

    Raises:
        DataError: no such list, a key that is missing or no text, or another answer; names the row, counted from 0.
    """
    entries = listed(path)
    if not entries:
        raise DataError(f"{path} holds no row")
    rows = []
    for number, entry in enumerate(entries):
        place, row = f"{path}, row {number}", entry if isinstance(entry, dict) else {}
        if wrong := [key for key in _KEYS if not isinstance(row.get(key), str)]:
            raise DataError(f"{place}: no text under {wrong[0]!r} (needed: {', '.join(_KEYS)}); found {_short(entry)}")
        if row["output"] not in words:
            raise DataError(f"{place}: the output must be {' or '.join(map(repr, words))}, is {row['output'][:80]!r}")
        rows.append(Instruction(row["instruction"], row["input"], row["output"], place))
    return rows


def prompts(rows: Sequence[Instruction], prompt: Prompt) -> list[str]:
    """What a model is shown for each row; the answer is to begin on the line behind it.

    Raises:
        PromptError: a prompt of another kind.
    """
    if prompt.kind != "instructions":
        raise PromptError(f"prompt {prompt.name!r} asks about a user of a log; take one of prompts/instructions/")
    return [prompt.given(instruction=row.instruction, input=row.input) + "\n" for row in rows]


def wanted(rows: Sequence[Instruction], word: str = WORDS[0]) -> np.ndarray:
    """Which rows ``[rows]`` are answered by a word."""
    return np.array([row.output == word for row in rows])


def like_shares(rows: Sequence[Instruction]) -> Float[np.ndarray, " rows"]:
    """The share of likes among the items that each prompt lists, which asks no model.

    Half where nothing is listed.
    """
    counts = [(len(row.told.liked), len(row.told.disliked)) for row in rows]
    return np.array([likes / (likes + dislikes) if likes + dislikes else 0.5 for likes, dislikes in counts])


def title_rates(train: Sequence[Instruction], rows: Sequence[Instruction]) -> Float[np.ndarray, " rows"]:
    """How often the item asked about is liked in some answered rows, their lists and targets, which asks no model.

    The share of likes among all items of these rows counts as one more mention, so that an item that they do not know
    has it.
    """
    likes, mentions = Counter[str](), Counter[str]()
    for row in train:
        own = [*row.told.liked, *([row.told.target] if row.output == WORDS[0] else [])]
        likes.update(own)
        mentions.update([*row.told.liked, *row.told.disliked, row.told.target])
    mean = likes.total() / mentions.total()
    targets = [row.told.target for row in rows]
    return np.array([(likes[title] + mean) / (mentions[title] + 1) for title in targets])


def people(rows: Sequence[Instruction]) -> Int[np.ndarray, " rows"]:
    """Whose each row is, as far as the file tells: it names nobody, but a person's rows slide over his list.

    Rows that follow one another belong to one person where they share at least half of the items that they list.
    """
    result, before = np.zeros(len(rows), dtype=np.int64), set[str]()
    for number, row in enumerate(rows):
        listed = {*row.told.liked, *row.told.disliked}
        goes_on = number > 0 and 2 * len(listed & before) >= max(len(listed), len(before), 1)
        result[number] = result[number - 1] + (not goes_on) if number else 0
        before = listed
    return result


def _short(entry: object) -> str:
    return repr(entry)[:200]
