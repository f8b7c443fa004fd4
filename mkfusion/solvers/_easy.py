"""EasyMKL's margin problem: the closest points of two convex hulls, with a ridge between them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from scipy import linalg

from .._jit import JIT, njit
from .._parallel import single_blas_thread
from ._checks import check_number, check_psd, check_signs, real_array

__all__ = ["EasySolution", "solve_easy"]

Array = np.ndarray

BLOCK_SIZE = 2**18  # entries of the rows that are worked on at a time
EPS = float(np.finfo(np.float64).eps)
ROUNDINGS = 256  # of the objective, in units of the last place of K
FIRST_MOVES, NEXT_MOVES = 3, 2  # moves of pairs per sample, before systems are solved and between
LARGEST_SYSTEM = 8000  # of which one is 0.5 GB
GUESSES, STEPS = 8, 64


class EasySolution(NamedTuple):
    """The distribution over each class that EasyMKL weighs kernels by, and its certificate.

    Attributes
    ----------
    gamma : ndarray of shape (n_samples,)
        Non-negative, with sum 1 over each class. Kernel m has a weight proportional to
        ``(y * gamma)' K_m (y * gamma)``.
    objective : float
        ``gamma' Q gamma`` with ``Q = (1 - lambda) Y K Y + lambda I``.
    lower : float
        No feasible gamma has an objective below this: with
        ``m = min_+ (Q gamma) + min_- (Q gamma)`` over the two classes it is ``m^2 / objective``
        (0 where m is negative), because ``gamma*' Q gamma >= m`` for the optimal gamma*.
    gap : float
        ``objective - lower``.
    iterations : int
        How often weight was moved from one sample to another.
    systems : int
        How many linear systems were solved.
    converged : bool
        Whether the gap is at most ``tol`` times the objective, or only rounding of the kernel.

    Examples
    --------
    >>> import numpy as np
    >>> from mkfusion.solvers import solve_easy
    >>> solve_easy(np.eye(3), [1.0, 1.0, -1.0], lam=0.5).objective
    1.5
    """

    gamma: Array
    objective: float
    lower: float
    gap: float
    iterations: int
    systems: int
    converged: bool


def solve_easy(
    K: Any, y: Any, *, lam: float = 0.1, tol: float = 1e-8, max_iter: int = 1_000_000
) -> EasySolution:
    """Solve EasyMKL's problem for the sum of the kernels.

    ``min over gamma of gamma' [(1 - lambda) Y K Y + lambda I] gamma`` with ``gamma >= 0`` that
    sums to 1 over each class. At lambda = 0 this is the squared distance of the convex hulls of
    the classes, whose nearest points carry gamma: the hard margin. At lambda = 1 it is the
    uniform distribution over each class, and the distance is that of the classes' means.

    Weight is moved between two samples of one class, those that promise the largest descent by
    second order; where that is slow, linear systems on the samples with weight take over.

    Parameters
    ----------
    K : array-like of shape (n_samples, n_samples)
        The sum of the kernels, symmetric and positive semi-definite; float32 is read as it is,
        and summed in float64.
    y : array-like of shape (n_samples,)
        Labels -1 and 1.
    lam : float
        lambda between 0 and 1.
    tol : float
        The largest gap that is left, relative to the objective.
    max_iter : int
        The most moves of weight.

    Returns
    -------
    solution : EasySolution
        gamma and the bounds of its objective.

    Raises
    ------
    ValueError
        If K is not square, symmetric or finite, or found to be indefinite, if y does not fit or
        has one class, or a parameter is out of range.

    References
    ----------
    Aiolli and Donini (2015), EasyMKL: a scalable multiple kernel learning algorithm,
    Neurocomputing 169, section 3.

    Examples
    --------
    >>> import numpy as np
    >>> from mkfusion.solvers import solve_easy
    >>> x, y = np.array([-3.0, -1.0, 2.0, 5.0]), np.array([-1.0, -1.0, 1.0, 1.0])
    >>> solution = solve_easy(np.outer(x, x), y, lam=0.0)
    >>> solution.gamma
    array([0., 1., 1., 0.])
    >>> solution.objective
    9.0
    """
    matrix, signs = _check_matrix(K), check_signs("y", y, np.shape(K)[0])
    if signs.ndim != 1 or len(np.unique(signs)) < 2:
        raise ValueError(
            f"y must be 1-D and hold both -1 and 1, got {np.unique(signs).tolist()} "
            f"in shape {signs.shape}"
        )
    lam = check_number("lam", lam, 0.0, 1.0)
    tol, max_iter = check_number("tol", tol, 0.0), int(check_number("max_iter", max_iter, 0))
    scale = (1 - lam) * float(np.abs(matrix.diagonal()).max()) + lam
    hulls = _Hulls(matrix, signs, lam, ROUNDINGS * EPS * scale, scale)
    with single_blas_thread:
        _check_symmetric(matrix, signs)
        return _solve(hulls, tol, max_iter)


class _Hulls(NamedTuple):
    """The problem."""

    K: Array
    y: Array
    lam: float
    noise: float  # what rounding can leave of the objective
    scale: float  # the largest entry of Q


class _Point(NamedTuple):
    """A feasible gamma with the slope Q gamma, its objective and the bound that follows."""

    gamma: Array
    slope: Array
    objective: float
    lower: float

    def is_solved(self, hulls: _Hulls, tol: float) -> bool:
        return self.objective - self.lower <= max(tol * self.objective, hulls.noise)


def _solve(hulls: _Hulls, tol: float, max_iter: int) -> EasySolution:
    point = _point(hulls, _normalised(np.ones(len(hulls.y)), hulls.y))
    budget, moves, systems = FIRST_MOVES * len(hulls.y), 0, 0
    while not point.is_solved(hulls, tol) and moves < max_iter and hulls.lam < 1:
        most = min(budget, max_iter - moves)
        gamma, made = _move(hulls, point, tol, most)
        moves += made
        point = _point(hulls, gamma)
        if point.is_solved(hulls, tol) or 0 < made < most:
            continue  # in the second case the objective has fallen, and the tolerance with it
        better, solved = _solve_systems(hulls, point)
        systems += solved
        improved = better is not point
        if made == 0 and not improved:
            break
        # Where systems help, few moves between them are enough to correct who has weight.
        budget = NEXT_MOVES * len(hulls.y) if improved else 2 * budget
        point = better
    return EasySolution(
        gamma=point.gamma,
        objective=point.objective,
        lower=point.lower,
        gap=point.objective - point.lower,
        iterations=moves,
        systems=systems,
        converged=point.is_solved(hulls, tol),
    )


def _normalised(gamma: Array, y: Array) -> Array:
    """Make each class sum to 1."""
    sums = np.where(y > 0, gamma[y > 0].sum(), gamma[y < 0].sum())
    return gamma / sums


def _point(hulls: _Hulls, gamma: Array) -> _Point:
    slope = _slope(hulls, gamma)
    objective = float(gamma @ slope)
    if objective < -hulls.noise:
        _refuse_indefinite(hulls)
    least = float(slope[hulls.y > 0].min() + slope[hulls.y < 0].min())
    lower = max(least, 0.0) / objective * least if objective > 0 else 0.0
    return _Point(gamma, slope, max(objective, 0.0), min(lower, max(objective, 0.0)))


def _slope(hulls: _Hulls, gamma: Array) -> Array:
    """Return Q gamma."""
    K, y, lam = hulls[:3]
    signed = y * gamma
    image = np.concatenate([block @ signed for _, block in _blocks(K)])
    return (1 - lam) * y * image + lam * gamma


def _blocks(K: Array) -> Iterator[tuple[slice, Array]]:
    """Yield a few rows at a time in float64."""
    height = max(1, BLOCK_SIZE // len(K))
    for start in range(0, len(K), height):
        rows = slice(start, start + height)
        yield rows, K[rows].astype(np.float64, copy=False)


# Moves of pairs -------------------------------------------------------------------------------


def _move(hulls: _Hulls, point: _Point, tol: float, budget: int) -> tuple[Array, int]:
    """Move weight between pairs until no slope of a class differs by more than the tolerance."""
    K, y, lam, noise, scale = hulls
    gamma, slope = point.gamma.copy(), point.slope.copy()
    allowed = max(tol * point.objective, noise) / 8  # two classes, and the bound squares them
    indefinite = -np.sqrt(float(np.finfo(K.dtype).eps)) * scale
    diagonal = K.diagonal().astype(np.float64)
    moves = _MOVE(K, diagonal, y, lam, gamma, slope, allowed, EPS * scale, indefinite, budget)
    if moves < 0:
        _refuse_indefinite(hulls)
    return _normalised(gamma, y), int(moves)


@njit
def _move_pairs(K, diagonal, y, lam, gamma, slope, allowed, flattest, indefinite, budget):  # type: ignore[no-untyped-def]
    """Change gamma and slope; return the number of moves, or -1 where K is indefinite."""
    n = len(y)
    for made in range(budget):
        p = q = 0  # of least slope in the positive and in the negative class
        low_p = low_q = np.inf
        for t in range(n):
            if y[t] > 0:
                if slope[t] < low_p:
                    low_p, p = slope[t], t
            elif slope[t] < low_q:
                low_q, q = slope[t], t
        row_p, row_q = K[p], K[q]
        worst = best = step = 0.0
        giver, taker = p, p
        for t in range(n):
            if gamma[t] > 0:
                if y[t] > 0:
                    excess = slope[t] - low_p
                    cross = diagonal[p] + diagonal[t] - 2 * float(row_p[t])
                    other = p
                else:
                    excess = slope[t] - low_q
                    cross = diagonal[q] + diagonal[t] - 2 * float(row_q[t])
                    other = q
                if excess > 0:
                    curvature = (1 - lam) * cross + 2 * lam
                    if curvature < indefinite:
                        return -1
                    if curvature < flattest:
                        curvature = flattest
                    worst = max(worst, excess)
                    if excess * excess > best * curvature:
                        best = excess * excess / curvature
                        giver, taker, step = t, other, excess / curvature
        if worst <= allowed:
            return made
        if step >= gamma[giver]:
            step = gamma[giver]
            gamma[giver] = 0.0
        else:
            gamma[giver] -= step
        gamma[taker] += step
        factor = (1 - lam) * step * y[taker]
        gained, lost = K[taker], K[giver]
        for t in range(n):
            slope[t] += factor * y[t] * (float(gained[t]) - float(lost[t]))
        slope[taker] += lam * step
        slope[giver] -= lam * step
    return budget


def _move_pairs_plain(
    K: Array,
    diagonal: Array,
    y: Array,
    lam: float,
    gamma: Array,
    slope: Array,
    allowed: float,
    flattest: float,
    indefinite: float,
    budget: int,
) -> int:
    """Do the same on whole arrays, where nothing is compiled."""
    positive = y > 0
    for made in range(budget):
        p = int(np.where(positive, slope, np.inf).argmin())
        q = int(np.where(positive, np.inf, slope).argmin())
        excess = np.where(gamma > 0, slope - np.where(positive, slope[p], slope[q]), 0.0)
        cross = np.where(positive, diagonal[p] - 2.0 * K[p], diagonal[q] - 2.0 * K[q]) + diagonal
        curvature = (1 - lam) * cross + 2 * lam
        if curvature[excess > 0].min(initial=0.0) < indefinite:
            return -1
        if excess.max() <= allowed:
            return made
        curvature = np.maximum(curvature, flattest)
        giver = int((excess**2 / curvature).argmax())
        taker = p if positive[giver] else q
        step = min(gamma[giver], excess[giver] / curvature[giver])
        gamma[giver] -= step
        gamma[taker] += step
        slope += (1 - lam) * step * y[taker] * y * (K[taker].astype(np.float64) - K[giver])
        slope[taker] += lam * step
        slope[giver] -= lam * step
    return budget


_MOVE = _move_pairs if JIT else _move_pairs_plain


# Linear systems -------------------------------------------------------------------------------


def _solve_systems(hulls: _Hulls, point: _Point) -> tuple[_Point, int]:
    """Return a better point, or the same where none is found, and the number of systems."""
    guessed, guesses = _guess(hulls, point)
    if guessed is not point:
        return guessed, guesses
    stepped, steps = _step(hulls, point)
    return stepped, guesses + steps


def _guess(hulls: _Hulls, point: _Point) -> tuple[_Point, int]:
    """Guess who has weight, solve for it, and guess better; return the best feasible point.

    The guess is right when no weight is negative and no slope below that of its class: then the
    point is the optimum, up to rounding.
    """
    best, inside = point, point.gamma > 0
    for count in range(GUESSES):
        weights, level = _stationary(hulls, inside)
        positive = np.maximum(weights, 0.0)
        if not all(positive[hulls.y == sign].any() for sign in (-1, 1)):
            return best, count
        found = _point(hulls, _normalised(positive, hulls.y))
        best = found if _is_better(found, best) else best
        slope = found.slope if (weights >= 0).all() else _slope(hulls, weights)
        guess = np.where(inside, weights > 0, slope < level - hulls.noise)
        if (guess == inside).all():
            return best, count + 1
        inside = guess
    return best, GUESSES


def _step(hulls: _Hulls, point: _Point) -> tuple[_Point, int]:
    """Go towards the optimum of those with weight until one has none left, and again without it.

    Every step descends. That many leave one by one is slow, but where K is nearly singular the
    guesses go wrong.
    """
    gamma, inside, count = point.gamma, point.gamma > 0, 0
    blocked = inside
    while count < STEPS and blocked.any():
        weights, _ = _stationary(hulls, inside)
        count += 1
        blocked = inside & (weights <= 0)
        lengths = np.full(len(gamma), np.inf)
        lengths[blocked] = gamma[blocked] / (gamma[blocked] - weights[blocked])
        length = min(float(lengths.min()), 1.0)
        gamma = np.maximum(gamma + length * (weights - gamma), 0.0)
        inside = inside & (lengths > length) & (gamma > 0)
        gamma = np.where(inside, gamma, 0.0)
    found = _point(hulls, _normalised(gamma, hulls.y))
    return found if _is_better(found, point) else point, count


def _is_better(one: _Point, other: _Point) -> bool:
    """Tell which objective is lower, or which bound is higher where rounding hides that."""
    if abs(one.objective - other.objective) <= 1e-12 * other.objective:
        return one.lower > other.lower
    return one.objective < other.objective


def _stationary(hulls: _Hulls, inside: Array) -> tuple[Array, Array]:
    """Return the weights with equal slopes inside, and the slope of each sample's class.

    Where the system is too large or not positive definite there are none: all weights are 0.
    """
    K, y, lam = hulls[:3]
    places, weights = np.flatnonzero(inside), np.zeros(len(y))
    if len(places) > LARGEST_SYSTEM:
        return weights, weights
    signs = y[places]
    Q = np.empty((len(places), len(places)))
    for k, place in enumerate(places):
        np.multiply(K[place, places], (1 - lam) * signs[k] * signs, out=Q[k])
    Q.ravel()[:: len(places) + 1] += lam + hulls.noise
    try:
        factor = linalg.cho_factor(Q.T, lower=True, overwrite_a=True, check_finite=False)
    except linalg.LinAlgError:
        return weights, weights
    classes = np.stack([signs > 0, signs < 0], axis=1).astype(np.float64)
    raised = linalg.cho_solve(factor, classes, check_finite=False)
    levels = np.linalg.lstsq(classes.T @ raised, np.ones(2), rcond=None)[0]
    weights[places] = raised @ levels
    return weights, np.where(y > 0, levels[0], levels[1])


# What is taken --------------------------------------------------------------------------------


def _check_matrix(K: Any) -> Array:
    matrix = real_array("K", K, (2,), finite=False)
    if matrix.shape[0] != matrix.shape[1] or not matrix.size:
        raise ValueError(
            f"K must be the square Gram matrix of at least one sample, got shape {matrix.shape}"
        )
    return np.ascontiguousarray(matrix)


def _check_symmetric(K: Array, y: Array) -> None:
    """Refuse what is not finite or not symmetric: K y and K' y are compared, in one pass."""
    down, across = np.zeros(len(K)), np.empty(len(K))
    with np.errstate(invalid="ignore", over="ignore"):
        for rows, block in _blocks(K):
            across[rows] = block @ y
            down += y[rows] @ block
    if not np.isfinite(across).all():
        real_array("K", K, (2,))  # names the place
        raise ValueError("K is so large that its sums overflow; divide it by a constant")
    sizes = np.abs(K.diagonal().astype(np.float64)).max() * len(K)
    gap = np.abs(across - down)
    if gap.max() > np.sqrt(float(np.finfo(K.dtype).eps)) * sizes:
        raise ValueError(
            f"K must be symmetric; row and column {int(gap.argmax())} differ in their sums"
        )


def _refuse_indefinite(hulls: _Hulls) -> None:
    check_psd("K", linalg.eigvalsh(hulls.K.astype(np.float64)), 0.0)
    raise ValueError("K must be positive semi-definite, but some gamma' Q gamma is negative")
