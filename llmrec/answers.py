"""Reads the text that a language model answered as a ranking of candidates; it never sees the target."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from llmrec.listed import MARK, arrays, kind, unfolded, views
from llmrec.titles import SEPARATOR, Match, Places, Titles, readable, words

Status = Literal["ok", "partial", "empty", "refused", "failed"]

_Name = Places | str
"""One thing that an answer names: a candidate, or the text of something else."""

_GOES_ON = re.compile(
    r"[ \t]+(?!(?:I|It|The|This|They|He|She|We|You|Because|User|Explanation|Reason)\b)[A-Z\d]|\.[ \t]*\d|[ \t]+or\b"
)
_REFUSAL = re.compile(
    r"\bi(?:['’]|\s+a)?m sorry|\b(?:apologi[sz]e|can['’]?t|cannot|can not|could ?n['’]t|as an ai)\b|"
    r"\b(?:un|not )able to\b|\bnot (?:clear|enough information)\b|\bunclear\b|"
    r"\bmore (?:information|context|details)\b|\bdo(?: not|n['’]t) (?:have|know)\b",
    re.IGNORECASE,
)
_MARKUP = " \t\n*_`\"'“”‘’«»"
_NOTHING = re.compile(r"</?[a-zA-Z][^<>]*>|```\w*|[\s*_`#>~|\[\]{}-]")
_THOUGHT = re.compile(r"</(?:think|thinking|thought|reasoning)>", re.IGNORECASE)
_THINKS = re.compile(r"\s*<(?:think|thinking|thought|reasoning)>", re.IGNORECASE)
_JSON = re.compile(r"\s*(?:```|[\[{])")
_ASIDE = re.compile(r" ?(?:[#>]+ *)?[*_]*(?:explanation|reason(?:ing)?|note)s?\b", re.IGNORECASE)
"""Begins a remark between or behind the entries; what follows to the next entry belongs to it."""
_REMARK = re.compile(r"\s*(?:[-*•]\s)?[*_\s]*(?:explanation|reason(?:ing)?|note)s?\b[*_\s]*:", re.IGNORECASE)
_SPEECH = re.compile(
    r"\bI(?:['’]d| would| will)? (?=choose|pick|recommend|select|rank)|\b(?:the|answers?|is|are|my|final|correct|best|"
    r"options?|choices?|rank(?:ing|ed)?|order|items?|numbers?|candidates?|movies?|films?|products?|would|be|then|and|"
    r"choose|pick|recommend|select|rank)\b|[\W_]",
    re.IGNORECASE,
)
_BECAUSE = re.compile(r"[\W_]*([^\W_]+)[\s,:;.)\]*–—-]+(?:because|since|as|is (?:the|my|most|a)|would be)\b")
_POINTED = re.compile(
    r"(?i:\b(?:answer|option|choice)\b)(?: is\b|[:\s])*[(\[\"*]*(\w+)[)\]\"*]*"
    r"(?=[,;]|\.?\s*$|\.\s+(?:The|This|It|Because|I|You)\b|\s+[a-z])"
)
_NO_NAMES = {
    *("yes", "no", "sure", "ok", "okay", "great", "certainly", "thanks", "none", "na", "sorry", "answer"),
    *("rank", "title", "name", "movie", "film", "item", "product", "score", "reason"),  # heads of a table
    *("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"),
    *("next", "then", "last", "lastly", "finally"),
}
_PLACE = re.compile(r"\W*\d{1,3}(?:st|nd|rd|th)?\W*", re.IGNORECASE)
_RULE = re.compile(r"\s*\|?\s*:?-+:?\s*(?:\|\s*:?-+:?\s*)*\|?\s*")
"""Below the heads of a Markdown table."""


@dataclass(frozen=True)
class Answer:
    """What an answer says.

    Attributes:
        ranking: places in the list of titles, best first, each at most once.
        status: ``ok`` with as many candidates as wanted, ``partial`` with fewer, else why there are none.
        invented: what is named without being a candidate.
        duplicates: how many times a candidate was named again.
    """

    ranking: tuple[int, ...]
    status: Status
    invented: tuple[str, ...] = ()
    duplicates: int = 0

    @property
    def valid_ratio(self) -> float | None:
        """Share of the named things (repeats not counted) that are candidates; None when nothing is named."""
        different = len(self.ranking) + len(self.invented)
        return len(self.ranking) / different if different else None


def parse(text: str, titles: Sequence[str], *, wanted: int, labels: Sequence[str] = ()) -> Answer:
    """Reads a ranking of candidates; any text gives an answer, and none raises.

    Args:
        text: what the model wrote.
        titles: the candidates in the order in which they were shown.
        wanted: how many names were asked for; with one only the first candidate counts.
        labels: what stood before each title, such as letters or numbers; none if titles stood alone.
    """
    text = _said(text)
    names = _Reader(Titles(titles), labels).read(text)
    ranking, invented, duplicates = _settle(names, wanted)
    status = _status(text, len(ranking), min(wanted, len(titles)))
    return Answer(tuple(ranking), status, tuple(invented), duplicates)


def yes_or_no(text: str) -> bool | None:
    """Whether the first word is a yes or a no; None if it is neither, or begins a title (*No. 1 Shampoo*)."""
    text = _said(text)
    first = re.match(r"[\W_]*(yes|no)(?![^\W_]|[-'’/]\w)", text, re.IGNORECASE)
    if not first or _GOES_ON.match(text, first.end()):
        return None
    return first[1].lower() == "yes"


def _said(text: str) -> str:
    """An answer without what a reasoning model thought before it; nothing, if it never came to an end."""
    said = _THOUGHT.split(text)[-1]
    return "" if _THINKS.match(said) else said


def _settle(names: Iterable[_Name], wanted: int) -> tuple[list[int], list[str], int]:
    """One place for each name: of equal titles the first that is not yet taken."""
    ranking: list[int] = []
    invented: dict[tuple[str, ...], str] = {}
    duplicates = 0
    for name in names:
        if isinstance(name, str):
            invented.setdefault(words(name), name)
            continue
        free = [place for place in name if place not in ranking]
        ranking += free[:1]
        duplicates += not free
        if wanted == 1:
            break
    return ranking, list(invented.values()), duplicates


def _status(text: str, found: int, needed: int) -> Status:
    if found:
        return "ok" if found >= needed else "partial"
    if not _NOTHING.sub("", text):
        return "empty"
    return "refused" if _REFUSAL.search(text) else "failed"


class _Reader:
    """Reads answers about one list of titles."""

    def __init__(self, titles: Titles, labels: Sequence[str]) -> None:
        self.titles = titles
        self.labels: dict[str, Places] = {label.strip(".()[]: "): (place,) for place, label in enumerate(labels)}

    def read(self, text: str) -> list[_Name]:
        """What the text names, in its order: that of the first part in which a candidate is named."""
        read = [self._part(part) for part in self._parts(text)]
        return next((names for names in read if _has_candidate(names)), next(filter(None, read), []))

    def _parts(self, text: str) -> list[str]:
        """The text without its remarks, cut where a heading begins, and behind a remark unless the list goes on."""
        parts, entries, skipping = [""], _Entries(), False
        for line in text.splitlines():
            named, mark = bool(self.titles.whole(readable(line))), MARK.match(line)
            if _ASIDE.match(line) and not named:
                entries.remark()
                skipping = True
            if skipping and not (named or mark or _JSON.match(line)):
                continue
            begins = line.lstrip().startswith("###") and not named and not mark
            if begins or (skipping and not entries.go_on(mark)):
                parts.append("")
                entries = _Entries()
            if named or mark:
                entries.add(mark)
            skipping = False
            parts[-1] += line + "\n"
        return parts

    def _part(self, text: str) -> list[_Name]:
        read = [[name for element in elements for name in self._entry(element)] for elements in arrays(text)]
        listed = next(filter(_has_candidate, read), None) or self._lines(text)
        return read[0] if read and not _has_candidate(listed) else listed

    def _lines(self, text: str) -> list[_Name]:
        lines = [line for raw in _rows(text) for line in unfolded(readable(raw)) if self._may_name(line)]
        whole = [self._alone(line) for line in lines]
        kinds = ["title" if names else kind(line) for line, names in zip(lines, whole, strict=True)]
        best = next((mark for mark in ("number", "bullet") if mark in kinds), "")
        depth = min((_indent(line) for line, mark in zip(lines, kinds, strict=True) if mark == best), default=0)
        found: list[_Name] = []
        for line, names, mark in zip(lines, whole, kinds, strict=True):
            if names:
                found += names
            elif mark == best and not best:
                found += self._bare(line)
            elif mark == best and (mark == "number" or _indent(line) <= depth + 1):  # else remarks on an entry
                found += self._entry(line, sure=mark == "number")
        return found

    def _may_name(self, line: str) -> bool:
        """Whether a line is no fence, heading or remark, or a title that looks like one."""
        seen = views(line)
        if any(map(self.titles.exact, seen)):
            return True
        if line.strip(_MARKUP).endswith(":") or line.lstrip().startswith("```"):
            return False
        if _REMARK.match(line) or (line.lstrip().startswith("###") and not MARK.match(line)):
            return any(map(self.titles.whole, seen))
        return bool(words(line))

    def _alone(self, line: str) -> list[_Name]:
        """The title or the labels that an unmarked line is."""
        if places := self.titles.whole(line):
            return [places]
        return [] if MARK.match(line) else self._labelled(line)

    def _entry(self, segment: str, sure: bool = True) -> list[_Name]:
        """What an entry of a list names; if ``sure``, it names something even when it looks like no title."""
        seen = views(readable(segment))
        for look in (self.titles.exact, self.titles.whole):
            if places := next(filter(None, map(look, seen)), ()):
                return [places]
        last = next((view for view in reversed(seen) if words(view)), "")
        if labels := self._labelled(seen[0] if SEPARATOR.search(seen[0]) else last) or self._because(seen[0]):
            return labels
        text, matches = max(((view, _inside(self.titles, view)) for view in seen), key=lambda pair: len(pair[1]))
        if matches:
            return list(self._in_order(text, matches))
        name = _trimmed(last)
        if places := self.titles.near(last) or self.titles.near(name):
            return [places]
        return [name] if words(name) and (sure or _looks_like_title(last)) else []

    def _bare(self, line: str) -> list[_Name]:
        """What a line of no list names: titles with signs between them, or prose with titles in it."""
        matches = _inside(self.titles, line)
        others = [piece for piece in _pieces(line, matches) if "\0" not in piece and self._is_other(piece)]
        if matches and all(map(_looks_like_title, others)):
            return list(self._in_order(line, matches))
        if prose := self.titles.inside(line, prose=True):
            return [match.places for match in prose]
        if labels := self._because(line) or self._pointed(line):
            return labels
        if places := self.titles.near(line):
            return [places]
        return [] if matches or _REFUSAL.search(line) else list(self._in_order(line, []))

    def _in_order(self, text: str, matches: list[Match]) -> Iterator[_Name]:
        """Titles that were found in a line, and what else stands between its separators like a title."""
        found = iter(matches)
        for piece in _pieces(text, matches):
            yield from (next(found).places for _ in range(piece.count("\0")))
            if "\0" not in piece and self._is_other(piece) and _looks_like_title(piece):
                yield _trimmed(views(piece)[-1])

    def _is_other(self, piece: str) -> bool:
        return bool(words(views(piece)[-1])) and piece.strip() not in self.labels and not _PLACE.fullmatch(piece)

    def _labelled(self, text: str) -> list[_Name]:
        """Labels, if the text has nothing else but words that announce them."""
        said = _SPEECH.sub(" ", text).split()
        if len(words(text)) == 1 and said and said[0] not in self.labels:
            said = [said[0].upper()]
        return [self.labels[word] for word in said] if all(word in self.labels for word in said) else []

    def _because(self, text: str) -> list[_Name]:
        said = _BECAUSE.match(text)
        return [self.labels[said[1]]] if said and said[1] in self.labels else []

    def _pointed(self, text: str) -> list[_Name]:
        return [self.labels[said] for said in _POINTED.findall(text)[:1] if said in self.labels]


class _Entries:
    """The entries of a list as far as it has been read, to tell whether it goes on behind a remark."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        """What stood before each; 0: no number."""
        self.before_remark: int | None = None
        """How many there were when the first remark came."""

    def add(self, mark: re.Match[str] | None) -> None:
        self.numbers.append(_number(mark))

    def remark(self) -> None:
        if self.before_remark is None:
            self.before_remark = len(self.numbers)

    def go_on(self, mark: re.Match[str] | None) -> bool:
        """Whether an entry with this mark is the next one; without numbers, where the first had a remark too."""
        if number := _number(mark):
            return self.numbers[-1:] == [number - 1]
        return self.before_remark == 1 and not self.numbers[-1]


def _number(mark: re.Match[str] | None) -> int:
    digits = re.search(r"\d+", mark[0]) if mark else None
    return int(digits[0]) if digits else 0


def _has_candidate(names: list[_Name]) -> bool:
    return any(isinstance(name, tuple) for name in names)


def _rows(text: str) -> list[str]:
    """Lines, without the heads of a table."""
    lines = text.splitlines()
    heads = {place for place, below in enumerate(lines[1:]) if "|" in below and _RULE.fullmatch(below)}
    return [line for place, line in enumerate(lines) if place not in heads]


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _inside(titles: Titles, text: str) -> list[Match]:
    """Titles in a line, without those that are the list mark of the next one, as in ``L. Heat, M. Alien``."""
    matches = titles.inside(text)
    marks = [
        len(text[one.start : one.end]) <= 3 and re.fullmatch(r"[.):\]][\s*\"'“]+", text[one.end : other.start])
        for one, other in pairwise(matches)
    ]
    return [match for match, mark in zip(matches, [*marks, None], strict=False) if not mark]


def _pieces(text: str, matches: list[Match]) -> list[str]:
    """What stands between separators, with a zero byte for each title that was found."""
    hollow, last = "", 0
    for match in matches:
        hollow += text[last : match.start] + "\0"
        last = match.end
    return SEPARATOR.split(re.sub(r"\0\s*\([^()\0]*\)", "\0", hollow + text[last:]))


def _trimmed(text: str) -> str:
    """An entry without markup and without the remark that follows."""
    bold = re.match(r"\s*(?:\*\*|[\"“])(.+?)(?:\*\*|[\"”])", text)
    return (bold[1] if bold else re.split(r"\s+[-–—]+\s+|:\s+(?=[a-z])", text)[0]).strip(_MARKUP)


def _looks_like_title(text: str) -> bool:
    """Short, and with a capital wherever a title has one; or a slug."""
    text = _trimmed(views(text)[-1])
    listed = re.findall(r"[^\W_][\w'’]*", text)
    if not listed or len(listed) > 12 or text.endswith(":") or "".join(words(text)) in _NO_NAMES:
        return False
    if re.fullmatch(r"\w+(?:-\w+)+", text):
        return True
    return not listed[0][0].islower() and not any(word[0].islower() and len(word) > 3 for word in listed)
