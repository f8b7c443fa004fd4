"""Kernel ridge regression, by a factorisation or by conjugate gradients."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy import linalg

from .._parallel import single_blas_thread
from .._validation import check_option
from ._checks import check_costs, check_kernel, check_number, real_array

__all__ = ["RidgeSolution", "product", "solve_ridge"]

Array = np.ndarray

_MOST_TO_FACTOR = 8_000  # samples, of which a factorisation takes a few seconds and 512 MB
_ROWS = 256  # of K that are multiplied at a time, so that float32 is never widened as a whole
_MOST_ROUNDS = 10  # of gradients, each from a residual made afresh


class RidgeSolution(NamedTuple):
    """A kernel ridge regression and its certificate.

    Attributes
    ----------
    coef : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        The dual coefficients beta.
    bias : float or ndarray of shape (n_outputs,)
        The intercept; 0 without one.
    objective : float or ndarray of shape (n_outputs,)
        The weighted squared errors plus the penalty.
    residual : float
        What is left of the equations relative to their right side, of the worst output, from a K
        beta made afresh. The relative error of the solution is at most this times the condition
        number.
    iterations : int
        Products with K that conjugate gradients took; 0 for a factorisation.
    converged : bool
        Whether the residual is at most the tolerance.
    decision : ndarray of the shape of coef
        K beta + bias for the training samples.

    Examples
    --------
    >>> import numpy as np
    >>> from mkfusion.solvers import solve_ridge
    >>> solve_ridge(np.eye(2), [2.0, 4.0], penalty=1.0).coef
    array([1., 2.])
    """

    coef: Array
    bias: Any
    objective: Any
    residual: float
    iterations: int
    converged: bool
    decision: Array


class _System(NamedTuple):
    """The matrix ``roots K roots + penalty I``, times a power of two that brings it near to 1."""

    K: Array
    roots: Array  # of the weights, times that power's own root
    penalty: float

    def diagonal(self) -> Array:
        return self.roots**2 * self.K.diagonal() + self.penalty

    def times(self, vectors: Array) -> Array:
        """Return the product with columns."""
        roots = self.roots[:, None]
        return roots * product(self.K, roots * vectors) + self.penalty * vectors


def solve_ridge(
    K: Any,
    Y: Any,
    penalty: float,
    *,
    sample_weight: Any = None,
    method: str = "auto",
    fit_intercept: bool = False,
    tol: float = 1e-8,
    max_iter: int = 10_000,
    check_finite: bool = True,
) -> RidgeSolution:
    """Fit a kernel ridge regression on a kernel matrix.

    ``min over beta, bias of  sum_i w_i (y_i - f_i)^2 + penalty beta'K beta,  f = K beta + bias``,
    solved with ``S = W^(1/2)`` as ``(S K S + penalty I) S^-1 beta = S (y - bias)``. An intercept
    is not penalised; it is the one with which beta sums to 0, as its derivative asks, which is
    the same as centring K and Y by weighted means. A sample of weight 0 has beta = 0.

    Parameters
    ----------
    K : array-like of shape (n_samples, n_samples)
        The kernel of the training samples, of float64 or float32 and symmetric, which is not
        checked; positive semi-definite.
    Y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        The targets; all outputs share the penalty and the weights.
    penalty : float
        At least 0; above 0 where K is singular.
    sample_weight : array-like of shape (n_samples,), default=None
        The weights w, at least 0; None for 1.
    method : {"auto", "cholesky", "cg"}, default="auto"
        ``"cholesky"`` factors a copy in float64. ``"cg"``, conjugate gradients with the diagonal
        as preconditioner, reads K once for all outputs in each iteration and copies nothing.
        ``"auto"`` factors up to 8,000 samples.
    fit_intercept : bool, default=False
        Whether f has a bias.
    tol : float, default=1e-8
        The relative residual at which conjugate gradients stop, and that counts as converged.
    max_iter : int, default=10_000
        The most iterations. Fewer than needed are no error: ``converged`` tells.
    check_finite : bool, default=True
        Whether to refuse NaN and infinity in K.

    Returns
    -------
    solution : RidgeSolution

    Raises
    ------
    ValueError
        Arrays of wrong shape, NaN or infinity, negative weights, a matrix of the equations that
        is not positive definite.

    References
    ----------
    Saunders, Gammerman and Vovk (1998), Ridge regression learning algorithm in dual variables,
    equation (7). Suykens and Vandewalle (1999), Least squares support vector machine classifiers,
    equation (13), for the intercept.

    Examples
    --------
    >>> import numpy as np
    >>> from mkfusion.solvers import solve_ridge
    >>> x = np.array([-1.0, 0.0, 1.0])
    >>> solution = solve_ridge(np.outer(x, x), 3 * x + 5, penalty=1.0, fit_intercept=True)
    >>> solution.decision
    array([3., 5., 7.])
    """
    K = check_kernel(K, check_finite)
    check_option("method", method, ("auto", "cholesky", "cg"))
    target = np.array(real_array("Y", Y, (0, 1, 2, 3)), dtype=np.float64)
    if target.ndim not in (1, 2) or len(target) != len(K):
        raise ValueError(
            f"Y must have shape ({len(K)},) or ({len(K)}, n_outputs) as K has, "
            f"got shape {target.shape}"
        )
    weights = check_costs("sample_weight", 1.0 if sample_weight is None else sample_weight, len(K))
    penalty, tol = check_number("penalty", penalty), check_number("tol", tol)
    max_iter = int(check_number("max_iter", max_iter))
    factor = method == "cholesky" or (method == "auto" and len(K) <= _MOST_TO_FACTOR)
    outputs = target[:, None] if target.ndim == 1 else target
    with single_blas_thread:
        solve = _by_factor if factor else _by_gradients
        coef, bias, residual, steps = _solve(
            K, outputs, penalty, weights, fit_intercept, solve, tol, max_iter
        )
        fit = product(K, coef)
        decision = fit + bias
        errors = weights @ (outputs - decision) ** 2
        objective = errors + penalty * (coef * fit).sum(axis=0)
    if target.ndim == 1:
        coef, decision = coef[:, 0], decision[:, 0]
        numbers = float(bias[0]), float(objective[0])
        return RidgeSolution(coef, *numbers, residual, steps, residual <= tol, decision)
    return RidgeSolution(coef, bias, objective, residual, steps, residual <= tol, decision)


def _solve(
    K: Array,
    target: Array,
    penalty: float,
    weights: Array,
    fit_intercept: bool,
    solve: Any,
    tol: float,
    max_iter: int,
) -> tuple[Array, Array, float, int]:
    """Return coefficients, intercepts, the relative residual and the iterations.

    Weights and penalty times one number, and a target times another, change nothing but units:
    powers of two bring all near to 1.
    """
    size = np.abs(weights * K.diagonal()).max(initial=0.0) + penalty
    exponent = -int(np.frexp(size)[1])
    system = _System(K, np.sqrt(np.ldexp(weights, exponent)), float(np.ldexp(penalty, exponent)))
    units = np.frexp(np.abs(target).max(axis=0, initial=0.0))[1]
    target = np.ldexp(target, -units)
    roots = system.roots[:, None]
    right = roots * np.hstack([target, np.ones((len(K), int(fit_intercept)))])
    found, steps = solve(system, right, tol, max_iter)
    bias = np.zeros(target.shape[1])
    if fit_intercept:
        found, ones = found[:, :-1], found[:, -1:]
        total = float((roots * ones).sum())
        bias = (roots * found).sum(axis=0) / (total or 1.0)
        found = found - bias * ones
    left = roots * (target - bias) - system.times(found)
    residual = _norms(left) / np.maximum(_norms(roots * target), np.finfo(np.float64).tiny)
    coef = np.ldexp(roots * found, units)
    return coef, np.ldexp(bias, units), float(residual.max(initial=0.0)), steps


def _by_factor(system: _System, right: Array, tol: float, max_iter: int) -> tuple[Array, int]:
    """Solve by a Cholesky factorisation of a copy."""
    if not right.size:
        return right, 0
    matrix = system.roots[:, None] * system.K * system.roots
    matrix.flat[:: len(matrix) + 1] += system.penalty
    try:  # the transpose of a symmetric matrix is in the order that LAPACK overwrites
        factor = linalg.cho_factor(matrix.T, lower=True, overwrite_a=True, check_finite=False)
    except linalg.LinAlgError:
        raise _indefinite() from None
    return linalg.cho_solve(factor, right, check_finite=False), 0


def _by_gradients(system: _System, right: Array, tol: float, max_iter: int) -> tuple[Array, int]:
    """Solve by conjugate gradients, in rounds that begin with a residual made afresh."""
    wanted = 0.25 * tol * _norms(right)  # an intercept adds the residuals of two
    found, left, steps = np.zeros_like(right), right, 0
    for _ in range(_MOST_ROUNDS):
        if (_norms(left) <= wanted).all() or steps >= max_iter:
            break
        change, taken = _conjugate_gradients(system, left, wanted, max_iter - steps)
        found, steps = found + change, steps + taken
        left = right - system.times(found)
    return found, steps


def _conjugate_gradients(
    system: _System, right: Array, wanted: Array, max_iter: int
) -> tuple[Array, int]:
    """Solve for all columns at a time, each with its own steps."""
    diagonal = system.diagonal()[:, None]
    scale = np.where(diagonal > 0, 1 / np.where(diagonal > 0, diagonal, 1.0), 1.0)
    found, left = np.zeros_like(right), right.copy()
    direction = scale * left
    length = (left * direction).sum(axis=0)
    for step in range(1, max_iter + 1):
        image = system.times(direction)
        curvature = (direction * image).sum(axis=0)
        if (curvature < 0).any():
            raise _indefinite()
        amount = _ratio(length, curvature)
        found += amount * direction
        left -= amount * image
        if (_norms(left) <= wanted).all():
            return found, step
        scaled = scale * left
        length, before = (left * scaled).sum(axis=0), length
        direction = scaled + _ratio(length, before) * direction
    return found, max_iter


def product(K: Array, vectors: Array) -> Array:
    """Return K times columns in float64."""
    out = np.empty((len(K), vectors.shape[1]))
    for first in range(0, len(K), _ROWS):
        rows = K[first : first + _ROWS].astype(np.float64, copy=False)
        np.matmul(rows, vectors, out=out[first : first + _ROWS])
    return out


def _norms(columns: Array) -> Array:
    return np.sqrt(np.square(columns).sum(axis=0))


def _ratio(a: Array, b: Array) -> Array:
    """Return a / b, and 0 where b is 0."""
    return np.divide(a, b, out=np.zeros_like(a), where=b != 0)


def _indefinite() -> ValueError:
    return ValueError(
        "K plus the penalty is not positive definite: raise the penalty, or take the nearest "
        "positive semi-definite K, mkfusion.kernels.nearest_psd(K)"
    )
