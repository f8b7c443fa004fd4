"""The E-step of a hidden Markov model beside hmmlearn's, and its cost by the number of steps.

One thread; the three interleaved in one process, medians; ratio = hmmlearn's time / ours. Both
start from the values and the parameters, and end with log-likelihood and all statistics of the
M-step. hmmlearn's full covariances take long: ``--full-steps`` says how many steps both get there,
in sequences of 100. The slope is that of log time against log steps.

Run: python tests/benchmarks/bench_chain.py [--runs 5] [--steps 100000] [--full-steps 100000]
"""

import argparse
import time

import numpy as np
from hmmlearn.hmm import GaussianHMM
from threadpoolctl import threadpool_limits

from mkfusion.chains._em import HMM, expect, prepare
from mkfusion.chains._emissions import GaussianEmission, Stream

LENGTH, WIDTH = 100, 20
STATES = (8, 16)
SIZES = (10_000, 30_000, 100_000, 300_000, 1_000_000)
BARS = {"log": 8, "scaling": 4}


def parameters(n_states, kind, rng):
    start = rng.dirichlet(np.ones(n_states))
    transition = rng.dirichlet(np.ones(n_states), n_states)
    means = rng.normal(size=(n_states, WIDTH))
    if kind == "diag":
        return start, transition, means, rng.uniform(0.5, 2, means.shape)
    roots = rng.normal(size=(n_states, WIDTH, WIDTH))
    return start, transition, means, roots @ roots.swapaxes(1, 2) / WIDTH + np.eye(WIDTH)


def ours(X, offsets, kind, start, transition, means, covars):
    model = HMM(start, transition, (GaussianEmission(means, covars, kind),))
    streams = [Stream(X, np.ones(len(X), bool))]

    def e_step():
        return expect(model, streams, prepare(model, streams), offsets, stream_weights=np.ones(1))

    return e_step


def theirs(X, offsets, kind, implementation, start, transition, means, covars):
    model = GaussianHMM(len(start), kind, implementation=implementation)
    model.startprob_, model.transmat_, model.means_ = start, transition, means
    model._covars_, model.n_features = covars, WIDTH
    lengths = np.diff(offsets)
    return lambda: model._do_estep(X, lengths)


def medians(runs, candidates):
    times = {name: [] for name in candidates}
    results = {}
    for _ in range(runs):
        for name, candidate in candidates.items():
            begin = time.perf_counter()
            results[name] = candidate()
            times[name].append(time.perf_counter() - begin)
    return {name: float(np.median(taken)) for name, taken in times.items()}, results


def difference(found, wanted, means, kind):
    """Return the greatest difference of any statistic, relative to the largest of its array."""
    statistics, log_likelihood = wanted
    weights, first, second = found.statistics[0]
    sums = first + weights[:, None] * means
    if kind == "diag":
        squares = second + 2 * means * first + weights[:, None] * means**2
        other = statistics["obs**2"]
    else:
        cross = means[:, :, None] * first[:, None, :]
        outer = means[:, :, None] * means[:, None, :]
        squares = second + cross + cross.swapaxes(1, 2) + weights[:, None, None] * outer
        other = statistics["obs*obs.T"]
    pairs = [
        (found.log_likelihoods.sum(), log_likelihood),
        (found.start, statistics["start"]),
        (found.pairs, statistics["trans"]),
        (weights, statistics["post"]),
        (sums, statistics["obs"]),
        (squares, other),
    ]
    return max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in pairs)


def compare(runs, steps, full_steps):
    print(f"{'':24}{'steps':>9}{'ours ms':>9}{'log':>10}{'scaling':>10}{'ratios':>14}  difference")
    for kind in ("diag", "full"):
        for n_states in STATES:
            rng = np.random.default_rng(0)
            n = steps if kind == "diag" else full_steps
            X, offsets = rng.normal(size=(n, WIDTH)), np.arange(0, n + 1, LENGTH)
            given = parameters(n_states, kind, rng)
            candidates = {
                "ours": ours(X, offsets, kind, *given),
                **{name: theirs(X, offsets, kind, name, *given) for name in BARS},
            }
            candidates["ours"]()
            taken, results = medians(runs, candidates)
            ratios = {name: taken[name] / taken["ours"] for name in BARS}
            apart = max(difference(results["ours"], results[b], given[2], kind) for b in BARS)
            met = all(ratios[name] >= bar for name, bar in BARS.items())
            print(
                f"{kind:6} K={n_states:<2} d={WIDTH:<9}{n:9d}{1e3 * taken['ours']:9.1f}"
                f"{1e3 * taken['log']:10.0f}{1e3 * taken['scaling']:10.0f}"
                f"{ratios['log']:7.1f}{ratios['scaling']:7.1f}  {apart:.1e}"
                f"{'' if met else '  below the bar'}",
                flush=True,
            )


def scale(runs):
    print(f"\n{'slope of cost by steps':24}" + "".join(f"{n:>10}" for n in SIZES) + "   slope")
    for kind in ("diag", "full"):
        for n_states in STATES:
            rng = np.random.default_rng(0)
            given = parameters(n_states, kind, rng)
            candidates = {}
            for n in SIZES:
                X, offsets = rng.normal(size=(n, WIDTH)), np.arange(0, n + 1, LENGTH)
                candidates[n] = ours(X, offsets, kind, *given)
            for candidate in candidates.values():
                candidate()
            taken, _ = medians(runs, candidates)
            slope = np.polyfit(np.log(SIZES), np.log([taken[n] for n in SIZES]), 1)[0]
            print(
                f"{kind:6} K={n_states:<2} ms          "
                + "".join(f"{1e3 * taken[n]:10.1f}" for n in SIZES)
                + f"{slope:8.3f}",
                flush=True,
            )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--full-steps", type=int, default=100_000)
    given = parser.parse_args()
    with threadpool_limits(1):
        compare(given.runs, given.steps, given.full_steps)
        scale(given.runs)


if __name__ == "__main__":
    main()
