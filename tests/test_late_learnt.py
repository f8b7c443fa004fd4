"""What late fusion learns out of fold: no leak, the folds, the groups, calibration, stacking."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    StackingClassifier,
    StackingRegressor,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import (
    BayesianRidge,
    LinearRegression,
    LogisticRegression,
    Ridge,
)
from sklearn.metrics import log_loss
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    GroupShuffleSplit,
    KFold,
    RepeatedStratifiedKFold,
    ShuffleSplit,
    StratifiedKFold,
    TimeSeriesSplit,
    cross_val_predict,
    cross_validate,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.estimator_checks import parametrize_with_checks

from mkfusion import HybridFusionClassifier, LateFusionClassifier, LateFusionRegressor
from mkfusion.datasets import simulate_missing
from mkfusion.rules import REGRESSION_RULES, RULES, Rule, fuse, learn_rule

TRAINED = [name for name, rule in RULES.items() if rule.trained]
LEARNABLE = [name for name, rule in RULES.items() if rule.learn and rule.weights]
WEIGHTED = [name for name, rule in RULES.items() if rule.weights]
WAYS = [
    *({"rule": name} for name in TRAINED),
    *({"rule": name, "weights": "learn"} for name in LEARNABLE),
    *({"rule": name, "weights": "search", "rule_params": {"n_draws": 40}} for name in WEIGHTED),
]
ways = pytest.mark.parametrize("way", WAYS, ids=lambda way: f"{way['rule']}-{way.get('weights')}")


def make_table(n=150, n_classes=3, seed=0, signal=1.0):
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % n_classes)
    widths = {"audio": 2, "video": 2, "text": 3}
    X = pd.DataFrame(
        {f"{m}__{j}": rng.normal(size=n) for m, width in widths.items() for j in range(width)}
    )
    X["audio__0"] += signal * y
    X["video__1"] -= signal * y
    return X, y


@pytest.fixture
def table():
    return make_table()


def block(X, name):
    return X.filter(regex=f"^{name}__")


def model():
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))


def out_of_fold(X, y):
    """Posteriors of shape (n_experts, n_samples, n_classes), by scikit-learn."""
    return np.array(
        [
            cross_val_predict(model(), block(X, m), y, cv=5, method="predict_proba")
            for m in ("audio", "video", "text")
        ]
    )


# No leak ------------------------------------------------------------------------------------


@ways
def test_noise_labels_give_no_more_than_chance(way, global_seed):
    """Experts that remember every row teach nothing, as long as they are asked of others."""
    rng = np.random.default_rng(global_seed)
    X = pd.DataFrame(rng.normal(size=(1200, 3)), columns=["a__0", "b__0", "c__0"])
    y = rng.integers(2, size=1200)
    fusion = LateFusionClassifier(
        estimator=KNeighborsClassifier(1), output_calibration="sigmoid", random_state=0, **way
    )
    fusion.fit(X[:600], y[:600])
    accuracy = fusion.score(X[600:], y[600:])
    assert abs(accuracy - 0.5) < 4.5 * np.sqrt(0.25 / 600)
    # What is learnt from posteriors that have seen the label is sure of itself, and wrong.
    assert log_loss(y[600:], fusion.predict_proba(X[600:])) < 0.72


def test_the_leak_that_is_kept_out_would_show(global_seed):
    rng = np.random.default_rng(global_seed)
    X, y = rng.normal(size=(600, 3, 1)), rng.integers(2, size=600)
    seen = np.array([KNeighborsClassifier(1).fit(x, y).predict_proba(x) for x in X.swapaxes(0, 1)])
    leaking = learn_rule(seen, y, "log_pool", weights="learn")
    assert leaking.loss < 1e-3
    fresh = rng.permuted(seen, axis=1)
    assert log_loss(y, fuse(fresh, "log_pool", weights=leaking)) > 2


@pytest.mark.parametrize("grouped", [False, True])
def test_folds_that_are_repeated_do_not_leak(grouped, global_seed):
    """What calibrates the answers of a fold has not seen its rows, or groups, in another."""
    X, y, groups = make_groups(global_seed)
    X = X.reset_index(drop=True)
    cv = GroupShuffleSplit(12, test_size=0.3, random_state=0)
    if not grouped:
        X, y, groups = X[::5], y[::5], None
        cv = RepeatedStratifiedKFold(n_splits=4, n_repeats=4, random_state=0)
    fusion = LateFusionClassifier(
        rule="stacking",
        passthrough=True,
        final_estimator=KNeighborsClassifier(1),
        output_calibration="sigmoid",
        cv=cv,
    ).fit(X, y, groups=groups)
    # The stack's own rows are no surprise to it, and rows to come are noise.
    assert np.abs(fusion.predict_proba(X) - 0.5).mean() < 0.42


def make_groups(seed):
    """Groups whose rows are nearly copies, and whose labels are noise."""
    rng = np.random.default_rng(seed)
    groups = rng.permutation(np.repeat(np.arange(60), 5))
    centres, labels = rng.normal(size=(60, 3)) * 10, rng.integers(2, size=60)
    X = centres[groups] + 0.01 * rng.normal(size=(300, 3))
    index = pd.MultiIndex.from_arrays([groups, np.arange(300)], names=["subject", "row"])
    return pd.DataFrame(X, columns=["a__0", "b__0", "c__0"], index=index), labels[groups], groups


def loss_that_was_promised(X, y, **more):
    groups = more.pop("fit_groups", None)
    fusion = LateFusionClassifier(
        estimator=KNeighborsClassifier(1), rule="log_pool", weights="learn", **more
    )
    return fusion.fit(X, y, groups=groups).learnt_.loss


def test_groups_are_kept_together(global_seed):
    X, y, groups = make_groups(global_seed)
    assert loss_that_was_promised(X, y) < 0.1  # rows of one group on both sides: a leak
    plain = X.reset_index(drop=True)
    column = plain.assign(subject=groups)
    honest = loss_that_was_promised(X, y, groups="subject")
    assert honest > 0.5
    assert loss_that_was_promised(plain, y, fit_groups=groups) == honest
    assert loss_that_was_promised(plain, y, fit_groups=groups.astype(str)) == honest
    assert loss_that_was_promised(column, y, groups="subject") == honest
    assert loss_that_was_promised(X.rename_axis(index=["sequence", "row"]), y) == honest
    assert loss_that_was_promised(X, y, groups="subject", cv=GroupKFold(4)) > 0.5


def test_a_column_of_groups_is_no_feature(global_seed):
    X, y, groups = make_groups(global_seed)
    X = X.reset_index(drop=True)
    plain = LateFusionClassifier().fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        named = LateFusionClassifier(groups="subject").fit(X.assign(subject=groups), y)
    assert list(named.modalities_) == ["a", "b", "c"]
    assert_array_equal(named.predict_proba(X.assign(subject=-1)), plain.predict_proba(X))
    by_mapping = LateFusionClassifier(
        modalities={"a": ["a__0"], "rest": ["b__0", "c__0"]}, groups="subject", remainder="error"
    )
    by_mapping.fit(X.assign(subject=groups), y)
    with pytest.raises(
        ValueError, match=r"modality 'a' selects 'subject', which names the groups"
    ):
        LateFusionClassifier(modalities={"a": ["subject"]}, groups="subject").fit(
            X.assign(subject=groups), y
        )
    left_over = X.assign(remainder__subject=groups)
    assert list(
        LateFusionClassifier(groups="remainder__subject").fit(left_over, y).modalities_
    ) == [*"abc"]


@pytest.mark.parametrize(
    ("arguments", "fit_groups", "message"),
    [
        ({"groups": "person"}, None, "'person', which is neither an index level nor a column"),
        ({"groups": "subject"}, np.zeros(300), "groups are given twice"),
        ({"groups": 3}, None, "the name of an index level or of a column"),
        ({}, np.zeros(299), "groups has 299"),
        ({}, np.zeros(300), "all samples are in one group"),
        ({}, np.where(np.arange(300) < 3, np.nan, 1), "groups is missing for 3 samples"),
        ({}, [np.nan if i < 3 else "ann" for i in range(300)], "groups is missing for 3 samples"),
        ({}, np.ma.masked_less(np.arange(300), 3), "groups is a masked array"),
        ({}, np.zeros((300, 1)), r"one dimension, got shape \(300, 1\)"),
        ({}, "subject", "must hold a value for each sample, got 'subject'"),
        ({"groups": np.arange(300)}, None, "the name of an index level or of a column.*ndarray"),
        ({"groups": "subject", "cv": KFold(3, shuffle=True)}, None, "divides .* groups"),
        ({"groups": "subject", "cv": 100}, None, "cannot be made"),
    ],
)
def test_groups_that_do_not_fit_are_refused(arguments, fit_groups, message):
    X, y, _ = make_groups(0)
    rules = ["naive_bayes"] if "in one group" in message or "cv" in arguments else RULES
    for rule in rules:  # where nothing is learnt too
        with pytest.raises((ValueError, TypeError), match=message):
            LateFusionClassifier(rule=rule, **arguments).fit(X, y, groups=fit_groups)


@pytest.mark.parametrize("kind", ["tuples", "dates", "categories", "mixed", "series", "nullable"])
def test_groups_of_any_kind_are_groups(kind, table):
    X, y = table
    codes = np.arange(len(y)) // 6
    groups = {
        "tuples": [(code, "x") for code in codes],
        "dates": pd.Timestamp("2020-01-01") + pd.to_timedelta(codes, "D"),
        "categories": pd.Categorical(codes.astype(str)),
        "mixed": [str(code) if code % 2 else int(code) for code in codes],
        "series": pd.Series(codes, index=X.index[::-1]),
        "nullable": pd.array(codes, dtype="Int64"),
    }[kind]
    fusion = LateFusionClassifier(rule="stacking")
    expected = fusion.fit(X, y, groups=codes).predict_proba(X)
    assert_array_equal(fusion.fit(X, y, groups=groups).predict_proba(X), expected)


def test_groups_that_cut_a_sequence_are_refused(table):
    X, y = table
    index = pd.MultiIndex.from_arrays([np.arange(150) // 5, np.arange(150)])
    X = X.set_axis(index.set_names(["sequence", "step"]), axis=0)
    fusion = LateFusionClassifier(rule="naive_bayes")
    fusion.fit(X, y, groups=np.arange(150) // 10)
    with pytest.raises(ValueError, match=r"groups divides 30 sequences \(0, 1, 2 and 27 more\)"):
        fusion.fit(X, y, groups=np.arange(150) % 7)
    with pytest.raises(ValueError, match="groups divides 30 sequences"):
        fusion.set_params(groups="step").fit(X, y)


def test_folds_of_groups_are_fewer_for_a_small_class(table):
    X, _ = table
    groups = np.arange(9)
    fusion = LateFusionClassifier(rule="naive_bayes", estimator=Counter())
    Counter.fits = 0
    fusion.fit(X[:9], np.arange(9) % 3, groups=groups)
    assert Counter.fits == 3 * (1 + 3)


def test_groups_by_metadata_routing():
    X, y, groups = make_groups(0)
    X = X.reset_index(drop=True)
    with sklearn.config_context(enable_metadata_routing=True):
        fusion = LateFusionClassifier(
            estimator=KNeighborsClassifier(1), rule="log_pool", weights="learn"
        ).set_fit_request(groups=True)
        found = cross_validate(
            fusion, X, y, cv=GroupKFold(3), params={"groups": groups}, return_estimator=True
        )
        # An expert of one's own may want them too.
        search = GridSearchCV(GaussianNB(), {"var_smoothing": [1e-9, 1.0]}, cv=GroupKFold(2))
        LateFusionClassifier(estimator=search, rule="mean").fit(X, y, groups=groups)
    assert min(each.learnt_.loss for each in found["estimator"]) > 0.5


# The folds ----------------------------------------------------------------------------------


class Counter(ClassifierMixin, BaseEstimator):
    """Counts the fits of all its copies, and remembers who was asked of what."""

    fits = 0

    def fit(self, X, y, sample_weight=None):
        Counter.fits += 1
        self.model_ = GaussianNB().fit(X, y, sample_weight)
        self.classes_ = self.model_.classes_
        self.rows_ = set(np.asarray(X)[:, 0])
        return self

    def predict_proba(self, X):
        return self.model_.predict_proba(X)

    def decision_function(self, X):
        return self.model_.predict_log_proba(X)


@pytest.mark.parametrize(
    ("arguments", "folds"),
    [
        ({}, 0),
        ({"rule": "mean", "weights": None}, 0),
        ({"rule": "weighted", "weights": [1, 2, 3]}, 0),
        *(({"rule": rule}, 5) for rule in TRAINED),
        ({"rule": "weighted", "weights": "learn"}, 5),
        ({"rule": "vote", "weights": "search", "cv": 3}, 3),
        ({"calibration": "sigmoid"}, 5),
        ({"calibration": {"audio": "sigmoid"}, "cv": 2}, 2),
        ({"output_calibration": "temperature"}, 5),
        ({"rule": "stacking", "calibration": "isotonic", "output_calibration": "sigmoid"}, 5),
        ({"rule": "bks", "cv": RepeatedStratifiedKFold(n_splits=2, n_repeats=3)}, 6),
    ],
)
@pytest.mark.parametrize("cls", [LateFusionClassifier, HybridFusionClassifier])
def test_experts_are_fitted_once_and_once_for_each_fold(cls, arguments, folds, table):
    X, y = table
    Counter.fits = 0
    if cls is HybridFusionClassifier and isinstance(arguments.get("weights"), list):
        arguments = {**arguments, "weights": [1, 2, 3, 4]}
    cls(estimator=Counter(), **arguments).fit(X, y)
    experts = 3 if cls is LateFusionClassifier else 4
    assert Counter.fits == experts * (1 + folds)


def test_weights_are_learnt_from_what_scikit_learn_calls_out_of_fold(table):
    X, y = table
    fusion = LateFusionClassifier(rule="log_pool", weights="learn").fit(X, y)
    by_hand = learn_rule(out_of_fold(X, y), y, "log_pool", weights="learn")
    assert_allclose(fusion.weights_, by_hand.weights, atol=1e-6)
    assert fusion.learnt_.loss == pytest.approx(by_hand.loss, abs=1e-9)
    experts = np.array(
        [
            model().fit(block(X, m), y).predict_proba(block(X, m))
            for m in ("audio", "video", "text")
        ]
    )
    expected = fuse(experts, "log_pool", weights=by_hand)
    assert_allclose(fusion.predict_proba(X), expected, atol=1e-6)


@ways
def test_string_labels_are_learnt_as_codes_are(way, table):
    X, y = table
    names = np.array(["cat", "dog", "emu"])
    one = LateFusionClassifier(random_state=0, **way).fit(X, y)
    other = LateFusionClassifier(random_state=0, **way).fit(X, names[y])
    assert_allclose(one.predict_proba(X), other.predict_proba(X), atol=1e-12)
    assert set(other.predict(X)) <= set(names)


@ways
def test_an_absent_modality_leaves_an_answer(way, table):
    X, y = table
    damaged = simulate_missing(X, rate=0.4, random_state=0)
    fusion = LateFusionClassifier(random_state=0, **way).fit(damaged, y)
    probabilities = fusion.predict_proba(damaged)
    assert_allclose(probabilities.sum(axis=1), 1)
    assert fusion.score(damaged, y) > 0.55
    with pytest.warns(UserWarning, match="they get the priors"):
        assert_allclose(fusion.predict_proba(X * np.nan)[:3], np.tile(fusion.priors_, (3, 1)))


@pytest.mark.parametrize(
    ("cv", "message"),
    [
        ([(np.arange(100), np.arange(50, 150))], "test rows are among its training rows"),
        ([(np.arange(100), np.arange(100, 151))], "names row 150, but there are 150"),
        (1, "cannot be made"),
        ("five", "cv"),
        ([], "cv gives no folds"),
        ([("a", "b")], "places of rows or masks"),
        ([(np.ones(3, bool), np.zeros(3, bool))], "a mask of 3 samples, but there are 150"),
        (200, "cannot be made"),
    ],
)
def test_folds_that_cannot_be_are_refused(cv, message, table):
    X, y = table
    with pytest.raises((ValueError, TypeError), match=message):
        LateFusionClassifier(rule="bks", cv=cv).fit(X, y)


def test_any_splitter_serves(table):
    X, y = table
    wanted = LateFusionClassifier(rule="stacking", cv=StratifiedKFold(3)).fit(X, y)
    for cv in (3, list(StratifiedKFold(3).split(X, y)), iter(StratifiedKFold(3).split(X, y))):
        fusion = LateFusionClassifier(rule="stacking", cv=cv).fit(X, y)
        assert_array_equal(fusion.predict_proba(X), wanted.predict_proba(X))
    masks = [
        (np.isin(np.arange(150), a), np.isin(np.arange(150), b))
        for a, b in StratifiedKFold(3).split(X, y)
    ]
    fusion = LateFusionClassifier(rule="stacking", cv=masks).fit(X, y)
    assert_array_equal(fusion.predict_proba(X), wanted.predict_proba(X))
    for cv in (ShuffleSplit(3, random_state=0), TimeSeriesSplit(3)):  # no partition
        assert (
            LateFusionClassifier(rule="log_pool", weights="learn", cv=cv).fit(X, y).score(X, y)
            > 0.5
        )


def test_a_class_that_no_fold_can_learn_is_named_and_left_out(table):
    X, y = table
    y = np.where(np.arange(len(y)) == 7, 3, y)
    with pytest.warns(UserWarning, match="1 samples are left out of what is learnt"):
        fusion = LateFusionClassifier(rule="stacking").fit(X, y)
    assert list(fusion.classes_) == [0, 1, 2, 3]
    assert (fusion.predict_proba(X)[:, 3] == 0).all()


@pytest.mark.filterwarnings("ignore:1 samples are left out of what is learnt")
@pytest.mark.parametrize(
    ("way", "said"),
    [
        ({"rule": "stacking"}, r"^rule 'stacking' learns from answers out of fold"),
        ({"rule": "naive_bayes"}, r"^rule 'naive_bayes' learns from answers out of fold"),
        (
            {"rule": "log_pool", "weights": "learn"},
            r"^rule 'log_pool' with weights='learn' learns from answers out of fold",
        ),
        ({"calibration": "sigmoid"}, r"^the model of modality 'audio' cannot be calibrated"),
        ({"output_calibration": "sigmoid"}, r"^output_calibration='sigmoid' needs out-of-fold"),
    ],
)
def test_a_class_of_one_sample_beside_one_other_is_refused_by_name(table, way, said):
    """Of the answers out of fold all are about the other class, and there is nothing to learn."""
    X, y = table
    y = np.where(np.arange(len(y)) == 7, "rare", "usual")
    needs = r".*needs at least 2 samples of each class, .* of class 'rare' \(1 sample\) none "
    with pytest.raises(ValueError, match=said + needs):
        LateFusionClassifier(**way).fit(X, y)


@pytest.mark.filterwarnings("ignore:4 samples are left out of what is learnt")
def test_a_class_of_one_group_is_refused_with_its_count(table):
    X, y = table
    y = np.where(np.arange(len(y)) < 4, "rare", "usual")
    groups = np.where(y == "rare", 0, np.arange(len(y)))
    with pytest.raises(ValueError, match=r"of class 'rare' \(4 samples\) none could be learnt"):
        LateFusionClassifier(rule="stacking").fit(X, y, groups=groups)
    LateFusionClassifier(rule="mean").fit(X, y, groups=groups)  # which the message offers


def test_learning_does_not_depend_on_jobs(table):
    X, y = table
    for way in WAYS[:6]:
        one = LateFusionClassifier(random_state=0, **way).fit(X, y)
        two = LateFusionClassifier(random_state=0, n_jobs=2, **way).fit(X, y)
        assert_array_equal(one.predict_proba(X), two.predict_proba(X))


# Weights ------------------------------------------------------------------------------------


def test_weight_of_a_noise_modality_goes_to_zero():
    X, y = make_table(n=3000, seed=1)
    for rule in ("weighted", "log_pool"):
        weights = LateFusionClassifier(rule=rule, weights="learn").fit(X, y).weights_
        assert weights[2] < 0.03
        assert weights[:2].min() > 0.25
    learnt = LateFusionClassifier(rule="dempster_shafer", weights="learn").fit(X, y).weights_
    assert learnt[2] < learnt[:2].min()


@pytest.mark.parametrize("rule", WEIGHTED)
def test_searched_weights_are_no_worse_than_one_expert_or_all(rule, table):
    X, y = table
    fusion = LateFusionClassifier(rule=rule, weights="search", random_state=3).fit(X, y)
    told = out_of_fold(X, y)

    def loss(weights):
        fused = fuse(told, rule, weights=weights, priors=fusion.priors_, log=True)
        if rule in ("vote", "borda"):
            return (fused.argmax(axis=1) != y).mean()
        return -np.maximum(fused[np.arange(len(y)), y], np.log(np.finfo(float).eps)).mean()

    rivals = [*np.eye(3), np.full(3, 1 / 3) if RULES[rule].weights == "share" else np.ones(3)]
    assert loss(fusion.weights_) <= min(map(loss, rivals)) + 1e-9
    assert fusion.learnt_.loss == pytest.approx(loss(fusion.weights_), abs=1e-6)


def test_weights_searched_by_class(table):
    X, y = table
    fusion = LateFusionClassifier(rule="weighted", weights="search_by_class", random_state=0)
    assert fusion.fit(X, y).weights_.shape == (3, 3)
    assert_allclose(fusion.weights_.sum(axis=0), 1)
    parts = fusion.modality_contributions(X)
    assert_allclose(parts.decision, fusion.predict_proba(X), atol=1e-12)


def test_search_is_repeated_by_its_seed(table):
    X, y = table
    search = LateFusionClassifier(rule="weighted", weights="search")
    one, same, other = (
        clone(search).set_params(random_state=seed).fit(X, y).weights_ for seed in (0, 0, 1)
    )
    assert_array_equal(one, same)
    assert (one != other).any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rule": "mean", "weights": "learn"}, "'mean' takes no weights"),
        ({"rule": "naive_bayes", "weights": "learn"}, "'naive_bayes' takes no weights"),
        ({"rule": "naive_bayes", "weights": [1, 1, 1]}, "'naive_bayes' takes no weights"),
        ({"rule": "vote", "weights": "learn"}, "'vote' are searched, not learnt"),
        ({"rule": "vote", "weights": "search_by_class"}, "no weights by class"),
        ({"rule": "mean", "rule_params": {"smoothing": 1}}, "rule_params are for a rule that is"),
        ({"calibration": "platt"}, "calibration must be one of .* got 'platt'"),
        ({"calibration": {"smell": "sigmoid"}}, "calibration names 'smell'"),
        ({"calibration": {"audio": "platt"}}, r"calibration\['audio'\] must be one of"),
        ({"output_calibration": "platt"}, "output_calibration must be one of"),
        ({"rule": "stacking", "final_estimator": LinearSVC()}, "LinearSVC.* has no predict_proba"),
        ({"rule": "stacking", "final_estimator": LogisticRegression}, "class|type"),
    ],
)
def test_what_cannot_be_learnt_is_refused(arguments, message, table):
    X, y = table
    with pytest.raises((ValueError, TypeError), match=message):
        LateFusionClassifier(**arguments).fit(X, y)


@pytest.mark.parametrize("rule", [name for name in REGRESSION_RULES if name != "weighted"])
@pytest.mark.parametrize("weights", ["learn", "search", [1, 2, 3]])
def test_rules_of_numbers_refuse_weights_that_they_do_not_heed(rule, weights, table):
    X, y = table
    message = f"rule '{rule}' takes no weights; those that do: 'weighted'"
    with pytest.raises(ValueError, match=message):
        LateFusionRegressor(rule=rule, weights=weights).fit(X, y)


def test_experts_that_only_label_cannot_be_calibrated(table):
    X, y = table
    labels = Labels()
    LateFusionClassifier(estimator=labels, rule="vote").fit(X, y)
    with pytest.raises(ValueError, match="but calibration needs posteriors"):
        LateFusionClassifier(estimator=labels, rule="vote", calibration="sigmoid").fit(X, y)


class Labels(ClassifierMixin, BaseEstimator):
    """Has neither posteriors nor margins."""

    def fit(self, X, y):
        self.model_ = GaussianNB().fit(X, y)
        self.classes_ = self.model_.classes_
        return self

    def predict(self, X):
        return self.model_.predict(X)


@pytest.mark.parametrize("n_classes", [3, 4])
def test_margins_of_pairs_are_refused(n_classes):
    X, y = make_table(n_classes=n_classes)
    pairs = make_pipeline(StandardScaler(), SVC(decision_function_shape="ovo"))
    with pytest.raises(ValueError, match="'audio' gives a margin for each pair of classes"):
        LateFusionClassifier(estimator=pairs).fit(X, y)
    LateFusionClassifier(estimator=pairs, rule="vote").fit(X, y)
    X, y = make_table(n_classes=2)
    LateFusionClassifier(estimator=pairs).fit(X, y)


def test_unknown_option_of_a_rule_is_refused(table):
    X, y = table
    with pytest.raises(TypeError, match="colour"):
        LateFusionClassifier(rule="bks", rule_params={"colour": 1}).fit(X, y)


def test_weights_that_do_not_converge_say_what_is_left(table):
    X, y = table
    fusion = LateFusionClassifier(rule="log_pool", weights="learn", rule_params={"max_iter": 1})
    with pytest.warns(ConvergenceWarning, match=r"not converged after 1 iter.*gradient left is"):
        fusion.fit(X, y)
    assert not fusion.learnt_.converged


def test_options_of_a_rule_reach_it_and_are_searched(table):
    X, y = table
    search = GridSearchCV(
        LateFusionClassifier(rule="naive_bayes"),
        {"rule_params": [{"smoothing": 0.1}, {"smoothing": 1e6}]},
        cv=2,
        scoring="neg_log_loss",
    ).fit(X, y)
    assert search.best_params_ == {"rule_params": {"smoothing": 0.1}}


# After the fit ------------------------------------------------------------------------------


def test_rule_that_was_not_learnt_is_refused_after_fit(table):
    X, y = table
    fusion = LateFusionClassifier(rule="mean").fit(X, y)
    for change in ({"rule": "bks"}, {"rule": "log_pool", "weights": "learn"}):
        with pytest.raises(ValueError, match="must be learnt from the training data; fit again"):
            clone_with(fusion, **change).predict(X)
    with pytest.raises(ValueError, match="'sigmoid' was not fitted for rule 'mean'"):
        clone_with(fusion, output_calibration="sigmoid").predict(X)
    for passthrough in (False, True):
        stack = LateFusionClassifier(rule="stacking", passthrough=passthrough).fit(X, y)
        with pytest.raises(ValueError, match=f"passthrough={not passthrough} must be learnt"):
            clone_with(stack, passthrough=not passthrough).predict(X)
    learnt = LateFusionClassifier(rule="log_pool", weights="learn").fit(X, y)
    plain = clone_with(learnt, weights=None)
    expected = LateFusionClassifier(rule="log_pool").fit(X, y).predict_proba(X)
    assert_array_equal(plain.predict_proba(X), expected)


def clone_with(fitted, **params):
    return pickle.loads(pickle.dumps(fitted)).set_params(**params)


@pytest.mark.parametrize(
    "way", [way for way in WAYS if RULES[way["rule"]].additive], ids=lambda way: str(way)
)
def test_contributions_of_learnt_rules_add_up(way, table):
    X, y = table
    X = simulate_missing(X, rate=0.3, random_state=1)
    fusion = LateFusionClassifier(random_state=0, **way).fit(X, y)
    parts = fusion.modality_contributions(X)
    assert_allclose(parts.base + parts.contributions.sum(axis=1), parts.decision, atol=1e-12)
    if RULES[way["rule"]].log:
        assert_allclose(parts.decision, fusion.predict_log_proba(X), atol=1e-9)
    present = np.array([block(X, m).notna().any(axis=1) for m in ("audio", "video", "text")])
    assert (parts.contributions[~present.T] == 0).all()


# Calibration --------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["sigmoid", "isotonic", "temperature"])
@pytest.mark.parametrize("estimator", [LinearSVC(), GaussianNB(), SVC()])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_calibrated_experts_are_those_of_scikit_learn(method, estimator, n_classes):
    X, y = make_table(n_classes=n_classes)
    fusion = LateFusionClassifier(estimator=estimator, calibration=method, rule="mean").fit(X, y)
    expected = [
        CalibratedClassifierCV(estimator, method=method, cv=5, ensemble=False)
        .fit(block(X, m), y)
        .predict_proba(block(X, m))
        for m in ("audio", "video", "text")
    ]
    # A temperature is found to some digits only, and sums over a frame round in another order.
    exact = {"rtol": 1e-5} if method == "temperature" else {"atol": 1e-12}
    assert_allclose(fusion.transform(X), np.hstack(expected), **exact)
    assert_allclose(fusion.predict_proba(X), np.mean(expected, axis=0), **exact)
    assert list(fusion.calibrators_) == ["audio", "video", "text"]


@pytest.mark.parametrize("method", ["sigmoid", "isotonic", "temperature"])
@pytest.mark.parametrize("labels", [[-3, 7, 17], [1, 2, 3], ["ant", "bee", "cow"]])
def test_calibration_does_not_depend_on_what_the_classes_are_called(method, labels, table):
    X, y = table
    labels = np.array(labels)
    fusion = LateFusionClassifier(rule="mean", calibration=method, output_calibration=method)
    expected = fusion.fit(X, y).predict_proba(X)
    assert_array_equal(fusion.fit(X, labels[y]).predict_proba(X), expected)
    assert_array_equal(fusion.calibrators_["audio"].classes_, labels)
    assert_array_equal(fusion.output_calibrators_[()].classes_, labels)


def test_calibration_by_name(table):
    X, y = table
    fusion = LateFusionClassifier(calibration={"audio": "isotonic", "text": None}).fit(X, y)
    assert list(fusion.calibrators_) == ["audio"]


def test_calibrated_expert_carries_the_frequencies(table):
    X, y = table
    X, y = X[y != 0], y[y != 0]
    weight = np.where(y == 1, 3.0, 1.0)
    expert = LogisticRegression(class_weight="balanced")
    for method, prior in ((None, 0.5), ("temperature", 0.5), ("sigmoid", 0.75)):
        fusion = LateFusionClassifier(estimator=expert, calibration=method).fit(X, y, weight)
        assert_allclose(fusion.expert_priors_[:, 0], prior)


def test_calibrated_expert_carries_the_weights_that_it_was_fitted_without(table):
    """Sigmoids are fitted with weights, whether or not the expert was."""
    X, y = table
    weight = np.where(y == 0, 8.0, 1.0)
    with pytest.warns(UserWarning, match="takes no sample_weight"):
        fusion = LateFusionClassifier(estimator=KNeighborsClassifier(), calibration="sigmoid").fit(
            X, y, weight
        )
    weighted = np.bincount(y, weight) / weight.sum()
    assert_allclose(fusion.expert_priors_, np.tile(weighted, (3, 1)))
    told = fusion.transform(X).reshape(len(X), 3, 3)
    means = np.average(told, axis=0, weights=weight)
    assert np.abs(means - weighted).max() < np.abs(means - np.bincount(y) / len(y)).max() / 2


def test_weights_that_routing_keeps_from_an_expert_do_not_count_in_its_prior(table):
    X, y = table
    weight = np.where(y == 0, 5.0, 1.0)
    plain, weighted = np.bincount(y) / len(y), np.bincount(y, weight) / weight.sum()
    with sklearn.config_context(enable_metadata_routing=True):
        fusion = LateFusionClassifier(
            [("audio", LogisticRegression().set_fit_request(sample_weight=False))],
            estimator=LogisticRegression().set_fit_request(sample_weight=True),
        ).fit(X, y, sample_weight=weight)
    assert_allclose(fusion.expert_priors_, [plain, weighted, weighted])


def test_posteriors_that_a_rule_learns_from_are_calibrated_without_their_label():
    """Isotonic steps that have seen a row's label would promise too much of it."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(200, 2)), columns=["a__0", "b__0"])
    y = rng.integers(2, size=200)
    fusion = LateFusionClassifier(rule="log_pool", weights="learn", calibration="isotonic")
    assert fusion.fit(X, y).learnt_.loss > 0.685


def test_sigmoid_makes_a_sure_expert_modest(global_seed):
    X, y = make_table(n=2000, seed=global_seed, signal=0.7)
    copies = pd.concat(
        [block(X, "audio").set_axis([f"{m}__0", f"{m}__1"], axis=1) for m in "abcd"], axis=1
    )
    loss = {}
    for method in (None, "sigmoid", "temperature"):  # isotonic steps may end at 0
        fusion = LateFusionClassifier(rule="product", output_calibration=method)
        fusion.fit(copies[:1000], y[:1000])
        loss[method] = log_loss(y[1000:], fusion.predict_proba(copies[1000:]))
    # Four copies of one expert, multiplied, are four times as sure as they may be.
    assert max(loss["sigmoid"], loss["temperature"]) < loss[None] - 0.1
    alone = LateFusionClassifier().fit(copies[:1000].filter(regex="a__|b__"), y[:1000])
    assert loss["temperature"] < log_loss(
        y[1000:], alone.predict_proba(copies[1000:].filter(regex="a__|b__"))
    )


def test_output_is_calibrated_by_pattern():
    X, y = make_table(n=3000, seed=2)
    copies = pd.concat(
        [block(X, "audio").set_axis([f"{m}__0", f"{m}__1"], axis=1) for m in "abc"], axis=1
    )
    fusion = LateFusionClassifier(rule="product", output_calibration="temperature").fit(copies, y)
    assert set(fusion.output_calibrators_) == {
        (),
        ("a",),
        ("b",),
        ("c",),
        ("a", "b"),
        ("a", "c"),
        ("b", "c"),
        ("a", "b", "c"),
    }
    betas = {
        len(key): each.calibrated_classifiers_[0].calibrators[0].beta_
        for key, each in fusion.output_calibrators_.items()
    }
    assert_allclose([betas[1] / betas[2], betas[1] / betas[3]], [2, 3], rtol=0.03)
    one = copies.assign(**{name: np.nan for name in copies if name[0] != "a"})
    # Whoever is left alone is believed as one who is alone.
    assert_allclose(fusion.predict_proba(copies), fusion.predict_proba(one), atol=0.02)
    with np.errstate(divide="ignore"):
        assert_array_equal(fusion.predict_log_proba(one), np.log(fusion.predict_proba(one)))


def test_output_calibration_of_one_pattern_is_that_of_scikit_learn(table):
    X, y = table
    fusion = LateFusionClassifier(rule="mean", output_calibration="sigmoid").fit(X, y)
    by_hand = CalibratedClassifierCV(
        LateFusionClassifier(rule="mean"), method="sigmoid", cv=5, ensemble=False
    ).fit(X, y)
    assert_allclose(fusion.predict_proba(X), by_hand.predict_proba(X), atol=1e-9)


def test_rare_patterns_share_a_calibrator():
    X, y = make_table(n=300)
    X.iloc[:4, 2:] = np.nan
    X.iloc[4:290, 4:] = np.nan
    fusion = LateFusionClassifier(
        estimator=HistGradientBoostingClassifier(max_iter=3), output_calibration="sigmoid", cv=2
    ).fit(X, y)
    assert ("audio", "text") not in fusion.output_calibrators_
    assert ("audio", "video") in fusion.output_calibrators_
    assert_allclose(fusion.predict_proba(X).sum(axis=1), 1)


# Stacking -----------------------------------------------------------------------------------


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("passthrough", [False, True])
@pytest.mark.parametrize("as_frame", [False, True])
def test_stacking_is_that_of_scikit_learn(n_classes, passthrough, as_frame):
    X, y = make_table(n_classes=n_classes)
    X = X if as_frame else X.to_numpy()
    places = {"audio": [0, 1], "video": [2, 3], "text": [4, 5, 6]}
    final = LogisticRegression(C=0.3, max_iter=1000)
    theirs = StackingClassifier(
        [
            (m, make_pipeline(ColumnTransformer([(m, "passthrough", j)]), model()))
            for m, j in places.items()
        ],
        final_estimator=final,
        passthrough=passthrough,
        stack_method="predict_proba",
    ).fit(X, y)
    ours = LateFusionClassifier(
        modalities=places, rule="stacking", final_estimator=final, passthrough=passthrough
    ).fit(X, y)
    assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-9)


def test_stacked_regression_is_that_of_scikit_learn():
    X, y = make_table()
    numbers = X.sum(axis=1) + y
    places = {"audio": [0, 1], "video": [2, 3], "text": [4, 5, 6]}
    expert = make_pipeline(StandardScaler(), Ridge())
    for passthrough in (False, True):
        theirs = StackingRegressor(
            [
                (m, make_pipeline(ColumnTransformer([(m, "passthrough", j)]), expert))
                for m, j in places.items()
            ],
            passthrough=passthrough,
        ).fit(X, numbers)
        ours = LateFusionRegressor(rule="stacking", passthrough=passthrough).fit(X, numbers)
        assert_allclose(ours.predict(X), theirs.predict(X), rtol=1e-9)


@pytest.mark.parametrize("final", [None, HistGradientBoostingClassifier(max_iter=20)])
def test_stacking_marks_or_keeps_what_is_absent(final):
    X, y = make_table(n=600)
    lost = simulate_missing(X, rate={"audio": 0.5, "video": 0.0, "text": 0.0}, random_state=0)
    fusion = LateFusionClassifier(rule="stacking", final_estimator=final).fit(lost, y)
    learnt = fusion.learnt_
    if final is None:
        assert_array_equal(learnt.marked, [True, False, False])
        assert_allclose(learnt.fill, fusion.priors_)
        assert learnt.model.n_features_in_ == 10
    else:
        assert learnt.fill is None
        assert learnt.model.n_features_in_ == 9
    assert fusion.score(simulate_missing(X, rate=0.3, random_state=1), y) > 0.5


def test_features_passed_through_have_names(table):
    X, y = table
    X = simulate_missing(X, rate=0.2, random_state=0)
    final = ColumnsSeen()
    names = np.array(["cat", "dog", "emu"])[y]
    LateFusionClassifier(rule="stacking", passthrough=True, final_estimator=final).fit(X, names)
    posteriors = [
        f"{m}__P({c})" for m in ("audio", "video", "text") for c in ("cat", "dog", "emu")
    ]
    marks = ["audio__absent", "video__absent", "text__absent"]
    assert ColumnsSeen.columns == [*posteriors, *marks, *X.columns]
    chosen = make_pipeline(
        ColumnTransformer(
            [("chosen", "passthrough", ["audio__P(dog)", "video__absent", "text__2"])]
        ),
        HistGradientBoostingClassifier(max_iter=5),
    )
    fusion = LateFusionClassifier(rule="stacking", passthrough=True, final_estimator=chosen)
    assert fusion.fit(X, names).learnt_.model[-1].n_features_in_ == 3
    X = X.rename(columns={"audio__0": "audio__P(cat)"})
    with pytest.raises(ValueError, match=r"two columns the names 'audio__P\(cat\)'; rename"):
        LateFusionClassifier(rule="stacking", passthrough=True, final_estimator=final).fit(
            X, names
        )


def test_errors_of_a_stack_name_it(table):
    X, y = table
    X = X.assign(text__word="film")
    text = ("text", make_pipeline(ColumnTransformer([("t", "passthrough", ["text__0"])]), model()))
    fusion = LateFusionClassifier([text], rule="stacking", passthrough=True)
    with pytest.raises(ValueError, match="film") as raised:
        fusion.fit(X, y)
    assert raised.value.__notes__ == ["raised by final_estimator"]


class ColumnsSeen(ClassifierMixin, BaseEstimator):
    """Remembers the columns that it was fitted on."""

    columns = None

    def fit(self, X, y):
        ColumnsSeen.columns = list(X.columns)
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):
        return np.full((len(X), len(self.classes_)), 1 / len(self.classes_))


def test_final_estimator_sees_the_labels_and_its_parameters_are_searched(table):
    X, y = table
    names = np.array(["cat", "dog", "emu"])[y]
    final = LogisticRegression(class_weight={"cat": 50.0, "dog": 1.0, "emu": 1.0})
    fusion = LateFusionClassifier(rule="stacking", final_estimator=final)
    plain = LateFusionClassifier(rule="stacking").fit(X, names)
    assert (fusion.fit(X, names).predict(X) == "cat").sum() > (plain.predict(X) == "cat").sum()
    fusion.set_params(final_estimator__C=7.0)
    assert fusion.fit(X, names).learnt_.model.C == 7.0


def test_weights_reach_the_final_estimator(table):
    X, y = table
    weight = np.random.default_rng(0).integers(0, 3, size=len(y)).astype(float)
    final = make_pipeline(StandardScaler(), LogisticRegression())
    one = LateFusionClassifier(rule="stacking", final_estimator=final, cv=list(KFold(3).split(X)))
    fitted = one.fit(X, y, weight).learnt_.model
    told = out_of_fold_weighted(X, y, weight, KFold(3))
    assert_allclose(fitted[0].mean_, np.average(told, axis=0, weights=weight), atol=1e-9)
    with pytest.warns(
        UserWarning, match=r"final_estimator \(KNeighborsClassifier\) takes no sample"
    ):
        LateFusionClassifier(rule="stacking", final_estimator=KNeighborsClassifier()).fit(
            X, y, weight
        )


def test_final_estimator_asks_for_weights_where_metadata_are_routed(table):
    X, y = table
    weight = np.random.default_rng(0).integers(1, 4, size=len(y)).astype(float)
    cv = list(KFold(3).split(X))
    plain = LateFusionClassifier(estimator=GaussianNB(), rule="stacking", cv=cv)
    with sklearn.config_context(enable_metadata_routing=True):
        expert = GaussianNB().set_fit_request(sample_weight=False)
        found = {}
        for asked in (True, False):
            fusion = clone(plain).set_params(
                estimator=expert,
                final_estimator=LogisticRegression().set_fit_request(sample_weight=asked),
            )
            fusion.set_fit_request(sample_weight=True).fit(X, y, sample_weight=weight)
            found[asked] = fusion.learnt_.model.coef_
        unset = clone(plain).set_params(estimator=expert, final_estimator=LogisticRegression())
        with pytest.raises(ValueError, match=r"sample_weight.*not explicitly set"):
            unset.set_fit_request(sample_weight=True).fit(X, y, sample_weight=weight)
    told = np.hstack(
        [
            cross_val_predict(GaussianNB(), block(X, m), y, cv=KFold(3), method="predict_proba")
            for m in ("audio", "video", "text")
        ]
    )
    for asked, given in ((True, weight), (False, None)):
        expected = LogisticRegression().fit(told, y, given).coef_
        assert_allclose(found[asked], expected, atol=1e-9)


def test_output_calibration_on_one_split_says_what_it_lacks(table):
    X, y = table
    fusion = LateFusionClassifier(
        rule="stacking", output_calibration="sigmoid", cv=ShuffleSplit(1, random_state=0)
    )
    with pytest.warns(UserWarning, match="cv has one split.* may be too sure"):
        fusion.fit(X, y)


def out_of_fold_weighted(X, y, weight, cv):
    columns = []
    for m in ("audio", "video", "text"):
        told = np.zeros((len(y), 3))
        for train, test in cv.split(X):
            expert = model()
            expert.fit(
                block(X, m).iloc[train],
                y[train],
                standardscaler__sample_weight=weight[train],
                logisticregression__sample_weight=weight[train],
            )
            told[test] = expert.predict_proba(block(X, m).iloc[test])
        columns.append(told)
    return np.hstack(columns)


# One's own trained rule ---------------------------------------------------------------------


def learn_best(posteriors, mask, y, sample_weight, priors, expert_priors, *, shift=0):
    right = (posteriors.argmax(axis=2) == y) & mask
    return int((right.sum(axis=1).argmax() + shift) % len(posteriors))


def say_as_best(posteriors, mask, priors, expert_priors, best):
    return posteriors[best]


def test_a_rule_of_ones_own_is_learnt_as_a_built_in_is(table):
    X, y = table
    best = Rule(say_as_best, learn=learn_best)
    fusion = LateFusionClassifier(rule=best).fit(X, y)
    told = out_of_fold(X, y)
    winner = (told.argmax(axis=2) == y).sum(axis=1).argmax()
    assert fusion.learnt_ == winner
    assert_allclose(fusion.predict_proba(X), fusion.transform(X)[:, 3 * winner : 3 * winner + 3])
    fusion.set_params(rule_params={"shift": 1}).fit(X, y)
    assert fusion.learnt_ == (winner + 1) % 3


# scikit-learn's ways ------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:nothing is fused")
@pytest.mark.filterwarnings("ignore:.*are left out of what is learnt out of fold")
@parametrize_with_checks(
    # A search is the same for all rules: of one that takes labels, and of one that works in logs.
    [
        LateFusionClassifier(random_state=0, **way)
        for way in WAYS
        if way.get("weights") != "search" or way["rule"] in ("vote", "log_pool")
    ]
    + [
        LateFusionClassifier(calibration="temperature"),
        LateFusionClassifier(output_calibration="sigmoid"),
        LateFusionClassifier(rule="stacking", passthrough=True),
    ]
    + [LateFusionRegressor(rule=name) for name in REGRESSION_RULES]
    + [LateFusionRegressor(rule="weighted", weights=way) for way in ("learn", "search")]
)
def test_whatever_is_learnt_keeps_the_contract(estimator, check):
    check(estimator)


# Numbers ------------------------------------------------------------------------------------


@pytest.fixture
def numbers():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=800)
    X = pd.DataFrame(
        {
            f"{m}__0": truth + s * rng.normal(size=800)
            for m, s in zip("abc", (0.3, 0.6, 3), strict=True)
        }
    )
    return X, truth


def test_variances_are_those_of_out_of_fold_residuals(numbers):
    X, y = numbers
    fusion = LateFusionRegressor(estimator=LinearRegression(), rule="inverse_variance").fit(X, y)
    told = np.array(
        [cross_val_predict(LinearRegression(), block(X, m), y, cv=KFold(5)) for m in "abc"]
    )
    expected = np.square(told - y).mean(axis=1)
    assert_allclose(fusion.learnt_.variances[:, 0], expected, rtol=1e-9)
    given = LateFusionRegressor(
        estimator=LinearRegression(), rule="inverse_variance", variances=expected
    ).fit(X, y)
    assert_allclose(fusion.predict(X), given.predict(X), rtol=1e-9)


def test_variances_learnt_by_output(numbers):
    X, y = numbers
    both = np.column_stack([y, np.random.default_rng(1).normal(size=len(y))])
    fusion = LateFusionRegressor(rule="inverse_variance").fit(X, both)
    assert fusion.learnt_.variances.shape == (3, 2)
    alone = [LateFusionRegressor(rule="inverse_variance").fit(X, column) for column in both.T]
    expected = np.column_stack([each.predict(X) for each in alone])
    assert_allclose(fusion.predict(X), expected, rtol=1e-9)
    parts = fusion.modality_contributions(X)
    assert_allclose(parts.decision, fusion.predict(X), rtol=1e-9)


@pytest.mark.parametrize("way", ["learn", "search"])
def test_learnt_weights_find_the_good_sensor(way, numbers):
    X, y = numbers
    fusion = LateFusionRegressor(rule="weighted", weights=way, random_state=0).fit(
        X[:400], y[:400]
    )
    assert fusion.weights_[0] > fusion.weights_[1] > fusion.weights_[2]
    mean = LateFusionRegressor().fit(X[:400], y[:400])
    assert fusion.score(X[400:], y[400:]) > mean.score(X[400:], y[400:]) + 0.1


def test_regression_rules_that_were_not_learnt_are_refused_after_fit(numbers):
    X, y = numbers
    fusion = LateFusionRegressor().fit(X, y)
    for change in ({"rule": "stacking"}, {"rule": "inverse_variance"}):
        with pytest.raises(ValueError, match="fit again with it"):
            clone_with(fusion, **change).predict(X)


def test_variances_are_learnt_where_a_model_that_was_left_out_states_none(numbers):
    X, y = numbers
    X = X[:60].assign(c__0=np.nan)
    fusion = LateFusionRegressor(
        [("c", Ridge())], estimator=BayesianRidge(), rule="inverse_variance"
    )
    with pytest.warns(UserWarning, match="'c' is missing for every sample"):
        fusion.fit(X, y[:60])
    shares = 1 / fusion.learnt_.variances[:, 0]
    expected = fusion.transform(X) @ shares / shares.sum()
    assert_allclose(fusion.predict(X), expected, rtol=1e-12)


def test_stacked_regression_with_absent_modalities(numbers):
    X, y = numbers
    lost = simulate_missing(X, rate=0.3, random_state=0)
    for final in (None, HistGradientBoostingRegressor(max_iter=30)):
        fusion = LateFusionRegressor(rule="stacking", final_estimator=final).fit(lost, y)
        assert fusion.score(lost, y) > 0.5
        with pytest.warns(UserWarning, match="the mean of y"):
            assert_allclose(fusion.predict(X * np.nan), y.mean())


class CountedRegressor(RegressorMixin, BaseEstimator):
    """Counts the fits of all its copies."""

    fits = 0

    def fit(self, X, y):
        CountedRegressor.fits += 1
        self.mean_ = np.mean(y)
        return self

    def predict(self, X):
        return np.full(len(X), self.mean_)


@pytest.mark.parametrize(
    ("arguments", "folds"),
    [
        ({}, 0),
        ({"rule": "inverse_variance", "variances": [1, 2, 3]}, 0),
        ({"rule": "inverse_variance"}, 5),
        ({"rule": "weighted", "weights": "learn", "cv": 3}, 3),
        ({"rule": "stacking"}, 5),
    ],
)
def test_regressors_are_fitted_once_and_once_for_each_fold(arguments, folds, numbers):
    X, y = numbers
    CountedRegressor.fits = 0
    LateFusionRegressor(estimator=CountedRegressor(), **arguments).fit(X, y)
    assert CountedRegressor.fits == 3 * (1 + folds)


def test_learnt_trees_do_not_overfit_their_own_rows():
    """Experts that know every training row by heart are weighed by what they say of others."""
    X, y = make_table(n=900, seed=5)
    fusion = LateFusionClassifier(
        [("text", DecisionTreeClassifier(random_state=0))], rule="weighted", weights="learn"
    ).fit(X, y)
    assert fusion.weights_[2] < 0.05
