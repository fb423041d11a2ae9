"""Whether a model knows a data set by heart, and what a prompt says without a model."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from small_logs import LOG

from llmrec.answer_store import AnswerStore
from llmrec.asking import Asker
from llmrec.backends import Reply, Request
from llmrec.candidates import Candidates
from llmrec.interactions import Dataset
from llmrec.memorised import PROBES, probe
from llmrec.prompt_rows import PromptRows
from llmrec.prompt_statistics import overlap
from llmrec.splits.leave_one_out import LeaveOneOut

NUMBER = 60


class Says:
    """A backend that says what a function makes of the question."""

    scores_whole = True
    trial = None

    def __init__(self, say: Callable[[str], str]) -> None:
        self.say = say
        self.asked: list[Request] = []

    def identity(self) -> dict[str, Any]:
        return {"backend": "says", "number": id(self)}

    def count_tokens(self, request: Request) -> int:
        return len(request.user)

    def answer(self, requests: Sequence[Request]) -> Iterator[tuple[int, Reply]]:
        self.asked += requests
        for place, request in enumerate(requests):
            yield place, Reply(self.say(request.user))


def films(titles: list[str]) -> Dataset:
    items = pl.DataFrame({"item_id": [f"f{place}" for place in range(len(titles))], "title": titles})
    rows = [("u", f"f{place}", place) for place in range(len(titles))]
    return Dataset.from_tables("films", pl.DataFrame(rows, LOG, orient="row"), items)


TITLES = [f"Film number {place * 7} ({1950 + place})" for place in range(NUMBER)]


def recall(say: Callable[[str], str], tmp_path: Path, titles: list[str] = TITLES):
    backend = Says(say)
    store = AnswerStore(tmp_path / "answers.sqlite")
    return probe(films(titles), Asker(backend, store)), backend


def knows_the_ids(question: str) -> str:
    item = question.rpartition("id ")[2].rstrip("?")
    return f"It is {TITLES[int(item[1:])].upper()}!" if item.startswith("f") else "no idea"


def knows_the_order(question: str) -> str:
    lines = [line for line in question.splitlines() if line.startswith("f") and "|" in line]
    place = int(lines[-1].partition("|")[0][1:]) + 1 if "follow one another" in question else 0
    return f"f{place}|{TITLES[place]}"


def test_each_probe_tells_what_a_model_says_word_for_word(tmp_path):
    found, backend = recall(knows_the_ids, tmp_path)
    assert (found.title_from_id.value, found.next_line.value) == (1, 0)
    assert len(backend.asked) == 2 * PROBES
    found, _ = recall(knows_the_order, tmp_path)
    assert (found.title_from_id.value, found.next_line.value) == (0, 1)
    assert 0.85 < found.next_line.low < found.next_line.high == pytest.approx(1)


def test_no_question_holds_its_own_answer(tmp_path):
    _, backend = recall(lambda question: "", tmp_path)
    for request in backend.asked[:PROBES]:
        item = int(request.user.rpartition("id f")[2].rstrip("?"))
        assert TITLES[item] not in request.user
    for request in backend.asked[PROBES:]:
        assert knows_the_order(request.user).partition("|")[2] not in request.user


def test_data_without_titles_cannot_be_known_by_heart(tmp_path):
    found, backend = recall(lambda question: "", tmp_path, [""] * NUMBER)
    assert found is None
    assert backend.asked == []


def test_the_statistics_of_a_prompt_are_the_words_shared_with_the_items_shown():
    data = films(["Red Sun", "Blue Moon", "Red Moon", "Green", "Red Sea"])
    test = LeaveOneOut().split(data).test
    candidates = Candidates(test, [np.array([5, 1, 4])], data, "by hand")
    rows = PromptRows(data)
    # Behind "Blue Moon", "Red Moon", "Green" (the last three): "Red Sea" shares "red" with one of them, 1 of 3 words.
    assert overlap(candidates, rows, last=3)[0].tolist() == pytest.approx([1 / 9, 1 / 9, 1 / 3])
    # Behind "Green" alone only itself has a word in common.
    assert overlap(candidates, rows, last=1)[0].tolist() == [0, 0, 1]
    assert overlap(candidates, rows, last=0)[0].tolist() == [0, 0, 0]
