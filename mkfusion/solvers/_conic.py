"""The exact multiple kernel learning problems as cone programmes: slow, and independent."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from .._memory import available_memory, check_budget
from .._parallel import single_blas_thread
from .._validation import check_option
from ._bounds import check_norm, lower_bound, on_ball, theta_from_forms, upper_bound
from ._checks import (
    check_cost_table,
    check_number,
    check_signs,
    check_stack,
    check_target,
    square_root,
)
from ._tasks import TASKS, project

__all__ = ["ConicSolution", "solve_mkl_conic"]

Array = np.ndarray

# Clarabel tries for 1e-10, and is content with the 1e-8 that it takes for solved by itself.
TIGHT = {
    f"{prefix}{name}": tolerance
    for prefix, tolerance in (("", 1e-10), ("reduced_", 1e-8))
    for name in ("tol_gap_abs", "tol_gap_rel", "tol_feas")
}
BYTES_PER_ENTRY = 300  # of the square roots: what modelling and factorising them takes


class ConicSolution(NamedTuple):
    """Kernel weights with the two bounds that enclose the optimum.

    Attributes
    ----------
    theta : ndarray of shape (n_kernels,)
        The weights of the kernels.
    alpha : ndarray of shape (n_samples,) or (n_samples, n_problems)
        The dual variables, feasible to rounding. The decision function is
        ``sum_m theta_m K_m beta + bias`` with ``beta = y * alpha`` for ``task="svm"``, and with
        ``beta = alpha`` for the others.
    bias : float or ndarray of shape (n_problems,)
        The intercept with the least loss for theta and alpha.
    forms : ndarray of shape (n_kernels,)
        ``q_m = beta' K_m beta``, summed over problems.
    objective : float
        The optimum as the conic solver says it.
    lower : float
        The lower bound D, of alpha alone, recomputed from the kernels.
    upper : float
        The upper bound P, of theta, alpha and bias, recomputed from the kernels.
    gap : float
        ``upper - lower``: neither bound is further from the optimum.
    status : str
        ``"optimal"``, or ``"optimal_inaccurate"`` where the conic solver stopped before its
        tolerance; the bounds hold all the same.

    Examples
    --------
    >>> import numpy as np
    >>> from mkfusion.solvers import solve_mkl_conic
    >>> y = np.array([1.0, 1.0, -1.0, -1.0])
    >>> solution = solve_mkl_conic([np.outer(y, y), np.eye(4)], y, C=1.0)
    >>> solution.status
    'optimal'
    """

    theta: Array
    alpha: Array
    bias: Any
    forms: Array
    objective: float
    lower: float
    upper: float
    gap: float
    status: str


class _Problem(NamedTuple):
    """The arrays of one problem; targets and costs have one column for each machine."""

    kernels: list[Array]
    Y: Array
    C: Array
    norm: float
    task: str
    epsilon: float
    total: float | None  # what beta sums to; None without an intercept


def solve_mkl_conic(
    Ks: Any,
    y: Any,
    C: Any = 1.0,
    *,
    norm: float = 1.0,
    task: str = "svm",
    epsilon: float = 0.1,
    intercept: bool = True,
    solver: str = "CLARABEL",
    options: Mapping[str, Any] | None = None,
) -> ConicSolution:
    """Learn the weights of kernels exactly, by a general conic solver.

    The optimum of ``min over theta of J(theta)`` on
    ``{theta >= 0, ||theta||_p <= M^(1/p - 1)}``, where J is the optimum of one machine, or the
    sum of those of several, on ``sum_m theta_m K_m``. Its dual is what is solved, with square
    roots ``K_m = L_m L_m'``::

        max over alpha, t   1'alpha - 1/2 M^(1/p - 1) ||t||_p*
        subject to          ||L_m' (y * alpha)||^2 <= t_m,  0 <= alpha <= C,  y'alpha = 0

    which is the quadratically constrained programme of Lanckriet et al. for p = 1, where the norm
    is the maximum. The weights are the dual variables of the constraints, or for p > 1 follow from
    the forms, whichever gives the better bound. Time and memory grow fast: it is meant for some
    hundreds of samples, and to judge faster solvers.

    Parameters
    ----------
    Ks : array-like of shape (n_kernels, n_samples, n_samples)
        The symmetric positive semi-definite Gram matrices; they may be singular.
    y : array-like of shape (n_samples,) or (n_samples, n_problems), or None
        Labels -1 and 1 for ``"svm"``; numbers for ``"svr"`` and ``"ridge"``; None for
        ``"one_class"``. Several columns are several machines (one against the rest, or several
        outputs) that share the weights.
    C : float or array-like of shape (n_samples,) or (n_samples, n_problems)
        The weight of each sample in the loss; 0 leaves it out.
    norm : float
        p of the norm of theta, at least 1, infinity included: 1 is the simplex with sparse
        weights, infinity gives every kernel the weight 1/M.
    task : {"svm", "svr", "one_class", "ridge"}
        The loss of sample i at the decision f_i:

        * ``"svm"``: ``C_i max(0, 1 - y_i f_i)``.
        * ``"svr"``: ``C_i max(0, |y_i - f_i| - epsilon)``.
        * ``"one_class"``: ``C_i max(0, -f_i)``, and the bias -rho is added to the objective:
          C = 1 / (nu n) is the machine of Schölkopf et al.
        * ``"ridge"``: ``C_i / 2 (y_i - f_i)^2``: ridge regression with lambda = 1 / C.
    epsilon : float
        Half the width of the tube of ``"svr"``; unused otherwise.
    intercept : bool
        Whether there is a bias; ``"one_class"`` needs one.
    solver : str
        A solver of second-order cones that cvxpy has: ``"CLARABEL"`` is as exact as it gets,
        ``"SCS"`` is not.
    options : mapping or None
        Options of the solver, as ``cvxpy.Problem.solve`` takes them, such as ``max_iter``.

    Returns
    -------
    solution : ConicSolution
        The weights, the dual variables, and both bounds as they were recomputed without cvxpy.

    Raises
    ------
    ValueError
        If the arrays do not fit together or hold what is not finite, a kernel is indefinite, or
        a machine has one class only.
    MemoryError
        If the programme would not fit into memory.
    RuntimeError
        If the conic solver fails.

    References
    ----------
    Lanckriet, Cristianini, Bartlett, El Ghaoui and Jordan (2004), Learning the kernel matrix with
    semidefinite programming, JMLR 5, theorem 24.
    Kloft, Brefeld, Sonnenburg and Zien (2011), lp-norm multiple kernel learning, JMLR 12,
    section 4.

    Examples
    --------
    >>> import numpy as np
    >>> from mkfusion.solvers import solve_mkl_conic
    >>> y = np.array([1.0, 1.0, -1.0, -1.0])
    >>> solution = solve_mkl_conic([np.outer(y, y), np.eye(4)], y, C=10.0, norm=1)
    >>> solution.theta.round(6) + 0.0
    array([1., 0.])
    >>> round(solution.objective, 6)
    0.5
    """
    problem = _check_problem(Ks, y, C, norm, task, epsilon, intercept)
    found = _solve(problem, solver, dict(options or {}))
    return _certified(problem, *found, flat=np.ndim(y) < 2)


def _check_problem(
    Ks: Any, y: Any, C: Any, norm: float, task: str, epsilon: float, intercept: bool
) -> _Problem:
    check_option("task", task, TASKS)
    kernels = check_stack(Ks)
    n = len(kernels[0])
    if task == "one_class":
        if y is not None:
            raise ValueError("y must be None for task='one_class', which has no target")
        if not intercept:
            raise ValueError("task='one_class' needs intercept=True: the bias is what it learns")
        target: Array = np.ones(n)
    else:
        target = (check_signs if task == "svm" else check_target)("y", y, n)
    costs = check_cost_table(C, target.shape)
    target, costs = target.reshape(n, -1), costs.reshape(n, -1)
    if task == "svm" and intercept:
        _check_both_classes(target, costs)
    if task == "one_class" and costs.sum() < 1:
        raise ValueError(f"C must sum to at least 1 for task='one_class', got {costs.sum():.6g}")
    total = TASKS[task].total if intercept else None
    epsilon = check_number("epsilon", epsilon, 0.0)
    return _Problem(kernels, target, costs, check_norm(norm), task, epsilon, total)


def _check_both_classes(Y: Array, C: Array) -> None:
    for k, (signs, costs) in enumerate(zip(Y.T, C.T, strict=True)):
        found = np.unique(signs[costs > 0])
        if len(found) < 2:
            where = f"column {k} of y" if Y.shape[1] > 1 else "y"
            raise ValueError(
                f"{where} must hold both -1 and 1 among the samples with C > 0, "
                f"got {found[0]:g} only"
            )


def _solve(
    problem: _Problem, solver: str, options: dict[str, Any]
) -> tuple[Array, Array, float, str]:
    """Return beta, the dual variables of the kernels, the optimum and how it ended.

    The conic solver sees kernels of mean diagonal 1 and coefficients of order 1, so that its
    tolerances mean the same for every scale of kernels, targets and costs.
    """
    import cvxpy as cp

    kernels, Y, C, norm, task, epsilon = problem[:-1]
    with single_blas_thread:
        roots = [square_root(f"Ks[{m}]", K) for m, K in enumerate(kernels)]
    columns = sum(L.shape[1] for L in roots)
    size = BYTES_PER_ENTRY * len(Y) * Y.shape[1] * columns
    check_budget("the cone programme", size, available_memory(), "; take fewer samples")

    scale = float(np.mean([np.square(L).sum() / len(L) for L in roots])) or 1.0
    target = float(np.abs(Y).max()) or 1.0
    unit = min(float(C.max()), target / scale)  # of beta
    worth = unit * target  # of the objective
    beta = cp.Variable(Y.shape)
    forms = cp.Variable(len(roots), nonneg=True)
    cones = [cp.sum_squares(L.T / np.sqrt(scale) @ beta) <= forms[m] for m, L in enumerate(roots)]
    ridge = np.divide(unit / target, C, out=np.zeros_like(C), where=C > 0)
    gain = _gain(cp, task, beta, Y / target, ridge, epsilon / target)
    kernel_term = 0.5 * unit * scale / target * _dual_norm(cp, forms, norm)
    programme = cp.Problem(
        cp.Maximize(gain - kernel_term), [*cones, *_bounds(cp, beta, problem, unit)]
    )
    status = _run(cp, programme, solver, options)
    duals = np.array([np.max(cone.dual_value) for cone in cones])
    return np.asarray(beta.value) * unit, duals, float(programme.value * worth), status


def _gain(cp: Any, task: str, beta: Any, Y: Array, ridge: Array, epsilon: float) -> Any:
    """Return what the dual earns without kernels, of coefficients and targets of order 1."""
    if task == "one_class":
        return 0.0
    gain = cp.sum(cp.multiply(Y, beta))
    if task == "svr":
        return gain - epsilon * cp.norm1(beta)
    if task == "ridge":
        return gain - 0.5 * cp.sum_squares(cp.multiply(np.sqrt(ridge), beta))
    return gain


def _dual_norm(cp: Any, forms: Any, norm: float) -> Any:
    """Return ``M^(1/p - 1) ||t||_p*``, of which cvxpy makes second-order cones.

    It takes a fraction near p* for that, and the bounds are those of p* all the same. Power cones
    would need no fraction, but are solved less well.
    """
    if norm == 1:
        return cp.max(forms)
    if np.isinf(norm):
        return cp.sum(forms) / forms.size
    return forms.size ** (1 / norm - 1) * cp.pnorm(forms, norm / (norm - 1))


def _bounds(cp: Any, beta: Any, problem: _Problem, unit: float) -> list[Any]:
    low, high = (edge / unit for edge in TASKS[problem.task].box(problem.Y, problem.C))
    bounded = np.isfinite(high)
    bounds = [beta[bounded] >= low[bounded], beta[bounded] <= high[bounded]]
    if problem.total is None:
        return bounds
    return [*bounds, cp.sum(beta, axis=0) == problem.total / unit]


def _run(cp: Any, programme: Any, solver: str, options: dict[str, Any]) -> str:
    """Run the conic solver and return its status; its own words of a failure reach the user."""
    if solver not in cp.installed_solvers():
        raise ValueError(
            f"solver must be one that cvxpy finds installed, which are "
            f"{', '.join(cp.installed_solvers())}; got {solver!r}"
        )
    ways = [TIGHT | options, options] if solver == "CLARABEL" else [options]
    for way in ways:
        status = _attempt(cp, programme, solver, way)
        if status == "optimal" or (status == "optimal_inaccurate" and "reduced_tol_feas" in way):
            return "optimal"
    if status != "optimal_inaccurate":
        raise RuntimeError(
            f"the conic solver {solver} failed ({status}); another solver, other options or a "
            "smaller C may help"
        )
    return status


def _attempt(cp: Any, programme: Any, solver: str, options: dict[str, Any]) -> str:
    with warnings.catch_warnings():  # the bounds say how much both matter
        warnings.filterwarnings("ignore", "Solution may be inaccurate")
        warnings.filterwarnings("ignore", "pnorm with p=")
        try:
            # A warm start would keep the options of the attempt before.
            programme.solve(solver=solver, warm_start=False, **options)
        except cp.SolverError as error:
            return str(error)
    return str(programme.status)


def _certified(
    problem: _Problem, beta: Array, duals: Array, objective: float, status: str, *, flat: bool
) -> ConicSolution:
    """Make the solver's answer feasible, and recompute both bounds from the kernels alone."""
    kernels, Y, C, norm, task, epsilon, total = problem
    low, high = TASKS[task].box(Y, C)
    columns = zip(beta.T, low.T, high.T, strict=True)
    beta = np.stack([project(b, lo, hi, total) for b, lo, hi in columns], axis=1)
    with single_blas_thread:
        images = np.stack([K.astype(np.float64) @ beta for K in kernels])
    forms = np.maximum(np.einsum("mnk,nk->m", images, beta), 0.0)
    gain = float(TASKS[task].gain(beta, Y, C, epsilon).sum())
    candidates = [on_ball(np.maximum(duals, 0.0), norm), theta_from_forms(forms, norm)]
    bounds = [_primal(problem, theta, images, forms) for theta in candidates]
    theta, (upper, bias) = min(zip(candidates, bounds, strict=True), key=lambda pair: pair[1][0])
    lower = lower_bound(gain, forms, norm)
    alpha = Y * beta if task == "svm" else beta
    alpha = alpha + 0.0  # no negative zeros
    return ConicSolution(
        theta,
        alpha[:, 0] if flat else alpha,
        float(bias[0]) if flat else bias,
        forms,
        objective,
        lower,
        upper,
        upper - lower,
        status,
    )


def _primal(problem: _Problem, theta: Array, images: Array, forms: Array) -> tuple[float, Array]:
    """Return the upper bound P of these weights, and the biases that make it least."""
    _, Y, C, _, task, epsilon, total = problem
    loss = TASKS[task]
    f = np.tensordot(theta, images, axes=1)
    bias = np.zeros(Y.shape[1])
    if total is not None:
        columns = zip(f.T, Y.T, C.T, strict=True)
        bias = np.array([loss.bias(g, y, c, epsilon) for g, y, c in columns])
    missed = float(loss.loss(f + bias, Y, C, epsilon).sum() + (total or 0.0) * bias.sum())
    return upper_bound(theta, forms, missed), bias
