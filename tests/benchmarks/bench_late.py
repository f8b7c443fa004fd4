"""What late fusion costs beside its experts, and what the rules cost.

The candidates of a comparison are interleaved in one process, BLAS has one thread, and the
medians are compared.

Run: python tests/benchmarks/bench_late.py
"""

import time

import numpy as np
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from mkfusion import LateFusionClassifier
from mkfusion.datasets import load_multiple_features
from mkfusion.rules import RULES, fuse


def interleaved(candidates, repeats):
    """Return the median seconds of each candidate, taken in turn after one round to warm up."""
    taken = {name: [] for name in candidates}
    for turn in range(repeats + 1):
        for name, work in candidates.items():
            start = time.perf_counter()
            work()
            if turn:
                taken[name].append(time.perf_counter() - start)
    return {name: np.median(seconds) for name, seconds in taken.items()}


def overhead():
    X, y = load_multiple_features(return_X_y=True)
    expert = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    fusion = LateFusionClassifier(estimator=expert)
    names = list(LateFusionClassifier().fit(X[::20], y[::20]).modalities_)
    blocks = {name: X.filter(regex=f"^{name}__") for name in names}
    fitted = {name: clone(expert).fit(block, y) for name, block in blocks.items()}
    fused = clone(fusion).fit(X, y)
    print(f"late fusion over its experts, n = {len(X)}, {len(names)} modalities")
    work = {
        "fit": (
            lambda: [clone(expert).fit(block, y) for block in blocks.values()],
            lambda: clone(fusion).fit(X, y),
            9,
        ),
        "predict_proba": (
            lambda: [fitted[name].predict_proba(block) for name, block in blocks.items()],
            lambda: fused.predict_proba(X),
            41,
        ),
    }
    total = np.zeros(2)
    for step, (experts, whole, repeats) in work.items():
        seconds = interleaved({"experts": experts, "fusion": whole}, repeats)
        pair = np.array([seconds["experts"], seconds["fusion"]])
        total += pair
        print(line(step, *pair))
    print(line("both", *total))


def line(name, experts, fusion):
    ratio = fusion / experts
    return f"  {name:20}{experts * 1e3:9.1f} ms {fusion * 1e3:9.1f} ms  x {ratio:.3f}"


def rules():
    rng = np.random.default_rng(0)
    posteriors = rng.dirichlet(np.ones(10), size=(6, 100_000))
    mask = rng.random((6, 100_000)) < 0.7
    candidates = {"numpy mean": lambda: posteriors.mean(axis=0)}
    for name in RULES:
        candidates[name] = lambda name=name: fuse(posteriors, name)
        candidates[f"{name}, .3 absent"] = lambda name=name: fuse(posteriors, name, mask=mask)
    seconds = interleaved(candidates, 9)
    base = seconds["numpy mean"]
    print(f"\nrules on (6, 100000, 10) posteriors over one numpy mean ({base * 1e3:.1f} ms)")
    print(f"  {'':20}{'all there':>10}{'.3 absent':>11}")
    for name in RULES:
        pair = seconds[name] / base, seconds[f"{name}, .3 absent"] / base
        print(f"  {name:20}{pair[0]:10.1f}{pair[1]:11.1f}")


if __name__ == "__main__":
    with threadpool_limits(1):
        overhead()
        rules()
