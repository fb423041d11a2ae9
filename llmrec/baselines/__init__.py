"""Nothing to train: rows that every table needs beside the models.

A baseline takes its options as keyword-only arguments; ``fit(known)`` sees the training part and returns it, and
``score(histories)`` gives scores by item index, ``[batch, num_items + 1]``. ``needs`` names what it cannot do without.
None ever sees a test case.
"""

import re
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float
from scipy import sparse
from torch import Tensor

from llmrec.sequences import Sequences
from llmrec.splits import Cases

_WORD = re.compile(r"\w\w")  # what a text needs before it can be searched
Needs = Literal["nothing", "texts", "vectors", "times", "validation"]


@dataclass(frozen=True)
class Known:
    """What a baseline may look at."""

    train: Sequences
    num_items: int
    texts: list[str] | None = None
    """By item index; entry 0 belongs to the padding."""
    vectors: Float[Tensor, "catalogue text_dim"] | None = None
    """Frozen text vectors by item index, as the language model gave them."""
    times: bool = False
    """Whether the times of the training part are seconds; data without times have positions there."""
    validation: Cases | None = None
    """To choose options by."""
    mask_history: bool = True
    """Whether the items of a history leave its ranking when it is measured."""

    def has(self, needs: Needs) -> bool:
        """Whether a baseline with these needs can be made."""
        return {
            "nothing": True,
            "texts": any(_WORD.search(text) for text in self.texts or []),
            "vectors": self.vectors is not None,
            "times": self.times and self.train.times is not None,
            "validation": bool(self.validation),
        }[needs]


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


@runtime_checkable
class Chooses(Protocol):
    """A baseline that settles something on the validation cases."""

    chosen: dict[str, Any]
    """What it settled, for the provenance."""


def require_recency(decay: float, last: int) -> None:
    """Raises ValueError unless :func:`decayed` can use both."""
    if not 0 <= decay <= 1:
        raise ValueError(f"decay must be between 0 and 1, came {decay}")
    if last < 1:
        raise ValueError(f"last must be at least 1, came {last}")


def decayed(histories: Sequences, num_items: int, decay: float, last: int) -> sparse.csr_array:
    """Histories as weighted bags: the item seen ``a`` steps ago counts ``decay ** a``, only the last few count.

    Returns:
        ``[batch, num_items + 1]``, sparse, in single precision.
    """
    rows = histories.rows()
    ages = histories.offsets[1:][rows] - 1 - np.arange(len(rows))
    recent = ages < last
    weights = (decay ** ages[recent]).astype(np.float32)
    where = (rows[recent], histories.values[recent])
    return sparse.csr_array((weights, where), shape=(len(histories), num_items + 1))
