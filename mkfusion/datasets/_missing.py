"""Loss of whole modalities, drawn at random in several patterns."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ._checks import RATE, as_random_state, check_choice, check_flags, per_modality
from ._frames import modality_columns, presence

__all__ = ["PATTERNS", "Labels", "blank", "draw_mask", "simulate_missing"]


def simulate_missing(
    X: Any,
    rate: float | Mapping[str, float],
    *,
    modalities: Mapping[str, Any] | None = None,
    pattern: str = "random",
    keep_one: bool = True,
    y: Any = None,
    random_state: Any = None,
) -> Any:
    r"""Return a copy of X in which samples have lost whole modalities.

    With :math:`r_m` the rate of modality m, sample i loses it with probability

    .. math::

        P(\text{lost}_{im}) = r_m \quad (\text{random}), \qquad
        P(\text{lost}_{im} \mid y_i = c) = r_m + \tfrac12 \min(r_m, 1 - r_m)
        \Big(\frac{2 ((c + m) \bmod K)}{K - 1} - 1\Big) \quad (\text{class})

    independently of all else, where classes c and modalities m count from 0 and K is the number
    of classes.

    Parameters
    ----------
    X : DataFrame or array-like of shape (n_samples, n_features)
        One row per sample: in a frame of time steps it is the single steps that lose a modality.
        Never written to. Integer and boolean columns of a modality that can be lost become
        float64 (of an array: all columns), so that NaN fits.
    rate : float or dict
        Share of the samples, from 0 to 1, that lose a modality: one for all, or one per name;
        a modality that the dict leaves out is never lost.
    modalities : dict or None
        Columns of each modality: names, positions, a slice, a boolean mask, or a callable that
        is given X. None reads the prefix before ``__`` in a frame's column names; a column whose
        cells hold sequences is a modality by itself. An array needs the dict. Columns of no
        modality stay as they are.
    pattern : {"random", "class", "block"}
        "random": completely at random. "class": the chance depends on the class as above. Over
        the classes it goes in equal steps from ``rate - h`` to ``rate + h``, with h half of the
        smaller of ``rate`` and ``1 - rate``, and each modality begins at another class. "block":
        a modality is lost in one run of ``round(rate * n_samples)`` adjacent rows, as when a
        sensor breaks.
    keep_one : bool
        A sample that would lose every modality it has keeps one of them, chosen uniformly, so
        that the realised rates are a little lower. False: samples may end with nothing.
    y : array-like of shape (n_samples,) or None
        Class labels; needed by the pattern "class", otherwise unused.
    random_state : int, RandomState or None
        Seed of the draws. None never touches numpy's global generator.

    Returns
    -------
    DataFrame or ndarray of shape (n_samples, n_features)
        Lost blocks are NaN, None in columns of objects (cells that hold sequences, for
        instance), and the dtype's own missing value in extension columns.

    Raises
    ------
    ValueError
        A rate outside [0, 1], an unknown modality or pattern, columns without a prefix where
        ``modalities`` is None, modalities that share columns, or "class" without class labels.

    Warns
    -----
    UserWarning
        X has one modality and ``keep_one`` is True, so that nothing can be lost.

    References
    ----------
    D. B. Rubin, "Inference and missing data", Biometrika 63(3), 1976,
    doi:10.1093/biomet/63.3.581 (what "at random" and "completely at random" mean).

    Examples
    --------
    >>> import pandas as pd
    >>> from mkfusion.datasets import simulate_missing
    >>> X = pd.DataFrame({"audio__0": range(6), "audio__1": range(6), "video__0": range(6)})
    >>> lossy = simulate_missing(X, {"audio": 0.5}, pattern="block", random_state=0)
    >>> lossy.isna().sum().to_dict()
    {'audio__0': 3, 'audio__1': 3, 'video__0': 0}
    """
    check_choice("pattern", pattern, PATTERNS)
    check_flags(keep_one=keep_one)
    table = _as_table(X)
    columns = modality_columns(table, modalities)
    rates = per_modality("rate", rate, list(columns), RATE)
    _warn_of_one(rates, keep_one)
    labels = _labels(y, len(table)) if pattern == "class" else None
    present = presence(table, columns)
    mask = draw_mask(present, rates, pattern, labels, keep_one, as_random_state(random_state))
    return blank(table, columns, mask, rates)


class Labels(NamedTuple):
    """Class labels as codes from 0 to n_classes - 1."""

    codes: np.ndarray
    n_classes: int


def draw_mask(
    present: np.ndarray,
    rates: Mapping[str, float],
    pattern: str,
    labels: Labels | None,
    keep_one: bool,
    rng: np.random.RandomState,
) -> np.ndarray:
    """Return what is left of ``present``, boolean of shape (n_samples, n_modalities)."""
    lost = PATTERNS[pattern](np.array(list(rates.values())), len(present), labels, rng)
    mask = present & ~lost
    if keep_one:
        chosen = (rng.random_sample(present.shape) * present).argmax(axis=1)
        bare = np.flatnonzero(present.any(axis=1) & ~mask.any(axis=1))
        mask[bare, chosen[bare]] = True
    return mask


def _lose_at_random(
    rates: np.ndarray, n_samples: int, labels: Labels | None, rng: np.random.RandomState
) -> np.ndarray:
    return rng.random_sample((n_samples, len(rates))) < rates


def _lose_by_class(
    rates: np.ndarray, n_samples: int, labels: Labels | None, rng: np.random.RandomState
) -> np.ndarray:
    if labels is None:
        raise ValueError("y must be given for the pattern 'class', got None")
    ranks = (labels.codes[:, np.newaxis] + np.arange(len(rates))) % labels.n_classes
    tilt = 2 * ranks / max(labels.n_classes - 1, 1) - (labels.n_classes > 1)
    chances = rates + np.minimum(rates, 1 - rates) / 2 * tilt
    return rng.random_sample((n_samples, len(rates))) < chances


def _lose_runs(
    rates: np.ndarray, n_samples: int, labels: Labels | None, rng: np.random.RandomState
) -> np.ndarray:
    lost = np.zeros((n_samples, len(rates)), dtype=bool)
    for j, rate in enumerate(rates):
        length = round(rate * n_samples)
        start = rng.randint(n_samples - length + 1)
        lost[start : start + length, j] = True
    return lost


PATTERNS: dict[str, Callable[..., np.ndarray]] = {
    "random": _lose_at_random,
    "class": _lose_by_class,
    "block": _lose_runs,
}


def _as_table(X: Any) -> Any:
    if isinstance(X, pd.DataFrame):
        return X
    if hasattr(X, "toarray"):
        raise ValueError(
            "X must be a DataFrame or a dense array, got a sparse matrix, whose zeros are not "
            "missing values: pass X.toarray()"
        )
    table = np.asarray(X)
    if table.ndim != 2:
        raise ValueError(f"X must have shape (n_samples, n_features), got shape {table.shape}")
    if table.dtype.kind not in "biufcOUS":
        raise ValueError(f"X must hold numbers, text or objects, got dtype {table.dtype}")
    return table


def _warn_of_one(rates: Mapping[str, float], keep_one: bool) -> None:
    if keep_one and len(rates) == 1 and any(rates.values()):
        warnings.warn(
            f"X has one modality, {next(iter(rates))!r}, and keep_one=True never lets the last "
            "one go: nothing is lost; pass keep_one=False",
            UserWarning,
            stacklevel=3,
        )


def _labels(y: Any, n_samples: int) -> Labels | None:
    if y is None:
        return None
    if np.ndim(y) != 1 or len(y) != n_samples:
        raise ValueError(f"y must have shape ({n_samples},), got shape {np.shape(y)}")
    labels = pd.Series(y)
    if labels.isna().any():
        raise ValueError(f"y must have no missing labels, got {int(labels.isna().sum())}")
    if labels.dtype.kind == "f" and (labels % 1 != 0).any():
        raise ValueError("y must hold class labels, got numbers with fractions")
    codes, classes = pd.factorize(labels, sort=True)
    return Labels(codes, len(classes))


def blank(
    X: Any, columns: Mapping[str, np.ndarray], mask: np.ndarray, rates: Mapping[str, float]
) -> Any:
    """Return a copy of X where the modalities that the mask leaves out have no value."""
    losses = [
        (positions, ~mask[:, j])
        for j, (name, positions) in enumerate(columns.items())
        if rates[name] > 0
    ]
    if not isinstance(X, pd.DataFrame):
        return _blank_array(X, losses)
    result = X.copy()
    for positions, lost in losses:
        for position in positions.tolist():
            result.isetitem(position, _blank_column(X.iloc[:, position], lost))
    return result


def _blank_array(X: np.ndarray, losses: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    becomes = {"b": np.float64, "i": np.float64, "u": np.float64, "U": object, "S": object}
    dtype = becomes.get(X.dtype.kind, X.dtype) if losses else X.dtype
    result = np.array(X, dtype=dtype)
    for positions, lost in losses:
        result[np.ix_(lost, positions)] = None if result.dtype.kind == "O" else np.nan
    return result


def _blank_column(column: pd.Series, lost: np.ndarray) -> Any:
    if column.dtype == object:
        cells = np.array(column.to_numpy(), dtype=object)
        cells[lost] = None
        return pd.Series(cells, index=column.index, dtype=object)
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "biu":
        column = column.astype(np.float64)
    return column.mask(lost)
