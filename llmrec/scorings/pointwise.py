"""The model is asked about one candidate at a time, and says yes or no."""

from collections.abc import Sequence

import numpy as np

from llmrec.answers import Answer, Status, parse, yes_or_no
from llmrec.backends import Reply, Request
from llmrec.questions import Judged, Question
from llmrec.scorings import finite, of_any, spellings


class Pointwise:
    """How much likelier a yes than a no is for each candidate, in nats; no candidate is shown beside another.

    Args:
        logprobs: whether likelihoods are compared; else what the model says counts, a yes above what is neither and
            that above a no, for servers that tell no likelihoods.
        max_new_tokens: the longest answer that is said.
    """

    prompt: str | None = "zeroshot/pointwise"

    def __init__(self, *, logprobs: bool = True, max_new_tokens: int = 8) -> None:
        if max_new_tokens < 1:
            raise ValueError(f"max_new_tokens must be at least 1, came {max_new_tokens}")
        self.needs_options, self.max_new_tokens = logprobs, max_new_tokens

    def requests(self, question: Question) -> list[Request]:
        """One for each candidate."""
        options = [*spellings("Yes"), *spellings("No")] if self.needs_options else []
        return [question.about([row]).request(options, self.max_new_tokens) for row in question.candidates]

    def judge(self, question: Question, replies: Sequence[Reply]) -> Judged:
        """Differences of log-likelihoods, or 1 for yes, -1 for no and 0 for anything else."""
        if not self.needs_options:
            return _said(replies)
        yes = np.array([of_any(reply.logprobs[:2]) for reply in replies])
        no = np.array([of_any(reply.logprobs[2:]) for reply in replies])
        return Judged(finite(yes) - finite(no))


def _said(replies: Sequence[Reply]) -> Judged:
    read = [yes_or_no(reply.text) for reply in replies]
    values = np.array([0.0 if said is None else 1.0 if said else -1.0 for said in read])
    told = [place for place in np.argsort(-values, kind="stable").tolist() if read[place] is not None]
    status: Status = "ok" if len(told) == len(read) else "partial"
    if not told:
        status = "refused" if replies[0].ended == "refused" else parse(replies[0].text, (), wanted=1).status
    return Judged(values, Answer(tuple(told), status))
