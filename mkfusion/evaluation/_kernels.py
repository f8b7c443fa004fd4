"""Multiple kernel learning on columns of every kind, as a comparison tries it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import sklearn
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

from ..early import ModalityConcatenator
from ..late import LateFusionClassifier, LateFusionRegressor
from ..mkl import MKLClassifier, MKLRegressor

__all__ = ["KERNEL_FUSIONS", "kernel_fusion"]

FOLDS = 3  # of the answers that make decisions probabilities


class Way(NamedTuple):
    """How kernels are weighed, and for which task."""

    tasks: tuple[str, ...]
    params: Mapping[str, Any]
    complete: bool = False  # it multiplies kernels, which none may lack: absent ones are imputed


_BOTH = ("classification", "regression")

#: By name the ways to weigh kernels; a name ends in the norm where that is not 1.
KERNEL_FUSIONS = {
    "mkl:uniform": Way(_BOTH, {"weighting": "uniform"}),
    "mkl:alignf": Way(_BOTH, {"weighting": "alignf"}),
    "mkl:svm": Way(_BOTH[:1], {"weighting": "svm"}),
    "mkl:svm:p2": Way(_BOTH[:1], {"weighting": "svm", "norm": 2}),
    "mkl:exact": Way(_BOTH[1:], {"weighting": "exact"}),
    "mkl:exact:p2": Way(_BOTH[1:], {"weighting": "exact", "norm": 2}),
    "mkl:product": Way(_BOTH, {"weighting": "product"}, complete=True),
}


@contextmanager
def _without_word_of_the_silent() -> Iterator[None]:
    """Ignore that samples lack modalities: the comparison counts them in a table."""
    with warnings.catch_warnings():
        for what in ("none of the modalities", "no modality whose kernel has a weight"):
            warnings.filterwarnings("ignore", message=f".* samples have {what}")
        yield


class _EncodedKernels(BaseEstimator):
    """Multiple kernel learning on what transformers make of the modalities.

    A late fusion of this one model makes its decisions probabilities, from answers out of fold,
    and answers for samples that have no modality at all.
    """

    _learner: type
    _fusion: type

    def __init__(self, way: Way, modalities: Any, transformers: Any) -> None:
        self.way = way
        self.modalities = modalities
        self.transformers = transformers

    def fit(self, X: Any, y: Any) -> Any:
        joined = ModalityConcatenator(self.transformers, self.modalities, allow_overlap=True)
        imputer = sklearn.impute.SimpleImputer(keep_empty_features=True)
        self.encoder_ = sklearn.pipeline.make_pipeline(
            joined, imputer if self.way.complete else "passthrough"
        )
        Z = self.encoder_.fit_transform(X, y)
        learner = self._learner(modalities=joined.output_slices_, **self.way.params)
        whole = {"kernels": slice(None)}
        self.fusion_ = self._fusion(modalities=whole, estimator=learner, rule="mean", cv=FOLDS)
        with _without_word_of_the_silent():
            self.fusion_.fit(Z, y)
        return self

    def predict(self, X: Any) -> np.ndarray:
        with _without_word_of_the_silent():
            return self.fusion_.predict(self.encoder_.transform(X))


class _EncodedKernelsClassifier(ClassifierMixin, _EncodedKernels):
    _learner, _fusion = MKLClassifier, LateFusionClassifier

    @property
    def classes_(self) -> np.ndarray:
        return self.fusion_.classes_

    def predict_proba(self, X: Any) -> np.ndarray:
        with _without_word_of_the_silent():
            return self.fusion_.predict_proba(self.encoder_.transform(X))


class _EncodedKernelsRegressor(RegressorMixin, _EncodedKernels):
    _learner, _fusion = MKLRegressor, LateFusionRegressor


def kernel_fusion(
    way: Way, task: str, modalities: Mapping[str, Sequence[int]], encoders: Mapping[str, Any]
) -> Any:
    """Return an unfitted estimator for the whole table, None for another task."""
    if task not in way.tasks:
        return None
    classes = task == "classification"
    encoded = _EncodedKernelsClassifier if classes else _EncodedKernelsRegressor
    return encoded(way, modalities, list(encoders.items()))
