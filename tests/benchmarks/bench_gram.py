"""Gram matrices: ours beside scikit-learn's, or beside numpy where scikit-learn has none.

Candidates take turns in one process, after a round that compiles and warms; both have the same
number of threads, and medians are compared. BLAS should choose its kernels by itself: unset
OPENBLAS_CORETYPE and OPENBLAS_L2_SIZE before. The bars are those that the design set.

Run: python tests/benchmarks/bench_gram.py [--threads 1 2] [--repeats 9] [--only TEXT]
"""

import argparse
import gc
import os
import time
import tracemalloc

import numpy as np
from sklearn.gaussian_process import kernels as processes
from sklearn.metrics import pairwise
from threadpoolctl import threadpool_info, threadpool_limits

from mkfusion.kernels import (
    RBF,
    Chi2,
    HistogramIntersection,
    KernelStore,
    Laplacian,
    Linear,
    Matern,
    Polynomial,
    RationalQuadratic,
    Sigmoid,
    combine,
    gram,
)

PAUSE = 0.05  # seconds, after which the threads of the candidate before wait no longer on a core


def interleaved(candidates, repeats):
    """Return the median seconds of each candidate, taken in turn after one round to warm up."""
    taken = [[] for _ in candidates]
    for turn in range(repeats + 1):
        for seconds, work in zip(taken, candidates, strict=True):
            time.sleep(PAUSE)
            start = time.perf_counter()
            work()
            if turn:
                seconds.append(time.perf_counter() - start)
    return [float(np.median(seconds)) for seconds in taken]


def features(n, d, dtype=np.float64, seed=0):
    return np.random.default_rng(seed).random((n, d)).astype(dtype)


def rbf(dtype, d, bars):
    def pair(jobs):
        X = features(5000, d, dtype)
        kernel = RBF(gamma=1.0 / d)
        return (
            lambda: gram(X, kernel=kernel, n_jobs=jobs),
            lambda: pairwise.rbf_kernel(X, gamma=1.0 / d),
        )

    return f"rbf {np.dtype(dtype).name}, n=5000, d={d}", pair, bars


def rectangular():
    def pair(jobs):
        X, Y = features(2000, 16), features(10000, 16, seed=1)
        kernel = RBF(gamma=0.1)
        return (
            lambda: gram(X, Y, kernel, n_jobs=jobs),
            lambda: pairwise.rbf_kernel(X, Y, gamma=0.1),
        )

    return "rbf float64, 2000 x 10000, d=16", pair, (2.5, 3.5)


def against(name, kernel, peer, n, d, bars=(None, None)):
    def pair(jobs):
        X = features(n, d)
        return lambda: gram(X, kernel=kernel, n_jobs=jobs), lambda: peer(X)

    return f"{name}, n={n}, d={d}", pair, bars


def intersection(X):
    K = np.empty((len(X), len(X)))
    for i, x in enumerate(X):
        np.minimum(x, X).sum(axis=1, out=K[i])
    return K


def bandwidths():
    def pair(jobs):
        X = features(4000, 16)
        gammas = [0.01, 0.03, 0.1, 0.3, 1.0]
        return (
            lambda: gram(X, kernel=RBF(gamma=gammas), n_jobs=jobs),
            lambda: [pairwise.rbf_kernel(X, gamma=gamma) for gamma in gammas],
        )

    return "five bandwidths in one pass, n=4000, d=16", pair, (6, None)


def weighted_sum():
    def pair(jobs):
        blocks = [features(4000, 16, seed=m) for m in range(6)]
        weights, kernels = np.arange(1.0, 7.0) / 21, [RBF(gamma=0.1)] * 6

        def peer():
            total = np.zeros((4000, 4000))
            for weight, X in zip(weights, blocks, strict=True):
                K = pairwise.rbf_kernel(X, gamma=0.1)
                K *= weight
                total += K
            return total

        return lambda: combine(kernels, weights, blocks, n_jobs=jobs), peer

    return "weighted sum of six, n=4000, d=16 each", pair, (7, None)


def store(what, bars):
    n = 5000

    def pair(jobs):
        blocks = [features(n, 16, seed=m) for m in range(6)]
        kernels = [RBF(gamma=0.1)] * 6
        weights, alpha = np.arange(1.0, 7.0) / 21, np.random.default_rng(0).normal(size=n)

        def build():
            return KernelStore(kernels, blocks, dtype=np.float32, mode="memory", n_jobs=jobs)

        def peer_build():
            return [pairwise.rbf_kernel(X, gamma=0.1) for X in blocks]

        if what == "build":
            return build, peer_build
        tiles, full = build(), peer_build()
        if what == "quadratic forms":
            return (
                lambda: tiles.quadratic_forms(alpha),
                lambda: [alpha @ K @ alpha for K in full],
            )
        scratch = np.empty((n, n))

        def peer_combine():
            total = weights[0] * full[0]
            for weight, K in zip(weights[1:], full[1:], strict=True):
                total += np.multiply(weight, K, out=scratch)
            return total

        return lambda: tiles.combine(weights), peer_combine

    return f"store: {what}, n=5000, M=6", pair, bars


def cases():
    for d, bars in zip((4, 16, 64, 256), ((3.0, 4.5), (2.8, 4.5), (2.2, 3.3), (1.4, 2.0))):  # noqa: B905
        yield rbf(np.float64, d, bars)
    for d, bars in zip((4, 16, 64, 256), ((5, 5), (4.5, 5), (3.5, 5), (2.8, 3.5))):  # noqa: B905
        yield rbf(np.float32, d, bars)
    yield rectangular()
    for d, bars in ((16, (4.5, 5.5)), (64, (7.5, 13))):
        yield against(
            "laplacian", Laplacian(gamma=0.1), lambda X: pairwise.laplacian_kernel(X, gamma=0.1),
            5000, d, bars,
        )  # fmt: skip
    for d, bars in ((16, (8, 12)), (64, (11, 22))):
        yield against(
            "chi2", Chi2(gamma=0.1), lambda X: pairwise.chi2_kernel(X, gamma=0.1), 5000, d, bars
        )
    for d in (16, 64):
        yield against(
            "polynomial", Polynomial(gamma=0.1),
            lambda X: pairwise.polynomial_kernel(X, gamma=0.1), 2000, d,
        )  # fmt: skip
        yield against("linear", Linear(), pairwise.linear_kernel, 2000, d)
        yield against(
            "sigmoid",
            Sigmoid(gamma=0.1),
            lambda X: pairwise.sigmoid_kernel(X, None, 0.1, 0),
            2000,
            d,
        )
        yield against("matern 3/2", Matern(1.0), processes.Matern(1.0, nu=1.5), 2000, d)
        yield against(
            "rational quadratic", RationalQuadratic(1.0, 1.5),
            processes.RationalQuadratic(1.0, 1.5), 2000, d,
        )  # fmt: skip
        yield against("histogram intersection", HistogramIntersection(), intersection, 2000, d)
    yield bandwidths()
    yield weighted_sum()
    yield store("build", (8, 12))
    yield store("combine", (5, 9))
    yield store("quadratic forms", (3, 2))


def absolute(repeats):
    """Compare a fresh matrix with what it takes to allocate and fill one."""
    X, kernel = features(5000, 4), RBF(gamma=0.25)

    def fill():
        np.empty((5000, 5000)).fill(0)

    return interleaved([lambda: gram(X, kernel=kernel), fill], repeats)


def slopes(repeats):
    """Print how time goes with n and d, and peak memory with n and M."""
    print(f"\n{'work':<44} {'ms':>9}   times as much as the line above")
    for name, sizes in (
        ("rbf, d=16", [(n, 16) for n in (1000, 2000, 4000, 8000)]),
        ("rbf, n=4000", [(4000, d) for d in (16, 64, 256, 1024)]),
    ):
        before = None
        for n, d in sizes:
            X = features(n, d)
            (seconds,) = interleaved([lambda X=X, d=d: gram(X, kernel=RBF(1.0 / d))], repeats)
            ratio = "" if before is None else f"{seconds / before:8.2f}"
            print(f"{name + f': n={n}, d={d}':<44} {seconds * 1e3:9.2f} {ratio}")
            before = seconds
    print(f"\n{'peak memory, d=16':<44} {'MB':>9}   in matrices of n x n float64")
    for name, work in (
        ("gram", lambda X, M: gram(X[0], kernel=RBF(0.1))),
        ("combine", lambda X, M: combine([RBF(0.1)] * M, [1.0 / M] * M, X)),
        ("KernelStore, float32", lambda X, M: KernelStore([RBF(0.1)] * M, X, dtype=np.float32)),
    ):
        for n, M in ((2000, 2), (2000, 8), (4000, 2), (4000, 8)):
            X = [features(n, 16, seed=m) for m in range(M)]
            gc.collect()
            tracemalloc.start()
            result = work(X, M)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            del result
            print(f"{name + f': n={n}, M={M}':<44} {peak / 1e6:9.1f} {peak / 8 / n**2:12.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--only", default="", help="cases whose name holds this text")
    given = parser.parse_args()

    cores = {lib.get("architecture") for lib in threadpool_info() if lib["user_api"] == "blas"}
    print(f"BLAS core type {cores}, {os.cpu_count()} processors, medians of {given.repeats}")
    print(f"{'work':<44} {'threads':>7} {'ours ms':>9} {'peer ms':>9} {'ratio':>7} {'bar':>6}")
    for threads in given.threads:
        with threadpool_limits(threads):
            for name, pair, bars in cases():
                if given.only not in name:
                    continue
                ours, peer = interleaved(pair(threads), given.repeats)
                bar = bars[min(threads, 2) - 1]
                print(
                    f"{name:<44} {threads:>7} {ours * 1e3:9.2f} {peer * 1e3:9.2f} "
                    f"{peer / ours:7.2f} {'' if bar is None else bar:>6}",
                    flush=True,
                )
                gc.collect()
    with threadpool_limits(1):
        if given.only in "absolute":
            ours, fill = absolute(given.repeats)
            print(f"\nfresh rbf float64, n=5000, d=4: {ours / fill:.2f} times np.empty and fill")
        if given.only in "slopes":
            slopes(given.repeats)


if __name__ == "__main__":
    main()
