"""What all tunings that run the language model in training have in common."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from llmrec import fsdp
from llmrec.errors import ConfigError, DataError
from llmrec.features import pool
from llmrec.loading import Loading, apart
from llmrec.loading.blocks import block_list
from llmrec.loading.products import quick_products
from llmrec.tokens import batches_by_length
from llmrec.tuning import Source


@dataclass(frozen=True)
class Learning:
    """How a language model learns.

    ``gradient_checkpointing``: what its blocks compute is forgotten and computed again on the way back, which takes a
    third more time and far less memory (arXiv:1604.06174).

    Raises:
        ValueError: a rate that no optimizer can use.
    """

    learning_rate: float
    weight_decay: float
    gradient_checkpointing: bool

    def __post_init__(self) -> None:
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate must be above 0, came {self.learning_rate}")
        if self.weight_decay < 0:
            raise ValueError(f"weight_decay must be at least 0, came {self.weight_decay}")


@contextmanager
def evaluated(encoder: nn.Module) -> Iterator[None]:
    """Has batch norms take the statistics that they have kept so far."""
    encoder.eval()
    try:
        yield
    finally:
        encoder.train()


class Trunk(nn.Module):
    """Vectors of the items that are asked for, from a model that learns; equal texts and images are read once.

    Dropout of the model stays off, so that a text has one vector; only a vision model that begins as nothing is told
    that it is in training, for its batch norms have statistics to learn. The weights that learn are fp32; where the
    features are bf16 the model runs under autocast.

    Args:
        source: texts or images, and the model that reads them.
        learning: rate, decay of matrices, and whether blocks compute twice.
        ways: besides resident, in which the model may be in memory.

    Raises:
        ConfigError: the run asks for another way.
    """

    row: Tensor
    """Which of the distinct texts or images each item has; not used for the padding and for items that have none."""
    encoder: Any
    """The language or vision model. Not registered: only what learns is saved."""
    learning_blocks: list[str]
    """Names of the classes of the blocks that take part in learning."""
    rewrites = False
    """Whether the model's own weights learn, which then are no other run's."""

    def __init__(self, source: Source, learning: Learning, ways: Sequence[Loading] = ()) -> None:
        super().__init__()
        if source.loading not in ("auto", "resident", *ways):
            able = ", ".join(("resident", *ways))
            raise ConfigError(f"what is {source.loading} cannot learn so; this tuning takes features.loading={able}")
        self.learning = learning
        self.own_learning_rate, self.own_weight_decay = learning.learning_rate, learning.weight_decay
        self.pooling, self.mixed = source.pooling, source.precision == "bf16"
        texts = source.distinct
        place = {text: number for number, text in enumerate(texts)}
        self.register_buffer("row", torch.tensor([place.get(text, 0) for text in source.texts]), persistent=False)
        with apart() if self.rewrites else nullcontext():
            model: Any = source.model(source.loading if source.loading in ways else "resident")
        self.language_model, self.fresh = model, model.files is None
        self.tokens: Any = source.read(texts, model)
        encoder = model.model
        if hasattr(encoder, "pooler"):
            encoder.pooler = None  # it would run behind the last block, and no vector comes out of it
        object.__setattr__(self, "encoder", encoder)

    def forward(self, items: Tensor | None = None) -> Tensor:
        """Vectors of these items or of all; the padding has that of some text, which the encoder sets to zero."""
        wanted, back = (self.row if items is None else self.row[items]).unique(return_inverse=True)
        vectors: list[Tensor] = [torch.empty(0)] * len(wanted)
        groups = list(batches_by_length(self.tokens.lengths[wanted.cpu().numpy()]))
        if self.fresh and len(groups) > 1 and len(groups[-1]) == 1:  # one image alone has no statistics
            groups[-2].extend(groups.pop())
        # Where weights are spread, a process that runs the model once less than the others would leave them waiting.
        more = range(len(groups), fsdp.most(len(groups), self.modules(), self.row.device))
        for group in groups:
            for at, vector in zip(group, self.pooled(wanted[group].tolist()), strict=True):
                vectors[at] = vector
        found = torch.stack(vectors)[back]
        for _ in more:
            found = found + 0.0 * self.pooled([0]).sum()
        return found

    def train(self, mode: bool = True) -> "Trunk":
        """Only says so, and tells a vision model from nothing."""
        learns = any(weight.requires_grad for weight in self.parameters())
        super().train(mode and self.fresh and learns)
        self.training = mode
        return self

    def pooled(self, texts: list[int]) -> Tensor:
        """Vectors of some of the distinct texts or images."""
        batch, own = self.tokens.batch(texts)
        device = self.row.device
        self.place(device)
        given = {key: value.to(device) for key, value in self.given(batch, texts).items()}
        # What autocast keeps of a weight would outlive its being whole.
        rounding = torch.autocast(device.type, torch.bfloat16, enabled=self.mixed, cache_enabled=not fsdp.asked())
        alone = self.fresh and self.encoder.training and len(texts) == 1
        with quick_products(), rounding, evaluated(self.encoder) if alone else nullcontext():
            hidden = self.read(given)
        return pool(hidden, own.to(device), self.pooling)

    def read(self, given: dict[str, Tensor]) -> Tensor:
        """Last hidden states of the texts' tokens ``[batch, seq, dim]``."""
        hidden: Tensor = self.encoder(**given).last_hidden_state
        return hidden

    def place(self, device: torch.device) -> None:
        """Moves the model to where the items are."""
        if self.encoder.device != device:
            self.encoder.to(device)

    def prepare(self, blocks: Iterable[nn.Module]) -> None:
        """Has blocks compute twice, if that is wanted; called by each tuning for those that take part in learning.

        Raises:
            ConfigError: they are to be spread and would be whole again in bf16.
        """
        blocks = list(blocks)
        if self.fresh and self.learning.gradient_checkpointing:  # statistics of batch norms would move twice
            raise ConfigError("a vision model from nothing takes no tuning.gradient_checkpointing; leave it out")
        if fsdp.asked():
            self.place(torch.device("cpu"))  # only a part of it belongs on the GPU
            if self.mixed and not self.learning.gradient_checkpointing:
                raise ConfigError(
                    "under FSDP each process would keep all weights in bf16 until the way back: take "
                    "tuning.gradient_checkpointing=true, or features.precision=fp32"
                )
        self.learning_blocks = sorted({type(block).__name__ for block in blocks})
        if self.learning.gradient_checkpointing:
            for block in blocks:
                quick = quick_products()(block.forward)  # the way back is outside of the forward's context
                once = partial(checkpoint, quick, use_reentrant=False, preserve_rng_state=False)
                block.forward = once  # not transformers' own way, which asks for a training mode with dropout

    def found_blocks(self) -> Iterable[nn.Module]:
        """All blocks of the model for :meth:`prepare`; none where it has no list of them and nothing is asked of them.

        Raises:
            ConfigError: they are to compute twice or to be spread, and the model has no list of them.
        """
        try:
            return block_list(self.encoder)[1]
        except DataError as error:
            if self.learning.gradient_checkpointing or fsdp.asked():
                raise ConfigError(f"{error}; leave tuning.gradient_checkpointing and FSDP out") from error
            return ()

    def merged(self) -> Any:
        """The model with what it learned, in fp32 as transformers has it; this trunk is of no use afterwards.

        Raises:
            ConfigError: what learned cannot go into the model's own weights.
        """
        raise NotImplementedError

    def given(self, batch: dict[str, Tensor], texts: list[int]) -> dict[str, Tensor]:
        """What the model is called with for a batch of texts."""
        return batch
