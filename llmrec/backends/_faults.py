"""What can go wrong between a program and a chat server, whether to try again, and when."""

import math
import random
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from pydantic import ValidationError

_FIRST_WAIT, _LONGEST_WAIT = 0.5, 30.0
_DAY = 86_400.0
_LONGEST_MESSAGE = 500
_SHOWN = 8
"""How much of a key is enough to know it by."""
_PASSING = (408, 409, 429)
_LASTING = 501
"""The one of the server's own failures that does not pass: it cannot do what is asked."""
_REFUSALS = (400, 403, 404, 422, _LASTING)
"""With which servers refuse log-likelihoods; a key that is not taken is another matter (401)."""
_LOGPROBS = re.compile(r"log[ _-]?prob", re.IGNORECASE)
_ADVICE = {
    401: "set the environment variable OPENAI_API_KEY to a key that this server takes",
    403: "the key in OPENAI_API_KEY may not use this; ask for access or take another model",
    404: "check the model's name (the server lists what it has at {url}/models) and url (most end in /v1)",
    429: "lower concurrency, requests_per_minute or tokens_per_minute, or see whether the account has credit left",
}
_REFUSED = "the server does not take this request: change the option or shorten the prompt that it names"
_BROKEN = "look into the server's log, or try again later"
_NOBODY = "is a server running at {url}?"
_SILENT = "raise timeout (now {timeout:g} seconds) or lower concurrency"
_FOREIGN = "does url lead to a server of OpenAI's chat protocol (most end in /v1)?"
# Not the global generator, whose state belongs to the user.
_random = random.Random()


@dataclass(frozen=True)
class Fault:
    """Why a request has no answer.

    Args:
        said: what the server or the network said.
        advice: what to do, with ``{url}`` and ``{timeout}`` to fill in.
        status: of HTTP; None where there was no whole answer.
        again: whether it may pass.
        wait: seconds that the server asks to wait.
        absent: whether there was nobody to connect to.
    """

    said: str
    advice: str
    status: int | None = None
    again: bool = True
    wait: float | None = None
    absent: bool = False

    def about_logprobs(self) -> bool:
        """Whether the server would take the request, but not with so many log-likelihoods, or with none."""
        return self.status in _REFUSALS and _LOGPROBS.search(self.said) is not None

    def pause(self, attempt: int) -> float:
        """Seconds until the next attempt: twice as long each time, with jitter, or longer if the server asks for it.

        Args:
            attempt: how many there were before the one that failed.
        """
        own = min(_LONGEST_WAIT, _FIRST_WAIT * 2.0 ** min(attempt, 10)) * _random.uniform(0.5, 1.0)
        return max(own, self.wait or 0.0)


def fault_of(error: Exception) -> Fault:
    """Sorts an error of the client, or of reading the answer."""
    import openai

    if isinstance(error, openai.APIStatusError):
        return _of_status(error.status_code, _said(error.body, error.message), error.response.headers)
    if isinstance(error, openai.APITimeoutError):
        return Fault("no answer in time", _SILENT)
    if isinstance(error, ValidationError):
        return Fault(f"the answer is no chat completion ({error.errors(include_input=False)[0]['msg']})", _FOREIGN)
    # The client's HTTP library changed its name between versions, the names of its errors stayed.
    cause = error.__cause__ or error
    name, again = type(cause).__name__, isinstance(error, openai.APIConnectionError)
    return Fault(f"{name}: {cause}", _NOBODY, again=again, absent=name == "ConnectError")


def blanked(text: str, secrets: Iterable[str]) -> str:
    """A message without secrets, also where a server cut them or put stars into them, and not too long."""
    for secret in filter(None, secrets):
        text = re.sub(rf"{re.escape(secret[:_SHOWN])}\S*", "[secret]", text)
    text = re.sub(r"\S*\*{3,}\S*", "[secret]", " ".join(text.split()))
    return text if len(text) <= _LONGEST_MESSAGE else f"{text[:_LONGEST_MESSAGE]}..."


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a server asks to wait, as a number or a date; None where it does not say so legibly."""
    value = headers.get("retry-after", "")
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return min(max(seconds, 0.0), _DAY) if math.isfinite(seconds) else None


def _of_status(status: int, said: str, headers: Mapping[str, str]) -> Fault:
    again = status in _PASSING or (status >= 500 and status != _LASTING)
    advice = _ADVICE.get(status, _BROKEN if again else _REFUSED)
    return Fault(f"HTTP {status}: {said}", advice, status, again, retry_after(headers) if again else None)


def _said(body: object, otherwise: str) -> str:
    """What a server says; ``param`` names the option at fault, and some messages do not."""
    if not isinstance(body, Mapping):
        return str(body or otherwise)
    message = str(body.get("message") or dict(body))
    param = body.get("param")
    return f"{message} ({param})" if isinstance(param, str) and param not in message else message
