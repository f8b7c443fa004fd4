"""All kernels by tiles: equal to plain Gram matrices in every mode, and as large as said."""

import gc
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

from mkfusion.kernels import (
    RBF,
    Chi2,
    Cosine,
    FunctionKernel,
    KernelStore,
    Laplacian,
    Linear,
    Precomputed,
    _plan,
    _store,
    combine,
    gram,
)
from mkfusion.kernels._tile import PANEL

MODES = ["memory", "disk", "recompute"]
TYPES = [np.float64, np.float32]
SIZES = [1, 2, PANEL - 1, PANEL, PANEL + 1, 300]


def inner_products(A, B):
    """Return x'y without BLAS, whose sums depend on the shape of what it is given."""
    return (A[:, None] * B).sum(axis=2)


def kernels_and_blocks(rng, n):
    """Return kernels that take every way through a plan, each with its own block."""
    kernels = [
        RBF(gamma=[0.3, 2.0]),
        Linear() * Cosine(),
        0.5 * Chi2() + Laplacian(gamma=0.3),
        FunctionKernel(inner_products),
        "rbf",
    ]
    return kernels, [rng.random((n, d)) for d in (3, 2, 4, 2, 3)]


def plain(kernels, blocks, dtype=np.float64):
    """Return the stack of Gram matrices."""
    found = []
    for kernel, block in zip(kernels, blocks, strict=True):
        K = gram(block, kernel=kernel, dtype=dtype)
        found += list(K) if K.ndim == 3 else [K]
    return np.array(found)


def error(weights, K, dtype, n_terms):
    """Return what a sum of that many values, rounded to what is kept, may be off by."""
    unit = np.finfo(np.float64).eps * (n_terms + 4)
    kept = np.finfo(dtype).eps / 2 if dtype == np.float32 else 0.0
    return (unit + kept) * np.einsum("m,mij->ij", np.abs(weights), np.abs(K)).max()


@st.composite
def cases(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = draw(st.sampled_from(SIZES))
    kernels, blocks = kernels_and_blocks(rng, n)
    chosen = draw(st.lists(st.integers(0, 4), min_size=1, max_size=4))
    kernels, blocks = [kernels[i] for i in chosen], [blocks[i] for i in chosen]
    return rng, kernels, blocks, draw(st.booleans()), draw(st.sampled_from(TYPES))


@pytest.mark.interface
@pytest.mark.parametrize("mode", MODES)
@given(case=cases())
@settings(max_examples=12)
def test_store_equals_plain_grams(mode, case):
    rng, kernels, blocks, scaled, dtype = case
    n = len(blocks[0])
    K = plain(kernels, blocks)
    scales = None
    if scaled:
        scales = rng.choice([0.0, 1.0, 0.7, 2.0], size=(len(K), n))
        K = K * scales[:, :, None] * scales[:, None, :]
    store = KernelStore(kernels, blocks, scales=scales, dtype=dtype, mode=mode)
    assert (store.n_kernels, store.n_samples, store.mode) == (len(K), n, mode)
    assert store.dtype == dtype
    assert list(map(repr, store.kernels)) == [
        repr(single)
        for kernel, block in zip(kernels, blocks, strict=True)
        for single in _resolved(kernel, block)
    ]
    rounded = K.astype(dtype)  # where scales multiply, in another order than the tiles'
    tolerance = {"rtol": 2 * np.finfo(dtype).eps, "atol": 0}

    everything = store.rows(np.arange(n))
    assert everything.dtype == dtype
    assert_allclose(everything, rounded, **tolerance)
    assert_array_equal(everything, everything.transpose(0, 2, 1))
    if not scaled:
        assert_array_equal(everything, rounded)
    assert_array_equal(store.diagonal(), everything.diagonal(axis1=1, axis2=2))
    chosen = rng.integers(-n, n, 7)
    assert_array_equal(store.rows(chosen), everything[:, chosen])
    assert_array_equal(store.rows(int(chosen[0])), everything[:, chosen[:1]])
    assert store.rows([]).shape == (len(K), 0, n)

    weights = rng.normal(size=len(K))
    total = store.combine(weights)
    assert_array_equal(total, total.T)
    assert_allclose(
        total, np.einsum("m,mij->ij", weights, K), rtol=0, atol=error(weights, K, dtype, len(K))
    )
    out = np.empty((n, n), np.float32)
    assert store.combine(weights, out=out) is out
    assert_array_equal(out, total.astype(np.float32))

    for alpha in (rng.normal(size=n), rng.normal(size=(n, 3)), rng.integers(-2, 3, n)):
        size = error(np.ones(1), np.abs(K).max(axis=0)[None], dtype, 2 * n) * n
        products = store.matvec(alpha)
        assert_allclose(products, K @ alpha, rtol=0, atol=size * np.abs(alpha).max(initial=0))
        forms = store.quadratic_forms(alpha)
        expected = np.einsum("i...,mij,j...->m...", alpha, K, alpha)
        assert_allclose(forms, expected, rtol=0, atol=size * n * np.square(alpha).max(initial=0))
        assert (products.shape, forms.shape) == ((K @ alpha).shape, expected.shape)


def _resolved(kernel, block):
    kernel = RBF() if kernel == "rbf" else kernel
    return kernel.resolve(block).expand()


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("data", TYPES)
def test_modes_and_threads_give_the_same_bits(dtype, data, monkeypatch, tmp_path, global_seed):
    rng = np.random.default_rng(global_seed)
    n = 5 * PANEL + 11
    kernels, blocks = kernels_and_blocks(rng, n)
    blocks = [block.astype(data) for block in blocks]
    scales = rng.random((6, n))
    alpha, weights = rng.normal(size=(n, 2)), rng.normal(size=6)
    monkeypatch.setattr(_plan, "SERIAL", 0)
    monkeypatch.setattr(_store, "SERIAL", 0)
    answers = []
    for mode, n_jobs in [(mode, n_jobs) for mode in MODES for n_jobs in (1, 2, 4)]:
        path = tmp_path / "tiles" if mode == "disk" and n_jobs == 2 else None
        store = KernelStore(
            kernels, blocks, scales=scales, dtype=dtype, mode=mode, path=path, n_jobs=n_jobs
        )
        answers.append(
            (
                store.combine(weights),
                store.matvec(alpha),
                store.quadratic_forms(alpha),
                store.rows([3, -1, 200, 3]),
                store.diagonal(),
            )
        )
        if path is not None:
            assert path.stat().st_size == store.nbytes
    for answer in answers[1:]:
        for ours, first in zip(answer, answers[0], strict=True):
            assert_array_equal(ours, first)


def test_threads_are_used_and_sums_do_not_depend_on_chunks(monkeypatch, global_seed):
    rng = np.random.default_rng(global_seed)
    X = rng.normal(size=(1500, 3))
    kernels = [RBF(gamma=0.5), Laplacian(gamma=0.5)]
    assert len(kernels) * len(X) ** 2 > _store.SERIAL  # large enough for threads by itself
    used = []
    on_threads = _store.on_threads
    monkeypatch.setattr(
        _store,
        "on_threads",
        lambda work, tasks, n: (used.append(min(n, len(tasks))), on_threads(work, tasks, n)),
    )
    alpha, weights = rng.normal(size=1500), np.array([0.5, 2.0])
    answers = []
    for n_jobs in (1, 2, 4):
        for chunk in (4, 3):
            monkeypatch.setattr(_store, "CHUNK", chunk)
            monkeypatch.setattr(_plan, "CHUNK", chunk)
            store = KernelStore(kernels, X, n_jobs=n_jobs, mode="recompute")
            answers.append(
                (store.combine(weights), store.matvec(alpha), store.quadratic_forms(alpha))
            )
    assert set(used) == {1, 2, 4}
    for answer in answers[1:]:
        for ours, first in zip(answer, answers[0], strict=True):
            assert_array_equal(ours, first)
    assert_allclose(answers[0][0], combine(kernels, weights, X), rtol=1e-14)


# Memory -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("whole", [False, True], ids=["tiles", "whole matrices"])
def test_memory_is_what_it_says(dtype, whole, global_seed):
    rng = np.random.default_rng(global_seed)
    n = 6 * PANEL + 1
    X = rng.normal(size=(n, 2))
    kernels = [FunctionKernel(inner_products)] if whole else [RBF(gamma=1.0), Linear(), Cosine()]
    n_tiles = 7 * 8 // 2
    KernelStore(kernels, X, dtype=dtype).combine(np.ones(len(kernels)))  # compiled
    gc.collect()
    tracemalloc.start()
    store = KernelStore(kernels, X, dtype=dtype, mode="memory")
    gc.collect()
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    store.quadratic_forms(np.ones(n))
    asked = tracemalloc.get_traced_memory()[1] - before
    del store
    gc.collect()
    left = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    size = n_tiles * len(kernels) * PANEL**2 * np.dtype(dtype).itemsize
    assert KernelStore(kernels, X, dtype=dtype, mode="memory").nbytes == size
    assert size <= kept < 1.05 * size + 1e5
    if not whole:
        assert peak < 1.05 * size + 1.5e6  # and the scratch of a plan
    assert asked < 5e5
    assert left < 2e5


def test_recomputing_and_disk_keep_next_to_nothing(tmp_path, global_seed):
    rng = np.random.default_rng(global_seed)
    X = rng.normal(size=(8 * PANEL, 2))
    kernels = [RBF(gamma=1.0), Linear(), Cosine()]
    for mode in ("recompute", "disk"):
        KernelStore(kernels, X, mode=mode).quadratic_forms(np.ones(len(X)))  # compiled
        tracemalloc.start()
        store = KernelStore(kernels, X, mode=mode)
        store.quadratic_forms(np.ones(len(X)))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        whole = 3 * 36 * PANEL**2 * 8
        assert peak < whole / 4
        assert store.nbytes == (whole if mode == "disk" else 0)


def test_budgets(tmp_path, monkeypatch):
    X = np.ones((PANEL + 1, 2))
    kernels = ["linear", "cosine"]
    size = 2 * 3 * PANEL**2 * 8
    assert KernelStore(kernels, X, memory_budget=size).mode == "memory"
    store = KernelStore(kernels, X, memory_budget=size - 1)
    assert (store.mode, store.nbytes) == ("recompute", 0)
    assert KernelStore(kernels, X, memory_budget=size / 2, dtype=np.float32).mode == "memory"
    assert KernelStore(kernels, X, memory_budget=np.inf).mode == "memory"
    assert KernelStore(kernels, X, memory_budget=0, mode="recompute").mode == "recompute"
    message = r"keeping 2 kernels in memory needs 0\.8 MB, and 0\.1 MB are there; use mode="
    with pytest.raises(MemoryError, match=message):
        KernelStore(kernels, X, memory_budget=1e5, mode="memory")
    monkeypatch.setattr(_store, "available_memory", lambda: 2.0 * size - 2)
    assert KernelStore(kernels, X).mode == "recompute"  # half of what is free
    monkeypatch.setattr(_store, "available_memory", lambda: 2.0 * size)
    assert KernelStore(kernels, X).mode == "memory"
    for wrong in ("1GB", np.nan, -1, [1]):
        with pytest.raises(ValueError, match="memory_budget must be a number of bytes"):
            KernelStore(kernels, X, memory_budget=wrong)


def test_files(tmp_path, monkeypatch, global_seed):
    rng = np.random.default_rng(global_seed)
    X = rng.normal(size=(200, 3))
    path = tmp_path / "tiles"
    path.write_bytes(b"what was there before")
    expected = KernelStore(["linear"], X).combine([1.0])
    for name in (path, str(path)):
        store = KernelStore(["linear"], X, mode="disk", path=name)
        assert_array_equal(store.combine([1.0]), expected)
        assert path.stat().st_size == store.nbytes
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    store = KernelStore(["linear"], X, mode="disk")
    assert_array_equal(store.combine([1.0]), expected)
    assert not list((tmp_path / "temporary").iterdir())  # nothing is left behind, ever
    with pytest.raises(FileNotFoundError, match="nowhere"):
        KernelStore(["linear"], X, mode="disk", path=tmp_path / "nowhere" / "tiles")
    with pytest.raises(ValueError, match="path is for mode='disk', got mode='auto'"):
        KernelStore(["linear"], X, path=path)
    monkeypatch.setattr(_store.shutil, "disk_usage", lambda folder: _Usage(1000))
    with pytest.raises(MemoryError, match=r"on the disk of .* needs 0\.4 MB, and 0\.0 MB are"):
        KernelStore(["linear"], X, mode="disk", path=path)
    assert path.stat().st_size > 1000  # refused before anything was touched


class _Usage:
    def __init__(self, free):
        self.free = free


# What goes in -------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_no_samples(mode):
    store = KernelStore(["linear", RBF(gamma=1.0)], np.empty((0, 3)), mode=mode)
    assert store.combine([1.0, 1.0]).shape == (0, 0)
    assert_array_equal(store.quadratic_forms([]), [0.0, 0.0])
    assert store.matvec([]).shape == (2, 0)
    assert store.matvec(np.empty((0, 3))).shape == (2, 0, 3)
    assert store.rows([]).shape == (2, 0, 0)
    assert store.diagonal().shape == (2, 0)
    with pytest.raises(ValueError, match="gamma='scale' needs samples"):
        KernelStore(["rbf"], np.empty((0, 3)), mode=mode)


@pytest.mark.parametrize("mode", MODES)
def test_given_matrices_and_tables(mode, global_seed):
    rng = np.random.default_rng(global_seed)
    X = rng.random((150, 3))
    K = gram(X, kernel=RBF(gamma=0.5))
    index, frame = np.arange(150)[:, None], pd.DataFrame(X, index=np.zeros(150))
    fixed = X.copy()
    fixed.flags.writeable = False
    store = KernelStore(
        [Precomputed(K), Precomputed(), "linear", "linear", "linear"],
        [index, K, frame, X.tolist(), fixed],
        mode=mode,
    )
    L = gram(X, kernel="linear")
    assert_array_equal(store.rows(np.arange(150)), [K, K, L, L, L])
    assert_array_equal(store.rows([-1, 4])[0], K[[-1, 4]])
    assert_array_equal(fixed, X)


@pytest.mark.parametrize("mode", MODES)
def test_wrong_questions_are_refused(mode, global_seed):
    X = np.random.default_rng(global_seed).random((9, 2))
    store = KernelStore(["linear", "cosine"], X, mode=mode)
    for alpha, message in [
        (np.ones(8), r"alpha must have one entry for each of 9 samples, got shape \(8,\)"),
        (np.ones((2, 9)), "got shape"),
        (np.ones((9, 1, 1)), "got shape"),
        (3.0, "got shape"),
        (np.full(9, np.nan), "alpha must be finite"),
        (np.full(9, np.inf), "alpha must be finite"),
        (["a"] * 9, "alpha must be"),
        (1j * np.ones(9), "alpha must be"),
        (np.ma.masked_array(np.ones(9), np.arange(9) > 3), "alpha is a masked array"),
        (None, "alpha must"),
    ]:
        for question in (store.quadratic_forms, store.matvec):
            with pytest.raises(ValueError, match=message):
                question(alpha)
    assert store.matvec(np.empty((9, 0))).shape == (2, 9, 0)
    assert store.quadratic_forms(np.empty((9, 0))).shape == (2, 0)
    for indices in ([9], [-10], [0, 100], np.array([2**63], np.uint64)):
        with pytest.raises(IndexError, match="out of range for 9 samples"):
            store.rows(indices)
    for indices in ([0.5], [True, False], ["a"], [[0, 1]], None, slice(2)):
        with pytest.raises(TypeError, match="indices must be whole numbers"):
            store.rows(indices)
    for weights, message in [
        ([1.0], "weights must have one entry for each of 2 kernels"),
        ([1.0, np.nan], "weights must be finite"),
        (None, "weights must"),
        ([[1.0, 2.0]], "shape"),
    ]:
        with pytest.raises(ValueError, match=message):
            store.combine(weights)
    for out in (np.empty((9, 8)), np.empty((9, 9), order="F"), [[0.0]], np.empty((9, 9), int)):
        with pytest.raises((ValueError, TypeError), match=r"out must be|dtype must be"):
            store.combine([1.0, 1.0], out=out)


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int64, np.uint64])
def test_indices_of_any_width(kind, global_seed):
    X = np.random.default_rng(global_seed).random((300, 2))
    store = KernelStore(["linear"], X)
    indices = np.array([0, 100, 5], kind)
    assert_array_equal(store.rows(indices), store.rows([0, 100, 5]))
    if np.issubdtype(kind, np.signedinteger):
        assert_array_equal(store.rows(-indices - 1), store.rows([299, 199, 294]))


def test_stores_that_mean_nothing_are_refused(global_seed):
    X = np.random.default_rng(global_seed).random((9, 2))
    for arguments, options, message in [
        ((["linear"], None), {}, "^X "),
        ((["linear"], sparse.csr_array(X)), {}, "X is sparse"),
        ((["linear"], np.full((3, 1), np.nan)), {}, "^X .*NaN"),
        ((["chi2"], -X), {}, "not negative"),
        (([], X), {}, "kernels is empty"),
        (("linear", X), {}, "kernels must be a list"),
        ((["linear", "linear"], [X, X[:3]]), {}, "same samples"),
        ((["linear"], X), {"mode": "ram"}, "mode must be one of"),
        ((["linear"], X), {"dtype": np.float16}, "float64 or float32"),
        ((["linear"], X), {"dtype": int}, "float64 or float32"),
        ((["linear"], X), {"scales": np.ones(9)}, "scales must have shape"),
        ((["linear"], X), {"scales": np.full((1, 9), np.nan)}, "scales must be finite"),
        ((["linear"], X), {"n_jobs": 0}, "n_jobs"),
    ]:
        with pytest.raises((ValueError, TypeError), match=message):
            KernelStore(*arguments, **options)


def test_what_it_shows(global_seed):
    X = np.random.default_rng(global_seed).random((9, 2))
    assert repr(KernelStore([RBF([1.0, 2.0])], X)) == (
        "KernelStore(2 kernels of 9 samples, float64, mode='memory', 0.3 MB)"
    )


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("mode", ["memory", "disk"])
def test_joined_stores_are_one_of_all_kernels(mode, dtype, global_seed):
    rng = np.random.default_rng(global_seed)
    blocks = [rng.random((300, width)) for width in (3, 1, 5)]
    kernels = [RBF(gamma=0.5), "linear", RBF(gamma=2.0)]
    scales = rng.random((3, 300))
    options = {"dtype": dtype, "mode": mode}
    whole = KernelStore(kernels, blocks, scales=scales, **options)
    first = KernelStore(kernels[:2], blocks[:2], scales=scales[:2], **options)
    last = KernelStore(kernels[2:], blocks[2:], scales=scales[2:], **options)
    found = KernelStore.joined([first, last])
    assert repr(found) == repr(KernelStore(kernels, blocks, scales=scales, dtype=dtype))
    alpha = rng.normal(size=300)
    weights = rng.random(3)
    assert_array_equal(found.combine(weights), whole.combine(weights))
    assert_array_equal(found.matvec(alpha), whole.matvec(alpha))
    assert_array_equal(found.quadratic_forms(alpha), whole.quadratic_forms(alpha))
    assert_array_equal(found.rows([0, 150, 299]), whole.rows([0, 150, 299]))
    assert_array_equal(found.diagonal(), whole.diagonal())
    assert [first.n_kernels, last.n_kernels] == [2, 1]  # what is joined is left as it was
    other = KernelStore(["linear"], rng.random((299, 2)), dtype=dtype)
    nothing = KernelStore(["linear"], blocks[0], dtype=dtype, mode="recompute")
    for wrong in ([], [first, other], [first, nothing]):
        with pytest.raises(ValueError, match="stores to join must keep their tiles, all of the"):
            KernelStore.joined(wrong)
