"""One case as a model is asked about it: a prompt, the user's history and candidates in the order of one round."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from llmrec.answers import Answer
from llmrec.backends import Request
from llmrec.prompt_rows import Row, emptied, labelled
from llmrec.prompting import Prompt

_NOTHING = "N/A"


@dataclass(frozen=True)
class Question:
    """What a scoring makes requests of.

    ``variables`` are the prompt's, candidates in the order in which they are shown; ``wanted`` is how many are to be
    named; ``turns`` are earlier questions with their answers.
    """

    prompt: Prompt
    variables: dict[str, Any]
    wanted: int
    case: str = ""
    turns: tuple[tuple[str, str], ...] = ()

    @property
    def candidates(self) -> list[Row]:
        """Rows with their labels."""
        rows: list[Row] = self.variables["candidates"]
        return rows

    @property
    def titles(self) -> list[str]:
        """What the candidates are called, in an answer."""
        return [row["title"] or row["item_id"] for row in self.candidates]

    @property
    def labels(self) -> list[str]:
        """What stands before each candidate where the prompt shows it: letters, numbers, or nothing."""
        if shows_letters(self.prompt):
            return [row["label"] for row in self.candidates]
        return [str(place) for place, _ in enumerate(self.candidates, 1)] if "loop.index" in self.prompt.body else []

    @property
    def shown(self) -> int:
        """How many candidates the prompt shows by title, text or id."""
        marks = [f"[[{place}]]" for place, _ in enumerate(self.candidates)]
        rows = [
            row | dict.fromkeys(("title", "text", "id", "item_id"), mark)
            for row, mark in zip(self.candidates, marks, strict=True)
        ]
        text = self.prompt.render("user", **self.variables | {"candidates": rows})
        return sum(mark in text for mark in marks)

    def request(self, options: Sequence[str] = (), max_new_tokens: int = 64) -> Request:
        """The prompt as it is, with these options."""
        return Request(
            self.prompt.render("system", **self.variables),
            self.prompt.render("user", **self.variables),
            self.turns,
            tuple(options),
            max_new_tokens,
            self.case,
        )

    def answer(self, row: Row) -> str:
        """What the prompt would have the model say if this candidate were the one."""
        return self.prompt.render("answer", **self.variables | {"item": row})

    def about(self, rows: Sequence[Row]) -> "Question":
        """The same about these candidates alone, labelled anew."""
        bare = [{key: value for key, value in row.items() if key != "label"} for row in rows]
        return replace(self, variables=self.variables | {"candidates": labelled(bare)})

    def without_history(self) -> "Question":
        """The same asked of somebody of whom nothing is known."""
        return replace(self, variables=self.variables | {"history": []}, turns=(), case="")

    def without_content(self) -> "Question":
        """The same form with nothing in it, to learn what the form alone answers (arXiv:2102.09690).

        It is one question for all cases with as many candidates.
        """
        nothing = {"item_id": _NOTHING, "title": _NOTHING, "text": _NOTHING}
        rows = [emptied(row) | nothing | {"label": row["label"]} for row in self.candidates]
        return replace(self, variables=self.variables | {"history": rows[:1], "candidates": rows}, case="")


def shows_letters(prompt: Prompt, section: str = "user") -> bool:
    """Whether a prompt puts the letters of candidates before them."""
    places = {(use.section, use.variable, use.field) for use in prompt.anatomy.uses}
    return (section, "candidates", "label") in places


@dataclass(frozen=True)
class Judged:
    """What an answer makes of the candidates, in the order in which they were shown.

    ``scores``: higher is better; those that an answer does not tell apart tie. ``answer``: how a text was read; None
    where options were scored.
    """

    scores: Float[np.ndarray, " candidates"]
    answer: Answer | None = None

    @property
    def picked(self) -> int | None:
        """The place of the best one, None where several are."""
        best = np.flatnonzero(self.scores == self.scores.max())
        return int(best[0]) if len(best) == 1 else None
