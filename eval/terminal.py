"""Tables that fit a terminal: cut in several where they are too wide."""

from collections.abc import Iterator

from rich import box
from rich.markup import escape
from rich.table import Table

from llmrec.evaluation import Interval
from llmrec.report import interval

FIRST = 24
"""Characters of the first column, at most."""
Line = tuple[str, list[str]]
"""The name of a row, and its cells."""


def fitting(title: str, heads: list[str], lines: list[Line], width: int) -> Iterator[Table]:
    """Tables that are no wider, each with the first column.

    Args:
        title: of the first column.
        heads: of the others; one may be broken between its words.
        lines: the rows.
        width: characters.
    """
    for part in _cut(heads, lines, width - FIRST):
        yield _table(title, heads[part], [(name, line[part]) for name, line in lines])


def short(found: Interval, sign: str = "") -> str:
    """A mean and half the width of its interval."""
    half = (found.high - found.low) / 2
    return f"{value(found, sign)} ±{value(Interval(half, half, half))}"


def value(found: Interval, sign: str = "") -> str:
    """A mean alone."""
    return interval(found, sign).partition(" ")[0]


def _cut(heads: list[str], lines: list[Line], room: int) -> Iterator[slice]:
    """Parts of the columns that have room beside the first one; a heading may be broken between its words."""
    start, used = 0, 0
    for place, head in enumerate(heads):
        width = 1 + max(map(len, [*head.split(), *(line[place] for _, line in lines)]))
        if used and used + width > room:
            yield slice(start, place)
            start, used = place, 0
        used += width
    yield slice(start, len(heads))


def _table(title: str, heads: list[str], lines: list[Line]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(escape(title), overflow="fold", max_width=FIRST - 1)
    for place, head in enumerate(heads):
        least = max(map(len, [*head.split(), *(line[place] for _, line in lines)]))
        table.add_column(escape(head), justify="right", width=least)
    for name, line in lines:
        table.add_row(escape(name), *map(escape, line))
    return table
