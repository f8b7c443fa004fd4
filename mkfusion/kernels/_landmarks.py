"""Which samples, or which points among them, stand for all: the landmarks of low-rank kernels."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from scipy import linalg, sparse

from .._parallel import single_blas_thread
from .._validation import check_block, check_option
from ._base import Array, Kernel, check_number
from ._given import FunctionKernel, Precomputed
from ._gram import as_kernel, diagonal, gram
from ._vector import Categorical, VectorKernel

ITERATIONS = 20  # of k-means: landmarks need no more, Zhang and Kwok do with fewer
CHUNK = 512  # samples whose nearest centre is sought at a time


class Landmarks(NamedTuple):
    """Points that stand for the samples.

    Attributes
    ----------
    points : array of shape (n_landmarks, n_features)
        For a sequence kernel, n_landmarks cells.
    indices : ndarray of shape (n_landmarks,) or None
        The rows of X that they are, None where they are no rows of X.

    Examples
    --------
    >>> import numpy as np
    >>> from mkfusion.kernels import choose_landmarks
    >>> found = choose_landmarks([[0.0], [1.0]], 2, rng=np.random.default_rng(0))
    >>> found.indices
    array([0, 1])
    """

    points: Any
    indices: Array | None


def choose_landmarks(
    X: Any,
    n_landmarks: int,
    method: str = "uniform",
    *,
    kernel: Any = "rbf",
    rng: np.random.Generator,
    n_jobs: int | None = None,
) -> Landmarks:
    """Choose landmarks among the samples.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        For a sequence kernel, the cells of n_samples sequences.
    n_landmarks : int
        At least 1. Where X has no more samples, every sample is a landmark.
    method : {"uniform", "kmeans", "leverage"}, default="uniform"
        Samples drawn without replacement, each with the same probability; the centres of k-means;
        or samples drawn by approximate ridge leverage scores, which favour those that the others
        say little of.
    kernel : str, Kernel or callable, default="rbf"
        A single kernel. Leverage scores are its own; k-means only asks whether the average of two
        samples is something that it can compare.
    rng : numpy.random.Generator
    n_jobs : int, default=None
        Threads, as joblib counts them. The result does not depend on it.

    Returns
    -------
    landmarks : Landmarks
        Rows of X stand in the order of X.

    Raises
    ------
    ValueError, TypeError
        If the samples cannot be landmarks of this kernel, as the rows of a Gram matrix cannot.

    References
    ----------
    Zhang, Kwok (2008), Improved Nystrom low-rank approximation and error analysis, section 3.

    Musco, Musco (2017), Recursive sampling for the Nystrom method, Algorithm 2, here with a
    number of samples instead of a ridge.

    Examples
    --------
    >>> import numpy as np
    >>> from mkfusion.kernels import choose_landmarks
    >>> X = [[0.0], [0.1], [5.0], [5.1]]
    >>> choose_landmarks(X, 2, "kmeans", rng=np.random.default_rng(0)).points.round(2)
    array([[0.05],
           [5.05]])
    """
    check_option("method", method, LANDMARKS)
    count = check_count("n_landmarks", n_landmarks)
    kernel = as_kernel(kernel)
    samples = as_samples(X, kernel)
    if not len(samples):
        raise ValueError("X has no samples to choose landmarks from")
    if count >= len(samples):
        return Landmarks(samples, np.arange(len(samples)))
    with single_blas_thread:
        return LANDMARKS[method](samples, count, kernel.resolve(samples), rng, n_jobs)


def check_count(name: str, value: Any) -> int:
    """Return a whole number from 1 on, or refuse it by name."""
    if isinstance(value, int | np.integer) and not isinstance(value, bool) and value >= 1:
        return int(value)
    raise ValueError(f"{name} must be a whole number >= 1, got {value!r}")


def as_samples(X: Any, kernel: Kernel) -> Any:
    """Return X as an array whose rows, or whose cells, are samples; the kernel is a single one."""
    if kernel._is_bank():
        raise ValueError(
            f"{kernel!r} is a bank of {len(kernel.expand())} kernels; approximate its single ones"
        )
    leaves = _leaves(kernel)
    if any(isinstance(leaf, Precomputed) and leaf.matrix is None for leaf in leaves):
        raise ValueError(
            "the rows of a precomputed Gram matrix cannot be landmarks: their columns are the "
            "samples themselves; use Precomputed(matrix) and X with the samples' row numbers"
        )
    if all(isinstance(leaf, VectorKernel | FunctionKernel | Precomputed) for leaf in leaves):
        return check_block(X)
    if hasattr(X, "to_numpy"):  # a DataFrame's column of cells
        X = X.to_numpy()
    if isinstance(X, np.ndarray):
        return X[:, 0] if X.dtype == object and X.ndim == 2 and X.shape[1] == 1 else X
    cells = np.empty(len(X), dtype=object)
    for i, cell in enumerate(X):
        cells[i] = cell
    return cells


def _leaves(kernel: Kernel) -> list[Kernel]:
    return [leaf for _, leaves in kernel._terms() for leaf in leaves]


def _uniform(
    X: Any, count: int, kernel: Kernel, rng: np.random.Generator, n_jobs: int | None
) -> Landmarks:
    return _rows(X, rng.choice(len(X), count, replace=False))


def _rows(X: Any, indices: Array) -> Landmarks:
    indices = np.sort(indices)
    return Landmarks(X[indices], indices)


# Centres ------------------------------------------------------------------------------------


def _kmeans(
    X: Any, count: int, kernel: Kernel, rng: np.random.Generator, n_jobs: int | None
) -> Landmarks:
    for leaf in _leaves(kernel):
        if isinstance(leaf, Categorical) or not isinstance(leaf, VectorKernel | FunctionKernel):
            raise ValueError(
                f"landmarks by k-means are averages of samples, which {type(leaf).__name__} "
                "cannot compare; use 'uniform' or 'leverage'"
            )
    return Landmarks(kmeans_centres(X, count, rng), None)


def kmeans_centres(X: Array, count: int, rng: np.random.Generator) -> Array:
    """Return centres of at most ``count`` clusters, fewer where X has fewer different rows."""
    scale = np.abs(X).max() or 1.0  # so that no square overflows
    values = X / scale
    shifted = (values - values.mean(axis=0)).astype(np.float64)
    centres = shifted[_seeds(shifted, count, rng)]
    labels = np.full(len(X), -1)
    for _ in range(ITERATIONS):
        found = _nearest(shifted, centres)
        if np.array_equal(found, labels):
            break
        labels = found
        sizes, averages = _averages(shifted, labels, len(centres))
        centres[sizes > 0] = averages[sizes > 0]  # an empty one stays where it is
    sizes, averages = _averages(values, labels, len(centres))
    averages = averages[sizes > 0] * scale
    return averages[np.lexsort(averages.T[::-1])].astype(X.dtype)


def _seeds(X: Array, count: int, rng: np.random.Generator) -> list[int]:
    """Return rows far from one another, each drawn by its squared distance to those before."""
    norms = np.einsum("ij,ij->i", X, X)
    rounding = 8 * np.finfo(np.float64).eps * norms.max()
    seeds = [int(rng.integers(len(X)))]
    squares = np.full(len(X), np.inf)
    while len(seeds) < count:
        distances = norms - 2 * (X @ X[seeds[-1]]) + norms[seeds[-1]]
        squares = np.minimum(squares, np.where(distances > rounding, distances, 0.0))
        total = squares.sum()
        if not total > 0:
            break
        seeds.append(int(rng.choice(len(X), p=squares / total)))
    return seeds


def _nearest(X: Array, centres: Array) -> Array:
    halves = 0.5 * np.einsum("ij,ij->i", centres, centres)
    found = [
        (halves - X[i : i + CHUNK] @ centres.T).argmin(axis=1) for i in range(0, len(X), CHUNK)
    ]
    return np.concatenate(found)


def _averages(X: Array, labels: Array, count: int) -> tuple[Array, Array]:
    n = len(X)
    members = sparse.csr_array((np.ones(n), (labels, np.arange(n))), shape=(count, n))
    sizes = np.bincount(labels, minlength=count)
    return sizes, (members @ X) / np.maximum(sizes, 1)[:, None]


# Leverage -----------------------------------------------------------------------------------


def ridge_leverage_scores(
    X: Any,
    ridge: float,
    kernel: Any = "rbf",
    *,
    sketch: Any = None,
    weights: Any = None,
    n_jobs: int | None = None,
) -> Array:
    r"""Return how much each sample says that the others do not: its ridge leverage score.

    The scores are the diagonal of :math:`K (K + \lambda I)^{-1}`. With a sketch of some samples,
    S their columns of the identity times ``weights``, they are the diagonal of

    .. math:: \frac{1}{\lambda} \left( K - K S (S' K S + \lambda I)^{-1} S' K \right),

    which is never less as long as no weight is over 1, and for which no matrix is larger than
    n_samples times the number of samples in the sketch.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        For a sequence kernel, the cells of n_samples sequences.
    ridge : float
        Lambda, positive.
    kernel : str, Kernel or callable, default="rbf"
        A single kernel.
    sketch : array-like of int of shape (n_sketch,), default=None
        Row numbers; None takes every row, and the scores are exact.
    weights : array-like of shape (n_sketch,), default=None
        Positive; 1 over the root of the probability with which a row came into the sketch.
    n_jobs : int, default=None
        Threads, as joblib counts them. The result does not depend on it.

    Returns
    -------
    scores : ndarray of shape (n_samples,)
        Not negative; with the sketch they may be over 1.

    Raises
    ------
    ValueError, TypeError
        As :func:`gram`, and for a ridge that is not positive.

    References
    ----------
    El Alaoui, Mahoney (2015), Fast randomized kernel ridge regression with statistical
    guarantees, Definition 1. Musco, Musco (2017), Recursive sampling for the Nystrom method,
    Algorithm 2, without its factor 3/2.

    Examples
    --------
    >>> from mkfusion.kernels import ridge_leverage_scores
    >>> ridge_leverage_scores([[0.0], [0.0], [9.0]], 1.0, "rbf").round(3)
    array([0.334, 0.334, 0.501])
    """
    kernel = as_kernel(kernel)
    samples = as_samples(X, kernel)
    penalty = check_number("ridge", ridge, least=0.0)
    rows = np.arange(len(samples)) if sketch is None else np.asarray(sketch)
    factors = np.ones(len(rows)) if weights is None else np.asarray(weights, dtype=np.float64)
    with single_blas_thread:
        sketched = _Sketch(samples, rows, factors, kernel.resolve(samples), n_jobs)
        return sketched.scores(samples, penalty)


class _Sketch:
    """Some samples, and what they say of the rest."""

    def __init__(
        self, X: Any, rows: Array, weights: Array, kernel: Kernel, n_jobs: int | None
    ) -> None:
        self.points = X[rows]
        self.weights = weights
        self.kernel = kernel
        self.n_jobs = n_jobs
        inner = gram(self.points, kernel=kernel, dtype=np.float64, n_jobs=n_jobs)
        self.values, self.vectors = linalg.eigh(weights[:, None] * inner * weights)

    def ridge(self, count: int) -> float:
        """Return lambda = (sum of all eigenvalues but the count largest) / count.

        With it the scores sum to at most 2 count: the largest eigenvalues add at most 1 each, the
        others their size over lambda.
        """
        descending = np.maximum(self.values[::-1], 0)
        least = np.finfo(np.float64).eps * descending.sum()
        return max(float(descending[count:].sum()) / count, least)

    def scores(self, X: Any, ridge: float) -> Array:
        cross = gram(X, self.points, self.kernel, dtype=np.float64, n_jobs=self.n_jobs)
        cross = (cross * self.weights) @ self.vectors
        known = (cross * cross) @ (1.0 / (np.maximum(self.values, 0) + ridge))
        return np.maximum(diagonal(X, self.kernel) - known, 0) / ridge


def _leverage(
    X: Any, count: int, kernel: Kernel, rng: np.random.Generator, n_jobs: int | None
) -> Landmarks:
    """Draw landmarks by scores that come of smaller and smaller halves of the samples."""
    order = rng.permutation(len(X))
    sizes = [len(X)]
    while sizes[-1] > count:
        sizes.append((sizes[-1] + 1) // 2)
    # So many directions that those drawn suffice for them, by the logarithm of the theory.
    directions = max(1, math.ceil(count / (4 * math.log(count + 1))))
    rows, weights = order[: sizes[-1]], np.ones(sizes[-1])
    for size in reversed(sizes[:-1]):
        sketch = _Sketch(X, rows, weights, kernel, n_jobs)
        among = order[:size]
        scores = sketch.scores(X[among], sketch.ridge(directions))
        chances = _chances(scores, count)
        drawn = _draw(chances, count, rng)
        rows, weights = among[drawn], 1.0 / np.sqrt(chances[drawn])
    return _rows(X, rows)


def _chances(scores: Array, count: int) -> Array:
    """Return probabilities in proportion to the scores, at most 1, that sum to ``count``."""
    raised = np.maximum(scores, np.finfo(np.float64).eps * max(scores.max(), 1.0))
    certain = np.zeros(len(scores), bool)
    while True:
        rest = (count - certain.sum()) / raised[~certain].sum()
        chances = np.where(certain, 1.0, rest * raised)
        if (chances <= 1).all():
            return chances
        certain |= chances > 1


def _draw(chances: Array, count: int, rng: np.random.Generator) -> Array:
    """Draw ``count`` different places of a row in random order, each with its own probability.

    The places lie side by side, as long as they are probable; a comb of count teeth, one apart,
    is laid upon them.
    """
    ends = np.cumsum(chances)
    teeth = (rng.random() + np.arange(count)) * (ends[-1] / count)
    return np.unique(np.minimum(np.searchsorted(ends, teeth, side="right"), len(ends) - 1))


LANDMARKS = {"uniform": _uniform, "kmeans": _kmeans, "leverage": _leverage}
