"""Kernel weights learnt with the machine that uses them: exact multiple kernel learning.

The optimum over weights theta of the support vector machine on ``sum_m theta_m K_m`` is convex in
theta. Every machine that is solved on the way gives a lower bound of the optimum, by its dual
variables, and an upper one, by its decision function; the best of both is the certificate.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
from scipy import linalg

from .._parallel import single_blas_thread
from ._alignment import solve_alignment
from ._bounds import check_norm, lower_bound, on_ball, theta_step
from ._smo import SVMSolution, solve_svms

__all__ = ["Kernels", "MKLSolution", "solve_mkl"]

Array = np.ndarray

HALVINGS = 6  # of a Newton step that does not descend, before the wrapper's step takes its place
LOOSEST = 1e-2  # tolerance of the machines while the weights are far from their optimum
SHARE = 0.1  # of the gap that the machines' own tolerance may make up


class Kernels(Protocol):
    """The Gram matrices of the training samples, wherever they are; a KernelStore is one."""

    n_kernels: int
    n_samples: int

    def combine(self, weights: Any, out: Any = None) -> Array:
        """Return the weighted sum, of shape (n_samples, n_samples)."""

    def quadratic_forms(self, alpha: Any) -> Array:
        """Return alpha' K_m alpha, of shape (n_kernels, n_vectors)."""

    def matvec(self, alpha: Any) -> Array:
        """Return K_m alpha, of shape (n_kernels, n_samples, n_vectors)."""


class MKLSolution(NamedTuple):
    """Kernel weights with the machines that they were learnt with, and what certifies them.

    Attributes
    ----------
    theta : ndarray of shape (n_kernels,)
        The weights of the best upper bound.
    alpha : ndarray of shape (n_problems, n_samples)
        The dual variables of the machines at theta.
    bias : ndarray of shape (n_problems,)
        Their intercepts.
    objective : float
        The best upper bound: 1/2 sum_m theta_m q_m + the weighted hinge losses, at theta.
    lower : float
        The best lower bound: that of ``lower_alpha``.
    gap : float
        ``objective - lower``: neither is further from the optimum.
    lower_alpha : ndarray of shape (n_problems, n_samples)
        The dual variables of the best lower bound.
    n_solves : int
        Machines solved, those of one vs. rest together counted once.
    converged : bool
        Whether the gap is at most ``tol`` times the objective.
    history : ndarray of shape (n_solves, 2)
        The upper and the lower bound of every solve.
    """

    theta: Array
    alpha: Array
    bias: Array
    objective: float
    lower: float
    gap: float
    lower_alpha: Array
    n_solves: int
    converged: bool
    history: Array


class _Point(NamedTuple):
    """Weights, and what their machines say."""

    theta: Array
    machines: list[SVMSolution]
    beta: Array  # shape: (n_samples, n_problems)
    forms: Array  # shape: (n_kernels,)
    upper: float
    lower: float

    @property
    def alpha(self) -> Array:
        return np.array([machine.alpha for machine in self.machines])


def solve_mkl(
    kernels: Kernels,
    Y: Any,
    C: Any = 1.0,
    *,
    norm: float = 1.0,
    tol: float = 1e-3,
    max_solves: int = 200,
    theta: Any = None,
    n_threads: int = 1,
) -> MKLSolution:
    """Learn the weights of kernels together with the support vector machines that use them.

    ``min over theta >= 0, ||theta||_p <= M^(1/p - 1) of sum_c J_c(theta)``, with J_c the optimum
    of the machine for problem c on ``sum_m theta_m K_m``. For p = 1 a Newton step on the simplex
    uses the second derivatives of J, which the samples between their bounds give; for p > 1 the
    wrapper's closed form is taken. The machines start from one another, and are solved no more
    exactly than the gap asks for.

    Parameters
    ----------
    kernels : Kernels
        The Gram matrices, positive semi-definite; for instance a KernelStore.
    Y : array-like of shape (n_samples,) or (n_problems, n_samples)
        The classes, -1 and 1, of problems that share the weights.
    C : float or array-like of shape (n_samples,)
        The largest alpha of each sample.
    norm : float, default=1.0
        p, from 1 to infinity.
    tol : float, default=1e-3
        The gap at which to stop, relative to the objective.
    max_solves : int, default=200
        The most machines to solve. Fewer than needed are no error: ``converged`` tells.
    theta : array-like of shape (n_kernels,), default=None
        Where to start, None for uniform weights.
    n_threads : int, default=1
        Problems solved at a time; the result does not depend on it.

    Returns
    -------
    solution : MKLSolution

    Raises
    ------
    ValueError
        For a norm below 1, and what :func:`solve_svms` refuses.

    References
    ----------
    Rakotomamonjy, Bach, Canu, Grandvalet (2008), SimpleMKL, eq. (10), for the problem and its
    gradient. Kloft, Brefeld, Sonnenburg, Zien (2011), lp-Norm multiple kernel learning, section
    3.2, for p > 1. Chapelle, Rakotomamonjy (2008), Second order optimization of kernel parameters,
    for the second derivatives.

    Examples
    --------
    >>> import numpy as np
    >>> from mkfusion.kernels import KernelStore, Linear
    >>> from mkfusion.solvers import solve_mkl
    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat([-1.0, 1.0], 20)
    >>> signal, noise = (y + rng.normal(size=40))[:, None], rng.normal(size=(40, 1))
    >>> solution = solve_mkl(KernelStore([Linear(), Linear()], [signal, noise]), y)
    >>> solution.theta.round(2), solution.converged
    (array([1., 0.]), True)
    """
    p = check_norm(norm)
    signs = np.atleast_2d(np.asarray(Y, dtype=np.float64))
    start = np.ones(kernels.n_kernels) if theta is None else np.asarray(theta, dtype=np.float64)
    search = _Search(kernels, signs, C, p, tol, max_solves, n_threads)
    point = search.solve(on_ball(start, p), None)
    while not search.done():
        step = search.newton if p == 1 else search.wrapper
        following = step(point)
        if following is None:
            break
        point = following
    return search.solution()


class _Search:
    """What the steps share: the problem, the best bounds, the count of solves."""

    def __init__(
        self,
        kernels: Kernels,
        signs: Array,
        C: Any,
        norm: float,
        tol: float,
        max_solves: int,
        n_threads: int,
    ) -> None:
        self.kernels, self.signs, self.C, self.norm = kernels, signs, C, norm
        self.tol, self.max_solves, self.n_threads = tol, max_solves, n_threads
        self.K = np.empty((kernels.n_samples, kernels.n_samples))
        self.highest: _Point | None = None
        self.lowest: _Point | None = None
        self.history: list[tuple[float, float]] = []

    def gap(self) -> float:
        """Return the gap of the best bounds, relative to the upper one."""
        if self.highest is None or self.lowest is None:
            return np.inf
        size = abs(self.highest.upper)
        return max(0.0, self.highest.upper - self.lowest.lower) / (size if size else 1.0)

    def done(self) -> bool:
        return self.gap() <= self.tol or len(self.history) >= self.max_solves

    def solve(self, theta: Array, before: _Point | None) -> _Point:
        """Solve the machines at these weights, from those before."""
        K = self.kernels.combine(theta, out=self.K)
        tolerance = max(min(LOOSEST, SHARE * self.gap()), SHARE * self.tol)
        machines = solve_svms(
            K, self.signs, self.C, tol=tolerance, check_finite=before is None,
            alpha=None if before is None else before.alpha, n_threads=self.n_threads,
        )  # fmt: skip
        alpha = np.array([machine.alpha for machine in machines])
        beta = np.ascontiguousarray((alpha * self.signs).T)
        forms = self.kernels.quadratic_forms(beta).sum(axis=1)
        upper = float(sum(machine.objective + machine.gap for machine in machines))
        lower = lower_bound(float(alpha.sum()), forms, self.norm)
        point = _Point(theta, machines, beta, forms, upper, lower)
        if self.highest is None or upper < self.highest.upper:
            self.highest = point
        if self.lowest is None or lower > self.lowest.lower:
            self.lowest = point
        self.history.append((upper, lower))
        return point

    def wrapper(self, point: _Point) -> _Point | None:
        """Take the closed form's step."""
        theta = theta_step(point.theta, point.forms, self.norm)
        if np.array_equal(theta, point.theta) and self.tight(point):
            return None
        return self.solve(theta, point)

    def newton(self, point: _Point) -> _Point | None:
        """Take a Newton step on the simplex, shortened until it descends."""
        direction = self.direction(point)
        length = 1.0
        following = point
        for _ in range(HALVINGS):
            theta = on_ball(np.maximum(point.theta + length * direction, 0.0), 1.0)
            following = self.solve(theta, following)
            promised = -0.5 * length * float(point.forms @ direction)
            slack = sum(machine.gap for machine in point.machines)
            if self.done() or following.upper <= point.upper + 1e-4 * promised + slack:
                return following
            length /= 2
        return self.wrapper(point)

    def tight(self, point: _Point) -> bool:
        """Tell whether the machines were solved as exactly as they ever will be."""
        return sum(machine.gap for machine in point.machines) <= SHARE * self.tol * point.upper

    def direction(self, point: _Point) -> Array:
        """Return the step that minimises the second-order model of J on the simplex."""
        H = self.curvature(point)
        H[np.diag_indices_from(H)] += 1e-10 * max(float(np.trace(H)), 1e-300)
        slope = -0.5 * point.forms
        scale = float(np.abs(H).max())
        target = (H @ point.theta - slope) / scale
        return solve_alignment(H / scale, target, constraint="simplex").weights - point.theta

    def curvature(self, point: _Point) -> Array:
        """Return the second derivatives of J, given the samples that lie between their bounds.

        With g_m = (K_m beta)_F on these samples they are g_k' A g_l, A the inverse of K_FF on
        vectors that sum to 0.
        """
        products = self.kernels.matvec(point.beta)
        H = np.zeros((self.kernels.n_kernels, self.kernels.n_kernels))
        costs = np.broadcast_to(np.asarray(self.C, dtype=np.float64), self.signs.shape)
        for c, machine in enumerate(point.machines):
            free = np.flatnonzero((machine.alpha > 0) & (machine.alpha < costs[c]))
            if not free.size:
                continue
            with single_blas_thread:
                B = self.K[np.ix_(free, free)]
                B[np.diag_indices_from(B)] += 1e-8 * max(float(np.trace(B)) / len(B), 1e-300)
                factor = linalg.cho_factor(B, lower=True, overwrite_a=True, check_finite=False)
                G = np.column_stack([products[:, free, c].T, np.ones(len(free))])
                half = linalg.solve_triangular(factor[0], G, lower=True, check_finite=False)
                inner = half.T @ half
            H += inner[:-1, :-1] - np.outer(inner[:-1, -1], inner[-1, :-1]) / inner[-1, -1]
        return (H + H.T) / 2

    def solution(self) -> MKLSolution:
        best, low = self.highest, self.lowest
        assert best is not None
        assert low is not None
        return MKLSolution(
            best.theta,
            best.alpha,
            np.array([machine.bias for machine in best.machines]),
            best.upper,
            low.lower,
            max(0.0, best.upper - low.lower),
            low.alpha,
            len(self.history),
            self.gap() <= self.tol,
            np.array(self.history),
        )
