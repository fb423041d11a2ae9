"""Run tables and run folders: what a recommender did, saved so that every number can be computed again.

A run folder holds ``config.json``, ``metrics.jsonl`` and, while training, ``checkpoint.safetensors``; when finished
also ``model.safetensors``, ``item_embeddings.safetensors``, ``items.parquet``, ``validation/`` and ``test/`` with the
run tables, ``baselines/`` with those of the baselines, and ``metrics.json``, which is written last.
"""

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import IO, Any, Literal

import polars as pl
from pydantic import ValidationError

from llmrec import components
from llmrec.errors import RunError
from llmrec.protocol import Protocol

_LISTED = 8
"""Folders that an error names at most."""
_LOCK = ".lock"
_HELD: dict[Path, IO[str]] = {}
"""Locks of this process; the system lets go of them when it ends."""
_LAST = ("metrics.json", "results.json")
"""Files of which a finished run has one."""
Kind = Literal["run", "tasks", "study"]
_KINDS: Mapping[Kind, str] = {
    "run": "a finished run over one log",
    "tasks": "a run of tasks, or the network that one begins with, which recommends nothing by itself",
    "study": "a study of eval.zeroshot, a table of many rankers without a model of its own",
}
"""What a finished folder holds, in the words of an error."""

CASES: Mapping[Any, Any] = {
    "case_id": pl.String,
    "user_id": pl.String,
    "task": pl.String,
    "target_index": pl.Int64,
    "target": pl.String,
    "target_above": pl.Int64,
    "target_tied": pl.Int64,
    "num_candidates": pl.Int64,
    "history_length": pl.Int64,
    "target_count": pl.Int64,
}
RANKINGS: Mapping[Any, Any] = {
    "case_id": pl.String,
    "user_id": pl.String,
    "item_id": pl.String,
    "score": pl.Float64,
    "rank": pl.Int64,
}
PREDICTIONS: Mapping[Any, Any] = {
    "case_id": pl.String,
    "target": pl.String,
    "prediction": pl.String,
    "score": pl.Float64,
}


@dataclass(frozen=True)
class RunTable:
    """What one recommender answered to one set of cases.

    ``cases``: one target a row; ``target_above`` and ``target_tied`` count the candidates that score higher and equal,
    and are null where only a list came back. ``history_length`` and ``target_count``, how often training shows the
    target, are what results are grouped by, and null where they are not known. ``rankings``: the top k of every case.
    ``predictions``: ratings, classes or text, where the task asks for them.
    """

    cases: pl.DataFrame
    rankings: pl.DataFrame
    protocol: Protocol
    provenance: dict[str, Any]
    predictions: pl.DataFrame | None = None

    def save(self, folder: Path) -> None:
        """Writes the tables as Parquet and protocol and provenance as JSON, each by an atomic rename.

        Raises:
            RunError: a table that lacks a column or holds values of the wrong type.
        """
        folder.mkdir(parents=True, exist_ok=True)
        for name, schema in (("cases", CASES), ("rankings", RANKINGS), ("predictions", PREDICTIONS)):
            table = getattr(self, name)
            if table is not None:
                path = folder / f"{name}.parquet"
                write_atomically(path, _typed(table, schema, path).write_parquet)
        write_json(folder / "protocol.json", self.protocol.model_dump())
        write_json(folder / "provenance.json", self.provenance)

    @classmethod
    def load(cls, folder: Path) -> "RunTable":
        """Reads what :meth:`save` wrote.

        Raises:
            RunError: a file that is missing or damaged.
        """
        try:
            protocol = Protocol.model_validate(read_json(folder / "protocol.json"))
        except ValidationError as error:
            raise RunError(f"{folder / 'protocol.json'} holds no protocol: {components.explain(error)}") from None
        predictions = folder / "predictions.parquet"
        return cls(
            _read_table(folder / "cases.parquet", CASES),
            _read_table(folder / "rankings.parquet", RANKINGS),
            protocol,
            read_json(folder / "provenance.json"),
            _read_table(predictions, PREDICTIONS) if predictions.exists() else None,
        )


@dataclass(frozen=True)
class Ready:
    """What a run folder is made ready for.

    ``config`` is of the run; with ``resume`` an unfinished one goes on; with ``overwrite`` whatever run is there is
    deleted; ``complete`` fills in the options that an older version did not save.
    """

    config: dict[str, Any]
    resume: bool = False
    overwrite: bool = False
    complete: Callable[[dict[str, Any]], dict[str, Any]] = lambda saved: saved


@dataclass(frozen=True)
class RunFolder:
    """A run's place on disk and the state it is in."""

    path: Path
    basis: dict[str, Any] = field(default_factory=dict)
    """What a checkpoint must share with the run to be resumed, besides the options, by name: the data, say."""

    @property
    def finished(self) -> bool:
        """Whether the last file of a run is there; of one that learns tasks this is ``results.json``."""
        return any((self.path / name).is_file() for name in _LAST)

    @property
    def kind(self) -> Kind:
        """What it holds if it is finished, by the options that only this kind has; a damaged file is its reader's."""
        try:
            saved = read_json(self.path / "config.json")
        except RunError:
            return "run"
        return "study" if "zeroshot" in saved else "tasks" if saved.get("transfer") else "run"

    @property
    def begun(self) -> bool:
        """Whether training has started: a run that failed before, for want of its model, say, holds nothing to keep."""
        return (self.path / "metrics.jsonl").is_file() or self.checkpoint.is_file() or (self.path / "tasks").is_dir()

    @property
    def checkpoint(self) -> Path:
        """State of an unfinished run: weights, optimizer, position."""
        return self.path / "checkpoint.safetensors"

    def check(self, ready: Ready) -> None:
        """Refuses what :meth:`open` refuses, and changes nothing; keeps other processes out of a run that is there.

        Raises:
            RunError: no folder that can be written to; a finished run without ``--overwrite``; an unfinished one
                without ``--resume`` or ``--overwrite``; a resumed one whose configuration differs; a folder that holds
                something else; one in which another process trains.
        """
        place = next(each for each in (self.path, *self.path.absolute().parents) if each.exists())
        if not place.is_dir() or not os.access(place, os.W_OK):
            raise RunError(f"{self.path}: nothing can be written to {place}; --output names another folder")
        if not self.path.exists() or not any(self.path.iterdir()):
            return
        if not self._holds_run(ready.config):
            raise RunError(f"{self.path} is not empty and holds no run; --output names another folder")
        if ready.overwrite:
            self._hold()
            return
        if self.finished:
            raise RunError(
                f"{self.path} holds a finished run; --overwrite does it again, --output names another folder"
            )
        if self.begun and not ready.resume:
            raise RunError(f"{self.path} holds an unfinished run; --resume goes on, --overwrite begins again")
        if self.begun:
            self._require_same(ready)
            self._hold()

    def _hold(self) -> None:
        """Keeps other processes out of the folder until this one ends, where its file system knows locks.

        Raises:
            RunError: another one trains in it.
        """
        path = self.path.resolve() / _LOCK
        held = _HELD.get(path)
        if held is not None and path.exists() and os.fstat(held.fileno()).st_ino == path.stat().st_ino:
            return  # to open the file again and close it would let go of it
        try:
            import fcntl  # not on Windows

            file = path.open("a+", encoding="utf-8")
        except (ImportError, OSError):
            return
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            file.seek(0)
            holder = file.read().strip()
            file.close()
            raise RunError(
                f"process {holder or 'of another program'} trains in {self.path}; wait for its end or stop it, or "
                "--output names another folder"
            ) from None
        except OSError:
            return
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        _HELD[path] = file

    def release(self) -> None:
        """Lets other processes in again, once this one has ended with the folder."""
        path = self.path.resolve() / _LOCK
        if file := _HELD.pop(path, None):
            path.unlink(missing_ok=True)
            file.close()

    def open(self, ready: Ready) -> None:
        """Makes the folder ready for training; whatever run is there is deleted if it is to be overwritten.

        Raises:
            RunError: see :meth:`check`.
        """
        self.check(ready)
        self.path.resolve().mkdir(parents=True, exist_ok=True)
        self._hold()
        if ready.overwrite:
            self._clear()
        write_json(self.path / "config.json", ready.config)

    def _clear(self) -> None:
        """Deletes the run: first what calls it finished, and never ``config.json``, so that what a kill leaves is known
        as an unfinished run. The folder stays, for it may be a link to another place."""
        for path in sorted(self.path.iterdir(), key=lambda path: path.name not in _LAST):
            if path.name in ("config.json", _LOCK):
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()

    def require_finished(self, kind: Kind = "run") -> None:
        """Refuses what is no finished run of a kind, and names those beside it.

        Raises:
            RunError: no run, an unfinished one, or a finished one of another kind.
        """
        if self.finished and self.kind == kind:
            return
        begun = "an unfinished run" if (self.path / "config.json").is_file() else "no run"
        state = _KINDS[self.kind] if self.finished else begun
        beside = [RunFolder(path.parent) for path in sorted(self.path.parent.glob("*/metrics.json"))]
        have = [str(each.path) for each in beside if each.kind == kind]
        listed = ", ".join(have[:_LISTED]) + (f" and {len(have) - _LISTED} more" if len(have) > _LISTED else "")
        raise RunError(f"{self.path} holds {state}; finished runs beside it: {listed or 'none'}")

    def _holds_run(self, config: dict[str, Any]) -> bool:
        """Whether ``config.json`` has most of a run's options: model folders have a file of that name too."""
        try:
            saved = read_json(self.path / "config.json")
        except RunError:
            return False
        return 2 * len(saved.keys() & config.keys()) > len(config)

    def _require_same(self, ready: Ready) -> None:
        saved, config = ready.complete(read_json(self.path / "config.json")), ready.config
        different = [key for key in sorted({*saved, *config}) if saved.get(key) != config.get(key)]
        if different:
            pairs = "; ".join(f"{key}: {saved.get(key)!r} saved, {config.get(key)!r} asked for" for key in different)
            raise RunError(f"{self.path} was begun with other options ({pairs}); --overwrite begins again")


def write_atomically(path: Path, write: Callable[[Path], Any]) -> None:
    """Writes to a temporary name beside ``path`` and renames, so that no reader ever sees half a file."""
    part = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        write(part)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.chmod(0o644)  # safetensors makes files that nobody else may read
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Writes JSON atomically."""
    write_text(path, json.dumps(value, indent=2, default=str) + "\n")


def write_text(path: Path, text: str) -> None:
    """Writes text atomically."""
    write_atomically(path, lambda part: part.write_text(text, encoding="utf-8"))


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON object.

    Raises:
        RunError: missing, not JSON, or something else than an object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(f"{path} is missing") from None
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise RunError(f"{path} is damaged: {error}") from None
    if not isinstance(value, dict):
        raise RunError(f"{path} is damaged: it must hold an object, holds a {type(value).__name__}")
    return value


def _read_table(path: Path, schema: Mapping[Any, Any]) -> pl.DataFrame:
    try:
        table = pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise RunError(f"{path} is missing or damaged: {error}") from None
    return _typed(table, schema, path)


def _typed(table: pl.DataFrame, schema: Mapping[Any, Any], path: Path) -> pl.DataFrame:
    if missing := [column for column in schema if column not in table.columns]:
        raise RunError(f"{path} lacks the columns {missing}; it has {table.columns}")
    try:
        return table.select(*schema).cast(schema)
    except pl.exceptions.PolarsError as error:
        raise RunError(f"{path} holds values of the wrong type: {error}") from None


def provenance(**facts: Any) -> dict[str, Any]:
    """What is printed beside a number and never refused: the given facts, versions, commit and time."""
    return {
        **facts,
        "input_changes": facts.get("input_changes", []),
        "versions": dict(_versions()),
        "commit": _commit(),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }


@cache
def _versions() -> tuple[tuple[str, str], ...]:
    from importlib.metadata import version

    packages = ("llmrec", "torch", "transformers", "accelerate", "polars", "numpy")
    return tuple((name, version(name)) for name in packages)


@cache
def _commit() -> str | None:
    """Of llmrec's own repository; None where it was installed without one."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short=12", "HEAD"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=5)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()
