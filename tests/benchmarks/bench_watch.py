"""Watch recordings by subject: which fusion of accelerometer and gyroscope is worth what.

Two tables on ``load_watch``, folds by subject (GroupKFold), features standardised inside the
training folds, whatever is tuned chosen there by an inner GroupKFold. One thread.

    python tests/benchmarks/bench_watch.py [sequences|steps] [--folds 5] [--every 5] [--quick]

``--every`` keeps each such step of a sequence (10 Hz / 5 = 2 Hz); ``--quick`` tunes nothing.
"""

import argparse
import time
import warnings

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from mkfusion import EarlyFusionClassifier, LateFusionClassifier
from mkfusion.datasets import load_watch
from mkfusion.evaluation import pk_score, segment_f1_score, sequence_scorer, window_diff
from mkfusion.graphical import (
    CRFTagger,
    HiddenCRFClassifier,
    HMMClassifier,
    HMMTagger,
    HybridHMMTagger,
    StepwiseTransformer,
)

SENSORS = ("accelerometer", "gyroscope")
FULL = ("gaussian", {"covariance_type": "full"})


def tuned(model, grid, scoring=None):
    """Return a search inside the training folds, which holds subjects together."""
    return GridSearchCV(model, grid, cv=GroupKFold(3), scoring=scoring) if grid else model


# Recordings ---------------------------------------------------------------------------------


def thinned(cells, every):
    out = np.empty(len(cells), dtype=object)
    for i, cell in enumerate(cells):
        out[i] = cell[::every]
    return out


def recordings(every):
    watch = load_watch()
    X = pd.DataFrame(
        {name: thinned(watch.data[name], every) for name in SENSORS}, index=watch.data.index
    )
    joined = np.empty(len(X), dtype=object)
    for i, cells in enumerate(zip(*(X[name] for name in SENSORS), strict=True)):
        joined[i] = np.hstack(cells)
    X["joined"] = joined
    return X, watch.target.to_numpy(), watch.groups.to_numpy()


def sequence_models(quick):
    families = {
        "HMM": (
            HMMClassifier(n_states=4, emissions=FULL, random_state=0, max_iter=30),
            {} if quick else {"n_states": [3, 6]},
            {} if quick else {"stream_weights": [None, "learn"]},
        ),
        "hidden CRF": (
            HiddenCRFClassifier(n_states=4, random_state=0, max_iter=100),
            {} if quick else {"l2": [0.1, 10.0]},
            {},
        ),
    }
    for family, (model, grid, more) in families.items():
        prefix = type(model).__name__.lower()

        def piped(modalities, extra, model=model, grid=grid, prefix=prefix):
            chosen = {name: [name] for name in modalities}
            own = make_pipeline(
                StepwiseTransformer(StandardScaler(), chosen, remainder="drop"),
                type(model)(**{**model.get_params(), "modalities": None}),
            )
            space = {f"{prefix}__{key}": values for key, values in {**grid, **extra}.items()}
            return tuned(own, space)

        for name in SENSORS:
            yield f"{family}, {name} alone", piped([name], {})
        yield f"{family}, early (joined columns)", piped(["joined"], {})
        yield (
            f"{family}, late (a model per sensor)",
            LateFusionClassifier(
                [(name, piped([name], {})) for name in SENSORS],
                {name: [name] for name in SENSORS},
                rule="log_pool",
            ),
        )
        yield f"{family}, multi-stream", piped(SENSORS, more)


def fit(model, X, y, groups):
    """Fit a model, with the groups where it, or what is in it, divides the rows once more."""
    if isinstance(model, GridSearchCV):
        return model.fit(X, y, groups=groups)
    if isinstance(model, LateFusionClassifier):
        experts = []
        for name, own in model.estimators:
            search = fit(own, X[[name]], y, groups)  # tuned first, on the training rows only
            experts.append((name, getattr(search, "best_estimator_", search)))
        return model.set_params(estimators=experts).fit(X, y)
    return model.fit(X, y)


def sequences(folds, every, quick):
    X, y, groups = recordings(every)
    rows = []
    for name, model in sequence_models(quick):
        scores, losses, started = [], [], time.perf_counter()
        for train, test in GroupKFold(folds).split(X, y, groups):
            fit(model, X.iloc[train], y[train], groups[train])
            proba = model.predict_proba(X.iloc[test])
            scores.append(accuracy_score(y[test], model.predict(X.iloc[test])))
            losses.append(log_loss(y[test], proba, labels=model.classes_))
        rows.append(
            {
                "model": name,
                "accuracy": np.mean(scores),
                "spread": np.std(scores),
                "log loss": np.mean(losses),
                "seconds": time.perf_counter() - started,
            }
        )
        show(rows[-1])
    return rows


# Steps --------------------------------------------------------------------------------------


def sessions(every, width):
    """Return sessions with the mean and the spread of each column around a step."""
    watch = load_watch(layout="sessions")
    ids = watch.data.index.get_level_values("sequence")
    around = watch.data.groupby(level="sequence").rolling(width, center=True, min_periods=1)
    parts = {"": watch.data}
    parts["_mean"] = around.mean().droplevel(0)
    parts["_std"] = around.std().droplevel(0).fillna(0.0)
    X = pd.concat([part.add_suffix(end) for end, part in parts.items()], axis=1)
    kept = np.asarray(pd.Series(range(len(ids))).groupby(ids).cumcount() % every == 0)
    X = X[kept]
    step = np.asarray(pd.Series(range(len(X))).groupby(np.asarray(ids)[kept]).cumcount())
    X.index = pd.MultiIndex.from_arrays([ids[kept], step], names=["sequence", "step"])
    return X, watch.target.to_numpy()[kept], watch.groups.to_numpy()[kept]


def step_models(quick):
    scaler = StandardScaler().set_output(transform="pandas")
    logistic = LogisticRegression(max_iter=1000)
    weights = {} if quick else {"hmmtagger__stream_weights": [[w, w] for w in (0.03, 0.1, 1.0)]}
    scoring = "accuracy"
    yield "no chain, logistic regression", EarlyFusionClassifier(make_pipeline(scaler, logistic))
    yield (
        "no chain, late fusion of two",
        LateFusionClassifier(estimator=make_pipeline(scaler, logistic)),
    )
    yield (
        "HMM",
        tuned(make_pipeline(scaler, HMMTagger(emissions=FULL, random_state=0)), weights, scoring),
    )
    own = {} if quick else {"hmmtagger__stream_weights": weights["hmmtagger__stream_weights"]}
    yield (
        "HMM, 3 states a label",
        tuned(
            make_pipeline(scaler, HMMTagger(3, emissions=FULL, random_state=0, max_iter=20)),
            own,
            scoring,
        ),
    )
    yield "hybrid, weights 1", HybridHMMTagger(estimator=make_pipeline(scaler, logistic))
    yield (
        "hybrid, learnt weights",
        HybridHMMTagger(estimator=make_pipeline(scaler, logistic), stream_weights="learn", cv=3),
    )
    yield (
        "CRF",
        tuned(
            make_pipeline(scaler, CRFTagger()),
            {} if quick else {"crftagger__l2": [1.0, 100.0]},
            scoring,
        ),
    )


def steps(folds, every, quick):
    X, y, groups = sessions(every, width=21)
    scorers = {
        "accuracy": lambda model, X, y: accuracy_score(y, model.predict(X)),
        "segment F1": sequence_scorer(segment_f1_score, overlap=0.5),
        "P_k": sequence_scorer(pk_score),
        "WindowDiff": sequence_scorer(window_diff),
    }
    rows = []
    for name, model in step_models(quick):
        found, started = [], time.perf_counter()
        for train, test in GroupKFold(folds).split(X, y, groups):
            fit(model, X.iloc[train], y[train], groups[train]) if not isinstance(
                model, LateFusionClassifier
            ) else model.fit(X.iloc[train], y[train])
            found.append([scorer(model, X.iloc[test], y[test]) for scorer in scorers.values()])
        means = dict(zip(scorers, np.mean(found, axis=0), strict=True))
        spread = np.std(found, axis=0)[0]
        took = time.perf_counter() - started
        rows.append({"model": name, **means, "spread": spread, "seconds": took})
        show(rows[-1])
    return rows


# Tables -------------------------------------------------------------------------------------


def show(row):
    parts = [f"{key} {value:.3f}" for key, value in row.items() if key != "model"]
    print(f"{row['model']:32s}", *parts, sep="  ", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("table", nargs="?", choices=["sequences", "steps"])
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--every", type=int, default=2)
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    tables = {"sequences": sequences, "steps": steps}
    for name in [args.table] if args.table else tables:
        print(f"\n{name}, {args.folds} folds by subject, every {args.every}. step")
        with threadpool_limits(1):
            rows = tables[name](args.folds, args.every, args.quick)
        best = max(rows, key=lambda row: row["accuracy"])
        print(f"most accurate: {best['model']} ({best['accuracy']:.3f} +- {best['spread']:.3f})")


if __name__ == "__main__":
    main()
