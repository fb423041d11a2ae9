"""One language model in memory for many runs: each has modules of its own over the same weights."""

import copy
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import chain
from typing import Any

_HELD: ContextVar[dict[Hashable, Any] | None] = ContextVar("_HELD", default=None)


@contextmanager
def shared() -> Iterator[None]:
    """Within it a resident language model is read once, however many runs read their items with it.

    What a run does to its model, such as to put adapters behind its layers, no other run sees: the weights alone are in
    common. A run whose tuning rewrites these (``full``, ``top_blocks``) has its own, and so has one whose model is
    quantised, sharded or streamed. What was loaded stays usable behind the context.
    """
    token = _HELD.set({} if (held := _HELD.get()) is None else held)
    try:
        yield
    finally:
        _HELD.reset(token)


@contextmanager
def apart() -> Iterator[None]:
    """Within it models are read for themselves all the same, for their weights are going to change."""
    token = _HELD.set(None)
    try:
        yield
    finally:
        _HELD.reset(token)


def once(key: Hashable, read: Callable[[], Any]) -> Any:
    """A model as ``read`` gives it; in :func:`shared` another one over the weights of the first of that key.

    Args:
        key: what the weights depend on.
        read: reads the model.
    """
    held = _HELD.get()
    if held is None:
        return read()
    if key not in held:
        held[key] = read()
    first = held[key]
    weights = chain(first.parameters(), first.buffers())
    return copy.deepcopy(first, {id(weight): weight for weight in weights})
