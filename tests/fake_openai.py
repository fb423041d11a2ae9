"""A chat server on the loopback that does what a test tells it, request by request."""

import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Behaviour = Callable[["Handler"], None]
USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


class Handler(BaseHTTPRequestHandler):
    """One request; ``asked`` is its body."""

    asked: dict[str, Any]
    server: "_Httpd"

    def do_POST(self) -> None:
        self.asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        behaviour = self.server.owner.begin(self)
        try:
            behaviour(self)
        finally:
            self.server.owner.end()

    def do_GET(self) -> None:
        """The list of models."""
        self.server.owner.paths.append(self.path)
        models = [{"id": name, "object": "model", "created": 0, "owned_by": "me"} for name in self.server.owner.models]
        self.send(200, json.dumps({"object": "list", "data": models}))

    def send(self, status: int, body: str, headers: Mapping[str, str] | None = None, kind: str = "application/json"):
        data = body.encode()
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


class _Httpd(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64
    owner: "FakeOpenAI"

    def handle_error(self, *_: object) -> None:
        """Clients that go away are part of the tests."""


class FakeOpenAI:
    """The server; ``script`` is done first, a behaviour for each request, and ``otherwise`` from then on."""

    def __init__(self, *script: Behaviour, otherwise: Behaviour | None = None) -> None:
        self.script, self.otherwise = list(script), otherwise or ok("fine")
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.times: list[float] = []
        self.paths: list[str] = []
        self.models = ["some-model"]
        self.at_once = self.most_at_once = 0
        self.lock = threading.Lock()
        self.httpd = _Httpd(("127.0.0.1", 0), Handler)
        self.httpd.owner = self
        self.url = f"http://127.0.0.1:{self.httpd.server_port}/v1"
        threading.Thread(target=self.httpd.serve_forever, args=(0.01,), daemon=True).start()

    def begin(self, handler: Handler) -> Behaviour:
        with self.lock:
            self.bodies.append(handler.asked)
            self.headers.append({name.lower(): value for name, value in handler.headers.items()})
            self.times.append(time.monotonic())
            self.paths.append(handler.path)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            return self.script.pop(0) if self.script else self.otherwise

    def end(self) -> None:
        with self.lock:
            self.at_once -= 1

    def stop(self) -> None:
        self.httpd.shutdown()
        self.httpd.server_close()


def completion(text: str | None, finish: str = "stop", usage: Any = USAGE, **more: Any) -> dict[str, Any]:
    """The body of an answer; what is in ``more`` goes into the message, but ``logprobs`` into the choice."""
    choice = {"index": 0, "finish_reason": finish, "logprobs": more.pop("logprobs", None)}
    choice["message"] = {"role": "assistant", "content": text, **more}
    body = {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}
    return body | ({"usage": usage} if usage else {})


def ok(text: str | None, finish: str = "stop", **more: Any) -> Behaviour:
    """Answers with a text, whatever is asked for: ``logprobs`` are ignored."""
    return lambda handler: handler.send(200, json.dumps(completion(text, finish, **more)))


def echo() -> Behaviour:
    """Answers with the last message."""
    return lambda handler: handler.send(200, json.dumps(completion(handler.asked["messages"][-1]["content"])))


def logprobs(first: Mapping[str, float] | list[tuple[str, float]]) -> Behaviour:
    """Answers with the first token's log-likelihoods, as many as are asked for."""
    pairs = list(first.items()) if isinstance(first, Mapping) else first

    def behave(handler: Handler) -> None:
        assert handler.asked["logprobs"] is True
        top = [{"token": text, "logprob": value, "bytes": None} for text, value in pairs]
        place = {**top[0], "top_logprobs": top[: handler.asked["top_logprobs"]]}
        told = {"content": [place], "refusal": None}
        handler.send(200, json.dumps(completion(pairs[0][0], "length", logprobs=told)))

    return behave


def status(number: int, message: str = "no", headers: Mapping[str, str] | None = None) -> Behaviour:
    """An error as OpenAI words it."""
    body = json.dumps({"error": {"message": message, "type": "some", "param": None, "code": None}})
    return lambda handler: handler.send(number, body, headers)


def busy(retry_after: str) -> Behaviour:
    """HTTP 429 with a Retry-After."""
    return status(429, "slow down", {"Retry-After": retry_after})


def narrow(limit: int, then: Behaviour) -> Behaviour:
    """Rejects more log-likelihoods than ``limit``; 0 rejects any."""

    def behave(handler: Handler) -> None:
        asked = handler.asked.get("top_logprobs", 0)
        if asked > limit:
            status(400, f"Invalid value for 'top_logprobs': must be less than or equal to {limit}, came {asked}")(
                handler
            )
        else:
            then(handler)

    return behave


def cut(handler: Handler) -> None:
    """Promises a long answer and hangs up half-way."""
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", "10000")
    handler.end_headers()
    handler.wfile.write(b'{"choices": [{"mess')
    handler.wfile.flush()
    handler.close_connection = True
    handler.connection.shutdown(socket.SHUT_RDWR)


def reset(handler: Handler) -> None:
    """Hangs up without a word."""
    handler.close_connection = True
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()


def raw(body: str, kind: str = "application/json") -> Behaviour:
    """HTTP 200 with any body, such as one that is no JSON."""
    return lambda handler: handler.send(200, body, kind=kind)


def tell_tale(handler: Handler) -> None:
    """An error that repeats the key three times over, as a whole, cut and with stars."""
    sent = handler.headers["Authorization"]
    key = sent.split()[-1]
    status(401, f"wrong header '{sent}', key {key[:12]}..., also {key[:3]}*****{key[-4:]}, given up")(handler)


def slow(seconds: float, then: Behaviour) -> Behaviour:
    """Thinks first."""

    def behave(handler: Handler) -> None:
        time.sleep(seconds)
        then(handler)

    return behave


def once(event: threading.Event, then: Behaviour) -> Behaviour:
    """Answers once an event has happened, or after five seconds."""

    def behave(handler: Handler) -> None:
        event.wait(5)
        then(handler)

    return behave
