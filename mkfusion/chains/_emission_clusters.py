"""Clusters of steps, for EM to begin with: k-means that counts a step of weight 2 twice."""

from __future__ import annotations

import numpy as np

__all__ = ["cluster"]

Array = np.ndarray

SAMPLE = 10_000  # distinct steps that are clustered; the rest go to the nearest centre
MAX_ITER = 50
CHUNK = 2**22  # distances made at a time


def cluster(
    features: Array,
    weights: Array,
    n_clusters: int,
    rng: np.random.Generator,
    allowed: Array | None = None,
) -> Array:
    """Return the cluster of every row, by weighted k-means++ and Lloyd's iterations.

    The answer depends on the weighted distribution of the rows alone: not on their order, and a
    row of weight 2 is two rows. ``allowed (n_rows, n_clusters)`` limits the clusters of a row.
    """
    direction = rng.standard_normal((features.shape[1],))
    draws = rng.random((n_clusters, _n_tries(n_clusters)))
    rows = np.flatnonzero(weights > 0)
    if not len(rows):
        return np.zeros(len(features), np.int64)
    rows, shares = _distinct(features, weights, rows, direction, allowed)
    if len(rows) > SAMPLE:
        ends = np.cumsum(shares)
        places = (np.arange(SAMPLE) + 0.5) / SAMPLE * ends[-1]
        rows = rows[np.minimum(np.searchsorted(ends, places), len(rows) - 1)]
        shares = np.full(SAMPLE, 1 / SAMPLE)
    points = features[rows]
    free = None if allowed is None else allowed[rows]
    centers = _seeds(points, shares, n_clusters, draws, free)
    for _ in range(MAX_ITER):
        labels = nearest(points, centers, free)
        moved = _means(points, shares, labels, centers)
        if np.array_equal(moved, centers):
            break
        centers = moved
    return nearest(features, centers, allowed)


def _n_tries(n_clusters: int) -> int:
    return 2 + int(np.log(n_clusters))


def _distinct(
    features: Array, weights: Array, rows: Array, direction: Array, allowed: Array | None
) -> tuple[Array, Array]:
    """Return one row of each kind, in an order of their own, and the shares of the weight."""
    places = np.einsum("ij,j->i", features[rows], direction)
    if allowed is not None:  # rows that may be of other clusters are of another kind
        places = places + 1e-3 * (allowed[rows] @ np.arange(1.0, allowed.shape[1] + 1))
    order = np.argsort(places, kind="stable")
    rows = rows[order]
    same = (features[rows[1:]] == features[rows[:-1]]).all(axis=1)
    if allowed is not None:
        same &= (allowed[rows[1:]] == allowed[rows[:-1]]).all(axis=1)
    first = np.flatnonzero(np.r_[True, ~same])
    shares = np.add.reduceat(weights[rows], first)
    return rows[first], shares / shares.sum()


def _seeds(
    points: Array, shares: Array, n_clusters: int, draws: Array, allowed: Array | None
) -> Array:
    """Return centres that lie apart: each the best of some drawn by squared distance."""
    centers = np.empty((n_clusters, points.shape[1]))
    distances = np.full(len(points), np.inf)
    for k in range(n_clusters):
        mass = shares * (1.0 if k == 0 else distances)
        if allowed is not None:
            mass = mass * allowed[:, k]
            if not mass.any():
                mass = shares * allowed[:, k]
        if not mass.any():  # fewer different points than clusters
            mass = shares
        ends = np.cumsum(mass)
        tries = np.searchsorted(ends, draws[k] * ends[-1], side="right")
        best, least = distances, np.inf
        for i in np.minimum(tries, len(points) - 1):
            near = np.minimum(distances, ((points - points[i]) ** 2).sum(axis=1))
            left = float(shares @ near)
            if left < least:
                best, least, centers[k] = near, left, points[i]
        distances = best
    return centers


def nearest(points: Array, centers: Array, allowed: Array | None) -> Array:
    """Return the nearest centre of every point, the lowest of equal ones."""
    labels = np.empty(len(points), np.int64)
    size = max(1, CHUNK // len(centers))
    norms = (centers**2).sum(axis=1)
    for begin in range(0, len(points), size):
        part = slice(begin, begin + size)
        distances = norms - 2 * points[part] @ centers.T
        if allowed is not None:
            distances[~allowed[part]] = np.inf
        labels[part] = distances.argmin(axis=1)
    return labels


def _means(points: Array, shares: Array, labels: Array, centers: Array) -> Array:
    members = np.zeros((len(points), len(centers)))
    members[np.arange(len(points)), labels] = shares
    sums = members.sum(axis=0)
    means = members.T @ points / np.where(sums > 0, sums, 1.0)[:, None]
    return np.where(sums[:, None] > 0, means, centers)
