"""Canonical correlations, and kernels compared by sums over rows; on arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

Array = np.ndarray
Kernel = Callable[[Array, Array], Array]

CHUNK = 512  # rows of a kernel that are there at a time
MEDIAN_ROWS = 500


class Canonical(NamedTuple):
    """Directions of two blocks, whose projections are correlated as far as can be."""

    means: tuple[Array, Array]
    directions: tuple[Array, Array]  # shapes: (n_columns, n_components)
    correlations: Array  # in the shrunk covariances, by which they may exceed 1
    shrinkage: tuple[float, float]

    def project(self, first: Array, second: Array) -> tuple[Array, Array]:
        pairs = zip((first, second), self.means, self.directions, strict=True)
        one, two = ((block - mean) @ directions for block, mean, directions in pairs)
        return one, two


def canonical_correlations(
    first: Array, second: Array, n_components: int, shrinkage: float | None = None
) -> Canonical:
    """Return the directions; None for shrinkage is that of Ledoit and Wolf, block by block.

    A covariance S of d columns becomes ``(1 - a) S + a tr(S) / d I``.
    """
    means = first.mean(axis=0), second.mean(axis=0)
    blocks = first - means[0], second - means[1]
    amounts = tuple(_shrinkage(block) if shrinkage is None else shrinkage for block in blocks)
    roots = [_inverse_root(block, amount) for block, amount in zip(blocks, amounts, strict=True)]
    cross = blocks[0].T @ blocks[1] / len(first)
    left, correlations, right = np.linalg.svd(roots[0] @ cross @ roots[1], full_matrices=False)
    directions = roots[0] @ left[:, :n_components], roots[1] @ right[:n_components].T
    return Canonical(means, directions, correlations[:n_components], (amounts[0], amounts[1]))


def _shrinkage(block: Array) -> float:
    from sklearn.covariance import ledoit_wolf_shrinkage

    return float(ledoit_wolf_shrinkage(block, assume_centered=True)) if block.any() else 1.0


def _inverse_root(block: Array, amount: float) -> Array:
    """Return the inverse square root of the shrunk covariance, 0 where it is 0."""
    covariance = block.T @ block / len(block)
    scale = np.trace(covariance) / len(covariance)
    covariance = (1 - amount) * covariance + amount * scale * np.eye(len(covariance))
    values, vectors = np.linalg.eigh(covariance)
    keep = values > len(values) * np.finfo(float).eps * max(values.max(), 0.0)
    roots = np.where(keep, 1 / np.sqrt(np.where(keep, values, 1.0)), 0.0)
    return (vectors * roots) @ vectors.T


# Kernels --------------------------------------------------------------------------------------


def linear(rows: Array, others: Array) -> Array:
    return rows @ others.T


def rbf(gamma: float) -> Kernel:
    """Return the kernel ``exp(-gamma |a - b|^2)``."""

    def kernel(rows: Array, others: Array) -> Array:
        return np.exp(-gamma * _squared_distances(rows, others))

    return kernel


def _squared_distances(rows: Array, others: Array) -> Array:
    norms = (rows**2).sum(axis=1)[:, np.newaxis] + (others**2).sum(axis=1)
    return np.maximum(norms - 2 * rows @ others.T, 0.0)


def median_gamma(*blocks: Array) -> float:
    """Return one over the median squared distance of rows, of at most 500 of them."""
    values = np.concatenate(blocks)
    chosen = values[np.linspace(0, len(values) - 1, min(len(values), MEDIAN_ROWS)).astype(int)]
    distances = _squared_distances(chosen, chosen)[np.triu_indices(len(chosen), 1)]
    median = np.median(distances) if len(distances) else 0.0
    if median <= 0:  # more than half of the pairs are the same
        median = distances.mean() if len(distances) else 0.0
    return float(1 / median) if median > 0 else 1.0


class CKA(NamedTuple):
    """Centred kernel alignment: of the biased and of the unbiased estimates of HSIC."""

    biased: float
    unbiased: float


def cka(first: Array, second: Array, kernels: tuple[Kernel, Kernel]) -> CKA:
    """Return how alike two kernels on the same rows are, NaN where one is constant."""
    one, two, both = (np.zeros(2) for _ in range(3))
    sums, products = np.zeros((2, 2, len(first))), np.zeros((2, 3))
    for rows in _chunks(len(first)):
        K, L = (k(b[rows], b) for k, b in zip(kernels, (first, second), strict=True))
        for place in range(2):  # with the diagonal, and without
            if place:
                own = np.arange(len(K)), np.arange(len(first))[rows]
                K[own] = L[own] = 0.0
            sums[place, 0, rows], sums[place, 1, rows] = K.sum(axis=1), L.sum(axis=1)
            products[place] += (K * L).sum(), (K * K).sum(), (L * L).sum()
    both, one, two = (
        np.array([_biased(*rest[0]), _unbiased(*rest[1])])
        for rest in (
            [(products[p, 0], sums[p, 0], sums[p, 1]) for p in range(2)],
            [(products[p, 1], sums[p, 0], sums[p, 0]) for p in range(2)],
            [(products[p, 2], sums[p, 1], sums[p, 1]) for p in range(2)],
        )
    )
    least = 1e-12 * np.abs(products[0, 1:]) / max(len(first), 1) ** 2
    usable = (one > least[0]) & (two > least[1])
    scale = np.sqrt(np.where(usable, one * two, 1.0))
    return CKA(*np.where(usable, both / scale, np.nan).tolist())


def _biased(product: float, first: Array, second: Array) -> float:
    """Return ``tr(K H L H) / n^2`` from ``sum(K * L)`` and the row sums."""
    n = len(first)
    return (product - 2 * first @ second / n + first.sum() * second.sum() / n**2) / n**2


def _unbiased(product: float, first: Array, second: Array) -> float:
    """Return the estimate of Song et al. from kernels without their diagonal."""
    n = len(first)
    if n < 4:
        return float("nan")
    shared = first.sum() * second.sum() / ((n - 1) * (n - 2))
    return (product + shared - 2 * first @ second / (n - 2)) / (n * (n - 3))


def mmd(first: Array, second: Array, kernel: Kernel) -> tuple[float, float]:
    """Return the squared maximum mean discrepancy of paired rows, biased and unbiased."""
    total = diagonal = 0.0
    for rows in _chunks(len(first)):
        own, other = first[rows], second[rows]
        h = kernel(own, first) + kernel(other, second) - kernel(own, second) - kernel(other, first)
        total += h.sum()
        diagonal += h[np.arange(len(h)), np.arange(len(first))[rows]].sum()
    n = len(first)
    unbiased = (total - diagonal) / (n * (n - 1)) if n > 1 else float("nan")
    return float(total / n**2), float(unbiased)


def _chunks(n_rows: int) -> Iterator[slice]:
    return (slice(start, start + CHUNK) for start in range(0, n_rows, CHUNK))


# Retrieval ------------------------------------------------------------------------------------


def mean_average_precision(
    queries: Array, gallery: Array, labels: Array
) -> tuple[float, float, int]:
    """Return the mean average precision, what chance gives, and how many queries count.

    Row i of the gallery belongs to query i and is not offered to it. A query without another
    row of its label does not count.
    """
    sides = [_normalised(side) for side in (queries, gallery)]
    n_others = len(labels) - 1
    ranks = np.arange(1, n_others + 1)
    found, chance = [], []
    for i in range(len(labels)):
        relevant = np.delete(labels == labels[i], i)
        n_relevant = relevant.sum()
        if not n_relevant:
            continue
        order = np.argsort(-np.delete(sides[1] @ sides[0][i], i), kind="stable")
        hits = relevant[order]
        found.append((np.cumsum(hits) / ranks)[hits].mean())
        # The mean over all orders: ranks are equally likely, others lie before at random.
        before = (n_relevant - 1) / max(n_others - 1, 1)
        harmonic = (1 / ranks).sum()
        chance.append((harmonic + before * (n_others - harmonic)) / n_others)
    if not found:
        return float("nan"), float("nan"), 0
    return float(np.mean(found)), float(np.mean(chance)), len(found)


def _normalised(rows: Array) -> Array:
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(norms > 0, norms, 1.0)
