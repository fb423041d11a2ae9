"""Batches of written examples, those of like length together."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor, nn

from llmrec.errors import ConfigError
from llmrec.generative.examples import ORDER, Examples
from llmrec.generative.origins import AnyWriter
from llmrec.generative.vocabulary import pieces_of

_Pieces = list[list[int]]
READ_BATCH, READ_PIECES = 64, 1 << 14
"""Texts and pieces that are read at once where nothing learns."""
WINDOW = 64
"""Batches whose examples are sorted by length together; the next ones are drawn from the rest."""


class TextBatch(NamedTuple):
    """One process's share of a batch: pieces of inputs and targets, padded on the right, and how many the latter have.

    Each piece of a target counts the same, as in T5's loss, so a list of items counts as much as its items.
    """

    input: Int[Tensor, "batch seq"]
    target: Int[Tensor, "batch length"]
    pieces: Int[Tensor, " batch"]

    @property
    def num_targets(self) -> int:
        """Pieces to write."""
        return int(self.pieces.sum())


class WritingStep(nn.Module):
    """From a batch to the loss of a writer: what is wrapped for several processes."""

    def __init__(self, writer: AnyWriter) -> None:
        super().__init__()
        self.writer = writer

    def forward(
        self,
        ids: Int[Tensor, "batch seq"],
        target: Int[Tensor, "batch length"],
        pieces: Int[Tensor, " batch"],
        generator: torch.Generator,
    ) -> Tensor:
        """Mean loss of this process's targets, in nats per piece; one without a share takes part with nothing."""
        if not len(ids):
            nothing = ids.new_full((1, 1), self.writer.padding)
            return self.writer(nothing, nothing).sum() * 0.0
        loss: Tensor = (self.writer(ids, target) * pieces).sum() / pieces.sum()
        return loss


@dataclass
class TextBatches:
    """Writes the examples of an epoch window by window, in an order that depends on seed and epoch alone.

    ``longest``: pieces of an input and of a target; a longer one is refused, for what is cut off may be the question.
    ``padded`` and ``real`` count pieces so far, with the padding and without.
    """

    examples: Examples
    tokenizer: Any
    batch_size: int
    longest: tuple[int, int]
    padded: int = field(default=0, init=False)
    real: int = field(default=0, init=False)

    def epoch(self, epoch: int, first: int = 0, rank: int = 0, world: int = 1) -> Iterator[tuple[TextBatch, int]]:
        """Yields this process's share of every batch from number ``first`` on, with the pieces of the whole batch.

        Raises:
            ConfigError: an input or target that is longer than allowed.
        """
        parts = windows(self.examples.epoch(epoch), self.batch_size)
        for window in range(min(first // WINDOW, len(parts) - 1), len(parts)):
            inputs, targets = self._written(parts[window], epoch, window)
            order = np.argsort([len(ids) + len(more) for ids, more in zip(inputs, targets, strict=True)], kind="stable")
            # As many batches as were drawn, whatever could be written of them, or a resumed run would lose its place.
            batches = np.array_split(order, -(-len(parts[window]) // self.batch_size))
            random = np.random.default_rng([self.examples.seed, ORDER, epoch, window])
            skipped = max(0, first - window * WINDOW)
            for number in random.permutation(len(batches))[skipped:]:
                mine = batches[number][rank::world].tolist()
                read, write = (self._padded([side[row] for row in mine]) for side in (inputs, targets))
                pieces = torch.tensor([len(targets[row]) for row in mine], dtype=torch.long)
                yield TextBatch(read, write, pieces), sum(len(targets[row]) for row in batches[number])

    def counted(self) -> dict[str, float]:
        """``padding``: how many pieces were read and written for each that is none, in this process; nothing before."""
        return {"padding": self.padded / self.real} if self.real else {}

    def _written(self, drawn: Int[np.ndarray, "some three"], epoch: int, window: int) -> tuple[_Pieces, _Pieces]:
        written = self.examples.write(drawn, (epoch, window))
        if not written or len(written) * self.batch_size < len(drawn):
            raise ConfigError(
                f"p5.examples: of {len(drawn)} examples only {len(written)} have a target in this data; leave the "
                f"families out whose fields most rows lack (asked for: {', '.join(self.examples.per_user)})"
            )
        inputs, targets = zip(*written, strict=True)
        return self._pieces(inputs, self.longest[0]), self._pieces(targets, self.longest[1])

    def _pieces(self, texts: Sequence[str], limit: int) -> _Pieces:
        pieces = pieces_of(self.tokenizer, texts)
        if too_long := [row for row, ids in enumerate(pieces) if len(ids) > limit]:
            row = max(too_long, key=lambda row: len(pieces[row]))
            raise ConfigError(
                f"{len(too_long)} of {len(texts)} texts of the P5 prompts are longer than {limit} pieces, the longest "
                f"has {len(pieces[row])} and begins {texts[row][:80]!r}; raise p5.max_input or p5.max_target, or show "
                "fewer candidates in the prompt"
            )
        return pieces

    def _padded(self, rows: list[list[int]]) -> Int[Tensor, "batch width"]:
        width = max(map(len, rows), default=1)
        self.real, self.padded = self.real + sum(map(len, rows)), self.padded + width * len(rows)
        return padded(rows, self.tokenizer.pad_token_id)


def windows(drawn: Int[np.ndarray, "examples three"], batch_size: int) -> list[Int[np.ndarray, "_ three"]]:
    """The examples of an epoch in parts that are written together: what is random in one depends on its number."""
    size = batch_size * WINDOW
    # What is left over belongs to the last window: of very few examples all might lack a target.
    return np.split(drawn, range(size, len(drawn) - size + 1, size))


def alike(pieces: Sequence[Sequence[int]], most: int = READ_BATCH) -> Iterator[list[int]]:
    """Row numbers of texts of like length, as many as a model may read at once and at most so many."""
    rows, most = sorted(range(len(pieces)), key=lambda row: len(pieces[row])), min(most, READ_BATCH)
    while rows:
        number = next(
            n for n in range(min(most, len(rows)), 0, -1) if n == 1 or n * len(pieces[rows[n - 1]]) <= READ_PIECES
        )
        yield rows[:number]
        rows = rows[number:]


def padded(rows: Sequence[Sequence[int]], padding: int) -> Int[Tensor, "batch width"]:
    """Pieces of several texts, filled up on the right."""
    width = max(map(len, rows), default=1)
    values = [[*row, *[padding] * (width - len(row))] for row in rows]
    return torch.tensor(values, dtype=torch.long).view(len(rows), width)
