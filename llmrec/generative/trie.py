"""Which pieces may follow the beginning of a name, and how likely every name is."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from llmrec.errors import DataError


@dataclass(frozen=True)
class Trie:
    """The names of a catalogue as a tree of pieces; only where several may follow does a model have a choice.

    What comes after the last choice is settled, so a model need not be asked: the probabilities of all names, each the
    product of its choices among what may follow, sum to 1.

    ``paths`` are beginnings that a decoder has to read, with the start before them. Option ``n`` is the piece
    ``options[n]``; it is open at ``place[n]`` of ``path[n]``, where choice ``choice[n]`` is made. A choice has few
    options or thousands, so they stand one behind the other. Item ``i`` takes the options ``steps[i]``, padded with the
    number of all.
    """

    paths: Int[Tensor, "paths length"]
    path: Int[Tensor, " options"]
    place: Int[Tensor, " options"]
    choice: Int[Tensor, " options"]
    options: Int[Tensor, " options"]
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
        # Sorted, so that those of one part begin alike.
        paths = sorted(prefix for prefix in choices if prefix not in inner) or [()]
        on_path = {path[:place]: row for row, path in enumerate(paths) for place in range(len(path) + 1)}
        options = [(prefix, piece) for prefix in choices for piece in followers[prefix]]
        slot = {option: number for number, option in enumerate(options)}
        steps = [[slot[name[:n], piece] for n, piece in enumerate(name) if name[:n] in choices] for name in names]
        return cls(
            _padded([[start, *path] for path in paths], 1 + max(map(len, paths)), start),
            torch.tensor([on_path[prefix] for prefix, _ in options], dtype=torch.long),
            torch.tensor([len(prefix) for prefix, _ in options], dtype=torch.long),
            torch.tensor([choices[prefix] for prefix, _ in options], dtype=torch.long),
            torch.tensor([piece for _, piece in options], dtype=torch.long),
            _padded(steps, max(map(len, steps)), len(options)),
            followers,
            names[0][-1],
        )

    def along(self, names: Sequence[Sequence[int]]) -> "Trie":
        """The part that some of the names take, each as likely as in the whole: what they turn away from stays open.

        Args:
            names: pieces of each, in the order in which they are then told.
        """
        whole = [(*name, self.end) for name in names]
        beginnings = dict.fromkeys(name[:place] for name in whole for place in range(len(name)))
        followers = {beginning: self.followers[beginning] for beginning in beginnings}
        return self._indexed(followers, whole, int(self.paths[0, 0]))

    def allowed(self, prefix: Sequence[int]) -> list[int]:
        """What may follow the beginning of a name; nothing behind its end."""
        return self.followers.get(tuple(prefix), [])

    @property
    def open_ended(self) -> int:
        """Names with which others begin: there a model has to say whether it is at the end."""
        return int((self.options == self.end).sum())

    def part(self, first: int, number: int) -> Int[Tensor, " _"]:
        """Numbers of the options that are open on so many paths from one on."""
        return ((self.path >= first) & (self.path < first + number)).nonzero()[:, 0]

    def asked(self, first: int, number: int) -> Bool[Tensor, "number length"]:
        """Where on so many paths from one on a choice is made: what is said elsewhere is of no use."""
        mine = self.part(first, number)
        found = torch.zeros(number, self.paths.shape[1], dtype=torch.bool)
        found[self.path[mine] - first, self.place[mine]] = True
        return found

    def most_asked(self, number: int) -> int:
        """At how many places a choice is made on so many paths at most, and at least 1."""
        every = range(0, len(self.paths), number)
        return max(1, *(int(self.asked(first, min(number, len(self.paths) - first)).sum()) for first in every))

    def told(
        self, logits: Float[Tensor, "batch places pieces"], places: Int[Tensor, "some length"], first: int = 0
    ) -> Float[Tensor, "batch options"]:
        """Log-probabilities of the options that are open on some paths, in nats.

        Args:
            logits: what a decoder says behind each of some places.
            places: which of them each place of these paths is.
            first: number of the first of the paths.
        """
        mine = self.part(first, len(places))
        path, place, choice, option = (
            each[mine].to(logits.device) for each in (self.path, self.place, self.choice, self.options)
        )
        among = logits[:, places[path - first, place], option].float()
        # A softmax in each choice.
        numbers, choice = choice.unique(return_inverse=True)
        owner, empty = choice.expand_as(among), among.new_zeros(len(among), len(numbers))
        peak = empty.scatter_reduce(1, owner, among, "amax", include_self=False).gather(1, owner)
        mass = empty.scatter_add(1, owner, (among - peak).exp()).gather(1, owner)
        return among - peak - mass.log()

    def log_likelihoods(self, told: Float[Tensor, "batch options"]) -> Float[Tensor, "batch items"]:
        """Of every name, in nats, from those of all options."""
        flat = torch.cat([told, told.new_zeros(len(told), 1)], dim=1)
        # An item at a time would take long, all places of all names at once much room: place by place.
        total = told.new_zeros(len(told), len(self.steps))
        for step in self.steps.T.to(told.device):
            total += flat[:, step]
        return total


def _padded(rows: Sequence[Sequence[int]], width: int, filler: int) -> Int[Tensor, "rows width"]:
    values = [[*row, *[filler] * (width - len(row))] for row in rows]
    return torch.tensor(values, dtype=torch.long).view(len(rows), width)
