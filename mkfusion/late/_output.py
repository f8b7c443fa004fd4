"""Calibration of fused posteriors, by which experts there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np

from .._calibration import calibrate, fit_calibrator
from .._out_of_fold import OutOfFold, out_of_reach
from .._stored import ByTuple

__all__ = ["calibrate_output", "fit_output_calibrators", "likely_patterns"]

Pattern = tuple[str, ...]

_MANY = 6  # up to here every subset of the modalities has a calibrator
_FEWEST_ROWS = 30


def fit_output_calibrators(
    fused: Callable[[np.ndarray, np.ndarray], np.ndarray],
    told: OutOfFold,
    expected: np.ndarray,
    names: Sequence[str],
    y: np.ndarray,
    sample_weight: np.ndarray | None,
    *,
    method: str,
    classes: np.ndarray,
) -> ByTuple:
    """Fit a calibrator for every pattern of experts; ``()`` names the one for all the others.

    ``fused(mask, rows)`` fuses some of the out-of-fold answers. A sample teaches of its own
    pattern, and of the patterns ``expected`` that leave out experts which it has.
    """

    asked, labels = told.asked, y[told.rows]
    weights = None if sample_weight is None else sample_weight[told.rows]

    def fit(mask: Any, rows: Any) -> Any:
        if len(np.unique(labels[rows])) < len(classes):
            return None
        weight = None if weights is None else weights[rows]
        how: dict[str, Any] = {"method": method, "response": "predict_proba", "classes": classes}
        return fit_calibrator(fused(mask, rows), labels[rows], weight, **how)

    heard = asked.any(axis=0)
    if weights is not None:
        heard = heard & (weights > 0)
    found: dict[Pattern, Any] = {(): fit(asked, heard)}
    if found[()] is None:
        raise ValueError(
            f"output_calibration={method!r} needs out-of-fold answers about every class: "
            f"{out_of_reach(np.setdiff1d(classes, labels[heard]), y, sample_weight)}; add "
            "samples, or set output_calibration=None"
        )
    own = np.unique(asked[:, heard].T, axis=0)
    for pattern in np.unique(np.concatenate([own, expected]), axis=0):
        if (expected == pattern).all(axis=1).any():
            have = asked[pattern].all(axis=0)
        else:
            have = (asked == pattern[:, None]).all(axis=0)
        rows = heard & have
        enough = rows.sum() >= _FEWEST_ROWS
        calibrator = fit(asked & pattern[:, None], rows) if enough else None
        if calibrator is not None:
            found[_key(pattern, names)] = calibrator
    return ByTuple(found)


def _key(pattern: np.ndarray, names: Sequence[str]) -> Pattern:
    return tuple(name for name, there in zip(names, pattern, strict=True) if there)


def likely_patterns(n_modalities: int) -> np.ndarray:
    """Return which modalities may be there: all subsets of few, of many one, all but one, all."""
    if n_modalities <= _MANY:
        subsets = np.array(list(product((False, True), repeat=n_modalities)))
        return subsets[1:]
    alone = np.eye(n_modalities, dtype=bool)
    return np.concatenate([alone, ~alone, np.ones((1, n_modalities), bool)])


def calibrate_output(
    calibrators: Mapping[Pattern, Any], fused: np.ndarray, mask: np.ndarray, names: Sequence[str]
) -> np.ndarray:
    """Calibrate fused posteriors; samples of which nobody speaks keep the priors."""
    patterns, place = np.unique(mask.T, axis=0, return_inverse=True)
    calibrated = fused.copy()
    for number, pattern in enumerate(patterns):
        if pattern.any():
            rows = np.flatnonzero(place.ravel() == number)
            calibrator = calibrators.get(_key(pattern, names), calibrators[()])
            calibrated[rows] = calibrate(calibrator, fused[rows])
    return calibrated
