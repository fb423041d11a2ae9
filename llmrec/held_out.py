"""Whether a run, or one that it began with, was trained on other parts of the data than those that are asked about."""

import re
from collections.abc import Iterator
from pathlib import Path

from llmrec import config
from llmrec.protocol import Protocol
from llmrec.runs import read_json
from llmrec.splits import DRAWN

_SAME = ("data_hash", "split", "targets", "filter")
"""Fields of a protocol that say what a run was trained on."""
_DRAWN = re.compile(re.escape(DRAWN).replace(re.escape("{:,}"), r"[\d,]+") + "$")
"""Which users a run was measured on has nothing to do with what it was trained on."""


def cut_otherwise(folder: Path, protocol: Protocol) -> str:
    """In words, in what the parts of a finished run differ from those of a protocol; empty where they are the same."""
    saved = _protocol_of(folder)
    then, now = (_DRAWN.sub("", each.targets) for each in (saved, protocol))
    pairs = saved.difference(protocol) | {"targets": (then, now)}
    return "; ".join(
        f"{name}: {pairs[name][0]!r} there, {pairs[name][1]!r} here"
        for name in _SAME
        if name in pairs and pairs[name][0] != pairs[name][1]
    )


def may_have_met(folder: Path, protocol: Protocol) -> list[str]:
    """A line for the run, and each one that it began with, that was trained on other parts of the very data.

    Runs whose folders are gone say nothing.
    """
    same = [each for each in _lineage(folder) if _protocol_of(each).data == protocol.data]
    cuts = {each: cut_otherwise(each, protocol) for each in same}
    return [f"{each} was trained on other parts of the data ({words})" for each, words in cuts.items() if words]


def _lineage(folder: Path) -> Iterator[Path]:
    origin: Path | None = folder
    while origin is not None and (origin / "test").is_dir():
        yield origin
        origin = config.parse(read_json(origin / "config.json")).training.init_from


def _protocol_of(folder: Path) -> Protocol:
    return Protocol.model_validate(read_json(folder / "test" / "protocol.json"))
