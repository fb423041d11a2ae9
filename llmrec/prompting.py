"""Prompt files: a short YAML head and Jinja2 blocks, rendered in a sandbox; a missing field is an error.

An item prompt has one block, ``text``, and knows one variable, ``item``, with the columns of the item table.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from jinja2 import StrictUndefined, Template, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from llmrec.errors import DataError, PromptError, nearest
from llmrec.interactions import Dataset

_PACKAGE = Path(__file__).parent
_ENVIRONMENT = ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False, keep_trailing_newline=False)


def folders() -> list[Path]:
    """Where prompts are looked for: the working folder's, the installed package's, the repository's."""
    return [
        folder for folder in (Path("prompts"), _PACKAGE / "prompts", _PACKAGE.parent / "prompts") if folder.is_dir()
    ]


@dataclass(frozen=True)
class Prompt:
    """One prompt file, parsed.

    ``name`` is its path below ``prompts/`` without the ending, ``head`` its YAML, ``source`` the whole text.
    """

    name: str
    head: dict[str, Any]
    source: str
    template: Template

    @classmethod
    def load(cls, name: str) -> "Prompt":
        """Reads ``prompts/<name>.jinja``.

        Raises:
            PromptError: no such file, no YAML head, or a body that Jinja2 cannot parse.
        """
        for folder in folders():
            path = folder / f"{name}.jinja"
            if path.is_file():
                try:
                    return cls.parse(name, path.read_text(encoding="utf-8"))
                except UnicodeDecodeError as error:
                    raise PromptError(f"{path} is not UTF-8: {error}") from None
        have = {
            str(path.relative_to(folder).with_suffix("")) for folder in folders() for path in folder.rglob("*.jinja")
        }
        raise PromptError(f"no prompt {name!r}{nearest(name, have)}")

    @classmethod
    def parse(cls, name: str, source: str) -> "Prompt":
        """Splits head and body; see :meth:`load`."""
        parts = source.split("---\n", 2)
        if len(parts) != 3 or parts[0].strip():
            raise PromptError(f"prompt {name!r} must begin with a YAML head between two lines of '---'")
        try:
            head = yaml.safe_load(parts[1]) or {}
            template = _ENVIRONMENT.from_string(parts[2])
        except (yaml.YAMLError, TemplateError) as error:
            raise PromptError(f"prompt {name!r}: {error}") from None
        if not isinstance(head, dict):
            raise PromptError(f"prompt {name!r}: the head must hold options by name, holds {head!r}")
        return cls(name, head, source, template)

    def render(self, block: str, **variables: Any) -> str:
        """Renders one block, without outer blanks.

        Raises:
            PromptError: the block is not there, or a field that the data does not have.
        """
        if block not in self.template.blocks:
            raise PromptError(f"prompt {self.name!r} has no block {block!r}{nearest(block, self.template.blocks)}")
        try:
            return "".join(self.template.blocks[block](self.template.new_context(variables))).strip()
        except (TemplateError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            fields = {key: sorted(value) for key, value in variables.items() if isinstance(value, dict)}
            raise PromptError(f"prompt {self.name!r}: {error}; fields: {fields}") from None


def item_texts(dataset: Dataset, prompt: Prompt) -> list[str]:
    """The text of every item, by index; entry 0 (padding) is empty.

    Raises:
        DataError: items whose text is empty: a vector of nothing would be made up.
    """
    rows = dataset.items.to_dicts()
    texts = [prompt.render("text", item=row) for row in rows]
    if empty := [row["item_id"] for row, text in zip(rows, texts, strict=True) if not text]:
        raise DataError(
            f"{dataset.name}: prompt {prompt.name!r} gives no text for {len(empty)} items, such as {empty[:3]}; fill "
            "the field in the item table, use a prompt with other fields, or train with --model id"
        )
    return ["", *texts]
