"""Prompt files: a short YAML head and Jinja2 blocks, rendered in a sandbox; a missing field is an error.

A prompt's kind is its folder, and its kind says which blocks it has: ``items/`` has ``text``, ``p5/`` has ``input`` and
``target``, ``zeroshot/`` has ``system``, ``user`` and ``answer``, ``instructions/`` has ``prompt``. An item prompt
knows ``item``, one row of the item table; one for instructions ``instruction`` and ``input``, the texts of a row of an
instruction file. The others know ``user`` (a row), ``history`` and ``candidates`` (lists of item rows, oldest first),
and of the event asked for ``item`` and ``interaction`` (rating, review, summary ...); P5's also ``following``, the item
asked for and those after it. What the input may not show is what the target is made of: no ``item`` and no
``interaction`` where the item is to be found, else not the very field, and never what is ``following``.
"""

import hashlib
import re
import traceback
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml
from jinja2 import StrictUndefined, Template, TemplateError, TemplateSyntaxError, pass_context
from jinja2.filters import FILTERS
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from llmrec.components import explain
from llmrec.errors import DataError, PromptError, nearest
from llmrec.interactions import Dataset
from llmrec.markup import plain
from llmrec.prompt_fields import ANSWERS, SECTIONS, Anatomy, anatomy
from llmrec.prompt_rows import columns, item_rows

_PACKAGE = Path(__file__).parent
UNTITLED = ("items/title_or_untitled", "items/described_or_untitled")
"""Item prompts that give every item a text."""
_FILE = re.compile(r"---\n(.*?)^---\n(.*)\Z", re.DOTALL | re.MULTILINE)


def clean(value: Any) -> str:
    """Text without HTML, see :func:`llmrec.markup.plain`; in templates a filter.

    A list becomes its parts with blanks between, nothing becomes an empty text.
    """
    return plain(" ".join(map(str, value)) if isinstance(value, list) else str(value or ""))


@pass_context
def _map(context: Context, rows: Any, *arguments: Any, **more: Any) -> Any:
    """Jinja2's ``map``; of a field of all rows, what P5's prompts are full of, many times as fast."""
    field = more.get("attribute")
    if not arguments and len(more) == 1 and isinstance(field, str) and isinstance(rows, list):
        with suppress(LookupError, TypeError):  # what has no such field is left to Jinja2 to complain of
            return [row[field] for row in rows]
    return FILTERS["map"](context, rows, *arguments, **more)


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, autoescape=False, finalize=lambda value: "" if value is None else value
    )
    environment.globals.clear()  # a prompt knows rows and nothing else
    environment.filters |= {"clean": clean, "map": _map}
    del environment.filters["random"]  # a case's prompt is the same every time
    return environment


_ENVIRONMENT = _environment()


class Head(BaseModel):
    """The options of a prompt file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    description: str = ""
    """One sentence for ``llmrec prompts list``."""
    task: Literal["item", "rating", "choice", "text"] = "item"
    """Of a P5 prompt, what the target is: an item's name, stars, one of two words, or a text."""
    words: tuple[str, str] = ("yes", "no")
    """Of a choice, what may be answered; the first says that the thing holds."""
    unseen: bool = False
    """A P5 prompt that training never uses: it shows what a model makes of new words."""
    candidates: int = Field(100, ge=1)
    """How many candidates a P5 prompt shows, if it shows any."""
    max_chars: int | None = Field(None, ge=1)
    """The longest input, or text of an item; ``llmrec prompts check`` refuses a longer one, for it would be cut."""

    @field_validator("words", mode="before")
    @classmethod
    def _quoted(cls, value: Any) -> Any:
        if isinstance(value, list) and any(isinstance(each, bool) for each in value):
            raise ValueError('YAML reads yes and no as truth values; write ["yes", "no"]')
        return value


@dataclass(frozen=True)
class Prompt:
    """One prompt file, parsed and checked as far as that goes without data.

    ``name`` is its path below ``prompts/`` without the ending, ``source`` the whole text.
    """

    name: str
    head: Head
    source: str
    body: str = field(repr=False)
    template: Template = field(repr=False)
    anatomy: Anatomy = field(repr=False)

    @classmethod
    def load(cls, name: str, places: Mapping[str, list[Path]] | None = None) -> "Prompt":
        """Reads ``prompts/<name>.jinja`` from the first of :func:`folders` that has it.

        Args:
            name: such as ``p5/sequential/next_item``.
            places: what :func:`found` gives, for who loads many; None: it is asked.

        Raises:
            PromptError: no such file, or one that :meth:`parse` refuses.
        """
        places = found() if places is None else places
        if name not in places:
            raise PromptError(f"no prompt {name!r}{nearest(name, places)}")
        path = places[name][0]
        try:
            source = path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise PromptError(f"{path} is not UTF-8: {error}") from None
        return cls.parse(name, source)

    @classmethod
    @cache
    def parse(cls, name: str, source: str) -> "Prompt":
        """Splits head and body and looks at every block; the same text is looked at once.

        Raises:
            PromptError: no YAML head, an option that does not exist, a body that Jinja2 cannot parse, a block or
                variable that the kind does not have, or an input that shows what its target is made of.
        """
        kind, slash, _ = name.partition("/")
        if kind not in SECTIONS or not slash:
            raise PromptError(f"prompt {name!r} must lie in one of the folders of the kinds{nearest(kind, SECTIONS)}")
        parts = _FILE.match(source)
        if not parts:
            raise PromptError(f"prompt {name!r} must begin with a YAML head between two lines of '---'")
        head = _head(name, parts[1])
        body = "\n" * source[: parts.start(2)].count("\n") + parts[2]  # lines count as in the file
        try:
            looked_at = anatomy(kind, _ENVIRONMENT.parse(body))
            template = _ENVIRONMENT.from_string(body)
        except TemplateSyntaxError as error:
            raise PromptError(f"prompt {name!r}: line {error.lineno}: {error.message}") from None
        _raise_all(name, looked_at.faults)
        return cls(name, head, source, parts[2], template, looked_at)

    @property
    def kind(self) -> str:
        """``instructions``, ``items``, ``p5`` or ``zeroshot``."""
        return self.name.partition("/")[0]

    @property
    def hash(self) -> str:
        """Eight hexadecimal digits over the whole text: a model knows the words that it was trained with."""
        return hashlib.sha256(self.source.encode()).hexdigest()[:8]

    @property
    def answer(self) -> str | None:
        """The block that says what the model is to answer; prompts for items and instructions have none."""
        return next((block for block in SECTIONS[self.kind] if block in ANSWERS), None)

    def check_fields(self, known: Mapping[str, list[str]]) -> None:
        """Compares the fields of every branch with the columns of the data.

        Raises:
            PromptError: a field that no row has, with the nearest one and all there are.
        """
        _raise_all(self.name, self.anatomy.unknown_fields(known))

    def render(self, block: str, **variables: Any) -> str:
        """Renders one block, without outer blanks.

        Raises:
            PromptError: the block is not there, a field that the row does not have, or an expression that fails.
        """
        return self.rendered((block,), variables)[0]

    def rendered(self, blocks: Sequence[str], variables: Mapping[str, Any]) -> list[str]:
        """Renders several blocks, as :meth:`render` does one."""
        if wrong := [block for block in blocks if block not in self.template.blocks]:
            raise PromptError(
                f"prompt {self.name!r} has no block {wrong[0]!r}{nearest(wrong[0], self.template.blocks)}"
            )
        try:
            # Shared: there are no globals to be put between.
            context = self.template.new_context(dict(variables), shared=True)
            return ["".join(self.template.blocks[block](context)).strip() for block in blocks]
        except (TemplateError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            fields = {key: sorted(value) for key, value in variables.items() if isinstance(value, dict)}
            raise PromptError(f"prompt {self.name!r}: {self._line(error)}{error}; fields: {fields}") from None

    def _line(self, error: BaseException) -> str:
        """Where in the file rendering failed."""
        frames = traceback.walk_tb(error.__traceback__)
        lines = [number for frame, number in frames if frame.f_code.co_filename == "<template>"]
        return f"line {self.template.get_corresponding_lineno(lines[-1])}: " if lines else ""

    def given(self, **variables: Any) -> str:
        """All that the model is shown: the blocks before the answer, with a line break between."""
        blocks = [block for block in SECTIONS[self.kind] if block not in ANSWERS]
        return "\n".join(self.render(block, **variables) for block in blocks)


def folders() -> list[Path]:
    """Where prompts are looked for: the working folder's, the installed package's, the repository's."""
    places: dict[Path, Path] = {}
    for folder in (Path("prompts"), _PACKAGE / "prompts", _PACKAGE.parent / "prompts"):
        if folder.is_dir():
            places.setdefault(folder.resolve(), folder)
    return list(places.values())


def found() -> dict[str, list[Path]]:
    """The files of every prompt by its name; the first one is used, it shadows the rest."""
    places: dict[str, list[Path]] = {}
    for folder in folders():
        for path in sorted(folder.rglob("*.jinja")):
            places.setdefault(path.relative_to(folder).with_suffix("").as_posix(), []).append(path)
    return dict(sorted(places.items()))


def item_texts(dataset: Dataset, prompt: Prompt, *, required: bool = True) -> list[str]:
    """The text of every item, by index; entry 0 (padding) is empty.

    Args:
        dataset: with the item table.
        prompt: that writes the text.
        required: whether all items must have one; otherwise those that have none are empty.

    Raises:
        PromptError: a prompt of another kind, or a field that the item table does not have.
        DataError: items whose text is empty: a vector of nothing would be made up.
    """
    prompt.check_fields(columns(dataset))
    rows = item_rows(dataset)
    texts = [prompt.render("text", item=row) for row in rows]
    empty = [row["item_id"] for row, text in zip(rows, texts, strict=True) if not text]
    if empty and required:
        some = f" or, for a few, one that calls them Untitled ({', '.join(UNTITLED)})" if any(texts) else ""
        raise DataError(
            f"{dataset.name}: prompt {prompt.name!r} gives no text for {len(empty)} items, such as {empty[:3]}; fill "
            f"the field in the item table, use a prompt with other fields{some}, or train with --model id"
        )
    return ["", *texts]


def fallbacks(dataset: Dataset, prompt: Prompt) -> dict[str, int]:
    """How many items take a later field of an ``item.a or item.b``: ``{"description for want of a title": 3}``."""
    chains = {tuple(dict.fromkeys(str(use.field) for use in place)) for place in prompt.anatomy.alternatives()}
    counts: Counter[str] = Counter()
    for row in item_rows(dataset) if any(len(chain) > 1 for chain in chains) else ():
        for chain in chains:
            used = next((name for name in chain if clean(row[name])), chain[0])
            if used != chain[0]:
                counts[f"{used} for want of a {chain[0]}"] += 1
    return dict(sorted(counts.items()))


def _head(name: str, text: str) -> Head:
    try:
        options = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise PromptError(f"prompt {name!r}: the head is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(options, dict):
        raise PromptError(f"prompt {name!r}: the head must hold options by name, holds {options!r}")
    _raise_all(
        name,
        [
            f"no option {key!r} in the head{nearest(str(key), Head.model_fields)}"
            for key in options
            if key not in Head.model_fields
        ],
    )
    try:
        return Head(**options)
    except ValidationError as error:
        raise PromptError(f"prompt {name!r}: head: {explain(error)}") from None


def _raise_all(name: str, faults: list[str] | tuple[str, ...]) -> None:
    if faults:
        raise PromptError(f"prompt {name!r}: {'; '.join(faults)}", faults)
