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
        max_new_tokens: the longest answer that is said, where one is.
    """

    prompt: str | None = "zeroshot/pointwise"

    def __init__(self, *, logprobs: bool = True, max_new_tokens: int = 8) -> None:
        if max_new_tokens < 1:
            raise ValueError(f"max_new_tokens must be at least 1, came {max_new_tokens}")
        self.needs_options, self.max_new_tokens = logprobs, max_new_tokens

    def requests(self, question: Question) -> list[Request]:
        """One for each candidate."""
        own = [question.about([row]) for row in question.candidates]
        if not self.needs_options:
            return [each.request(max_new_tokens=self.max_new_tokens) for each in own]
        return [each.request([*spellings("Yes"), *spellings("No")]) for each in own]

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
    told = sum(said is not None for said in read)
    status: Status = "ok" if told == len(read) else "partial"
    if not told:
        refused = any(reply.ended == "refused" for reply in replies)
        status = "refused" if refused else parse(replies[0].text, (), wanted=1).status
    return Judged(values, Answer(tuple(place for place, said in enumerate(read) if said), status))
