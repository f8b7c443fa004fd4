"""Operations on Gram matrices: learnt from the training samples, applied to any samples.

An operation is a fit function, which reads the training matrix and returns its statistics as a
NamedTuple of arrays, and the ``apply`` of these, which changes some rows of a matrix in place and
returns what becomes of their k(x, x). Rows of training and of test samples are treated alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from scipy import linalg

from .._parallel import single_blas_thread
from .._validation import (
    check_class_target,
    check_numeric_target,
    check_option,
    refuse_masked,
    sample_weights,
)

__all__ = [
    "OPERATIONS",
    "GramTransform",
    "alignment",
    "center",
    "fit_transform_gram",
    "ideal_kernel",
    "nearest_psd",
    "normalize",
    "transform_gram",
]

Array = np.ndarray

BLOCK_SIZE = 2**16  # entries of the rows that are worked on at a time, in the second cache
TILE = 256
ROUNDINGS = 8  # what rounding leaves of a zero after some sums, in units of the last place


class Operation(Protocol):
    """The statistics of the training samples that one operation needs."""

    def apply(self, block: Array, diagonal: Array) -> Array:
        """Change rows of shape (n_rows, n_train) in place; return their new k(x, x).

        Where k(x, x) is not known, it is NaN.
        """


class GramTransform(NamedTuple):
    """Operations on Gram matrices as they were learnt from the training samples.

    Attributes
    ----------
    n_train : int
        The number of training samples, the columns of every matrix to be transformed.
    operations : tuple of NamedTuple
        The training statistics of each operation, in the order of application: arrays and
        numbers only.

    Examples
    --------
    >>> from mkfusion.kernels import fit_transform_gram
    >>> _, fitted = fit_transform_gram([[2.0, 1.0], [1.0, 2.0]], ["trace", "center"])
    >>> fitted.n_train
    2
    >>> fitted.operations[0]
    Scaling(scale=2.0)
    """

    n_train: int
    operations: tuple[Operation, ...]


# Centring -------------------------------------------------------------------------------------


class Centering(NamedTuple):
    """The mean of the training samples in feature space, by its inner products."""

    means: Array  # shape: (n_train,), <phi(x_j), mean>
    mean: float  # <mean, mean>
    weights: Array | None  # shape: (n_train,)
    noise: float  # what rounding can leave of k(x, x) at the mean

    def apply(self, block: Array, diagonal: Array) -> Array:
        rows = _row_means(block, self.weights) - self.mean / 2
        block -= rows[:, None] + (self.means - self.mean / 2)
        return _denoised(diagonal - (rows + rows), self.noise)


def _fit_centering(K: Array, diagonal: Array, weights: Array | None) -> Centering:
    means = np.concatenate([_row_means(block, weights) for _, block in _blocks(K)])
    return Centering(means, _mean(means, weights), weights, _noise(K, np.abs(diagonal).max()))


def _row_means(block: Array, weights: Array | None) -> Array:
    if weights is None:
        return block.sum(axis=1) / block.shape[1]
    return (block * weights).sum(axis=1) / weights.sum()


def _mean(values: Array, weights: Array | None) -> float:
    return float(_row_means(values[None], weights)[0])


def _noise(K: Array, size: float) -> float:
    return float(ROUNDINGS * np.finfo(_result_dtype(K)).eps * size)


def _denoised(diagonal: Array, noise: float) -> Array:
    return np.where(np.abs(diagonal) <= noise, 0.0, diagonal)


# Normalising ----------------------------------------------------------------------------------


class Cosine(NamedTuple):
    """The lengths of the training samples in feature space."""

    lengths: Array  # shape: (n_train,)

    def apply(self, block: Array, diagonal: Array) -> Array:
        if np.isnan(diagonal).any():
            raise ValueError("cosine normalisation needs k(x, x) of the samples as diagonal")
        _check_nonnegative(diagonal, "diagonal, after the operations before the cosine,")
        block /= _lengths(diagonal)[:, None] * self.lengths
        return (diagonal > 0).astype(np.float64)


class Scaling(NamedTuple):
    """One number that every entry is divided by; infinity for a kernel that is 0."""

    scale: float

    def apply(self, block: Array, diagonal: Array) -> Array:
        block /= self.scale
        return diagonal / self.scale


def _fit_cosine(K: Array, diagonal: Array, weights: Array | None) -> Cosine:
    _check_nonnegative(diagonal, "the diagonal of K")
    return Cosine(_lengths(diagonal))


def _fit_trace(K: Array, diagonal: Array, weights: Array | None) -> Scaling:
    _check_nonnegative(diagonal, "the diagonal of K")
    return Scaling(_mean(diagonal, weights) or np.inf)


def _fit_variance(K: Array, diagonal: Array, weights: Array | None) -> Scaling:
    trace = _fit_trace(K, diagonal, weights).scale
    centering = _fit_centering(K, diagonal, weights)
    variance = trace - centering.mean
    if variance < -centering.noise:
        raise ValueError(
            f"the variance of K in feature space is negative ({variance:.3g}), so K is not "
            "positive semi-definite; see nearest_psd"
        )
    return Scaling(variance if variance > centering.noise else np.inf)


def _lengths(diagonal: Array) -> Array:
    """Return what cosines are divided by: a sample without length has the products 0."""
    return np.where(diagonal > 0, np.sqrt(diagonal), np.inf)


def _check_nonnegative(diagonal: Array, name: str) -> None:
    if diagonal.min(initial=0.0) < 0:
        raise ValueError(
            f"{name} must be non-negative, as k(x, x) is of every positive semi-definite kernel; "
            f"got {diagonal.min():.6g}"
        )


# The nearest positive semi-definite matrix ----------------------------------------------------


class Clipping(NamedTuple):
    """The eigenvectors of the negative eigenvalues, which are projected out."""

    values: Array  # shape: (n_negative,)
    vectors: Array  # shape: (n_train, n_negative)
    noise: float

    def apply(self, block: Array, diagonal: Array) -> Array:
        if not len(self.values):
            return diagonal
        with single_blas_thread:
            products = block @ self.vectors
            block -= products @ self.vectors.T
        return _denoised(diagonal - (products**2 / self.values).sum(axis=1), self.noise)


def _fit_clipping(K: Array, diagonal: Array, weights: Array | None) -> Clipping:
    noise = _noise(K, max(float(np.abs(block).max()) for _, block in _blocks(K)))
    allowed = len(K) * noise  # errors of this size in the entries move no eigenvalue further
    with single_blas_thread:
        if _is_psd(K, allowed):
            return Clipping(np.empty(0), np.empty((len(K), 0)), noise)
        values, vectors = linalg.eigh(
            _as_block(K).T, overwrite_a=True, driver="evr", check_finite=False
        )
    negative = values < -allowed
    return Clipping(values[negative], vectors[:, negative].copy(), noise)


def _is_psd(K: Array, allowed: float) -> bool:
    """Tell whether no eigenvalue is below ``-allowed``: far cheaper than the eigenvalues."""
    shifted = _as_block(K)
    shifted.ravel()[:: len(K) + 1] += allowed
    try:
        linalg.cholesky(shifted.T, overwrite_a=True, check_finite=False)
    except linalg.LinAlgError:
        return False
    return True


#: Every operation on Gram matrices by its name.
OPERATIONS: dict[str, Callable[[Array, Array, Array | None], Operation]] = {
    "center": _fit_centering,
    "cosine": _fit_cosine,
    "spherical": _fit_cosine,
    "trace": _fit_trace,
    "variance": _fit_variance,
    "nearest_psd": _fit_clipping,
}
NORMALIZATIONS = ("cosine", "spherical", "trace", "variance")


# One after another ----------------------------------------------------------------------------


class TransformedGram(NamedTuple):
    """The training matrix after the operations, and these as :func:`transform_gram` needs them."""

    K: Array  # shape: (n_train, n_train)
    fitted: GramTransform


def fit_transform_gram(
    K: Any,
    operations: str | Sequence[str],
    *,
    sample_weight: Any = None,
    out: Array | None = None,
) -> TransformedGram:
    """Learn operations on the Gram matrix of the training samples, and apply them to it.

    Every operation learns from what the one before it made of K. :func:`transform_gram` then
    does to the rows of other samples what was done here, with what was learnt here.

    Parameters
    ----------
    K : array-like of shape (n_train, n_train)
        The symmetric Gram matrix of the training samples.
    operations : str or sequence of str
        What to do, in this order: ``"center"`` (:func:`center`), ``"cosine"`` or its other name
        ``"spherical"``, ``"trace"``, ``"variance"`` (:func:`normalize`), ``"nearest_psd"``
        (:func:`nearest_psd`). An empty sequence does nothing.
    sample_weight : array-like of shape (n_train,) or None
        A sample of weight 2 counts as two of weight 1 in every mean; None weighs all equally.
    out : ndarray of shape (n_train, n_train) or None
        Where the result is written; may be K itself, which an error then leaves half done. None
        makes a new array.

    Returns
    -------
    K : ndarray of shape (n_train, n_train)
        The transformed matrix: float32 for float32, float64 for everything else, and symmetric
        to the bit when the argument is.
    fitted : GramTransform
        The training statistics: a NamedTuple of arrays, for :func:`transform_gram`.

    Raises
    ------
    ValueError
        If K is not square, not symmetric beyond rounding, not finite or empty, if an operation
        meets a negative k(x, x) that it cannot take, or if ``out`` does not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from mkfusion.kernels import fit_transform_gram, transform_gram
    >>> train, test = np.array([[3.0, 0.0], [0.0, 2.0]]), np.array([[1.0, 1.0]])
    >>> K, fitted = fit_transform_gram(train @ train.T, ["cosine", "center"])
    >>> K
    array([[ 0.5, -0.5],
           [-0.5,  0.5]])
    >>> transform_gram(test @ train.T, fitted, diagonal=[2.0])
    array([[0., 0.]])
    """
    matrix = _check_training("K", K)
    weights = _check_weights(sample_weight, matrix)
    names = [operations] if isinstance(operations, str) else list(operations)
    for name in names:
        check_option("operations", name, OPERATIONS)
    result = _output(matrix, out)
    diagonal = matrix.diagonal().astype(np.float64)
    learnt = []
    for name in names:
        operation = OPERATIONS[name](matrix, diagonal, weights)
        diagonal = _apply(matrix, [operation], diagonal, result)
        if name == "nearest_psd":
            _mirror(result)
        np.fill_diagonal(result, diagonal)
        matrix = result
        learnt.append(operation)
    if not names:
        result[...] = matrix
    return TransformedGram(result, GramTransform(len(result), tuple(learnt)))


def transform_gram(
    K: Any, fitted: GramTransform, *, diagonal: Any = None, out: Array | None = None
) -> Array:
    """Do to the rows of any samples what was done to the Gram matrix of the training samples.

    Only statistics of the training samples enter, so that a row of the result depends on that
    row alone; a row of the training matrix becomes the same row of the transformed one.

    Parameters
    ----------
    K : array-like of shape (n_test, n_train)
        The kernel of the samples with the training samples.
    fitted : GramTransform
        What :func:`fit_transform_gram` returned.
    diagonal : array-like of shape (n_test,) or None
        k(x, x) of the samples. Cosine normalisation needs it; the others do not read it.
    out : ndarray of shape (n_test, n_train) or None
        Where the result is written; may be K itself, which an error then leaves half done. None
        makes a new array.

    Returns
    -------
    K : ndarray of shape (n_test, n_train)
        The transformed rows: float32 for float32, float64 for everything else.

    Raises
    ------
    ValueError
        If K does not have one column for each training sample or is not finite, if ``diagonal``
        is missing where it is needed or becomes negative, or if ``out`` does not fit.

    Examples
    --------
    >>> from mkfusion.kernels import fit_transform_gram, transform_gram
    >>> _, fitted = fit_transform_gram([[4.0, 0.0], [0.0, 9.0]], "cosine")
    >>> transform_gram([[2.0, 3.0]], fitted, diagonal=[2.0])
    array([[0.70710678, 0.70710678]])
    """
    if not isinstance(fitted, GramTransform):
        raise TypeError(f"fitted must come from fit_transform_gram, got {type(fitted).__name__}")
    matrix = _check_matrix("K", K)
    if matrix.shape[1] != fitted.n_train:
        raise ValueError(
            f"K has {matrix.shape[1]} columns, but the operations were fitted on "
            f"{fitted.n_train} training samples; a row of K is a sample's kernel with each of them"
        )
    _largest("K", matrix)
    own = _check_diagonal(diagonal, len(matrix))
    result = _output(matrix, out)
    _apply(matrix, fitted.operations, own, result)
    return result


def center(K: Any, *, sample_weight: Any = None, out: Array | None = None) -> Array:
    """Centre a Gram matrix: move the mean of the samples in feature space to the origin.

    ``K_ij - m_i - m_j + m`` with ``m_i = sum_j w_j K_ij`` and ``m = sum_i w_i m_i``, weights
    summing to 1. For a test sample x this is ``k(x, x_j) - sum_l w_l k(x, x_l) - m_j + m`` with
    the m_j and m of the training samples: ``fit_transform_gram(K, "center")`` returns them.

    Parameters
    ----------
    K : array-like of shape (n_samples, n_samples)
        The symmetric Gram matrix of the training samples.
    sample_weight : array-like of shape (n_samples,) or None
        Weights of the samples in the mean; None weighs all equally.
    out : ndarray of shape (n_samples, n_samples) or None
        Where the result is written; may be K itself. None makes a new array.

    Returns
    -------
    K : ndarray of shape (n_samples, n_samples)
        The centred matrix. A k(x, x) that is 0 but for rounding is 0.

    Raises
    ------
    ValueError
        As for :func:`fit_transform_gram`.

    References
    ----------
    Schölkopf, Smola and Müller (1998), Nonlinear component analysis as a kernel eigenvalue
    problem, Neural Computation 10, appendix A.
    Cortes, Mohri and Rostamizadeh (2012), Algorithms for learning kernels based on centered
    alignment, JMLR 13, section 2.1.

    Examples
    --------
    >>> from mkfusion.kernels import center
    >>> center([[1.0, 2.0], [2.0, 4.0]])
    array([[ 0.25, -0.25],
           [-0.25,  0.25]])
    """
    return fit_transform_gram(K, "center", sample_weight=sample_weight, out=out).K


def normalize(
    K: Any, method: str = "cosine", *, sample_weight: Any = None, out: Array | None = None
) -> Array:
    """Normalise a Gram matrix, so that kernels of different scales can be compared and added.

    * ``"cosine"``: ``K_ij / sqrt(K_ii K_jj)``, every sample scaled to length 1. Each lies on the
      unit sphere then, and ``"spherical"`` is another name of the same.
    * ``"trace"``: ``K / sum_i w_i K_ii``, a mean squared length of 1.
    * ``"variance"``: ``K / (sum_i w_i K_ii - sum_ij w_i w_j K_ij)``, a variance of 1 about the
      mean in feature space; known as multiplicative normalisation.

    The weights sum to 1. On a centred matrix, variance and trace normalisation are one. Other
    samples are divided by the training samples' number, in cosine normalisation by their own
    length, which :func:`transform_gram` asks for; see there. What has no length stays without:
    a sample with K_ii = 0 gets zeros, and so does a kernel without trace or variance.

    Parameters
    ----------
    K : array-like of shape (n_samples, n_samples)
        The symmetric Gram matrix of the training samples.
    method : {"cosine", "spherical", "trace", "variance"}
        The normalisation.
    sample_weight : array-like of shape (n_samples,) or None
        Weights of the samples in the means; None weighs all equally. The cosine needs none.
    out : ndarray of shape (n_samples, n_samples) or None
        Where the result is written; may be K itself. None makes a new array.

    Returns
    -------
    K : ndarray of shape (n_samples, n_samples)
        The normalised matrix; with ``"cosine"``, its diagonal is exactly 1, or 0.

    Raises
    ------
    ValueError
        If the diagonal of K has a negative entry; otherwise as for :func:`fit_transform_gram`.

    References
    ----------
    Kloft, Brefeld, Sonnenburg and Zien (2011), lp-norm multiple kernel learning, JMLR 12,
    "Kernel normalization": multiplicative and spherical normalisation.
    Ong and Zien (2008), An automated combination of kernels for predicting protein subcellular
    localization, WABI: multiplicative normalisation.

    Examples
    --------
    >>> from mkfusion.kernels import normalize
    >>> normalize([[4.0, 3.0], [3.0, 9.0]])
    array([[1. , 0.5],
           [0.5, 1. ]])
    >>> normalize([[4.0, 3.0], [3.0, 8.0]], "trace")
    array([[0.66666667, 0.5       ],
           [0.5       , 1.33333333]])
    """
    check_option("method", method, NORMALIZATIONS)
    return fit_transform_gram(K, method, sample_weight=sample_weight, out=out).K


def nearest_psd(K: Any, *, out: Array | None = None) -> Array:
    """Return the positive semi-definite matrix that is nearest to K in the Frobenius norm.

    With the eigenvalues and eigenvectors ``K = V diag(l) V'`` this is ``V diag(max(l, 0)) V'``,
    which is ``K P`` for the projection ``P = I - V_- V_-'`` that takes out the eigenvectors of
    negative eigenvalues. The row k of a test sample becomes ``P k``, so that a training sample
    is treated alike in training and testing; its k(x, x) becomes
    ``k(x, x) - sum_r (k'v_r)^2 / l_r`` over the negative eigenvalues.

    An eigenvalue above ``-8 n eps max|K|`` may be rounding alone, and is no negative one. A
    matrix without negative ones is returned as it is, after one Cholesky factorisation; any other
    needs all eigenvalues, and memory for two matrices beside the result.

    Parameters
    ----------
    K : array-like of shape (n_samples, n_samples)
        The symmetric similarities of the training samples.
    out : ndarray of shape (n_samples, n_samples) or None
        Where the result is written; may be K itself. None makes a new array.

    Returns
    -------
    K : ndarray of shape (n_samples, n_samples)
        The nearest matrix without negative eigenvalues, but for rounding.

    Raises
    ------
    ValueError
        As for :func:`fit_transform_gram`.

    References
    ----------
    Higham (1988), Computing a nearest symmetric positive semidefinite matrix, Linear Algebra and
    its Applications 103, theorem 2.1.
    Chen, Garcia, Gupta, Rahimi and Cazzanti (2009), Similarity-based classification: concepts
    and algorithms, JMLR 10: "spectrum clip", and the linear transformation of test samples.

    Examples
    --------
    >>> from mkfusion.kernels import nearest_psd
    >>> nearest_psd([[0.0, 1.0], [1.0, 0.0]])
    array([[0.5, 0.5],
           [0.5, 0.5]])
    """
    return fit_transform_gram(K, "nearest_psd", out=out).K


# Alignment ------------------------------------------------------------------------------------


def alignment(K: Any, L: Any, *, centered: bool = True, sample_weight: Any = None) -> float:
    """Return the alignment of two Gram matrices, the cosine of the angle between them.

    ``<K, L> / sqrt(<K, K> <L, L>)`` with ``<K, L> = sum_ij w_i w_j K_ij L_ij``, of the centred
    matrices (:func:`center`) unless told otherwise. It is between -1 and 1, and not negative for
    positive semi-definite matrices. A matrix of norm 0 is aligned with nothing: the alignment of
    a kernel that is 0, or with centring a constant, is 0.

    Parameters
    ----------
    K, L : array-like of shape (n_samples, n_samples)
        The symmetric matrices; :func:`ideal_kernel` makes one of a target.
    centered : bool
        Centre both first. Without it, what the matrices have in common by their means counts too.
    sample_weight : array-like of shape (n_samples,) or None
        Weights of the samples in the sums and in the means; None weighs all equally.

    Returns
    -------
    alignment : float
        1 for matrices that are equal up to a positive factor.

    Raises
    ------
    ValueError
        If the shapes differ; otherwise as for :func:`fit_transform_gram`.

    References
    ----------
    Cristianini, Shawe-Taylor, Elisseeff and Kandola (2001), On kernel-target alignment, NIPS 14,
    definition 1 (not centred).
    Cortes, Mohri and Rostamizadeh (2012), Algorithms for learning kernels based on centered
    alignment, JMLR 13, section 2 (centred).

    Examples
    --------
    >>> from mkfusion.kernels import alignment, ideal_kernel
    >>> K = [[2.0, 1.0, 0.0], [1.0, 2.0, 0.0], [0.0, 0.0, 2.0]]
    >>> round(alignment(K, ideal_kernel(["a", "a", "b"])), 6)
    0.919145
    """
    left, right = _check_training("K", K), _check_training("L", L)
    if left.shape != right.shape:
        raise ValueError(f"K and L must have one shape, got {left.shape} and {right.shape}")
    weights = _check_weights(sample_weight, left)
    shares = np.full(len(left), 1.0) if weights is None else weights
    shares = shares / shares.sum()
    sides = [_unit_scaled(side, weights, centered) for side in (left, right)]
    products = np.zeros(3)
    for rows in _rows(*left.shape):
        k, l = (side(rows) for side in sides)  # noqa: E741
        pairs = shares[rows, None] * shares
        products += [float((pairs * a * b).sum()) for a, b in ((k, l), (k, k), (l, l))]
    both, *own = products
    norms = [np.sqrt(square) for square in own]
    if any(norm <= _noise(side, 1.0) for norm, side in zip(norms, (left, right), strict=True)):
        return 0.0
    return float(np.clip(both / (norms[0] * norms[1]), -1.0, 1.0))


def _unit_scaled(K: Array, weights: Array | None, centered: bool) -> Callable[[slice], Array]:
    """Return a function from rows to these rows of K, at a scale whose squares are safe."""
    # A power of 2 leaves every digit as it is.
    exponent = -int(np.frexp(_largest("K", K))[1])
    centering = _fit_centering(K, K.diagonal(), weights) if centered else None

    def read(rows: slice) -> Array:
        block = _as_block(K[rows])
        if centering is not None:
            centering.apply(block, np.full(len(block), np.nan))
        return np.ldexp(block, exponent, out=block)

    return read


def ideal_kernel(y: Any, *, task: str = "classification", sample_weight: Any = None) -> Array:
    """Return the Gram matrix that a target itself makes of the samples.

    For C classes it is 1 where two samples have the same class and ``-1 / (C - 1)`` where not;
    for two classes this is ``y y'`` with labels of -1 and 1. For numbers it is ``z z'`` with
    ``z = y - sum_i w_i y_i``, summed over outputs.

    Parameters
    ----------
    y : array-like of shape (n_samples,), or (n_samples, n_outputs) for numbers
        The class labels, or the numbers.
    task : {"classification", "regression"}
        What y holds.
    sample_weight : array-like of shape (n_samples,) or None
        Weights of the samples in the mean of the numbers, unused for classes; None weighs all
        equally.

    Returns
    -------
    K : ndarray of shape (n_samples, n_samples)
        A positive semi-definite matrix; of one class alone it is 1 throughout.

    Raises
    ------
    ValueError
        If y does not hold what ``task`` says.

    References
    ----------
    Cristianini, Shawe-Taylor, Elisseeff and Kandola (2001), On kernel-target alignment, NIPS 14:
    ``y y'`` of two classes.

    Examples
    --------
    >>> from mkfusion.kernels import ideal_kernel
    >>> ideal_kernel(["a", "b", "a"])
    array([[ 1., -1.,  1.],
           [-1.,  1., -1.],
           [ 1., -1.,  1.]])
    >>> ideal_kernel([0.0, 4.0], task="regression")
    array([[ 4., -4.],
           [-4.,  4.]])
    """
    check_option("task", task, ("classification", "regression"))
    if task == "classification":
        classes, codes = np.unique(check_class_target(y), return_inverse=True)
        similarity = np.full((len(classes),) * 2, -1.0 / max(len(classes) - 1, 1))
        np.fill_diagonal(similarity, 1.0)
        return similarity[codes][:, codes]
    numbers = check_numeric_target(y)
    numbers = numbers.reshape(len(numbers), -1)
    weights = sample_weights(sample_weight, numbers)
    centred = numbers - np.average(numbers, axis=0, weights=weights)
    with single_blas_thread:
        return _mirror(centred @ centred.T)


# Matrices in pieces ---------------------------------------------------------------------------


def _rows(n_rows: int, n_columns: int) -> Iterator[slice]:
    """Cut rows into blocks that stay in the cache."""
    height = max(1, BLOCK_SIZE // max(n_columns, 1))
    for start in range(0, n_rows, height):
        yield slice(start, min(start + height, n_rows))


def _as_block(rows: Array) -> Array:
    """Copy rows. One type and one order, so that a row's sum has the same bits everywhere."""
    return np.array(rows, dtype=np.float64, order="C")


def _blocks(K: Array) -> Iterator[tuple[slice, Array]]:
    for rows in _rows(*K.shape):
        yield rows, _as_block(K[rows])


def _apply(K: Array, operations: Sequence[Operation], diagonal: Array, out: Array) -> Array:
    """Write the transformed rows of K; return their new k(x, x)."""
    diagonal = diagonal.copy()
    for rows, block in _blocks(K):
        for operation in operations:
            diagonal[rows] = operation.apply(block, diagonal[rows])
        out[rows] = block
    return diagonal


def _tiles(n: int) -> Iterator[tuple[slice, slice]]:
    """Cut the lower half of a square matrix into tiles."""
    for top in range(0, n, TILE):
        for left in range(0, top + 1, TILE):
            yield slice(top, top + TILE), slice(left, left + TILE)


def _mirror(K: Array) -> Array:
    """Write the lower half over the upper one."""
    for rows, columns in _tiles(len(K)):
        if rows == columns:
            lower = np.tril(K[rows, rows])
            K[rows, rows] = lower + np.tril(lower, -1).T
        else:
            K[columns, rows] = K[rows, columns].T
    return K


# What is taken --------------------------------------------------------------------------------


def _result_dtype(K: Array) -> np.dtype:
    return np.dtype(np.float32 if K.dtype == np.float32 else np.float64)


def _check_matrix(name: str, K: Any) -> Array:
    refuse_masked(name, K)
    matrix = np.asarray(K)
    if matrix.ndim != 2 or matrix.dtype.kind not in "biuf":
        raise ValueError(
            f"{name} must be a 2-D array of real numbers, got "
            f"{type(K).__name__} of shape {np.shape(K)} and dtype {matrix.dtype}"
        )
    return matrix


def _check_training(name: str, K: Any) -> Array:
    matrix = _check_matrix(name, K)
    if matrix.shape[0] != matrix.shape[1] or not matrix.size:
        raise ValueError(
            f"{name} must be the square Gram matrix of at least one training sample, got shape "
            f"{matrix.shape}; transform_gram takes other samples"
        )
    _check_symmetric(name, matrix, _largest(name, matrix))
    return matrix


def _largest(name: str, K: Array) -> float:
    """Return the largest absolute value, or refuse what is not finite or overflows in sums."""
    largest = 0.0
    for rows in _rows(*K.shape):
        block = K[rows]
        size = max(float(block.max()), -float(block.min()))
        if not np.isfinite(size):
            row, column = np.argwhere(~np.isfinite(block))[0]
            raise ValueError(
                f"{name} must be finite, got {block[row, column]} "
                f"at row {rows.start + row}, column {column}"
            )
        largest = max(largest, size)
    if largest > np.finfo(_result_dtype(K)).max / (4 * K.shape[1] if K.size else 1):
        raise ValueError(
            f"{name} goes up to {largest:.3g}, which overflows in sums; divide it by a constant"
        )
    return largest


def _check_symmetric(name: str, K: Array, largest: float) -> None:
    allowed = np.sqrt(np.finfo(_result_dtype(K)).eps) * largest
    for rows, columns in _tiles(len(K)):
        gap = np.subtract(K[rows, columns], K[columns, rows].T, dtype=np.float64)
        if max(gap.max(), -gap.min()) > allowed:
            i, j = np.argwhere(np.abs(gap) > allowed)[0] + (rows.start, columns.start)
            raise ValueError(
                f"{name} must be symmetric, got {K[i, j]:.6g} at row {i}, column {j} "
                f"and {K[j, i]:.6g} at row {j}, column {i}"
            )


def _check_weights(sample_weight: Any, K: Array) -> Array | None:
    weights = sample_weights(sample_weight, K)
    return None if weights is None else weights / weights.max()


def _check_diagonal(diagonal: Any, n_samples: int) -> Array:
    if diagonal is None:
        return np.full(n_samples, np.nan)
    values = np.asarray(diagonal, dtype=np.float64)
    if values.shape != (n_samples,) or not np.isfinite(values).all():
        raise ValueError(
            f"diagonal must be k(x, x) of the {n_samples} samples, as finite numbers; "
            f"got shape {values.shape}: {values}"
        )
    return values


def _output(K: Array, out: Array | None) -> Array:
    dtype = _result_dtype(K)
    if out is None:
        return np.empty(K.shape, dtype)
    if not isinstance(out, np.ndarray) or (out.shape, out.dtype) != (K.shape, dtype):
        found = f"{type(out).__name__} of shape {np.shape(out)}"
        raise ValueError(f"out must be a {dtype} array of shape {K.shape}, got {found}")
    if not out.flags.writeable:
        raise ValueError("out must be writeable, got a read-only array")
    same = out.__array_interface__["data"] == K.__array_interface__["data"]
    if np.may_share_memory(out, K) and not (same and out.strides == K.strides):
        raise ValueError("out must be K itself or share no memory with it")
    return out
