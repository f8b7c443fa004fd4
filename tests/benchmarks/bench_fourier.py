"""What kernel features cost: random Fourier features and Nystroem, beside scikit-learn's.

The candidates of a comparison are interleaved in one process, everybody has one thread unless the
row says otherwise, and medians are compared.

Run: python tests/benchmarks/bench_fourier.py
"""

import time

import numpy as np
from sklearn.kernel_approximation import Nystroem, RBFSampler
from threadpoolctl import threadpool_info, threadpool_limits

from mkfusion.kernels import (
    RBF,
    fourier_features,
    fourier_map,
    nystroem_features,
    nystroem_map,
)
from mkfusion.mkl import ModalityFourierFeatures

N, D, COMPONENTS, REPEATS = 20_000, 32, 500, 11


def interleaved(candidates):
    """Return the median seconds of each candidate, taken in turn after one round to warm up."""
    taken = {name: [] for name in candidates}
    for turn in range(REPEATS + 1):
        for name, work in candidates.items():
            start = time.perf_counter()
            work()
            if turn:
                taken[name].append(time.perf_counter() - start)
    return {name: np.median(seconds) for name, seconds in taken.items()}


def show(title, candidates):
    print(title)
    seconds = interleaved(candidates)
    base = next(iter(seconds.values()))
    for name, taken in seconds.items():
        print(f"  {name:42}{taken * 1e3:9.1f} ms   x {base / taken:5.2f}")


def fourier(dtype):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((N, D)).astype(dtype)
    kernel = RBF(gamma=1 / (2 * D))
    peer = RBFSampler(gamma=kernel.gamma, n_components=COMPONENTS, random_state=0).fit(X)
    pairs = fourier_map(X, kernel, COMPONENTS, rng=rng)
    phases = fourier_map(X, kernel, COMPONENTS, paired=False, rng=rng)
    orthogonal = fourier_map(X, kernel, COMPONENTS, orthogonal=True, rng=rng)
    estimator = ModalityFourierFeatures(
        modalities={"all": slice(None)}, kernel=kernel, n_components=COMPONENTS, random_state=0
    ).fit(X)
    show(
        f"\nFourier features, {N} x {D} -> {COMPONENTS}, {np.dtype(dtype)}",
        {
            "RBFSampler.transform": lambda: peer.transform(X),
            "fourier_features, pairs": lambda: fourier_features(pairs, X),
            "fourier_features, phases": lambda: fourier_features(phases, X),
            "fourier_features, orthogonal": lambda: fourier_features(orthogonal, X),
            "fourier_features, pairs, two threads": lambda: fourier_features(pairs, X, n_jobs=2),
            "ModalityFourierFeatures.transform": lambda: estimator.transform(X),
        },
    )


def nystroem(dtype):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((N, D)).astype(dtype)
    kernel = RBF(gamma=1 / (2 * D))
    peer = Nystroem(gamma=kernel.gamma, n_components=COMPONENTS, random_state=0).fit(X)
    maps = {
        method: nystroem_map(X, kernel, COMPONENTS, method, rng=np.random.default_rng(0))
        for method in ("uniform", "kmeans", "leverage")
    }
    show(
        f"\nNystroem transform, {N} x {D} -> {COMPONENTS}, {np.dtype(dtype)}",
        {
            "Nystroem.transform": lambda: peer.transform(X),
            "nystroem_features": lambda: nystroem_features(maps["uniform"], X),
            "nystroem_features, two threads": lambda: nystroem_features(
                maps["uniform"], X, n_jobs=2
            ),
        },
    )
    show(
        f"\nNystroem fit, {N} x {D} -> {COMPONENTS}, {np.dtype(dtype)}",
        {
            "Nystroem.fit": lambda: peer.fit(X),
            **{
                f"nystroem_map, {method}": lambda method=method: nystroem_map(
                    X, kernel, COMPONENTS, method, rng=np.random.default_rng(0)
                )
                for method in maps
            },
        },
    )


def main():
    blas = [info for info in threadpool_info() if info["user_api"] == "blas"]
    print("BLAS:", ", ".join(f"{info['internal_api']} {info['architecture']}" for info in blas))
    with threadpool_limits(limits=1, user_api="blas"):
        for dtype in (np.float64, np.float32):
            fourier(dtype)
            nystroem(dtype)


if __name__ == "__main__":
    main()
