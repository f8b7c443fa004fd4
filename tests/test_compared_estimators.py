"""The estimators of a comparison: cross-validated, each gives the scores of its row."""

import json
import pickle
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.metrics import get_scorer
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    StratifiedGroupKFold,
    StratifiedKFold,
    TimeSeriesSplit,
)

from mkfusion import LateFusionClassifier, compare_fusion
from mkfusion.datasets import make_multimodal_sequences

FOLDS = 2
CHOSEN = ["single (chosen)", "fusion (chosen)"]
# One of each way to be built, and of each way to learn.
CLASSIFIERS = {
    "late": ["early", "late:bayes", "late:vote", "late:bks", "late:dempster_shafer"],
    "learnt": ["late:stacking", "late:dempster_shafer:learn", "late:weighted:search"],
    "hybrid": ["hybrid:log_pool", "hybrid:stacking", "hybrid:weighted:learn"],
    "mkl": ["mkl:svm", "mkl:product"],
}
REGRESSORS = {
    "late": ["early", "late:median", "late:inverse_variance"],
    "learnt": ["late:stacking", "late:weighted:learn", "late:weighted:search"],
    "hybrid": ["hybrid:mean", "hybrid:stacking"],
    "mkl": ["mkl:exact:p2", "mkl:product"],
}


def table(seed, n=75):
    """Return columns of every kind, with rows that lack one, two or all of three modalities."""
    rng = np.random.default_rng(seed)
    y = np.resize(["ash", "elm", "oak"], n)
    words = [" ".join(rng.choice(["red", "blue", "green", "sky"], 5)) for _ in range(n)]
    X = pd.DataFrame(
        {
            "size__x": rng.normal(size=n) + (y == "ash"),
            "size__z": rng.normal(size=n),
            "kind__c": np.where(rng.random(n) < 0.6, y, rng.choice(["u", "v"], n)),
            "kind__n": rng.normal(size=n) + (y == "elm"),
            "said__t": [
                w + (" sun" if label == "oak" else "") for w, label in zip(words, y, strict=True)
            ],
        }
    )
    X.loc[:15, ["size__x", "size__z"]] = np.nan
    X.loc[10:25, "said__t"] = None
    X.loc[14:15, ["kind__c", "kind__n"]] = None
    order = rng.permutation(n)
    return X.iloc[order].reset_index(drop=True), y[order]


@pytest.fixture(scope="module")
def compared():
    X, y = table(0)
    rows = ["late:mean", "late:max", "early", "mkl:uniform"]
    return X, y, compare_fusion(X, y, strategies=rows, cv=FOLDS)


def scores(found, row, X, y, splits, scoring, groups=None):
    """Return what the row's estimator scores on each split, fitted by hand."""
    estimator, values = found.estimator(row), []
    learns = getattr(estimator, "cv", None) is not None
    for train, test in splits:
        params = {"groups": groups[train]} if learns and groups is not None else {}
        fitted = clone(estimator).fit(X.iloc[train], y[train], **params)
        values.append(get_scorer(scoring)(fitted, X.iloc[test], y[test]))
    return values


def check(found, X, y, splits, scoring, groups=None):
    splits = list(splits)
    for row in found.table.index.difference(CHOSEN, sort=False):
        values = scores(found, row, X, y, splits, scoring, groups)
        np.testing.assert_allclose(values, found.fold_scores[row], rtol=1e-7, err_msg=row)


@pytest.mark.filterwarnings("ignore:.* samples have none of the modalities")
@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_classifiers_score_what_the_table_says(kind, global_seed):
    X, y = table(global_seed)
    found = compare_fusion(X, y, strategies=CLASSIFIERS[kind], cv=FOLDS, scoring="neg_log_loss")
    cv = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    check(found, X, y, cv.split(X, y), "neg_log_loss")


@pytest.mark.filterwarnings("ignore:.* samples have none of the modalities")
@pytest.mark.parametrize("kind", REGRESSORS)
def test_regressors_score_what_the_table_says(kind, global_seed):
    X, _ = table(global_seed)
    noise = np.random.default_rng(global_seed).normal(size=len(X))
    y = X["kind__n"].fillna(0).to_numpy() + X["size__x"].fillna(0).to_numpy() + 0.3 * noise
    found = compare_fusion(X, y, strategies=REGRESSORS[kind], cv=FOLDS)
    check(found, X, y, KFold(FOLDS, shuffle=True, random_state=0).split(X), "r2")


@pytest.mark.filterwarnings("ignore:.* samples have none of the modalities")
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_groups_are_kept_together_inside(task, global_seed):
    X, y = table(global_seed)
    groups = pd.factorize(np.random.default_rng(0).permutation(np.repeat(np.arange(15), 5)))[0]
    cv, scoring = StratifiedGroupKFold, "neg_log_loss"
    if task == "regression":
        cv, y, scoring = GroupKFold, X["kind__n"].fillna(0).to_numpy(), "r2"
    rows = ["late:stacking", "hybrid:weighted:learn"]
    found = compare_fusion(X, y, strategies=rows, cv=FOLDS, scoring=scoring, groups=groups)
    splits = cv(FOLDS, shuffle=True, random_state=0).split(X, y, groups)
    check(found, X, y, splits, scoring, groups)


@pytest.mark.filterwarnings("ignore:.* samples have none of the modalities")
@pytest.mark.parametrize("level", ["subject", "sequence"])
def test_an_index_level_names_the_groups_by_itself(level, global_seed):
    """One of the name "sequence" holds sequences, which nothing cuts, without being named."""
    X, y = table(global_seed)
    groups = pd.factorize(np.random.default_rng(0).permutation(np.repeat(np.arange(15), 5)))[0]
    X = X.set_axis(pd.Index(groups, name=level))
    named = None if level == "sequence" else level
    found = compare_fusion(X, y, strategies=["late:log_pool:learn"], cv=FOLDS, groups=named)
    assert found.estimator("late:log_pool:learn").groups == named
    splits = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0).split(X, y, groups)
    check(found, X, y, splits, "accuracy")


def test_a_column_of_groups_is_no_feature(global_seed):
    X, y = table(global_seed)
    X = X.fillna({"size__x": 0.0, "size__z": 0.0, "kind__c": "u", "kind__n": 0.0, "said__t": ""})
    groups = np.repeat(np.arange(15), 5)
    given = X.assign(subject=groups)
    found = compare_fusion(
        given, y, strategies=["late:log_pool:learn"], cv=FOLDS, groups="subject"
    )
    fusion = found.estimator("late:log_pool:learn").fit(X, y, groups=groups)
    assert list(fusion.feature_names_in_) == list(X.columns)


def test_folds_of_time_and_ones_own_are_kept():
    X, y = table(0)
    rows = ["late:log_pool:learn"]
    found = compare_fusion(X, y, strategies=rows, cv=TimeSeriesSplit(2, gap=3))
    inner = found.estimator(rows[0]).cv
    assert isinstance(inner, TimeSeriesSplit)
    assert (inner.n_splits, inner.gap) == (3, 3)
    given = StratifiedKFold(4)
    found = compare_fusion(X, y, strategies=rows, cv=FOLDS, inner_cv=given)
    assert found.estimator(rows[0]).cv.n_splits == 4
    found = compare_fusion(X, y, strategies=rows, cv=FOLDS, inner_cv=2, random_state=5)
    assert (found.estimator(rows[0]).cv.n_splits, found.estimator(rows[0]).random_state) == (2, 5)


@pytest.mark.filterwarnings("ignore:nothing is fused")
def test_models_of_sequences_score_what_the_table_says(global_seed):
    X, y = make_multimodal_sequences(24, random_state=global_seed, return_X_y=True)
    rows = ["late:mean", "graphical:hmm", "graphical:hmm:early"]
    found = compare_fusion(X, y, strategies=rows, cv=FOLDS)
    y = np.asarray(y)
    splits = StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(X, y)
    check(found, X, y, splits, "accuracy")


@pytest.mark.filterwarnings("ignore:.* samples have none of the modalities")
def test_columns_are_named_where_names_tell_them_apart(compared):
    X, y, found = compared
    late = found.estimator("late:mean")
    assert late.modalities["kind"] == ["kind__c", "kind__n"]
    other = X[X.columns[::-1]].assign(more=1)
    with pytest.warns(UserWarning, match="'more' of X belong to no modality"):
        turned = clone(late).fit(other, y)
    np.testing.assert_allclose(turned.predict_proba(other), late.fit(X, y).predict_proba(X))

    numbers = X[["size__x", "size__z", "kind__n"]].to_numpy()
    places = {"size": [0, 1], "kind": [2]}
    found = compare_fusion(numbers, y, places, strategies=["late:mean"], cv=FOLDS)
    late = found.estimator("late:mean")
    assert late.modalities == places
    assert late.fit(numbers, y).predict(numbers).shape == y.shape


def test_without_a_name_it_is_what_the_verdict_calls_fusion(compared):
    X, y, found = compared
    rows = ["late:mean", "late:max", "early", "mkl:uniform"]
    best = found.table.loc[rows].sort_values(["score", "log_loss"], ascending=[False, True])
    assert repr(found.estimator()) == repr(found.estimator(best.index[0]))
    assert found.fusion == best.index[0]
    assert repr(found.estimator("fusion (chosen)")) == repr(found.estimator())
    singles = found.table.filter(like="single:", axis=0)
    best = singles.sort_values(["score", "log_loss"], ascending=[False, True]).index[0]
    assert found.single == best
    assert repr(found.estimator("single (chosen)")) == repr(found.estimator(best))

    found = compare_fusion(X, y, strategies=rows[:1], strategy="late:max", cv=FOLDS)
    assert found.fusion == "late:max"
    assert found.estimator().rule == "max"
    assert found.estimator("late:max (named)").rule == "max"


def test_of_equal_scores_the_lower_loss_is_chosen(compared):
    found = replace(compared[-1], table=compared[-1].table.assign(score=0.5, log_loss=0.9))
    for best, other in (("mean", "max"), ("max", "mean")):
        found.table.loc[f"late:{best}", "log_loss"] = 0.1
        found.table.loc[f"late:{other}", "log_loss"] = 0.2
        assert found.estimator().rule == best
    found.table["log_loss"] = np.nan  # of rules without probabilities
    assert found.estimator().rule == "mean"


def test_one_modality_is_the_fusion_of_itself():
    X, y = table(0)
    found = compare_fusion(X, y, {"kind": ["kind__c", "kind__n"]}, cv=FOLDS)
    assert found.fusion == found.single == "single:kind"
    assert repr(found.estimator()) == repr(found.estimator("single:kind"))


def test_a_single_modality_hears_no_other_and_is_silent_about_them(compared):
    X, y, found = compared
    some = X["kind__n"].notna()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        single = found.estimator("single:kind").fit(X[some], y[some])
    assert list(single.named_estimators_) == ["kind"]
    lost = X.assign(size__x=np.nan, said__t=None)
    np.testing.assert_array_equal(single.predict_proba(X[some]), single.predict_proba(lost[some]))


def test_a_bare_name_is_a_column_of_documents():
    """And a list of one is a table, whose few different texts are categories."""
    X, y = table(0)
    X["said__t"] = np.where(y == "oak", "the sun", "a moon")
    steps = []
    for columns in ("said__t", ["said__t"]):
        given = {"said": columns, "kind": ["kind__n"]}
        found = compare_fusion(X[["said__t", "kind__n"]], y, given, strategies=["early"], cv=FOLDS)
        fitted = found.estimator("single:said").fit(X[["said__t", "kind__n"]], y)
        names = fitted.named_estimators_["said"][0].get_feature_names_out()
        steps.append([name.rpartition("__")[2] for name in names])
    assert steps == [["moon", "sun", "the"], ["t_a moon", "t_the sun"]]


def test_places_are_those_of_the_table_with_its_groups():
    X, y = table(0)
    X = X[["size__x", "size__z", "kind__n"]].fillna(0.0)
    X.insert(0, "subject", np.repeat(np.arange(15), 5))
    places = {"size": [1, 2], "kind": [3]}
    found = compare_fusion(X, y, places, strategies=["early"], cv=FOLDS, groups="subject")
    late = found.estimator("early")
    assert late.modalities == {"size": ["size__x", "size__z"], "kind": ["kind__n"]}
    wrong = {"size": ["subject", "size__x"], "kind": ["kind__n"]}
    with pytest.raises(ValueError, match="'size' selects 'subject', which names the gro"):
        compare_fusion(X, y, wrong, cv=FOLDS, groups="subject")


def test_an_estimator_is_a_copy_and_ones_own_too():
    X, y = table(0)
    own = LateFusionClassifier(rule="vote")
    X = X[["size__x", "size__z", "kind__n"]].fillna(0)
    found = compare_fusion(X, y, strategies=[("mine", own)], strategy="mine", cv=FOLDS)
    mine = found.estimator("mine")
    assert mine is not own
    mine.set_params(rule="max")
    assert found.estimator("mine").rule == own.rule == "vote"


def test_it_fits_is_stored_and_predicts_labels(global_seed):
    X, y = table(global_seed)
    rows = ["hybrid:log_pool:learn", "mkl:uniform"]
    found = compare_fusion(X, y, strategies=rows, cv=FOLDS, inner_cv=2)
    found = pickle.loads(pickle.dumps(found))
    some = X.notna().any(axis=1)
    for row in rows:
        fusion = found.estimator(row).fit(X[some], y[some])
        again = pickle.loads(pickle.dumps(fusion))
        np.testing.assert_array_equal(again.predict(X[:5]), fusion.predict(X[:5]))
        assert set(fusion.predict(X[some])) <= set(y)


def test_a_row_that_is_none_is_refused(compared):
    with pytest.raises(ValueError, match=r"no row 'late:min'; its rows are .*'late:mean'"):
        compared[-1].estimator("late:min")


def test_json_leaves_the_estimators_out(compared):
    assert "estimators" not in json.loads(json.dumps(compared[-1].to_dict()))
