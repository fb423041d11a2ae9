"""A language model in this process, through transformers."""

import time
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import torch

from llmrec import loading
from llmrec.backends import Reply, Request
from llmrec.backends._continuations import Continuations, common
from llmrec.errors import BackendError

_FASTER = 1.3
"""How much faster products must be in bf16 to be worth its rounding."""


class Transformers:
    """Answers greedily: what a model says is the same every time.

    Messages go through the tokenizer's chat template; a model without one gets them as plain text that ends with
    ``Answer:``. Where the template knows no system message, it stands before the first question.

    Args:
        precision: of weights and activations; ``auto``: bf16 where this machine multiplies it faster, else fp32.
        loading: how the model gets into memory: ``resident``, ``sharded``, ``8bit`` or ``4bit``.
        batch_tokens: padded tokens of prompts that pass the model at a time.
    """

    def __init__(
        self,
        model: str,
        *,
        precision: Literal["auto", "fp32", "bf16"] = "auto",
        loading: Literal["resident", "sharded", "8bit", "4bit"] = "resident",
        batch_tokens: int = 4096,
    ) -> None:
        if batch_tokens < 1:
            raise ValueError(f"batch_tokens must be at least 1, came {batch_tokens}")
        self.precision = precision if precision != "auto" else _quicker()
        self.name, self.loading, self.batch_tokens = model, loading, batch_tokens
        self._loaded: tuple[Any, Any, str] | None = None

    def identity(self) -> dict[str, Any]:
        """Name of the backend, revision of the model, and how it is held."""
        how = {"precision": self.precision} if self.loading in ("resident", "sharded") else {"loading": self.loading}
        return {"backend": "transformers", "revision": loading.find(self.name).revision, **how}

    def scores_options(self) -> bool:
        """Always."""
        return True

    def count_tokens(self, request: Request) -> int:
        """Exactly, of the prompt."""
        return len(self._prompt(request)[1])

    def answer(self, requests: Sequence[Request]) -> Iterator[tuple[int, Reply]]:
        """Scores options, then writes texts, batches of like length.

        Raises:
            BackendError: a prompt that is longer, with its answer, than the model reads.
        """
        prompts = [self._prompt(request) for request in requests]
        for request, (_, ids) in zip(requests, prompts, strict=True):
            self._require_room(request, len(ids))
        scored = [place for place, request in enumerate(requests) if request.options]
        yield from self._score(requests, prompts, scored)
        yield from self._write(requests, prompts, [place for place, each in enumerate(requests) if not each.options])

    def _score(
        self, requests: Sequence[Request], prompts: list[tuple[str, list[int]]], places: list[int]
    ) -> Iterator[tuple[int, Reply]]:
        options = [self._options(*prompts[place], requests[place].options) for place in places]
        scorer, started = Continuations(self._model, self.batch_tokens), time.perf_counter()
        for number, values in scorer.score([ids for ids, _ in options], [texts for _, texts in options]):
            ids, texts = options[number]
            now = time.perf_counter()
            tokens = tuple(map(len, texts))
            yield places[number], Reply("", tuple(values), tokens, len(ids), 0, now - started)
            started = now

    def _write(
        self, requests: Sequence[Request], prompts: list[tuple[str, list[int]]], places: list[int]
    ) -> Iterator[tuple[int, Reply]]:
        for batch in self._batches(places, [len(ids) for _, ids in prompts], requests):
            started = time.perf_counter()
            answers = self._generate([prompts[place][1] for place in batch], requests[batch[0]].max_new_tokens)
            seconds = (time.perf_counter() - started) / len(batch)
            for place, (ids, stopped) in zip(batch, answers, strict=True):
                text = self._tokenizer.decode(ids, skip_special_tokens=True)
                ended: Literal["stop", "length"] = "stop" if stopped else "length"
                yield place, Reply(text, (), (), len(prompts[place][1]), len(ids), seconds, ended)

    def _batches(self, places: list[int], lengths: list[int], requests: Sequence[Request]) -> Iterator[list[int]]:
        """Places of like length and with answers of one length."""
        batch: list[int] = []
        for place in sorted(places, key=lambda place: (requests[place].max_new_tokens, lengths[place])):
            full = (len(batch) + 1) * lengths[place] > self.batch_tokens
            if batch and (full or requests[place].max_new_tokens != requests[batch[0]].max_new_tokens):
                yield batch
                batch = []
            batch.append(place)
        if batch:
            yield batch

    @torch.inference_mode()
    def _generate(self, prompts: list[list[int]], max_new_tokens: int) -> list[tuple[list[int], bool]]:
        """Token ids of each answer, and whether the model ended it by itself."""
        model, width = self._model, max(map(len, prompts))
        padding = self._tokenizer.pad_token_id
        ids = torch.tensor([[padding] * (width - len(text)) + text for text in prompts], device=model.device)
        mask = torch.tensor([[0] * (width - len(text)) + [1] * len(text) for text in prompts], device=model.device)
        # A model's own settings may sample, which makes an answer another one every time.
        plain = {"do_sample": False, "num_beams": 1, "temperature": None, "top_p": None, "top_k": None}
        ends = self._ends()
        written = model.generate(
            input_ids=ids, attention_mask=mask, max_new_tokens=max_new_tokens, pad_token_id=padding, eos_token_id=ends,
            **plain,
        )  # fmt: skip
        return [_until(row, ends) for row in written[:, width:].tolist()]

    def _ends(self) -> list[int]:
        own = self._model.generation_config.eos_token_id
        ends = own if isinstance(own, list) else [] if own is None else [own]
        return list(dict.fromkeys([*ends, *([self._tokenizer.eos_token_id] if self._tokenizer.eos_token_id else [])]))

    def _prompt(self, request: Request) -> tuple[str, list[int]]:
        """The text that the model reads, and its tokens."""
        tokenizer = self._tokenizer
        if not tokenizer.chat_template:
            text = _plain(request)
            return text, tokenizer(text)["input_ids"]
        text = self._chat(request.messages())
        return text, tokenizer(text, add_special_tokens=False)["input_ids"]

    def _chat(self, messages: list[dict[str, str]]) -> str:
        how = {"tokenize": False, "add_generation_prompt": True, "enable_thinking": False}
        try:
            text: str = self._tokenizer.apply_chat_template(messages, **how)
        except Exception:  # templates refuse in words of their own; without a system message they know most
            if messages[0]["role"] != "system":
                raise
            first = {"role": "user", "content": f"{messages[0]['content']}\n\n{messages[1]['content']}"}
            text = self._tokenizer.apply_chat_template([first, *messages[2:]], **how)
        return text

    def _options(self, text: str, ids: list[int], options: Sequence[str]) -> tuple[list[int], list[list[int]]]:
        """Tokens of a prompt and of what follows it in each option.

        An option is read together with the prompt, since a tokenizer may join the two, and taken from where they part.
        """
        chat = bool(self._tokenizer.chat_template)
        words = [option if chat else f" {option.lstrip()}" for option in options]
        whole = self._tokenizer([text + word for word in words], add_special_tokens=not chat)["input_ids"]
        ends = [row[:-1] if not chat and row[-1] == self._tokenizer.eos_token_id else row for row in whole]
        start = min([len(ids), *(common(ids, row) for row in ends), *(len(row) - 1 for row in ends)])
        return ids[:start], [row[start:] for row in ends]

    def _require_room(self, request: Request, tokens: int) -> None:
        positions = getattr(self._model.config.get_text_config(decoder=True), "max_position_embeddings", None)
        answer = 0 if request.options else request.max_new_tokens
        if positions is not None and tokens + answer > positions:
            raise BackendError(
                f"case {request.case!r}: the prompt has {tokens} tokens and its answer up to {answer}, and {self.name} "
                f"reads {positions}. Nothing is cut: show fewer items (--history) or candidates, or take shorter texts"
            )

    @property
    def _model(self) -> Any:
        return self._load()[0]

    @property
    def _tokenizer(self) -> Any:
        return self._load()[1]

    def _load(self) -> tuple[Any, Any, str]:
        if self._loaded is None:
            files = loading.find(self.name)
            model, tokenizer = loading.load_writer(files, self.precision, self.loading)
            self._loaded = model.eval(), tokenizer, files.revision
        return self._loaded


def _plain(request: Request) -> str:
    turns = [f"{question}\n\nAnswer: {answer}" for question, answer in request.turns]
    system = [request.system] if request.system else []
    return "\n\n".join([*system, *turns, f"{request.user}\n\nAnswer:"])


def _until(ids: list[int], ends: list[int]) -> tuple[list[int], bool]:
    for place, token in enumerate(ids):
        if token in ends:
            return ids[:place], True
    return ids, False


def _quicker(size: int = 256) -> Literal["fp32", "bf16"]:
    """The precision in which this machine multiplies faster, in some milliseconds."""
    if torch.cuda.is_available():
        return "bf16"

    def seconds(dtype: torch.dtype) -> float:
        a, b = torch.ones(size, size, dtype=dtype), torch.ones(size, size, dtype=dtype)
        a @ b
        times = []
        for _ in range(3):
            started = time.perf_counter()
            a @ b
            times.append(time.perf_counter() - started)
        return min(times)

    return "bf16" if seconds(torch.float32) > _FASTER * seconds(torch.bfloat16) else "fp32"
