"""Linear multiple kernel learning on many rows: time, memory, peers, accuracy, the cost model.

Each part is a name of the command line, and prints a table in markdown:

  size       LinearMKLClassifier on a memory-mapped file of 10^4 to 10^6 rows, one and two workers,
             and on two processes of Dask: seconds, passes, peak memory, slope of time against rows
  peers      LogisticRegression(lbfgs) of scikit-learn on the same columns; Nystroem by modality
             and SGDClassifier
  accuracy   exact MKL, Nystroem features of ranks 50 to 800, Fourier features; --figure draws it
  constants  seconds per number and pass, bytes per second and seconds per task of a LocalCluster;
             and what the cost model makes of them for 10^9 rows

The rows have a known truth: four modalities of 256 features, and y drawn from the logistic
function of a linear one in which they have the strengths 1, .7, .4 and 0. The design is white, or
correlated: the features of a modality are mixed so that the standard deviations of their principal
directions fall from 1 to .01. The rows of `accuracy` have modalities of 8 features instead, and
the sum of a function of each, made of cosines.

Every fit of `size` is a new process. Its peak is of private memory (RssAnon of /proc/self/status,
each 5 ms, so on Linux only) less what imports and a small fit take; beside it stands the peak of
resident memory, in which pages of the file count that the system may take away. The file is in the
system's cache, where it fits there; `constants` also reads it from the disk. Candidates take
turns, and what is printed are medians. A pass looks at every row once: n_iter_ of them for a
machine, and one that surveys the rows. Second derivatives are of some thousand rows, mostly, and
count as none.

Run: python tests/benchmarks/bench_scale.py [PART ...] [--quick] [--figure]
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from contextlib import contextmanager, nullcontext
from datetime import date
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.special import expit
from sklearn.compose import ColumnTransformer
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from mkfusion._blocks import open_blocks
from mkfusion.datasets import load_multiple_features
from mkfusion.kernels import RBF
from mkfusion.mkl import (
    LinearMKLClassifier,
    MKLClassifier,
    ModalityFourierFeatures,
    ModalityNystroem,
)
from mkfusion.solvers import solve_linear_mkl

STRENGTHS = {"strong": 1.0, "middle": 0.7, "weak": 0.4, "noise": 0.0}
WIDTH = 256  # features of a modality
WIDE = WIDTH * len(STRENGTHS)
SIGNAL = 3.0  # the standard deviation of what the strong modality adds to the log-odds
FALL = 2.0  # decades, of the standard deviations of a correlated design
CHUNK = 4096  # rows that are drawn at a time
N_TEST = 20_000
TOL = 1e-3  # the relative gap that all fits are asked for
MOST_SLOPE, MOST_PEAK, MOST_RATIO = 1.05, 1500, 2.0  # the bars; MB
FIGURE = Path(__file__).resolve().parents[2] / "docs" / "images" / "scaling.png"
MB, GB = 1e6, 1e9


# Rows with a known truth --------------------------------------------------------------------


class Truth(NamedTuple):
    mixing: list  # by modality, None where the design is white
    coef: list


def truth(design):
    """Return what the rows are drawn from."""
    rng = np.random.default_rng(8)
    mixing, coef = [], []
    for strength in STRENGTHS.values():
        directions = np.linalg.qr(rng.normal(size=(WIDTH, WIDTH)))[0]
        mix = np.logspace(0, -FALL, WIDTH)[:, None] * directions
        mix = None if design == "white" else mix * np.sqrt(WIDTH / np.square(mix).sum())
        w = rng.normal(size=WIDTH)
        spread = np.linalg.norm(w if mix is None else mix @ w)
        mixing.append(mix)
        coef.append(SIGNAL * strength / spread * w)
    return Truth(mixing, coef)


def chunks(n, design, part=0):
    """Yield rows, labels and the chance of the second label, chunk by chunk."""
    known = truth(design)
    for number, first in enumerate(range(0, n, CHUNK)):
        rng = np.random.default_rng([part, number])
        X = rng.standard_normal((min(CHUNK, n - first), WIDE))
        odds = np.zeros(len(X))
        for m, (mix, w) in enumerate(zip(*known, strict=True)):
            own = X[:, m * WIDTH : (m + 1) * WIDTH]
            if mix is not None:
                own[:] = own @ mix
            odds += own @ w
        chance = expit(odds)
        yield X, (rng.random(len(X)) < chance).astype(np.int8), chance


def drawn(n, design, part=0):
    """Return rows, labels and the accuracy of who knows the truth."""
    X, y, chance = (np.concatenate(own) for own in zip(*chunks(n, design, part), strict=True))
    return X, y, float(np.maximum(chance, 1 - chance).mean())


def write(folder, n, design, dtype):
    """Write rows chunk by chunk into files that are then mapped, and return that of X."""
    path = Path(folder) / f"rows-{n}-{design}.npy"
    X = np.lib.format.open_memmap(path, "w+", np.dtype(dtype), (n, WIDE))
    y = np.empty(n, np.int8)
    for number, (rows, labels, _) in enumerate(chunks(n, design)):
        own = slice(number * CHUNK, number * CHUNK + len(rows))
        X[own], y[own] = rows, labels
    X.flush()
    np.save(path.with_suffix(".y.npy"), y)
    return path


def modalities(width=WIDTH):
    return {name: list(range(m * width, (m + 1) * width)) for m, name in enumerate(STRENGTHS)}


def bent(n, seed):
    """Return rows with a truth that is not linear, their labels, and the best accuracy."""
    width, waves = 8, 20
    known = np.random.default_rng(9)
    rng = np.random.default_rng([1, seed])
    X, odds = rng.normal(size=(n, width * len(STRENGTHS))), np.zeros(n)
    for own, strength in zip(np.split(X, len(STRENGTHS), axis=1), STRENGTHS.values(), strict=True):
        w, phase = known.normal(size=(width, waves)) / 2, known.uniform(0, 2 * np.pi, waves)
        odds += 2 * SIGNAL * strength * np.sqrt(2 / waves) * np.cos(own @ w + phase).sum(axis=1)
    chance = expit(odds)
    y = (rng.random(n) < chance).astype(int)
    return X, y, float(np.maximum(chance, 1 - chance).mean())


# Tools --------------------------------------------------------------------------------------


def seconds(call):
    start = time.perf_counter()
    found = call()
    return time.perf_counter() - start, found


def in_turns(calls, repeats):
    """Return the median seconds of each call, those of its processor, and what it returned."""
    times, busy = ({name: [] for name in calls} for _ in range(2))
    found = {}
    for _ in range(repeats):
        for name, call in calls.items():
            start = time.process_time()
            spent, found[name] = seconds(call)
            times[name].append(spent)
            busy[name].append(time.process_time() - start)
            if spent > 10:
                print(f"{name}: {spent:.1f} s", file=sys.stderr)
    medians = (
        {name: statistics.median(own) for name, own in kind.items()} for kind in (times, busy)
    )
    return *medians, found


def table(title, columns, rows):
    print(f"\n{title}\n\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for row in rows:
        print(f"| {' | '.join(map(str, row))} |")
    load = os.getloadavg()[0]
    print(
        f"\nLoad of the machine at the end: {load:.1f} on {os.cpu_count()} processors.", flush=True
    )


def bar(what, value, most):
    print(f"{what}: {value:.2f}, at most {most}: {'held' if value <= most else 'MISSED'}")


def status(key):
    """Return bytes of a line of /proc/self/status."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    raise SystemExit(f"/proc/self/status has no {key}; memory is measured on Linux only")


class Watch:
    """The peaks of a process' private and resident memory above what they were."""

    def __init__(self):
        self.before = self.private, self.resident = status("RssAnon"), status("VmRSS")
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.look, daemon=True)
        self.thread.start()

    def look(self):
        while not self.over.wait(0.005):
            self.private = max(self.private, status("RssAnon"))
            self.resident = max(self.resident, status("VmRSS"))

    def stop(self):
        self.over.set()
        self.thread.join()
        return self.private - self.before[0], self.resident - self.before[1]


def enough_room(folder, n, dtype):
    """Tell whether the rows fit on the disk, and say so if not."""
    size, free = n * WIDE * np.dtype(dtype).itemsize, shutil.disk_usage(folder).free
    if size > 0.9 * free:
        print(f"{n} rows take {size / GB:.1f} GB; {folder} has {free / GB:.1f} GB: left out")
    return size <= 0.9 * free


# Time and memory against rows ---------------------------------------------------------------


@contextmanager
def cluster():
    """Two worker processes of Dask, and their client."""
    from dask.distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=":0", memory_limit=0,
            silence_logs=50,
        ) as workers,
        Client(workers) as client,
    ):  # fmt: skip
        yield client


def mapped_rows(path, first, stop):
    return np.load(path, mmap_mode="r")[first:stop]


def dask_rows(path, shape, dtype, rows):
    """A Dask array whose partitions are mapped by the workers, anew in every pass."""
    import dask.array as da
    from dask import delayed

    cuts = [*range(0, shape[0], rows), shape[0]]
    return da.concatenate(
        [
            da.from_delayed(
                delayed(mapped_rows)(path, first, stop), (stop - first, shape[1]), dtype
            )
            for first, stop in pairwise(cuts)
        ]
    )


def start_watch(dask_worker):
    dask_worker.watch = Watch()


def stop_watch(dask_worker):
    return dask_worker.watch.stop()


def one_fit(path, n_jobs, design):
    """Fit in this process, and return what is measured; n_jobs of 0 means two Dask workers."""
    X, y = np.load(path, mmap_mode="r"), np.load(Path(path).with_suffix(".y.npy"))
    model = LinearMKLClassifier(modalities(), n_jobs=n_jobs or None)
    warm, labels, _ = drawn(200, design)
    with cluster() if n_jobs == 0 else nullcontext() as client, threadpool_limits(n_jobs or 1):
        if client:
            X = dask_rows(path, X.shape, X.dtype, 8192)
            model.fit(dask_rows(path, (4096, WIDE), X.dtype, 1024), y[:4096])
            client.run(start_watch)
        else:
            model.fit(warm, labels)
        watch = Watch()
        spent, model = seconds(partial(model.fit, X, y))
        peaks = [watch.stop(), *(client.run(stop_watch).values() if client else ())]
    test, answers, best = drawn(N_TEST, design, 1)
    return {
        "seconds": spent,
        "passes": model.n_iter_ + 1,
        "grams": model.solution_.n_grams,
        "private": [own[0] / MB for own in peaks],
        "resident": [own[1] / MB for own in peaks],
        "gap": model.duality_gap_ / model.objective_,
        "accuracy": model.score(test, answers),
        "best": best,
        "weights": list(model.modality_weights_.values()),
    }


def new_process(path, n_jobs, design):
    told = json.dumps({"path": str(path), "n_jobs": n_jobs, "design": design})
    done = subprocess.run(
        [sys.executable, __file__, "--child", told], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    found = json.loads(done.stdout.splitlines()[-1])
    print(f"{Path(path).stem}, {WORKERS[n_jobs]}: {found}", file=sys.stderr)
    return found


WORKERS = {1: "1", 2: "2 threads", 0: "2 Dask processes"}


def part_size(args):
    rows, medians = [], {}
    for n in args.rows:
        ways = [1, 2, 0] if n == args.dask_rows else [1, 2]
        with tempfile.TemporaryDirectory() as folder:
            if not enough_room(folder, n, args.dtype):
                continue
            path = write(folder, n, args.design, args.dtype)
            calls = {way: partial(new_process, path, way, args.design) for way in ways}
            runs = [{way: call() for way, call in calls.items()} for _ in range(args.repeats)]
        for way in ways:
            own = [run[way] for run in runs]
            spent = statistics.median(run["seconds"] for run in own)
            peak = [max(run[kind][0] for run in own) for kind in ("private", "resident")]
            found = own[0]
            peaks = [f"{each:.0f}" for each in peak]
            if way == 0:
                peaks[0] += f"; workers {max(max(run['private'][1:]) for run in own):.0f}"
            medians[way, n] = spent, spent / found["passes"], peak[0]
            rows.append(
                [
                    n, WORKERS[way], found["passes"], f"{found['gap']:.0e}", f"{spent:.2f}",
                    f"{1000 * spent / found['passes']:.0f}", *peaks,
                    f"{found['accuracy']:.4f} ({found['best']:.4f})",
                    " / ".join(f"{weight:.2f}" for weight in found["weights"]),
                ]
            )  # fmt: skip
    table(
        f"Fits of {WIDE} {args.design} features in a mapped file of {args.dtype}",
        ["rows", "workers", "passes", "gap", "seconds", "ms per pass", "peak MB, private",
         "peak MB, resident", "accuracy (of the truth)", "weights"],
        rows,
    )  # fmt: skip
    print("Slopes of log time against log rows, of the whole fit and of a pass:")
    for way in (1, 2):
        sizes = [n for own, n in medians if own == way]
        if len(sizes) > 1:
            slopes = [
                np.polyfit(np.log(sizes), np.log([medians[way, n][k] for n in sizes]), 1)[0]
                for k in (0, 1)
            ]
            last = [
                np.log(medians[way, sizes[-1]][k] / medians[way, sizes[-2]][k])
                / np.log(sizes[-1] / sizes[-2])
                for k in (0, 1)
            ]
            print(
                f"{WORKERS[way]}: {slopes[0]:.2f} and {slopes[1]:.2f}; from {sizes[-2]} rows to "
                f"{sizes[-1]} {last[0]:.2f} and {last[1]:.2f}"
            )
            bar("slope of the whole fit", slopes[0], MOST_SLOPE)
            bar(f"peak of private memory at {sizes[-1]} rows, MB", medians[way, sizes[-1]][2],
                MOST_PEAK)  # fmt: skip


# Peers --------------------------------------------------------------------------------------


def own_objective(model, X, y, C):
    """Return what LogisticRegression minimises."""
    margins = (2.0 * y - 1) * (X @ model.coef_[0] + model.intercept_[0])
    return 0.5 * np.sum(model.coef_**2) + C * np.logaddexp(0, -margins).sum()


def beside_logistic(args, design):
    X, y, _ = drawn(args.n, design)
    test, answers, best = drawn(N_TEST, design, 1)
    ours = LinearMKLClassifier(modalities(), C=args.C, normalize=None)
    theirs = LogisticRegression(C=args.C, max_iter=5000)
    calls = {"ours": partial(ours.fit, X, y), "theirs": partial(theirs.fit, X, y)}
    with threadpool_limits(1):
        spent, busy, _ = in_turns(calls, args.repeats)
        exact = LogisticRegression(C=args.C, solver="newton-cholesky", tol=1e-8).fit(X, y)
    least = own_objective(exact, X, y, args.C)
    excess = own_objective(theirs, X, y, args.C) / least - 1
    ratios = [own["ours"] / own["theirs"] for own in (spent, busy)]
    rows = [
        [
            design, "LinearMKLClassifier", f"{spent['ours']:.2f}", f"{busy['ours']:.2f}",
            *(f"{ratio:.2f}" for ratio in ratios),
            f"{ours.n_iter_ + 1} passes", f"at most {ours.duality_gap_ / ours.objective_:.0e}",
            f"{ours.score(test, answers):.4f}",
        ],
        [
            design, "LogisticRegression", f"{spent['theirs']:.2f}", f"{busy['theirs']:.2f}",
            "1", "1",
            f"{theirs.n_iter_[0]} iterations", f"{excess:.0e}",
            f"{theirs.score(test, answers):.4f}",
        ],
        [design, "the truth", *[""] * 6, f"{best:.4f}"],
    ]  # fmt: skip
    return rows, ratios


def beside_sgd(args):
    n, rank, C = args.n, args.rank, 1.0
    (X, y, _), (test, answers, best) = bent(n, 0), bent(N_TEST, 1)
    blocks = modalities(8)
    features = ModalityNystroem(kernel=RBF("scale"), n_components=rank, random_state=0)
    made_once = make_pipeline(
        features.set_params(modalities=blocks),
        LinearMKLClassifier(
            {name: list(range(m * rank, (m + 1) * rank)) for m, name in enumerate(blocks)}, C=C
        ),
    )
    theirs = make_pipeline(
        ColumnTransformer(
            [
                (name, Nystroem(gamma=1 / 8, n_components=rank, random_state=0), columns)
                for name, columns in blocks.items()
            ]
        ),
        SGDClassifier(loss="log_loss", alpha=1 / (C * n), random_state=0),
    )
    models = {
        "LinearMKLClassifier(features=ModalityNystroem)": LinearMKLClassifier(
            blocks, features=features, C=C
        ),
        "ModalityNystroem, LinearMKLClassifier": made_once,
        "Nystroem by modality, SGDClassifier": theirs,
    }
    calls = {name: partial(model.fit, X, y) for name, model in models.items()}
    with threadpool_limits(1):
        spent, busy, _ = in_turns(calls, args.repeats)
    rows = [
        [name, f"{spent[name]:.1f}", f"{busy[name]:.1f}", f"{model.score(test, answers):.4f}"]
        for name, model in models.items()
    ]
    return [*rows, ["the truth", "", "", f"{best:.4f}"]]


def part_peers(args):
    rows, ratios = [], {}
    for design in ("white", "correlated"):
        own, ratios[design] = beside_logistic(args, design)
        rows += own
    table(
        f"{args.n} rows of {WIDE} features, C = {args.C:g}, one thread",
        ["design", "model", "seconds", "of the processor", "ratio", "of the processor's", "",
         "above its own optimum, relative",
         "accuracy"],
        rows,
    )  # fmt: skip
    for design, both in ratios.items():
        bar(f"seconds over LogisticRegression's, {design}", both[0], MOST_RATIO)
        bar(f"the same of the processor, {design}", both[1], MOST_RATIO)
    table(
        f"{args.n} rows of four modalities of 8 features, {args.rank} Nystroem features each",
        ["model", "seconds", "of the processor", "accuracy"],
        beside_sgd(args),
    )


# Accuracy against cost ----------------------------------------------------------------------


def digits(seed):
    bunch = load_multiple_features()
    X, y = bunch.data, bunch.target.to_numpy()
    train, test, y_train, y_test = train_test_split(
        X, y, train_size=0.5, stratify=y, random_state=seed
    )
    scaler = StandardScaler().set_output(transform="pandas").fit(train)
    return scaler.transform(train), y_train, scaler.transform(test), y_test, None


def waves(n, seed):
    (X, y, _), (test, answers, best) = bent(n, 2 * seed), bent(N_TEST, 2 * seed + 1)
    return X, y, test, answers, best


def candidates(ranks, blocks, C):
    kernel = RBF("scale")
    linear = partial(LinearMKLClassifier, blocks, loss="squared_hinge", C=C)
    yield "exact", 0, MKLClassifier(modalities=blocks, kernel=kernel, C=C, memory_budget="4GB")
    for name, kind in (("Nystroem", ModalityNystroem), ("Fourier", ModalityFourierFeatures)):
        for rank in ranks:
            yield (
                name,
                rank,
                linear(features=kind(kernel=kernel, n_components=rank, random_state=0)),
            )


def measured(task, data, candidate, kept):
    """Return seconds, accuracy and relative gap of a fit, of which FILE of --keep may tell."""
    name, rank, model = candidate
    X, y, test, answers, _ = data
    key = f"{task}, {name} {rank}"
    known = json.loads(kept.read_text()) if kept and kept.exists() else {}
    if key not in known:
        with threadpool_limits(1):
            spent, _ = seconds(partial(model.fit, X, y))
        gap = model.duality_gap_ / model.objective_
        known[key] = spent, model.score(test, answers), gap
        print(f"{key}: {spent:.1f} s, gap {gap:.0e}", file=sys.stderr)
        if kept:
            kept.write_text(json.dumps(known))
    return known[key]


def part_accuracy(args):
    tasks = {
        "digits, 1000 rows": (digits(0), None),
        f"synthetic, {args.accuracy_rows} rows": (waves(args.accuracy_rows, 0), modalities(8)),
    }
    found = {}
    for task, (data, blocks) in tasks.items():
        warm = np.linspace(0, len(data[1]) - 1, 200).astype(int)  # loops are compiled, or found
        rows = data[0].iloc[warm] if blocks is None else data[0][warm]
        MKLClassifier(modalities=blocks, kernel=RBF("scale")).fit(rows, data[1][warm])
        own = {
            each[:2]: measured(task, data, each, args.keep)
            for each in candidates(args.ranks, blocks, args.accuracy_C)
        }
        found[task] = own, data[-1]
    rows = []
    for name, rank in next(iter(found.values()))[0]:
        rows.append([name, rank or ""])
        for own, _ in found.values():
            spent, accuracy, gap = own[name, rank]
            rows[-1] += [f"{spent:.1f}", f"{accuracy:.4f}", f"{gap:.0e}"]
    ends = ((f"{best:.4f}" if best else "") for _, best in found.values())
    rows.append(["the truth", "", *(cell for end in ends for cell in ("", end, ""))])
    table(
        f"RBF kernels, C = {args.accuracy_C:g}, one thread, one run each",
        ["model", "features of a modality"]
        + [f"{task}: {what}" for task in found for what in ("seconds", "accuracy", "gap")],
        rows,
    )
    if args.figure:
        draw(found, args.figure)


def draw(found, path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    styles = {
        "Nystroem": {"color": "0.0", "marker": "o", "linestyle": "-"},
        "Fourier": {"color": "0.45", "marker": "s", "linestyle": "--"},
    }
    figure, axes = plt.subplots(1, len(found), figsize=(9, 3.8), layout="constrained")
    for ax, (task, (own, best)) in zip(axes, found.items(), strict=True):
        for name, style in styles.items():
            points = [
                (*each[:2], rank)
                for (kind, rank), each in own.items()
                if kind == name and not each[2] > TOL  # what has not converged says nothing
            ]
            ax.plot([p[0] for p in points], [p[1] for p in points], label=name, **style)
            for x, y, rank in points:
                below = name == "Fourier"
                ax.annotate(
                    str(rank), (x, y), xytext=(0, -12 if below else 6), fontsize=8, ha="center",
                    textcoords="offset points", color=style["color"],
                )  # fmt: skip
        ax.plot(*own["exact", 0][:2], "k*", markersize=13, label="exact", linestyle="")
        if best:
            ax.axhline(best, color="0.6", linestyle=":", label="the truth")
        ax.set(xscale="log", xlabel="seconds of the fit, one thread", title=task)
        ax.margins(x=0.08, y=0.12)
        ax.spines[["top", "right"]].set_visible(False)
        ax.xaxis.set_major_formatter("{x:g}")
        ax.xaxis.set_minor_formatter("")
    axes[0].set_ylabel("accuracy")
    handles, names = axes[-1].get_legend_handles_labels()
    figure.legend(handles, names, frameon=False, loc="outside lower center", ncols=len(names))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    print(f"\n{path} drawn")


# The cost model -----------------------------------------------------------------------------


class Timed:
    """Rows that count the seconds of what they are asked."""

    def __init__(self, rows):
        self.rows, self.loss, self.places = rows, rows.loss, rows.places
        self.spent, self.passes = 0.0, 0

    def ask(self, call, *args):
        spent, found = seconds(partial(call, *args))
        self.spent += spent
        return found

    def moments(self):
        return self.rows.moments()

    def terms(self, W, b):
        self.passes += 1
        return self.ask(self.rows.terms, W, b)

    def grams(self, *args):
        return self.ask(self.rows.grams, *args)


def out_of_cache(path):
    """Ask the system to forget the pages of a file."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def on_one_machine(args):
    """Return seconds per number and pass by where the numbers are, and of what is not passes."""
    n, W, b = args.n, np.full((WIDE, 1), 1e-3), np.zeros(1)
    found = {}
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(1):
        paths = {
            kind: write(Path(tempfile.mkdtemp(dir=folder)), n, "correlated", kind)
            for kind in ("float64", "float32")
        }
        y = np.load(paths["float64"].with_suffix(".y.npy"))
        for kind, path in paths.items():
            mapped = np.load(path, mmap_mode="r")
            for where, X in (("in memory", np.array(mapped)), ("mapped", mapped)):
                for n_jobs in (1, 2):
                    rows = LinearMKLClassifier(modalities(), n_jobs=n_jobs)._open(X, y, None).rows
                    rows.terms(W, b)
                    calls = {"": partial(rows.terms, W, b)}
                    key = f"{kind}, {where}, {n_jobs} worker{'s' * (n_jobs > 1)}"
                    found[key] = in_turns(calls, args.repeats)[0][""] / (n * WIDE)
            times = []
            for _ in range(args.repeats):
                out_of_cache(path)
                times.append(seconds(partial(rows.terms, W, b))[0])
            found[f"{kind}, from the disk, 2 workers"] = statistics.median(times) / (n * WIDE)
        X = np.load(paths["float64"])
        rows = LinearMKLClassifier(modalities())._open(X, y, None).rows
        timed = Timed(rows)
        spent, solution = seconds(partial(solve_linear_mkl, timed))
        few = n // 10
        gram = LinearMKLClassifier(modalities())._open(X[:few], y[:few], None).rows
        whole = seconds(partial(gram.grams, W, b, True, True))[0]
    return found, {
        "passes": timed.passes + 1,
        "grams": solution.n_grams,
        "own": (spent - timed.spent) / timed.passes,
        "rate": 2 * few * WIDE**2 / whole,
    }


def nothing(block):
    return (0,)


def matrices(block, size):
    return (np.random.default_rng(0).random((size, size)),)


def weighed(block, sent):
    return (float(sent[0, 0]),)


def on_a_cluster(args):
    """Return seconds per task, and bytes per second up and down."""
    import dask.array as da

    def blocks(count):
        return open_blocks(da.zeros((4 * count, 2), chunks=(4, 2)))

    size, many, some = WIDE, args.tasks, 48
    sent = np.random.default_rng(0).random((4 * size, size))
    with cluster():
        blocks(8).sum(matrices, size)
        calls = {
            "tasks": partial(blocks(many).sum, nothing),
            "up": partial(blocks(some).sum, matrices, size),
            "made": partial(matrices, None, size),
            "down": partial(blocks(2).sum, weighed, sent),
            "idle": partial(blocks(2).sum, nothing),
        }
        spent, _, _ = in_turns(calls, args.repeats)
    task = spent["tasks"] / many
    making = some * spent["made"] / 2  # two workers make them
    up = some * 8 * size**2 / max(1e-9, spent["up"] - some * task - making)
    down = 2 * sent.nbytes / max(1e-9, spent["down"] - spent["idle"])
    return {"task": task, "up": up, "down": down}


def predicted(args, number, of_fit, of_cluster):
    """Yield, by the number of workers and the way, the seconds of each share of a fit."""
    n, d = args.n_model, WIDE
    passes, grams = of_fit["passes"], of_fit["grams"]
    sampled = 8 * d  # rows for the second derivatives
    ways = {
        "as it is, 8192 rows a partition": (8192, "client", 8),
        "131072 rows a partition": (131_072, "client", 8),
        "the same, sums along a tree": (131_072, "tree", 8),
        "the same, sums in float32": (131_072, "tree", 4),
    }
    for way, (rows, sums, size) in ways.items():
        parts = -(-n // rows)
        for workers in (10, 100, 1000):
            received = parts if sums == "client" else np.log2(workers)
            work = passes * n * d * number / workers + grams * 2 * sampled * d**2 / (
                workers * of_fit["rate"]
            )
            tasks = (passes + grams) * parts * of_cluster["task"]
            vectors = (
                passes * d * size * (received / of_cluster["up"] + workers / of_cluster["down"])
            )
            matrix = grams * received * size * d**2 / of_cluster["up"]
            own = passes * of_fit["own"]
            shares = [work, tasks, vectors, matrix, own]
            gathered = (passes * d + grams * d**2) * size * received
            overtakes = passes * n * d * number / (tasks + vectors + matrix + own)
            told = [f"{each:.0f}" for each in (*shares, sum(shares))]
            yield [way, workers, *told, f"{gathered / GB:.1f}", f"{overtakes:.0f}"]


def part_constants(args):
    numbers, of_fit = on_one_machine(args)
    of_cluster = on_a_cluster(args)
    rows = [
        [f"a pass, {where}", f"{1e9 * spent:.2f} ns a number", f"{1e-6 / spent:.0f} million/s"]
        for where, spent in numbers.items()
    ]
    rows += [
        ["second derivatives", f"{of_fit['rate'] / 1e9:.0f} GFLOP/s", "one thread"],
        ["passes of a fit, matrices", f"{of_fit['passes']}, {of_fit['grams']}", ""],
        ["the solver itself, for each pass", f"{1000 * of_fit['own']:.0f} ms", f"d = {WIDE}"],
        ["a task of Dask", f"{1000 * of_cluster['task']:.2f} ms", f"{args.tasks} tasks at once"],
        ["results gathered and added", f"{of_cluster['up'] / GB:.2f} GB/s", "loopback"],
        ["a model sent", f"{of_cluster['down'] / GB:.2f} GB/s", "loopback, two workers"],
    ]
    table(f"Constants, {args.n} rows of {WIDE} features", ["what", "measured", ""], rows)
    where = "float64, mapped, 1 worker"
    table(
        f"Predicted seconds of a fit of {args.n_model:.0e} rows of {WIDE} features, {where} "
        f"({1e9 * numbers[where]:.2f} ns a number)",
        ["way", "workers", "work", "tasks", "vectors", "matrices", "solver", "all",
         "GB to the client", "workers at which the rest is as much as the work"],
        predicted(args, numbers[where], of_fit, of_cluster),
    )  # fmt: skip


PARTS = {name[5:]: made for name, made in globals().items() if name.startswith("part_")}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], default=[])
    parser.add_argument("--quick", action="store_true", help="small sizes: a minute in all")
    parser.add_argument("--rows", nargs="+", type=int, default=[10**4, 10**5, 10**6])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--dtype", choices=["float64", "float32"], default="float64")
    parser.add_argument("--design", choices=["correlated", "white"], default="correlated")
    parser.add_argument("--C", type=float, default=1.0, help="of the part peers")
    parser.add_argument(
        "--figure", nargs="?", type=Path, const=FIGURE, help="where the part accuracy draws"
    )
    parser.add_argument(
        "--keep", type=Path, metavar="FILE", help="where accuracy keeps what it measured"
    )
    parser.add_argument("--child", type=json.loads, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(one_fit(**args.child)))
        return
    args.n, args.dask_rows, args.n_model, args.tasks = 10**5, 10**5, 10**9, 2000
    args.rank, args.ranks, args.accuracy_C = 100, (50, 100, 200, 400, 800), 1.0
    args.accuracy_rows = 20_000
    if args.quick:
        args.rows, args.repeats, args.n, args.dask_rows = [2000, 10_000], 1, 10_000, 10_000
        args.accuracy_rows, args.ranks, args.tasks = 2000, (50, 200), 200
    warnings.filterwarnings("ignore", "the features of")  # the same for every sample
    print(f"{date.today()}, {platform.processor() or platform.machine()}, "
          f"load {os.getloadavg()[0]:.1f}")  # fmt: skip
    for name in args.parts or PARTS:
        PARTS[name](args)


if __name__ == "__main__":
    main()
