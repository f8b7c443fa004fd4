"""Tables whose cells hold sequences, and blocks of columns, as flat arrays of steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
import pandas as pd
from scipy import sparse

from .._selectors import as_list, is_missing_scalar
from .._validation import frame_values, is_frame, listed, refuse_masked
from ..modality import fill_cells, take_block

__all__ = [
    "as_cell_table",
    "cell_columns",
    "check_present",
    "float_block",
    "holds_cells",
    "label_of",
    "read_cells",
    "refuse_sparse",
]

Array = np.ndarray


def as_cell_table(X: Any) -> Any:
    """Return X as a table: a bare list of arrays, or an array of them, is a column of cells."""
    refuse_masked("X", X)
    if is_frame(X) or sparse.issparse(X):
        return X
    if isinstance(X, Mapping):
        raise TypeError(
            "X is a mapping, which cannot be sliced into folds; make a frame of it with "
            "mkfusion.graphical.as_sequence_frame(X)"
        )
    if isinstance(X, pd.Series):
        return X.to_frame("X" if X.name is None else X.name)
    if isinstance(X, list | tuple):
        return fill_cells(X)[:, None] if _lists_cells(X) else X
    if isinstance(X, np.ndarray) and (X.ndim == 3 or (X.ndim == 1 and _are_cells(X))):
        return fill_cells(X)[:, None]
    return X


def _lists_cells(X: Sequence[Any]) -> bool:
    """Tell whether a list holds sequences, not rows of numbers."""
    first = next((cell for cell in X if not is_missing_scalar(cell)), None)
    if isinstance(first, list | tuple):
        if len(first) and isinstance(first[0], list | tuple | np.ndarray):
            return True
        if len({len(row) for row in X if isinstance(row, list | tuple)}) > 1:
            raise ValueError(
                "X is a list of lists of different lengths; if each is a sequence, pass a list "
                "of arrays: [np.array(cell) for cell in X]"
            )
        return False
    return isinstance(first, np.ndarray | pd.Series | pd.DataFrame) and first.ndim > 0


def _are_cells(column: Any) -> bool:
    """Tell whether a column holds sequences, by the first cell that is there."""
    if column.dtype != object:
        return False
    first = next((cell for cell in column if not is_missing_scalar(cell)), None)
    return isinstance(first, list | tuple) or getattr(first, "ndim", 0) > 0


def _column(table: Any, j: int) -> Any:
    return table.iloc[:, j].to_numpy() if isinstance(table, pd.DataFrame) else table[:, j]


def cell_columns(table: Any, columns: Sequence[int]) -> list[int]:
    """Return which of a table's columns hold sequences."""
    if isinstance(table, pd.DataFrame):
        dtypes = table.dtypes.tolist()
        columns = [j for j in columns if dtypes[j] == "object"]
    elif table.dtype != object:
        return []
    return [j for j in columns if _are_cells(_column(table, j))]


def holds_cells(X: Any) -> bool:
    """Tell whether X has cells that hold sequences, as X is given to an estimator."""
    table = as_cell_table(X)
    if isinstance(table, pd.DataFrame) or (isinstance(table, np.ndarray) and table.ndim == 2):
        return bool(cell_columns(table, range(table.shape[1])))
    return False


def label_of(rows: Any, i: int) -> Any:
    """Return the label of a row, its place where there are no labels."""
    label = i if rows is None else rows[i]
    return tuple(map(_plain, label)) if isinstance(label, tuple) else _plain(label)


def _plain(label: Any) -> Any:
    return label.item() if isinstance(label, np.generic) else label


def _names(table: Any, columns: Sequence[int]) -> str:
    return listed(table.columns[j] if isinstance(table, pd.DataFrame) else j for j in columns)


def refuse_sparse(table: Any, columns: Mapping[str, Any], frames: bool = False) -> None:
    """Refuse sparse matrices, and sparse columns of a frame by name unless ``frames``."""
    if sparse.issparse(table):
        way = "pd.DataFrame.sparse.from_spmatrix(X, index=...)" if frames else "X.toarray()"
        raise TypeError(f"X is a sparse matrix, in which no sequence can be read: pass {way}")
    if frames or not isinstance(table, pd.DataFrame):
        return
    dtypes = table.dtypes.tolist()
    if not any(isinstance(dtype, pd.SparseDtype) for dtype in dtypes):
        return
    for name, own in columns.items():
        found = [j for j in as_list(own) if isinstance(dtypes[j], pd.SparseDtype)]
        if found:
            raise TypeError(
                f"modality {name!r}: columns {_names(table, found)} are sparse; the steps of "
                "sequences must be dense: pass X.sparse.to_dense()"
            )


# Cells --------------------------------------------------------------------------------------


def read_cells(
    name: str, table: Any, columns: Sequence[int], cells: Sequence[int], width: int | None
) -> tuple[Array, Array]:
    """Return the steps of a modality end to end, and how many each row has.

    ``cells`` are those of its columns that hold sequences; ``width`` is the number of features
    that a step must have.
    """
    others = [j for j in columns if j not in cells and not pd.isna(_column(table, j)).all()]
    if others:
        raise ValueError(
            f"modality {name!r}: columns {_names(table, others)} hold single values and "
            f"{_names(table, cells)} whole sequences; make them two modalities"
        )
    rows = table.index if isinstance(table, pd.DataFrame) else None
    parts = [
        [_cell(name, rows, i, cell) for i, cell in enumerate(_column(table, j))] for j in columns
    ]
    own = parts[0] if len(parts) == 1 else _side_by_side(name, rows, parts)
    there = [cell for cell in own if cell is not None]
    lengths = np.array([0 if cell is None else len(cell) for cell in own], np.int64)
    if not there:
        return np.empty((0, width or 0)), lengths
    expected = there[0].shape[1] if width is None else width
    for i, cell in enumerate(own):
        if cell is not None and cell.shape[1] != expected:
            raise ValueError(
                f"modality {name!r}: row {label_of(rows, i)!r} has {cell.shape[1]} features at "
                f"each step, {'those before' if width is None else 'at fit they'} had {expected}"
            )
    values = np.concatenate(there) if len(there) > 1 else there[0]
    return np.ascontiguousarray(values), lengths


def _cell(name: str, rows: Any, i: int, cell: Any) -> Array | None:
    """Return a cell as an array of shape (n_steps, n_features), None where it is absent."""
    if type(cell) is np.ndarray and cell.dtype == np.float64:
        values = cell
    elif is_missing_scalar(cell):
        return None
    else:
        values = _converted(f"modality {name!r}: row {label_of(rows, i)!r}", cell)
    if values.ndim == 1:
        values = values[:, None]
    if values.ndim != 2 or not values.size:
        _refuse_shape(f"modality {name!r}: row {label_of(rows, i)!r}", np.shape(cell))
    return values


def _refuse_shape(where: str, shape: tuple[int, ...]) -> NoReturn:
    if shape and shape[0] == 0:
        raise ValueError(f"{where} holds a sequence of length 0; one that is absent is None")
    raise ValueError(
        f"{where} holds an array of shape {shape}; a sequence has shape (n_steps, n_features) or "
        "(n_steps,), and is None where it is absent"
    )


def _converted(where: str, cell: Any) -> Array:
    """Return a cell that is no plain array of float64 as one, or as an object array of symbols."""
    if isinstance(cell, np.ma.MaskedArray) and np.ma.is_masked(cell):
        raise ValueError(
            f"{where} holds a masked array, whose mask would be lost; put in "
            "cell.astype(float).filled(np.nan)"
        )
    if not (isinstance(cell, list | tuple) or getattr(cell, "ndim", None)):
        raise ValueError(f"{where} holds {cell!r} where others hold sequences")
    try:
        values = np.asarray(cell)
        if values.dtype.kind in "US" and not isinstance(cell, np.ndarray):
            values = np.asarray(cell, dtype=object)  # numpy made text of what is missing
        return _numbers(values)
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{where} holds no sequence of numbers or of text: {error}") from None


def _numbers(values: Array) -> Array:
    """Return values as float64; text stays as it is, in an object array."""
    kind = values.dtype.kind
    if kind in "UST":
        return values.astype(object)
    if kind == "O":
        missing = pd.isna(values)
        if pd.api.types.infer_dtype(values.ravel(), skipna=True) in ("string", "bytes"):
            values = values.copy()
            values[missing] = None
            return values
        values = np.where(missing, np.nan, values)
    elif kind not in "fiub":
        raise TypeError(f"{values.dtype} is no type of numbers")
    return values.astype(np.float64, copy=False)


def _side_by_side(
    name: str, rows: Any, parts: Sequence[Sequence[Array | None]]
) -> list[Array | None]:
    """Return the cells of several columns as one of all their features."""
    joined: list[Array | None] = []
    for i, own in enumerate(zip(*parts, strict=True)):
        there = [cell for cell in own if cell is not None]
        lengths = [0 if cell is None else len(cell) for cell in own]
        if len(set(lengths)) > 1:
            raise ValueError(
                f"modality {name!r}: row {label_of(rows, i)!r} has sequences of {lengths} steps "
                "in its columns; the features of a modality have the same steps"
            )
        joined.append(np.hstack(there) if there else None)
    return joined


# Columns ------------------------------------------------------------------------------------


def float_block(name: str, table: Any, columns: Sequence[int]) -> Array:
    """Return columns as a C-contiguous array of float64, or of symbols where they hold text."""
    block = take_block(table, list(columns))
    values = frame_values(block) if isinstance(block, pd.DataFrame) else block
    try:
        return np.ascontiguousarray(_numbers(values))
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(
            f"modality {name!r}{_culprit(table, columns)}: no number and no text: {error}"
        ) from None


def _culprit(table: Any, columns: Sequence[int]) -> str:
    """Name the first column that holds no numbers."""
    for j in columns:
        column = _column(table, j)
        try:
            _numbers(np.asarray(column))
        except (TypeError, ValueError):
            return f", column {_names(table, [j])}"
    return f", columns {_names(table, columns)}"


def check_present(
    name: str, values: Array, where: Callable[[int], str], holes: bool = False
) -> tuple[Array, Array]:
    """Return values with 0 at steps that are NaN throughout, and which steps are there.

    A step with NaN beside numbers, or with infinity, is refused unless ``holes`` lets it be;
    ``where`` names a step.
    """
    if values.dtype == object:
        missing = np.asarray(pd.isna(values))
    else:
        with np.errstate(invalid="ignore", over="ignore"):
            if np.isfinite(values.sum()):  # one pass, and no array of flags
                return values, np.ones(len(values), bool)
        missing = np.isnan(values)
        infinite = np.isinf(values)
        if not holes and infinite.any():
            step, j = np.argwhere(infinite)[0]
            raise ValueError(
                f"modality {name!r}, {where(int(step))}: feature {j} is infinity or too large for "
                f"a number: {values[step, j]}"
            )
    present: Array = ~np.logical_and.reduce(missing, axis=1)
    partial = missing.any(axis=1) & present
    if not holes and partial.any():
        step = int(np.flatnonzero(partial)[0])
        raise ValueError(
            f"modality {name!r}, {where(step)}: {int(missing[step].sum())} of "
            f"{values.shape[1]} features are NaN; a step is there with all features or absent "
            "with all NaN: impute it, for instance by StepwiseTransformer(SimpleImputer())"
        )
    if not present.all():
        values = values.copy()
        values[~present] = None if values.dtype == object else 0.0
    return values, present
