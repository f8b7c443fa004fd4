"""Mean and covariance of columns that are missing in blocks, and what they say of the missing."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import linalg

__all__ = [
    "Moments",
    "canonical_regression",
    "fit_moments",
    "gaussian_conditional",
    "penalised_conditional",
    "probabilistic_components",
    "rank_above_noise",
    "regression",
    "residual_covariance",
    "unique_patterns",
]

_SAFE = 1e-9  # the inverse condition number above which Cholesky's factor is trusted

Array = np.ndarray
Structure = Callable[[Array], Array]
Conditional = Callable[[Array, Array], tuple[Array, Array]]


class Moments(NamedTuple):
    """The moments of a Gaussian, with the certificate of the iteration that found them."""

    mean: Array  # (n_features,)
    covariance: Array  # (n_features, n_features)
    n_iter: int
    change: float  # the largest change of an entry in the last iteration
    converged: bool


def unique_patterns(mask: Array) -> tuple[Array, Array]:
    """Return the different rows of a boolean mask, and which of them each row is."""
    if not len(mask):
        return mask, np.zeros(0, np.intp)
    packed = np.ascontiguousarray(np.packbits(mask, axis=1))
    keys = packed.view([("", packed.dtype)] * packed.shape[1]).ravel()
    _, first, codes = np.unique(keys, return_index=True, return_inverse=True)
    return mask[first], codes.ravel()


def fit_moments(
    values: Array,
    mask: Array,
    *,
    structure: Structure,
    conditional: Callable[[Array], Conditional],
    start: tuple[Array, Array],
    max_iter: int,
    tol: float,
) -> Moments:
    """Return the moments by expectation maximisation; of complete rows in one step.

    ``values (n, p)`` count where ``mask (n, p)`` is True. ``structure`` is laid on every
    covariance; ``conditional`` makes of it what tells of columns that are seen and lost the
    coefficients of the lost ones and the covariance that is left.
    """
    patterns, codes = unique_patterns(mask)
    mean, covariance = start
    columns = np.arange(values.shape[1])
    change, n_iter = 0.0, 0
    for n_iter in range(1, max_iter + 1):
        filled = values.copy()
        spread = np.zeros_like(covariance)
        given = conditional(covariance)
        for place, pattern in enumerate(patterns):
            if pattern.all():
                continue
            rows = np.flatnonzero(codes == place)
            seen, lost = columns[pattern], columns[~pattern]
            coef, left = given(seen, lost)
            known = values[np.ix_(rows, seen)] - mean[seen]
            filled[np.ix_(rows, lost)] = mean[lost] + known @ coef
            spread[np.ix_(lost, lost)] += len(rows) * left
        new_mean = filled.mean(axis=0)
        filled -= new_mean
        new = structure((filled.T @ filled + spread) / len(values))
        change = float(max(np.abs(new - covariance).max(), np.abs(new_mean - mean).max()))
        mean, covariance = new_mean, new
        if mask.all() or change <= tol:
            return Moments(mean, covariance, n_iter, 0.0 if mask.all() else change, True)
    return Moments(mean, covariance, n_iter, change, False)


def regression(covariance: Array, seen: Array, lost: Array, penalty: float = 0.0) -> Array:
    """Return ``(S_xx + penalty I)^-1 S_xy``; the least of all solutions where S_xx is singular."""
    inner = covariance[np.ix_(seen, seen)]
    across = covariance[np.ix_(seen, lost)]
    if not len(seen):
        return across
    if penalty:
        inner = inner + penalty * np.eye(len(seen))
    factor = _safe_factor(inner)
    if factor is not None:
        return linalg.cho_solve(factor, across, check_finite=False)
    roots, vectors = linalg.eigh(inner)
    kept = _above_rounding(roots)
    vectors = vectors[:, kept]
    return vectors @ ((vectors.T @ across) / roots[kept, None])


def _safe_factor(matrix: Array) -> tuple[Array, bool] | None:
    """Return Cholesky's factor, None where the matrix is too near to a singular one."""
    factor, failed = linalg.lapack.dpotrf(matrix, lower=1)
    if failed:
        return None
    norm = np.abs(matrix).sum(axis=0).max()
    inverse_condition, _ = linalg.lapack.dpocon(factor, norm, uplo="L")
    return (factor, True) if inverse_condition > _SAFE else None


def gaussian_conditional(covariance: Array) -> Conditional:
    """Return the conditional moments of any columns given the others.

    Of few lost columns y by blocks of the precision P: ``B = -(P_yy^-1 P_yx)'``, and ``P_yy^-1``
    is left. That spares a solve as large as the columns that are seen, for every pattern.
    """
    factor = _safe_factor(covariance)
    precision = None if factor is None else linalg.cho_solve(factor, np.eye(len(covariance)))

    def given(seen: Array, lost: Array) -> tuple[Array, Array]:
        if precision is not None and len(lost) < len(seen):
            own = linalg.cho_factor(precision[np.ix_(lost, lost)], lower=True)
            coef = -linalg.cho_solve(own, precision[np.ix_(lost, seen)]).T
            return coef, linalg.cho_solve(own, np.eye(len(lost)))
        coef = regression(covariance, seen, lost)
        left = covariance[np.ix_(lost, lost)] - covariance[np.ix_(lost, seen)] @ coef
        return coef, (left + left.T) / 2

    return given


def penalised_conditional(covariance: Array, penalty: float) -> Conditional:
    """Return what a ridge regression tells of any columns given the others."""

    def given(seen: Array, lost: Array) -> tuple[Array, Array]:
        coef = regression(covariance, seen, lost, penalty)
        return coef, residual_covariance(covariance, seen, lost, coef)

    return given


def canonical_regression(
    covariance: Array, seen: Array, lost: Array, n_components: int | None = None
) -> Array:
    """Return the regression on the first canonical variates alone; on all of them by default."""
    across = covariance[np.ix_(seen, lost)]
    if not len(seen):
        return across
    whiten, _ = _roots(covariance[np.ix_(seen, seen)])
    whiten_lost, colour = _roots(covariance[np.ix_(lost, lost)])
    left, correlations, right = linalg.svd(
        whiten.T @ across @ whiten_lost, full_matrices=False, check_finite=False
    )
    k = slice(n_components)
    return whiten @ (left[:, k] * correlations[k]) @ right[k] @ colour


def _roots(covariance: Array) -> tuple[Array, Array]:
    """Return W and V with ``W' S W = I`` and ``V' V = S``."""
    roots, vectors = linalg.eigh(covariance)
    kept = _above_rounding(roots)
    scale = np.sqrt(roots[kept])
    return vectors[:, kept] / scale, scale[:, None] * vectors[:, kept].T


def _above_rounding(roots: Array) -> Array:
    return roots > max(roots[-1], 0.0) * len(roots) * np.finfo(np.float64).eps


def residual_covariance(covariance: Array, seen: Array, lost: Array, coef: Array) -> Array:
    """Return the covariance of what the regression leaves of the missing entries."""
    across = covariance[np.ix_(seen, lost)]
    inner = covariance[np.ix_(seen, seen)]
    told = across.T @ coef
    left = covariance[np.ix_(lost, lost)] - told - told.T + coef.T @ (inner @ coef)
    return (left + left.T) / 2


def probabilistic_components(covariance: Array, n_components: int) -> Array:
    """Return the nearest ``W W' + s^2 I`` with W of so many columns, by maximum likelihood."""
    roots, vectors = linalg.eigh(covariance)
    rest = roots[: len(roots) - n_components]
    noise = max(float(rest.mean()), 0.0) if len(rest) else 0.0
    if noise <= max(roots[-1], 0.0) * len(roots) * np.finfo(np.float64).eps:
        noise = 0.0
    kept = np.maximum(roots[len(rest) :] - noise, 0.0)
    vectors = vectors[:, len(rest) :]
    return (vectors * kept) @ vectors.T + noise * np.eye(len(roots))


def rank_above_noise(covariance: Array, n_samples: int) -> int:
    """Return how many components stand out of noise whose level is unknown.

    Those of a matrix with n_samples rows whose singular values lie above
    ``(.56 b^3 - .95 b^2 + 1.82 b + 1.43) * median``, with b the ratio of its sides.
    """
    roots = np.maximum(linalg.eigvalsh(covariance)[::-1], 0.0)
    roots[~_above_rounding(roots[::-1])[::-1]] = 0.0
    singular = np.sqrt(roots[: max(1, min(n_samples - 1, len(roots)))])
    ratio = min(n_samples, len(roots)) / max(n_samples, len(roots))
    factor = 0.56 * ratio**3 - 0.95 * ratio**2 + 1.82 * ratio + 1.43
    return max(1, int((singular > factor * np.median(singular)).sum()))
