"""What a run knows of its items' texts: the texts themselves, and on demand their vectors."""

from functools import cached_property
from typing import Any

import polars as pl
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from llmrec import assets, loading
from llmrec.baselines import Known
from llmrec.config import RunConfig
from llmrec.errors import DataError, PromptError
from llmrec.features import Features, Progress, item_features
from llmrec.interactions import Dataset
from llmrec.prompting import Prompt, fallbacks, item_texts
from llmrec.splits import Split
from llmrec.tuning import TextSource


class ItemText:
    """Texts by item index (entry 0 for the padding), or None where an ID model meets data without text.

    Args:
        config: of the run.
        texts: by item index.
        progress: called with texts encoded and texts to encode.
        fallbacks: how many items go by another field than the prompt's first choice, see
            :func:`llmrec.prompting.fallbacks`.
        missing: why there are no texts.
    """

    def __init__(
        self,
        config: RunConfig,
        texts: list[str] | None,
        progress: Progress,
        fallbacks: dict[str, int] | None = None,
        missing: str = "",
    ) -> None:
        self.config, self.texts, self.progress, self.fallbacks = config, texts, progress, fallbacks or {}
        self.missing = missing
        self._features: Features | None = None

    @classmethod
    def of(cls, config: RunConfig, dataset: Dataset, progress: Progress) -> "ItemText":
        """Renders every item with the run's prompt.

        Args:
            config: of the run.
            dataset: with the items.
            progress: called with texts encoded and texts to encode.

        Raises:
            PromptError: no such prompt, or one that cannot be read.
            DataError, PromptError: no text, where the model needs it; an ID model goes without, and beside images items
                may be without.
        """
        text, seen = cls(config, None, progress), config.uses_text and config.images is not None
        prompt = text.prompt
        try:
            text.texts, text.fallbacks = item_texts(dataset, prompt, required=not seen), fallbacks(dataset, prompt)
            text.missing = "" if any(text.texts) else f"prompt {prompt.name!r} gives no item of {dataset.name} one"
        except (DataError, PromptError) as error:
            if config.uses_text:
                raise
            text.missing = str(error)
        return text

    @cached_property
    def prompt(self) -> Prompt:
        """What writes the texts, as its file was when it was first asked for."""
        return Prompt.load(self.config.features.prompt)

    def source(self) -> TextSource:
        """What a tuning makes its trunk of."""
        assert self.texts is not None
        options = self.config.features

        def load(how: loading.Loading) -> loading.LanguageModel:
            return loading.load(loading.find(self.config.model), options.precision, how, blocks=options.blocks)

        way = self.pooling, options.precision, options.max_tokens
        return TextSource(self.vectors, self.texts, load, options.loading, *way)

    @property
    def present(self) -> Bool[Tensor, " catalogue"]:
        """Which items have a text; those of a run over images too may be without."""
        assert self.texts is not None
        return torch.tensor([bool(text) for text in self.texts])

    @property
    def pooling(self) -> loading.Pooling:
        """Of the run, or the model's own."""
        return loading.pooling_of(self.config.model, self.config.features.pooling)

    def vectors(self) -> Float[Tensor, "catalogue text_dim"]:
        """Pooled text vectors by item index, from the store or from the model."""
        return self.features().vectors

    def features(self) -> Features:
        """The same with the number of texts that were cut."""
        if self._features is None:
            assert self.texts is not None
            self._features = self._made(self.texts)
        return self._features

    def encode(self, share: slice) -> None:
        """Sees to it that the store holds the vectors of some items; several processes take one share each."""
        assert self.texts is not None
        if some := [text for text in self.texts[1:][share] if text]:
            self._made(["", *some])

    def _made(self, texts: list[str]) -> Features:
        return item_features(
            texts,
            loading.find(self.config.model),
            self.config.features,
            store=assets.cache_folder() / "features",
            template=self.prompt.source,
            progress=self.progress,
        )

    def provenance(self) -> dict[str, Any]:
        """Model, revision, prompt, transform, how many texts were cut and how many lacked their first field."""
        facts: dict[str, Any] = {"model": self.config.model}
        if self.config.uses_text:
            facts |= {
                "revision": loading.find(self.config.model).revision,
                "item_prompt_hash": self.prompt.hash,
                "features": self.config.features.model_dump() | {"pooling": self.pooling},
                "transform": self.config.transform,
                "texts_cut": self.features().cut if self.present.any() else 0,
                "text_fallbacks": self.fallbacks,
            }
        return facts

    def known(self, split: Split) -> Known:
        """What a baseline of this run may look at: no test case."""
        return Known(
            split.train,
            split.dataset.num_items,
            self.texts,
            self.vectors() if self.config.uses_text and self.present.any() else None,
            times=split.dataset.time_unit == "seconds",
            validation=split.validation,
            mask_history=self.config.protocol.mask_history,
        )

    def column(self, num_items: int) -> pl.Series:
        """The texts as a column of the item table; nulls where there are none."""
        return pl.Series("text", self.texts[1:] if self.texts else [None] * num_items, dtype=pl.String)
