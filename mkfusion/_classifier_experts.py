"""Classifiers by modality: what they answer, their priors, their calibration."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from ._calibration import calibrate, calibration_by_name
from ._experts import Answer, BaseExperts
from ._folds import Split
from ._models import compares_pairs, refuse_kind, responds, trained_prior
from ._out_of_fold import OutOfFold, gather
from ._parallel import single_blas_thread
from ._validation import check_distribution, listed, warn

__all__ = ["ClassifierExperts", "answer_of"]


def answer_of(name: str, expert: Any, block: Any, responses: Mapping[str, str]) -> np.ndarray:
    """Return posteriors, margins (n_samples, 1) of two classes, or labels as posteriors."""
    found = np.asarray(getattr(expert, responses[name])(block))
    if responses[name] == "predict":
        return (found[:, None] == expert.classes_).astype(np.float64)
    found = found.astype(np.float64).reshape(len(found), -1)
    if responses[name] == "decision_function" and len(expert.classes_) > 2:
        _refuse_pairs(name, expert, found.shape[1])
    if not np.isfinite(found).all():
        raise ValueError(f"the model of modality {name!r} returned NaN")
    return found


def _refuse_pairs(name: str, expert: Any, n_margins: int) -> None:
    """Refuse margins of pairs of classes; of three classes there are as many as classes."""
    if n_margins != len(expert.classes_) or compares_pairs(expert):
        raise ValueError(
            f"the model of modality {name!r} gives a margin for each pair of classes, but its "
            "calibration needs one for each class; take decision_function_shape='ovr'"
        )


class ClassifierExperts(BaseExperts):
    """Classifiers that each hear one modality or more, and answer with posteriors."""

    _without_modality = "the priors"
    _otherwise = ""  # what a refusal offers instead of posteriors
    calibration: Any
    classes_: np.ndarray

    def _unfit(self, y: np.ndarray) -> str:
        if not len(y):
            return "is missing for every sample"
        return "has one class among its samples" if (y == y[0]).all() else ""

    def _calibration_methods(
        self, chosen: dict[str, Any], needing: str | None
    ) -> dict[str, str | None]:
        """Return how each expert is calibrated: by a sigmoid where it must, to have posteriors.

        ``needing`` names what needs them, and is None where labels are enough.
        """
        methods = calibration_by_name(self.calibration, list(chosen))
        for name, expert in chosen.items():
            refuse_kind(name, expert, "classifier")
            if responds(expert, "predict_proba"):
                continue
            if needing is None and methods[name] is None:
                continue
            if not responds(expert, "decision_function"):
                raise ValueError(
                    f"the model of modality {name!r} ({type(expert).__name__}) has neither "
                    "predict_proba nor decision_function, but "
                    f"{needing or 'calibration'} needs posteriors; take a classifier that has "
                    f"one of them{self._otherwise}"
                )
            methods[name] = methods[name] or "sigmoid"
        return methods

    def _responses(self, experts: Mapping[str, Any]) -> dict[str, str]:
        """Return the method by which each expert answers: margins where it is calibrated."""
        found = {}
        for name, expert in experts.items():
            if self._methods[name] and responds(expert, "decision_function"):
                found[name] = "decision_function"
            else:
                found[name] = "predict_proba" if responds(expert, "predict_proba") else "predict"
        return found

    def _check_expert_priors(
        self,
        y: np.ndarray,
        weight: np.ndarray | None,
        masks: dict[str, np.ndarray],
        given: Any = None,
    ) -> np.ndarray:
        """Return the prior that each fitted expert carries, or the one given for it."""
        given = {} if given is None else given
        if not isinstance(given, Mapping):
            raise TypeError(
                "expert_priors must be a mapping from modalities to priors, "
                f"got {type(given).__name__}"
            )
        unknown = [name for name in given if name not in self._voices()]
        if unknown:
            raise ValueError(f"expert_priors names {listed(unknown)}, which is no modality of X")
        priors = []
        for name, expert in self.named_estimators_.items():
            rows = masks[name]
            # Sigmoids and isotonic steps calibrate to the weighted frequencies of the classes.
            keeps_own = self._methods[name] in (None, "temperature")
            given_weights = name in self._weighted or not keeps_own
            took = None if weight is None or not given_weights else weight[rows]
            prior = trained_prior(expert, y[rows], took, self.classes_, stated=keeps_own)
            if name in given:
                stated = check_distribution(
                    f"expert_priors[{name!r}]", given[name], len(self.classes_)
                )
                prior = np.where(prior > 0, stated, 0.0)
            priors.append(prior)
        return np.array(priors)

    def _gather(
        self,
        y: np.ndarray,
        splits: list[Split],
        groups: np.ndarray | None,
        answers: dict[tuple[int, str], Answer],
    ) -> OutOfFold:
        responses = self._responses(self.named_estimators_)
        classes = {name: expert.classes_ for name, expert in self.named_estimators_.items()}
        margins = [name for name in self._kept if responses[name] == "decision_function"]
        widths = {
            name: 1 if name in margins and len(own) == 2 else len(own)
            for name, own in classes.items()
        }
        told = gather(answers, splits, widths, groups, classes, y, margins)
        lost = sum(len(test) for _, test in splits) - len(told.rows)
        if lost:
            warn(
                f"{lost} samples are left out of what is learnt out of fold: a model of their "
                "fold had no sample of their class; take fewer folds, or other groups"
            )
        return told

    def _posteriors(self, table: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return posteriors (n_experts, n_samples, n_classes), 0 where absent, and the mask."""
        responses = self._responses(self.named_estimators_)
        answers, mask = self._ask(table, partial(answer_of, responses=responses))
        posteriors = np.zeros((*mask.shape, len(self.classes_)))
        for place, (name, answer, rows) in enumerate(zip(self._kept, answers, mask, strict=True)):
            if answer is None:
                continue
            if name in self.calibrators_:
                with single_blas_thread:
                    answer = calibrate(self.calibrators_[name], answer)
            classes = np.searchsorted(self.classes_, self.estimators_[place].classes_)
            posteriors[place][np.ix_(rows, classes)] = answer
        return posteriors, mask
