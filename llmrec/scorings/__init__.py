"""How a model's answer becomes a score for every candidate.

A scoring takes its options as keyword-only arguments. ``requests(question)`` says what the model is to be asked,
``judge(question, replies)`` makes scores of what came back, in the order in which the candidates were shown. Neither
knows the target. ``prompt`` is the file it goes by unless another is asked for, None: the task's own;
``needs_options``: whether the backend must tell how likely options are.
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from llmrec.backends import Reply, Request
from llmrec.questions import Judged, Question


@runtime_checkable
class Scoring(Protocol):
    """What every scoring offers."""

    prompt: str | None
    needs_options: bool

    def requests(self, question: Question) -> list[Request]:
        """What to ask about one case in one round."""
        ...

    def judge(self, question: Question, replies: Sequence[Reply]) -> Judged:
        """Scores of the candidates from the answers to these requests."""
        ...


def spellings(word: str) -> tuple[str, str]:
    """A word as a model may begin its answer with it: at once, or behind a blank."""
    return word, f" {word}"


def of_any(logprobs: Sequence[float | None]) -> float:
    """The log-likelihood of any of several spellings; minus infinity where none is told."""
    told = [value for value in logprobs if value is not None]
    return float(np.logaddexp.reduce(told)) if told else -np.inf


def finite(scores: Float[np.ndarray, " candidates"]) -> Float[np.ndarray, " candidates"]:
    """The same with what nothing is told of tied below the rest."""
    told = scores[np.isfinite(scores)]
    return np.where(np.isfinite(scores), scores, told.min() - 1 if len(told) else 0.0)
