"""Codes of the items' texts, the coarsest first."""

from collections import Counter
from string import ascii_lowercase

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from llmrec.item_ids import ItemIds, TextVectors, dealt_out, refuse_new, shuffled
from llmrec.item_ids._k_means import k_means
from llmrec.sequences import Sequences

COMPONENTS = 32
"""Principal components that are clustered, as many dimensions as TIGER's encoder ends with. In many more, hardly two
rests lie near each other, and one cluster around zero may take nine tenths of the items."""
_NOTHING = 1e-12
"""Lengths below are rounding."""


class Semantic:
    """``<a12><b7><c3>``: codes of an item's text by residual k-means, so items of like texts share their first ones.

    The idea is TIGER's (arXiv:2305.05065), with k-means in the place of its RQ-VAE. Items that share all codes have a
    piece more, ``<d0>`` for the one that training shows most often, so a name is always that of one item. How many they
    are is the collision rate; nothing else of a name follows from the log.

    Args:
        model: encodes the texts: a short name, a hub id or a folder.
        prompt: file below ``prompts/`` that writes them.
        levels: codes in a name.
        codes: of each level, at most.
        shuffled: whether the names are then dealt out anew at random, as a control.
    """

    def __init__(
        self,
        *,
        model: str = "minilm-l6",
        prompt: str = "items/title_genres",
        levels: int = 3,
        codes: int = 64,
        shuffled: bool = False,
    ) -> None:
        if not 1 <= levels < len(ascii_lowercase):
            raise ValueError(f"levels must be from 1 to {len(ascii_lowercase) - 1}, a letter each, came {levels}")
        if codes < 2:
            raise ValueError(f"codes must be at least 2, came {codes}")
        self.model, self.prompt, self.levels, self.codes, self.shuffled = model, prompt, levels, codes, shuffled

    def name(self, train: Sequences, items: pl.DataFrame, seed: int, vectors: TextVectors) -> ItemIds:
        """Clusters the items' texts.

        Raises:
            ConfigError: no such model.
            AssetError: a model that is neither cached nor reachable.
            PromptError: no such prompt, or one that shows a field the item table does not have.
            DataError: an item without a text.
        """
        order = shuffled(items, seed)
        points = vectors(self.model, self.prompt)[order - 1]
        codes = np.empty((len(items), self.levels), dtype=np.int64)
        codes[order - 1] = residual_codes(points, self.levels, self.codes, np.random.default_rng(seed))
        letters, last = ascii_lowercase[: self.levels], ascii_lowercase[self.levels]
        names = ["", *("".join(map(_piece, letters, row)) for row in codes.tolist())]
        number, places = Counter(names), Counter[str]()
        for item in order[np.argsort(-train.counts(len(items))[order], kind="stable")].tolist():
            if number[path := names[item]] > 1:
                names[item] += _piece(last, places[path])
                places[path] += 1
        tokens = [
            _piece(letter, code)
            for letter, row in zip(letters, codes.T.tolist(), strict=True)
            for code in sorted(set(row))
        ]
        tokens += [_piece(last, place) for place in range(max(places.values(), default=0))]
        ids = ItemIds(tuple(names), tuple(tokens), places.total() / len(items))
        return dealt_out(ids, items, seed) if self.shuffled else ids

    def of_new(self, items: pl.DataFrame, known: ItemIds) -> list[str]:
        """Refuses: the codes are those of the catalogue that was clustered.

        Raises:
            DataError: always.
        """
        refuse_new("semantic", "clusters of the texts before training", items)


def residual_codes(
    vectors: Float[np.ndarray, "items dims"], levels: int, codes: int, generator: np.random.Generator
) -> Int[np.ndarray, "items levels"]:
    """Codes by residual k-means: of each level, the cluster of what the centroids of those before leave of a vector.

    All items share the clusters of a level, as in a residual quantiser.

    Args:
        vectors: one per item, of any origin; only their directions count.
        levels: how often the rest is clustered.
        codes: clusters of a level; there are fewer where fewer rests differ.
        generator: of all that is drawn.
    """
    rest, found = _components(vectors, generator), []
    for _ in range(levels):
        centroids, labels = k_means(rest, codes, generator)
        found.append(labels)
        rest = rest - centroids[labels]
    return np.stack(found, axis=1).astype(np.int64)


def _components(
    vectors: Float[np.ndarray, "items dims"], generator: np.random.Generator
) -> Float[np.ndarray, "items components"]:
    """The leading principal components of the vectors' directions."""
    from sklearn.utils.extmath import randomized_svd

    points = vectors.astype(np.float64)
    points /= np.maximum(np.linalg.norm(points, axis=1, keepdims=True), _NOTHING)
    points -= points.mean(axis=0)
    left, values, _ = randomized_svd(
        points, min(COMPONENTS, *points.shape), random_state=int(generator.integers(2**31))
    )
    return left * values


def _piece(letter: str, number: int) -> str:
    return f"<{letter}{number}>"
