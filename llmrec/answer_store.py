"""Answers as they arrived, one SQLite file for all runs: nothing is asked twice, and nothing that came is lost.

Rows are only ever added. A row is committed before the next answer is taken, so that a killed process loses at most the
answers still under way.
"""

import hashlib
import json
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from llmrec.backends import Reply, Request
from llmrec.errors import RunError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
    key BLOB PRIMARY KEY, identity TEXT NOT NULL, request TEXT NOT NULL, reply TEXT NOT NULL,
    arrived TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
) WITHOUT ROWID;
SELECT key, identity, request, reply, arrived FROM answers LIMIT 0;
CREATE TRIGGER IF NOT EXISTS no_update BEFORE UPDATE ON answers BEGIN SELECT RAISE(ABORT, 'answers are kept'); END;
CREATE TRIGGER IF NOT EXISTS no_delete BEFORE DELETE ON answers BEGIN SELECT RAISE(ABORT, 'answers are kept'); END;
CREATE TRIGGER IF NOT EXISTS no_replace BEFORE INSERT ON answers WHEN EXISTS (SELECT 1 FROM answers WHERE key = NEW.key)
BEGIN SELECT RAISE(IGNORE); END;
"""
_INSERT = "INSERT OR IGNORE INTO answers (key, identity, request, reply) VALUES (?, ?, ?, ?)"
_AT_ONCE = 900
"""Keys of one look-up; older SQLite takes no more than 999 values."""
_WAIT = 60.0
"""Seconds for which another process may write."""
_PAUSE = 0.01
_MAGIC = b"SQLite format 3\0"


class AnswerStore:
    """Answers by everything that determines them.

    Args:
        path: of the file; it is made if it is not there.

    Raises:
        RunError: a file that is no such store.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._guarded():
            path.parent.mkdir(parents=True, exist_ok=True)
            _require_database(path)
            self._database = sqlite3.connect(path, timeout=_WAIT, isolation_level=None)
            self._log_ahead()
            self._database.execute("PRAGMA synchronous=NORMAL")
            self._database.executescript(_SCHEMA)

    def find(self, keys: Sequence[bytes]) -> dict[bytes, Reply]:
        """Those of the answers that are here."""
        found, ordered = {}, sorted(set(keys))  # neighbours lie on one page
        with self._guarded():
            for start in range(0, len(ordered), _AT_ONCE):
                some = ordered[start : start + _AT_ONCE]
                places = ",".join("?" * len(some))
                rows = self._database.execute(f"SELECT key, reply FROM answers WHERE key IN ({places})", some)
                found.update({key: _reply(text) for key, text in rows})
        return found

    def add(self, key: bytes, identity: dict[str, Any], request: Request, reply: Reply) -> None:
        """Writes an answer down; one that another process wrote meanwhile stays."""
        values = (key, _line(identity), _line(request.facts()), _line(asdict(reply)))
        with self._guarded():
            self._database.execute(_INSERT, values)

    def __len__(self) -> int:
        with self._guarded():
            return int(self._database.execute("SELECT count(*) FROM answers").fetchone()[0])

    def close(self) -> None:
        """Lets the file go."""
        self._database.close()

    def _log_ahead(self) -> None:
        """Readers and a writer at once; SQLite does not wait for others here, as it does elsewhere."""
        stop = time.monotonic() + _WAIT
        while True:
            try:
                self._database.execute("PRAGMA journal_mode=WAL")
                return
            except sqlite3.OperationalError:
                if time.monotonic() > stop:
                    raise
                time.sleep(_PAUSE)

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise RunError(
                f"the answers in {self.path} cannot be read or written: {error}; --answers names another file"
            ) from None


def _require_database(path: Path) -> None:
    """SQLite takes a file of a few bytes for an empty database and writes over it."""
    if path.is_file() and path.stat().st_size:
        with path.open("rb") as file:
            if file.read(len(_MAGIC)) != _MAGIC:
                raise sqlite3.DatabaseError("it is no database")


def key_of(identity: dict[str, Any], request: Request, repeat: int = 0) -> bytes:
    """The key of an answer: a hash of who was asked, what, and for the how-manieth time."""
    return hashlib.sha256(_line([identity, request.facts(), repeat]).encode()).digest()


def _line(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def _reply(text: str) -> Reply:
    facts = json.loads(text)
    facts["logprobs"], facts["tokens"] = tuple(facts["logprobs"]), tuple(facts["tokens"])
    return Reply(**facts)
