"""Features of steps as the linear scores of a conditional random field read them.

A block holds the features of one modality, a row for each step. With a context of c a step reads
the rows t - c .. t + c of its own sequence, and zeros beyond its ends. The windows are never
written out: all lags are one product, whose columns are then shifted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

__all__ = ["Design", "chunks", "column_means", "column_scales", "gradient", "scores", "windows"]

Array = np.ndarray

_CHUNK_BYTES = 1 << 20  # what a core keeps near while it is multiplied twice
_FEWEST_STEPS, _MOST_STEPS = 1024, 4096


class Design(NamedTuple):
    """The features of all steps.

    Attributes
    ----------
    blocks : tuple of ndarray of shape (n_steps, d_m)
        One for each modality; 0 where it is absent.
    contexts : tuple of int
        The steps before and after that are read too, c_m.
    offsets : ndarray of int of shape (n_sequences + 1,)
    """

    blocks: tuple[Array, ...]
    contexts: tuple[int, ...]
    offsets: Array

    @property
    def widths(self) -> tuple[int, ...]:
        """The numbers of columns of the windows, (2 c_m + 1) d_m."""
        pairs = zip(self.blocks, self.contexts, strict=True)
        return tuple(block.shape[1] * (2 * c + 1) for block, c in pairs)


def chunks(design: Design) -> list[tuple[slice, Design]]:
    """Cut at ends of sequences into pieces of fixed places, each with its slice of sequences."""
    offsets = design.offsets
    width = sum(block.shape[1] for block in design.blocks)
    steps = min(max(_CHUNK_BYTES // (8 * max(width, 1)), _FEWEST_STEPS), _MOST_STEPS)
    found, first = [], 0
    while first < len(offsets) - 1:
        last = int(np.searchsorted(offsets, offsets[first] + steps, side="right")) - 1
        last = max(last, first + 1)
        a, b = offsets[first], offsets[last]
        blocks = tuple(block[a:b] for block in design.blocks)
        piece = Design(blocks, design.contexts, offsets[first : last + 1] - a)
        found.append((slice(first, last), piece))
        first = last
    return found


def scores(design: Design, which: Sequence[int], coef: Array, out: Array) -> None:
    r"""Add the scores of some blocks: :math:`out_{t} += \sum_m W_m x_{m,t-c..t+c}`.

    ``coef`` has the shape (n_states, D), the blocks' windows side by side.
    """
    at = 0
    for m in which:
        block, c = design.blocks[m], design.contexts[m]
        d = block.shape[1]
        if c == 0:
            out += (coef[:, at : at + d] @ block.T).T
        for lag in range(-c, c + 1) if c else ():
            part = (coef[:, at + (lag + c) * d : at + (lag + c + 1) * d] @ block.T).T
            to, source, beyond = _shift(design.offsets, lag)
            part[beyond] = 0.0
            out[to] += part[source]
        at += d * (2 * c + 1)


def gradient(design: Design, which: Sequence[int], residuals: Array) -> Array:
    """Return sum_t residuals[t] x_t', of shape (n_states, D): the adjoint of `scores`."""
    parts = []
    for m in which:
        block, c = design.blocks[m], design.contexts[m]
        if c == 0:
            parts.append(residuals.T @ block)
        for lag in range(-c, c + 1) if c else ():
            to, source, beyond = _shift(design.offsets, lag)
            moved = np.zeros_like(residuals)
            moved[source] = residuals[to]
            moved[beyond] = 0.0
            parts.append(moved.T @ block)
    return np.hstack(parts)


def windows(design: Design, which: Sequence[int], steps: Array) -> Array:
    """Write out the windows of some steps, shape (n, D)."""
    offsets = design.offsets
    sequence = np.searchsorted(offsets, steps, side="right") - 1
    parts = []
    for m in which:
        block, c = design.blocks[m], design.contexts[m]
        for lag in range(-c, c + 1):
            at = steps + lag
            inside = (at >= offsets[sequence]) & (at < offsets[sequence + 1])
            part = block[np.where(inside, at, 0)]
            part[~inside] = 0.0
            parts.append(part)
    return np.hstack(parts)


def column_means(block: Array, weights: Array | None) -> Array:
    """Return the weighted means of the columns, by products of bounded size."""
    total, count = np.zeros(block.shape[1]), 0.0
    for a in range(0, len(block), _MOST_STEPS):
        part = block[a : a + _MOST_STEPS]
        w = np.ones(len(part)) if weights is None else weights[a : a + _MOST_STEPS]
        total += w @ part
        count += w.sum()
    return total / count


def column_scales(block: Array, means: Array, weights: Array | None) -> Array:
    """Return the deviations about these means, and 1 for a column that is constant."""
    total, count = np.zeros(block.shape[1]), 0.0
    for a in range(0, len(block), _MOST_STEPS):
        part = block[a : a + _MOST_STEPS] - means
        w = np.ones(len(part)) if weights is None else weights[a : a + _MOST_STEPS]
        total += w @ (part * part)
        count += w.sum()
    scales = np.sqrt(total / count)
    scales[scales <= np.maximum(1e-13 * np.abs(means), 1e-140)] = 1.0
    return scales


def _shift(offsets: Array, lag: int) -> tuple[slice, slice, Array]:
    """Return the steps that read, those they read, and of the latter those that nobody reads."""
    n = int(offsets[-1])
    reach = min(abs(lag), n)
    if lag <= 0:  # the last steps of a sequence have no reader
        ends = offsets[1:, None] - np.arange(1, reach + 1)
        beyond = ends[ends >= offsets[:-1, None]]
        return slice(reach, n), slice(0, n - reach), beyond
    firsts = offsets[:-1, None] + np.arange(reach)
    beyond = firsts[firsts < offsets[1:, None]]
    return slice(0, n - reach), slice(reach, n), beyond
