"""Kernel weights along a parameter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import clone

from .._validation import check_option
from ._base import BaseMKL, check_positive
from ._linear import BaseLinearMKL

__all__ = ["KernelPath", "mkl_path"]

COSTS = tuple(10.0 ** np.arange(-2, 3.5, 0.5))
NORMS = (1.0, 8 / 7, 4 / 3, 2.0, 4.0, np.inf)


class KernelPath(NamedTuple):
    """Kernel weights along a parameter, each with its certificate.

    Attributes
    ----------
    param : str
        The parameter.
    values : ndarray of shape (n_values,)
        Its values.
    kernel_names, kernel_modalities : list of str
        The kernels, and the modality that each sees.
    weights : ndarray of shape (n_values, n_kernels)
        theta at each value.
    objective : ndarray of shape (n_values,)
        The upper bound of each optimum.
    gap : ndarray of shape (n_values,)
        What it lies above the lower bound.
    n_solves : ndarray of int of shape (n_values,)
        The machines that were solved for each; of linear ones the passes over the rows.

    Examples
    --------
    >>> from mkfusion.datasets import load_multiple_features
    >>> from mkfusion.mkl import MKLClassifier, mkl_path
    >>> X, y = load_multiple_features(return_X_y=True)
    >>> path = mkl_path(MKLClassifier(), X[::10], y[::10], values=[0.1, 1.0])
    >>> path.weights.shape
    (2, 6)
    """

    param: str
    values: np.ndarray
    kernel_names: list[str]
    kernel_modalities: list[str]
    weights: np.ndarray
    objective: np.ndarray
    gap: np.ndarray
    n_solves: np.ndarray


def mkl_path(
    estimator: BaseMKL | BaseLinearMKL,
    X: Any,
    y: Any = None,
    *,
    param: str = "C",
    values: Sequence[float] | None = None,
    sample_weight: Any = None,
) -> KernelPath:
    """Return the kernel weights of an exact weighting along C or the norm.

    Kernels are made once, and each problem starts from the solution of the one before.

    Parameters
    ----------
    estimator : MKLClassifier, MKLRegressor, MKLOneClass, LinearMKLClassifier, LinearMKLRegressor
        With ``weighting="svm"`` or ``"exact"`` and weights that all classes share. It is cloned.
    X : DataFrame or array-like of shape (n_samples, n_features)
    y : array-like of shape (n_samples,)
        Not for MKLOneClass.
    param : {"C", "norm"}, default="C"
        The parameter. MKLOneClass has no C.
    values : sequence of float, default=None
        Its values, in the order in which they are solved. None is 0.01 to 1000 in half decades for
        C, and 1, 8/7, 4/3, 2, 4 and infinity for the norm.
    sample_weight : array-like of shape (n_samples,), default=None

    Returns
    -------
    path : KernelPath

    Raises
    ------
    TypeError, ValueError
        For an estimator whose weights are not learnt with the machine, and what its ``fit``
        refuses.

    Examples
    --------
    >>> from mkfusion.datasets import load_multiple_features
    >>> from mkfusion.mkl import MKLClassifier, mkl_path
    >>> X, y = load_multiple_features(return_X_y=True)
    >>> path = mkl_path(MKLClassifier(C=10), X[::10], y[::10], param="norm", values=[1, 2])
    >>> bool((path.weights[0] == 0).any()), bool((path.weights[1] > 0).all())
    (True, True)
    """
    if not isinstance(estimator, BaseMKL | BaseLinearMKL):
        raise TypeError(f"estimator must be one of mkfusion.mkl, got {type(estimator).__name__}")
    check_option("param", param, [name for name in ("C", "norm") if hasattr(estimator, name)])
    chosen = (COSTS if param == "C" else NORMS) if values is None else values
    numbers = np.array([_check_value(param, value) for value in chosen])
    if not len(numbers):
        raise ValueError("values is empty; give at least one value")
    if isinstance(estimator, BaseLinearMKL):
        return _linear_path(clone(estimator), X, y, param, numbers, sample_weight)
    fitted = clone(estimator)
    target = fitted._target_of(X, y, sample_weight)
    view = fitted._open(X, target)
    problems = fitted._problems(target)
    if fitted._way.weights is not None or len(problems) > 1 or fitted.solver != "newton":
        raise ValueError(
            "a path needs weights that are learnt with one machine: weighting='svm' or 'exact', "
            f"solver='newton', multi_class='shared' or 'ovo'; got {estimator!r}"
        )
    ((target, problem),) = problems
    solutions: list[Any] = []
    for number in numbers:
        fitted.set_params(**{param: number})
        costs = problem.costs * (number / estimator.C if param == "C" else 1.0)
        start = solutions[-1] if solutions else None
        solution = fitted._learn(view, target, problem._replace(costs=costs), start)
        fitted._warn_of(solution)
        solutions.append(solution)
    names, modalities = fitted.kernel_names_, fitted.kernel_modalities_
    solves = [solution.n_solves for solution in solutions]
    return _path(param, numbers, names, modalities, solutions, solves)


def _linear_path(
    estimator: BaseLinearMKL, X: Any, y: Any, param: str, numbers: np.ndarray, sample_weight: Any
) -> KernelPath:
    """Return the path of linear machines, whose rows are opened and looked at once."""
    opened = estimator._open(X, y, sample_weight)
    solutions: list[Any] = []
    for number in numbers:
        C, norm = (number, estimator.norm) if param == "C" else (estimator.C, number)
        start = solutions[-1] if solutions else None
        solutions.append(estimator._solve(opened, C, norm, start))
        estimator._warn_of(solutions[-1])
    estimator._keep(opened, solutions[-1])
    passes = [solution.n_passes for solution in solutions]
    names, modalities = estimator.kernel_names_, estimator.kernel_modalities_
    return _path(param, numbers, names, modalities, solutions, passes)


def _path(
    param: str,
    numbers: np.ndarray,
    names: Sequence[str],
    modalities: Sequence[str],
    solutions: Sequence[Any],
    solves: Sequence[int],
) -> KernelPath:
    return KernelPath(
        param,
        numbers,
        list(names),
        list(modalities),
        np.array([solution.theta for solution in solutions]),
        np.array([solution.objective for solution in solutions]),
        np.array([solution.gap for solution in solutions]),
        np.array(solves),
    )


def _check_value(param: str, value: Any) -> float:
    if param == "norm" and value == np.inf:
        return np.inf
    return check_positive("values", value)
