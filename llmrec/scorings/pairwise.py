"""The model compares candidates two at a time."""

from collections.abc import Sequence

import numpy as np

from llmrec.backends import Reply, Request
from llmrec.errors import ConfigError
from llmrec.questions import Judged, Question
from llmrec.scorings import of_any, spellings


class Pairwise:
    """The mean probability with which a candidate is preferred to those it is compared with (arXiv:2306.17563).

    Candidates stand in a circle, each is compared with its next neighbours; which of two comes first is drawn.

    Args:
        calls: the most comparisons of one case; fewer than there are pairs leave pairs out, never a candidate.
    """

    prompt: str | None = "zeroshot/pairwise"
    needs_options = True

    def __init__(self, *, calls: int = 60) -> None:
        if calls < 1:
            raise ValueError(f"calls must be at least 1, came {calls}")
        self.calls = calls

    def requests(self, question: Question) -> list[Request]:
        """One for each pair.

        Raises:
            ConfigError: fewer calls than candidates.
        """
        options = [*spellings("A"), *spellings("B")]
        rows = question.candidates
        pairs = self._pairs(question)
        return [question.about([rows[first], rows[second]]).request(options) for first, second in pairs]

    def judge(self, question: Question, replies: Sequence[Reply]) -> Judged:
        """Mean probabilities of being preferred; where nothing is told, both are as good."""
        sums, times = np.zeros(len(question.titles)), np.zeros(len(question.titles))
        for (first, second), reply in zip(self._pairs(question), replies, strict=True):
            for_first, for_second = of_any(reply.logprobs[:2]), of_any(reply.logprobs[2:])
            known = np.isfinite(np.logaddexp(for_first, for_second))
            share = float(np.exp(for_first - np.logaddexp(for_first, for_second))) if known else 0.5
            sums[first] += share
            sums[second] += 1 - share
            times[[first, second]] += 1
        return Judged(sums / np.maximum(times, 1))

    def _pairs(self, question: Question) -> list[tuple[int, int]]:
        """The same for every call with one question: they depend on nothing but the places shown."""
        number = len(question.titles)
        if self.calls < number and number > 2:
            raise ConfigError(f"scoring.calls={self.calls} are too few to compare each of {number} candidates")
        if number == 1:
            return []
        pairs = {
            frozenset((place, (place + step) % number))
            for step in range(1, 1 + max(1, min(number // 2, self.calls // number)))
            for place in range(number)
        }
        # Neighbours were shuffled already; which comes first alternates, so that neither place is favoured.
        ordered = [sorted(pair) for pair in sorted(pairs, key=sorted)]
        return [(low, high) if (low + high) % 2 else (high, low) for low, high in ordered]
