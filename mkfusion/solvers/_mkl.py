"""Kernel weights learnt with the machine that uses them: exact multiple kernel learning.

The optimum over weights theta of the machine on ``sum_m theta_m K_m`` is convex in theta. Every
machine that is solved on the way gives a lower bound of the optimum, by its dual variables, and an
upper one, by its decision function; the best of both is the certificate.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
from scipy import linalg, optimize

from .._parallel import single_blas_thread
from .._validation import check_option
from ._alignment import solve_alignment
from ._bounds import check_norm, lower_bound, on_ball, theta_step, upper_bound
from ._checks import check_costs, check_number, check_signs, check_vector, rows_by_problem
from ._machines import MACHINES, Machine, Problems
from ._ridge import product
from ._tasks import project

__all__ = ["FixedKernel", "Kernels", "MKLSolution", "solve_mkl"]

Array = np.ndarray

HALVINGS, FEW_HALVINGS = 6, 1  # of a step that does not descend, before the first kink and after
KINK = 0.1  # of what the largest q_m promises: Newton's model that promises less is not believed
STALE = 0.8  # of the gap before a step: what leaves more of it has not helped,
LITTLE = 0.01  # of the gap, unless the objective fell by this share of it
MOST_CUTS = 60  # lower bounds that are remembered for kinks
LOOSEST = 1e-2  # violation of the first machines, in units of a decision
SHARE = 0.1  # of the gap that the machines' own tolerance may make up
NEGLIGIBLE = 1e-3  # objective of one class that surrounds the origin, in units of k(x, x)
MOST_ACTIVE = 100  # kernels that a Newton step moves
RIDGES = (1e-8, 1e-6, 1e-4, 1e-2)  # of the mean of a diagonal, until it is definite
ROWS = 512  # of a kernel on demand that are asked for at a time
MOST_FREE = 2_500  # samples whose curvature is taken; of more, evenly spaced ones


class Kernels(Protocol):
    """The kernels of the training samples, wherever they are; a KernelStore is one."""

    n_kernels: int
    n_samples: int

    def combine(self, weights: Any, out: Any = None, dtype: Any = None) -> Any:
        """Return the weighted sum, a matrix or what makes its rows on demand.

        ``out`` is None or what was returned before, and may be written to.
        """

    def matvec(self, alpha: Any) -> Array:
        """Return K_m alpha, of shape (n_kernels, n_samples, n_vectors)."""


class FixedKernel:
    """One kernel whose weight is 1: the machine on it, with its certificate.

    Parameters
    ----------
    K : ndarray of shape (n_samples, n_samples)
        Symmetric, of float64 or float32; it is neither copied nor written to. Or an object that
        makes rows on demand, as :func:`solve_svm` takes it.

    Examples
    --------
    >>> import numpy as np
    >>> from mkfusion.solvers import FixedKernel, solve_mkl
    >>> solve_mkl(FixedKernel(np.eye(2)), [-1.0, 1.0]).coef
    array([[-1.,  1.]])
    """

    n_kernels = 1

    def __init__(self, K: Any) -> None:
        self.K = K
        self.n_samples = len(K) if isinstance(K, np.ndarray) else K.n_samples

    def combine(self, weights: Any, out: Any = None, dtype: Any = None) -> Any:
        """Return the kernel itself."""
        return self.K

    def matvec(self, alpha: Any) -> Array:
        """Return K alpha, of shape (1, n_samples, n_vectors)."""
        if not isinstance(self.K, np.ndarray):
            return self.K.matvec(alpha)[None]
        with single_blas_thread:
            return product(self.K, alpha)[None]


class MKLSolution(NamedTuple):
    """Kernel weights with the machines that they were learnt with, and what certifies them.

    Attributes
    ----------
    theta : ndarray of shape (n_kernels,)
        The weights of the best upper bound.
    coef : ndarray of shape (n_problems, n_samples)
        The dual coefficients beta of the machines at theta: ``f = sum_m theta_m K_m beta + bias``.
        For classes they are ``alpha * y``.
    bias : ndarray of shape (n_problems,)
        The intercepts.
    objective : float
        The best upper bound: 1/2 sum_m theta_m q_m + the losses, at theta.
    lower : float
        The best lower bound: that of ``lower_coef``.
    gap : float
        ``objective - lower``: neither is further from the optimum.
    lower_coef : ndarray of shape (n_problems, n_samples)
        The dual coefficients of the best lower bound.
    n_solves : int
        Machines solved, those of several problems together counted once.
    converged : bool
        Whether the gap is at most ``tol`` times the objective; the optimum of one class may be
        0, and its objective counts as 1e-3 times the mean k(x, x) at least.
    history : ndarray of shape (n_solves, 2)
        The upper and the lower bound of every solve.

    Examples
    --------
    >>> import numpy as np
    >>> from mkfusion.kernels import KernelStore, Linear
    >>> from mkfusion.solvers import solve_mkl
    >>> x = np.array([[-1.0], [0.0], [2.0]])
    >>> solution = solve_mkl(KernelStore([Linear()], x), [-1, -1, 1])
    >>> solution.coef
    array([[ 0. , -0.5,  0.5]])
    >>> solution.gap
    0.0
    """

    theta: Array
    coef: Array
    bias: Array
    objective: float
    lower: float
    gap: float
    lower_coef: Array
    n_solves: int
    converged: bool
    history: Array


def solve_mkl(
    kernels: Kernels,
    Y: Any,
    C: Any = 1.0,
    *,
    norm: float = 1.0,
    task: str = "svm",
    epsilon: float = 0.1,
    tol: float = 1e-3,
    max_solves: int = 200,
    start: MKLSolution | None = None,
    dtype: Any = np.float64,
    budget: float | None = None,
    n_threads: int = 1,
    callback: Callable[[float, float], Any] | None = None,
) -> MKLSolution:
    """Learn the weights of kernels together with the machines that use them.

    ``min over theta >= 0, ||theta||_p <= M^(1/p - 1) of sum_c J_c(theta)``, with J_c the optimum
    of the machine for problem c on ``sum_m theta_m K_m``. For p = 1 a Newton step on the simplex
    uses the second derivatives of J, which the samples between their bounds give; above 100
    kernels it moves those with weight and those with the largest q_m. For p > 1 the wrapper's
    closed form is taken. The machines start from one another, and are solved no more exactly than
    the gap asks for.

    Parameters
    ----------
    kernels : Kernels
        The Gram matrices, positive semi-definite; for instance a KernelStore.
    Y : array-like of shape (n_samples,) or (n_problems, n_samples), or None
        The targets of problems that share the weights: -1 and 1 for ``"svm"``, numbers for
        ``"svr"`` and ``"ridge"``, None for ``"one_class"``.
    C : float or array-like of shape (n_samples,) or (n_problems, n_samples), default=1.0
        The weight of each sample in the loss; 0 leaves it out.
    norm : float, default=1.0
        p, from 1 to infinity.
    task : {"svm", "svr", "one_class", "ridge"}, default="svm"
        The loss, as :func:`solve_mkl_conic` defines it. ``"ridge"`` has one C for all problems.
    epsilon : float, default=0.1
        Half the width of the tube of ``"svr"``.
    tol : float, default=1e-3
        The gap at which to stop, relative to the objective.
    max_solves : int, default=200
        The most machines to solve. Fewer than needed are no error: ``converged`` tells.
    start : MKLSolution, default=None
        A solution of a problem nearby, whose weights and coefficients are the first; None starts
        from uniform weights.
    dtype : {float64, float32}, default=float64
        Of the combined kernel that the machines read. The bounds are made from sums in float64 in
        any case.
    budget : float, default=None
        Bytes for copies of the combined kernel, or for rows, as :func:`solve_svm` has it.
    n_threads : int, default=1
        Problems solved at a time; the result does not depend on it.
    callback : callable, default=None
        Called after every solve with the best upper and the best lower bound.

    Returns
    -------
    solution : MKLSolution

    Raises
    ------
    ValueError
        For a norm below 1, arrays that do not fit or are not finite, and a negative C.

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
    check_option("task", task, MACHINES)
    machine = MACHINES[task]
    n = kernels.n_samples
    targets = _check_targets(Y, task, n)
    costs = np.array([check_costs("C", row, n) for row in rows_by_problem("C", C, len(targets))])
    problems = Problems(targets, costs, check_number("epsilon", epsilon, 0.0))
    options = {"n_threads": n_threads, "budget": budget}
    search = _Search(kernels, machine, problems, p, tol, max_solves, options, callback, dtype)
    point = search.first() if start is None else search.resume(start)
    while not search.done():
        step = search.newton if p == 1 else search.wrapper
        following = step(point)
        if following is None:
            break
        point = following
    return search.solution()


def _check_targets(Y: Any, task: str, n: int) -> Array:
    """Return targets of shape (n_problems, n_samples)."""
    if task == "one_class":
        if Y is not None:
            raise ValueError("Y must be None for task='one_class', which has no target")
        return np.ones((1, n))
    table = Y if np.ndim(Y) == 2 else [Y]
    check = check_signs if task == "svm" else check_vector
    return np.array([check("Y", row, n) for row in table])


class _Point(NamedTuple):
    """Weights, and what their machines say."""

    theta: Array
    coef: Array  # shape: (n_problems, n_samples)
    bias: Array
    products: Array  # K_m beta, of shape (n_kernels, n_samples, n_problems)
    forms: Array  # shape: (n_kernels,)
    upper: float
    lower: float
    slack: float  # what the machines lack at these weights


def _factor(B: Array) -> Array:
    """Return the Cholesky factor of a matrix that is definite but for rounding, made definite."""
    size = max(float(np.trace(B)) / len(B), 1e-300)
    for ridge in RIDGES:
        B[np.diag_indices_from(B)] += ridge * size
        try:
            return linalg.cholesky(B, lower=True, check_finite=False)
        except linalg.LinAlgError:
            continue
    return np.sqrt(size) * np.eye(len(B))


class _Search:
    """What the steps share: the problem, the best bounds, the count of solves."""

    def __init__(
        self,
        kernels: Kernels,
        machine: Machine,
        problems: Problems,
        norm: float,
        tol: float,
        max_solves: int,
        options: dict[str, Any],
        callback: Callable[[float, float], Any] | None,
        dtype: Any,
    ) -> None:
        self.kernels, self.machine, self.problems, self.norm = kernels, machine, problems, norm
        self.tol, self.max_solves, self.options = tol, max_solves, options
        self.callback, self.dtype = callback, dtype
        self.K: Any = None  # the combined kernel in use: a matrix, or rows on demand
        self.low, self.high = machine.task.box(problems.Y, problems.C)
        self.highest: _Point | None = None
        self.lowest: _Point | None = None
        self.history: list[tuple[float, float]] = []
        self.violation = LOOSEST * self.unit()
        self.least = 0.0
        self.halvings = HALVINGS
        self.before = np.inf, np.inf  # the gap and the objective of the step before
        self.cuts: list[tuple[float, Array, Array]] = []

    def gap(self) -> float:
        """Return the gap of the best bounds, relative to the upper one."""
        if self.highest is None or self.lowest is None:
            return np.inf
        size = max(abs(self.highest.upper), self.least)
        return max(0.0, self.highest.upper - self.lowest.lower) / (size if size else 1.0)

    def done(self) -> bool:
        return self.gap() <= self.tol or len(self.history) >= self.max_solves

    def unit(self) -> float:
        """Return the size of a decision."""
        Y, C = self.problems.Y, self.problems.C
        if self.machine is MACHINES["one_class"]:
            return 1.0
        return float(np.abs(np.where(C > 0, Y, 0.0)).max()) or 1.0

    def first(self) -> _Point:
        """Solve the machines at uniform weights."""
        return self.solve(on_ball(np.ones(self.kernels.n_kernels), self.norm), None)

    def resume(self, start: MKLSolution) -> _Point:
        """Take the bounds of a solution nearby, which may be all that is needed."""
        total = self.machine.task.total
        coef, other = (
            np.array(
                [project(*each, total) for each in zip(betas, self.low, self.high, strict=True)]
            )
            for betas in (start.coef, start.lower_coef)
        )
        theta = start.theta
        if self.norm > 1 and not theta.all():  # the wrapper leaves a weight of 0 where it is
            theta = 0.9 * theta + 0.1 * theta.sum() / len(theta)
        theta = on_ball(theta, self.norm)
        self.kept(self.bounded(theta, other))
        point = self.kept(self.bounded(theta, coef))
        return point if self.done() else self.solve(point.theta, coef)

    def kept(self, point: _Point) -> _Point:
        """Keep the best bounds, and choose the tolerance of the machines to come."""
        if self.highest is None or point.upper < self.highest.upper:
            self.highest = point
        if self.lowest is None or point.lower > self.lowest.lower:
            self.lowest = point
        wanted = SHARE * max(self.gap(), self.tol) * abs(point.upper)
        if point.slack > 0:
            ratio = float(np.clip(wanted / point.slack, 1e-2, 4.0))
            self.violation = min(LOOSEST * self.unit(), self.violation * ratio)
        return point

    def solve(self, theta: Array, coef: Array | None) -> _Point:
        """Solve the machines at these weights, from the coefficients given."""
        K = self.K = self.kernels.combine(theta, out=self.K, dtype=self.dtype)
        if self.machine is MACHINES["one_class"]:
            self.least = NEGLIGIBLE * float(np.abs(K.diagonal()).mean())
        options = {"check_finite": not self.history, **self.options}
        coef = self.machine.solve(K, self.problems, coef, self.violation, options)
        point = self.kept(self.bounded(theta, coef))
        if self.norm == 1:
            gain = point.upper - point.slack + 0.5 * float(theta @ point.forms)
            self.cuts = [*self.cuts[-MOST_CUTS:], (gain, point.forms, point.coef)]
        self.history.append((point.upper, point.lower))
        if self.callback is not None and self.highest is not None and self.lowest is not None:
            self.callback(self.highest.upper, self.lowest.lower)
        return point

    def bounded(self, theta: Array, coef: Array) -> _Point:
        """Work out both bounds of coefficients, from the kernels by themselves."""
        Y, C, epsilon = self.problems
        task = self.machine.task
        products = self.kernels.matvec(np.ascontiguousarray(coef.T))
        forms = np.einsum("mnp,pn->m", products, coef)
        f = np.tensordot(theta, products, axes=1).T
        each = zip(f, Y, C, strict=True)
        bias = np.array([task.bias(g, y, c, epsilon) for g, y, c in each])
        loss = float(task.loss(f + bias[:, None], Y, C, epsilon).sum() + task.total * bias.sum())
        gain = float(task.gain(coef, Y, C, epsilon).sum())
        upper = upper_bound(theta, forms, loss)
        slack = upper - (gain - 0.5 * float(theta @ forms))
        lower = lower_bound(gain, forms, self.norm)
        return _Point(theta, coef, bias, products, forms, upper, lower, slack)

    def wrapper(self, point: _Point) -> _Point | None:
        """Take the closed form's step."""
        theta = theta_step(point.theta, point.forms, self.norm)
        if np.array_equal(theta, point.theta) and self.tight(point):
            return None
        return self.solve(theta, point.coef)

    def newton(self, point: _Point) -> _Point | None:
        """Take a Newton step on the simplex, shortened until it descends."""
        stale = self.stale(point)
        direction = self.direction(point)
        if stale and self.hopeless(point, direction):
            return self.planes()
        length = 1.0
        following = point
        for _ in range(self.halvings):
            theta = on_ball(np.maximum(point.theta + length * direction, 0.0), 1.0)
            following = self.solve(theta, following.coef)
            promised = -0.5 * length * float(point.forms @ direction)
            if self.done() or following.upper <= point.upper + 1e-4 * promised + point.slack:
                return following
            length /= 2
        self.halvings = FEW_HALVINGS
        return self.planes()

    def stale(self, point: _Point) -> bool:
        """Tell whether neither the gap nor the objective has moved since the step before."""
        gap, upper = self.before
        self.before = self.gap(), point.upper
        least = point.slack + LITTLE * self.gap() * abs(point.upper)
        return self.gap() > STALE * gap and upper - point.upper < least

    def hopeless(self, point: _Point, direction: Array) -> bool:
        """Tell whether the model promises far less than there may be to gain: J has a kink."""
        most = 0.5 * (float(point.forms.max()) - float(point.theta @ point.forms))
        promised = 0.5 * float(point.forms @ direction)
        return point.slack < KINK * most and promised < KINK * most

    def planes(self) -> _Point:
        """Take a step by all lower bounds that are known, where J has kinks.

        Dual variables beta_k that were met say ``J(theta) >= gain_k - 1/2 theta'q_k`` everywhere.
        The step goes halfway to the weights with the least maximum of these planes, and the
        mixture of the beta_k that supports it is itself a lower bound.
        """
        n_planes, n_kernels = len(self.cuts), self.kernels.n_kernels
        gains = np.array([gain for gain, _, _ in self.cuts])
        forms = np.array([forms for _, forms, _ in self.cuts])
        unit = max(float(np.abs(gains).max()), float(np.abs(forms).max()), 1e-300)
        found = optimize.linprog(
            np.append(np.zeros(n_kernels), 1.0),
            A_ub=np.column_stack([-0.5 * forms / unit, -np.ones(n_planes)]), b_ub=-gains / unit,
            A_eq=np.append(np.ones(n_kernels), 0.0)[None], b_eq=[1.0],
            bounds=[(0, None)] * n_kernels + [(None, None)], method="highs",
        )  # fmt: skip
        assert self.highest is not None
        best = self.highest
        if found.x is None:
            return self.solve(on_ball(np.ones(n_kernels), 1.0), best.coef)
        shares = np.maximum(-found.ineqlin.marginals, 0.0)
        shares /= shares.sum()
        mixed = sum(share * coef for share, (_, _, coef) in zip(shares, self.cuts, strict=True))
        self.kept(self.bounded(best.theta, np.asarray(mixed)))
        if self.done():
            return best
        theta = np.maximum(found.x[:-1], 0.0) + best.theta
        return self.solve(on_ball(theta, 1.0), best.coef)

    def tight(self, point: _Point) -> bool:
        """Tell whether the machines were solved as exactly as they ever will be."""
        return point.slack <= SHARE * self.tol * abs(point.upper)

    def direction(self, point: _Point) -> Array:
        """Return the step that minimises the second-order model of J on the simplex."""
        moved = self.moved(point)
        theta = point.theta[moved]
        H = self.curvature(point, moved)
        least = max(1e-10 * np.trace(H), 1e-8 * np.abs(point.forms).max(), 1e-300)
        H[np.diag_indices_from(H)] += least  # where no sample is free, J is linear in theta
        scale = float(np.abs(H).max())
        target = (H @ theta + 0.5 * point.forms[moved]) / scale
        direction = np.zeros_like(point.theta)
        direction[moved] = solve_alignment(H / scale, target, constraint="simplex").weights - theta
        return direction

    def moved(self, point: _Point) -> Array:
        """Return the kernels with weight, and of the others those that promise most."""
        order = np.argsort(-np.where(point.theta > 0, np.inf, point.forms), kind="stable")
        return np.sort(order[: max(MOST_ACTIVE, np.count_nonzero(point.theta))])

    def curvature(self, point: _Point, moved: Array) -> Array:
        """Return the second derivatives of J, given the samples that lie between their bounds.

        With g_m = (K_m beta)_F on these samples they are g_k' A g_l, A the inverse of K_FF on
        vectors that sum to 0, or of K_FF + diag(1 / C) for ridge regression.
        """
        H = np.zeros((len(moved), len(moved)))
        for p, coef in enumerate(point.coef):
            C = self.problems.C[p]
            free = np.flatnonzero(self.machine.free(coef, C, self.low[p], self.high[p]))
            if not free.size:
                continue
            share = len(free) / MOST_FREE
            if share > 1:
                free = free[np.linspace(0, len(free) - 1, MOST_FREE).astype(int)]
            with single_blas_thread:
                B = self.among(free)
                if self.machine.quadratic:
                    B[np.diag_indices_from(B)] += 1 / C[free]
                factor = _factor(B)
                G = point.products[:, :, p][np.ix_(moved, free)].T
                G = np.column_stack([G - G.mean(axis=0), np.ones(len(free))])
                half = linalg.solve_triangular(factor, G, lower=True, check_finite=False)
                ones = half[:, -1] / np.linalg.norm(half[:, -1])
                half = half[:, :-1] - np.outer(ones, ones @ half[:, :-1])
                H += max(1.0, share) * half.T @ half
        return H

    def among(self, chosen: Array) -> Array:
        """Return the combined kernel among some samples, in float64."""
        if isinstance(self.K, np.ndarray):
            return self.K[np.ix_(chosen, chosen)].astype(np.float64, copy=False)
        B = np.empty((len(chosen), len(chosen)))
        for first in range(0, len(chosen), ROWS):
            rows = chosen[first : first + ROWS]
            B[first : first + ROWS] = self.K.rows(rows)[:, chosen]
        return B

    def solution(self) -> MKLSolution:
        best, low = self.highest, self.lowest
        assert best is not None
        assert low is not None
        return MKLSolution(
            best.theta,
            best.coef,
            best.bias,
            best.upper,
            low.lower,
            max(0.0, best.upper - low.lower),
            low.coef,
            len(self.history),
            self.gap() <= self.tol,
            np.array(self.history).reshape(-1, 2),
        )
