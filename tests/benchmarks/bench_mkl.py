"""Multiple kernel learning beside what users have today: time, solves, certificates, memory.

Each row of the table of bars is a name of the command line:

  solves   SVM solves to a relative gap of 1e-3, for p = 1 and p >= 4/3
  svm      solve_svm over SVC(kernel="precomputed"), float64, one thread
  loop     MKLClassifier, p = 1, over SimpleMKL on SVC(kernel="precomputed"), both with kernels
  easy     weighting="easy" over EasyMKL of MKLpy 0.6, both with kernels; on top of MKLpy's weights
           either an SVC, as of ours, or KOMD, which it takes when nothing is said
  classes  ten classes, exact p = 1, over EasyMKL of MKLpy 0.6: time and peak memory
  mean     ten classes, exact p = 1 with one theta: how many times one SVC on the mean kernel
  large    20000 samples, memory_budget="2GB"
  many     442 and 793 kernels, to a relative gap of 1e-2

SimpleMKL is implemented here again, from algorithm 1 of Rakotomamonjy, Bach, Canu, Grandvalet
(2008): the authors' is not Python. Its line search is Armijo's rule, which the paper allows and
which takes fewer solves than the golden section of their code, and it stops by the paper's own
duality gap, which trusts SVC to be exact. Its kernels are stored, and summed in place. Beside it
stands what its first solves cost, as many as ours takes: no loop on SVC does with less.

MKLpy runs in an environment of its own, made once in the user's cache, on the same arrays. The
ionosphere and sonar data of that paper are not at hand without a network: data of their sizes are
simulated, with 13 kernels on each feature and on all as in the paper. Peak memory is that of a
new process, less that of one which imports and loads the same.

Candidates take turns after a run that compiles and warms; ratios are of medians, "peer / ours".
Unset OPENBLAS_CORETYPE and OPENBLAS_L2_SIZE, so that BLAS takes its best kernels.

Run: python tests/benchmarks/bench_mkl.py [ROW ...] [--threads 1 2] [--repeats 5]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import venv
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
from bench_smo import medians as smo_medians
from bench_smo import samples
from mkl_candidates import kernel_list, mkfusion
from sklearn.datasets import make_classification
from sklearn.multiclass import OneVsRestClassifier
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from threadpoolctl import threadpool_info, threadpool_limits

from mkfusion.datasets import load_multiple_features
from mkfusion.kernels import RBF, KernelStore, Polynomial
from mkfusion.mkl import MKLClassifier
from mkfusion.solvers import solve_mkl, solve_svm

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "mkfusion-benchmarks"
PEERS = ("MKLpy==0.6", "torch==2.13.0", "cvxopt==1.3.3", "scikit-learn")
COSTS = (0.1, 1, 10, 100)
SIGMAS = (0.5, 1, 2, 5, 7, 10, 12, 15, 17, 20)
MB = 1e6


# Data ---------------------------------------------------------------------------------------


def views(n, n_views=6, d=16, seed=0):
    """Two classes seen by views from strong to pure noise; a twentieth of the labels is wrong."""
    rng = np.random.default_rng(seed)
    y = rng.integers(2, size=n)
    sign = np.where(rng.random(n) < 0.05, 1 - 2 * y, 2 * y - 1)[:, None]
    blocks = []
    for strength in np.linspace(1.0, 0.0, n_views):
        X = rng.normal(size=(n, d))
        X[:, :4] += 0.6 * strength * sign
        X[:, 4:5] += strength * sign * X[:, 5:6]
        blocks.append(X)
    return blocks, y


def digits(n):
    """The six views of the bundled digits, columns standardised."""
    bunch = load_multiple_features()
    drawn = np.random.default_rng(0).permutation(len(bunch.data))[:n]
    blocks = [bunch.data[columns].to_numpy()[drawn] for columns in bunch.modalities.values()]
    return [StandardScaler().fit_transform(X) for X in blocks], bunch.target.to_numpy()[drawn]


# The peers ----------------------------------------------------------------------------------


class SimpleMKL:
    """Algorithm 1 of the paper: the reduced gradient on the simplex, a new SVC for every step."""

    def __init__(self, blocks, y, C):
        self.kernels, self.C = kernel_list(blocks), C
        self.sign = np.where(y == y.max(), 1.0, -1.0)
        self.K, self.scratch = np.empty_like(self.kernels[0]), np.empty_like(self.kernels[0])
        self.solves = 0

    def solve(self, theta):
        """Return the objective and half the quadratic form of every kernel."""
        self.solves += 1
        self.K.fill(0)
        for weight, single in zip(theta, self.kernels, strict=True):
            if weight:
                np.add(self.K, np.multiply(weight, single, out=self.scratch), out=self.K)
        machine = SVC(C=self.C, kernel="precomputed").fit(self.K, self.sign)
        beta, used = machine.dual_coef_[0], np.ix_(machine.support_, machine.support_)
        halves = np.array([0.5 * beta @ single[used] @ beta for single in self.kernels])
        return np.abs(beta).sum() - theta @ halves, halves

    def learn(self, tol=1e-3, most=200):
        """Return the relative gap that is left."""
        theta = np.full(len(self.kernels), 1 / len(self.kernels))
        value, halves = self.solve(theta)
        while halves.max() - theta @ halves > tol * value and self.solves < most:
            theta, value, halves = self.step(theta, value, halves, most)
        return (halves.max() - theta @ halves) / value

    def step(self, theta, value, halves, most):
        """Go down one direction, with a weight after another at 0 as long as that descends."""
        largest = theta.argmax()
        direction = halves - halves[largest]  # minus the reduced gradient
        direction[(theta == 0) & (direction < 0)] = 0
        direction[largest] = -direction.sum()
        while True:
            lengths = np.full(len(theta), np.inf)
            np.divide(-theta, direction, out=lengths, where=direction < 0)
            first = lengths.argmin()
            end = on_simplex(theta + lengths[first] * direction)
            there, forms = self.solve(end)
            if there >= value:
                break
            theta, value, halves = end, there, forms
            direction[largest] += direction[first]
            direction[first] = 0
            if halves @ direction <= 0 or not (direction < 0).any():
                return theta, value, halves
        length = lengths[first]
        while self.solves < most:  # Armijo's rule
            length /= 2
            near = on_simplex(theta + length * direction)
            there, forms = self.solve(near)
            if there <= value - 1e-4 * length * (halves @ direction):
                return near, there, forms
        return theta, value, halves


def on_simplex(theta):
    """Undo what rounding did to weights."""
    theta = np.where(theta > 1e-12, theta, 0.0)
    return theta / theta.sum()


def simple_mkl(blocks, y, C):
    search = SimpleMKL(blocks, y, C)
    return search.learn(), search.solves


def few_solves(blocks, y, C, solves):
    """Do what a loop on SVC does at least that takes as many solves as ours."""
    search = SimpleMKL(blocks, y, C)
    for _ in range(solves):
        search.solve(np.full(len(blocks), 1 / len(blocks)))


def peers_python():
    """Return the Python of the environment with MKLpy, which is made when it is not there."""
    folder = CACHE / "mklpy"
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        print(f"installing {', '.join(PEERS)}", flush=True)
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "-qqq", *PEERS], check=True)
        (folder / "complete").touch()
    return python


def in_process(python, name, path, threads=1, **options):
    """Run a candidate in a process of its own."""
    script = Path(__file__).with_name("mkl_candidates.py")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OPENBLAS_")}
    for library in ("OMP", "OPENBLAS", "MKL"):
        environment[f"{library}_NUM_THREADS"] = str(threads)
    done = subprocess.run(
        [python, "-W", "ignore", script, name, path, json.dumps(options)],
        env=environment, stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


def saved(blocks, y, folder):
    path = Path(folder) / "data.npz"
    np.savez(path, y=y, **{f"X{m}": X for m, X in enumerate(blocks)})
    return path


# The rows -----------------------------------------------------------------------------------


def interleaved(candidates, repeats):
    """Return the median seconds of each candidate and what it returned last."""
    taken, found = [[] for _ in candidates], [None] * len(candidates)
    for _ in range(repeats):
        for c, work in enumerate(candidates):
            time.sleep(0.05)
            start = time.perf_counter()
            found[c] = work()
            taken[c].append(time.perf_counter() - start)
    return [float(np.median(seconds)) for seconds in taken], found


def row(name, ours, peer, bar, note=""):
    ratio = peer / ours
    met = "met" if ratio >= bar else "MISSED"
    print(f"{name:44}{ours:9.3f}{peer:9.3f}{ratio:8.1f}{bar:7} {met:7} {note}", flush=True)


def named(threads):
    return f"{threads} thread{'s'[: threads - 1]}"


def title(peer):
    print(f"\n{'':44}{'ours s':>9}{'peer s':>9}{'ratio':>8}{'bar':>7}         peer: {peer}")


def bench_solves(given):
    print(f"\nSVM solves to a gap of 1e-3{'':17}{'p=1':>6}{'4/3':>6}{'2':>6}{'4':>6}{'inf':>6}")
    problems = [(f"binary, n=1000, M={M}", *views(1000, M, 8)) for M in (2, 6, 12, 20)]
    problems += [("digits, n=1000, M=6", *digits(1000))]
    most = [0, 0]
    for name, blocks, y in problems:
        kernels = [RBF(gamma=1 / X.shape[1]) for X in blocks]
        store = KernelStore(kernels, blocks)
        classes = np.unique(y)[1:] if len(np.unique(y)) == 2 else np.unique(y)
        Y = np.where(y == classes[:, None], 1.0, -1.0)
        for C in COSTS:
            found = [solve_mkl(store, Y, C, norm=p) for p in (1, 4 / 3, 2, 4, np.inf)]
            assert all(solution.converged for solution in found)
            counts = [solution.n_solves for solution in found]
            most = [max(most[0], counts[0]), max(most[1], *counts[1:])]
            print(f"{f'{name}, C={C}':44}" + "".join(f"{count:6}" for count in counts))
    print(f"most: {most[0]} for p = 1 (bar 8), {most[1]} for p >= 4/3 (bar 12)")
    counts = []
    for M, seed in product((2, 6, 12, 20), range(12)):
        blocks, y = views(500, M, 8, seed)
        store = KernelStore([RBF(gamma=1 / X.shape[1]) for X in blocks], blocks)
        counts += [solve_mkl(store, np.where(y == 1, 1.0, -1.0), C).n_solves for C in COSTS]
    share = np.mean(np.array(counts) <= 8)
    print(f"p = 1, {len(counts)} drawn problems, n=500: {share:.1%} take at most 8; {max(counts)}")


def bench_svm(given):
    title("SVC(precomputed)")
    bars = {(2000, 1): 3.5, (2000, 10): 2.7, (5000, 1): 2.5, (5000, 10): 2.5}
    for (n, C), bar in bars.items():
        K, y, _ = samples(n)
        with threadpool_limits(1):
            ours, peer = smo_medians(
                partial(solve_svm, K, y, C),
                partial(SVC(C=C, kernel="precomputed").fit, K, y),
            )
        row(f"solve_svm, n={n}, C={C}", ours, peer, bar)


def bench_loop(given):
    title("SimpleMKL on SVC(precomputed)")
    for threads in given.threads:
        for n, bar in {2000: (4, 6), 5000: (6, 8)}.items():
            blocks, y = views(n)
            for C in (1, 10):
                learn = mkfusion(C=C, n_jobs=threads)
                solves = learn(blocks, y)["solves"]
                with threadpool_limits(threads):
                    (ours, peer, few), (own, other, _) = interleaved(
                        [
                            partial(learn, blocks, y),
                            partial(simple_mkl, blocks, y, C),
                            partial(few_solves, blocks, y, C, solves),
                        ],
                        given.repeats,
                    )
                note = f"solves {solves} and {other[1]}, gaps {own['gap']:.0e} and {other[0]:.0e}"
                note += f"; {few / ours:.1f} if the peer needed {solves} too"
                row(
                    f"exact p=1, n={n}, C={C}, {named(threads)}",
                    ours,
                    peer,
                    bar[threads > 1],
                    note,
                )


def bench_easy(given):
    python = peers_python()
    title("MKLpy's EasyMKL, in its own environment")
    for threads in given.threads:
        for n, bar in {2000: 7, 4000: 10}.items():
            with tempfile.TemporaryDirectory() as folder:
                path = saved(*views(n), folder)
                own, other = turns(
                    (sys.executable, "mkfusion", {"weighting": "easy", "n_jobs": threads}),
                    (python, "mklpy", {"C": 1.0}), path, threads, given.repeats,
                )  # fmt: skip
                default = in_process(python, "mklpy", path, threads)["seconds"][0]
            off = np.abs(np.subtract(own["weights"], other["weights"])).max()
            name = f'"easy", n={n}, {named(threads)}'
            row(f"{name}, SVC", own["median"], other["median"], bar, f"weights within {off:.0e}")
            row(f"{name}, its default KOMD", own["median"], default, bar, "one run")


def turns(ours, peer, path, threads, repeats):
    """Run two candidates in turn, in new processes; return what they found, and median seconds."""
    runs = [[], []]
    for _ in range(2):
        for found, (python, name, options) in zip(runs, (ours, peer), strict=True):
            found.append(in_process(python, name, path, threads, repeats=repeats, **options))
    for found in runs:
        found[-1]["median"] = float(np.median([each["seconds"] for each in found]))
    return runs[0][-1], runs[1][-1]


def peak(python, name, options, path, threads):
    """Return the bytes that a candidate takes above its imports and the data."""
    alone = in_process(python, name, path, threads, only=True, **options)
    run = in_process(python, name, path, threads, **options)
    return run["peak"] - alone["peak"], run


def bench_classes(given):
    python = peers_python()
    title("MKLpy's EasyMKL and SVC, in its own environment")
    with tempfile.TemporaryDirectory() as folder:
        path = saved(*digits(1800), folder)
        for threads in given.threads:
            ours = (sys.executable, "mkfusion", {"n_jobs": threads})
            peer = (python, "mklpy", {"C": 1.0})
            own, other = turns(ours, peer, path, threads, given.repeats)
            name = f"ten classes, n=1800, {named(threads)}"
            row(name, own["median"], other["median"], 4, f"solves {own['solves']}")
            (small, _), (large, _) = (peak(*how, path, threads) for how in (ours, peer))
            met = "met" if large >= 8 * small else "MISSED"
            print(
                f"{'   peak above imports and data, MB':44}{small / MB:9.1f}"
                f"{large / MB:9.1f}{large / small:8.1f}{8:7} {met}"
            )


def bench_mean(given):
    blocks, y = digits(1800)
    print(f"\n{'ten classes, n=1800: seconds':44}{'C=1':>9}{'C=10':>9}{'C=100':>9}")
    found = []
    for C in (1, 10, 100):
        learn, K = mkfusion(C=C, n_jobs=1), np.mean(kernel_list(blocks), axis=0)
        each_other = SVC(C=C, kernel="precomputed")
        rest = OneVsRestClassifier(SVC(C=C, kernel="precomputed"))
        learn(blocks, y)
        with threadpool_limits(1):
            found.append(
                interleaved(
                    [
                        partial(learn, blocks, y),
                        lambda: np.mean(kernel_list(blocks), axis=0),
                        partial(each_other.fit, K, y),
                        partial(rest.fit, K, y),
                    ],
                    given.repeats,
                )[0]
            )
    ours, kernels, ovo, ovr = np.array(found).T
    lines = {
        "ours: kernels, weights, machines": ours,
        "the mean kernel": kernels,
        "one SVC on it (each pair)": ovo,
        "one SVC on it (each against the rest)": ovr,
        "times the kernel and one SVC (pairs), bar 8": ours / (kernels + ovo),
        "times one SVC (pairs) alone": ours / ovo,
        "times one SVC (rest) alone": ours / ovr,
    }
    for name, values in lines.items():
        print(f"{name:44}" + "".join(f"{value:9.3f}" for value in values))


def bench_large(given):
    n = 20_000
    blocks, y = views(n)
    print(f"\nn={n}, M=6, memory_budget='2GB'{'':14}{'s':>9}{'solves':>9}{'gap':>9}{'peak MB':>9}")
    with tempfile.TemporaryDirectory() as folder:
        path = saved(blocks, y, folder)
        for C in (1, 10):
            options = {"memory_budget": "2GB", "C": C, "n_jobs": max(given.threads)}
            size, run = peak(sys.executable, "mkfusion", options, path, max(given.threads))
            size /= MB
            met = "met" if size <= 2000 and run["gap"] <= 1e-3 else "MISSED"
            print(
                f"{f'C={C}, {max(given.threads)} threads':44}{run['seconds'][0]:9.1f}"
                f"{run['solves']:9}{run['gap']:9.1e}{size:9.0f} {met} (bar 2000)", flush=True
            )  # fmt: skip


def bench_many(given):
    print(f"\nto a gap of 1e-2{'':28}{'s':>9}{'solves':>9}{'gap':>9}{'active':>9}")
    sizes = {"ionosphere's size": (351, 33), "sonar's size": (208, 60)}
    for name, (n, d) in sizes.items():
        X, y = make_classification(
            n, d, n_informative=d // 4, n_redundant=d // 4, flip_y=0.05, random_state=0
        )
        X = StandardScaler().fit_transform(X)
        modalities = {"all": list(range(d)), **{f"x{j}": [j] for j in range(d)}}
        bank = {"rbf": RBF(gamma=[1 / (2 * s**2) for s in SIGMAS])}
        bank |= {f"poly{k}": Polynomial(degree=k, gamma=1.0, coef0=1.0) for k in (1, 2, 3)}
        kernels = [
            (f"{modality}_{kind}", kernel, modality)
            for modality in modalities
            for kind, kernel in bank.items()
        ]
        for C in (1, 10, 100):
            fusion = MKLClassifier(kernels, modalities, C=C, tol=1e-2, allow_overlap=True)
            with threadpool_limits(1):
                (seconds,), _ = interleaved([partial(fusion.fit, X, y)], 3)
            gap = fusion.duality_gap_ / fusion.objective_
            M, active = len(fusion.kernel_weights_), np.count_nonzero(fusion.kernel_weights_)
            met = "met" if fusion.n_iter_ <= 60 and gap <= 1e-2 else "MISSED"
            print(
                f"{f'{name}, n={n}, M={M}, C={C}':44}{seconds:9.2f}{fusion.n_iter_:9}{gap:9.1e}"
                f"{active:9} {met} (bar 60)", flush=True
            )  # fmt: skip


ROWS = {name[6:]: function for name, function in globals().items() if name.startswith("bench_")}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", nargs="*", choices=[[], *ROWS], default=[])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    cores = {lib.get("architecture") for lib in threadpool_info() if lib["user_api"] == "blas"}
    print(f"BLAS core type {cores}, {os.cpu_count()} processors")
    for name in given.rows or ROWS:
        ROWS[name](given)


if __name__ == "__main__":
    main()
