"""The loops of ``_tile`` on whole arrays, for where nothing is compiled."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._tile import ADD, PANEL, SET, Operation, Place

Array = np.ndarray


def evaluate(
    op: Operation, params: Array, weights: Array, modes: Array, slabs: Array,
    X: Array, i0: int, i1: int, panels: Array, p0: int, p1: int, left: Array, right: Array,
    sums: Array, spare: Array, tiles: Array, out: Array, place: Place,
) -> None:  # fmt: skip
    rows = X[i0:i1]
    total = sums[: i1 - i0, :PANEL]
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        for p in range(p0, p1):
            total[:] = 0
            for k in range(X.shape[1]):
                total += op.pair(rows[:, k, None], panels[p, k])
            for v in range(len(params)):
                values = op.finish(total, *params[v])
                _put(values, weights[v], modes[v], i0, p, left, right, _tile(tiles, p - p0))
                if slabs[v] >= 0:
                    _store(_tile(tiles, p - p0), i0, i1, p, p0, slabs[v], out, place)


def load(
    matrix: Array, weight: Any, mode: int, i0: int, i1: int, p0: int, p1: int,
    left: Array, right: Array, spare: Array, tiles: Array, slab: int, out: Array, place: Place,
) -> None:  # fmt: skip
    for p in range(p0, p1):
        values = np.zeros((i1 - i0, PANEL), tiles.dtype)
        block = matrix[i0:i1, p * PANEL : (p + 1) * PANEL]
        values[:, : block.shape[1]] = block
        _put(values, weight, mode, i0, p, left, right, _tile(tiles, p - p0))
        if slab >= 0:
            _store(_tile(tiles, p - p0), i0, i1, p, p0, slab, out, place)


def fold(
    part: Array, mode: int, i0: int, i1: int, p0: int, p1: int, tiles: Array, slab: int,
    out: Array, place: Place,
) -> None:  # fmt: skip
    for p in range(p0, p1):
        tile, product = (_tile(both, p - p0)[: i1 - i0] for both in (tiles, part))
        tile[:] = product if mode == SET else tile + product
        if slab >= 0:
            _store(_tile(tiles, p - p0), i0, i1, p, p0, slab, out, place)


def _tile(tiles: Array, k: int) -> Array:
    return tiles[k % len(tiles), :, :PANEL]


def _put(
    values: Array, weight: Any, mode: int, i0: int, p: int, left: Array, right: Array, tile: Array
) -> None:
    if left.size:
        columns = right[p * PANEL : (p + 1) * PANEL]
        weight = weight * (left[i0 : i0 + len(values), None] * columns)
    target = tile[: len(values)]
    if mode == SET:
        target[:] = weight * values
    elif mode == ADD:
        target += weight * values
    else:
        target *= weight * values


def _store(
    tile: Array, i0: int, i1: int, p: int, p0: int, slab: int, out: Array, place: Place
) -> None:
    first = p * PANEL
    width = min(PANEL, place.n_columns - first)
    start = place.origin + slab * place.slab + (p - p0) * place.panel
    values = tile[: i1 - i0, :width]
    _window(out, start, place.row, values.shape)[:] = values
    if place.mirrored and first >= i1:
        at = slab * place.slab + first * place.row + i0
        _window(out, at, place.row, values.T.shape)[:] = values.T


def _window(out: Array, at: int, stride: int, shape: tuple[int, int]) -> Array:
    return np.lib.stride_tricks.as_strided(
        out[at:], shape, (stride * out.itemsize, out.itemsize), writeable=True
    )


def weighted_sum(
    tiles: Array, weights: Array, i0: int, i1: int, p0: int, p1: int, total: Array,
    out: Array, place: Place,
) -> None:  # fmt: skip
    for k in range(p1 - p0):
        values = np.tensordot(weights, tiles[k].astype(np.float64), axes=1)
        _store(values, i0, i1, p0 + k, p0, 0, out, place)


def quadratic_forms(tiles: Array, i0: int, p0: int, vectors: Array, found: Array) -> None:
    left = vectors[:, i0 : i0 + PANEL]
    for k in range(len(tiles)):
        first = (p0 + k) * PANEL
        right = vectors[:, first : first + PANEL]
        forms = np.einsum("vi,mij,vj->mv", left, tiles[k], right)
        found += forms if first == i0 else 2 * forms


def products(tiles: Array, i0: int, p0: int, vectors: Array, found: Array) -> None:
    left = vectors[:, i0 : i0 + PANEL]
    for k in range(len(tiles)):
        first = (p0 + k) * PANEL
        right = vectors[:, first : first + PANEL]
        found[:, :, i0 : i0 + PANEL] += np.einsum("mij,vj->mvi", tiles[k], right)
        if first != i0:
            found[:, :, first : first + PANEL] += np.einsum("mij,vi->mvj", tiles[k], left)
