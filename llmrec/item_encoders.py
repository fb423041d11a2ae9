"""Item encoders of a run: new ones, those of a saved run, and what describes items that training never saw."""

from collections.abc import Callable

import polars as pl
import torch
from jaxtyping import Float
from torch import Tensor, nn

from llmrec import components, loading
from llmrec.config import RunConfig
from llmrec.errors import RunError
from llmrec.interactions import Dataset
from llmrec.item_text import ItemText

Describe = Callable[[Dataset], Float[Tensor, "n dim"]]


def text_encoder(config: RunConfig, text: ItemText, shift: Tensor, matrix: Tensor) -> nn.Module:
    """A new encoder of text vectors, with the transform's shift and matrix."""
    trunk = components.create("tuning", config.tuning).trunk(text.source())
    module: nn.Module = components.create("encoders", config.encoder, trunk, shift, matrix, config.embedding_dim)
    return module


def describer(
    config: RunConfig, weights: Callable[[], dict[str, Tensor]], revision: str | None = None
) -> Describe | None:
    """What encodes new items as the trained encoder would; None where it has a table of ids.

    Args:
        config: of the run.
        weights: of the recommender, at the time of the call.
        revision: of the language model that the run was trained on; None: the one that is there.
    """
    if config.encoder_name != "text":
        return None

    @torch.no_grad()
    def describe(items: Dataset) -> Float[Tensor, "n dim"]:
        prefix = "encoder."
        state = {name.removeprefix(prefix): value for name, value in weights().items() if name.startswith(prefix)}
        require_revision(config, revision)
        text = ItemText.of(config, items, progress=lambda done, total: None)
        encoder = text_encoder(config, text, state["shift"], state["matrix"])
        encoder.load_state_dict(state)
        vectors: Tensor = encoder.eval()()[1:]
        return vectors

    return describe


def require_revision(config: RunConfig, revision: str | None) -> None:
    """Raises RunError if the language model is not the one that a run was trained on: its vectors fit no other."""
    found = loading.find(config.model).revision
    if revision not in (None, found):
        raise RunError(f"{config.model} has the revision {found} now, and the run was trained on {revision}")


def restore_encoder(
    config: RunConfig, items: pl.DataFrame, state: dict[str, Tensor], revision: str | None
) -> nn.Module:
    """The encoder of a saved run, still without its weights; text vectors come from the store or the model.

    Raises:
        RunError: the language model is not the one that the run was trained on.
    """
    if not config.uses_text:
        module: nn.Module = components.create("encoders", config.encoder, len(items), config.embedding_dim)
        return module
    require_revision(config, revision)
    text = ItemText(config, ["", *items["text"]], progress=lambda done, total: None)
    return text_encoder(config, text, state["encoder.shift"], state["encoder.matrix"])
