"""What a chat server sends back, checked; servers differ in what they leave out."""

import math
from typing import Literal

from pydantic import BaseModel, Field


class Candidate(BaseModel):
    """A token that could have come next, and its log-likelihood in nats."""

    token: str
    logprob: float


class Position(BaseModel):
    """The likeliest tokens at one place of the answer."""

    top_logprobs: list[Candidate] | None = None


class Logprobs(BaseModel):
    """The places of the answer; None or empty where a server does not tell."""

    content: list[Position] | None = None


class Message(BaseModel):
    """What the model says, or why it will not."""

    content: str | None = None
    refusal: str | None = None


class Choice(BaseModel):
    """One answer."""

    message: Message
    finish_reason: str | None = None
    logprobs: Logprobs | None = None


class Usage(BaseModel):
    """Tokens counted by the server."""

    prompt_tokens: int
    completion_tokens: int


class Completion(BaseModel):
    """An answer to a chat request.

    Args:
        choices: the first one counts.
        usage: None where a server does not count.
    """

    choices: list[Choice] = Field(min_length=1)
    usage: Usage | None = None

    def text(self) -> str:
        """What the model said."""
        return self.choices[0].message.content or ""

    def ended(self) -> Literal["stop", "length", "refused"]:
        """Why the text ends."""
        choice = self.choices[0]
        if choice.message.refusal or choice.finish_reason == "content_filter":
            return "refused"
        return "length" if choice.finish_reason == "length" else "stop"

    def first_token(self) -> dict[str, float]:
        """Log-likelihoods in nats of what could have come first, by the exact text; empty if the server tells none.

        Tokens of one text (some have no text of their own) are added up.
        """
        told = self.choices[0].logprobs
        candidates = (told.content[0].top_logprobs or []) if told and told.content else []
        by_text: dict[str, list[float]] = {}
        for candidate in candidates:
            if not math.isnan(candidate.logprob):
                by_text.setdefault(candidate.token, []).append(candidate.logprob)
        return {text: _logsumexp(values) for text, values in by_text.items()}


def _logsumexp(values: list[float]) -> float:
    peak = max(values)
    return peak + math.log(sum(math.exp(value - peak) for value in values)) if math.isfinite(peak) else peak
