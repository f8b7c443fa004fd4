"""Single kernels made once for all copies of a learner that hear different modalities."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from .._memory import memory_in_bytes
from .._parallel import delayed
from .._sharing import Sharing
from ..kernels import KernelStore, combine
from ..kernels._store import store_size
from ._composition import KernelComposition, is_gram

__all__ = ["SharedKernels"]

Array = np.ndarray

SPARE = 0.12  # of the budget, for features, products and compiled code


class SharedKernels(Sharing, KernelComposition):
    """Kernels of which copies share the values, as far as there is room for them."""

    memory_budget: Any
    n_jobs: int | None

    def _shared_store(
        self, blocks: Mapping[str, Any], scales: Array | None, options: Mapping[str, Any]
    ) -> KernelStore | None:
        """Return a store of the training samples' kernels, each made by the first that asked."""
        n = len(next(iter(blocks.values())))
        size = store_size(n, len(self.kernels_), options["dtype"])
        if not self._room_for(2 * size):
            return None
        jobs = []
        for m, (kernel, name) in enumerate(
            zip(self.kernels_, self.kernel_modalities_, strict=True)
        ):
            row = _row(scales, m)
            single = partial(
                delayed(KernelStore), [kernel], blocks[name],
                scales=None if row is None else row[None], dtype=options["dtype"], mode="memory",
                memory_budget=np.inf, n_jobs=self.n_jobs,
            )  # fmt: skip
            jobs.append((("kernel", self.kernel_names_[m], name, _key(row)), single))
        return KernelStore.joined(self._recall(jobs))

    def _shared_values(
        self,
        asked: int,
        m: int,
        new: tuple[Any, Array | None],
        old: tuple[Any, Array | None],
    ) -> Array | None:
        """Return a kernel between new and training samples: of each the block and the scales."""
        (X, rows), (Y, columns) = new, old
        if not self._room_for(8.0 * len(X) * len(Y)):
            return None
        options = {
            "row_scales": None if rows is None else rows[None],
            "column_scales": None if columns is None else columns[None],
            "n_jobs": self.n_jobs,
        }
        key = "values", asked, self.kernel_names_[m], _key(rows), _key(columns)
        job = partial(delayed(combine), [self.kernels_[m]], [1.0], [X], [Y], **options)
        return self._recall([(key, job)])[0]

    def _room_for(self, size: float) -> bool:
        """Tell whether values that take so many bytes may be kept beside those that are."""
        if self._known is None or any(map(is_gram, self.kernels_)):
            return False
        kept = sum(own.nbytes for own in self._known.values() if hasattr(own, "nbytes"))
        return kept + size <= (1 - SPARE) * memory_in_bytes(self.memory_budget)


def _row(scales: Array | None, m: int) -> Array | None:
    return None if scales is None or (scales[m] == 1).all() else scales[m]


def _key(row: Array | None) -> bytes | None:
    return None if row is None else row.tobytes()
