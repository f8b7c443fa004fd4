"""Kernel weights and linear machines learnt together, in the primal, from sums over rows.

The rows are somewhere else: whoever holds them sums what the solver asks for. It asks seldom,
because each answer may be a pass over a disk or a cluster. Between two passes it works on a
second-order model of the loss, which a sum over rows gives and every pass corrects; on the model
coefficients and weights are found together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np

from ._bounds import check_norm, dual_norm, on_ball
from ._checks import check_number
from ._linear_curvature import Curvature, GramCurvature, SecantCurvature
from ._linear_losses import LOSSES, LinearTerms, Loss, Moments
from ._linear_model import ModelOptimum, best_of_model, penalty, squares_by_block

__all__ = ["LinearMKLSolution", "LinearRows", "solve_linear_mkl"]

Array = np.ndarray

SHARES = 0.1, 1e-2, 1e-3, 1e-4  # of the gap that the weights of a model may lack
LOOSEST = 0.1  # gap that a model is solved for
ENOUGH = 1e-4  # of what the model promises
GOOD, POOR = 0.75, 0.25  # of what was promised: the model is bent less, or more
FIRST_BEND, LEAST_BEND = 1e-3, 1e-7  # shares of the most that the loss bends anywhere
MORE, LESS = 4.0, 3.0
MOST_TRIES = 12  # from one point
PATIENCE = 6  # passes, after which the model is made anew where it is slow,
PER_PASS = 64  # and one more for so many features, which make that dearer
PROGRESS = 0.1  # of the gap before: a pass that leaves less of it is not slow
MOST_COST = 1e150  # of all rows
RAISED = 1e-2  # of the largest weight: what a start has of each, for p > 1 leaves a 0 where it is


class LinearRows(Protocol):
    """The rows that are learnt from, wherever they are.

    Attributes
    ----------
    loss : {"logistic", "squared_hinge", "squared"}
    places : ndarray of int of shape (n_blocks + 1,)
        Block m has the features from ``places[m]`` to ``places[m + 1]``.
    """

    loss: str
    places: Array

    def moments(self) -> Moments:
        """Return the sums that depend on no machine."""

    def terms(self, W: Array, b: Array) -> LinearTerms:
        """Return the sums at a machine."""

    def grams(self, W: Array, b: Array, intercept: bool, exact: bool) -> Array:
        """Return ``sum_i D_ip z_i z_i'`` of each output at a machine.

        z are the features, and behind them 1 if there is an intercept. One may stand for outputs
        with the same D, some rows for all unless it is to be exact, and of very many features
        the diagonals are enough: shape (1 or n_outputs, d, d) or (1 or n_outputs, d).
        """


class LinearMKLSolution(NamedTuple):
    """Kernel weights with the linear machines that they were learnt with, and their certificate.

    Attributes
    ----------
    theta : ndarray of shape (n_blocks,)
        The weights of the best upper bound.
    coef : ndarray of shape (n_features, n_outputs)
    intercept : ndarray of shape (n_outputs,)
    objective : float
        The best upper bound: 1/2 sum_m ||W_m||^2 / theta_m + the losses.
    lower : float
        The best lower bound.
    gap : float
        ``objective - lower``: neither is further from the optimum.
    n_passes : int
        How often the rows were summed over for a machine.
    n_grams : int
        How often they were for second derivatives.
    converged : bool
        Whether the gap is at most ``tol`` times the objective.
    history : ndarray of shape (n_passes, 2)
        The upper and the lower bound of every pass.

    Examples
    --------
    >>> import numpy as np
    >>> from mkfusion.solvers import LinearArrays, solve_linear_mkl
    >>> Z, t = np.array([[-1.0, 0.0], [1.0, 0.0]]), np.array([[-1.0], [1.0]])
    >>> solution = solve_linear_mkl(LinearArrays(Z, [0, 1, 2], t, "squared"))
    >>> bool(solution.gap <= 1e-3 * solution.objective)
    True
    """

    theta: Array
    coef: Array
    intercept: Array
    objective: float
    lower: float
    gap: float
    n_passes: int
    n_grams: int
    converged: bool
    history: Array


def solve_linear_mkl(
    rows: LinearRows,
    C: float = 1.0,
    *,
    norm: float = 1.0,
    intercept: bool = True,
    tol: float = 1e-3,
    max_passes: int = 100,
    start: LinearMKLSolution | None = None,
    callback: Callable[[float, float], Any] | None = None,
) -> LinearMKLSolution:
    r"""Learn weights of blocks of features together with linear machines on them.

    .. math:: \min_{W, b, \theta} \; \tfrac12 \sum_m \|W_m\|^2 / \theta_m
        + C \sum_{i, p} c_i \, l(t_{ip}, f_{ip}), \qquad f_i = b + \sum_m W_m' x_{im}

    with :math:`\theta \ge 0, \|\theta\|_p \le M^{1/p - 1}`, shared by all outputs: the primal of
    multiple kernel learning with linear kernels on the blocks. For p = 1 it is the group lasso,
    squared.

    Parameters
    ----------
    rows : LinearRows
    C : float, default=1.0
        Multiplies the costs.
    norm : float, default=1.0
        p, from 1 to infinity.
    intercept : bool, default=True
        Learn b, which is not penalised; else it is 0.
    tol : float, default=1e-3
        The gap at which to stop, relative to the objective.
    max_passes : int, default=100
        The most sums over rows for a machine. Fewer than needed are no error: ``converged`` tells.
    start : LinearMKLSolution, default=None
        A solution of a problem nearby.
    callback : callable, default=None
        Called after every pass with the best upper and the best lower bound.

    Returns
    -------
    solution : LinearMKLSolution

    Raises
    ------
    ValueError
        For a norm below 1, a C that is not above 0, and sums whose squares overflow.

    Notes
    -----
    The lower bound is that of the dual problem: with alpha the negative derivatives of the losses,
    mended so that they sum to 0 where there is an intercept, and s from 0 to 1 the best share of
    them, it is s times what they earn less ``s^2 M^(1/p - 1) / 2`` times the dual norm of
    ``q_m = ||sum_i x_im alpha_i'||^2``. It is never below 0.

    References
    ----------
    Bach, Lanckriet, Jordan (2004), Multiple kernel learning, conic duality, and the SMO algorithm,
    eq. (P), for the primal. Kloft, Brefeld, Sonnenburg, Zien (2011), lp-Norm multiple kernel
    learning, eq. (4). Byrd, Nocedal, Schnabel (1994), Representations of quasi-Newton matrices,
    eq. (2.17), for the secants.

    Examples
    --------
    >>> import numpy as np
    >>> from mkfusion.solvers import LinearArrays, solve_linear_mkl
    >>> Z, t = np.array([[-1.0, 0.0], [1.0, 0.0]]), np.array([[-1.0], [1.0]])
    >>> solution = solve_linear_mkl(LinearArrays(Z, [0, 1, 2], t, "squared"))
    >>> solution.theta, solution.coef.round(3)
    (array([1., 0.]), array([[0.8],
           [0. ]]))
    """
    C = check_number("C", C)
    if C == 0:
        raise ValueError("C must be above 0, got 0")
    search = _Search(rows, C, check_norm(norm), intercept, tol, max_passes, callback)
    point = search.first(start)
    while not search.done():
        following = search.step(point)
        if following is None:
            break
        point = following
    return search.solution()


def _best_multiple(gain: float, q: Array, norm: float) -> float:
    """Return the best lower bound of multiples up to 1 of dual variables that earn ``gain``.

    What they earn is concave and 0 for none, so that a share of them earns that share at least.
    """
    if not (gain > 0 and np.isfinite(q).all()):
        return 0.0
    length = 0.5 * dual_norm(q, norm)
    share = min(1.0, gain / (2 * length)) if length > 0 else 1.0
    return share * gain - share**2 * length


class _Point(NamedTuple):
    """A machine, and what the rows say of it."""

    V: Array  # coefficients, and below them the intercepts
    theta: Array  # the search goes on from here
    G: Array  # what the loss falls by along V
    upper: float


class _Search:
    """What the steps share: the problem, the best bounds, the model."""

    def __init__(
        self,
        rows: LinearRows,
        C: float,
        norm: float,
        intercept: bool,
        tol: float,
        max_passes: int,
        callback: Callable[[float, float], Any] | None,
    ) -> None:
        self.rows, self.C, self.norm, self.intercept = rows, C, norm, intercept
        self.tol, self.max_passes, self.callback = tol, max_passes, callback
        self.loss: Loss = LOSSES[rows.loss]
        self.moments = rows.moments().times(C)
        if self.moments.cost > MOST_COST:
            raise ValueError(
                f"C times the summed costs is {self.moments.cost:.3g}, whose squares overflow; "
                "take a smaller C or divide all weights by a constant"
            )
        self.best: _Point | None = None
        self.lower = -np.inf
        self.history: list[tuple[float, float]] = []
        self.bent, self.n_grams, self.before = 0.0, 0, np.inf
        self.most: Array | None = None
        self.curvature = SecantCurvature(Curvature())

    def gap(self) -> float:
        """Return the gap of the best bounds, but for rounding, relative to the upper one."""
        if self.best is None:
            return np.inf
        gap = self.best.upper - self.lower - self.loss.rounding(self.moments)
        return max(0.0, gap) / (abs(self.best.upper) or 1.0)

    def done(self) -> bool:
        return self.gap() <= self.tol or len(self.history) >= self.max_passes

    def first(self, start: LinearMKLSolution | None) -> _Point:
        """Begin with no coefficients, or with those of a problem nearby."""
        places, P = self.rows.places, len(self.moments.targets)
        if start is None:
            theta = on_ball(np.ones(len(places) - 1), self.norm)
            W, b = np.zeros((places[-1], P)), np.zeros(P)
            if self.intercept and self.moments.cost > 0:
                b = self.loss.start(self.moments.targets / self.moments.cost)
        else:
            W, b, theta = start.coef, start.intercept, start.theta
            if W.shape != (places[-1], P) or len(theta) != len(places) - 1:
                raise ValueError(
                    f"start must have coefficients of shape {(int(places[-1]), P)} and "
                    f"{len(places) - 1} weights, got {W.shape} and {len(theta)}"
                )
            if self.norm > 1:
                theta = np.maximum(theta, RAISED * theta.max())
            theta = on_ball(theta, self.norm)
        point = self.evaluated(np.vstack([W, b]) if self.intercept else W, theta)
        if not (np.isfinite(point.upper) and np.isfinite(point.G).all()):
            raise ValueError(
                "features, targets and costs must be finite and their squares must not overflow, "
                "but the first sums over the rows are not finite"
            )
        if not self.done():
            self.renew(point, exact=self.loss.quadratic)
        return point

    def parts(self, V: Array) -> tuple[Array, Array]:
        """Return coefficients and intercepts."""
        d = int(self.rows.places[-1])
        return V[:d], V[d] if self.intercept else np.zeros(V.shape[1])

    def evaluated(self, V: Array, theta: Array) -> _Point:
        """Ask the rows for a machine, and work out both bounds."""
        W, b = self.parts(V)
        places = self.rows.places
        terms = self.rows.terms(W, b).times(self.C)
        if self.intercept:
            gain, gradient = self.loss.mended(terms, self.moments)
            G = np.vstack([terms.gradient, terms.residual])
        else:
            gain, gradient = self.loss.gain(terms), terms.gradient
            G = terms.gradient
        upper = terms.loss + penalty(W, places, self.norm)[0]
        point = _Point(V, theta, G, upper if np.isfinite(upper) else np.inf)
        lower = _best_multiple(gain, squares_by_block(gradient, places), self.norm)
        self.lower = max(self.lower, lower)
        if self.best is None or point.upper < self.best.upper:
            self.best = point
        self.history.append((point.upper, lower))
        if self.callback is not None:
            self.callback(self.best.upper, self.lower)
        return point

    def renew(self, point: _Point, exact: bool = False) -> None:
        """Make the model anew."""
        self.grams, self.made_at = self.second_derivatives(point.V, exact), point.V
        self.bend(self.bent)

    def second_derivatives(self, V: Array, exact: bool) -> Array:
        self.n_grams += 1
        grams = self.C * self.rows.grams(*self.parts(V), self.intercept, exact)
        if not np.isfinite(grams).all():
            raise ValueError(
                "the features must be finite and their squares must not overflow, but the "
                "second derivatives of the loss are not finite; scale the features"
            )
        return grams

    def bend(self, share: float) -> None:
        """Add so much of the most that the loss bends anywhere to the model.

        Where few rows bend at a machine, a model of these is flat, and its optimum far from
        where it holds.
        """
        assert self.best is not None
        shape, grams = self.best.V.shape, self.grams
        if share > 0:
            if self.most is None:  # where the decision is 0, and there all outputs bend alike
                self.most = self.second_derivatives(np.zeros(shape), False)[:1]
            grams = grams + share * self.most
        self.bent = share
        told = self.curvature.secants() if grams.ndim == 2 else []  # diagonals need them most
        self.curvature = SecantCurvature(GramCurvature(grams, shape[1]))
        for secant in told:
            self.curvature.learn(*secant)

    def best_step(self, point: _Point) -> tuple[ModelOptimum, float]:
        """Return where the model is least, nearly, and what it says that the objective falls."""
        places = self.rows.places
        size = penalty(self.parts(point.V)[0], places, self.norm)[0]
        aim = self.tol if self.loss.quadratic else min(max(self.gap(), self.tol), LOOSEST)
        for share in SHARES:
            tol = share * aim * abs(point.upper)
            found = best_of_model(
                self.curvature, places, point.V, point.G, point.theta, self.norm, tol
            )
            if found.value < size:  # else the weights are too rough
                break
        return found, size - found.value

    def mend(self, point: _Point, secant: tuple[Array, Array]) -> None:
        """Make a model better that promised more than a step from a point has kept."""
        if self.grams.ndim == 2:
            self.curvature.learn(*secant)
        if self.made_at is point.V or self.loss.quadratic:
            self.bend(MORE * self.bent or FIRST_BEND)
        else:
            self.renew(point, exact=True)

    def step(self, point: _Point) -> _Point | None:
        """Go to where the model is least, and bend the model until that descends."""
        patience = PATIENCE + int(self.rows.places[-1]) // PER_PASS
        slow = len(self.history) > patience and self.gap() > PROGRESS * self.before
        if slow and not self.loss.quadratic and self.grams.ndim == 3:
            self.renew(point, exact=True)
        self.before = self.gap()
        slack = SHARES[0] * self.tol * abs(point.upper)
        for _ in range(MOST_TRIES):
            found, promised = self.best_step(point)
            following = self.evaluated(found.V, found.theta)
            fell = point.upper - following.upper
            secant = following.V - point.V, point.G - following.G
            if fell < POOR * promised - slack:
                self.mend(point, secant)
            elif fell > GOOD * promised and self.bent > 0:
                self.bend(self.bent / LESS if self.bent > LEAST_BEND else 0.0)
            else:
                self.curvature.learn(*secant)
            if self.done() or fell >= ENOUGH * promised - slack:
                return following
        return None

    def solution(self) -> LinearMKLSolution:
        best = self.best
        assert best is not None
        W, b = self.parts(best.V)
        return LinearMKLSolution(
            penalty(W, self.rows.places, self.norm)[1] if W.any() else best.theta,
            W,
            b,
            best.upper,
            self.lower,
            max(0.0, best.upper - self.lower),
            len(self.history),
            self.n_grams,
            self.gap() <= self.tol,
            np.array(self.history).reshape(-1, 2),
        )
