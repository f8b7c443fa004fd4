"""Kernels on vectors: each is its formula, and what is true of it.

To add one: an :class:`Operation` (what two features add to the sum, what becomes of the sum), a
class with its parameters and traits, and its entry in :data:`VECTOR_KERNELS`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.spatial.distance import pdist

from .._validation import check_block, listed
from ._base import Array, Kernel, check_number
from ._ops import decay, differ, divide, log1p, minimum, power, saturate, tanh
from ._tile import Operation

MEDIAN_SAMPLES = 500


class VectorKernel(Kernel):
    """A kernel on rows of numbers, worked out tile by tile."""

    _form = "as given"  # kernels of one form prepare a block alike

    def _check(self, X: Any, name: str) -> Array:
        checked = check_block(X, name)
        if self.nonnegative_input and checked.size and checked.min() < 0:
            row, column = np.argwhere(checked < 0)[0]
            raise ValueError(
                f"{type(self).__name__} needs features that are not negative; {name} holds "
                f"{checked[row, column]:g} in row {row}, column {column}"
            )
        return checked

    def _check_key(self) -> Any:
        return ("vectors", self.nonnegative_input)

    def _numbers(self, n_features: int) -> tuple[float, ...]:
        """Return a, b and c of the operation, as far as it has them."""
        return ()

    def _constants(self, n_features: int, dtype: Any) -> Array:
        """Return a, b and c in the type of the data."""
        numbers = self._numbers(n_features)
        with np.errstate(over="ignore", under="ignore"):
            given = np.array((*numbers, 0.0, 0.0, 0.0)[:3])
            constants = given.astype(dtype)
        small = (np.abs(constants) < np.finfo(dtype).tiny) & (given != 0)  # few digits, or none
        if small.any() or not np.isfinite(constants).all():
            raise ValueError(
                f"the parameters of {self!r} are out of the range of {dtype}; rescale the "
                "features, and the bandwidth with them"
            )
        return constants

    def _diagonal(self, X: Array) -> Array:
        X = X.astype(np.float64, copy=False)
        rows, scales = self._prepare(X)
        numbers = self._constants(X.shape[1], X.dtype)
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            total = self._operation.pair(rows, rows).sum(axis=1)
            values = self._operation.finish(total, *numbers)
        return values if scales is None else values * scales * scales

    def _prepare(self, X: Array) -> tuple[Array, Array | None]:
        """Return the rows that the operation compares, and what multiplies their values."""
        return X, None


class BandwidthKernel(VectorKernel):
    """A vector kernel with a bandwidth, which may be learnt from data or be a list."""

    _bandwidth = "gamma"
    _options: tuple[str, ...] = ("scale", "median")

    def _is_bank(self) -> bool:
        value = getattr(self, self._bandwidth)
        if isinstance(value, np.ndarray):
            return value.ndim > 0
        return isinstance(value, list | tuple)

    def expand(self) -> list[Kernel]:
        """Return one kernel for each bandwidth of a bank, and else the kernel itself."""
        if not self._is_bank():
            return [self]
        values = getattr(self, self._bandwidth)
        if not len(values):
            raise ValueError(f"{self._bandwidth} is an empty list; a bank needs a bandwidth")
        params = self.get_params(deep=False)
        return [type(self)(**{**params, self._bandwidth: value}) for value in values]

    def resolve(self, X: Any) -> Kernel:
        """Return this kernel with its bandwidth made a number, or a list of numbers.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The training samples.

        Returns
        -------
        kernel : Kernel
        """
        params = self.get_params(deep=False)
        value = params[self._bandwidth]
        if self._is_bank():
            found: Any = [self._resolved(single, X) for single in value]
        else:
            found = self._resolved(value, X)
        return type(self)(**{**params, self._bandwidth: found})

    def _resolved(self, value: Any, X: Any) -> float:
        if not isinstance(value, str):
            return self._number(value)
        if value not in self._options:
            self._refuse(value)
        checked = self._check(X, "X")
        if not len(checked):
            raise ValueError(f"{self._bandwidth}={value!r} needs samples, and X has none")
        found = self._by_scale(checked) if value == "scale" else self._by_median(checked)
        if not np.finfo(np.float64).tiny <= found < np.inf:
            raise ValueError(
                f"{self._bandwidth}={value!r} comes to {found:g} on this X (largest magnitude "
                f"{np.abs(checked).max():.3g}); rescale X or give a number"
            )
        return found

    def _number(self, value: Any) -> float:
        """Return the bandwidth as a positive number, or refuse it."""
        if isinstance(value, str) and value in self._options:
            raise ValueError(
                f"{self._bandwidth}={value!r} depends on the training samples, and a matrix of X "
                "and Y does not say which those are; use kernel.resolve(X_train)"
            )
        try:
            return check_number(self._bandwidth, value, least=0.0)
        except ValueError:
            return self._refuse(value)

    def _refuse(self, value: Any) -> float:
        raise ValueError(
            f"{self._bandwidth} of {type(self).__name__} must be a number > 0, one of "
            f"{listed(self._options)}, or a list of these, got {value!r}"
        )

    def _by_scale(self, X: Array) -> float:
        raise NotImplementedError

    def _by_median(self, X: Array) -> float:
        raise NotImplementedError


def variance_bandwidth(X: Array) -> float:
    """Return 1 / (n_features * var(X)), and 1 where X is constant, as SVC's "scale" does."""
    largest = float(np.abs(X).max())
    variance = float(np.var(X / largest, dtype=np.float64)) if largest else 0.0
    return 1.0 / (X.shape[1] * variance) / largest / largest if variance else 1.0


def deviation_bandwidth(X: Array) -> float:
    """Return 1 / (n_features * std(X)), and 1 where X is constant."""
    largest = float(np.abs(X).max())
    deviation = float(np.std(X / largest, dtype=np.float64)) if largest else 0.0
    return 1.0 / (X.shape[1] * deviation) / largest if deviation else 1.0


def median_distance(X: Array, metric: Any) -> float:
    """Return the median of the distances that are not 0, on a seeded subsample; 1 without any."""
    if len(X) > MEDIAN_SAMPLES:
        X = X[np.sort(np.random.default_rng(0).choice(len(X), MEDIAN_SAMPLES, replace=False))]
    largest = float(np.abs(X).max())
    if len(X) < 2 or not largest:
        return 1.0
    distances = pdist(X.astype(np.float64) / largest, metric)
    distances = distances[distances > 0]
    return float(np.median(distances)) * largest if distances.size else 1.0


def half_inverse_square(length: float) -> float:
    """Return RBF's gamma for a length."""
    return 0.5 / length / length


def chi2_distance(x: Array, y: Array) -> float:
    """Return sum (x - y)^2 / (x + y), where 0 / 0 counts nothing."""
    return float(((x - y) * divide(x - y, x + y)).sum())


# Operations ---------------------------------------------------------------------------------


class _Dot(Operation):
    def pair(self, x, y):
        return x * y

    def finish(self, total, a, b, c):
        return total


class _Power(_Dot):
    def finish(self, total, a, b, c):
        return power(a * total + b, c)


class _Tanh(_Dot):
    def finish(self, total, a, b, c):
        return tanh(a * total + b)


class _Squared(Operation):
    def pair(self, x, y):
        return (x - y) * (x - y)

    def finish(self, total, a, b, c):
        return decay(a * total)


class _HalfSquared(_Squared):
    def finish(self, total, a, b, c):
        return a - b * total


class _Matern(_Squared):
    def finish(self, total, a, b, c):
        t = saturate(a * np.sqrt(total))
        return decay(t) + decay(t) * (t * (c * t + b))


class _Rational(_Squared):
    def finish(self, total, a, b, c):
        return decay(b * log1p(a * total))


class _Absolute(_Squared):
    def pair(self, x, y):
        return abs(x - y)


class _Chi2(_Squared):
    def pair(self, x, y):
        return (x - y) * divide(x - y, x + y)


class _NegativeChi2(_Chi2):
    def finish(self, total, a, b, c):
        return -total


class _Minimum(_Dot):
    def pair(self, x, y):
        return minimum(x, y)


class _Mismatch(Operation):
    def pair(self, x, y):
        return differ(x, y)

    def finish(self, total, a, b, c):
        return (a - total) / a


# Kernels ------------------------------------------------------------------------------------


class Linear(VectorKernel):
    """The linear kernel, k(x, y) = x'y.

    Examples
    --------
    >>> from mkfusion.kernels import Linear
    >>> Linear()([[1.0, 2.0], [3.0, 4.0]])
    array([[ 5., 11.],
           [11., 25.]])
    """

    _operation = _Dot()


class Polynomial(BandwidthKernel):
    """The polynomial kernel, k(x, y) = (gamma x'y + coef0)^degree.

    Parameters
    ----------
    gamma : float, "scale" or list, default="scale"
        Positive; "scale" is 1 / (n_features * X.var()); a list makes a bank.
    degree : int, default=3
        From 1 to 63.
    coef0 : float, default=1.0
        Below 0 the kernel is not positive definite.

    Examples
    --------
    >>> from mkfusion.kernels import Polynomial
    >>> Polynomial(gamma=1.0, degree=2)([[1.0], [2.0]])
    array([[ 4.,  9.],
           [ 9., 25.]])
    """

    _operation = _Power()
    _options = ("scale",)

    def __init__(self, gamma: Any = "scale", degree: int = 3, coef0: float = 1.0) -> None:
        self.gamma = gamma
        self.degree = degree
        self.coef0 = coef0

    @property
    def positive_definite(self) -> bool:  # type: ignore[override]
        """Whether coef0 allows it."""
        return check_number("coef0", self.coef0) >= 0

    conditionally_positive_definite = positive_definite

    def _numbers(self, n_features: int) -> tuple[float, ...]:
        degree = check_number("degree", self.degree, least=0.0)
        if not (degree.is_integer() and degree <= 63):
            raise ValueError(f"degree must be a whole number from 1 to 63, got {self.degree!r}")
        return self._number(self.gamma), check_number("coef0", self.coef0), degree

    def _by_scale(self, X: Array) -> float:
        return variance_bandwidth(X)


class Sigmoid(BandwidthKernel):
    """The sigmoid kernel, k(x, y) = tanh(gamma x'y + coef0).

    It is not positive definite: its Gram matrices can have negative eigenvalues.

    Parameters
    ----------
    gamma : float, "scale" or list, default="scale"
        Positive; "scale" is 1 / (n_features * X.var()); a list makes a bank.
    coef0 : float, default=0.0

    Examples
    --------
    >>> from mkfusion.kernels import Sigmoid
    >>> Sigmoid(gamma=1.0)([[0.0], [1.0]])
    array([[0.        , 0.        ],
           [0.        , 0.76159416]])
    """

    positive_definite = False
    conditionally_positive_definite = False
    _operation = _Tanh()
    _options = ("scale",)

    def __init__(self, gamma: Any = "scale", coef0: float = 0.0) -> None:
        self.gamma = gamma
        self.coef0 = coef0

    def _numbers(self, n_features: int) -> tuple[float, ...]:
        return self._number(self.gamma), check_number("coef0", self.coef0)

    def _by_scale(self, X: Array) -> float:
        return variance_bandwidth(X)


class Cosine(VectorKernel):
    """The cosine kernel, k(x, y) = x'y / (||x|| ||y||), and 0 where x or y is 0.

    It is worked out as 1 - ||x/||x|| - y/||y|| ||^2 / 2, which is exactly 1 for equal rows.

    Examples
    --------
    >>> from mkfusion.kernels import Cosine
    >>> Cosine()([[1.0, 0.0], [1.0, 1.0]])
    array([[1.        , 0.70710678],
           [0.70710678, 1.        ]])
    """

    unit_diagonal = True
    _operation = _HalfSquared()
    _form = "unit length"

    def _numbers(self, n_features: int) -> tuple[float, ...]:
        return 1.0, 0.5

    def _prepare(self, X: Array) -> tuple[Array, Array | None]:
        largest = np.abs(X).max(axis=1, keepdims=True, initial=0)
        scaled = X / np.where(largest > 0, largest, 1)
        norms = np.sqrt((scaled * scaled).sum(axis=1, keepdims=True))
        present = (largest[:, 0] > 0).astype(X.dtype)
        return scaled / np.where(norms > 0, norms, 1), None if present.all() else present


class RBF(BandwidthKernel):
    """The Gaussian kernel, k(x, y) = exp(-gamma ||x - y||^2).

    Parameters
    ----------
    gamma : float, "scale", "median" or list, default="scale"
        Positive. "scale" is 1 / (n_features * X.var()). "median" is 1 / (2 s^2) with s the median
        distance that is not 0 among at most 500 samples, drawn with a fixed seed. A list makes a
        bank.

    Examples
    --------
    >>> from mkfusion.kernels import RBF
    >>> RBF(gamma=1.0)([[0.0], [1.0]])
    array([[1.        , 0.36787944],
           [0.36787944, 1.        ]])
    """

    unit_diagonal = True
    _operation = _Squared()

    def __init__(self, gamma: Any = "scale") -> None:
        self.gamma = gamma

    def _numbers(self, n_features: int) -> tuple[float, ...]:
        return (self._number(self.gamma),)

    def _by_scale(self, X: Array) -> float:
        return variance_bandwidth(X)

    def _by_median(self, X: Array) -> float:
        return half_inverse_square(median_distance(X, "euclidean"))


class Laplacian(BandwidthKernel):
    """The Laplacian kernel, ``k(x, y) = exp(-gamma sum_k |x_k - y_k|)``.

    Parameters
    ----------
    gamma : float, "scale", "median" or list, default="scale"
        Positive. "scale" is 1 / (n_features * X.std()); "median" is 1 over the median distance
        that is not 0 among at most 500 samples, drawn with a fixed seed. A list makes a bank.

    Examples
    --------
    >>> from mkfusion.kernels import Laplacian
    >>> Laplacian(gamma=1.0)([[0.0], [2.0]])
    array([[1.        , 0.13533528],
           [0.13533528, 1.        ]])
    """

    unit_diagonal = True
    _operation: Any = _Absolute()

    def __init__(self, gamma: Any = "scale") -> None:
        self.gamma = gamma

    def _numbers(self, n_features: int) -> tuple[float, ...]:
        return (self._number(self.gamma),)

    def _by_scale(self, X: Array) -> float:
        return deviation_bandwidth(X)

    def _by_median(self, X: Array) -> float:
        return 1.0 / median_distance(X, "cityblock")


class Chi2(Laplacian):
    """The exponential chi-squared kernel, k(x, y) = exp(-gamma sum_k (x_k - y_k)^2 / (x_k + y_k)).

    For histograms: features must not be negative, and 0 / 0 counts nothing.

    Parameters
    ----------
    gamma : float, "scale", "median" or list, default=1.0
        Positive. "scale" is 1 / (n_features * X.std()); "median" is 1 over the median distance
        that is not 0 among at most 500 samples, drawn with a fixed seed. A list makes a bank.

    References
    ----------
    Zhang, Marszalek, Lazebnik, Schmid (2007), Local features and kernels for classification of
    texture and object categories, eq. (2), with the mean distance in place of the median.

    Examples
    --------
    >>> from mkfusion.kernels import Chi2
    >>> Chi2()([[1.0, 0.0], [0.0, 1.0]])
    array([[1.        , 0.13533528],
           [0.13533528, 1.        ]])
    """

    nonnegative_input = True
    _operation: Any = _Chi2()

    def __init__(self, gamma: Any = 1.0) -> None:
        self.gamma = gamma

    def _by_median(self, X: Array) -> float:
        return 1.0 / median_distance(X, chi2_distance)


class AdditiveChi2(VectorKernel):
    """The additive chi-squared kernel, k(x, y) = -sum_k (x_k - y_k)^2 / (x_k + y_k).

    It is conditionally positive definite. Features must not be negative; 0 / 0 counts nothing.

    Examples
    --------
    >>> from mkfusion.kernels import AdditiveChi2
    >>> AdditiveChi2()([[1.0, 0.0], [0.0, 1.0]])
    array([[-0., -2.],
           [-2., -0.]])
    """

    positive_definite = False
    nonnegative_input = True
    _operation = _NegativeChi2()


class HistogramIntersection(VectorKernel):
    """The histogram intersection kernel, k(x, y) = sum_k min(x_k, y_k).

    Features must not be negative.

    References
    ----------
    Barla, Odone, Verri (2003), Histogram intersection kernel for image classification, eq. (1).

    Examples
    --------
    >>> from mkfusion.kernels import HistogramIntersection
    >>> HistogramIntersection()([[0.5, 0.5], [0.25, 0.75]])
    array([[1.  , 0.75],
           [0.75, 1.  ]])
    """

    nonnegative_input = True
    _operation = _Minimum()


class LengthScaleKernel(BandwidthKernel):
    """A kernel of the distance ||x - y|| in units of a length scale."""

    unit_diagonal = True
    _bandwidth = "length_scale"

    def _by_scale(self, X: Array) -> float:
        return self._length(variance_bandwidth(X))

    def _by_median(self, X: Array) -> float:
        return self._length(half_inverse_square(median_distance(X, "euclidean")))

    def _length(self, gamma: float) -> float:
        """Return the length of RBF's gamma, and infinity where squared distances overflow."""
        return math.sqrt(0.5 / gamma) if gamma else math.inf


class Matern(LengthScaleKernel):
    """The Matern kernel with nu = 1/2, 3/2 or 5/2.

    With t = sqrt(2 nu) ||x - y|| / length_scale, k(x, y) is exp(-t), (1 + t) exp(-t) and
    (1 + t + t^2 / 3) exp(-t).

    Parameters
    ----------
    length_scale : float, "scale", "median" or list, default="scale"
        Positive. "scale" is sqrt(n_features * X.var() / 2), the length of RBF's "scale"; "median"
        is the median distance that is not 0 among at most 500 samples, drawn with a fixed seed. A
        list makes a bank.
    nu : {0.5, 1.5, 2.5}, default=1.5
        The smoothness: functions are floor(nu) times differentiable.

    References
    ----------
    Rasmussen, Williams (2006), Gaussian Processes for Machine Learning, eqs. (4.14)-(4.17).

    Examples
    --------
    >>> from mkfusion.kernels import Matern
    >>> Matern(length_scale=1.0, nu=0.5)([[0.0], [1.0]])
    array([[1.        , 0.36787944],
           [0.36787944, 1.        ]])
    """

    _operation = _Matern()
    _coefficients = {0.5: (0.0, 0.0), 1.5: (1.0, 0.0), 2.5: (1.0, 1.0 / 3.0)}  # noqa: RUF012

    def __init__(self, length_scale: Any = "scale", nu: float = 1.5) -> None:
        self.length_scale = length_scale
        self.nu = nu

    def _numbers(self, n_features: int) -> tuple[float, ...]:
        nu = check_number("nu", self.nu, least=0.0)
        if nu not in self._coefficients:
            raise ValueError(f"nu must be one of {listed(self._coefficients)}, got {self.nu!r}")
        return (math.sqrt(2 * nu) / self._number(self.length_scale), *self._coefficients[nu])


class RationalQuadratic(LengthScaleKernel):
    """The rational quadratic kernel, k(x, y) = (1 + ||x - y||^2 / (2 alpha l^2))^-alpha.

    Here l is length_scale. It is a mixture of Gaussian kernels of all lengths, and goes to one of
    them as alpha goes to infinity.

    Parameters
    ----------
    length_scale : float, "scale", "median" or list, default="scale"
        Positive. "scale" is sqrt(n_features * X.var() / 2), the length of RBF's "scale"; "median"
        is the median distance that is not 0 among at most 500 samples, drawn with a fixed seed. A
        list makes a bank.
    alpha : float, default=1.0
        Positive.

    References
    ----------
    Rasmussen, Williams (2006), Gaussian Processes for Machine Learning, eq. (4.19).

    Examples
    --------
    >>> from mkfusion.kernels import RationalQuadratic
    >>> RationalQuadratic(length_scale=1.0)([[0.0], [2.0]])
    array([[1.        , 0.33333333],
           [0.33333333, 1.        ]])
    """

    _operation = _Rational()

    def __init__(self, length_scale: Any = "scale", alpha: float = 1.0) -> None:
        self.length_scale = length_scale
        self.alpha = alpha

    def _numbers(self, n_features: int) -> tuple[float, ...]:
        alpha = check_number("alpha", self.alpha, least=0.0)
        length = self._number(self.length_scale)
        return 0.5 / alpha / length / length, alpha


class Categorical(VectorKernel):
    """The matching kernel, k(x, y) = the share of columns in which x and y are equal.

    It is 1 minus the Hamming distance, for columns that hold codes of categories.

    Examples
    --------
    >>> from mkfusion.kernels import Categorical
    >>> Categorical()([[0, 1], [0, 2]])
    array([[1. , 0.5],
           [0.5, 1. ]])
    """

    unit_diagonal = True
    _operation = _Mismatch()

    def _numbers(self, n_features: int) -> tuple[float, ...]:
        return (float(n_features),)


VECTOR_KERNELS: dict[str, type[VectorKernel]] = {
    "linear": Linear,
    "polynomial": Polynomial,
    "sigmoid": Sigmoid,
    "cosine": Cosine,
    "rbf": RBF,
    "laplacian": Laplacian,
    "chi2": Chi2,
    "additive_chi2": AdditiveChi2,
    "histogram_intersection": HistogramIntersection,
    "matern": Matern,
    "rational_quadratic": RationalQuadratic,
    "categorical": Categorical,
}
