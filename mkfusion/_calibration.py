"""Calibration of answers that stand already: scores in, posteriors out."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator

from ._validation import check_option, listed

__all__ = ["METHODS", "calibrate", "calibration_by_name", "fit_calibrator"]

METHODS = ("sigmoid", "isotonic", "temperature")


class _Answers(ClassifierMixin, BaseEstimator):
    """A classifier whose input is what a classifier answered."""

    def __init__(self, classes: np.ndarray) -> None:
        self.classes = classes

    @property
    def classes_(self) -> np.ndarray:
        return self.classes

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def fit(self, X: Any, y: Any) -> Any:
        return self

    def predict(self, X: Any) -> np.ndarray:
        if X.shape[1] == 1:
            return self.classes[(X[:, 0] > 0).astype(int)]
        return self.classes[X.argmax(axis=1)]


class Margins(_Answers):
    """Its input is a decision function, of shape (n_samples, 1) for two classes."""

    def decision_function(self, X: Any) -> np.ndarray:
        return X[:, 0] if X.shape[1] == 1 else X


class Posteriors(_Answers):
    """Its input is posteriors."""

    def predict_proba(self, X: Any) -> np.ndarray:
        return X


def fit_calibrator(
    answers: np.ndarray,
    y: np.ndarray,
    sample_weight: np.ndarray | None,
    *,
    method: str,
    response: str,
    classes: np.ndarray,
) -> Any:
    """Fit scikit-learn's calibrator of that method on out-of-fold answers.

    It gets places instead of labels: for a temperature it would take numbers as places itself,
    and read beyond its arrays where they are not 0, 1, 2 and so on.
    """
    rows, places = np.arange(len(y)), np.arange(len(classes))
    answering = Margins if response == "decision_function" else Posteriors
    model = CalibratedClassifierCV(
        FrozenEstimator(answering(places)),
        method=method,
        cv=[(rows, rows)],
        ensemble=False,
    )
    with warnings.catch_warnings():
        # The answers stand already: weights are for the calibration only, as is meant.
        warnings.filterwarnings("ignore", message="Since FrozenEstimator does not appear")
        model.fit(answers, np.searchsorted(classes, y), sample_weight=sample_weight)
    model.classes_ = classes
    return model


def calibrate(calibrator: Any, answers: np.ndarray) -> np.ndarray:
    """Return the calibrated posteriors of shape (n_samples, n_classes)."""
    if not len(answers):
        return np.empty((0, len(calibrator.classes_)))
    return calibrator.predict_proba(answers)


def calibration_by_name(calibration: Any, names: Sequence[str]) -> dict[str, str | None]:
    """Return the method of each expert: one for all, or a mapping by name."""
    if isinstance(calibration, Mapping):
        unknown = [name for name in calibration if name not in names]
        if unknown:
            raise ValueError(
                f"calibration names {listed(unknown)}, which is no expert; "
                f"the experts are {listed(names, 30)}"
            )
        chosen = {name: calibration.get(name) for name in names}
    else:
        chosen = dict.fromkeys(names, calibration)
    for name, method in chosen.items():
        label = f"calibration[{name!r}]" if isinstance(calibration, Mapping) else "calibration"
        check_option(label, method, [None, *METHODS])
    return chosen
