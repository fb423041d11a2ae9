"""Which pieces may follow the beginning of a name, and how likely every name is."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from llmrec.errors import DataError


@dataclass(frozen=True)
class Trie:
    """The names of a catalogue as a tree of pieces; only where several may follow does a model have a choice.

    What comes after the last choice is settled, so a model need not be asked: the probabilities of all names, each the
    product of its choices among what may follow, sum to 1.

    ``paths`` are beginnings that a decoder has to read, with the start before them; a choice is made at ``place`` of
    ``path``, among ``options`` (padded with -1). Item ``i`` takes those ``steps[i]``, which number the options of all
    choices row by row, padded with the number of all.
    """

    paths: Int[Tensor, "paths length"]
    path: Int[Tensor, " choices"]
    place: Int[Tensor, " choices"]
    options: Int[Tensor, "choices width"]
    steps: Int[Tensor, "items depth"]
    followers: dict[tuple[int, ...], list[int]]
    end: int

    @classmethod
    def of(cls, names: Sequence[Sequence[int]], start: int, end: int) -> "Trie":
        """Grows the tree.

        Args:
            names: pieces of each item's name, without an end.
            start: the piece that a decoder begins with.
            end: the piece that ends a name.

        Raises:
            DataError: two items whose names are the same pieces.
        """
        followers: dict[tuple[int, ...], list[int]] = {}
        whole: dict[tuple[int, ...], int] = {}
        for item, name in enumerate(names, 1):
            pieces = (*name, end)
            if pieces in whole:
                raise DataError(
                    f"items {whole[pieces]} and {item} (by index) have names of the same pieces; a model cannot tell "
                    "them apart: name items otherwise or take a larger vocabulary"
                )
            whole[pieces] = item
            for place, piece in enumerate(pieces):
                after = followers.setdefault(pieces[:place], [])
                if piece not in after:
                    after.append(piece)
        return cls._indexed(followers, [(*name, end) for name in names], start)

    @classmethod
    def _indexed(cls, followers: dict[tuple[int, ...], list[int]], names: list[tuple[int, ...]], start: int) -> "Trie":
        choices = {prefix: number for number, prefix in enumerate(p for p in followers if len(followers[p]) > 1)}
        inner = {prefix[:place] for prefix in choices for place in range(len(prefix))}
        paths = [prefix for prefix in choices if prefix not in inner] or [()]
        on_path = {path[:place]: row for row, path in enumerate(paths) for place in range(len(path) + 1)}
        width = max((len(followers[prefix]) for prefix in choices), default=1)
        slot = {(p, piece): row * width + n for p, row in choices.items() for n, piece in enumerate(followers[p])}
        steps = [[slot[name[:n], piece] for n, piece in enumerate(name) if name[:n] in choices] for name in names]
        length = 1 + max(map(len, paths))
        return cls(
            _padded([[start, *path] for path in paths], length, start),
            torch.tensor([on_path[prefix] for prefix in choices], dtype=torch.long),
            torch.tensor([len(prefix) for prefix in choices], dtype=torch.long),
            _padded([followers[prefix] for prefix in choices], width, -1),
            _padded(steps, max(map(len, steps)), len(choices) * width),
            followers,
            names[0][-1],
        )

    def allowed(self, prefix: Sequence[int]) -> list[int]:
        """What may follow the beginning of a name; nothing behind its end."""
        return self.followers.get(tuple(prefix), [])

    @property
    def open_ended(self) -> int:
        """Names with which others begin: there a model has to say whether it is at the end."""
        return int((((self.options == self.end).any(dim=1)) & ((self.options >= 0).sum(dim=1) > 1)).sum())

    def part(self, first: int, number: int) -> Int[Tensor, " _"]:
        """Numbers of the choices that are made on so many paths from one on."""
        return ((self.path >= first) & (self.path < first + number)).nonzero()[:, 0]

    def told(
        self, logits: Float[Tensor, "batch some length pieces"], first: int = 0
    ) -> Float[Tensor, "batch choices width"]:
        """Log-probabilities of the options of all choices made on some paths, in nats.

        Args:
            logits: what a decoder says behind each place of these paths.
            first: number of the first of them.
        """
        mine = self.part(first, logits.shape[1])
        path, place, options = (each[mine].to(logits.device) for each in (self.path, self.place, self.options))
        among = logits[:, path - first, place].float().gather(2, options.clamp_min(0).expand(len(logits), -1, -1))
        return among.masked_fill(options < 0, -torch.inf).log_softmax(dim=2)

    def log_likelihoods(self, told: Float[Tensor, "batch choices width"]) -> Float[Tensor, "batch items"]:
        """Of every name, in nats, from those of all options."""
        flat = torch.cat([told.flatten(1), told.new_zeros(len(told), 1)], dim=1)
        # An item at a time would take long, all places of all names at once much room: place by place.
        total = told.new_zeros(len(told), len(self.steps))
        for step in self.steps.T.to(told.device):
            total += flat[:, step]
        return total


def _padded(rows: Sequence[Sequence[int]], width: int, filler: int) -> Int[Tensor, "rows width"]:
    values = [[*row, *[filler] * (width - len(row))] for row in rows]
    return torch.tensor(values, dtype=torch.long).view(len(rows), width)
