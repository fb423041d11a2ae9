"""Asking through the store: equal requests once, answers in order, and never for more money than allowed."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llmrec.answer_store import AnswerStore
from llmrec.asking import Asker, Prices, Usage
from llmrec.backends import Backend, Reply, Request
from llmrec.errors import BackendError, ConfigError


class Counted:
    """Answers with the question, the last one first; a question of n words costs n tokens, its answer as many."""

    scores_whole = True
    trial = None

    def __init__(self, *, fails_after: int | None = None, says: int = 1) -> None:
        self.asked: list[str] = []
        self.fails_after, self.says = fails_after, says

    def identity(self) -> dict[str, str]:
        return {"backend": "counted"}

    def count_tokens(self, request: Request) -> int:
        return len(request.user.split())

    def answer(self, requests: Sequence[Request]) -> Iterator[tuple[int, Reply]]:
        for place in reversed(range(len(requests))):
            if self.fails_after is not None and len(self.asked) >= self.fails_after:
                raise BackendError("the server is gone")
            self.asked.append(requests[place].user)
            yield place, Reply(requests[place].user, (), (), self.count_tokens(requests[place]), self.says, 0.5)


def questions(*texts: str) -> list[Request]:
    return [Request("", text, max_new_tokens=4, case=str(place)) for place, text in enumerate(texts)]


@pytest.fixture
def store(tmp_path) -> Iterator[AnswerStore]:
    opened = AnswerStore(tmp_path / "answers.sqlite")
    yield opened
    opened.close()


def test_answers_come_in_the_order_of_the_requests_and_equal_ones_are_asked_once(store):
    backend, usage = Counted(), Usage()
    assert isinstance(backend, Backend)
    asker = Asker(backend, store)
    replies = asker.ask(questions("a", "b b", "a", "c", "b b", "a"), usage)
    assert [reply.text for reply in replies] == ["a", "b b", "a", "c", "b b", "a"]
    assert sorted(backend.asked) == ["a", "b b", "c"] and asker.asked == 3 == len(store)
    assert (usage.requests, usage.prompt_tokens, usage.completion_tokens, usage.seconds) == (3, 4, 3, 1.5)


def test_what_is_known_is_not_asked_again_and_still_counts_as_used(store):
    Asker(Counted(), store).ask(questions("a", "b"), Usage())
    backend, usage = Counted(), Usage()
    replies = Asker(backend, store, Prices(1e6, 0.0)).ask(questions("b", "new", "a"), usage)
    assert backend.asked == ["new"] and [reply.text for reply in replies] == ["b", "new", "a"]
    assert usage.requests == 3 and usage.cost == 3.0


def test_nothing_to_ask_asks_nothing(store):
    backend = Counted()
    assert Asker(backend, store).ask([], Usage()) == [] and backend.asked == []


def test_progress_counts_distinct_requests_from_those_that_are_known(store):
    Asker(Counted(), store).ask(questions("a"), Usage())
    heard: list[tuple[int, int]] = []
    asker = Asker(Counted(), store, progress=lambda done, total: heard.append((done, total)))
    asker.ask(questions("a", "b", "c", "b"), Usage())
    assert heard == [(1, 3), (2, 3), (3, 3)]


def test_another_repeat_is_another_answer(store):
    backend = Counted()
    asker = Asker(backend, store)
    for repeat in (0, 1, 0, 1):
        asker.ask(questions("a"), Usage(), repeat)
    assert backend.asked == ["a", "a"] and len(store) == 2
    assert asker.estimate(questions("a"), 2).requests == 1 and asker.estimate(questions("a"), 1).requests == 0


def test_what_came_before_a_backend_failed_is_kept(store):
    with pytest.raises(BackendError, match="the server is gone"):
        Asker(Counted(fails_after=2), store).ask(questions("a", "b", "c"), Usage())
    backend = Counted()
    Asker(backend, store).ask(questions("a", "b", "c"), Usage())
    assert backend.asked == ["a"]


class Telling(Counted):
    """Tells how likely an option is, or does not."""

    trial = Request("", "say A", options=("A",), max_new_tokens=1)

    def __init__(self, told: float | None, **options: Any) -> None:
        super().__init__(**options)
        self.told = told

    def answer(self, requests: Sequence[Request]) -> Iterator[tuple[int, Reply]]:
        for place, reply in super().answer(requests):
            yield place, replace(reply, logprobs=(self.told,))


@pytest.mark.parametrize("told", [None, -0.5])
def test_whether_options_are_scored_is_asked_once_and_kept(store, told: float | None):
    asker = Asker(Telling(told), store, PRICES, max_cost=9.0)
    assert not asker.knows_scoring
    assert asker.scores_options() is (told is not None)
    assert asker.spent == asker.tried.cost == 4 and asker.knows_scoring
    later = Asker(Telling(told, fails_after=0), store)
    assert later.knows_scoring and later.scores_options() is (told is not None) and later.tried.requests == 1
    assert Asker(Counted(), store).knows_scoring and Asker(Counted(), store).scores_options()


def test_what_a_server_puts_around_a_short_question_does_not_scale_long_ones(store):
    class Wordy(Telling):
        def answer(self, requests: Sequence[Request]) -> Iterator[tuple[int, Reply]]:
            for place, reply in super().answer(requests):
                yield place, replace(reply, prompt_tokens=reply.prompt_tokens + 10)

    asker = Asker(Wordy(-0.5), store, PRICES, max_cost=300.0)
    assert asker.scores_options() and asker.spent == 14
    asker.ask(questions("word " * 100, "other " * 100), Usage())
    assert asker.spent == 14 + 2 * 112


def test_whether_options_are_scored_is_not_asked_for_more_than_allowed(store):
    backend = Telling(-0.5)
    with pytest.raises(BackendError, match="--max-cost 1"):
        Asker(backend, store, PRICES, max_cost=1.0).scores_options()
    assert backend.asked == []


# Money

PRICES = Prices(input=1e6, output=2e6)
"""One for each token of a prompt, two for each of an answer."""


@pytest.mark.parametrize(("allowed", "paid"), [(8.0, 0), (9.0, 1), (11.5, 1), (12.0, 2), (1000.0, 6)])
def test_the_bound_is_never_passed_and_what_was_paid_for_is_kept(store, allowed: float, paid: int):
    """A question costs at most 1 + 4 * 2 and in truth 1 + 1 * 2."""
    asker = Asker(Counted(), store, PRICES, max_cost=allowed)
    requests = questions(*"abcdef")
    if paid == 6:
        asker.ask(requests, Usage())
    else:
        with pytest.raises(
            BackendError, match=rf"{paid} answers cost .* --max-cost {allowed:g}; {6 - paid} are missing"
        ):
            asker.ask(requests, Usage())
    assert len(store) == paid == asker.asked and asker.spent == 3 * paid <= allowed


class Miscounted(Counted):
    """Reads and writes three times as many tokens as it can be told beforehand."""

    def answer(self, requests: Sequence[Request]) -> Iterator[tuple[int, Reply]]:
        for place, reply in super().answer(requests):
            yield place, replace(reply, prompt_tokens=3 * reply.prompt_tokens, completion_tokens=12)


def test_a_backend_that_takes_more_than_was_counted_is_found_out_by_its_first_answer(store):
    backend = Miscounted()
    asker = Asker(backend, store, PRICES, max_cost=100.0)
    with pytest.raises(BackendError, match="3 answers cost 81"):
        asker.ask(questions(*map(str, range(100))), Usage())
    assert len(backend.asked) == 3, "a question counted as 9 costs 27, and a fourth would pass the bound"


def test_what_answers_leave_of_the_bound_is_spent_on_the_next(store):
    asker = Asker(Counted(), store, PRICES, max_cost=18.0)
    asker.ask(questions(*"abcd"), Usage())
    assert asker.spent == 12 and asker.asked == 4


def test_the_bound_is_of_all_that_the_process_asks(store):
    asker = Asker(Counted(says=4), store, PRICES, max_cost=20.0)
    asker.ask(questions("a", "b"), Usage())
    with pytest.raises(BackendError, match="2 answers cost 18"):
        asker.ask(questions("c"), Usage())
    assert [reply.text for reply in asker.ask(questions("b"), Usage())] == ["b"]


def test_known_answers_cost_nothing_again(store):
    Asker(Counted(), store).ask(questions("a", "b"), Usage())
    asker, usage = Asker(Counted(), store, PRICES, max_cost=0.0), Usage()
    asker.ask(questions("a", "b"), usage)
    assert asker.spent == 0 and usage.cost == 6


def test_a_higher_bound_goes_on_where_a_lower_one_stopped(store):
    requests = questions(*"abcdef")
    with pytest.raises(BackendError, match="max-cost"):
        Asker(Counted(), store, PRICES, max_cost=12.0).ask(requests, Usage())
    backend = Counted()
    Asker(backend, store, PRICES, max_cost=100.0).ask(requests, Usage())
    assert len(backend.asked) == 4


def test_an_estimate_counts_what_is_missing_at_its_dearest(store):
    asker = Asker(Counted(), store, PRICES)
    asker.ask(questions("known"), Usage())
    options = replace(questions("x y z")[0], options=("A", "B"))
    found = asker.estimate([*questions("known", "a b", "a b", "c"), options])
    assert (found.requests, found.prompt_tokens, found.completion_tokens) == (3, 2 + 1 + 3, 4 + 4 + 1)
    assert found.cost == 6 + 2 * 9 and len(store) == 1


# Price files


def prices(folder: Path, text: str) -> Prices:
    path = folder / "prices.yaml"
    path.write_text(text, encoding="utf-8")
    return Prices.read(path, "gpt")


def test_prices_are_per_million_tokens(tmp_path):
    found = prices(tmp_path, "gpt: {input: 0.15, output: 1}\nother: 3\n")
    assert found == Prices(0.15, 1.0)
    assert found.cost(2_000_000, 500_000) == pytest.approx(0.8) and Prices().cost(10**9, 10**9) == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gpt: {input: 1", "cannot be read as YAML"),
        ("", "has no prices of model 'gpt'"),
        ("- gpt", "has no prices of model 'gpt'"),
        ("gpt-4: {input: 1, output: 1}", r"has no prices of model 'gpt'.*gpt-4"),
        ("gpt: 3", "gpt must have 'input' and 'output', per million tokens; has 3"),
        ("gpt: {input: 3}", "must have 'input' and 'output'"),
        ("gpt: {input: 3, output: 1, cached: 1}", "must have 'input' and 'output'"),
        ("gpt: {input: 3, output: -1}", "must be numbers of at least 0"),
        ("gpt: {input: '3', output: 1}", "must be numbers of at least 0"),
        ("gpt: {input: .nan, output: 1}", "must be numbers of at least 0"),
        ("gpt: {input: true, output: 1}", "must be numbers of at least 0"),
    ],
)
def test_a_price_file_that_cannot_be_used_is_refused(tmp_path, text: str, message: str):
    with pytest.raises(ConfigError, match=message):
        prices(tmp_path, text)


def test_a_price_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"prices\.yaml cannot be read"):
        Prices.read(tmp_path / "prices.yaml", "gpt")
