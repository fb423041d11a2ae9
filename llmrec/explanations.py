"""Explanations and their feature words, as P5's prompts ask for them, made from the reviews of a log that has none.

P5 (arXiv:2203.13366) takes both from a tool that parses reviews with lists of words of a domain. Here they are defined
so that everybody finds the same ones: a sentence of the review, and a word that it shares with the title.
"""

import re
from collections import Counter
from collections.abc import Collection
from dataclasses import replace

import polars as pl

from llmrec.errors import DataError
from llmrec.interactions import Dataset
from llmrec.markup import plain
from llmrec.options import P5Options

WORDS = (
    "derived (first sentence of the review, if of 3 words or more; feature: the rarest content word of the title that "
    "stands in it, else in the review)"
)
"""The definition as a protocol states it."""
_COLUMNS = ("explanation", "feature")
_FEWEST = 3
_LINE_END = re.compile(r"[\r\n]+|<br\s*/?>", re.IGNORECASE)
_SENTENCE = re.compile(r".*?[.!?](?=\s|$)")
_WORD = re.compile(r"\S*[^\W_]\S*")
_CONTENT_WORD = re.compile(r"(?<!\w)[^\W\d_]{3,}(?!\w)")


def apply(dataset: Dataset, options: P5Options | None) -> Dataset:
    """The data as a run is to see them: as given, or with derived explanations.

    Raises:
        DataError: see :func:`derived`.
    """
    return derived(dataset) if options is not None and options.explanations == "derived" else dataset


def derived(dataset: Dataset) -> Dataset:
    """Adds the columns ``explanation`` and ``feature`` to the log, and a note that counts them.

    Their content hash stays that of the data without them: it says what was read.

    Raises:
        DataError: data without reviews, or with explanations or features of their own.
    """
    log = dataset.interactions
    if own := [column for column in _COLUMNS if column in log.columns and log[column].null_count() < len(log)]:
        raise DataError(
            f"{dataset.name}: the log has a column {own[0]!r} of its own, which p5.explanations=derived would replace; "
            "leave the option out"
        )
    if "review" not in log.columns or log["review"].null_count() == len(log):
        raise DataError(
            f"{dataset.name}: no interaction has a review to derive an explanation from; the log has {log.columns}. "
            "Take p5.explanations=given"
        )
    titles = dataset.items["title"].to_list() if "title" in dataset.items.columns else [None] * dataset.num_items
    words = [content_words(title or "") for title in titles]
    counts = Counter(word for own in words for word in own)
    reviews = [review or "" for review in log["review"].to_list()]
    sentences = [first_sentence(review) for review in reviews]
    features = [
        shared_word(words[item - 1], counts, sentence, review)
        for item, sentence, review in zip(log["item"].to_list(), sentences, reviews, strict=True)
    ]
    explanations = [sentence if len(_WORD.findall(sentence)) >= _FEWEST else None for sentence in sentences]
    made = pl.DataFrame({"explanation": explanations, "feature": features}, schema=dict.fromkeys(_COLUMNS, pl.String))
    filled = [len(made) - made[column].null_count() for column in _COLUMNS]
    both = len(made.drop_nulls())
    note = (
        f"explanations derived: {filled[0]:,} of {len(log):,} interactions have a first sentence of {_FEWEST} words or "
        f"more, {filled[1]:,} a feature word, {both:,} both"
    )
    return replace(dataset, interactions=log.with_columns(made), notes=(*dataset.notes, note), derived_columns=_COLUMNS)


def first_sentence(review: str) -> str:
    """What ends with the first ``.``, ``!`` or ``?`` before a blank, or with the line; HTML left out.

    ``Costs 4.99 only. Nice`` begins with a sentence of three words, and ``e.g. this`` with one of one word.
    """
    first = next(filter(None, map(plain, _LINE_END.split(review))), "")
    found = _SENTENCE.match(first)
    return found[0] if found else first


def content_words(text: str) -> list[str]:
    """The different words of three letters and more that are no stop words, in lower case, in order."""
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    words = dict.fromkeys(_CONTENT_WORD.findall(plain(text).lower()))
    return [word for word in words if word not in ENGLISH_STOP_WORDS]


def shared_word(title: Collection[str], counts: Counter[str], sentence: str, review: str) -> str | None:
    """The word of a title that the sentence has, else the review; of several the one that the fewest titles have."""
    for text in (sentence, review):
        said = set(_CONTENT_WORD.findall(plain(text).lower()))
        if shared := [word for word in title if word in said]:
            return min(shared, key=lambda word: counts[word])
    return None
