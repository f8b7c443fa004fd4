"""Kernels that come from outside: a matrix that is known, a function of the user's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .._validation import check_block
from ._base import Array, MatrixKernel


class Precomputed(MatrixKernel):
    """A kernel whose values are known.

    Without ``matrix`` the features of X are themselves a Gram matrix: a row holds a sample's
    values with all training samples. With it, X is one column of row numbers of ``matrix``,
    which can be cut into folds as any column can.

    Parameters
    ----------
    matrix : array-like of shape (n_all, n_all), default=None
        Symmetric; the values of all samples that X may name.

    Examples
    --------
    >>> from mkfusion.kernels import Precomputed
    >>> K = [[1.0, 0.2, 0.3], [0.2, 1.0, 0.4], [0.3, 0.4, 1.0]]
    >>> Precomputed(K)([[2], [0]])
    array([[1. , 0.3],
           [0.3, 1. ]])
    """

    # Nothing is known of the values; what learns from them trusts the user.
    positive_definite = True

    def __init__(self, matrix: Any = None) -> None:
        self.matrix = matrix

    def _check_key(self) -> Any:
        return type(self), id(self.matrix)

    def _check(self, X: Any, name: str) -> Array:
        if self.matrix is None:
            return check_block(X, name)
        numbers = check_block(np.reshape(X, (-1, 1)) if np.ndim(X) == 1 else X, name)
        if numbers.shape[1] != 1:
            raise ValueError(
                f"{name} must be one column of row numbers of the precomputed matrix, got "
                f"{numbers.shape[1]} columns"
            )
        n = len(self._values())
        rows = numbers[:, 0]
        wrong = (rows != np.floor(rows)) | (rows < 0) | (rows >= n)
        if wrong.any():
            raise ValueError(
                f"{name} must hold row numbers of the precomputed matrix, whole and from 0 to "
                f"{n - 1}, got {rows[wrong][0]:g} in row {np.flatnonzero(wrong)[0]}"
            )
        return rows.astype(np.intp)

    def _values(self) -> Array:
        return symmetric(check_block(self.matrix, "matrix"), "matrix")

    def _matrix(self, X: Array, Y: Array | None, n_threads: int) -> Array:
        if self.matrix is not None:
            return self._values()[np.ix_(X, X if Y is None else Y)]
        n = len(X if Y is None else Y)
        if X.shape[1] != n:
            whom = "training samples" if Y is not None else "samples"
            raise ValueError(
                f"X is taken for a precomputed Gram matrix and must have a column for each of the "
                f"{n} {whom}, got {X.shape[1]} columns; give matrix= to name rows by number"
            )
        return symmetric(X, "X") if Y is None else X

    def _diagonal(self, X: Array) -> Array:
        if self.matrix is not None:
            return self._values().diagonal()[X].astype(np.float64)
        if X.shape[0] != X.shape[1]:
            raise ValueError(
                "a precomputed Gram matrix of new samples with the training samples does not hold "
                "k(x, x) of the new ones; give matrix=, or do without what needs the diagonal"
            )
        return X.diagonal().astype(np.float64)


class FunctionKernel(MatrixKernel):
    """A kernel that a function computes.

    Parameters
    ----------
    function : callable, default=None
        There is no kernel without it.
        ``function(X, Y)`` returns an array of shape (n_x, n_y), symmetric for Y = X. It is called
        in one thread, with features that were checked.

    Examples
    --------
    >>> from mkfusion.kernels import FunctionKernel
    >>> FunctionKernel(lambda X, Y: X @ Y.T)([[1.0], [2.0]])
    array([[1., 2.],
           [2., 4.]])
    """

    def __init__(self, function: Callable[[Array, Array], Array] | None = None) -> None:
        self.function = function

    def _check(self, X: Any, name: str) -> Array:
        return check_block(X, name)

    def _matrix(self, X: Array, Y: Array | None, n_threads: int) -> Array:
        if not callable(self.function):
            raise TypeError(f"function must be a function of (X, Y), got {self.function!r}")
        other = X if Y is None else Y
        values = np.asarray(self.function(X, other))
        shape = (len(X), len(other))
        if values.shape != shape or values.dtype.kind not in "fiub":
            raise ValueError(
                f"{self.function!r} must return numbers of shape {shape}, got {values.dtype} of "
                f"shape {values.shape}"
            )
        values = values.astype(np.float64, copy=False)
        if not np.isfinite(values).all():
            raise ValueError(f"{self.function!r} returned NaN or infinity")
        return symmetric(values, f"what {self.function!r} returned") if Y is None else values


def symmetric(K: Array, name: str) -> Array:
    """Return K symmetric to the bit, or refuse it where more than rounding would change."""
    if K.ndim != 2 or K.shape[0] != K.shape[1]:
        raise ValueError(f"{name} must be a square matrix, got shape {K.shape}")
    largest = np.abs(K).max(initial=0)
    step, exact = 1024, True
    for start in range(0, len(K), step):
        rows = K[start : start + step]
        gap = np.abs(rows - K[:, start : start + step].T).max(initial=0)
        if gap > 1e-6 * largest:
            raise ValueError(
                f"{name} must be symmetric; K and its transpose differ by up to {gap:.3g} "
                f"(largest magnitude {largest:.3g})"
            )
        exact = exact and gap == 0
    return K if exact else K / 2 + K.T / 2
