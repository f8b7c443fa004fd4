"""Tables that may not fit into memory, opened as blocks of rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import pandas as pd
from scipy import sparse

from ._dask_blocks import DaskBlocks, is_dask
from ._parquet_blocks import ParquetBlocks, is_parquet
from ._row_blocks import (
    HEAD,
    NUMBERS,
    Block,
    PieceBlocks,
    RowBlocks,
    check_columns,
    cut,
    features,
    make_block,
    opened,
    rows_named,
    whole_values,
)
from ._validation import as_table, check_count

__all__ = ["Block", "RowBlocks", "open_blocks"]


def open_blocks(
    X: Any,
    y: Any = None,
    sample_weight: Any = None,
    *,
    rows: int | None = None,
    n_jobs: int | None = None,
) -> RowBlocks:
    """Open a table as blocks of rows.

    Parameters
    ----------
    X : table of shape (n_samples, n_features)
        An array, a sparse matrix or a DataFrame; a memory-mapped array stays in its file: each
        block maps its own rows, and lets them go. A Dask DataFrame or Array is worked on by
        partitions or row chunks, made anew in every pass unless it was persisted. A data set of
        pyarrow, or the path of a Parquet file or of a folder of them, is read in the order in
        which the data set lists its files.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs), or str, default=None
        A str names a column of a DataFrame, which then is no feature. For Dask also a Dask
        collection that is partitioned as X.
    sample_weight : array-like of shape (n_samples,), number or str, default=None
        As y.
    rows : int, default=None
        Rows per block where the source has no partitions of its own; None takes as many as hold
        about 8 million numbers. Of Parquet, small row groups are joined and large ones divided.
        Cuts depend on nothing else.
    n_jobs : int, default=None
        As in joblib, whose backend is threads unless ``joblib.parallel_config`` says otherwise.
        Dask runs on the current client of a cluster, or by its own scheduler, and ignores it.

    Returns
    -------
    blocks : RowBlocks

    Raises
    ------
    ValueError, TypeError
        If X is no table, its parts do not go together, or y or the weights do not fit to it.
    ImportError
        If Parquet is to be read and pyarrow is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> from mkfusion._blocks import open_blocks
    >>> blocks = open_blocks(np.arange(10.0).reshape(5, 2), rows=2)
    >>> blocks.names
    ['rows 0 to 1', 'rows 2 to 3', 'row 4']
    >>> blocks.sum(lambda block: (block.X.sum(axis=0), len(block.X)))
    (array([20., 25.]), 5)
    """
    rows = None if rows is None else check_count("rows", rows)
    if is_dask(X):
        return DaskBlocks(X, y, sample_weight)
    if is_parquet(X):
        return ParquetBlocks(X, y, sample_weight, rows, n_jobs)
    return ArrayBlocks(X, y, sample_weight, rows, n_jobs)


class ArrayBlocks(PieceBlocks):
    """The rows of an array, a sparse matrix or a DataFrame."""

    def __init__(
        self, X: Any, y: Any, sample_weight: Any, rows: int | None, n_jobs: int | None
    ) -> None:
        self._X = _sliced_by_rows(as_table(X))
        columns = self._X.columns if isinstance(self._X, pd.DataFrame) else ()
        check_columns("y", y, columns)
        check_columns("sample_weight", sample_weight, columns)
        self._y = whole_values("y", y, self._X.shape[0])
        self._weight = whole_values("sample_weight", sample_weight, self._X.shape[0])
        self._starts = range(0, self._X.shape[0], rows or _rows_per_block(self._X))
        self.n_jobs = n_jobs
        self.names = [rows_named(*self._bounds(i)) for i in range(len(self._starts))]
        self.head = features(opened(cut(self._X, slice(0, HEAD))), y, sample_weight)

    def _pieces(self, first: int) -> Iterator[ArrayPiece]:
        for i in range(first, len(self._starts)):
            yield self._piece(slice(*self._bounds(i)), self.names[i])

    def _piece(self, rows: slice, name: str) -> ArrayPiece:
        return ArrayPiece([name], *(cut(v, rows) for v in (self._X, self._y, self._weight)))

    def _bounds(self, i: int) -> tuple[int, int]:
        start = self._starts[i]
        return start, min(start + self._starts.step, self._X.shape[0])


def _sliced_by_rows(X: Any) -> Any:
    return X.tocsr() if sparse.issparse(X) else X


def _rows_per_block(X: Any) -> int:
    per_row = X.nnz / X.shape[0] if sparse.issparse(X) else X.shape[1]
    return max(1, int(NUMBERS / max(1.0, per_row)))


class ArrayPiece(NamedTuple):
    """One block, cut out of what is in memory or said by its place in a file."""

    names: list[str]
    X: Any
    y: Any
    weight: Any

    def blocks(self) -> Iterator[Block]:
        """Yield the block."""
        yield make_block(opened(self.X), opened(self.y), opened(self.weight))
