"""One function of one block of rows, mapped or summed over all: what every source shares.

Whoever learns from a table that may not fit into memory writes a function of one block. A source
knows how its rows are cut; where the function runs makes no difference to any bit of the result,
because the cuts stand before anything runs and sums are added up in the order of the blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import BrokenExecutor
from contextlib import closing
from functools import reduce
from numbers import Real
from typing import Any, NamedTuple, Protocol

import numpy as np
import pandas as pd
from joblib import effective_n_jobs
from scipy import sparse
from sklearn.utils.parallel import Parallel, delayed

from ._mapped import MappedPart, mapped_part
from ._parallel import single_blas_thread
from ._validation import listed, refuse_masked

try:
    import cloudpickle
except ImportError:  # joblib brings it along, before 1.6 as a part of its own
    from joblib.externals import cloudpickle

__all__ = ["Block", "PieceBlocks", "RowBlocks", "make_block", "named_error"]

NUMBERS = 2**23  # in a block whose source has no partitions of its own: 64 MB
HEAD = 5  # rows that show what a table is like
_MOST_DEATHS = 2  # of workers while one block is waited for


class Block(NamedTuple):
    """Some rows of a table, as they are in the source."""

    X: Any  # ndarray, CSR or DataFrame
    y: np.ndarray | None
    weight: np.ndarray | None


class RowBlocks:
    """A table as blocks of rows, one after the other.

    Attributes
    ----------
    names : list of str
        Of each block, for messages.
    head : ndarray, CSR or DataFrame
        A few rows of the table, or none, with its columns and dtypes.
    """

    names: list[str]
    head: Any

    def map(self, function: Callable[..., Any], *args: Any) -> list[Any]:
        """Return function(block, *args) of each block, in the order of the blocks.

        Raises
        ------
        ValueError, TypeError, MemoryError
            What the function raises, with the block's name first.
        RuntimeError
            Where it raises anything else, or a worker is lost with rows that cannot be read again.
        """
        with closing(self._results(function, args)) as results:
            return list(results)

    def fold(
        self, join: Callable[[Any, Any], Any], function: Callable[..., Any], *args: Any
    ) -> Any:
        """Return what all function(block, *args) give, joined one after the other as they come.

        Raises
        ------
        ValueError, TypeError, MemoryError, RuntimeError
            As :meth:`map`.
        """
        with closing(self._results(function, args)) as results:
            return reduce(join, results)

    def sum(self, function: Callable[..., tuple[Any, ...]], *args: Any) -> tuple[Any, ...]:
        """Return the sum of function(block, *args), a tuple of arrays or numbers, over all blocks.

        Raises
        ------
        ValueError, TypeError, MemoryError, RuntimeError
            As :meth:`map`.
        """
        return _summed(self.fold(_added, function, *args))

    def _results(
        self, function: Callable[..., Any], args: tuple[Any, ...]
    ) -> Generator[Any, None, None]:
        """Yield the results in the order of the blocks."""
        raise NotImplementedError


def _added(total: Any, result: Any) -> tuple[Any, ...]:
    return tuple(a + b for a, b in zip(_summed(total), result, strict=True))


def _summed(total: Any) -> tuple[Any, ...]:
    if not isinstance(total, tuple):
        raise TypeError(f"a sum needs a function that returns a tuple, got {type(total)}")
    return total


# Pieces, which joblib sends to its workers ---------------------------------------------------


class Piece(Protocol):
    """What a worker opens: one block, or several that are best read one after the other."""

    @property
    def names(self) -> list[str]:
        """The name of each block."""

    def blocks(self) -> Iterator[Block]:
        """Yield a block for each name."""


class PieceBlocks(RowBlocks):
    """Blocks that are opened where they are worked on: here, or by the workers of joblib."""

    n_jobs: int | None

    def _pieces(self, first: int) -> Iterable[Piece]:
        """Yield the pieces; the first ones, whose results are there, are left out."""
        raise NotImplementedError

    def _results(
        self, function: Callable[..., Any], args: tuple[Any, ...]
    ) -> Generator[Any, None, None]:
        if effective_n_jobs(self.n_jobs) == 1:
            for piece in self._pieces(0):
                yield from _each(piece, function, args)
            return
        done, received, deaths, call = 0, 0, 0, Sealed((function, args))
        while True:
            tasks = (delayed(work_on)(piece, call) for piece in self._pieces(done))
            try:
                for results in _parallel(self.n_jobs)(tasks):
                    done, received, deaths = done + 1, received + len(results), 0
                    yield from results
                return
            except BrokenExecutor as error:  # the next call starts new workers
                deaths += 1
                if deaths == _MOST_DEATHS:
                    raise RuntimeError(
                        f"{self.names[received]}, or a block soon after it: {deaths} worker "
                        f"processes died one after the other: {error}"
                    ) from error


def _parallel(n_jobs: int | None) -> Parallel:
    # Threads share the rows; where a backend has processes, joblib would copy every block to disk.
    options: dict[str, Any] = {"n_jobs": n_jobs, "prefer": "threads", "max_nbytes": None}
    try:
        return Parallel(return_as="generator", **options)
    except ValueError:  # a backend that returns all results at once
        return Parallel(**options)


def work_on(piece: Piece, call: Sealed) -> list[Any]:
    """Return the function of each block of a piece."""
    return list(_each(piece, *call.value))


def _each(piece: Piece, function: Callable[..., Any], args: tuple[Any, ...]) -> Iterator[Any]:
    blocks = piece.blocks()
    for name in piece.names:
        try:
            with single_blas_thread:
                result = function(next(blocks), *args)
        except Exception as error:
            raise named_error(name, error) from error
        yield result


def named_error(name: str, error: BaseException) -> Exception:
    """Return an error of the same kind whose message begins with the block's name."""
    text = str(error)
    kinds = [kind for kind in (ValueError, TypeError, MemoryError) if isinstance(error, kind)]
    kind, named = kinds[0] if kinds else RuntimeError, text.startswith(f"{name}: ")
    if not named:
        told = text if kinds else f"{type(error).__name__}: {text}"
        text = f"{name}: {told}"
    elif not isinstance(error, kind):
        text = f"{name}: {type(error).__name__}: {text}"
    found = kind(text)
    for note in getattr(error, "__notes__", ()):
        found.add_note(note)
    return found


# What goes from one process to another -------------------------------------------------------


class Sealed:
    """A value that is pickled once, however many tasks carry it, and all in one text.

    Arrays that are sent beside the pickled text may begin at any byte, and numpy multiplies those
    without BLAS: slowly, and with other last bits.
    """

    def __init__(self, value: Any) -> None:
        self.value = value
        self._text: bytes | None = None

    def __reduce__(self) -> Any:
        if self._text is None:
            self._text = cloudpickle.dumps(self.value)
        return _unseal, (self._text,)


def _unseal(text: bytes) -> Sealed:
    return Sealed(cloudpickle.loads(text))


def aligned(values: Any, writeable: bool = False) -> Any:
    """Return arrays, or a frame of them, that begin where numbers of their type may begin."""
    if isinstance(values, np.ndarray):
        return np.require(values, requirements=["A", "W"] if writeable else ["A"])
    if isinstance(values, tuple | list):
        members = [aligned(member, writeable) for member in values]
        return values._make(members) if hasattr(values, "_make") else type(values)(members)
    if isinstance(values, pd.DataFrame):
        one = values.dtypes.nunique() == 1 and values.to_numpy()
        if isinstance(one, np.ndarray) and not one.flags.owndata and one.flags.aligned:
            return values  # all columns are views of one array, as wide tables' mostly are
        plain = (c.to_numpy() for _, c in values.items() if isinstance(c.dtype, np.dtype))
        return values if all(column.flags.aligned for column in plain) else values.copy()
    return values


# One block -----------------------------------------------------------------------------------


def make_block(X: Any, y: Any, sample_weight: Any) -> Block:
    """Return a block; y and the weights are values of its rows, or names of columns of X.

    The weights may also be one number for all rows.
    """
    target, weights = (X[v] if isinstance(v, str) else v for v in (y, sample_weight))
    X = features(X, y, sample_weight)
    n_rows = X.shape[0]
    if isinstance(weights, Real):
        weights = np.full(n_rows, weights)
    return aligned(Block(X, _target(target, n_rows), _weights(weights, n_rows)))


def features(X: Any, *aside: Any) -> Any:
    """Return X without the columns that are named."""
    names = [name for name in aside if isinstance(name, str)]
    return X.drop(columns=names) if names else X


def _target(y: Any, n_rows: int) -> np.ndarray | None:
    if y is None:
        return None
    labels = values_of("y", y)
    check_rows("y", labels, n_rows)
    return labels


def _weights(sample_weight: Any, n_rows: int) -> np.ndarray | None:
    if sample_weight is None:
        return None
    try:
        weights = values_of("sample_weight", sample_weight).astype(np.float64, copy=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"sample_weight must hold numbers: {error}") from None
    check_rows("sample_weight", weights, n_rows)
    if weights.ndim != 1:
        raise ValueError(f"Sample weights must be 1D array or scalar, got shape {weights.shape}")
    if not np.isfinite(weights).all():
        raise ValueError("sample_weight must be finite, and holds NaN or infinity")
    if (weights < 0).any():
        raise ValueError("Negative values in data passed to `sample_weight`")
    return weights


def values_of(name: str, values: Any) -> np.ndarray:
    """Return y or the weights as an array of at least one axis."""
    refuse_masked(name, values)
    if sparse.issparse(values):
        raise TypeError(f"{name} is sparse; pass {name}.toarray()")
    array = np.asarray(values)
    if array.ndim == 0:
        raise ValueError(f"{name} must have a value for each row of X, got {values!r}")
    return array


def check_rows(name: str, values: Any, n_rows: int) -> None:
    """Refuse values that are not as many as the rows of X."""
    if values.shape[0] != n_rows:
        raise ValueError(
            "Found input variables with inconsistent numbers of samples: "
            f"X has {n_rows}, {name} has {values.shape[0]}"
        )


def whole_values(name: str, values: Any, n_rows: int) -> Any:
    """Return y or the weights of the whole table; a number or a column's name as it is."""
    if values is None or isinstance(values, str | Real):
        return values
    return _weights(values, n_rows) if name == "sample_weight" else _target(values, n_rows)


def cut(values: Any, rows: slice) -> Any:
    """Return some rows: of a mapped array its place in the file; what is not by rows as it is."""
    if values is None or isinstance(values, str | Real):
        return values
    if isinstance(values, pd.DataFrame):
        return values.iloc[rows]
    part = values[rows]
    return part if sparse.issparse(part) else (mapped_part(part) or part)


def opened(values: Any) -> Any:
    """Return what was cut as a table or an array."""
    return values.open() if isinstance(values, MappedPart) else values


def rows_named(start: int, stop: int) -> str:
    """Name the rows from start to before stop."""
    return f"row {start}" if stop == start + 1 else f"rows {start} to {stop - 1}"


def check_columns(name: str, column: Any, columns: Iterable[Any]) -> None:
    """Refuse a name that is no column of X."""
    columns = list(columns)
    if isinstance(column, str) and column not in columns:
        raise ValueError(
            f"{name}={column!r} is no column of X; the columns are {listed(columns, 30)}"
        )


def check_frame(frame: pd.DataFrame, head: pd.DataFrame) -> pd.DataFrame:
    """Refuse rows whose columns are not those of the table."""
    if not len(frame):  # it holds nothing that could be misread
        return head.iloc[:0]
    refuse_other_columns(
        dict(zip(frame.columns, frame.dtypes, strict=True)),
        dict(zip(head.columns, head.dtypes, strict=True)),
        lambda dtype: dtype.kind,
    )
    return frame


def refuse_other_columns(
    found: dict[Any, Any], wanted: dict[Any, Any], kind: Callable[[Any], Any]
) -> None:
    """Refuse columns with other names, in another order or of another kind of dtype."""
    lacking = [name for name in wanted if name not in found]
    surplus = [name for name in found if name not in wanted]
    if lacking or surplus:
        parts = [
            f"{what} {listed(names)}"
            for what, names in (("lacks the columns", lacking), ("has the columns", surplus))
            if names
        ]
        more = ", which the table has not" if surplus else ""
        raise ValueError(f"{' and '.join(parts)}{more}")
    if list(found) != list(wanted):
        moved = [a for a, b in zip(found, wanted, strict=True) if a != b]
        raise ValueError(
            f"the columns {listed(moved)} stand in another order than in the table, "
            f"where it is {listed(wanted, 30)}"
        )
    others = [
        f"{name!r} is {found[name]} instead of {wanted[name]}"
        for name in wanted
        if kind(found[name]) != kind(wanted[name])
    ]
    if others:
        raise ValueError(f"columns of another type than in the table: {', '.join(others[:6])}")
