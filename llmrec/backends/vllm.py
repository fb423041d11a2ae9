"""A language model in this process, through vLLM."""

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

from llmrec import loading
from llmrec.backends import Reply, Request
from llmrec.backends._rendering import options_behind, prompt_of, require_room
from llmrec.errors import BackendError, ConfigError, DataError
from llmrec.loading.skeleton import where

_BATCH = 256
"""Requests whose answers are handed out together."""
_SETTINGS = {
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",  # what the command prints may be JSON
    "VLLM_NO_USAGE_STATS": "1",  # else it reports its use to its makers
}
"""Of vLLM, as long as the user has not set them."""


@dataclass(frozen=True, eq=False)
class _Question:
    """A request, the tokens of its prompt and of each of its options; one is equal to itself alone."""

    request: Request
    ids: list[int]
    options: list[list[int]]

    @property
    def answer(self) -> int:
        """How many tokens may follow the prompt; vLLM writes at least one behind all that it reads."""
        if not self.request.options:
            return self.request.max_new_tokens
        longest = max(map(len, self.options))
        return longest + 1 if longest > 1 else 1


class Vllm:
    """Answers greedily, many requests at a time. Needs vLLM, which the extra ``vllm`` or ``make vllm`` installs.

    A text is the likeliest token each time, and still another run may say something else: how many requests run
    together decides in which order sums are rounded, and where two tokens are almost as likely that turns the text.
    Log-likelihoods vary in their last digits for the same reason.

    Messages become text as with the backend ``transformers``. An option of one token is looked up among the likeliest
    ones that can follow the prompt, and asked for by itself where it is not among them; a longer option is read behind
    the prompt. On a CPU the environment variable ``VLLM_CPU_KVCACHE_SPACE`` says how many GiB hold keys and values.

    Args:
        dtype: of weights and activations; ``auto``: the model's own, and 16 bits where that is fp32. On a CPU without
            instructions for bfloat16 take ``float32``; anything else takes minutes for an answer.
        max_model_len: tokens of a prompt and its answer; no more than the model reads. Memory is set aside for them.
        max_logprobs: of how many likeliest tokens vLLM tells the log-likelihood at once.
    """

    scores_whole = True
    trial = None

    def __init__(
        self,
        model: str,
        *,
        dtype: Literal["auto", "bfloat16", "float32"] = "auto",
        max_model_len: int = 2048,
        max_logprobs: int = 20,
    ) -> None:
        if max_model_len < 2:
            raise ValueError(f"max_model_len must be at least 2, came {max_model_len}")
        if max_logprobs < 1:
            raise ValueError(f"max_logprobs must be at least 1, came {max_logprobs}")
        self.name, self.dtype = model, dtype
        self.max_model_len, self.max_logprobs = max_model_len, max_logprobs

    def identity(self) -> dict[str, Any]:
        """Name of the backend, revision of the model, how it is held, and vLLM's version."""
        version = str(_vllm().__version__)
        files = {"revision": self._files.revision, "reading": self._files.reading}
        return {"backend": "vllm", **files, "dtype": self.dtype, "version": version}

    def count_tokens(self, request: Request) -> int:
        """Exactly, of the prompt."""
        return len(prompt_of(self._tokenizer, request)[1])

    def answer(self, requests: Sequence[Request]) -> Iterator[tuple[int, Reply]]:
        """The answers in order, a batch of requests at a time.

        Raises:
            BackendError: a prompt that is longer, with its answer, than the model reads, or a model that vLLM cannot
                run.
            ConfigError: vLLM is not installed.
        """
        questions = [self._question(request) for request in requests]
        for question in questions:
            require_room(self.name, self._room, question.request, len(question.ids), question.answer)
        for start in range(0, len(questions), _BATCH):
            batch = questions[start : start + _BATCH]
            _ = self._model  # that it loads is no part of the time of an answer
            started = time.perf_counter()
            replies = self._score([each for each in batch if each.options])
            replies |= self._write([each for each in batch if not each.options])
            seconds = (time.perf_counter() - started) / len(batch)
            for place, question in enumerate(batch, start):
                yield place, replace(replies[question], seconds=seconds)

    def _question(self, request: Request) -> _Question:
        text, ids = prompt_of(self._tokenizer, request)
        if not request.options:
            return _Question(request, ids, [])
        return _Question(request, *options_behind(self._tokenizer, text, ids, request.options))

    def _write(self, questions: list[_Question]) -> dict[_Question, Reply]:
        """Texts that the model says."""
        end = self._tokenizer.eos_token_id
        stops = [] if end is None else [end]  # besides those that the model's own settings name
        asked = [(each.ids, {"max_tokens": each.request.max_new_tokens, "stop_token_ids": stops}) for each in questions]
        replies = {}
        for question, output in zip(questions, self._ask(asked), strict=True):
            written = output.outputs[0]
            stopped = written.finish_reason == "stop"
            ids = list(written.token_ids)[: -1 if stopped else None]  # without the token that ends it
            text = self._tokenizer.decode(ids, skip_special_tokens=True)
            ended: Literal["stop", "length"] = "stop" if stopped else "length"
            replies[question] = Reply(text, (), (), len(question.ids), len(ids), ended=ended)
        return replies

    def _score(self, questions: list[_Question]) -> dict[_Question, Reply]:
        """How likely options are."""
        short = [each for each in questions if any(len(tokens) == 1 for tokens in each.options)]
        found = {each: self._likeliest(output) for each, output in zip(short, self._tops(short), strict=True)}
        missing = [
            (question, tokens)
            for question in questions
            for tokens in question.options
            if tuple(tokens) not in found.setdefault(question, {})
        ]
        outputs = self._ask([_alone(question.ids, tokens) for question, tokens in missing])
        for (question, tokens), output in zip(missing, outputs, strict=True):
            found[question][tuple(tokens)] = _told(output, tokens)
        return {each: _reply(each, found[each]) for each in questions}

    def _tops(self, questions: list[_Question]) -> list[Any]:
        return self._ask([(each.ids, {"max_tokens": 1, "logprobs": self.max_logprobs}) for each in questions])

    @staticmethod
    def _likeliest(output: Any) -> dict[tuple[int, ...], float]:
        return {(token,): each.logprob for token, each in output.outputs[0].logprobs[0].items()}

    def _ask(self, asked: list[tuple[list[int], dict[str, Any]]]) -> list[Any]:
        """What vLLM puts out for prompts and their sampling parameters, in order."""
        if not asked:
            return []
        vllm, model = _vllm(), self._model
        prompts = [{"prompt_token_ids": ids} for ids, _ in asked]
        # Texts are decoded here, as the other backend does it.
        how = [vllm.SamplingParams(temperature=0.0, detokenize=False, **options) for _, options in asked]
        try:
            return list(model.generate(prompts, how, use_tqdm=False))
        except Exception as error:  # of the engine's process, in more ways than can be listed
            raise BackendError(f"{self.name}: vllm failed: {type(error).__name__}: {error}") from error

    @cached_property
    def _files(self) -> loading.ModelFiles:
        files = loading.find(self.name)
        if files.path.is_file():
            raise ConfigError(
                f"{self.name} is the file {files.path.name}, and vllm reads a folder of safetensors: name one with "
                "--model, or take --backend transformers"
            )
        return files

    @property
    def _tokenizer(self) -> Any:
        return self._read[0]

    @property
    def _room(self) -> int:
        """Tokens that are read at most; vLLM refuses to start with more than the model has positions for."""
        positions = getattr(self._read[1].get_text_config(decoder=True), "max_position_embeddings", None)
        return min(self.max_model_len, positions or self.max_model_len)

    @cached_property
    def _read(self) -> tuple[Any, Any]:
        """Tokenizer and config, for which vLLM need not start."""
        from transformers import AutoConfig, AutoTokenizer

        options = where(self._files)
        try:
            return AutoTokenizer.from_pretrained(**options), AutoConfig.from_pretrained(**options)
        except Exception as error:  # readers of foreign files fail in more ways than can be listed
            path = self._files.path
            raise DataError(f"{path} cannot be read as a model: {type(error).__name__}: {error}") from error

    @cached_property
    def _model(self) -> Any:
        vllm, files = _vllm(), self._files
        from vllm.platforms import current_platform

        try:
            return vllm.LLM(
                model=str(files.path),
                dtype=self.dtype,
                max_model_len=self._room,
                max_logprobs=self.max_logprobs,
                logprobs_mode="raw_logprobs",  # those of all tokens, though only some be allowed
                enforce_eager=current_platform.is_cpu(),  # where compiling takes minutes
                trust_remote_code=False,
                use_tqdm_on_load=False,
            )
        except Exception as error:  # it fails in more ways than can be listed
            raise BackendError(
                f"vllm cannot run {files.path}: {type(error).__name__}: {error}. If it is for want of memory: a lower "
                "backend.max_model_len, and on a CPU the GiB for keys and values in VLLM_CPU_KVCACHE_SPACE"
            ) from error


def _vllm() -> Any:
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        import vllm
    except ImportError as error:
        raise ConfigError(
            f"the backend vllm needs vLLM, which is not installed ({error}): pip install 'llmrec[vllm]' with a GPU, "
            "make vllm without one; or take --backend transformers"
        ) from error
    return vllm


def _alone(ids: list[int], tokens: list[int]) -> tuple[list[int], dict[str, Any]]:
    """A prompt and the sampling parameters that tell the log-likelihood of one option."""
    if len(tokens) == 1:
        return ids, {"max_tokens": 1, "logprobs": 0, "allowed_token_ids": tokens}
    return ids + tokens, {"max_tokens": 1, "prompt_logprobs": 0}


def _told(output: Any, tokens: list[int]) -> float:
    places = output.outputs[0].logprobs if len(tokens) == 1 else output.prompt_logprobs[-len(tokens) :]
    return float(sum(place[token].logprob for place, token in zip(places, tokens, strict=True)))


def _reply(question: _Question, found: dict[tuple[int, ...], float]) -> Reply:
    values = tuple(found[tuple(tokens)] for tokens in question.options)
    return Reply("", values, tuple(map(len, question.options)), len(question.ids))
