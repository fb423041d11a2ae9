"""Answers without a model, to test what is made of answers."""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from llmrec.backends import Reply, Request

_LINE = re.compile(r"^(\S+)\. (.*)$", re.MULTILINE)
_LIKELY, _UNLIKELY = -0.1, -5.0
_REFUSAL = "I'm sorry, but as an AI I can't guess what you would choose."


class Scripted:
    """An oracle, which must score 1, and others, which must score as chance has it.

    Args:
        script: ``oracle`` names the target, ``constant`` says the first option whatever is asked, ``random`` one that
            the question's hash draws, ``chatty`` writes many words and no title, ``refusing`` refuses.
    """

    scores_whole = True
    trial = None

    def __init__(
        self, model: str, *, script: Literal["oracle", "constant", "random", "chatty", "refusing"] = "oracle"
    ) -> None:
        self.model, self.script = model, script
        self._targets: Mapping[str, tuple[str, str]] = {}

    def tell(self, targets: Mapping[str, tuple[str, str]]) -> None:
        """What is right, by case its title and how it is shown: the oracle alone is told, no other backend."""
        self._targets = targets

    def identity(self) -> dict[str, Any]:
        """The script, and for the oracle what it was told."""
        told = hashlib.sha256(repr(sorted(self._targets.items())).encode()).hexdigest()[:16]
        return {"backend": "scripted", "script": self.script} | ({"told": told} if self._targets else {})

    def count_tokens(self, request: Request) -> int:
        """Words."""
        return sum(len(message["content"].split()) for message in request.messages())

    def answer(self, requests: Sequence[Request]) -> Iterator[tuple[int, Reply]]:
        """One after the other."""
        for place, request in enumerate(requests):
            said = self._say(request)
            values = tuple(_LIKELY if option.strip() in said else _UNLIKELY for option in request.options)
            tokens = self.count_tokens(request)
            yield place, Reply("" if values else said[0], values, (1,) * len(values), tokens, len(said[0].split()))

    def _say(self, request: Request) -> list[str]:
        """The answer as a text, and other ways to say it."""
        labels = dict(_LINE.findall(request.user))
        if self.script == "oracle":
            return self._right(request, labels)
        if self.script == "random":
            offered = list(labels) or [option.strip() for option in request.options] or [""]
            number = int.from_bytes(hashlib.sha256(request.user.encode()).digest()[:8], "big")
            return [offered[number % len(offered)]]
        if self.script == "constant":
            return [next(iter(labels), "A")]
        words = "What a fine question! Taste is a deep thing, and here is my ranking: it depends."
        return [_REFUSAL if self.script == "refusing" else words]

    def _right(self, request: Request, labels: dict[str, str]) -> list[str]:
        title, text = self._targets.get(request.case, ("", ""))
        mine = [label for label, shown in labels.items() if shown == text]
        verdict = "Yes" if text and text in request.user else "No"
        return [verdict] if "Yes or No" in request.user else [title, *mine, verdict]
