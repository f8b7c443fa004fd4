"""The additive projection: least squares on the full grid, XOR, additive models, any table."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from mkfusion import LateFusionClassifier
from mkfusion.evaluation import emap


class Function(RegressorMixin, BaseEstimator):
    """A regressor that is a given function of the columns."""

    def __init__(self, function=None):
        self.function = function

    def fit(self, X, y=None):
        return self

    def predict(self, X):
        self.asked_ = max(getattr(self, "asked_", 0), X.shape[0])
        return self.function(*np.asarray(X, dtype=float).T)


def table(rng, n_rows, n_modalities):
    names = [f"m{k}__x" for k in range(n_modalities)]
    return pd.DataFrame(rng.normal(size=(n_rows, n_modalities)), columns=names)


def least_squares(function, X):
    """The additive fit to the function on all combinations, read off at the rows."""
    n_rows, n_modalities = X.shape
    grid = np.stack(np.meshgrid(*[np.arange(n_rows)] * n_modalities, indexing="ij"), axis=-1)
    grid = grid.reshape(-1, n_modalities)
    values = function(*(X.to_numpy()[grid[:, m], m] for m in range(n_modalities)))
    design = np.hstack([np.eye(n_rows)[grid[:, m]] for m in range(n_modalities)])
    coefficients = np.linalg.lstsq(design, values, rcond=None)[0]
    return coefficients.reshape(n_modalities, n_rows).sum(axis=0)


def test_two_modalities_are_the_least_squares_fit(global_seed):
    rng = np.random.default_rng(global_seed)

    def function(a, b):
        return np.sin(3 * a) * b + a**2 - np.abs(a - b)

    X = table(rng, 12, 2)
    y = rng.normal(size=12)
    fit = least_squares(function, X)
    for full_grid in (False, True):
        found = emap(Function(function), X, y, full_grid=full_grid)
        np.testing.assert_allclose(found.projected[:, 0], fit, atol=1e-10)
    pairs = np.array([[function(a, b) for b in X["m1__x"]] for a in X["m0__x"]])
    by_formula = pairs.mean(axis=1) + pairs.mean(axis=0) - pairs.mean()
    np.testing.assert_allclose(found.projected[:, 0], by_formula, atol=1e-10)


def test_three_modalities_on_the_full_grid_are_the_least_squares_fit(global_seed):
    rng = np.random.default_rng(global_seed)

    def function(a, b, c):
        return a * b * c + np.maximum(a, c) + b**2

    X = table(rng, 6, 3)
    found = emap(Function(function), X, rng.normal(size=6), full_grid=True, chunk_size=50)
    np.testing.assert_allclose(found.projected[:, 0], least_squares(function, X), atol=1e-10)


@pytest.mark.parametrize("n_modalities", [2, 3, 5])
@pytest.mark.parametrize("n_background", [None, 4])
def test_an_additive_function_is_its_own_projection(n_modalities, n_background, global_seed):
    rng = np.random.default_rng(global_seed)
    X = table(rng, 15, n_modalities)

    def function(*columns):
        return sum(np.cos((k + 1) * column) for k, column in enumerate(columns))

    y = function(*X.to_numpy().T) + rng.normal(size=15)
    found = emap(Function(function), X, y, n_background=n_background, random_state=global_seed)
    np.testing.assert_allclose(found.projected, found.original, atol=1e-12)
    assert abs(found.difference) < 1e-12
    assert found.interaction < 1e-24
    assert "worth" in found.verdict


@pytest.mark.parametrize("response", ["predict_proba", "decision_function"])
def test_xor_becomes_constant(response):
    X = pd.DataFrame({"a__x": [0.0, 0, 1, 1] * 10, "b__x": [0.0, 1, 0, 1] * 10})
    y = np.array([0, 1, 1, 0] * 10)
    model = (
        DecisionTreeClassifier() if response == "predict_proba" else SVC(gamma=2, C=100, tol=1e-9)
    )
    found = emap(model.fit(X, y), X, y, response=response)
    assert found.score == 1
    assert np.ptp(found.projected, axis=0).max() < 1e-6
    assert np.ptp(found.original, axis=0).min() > 0.9
    assert found.interaction > 0.99
    if response == "predict_proba":
        assert found.projected_score == 0.5
        assert found.difference == 0.5
        assert "its use of a, b together is worth 0.5" in found.verdict


def test_two_accuracies_of_a_classifier(global_seed):
    rng = np.random.default_rng(global_seed)
    X = table(rng, 60, 2)
    y = np.where(X["m0__x"] * X["m1__x"] > 0, "same", "other")
    model = RandomForestClassifier(20, random_state=0).fit(X[:30], y[:30])
    found = emap(model, X[30:], y[30:])
    assert found.score == model.score(X[30:], y[30:])
    labels = model.classes_[found.projected.argmax(axis=1)]
    assert found.projected_score == np.mean(labels == y[30:])
    np.testing.assert_allclose(found.projected.sum(axis=1), 1, atol=1e-12)
    assert found.to_frame()["accuracy"].tolist() == [found.score, found.projected_score]


def test_late_fusion_by_the_mean_is_additive(global_seed):
    rng = np.random.default_rng(global_seed)
    X = table(rng, 60, 3)
    y = (X.sum(axis=1) > 0).astype(int)
    fusion = LateFusionClassifier(estimator=LogisticRegression(), rule="mean").fit(X, y)
    found = emap(fusion, X, y)
    assert found.modalities == ("m0", "m1", "m2")
    np.testing.assert_allclose(found.projected, found.original, atol=1e-12)


def test_same_figures_for_any_chunk_and_number_of_jobs(global_seed):
    rng = np.random.default_rng(global_seed)
    X = table(rng, 25, 3)
    y = (X.sum(axis=1) > 0).astype(int)
    model = KNeighborsClassifier().fit(X, y)
    one, two, odd = (
        emap(model, X, y, chunk_size=size, n_jobs=jobs).projected
        for size, jobs in [(100, 1), (100, 2), (7, 1)]
    )
    assert (one == two).all()
    np.testing.assert_allclose(one, odd, atol=1e-12)


def test_memory_is_bounded(global_seed):
    rng = np.random.default_rng(global_seed)
    X = table(rng, 40, 2)
    model = Function(lambda a, b: a * b)
    emap(model, X, rng.normal(size=40), chunk_size=40)
    assert model.asked_ == 40
    model = Function(lambda a, b: a * b)
    emap(model, X[:10], rng.normal(size=10), chunk_size=4)
    assert model.asked_ == 10  # all the rows themselves; mixed ones four at a time


def test_any_kind_of_table(global_seed):
    rng = np.random.default_rng(global_seed)
    X = table(rng, 20, 2)
    y = X["m0__x"] * X["m1__x"]
    model = Function(lambda a, b: a * b)
    named = {"a": [0], "b": [1]}
    expected = emap(model, X, y).projected
    for same in (X.to_numpy(), np.asfortranarray(X), X.assign(m1__x=X["m1__x"].astype("Float64"))):
        np.testing.assert_allclose(emap(model, same, y, named).projected, expected, atol=1e-12)
    rows = sparse.csr_array(X.to_numpy())
    linear = LinearRegression().fit(rows, y)
    np.testing.assert_allclose(
        emap(linear, rows, y, named).projected[:, 0], linear.predict(rows), atol=1e-10
    )
    words = X.assign(m1__x=np.where(X["m1__x"] > 0, "up", "down"), m0__x=X["m0__x"].round())
    before = words.copy()
    encoded = make_column_transformer((OneHotEncoder(), ["m1__x"]), remainder="passthrough")
    pipeline = make_pipeline(encoded, LinearRegression()).fit(words, y)
    found = emap(pipeline, words, y)
    np.testing.assert_allclose(found.projected, found.original, atol=1e-10)
    pd.testing.assert_frame_equal(words, before)


X2 = pd.DataFrame({"a__x": [0.0, 1, 2, 3], "b__x": [1.0, 0, 1, 0]})
Y2 = np.array([0, 1, 1, 0])
TREE = DecisionTreeClassifier().fit(X2, Y2)


class NotFinite(ClassifierMixin, BaseEstimator):
    classes_ = np.array([0, 1])

    def predict_proba(self, X):
        return np.full((len(X), 2), np.nan)


@pytest.mark.parametrize(
    ("model", "X", "y", "options", "match"),
    [
        (TREE, X2, Y2, {"modalities": {"a": ["a__x", "b__x"]}}, "one modality, 'a'"),
        (TREE, X2, np.zeros(4), {}, "y has one class"),
        (TREE, X2, [0, 1, np.nan, 0], {}, "y contains NaN"),
        (TREE, X2, Y2[:-1], {}, "X has 4, y has 3"),
        (TREE, X2, Y2, {"response": "predict"}, "labels cannot be averaged"),
        (TREE, X2, Y2, {"response": "decision_function"}, "has no decision_function"),
        (TREE, X2, Y2, {"response": "transform"}, "response must be one of"),
        (TREE, X2, Y2, {"n_background": 0}, "n_background must be a positive"),
        (TREE, X2, Y2, {"chunk_size": 0}, "chunk_size must be a positive"),
        (TREE, X2, Y2, {"response": "predict_log_proba"}, "gives NaN or infinity"),
        (NotFinite(), X2, Y2, {}, "gives NaN or infinity"),
        (
            TREE,
            X2.assign(c=1),
            Y2,
            {"modalities": {"a": [0], "b": [1]}, "remainder": "error"},
            "'c'",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_refusals(model, X, y, options, match):
    with pytest.raises(ValueError, match=match):
        emap(model, X, y, **options)
