"""Titles that users of video sites wrote: in two languages, or of signs only."""

import polars as pl

from llmrec.sources._tables import note
from llmrec.sources._texts import clean

_WORDS = r"[\p{L}\p{N}]"
"""A letter of any script or a digit."""


def in_language(
    ids: pl.Series, titles: dict[str, pl.Series], language: str, what: str = "title"
) -> tuple[pl.Series, list[str]]:
    """The title of each item in the wanted language or, where it has none, in another; notes tell which.

    A title without a letter or a digit, such as ``...``, says nothing and becomes null as an empty one does.

    Args:
        ids: of the items.
        titles: by language, strings or nulls.
        language: the wanted one; need not be there.
        what: name of the column.
    """
    ordered = sorted(titles, key=lambda other: other != language)
    worded = [_worded(titles[name]) for name in ordered]
    chosen = pl.select(pl.coalesce(worded)).to_series().alias(what)
    wanted = worded[0] if ordered[0] == language else pl.Series([None] * len(ids), dtype=pl.String)
    signs = chosen.is_null() & pl.select(pl.any_horizontal(_signs(texts) for texts in titles.values())).to_series()
    lacking = wanted.is_null() & chosen.is_not_null()
    notes = note(ids, signs, f"{what} without a letter or a digit, read as none")
    notes += note(ids, lacking, f"no {language} {what}, {' or '.join(o for o in ordered if o != language)} taken")
    texts, mended = clean(ids, chosen.fill_null(""), what)
    return texts, notes + mended


def _worded(texts: pl.Series) -> pl.Series:
    return pl.select(pl.when(texts.str.contains(_WORDS)).then(texts)).to_series()


def _signs(texts: pl.Series) -> pl.Series:
    return (texts.str.strip_chars().str.len_chars() > 0).fill_null(False) & ~texts.str.contains(_WORDS).fill_null(True)
