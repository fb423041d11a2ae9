"""The ways in which language models write a list: lines with marks, numbers inside a line, JSON that is half right."""

import json
import re
from collections.abc import Iterator

_SIGN = r"\d{1,3}|[A-Za-z]|[A-Z]{2}"
MARK = re.compile(
    rf"\s*(?:#{{1,6}}\s+)?[*_`]*(?:(?P<bullet>[-*•–—·+]\s+|•)|#\d+[.):]?(?:\s+|$)|\d{{1,3}}(?:[.)、](?!\d)|:(?=\s|$))|"
    rf"(?:[A-Za-z]|[A-Z]{{2}})[.):](?=[\s*]|$)|\((?:{_SIGN})\)|\[(?:{_SIGN})\])"
)
"""What stands before an entry of a list; ``bullet`` if it says nothing of its place."""

_INLINE = re.compile(r"(?<!\S)(?=(\d{1,2})[.)]\s)")
_ARRAY = re.compile(r"\[(?=\s*[\"'{\[]|\s*\w{1,3}\s*(?:,\s*(?:\w{1,3}|…|\.\.\.)\s*)+(?:\]|\Z))")
_INSIDE = r"(?:\\.|[^\\\n]){0,2000}?"
_STRING_ENDS = r"(?=\s*(?:[,\]}:]|\Z)|[ \t]*\n)"
_TOKEN = re.compile(
    rf"\s*(?:\"(?P<double>{_INSIDE})\"{_STRING_ENDS}|'(?P<single>{_INSIDE})'{_STRING_ENDS}|"
    r"(?P<bare>[\w.+-]+)|(?P<sign>[\[\]{},]))(?P<key>\s*:)?"
)
_FIELDS = ("title", "name", "label", "id")


def views(line: str) -> list[str]:
    """The line, then without its list mark, then without the next one; some titles look like a mark and a title."""
    seen = [line.strip()]
    while len(seen) < 4 and (mark := MARK.match(seen[-1])):
        seen.append(seen[-1][mark.end() :].strip())
    return seen


def kind(line: str) -> str:
    """Whether a line begins with a ``number`` (or a letter), with a ``bullet``, or with neither."""
    mark = MARK.match(line)
    return "" if not mark else "bullet" if mark["bullet"] else "number"


def unfolded(line: str) -> list[str]:
    """The entries of a line that numbers three or more of them."""
    marks = list(_INLINE.finditer(line))
    if len(marks) < 3 or [mark[1] for mark in marks] != [str(place + 1) for place in range(len(marks))]:
        return [line]
    ends = [mark.start() for mark in marks[1:]] + [len(line)]
    return [line[mark.start() : end].strip() for mark, end in zip(marks, ends, strict=True)]


def arrays(text: str) -> Iterator[list[str]]:
    """The elements of each JSON array in a text, however badly it is written."""
    end = 0
    for start in _ARRAY.finditer(text):
        if start.start() >= end:
            elements, end = _elements(text, start.start())
            if elements:
                yield elements


def _elements(text: str, start: int) -> tuple[list[str], int]:
    """The elements of the array that begins there, and where it ends; a string that is cut off is none of them."""
    elements: list[str] = []
    fields: dict[str, str] | None = None
    depth, key, at = 0, "", start
    while token := _TOKEN.match(text, at):
        at, sign = token.end(), token["sign"]
        if sign in ("{", "}"):
            elements += _title_of(fields)
            fields = {} if sign == "{" else None
        elif sign:
            depth += {"[": 1, "]": -1}.get(sign, 0)
        elif token["key"]:
            key = _value(token).lower()
        elif fields is None:
            elements.append(_value(token))
        else:
            fields.setdefault(key, _value(token))
        if not depth:
            break
    return elements + _title_of(fields), at


def _title_of(fields: dict[str, str] | None) -> list[str]:
    """What an object is called; its first value if no field says so."""
    return [(fields or {})[name] for name in [*_FIELDS, *(fields or {})] if name in (fields or {})][:1]


def _value(token: re.Match[str]) -> str:
    if token["bare"] is not None:
        return token["bare"]
    if token["single"] is not None:
        return re.sub(r"\\(['\"\\])", r"\1", token["single"])
    try:
        return str(json.loads(f'"{token["double"]}"', strict=False))
    except ValueError:
        return token["double"]
