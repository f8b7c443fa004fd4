"""The kernels of the training samples as solvers see them: scaled, centred, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..kernels import KernelStore

__all__ = ["KernelView"]

Array = np.ndarray

ROWS = 2**22  # entries of all kernels' rows that are made at a time


class KernelView:
    """Kernels K_m of the training samples; what a weighting of one's own is given.

    Attributes
    ----------
    n_kernels, n_samples : int
    factors : ndarray of shape (n_kernels,)
        What each kernel of the store is multiplied by.
    """

    def __init__(self, store: KernelStore, factors: Array, centre: Array | None) -> None:
        self.store, self.factors, self.centre = store, factors, centre
        self.n_kernels, self.n_samples = store.n_kernels, store.n_samples

    def combine(self, weights: Any, out: Array | None = None) -> Array:
        """Return sum_m w_m K_m, of shape (n_samples, n_samples)."""
        K = self.store.combine(self.factors * weights, out=out)
        if self.centre is not None:
            means = np.array([self.centre @ row for row in K])
            total = self.centre @ means
            for i, row in enumerate(K):
                row -= (means - total) + means[i]
        return K

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
