"""One way to learn kernel weights, run in a process of its own: for bench_mkl.py.

Run: python tests/benchmarks/mkl_candidates.py NAME DATA.npz JSON, in an environment that has what
the way needs. Prints one line of JSON: the seconds of ``"repeats"`` after a run that compiles and
warms, the peak memory of the process, and what the way found. Without repeats it runs once, after
a small run that compiles, for the sake of the memory; ``"only": true`` imports and loads, and runs
nothing: its peak is what the others are measured from.
"""

import json
import resource
import sys
import time

import numpy as np

FEW = 300  # samples of the small run


def kernel_list(blocks):
    from sklearn.metrics.pairwise import rbf_kernel

    return [rbf_kernel(X, gamma=1 / X.shape[1]) for X in blocks]


def mkfusion(**parameters):
    """Return how MKLClassifier learns, with RBF kernels as those of the peers."""
    from mkfusion.kernels import RBF
    from mkfusion.mkl import MKLClassifier

    def learn(blocks, y):
        ends = np.cumsum([0] + [X.shape[1] for X in blocks])
        views = {f"v{m}": list(range(*ends[m : m + 2])) for m in range(len(blocks))}
        kernels = [(f"k{m}", RBF(gamma=1 / X.shape[1]), f"v{m}") for m, X in enumerate(blocks)]
        fusion = MKLClassifier(kernels, views, **parameters).fit(np.hstack(blocks), y)
        return {
            "weights": np.atleast_2d(fusion.kernel_weights_).mean(axis=0).tolist(),
            "solves": int(fusion.n_iter_),
            "gap": float(fusion.duality_gap_ / fusion.objective_),
        }

    return learn


def mklpy(C=None):
    """Return how MKLpy's EasyMKL learns: with an SVC on top, or with KOMD, its default."""
    from MKLpy.algorithms import EasyMKL
    from sklearn.svm import SVC

    def learn(blocks, y):
        machine = {} if C is None else {"learner": SVC(C=C)}
        found = EasyMKL(lam=0.1, **machine).fit(kernel_list(blocks), y).solution
        many = list(found.values()) if isinstance(found, dict) else [found]
        return {"weights": np.mean([each.weights.numpy() for each in many], axis=0).tolist()}

    return learn


def main(name, path, options):
    given = json.loads(options)
    only, repeats = given.pop("only", False), given.pop("repeats", 0)
    learn = {"mkfusion": mkfusion, "mklpy": mklpy}[name](**given)
    with np.load(path) as data:
        y = data["y"]
        blocks = [data[f"X{m}"] for m in range(len(data.files) - 1)]
    found, seconds = {}, []
    if not only:
        few = None if repeats else FEW
        learn([X[:few] for X in blocks], y[:few])
        for _ in range(repeats or 1):
            start = time.perf_counter()
            found = learn(blocks, y)
            seconds.append(time.perf_counter() - start)
    print(json.dumps({"seconds": seconds, "peak": peak(), **found}))


def peak():
    """Return the most bytes that this process took.

    Linux hands ``ru_maxrss`` of the parent on to what it starts; VmHWM is of the process itself.
    """
    try:
        with open("/proc/self/status") as lines:
            return next(1024 * int(line.split()[1]) for line in lines if line[:6] == "VmHWM:")
    except OSError:
        return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main(*sys.argv[1:])
