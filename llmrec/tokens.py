"""Texts as a language model reads them: tokens, which of them are the text's own, and batches of like length."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Int
from torch import Tensor, nn

from llmrec.errors import DataError
from llmrec.loading import LanguageModel, require_rows
from llmrec.loading.plan import BATCH_TOKENS


@dataclass(frozen=True)
class Tokens:
    """Texts cut into tokens, without padding."""

    encoded: Any
    """Of the tokenizer: ids, attention and special tokens of every text."""
    lengths: Int[np.ndarray, " n"]
    cut: Bool[np.ndarray, " n"]
    """Which texts were longer."""
    tokenizer: Any

    @classmethod
    def of(cls, texts: list[str], model: LanguageModel, max_tokens: int) -> "Tokens":
        """Reads texts, longer ones as far as ``max_tokens``.

        Raises:
            DataError: a text without a token of its own, one with a token that the model has no vector of, or more
                tokens than it has positions.
        """
        encoded = model.tokenizer(texts, truncation=True, max_length=max_tokens, return_special_tokens_mask=True)
        lengths = np.array([len(ids) for ids in encoded["input_ids"]])
        _require_own(texts, encoded["special_tokens_mask"], model, max_tokens)
        _require_positions(int(lengths.max()), model)
        require_rows(model.files.name, model.model, model.tokenizer, map(max, encoded["input_ids"]))
        cut = lengths == max_tokens
        for index in np.flatnonzero(cut):
            cut[index] = len(model.tokenizer(texts[index])["input_ids"]) > max_tokens
        return cls(encoded, lengths, cut, model.tokenizer)

    def batch(self, rows: list[int]) -> tuple[dict[str, Tensor], Bool[Tensor, "batch seq"]]:
        """Some texts, padded on the right, and which positions hold their own tokens: no padding, no special token."""
        chosen = {key: [self.encoded[key][row] for row in rows] for key in self.encoded}
        batch = dict(self.tokenizer.pad(chosen, return_tensors="pt"))
        special = batch.pop("special_tokens_mask").bool()
        return batch, batch["attention_mask"].bool() & ~special


def batches_by_length(lengths: Int[np.ndarray, " n"]) -> Iterator[list[int]]:
    """Groups of rows of like length, the longest first, each of at most ``BATCH_TOKENS`` padded tokens."""
    batch: list[int] = []
    for row in np.argsort(-lengths, kind="stable").tolist():
        if (len(batch) + 1) * lengths[batch[:1]].max(initial=1) > BATCH_TOKENS and batch:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def _require_own(texts: list[str], special: list[list[int]], model: LanguageModel, max_tokens: int) -> None:
    """Raises DataError if all tokens of a text are marks of its ends: all such texts would have one vector."""
    if empty := [text for text, marks in zip(texts, special, strict=True) if all(marks)]:
        raise DataError(
            f"{model.files.name} reads no token in {empty[0]!r} (marks of the ends not counted, features.max_tokens="
            f"{max_tokens}); its vector would be made up"
        )


def _require_positions(most: int, model: LanguageModel) -> None:
    longest = positions(model.model) or most
    if most > longest:
        raise DataError(f"{model.files.name} reads at most {longest} tokens; set features.max_tokens={longest}")


def positions(model: Any) -> int | None:
    """Tokens that a model has positions for; RoBERTa and its kin count them from behind the padding's index."""
    total = getattr(model.config, "max_position_embeddings", None)
    tables = [module for name, module in model.named_modules() if name.endswith("position_embeddings")]
    padding = next((table.padding_idx for table in tables if isinstance(table, nn.Embedding)), None)
    return total if total is None or padding is None else total - padding - 1
