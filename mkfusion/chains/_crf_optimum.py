r"""The optimum of a conditional random field on a chain.

L-BFGS in variables whose Hessian is near the identity. With columns centred and divided by their
deviations (the means go into the intercept, which has no penalty) a view's coefficients W become
U = W L, where

.. math:: L L' = \kappa C + \mathrm{diag}(l)

for the covariance C and the penalties l of these columns. After some iterations, and then after
ever more, the curvature of all variables is drawn from the model (`_crf_curvature`), and its
factor changes them once more. These are changes of variables: the penalty stays on the
coefficients in the units of the features. With an L1 penalty all factors are diagonal, and a
variable is the difference of two with the bound 0.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.linalg import block_diag, cholesky, solve_triangular
from scipy.optimize import minimize

from .._parallel import single_blas_thread
from ._crf_curvature import drawn_scores
from ._crf_design import Design, column_means, column_scales, windows
from ._crf_objective import Layout, Potentials, by_parameters, chain_loss, observe

__all__ = ["CRFFit", "Penalties", "fit_chain", "violations"]

Array = np.ndarray

_WIDEST = 600  # columns whose covariance is worth its factor
_ROWS = 4096  # at least, of the steps that the covariance is taken from
_CURVATURE = 0.1  # of the share of the steps that a state's curvature is made of
_MEMORY = 30  # of L-BFGS: its own work is little beside a pass over the steps
_FAR = 1e4  # a mean so many deviations away from 0 costs digits
_MOST_VARIABLES = 1500  # whose curvature is drawn
_FIRST_STAGE = 20  # iterations
_RIDGE = 0.01  # of the curvature before anything is known, which is 1


class Penalties(NamedTuple):
    """What parameters cost.

    Attributes
    ----------
    l2 : list of ndarray of shape (D_v,)
        For each view, by column.
    l2_transition : float
        Of transitions, links and couplings.
    l1 : float
        Of all but the intercepts.
    """

    l2: list[Array]
    l2_transition: float
    l1: float = 0.0


class CRFFit(NamedTuple):
    """An optimum and its certificate.

    Attributes
    ----------
    potentials : Potentials
    objective : float
    residual : float
        The largest violation of the conditions of optimality, with every column divided by its
        deviation, over the (weighted) number of steps.
    n_iter : int
    converged : bool
        Whether the residual is at most ``tol``.
    """

    potentials: Potentials
    objective: float
    residual: float
    n_iter: int
    converged: bool


def fit_chain(
    design: Design,
    codes: Array,
    layout: Layout,
    penalties: Penalties,
    *,
    fit_intercept: bool = True,
    weights: Array | None = None,
    tol: float = 1e-5,
    max_iter: int = 1000,
    rng: np.random.Generator | None = None,
    n_threads: int = 1,
    progress: Any = None,
) -> CRFFit:
    """Minimise the objective from 0, or from a point that ``rng`` draws.

    Parameters
    ----------
    design : Design
        Finite; 0 where a modality is absent.
    codes : ndarray of int of shape (n_steps,)
    layout : Layout
    penalties : Penalties
    fit_intercept : bool
    weights : ndarray of shape (n_sequences,), default=None
    tol : float
        The residual at which to stop.
    max_iter : int
    rng : Generator, default=None
    n_threads : int
        No result depends on it.
    progress : callable, default=None
        Called with (iteration, objective, residual).

    Returns
    -------
    fit : CRFFit
    """
    with single_blas_thread:
        steps = None if weights is None else np.repeat(weights, np.diff(design.offsets))
        design, moved = _nearer(design, steps) if fit_intercept else (design, None)
        variables = _Variables(design, layout, penalties, steps, fit_intercept)
        problem = _Problem(design, codes, weights, layout, penalties, variables, n_threads)
        start = variables.drawn(rng)
        found = _minimise(problem, start, tol, max_iter, progress)
    potentials = found.potentials
    if moved is not None:
        for v, which in enumerate(layout.views):
            shift = np.concatenate([moved[m] for m in which])
            potentials.intercepts[v] -= potentials.coefs[v] @ shift
    return found


def _nearer(design: Design, steps: Array | None) -> tuple[Design, list[Array] | None]:
    """Move blocks to the origin that lie so far away that products would lose digits."""
    blocks, moved = list(design.blocks), []
    for m, block in enumerate(design.blocks):
        means = column_means(block, steps)
        scales = column_scales(block, means, steps)
        far = design.contexts[m] == 0 and bool((np.abs(means) > _FAR * scales).any())
        if far:
            blocks[m] = block - means
        moved.append(means if far else np.zeros(design.widths[m]))
    if any(shift.any() for shift in moved):
        return design._replace(blocks=tuple(blocks)), moved
    return design, None


class _Variables:
    """The change between the variables of the solver and potentials."""

    def __init__(
        self,
        design: Design,
        layout: Layout,
        penalties: Penalties,
        steps: Array | None,
        fit_intercept: bool,
    ) -> None:
        self.layout, self.l1 = layout, penalties.l1
        self.l2_transition = penalties.l2_transition
        self.fit_intercept = fit_intercept
        self.count = float(design.offsets[-1]) if steps is None else float(steps.sum())
        self.means: list[Array] = []
        self.scales: list[Array] = []
        self.factors: list[Array] = []
        self.costs: list[Array] = []  # the L2 penalties of standardised columns
        for v, which in enumerate(layout.views):
            means, scales = _moments(design, which, steps, fit_intercept)
            self.means.append(means)
            self.scales.append(scales)
            curvature = _CURVATURE * self.count / layout.n_states[v]
            l2 = np.minimum(penalties.l2[v] / scales / scales, 1e300)
            self.costs.append(l2)
            self.factors.append(
                _factor(design, which, steps, means, scales, curvature, l2, self.l1 > 0)
            )
        share = [_CURVATURE * self.count / k for k in layout.n_states]
        self.intercept_scales = [np.sqrt(s) for s in share]
        pairs = [*((v, v) for v in range(len(share))), *layout.links, *layout.couplings]
        self.pair_scales = [
            np.sqrt(share[v] / layout.n_states[w] + penalties.l2_transition) for v, w in pairs
        ]
        self.pair_shapes = [(layout.n_states[v], layout.n_states[w]) for v, w in pairs]
        sizes = [k * len(m) for k, m in zip(layout.n_states, self.means, strict=True)]
        self.ends = np.cumsum(
            [
                *sizes,
                *(layout.n_states if fit_intercept else [0] * len(sizes)),
                *(a * b for a, b in self.pair_shapes),
            ]
        )

    def parts(self, theta: Array) -> list[Array]:
        return np.split(theta, self.ends[:-1])

    def potentials(self, theta: Array) -> Potentials:
        """Return the potentials that these variables stand for."""
        parts, n = self.parts(theta), len(self.means)
        coefs, intercepts = [], []
        for v, k in enumerate(self.layout.n_states):
            coef = self._unfactored(parts[v].reshape(k, -1), v) / self.scales[v]
            coefs.append(coef)
            free = parts[n + v] / self.intercept_scales[v] if self.fit_intercept else np.zeros(k)
            intercepts.append(free - coef @ self.means[v])
        return Potentials(coefs, intercepts, *self._pairs(parts[2 * n :]))

    def gradient(self, found: Potentials) -> Array:
        """Return the gradient by the variables, from that by potentials."""
        return self.gradients([found])[0]

    def gradients(self, found: list[Potentials]) -> Array:
        """Return gradients by the variables, a row for each."""
        n = len(found)
        flat = []
        for v, k in enumerate(self.layout.n_states):
            by_coef = np.array([each.coefs[v] for each in found])
            bias = np.array([each.intercepts[v] for each in found])
            own = (by_coef - bias[:, :, None] * self.means[v]) / self.scales[v]
            flat.append(self._factored_gradient(own.reshape(n * k, -1), v).reshape(n, -1))
        if self.fit_intercept:
            for v, scale in enumerate(self.intercept_scales):
                flat.append(np.array([each.intercepts[v] for each in found]) / scale)
        for i, scale in enumerate(self.pair_scales):
            pairs = [[*each.transitions, *each.links, *each.couplings][i] for each in found]
            flat.append(np.array(pairs).reshape(n, -1) / scale)
        return np.hstack(flat)

    def violation(self, found: Potentials, at: Potentials) -> float:
        """Return the largest violation of the conditions of optimality."""
        worst = 0.0
        for v, by_coef in enumerate(found.coefs):
            own = by_coef - np.outer(found.intercepts[v], self.means[v])
            worst = max(worst, violations(own, at.coefs[v], self.l1, self.scales[v]))
            if self.fit_intercept:
                worst = max(worst, float(np.abs(found.intercepts[v]).max()))
        theirs = zip(
            [*found.transitions, *found.links, *found.couplings],
            [*at.transitions, *at.links, *at.couplings],
            strict=True,
        )
        return max(worst, *(violations(g, value, self.l1) for g, value in theirs)) / self.count

    def l1_weights(self) -> Array:
        """Return what the absolute value of each variable costs."""
        costs = []
        for v, k in enumerate(self.layout.n_states):
            costs.append(np.tile(1 / (self.scales[v] * self.factors[v]), k))
        costs += [np.zeros(k) for k in self.layout.n_states] if self.fit_intercept else []
        costs += [
            np.full(a * b, 1 / s)
            for (a, b), s in zip(self.pair_shapes, self.pair_scales, strict=True)
        ]
        return self.l1 * np.concatenate(costs)

    def penalty_curvature(self) -> Array:
        """Return the Hessian of the L2 penalties by the variables."""
        parts = []
        for v, k in enumerate(self.layout.n_states):
            L, costs = self.factors[v], np.sqrt(self.costs[v])
            if L.ndim == 1:
                own = np.diag((costs / L) ** 2)
            else:
                half = solve_triangular(L, np.diag(costs), lower=True, check_finite=False)
                own = half @ half.T
            parts += [own] * k
        free = sum(self.layout.n_states) * self.fit_intercept
        parts.append(np.zeros((free, free)))
        for (a, b), scale in zip(self.pair_shapes, self.pair_scales, strict=True):
            parts.append(self.l2_transition / scale**2 * np.eye(a * b))
        return block_diag(*parts)

    def penalty_diagonal(self) -> Array:
        """Return its diagonal."""
        return np.diag(self.penalty_curvature())

    def drawn(self, rng: np.random.Generator | None) -> Array:
        """Return a start: 0, or small coefficients of standardised columns."""
        theta = np.zeros(self.ends[-1])
        if rng is None:
            return theta
        parts, n = self.parts(theta), len(self.means)
        for v, k in enumerate(self.layout.n_states):
            d = len(self.means[v])
            own = rng.normal(scale=1 / np.sqrt(d), size=(k, d))
            factor = self.factors[v]
            parts[v][:] = (own * factor if factor.ndim == 1 else own @ factor).ravel()
        for part, scale in zip(parts[2 * n :], self.pair_scales, strict=True):
            part[:] = rng.normal(scale=0.1, size=len(part)) * scale
        return theta

    def _pairs(self, parts: list[Array]) -> tuple[list[Array], list[Array], list[Array]]:
        made = [
            part.reshape(shape) / scale
            for part, shape, scale in zip(parts, self.pair_shapes, self.pair_scales, strict=True)
        ]
        n, m = len(self.means), len(self.means) + len(self.layout.links)
        return made[:n], made[n:m], made[m:]

    def _unfactored(self, U: Array, v: int) -> Array:
        L = self.factors[v]
        if L.ndim == 1:
            return U / L
        return solve_triangular(L, U.T, lower=True, trans="T", check_finite=False).T

    def _factored_gradient(self, G: Array, v: int) -> Array:
        L = self.factors[v]
        if L.ndim == 1:
            return G / L
        return solve_triangular(L, G.T, lower=True, check_finite=False).T


def violations(gradient: Array, values: Array, l1: float, scales: Any = 1.0) -> float:
    """Return the largest entry of the subgradient that is nearest to 0."""
    if l1:
        at_zero = np.maximum(np.abs(gradient) - l1, 0.0)
        gradient = np.where(values == 0, at_zero, gradient + l1 * np.sign(values))
    return float(np.abs(gradient / scales).max(initial=0.0))


def _moments(
    design: Design, which: tuple[int, ...], steps: Array | None, centred: bool
) -> tuple[Array, Array]:
    means, scales = [], []
    for m in which:
        block, lags = design.blocks[m], 2 * design.contexts[m] + 1
        mean = column_means(block, steps) if centred else np.zeros(block.shape[1])
        means.append(np.tile(mean, lags))
        scales.append(np.tile(column_scales(block, mean, steps), lags))
    return np.concatenate(means), np.concatenate(scales)


def _factor(
    design: Design,
    which: tuple[int, ...],
    steps: Array | None,
    means: Array,
    scales: Array,
    curvature: float,
    l2: Array,
    diagonal: bool,
) -> Array:
    """Return L, or its diagonal where the columns are too many or must stay apart."""
    if diagonal or len(means) > _WIDEST:
        return np.sqrt(curvature + l2)
    n = int(design.offsets[-1])
    rows = np.arange(0, n, max(1, n // max(_ROWS, 4 * len(means))))
    Z = (windows(design, which, rows) - means) / scales
    share = np.ones(len(rows)) if steps is None else steps[rows]
    Z *= np.sqrt(share / max(share.sum(), np.finfo(float).tiny))[:, None]
    A = curvature * (Z.T @ Z)
    A[np.diag_indices_from(A)] += l2 + 1e-6 * curvature
    return cholesky(A, lower=True, check_finite=False)


class _Problem:
    """The objective as the solver sees it, and the last point at which it was asked."""

    def __init__(
        self,
        design: Design,
        codes: Array,
        weights: Array | None,
        layout: Layout,
        penalties: Penalties,
        variables: _Variables,
        n_threads: int,
    ) -> None:
        self.design, self.layout, self.penalties = design, layout, penalties
        self.variables, self.n_threads = variables, n_threads
        self.observed = observe(design, codes, weights, int(layout.labels.max()) + 1)
        self.weights = np.ones(len(design.offsets) - 1) if weights is None else weights
        self.last: tuple[Array, float, Potentials, Potentials] | None = None

    def smooth(self, theta: Array) -> tuple[float, Array]:
        """Return the objective without its L1 part, and the gradient."""
        at = self.variables.potentials(theta)
        loss, by_chain = chain_loss(self.observed, self.layout, at, self.n_threads)
        found = by_parameters(self.layout, by_chain)
        for coef, own, l2 in zip(at.coefs, found.coefs, self.penalties.l2, strict=True):
            own += l2 * coef
            loss += 0.5 * float(np.sum(l2 * coef * coef))
        cost = self.penalties.l2_transition
        values = [*at.transitions, *at.links, *at.couplings]
        grads = [*found.transitions, *found.links, *found.couplings]
        for value, own in zip(values, grads, strict=True):
            own += cost * value
            loss += 0.5 * cost * float(np.sum(value * value))
        self.last = theta.copy(), loss, at, found
        return loss, self.variables.gradient(found)

    @property
    def is_chained(self) -> bool:
        """Whether any step has one before it."""
        offsets = self.design.offsets
        return bool(offsets[-1] > len(offsets) - 1)

    def frame(self, theta: Array, seed: int) -> Array:
        """Return the factor of the curvature there, by the variables, or its diagonal."""
        variables = self.variables
        drawn = drawn_scores(
            self.design, self.layout, self.at(theta)[1], self.weights, 4 * len(theta), seed
        )
        S = variables.gradients([by_parameters(self.layout, score) for score in drawn])
        if self.penalties.l1:
            return np.sqrt((S * S).sum(axis=0) + _RIDGE + variables.penalty_diagonal())
        A = S.T @ S + variables.penalty_curvature()
        A[np.diag_indices_from(A)] += _RIDGE
        return cholesky(A, lower=True, check_finite=False)

    def at(self, theta: Array) -> tuple[float, Potentials, float]:
        """Return the objective with its L1 part, the potentials and the residual there."""
        if self.last is None or not np.array_equal(self.last[0], theta):
            self.smooth(theta)
        assert self.last is not None
        _, loss, at, found = self.last
        if self.penalties.l1:
            values = [*at.coefs, *at.transitions, *at.links, *at.couplings]
            loss += self.penalties.l1 * sum(float(np.abs(value).sum()) for value in values)
        return loss, at, self.variables.violation(found, at)


def _minimise(problem: _Problem, theta: Array, tol: float, max_iter: int, progress: Any) -> CRFFit:
    """Search by stages of growing length, each in the curvature where the last one ended."""
    search = _Search(problem, tol, max_iter, progress)
    last, _, residual = problem.at(theta)
    adapts = len(theta) <= _MOST_VARIABLES and problem.is_chained
    turn, frame = 0, None
    while residual > tol and search.n_iter < max_iter:
        if turn and adapts:
            frame = problem.frame(theta, turn)
        theta = search.run(theta, frame, _FIRST_STAGE * 2**turn if adapts else max_iter)
        loss, _, residual = problem.at(theta)
        turn += 1
        if turn > 1 and loss >= last:  # rounding is all that is left
            break
        last = loss
    loss, potentials, residual = problem.at(theta)
    return CRFFit(potentials, loss, residual, search.n_iter, bool(residual <= tol))


class _Search:
    """L-BFGS, over all stages."""

    def __init__(self, problem: _Problem, tol: float, max_iter: int, progress: Any) -> None:
        self.problem, self.tol, self.max_iter, self.progress = problem, tol, max_iter, progress
        self.n_iter = 0

    def run(self, theta: Array, frame: Array | None, most: int) -> Array:
        """Return where at most so many iterations lead to, in variables x with theta = M x.

        M is the transposed inverse of the frame, which is lower triangular; a diagonal is given
        as a vector.
        """
        end = min(self.n_iter + most, self.max_iter)
        costs = None
        if self.problem.penalties.l1:
            costs = self.problem.variables.l1_weights()
            costs = costs if frame is None else costs / frame
        n = len(theta)

        def original(x: Array) -> Array:
            x = x if costs is None else x[:n] - x[n:]
            return x if frame is None else _solved(frame, x, "T")

        def value(x: Array) -> tuple[float, Array]:
            loss, slope = self.problem.smooth(original(x))
            slope = slope if frame is None else _solved(frame, slope, "N")
            if costs is None:
                return loss, slope
            both = np.concatenate([costs, costs])
            return loss + both @ x, both + np.concatenate([slope, -slope])

        def watch(intermediate_result: Any) -> None:
            self.n_iter += 1
            loss, _, residual = self.problem.at(original(intermediate_result.x))
            if self.progress is not None:
                self.progress(self.n_iter, loss, residual)
            if residual <= self.tol or self.n_iter >= end:
                raise StopIteration

        start = theta
        if frame is not None:
            start = frame.T @ theta if frame.ndim == 2 else frame * theta
        if costs is not None:
            start = np.concatenate([start, -start]).clip(min=0)
        found = minimize(
            value,
            start,
            jac=True,
            method="L-BFGS-B",
            bounds=None if costs is None else [(0, None)] * len(start),
            callback=watch,
            options={
                "maxiter": self.max_iter,
                "maxfun": 20 * self.max_iter,
                "ftol": 0.0,
                "gtol": 0.0,
                "maxcor": _MEMORY,
            },
        )
        return original(found.x)


def _solved(L: Array, x: Array, trans: str) -> Array:
    if L.ndim == 1:
        return x / L
    return solve_triangular(L, x, lower=True, trans=trans, check_finite=False)
