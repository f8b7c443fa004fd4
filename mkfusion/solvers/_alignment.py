"""Kernel weights by alignment with a target: two quadratic programmes, and what goes into them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from scipy import linalg

from .._parallel import single_blas_thread
from .._validation import check_option
from ._checks import check_gram, check_psd, check_target, real_array

__all__ = ["AlignmentSolution", "AlignmentTerms", "alignment_terms", "solve_alignment"]

Array = np.ndarray

BLOCK_SIZE = 2**20  # entries of all kernels' rows that are worked on at a time
EPS = float(np.finfo(np.float64).eps)
NOISE = 1e-8  # negative eigenvalues of M, relative to the largest, that are rounding
RIDGE = 16 * EPS  # added to the diagonal of what is factorised, and refined away
TOLERANCE = 1e-8
ROUNDINGS = 8  # of a gradient, in units of the last place


class AlignmentTerms(NamedTuple):
    """The inner products of centred kernels with one another and with the target.

    Attributes
    ----------
    products : ndarray of shape (n_kernels, n_kernels)
        ``M_kl = <K_k, K_l>``, of centred kernels.
    targets : ndarray of shape (n_kernels,)
        ``a_k = <K_k, T>``, of centred kernels, with ``T = target target'``.
    target_norm : float
        ``sqrt(<T, T>)`` of the centred target: the alignment of the kernel ``sum_k v_k K_k`` is
        ``v'a / (target_norm sqrt(v'M v))``.

    Examples
    --------
    >>> import numpy as np
    >>> from mkfusion.solvers import alignment_terms
    >>> terms = alignment_terms([np.eye(2)[None]], [1.0, -1.0])
    >>> terms.products, terms.targets, terms.target_norm
    (array([[1.]]), array([2.]), 2.0)
    """

    products: Array
    targets: Array
    target_norm: float


class AlignmentSolution(NamedTuple):
    """Kernel weights by alignment, with what is left of the optimality conditions.

    Attributes
    ----------
    weights : ndarray of shape (n_kernels,)
        Non-negative weights that sum to 1.
    v : ndarray of shape (n_kernels,)
        The minimiser itself; on the cone its multiples have the same alignment.
    objective : float
        ``v'Mv - 2 v'a``.
    residual : float
        The violation of the optimality conditions by ``g = Mv - a``. On the cone: the largest
        ``|g_k|`` where ``v_k > 0`` and ``-g_k`` elsewhere, for kernels of length 1 and relative
        to the largest ``|a_k|``. On the simplex: ``g'v - min g`` relative to the largest
        ``|a_k|``; the objective is at most twice that above its minimum.
    iterations : int
        How many times a linear system was solved.
    converged : bool
        Whether the residual is below 1e-8.
    uniform : bool
        Whether no kernel is aligned with the target, so that v is 0 and the weights are uniform
        for want of better.

    Examples
    --------
    >>> import numpy as np
    >>> from mkfusion.solvers import solve_alignment
    >>> solve_alignment(np.eye(2), [-1.0, -2.0]).uniform
    True
    """

    weights: Array
    v: Array
    objective: float
    residual: float
    iterations: int
    converged: bool
    uniform: bool


def solve_alignment(M: Any, a: Any, *, constraint: str = "cone") -> AlignmentSolution:
    """Return the kernel weights that align the combined kernel with the target.

    ``min over v of v'Mv - 2 v'a`` with ``M_kl = <K_k, K_l>`` and ``a_k = <K_k, T>`` of centred
    kernels: the squared distance of ``sum_k v_k K_k`` to the target, but for a constant.

    * ``"cone"``: over ``v >= 0``. The minimiser has the largest alignment of all combinations,
      and is divided by its sum: `alignf` of Cortes et al. Scaling the kernels changes nothing.
    * ``"simplex"``: over ``v >= 0`` that sum to 1, after He et al. The scale of the kernels and
      of the target counts, and the optimum is another one.

    An active-set method solves one linear system for each kernel that enters or leaves. Of equal
    kernels, one takes the weight of all.

    Parameters
    ----------
    M : array-like of shape (n_kernels, n_kernels)
        The inner products of the kernels; symmetric, positive semi-definite, possibly singular.
    a : array-like of shape (n_kernels,)
        The inner products with the target.
    constraint : {"cone", "simplex"}
        The set of weights.

    Returns
    -------
    solution : AlignmentSolution
        The weights and the residual of the optimality conditions.

    Raises
    ------
    ValueError
        If M is not square, not symmetric, not finite or indefinite, if a does not fit, or if a
        is no vector of inner products, so that the objective falls without end on the cone.

    References
    ----------
    Cortes, Mohri and Rostamizadeh (2012), Algorithms for learning kernels based on centered
    alignment, JMLR 13, proposition 9 (the cone).
    Goenen and Alpaydin (2011), Multiple kernel learning algorithms, JMLR 12, section 3.3 (the
    simplex, after He, Chang and Xie 2008).

    Examples
    --------
    >>> from mkfusion.solvers import solve_alignment
    >>> M, a = [[4.0, 0.0], [0.0, 1.0]], [4.0, 3.0]
    >>> solve_alignment(M, a).weights
    array([0.25, 0.75])
    >>> solve_alignment(M, a, constraint="simplex").weights
    array([0.4, 0.6])
    """
    check_option("constraint", constraint, ("cone", "simplex"))
    products = check_gram("M", M).astype(np.float64)
    targets = real_array("a", a, (1,)).astype(np.float64)
    if targets.shape != products.shape[:1]:
        raise ValueError(
            f"a must hold one number for each of the {len(products)} kernels of M, got shape "
            f"{targets.shape}"
        )
    with single_blas_thread:
        values = linalg.eigvalsh(products)
        check_psd("M", values, NOISE * max(float(values[-1]), 0.0))
        solve = _on_simplex if constraint == "simplex" else _on_cone
        v, residual, iterations = solve(products, targets)
    total = float(v.sum())
    return AlignmentSolution(
        weights=v / total if total > 0 else np.full(len(v), 1 / len(v)),
        v=v,
        objective=float(v @ (products @ v - 2 * targets)),
        residual=residual,
        iterations=iterations,
        converged=residual <= TOLERANCE,
        uniform=total == 0,
    )


def _on_cone(M: Array, a: Array) -> tuple[Array, float, int]:
    """Solve for kernels of length 1; return v, the residual and the number of systems."""
    lengths = np.sqrt(np.maximum(M.diagonal(), 0.0))
    used = lengths > 0  # a kernel without length is aligned with nothing
    lengths, v = lengths[used], np.zeros(len(a))
    cosines, aligned = M[np.ix_(used, used)] / lengths / lengths[:, None], a[used] / lengths
    size = float(np.abs(aligned).max(initial=0.0))
    if size == 0:
        return v, 0.0, 0
    found = _active_set(cosines, aligned / size, np.zeros(len(lengths)), on_simplex=False)
    gradient = cosines @ found.v - aligned / size
    missed = np.where(found.v > 0, np.abs(gradient), np.maximum(-gradient, 0.0))
    if missed.max() > NOISE and found.v.max() > 1 / NOISE:
        raise ValueError(
            "a must hold inner products with the kernels of M; here v'Mv - 2 v'a falls without "
            "end, because some combination has no length and still a product with the target"
        )
    v[used] = found.v * size / lengths
    return v, float(missed.max()), found.iterations


def _on_simplex(M: Array, a: Array) -> tuple[Array, float, int]:
    """Solve at a scale of 1; return v, the residual and the number of systems."""
    size = max(float(M.diagonal().max()), float(np.abs(a).max())) or 1.0
    start = np.zeros(len(a))
    start[np.argmin(M.diagonal() - 2 * a)] = 1.0
    found = _active_set(M / size, a / size, start, on_simplex=True)
    v = found.v / found.v.sum()
    gradient = M @ v - a
    left = max(float(gradient @ v - gradient.min()), 0.0)
    return v, left / (float(np.abs(a).max()) or 1.0), found.iterations


class _Point(NamedTuple):
    v: Array
    value: float
    iterations: int


def _active_set(M: Array, a: Array, start: Array, *, on_simplex: bool) -> _Point:
    """Minimise ``v'Mv - 2 v'a``: let in the kernel of steepest descent, until none descends.

    Each is the minimum over the kernels that are in, and lower than the one before, so that none
    comes back and the end is reached. What does not descend, for rounding, is let in no more.
    """
    sizes = np.abs(M)
    point, barred, iterations = _Point(start, np.inf, 0), np.zeros(len(a), bool), 0
    while True:
        v = point.v
        gradient = M @ v - a
        slope = gradient - (gradient @ v if on_simplex else 0.0)
        noise = ROUNDINGS * EPS * (sizes @ v + np.abs(a))
        descending = (slope < -noise) & (v == 0) & ~barred
        if not descending.any():
            return point._replace(iterations=iterations)
        entering = int(np.where(descending, slope, np.inf).argmin())
        found = _minimise(M, a, v, entering, on_simplex)
        iterations += found.iterations
        if found.value < point.value:
            point, barred = found, np.zeros(len(a), bool)
        else:
            barred[entering] = True


def _minimise(M: Array, a: Array, v: Array, entering: int, on_simplex: bool) -> _Point:
    """Go to the minimum over the kernels that are in, and leave out those that reach 0."""
    inside = v > 0
    inside[entering] = True
    systems = 0
    while True:
        places = np.flatnonzero(inside)
        target = np.zeros(len(v))
        if len(places):
            target[places] = _stationary(M[np.ix_(places, places)], a[places], on_simplex)
        systems += 1
        blocked = inside & (target <= 0)
        if not blocked.any():
            return _Point(target, float(target @ (M @ target - 2 * a)), systems)
        steps = np.full(len(v), np.inf)
        steps[blocked] = v[blocked] / (v[blocked] - target[blocked])
        step = steps.min()
        v = np.where(inside, v + step * (target - v), 0.0)
        inside &= (steps > step) & (v > 0)
        v = np.where(inside, v, 0.0)


def _stationary(M: Array, a: Array, on_simplex: bool) -> Array:
    """Solve ``Mv = a``, or ``Mv + mu = a`` with v that sums to 1.

    A small ridge makes a singular matrix regular, and two more steps take its error away again.
    """
    ridge = RIDGE * len(a) * max(float(M.diagonal().max()), EPS)
    factor = linalg.cho_factor(M + ridge * np.eye(len(a)), check_finite=False)
    v, mu = np.zeros(len(a)), 0.0
    flat = linalg.cho_solve(factor, np.ones(len(a)), check_finite=False)
    for _ in range(3):
        step = linalg.cho_solve(factor, a - mu - M @ v, check_finite=False)
        if on_simplex:
            change = (v.sum() + step.sum() - 1.0) / flat.sum()
            step, mu = step - change * flat, mu + change
        v = v + step
    return v


# What goes into them --------------------------------------------------------------------------


def alignment_terms(
    blocks: Iterable[Any], target: Any, *, sample_weight: Any = None
) -> AlignmentTerms:
    """Return what alignment is learnt from, in one pass over the rows of all kernels.

    ``<K, L> = sum_ij w_i w_j K_ij L_ij`` of the kernels and of ``T = target target'``, all
    centred by weighted means. The first sample is taken for the origin before anything is
    summed, which changes no centred kernel, and spares the digits that would cancel where
    kernels are nearly constant.

    Parameters
    ----------
    blocks : iterable of array-like of shape (n_kernels, n_rows, n_samples)
        The rows of all kernels, block by block from the first row to the last. A whole stack in
        a list, ``[Ks]``, is one block.
    target : array-like of shape (n_samples,) or (n_samples, n_columns)
        The target by its features: labels -1 and 1, numbers, or for C classes their indicators,
        which make the ideal kernel up to the factor C / (C - 1).
    sample_weight : array-like of shape (n_samples,) or None
        Weights of the samples in sums and means; None weighs each 1.

    Returns
    -------
    terms : AlignmentTerms
        M and a in float64.

    Raises
    ------
    ValueError
        If blocks have different numbers of kernels or columns, or more or fewer rows than
        samples, or hold what is not finite.

    References
    ----------
    Cortes, Mohri and Rostamizadeh (2012), Algorithms for learning kernels based on centered
    alignment, JMLR 13, section 2.

    Examples
    --------
    >>> import numpy as np
    >>> from mkfusion.solvers import alignment_terms, solve_alignment
    >>> x, y = np.array([1.0, 2.0, 4.0]), np.array([-1.0, -1.0, 1.0])
    >>> Ks = np.stack([np.outer(x, x), np.eye(3)])
    >>> terms = alignment_terms([Ks], y)
    >>> solve_alignment(terms.products, terms.targets).weights.round(3)
    array([0.611, 0.389])
    """
    features = check_target("target", target, len(np.asarray(target)))
    features = features.reshape(len(features), -1)
    weights = _check_weights(sample_weight, len(features))
    features = features - weights @ features / weights.sum()
    with single_blas_thread:
        return _terms(_rows(blocks, len(features)), features, weights)


def _terms(rows: Iterator[tuple[int, Array]], features: Array, weights: Array) -> AlignmentTerms:
    weighted, total = weights[:, None] * features, float(weights.sum())
    products = targets = means = origin = np.zeros(0)
    for start, block in rows:
        if start == 0:
            origin = block[:, 0].astype(np.float64)
            products = np.zeros((len(block), len(block)))
            targets, means = np.zeros(len(block)), np.empty((len(block), len(weights)))
        here = slice(start, start + block.shape[1])
        shifted = np.subtract(block, origin[:, None, :], dtype=np.float64)
        shifted -= (origin[:, here] - origin[:, :1])[:, :, None]
        means[:, here] = shifted @ weights / total
        targets += np.einsum("mrc,rc->m", shifted @ weighted, weighted[here])
        shifted *= np.sqrt(weights[here])[:, None] * np.sqrt(weights)
        flat = shifted.reshape(len(block), -1)
        products += flat @ flat.T
    mean = means @ weights / total
    products -= 2 * total * (means * weights) @ means.T - total**2 * np.outer(mean, mean)
    norm = float(np.linalg.norm(features.T @ weighted))
    return AlignmentTerms((products + products.T) / 2, targets, norm)


def _rows(blocks: Iterable[Any], n_samples: int) -> Iterator[tuple[int, Array]]:
    """Yield where rows begin, and these rows of all kernels, a few at a time."""
    start, n_kernels = 0, None
    for number, given in enumerate(blocks):
        block = real_array(f"block {number}", given, (3,))
        n_kernels = len(block) if n_kernels is None else n_kernels
        if block.shape[::2] != (n_kernels, n_samples) or not n_kernels:
            raise ValueError(
                f"every block must have shape (n_kernels, n_rows, {n_samples}) with the same "
                f"kernels, got {block.shape} for block {number}"
            )
        if start + block.shape[1] > n_samples:
            raise ValueError(f"the blocks hold more than {n_samples} rows, one for each sample")
        height = max(1, BLOCK_SIZE // (n_kernels * n_samples))
        for first in range(0, block.shape[1], height):
            yield start + first, block[:, first : first + height]
        start += block.shape[1]
    if start < n_samples:
        raise ValueError(f"the blocks hold {start} rows, but there are {n_samples} samples")


def _check_weights(sample_weight: Any, n_samples: int) -> Array:
    if sample_weight is None:
        return np.ones(n_samples)
    weights = check_target("sample_weight", sample_weight, n_samples)
    if weights.ndim != 1 or weights.min() < 0 or weights.max() == 0:
        raise ValueError(
            "sample_weight must hold one non-negative weight per sample, and some above 0"
        )
    return weights
