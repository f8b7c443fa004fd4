"""The comparison is honest, takes any table, and its figures are scikit-learn's."""

import json
import re
import warnings
from collections import Counter
from html.parser import HTMLParser

import baycomp
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge, RidgeCV
from sklearn.metrics import f1_score, get_scorer, log_loss, make_scorer
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    LeaveOneGroupOut,
    PredefinedSplit,
    RepeatedStratifiedKFold,
    StratifiedKFold,
    StratifiedShuffleSplit,
    TimeSeriesSplit,
    cross_val_score,
    cross_validate,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier

from mkfusion import (
    EarlyFusionClassifier,
    EarlyFusionRegressor,
    LateFusionClassifier,
    LateFusionRegressor,
    MKLClassifier,
    MKLRegressor,
    compare_fusion,
)
from mkfusion.datasets import load_multiple_features
from mkfusion.evaluation import (
    STRATEGIES,
    check_task,
    corrected_interval,
    expected_calibration_error,
    printable,
)
from mkfusion.evaluation._wording import gain_verdict, in_text, lines_of
from mkfusion.rules import (
    REGRESSION_RULES,
    RULES,
    fuse,
    fuse_predictions,
    learn_regression_rule,
    learn_rule,
)

FOLDS = StratifiedKFold(3, shuffle=True, random_state=0)  # what cv=3 is for classes
NUMBER_FOLDS = KFold(3, shuffle=True, random_state=0)
FEW = ["early", "late:mean", "late:bayes"]
CHEAP = StratifiedShuffleSplit(1, train_size=30, test_size=30, random_state=0)
SINGLE, FUSION = "single (chosen)", "fusion (chosen)"
WHOLE = ["a__0", "a__1", "b__0", "b__1", "noise__0", "noise__1"]
BLOCKS = {name: [f"{name}__0", f"{name}__1"] for name in ("a", "b", "noise")}
KNOWN = {"classification": RULES, "regression": REGRESSION_RULES}


def strategies_of(task, learnt):
    """Read from the registry the names of the combinations that are (not) learnt out of fold."""
    built = {name: build(task, {}, {}, None) for name, build in STRATEGIES.items()}
    return [name for name, how in built.items() if getattr(how, "learnt", None) is learnt]


def late_names(task):
    """Return the rules that need no learning: as they stand in the package's registry."""
    rules = KNOWN[task].items()
    return [f"late:{n}" for n, r in rules if not (r.trained or r.weights == "variance")]


CLASSIFIED, PREDICTED = late_names("classification"), late_names("regression")
LEARNT = {task: strategies_of(task, learnt=True) for task in KNOWN}
KERNELS = {
    "classification": {
        "mkl:uniform": {"weighting": "uniform"},
        "mkl:alignf": {"weighting": "alignf"},
        "mkl:svm": {},
        "mkl:svm:p2": {"norm": 2},
        "mkl:product": {"weighting": "product"},
    },
    "regression": {
        "mkl:uniform": {"weighting": "uniform"},
        "mkl:alignf": {"weighting": "alignf"},
        "mkl:exact": {},
        "mkl:exact:p2": {"norm": 2},
        "mkl:product": {"weighting": "product"},
    },
}


def blocks(n=90, n_classes=3, seed=0, missing=0.0, signal=1.0):
    """Three modalities, the last of them noise, and labels in random order."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % n_classes)
    columns = ["a__0", "a__1", "b__0", "b__1", "noise__0", "noise__1"]
    X = pd.DataFrame(rng.normal(size=(n, 6)), columns=columns)
    X["a__0"] += signal * y
    X["b__0"] -= signal * y
    for name in ("a", "b", "noise"):
        X.loc[rng.random(n) < missing, [f"{name}__0", f"{name}__1"]] = np.nan
    return X, y


def model(last=None):
    """What the comparison fits on columns of numbers."""
    last = LogisticRegression(max_iter=1000) if last is None else last
    return make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler(), last)


def early_model(cls, last):
    transformer = make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler())
    whole = make_pipeline(SimpleImputer(keep_empty_features=True), last)
    return cls(whole, transformer=transformer)


def compare(X, y, modalities=None, **options):
    """Compare on few folds, which is quick."""
    return compare_fusion(
        X, y, modalities, **{"cv": 2, "inner_cv": 2, "strategies": FEW, **options}
    )


def without_times(found):
    return found.table.drop(columns="fit_time")


# The interval


@pytest.mark.parametrize(("n_folds", "runs"), [(5, 1), (10, 1), (5, 4)])
def test_interval_is_that_of_the_correlated_t_test(n_folds, runs, global_seed):
    rng = np.random.default_rng(global_seed)
    ours, theirs = rng.normal(0.02, 0.01, size=(2, n_folds * runs))
    posterior = baycomp.CorrelatedTTest(theirs, ours, runs=runs)
    # The Bayesian test's posterior is a t distribution; its quantiles are the interval's ends.
    expected = stats.t.ppf([0.05, 0.95], posterior.df, posterior.mean, np.sqrt(posterior.var))
    found = corrected_interval(ours - theirs, 1, n_folds - 1, confidence=0.9)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_interval_touches_zero_at_the_probability_of_a_gain(global_seed):
    rng = np.random.default_rng(global_seed)
    theirs, ours = rng.normal(size=(2, 10))
    lower, upper = baycomp.two_on_single(theirs, ours)
    ends = corrected_interval(ours - theirs, 1, 9, confidence=abs(upper - lower))
    assert min(abs(end) for end in ends) < 1e-9


def test_interval_by_hand():
    # mean .02, variance 1e-4, (1/3 + 1/2) of it, t_2 = 4.30265272975
    low, high = corrected_interval([0.01, 0.02, 0.03], n_test=50, n_train=100)
    half = 4.302652729749464 * (5 / 6 * 1e-4) ** 0.5
    np.testing.assert_allclose([low, high], [0.02 - half, 0.02 + half], rtol=1e-12)


def test_interval_of_one_split_is_nan():
    assert np.isnan(corrected_interval([0.3], 1, 4)).all()


@pytest.mark.parametrize("confidence", [0, 1, -0.1, 95])
def test_interval_refuses_a_confidence_beyond_0_and_1(confidence):
    with pytest.raises(ValueError, match="confidence must lie between 0 and 1"):
        corrected_interval([0.1, 0.2], 1, 4, confidence)


# The figures are scikit-learn's


def reference(estimator, X, y, scoring="neg_log_loss", cv=FOLDS, **more):
    return cross_val_score(estimator, X, y, scoring=scoring, cv=cv, error_score="raise", **more)


@pytest.mark.parametrize("scoring", ["accuracy", "neg_log_loss"])
def test_single_rows_are_the_pipeline_cross_validated(scoring):
    X, y = blocks()
    found = compare(X, y, cv=3, scoring=scoring, strategies="late:mean")
    for name in ("a", "b", "noise"):
        expected = reference(model(), X.filter(regex=f"^{name}__"), y, scoring)
        np.testing.assert_allclose(found.fold_scores[f"single:{name}"], expected, atol=1e-12)
        assert found.table.loc[f"single:{name}", "score"] == pytest.approx(expected.mean())


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_late_rows_are_late_fusion_cross_validated(missing):
    X, y = blocks(missing=missing)
    labels = np.array(["no", "yes", "maybe"])[y]
    found = compare(X, labels, cv=3, scoring="neg_log_loss", strategies=CLASSIFIED)
    for name in CLASSIFIED:
        fusion = LateFusionClassifier(rule=name.removeprefix("late:"), estimator=model())
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".* have none of the modalities")
            expected = reference(fusion, X, labels)
        np.testing.assert_allclose(found.fold_scores[name], expected, rtol=1e-12, err_msg=name)


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_late_rows_are_late_regression_cross_validated(missing):
    X, y = blocks(missing=missing)
    y = y + X["noise__1"].fillna(0.5).to_numpy()
    found = compare(X, y, cv=3, scoring="neg_mean_squared_error", strategies=PREDICTED)
    for name in PREDICTED:
        rule = name.removeprefix("late:")
        fusion = LateFusionRegressor(rule=rule, estimator=model(Ridge()))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".* have none of the modalities")
            expected = reference(fusion, X, y, "neg_mean_squared_error", NUMBER_FOLDS)
        np.testing.assert_allclose(found.fold_scores[name], expected, rtol=1e-12, err_msg=name)


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_early_row_is_early_fusion_cross_validated(missing):
    X, y = blocks(missing=missing)
    found = compare(X, y, cv=3, scoring="neg_log_loss", strategies="early")
    fusion = early_model(EarlyFusionClassifier, LogisticRegression(max_iter=1000))
    np.testing.assert_allclose(found.fold_scores["early"], reference(fusion, X, y), rtol=1e-12)
    numbers = y + X["noise__1"].fillna(0.5).to_numpy()
    found = compare(X, numbers, cv=3, strategies="early")
    fusion = early_model(EarlyFusionRegressor, Ridge())
    expected = reference(fusion, X, numbers, "r2", NUMBER_FOLDS)
    np.testing.assert_allclose(found.fold_scores["early"], expected, rtol=1e-12)


def kernels_model(last, name):
    """What the comparison fits of kernels on columns of numbers."""
    steps = [StandardScaler(), *([SimpleImputer()] if name == "mkl:product" else []), last]
    return make_pipeline(*steps).set_output(transform="pandas")


def heard_by_somebody(missing):
    """Blocks of which every row has at least one."""
    X, y = blocks(missing=missing)
    nobody = X.isna().all(axis=1).to_numpy()
    X.loc[nobody, ["a__0", "a__1"]] = np.random.default_rng(1).normal(size=(nobody.sum(), 2))
    return X, y


@pytest.mark.parametrize("missing", [0.0, 0.3])
@pytest.mark.parametrize("name", KERNELS["classification"])
@pytest.mark.filterwarnings("ignore:.* no modality whose kernel has a weight:UserWarning")
def test_kernel_rows_are_kernel_learning_calibrated_and_cross_validated(name, missing):
    X, y = heard_by_somebody(missing)
    labels = np.array(["no", "yes", "maybe"])[y]
    found = compare(X, labels, cv=3, scoring="neg_log_loss", strategies=name)
    # Scales are learnt once for a training set: out of fold are the machines only.
    calibrated = CalibratedClassifierCV(
        MKLClassifier(**KERNELS["classification"][name]), cv=3, ensemble=False
    )
    expected = reference(kernels_model(calibrated, name), X, labels)
    # Means over present samples and over numbers differ by rounding, and by it where a machine
    # stops within its tolerance.
    rtol = 3e-3 if missing else 1e-9
    np.testing.assert_allclose(found.fold_scores[name], expected, rtol=rtol)


@pytest.mark.parametrize("missing", [0.0, 0.3])
@pytest.mark.parametrize("name", KERNELS["regression"])
@pytest.mark.filterwarnings("ignore:.* no modality whose kernel has a weight:UserWarning")
def test_kernel_rows_of_numbers_are_kernel_regression_cross_validated(name, missing):
    X, y = heard_by_somebody(missing)
    y = y + X["noise__1"].fillna(0.5).to_numpy()
    found = compare(X, y, cv=3, scoring="neg_mean_squared_error", strategies=name)
    fusion = kernels_model(MKLRegressor(**KERNELS["regression"][name]), name)
    expected = reference(fusion, X, y, "neg_mean_squared_error", NUMBER_FOLDS)
    np.testing.assert_allclose(found.fold_scores[name], expected, rtol=1e-9)


@pytest.mark.parametrize("task", KERNELS)
def test_kernels_take_what_the_others_take(task):
    """Texts, categories, missing cells and modalities, rows of nothing, groups."""
    X, y = blocks(missing=0.3, signal=0.0)
    text = pd.Series(sentences(y, np.random.default_rng(0)), dtype=object)
    X = X.assign(text__0=text, text__1=np.array(["p", "q", "r"])[y], a__2=np.nan, b__2=1.0)
    X.loc[::5, ["text__0", "text__1"]] = None
    X.loc[7, "a__0"], X.loc[8, "a__1"] = np.nan, np.nan
    X.loc[3:4] = np.nan
    options = {"strategies": "mkl", "groups": np.arange(len(y)) // 3}
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of rows without a modality there is a table
        found = compare(X, y, task=task, **options)
    assert list(found.table.index[6:]) == list(KERNELS[task])
    assert np.isfinite(found.table["log_loss" if task == "classification" else "rmse"]).all()
    told = found.table["score"][["mkl:uniform", "mkl:alignf"]]
    assert (told > (0.6 if task == "classification" else 0.2)).all()


def test_row_without_a_modality_is_answered_by_the_prior_of_a_sum_of_kernels():
    X, y = blocks(80, 2)
    fold = np.arange(80) // 20
    X.loc[fold == 1] = np.nan
    found = compare(X, y, cv=KFold(4), scoring="neg_log_loss", strategies="mkl:uniform")
    prior, truth = np.mean(y[fold != 1] == 1), y[fold == 1]
    expected = np.log(np.where(truth == 1, prior, 1 - prior)).mean()
    assert found.fold_scores.loc[1, "mkl:uniform"] == pytest.approx(expected)


def test_class_that_cannot_be_calibrated_is_refused_with_the_strategy():
    X, y = blocks()
    y[:] = y > 0
    y[:2] = 7
    with pytest.raises(ValueError, match=r"class 7 \(1 sample\) none could be learnt") as caught:
        compare(X, y, strategies=["mkl:svm"])
    assert "raised by the strategy 'mkl:svm'" in caught.value.__notes__


def test_losses_are_log_loss_and_rmse():
    X, y = blocks()
    found = compare(X, y)
    as_score = compare(X, y, scoring="neg_log_loss")
    rows = ["single:a", *FEW]
    np.testing.assert_allclose(found.table["log_loss"][rows], -as_score.table["score"][rows])
    numbers = {"task": "regression", "strategies": ["early", "late:median"]}
    found = compare(X, y, **numbers)
    as_score = compare(X, y, scoring="neg_root_mean_squared_error", **numbers)
    rows = ["single:a", "early", "late:median"]
    np.testing.assert_allclose(found.table["rmse"][rows], -as_score.table["score"][rows])


@pytest.mark.parametrize("estimator", [GaussianNB(), SVC(), LinearSVC(random_state=0)])
def test_estimator_is_fitted_on_each_modality_and_on_all(estimator):
    X, y = blocks()
    found = compare(X, y, cv=3, estimator=estimator, inner_cv=CHEAP)
    late = LateFusionClassifier(rule="mean", estimator=model(estimator))
    early = early_model(EarlyFusionClassifier, estimator)
    for name, fusion in (("late:mean", late), ("early", early)):
        expected = reference(fusion, X, y, "accuracy")
        np.testing.assert_array_equal(found.fold_scores[name], expected)


MACRO = make_scorer(f1_score, average="macro")


@pytest.mark.parametrize(
    ("scoring", "n_classes"),
    [
        ("roc_auc", 2),
        ("average_precision", 2),
        ("roc_auc_ovr", 3),
        ("balanced_accuracy", 3),
        ("f1_macro", 3),
        (MACRO, 3),
        (lambda estimator, X, y: float(estimator.predict(X)[0] == y[0]), 3),
    ],
    ids=[
        "roc_auc",
        "average_precision",
        "roc_auc_ovr",
        "balanced",
        "f1_macro",
        "made",
        "function",
    ],
)
def test_any_scorer_gives_what_it_gives_in_scikit_learn(scoring, n_classes):
    X, y = blocks(n_classes=n_classes)
    found = compare(X, y, cv=3, scoring=scoring, strategies="late:mean")
    expected = reference(model(), X[["a__0", "a__1"]], y, scoring)
    np.testing.assert_allclose(found.fold_scores["single:a"], expected, rtol=1e-12)


def test_scorer_may_ask_a_strategy_for_its_decision_function():
    X, y = blocks(n_classes=2)
    found = compare(X, y, cv=3, scoring="roc_auc", strategies=[("svc", LinearSVC())])
    expected = reference(LinearSVC(), X, y, "roc_auc")
    np.testing.assert_allclose(found.fold_scores["svc"], expected, rtol=1e-12)
    assert np.isnan(found.table.loc["svc", "log_loss"])  # it states no probabilities


def unwise(scoring, splits, y, dummy):
    """Score scikit-learn's own estimator that never looks at X."""
    return cross_val_score(dummy, np.zeros((len(y), 1)), y, cv=splits, scoring=scoring).mean()


@pytest.mark.parametrize("labels", [np.arange(3), np.array(["cat", "dog", "owl"])])
@pytest.mark.parametrize(
    "scoring", ["accuracy", "balanced_accuracy", "f1_macro", "neg_log_loss", "roc_auc_ovr"]
)
def test_baseline_is_that_of_answers_without_a_look(scoring, labels):
    X, y = blocks()
    y = labels[np.where(y == 0, 0, np.arange(90) % 2 + 1)]
    y[::7] = labels[2]  # no longer as many rows of each
    found = compare(X, y, cv=3, scoring=scoring, strategies="late:mean")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wanted = unwise(scoring, FOLDS.split(X, y), y, DummyClassifier(strategy="prior"))
    np.testing.assert_allclose(found.baseline, wanted, rtol=1e-12)
    said = f"Without any modality, the most frequent class always, the score is {wanted:.4f}."
    assert said == found.baseline_sentence


@pytest.mark.parametrize("scoring", ["r2", "neg_root_mean_squared_error"])
def test_baseline_of_numbers_is_that_of_their_mean(scoring):
    X, y = blocks()
    y = y + X["a__1"] ** 2
    found = compare(X, y, cv=3, scoring=scoring, strategies="late:mean")
    wanted = unwise(scoring, NUMBER_FOLDS, y, DummyRegressor())
    np.testing.assert_allclose(found.baseline, wanted, rtol=1e-12)
    assert "the mean of the training rows always, the score is -" in found.baseline_sentence


def test_baseline_has_the_splits_of_the_comparison():
    """Groups that differ in their classes, and a class that a training set lacks."""
    X, y = blocks()
    y = np.sort(y)
    found = compare(X, y, cv=LeaveOneGroupOut(), groups=np.arange(90) // 15)
    splits = list(LeaveOneGroupOut().split(X, y, np.arange(90) // 15))
    assert found.baseline == unwise("accuracy", splits, y, DummyClassifier(strategy="prior")) == 0
    splits = [(np.arange(40, 90), np.arange(40)), (np.arange(0, 70), np.arange(70, 90))]
    found = compare(X, y, cv=splits, strategies="late:mean")
    assert found.baseline == unwise("accuracy", splits, y, DummyClassifier(strategy="prior"))


def test_baseline_is_nan_where_the_scorer_has_none():
    def picky(raises):
        def scorer(estimator, X, y):
            if len(set(estimator.predict(X))) > 1:
                return 0.5
            if raises:
                raise ValueError("one answer for all")
            return np.nan

        return scorer

    X, y = blocks()
    for raises in (False, True):
        found = compare(X, y, scoring=picky(raises), strategies="late:mean")
        assert np.isnan(found.baseline)
        assert found.to_dict()["baseline"] is None
        assert found.baseline_sentence.endswith("always, there is no score.")
        assert found.baseline_sentence in repr(found)
        assert found.baseline_sentence in found._repr_html_()


def test_baseline_warns_of_nothing_and_asks_nothing_of_one_modality():
    X, y = blocks()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compare(X, y, scoring="precision_macro", strategies="late:mean")
    with pytest.warns(UserWarning, match="nothing is fused"):
        found = compare(X[["a__0"]], y, cv=3)
    assert found.baseline == pytest.approx(1 / 3)


def test_columns_say_how_each_is_read(global_seed):
    rng = np.random.default_rng(global_seed)
    X, y = blocks(80, n_classes=2)
    words = rng.choice(["red", "green", "blue", "grey"], size=(80, 5))
    X = X[["a__0", "b__0"]].assign(
        a__kind=rng.choice(["x", "y"], 80), b__said=[f"{k} {' '.join(w)}" for k, w in
        enumerate(words)], b__flag=rng.random(80) < 0.5,
    )  # fmt: skip
    X.loc[:19, "a__kind"] = None
    X["cells"] = [rng.normal(size=(3, 1)) if k % 4 else None for k in range(80)]
    modalities = {"a": ["a__kind", "a__0"], "b": ["b__0", "b__said", "b__flag"], "c": ["cells"]}
    found = compare(X, y, modalities, strategies="late:mean").columns
    assert found.to_numpy().tolist() == [
        ["a", "a__kind", "category", 0.25],
        ["a", "a__0", "number", 0.0],
        ["b", "b__0", "number", 0.0],
        ["b", "b__said", "text", 0.0],
        ["b", "b__flag", "category", 0.0],
        ["c", "cells", "sequence", 0.25],
    ]
    array = compare(X[["a__0", "b__0"]].to_numpy(), y, {"a": 0, "b": 1}, strategies="late:mean")
    assert [row["column"] for row in array.to_dict()["columns"]] == ["0", "1"]


def test_scoring_is_named():
    X, y = blocks()
    assert compare(X, y, strategies="late:mean").scoring == "accuracy"
    assert compare(X, y, strategies="late:mean", scoring=MACRO).scoring == "f1_score"


@pytest.fixture(scope="module")
def digits():
    """The bundled digits on five folds, with a cheap choice inside them."""
    X, y = load_multiple_features(return_X_y=True)
    cheap = StratifiedShuffleSplit(1, train_size=100, test_size=100, random_state=0)
    return compare_fusion(X, y, inner_cv=cheap)


@pytest.mark.parametrize(
    ("row", "column", "figure"),
    [
        ("late:bayes", "score", 0.9875),
        ("late:mean", "score", 0.9805),
        ("early", "score", 0.9850),
        ("late:product", "log_loss", 0.145),
        ("late:log_pool", "log_loss", 0.052),
    ],
)
def test_digits_have_the_known_figures(digits, row, column, figure):
    assert digits.table.loc[row, column] == pytest.approx(figure, abs=0.002)


# What is learnt out of fold


def experts_by_loop(task, X, y, train, test, joint):
    """Return each expert's answers to the test rows, NaN where it is absent, and its priors."""
    last = LogisticRegression(max_iter=1000) if task == "classification" else Ridge()
    early = EarlyFusionClassifier if task == "classification" else EarlyFusionRegressor
    labels = np.unique(y[train])
    found, priors = [], []
    for columns in [*BLOCKS.values(), WHOLE] if joint else BLOCKS.values():
        there = X[columns].notna()
        here = (there.any(axis=1) if columns == WHOLE else there.all(axis=1)).to_numpy()
        estimator = early_model(early, last) if columns == WHOLE else model(last)
        rows = train[here[train]]
        fitted = estimator.fit(X[columns].iloc[rows], y[rows])
        answers = np.full((len(test), len(labels) if task == "classification" else 1), np.nan)
        block = X[columns].iloc[test[here[test]]]
        if task == "classification":
            places = np.searchsorted(labels, fitted.classes_)
            answers[np.ix_(here[test], places)] = fitted.predict_proba(block)
            answers[np.ix_(here[test], np.setdiff1d(range(len(labels)), places))] = 0
        else:
            answers[here[test], 0] = fitted.predict(block)
        found.append(answers)
        priors.append([np.mean(y[rows] == label) for label in labels])
    return np.array(found), np.array(priors)


def out_of_fold_by_loop(task, X, y, train, inner, joint):
    """Return the answers to the inner test rows, one inner split after another, and the rows."""
    labels, found, rows = np.unique(y[train]), [], []
    for part, rest in inner:
        answers, _ = experts_by_loop(task, X, y, part, rest, joint)
        if task == "classification":
            spread = np.where(np.isnan(answers[:, :, :1]), np.nan, np.zeros(len(labels)))
            spread[:, :, np.searchsorted(labels, np.unique(y[part]))] = answers
            answers = spread
        found.append(answers)
        rows.append(rest)
    return found, rows


def told_by_loop(task, name, y, train, lesson, rows, answers, priors):
    """Learn a strategy's rule from answers out of fold, and fuse other answers by it."""
    _, rule, *weights = name.split(":")
    options = {"weights": weights[0] if weights else None, "random_state": 0}
    labels = np.unique(y[train])
    if rule == "stacking":
        last = LogisticRegression(max_iter=1000) if task == "classification" else RidgeCV()
        options["final_estimator"] = last
    if task == "regression":
        learnt = learn_regression_rule(lesson, y[rows], rule, **options)
        return fuse_predictions(answers, rule, weights=learnt, fallback=y[train].mean())[:, 0]
    counts = [np.mean(y[train] == label) for label in labels]
    common = {"priors": counts, "expert_priors": priors}
    codes = np.searchsorted(labels, y[rows])
    learnt = learn_rule(lesson, codes, rule, **common, **options)
    return fuse(answers, rule, weights=learnt, **common)


def inner_splits(task, y, train):
    kind = StratifiedKFold if task == "classification" else KFold
    folds = kind(3, shuffle=True, random_state=0).split(np.zeros(len(train)), y[train])
    return [(train[a], train[b]) for a, b in folds]


def of_task(task, X, y):
    return y if task == "classification" else y + X["noise__1"].fillna(0.5).to_numpy()


def mean_probability(estimator, X, y):
    """Score what the true labels get: 0 for one that the training rows lack."""
    classes, given = list(estimator.classes_), estimator.predict_proba(X)
    rows = enumerate(np.asarray(y).tolist())
    return np.mean([given[i, classes.index(c)] if c in classes else 0.0 for i, c in rows])


def late_fusion(task, name, cv):
    """Return the estimator that a learnt strategy of late fusion stands for."""
    _, rule, *weights = name.split(":")
    cls = LateFusionClassifier if task == "classification" else LateFusionRegressor
    options = {"weights": weights[0]} if weights else {}
    last = LogisticRegression(max_iter=1000) if task == "classification" else Ridge()
    return cls(estimator=model(last), rule=rule, cv=cv, random_state=0, **options)


@pytest.mark.parametrize("case", ["missing", "rare"])
@pytest.mark.parametrize("task", KNOWN)
@pytest.mark.filterwarnings("ignore:.* are left out of what is learnt out of fold:UserWarning")
def test_learnt_late_rows_are_late_fusion_with_the_inner_splits(task, case):
    X, y = blocks(120, missing=0.3 if case == "missing" else 0.0, signal=0.8)
    y, cv = of_task(task, X, y), KFold(3)
    if task == "classification":
        y = np.array(["no", "yes", "maybe", "rare"])[y]
        y[40:45] = "rare" if case == "rare" else y[40:45]  # in one fold inside, if any
    scoring = mean_probability if task == "classification" else "neg_mean_squared_error"
    names = [name for name in LEARNT[task] if name.startswith("late:")]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".* have none of the modalities")
        found = compare(X, y, cv=cv, inner_cv=KFold(3), scoring=scoring, strategies=names)
        for name in names:
            for place, (train, test) in enumerate(cv.split(X)):
                inner = list(KFold(3).split(train))
                fusion = late_fusion(task, name, inner).fit(X.iloc[train], y[train])
                expected = get_scorer(scoring)(fusion, X.iloc[test], y[test])
                score = found.fold_scores.loc[place, name]
                assert score == pytest.approx(expected, rel=1e-9), name


@pytest.mark.parametrize("missing", [0.0, 0.3])
@pytest.mark.parametrize("task", KNOWN)
def test_learnt_rows_are_learnt_from_the_inner_splits(task, missing):
    X, y = blocks(120, missing=missing, signal=0.8)
    y, cv = of_task(task, X, y), FOLDS if task == "classification" else NUMBER_FOLDS
    scoring = "neg_log_loss" if task == "classification" else "neg_mean_squared_error"
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".* have none of the modalities")
        names = [name for name in LEARNT[task] if not name.endswith("search")]
        found = compare(X, y, cv=3, inner_cv=3, scoring=scoring, strategies=names)
    for place, (train, test) in enumerate(cv.split(X, y)):
        for joint in (False, True):
            inner = inner_splits(task, y, train)
            lesson, rows = out_of_fold_by_loop(task, X, y, train, inner, joint)
            lesson, rows = np.concatenate(lesson, axis=1), np.concatenate(rows)
            answers = experts_by_loop(task, X, y, train, test, joint)
            for name in (name for name in names if name.startswith("hybrid") is joint):
                fused = told_by_loop(task, name, y, train, lesson, rows, *answers)
                if task == "classification":
                    expected = -log_loss(y[test], fused)
                else:
                    expected = -np.mean((y[test] - fused) ** 2)
                score = found.fold_scores.loc[place, name]
                assert score == pytest.approx(expected, rel=1e-9), name


def test_choice_among_learnt_rules_is_cross_fitted():
    X, y = blocks(120, signal=0.4)
    names = ["late:log_pool:learn", "late:naive_bayes", "late:stacking", "hybrid:stacking"]
    found = compare(X, y, cv=3, inner_cv=3, strategies=names)
    for place, (train, _) in enumerate(FOLDS.split(X, y)):
        inner, merit = inner_splits("classification", y, train), {}
        for name in names:
            joint, scores = name.startswith("hybrid"), []
            lesson, rows = out_of_fold_by_loop("classification", X, y, train, inner, joint)
            for k, (part, rest) in enumerate(inner):
                others = [np.concatenate(lesson[:k] + lesson[k + 1 :], axis=1)]
                others.append(np.concatenate(rows[:k] + rows[k + 1 :]))
                asked = experts_by_loop("classification", X, y, part, rest, joint)
                fused = told_by_loop("classification", name, y, part, *others, *asked)
                right = fused.argmax(axis=1) == y[rest]
                scores.append((right.mean(), -log_loss(y[rest], fused)))
            merit[name] = tuple(np.round(np.mean(scores, axis=0), 10))
        assert found.choices.loc[place, "fusion"] == max(merit, key=merit.get)


class Twice(PredefinedSplit):
    """The same rows tested twice."""

    def split(self, X, y=None, groups=None):
        return 2 * list(CHEAP.split(X, y))


def test_rows_of_a_split_never_teach_the_rule_that_is_tried_on_it():
    X, y = blocks()
    options = {"cv": 3, "inner_cv": Twice([0, 1])}
    found = compare(X, y, strategies=["late:vote", "late:stacking", "late:bks"], **options)
    assert set(found.choices["fusion"]) == {"late:vote"}
    overlapping = StratifiedShuffleSplit(6, test_size=0.3, random_state=0)
    found = compare(X, y, inner_cv=overlapping, strategies=["late:stacking", "late:bks"])
    assert set(found.choices["fusion"]) <= {"late:stacking", "late:bks"}


@pytest.mark.parametrize("name", LEARNT["classification"])
def test_what_overfits_teaches_nothing_of_noise(name, global_seed):
    rng = np.random.default_rng(global_seed)
    X, _ = blocks(400, seed=global_seed, signal=0.0)
    y = rng.permutation(np.arange(400) % 2)
    tree = DecisionTreeClassifier(random_state=0)
    found = compare(X, y, estimator=tree, strategies=name)
    # 400 fair coins have a standard deviation of .025.
    assert abs(found.table.loc[name, "score"] - 0.5) < 0.125


class Counted(LogisticRegression):
    fits = 0

    def fit(self, X, y, sample_weight=None):
        Counted.fits += 1
        return super().fit(X, y, sample_weight)


@pytest.mark.parametrize(
    ("strategies", "models"),
    [
        (["late:mean"], 3),
        (["late:mean", "late:stacking", "late:log_pool:learn"], 3),
        (["early"], 4),
        (["hybrid:mean", "hybrid:stacking", "hybrid:log_pool:learn"], 4),
        (["early", "late:bks", "hybrid:stacking", "hybrid:log_pool"], 4),
    ],
)
def test_what_is_learnt_costs_no_fit_of_an_expert(strategies, models):
    X, y = blocks(missing=0.2)
    some = X.notna().any(axis=1).to_numpy()  # rows that have nothing teach early fusion only
    Counted.fits = 0
    compare(X[some], y[some], estimator=Counted(), strategies=strategies, cv=4, inner_cv=3)
    assert Counted.fits == models * (4 + 4 * 3)


def test_time_of_a_learnt_row_holds_the_fits_out_of_fold():
    X, y = blocks()
    strategies = ["late:mean", "late:naive_bayes", "hybrid:mean", "hybrid:log_pool:learn"]
    times = compare(X, y, strategies=strategies, inner_cv=3).table["fit_time"]
    singles = times[["single:a", "single:b", "single:noise"]].sum()
    assert times["late:mean"] == pytest.approx(singles)
    assert times["late:naive_bayes"] > 2 * times["late:mean"]
    assert times["hybrid:mean"] > times["late:mean"]
    assert times["hybrid:log_pool:learn"] > 2 * times["hybrid:mean"]


def test_one_inner_split_leaves_what_is_learnt_out_of_the_choice():
    X, y = blocks()
    learnt = ["late:stacking", "late:log_pool:learn"]
    found = compare(X, y, cv=3, inner_cv=CHEAP, strategies=["late:vote", *learnt])
    assert set(found.choices["fusion"]) == {"late:vote"}
    assert np.isfinite(found.fold_scores[learnt]).all(axis=None)
    found = compare(X, y, cv=3, inner_cv=CHEAP, strategies=["late:vote"], strategy="late:stacking")
    assert set(found.choices["fusion"]) == {"late:stacking"}
    with pytest.raises(ValueError, match="give inner_cv more folds, or name the strategy before"):
        compare(X, y, cv=3, inner_cv=CHEAP, strategies=learnt)


def test_rows_of_one_class_out_of_fold_are_too_few_to_learn_from():
    X, y = blocks(90, 2)
    y = np.sort(y)
    cv = [(np.r_[0:15, 60:90], np.arange(20, 50))]
    inner = PredefinedSplit(np.r_[np.full(15, -1), np.full(15, -1), np.arange(15) % 2])
    options = {"cv": cv, "inner_cv": inner}
    compare(X, y, strategies="late:mean", **options)
    with pytest.raises(ValueError, match="45 training rows are too few to learn from") as caught:
        compare(X, y, strategies=["late:mean", "late:bks"], **options)
    assert caught.value.__notes__ == ["raised by the strategy 'late:bks'"]


def log_likelihood(estimator, X, y):
    return np.log(estimator.predict_proba(X)[np.arange(len(y)), y] + 1e-12).mean()


@pytest.mark.parametrize("task", KNOWN)
@pytest.mark.filterwarnings("ignore:modality 'b' is missing for every sample:UserWarning")
def test_learnt_rows_stand_classes_and_modalities_that_some_folds_lack(task):
    X, y = blocks(120, 3)
    y[:4] = 3  # of two folds of 60 rows, the first has all rows of it
    X.loc[30:, BLOCKS["b"]] = np.nan
    scoring = log_likelihood if task == "classification" else None
    options = {"cv": KFold(2), "inner_cv": KFold(3), "task": task, "scoring": scoring}
    found = compare(X, y, strategies=["late:mean", *LEARNT[task]], **options)
    assert np.isfinite(found.fold_scores).all(axis=None)
    # The second half trains without b: as if it were not there.
    late = [name for name in LEARNT[task] if name.startswith("late:")]
    less = compare(X.drop(columns=BLOCKS["b"]), y, strategies=late, **options)
    np.testing.assert_array_equal(found.fold_scores.loc[0, late], less.fold_scores.loc[0, late])


def test_early_model_without_probabilities_is_calibrated_as_a_joint_expert():
    X, y = blocks()
    svc = LinearSVC(random_state=0)
    found = compare(X, y, cv=3, inner_cv=CHEAP, estimator=svc, strategies=["early", "hybrid:mean"])
    whole = early_model(EarlyFusionClassifier, svc)
    hits = reference(whole, X, y, "accuracy")
    np.testing.assert_array_equal(found.fold_scores["early"], hits)
    calibrated = lambda estimator: CalibratedClassifierCV(estimator, cv=5, ensemble=False)  # noqa: E731
    scores = []
    for train, test in FOLDS.split(X, y):
        said = [calibrated(model(svc)).fit(X[c].iloc[train], y[train]) for c in BLOCKS.values()]
        answers = [
            e.predict_proba(X[c].iloc[test]) for e, c in zip(said, BLOCKS.values(), strict=True)
        ]
        answers.append(calibrated(whole).fit(X.iloc[train], y[train]).predict_proba(X.iloc[test]))
        scores.append(-log_loss(y[test], np.mean(answers, axis=0)))
    found = compare(
        X, y, cv=3, inner_cv=CHEAP, estimator=svc, strategies="hybrid:mean", scoring="neg_log_loss"
    )
    np.testing.assert_allclose(found.fold_scores["hybrid:mean"], scores, rtol=1e-9)


# Calibration


def reliability_by_loop(confidence, right, n_bins=10):
    """Return (mean confidence, share right, rows) of every bin that is not empty."""
    found = []
    for b in range(n_bins):
        # No confidence is 0, so that the first bin may be open below.
        low, high = b / n_bins, (b + 1) / n_bins
        who = [i for i in range(len(right)) if low < confidence[i] <= high]
        if who:
            mean = sum(confidence[i] for i in who) / len(who)
            found.append((mean, sum(right[i] for i in who) / len(who), len(who)))
    return found


def error_by_loop(confidence, right, n_bins=10):
    bins = reliability_by_loop(confidence, right, n_bins)
    return sum(count * abs(share - mean) for mean, share, count in bins) / len(right)


def top_by_loop(probabilities, y, classes):
    """Return each row's highest probability, and whether it is the true class's."""
    best = [max(range(len(classes)), key=row.__getitem__) for row in probabilities.tolist()]
    confidence = [row[k] for row, k in zip(probabilities.tolist(), best, strict=True)]
    return confidence, [classes[k] == label for k, label in zip(best, y, strict=True)]


@pytest.mark.parametrize("n_bins", [1, 7, 10, 15])
def test_calibration_error_is_that_of_the_formula(n_bins, global_seed):
    rng = np.random.default_rng(global_seed)
    for n_classes in (2, 5):
        probabilities = rng.dirichlet(np.ones(n_classes), 60)
        probabilities[:20] = 0.0
        probabilities[:20, 0] = np.repeat(np.arange(5, 10) / 10, 4)  # on the edges of bins
        probabilities[:20, 1] = 1 - probabilities[:20, 0]
        classes = np.array(["e", "d", "c", "b", "a"])[:n_classes]
        y = rng.choice(classes, 60)
        expected = error_by_loop(*top_by_loop(probabilities, y, classes), n_bins)
        found = expected_calibration_error(y, probabilities, classes, n_bins)
        assert found == pytest.approx(expected, abs=1e-12)
        if set(y) == set(classes):
            columns = np.argsort(classes)
            found = expected_calibration_error(y, probabilities[:, columns], n_bins=n_bins)
            if (np.diff(np.sort(probabilities)[:, -2:]) > 0).all():  # no ties to break
                assert found == pytest.approx(expected, abs=1e-12)


def test_calibration_error_of_the_right_the_wrong_and_the_ignorant():
    sure = np.eye(2)[[0, 1, 1, 0]]
    assert expected_calibration_error([0, 1, 1, 0], sure) == 0
    assert expected_calibration_error([1, 0, 0, 1], sure) == 1
    assert expected_calibration_error([0, 1, 0, 1], np.full((4, 2), 0.5)) == 0
    assert expected_calibration_error([0, 1, 0, 0], np.tile([0.75, 0.25], (4, 1))) == 0
    assert expected_calibration_error([0, 1, 1, 1], np.tile([0.75, 0.25], (4, 1))) == 0.5


def test_calibrated_probabilities_have_a_small_calibration_error(global_seed):
    rng = np.random.default_rng(global_seed)
    probabilities = rng.dirichlet(np.ones(3), 20_000)
    y = (rng.random((20_000, 1)) > probabilities.cumsum(axis=1)).sum(axis=1)
    assert expected_calibration_error(y, probabilities) < 0.03
    overconfident = probabilities**3 / (probabilities**3).sum(axis=1, keepdims=True)
    assert expected_calibration_error(y, overconfident) > 0.1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0, 1], [0.5, 0.5]), "shape (n_samples, n_classes), got (2,)"),
        (([], np.empty((0, 2))), "got (0, 2)"),
        (([0, 1], [[1.0], [1.0]]), "here (2, 2), got (2, 1)"),
        (([0, 0], [[0.5, 0.5]] * 2), "here (2, 1), got (2, 2); name the classes that y lacks"),
        (([0, 1, 1], [[0.5, 0.5]] * 2), "here (3, 2), got (2, 2)"),
        (([0, 1], [[0.5, 0.6]] * 2), "each row must sum to 1"),
        (([0, 1], [[1.5, -0.5]] * 2), "non-negative"),
        (([0, 1], [[np.nan, 0.5]] * 2), "non-negative"),
        ((["a", "x"], [[0.5, 0.5]] * 2, ["a", "b"]), "y holds 'x', none of the classes"),
        (([0, 1], [[0.5, 0.5]] * 2, None, 0), "n_bins must be a positive whole number, got 0"),
    ],
)
def test_calibration_error_refuses_what_it_cannot_read(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        expected_calibration_error(*arguments)


# The tables of all test rows


def answers_by_loop(estimators, X, y, cv):
    """Return true and predicted values, probabilities and presence of all test rows, by row."""
    tested = [test for _, test in cv.split(X, y)]
    rows = np.concatenate(tested)
    found = {}
    for name, (estimator, columns) in estimators.items():
        predicted, probabilities = [], []
        for train, test in cv.split(X, y):
            here = X[columns].notna().all(axis=1).to_numpy()
            fitted = clone(estimator).fit(
                X[columns].iloc[train[here[train]]], y[train[here[train]]]
            )
            for i in test:
                row = X[columns].iloc[[i]]
                predicted.append(fitted.predict(row)[0] if here[i] else None)
                if hasattr(fitted, "predict_proba"):
                    probabilities.append(fitted.predict_proba(row)[0] if here[i] else None)
        found[name] = predicted, probabilities
    return rows, found


CVS = {
    "folds": StratifiedKFold(3, shuffle=True, random_state=1),
    "repeated": RepeatedStratifiedKFold(n_splits=2, n_repeats=2, random_state=1),
    "shuffled": StratifiedShuffleSplit(3, test_size=0.4, random_state=1),
}


@pytest.mark.parametrize("cv", CVS.values(), ids=CVS)
def test_tables_are_those_of_all_test_rows(cv):
    X, numbers = blocks(60, signal=0.7)
    y = np.array(["no", "yes", "maybe"])[numbers]
    own = {"hard": LinearSVC(random_state=0), "soft": GaussianNB()}
    found = compare(X, y, cv=cv, strategies=["late:bayes", *own.items()])
    estimators = {
        "single:a": (model(), BLOCKS["a"]),
        "late:bayes": (LateFusionClassifier(estimator=model()), WHOLE),
        **{name: (estimator, WHOLE) for name, estimator in own.items()},
    }
    rows, answers = answers_by_loop(estimators, X, y, cv)
    assert found.classes == ["maybe", "no", "yes"]
    for name, (predicted, probabilities) in answers.items():
        for label in found.classes:
            hits = sum(p == t == label for p, t in zip(predicted, y[rows], strict=True))
            said, true = predicted.count(label), int((y[rows] == label).sum())
            scores = [hits / said, hits / true, 2 * hits / (said + true), true]
            np.testing.assert_allclose(found.per_class.loc[(name, label)], scores, rtol=1e-12)
        bins = bins_of(found, name)
        if not probabilities:
            assert bins.empty
            assert np.isnan(found.table.loc[name, "ece"])
            continue
        top = top_by_loop(np.array(probabilities), y[rows], found.classes)
        expected = np.array(reliability_by_loop(*top))
        np.testing.assert_allclose(bins.iloc[:, 1:].astype(float), expected, rtol=1e-9)
        assert found.table.loc[name, "ece"] == pytest.approx(error_by_loop(*top), abs=1e-12)
        error = expected_calibration_error(y[rows], probabilities, found.classes)
        assert found.table.loc[name, "ece"] == pytest.approx(error, abs=1e-12)
    assert (found.per_class["support"].groupby("strategy").sum() == len(rows)).all()
    assert list(found.per_class.index.unique("strategy")) == list(found.table.index)


def bins_of(found, name):
    return found.calibration[found.calibration["strategy"] == name]


def test_chosen_rows_hold_the_answers_of_what_was_chosen():
    X, y = blocks(90, signal=0.3)
    found = compare(X, y, cv=3, strategies=["early", "late:max", "late:bayes"])
    assert found.choices.nunique().max() > 1  # or the test tells little
    alone = [
        compare(X, y, cv=[split], strategies=["early", "late:max", "late:bayes"])
        for split in FOLDS.split(X, y)
    ]
    for label, column in ((SINGLE, "single"), (FUSION, "fusion")):
        picked = list(zip(alone, found.choices[column], strict=True))
        hits = sum(one.per_class.loc[pick].eval("recall * support") for one, pick in picked)
        np.testing.assert_allclose(found.per_class.loc[label].eval("recall * support"), hits)
        sums = sum(bins_of(one, pick).eval("observed * count").sum() for one, pick in picked)
        assert bins_of(found, label).eval("observed * count").sum() == pytest.approx(sums)
        assert bins_of(found, label)["count"].sum() == 90


@pytest.mark.parametrize("cv", CVS.values(), ids=CVS)
def test_agreement_counts_the_rows_that_have_both(cv):
    X, y = blocks(60, missing=0.4, seed=3)
    X.loc[X["a__0"].notna(), BLOCKS["noise"]] = np.nan  # these two never meet
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".* have none of the modalities")
        found = compare(X, y, cv=cv, strategies="late:mean")
    _, answers = answers_by_loop({m: (model(), BLOCKS[m]) for m in BLOCKS}, X, y, cv)
    a, b, noise = (predicted for predicted, _ in answers.values())
    for one, other, names in ((a, b, ("a", "b")), (b, noise, ("b", "noise"))):
        both = [p == q for p, q in zip(one, other, strict=True) if None not in (p, q)]
        assert 0 < sum(both) < len(both)
        assert found.agreement.loc[names] == pytest.approx(sum(both) / len(both), abs=1e-12)
    assert np.isnan(found.agreement.loc["a", "noise"])
    assert (np.diag(found.agreement) == 1).all()
    pd.testing.assert_frame_equal(found.agreement, found.agreement.T)


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_agreement_of_numbers_is_the_correlation_of_errors(missing):
    X, y = blocks(60, missing=missing)
    y = y + 0.5 * np.random.default_rng(1).normal(size=60)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".* have none of the modalities")
        found = compare(X, y, cv=3, strategies="late:mean")
    singles = {m: (model(Ridge()), BLOCKS[m]) for m in BLOCKS}
    rows, answers = answers_by_loop(singles, X, y, NUMBER_FOLDS)
    for i, one in enumerate(BLOCKS):
        for other in list(BLOCKS)[:i]:
            pairs = zip(answers[one][0], answers[other][0], y[rows], strict=True)
            errors = [(p - t, q - t) for p, q, t in pairs if p is not None and q is not None]
            expected = stats.pearsonr(*np.transpose(errors)).statistic
            assert found.agreement.loc[one, other] == pytest.approx(expected, abs=1e-9)
    assert found.per_class.empty
    assert list(found.per_class.columns) == ["precision", "recall", "f1", "support"]
    assert found.classes == []
    assert "ece" not in found.table


def test_calibration_of_numbers_has_equally_filled_bins():
    X, y = blocks(64)
    y = y + 0.5 * np.random.default_rng(1).normal(size=64)
    found = compare(X, y, cv=3, strategies="late:mean")
    rows, answers = answers_by_loop({"a": (model(Ridge()), BLOCKS["a"])}, X, y, NUMBER_FOLDS)
    pairs = sorted(zip(answers["a"][0], y[rows], strict=True))
    bins = bins_of(found, "single:a")
    assert bins["count"].tolist() == [7, 6, 7, 6, 6, 7, 6, 7, 6, 6]
    for predicted, observed, count in bins.iloc[:, 1:].itertuples(index=False):
        piece, pairs = np.array(pairs[:count]), pairs[count:]
        np.testing.assert_allclose([predicted, observed], piece.mean(axis=0), rtol=1e-9)
    assert not pairs


def test_equal_predictions_share_a_bin():
    X, y = blocks(40)
    y = np.where(y == 0, 0.25, 4.0)
    found = compare(X, y, task="regression", strategies=[("mean", DummyRegressor())], cv=KFold(2))
    bins = bins_of(found, "mean")
    assert bins["count"].tolist() == [20, 20]
    halves = sorted([(y[20:].mean(), y[:20].mean()), (y[:20].mean(), y[20:].mean())])
    np.testing.assert_allclose(bins[["predicted", "observed"]], halves)


def test_availability_counts_the_patterns_of_presence():
    X, y = blocks(60, missing=0.3)
    named = {"count": BLOCKS["a"], "b": BLOCKS["b"], "noise": BLOCKS["noise"]}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".* have none of the modalities")
        found = compare(X, y, named, strategies="late:mean")
    patterns = Counter(
        tuple(bool(X[columns].notna().any(axis=1)[i]) for columns in named.values())
        for i in range(60)
    )
    table = found.availability
    assert list(table.columns) == ["count", "b", "noise", "count"]
    assert [dtype.kind for dtype in table.dtypes] == [*"bbb", "i"]
    shown = {tuple(row[:3]): row[3] for row in table.astype(object).to_numpy().tolist()}
    assert shown == patterns
    assert table.iloc[:, 3].is_monotonic_decreasing
    read = json.loads(json.dumps(found.to_dict(), allow_nan=False))["availability"]
    assert {tuple(row["present"].values()): row["count"] for row in read} == patterns
    assert list(read[0]["present"]) == ["count", "b", "noise"]


def test_classes_that_are_never_said_or_never_tested_have_no_share():
    X, y = blocks(80)
    y = np.array(["a", "b"], dtype=object)[y % 2]
    y[:3] = "early"  # no fold that has it in its training rows tests it
    y[77:] = "late"
    cv = [(np.arange(40), np.arange(40, 60)), (np.arange(40), np.arange(60, 80))]
    found = compare(X, y, cv=cv, strategies=["late:mean"])
    assert found.classes == ["a", "b", "early", "late"]
    for name in found.table.index:
        early, late = (found.per_class.loc[(name, label)] for label in ("early", "late"))
        assert early["support"] == 0
        assert np.isnan(early["recall"])
        assert (late["support"], late["recall"], late["f1"]) == (3, 0, 0)
        assert np.isnan(late["precision"])
    text = json.dumps(found.to_dict(), allow_nan=False)
    assert json.loads(text)["per_class"]["late:mean"]["late"]["precision"] is None


def test_modality_that_cannot_be_learnt_agrees_with_nobody():
    X, y = blocks(80, 2)
    X.loc[20:, BLOCKS["b"]] = np.nan
    found = compare(X, y, cv=KFold(4), strategies="late:mean")
    # Where b is tested it was never there to learn from; where it was learnt it is not tested.
    assert np.isnan(found.agreement.loc["b", "a"])
    assert found.agreement.loc["a", "noise"] > 0


def test_tables_of_one_modality():
    X, y = blocks()
    with pytest.warns(UserWarning, match="nothing is fused"):
        found = compare(X[BLOCKS["a"]], y, cv=3)
    assert found.agreement.to_numpy().tolist() == [[1.0]]
    assert found.availability.to_numpy().tolist() == [[True, 90]]
    for table in (found.per_class, found.calibration.set_index("strategy")):
        expected = table.loc["single:a"].to_numpy()
        for label in (SINGLE, FUSION):
            np.testing.assert_array_equal(table.loc[label].to_numpy(), expected)
    assert found.table["ece"].nunique() == 1


@pytest.mark.parametrize("kind", [bool, float, int, str])
def test_labels_name_their_entries_as_text(kind):
    X, y = blocks(n_classes=2)
    found = compare(X, y.astype(kind), strategies="late:mean")
    read = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert read["classes"] == found.classes == [kind(0), kind(1)]
    assert list(read["per_class"]["late:mean"]) == [str(kind(0)), str(kind(1))]


# The folds


@pytest.mark.parametrize(
    "cv",
    [
        RepeatedStratifiedKFold(n_splits=3, n_repeats=2, random_state=1),
        TimeSeriesSplit(4, gap=2),
        PredefinedSplit(np.arange(90) % 4 - 1),
        list(KFold(3).split(np.zeros(90))),
        [(np.arange(90) < 60, np.arange(90) >= 60)],
        4,
    ],
    ids=["repeated", "time", "predefined", "list", "masks", "number"],
)
def test_folds_are_those_given(cv):
    X, y = blocks()
    found = compare(X, y, cv=cv, strategies="late:mean")
    if cv == 4:
        cv = StratifiedKFold(4, shuffle=True, random_state=0)
    expected = reference(model(), X[["a__0", "a__1"]], y, "accuracy", cv)
    np.testing.assert_array_equal(found.fold_scores["single:a"], expected)


def test_folds_from_a_generator_are_used_up_once():
    X, y = blocks()
    found = compare(X, y, cv=KFold(3).split(X), strategies="late:mean")
    again = compare(X, y, cv=KFold(3), strategies="late:mean")
    assert found.fold_scores.equals(again.fold_scores)


class Watchful(ClassifierMixin, BaseEstimator):
    """Refuses to predict rows that stand in a forbidden relation to those it was fitted on."""

    def __init__(self, forbidden):
        self.forbidden = forbidden

    def fit(self, X, y):
        self.seen_ = X.index
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        assert not self.forbidden(self.seen_, X.index), "a fold leaks"
        return np.full(len(X), self.classes_[0])


def share(seen, new):
    return bool(set(seen) & set(new))


def turn_back(seen, new):
    return max(seen) >= min(new)


@pytest.mark.parametrize("inner_cv", [None, 2, GroupKFold(2)])
@pytest.mark.parametrize("cv", [3, LeaveOneGroupOut()])
def test_groups_stay_together_inside_the_training_sets_too(cv, inner_cv):
    X, y = blocks(60)
    groups = np.random.default_rng(0).permutation(np.arange(60) % 10)
    X.index = groups
    own = [("watchful", Watchful(share))]
    found = compare(X, y, cv=cv, inner_cv=inner_cv, groups=groups, strategies=own)
    assert len(found.choices) == (3 if cv == 3 else 10)
    with pytest.raises(AssertionError, match="leaks"):  # the test can fail
        compare(X, y, strategies=own)


def test_time_is_never_turned_back_inside_the_training_sets_either():
    X, y = blocks(60)
    own = [("watchful", Watchful(turn_back))]
    compare(X, y, cv=TimeSeriesSplit(3), inner_cv=None, strategies=own)
    with pytest.raises(AssertionError, match="leaks"):
        compare(X, y, cv=TimeSeriesSplit(3), inner_cv=2, strategies=own)


def test_groups_are_an_array_a_column_or_an_index_level():
    X, y = blocks(60)
    who = np.array([f"p{i}" for i in range(10)])[np.arange(60) % 10]
    expected = without_times(compare(X, y, groups=who, strategies="late:mean"))
    level = X.set_index(pd.MultiIndex.from_arrays([who, range(60)], names=["who", "step"]))
    mixed = [7 if name == "p3" else name for name in who]
    for table, groups in ((X.assign(who=who), "who"), (level, "who"), (X, mixed)):
        found = compare(table, y, groups=groups, strategies="late:mean")
        pd.testing.assert_frame_equal(without_times(found), expected)
        assert sum(found.modalities.values()) == 6


def test_seed_makes_the_folds():
    X, y = blocks()
    one, same, other = (compare(X, y, random_state=seed).fold_scores for seed in (0, 0, 1))
    assert one.equals(same)
    assert not one.equals(other)


# Honesty


def test_gain_compares_the_two_rows_that_were_chosen():
    X, y = blocks(signal=0.5)
    found = compare(X, y, cv=5, strategies="default")
    scores, choices = found.fold_scores, found.choices
    for label, column in ((SINGLE, "single"), (FUSION, "fusion")):
        picked = [scores.loc[i, name] for i, name in enumerate(choices[column])]
        np.testing.assert_array_equal(scores[label], picked)
    differences = scores[FUSION] - scores[SINGLE]
    assert found.gain == pytest.approx(differences.mean(), abs=1e-15)
    assert found.interval == pytest.approx(corrected_interval(differences, 18, 72))
    assert choices["single"].str.startswith("single:").all()
    assert set(choices["fusion"]) <= set(STRATEGIES)
    assert list(found.table.index[~found.table["exploratory"]]) == [SINGLE, FUSION]


def test_choice_never_sees_the_test_rows(global_seed):
    rng = np.random.default_rng(global_seed)
    X, y = blocks(80, 2, seed=global_seed, signal=0.2)
    cv = list(KFold(3, shuffle=True, random_state=global_seed).split(X))
    rules = [
        f"late:{rule}" for rule in ("mean", "bayes", "max", "min", "vote", "borda", "log_pool")
    ]
    same = {"cv": cv, "estimator": Columns(), "strategies": rules}
    found = compare(X, y, **same)
    for place, (_, test) in enumerate(cv):
        poisoned, labels = X.copy(), y.copy()
        poisoned.iloc[test] = 1e3 * rng.normal(size=(len(test), 6))
        labels[test] = 1 - labels[test]
        again = compare(poisoned, labels, **same)
        assert again.choices.loc[place].equals(found.choices.loc[place])
        changed = again.fold_scores.loc[place] != found.fold_scores.loc[place]
        assert changed.any(), "the poison does not work"


def test_choice_is_the_best_of_an_inner_cross_validation():
    X, y = blocks(90, 3, signal=0.4)
    found = compare_fusion(X, y, estimator=GaussianNB(), strategies=FEW, cv=3)
    inner = StratifiedKFold(3, shuffle=True, random_state=0)
    pipelines = {
        "early": early_model(EarlyFusionClassifier, GaussianNB()),
        "late:mean": LateFusionClassifier(rule="mean", estimator=model(GaussianNB())),
        "late:bayes": LateFusionClassifier(rule="bayes", estimator=model(GaussianNB())),
    }
    scoring = ("accuracy", "neg_log_loss")
    for place, (train, _) in enumerate(FOLDS.split(X, y)):
        merit = {}
        for name, estimator in pipelines.items():
            run = cross_validate(estimator, X.iloc[train], y[train], cv=inner, scoring=scoring)
            merit[name] = tuple(np.round([run[f"test_{s}"].mean() for s in scoring], 10))
        assert found.choices.loc[place, "fusion"] == max(merit, key=merit.get)


def test_ties_go_to_the_lower_log_loss():
    X, y = blocks()
    X = X[["noise__0", "noise__1", "a__0", "a__1"]]  # the first is not the best
    constant = {"scoring": lambda estimator, X, y: 0.5}
    assert set(compare(X, y, **constant).choices["single"]) == {"single:a"}
    strategies = [("hard", LinearSVC()), "late:mean"]  # no log loss is worse than any
    found = compare(X, y, strategies=strategies, **constant)
    assert set(found.choices["fusion"]) == {"late:mean"}


def test_strategy_named_beforehand_is_the_one_that_is_judged():
    X, y = blocks()
    found = compare(X, y, strategies=["late:max", "late:mean"], strategy="late:min")
    label = "late:min (named)"
    assert set(found.choices["fusion"]) == {"late:min"}
    assert list(found.table.index[:2]) == [SINGLE, label]
    assert FUSION not in found.table.index
    np.testing.assert_array_equal(found.fold_scores[label], found.fold_scores["late:min"])
    assert "late:min, named beforehand" in found.verdict
    assert not found.table.loc[label, "exploratory"]
    assert found.table.loc["late:min", "exploratory"]


def test_one_modality_has_no_gain():
    X, y = blocks()
    with pytest.warns(UserWarning, match="nothing is fused"):
        found = compare_fusion(X[["a__0", "a__1"]], y, cv=3)
    assert (found.gain, *found.interval) == (0, 0, 0)
    assert list(found.table.index) == [SINGLE, FUSION, "single:a"]
    assert found.verdict == "There is one modality, so there is nothing to fuse."
    expected = reference(model(), X[["a__0", "a__1"]], y, "accuracy")
    np.testing.assert_array_equal(found.fold_scores[FUSION], expected)


def test_equal_modalities_have_no_gain():
    X, y = blocks()
    twins = X[["a__0", "a__1"]].join(X[["a__0", "a__1"]].rename(columns=lambda c: f"twin_{c}"))
    found = compare(twins, y, cv=5, strategies=["late:mean", "late:max", "late:vote"])
    assert (found.gain, *found.interval) == (0, 0, 0)
    assert found.verdict.startswith("Fusion shows no sure gain here: ")


class Columns(ClassifierMixin, BaseEstimator):
    """The class whose mean is nearest, in some of the columns."""

    def __init__(self, places=slice(None)):
        self.places = places

    def fit(self, X, y):
        values = np.asarray(X)[:, self.places]
        self.classes_ = np.unique(y)
        self.means_ = np.array([values[y == label].mean(axis=0) for label in self.classes_])
        return self

    def predict_proba(self, X):
        differences = np.asarray(X)[:, None, self.places] - self.means_
        likelihood = np.exp(-(differences**2).sum(axis=2)) + 1e-300
        return likelihood / likelihood.sum(axis=1, keepdims=True)

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


def test_verdict_follows_the_interval():
    rng = np.random.default_rng(0)
    y = rng.permutation(np.arange(400) % 4)
    bits = np.column_stack([y % 2, y // 2])  # each modality tells one bit of the class
    X = pd.DataFrame(rng.normal(scale=0.1, size=(400, 3)), columns=["a__0", "b__0", "c__0"])
    X[["a__0", "b__0"]] += bits
    options = {"cv": 5, "estimator": Columns()}
    found = compare(X, y, strategies="late:product", **options)
    assert found.interval[0] > 0
    gained = "Fusion pays here: it (late:product, chosen in 5 of 5 splits) gains 0."
    assert found.verdict.startswith(gained)
    assert " in accuracy over the best single modality (" in found.verdict
    assert "; the 95 % interval of the gain is +0." in found.verdict
    found = compare(X, y, strategies=[("noise", Columns([2]))], **options)
    assert found.interval[1] < 0
    assert found.verdict.startswith(
        "Fusion does not pay here: it (noise, chosen in 5 of 5 splits) loses 0."
    )
    assert " in accuracy against the best single modality (" in found.verdict
    found = compare(X, y, cv=[(np.arange(300), np.arange(300, 400))], strategies="late:product")
    assert np.isnan(found.interval).all()
    assert "one split gives no interval" in found.verdict


@pytest.mark.parametrize(
    ("gain", "interval", "said"),
    [
        (0.078, (-0.02, 0.176), "gains 0.0780 in r2 over .* is -0.0200 to \\+0.1760"),
        (-0.0125, (-0.0804, 0.0554), "loses 0.0125 in r2 against .* is -0.0804 to \\+0.0554"),
        (0.0, (0.0, 0.0), "is level in r2 with .* is 0.0000 to 0.0000"),
        (-4.263e-05, (-0.02, 0.0199), "is level in r2 with"),
        (-4.263e-05, (-9e-05, 5e-06), "loses 0.00004263 in r2 .* -0.00009000 to \\+0.00000500"),
        (123456.7, (-2000.4, 248913.9), "gains 123457 in r2 over .* is -2000 to \\+248914"),
        (0.5, (np.nan, np.nan), "gains 0.5000 in r2 .*; one split gives no interval"),
    ],
)
def test_verdict_is_directional_and_has_plain_numbers(gain, interval, said):
    verdict = gain_verdict("it", "a", gain, interval, "r2")
    assert re.match(f"Fusion [a-z ]+ here: it {said}.", verdict)
    assert not re.search(r"\de[-+]", verdict)


@pytest.mark.parametrize(
    ("gain", "interval", "close"),
    [
        (0.024, (-0.026, 0.074), True),  # nearer to 0 than to .074
        (-0.024, (-0.074, 0.026), True),
        (0.026, (-0.024, 0.076), False),
        (0.026, (0.002, 0.05), False),
        (0.0, (0.0, 0.0), False),
        (0.001, (np.nan, np.nan), False),
    ],
)
def test_verdict_says_when_a_sign_can_turn(gain, interval, close):
    said = gain_verdict("it", "a", gain, interval, "r2")
    assert ("can change its sign with another seed" in said) == close


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([0.77, -4.263e-05, np.nan, 0], ["0.7700", "0.0000", "", "0.0000"]),
        ([-123456.7, -99999.6], ["-123457", "-100000"]),
        ([-12.3456, 3.0], ["-12.35", "3.00"]),
        ([2.5e-05, -3e-06], ["0.00002500", "-0.00000300"]),
        ([-3.5e9, -2.25e6], ["-3500000000", "-2250000"]),
        ([0.5, -1e25, np.inf], ["0.5000", "-1e+25", "inf"]),
    ],
)
def test_tables_have_plain_decimals_by_column(values, texts):
    frame = pd.DataFrame({"score": values, "n": range(len(values))})
    text = in_text(frame)
    assert text["score"].tolist() == texts
    assert text["n"].tolist() == list(range(len(values)))
    assert all(part in lines_of(frame) for part in texts)


def test_large_losses_are_written_out():
    X, _ = blocks()
    target = 1e4 * (X["a__0"] + X["b__0"])
    found = compare(X, target, strategies="late:mean", scoring="neg_mean_squared_error")
    assert found.scoring == "neg_mean_squared_error"
    assert found.table["score"].min() < -1e6
    for text in (repr(found), found._repr_html_()):
        assert not re.search(r"\de[-+]\d", text)
    assert repr(found).split()[0] == "score"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.* belong to no modality:UserWarning")
def test_best_of_many_equal_strategies_gains_nothing(global_seed):
    """Labels are noise and every strategy knows two columns of noise, as each single does."""
    rng = np.random.default_rng(global_seed)
    own = [(f"s{k}", Columns([4 + 2 * k, 5 + 2 * k])) for k in range(8)]
    honest, peeking = [], []
    for repeat in range(80):
        X = rng.normal(size=(60, 20))
        found = compare_fusion(
            X,
            rng.permutation(np.arange(60) % 2),
            {"a": [0, 1], "b": [2, 3]},
            estimator=Columns(),
            strategies=own,
            cv=4,
            inner_cv=2,
            random_state=repeat,
        )
        honest.append(found.gain)
        best = found.table["score"]
        peeking.append(max(best[name] for name, _ in own) - max(best["single:a":"single:b"]))
    errors = np.std([honest, peeking], axis=1) / np.sqrt(len(honest))
    assert abs(np.mean(honest)) < 4 * errors[0]
    assert np.mean(peeking) > 5 * errors[1]
    assert np.mean(peeking) > 0.02


# The strategies


def test_default_strategies_are_those_that_say_something_of_their_own():
    X, y = blocks()
    left_out = {"late:kittler_max", "late:kittler_min", "late:weighted", "late:dempster_shafer"}
    learnt = {
        *("late:naive_bayes", "late:stacking", "late:log_pool:learn"),
        *("late:dempster_shafer:learn", "hybrid:log_pool", "hybrid:log_pool:learn"),
    }
    default = {*CLASSIFIED, "early", *learnt} - left_out
    found = compare(X, y, strategies="default")
    assert set(found.table.index[5:]) == default
    numbers = compare(X, y, strategies="default", task="regression")
    assert set(numbers.table.index[5:]) == {
        *("early", "late:mean", "late:median", "late:inverse_variance", "late:stacking"),
        *("late:weighted:learn", "hybrid:weighted:learn"),
    }


def test_all_strategies_are_those_of_the_task():
    X, y = blocks()
    for task, learnt in LEARNT.items():
        found = compare(X, y, strategies="all", task=task)
        unlearnt = strategies_of(task, learnt=False)
        assert set(found.table.index[5:]) == {"early", *learnt, *unlearnt, *KERNELS[task]}
        assert {name for name in unlearnt if name.startswith("late:")} == set(late_names(task))
    assert set(LEARNT["classification"]) == {
        *("late:naive_bayes", "late:bks", "late:decision_template", "late:stacking"),
        *("late:weighted:learn", "late:log_pool:learn", "late:dempster_shafer:learn"),
        *("late:weighted:search", "late:log_pool:search"),
        *("hybrid:stacking", "hybrid:weighted:learn", "hybrid:log_pool:learn"),
    }
    assert set(LEARNT["regression"]) == {
        *("late:inverse_variance", "late:stacking", "late:weighted:learn"),
        *("late:weighted:search", "hybrid:stacking", "hybrid:weighted:learn"),
    }


def test_words_stand_for_several_strategies():
    X, y = blocks()
    default = list(compare(X, y, strategies="default").table.index[5:])
    both = compare(X, y, strategies=["default", "mkl:uniform", "late:max"])
    assert list(both.table.index[5:]) == [*default, "mkl:uniform"]
    hybrid = compare(X, y, strategies=["hybrid", ("mine", DecisionTreeClassifier())])
    names = list(hybrid.table.index[5:])
    assert names == [*(name for name in STRATEGIES if name.startswith("hybrid:")), "mine"]


def test_strategies_are_named_or_ones_own():
    X, y = blocks()
    fusion = LateFusionClassifier(rule="max", estimator=model())
    found = compare(X, y, strategies=["late:max", ("mine", fusion)], strategy="mine")
    assert list(found.table.index[5:]) == ["late:max", "mine"]
    np.testing.assert_allclose(found.fold_scores["mine"], found.fold_scores["late:max"])
    assert not hasattr(fusion, "classes_")  # it was cloned
    assert set(found.choices["fusion"]) == {"mine"}


def test_later_strategy_is_one_entry(monkeypatch):
    def build(task, modalities, encoders, model):
        if task == "regression":
            return None
        return EarlyFusionClassifier(model, modalities, transformers=list(encoders.items()))

    monkeypatch.setitem(STRATEGIES, "new", build)
    X, y = blocks()
    found = compare(X, y, strategies=["early", "new"])
    np.testing.assert_allclose(found.fold_scores["new"], found.fold_scores["early"])
    with pytest.raises(ValueError, match="unknown strategy 'new'"):
        compare(X, y, strategies=["new"], task="regression")


@pytest.mark.parametrize(
    ("strategies", "message"),
    [
        ([], "strategies is empty"),
        ("nope", "unknown strategy 'nope'; of this task: 'early', 'late:bayes'"),
        (["late:inverse_variance"], "unknown strategy"),
        ([("early", GaussianNB())], "strategy 'early' has the name of another row"),
        ([("single:a", GaussianNB())], "has the name of another row"),
        ([("fusion (chosen)", GaussianNB())], "has the name of another row"),
        ([("x", GaussianNB()), ("x", GaussianNB())], "strategy 'x' has the name of another row"),
        ([("x", GaussianNB)], "a name or a pair"),
        ([("x", 3)], "a name or a pair"),
        ([GaussianNB()], "a name or a pair"),
        ([(1, GaussianNB())], "a name or a pair"),
    ],
)
def test_strategies_that_cannot_be_are_refused(strategies, message):
    X, y = blocks()
    with pytest.raises(ValueError, match=re.escape(message)):
        compare(X, y, strategies=strategies)


@pytest.mark.filterwarnings("ignore:Only one class is present:UserWarning")
def test_score_that_is_no_number_is_refused():
    X, y = blocks(n_classes=2)
    with pytest.raises(ValueError, match="1 test rows score nan"):
        compare(X, y, cv=KFold(90), scoring="roc_auc", strategies="late:mean")


# Targets


@pytest.mark.parametrize(
    "change",
    [
        lambda y: np.array(["no", "yes"])[y],
        lambda y: np.array(["no", "yes"], dtype=object)[y],
        lambda y: y.astype(bool),
        lambda y: y.astype(float),
        lambda y: list(y),
        lambda y: pd.Series(y, index=np.arange(len(y))[::-1]),
        lambda y: pd.Series(y, dtype="Int64"),
        lambda y: pd.Series(y.astype(bool), dtype="boolean"),
        lambda y: pd.Series(np.array(["no", "yes"])[y], dtype="string"),
        lambda y: pd.Categorical(np.array(["no", "yes"])[y], categories=["never", "no", "yes"]),
    ],
    ids=[
        *("text", "object", "bool", "float", "list", "series"),
        *("Int64", "boolean", "string", "categorical"),
    ],
)
def test_labels_of_any_kind_give_the_same(change):
    X, y = blocks(n_classes=2)
    expected = compare(X, y, strategies="late:bayes")
    found = compare(X, change(y), strategies="late:bayes")
    assert found.task == "classification"
    pd.testing.assert_frame_equal(without_times(found), without_times(expected))


@pytest.mark.parametrize(
    ("y", "task"),
    [
        (["a", "b"], "classification"),
        ([True, False], "classification"),
        (np.arange(20), "classification"),
        (np.arange(20.0), "classification"),
        (pd.Series(np.arange(20), dtype="Int64"), "classification"),
        (pd.Categorical([1.5, 2.5]), "regression"),
        (np.arange(21), "regression"),
        (np.arange(21, dtype=np.uint8), "regression"),
        (pd.Series(np.arange(21), dtype="Int64"), "regression"),
        ([0.5, 1.0, 2.0], "regression"),
        ([[0.5], [1.0]], "regression"),
    ],
)
def test_task_is_guessed(y, task):
    assert check_task("auto", y) == task


def test_task_is_overridden():
    X, y = blocks()
    assert "rmse" in compare(X, y, task="regression", strategies="late:mean").table
    X, _ = blocks(210)
    many = np.arange(210) % 21  # more values than the guess takes for classes
    assert "rmse" in compare(X, many, strategies="late:mean").table
    assert "log_loss" in compare(X, many, task="classification", strategies="late:mean").table


def test_class_absent_from_a_training_set_is_answered_as_in_scikit_learn():
    X, y = blocks(80)
    y = np.array(["a", "b"], dtype=object)[y % 2]
    y[:3] = "rare"  # the first of four blocks holds every row of it
    found = compare(X, y, cv=KFold(4), strategies=["late:mean", "late:bayes"])
    for rule in ("mean", "bayes"):
        fusion = LateFusionClassifier(rule=rule, estimator=model())
        expected = reference(fusion, X, y, "accuracy", KFold(4))
        np.testing.assert_array_equal(found.fold_scores[f"late:{rule}"], expected)


@pytest.mark.parametrize(
    ("y", "options", "message"),
    [
        (np.ones(90), {}, "y is 1.0 in every row"),
        (["one"] * 90, {}, "y is 'one' in every row"),
        (np.full(90, 0.5), {}, "y is 0.5 in every row"),
        (np.r_[np.nan, np.arange(89) % 3], {}, "y contains NaN"),
        (pd.Series([None, *"ab" * 44, "a"]), {}, "y"),
        (np.ones((90, 2)), {}, "multi-label"),
        (np.random.default_rng(0).normal(size=(90, 2)), {}, "one column"),
        (["a"] * 86 + ["b"] * 4, {}, "too few rows per class for 5 folds: 'b' stand in fewer"),
        (np.arange(90), {"task": "classification"}, "too few rows per class for 5 folds"),
        (np.arange(90) % 2, {"cv": 1}, "n_splits=2"),
        (np.arange(90) % 2, {"cv": "5"}, "Expected `cv`"),
        (np.arange(90) % 2, {"cv": []}, "no test rows"),
        (np.arange(90) % 2, {"cv": [(np.arange(90), np.arange(9))]}, "shares rows"),
        (np.arange(90) // 45, {"cv": KFold(2)}, "trains on one class"),
        (np.arange(90) % 2, {"groups": "who"}, "groups names 'who', which is no column"),
        (np.arange(90), {"task": "classification"}, "if y is a quantity, say task='regression'"),
        (
            np.arange(90) % 2,
            {"groups": np.arange(90) // 30},
            "groups holds 3 different groups, too few for 5 folds; take cv=3 (--cv 3 on the",
        ),
        (
            np.arange(90) % 2,
            {"groups": np.arange(90) // 45},
            "groups holds 2 different groups, too few for 5 folds; it takes at least 3, so that",
        ),
        (np.arange(90) % 2, {"groups": ["x"] * 90}, "groups holds 1 group, too few for 5 folds"),
        (np.arange(90) % 2, {"groups": [None, *range(89)]}, "groups is missing for 1 rows"),
        (np.arange(90) % 2, {"groups": np.arange(89)}, "groups has 89"),
        (np.arange(89) % 2, {}, "y has 89"),
        (np.arange(90) % 2, {"task": "clustering"}, "task must be one of"),
        (np.arange(90) % 2, {"scoring": "beauty"}, "'beauty' is not a valid scoring"),
    ],
)
@pytest.mark.filterwarnings("ignore:The number of unique classes:UserWarning")
def test_what_cannot_be_compared_is_refused(y, options, message):
    X, _ = blocks()
    with pytest.raises(ValueError, match=re.escape(message)):
        compare_fusion(X, y, **options)


@pytest.mark.parametrize(("rows", "cv"), [(4, 2), (6, 3)])
def test_too_few_rows_to_choose_inside_are_refused(rows, cv):
    X, _ = blocks(rows)
    with pytest.raises(ValueError, match=r"too few rows, rows per class .* cannot be split once"):
        compare_fusion(X, np.arange(rows) % 2, cv=cv)


def test_too_few_groups_to_choose_inside_are_refused():
    X, y = blocks(n_classes=2)
    with pytest.raises(
        ValueError, match=r"rows per class or groups: .* cannot be split once more"
    ):
        compare_fusion(X, y, cv=2, groups=np.arange(90) // 45)


def test_one_modality_needs_no_rows_to_choose_inside():
    X, _ = blocks(4)
    with pytest.warns(UserWarning, match="nothing is fused"):
        assert len(compare_fusion(X[["a__0"]], [0, 1, 0, 1], cv=2).choices) == 2


# Tables


def test_modalities_are_positions_in_an_array():
    X, y = blocks()
    expected = without_times(compare(X, y))
    named = {"a": [0, 1], "b": slice(2, 4), "noise": [4, 5]}
    for table in (X.to_numpy(), np.asfortranarray(X), X.to_numpy().tolist()):
        found = without_times(compare(table, y, named))
        pd.testing.assert_frame_equal(found, expected, rtol=1e-9)


def test_modality_absent_from_a_training_set_is_answered_by_the_prior():
    X, y = blocks(80, 2)
    fold = np.arange(80) // 20
    X.loc[fold != 1, ["b__0", "b__1"]] = np.nan
    options = {"cv": KFold(4), "strategies": "late:bayes"}
    prior = np.mean(y[fold != 1] == 1)
    truth = y[fold == 1]
    expected = np.log(np.where(truth == 1, prior, 1 - prior)).mean()
    found = compare(X, y, scoring="neg_log_loss", **options).fold_scores
    assert found.loc[1, "single:b"] == pytest.approx(expected)
    found = compare(X, y, task="regression", scoring="neg_mean_squared_error", **options | NUMBERS)
    assert found.fold_scores.loc[1, "single:b"] == pytest.approx(-np.mean((truth - prior) ** 2))


NUMBERS = {"strategies": "late:mean"}


def test_modality_absent_from_a_test_set_leaves_the_others_to_decide():
    X, y = blocks(80, 2)
    X.loc[:19, ["b__0", "b__1", "noise__0", "noise__1"]] = np.nan
    found = compare(X, y, cv=KFold(4), strategies=["late:mean", "early"]).fold_scores
    assert found.loc[0, "late:mean"] == found.loc[0, "single:a"]
    assert np.isfinite(found).all(axis=None)


def test_all_nan_columns_and_constant_ones_change_nothing():
    X, y = blocks()
    expected = without_times(compare(X, y, estimator=Columns()))
    more = X.assign(a__2=np.nan, a__3=None, b__2=3.0, b__3="x")
    found = without_times(compare(more, y, estimator=Columns()))
    pd.testing.assert_frame_equal(found, expected, rtol=1e-9)


WORDS = np.array(["red", "green", "blue", "round", "square", "long", "short"])


def sentences(y, rng):
    """Texts whose second word tells the class."""
    told = np.array(["alpha", "beta", "gamma"])
    return [f"{' '.join(rng.choice(WORDS, 4))} {told[k]} {i}" for i, k in enumerate(y)]


@pytest.mark.parametrize("dtype", [object, "string"])
def test_texts_are_read(dtype):
    X, y = blocks(signal=0.0)
    text = pd.Series(sentences(y, np.random.default_rng(0)), dtype=dtype)
    found = compare(X.assign(text__0=text), y)
    assert found.table.loc["single:text", "score"] > 0.9
    text[::3] = None
    found = compare(X.assign(text__0=text), y, strategies="late:mean")
    assert 0.6 < found.table.loc["single:text", "score"] < 0.9


@pytest.mark.parametrize(
    "change",
    [
        lambda y: pd.Categorical(np.array(["p", "q", "r"])[y]),
        lambda y: np.array(["p", "q", "r"], dtype=object)[y],
        lambda y: pd.array(np.array(["p", "q", "r"])[y], dtype="string"),
        lambda y: np.array(["p", 2, None], dtype=object)[y],
        lambda y: pd.array(y == 1, dtype="boolean"),
        lambda y: y == 1,
    ],
    ids=["categorical", "object", "string", "mixed", "boolean", "bool"],
)
def test_categories_are_read(change):
    X, y = blocks(signal=0.0)
    table = X[["a__0", "a__1"]].assign(kind__0=change(y), kind__1=0.0)
    found = compare(table, y, strategies="late:mean")
    told = 2 / 3 if "bool" in str(pd.Series(change(y)).dtype) else 1.0
    assert found.table.loc["single:kind", "score"] == pytest.approx(told, abs=0.02)


def test_columns_of_odd_kinds_are_taken():
    X, y = blocks(60)
    n = len(X)
    odd = X.assign(
        a__2=pd.date_range("2020", periods=n),
        a__3=pd.to_timedelta(np.arange(n), unit="s"),
        a__4=pd.array([1, None] * (n // 2), dtype="Int64"),
        a__5=pd.array([1.5, None] * (n // 2), dtype="Float64"),
        b__2=[10**40 + i for i in range(n)],
        b__3=np.full(n, 2**63 + 5, dtype=np.uint64),
        b__4=np.array(["x", 1, 2.5, None] * (n // 4), dtype=object),
        b__5=[{"a": i} for i in range(n)],
        noise__2=X["noise__0"].astype(np.float16),
        noise__3=y.astype(np.int8),
    )
    assert np.isfinite(compare(odd, y).fold_scores).all(axis=None)


def test_index_and_numbers_for_names_do_not_matter():
    X, y = blocks()
    named = {"a": [0, 1], "b": [2, 3], "noise": [4, 5]}
    expected = without_times(compare(X, y))
    for table in (X.set_index(np.zeros(len(X), int)), X.set_axis(range(6), axis=1)):
        pd.testing.assert_frame_equal(without_times(compare(table, y, named)), expected)


def test_sequences_in_cells_are_refused_where_numbers_are_predicted():
    X, y = blocks()
    with pytest.raises(ValueError, match="column 'video' holds sequences and can be classified"):
        compare_fusion(X.assign(video=[np.ones((3, 2))] * len(X)), y, task="regression")


def test_infinity_is_refused_with_its_modality():
    X, y = blocks()
    with pytest.raises(ValueError, match="infinity") as caught:
        compare_fusion(X.assign(b__0=np.inf), y)
    assert caught.value.__notes__[0] == "raised by the model of modality 'b'"


def test_inputs_are_left_as_they_are():
    X, y = blocks(missing=0.2)
    X["who"] = np.arange(90) % 9
    before, labels = X.copy(deep=True), y.copy()
    estimator, own = GaussianNB(), GaussianNB()
    strategies = ["early", ("own", make_pipeline(SimpleImputer(), own))]
    compare(X, y, groups="who", estimator=estimator, strategies=strategies)
    pd.testing.assert_frame_equal(X, before)
    np.testing.assert_array_equal(y, labels)
    assert not hasattr(estimator, "classes_")
    assert not hasattr(own, "classes_")
    assert len(strategies) == 2


# Warnings, jobs


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_each_warning_is_given_once(n_jobs):
    X, y = blocks()
    X = X.assign(**{"c\n1": 0.0})
    weak = LogisticRegression(max_iter=1)
    named = {"a": ["a__0", "a__1"], "b": ["b__0", "b__1"]}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        compare(X, y, named, estimator=weak, n_jobs=n_jobs)
    texts = [str(warning.message) for warning in caught]
    assert sum("belong to no modality" in text for text in texts) == 1
    assert sum("failed to converge" in text for text in texts) == 1
    assert len(texts) == 2
    assert all(warning.filename == __file__ for warning in caught)


def test_columns_of_no_modality_are_refused_on_demand():
    X, y = blocks()
    with pytest.raises(ValueError, match="'noise__0', 'noise__1' of X belong to no modality"):
        compare_fusion(X, y, {"a": ["a__0", "a__1"], "b": ["b__0", "b__1"]}, remainder="error")


def test_columns_are_shared_only_on_demand():
    X, y = blocks()
    shared = {"a": ["a__0", "a__1", "b__0"], "b": ["b__0", "b__1"], "noise": [4, 5]}
    with pytest.raises(ValueError, match="share columns 'b__0'"):
        compare_fusion(X, y, shared)
    assert compare(X, y, shared, allow_overlap=True).modalities == {"a": 3, "b": 2, "noise": 2}


def test_figures_do_not_depend_on_the_number_of_jobs():
    X, y = blocks(missing=0.2)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".* have none of the modalities")
        one, two = (compare(X, y, strategies="default", n_jobs=n_jobs) for n_jobs in (1, 2))
    pd.testing.assert_frame_equal(without_times(one), without_times(two), check_exact=True)
    pd.testing.assert_frame_equal(one.fold_scores, two.fold_scores, check_exact=True)
    for name in ("choices", "per_class", "calibration", "agreement", "availability"):
        pd.testing.assert_frame_equal(getattr(one, name), getattr(two, name), check_exact=True)
    assert one.verdict == two.verdict


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_failing_strategy_is_named(n_jobs):
    X, y = blocks(missing=0.2)
    with pytest.raises(ValueError, match="NaN") as caught:
        compare(X, y, strategies=["early", ("mine", LogisticRegression())], n_jobs=n_jobs)
    assert caught.value.__notes__ == ["raised by the strategy 'mine'"]


def test_progress_bar_is_shown_on_demand(capsys):
    X, y = blocks()
    compare(X, y, strategies="late:mean")
    assert capsys.readouterr().err == ""
    compare(X, y, strategies="late:mean", verbose=1)
    assert "splits" in capsys.readouterr().err


# What is shown

HOSTILE = ["<script>alert(1)</script>", "\"'&", "line\nbreak", "\x1b[31mred", "\u202eturned"]


class Tags(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.texts = set(), []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)

    def handle_data(self, data):
        self.texts.append(data)


def test_names_are_text_wherever_they_are_shown():
    X, y = blocks()
    named = {name: [place] for place, name in enumerate(HOSTILE)} | {"last": [5]}
    own = ("<img src=x>", GaussianNB())
    found = compare(X, y, named, strategies=["early", own], strategy=own[0])
    page = Tags(found._repr_html_())
    cells = {"table", "thead", "tbody", "tr", "th", "td"}
    assert page.tags == cells | {"p", "details", "summary"}
    assert {f"single:{name}" for name in HOSTILE if "\n" not in name} <= set(page.texts)
    assert found.verdict in page.texts
    shown = repr(found)
    assert "single:line\\nbreak" in shown
    assert "single:\\x1b[31mred" in shown
    assert all(line.isprintable() for line in shown.split("\n"))
    assert (
        len(shown.split("\n")) == 2 + len(found.table) + 10
    )  # blank lines, a legend, two sentences
    assert found.to_dict()["table"].keys() == set(found.table.index)


def test_printable_leaves_what_a_terminal_prints():
    assert printable("grün, 字, a b") == "grün, 字, a b"
    assert printable("a\r\n\t\x00b") == "a\\r\\n\\t\\x00b"


def test_everything_is_json():
    X, y = blocks()
    found = compare(X, y, cv=[(np.arange(60), np.arange(60, 90))])
    assert found.table["spread"].isna().all()
    read = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert read["interval"] == [None, None]
    assert read["table"][SINGLE]["gain"] is None
    assert read["table"]["early"]["score"] == found.table.loc["early", "score"]
    assert read["table"]["early"]["exploratory"] is True
    assert read["fold_scores"] == found.fold_scores.to_dict("records")
    assert read["choices"] == found.choices.to_dict("records")
    assert read["modalities"] == {"a": 2, "b": 2, "noise": 2}
    assert read["classes"] == [0, 1, 2]
    assert read["per_class"]["early"]["1"] == found.per_class.loc[("early", 1)].to_dict()
    assert read["calibration"] == found.calibration.to_dict("records")
    assert read["agreement"] == found.agreement.to_dict()
    assert read["baseline"] == found.baseline
    read_first = {"modality": "a", "column": "a__0", "kind": "number", "empty": 0.0}
    assert read["columns"][0] == read_first
    assert len(read["columns"]) == 6
    everyone = {"a": True, "b": True, "noise": True}
    assert read["availability"] == [{"present": everyone, "count": 90}]
    assert read["verdict"] == found.verdict
    assert (read["n_rows"], read["named"], read["scoring"]) == (90, None, "accuracy")


def test_repr_shows_every_row_and_the_verdict():
    X, y = blocks()
    with pd.option_context("display.max_rows", 3, "display.max_columns", 2, "display.width", 20):
        found = compare(X, y, strategies="default")
        text = repr(found)
    default = found.table.index[5:]
    header, *lines = text.split("\n")
    assert header.split()[:3] == ["score", "spread", "log_loss"]
    exploratory = lines[lines.index("") + 1 :]
    assert exploratory.index("") == 3 + len(default)
    assert "NaN" not in text
    assert lines[-3] == found.baseline_sentence
    assert "Fusion " in lines[-1]


def test_the_answer_stands_apart_and_columns_are_explained(digits):
    lines = repr(digits).splitlines()
    blank = lines.index("")
    assert [line.split("  ")[0] for line in lines[2:blank]] == [SINGLE, FUSION]
    assert "exploratory" not in lines[0]
    legend = " ".join(lines)
    for column in (
        "score is the mean accuracy",
        "spread its",
        "ece the calibration error",
        "gain the score less",
    ):
        assert column in legend
