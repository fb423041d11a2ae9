"""What every encoder of described items has: a trunk's vectors, a fixed linear transform and a learned projection."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from llmrec import transforms


class Described(NamedTuple):
    """What is known of items in one modality."""

    trunk: Callable[[Tensor | None], Tensor]
    """Vectors of the items it is called with."""
    shift: Tensor
    """Of the transform, see :mod:`llmrec.transforms`."""
    matrix: Tensor
    """Of the transform."""
    present: Bool[Tensor, " catalogue"]
    """By item index, whether the item has this modality; the padding has not."""


class Unread(NamedTuple):
    """A modality that no item has."""

    weights: dict[str, Tensor]
    """Of its tower elsewhere, by the tower's own names; none where there never was one."""
    present: Bool[Tensor, " catalogue"]
    """Nowhere true."""


class Tower(nn.Module):
    """Vectors of items from one modality.

    Args:
        trunk: see :class:`Described`.
        shift: of the transform.
        matrix: of the transform.
        embedding_dim: width of an item vector.
        projection_layers: linear layers, with GELU between them.
        hidden_dim: width between the layers.
        dropout: on the transformed vectors and between the layers.
        gain: of the last layer at the start.
    """

    shift: Tensor
    matrix: Tensor

    def __init__(
        self,
        trunk: Callable[[Tensor | None], Tensor],
        shift: Tensor,
        matrix: Tensor,
        embedding_dim: int,
        projection_layers: int,
        hidden_dim: int,
        dropout: float,
        gain: float,
    ) -> None:
        super().__init__()
        if projection_layers < 1:
            raise ValueError(f"projection_layers must be at least 1, came {projection_layers}")
        if hidden_dim < 1:
            raise ValueError(f"hidden_dim must be at least 1, came {hidden_dim}")
        if not 0 < gain < math.inf:
            raise ValueError(f"gain must be a number above 0, came {gain}")
        self.trunk = trunk
        self.register_buffer("shift", shift)
        self.register_buffer("matrix", matrix)
        widths = [matrix.shape[-1], *[hidden_dim] * (projection_layers - 1), embedding_dim]
        layers: list[nn.Module] = []
        for index in range(projection_layers):
            layers += [nn.GELU()] if index else []
            layers += [nn.Dropout(dropout), nn.Linear(widths[index], widths[index + 1])]
        self.projection = nn.Sequential(*layers)
        linear = [layer for layer in self.projection if isinstance(layer, nn.Linear)]
        for layer in linear:
            nn.init.xavier_normal_(layer.weight, gain if layer is linear[-1] else 1.0)
            nn.init.zeros_(layer.bias)

    def projected(self, items: Int[Tensor, " n"] | None) -> Float[Tensor, "n dim"]:
        """Vectors of these items or of all; that of the padding, or of an item without the modality, means nothing."""
        vectors: Tensor = self.projection(transforms.apply(self.trunk(items), self.shift, self.matrix))
        return vectors


class Kept(nn.Module):
    """A tower that no item of a run needs: it goes along under the same names and stays what it was.

    Args:
        weights: by name.
    """

    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__()
        for name, weight in weights.items():
            *path, last = name.split(".")
            place: nn.Module = self
            for part in path:
                if part not in dict(place.named_children()):
                    place.add_module(part, nn.Module())
                place = place.get_submodule(part)
            place.register_buffer(last, weight)


def scattered(
    towers: list[tuple[Tower | Kept, Bool[Tensor, " n"]]], items: Int[Tensor, " n"], missing: Float[Tensor, " dim"]
) -> Float[Tensor, "n dim"]:
    """The mean of what each item's towers give; the learned vector for items that have none, zeros for item 0.

    A tower is called with the items that have its modality alone, and not at all where none has.

    Args:
        towers: each with the items that have its modality.
        items: indices.
        missing: vector of items that no tower describes.
    """
    counts = torch.stack([has for _, has in towers]).sum(dim=0)
    bare = (counts == 0) & (items > 0)
    total = bare[:, None].to(missing) * missing
    for tower, has in towers:
        if isinstance(tower, Tower) and has.any():
            rows = has.nonzero()[:, 0]
            share = 1 / counts[rows].to(missing)
            total = total.index_add(0, rows, tower.projected(items[rows]) * share[:, None])
        elif tower.training:  # of several processes each must have a gradient for every weight
            total = total + 0.0 * sum(weight.sum() for weight in tower.parameters())
    return total
