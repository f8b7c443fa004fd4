"""Sums over the kernels and the samples of tiles: what a store is asked for."""

from __future__ import annotations

import numpy as np

from .._jit import njit
from ._tile import PANEL, store

ROWS = 4  # of a tile that are read for one vector after another


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
            for i in range(0, PANEL, ROWS):
                rows, at = tiles[k, m, i : i + ROWS], i0 + i
                for v in range(len(vectors)):
                    right = vectors[v, first : first + PANEL]
                    if first == i0:
                        sums = dots(rows, right)
                    else:
                        left = vectors[v, at : at + ROWS]
                        sums = dots_and_sum(rows, right, left, found[m, v, first : first + PANEL])
                    target = found[m, v, at : at + ROWS]
                    for r in range(ROWS):
                        target[r] += sums[r]


def _dot(row, vector):
    total = 0.0
    for j in range(PANEL):
        total += row[j] * vector[j]
    return total


def _dots(rows, vector):
    """Return the products of four rows with a vector."""
    a, b, c, d = rows[0], rows[1], rows[2], rows[3]
    s = t = u = w = 0.0
    for j in range(PANEL):
        x = vector[j]
        s += a[j] * x
        t += b[j] * x
        u += c[j] * x
        w += d[j] * x
    return s, t, u, w


def _dots_and_sum(rows, vector, factors, target):
    """Return the products of four rows with a vector, and add the sum of factors times rows."""
    a, b, c, d = rows[0], rows[1], rows[2], rows[3]
    e, f, g, h = factors[0], factors[1], factors[2], factors[3]
    s = t = u = w = 0.0
    for j in range(PANEL):
        x = vector[j]
        s += a[j] * x
        t += b[j] * x
        u += c[j] * x
        w += d[j] * x
        target[j] += e * a[j] + f * b[j] + g * c[j] + h * d[j]
    return s, t, u, w


dot = njit(_dot, reassociate=True)
dots = njit(_dots, reassociate=True)
dots_and_sum = njit(_dots_and_sum, reassociate=True)
