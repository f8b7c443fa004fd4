"""Modalities lost at test time: what is left is fused, or what is lost is imputed.

On the bundled digits every modality of a test sample is lost with probability .6, in two ways:

  one is safe       one modality of each sample, drawn at random, is never lost
  one may be left   only a sample that would lose all keeps one (the harder way)

Mean accuracy over five stratified folds and three seeds of the loss.

Run: python tests/benchmarks/bench_missing.py
"""

import numpy as np
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mkfusion import EarlyFusionClassifier, LateFusionClassifier
from mkfusion.datasets import load_multiple_features, simulate_missing

RATE = 0.6
SEEDS = range(3)
RULES = ("bayes", "mean", "product", "log_pool", "vote", "max")


def one_is_safe(X, modalities, seed):
    """Lose modalities, then give each sample one of its own back."""
    lost = simulate_missing(X, RATE, keep_one=False, random_state=seed)
    safe = np.random.default_rng([seed, 1]).choice(list(modalities), size=len(X))
    for name, columns in modalities.items():
        rows = X.index[safe == name]
        lost.loc[rows, columns] = X.loc[rows, columns].astype(float)
    return lost


def fitted(X, y):
    """Yield the name and the fitted estimator of every candidate."""
    model = make_pipeline(StandardScaler(), SimpleImputer(), LogisticRegression(max_iter=1000))
    yield "concatenation, mean imputed", EarlyFusionClassifier(model).fit(X, y)
    late = LateFusionClassifier().fit(X, y)
    for rule in RULES:
        yield f"late, {rule}", late.set_params(rule=rule)


def main():
    bunch = load_multiple_features()
    X, y = bunch.data, bunch.target
    found = {}
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    for train, test in folds.split(X, y):
        tables = {
            "all there": [X.iloc[test]],
            "one is safe": [one_is_safe(X.iloc[test], bunch.modalities, s) for s in SEEDS],
            "one may be left": [
                simulate_missing(X.iloc[test], RATE, random_state=s) for s in SEEDS
            ],
        }
        for name, estimator in fitted(X.iloc[train], y.iloc[train]):
            scores = [
                np.mean([estimator.score(table, y.iloc[test]) for table in given])
                for given in tables.values()
            ]
            found.setdefault(name, []).append(scores)
    print(" " * 30 + "".join(f"{title:>17}" for title in tables))
    for name, scores in found.items():
        print(f"{name:30}" + "".join(f"{value:17.4f}" for value in np.mean(scores, axis=0)))


if __name__ == "__main__":
    main()
