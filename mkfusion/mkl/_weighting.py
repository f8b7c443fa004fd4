"""Ways to weigh kernels, by name: what each learns the weights from, and how kernels combine.

The exact problems, ``"svm"`` and ``"exact"``, learn the weights with the machine; all others
choose them first. A way of one's own is a function ``(kernels, y)`` that returns them.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from sklearn.model_selection import StratifiedKFold

from .._validation import check_weight_vector, listed, warn
from ..solvers import alignment_terms, solve_alignment, solve_easy, solve_svms
from ._target import Target
from ._view import KernelView

__all__ = ["WEIGHTINGS", "Weighting", "find_weights", "get_weighting"]

Array = np.ndarray

FOLDS = 3  # of the accuracy of single kernels


class Weighting(NamedTuple):
    """A way to weigh kernels, and its traits.

    Attributes
    ----------
    weights : callable or None
        (kernels, target) to non-negative weights; None where the machine learns them.
    targets : frozenset of str
        Of "classes", "numbers" and "none", those that it can do with.
    form : {"linear", "product", "quadratic"}
        ``sum_m w_m K_m``, the product of the K_m, or ``(sum_m w_m K_m)^2``, entry by entry.
    asks : bool
        Whether the weights are found by asking the kernels again and again.
    serves : bool
        Whether that can be done without a whole matrix.
    """

    weights: Callable[[KernelView, Target], Array] | None
    targets: frozenset[str]
    form: str = "linear"
    asks: bool = True
    serves: bool = True


def uniform(kernels: KernelView, target: Any = None) -> Array:
    """Return 1 / M for each."""
    return np.full(kernels.n_kernels, 1 / kernels.n_kernels)


def accuracy(kernels: KernelView, target: Target) -> Array:
    """Return by how much each kernel's own machine beats the largest class, out of fold."""
    used = np.flatnonzero(target.costs > 0)
    codes, weights, costs = target.codes[used], target.weights[used], target.costs[used]
    smallest = int(np.bincount(codes)[np.unique(codes)].min())
    if smallest < 2:
        raise ValueError(
            "weighting='accuracy' needs at least 2 samples of every class, and the smallest has "
            f"{smallest}; use weighting='uniform'"
        )
    signs = target.signs()[:, used]
    drawn = target.random_state
    splitter = StratifiedKFold(min(FOLDS, smallest), shuffle=drawn is not None, random_state=drawn)
    folds = list(splitter.split(used, codes))
    share = np.bincount(codes, weights).max() / weights.sum()
    gains = np.zeros(kernels.n_kernels)
    for m, single in enumerate(np.eye(kernels.n_kernels)):
        K = kernels.combine(single)[np.ix_(used, used)]
        right = np.zeros(len(used), bool)
        for train, test in folds:
            part, Y = K[np.ix_(train, train)], signs[:, train]
            machines = solve_svms(part, Y, costs[train], n_threads=target.n_threads)
            beta = np.array([machine.alpha for machine in machines]) * Y
            scores = K[np.ix_(test, train)] @ beta.T + [machine.bias for machine in machines]
            found = scores[:, 0] > 0 if len(signs) == 1 else scores.argmax(axis=1)
            right[test] = found == codes[test]
        gains[m] = max(0.0, float(weights @ right / weights.sum()) - share)
    return _or_uniform(gains, "no kernel's own machine beats the largest class")


def alignment(kernels: KernelView, target: Target) -> Array:
    """Return each kernel's own centred alignment with the target."""
    terms = alignment_terms(kernels.rows(), target.features(), sample_weight=target.weights)
    sizes = np.sqrt(np.maximum(terms.products.diagonal(), 0.0)) * terms.target_norm
    found = np.divide(terms.targets, sizes, out=np.zeros(len(sizes)), where=sizes > 0)
    return _or_uniform(np.maximum(found, 0.0), "no kernel is aligned with the target")


def alignf(kernels: KernelView, target: Target) -> Array:
    """Return the weights with the largest alignment."""
    return _aligned(kernels, target, "cone")


def alignment_qp(kernels: KernelView, target: Target) -> Array:
    """Return the weights on the simplex nearest to the target."""
    return _aligned(kernels, target, "simplex")


def _aligned(kernels: KernelView, target: Target, constraint: str) -> Array:
    terms = alignment_terms(kernels.rows(), target.features(), sample_weight=target.weights)
    solution = solve_alignment(terms.products, terms.targets, constraint=constraint)
    found = np.zeros(kernels.n_kernels) if solution.uniform else solution.weights
    return _or_uniform(found, "no kernel is aligned with the target")


def easy(kernels: KernelView, target: Target) -> Array:
    """Return ``sum_c gamma_c' Y_c K_m Y_c gamma_c``, with EasyMKL's gamma for each class c."""
    used = np.flatnonzero(target.costs > 0)
    K = kernels.combine(np.ones(kernels.n_kernels))
    if len(used) < len(K):
        K = K[np.ix_(used, used)]
    signs = target.signs()[:, used]
    vectors = np.zeros((kernels.n_samples, len(signs)))
    for c, Y in enumerate(signs):
        if len(np.unique(Y)) == 2:
            vectors[used, c] = solve_easy(K, Y, lam=target.lam).gamma * Y
    forms = np.maximum(kernels.quadratic_forms(vectors).sum(axis=1), 0.0)
    return _or_uniform(forms, "no kernel separates the classes")


def _or_uniform(found: Array, why: str) -> Array:
    if found.any():
        return found
    warn(f"{why}: the weights are uniform")
    return np.ones_like(found)


_CLASSES = frozenset({"classes"})
_SUPERVISED = frozenset({"classes", "numbers"})
_ANY = frozenset({"classes", "numbers", "none"})

#: Every way to weigh kernels by its name.
WEIGHTINGS: dict[str, Weighting] = {
    "svm": Weighting(None, _CLASSES),
    "exact": Weighting(None, frozenset({"numbers", "none"})),
    "uniform": Weighting(uniform, _ANY, asks=False),
    "accuracy": Weighting(accuracy, _CLASSES, serves=False),
    "alignment": Weighting(alignment, _SUPERVISED),
    "alignf": Weighting(alignf, _SUPERVISED),
    "alignment_qp": Weighting(alignment_qp, _SUPERVISED),
    "easy": Weighting(easy, _CLASSES, serves=False),
    "product": Weighting(uniform, _ANY, "product", asks=False),
    "quadratic": Weighting(uniform, _ANY, "quadratic", asks=False),
}


def get_weighting(weighting: Any, target: str) -> Weighting:
    """Return the way to weigh for a name, a function of one's own, or weights by kernel."""
    able = [name for name, way in WEIGHTINGS.items() if target in way.targets]
    if isinstance(weighting, str) and weighting in able:
        return WEIGHTINGS[weighting]
    if weighting is None or isinstance(weighting, str | type | numbers.Number):
        raise ValueError(
            f"weighting must be one of {listed(able, 30)}, one weight for each kernel, or a "
            f"function (kernels, y), got {weighting!r}"
        )
    if callable(weighting) and not isinstance(weighting, Mapping):
        return Weighting(partial(_called, weighting), _ANY, asks=False)
    return Weighting(partial(_given, weighting), _ANY, asks=False)


def _called(
    function: Callable[[KernelView, Any], Any], kernels: KernelView, target: Target
) -> Any:
    return function(kernels, target.y)


def _given(weights: Any, kernels: KernelView, target: Target) -> Any:
    return weights


def find_weights(
    weighting: Weighting, kernels: KernelView, target: Target, names: Sequence[str]
) -> Array:
    """Return the weights that a way finds, divided by their sum."""
    assert weighting.weights is not None
    found = check_weight_vector("weighting", weighting.weights(kernels, target), names)
    if found.ndim != 1 or not found.any():
        raise ValueError(
            f"weighting must give one number for each of {listed(names, 30)}, not all 0, got "
            f"{found.tolist()}"
        )
    return found / found.sum()
