"""Whether probabilities can be believed: log loss and calibration error on the bundled digits.

Five stratified folds, logistic regression on each of six modalities, every rule fitted on the
training rows of a fold (what it learns, out of fold inside them) and asked of the test rows:

  accuracy   share of test rows that are right
  log loss   mean negative logarithm of the probability of the true digit, floored at epsilon
  ece        expected calibration error of the most probable digit, ten equal-width bins
  fits       fits of one expert for one fitted fusion

Run: python tests/benchmarks/bench_calibration.py
"""

import numpy as np
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedKFold

from mkfusion import HybridFusionClassifier, LateFusionClassifier
from mkfusion.datasets import load_multiple_features
from mkfusion.evaluation import expected_calibration_error

INNER = 3
LATE = {
    "product": {"rule": "product"},
    "product, output temperature": {"rule": "product", "output_calibration": "temperature"},
    "product, output isotonic": {"rule": "product", "output_calibration": "isotonic"},
    "mean": {"rule": "mean"},
    "log pool": {"rule": "log_pool"},
    "log pool, weights searched": {"rule": "log_pool", "weights": "search", "random_state": 0},
    "log pool, weights learnt": {"rule": "log_pool", "weights": "learn"},
    "linear pool, weights learnt": {"rule": "weighted", "weights": "learn"},
    "Dempster-Shafer, learnt": {"rule": "dempster_shafer", "weights": "learn"},
    "naive Bayes": {"rule": "naive_bayes"},
    "behaviour-knowledge space": {"rule": "bks"},
    "decision templates": {"rule": "decision_template"},
    "stacking": {"rule": "stacking"},
}
CANDIDATES = {
    **{f"late: {name}": LateFusionClassifier(cv=INNER, **how) for name, how in LATE.items()},
    "hybrid: log pool": HybridFusionClassifier(),
    "hybrid: log pool, weights learnt": HybridFusionClassifier(weights="learn", cv=INNER),
}


def main():
    X, y = load_multiple_features(return_X_y=True)
    classes = np.unique(y)
    said = {name: np.zeros((len(y), len(classes))) for name in CANDIDATES}
    for train, test in StratifiedKFold(5, shuffle=True, random_state=0).split(X, y):
        for name, fusion in CANDIDATES.items():
            fusion.fit(X.iloc[train], y.iloc[train])
            said[name][test] = fusion.predict_proba(X.iloc[test])
    print(f"{'':34}{'accuracy':>9}{'log loss':>10}{'ece':>8}{'fits':>6}")
    for name, fusion in CANDIDATES.items():
        posteriors = said[name]
        learns = fusion.learnt_ is not None or fusion.output_calibration is not None
        print(
            f"{name:34}{np.mean(classes[posteriors.argmax(axis=1)] == y):9.4f}"
            f"{log_loss(y, posteriors, labels=classes):10.4f}"
            f"{expected_calibration_error(y, posteriors, classes):8.4f}"
            f"{1 + INNER * learns:6d}"
        )


if __name__ == "__main__":
    main()
