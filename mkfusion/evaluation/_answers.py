"""What a strategy answers for the test rows of a split, and what is kept of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import sklearn
from sklearn.base import BaseEstimator


class Said(BaseEstimator):
    """Answers that stand already, in the shape that a scorer asks for."""

    def __init__(self, predictions: Any, probabilities: Any = None, classes: Any = None) -> None:
        self.predictions, self.probabilities, self.classes_ = predictions, probabilities, classes

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.estimator_type = "regressor" if self.classes_ is None else "classifier"
        return tags

    def predict(self, X: Any) -> np.ndarray:
        return self.predictions

    def predict_proba(self, X: Any) -> np.ndarray:
        return self.probabilities


def loss(said: Any, y: np.ndarray) -> float:
    """Return the log loss of posteriors, the root mean squared error of numbers."""
    if not isinstance(said, Said):
        return np.nan
    if said.classes_ is None:
        return sklearn.metrics.root_mean_squared_error(y, said.predictions)
    return sklearn.metrics.log_loss(y, said.probabilities, labels=said.classes_)


class Answers(NamedTuple):
    """What the tables need of a strategy's answers: three numbers a row, not all posteriors."""

    predicted: np.ndarray  # numbers, or codes of labels with -1 for what is no label of y
    confidence: np.ndarray  # the highest posterior; NaN without posteriors
    right: np.ndarray  # whether that is the posterior of the true label


def keep(said: Any, X: Any, y: np.ndarray, classes: Any) -> Answers:
    """Return what is kept of the answers for rows X with targets y."""
    predicted, unknown = said.predict(X), np.full(len(y), np.nan)
    if classes is None:
        return Answers(np.asarray(predicted), unknown, unknown)
    codes = pd.Index(classes).get_indexer(np.asarray(predicted).reshape(len(y)))
    if not isinstance(said, Said):
        return Answers(codes, unknown, unknown)
    top = said.probabilities.argmax(axis=1)
    return Answers(codes, said.probabilities.max(axis=1), top == np.searchsorted(classes, y))


def pooled(parts: Sequence[Answers]) -> Answers:
    """Return the answers of several splits one after another."""
    return Answers(*map(np.concatenate, zip(*parts, strict=True)))
