"""Paths through a tree of items that the same people met."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Float
from scipy import sparse

from llmrec.item_ids import ItemIds, Order, TextVectors, dealt_out, refuse_new, shuffled
from llmrec.item_ids._k_means import k_means
from llmrec.sequences import Sequences

DEEPEST = 10
"""Levels of clustering; what is still too large for a leaf then is cut at random, so that names stay short."""
_NOTHING = 1e-6
"""Singular values and norms below are rounding; the largest singular value is 1."""
_Path = tuple[int, ...]


class Collaborative:
    """``<c3><c0><i17>``: the clusters an item is in, largest first, and its place in the last (arXiv:2305.06569).

    The places in a cluster go by the number of users in training, the most popular item first, so ``<i0>`` says
    something about an item whatever its cluster is.

    Items are linked by the number of users who had both in training. Spectral clustering of this graph (Ng, Jordan &
    Weiss 2001) cuts the catalogue, and again each part that is too large for a leaf, so items of the same people share
    the beginning of their names. Items without a link, such as those that training never shows, have a branch of their
    own; that one, and parts that the clustering leaves whole, are cut at random.

    Args:
        clusters: into how many a part is cut.
        leaf: the most items that are not cut further.
        shuffled: whether the names are then dealt out anew at random, as a control.
    """

    def __init__(self, *, clusters: int = 20, leaf: int = 100, shuffled: bool = False) -> None:
        if clusters < 2:
            raise ValueError(f"clusters must be at least 2, came {clusters}")
        if leaf < 1:
            raise ValueError(f"leaf must be at least 1, came {leaf}")
        self.clusters, self.leaf, self.shuffled = clusters, leaf, shuffled

    def name(self, train: Sequences, items: pl.DataFrame, seed: int, vectors: TextVectors) -> ItemIds:
        """Clusters the items of the training part."""
        users = _users_of_items(train, len(items))
        leaves = list(self._leaves(_Graph(users, np.random.default_rng(seed)), shuffled(items, seed)))
        names, popularity = [""] * (len(items) + 1), users.sum(axis=1)
        for path, leaf in leaves:
            for place, item in enumerate(leaf[np.argsort(-popularity[leaf], kind="stable")].tolist()):
                names[item] = "".join((*_tokens("c", path), f"<i{place}>"))
        widest = max((number + 1 for path, _ in leaves for number in path), default=0)
        fullest = max(len(leaf) for _, leaf in leaves)
        ids = ItemIds(tuple(names), (*_tokens("c", range(widest)), *_tokens("i", range(fullest))))
        return dealt_out(ids, items, seed) if self.shuffled else ids

    def of_new(self, items: pl.DataFrame, known: ItemIds) -> list[str]:
        """Refuses: nobody has met them in training.

        Raises:
            DataError: always.
        """
        refuse_new("collaborative", "the training log", items)

    def _leaves(self, graph: "_Graph", group: Order, path: _Path = ()) -> Iterator[tuple[_Path, Order]]:
        if len(group) <= self.leaf:
            yield path, group
            return
        parts = graph.parts(group, self.clusters) if len(path) < DEEPEST else [group]
        if len(parts) == 1:
            parts = np.array_split(group, min(self.clusters, -(-len(group) // self.leaf)))
        for number, part in enumerate(parts):
            yield from self._leaves(graph, part, (*path, number))


@dataclass
class _Graph:
    """Items linked by users, kept as the log: no matrix of items by items is ever made."""

    users: sparse.csr_array
    """Item by user, ones."""
    generator: np.random.Generator

    def parts(self, group: Order, number: int) -> list[Order]:
        """At most ``number`` clusters of the linked items, then the others; in the order of the group."""
        users = self.users[group]
        users = users[:, users.sum(axis=0) > 1]
        linked = users.sum(axis=1) > 0
        labels = np.full(len(group), number)
        if linked.any():
            labels[linked] = k_means(self._embed(users[linked], number), number, self.generator)[1]
        return [group[labels == label] for label in np.unique(labels)]

    def _embed(self, users: sparse.csr_array, number: int) -> Float[np.ndarray, "items dims"]:
        """Rows of length 1, or zeros, from the leading eigenvectors of the graph's normalised matrix.

        With a loop at each item that matrix is a product of the log with itself, so they are singular vectors of the
        log, which a method by blocks finds also where the graph falls apart and many eigenvalues are equal.
        """
        from sklearn.utils.extmath import randomized_svd

        scale = sparse.diags_array(1 / np.sqrt(users @ users.sum(axis=0)))
        seed = int(self.generator.integers(2**31))
        vectors, values, _ = randomized_svd((scale @ users).tocsr(), min(number, *users.shape), random_state=seed)
        vectors = vectors[:, values > _NOTHING]
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        # Of a piece of the graph that none of these vectors shows there is rounding alone, which would cut it anywhere.
        return np.where(norms > _NOTHING, vectors / np.maximum(norms, _NOTHING), 0.0)


def _users_of_items(train: Sequences, num_items: int) -> sparse.csr_array:
    where = (train.values, train.rows())
    users = sparse.csr_array((np.ones(len(train.values)), where), shape=(num_items + 1, len(train)))
    users.data[:] = 1
    return users


def _tokens(letter: str, numbers: Iterable[int]) -> list[str]:
    return [f"<{letter}{number}>" for number in numbers]
