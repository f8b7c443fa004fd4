"""Weights of experts, learnt or searched on what the experts say of labelled samples.

What they say must be out of fold: an expert that has seen the labels earns too much weight.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.special import logsumexp

from .._validation import warn_unconverged
from ._rule import FLOOR, Array, LearntWeights, floored_log, ratio

__all__ = [
    "best_of",
    "draw_weights",
    "learn_log_pool",
    "learn_reliabilities",
    "learn_shares",
    "learn_weighted",
    "log_loss",
]

_LARGEST = 1e3
_LEAST = 1e-6
_TINY = 1e-12
_TOLERANCE = 1e-6

Objective = Callable[[Array], tuple[float, Array]]


def log_loss(logs: Array, y: Array, sample_weight: Array, least: float = FLOOR) -> float:
    """Return the mean negative log probability of the true classes, floored."""
    true = logs[np.arange(len(y)), y] - logsumexp(logs, axis=1)
    if least > 0:
        true = np.maximum(true, np.log(least))
    return float(-(true @ sample_weight) / sample_weight.sum())


# Mixtures of those who speak ----------------------------------------------------------------


class _Mixture:
    """The mean of values with weights g over those who speak, and how it answers to g."""

    def __init__(self, values: Array, speaks: Array) -> None:
        self.speaks = speaks.reshape(len(values), -1).astype(float)
        self.values = (values * speaks).reshape(len(values), -1)
        self.shape = values.shape[1:]
        self.width = speaks.shape[2]

    def mean(self, weights: Array) -> tuple[Array, Array]:
        """Return sum(g s v) / sum(g s) and sum(g s); shapes (n_samples, n_classes or 1)."""
        total = (weights @ self.speaks).reshape(-1, self.width)
        mixed = (weights @ self.values).reshape(self.shape)
        return ratio(mixed, np.broadcast_to(total, self.shape)), total

    def pull_back(self, gradient: Array, mean: Array, total: Array) -> Array:
        """Return the gradient in g of a function whose gradient in the mean is given."""
        through = ratio(gradient, np.broadcast_to(total, self.shape))
        moved = through * mean
        moved = moved.sum(axis=1, keepdims=True) if self.width == 1 else moved
        return self.values @ through.ravel() - self.speaks @ moved.ravel()


def _who(mask: Array, expert_priors: Array) -> Array:
    seen = expert_priors > 0
    return mask[:, :, None] if seen.all() else mask[:, :, None] & seen[:, None, :]


def _least(speaks: Array) -> float:
    """Return the least weight: 0 would leave unheard the samples and classes of one expert.

    Weights that are all 0 have no gradient: the mixture is not defined there.
    """
    return _TINY if speaks.all() else _LEAST


def _pool_objective(
    mixture: _Mixture, y: Array, sample_weight: Array, log: bool, base: Array
) -> Objective:
    """Return the log loss of a pool, and its gradient, in the scaled weights g = w / temperature.

    The fused logarithms are sum(g) z for the logarithmic pool and sum(g) log z for the linear
    one, z being the mixture. Where all speak of all, the first is linear in g, and its log loss
    convex.
    """
    share = sample_weight / sample_weight.sum()
    rows = np.arange(len(y))

    def objective(scaled: Array) -> tuple[float, Array]:
        mean, total = mixture.mean(scaled)
        inner = mean + base if log else floored_log(mean)
        logs = scaled.sum() * inner
        normaliser = logsumexp(logs, axis=1)
        error = np.exp(logs - normaliser[:, None])
        error[rows, y] -= 1
        error *= share[:, None]
        slope = scaled.sum() * error
        if not log:
            slope *= np.where(mean > FLOOR, 1 / np.maximum(mean, FLOOR), 0.0)
        gradient = mixture.pull_back(slope, mean, total) + (error * inner).sum()
        return float(share @ (normaliser - logs[rows, y])), gradient

    return objective


def _learn_pool(
    posteriors: Array,
    mask: Array,
    y: Array,
    sample_weight: Array,
    expert_priors: Array,
    log: bool,
    max_iter: int,
) -> LearntWeights:
    speaks = _who(mask, expert_priors)
    base = np.where(speaks.any(axis=0), 0.0, np.log(FLOOR))
    mixture = _Mixture(floored_log(posteriors) if log else posteriors, speaks)
    objective = _pool_objective(mixture, y, sample_weight, log, base)
    even = np.full(len(posteriors), 1 / len(posteriors))
    # In the linear pool a weight of 0 is a wall where its expert alone does not rule a class out.
    least = _least(speaks) if log else _LEAST
    starts = [even] if log else [even, _best_corner(objective, even)]
    # A pool of logarithms that all speak of is convex in the weights themselves.
    scale = None if log and speaks.all() else _LOGARITHMS
    found = _descend(objective, starts, least, _LARGEST, max_iter, "weights", scale)
    found = found._replace(weights=np.where(found.weights > _TINY, found.weights, 0.0))
    total = found.weights.sum()
    if total < _LEAST:  # what nobody knows anything of is flat, whatever the weights
        loss, _ = objective(even * _LEAST)
        return found._replace(weights=even, temperature=1 / _LEAST, loss=loss)
    return found._replace(weights=found.weights / total, temperature=float(1 / total))


def _best_corner(objective: Objective, even: Array) -> Array:
    """Return weights near those of the best single expert."""
    corners = 0.9 * np.eye(len(even)) + 0.1 * even
    return min(corners, key=lambda corner: objective(corner)[0])


def learn_weighted(
    posteriors: Array,
    mask: Array,
    y: Array,
    sample_weight: Array,
    priors: Array,
    expert_priors: Array,
    *,
    max_iter: int = 500,
) -> LearntWeights:
    """Learn the weights and the temperature of the linear pool by log loss.

    With a temperature the loss is not convex: the better of two descents is taken, from equal
    weights and from those near the best single expert. Weights stay above 0, a millionth of the
    temperature at least.
    """
    return _learn_pool(posteriors, mask, y, sample_weight, expert_priors, False, max_iter)


def learn_log_pool(
    posteriors: Array,
    mask: Array,
    y: Array,
    sample_weight: Array,
    priors: Array,
    expert_priors: Array,
    *,
    max_iter: int = 500,
) -> LearntWeights:
    """Learn the weights and the temperature of the logarithmic pool by log loss."""
    return _learn_pool(posteriors, mask, y, sample_weight, expert_priors, True, max_iter)


# Reliabilities ------------------------------------------------------------------------------


def _evidence_objective(
    posteriors: Array, mask: Array, y: Array, sample_weight: Array, expert_priors: Array
) -> Objective:
    """Return the log loss of Dempster-Shafer fusion, and its gradient, in the reliabilities."""
    speaks = _who(mask, expert_priors)
    base = np.where(speaks.any(axis=0), 0.0, np.log(FLOOR))
    share = sample_weight / sample_weight.sum()
    rows = np.arange(len(y))
    uncertain = 1 - 1 / posteriors.shape[2]

    def objective(reliability: Array) -> tuple[float, Array]:
        plain = 1 + reliability[:, None, None] * (posteriors - 1)
        belief = np.where(speaks, np.log(np.maximum(plain, FLOOR)), 0.0)
        moved = np.where(speaks & (plain > FLOOR), (posteriors - 1) / np.maximum(plain, FLOOR), 0)
        believed = belief.sum(axis=0)
        doubted = np.where(mask, np.log1p(-reliability)[:, None], 0.0).sum(axis=0)
        ignorance = uncertain * np.exp(doubted[:, None] - believed)
        logs = believed + np.log1p(-ignorance) + base
        normaliser = logsumexp(logs, axis=1)
        error = np.exp(logs - normaliser[:, None])
        error[rows, y] -= 1
        error *= share[:, None]
        relative = error * ignorance / (1 - ignorance)
        gradient = np.einsum("ic,mic->m", error + relative, moved)
        gradient += (mask @ relative.sum(axis=1)) / (1 - reliability)
        return float(share @ (normaliser - logs[rows, y])), gradient

    return objective


def learn_reliabilities(
    posteriors: Array,
    mask: Array,
    y: Array,
    sample_weight: Array,
    priors: Array,
    expert_priors: Array,
    *,
    max_iter: int = 500,
) -> LearntWeights:
    """Learn the discounts of Dempster-Shafer fusion by log loss.

    The loss is not convex: the better of two descents is taken, from the experts' accuracies and
    from one half.
    """
    objective = _evidence_objective(posteriors, mask, y, sample_weight, expert_priors)
    right = (posteriors.argmax(axis=2) == y) * mask
    accuracy = ratio(right @ sample_weight, mask @ sample_weight)
    starts = [np.clip(accuracy, 0.05, 0.95), np.full(len(mask), 0.5)]
    least = 0.0 if _who(mask, expert_priors).all() else _LEAST
    scale = _Scale(lambda a: -np.log1p(-a), lambda t: -np.expm1(-t), lambda t: np.exp(-t))
    found = _descend(objective, starts, least, 1 - 1e-9, max_iter, "discounts", scale)
    # To believe nobody is to know nothing: uniform, and not the priors of who is unheard.
    if found.weights.any():
        return found
    weights = np.full(len(mask), _LEAST)
    return found._replace(weights=weights, loss=objective(weights)[0])


# Numbers ------------------------------------------------------------------------------------


def learn_shares(
    predictions: Array, mask: Array, y: Array, sample_weight: Array, *, max_iter: int = 500
) -> LearntWeights:
    """Learn the shares of several regressors by squared error, in units of each output's variance.

    Where all speak of all this is a convex quadratic programme on the simplex.
    """
    mixture = _Mixture(predictions, mask[:, :, None])
    share = sample_weight / sample_weight.sum()
    scale = share @ np.square(y - share @ y)
    unit = np.where(scale > 0, scale, 1.0) * y.shape[1]

    def objective(weights: Array) -> tuple[float, Array]:
        mean, total = mixture.mean(weights)
        error = (mean - y) / unit
        gradient = mixture.pull_back(2 * share[:, None] * error, mean, total)
        return float(share @ ((mean - y) * error).sum(axis=1)), gradient

    start = np.full(len(mask), 1 / len(mask))
    least = _least(mask)
    scale = None if mask.all() else _LOGARITHMS
    found = _descend(objective, [start], least, _LARGEST, max_iter, "weights", scale)
    weights = np.where(found.weights > _TINY, found.weights, 0.0)
    weights /= weights.sum()
    loss, gradient = objective(weights)
    found = found._replace(weights=weights, loss=loss)
    return found._replace(residual=_gap(weights, gradient)) if scale is None else found


def _gap(weights: Array, gradient: Array) -> float:
    """Return the duality gap of Frank and Wolfe on the simplex."""
    return float(weights @ gradient - gradient.min())


# Descent and search -------------------------------------------------------------------------


class _Scale(NamedTuple):
    """Another scale for weights: there, back, and the slope of the way back."""

    to: Callable[[Array], Array]
    back: Callable[[Array], Array]
    slope: Callable[[Array], Array]

    def rescaled(self, objective: Objective) -> Objective:
        """Return the objective in this scale."""

        def inner(place: Array) -> tuple[float, Array]:
            loss, gradient = objective(self.back(place))
            return loss, gradient * self.slope(place)

        return inner


_LOGARITHMS = _Scale(np.log, np.exp, np.exp)


def _descend(
    objective: Objective,
    starts: Sequence[Array],
    least: float,
    largest: float,
    max_iter: int,
    what: str,
    scale: _Scale | None = None,
) -> LearntWeights:
    """Minimise within bounds; the residual is the projected gradient at the end.

    It is that in another scale where one is given. In logarithms the ratio of two small weights
    counts as much as that of two large ones, as it does for samples of which no other speaks.
    """
    if scale is None:
        runs = [_descent(objective, start, least, largest, max_iter) for start in starts]
    else:
        low, high = scale.to(np.array([least, largest])).tolist()
        inner = scale.rescaled(objective)
        runs = [_descent(inner, scale.to(start), low, high, max_iter) for start in starts]
        runs = [run._replace(weights=scale.back(run.weights)) for run in runs]
    best = min(runs, key=lambda run: run.loss)
    if not best.converged:
        warn_unconverged(what, "projected gradient", best.residual, best.n_iter)
    return best


def _descent(
    objective: Objective, start: Array, least: float, largest: float, max_iter: int
) -> LearntWeights:
    """Descend by L-BFGS-B, and again from where it stalls for as long as that helps."""
    bounds = [(least, largest)] * len(start)
    weights, best, n_iter = start, np.inf, 0
    while True:
        options = {"maxiter": max_iter - n_iter, "ftol": 0.0, "gtol": _TOLERANCE / 10}
        run = minimize(
            objective,
            weights,
            jac=True,
            method="L-BFGS-B",
            bounds=bounds,
            options=options | {"maxcor": 20},
        )
        n_iter += int(run.nit)
        falls = run.fun < best
        if falls:
            best, weights = run.fun, np.clip(run.x, least, largest)
        loss, gradient = objective(weights)
        residual = float(np.abs(weights - np.clip(weights - gradient, least, largest)).max())
        converged = residual <= _TOLERANCE
        if converged or not falls or n_iter >= max_iter:
            return LearntWeights(weights, 1.0, loss, residual, n_iter, converged)


def best_of(tried: Array, losses: Sequence[Array]) -> LearntWeights:
    """Return the weights of least loss, by the first of the losses; of equal ones the first."""
    best = np.lexsort(tuple(losses)[::-1])[0]
    return LearntWeights(tried[best], 1.0, float(losses[0][best]), np.nan, len(tried), True)


def draw_weights(
    kind: str, n_experts: int, n_classes: int | None, n_draws: int, random_state: Any
) -> Array:
    """Return weights to try: the centre, the corners, then draws.

    Shares are drawn from the flat Dirichlet distribution (for each class its own where
    ``n_classes`` is given), reliabilities uniformly; all reliabilities 1 stand first.
    """
    generator = np.random.default_rng(random_state)
    corners = np.eye(n_experts)
    if kind == "reliability":
        drawn = generator.random((n_draws, n_experts))
        return np.concatenate([np.ones((1, n_experts)), corners, drawn])
    fixed = np.concatenate([np.full((1, n_experts), 1 / n_experts), corners])
    if n_classes is None:
        return np.concatenate([fixed, generator.dirichlet(np.ones(n_experts), size=n_draws)])
    fixed = np.repeat(fixed[:, :, None], n_classes, axis=2)
    drawn = generator.dirichlet(np.ones(n_experts), size=(n_draws, n_classes))
    return np.concatenate([fixed, drawn.transpose(0, 2, 1)])
