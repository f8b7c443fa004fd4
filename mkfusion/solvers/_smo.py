"""Support vector machines on a kernel matrix, by sequential minimal optimisation.

All are one problem in the signed coefficients beta of the decision function f = K beta + bias::

    max  target'beta - epsilon |beta|_1 - 1/2 beta'K beta
    s.t. low <= beta <= high,  sum_i beta_i = total

    min  1/2 beta'K beta + total bias + sum_i  high_i max(0, target_i - f_i - epsilon)
                                             - low_i max(0, f_i - target_i - epsilon)

the second being its dual, in which bias is free. At an optimum no coefficient that can grow gains
more than one that can shrink loses: the violation is the most that a pair still does.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .._parallel import on_threads
from ._checks import (
    check_costs,
    check_kernel,
    check_number,
    check_vector,
    frozen,
    largest_entry,
    refuse_other_signs,
    rows_by_problem,
)
from ._rows import ServedKernel, improve_served
from ._smo_loops import (
    SMALLER,
    add_products,
    close_ranks,
    improve,
)
from ._tasks import Hinges, lowest_point

__all__ = ["SVMSolution", "solve_one_class", "solve_svm", "solve_svms", "solve_svr"]

Array = np.ndarray

MAX_ITER = 10_000_000
_MOST_ROUNDS = 100  # of gradients made afresh: more are needed only where rounding decides
_SHARE_TO_COPY = 0.5  # of the samples: when no more matter, their part of K is copied
_SHARE_TO_COPY_AGAIN = 0.8
_FEWEST_TO_COPY = 300  # samples: K of fewer lies in the cache as it is
_TOL_OF_STEPS = 0.99  # of the tolerance, so that what rounding adds in the steps does not matter


class SVMSolution(NamedTuple):
    """An optimum of a support vector machine and its certificate.

    Attributes
    ----------
    alpha : ndarray of shape (n_samples,)
        The dual variables; those of regression are the differences of the two of a sample.
    bias : float
        The intercept with the least primal objective for these dual variables.
    objective : float
        The dual objective, a lower bound of the primal optimum.
    gap : float
        The primal minus the dual objective, at least the distance of both to the optimum;
        infinite where it cannot be computed.
    violation : float
        The largest violation of the optimality conditions by a pair of samples, m(alpha) -
        M(alpha) as libsvm's stopping rule has it; 0 where no pair violates them.
    iterations : int
        Steps taken, each of which changes two dual variables.
    converged : bool
        Whether the violation is at most the tolerance.
    decision : ndarray of shape (n_samples,)
        K beta + bias for the training samples.

    Examples
    --------
    >>> from mkfusion.solvers import solve_svm
    >>> solution = solve_svm([[1.0, -1.0], [-1.0, 1.0]], [1, -1], C=1.0)
    >>> solution.alpha, solution.objective, solution.gap
    (array([0.5, 0.5]), 0.5, 0.0)
    """

    alpha: Array
    bias: float
    objective: float
    gap: float
    violation: float
    iterations: int
    converged: bool
    decision: Array


def solve_svm(
    K: Any,
    y: Any,
    C: Any,
    *,
    tol: float = 1e-3,
    alpha: Any = None,
    max_iter: int = MAX_ITER,
    shrinking: bool = True,
    check_finite: bool = True,
    budget: float | None = None,
) -> SVMSolution:
    """Train a support vector machine for two classes on a kernel matrix.

    ``max 1'alpha - 1/2 (alpha * y)'K(alpha * y)`` over ``0 <= alpha <= C, y'alpha = 0``, which is
    the dual of ``min 1/2 ||w||^2 + sum_i C_i max(0, 1 - y_i (w'phi_i + bias))``. Pairs are chosen
    by second-order information, and samples that stay at a bound are set aside; the certificate
    comes from a gradient made afresh at the end.

    Where one class alone has samples with C > 0, the optimum is alpha = 0 with that class as bias
    and gap 0; where no sample has, the bias is 0. Of an indefinite K the solution is a point
    without violating pairs, the objective no bound, and the gap no distance.

    Parameters
    ----------
    K : array-like of shape (n_samples, n_samples)
        The kernel of the training samples, of float64 or float32 and symmetric, which is not
        checked. It is neither copied nor written to; all sums are in float64. When at most half
        of the samples still matter, the part that they use is copied: a quarter of K at most.
        Or an object that makes rows on demand, with ``n_samples``, ``rows(indices)``,
        ``diagonal()`` and ``matvec(vector)``, for more samples than a matrix has room for: those
        that violate most are worked on together, up to 2048 of them.
    y : array-like of shape (n_samples,)
        The classes, -1 and 1.
    C : float or array-like of shape (n_samples,)
        The largest alpha of each sample, at least 0; a sample with 0 takes no part.
    tol : float, default=1e-3
        The violation at which to stop.
    alpha : array-like of shape (n_samples,), default=None
        Where to start, None for 0. It is clipped to [0, C], and then the class with the larger
        sum is scaled down to the sum of the other.
    max_iter : int, default=10_000_000
        The most steps. Fewer than needed are no error: ``converged`` tells.
    shrinking : bool, default=True
        Whether samples at a bound may be set aside; the optimum is the same.
    check_finite : bool, default=True
        Whether to read K once more to refuse NaN and infinity. Without it, a K that holds some
        may end in NaN, not converged.
    budget : float, default=None
        Bytes that copies of parts of K may take, or rows that are kept. None is a quarter of K,
        and 200 MB of rows.

    Returns
    -------
    solution : SVMSolution

    Raises
    ------
    ValueError
        Arrays of wrong shape, NaN or infinity, other classes than -1 and 1, a negative C.

    References
    ----------
    Fan, Chen and Lin (2005), Working set selection using second order information for training
    support vector machines, section 2.3 (WSS 2). Chang and Lin (2011), LIBSVM, section 4 and 5.

    Examples
    --------
    >>> from mkfusion.solvers import solve_svm
    >>> K = [[4.0, 0.0, -2.0], [0.0, 0.0, 0.0], [-2.0, 0.0, 1.0]]  # of 2, 0 and -1
    >>> solution = solve_svm(K, [1, -1, -1], C=10.0)
    >>> solution.alpha
    array([0.5, 0.5, 0. ])
    >>> solution.decision
    array([ 1., -1., -2.])
    """
    K = _check_kernel(K, check_finite, budget)
    return _solve_svm(K, _check_signs(y, len(K)), C, tol, alpha, max_iter, shrinking, budget)


def solve_svms(
    K: Any,
    Y: Any,
    C: Any,
    *,
    tol: float = 1e-3,
    alpha: Any = None,
    max_iter: int = MAX_ITER,
    shrinking: bool = True,
    check_finite: bool = True,
    budget: float | None = None,
    n_threads: int = 1,
) -> list[SVMSolution]:
    """Train several support vector machines on one kernel matrix, as one-vs-rest needs.

    Each is :func:`solve_svm`, and is one task of one thread: the results do not depend on the
    number of threads.

    Parameters
    ----------
    K : array-like of shape (n_samples, n_samples)
        As in :func:`solve_svm`.
    Y : array-like of shape (n_problems, n_samples)
        The classes of each problem, -1 and 1.
    C : float or array-like of shape (n_samples,) or (n_problems, n_samples)
        The largest alpha of each sample, for all problems or for each.
    tol : float, default=1e-3
        The violation at which to stop.
    alpha : array-like of shape (n_problems, n_samples), default=None
        Where to start each.
    max_iter, shrinking, check_finite
        As in :func:`solve_svm`.
    budget : float, default=None
        As in :func:`solve_svm`, for all that are solved at a time: fewer are where it is small.
    n_threads : int, default=1
        How many problems are solved at a time.

    Returns
    -------
    solutions : list of SVMSolution

    Examples
    --------
    >>> import numpy as np
    >>> from mkfusion.solvers import solve_svms
    >>> x = np.array([-1.0, 0.0, 2.0])
    >>> first, last = solve_svms(np.outer(x, x), [[1, -1, -1], [-1, -1, 1]], C=10.0)
    >>> last.decision
    array([-2., -1.,  1.])
    """
    K = _check_kernel(K, check_finite, budget)
    n = len(K)
    if np.ndim(Y) != 2:
        raise ValueError(f"Y must have shape (n_problems, {n}), got shape {np.shape(Y)}")
    signs = [_check_signs(row, n, f"Y[{p}]") for p, row in enumerate(Y)]
    costs, starts = (
        rows_by_problem("C", C, len(signs)),
        rows_by_problem("alpha", alpha, len(signs)),
    )
    solutions: list[Any] = [None] * len(signs)

    def solve(p: int) -> None:
        solutions[p] = _solve_svm(
            K, signs[p], costs[p], tol, starts[p], max_iter, shrinking, budget
        )

    on_threads(solve, range(len(signs)), min(n_threads, _at_a_time(K, budget)))
    return solutions


def solve_svr(
    K: Any,
    y: Any,
    C: Any,
    epsilon: float = 0.1,
    *,
    tol: float = 1e-3,
    alpha: Any = None,
    max_iter: int = MAX_ITER,
    shrinking: bool = True,
    check_finite: bool = True,
    budget: float | None = None,
) -> SVMSolution:
    """Train a support vector machine for regression on a kernel matrix.

    ``max y'alpha - epsilon |alpha|_1 - 1/2 alpha'K alpha`` over ``|alpha| <= C, sum(alpha) = 0``,
    which is the dual of ``min 1/2 ||w||^2 + sum_i C_i max(0, |y_i - w'phi_i - bias| - epsilon)``.
    The 2 n dual variables of the textbook are the positive and negative parts of alpha, and one
    of the two is always 0: n numbers hold them all.

    Parameters
    ----------
    K : array-like of shape (n_samples, n_samples)
        As in :func:`solve_svm`.
    y : array-like of shape (n_samples,)
        The targets.
    C : float or array-like of shape (n_samples,)
        The largest \\|alpha\\| of each sample, at least 0; a sample with 0 takes no part.
    epsilon : float, default=0.1
        Errors up to it cost nothing.
    tol : float, default=1e-3
        The violation at which to stop, in the unit of y.
    alpha : array-like of shape (n_samples,), default=None
        Where to start, None for 0. It is clipped to [-C, C], and then the sign with the larger
        sum is scaled down to the sum of the other.
    max_iter, shrinking, check_finite, budget
        As in :func:`solve_svm`.

    Returns
    -------
    solution : SVMSolution

    Examples
    --------
    >>> import numpy as np
    >>> from mkfusion.solvers import solve_svr
    >>> x = np.array([-1.0, 0.0, 1.0])
    >>> solution = solve_svr(np.outer(x, x), 2 * x, C=10.0, epsilon=0.5)
    >>> solution.decision
    array([-1.5,  0. ,  1.5])
    """
    K = _check_kernel(K, check_finite, budget)
    target = check_vector("y", y, len(K))
    costs = check_costs("C", C, len(K))
    problem = _Problem(K, target, -costs, costs, check_number("epsilon", epsilon), 0.0)
    start = None if alpha is None else check_vector("alpha", alpha, len(K))
    return _solve(problem, start, check_number("tol", tol), max_iter, shrinking, budget)


def solve_one_class(
    K: Any,
    nu: float = 0.5,
    *,
    sample_weight: Any = None,
    tol: float = 1e-3,
    alpha: Any = None,
    max_iter: int = MAX_ITER,
    shrinking: bool = True,
    check_finite: bool = True,
    budget: float | None = None,
) -> SVMSolution:
    """Train a one-class support vector machine on a kernel matrix.

    ``max -1/2 alpha'K alpha`` over ``0 <= alpha <= s, sum(alpha) = nu sum(s)``, which is the dual
    of ``min 1/2 ||w||^2 + nu sum(s) bias + sum_i s_i max(0, -(w'phi_i + bias))``. That is libsvm's
    scaling, where s = 1; the paper divides alpha, bias and decision by nu sum(s).

    Parameters
    ----------
    K : array-like of shape (n_samples, n_samples)
        As in :func:`solve_svm`.
    nu : float, default=0.5
        A bound on the share of outliers from above, and of support vectors from below; above 0
        and at most 1.
    sample_weight : array-like of shape (n_samples,), default=None
        The weights s, None for 1; a sample with 0 takes no part.
    tol : float, default=1e-3
        The violation at which to stop, in the unit of the decision.
    alpha : array-like of shape (n_samples,), default=None
        Where to start, None for 0. It is clipped to [0, s] and scaled down to its sum, or filled
        up to it from the first sample on.
    max_iter, shrinking, check_finite, budget
        As in :func:`solve_svm`.

    Returns
    -------
    solution : SVMSolution
        Its decision is negative for outliers; its bias is -rho.

    References
    ----------
    Schoelkopf, Platt, Shawe-Taylor, Smola and Williamson (2001), Estimating the support of a
    high-dimensional distribution, equations (3.8) to (3.11).

    Examples
    --------
    >>> import numpy as np
    >>> from mkfusion.solvers import solve_one_class
    >>> solution = solve_one_class(np.eye(4), nu=0.5)
    >>> solution.alpha
    array([0.5, 0.5, 0.5, 0.5])
    >>> solution.bias
    -0.5
    """
    K = _check_kernel(K, check_finite, budget)
    nu = check_number("nu", nu)
    if not 0 < nu <= 1:
        raise ValueError(f"nu must be above 0 and at most 1, got {nu}")
    weights = 1.0 if sample_weight is None else sample_weight
    high = check_costs("sample_weight", weights, len(K))
    zeros = np.zeros(len(K))
    problem = _Problem(K, zeros, zeros, high, 0.0, nu * high.sum())
    start = None if alpha is None else check_vector("alpha", alpha, len(K))
    return _solve(problem, start, check_number("tol", tol), max_iter, shrinking, budget)


def _solve_svm(
    K: Any,
    y: Array,
    C: Any,
    tol: float,
    alpha: Any,
    max_iter: int,
    shrinking: bool,
    budget: float | None,
) -> SVMSolution:
    bounds = y * check_costs("C", C, len(K))
    problem = _Problem(K, y, np.minimum(bounds, 0.0), np.maximum(bounds, 0.0), 0.0, 0.0)
    start = None if alpha is None else y * check_vector("alpha", alpha, len(K))
    solution = _solve(problem, start, check_number("tol", tol), max_iter, shrinking, budget)
    return solution._replace(alpha=np.abs(solution.alpha))


# The one problem of all ---------------------------------------------------------------------


class _Problem(NamedTuple):
    """What the module's docstring says."""

    K: Any  # an array, or rows on demand
    target: Array
    low: Array
    high: Array
    epsilon: float
    total: float


class _Part(NamedTuple):
    """The samples that still matter, in the order in which ``improve`` takes them."""

    rows: Array  # K, or a view of copies
    copies: Array
    copied: Array
    places: Array  # in K
    diagonal: Array
    low: Array
    high: Array
    beta: Array
    up: Array
    down: Array


def _solve(
    problem: _Problem,
    start: Array | None,
    tol: float,
    max_iter: int,
    shrinking: bool,
    budget: float | None,
) -> SVMSolution:
    """Solve in units in which numbers are near 1, and certify the solution in the user's."""
    max_iter = int(check_number("max_iter", max_iter))
    most = _most_to_copy(problem.K, budget) if shrinking else -1
    beta = _feasible(np.zeros(len(problem.K)) if start is None else start, problem)
    shift, unit = _units(problem)  # beta is counted in 2^shift, target in 2^unit
    with np.errstate(over="ignore"):  # a bound that is out of reach may become infinite
        scaled = problem._replace(
            target=np.ldexp(problem.target, -unit),
            low=np.ldexp(problem.low, -shift),
            high=np.ldexp(problem.high, -shift),
            epsilon=float(np.ldexp(problem.epsilon, -unit)),
        )
    near, fit, steps = _descend(
        scaled,
        np.ldexp(beta, -shift),
        float(np.ldexp(1.0, shift - unit)),
        float(np.ldexp(tol, -unit)),
        max_iter,
        most,
    )
    beta = np.clip(np.ldexp(near, shift), problem.low, problem.high)
    beta = np.where(near == scaled.low, problem.low, beta)
    beta = np.where(near == scaled.high, problem.high, beta)
    with np.errstate(over="ignore", invalid="ignore"):  # an indefinite K with a huge C
        return _certified(problem, beta, np.ldexp(fit, unit), tol, steps)


def _most_to_copy(K: Any, budget: float | None) -> int:
    """Return how many samples there may be when their part of K is copied, -1 for never."""
    if isinstance(K, ServedKernel) or len(K) < _FEWEST_TO_COPY:
        return -1
    share = int(_SHARE_TO_COPY * len(K))
    return share if budget is None else min(share, int(np.sqrt(budget / K.itemsize)))


def _at_a_time(K: Any, budget: float | None) -> int:
    """Return how many problems the budget has room for: no result depends on the threads."""
    if budget is None or not len(K):
        return MAX_ITER
    if isinstance(K, ServedKernel):
        each = 8 * len(K) * K.size()
    else:
        each = K.itemsize * max(0, _most_to_copy(K, budget)) ** 2
    return max(1, int(budget // max(each, 1)))


def _units(problem: _Problem) -> tuple[int, int]:
    """Return the powers of two that beta and the target are counted in."""
    K, target, high, low = problem.K, problem.target, problem.high, problem.low
    size = np.abs(K.diagonal()[high > low]).max(initial=0.0)
    if size == 0 and not isinstance(K, ServedKernel):
        size = largest_entry(K)
    size = _exponent(float(size))
    bounds = max(high.max(initial=0.0), -low.min(initial=0.0))
    unit = _exponent(np.abs(target).max(initial=0.0), size + _exponent(bounds))
    return unit - size, unit


def _exponent(number: float, otherwise: int = 0) -> int:
    """Return the exponent of a power of two that is near to a number."""
    return int(np.frexp(number)[1]) if 0 < number < np.inf else otherwise


def _descend(
    problem: _Problem, beta: Array, unit: float, tol: float, max_iter: int, most: int
) -> tuple[Array, Array, int]:
    """Improve beta in rounds; return it, K beta made afresh after the last, and the steps."""
    steps, taken, rounds = 0, 1, 0
    while True:
        fit = _fit(problem.K, beta, unit)
        up, down = _gains(problem, beta, problem.target - fit)
        rounds += 1
        done = _violation(up, down) <= tol or steps >= max_iter
        if done or not taken or rounds > _MOST_ROUNDS:
            return beta, fit, steps
        left = max_iter - steps
        if isinstance(problem.K, ServedKernel):
            taken = improve_served(problem, beta, up, down, unit, _TOL_OF_STEPS * tol, left)
        else:
            taken = _improve_all(problem, beta, up, down, unit, tol, left, most)
        steps += taken


def _improve_all(
    problem: _Problem,
    beta: Array,
    up: Array,
    down: Array,
    unit: float,
    tol: float,
    max_iter: int,
    most: int,
) -> int:
    """Take steps on all samples, then on fewer and fewer; write to beta, return their number."""
    K = problem.K
    diagonal = unit * K.diagonal().astype(np.float64)
    n, none = len(K), np.empty((0, 0), K.dtype)
    bounds = problem.low, problem.high
    part = _Part(
        K, none, np.ones(n, bool), np.arange(n), diagonal, *bounds, beta, up, down
    )  # fmt: skip
    numbers, steps = None, 0
    wanted = most
    while True:
        taken, reason = improve(
            K, *part, unit, problem.epsilon, _TOL_OF_STEPS * tol, wanted, max_iter - steps
        )
        steps += taken
        beta[part.places] = part.beta
        if reason != SMALLER:
            return steps
        part, numbers = _smaller(K, part, numbers)
        wanted = int(_SHARE_TO_COPY_AGAIN * len(part.places))


def _smaller(K: Array, part: _Part, numbers: Array | None) -> tuple[_Part, Array]:
    """Return the samples of a part that may still be one of a violating pair.

    Their rows are copied from K when they are needed, or lie among the numbers already, which
    have room for all.
    """
    kept = np.flatnonzero((part.up >= part.down.min()) | (part.down <= part.up.max()))
    size = len(kept)
    if numbers is None:
        numbers, copied = np.empty(size * size, K.dtype), np.zeros(size, bool)
    else:
        close_ranks(numbers, len(part.places), kept, part.copied)
        copied = part.copied[kept]
    copies = numbers[: size * size].reshape(size, size)
    return _Part(frozen(copies), copies, copied, *(each[kept] for each in part[3:])), numbers


def _fit(K: Any, beta: Array, unit: float) -> Array:
    """Return unit K beta."""
    if isinstance(K, ServedKernel):
        return unit * K.matvec(beta)
    fit = np.zeros(len(K))
    used = np.flatnonzero(beta)
    add_products(K, used, unit * beta[used], fit)
    return fit


def _gains(problem: _Problem, beta: Array, residual: Array) -> tuple[Array, Array]:
    """Return what raising each coefficient gains, and what lowering it costs."""
    epsilon = problem.epsilon
    up = residual - np.where(beta >= 0, epsilon, -epsilon)
    down = residual + np.where(beta <= 0, epsilon, -epsilon)
    up[beta >= problem.high] = -np.inf
    down[beta <= problem.low] = np.inf
    return up, down


def _violation(up: Array, down: Array) -> float:
    most = float(up.max(initial=-np.inf) - down.min(initial=np.inf))
    return 0.0 if most <= 0 else most  # NaN stays NaN


def _feasible(beta: Array, problem: _Problem) -> Array:
    """Return coefficients within the bounds and of the right sum, near to the given ones."""
    low, high, total = problem.low, problem.high, problem.total
    beta = np.clip(beta, low, high)
    size = max(1.0, np.abs(beta).max(initial=0.0))  # of sums that might overflow
    raised = np.maximum(beta, 0.0)
    positive, negative = float((raised / size).sum()), float(((beta - raised) / size).sum())
    excess = positive + negative - total / size
    if abs(excess) <= 4 * len(beta) * np.finfo(np.float64).eps * (positive - negative):
        return beta
    if excess > 0:
        return np.where(beta > 0, beta * ((positive - excess) / positive), beta)
    if total == 0:
        return np.where(beta < 0, beta * ((negative - excess) / negative), beta)
    room = high - beta
    before = np.cumsum(room) - room
    return beta + np.clip(total - beta.sum() - before, 0.0, room)


# The certificate ----------------------------------------------------------------------------


def _certified(problem: _Problem, beta: Array, fit: Array, tol: float, steps: int) -> SVMSolution:
    """Return a solution with all that can be said of it, from a K beta made afresh."""
    residual = problem.target - fit
    violation = _violation(*_gains(problem, beta, residual))
    epsilon = problem.epsilon
    bias = _best_bias(residual, problem)
    left = residual - bias
    losses = problem.high * np.maximum(left - epsilon, 0.0)
    losses -= problem.low * np.maximum(-left - epsilon, 0.0)
    # Primal minus dual by samples, none of which is negative; sum(beta) = total is used.
    gap = float((losses - beta * left + epsilon * np.abs(beta)).sum())
    objective = float(problem.target @ beta - epsilon * np.abs(beta).sum() - 0.5 * (beta @ fit))
    gap = np.inf if np.isnan(gap) else gap
    converged = violation <= tol and not np.isnan(objective)
    return SVMSolution(beta, bias, objective, gap, violation, steps, converged, fit + bias)


def _best_bias(residual: Array, problem: _Problem) -> float:
    """Return the bias with the least loss; the middle where several have it."""
    places = np.concatenate([residual - problem.epsilon, residual + problem.epsilon])
    costs = np.concatenate([problem.high, -problem.low])
    signs = np.repeat([1.0, -1.0], len(residual))
    return lowest_point(Hinges(places, signs, np.maximum(costs, 0.0)), slope=problem.total)


def _check_kernel(K: Any, check_finite: bool, budget: float | None) -> Any:
    """Return a kernel as an array, or as rows on demand."""
    if budget is not None:
        check_number("budget", budget)
    if hasattr(K, "rows") and hasattr(K, "matvec"):
        return ServedKernel(K, budget)
    return check_kernel(K, check_finite)


def _check_signs(y: Any, n: int, name: str = "y") -> Array:
    signs = check_vector(name, y, n)
    refuse_other_signs(name, signs)
    return signs
