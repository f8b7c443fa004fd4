"""How strange a label is beside a prediction, and how strange it may be: arrays only."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import ceil
from numbers import Real
from typing import Any

import numpy as np

__all__ = ["check_alpha", "class_scores", "counts_below", "fewest", "interval", "rank"]

Array = np.ndarray

_CELLS = 2_000_000  # of one piece of the bounds that cross-conformal intervals are chosen from


def check_alpha(alpha: Any) -> float:
    """Return the share of errors, a number above 0 and below 1."""
    if not isinstance(alpha, Real) or isinstance(alpha, bool) or not 0 < float(alpha) < 1:
        raise ValueError(f"alpha must be a number above 0 and below 1, got {alpha!r}")
    return float(alpha)


def rank(n: int, alpha: float) -> int:
    r"""Return the place of the quantile among n sorted scores and infinity, counted from 1.

    It is :math:`\lceil (n + 1) (1 - \alpha) \rceil` for alpha as it is written: in floating point
    10 (1 - .7) is more than 3.
    """
    return ceil((n + 1) * (1 - Fraction(repr(float(alpha)))))


def fewest(alpha: float) -> int:
    """Return how many scores it takes for the quantile to be one of them."""
    exact = Fraction(repr(float(alpha)))
    return ceil((1 - exact) / exact)


def class_scores(posteriors: Array, score: str, uniform: Array | None = None) -> Array:
    """Return how strange each class is for each sample, shape (n_samples, n_classes).

    ``uniform`` are numbers between 0 and 1, one for each sample, that randomise "aps".
    """
    if score == "lac":
        return 1 - posteriors
    order = np.argsort(-posteriors, axis=1, kind="stable")
    falling = np.take_along_axis(posteriors, order, axis=1)
    strange = np.cumsum(falling, axis=1)
    if uniform is not None:
        strange -= (1 - uniform[:, None]) * falling
    scores = np.empty_like(posteriors)
    np.put_along_axis(scores, order, strange, axis=1)
    return scores


def counts_below(calibrated: Sequence[Array], scores: Sequence[Array]) -> Any:
    """Return how many calibration scores lie below a score, over all models.

    ``calibrated`` are sorted, one array for each model, and ``scores`` what the models give.
    """
    return sum(np.searchsorted(known, own) for known, own in zip(calibrated, scores, strict=True))


def interval(
    calibrated: Sequence[Array], centres: Sequence[Array], scales: Sequence[Array], place: int
) -> Array:
    """Return the interval that ends at the bound of that place, shape (n_samples, 2).

    The bounds above are ``centre + scale * score`` of every calibration sample under the model
    that has not seen it, sorted upwards, and those below mirror them.
    """
    count = sum(map(len, calibrated))
    if place > count:
        return np.tile([-np.inf, np.inf], (len(centres[0]), 1))
    if len(calibrated) == 1:
        width = scales[0] * calibrated[0][place - 1]
        return np.column_stack([centres[0] - width, centres[0] + width])
    found = np.empty((len(centres[0]), 2))
    step = max(1, _CELLS // count)
    for start in range(0, len(found), step):
        rows = slice(start, start + step)
        for side, sign in enumerate((-1, 1)):
            bounds = np.concatenate(
                [
                    sign * centre[rows, None] + scale[rows, None] * known
                    for known, centre, scale in zip(calibrated, centres, scales, strict=True)
                ],
                axis=1,
            )
            found[rows, side] = sign * np.partition(bounds, place - 1, axis=1)[:, place - 1]
    return found
