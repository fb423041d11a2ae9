"""Clusters of points, the same ones each time."""

import warnings

import numpy as np
from jaxtyping import Float, Int


def k_means(
    points: Float[np.ndarray, "items dims"], number: int, generator: np.random.Generator
) -> tuple[Float[np.ndarray, "clusters dims"], Int[np.ndarray, " items"]]:
    """Centroids and the cluster of each point, of at most ``number``; a cluster may be left without a point.

    The k-means of scipy has one thread, so nothing is summed in another order the next time.

    Args:
        points: of lengths about 1; what differs in the seventh decimal is one point.
        number: of clusters; there are no more than different points.
        generator: draws the first centroids (k-means++).
    """
    from scipy.cluster.vq import kmeans2

    distinct = len(np.unique(points.round(6), axis=0))
    if distinct == 1:
        return points.mean(axis=0, keepdims=True), np.zeros(len(points), dtype=np.int64)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "One of the clusters is empty")
        centroids, labels = kmeans2(points, min(number, distinct), iter=50, minit="++", seed=generator)
    return centroids, labels
