"""The combined kernel as a matrix and as features, and weights along a path."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.cluster import SpectralClustering
from sklearn.decomposition import KernelPCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC
from test_mkl import KERNELS, N, grams, make
from test_mkl_use import lose

from mkfusion.mkl import (
    MKLClassifier,
    MKLOneClass,
    MKLRegressor,
    MKLTransformer,
    mkl_path,
)

FORMS = {"uniform": lambda K: K.mean(axis=0), "product": lambda K: K.prod(axis=0)}


def centred(K, rows):
    """Return a kernel with the training samples whose features are centred by their mean."""
    return rows - rows.mean(axis=1, keepdims=True) - K.mean(axis=0) + K.mean()


# The matrix ---------------------------------------------------------------------------------


@pytest.mark.parametrize("weighting", ["uniform", "product", "quadratic", [1.0, 2.0, 1.0]])
def test_the_matrix_by_hand(weighting, global_seed):
    X, *_ = make(global_seed)
    Z, *_ = make(global_seed + 100, n=20)
    model = MKLTransformer(KERNELS, weighting=weighting).fit(X)
    K = grams(Z, X)
    expected = {
        "uniform": lambda: K.mean(axis=0),
        "product": lambda: K.prod(axis=0),
        "quadratic": lambda: K.mean(axis=0) ** 2,
    }.get(str(weighting), lambda: np.tensordot([0.25, 0.5, 0.25], K, 1))()
    np.testing.assert_allclose(model.transform(Z), expected, atol=1e-12)
    np.testing.assert_allclose(model.transform(X), model.combined_kernel_, atol=1e-12)


def test_the_centred_matrix_by_hand(global_seed):
    X, *_ = make(global_seed)
    Z, *_ = make(global_seed + 100, n=20)
    model = MKLTransformer(KERNELS, center=True).fit(X)
    K, rows = grams(X).mean(axis=0), grams(Z, X).mean(axis=0)
    np.testing.assert_allclose(model.transform(Z), centred(K, rows), atol=1e-12)
    np.testing.assert_allclose(model.transform(X).sum(axis=0), 0, atol=1e-10)


def test_means_of_weighted_samples(global_seed):
    """A weight of 2 in the means is a row that stands twice."""
    X, *_ = make(global_seed)
    weight = np.repeat([1.0, 2.0], N // 2)
    twice = X.iloc[np.repeat(np.arange(N), weight.astype(int))]
    own = MKLTransformer(KERNELS, center=True).fit(X, sample_weight=weight)
    other = MKLTransformer(KERNELS, center=True).fit(twice)
    first = np.r_[np.arange(N // 2), np.arange(N // 2, N + N // 2, 2)]
    np.testing.assert_allclose(own.transform(X), other.transform(X)[:, first], atol=1e-10)


def test_a_missing_modality_is_masked(global_seed):
    X, *_ = make(global_seed)
    X, there = lose(X, global_seed)
    model = MKLTransformer(KERNELS).fit(X)
    scales = there.T / np.sqrt(there.mean(axis=1))
    masked = scales[:, :, None] * scales[:, None] * np.nan_to_num(grams(X.fillna(0.0)))
    np.testing.assert_allclose(model.transform(X), masked.mean(axis=0), atol=1e-12)


# Features -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("weighting", "center"), [("uniform", False), ("uniform", True), ("product", False)]
)
def test_features_of_all_samples_are_exact(weighting, center, global_seed):
    X, *_ = make(global_seed)
    model = MKLTransformer(
        KERNELS, weighting=weighting, output="nystroem", n_components=N, center=center
    ).fit(X)
    features = model.transform(X)
    K = FORMS[weighting](grams(X))
    np.testing.assert_allclose(features @ features.T, centred(K, K) if center else K, atol=1e-7)


def test_features_of_landmarks_by_hand(global_seed):
    X, *_ = make(global_seed)
    model = MKLTransformer(KERNELS, output="nystroem", n_components=15, random_state=global_seed)
    features = model.fit_transform(X)
    K = grams(X).mean(axis=0)
    kept = model.support_
    assert len(set(kept)) == 15
    expected = K[:, kept] @ np.linalg.pinv(K[np.ix_(kept, kept)], hermitian=True) @ K[kept]
    np.testing.assert_allclose(features @ features.T, expected, atol=1e-6)
    again = clone(model).fit_transform(X)
    np.testing.assert_array_equal(again, features)


# Weights ------------------------------------------------------------------------------------


@pytest.mark.parametrize("weighting", ["svm", "alignf", "easy", "alignment"])
def test_weights_of_classes_are_the_classifiers(weighting, global_seed):
    X, y, _ = make(global_seed, 3)
    own = MKLTransformer(KERNELS, weighting=weighting, C=5.0).fit(X, y)
    other = MKLClassifier(KERNELS, weighting=weighting, C=5.0).fit(X, y)
    np.testing.assert_allclose(own.kernel_weights_, other.kernel_weights_, rtol=1e-10)
    if weighting == "svm":
        assert own.duality_gap_ == other.duality_gap_ <= 1e-3 * own.objective_
    else:
        assert np.isnan(own.duality_gap_)


def test_weights_of_numbers_are_the_regressors(global_seed):
    X, _, numbers = make(global_seed)
    numbers = numbers + 0.5
    own = MKLTransformer(KERNELS, weighting="exact", C=5.0).fit(X, numbers)
    other = MKLRegressor(KERNELS, C=5.0).fit(X, numbers)
    np.testing.assert_array_equal(own.kernel_weights_, other.kernel_weights_)


def test_weights_without_a_target_are_those_of_one_class(global_seed):
    X, *_ = make(global_seed)
    own = MKLTransformer(KERNELS, weighting="exact").fit(X)
    other = MKLOneClass(KERNELS, weighting="exact", nu=0.5).fit(X)
    np.testing.assert_allclose(own.kernel_weights_, other.kernel_weights_, atol=1e-10)


@pytest.mark.parametrize(
    ("params", "target", "message"),
    [
        ({"weighting": "svm"}, None, "weighting must be one of"),
        ({"weighting": "accuracy"}, "numbers", "weighting must be one of"),
        ({"output": "features"}, None, "output must be one of"),
        ({"n_components": 0}, None, "n_components must be a whole number"),
        ({"weighting": "product", "center": True}, None, "center=True is for sums"),
        ({"C": 0}, None, "C must be a finite number above 0"),
        ({"weighting": "alignf"}, "one class", "y has one class"),
        ({"weighting": "exact"}, "huge", "y goes up to .*overflow"),
    ],
)
def test_what_does_not_fit_is_refused(params, target, message):
    X, y, numbers = make(0)
    y = {None: None, "numbers": numbers + 0.5, "one class": ["a"] * N, "huge": numbers * 1e200}[
        target
    ]
    with pytest.raises(ValueError, match=message):
        MKLTransformer(KERNELS, **params).fit(X, y)


# In scikit-learn's company ------------------------------------------------------------------


def test_what_takes_a_matrix_or_features(global_seed):
    X, y, _ = make(global_seed)
    matrix = MKLTransformer(KERNELS)
    K = grams(X).mean(axis=0)
    machine = SVC(kernel="precomputed", tol=1e-8)
    own = make_pipeline(matrix, machine).fit(X, y)
    np.testing.assert_allclose(
        own.decision_function(X),
        clone(machine).fit(K, y).decision_function(K),
        atol=1e-4,
    )
    parts = make_pipeline(matrix, KernelPCA(2, kernel="precomputed")).fit_transform(X)
    np.testing.assert_allclose(
        np.abs(parts), np.abs(KernelPCA(2, kernel="precomputed").fit_transform(K)), atol=1e-7
    )
    clusters = SpectralClustering(2, affinity="precomputed", random_state=0)
    assert len(set(make_pipeline(MKLTransformer(kernel="rbf"), clusters).fit_predict(X))) == 2


def test_a_search_through_the_features(global_seed):
    X, y, _ = make(global_seed)
    model = make_pipeline(
        MKLTransformer(KERNELS, output="nystroem", n_components=10, random_state=0),
        LogisticRegression(),
    )
    grid = {"mkltransformer__near__gamma": [0.1, 1.0], "mkltransformer__weighting": ["alignf"]}
    found = GridSearchCV(model, grid, cv=3, error_score="raise").fit(X, y)
    assert found.best_estimator_[0].kernels_[0].gamma in (0.1, 1.0)


@pytest.mark.parametrize("output", ["gram", "nystroem"])
def test_pickled_and_as_a_frame(output, global_seed):
    X, *_ = make(global_seed)
    model = MKLTransformer(KERNELS, output=output, n_components=8, random_state=0).fit(X)
    copied = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(copied.transform(X), model.transform(X))
    frame = model.set_output(transform="pandas").transform(X)
    assert list(frame.columns) == list(model.get_feature_names_out())
    assert (frame.index == X.index).all()


# Paths --------------------------------------------------------------------------------------


@pytest.mark.parametrize("param", ["C", "norm"])
@pytest.mark.parametrize("kind", ["shared", "ridge"])
def test_a_path_is_what_single_fits_find(kind, param, global_seed):
    X, labels, numbers = make(global_seed, 3)
    model, y = {
        "shared": (MKLClassifier(KERNELS, C=2.0, tol=1e-5), labels),
        "ridge": (MKLRegressor(KERNELS, C=2.0, tol=1e-5), numbers),
    }[kind]
    values = [0.1, 1.0, 10.0] if param == "C" else [1, 2, np.inf]
    weight = np.random.default_rng(0).uniform(0.5, 2, N)
    path = mkl_path(model, X, y, param=param, values=values, sample_weight=weight)
    assert path.kernel_names == ["near", "line", "words"]
    assert path.kernel_modalities == ["audio", "video", "text"]
    for k, value in enumerate(values):
        alone = clone(model).set_params(**{param: value}).fit(X, y, sample_weight=weight)
        assert path.values[k] == value
        assert path.objective[k] == pytest.approx(alone.objective_, rel=3e-5)
        np.testing.assert_allclose(path.weights[k], alone.kernel_weights_, atol=0.02)
        assert path.gap[k] <= 1e-5 * path.objective[k]
    assert model.get_params()[param] == (2.0 if param == "C" else 1)
    assert not hasattr(model, "kernels_")


def test_a_path_goes_on_from_where_it_is(global_seed):
    X, y, _ = make(global_seed)
    path = mkl_path(MKLClassifier(KERNELS), X, y, values=[1.0, 1.0, 1.0])
    np.testing.assert_array_equal(path.n_solves[1:], 0)
    np.testing.assert_allclose(path.weights[1:], path.weights[:2], rtol=1e-13)


def test_a_path_of_one_class_and_defaults(global_seed):
    X, y, _ = make(global_seed)
    path = mkl_path(MKLOneClass(KERNELS, weighting="exact"), X, param="norm")
    assert path.weights.shape == (6, 3)
    np.testing.assert_allclose(path.weights[-1], 1 / 3)
    assert len(mkl_path(MKLClassifier(KERNELS), X, y).values) == 11


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (MKLClassifier(KERNELS, weighting="uniform"), {}, "a path needs weights"),
        (MKLClassifier(KERNELS, multi_class="per_class"), {}, "a path needs weights"),
        (MKLClassifier(KERNELS, solver="qp"), {}, "a path needs weights"),
        (MKLClassifier(KERNELS), {"values": []}, "values is empty"),
        (MKLClassifier(KERNELS), {"values": [0.0]}, "values must be a finite number above 0"),
        (MKLClassifier(KERNELS), {"values": [np.inf]}, "values must be a finite number above 0"),
        (MKLClassifier(KERNELS), {"param": "gamma"}, "param must be one of 'C', 'norm'"),
        (MKLOneClass(KERNELS), {"param": "C"}, "param must be one of 'norm'"),
        (MKLClassifier(KERNELS), {"param": "norm", "values": [0.5]}, "norm must be a number"),
    ],
)
def test_paths_that_cannot_be(model, options, message):
    X, y, _ = make(0, 3)
    with pytest.raises(ValueError, match=message):
        mkl_path(model, X, y, **options)


def test_a_path_of_something_else():
    X, y, _ = make(0)
    with pytest.raises(TypeError, match="estimator must be one of"):
        mkl_path(SVC(), X, y)
