"""Every error llmrec raises on purpose.

LlmrecError
├── DataError       a file, row, id or text that cannot be used
│   └── AssetError  a named data set or model that is neither cached nor reachable, or is damaged
├── ConfigError     an option or a component name
├── PromptError     a prompt file or what it asks for
├── ProtocolError   numbers that were measured differently and must not be compared
├── RunError        a run folder that is missing, unfinished, finished or damaged
├── BackendError    a model or server that does not answer
└── MemoryLimitError    a model larger than the free memory

A message says what came, what is allowed and what to do.
"""

import sys
from codecs import lookup
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from functools import wraps
from io import TextIOWrapper
from typing import ParamSpec

P = ParamSpec("P")


class LlmrecError(Exception):
    """Base of all errors that a user can mend; the commands print it in one paragraph and exit with its ``status``."""

    status = 2


class DataError(LlmrecError):
    """A file, row, id or text that cannot be used."""


class AssetError(DataError):
    """A named data set or model that is neither cached nor reachable, or fails its checksum."""


class NotFiniteError(DataError):
    """Scores that are not finite, so that nothing can be measured by them."""


class ConfigError(LlmrecError):
    """An option or component name that does not exist, or a value outside its range."""


class PromptError(LlmrecError):
    """A prompt file that cannot be read or rendered.

    Args:
        message: all of it in one paragraph.
        faults: the same as one line each, where there are several.
    """

    def __init__(self, message: str, faults: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.faults = list(faults) or [message]


class ProtocolError(LlmrecError):
    """Numbers measured under different protocols were about to be compared."""


class RunError(LlmrecError):
    """A run folder in another state than the command needs."""


class DivergedError(RunError):
    """A training whose loss is no longer finite; studies tell it from other errors by its exit code."""

    status = 3


class BackendError(LlmrecError):
    """A model or server that does not answer, or not in a way that can be used."""


class MemoryLimitError(LlmrecError):
    """A model that does not fit into the free memory."""


INTERRUPTED = 130
"""Exit code of a command that was told to end (Ctrl-C), as shells have it."""


def nearest(name: str, have: Iterable[str]) -> str:
    """Says which known name was probably meant, and lists the rest."""
    known = sorted(have)
    close = get_close_matches(name, known, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"{hint} (have: {', '.join(known)})"


def exit_code(command: Callable[P, int]) -> Callable[P, int]:
    """A command that answers what a user can mend with a paragraph on standard error and an exit code of 2 or more, and
    Ctrl-C with 130.

    It prints UTF-8 whatever the locale: a title may have letters that the locale lacks, and JSON is UTF-8.
    """

    @wraps(command)
    def answered(*args: P.args, **kwargs: P.kwargs) -> int:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, TextIOWrapper) and lookup(stream.encoding).name != "utf-8":
                stream.reconfigure(encoding="utf-8", errors="backslashreplace")
        try:
            return command(*args, **kwargs)
        except LlmrecError as error:
            print(f"error: {error}", file=sys.stderr)
            return error.status
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            return INTERRUPTED

    return answered
