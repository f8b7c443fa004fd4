"""Gaussians on arrays: log densities, weighted moments, and the best means and covariances."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import linalg

from .._jit import JIT
from .._parallel import single_blas_thread
from ._emission_base import grouped, n_groups
from ._emission_loops import (
    add_diagonal_moments,
    diagonal_scores,
    scatter_rows,
    whitened_scores,
)

__all__ = [
    "COVARIANCE_TYPES",
    "GaussianPrior",
    "GaussianStatistics",
    "as_diagonal",
    "gaussian_log_prior",
    "gaussian_scores",
    "gaussian_statistics",
    "maximized",
    "n_covariances",
]

Array = np.ndarray

COVARIANCE_TYPES = ("spherical", "diag", "full", "tied")
LOG_2PI = float(np.log(2 * np.pi))
BLOCK = 256  # steps that a loop looks at together


class GaussianStatistics(NamedTuple):
    """Weighted moments about the means of before, by component."""

    weights: Array  # shape: (n_components,)
    first: Array  # shape: (n_components, d), of values - mean
    second: Array  # shape: (n_components, d) or (n_components, d, d)


# Log densities ------------------------------------------------------------------------------


def gaussian_scores(
    values: Array, means: Array, covars: Array, kind: str, n_threads: int
) -> Array:
    """Return log N(value; mean, covariance), (n_steps, n_components).

    ``covars`` is (n_components,), (n_components, d), (n_components, d, d) or, tied, (d, d).
    """
    out = np.empty((len(values), len(means)))
    with single_blas_thread:
        if kind == "full":
            roots = [_inverse_root(covar) for covar in covars]
            logs = np.array([np.log(np.diagonal(root)).sum() for root in roots])
            constants = logs - 0.5 * means.shape[1] * LOG_2PI
            _full_scores(values, means, np.array(roots), constants, n_threads, out)
            return out
        precisions = 1 / as_diagonal(covars, means.shape) if kind != "tied" else None
        if precisions is None:
            root = _inverse_root(covars)
            means = means @ root.T
            values = values @ root.T
            precisions = np.ones(means.shape)
            logs = np.full(len(means), np.log(np.diagonal(root)).sum())
        else:
            logs = 0.5 * np.log(precisions).sum(axis=1)
        constants = logs - 0.5 * means.shape[1] * LOG_2PI
        _diagonal_scores(values, means, precisions, constants, n_threads, out)
    return out


def as_diagonal(covars: Array, shape: tuple[int, ...]) -> Array:
    """Return spherical or diagonal covariances as variances, a row for each component."""
    if covars.ndim == 1:
        covars = covars[:, None]
    return np.ascontiguousarray(np.broadcast_to(covars, shape))


def _inverse_root(covar: Array) -> Array:
    """Return L^-1 where L L' is the covariance."""
    root = linalg.cholesky(covar, lower=True, check_finite=False)
    identity = np.eye(len(covar))
    return linalg.solve_triangular(root, identity, lower=True, check_finite=False)


def _diagonal_scores(
    values: Array, means: Array, precisions: Array, constants: Array, n_threads: int, out: Array
) -> None:
    def work(_: int, steps: slice) -> None:
        if JIT:
            room = np.empty((values.shape[1], BLOCK)), np.empty(BLOCK)
            diagonal_scores(values[steps], means, precisions, constants, *room, out[steps])
            return
        for k, mean in enumerate(means):
            out[steps, k] = constants[k] - 0.5 * ((values[steps] - mean) ** 2 @ precisions[k])

    grouped(len(values), n_groups(len(values)), work, n_threads)


def _full_scores(
    values: Array, means: Array, roots: Array, constants: Array, n_threads: int, out: Array
) -> None:
    """Whiten by all components in one product; the distances are taken afterwards."""
    n_components, width = means.shape
    middle = means.mean(axis=0)
    wide = np.ascontiguousarray(roots.reshape(-1, width).T)
    centers = np.einsum("kij,kj->ki", roots, means - middle)

    def work(_: int, steps: slice) -> None:
        for first in range(steps.start, steps.stop, BLOCK):
            block = slice(first, min(first + BLOCK, steps.stop))
            products = ((values[block] - middle) @ wide).reshape(-1, n_components, width)
            if JIT:
                whitened_scores(products, centers, constants, out[block])
            else:
                out[block] = constants - 0.5 * ((products - centers) ** 2).sum(axis=2)

    grouped(len(values), n_groups(len(values)), work, n_threads)


# Statistics ---------------------------------------------------------------------------------


def gaussian_statistics(
    values: Array, weights: Array, means: Array, kind: str, n_threads: int
) -> GaussianStatistics:
    """Return weighted moments about ``means``; spherical ones are diagonal, tied ones full."""
    n_components, width = means.shape
    full = kind in ("full", "tied")
    shape = (n_components, width, width) if full else (n_components, width)
    count = n_groups(len(values), int(np.prod(shape)))
    totals = np.zeros((count, n_components))
    first = np.zeros((count, n_components, width))
    second = np.zeros((count, *shape))

    def work(i: int, steps: slice) -> None:
        if full:
            _add_full(values[steps], weights[steps], means, totals[i], first[i], second[i])
        elif JIT:
            room = np.empty((width, BLOCK)), np.empty((n_components, BLOCK))
            add_diagonal_moments(
                values[steps], weights[steps], means, *room, totals[i], first[i], second[i]
            )
        else:
            totals[i] = weights[steps].sum(axis=0)
            for k, mean in enumerate(means):
                deltas = values[steps] - mean
                first[i, k] = weights[steps, k] @ deltas
                second[i, k] = weights[steps, k] @ deltas**2

    with single_blas_thread:
        grouped(len(values), count, work, n_threads)
    return GaussianStatistics(totals.sum(axis=0), first.sum(axis=0), second.sum(axis=0))


def _add_full(
    values: Array, weights: Array, means: Array, totals: Array, first: Array, second: Array
) -> None:
    block = 4 * BLOCK
    room = np.empty((block, values.shape[1]))
    for begin in range(0, len(values), block):
        part = slice(begin, begin + block)
        roots = np.sqrt(weights[part])
        totals += weights[part].sum(axis=0)
        for k, mean in enumerate(means):
            rows = room[: len(roots)]
            if JIT:
                scatter_rows(values[part], weights[part, k], mean, rows)
            else:
                np.multiply(roots[:, k, None], values[part] - mean, out=rows)
            first[k] += roots[:, k] @ rows
            second[k] += rows.T @ rows


# Re-estimation ------------------------------------------------------------------------------


class GaussianPrior(NamedTuple):
    """-log p = a/2 log det S + tr(P S^-1)/2 + w/2 (m - m0)' S^-1 (m - m0) for each component."""

    means: float | Array  # m0
    means_weight: float  # w
    scale: float  # P is this times the identity
    strength: float  # a


def maximized(
    statistics: GaussianStatistics,
    means: Array,
    covars: Array,
    kind: str,
    prior: GaussianPrior,
    floor: Array,
    groups: int = 1,
) -> tuple[Array, Array]:
    """Return the means and covariances of greatest expected log density plus log prior.

    Tied covariances are shared by ``groups`` runs of components. Components of weight 0, that
    nothing is known of, stay as they are.
    """
    weights, first, second = statistics
    width = means.shape[1]
    mass = weights + prior.means_weight
    seen = mass > 0
    safe = np.where(seen, mass, 1.0)[:, None]
    shift = (prior.means_weight * (prior.means - means) + first) / safe
    new_means = np.where(seen[:, None], means + shift, means)
    shift = new_means - means
    away = new_means - prior.means
    if kind in ("full", "tied"):
        cross = first[:, :, None] * shift[:, None, :]
        scatter = second - cross - np.swapaxes(cross, 1, 2)
        scatter += weights[:, None, None] * shift[:, :, None] * shift[:, None, :]
        scatter += prior.means_weight * away[:, :, None] * away[:, None, :]
    else:
        scatter = second - 2 * shift * first + weights[:, None] * shift**2
        scatter += prior.means_weight * away**2
    if kind == "tied":
        sums = weights.reshape(groups, -1).sum(axis=1)
        scatter = scatter.reshape(groups, -1, width, width).sum(axis=1)
    else:
        sums = weights
    return new_means, _covariances(scatter, sums, covars, kind, prior, floor)


def _covariances(
    scatter: Array, sums: Array, covars: Array, kind: str, prior: GaussianPrior, floor: Array
) -> Array:
    """Return covariances no smaller than the floor, which is the best of all those."""
    mass = sums + prior.strength
    seen = mass > 0
    safe = np.where(seen, mass, 1.0)
    if kind == "spherical":
        new = np.maximum((scatter + prior.scale).mean(axis=1) / safe, floor.mean())
        return np.where(seen, new, covars)
    if kind == "diag":
        new = np.maximum((scatter + prior.scale) / safe[:, None], floor)
        return np.where(seen[:, None], new, covars)
    new = scatter + prior.scale * np.eye(scatter.shape[-1])
    new = np.array([_above(matrix, floor) for matrix in new / safe[:, None, None]])
    return np.where(seen[:, None, None], new, covars.reshape(new.shape))


def _above(matrix: Array, floor: Array) -> Array:
    """Return the covariance whose eigenvalues, in units of the floor, are 1 at least."""
    scales = np.sqrt(floor)
    unit = (matrix + matrix.T) / 2 / scales / scales[:, None]
    values, vectors = np.linalg.eigh(unit)
    if values[0] >= 1:
        return (matrix + matrix.T) / 2
    lifted = (vectors * np.maximum(values, 1.0)) @ vectors.T
    lifted = (lifted + lifted.T) / 2 * scales * scales[:, None]
    return lifted


def gaussian_log_prior(means: Array, covars: Array, kind: str, prior: GaussianPrior) -> float:
    """Return the log prior of all components, up to a constant."""
    if not (prior.means_weight or prior.scale or prior.strength):
        return 0.0
    away = means - prior.means
    width = means.shape[1]
    if kind in ("full", "tied"):
        matrices = covars.reshape(-1, width, width)
        inverses = np.linalg.inv(matrices)
        logs = np.linalg.slogdet(matrices)[1].sum()
        traces = np.trace(inverses, axis1=1, axis2=2).sum()
        runs = away.reshape(len(matrices), -1, width)
        distances = np.einsum("gmi,gij,gmj->", runs, inverses, runs)
    else:
        variances = as_diagonal(covars, means.shape)
        logs = np.log(variances).sum()
        traces = (1 / variances).sum()
        distances = (away**2 / variances).sum()
    return -0.5 * float(
        prior.strength * logs + prior.scale * traces + prior.means_weight * distances
    )


def n_covariances(kind: str, n_components: int, groups: int, width: int) -> int:
    """Return the number of free parameters of the covariances."""
    half = width * (width + 1) // 2
    return {
        "spherical": n_components,
        "diag": n_components * width,
        "full": n_components * half,
        "tied": groups * half,
    }[kind]
