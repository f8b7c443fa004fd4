"""Weights of streams learnt so that the classes are told apart, not so that data are likely."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize

from ._chain import posteriors, step_sequence
from ._temperature import (
    LARGEST,
    SPREAD,
    Temperature,
    centred,
    class_shares,
    learn_temperature,
    prior_value,
    teaching,
    tempered,
)

__all__ = [
    "Chain",
    "StreamWeights",
    "learn_stream_weights",
    "linear_scores",
    "path_scores",
    "stream_weight_loss",
]

Array = np.ndarray

#: Weights of shape (n_streams,) to scores (n_samples, n_classes) and their slopes by the weights.
Scorer = Callable[[Array], tuple[Array, Array]]


class Chain(NamedTuple):
    """What one class says of sequences before the streams are weighted, in logs.

    Attributes
    ----------
    start : ndarray of shape (n_states,)
    transition : ndarray of shape (n_states, n_states)
    densities : ndarray of shape (n_streams, n_steps, n_states)
        0 at the steps where a stream is absent.
    """

    start: Array
    transition: Array
    densities: Array


class StreamWeights(NamedTuple):
    r"""Learnt weights, the temperature learnt with them, and the certificate of both.

    Attributes
    ----------
    weights : ndarray of shape (n_streams,)
        Non-negative, with sum ``n_streams``: 1 each is the model without weights.
    temperature : Temperature
    objective : float
        The mean log loss, with the prior on the temperature.
    gap : float
        :math:`\langle g, w \rangle - M \min_m g_m` with the gradient g by the weights: 0 at a
        stationary point of the simplex, and a bound on the distance to the optimum where the
        objective is convex in the weights, as it is for separate chains.
    gradient : float
        The largest absolute partial derivative by the temperature's parameters.
    n_iter : int
    converged : bool
    """

    weights: Array
    temperature: Temperature
    objective: float
    gap: float
    gradient: float
    n_iter: int
    converged: bool


def linear_scores(table: Array) -> Scorer:
    r"""Return the scorer of chains that do not know of one another.

    .. math:: \log p_w(X \mid c) = \sum_m w_m \log p_m(X_m \mid c)

    Parameters
    ----------
    table : ndarray of shape (n_samples, n_streams, n_classes)
        Log-likelihoods of each stream by itself, 0 for an absent one, -inf where the class cannot
        have made the sequence.

    Returns
    -------
    scorer : callable
    """
    lost = np.any(np.isneginf(table), axis=1)
    slopes = np.where(lost[:, None], 0.0, table).transpose(0, 2, 1)

    def scores(weights: Array) -> tuple[Array, Array]:
        return np.where(lost, -np.inf, (slopes * weights).sum(axis=2)), slopes

    return scores


def path_scores(chains: Sequence[Chain | None], offsets: Array, *, n_threads: int = 1) -> Scorer:
    r"""Return the scorer of classes whose streams share one chain.

    .. math::

        \log p_w(X \mid c) &= \log \sum_q \pi_{q_1} \prod_t A_{q_{t-1} q_t}
            \prod_m b_m(x_{mt} \mid q_t)^{w_m} \\
        \frac{\partial}{\partial w_m} \log p_w(X \mid c) &=
            \sum_t \sum_j P_w(q_t = j \mid X, c) \log b_m(x_{mt} \mid j)

    Parameters
    ----------
    chains : sequence of Chain or None
        One for each class; None scores -inf throughout.
    offsets : ndarray of int of shape (n_samples + 1,)
    n_threads : int

    Returns
    -------
    scorer : callable
    """
    n_samples, owner = len(offsets) - 1, step_sequence(offsets)
    n_streams = next(len(chain.densities) for chain in chains if chain is not None)

    def scores(weights: Array) -> tuple[Array, Array]:
        values = np.full((n_samples, len(chains)), -np.inf)
        slopes = np.zeros((n_samples, len(chains), n_streams))
        for c, chain in enumerate(chains):
            if chain is None:
                continue
            found = posteriors(
                chain.start, chain.transition, weighted_sum(chain.densities, weights), offsets,
                n_threads=n_threads,
            )  # fmt: skip
            values[:, c] = found.log_partition
            for m, density in enumerate(chain.densities):
                # A state that cannot have made the step has probability 0: 0 * -inf is 0 here.
                terms = np.where(found.marginals > 0, density, 0.0) * found.marginals
                slopes[:, c, m] = np.bincount(owner, terms.sum(axis=1), n_samples)
        slopes[~np.isfinite(values)] = 0.0
        return values, slopes

    return scores


def weighted_sum(densities: Array, weights: Array) -> Array:
    """Return ``sum_m w_m log b_m``, in which a stream of weight 0 has no part."""
    total = np.zeros(densities.shape[1:])
    for density, weight in zip(densities, weights, strict=True):
        if weight:
            total += weight * density
    return total


def learn_stream_weights(
    scorer: Scorer,
    n_streams: int,
    y: Array,
    lengths: Array,
    log_priors: Array,
    *,
    sample_weight: Array | None = None,
    tol: float = 1e-6,
    max_iter: int = 100,
) -> StreamWeights:
    r"""Find the weights and the temperature of the smallest log loss.

    .. math:: \min_{w, a, b}\ -\sum_i s_i \log P_w(y_i \mid X_i) + \text{prior}(a, b)
        \quad \text{with } w \ge 0,\ \sum_m w_m = M

    where P is :func:`log_posteriors` of the scores at w, and the prior that of
    :func:`learn_temperature`. The weights say which stream is to be heard, the temperature how
    much all of them are; without the sum the two could not be told apart. Sequential quadratic
    programming begins with equal weights at their best temperature.

    Parameters
    ----------
    scorer : callable
        ``scorer(weights)`` returns log p of shape (n_samples, n_classes) and its slopes, of shape
        (n_samples, n_classes, n_streams); by models that have not seen the samples.
    n_streams : int
        M.
    y : ndarray of int of shape (n_samples,)
        Places of the classes.
    lengths : ndarray of shape (n_samples,)
    log_priors : ndarray of shape (n_classes,)
    sample_weight : ndarray of shape (n_samples,), default=None
    tol : float
        A gap and a gradient of the mean objective up to ten times as large count as converged.
    max_iter : int

    Returns
    -------
    found : StreamWeights

    References
    ----------
    Potamianos, Graf (1998), Discriminative training of HMM stream exponents for audio-visual
    speech recognition, ICASSP, section 3, for weights by a discriminative criterion.
    """
    weights = np.ones(len(y)) if sample_weight is None else np.asarray(sample_weight, float)
    equal = np.ones(n_streams)
    scores = scorer(equal)[0]
    kept = teaching(scores, y, log_priors) & (weights > 0)
    first = learn_temperature(scores, y, lengths, log_priors, sample_weight=weights)
    if not kept.any():
        return StreamWeights(equal, first, np.nan, 0.0, 0.0, 0, True)
    y, weights = y[kept], weights[kept]
    logs = np.log(np.maximum(np.asarray(lengths, float)[kept], 1.0))
    middle = float(weights @ logs / weights.sum())

    def objective(point: Array) -> tuple[float, Array]:
        values, slopes = scorer(np.maximum(point[:n_streams], 0.0))
        return stream_weight_loss(
            point, values[kept], slopes[kept], y, logs - middle, log_priors, weights
        )

    whole = np.r_[equal, 0.0, 0.0]
    run = minimize(
        objective, np.r_[equal, first.a + first.b * middle, first.b], jac=True, method="SLSQP",
        bounds=[(0.0, n_streams)] * n_streams + [(-LARGEST / 10, LARGEST / 10), (-20.0, 20.0)],
        constraints={
            "type": "eq", "fun": lambda point: point @ whole - n_streams, "jac": lambda _: whole,
        },
        options={"maxiter": max_iter, "ftol": tol**2},
    )  # fmt: skip
    found = np.maximum(run.x[:n_streams], 0.0)
    point = np.r_[found * (n_streams / found.sum()), run.x[n_streams:]]
    value, gradient = objective(point)
    slopes, left = gradient[:n_streams], float(np.abs(gradient[n_streams:]).max())
    gap = float(slopes @ point[:n_streams] - n_streams * slopes.min())
    level, slope = point[n_streams:]
    converged = max(gap, left) <= 10 * tol
    temperature = Temperature(
        a=float(level - slope * middle), b=float(slope),
        loss=float(value - prior_value(point[n_streams:]) / weights.sum()), gradient=left,
        n_iter=int(run.nit), converged=converged, n_samples=len(y), origin="learnt out of fold",
    )  # fmt: skip
    return StreamWeights(point[:n_streams], temperature, value, gap, left, int(run.nit), converged)


def stream_weight_loss(
    point: Array,
    scores: Array,
    slopes: Array,
    y: Array,
    logs: Array,
    log_priors: Array,
    weights: Array,
) -> tuple[float, Array]:
    """Return the mean objective and its gradient by the weights and the temperature's parameters.

    Parameters
    ----------
    point : ndarray of shape (n_streams + 2,)
        The weights; then alpha, log tau at the mean of the log lengths, and b.
    scores : ndarray of shape (n_samples, n_classes)
        At these weights.
    slopes : ndarray of shape (n_samples, n_classes, n_streams)
        Their partial derivatives by the weights.
    y : ndarray of int of shape (n_samples,)
    logs : ndarray of shape (n_samples,)
        Log lengths less their weighted mean.
    log_priors : ndarray of shape (n_classes,)
    weights : ndarray of shape (n_samples,)
        Sample weights.

    Returns
    -------
    value : float
    gradient : ndarray of shape (n_streams + 2,)
    """
    n_streams = slopes.shape[2]
    level, slope = point[n_streams:]
    inverse = np.exp(-np.clip(level + slope * logs, -LARGEST, LARGEST))
    rows = np.arange(len(y))
    relative = centred(scores)
    z = tempered(relative, log_priors, inverse)
    top = z.max(axis=1)
    losses = np.log(np.exp(z - top[:, None]).sum(axis=1)) + top - z[rows, y]
    total = weights.sum()
    value = (weights @ losses + prior_value(point[n_streams:])) / total
    excess = class_shares(z)  # P(c | X) less 1 for the class itself
    excess[rows, y] -= 1.0
    excess *= (weights * inverse)[:, None]
    by_weight = np.einsum("ic,icm->m", excess, slopes)
    by_level = -(excess * np.where(np.isfinite(relative), relative, 0.0)).sum(axis=1)
    by_temperature = np.array([by_level.sum(), by_level @ logs])
    by_temperature += [level / SPREAD**2, slope]
    return float(value), np.r_[by_weight, by_temperature] / total
