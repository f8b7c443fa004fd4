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
from ._ops import transpose_eight

PANEL = 128
ROW, ROW2, ROW3 = np.uintp(PANEL), np.uintp(2 * PANEL), np.uintp(3 * PANEL)
LINE = 64  # bytes
FEATURES = 32  # of a panel in one pass, so that the passes over it stay in the first cache

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
    return aligned((count, PANEL, PANEL), dtype)


@njit
def evaluate(op, params, weights, modes, slabs, X, i0, i1, panels, p0, p1, left, right, sums, spare, tiles, out, place):  # fmt: skip # noqa: E501
    """Work out the tiles of rows i0:i1 and panels p0:p1 for every row of params.

    The sums over features are made once. With value v of one row of params, a tile becomes
    weight * v, grows by it, or is multiplied by it, as modes says; a slab >= 0 says that the tile
    is then complete and to be stored there.
    """
    height = i1 - i0
    flat_sums, flat_panels = sums.reshape(-1), panels.reshape(-1)
    size = X.shape[1] * PANEL
    for p in range(p0, p1):
        tile = tiles[(p - p0) % tiles.shape[0]]
        _sum(op, X, i0, i1, flat_panels, p * size, flat_sums)
        for v in range(params.shape[0]):
            values = tile if modes[v] == SET else spare
            _finish_tile(
                op, params[v, 0], params[v, 1], params[v, 2], flat_sums[: height * PANEL],
                values.reshape(-1)[: height * PANEL],
            )  # fmt: skip
            _scale(values, weights[v], i0, height, p, left, right)
            if modes[v] != SET:
                _bring(values, modes[v], height, tile)
            if slabs[v] >= 0:
                store(tile, i0, i1, p, p0, slabs[v], out, place)


@njit
def _sum(op, X, i0, i1, panels, first, sums):
    """Sum the pairs over all features, for every row and every column of one panel.

    Panels and sums are flat, and addressed from ``first`` on by unsigned numbers: so the compiler
    sees that no position is negative and that rows do not overlap, and nobody counts references.
    """
    d = X.shape[1]
    last = i1 - 1
    for k0 in range(0, d, FEATURES):
        k1 = min(k0 + FEATURES, d)
        for i in range(i0, i1, 4):
            # At the end of the rows the last one stands in for those that are lacking.
            rows = (i, min(i + 1, last), min(i + 2, last), min(i + 3, last))
            s = np.uintp((i - i0) * PANEL)
            k = k0
            if k0 == 0 and d >= 4:
                _add_four(op, True, X, rows, 0, panels, np.uintp(first), sums, s)
                k = 4
            elif k0 == 0:
                for j in range(4 * PANEL):
                    sums[s + np.uintp(j)] = 0
            while k + 4 <= k1:
                _add_four(op, False, X, rows, k, panels, np.uintp(first + k * PANEL), sums, s)
                k += 4
            while k < k1:
                _add_one(op, X, rows, k, panels, np.uintp(first + k * PANEL), sums, s)
                k += 1


@njit
def _four(op, total, x0, x1, x2, x3, y0, y1, y2, y3):
    return total + pair(op, x0, y0) + pair(op, x1, y1) + pair(op, x2, y2) + pair(op, x3, y3)


@njit
def _add_four(op, begin, X, rows, k, panels, y, sums, s):
    """Add features k to k + 3 to four rows of sums, or begin the sums with them."""
    i0, i1, i2, i3 = rows
    a0, a1, a2, a3 = X[i0, k], X[i0, k + 1], X[i0, k + 2], X[i0, k + 3]
    b0, b1, b2, b3 = X[i1, k], X[i1, k + 1], X[i1, k + 2], X[i1, k + 3]
    c0, c1, c2, c3 = X[i2, k], X[i2, k + 1], X[i2, k + 2], X[i2, k + 3]
    d0, d1, d2, d3 = X[i3, k], X[i3, k + 1], X[i3, k + 2], X[i3, k + 3]
    if begin:
        zero = a0 - a0
        for j in range(PANEL):
            y0, y1, y2, y3, s0, s1, s2, s3 = _places(y + np.uintp(j), s + np.uintp(j))
            z0, z1, z2, z3 = panels[y0], panels[y1], panels[y2], panels[y3]
            sums[s0] = _four(op, zero, a0, a1, a2, a3, z0, z1, z2, z3)
            sums[s1] = _four(op, zero, b0, b1, b2, b3, z0, z1, z2, z3)
            sums[s2] = _four(op, zero, c0, c1, c2, c3, z0, z1, z2, z3)
            sums[s3] = _four(op, zero, d0, d1, d2, d3, z0, z1, z2, z3)
    else:
        for j in range(PANEL):
            y0, y1, y2, y3, s0, s1, s2, s3 = _places(y + np.uintp(j), s + np.uintp(j))
            z0, z1, z2, z3 = panels[y0], panels[y1], panels[y2], panels[y3]
            sums[s0] = _four(op, sums[s0], a0, a1, a2, a3, z0, z1, z2, z3)
            sums[s1] = _four(op, sums[s1], b0, b1, b2, b3, z0, z1, z2, z3)
            sums[s2] = _four(op, sums[s2], c0, c1, c2, c3, z0, z1, z2, z3)
            sums[s3] = _four(op, sums[s3], d0, d1, d2, d3, z0, z1, z2, z3)


@njit
def _places(y, s):
    return y, y + ROW, y + ROW2, y + ROW3, s, s + ROW, s + ROW2, s + ROW3


@njit
def _add_one(op, X, rows, k, panels, y, sums, s):
    """Add feature k to four rows of sums."""
    i0, i1, i2, i3 = rows
    a, b, c, d = X[i0, k], X[i1, k], X[i2, k], X[i3, k]
    for j in range(PANEL):
        z = panels[y + np.uintp(j)]
        _, _, _, _, s0, s1, s2, s3 = _places(y, s + np.uintp(j))
        sums[s0] += pair(op, a, z)
        sums[s1] += pair(op, b, z)
        sums[s2] += pair(op, c, z)
        sums[s3] += pair(op, d, z)


@njit
def _finish_tile(op, a, b, c, sums, values):
    for t in range(len(values)):
        values[t] = finish(op, sums[t], a, b, c)


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
    """Write a tile transposed: squares of eight, and the rest number by number."""
    rows, columns = height - height % 8, width - width % 8
    flat = tile.reshape(-1)
    for j in range(0, columns, 8):
        for i in range(0, rows, 8):
            transpose_eight(flat, i * PANEL + j, PANEL, out, start + j * stride + i, stride)
    for j in range(width):
        at = start + j * stride
        for i in range(0 if j >= columns else rows, height):
            out[at + i] = tile[i, j]


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
