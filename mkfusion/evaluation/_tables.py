"""Tables of the answers to all test rows, and of who is present."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import sklearn
from scipy import stats

from ._answers import Answers
from ._measures import N_BINS, calibration_error, reliability

PER_CLASS = ["precision", "recall", "f1", "support"]
CALIBRATION = ["strategy", "predicted", "observed", "count"]


def per_class_table(rows: Mapping[str, Answers], codes: np.ndarray, classes: list) -> pd.DataFrame:
    """Return precision, recall, F1 and support by strategy and class; empty for numbers."""
    index = pd.MultiIndex.from_product([rows, classes], names=["strategy", "class"])
    found = [
        np.transpose(
            sklearn.metrics.precision_recall_fscore_support(
                codes, answers.predicted, labels=range(len(classes)), zero_division=np.nan
            )
        )
        for answers in rows.values()
        if classes
    ]
    table = pd.DataFrame(np.reshape(found, (-1, len(PER_CLASS))), index, PER_CLASS)
    return table.astype({"support": int})


def calibration_table(
    rows: Mapping[str, Answers], y: np.ndarray, by_confidence: bool
) -> pd.DataFrame:
    """Return what was predicted and what was observed, bin by bin, of each strategy."""
    parts = []
    for name, answers in rows.items():
        bins = _confidence_bins(answers) if by_confidence else _prediction_bins(answers, y)
        parts.append(pd.DataFrame(dict(zip(CALIBRATION, (name, *bins), strict=True))))
    return pd.concat(parts, ignore_index=True)


def calibration_errors(rows: Mapping[str, Answers]) -> list[float]:
    """Return the expected calibration error of each strategy; NaN without probabilities."""
    return [calibration_error(*_confidence_bins(answers)) for answers in rows.values()]


def _confidence_bins(answers: Answers) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    # In some splits the chosen strategy may be one without probabilities.
    stated = slice(0, 0) if np.isnan(answers.confidence).any() else slice(None)
    return reliability(answers.confidence[stated], answers.right[stated], N_BINS)


def _prediction_bins(answers: Answers, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return mean prediction, mean of y and rows of bins that hold equally many rows.

    Rows with the same prediction stand in the same bin.
    """
    below = stats.rankdata(answers.predicted, "min").astype(np.int64) - 1
    _, place, count = np.unique(below * N_BINS // len(y), return_inverse=True, return_counts=True)
    predicted, observed = (np.bincount(place, values) / count for values in (answers.predicted, y))
    return predicted, observed, count


def agreement_table(
    singles: Mapping[str, Answers], spoke: np.ndarray, y: np.ndarray, labels: bool
) -> pd.DataFrame:
    """Return how far the models of every two modalities agree, on the rows where both speak."""
    names, table = list(singles), np.eye(len(singles))
    said = [answers.predicted for answers in singles.values()]
    for i in range(len(names)):
        for j in range(i):
            both = spoke[i] & spoke[j]
            one, other = said[i][both], said[j][both]
            same = (
                _share_equal(one, other)
                if labels
                else _correlation(one - y[both], other - y[both])
            )
            table[i, j] = table[j, i] = same
    return pd.DataFrame(table, names, names)


def _share_equal(one: np.ndarray, other: np.ndarray) -> float:
    return float((one == other).mean()) if len(one) else np.nan


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Return Pearson's correlation; NaN for fewer than two rows or a constant."""
    if len(one) < 2 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return np.nan
    return float(np.corrcoef(one, other)[0, 1])


def availability_table(present: np.ndarray, modalities: Sequence[Any]) -> pd.DataFrame:
    """Return the patterns of presence, the most frequent first, and the rows of each.

    Of equally frequent ones that of the earlier row stands first.
    """
    patterns, first, counts = np.unique(present.T, axis=0, return_index=True, return_counts=True)
    order = np.lexsort((first, -counts))
    table = pd.DataFrame(patterns[order], columns=list(modalities))
    table.insert(len(modalities), "count", counts[order], allow_duplicates=True)
    return table
