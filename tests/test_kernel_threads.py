"""Kernels under threads, forks and in other processes; with machine code and without."""

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import joblib
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from threadpoolctl import threadpool_info

import mkfusion
from mkfusion import _memory
from mkfusion._parallel import on_threads, thread_count
from mkfusion.kernels import (
    RBF,
    Chi2,
    Cosine,
    FunctionKernel,
    KernelStore,
    Linear,
    _plan,
    _store,
    _tile,
    combine,
    gram,
)
from mkfusion.kernels._vector import VECTOR_KERNELS

PACKAGE = Path(mkfusion.__file__).parent
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


@pytest.fixture
def always_threads(monkeypatch):
    """Let small matrices use threads too."""
    monkeypatch.setattr(_plan, "SERIAL", 0)
    monkeypatch.setattr(_store, "SERIAL", 0)


def mixture():
    """Return a kernel that takes every way through a plan."""
    return RBF(gamma=0.5) + 0.5 * Chi2() * Linear() + FunctionKernel(_given) * Cosine()


def _given(A, B):
    return 1.0 / (1.0 + np.abs(A[:, None] - B).sum(axis=2))


# Threads ------------------------------------------------------------------------------------


def test_every_task_runs_once():
    for n_threads in (1, 2, 4, 7):
        done = []
        on_threads(done.append, range(50), n_threads)
        assert sorted(done) == list(range(50))
    on_threads(done.append, [], 4)
    assert len(done) == 50


def test_threads_work_side_by_side():
    meeting = threading.Barrier(3, timeout=30)
    on_threads(lambda task: meeting.wait(), range(3), 3)


def test_tasks_that_ask_for_threads_do_not_wait_for_themselves():
    done = []
    on_threads(lambda outer: on_threads(done.append, range(3), 2), range(8), 2)
    assert sorted(done) == sorted(list(range(3)) * 8)


def test_threads_are_kept():
    for _ in range(5):
        on_threads(lambda task: time.sleep(0.001), range(4), 2)
    before = threading.active_count()
    for _ in range(20):
        on_threads(lambda task: time.sleep(0.001), range(4), 2)
    assert threading.active_count() == before


class StoppedError(Exception):
    pass


@pytest.mark.parametrize("kind", [StoppedError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("n_threads", [1, 3])
def test_an_exception_ends_all_work_before_it_is_raised(kind, n_threads):
    started, running = [], set()

    def work(task):
        started.append(task)
        running.add(task)
        time.sleep(0.005)
        running.discard(task)
        if task == 5:
            raise kind

    with pytest.raises(kind):
        on_threads(work, range(200), n_threads)
    assert not running - {5}
    so_far = len(started)
    assert so_far < 20
    time.sleep(0.02)
    assert len(started) == so_far
    test_every_task_runs_once()


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timer signals here")
def test_an_interrupt_from_the_keyboard_ends_all_work():
    started, running = [], set()

    def work(task):
        started.append(task)
        running.add(task)
        time.sleep(0.01)
        running.discard(task)

    def interrupt(number, frame):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(KeyboardInterrupt):
            on_threads(work, range(1000), 2)
        so_far = len(started)
        assert not running
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    time.sleep(0.03)
    assert len(started) == so_far < 500
    test_every_task_runs_once()


def test_a_failing_gram_leaves_threads_usable(always_threads, monkeypatch, global_seed):
    X = np.random.default_rng(global_seed).normal(size=(600, 3))
    expected = gram(X, kernel=RBF(gamma=1.0), n_jobs=1)
    loops, calls = _plan._loops, []

    class Failing:
        @staticmethod
        def evaluate(*arguments):
            calls.append(1)
            if len(calls) == 3:
                raise StoppedError
            loops.evaluate(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(_plan, "_loops", Failing)
        with pytest.raises(StoppedError):
            gram(X, kernel=RBF(gamma=1.0), n_jobs=2)
    assert_array_equal(gram(X, kernel=RBF(gamma=1.0), n_jobs=2), expected)


def test_python_threads_may_ask_at_once(always_threads, global_seed):
    rng = np.random.default_rng(global_seed)
    blocks = [rng.random((n, 3)) for n in (400, 257, 300, 129, 500, 1)]
    kernel = mixture()
    expected = [gram(block, kernel=kernel, n_jobs=1) for block in blocks]
    store = KernelStore([RBF(gamma=0.5), Linear()], blocks[0], n_jobs=2, mode="recompute")
    weights = [(0.5, 1.0), (2.0, 0.0), (1.0, 1.0)]
    sums = [store.combine(pair) for pair in weights]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            found = pool.map(lambda block: gram(block, kernel=kernel, n_jobs=2), blocks)
            others = pool.map(store.combine, weights)  # one store, several questions
            for ours, first in zip([*found, *others], [*expected, *sums], strict=True):
                assert_array_equal(ours, first)


def test_joblib_says_how_many_threads(always_threads, monkeypatch, global_seed):
    X = np.random.default_rng(global_seed).normal(size=(600, 3))
    used = []
    monkeypatch.setattr(
        _plan, "on_threads", lambda *rest: (used.append(rest[2]), on_threads(*rest))
    )
    gram(X, kernel="linear")
    with joblib.parallel_config(backend="threading", n_jobs=2):
        gram(X, kernel="linear")
    gram(X, kernel="linear", n_jobs=3)
    assert used == [1, 2, 3]
    assert thread_count(-1) == joblib.effective_n_jobs(-1)


def test_blas_is_left_alone(always_threads, global_seed):
    X = np.random.default_rng(global_seed).random((600, 3))
    kernel = RBF(gamma=1.0) + Cosine()
    gram(X, kernel=kernel, n_jobs=2)

    def state():
        return [(library["filepath"], library["num_threads"]) for library in threadpool_info()]

    before, threads = state(), threading.active_count()
    seen = []
    kernel = kernel + FunctionKernel(lambda A, B: (seen.append(state()), _given(A, B))[1])
    gram(X, kernel=kernel, n_jobs=2)
    combine([RBF(gamma=1.0), Linear()], [1.0, 1.0], X, n_jobs=2)
    assert state() == before == seen[0]
    assert threading.active_count() == threads


@linux
def test_no_thread_is_started_for_one_job(tmp_path):
    found = script(
        """
        import os
        import numpy as np
        from mkfusion.kernels import RBF, KernelStore, _plan, gram
        _plan.SERIAL = 0
        def count():
            return len(os.listdir("/proc/self/task"))
        X = np.ones((300, 2))
        before = count()
        gram(X, kernel=RBF(gamma=1.0))
        KernelStore([RBF(gamma=1.0)], X).combine([1.0])
        one = count()
        gram(X, kernel=RBF(gamma=1.0), n_jobs=2)
        answer = {"one": one - before, "two": count() - before}
        """
    )
    assert found["one"] == 0
    assert 1 <= found["two"] <= 2  # a thread that is through already takes the second share too


# Forks and other processes ------------------------------------------------------------------


@forks
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_forks_have_threads_of_their_own(always_threads, global_seed):
    rng = np.random.default_rng(global_seed)
    X = rng.random((400, 3))
    kernel = mixture()
    expected = gram(X, kernel=kernel, n_jobs=2)  # the parent's threads are there
    stop = threading.Event()

    def keep_busy():
        while not stop.is_set():
            gram(X, kernel=RBF(gamma=1.0), n_jobs=2)

    context = multiprocessing.get_context("fork")
    busy = threading.Thread(target=keep_busy)
    busy.start()
    try:
        for _ in range(4):
            child = context.Process(target=_compare, args=(X, kernel, expected))
            child.start()
            child.join(timeout=60)
            if child.is_alive():
                child.kill()
            assert child.exitcode == 0
    finally:
        stop.set()
        busy.join()
    assert_array_equal(gram(X, kernel=kernel, n_jobs=2), expected)


def _compare(X, kernel, expected):
    equal = (gram(X, kernel=kernel, n_jobs=2) == expected).all()
    os._exit(0 if equal else 1)


def test_loky_workers(global_seed):
    X = np.random.default_rng(global_seed).random((600, 20))
    kernel = mixture()
    expected = gram(X, kernel=kernel)
    ask = joblib.delayed(gram)
    found = joblib.Parallel(n_jobs=2, backend="loky")(
        ask(X, kernel=kernel, n_jobs=n_jobs) for n_jobs in (1, 2, None)
    )
    assert len(found) == 3
    for K in found:
        assert_array_equal(K, expected)


# Environments -------------------------------------------------------------------------------


def script(code, *, package=PACKAGE, arguments=(), **environment):
    """Run code in a process of its own, and return what it names ``answer``."""
    ending = "\nimport json, sys\nsys.stdout.write(json.dumps(answer))\n"
    variables = {**os.environ, "PYTHONPATH": str(package.parent), **environment}
    found = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code) + ending, *map(str, arguments)],
        env=variables,
        cwd=package.parent,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert found.returncode == 0, found.stderr
    return json.loads(found.stdout)


EVERYTHING = """
import pickle, sys
import numpy as np
from mkfusion._jit import JIT
from mkfusion.kernels import *
from mkfusion.kernels import _plan, _store
_plan.SERIAL = _store.SERIAL = 0
with open(sys.argv[1], "rb") as file:
    cases, blocks, dtypes = pickle.load(file)
found = {}
for name, (kernel, X) in cases.items():
    for dtype in dtypes:
        data = X.astype(dtype)
        K = gram(data, kernel=kernel, n_jobs=2)
        assert (K == K.swapaxes(-1, -2)).all(), name
        assert (K == gram(data, data.copy(), kernel)).all(), name
        if kernel.unit_diagonal:
            assert (np.diagonal(K, axis1=-2, axis2=-1) == 1).all(), name
        found[f"{name} {dtype}"] = K
kernels = [RBF(gamma=[0.5, 2.0]), Linear() * Cosine() + 0.5 * Chi2(), Precomputed()]
scales = np.linspace(0.1, 2.0, 4 * len(blocks[0])).reshape(4, -1)
weights, alpha = [0.5, 1.0, -2.0, 3.0], np.cos(np.arange(2.0 * len(blocks[0]))).reshape(-1, 2)
found["sum"] = combine(kernels, weights, blocks, row_scales=scales)
found["float32 of it"] = combine(kernels, weights, blocks, row_scales=scales, dtype=np.float32)
found["empty"] = gram(blocks[0], blocks[0][:0], RBF(gamma=1.0))
for mode in ("memory", "recompute"):
    for dtype in dtypes:
        store = KernelStore(kernels, blocks, scales=scales, mode=mode, dtype=dtype, n_jobs=2)
        found[f"{mode} {dtype} combine"] = store.combine(weights)
        found[f"{mode} {dtype} matvec"] = store.matvec(alpha)
        found[f"{mode} {dtype} forms"] = store.quadratic_forms(alpha)
        found[f"{mode} {dtype} rows"] = store.rows([0, -1, 3])
        found[f"{mode} {dtype} diagonal"] = store.diagonal()
"""


def everything(tmp_path, cases, n, dtypes, seed, code, **environment):
    """Run :data:`EVERYTHING` here and there, and compare; return what the other one answers."""
    rng = np.random.default_rng(seed)
    blocks = [rng.random((n, 3)), rng.random((n, 2)), np.cov(rng.random((n, 5)))]
    (tmp_path / "task").write_bytes(__import__("pickle").dumps((cases, blocks, dtypes)))
    here = _run_here(tmp_path / "task")
    answer = script(
        EVERYTHING + "np.savez(sys.argv[2], **found)\n" + code,
        arguments=(tmp_path / "task", tmp_path / "found.npz"),
        **environment,
    )
    there = np.load(tmp_path / "found.npz")
    assert set(there) == set(here)
    for name, ours in here.items():
        tolerance = 1e-12 if ours.dtype == np.float64 and "float32" not in name else 3e-5
        size = np.abs(ours).max(initial=0)
        assert there[name].dtype == ours.dtype
        assert_allclose(
            there[name], ours, rtol=tolerance, atol=tolerance * 1e-2 * size, err_msg=name
        )
    return answer


def _run_here(task):
    names, argv = {}, sys.argv
    serial = _plan.SERIAL, _store.SERIAL
    try:
        sys.argv = ["", str(task)]
        exec(EVERYTHING, names)
    finally:
        sys.argv = argv
        _plan.SERIAL, _store.SERIAL = serial
    return names["found"]


#: What a store is asked for that adds up kernels or samples.
SUMS = ("combine", "matvec", "forms")


def cases_of(rng, n, d, names=VECTOR_KERNELS):
    X = rng.random((n, d)) + 0.1
    found = {name: (VECTOR_KERNELS[name]().resolve(X), X) for name in names}
    codes = rng.integers(0, 3, (n, d)).astype(float)
    return found | ({"categorical": (found["categorical"][0], codes)} if len(found) > 3 else {})


@pytest.mark.interface
def test_without_compiling_values_are_the_same(tmp_path, global_seed):
    cases = cases_of(np.random.default_rng(global_seed), 150, 5)
    answer = everything(
        tmp_path,
        cases,
        150,
        ["float64", "float32"],
        global_seed,
        """
from mkfusion.kernels import _plain
assert not JIT and _plan._loops is _plain and _store._loops is _plain
answer = "numpy"
""",
        NUMBA_DISABLE_JIT="1",
    )
    assert answer == "numpy"


def test_loops_in_python_are_those_on_whole_arrays(tmp_path, global_seed):
    """Uncompiled, both add the same numbers in the same order."""
    rng = np.random.default_rng(global_seed)
    answer = everything(
        tmp_path,
        cases_of(rng, 6, 5),
        6,
        ["float64", "float32"],
        global_seed,
        """
from mkfusion.kernels import _tile, _tile_sums
arrays = found
_plan._loops, _store._loops = _tile, _tile_sums
exec(everything)
different = {name for name in found if not np.array_equal(found[name], arrays[name])}
# numpy's powers of a number and of an array differ, and its sums have an order of their own.
for name in different:
    tolerance = 16 * np.finfo(found[name].dtype).eps
    assert np.allclose(found[name], arrays[name], rtol=tolerance, atol=tolerance), name
answer = sorted(different)
""".replace("exec(everything)", f"exec({EVERYTHING!r})"),
        NUMBA_DISABLE_JIT="1",
    )
    assert all(name.startswith("polynomial") or name.endswith(SUMS) for name in answer)


def test_no_index_is_out_of_bounds(tmp_path, global_seed):
    rng = np.random.default_rng(global_seed)
    answer = everything(
        tmp_path,
        cases_of(rng, 263, 66, ["chi2"]) | {"bank": (RBF(gamma=[0.1, 1.0]), rng.random((131, 3)))},
        130,
        ["float64"],
        global_seed,
        """
from mkfusion._jit import njit
def beyond(values, i):
    return values[i]
try:
    njit(beyond)(np.ones(3), 3)
except IndexError:
    answer = "checked"
""",
        NUMBA_BOUNDSCHECK="1",
        NUMBA_CACHE_DIR=str(tmp_path / "cache"),
    )
    assert answer == "checked"


def test_without_numba_everything_works():
    answer = script(
        """
        import sys
        sys.modules["numba"] = None
        from mkfusion import _jit
        from mkfusion.kernels import RBF, gram
        assert _jit.numba is None and not _jit.JIT
        answer = gram([[0.0], [1.0]], kernel=RBF(gamma=1.0)).tolist()
        """
    )
    assert_allclose(answer, [[1, np.exp(-1)], [np.exp(-1), 1]])


# The cache of machine code ------------------------------------------------------------------

CACHED = """
import numpy as np
from mkfusion.kernels import Linear, gram, _tile
values = gram(np.array([[1.0], [2.0]]), kernel="linear").tolist()
assert values == [[1, 2], [2, 4]]
stats = _tile.evaluate.stats
answer = {
    "hits": sum(stats.cache_hits.values()),
    "misses": sum(stats.cache_misses.values()),
    "cache": type(_tile.evaluate._cache).__name__,
    "path": str(stats.cache_path),
}
"""


@pytest.fixture
def copied(tmp_path):
    """Return a copy of the package without any cache."""
    leave = shutil.ignore_patterns("__pycache__", "*.csv.gz")
    return Path(shutil.copytree(PACKAGE, tmp_path / "copy" / "mkfusion", ignore=leave))


@pytest.mark.interface
def test_machine_code_is_found_again_until_a_source_changes(copied):
    without = {"NUMBA_CACHE_DIR": "", "package": copied}
    first, second = script(CACHED, **without), script(CACHED, **without)
    assert (first["hits"], first["misses"]) == (0, 1)
    assert (second["hits"], second["misses"]) == (1, 0)
    assert Path(first["path"]).is_relative_to(copied)
    with (copied / "kernels" / "_ops.py").open("a") as file:  # what the loop only calls
        file.write("\n")
    third = script(CACHED, **without)
    assert (third["hits"], third["misses"]) == (0, 1)


def test_no_folder_for_machine_code_is_needed(copied, tmp_path):
    """Below a regular file nobody may make a folder, not even root."""
    file = tmp_path / "file"
    file.touch()
    (copied / "kernels" / "__pycache__").touch()
    nowhere = str(file / "below")
    answer = script(
        CACHED,
        package=copied,
        HOME=nowhere,
        XDG_CACHE_HOME=nowhere,
        NUMBA_CACHE_DIR=nowhere,
        PYTHONDONTWRITEBYTECODE="1",
    )
    assert answer["cache"] == "NullCache"


def test_a_folder_that_goes_away_costs_a_compilation_only(tmp_path):
    folder = tmp_path / "cache"
    answer = script(
        f"import mkfusion.kernels, pathlib, shutil\n"
        f"shutil.rmtree({str(folder)!r})\n"
        f"pathlib.Path({str(folder)!r}).touch()\n" + CACHED,
        NUMBA_CACHE_DIR=str(folder),
    )
    assert (answer["hits"], answer["misses"]) == (0, 1)


def test_one_machine_code_serves_all_layouts(global_seed):
    """Compiling takes a second: it happens once for an operation and a float type."""
    X = np.random.default_rng(global_seed).random((5, 3))
    gram(X, kernel="linear")
    gram(X, kernel=0.5 * Linear(), dtype=np.float64)
    before = len(_tile.evaluate.signatures)
    fixed = X.copy()
    fixed.flags.writeable = False
    for block in (fixed, np.asfortranarray(X), X[::-1], X.astype(int), X[:, :1], X[:1]):
        gram(block, kernel="linear")
        gram(block, block, "linear")
        combine(["linear"], [2.0], block, row_scales=np.ones((1, len(block))))
    assert len(_tile.evaluate.signatures) == before


# Memory -------------------------------------------------------------------------------------


def test_available_memory(tmp_path, monkeypatch):
    free = _memory.available_memory()
    assert 0 < free < 1e15
    for path, text in {
        "/proc/meminfo": "MemTotal: 9 kB\nMemAvailable:    5000 kB\n",
        "/sys/fs/cgroup/memory.max": "max",
        "/sys/fs/cgroup/memory.current": "1000",
    }.items():
        (tmp_path / path[1:]).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path[1:]).write_text(text)
    monkeypatch.setattr(_memory, "Path", lambda path: tmp_path / path[1:])
    assert _memory.available_memory() == 5000 * 1024
    limit = tmp_path / "sys" / "fs" / "cgroup" / "memory.max"
    limit.write_text("4000")
    assert _memory.available_memory() == 3000
    limit.write_text("400")
    assert _memory.available_memory() == 0
    monkeypatch.setattr(_memory, "Path", lambda path: tmp_path / "nowhere")
    assert _memory.available_memory() > 0  # a system without such files


def test_budgets_are_checked():
    _memory.check_budget("it", 10, 10)
    with pytest.raises(MemoryError, match=r"^it needs 2\.0 MB, and 1\.0 MB are there; do this$"):
        _memory.check_budget("it", 2e6, 1e6, "; do this")
