"""Work on tables that are cut into partitions: predictions and Gram matrices on Dask.

Fusions, comparisons and searches need nothing from here: they run on a cluster within
``joblib.parallel_config("dask")``.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.utils.validation import check_is_fitted

from ._parallel import single_blas_thread
from ._validation import frame_values, install, listed
from .kernels import Kernel, Precomputed, as_kernel, gram
from .modality import fill_cells

__all__ = ["dask_gram", "predict_in_blocks"]

ROWS = 4096  # of a block of a Gram matrix: 128 MB


def _needed(module: str, function: str) -> ModuleType:
    """Return a part of Dask, or say which extra holds it."""
    try:
        return __import__(module, fromlist=["_"])
    except ImportError as error:
        raise ImportError(f"{function} needs Dask: {install('distributed')}") from error


def _kind(X: Any) -> str:
    """Return "array" or "dataframe" for these collections of Dask, and else ""."""
    kinds = {t.__name__ for t in type(X).__mro__ if t.__module__.partition(".")[0] == "dask"}
    return "array" if "Array" in kinds else "dataframe" if "DataFrame" in kinds else ""


# Gram matrices ------------------------------------------------------------------------------


def dask_gram(X: Any, Y: Any = None, *, kernel: Any = "rbf", chunks: Any = None) -> Any:
    """Return the Gram matrix K_ij = k(x_i, y_j) as a Dask array, worked out block by block.

    Each block is equal to that part of :func:`~mkfusion.kernels.gram`. Without Y the matrix is
    symmetric to the bit, and only the blocks on and above the diagonal are worked out.

    Parameters
    ----------
    X : Dask array or array-like of shape (n_x, n_features)
        For a sequence kernel, the cells of n_x sequences.
    Y : as X, default=None
        None takes X.
    kernel : str, Kernel or callable, default="rbf"
        A single kernel or a bank, as :func:`~mkfusion.kernels.as_kernel` reads it. A parameter
        that depends on data ("scale", "median") is learnt once, from the whole of X, in a task
        of its own for which X is gathered on one worker: it is small beside its matrix. With Y,
        use :meth:`Kernel.resolve <mkfusion.kernels.Kernel.resolve>` on the training samples.
    chunks : int or tuple of int, default=None
        Rows of a block, one number for all blocks or one for each. None takes the blocks of a
        Dask array, and 4096 rows of any other.

    Returns
    -------
    K : Dask array of shape (n_x, n_y), or (n_bandwidths, n_x, n_y) for a bank

    Raises
    ------
    ImportError
        Without Dask: it comes with ``mkfusion[distributed]``.
    ValueError, TypeError
        For a Dask array whose lengths are not known, or without samples; when it is computed, as
        :func:`~mkfusion.kernels.gram`.

    Examples
    --------
    >>> import numpy as np
    >>> from mkfusion.distributed import dask_gram
    >>> from mkfusion.kernels import gram
    >>> X = np.arange(12.0).reshape(6, 2)
    >>> K = dask_gram(X, chunks=4)
    >>> K.chunks
    ((4, 2), (4, 2))
    >>> bool((K.compute() == gram(X)).all())
    True
    """
    dask, da = _needed("dask", "dask_gram"), _needed("dask.array", "dask_gram")
    kernel = as_kernel(kernel)
    if isinstance(kernel, Precomputed) and kernel.matrix is None:
        raise ValueError("X is a Gram matrix already; dask.array.from_array(X) cuts it in blocks")
    left = _rows_of(X, chunks, "X")
    right = left if Y is None else _rows_of(Y, chunks, "Y")
    resolved = _once(dask, kernel, X, Y)
    ask = dask.delayed(_gram_block, pure=False)
    dtype = _gram_dtype(kernel, left.dtype, right.dtype)
    bank = (len(kernel.expand()),) if kernel._is_bank() else ()

    def block(i: int, j: int) -> Any:
        if Y is None and i > j:
            return found[j][i].swapaxes(-1, -2)
        other = None if Y is None and i == j else right.blocks[j]
        shape = (*bank, left.lengths[i], right.lengths[j])
        return da.from_delayed(ask(resolved, left.blocks[i], other, dtype), shape, dtype)

    found: list[list[Any]] = []
    for i in range(len(left.blocks)):
        found.append([])
        for j in range(len(right.blocks)):
            found[i].append(block(i, j))
    return da.block(found)


class _Rows(NamedTuple):
    """One side of a Gram matrix, in blocks."""

    blocks: list[Any]  # delayed
    lengths: tuple[int, ...]
    dtype: Any


def _rows_of(X: Any, chunks: Any, name: str) -> _Rows:
    import dask
    from dask.array.core import normalize_chunks

    kind = _kind(X)
    if kind == "dataframe":
        raise TypeError(f"{name} is a Dask DataFrame; pass {name}.to_dask_array(lengths=True)")
    if kind == "array":
        if np.isnan(X.shape[0]):
            raise ValueError(
                f"the lengths of the blocks of {name} are not known; pass "
                f"{name}.compute_chunk_sizes()"
            )
        cut = X if chunks is None else X.rechunk({0: chunks})
        whole = cut.rechunk(dict.fromkeys(range(1, X.ndim), -1))
        blocks, lengths, dtype = list(whole.to_delayed().ravel()), whole.chunks[0], X.dtype
    else:
        values = _values(X)
        if not len(values):
            raise ValueError(f"{name} has no samples")
        (lengths,) = normalize_chunks((ROWS if chunks is None else chunks,), (len(values),))
        ends = np.cumsum(lengths)[:-1]
        blocks = [dask.delayed(part, traverse=False) for part in np.split(values, ends)]
        dtype = values.dtype
    if not sum(lengths):
        raise ValueError(f"{name} has no samples")
    return _Rows(blocks, lengths, dtype)


def _values(X: Any) -> np.ndarray:
    """Return samples as an array whose rows can be cut."""
    if isinstance(X, pd.DataFrame | pd.Series):
        return frame_values(X) if isinstance(X, pd.DataFrame) else X.to_numpy()
    if isinstance(X, list | tuple) and len(X) and isinstance(X[0], np.ndarray):
        return fill_cells(X)
    try:
        return np.asarray(X)
    except ValueError:  # sequences of different lengths
        return fill_cells(X)


def _once(dask: Any, kernel: Kernel, X: Any, Y: Any) -> Any:
    """Return the kernel with its numbers, learnt once for all blocks."""
    learnt = any(isinstance(value, str) for value in _leaves(kernel.get_params()))
    if not learnt:
        return dask.delayed(kernel, traverse=False)
    if Y is not None:
        raise ValueError(
            f"{kernel!r} has parameters that depend on the training samples, and a matrix of X "
            "and Y does not say which those are; pass kernel.resolve(X_train)"
        )
    if _kind(X):
        return dask.delayed(_resolved, pure=False)(dask.delayed(kernel, traverse=False), X)
    return dask.delayed(kernel.resolve(_values(X)), traverse=False)


def _leaves(params: dict[str, Any]) -> Iterator[Any]:
    for value in params.values():
        yield from value if isinstance(value, list | tuple) else [value]


def _resolved(kernel: Kernel, X: np.ndarray) -> Kernel:
    return kernel.resolve(X)


def _gram_dtype(kernel: Kernel, *dtypes: Any) -> Any:
    """Return the type of a Gram matrix, as :func:`gram` has it."""
    tiled = all(leaf._operation is not None for _, own in kernel._terms() for leaf in own)
    return np.dtype(np.float32 if tiled and set(dtypes) == {np.dtype(np.float32)} else np.float64)


def _gram_block(kernel: Kernel, X: Any, Y: Any, dtype: Any) -> np.ndarray:
    return gram(X, Y, kernel, dtype=dtype)


# Predictions --------------------------------------------------------------------------------


def predict_in_blocks(estimator: Any, X: Any, *, method: str = "predict") -> Any:
    """Return what a fitted estimator answers for a Dask collection, lazily, by partition.

    Columns are compared with those of the fit before anything runs, and the estimator is sent to
    the workers once. Every row is answered for as by the estimator itself; where rows make up
    sequences, as for the labelling of steps, no sequence may lie in two partitions.

    Parameters
    ----------
    estimator : estimator
        Fitted; of this package, or any other with scikit-learn's interface.
    X : Dask DataFrame or Dask array of shape (n_samples, n_features)
        Its partitions may be empty, and its lengths unknown. Cells that hold sequences survive
        in a Dask DataFrame only if it was made under
        ``dask.config.set({"dataframe.convert-string": False})``.
    method : str, default="predict"
        The method that is asked, such as "predict_proba" or "transform".

    Returns
    -------
    answers : Dask Series, DataFrame or array
        Of the kind of X, with its index and its partitions. A Series is named after the method;
        the columns of probabilities are the classes, those of a transformer its feature names.

    Raises
    ------
    ImportError
        Without Dask: it comes with ``mkfusion[distributed]``.
    NotFittedError
        If the estimator is not fitted.
    AttributeError
        If it has no such method.
    TypeError
        If X is no Dask collection, or its columns are of types that the estimator cannot read.
    ValueError
        For other columns than those of the fit. What an estimator refuses in a partition, NaN for
        instance, is raised when it is computed, and names the partition.

    Examples
    --------
    >>> import dask.dataframe as dd
    >>> import pandas as pd
    >>> from sklearn.linear_model import LinearRegression
    >>> from mkfusion.distributed import predict_in_blocks
    >>> X = pd.DataFrame({"audio__a": [0.0, 1.0, 2.0, 3.0]}, index=list("wxyz"))
    >>> model = LinearRegression().fit(X, [1.0, 3.0, 5.0, 7.0])
    >>> predict_in_blocks(model, dd.from_pandas(X, npartitions=2)).compute().round(6)
    w    1.0
    x    3.0
    y    5.0
    z    7.0
    Name: predict, dtype: float64
    """
    dask = _needed("dask", "predict_in_blocks")
    kind = _kind(X)
    if not kind:
        raise TypeError(
            f"X must be a Dask DataFrame or a Dask array, got {type(X).__name__}; "
            f"estimator.{method}(X) answers for it"
        )
    check_is_fitted(estimator)
    if not callable(getattr(estimator, method, None)):
        raise AttributeError(f"{type(estimator).__name__} has no method {method!r}")
    if kind == "array":
        return _of_array(dask, estimator, X, method)
    return _of_frame(dask, estimator, X, method)


class _Asked:
    """A question to an estimator, as it is sent to the workers: once."""

    def __init__(self, estimator: Any, method: str, head: Any) -> None:
        self.estimator, self.method, self.head = estimator, method, head
        self.like: Any = None  # an answer without rows

    def answer(self, table: Any) -> Any:
        """Return what the estimator says, as an array or a DataFrame."""
        with single_blas_thread:
            found = getattr(self.estimator, self.method)(table)
        if sparse.issparse(found):
            raise TypeError(f"{self.method} returned a sparse matrix; have it return a dense one")
        if isinstance(found, list):
            raise TypeError(f"{self.method} returned a list of answers, one for each target")
        return found if isinstance(found, pd.DataFrame) else np.asarray(found)

    def expected(self) -> Any:
        """Return an answer without rows, from a question about dummies or from attributes."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = self.answer(_dummies(self.head))[:0]
        except Exception as error:
            self._refuse_types(error)
            return self._from_attributes(error)
        classes = getattr(self.estimator, "classes_", None)
        if self.method == "predict" and found.ndim == 1 and isinstance(classes, np.ndarray):
            return found.astype(classes.dtype)  # for text the longest, not that of the dummies
        return found

    def _refuse_types(self, error: Exception) -> None:
        """Raise if numbers in the place of text or times would have been answered for."""
        if not isinstance(self.head, pd.DataFrame):
            return
        kinds = self.head.dtypes.map(_type_kind)
        suspects = list(kinds.index[~kinds.isin(["number", "object"])])
        if not suspects:
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                self.answer(_dummies(self.head).assign(**dict.fromkeys(suspects, 1.0)))
            except Exception:
                return
        types = ", ".join(f"{name!r} ({self.head.dtypes[name]})" for name in suspects[:6])
        raise TypeError(
            f"{type(self.estimator).__name__} cannot read the types of columns {types}: {error}"
        ) from error

    def _from_attributes(self, error: Exception) -> np.ndarray:
        classes: Any = getattr(self.estimator, "classes_", None)
        if self.method in ("predict", "score_samples"):
            labels = self.method == "predict" and isinstance(classes, np.ndarray)
            return np.empty(0, classes.dtype if labels else np.float64)
        if self.method in ("predict_proba", "predict_log_proba"):
            return np.empty((0, len(classes)))
        if self.method == "decision_function" and classes is not None:
            return np.empty((0, len(classes)))[:, 0 if len(classes) == 2 else slice(None)]
        if hasattr(self.estimator, "get_feature_names_out"):
            return np.empty((0, len(self.estimator.get_feature_names_out())))
        raise ValueError(
            f"what {self.method} returns cannot be told before it is asked: {error}"
        ) from error

    def labels(self, width: int) -> list[Any]:
        """Return the names of the columns of an answer."""
        classes = getattr(self.estimator, "classes_", ())
        if self.method in CLASSWISE and len(classes) == width:
            return list(classes)
        if self.method == "transform" and hasattr(self.estimator, "get_feature_names_out"):
            names = list(self.estimator.get_feature_names_out())
            if len(names) == width:
                return names
        return list(range(width))

    def as_pandas(self, found: Any, index: Any) -> Any:
        """Return an answer as a Series or a DataFrame."""
        if isinstance(found, pd.DataFrame):
            return found.set_axis(index, axis=0)
        if found.ndim == 1:
            return pd.Series(found, index=index, name=self.method)
        return pd.DataFrame(found, index=index, columns=self.labels(found.shape[1]))


TEXT = {"object", "str", "string"}
CLASSWISE = ("predict_proba", "predict_log_proba", "decision_function")


def _dummies(head: Any) -> Any:
    """Return two rows that stand for any, of the columns and types of a table."""
    if isinstance(head, np.ndarray):
        return np.ones((2, *head.shape[1:]), head.dtype)
    from dask.dataframe.utils import meta_nonempty

    return meta_nonempty(head).iloc[[0, 0]]  # the second may hold NA


def _type_kind(dtype: Any) -> str:
    """Return which types stand for one another in the partitions of a table."""
    if isinstance(dtype, pd.CategoricalDtype | pd.StringDtype):
        return dtype.name.partition("[")[0]
    return "number" if dtype.kind in "biuf" else "object" if dtype.kind == "O" else str(dtype)


@contextmanager
def _concerning(name: str) -> Iterator[None]:
    """Begin an error with the partition that it concerns."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        kinds = (kind for kind in (ValueError, TypeError) if isinstance(error, kind))
        raise next(kinds, RuntimeError)(f"{name}: {error}") from error


def _of_frame(dask: Any, estimator: Any, X: Any, method: str) -> Any:
    from dask.dataframe.utils import make_meta

    head = make_meta(X)
    _check_columns(estimator, head)
    asked = _Asked(estimator, method, head)
    asked.like = asked.as_pandas(asked.expected(), head.index)
    sent = dask.delayed(asked, traverse=False)
    return X.map_partitions(_answer_frame, sent, meta=asked.like)


def _answer_frame(frame: pd.DataFrame, asked: _Asked, partition_info: Any = None) -> Any:
    name = f"partition {partition_info['number']}" if partition_info else "a partition"
    with _concerning(name):
        _check_like(frame, asked.head)
        if not len(frame):
            return asked.like.set_axis(frame.index, axis=0)
        found = asked.as_pandas(asked.answer(frame), frame.index)
        if found.ndim != asked.like.ndim or found.shape[1:] != asked.like.shape[1:]:
            raise ValueError(
                f"{asked.method} returned an answer of shape {found.shape}, expected was that of "
                f"{asked.like.shape}"
            )
        dtypes = asked.like.dtype if found.ndim == 1 else asked.like.dtypes.to_dict()
        return found.astype(dtypes)


def _check_columns(estimator: Any, head: pd.DataFrame) -> None:
    """Refuse a table whose columns are not those of the fit."""
    found = list(head.columns)
    fitted = getattr(estimator, "feature_names_in_", None)
    name = type(estimator).__name__
    if fitted is None:
        _check_width(estimator, len(found))
        return
    wanted = list(fitted)
    if found == wanted:
        return
    missing = [column for column in wanted if column not in found]
    surplus = [column for column in found if column not in wanted]
    parts = [f"it lacks {listed(missing)}"] if missing else []
    parts += [f"{listed(surplus)} were not there at fit"] if surplus else []
    why = "; ".join(parts) or "they stand in another order"
    remedy = "" if missing else "; pass X[list(estimator.feature_names_in_)]"
    raise ValueError(f"the columns of X are not those that {name} was fitted on: {why}{remedy}")


def _check_width(estimator: Any, width: int) -> None:
    wanted = getattr(estimator, "n_features_in_", width)
    if width != wanted:
        raise ValueError(
            f"X has {width} columns, but {type(estimator).__name__} was fitted on {wanted}"
        )


def _check_like(frame: pd.DataFrame, head: pd.DataFrame) -> None:
    """Refuse a partition whose columns are not those of the collection."""
    if list(frame.columns) != list(head.columns):
        missing = [column for column in head.columns if column not in frame.columns]
        surplus = [column for column in frame.columns if column not in head.columns]
        raise ValueError(
            f"its columns are not those of X: it lacks {listed(missing) or 'none'}, has besides "
            f"{listed(surplus) or 'none'}, in the order {listed(frame.columns)}"
        )
    for name, found, wanted in zip(head.columns, frame.dtypes, head.dtypes, strict=True):
        kinds = {_type_kind(found), _type_kind(wanted)}
        if len(kinds) > 1 and not kinds <= TEXT:
            raise TypeError(f"column {name!r} is of type {found}, in X it is {wanted}")


def _of_array(dask: Any, estimator: Any, X: Any, method: str) -> Any:
    if X.ndim != 2:
        raise ValueError(f"X must have rows and columns, got a Dask array of {X.ndim} dimensions")
    _check_width(estimator, X.shape[1])
    X = X.rechunk({1: -1})
    asked = _Asked(estimator, method, np.empty((0, X.shape[1]), X.dtype))
    asked.like = np.asarray(asked.expected())
    sent = dask.delayed(asked, traverse=False)
    options: dict[str, Any] = {"drop_axis": 1}
    if asked.like.ndim == 2:
        options = {"chunks": (X.chunks[0], (asked.like.shape[1],))}
    return X.map_blocks(
        _answer_array, asked=sent, dtype=asked.like.dtype, meta=asked.like, **options
    )


def _answer_array(block: np.ndarray, asked: _Asked, block_id: Any = None) -> np.ndarray:
    with _concerning(f"partition {block_id[0]}" if block_id else "a partition"):
        if not len(block):
            return asked.like
        found = np.asarray(asked.answer(block))
        if found.shape[1:] != asked.like.shape[1:]:
            raise ValueError(
                f"{asked.method} returned an answer of shape {found.shape}, expected was that of "
                f"{asked.like.shape}"
            )
        return found.astype(asked.like.dtype, copy=False)
