"""Item encoders of a run: new ones, those of a saved run, and what describes items that training never saw."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, NoReturn

import polars as pl
import torch
from jaxtyping import Float
from torch import Tensor, nn

from llmrec import components, item_images, loading
from llmrec.config import RunConfig
from llmrec.encoders._tower import Described, Unread
from llmrec.errors import DataError, RunError
from llmrec.interactions import Dataset
from llmrec.item_images import ItemImages
from llmrec.item_text import ItemText
from llmrec.loading.vision import check_tuning
from llmrec.prompting import Prompt
from llmrec.splits import Split

Describe = Callable[[Dataset, Sequence[str]], tuple[Float[Tensor, "n dim"], tuple[str, ...]]]
"""Vectors of items and what is to be told of them, for a catalogue of the ids known so far."""
Known = tuple[str, str, Float[Tensor, " dim"]]
"""Id, text and vector of an item as a run was saved with them."""
OFF = 0.1
"""How far from its vector, as a share of the length of that, a known item may be read: rounding by another machine or
format is below, an adapter with another scale above."""
FITTED = 1000
"""Images that the transform of a vision model from nothing is fitted on at most."""


def new_encoder(
    config: RunConfig, split: Split, text: ItemText, images: ItemImages | None, begun: Mapping[str, Tensor]
) -> nn.Module:
    """An encoder whose transforms are fitted on the items that the training part shows.

    Args:
        config: resolved.
        split: of the data.
        text: of the items.
        images: of the items, in a run over images.
        begun: weights of the recommender that the run begins with, if there is one; a tower that no item of this run
            needs goes along.

    Raises:
        DataError: no item has what is to be read, or none that training shows and nothing was learned before.
    """
    if not config.reads_items:
        module: nn.Module = components.create("encoders", config.encoder, split.dataset.num_items, config.embedding_dim)
        return module
    counts = torch.from_numpy(split.train.counts(split.dataset.num_items))
    transform = components.create("transforms", config.transform)

    def described(items: ItemText | ItemImages, part: str) -> Described | Unread:
        if not items.present.any():
            return Unread(_below(part, learned), items.present)
        trunk = _tuning(config, items).trunk(items.source())
        seen = ((counts > 0) & items.present).nonzero()[:, 0]
        if not len(seen) and f"{part}shift" in learned:  # which takes the place of what is fitted here
            seen = items.present.nonzero()[:, 0]
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

    learned = _below("encoder.", begun)
    if images and not images.present.any() and not (config.uses_text and text.present.any()):
        raise DataError(f"{split.dataset.name}: no item has an image or a text; {text.missing}")
    return _assembled(config, described, text if config.uses_text else None, images)


def _tuning(config: RunConfig, items: ItemText | ItemImages) -> Any:
    if not isinstance(items, ItemImages):
        return components.create("tuning", config.tuning)
    check_tuning(items.options.model, config.image_tuning["name"])
    return components.create("tuning", config.image_tuning)


def _assembled(
    config: RunConfig,
    described: Callable[[ItemText | ItemImages, str], Described | Unread],
    text: ItemText | None,
    images: ItemImages | None,
) -> nn.Module:
    """The encoder over what is known of the items; ``described`` is told what names of a tower's weights begin with."""
    both = text is not None and images is not None
    supplied: list[Any] = [described(text, "text." * both)] if text else []
    supplied += [described(images, "image." * both)] if images else []
    if images is None:
        supplied = [supplied[0].trunk, supplied[0].shift, supplied[0].matrix]
    module: nn.Module = components.create("encoders", config.encoder, *supplied, config.embedding_dim)
    return module


def _saved_encoder(
    config: RunConfig, state: dict[str, Tensor], text: ItemText | None, images: ItemImages | None
) -> nn.Module:
    """The same with the transforms of a saved run, whose weights ``state`` has by the encoder's own names."""

    def described(items: ItemText | ItemImages, part: str) -> Described | Unread:
        if not items.present.any():
            return Unread(_below(part, state), items.present)
        trunk = _tuning(config, items).trunk(items.source())
        return Described(trunk, state[f"{part}shift"], state[f"{part}matrix"], items.present)

    return _assembled(config, described, text, images)


def describer(
    config: RunConfig,
    weights: Callable[[], dict[str, Tensor]],
    provenance: Mapping[str, Any] = MappingProxyType({}),
    known_item: Known | None = None,
) -> Describe:
    """What encodes new items as the trained encoder would, or refuses them where it has a table of ids.

    Args:
        config: of the run.
        weights: of the recommender, at the time of the call.
        provenance: of a saved run, which tells the revisions of the models that it was trained on, and its prompt.
        known_item: of a saved run over texts, which is read again beside the new ones and must have its vector.

    Raises:
        RunError: by what it returns, where weights are missing, or a model or the prompt is another than in training,
            or a model reads otherwise.
    """
    if config.encoder_name == "id_from_text":
        return partial(
            refuse_new, instead="encoder.name=id_from_text read their texts once; train with encoder.name=text"
        )
    if config.encoder_name not in ("text", "image", "mixture"):
        return refuse_new

    @torch.no_grad()
    def describe(items: Dataset, known: Sequence[str]) -> tuple[Float[Tensor, "n dim"], tuple[str, ...]]:
        state = _below("encoder.", weights())
        _require_revisions(config, provenance)
        _require_prompt(config, provenance)
        text, images = _read(config, items, known, state)
        if known_item and text and text.texts:
            text = ItemText(config, [*text.texts, known_item[1]], _quietly)
        encoder = _saved_encoder(config, state, text, images)
        own = encoder.state_dict()
        if missing := [name for name in own if name not in state and not _of_kept_tower(name, state)]:
            raise RunError(
                f"of {len(own)} weights that describe items the run's model.safetensors lacks {len(missing)}, such as "
                f"encoder.{missing[0]}: an adapter that was not loaded; take the file that training wrote"
            )
        encoder.load_state_dict(own | {name: state[name] for name in own if name in state})
        vectors: Tensor = encoder.eval()()[1:]
        if known_item:
            _require_vector(known_item, vectors[-1])
        return vectors[: items.num_items], told(text, images)

    return describe


def refuse_new(
    items: Dataset, known: Sequence[str], instead: str = "train one that reads them, such as --model minilm-l6"
) -> NoReturn:
    """Raises DataError in the place of a :data:`Describe`: a row for each item is all that is known of them."""
    raise DataError(
        f"{items.items['item_id'].to_list()[:3]} cannot be added: this recommender knows items by a table of their "
        f"ids, which training alone can fill; {instead}"
    )


def _require_vector(known: Known, now: Float[Tensor, " dim"]) -> None:
    item, _, saved = known
    off = float((now - saved).norm() / saved.norm())
    if off > OFF:
        raise RunError(
            f"item {item!r} is read as a vector that is {off:.0%} away from that in item_embeddings.safetensors: an "
            "adapter that was not loaded, or not as in training; take config.json and the weights that training wrote"
        )


def _read(
    config: RunConfig, items: Dataset, known: Sequence[str], state: dict[str, Tensor]
) -> tuple[ItemText | None, ItemImages | None]:
    """What an encoder reads of new items: titles stay unread where there is no tower for texts."""
    text = images = None
    if config.uses_text:
        text = ItemText.of(config, items, _quietly)
    if config.images:
        if config.uses_text and items.images is not None and "image.shift" not in state:
            raise DataError(
                f"no item had an image when this recommender was trained, so it cannot read those in {items.images}; "
                "leave images=FOLDER out"
            )
        images = item_images.of_new(config, items, known)
        if text and text.present.any() and "text.shift" not in state:
            text = ItemText(config, [""] * (items.num_items + 1), _quietly)
            images.notes += ("no item had a text when this recommender was trained, so those of the new are not read",)
    return text, images


def told(text: ItemText | None, images: ItemImages | None) -> tuple[str, ...]:
    """What a run over images tells of its items: what was found, and how it knows those that lack what it reads.

    Args:
        text: of the items, in a run that reads texts.
        images: of the items, in a run that reads images.
    """
    if images is None:
        return ()
    seen = images.present[1:]
    written = text.present[1:] if text else torch.zeros_like(seen)
    nothing = "neither a text nor an image" if text else "no image"
    cases = [
        (written & ~seen, "no image that can be read and are known by their text"),
        (~written & ~seen, f"{nothing} that can be read and share one learned vector"),
    ]
    cases += [(~written & seen, "no text that is read and are known by their image")] if text else []
    counts = [(int(which.sum()), what) for which, what in cases]
    return *images.notes, *(f"{number:,} of {len(seen):,} items have {what}" for number, what in counts if number)


def _of_kept_tower(name: str, state: Mapping[str, Tensor]) -> bool:
    """Whether what is missing is of a mixture's tower that was kept unread: what a tuning adds to it changes nothing
    before it has learned."""
    tower = name.partition(".trunk.")[0]
    return tower in ("text", "image") and not any(each.startswith(f"{tower}.trunk.") for each in state)


def _require_revisions(config: RunConfig, provenance: Mapping[str, Any]) -> None:
    """Raises RunError if a model is not the one that a run was trained on: its vectors fit no other."""
    pairs = [(config.model, provenance.get("revision"))] if config.uses_text else []
    pairs += [(config.images.model, provenance.get("images", {}).get("revision"))] if config.images else []
    for model, revision in pairs:
        if revision is not None and revision != (found := loading.find(model).revision):
            raise RunError(f"{model} has the revision {found} now, and the run was trained on {revision}")


def _require_prompt(config: RunConfig, provenance: Mapping[str, Any]) -> None:
    """Raises RunError if the texts of new items would be written otherwise than those that a run was trained on."""
    then = provenance.get("item_prompt_hash")  # older runs do not tell it
    if then is not None and then != (now := Prompt.load(config.features.prompt).hash):
        raise RunError(
            f"prompt {config.features.prompt!r} has the hash {now} now, and the run was trained on items written by "
            f"{then}; put the prompt back as it was, or train anew"
        )


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
    return _saved_encoder(config, _below("encoder.", state), text, images)


def _below(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a part by its own names."""
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def _quietly(done: int, total: int) -> None:
    """The progress of a few items is nobody's affair."""
