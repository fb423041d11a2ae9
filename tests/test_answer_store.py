"""The answers on disk: nothing that came is lost or changed, and nothing is asked twice."""

import signal
import sqlite3
import threading
import time
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from loopback import python

from llmrec.answer_store import AnswerStore, key_of
from llmrec.asking import Asker, Usage
from llmrec.backends import Reply, Request
from llmrec.backends.scripted import Scripted
from llmrec.errors import RunError

REQUEST = Request("system", "user", (("q", "a"),), ("A", " A"), 8, "case")
REPLY = Reply("Amélie", (-0.5, None, -30.25), (1, 2, 3), 40, 2, 0.125, "length")
ME = {"backend": "test"}
WRITER = """
import sys, time
from pathlib import Path
from llmrec.answer_store import AnswerStore, key_of
from llmrec.backends import Reply, Request
print("ready", flush=True)
while not Path(sys.argv[3]).exists():
    time.sleep(0.0001)
store = AnswerStore(Path(sys.argv[1]))
for number in range(int(sys.argv[2])):
    request = Request("", f"question {number}")
    store.add(key_of({}, request), {}, request, Reply(f"{sys.argv[4]} answers {number}"))
    print(number, flush=True)
"""


def key(number: int) -> bytes:
    return key_of({}, Request("", f"question {number}"))


@pytest.fixture
def store(tmp_path):
    opened = AnswerStore(tmp_path / "some" / "folder" / "answers.sqlite")
    yield opened
    opened.close()


def test_an_answer_comes_back_as_it_was_written(store):
    store.add(key_of(ME, REQUEST), ME, REQUEST, REPLY)
    assert store.find([key_of(ME, REQUEST), b"another"]) == {key_of(ME, REQUEST): REPLY}
    assert len(store) == 1 and store.find([]) == {}


def test_the_first_answer_stays(store):
    for text in ("first", "second"):
        store.add(b"key", ME, REQUEST, replace(REPLY, text=text))
    assert store.find([b"key"])[b"key"].text == "first" and len(store) == 1


@pytest.mark.slow
def test_more_keys_than_sqlite_takes_at_once_are_looked_up(store):
    for number in range(0, 2000, 3):
        store.add(key(number), {}, REQUEST, replace(REPLY, text=str(number)))
    found = store.find([key(number) for number in range(2000)])
    assert found == {key(number): replace(REPLY, text=str(number)) for number in range(0, 2000, 3)}


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE answers SET reply = 'forged'",
        "DELETE FROM answers",
        "INSERT OR REPLACE INTO answers (key, identity, request, reply) VALUES (x'6b6579', '', '', 'forged')",
        "REPLACE INTO answers (key, identity, request, reply) VALUES (x'6b6579', '', '', 'forged')",
    ],
)
def test_sqlite_itself_refuses_to_change_an_answer(store, statement: str):
    store.add(b"key", ME, REQUEST, REPLY)
    other = sqlite3.connect(store.path, isolation_level=None)
    try:
        other.execute(statement)
    except sqlite3.IntegrityError as error:
        assert "answers are kept" in str(error)
    other.close()
    assert store.find([b"key"]) == {b"key": REPLY}


def test_update_and_delete_fail_aloud(store):
    store.add(b"key", ME, REQUEST, REPLY)
    other = sqlite3.connect(store.path)
    for statement in ("UPDATE answers SET reply = ''", "DELETE FROM answers"):
        with pytest.raises(sqlite3.IntegrityError, match="answers are kept"):
            other.execute(statement)
    other.close()


@pytest.mark.parametrize("content", [b"this is no database at all " * 50, b"SQLite format 3\x00" + b"\xff" * 4096])
def test_a_file_that_is_no_such_store_is_refused_and_left_as_it_is(tmp_path, content: bytes):
    path = tmp_path / "answers.sqlite"
    path.write_bytes(content)
    with pytest.raises(RunError, match=r"answers\.sqlite cannot be read or written.*--answers names another file"):
        AnswerStore(path)
    assert path.read_bytes() == content


def test_a_database_of_another_program_is_refused_at_once(tmp_path):
    path = tmp_path / "other.sqlite"
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE answers (question TEXT)")
    other.close()
    with pytest.raises(RunError, match=r"other\.sqlite cannot be read or written"):
        AnswerStore(path)


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be read or written"):
        AnswerStore(tmp_path / "file" / "answers.sqlite")


# Keys


@pytest.mark.parametrize(
    "other",
    [
        replace(REQUEST, system="another"),
        replace(REQUEST, user="another"),
        replace(REQUEST, turns=()),
        replace(REQUEST, turns=(("q", "another"),)),
        replace(REQUEST, options=("A",)),
        replace(REQUEST, options=(" A", "A")),
        replace(REQUEST, max_new_tokens=9),
    ],
)
def test_whatever_may_change_an_answer_changes_the_key(other: Request):
    assert key_of(ME, other) != key_of(ME, REQUEST)


def test_who_is_asked_and_how_often_changes_the_key_and_whom_it_is_about_does_not():
    keys = {key_of(ME, REQUEST), key_of(ME, REQUEST, 1), key_of(ME | {"seed": 1}, REQUEST), key_of({}, REQUEST)}
    assert len(keys) == 4
    assert key_of(ME, replace(REQUEST, case="another")) == key_of(ME, REQUEST)
    assert key_of({"a": 1, "b": 2}, REQUEST) == key_of({"b": 2, "a": 1}, REQUEST)


# Several processes


def test_a_killed_process_loses_nothing_that_it_wrote(tmp_path):
    path = tmp_path / "answers.sqlite"
    writer = python(WRITER, str(path), "1000000", str(tmp_path), "it")
    assert writer.stdout is not None
    while writer.stdout.readline() != "50\n":
        assert writer.poll() is None
    writer.kill()
    told = int(["50", *writer.stdout.read().split("\n")[:-1]][-1])
    writer.communicate()
    assert writer.returncode == -signal.SIGKILL
    store = AnswerStore(path)
    found = store.find([key(number) for number in range(told + 1)])
    assert [found[key(number)].text for number in range(told + 1)] == [f"it answers {n}" for n in range(told + 1)]
    assert len(store) in (told + 1, told + 2)
    store.add(b"goes on", {}, REQUEST, REPLY)
    store.close()


def test_a_file_that_another_process_is_making_is_waited_for(tmp_path):
    """SQLite itself does not wait here: it answers at once that the database is locked."""
    path = tmp_path / "answers.sqlite"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    timer = threading.Timer(0.1, other.execute, ["ROLLBACK"])
    timer.start()
    store = AnswerStore(path)
    timer.join()
    other.close()
    assert len(store) == 0
    store.close()


def test_two_processes_write_one_file_at_once(tmp_path):
    path = tmp_path / "answers.sqlite"
    writers = [python(WRITER, str(path), "200", str(tmp_path / "go"), name) for name in ("one", "two")]
    for writer in writers:
        assert writer.stdout.readline() == "ready\n"
    (tmp_path / "go").touch()
    for writer in writers:
        output, errors = writer.communicate(timeout=60)
        assert writer.returncode == 0, errors
        assert len(output.splitlines()) == 200
    store = AnswerStore(path)
    texts = [reply.text for reply in store.find([key(number) for number in range(200)]).values()]
    assert len(store) == len(texts) == 200
    assert all(text.split()[0] in ("one", "two") for text in texts)
    store.close()


def test_a_second_run_asks_nothing(tmp_path):
    """F3: second run, zero requests left."""

    class Counting(Scripted):
        requests = 0

        def answer(self, requests):
            self.requests += len(requests)
            return super().answer(requests)

    requests = [Request("", f"A. Heat\nB. Alien {number}") for number in range(20)]
    answers, asked = [], []
    for _ in range(2):
        backend, store = Counting("", script="random"), AnswerStore(tmp_path / "answers.sqlite")
        asker = Asker(backend, store)
        answers.append(asker.ask(requests, Usage()))
        asked.append((backend.requests, asker.asked, asker.estimate(requests).requests))
        store.close()
    assert asked == [(20, 20, 0), (0, 0, 0)]
    assert answers[0] == answers[1] and len({reply.text for reply in answers[0]}) == 2


@pytest.mark.slow
def test_a_million_answers_are_looked_up_in_seconds(tmp_path):
    path = tmp_path / "answers.sqlite"
    store, filling = AnswerStore(path), sqlite3.connect(path)
    store.add(b"one", {}, REQUEST, REPLY)
    (reply,) = filling.execute("SELECT reply FROM answers").fetchone()
    keys = sorted(sha256(b"%d" % number).digest() for number in range(1_000_000))
    with filling:
        filling.executemany(
            "INSERT INTO answers (key, identity, request, reply) VALUES (?, '{}', '{}', ?)",
            ((each, reply) for each in keys),
        )
    filling.close()
    wanted = [sha256(b"%d" % number).digest() for number in range(0, 2_000_000, 20)]
    started = time.process_time()
    found = store.find(wanted)
    seconds = time.process_time() - started
    store.close()
    assert len(wanted) == 100_000 and len(found) == 50_000
    assert seconds < 5


def test_the_file_can_be_read_while_another_process_writes(tmp_path):
    path: Path = tmp_path / "answers.sqlite"
    store, other = AnswerStore(path), sqlite3.connect(path, isolation_level=None)
    store.add(b"key", ME, REQUEST, REPLY)
    other.execute("BEGIN IMMEDIATE")
    assert store.find([b"key"]) == {b"key": REPLY}
    other.execute("ROLLBACK")
    other.close()
    store.close()


def test_a_small_text_file_is_not_taken_for_an_empty_store(tmp_path):
    path = tmp_path / "answers.sqlite"
    path.write_text("x", encoding="utf-8")
    with pytest.raises(RunError, match="it is no database"):
        AnswerStore(path)
    assert path.read_text(encoding="utf-8") == "x"
