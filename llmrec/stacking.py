"""StackRec: a deep head begins with the blocks of a shallow one, each of them twice (Wang et al., SIGIR 2021)."""

import re
from collections.abc import Iterable, Mapping
from typing import Literal

import torch
from torch import Tensor

_OF_BLOCK = re.compile(r"head\.blocks\.(\d+)\.(.+)")


def num_blocks(names: Iterable[str]) -> int:
    """How many blocks the head has whose weights are called so; 0 where it has none."""
    return len({found[1] for name in names if (found := _OF_BLOCK.fullmatch(name))})


def stack(weights: Mapping[str, Tensor], how: Literal["adjacent", "cross"]) -> dict[str, Tensor]:
    """The weights of a recommender with twice as many blocks.

    Args:
        weights: of the shallower one, by name.
        how: ``adjacent`` puts each block's copy right behind it (block ``i`` of the new ones is ``i // 2`` of the old),
            ``cross`` all copies behind all blocks (``i`` modulo the old number).

    Returns:
        All of them, the blocks copied. A scalar ``gate`` of a block is 0 again, so that gated blocks begin as nothing.
    """
    number = num_blocks(weights)
    stacked = {name: weight for name, weight in weights.items() if not _OF_BLOCK.fullmatch(name)}
    for name, weight in weights.items():
        if found := _OF_BLOCK.fullmatch(name):
            old, part = int(found[1]), found[2]
            for new in (2 * old, 2 * old + 1) if how == "adjacent" else (old, old + number):
                copied = torch.zeros_like(weight) if part == "gate" else weight.clone()
                stacked[f"head.blocks.{new}.{part}"] = copied
    return stacked
