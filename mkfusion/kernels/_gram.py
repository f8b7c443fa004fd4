"""Gram matrices of one kernel, and the weighted sum of several in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .._validation import finite_array, listed
from ._base import Array, Kernel
from ._given import FunctionKernel, Precomputed
from ._plan import Part, make_plan, plan_gram, run_dense
from ._sequence import GlobalAlignment, Spectrum
from ._vector import VECTOR_KERNELS

#: Every kernel that can be named by a string.
KERNELS: dict[str, type[Kernel]] = {
    **VECTOR_KERNELS,
    "global_alignment": GlobalAlignment,
    "spectrum": Spectrum,
    "precomputed": Precomputed,
}


def as_kernel(kernel: Any) -> Kernel:
    """Return a kernel for a name, a kernel or a callable.

    Parameters
    ----------
    kernel : str, Kernel or callable
        A name in :data:`KERNELS` (the kernel with its defaults), a kernel, or a function of
        (X, Y) that returns their Gram matrix.

    Returns
    -------
    kernel : Kernel

    Raises
    ------
    ValueError, TypeError
        For an unknown name, or for what is no kernel.

    Examples
    --------
    >>> from mkfusion.kernels import as_kernel
    >>> as_kernel("rbf")
    RBF()
    """
    if isinstance(kernel, Kernel):
        return kernel
    if isinstance(kernel, str):
        if kernel not in KERNELS:
            raise ValueError(f"kernel must be one of {listed(KERNELS, 30)}, got {kernel!r}")
        return KERNELS[kernel]()
    if callable(kernel) and not isinstance(kernel, type):
        return FunctionKernel(kernel)
    raise TypeError(
        f"kernel must be a name, a kernel such as RBF(), or a function of (X, Y), got {kernel!r}"
    )


def gram(
    X: Any,
    Y: Any = None,
    kernel: Any = "rbf",
    out: Array | None = None,
    dtype: Any = None,
    n_jobs: int | None = None,
) -> Array:
    """Return the Gram matrix K_ij = k(x_i, y_j).

    Parameters
    ----------
    X : array-like of shape (n_x, n_features)
        For a sequence kernel, the cells of n_x sequences.
    Y : array-like of shape (n_y, n_features), default=None
        None takes X: the matrix is symmetric to the bit, and only half of it is worked out.
    kernel : str, Kernel or callable, default="rbf"
        As :func:`as_kernel` reads it. A parameter that depends on data ("scale", "median") is
        learnt from X where Y is None; else use :meth:`Kernel.resolve` on the training samples.
    out : ndarray of the result's shape, default=None
        C-contiguous, of float64 or float32; it is written to and returned.
    dtype : dtype, default=None
        Of the result, float64 or float32. None is the type of ``out``, or else that of the data.
        Values are worked out in float32 only where X and Y are both float32.
    n_jobs : int, default=None
        Threads, as joblib counts them. The result does not depend on it.

    Returns
    -------
    K : ndarray of shape (n_x, n_y), or (n_bandwidths, n_x, n_y) for a bank

    Raises
    ------
    ValueError, TypeError
        For NaN or infinity, different numbers of features, negative values where the kernel
        needs none, an ``out`` that does not fit, or parameters out of range.

    Examples
    --------
    >>> from mkfusion.kernels import RBF, gram
    >>> gram([[0.0], [1.0]], kernel=RBF(gamma=[0.5, 2.0])).round(3)
    array([[[1.   , 0.607],
            [0.607, 1.   ]],
    <BLANKLINE>
           [[1.   , 0.135],
            [0.135, 1.   ]]])
    """
    return plan_gram(as_kernel(kernel), X, Y, out=out, dtype=dtype, n_jobs=n_jobs)


def combine(
    kernels: Sequence[Any],
    weights: Any,
    X: Any,
    Y: Any = None,
    *,
    row_scales: Any = None,
    column_scales: Any = None,
    out: Array | None = None,
    dtype: Any = None,
    n_jobs: int | None = None,
) -> Array:
    """Return the weighted sum of Gram matrices, sum_m w_m K_m, without storing any K_m.

    A kernel of weight 0 is checked and not worked out. With scales, the sum is
    sum_m w_m r_mi c_mj K_m(i, j).

    Parameters
    ----------
    kernels : sequence of str, Kernel or callable
        A bank counts as its single kernels, in their order.
    weights : array-like of shape (n_kernels,)
        One for each single kernel.
    X : array-like of shape (n_x, n_features), or a list with one block for each of ``kernels``
        One array for all kernels, or for each the features that it sees.
    Y : as X, default=None
        None takes X.
    row_scales : array-like of shape (n_kernels, n_x), default=None
        What multiplies the rows of each kernel, and where Y is None its columns too.
    column_scales : array-like of shape (n_kernels, n_y), default=None
        What multiplies the columns of each kernel.
    out, dtype, n_jobs
        As in :func:`gram`.

    Returns
    -------
    K : ndarray of shape (n_x, n_y)

    Raises
    ------
    ValueError, TypeError
        As :func:`gram`, and for weights or scales of another length than the kernels.

    Examples
    --------
    >>> import numpy as np
    >>> from mkfusion.kernels import RBF, Linear, combine
    >>> audio, video = np.array([[0.0], [1.0]]), np.array([[1.0], [3.0]])
    >>> combine([RBF(gamma=1.0), Linear()], [0.5, 0.5], [audio, video])
    array([[1.        , 1.68393972],
           [1.68393972, 5.        ]])
    """
    parts = make_parts(kernels, X, Y, row_scales, column_scales)
    numbers = check_weights(weights, len(parts))
    terms = [(weight, part) for weight, part in zip(numbers, parts, strict=True) if weight]
    plan, n_threads = make_plan([terms or [(0.0, parts[0])]], n_jobs)
    shape = (plan.n_rows, plan.n_columns)
    return run_dense(plan, shape, out=out, dtype=dtype, n_threads=n_threads)


def stack(
    kernels: Sequence[Any],
    X: Any,
    Y: Any = None,
    *,
    row_scales: Any = None,
    column_scales: Any = None,
    out: Array | None = None,
    dtype: Any = None,
    n_jobs: int | None = None,
) -> Array:
    """Return the Gram matrices of several kernels; bandwidths of one block share its distances.

    Parameters
    ----------
    kernels : sequence of str, Kernel or callable
        A bank counts as its single kernels, in their order.
    X, Y, row_scales, column_scales, out, dtype, n_jobs
        As in :func:`combine`.

    Returns
    -------
    K : ndarray of shape (n_kernels, n_x, n_y)

    Raises
    ------
    ValueError, TypeError
        As :func:`combine`.

    Examples
    --------
    >>> from mkfusion.kernels import Linear, stack
    >>> stack(["rbf", Linear()], [[[0.0], [1.0]]] * 2).shape
    (2, 2, 2)
    """
    parts = make_parts(kernels, X, Y, row_scales, column_scales)
    plan, n_threads = make_plan([[(1.0, part)] for part in parts], n_jobs)
    shape = (len(parts), plan.n_rows, plan.n_columns)
    return run_dense(plan, shape, out=out, dtype=dtype, n_threads=n_threads)


def diagonal(X: Any, kernel: Any = "rbf") -> Array:
    """Return k(x_i, x_i), the diagonal of the Gram matrix, without the matrix.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
    kernel : str, Kernel or callable, default="rbf"
        A single kernel, as :func:`as_kernel` reads it.

    Returns
    -------
    values : ndarray of shape (n_samples,)

    Raises
    ------
    ValueError, TypeError
        As :func:`gram`; for a bank.

    Examples
    --------
    >>> from mkfusion.kernels import Linear, diagonal
    >>> diagonal([[1.0, 2.0], [3.0, 4.0]], Linear())
    array([ 5., 25.])
    """
    kernel = as_kernel(kernel)
    if kernel._is_bank():
        raise ValueError(f"diagonal needs a single kernel, and {kernel!r} is a bank")
    total: Any = 0.0
    (single,) = kernel.resolve(X).expand()
    for weight, leaves in single._terms():
        total = total + weight * np.prod(
            [leaf._diagonal(leaf._check(X, "X")) for leaf in leaves], 0
        )
    return total


def make_parts(
    kernels: Sequence[Any],
    X: Any,
    Y: Any = None,
    row_scales: Any = None,
    column_scales: Any = None,
) -> list[Part]:
    """Return one part for each single kernel, with its numbers known."""
    if isinstance(kernels, str | Kernel) or not isinstance(kernels, Sequence):
        raise TypeError(f"kernels must be a list of kernels, got {kernels!r}")
    if not kernels:
        raise ValueError("kernels is empty; give at least one kernel")
    blocks = _blocks(X, len(kernels), "X")
    others = [None] * len(kernels) if Y is None else _blocks(Y, len(kernels), "Y")
    parts = []
    for kernel, block, other in zip(map(as_kernel, kernels), blocks, others, strict=True):
        resolved = kernel.resolve(block) if other is None else kernel
        parts += [Part(single, block, other) for single in resolved.expand()]
    rows = _scales(row_scales, parts, [part.X for part in parts], "row_scales")
    if Y is None and column_scales is not None:
        raise ValueError("column_scales need Y; without it, columns take the scales of the rows")
    columns = _scales(column_scales, parts, [part.Y for part in parts], "column_scales")
    return [
        part._replace(rows=r, columns=c) for part, r, c in zip(parts, rows, columns, strict=True)
    ]


def check_weights(weights: Any, n_kernels: int) -> Array:
    """Return one finite weight for each single kernel."""
    numbers = finite_array("weights", weights)
    if numbers.shape != (n_kernels,):
        raise ValueError(
            f"weights must have one entry for each of {n_kernels} kernels (a bank counts as its "
            f"single kernels), got shape {numbers.shape}"
        )
    return numbers


def _blocks(X: Any, n_kernels: int, name: str) -> list[Any]:
    if not isinstance(X, list | tuple):
        return [X] * n_kernels
    if len(X) != n_kernels:
        raise ValueError(
            f"{name} must be one array, or a list with one block for each of {n_kernels} kernels; "
            f"got a list of {len(X)}"
        )
    return list(X)


def _scales(scales: Any, parts: list[Part], blocks: list[Any], name: str) -> list[Array | None]:
    if scales is None:
        return [None] * len(parts)
    numbers = finite_array(name, scales)
    shape = (len(parts), len(blocks[0]))
    if numbers.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got {numbers.shape}")
    # Kernels with equal scales share them, and with them a pass over the features.
    rows = list(numbers)  # a view each, and always the same ones: they are told apart by identity
    return [next(other for other in rows if np.array_equal(other, own)) for own in rows]
