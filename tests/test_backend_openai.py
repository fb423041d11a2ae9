"""The backend openai against a server on the loopback that fails in every way it can be told to."""

import base64
import inspect
import logging
import math
import threading
import time
from collections import Counter
from email.utils import formatdate

import fake_openai as fake
import loopback
import pytest

from llmrec.backends import Backend, Reply, Request
from llmrec.backends._faults import Fault, blanked, retry_after
from llmrec.backends._limiter import Limiter
from llmrec.backends.openai import OpenAI
from llmrec.errors import BackendError

KEY = "sk-proj-0123456789abcdefWXYZ"
PICK = Request("", "Which one?", options=("A", " A", "B", "Blade"))


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    for name in ("OPENAI_API_KEY", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def serve():
    """Starts servers and ends them with the test."""
    started = []

    def start(*script, otherwise=None):
        started.append(fake.FakeOpenAI(*script, otherwise=otherwise))
        return started[-1]

    yield start
    for server in started:
        server.stop()


def ask(*texts: str, **more) -> list[Request]:
    return [Request("", text, **more) for text in texts]


def hurried(server, **options) -> tuple[OpenAI, list[float]]:
    """A backend that notes how long it would wait, and does not."""
    waits: list[float] = []
    backend = OpenAI("m", url=server.url, **options)
    backend.wait = lambda _, seconds: waits.append(seconds)
    return backend, waits


def only(backend: OpenAI, request: Request | None = None) -> Reply:
    [(place, reply)] = backend.answer([request or Request("", "hello")])
    assert place == 0
    return reply


def tells(backend: OpenAI) -> bool:
    """What its trial says."""
    return None not in only(backend, backend.trial).logprobs


def failure(backend: OpenAI, request: Request | None = None) -> str:
    with pytest.raises(BackendError) as caught:
        only(backend, request)
    assert caught.value.__cause__ is None and caught.value.__context__ is None, "these would repeat secrets"
    return str(caught.value)


# Texts


@pytest.mark.slow
def test_a_text_its_tokens_and_what_the_server_was_asked(serve):
    server = serve(fake.ok("Alien"))
    backend = OpenAI("m", url=server.url, temperature=0.5)
    assert isinstance(backend, Backend)
    reply = only(backend, Request("Be brief.", "Which?", (("Or?", "That."),), max_new_tokens=9, case="u1"))
    assert (reply.text, reply.ended, reply.prompt_tokens, reply.completion_tokens) == ("Alien", "stop", 7, 3)
    assert 0 < reply.seconds < 5
    messages = [("system", "Be brief."), ("user", "Or?"), ("assistant", "That."), ("user", "Which?")]
    assert server.paths == ["/v1/chat/completions"]
    assert server.bodies == [
        {
            "model": "m",
            "messages": [{"role": role, "content": text} for role, text in messages],
            "max_tokens": 9,
            "temperature": 0.5,
        }
    ], "and nothing of whom it is about"


@pytest.mark.parametrize(
    ("behaviour", "text", "ended"),
    [
        (fake.ok("Ali", "length"), "Ali", "length"),
        (fake.ok("", "content_filter"), "", "refused"),
        (fake.ok(None, refusal="I will not."), "", "refused"),
        (fake.ok("x", "tool_calls"), "x", "stop"),
        (fake.ok(None), "", "stop"),
    ],
    ids=["cut", "filtered", "refused", "unknown reason", "no text"],
)
def test_why_a_text_ends(serve, behaviour, text, ended):
    reply = only(OpenAI("m", url=serve(behaviour).url))
    assert (reply.text, reply.ended) == (text, ended)


def test_tokens_are_counted_roughly_where_the_server_does_not(serve):
    backend = OpenAI("m", url=serve(fake.ok("12345", usage=None)).url)
    reply = only(backend, Request("1234", "12345678"))
    assert (reply.prompt_tokens, reply.completion_tokens) == (3, 2)
    assert backend.count_tokens(Request("1234", "12345678", options=("A", "B"))) == 4
    assert backend.count_tokens(Request("1234", "我喜欢看电影")) == 1 + 6, "a token for each character"


def test_answers_come_as_they_are_ready_and_at_most_so_many_are_under_way(serve):
    release = threading.Event()

    both = threading.Barrier(2)

    def behave(handler):
        text = handler.asked["messages"][-1]["content"]
        if text in ("1", "2"):
            both.wait(5)
        (fake.once(release, fake.echo()) if text == "0" else fake.slow(0.01, fake.echo()))(handler)

    server = serve(otherwise=behave)
    answers = OpenAI("m", url=server.url, concurrency=3).answer(ask(*map(str, range(9))))
    early = [next(answers) for _ in range(8)]
    release.set()
    late = list(answers)
    assert [place for place, _ in late] == [0], "nobody waited for the slow one"
    assert {place: reply.text for place, reply in early + late} == {place: str(place) for place in range(9)}
    assert server.most_at_once == 3


def test_no_requests_no_answers(serve):
    server = serve()
    assert list(OpenAI("m", url=server.url).answer([])) == []
    assert server.bodies == []


# Options


def test_options_are_the_tokens_of_exactly_their_text(serve):
    server = serve(fake.logprobs([("A", -1.0), (" A", -2.0), ("A", -3.0), ("a", -4.0)]))
    reply = only(OpenAI("m", url=server.url), PICK)
    both = math.log(math.exp(-1.0) + math.exp(-3.0))
    assert reply.logprobs == (pytest.approx(both), -2.0, None, None)
    assert (reply.tokens, reply.text, reply.ended) == ((1, 1, 1, 1), "", "stop")
    assert {key: server.bodies[0][key] for key in ("max_tokens", "logprobs", "top_logprobs")} == {
        "max_tokens": 1,
        "logprobs": True,
        "top_logprobs": 20,
    }


def test_no_token_is_counted_for_two_variants(serve):
    server = serve(otherwise=fake.logprobs({"A": -0.5, "B": -1.5}))
    reply = only(OpenAI("m", url=server.url), PICK)
    assert reply.logprobs == (-0.5, None, -1.5, None)


def test_a_token_without_probability_is_not_an_error(serve):
    server = serve(fake.logprobs([("A", -0.1), (" A", float("-inf")), ("B", float("nan"))]))
    assert only(OpenAI("m", url=server.url), PICK).logprobs == (-0.1, -math.inf, None, None)


def test_a_server_that_ignores_logprobs_is_found_out_by_one_question(serve):
    """F5: fake chat server that ignores `logprobs`."""
    server = serve(otherwise=fake.ok("A"))
    backend = OpenAI("m", url=server.url)
    assert not tells(backend)
    assert len(server.bodies) == 1
    assert server.bodies[0]["max_tokens"] == 1
    assert only(backend, PICK).logprobs == (None,) * 4


@pytest.mark.parametrize("first", ["A", "<think>"])
def test_a_server_that_tells_is_known_by_one_question_whatever_it_would_say(serve, first):
    server = serve(otherwise=fake.logprobs({first: -0.1}))
    assert tells(OpenAI("m", url=server.url))
    assert len(server.bodies) == 1


def test_whether_a_server_tells_is_not_made_up_where_it_does_not_answer(serve):
    server = serve(fake.status(401), otherwise=fake.logprobs({"A": -0.1}))
    backend = OpenAI("m", url=server.url)
    with pytest.raises(BackendError, match="401"):
        tells(backend)
    assert tells(backend), "a failure is not remembered as an answer"


def test_where_twenty_are_too_many_five_are_asked_for(serve):
    """F8: server that rejects logprobs > 20."""
    server = serve(otherwise=fake.narrow(5, fake.logprobs({"A": -1.0, "x": -2.0})))
    backend = OpenAI("m", url=server.url, concurrency=4)
    replies = dict(backend.answer([PICK] * 12))
    assert [replies[place].logprobs for place in range(12)] == [(-1.0, None, None, None)] * 12
    widths = Counter(body["top_logprobs"] for body in server.bodies)
    assert widths[5] == 12 and 1 <= widths[20] <= 4, "only those under way at first may ask for 20"
    before = len(server.bodies)
    only(backend, PICK)
    assert [body["top_logprobs"] for body in server.bodies[before:]] == [5], "what worked is remembered"


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (400, "logprobs are not supported"),
        (422, "logprobs are not supported"),
        (403, "You are not allowed to request logprobs from this model"),
        (404, "No endpoints found that support the requested parameters: logprobs, top_logprobs"),
        (501, "Log probabilities: not implemented"),
    ],
)
def test_a_server_that_rejects_every_number_is_given_up(serve, number, message):
    """F8: server that rejects logprobs > 20, and those below too."""
    server = serve(otherwise=fake.status(number, message))
    backend = OpenAI("m", url=server.url)
    assert not tells(backend)
    assert [body["top_logprobs"] for body in server.bodies] == [20, 5]
    assert message in failure(backend, PICK)
    assert len(server.bodies) == 2, "nor is it asked again"


@pytest.mark.parametrize(
    ("number", "message"),
    [(401, "this key may not see logprobs"), (403, "no such project"), (404, "no model 'm'"), (501, "no such route")],
)
def test_a_refused_key_or_model_is_no_refusal_of_log_likelihoods(serve, number, message):
    backend = OpenAI("m", url=serve(otherwise=fake.status(number, message)).url)
    assert message in failure(backend, backend.trial)


def test_a_400_about_something_else_narrows_nothing(serve):
    server = serve(fake.status(400, "prompt too long"), otherwise=fake.logprobs({"A": -1.0}))
    backend = OpenAI("m", url=server.url)
    assert "prompt too long" in failure(backend, PICK)
    only(backend, PICK)
    assert [body["top_logprobs"] for body in server.bodies] == [20, 20]


# Failures that pass


def test_a_busy_server_is_asked_again_when_it_says(serve):
    """F6: 429 twice, then 200."""
    server = serve(fake.busy("7"), fake.busy("11"))
    backend, waits = hurried(server)
    assert only(backend).text == "fine"
    assert waits == [7, 11]
    assert server.bodies[0] == server.bodies[1] == server.bodies[2], "the same question each time"


@pytest.mark.parametrize("asks", ["0", formatdate(0, usegmt=True), "0.001"])
def test_a_server_that_asks_for_no_wait_is_waited_for_all_the_same(serve, asks):
    backend, waits = hurried(serve(otherwise=fake.busy(asks)), retries=3)
    failure(backend)
    assert all(least / 2 <= wait <= least for wait, least in zip(waits, (0.5, 1, 2), strict=True)), waits


@pytest.mark.slow
def test_a_real_wait_lasts_as_long_as_the_server_asks(serve):
    """F6: 429, then 200, with a real clock."""
    server = serve(fake.busy("0.6"))
    assert only(OpenAI("m", url=server.url)).text == "fine"
    assert server.times[1] - server.times[0] >= 0.6


@pytest.mark.parametrize(
    "behaviour",
    [
        *(fake.status(number) for number in (408, 409, 429, 500, 502, 503, 529)),
        fake.cut,
        fake.reset,
        fake.raw('{"choices": [{"mess'),
        fake.raw("<html>starting</html>", "text/html"),
        fake.raw("null"),
        fake.raw('{"choices": []}'),
        fake.raw('{"choices": [{"message": null}]}'),
    ],
    ids=[
        "408",
        "409",
        "429",
        "500",
        "502",
        "503",
        "529",
        "cut",
        "reset",
        "half",
        "html",
        "null",
        "empty",
        "no message",
    ],
)
def test_what_may_pass_is_tried_again_and_waits_double(serve, behaviour):
    server = serve(behaviour, behaviour, behaviour)
    backend, waits = hurried(server)
    assert only(backend).text == "fine"
    assert len(server.bodies) == 4
    assert all(least / 2 <= wait <= least for wait, least in zip(waits, (0.5, 1, 2), strict=True)), waits


def test_no_answer_in_time_is_tried_again(serve):
    release = threading.Event()
    server = serve(fake.once(release, fake.ok("late")))
    backend, waits = hurried(server, timeout=0.3)
    assert only(backend).text == "fine"
    assert len(waits) == 1
    release.set()


def test_retries_end_and_the_message_says_so(serve):
    server = serve(otherwise=fake.status(503, "overloaded"))
    backend, waits = hurried(server, retries=2)
    message = failure(backend)
    assert "HTTP 503: overloaded (tried 3 times)" in message and server.url in message
    assert len(server.bodies) == 3 and len(waits) == 2, "nor does it wait for nothing"
    assert "raise timeout (now 0.1 seconds)" in failure(
        hurried(serve(otherwise=fake.slow(0.2, fake.ok(""))), timeout=0.1, retries=0)[0]
    )
    assert "is no chat completion" in failure(hurried(serve(otherwise=fake.raw("{")), retries=0)[0])


def test_no_wait_is_longer_than_half_a_minute():
    waits = [Fault("", "").pause(attempt) for attempt in range(2000)]
    assert max(waits) <= 30 and min(waits[6:]) >= 15
    assert len(set(waits[6:])) > 1000, "or all clients come back together"


def test_waits_that_servers_ask_for():
    assert retry_after({"retry-after": "3"}) == 3
    assert 55 < retry_after({"retry-after": formatdate(time.time() + 60, usegmt=True)}) <= 60
    assert retry_after({"retry-after": formatdate(time.time() - 60, usegmt=True)}) == 0
    assert retry_after({"retry-after": "-5"}) == 0
    assert retry_after({"retry-after": "1e300"}) == 86_400
    for illegible in ("soon", "nan", "inf", "", "Mon, 99 Foo 2020"):
        assert retry_after({"retry-after": illegible}) is None
    assert retry_after({}) is None


def test_a_date_is_obeyed_over_http(serve):
    backend, waits = hurried(serve(fake.busy(formatdate(time.time() + 60, usegmt=True))))
    only(backend)
    assert len(waits) == 1 and 50 < waits[0] <= 60


# Failures for good


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (400, "change the option or shorten the prompt"),
        (401, "OPENAI_API_KEY"),
        (403, "may not use"),
        (404, "check the model's name"),
        (422, "does not take this request"),
        (501, "does not take this request"),
    ],
)
def test_what_will_not_pass_is_asked_once_and_explained(serve, number, advice):
    server = serve(otherwise=fake.status(number, "the server's own words", {"Retry-After": "1"}))
    backend, waits = hurried(server)
    message = failure(backend)
    assert f"m at {server.url}: HTTP {number}: the server's own words" in message and advice in message
    assert len(server.bodies) == 1 and waits == []


def test_an_error_that_is_no_json_is_shown_in_short(serve):
    page = "<html>" + "x" * 5000
    message = failure(OpenAI("m", url=serve(lambda handler: handler.send(400, page, kind="text/html")).url))
    assert "HTTP 400: <html>xxx" in message and len(message) < 800


def test_where_nobody_listens_the_first_request_fails_at_once():
    url = f"{loopback.closed_port()}/v1"
    backend = OpenAI("m", url=url)
    backend.wait = lambda *_: pytest.fail("waited")
    assert f"is a server running at {url}?" in failure(backend)


def test_a_server_that_goes_away_later_is_waited_for(serve):
    server = serve()
    backend, waits = hurried(server, retries=2)
    only(backend)
    backend._client.close()  # the kept connection would outlive the listener
    backend._client = None
    server.stop()
    assert "(tried 3 times); is a server running" in failure(backend)
    assert len(waits) == 2
    server.stop = lambda: None


def test_after_a_failure_the_finished_are_handed_out_and_the_rest_is_not_begun(serve):
    failing, release = threading.Event(), threading.Event()

    def behave(handler):
        text = handler.asked["messages"][-1]["content"]
        if text == "bad":
            failing.wait(5)
            fake.status(400, "bad one")(handler)
            threading.Timer(0.3, release.set).start()
        elif text == "slow":
            failing.set()
            fake.once(release, fake.echo())(handler)
        else:
            fake.echo()(handler)

    server = serve(otherwise=behave)
    backend = OpenAI("m", url=server.url, concurrency=2)
    got = []
    with pytest.raises(BackendError, match="bad one"):
        for place, reply in backend.answer(ask("first", "bad", "slow", *["rest"] * 50)):
            got.append((place, reply.text))
    assert got == [(0, "first"), (2, "slow")], "what was under way is paid for"
    assert len(server.bodies) == 3


def test_a_failure_cuts_the_waits_of_the_others(serve):
    waiting = threading.Event()

    def behave(handler):
        if handler.asked["messages"][-1]["content"] == "bad":
            waiting.wait(5)
            fake.status(400, "bad one")(handler)
        else:
            fake.busy("3600")(handler)
            waiting.set()

    backend = OpenAI("m", url=serve(otherwise=behave).url)
    started = time.monotonic()
    with pytest.raises(BackendError, match="bad one"):
        list(backend.answer(ask("bad", "busy")))
    assert time.monotonic() - started < 4


@pytest.mark.parametrize("end", ["closed", "interrupted"])
def test_a_caller_who_stops_begins_nothing_more(serve, end):
    release = threading.Event()
    server = serve(fake.ok("first"), otherwise=fake.once(release, fake.ok("more")))
    answers = OpenAI("m", url=server.url, concurrency=2).answer(ask(*["x"] * 100))
    next(answers)
    if end == "closed":
        answers.close()
    else:
        with pytest.raises(KeyboardInterrupt):
            answers.throw(KeyboardInterrupt)
    release.set()
    time.sleep(0.2)
    assert len(server.bodies) <= 3, "the first, and one for each thread"


def test_a_caller_who_stops_waits_neither_for_answers_nor_for_retries(serve):
    release, others = threading.Event(), set(threading.enumerate())
    server = serve(fake.ok("first"), fake.once(release, fake.ok("late")), otherwise=fake.busy("3600"))
    answers = OpenAI("m", url=server.url, concurrency=3).answer(ask(*["x"] * 3))
    next(answers)
    mine = [thread for thread in set(threading.enumerate()) - others if thread.name.startswith("llmrec-openai")]
    started = time.monotonic()
    answers.close()
    assert time.monotonic() - started < 2
    release.set()
    for thread in mine:
        thread.join(3)
    assert len(mine) == 3 and not any(thread.is_alive() for thread in mine)


# Secrets


def test_the_key_is_sent_and_never_shown(serve, monkeypatch, caplog):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server = serve(fake.tell_tale)
    backend = OpenAI("m", url=server.url)
    message = failure(backend)
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"
    shown = [message, repr(backend), str(backend.identity()), caplog.text]
    for part in (KEY, KEY[:12], KEY[-4:]):
        assert [text for text in shown if part in text] == []
    assert "HTTP 401: wrong header 'Bearer [secret]" in message and "given up" in message


def test_without_a_key_a_placeholder_is_sent(serve):
    server = serve()
    only(OpenAI("m", url=server.url))
    assert server.headers[0]["authorization"] == "Bearer none"


def test_an_error_does_not_hold_the_key_in_its_attributes(serve, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with pytest.raises(BackendError) as caught:
        only(OpenAI("m", url=serve(fake.tell_tale).url))
    assert KEY[:12] not in str(vars(caught.value))


def test_a_key_with_a_line_break_inside_is_refused_unshown(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", f"{KEY}\n{KEY}")
    message = failure(OpenAI("m"))
    assert "OPENAI_API_KEY holds characters" in message and KEY[:12] not in message


def test_a_password_in_the_address_is_sent_and_never_shown(serve):
    server = serve(fake.tell_tale)
    backend = OpenAI("m", url=server.url.replace("//", "//me:pa%40ss-word@") + "/")
    assert backend.identity() == {"backend": "openai", "model": "m", "url": server.url, "temperature": 0.0}
    pair = base64.b64encode(b"me:pa@ss-word").decode()
    message = failure(backend)
    assert server.headers[0]["authorization"] == f"Basic {pair}"
    assert pair not in message and "pa@ss" not in message and "pa%40ss" not in message


def test_messages_are_blanked_and_stay_legible():
    assert blanked(f"bad key {KEY}, sorry", (KEY,)) == "bad key [secret] sorry"
    assert blanked("nothing to hide", ("",)) == "nothing to hide"


# Limits


def test_requests_are_spread_evenly_over_the_minute():
    now = [100.0]
    limiter = Limiter(30, None, clock=lambda: now[0])
    assert [limiter.reserve(1) for _ in range(3)] == [0, 2, 4]
    now[0] += 100
    assert [limiter.reserve(1) for _ in range(2)] == [0, 2], "idle time saves nothing up"


def test_the_tighter_limit_counts_and_a_giant_passes_too():
    limiter = Limiter(60, 600, clock=lambda: 0.0)
    assert [limiter.reserve(tokens) for tokens in (5, 100, 6000, 1)] == [0, 1, 11, 611]
    free = Limiter(None, None, clock=lambda: 0.0)
    assert [free.reserve(10**9) for _ in range(3)] == [0, 0, 0]


def test_threads_never_get_the_same_place():
    limiter, places = Limiter(60, None, clock=lambda: 0.0), []
    threads = [threading.Thread(target=lambda: places.append(limiter.reserve(1))) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(places) == list(range(50))


def test_the_limits_hold_for_all_threads_and_for_retries(serve):
    server = serve(fake.busy("0"))
    backend, waits = hurried(server, requests_per_minute=60)
    backend.limiter = Limiter(60, None, clock=lambda: 0.0)
    list(backend.answer(ask(*["x"] * 3)))
    assert len(server.bodies) == 4, "an attempt more than requests"
    assert sorted(waits)[1:] == [1, 2, 3] and min(waits) <= 0.5, "the first is that before the retry"
    assert hurried(server, requests_per_minute=60, tokens_per_minute=7)[0].limiter.requests_per_minute == 60


def test_tokens_are_those_of_the_question_and_the_longest_answer(serve):
    backend, waits = hurried(serve(), tokens_per_minute=6000, concurrency=1)
    backend.limiter.clock = lambda: backend.limiter._free  # a clock that is always at the next free place
    reserved = []
    reserve = backend.limiter.reserve
    backend.limiter.reserve = lambda tokens: reserved.append(tokens) or reserve(tokens)
    only(backend, Request("", "x" * 40, max_new_tokens=90))
    assert reserved == [100] and waits == []


# Options of the component


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("concurrency", 0, "concurrency must be at least 1, came 0"),
        ("requests_per_minute", 0, "requests_per_minute must be at least 1, came 0"),
        ("tokens_per_minute", -3, "tokens_per_minute must be at least 1, came -3"),
        ("retries", -1, "retries must be at least 0, came -1"),
        ("timeout", 0.0, "timeout must be a number of seconds above 0, came 0"),
        ("timeout", math.inf, "timeout must be"),
        ("temperature", -0.1, "temperature must be a number of at least 0, came -0.1"),
        ("temperature", math.nan, "temperature must be"),
        ("url", "127.0.0.1:8000/v1", "url must be http://"),
        ("url", "ftp://host/v1", "url must be http://"),
        ("url", "http://host:port/v1", "url must be http://"),
        ("url", "http:///v1", "url must be http://"),
    ],
)
def test_values_out_of_range_are_refused(option, value, message):
    with pytest.raises(ValueError, match=message):
        OpenAI("m", **{option: value})


@pytest.mark.parametrize(
    "url",
    [
        "http://me:secret@host/v1?a=1",
        "http://host/v1?key=secret",
        "http://me:sec/secret@host",
        "ftp://a:secret@b",
        "http://me:secret@ho\u2100st/v1",
        "http://me:secret@[::1/v1",
    ],
)
def test_a_refused_address_is_shown_without_its_secrets(url):
    with pytest.raises(ValueError, match="url must be") as caught:
        OpenAI("m", url=url)
    assert "secret" not in str(caught.value)


def test_a_model_without_a_name_is_refused():
    with pytest.raises(ValueError, match="model must be"):
        OpenAI(" ")


def test_the_client_is_imported_when_it_is_needed():
    code = "import sys, llmrec.backends.openai as b; b.OpenAI('m').identity(); print('openai' in sys.modules)"
    process = loopback.python(code)
    printed, errors = process.communicate(timeout=60)
    assert printed.strip() == "False", errors


def test_every_option_is_explained():
    explained = inspect.getdoc(OpenAI).partition("Args:")[2]
    options = [name for name, value in inspect.signature(OpenAI).parameters.items() if value.kind is value.KEYWORD_ONLY]
    assert len(options) == 7
    assert [name for name in options if f"\n    {name}: " not in explained] == []
