"""The machines whose kernel weights can be learnt: each solved on one combined kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ._ridge import solve_ridge
from ._smo import solve_one_class, solve_svms, solve_svr
from ._tasks import TASKS, Task

__all__ = ["MACHINES", "Machine", "Problems"]

Array = np.ndarray


class Problems(NamedTuple):
    """The data of the machines that share one combined kernel."""

    Y: Array  # shape: (n_problems, n_samples)
    C: Array  # shape: (n_problems, n_samples)
    epsilon: float


class Machine(NamedTuple):
    """How to solve the problems of one task, and what its second derivatives need.

    Attributes
    ----------
    task : Task
        The loss and its dual.
    solve : callable
        (K, problems, coef, tol, options) to the new coefficients, of shape (n_problems,
        n_samples); tol is a violation in the unit of the decision.
    free : callable
        (coef, C, low, high) of one problem to the samples between their bounds.
    quadratic : bool
        Whether the dual has a term ``-coef_i^2 / (2 C_i)`` of its own.
    """

    task: Task
    solve: Callable[[Array, Problems, Array | None, float, dict[str, Any]], Array]
    free: Callable[[Array, Array, Array, Array], Array]
    quadratic: bool = False


def _svm(
    K: Array, problems: Problems, coef: Array | None, tol: float, options: dict[str, Any]
) -> Array:
    alpha = None if coef is None else coef * problems.Y
    machines = solve_svms(K, problems.Y, problems.C, tol=tol, alpha=alpha, **options)
    return np.array([machine.alpha for machine in machines]) * problems.Y


def _svr(
    K: Array, problems: Problems, coef: Array | None, tol: float, options: dict[str, Any]
) -> Array:
    options = {key: value for key, value in options.items() if key != "n_threads"}
    return np.array(
        [
            solve_svr(
                K, y, C, problems.epsilon, tol=tol, alpha=None if coef is None else coef[p],
                **options,
            ).alpha
            for p, (y, C) in enumerate(zip(problems.Y, problems.C, strict=True))
        ]
    )  # fmt: skip


def _one_class(
    K: Array, problems: Problems, coef: Array | None, tol: float, options: dict[str, Any]
) -> Array:
    """Solve in libsvm's scale, where the weights are of order 1, and divide by their sum."""
    options = {key: value for key, value in options.items() if key != "n_threads"}
    C = problems.C[0]
    unit = float(C.max())
    solution = solve_one_class(
        K, 1 / float(C.sum()), sample_weight=C / unit, tol=tol / unit,
        alpha=None if coef is None else coef[0] / unit, **options,
    )  # fmt: skip
    return solution.alpha[None] * unit


def _ridge(
    K: Array, problems: Problems, coef: Array | None, tol: float, options: dict[str, Any]
) -> Array:
    check = options.get("check_finite", True)
    return solve_ridge(
        K, problems.Y.T, 1.0, sample_weight=problems.C[0], fit_intercept=True, check_finite=check
    ).coef.T


def _between(coef: Array, C: Array, low: Array, high: Array) -> Array:
    return (coef > low) & (coef < high) & (coef != 0)


def _all(coef: Array, C: Array, low: Array, high: Array) -> Array:
    return C > 0


#: Every machine by the name of its task.
MACHINES: dict[str, Machine] = {
    "svm": Machine(TASKS["svm"], _svm, _between),
    "svr": Machine(TASKS["svr"], _svr, _between),
    "one_class": Machine(TASKS["one_class"], _one_class, _between),
    "ridge": Machine(TASKS["ridge"], _ridge, _all, quadratic=True),
}
