"""What a run knows of its items' images: which pixels show each, and on demand their vectors."""

from collections.abc import Sequence
from typing import Any

import polars as pl
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from llmrec import assets, cores, covers, loading, pixels
from llmrec.config import RunConfig
from llmrec.covers import Covers
from llmrec.errors import ConfigError, DataError
from llmrec.features import SHARD_TEXTS, FeatureStore, Progress
from llmrec.interactions import Dataset
from llmrec.loading.vision import SHAPES, VisionModel, load_vision, size_of
from llmrec.options import ImageOptions
from llmrec.pictures import Pictures
from llmrec.pixels import PixelStore
from llmrec.protocol import digest
from llmrec.tokens import batches_by_length
from llmrec.tuning import ImageSource


class ItemImages:
    """Keys of pixels by item index: empty for the padding and for items without a usable image.

    Args:
        options: of the run.
        keys: by item index.
        progress: called with images done and images to do.
        notes: what the run is to tell: who has none, what is broken.
        store: of the pixels; None: it is opened.
    """

    def __init__(
        self,
        options: ImageOptions,
        keys: list[str],
        progress: Progress,
        notes: tuple[str, ...] = (),
        store: PixelStore | None = None,
    ) -> None:
        self.options, self.keys, self.progress, self.notes = options, keys, progress, notes
        self.store = _store(options) if store is None else store
        self._vectors: Tensor | None = None

    @classmethod
    def of(cls, config: RunConfig, dataset: Dataset, progress: Progress) -> "ItemImages":
        """Finds every item's image and decodes what the store does not hold yet.

        Beside texts a data set may come without images, or with none that can be read.

        Raises:
            ConfigError: no folder is named, the data set has none, and there are no texts beside.
            DataError: no such folder, or there are no texts beside and no file in it is that of an item and can be
                read.
        """
        assert config.images is not None
        folder = dataset.images or config.images.folder
        if folder is None:
            told = f"{dataset.name} comes without images"
            if not config.uses_text:
                raise ConfigError(f"{told}; say where they are: images.folder=FOLDER with <item id>.jpg")
            note = f"{told}, so that texts alone are read; images.folder=FOLDER with <item id>.jpg brings them"
            return cls(config.images, [""] * (dataset.num_items + 1), progress, (note,))
        # Whether names count rows is told from the whole catalogue, before some of it is filtered out.
        found = covers.find(dataset.item_ids.tolist(), folder, "id", needed=not config.uses_text)
        images = cls.of_covers(config.images, found, progress)
        if not config.uses_text and not images.present.any():
            raise DataError(
                f"{folder}: no item has an image that can be read; {'; '.join(images.notes)}. Put whole files in their "
                "place or name another folder, images.folder=FOLDER; beside texts (--model) items may be without"
            )
        return images

    @classmethod
    def of_covers(cls, options: ImageOptions, found: Covers, progress: Progress) -> "ItemImages":
        """Decodes the images that were found, as far as the store does not hold them yet."""
        store = _store(options)
        keys, notes = pixels.decode(found, store, workers=cores.usable(), progress=progress)
        return cls(options, keys, progress, (*found.notes, *notes), store)

    @property
    def present(self) -> Bool[Tensor, " catalogue"]:
        """Which items have an image."""
        return torch.tensor([bool(key) for key in self.keys])

    @property
    def from_nothing(self) -> bool:
        """Whether the vision model has new weights."""
        return self.options.model in SHAPES

    def source(self) -> ImageSource:
        """What a tuning makes its trunk of."""
        return ImageSource(self.vectors, self.keys, self._eye, self.store, self.options.precision)

    def vectors(self) -> Float[Tensor, "catalogue dim"]:
        """Vectors of the vision model as it comes, kept in the feature store; zeros for items without an image."""
        if self._vectors is None:
            self._vectors = self._made()
        return self._vectors

    def provenance(self) -> dict[str, Any]:
        """Model, revision, size of the pixels, and how many items have none."""
        name = self.options.model
        missing = self.keys[1:].count("")
        facts = {"model": name, "size": self.store.size, "items_without_image": missing}
        facts |= {"precision": self.options.precision, "pixels": digest({"keys": self.keys})}
        return {"images": facts | {"revision": None if self.from_nothing else loading.find(name).revision}}

    def column(self) -> pl.Series:
        """The keys as a column of the item table; nulls where there are none."""
        return pl.Series("pixels", [key or None for key in self.keys[1:]], dtype=pl.String)

    def _eye(self) -> VisionModel:
        return load_vision(self.options.model, self.options.precision, self.options.size)

    @torch.no_grad()
    def _made(self) -> Tensor:
        way = {"model": loading.find(self.options.model).revision, "size": self.store.size, "of": "images"}
        shelf = FeatureStore(assets.cache_folder() / "features", way | {"precision": self.options.precision})
        unique = [key for key in dict.fromkeys(self.keys) if key]
        missing, found = shelf.read(unique)
        if missing:
            model = self._eye()
            pictures = Pictures.of(self.store, [unique[row] for row in missing], model)
            made: dict[int, Tensor] = {}
            done = 0
            for rows in batches_by_length(pictures.lengths):
                batch = pictures.batch(rows)[0]["pixel_values"].to(model.model.device)
                vectors = model.model(batch).last_hidden_state[:, 0].float().cpu()
                if not torch.isfinite(vectors).all():
                    raise DataError(
                        f"{self.options.model} gives numbers that are not finite; try images.precision=fp32"
                    )
                made.update(zip(rows, vectors, strict=True))
                self.progress(done := done + len(rows), len(missing))
                if len(made) >= SHARD_TEXTS or done == len(missing):
                    keys, of_shard = [pictures.keys[row] for row in made], torch.stack(list(made.values()))
                    shelf.write(keys, of_shard, torch.zeros(len(made), dtype=torch.bool))
                    found.update({missing[row]: (vector, False) for row, vector in made.items()})
                    made.clear()
        by_key = {key: found[row][0] for row, key in enumerate(unique)}
        nothing = torch.zeros_like(next(iter(by_key.values())))
        return torch.stack([by_key.get(key, nothing) for key in self.keys])


def _store(options: ImageOptions) -> PixelStore:
    # In the first folder, "pixels", lie some damaged files' pixels.
    return PixelStore(assets.cache_folder() / "pixels-2", size_of(options.model, options.size))


def of_new(config: RunConfig, items: Dataset, known: Sequence[str]) -> ItemImages:
    """The images of items that training never saw; beside texts any of them may be without.

    Args:
        config: of the run.
        items: the new ones.
        known: ids of the catalogue that they come to, entry 0 for the padding.

    Raises:
        DataError: no such folder, or names that count rows; a run over images alone, and no folder is named or an item
            has no image there that can be read.
    """
    assert config.images is not None
    if items.images is None:
        if not config.uses_text:
            raise DataError(
                "this recommender knows items by their images; say where those of the new ones are: images=FOLDER"
            )
        return ItemImages(config.images, [""] * (items.num_items + 1), _quietly)
    ids = items.item_ids.tolist()
    found = covers.find(ids, items.images, config.images.named_by, others=known[1:], needed=False)
    images = ItemImages.of_covers(config.images, found, _quietly)
    images.notes += tuple(filter(None, [found.doubt]))
    bare = [item for item, key in zip(ids[1:], images.keys[1:], strict=True) if not key]
    if bare and not config.uses_text:
        raise DataError(
            f"this recommender knows items by their images, and {len(bare):,} of {items.num_items:,} new items have "
            f"none that can be read, such as {bare[:3]}: {'; '.join(images.notes)}. Put a whole file there for each, "
            f"such as {bare[0]}.jpg, or leave them out"
        )
    return images


def of_run(config: RunConfig, items: pl.DataFrame) -> ItemImages:
    """The images of a finished run, whose pixels the store still holds.

    Args:
        config: of the run.
        items: its item table.
    """
    assert config.images is not None
    return ItemImages(config.images, ["", *items["pixels"].fill_null("")], _quietly)


def _quietly(done: int, total: int) -> None:
    """The progress of a few items is nobody's affair."""
