"""Hidden states of all texts in one file of the cache: what enters the first block that learns."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from llmrec import assets
from llmrec.loading import LanguageModel
from llmrec.loading.memory import require_disk
from llmrec.runs import write_atomically
from llmrec.tokens import Tokens, batches_by_length


class KeptStates:
    """Computed once for a model, its texts and a block, and found again by every later run.

    The file is read through the page cache, so it may be larger than the memory.

    Args:
        model: whose lower blocks run if the file is not there yet.
        tokens: of the texts.
        index: of the block that the states enter.

    Raises:
        MemoryLimitError: the disk has no room for the file.
    """

    def __init__(self, model: LanguageModel, tokens: Tokens, index: int) -> None:
        self.width, self.dtype = int(model.config.hidden_size), model.model.dtype
        self.starts: Int[np.ndarray, " n"] = np.concatenate([[0], tokens.lengths.cumsum()])
        place = assets.cache_folder() / "top_blocks"
        self.path = place / f"{_key(model, tokens, index, self.dtype)}.bin"
        if not self.path.is_file():
            place.mkdir(parents=True, exist_ok=True)
            size = int(self.starts[-1]) * self.width * self.dtype.itemsize
            require_disk(f"what enters block {index} of {model.files.name}", size, place)
            write_atomically(self.path, lambda part: self._write(part, model, tokens, index))
        self._values = self._open(self.path)

    def __getitem__(self, text: int) -> Float[Tensor, "seq dim"]:
        """States of one text, without padding."""
        return self._values[self.starts[text] : self.starts[text + 1]]

    def _write(self, path: Path, model: LanguageModel, tokens: Tokens, index: int) -> None:
        path.touch()
        values = self._open(path, shared=True)
        groups = list(batches_by_length(tokens.lengths))
        batches = [tokens.batch(group)[0] for group in groups]
        entering = model.runs.entering(index, batches, lambda done, total: None)
        for group, hidden in zip(groups, entering, strict=True):
            for row, text in enumerate(group):
                values[self.starts[text] : self.starts[text + 1]] = hidden[row, : tokens.lengths[text]]

    def _open(self, path: Path, shared: bool = False) -> Float[Tensor, "tokens dim"]:
        size = int(self.starts[-1]) * self.width
        return torch.from_file(str(path), shared=shared, size=size, dtype=self.dtype).view(-1, self.width)


def _key(model: LanguageModel, tokens: Tokens, index: int, dtype: torch.dtype) -> str:
    digest = hashlib.sha256(f"{model.files.revision} {index} {dtype}".encode())
    ids: Any = tokens.encoded["input_ids"]
    for text in ids:
        digest.update(np.array([len(text), *text], dtype=np.int64).tobytes())
    return digest.hexdigest()[:16]
