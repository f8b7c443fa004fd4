"""What a report on a late fusion costs, beside one cross-validation of the same fusion.

Six experts on the bundled digits, five folds, one thread; medians of interleaved runs.
"""

import argparse
import statistics
import time

from sklearn.model_selection import StratifiedKFold, cross_validate
from threadpoolctl import threadpool_limits

from mkfusion import LateFusionClassifier
from mkfusion.datasets import load_multiple_features
from mkfusion.evaluation import fusion_report

FUSIONS = {
    "bayes": {},
    "mean": {"rule": "mean"},
    "log pool, weights learnt": {"rule": "log_pool", "weights": "learn"},
    "stacking": {"rule": "stacking"},
}


def seconds(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    X, y = load_multiple_features(return_X_y=True)
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    print(f"{'rule':26} {'cross-validated':>15} {'report':>8} {'single named':>13}   ratios")
    with threadpool_limits(1):
        for name, params in FUSIONS.items():
            fusion = LateFusionClassifier(**params)
            calls = (
                lambda: cross_validate(fusion, X, y, cv=folds),  # noqa: B023
                lambda: fusion_report(fusion, X, y, cv=folds),  # noqa: B023
                lambda: fusion_report(fusion, X, y, cv=folds, single="fac"),  # noqa: B023
            )
            runs = [[seconds(call) for call in calls] for _ in range(repeats)]
            plain, chosen, named = map(statistics.median, zip(*runs, strict=True))
            print(
                f"{name:26} {plain:13.1f} s {chosen:6.1f} s {named:11.1f} s"
                f"   {chosen / plain:.2f}, {named / plain:.2f}"
            )


if __name__ == "__main__":
    main()
