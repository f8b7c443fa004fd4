"""The folds inside a fit, and the groups that they keep together."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    StratifiedGroupKFold,
    StratifiedKFold,
    check_cv,
)

from ._validation import check_lengths, listed, refuse_masked

__all__ = ["SEQUENCE", "Split", "group_codes", "groups_column", "split_rows"]

Split = tuple[np.ndarray, np.ndarray]

SEQUENCE = "sequence"  # an index level of this name is the id of a sequence, which is never cut


def groups_column(X: Any, named: Any) -> list[int]:
    """Return the position of the column that names the groups, if it is a column."""
    if not isinstance(named, str) or not isinstance(X, pd.DataFrame) or named in X.index.names:
        return []
    return [j for j, column in enumerate(X.columns) if column == named]


def group_codes(X: Any, named: Any, given: Any) -> np.ndarray | None:
    """Return the groups of the rows as codes from 0 on, None where there are none."""
    if given is not None and named is not None:
        raise ValueError(
            f"groups are given twice: by name ({named!r}) in the constructor, and to fit"
        )
    values = given if given is not None else _named_groups(X, named)
    if values is None:
        return None
    codes = _codes(X, values)
    if (codes < 0).any():
        raise ValueError(f"groups is missing for {int((codes < 0).sum())} samples")
    if isinstance(X, pd.DataFrame) and SEQUENCE in X.index.names:
        _refuse_cut_sequences(X.index.get_level_values(SEQUENCE), codes)
    return codes


def _refuse_cut_sequences(ids: pd.Index, codes: np.ndarray) -> None:
    """Refuse groups that would put parts of one sequence into different folds."""
    pairs = pd.DataFrame({"sequence": ids, "group": codes}).drop_duplicates()
    cut = pairs["sequence"][pairs["sequence"].duplicated()].unique()
    if len(cut):
        raise ValueError(
            f"groups divides {len(cut)} sequences ({listed(cut, 3)}) of the index level "
            f"{SEQUENCE!r}; put a whole sequence into one group"
        )


def _codes(X: Any, values: Any) -> np.ndarray:
    """Return codes from 0 on, -1 for what is missing."""
    if isinstance(values, str | bytes):
        raise TypeError(
            f"groups must hold a value for each sample, got {values!r}; the name of a column or "
            "of an index level belongs in the constructor"
        )
    refuse_masked("groups", values)
    check_lengths(X=X, groups=values)
    if isinstance(values, list | tuple):
        values = pd.Series(values, dtype=object)  # numpy would make text of what is missing
    elif not isinstance(values, pd.Series | pd.Index | pd.api.extensions.ExtensionArray):
        values = np.asarray(values)
    if values.ndim != 1:
        raise ValueError(f"groups must have one dimension, got shape {values.shape}")
    return np.asarray(pd.factorize(values)[0])


def _named_groups(X: Any, named: Any) -> Any:
    levels = X.index.names if isinstance(X, pd.DataFrame) else []
    if named is None:
        return X.index.get_level_values(SEQUENCE) if SEQUENCE in levels else None
    if not isinstance(named, str):
        raise TypeError(
            "groups in the constructor is the name of an index level or of a column of X, got "
            f"{type(named).__name__}; pass the groups themselves to fit(X, y, groups=...)"
        )
    if named in levels:
        return X.index.get_level_values(named)
    found = groups_column(X, named)
    if len(found) != 1:
        what = "more than one column" if found else "neither an index level nor a column"
        raise ValueError(f"groups names {named!r}, which is {what} of X")
    return X.iloc[:, found[0]]


def split_rows(
    cv: Any, y: np.ndarray, groups: np.ndarray | None, *, classes: bool, counted: np.ndarray
) -> list[Split]:
    """Return the folds: pairs of rows to learn from and rows to be asked of.

    A number, or None for five or as many as the smallest class has samples, gives folds that are
    stratified by class and keep groups together. Anything else is asked for its splits.
    """
    rows = np.arange(len(y))
    if cv is None or isinstance(cv, Integral):
        rows = np.flatnonzero(counted)  # a sample without weight moves no fold
    own = None if groups is None else groups[rows]
    with warnings.catch_warnings():
        # Whoever cannot be asked is named later, when that is known.
        warnings.filterwarnings("ignore", message="The least populated class")
        try:
            folds = _as_splitter(cv, y[rows], own, classes)
            pairs = list(folds.split(np.zeros((len(rows), 1)), y[rows], own))
        except ValueError as error:
            raise ValueError(
                "folds inside the training data, which calibration and learnt rules need, cannot "
                f"be made of {len(rows)} samples: {error}"
            ) from error
    if not pairs:
        raise ValueError(
            "cv gives no folds; an iterator is used up by one fit, and a list is not: cv=list(...)"
        )
    splits = [(_sorted(a, rows), _sorted(b, rows)) for a, b in pairs]
    _check_splits(splits, groups)
    return splits


def _sorted(places: Any, rows: np.ndarray) -> np.ndarray:
    """Return the rows of one side of a split, each once."""
    found = np.asarray(places)
    if found.dtype == bool:
        if found.shape != rows.shape:
            raise ValueError(f"cv gives a mask of {len(found)} samples, but there are {len(rows)}")
        found = np.flatnonzero(found)
    elif found.size and found.dtype.kind not in "iu":
        raise TypeError(f"cv must give the places of rows or masks, got {found.dtype}")
    if found.size and not -len(rows) <= found.min() <= found.max() < len(rows):
        raise ValueError(f"cv names row {found.max()}, but there are {len(rows)} samples")
    return np.unique(rows[found.astype(np.intp, copy=False)])


def _as_splitter(cv: Any, y: np.ndarray, groups: np.ndarray | None, classes: bool) -> Any:
    if cv is not None and not isinstance(cv, Integral):
        return check_cv(cv)
    smallest = np.unique(y, return_counts=True)[1].min() if classes else len(y)
    if groups is not None:
        n_groups = len(np.unique(groups))
        if n_groups < 2:
            raise ValueError("all samples are in one group, which cannot be divided into folds")
        count = int(np.clip(min(smallest, n_groups), 2, 5)) if cv is None else int(cv)
        return StratifiedGroupKFold(count) if classes else GroupKFold(count)
    count = int(np.clip(smallest, 2, 5)) if cv is None else int(cv)
    return StratifiedKFold(count) if classes else KFold(count)


def _check_splits(splits: Iterable[Split], groups: np.ndarray | None) -> None:
    for train, test in splits:
        if np.intersect1d(train, test).size:
            raise ValueError(
                "cv has a split whose test rows are among its training rows, so that what is "
                "learnt from the answers would be learnt from what the models have seen"
            )
        if groups is not None and np.intersect1d(groups[train], groups[test]).size:
            shared = np.intersect1d(groups[train], groups[test])
            raise ValueError(
                f"cv divides {len(shared)} groups between training and test rows; take a "
                f"splitter that keeps groups together, such as GroupKFold ({listed(shared, 3)})"
            )
