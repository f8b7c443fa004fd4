"""What other packages do with several modalities, and how well: the comparison of the README.

  features    what is tried on 120 digits of six views: a row for each thing, "yes" or the error
  measure     300 digits to learn from and 1700 to be asked of, five draws, columns standardised on
              the training samples, nothing tuned: accuracy (ten classes; 0-4 against 5-9), and the
              seconds of fit and predict together
  conformity  how many of scikit-learn's own checks of an estimator are passed and failed
  chains      hidden Markov models beside hmmlearn, a conditional random field beside
              sklearn-crfsuite: features, and accuracy and seconds on the watch recordings

Each package runs in an environment of its own, made once in the user's cache with what pip
resolves; ``installs`` says what pip and the first import said, and what had to be done for it to
run all the same. Of each package its public interface is called, as ``peer_candidates.py`` shows.
Logistic regressions are scikit-learn's with C = 1, kernels are RBF with gamma = 1 / d, machines
have C = 10; what a package chooses by its own cross-validation it does choose. himalaya has no
classifier: it predicts a column for each class, and the largest is the answer.

One thread. Packages of one environment cannot take turns with those of another: each runs in a
process of its own, one after the other, after one run that warms. Those of ``chains`` take turns
in one process.

Run: python tests/benchmarks/bench_peers.py [TABLE ...]
"""

import os

os.environ |= dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")

import argparse
import datetime
import json
import subprocess
import sys
import tempfile
import time
import venv
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from bench_mkl import CACHE
from bench_mkl import PEERS as MKLPY
from bench_watch import SENSORS, recordings
from sklearn.model_selection import GridSearchCV, GroupKFold, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mkfusion.datasets import load_multiple_features, load_watch, simulate_missing
from mkfusion.graphical import CRFTagger, HMMClassifier, StepwiseTransformer, as_step_frame
from mkfusion.late import LateFusionClassifier

# What pip is asked for, the module that must import, and, where that is not enough, what else.
PEERS = {
    "MKLpy": (MKLPY, "MKLpy.algorithms", ()),
    "scikit-multimodallearn": (("scikit-multimodallearn==0.1.0",), "multimodal.kernels.lpMKL", ()),
    "mvlearn": (
        ("mvlearn==0.5.0",),
        "mvlearn.compose",
        (("--no-deps", "mvlearn==0.5.0"), ("scikit-learn", "pandas", "matplotlib", "seaborn")),
    ),
    "himalaya": (
        ("himalaya==0.4.11", "scikit-learn"),
        "himalaya.kernel_ridge",
        (("packaging",),),
    ),
}
SEARCH, ABSENT = "grid search over sequences", "a modality absent (NaN)"
HERE = ("mkfusion", "scikit-learn")  # run in this environment
LEFT_OUT = {"scikit-multimodallearn": "multimodal.boosting.mumbo"}  # tried for its import only


# Environments -------------------------------------------------------------------------------


def last_error(done):
    """Return the line that says what went wrong, or None."""
    if done.returncode == 0:
        return None
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines()]
    found = [line for line in lines if "rror:" in line or "ERROR" in line]
    return (found or lines or ["failed"])[-1][:150]


def run(python, *arguments):
    return subprocess.run([python, *arguments], capture_output=True, text=True, check=False)


def environment(name):
    """Return the Python of a package's environment and what it took to make it."""
    asked, module, repairs = PEERS[name]
    folder = CACHE / name.lower()
    python, notes = folder / "bin" / "python", folder / "installed.json"
    if not notes.exists():
        print(f"installing {', '.join(asked)}", flush=True)
        venv.create(folder, with_pip=True, clear=True)
        said = [last_error(run(python, "-m", "pip", "install", "-qq", *asked))]
        said.append(last_error(run(python, "-W", "ignore", "-c", f"import {module}")))
        for more in repairs if any(said) else ():
            run(python, "-m", "pip", "install", "-qq", *more)
        extra = LEFT_OUT.get(name)
        said.append(extra and last_error(run(python, "-W", "ignore", "-c", f"import {extra}")))
        run(python, "-m", "pip", "install", "-qq", "pandas")  # for the probe with a DataFrame
        notes.write_text(json.dumps(said))
    return python, json.loads(notes.read_text())


def in_environment(name, path, what):
    python = sys.executable if name in HERE else environment(name)[0]
    script = Path(__file__).with_name("peer_candidates.py")
    clean = {
        key: value for key, value in os.environ.items() if not key.startswith("OPENBLAS_CORE")
    }
    if name not in HERE:
        clean.pop("PYTHONPATH", None)
    done = subprocess.run(
        [python, "-W", "ignore", script, name, path, what],
        env=clean, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        return {"versions": {}, "found": {name: last_error(done)}}
    return json.loads(done.stdout.splitlines()[-1])


def saved(folder, alone=False):
    """Write the six views, and who trains and who is asked in each draw."""
    bunch = load_multiple_features()
    y = bunch.target.to_numpy().astype(int)
    draws = [
        train_test_split(np.arange(len(y)), train_size=300, stratify=y, random_state=seed)
        for seed in range(5)
    ]
    train, test = (np.array(each) for each in zip(*draws, strict=True))
    blocks = [bunch.data[columns].to_numpy() for columns in bunch.modalities.values()]
    if alone:
        blocks = [StandardScaler().fit_transform(X[train[0]]) for X in blocks]
        y = y[train[0]]
    path = Path(folder) / f"digits{alone}.npz"
    named = {f"X{m}": X for m, X in enumerate(blocks)}
    np.savez(path, y=y, train=train, test=test, **named)
    return path


# Tables of the packages that fuse columns -----------------------------------------------------


def table_installs(folder):
    for name in PEERS:
        _, (installed, imported, more) = environment(name)
        print(f"{name:24} pip install: {installed or 'yes'}; import: {imported or 'yes'}")
        if more:
            print(f"{'':24} {LEFT_OUT[name]}: {more}")


def all_found(folder, what):
    path = saved(folder, alone=what == "features")
    for name in (*HERE, *PEERS):
        answer = in_environment(name, path, what)
        yield name, answer["versions"], answer["found"]


def table_features(folder):
    for name, versions, found in all_found(folder, "features"):
        print(f"\n{name} {versions}", flush=True)
        for way, outcomes in found.items():
            print(f"  {way}")
            for probe, said in (
                outcomes.items() if isinstance(outcomes, dict) else [("", outcomes)]
            ):
                print(f"    {probe:28} {said}")


def table_measure(folder):
    print(f"{'':58}{'ten classes':>16}{'seconds':>9}{'two classes':>16}{'seconds':>9}")
    for name, _, found in all_found(folder, "measure"):
        for way, tasks in found.items():
            cells = [
                cell(tasks[task]) if isinstance(tasks, dict) else tasks for task in ("ten", "two")
            ]
            print(f"{name + ' ' + way:58}" + "".join(cells), flush=True)


def cell(rows):
    if isinstance(rows, str):
        return f"{rows:>25}"
    accuracy, seconds = np.array(rows).T
    shown = f"{accuracy.mean():.4f} ({1e4 * accuracy.std():.0f})"
    return f"{shown:>16}{np.median(seconds):9.2f}"


def table_conformity(folder):
    for name, _, found in all_found(folder, "conformity"):
        for way, said in found.items():
            print(f"{name + ' ' + way:58}{said}", flush=True)


# Chains ---------------------------------------------------------------------------------------


def hmmlearn_by_class(train, labels, test, n_states=4):
    """Fit hmmlearn's model to the sequences of each class; the likeliest class is the answer."""
    from hmmlearn.hmm import GaussianHMM

    scores, classes = [], np.unique(labels)
    for label in classes:
        own = [cell for cell, each in zip(train, labels, strict=True) if each == label]
        model = GaussianHMM(n_states, "full", n_iter=30, tol=1e-3, random_state=0)
        model.fit(np.vstack(own), [len(cell) for cell in own])
        scores.append([model.score(cell) for cell in test])
    return classes[np.argmax(scores, axis=0)]


def scaled(cells, known):
    scaler = StandardScaler().fit(np.vstack(cells[known]))
    return [scaler.transform(cell) for cell in cells]


def whole_sequences(every=10, folds=5):
    """Print accuracy and seconds of classifiers of recordings, which take turns by folds."""
    X, y, groups = recordings(every)
    full = ("gaussian", {"covariance_type": "full"})
    hmm = HMMClassifier(4, emissions=full, random_state=0, max_iter=30)

    def piped(names):
        return make_pipeline(
            StepwiseTransformer(StandardScaler(), {n: [n] for n in names}, remainder="drop"), hmm
        )

    def peer(train, test):
        cells = scaled(X["joined"].to_numpy(), train)
        return hmmlearn_by_class([cells[i] for i in train], y[train], [cells[i] for i in test])

    def fitted(model):
        return lambda train, test: model.fit(X.iloc[train], y[train]).predict(X.iloc[test])

    late = [(name, piped([name])) for name in SENSORS]
    ways = {
        "hmmlearn, a model for each class, columns joined": peer,
        "HMMClassifier, columns joined": fitted(piped(["joined"])),
        "LateFusionClassifier of two HMMClassifier": fitted(
            LateFusionClassifier(late, {n: [n] for n in SENSORS}, rule="log_pool")
        ),
    }
    report(ways, GroupKFold(folds).split(X, y, groups), y)


def report(ways, splits, y):
    found = {name: [] for name in ways}
    for train, test in splits:
        for name, way in ways.items():
            if not found[name]:
                way(train, test)  # compiles
            start = time.perf_counter()
            answers = way(train, test)
            seconds = time.perf_counter() - start
            found[name].append((np.mean(np.asarray(answers) == y[test]), seconds))
    for name, rows in found.items():
        print(f"  {name:58}{cell(rows)}", flush=True)


def dicts(X, ids):
    """Return the rows as sklearn-crfsuite takes them: a list of dicts for each sequence."""
    columns = list(X.columns)
    rows = [dict(zip(columns, row, strict=True)) for row in X.to_numpy().tolist()]
    starts = np.flatnonzero(np.r_[True, ids[1:] != ids[:-1]])
    return [rows[a:b] for a, b in zip(starts, [*starts[1:], len(rows)], strict=True)], starts


def steps(every=10, folds=5):
    """Print accuracy and seconds of taggers of steps, which take turns by folds."""
    import sklearn_crfsuite

    watch = load_watch(layout="sessions")
    ids = watch.data.index.get_level_values("sequence")
    kept = np.asarray(pd.Series(range(len(ids))).groupby(ids).cumcount() % every == 0)
    X, y, groups = watch.data[kept], watch.target.to_numpy()[kept], watch.groups.to_numpy()[kept]

    def peer(**options):
        def way(train, test):
            scale = StandardScaler().set_output(transform="pandas").fit(X.iloc[train])
            known, asked = (
                scale.transform(X.iloc[rows]).assign(bias=1.0) for rows in (train, test)
            )
            known_ids, asked_ids = (
                np.asarray(part.index.get_level_values("sequence")) for part in (known, asked)
            )
            told, starts = dicts(known, known_ids)
            labels = [each.tolist() for each in np.split(y[train].astype(str), starts[1:])]
            model = sklearn_crfsuite.CRF(c2=0.5, all_possible_transitions=True, **options)
            model.fit(told, labels)
            answers = model.predict(dicts(asked, asked_ids)[0])
            return np.concatenate(answers).astype(y.dtype)

        return way

    def ours(train, test):
        scale = StandardScaler().set_output(transform="pandas")
        model = make_pipeline(scale, CRFTagger(l2=1.0)).fit(X.iloc[train], y[train])
        return model.predict(X.iloc[test])

    ways = {
        "sklearn-crfsuite, its defaults": peer(),
        "sklearn-crfsuite, min_freq=-1e30": peer(min_freq=-1e30),
        "CRFTagger": ours,
    }
    report(ways, GroupKFold(folds).split(X, y, groups), y)


def outcome(probe):
    """Return "yes", what the probe says, or its error."""
    try:
        said = probe()
        return said if isinstance(said, str) else "yes"
    except Exception as error:  # whatever a package raises is the finding
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        return f"{type(error).__name__}: {first}"[:110]


def as_dicts(cells):
    return [[{f"x{j}": v for j, v in enumerate(row)} for row in cell.tolist()] for cell in cells]


def without(row, names=("x0", "x1", "x2")):
    """Return a dict of features with those of one sensor NaN."""
    return {name: float("nan") if name in names else value for name, value in row.items()}


def searched(model, grid, X, y, cv=3, **options):
    GridSearchCV(model, grid, error_score="raise", cv=cv).fit(X, y, **options)


def of_hmmlearn(cells, y):
    from hmmlearn.hmm import GaussianHMM

    flat, lengths = np.vstack(cells), [len(cell) for cell in cells]
    broken = flat.copy()
    broken[: lengths[0], :3] = np.nan
    grid = {"n_components": [2, 3]}
    yield SEARCH, lambda: searched(GaussianHMM(), grid, flat, None, lengths=lengths)
    yield ABSENT, lambda: GaussianHMM(2).fit(broken, lengths)
    yield "learns from labels", lambda: GaussianHMM(2).fit(flat, lengths, np.repeat(y, lengths))


def of_crfsuite(cells, y):
    from sklearn_crfsuite import CRF

    labels = [[str(label)] * len(cell) for cell, label in zip(cells, y, strict=True)]
    told = as_dicts(cells)
    model = CRF(max_iterations=20)

    def absent():
        model.fit([[without(row) for row in told[0]], *told[1:]], labels)
        if not model.state_features_:
            return "it learns no weight"
        finite = np.isfinite(list(model.state_features_.values())).all()
        return None if finite else "it learns weights that are NaN"

    def kept():
        made = len(
            model.fit(as_dicts(scaled(cells, np.arange(len(cells)))), labels).state_features_
        )
        possible = 6 * len(np.unique(y))
        return None if made == possible else f"{made} of {possible}"

    yield SEARCH, lambda: searched(model, {"c2": [0.1, 1.0]}, told, labels)
    yield ABSENT, absent
    yield "every weight kept", kept


def of_hmm_classifier(X, y):
    hmm = HMMClassifier(2, random_state=0, max_iter=5, temperature=1.0)
    damaged = simulate_missing(X, 0.3, random_state=0)
    yield SEARCH, lambda: searched(hmm, {"n_states": [2, 3]}, X, y)
    yield ABSENT, lambda: check_finite(hmm.fit(damaged, y).predict_proba(damaged))
    yield "learns from labels", lambda: check_finite(hmm.fit(X, y).predict_proba(X))


def of_tagger(X, y):
    frame = as_step_frame(X)
    ids = frame.index.get_level_values("sequence")
    labels = pd.Series(y, X.index)[ids].to_numpy()
    damaged = frame.copy()
    damaged.loc[ids[0], frame.columns[:3]] = np.nan
    tagger = CRFTagger(max_iter=20)
    folds = GroupKFold(3)
    yield SEARCH, lambda: searched(tagger, {"l2": [0.1, 1.0]}, frame, labels, folds, groups=ids)
    yield ABSENT, lambda: check_finite(tagger.fit(damaged, labels).predict_proba(damaged))

    def kept():
        made, possible = (tagger.fit(frame, labels).coef_ != 0).sum(), tagger.coef_.size
        return None if made == possible else f"{made} of {possible}"

    yield "every weight kept", kept


def check_finite(values):
    if not np.isfinite(values).all():
        raise ValueError("NaN in the answers")


def chain_features():
    X, y, _ = recordings(10)
    X, y = X[::3], y[::3]
    cells, sensors = X["joined"].to_numpy(), X[list(SENSORS)]
    probes = {
        "hmmlearn GaussianHMM": of_hmmlearn(cells, y),
        "sklearn-crfsuite CRF": of_crfsuite(cells, y),
        "mkfusion HMMClassifier": of_hmm_classifier(sensors, y),
        "mkfusion CRFTagger": of_tagger(sensors, y),
    }
    for name, own in probes.items():
        print(f"  {name}")
        for probe, tried in own:
            print(f"    {probe:28} {outcome(tried)}", flush=True)


def table_chains(folder):
    names = ("hmmlearn", "sklearn-crfsuite", "python-crfsuite")
    print({name: version(name) for name in names})
    chain_features()
    print(
        f"\n  {'recordings, every tenth step, folds by subject':58}{'accuracy':>16}{'seconds':>9}"
    )
    whole_sequences()
    print(f"\n  {'steps, every tenth, folds by subject':58}{'accuracy':>16}{'seconds':>9}")
    steps()


TABLES = {name[6:]: made for name, made in globals().items() if name.startswith("table_")}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tables", nargs="*", choices=[[], *TABLES], default=[])
    warnings.simplefilter("ignore")
    print(f"{datetime.date.today()}, Python {sys.version.split()[0]}")
    with tempfile.TemporaryDirectory() as folder:
        for name in parser.parse_args().tables or TABLES:
            print(f"\n## {name}")
            TABLES[name](folder)


if __name__ == "__main__":
    main()
