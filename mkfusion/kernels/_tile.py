"""The one loop that every vector kernel runs through: sums over features, tile by tile.

A kernel is an :class:`Operation`: ``pair`` says what two numbers add to the sum of their rows,
``finish`` what becomes of the sum. The loop is compiled once for each operation and float type.

The columns of a matrix lie in panels of :data:`PANEL`; a tile is what a panel of rows makes with
one of columns. Sums over features run in the same order wherever a tile begins, so that no value
depends on how the matrix was cut or who worked on it.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from .._jit import compiled_as, njit

PANEL = 128
STRIDE = PANEL + 16  # of a tile's rows: whole powers of two fall on one another in the cache
LINE = 64  # bytes
FEATURES = 64  # of a panel in one pass, so that the passes over it stay in the first cache

SET, ADD, MULTIPLY = 0, 1, 2


class Operation(NamedTuple):
    """How two rows become one number; a subclass says it, and its type alone tells the compiler.

    ``pair`` and ``finish`` are written for numbers and arrays alike, with the functions of
    ``_ops`` and no constants of their own: those come in as a, b and c, in the type of the data.
    """

    tag: int = 0

    def pair(self, x: Any, y: Any) -> Any:
        """Return what one feature adds to the sum."""
        raise NotImplementedError

    def finish(self, total: Any, a: Any, b: Any, c: Any) -> Any:
        """Return the kernel's value for the sum over all features."""
        raise NotImplementedError


def pair(self: Operation, x: Any, y: Any) -> Any:
    """Call the operation's own: a function that compiled loops can look up by type."""
    return self.pair(x, y)


def finish(self: Operation, total: Any, a: Any, b: Any, c: Any) -> Any:
    """Call the operation's own: a function that compiled loops can look up by type."""
    return self.finish(total, a, b, c)


@compiled_as(pair)
def _pair(self, x, y):
    return self.instance_class.pair


@compiled_as(finish)
def _finish(self, total, a, b, c):
    return self.instance_class.finish


class Place(NamedTuple):
    """Where tiles lie in a flat output."""

    origin: int  # of the first row and panel of the task
    slab: int  # from one matrix to the next
    row: int
    panel: int
    n_columns: int  # of the matrix; the last panel may reach beyond it
    mirrored: bool  # tiles right of the diagonal are stored at their transposed place too


def pack(Y: np.ndarray) -> np.ndarray:
    """Return Y in panels, features first: shape (n_panels, n_features, PANEL), 0 at the end."""
    n, d = Y.shape
    full, rest = divmod(n, PANEL)
    panels = aligned((full + (rest > 0), d, PANEL), Y.dtype)
    panels[full:] = 0
    panels[:full] = Y[: full * PANEL].reshape(full, PANEL, d).transpose(0, 2, 1)
    if rest:
        panels[full, :, :rest] = Y[full * PANEL :].T
    return panels


def aligned(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Return an empty array that begins where a cache line does: worth a quarter of the time."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    raw = np.empty(size + LINE, np.uint8)
    start = -raw.ctypes.data % LINE
    return raw[start : start + size].view(dtype).reshape(shape)


def new_tiles(count: int, dtype: Any) -> np.ndarray:
    """Return scratch for that many tiles."""
    return aligned((count, PANEL, STRIDE), dtype)


@njit
def evaluate(op, params, weights, modes, slabs, X, i0, i1, panels, p0, p1, left, right, sums, spare, tiles, out, place):  # fmt: skip # noqa: E501
    """Work out the tiles of rows i0:i1 and panels p0:p1 for every row of params.

    The sums over features are made once. With value v of one row of params, a tile becomes
    weight * v, grows by it, or is multiplied by it, as modes says; a slab >= 0 says that the tile
    is then complete and to be stored there.
    """
    height = i1 - i0
    flat_sums = sums.reshape(-1)
    for p in range(p0, p1):
        tile = tiles[(p - p0) % tiles.shape[0]]
        _sum(op, X, i0, i1, panels[p].reshape(-1), flat_sums)
        for v in range(params.shape[0]):
            values = tile if modes[v] == SET else spare
            _finish_tile(op, params[v, 0], params[v, 1], params[v, 2], height, sums, values)
            _scale(values, weights[v], i0, height, p, left, right)
            if modes[v] != SET:
                _bring(values, modes[v], height, tile)
            if slabs[v] >= 0:
                store(tile, i0, i1, p, p0, slabs[v], out, place)


@njit
def _sum(op, X, i0, i1, panel, sums):
    """Sum the pairs over all features, for every row and every column of the panel.

    Sums and panel are flat here: with distances that are constants, the compiler sees at once
    that rows do not overlap.
    """
    d = X.shape[1]
    last = i1 - 1
    for k0 in range(0, d, FEATURES):
        k1 = min(k0 + FEATURES, d)
        for i in range(i0, i1, 4):
            rows = sums[(i - i0) * STRIDE : (i - i0 + 4) * STRIDE]
            if k0 == 0:
                rows[:] = 0
            # At the end of the rows the last one stands in for those that are lacking.
            x0, x1, x2, x3 = X[i], X[min(i + 1, last)], X[min(i + 2, last)], X[min(i + 3, last)]
            _add(op, x0, x1, x2, x3, panel, k0, k1, rows)


@njit
def _add(op, x0, x1, x2, x3, panel, k0, k1, rows):
    """Add features k0:k1 to four rows of sums: four features at a time, and then one by one."""
    r1, r2, r3 = STRIDE, 2 * STRIDE, 3 * STRIDE
    k = k0
    while k + 4 <= k1:
        a0, a1, a2, a3 = x0[k], x0[k + 1], x0[k + 2], x0[k + 3]
        b0, b1, b2, b3 = x1[k], x1[k + 1], x1[k + 2], x1[k + 3]
        c0, c1, c2, c3 = x2[k], x2[k + 1], x2[k + 2], x2[k + 3]
        d0, d1, d2, d3 = x3[k], x3[k + 1], x3[k + 2], x3[k + 3]
        y = panel[k * PANEL : (k + 4) * PANEL]
        for j in range(PANEL):
            y0, y1, y2, y3 = y[j], y[j + PANEL], y[j + 2 * PANEL], y[j + 3 * PANEL]
            rows[j] = rows[j] + pair(op, a0, y0) + pair(op, a1, y1) + pair(op, a2, y2) + pair(op, a3, y3)  # fmt: skip # noqa: E501
            rows[j + r1] = rows[j + r1] + pair(op, b0, y0) + pair(op, b1, y1) + pair(op, b2, y2) + pair(op, b3, y3)  # fmt: skip # noqa: E501
            rows[j + r2] = rows[j + r2] + pair(op, c0, y0) + pair(op, c1, y1) + pair(op, c2, y2) + pair(op, c3, y3)  # fmt: skip # noqa: E501
            rows[j + r3] = rows[j + r3] + pair(op, d0, y0) + pair(op, d1, y1) + pair(op, d2, y2) + pair(op, d3, y3)  # fmt: skip # noqa: E501
        k += 4
    while k < k1:
        a0, b0, c0, d0 = x0[k], x1[k], x2[k], x3[k]
        y = panel[k * PANEL : (k + 1) * PANEL]
        for j in range(PANEL):
            rows[j] += pair(op, a0, y[j])
            rows[j + r1] += pair(op, b0, y[j])
            rows[j + r2] += pair(op, c0, y[j])
            rows[j + r3] += pair(op, d0, y[j])
        k += 1


@njit
def _finish_tile(op, a, b, c, height, sums, values):
    for i in range(height):
        for j in range(PANEL):
            values[i, j] = finish(op, sums[i, j], a, b, c)


@njit
def _scale(values, weight, i0, height, p, left, right):
    """Multiply a tile by the weight, and by those of its rows and columns."""
    if left.size:
        rows, columns = left[i0 : i0 + height], right[p * PANEL : (p + 1) * PANEL]
        for i in range(height):
            row = rows[i]
            for j in range(PANEL):  # the weight last: what is symmetric stays so to the bit
                values[i, j] *= weight * (row * columns[j])
    elif weight != 1:
        for i in range(height):
            for j in range(PANEL):
                values[i, j] *= weight


@njit
def _bring(values, mode, height, tile):
    """Add values to a tile, multiply it by them, or replace it."""
    for i in range(height):
        if mode == ADD:
            for j in range(PANEL):
                tile[i, j] += values[i, j]
        elif mode == MULTIPLY:
            for j in range(PANEL):
                tile[i, j] *= values[i, j]
        else:
            for j in range(PANEL):
                tile[i, j] = values[i, j]


@njit
def store(tile, i0, i1, p, p0, slab, out, place):
    """Write a tile to its place, and to the mirrored one if the place says so.

    Positions are unsigned: one that might be negative would keep the loops from being vectorised.
    """
    first = p * PANEL
    width = min(PANEL, place.n_columns - first)
    start = place.origin + slab * place.slab + (p - p0) * place.panel
    for i in range(i1 - i0):
        at = np.uintp(start + i * place.row)
        for j in range(width):
            out[at + np.uintp(j)] = tile[i, j]
    if place.mirrored and first >= i1:
        _mirror(tile, i1 - i0, width, slab * place.slab + first * place.row + i0, place.row, out)


@njit
def _mirror(tile, height, width, start, stride, out):
    """Write a tile transposed, eight of its columns at a time."""
    at, step = np.uintp(start), np.uintp(stride)
    full = width // 8
    for b in range(full):
        columns = tile[:, 8 * b : 8 * b + 8]
        at1 = at + step
        at2 = at1 + step
        at3 = at2 + step
        at4 = at3 + step
        at5 = at4 + step
        at6 = at5 + step
        at7 = at6 + step
        for i in range(height):
            k = np.uintp(i)
            out[at + k], out[at1 + k] = columns[i, 0], columns[i, 1]
            out[at2 + k], out[at3 + k] = columns[i, 2], columns[i, 3]
            out[at4 + k], out[at5 + k] = columns[i, 4], columns[i, 5]
            out[at6 + k], out[at7 + k] = columns[i, 6], columns[i, 7]
        at = at7 + step
    for j in range(8 * full, width):
        for i in range(height):
            out[at + np.uintp(i)] = tile[i, j]
        at += step


@njit
def load(matrix, weight, mode, i0, i1, p0, p1, left, right, spare, tiles, slab, out, place):
    """Do for a matrix that is there already what :func:`evaluate` does for an operation."""
    height = i1 - i0
    for p in range(p0, p1):
        tile = tiles[(p - p0) % tiles.shape[0]]
        first = p * PANEL
        width = min(PANEL, matrix.shape[1] - first)
        values = tile if mode == SET else spare
        for i in range(height):
            row = matrix[i0 + i, first : first + width]
            for j in range(width):
                values[i, j] = row[j]
        _scale(values, weight, i0, height, p, left, right)
        if mode != SET:
            _bring(values, mode, height, tile)
        if slab >= 0:
            store(tile, i0, i1, p, p0, slab, out, place)


@njit
def fold(part, mode, i0, i1, p0, p1, tiles, slab, out, place):
    """Bring tiles that hold a finished product into the tiles of the result."""
    for p in range(p0, p1):
        tile = tiles[(p - p0) % tiles.shape[0]]
        _bring(part[(p - p0) % part.shape[0]], mode, i1 - i0, tile)
        if slab >= 0:
            store(tile, i0, i1, p, p0, slab, out, place)
