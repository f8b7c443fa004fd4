"""The kernels of the training samples as solvers see them: scaled, centred, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property, partial
from typing import Any

import numpy as np

from ..kernels import Kernel, KernelStore, combine, diagonal

__all__ = ["KernelView", "SumOnDemand", "ViewOnDemand", "formed"]

Array = np.ndarray

ROWS = 2**22  # entries of all kernels' rows that are made at a time


class SumOnDemand:
    """A weighted sum of kernels whose rows are made when they are asked for."""

    def __init__(self, view: KernelView, weights: Array) -> None:
        self._view, self._weights, self._numbers = view, weights, weights * view.factors
        self.n_samples = view.n_samples
        self._means = self._total = None
        if view.centre is not None:
            self._means = np.tensordot(self._numbers, view.store.matvec(view.centre), axes=1)
            self._total = view.centre @ self._means

    def rows(self, chosen: Array) -> Array:
        """Return rows, of shape (n_chosen, n_samples)."""
        K = self._view.some_rows(self._numbers, chosen)
        if self._means is not None:
            K -= self._means + (self._means[chosen] - self._total)[:, None]
        return K

    def diagonal(self) -> Array:
        """Return k(x, x) of every sample."""
        found = self._numbers @ self._view.diagonal()
        return found if self._means is None else found - 2 * self._means + self._total

    def matvec(self, vector: Array) -> Array:
        """Return the sum times a vector."""
        return np.tensordot(self._weights, self._view.matvec(vector), axes=1)


class ViewOnDemand:
    """Kernels whose weighted sums have no room as matrices."""

    def __init__(self, view: KernelView) -> None:
        self._view = view
        self.n_kernels, self.n_samples = view.n_kernels, view.n_samples

    def combine(self, weights: Any, out: Any = None, dtype: Any = None) -> SumOnDemand:
        """Return sum_m w_m K_m by its rows."""
        return SumOnDemand(self._view, np.asarray(weights, dtype=np.float64))

    def matvec(self, alpha: Any) -> Array:
        """Return K_m alpha."""
        return self._view.matvec(alpha)


class KernelView:
    """Kernels K_m of the training samples; what a weighting of one's own is given.

    A single sum is made in one pass over the features; a method that asks again and again makes a
    store of the kernels at its first question.

    Attributes
    ----------
    n_kernels, n_samples : int
    factors : ndarray of shape (n_kernels,)
        What each kernel is multiplied by.
    centre : ndarray of shape (n_samples,) or None
        The shares of the samples in the means that are subtracted.
    """

    def __init__(
        self,
        kernels: list[Kernel],
        blocks: list[Any],
        scales: Array | None,
        n_samples: int,
        centre: Array | None,
        n_jobs: int | None,
        options: Mapping[str, Any],
    ) -> None:
        self._kernels, self._blocks, self._scales = kernels, blocks, scales
        self._n_jobs, self._options = n_jobs, options
        self.n_kernels, self.n_samples = len(kernels), n_samples
        self.factors, self.centre = np.ones(len(kernels)), centre
        self._formed: tuple[Any, Array] | None = None

    @cached_property
    def store(self) -> KernelStore:
        """The kernels as they are, for many questions."""
        return KernelStore(
            self._kernels, self._blocks, scales=self._scales, n_jobs=self._n_jobs,
            **self._options,
        )  # fmt: skip

    def diagonal(self) -> Array:
        """Return the diagonals of the kernels as they are, of shape (n_kernels, n_samples)."""
        found = np.zeros((self.n_kernels, self.n_samples))
        for m, (kernel, block) in enumerate(zip(self._kernels, self._blocks, strict=True)):
            found[m] = diagonal(block, kernel)
        return found if self._scales is None else found * self._scales**2

    def combine(self, weights: Any, out: Array | None = None, dtype: Any = None) -> Array:
        """Return sum_m w_m K_m, of shape (n_samples, n_samples)."""
        numbers = self.factors * weights
        if out is None and dtype is None:
            dtype = np.float64
        if "store" in vars(self) and self.store.nbytes:
            K = self.store.combine(numbers, out=out, dtype=dtype)
        else:
            K = combine(
                self._kernels, numbers, self._blocks, row_scales=self._scales, out=out,
                dtype=dtype, n_jobs=self._n_jobs,
            )  # fmt: skip
        if self.centre is not None:
            means = np.array([self.centre @ row for row in K])
            total = self.centre @ means
            for i, row in enumerate(K):
                row -= (means - total) + means[i]
        return K

    def some_rows(self, weights: Array, chosen: Array) -> Array:
        """Return rows of sum_m w_m K_m of the kernels as they are."""
        scales = self._scales
        return combine(
            self._kernels, weights, [block[chosen] for block in self._blocks], self._blocks,
            row_scales=None if scales is None else scales[:, chosen], column_scales=scales,
            dtype=self._options.get("dtype", np.float64), n_jobs=self._n_jobs,
        )  # fmt: skip

    def formed(self, form: str, weights: Array, dtype: Any) -> Array:
        """Return the combined kernel of a form; for the weights of last time the one of then."""
        if self._formed is None or not np.array_equal(self._formed[0], weights):
            mixed = partial(self.combine, dtype=dtype)
            self._formed = weights, formed(form, weights, mixed)
        return self._formed[1]

    def matvec(self, alpha: Any) -> Array:
        """Return K_m alpha, of shape (n_kernels, n_samples), or (..., n_vectors)."""
        products = self.store.matvec(self.spread(alpha))
        products *= self.factors.reshape((-1,) + (1,) * (products.ndim - 1))
        if self.centre is not None:
            products -= np.einsum("n,mn...->m...", self.centre, products)[:, None]
        return products

    def quadratic_forms(self, alpha: Any) -> Array:
        """Return alpha' K_m alpha, of shape (n_kernels,) or (n_kernels, n_vectors)."""
        forms = self.store.quadratic_forms(self.spread(alpha))
        return forms * self.factors.reshape((-1,) + (1,) * (forms.ndim - 1))

    def rows(self) -> Iterator[Array]:
        """Yield the rows of all kernels in blocks, of shape (n_kernels, n_rows, n_samples)."""
        if self.centre is not None:
            means = self.store.matvec(self.centre) * self.factors[:, None]
        height = max(1, ROWS // (self.n_kernels * self.n_samples))
        for first in range(0, self.n_samples, height):
            chosen = np.arange(first, min(first + height, self.n_samples))
            block = self.store.rows(chosen) * self.factors[:, None, None]
            if self.centre is not None:
                total = means @ self.centre
                block -= means[:, None, :] + (means[:, chosen] - total[:, None])[:, :, None]
            yield block

    def spread(self, alpha: Any) -> Array:
        """Return the coefficients of the kernels as they are, for those of the centred ones."""
        alpha = np.asarray(alpha, dtype=np.float64)
        if self.centre is None:
            return alpha
        return alpha - np.multiply.outer(self.centre, alpha.sum(axis=0))


def formed(form: str, theta: Array, mixed: Callable[[Array], Array]) -> Array:
    """Return the combined kernel of a form, made of weighted sums."""
    if form == "product":
        first, *others = np.eye(len(theta))[theta > 0]
        K = mixed(first)
        for single in others:
            K *= mixed(single)
        return K
    K = mixed(theta)
    return np.square(K, out=K) if form == "quadratic" else K
