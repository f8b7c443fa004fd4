"""Which rows are held out to calibrate on."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

__all__ = ["held_out"]

Array = np.ndarray


def held_out(
    patterns: Array,
    labels: Array | None,
    groups: Array | None,
    share: float,
    rng: np.random.RandomState,
) -> Array:
    """Return which rows are held out, as a mask.

    Patterns and classes are coded from 0 on; the share is that of each of them, as nearly as
    can be. No class is left without a row to learn from, and no group is divided.
    """
    if groups is None:
        strata = patterns if labels is None else patterns * (labels.max() + 1) + labels
        chosen = _systematic(strata, share, rng)
        groups = np.arange(len(patterns))
    else:
        chosen = _whole_groups(labels, groups, share, rng)
    if labels is not None:
        for lost in np.setdiff1d(labels, labels[~chosen]):
            chosen &= groups != groups[np.flatnonzero(labels == lost)[0]]
    return chosen


def _systematic(strata: Array, share: float, rng: np.random.RandomState) -> Array:
    """Choose rows at equal distances from a random start, in random order within strata."""
    order = rng.permutation(len(strata))
    order = order[np.argsort(strata[order], kind="stable")]
    steps = np.floor(rng.random_sample() + share * np.arange(len(strata) + 1))
    chosen = np.zeros(len(strata), bool)
    chosen[order[np.diff(steps) > 0]] = True
    return chosen


def _whole_groups(
    labels: Array | None, groups: Array, share: float, rng: np.random.RandomState
) -> Array:
    """Choose one of so many parts of whole groups that it has about the share."""
    n_groups = len(np.unique(groups))
    if n_groups < 2:
        raise ValueError("all samples are in one group, of which no part can be held out")
    count = int(np.clip(round(1 / min(share, 1 - share)), 2, n_groups))
    options = {"n_splits": count, "shuffle": True, "random_state": rng.randint(2**31 - 1)}
    splitter = GroupKFold(**options) if labels is None else StratifiedGroupKFold(**options)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class")
        _, part = next(splitter.split(np.zeros((len(groups), 1)), labels, groups))
    chosen = np.zeros(len(groups), bool)
    chosen[part] = True
    return chosen if share <= 0.5 else ~chosen
