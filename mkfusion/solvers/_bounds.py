"""The norm ball that kernel weights live in, and the two bounds that certify an optimum.

All are plain functions of the quadratic forms ``q_m = beta' K_m beta``, summed over the problems
that share their weights. The set of weights is
``{theta >= 0, ||theta||_p <= M^(1/p - 1)}``: the simplex for p = 1, and the uniform weights 1/M
alone are left of it for p = infinity. No kernel weights of the set sum to more than 1.
"""

from __future__ import annotations

import numpy as np

__all__ = [
    "check_norm",
    "dual_norm",
    "lower_bound",
    "on_ball",
    "theta_from_forms",
    "theta_step",
    "upper_bound",
]

Array = np.ndarray


def check_norm(norm: float) -> float:
    """Return p of the norm as a number, or refuse what is less than 1."""
    try:
        p = float(norm)
    except (TypeError, ValueError):
        p = np.nan
    if not p >= 1 or isinstance(norm, bool | np.bool_):
        raise ValueError(f"norm must be a number p >= 1, numpy.inf included, got {norm!r}")
    return p


def dual_norm(q: Array, norm: float) -> float:
    """Return the largest theta'q of the set, ``M^(1/p - 1) ||q||_p*`` with 1/p + 1/p* = 1.

    It is the maximum of q for p = 1, and its mean for p = infinity. Rounding that makes a form
    of 0 negative is taken out.
    """
    q = np.maximum(q, 0.0)
    largest = float(q.max())
    if norm == 1 or largest == 0:
        return largest
    if np.isinf(norm):
        return float(q.mean())
    dual = norm / (norm - 1)
    return largest * float(np.mean((q / largest) ** dual) ** (1 / dual))


def on_ball(theta: Array, norm: float) -> Array:
    """Return multiples of non-negative weights that lie on the ball's surface; uniform ones of 0.

    For p = infinity the surface is read as its one corner, the uniform weights.
    """
    size = len(theta)
    largest = theta.max()
    if largest == 0 or np.isinf(norm):
        return np.full(size, 1 / size)
    shape = theta / largest
    return shape / (size * np.mean(shape**norm) ** (1 / norm))


def theta_from_forms(q: Array, norm: float) -> Array:
    """Return the weights with the largest theta'q, those that belong to the forms q.

    With p > 1 they are ``theta_m = M^(1/p - 1) (q_m / ||q||_p*)^(1 / (p - 1))``, where Hölder's
    inequality is an equality: at the optimum of q, these are the optimal weights. With p = 1 any
    mixture of the largest forms attains the maximum, and equal shares of them are returned; the
    optimal weights do not follow from q alone then.
    """
    q = np.maximum(q, 0.0)
    largest = q.max()
    if norm == 1:
        return on_ball((q == largest).astype(np.float64), norm)
    if largest == 0 or np.isinf(norm):
        return np.full(len(q), 1 / len(q))
    return on_ball((q / largest) ** (1 / (norm - 1)), norm)


def theta_step(theta: Array, q: Array, norm: float) -> Array:
    """Return the next weights of the wrapper, from the forms that were solved for at theta.

    With ``||w_m||^2 = theta_m^2 q_m`` held, ``sum_m ||w_m||^2 / theta_m`` is least on the set at
    ``theta_m`` proportional to ``||w_m||^(2 / (p + 1))``: a descent of the objective for every
    p, and its fixed points for p > 1 are those of :func:`theta_from_forms`. A weight of 0 stays.
    """
    if np.isinf(norm):
        return np.full(len(q), 1 / len(q))
    squares = theta**2 * np.maximum(q, 0.0)
    largest = squares.max()
    return on_ball(squares if largest == 0 else (squares / largest) ** (1 / (norm + 1)), norm)


def lower_bound(gain: float, q: Array, norm: float) -> float:
    """Return D, which no weights get below: of any feasible dual variables.

    ``gain`` is what they earn without kernels (1'alpha for an SVM), summed over the problems.
    """
    return gain - 0.5 * dual_norm(q, norm)


def upper_bound(theta: Array, q: Array, loss: float) -> float:
    """Return P, which is reached: of any weights of the set, and any decision function.

    ``loss`` is that of ``f = sum_m theta_m K_m beta + bias``, summed over samples and problems.
    """
    return 0.5 * float(theta @ q) + loss
