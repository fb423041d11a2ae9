"""StackRec: a deep head or trunk begins with a shallow one's blocks, each of them twice (Wang et al., SIGIR 2021)."""

import re
from collections.abc import Iterable, Mapping
from typing import Literal

import torch
from torch import Tensor

_OF_BLOCK = re.compile(r"((?:head|trunk)\.blocks)\.(\d+)\.(.+)")


def num_blocks(names: Iterable[str]) -> int:
    """How many blocks the head or trunk has whose weights are called so; 0 where it has none."""
    return len({found[2] for name in names if (found := _OF_BLOCK.fullmatch(name))})


def stack(weights: Mapping[str, Tensor], how: Literal["adjacent", "cross"]) -> dict[str, Tensor]:
    """The weights of a recommender, or of a user network, with twice as many blocks.

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
            blocks, old, part = found[1], int(found[2]), found[3]
            for new in (2 * old, 2 * old + 1) if how == "adjacent" else (old, old + number):
                copied = torch.zeros_like(weight) if part == "gate" else weight.clone()
                stacked[f"{blocks}.{new}.{part}"] = copied
    return stacked
