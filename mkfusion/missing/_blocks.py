"""Tables of numbers in which whole modalities are missing: read, and filled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from .._selectors import Columns, as_list
from .._validation import listed

__all__ = ["blank_modalities", "fill_entries", "missing_entries", "refuse_sparse", "table_numbers"]

Array = np.ndarray


def refuse_sparse(X: Any, why: str) -> None:
    """Refuse a sparse matrix, whose zeros are no missing values."""
    if sparse.issparse(X):
        raise TypeError(
            f"Sparse data was passed, but dense data is required: {why}; pass X.toarray()"
        )


def table_numbers(X: Any, columns: Mapping[str, Columns]) -> Array:
    """Return the modalities' columns as float64, in the order of X; refuse all but numbers."""
    owner = {j: name for name, own in columns.items() for j in as_list(own)}
    values = np.empty((X.shape[0], len(owner)))
    labels = list(X.columns) if isinstance(X, pd.DataFrame) else list(range(X.shape[1]))
    for place, j in enumerate(sorted(owner)):
        column = X.iloc[:, j] if isinstance(X, pd.DataFrame) else X[:, j]
        what = f"modality {owner[j]!r}: column {labels[j]!r}"
        values[:, place] = _numbers(column, what)
        if np.isinf(values[:, place]).any():
            raise ValueError(f"{what} holds infinity; only finite numbers can be completed")
    return values


def _numbers(column: Any, what: str) -> Array:
    if pd.api.types.is_numeric_dtype(column.dtype):
        if isinstance(column, pd.Series):
            return column.to_numpy(dtype=np.float64, na_value=np.nan)
        return column.astype(np.float64)
    cells = np.asarray(column, dtype=object)
    told = "; leave it out of the modality, or make numbers of it beforehand"
    if column.dtype != object:
        text = next((cell for cell in cells if isinstance(cell, str)), None)
        kind = "text" if text is not None else str(column.dtype)
        raise ValueError(f"{what} holds {kind}, no numbers{told}")
    numbers = np.full(len(cells), np.nan)
    for i in np.flatnonzero(~np.asarray(_is_na(cells))):
        if isinstance(cells[i], str):
            raise ValueError(f"{what} holds text ({cells[i]!r}), no numbers{told}")
        try:
            numbers[i] = float(cells[i])
        except (TypeError, ValueError) as error:
            raise type(error)(f"{what} holds {type(cells[i]).__name__}: {error}{told}") from None
    return numbers


def _is_na(cells: Array) -> list[bool]:
    return [pd.api.types.is_scalar(cell) and bool(pd.isna(cell)) for cell in cells]


def missing_entries(presence: Mapping[str, Array], columns: Mapping[str, Columns]) -> Array:
    """Return the entries of missing modalities: bool of (n_samples, n_columns), in X's order."""
    places = {
        j: k for k, j in enumerate(sorted({j for c in columns.values() for j in as_list(c)}))
    }
    n_samples = len(next(iter(presence.values())))
    lost = np.zeros((n_samples, len(places)), bool)
    for name, own in columns.items():
        lost[np.ix_(~presence[name], np.array([places[j] for j in as_list(own)]))] = True
    return lost


def fill_entries(X: Any, kept: list[int], lost: Array, filled: Array) -> Any:
    """Return a copy of X's kept columns, with the lost entries filled and all others as they were.

    Types stay where the filled numbers fit: floats of any width do, integers and truth values do
    not.
    """
    if not isinstance(X, pd.DataFrame):
        table = X[:, kept]
        dtype = table.dtype if table.dtype.kind == "f" or not lost.any() else np.float64
        if table.dtype.kind == "O":
            table, dtype = np.where(_object_na(table), np.nan, table), np.dtype(np.float64)
        table = table.astype(dtype)
        table[lost] = filled[lost]
        return table
    result = X.iloc[:, kept].copy()
    for k in range(len(kept)):
        column = result.iloc[:, k]
        if lost[:, k].any() or column.dtype == object:
            result.isetitem(k, _filled_column(column, lost[:, k], filled[:, k]))
    return result


def _object_na(table: Array) -> Array:
    return np.array([_is_na(row) for row in table], dtype=bool).reshape(table.shape)


def _filled_column(column: pd.Series, lost: Array, filled: Array) -> pd.Series:
    dtype: Any = column.dtype
    if pd.api.types.is_object_dtype(dtype):
        column = pd.Series(_numbers(column, "a column"), index=column.index, name=column.name)
    elif isinstance(dtype, np.dtype):
        column = column.copy()
    elif not pd.api.types.is_float_dtype(dtype):  # the nullable integers and truth values
        column = column.astype("Float64")
    if lost.any():
        column.iloc[np.flatnonzero(lost)] = filled[lost].astype(
            column.dtype if isinstance(column.dtype, np.dtype) else np.float64
        )
    return column


def blank_modalities(X: Any, columns: Mapping[str, Columns], lost: Mapping[str, Array]) -> Any:
    """Return a copy of X without the modalities that are lost: NaN, None in object columns.

    Integers and truth values become float64 in a modality that is lost somewhere.
    """
    losses = [(as_list(columns[name]), rows) for name, rows in lost.items() if rows.any()]
    if not isinstance(X, pd.DataFrame):
        becomes: dict[str, Any] = {"b": np.float64, "i": np.float64, "u": np.float64}
        becomes |= {"U": object, "S": object}
        result = np.array(X, dtype=becomes.get(X.dtype.kind, X.dtype) if losses else X.dtype)
        for own, rows in losses:
            result[np.ix_(rows, np.array(own))] = None if result.dtype == object else np.nan
        return result
    result = X.copy()
    for own, rows in losses:
        for j in own:
            column = result.iloc[:, j]
            if column.dtype == object:
                cells = column.to_numpy(dtype=object, copy=True)
                cells[rows] = None
                column = pd.Series(cells, index=column.index, dtype=object, name=column.name)
            else:
                if isinstance(column.dtype, np.dtype) and column.dtype.kind in "biu":
                    column = column.astype(np.float64)
                column = column.mask(rows)
            result.isetitem(j, column)
    return result


def check_rates(rates: Any, names: list[str]) -> dict[str, float]:
    """Return the rate of each modality, from one number or from numbers by name."""
    if isinstance(rates, Mapping):
        unknown = [name for name in rates if name not in names]
        if unknown:
            raise ValueError(
                f"rates names {listed(unknown)}, which is no modality of X; the modalities are "
                f"{listed(names, 30)}"
            )
        found = {name: rates.get(name, 0.0) for name in names}
    else:
        found = dict.fromkeys(names, rates)
    for name, rate in found.items():
        valid = isinstance(rate, int | float | np.number) and not isinstance(rate, bool)
        if not valid or not 0 <= rate <= 1:
            raise ValueError(f"rates must lie between 0 and 1, got {rate!r} for modality {name!r}")
    return {name: float(rate) for name, rate in found.items()}
