"""Prompts for people: what there is, and what a model would get for a real user."""

import shutil
import textwrap
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from llmrec.errors import DataError, PromptError
from llmrec.interactions import Dataset
from llmrec.prompt_check import ITEM_PROMPT, cut, rows_for
from llmrec.prompt_fields import SECTIONS
from llmrec.prompt_rows import HISTORY, columns
from llmrec.prompting import Prompt, found
from llmrec.splits import Split

CANDIDATES = 5
"""Candidates in a shown prompt: enough to see how they are written."""


def listing() -> str:
    """One paragraph per prompt: name, kind, description, file, and the files that this one shadows."""
    return "\n".join(_entry(name, paths) for name, paths in found().items())


def _entry(name: str, paths: list[Path]) -> str:
    try:
        prompt = Prompt.load(name)
        kind, says = prompt.kind, prompt.head.description
    except PromptError as error:
        kind, says = "damaged", str(error)
    shadowed = f" (shadows {', '.join(map(str, paths[1:]))})" if paths[1:] else ""
    width = shutil.get_terminal_size().columns
    said = textwrap.fill(says, width, initial_indent="  ", subsequent_indent="  ", break_long_words=False)
    return f"{name}  [{kind}]\n{said}\n  {paths[0]}{shadowed}"


def rendered(name: str, dataset: Dataset, split: str, user: str | None) -> dict[str, Any]:
    """Renders a prompt for the test target of a user.

    Args:
        name: of the prompt.
        dataset: that the user is in.
        split: name of the split that says what is history and what is target.
        user: user id; None takes the first one with a case.

    Returns:
        ``prompt``, the ids ``user``, ``history``, ``target``, ``candidates``, of a zero-shot prompt how ``items`` are
        called in it, and ``sections`` by block. An item prompt is rendered for the target.

    Raises:
        PromptError: no such prompt, one that no log fills, or a field that the data does not have.
        DataError: no such user, or one without a case.
    """
    prompt = Prompt.load(name)
    if prompt.kind == "instructions":
        raise PromptError(f"prompt {name!r} is filled by an instruction file (llmrec.instructions), not by a log")
    prompt.check_fields(columns(dataset))
    parts = cut(dataset, split)
    row, (rows, otherwise) = _case_of(parts, user), rows_for(prompt.kind, parts.dataset)
    candidates = rows.draw_candidates(parts.test, row, min(CANDIDATES, prompt.head.candidates), seed=0)
    variables = rows.variables(parts.test, row, candidates, HISTORY if prompt.kind == "zeroshot" else None)
    return {
        "prompt": name,
        "user": variables["user"]["user_id"],
        "history": [item["item_id"] for item in variables["history"]],
        "target": variables["item"]["item_id"],
        "candidates": [item["item_id"] for item in variables["candidates"]],
        **({"items": otherwise or f"items are shown by {ITEM_PROMPT}"} if prompt.kind == "zeroshot" else {}),
        "sections": {block: prompt.render(block, **variables) for block in SECTIONS[prompt.kind]},
    }


def folded(shown: dict[str, Any]) -> str:
    """What :func:`rendered` gives, for a terminal: long lines broken, whole words kept."""
    width = shutil.get_terminal_size().columns
    head = (
        f"{shown['prompt']} for user {shown['user']}: {len(shown['history'])} in the history, target {shown['target']}"
    )
    sections = [
        "\n".join([f"[{block}]", *(textwrap.fill(line, width, break_long_words=False) for line in text.splitlines())])
        for block, text in shown["sections"].items()
    ]
    called = [textwrap.fill(shown["items"], width)] if "items" in shown else []
    return "\n\n".join(["\n".join([head, *called]), *sections])


def _case_of(split: Split, user: str | None) -> int:
    ids = split.dataset.user_ids
    if user is None:
        return 0
    if user not in ids[1:]:
        close = get_close_matches(user, ids[1:], n=3) or ids[1:4].tolist()
        raise DataError(
            f"{split.dataset.name} has no user {user!r}; there are {', '.join(map(repr, close))}, for example"
        )
    rows = np.flatnonzero(ids[split.test.user] == user)
    if not len(rows):
        why = split.without_case.filter(user_id=user)["reason"].to_list() or ["no target in the test part"]
        raise DataError(f"user {user!r} cannot be asked about: {why[0]}")
    return int(rows[0])
