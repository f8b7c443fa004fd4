"""Late fusion: identities with models on the joined features, absence, priors, the interface."""

import pickle
import re
import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, ClassifierMixin, clone, is_classifier, is_regressor
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_transformer
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge, RidgeClassifier
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_validate
from sklearn.naive_bayes import GaussianNB, MultinomialNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.estimator_checks import parametrize_with_checks

from mkfusion import HMMClassifier, LateFusionClassifier, LateFusionRegressor
from mkfusion.datasets import load_watch
from mkfusion.rules import REGRESSION_RULES, RULES, Rule

WIDTHS = {"audio": 3, "video": 2, "text": 4}
ADDITIVE = [name for name, rule in RULES.items() if rule.additive]
FIXED = [name for name, rule in RULES.items() if not rule.trained]


def make_table(n=120, n_classes=3, seed=0, labels=None):
    rng = np.random.default_rng(seed)
    y = rng.choice(n_classes, size=n, p=np.arange(1, n_classes + 1) / sum(range(n_classes + 1)))
    columns = {
        f"{name}__{j}": rng.normal(size=n) + y * rng.normal()
        for name, width in WIDTHS.items()
        for j in range(width)
    }
    return pd.DataFrame(columns), y if labels is None else np.array(labels)[y]


def block(X, name):
    return X.filter(regex=f"^{name}__")


def without(X, name, rows=slice(None)):
    X = X.copy()
    X.loc[X.index[rows], block(X, name).columns] = np.nan
    return X


@pytest.fixture
def table():
    return make_table()


# Identities ---------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("n_classes", [2, 4])
def test_bayes_over_naive_bayes_is_naive_bayes_on_all(seed, n_classes):
    X, y = make_table(n_classes=n_classes, seed=seed)
    one = GaussianNB(var_smoothing=0).fit(X, y).predict_proba(X)
    fusion = LateFusionClassifier(estimator=GaussianNB(var_smoothing=0)).fit(X, y)
    assert_allclose(fusion.predict_proba(X), one, atol=2e-13)
    product = fusion.set_params(rule="product").predict_proba(X)
    assert np.abs(product - one).max() > 0.02


def test_bayes_over_naive_bayes_with_sample_weights(table):
    X, y = table
    weight = np.random.default_rng(0).random(len(y))
    one = GaussianNB(var_smoothing=0).fit(X, y, weight).predict_proba(X)
    fusion = LateFusionClassifier(estimator=GaussianNB(var_smoothing=0)).fit(X, y, weight)
    assert_allclose(fusion.predict_proba(X), one, atol=2e-13)


@pytest.mark.parametrize("rule", ["mean", "max", "min", "median", "weighted", "log_pool"])
def test_copies_of_a_modality_are_that_modality(rule, table):
    X, y = table
    copies = pd.concat(
        [block(X, "audio").rename(columns=lambda c, k=k: c.replace("audio", k)) for k in "abc"],
        axis=1,
    )
    expert = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    alone = expert.fit(block(X, "audio").to_numpy(), y).predict_proba(block(X, "audio").to_numpy())
    fused = LateFusionClassifier(rule=rule).fit(copies, y).predict_proba(copies)
    assert_allclose(fused, alone, atol=1e-9)


@pytest.mark.parametrize("rule", [name for name, rule in RULES.items() if rule.order_free])
def test_order_of_modalities_does_not_matter(rule, table):
    X, y = table
    turned = X[[c for name in ("text", "audio", "video") for c in block(X, name)]]
    one = LateFusionClassifier(rule=rule).fit(X, y).predict_proba(X)
    other = LateFusionClassifier(rule=rule).fit(turned, y).predict_proba(turned)
    assert_allclose(one, other, atol=1e-12)


@pytest.mark.parametrize("rule", FIXED)
def test_one_modality_decides_as_its_expert(rule, table):
    X, y = table
    X = block(X, "audio")
    with pytest.warns(UserWarning, match="nothing is fused"):
        fusion = LateFusionClassifier(rule=rule).fit(X, y)
    assert_array_equal(fusion.predict(X), fusion.named_estimators_.audio.predict(X))


# Absence ------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", FIXED)
def test_absent_modality_is_as_if_never_fitted(rule, table):
    X, y = table
    fusion = LateFusionClassifier(rule=rule, priors=[0.2, 0.3, 0.5]).fit(X, y)
    lesser = LateFusionClassifier(rule=rule, priors=[0.2, 0.3, 0.5])
    kept = X.drop(columns=block(X, "video").columns)
    assert_allclose(
        fusion.predict_proba(without(X, "video")),
        lesser.fit(kept, y).predict_proba(kept),
        atol=1e-13,
    )


def test_experts_are_fitted_on_the_samples_that_have_their_modality(table):
    X, y = table
    X = without(X, "audio", slice(0, 40))
    fusion = LateFusionClassifier().fit(X, y)
    alone = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    alone.fit(block(X, "audio")[40:], y[40:])
    assert_array_equal(
        fusion.named_estimators_.audio.predict_proba(block(X, "audio")[40:]),
        alone.predict_proba(block(X, "audio")[40:]),
    )


def test_sample_without_any_modality_gets_the_priors(table):
    X, y = table
    fusion = LateFusionClassifier().fit(X, y)
    with pytest.warns(
        UserWarning, match="2 of 120 samples have none of the modalities 'audio', 'vid"
    ):
        probabilities = fusion.predict_proba(X.mask(X.index.to_series() < 2, axis=0))
    assert_allclose(probabilities[:2], np.tile(np.bincount(y) / len(y), (2, 1)))


def test_modality_that_no_sample_has_is_left_out(table):
    X, y = table
    with pytest.warns(UserWarning, match="modality 'video' is missing for every sample"):
        fusion = LateFusionClassifier().fit(without(X, "video"), y)
    assert list(fusion.named_estimators_) == ["audio", "text"]
    assert fusion.predict(X).shape == y.shape


def test_modality_with_one_class_is_left_out(table):
    X, y = table
    with pytest.warns(UserWarning, match="modality 'video' has one class among its samples"):
        fusion = LateFusionClassifier().fit(without(X, "video", np.flatnonzero(y != 1)), y)
    assert list(fusion.named_estimators_) == ["audio", "text"]


def test_nothing_to_fit_is_refused(table):
    X, y = table
    with pytest.raises(
        ValueError, match="no modality can be fitted: 'audio' is missing for every"
    ):
        LateFusionClassifier().fit(X * np.nan, y)


def test_experts_that_saw_some_of_the_classes_are_aligned():
    X, y = make_table(labels=["cat", "dog", "emu"])
    X = without(X, "audio", np.flatnonzero(y == "dog"))
    fusion = LateFusionClassifier(rule="mean").fit(X, y)
    assert list(fusion.named_estimators_.audio.classes_) == ["cat", "emu"]
    assert fusion.expert_priors_[0, 1] == 0
    stacked = fusion.set_output(transform="pandas").transform(X)
    assert_array_equal(stacked["audio__dog"].dropna(), 0)
    assert list(stacked.columns[:3]) == ["audio__cat", "audio__dog", "audio__emu"]


def test_missing_by_class_needs_each_experts_own_prior():
    rng = np.random.default_rng(0)
    n = 4000
    y = rng.integers(2, size=n)
    X = pd.DataFrame({f"{m}__x": y + rng.normal(size=n) for m in ("audio", "video")})
    gone = np.flatnonzero((y == 1) & (rng.random(n) < 0.8))
    train, test = slice(0, n // 2), slice(n // 2, n)
    damaged = without(X, "audio", gone)
    fusion = LateFusionClassifier(estimator=GaussianNB()).fit(damaged[train], y[train])
    assert fusion.expert_priors_[0, 1] < 0.25 < 0.45 < fusion.expert_priors_[1, 1]
    naive = clone(fusion).set_params(
        expert_priors={"audio": fusion.priors_, "video": fusion.priors_}
    )
    naive.fit(damaged[train], y[train])
    ours, theirs = (log_loss(y[test], f.predict_proba(X[test])) for f in (fusion, naive))
    assert ours < theirs - 0.03


# Priors -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expert", "prior"),
    [
        (LogisticRegression(), "frequency"),
        (LogisticRegression(class_weight="balanced"), "uniform"),
        (make_pipeline(StandardScaler(), SVC(class_weight="balanced")), "frequency"),
        (LogisticRegression(class_weight={0: 2.0}), "weighted"),
        (GaussianNB(), "frequency"),
        (GaussianNB(priors=[0.2, 0.3, 0.5]), "stated"),
        (LinearDiscriminantAnalysis(priors=[0.2, 0.3, 0.5]), "stated"),
        (GridSearchCV(LogisticRegression(class_weight="balanced"), {"C": [1]}), "uniform"),
    ],
)
def test_expert_prior_is_what_the_expert_was_trained_with(expert, prior, table):
    X, y = table
    frequency = np.bincount(y) / len(y)
    doubled = frequency * [2, 1, 1]
    expected = {
        "frequency": frequency,
        "uniform": np.full(3, 1 / 3),
        "weighted": doubled / doubled.sum(),
        "stated": [0.2, 0.3, 0.5],
    }[prior]
    fusion = LateFusionClassifier(estimator=expert).fit(X, y)
    assert_allclose(fusion.expert_priors_, np.tile(expected, (3, 1)), atol=1e-12)


def test_multinomial_naive_bayes_states_its_prior(table):
    X, y = table
    fusion = LateFusionClassifier(estimator=MultinomialNB(fit_prior=False)).fit(X.abs(), y)
    assert_allclose(fusion.expert_priors_, 1 / 3)


def test_weights_count_in_a_prior_only_if_the_expert_was_given_them(table):
    X, y = table
    weight = np.where(y == 0, 5.0, 1.0)
    fusion = LateFusionClassifier(
        [("audio", KNeighborsClassifier())], estimator=LogisticRegression()
    )
    with pytest.warns(UserWarning, match=r"'audio'.*KNeighborsClassifier.*takes no sample_weight"):
        fusion.fit(X, y, weight)
    plain, weighted = np.bincount(y) / len(y), np.bincount(y, weight) / weight.sum()
    assert_allclose(fusion.expert_priors_, [plain, weighted, weighted])
    assert_allclose(fusion.priors_, weighted)


def test_priors_given_for_an_expert_leave_out_what_it_never_saw(table):
    X, y = table
    X = without(X, "audio", np.flatnonzero(y == 1))
    fusion = LateFusionClassifier(expert_priors={"audio": [0.2, 0.3, 0.5]}).fit(X, y)
    assert_allclose(fusion.expert_priors_[0], [0.2, 0.0, 0.5])


def test_priors_given_are_used(table):
    X, y = table
    fusion = LateFusionClassifier(priors=[0.98, 0.01, 0.01]).fit(X, y)
    usual = LateFusionClassifier().fit(X, y)
    assert (fusion.predict(X) == 0).mean() > (usual.predict(X) == 0).mean()


# Experts ------------------------------------------------------------------------------------


def test_expert_without_posteriors_is_calibrated_out_of_fold(table):
    X, y = table
    fusion = LateFusionClassifier(estimator=LinearSVC()).fit(X, y)
    by_hand = CalibratedClassifierCV(LinearSVC(), method="sigmoid", cv=5, ensemble=False)
    by_hand.fit(block(X, "audio"), y)
    assert isinstance(fusion.named_estimators_.audio, LinearSVC)
    assert_allclose(
        fusion.transform(X)[:, :3], by_hand.predict_proba(block(X, "audio")), atol=1e-12
    )


def test_inner_folds_are_fewer_for_a_small_class(table):
    X, y = table
    y = np.where(np.arange(len(y)) < 3, 7, y)
    fusion = LateFusionClassifier(estimator=LinearSVC()).fit(X, y)
    by_hand = CalibratedClassifierCV(LinearSVC(), method="sigmoid", cv=3, ensemble=False)
    by_hand.fit(block(X, "audio"), y)
    assert_allclose(
        fusion.transform(X)[:, :4], by_hand.predict_proba(block(X, "audio")), atol=1e-12
    )
    y = np.where(np.arange(len(y)) < 1, 8, y)
    with (
        pytest.warns(UserWarning, match="1 samples are left out of what is learnt out of fold"),
        pytest.raises(ValueError, match=r"'audio'.*at least 2 samples of each class.* class 8 "),
    ):
        LateFusionClassifier(estimator=LinearSVC()).fit(X, y)


class OnlyLabels(ClassifierMixin, BaseEstimator):
    """The most frequent label, with neither posteriors nor a decision function."""

    def fit(self, X, y):
        self.classes_, counts = np.unique(y, return_counts=True)
        self.label_ = self.classes_[counts.argmax()]
        return self

    def predict(self, X):
        return np.full(len(X), self.label_)


def test_expert_that_only_labels_is_refused_but_to_votes(table):
    X, y = table
    with pytest.raises(
        ValueError, match=r"'audio'.*OnlyLabels.*neither predict_proba nor decision"
    ):
        LateFusionClassifier([("audio", OnlyLabels())]).fit(X, y)
    fusion = LateFusionClassifier([("audio", OnlyLabels())], rule="vote").fit(X, y)
    assert set(fusion.predict(X)) == {0, 1, 2}


def test_vote_takes_labels_without_calibration(table):
    X, y = table
    fusion = LateFusionClassifier(estimator=RidgeClassifier(), rule="vote").fit(X, y)
    assert isinstance(fusion.named_estimators_.audio, RidgeClassifier)
    shares = fusion.predict_proba(X)
    assert_allclose(shares * 3, np.round(shares * 3), atol=1e-12)


def test_kinds_of_model_are_checked(table):
    X, y = table
    with pytest.raises(ValueError, match="'video' must be a classifier, got Ridge"):
        LateFusionClassifier([("video", Ridge())]).fit(X, y)
    with pytest.raises(ValueError, match="'video' must be a regressor, got LogisticRegression"):
        LateFusionRegressor([("video", LogisticRegression())]).fit(X, y)
    with pytest.raises(TypeError, match="class instead"):
        LateFusionRegressor([("video", Ridge)]).fit(X, y)


def test_a_text_vectoriser_beside_a_scaler():
    rng = np.random.default_rng(0)
    y = rng.choice(["good", "poor"], size=60)
    X = pd.DataFrame({"review": [f"a {label} film" for label in y], "stars": rng.normal(size=60)})
    X.loc[:4, "review"] = None
    fusion = LateFusionClassifier(
        [("words", make_pipeline(TfidfVectorizer(), LogisticRegression()))],
        modalities={"words": "review", "numbers": ["stars"]},
    ).fit(X, y)
    assert fusion.score(X[5:], y[5:]) == 1
    assert list(fusion.named_estimators_) == ["words", "numbers"]


def test_sparse_blocks_reach_experts_that_take_them(table):
    from scipy import sparse

    X, y = table
    modalities = {"audio": slice(0, 3), "video": slice(3, 9)}
    fusion = LateFusionClassifier(modalities=modalities, estimator=LogisticRegression())
    dense = fusion.fit(X.to_numpy(), y).predict_proba(X.to_numpy())
    for form in (sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array):
        S = form(X.to_numpy())
        assert_allclose(fusion.fit(S, y).predict_proba(S), dense, atol=1e-5)


def test_error_of_an_expert_names_its_modality(table):
    X, y = table
    X.iloc[0, 0] = np.nan
    with pytest.raises(ValueError, match="Input X contains NaN") as caught:
        LateFusionClassifier(estimator=LogisticRegression()).fit(X, y)
    remedy, *named = caught.value.__notes__
    assert "SimpleImputer" in remedy
    assert named == ["raised by the model of modality 'audio'"]


def test_sequences_in_cells_reach_their_expert():
    class MeanOfSteps(BaseEstimator):
        def fit(self, X, y=None):
            return self

        def transform(self, X):
            return np.array([cell.mean(axis=0) for cell in X.iloc[:, 0]])

    rng = np.random.default_rng(0)
    y = rng.integers(2, size=40)
    X = pd.DataFrame({"table__a": rng.normal(size=40), "table__b": rng.normal(size=40)})
    X["gyro"] = [rng.normal(size=(rng.integers(3, 9), 2)) + 3 * label for label in y]
    X.loc[3, "gyro"] = None
    fusion = LateFusionClassifier([("gyro", make_pipeline(MeanOfSteps(), LogisticRegression()))])
    fusion.fit(X, y)
    assert list(fusion.named_estimators_) == ["table", "gyro"]
    assert fusion.score(X, y) > 0.9


# Targets ------------------------------------------------------------------------------------


def test_string_labels():
    X, y = make_table(labels=["cat", "dog", "emu"])
    fusion = LateFusionClassifier().fit(X, y)
    assert list(fusion.classes_) == ["cat", "dog", "emu"]
    assert set(fusion.predict(X)) <= set(y)


@pytest.mark.parametrize("dtype", ["category", "string", "boolean", "Int64"])
def test_extension_targets(dtype):
    X, y = make_table(n_classes=2)
    fusion = LateFusionClassifier().fit(X, pd.Series(y).astype(dtype))
    assert len(fusion.classes_) == 2
    assert fusion.predict(X).shape == y.shape


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (lambda y: np.eye(3)[y], "multi-label targets are not supported"),
        (lambda y: y * 0.37, "continuous"),
        (lambda y: y * 0, "y has one class"),
        (lambda y: np.where(y == 1, np.nan, y), "NaN"),
        (lambda y: np.where(y == 1, None, y.astype(object)), "NaN|label of"),
        (lambda y: y[:-1], "y has 119"),
        (lambda y: None, "y"),
    ],
)
def test_bad_target_is_refused(target, message, table):
    X, y = table
    with pytest.raises((ValueError, TypeError), match=message):
        LateFusionClassifier().fit(X, target(y))


# Weights ------------------------------------------------------------------------------------


def test_whole_weights_are_repeated_rows(table):
    X, y = table
    weight = np.random.default_rng(0).integers(0, 4, size=len(y))
    again = np.repeat(np.arange(len(y)), weight)
    weighted = LateFusionClassifier().fit(X, y, weight).predict_proba(X)
    repeated = LateFusionClassifier().fit(X.iloc[again], y[again]).predict_proba(X)
    assert_allclose(weighted, repeated, atol=2e-3)


def test_weights_follow_the_rows_of_each_modality(table):
    X, y = table
    weight = np.random.default_rng(0).random(len(y)) + 0.1
    rows = slice(0, 40)
    fusion = LateFusionClassifier(estimator=GaussianNB()).fit(without(X, "audio", rows), y, weight)
    alone = GaussianNB().fit(block(X, "audio")[40:], y[40:], weight[40:])
    assert_array_equal(fusion.named_estimators_.audio.theta_, alone.theta_)


def test_weights_reach_the_steps_of_a_calibrated_pipeline(table):
    X, y = table
    weight = np.random.default_rng(0).random(len(y)) + 0.1
    fusion = LateFusionClassifier(estimator=make_pipeline(StandardScaler(), LinearSVC()))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fusion.fit(X, y, weight)
    mean = np.average(block(X, "audio"), axis=0, weights=weight)
    assert_allclose(fusion.named_estimators_.audio[0].mean_, mean)


def test_samples_without_weight_do_not_count_as_classes(table):
    X, y = table
    X = without(X, "video", np.flatnonzero(y == 0))
    weight = np.where((y == 1), 0.0, 1.0)
    with pytest.warns(UserWarning, match="modality 'video' has one class"):
        LateFusionClassifier(estimator=GaussianNB()).fit(X, y, weight)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1, 2], "weights must have length 3"),
        ({"audio": 1, "video": 2}, "one weight for each of 'audio', 'video', 'text'"),
        ({"audio": 1, "video": 2, "smell": 3}, "got weights for 'audio', 'video', 'smell'"),
        ([1, -1, 1], "non-negative"),
        ([0, 0, 0], "not all be zero"),
        ([1, np.nan, 1], "finite"),
        ("abc", "weights must be one of 'learn', 'search', 'search_by_class', got 'abc'"),
        (["a", "b", "c"], "must be 3 numbers"),
        (np.ones((3, 2)), r"shape \(3, 3\), got \(3, 2\)"),
    ],
)
def test_bad_rule_weights_are_refused(weights, message, table):
    X, y = table
    with pytest.raises(ValueError, match=message):
        LateFusionClassifier(rule="weighted", weights=weights).fit(X, y)


def test_rule_weights_by_name_and_in_order_agree(table):
    X, y = table
    given = {"text": 1, "audio": 2, "video": 5}
    one = LateFusionClassifier(rule="weighted", weights=given).fit(X, y)
    other = LateFusionClassifier(rule="weighted", weights=[2, 5, 1]).fit(X, y)
    assert_allclose(one.weights_, [0.25, 0.625, 0.125])
    assert_array_equal(one.predict_proba(X), other.predict_proba(X))


def test_rule_that_takes_no_weights_refuses_them(table):
    X, y = table
    with pytest.raises(ValueError, match="rule 'mean' takes no weights"):
        LateFusionClassifier(rule="mean", weights=[1, 1, 1]).fit(X, y)


def test_dropped_modality_takes_its_weight_along(table):
    X, y = table
    fusion = LateFusionClassifier([("video", "drop")], rule="weighted", weights=[1, 5, 3])
    assert_allclose(fusion.fit(X, y).weights_, [0.25, 0.75])


def test_rule_and_weights_may_change_after_fit(table):
    X, y = table
    fusion = LateFusionClassifier(rule="mean").fit(X, y)
    for name in FIXED:
        weights = [0.2, 0.9, 0.4] if RULES[name].weights else None
        fusion.set_params(rule=name, weights=weights)
        assert_array_equal(fusion.predict_proba(X), clone(fusion).fit(X, y).predict_proba(X))
    fusion = LateFusionClassifier(estimator=RidgeClassifier(), rule="vote").fit(X, y)
    with pytest.raises(ValueError, match=r"'bayes' needs posteriors.*fitted for labels only"):
        fusion.set_params(rule="bayes").predict(X)


# Contributions ------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ADDITIVE)
def test_contributions_add_up_to_the_decision(rule, table):
    X, y = table
    X = without(X, "video", slice(0, 30))
    fusion = LateFusionClassifier(rule=rule).fit(X, y)
    parts = fusion.modality_contributions(X)
    assert parts.contributions.shape == (len(X), 3, 3)
    assert_array_equal(parts.base + parts.contributions.sum(axis=1), parts.decision)
    assert (parts.contributions[:30, 1] == 0).all()
    if RULES[rule].log:
        assert_allclose(parts.decision, fusion.predict_log_proba(X), atol=1e-12)
    elif rule != "sum":
        assert_allclose(parts.decision, fusion.predict_proba(X), atol=1e-12)
    frame = parts.to_frame(5)
    assert list(frame.index) == ["base", "audio", "video", "text", "decision"]
    assert_allclose(frame.iloc[:-1].sum(), frame.loc["decision"], atol=1e-12)


def test_contributions_of_other_rules_are_refused(table):
    X, y = table
    with pytest.raises(ValueError, match="'max' is not additive"):
        LateFusionClassifier(rule="max").fit(X, y).modality_contributions(X)


# scikit-learn's ways ------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:nothing is fused")
@parametrize_with_checks(
    # The default is among all estimators' defaults, what is learnt in test_late_learnt.py.
    [
        LateFusionClassifier(rule=k)
        for k, rule in RULES.items()
        if k != "bayes" and not rule.trained
    ]
    + [LateFusionRegressor(rule=rule) for rule in ("median", "weighted")]
    + [LateFusionRegressor(rule="inverse_variance", variances=[1.0])]
)
def test_every_rule_keeps_the_contract(estimator, check):
    check(estimator)


def test_kinds_are_known():
    assert is_classifier(LateFusionClassifier())
    assert is_regressor(LateFusionRegressor())


@pytest.mark.parametrize("as_frame", [True, False])
def test_grid_search_over_rule_parameter_and_modalities(as_frame, table):
    X, y = table
    mapping = {"audio": slice(0, 3), "video": slice(3, 5), "text": slice(5, 9)}
    pairs = {"audio": slice(0, 3), "rest": slice(3, 9)}
    fusion = LateFusionClassifier(
        [("audio", make_pipeline(StandardScaler(), SVC()))], mapping, estimator=GaussianNB()
    )
    scaler = StandardScaler().set_output(transform="pandas" if as_frame else "default")
    search = GridSearchCV(
        Pipeline([("scale", scaler), ("fuse", fusion)]),
        {
            "fuse__rule": ["bayes", "mean"],
            "fuse__audio__svc__C": [0.1, 10],
            "fuse__modalities": [mapping, pairs],
        },
        cv=2,
        error_score="raise",
    )
    search.fit(X if as_frame else X.to_numpy(), y)
    assert len(search.cv_results_["params"]) == 8
    assert len(np.unique(search.cv_results_["mean_test_score"])) > 1
    assert search.predict(X if as_frame else X.to_numpy()).shape == y.shape


def test_prefixes_travel_through_a_pipeline(table):
    X, y = table
    pipe = make_pipeline(StandardScaler().set_output(transform="pandas"), LateFusionClassifier())
    assert list(pipe.fit(X, y)[-1].modalities_) == ["audio", "video", "text"]


def test_cross_validate_with_groups(table):
    X, y = table
    groups = np.arange(len(y)) // 6
    found = cross_validate(LateFusionClassifier(), X, y, groups=groups, cv=GroupKFold(4))
    assert np.isfinite(found["test_score"]).all()


def test_expert_can_be_dropped_and_replaced(table):
    X, y = table
    fusion = LateFusionClassifier([("audio", GaussianNB()), ("video", GaussianNB())])
    fusion.set_params(audio="drop", video__var_smoothing=0.1).fit(X, y)
    assert list(fusion.named_estimators_) == ["video", "text"]
    assert fusion.named_estimators_.video.var_smoothing == 0.1
    fusion.set_params(audio=DecisionTreeClassifier(max_depth=2)).fit(X, y)
    assert fusion.named_estimators_.audio.get_depth() == 2
    fusion = LateFusionClassifier([(name, "drop") for name in WIDTHS])
    with pytest.raises(ValueError, match="every modality is dropped"):
        fusion.fit(X, y)


def test_copies_and_files(table, tmp_path):
    X, y = table
    fusion = LateFusionClassifier([("audio", SVC())], weights={"audio": 1, "video": 2, "text": 3})
    fusion.set_params(rule="log_pool").fit(X, y)
    expected = fusion.predict_proba(X)
    assert_array_equal(pickle.loads(pickle.dumps(fusion)).predict_proba(X), expected)
    joblib.dump(fusion, tmp_path / "fusion.joblib")
    assert_array_equal(joblib.load(tmp_path / "fusion.joblib").predict_proba(X), expected)
    assert_array_equal(clone(fusion).fit(X, y).predict_proba(X), expected)


def test_transform_with_pandas_output(table):
    X, y = table
    X = without(X, "video", slice(0, 2))
    with sklearn.config_context(transform_output="pandas"):
        stacked = LateFusionClassifier().fit(X, y).transform(X)
    assert list(stacked.columns[:4]) == ["audio__0", "audio__1", "audio__2", "video__0"]
    assert stacked.filter(regex="^video").isna().sum().tolist() == [2, 2, 2]
    # What comes out is a table of modalities again.
    assert list(LateFusionClassifier(estimator=GaussianNB()).fit(stacked, y).modalities_) == [
        *WIDTHS
    ]


def test_metadata_routing_reaches_the_experts(table):
    X, y = table
    weight = np.random.default_rng(0).random(len(y))
    with sklearn.config_context(enable_metadata_routing=True):
        fusion = LateFusionClassifier(
            [("audio", GaussianNB().set_fit_request(sample_weight=True))],
            estimator=GaussianNB().set_fit_request(sample_weight=False),
        ).set_fit_request(sample_weight=True)
        fusion.fit(without(X, "audio", slice(0, 40)), y, sample_weight=weight)
        unset = LateFusionClassifier(estimator=GaussianNB()).set_fit_request(sample_weight=True)
        with pytest.raises(ValueError, match=r"sample_weight.*not explicitly set"):
            unset.fit(X, y, sample_weight=weight)
    audio = GaussianNB().fit(block(X, "audio")[40:], y[40:], weight[40:])
    video = GaussianNB().fit(block(X, "video"), y)
    assert_array_equal(fusion.named_estimators_.audio.theta_, audio.theta_)
    assert_array_equal(fusion.named_estimators_.video.theta_, video.theta_)


def test_unknown_fit_parameter_is_refused(table):
    X, y = table
    with pytest.raises(ValueError, match="only supported if enable_metadata_routing"):
        LateFusionClassifier().fit(X, y, colour="red")


def test_names_of_no_modality_are_refused(table):
    X, y = table
    with pytest.raises(ValueError, match=r"estimators names 'smell'.*'audio', 'video', 'text'"):
        LateFusionClassifier([("smell", GaussianNB())]).fit(X, y)
    with pytest.raises(ValueError, match="more than once"):
        LateFusionClassifier([("audio", GaussianNB()), ("audio", GaussianNB())]).fit(X, y)
    with pytest.raises(ValueError, match=r"list of \(modality, model\) pairs"):
        LateFusionClassifier([GaussianNB()]).fit(X, y)
    with pytest.raises(ValueError, match="expert_priors names 'smell'"):
        LateFusionClassifier(expert_priors={"smell": [1, 0, 0]}).fit(X, y)


def test_rule_as_callable(table):
    X, y = table

    def squares(posteriors, mask, priors, expert_priors, weights):
        return (posteriors**2).sum(axis=0)

    one = LateFusionClassifier(rule=squares).fit(X, y).predict_proba(X)
    other = LateFusionClassifier(rule=Rule(squares)).fit(X, y).predict_proba(X)
    assert_array_equal(one, other)
    assert_allclose(one.sum(axis=1), 1)


# Regression ---------------------------------------------------------------------------------


@pytest.fixture
def numbers():
    X, _ = make_table(seed=3)
    rng = np.random.default_rng(1)
    return X, X.to_numpy() @ rng.normal(size=X.shape[1]) + rng.normal(size=len(X))


@pytest.mark.parametrize("rule", ["mean", "median", "weighted"])
def test_regression_rules_by_hand(rule, numbers):
    X, y = numbers
    weights = [1, 2, 3] if rule == "weighted" else None
    fusion = LateFusionRegressor(estimator=LinearRegression(), rule=rule, weights=weights)
    experts = [LinearRegression().fit(block(X, m), y).predict(block(X, m)) for m in WIDTHS]
    expected = {
        "mean": np.mean(experts, axis=0),
        "median": np.median(experts, axis=0),
        "weighted": np.average(experts, axis=0, weights=[1, 2, 3]),
    }[rule]
    assert_allclose(fusion.fit(X, y).predict(X), expected, rtol=1e-9)


def test_inverse_variance_given_and_stated(numbers):
    X, y = numbers
    given = LateFusionRegressor(
        rule="inverse_variance", variances={"audio": 1, "video": 2, "text": 4}
    )
    weighted = LateFusionRegressor(rule="weighted", weights=[4, 2, 1])
    assert_allclose(given.fit(X, y).predict(X), weighted.fit(X, y).predict(X), rtol=1e-12)
    expert = GaussianProcessRegressor(alpha=1.0)
    stated = LateFusionRegressor(rule="inverse_variance", estimator=expert).fit(X, y)
    pairs = [expert.fit(block(X, m), y).predict(block(X, m), return_std=True) for m in WIDTHS]
    means, precisions = np.array([p[0] for p in pairs]), np.array([p[1] ** -2 for p in pairs])
    expected = (means * precisions).sum(axis=0) / precisions.sum(axis=0)
    assert_allclose(stated.predict(X), expected, rtol=1e-9)


def test_variances_that_do_not_fit_are_refused(numbers):
    X, y = numbers
    with pytest.raises(ValueError, match="variances must be one of 'learn', got 'guess'"):
        LateFusionRegressor(rule="inverse_variance", variances="guess").fit(X, y)
    with pytest.raises(ValueError, match="variances must be positive"):
        LateFusionRegressor(rule="inverse_variance", variances=[1, 0, 1]).fit(X, y)
    with pytest.raises(ValueError, match="'mean' takes no variances"):
        LateFusionRegressor(variances=[1, 1, 1]).fit(X, y)


def test_regression_with_absent_modalities(numbers):
    X, y = numbers
    fusion = LateFusionRegressor().fit(without(X, "audio", slice(0, 40)), y)
    lesser = LateFusionRegressor([("audio", "drop")]).fit(X, y)
    assert_allclose(fusion.predict(without(X, "audio")), lesser.predict(X), rtol=1e-12)
    with pytest.warns(UserWarning, match=r"none of the modalities.*the mean of y"):
        assert_allclose(fusion.predict(X * np.nan), y.mean())


def test_regression_with_several_outputs(numbers):
    X, y = numbers
    both = np.column_stack([y, -2 * y])
    fusion = LateFusionRegressor(estimator=LinearRegression()).fit(X, both)
    single = LateFusionRegressor(estimator=LinearRegression()).fit(X, y)
    assert_allclose(fusion.predict(X)[:, 0], single.predict(X), rtol=1e-9)
    assert_allclose(fusion.predict(X)[:, 1], -2 * single.predict(X), rtol=1e-9)
    assert list(fusion.get_feature_names_out())[:3] == ["audio__0", "audio__1", "video__0"]


@pytest.mark.parametrize(
    "rule", [name for name, rule in REGRESSION_RULES.items() if rule.additive]
)
def test_regression_contributions_add_up(rule, numbers):
    X, y = numbers
    X = without(X, "video", slice(0, 9))
    variances = [1, 2, 3] if rule == "inverse_variance" else None
    fusion = LateFusionRegressor(rule=rule, variances=variances).fit(X, y)
    parts = fusion.modality_contributions(X)
    assert_allclose(parts.base + parts.contributions.sum(axis=1), fusion.predict(X)[:, None])
    assert (parts.contributions[:9, 1] == 0).all()


def test_regression_weights_are_repeated_rows(numbers):
    X, y = numbers
    weight = np.random.default_rng(0).integers(0, 3, size=len(y))
    again = np.repeat(np.arange(len(y)), weight)
    weighted = LateFusionRegressor().fit(X, y, weight)
    repeated = LateFusionRegressor().fit(X.iloc[again], y[again])
    assert_allclose(weighted.predict(X), repeated.predict(X), rtol=1e-8)
    assert_allclose(weighted.mean_, repeated.mean_)


def test_expert_without_weights_is_fitted_without_and_says_so(numbers):
    X, y = numbers
    fusion = LateFusionRegressor([("audio", KNeighborsRegressor())])
    with pytest.warns(UserWarning, match="takes no sample_weight"):
        fusion.fit(X, y, np.ones(len(y)))


def test_clean_data_raises_no_warning(table):
    X, y = table
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        LateFusionClassifier().fit(X, y).predict_proba(X)
        LateFusionRegressor().fit(X, y).predict(X)


def test_a_model_of_sequences_fuses_nothing_by_itself_and_need_not_say_so(recwarn):
    watch = load_watch()
    fusion = LateFusionClassifier(estimator=HMMClassifier(n_states=1, random_state=0))
    fusion.fit(watch.data[::5], watch.target[::5])
    assert not [each for each in recwarn if "nothing is fused" in str(each.message)]


def test_models_of_numbers_are_told_from_models_of_sequences():
    watch = load_watch()
    with pytest.raises(ValueError, match="sequence") as caught:
        LateFusionClassifier().fit(watch.data[::5], watch.target[::5])
    notes = " ".join(caught.value.__notes__)
    assert "accelerometer" in notes
    assert "take a model of sequences, such as mkfusion.HMMClassifier" in notes


@pytest.mark.parametrize(
    ("column", "selector", "expert", "remedy"),
    [
        (["red", "blue"] * 10, ["b"], LogisticRegression(), "give it a model of its own"),
        ([np.nan, *range(19)], ["b", "c"], LogisticRegression(), "put SimpleImputer\\(\\) before"),
        (["red", "blue"] * 10, "b", OneHotEncoder(), "put the name into a list"),
    ],
)
def test_what_a_model_cannot_read_comes_with_a_remedy(column, selector, expert, remedy):
    X = pd.DataFrame({"a": range(20), "b": column, "c": range(20)})
    model = make_pipeline(expert, LogisticRegression()) if selector == "b" else expert
    fusion = LateFusionClassifier(
        [("b", model)], modalities={"a": ["a"], "b": selector}, remainder="drop"
    )
    X = X if "c" in selector else X.drop(columns="c")
    with pytest.raises(ValueError) as caught:
        fusion.fit(X, np.arange(20) % 2)
    assert re.search(remedy, " ".join(caught.value.__notes__))


def test_the_remedy_for_text_beside_numbers_works():
    X = pd.DataFrame({"a": range(20), "b": ["red", "blue"] * 10, "c": range(20)})
    fusion = LateFusionClassifier(modalities={"a": ["a"], "mixed": ["b", "c"]})
    with pytest.raises(ValueError, match="could not convert") as caught:
        fusion.fit(X, np.arange(20) % 2)
    assert "make_column_transformer gives the encoder only the columns of text" in " ".join(
        caught.value.__notes__
    )
    encoder = OneHotEncoder(handle_unknown="ignore")
    columns = make_column_transformer((encoder, ["b"]), remainder=StandardScaler())
    model = make_pipeline(columns, LogisticRegression())
    fusion.set_params(estimators=[("mixed", model)]).fit(X, np.arange(20) % 2)
    assert fusion.score(X, np.arange(20) % 2) == 1.0
