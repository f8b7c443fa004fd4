"""Sums over the kernels and the samples of tiles: what a store is asked for."""

from __future__ import annotations

import numpy as np

from .._jit import njit
from ._tile import PANEL, store


@njit
def weighted_sum(tiles, weights, i0, i1, p0, p1, total, out, place):
    """Store the weighted sum of the kernels of every tile; those without weight are not read."""
    used = np.flatnonzero(weights)
    first = used[0] if len(used) else 0
    for k in range(p1 - p0):
        for i in range(i1 - i0):
            for j in range(PANEL):
                total[i, j] = weights[first] * tiles[k, first, i, j]
            for m in used[1:]:
                for j in range(PANEL):
                    total[i, j] += weights[m] * tiles[k, m, i, j]
        store(total, i0, i1, p0 + k, p0, 0, out, place)


@njit
def quadratic_forms(tiles, i0, p0, vectors, found):
    """Add to v' K v, of shape (kernels, vectors), the share of tiles and their mirror images."""
    n_tiles, n_kernels = tiles.shape[:2]
    for k in range(n_tiles):
        first = (p0 + k) * PANEL
        twice = 1.0 if first == i0 else 2.0
        for m in range(n_kernels):
            for v in range(len(vectors)):
                left = vectors[v, i0 : i0 + PANEL]
                right = vectors[v, first : first + PANEL]
                form = 0.0
                for i in range(PANEL):
                    form += left[i] * dot(tiles[k, m, i], right)
                found[m, v] += twice * form


@njit
def products(tiles, i0, p0, vectors, found):
    """Add to K v, of shape (kernels, vectors, n), the share of tiles and their mirror images."""
    n_tiles, n_kernels = tiles.shape[:2]
    for k in range(n_tiles):
        first = (p0 + k) * PANEL
        for m in range(n_kernels):
            for v in range(len(vectors)):
                left = vectors[v, i0 : i0 + PANEL]
                right = vectors[v, first : first + PANEL]
                rows = found[m, v, i0 : i0 + PANEL]
                columns = found[m, v, first : first + PANEL]
                for i in range(PANEL):
                    row = tiles[k, m, i]
                    rows[i] += dot(row, right)
                    if first != i0:
                        add_multiple(left[i], row, columns)


def _dot(row, vector):
    total = 0.0
    for j in range(PANEL):
        total += row[j] * vector[j]
    return total


dot = njit(_dot, reassociate=True)


@njit
def add_multiple(factor, row, target):
    for j in range(PANEL):
        target[j] += factor * row[j]
