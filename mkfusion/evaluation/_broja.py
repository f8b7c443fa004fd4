"""The decomposition of Bertschinger, Rauh, Olbrich, Jost and Ay on arrays, with a certificate."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .._validation import check_option, finite_array

Array = np.ndarray

TOLERANCE = 1e-8  # bits
MAX_ITER = 200
LARGEST_BATCH = 400_000  # numbers in the blocks of one batch: they stay in the cache
BITS = 1 / np.log(2)


class InformationParts(NamedTuple):
    """What two sources tell of a target, divided, in bits.

    Parameters
    ----------
    redundancy : float
        What either source tells by itself.
    unique : tuple of float
        What only the first tells, and what only the second.
    synergy : float
        What only both together tell.
    total : float
        The mutual information of the target and both sources; the sum of the four.
    gap : float
        The least mutual information that was found lies above the least that there is by at most
        this.
    n_iter : int
        Steps of the solver; 0 for cvxpy, which does not say.
    converged : bool

    Examples
    --------
    >>> from mkfusion.evaluation import broja
    >>> broja([[[0.5, 0.0]], [[0.0, 0.5]]]).unique
    (1.0, 0.0)
    """

    redundancy: float
    unique: tuple[float, float]
    synergy: float
    total: float
    gap: float
    n_iter: int
    converged: bool


def broja(joint: Any, *, solver: str = "newton", tol: float = TOLERANCE) -> InformationParts:
    r"""Divide what two sources tell of a target into redundancy, uniqueness and synergy.

    With :math:`\Delta` the distributions that have the same marginals of (source, target) as the
    joint distribution P, and :math:`I_Q` the mutual information under Q,

    .. math::

        I^* = \min_{Q \in \Delta} I_Q(Y; X_1, X_2), \qquad
        \text{redundancy} = I(Y; X_1) + I(Y; X_2) - I^*, \\
        \text{unique}_1 = I^* - I(Y; X_2), \quad \text{unique}_2 = I^* - I(Y; X_1), \quad
        \text{synergy} = I_P(Y; X_1, X_2) - I^*.

    Parameters
    ----------
    joint : array-like of shape (n_first, n_second, n_classes)
        The probability of each state of the first source, of the second, and of the target.
    solver : {"newton", "cvxpy"}, default="newton"
        A primal-dual interior point method, or cvxpy with Clarabel as a reference.
    tol : float, default=1e-8
        The duality gap at which the solver stops, in bits.

    Returns
    -------
    parts : InformationParts

    Raises
    ------
    ValueError
        If ``joint`` has no three axes, holds negative numbers, or does not sum to 1.

    Notes
    -----
    The dual problem is to maximise
    :math:`\sum \lambda(x_1, y) p(x_1, y) + \sum \mu(x_2, y) p(x_2, y)` with
    :math:`\sum_y e^{\lambda(x_1, y) + \mu(x_2, y)} \le 1` for all :math:`x_1, x_2`. Any
    multipliers are made feasible by a shift, so that the gap is a bound and no guess.

    References
    ----------
    Bertschinger, Rauh, Olbrich, Jost, Ay (2014), "Quantifying unique information", Entropy 16,
    equations (2) to (7).
    Makkeh, Theis, Vicente (2018), "BROJA-2PID: A robust estimator for bivariate partial
    information decomposition", Entropy 20, equation (5) for the dual.

    Examples
    --------
    >>> import numpy as np
    >>> from mkfusion.evaluation import broja
    >>> joint = np.zeros((2, 2, 2))
    >>> for a in range(2):
    ...     for b in range(2):
    ...         joint[a, b, a ^ b] = 0.25
    >>> round(broja(joint).synergy, 6)
    1.0
    """
    p = finite_array("joint", joint)
    check_option("solver", solver, ("newton", "cvxpy"))
    if p.ndim != 3 or 0 in p.shape:
        raise ValueError(
            "joint must have the shape (n_first, n_second, n_classes), for two sources and the "
            f"target, got {p.shape}"
        )
    if p.min() < 0 or abs(p.sum() - 1) > 1e-6:
        raise ValueError(f"joint must be non-negative and sum to 1, got the sum {p.sum():.6g}")
    p = p / p.sum()
    if solver == "cvxpy":
        return _by_cvxpy(p, tol)
    parts, gaps, n_iter = decompose(p[np.newaxis], tol)
    redundancy, first, second, synergy, total = parts[0].tolist()
    gap = float(gaps[0])
    return InformationParts(redundancy, (first, second), synergy, total, gap, n_iter, gap <= tol)


def _by_cvxpy(p: Array, tol: float) -> InformationParts:
    import cvxpy

    # A column of q for each class: the states of both sources are the rows.
    q = cvxpy.Variable((p.shape[0] * p.shape[1], p.shape[2]), nonneg=True)
    both = np.arange(len(range(q.shape[0])))
    of_first = (both // p.shape[1] == np.arange(p.shape[0])[:, np.newaxis]).astype(float)
    of_second = (both % p.shape[1] == np.arange(p.shape[1])[:, np.newaxis]).astype(float)
    shared = cvxpy.sum(q, axis=1, keepdims=True) @ np.ones((1, p.shape[2]))
    problem = cvxpy.Problem(
        cvxpy.Minimize(cvxpy.sum(cvxpy.rel_entr(q, shared))),
        [of_first @ q == p.sum(axis=1), of_second @ q == p.sum(axis=0)],
    )
    problem.solve(solver="CLARABEL")
    least = np.array([problem.value]) * BITS
    redundancy, first, second, synergy, total = _parts(p[np.newaxis], least)[0].tolist()
    found = problem.status == "optimal"
    return InformationParts(redundancy, (first, second), synergy, total, np.nan, 0, found)


def decompose(joints: Array, tol: float = TOLERANCE) -> tuple[Array, Array, int]:
    """Return the parts of each joint distribution, the gaps that are left, and the most steps.

    The parts are redundancy, uniqueness of the first and second, synergy and total, in bits.
    """
    shape = joints.shape[1:]
    size = shape[0] * shape[1] * shape[2] ** 2 + ((shape[0] + shape[1]) * shape[2]) ** 2
    batch = max(1, LARGEST_BATCH // size)
    parts, gaps, most = [], [], 0
    for start in range(0, len(joints), batch):
        own = joints[start : start + batch]
        least, gap, n_iter = _least(own, tol / BITS)
        parts.append(_parts(own, least * BITS))
        gaps.append(gap * BITS)
        most = max(most, n_iter)
    return np.concatenate(parts), np.concatenate(gaps), most


def _parts(p: Array, least: Array) -> Array:
    """Return the five figures of each distribution from the least ``-H(Y | X1, X2)`` in bits."""
    h_y = -_sum_log(p.sum(axis=(1, 2)))
    total = _conditional(p) + h_y
    first, second = (_conditional(p.sum(axis=axis)) + h_y for axis in (2, 1))
    # It lies between what one source tells and what both do; rounding must not leave that.
    least = np.clip(least + h_y, np.maximum(first, second), np.maximum(total, first))
    parts = [first + second - least, least - second, least - first, total - least, total]
    return np.stack(parts, axis=1)


def _conditional(p: Array) -> Array:
    """Return minus the entropy of the last axis given the others, in bits."""
    return _sum_log(p) - _sum_log(p.sum(axis=-1))


def _sum_log(p: Array) -> Array:
    """Return the sum of ``p log2 p`` of each distribution."""
    logs = np.log2(p, where=p > 0, out=np.zeros_like(p))
    return (p * logs).reshape(len(p), -1).sum(axis=1)


# The solver ---------------------------------------------------------------------------------


class _Problem(NamedTuple):
    """A batch of problems: marginals, and which cells can hold anything."""

    first: Array  # (B, n_first, K)
    second: Array  # (B, n_second, K)
    cells: Array  # (B, n_first, n_second, K), bool
    idle: Array  # (B, (n_first + n_second) K), the constraints that say nothing


def _problem(p: Array) -> _Problem:
    first, second = p.sum(axis=2), p.sum(axis=1)
    cells = (first > 0)[:, :, np.newaxis] & (second > 0)[:, np.newaxis]
    # Both sources' marginals sum to the target's: one constraint for each class is implied.
    pinned = np.zeros(second.shape, bool)
    np.put_along_axis(pinned, (second > 0).argmax(axis=1)[:, np.newaxis], True, axis=1)
    idle = np.concatenate([first == 0, (second == 0) | pinned], axis=1)
    return _Problem(first, second, cells, idle.reshape(len(p), -1))


def _least(p: Array, tol: float) -> tuple[Array, Array, int]:
    """Return the least ``-H_Q(Y | X1, X2)`` of each distribution in nats, its gap, the steps.

    Complementarity of q and its multipliers u goes to 0, the marginals hold from the start.
    """
    problem = _problem(p)
    q = _independent(problem)
    u = np.where(problem.cells, 1.0, 0.0)
    multipliers = np.zeros((len(p), problem.idle.shape[1]))
    best, gap = np.full(len(p), np.inf), np.full(len(p), np.inf)
    active = np.arange(len(p))
    counts = problem.cells.sum(axis=(1, 2, 3))
    bound = np.full(len(p), -np.inf)
    n_iter = 0
    for n_iter in range(MAX_ITER + 1):
        own = _Problem(*(values[active] for values in problem))
        best[active] = np.minimum(best[active], _value(q))
        bound[active] = np.maximum(bound[active], _bound(own, multipliers))
        gap[active] = best[active] - bound[active]
        going = gap[active] > tol
        if not going.any() or n_iter == MAX_ITER:
            break
        active, q, u, multipliers = active[going], q[going], u[going], multipliers[going]
        own = _Problem(*(values[going] for values in own))
        q, u, multipliers = _step(own, q, u, multipliers, counts[active])
    return best, np.maximum(gap, 0.0), n_iter


def _independent(problem: _Problem) -> Array:
    """Return the distribution under which the sources are independent, given the target."""
    share = problem.first.sum(axis=1)[:, np.newaxis, np.newaxis]
    product = problem.first[:, :, np.newaxis] * problem.second[:, np.newaxis]
    return np.divide(product, share, out=np.zeros_like(product), where=problem.cells)


def _log_share(q: Array) -> Array:
    """Return ``log q(y | x1, x2)``, 0 for cells that hold nothing."""
    total = q.sum(axis=3, keepdims=True)
    share = np.divide(q, total, out=np.ones_like(q), where=q > 0)
    return np.log(share)


def _value(q: Array) -> Array:
    return (q * _log_share(q)).sum(axis=(1, 2, 3))


def _lifted(multipliers: Array, problem: _Problem) -> Array:
    """Return ``lambda(x1, y) + mu(x2, y)``."""
    n_batch, n_first, _, n_classes = problem.cells.shape
    split = multipliers.reshape(n_batch, -1, n_classes)
    return split[:, :n_first, np.newaxis] + split[:, np.newaxis, n_first:]


def _bound(problem: _Problem, multipliers: Array) -> Array:
    """Return a lower bound: the dual objective once the multipliers were made feasible."""
    n_first = problem.first.shape[1]
    z = np.where(problem.cells, _lifted(multipliers, problem), -np.inf)
    excess = np.logaddexp.reduce(z, axis=3).max(axis=2)
    excess[np.isinf(excess)] = 0.0
    split = multipliers.reshape(len(z), -1, z.shape[3])
    held = problem.first * (split[:, :n_first] - excess[:, :, np.newaxis])
    return held.sum(axis=(1, 2)) + (problem.second * split[:, n_first:]).sum(axis=(1, 2))


def _step(
    problem: _Problem, q: Array, u: Array, multipliers: Array, counts: Array
) -> tuple[Array, Array, Array]:
    """Return the point after one step of Newton's method towards the central path."""
    n_batch, n_first, n_second, n_classes = q.shape
    cells = problem.cells
    target = 0.1 * (q * u).sum(axis=(1, 2, 3)) / counts
    inner = q / (1 + u)
    slack = (inner * u).sum(axis=3, keepdims=True)
    slack[slack == 0] = 1.0  # cells that hold nothing
    pull = np.divide(target[:, None, None, None], q, out=np.zeros_like(q), where=cells)
    pull += np.where(cells, _lifted(multipliers, problem) - _log_share(q), 0.0)

    def apply(w: Array) -> Array:
        """Return the inverse of the Hessian, a diagonal less a rank one, times w."""
        moved = inner * w
        return moved + inner * (moved.sum(axis=3, keepdims=True) / slack)

    blocks = inner[..., :, np.newaxis] * (inner / slack)[..., np.newaxis, :]
    np.einsum("...ii->...i", blocks)[...] += inner
    system = np.zeros((n_batch, n_first + n_second, n_classes, n_first + n_second, n_classes))
    ones, twos = np.arange(n_first), np.arange(n_first, n_first + n_second)
    system[:, ones, :, ones] = blocks.sum(axis=2).swapaxes(0, 1)
    system[:, twos, :, twos] = blocks.sum(axis=1).swapaxes(0, 1)
    system[:, :n_first, :, n_first:] = blocks.transpose(0, 1, 3, 2, 4)
    system[:, n_first:, :, :n_first] = blocks.transpose(0, 2, 4, 1, 3)
    moved = apply(pull)
    left = np.concatenate(
        [
            problem.first - (q + moved).sum(axis=2),
            problem.second - (q + moved).sum(axis=1),
        ],
        axis=1,
    )
    size = (n_first + n_second) * n_classes
    step = _solve(system.reshape(n_batch, size, size), left.reshape(n_batch, size), problem.idle)
    lifted = np.where(cells, _lifted(step, problem), 0.0)
    dq = apply(pull + lifted)
    safe = np.where(cells, q, 1.0)
    du = np.where(cells, (target[:, None, None, None] - u * dq) / safe - u, 0.0)
    length = np.minimum(_room(q, dq, cells), _room(u, du, cells))[:, None, None, None]
    return q + length * dq, u + length * du, multipliers + length[:, :, 0, 0] * step


def _solve(system: Array, right: Array, idle: Array) -> Array:
    """Solve the symmetric systems; what is idle stays 0."""
    system[np.broadcast_to(idle[:, :, np.newaxis] | idle[:, np.newaxis], system.shape)] = 0.0
    diagonal = np.einsum("bii->bi", system)
    diagonal[idle] = 1.0
    scale = 1 / np.sqrt(diagonal)
    system *= scale[:, :, np.newaxis] * scale[:, np.newaxis]
    diagonal += 1e-14
    right = np.where(idle, 0.0, right) * scale
    return np.linalg.solve(system, right[..., np.newaxis])[..., 0] * scale


def _room(values: Array, steps: Array, cells: Array) -> Array:
    """Return how much of a step may be taken so that all cells stay positive."""
    ratio = np.divide(-steps, values, out=np.zeros_like(values), where=cells)
    return np.minimum(1.0, 0.99 / np.maximum(ratio.max(axis=(1, 2, 3)), 1e-300))
