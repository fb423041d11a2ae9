"""Finds titles in what a language model wrote, whatever became of their case, accents, articles and years."""

import html
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

Places = tuple[int, ...]
"""Places in the list that one text may mean; several only where titles are equal."""

SEPARATOR = re.compile(r"[,;|>→\t\n]")
"""What stands between the titles of a line."""

_Words = tuple[str, ...]
_WORD = re.compile(r"(?:[^\W_][\u0300-\u036f]*)+|&")
_YEAR = re.compile(r"\((\d{4})\)\s*$")
_LAST_ARTICLE = re.compile(r",\s*(?:the|an?|l[ae]s?|los|il|el|der|die|das)\s*$", re.IGNORECASE)
_PARTS = re.compile(r"[,;|>→\t\n()\[\]{}<\"“”„«»]")
_SEQUEL = re.compile(r"(?:part|vol|volume|episode|chapter)\b", re.IGNORECASE)
_ABBREVIATION = re.compile(r"(?<!\w)(?:dr|mrs?|ms|st|no|vs|vol)\.\s*$", re.IGNORECASE)
_LEAD = re.compile(
    r"\b(?:answer|rank|recommend|suggest|order|list|option|choice|pick|title|movie|film|item|product|next|top|best|"
    r"first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|last|finally)",
    re.IGNORECASE,
)
_LABEL_A = re.compile(r"[Aa][.):\]]\s")
_SENTENCE = re.compile(r"(?:^|[.!?:\n])[\s\"'“‘*(]*$")
_QUOTES = "\"'“”‘’«»*`"
_ROMAN = dict(zip(("i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x"), map(str, range(1, 11)), strict=True))


@dataclass(frozen=True)
class Match:
    """A title inside a text: from where to where, and which one it may be."""

    start: int
    end: int
    places: Places


def readable(text: str) -> str:
    """A text without entities and without two ways to write a letter."""
    return unicodedata.normalize("NFKC", html.unescape(text)).replace("\0", " ")


def words(text: str) -> _Words:
    """What is compared of a text: its words and numbers, without case and accents."""
    return tuple(map(_folded, _WORD.findall(text)))


class Titles:
    """A list of titles in which answers are looked up; all texts that it is given are ``readable`` ones."""

    def __init__(self, titles: Sequence[str]) -> None:
        shown = [readable(title) for title in titles]
        self._exact: dict[str, list[int]] = defaultdict(list)
        self._full: dict[_Words, list[int]] = defaultdict(list)
        short: dict[_Words, list[int]] = defaultdict(list)
        self._cased: set[_Words] = set()
        for place, title in enumerate(shown):
            self._exact[title.strip()].append(place)
            for form, has_year in _forms(title):
                self._cased.add(form)
                (self._full if has_year else short)[tuple(map(_folded, form))].append(place)
        self._yearless = {
            form: places
            for form, places in short.items()
            if form not in self._full and len({words(shown[place]) for place in places}) == 1
        }
        self._lengths: dict[str, list[int]] = defaultdict(list)
        for form in sorted({*self._full, *self._yearless}, key=len, reverse=True):
            self._lengths[form[0]].append(len(form))

    def exact(self, text: str) -> Places:
        """Titles spelled just so."""
        return tuple(self._exact.get(text.strip(), ()))

    def whole(self, text: str) -> Places:
        """Titles that the whole text is, in any of their forms."""
        return self.exact(text) or self._of(words(text))

    def inside(self, text: str, *, prose: bool = False) -> list[Match]:
        """Titles that stand in a text, the longest first where several begin; in prose only in their own spelling."""
        found = list(_WORD.finditer(text))
        cased = tuple(word[0] for word in found)
        form = tuple(map(_folded, cased))
        matches, at = [], 0
        while at < len(form):
            for length in self._lengths.get(form[at], ()):
                end = min(at + length, len(form))
                places = self._of(form[at:end])
                fits = places and (not prose or cased[at:end] in self._cased)
                if fits and _Around(text, found, at, end).allows(prose, year=form[at:end] in self._yearless):
                    matches.append(Match(found[at].start(), found[end - 1].end(), places))
                    at = end - 1
                    break
            at += 1
        return matches

    def near(self, text: str) -> Places:
        """Titles that the text is but for a misspelling, if no other one comes near."""
        given = words(text)
        forms = [form for form in [*self._full, *self._yearless] if abs(len(form) - len(given)) <= 2]
        scores = sorted(((_likeness(given, form), form) for form in forms), reverse=True)
        best, form = scores[0] if scores else (0.0, ())
        places = self._of(form)
        second = next((score for score, other in scores if set(self._of(other)) != set(places)), 0.0)
        return places if best >= 0.88 and best - second >= 0.06 else ()

    def _of(self, form: _Words) -> Places:
        return tuple(dict.fromkeys(self._full.get(form) or self._yearless.get(form) or []))


@dataclass(frozen=True)
class _Around:
    """What stands around some words of a text."""

    text: str
    words: list[re.Match[str]]
    first: int
    end: int

    def allows(self, prose: bool, year: bool) -> bool:
        """Whether the words stand for themselves; ``year`` if one that follows makes them another title."""
        if year and self.end < len(self.words) and re.fullmatch(r"\d{4}", self.words[self.end][0]) and self._parts(1):
            return False
        if prose and sum(len(word[0]) for word in self.words[self.first : self.end]) <= 2 and not self._quoted():
            return False
        if _LABEL_A.match(self.text, self.words[self.first].start()):  # "A. Little Princess, A (1995)"
            return False
        return self._begins(prose) and self._ends(prose)

    def _gap(self, side: int) -> str:
        left = self.end - 1 if side else self.first - 1
        return self.text[self.words[left].end() : self.words[left + 1].start()]

    def _parts(self, side: int) -> bool:
        gap = self._gap(side)
        left = self.words[self.end - 1 if side else self.first - 1]
        if gap == "," and left[0][-1].isdigit() and self.text[left.end() + 1].isdigit():  # 10,000 BC
            return False
        return _PARTS.search(gap) is not None or bool(gap.strip() and re.search(r"\s", gap))

    def _begins(self, prose: bool) -> bool:
        if self.first == 0:
            return True
        before, gap = self.words[self.first - 1], self._gap(0)
        if self._parts(0):
            head = self._head(before.end())
            return not _ABBREVIATION.search(head + gap) and (not gap.startswith(":") or _is_lead(head))
        starts = _SENTENCE.search(self._head(before.start())) is not None
        return prose and gap.isspace() and (starts or not _is_name(before[0]))

    def _ends(self, prose: bool) -> bool:
        if self.end == len(self.words):
            return True
        after = self.words[self.end]
        if self._parts(1):
            start = self.words[self.end - 1].end()
            return not _SEQUEL.match(self.text, after.start()) and not _is_subtitle(self.text[start : start + 200])
        return prose and self._gap(1).isspace() and not _is_name(after[0])

    def _head(self, end: int) -> str:
        return self.text[max(0, end - 200) : end]  # all of a long text, again and again, would take for ever

    def _quoted(self) -> bool:
        start, end = self.words[self.first].start(), self.words[self.end - 1].end()
        return self.text[start - 1 : start] in tuple(_QUOTES) and self.text[end : end + 1] in tuple(_QUOTES)


def _folded(word: str) -> str:
    letters = unicodedata.normalize("NFKD", word.casefold())
    return "and" if word == "&" else "".join(letter for letter in letters if not unicodedata.combining(letter))


def _forms(title: str) -> Iterator[tuple[_Words, bool]]:
    """The words of every way to write a title, each with whether all of the title is there (else the year is not)."""
    year = _YEAR.search(title)
    body = title[: year.start()] if year else title
    listed = tuple(_WORD.findall(body))
    orders = [listed]
    if _LAST_ARTICLE.search(body):
        orders.append(listed[-1:] + listed[:-1])
    elif len(listed) > 1 and listed[0].casefold() in ("the", "a", "an"):
        orders.append(listed[1:] + listed[:1])
    for order in orders:
        if full := order + ((year[1],) if year else ()):
            yield full, True
        if year and order:
            yield order, False


def _is_name(word: str) -> bool:
    return word[0].isupper() or word[0].isdigit()


def _is_lead(text: str) -> bool:
    """Whether a text before a colon announces a title; else it is the first half of one, as in *Alien: Covenant*."""
    clause = SEPARATOR.split(text)[-1]
    last = _WORD.findall(clause)[-1:] or [""]
    return len(last[0]) <= 2 or not last[0][0].isupper() or _LEAD.search(clause) is not None


def _is_subtitle(text: str) -> bool:
    """Whether a text begins with the second half of a title, such as ``: The Empire Strikes Back``."""
    found = _WORD.findall(re.split(r"[,;|>(\n]|\s[-–—]\s", text)[0])
    if not text.startswith(":") or not found or not found[0][0].isupper():
        return False
    return all(_is_name(word) or len(word) < 4 for word in found)


def _numbers(form: _Words) -> list[str]:
    return [digits for word in form for digits in re.findall(r"\d+", _ROMAN.get(word, word))]


def _likeness(given: _Words, form: _Words) -> float:
    """How alike two titles are; not at all with other numbers, or as singular and plural (*Alien* and *Aliens*)."""
    one, other = " ".join(given), " ".join(form)
    if min(len(one), len(other)) < 6 or _numbers(given) != _numbers(form):
        return 0.0
    if [word.rstrip("s") for word in given] == [word.rstrip("s") for word in form]:
        return float(one == other)
    matcher = SequenceMatcher(None, one, other, autojunk=False)
    return matcher.ratio() if matcher.real_quick_ratio() >= 0.8 and matcher.quick_ratio() >= 0.8 else 0.0
