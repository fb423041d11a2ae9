"""What a model reads: a request as text and tokens, the same for every backend that holds the model itself."""

from collections.abc import Sequence
from typing import Any

from llmrec.backends import Request
from llmrec.backends._continuations import common
from llmrec.errors import BackendError


def prompt_of(tokenizer: Any, request: Request) -> tuple[str, list[int]]:
    """The text that the model reads, and its tokens."""
    if not tokenizer.chat_template:
        text = _plain(request)
        return text, tokenizer(text)["input_ids"]
    text = _chat(tokenizer, request.messages())
    return text, tokenizer(text, add_special_tokens=False)["input_ids"]


def options_behind(
    tokenizer: Any, text: str, ids: list[int], options: Sequence[str]
) -> tuple[list[int], list[list[int]]]:
    """Tokens of a prompt and of what follows it in each option.

    An option is read together with the prompt, since a tokenizer may join the two, and taken from where they part.
    """
    if not options:
        return ids, []
    chat = bool(tokenizer.chat_template)
    words = [option if chat else f" {option.lstrip()}" for option in options]
    whole = tokenizer([text + word for word in words], add_special_tokens=not chat)["input_ids"]
    ends = [row[:-1] if not chat and row[-1] == tokenizer.eos_token_id else row for row in whole]
    start = min([len(ids), *(common(ids, row) for row in ends), *(len(row) - 1 for row in ends)])
    return ids[:start], [row[start:] for row in ends]


def require_room(name: str, room: int | None, request: Request, tokens: int, answer: int) -> None:
    """Refuses a prompt that is longer, with its answer, than the model reads.

    Args:
        name: of the model.
        room: how many tokens it reads; None: nobody knows.
        request: what is asked.
        tokens: of its prompt.
        answer: tokens that may follow.

    Raises:
        BackendError: it is longer; the message names the case.
    """
    if room is not None and tokens + answer > room:
        raise BackendError(
            f"case {request.case!r}: the prompt has {tokens} tokens and its answer up to {answer}, and {name} "
            f"reads {room}. Nothing is cut: show fewer items (--history) or candidates, or take shorter texts"
        )


def _chat(tokenizer: Any, messages: list[dict[str, str]]) -> str:
    how = {"tokenize": False, "add_generation_prompt": True, "enable_thinking": False}
    try:
        text: str = tokenizer.apply_chat_template(messages, **how)
    except Exception:  # templates refuse in words of their own; without a system message they know most
        if messages[0]["role"] != "system":
            raise
        first = {"role": "user", "content": f"{messages[0]['content']}\n\n{messages[1]['content']}"}
        text = tokenizer.apply_chat_template([first, *messages[2:]], **how)
    return text


def _plain(request: Request) -> str:
    turns = [f"{question}\n\nAnswer: {answer}" for question, answer in request.turns]
    system = [request.system] if request.system else []
    return "\n\n".join([*system, *turns, f"{request.user}\n\nAnswer:"])
