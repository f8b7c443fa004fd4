"""What may be relied on: interruptions, refits, inputs left alone, extremes, any table."""

import copy
import decimal
import functools
import inspect
import multiprocessing
import pickle
import re
import warnings
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from interruptions import interrupted_at
from scipy import sparse
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin, clone, is_regressor
from sklearn.dummy import DummyClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils import estimator_html_repr
from threadpoolctl import threadpool_limits

from mkfusion import (
    EarlyFusionClassifier,
    EarlyFusionRegressor,
    HybridFusionClassifier,
    HybridFusionRegressor,
    LateFusionClassifier,
    LateFusionRegressor,
    ModalityConcatenator,
    compare_fusion,
)
from mkfusion._parallel import single_blas_thread
from mkfusion.rules import REGRESSION_RULES, RULES, fuse, fuse_predictions

NAN, INF = np.nan, np.inf


RNG = np.random.default_rng(0)
V = RNG.normal(size=(40, 5))
V[:, 3] += V[:, 0]
X = pd.DataFrame(V, columns=["a__x", "a__y", "a__z", "b__x", "b__y"])
Y = np.digitize(V[:, 0] + V[:, 4], [-0.5, 0.5])
LABELS = np.array(["low", "mid", "top"])[Y]
NUMBERS = V.sum(axis=1)
WEIGHTS = RNG.uniform(0.5, 2, size=40)
LOST = X.copy()
LOST.iloc[:6, :3] = NAN
LOST.iloc[10:14, 3:] = NAN
MODALITIES = {"a": [0, 1, 2], "b": [3, 4]}

MARGINS = make_pipeline(StandardScaler(), RidgeClassifier())  # it has no predict_proba
FUSIONS = {
    "late": LateFusionClassifier(),
    "late of margins": LateFusionClassifier(estimator=MARGINS, rule="mean", cv=2),
    "late by vote": LateFusionClassifier([("b", MARGINS)], rule="vote"),
    "late by behaviour": LateFusionClassifier(rule="bks", cv=2, calibration="temperature"),
    "late by templates": LateFusionClassifier(rule="decision_template", cv=3),
    "late, learnt": LateFusionClassifier(rule="log_pool", weights="learn", cv=2),
    "late, searched": LateFusionClassifier(rule="vote", weights="search", cv=2, random_state=0),
    "late, stacked": LateFusionClassifier(
        rule="stacking",
        passthrough=True,
        final_estimator=make_pipeline(
            SimpleImputer(keep_empty_features=True), LogisticRegression()
        ),
        cv=2,
    ),
    "late, calibrated": LateFusionClassifier(output_calibration="sigmoid", cv=2),
    "late of numbers": LateFusionRegressor(rule="median"),
    "late of numbers, by variance": LateFusionRegressor(rule="inverse_variance", cv=3),
    "late of numbers, stacked": LateFusionRegressor(rule="stacking", cv=3),
    "hybrid": HybridFusionClassifier(),
    "hybrid, learnt": HybridFusionClassifier(
        rule="weighted", weights="learn", joint_modalities="pairs", cv=2
    ),
    "hybrid of numbers": HybridFusionRegressor(rule="median"),
    "early": EarlyFusionClassifier(),
    "early of numbers": EarlyFusionRegressor(scaling="frobenius"),
    "concatenator": ModalityConcatenator(transformer=StandardScaler(), scaling="spectral"),
}
WITH_FOLDS = [name for name, model in FUSIONS.items() if getattr(model, "cv", None)]
CLASSIFIERS = ["late", "late of margins", "late, learnt", "late, stacked", "early"]
REGRESSORS = ["late of numbers", "early of numbers"]
all_fusions = pytest.mark.parametrize("name", FUSIONS)
classifiers = pytest.mark.parametrize("name", CLASSIFIERS)
regressors = pytest.mark.parametrize("name", REGRESSORS)


def over(cases):
    return pytest.mark.parametrize("case", cases.values(), ids=cases)


def fusion(name, **params):
    return clone(FUSIONS[name]).set_params(**params)


def target(model, labels=LABELS):
    return NUMBERS if is_regressor(model) else labels


def table(model):
    """A table with modalities lost, where the model stands that."""
    early = isinstance(model, EarlyFusionClassifier | EarlyFusionRegressor)
    return X if early else LOST


def answer(model, X):
    method = next(m for m in ("predict_proba", "predict", "transform") if hasattr(model, m))
    found = getattr(model, method)(X)
    return found.toarray() if sparse.issparse(found) else np.asarray(found)


def fit_and_answer(model, X, y):
    return answer(model.fit(X, y), X)


def quietly(call):
    """Call, whatever models and modalities warn of."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return call()


def refusal(call):
    """Call, and return the answer, or the words of the error with its notes."""
    try:
        return quietly(call), None
    except (ValueError, TypeError) as error:
        return None, "\n".join([str(error), *getattr(error, "__notes__", [])])


# An interrupted fit


@all_fusions
def test_interrupted_refit_is_as_if_it_had_not_been(name, global_seed):
    model = fusion(name)
    X, y = table(model), target(model)
    kept = pickle.dumps((X, y, WEIGHTS, model.get_params()))
    before = clone(model).fit(X[["a__x", "b__y"]], target(model, Y % 2))
    wanted = answer(clone(model).fit(X, y, sample_weight=WEIGHTS), X)
    with interrupted_at(None) as lines:
        copy.deepcopy(before).fit(X, y, sample_weight=WEIGHTS)
    assert len(lines) > 300
    points = np.random.default_rng(global_seed).choice(len(lines), size=12, replace=False)
    for line in [*points, len(lines) - 1]:
        again = copy.deepcopy(before)
        with pytest.raises(KeyboardInterrupt), interrupted_at(line + 1):
            again.fit(X, y, sample_weight=WEIGHTS)
        assert pickle.dumps((X, y, WEIGHTS, again.get_params())) == kept
        np.testing.assert_array_equal(answer(again.fit(X, y, sample_weight=WEIGHTS), X), wanted)


class Bell(ClassifierMixin, BaseEstimator):
    """A classifier whose n-th fit or predict rings."""

    left = 0

    def ring(self):
        Bell.left -= 1
        if Bell.left == 0:
            raise KeyboardInterrupt

    def fit(self, X, y, sample_weight=None):
        self.ring()
        self.model_ = GaussianNB().fit(X, y, sample_weight)
        self.classes_ = self.model_.classes_
        return self

    def predict_proba(self, X):
        self.ring()
        return self.model_.predict_proba(X)


@pytest.mark.parametrize("ring", [1, 2])
@pytest.mark.parametrize("cls", [LateFusionClassifier, EarlyFusionClassifier])
def test_fit_interrupted_inside_a_model(cls, ring):
    if ring == 2 and cls is EarlyFusionClassifier:
        ring = 1  # it has one model
    y = np.where(np.arange(40) % 2, "u", "v")
    model = cls(estimator=Bell()).fit(X, y)
    before = model.predict_proba(X)
    Bell.left = ring
    with pytest.raises(KeyboardInterrupt):
        model.fit(X[::-1], LABELS)
    np.testing.assert_array_equal(model.fit(X, y).predict_proba(X), before)
    Bell.left = 1
    with pytest.raises(KeyboardInterrupt):
        model.predict_proba(X)
    np.testing.assert_array_equal(model.predict_proba(X), before)


# A refit


OTHER_DATA = {
    "names": lambda: (X, LABELS, NUMBERS, None),
    "an array": lambda: (V, LABELS, NUMBERS, None),
    "fewer columns": lambda: (X[["a__x", "b__y"]], LABELS, NUMBERS, None),
    "more modalities": lambda: (X.assign(c__x=V[:, 0] ** 2), LABELS, NUMBERS, None),
    "two classes": lambda: (X, Y > 0, NUMBERS, None),
    "four classes": lambda: (X, np.arange(40) % 4, NUMBERS, None),
    "few rows": lambda: (X[:20], LABELS[:20], NUMBERS[:20], None),
    "two outputs": lambda: (X, LABELS, np.c_[NUMBERS, V], None),
    "weights": lambda: (X, LABELS, NUMBERS, WEIGHTS),
}


@all_fusions
def test_refit_keeps_nothing_stale(name):
    model = fusion(name)
    for data in [*OTHER_DATA.values(), *reversed(OTHER_DATA.values())]:
        X, labels, numbers, weights = data()
        y = numbers if is_regressor(model) else labels
        model.set_params(modalities=None if isinstance(X, pd.DataFrame) else MODALITIES)
        fresh = clone(model).fit(X, y, sample_weight=weights)
        model.fit(X, y, sample_weight=weights)
        assert set(vars(model)) == set(vars(fresh))
        public = [key for key in dir(fresh) if key.endswith("_") and not key.startswith("_")]
        assert public == [key for key in dir(model) if key.endswith("_") and key[0] != "_"]
        np.testing.assert_array_equal(answer(model, X), answer(fresh, X))
        if hasattr(fresh, "get_feature_names_out"):
            names = fresh.get_feature_names_out()
            assert list(model.get_feature_names_out()) == list(names)


def test_failed_refit_does_not_keep_old_modalities():
    model = LateFusionClassifier().fit(X, LABELS)
    with pytest.raises(ValueError, match="one class"):
        model.fit(X[["a__x", "b__y"]], np.zeros(40))
    narrow = X[["a__x", "b__y"]]
    wanted = LateFusionClassifier().fit(narrow, LABELS).predict_proba(narrow)
    np.testing.assert_array_equal(model.fit(narrow, LABELS).predict_proba(narrow), wanted)


# Inputs are never written to


def frozen(values):
    values = np.array(values)
    values.setflags(write=False)
    return values


@all_fusions
@pytest.mark.parametrize("n_jobs", [None, 2])
def test_read_only_inputs_are_enough(name, n_jobs):
    model = fusion(name, modalities=MODALITIES, n_jobs=n_jobs)
    plain = table(model).to_numpy()
    y = target(model)
    wanted = answer(clone(model).fit(plain, y, sample_weight=WEIGHTS), plain)
    given = frozen(plain), frozen(y), frozen(WEIGHTS)
    model.fit(given[0], given[1], sample_weight=given[2])
    np.testing.assert_array_equal(answer(model, given[0]), wanted)
    for was, now in zip((plain, y, WEIGHTS), given, strict=True):
        np.testing.assert_array_equal(was, now)


@all_fusions
def test_memory_mapped_inputs_are_enough(name, tmp_path):
    model = fusion(name, modalities=MODALITIES)
    plain, y = table(model).to_numpy(), target(model)
    wanted = answer(clone(model).fit(plain, y), plain)
    np.save(tmp_path / "X.npy", plain)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    np.testing.assert_array_equal(answer(model.fit(mapped, y), mapped), wanted)
    frame = pd.DataFrame(mapped, columns=X.columns, copy=False)
    # Means over a frame round in another order, which an optimum magnifies.
    np.testing.assert_allclose(answer(model.fit(frame, y), frame), wanted, rtol=1e-6)


@all_fusions
def test_frames_series_and_weights_stay_as_they_are(name):
    model = fusion(name)
    frame = table(model).set_axis(np.arange(100, 140))
    frame.attrs["kept"] = True
    y = pd.Series(target(model), index=np.arange(200, 240), name="y")
    weights = pd.Series(WEIGHTS, index=y.index)
    copies = frame.copy(), y.copy(), weights.copy()
    model.fit(frame, y, sample_weight=weights)
    answer(model, frame)
    pd.testing.assert_frame_equal(frame, copies[0])
    pd.testing.assert_series_equal(y, copies[1])
    pd.testing.assert_series_equal(weights, copies[2])
    assert frame.attrs == {"kept": True}


@pytest.mark.parametrize("build", [sparse.csr_matrix, sparse.csc_array])
def test_sparse_matrices_stay_as_they_are(build):
    values = build(np.where(V > 0, V, 0.0))
    parts = [part.copy() for part in (values.data, values.indices, values.indptr)]
    for part in (values.data, values.indices, values.indptr):
        part.setflags(write=False)
    scaler = StandardScaler(with_mean=False)
    for model in (
        LateFusionClassifier(modalities=MODALITIES, estimator=LogisticRegression()),
        EarlyFusionClassifier(LogisticRegression(), MODALITIES, transformer=scaler),
        ModalityConcatenator(modalities=MODALITIES, scaling="frobenius"),
    ):
        answer(model.fit(values, LABELS), values)
    for part, was in zip((values.data, values.indices, values.indptr), parts, strict=True):
        np.testing.assert_array_equal(part, was)


def test_models_and_mappings_that_are_given_stay_as_they_are():
    pairs = [("a", make_pipeline(StandardScaler(), GaussianNB())), ("b", LinearSVC())]
    modalities = {"a": ["a__x", "a__y", "a__z"], "b": slice("b__x", "b__y")}
    params = {
        "estimators": pairs,
        "modalities": modalities,
        "estimator": DummyClassifier(),
        "weights": {"a": 1.0, "b": 2.0},
        "priors": [0.2, 0.3, 0.5],
        "expert_priors": {"a": [0.2, 0.3, 0.5]},
    }
    late = LateFusionClassifier(rule="weighted", **params)
    transformers = [("a", OneHotEncoder(handle_unknown="ignore")), ("b", "passthrough")]
    early = EarlyFusionClassifier(
        LogisticRegression(max_iter=1000),
        modalities,
        transformers=transformers,
        weights=np.array([1.0, 2.0]),
    )
    for model in (late, early):
        given = model.get_params(deep=False)
        was = repr({key: copy.deepcopy(value) for key, value in given.items()})
        model.fit(X, LABELS).predict(X)
        assert all(model.get_params(deep=False)[key] is value for key, value in given.items())
        assert repr(given) == was
    for _, estimator in [*pairs, *transformers]:
        for step in getattr(estimator, "named_steps", {"model": estimator}).values():
            fitted = [key for key in getattr(step, "__dict__", {}) if key.endswith("_")]
            assert fitted == []


def test_comparison_leaves_its_inputs_alone():
    frame, model = LOST.copy(), LogisticRegression()
    own = ("own", EarlyFusionClassifier(DecisionTreeClassifier(random_state=0)))
    strategies, modalities = ["late:mean", own], {"a": ["a__x", "a__y", "a__z"], "b": [3, 4]}
    kept = pickle.dumps((frame, LABELS, modalities, strategies, model))
    compare_fusion(frame, frozen(LABELS), modalities, cv=2, strategies=strategies, estimator=model)
    assert pickle.dumps((frame, LABELS, modalities, strategies, model)) == kept


@pytest.mark.parametrize("rule", [name for name in RULES if not RULES[name].trained])
def test_rules_leave_their_inputs_alone(rule):
    posteriors = frozen(RNG.dirichlet(np.ones(3), size=(4, 7)))
    posteriors_with_holes = np.where(RNG.random((4, 7, 1)) < 0.3, NAN, posteriors)
    weights = frozen([0.1, 0.0, 0.5, 0.9]) if RULES[rule].weights else None
    given = {
        "mask": frozen(RNG.random((4, 7)) < 0.8),
        "priors": frozen([0.2, 0.3, 0.5]),
        "expert_priors": frozen(RNG.dirichlet(np.ones(3), size=4)),
        "weights": weights,
    }
    wanted = fuse(posteriors, rule, **given)
    for layout in (
        np.asfortranarray(posteriors),
        posteriors[:, ::-1][:, ::-1],
        posteriors.tolist(),
    ):
        np.testing.assert_allclose(fuse(layout, rule, **given), wanted, rtol=1e-12)
    frozen_holes = frozen(posteriors_with_holes)
    given["mask"] = None
    assert np.isfinite(fuse(frozen_holes, rule, **given)).all()
    np.testing.assert_array_equal(frozen_holes, posteriors_with_holes)


@pytest.mark.parametrize(
    "rule", [name for name in REGRESSION_RULES if not REGRESSION_RULES[name].trained]
)
def test_regression_rules_leave_their_inputs_alone(rule):
    values = frozen(np.where(RNG.random((3, 8, 1)) < 0.3, NAN, RNG.normal(size=(3, 8, 2))))
    options = {
        "weighted": {"weights": frozen([0.0, 1.0, 2.0])},
        "inverse_variance": {"variances": frozen(RNG.uniform(1, 2, size=(3, 8)))},
    }.get(rule, {})
    was = values.copy()
    assert np.isfinite(fuse_predictions(values, rule, **options)).all()
    np.testing.assert_array_equal(values, was)


# No silent NaN: targets and weights


def replaced(values, value, place=3):
    values = np.array(values, dtype=None if isinstance(value, float) else object)
    values[place] = value
    return values


MISSING_LABELS = {
    "NaN": replaced(Y.astype(float), NAN),
    "infinity": replaced(Y.astype(float), INF),
    "None": replaced(LABELS, None),
    "NaN among words": replaced(LABELS, NAN).astype(object),
    "NA": pd.array(replaced(LABELS, None), dtype="string"),
    "nullable": pd.array(replaced(Y.astype(object), None), dtype="Int64"),
    "category": pd.Series(pd.Categorical(replaced(LABELS, None))),
    "NaT": pd.Series(pd.to_datetime(["2020-01-01", None] * 20)),
    "polars null": pl.Series([*LABELS[:3], None, *LABELS[4:]]),
}
MISSING_LABELS["NaN among words"][3] = NAN


@classifiers
@over(MISSING_LABELS)
def test_missing_labels_are_refused(name, case):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match=r"Input y contains (NaN|infinity)"):
            fusion(name).fit(X, case)


@regressors
@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize("columns", [1, 2])
def test_missing_numbers_are_refused(name, value, columns):
    y = np.tile(replaced(NUMBERS, value)[:, None], columns).squeeze()
    for numbers in (y, pd.DataFrame(y.reshape(40, -1)).astype("Float64").squeeze()):
        with pytest.raises(ValueError, match=r"Input y contains (NaN|infinity)"):
            fusion(name).fit(X, numbers)


WRONG_TARGETS = {
    "none": (None, ValueError, "y should be a 1d array of .*, got None"),
    "short": (LABELS[:-1], ValueError, "inconsistent numbers.*X has 40, y has 39|non-numeric|str"),
    "text": ("text", (ValueError, TypeError), "Expected array-like|at least 1 dimension|numeric"),
    "masked": (np.ma.array(Y, mask=Y > 1), ValueError, "y is a masked array, whose mask would be"),
    "cube": (np.ones((40, 1, 1)), ValueError, "dim|shape|Unknown label"),
    "complex": (Y * 1j, ValueError, "Complex data not supported"),
}


@over(WRONG_TARGETS)
@pytest.mark.parametrize("name", [*CLASSIFIERS, *REGRESSORS])
def test_wrong_targets_are_refused(name, case):
    y, error, words = case
    with pytest.raises(error, match=words):
        fusion(name).fit(X, y)


@classifiers
def test_targets_of_several_labels_are_refused(name):
    for y in (np.eye(3, dtype=int)[Y], sparse.csr_array(np.eye(3)[Y])):
        with pytest.raises(ValueError, match="multi-label targets are not supported"):
            fusion(name).fit(X, y)


@classifiers
@pytest.mark.parametrize(
    "labels",
    [
        LABELS.tolist(),
        LABELS.astype(object),
        pd.Series(LABELS, index=range(100, 140)),
        pd.Series(LABELS, dtype="string"),
        pd.Series(LABELS, dtype="category"),
        pl.Series(LABELS.tolist()),
        Y == 1,
        Y.astype(np.int8),
        Y.astype(np.float32),
        pd.array(Y, dtype="Int64"),
        Y.astype(np.uint64) + np.uint64(2**63),
        pd.to_datetime(["2020-01-01", "2021-01-01", "2022-01-01"])[Y],
    ],
    ids=lambda labels: f"{type(labels).__name__}-{getattr(labels, 'dtype', '')}",
)
def test_labels_of_any_kind_come_back(name, labels):
    model = fusion(name).fit(X, labels)
    plain = np.asarray(labels)
    np.testing.assert_array_equal(model.classes_, np.unique(plain))
    found = model.predict(X)
    assert found.dtype == model.classes_.dtype
    assert set(found) <= set(model.classes_)
    assert (found == plain).mean() > 0.5


WRONG_WEIGHTS = {
    "NaN": (replaced(WEIGHTS, NAN), "sample_weight contains NaN"),
    "infinity": (replaced(WEIGHTS, INF), "sample_weight contains infinity"),
    "negative": (replaced(WEIGHTS, -1.0), "Negative values in data passed to `sample_weight`"),
    "zeros": (np.zeros(40), "at least one non-zero"),
    "None inside": (replaced(WEIGHTS, None), "sample_weight contains NaN"),
    "NA inside": (
        pd.array(replaced(WEIGHTS, None), dtype="Float64"),
        "sample_weight contains NaN",
    ),
    "single NaN": (NAN, "sample_weight contains NaN"),
    "single negative": (-2.0, "Negative values in data passed to `sample_weight`"),
    "single zero": (0, "at least one non-zero"),
    "short": (WEIGHTS[:-1], r"sample_weight.shape == \(39,\), expected \(40,\)"),
    "two columns": (WEIGHTS[:, None], "Sample weights must be 1D array or scalar"),
    "words": (["much"] * 40, "could not convert string to float"),
    "masked": (np.ma.array(WEIGHTS, mask=WEIGHTS > 1), "sample_weight is a masked array"),
    "huge": (replaced(WEIGHTS, 1e308), "sample_weight goes up to 1e[+]308, which overflows"),
}


@all_fusions
@over(WRONG_WEIGHTS)
def test_wrong_weights_are_refused(name, case):
    weights, words = case
    model = fusion(name)
    with pytest.raises(ValueError, match=words):
        model.fit(X, target(model), sample_weight=weights)


@all_fusions
def test_weights_of_any_kind_say_the_same(name):
    model = fusion(name)
    y = target(model)
    steps = np.arange(40) % 3 + 1
    wanted = answer(clone(model).fit(X, y, sample_weight=steps.astype(float)), X)
    for weights in (
        steps.tolist(),
        steps.astype(np.int8),
        steps.astype(np.float16),
        steps.astype(np.longdouble),
        pd.Series(steps, index=range(100, 140)),
        pd.array(steps, dtype="Int64"),
        pl.Series(steps.tolist()),
        np.asfortranarray(np.tile(steps, (2, 1)))[0],
    ):
        np.testing.assert_array_equal(
            answer(clone(model).fit(X, y, sample_weight=weights), X), wanted
        )


@pytest.mark.parametrize("name", [*CLASSIFIERS, *REGRESSORS])
def test_weight_zero_is_a_row_that_is_not_there(name):
    model = fusion(name)
    if name == "late of margins":
        model.set_params(estimator=None)  # the folds of the calibration differ
    y, kept = target(model), np.arange(40) % 4 > 0
    without = answer(clone(model).fit(X[kept], y[kept], sample_weight=WEIGHTS[kept]), X)
    found = answer(model.fit(X, y, sample_weight=WEIGHTS * kept), X)
    np.testing.assert_allclose(found, without, rtol=1e-3, atol=1e-4)


# Numeric extremes


EXTREMES = {
    "constant": np.ones((40, 5)),
    "zeros": np.zeros((40, 5)),
    "the same columns": V[:, [0] * 5],
    "denormal": V * 1e-310,
    "tiny": V * 1e-150,
    "large": V * 1e120,
    "large beside small": V * 10.0 ** np.array([100, -100, 0, 30, -300]),
    "two rows": V[:2],
    "whole numbers of 62 bits": np.where(V > 0, 2**62, -(2**62)),
    "float32 near its end": (V * 5e37).astype(np.float32),
}


@over(EXTREMES)
@pytest.mark.parametrize("name", FUSIONS)
def test_extremes_get_a_finite_answer(name, case):
    model = fusion(name, modalities=MODALITIES)
    y = np.resize([0, 1, 1, 0], len(case)) if not is_regressor(model) else NUMBERS[: len(case)]
    if name in WITH_FOLDS and len(case) < 4:
        with pytest.raises(ValueError, match=r"folds inside the training data, .* cannot be made"):
            model.fit(case, y)
        return
    found = quietly(lambda: fit_and_answer(model, case, y))
    assert np.isfinite(found).all()
    if hasattr(model, "predict_proba"):
        np.testing.assert_allclose(found.sum(axis=1), 1)


@pytest.mark.parametrize("name", FUSIONS)
@pytest.mark.parametrize(
    "values",
    [
        np.full((40, 5), 1e308),
        np.where(V > 0, 1.7e308, -1.7e308),
        V * 1e307,
        replaced(V, INF, (3, 0)),
        replaced(V, NAN, (3, 0)),
    ],
    ids=["1e308", "1.7e308 of both signs", "spread over 1e307", "infinity", "one NaN"],
)
def test_what_overflows_is_refused_or_gets_a_finite_answer(name, values):
    model = fusion(name, modalities=MODALITIES)
    found, refused = refusal(lambda: fit_and_answer(model, values, target(model)))
    if refused is not None:
        assert any(word in refused for word in ("infinity", "NaN", "finite"))
    else:
        assert np.isfinite(found).all() or name == "concatenator"


@regressors
@pytest.mark.parametrize("scale", [1e300, 1e-310, 0.0])
def test_extreme_targets_get_a_finite_answer(name, scale):
    found = fusion(name).fit(X, NUMBERS * scale).predict(X)
    assert np.isfinite(found).all()
    assert np.abs(found).max() <= np.abs(NUMBERS * scale).max() * 2


@regressors
def test_one_row_is_its_own_mean(name):
    assert fusion(name).fit(X[:1], NUMBERS[:1]).predict(X[:1]) == pytest.approx(NUMBERS[:1])


@classifiers
def test_one_class_is_refused(name):
    for rows in (1, 40):
        with pytest.raises(ValueError, match="class"):
            fusion(name).fit(X[:rows], LABELS[:1].repeat(rows))


@classifiers
def test_class_with_one_row_is_learnt_or_refused_by_name(name):
    y = replaced(LABELS, "rare")
    if name == "late of margins":
        with pytest.raises(ValueError, match=r"modality 'a'.*at least 2 samples of each class"):
            fusion(name, cv=None).fit(X, y)
        return
    model = fusion(name).fit(X, y)
    assert list(model.classes_) == ["low", "mid", "rare", "top"]
    np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1)


@pytest.mark.parametrize("rule", RULES)
def test_three_hundred_classes(rule):
    y = np.repeat(np.arange(300), 2)
    many = np.random.default_rng(1).normal(size=(600, 4)) + y[:, None]
    model = LateFusionClassifier(
        modalities={"a": [0, 1], "b": [2, 3]}, estimator=GaussianNB(var_smoothing=1e-3), rule=rule
    )
    found = model.fit(many, y).predict_proba(many)
    assert found.shape == (600, 300)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert model.score(many, y) > 0.2


@pytest.mark.filterwarnings("ignore:.* samples have none of the modalities")
def test_class_that_a_modality_never_saw():
    lost = LOST.copy()
    lost.loc[LABELS == "top", ["b__x", "b__y"]] = NAN
    for rule in RULES:
        found = LateFusionClassifier(rule=rule).fit(lost, LABELS).predict_proba(lost)
        assert np.isfinite(found).all()
        np.testing.assert_allclose(found.sum(axis=1), 1)


# Any table that a user has: as in scikit-learn, or a refusal that names the modality


class Frame(pd.DataFrame):
    """Somebody's own kind of DataFrame."""

    @property
    def _constructor(self):
        return Frame


PLAIN = pd.DataFrame(V, columns=list("pqrst"))
TABLES = {
    "frame": PLAIN,
    "array": V,
    "list of lists": V.tolist(),
    "list of arrays": list(V),
    "tuple of tuples": tuple(map(tuple, V)),
    "objects": V.astype(object),
    "objects in a frame": PLAIN.astype(object),
    "fortran": np.asfortranarray(V),
    "negative strides": V[::-1, ::-1][::-1, ::-1],
    "every second row": np.repeat(V, 2, axis=0)[::2],
    "other byte order": V.astype(">f8"),
    "bool": V > 0,
    "int8": (V * 40).astype(np.int8),
    "uint8": (V * 40).astype(np.uint8),
    "float16": V.astype(np.float16),
    "float32": V.astype(np.float32),
    "longdouble": V.astype(np.longdouble),
    "mixed numbers": PLAIN.astype({"p": np.float32, "q": np.float16}).assign(u=V[:, 0] > 0),
    "Float64": PLAIN.astype("Float64"),
    "Int64": (PLAIN * 10).astype(int).astype("Int64"),
    "boolean": (PLAIN > 0).astype("boolean"),
    "nullable beside plain": PLAIN.astype({"p": "Float64", "r": "Float32"}),
    "categories of numbers": PLAIN.assign(u=pd.Categorical(Y)),
    "numbers as text": PLAIN.assign(u=[str(number) for number in NUMBERS]),
    "numbers as string": PLAIN.assign(
        e=pd.array([str(number) for number in NUMBERS], dtype="string")
    ),
    "decimals": PLAIN.map(lambda number: decimal.Decimal(repr(float(number)))),
    "dates as index": PLAIN.set_axis(pd.date_range("2020", periods=40)),
    "an index that stands twice": PLAIN.set_axis([0, 1] * 20),
    "an index of levels": PLAIN.set_axis(pd.MultiIndex.from_product([range(8), range(5)])),
    "an index of NaN": PLAIN.set_axis([NAN] * 40),
    "numbers as names": PLAIN.set_axis([7, 5, 3, 2, 1], axis=1),
    "levels as names": PLAIN.set_axis(pd.MultiIndex.from_product([["a"], range(5)]), axis=1),
    "dates as names": PLAIN.set_axis(pd.date_range("2020", periods=5), axis=1),
    "own kind of frame": Frame(PLAIN),
    "polars": pl.DataFrame(V, schema=list("abcde")),
    "times": (V * 1e6).astype("M8[s]"),
    # What scikit-learn refuses, each in its way
    "names and numbers as names": PLAIN.set_axis(["p", 1, "r", 2, "t"], axis=1),
    "text": PLAIN.assign(u=LABELS),
    "string": PLAIN.assign(u=pd.array(LABELS, dtype="string")),
    "categories": PLAIN.assign(u=pd.Categorical(LABELS)),
    "dates": PLAIN.assign(u=pd.date_range("2020", periods=40)),
    "dates with a zone": PLAIN.assign(u=pd.date_range("2020", periods=40, tz="UTC")),
    "durations": PLAIN.assign(u=pd.to_timedelta(np.arange(40))),
    "periods": PLAIN.assign(u=pd.period_range("2020", periods=40, freq="D")),
    "complex": V * 1j,
    "complex column": PLAIN.assign(u=V[:, 0] * 1j),
    "complex objects": PLAIN.assign(u=(V[:, 0] * 1j).astype(object)),
    "hole": PLAIN.mask(PLAIN.eq(V[3, 0])),
    "nullable hole": PLAIN.astype("Float64").mask(PLAIN.eq(V[3, 0])),
    "whole sequences": PLAIN.assign(u=[np.ones((2, 2))] * 40),
}
NAMING = "modality 'm'|column|Complex data|[Ff]eature names|Input X contains NaN"


def label_model():
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))


def number_model():
    return make_pipeline(StandardScaler(), Ridge())


@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_tables_are_met_as_by_scikit_learn(kind, task):
    table, y = TABLES[kind], LABELS if task == "classification" else NUMBERS
    model, late, early = label_model(), LateFusionClassifier, EarlyFusionClassifier
    if task == "regression":
        model, late, early = number_model(), LateFusionRegressor, EarlyFusionRegressor
    theirs, they_refuse = refusal(functools.partial(fit_and_answer, model, table, y))
    everything = {"m": slice(None)}
    for ours in (late(modalities=everything, rule="mean"), early(modalities=everything)):
        found, refused = refusal(functools.partial(fit_and_answer, ours, table, y))
        assert (refused is None) == (they_refuse is None), refused or they_refuse
        if refused is None:
            np.testing.assert_allclose(found, theirs, rtol=1e-6)
        else:
            assert re.search(NAMING, refused)


def test_some_tables_are_answered_and_some_refused():
    """Otherwise the test above would show nothing."""
    refused = [
        refusal(functools.partial(label_model().fit, X, LABELS))[1] for X in TABLES.values()
    ]
    assert 10 <= len(list(filter(None, refused))) <= 15


@pytest.mark.parametrize(
    "kind", ["csr_matrix", "csc_matrix", "coo_matrix", "csr_array", "coo_array"]
)
def test_sparse_tables_are_met_as_by_scikit_learn(kind):
    values = np.where(V > 0, V, 0.0)
    table = getattr(sparse, kind)(values)
    model = make_pipeline(StandardScaler(with_mean=False), LogisticRegression(max_iter=1000))
    wanted = clone(model).fit(table.tocsr(), LABELS).predict_proba(table.tocsr())
    modalities = {"m": slice(0, 5)}
    late = LateFusionClassifier(modalities=modalities, estimator=model, rule="mean")
    early = EarlyFusionClassifier(model, modalities)
    for ours in (late, early):
        np.testing.assert_allclose(ours.fit(table, LABELS).predict_proba(table), wanted, rtol=1e-6)
    divided = LateFusionClassifier(modalities=MODALITIES, estimator=model)
    np.testing.assert_allclose(
        divided.fit(table, LABELS).predict_proba(table),
        clone(divided).fit(values, LABELS).predict_proba(values),
        rtol=1e-6,
    )


def test_sparse_columns_of_a_frame_are_taken():
    frame = pd.DataFrame.sparse.from_spmatrix(sparse.csr_matrix(np.where(V > 0, V, 0.0)))
    model = make_pipeline(StandardScaler(with_mean=False), LogisticRegression(max_iter=1000))
    late = LateFusionClassifier(modalities=MODALITIES, estimator=model).fit(frame, LABELS)
    dense = clone(late).fit(frame.sparse.to_dense(), LABELS)
    np.testing.assert_allclose(
        late.predict_proba(frame), dense.predict_proba(frame.sparse.to_dense()), rtol=1e-6
    )


HOLES = [
    *[(dtype, hole) for dtype in ("Float64", "boolean") for hole in (None, NAN, pd.NA)],
    *[(dtype, hole) for dtype in ("string", "category") for hole in (None, NAN, pd.NA, pd.NaT)],
    *[("object", hole) for hole in (None, NAN, pd.NA, pd.NaT)],
    ("float64", NAN),
]


@pytest.mark.parametrize(("dtype", "hole"), HOLES)
def test_lost_modality_of_any_kind_is_left_out(dtype, hole):
    column = pd.Series(V[:, 3] > 0)
    if dtype in ("string", "category", "object"):
        column = column.map({True: "yes", False: "no"})
    lost = column.astype(object)
    lost[:6] = hole
    frame = pd.DataFrame({"a": V[:, 0], "b": lost.astype(dtype)})
    encoded = make_pipeline(
        FunctionTransformer(pd.DataFrame.astype, kw_args={"dtype": str}),
        OneHotEncoder(handle_unknown="ignore"),
        LogisticRegression(),
    )
    modalities = {"a": ["a"], "b": ["b"]}
    both = LateFusionClassifier([("b", encoded)], modalities).fit(frame, LABELS)
    without = LateFusionClassifier([("b", "drop")], modalities).fit(frame, LABELS)
    found, wanted = both.predict_proba(frame), without.predict_proba(frame)
    np.testing.assert_allclose(found[:6], wanted[:6], rtol=1e-12)
    assert (np.abs(found[6:] - wanted[6:]).max(axis=1) > 1e-3).all()


# Names are text


# How a name would do harm, and how it reads when it does not.
HOSTILE = {
    "<script>alert(1)</script>": ("<script>alert", "&lt;script&gt;alert"),
    "\"'><img src=x onerror=alert(1)>": ("<img src", "&gt;&lt;img src"),
    "a\n<b>&amp;": ("\n<b>", "&lt;b&gt;&amp;amp;"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_come_out_escaped(name):
    columns = [f"{name}__x", f"{name}__{name}", f"z{name}__x", "y__x", f"y__{name}"]
    frame = X.set_axis(columns, axis=1)
    labels = np.char.add(f"{name} ", LABELS)
    modalities = {f"m{name}": columns[:2], f"n{name}": columns[2:]}
    weights = {f"m{name}": 1, f"n{name}": 1}
    harm, harmless = HOSTILE[name]
    for model in (
        LateFusionClassifier([(f"m{name}", GaussianNB())], modalities, rule="weighted"),
        LateFusionClassifier(modalities=modalities, expert_priors={f"m{name}": [0.2, 0.3, 0.5]}),
        LateFusionRegressor(modalities=modalities, rule="weighted", weights=weights),
        EarlyFusionClassifier(modalities=modalities, transformers=[(f"m{name}", "passthrough")]),
        EarlyFusionRegressor(modalities=modalities, weights=weights),
        ModalityConcatenator(modalities=modalities),
    ):
        for fitted in (model, model.fit(frame, target(model, labels))):
            page = estimator_html_repr(fitted)
            assert harm not in page
            assert harmless in page


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_come_out_of_a_comparison_escaped(name):
    frame = X.set_axis([f"a{name}__x", f"a{name}__{name}", "b__x", "b__y", "b__z"], axis=1)

    def scoring(estimator, X, y):
        return float(np.mean(estimator.predict(X) == y))

    scoring.__name__ = name
    own = (f"own {name}", DecisionTreeClassifier())
    found = compare_fusion(
        frame,
        np.char.add(name, LABELS),
        cv=2,
        strategies=["late:mean", own],
        strategy=own[0],
        scoring=scoring,
    )
    harm, harmless = HOSTILE[name]
    assert harm not in found._repr_html_()
    assert harmless in found._repr_html_()


# The same answer for any n_jobs and any number of threads


N = 300
WIDE = np.random.default_rng(2).normal(size=(N, 60)) @ np.random.default_rng(3).normal(
    size=(60, 60)
)
WIDE_NAMES = [f"{'ab'[j // 35]}__{j}" for j in range(60)]
WIDE_LABELS = np.digitize(WIDE[:, 0] + WIDE[:, 50], [-5, 5])
WIDE_LOST = np.where((np.arange(N)[:, None] % 5 == 0) & (np.arange(60) < 35), NAN, WIDE)


@pytest.mark.parametrize(
    ("model", "values"),
    [
        (LateFusionClassifier(), WIDE),
        (LateFusionClassifier(rule="mean"), WIDE_LOST),
        (LateFusionRegressor(), WIDE_LOST),
        (EarlyFusionClassifier(), WIDE),
        (EarlyFusionRegressor(scaling="spectral"), WIDE),
    ],
    ids=["late", "late of lost", "late of numbers", "early", "early of numbers"],
)
def test_answer_does_not_depend_on_jobs_or_threads(model, values):
    y = WIDE[:, 1] if is_regressor(model) else WIDE_LABELS
    weights = np.random.default_rng(4).uniform(size=N)
    for table in (
        pd.DataFrame(values, columns=WIDE_NAMES),
        pd.DataFrame(dict(zip(WIDE_NAMES, values.T, strict=True))),
    ):
        found = []
        for n_jobs in (1, 2):
            for threads in (1, 2):
                with threadpool_limits(threads):
                    fitted = clone(model).set_params(n_jobs=n_jobs)
                    found.append(answer(fitted.fit(table, y, sample_weight=weights), table))
        assert max(np.abs(other - found[0]).max() for other in found) == 0.0


def test_comparison_does_not_depend_on_jobs_or_threads():
    frame = pd.DataFrame(WIDE_LOST, columns=WIDE_NAMES)
    found = []
    for n_jobs in (1, 2):
        for threads in (1, 2):
            with threadpool_limits(threads):
                found.append(
                    compare_fusion(
                        frame,
                        WIDE_LABELS,
                        cv=2,
                        strategies=["early", "late:bayes", "late:mean"],
                        n_jobs=n_jobs,
                    )
                )
    for other in found[1:]:
        pd.testing.assert_frame_equal(other.fold_scores, found[0].fold_scores, check_exact=True)
        pd.testing.assert_frame_equal(
            other.table.drop(columns="fit_time"),
            found[0].table.drop(columns="fit_time"),
            check_exact=True,
        )


# Threads, forks, other processes


@all_fusions
def test_many_threads_at_once(name):
    model = fusion(name)
    # An interrupt that falls between the last line of a `with` and its way out leaves one inside.
    inside = single_blas_thread._inside
    data, y = table(model), target(model)
    wanted = fit_and_answer(clone(model), data, y)
    fitted = clone(model).fit(data, y)
    with ThreadPoolExecutor(6) as pool:
        fits = list(pool.map(lambda _: fit_and_answer(clone(model), data, y), range(8)))
        asked = list(pool.map(lambda _: answer(fitted, data), range(12)))
    for found in [*fits, *asked]:
        np.testing.assert_array_equal(found, wanted)
    assert single_blas_thread._inside == inside


def _fit_and_send(connection, *case):
    connection.send(fit_and_answer(*case))


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@all_fusions
def test_after_a_fork(name):
    model = fusion(name)
    data, y = table(model), target(model)
    wanted = fit_and_answer(clone(model), data, y)
    here, there = multiprocessing.Pipe()
    child = multiprocessing.get_context("fork").Process(
        target=_fit_and_send, args=(there, model, data, y)
    )
    with single_blas_thread._lock:  # as if another thread were entering at that moment
        child.start()
    try:
        assert here.poll(60), "the child hangs"
        np.testing.assert_array_equal(here.recv(), wanted)
    finally:
        child.terminate()
        child.join()


def test_in_loky():
    work = []
    for name in FUSIONS:
        model = fusion(name)
        data, y = table(model), target(model)
        work.append((model.fit(data, y), data))
    parallel = joblib.Parallel(2, backend="loky")
    for (model, data), found in zip(
        work, parallel(joblib.delayed(answer)(*pair) for pair in work), strict=True
    ):
        np.testing.assert_allclose(found, answer(model, data), rtol=1e-12)


@pytest.mark.parametrize("backend", ["loky", "threading"])
@all_fusions
def test_every_backend_fits_the_same(name, backend):
    model = fusion(name, n_jobs=2)
    data, y = table(model), target(model)
    wanted = answer(fusion(name).fit(data, y), data)
    with joblib.parallel_config(backend):
        model.fit(data, y)
    np.testing.assert_array_equal(answer(model, data), wanted)


# One row and the whole batch


@all_fusions
def test_one_row_is_answered_as_in_the_batch(name):
    model = fusion(name)
    data = table(model)
    model.fit(data, target(model))
    batch = answer(model, data)
    for i in range(0, len(data), 3):
        np.testing.assert_allclose(
            answer(model, data.iloc[[i]])[0], batch[i], rtol=1e-12, atol=1e-15
        )


@settings(max_examples=15)
@given(rows=st.lists(st.integers(0, 39), min_size=1, max_size=20))
def test_rows_of_any_choice_are_answered_as_in_the_batch(rows):
    for name in FUSIONS:
        model, data = fitted_once(name)
        np.testing.assert_allclose(
            answer(model, data.iloc[rows]), answer(model, data)[rows], rtol=1e-12, atol=1e-15
        )


@functools.cache
def fitted_once(name):
    model = fusion(name)
    return model.fit(table(model), target(model)), table(model)


# Copies, stores, pandas output


def to_array(block):
    return block.toarray()


@pytest.fixture(params=[*FUSIONS, "text beside numbers"])
def fitted(request):
    if request.param != "text beside numbers":
        model = fusion(request.param)
        return model.fit(table(model), target(model)), table(model)
    data = X.assign(text=np.char.add(LABELS, " words"))
    reader = make_pipeline(TfidfVectorizer(), FunctionTransformer(to_array), GaussianNB())
    model = LateFusionClassifier([("words", reader)], {"words": "text", "numbers": slice(0, 5)})
    return model.fit(data, LABELS), data


@pytest.mark.parametrize("how", ["pickle", "deepcopy", "joblib", "compressed", "mapped"])
def test_stored_models_answer_the_same(fitted, how, tmp_path):
    model, data = fitted
    file = tmp_path / "model.joblib"
    if how == "pickle":
        loaded = pickle.loads(pickle.dumps(model, protocol=5))
    elif how == "deepcopy":
        loaded = copy.deepcopy(model)
    else:
        joblib.dump(model, file, compress=3 if how == "compressed" else 0)
        loaded = joblib.load(file, mmap_mode="r" if how == "mapped" else None)
    np.testing.assert_allclose(answer(loaded, data), answer(model, data), rtol=1e-12)
    assert repr(loaded) == repr(model)
    assert loaded.modalities_ == model.modalities_
    assert list(loaded.feature_names_in_) == list(data.columns)


def test_clones_are_unfitted_and_fit_the_same(fitted):
    model, data = fitted
    cloned = clone(model)
    assert [key for key in vars(cloned) if key.endswith("_")] == []
    assert set(vars(cloned)) == set(inspect.signature(type(model)).parameters)
    np.testing.assert_array_equal(
        answer(cloned.fit(data, target(cloned)), data), answer(model, data)
    )


@pytest.mark.parametrize("name", [name for name in FUSIONS if hasattr(FUSIONS[name], "transform")])
@pytest.mark.parametrize("output", ["pandas", "polars"])
def test_frames_as_output(name, output):
    model = fusion(name)
    data = table(model).set_axis(range(100, 140))
    plain = np.asarray(model.fit(data, target(model)).transform(data))
    with config_context(transform_output=output):
        inside = fusion(name).fit(data, target(model))
        for found in (inside.transform(data), clone(inside).fit_transform(data, target(model))):
            assert isinstance(found, pd.DataFrame if output == "pandas" else pl.DataFrame)
            assert list(found.columns) == list(inside.get_feature_names_out())
            np.testing.assert_array_equal(found.to_numpy(), plain)
            if output == "pandas":
                assert found.index.equals(data.index)
        assert inside.predict(data).shape[0] == 40 if hasattr(inside, "predict") else True
