"""The model writes its answer, which is read for the candidates it names."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from llmrec.answers import parse
from llmrec.backends import Reply, Request
from llmrec.questions import Judged, Question


class Generate:
    """Named candidates in the order of the answer; the others tie below them.

    Nothing is asked again when an answer cannot be used: only one who knows the target could tell which would help.

    Args:
        max_new_tokens: the longest answer; 0: 16 for one name, 24 for each of several.
    """

    prompt: str | None = None
    needs_options = False

    def __init__(self, *, max_new_tokens: int = 0) -> None:
        if max_new_tokens < 0:
            raise ValueError(f"max_new_tokens must be at least 0, came {max_new_tokens}")
        self.max_new_tokens = max_new_tokens

    def requests(self, question: Question) -> list[Request]:
        """The prompt."""
        usual = 16 if question.wanted == 1 else 24 * question.wanted
        return [question.request(max_new_tokens=self.max_new_tokens or usual)]

    def judge(self, question: Question, replies: Sequence[Reply]) -> Judged:
        """Reads the text."""
        answer = parse(replies[0].text, question.titles, wanted=question.wanted, labels=question.labels)
        if replies[0].ended == "refused" and not answer.ranking:
            answer = replace(answer, status="refused")
        scores = np.zeros(len(question.titles))
        for place, named in enumerate(answer.ranking):
            scores[named] = len(scores) - place
        return Judged(scores, answer)
