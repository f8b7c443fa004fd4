"""What one package does with several modalities, run in an environment of its own: bench_peers.py.

Run: python tests/benchmarks/peer_candidates.py NAME DATA.npz [features|measure|conformity], in an
environment that has the package. Prints one line of JSON.

A way is one estimator of a package, with what its public interface asks for: how to make it, how
to hand over the blocks, how to fit and to ask. The probes are the same for all; what cannot be
said in a package's interface is "no", what raises is its error.
"""

import json
import sys
import time
import warnings
from importlib.metadata import PackageNotFoundError, version

import numpy as np
from sklearn import config_context
from sklearn.base import clone
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.model_selection import GridSearchCV, cross_val_score

C = 10.0
SLOW = 60  # seconds, after which a candidate is not asked for the other draws


class Way:
    """One table of columns, modalities told apart by ``views``: what most packages take."""

    package = ""
    grid = ()  # a parameter for GridSearchCV, and its values
    classifier = True
    binary = False  # of two classes only
    routed = False  # True where an option of fit reaches it by metadata routing only

    def __init__(self, widths):
        self.ends = np.cumsum([0, *widths])
        self.names = [f"v{m}" for m in range(len(widths))]
        self.views = {
            name: list(range(self.ends[m], self.ends[m + 1])) for m, name in enumerate(self.names)
        }

    def make(self):
        raise NotImplementedError

    def plain(self):
        """Return the estimator for check_estimator."""
        return self.make()

    def take(self, blocks, known=None):
        """Return what the package takes for rows of blocks; ``known`` are those of training."""
        return np.hstack(blocks)

    def fit(self, blocks, y, **options):
        return self.make().fit(self.take(blocks), y, **self.options(), **options)

    def predict(self, model, blocks, known):
        return model.predict(self.take(blocks, known))

    def proba(self, model, blocks, known):
        return model.predict_proba(self.take(blocks, known))

    def frame(self, blocks):
        """Return a DataFrame, from which modalities are to be told by the names of columns."""
        import pandas as pd

        columns = [f"{name}__{j}" for name in self.names for j in range(len(self.views[name]))]
        return pd.DataFrame(np.hstack(blocks), columns=columns)

    def by_name(self):
        """Return a model whose modalities are told by name."""
        raise NotImplementedError("no")

    def options(self):
        """Return what fit needs besides rows and labels."""
        return {}

    def weighted(self, blocks, y, weight):
        return self.fit(blocks, y, sample_weight=weight)

    def weights(self, model):
        raise NotImplementedError("no")

    def certificate(self, model):
        found = [name for name in vars(model) if "gap" in name]
        if not found:
            raise NotImplementedError("no")
        return getattr(model, found[0])

    def regressor(self):
        raise NotImplementedError("no")


class Late(Way):
    package = "mkfusion"
    rule = "mean"

    def make(self):
        from sklearn.linear_model import LogisticRegression

        from mkfusion import LateFusionClassifier

        return LateFusionClassifier(
            modalities=self.views, estimator=LogisticRegression(max_iter=1000), rule=self.rule
        )

    grid = ("estimator__C", [0.1, 1.0])

    def plain(self):
        from mkfusion import LateFusionClassifier

        return LateFusionClassifier()

    def by_name(self):
        return self.plain()

    def weights(self, model):
        return model.set_params(rule="log_pool", weights="learn").fit(*self.seen).weights_

    def fit(self, blocks, y, **options):
        self.seen = self.take(blocks), y
        return super().fit(blocks, y, **options)

    def regressor(self):
        from mkfusion import LateFusionRegressor

        return LateFusionRegressor(modalities=self.views)


class LatePool(Late):
    rule = "log_pool"


class Kernels(Way):
    package = "mkfusion"
    grid = ("C", [1.0, 10.0])

    def make(self):
        from mkfusion import MKLClassifier
        from mkfusion.kernels import RBF

        kernels = [(f"k{n}", RBF(gamma=1 / len(self.views[n])), n) for n in self.names]
        return MKLClassifier(kernels, self.views, C=C)

    def plain(self):
        from mkfusion import MKLClassifier

        return MKLClassifier()

    def by_name(self):
        return self.plain()

    def weights(self, model):
        return model.kernel_weights_

    def certificate(self, model):
        return model.duality_gap_ / model.objective_

    def regressor(self):
        from mkfusion import MKLRegressor

        return MKLRegressor(modalities=self.views)


class MKLpyEasy(Way):
    """A list of Gram matrices; the user computes those of training and those against it."""

    package = "MKLpy"
    grid = ("lam", [0.1, 0.5])
    svc = True

    def make(self):
        from MKLpy.algorithms import EasyMKL
        from sklearn.svm import SVC

        return EasyMKL(lam=0.1, learner=SVC(C=C)) if self.svc else EasyMKL(lam=0.1)

    def take(self, blocks, known=None):
        if known is None:
            known = blocks
        made = []
        for X, Y in zip(blocks, known, strict=True):
            lacking = np.isnan(X).any(axis=1), np.isnan(Y).any(axis=1)
            K = rbf_kernel(np.nan_to_num(X), np.nan_to_num(Y), gamma=1 / X.shape[1])
            K[lacking[0]] = np.nan
            K[:, lacking[1]] = np.nan
            made.append(K)
        return made

    def weights(self, model):
        found = model.solution
        many = list(found.values()) if isinstance(found, dict) else [found]
        return np.mean([np.asarray(each.weights) for each in many], axis=0)


class MKLpyKomd(MKLpyEasy):
    svc = False


class LearnMKL(Way):
    """Columns side by side; where a view ends is said at fit, in ``views_ind``."""

    package = "scikit-multimodallearn"
    grid = ("lmbda", [0.1, 1.0])
    binary = routed = True

    def kernels(self):
        params = [{"gamma": 1 / len(self.views[name])} for name in self.names]
        return {"kernel": ["rbf"] * len(self.names), "kernel_params": params}

    def make(self):
        from multimodal.kernels.lpMKL import MKL

        return MKL(lmbda=1 / C, **self.kernels()).set_fit_request(views_ind=True)

    def plain(self):
        from multimodal.kernels.lpMKL import MKL

        return MKL(lmbda=1 / C)

    def options(self):
        return {"views_ind": list(self.ends)}

    def weights(self, model):
        return model.weights

    def regressor(self):
        from multimodal.kernels.mvml import MVML

        return MVML(lmbda=1 / C, n_loops=1, **self.kernels())


class ViewVote(Way):
    """A list of arrays; the answer is the label that most views vote for."""

    package = "mvlearn"
    grid = ("base_estimator__C", [0.1, 1.0])

    def make(self):
        from mvlearn.compose import ViewClassifier
        from sklearn.linear_model import LogisticRegression

        return ViewClassifier(LogisticRegression(max_iter=1000))

    def take(self, blocks, known=None):
        return list(blocks)


class Himalaya(Way):
    """Regression on one column for each class, the largest of which is the answer."""

    package = "himalaya"
    grid = ("multiplekernelridgecv__fit_intercept", [True, False])
    classifier = False

    def make(self):
        from himalaya.kernel_ridge import ColumnKernelizer, Kernelizer, MultipleKernelRidgeCV
        from sklearn.pipeline import make_pipeline

        views = [
            (n, Kernelizer("rbf", {"gamma": 1 / len(self.views[n])}), self.views[n])
            for n in self.names
        ]
        ridge = MultipleKernelRidgeCV("precomputed", random_state=0, fit_intercept=True)
        ridge.set_params(solver_params={"progress_bar": False, "alphas": np.logspace(-6, 2, 9)})
        return make_pipeline(ColumnKernelizer(views), ridge)

    def plain(self):
        from himalaya.kernel_ridge import MultipleKernelRidgeCV

        return MultipleKernelRidgeCV()

    def by_name(self):
        model = self.make()
        by_name = [(n, own, [f"{n}__0", f"{n}__1"]) for n, own, _ in model[0].transformers]
        model[0].set_params(transformers=by_name)
        return model

    def fit(self, blocks, y, **options):
        self.classes = np.unique(y)
        target = (np.asarray(y)[:, None] == self.classes).astype(float)
        return self.make().fit(self.take(blocks), target, **options)

    def weighted(self, blocks, y, weight):
        return self.fit(blocks, y, multiplekernelridgecv__sample_weight=weight)

    def predict(self, model, blocks, known):
        return self.classes[np.asarray(model.predict(self.take(blocks))).argmax(axis=1)]

    def weights(self, model):
        return np.exp(model[-1].deltas_).mean(axis=1)

    def certificate(self, model):
        return super().certificate(model[-1])

    def regressor(self):
        return self.make()


class SoftVote(Way):
    package = "scikit-learn"
    grid = ("v0__logisticregression__C", [0.1, 1.0])
    routed = True

    def experts(self, model):
        from sklearn.compose import make_column_transformer
        from sklearn.pipeline import make_pipeline

        return [
            (n, make_pipeline(make_column_transformer(("passthrough", self.views[n])), model))
            for n in self.names
        ]

    def make(self):
        from sklearn.ensemble import VotingClassifier
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression(max_iter=1000).set_fit_request(sample_weight=True)
        return VotingClassifier(self.experts(model), voting="soft")

    def plain(self):
        from sklearn.ensemble import VotingClassifier
        from sklearn.linear_model import LogisticRegression

        return VotingClassifier([("a", LogisticRegression()), ("b", LogisticRegression(C=2))])

    def by_name(self):
        model = self.make()
        for name, own in model.estimators:
            own[0].set_params(transformers=[("x", "passthrough", [f"{name}__0", f"{name}__1"])])
        return model

    def regressor(self):
        from sklearn.ensemble import VotingRegressor
        from sklearn.linear_model import Ridge

        return VotingRegressor(self.experts(Ridge()))


class Joined(Way):
    package = "scikit-learn"
    grid = ("C", [1.0, 10.0])

    def make(self):
        from sklearn.svm import SVC

        return SVC(C=C, gamma=1 / self.ends[-1])

    def regressor(self):
        from sklearn.svm import SVR

        return SVR()


WAYS = {
    "mkfusion": {
        "LateFusionClassifier, mean": Late,
        "LateFusionClassifier, log_pool": LatePool,
        "MKLClassifier": Kernels,
    },
    "MKLpy": {"EasyMKL, SVC": MKLpyEasy, "EasyMKL, KOMD": MKLpyKomd},
    "scikit-multimodallearn": {"MKL": LearnMKL},
    "mvlearn": {"ViewClassifier": ViewVote},
    "himalaya": {"MultipleKernelRidgeCV": Himalaya},
    "scikit-learn": {"VotingClassifier, soft": SoftVote, "SVC, columns joined": Joined},
}


# What is tried ------------------------------------------------------------------------------


def few(blocks, y, n=120):
    return [X[:n] for X in blocks], y[:n]


def lacking(blocks):
    """Return the blocks with the first one lost by every third row."""
    first = blocks[0].copy()
    first[::3] = np.nan
    return [first, *blocks[1:]]


def labels(way, y):
    """Return what the package can take: of two classes only, 0-4 against 5-9."""
    return (y >= 5).astype(int) if way.binary else y


def target(way, y):
    """Return labels, or what a regression has in their place."""
    return labels(way, y) if way.classifier else y.astype(float)


def right(way, blocks, y, at_fit=None, at_predict=None):
    """Answer the rows of training, of which most must be right."""
    known = at_fit or blocks
    model = way.fit(known, y)
    answers = np.asarray(way.predict(model, at_predict or blocks, known))
    accuracy = float(np.mean(answers == y))
    if accuracy < 0.5:
        raise ValueError(f"accuracy {accuracy:.2f} on its own training rows")
    return "yes"


def try_ten_classes(way, blocks, y):
    return right(way, blocks, y)


def try_string_labels(way, blocks, y):
    return right(way, blocks, np.array([f"class {label}" for label in labels(way, y)]))


def try_probabilities(way, blocks, y):
    model = way.fit(blocks, labels(way, y))
    proba = np.asarray(way.proba(model, blocks, blocks))
    assert proba.shape == (len(y), len(np.unique(y))), f"shape {proba.shape}"
    assert np.allclose(proba.sum(axis=1), 1), "rows do not sum to 1"
    return "yes"


def try_sample_weight(way, blocks, y):
    way.weighted(blocks, labels(way, y), np.linspace(0.5, 1.5, len(y)))
    return "yes"


def try_clone(way, blocks, y):
    clone(way.make())
    return "yes"


def try_cross_val_score(way, blocks, y):
    scores = cross_val_score(
        way.make(), way.take(blocks), target(way, y), cv=3, params=way.options() or None,
        error_score="raise",
    )  # fmt: skip
    assert np.isfinite(scores).all(), "scores are NaN"
    return "yes"


def try_grid_search(way, blocks, y):
    search = GridSearchCV(way.make(), dict([way.grid]), error_score="raise", cv=3)
    search.fit(way.take(blocks), target(way, y), **way.options())
    return "yes"


def try_modalities_by_name(way, blocks, y):
    """Fit and ask a DataFrame of two columns a view, told apart by names."""
    narrow = type(way)([2] * len(blocks))
    frame = narrow.frame([X[:, :2] for X in blocks])
    model = narrow.by_name().fit(frame, target(way, y))
    assert len(model.predict(frame)) == len(y)
    return "yes"


def try_modality_absent_at_fit(way, blocks, y):
    return right(way, blocks, labels(way, y), at_fit=lacking(blocks))


def try_modality_absent_at_predict(way, blocks, y):
    return right(way, blocks, labels(way, y), at_predict=lacking(blocks))


def try_weights(way, blocks, y):
    """Two classes: a weight of each view, not below 0."""
    weights = np.asarray(way.weights(way.fit(blocks, (y >= 5).astype(int))), dtype=float).ravel()
    assert len(weights) == len(blocks), f"{len(weights)} weights"
    return "yes" if (weights >= 0).all() else "some are negative"


def try_certificate(way, blocks, y):
    """Two classes: an attribute of the fitted model that is a duality gap."""
    return f"yes, {way.certificate(way.fit(blocks, (y >= 5).astype(int))):.0e}"


def try_regression(way, blocks, y):
    blocks, y = few(blocks, y, 40)
    numbers = y + np.linspace(0, 0.5, len(y))
    model = way.regressor().fit(way.take(blocks), numbers, **way.options())
    answers = np.asarray(model.predict(way.take(blocks)))
    assert answers.shape[:1] == numbers.shape, f"shape {answers.shape}"
    assert len(np.unique(answers)) > 2, "the answers are two labels"
    return "yes"


PROBES = {
    name[4:].replace("_", " "): probe for name, probe in globals().items() if name[:4] == "try_"
}


def outcome(probe, *arguments):
    try:
        return str(probe(*arguments))
    except NotImplementedError:
        return "no"
    except Exception as error:  # whatever a package raises is the finding
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        return f"{type(error).__name__}: {first}"[:150]


def features(made, blocks, y):
    few_blocks, few_y = few(blocks, y)
    widths = [X.shape[1] for X in blocks]
    with config_context(enable_metadata_routing=made.routed):
        return {
            name: outcome(probe, made(widths), few_blocks, few_y) for name, probe in PROBES.items()
        }


# What is measured ---------------------------------------------------------------------------


def measure(made, blocks, y, draws):
    """Return accuracies and seconds by draw, of ten classes and of 0-4 against 5-9."""
    found = {}
    for task, labels in {"ten": y, "two": (y >= 5).astype(int)}.items():
        rows = []
        for train, test in draws:
            blocks_of = [[X[rows_] for X in blocks] for rows_ in (train, test)]
            scale = [(X.mean(axis=0), X.std(axis=0)) for X in blocks_of[0]]
            known, asked = (
                [(X - m) / np.where(s > 0, s, 1) for X, (m, s) in zip(each, scale, strict=True)]
                for each in blocks_of
            )
            try:
                with config_context(enable_metadata_routing=made.routed):
                    rows.append(
                        one_draw(made, known, asked, labels[train], labels[test], not rows)
                    )
            except Exception as error:
                rows = f"{type(error).__name__}: {str(error).splitlines()[0]}"[:150]
                break
            if rows[-1][1] > SLOW:
                break
        found[task] = rows
    return found


def one_draw(made, known, asked, y, y_asked, warm):
    way = made([X.shape[1] for X in known])
    if warm:  # what is compiled or imported is no part of the seconds
        model = way.fit(known, y)
        way.predict(model, asked, known)
    start = time.perf_counter()
    model = way.fit(known, y)
    answers = way.predict(model, asked, known)
    seconds = time.perf_counter() - start
    return float(np.mean(np.asarray(answers) == y_asked)), seconds


def conformity(made, blocks):
    """Return how many of scikit-learn's checks are passed and failed by the estimator."""
    from sklearn.utils.estimator_checks import check_estimator

    estimator = made([X.shape[1] for X in blocks]).plain()
    checks = check_estimator(estimator, on_skip=None, on_fail=None)
    return [sum(c["status"] == status for c in checks) for status in ("passed", "failed")]


def versions(names):
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "none"
    return found


def main(package, path, what):
    warnings.simplefilter("ignore")
    with np.load(path) as data:
        y, train, test = data["y"], data["train"], data["test"]
        blocks = [data[f"X{m}"] for m in range(len(data.files) - 3)]
    found = {}
    for name, made in WAYS[package].items():
        if what == "features":
            found[name] = features(made, blocks, y)
        elif what == "measure":
            found[name] = measure(made, blocks, y, list(zip(train, test, strict=True)))
        else:
            found[name] = outcome(conformity, made, blocks)
    print(json.dumps({"versions": versions([package, "scikit-learn", "numpy"]), "found": found}))


if __name__ == "__main__":
    main(*sys.argv[1:])
