"""Sequence kernels beside their peers: tslearn's global alignment kernel, scikit-learn's counts.

Medians of seven runs, the two interleaved; ratio = the peer's time / ours. The bandwidth is
Cuturi's estimate.

Run: python tests/benchmarks/bench_sequence.py
"""

import time

import numpy as np
from sklearn.feature_extraction.text import CountVectorizer
from tslearn.metrics import cdist_gak

from mkfusion.kernels import GlobalAlignment, Spectrum

RUNS = 7
ALIGNMENT = [  # series, frames, features
    (60, 20, 1),
    (60, 50, 3),
    (40, 100, 3),
    (20, 200, 3),
    (20, 200, 13),
    (20, 200, 40),
    (6, 600, 3),
]
SPECTRUM = [(2000, 300, 4, 3), (2000, 300, 20, 3), (1000, 2000, 26, 4)]  # strings, length, ...


def medians(*candidates):
    for candidate in candidates:
        candidate()
    times = [[] for _ in candidates]
    for _ in range(RUNS):
        for candidate, taken in zip(candidates, times, strict=True):
            start = time.perf_counter()
            candidate()
            taken.append(time.perf_counter() - start)
    return [float(np.median(taken)) for taken in times]


def matrix(kernel, X, n_threads):
    return kernel._matrix(kernel._check(X, "X"), None, n_threads)


def row(name, threads, ours, peers):
    print(f"{name:42}{threads:8d}{1e3 * ours:10.1f}{1e3 * peers:10.1f}{peers / ours:8.1f}")


def main():
    rng = np.random.default_rng(0)
    print(f"{'':42}{'threads':>8}{'ours ms':>10}{'peer ms':>10}{'ratio':>8}")
    for n, frames, d in ALIGNMENT:
        X = rng.normal(size=(n, frames, d))
        kernel = GlobalAlignment().resolve(X)
        for threads in (1, 2):

            def ours(X=X, kernel=kernel, threads=threads):
                return matrix(kernel, X, threads)

            def peer(X=X, kernel=kernel, threads=threads):
                return cdist_gak(X, sigma=kernel.sigma, n_jobs=threads)

            np.testing.assert_allclose(ours(), peer(), rtol=1e-9)
            row(f"global alignment {n} x {frames} x {d}", threads, *medians(ours, peer))
    for n, length, symbols, k in SPECTRUM:
        texts = ["".join(map(chr, line)) for line in rng.integers(97, 97 + symbols, (n, length))]

        def ours(texts=texts, k=k):
            return matrix(Spectrum(k=k, normalize=False), texts, 1)

        def peer(texts=texts, k=k):
            counts = CountVectorizer(analyzer="char", ngram_range=(k, k)).fit_transform(texts)
            return (counts @ counts.T).toarray()

        np.testing.assert_array_equal(ours(), peer())
        row(f"spectrum {n} x {length}, {symbols} symbols, k={k}", 1, *medians(ours, peer))


if __name__ == "__main__":
    main()
