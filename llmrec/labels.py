"""Which of two words a decoder answers right behind a prompt, and LoRA from a few answered prompts (TALLRec).

Only the first place behind the prompt counts: words in a title cannot be taken for the answer, nor what a model would
go on to say behind it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from llmrec.errors import ConfigError, DataError
from llmrec.kept_states import KeptStates
from llmrec.loading import LanguageModel, ModelFiles, Progress, additions, load_writer
from llmrec.loading.blocks import StandIns, block_list
from llmrec.loading.resident import Resident
from llmrec.tokens import Tokens, batches_by_length

_NO_LIMIT = 1 << 30
_PART = 128
"""Prompts whose hidden states lie in one file: what is computed when a process is cut off is lost by the file."""


@dataclass(frozen=True)
class Recipe:
    """How additions to the model learn.

    ``epochs``: at most; the best of them is kept. ``rank``: of the products that LoRA (arXiv:2106.09685) puts beside
    every linear layer; they count ``alpha / rank``.
    """

    epochs: int
    learning_rate: float = 1e-3
    batch_size: int = 16
    rank: int = 8
    alpha: int = 16


class LabelModel:
    """A decoder that is asked the same prompts again and again, each alone.

    Where only the last blocks learn, the hidden states that enter them are computed once for every prompt and kept in
    the cache's folder ``top_blocks``; a prompt then costs as much as these blocks, and the model's first.

    Args:
        files: of the model, which is held in fp32.
        prompts: what it is asked, complete to the place of the answer.
        words: the two answers.
        blocks: how many blocks at the end learn; None: all.
        progress: hears of prompts done and all while the states are computed.

    Raises:
        ConfigError: the words begin with the same token, or fewer blocks than two would be left of the model.
        DataError: a prompt that is longer than the model reads; none is cut.
    """

    def __init__(
        self,
        files: ModelFiles,
        prompts: Sequence[str],
        words: tuple[str, str],
        blocks: int | None = None,
        progress: Progress = lambda done, total: None,
    ) -> None:
        self.model, tokenizer = load_writer(files, "fp32")
        self.model.eval().requires_grad_(False)
        tokenizer.padding_side = "right"
        self.prompts, self.words, self.blocks = list(prompts), words, blocks
        language_model = LanguageModel(Resident(self.model), tokenizer, self.model.config, files)
        limit = getattr(self.model.config, "max_position_embeddings", None) or _NO_LIMIT
        self.tokens = Tokens.of(self.prompts, language_model, limit)
        self._require_whole(limit)
        self.pieces = torch.tensor([self._first_pieces(tokenizer, prompt) for prompt in self.prompts])
        self.states: list[KeptStates] = []
        if blocks is not None:
            every = block_list(self.model)[1]
            if not 1 <= blocks < len(every):
                raise ConfigError(f"blocks must be from 1 to {len(every) - 1}, or none for all; came {blocks}")
            for start in range(0, len(self.prompts), _PART):
                progress(start, len(self.prompts))
                part = Tokens.of(self.prompts[start : start + _PART], language_model, limit)
                self.states.append(KeptStates(language_model, part, len(every) - blocks))
            self.standing = StandIns(every, keep=blocks)

    @torch.no_grad()
    def score(self, rows: Sequence[int], progress: Progress = lambda done, total: None) -> Float[np.ndarray, " rows"]:
        """Probability of the first word against the second for some prompts, by their places in ``prompts``.

        Args:
            rows: places of prompts.
            progress: hears of prompts done and all.
        """
        result, done = np.empty(len(rows)), 0
        for batch in batches_by_length(self.tokens.lengths[list(rows)]):
            result[batch] = self._differences([rows[place] for place in batch]).double().sigmoid().cpu().numpy()
            done += len(batch)
            progress(done, len(rows))
        return result

    @torch.no_grad()
    def hidden(self, progress: Progress = lambda done, total: None) -> Float[np.ndarray, "prompts dim"]:
        """What the model writes its answer from: its last hidden state at the place behind every prompt.

        Args:
            progress: hears of prompts done and all.
        """
        result = np.empty((len(self.prompts), self.model.config.hidden_size), dtype=np.float32)
        done = 0
        for batch in batches_by_length(self.tokens.lengths):
            output = self.model.base_model(**self._given(list(batch)), use_cache=False)
            result[batch] = output.last_hidden_state[:, -1].float().cpu().numpy()
            done += len(batch)
            progress(done, len(self.prompts))
        return result

    @contextmanager
    def adapted(self, recipe: Recipe, seed: int) -> Iterator[None]:
        """Puts additions beside the linear layers of the blocks that learn, and takes them away at the end.

        Args:
            recipe: of their learning.
            seed: of the numbers that they begin with.
        """
        from peft import LoraConfig

        config = LoraConfig(
            r=recipe.rank, lora_alpha=recipe.alpha, target_modules="all-linear", bias="none", task_type="CAUSAL_LM"
        )
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            both = additions.adapted(self.model, config)
        try:
            yield
        finally:
            both.unload()

    @property
    def additions(self) -> list[Tensor]:
        """The weights that learn, inside :meth:`adapted`; the model's own do not."""
        return [weight for weight in self.model.parameters() if weight.requires_grad]

    def learn(self, rows: Sequence[int], wanted: Bool[np.ndarray, " rows"], recipe: Recipe, seed: int) -> Iterator[int]:
        """Learns from answered prompts inside :meth:`adapted`; yields the number of epochs done after each.

        The loss is the cross-entropy of the right word's first token against the other's.

        Args:
            rows: places of prompts.
            wanted: which of them are answered by the first word.
            recipe: of learning.
            seed: of the order of the prompts.
        """
        generator = np.random.default_rng(seed)
        optimizer = torch.optim.AdamW(self.additions, lr=recipe.learning_rate)
        targets = torch.tensor(wanted, dtype=torch.float32, device=self.model.device)
        for epoch in range(1, recipe.epochs + 1):
            order = generator.permutation(len(rows))
            for start in range(0, len(rows), recipe.batch_size):
                batch = order[start : start + recipe.batch_size].tolist()
                said = self._differences([rows[place] for place in batch])
                optimizer.zero_grad()
                F.binary_cross_entropy_with_logits(said, targets[batch]).backward()
                optimizer.step()
            yield epoch

    def _differences(self, rows: list[int]) -> Float[Tensor, " batch"]:
        """How much likelier the first word is than the second, in nats."""
        logits: Tensor = self.model(**self._given(rows), logits_to_keep=1, use_cache=False).logits[:, -1].float()
        first, second = logits.gather(1, self.pieces[rows].to(logits.device)).unbind(dim=1)
        return first - second

    def _given(self, rows: list[int]) -> dict[str, Tensor]:
        """What the model is given for some prompts, on its device."""
        device = self.model.device
        lengths = torch.tensor(self.tokens.lengths[rows])
        width = int(lengths.max())
        # Padding goes to the left, so that every answer follows the last place.
        mask = torch.arange(width) >= width - lengths[:, None]
        given: dict[str, Tensor] = {
            "attention_mask": mask.long(),
            "position_ids": (mask.long().cumsum(dim=1) - 1).clamp_min(0),
        }
        if self.blocks is None:
            ids: Any = self.tokens.encoded["input_ids"]
            given["input_ids"] = torch.zeros(mask.shape, dtype=torch.long)
            given["input_ids"][mask] = torch.tensor([token for row in rows for token in ids[row]])
        else:
            hidden = torch.zeros(*mask.shape, self.states[0].width)
            hidden[mask] = torch.cat([self.states[row // _PART][row % _PART] for row in rows])
            self.standing.end_with(hidden.to(device))
            given["inputs_embeds"] = torch.zeros(*mask.shape, self.model.get_input_embeddings().embedding_dim)
        return {key: value.to(device) for key, value in given.items()}

    def _first_pieces(self, tokenizer: Any, prompt: str) -> tuple[int, int]:
        """The tokens with which the two words begin behind a prompt: what its tokens alone do not have."""
        shown: list[int] = tokenizer(prompt)["input_ids"]
        for gap in ("", " "):
            longer: list[list[int]] = [tokenizer(prompt + gap + word)["input_ids"] for word in self.words]
            if all(ids[: len(shown)] == shown and len(ids) > len(shown) for ids in longer):
                first, second = (ids[len(shown)] for ids in longer)
                if first != second:
                    return first, second
        raise ConfigError(
            f"behind {prompt[-20:]!r} this model's tokenizer does not tell {self.words[0]!r} from {self.words[1]!r} by "
            "a first token of their own; take other words, or another model"
        )

    def _require_whole(self, limit: int) -> None:
        if longer := np.flatnonzero(self.tokens.cut).tolist():
            raise DataError(
                f"{len(longer)} prompts are longer than the {limit} tokens that the model reads, such as number "
                f"{longer[0]}, {self.prompts[longer[0]][:80]!r}; cut, they would lose their question: shorten the "
                "histories, or take another model"
            )
