"""What the solvers take: square kernels, targets by problem, costs by sample."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import linalg

from .._validation import refuse_masked
from ._smo_loops import largest_magnitude

__all__ = [
    "check_cost_table",
    "check_costs",
    "check_gram",
    "check_kernel",
    "check_number",
    "check_psd",
    "check_signs",
    "check_stack",
    "check_target",
    "check_vector",
    "frozen",
    "largest_entry",
    "real_array",
    "refuse_other_signs",
    "rows_by_problem",
    "square_root",
]

Array = np.ndarray

ROUNDINGS = 8  # what rounding leaves of a zero after some sums, in units of the last place


def real_array(name: str, values: Any, ndims: tuple[int, ...], *, finite: bool = True) -> Array:
    """Return an array of finite real numbers; floats as they are, all else as float64."""
    refuse_masked(name, values)
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ValueError(f"{name} must be an array of numbers: {error}") from None
    if array.ndim not in ndims or array.dtype.kind not in "biuf":
        wanted = " or ".join(f"{ndim}-D" for ndim in ndims if ndim)
        raise ValueError(
            f"{name} must be a {wanted} array of real numbers, got "
            f"{type(values).__name__} of shape {array.shape} and dtype {array.dtype}"
        )
    if array.dtype not in (np.float32, np.float64):
        array = array.astype(np.float64)
    if finite and not np.isfinite(array).all():
        place = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise ValueError(f"{name} must be finite, got {array[place]} at index {place}")
    return array


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


def check_gram(name: str, K: Any) -> Array:
    """Return one square symmetric matrix of floats."""
    matrix = real_array(name, K, (2,))
    if matrix.shape[0] != matrix.shape[1] or not matrix.size:
        raise ValueError(
            f"{name} must be the square Gram matrix of at least one sample, got shape "
            f"{matrix.shape}"
        )
    eps = np.finfo(matrix.dtype).eps
    gap = np.abs(np.subtract(matrix, matrix.T, dtype=np.float64))
    if gap.max() > np.sqrt(eps) * np.abs(matrix).max():
        i, j = np.unravel_index(gap.argmax(), gap.shape)
        raise ValueError(
            f"{name} must be symmetric, got {matrix[i, j]:.6g} at row {i}, column {j} "
            f"and {matrix[j, i]:.6g} at row {j}, column {i}"
        )
    return matrix


def check_stack(Ks: Any) -> list[Array]:
    """Return the matrices of an (n_kernels, n, n) array or of a sequence, all of one shape."""
    if not np.iterable(Ks) or isinstance(Ks, str):
        raise ValueError(f"Ks must hold one Gram matrix per kernel, got {Ks!r}")
    matrices = [check_gram(f"Ks[{m}]", K) for m, K in enumerate(Ks)]
    if not matrices:
        raise ValueError("Ks holds no kernel; at least one is needed")
    for m, matrix in enumerate(matrices):
        if matrix.shape != matrices[0].shape:
            raise ValueError(
                f"all kernels must have one shape: Ks[0] has {matrices[0].shape}, "
                f"Ks[{m}] has {matrix.shape}"
            )
    return matrices


def check_psd(name: str, values: Array, noise: float) -> None:
    """Refuse eigenvalues that are more negative than rounding makes them."""
    if values.min() < -noise:
        raise ValueError(
            f"{name} must be positive semi-definite, but its smallest eigenvalue is "
            f"{values.min():.6g} (the largest is {values.max():.6g}); "
            "mkfusion.kernels.nearest_psd returns the nearest matrix that is"
        )


def square_root(name: str, K: Array) -> Array:
    """Return L with K = L L' and as many columns as K has rank; refuse an indefinite matrix."""
    values, vectors = linalg.eigh(K.astype(np.float64))
    noise = ROUNDINGS * len(K) * float(np.finfo(K.dtype).eps) * float(np.abs(K).max())
    check_psd(name, values, noise)
    kept = values > noise / ROUNDINGS
    return vectors[:, kept] * np.sqrt(values[kept])


def check_cost_table(C: Any, shape: tuple[int, ...]) -> Array:
    """Return one non-negative cost for each sample, or sample and problem; some above 0."""
    costs = real_array("C", C, (0, 1, 2)).astype(np.float64)
    if costs.ndim == 1 and len(shape) == 2:
        costs = costs[:, None]
    try:
        costs = np.array(np.broadcast_to(costs, shape))
    except ValueError:
        raise ValueError(
            f"C must be a number or hold one per sample (shape {shape[:1]}, or {shape}), "
            f"got shape {np.shape(C)}"
        ) from None
    if costs.min(initial=0.0) < 0:
        raise ValueError(f"C must not be negative, got {costs.min():.6g}")
    if not costs.any(axis=0).all():
        raise ValueError("C must be above 0 for some samples, got 0 for all")
    return costs


def check_signs(name: str, y: Any, n_samples: int) -> Array:
    """Return a target of -1 and 1 as float64."""
    signs = check_target(name, y, n_samples)
    refuse_other_signs(name, signs)
    return signs


def refuse_other_signs(name: str, signs: Array) -> None:
    """Refuse numbers other than -1 and 1."""
    wrong = signs[np.abs(signs) != 1.0]
    if len(wrong):
        raise ValueError(f"{name} must hold -1 and 1 only, got {wrong[0]:g}")


def check_target(name: str, y: Any, n_samples: int) -> Array:
    """Return a target of shape (n_samples,) or (n_samples, n_problems) as float64."""
    target = real_array(name, y, (1, 2)).astype(np.float64)
    if target.shape[0] != n_samples or not target.size:
        raise ValueError(
            f"{name} must hold one value for each of the {n_samples} samples, got shape "
            f"{target.shape}"
        )
    return target


def check_vector(name: str, values: Any, n: int) -> Array:
    """Return a new finite vector of float64, one number for each sample."""
    vector = np.array(real_array(name, values, (0, 1, 2)), dtype=np.float64)
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


def check_number(name: str, value: Any, least: float = 0.0, largest: float = np.inf) -> float:
    """Return a finite number between two others."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = np.nan
    if not least <= number <= largest or np.isinf(number):
        most = "" if np.isinf(largest) else f" and at most {largest:g}"
        raise ValueError(
            f"{name} must be a finite number of at least {least:g}{most}, got {value!r}"
        )
    return number


def rows_by_problem(name: str, values: Any, n_problems: int) -> Any:
    """Return one row of values for each problem; what is no table holds for all."""
    if values is None or np.ndim(values) < 2:
        return [values] * n_problems
    if len(values) != n_problems:
        raise ValueError(f"{name} must have {n_problems} rows as Y has, got {len(values)}")
    return values
