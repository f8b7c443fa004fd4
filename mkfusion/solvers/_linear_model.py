"""The second-order model of a loss, and the kernel weights that are best for it.

Around a machine V_0 the loss is ``-<G, V - V_0> + 1/2 <V - V_0, B (V - V_0)>``. With the penalty
``1/2 sum_m ||V_m||^2 / theta_m`` the least over V is a convex function of theta, as that of a
machine on kernels is. The intercepts are the last row of V, which no weight belongs to.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .._parallel import single_blas_thread
from ._alignment import solve_alignment
from ._bounds import dual_norm, on_ball, theta_step
from ._linear_curvature import Curvature, Solver

__all__ = ["ModelOptimum", "best_of_model", "penalty", "squares_by_block"]

Array = np.ndarray

MOST_STEPS = 40  # of the weights on one model
HALVINGS = 8
FREE = 1e4  # the root of what stands for the weight of an intercept's step: hardly a penalty


class ModelOptimum(NamedTuple):
    """Where the model and the penalty are least together.

    Attributes
    ----------
    V : ndarray of shape (n_rows_of_V, n_outputs)
    theta : ndarray of shape (n_blocks,)
    value : float
        Of both; 0 is the loss where the model was made.
    """

    V: Array
    theta: Array
    value: float


def squares_by_block(W: Array, places: Array) -> Array:
    """Return ||W_m||^2; block m has the rows of W from ``places[m]`` to ``places[m + 1]``."""
    sums = np.add.reduceat(np.append(np.einsum("dp,dp->d", W, W), 0.0), places[:-1])
    return np.where(np.diff(places) > 0, sums, 0.0)  # of no rows, reduceat returns the next


def penalty(W: Array, places: Array, norm: float) -> tuple[float, Array]:
    """Return the least of ``1/2 sum_m ||W_m||^2 / theta_m`` over weights, and these."""
    squares = squares_by_block(W, places)
    theta = theta_step(np.ones(len(squares)), squares, norm)
    shares = np.divide(squares, theta, out=np.zeros_like(squares), where=theta > 0)
    return 0.5 * float(shares.sum()), theta


def best_of_model(
    curvature: Curvature,
    places: Array,
    V: Array,
    G: Array,
    theta: Array,
    norm: float,
    tol: float,
) -> ModelOptimum:
    """Return the machine and the weights that are best for the model, to a gap of ``tol``.

    G is what the loss falls by along V, and ``theta`` is where the search begins.
    """
    with single_blas_thread:
        return _best(curvature, places, V, G, theta, norm, tol)


def _best(
    curvature: Curvature,
    places: Array,
    V: Array,
    G: Array,
    theta: Array,
    norm: float,
    tol: float,
) -> ModelOptimum:
    from_zero = V.copy()
    from_zero[places[-1] :] = 0.0  # what counts of an intercept is its step
    model = _Model(curvature, places, G + curvature.product(from_zero))
    state = model.weighed(theta)
    for _ in range(MOST_STEPS):
        if dual_norm(state.forms, norm) - float(state.theta @ state.forms) <= 2 * tol:
            break
        following = model.newton(state) if norm == 1 else model.wrapper(state, norm)
        if following is None:
            break
        state = following
    step = state.V - from_zero
    value = penalty(state.V[: places[-1]], places, norm)[0] - float(np.vdot(G, step))
    value += 0.5 * float(np.vdot(step, curvature.product(step)))
    return ModelOptimum(V + step, state.theta, value)


class _Weighed(NamedTuple):
    """The best machine of a model at fixed weights."""

    theta: Array
    V: Array
    g: Array  # V_m / theta_m, and its limit where theta_m is 0
    forms: Array  # shape: (n_blocks,), ||g_m||^2
    value: float  # the least, but for what does not depend on theta


class _Model:
    def __init__(self, curvature: Curvature, places: Array, target: Array) -> None:
        self.curvature, self.places, self.target = curvature, places, target
        self.free = len(target) - places[-1]

    def roots(self, theta: Array) -> Array:
        """Return the root of its block's weight for each row of V."""
        return np.append(np.repeat(np.sqrt(theta), np.diff(self.places)), [FREE] * self.free)

    def weighed(self, theta: Array) -> _Weighed:
        """Return what is best at fixed weights: ``(B + 1 / theta) V = target``."""
        roots = self.roots(theta)[:, None]
        solve: Solver = self.curvature.solver(roots[:, 0])
        V = roots * solve(roots * self.target)
        g = self.target - self.curvature.product(V)
        forms = squares_by_block(g[: self.places[-1]], self.places)
        return _Weighed(theta, V, g, forms, -0.5 * float(np.vdot(self.target, V)))

    def wrapper(self, state: _Weighed, norm: float) -> _Weighed | None:
        """Take the closed form's step."""
        theta = theta_step(state.theta, state.forms, norm)
        return None if np.array_equal(theta, state.theta) else self.weighed(theta)

    def newton(self, state: _Weighed) -> _Weighed | None:
        """Take a Newton step on the simplex, shortened until it descends."""
        direction = self.direction(state)
        length = 1.0
        for _ in range(HALVINGS):
            theta = on_ball(np.maximum(state.theta + length * direction, 0.0), 1.0)
            following = self.weighed(theta)
            promised = 0.5 * length * float(state.forms @ direction)
            if following.value <= state.value - 1e-4 * promised:
                return following
            length /= 2
        return None

    def direction(self, state: _Weighed) -> Array:
        """Return the step that minimises the second-order model in theta on the simplex.

        The derivatives are -1/2 q_m, and g_k' (B - B R (I + R B R)^-1 R B) g_l with R the roots
        of theta, where outputs that depend on one another are taken apart.
        """
        M, roots = len(state.theta), self.roots(state.theta)
        H = np.zeros((M, M))
        each = self.curvature.outputs(roots)
        largest = float(state.forms.max())  # out of the way, for squares of squares overflow
        for (times, solve), g in zip(each, state.g.T / np.sqrt(largest), strict=True):
            apart = np.zeros((len(g), M))
            for m, rows in enumerate(map(slice, self.places[:-1], self.places[1:])):
                apart[rows, m] = g[rows]
            bent = times(apart)
            half = roots[:, None] * bent
            H += apart.T @ bent - half.T @ solve(half)
        values, vectors = np.linalg.eigh((H + H.T) / 2)
        least = max(1e-10 * np.abs(values).max(), 1e-8)
        H = (vectors * np.maximum(values, least)) @ vectors.T  # rounding makes it indefinite
        scale = float(np.abs(H).max())
        target = (H @ state.theta + 0.5 * state.forms / largest) / scale
        return solve_alignment(H / scale, target, constraint="simplex").weights - state.theta
