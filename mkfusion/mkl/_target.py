"""What kernel weights and machines are learnt from: classes or numbers, costs, weights."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from sklearn.utils import compute_class_weight
from sklearn.utils.validation import _num_samples

from .._validation import (
    check_class_target,
    check_lengths,
    check_numeric_target,
    listed,
    sample_weights,
)

__all__ = ["Target", "class_target", "number_target", "unit_weights"]

Array = np.ndarray

LARGEST = 1e120  # of y, so that n squares of it can be summed


class Target(NamedTuple):
    """What supervised weightings learn from.

    Attributes
    ----------
    kind : {"classes", "numbers", "none"}
    y : ndarray of shape (n_samples,) or (n_samples, n_outputs), or None
        The labels or numbers as the user gave them.
    codes : ndarray of int of shape (n_samples,) or None
        The position of each label among the classes; None for numbers.
    costs : ndarray of shape (n_samples,)
        C of each sample.
    weights : ndarray of shape (n_samples,)
        Of the samples; those of classes are not among them.
    lam : float
        lambda of EasyMKL.
    n_threads : int
    random_state : int, RandomState instance or None
        Draws the folds of "accuracy"; None takes the samples in their order.
    """

    kind: str
    y: Any
    codes: Any
    costs: Array
    weights: Array
    lam: float = 0.1
    n_threads: int = 1
    random_state: Any = None

    @property
    def n_classes(self) -> int:
        return int(self.codes.max()) + 1

    def signs(self) -> Array:
        """Return -1 and 1 of each class against the rest, of two classes of the second only."""
        classes = range(self.n_classes) if self.n_classes > 2 else [1]
        return np.array([np.where(self.codes == c, 1.0, -1.0) for c in classes])

    def features(self) -> Array:
        """Return features whose inner products are the ideal kernel."""
        if self.codes is None:
            return np.asarray(self.y, dtype=np.float64).reshape(len(self.weights), -1)
        return np.eye(self.n_classes)[self.codes] * np.sqrt(self.n_classes / (self.n_classes - 1))


def unit_weights(X: Any, sample_weight: Any) -> Array:
    """Return the weight of each sample, 1 where none are given."""
    weight = sample_weights(sample_weight, X)
    return np.ones(_num_samples(X)) if weight is None else weight


def number_target(X: Any, y: Any, sample_weight: Any, C: float) -> Target:
    """Return numbers to be learnt."""
    values = check_numeric_target(y)
    check_lengths(X=X, y=values)
    largest = float(np.abs(values).max(initial=0.0))
    if largest > LARGEST:
        raise ValueError(f"y goes up to {largest:.3g}, whose squares overflow; rescale y")
    weights = unit_weights(X, sample_weight)
    return Target("numbers", values, None, C * weights, weights)


def class_target(
    X: Any, y: Any, sample_weight: Any, C: float, *, class_weight: Any = None, **settings: Any
) -> Target:
    """Return classes to be learnt; refuse what leaves fewer than two."""
    labels = check_class_target(y)
    check_lengths(X=X, y=labels)
    weights = unit_weights(X, sample_weight)
    classes, codes = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(
            f"y has one class ({listed(classes)}); a classifier needs at least two classes"
        )
    costs = C * weights * _weights_of(class_weight, classes, labels, weights)[codes]
    counted = classes[np.unique(codes[costs > 0])]
    if len(counted) < 2:
        raise ValueError(
            f"of the classes {listed(classes)} sample_weight and class_weight leave "
            f"{listed(counted)}; a classifier needs at least two classes"
        )
    return Target("classes", labels, codes, costs, weights, **settings)


def _weights_of(class_weight: Any, classes: Array, labels: Array, weights: Array) -> Array:
    """Return the weight of each class, 0 where all its samples have weight 0."""
    with np.errstate(divide="ignore"):
        found = compute_class_weight(
            class_weight, classes=classes, y=labels, sample_weight=weights
        )
    seen = np.isin(classes, labels[weights > 0])
    wrong = np.flatnonzero(seen & ~((found >= 0) & np.isfinite(found)))
    if wrong.size:
        raise ValueError(
            f"class_weight must be finite and not negative, got {found[wrong[0]]} for class "
            f"{listed(classes[wrong[:1]])}"
        )
    return np.where(seen, found, 0.0)
