"""How likely the model is to answer with each option's letter."""

from collections.abc import Sequence

import numpy as np

from llmrec.backends import Reply, Request
from llmrec.questions import Judged, Question
from llmrec.scorings import finite, of_any, spellings


class Letters:
    """The log-likelihood of each candidate's label as the model's next words, with and without a blank before it.

    One pass of the model gives an order of all candidates, and nothing has to be read from a text. Labels may be of
    several tokens.

    Args:
        calibrate: subtract what each label gets when history and candidates are empty words (contextual calibration,
            arXiv:2102.09690, there as a ratio of probabilities): models like some letters better than others.
    """

    prompt: str | None = "zeroshot/pick_one"
    needs_options = True

    def __init__(self, *, calibrate: bool = True) -> None:
        self.calibrate = calibrate

    def requests(self, question: Question) -> list[Request]:
        """The prompt, and the same without content."""
        asked = [question, question.without_content()] if self.calibrate else [question]
        options = [spelling for label in question.labels for spelling in spellings(label)]
        return [each.request(options) for each in asked]

    def judge(self, question: Question, replies: Sequence[Reply]) -> Judged:
        """Log-likelihoods, less those without content; a label of which nothing is told ties below the rest."""
        scores = _by_label(replies[0])
        if self.calibrate:
            prior = finite(_by_label(replies[1]))
            scores = scores - prior
        return Judged(finite(scores))


def _by_label(reply: Reply) -> np.ndarray:
    pairs = zip(reply.logprobs[::2], reply.logprobs[1::2], strict=True)
    return np.array([of_any(pair) for pair in pairs])
