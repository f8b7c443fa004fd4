"""The losses that kernel weights are learnt by: each with its dual, and the best intercept.

Every task is one pair of problems in the coefficients beta of ``f = K beta``::

    min over f, b of   1/2 ||f||^2 + total b + sum_i loss_i(f_i + b)
    max over beta of   gain(beta) - 1/2 beta' K beta,  low <= beta <= high,  sum_i beta_i = total

and C_i is the weight of sample i in the loss. Without an intercept the sum is free.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

__all__ = ["TASKS", "Task", "project"]

Array = np.ndarray
Pair = tuple[Array, Array]


class Hinges(NamedTuple):
    """The loss in the intercept, ``sum_j cost_j max(0, sign_j (place_j - b))``."""

    places: Array
    signs: Array
    costs: Array


class Task(NamedTuple):
    """One loss by its functions of arrays of shape (n_samples,) or (n_samples, n_problems).

    Attributes
    ----------
    box : callable
        (y, C) to the lowest and the highest beta.
    gain : callable
        (beta, y, C, epsilon) to what the dual earns, by sample.
    loss : callable
        (decision, y, C, epsilon) to the loss, by sample.
    bias : callable
        (f, y, C, epsilon) of one problem to the intercept with the least loss.
    total : float
        What beta sums to where there is an intercept.
    """

    box: Callable[[Array, Array], Pair]
    gain: Callable[[Array, Array, Array, float], Array]
    loss: Callable[[Array, Array, Array, float], Array]
    bias: Callable[[Array, Array, Array, float], float]
    total: float = 0.0


def lowest_point(hinges: Hinges, slope: float = 0.0) -> float:
    """Return the b with the least sum of hinges and ``slope b``; the middle where many have it.

    Every hinge adds its cost to the slope at its place, whichever side it opens to.
    """
    used = hinges.costs > 0
    places, signs, costs = (part[used] for part in hinges)
    if not len(places):
        return 0.0
    order = np.argsort(places, kind="stable")
    size = costs.max()  # sums of costs might overflow
    places, costs = places[order], costs[order] / size
    slopes = slope / size - costs[signs[order] > 0].sum() + np.cumsum(costs)
    flat = 8 * np.finfo(np.float64).eps * costs.sum()
    first = int(np.searchsorted(slopes, -flat))
    if first >= len(places):
        return float(places[-1])
    last = first + 1 if slopes[first] <= flat and first + 1 < len(places) else first
    return float(0.5 * places[first] + 0.5 * places[last])


def project(beta: Array, low: Array, high: Array, total: float | None) -> Array:
    """Return the point of {low <= beta <= high, sum beta = total} that is nearest to beta.

    It is ``clip(beta - mu, low, high)`` with the one mu that gives the sum; None leaves the sum
    free. Bounds may be infinite.
    """
    if total is None:
        return np.clip(beta, low, high)
    breaks = np.concatenate([beta - high, beta - low])
    breaks = np.unique(breaks[np.isfinite(breaks)])
    # The sum falls with mu: find the breaks on both sides of the total.
    left, right = 0, len(breaks)
    while left < right:
        middle = (left + right) // 2
        if np.clip(beta - breaks[middle], low, high).sum() > total:
            left = middle + 1
        else:
            right = middle
    if 0 < left < len(breaks):
        mu = 0.5 * breaks[left - 1] + 0.5 * breaks[left]
    elif len(breaks):
        mu = breaks[0] - 1.0 if left == 0 else breaks[-1] + 1.0
    else:
        mu = 0.0
    moved = beta - mu
    free = (moved > low) & (moved < high)
    if not free.any():
        return np.clip(moved, low, high)
    fixed = np.clip(moved, low, high)[~free].sum()
    mu = (beta[free].sum() + fixed - total) / free.sum()
    return np.clip(np.where(free, beta - mu, moved), low, high)


# Support vector machines ----------------------------------------------------------------------


def _signed_box(y: Array, C: Array) -> Pair:
    return np.minimum(y * C, 0.0), np.maximum(y * C, 0.0)


def _margin_gain(beta: Array, y: Array, C: Array, epsilon: float) -> Array:
    return y * beta


def _margin_loss(decision: Array, y: Array, C: Array, epsilon: float) -> Array:
    return C * np.maximum(0.0, 1.0 - y * decision)


def _margin_bias(f: Array, y: Array, C: Array, epsilon: float) -> float:
    return lowest_point(Hinges(y - f, y, C))


def _symmetric_box(y: Array, C: Array) -> Pair:
    return -C, C


def _tube_gain(beta: Array, y: Array, C: Array, epsilon: float) -> Array:
    return y * beta - epsilon * np.abs(beta)


def _tube_loss(decision: Array, y: Array, C: Array, epsilon: float) -> Array:
    return C * np.maximum(0.0, np.abs(y - decision) - epsilon)


def _tube_bias(f: Array, y: Array, C: Array, epsilon: float) -> float:
    signs = np.repeat([1.0, -1.0], len(y))
    places = np.concatenate([y - f - epsilon, y - f + epsilon])
    return lowest_point(Hinges(places, signs, np.concatenate([C, C])))


def _upper_box(y: Array, C: Array) -> Pair:
    return np.zeros_like(C), C


def _no_gain(beta: Array, y: Array, C: Array, epsilon: float) -> Array:
    return np.zeros_like(beta)


def _novelty_loss(decision: Array, y: Array, C: Array, epsilon: float) -> Array:
    return C * np.maximum(0.0, -decision)


def _novelty_bias(f: Array, y: Array, C: Array, epsilon: float) -> float:
    return lowest_point(Hinges(-f, np.ones(len(f)), C), slope=1.0)


# Ridge ----------------------------------------------------------------------------------------


def _free_box(y: Array, C: Array) -> Pair:
    high = np.where(C > 0, np.inf, 0.0)
    return -high, high


def _ridge_gain(beta: Array, y: Array, C: Array, epsilon: float) -> Array:
    squares = np.divide(beta**2, C, out=np.zeros_like(beta), where=C > 0)
    return y * beta - 0.5 * squares


def _ridge_loss(decision: Array, y: Array, C: Array, epsilon: float) -> Array:
    return 0.5 * C * (y - decision) ** 2


def _ridge_bias(f: Array, y: Array, C: Array, epsilon: float) -> float:
    return float(C @ (y - f) / C.sum())


#: Every loss by the name of its task.
TASKS: dict[str, Task] = {
    "svm": Task(_signed_box, _margin_gain, _margin_loss, _margin_bias),
    "svr": Task(_symmetric_box, _tube_gain, _tube_loss, _tube_bias),
    "one_class": Task(_upper_box, _no_gain, _novelty_loss, _novelty_bias, total=1.0),
    "ridge": Task(_free_box, _ridge_gain, _ridge_loss, _ridge_bias),
}
