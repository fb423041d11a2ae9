"""Nothing to train: rows that every table needs beside the models.

A baseline takes its options as keyword-only arguments; ``fit(known)`` sees the training part and returns it, and
``score(histories)`` gives scores by item index, ``[batch, num_items + 1]``. ``needs`` names what it cannot do without.
"""

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from llmrec.sequences import Sequences

Needs = Literal["nothing", "texts", "vectors"]


@dataclass(frozen=True)
class Known:
    """What a baseline may look at."""

    train: Sequences
    num_items: int
    texts: list[str] | None = None
    """By item index; entry 0 belongs to the padding."""
    vectors: Float[Tensor, "catalogue text_dim"] | None = None
    """Frozen text vectors by item index, as the language model gave them."""

    def has(self, needs: Needs) -> bool:
        """Whether a baseline with these needs can be made."""
        return {"nothing": True, "texts": self.texts is not None, "vectors": self.vectors is not None}[needs]


@runtime_checkable
class Baseline(Protocol):
    """What every baseline offers."""

    needs: Needs

    def fit(self, known: Known) -> "Baseline":
        """Looks at the training part."""
        ...

    def score(self, histories: Sequences) -> Float[Tensor, "batch catalogue"]:
        """Scores by item index."""
        ...


def decayed(histories: Sequences, num_items: int, decay: float, last: int) -> Float[Tensor, "batch catalogue"]:
    """Histories as weighted bags: the item seen ``a`` steps ago counts ``decay ** a``, only the last few count."""
    rows = histories.rows()
    ages = histories.offsets[1:][rows] - 1 - np.arange(len(rows))
    weights = torch.from_numpy(decay**ages * (ages < last)).float()
    bags = torch.zeros(len(histories), num_items + 1)
    where = (torch.from_numpy(rows), torch.from_numpy(histories.values).long())
    return bags.index_put(where, weights, accumulate=True)
