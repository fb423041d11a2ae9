"""What every reader does to a text: entities become characters, outer blanks and line ends go, empty becomes null."""

import ast
import html
import re

import polars as pl

from llmrec.markup import plain
from llmrec.sources._tables import note

_LITERAL = re.compile(r"\[\s*['\"](.*)['\"]\s*\]", re.DOTALL)
_BETWEEN = re.compile(r"(?<!\\)['\"],\s*['\"]")
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)", re.DOTALL)
_LINE_ENDS = r"\s*[\n\r\x0b\x0c\x{2028}\x{2029}]\s*"
"""U+0085 is none: in Latin-1 that was another code page it is three dots."""
_CHARACTERS = {"n": "\n", "t": "\t", "r": "\r"}


def clean(ids: pl.Series, texts: pl.Series, what: str = "title") -> tuple[pl.Series, list[str]]:
    """Mends a text column of the item table; notes tell which items.

    An empty text becomes null and is never embedded. Equal titles stay: a title is not a key.

    Args:
        ids: of the items.
        texts: strings or nulls.
        what: name of the column in the notes.
    """
    resolved = unescaped(texts)
    stripped = resolved.str.strip_chars()
    flat, told = on_one_line(ids, stripped, what)
    notes = note(ids, changed(texts, resolved), f"HTML entities in the {what} resolved")
    notes += note(ids, changed(resolved, stripped), f"blanks around the {what} removed")
    notes += told + note(ids, (flat == "").fill_null(True), f"no {what}")
    return flat.replace("", None), notes


def on_one_line(ids: pl.Series, texts: pl.Series, what: str) -> tuple[pl.Series, list[str]]:
    """Makes line ends inside of texts blanks: a list of titles, in a prompt or a table, gives each of them one line.

    Args:
        ids: of the items.
        texts: strings or lists of strings, or nulls.
        what: name of the column in the notes.
    """
    if texts.dtype == pl.List:
        flat = texts.list.eval(pl.element().str.replace_all(_LINE_ENDS, " "))
    else:
        flat = texts.str.replace_all(_LINE_ENDS, " ")
    return flat, note(ids, changed(texts, flat), f"line ends in the {what} made blanks")


def clean_rows(texts: pl.Series, what: str) -> tuple[pl.Series, list[str]]:
    """The same for a text of the log, where notes give counts only."""
    resolved = unescaped(texts)
    stripped = resolved.str.strip_chars().replace("", None)
    entities, empty = changed(texts, resolved).sum(), stripped.null_count()
    notes = [f"HTML entities in the {what} resolved: {entities} rows"] if entities else []
    return stripped, notes + ([f"no {what}: {empty} rows"] if empty else [])


def unescaped(texts: pl.Series) -> pl.Series:
    """``Rock &amp; Roll`` to ``Rock & Roll``, in the texts that have an ampersand."""
    rows = (texts.str.contains("&", literal=True).fill_null(False)).arg_true()
    if not len(rows):
        return texts
    return texts.clone().scatter(rows, [html.unescape(text) for text in texts.gather(rows)])


def changed(before: pl.Series, after: pl.Series) -> pl.Series:
    """Where a mended column differs."""
    return (before != after).fill_null(False)


def descriptions(ids: pl.Series, texts: list[str]) -> tuple[pl.Series, list[str]]:
    """A column of descriptions without markup, and notes."""
    bare = [plain(text) for text in texts]
    mended = sum(before.strip() != after for before, after in zip(texts, bare, strict=True))
    told = [f"HTML or runs of blanks in the description removed: {mended} items"] if mended else []
    column = pl.Series("description", bare, dtype=pl.String)
    return column.replace("", None), told + note(ids, column == "", "no description")


def unquoted_list(text: str) -> list[str]:
    """The strings of a list written as a Python literal; any other text is a list of itself.

    A literal whose own quotes were not escaped is cut where a quote, a comma and a quote follow one another.
    """
    text = text.strip()
    if not text.startswith("["):
        return [text] if text else []
    try:
        return [str(part) for part in ast.literal_eval(text) if part is not None]
    except (ValueError, SyntaxError, TypeError):
        written = _LITERAL.fullmatch(text)
        return [_ESCAPE.sub(_character, part) for part in _BETWEEN.split(written[1])] if written else [text]


def _character(escape: re.Match[str]) -> str:
    code = escape[1]
    return chr(int(code[1:], 16)) if len(code) > 1 else _CHARACTERS.get(code, code)
