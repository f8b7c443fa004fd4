"""Likelihoods of sequences made posteriors that can be trusted: a temperature by length."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.special import logsumexp

__all__ = [
    "Temperature",
    "constant_temperature",
    "learn_temperature",
    "log_posteriors",
    "temperature_loss",
]

Array = np.ndarray

SPREAD = 5.0  # of the prior on log tau at the mean of the log lengths; that of b is 1
LARGEST = 500.0  # of |log tau|: beyond it exp would overflow, and nothing changes
STARTS = [(level, slope) for level in (-2.0, 0.0, 2.0, 4.0, 6.0, 9.0) for slope in (0.0, 0.5, 1.0)]


class Temperature(NamedTuple):
    r"""A temperature by length, :math:`\tau(T) = e^{a + b \log T}`, and how it was found.

    Attributes
    ----------
    a, b : float
    loss : float
        The mean log loss of the samples that it was learnt from; NaN where it was not learnt.
    gradient : float
        The largest absolute partial derivative of the mean objective that is left.
    n_iter : int
    converged : bool
    n_samples : int
        The samples that it was learnt from.
    origin : str
        "learnt out of fold", "given", "not asked for", or why it could not be learnt.
    """

    a: float
    b: float
    loss: float
    gradient: float
    n_iter: int
    converged: bool
    n_samples: int
    origin: str

    def at(self, lengths: Array) -> Array:
        """Return tau for sequences of these lengths; below one step it is that of one."""
        return np.exp(_log_temperature(self.a, self.b, _log_lengths(lengths)))


def constant_temperature(value: float = 1.0, origin: str = "given") -> Temperature:
    """Return a temperature that is the same for every length.

    Parameters
    ----------
    value : float
        tau, above 0.
    origin : str
        Where it comes from.

    Returns
    -------
    temperature : Temperature
    """
    return Temperature(float(np.log(value)), 0.0, np.nan, 0.0, 0, True, 0, origin)


def log_posteriors(
    scores: Array, log_priors: Array, lengths: Array, temperature: Temperature
) -> Array:
    r"""Return :math:`\log P(c \mid X)` of shape (n_samples, n_classes).

    .. math:: P(c \mid X) \propto P(c) \exp\{\log p(X \mid c) / \tau(T)\}

    Where no class can have made a sequence (all scores -inf), the priors are returned.

    Parameters
    ----------
    scores : ndarray of shape (n_samples, n_classes)
        :math:`\log p(X \mid c)`, -inf where the class cannot have made the sequence.
    log_priors : ndarray of shape (n_classes,)
    lengths : ndarray of shape (n_samples,)
        T, in steps.
    temperature : Temperature

    Returns
    -------
    logs : ndarray of shape (n_samples, n_classes)
    """
    logs = tempered(centred(scores), log_priors, 1 / temperature.at(lengths))
    return logs - logsumexp(logs, axis=1, keepdims=True)


def learn_temperature(
    scores: Array,
    y: Array,
    lengths: Array,
    log_priors: Array,
    *,
    sample_weight: Array | None = None,
    tol: float = 1e-8,
    max_iter: int = 200,
) -> Temperature:
    r"""Find the temperature of the smallest log loss.

    .. math:: \min_{a, b}\ -\sum_i s_i \log P(y_i \mid X_i)
        + \frac{(a + b\,\overline{\log T})^2}{2 \cdot 5^2} + \frac{b^2}{2}

    For given b the loss is convex in :math:`e^{-a}`. The two last terms are a weak prior about
    tau = 1: it decides where the samples cannot, as b is when all have one length, or when the
    scores make no mistake. The mean is weighted by the sample weights. The search starts from the
    best of 18 points.

    Parameters
    ----------
    scores : ndarray of shape (n_samples, n_classes)
        :math:`\log p(X \mid c)` by models that have not seen the sample. A sample whose own
        class has -inf, or the prior 0, teaches nothing about a temperature and is left out.
    y : ndarray of int of shape (n_samples,)
        Places of the classes.
    lengths : ndarray of shape (n_samples,)
        T, in steps.
    log_priors : ndarray of shape (n_classes,)
    sample_weight : ndarray of shape (n_samples,), default=None
    tol : float
        On the largest absolute partial derivative of the mean objective.
    max_iter : int

    Returns
    -------
    temperature : Temperature
        With ``origin`` "learnt out of fold".

    References
    ----------
    Guo, Pleiss, Sun, Weinberger (2017), On calibration of modern neural networks, ICML, equation
    (9), for one temperature; here it grows with the length.
    """
    weights = np.ones(len(y)) if sample_weight is None else np.asarray(sample_weight, float)
    kept = teaching(scores, y, log_priors) & (weights > 0)
    if not kept.any():
        return constant_temperature(origin="no sample could be scored by a model of its class")
    scores, y, weights = centred(scores[kept]), y[kept], weights[kept]
    logs = _log_lengths(lengths[kept])
    middle = float(weights @ logs / weights.sum())

    def objective(point: Array) -> tuple[float, Array]:
        return temperature_loss(point, scores, y, logs - middle, log_priors, weights)

    start = min(STARTS, key=lambda point: objective(np.array(point))[0])
    run = minimize(
        objective, np.array(start), jac=True, method="L-BFGS-B",
        bounds=[(-LARGEST / 10, LARGEST / 10), (-20.0, 20.0)],
        options={"maxiter": max_iter, "ftol": 0.0, "gtol": tol},
    )  # fmt: skip
    level, slope = run.x
    left = float(np.abs(run.jac).max())
    z = tempered(scores, log_priors, np.exp(-_log_temperature(level, slope, logs - middle)))
    return Temperature(
        a=float(level - slope * middle),
        b=float(slope),
        loss=float(weights @ _losses(z, y) / weights.sum()),
        gradient=left,
        n_iter=int(run.nit),
        converged=left <= max(100 * tol, 1e-6),  # the last digits of a sum of logs are noise
        n_samples=len(y),
        origin="learnt out of fold",
    )


def temperature_loss(
    point: Array, scores: Array, y: Array, logs: Array, log_priors: Array, weights: Array
) -> tuple[float, Array]:
    r"""Return the objective, divided by the sum of the weights, and its gradient.

    With :math:`u_i = e^{-(\alpha + b\,t_i)}` and :math:`\ell_{ic}` the scores, the derivative of
    the loss of a sample by :math:`\log u_i` is
    :math:`u_i (\sum_c P(c \mid X_i) \ell_{ic} - \ell_{i y_i})`.

    Parameters
    ----------
    point : ndarray of shape (2,)
        alpha and b.
    scores : ndarray of shape (n_samples, n_classes)
        With the greatest of each row 0.
    y : ndarray of int of shape (n_samples,)
    logs : ndarray of shape (n_samples,)
        t, the log lengths less their weighted mean.
    log_priors : ndarray of shape (n_classes,)
    weights : ndarray of shape (n_samples,)

    Returns
    -------
    value : float
    gradient : ndarray of shape (2,)
    """
    inverse = np.exp(-_log_temperature(point[0], point[1], logs))
    z = tempered(scores, log_priors, inverse)
    total = weights.sum()
    value = (weights @ _losses(z, y) + prior_value(point)) / total
    by_level = -weights * inverse * score_slopes(z, scores, y)
    gradient = np.array([by_level.sum(), by_level @ logs]) + prior_gradient(point)
    return float(value), gradient / total


def prior_value(point: Array) -> float:
    """Return what the prior adds to the summed loss at (alpha, b)."""
    return float((point[0] / SPREAD) ** 2 + point[1] ** 2) / 2


def prior_gradient(point: Array) -> Array:
    """Return its gradient."""
    return np.array([point[0] / SPREAD**2, point[1]])


def score_slopes(z: Array, scores: Array, y: Array) -> Array:
    """Return the derivative of each sample's loss by the inverse temperature."""
    finite = np.where(np.isfinite(scores), scores, 0.0)
    return (class_shares(z) * finite).sum(axis=1) - finite[np.arange(len(y)), y]


def class_shares(z: Array) -> Array:
    """Return posteriors from what is proportional to them in logs."""
    shares = np.exp(z - z.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


def tempered(scores: Array, log_priors: Array, inverse: Array) -> Array:
    """Return ``log P(c) + score / tau``; the priors alone where no class has a score."""
    lost = ~np.isfinite(scores).any(axis=1)
    z = scores * inverse[:, None] + log_priors
    z[lost] = log_priors
    return z


def centred(scores: Array) -> Array:
    """Return scores less the greatest of each row, which no posterior feels."""
    top = scores.max(axis=1, keepdims=True)
    return scores - np.where(np.isfinite(top), top, 0.0)


def teaching(scores: Array, y: Array, log_priors: Array) -> Array:
    """Tell which samples have a score for their own class, and a prior above 0."""
    return np.isfinite(scores[np.arange(len(y)), y] + log_priors[y])


def _losses(z: Array, y: Array) -> Array:
    return logsumexp(z, axis=1) - z[np.arange(len(y)), y]


def _log_lengths(lengths: Array) -> Array:
    return np.log(np.maximum(np.asarray(lengths, dtype=np.float64), 1.0))


def _log_temperature(level: float, slope: float, logs: Array) -> Array:
    return np.clip(level + slope * logs, -LARGEST, LARGEST)
