"""Linear machines with kernel weights: what they equal, how they are used, what they refuse."""

import copy
import pickle
import re
import warnings

import numpy as np
import pandas as pd
import pytest
import sklearn
from interruptions import interrupted_at
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse, special
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_validate
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mkfusion import _blocks
from mkfusion.kernels import RBF, Linear
from mkfusion.mkl import (
    LinearMKLClassifier,
    LinearMKLRegressor,
    MKLRegressor,
    ModalityFourierFeatures,
    ModalityNystroem,
    mkl_path,
)

MODALITIES = {"audio": [0, 1], "video": [2, 3, 4], "text": [5]}
NAMES = ["audio__0", "audio__1", "video__0", "video__1", "video__2", "text__0"]
LOSSES = ["logistic", "squared_hinge", "squared"]
N = 90  # every row shapes the model of the loss, so that no cut of the rows matters
NAN, INF = np.nan, np.inf
over_losses = pytest.mark.parametrize("loss", LOSSES)
over_norms = pytest.mark.parametrize("norm", [1, 4 / 3, 2, INF])
over_normalizations = pytest.mark.parametrize("normalize", ["trace", "cosine", None])


def make(seed, n_classes=2, n=N):
    """Return a table of three modalities, one of them noise, with labels and numbers."""
    rng = np.random.default_rng(seed)
    y = np.resize(np.arange(n_classes), n)
    X = rng.normal(size=(n, 6)) + 0.3
    X[:, :2] += 1.2 * rng.normal(size=(n_classes, 2))[y]
    X[:, 2:5] += 0.7 * rng.normal(size=(n_classes, 3))[y]
    labels = np.array(["ant", "bee", "cow", "dog"])[y]
    return X, labels, X[:, 0] - X[:, 3] + 0.3 * rng.normal(size=n) + 2


def frame(X):
    return pd.DataFrame(X, columns=NAMES)


def lose(X, seed, share=0.4):
    """Lose modalities at random, at most two of a sample, and tell which are left."""
    lost = np.random.default_rng(seed).random((len(X), 3)) < share
    lost[lost.all(axis=1), 0] = False
    return np.where(np.repeat(lost, [2, 3, 1], axis=1), NAN, X), ~lost


def design(X, there):
    """Return features with 0 where a modality is absent, the rest by one over sqrt(share)."""
    factors = there / np.sqrt(there.mean(axis=1, keepdims=True))
    return np.nan_to_num(X) * np.repeat(factors, [2, 3, 1], axis=1)


def classifier(**options):
    return LinearMKLClassifier(**{"modalities": MODALITIES, "tol": 1e-4, **options})


def regressor(**options):
    return LinearMKLRegressor(**{"modalities": MODALITIES, "tol": 1e-4, **options})


def decide(model, X):
    numbers = isinstance(model, LinearMKLRegressor)
    return model.predict(X) if numbers else model.decision_function(X)


def assert_same_machine(found, wanted, atol=1e-8):
    """The same steps, but for rounding; of other steps to one optimum expect less."""
    assert_allclose(found.kernel_weights_, wanted.kernel_weights_, atol=atol)
    assert_allclose(found.coef_, wanted.coef_, rtol=0, atol=atol)
    assert_allclose(found.intercept_, wanted.intercept_, rtol=0, atol=atol)


def assert_same_bits(found, wanted):
    assert_array_equal(found.kernel_weights_, wanted.kernel_weights_)
    assert_array_equal(found.coef_, wanted.coef_)
    assert_array_equal(found.intercept_, wanted.intercept_)


MODELS = {
    **{loss: LinearMKLClassifier(MODALITIES, loss=loss) for loss in LOSSES},
    "cosine": LinearMKLClassifier(MODALITIES, normalize="cosine", norm=2),
    "numbers": LinearMKLRegressor(MODALITIES),
    "nystroem": LinearMKLClassifier(
        MODALITIES, features=ModalityNystroem(n_components=8, random_state=0)
    ),
    "fourier": LinearMKLRegressor(
        MODALITIES, features=ModalityFourierFeatures(n_components=8, random_state=0)
    ),
}
over_models = pytest.mark.parametrize("name", MODELS)


def data(name, seed, n_classes=3):
    X, labels, numbers = make(seed, n_classes)
    return X, labels if isinstance(MODELS[name], LinearMKLClassifier) else numbers


# What they equal ----------------------------------------------------------------------------


@over_norms
@pytest.mark.parametrize("C", [0.05, 3.0])
def test_ridge_is_the_kernel_machine_of_twice_the_cost(norm, C, global_seed):
    X, _, y = make(global_seed)
    options = {"norm": norm, "normalize": None, "tol": 1e-12}
    linear = regressor(C=C, **options).fit(X, y)
    kernels = MKLRegressor(
        kernel=Linear(), modalities=MODALITIES, machine="ridge", C=2 * C, **options
    ).fit(X, y)
    assert linear.objective_ == pytest.approx(kernels.objective_, rel=1e-10)
    assert_allclose(linear.kernel_weights_, kernels.kernel_weights_, atol=1e-5)
    assert_allclose(linear.predict(X + 1), kernels.predict(X + 1), rtol=0, atol=1e-5)
    assert linear.intercept_ == pytest.approx(float(np.ravel(kernels.intercept_)[0]), abs=1e-5)


@pytest.mark.parametrize("holes", [False, True])
@pytest.mark.parametrize("norm", [1, INF])
def test_all_landmarks_are_the_kernel_machine(holes, norm, global_seed):
    X, _, y = make(global_seed, n=50)
    if holes:
        X, _ = lose(X, global_seed)
    kernels = [("near", RBF(0.5), "audio"), ("line", Linear(), "video"), ("w", RBF(1.0), "text")]
    features = ModalityNystroem(kernels, n_components=50, random_state=0)
    options = {"norm": norm, "normalize": None, "tol": 1e-11}
    linear = regressor(features=features, **options).fit(X, y)
    wanted = MKLRegressor(
        kernels, modalities=MODALITIES, machine="ridge", C=2.0, norm=norm, tol=1e-11
    ).fit(X, y)
    assert linear.kernel_names_ == ["near", "line", "w"]
    assert linear.kernel_modalities_ == ["audio", "video", "text"]
    assert linear.objective_ == pytest.approx(wanted.objective_, rel=1e-8)
    assert_allclose(linear.kernel_weights_, wanted.kernel_weights_, atol=1e-5)
    assert_allclose(linear.predict(X), wanted.predict(X), rtol=0, atol=1e-5)


def test_given_weights_of_a_maker_are_those_of_the_kernels(global_seed):
    """A maker's weights multiply its kernels, unless each kernel is divided by its trace."""
    X, _, y = make(global_seed, n=50)
    made = {"n_components": 50, "kernel": RBF(0.5), "random_state": 0}
    plain = regressor(features=ModalityNystroem(**made), norm=INF, tol=1e-12).fit(X, y)
    features = ModalityNystroem(**made, weights=[4.0, 4.0, 4.0])
    weighed = regressor(features=features, norm=INF, tol=1e-12).fit(X, y)
    assert_allclose(weighed.predict(X), plain.predict(X), atol=1e-7)
    weighed = regressor(features=features, norm=INF, tol=1e-12, normalize=None).fit(X, y)
    plain = regressor(
        features=ModalityNystroem(**made), norm=INF, tol=1e-12, normalize=None, C=4
    ).fit(X, y)
    assert_allclose(weighed.predict(X), plain.predict(X), atol=1e-7)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("C", [0.01, 1.0, 100.0])
def test_one_modality_is_logistic_regression(fit_intercept, C, global_seed):
    X, y, _ = make(global_seed)
    options = {"C": C, "fit_intercept": fit_intercept}
    found = LinearMKLClassifier({"all": list(range(6))}, normalize=None, tol=1e-13, **options).fit(
        X, y
    )
    wanted = LogisticRegression(solver="newton-cholesky", tol=1e-12, max_iter=1000, **options)
    wanted.fit(X, y)
    assert_allclose(found.coef_, wanted.coef_, rtol=1e-5, atol=1e-6)
    assert_allclose(found.intercept_, wanted.intercept_, rtol=1e-5, atol=1e-6)
    assert_allclose(found.predict_proba(X), wanted.predict_proba(X), atol=1e-6)
    assert_array_equal(found.predict(X), wanted.predict(X))
    assert found.modality_weights_ == {"all": 1.0}


def test_one_modality_is_ridge_regression(global_seed):
    X, _, y = make(global_seed)
    Y = np.c_[y, y**2]
    found = LinearMKLRegressor({"all": list(range(6))}, normalize=None, C=0.25, tol=1e-13)
    wanted = Ridge(alpha=2.0)
    for target in (y, Y):
        found.fit(X, target)
        wanted.fit(X, target)
        assert_allclose(found.coef_, wanted.coef_, atol=1e-6)
        assert_allclose(found.intercept_, wanted.intercept_, atol=1e-6)
        assert found.predict(X).shape == target.shape


@pytest.mark.parametrize("class_weight", [None, "balanced"])
def test_classes_of_an_even_weighting_are_each_against_the_rest(class_weight, global_seed):
    X, y, _ = make(global_seed, 3)
    found = classifier(norm=INF, normalize=None, tol=1e-13).fit(X, y)
    single = LogisticRegression(solver="newton-cholesky", tol=1e-12)
    wanted = OneVsRestClassifier(single).fit(X / np.sqrt(3), y)
    assert_allclose(
        found.decision_function(X), wanted.decision_function(X / np.sqrt(3)), atol=1e-6
    )
    assert_allclose(found.predict_proba(X), wanted.predict_proba(X / np.sqrt(3)), atol=1e-6)
    assert_array_equal(found.kernel_weights_, np.full(3, 1 / 3))


@over_losses
@over_norms
def test_the_objective_is_what_the_formula_says(loss, norm, global_seed):
    X, y, _ = make(global_seed, 3)
    model = classifier(loss=loss, norm=norm, C=2.0, tol=1e-8).fit(X, y)
    f = model.decision_function(X)
    t = np.where(y[:, None] == model.classes_, 1.0, -1.0)
    losses = {
        "logistic": np.logaddexp(0, -t * f),
        "squared_hinge": np.maximum(0, 1 - t * f) ** 2,
        "squared": (t - f) ** 2,
    }[loss]
    own = [
        np.sum((model.coef_[:, place] / model.scales_[name]) ** 2)
        for name, place in model.coef_slices_.items()
    ]
    theta = model.kernel_weights_
    kept = theta > 0
    assert np.array(own)[~kept] == pytest.approx(0)
    size = np.sum(np.array(own)[kept] / theta[kept])
    assert model.objective_ == pytest.approx(size / 2 + 2.0 * losses.sum(), rel=1e-7)
    assert 0 <= model.duality_gap_ <= 1e-8 * model.objective_
    assert np.linalg.norm(theta, norm) == pytest.approx(3 ** (1 / norm - 1))
    assert model.history_.shape == (model.n_iter_, 2)
    assert model.history_[:, 0].min() == model.objective_


# Normalisation ------------------------------------------------------------------------------


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("as_sparse", [False, True])
def test_the_trace_by_hand(fit_intercept, weighted, as_sparse, global_seed):
    X, y, _ = make(global_seed)
    X = X + 5.0
    rng = np.random.default_rng(global_seed)
    weight = rng.integers(0, 4, N).astype(float) if weighted else None
    scales = {}
    for name, own in MODALITIES.items():
        total, counted = 0.0, 0.0
        mean = np.average(X[:, own], axis=0, weights=weight) if fit_intercept else 0.0
        for i in range(N):
            share = 1.0 if weight is None else weight[i]
            total += share * float(np.sum((X[i, own] - mean) ** 2))
            counted += share
        scales[name] = 1 / np.sqrt(total / counted)
    table = sparse.csr_array(X) if as_sparse else X
    options = {"fit_intercept": fit_intercept, "tol": 1e-13}
    model = classifier(**options).fit(table, y, sample_weight=weight)
    assert model.scales_ == pytest.approx(scales, rel=1e-9)
    factors = np.repeat([scales[name] for name in MODALITIES], [2, 3, 1])
    by_hand = classifier(normalize=None, **options).fit(X * factors, y, sample_weight=weight)
    assert_allclose(
        model.decision_function(table), by_hand.decision_function(X * factors), atol=1e-6
    )
    assert_allclose(model.kernel_weights_, by_hand.kernel_weights_, atol=1e-6)
    assert_allclose(model.coef_, by_hand.coef_ * factors, atol=1e-6)


@pytest.mark.parametrize("as_sparse", [False, True])
def test_the_cosine_by_hand(as_sparse, global_seed):
    X, y, _ = make(global_seed, 3)
    X[3, 2:5] = 0.0
    Z = X.copy()
    for i in range(N):
        for own in MODALITIES.values():
            length = np.sqrt(sum(X[i, j] ** 2 for j in own))
            for j in own:
                Z[i, j] = X[i, j] / length if length else 0.0
    table = sparse.csr_array(X) if as_sparse else X
    model = classifier(normalize="cosine").fit(table, y)
    by_hand = classifier(normalize=None).fit(Z, y)
    assert_same_machine(model, by_hand)
    assert model.scales_ == dict.fromkeys(MODALITIES, 1.0)
    new = 3.0 * X[:7]  # lengths say nothing
    new = sparse.csr_array(new) if as_sparse else new
    assert_allclose(model.decision_function(new), by_hand.decision_function(Z[:7]), atol=1e-9)


@pytest.mark.parametrize("name", [*LOSSES, "numbers", "nystroem", "fourier"])
def test_an_offset_of_features_is_the_intercepts(name, global_seed):
    """The year, or seconds since 1970, as a feature."""
    X, y = data(name, global_seed)
    X = np.round(X * 2**10) / 2**10  # so that the offset rounds nothing
    wanted = clone(MODELS[name]).fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = clone(MODELS[name]).fit(X + 2.0**27, y)
    assert_allclose(found.kernel_weights_, wanted.kernel_weights_, atol=1e-5)
    assert_allclose(found.coef_, wanted.coef_, atol=1e-5 * np.abs(wanted.coef_).max())
    assert_allclose(decide(found, X + 2.0**27), decide(wanted, X), atol=1e-4)
    assert found.n_iter_ <= wanted.n_iter_ + 1


# Modalities that are absent -----------------------------------------------------------------


@over_normalizations
@pytest.mark.parametrize("kind", ["array", "frame", "nullable", "sparse"])
def test_absent_modalities_by_hand(normalize, kind, global_seed):
    X, y, _ = make(global_seed, 3)
    X, there = lose(X, global_seed)
    Z = design(X, there)
    if normalize == "cosine":
        lengths = np.sqrt([(Z[:, own] ** 2).sum(axis=1) for own in MODALITIES.values()]).T
        Z /= np.repeat(np.where(there, lengths, 1.0), [2, 3, 1], axis=1)
    table = {
        "array": lambda: X,
        "frame": lambda: frame(X),
        "nullable": lambda: frame(X).astype("Float64"),
        "sparse": lambda: sparse.csr_array(X),
    }[kind]()
    model = classifier(normalize=normalize).fit(table, y)
    by_hand = classifier(normalize=None if normalize == "cosine" else normalize).fit(Z, y)
    assert_same_machine(model, by_hand)
    assert_allclose(model.decision_function(table), by_hand.decision_function(Z), atol=1e-9)


def test_a_new_sample_without_any_modality_gets_the_intercept():
    X, y, _ = make(0, 3)
    model = classifier().fit(X, y)
    with pytest.warns(UserWarning, match="1 of 2 samples have no modality"):
        found = model.decision_function(np.vstack([X[:1], np.full((1, 6), NAN)]))
    assert_array_equal(found[1], model.intercept_)
    assert_allclose(found[0], model.decision_function(X[:1])[0], rtol=1e-12)


# Weights ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*LOSSES, "cosine", "numbers"])
def test_a_weight_is_a_row_that_stands_as_often(name, global_seed):
    X, y = data(name, global_seed)
    X, y = X[:45], y[:45]
    weight = np.resize([0, 1, 2, 1], 45)
    model = clone(MODELS[name]).set_params(tol=1e-12)
    weighed = clone(model).fit(X, y, sample_weight=weight)
    repeated = clone(model).fit(np.repeat(X, weight, axis=0), np.repeat(y, weight))
    assert_same_machine(weighed, repeated, atol=1e-7)
    left_out = clone(model).fit(X[weight > 0], y[weight > 0], sample_weight=weight[weight > 0])
    assert_same_machine(weighed, left_out, atol=1e-7)
    assert np.abs(clone(model).fit(X, y).coef_ - weighed.coef_).max() > 1e-3


def test_a_weight_for_all_is_a_cost(global_seed):
    X, y, numbers = make(global_seed, 3)
    assert_same_machine(
        classifier(C=2.0, tol=1e-12).fit(X, y),
        classifier(C=0.5, tol=1e-12).fit(X, y, sample_weight=4.0),
        atol=1e-7,
    )
    assert_same_machine(
        regressor(C=2.0, tol=1e-12).fit(X, numbers),
        regressor(C=0.5, tol=1e-12).fit(X, numbers, sample_weight=np.full(N, 4)),
        atol=1e-7,
    )


@over_losses
def test_class_weights_are_sample_weights(loss, global_seed):
    X, y, _ = make(global_seed, 3)
    y[:20] = "ant"
    given = {"ant": 0.5, "cow": 3.0}
    plain = classifier(loss=loss, normalize=None, tol=1e-12)
    weight = np.array([given.get(label, 1.0) for label in y])
    assert_same_machine(
        clone(plain).set_params(class_weight=given).fit(X, y),
        clone(plain).fit(X, y, sample_weight=weight),
        atol=1e-7,
    )
    counts = {label: np.sum(y == label) for label in ("ant", "bee", "cow")}
    weight = np.array([N / 3 / counts[label] for label in y])
    assert_same_machine(
        clone(plain).set_params(class_weight="balanced").fit(X, y),
        clone(plain).fit(X, y, sample_weight=weight),
        atol=1e-7,
    )


@over_losses
@pytest.mark.parametrize("class_weight", [None, "balanced"])
@pytest.mark.filterwarnings("error")
def test_a_class_without_weight_is_never_found(loss, class_weight, global_seed):
    X, y, _ = make(global_seed, 3)
    weight = np.where(y == "bee", 0.0, 1.0)
    model = classifier(loss=loss, class_weight=class_weight, tol=1e-5)
    model.fit(X, y, sample_weight=weight)
    assert list(model.classes_) == ["ant", "bee", "cow"]
    assert set(model.predict(X)) == {"ant", "cow"}
    if loss == "logistic":
        proba = model.predict_proba(X)
        assert_array_equal(proba[:, 1], 0)
        assert_allclose(proba.sum(axis=1), 1)
        assert_array_equal(model.classes_[proba.argmax(axis=1)], model.predict(X))
        assert_array_equal(model.predict_log_proba(X)[:, 1], -INF)


# Targets ------------------------------------------------------------------------------------

LABELS = {
    "text": ["ant", "bee", "cow"],
    "whole": [7, 3, -2],
    "float": [0.0, 1.0, 2.0],
    "long text": ["a", "bb", "c" * 50],
}


@pytest.mark.parametrize("kind", [*LABELS, "bool", "object", "category", "list"])
def test_labels_of_any_kind(kind, global_seed):
    X, names, _ = make(global_seed, 3)
    codes = np.unique(names, return_inverse=True)[1]
    y = np.array(LABELS.get(kind, LABELS["text"]))[codes]
    y = {
        "bool": lambda: codes > 0,
        "object": lambda: y.astype(object),
        "category": lambda: pd.Series(pd.Categorical(y)),
        "list": lambda: y.tolist(),
    }.get(kind, lambda: y)()
    model = classifier(tol=1e-10).fit(X, y)
    assert_array_equal(model.classes_, np.unique(np.asarray(y)))
    assert np.mean(model.predict(X) == np.asarray(y)) == model.score(X, y)
    assert model.score(X, y) > 0.5
    if kind != "bool":
        wanted = classifier(tol=1e-10).fit(X, codes)
        order = np.argsort(LABELS.get(kind, LABELS["text"]))
        found, decisions = model.decision_function(X), wanted.decision_function(X)
        assert_allclose(found, decisions[:, order], atol=1e-4)


def test_numbers_of_any_shape(global_seed):
    X, _, y = make(global_seed)
    wanted = regressor().fit(X, y)
    assert wanted.coef_.shape == (6,)
    assert isinstance(wanted.intercept_, float)
    for given in (y.tolist(), pd.Series(y), y.astype(object)):
        assert_same_bits(regressor().fit(X, given), wanted)
    for column in (y[:, None], y[:, None].tolist(), pd.DataFrame({"y": y})):
        with pytest.warns(sklearn.exceptions.DataConversionWarning):
            assert_same_bits(regressor().fit(X, column), wanted)
    whole = np.round(y).astype(np.int8)
    assert_same_bits(regressor().fit(X, whole), regressor().fit(X, whole.astype(float)))
    wanted = regressor(tol=1e-10).fit(X, y)
    two = regressor(tol=1e-10).fit(X, pd.DataFrame({"a": y, "b": -y}))
    assert_allclose(two.coef_[1], -two.coef_[0], atol=1e-9)
    assert_allclose(two.predict(X)[:, 0], wanted.predict(X), atol=1e-4)


@pytest.mark.filterwarnings("error")
def test_numbers_that_are_all_one_number():
    X, _, _ = make(0)
    for number in (0.0, 3.0, 1e9):
        model = regressor().fit(X, np.full(N, number))
        assert_array_equal(model.coef_, 0)
        assert model.intercept_ == number


@pytest.mark.parametrize("n_classes", [2, 3, 4])
def test_probabilities_go_with_decisions(n_classes, global_seed):
    X, y, _ = make(global_seed, n_classes)
    model = classifier(tol=1e-4).fit(X, y)
    if n_classes == 2:
        X = 100 * X  # so that exponentials overflow
    proba, decisions = model.predict_proba(X), model.decision_function(X)
    assert_allclose(proba.sum(axis=1), 1, rtol=1e-12)
    assert proba.shape == (N, n_classes)
    assert ((proba >= 0) & (proba <= 1)).all()
    assert_array_equal(model.classes_[proba.argmax(axis=1)], model.predict(X))
    with np.errstate(divide="ignore"):
        assert_array_equal(model.predict_log_proba(X), np.log(proba))
    if n_classes == 2:
        assert_allclose(proba[:, 1], special.expit(decisions))
    else:
        each = 1 / (1 + np.exp(-decisions))
        assert_allclose(proba, each / each.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("loss", ["squared", "squared_hinge"])
def test_other_losses_have_no_probabilities(loss):
    X, y, _ = make(0)
    model = classifier(loss=loss).fit(X, y)
    for name in ("predict_proba", "predict_log_proba"):
        assert not hasattr(model, name)
        with pytest.raises(AttributeError, match=name):
            getattr(model, name)


@over_models
@pytest.mark.parametrize("holes", [False, True])
def test_contributions_add_up(name, holes, global_seed):
    X, y = data(name, global_seed)
    there = np.ones((N, 3), bool)
    if holes:
        X, there = lose(X, global_seed)
    model = clone(MODELS[name]).fit(X, y)
    found = model.modality_contributions(X)
    assert_allclose(found.base + found.contributions.sum(axis=1), found.decision, rtol=1e-12)
    assert_allclose(found.decision, decide(model, X).reshape(N, -1), atol=1e-10)
    assert found.modalities == list(MODALITIES)
    assert not found.contributions[~there].any()
    assert (found.base == found.base[0]).all()
    if isinstance(model, LinearMKLClassifier):
        assert_array_equal(found.classes, model.classes_)


# Tables -------------------------------------------------------------------------------------


def of_mapped(X, folder):
    np.save(folder / "X.npy", X)
    return np.load(folder / "X.npy", mmap_mode="r")


def of_frozen(X, folder):
    X = X.copy()
    X.setflags(write=False)
    return X


TABLES = {
    "Fortran": lambda X, folder: np.asfortranarray(X),
    "frozen": of_frozen,
    "mapped": of_mapped,
    "lists": lambda X, folder: X.tolist(),
    "objects": lambda X, folder: X.astype(object),
    "strided": lambda X, folder: np.repeat(X, 2, axis=0)[::2],
    "frame": lambda X, folder: frame(X),
    "nullable": lambda X, folder: frame(X).convert_dtypes(),
    "float32": lambda X, folder: X.astype(np.float32),
    "int8": lambda X, folder: X.astype(np.int8),
    "int8 frame": lambda X, folder: frame(X.astype(np.int8)),
    "csr": lambda X, folder: sparse.csr_array(X),
    "csc": lambda X, folder: sparse.csc_matrix(X),
    "mixed": lambda X, folder: frame(X).astype({"audio__0": "int8", "text__0": "Float32"}),
}


@pytest.mark.parametrize("kind", TABLES)
@over_normalizations
def test_tables_of_any_kind(kind, normalize, global_seed, tmp_path):
    X, y, _ = make(global_seed, 3)
    X = np.round(X * 4)  # whole numbers are the same in every type
    wanted = classifier(normalize=normalize, tol=1e-4).fit(X, y)
    table = TABLES[kind](X, tmp_path)
    found = classifier(normalize=normalize, tol=1e-4).fit(table, y)
    assert_same_machine(found, wanted, atol=1e-10)
    assert_allclose(found.decision_function(table), wanted.decision_function(X), atol=1e-9)
    assert found.coef_.dtype == np.float64


@pytest.mark.parametrize("kind", ["csr", "csc"])
def test_sparse_entries_that_are_stored_in_parts(kind, global_seed):
    X, y, _ = make(global_seed)
    X[np.random.default_rng(global_seed).random(X.shape) < 0.5] = 0
    rows, columns = np.indices(X.shape).reshape(2, -1)
    parts = np.tile([0.25, 0.75], (X.size, 1)).T * X.ravel()
    twice = sparse.coo_array((parts.ravel(), (np.tile(rows, 2), np.tile(columns, 2))), X.shape)
    compressed = sparse.csr_array if kind == "csr" else sparse.csc_array
    ends = np.arange(0, 2 * X.size + 1, 2 * X.shape[1 if kind == "csr" else 0])
    order = np.lexsort((twice.col, twice.row) if kind == "csr" else (twice.row, twice.col))
    inner = (twice.col if kind == "csr" else twice.row)[order]
    table = compressed((twice.data[order], inner, ends), shape=X.shape)
    assert table.nnz == 2 * X.size
    found = classifier().fit(table, y)
    assert_same_machine(found, classifier().fit(X, y))
    assert table.nnz == 2 * X.size


def test_modalities_that_overlap_or_leave_columns_out(global_seed):
    X, y, _ = make(global_seed)
    own = {"late": [5, 2], "early": [2, 0]}
    model = LinearMKLClassifier(own, allow_overlap=True, tol=1e-10)
    with pytest.warns(UserWarning, match="belong to no modality"):
        model.fit(X, y)
    assert model.coef_slices_ == {"late": slice(0, 2), "early": slice(2, 4)}
    by_hand = LinearMKLClassifier({"late": [0, 1], "early": [2, 3]}, tol=1e-10)
    assert_same_machine(model, by_hand.fit(X[:, [5, 2, 2, 0]], y))
    text = frame(X).assign(note="a word")
    named = LinearMKLClassifier({"a": ["audio__0"], "v": ["video__0"]})
    with pytest.warns(UserWarning, match="'note'"):
        assert named.fit(text, y).score(text, y) > 0.5


# Engines ------------------------------------------------------------------------------------


@over_models
def test_two_jobs_are_one(name, global_seed, monkeypatch):
    X, y = data(name, global_seed)
    monkeypatch.setattr(_blocks, "NUMBERS", 7 * 6)
    one = clone(MODELS[name]).fit(X, y)
    assert_same_bits(clone(MODELS[name]).set_params(n_jobs=2).fit(X, y), one)


@over_models
@pytest.mark.parametrize("rows", [3, 64])
def test_cuts_do_not_matter(name, rows, global_seed, monkeypatch):
    X, y = data(name, global_seed)
    model = clone(MODELS[name])
    wanted = clone(model).fit(X, y)
    monkeypatch.setattr(_blocks, "NUMBERS", rows * 6)
    found = clone(model).fit(X, y)
    assert_same_machine(found, wanted, atol=1e-10 * max(1, np.abs(wanted.coef_).max()))
    assert found.n_iter_ == wanted.n_iter_


def test_cuts_of_many_rows_do_not_matter_for_the_optimum(global_seed, monkeypatch):
    """Of many rows some shape the model, others in other cuts: the certificate still holds."""
    X, y, _ = make(global_seed, 3, n=2000)
    wanted = classifier(tol=1e-10).fit(X, y)
    monkeypatch.setattr(_blocks, "NUMBERS", 23 * 6)
    found = classifier(tol=1e-10).fit(X, y)
    assert found.objective_ == pytest.approx(wanted.objective_, rel=2e-10)
    assert_allclose(found.coef_, wanted.coef_, atol=1e-4)


def test_many_classes_in_small_blocks_are_classes(monkeypatch):
    X, _, _ = make(0, n=300)
    monkeypatch.setattr(_blocks, "NUMBERS", 30 * 6)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = classifier(loss="squared").fit(X, np.arange(300) % 25)
    assert_array_equal(model.classes_, np.arange(25))


# In use -------------------------------------------------------------------------------------


@over_models
def test_clone_and_pickle(name, global_seed):
    X, y = data(name, global_seed)
    model = clone(MODELS[name]).fit(X, y)
    same = pickle.loads(pickle.dumps(model))
    assert_array_equal(decide(same, X), decide(model, X))
    assert_array_equal(decide(copy.deepcopy(model), X), decide(model, X))
    bare = clone(model)
    assert not any(attribute.endswith("_") for attribute in vars(bare))
    again = type(model)().set_params(**model.get_params(deep=False))
    assert_array_equal(decide(again.fit(X, y), X), decide(model, X))
    assert repr(again) == repr(model)


def test_parameters_of_what_makes_features():
    model = clone(MODELS["nystroem"]).set_params(features__n_components=3)
    assert model.get_params()["features__n_components"] == 3
    X, y, _ = make(0)
    assert model.fit(X, y).coef_.shape == (1, 9)
    assert model.features.n_components == 3
    assert not hasattr(model.features, "maps_")
    assert MODELS["nystroem"].features.n_components == 8


def test_a_search_in_a_pipeline(global_seed):
    X, y, _ = make(global_seed, 3)
    scaled = StandardScaler().set_output(transform="pandas")
    pipeline = make_pipeline(scaled, LinearMKLClassifier())
    prefix = "linearmklclassifier__"
    grid = {f"{prefix}C": [0.01, 10.0], f"{prefix}norm": [1, INF], f"{prefix}loss": LOSSES[1:]}
    search = GridSearchCV(pipeline, grid, cv=3, error_score="raise").fit(frame(X), y)
    assert len(search.cv_results_["params"]) == 8
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    best = {name.removeprefix(prefix): value for name, value in search.best_params_.items()}
    Z = clone(scaled).fit_transform(frame(X))
    by_hand = LinearMKLClassifier(**best).fit(Z, y)
    assert_array_equal(search.predict(frame(X)), by_hand.predict(Z))
    found = search.best_estimator_[-1]
    assert list(found.modality_weights_) == ["audio", "video", "text"]
    assert list(found.feature_names_in_) == NAMES


def test_groups_and_weights_are_routed(global_seed):
    X, y, _ = make(global_seed)
    groups = np.arange(N) // 2 % 5
    weight = np.random.default_rng(global_seed).uniform(0, 3, N)
    with sklearn.config_context(enable_metadata_routing=True):
        model = classifier(tol=1e-5).set_fit_request(sample_weight=True)
        model.set_score_request(sample_weight=True)
        found = cross_validate(
            model, X, y, cv=GroupKFold(5), return_estimator=True,
            params={"sample_weight": weight, "groups": groups}, error_score="raise",
        )  # fmt: skip
    folds = GroupKFold(5).split(X, y, groups)
    for (train, test), fitted, score in zip(
        folds, found["estimator"], found["test_score"], strict=True
    ):
        by_hand = classifier(tol=1e-5).fit(X[train], y[train], sample_weight=weight[train])
        assert_same_bits(fitted, by_hand)
        assert score == by_hand.score(X[test], y[test], sample_weight=weight[test])


@pytest.mark.parametrize("param", ["C", "norm"])
@pytest.mark.parametrize("name", [*LOSSES, "numbers", "nystroem"])
def test_a_path_is_each_fit(param, name, global_seed):
    X, y = data(name, global_seed)
    weight = np.random.default_rng(global_seed).uniform(0.5, 2, N)
    values = [0.01, 0.1, 1.0] if param == "C" else [1.0, 4 / 3, 2.0, INF]
    model = clone(MODELS[name]).set_params(tol=1e-8)
    path = mkl_path(model, X, y, param=param, values=values, sample_weight=weight)
    assert path.kernel_names == list(MODALITIES)
    assert path.kernel_modalities == list(MODALITIES)
    assert path.param == param
    assert_array_equal(path.values, values)
    assert path.n_solves.sum() > 0
    for value, weights, objective, gap in zip(
        values, path.weights, path.objective, path.gap, strict=True
    ):
        wanted = clone(model).set_params(**{param: value}).fit(X, y, sample_weight=weight)
        assert objective == pytest.approx(wanted.objective_, rel=2e-8)
        assert gap <= 1e-8 * objective
        assert_allclose(weights, wanted.kernel_weights_, atol=1e-3)
    assert not any(attribute.endswith("_") for attribute in vars(model))
    assert "_known_reader" not in vars(model)


def test_a_path_refuses_what_fits_refuse():
    X, y, _ = make(0)
    for options, message in {
        "loss": ({"loss": "hinge"}, "loss must be one of 'logistic'"),
        "tol": ({"tol": 0}, "tol must be"),
    }.values():
        with pytest.raises(ValueError, match=message):
            mkl_path(LinearMKLClassifier(MODALITIES, **options), X, y)
    model = classifier()
    with pytest.raises(ValueError, match="values must be a finite number above 0, got 0"):
        mkl_path(model, X, y, values=[1, 0])
    with pytest.raises(ValueError, match=r"norm must be a number p >= 1.*0\.5"):
        mkl_path(model, X, y, param="norm", values=[0.5])
    with pytest.raises(ValueError, match="param must be one of 'C', 'norm', got 'tol'"):
        mkl_path(model, X, y, param="tol")
    with pytest.raises(ValueError, match="values is empty"):
        mkl_path(model, X, y, values=[])
    with pytest.raises(ValueError, match="class labels, got None"):
        mkl_path(model, X)


# Refusals -----------------------------------------------------------------------------------

BAD = {
    "C": [0, -1, NAN, INF, True, "1", None],
    "tol": [0, -1e-3, NAN, "small", None],
    "max_iter": [0, -1, 2.5, "many", True],
    "norm": [0.5, -1, NAN, "two", None, True],
    "normalize": ["l2", True],
    "loss": ["hinge", None, 1],
    "class_weight": ["even", 3],
    "features": ["nystroem", 3],
}
CASES = [
    (cls, name, value)
    for cls in (LinearMKLClassifier, LinearMKLRegressor)
    for name in BAD
    if name in cls().get_params()
    for value in BAD[name]
]


def refused(model, *args, **kwargs):
    """Return the words of the refusal, which leaves nothing fitted."""
    with pytest.raises((ValueError, TypeError)) as caught:
        model.fit(*args, **kwargs)
    with pytest.raises(NotFittedError):
        model.predict(np.ones((1, 6)))
    return str(caught.value)


@pytest.mark.parametrize(("cls", "name", "value"), CASES)
def test_parameters_out_of_range(cls, name, value):
    X, labels, numbers = make(0)
    y = labels if cls is LinearMKLClassifier else numbers
    model = cls(MODALITIES).fit(X, y)
    message = refused(model.set_params(**{name: value}), X, y)
    assert re.search(rf"\b{name}\b", message)
    assert repr(value) in message


def with_cell(value, row=50, column=3):
    X, _, _ = make(0)
    X[row, column] = value
    return X


TARGETS = {
    "one class": (lambda y: np.full(N, "ant"), r"y has one class \('ant'\)"),
    "numbers": (lambda y: np.linspace(0, 1, N), "Unknown label type: continuous"),
    "NaN": (lambda y: np.where(np.arange(N) == 3, NAN, 1.0), "label of 1 samples is missing"),
    "None": (lambda y: None, "y should be a 1d array of class labels, got None"),
    "another length": (lambda y: y[:-1], "X has 90, y has 89"),
    "two columns": (lambda y: np.c_[y, y], "y"),
    "a name": (lambda y: "label", "y='label' would be a column of a Dask DataFrame"),
    "masked": (lambda y: np.ma.masked_equal(np.arange(N) % 2, 1), "y is a masked array"),
}


@pytest.mark.parametrize("case", TARGETS)
def test_wrong_labels(case):
    X, y, _ = make(0)
    target, message = TARGETS[case]
    assert re.search(message, refused(classifier(), X, target(y)))


NUMBERS = {
    "text": (lambda y: ["a"] * N, "numeric"),
    "NaN": (lambda y: np.where(np.arange(N) == 3, NAN, y), "Input y contains NaN"),
    "infinity": (lambda y: np.where(np.arange(N) == 3, INF, y), "Input y contains infinity"),
    "None": (lambda y: None, "y should be a 1d array of numbers, got None"),
    "another length": (lambda y: y[:-1], "X has 90, y has 89"),
    "too large": (lambda y: y * 1e130, "whose squares overflow; rescale y"),
    "a name": (lambda y: "label", "y='label' would be a column of a Dask DataFrame"),
}


@pytest.mark.parametrize("case", NUMBERS)
def test_wrong_numbers(case):
    X, _, y = make(0)
    target, message = NUMBERS[case]
    assert re.search(message, refused(regressor(), X, target(y)))


def text_table():
    return frame(make(0)[0]).assign(video__1=pd.Categorical(["low", "high"] * (N // 2)))


WRONG_TABLES = {
    "infinity": (lambda: with_cell(INF), "rows 0 to 89: modality 'video': .*infinity"),
    "NaN": (lambda: with_cell(NAN), "rows 0 to 89: modality 'video': .*contains NaN"),
    "one column": (lambda: with_cell(-INF, column=5), "rows 0 to 89: modality 'text': .*infinity"),
    "a frame": (lambda: frame(with_cell(INF)), "rows 0 to 89: modality 'video': .*infinity"),
    "sparse": (
        lambda: sparse.csr_array(with_cell(INF)),
        "rows 0 to 89: modality 'video': X holds inf in row 50; features must be finite",
    ),
    "sparse NaN": (lambda: sparse.csc_array(with_cell(NAN)), "modality 'video': X holds nan"),
    "text": (text_table, "modality 'video': .*could not convert string to float: 'low'"),
    "huge": (lambda: with_cell(1e200), "squares of the features of 'video' overflow; rescale"),
    "no modality": (
        lambda: np.where(np.arange(N)[:, None] == 3, NAN, make(0)[0]),
        "1 samples have none of the modalities 'audio', 'video', 'text'",
    ),
    "no rows": (lambda: np.ones((0, 6)), "0 sample"),
    "one axis": (lambda: np.ones(N), "2D array"),
    "complex": (lambda: make(0)[0] * 1j, "omplex"),
    "too narrow": (lambda: np.ones((N, 4)), "modality 'video'|out of|beyond|has 4"),
    "masked": (lambda: np.ma.masked_greater(make(0)[0], 1), "X is a masked array"),
}


@pytest.mark.parametrize("case", WRONG_TABLES)
@pytest.mark.parametrize("kind", [classifier, regressor])
def test_wrong_tables(case, kind):
    _, labels, numbers = make(0)
    table, message = WRONG_TABLES[case]
    X, y = table(), labels if kind is classifier else numbers
    model = kind(modalities=None) if isinstance(X, pd.DataFrame) else kind()
    y = y[: X.shape[0]]
    assert re.search(message, refused(model, X, y), re.S)


def test_an_error_names_the_block(monkeypatch):
    monkeypatch.setattr(_blocks, "NUMBERS", 20 * 6)
    _, y, _ = make(0)
    for n_jobs in (1, 2):
        message = refused(classifier(n_jobs=n_jobs), with_cell(INF), y)
        assert message.startswith("rows 40 to 59: modality 'video': ")


def test_a_sample_without_any_modality_is_refused_of_made_features_too(monkeypatch):
    """Also where it is none of those that the features are learnt from."""
    from mkfusion.mkl import _linear

    monkeypatch.setattr(_linear, "SAMPLE", 10)
    X, y, _ = make(0)
    X[4] = NAN
    message = refused(clone(MODELS["nystroem"]), X, y)
    assert "1 samples have none of the modalities 'audio', 'video', 'text'" in message


def test_sparse_tables_have_no_made_features():
    X, y, _ = make(0)
    message = refused(clone(MODELS["nystroem"]), sparse.csr_array(X), y)
    assert "X is sparse, and features are made of dense tables: pass X.toarray()" in message
    assert classifier().__sklearn_tags__().input_tags.sparse
    assert not MODELS["nystroem"].__sklearn_tags__().input_tags.sparse


SAMPLE_WEIGHTS = {
    "NaN": (lambda: np.where(np.arange(N) == 3, NAN, 1), "sample_weight must be finite"),
    "negative": (lambda: np.where(np.arange(N) == 3, -1, 1), "Negative values .*`sample_weight`"),
    "all 0": (lambda: np.zeros(N), "Sample weights must contain at least one non-zero"),
    "too few": (lambda: np.ones(3), "X has 90, sample_weight has 3"),
    "too large": (lambda: np.full(N, 1e200), "sample_weight goes up to 1e\\+200"),
    "a name": (lambda: "load", "sample_weight='load' would be a column of a Dask DataFrame"),
    "text": (lambda: ["a"] * N, "sample_weight must hold numbers"),
}


@pytest.mark.parametrize("case", SAMPLE_WEIGHTS)
@pytest.mark.parametrize("kind", [classifier, regressor])
def test_wrong_sample_weights(case, kind):
    X, labels, numbers = make(0)
    weight, message = SAMPLE_WEIGHTS[case]
    y = labels if kind is classifier else numbers
    assert re.search(message, refused(kind(), X, y, sample_weight=weight()))


@pytest.mark.parametrize("weight", [-1.0, NAN, INF])
def test_wrong_class_weights(weight):
    X, y, _ = make(0)
    message = refused(classifier(class_weight={"ant": 1.0, "bee": weight}), X, y)
    assert f"class_weight must be finite and not negative, got {weight} for class 'bee'" in message
    message = refused(classifier(class_weight={"elk": 1.0}), X, y)
    assert "class_weight names 'elk', which are no classes of y; they are 'ant', 'bee'" in message


@pytest.mark.parametrize("way", ["sample_weight", "class_weight"])
def test_one_class_with_weight_is_refused(way):
    X, y, _ = make(0)
    weight = np.where(y == "bee", 0.0, 1.0) if way == "sample_weight" else None
    given = {"ant": 1.0, "bee": 0.0} if way == "class_weight" else None
    message = refused(classifier(class_weight=given), X, y, sample_weight=weight)
    assert "of the classes 'ant', 'bee' sample_weight and class_weight leave 'ant'" in message


def test_new_samples_that_do_not_fit():
    X, y, _ = make(0)
    named = classifier(modalities=None).fit(frame(X), y)
    plain = classifier().fit(X, y)
    with pytest.raises(ValueError, match=r"X has 5 features, but .* is expecting 6"):
        plain.predict(X[:, :5])
    with pytest.raises(ValueError, match="modality 'video' lacks the columns 'video__1'"):
        named.predict(frame(X).rename(columns={"video__1": "video__7"}))
    with pytest.raises(ValueError, match=r"same order(.|\n)*X has every column of the fit"):
        named.predict(frame(X)[["text__0", *NAMES[1:5], "audio__0"]])
    with pytest.raises(ValueError, match=r"modality 'video': .*NaN"):
        plain.predict(with_cell(NAN))
    for method in ("predict", "decision_function", "predict_proba", "modality_contributions"):
        with pytest.raises(NotFittedError):
            getattr(classifier(), method)(X)
        with pytest.raises(TypeError, match="predict_in_blocks does it by partitions"):
            getattr(plain, method)("table.parquet")


# Warnings -----------------------------------------------------------------------------------


@over_normalizations
@pytest.mark.parametrize("as_sparse", [False, True])
def test_a_block_that_never_changes_is_warned_of(normalize, as_sparse, global_seed):
    X, y, numbers = make(global_seed)
    X[:, 5] = 0.1
    X[:, 2:5] = [0.7, 1 / 3, 1e6]
    table = sparse.csr_array(X) if as_sparse else X
    for model, target in ((classifier(tol=1e-4), y), (regressor(tol=1e-4), numbers)):
        model.set_params(normalize=normalize)
        with pytest.warns(UserWarning, match="features of 'video', 'text' are the same for ever"):
            model.fit(table, target)
        assert model.kernel_weights_ == pytest.approx([1, 0, 0], abs=1e-3)
        assert np.isfinite(decide(model, table)).all()
        alone = model.score(table, target)
    X[:, 2:] = 0
    with pytest.warns(UserWarning, match="features of 'video', 'text' are 0 for every sample"):
        classifier(fit_intercept=False, normalize=normalize).fit(X, y)
    assert alone > 0


def test_not_converged_is_warned_of_with_the_gap(global_seed):
    X, y, numbers = make(global_seed, 3)
    for model, target in ((classifier(C=10.0), y), (regressor(C=10.0), numbers)):
        with pytest.warns(ConvergenceWarning) as caught:
            model.set_params(max_iter=1).fit(X, target)
        left = model.duality_gap_ / model.objective_
        assert left > 1e-3
        assert (
            f"after 1 iterations; the duality gap relative to the objective left is {left:.2g}"
            in str(caught[0].message)
        )
        assert model.n_iter_ == 1
        assert np.isfinite(decide(model, X)).all()
        with pytest.warns(ConvergenceWarning):
            mkl_path(model, X, target, values=[10.0])


# After interruptions ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["logistic", "numbers", "nystroem"])
def test_an_interrupted_refit_is_as_if_it_had_not_been(name, global_seed):
    X, y = data(name, global_seed)
    model = clone(MODELS[name])
    weight = np.random.default_rng(0).uniform(0.5, 2, N)
    kept = pickle.dumps((X, y, weight))
    wanted = decide(clone(model).fit(X, y, sample_weight=weight), X)
    before = clone(model).set_params(modalities=None)
    before.fit(frame(X)[["audio__0", "text__0"]][:40], y[:40])
    before.set_params(modalities=MODALITIES)
    with interrupted_at(None) as lines:
        copy.deepcopy(before).fit(X, y, sample_weight=weight)
    assert len(lines) > 200
    points = np.random.default_rng(global_seed).choice(len(lines), size=12, replace=False)
    for line in [0, *points, len(lines) - 1]:
        again = copy.deepcopy(before)
        with pytest.raises(KeyboardInterrupt), interrupted_at(line + 1):
            again.fit(X, y, sample_weight=weight)
        assert pickle.dumps((X, y, weight)) == kept
        assert_array_equal(decide(again.fit(X, y, sample_weight=weight), X), wanted)


class Interrupting(TransformerMixin, BaseEstimator):
    """Passes features through, until it is used once too often."""

    left = INF  # of the class, as every fit clones

    def fit(self, X, y=None):
        self.n_features_in_ = X.shape[1]
        return self

    def transform(self, X):
        Interrupting.left -= 1
        if Interrupting.left < 0:
            raise KeyboardInterrupt
        return np.array(X)

    def get_feature_names_out(self, input_features=None):
        return np.array(NAMES, dtype=object)


def test_an_interrupted_maker_leaves_nothing_fitted(monkeypatch, global_seed):
    X, y, _ = make(global_seed, 3)
    model = LinearMKLClassifier(MODALITIES, features=Interrupting()).fit(X, y)
    wanted = LinearMKLClassifier(MODALITIES).fit(X, y)
    assert_same_bits(model, wanted)
    for calls in (0, 1, 2, 4):
        monkeypatch.setattr(Interrupting, "left", calls)
        with pytest.raises(KeyboardInterrupt):
            model.fit(X, y)
        monkeypatch.setattr(Interrupting, "left", INF)
        for method in (model.predict, model.modality_contributions, model.predict_proba):
            with pytest.raises(NotFittedError):
                method(X)
        assert_same_bits(model.fit(X, y), wanted)


REFITS = {
    "two classes": lambda X, y: (X, y == "ant"),
    "four classes": lambda X, y: (X, np.arange(N) % 4),
    "a frame": lambda X, y: (frame(X), y),
    "fewer columns": lambda X, y: (frame(X)[["audio__0", "video__1", "text__0"]], y),
    "sparse": lambda X, y: (sparse.csr_array(X), y),
    "far away": lambda X, y: (X + 1e6, y),
    "holes": lambda X, y: (lose(X, 0)[0], y),
    "few rows": lambda X, y: (X[:20], y[:20]),
}


@pytest.mark.parametrize("kind", [classifier, regressor])
def test_a_refit_keeps_nothing_stale(kind, global_seed):
    X, y, numbers = make(global_seed, 3)
    model = kind(tol=1e-4)
    for case in [*REFITS, *reversed(REFITS)]:
        table, target = REFITS[case](X, y)
        if kind is regressor:
            target = np.c_[numbers, numbers**2] if "classes" in case else numbers[: len(target)]
        model.set_params(modalities=None if isinstance(table, pd.DataFrame) else MODALITIES)
        fresh = clone(model).fit(table, target)
        assert_same_bits(model.fit(table, target), fresh)
        assert set(vars(model)) == set(vars(fresh))
        assert_array_equal(decide(model, table), decide(fresh, table))


def frozen(values):
    values = np.array(values)
    values.setflags(write=False)
    return values


@over_models
def test_inputs_are_never_written_to(name, global_seed):
    X, y = data(name, global_seed)
    X, _ = lose(X + 1e4, global_seed)
    X, y = frozen(X), frozen(y)
    weight = frozen(np.random.default_rng(0).uniform(0.5, 2, N))
    modalities = copy.deepcopy(MODALITIES)
    model = clone(MODELS[name]).set_params(modalities=modalities)
    kept = pickle.dumps((X, y, weight, modalities, model.get_params()))
    tables = [X, frame(X)]
    if model.features is None:
        tables += [sparse.csr_array(X), sparse.csc_array(X)]
        for table in tables[2:]:
            for part in (table.data, table.indices, table.indptr):
                part.setflags(write=False)
    for table in tables:
        copied = table.copy()
        model.fit(table, y, sample_weight=weight)
        decide(model, table)
        model.modality_contributions(table)
        mkl_path(model, table, y, sample_weight=weight, values=[0.1, 1.0])
        if isinstance(table, pd.DataFrame):
            pd.testing.assert_frame_equal(table, copied)
        elif sparse.issparse(table):
            assert_array_equal(table.toarray(), copied.toarray())
    assert pickle.dumps((X, y, weight, modalities, model.get_params())) == kept
    assert model.modalities is modalities


def test_a_bar_of_passes(capsys, global_seed):
    X, y, _ = make(global_seed)
    wanted = classifier(tol=1e-4).fit(X, y)
    assert capsys.readouterr().err == ""
    assert_same_bits(classifier(tol=1e-4, verbose=2).fit(X, y), wanted)
    told = capsys.readouterr().err
    assert "LinearMKLClassifier" in told
    assert f"{wanted.n_iter_}pass" in told
    assert "gap=" in told
