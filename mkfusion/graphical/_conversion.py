"""Sequences as users have them, made into the two frames that estimators read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from .._selectors import as_list, check_names, resolve_modalities
from .._validation import as_table, is_frame, listed
from ..modality import fill_cells, join_modalities, to_sequences
from ._cells import as_cell_table, cell_columns, holds_cells, read_cells
from ._streams import ByModality, read_modality, synchronous

__all__ = ["as_sequence_frame", "as_step_frame"]

Array = np.ndarray


def as_sequence_frame(
    X: Any,
    by: str = "sequence",
    *,
    modalities: Mapping[str, Any] | None = None,
    keep: str | Iterable[str] = (),
    how: str = "inner",
) -> pd.DataFrame:
    """Make a frame with one row per sample, whose cells hold sequences.

    Parameters
    ----------
    X : mapping of str to sequences, or sequences
        By modality, or of one modality, which is then called "X": a list of arrays of shape
        (n_steps, n_features) or (n_steps,), None where a sample lacks it; an object array or a
        Series of them; or an array of shape (n_samples, n_steps, n_features), where steps at the
        end that are NaN throughout are taken off as padding. A long DataFrame with one row per
        step may hold several modalities; in a mapping it is one.
    by : str, default="sequence"
        The column or index level of a long DataFrame that names the sequence of a step.
    modalities : mapping of str to column selector, default=None
        The modalities of one long DataFrame; None reads the prefixes before ``__``.
    keep : str or iterable of str, default=()
        Columns of one long DataFrame that are constant within sequences, kept as they are.
    how : {"inner", "outer"}, default="inner"
        For a mapping of long DataFrames or Series: the samples that all have, or that any has.

    Returns
    -------
    frame : DataFrame
        A column for each modality, whose cells are arrays of shape (n_steps, n_features), or None.

    Raises
    ------
    ValueError
        If a cell holds no sequence, is empty, or has another width than those before; if
        modalities have different numbers of samples.
    TypeError
        If X is nothing of the above.

    See Also
    --------
    as_step_frame : The way back.

    Examples
    --------
    >>> import numpy as np
    >>> from mkfusion.graphical import as_sequence_frame
    >>> X = as_sequence_frame({"audio": [np.zeros((5, 2)), np.zeros((3, 2))],
    ...                        "video": [np.zeros((2, 1)), None]})
    >>> X["audio"].map(len).tolist()
    [5, 3]
    """
    if isinstance(X, Mapping) and not is_frame(X):
        check_names(X, ())
        if modalities is not None or keep:
            raise ValueError("modalities and keep are for one long DataFrame, and X is a mapping")
        return join_modalities({name: _one(name, own, by) for name, own in X.items()}, how)
    if is_frame(X):
        frame = as_table(X)
        if not holds_cells(frame):
            return to_sequences(frame, by, modalities=modalities, keep=keep)
        result = frame.copy()
        for j in cell_columns(frame, range(frame.shape[1])):
            result.isetitem(j, _read(str(frame.columns[j]), frame, j))
        return result
    return _one("X", X, by).to_frame("X")


def _one(name: str, X: Any, by: str) -> pd.Series:
    """Return one modality as a Series of cells."""
    if is_frame(X):
        frame = as_table(X)
        if by not in frame.columns and by not in frame.index.names:
            raise ValueError(
                f"modality {name!r}: the frame has neither a column nor an index level {by!r}, "
                "which names the sequence of a step"
            )
        own = [column for column in frame.columns if column != by]
        return to_sequences(frame, by, modalities={name: own})[name]
    if isinstance(X, np.ndarray) and X.ndim == 3 and X.dtype.kind == "f":
        X = [_without_padding(cell) for cell in X]
    elif isinstance(X, list | tuple):
        X = fill_cells(X)
    table = as_cell_table(X)
    if not holds_cells(table):
        raise TypeError(
            f"modality {name!r} holds no sequences: it must be a list of arrays, an object array "
            "or a Series of them, an array of shape (n_samples, n_steps, n_features), or a long "
            f"DataFrame, got {type(X).__name__}"
        )
    index = table.index if isinstance(table, pd.DataFrame) else None
    return pd.Series(_read(name, table, 0), index=index, dtype=object)


def _without_padding(cell: Array) -> Array | None:
    there = np.flatnonzero(~np.isnan(cell).all(axis=1))
    return cell[: there[-1] + 1] if there.size else None


def _read(name: str, table: Any, j: int) -> Array:
    """Return a column's cells as arrays of shape (n_steps, n_features)."""
    values, lengths = read_cells(name, table, [j], [j], None)
    cells = np.split(values.copy(), np.cumsum(lengths)[:-1])
    return fill_cells(cell if len(cell) and not pd.isna(cell).all() else None for cell in cells)


def as_step_frame(
    X: Any,
    modalities: Mapping[str, Any] | None = None,
    *,
    names: Mapping[str, Sequence[str]] | None = None,
    sequence: str = "sequence",
    step: str = "step",
) -> pd.DataFrame:
    """Make a frame with one row per step of sequences that stand in cells.

    Parameters
    ----------
    X : DataFrame, list of arrays or array of shape (n_samples, n_steps, n_features)
        One row per sample. The modalities of a sample have the same steps, or are absent.
    modalities : mapping of str to column selector, default=None
        As ``ColumnTransformer`` takes them; None takes each column of sequences for a modality.
    names : mapping of str to sequence of str, default=None
        Names of the features by modality; where there are none they are numbered.
    sequence : str, default="sequence"
        The name of the index level that holds the rows' labels in X, or their places.
    step : str, default="step"
        The name of the index level that numbers the steps of a sequence from 0 on.

    Returns
    -------
    frame : DataFrame of shape (n_steps, n_features)
        With columns ``modality__name``; NaN where a modality is absent.

    Raises
    ------
    ValueError
        If modalities of a sample have different numbers of steps, if labels of rows stand more
        than once, or if there is another number of names than of features.

    See Also
    --------
    as_sequence_frame : The way back.

    Examples
    --------
    >>> import numpy as np
    >>> from mkfusion.graphical import as_sequence_frame, as_step_frame
    >>> X = as_sequence_frame({"audio": [np.array([1.0, 2.0]), np.array([3.0])],
    ...                        "video": [np.array([0.1, 0.2]), None]})
    >>> as_step_frame(X, names={"audio": ["pitch"], "video": ["hue"]})
                   audio__pitch  video__hue
    sequence step
    0        0              1.0         0.1
             1              2.0         0.2
    1        0              3.0         NaN
    """
    table = as_table(as_cell_table(X))
    index = table.index if isinstance(table, pd.DataFrame) else pd.RangeIndex(len(table))
    if not index.is_unique:
        twice = index[index.duplicated()].unique()
        raise ValueError(
            f"labels {listed(twice)} of rows stand more than once, so that their sequences could "
            "not be told apart; pass X.reset_index(drop=True)"
        )
    columns = resolve_modalities(table, modalities)
    found = ByModality()
    found.rows = index
    for name, own in columns.items():
        found[name] = read_modality(name, table, as_list(own), holes=True)
    streams, offsets = synchronous(found)
    frames = []
    for name, stream in zip(found, streams, strict=True):
        values = stream.values.copy()
        values[~stream.present] = None if values.dtype == object else np.nan
        labels = _labels(name, values.shape[1], names or {})
        frames.append(pd.DataFrame(values, columns=labels))
    frame = pd.concat(frames, axis=1)
    lengths = np.diff(offsets)
    rows = np.repeat(np.arange(len(lengths)), lengths)
    levels = [index.get_level_values(i)[rows] for i in range(index.nlevels)]
    titles = [sequence] if index.nlevels == 1 else list(index.names)
    places = np.arange(offsets[-1]) - offsets[rows]
    frame.index = pd.MultiIndex.from_arrays([*levels, places], names=[*titles, step])
    return frame


def _labels(name: str, width: int, names: Mapping[str, Sequence[str]]) -> list[str]:
    own = list(names.get(name, range(width)))
    if len(own) != width:
        raise ValueError(f"modality {name!r} has {width} features, and names has {len(own)}")
    return [f"{name}__{label}" for label in own]
