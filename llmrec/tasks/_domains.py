"""Which items a file selects; an item belongs to the first that does."""

from pathlib import Path

import numpy as np
import polars as pl

from llmrec.errors import ConfigError, DataError, nearest
from llmrec.interactions import Dataset
from llmrec.tasks.options import Domain


class Domains:
    """The items of a data set, dealt out file by file.

    Args:
        dataset: whose items.
        training: marks the users that train, by index.
    """

    def __init__(self, dataset: Dataset, training: np.ndarray) -> None:
        self.dataset, self.free = dataset, np.ones(dataset.num_items + 1, dtype=bool)
        self.free[0] = False
        user, item = (dataset.interactions[name].to_numpy() for name in ("user", "item"))
        self.counts = np.bincount(item[training[user]], minlength=dataset.num_items + 1)

    def take(self, options: Domain, path: Path) -> tuple[np.ndarray, list[str]]:
        """Marks a file's items by index, and notes of those that an earlier file has.

        Raises:
            ConfigError: a genre that no item has, or genres where items have none.
            DataError: no item is left.
        """
        most = np.inf if options.at_most is None else options.at_most
        fit = (self.counts >= options.at_least) & (self.counts <= most)
        if options.genres:
            fit &= self._with(options.genres, "genres", path)
        if options.without_genres:
            fit &= ~self._with(options.without_genres, "without_genres", path)
        fit[0] = False
        taken = int((fit & ~self.free).sum())
        chosen = fit & self.free
        if not chosen.any():
            raise DataError(
                f"{path}: no item is left for {options.words}: {int(fit.sum())} are so, and all of them belong to "
                "earlier files; an item belongs to the first file that selects it"
            )
        self.free &= ~chosen
        return chosen, [f"left to earlier files: {taken:,} items that fit"] if taken else []

    def _with(self, genres: tuple[str, ...], key: str, path: Path) -> np.ndarray:
        items = self.dataset.items
        if "genres" not in items.columns:
            raise ConfigError(f"{path}: {key}: items of {self.dataset.name} have no genres (have: {items.columns})")
        have = set(items["genres"].explode().drop_nulls())
        for genre in genres:
            if genre not in have:
                raise ConfigError(f"{path}: {key}: no item has the genre {genre!r}{nearest(genre, have)}")
        some = pl.any_horizontal(pl.col("genres").list.contains(genre) for genre in genres)
        return np.concatenate([[False], items.select(some.fill_null(False)).to_series().to_numpy()])
