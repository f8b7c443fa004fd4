"""Sequence kernels by their definitions: every alignment, one by one; every substring."""

from __future__ import annotations

import numpy as np


def local_kernel(u, v, sigma, weight=1.0):
    gauss = weight * np.exp(-((u - v) ** 2).sum() / (2 * sigma**2))
    return gauss / (2 - gauss)


def alignments(n, m):
    """Yield every alignment of n frames with m, as a list of pairs."""
    if n == 1 and m == 1:
        yield [(0, 0)]
        return
    for i, j in ((n - 1, m), (n, m - 1), (n - 1, m - 1)):
        if i and j:
            for head in alignments(i, j):
                yield [*head, (n - 1, m - 1)]


def _triangle(i, j, triangular):
    return 1.0 if triangular is None else max(0.0, 1 - abs(i - j) / triangular)


def aligned_by_enumeration(x, y, sigma, triangular=None):
    """Return the global alignment kernel as a sum over alignments."""
    total = 0.0
    for path in alignments(len(x), len(y)):
        total += np.prod(
            [local_kernel(x[i], y[j], sigma, _triangle(i, j, triangular)) for i, j in path]
        )
    return total


def log_aligned(x, y, sigma, triangular=None):
    """Return its logarithm, by the recursion in long double and in logarithms throughout."""
    x, y = np.asarray(x, np.longdouble), np.asarray(y, np.longdouble)
    logs = np.full((len(x) + 1, len(y) + 1), -np.inf, np.longdouble)
    logs[0, 0] = 0
    for i in range(len(x)):
        for j in range(len(y)):
            with np.errstate(divide="ignore"):
                weight = np.log(np.longdouble(_triangle(i, j, triangular)))
            gauss = weight - ((x[i] - y[j]) ** 2).sum() / (2 * np.longdouble(sigma) ** 2)
            before = np.logaddexp(np.logaddexp(logs[i, j], logs[i, j + 1]), logs[i + 1, j])
            logs[i + 1, j + 1] = before + gauss - np.log(2 - np.exp(gauss))
    return logs[-1, -1]


def aligned_matrix(X, Y, sigma, triangular=None):
    """Return the normalised kernels of all pairs."""
    x_own = [log_aligned(x, x, sigma, triangular) for x in X]
    y_own = [log_aligned(y, y, sigma, triangular) for y in Y]
    return np.array(
        [
            [
                float(np.exp(log_aligned(x, y, sigma, triangular) - (a + b) / 2))
                for y, b in zip(Y, y_own, strict=True)
            ]
            for x, a in zip(X, x_own, strict=True)
        ]
    )


def _substrings(text, k):
    symbols = list(text)
    return [tuple(symbols[i : i + k]) for i in range(len(symbols) - k + 1)]


def spectrum(x, y, k, blended=False):
    """Return how many pairs of equal substrings x and y have."""
    lengths = range(1, k + 1) if blended else [k]
    return sum(
        sum(u == v for u in _substrings(x, length) for v in _substrings(y, length))
        for length in lengths
    )
