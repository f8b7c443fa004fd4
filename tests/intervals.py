"""How often the interval of a gain covers the gain, over many data sets of one kind."""

from typing import NamedTuple

import numpy as np
from scipy import stats

from mkfusion.evaluation import corrected_interval

N, FOLDS = 100, 5


class Coverage(NamedTuple):
    corrected: float
    naive: float
    width: float
    naive_width: float


def nearest_mean(X, y, A, b):
    """Fit a nearest mean classifier; return whether it is right on A, and its accuracy at large.

    Classes are normal with unit covariance around plus and minus .4 in every column.
    """
    low, high = X[y == 0].mean(axis=0), X[y == 1].mean(axis=0)
    direction, middle = high - low, (high + low) / 2
    right = ((A - middle) @ direction > 0) == b
    mean = np.full(X.shape[1], 0.4)
    size = np.linalg.norm(direction)
    at_large = 0.5 * (
        stats.norm.cdf((mean - middle) @ direction / size)
        + stats.norm.cdf((middle + mean) @ direction / size)
    )
    return right.mean(), at_large


def coverage(seed, repeats):
    """Compare two columns with one of them, by five folds of 100 rows, again and again."""
    rng = np.random.default_rng(seed)
    gains, truths = np.empty((repeats, FOLDS)), np.empty((repeats, FOLDS))
    for row in range(repeats):
        y = rng.permutation(np.arange(N) % 2)
        X = rng.normal(size=(N, 2)) + np.where(y, 0.4, -0.4)[:, None]
        for fold in range(FOLDS):
            test = np.arange(N) % FOLDS == fold
            both = nearest_mean(X[~test], y[~test], X[test], y[test])
            one = nearest_mean(X[~test, :1], y[~test], X[test, :1], y[test])
            gains[row, fold], truths[row, fold] = np.subtract(both, one)
    truth = truths.mean()
    wide = np.array([corrected_interval(own, N / FOLDS, N - N / FOLDS) for own in gains])
    narrow = np.array([corrected_interval(own, 0, 1) for own in gains])
    covers = [((own[:, 0] <= truth) & (truth <= own[:, 1])).mean() for own in (wide, narrow)]
    return Coverage(*covers, np.ptp(wide, axis=1).mean(), np.ptp(narrow, axis=1).mean())
