"""Tables of several modalities: how they are laid out, and which columns are whose."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from ._checks import listed

__all__ = [
    "cell_frame",
    "column_names",
    "modality_columns",
    "modality_slices",
    "presence",
    "step_index",
]


def column_names(dimensions: Mapping[str, int]) -> dict[str, list[str]]:
    """Name the columns of each modality: ``audio__0``, ``audio__1``, ..."""
    return {name: [f"{name}__{j}" for j in range(size)] for name, size in dimensions.items()}


def modality_slices(dimensions: Mapping[str, int]) -> dict[str, slice]:
    """Give the columns of each modality in a table where one stands after the other."""
    ends = np.cumsum(list(dimensions.values())).tolist()
    starts = [0, *ends]
    return {
        name: slice(start, end) for name, start, end in zip(dimensions, starts, ends, strict=False)
    }


def step_index(sequence: Iterable[Any]) -> pd.MultiIndex:
    """Index the steps of sequences: the id, and the number of the step inside it."""
    ids = pd.Series(np.asarray(sequence))
    return pd.MultiIndex.from_arrays(
        [ids, ids.groupby(ids).cumcount()], names=["sequence", "step"]
    )


def cell_frame(columns: Mapping[str, list[Any]], index: pd.Index) -> pd.DataFrame:
    """Make a frame of object columns whose cells hold one (T_i, d) array each."""
    frame = pd.DataFrame(index=index)
    for name, arrays in columns.items():
        cells = np.empty(len(arrays), dtype=object)
        for i, array in enumerate(arrays):
            cells[i] = array
        frame[name] = cells
    return frame


def modality_columns(X: Any, modalities: Any = None) -> dict[str, np.ndarray]:
    """Return the positions of each modality's columns in a frame or a 2-D array."""
    if modalities is None:
        return _prefixed(X)
    if not isinstance(modalities, Mapping) or not modalities:
        raise ValueError(
            f"modalities must map names to columns, such as {{'audio': slice(0, 10)}}, "
            f"got {modalities!r}"
        )
    columns = {name: _selected(X, name, selector) for name, selector in modalities.items()}
    _refuse_shared(columns)
    return columns


def _prefixed(X: Any) -> dict[str, np.ndarray]:
    if not isinstance(X, pd.DataFrame):
        raise ValueError("modalities must be given: only a pandas DataFrame names its columns")
    owners = [_owner(X, j) for j in range(X.shape[1])]
    nameless = [X.columns[j] for j, owner in enumerate(owners) if owner in ("", "remainder")]
    if nameless or not owners:
        raise ValueError(
            "modalities must be given: not every column of X has a name like 'audio__0', "
            f"whose prefix says the modality; without one: {listed(nameless) or 'all of 0'}"
        )
    return {
        name: np.flatnonzero([owner == name for owner in owners]) for name in dict.fromkeys(owners)
    }


def _owner(X: pd.DataFrame, j: int) -> str:
    name = X.columns[j]
    if not isinstance(name, str):
        return ""
    prefix, found, _ = name.partition("__")
    return prefix if found else name if _holds_sequences(X.iloc[:, j]) else ""


def _holds_sequences(column: pd.Series) -> bool:
    if column.dtype != object:
        return False
    cells = column.to_numpy()[column.notna().to_numpy()]
    return len(cells) > 0 and isinstance(cells[0], np.ndarray | list | tuple)


def _selected(X: Any, name: Any, selector: Any) -> np.ndarray:
    chosen = selector(X) if callable(selector) else selector
    try:
        positions = _positions(X, chosen)
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"modality {name!r} selects columns that X ({X.shape[1]} columns) does not have; "
            f"its selector is {selector!r} ({error})"
        ) from None
    if positions.size == 0:
        raise ValueError(
            f"modality {name!r} selects no columns of X ({X.shape[1]} columns); "
            f"its selector is {selector!r}"
        )
    return positions


def _positions(X: Any, chosen: Any) -> np.ndarray:
    everything = np.arange(X.shape[1])
    if _by_label(chosen):
        if not isinstance(X, pd.DataFrame):
            raise KeyError("an array has no column names")
        by_name = pd.Series(everything, index=X.columns)
        chosen = chosen if isinstance(chosen, str | slice) else list(chosen)
        return np.atleast_1d(by_name.loc[chosen])
    if isinstance(chosen, slice):
        return everything[chosen]
    picked = np.atleast_1d(chosen)
    if picked.ndim > 1 or (picked.size and picked.dtype.kind not in "iub"):
        raise TypeError("neither names, positions, a slice nor a boolean mask")
    return everything[picked] if picked.size else everything[:0]


def _by_label(chosen: Any) -> bool:
    if isinstance(chosen, slice):
        return isinstance(chosen.start, str) or isinstance(chosen.stop, str)
    return isinstance(chosen, str) or any(isinstance(label, str) for label in np.ravel(chosen))


def _refuse_shared(columns: Mapping[Any, np.ndarray]) -> None:
    owner: dict[int, Any] = {}
    for name, positions in columns.items():
        for position in positions.tolist():
            other = owner.setdefault(position, name)
            if other != name:
                raise ValueError(
                    f"modalities must not share columns: {other!r} and {name!r} both select "
                    f"column {position}"
                )


def presence(X: Any, columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """Tell where a modality has any value: boolean, shape (n_samples, n_modalities)."""
    present = np.zeros((len(X), len(columns)), dtype=bool)
    for j, positions in enumerate(columns.values()):
        for position in positions:
            if present[:, j].all():
                break
            column = X.iloc[:, position] if isinstance(X, pd.DataFrame) else X[:, position]
            present[:, j] |= _has_value(column)
    return present


def _has_value(column: Any) -> np.ndarray:
    found = np.array(pd.notna(column), dtype=bool)
    if column.dtype == object:
        cells = np.asarray(column, dtype=object)
        for i in np.flatnonzero(found):
            if isinstance(cells[i], np.ndarray) and cells[i].size:
                found[i] = pd.notna(cells[i]).any()
    return found
