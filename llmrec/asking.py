"""Asks a backend what is not known yet, writes down what comes, and keeps within a sum of money."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from llmrec.answer_store import AnswerStore, key_of
from llmrec.backends import Backend, Reply, Request
from llmrec.errors import BackendError, ConfigError, nearest

Progress = Callable[[int, int], None]
_MILLION = 1_000_000


@dataclass(frozen=True)
class Prices:
    """What a model takes for a million tokens, in the currency of the price file."""

    input: float = 0.0
    output: float = 0.0

    @classmethod
    def read(cls, path: Path, model: str) -> "Prices":
        """Reads ``model: {input: 0.15, output: 0.60}`` from a YAML file.

        Raises:
            ConfigError: a file that cannot be read, lacks the model, or holds something else than two numbers.
        """
        try:
            listed = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path} cannot be read as YAML: {error}") from None
        if not isinstance(listed, dict) or model not in listed:
            have = map(str, listed) if isinstance(listed, dict) else []
            raise ConfigError(f"{path} has no prices of model {model!r}{nearest(model, have)}")
        found = listed[model]
        if not isinstance(found, dict) or set(found) != {"input", "output"}:
            raise ConfigError(f"{path}: {model} must have 'input' and 'output', per million tokens; has {found!r}")
        if not all(type(value) in (int, float) and value >= 0 for value in found.values()):
            raise ConfigError(f"{path}: the prices of {model} must be numbers of at least 0, are {found!r}")
        return cls(float(found["input"]), float(found["output"]))

    def cost(self, prompt: int, completion: int) -> float:
        """Of so many tokens."""
        return (prompt * self.input + completion * self.output) / _MILLION


@dataclass
class Usage:
    """What the answers took when they were asked for, now or in an earlier run."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    cost: float = 0.0

    def add(self, reply: Reply, prices: Prices) -> None:
        """Counts an answer."""
        self.requests += 1
        self.prompt_tokens += reply.prompt_tokens
        self.completion_tokens += reply.completion_tokens
        self.seconds += reply.seconds
        self.cost += prices.cost(reply.prompt_tokens, reply.completion_tokens)


@dataclass
class Asker:
    """A backend behind the store of its answers.

    ``max_cost`` bounds what this process spends. A request whose cost, as far as it can be told beforehand, would pass
    it is not sent: where money is bounded no more requests are sent at a time than were answered before, and all are
    taken to be as much larger than counted as the worst one so far was.

    ``tried``: what it took to learn whether the backend tells how likely options are.
    """

    backend: Backend
    store: AnswerStore
    prices: Prices = field(default_factory=Prices)
    max_cost: float | None = None
    progress: Progress = lambda done, total: None
    spent: float = 0.0
    asked: int = 0
    tried: Usage = field(default_factory=Usage)
    _miscounts: tuple[float, float] = (1.0, 1.0)
    """At most, of tokens read and written: how many came for each that was counted beforehand."""

    def scores_options(self) -> bool:
        """Whether the backend tells how likely options are; a server that was never asked is asked for one token.

        Raises:
            BackendError: as of :meth:`ask`.
        """
        if self.backend.trial is None:
            return True
        [reply] = self.ask([self.backend.trial], self.tried)
        return None not in reply.logprobs

    @property
    def knows_scoring(self) -> bool:
        """Whether :meth:`scores_options` asks nobody."""
        return self.backend.trial is None or not self.estimate([self.backend.trial]).requests

    def ask(self, requests: Sequence[Request], usage: Usage, repeat: int = 0) -> list[Reply]:
        """One answer for each request; equal requests are asked once.

        Args:
            requests: what is asked.
            usage: counts each distinct answer.
            repeat: for the how-manieth time; another number is another answer.

        Raises:
            BackendError: no answer, or not within ``max_cost``; what came before is kept.
        """
        identity = self.backend.identity()
        keys = [key_of(identity, request, repeat) for request in requests]
        distinct = dict(zip(keys, requests, strict=True))
        found = self.store.find(list(distinct))
        missing = [(key, request) for key, request in distinct.items() if key not in found]
        done = len(found)
        self.progress(done, len(distinct))
        while missing:
            now = self._affordable([request for _, request in missing])
            batch, missing = missing[:now], missing[now:]
            for place, reply in self.backend.answer([request for _, request in batch]):
                key, request = batch[place]
                self.store.add(key, identity, request, reply)
                found[key] = reply
                self._pay(request, reply)
                done += 1
                self.progress(done, len(distinct))
        for key in distinct:
            usage.add(found[key], self.prices)
        return [found[key] for key in keys]

    def estimate(self, requests: Sequence[Request], repeat: int = 0) -> Usage:
        """What asking would take at most: requests that are not answered yet, their tokens and their cost."""
        identity = self.backend.identity()
        distinct = {key_of(identity, request, repeat): request for request in requests}
        known = self.store.find(list(distinct))
        usage = Usage()
        for key, request in distinct.items():
            if key not in known:
                usage.add(self._most(request), self.prices)
        return usage

    def _pay(self, request: Request, reply: Reply) -> None:
        """Counts what an answer cost, and how much was miscounted where money is bounded."""
        self.spent += self.prices.cost(reply.prompt_tokens, reply.completion_tokens)
        self.asked += 1
        # Of the trial, which is short, most is what a server puts around any question, and tells nothing of long ones.
        if self.max_cost is not None and request != self.backend.trial:
            most, (read, written) = self._most(request), self._miscounts
            self._miscounts = (
                max(read, reply.prompt_tokens / max(most.prompt_tokens, 1)),
                max(written, reply.completion_tokens / max(most.completion_tokens, 1)),
            )

    def _affordable(self, requests: list[Request]) -> int:
        """How many of the first requests can be paid for whatever they answer; all of them where nothing is bounded."""
        if self.max_cost is None:
            return len(requests)
        left, number = self.max_cost - self.spent, 0
        read, written = self._miscounts
        for request in requests[: max(self.asked, 1)]:
            most = self._most(request)
            left -= self.prices.cost(math.ceil(most.prompt_tokens * read), math.ceil(most.completion_tokens * written))
            if left < 0:
                break
            number += 1
        if not number:
            raise BackendError(
                f"{self.asked} answers cost {self.spent:.4f}, and the next could pass --max-cost {self.max_cost:g}; "
                f"{len(requests)} are missing. All that came is kept: a higher --max-cost goes on from there"
            )
        return number

    def _most(self, request: Request) -> Reply:
        tokens = self.backend.count_tokens(request)
        return Reply(prompt_tokens=tokens, completion_tokens=1 if request.options else request.max_new_tokens)
