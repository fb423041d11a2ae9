"""Beginnings of answers as a tree: what several of them begin with is read once."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn


class Tree(NamedTuple):
    """Sequences whose common beginnings are one, as far as something is asked behind them."""

    pieces: Int[Tensor, " places"]
    depth: Int[Tensor, " places"]
    seen: Bool[Tensor, "places places"]
    """Which places each one comes after, itself included."""
    asked: Int[Tensor, " answers"]
    """The places behind which something is asked."""
    told: Int[Tensor, "paths length"]
    """Which of the answers is the one behind each piece of each sequence; 0 where nothing is asked."""

    @classmethod
    def of(cls, paths: Int[Tensor, "paths length"], asked: Bool[Tensor, "paths length"]) -> "Tree":
        """Puts sequences together.

        Args:
            paths: their pieces.
            asked: behind which of them something is asked.
        """
        found: dict[tuple[int, ...], int] = {}
        answers: dict[int, int] = {}
        told, before = torch.zeros(paths.shape, dtype=torch.long), []
        for number, (row, wanted) in enumerate(zip(paths.tolist(), asked.tolist(), strict=True)):
            ends = [n for n, want in enumerate(wanted) if want]
            own = [found.setdefault(tuple(row[: n + 1]), len(found)) for n in range(max(ends, default=-1) + 1)]
            before += [(place, other) for depth, place in enumerate(own) for other in own[: depth + 1]]
            for end in ends:
                told[number, end] = answers.setdefault(own[end], len(answers))
        seen = torch.zeros(len(found), len(found), dtype=torch.bool)
        seen[tuple(torch.tensor(before).T)] = True
        device = paths.device
        return cls(
            torch.tensor([each[-1] for each in found], device=device),
            torch.tensor([len(each) - 1 for each in found], device=device),
            seen.to(device),
            torch.tensor(list(answers), device=device),
            told.to(device),
        )


def barring(seen: Bool[Tensor, "*batch query key"], dtype: torch.dtype) -> Float[Tensor, "*batch query key"]:
    """What is added to the scores of attention: not every kind of it takes truth values."""
    barred = torch.zeros(seen.shape, dtype=dtype, device=seen.device)
    return barred.masked_fill(~seen, torch.finfo(dtype).min)


@contextmanager
def answering(model: Any, asked: Int[Tensor, " answers"]) -> Iterator[None]:
    """Inside, a model scores its pieces behind these places alone: elsewhere that is most of the work, for nothing."""
    head: nn.Module = model.get_output_embeddings()
    hook = head.register_forward_pre_hook(lambda _, given: (given[0][:, asked],))
    try:
        yield
    finally:
        hook.remove()


@contextmanager
def distances(decoder: nn.Module, depth: Int[Tensor, " places"]) -> Iterator[None]:
    """Inside, a decoder like T5's knows how far places are from one another by their depth in a tree.

    Its attention asks itself for a bias by distance; what it would say of a line is taken apart and put together anew.
    """
    longest = int(depth.max()) + 1
    behind = (depth[:, None] - depth[None]).clamp_min(0)  # what lies deeper is not seen
    own: list[Any] = [each for each in decoder.modules() if getattr(each, "has_relative_attention_bias", False)]
    for attention in own:
        line: Tensor = attention.compute_bias(longest, longest, device=depth.device)[:, :, -1]
        bias = line.flip(-1)[:, :, behind]
        attention.compute_bias = lambda *lengths, bias=bias, **more: bias
    try:
        yield
    finally:
        for attention in own:
            del attention.compute_bias
