"""The model is asked about one candidate at a time, and says yes or no."""

from collections.abc import Sequence

import numpy as np

from llmrec.backends import Reply, Request
from llmrec.questions import Judged, Question
from llmrec.scorings import finite, of_any, spellings


class Pointwise:
    """How much likelier a yes than a no is for each candidate, in nats; no candidate is shown beside another."""

    prompt: str | None = "zeroshot/pointwise"
    needs_options = True

    def requests(self, question: Question) -> list[Request]:
        """One for each candidate."""
        options = [*spellings("Yes"), *spellings("No")]
        return [question.about([row]).request(options) for row in question.candidates]

    def judge(self, question: Question, replies: Sequence[Reply]) -> Judged:
        """Differences of log-likelihoods."""
        yes = np.array([of_any(reply.logprobs[:2]) for reply in replies])
        no = np.array([of_any(reply.logprobs[2:]) for reply in replies])
        return Judged(finite(yes) - finite(no))
