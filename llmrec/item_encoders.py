"""Item encoders of a run: new ones, those of a saved run, and what describes items that training never saw."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import polars as pl
import torch
from jaxtyping import Float
from torch import Tensor, nn

from llmrec import components, item_images, loading
from llmrec.config import RunConfig
from llmrec.encoders._tower import Described
from llmrec.errors import DataError, RunError
from llmrec.interactions import Dataset
from llmrec.item_images import ItemImages
from llmrec.item_text import ItemText
from llmrec.loading.vision import check_tuning
from llmrec.splits import Split

Describe = Callable[[Dataset], Float[Tensor, "n dim"]]
FITTED = 1000
"""Images that the transform of a vision model from nothing is fitted on at most."""


def new_encoder(config: RunConfig, split: Split, text: ItemText, images: ItemImages | None) -> nn.Module:
    """An encoder whose transforms are fitted on the items that the training part shows.

    Args:
        config: resolved.
        split: of the data.
        text: of the items.
        images: of the items, in a run over images.
    """
    if not config.reads_items:
        module: nn.Module = components.create("encoders", config.encoder, split.dataset.num_items, config.embedding_dim)
        return module
    counts = torch.from_numpy(split.train.counts(split.dataset.num_items))
    transform = components.create("transforms", config.transform)

    def described(items: ItemText | ItemImages) -> Described:
        trunk = _tuning(config, items).trunk(items.source())
        seen = ((counts > 0) & items.present).nonzero()[:, 0]
        if not len(seen):
            what = "an image" if isinstance(items, ItemImages) else "a text"
            raise DataError(f"no item that training shows has {what}, so that nothing could be learned of them")
        if isinstance(items, ItemImages) and items.from_nothing:  # its vectors are those of the trunk alone
            with torch.no_grad():
                vectors = trunk.train()(seen[:FITTED])  # as training has them: batch norms have no statistics yet
                trunk.eval()
        else:
            vectors = items.vectors()[seen]
        shift, matrix = transform.fit(vectors)
        return Described(trunk, shift, matrix, items.present)

    return _assembled(config, described(text) if config.uses_text else None, described(images) if images else None)


def _tuning(config: RunConfig, items: ItemText | ItemImages) -> Any:
    if not isinstance(items, ItemImages):
        return components.create("tuning", config.tuning)
    check_tuning(items.options.model, config.image_tuning["name"])
    return components.create("tuning", config.image_tuning)


def _assembled(config: RunConfig, text: Described | None, image: Described | None) -> nn.Module:
    """The encoder over what is known of the items."""
    if text is not None and image is None:
        supplied: tuple[Any, ...] = (text.trunk, text.shift, text.matrix)
    else:
        supplied = tuple(each for each in (text, image) if each is not None)
    module: nn.Module = components.create("encoders", config.encoder, *supplied, config.embedding_dim)
    return module


def _saved_encoder(
    config: RunConfig, state: dict[str, Tensor], text: ItemText | None, images: ItemImages | None
) -> nn.Module:
    """The same with the transforms of a saved run, whose weights ``state`` has by the encoder's own names."""

    def described(items: ItemText | ItemImages, part: str) -> Described:
        # What no item has is never asked for.
        trunk = _tuning(config, items).trunk(items.source()) if items.present.any() else nn.Identity()
        return Described(trunk, state[f"{part}shift"], state[f"{part}matrix"], items.present)

    both = text is not None and images is not None
    return _assembled(
        config,
        described(text, "text." * both) if text else None,
        described(images, "image." * both) if images else None,
    )


def describer(
    config: RunConfig, weights: Callable[[], dict[str, Tensor]], provenance: Mapping[str, Any] = MappingProxyType({})
) -> Describe | None:
    """What encodes new items as the trained encoder would; None where it has a table of ids.

    Args:
        config: of the run.
        weights: of the recommender, at the time of the call.
        provenance: of a saved run, which tells the revisions of the models that it was trained on.

    Raises:
        RunError: by what it returns, where weights are missing or a model is another than in training.
    """
    if config.encoder_name not in ("text", "image", "mixture"):
        return None

    @torch.no_grad()
    def describe(items: Dataset) -> Float[Tensor, "n dim"]:
        state = _own(weights())
        _require_revisions(config, provenance)
        text = images = None
        if config.uses_text:
            text = ItemText.of(config, items, _quietly, required=config.images is None)
        if config.images:
            images = item_images.of_new(config, items)
        encoder = _saved_encoder(config, state, text, images)
        if missing := [name for name in encoder.state_dict() if name not in state]:
            raise RunError(
                f"of {len(encoder.state_dict())} weights that describe items the run's model.safetensors has "
                f"{len(missing)} not, such as encoder.{missing[0]}: an adapter that was not loaded; take the file that "
                "training wrote"
            )
        encoder.load_state_dict({name: state[name] for name in encoder.state_dict()})
        vectors: Tensor = encoder.eval()()[1:]
        return vectors

    return describe


def _require_revisions(config: RunConfig, provenance: Mapping[str, Any]) -> None:
    """Raises RunError if a model is not the one that a run was trained on: its vectors fit no other."""
    pairs = [(config.model, provenance.get("revision"))] if config.uses_text else []
    pairs += [(config.images.model, provenance.get("images", {}).get("revision"))] if config.images else []
    for model, revision in pairs:
        if revision is not None and revision != (found := loading.find(model).revision):
            raise RunError(f"{model} has the revision {found} now, and the run was trained on {revision}")


def restore_encoder(
    config: RunConfig, items: pl.DataFrame, state: dict[str, Tensor], provenance: Mapping[str, Any]
) -> nn.Module:
    """The encoder of a saved run, still without its weights; text vectors come from the store or the model.

    Raises:
        RunError: a language or vision model is not the one that the run was trained on.
    """
    if not config.reads_items:
        module: nn.Module = components.create("encoders", config.encoder, len(items), config.embedding_dim)
        return module
    _require_revisions(config, provenance)
    text = images = None
    if config.uses_text:
        text = ItemText(config, ["", *items["text"]], progress=_quietly)
    if config.images:
        images = item_images.of_run(config, items)
    return _saved_encoder(config, _own(state), text, images)


def _own(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The encoder's weights by its own names, of those of a recommender."""
    prefix = "encoder."
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def _quietly(done: int, total: int) -> None:
    """The progress of a few items is nobody's affair."""
