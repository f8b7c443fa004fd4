"""Independent pieces of work, run through joblib so that a user's own backend serves them."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, CancelledError, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any

from joblib import delayed, effective_n_jobs
from joblib.parallel import get_active_backend
from sklearn.utils import parallel
from threadpoolctl import ThreadpoolController

from ._handover import Handover
from ._progress import tqdm

__all__ = ["delayed", "on_threads", "run", "single_blas_thread", "thread_count"]


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
            else:  # someone may have set another number while a thread was inside
                for library in _controller().lib_controllers:
                    if library.user_api == "blas" and library.num_threads != 1:
                        library.set_num_threads(1)
            self._inside += 1

    def __exit__(self, *exception: Any) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._limit.__exit__(*exception)
                self._limit = None

    def __reduce__(self) -> str:
        return "single_blas_thread"  # that of the other process, for functions sent by value


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
    calls: Iterable[Any] = bar
    prefer = "threads" if threads else None
    if _leaves_the_process(n_jobs, prefer):
        handover = Handover()
        calls = (handover(*call) for call in bar)
    workers = parallel.Parallel(n_jobs=n_jobs, prefer=prefer)
    with _nothing_left_behind(workers):
        return workers(
            parallel.delayed(function)(*args, **kwargs) for function, args, kwargs in calls
        )


def _leaves_the_process(n_jobs: int | None, prefer: str | None) -> bool:
    """Tell whether calls are pickled, as joblib reads ``n_jobs`` and the user's context."""
    backend, _ = get_active_backend(prefer=prefer)
    shared = getattr(backend, "supports_sharedmem", False)  # joblib asks so too
    return not shared and effective_n_jobs(n_jobs) != 1


@contextmanager
def _nothing_left_behind(workers: Any) -> Iterator[None]:
    """Cancel what waits on a Dask cluster where calls end early; joblib would let it run on."""
    backend = workers._backend
    on_dask = type(backend).__name__ == "DaskDistributedBackend"
    sent = backend._results if on_dask else {}  # by future
    before = sent.copy()
    try:
        yield
    except BaseException as error:
        for _ in range(2):  # what was being sent arrives meanwhile
            if late := [future for future in list(sent) if future not in before]:
                backend.client.cancel(late)
                for future in late:
                    sent.pop(future, None)
                    backend._callbacks.pop(future, None)
                time.sleep(0.05)
        if on_dask and isinstance(error, CancelledError):
            raise RuntimeError(
                "a worker died, and with it data of this run that no other worker had; what "
                "waited is cancelled: run it again"
            ) from error
        raise


class _Threads:
    """One lazily made pool of threads per process: compiled loops that hold no lock run on it."""

    def __init__(self) -> None:
        self._forget()
        self._here = threading.local()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._pools: dict[int, ThreadPoolExecutor] = {}

    def run(self, function: Callable[[Any], Any], tasks: Sequence[Any], n_threads: int) -> None:
        """Call the function on every task; the order is free, the caller waits for all."""
        n_threads = min(n_threads, len(tasks))
        if n_threads <= 1 or getattr(self._here, "working", False):
            for task in tasks:
                function(task)
            return
        waiting, finished = iter(tasks), object()
        lock = threading.Lock()

        def work() -> None:
            self._here.working = True  # a task that itself asks for threads must not wait for us
            try:
                while True:
                    with lock:
                        task = next(waiting, finished)
                    if task is finished:
                        return
                    function(task)
            finally:
                self._here.working = False

        workers: list[Future[None]] = []
        try:
            for _ in range(n_threads):
                workers.append(self._pool(n_threads).submit(work))
            for worker in wait(workers, return_when=FIRST_EXCEPTION).done:
                worker.result()
        except BaseException:
            with lock:
                waiting = iter(())
            wait(workers)  # nobody may write to the caller's arrays after this
            raise

    def _pool(self, n_threads: int) -> ThreadPoolExecutor:
        with self._lock:
            if n_threads not in self._pools:
                self._pools[n_threads] = ThreadPoolExecutor(n_threads, "mkfusion")
            return self._pools[n_threads]


on_threads = _Threads().run


def thread_count(n_jobs: int | None) -> int:
    """Return how many threads ``n_jobs`` stands for, as joblib reads it."""
    return effective_n_jobs(n_jobs)
