"""What late fusion costs beside its experts, what the rules cost, and what it costs to learn them.

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
from mkfusion.rules import RULES, fuse, learn_rule


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
    fixed = [name for name, rule in RULES.items() if not rule.trained]
    for name in fixed:
        candidates[name] = lambda name=name: fuse(posteriors, name)
        candidates[f"{name}, .3 absent"] = lambda name=name: fuse(posteriors, name, mask=mask)
    seconds = interleaved(candidates, 9)
    base = seconds["numpy mean"]
    print(f"\nrules on (6, 100000, 10) posteriors over one numpy mean ({base * 1e3:.1f} ms)")
    print(f"  {'':20}{'all there':>10}{'.3 absent':>11}")
    for name in fixed:
        pair = seconds[name] / base, seconds[f"{name}, .3 absent"] / base
        print(f"  {name:20}{pair[0]:10.1f}{pair[1]:11.1f}")


def learning():
    rng = np.random.default_rng(0)
    y = rng.integers(10, size=2000)
    posteriors = rng.dirichlet(np.ones(10), size=(6, 2000))
    posteriors += rng.uniform(0.5, 2, size=(6, 1, 1)) * np.eye(10)[y]
    posteriors /= posteriors.sum(axis=2, keepdims=True)
    candidates = {}
    for name, rule in RULES.items():
        ways = [None] if rule.trained else ["learn"] * bool(rule.learn)
        options = {"final_estimator": LogisticRegression(max_iter=1000)}
        options = options if name == "stacking" else {}
        for way in [*ways, *(["search"] if rule.weights else [])]:
            candidates[f"{name}, {way or 'trained'}"] = lambda name=name, way=way, more=options: (
                learn_rule(posteriors, y, name, weights=way, random_state=0, **more)
            )
    print("\nlearning a rule from (6, 2000, 10) out-of-fold posteriors")
    for name, taken in interleaved(candidates, 5).items():
        print(f"  {name:28}{taken * 1e3:9.1f} ms")


if __name__ == "__main__":
    with threadpool_limits(1):
        overhead()
        rules()
        learning()
