"""Models behind a server that speaks OpenAI's chat protocol: OpenAI itself, vLLM, llama.cpp, Ollama and others."""

import base64
import math
import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import ValidationError

from llmrec.backends import Reply, Request
from llmrec.backends._chat import Completion
from llmrec.backends._faults import Fault, blanked, fault_of
from llmrec.backends._limiter import Limiter
from llmrec.errors import BackendError

_KEY = "OPENAI_API_KEY"
_WIDTHS = {20: 5, 5: None}
"""How many log-likelihoods are asked for, and what is asked for where that is too many."""


class _Failed(BackendError):
    def __init__(self, message: str, fault: Fault) -> None:
        super().__init__(message)
        self.fault = fault


class _Stopped(BackendError):
    """Another request failed, or nobody wants the answers any more."""


class OpenAI:
    """Asks a chat server over HTTP; its key, if it wants one, is in the environment variable ``OPENAI_API_KEY``.

    The chance of an option is that of the one token that has exactly its text to be the first of the answer. A server
    tells those of the 20 likeliest tokens (some: 5) or of none; options beyond, or longer than a token, have None.

    Failures that may pass (HTTP 408, 409, 429, 5xx but 501, a cut connection, no answer in time, an answer that is no
    JSON) are tried again after 0.5 seconds, then twice as long each time and 30 at most, or later if the server asks
    for it. Each attempt counts for the limits per minute, which are kept by even spacing, without bursts.

    Args:
        model: as the server calls it.
        url: of the server, with the version (most end in ``/v1``).
        temperature: 0 takes the likeliest token each time.
        requests_per_minute: at most so many requests are begun in a minute; unset: no limit.
        tokens_per_minute: the same for tokens of questions and longest answers, roughly counted; unset: no limit.
        concurrency: requests under way at once.
        timeout: seconds that the server may be silent.
        retries: attempts after the first.
    """

    scores_whole = False
    trial = Request("", "Answer with the letter A.", options=("A",), max_new_tokens=1)

    def __init__(
        self,
        model: str,
        *,
        url: str = "http://127.0.0.1:8000/v1",
        temperature: float = 0.0,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        concurrency: int = 4,
        timeout: float = 60.0,
        retries: int = 6,
    ) -> None:
        _check_at_least(1, concurrency=concurrency, requests=requests_per_minute, tokens=tokens_per_minute)
        _check_at_least(0, retries=retries)
        if not 0 <= temperature < math.inf:
            raise ValueError(f"temperature must be a number of at least 0, came {temperature}")
        if not 0 < timeout < math.inf:
            raise ValueError(f"timeout must be a number of seconds above 0, came {timeout}")
        if not model.strip():
            raise ValueError(f"model must be the name of a model of the server, came {model!r}")
        self.model, self.temperature = model, temperature
        self.concurrency, self.timeout, self.retries = concurrency, timeout, retries
        self.url, self._login = _without_login(url)
        self._secrets = self._login
        self.limiter = Limiter(requests_per_minute, tokens_per_minute)
        # Waits end early when the event is set; tests put something quicker here.
        self.wait: Callable[[threading.Event, float], object] = threading.Event.wait
        self._width: int | None = max(_WIDTHS)
        self._no_width = ""
        self._client: Any = None
        self._reached = False
        self._lock = threading.Lock()

    def identity(self) -> dict[str, Any]:
        """What determines an answer, as far as the server always gives the same; neither key nor password."""
        return {"backend": "openai", "model": self.model, "url": self.url, "temperature": self.temperature}

    def served(self) -> str:
        """What the server calls its model.

        Raises:
            BackendError: it does not answer, or has none or several.
        """
        client = self._connected()
        import openai

        try:
            names = [str(model.id) for model in client.models.list()]
        except openai.OpenAIError as error:
            fault = fault_of(error)
            said = replace(fault, said=blanked(fault.said, self._secrets))
            raise BackendError(self._message(said, 0)) from None
        if not names:
            raise BackendError(f"{self.url} has no model; load one there")
        if len(names) > 1:
            raise BackendError(
                f"{self.url} has {len(names)} models ({', '.join(names[:5])}); name one beside the address, such as "
                f"--backend openai --model {names[0]} backend.url={self.url}"
            )
        return names[0]

    def count_tokens(self, request: Request) -> int:
        """Roughly, of all messages and options, see :func:`_count`; the server alone knows better."""
        return _count(message["content"] for message in request.messages()) + _count(request.options)

    def answer(self, requests: Sequence[Request]) -> Iterator[tuple[int, Reply]]:
        """The answers as they come, each with the place of its request.

        After a failure for good nothing more is begun, but what is under way is waited for and handed out. Once the
        caller stops, nothing more is begun either.

        Raises:
            BackendError: the first failure; the message says what to do.
        """
        stop, failed = threading.Event(), None
        pool = ThreadPoolExecutor(self.concurrency, thread_name_prefix="llmrec-openai")
        try:
            places = {pool.submit(self._reply_or_stop, request, stop): place for place, request in enumerate(requests)}
            for future in as_completed(places):
                try:
                    reply = future.result()
                except _Stopped:
                    continue
                except BackendError as error:
                    failed = failed or error
                else:
                    yield places[future], reply
        finally:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
        if failed:
            raise failed

    def _reply_or_stop(self, request: Request, stop: threading.Event) -> Reply:
        # A thread takes its next request before the caller can hear that this one failed.
        try:
            return self._tried(stop) if request == self.trial else self._reply(request, stop)
        except BaseException:
            stop.set()
            raise

    def _reply(self, request: Request, stop: threading.Event) -> Reply:
        asked = _count(message["content"] for message in request.messages())
        if request.options:
            completion, seconds = self._first_token(request, stop)
            told, text = completion.first_token(), ""
            # Whether a server tells anything is what the trial asks, whatever it tells of its option.
            beyond = -math.inf if told and request == self.trial else None
            logprobs = tuple(told.get(option, beyond) for option in request.options)
        else:
            completion, seconds = self._call(request, stop, max_tokens=request.max_new_tokens)
            logprobs, text = (), completion.text()
        ended = completion.ended()
        return Reply(
            text=text,
            logprobs=logprobs,
            tokens=(1,) * len(request.options),
            prompt_tokens=completion.usage.prompt_tokens if completion.usage else asked,
            completion_tokens=completion.usage.completion_tokens if completion.usage else _count([completion.text()]),
            seconds=seconds,
            # One token is all that was asked for, so it is not cut.
            ended="stop" if request.options and ended == "length" else ended,
        )

    def _tried(self, stop: threading.Event) -> Reply:
        """The answer to the trial; that a server refuses to tell is one too."""
        try:
            return self._reply(self.trial, stop)
        except BackendError:
            if self._width is not None:
                raise
            return Reply(logprobs=(None,), tokens=(1,), ended="refused")

    def _first_token(self, request: Request, stop: threading.Event) -> tuple[Completion, float]:
        while (width := self._width) is not None:
            try:
                return self._call(request, stop, max_tokens=1, logprobs=True, top_logprobs=width)
            except _Failed as error:
                if not error.fault.about_logprobs():
                    raise
                self._narrow(width, str(error))
        raise BackendError(f"{self._no_width}; without log-likelihoods, take a way of scoring that reads texts")

    def _narrow(self, width: int, message: str) -> None:
        with self._lock:
            # Another thread may have met the same refusal, and one refusal narrows once.
            if self._width == width:
                # Read without the lock once there is no width left, so it is set first.
                self._no_width = message
                self._width = _WIDTHS[width]

    def _call(self, request: Request, stop: threading.Event, **options: Any) -> tuple[Completion, float]:
        """The answer and the seconds that its attempt took; tries again as long as it may help."""
        body = {"messages": request.messages(), **options}
        tokens = self.count_tokens(request) + options["max_tokens"]
        client, attempt = self._connected(), 0
        while True:
            self._pause(self.limiter.reserve(tokens), stop)
            started = time.monotonic()
            found = self._send(client, body)
            if isinstance(found, Completion):
                self._reached = True
                return found, time.monotonic() - started
            # Where nobody has answered yet, the address is wrong or the server is not started.
            if not found.again or (found.absent and not self._reached) or attempt == self.retries:
                raise _Failed(self._message(found, attempt), found)
            self._pause(found.pause(attempt), stop)
            attempt += 1

    def _send(self, client: Any, body: dict[str, Any]) -> Completion | Fault:
        import openai

        try:
            raw = client.chat.completions.with_raw_response.create(
                model=self.model, temperature=self.temperature, **body
            )
            return Completion.model_validate_json(raw.http_response.content)
        except (openai.OpenAIError, ValidationError) as error:
            fault = fault_of(error)
        return replace(fault, said=blanked(fault.said, self._secrets))

    def _pause(self, seconds: float, stop: threading.Event) -> None:
        if seconds > 0 and not stop.is_set():
            self.wait(stop, seconds)
        if stop.is_set():
            raise _Stopped

    def _message(self, fault: Fault, attempt: int) -> str:
        advice = fault.advice.format(url=self.url, timeout=self.timeout)
        tried = f" (tried {attempt + 1} times)" if attempt else ""
        return f"{self.model} at {self.url}: {fault.said}{tried}; {advice}"

    def _connected(self) -> Any:
        with self._lock:
            if self._client is None:
                self._client = self._connect()
            return self._client

    def _connect(self) -> Any:
        try:
            import openai
        except ImportError as error:
            raise BackendError("the backend openai needs its client: pip install openai") from error
        key = os.environ.get(_KEY, "").strip()
        self._secrets = (key, *self._login)
        if not (key.isascii() and key.isprintable()):
            raise BackendError(f"{_KEY} holds characters that no key has, such as a line break; set it anew")
        login = {"Authorization": f"Basic {self._login[-1]}"} if self._login else None
        return openai.OpenAI(
            api_key=key or "none", base_url=self.url, timeout=self.timeout, max_retries=0, default_headers=login
        )


def _check_at_least(least: int, **numbers: int | None) -> None:
    for name, number in numbers.items():
        if number is not None and number < least:
            option = f"{name}_per_minute" if name in ("requests", "tokens") else name
            raise ValueError(f"{option} must be at least {least}, came {number}")


def _without_login(url: str) -> tuple[str, tuple[str, ...]]:
    """The address alone, and what is secret of the rest: the password and both as HTTP wants them."""
    try:
        parts = urlsplit(url)
    except ValueError:  # some of its messages repeat the login
        parts = urlsplit("")
    login, _, server = parts.netloc.rpartition("@")
    known = parts.scheme in ("http", "https") and re.fullmatch(r"(\[[^\]]+\]|[^:]+)(:\d+)?", server)
    if not known or "@" in parts.path or parts.query or parts.fragment:
        came = re.split(r"[?#]", url.rpartition("@")[2])[0]
        raise ValueError(f"url must be http://server:port/v1 or the like, without a query, came {came!r}")
    shown = f"{parts.scheme}://{server}{parts.path}".rstrip("/")
    user, _, password = login.partition(":")
    pair = base64.b64encode(f"{unquote(user)}:{unquote(password)}".encode()).decode()
    return shown, (unquote(password or user), pair) if login else ()


def _count(texts: Iterable[str]) -> int:
    """Tokens, roughly: a quarter of the characters, but one for each beyond ASCII, of which vocabularies know less."""
    text = "".join(texts)
    plain = len(text.encode("ascii", errors="ignore"))
    return math.ceil(plain / 4) + len(text) - plain
