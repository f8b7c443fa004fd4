"""The partitions of a Dask DataFrame, or the row chunks of a Dask Array, as blocks of rows."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import CancelledError
from itertools import pairwise, takewhile
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse

from ._parallel import single_blas_thread
from ._row_blocks import (
    Block,
    RowBlocks,
    Sealed,
    aligned,
    check_columns,
    check_frame,
    cut,
    features,
    make_block,
    named_error,
    opened,
    whole_values,
)
from ._validation import listed

__all__ = ["DaskBlocks", "is_dask"]

_AT_ONCE = 64  # results fetched together, of those that are there


def is_dask(X: Any) -> bool:
    """Tell whether X is a collection of Dask."""
    return hasattr(X, "__dask_graph__")


class DaskBlocks(RowBlocks):
    """Blocks that are worked on where Dask makes them.

    They are made anew in every pass, unless the collection was persisted.
    """

    def __init__(self, X: Any, y: Any, sample_weight: Any) -> None:
        self._parts, self._table = _partitions(X)
        self.names = [f"partition {i}" for i in range(len(self._parts))]
        columns = self._table.columns if isinstance(self._table, pd.DataFrame) else ()
        check_columns("y", y, columns)
        check_columns("sample_weight", sample_weight, columns)
        self.head = features(self._table, y, sample_weight)
        self._y: Any = None
        self._weight: Any = None
        self._y, self._weight = (
            self._beside(X, name, values)
            for name, values in (("y", y), ("sample_weight", sample_weight))
        )

    def _beside(self, X: Any, name: str, values: Any) -> Any:
        """Return values partition by partition; one number, or a column's name, as it is."""
        if values is None or isinstance(values, str | Real):
            return values
        if is_dask(values):
            return _partitioned_alike(X, name, values)
        from dask.delayed import delayed

        ends = np.cumsum([0, *self.map(_n_rows)])
        values = whole_values(name, values, int(ends[-1]))
        return [
            delayed(opened(cut(values, slice(start, stop))), traverse=False)
            for start, stop in pairwise(ends)
        ]

    def _tasks(self, function: Callable[..., Any], args: tuple[Any, ...]) -> list[Any]:
        from dask.delayed import delayed

        beside = [v if isinstance(v, list) else None for v in (self._y, self._weight)]
        said = [None if isinstance(v, list) else v for v in (self._y, self._weight)]
        # One node of the graph that all tasks share: it goes to each worker once.
        call = delayed(Sealed(_Call(function, args, self._table, *said)), traverse=False)
        run, key = delayed(_run, pure=False), f"mkfusion-block-{uuid.uuid4().hex}"
        return [
            run(name, part, *(v and v[i] for v in beside), call, dask_key_name=f"{key}-{i}")
            for i, (name, part) in enumerate(zip(self.names, self._parts, strict=True))
        ]

    def _results(
        self, function: Callable[..., Any], args: tuple[Any, ...]
    ) -> Generator[Any, None, None]:
        tasks, client = self._tasks(function, args), _client()
        if client is None:
            yield from self._computed(tasks)
            return
        waiting = client.compute(tasks)
        try:
            while waiting:
                done = len(tasks) - len(waiting)
                results = _ready(client, self.names[done], waiting)
                del waiting[: len(results)]
                yield from results
        finally:
            if waiting:
                client.cancel(waiting, force=True)

    def _computed(self, tasks: list[Any]) -> Sequence[Any]:
        import dask

        try:
            return dask.compute(*tasks)
        except Exception as error:
            if str(error).startswith(tuple(f"{name}: " for name in self.names)):
                raise
            raise named_error("making a partition of X", error) from error


class _Call(NamedTuple):
    function: Callable[..., Any]
    args: tuple[Any, ...]
    table: Any  # no rows: the columns and dtypes of every partition
    y: Any
    weight: Any


def _run(name: str, part: Any, y: Any, weight: Any, sealed: Sealed) -> Any:
    call: _Call = sealed.value
    y, weight = call.y if y is None else y, call.weight if weight is None else weight
    try:
        with single_blas_thread:
            return call.function(make_block(_checked(part, call.table), y, weight), *call.args)
    except Exception as error:
        raise named_error(name, error) from error


def _checked(part: Any, table: Any) -> Any:
    if isinstance(table, pd.DataFrame):
        return check_frame(part, table)
    part = part.tocsr() if sparse.issparse(part) else np.asarray(part)
    if part.ndim != 2 or part.shape[1] != table.shape[1]:
        raise ValueError(f"a chunk of shape {part.shape}, where X has {table.shape[1]} columns")
    if part.shape[0] and part.dtype.kind != table.dtype.kind:
        raise ValueError(f"holds {part.dtype}, where X holds {table.dtype}")
    return part


def _n_rows(block: Block) -> int:
    return block.X.shape[0]


# What runs the tasks ------------------------------------------------------------------------


def _client() -> Any:
    """Return the client that is current, None where Dask's own scheduler is to run."""
    try:
        from distributed import get_client

        return get_client()
    except (ImportError, ValueError):
        return None


def _ready(client: Any, name: str, waiting: list[Any]) -> list[Any]:
    """Wait for the first result, and return it with those after it that are there too."""
    from distributed import wait

    try:
        wait(waiting[:1])
        there = list(takewhile(lambda future: future.status == "finished", waiting[:_AT_ONCE]))
        results = client.gather(there or waiting[:1])
    except CancelledError as error:
        raise RuntimeError(
            f"{name}: its rows are lost, with the worker that held them or because they were "
            f"cancelled, and Dask cannot make them again: {error}"
        ) from error
    except Exception as error:
        raise named_error(name, error) from error
    return [aligned(result, writeable=True) for result in results]


# Partitions ---------------------------------------------------------------------------------


def _partitions(X: Any) -> tuple[list[Any], Any]:
    """Return what makes each partition, and a table without rows that is like them."""
    if hasattr(X, "divisions") and isinstance(X._meta, pd.DataFrame):
        return X.to_delayed(), X._meta
    if not hasattr(X, "chunks") or X.ndim != 2:
        raise TypeError(
            f"X must be a Dask DataFrame or a Dask Array of two axes, got a {type(X).__name__}"
            + (f" of {X.ndim}" if hasattr(X, "ndim") else "")
        )
    if np.isnan(X.shape[1]):
        raise ValueError("X has an unknown number of columns; call X.compute_chunk_sizes()")
    empty = (0, X.shape[1])
    kind = sparse.csr_array if sparse.issparse(X._meta) else np.empty
    return _row_chunks(X), kind(empty, dtype=X.dtype)


def _row_chunks(values: Any) -> list[Any]:
    if values.ndim == 2 and values.numblocks[1] > 1:
        values = values.rechunk({1: -1})
    return values.to_delayed().ravel().tolist()


def _partitioned_alike(X: Any, name: str, values: Any) -> list[Any]:
    """Return the partitions of y or the weights, once nothing says that X is cut elsewhere."""
    if hasattr(values, "chunks"):
        parts = _row_chunks(values)
    elif hasattr(values, "divisions"):
        parts = values.to_delayed()
    else:
        raise TypeError(f"{name} must be a Dask Series, DataFrame or Array, got {type(values)}")
    mine, its, what = _cuts(X, values)
    if len(mine) != len(its) or (None not in (*mine, *its) and tuple(mine) != tuple(its)):
        raise ValueError(
            f"{name} must be partitioned as X: X has the {what} {listed(mine)}, "
            f"and {name} {listed(its)}"
        )
    return parts


def _cuts(X: Any, values: Any) -> tuple[Sequence[Any], Sequence[Any], str]:
    """Return where two collections are cut, None where that is not known."""
    if hasattr(X, "chunks") and hasattr(values, "chunks"):
        mine, its = (
            [None if np.isnan(n) else n for n in collection.chunks[0]]
            for collection in (X, values)
        )
        return mine, its, "chunks"
    if hasattr(X, "divisions") and hasattr(values, "divisions"):
        return X.divisions, values.divisions, "divisions"
    mine, its = ([None] * _n_parts(collection) for collection in (X, values))
    return mine, its, "chunks or partitions"


def _n_parts(collection: Any) -> int:
    return collection.numblocks[0] if hasattr(collection, "chunks") else collection.npartitions
