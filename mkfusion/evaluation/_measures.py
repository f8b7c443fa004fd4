"""Measures of scores and of probabilities."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from .._validation import listed

N_BINS = 10


def corrected_interval(
    differences: Any, n_test: float, n_train: float, confidence: float = 0.95
) -> tuple[float, float]:
    r"""Return the interval of a mean difference of scores over the splits of a cross-validation.

    .. math:: \bar d \pm t_{k - 1} \sqrt{\left(\tfrac1k + \tfrac{n_{test}}{n_{train}}\right) s_d^2}

    The second term corrects for training sets that overlap, which the differences share. Whether
    an interval without it covers the truth too seldom depends on how much the training set
    matters; this one errs on the wide side.

    Parameters
    ----------
    differences : array-like of shape (n_splits,)
        Paired differences, one for each split.
    n_test, n_train : float
        The (mean) number of test and training rows.
    confidence : float, default=0.95

    Returns
    -------
    low, high : float
        NaN for a single split.

    Raises
    ------
    ValueError
        If ``confidence`` is not between 0 and 1.

    References
    ----------
    Nadeau, Bengio (2003), "Inference for the generalization error", Machine Learning 52, eq 15.

    Examples
    --------
    >>> from mkfusion.evaluation import corrected_interval
    >>> low, high = corrected_interval([0.01, 0.02, 0.03], n_test=50, n_train=100)
    >>> round(low, 4), round(high, 4)
    (-0.0193, 0.0593)
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")
    values = np.asarray(differences, dtype=np.float64)
    if len(values) < 2:
        return float("nan"), float("nan")
    error = np.sqrt((1 / len(values) + n_test / n_train) * values.var(ddof=1))
    half = stats.t.ppf((1 + confidence) / 2, len(values) - 1) * error
    return float(values.mean() - half), float(values.mean() + half)


def expected_calibration_error(
    y: Any, probabilities: Any, classes: Any = None, n_bins: int = N_BINS
) -> float:
    r"""Return how far the highest probability is from the share of the rows where it is right.

    .. math:: \sum_{b=1}^{B} \frac{n_b}{n}
        \left| \frac{1}{n_b} \sum_{i \in b} 1[y_i = \arg\max_c p_i(c)]
        - \frac{1}{n_b} \sum_{i \in b} \max_c p_i(c) \right|

    Bin b holds the :math:`n_b` rows whose highest probability lies above :math:`(b - 1) / B` and
    not above :math:`b / B`.

    Parameters
    ----------
    y : array-like of shape (n_samples,)
        The true labels.
    probabilities : array-like of shape (n_samples, n_classes)
        Rows sum to 1.
    classes : array-like of shape (n_classes,), default=None
        The label of each column. None takes the sorted labels of ``y``.
    n_bins : int, default=10
        The number B of bins.

    Returns
    -------
    error : float
        0 for perfect calibration, at most 1.

    Raises
    ------
    ValueError
        If the shapes do not fit, rows are no probabilities, or a label is none of the classes.

    References
    ----------
    Guo, Pleiss, Sun, Weinberger (2017), "On calibration of modern neural networks", ICML, eq 3.
    Naeini, Cooper, Hauskrecht (2015), "Obtaining well calibrated probabilities using Bayesian
    binning", AAAI.

    Examples
    --------
    >>> from mkfusion.evaluation import expected_calibration_error
    >>> round(expected_calibration_error([0, 1, 1], [[0.8, 0.2], [0.3, 0.7], [0.75, 0.25]]), 6)
    0.283333
    """
    values = _check_probabilities(probabilities)
    labels, known = np.asarray(y), pd.Index(np.unique(y) if classes is None else classes)
    if values.shape != (*labels.shape, len(known)):
        raise ValueError(
            f"probabilities must have shape (n_samples, n_classes), here "
            f"{(*labels.shape, len(known))}, got {values.shape}; name the classes that y lacks"
        )
    if not isinstance(n_bins, Integral) or n_bins < 1:
        raise ValueError(f"n_bins must be a positive whole number, got {n_bins!r}")
    codes = known.get_indexer(labels)
    if (codes < 0).any():
        raise ValueError(f"y holds {listed(np.unique(labels[codes < 0]))}, none of the classes")
    right = values.argmax(axis=1) == codes
    return calibration_error(*reliability(values.max(axis=1), right, int(n_bins)))


def _check_probabilities(probabilities: Any) -> np.ndarray:
    values = np.asarray(probabilities, dtype=np.float64)
    if values.ndim != 2 or not values.size:
        raise ValueError(
            f"probabilities must have shape (n_samples, n_classes), got {values.shape}"
        )
    # A tolerance for single precision; the comparison is False for NaN.
    if not ((values >= 0).all() and (abs(values.sum(axis=1) - 1) < 1e-3).all()):
        raise ValueError("probabilities must be non-negative, and each row must sum to 1")
    return values


def reliability(
    confidence: np.ndarray, right: np.ndarray, n_bins: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return mean confidence, share that is right and rows of the equal-width bins in use."""
    places = np.digitize(confidence, np.arange(1, n_bins) / n_bins, right=True)
    count = np.bincount(places, minlength=n_bins)
    used = count > 0
    sums = (np.bincount(places, values, n_bins) for values in (confidence, right))
    predicted, observed = (total[used] / count[used] for total in sums)
    return predicted, observed, count[used]


def calibration_error(predicted: np.ndarray, observed: np.ndarray, count: np.ndarray) -> float:
    """Return the mean distance of the bins from the diagonal, weighted by their rows."""
    if not len(count):
        return float("nan")
    return float(np.average(np.abs(observed - predicted), weights=count))
