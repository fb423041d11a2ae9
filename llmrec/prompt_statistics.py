"""What a prompt says without a model: how many words a candidate has in common with the history that is shown."""

import re

import numpy as np

from llmrec.candidates import Candidates, Scores
from llmrec.prompt_rows import PromptRows

_WORD = re.compile(r"\w+")


def overlap(candidates: Candidates, rows: PromptRows, last: int) -> list[Scores]:
    """The mean Jaccard index of each candidate's words and those of each item shown; nothing else is looked at.

    A prompted model has all of this before its eyes. One that ranks no better has shown nothing.

    Args:
        candidates: with their cases.
        rows: how items are shown.
        last: how many recent items are shown.
    """
    words = [frozenset(_WORD.findall(row.get("text", "").casefold())) for row in rows.items]
    found = []
    for row, items in enumerate(candidates.items):
        history = candidates.cases.histories[row]
        shown = [words[item] for item in history[max(0, len(history) - last) :]]
        means = [sum(_jaccard(words[item], each) for each in shown) / max(1, len(shown)) for item in items]
        found.append(np.array(means))
    return found


def _jaccard(first: frozenset[str], second: frozenset[str]) -> float:
    return len(first & second) / max(1, len(first | second))
