"""Who answers prompts: a model in this process, a server, or a script for tests.

A backend takes what the program supplies, the model's name, and its options as keyword-only arguments. It never learns
what the right answer is, and what it says depends on :meth:`Backend.identity` and the request alone, as far as the
model behind it is deterministic.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable


@dataclass(frozen=True)
class Request:
    """What a model is asked.

    With ``options`` it is asked how likely each of them is to be what it says next, else for a text.
    """

    system: str
    user: str
    turns: tuple[tuple[str, str], ...] = ()
    """Earlier questions and their answers, oldest first (few-shot)."""
    options: tuple[str, ...] = ()
    max_new_tokens: int = 64
    case: str = field(default="", compare=False)
    """Whom it is about; no part of the question, and no model is shown it."""

    def facts(self) -> dict[str, Any]:
        """All that determines an answer."""
        return {key: value for key, value in asdict(self).items() if key != "case"}

    def messages(self) -> list[dict[str, str]]:
        """As chat models take them."""
        system = [{"role": "system", "content": self.system}] if self.system else []
        turns = [
            {"role": role, "content": text}
            for turn in self.turns
            for role, text in zip(("user", "assistant"), turn, strict=True)
        ]
        return [*system, *turns, {"role": "user", "content": self.user}]


@dataclass(frozen=True)
class Reply:
    """What came back.

    ``logprobs``: of each option, the log-likelihood of its whole text in nats, None where the backend does not tell;
    ``tokens``: how many tokens each option has. ``ended``: why a text ends.
    """

    text: str = ""
    logprobs: tuple[float | None, ...] = ()
    tokens: tuple[int, ...] = ()
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    ended: Literal["stop", "length", "refused"] = "stop"


@runtime_checkable
class Backend(Protocol):
    """What every backend offers."""

    scores_whole: bool
    """Whether it tells how likely options of several tokens are, where it scores any."""
    trial: Request | None
    """What a server has to be asked to learn whether it tells how likely options are: it does where the answer has no
    None among its ``logprobs``. None: it always does."""

    def identity(self) -> dict[str, Any]:
        """Everything besides a request that determines its answer; nothing secret."""
        ...

    def count_tokens(self, request: Request) -> int:
        """Tokens of a request, at least roughly, without asking the model."""
        ...

    def answer(self, requests: Sequence[Request]) -> Iterator[tuple[int, Reply]]:
        """The answers as they come, each with the place of its request.

        Raises:
            BackendError: there is none to be had.
        """
        ...
