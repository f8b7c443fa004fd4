"""Blocks of rows of a Parquet data set, read piece by piece."""

from __future__ import annotations

import os
import posixpath
import sys
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from ._row_blocks import (
    HEAD,
    NUMBERS,
    Block,
    PieceBlocks,
    check_columns,
    cut,
    features,
    make_block,
    named_error,
    opened,
    refuse_other_columns,
    rows_named,
    whole_values,
)
from ._validation import install

__all__ = ["ParquetBlocks", "is_parquet"]

_BUFFER = 2**16  # bytes read ahead per column: a row group may be larger than the memory


def is_parquet(X: Any) -> bool:
    """Tell whether X is a data set of pyarrow, or a path."""
    module = sys.modules.get("pyarrow.dataset")
    return isinstance(X, str | os.PathLike) or (
        module is not None and isinstance(X, module.Dataset)
    )


class ParquetBlocks(PieceBlocks):
    """The rows of Parquet files, in the order in which the data set lists them.

    Small row groups that follow each other in a file are one block, large ones are several, which
    one worker reads in one go.
    """

    def __init__(
        self, X: Any, y: Any, sample_weight: Any, rows: int | None, n_jobs: int | None
    ) -> None:
        dataset = _dataset(X)
        fragments = list(dataset.get_fragments())
        if not fragments:
            raise ValueError(f"X={str(X)!r} holds no Parquet file")
        self.n_jobs = n_jobs
        self._schema = dataset.schema
        rows = rows or max(1, NUMBERS // max(1, len(self._schema.names)))
        self._parts: list[Part] = []
        for fragment, name in zip(fragments, _file_names(fragments), strict=True):
            self._parts += _parts(fragment, name, self._schema, rows)
        n_rows = sum(sum(part.sizes) for part in self._parts)
        self.names = [name for part in self._parts for name in part.names]
        frame = self._first_rows()
        check_columns("y", y, frame.columns)
        check_columns("sample_weight", sample_weight, frame.columns)
        self.head = features(frame, y, sample_weight)
        self._y = whole_values("y", y, n_rows)
        self._weight = whole_values("sample_weight", sample_weight, n_rows)

    def _pieces(self, first: int) -> Iterator[ParquetPiece]:
        stop = 0
        for i, part in enumerate(self._parts):
            ends = np.cumsum([stop, *part.sizes])
            stop = int(ends[-1])
            if i >= first:
                rows = [slice(a, b) for a, b in pairwise(ends)]
                y, weight = ([cut(v, r) for r in rows] for v in (self._y, self._weight))
                yield ParquetPiece(part, self._schema, y, weight)

    def _first_rows(self) -> Any:
        for part in self._parts:
            if part.groups:
                few = part._replace(sizes=[min(HEAD, part.sizes[0])])
                return next(_tables(few, self._schema)).to_pandas()
        return self._schema.empty_table().to_pandas()


class Part(NamedTuple):
    """Some row groups of one file, and how their rows are cut into blocks."""

    names: list[str]
    sizes: list[int]
    groups: list[int]
    path: str
    filesystem: Any
    keys: dict[str, Any]  # columns whose value is said by the path


class ParquetPiece(NamedTuple):
    """A part with the targets and weights of its rows."""

    part: Part
    schema: Any
    y: list[Any]
    weight: list[Any]

    @property
    def names(self) -> list[str]:
        """The name of each block."""
        return self.part.names

    def blocks(self) -> Iterator[Block]:
        """Read the blocks, one after the other."""
        tables = _tables(self.part, self.schema)
        for table, y, weight in zip(tables, self.y, self.weight, strict=True):
            yield make_block(table.to_pandas(use_threads=False), opened(y), opened(weight))


# Opening ------------------------------------------------------------------------------------


def _dataset(X: Any) -> Any:
    if not isinstance(X, str | os.PathLike):
        return X
    try:
        import pyarrow.dataset as ds
    except ImportError as error:
        raise ImportError(
            f"X={str(X)!r}: reading Parquet needs pyarrow: {install('parquet')}"
        ) from error
    return ds.dataset(os.fspath(X), format="parquet", partitioning="hive")


def _file_names(fragments: Sequence[Any]) -> list[str]:
    """Return short names of the files, which tell them apart."""
    for fragment in fragments:
        if not hasattr(fragment, "row_groups"):
            raise TypeError(
                f"X must be a data set of Parquet files, got a {type(fragment).__name__}"
            )
    paths = [fragment.path for fragment in fragments]
    short = [posixpath.basename(path) for path in paths]
    if len(set(short)) < len(set(paths)):
        folder = posixpath.commonpath(paths)
        short = [posixpath.relpath(path, folder) for path in paths]
    return short


def _parts(fragment: Any, name: str, schema: Any, rows: int) -> list[Part]:
    keys = _partition_keys(fragment)
    if not fragment.metadata.num_rows:
        return [Part([f"no rows of {name}"], [0], [], fragment.path, fragment.filesystem, keys)]
    try:
        _check_schema(fragment.physical_schema, schema, keys)
    except ValueError as error:
        raise named_error(name, error) from None
    metadata = fragment.metadata
    sizes = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
    starts = np.cumsum([0, *sizes]).tolist()
    parts = []
    for groups in _runs([info.id for info in fragment.row_groups], sizes, rows):
        start, stop = starts[groups[0]], starts[groups[-1] + 1]
        cuts = [(a, min(a + rows, stop)) for a in range(start, stop, rows)]
        names = [f"{rows_named(a, b)} of {name}" for a, b in cuts]
        lengths = [b - a for a, b in cuts]
        parts.append(Part(names, lengths, groups, fragment.path, fragment.filesystem, keys))
    return parts


def _runs(groups: Sequence[int], sizes: Sequence[int], rows: int) -> list[list[int]]:
    """Return neighbouring row groups together, as many as hold no more than so many rows."""
    runs: list[list[int]] = []
    for group in groups:
        if not sizes[group]:
            continue
        held = sum(sizes[g] for g in runs[-1]) if runs else rows
        if runs and runs[-1][-1] == group - 1 and held + sizes[group] <= rows:
            runs[-1].append(group)
        else:
            runs.append([group])
    return runs


def _partition_keys(fragment: Any) -> dict[str, Any]:
    import pyarrow.dataset as ds

    return ds.get_partition_keys(fragment.partition_expression)


def _check_schema(found: Any, wanted: Any, keys: dict[str, Any]) -> None:
    types = dict(zip(found.names, found.types, strict=True))
    for name in wanted.names:
        if name in keys:
            types[name] = wanted.field(name).type
    refuse_other_columns(types, dict(zip(wanted.names, wanted.types, strict=True)), _kind)


def _kind(arrow_type: Any) -> str:
    try:
        return np.dtype(arrow_type.to_pandas_dtype()).kind
    except (NotImplementedError, TypeError):
        return "O"


# Reading ------------------------------------------------------------------------------------


def _tables(part: Part, schema: Any) -> Iterator[Any]:
    """Yield a table for each block of a part."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not part.groups:
        yield schema.empty_table()
        return
    with pq.ParquetFile(
        part.path, filesystem=part.filesystem, pre_buffer=False, buffer_size=_BUFFER
    ) as file:
        batches = file.iter_batches(
            batch_size=part.sizes[0], row_groups=part.groups, use_threads=False
        )
        waiting = file.schema_arrow.empty_table()
        for size in part.sizes:
            while waiting.num_rows < size:
                batch = pa.Table.from_batches([next(batches)])
                waiting = pa.concat_tables([waiting, batch]) if waiting.num_rows else batch
            yield _with_keys(waiting.slice(0, size), schema, part.keys)
            waiting = waiting.slice(size)


def _with_keys(table: Any, schema: Any, keys: dict[str, Any]) -> Any:
    import pyarrow as pa

    for name in schema.names:
        if name not in table.column_names:
            field = schema.field(name)
            value = pa.scalar(keys[name], field.type)
            table = table.append_column(field, pa.repeat(value, table.num_rows))
    return table.select(schema.names)
