"""Whether Ray's backend of joblib gives what a serial run gives, to the bit.

Ray is no dependency, and heavy: install it by hand (`python -m pip install ray`). Each line is a
use of the package, run serially and on two workers of a local Ray.

Run: python tests/benchmarks/check_ray.py
"""

import joblib
import numpy as np
import ray
from ray.util.joblib import register_ray
from sklearn.model_selection import GridSearchCV

from mkfusion import HMMClassifier, LateFusionClassifier, compare_fusion
from mkfusion.datasets import load_multiple_features, load_watch
from mkfusion.mkl import LinearMKLClassifier

X, y = load_multiple_features(return_X_y=True)
X, y = X[::20].filter(regex="zer|mor"), y[::20]
watch = load_watch()
X_watch, y_watch = watch.data[::5], watch.target[::5]


def learnt_late_fusion():
    model = LateFusionClassifier(rule="log_pool", weights="learn", n_jobs=2)
    return model.fit(X, y).predict_proba(X)


def search():
    searched = GridSearchCV(LateFusionClassifier(), {"rule": ["mean", "log_pool"]}, n_jobs=2)
    return searched.fit(X, y).cv_results_["mean_test_score"]


def comparison():
    found = compare_fusion(X, y, n_jobs=2).table
    return found.drop(columns="fit_time").select_dtypes("number").to_numpy()


def linear_machine():
    return LinearMKLClassifier(n_jobs=2).fit(X, y).coef_


def chains_in_late_fusion():
    expert = HMMClassifier(n_states=2, random_state=0)
    model = LateFusionClassifier(estimator=expert, n_jobs=2)
    return model.fit(X_watch, y_watch).predict_proba(X_watch)


USES = (learnt_late_fusion, search, comparison, linear_machine, chains_in_late_fusion)


def main():
    serial = [use() for use in USES]
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    register_ray()
    print(f"ray {ray.__version__}, joblib {joblib.__version__}")
    with joblib.parallel_config("ray"):
        for use, wanted in zip(USES, serial, strict=True):
            same = np.array_equal(use(), wanted, equal_nan=True)
            print(f"{use.__name__.replace('_', ' ')}: {'same bits' if same else 'OTHER'}")


if __name__ == "__main__":
    main()
