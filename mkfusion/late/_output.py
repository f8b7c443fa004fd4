"""Calibration of fused posteriors, by which experts there are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import numpy as np

from .._calibration import calibrate, fit_calibrator
from .._validation import listed

__all__ = ["calibrate_output", "fit_output_calibrators"]

Pattern = tuple[str, ...]

_MANY_EXPERTS = 6  # up to here every subset has a calibrator
_FEWEST_ROWS = 30


def fit_output_calibrators(
    fused: Callable[[np.ndarray, np.ndarray], np.ndarray],
    asked: np.ndarray,
    names: Sequence[str],
    y: np.ndarray,
    sample_weight: np.ndarray | None,
    *,
    method: str,
    classes: np.ndarray,
    simulate: bool,
) -> dict[Pattern, Any]:
    """Fit a calibrator for every pattern of experts; ``()`` names the one for all the others.

    ``fused(mask, rows)`` fuses some of the out-of-fold answers. A sample teaches of every pattern
    that it could have had (if ``simulate``), by leaving out experts that it has.
    """

    def fit(mask: Any, rows: Any) -> Any:
        if len(np.unique(y[rows])) < len(classes):
            return None
        weight = None if sample_weight is None else sample_weight[rows]
        how: dict[str, Any] = {"method": method, "response": "predict_proba", "classes": classes}
        return fit_calibrator(fused(mask, rows), y[rows], weight, **how)

    heard = asked.any(axis=0)
    if sample_weight is not None:
        heard = heard & (sample_weight > 0)
    found: dict[Pattern, Any] = {(): fit(asked, heard)}
    if found[()] is None:
        raise ValueError(
            f"output_calibration={method!r} needs out-of-fold answers about every class; those "
            f"about {listed(np.setdiff1d(classes, y[heard]))} are lacking"
        )
    for pattern in _patterns(asked[:, heard], simulate):
        have = asked[pattern].all(axis=0) if simulate else (asked == pattern[:, None]).all(axis=0)
        rows = heard & have
        enough = rows.sum() >= _FEWEST_ROWS
        calibrator = fit(asked & pattern[:, None], rows) if enough else None
        if calibrator is not None:
            found[_key(pattern, names)] = calibrator
    return found


def _key(pattern: np.ndarray, names: Sequence[str]) -> Pattern:
    return tuple(name for name, there in zip(names, pattern, strict=True) if there)


def _patterns(asked: np.ndarray, simulate: bool) -> np.ndarray:
    """Return the patterns that are seen, and those that are likely to come."""
    n_experts = len(asked)
    found = [np.unique(asked.T, axis=0)]
    if simulate and n_experts <= _MANY_EXPERTS:
        found.append(np.array(list(product((False, True), repeat=n_experts))))
    elif simulate:
        alone = np.eye(n_experts, dtype=bool)
        found += [alone, ~alone, np.ones((1, n_experts), bool)]
    patterns = np.unique(np.concatenate(found), axis=0)
    return patterns[patterns.any(axis=1)]


def calibrate_output(
    calibrators: dict[Pattern, Any], fused: np.ndarray, mask: np.ndarray, names: Sequence[str]
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
