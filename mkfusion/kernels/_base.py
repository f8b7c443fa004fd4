"""What a kernel is, how kernels compose, and the traits that tests and docs read."""

from __future__ import annotations

import contextlib
import numbers
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from ._plan import plan_gram

Array = np.ndarray


class Kernel(BaseEstimator):
    """A similarity k(x, y) of two samples of one modality, with scikit-learn's parameters.

    Kernels compose: ``k1 + k2`` and ``k1 * k2`` are kernels, and so is ``2.0 * k1``. A kernel is
    a function too: ``kernel(X, Y)`` is ``gram(X, Y, kernel)``.

    Attributes
    ----------
    positive_definite : bool
        Every Gram matrix is positive semi-definite.
    conditionally_positive_definite : bool
        c' K c >= 0 for every c that sums to 0; true of every positive definite kernel.
    unit_diagonal : bool
        k(x, x) is exactly 1.
    nonnegative_input : bool
        Negative features are refused.

    Examples
    --------
    >>> from mkfusion.kernels import RBF, Linear
    >>> kernel = 0.5 * RBF(gamma=1.0) + Linear()
    >>> kernel([[0.0], [1.0]])
    array([[0.5       , 0.18393972],
           [0.18393972, 1.5       ]])
    >>> kernel.get_params()["k1__kernel__gamma"]
    1.0
    """

    positive_definite: bool = True
    conditionally_positive_definite: bool = True
    unit_diagonal: bool = False
    nonnegative_input: bool = False

    # How values come about: an operation for the tiles, or (None) a whole matrix at once.
    _operation: Any = None

    def resolve(self, X: Any) -> Kernel:
        """Return this kernel with every parameter that depends on data made a number.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The training samples.

        Returns
        -------
        kernel : Kernel
            A new kernel; equal to this one where nothing depends on data.
        """
        return type(self)(**self.get_params(deep=False))  # clone would copy a whole matrix

    def expand(self) -> list[Kernel]:
        """Return the single kernels that this one stands for: one for each bandwidth of a bank."""
        return [self]

    def __call__(self, X: Any, Y: Any = None) -> Array:
        """Return the Gram matrix of X and Y, as :func:`~mkfusion.kernels.gram` does."""
        return plan_gram(self, X, Y)

    def __add__(self, other: Any) -> Kernel:
        return Sum(self, other) if isinstance(other, Kernel) else NotImplemented

    def __mul__(self, other: Any) -> Kernel:
        if isinstance(other, Kernel):
            return Product(self, other)
        return Scaled(self, other) if isinstance(other, numbers.Real) else NotImplemented

    __rmul__ = __mul__

    def _is_bank(self) -> bool:
        """Tell whether the kernel stands for a list, of one or of several."""
        return False

    def _terms(self) -> list[tuple[float, list[Kernel]]]:
        """Return the kernel as a sum of weighted products of leaves."""
        return [(1.0, [self])]

    def _check(self, X: Any, name: str) -> Any:
        """Return X in the form that the kernel reads, or refuse it by name."""
        raise NotImplementedError

    def _count(self, X: Any) -> int:
        """Return how many samples a block holds that was checked."""
        return len(X)

    def _diagonal(self, X: Any) -> Array:
        """Return k(x, x) for samples that were checked, of shape (n_samples,)."""
        raise NotImplementedError

    def _check_key(self) -> Any:
        """Return what two kernels share that check a block alike."""
        return type(self)


class MatrixKernel(Kernel):
    """A kernel that makes its whole matrix at once, not tile by tile."""

    def _matrix(self, X: Any, Y: Any, n_threads: int) -> Array:
        """Return the matrix of shape (n_x, n_y), of float64; Y is None for X itself."""
        raise NotImplementedError

    def _diagonal(self, X: Any) -> Array:
        return np.array([self._matrix(X[i : i + 1], None, 1)[0, 0] for i in range(len(X))])


class Composite(Kernel):
    """What sums, products and multiples share."""

    _names: tuple[str, ...] = ("k1", "k2")

    def _parts(self) -> list[Kernel]:
        parts = [getattr(self, name) for name in self._names]
        for name, part in zip(self._names, parts, strict=True):
            if not isinstance(part, Kernel):
                raise TypeError(
                    f"{name} of {type(self).__name__} must be a kernel such as RBF(), got {part!r}"
                )
            if part._is_bank():
                raise ValueError(
                    f"{part!r} is a bank of {len(part.expand())} kernels and cannot be part of "
                    f"{type(self).__name__}; compose its single kernels"
                )
        return parts

    def resolve(self, X: Any) -> Kernel:
        self._parts()
        params = self.get_params(deep=False)
        resolved = {
            name: value.resolve(X) if isinstance(value, Kernel) else value
            for name, value in params.items()
        }
        return type(self)(**resolved)

    def expand(self) -> list[Kernel]:
        for part in self._parts():
            part.expand()
        return [self]

    # Class attributes on leaves; on a composite they follow from its parts.
    @property
    def positive_definite(self) -> bool:  # type: ignore[override]
        return all(part.positive_definite for part in self._parts())

    @property
    def conditionally_positive_definite(self) -> bool:  # type: ignore[override]
        return all(part.conditionally_positive_definite for part in self._parts())

    @property
    def nonnegative_input(self) -> bool:  # type: ignore[override]
        return any(part.nonnegative_input for part in self._parts())


class Sum(Composite):
    """The sum of two kernels, k(x, y) = k1(x, y) + k2(x, y).

    Parameters
    ----------
    k1, k2 : Kernel, default=None
        Single kernels or composites, no banks; there is no kernel without them.

    Examples
    --------
    >>> from mkfusion.kernels import RBF, Linear
    >>> (RBF(gamma=1.0) + Linear())([[0.0], [1.0]]).diagonal()
    array([1., 2.])
    """

    def __init__(self, k1: Any = None, k2: Any = None) -> None:
        self.k1 = k1
        self.k2 = k2

    def _terms(self) -> list[tuple[float, list[Kernel]]]:
        return [term for part in self._parts() for term in part._terms()]


class Product(Composite):
    """The product of two kernels, k(x, y) = k1(x, y) k2(x, y).

    Parameters
    ----------
    k1, k2 : Kernel, default=None
        Single kernels or composites, no banks; there is no kernel without them.

    Examples
    --------
    >>> from mkfusion.kernels import RBF, Linear
    >>> (RBF(gamma=1.0) * Linear())([[1.0], [2.0]]).diagonal()
    array([1., 4.])
    """

    def __init__(self, k1: Any = None, k2: Any = None) -> None:
        self.k1 = k1
        self.k2 = k2

    @property
    def unit_diagonal(self) -> bool:  # type: ignore[override]
        return all(part.unit_diagonal for part in self._parts())

    @property
    def conditionally_positive_definite(self) -> bool:  # type: ignore[override]
        return self.positive_definite

    def _terms(self) -> list[tuple[float, list[Kernel]]]:
        first, second = self._parts()
        return [
            (v * w, [*left, *right]) for v, left in first._terms() for w, right in second._terms()
        ]


class Scaled(Composite):
    """A multiple of a kernel, scale * k(x, y).

    Parameters
    ----------
    kernel : Kernel, default=None
        A single kernel or a composite, no bank; there is no kernel without it.
    scale : float, default=1.0
        Not negative, and finite.

    Examples
    --------
    >>> from mkfusion.kernels import RBF
    >>> (2.0 * RBF(gamma=1.0))([[0.0], [0.0]])
    array([[2., 2.],
           [2., 2.]])
    """

    _names = ("kernel",)

    def __init__(self, kernel: Any = None, scale: Any = 1.0) -> None:
        self.kernel = kernel
        self.scale = scale

    def _terms(self) -> list[tuple[float, list[Kernel]]]:
        scale = check_number("scale", self.scale, least=0.0, inclusive=True)
        (kernel,) = self._parts()
        return [(scale * weight, leaves) for weight, leaves in kernel._terms()]


def check_number(
    name: str, value: Any, *, least: float = -np.inf, inclusive: bool = False
) -> float:
    """Return a finite number above ``least`` as a float, or refuse it by name."""
    if isinstance(value, numbers.Real) and not isinstance(value, bool | np.bool_):
        with contextlib.suppress(OverflowError):  # an integer beyond the largest float
            number = float(value)
            if np.isfinite(number) and (number > least or (inclusive and number == least)):
                return number
    bound = "" if least == -np.inf else f" {'>=' if inclusive else '>'} {least:g}"
    raise ValueError(f"{name} must be a finite number{bound}, got {value!r}")
