"""A language model in this process, through transformers."""

import time
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, Literal

import torch

from llmrec import loading
from llmrec.backends import Reply, Request
from llmrec.backends._continuations import Continuations
from llmrec.backends._rendering import options_behind, prompt_of, require_room

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

    scores_whole = True
    trial = None

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
        self._loaded: tuple[Any, Any] | None = None

    def identity(self) -> dict[str, Any]:
        """Name of the backend, revision of the model, what reads messages, and how it is held."""
        how = {"precision": self.precision} if self.loading in ("resident", "sharded") else {"loading": self.loading}
        files = loading.find(self.name)
        reading = {"reading": files.reading} if files.reading else {}
        return {"backend": "transformers", "revision": files.revision, **reading, **how}

    def count_tokens(self, request: Request) -> int:
        """Exactly, of the prompt."""
        return len(prompt_of(self._tokenizer, request)[1])

    def answer(self, requests: Sequence[Request]) -> Iterator[tuple[int, Reply]]:
        """Scores options, then writes texts, batches of like length.

        Raises:
            BackendError: a prompt that is longer, with its answer, than the model reads.
            DataError: a prompt with a token that the model has no vector of.
        """
        tokenizer = self._tokenizer
        read = [options_behind(tokenizer, *prompt_of(tokenizer, each), each.options) for each in requests]
        for request, (ids, options) in zip(requests, read, strict=True):
            loading.require_rows(self.name, self._model, tokenizer, chain(ids, *options))
            # Nothing is read behind the last token of an option.
            self._require_room(request, len(ids), max(map(len, options)) - 1 if options else request.max_new_tokens)
        yield from self._score(read, [place for place, each in enumerate(requests) if each.options])
        prompts = [ids for ids, _ in read]
        yield from self._write(requests, prompts, [place for place, each in enumerate(requests) if not each.options])

    def _score(self, read: list[tuple[list[int], list[list[int]]]], places: list[int]) -> Iterator[tuple[int, Reply]]:
        mine = [read[place] for place in places]
        scorer, started = Continuations(self._model, self.batch_tokens), time.perf_counter()
        for number, values in scorer.score([ids for ids, _ in mine], [texts for _, texts in mine]):
            ids, texts = mine[number]
            now = time.perf_counter()
            tokens = tuple(map(len, texts))
            yield places[number], Reply("", tuple(values), tokens, len(ids), 0, now - started)
            started = now

    def _write(
        self, requests: Sequence[Request], prompts: list[list[int]], places: list[int]
    ) -> Iterator[tuple[int, Reply]]:
        for batch in self._batches(places, [len(ids) for ids in prompts], requests):
            started = time.perf_counter()
            answers = self._generate([prompts[place] for place in batch], requests[batch[0]].max_new_tokens)
            seconds = (time.perf_counter() - started) / len(batch)
            for place, (ids, stopped) in zip(batch, answers, strict=True):
                text = self._tokenizer.decode(ids, skip_special_tokens=True)
                ended: Literal["stop", "length"] = "stop" if stopped else "length"
                yield place, Reply(text, (), (), len(prompts[place]), len(ids), seconds, ended)

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
        ends = self._ends()
        written = model.generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=max_new_tokens,
            pad_token_id=padding,
            eos_token_id=ends or None,
        )
        return [_until(row, ends) for row in written[:, width:].tolist()]

    def _ends(self) -> list[int]:
        own = self._model.generation_config.eos_token_id
        ends = own if isinstance(own, list) else [] if own is None else [own]
        end = self._tokenizer.eos_token_id
        return list(dict.fromkeys([*ends, *([] if end is None else [end])]))

    def _require_room(self, request: Request, tokens: int, answer: int) -> None:
        room = getattr(self._model.config.get_text_config(decoder=True), "max_position_embeddings", None)
        require_room(self.name, room, request, tokens, answer)

    @property
    def _model(self) -> Any:
        return self.loaded()[0]

    @property
    def _tokenizer(self) -> Any:
        return self.loaded()[1]

    def loaded(self) -> tuple[Any, Any]:
        """The model and its tokenizer, loaded when they are first needed."""
        if self._loaded is None:
            from transformers import GenerationConfig

            files = loading.find(self.name)
            model, tokenizer = loading.load_writer(files, self.precision, self.loading)
            # A model's own settings may sample, or punish what was said before, which the padding of a batch takes part
            # in: an answer would be another one every time, or in every company.
            model.generation_config = GenerationConfig(eos_token_id=model.generation_config.eos_token_id)
            self._loaded = model.eval(), tokenizer
        return self._loaded


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
