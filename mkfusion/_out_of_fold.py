"""What experts answer out of fold: put together, and calibrated without a look at the label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ._calibration import calibrate, fit_calibrator
from ._experts import Answer
from ._folds import Split
from ._parallel import single_blas_thread

__all__ = ["OutOfFold", "calibrated_posteriors", "gather", "out_of_reach"]


class OutOfFold(NamedTuple):
    """The answers of all experts, fold after fold; a row stands as often as it is tested."""

    rows: np.ndarray  # shape: (n_answers,)
    folds: np.ndarray  # shape: (n_answers,)
    units: np.ndarray  # shape: (n_answers,), the group of each row, or the row
    values: list[np.ndarray]  # of each expert, shape: (n_answers, width), 0 where not asked
    asked: np.ndarray  # shape: (n_experts, n_answers)

    def take(self, kept: np.ndarray) -> OutOfFold:
        """Return some of the answers."""
        values = [own[kept] for own in self.values]
        few = self.rows[kept], self.folds[kept], self.units[kept]
        return OutOfFold(*few, values, self.asked[:, kept])

    def others(self, fold: int) -> np.ndarray:
        """Return the answers that may teach what a fold is asked.

        Where folds are repeated, those about the same rows, or groups, lie in other folds too.
        """
        return ~np.isin(self.units, self.units[self.folds == fold])


def gather(
    answers: Mapping[tuple[int, str], Answer],
    splits: Sequence[Split],
    widths: Mapping[str, int],
    groups: np.ndarray | None = None,
    classes: Mapping[str, np.ndarray] | None = None,
    y: np.ndarray | None = None,
    whole: Sequence[str] = (),
) -> OutOfFold:
    """Put the answers of the folds together.

    An expert of a fold may not have seen all classes. Its posteriors of the others are 0; the
    answers of those named in ``whole``, which are no posteriors, do not count then. A row whose
    class was not there to be learnt in its fold is left out: it would teach that models err.
    """
    rows = np.concatenate([test for _, test in splits])
    folds = np.repeat(np.arange(len(splits)), [len(test) for _, test in splits])
    starts = np.cumsum([0, *(len(test) for _, test in splits)])
    values = [np.zeros((len(rows), width)) for width in widths.values()]
    asked = np.zeros((len(widths), len(rows)), bool)
    lost = np.zeros(len(rows), bool)
    for expert, name in enumerate(widths):
        for fold, (_, test) in enumerate(splits):
            answer = answers.get((fold, name))
            if answer is None:
                continue
            places = starts[fold] + np.searchsorted(test, answer.rows)
            if classes is None or answer.classes is None or y is None:
                values[expert][places] = answer.values
            else:
                lost[places] |= ~np.isin(y[answer.rows], answer.classes)
                if len(answer.classes) == len(classes[name]):
                    values[expert][places] = answer.values
                elif name in whole:
                    continue
                else:
                    columns = np.searchsorted(classes[name], answer.classes)
                    values[expert][np.ix_(places, columns)] = answer.values
            asked[expert, places] = True
    units = rows if groups is None else groups[rows]
    return OutOfFold(rows, folds, units, values, asked).take(~lost)


def calibrated_posteriors(
    told: OutOfFold,
    experts: Mapping[str, Any],
    methods: Mapping[str, str | None],
    responses: Mapping[str, str],
    classes: np.ndarray,
    y: np.ndarray,
    sample_weight: np.ndarray | None,
) -> tuple[np.ndarray, dict[str, Any]]:
    """Return posteriors (n_experts, n_answers, n_classes), and the calibrators by name.

    ``y`` and ``sample_weight`` are those of the training samples.
    """
    labels = y[told.rows]
    weight = None if sample_weight is None else sample_weight[told.rows]
    posteriors = np.zeros((*told.asked.shape, len(classes)))
    calibrators: dict[str, Any] = {}
    for place, (name, expert) in enumerate(experts.items()):
        values, asked = told.values[place], told.asked[place]
        if methods[name]:
            missing = np.setdiff1d(expert.classes_, labels[asked])
            if len(missing):
                raise ValueError(
                    f"the model of modality {name!r} cannot be calibrated out of fold: "
                    f"{out_of_reach(missing, y, sample_weight)}; add samples, or take a "
                    "classifier that has predict_proba, with calibration=None"
                )
            how = {
                "method": methods[name],
                "response": responses[name],
                "classes": expert.classes_,
            }
            with single_blas_thread:
                values, calibrators[name] = _cross_calibrated(told, place, labels, weight, how)
        columns = np.searchsorted(classes, expert.classes_)
        posteriors[place][np.ix_(asked, columns)] = values[asked]
    return posteriors, calibrators


def out_of_reach(missing: np.ndarray, y: np.ndarray, sample_weight: np.ndarray | None) -> str:
    """Say of which classes there are no answers out of fold, and why."""
    counted = y if sample_weight is None else y[sample_weight > 0]
    names = [repr(label.item() if isinstance(label, np.generic) else label) for label in missing]
    counts = [int((counted == label).sum()) for label in missing]
    shown = ", ".join(
        f"{name} ({count} sample{'s' * (count != 1)})"
        for name, count in list(zip(names, counts, strict=True))[:3]
    )
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return (
        "that needs at least 2 samples of each class, in 2 folds, and of class "
        f"{shown}{more} none could be learnt in one fold and asked in another"
    )


def _cross_calibrated(
    told: OutOfFold,
    place: int,
    y: np.ndarray,
    sample_weight: np.ndarray | None,
    how: dict[str, Any],
) -> tuple[np.ndarray, Any]:
    """Return an expert's calibrated answers, and the calibrator for answers to come.

    The answers of a fold are calibrated by what the other folds teach, as long as these have
    all classes.
    """
    values, asked = told.values[place], told.asked[place]
    final = _fit(values, asked, y, sample_weight, how)
    calibrated = np.zeros((len(values), len(how["classes"])))
    for fold in np.unique(told.folds[asked]):
        own, others = asked & (told.folds == fold), asked & told.others(fold)
        enough = len(np.unique(y[others])) == len(how["classes"])
        calibrator = _fit(values, others, y, sample_weight, how) if enough else final
        calibrated[own] = calibrate(calibrator, values[own])
    return calibrated, final


def _fit(
    values: np.ndarray,
    chosen: np.ndarray,
    y: np.ndarray,
    sample_weight: np.ndarray | None,
    how: dict[str, Any],
) -> Any:
    weight = None if sample_weight is None else sample_weight[chosen]
    return fit_calibrator(values[chosen], y[chosen], weight, **how)
