"""How one X divides into named modalities, and who has which.

Every estimator takes one X and a ``modalities`` mapping from names to column selectors, so that
splitters, scorers and searches slice X as they always do. Without a mapping the prefix before
``__`` in a DataFrame's column names names the modality, and a column whose cells hold whole
sequences is a modality by itself.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.utils.validation import check_is_fitted, validate_data

from ._validation import as_table, check_option, is_frame, listed, warn

__all__ = ["join_modalities", "modality_mask", "split_modalities", "to_sequences"]

Columns = int | list[int]


# Resolving ----------------------------------------------------------------------------------


def resolve_modalities(
    X: Any,
    modalities: Mapping[str, Any] | None = None,
    *,
    remainder: str = "drop",
    allow_overlap: bool = False,
    reserved: Iterable[str] = (),
) -> dict[str, Columns]:
    """Return the positions of each modality's columns in a table.

    A scalar selector gives one position, for a 1-D column, any other a list of positions.
    """
    check_option("remainder", remainder, ("drop", "error"))
    if modalities is None:
        columns = _from_names(X) if isinstance(X, pd.DataFrame) else _single(X)
    else:
        if not isinstance(modalities, Mapping):
            raise TypeError(
                "modalities must be a mapping from names to column selectors, "
                f"got {type(modalities).__name__}"
            )
        if not modalities:
            raise ValueError("modalities is an empty mapping: it must name at least one modality")
        columns = {name: _positions(X, name, value) for name, value in modalities.items()}
    _check_names(columns, reserved)
    if not allow_overlap:
        _refuse_overlap(X, columns)
    _handle_remainder(X, columns, remainder)
    return columns


def _check_names(names: Iterable[Any], reserved: Iterable[str]) -> None:
    reserved = set(reserved)
    for name in names:
        if not isinstance(name, str) or not name:
            raise ValueError(f"a modality's name must be a non-empty string, got {name!r}")
        if "__" in name:
            raise ValueError(
                f"modality {name!r}: a name must not contain '__', which separates "
                "it from a parameter or a column"
            )
        if name in reserved:
            raise ValueError(
                f"modality {name!r} has the name of a constructor parameter; rename it"
            )


def _single(X: Any) -> dict[str, Columns]:
    _warn_single("X has no column names")
    return {"X": list(range(X.shape[1]))}


def _warn_single(why: str) -> None:
    warn(
        f"nothing is fused: {why}, so that X is one modality; "
        "pass modalities={'name': columns, ...} or prefix the columns as 'name__column'"
    )


def _from_names(X: pd.DataFrame) -> dict[str, Columns]:
    sequences = [j for j in range(X.shape[1]) if holds_sequences(X.iloc[:, j])]
    plain = [j for j in range(X.shape[1]) if j not in set(sequences)]
    prefixes = {j: _prefix(X.columns[j]) for j in plain}
    lacking = [X.columns[j] for j in plain if not prefixes[j]]
    if lacking and len(lacking) == X.shape[1]:
        _warn_single("no column name has a prefix")
        return {"X": list(range(X.shape[1]))}
    if lacking:
        others = {prefixes[j] for j in plain if prefixes[j]} or {X.columns[j] for j in sequences}
        raise ValueError(
            f"columns {listed(lacking)} have no modality prefix ('name__column') while others "
            f"have ({listed(sorted(others, key=str))}); pass modalities={{'name': columns, ...}}"
        )
    if "remainder" in prefixes.values():
        raise ValueError(
            "columns with the prefix 'remainder__' are what a ColumnTransformer left over, "
            "not a modality; pass modalities={'name': columns, ...}"
        )
    columns: dict[str, Columns] = {}
    for j in range(X.shape[1]):
        found = columns.setdefault(prefixes.get(j) or X.columns[j], [])
        assert isinstance(found, list)
        found.append(j)
    if len(columns) == 1:
        _warn_single(f"all columns belong to {listed(columns)}")
    return columns


def _prefix(name: Any) -> str:
    return name.partition("__")[0] if isinstance(name, str) and "__" in name else ""


def holds_sequences(column: pd.Series) -> bool:
    if column.dtype != object:
        return False
    first = next((cell for cell in column if not _is_missing_scalar(cell)), None)
    return isinstance(first, np.ndarray | list | tuple)


def _is_missing_scalar(cell: Any) -> bool:
    return cell is None or (np.isscalar(cell) and bool(pd.isna(cell))) or cell is pd.NA


# Selectors ----------------------------------------------------------------------------------


def _positions(X: Any, name: str, selector: Any) -> Columns:
    """Resolve one selector, as ColumnTransformer would, to positions."""
    given = selector
    if callable(selector):
        selector = selector(X)
    if isinstance(selector, bool | np.bool_):
        raise TypeError(f"modality {name!r}: a selector cannot be the single value {selector}")
    if isinstance(selector, Integral):
        return _check_positions(X, name, np.array([selector]), given)[0]
    if isinstance(selector, str):
        return _by_name(X, name, [selector])[0]
    if isinstance(selector, slice):
        found = _slice(X, name, selector)
    else:
        found = _listed_positions(X, name, selector)
    if not found:
        raise ValueError(
            f"modality {name!r} selects no columns of X ({X.shape[1]} columns); "
            f"its selector is {given!r}"
        )
    twice = [j for j in set(found) if found.count(j) > 1] if len(set(found)) < len(found) else []
    if twice:
        raise ValueError(f"modality {name!r} selects columns {_names(X, twice)} more than once")
    return found


def _slice(X: Any, name: str, selector: slice) -> list[int]:
    ends = [end for end in (selector.start, selector.stop) if end is not None]
    if any(isinstance(end, str) for end in ends):
        places = [_by_name(X, name, [end])[0] for end in ends]
        start = places[0] if selector.start is not None else 0
        stop = places[-1] + 1 if selector.stop is not None else X.shape[1]
        return list(range(start, stop, selector.step or 1))
    found = list(range(X.shape[1])[selector])
    if found and max([abs(end) for end in ends], default=0) > X.shape[1]:
        raise ValueError(
            f"modality {name!r}: {selector!r} goes beyond X, which has {X.shape[1]} columns"
        )
    return found


def _listed_positions(X: Any, name: str, selector: Any) -> list[int]:
    try:
        chosen = selector if isinstance(selector, np.ndarray) else list(selector)
    except TypeError:
        chosen = None
    if chosen is None or np.ndim(chosen) != 1:
        raise TypeError(
            f"modality {name!r}: a selector is a name, a position, a slice, a list of either, "
            f"a boolean mask or a callable, got {selector!r}"
        )
    kinds = {_kind(item) for item in chosen}
    if kinds == {"bool"}:
        if len(chosen) != X.shape[1]:
            raise ValueError(
                f"modality {name!r}: its boolean mask has length {len(chosen)}, "
                f"X has {X.shape[1]} columns"
            )
        return np.flatnonzero(np.asarray(chosen, dtype=bool)).tolist()
    if kinds == {"str"}:
        return _by_name(X, name, list(chosen))
    if kinds <= {"int"}:
        return _check_positions(X, name, np.asarray(chosen, dtype=np.int64), selector)
    raise TypeError(
        f"modality {name!r}: a list of columns holds names, positions or booleans, "
        f"all of one kind, got {selector!r}"
    )


def _kind(item: Any) -> str:
    if isinstance(item, bool | np.bool_):
        return "bool"
    if isinstance(item, Integral):
        return "int"
    return "str" if isinstance(item, str) else "other"


def _by_name(X: Any, name: str, wanted: list[str]) -> list[int]:
    if not isinstance(X, pd.DataFrame):
        raise ValueError(
            f"modality {name!r} selects columns by name ({listed(wanted)}), but X is an array "
            "without names; pass a DataFrame, or select by position"
        )
    places: dict[Any, list[int]] = {}
    for j, column in enumerate(X.columns):
        places.setdefault(column, []).append(j)
    missing = [column for column in wanted if column not in places]
    if missing:
        close = difflib.get_close_matches(missing[0], [str(c) for c in X.columns], n=3)
        hint = f"; close to it: {listed(close)}" if close else ""
        raise ValueError(f"modality {name!r}: X has no columns {listed(missing)}{hint}")
    doubled = [column for column in wanted if len(places[column]) > 1]
    if doubled:
        raise ValueError(
            f"modality {name!r}: X has more than one column named {listed(doubled)}; "
            "select by position"
        )
    return [places[column][0] for column in wanted]


def _check_positions(X: Any, name: str, positions: np.ndarray, given: Any) -> list[int]:
    width = X.shape[1]
    beyond = [int(j) for j in positions if not -width <= j < width]
    if beyond:
        raise ValueError(
            f"modality {name!r}: positions {listed(beyond)} lie beyond X, "
            f"which has {width} columns; its selector is {given!r}"
        )
    return [int(j) % width for j in positions]


def as_list(columns: Columns) -> list[int]:
    """Return a modality's positions as a list, whether it is 1-D or 2-D."""
    return [columns] if isinstance(columns, int) else columns


def _names(X: Any, positions: Iterable[int]) -> str:
    return listed(X.columns[j] if isinstance(X, pd.DataFrame) else j for j in sorted(positions))


def _refuse_overlap(X: Any, columns: Mapping[str, Columns]) -> None:
    owner: dict[int, str] = {}
    for name, found in columns.items():
        shared = [j for j in as_list(found) if j in owner]
        if shared:
            raise ValueError(
                f"modalities {owner[shared[0]]!r} and {name!r} share columns "
                f"{_names(X, shared)}; pass allow_overlap=True if that is meant"
            )
        owner.update(dict.fromkeys(as_list(found), name))


def _handle_remainder(X: Any, columns: Mapping[str, Columns], remainder: str) -> None:
    used = {j for found in columns.values() for j in as_list(found)}
    left = [j for j in range(X.shape[1]) if j not in used]
    if not left:
        return
    what = f"columns {_names(X, left)} of X belong to no modality"
    if remainder == "error":
        raise ValueError(f"{what}; add them to one, or pass remainder='drop'")
    warn(f"{what} and are not used")


# Blocks -------------------------------------------------------------------------------------


def take_block(X: Any, columns: Columns, rows: np.ndarray | None = None) -> Any:
    """Return one modality's columns: a view where that is possible, 1-D for a scalar selector.

    ``rows`` is a boolean mask; None or all True takes every row.
    """
    if rows is not None and rows.all():
        rows = None
    if isinstance(X, pd.DataFrame):
        return X.iloc[:, columns] if rows is None else X.iloc[np.flatnonzero(rows), columns]
    if isinstance(columns, list) and columns == list(range(columns[0], columns[-1] + 1)):
        block = X[:, columns[0] : columns[-1] + 1]
    else:
        block = X[:, columns]
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
            missing[i] = isinstance(cell, np.ndarray) and cell.size > 0 and pd.isna(cell).all()
    return missing


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
        self._columns = resolve_modalities(
            table,
            self.modalities,
            remainder=self.remainder,
            allow_overlap=self.allow_overlap,
            reserved={"estimator", *self.get_params(deep=False)},  # type: ignore[attr-defined]
        )
        self._fitted_on_frame = isinstance(table, pd.DataFrame)
        self.modalities_ = _selectors(table, self._columns)
        return table

    def _read(self, X: Any) -> Any:
        """Check X against what was fitted and return it as the same kind of table."""
        check_is_fitted(self)
        table = as_table(X, self)
        try:
            validate_data(self, X if is_frame(X) else table, reset=False, skip_check_array=True)
        except ValueError as error:
            raise ValueError(f"{error}{self._which_modality(table)}") from None
        if self._fitted_on_frame and isinstance(table, np.ndarray):
            names = getattr(self, "feature_names_in_", range(table.shape[1]))
            return pd.DataFrame(table, columns=names)
        if not self._fitted_on_frame and isinstance(table, pd.DataFrame):
            return table.to_numpy()
        return table

    def _which_modality(self, table: Any) -> str:
        """Say which modality a table that does not fit concerns."""
        names = getattr(self, "feature_names_in_", None)
        if names is None or not isinstance(table, pd.DataFrame):
            return ""
        found = list(table.columns)
        lines = []
        for modality, columns in self._columns.items():
            wanted = [names[j] for j in as_list(columns)]
            missing = [name for name in wanted if name not in found]
            if missing:
                lines.append(f"modality {modality!r} lacks the columns {listed(missing)}")
        if not lines and set(found) == set(names):
            moved = {n for n, f in zip(names, found, strict=False) if n != f}
            concerned = [
                m for m, c in self._columns.items() if moved & {names[j] for j in as_list(c)}
            ]
            lines.append(
                f"the columns of modalities {listed(concerned)} stand in another order than at "
                "fit; pass X[estimator.feature_names_in_]"
            )
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
        For an empty mapping, a bad name, duplicate index entries, columns that end up with one
        name, or arrays of different lengths.

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
    _check_names(blocks, ())
    frames = {name: _prefixed(name, block) for name, block in blocks.items()}
    indices = [frame.index for frame in frames.values()]
    if all(index.equals(indices[0]) for index in indices):
        return pd.concat(frames.values(), axis=1)
    positional = [name for name, block in blocks.items() if not _has_index(block)]
    if positional:
        lengths = ", ".join(f"{name!r} has {len(frame)}" for name, frame in frames.items())
        raise ValueError(
            f"modalities {listed(positional)} have no index to be aligned on and not the samples "
            f"of the others ({lengths}); pass DataFrames"
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
        block = pd.DataFrame(as_table(block))
    columns = [f"{name}__{column}" for column in block.columns]
    if len(set(columns)) < len(columns):
        twice = sorted({column for column in columns if columns.count(column) > 1})
        raise ValueError(f"modality {name!r}: several columns would be named {listed(twice)}")
    return block.set_axis(columns, axis=1)


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
            block = block.rename(columns=_without_prefix(name))
        blocks[name] = block
    return blocks


def _without_prefix(name: str) -> Callable[[Any], Any]:
    prefix = f"{name}__"
    return lambda column: column.removeprefix(prefix) if isinstance(column, str) else column


def to_sequences(
    frame: pd.DataFrame,
    by: str = "sequence",
    *,
    modalities: Mapping[str, Any] | None = None,
    keep: Iterable[str] = (),
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
    keep : iterable of str, default=()
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
        If an id is missing, a column of ``keep`` varies within a sequence, or a column belongs
        to no modality.

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
    if not isinstance(frame, pd.DataFrame):
        raise TypeError(f"frame must be a DataFrame, got {type(frame).__name__}")
    keep = list(keep)
    absent = [name for name in keep if name not in frame.columns]
    if absent:
        raise KeyError(f"keep names columns that are not there: {listed(absent)}")
    ids = _sequence_ids(frame, by)
    codes, order = pd.factorize(ids)
    features = frame.drop(columns=[*keep, *([by] if by in frame.columns else [])])
    columns = resolve_modalities(features, modalities, remainder="error")
    steps = np.argsort(codes, kind="stable")
    ends = np.cumsum(np.bincount(codes, minlength=len(order)))[:-1]
    result = pd.DataFrame(index=pd.Index(order, name=by))
    for name, found in columns.items():
        values = features.iloc[steps, as_list(found)].to_numpy()
        cells = np.split(values, ends)
        result[name] = fill_cells(None if pd.isna(cell).all() else cell for cell in cells)
    for name in keep:
        result[name] = _constant(frame[name], codes, len(order), name, order)
    return result


def _sequence_ids(frame: pd.DataFrame, by: str) -> Any:
    if by in frame.columns:
        ids: Any = frame[by]
    elif by in frame.index.names:
        ids = frame.index.get_level_values(by)
    else:
        raise KeyError(f"{by!r} is neither a column nor an index level of the frame")
    if pd.isna(ids).any():
        raise ValueError(f"the sequence id {by!r} is missing for {int(pd.isna(ids).sum())} rows")
    return ids


def _constant(column: pd.Series, codes: np.ndarray, n: int, name: str, order: Any) -> Any:
    first = np.full(n, -1)
    first[codes[::-1]] = np.arange(len(codes))[::-1]
    values = column.iloc[first]
    again = values.iloc[codes]
    same = (again.to_numpy() == column.to_numpy()) | (
        np.array(pd.isna(again)) & np.array(pd.isna(column))
    )
    if not same.all():
        varying = order[codes[np.flatnonzero(~same)[0]]]
        raise ValueError(f"column {name!r} of keep varies within sequence {varying!r}")
    return values.to_numpy() if values.dtype == object else values.array
