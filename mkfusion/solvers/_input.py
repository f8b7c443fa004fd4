"""What solvers are given: a kernel matrix, numbers by sample, single numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._validation import refuse_masked
from ._smo_loops import largest_magnitude

__all__ = [
    "check_costs",
    "check_kernel",
    "check_number",
    "check_vector",
    "frozen",
    "largest_entry",
    "real_numbers",
]

Array = np.ndarray


def check_kernel(K: Any, check_finite: bool = True) -> Array:
    """Return a read-only C-contiguous view of a kernel, of float64 or float32."""
    refuse_masked("K", K)
    K = np.asarray(K)
    if K.ndim != 2 or K.shape[0] != K.shape[1] or K.dtype.kind not in "biuf":
        raise ValueError(
            "K must be a square matrix of real numbers, (n_samples, n_samples), got shape "
            f"{K.shape} and dtype {K.dtype}"
        )
    if K.dtype not in (np.float64, np.float32):
        K = K.astype(np.float64)
    K = np.ascontiguousarray(K.T if K.flags.f_contiguous else K)  # it is symmetric
    if check_finite and not np.isfinite(largest_entry(K)):
        i, j = np.argwhere(~np.isfinite(K))[0]
        raise ValueError(f"K must be finite, got {K[i, j]} at row {i}, column {j}")
    return frozen(K)


def largest_entry(K: Array) -> float:
    """Return the largest |K_ij|; NaN or infinity if there is one."""
    return float(largest_magnitude(frozen(K)))


def frozen(array: Array) -> Array:
    """Return a view that cannot be written to: compiled loops take one type of array only."""
    view = array.view()
    view.flags.writeable = False
    return view


def real_numbers(name: str, values: Any) -> Array:
    """Return a new finite array of float64."""
    refuse_masked(name, values)
    try:
        numbers = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must hold numbers, got {type(values).__name__}") from None
    if not np.isfinite(numbers).all():
        place = tuple(int(i) for i in np.argwhere(~np.isfinite(numbers))[0])
        raise ValueError(f"{name} must be finite, got {numbers[place]} at index {place}")
    return numbers


def check_vector(name: str, values: Any, n: int) -> Array:
    """Return a finite vector of float64, one number for each sample."""
    vector = real_numbers(name, values)
    if vector.shape != (n,):
        raise ValueError(f"{name} must have shape ({n},) as K has, got shape {vector.shape}")
    return vector


def check_costs(name: str, values: Any, n: int) -> Array:
    """Return one number of at least 0 for each sample; a single one is that of all."""
    costs = check_vector(name, [values] * n if np.ndim(values) == 0 else values, n)
    if costs.min(initial=0.0) < 0:
        place = costs.argmin()
        raise ValueError(f"{name} must not be negative, got {costs[place]} at index {place}")
    return costs


def check_number(name: str, value: Any) -> float:
    """Return a finite number of at least 0."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = np.nan
    if not 0 <= number < np.inf:
        raise ValueError(f"{name} must be a finite number of at least 0, got {value!r}")
    return number
