"""Machines on a kernel whose rows are made on demand, for more samples than a matrix has room for.

Of all samples those that violate most are worked on together: their rows are fetched at once, the
problem is solved on them alone, and what that changes is taken out of the gains of all others.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from ._checks import frozen
from ._smo_loops import add_products, improve

__all__ = ["KernelRows", "ServedKernel", "improve_served"]

Array = np.ndarray

CACHE = 2e8  # bytes of rows, as libsvm has it
FEWEST, MOST = 16, 2048  # samples that are worked on together
PARTS = 8  # in which rows are fetched
LOCAL = 0.1  # of the violation at which a round began: where it ends


class KernelRows(Protocol):
    """A kernel of the training samples by its rows.

    Attributes
    ----------
    n_samples : int
    """

    n_samples: int

    def rows(self, indices: Array) -> Array:
        """Return rows, of shape (n_indices, n_samples), of float64 or float32."""

    def diagonal(self) -> Array:
        """Return k(x, x) of every sample."""

    def matvec(self, vector: Array) -> Array:
        """Return K times a vector, in float64."""


class ServedKernel:
    """Rows that were asked for, kept within a budget while they are of use."""

    def __init__(self, kernel: KernelRows, budget: float | None) -> None:
        self.kernel = kernel
        self.budget = CACHE if budget is None else budget
        self._diagonal = np.asarray(kernel.diagonal(), dtype=np.float64)

    def __len__(self) -> int:
        return self.kernel.n_samples

    def diagonal(self) -> Array:
        return self._diagonal

    def matvec(self, vector: Array) -> Array:
        return np.asarray(self.kernel.matvec(vector), dtype=np.float64)

    def rows(self, chosen: Array) -> Array:
        found = np.asarray(self.kernel.rows(chosen))
        if found.shape != (len(chosen), len(self)):
            raise ValueError(
                f"rows of {len(chosen)} samples must have shape ({len(chosen)}, {len(self)}), got "
                f"{found.shape}"
            )
        if not np.isfinite(found).all():
            raise ValueError("K must be finite, and a row of it holds NaN or infinity")
        return found

    def size(self) -> int:
        """Return how many samples are worked on together.

        Their rows take the budget, with those that are on their way and what is among them.
        """
        n = len(self)
        room = self.budget / 8
        most = int(room // (n * (1 + 1 / PARTS))) if n else 0
        most = min(most, int((np.sqrt(n**2 + 4 * room) - n) / 2))  # q n + q^2 are q rows and block
        return int(np.clip(most, FEWEST, min(MOST, n)))


class _Slots:
    """The rows of the samples that are worked on, each in a place that is used again."""

    def __init__(self, kernel: ServedKernel, size: int) -> None:
        self.kernel, self.size = kernel, size
        self.chosen = np.empty(0, np.intp)
        self.buffer: Any = None

    def rows(self) -> Array:
        return self.buffer[: len(self.chosen)]

    def take(self, wanted: Array) -> None:
        """Fetch the rows of samples, a part at a time, over those that are not wanted any more."""
        missing = wanted[~np.isin(wanted, self.chosen)]
        old = np.flatnonzero(~np.isin(self.chosen, wanted))
        fresh = np.arange(len(self.chosen), self.size)
        places = np.concatenate([fresh, old])[: len(missing)]
        missing = missing[: len(places)]
        owners = np.concatenate([self.chosen, np.full(len(fresh), -1)])
        owners[places] = missing
        step = max(1, self.size // PARTS)
        for first in range(0, len(missing), step):
            found = self.kernel.rows(missing[first : first + step])
            if self.buffer is None:
                dtype = np.float32 if found.dtype == np.float32 else np.float64
                self.buffer = np.empty((self.size, len(self.kernel)), dtype)
            self.buffer[places[first : first + step]] = found
        self.chosen = owners[owners >= 0]


def improve_served(
    problem: Any, beta: Array, up: Array, down: Array, unit: float, tol: float, max_iter: int
) -> int:
    """Take steps on the samples that violate most, again and again; write to beta, count steps."""
    K: ServedKernel = problem.K
    size = max(2, min(K.size(), len(K)))
    slots = _Slots(K, size)
    steps = 0
    while steps < max_iter:
        violation = up.max() - down.min()
        if not violation > tol:
            break
        slots.take(_worst(up, down, size, slots.chosen))
        chosen, rows = slots.chosen, slots.rows()
        bounds = problem.low[chosen], problem.high[chosen]
        own = beta[chosen], up[chosen], down[chosen]
        block = np.ascontiguousarray(rows[:, chosen])
        none, everything = np.empty((0, 0), block.dtype), np.ones(len(chosen), bool)
        taken, _ = improve(
            frozen(block), frozen(block), none, everything, np.arange(len(chosen)),
            unit * K.diagonal()[chosen], *bounds, *own, unit, problem.epsilon,
            max(tol, LOCAL * violation), -1, max_iter - steps,
        )  # fmt: skip
        if not taken:
            break
        steps += taken
        moved = own[0] - beta[chosen]
        change = np.zeros(len(K))
        used = np.flatnonzero(moved)
        add_products(frozen(rows), used, unit * moved[used], change)
        up -= change
        down -= change
        beta[chosen], up[chosen], down[chosen] = own
    return steps


def _worst(up: Array, down: Array, size: int, before: Array) -> Array:
    """Return the samples that promise most, and of those before as many as there is room for."""
    half = max(1, size // 4) if len(before) else max(1, size // 2)
    rising = np.argpartition(-up, half - 1)[:half]
    falling = np.argpartition(down, half - 1)[:half]
    new = np.unique(np.concatenate([rising, falling]))
    old = before[~np.isin(before, new)]
    free = np.isfinite(up[old]) & np.isfinite(down[old])
    kept = old[np.argsort(~free, kind="stable")][: size - len(new)]
    return np.concatenate([new, kept])
