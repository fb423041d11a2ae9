"""Which parameters of the language model learn.

A tuning takes its options as keyword-only arguments; ``trunk(source)`` returns the module that gives the encoder the
text vectors of the items it is called with, or of all by index. What the module registers learns and is saved; a module
that learns says ``own_learning_rate`` and ``own_weight_decay``. A run that only recommends makes no trunk. Where a
tuning has ``adapt_head(head)``, the head of every run that reads texts goes through it before it gets its weights.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from llmrec.features import Pooling
from llmrec.loading import LanguageModel, Loading, Precision


@dataclass(frozen=True)
class Source:
    """Where a trunk gets what it needs, on first use."""

    vectors: Callable[[], Tensor]
    """Pooled text vectors of all items by index, as the language model gave them."""
    texts: list[str]
    """By item index; entry 0 belongs to the padding."""
    model: Callable[[Loading], LanguageModel]
    """The language model, in memory in one of the ways that there are."""
    loading: Loading
    """The way that the run asks for."""
    pooling: Pooling
    precision: Precision
    max_tokens: int
