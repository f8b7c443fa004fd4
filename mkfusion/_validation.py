"""Checks that every part of the package shares: tables, targets, weights, priors."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_array
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import (
    _check_sample_weight,
    _num_samples,
    assert_all_finite,
    check_consistent_length,
    column_or_1d,
)

__all__ = [
    "as_table",
    "check_block",
    "check_class_target",
    "check_count",
    "check_distribution",
    "check_masked",
    "check_not_negative",
    "check_numeric_target",
    "check_option",
    "check_weight_vector",
    "finite_array",
    "frame_values",
    "install",
    "is_frame",
    "listed",
    "refuse_masked",
    "sample_weights",
    "warn",
    "warn_unconverged",
]


_INFINITY_BITS = np.array(np.inf).view(np.uint64)
_LARGEST_WEIGHT = np.sqrt(np.finfo(np.float64).max)


def listed(names: Any, limit: int = 6) -> str:
    """Name at most ``limit`` things, and say how many more there are."""
    names = [name.item() if isinstance(name, np.generic) else name for name in names]
    shown = ", ".join(repr(name) for name in names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the line of the user's that led here."""
    level = 2
    frame = sys._getframe(1)
    while frame.f_back is not None and _is_inside(frame.f_globals.get("__name__", "")):
        frame = frame.f_back
        level += 1
    warnings.warn(message, category, stacklevel=level)


def install(extra: str) -> str:
    """Say how an extra is added; where mkfusion came from a folder, pip takes what is there."""
    return f'python -m pip install "mkfusion[{extra}]"'


def warn_unconverged(what: str, measure: str, left: float, n_iter: int) -> None:
    """Warn that an optimum was not reached, and say what is left."""
    warn(
        f"{what}: not converged after {n_iter} iterations; the {measure} left is {left:.2g}",
        ConvergenceWarning,
    )


def _is_inside(module: str) -> bool:
    return module.partition(".")[0] in ("mkfusion", "sklearn", "joblib")


def is_frame(X: Any) -> bool:
    """Tell whether X is a DataFrame: pandas, or one that is read as if it were."""
    return isinstance(X, pd.DataFrame) or _is_foreign_frame(X)


def _is_foreign_frame(X: Any) -> bool:
    return not isinstance(X, pd.DataFrame) and all(
        hasattr(X, name) for name in ("schema", "columns", "get_column")
    )


def as_table(X: Any, estimator: Any = None) -> Any:
    """Return X as a pandas DataFrame, a 2-D array or a CSR / CSC matrix; never a copy of numbers.

    NaN, infinity, text and whole sequences in cells pass: they are the business of the
    models behind. A polars DataFrame becomes a pandas one.
    """
    refuse_masked("X", X)
    if _is_foreign_frame(X):
        X = pd.DataFrame({name: X.get_column(name).to_numpy() for name in X.columns})
    if not isinstance(X, pd.DataFrame):
        return check_array(
            X,
            accept_sparse=("csr", "csc"),
            dtype=None,
            ensure_all_finite=False,
            estimator=estimator,
            input_name="X",
        )
    complex_columns = [
        name
        for name, dtype in X.dtypes.items()
        if isinstance(dtype, np.dtype) and dtype.kind == "c"
    ]
    if complex_columns:
        raise ValueError(f"Complex data not supported: columns {listed(complex_columns)} of X")
    if 0 in X.shape:
        # check_array words both refusals as scikit-learn's users know them.
        check_array(np.empty(X.shape), estimator=estimator)
    return X


def refuse_masked(name: str, values: Any) -> None:
    """Refuse a numpy array that hides values: scikit-learn would take them as they are."""
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        raise ValueError(
            f"{name} is a masked array, whose mask would be lost; "
            f"pass {name}.astype(float).filled(np.nan)"
        )


def frame_values(frame: pd.DataFrame) -> np.ndarray:
    """Return the cells of a DataFrame, as numbers with NaN where every column holds numbers."""
    values = frame.to_numpy()
    if values.dtype == object and all(map(pd.api.types.is_numeric_dtype, frame.dtypes)):
        values = frame.to_numpy(dtype=np.float64, na_value=np.nan)
    return values


def check_block(X: Any, name: str = "X") -> np.ndarray:
    """Return one modality's features as a finite C-contiguous array of float64 or float32."""
    refuse_masked(name, X)
    if sparse.issparse(X):
        raise TypeError(f"{name} is sparse; kernels need dense features: pass {name}.toarray()")
    try:
        values = _numeric(X, name, dtype="numeric")
        if values.dtype.kind not in "fiubO":
            raise TypeError(f"{values.dtype} is no type of numbers")
        if values.dtype not in (np.float64, np.float32):
            values = _numeric(values, name, dtype=np.float64)
        return values
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(
            f"{name} must be a table of finite numbers, a row for each sample: {error}"
        ) from None


def _numeric(X: Any, name: str, dtype: Any) -> np.ndarray:
    return check_array(X, dtype=dtype, order="C", ensure_min_samples=0, input_name=name)


def finite_array(name: str, values: Any) -> np.ndarray:
    """Return values as an array of float64, or refuse them by name."""
    refuse_masked(name, values)
    try:
        array = np.asarray(values)
        if array.dtype.kind not in "fiubO":
            raise TypeError(f"{array.dtype} is no type of real numbers")
        array = array.astype(np.float64, copy=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be an array of finite numbers: {error}") from None
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite, and holds NaN or infinity")
    return array


def check_class_target(y: Any) -> np.ndarray:
    """Return y as a 1-D array of class labels, or refuse it by name."""
    if y is None:
        raise ValueError("y should be a 1d array of class labels, got None")
    refuse_masked("y", y)
    if sparse.issparse(y) or _target_type(y).startswith("multilabel"):
        raise ValueError(
            "multi-label targets are not supported: y has one column per label; "
            "fit one fusion per label, for instance with MultiOutputClassifier"
        )
    labels = column_or_1d(y, warn=True)
    if labels.dtype.kind == "f":
        assert_all_finite(labels, input_name="y")
    check_classification_targets(labels)
    return labels


def _target_type(y: Any) -> str:
    """Return scikit-learn's name for the kind of target, once every label is there."""
    missing = np.atleast_1d(pd.isna(y))
    rows = np.flatnonzero(missing.any(axis=tuple(range(1, missing.ndim))))
    if rows.size:
        raise ValueError(
            f"Input y contains NaN: the label of {rows.size} samples is missing "
            f"(first at row {rows[0]}); drop those rows"
        )
    try:
        with np.errstate(invalid="ignore"):  # infinity is refused by name afterwards
            return type_of_target(y, input_name="y")
    except TypeError as error:
        raise TypeError(f"y holds labels that cannot stand side by side: {error}") from None


def check_numeric_target(y: Any) -> np.ndarray:
    """Return y as a float array of shape (n_samples,) or (n_samples, n_outputs)."""
    if y is None:
        raise ValueError("y should be a 1d array of numbers, got None")
    refuse_masked("y", y)
    values = check_array(y, ensure_2d=False, dtype="numeric", input_name="y")
    if values.ndim == 2 and values.shape[1] == 1:
        values = column_or_1d(values, warn=True)
    return values.astype(np.float64, copy=False)


def sample_weights(sample_weight: Any, X: Any) -> np.ndarray | None:
    """Return the weights as a non-negative float array of shape (n_samples,), None as None."""
    if sample_weight is None:
        return None
    refuse_masked("sample_weight", sample_weight)
    weights = _check_sample_weight(
        sample_weight, np.empty((_num_samples(X), 1)), dtype=np.float64, ensure_non_negative=True
    )
    assert_all_finite(weights, input_name="sample_weight")  # a single number is not checked above
    if not weights.any():
        raise ValueError("Sample weights must contain at least one non-zero number.")
    if weights.max() > _LARGEST_WEIGHT:
        raise ValueError(
            f"sample_weight goes up to {weights.max():.3g}, which overflows in weighted sums; "
            "divide all weights by a constant"
        )
    return weights


def check_lengths(**arrays: Any) -> None:
    """Refuse arrays of different lengths, naming each with its length."""
    try:
        check_consistent_length(*arrays.values())
    except ValueError as error:
        lengths = ", ".join(
            f"{name} has {np.shape(array)[0]}"
            for name, array in arrays.items()
            if array is not None
        )
        raise ValueError(f"{error}: {lengths}") from None


def check_option(name: str, value: Any, options: Sequence[Any] | Mapping[Any, Any]) -> None:
    """Refuse a value that is none of the options."""
    if not isinstance(value, str | None) or value not in options:
        raise ValueError(f"{name} must be one of {listed(options, 30)}, got {value!r}")


def check_count(name: str, value: Any, least: int = 1) -> int:
    """Return a whole number of at least so many."""
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if whole and int(value) >= least:
        return int(value)
    raise ValueError(f"{name} must be a whole number, at least {least}, got {value!r}")


def check_not_negative(name: str, value: Any) -> float:
    """Return a finite number of at least 0."""
    real = isinstance(value, Real) and not isinstance(value, bool)
    if real and 0 <= float(value) < np.inf:
        return float(value)
    raise ValueError(f"{name} must be a finite number, at least 0, got {value!r}")


def check_distribution(name: str, values: Any, length: int) -> np.ndarray:
    """Return probabilities of the given length, non-negative and summing to 1."""
    probabilities = _finite_vector(name, values, length)
    if (probabilities < 0).any() or abs(probabilities.sum() - 1) > 1e-6:
        raise ValueError(
            f"{name} must be non-negative and sum to 1, got {probabilities.tolist()} "
            f"with sum {probabilities.sum():.6g}"
        )
    return probabilities


def check_weight_vector(name: str, values: Any, names: Sequence[str]) -> np.ndarray:
    """Return one non-negative weight per name, given as a sequence or as a mapping by name.

    Weights per name and class, of shape (n_names, n_classes), pass too.
    """
    if isinstance(values, Mapping):
        if set(values) != set(names):
            raise ValueError(
                f"{name} must give one weight for each of {listed(names, 30)}, "
                f"got weights for {listed(values, 30)}"
            )
        values = [values[key] for key in names]
    weights = _finite_vector(name, values, len(names), ndims=(1, 2))
    if (weights < 0).any():
        raise ValueError(f"{name} must be non-negative, got {weights.tolist()}")
    return weights


def _finite_vector(
    name: str, values: Any, length: int, ndims: tuple[int, ...] = (1,)
) -> np.ndarray:
    try:
        vector = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be {length} numbers, got {values!r}") from None
    if vector.ndim not in ndims or vector.shape[0] != length:
        raise ValueError(f"{name} must have length {length}, got shape {vector.shape}")
    if not np.isfinite(vector).all():
        raise ValueError(f"{name} must be finite, got {vector.tolist()}")
    return vector


def check_masked(
    values: np.ndarray, mask: Any, name: str, least: float = -np.inf
) -> tuple[np.ndarray, np.ndarray]:
    """Return values with 0 for the absent, and who is present; NaN throughout is absent."""
    clean = _is_plain(values)
    if mask is None:
        mask = np.ones(values.shape[:2], bool) if clean else ~np.isnan(values).all(axis=2)
    mask = np.asarray(mask, dtype=bool)
    if mask.shape != values.shape[:2]:
        raise ValueError(f"mask must have shape {values.shape[:2]}, got {mask.shape}")
    if not clean:
        values = np.where(mask[:, :, None], values, 0.0)
        if not np.isfinite(values).all():
            expert = np.flatnonzero(~np.isfinite(values).all(axis=(1, 2)))[0]
            raise ValueError(f"{name} of expert {expert} hold NaN or infinity")
        if values.min() < least:
            raise ValueError(f"{name} must be non-negative, got {values.min()}")
    return values, mask


def _is_plain(values: np.ndarray) -> bool:
    """Tell in one pass that no value is negative, NaN or infinite.

    Read as unsigned integers, all of these lie at or above the bits of infinity.
    """
    return not values.size or values.view(np.uint64).max() < _INFINITY_BITS
