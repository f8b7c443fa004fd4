"""Hybrid fusion: its identities with early and late fusion, who hears what, incomplete rows."""

import numpy as np
import pandas as pd
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.utils import estimator_html_repr
from sklearn.utils.estimator_checks import parametrize_with_checks

from mkfusion import (
    EarlyFusionClassifier,
    EarlyFusionRegressor,
    HybridFusionClassifier,
    HybridFusionRegressor,
    LateFusionClassifier,
    LateFusionRegressor,
)
from mkfusion.datasets import make_multimodal_classification, simulate_missing
from mkfusion.rules import RULES

NAMES = ["audio", "video", "text"]
TAKES_WEIGHTS = [name for name, rule in RULES.items() if rule.weights]


def make_table(n=150, n_classes=3, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % n_classes)
    X = pd.DataFrame(
        {f"{m}__{j}": rng.normal(size=n) + y * (j == 0) for m in NAMES for j in (0, 1)}
    )
    return X, y


@pytest.fixture
def table():
    return make_table()


@pytest.fixture
def numbers(table):
    X, _ = table
    return X, X.to_numpy() @ np.arange(6.0) + np.random.default_rng(1).normal(size=len(X))


def block(X, *names):
    return X[[c for c in X if c.split("__")[0] in names]]


# Identities ---------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", TAKES_WEIGHTS)
def test_joint_weight_0_is_late_fusion(rule, table):
    X, y = table
    X = simulate_missing(X, rate=0.3, random_state=0)
    late = LateFusionClassifier(rule=rule, weights=[0.2, 0.5, 0.3]).fit(X, y)
    ours = HybridFusionClassifier(rule=rule, weights=[0.2, 0.5, 0.3, 0.0]).fit(X, y)
    assert_array_equal(ours.predict_proba(X), late.predict_proba(X))


@pytest.mark.parametrize("rule", ["weighted", "log_pool"])
def test_unimodal_weights_0_are_early_fusion(rule, table):
    X, y = table
    early = EarlyFusionClassifier().fit(X, y)
    weights = {"audio": 0, "video": 0, "text": 0, "joint": 1}
    ours = HybridFusionClassifier(rule=rule, weights=weights).fit(X, y)
    assert_array_equal(ours.transform(X)[:, -3:], early.predict_proba(X))
    assert_allclose(ours.predict_proba(X), early.predict_proba(X), rtol=1e-14)
    assert_array_equal(ours.predict(X), early.predict(X))


def test_identities_of_numbers(numbers):
    X, y = numbers
    late = LateFusionRegressor(rule="weighted", weights=[2, 1, 1]).fit(X, y)
    ours = HybridFusionRegressor(rule="weighted", weights=[2, 1, 1, 0]).fit(X, y)
    assert_array_equal(ours.predict(X), late.predict(X))
    early = EarlyFusionRegressor().fit(X, y)
    ours = HybridFusionRegressor(rule="weighted", weights=[0, 0, 0, 1]).fit(X, y)
    assert_array_equal(ours.predict(X), early.predict(X))


def test_dropped_experts_leave_early_fusion(table):
    X, y = table
    dropped = [(name, "drop") for name in NAMES]
    ours = HybridFusionClassifier(dropped).fit(X, y)
    assert list(ours.named_estimators_) == ["joint"]
    expected = EarlyFusionClassifier().fit(X, y).predict_proba(X)
    assert_allclose(ours.predict_proba(X), expected, rtol=1e-14)
    without = HybridFusionClassifier([("joint", "drop")]).fit(X, y)
    late = LateFusionClassifier(rule="log_pool").fit(X, y)
    assert_array_equal(without.predict_proba(X), late.predict_proba(X))


@pytest.mark.parametrize("rule", [name for name, rule in RULES.items() if rule.order_free])
def test_any_rule_over_the_experts_by_hand(rule, table):
    X, y = table
    ours = HybridFusionClassifier(rule=rule).fit(X, y)
    # The experts' posteriors as four modalities of a late fusion that hands them on.
    told = pd.DataFrame(ours.transform(X), columns=ours.get_feature_names_out())
    if RULES[rule].trained:
        assert list(ours.named_estimators_) == [*NAMES, "joint"]
        assert ours.score(X, y) > 0.6
        return
    own = {"expert_priors": dict(zip(ours.named_estimators_, ours.expert_priors_, strict=True))}
    hand = LateFusionClassifier(estimator=Told(), rule=rule, **own).fit(told, y)
    assert_allclose(ours.predict_proba(X), hand.predict_proba(told), atol=1e-13)


class Told(GaussianNB):
    """Hands its columns on as posteriors."""

    def predict_proba(self, X):
        return np.asarray(X)


# Who hears what -----------------------------------------------------------------------------


def test_joint_expert_is_the_early_fusion_of_its_modalities(table):
    X, y = table
    fusion = HybridFusionClassifier(joint_modalities="pairs").fit(X, y)
    pairs = ["audio+video", "audio+text", "video+text"]
    assert list(fusion.named_estimators_) == [*NAMES, *pairs]
    for place, pair in enumerate(pairs, start=3):
        part = block(X, *pair.split("+"))
        expected = EarlyFusionClassifier().fit(part, y).predict_proba(part)
        assert_array_equal(fusion.transform(X)[:, 3 * place : 3 * place + 3], expected)


def test_named_groups_of_modalities(table):
    X, y = table
    groups = {"seen_and_heard": ["audio", "video"], "everything": [*NAMES]}
    fusion = HybridFusionClassifier(
        [("everything", GaussianNB()), ("audio", SVC())],
        joint_modalities=groups,
        joint_estimator=EarlyFusionClassifier(LogisticRegression(C=0.1), scaling="frobenius"),
    ).fit(X, y)
    assert list(fusion.named_estimators_) == [*NAMES, *groups]
    assert fusion.named_estimators_.everything.estimator_.class_count_.sum() == len(y)
    part = block(X, "audio", "video")
    expected = EarlyFusionClassifier(LogisticRegression(C=0.1), scaling="frobenius").fit(part, y)
    assert_array_equal(fusion.transform(X)[:, 9:12], expected.predict_proba(part))
    assert list(fusion.named_estimators_.seen_and_heard.modalities_) == ["audio", "video"]


def test_without_a_joint_estimator_the_prototype_is_joined(table):
    X, y = table
    expert = make_pipeline(StandardScaler(), KNeighborsClassifier(9))
    fusion = HybridFusionClassifier(estimator=expert).fit(X, y)
    expected = clone(expert).fit(X.to_numpy(), y).predict_proba(X.to_numpy())
    assert_allclose(fusion.transform(X)[:, -3:], expected, atol=1e-12)


@pytest.mark.parametrize("as_frame", [True, False])
def test_columns_that_are_shared_and_scalar_selectors(as_frame, table):
    X, y = table
    modalities = {"a": [0, 1], "b": [1, 2, 5]}
    data = X if as_frame else X.to_numpy()
    fusion = HybridFusionClassifier(modalities=modalities, allow_overlap=True, remainder="drop")
    with pytest.warns(UserWarning, match="belong to no modality"):
        fusion.fit(data, y)
    early = EarlyFusionClassifier(modalities=modalities, allow_overlap=True)
    with pytest.warns(UserWarning, match="belong to no modality"):
        early.fit(data, y)
    assert_allclose(fusion.transform(data)[:, -3:], early.predict_proba(data), atol=1e-12)


def test_text_beside_numbers():
    rng = np.random.default_rng(0)
    y = rng.choice(["good", "poor"], size=80)
    X = pd.DataFrame({"stars": rng.normal(size=80), "review": [f"a {label} film" for label in y]})
    joint = EarlyFusionClassifier(
        LogisticRegression(), transformers=[("words", TfidfVectorizer())]
    )
    fusion = HybridFusionClassifier(
        [("words", make_pipeline(TfidfVectorizer(), LogisticRegression()))],
        modalities={"numbers": ["stars"], "words": "review"},
        joint_estimator=joint,
    ).fit(X, y)
    assert fusion.score(X, y) == 1
    expected = joint.set_params(modalities={"numbers": ["stars"], "words": "review"}).fit(X, y)
    assert_array_equal(fusion.transform(X)[:, -2:], expected.predict_proba(X))


def test_a_search_over_an_early_fusion_knows_its_modalities(table):
    X, y = table
    early = EarlyFusionClassifier(LogisticRegression(max_iter=1000), scaling="sqrt_dim")
    search = GridSearchCV(early, {"estimator__C": [0.01, 1.0]}, cv=3)
    fusion = HybridFusionClassifier(joint_estimator=search).fit(X, y, np.ones(len(y)))
    joint = fusion.named_estimators_.joint.best_estimator_
    assert list(joint.modalities_) == NAMES
    assert_allclose(fusion.transform(X)[:, -3:], search.fit(X, y).predict_proba(X), atol=1e-12)
    assert early.modalities is None


def test_one_modality_has_no_joint_expert(table):
    X, y = table
    with pytest.warns(UserWarning, match="nothing is fused"):
        fusion = HybridFusionClassifier().fit(block(X, "audio"), y)
    assert list(fusion.named_estimators_) == ["audio"]


@pytest.mark.parametrize(
    ("joint", "message"),
    [
        ("triples", "joint_modalities must be 'all', 'pairs' or a mapping.*'triples'"),
        (None, "joint_modalities must be"),
        ({"both": ["audio"]}, "'both' must hear at least two different modalities"),
        ({"both": "audio"}, "'both' must hear at least two"),
        ({"both": ["audio", "smell"]}, "'both' must hear .*'audio', 'video', 'text', got"),
        ({"both": ["audio", "audio"]}, "two different"),
        ({"audio": ["audio", "video"]}, "'audio' has the name of"),
        ({"a__b": ["audio", "video"]}, "must not contain '__'"),
        ({"rule": ["audio", "video"]}, "'rule' has the name of a constructor parameter"),
    ],
)
def test_joint_experts_that_cannot_be_are_refused(joint, message, table):
    X, y = table
    with pytest.raises((ValueError, TypeError), match=message):
        HybridFusionClassifier(joint_modalities=joint).fit(X, y)


@pytest.mark.parametrize(("name", "joint"), [("joint", "all"), ("audio+video", "pairs")])
def test_modality_with_the_name_of_a_joint_expert_is_refused(name, joint, table):
    X, y = table
    X = X.rename(columns=lambda column: column.replace("text", name))
    fusion = HybridFusionClassifier(joint_modalities=joint)
    with pytest.raises(ValueError, match="have the names of joint experts; rename them, or name"):
        fusion.fit(X, y)
    fusion.set_params(joint_modalities={"both": ["audio", name]}).fit(X, y)
    assert list(fusion.named_estimators_) == ["audio", "video", name, "both"]


def test_kinds_of_joint_model_are_checked(table):
    X, y = table
    with pytest.raises(ValueError, match="'joint' must be a classifier, got EarlyFusionRegressor"):
        HybridFusionClassifier(joint_estimator=EarlyFusionRegressor()).fit(X, y)
    with pytest.raises(ValueError, match=r"estimators names 'smell'.*'text', 'joint'"):
        HybridFusionClassifier([("smell", GaussianNB())]).fit(X, y)


# Incomplete rows ----------------------------------------------------------------------------


def test_joint_expert_that_takes_no_nan_hears_complete_rows_only(table):
    X, y = table
    X.loc[:49, ["text__0", "text__1"]] = np.nan
    fusion = HybridFusionClassifier().fit(X, y)
    expected = EarlyFusionClassifier().fit(X[50:], y[50:])
    told = fusion.transform(X)[:, -3:]
    assert np.isnan(told[:50]).all()
    assert_array_equal(told[50:], expected.predict_proba(X[50:]))
    late = LateFusionClassifier(rule="log_pool").fit(X, y)
    assert_array_equal(fusion.predict_proba(X)[:50], late.predict_proba(X)[:50])
    assert (fusion.predict_proba(X)[50:] != late.predict_proba(X)[50:]).any()


def test_joint_expert_that_takes_nan_speaks_of_every_row(table):
    X, y = table
    X.loc[:49, ["text__0", "text__1"]] = np.nan
    for model in (
        HistGradientBoostingClassifier(max_iter=5),
        make_pipeline(SimpleImputer(), LogisticRegression()),
    ):
        fusion = HybridFusionClassifier(joint_estimator=model).fit(X, y)
        expected = EarlyFusionClassifier(clone(model)).fit(X, y)
        assert_array_equal(fusion.transform(X)[:, -3:], expected.predict_proba(X))
    X.loc[0] = np.nan
    with pytest.warns(UserWarning, match="1 of 150 samples have none of the modalities"):
        assert_allclose(fusion.predict_proba(X)[0], fusion.priors_)


def test_no_complete_row_leaves_the_joint_expert_out(table):
    X, y = table
    X.loc[:74, ["text__0", "text__1"]] = np.nan
    X.loc[75:, ["audio__0", "audio__1"]] = np.nan
    with pytest.warns(UserWarning, match="'joint' is missing for every sample"):
        fusion = HybridFusionClassifier().fit(X, y)
    assert list(fusion.named_estimators_) == NAMES


@pytest.mark.parametrize("rule", ["stacking", "naive_bayes", "bks", "decision_template"])
def test_trained_rules_over_incomplete_rows(rule, table):
    X, y = table
    damaged = simulate_missing(X, rate=0.3, random_state=0)
    fusion = HybridFusionClassifier(rule=rule, cv=3, output_calibration="temperature")
    fusion.fit(damaged, y)
    assert fusion.score(damaged, y) > 0.5
    assert_allclose(fusion.predict_proba(damaged).sum(axis=1), 1)
    # A joint expert never speaks alone of what a single one does not hear.
    assert ("joint",) not in fusion.output_calibrators_


# What it is for -----------------------------------------------------------------------------


def test_synergy_needs_the_joint_expert_and_learnt_weights_find_it():
    """Two modalities that say nothing alone and everything together."""
    X, y = make_multimodal_classification(
        2000,
        modalities={"audio": 3, "video": 3},
        redundant=0.0,
        unique=0.0,
        synergistic=5.0,
        noise=0.1,
        return_X_y=True,
        random_state=0,
    )
    expert = make_pipeline(StandardScaler(), SVC())
    late = LateFusionClassifier(estimator=expert).fit(X[:1000], y[:1000])
    hybrid = HybridFusionClassifier(estimator=expert, rule="log_pool", weights="learn", cv=3)
    hybrid.fit(X[:1000], y[:1000])
    assert late.score(X[1000:], y[1000:]) < 0.6
    assert hybrid.score(X[1000:], y[1000:]) > 0.9
    assert hybrid.weights_[2] > 0.9


# scikit-learn's ways ------------------------------------------------------------------------

# Every rule keeps the contract in late fusion, whose code this is; here is one of each kind.
KINDS = ("mean", "vote", "dempster_shafer", "naive_bayes", "stacking")


@pytest.mark.filterwarnings("ignore:nothing is fused")
@parametrize_with_checks(
    [HybridFusionClassifier(rule=rule) for rule in KINDS]
    + [HybridFusionClassifier(rule="log_pool", weights="learn")]
    + [HybridFusionClassifier(joint_modalities="pairs", joint_estimator=GaussianNB())]
    + [HybridFusionRegressor(rule=rule) for rule in ("weighted", "stacking")]
)
def test_every_kind_of_rule_keeps_the_contract(estimator, check):
    check(estimator)


def test_kinds_are_known():
    assert is_classifier(HybridFusionClassifier())
    assert is_regressor(HybridFusionRegressor())


def test_nested_parameters_are_searched(table):
    X, y = table
    fusion = HybridFusionClassifier(
        [("joint", EarlyFusionClassifier(LogisticRegression()))],
        estimator=make_pipeline(StandardScaler(), SVC()),
    )
    search = GridSearchCV(
        fusion,
        {
            "joint__estimator__C": [0.1, 10],
            "estimator__svc__C": [1.0],
            "joint_modalities": ["all", {"joint": ["audio", "text"]}],
        },
        cv=2,
        error_score="raise",
    ).fit(X, y)
    assert len(search.cv_results_["params"]) == 4
    fusion.set_params(joint="drop", joint_modalities="all").fit(X, y)
    assert list(fusion.named_estimators_) == NAMES


def test_weights_reach_the_joint_expert(table):
    X, y = table
    weight = np.random.default_rng(0).integers(0, 3, size=len(y)).astype(float)
    fusion = HybridFusionClassifier().fit(X, y, weight)
    expected = EarlyFusionClassifier().fit(X, y, weight).predict_proba(X)
    assert_array_equal(fusion.transform(X)[:, -3:], expected)
    joint = make_pipeline(StandardScaler(), LinearSVC())
    fusion = HybridFusionClassifier(joint_estimator=joint).fit(X, y, weight)
    mean = np.average(X, axis=0, weights=weight)
    assert_allclose(fusion.named_estimators_.joint.estimator_[0].mean_, mean)


def test_joint_expert_that_takes_no_weights_is_fitted_without_and_says_so(table):
    X, y = table
    weight = np.where(y == 0, 5.0, 1.0)
    fusion = HybridFusionClassifier(joint_estimator=KNeighborsClassifier())
    with pytest.warns(UserWarning, match="'joint'.* takes no sample_weight and is fitted without"):
        fusion.fit(X, y, weight)
    assert_array_equal(
        fusion.transform(X)[:, -3:],
        EarlyFusionClassifier(KNeighborsClassifier()).fit(X, y).predict_proba(X),
    )
    assert_allclose(fusion.expert_priors_[-1], 1 / 3)


@pytest.mark.parametrize(
    ("model", "prior"),
    [
        (LogisticRegression(class_weight="balanced"), [0.5, 0.5]),
        (make_pipeline(StandardScaler(), GaussianNB(priors=[0.3, 0.7])), [0.3, 0.7]),
        (LogisticRegression(), [0.8, 0.2]),
    ],
)
def test_joint_expert_has_the_prior_of_its_model(model, prior, table):
    X, _ = table
    y = np.arange(len(X)) % 5 // 4
    for joint in (model, EarlyFusionClassifier(model)):
        fusion = HybridFusionClassifier(joint_estimator=joint, rule="bayes").fit(X, y)
        assert_allclose(fusion.expert_priors_[-1], prior)


def test_metadata_routing_reaches_the_joint_expert(table):
    X, y = table
    weight = np.random.default_rng(0).random(len(y))
    with sklearn.config_context(enable_metadata_routing=True):
        fusion = HybridFusionClassifier(
            estimator=GaussianNB().set_fit_request(sample_weight=False),
            joint_estimator=GaussianNB().set_fit_request(sample_weight=True),
        ).set_fit_request(sample_weight=True)
        fusion.fit(X, y, sample_weight=weight)
    joint = fusion.named_estimators_.joint.estimator_
    assert_allclose(joint.theta_, GaussianNB().fit(X, y, weight).theta_, atol=1e-12)
    assert_array_equal(
        fusion.named_estimators_.audio.theta_, GaussianNB().fit(block(X, "audio"), y).theta_
    )


def test_contributions_name_the_joint_expert(table):
    X, y = table
    parts = HybridFusionClassifier().fit(X, y).modality_contributions(X)
    assert parts.modalities == [*NAMES, "joint"]
    assert_allclose(parts.base + parts.contributions.sum(axis=1), parts.decision, atol=1e-12)


# The picture --------------------------------------------------------------------------------


HOSTILE = '<img src=x onerror="alert(1)">'


@pytest.mark.parametrize(
    "fusion",
    [
        HybridFusionClassifier(rule="stacking", cv=2),
        LateFusionClassifier([(HOSTILE, GaussianNB())], rule="log_pool", weights="learn"),
        EarlyFusionClassifier(),
        HybridFusionRegressor(),
    ],
)
def test_picture_shows_modalities_columns_experts_and_rule(fusion, table):
    X, y = table
    X = X.set_axis([HOSTILE + "__" + HOSTILE, HOSTILE + "__1", *X.columns[2:]], axis=1)
    before = estimator_html_repr(fusion)
    after = estimator_html_repr(fusion.fit(X, y))
    for page in (before, after):
        assert "<img" not in page
    assert "2 columns: video__0, video__1" in after
    assert "LogisticRegression" in after or "Ridge" in after
    assert "&lt;img src=x" in after
    if isinstance(fusion, LateFusionClassifier | LateFusionRegressor):
        assert f"rule: {fusion.rule}" in before
        assert f"rule: {fusion.rule}" in after
    if isinstance(fusion, HybridFusionClassifier):
        assert "hears" in after
    selectors = clone(fusion).set_params(modalities={"sound": [0, 1], "sight": slice(2, 6)})
    selectors.set_params(
        **({} if isinstance(fusion, EarlyFusionClassifier) else {"estimators": None})
    )
    text = estimator_html_repr(selectors)
    assert isinstance(fusion, EarlyFusionClassifier) or ("sound" in text and "slice(2, 6" in text)


def test_ridge_as_prototype_of_numbers(numbers):
    X, y = numbers
    fusion = HybridFusionRegressor(estimator=Ridge(), rule="stacking", passthrough=True).fit(X, y)
    assert fusion.score(X, y) > 0.9
    assert list(fusion.get_feature_names_out()) == [*NAMES, "joint"]
