"""Independent pieces of work, run through joblib so that a user's own backend serves them."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from typing import Any

from sklearn.utils.parallel import Parallel, delayed
from threadpoolctl import ThreadpoolController
from tqdm.auto import tqdm

__all__ = ["delayed", "run", "single_blas_thread"]


class _SingleBlasThread:
    """Hold BLAS to one thread while any thread of the process is inside.

    BLAS sums in another order for another number of threads, and its limit belongs to the whole
    process: the first that enters sets it and the last that leaves lifts it, or two that overlap
    would restore one another's limit.
    """

    def __init__(self) -> None:
        self._forget()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._limit: Any = None

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._limit = _controller().limit(limits=1, user_api="blas")
                self._limit.__enter__()
            self._inside += 1

    def __exit__(self, *exception: Any) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._limit.__exit__(*exception)
                self._limit = None


_CONTROLLERS: dict[int, ThreadpoolController] = {}


def _controller() -> ThreadpoolController:
    """Return the controller of this process: finding the libraries costs milliseconds."""
    pid = os.getpid()
    if pid not in _CONTROLLERS:
        _CONTROLLERS[pid] = ThreadpoolController()
    return _CONTROLLERS[pid]


single_blas_thread = _SingleBlasThread()


def run(
    tasks: Iterable[Any],
    *,
    n_jobs: int | None = None,
    total: int | None = None,
    progress: str | None = None,
    threads: bool = False,
) -> list[Any]:
    """Run delayed calls and return their results in order.

    Parameters
    ----------
    tasks : iterable of delayed calls
    n_jobs : int or None
        As in joblib; None is 1 unless a ``joblib.parallel_config`` says otherwise.
    total : int or None
        The number of tasks, for the bar.
    progress : str or None
        A title shows a bar on standard error.
    threads : bool
        Prefer threads: for work that is shorter than sending it to another process.
    """
    bar = tqdm(tasks, desc=progress, total=total, disable=progress is None, leave=False)
    return Parallel(n_jobs=n_jobs, prefer="threads" if threads else None)(bar)
