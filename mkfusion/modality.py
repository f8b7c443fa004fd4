"""How one X divides into named modalities, and who has which.

Every estimator takes one X and a ``modalities`` mapping from names to column selectors, so that
splitters, scorers and searches slice X as they always do. Without a mapping the prefix before
``__`` in a DataFrame's column names names the modality, and a column whose cells hold whole
sequences is a modality by itself.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.utils.validation import check_is_fitted, validate_data

from ._selectors import (
    Columns,
    as_list,
    check_names,
    holds_sequences,
    is_missing_scalar,
    left_over,
    resolve_modalities,
)
from ._validation import as_table, check_option, frame_values, is_frame, listed

__all__ = ["join_modalities", "modality_mask", "split_modalities", "to_sequences"]

# Blocks -------------------------------------------------------------------------------------


def take_block(X: Any, columns: Columns, rows: np.ndarray | None = None) -> Any:
    """Return one modality's columns: a view where that is possible, 1-D for a scalar selector.

    ``rows`` is a boolean mask; None or all True takes every row. A sparse column stays 2-D.
    """
    if rows is not None and rows.all():
        rows = None
    if sparse.issparse(X):
        columns = as_list(columns)
    wanted: Any = columns
    if isinstance(columns, list) and columns == list(range(columns[0], columns[-1] + 1)):
        wanted = slice(columns[0], columns[-1] + 1)
    if isinstance(X, pd.DataFrame):
        return X.iloc[:, wanted] if rows is None else X.iloc[np.flatnonzero(rows), wanted]
    block = X[:, wanted]
    if sparse.issparse(block):
        block = block.tocsr()
    return block if rows is None else block[rows]


def presence(X: Any, columns: Mapping[str, Columns]) -> np.ndarray:
    """Return who has which modality: bool of shape (n_modalities, n_samples).

    A modality is missing for a sample when all its columns are NaN (None for text, for a
    sequence a cell that is None or all NaN).
    """
    return np.array([_present(X, as_list(found)) for found in columns.values()])


def _present(X: Any, columns: list[int]) -> np.ndarray:
    if sparse.issparse(X):
        block = take_block(X, columns).tocsr()
        if not block.has_canonical_format:  # an entry may be stored in parts
            block = block.copy()
            block.sum_duplicates()
        holes = np.isnan(block.data) if block.dtype.kind == "f" else np.zeros(block.nnz, bool)
        rows = np.repeat(np.arange(block.shape[0]), np.diff(block.indptr))
        return np.bincount(rows[holes], minlength=block.shape[0]) < len(columns)
    # Only a sample that lacks the first column can lack them all.
    suspects = _is_missing(take_block(X, columns[0]))
    if suspects.any() and len(columns) > 1:
        rest = take_block(X, columns[1:], suspects)
        suspects[suspects] = _is_missing_block(rest)
    return ~suspects


def _is_missing_block(block: Any) -> np.ndarray:
    if isinstance(block, pd.DataFrame):
        missing = [_is_missing(block.iloc[:, j]) for j in range(block.shape[1])]
    else:
        missing = [_is_missing(block[:, j]) for j in range(block.shape[1])]
    return np.logical_and.reduce(missing)


def _is_missing(column: Any) -> np.ndarray:
    missing = np.array(pd.isna(column), dtype=bool)
    if column.dtype == object:
        for i in np.flatnonzero(~missing):
            cell = column.iloc[i] if isinstance(column, pd.Series) else column[i]
            missing[i] = _is_missing_cell(cell)
    return missing


def _is_missing_cell(cell: Any) -> bool:
    """Tell whether a cell, or every number of the sequence in it, is missing."""
    if isinstance(cell, np.ndarray):
        return cell.size > 0 and bool(pd.isna(cell).all())
    if isinstance(cell, list | tuple):
        return len(cell) > 0 and all(map(_is_missing_cell, cell))
    return is_missing_scalar(cell)


# The mixin ----------------------------------------------------------------------------------


class MultimodalMixin:
    """How a fusion estimator reads X: needs ``modalities``, ``remainder``, ``allow_overlap``."""

    modalities: Mapping[str, Any] | None
    remainder: str
    allow_overlap: bool

    def _read_fit(self, X: Any) -> Any:
        """Check X, resolve its modalities, store both, and return X as a table."""
        table = as_table(X, self)
        validate_data(self, X if is_frame(X) else table, skip_check_array=True)
        self._columns = self._resolved(table)
        self._unused = left_over(table, self._columns, self._aside(table))
        self._labels = list(table.columns) if isinstance(table, pd.DataFrame) else None
        self.modalities_ = _selectors(table, self._columns)
        return table

    def _resolved(self, table: Any) -> dict[str, Columns]:
        """Return the positions of each modality's columns."""
        return resolve_modalities(
            table,
            self.modalities,
            remainder=self.remainder,
            allow_overlap=self.allow_overlap,
            reserved={"estimator", *self.get_params(deep=False)},  # type: ignore[attr-defined]
            aside=self._aside(table),
            fitting=True,
        )

    def _aside(self, table: Any) -> list[int]:
        """Return the positions of the columns that hold no features."""
        return []

    def _read(self, X: Any) -> Any:
        """Check X against what was fitted and return it as the same kind of table."""
        check_is_fitted(self)
        table = as_table(X, self)
        try:
            validate_data(self, X if is_frame(X) else table, reset=False, skip_check_array=True)
        except ValueError as error:
            raise ValueError(f"{error}{self._remedy(table)}") from None
        if isinstance(table, pd.DataFrame):
            if self._labels is None:
                return frame_values(table)
            # Names that are no strings were not compared; the models get those of the fit.
            same = list(table.columns) == self._labels
            return table if same else table.set_axis(self._labels, axis=1)
        if self._labels is not None and isinstance(table, np.ndarray):
            return pd.DataFrame(table, columns=self._labels)
        return table

    def _remedy(self, table: Any) -> str:
        """Say which modalities a table that does not fit concerns, and what would make it fit."""
        names = getattr(self, "feature_names_in_", None)
        if names is None or not isinstance(table, pd.DataFrame):
            return ""
        lacking = set(names) - set(table.columns)
        if not lacking:
            twice = table.columns[table.columns.duplicated()].unique()
            if len(twice):
                return f"\ncolumns {listed(twice)} stand in X more than once"
            return "\nX has every column of the fit; pass X[estimator.feature_names_in_]"
        unused = [names[j] for j in self._unused if names[j] in lacking]
        lines, may_be_nan = [], set(unused)
        for modality, columns in self._columns.items():
            wanted = [names[j] for j in as_list(columns)]
            missing = [name for name in wanted if name in lacking]
            if missing:
                lines.append(f"modality {modality!r} lacks the columns {listed(missing)}")
            if missing == wanted:
                may_be_nan.update(missing)
        if unused:
            lines.append(f"columns {listed(unused)} are in no modality, but were there at fit")
        if may_be_nan == lacking:
            pass_it = "pass X.reindex(columns=estimator.feature_names_in_)"
            lines.append(f"for NaN in place of what is lacking, {pass_it}")
        return "".join(f"\n{line}" for line in lines)


def _selectors(X: Any, columns: Mapping[str, Columns]) -> dict[str, Any]:
    """Return selectors that resolve to these columns: names where names are unique strings."""
    if not isinstance(X, pd.DataFrame) or not (
        X.columns.is_unique and all(isinstance(name, str) for name in X.columns)
    ):
        return dict(columns)
    names = list(X.columns)
    return {
        modality: names[found] if isinstance(found, int) else [names[j] for j in found]
        for modality, found in columns.items()
    }


# Helpers for users --------------------------------------------------------------------------


def modality_mask(
    X: Any, modalities: Mapping[str, Any] | None = None, *, allow_overlap: bool = False
) -> pd.DataFrame:
    """Tell which sample has which modality.

    A modality is missing for a sample when all its columns are NaN (None for text; for a
    sequence, a cell that is None or all NaN). A few NaN inside a modality do not make it missing.

    Parameters
    ----------
    X : DataFrame, array-like or sparse matrix of shape (n_samples, n_features)
    modalities : mapping of str to column selector, default=None
        None reads the prefixes before ``__`` in the column names.
    allow_overlap : bool, default=False
        Let two modalities share columns.

    Returns
    -------
    mask : DataFrame of bool of shape (n_samples, n_modalities)
        True where the modality is present; indexed as X.

    Raises
    ------
    ValueError
        If a selector selects nothing, or prefixes stand on only some columns.

    Examples
    --------
    >>> import pandas as pd
    >>> from mkfusion import modality_mask
    >>> X = pd.DataFrame({"audio__pitch": [1.0, None], "video__hue": [None, 0.5]})
    >>> modality_mask(X)
       audio  video
    0   True  False
    1  False   True
    """
    table = as_table(X)
    columns = resolve_modalities(table, modalities, allow_overlap=allow_overlap)
    index = table.index if isinstance(table, pd.DataFrame) else None
    return pd.DataFrame(presence(table, columns).T, columns=list(columns), index=index)


def join_modalities(blocks: Mapping[str, Any], how: str = "inner") -> pd.DataFrame:
    """Join the tables of several modalities into one DataFrame with prefixed columns.

    Parameters
    ----------
    blocks : mapping of str to DataFrame, Series, array-like or list of arrays
        DataFrames and Series are aligned on their index. Arrays have none: they are aligned by
        position and must be of one length. A list of arrays, or a Series whose cells are arrays,
        is a modality of sequences and becomes the one column of that name.
    how : {"inner", "outer"}, default="inner"
        Keep the samples that all modalities have, or those that any has; a modality that a
        sample lacks is NaN in all its columns.

    Returns
    -------
    X : DataFrame
        Samples in the order in which they first appear.

    Raises
    ------
    ValueError
        For an empty mapping, a bad name, a table without columns, columns that end up with one
        name, duplicate index entries, arrays of different lengths, or samples of which none is
        in all modalities.

    Examples
    --------
    >>> import pandas as pd
    >>> from mkfusion import join_modalities
    >>> audio = pd.DataFrame({"pitch": [1.0, 2.0]}, index=["ann", "bob"])
    >>> video = pd.DataFrame({"hue": [0.5]}, index=["bob"])
    >>> join_modalities({"audio": audio, "video": video}, how="outer")
         audio__pitch  video__hue
    ann           1.0         NaN
    bob           2.0         0.5
    """
    check_option("how", how, ("inner", "outer"))
    if not isinstance(blocks, Mapping) or not blocks:
        raise ValueError("blocks must be a mapping that names at least one modality")
    check_names(blocks, ())
    frames = {name: _prefixed(name, block) for name, block in blocks.items()}
    indices = [frame.index for frame in frames.values()]
    if all(index.equals(indices[0]) for index in indices):
        return pd.concat(frames.values(), axis=1)
    positional = [name for name, block in blocks.items() if not _has_index(block)]
    if positional:
        lengths = ", ".join(f"{name!r} {len(frame)}" for name, frame in frames.items())
        raise ValueError(
            f"modalities {listed(positional)} have no index that says which samples they hold, "
            f"and cannot stand beside the others as they are (samples: {lengths}); pass DataFrames"
        )
    for name, frame in frames.items():
        doubled = frame.index[frame.index.duplicated()]
        if len(doubled):
            raise ValueError(
                f"modality {name!r}: index entries {listed(doubled.unique())} stand more than "
                "once, so that samples cannot be matched"
            )
    samples = indices[0]
    for index in indices[1:]:
        keep = index if how == "outer" else samples.intersection(index, sort=False)
        samples = samples.append(index.difference(samples, sort=False)) if how == "outer" else keep
    if not len(samples):
        raise ValueError(
            f"no sample is in all of the modalities {listed(frames)}: their indices share no "
            "entry; compare the indices, or pass how='outer'"
        )
    return pd.concat([frame.reindex(samples) for frame in frames.values()], axis=1)


def _has_index(block: Any) -> bool:
    return isinstance(block, pd.DataFrame | pd.Series)


def _prefixed(name: str, block: Any) -> pd.DataFrame:
    if isinstance(block, pd.Series):
        if holds_sequences(block):
            return block.rename(name).to_frame()
        return block.rename(f"{name}__{name if block.name is None else block.name}").to_frame()
    if not isinstance(block, pd.DataFrame):
        cells = _as_cells(block)
        if cells is not None:
            return pd.DataFrame({name: cells})
        block = _as_frame(name, block)
    if not block.shape[1]:
        raise ValueError(f"modality {name!r} has no columns")
    columns = [f"{name}__{column}" for column in block.columns]
    if len(set(columns)) < len(columns):
        twice = sorted({column for column in columns if columns.count(column) > 1})
        raise ValueError(f"modality {name!r}: several columns would be named {listed(twice)}")
    return block.set_axis(columns, axis=1)


def _as_frame(name: str, block: Any) -> pd.DataFrame:
    if sparse.issparse(block):
        raise TypeError(
            f"modality {name!r} is a sparse matrix; pass DataFrame.sparse.from_spmatrix(...) of it"
        )
    try:
        return pd.DataFrame(as_table(block))
    except (TypeError, ValueError) as error:
        raise type(error)(f"modality {name!r} is no table: {error}") from None


def _as_cells(block: Any) -> pd.Series | None:
    """Return a list of arrays, or a 1-D object array of them, as a column of cells."""
    if isinstance(block, np.ndarray) and block.ndim == 3:
        block = list(block)
    is_list = isinstance(block, list | tuple) and all(
        cell is None or isinstance(cell, np.ndarray) for cell in block
    )
    is_array = isinstance(block, np.ndarray) and block.dtype == object and block.ndim == 1
    if not (is_list or is_array) or not any(isinstance(cell, np.ndarray) for cell in block):
        return None
    return pd.Series(fill_cells(block))


def fill_cells(cells: Iterable[Any]) -> np.ndarray:
    """Return a 1-D object array of these cells; numpy would stack those of equal shape."""
    cells = list(cells)
    column = np.empty(len(cells), dtype=object)
    for i, cell in enumerate(cells):
        column[i] = cell
    return column


def split_modalities(
    X: Any,
    modalities: Mapping[str, Any] | None = None,
    *,
    drop_absent: bool = True,
    allow_overlap: bool = False,
) -> dict[str, Any]:
    """Split one table into the tables of its modalities; goes back from :func:`join_modalities`.

    Parameters
    ----------
    X : DataFrame, array-like or sparse matrix of shape (n_samples, n_features)
    modalities : mapping of str to column selector, default=None
        None reads the prefixes before ``__`` in the column names.
    drop_absent : bool, default=True
        Leave out of each table the samples for which its modality is missing.
    allow_overlap : bool, default=False
        Let two modalities share columns.

    Returns
    -------
    blocks : dict of str to DataFrame, array or sparse matrix
        A modality's prefix is taken off its column names; a scalar selector gives a Series or a
        1-D array.

    Raises
    ------
    ValueError
        If a selector selects nothing, or prefixes stand on only some columns.

    Examples
    --------
    >>> import pandas as pd
    >>> from mkfusion import split_modalities
    >>> X = pd.DataFrame({"audio__pitch": [1.0, None], "video__hue": [0.1, 0.5]})
    >>> split_modalities(X)["audio"]
       pitch
    0    1.0
    """
    table = as_table(X)
    columns = resolve_modalities(table, modalities, allow_overlap=allow_overlap)
    blocks = {}
    for (name, found), rows in zip(columns.items(), presence(table, columns), strict=True):
        block = take_block(table, found, rows if drop_absent else None)
        if isinstance(block, pd.DataFrame):
            block = block.set_axis([_without_prefix(name, c) for c in block.columns], axis=1)
        elif isinstance(block, pd.Series):
            block = block.rename(_without_prefix(name, block.name))
        blocks[name] = block
    return blocks


def _without_prefix(modality: str, column: Any) -> Any:
    return column.removeprefix(f"{modality}__") if isinstance(column, str) else column


def to_sequences(
    frame: pd.DataFrame,
    by: str = "sequence",
    *,
    modalities: Mapping[str, Any] | None = None,
    keep: str | Iterable[str] = (),
) -> pd.DataFrame:
    """Turn a long table, one row per time step, into one row per sequence.

    Parameters
    ----------
    frame : DataFrame
        One row per step. The rows of a sequence need not be adjacent; their order is kept.
    by : str, default="sequence"
        The column or index level that names the sequence of a step.
    modalities : mapping of str to column selector, default=None
        Resolved against the columns other than ``by`` and ``keep``. None reads the prefixes
        before ``__``.
    keep : str or iterable of str, default=()
        Columns that are constant within each sequence (a label, a subject), kept as they are.

    Returns
    -------
    sequences : DataFrame
        One row per sequence, indexed by its id in the order of first appearance. A modality is
        one object column, whose cells are arrays of shape (n_steps, n_columns), or None where
        the sequence lacks it at every step.

    Raises
    ------
    KeyError
        If ``by`` or a column of ``keep`` is not there.
    ValueError
        If an id is missing, a column of ``keep`` varies within a sequence or has the name of a
        modality, or a column belongs to no modality.

    Examples
    --------
    >>> import pandas as pd
    >>> from mkfusion import to_sequences
    >>> steps = pd.DataFrame({"sequence": [7, 7, 9], "gyro__x": [1.0, 2.0, 3.0],
    ...                       "accel__x": [0.1, 0.2, 0.3], "label": ["a", "a", "b"]})
    >>> sequences = to_sequences(steps, keep=["label"])
    >>> sequences["gyro"].map(len).to_dict()
    {7: 2, 9: 1}
    """
    if not is_frame(frame):
        raise TypeError(f"frame must be a DataFrame, got {type(frame).__name__}")
    frame = as_table(frame)
    keep = [keep] if isinstance(keep, str) else list(dict.fromkeys(keep))
    absent = [name for name in keep if name not in frame.columns]
    if absent:
        raise KeyError(f"keep names columns that are not there: {listed(absent)}")
    kept = {name: _one_column(frame, name) for name in keep}
    ids = _sequence_ids(frame, by)
    codes, order = pd.factorize(ids)
    features = frame.drop(columns=[*keep, *([by] if by in frame.columns else [])])
    if not features.shape[1]:
        raise ValueError(f"the frame has no columns besides {listed([by, *keep])}")
    columns = resolve_modalities(features, modalities, remainder="error")
    taken = [name for name in columns if name in keep]
    if taken:
        raise ValueError(f"keep names {listed(taken)}, which are names of modalities too; rename")
    steps = np.argsort(codes, kind="stable")
    ends = np.cumsum(np.bincount(codes, minlength=len(order)))[:-1]
    result = pd.DataFrame(index=pd.Index(order, name=by))
    for name, found in columns.items():
        values = np.array(frame_values(features.iloc[steps, as_list(found)]))  # not read-only
        cells = np.split(values, ends)
        result[name] = fill_cells(None if pd.isna(cell).all() else cell for cell in cells)
    for name, column in kept.items():
        result[name] = _constant(column, codes, order)
    return result


def _sequence_ids(frame: pd.DataFrame, by: Any) -> Any:
    if by is None or not isinstance(by, Hashable):
        raise TypeError(f"by must be the name of a column or of an index level, got {by!r}")
    if by in frame.columns:
        ids: Any = _one_column(frame, by)
    elif by in frame.index.names:
        ids = frame.index.get_level_values(by)
    else:
        raise KeyError(f"{by!r} is neither a column nor an index level of the frame")
    if pd.isna(ids).any():
        raise ValueError(f"the sequence id {by!r} is missing for {int(pd.isna(ids).sum())} rows")
    return ids


def _one_column(frame: pd.DataFrame, name: Any) -> pd.Series:
    column = frame[name]
    if isinstance(column, pd.DataFrame):
        raise ValueError(f"the frame has more than one column named {name!r}")
    return column


def _constant(column: pd.Series, codes: np.ndarray, order: Any) -> Any:
    """Return a column's value in each sequence, all missing values being one."""
    first = np.full(len(order), -1)
    first[codes[::-1]] = np.arange(len(codes))[::-1]
    try:
        values, _ = pd.factorize(column)
    except TypeError as error:
        raise TypeError(f"column {column.name!r} of keep: {error}") from None
    varying = np.flatnonzero(values != values[first][codes])
    if varying.size:
        raise ValueError(
            f"column {column.name!r} of keep varies within sequence "
            f"{listed([order[codes[varying[0]]]])}"
        )
    found = column.iloc[first]
    return found.to_numpy() if found.dtype == object else found.array
