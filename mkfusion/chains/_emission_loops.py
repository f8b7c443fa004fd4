# mypy: ignore-errors
"""Compiled loops of emissions: what a Gaussian, and a table of symbols, ask of every step."""

from __future__ import annotations

import numpy as np

from .._jit import njit

__all__ = [
    "add_diagonal_moments",
    "add_symbol_weights",
    "diagonal_scores",
    "scatter_rows",
    "whitened_scores",
]


@njit
def _turn(values, first, size, columns):
    for t in range(size):
        for j in range(values.shape[1]):
            columns[j, t] = values[first + t, j]


@njit
def diagonal_scores(values, means, precisions, constants, columns, total, out):
    """out[t, k] = constants[k] - sum_j precisions[k, j] (values[t, j] - means[k, j])^2 / 2.

    ``columns (d, size)`` and ``total (size,)`` are room to work in: the steps of one block lie
    side by side there, so that eight of them are one instruction.
    """
    n_steps, width = values.shape
    block = columns.shape[1]
    for first in range(0, n_steps, block):
        size = min(block, n_steps - first)
        _turn(values, first, size, columns)
        for k in range(means.shape[0]):
            for t in range(size):
                total[t] = 0.0
            for j in range(width):
                mean = means[k, j]
                precision = precisions[k, j]
                for t in range(size):
                    delta = columns[j, t] - mean
                    total[t] += precision * delta * delta
            for t in range(size):
                out[first + t, k] = constants[k] - 0.5 * total[t]


def _add_diagonal_moments(values, weights, means, columns, rows, totals, first, second):
    """Add the weights, and the first and second moments about the means, of every state."""
    n_steps, width = values.shape
    n_states = weights.shape[1]
    block = columns.shape[1]
    for begin in range(0, n_steps, block):
        size = min(block, n_steps - begin)
        _turn(values, begin, size, columns)
        _turn(weights, begin, size, rows)
        for k in range(n_states):
            total = 0.0
            for t in range(size):
                total += rows[k, t]
            totals[k] += total
            for j in range(width):
                mean = means[k, j]
                one = 0.0
                two = 0.0
                for t in range(size):
                    delta = columns[j, t] - mean
                    moment = rows[k, t] * delta
                    one += moment
                    two += moment * delta
                first[k, j] += one
                second[k, j] += two


add_diagonal_moments = njit(_add_diagonal_moments, reassociate=True)


def _whitened_scores(products, centers, constants, out):
    """out[t, k] = constants[k] - |products[t, k] - centers[k]|^2 / 2, a row of each state."""
    n_steps, n_states, width = products.shape
    for t in range(n_steps):
        for k in range(n_states):
            total = 0.0
            for j in range(width):
                delta = products[t, k, j] - centers[k, j]
                total += delta * delta
            out[t, k] = constants[k] - 0.5 * total


whitened_scores = njit(_whitened_scores, reassociate=True)


@njit
def scatter_rows(values, weights, mean, out):
    """out[t] = sqrt(weights[t]) (values[t] - mean), whose scatter matrix is one product."""
    for t in range(values.shape[0]):
        root = np.sqrt(weights[t])
        for j in range(values.shape[1]):
            out[t, j] = root * (values[t, j] - mean[j])


@njit
def add_symbol_weights(codes, weights, out):
    """Add the weights of every step to the row of its symbol; code -1 is no symbol."""
    for t in range(codes.shape[0]):
        code = codes[t]
        if code >= 0:
            for k in range(weights.shape[1]):
                out[code, k] += weights[t, k]
