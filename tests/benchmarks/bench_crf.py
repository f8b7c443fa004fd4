"""CRFTagger beside sklearn-crfsuite: training, tagging, marginals, memory; one thread.

50,000 steps in sequences of 50, 6 sticky labels, d columns of floats. Both solve one problem (no
intercept, l2 = 2 c2); crfsuite runs with its own defaults and every weight kept
(``min_freq=-1e30``), and ours until its objective is at most that of crfsuite. The two take turns
in one process; seconds are those that the process ran, so that other work on the machine counts
little, and the ratios are of the medians.

  train, with dicts     from a DataFrame, or an array made into dicts, to a fitted model
  train                 without the making of dicts
  tag, marginals        from a DataFrame, or dicts that are there already, to an array or lists
  memory                what a process grows by when it holds the features: as dicts, or as a
                        DataFrame with what the tagger reads from it

Run: python tests/benchmarks/bench_crf.py [rounds]
"""

import os

os.environ |= dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")

import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import sklearn_crfsuite

from mkfusion.graphical import CRFTagger

N, K, LENGTH = 50_000, 6, 50
C2 = 1.0
TOLERANCES = (1e-4, 3e-5, 1e-5, 3e-6, 1e-6, 1e-7)


def data(d, seed=0):
    rng = np.random.default_rng(seed)
    y = np.repeat(rng.integers(0, K, N // 5), 5)
    centres = rng.normal(size=(K, d)) * 0.6 * np.sqrt(20 / d)
    X = centres[y] + rng.normal(size=(N, d))
    index = pd.Index(np.repeat(np.arange(N // LENGTH), LENGTH), name="sequence")
    return pd.DataFrame(X, index=index, columns=[f"m__{j}" for j in range(d)]), y


def dicts(values):
    names = [str(j) for j in range(values.shape[1])]
    rows = [dict(zip(names, row, strict=True)) for row in values.tolist()]
    return [rows[a : a + LENGTH] for a in range(0, len(rows), LENGTH)]


def reference():
    return sklearn_crfsuite.CRF(
        c1=0.0,
        c2=C2,
        min_freq=-1e30,
        all_possible_states=True,
        all_possible_transitions=True,
    )


def timed(function):
    begin = time.process_time()
    found = function()
    return time.process_time() - begin, found


def tagger(tol):
    return CRFTagger(2 * C2, {"m": slice(0, None)}, fit_intercept=False, tol=tol)


def reaching(objective, X, y):
    """The loosest tolerance whose objective is no higher."""
    for tol in TOLERANCES:
        found = tagger(tol).fit(X, y)
        if found.objective_ <= objective:
            return tol, found
    raise RuntimeError(f"{found.objective_} > {objective}")


def compare(d, rounds):
    X, y = data(d)
    values = X.to_numpy()
    labels = [[str(v) for v in y[a : a + LENGTH]] for a in range(0, N, LENGTH)]
    crf = reference().fit(dicts(values), labels)
    theirs = crf.training_log_.last_iteration
    tol, ours = reaching(theirs["loss"], X, y)
    print(
        f"d = {d}: objective {ours.objective_:.2f} after {ours.n_iter_} iterations (tol {tol:g}), "
        f"crfsuite {theirs['loss']:.2f} after {theirs['num']}"
    )
    times = {}

    def note(what, function):
        seconds, found = timed(function)
        times.setdefault(what, []).append(seconds)
        return found

    for _ in range(rounds):
        items = note("dicts", lambda: dicts(values))
        note("crfsuite train", lambda items=items: reference().fit(items, labels))
        ours = note("train", lambda: tagger(tol).fit(X, y))
        for _ in range(3):
            note("crfsuite tag", lambda items=items: crf.predict(items))
            note("tag", lambda ours=ours: ours.predict(X))
        found = note("crfsuite marginals", lambda items=items: crf.predict_marginals(items))
        proba = note("marginals", lambda ours=ours: ours.predict_proba(X))
    flat = [[step[str(c)] for c in ours.classes_] for own in found for step in own]
    middle = {what: float(np.median(own)) for what, own in times.items()}
    built = middle["dicts"]
    rows = {
        "train, with dicts": (middle["train"], middle["crfsuite train"] + built),
        "train": (middle["train"], middle["crfsuite train"]),
        "tag, with dicts": (middle["tag"], middle["crfsuite tag"] + built),
        "tag": (middle["tag"], middle["crfsuite tag"]),
        "marginals": (middle["marginals"], middle["crfsuite marginals"]),
    }
    for what, (own, other) in rows.items():
        print(f"  {what:20}{own:9.4f} s{other:10.3f} s{other / own:8.1f}")
    print(f"  largest difference of marginals {np.abs(proba - flat).max():.1e}")
    own, other = (memory(kind, d) for kind in ("blocks", "dicts"))
    print(f"  {'memory':20}{own:9.1f} MB{other:9.1f} MB{other / own:8.1f}")


def resident():
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("no VmRSS")


def memory(kind, d):
    """Measure in a process of its own, where nothing was freed before."""
    done = subprocess.run(
        [sys.executable, __file__, "memory", kind, str(d)],
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


def hold(kind, d):
    values = np.random.default_rng(0).normal(size=(N, d))
    np.save(saved := Path(tempfile.mkdtemp()) / "values.npy", values)
    tagger(1.0).fit(*(part[:300] for part in data(d)))  # what is imported late
    del values
    before = resident()
    values = np.load(saved)
    if kind == "dicts":
        kept = dicts(values)
    else:
        index = pd.Index(np.repeat(np.arange(N // LENGTH), LENGTH), name="sequence")
        frame = pd.DataFrame(values, index=index, columns=[f"m__{j}" for j in range(d)])
        kept = frame, tagger(1.0)._read_fit_steps(frame)
    del values
    print(resident() - before)
    saved.unlink()
    return kept


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    small, labels = data(20)
    tagger(1e-2).fit(small[:500], labels[:500]).predict_proba(small[:500])  # compiles the loops
    tagger(1e-2).fit(small[:500], labels[:500]).predict(small[:500])
    print(f"{'':22}{'ours':>9}{'crfsuite':>12}{'ratio':>8}")
    for d in (20, 100):
        compare(d, rounds)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    if sys.argv[1:2] == ["memory"]:
        hold(sys.argv[2], int(sys.argv[3]))
    else:
        main()
