"""What rows tell a solver of linear machines: sums over a table, piece by piece."""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from typing import Any

import numpy as np
from scipy import sparse

from .._parallel import single_blas_thread
from ._linear_losses import LOSSES, LinearTerms, Moments

__all__ = ["LinearArrays", "grams_of", "moments_of", "pieces", "terms_of"]

Array = np.ndarray

PIECE = 2**18  # numbers of a table at a time, so that they are still in the cache when read again
MOST_DENSE = 4096  # features whose second derivatives are a matrix; of more, a diagonal above it
MOST_NUMBERS = 2**26  # in the matrices of all outputs; of more, one matrix stands for all


def moments_of(Z: Any, T: Array, c: Array) -> Moments:
    """Return the sums over rows that depend on no machine."""
    with single_blas_thread:
        weighed = c[:, None] * T
        return Moments(float(c.sum()), c @ T, np.ravel(Z.T @ c), np.asarray(Z.T @ weighed))


def terms_of(loss: str, Z: Any, T: Array, c: Array, W: Array, b: Array) -> LinearTerms:
    """Return the sums over rows at a machine."""

    def own(rows: slice) -> LinearTerms:
        value, alpha, extra = LOSSES[loss].rows(Z[rows] @ W + b, T[rows], c[rows])
        return LinearTerms(value, Z[rows].T @ alpha, alpha.sum(axis=0), extra)

    with single_blas_thread:
        return reduce(LinearTerms.plus, map(own, pieces(Z)))


def grams_of(
    loss: str,
    Z: Any,
    T: Array,
    c: Array,
    W: Array,
    b: Array,
    intercept: bool,
    apart: bool = True,
) -> Array:
    """Return ``sum_i D_ip z_i z_i'`` at a machine, as :class:`LinearRows` says.

    Of each output, or where they are not to be told apart, or would take too much, with the mean
    of D over the outputs.
    """
    d, P = Z.shape[1], T.shape[1]
    dense, size = d <= MOST_DENSE, d + intercept
    if not apart or LOSSES[loss].quadratic or (dense and P * size**2 > MOST_NUMBERS):
        P = 1
    total = np.zeros((P, size, size) if dense else (P, size))
    with single_blas_thread:
        for rows in pieces(Z, d):
            z = Z[rows]
            D = LOSSES[loss].bends(z @ W + b, T[rows], c[rows])
            D = D.mean(axis=1, keepdims=True) if D.shape[1] > P else D
            for p in range(P):
                _add_gram(total[p], z, D[:, p], intercept)
    return total


def _add_gram(total: Array, z: Any, D: Array, intercept: bool) -> None:
    d = z.shape[1]
    if total.ndim == 1:  # sums over rows and columns: no matrix with these on the diagonal is less
        sizes = abs(z)
        weighed = D * (np.ravel(sizes.sum(axis=1)) + intercept)
        total[:d] += np.ravel(weighed @ sizes)
        total[d:] += weighed.sum()
        return
    root = np.sqrt(D)
    half = sparse.diags_array(root) @ z if sparse.issparse(z) else root[:, None] * z
    gram = half.T @ half
    total[:d, :d] += gram.toarray() if sparse.issparse(gram) else gram
    if intercept:
        edge = np.ravel(D @ z)
        total[d, :d] += edge
        total[:d, d] += edge
        total[d, d] += D.sum()


def pieces(Z: Any, least: int = 1) -> Iterator[slice]:
    """Yield slices of rows, of at least so many each; one of no rows, if there are none."""
    n, d = Z.shape
    width = max(1, Z.nnz // max(1, n) if sparse.issparse(Z) else d)
    height = max(64, least, PIECE // width)
    for first in range(0, max(n, 1), height):
        yield slice(first, first + height)


class LinearArrays:
    """Rows that are in memory.

    Parameters
    ----------
    Z : ndarray or CSR array of shape (n_rows, n_features)
        The blocks of features side by side.
    places : array-like of int of shape (n_blocks + 1,)
        Block m has the columns from ``places[m]`` to ``places[m + 1]``.
    T : ndarray of shape (n_rows, n_outputs)
        The targets: 0 and 1 for the logistic loss, -1 and 1 for the squared hinge, numbers.
    loss : {"logistic", "squared_hinge", "squared"}
    c : ndarray of shape (n_rows,), default=None
        The cost of each row; None is 1.

    Examples
    --------
    >>> import numpy as np
    >>> from mkfusion.solvers import LinearArrays, solve_linear_mkl
    >>> rng = np.random.default_rng(0)
    >>> signal, noise = rng.normal(size=(2, 200, 2))
    >>> t = signal[:, :1] + 0.1 * rng.normal(size=(200, 1))
    >>> rows = LinearArrays(np.hstack([signal, noise]), [0, 2, 4], t, "squared")
    >>> solution = solve_linear_mkl(rows)
    >>> solution.theta.round(2), solution.converged
    (array([1., 0.]), True)
    """

    def __init__(self, Z: Any, places: Any, T: Array, loss: str, c: Array | None = None) -> None:
        self.Z, self.places, self.T, self.loss = Z, np.asarray(places), T, loss
        self.c = np.ones(len(T)) if c is None else c

    def moments(self) -> Moments:
        """Return the sums that depend on no machine."""
        return moments_of(self.Z, self.T, self.c)

    def terms(self, W: Array, b: Array) -> LinearTerms:
        """Return the sums at a machine."""
        return terms_of(self.loss, self.Z, self.T, self.c, W, b)

    def grams(self, W: Array, b: Array, intercept: bool, exact: bool) -> Array:
        """Return the second derivatives of each output at a machine."""
        return grams_of(self.loss, self.Z, self.T, self.c, W, b, intercept, apart=exact)
