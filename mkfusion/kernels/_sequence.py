"""Kernels of whole sequences: every alignment of two series, and the substrings of two strings."""

from __future__ import annotations

import math
import numbers
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from scipy import sparse
from scipy.spatial.distance import pdist

from .._parallel import on_threads, single_blas_thread
from .._validation import refuse_masked
from ._base import Array, Kernel, MatrixKernel, check_number
from ._global_alignment import Series, alignment_matrix

__all__ = ["GlobalAlignment", "Spectrum"]


class GlobalAlignment(MatrixKernel):
    """The global alignment kernel: how well two series agree over all ways to align them.

    k(x, y) = sum over alignments p of prod_i l(x_p1(i), y_p2(i)), with the local kernel
    l = g / (2 - g) of frames, g(u, v) = exp(-||u - v||^2 / (2 sigma^2)). An alignment starts at
    both first frames, ends at both last ones, and in each step moves on by one frame in x, in y
    or in both.

    Unlike dynamic time warping, which keeps the best alignment only, it is positive definite.
    The time it takes is proportional to the product of the two lengths. Values of long series
    reach far beyond the range of floats; they are held as a number and a power of two apart, so
    that what is normalised afterwards is right for any length.

    Parameters
    ----------
    sigma : float, "median" or list of float, default="median"
        Bandwidth, in the units of the frames. ``"median"`` is Cuturi's estimate from the training
        samples: the median distance of different frames, in a random sample of at most 500, times
        the square root of the median length. A list is a bank, one kernel for each bandwidth.
    triangular : int or None, default=None
        Frames that lie this many steps apart or more are not aligned: g is multiplied by
        max(0, 1 - abs(i - j) / triangular), with i and j their positions. It is as much faster as
        the band is narrower; series whose lengths differ by that many frames have k = 0.
    normalize : bool, default=True
        Divide by sqrt(k(x, x) k(y, y)). Without, values may be infinite or 0 in floats.
    random_state : int, default=0
        Seed of the sample of frames that ``"median"`` takes.

    Raises
    ------
    ValueError
        If a series is missing or empty, holds NaN or infinity, or has not as many features as
        the others; if ``sigma="median"`` is to be worked out from X and Y (call
        ``kernel.resolve(X_train)`` first); if a parameter is out of range.
    TypeError
        If a cell does not hold numbers.

    Notes
    -----
    Cells are arrays of shape (n_frames, n_features), or (n_frames,) for one feature, in a list,
    in an object array, or in one column of a DataFrame. An array of shape
    (n_samples, n_frames, n_features) or (n_samples, n_frames) serves too.

    References
    ----------
    Cuturi, Vert, Birkenes & Matsui (2007), A kernel for time series based on global alignments.
    Cuturi (2011), Fast global alignment kernels, for the local kernel, which makes it positive
    definite, for the triangular one and for the estimate of the bandwidth.

    Examples
    --------
    >>> from mkfusion.kernels import GlobalAlignment
    >>> kernel = GlobalAlignment(sigma=1.0)
    >>> kernel([[0.0, 1.0, 2.0], [0.0, 0.0, 1.0, 2.0], [2.0, 1.0]]).round(3)
    array([[1.   , 0.711, 0.032],
           [0.711, 1.   , 0.005],
           [0.032, 0.005, 1.   ]])
    """

    def __init__(
        self,
        sigma: Any = "median",
        *,
        triangular: int | None = None,
        normalize: bool = True,
        random_state: int = 0,
    ) -> None:
        self.sigma = sigma
        self.triangular = triangular
        self.normalize = normalize
        self.random_state = random_state

    @property
    def unit_diagonal(self) -> bool:  # type: ignore[override]
        return bool(self.normalize)

    def resolve(self, X: Any) -> GlobalAlignment:
        params = self.get_params()
        if isinstance(self.sigma, str):
            params["sigma"] = self._bandwidth(self._check(X, "X"))
        return type(self)(**params)

    def _is_bank(self) -> bool:
        return isinstance(self.sigma, list | tuple | np.ndarray)

    def expand(self) -> list[Kernel]:
        if not self._is_bank():
            return [self]
        if len(self.sigma) == 0:
            raise ValueError("sigma must hold at least one bandwidth, got an empty list")
        return [type(self)(**{**self.get_params(), "sigma": sigma}) for sigma in self.sigma]

    def _check(self, X: Any, name: str) -> Series:
        cells = [_as_series(cell, name, row) for row, cell in enumerate(_cells(X, name))]
        widths = [cell.shape[1] for cell in cells]
        for row, width in enumerate(widths):
            if width != widths[0]:
                raise ValueError(
                    f"row {row} of {name} has {width} features, but row 0 has {widths[0]}; every "
                    "series needs the same features"
                )
        frames = np.concatenate(cells) if cells else np.empty((0, 0))
        starts = np.cumsum([0, *map(len, cells)], dtype=np.int64)
        return Series(np.ascontiguousarray(frames), starts)

    def _matrix(self, X: Series, Y: Series | None, n_threads: int) -> Array:
        if Y is not None and X.frames.size and Y.frames.size:
            n_features, found = X.frames.shape[1], Y.frames.shape[1]
            if found != n_features:
                raise ValueError(
                    f"the series of Y have {found} features, but those of X have {n_features}"
                )
        if isinstance(self.sigma, str) and Y is not None:
            raise ValueError(
                f"sigma={self.sigma!r} is learnt from training samples alone; call "
                "kernel.resolve(X_train) and use the kernel that it returns"
            )
        sigma = self._bandwidth(X)
        band = 0 if self.triangular is None else min(_whole("triangular", self.triangular), 2**53)
        return alignment_matrix(X, Y, sigma, band, self.normalize, n_threads)

    def _count(self, X: Series) -> int:
        return len(X.lengths)

    def _diagonal(self, X: Series) -> Array:
        ends = zip(X.starts[:-1], X.starts[1:], strict=True)
        singles = (Series(X.frames[a:b], np.array([0, b - a])) for a, b in ends)
        return np.array([self._matrix(single, None, 1)[0, 0] for single in singles])

    def _bandwidth(self, X: Series) -> float:
        if self._is_bank():
            raise ValueError(
                f"sigma={self.sigma!r} is a bank of {len(self.sigma)} kernels; take its single "
                "ones from expand()"
            )
        if not isinstance(self.sigma, str):
            return check_number("sigma", self.sigma, least=0.0)
        if self.sigma != "median":
            raise ValueError(f"sigma must be a number, a list or 'median', got {self.sigma!r}")
        if not X.frames.size:
            raise ValueError("sigma='median' needs at least one series, got none")
        return _median_bandwidth(X, _whole("random_state", self.random_state, least=0))


_SAMPLE = 500  # frames that make the median distance
_LEAST, _MOST = np.finfo(np.float64).tiny, np.finfo(np.float64).max


def _median_bandwidth(X: Series, seed: int) -> float:
    """Return the median distance of different frames, times the root of the median length."""
    frames = X.frames
    if len(frames) > _SAMPLE:
        frames = np.random.default_rng(seed).choice(frames, _SAMPLE, replace=False)
    largest = np.abs(frames).max() or 1.0  # so that no square overflows
    distances = pdist(frames / largest)
    distances = distances[distances > 0]
    if not distances.size:
        return 1.0  # all frames are equal, and any bandwidth gives the same kernel
    root = math.sqrt(np.median(X.lengths))
    with np.errstate(over="ignore", under="ignore"):
        return float(np.clip(np.median(distances) * root * largest, _LEAST, _MOST))


class Spectrum(MatrixKernel):
    """The spectrum kernel: how many substrings of length k two strings share.

    k(x, y) = sum over all strings u of length k of count_u(x) count_u(y), with count_u(x) how
    often u stands in x, overlaps included. Blended, it sums over all lengths from 1 to k.

    Parameters
    ----------
    k : int, default=3
        Length of the substrings, in symbols.
    blended : bool, default=False
        Count the substrings of every length from 1 to k.
    normalize : bool, default=True
        Divide by sqrt(k(x, x) k(y, y)). A string shorter than k (blended: an empty one) has no
        substrings: its kernel is 0 with every string and with itself, so that the diagonal
        is 1 only where strings are long enough.

    Raises
    ------
    ValueError
        If a string is missing, or a symbol in it, or a parameter is out of range.
    TypeError
        If a cell is no string or sequence of symbols.

    Notes
    -----
    Cells are strings, or sequences of symbols that can be hashed (lists of labels, 1-D arrays of
    integers), in a list, in an array, or in one column of a DataFrame. A string is the sequence
    of its characters. Values that are not normalised are whole numbers, exact up to 2^53.

    References
    ----------
    Leslie, Eskin & Noble (2002), The spectrum kernel: a string kernel for SVM protein
    classification. Shawe-Taylor & Cristianini (2004), Kernel methods for pattern analysis,
    chapter 11, for the blended one.

    Examples
    --------
    >>> from mkfusion.kernels import Spectrum
    >>> Spectrum(k=2, normalize=False)(["banana", "bandana", "b"])
    array([[9., 7., 0.],
           [7., 8., 0.],
           [0., 0., 0.]])
    """

    def __init__(self, k: int = 3, *, blended: bool = False, normalize: bool = True) -> None:
        self.k = k
        self.blended = blended
        self.normalize = normalize

    def _check(self, X: Any, name: str) -> list[Sequence[Hashable]]:
        return [_as_symbols(cell, name, row) for row, cell in enumerate(_cells(X, name))]

    def _matrix(self, X: Any, Y: Any, n_threads: int) -> Array:
        k = _whole("k", self.k)
        counts = _count_substrings(
            X if Y is None else X + Y, range(1 if self.blended else k, k + 1)
        )
        squares = counts.multiply(counts).sum(axis=1)
        if counts.nnz * _SPARSE > math.prod(counts.shape):
            counts = counts.toarray()  # whole numbers: no order of summation changes them
        others = slice(0 if Y is None else len(X), None)
        right = counts[others].T if isinstance(counts, np.ndarray) else counts[others].T.tocsr()
        out = np.empty((len(X), right.shape[1]))

        def multiply(first: int) -> None:
            rows = slice(first, min(first + _ROWS, len(X)))
            product = counts[rows] @ right
            out[rows] = product.toarray() if sparse.issparse(product) else product
            if self.normalize:
                both = np.sqrt(squares[rows, None] * squares[others])  # of equal ones it is exact
                np.divide(out[rows], both, out=out[rows], where=both > 0)
                np.minimum(out[rows], 1.0, out=out[rows])

        with single_blas_thread:
            on_threads(multiply, range(0, len(X), _ROWS), n_threads)
        return out


_ROWS = 128  # of a matrix of substring counts in one task
_SPARSE = 8  # times fewer numbers than places make a sparse matrix the faster one


def _count_substrings(cells: list[Sequence[Hashable]], lengths: range) -> Any:
    """Return how often each cell holds each substring: a sparse matrix, a row for each cell.

    Substrings are numbered as they grow by a symbol at a time: the number of the shorter one and
    that of the symbol make one of the two, and the numbers are made consecutive again.
    """
    sizes = np.array([len(cell) for cell in cells], dtype=np.int64)
    owners = np.repeat(np.arange(len(cells)), sizes)
    ends = np.repeat(np.cumsum(sizes), sizes)
    symbols = _consecutive(_encode(cells))
    n_symbols = int(symbols.max(initial=-1)) + 1
    starts, words = np.arange(len(symbols)), symbols
    blocks = []
    for length in range(1, lengths.stop):
        if length > 1:
            inside = starts + length <= ends[starts]
            starts, words = starts[inside], words[inside]
            words = _consecutive(words * n_symbols + symbols[starts + (length - 1)])
        if length in lengths:
            shape = (len(cells), int(words.max(initial=-1)) + 1)
            places = (owners[starts], words)
            blocks.append(sparse.csr_array((np.ones(len(words)), places), shape=shape))
    return sparse.hstack(blocks, format="csr")


def _encode(cells: list[Sequence[Hashable]]) -> Array:
    """Return a number for each symbol of all cells, the same for equal symbols."""
    if all(isinstance(cell, str) for cell in cells):
        text = "".join(cells).encode("utf-32-le", "surrogatepass")  # type: ignore[arg-type]
        return np.frombuffer(text, np.uint32)
    numbers_of: dict[Hashable, int] = {}
    codes = [numbers_of.setdefault(symbol, len(numbers_of)) for cell in cells for symbol in cell]
    return np.array(codes, dtype=np.int64)


def _consecutive(values: Array) -> Array:
    return np.unique(values, return_inverse=True)[1].astype(np.int64, copy=False)


# What is in the cells ------------------------------------------------------------------------


def _cells(X: Any, name: str) -> list[Any]:
    """Return the sequences of a list, an array or a column, one for each sample."""
    refuse_masked(name, X)
    if isinstance(X, list | tuple):
        return list(X)
    values = np.asarray(X)
    if values.ndim == 2 and values.shape[1] == 1 and values.dtype.kind in "OUT":
        values = values[:, 0]
    if values.ndim == 0 or sparse.issparse(X) or isinstance(X, str | bytes):
        raise TypeError(f"{name} must be a list or column of sequences, got {_named(X)}")
    if values.ndim == 2 and values.dtype.kind == "O":
        raise ValueError(
            f"{name} has {values.shape[1]} columns; a kernel of sequences reads one, whose cells "
            "are whole sequences"
        )
    return list(values)


def _as_series(cell: Any, name: str, row: int) -> Array:
    """Return a cell as finite numbers of shape (n_frames, n_features)."""
    values = _as_array(cell, name, row, "an array of shape (n_frames, n_features)")
    has_text = values.dtype.kind == "O" and any(isinstance(v, str | bytes) for v in values.flat)
    if values.dtype.kind not in "biufO" or has_text:
        raise TypeError(f"row {row} of {name} must hold numbers, got {_named(cell)}")
    try:
        values = values.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(f"row {row} of {name} must hold numbers: {error}") from None
    if values.ndim == 1:
        values = values[:, None]
    if values.ndim != 2 or 0 in values.shape:
        raise ValueError(
            f"row {row} of {name} must be an array of shape (n_frames, n_features) with at least "
            f"one frame and one feature, got shape {np.shape(cell)}"
        )
    bad = ~np.isfinite(values).all(axis=1)
    if bad.any():
        frame = int(bad.argmax())
        raise ValueError(
            f"row {row} of {name} contains NaN or infinity at frame {frame}: "
            f"{values[frame].tolist()}; impute or cut out such frames"
        )
    return values


def _as_symbols(cell: Any, name: str, row: int) -> Sequence[Hashable]:
    """Return a cell as a sequence of symbols that can be hashed."""
    if isinstance(cell, str):
        return cell
    if not isinstance(cell, list | tuple):
        values = _as_array(cell, name, row, "a string or a 1-D sequence of symbols")
        if values.ndim != 1:
            raise ValueError(
                f"row {row} of {name} must be a string or a 1-D sequence of symbols, got shape "
                f"{values.shape}"
            )
        cell = values.tolist()
    for place, symbol in enumerate(cell):
        if _is_missing(symbol):
            raise ValueError(f"row {row} of {name} has no symbol at place {place}: {symbol!r}")
        try:
            hash(symbol)
        except TypeError:
            raise TypeError(
                f"row {row} of {name} holds {_named(symbol)} at place {place}; symbols are what "
                "can be hashed, such as text and whole numbers"
            ) from None
    return cell


def _as_array(cell: Any, name: str, row: int, what: str) -> Array:
    """Return a cell as an array of one dimension at least."""
    if _is_missing(cell):
        raise ValueError(f"row {row} of {name} is missing ({cell!r}); drop it or fill it in")
    refuse_masked(f"row {row} of {name}", cell)
    try:
        values = np.asarray(cell)
    except ValueError as error:  # rows of different lengths
        raise ValueError(f"row {row} of {name} must be {what}: {error}") from None
    if values.ndim == 0:
        raise TypeError(f"row {row} of {name} must be {what}, got {_named(cell)}")
    return values


def _is_missing(value: Any) -> bool:
    is_nan = isinstance(value, float | np.floating) and bool(np.isnan(value))
    return value is None or is_nan or type(value).__name__ in ("NAType", "NaTType")


def _named(value: Any) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 60 else text[:57] + '...'}"


def _whole(name: str, value: Any, least: int = 1) -> int:
    """Return a whole number from ``least`` on, or refuse it by name."""
    is_whole = isinstance(value, numbers.Integral) and not isinstance(value, bool | np.bool_)
    if not is_whole or value < least:
        raise ValueError(f"{name} must be a whole number >= {least}, got {value!r}")
    return int(value)
