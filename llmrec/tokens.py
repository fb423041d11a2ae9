"""Texts as a language model reads them: tokens, which of them are the text's own, and batches of like length."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
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
            DataError: a text without a token, one with a token that the model has no vector of, or more tokens than it
                has positions.
        """
        encoded = model.tokenizer(texts, truncation=True, max_length=max_tokens, return_special_tokens_mask=True)
        lengths = np.array([len(ids) for ids in encoded["input_ids"]])
        _require_readable(texts, lengths, model)
        require_rows(model.files.name, model.model, model.tokenizer, map(max, encoded["input_ids"]))
        cut = lengths == max_tokens
        for index in np.flatnonzero(cut):
            cut[index] = len(model.tokenizer(texts[index])["input_ids"]) > max_tokens
        return cls(encoded, lengths, cut, model.tokenizer)

    def batch(self, rows: list[int]) -> tuple[dict[str, Tensor], Bool[Tensor, "batch seq"]]:
        """Some texts, padded on the right, and which positions hold their own tokens: no padding, no special token.

        A text of special tokens alone has those for its own: a mean over nothing is not a number.
        """
        chosen = {key: [self.encoded[key][row] for row in rows] for key in self.encoded}
        batch = dict(self.tokenizer.pad(chosen, return_tensors="pt"))
        special = batch.pop("special_tokens_mask").bool()
        attended = batch["attention_mask"].bool()
        own = attended & ~special
        return batch, torch.where(own.any(dim=1, keepdim=True), own, attended)


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


def _require_readable(texts: list[str], lengths: np.ndarray, model: LanguageModel) -> None:
    if empty := np.flatnonzero(lengths == 0).tolist():
        raise DataError(f"{model.files.name} reads no token in {texts[empty[0]]!r}; its vector would be made up")
    longest = positions(model.model) or lengths.max()
    if lengths.max() > longest:
        raise DataError(f"{model.files.name} reads at most {longest} tokens; set features.max_tokens={longest}")


def positions(model: Any) -> int | None:
    """Tokens that a model has positions for; RoBERTa and its kin count them from behind the padding's index."""
    total = getattr(model.config, "max_position_embeddings", None)
    tables = [module for name, module in model.named_modules() if name.endswith("position_embeddings")]
    padding = next((table.padding_idx for table in tables if isinstance(table, nn.Embedding)), None)
    return total if total is None or padding is None else total - padding - 1
