"""Which parameters of the model that reads the items learn: a language model, a vision model, or both.

A tuning takes its options as keyword-only arguments; ``trunk(source)`` returns the module that gives the encoder the
vectors of the items it is called with, or of all by index. What the module registers learns and is saved; a module
that learns says ``own_learning_rate`` and ``own_weight_decay``. A run that only recommends makes no trunk. Where a
tuning has ``adapt_head(head)``, the head of every run that reads items goes through it before it gets its weights.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from llmrec.errors import ConfigError
from llmrec.features import Pooling
from llmrec.loading import LanguageModel, Loading, Precision
from llmrec.loading.vision import VisionModel
from llmrec.pictures import Pictures
from llmrec.pixels import PixelStore
from llmrec.tokens import Tokens


@dataclass(frozen=True)
class TextSource:
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

    @property
    def distinct(self) -> list[str]:
        """What is read, each once; nothing stands for the padding and for items without a text."""
        return [text for text in dict.fromkeys(self.texts) if text]

    def read(self, texts: list[str], model: LanguageModel) -> Tokens:
        """Texts as the model reads them, in batches."""
        return Tokens.of(texts, model, self.max_tokens)


@dataclass(frozen=True)
class ImageSource:
    """The same of items that are seen: their texts are the keys of their pixels."""

    vectors: Callable[[], Tensor]
    """Pooled image vectors of all items by index, as the vision model gave them; zeros where there is no image."""
    texts: list[str]
    """Keys of pixels by item index; empty for the padding and for items without an image."""
    eye: Callable[[], VisionModel]
    pixels: PixelStore
    precision: Precision
    loading: Loading = "resident"
    pooling: Pooling = "mean"
    """Over the one token that a vision model gives."""

    @property
    def distinct(self) -> list[str]:
        """Keys of the pixels, each once."""
        return [key for key in dict.fromkeys(self.texts) if key]

    def model(self, how: Loading) -> VisionModel:
        """The vision model, which is resident in any case."""
        return self.eye()

    def read(self, keys: list[str], model: VisionModel) -> Pictures:
        """Pixels in batches."""
        return Pictures.of(self.pixels, keys, model)


Source = TextSource | ImageSource


def require_texts(source: Source, tuning: str) -> TextSource:
    """The source, if it is of texts.

    Raises:
        ConfigError: it is of images.
    """
    if isinstance(source, ImageSource):
        raise ConfigError(f"{tuning} stands beside words, and images have none; take another tuning, such as full")
    return source
