"""How likely the model is to say each candidate's title next."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from llmrec.backends import Reply, Request
from llmrec.questions import Judged, Question
from llmrec.scorings import finite


class Likelihood:
    """The log-likelihood of each title behind a prompt that shows the history and no candidates.

    Args:
        norm: ``sum`` over the title's tokens, which favours short titles; their ``mean``, which favours long ones whose
            ends follow from their beginnings (arXiv:2406.14900); ``lift``: the sum less that of the same title under
            an empty history, so that only what the history changes counts.
    """

    prompt: str | None = "zeroshot/next_title"
    needs_options = True

    def __init__(self, *, norm: Literal["sum", "mean", "lift"] = "lift") -> None:
        self.norm = norm

    def requests(self, question: Question) -> list[Request]:
        """The prompt with all titles; for ``lift`` also each title without a history, the same for all users."""
        answers = [question.answer(row) for row in question.candidates]
        bare = question.without_history()
        return [question.request(answers), *(bare.request([each]) for each in answers if self.norm == "lift")]

    def judge(self, question: Question, replies: Sequence[Reply]) -> Judged:
        """Sums, means or differences in nats."""
        sums = _told(replies[0].logprobs)
        if self.norm == "mean":
            sums = sums / np.array(replies[0].tokens)
        if self.norm == "lift":
            sums = sums - finite(_told([reply.logprobs[0] for reply in replies[1:]]))
        return Judged(finite(sums))


def _told(logprobs: Sequence[float | None]) -> np.ndarray:
    return np.array([-np.inf if value is None else value for value in logprobs])
