"""Multiple kernel learning on columns of every kind, as a comparison tries it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import sklearn

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


def kernel_fusion(
    way: Way, task: str, modalities: Mapping[str, Sequence[Any]], encoders: Mapping[str, Any]
) -> Any:
    """Return an unfitted estimator for the whole table, None for another task.

    The kernels are on what transformers make of the modalities. A late fusion of this one model
    makes its decisions probabilities, from answers out of fold, and answers for samples that have
    no modality at all.
    """
    if task not in way.tasks:
        return None
    joined = ModalityConcatenator(list(encoders.items()), modalities, allow_overlap=True)
    steps = [joined, sklearn.impute.SimpleImputer(keep_empty_features=True)]
    for step in steps:  # the names of the columns say whose they are
        step.set_output(transform="pandas")
    classes = task == "classification"
    learner = (MKLClassifier if classes else MKLRegressor)(**way.params)
    fusion = LateFusionClassifier if classes else LateFusionRegressor
    whole = {"kernels": slice(None)}
    decided = fusion(modalities=whole, estimator=learner, rule="mean", cv=FOLDS)
    return sklearn.pipeline.make_pipeline(*steps[: 1 + way.complete], decided)
