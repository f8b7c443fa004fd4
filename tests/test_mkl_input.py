"""Multiple kernel learning with bad input, after failures, and with inputs left alone."""

import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from test_mkl import KERNELS, N, block, grams, make
from test_mkl_use import decide

import mkfusion
from mkfusion.kernels import RBF, Linear, Precomputed
from mkfusion.mkl import WEIGHTINGS, MKLClassifier, MKLOneClass, MKLRegressor

NAN, INF = np.nan, np.inf
PACKAGE = str(Path(mkfusion.__file__).parent)
ESTIMATORS = [MKLClassifier, MKLRegressor, MKLOneClass]


def refused(model, *args, **kwargs):
    """Return the words of the refusal, with its notes."""
    with pytest.raises((ValueError, TypeError)) as caught:
        model.fit(*args, **kwargs)
    return "\n".join([str(caught.value), *getattr(caught.value, "__notes__", [])])


# Parameters ---------------------------------------------------------------------------------

BAD = {
    "C": [0, -1, NAN, INF, True, "1", None],
    "tol": [0, -1e-3, NAN, "small", None],
    "max_iter": [0, -1, 2.5, "many", True],
    "norm": [0.5, -1, NAN, "two", None],
    "solver": ["smo", None, 1],
    "normalize": ["l2", True],
    "memory_budget": ["much", -1, True],
    "dtype": ["int32", "float16", complex],
    "multi_class": ["ovr", None],
    "machine": ["svm", None],
    "epsilon": [-0.1, NAN, "small"],
    "nu": [0, -1, 1.01, NAN, True, "half"],
}


CASES = [
    (cls, name, value)
    for cls in ESTIMATORS
    for name in BAD
    if name in cls().get_params()
    for value in BAD[name]
]


@pytest.mark.parametrize(("cls", "name", "value"), CASES)
def test_parameters_out_of_range(cls, name, value):
    X, labels, numbers = make(0)
    model = cls(KERNELS, **{name: value})
    if cls is MKLOneClass:
        model.set_params(weighting="exact")
    message = refused(model, X, labels if cls is MKLClassifier else numbers)
    assert re.search(rf"\b{name}\b", message)
    shown = "complex" if value is complex else value if name == "dtype" else repr(value)
    assert str(shown) in message


@pytest.mark.parametrize("value", [-0.1, 1.5, NAN, "much"])
def test_lambda_out_of_range(value):
    X, y, _ = make(0)
    message = refused(MKLClassifier(KERNELS, weighting="easy", lam=value), X, y)
    assert f"lam must be a finite number of at least 0 and at most 1, got {value!r}" in message


NAMES = "'near', 'line', 'words'"
WEIGHTS = {
    "wrong name": ("best", "weighting must be one of 'svm', 'uniform'.*got 'best'"),
    "nothing": (None, "weighting must be one of .* one weight for each kernel.*got None"),
    "a number": (0.5, "weighting must be one of .*got 0.5"),
    "NaN": ([1, NAN, 1], "weighting must be finite, got .*nan"),
    "infinity": ([1, INF, 1], "weighting must be finite, got .*inf"),
    "negative": ([1, -1, 1], r"weighting must be non-negative, got \[1.0, -1.0, 1.0\]"),
    "too few": ([1, 1], r"weighting must have length 3, got shape \(2,\)"),
    "all zero": ([0, 0, 0], f"one number for each of {NAMES}, not all 0"),
    "two tables": (np.ones((3, 2)), f"one number for each of {NAMES}"),
    "text": (["a", "b", "c"], "weighting must be 3 numbers, got"),
    "other names": ({"near": 1, "far": 2}, f"one weight for each of {NAMES}, got .* 'near', 'f"),
    "nonsense": (lambda kernels, y: "much", "weighting must be 3 numbers, got 'much'"),
    "no answer": (lambda kernels, y: None, r"weighting must have length 3, got shape \(\)"),
    "zeros": (lambda kernels, y: np.zeros(3), "not all 0"),
    "NaNs": (lambda kernels, y: np.full(3, NAN), "weighting must be finite"),
}


@pytest.mark.parametrize("case", WEIGHTS)
def test_wrong_weights(case):
    X, y, _ = make(0)
    weighting, message = WEIGHTS[case]
    with pytest.raises(ValueError, match=message):
        MKLClassifier(KERNELS, weighting=weighting).fit(X, y)


TRIPLES = {
    "twice": ([("a", RBF(), "audio"), ("a", RBF(), "video")], r"not unique: \['a', 'a'\]"),
    "a parameter": ([("tol", RBF(), "audio")], r"conflict with constructor arguments: \['tol'\]"),
    "two lines": ([("a__b", RBF(), "audio")], r"must not contain __: got \['a__b'\]"),
    "no modality": ([("a", RBF(), "smell")], "'smell', which is no modality .* 'audio', 'video'"),
    "a list": ([("a", RBF(), ["audio"])], "names the modality .* which is no modality of X"),
    "a pair": ([("a", RBF())], r"must be a list of \(name, kernel, modality\), got \('a', RBF"),
    "no tuple": (["rbf"], r"must be a list of \(name, kernel, modality\), got 'rbf' in it"),
    "no name": ([(3, RBF(), "audio")], r"must be a list of \(name, kernel, .*got \(3, "),
    "a dict": ({"a": RBF()}, r"must be a list of \(name, kernel, modality\) or one kernel"),
    "a number": (5, r"must be a list of \(name, kernel, modality\) or one kernel, got 5"),
    "no kernel": ([("a", None, "audio")], "kernel must be a name, a kernel such as RBF"),
    "a class": ([("a", RBF, "audio")], "kernel must be a name, a kernel such as RBF"),
    "no such": ([("a", "smell", "audio")], "kernel must be one of 'linear'.*got 'smell'"),
    "of a rest": ([("video", RBF(), "audio")], "names of modalities that no kernel names"),
    "of a bank": (
        [("a", RBF([0.1, 1.0]), "audio"), ("a_0", RBF(), "video")],
        "'a_0' stand twice, once as one of a bank",
    ),
}


@pytest.mark.parametrize("case", TRIPLES)
@pytest.mark.parametrize("cls", ESTIMATORS)
def test_wrong_kernels(cls, case):
    X, labels, numbers = make(0)
    kernels, message = TRIPLES[case]
    text = refused(cls(kernels), X, labels if cls is MKLClassifier else numbers)
    assert re.search(message, text, re.S)


# Kernels that are none ----------------------------------------------------------------------


def indefinite(n, seed=0):
    """Return a symmetric matrix with eigenvalues from -1 to 3 and a unit diagonal's scale."""
    rng = np.random.default_rng(seed)
    Q = np.linalg.qr(rng.normal(size=(n, n)))[0]
    K = Q * np.linspace(-1, 3, n) @ Q.T
    return (K + K.T) / 2


@pytest.mark.parametrize("cls", ESTIMATORS)
@pytest.mark.parametrize("way", ["matrix", "columns", "function", "centred"])
def test_an_indefinite_kernel_is_named_with_its_smallest_eigenvalue(cls, way, global_seed):
    X, labels, numbers = make(global_seed)
    y = labels if cls is MKLClassifier else numbers
    K = indefinite(N, global_seed)
    X["graph__row"] = np.arange(N)
    model = cls([("graph_k", Precomputed(K), "graph")], normalize=None)
    if way == "columns":
        X = X.drop(columns="graph__row")
        X[[f"graph__{i}" for i in range(N)]] = K
        model.kernels = [("graph_k", Precomputed(), "graph")]
    elif way == "function":
        model.kernels = [("graph_k", lambda A, B: K[A.astype(int), B.astype(int).T], "graph")]
    elif way == "centred" and cls is not MKLOneClass:
        model.set_params(center=True)
    message = refused(model, X, y)
    assert "kernel 'graph_k' is not positive semi-definite on the training samples" in message
    assert "nearest_psd" in message
    assert ("take center=True" in message) == (cls is not MKLOneClass and way != "centred")
    if way != "centred":
        assert "the smallest eigenvalue of its Gram matrix is -1, the largest 3" in message


def test_definite_where_coefficients_sum_to_0_is_for_centred_kernels(global_seed):
    X, y, _ = make(global_seed)
    D = -np.abs(block(X, "text") - block(X, "text").T)  # minus a distance
    X["graph__row"] = np.arange(N)
    kernels = [*KERNELS, ("far", Precomputed(D), "graph")]
    options = {"weighting": [1, 1, 1, 3], "normalize": None}
    message = refused(MKLClassifier(kernels, **options), X, y)
    assert "take center=True" in message
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a diagonal of 0 is not a kernel of 0
        model = MKLClassifier(kernels, center=True, **options).fit(X, y)
        MKLClassifier(kernels, center=True, normalize=None).fit(X, y)
    K = np.tensordot(np.array([1, 1, 1, 3]) / 6, [*grams(X, normalize=None), D], 1)
    H = np.eye(N) - 1 / N
    np.testing.assert_allclose(model.combined_kernel_, K, rtol=1e-10, atol=1e-12)
    beta = np.zeros(N)
    beta[model.support_] = model.dual_coef_[0]
    f = K @ beta + model.intercept_
    np.testing.assert_allclose(model.decision_function(X), f, rtol=1e-9, atol=1e-9)
    loss = np.maximum(0, 1 - np.where(y == "bee", 1, -1) * f).sum()
    assert model.objective_ == pytest.approx(beta @ H @ K @ H @ beta / 2 + loss, rel=1e-8)


def test_rounding_is_not_indefinite(global_seed):
    X, y, _ = make(global_seed)
    X["graph__row"] = np.arange(N)
    K = linear = block(X, "video") @ block(X, "video").T  # of rank 3
    rounded = linear.astype(np.float32).astype(np.float64)
    assert np.linalg.eigvalsh(rounded)[0] < 0
    kernels = [*KERNELS, ("graph_k", Precomputed(rounded), "graph")]
    model = MKLClassifier(kernels, weighting=[0, 0, 0, 1], normalize=None).fit(X, y)
    np.testing.assert_allclose(model.combined_kernel_, K, rtol=1e-5, atol=1e-6)


FUNCTIONS = {
    "text": (lambda A, B: "much", "must return numbers of shape"),
    "a vector": (lambda A, B: np.ones(len(A) + 1), "must return numbers of shape"),
    "NaN": (lambda A, B: np.full((len(A), len(B)), NAN), "returned NaN or infinity"),
    "no symmetry": (lambda A, B: A[:, :1] + 0 * B[:, :1].T, "must be symmetric"),
    "negative": (lambda A, B: -A @ B.T, "is not positive semi-definite"),
}


@pytest.mark.parametrize("case", FUNCTIONS)
@pytest.mark.parametrize("weighting", ["svm", "uniform"])
def test_functions_that_return_nonsense(case, weighting):
    X, y, _ = make(0)
    function, message = FUNCTIONS[case]
    model = MKLClassifier([("own", function, "video")], weighting=weighting, normalize=None)
    assert message in refused(model, X, y)


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("normalize", ["cosine", "trace", None])
def test_kernels_of_0_are_warned_of(weighting, normalize):
    X, labels, numbers = make(0)
    classes = "classes" in WEIGHTINGS[weighting].targets
    X["zero__a"] = 0.0
    kernels = [*KERNELS, ("nothing", Linear(), "zero"), ("null", lambda A, B: 0 * A @ B.T, "zero")]
    model = (MKLClassifier if classes else MKLRegressor)(kernels, weighting=weighting)
    model.set_params(normalize=normalize)
    with pytest.warns(UserWarning, match="kernels 'nothing', 'null' are 0 for every sample"):
        model.fit(X, labels if classes else numbers)
    assert np.isfinite(decide(model, X)).all()
    if weighting in ("svm", "exact", "alignment", "alignf"):
        assert not model.kernel_weights_[3:].any()


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.filterwarnings("ignore:kernels .* are 0", "ignore:no kernel", "ignore:nothing is")
def test_nothing_but_kernels_of_0(weighting):
    X, labels, numbers = make(0)
    classes = "classes" in WEIGHTINGS[weighting].targets
    model = (MKLClassifier if classes else MKLRegressor)(kernel="linear", weighting=weighting)
    model.fit(X * 0.0, labels if classes else numbers)
    np.testing.assert_array_equal(decide(model, X), np.tile(model.intercept_, (N, 1)))


@pytest.mark.parametrize("normalize", ["cosine", "trace", None])
@pytest.mark.parametrize("center", [False, True])
def test_a_constant_modality(normalize, center, global_seed):
    X, y, _ = make(global_seed)
    X["still__a"] = 3.0
    kernels = [*KERNELS, ("still", RBF(1.0), "still")]
    model = MKLClassifier(kernels, normalize=normalize, center=center, tol=1e-6).fit(X, y)
    assert model.kernel_weights_[3] == pytest.approx(0, abs=1e-3)  # the intercept does its work
    assert np.isfinite(model.decision_function(X)).all()


# Samples ------------------------------------------------------------------------------------


def test_too_few_samples_or_classes():
    X, y, numbers = make(0)
    one = np.full(N, "ant")
    assert "y has one class ('ant')" in refused(MKLClassifier(KERNELS), X, one)
    assert "one class" in refused(MKLClassifier(KERNELS), X[:1], y[:1])
    assert "0 sample" in refused(MKLRegressor(KERNELS), X[:0], numbers[:0])
    assert "X has 60, y has 59" in refused(MKLClassifier(KERNELS), X, y[:-1])
    two = MKLClassifier(KERNELS).fit(X[:2], y[:2])
    assert (two.predict(X[:2]) == y[:2]).all()
    single = MKLRegressor(KERNELS).fit(X[:1], numbers[:1])
    np.testing.assert_allclose(single.predict(X[:1]), numbers[:1])
    assert MKLOneClass(KERNELS).fit(X[:1]).decision_function(X).shape == (N,)


SAMPLE_WEIGHTS = {
    "NaN": (lambda: np.where(np.arange(N) == 3, NAN, 1), "sample_weight contains NaN"),
    "negative": (lambda: np.where(np.arange(N) == 3, -1, 1), "Negative values .*`sample_weight`"),
    "all 0": (lambda: np.zeros(N), "Sample weights must contain at least one non-zero"),
    "too few": (lambda: np.ones(3), r"sample_weight.shape == \(3,\), expected \(60,\)"),
    "too large": (lambda: np.full(N, 1e200), "sample_weight goes up to 1e\\+200"),
}


@pytest.mark.parametrize("case", SAMPLE_WEIGHTS)
@pytest.mark.parametrize("cls", ESTIMATORS)
def test_wrong_sample_weights(cls, case):
    X, labels, numbers = make(0)
    weight, message = SAMPLE_WEIGHTS[case]
    y = labels if cls is MKLClassifier else numbers
    assert re.search(message, refused(cls(KERNELS), X, y, sample_weight=weight()))


@pytest.mark.parametrize("weight", [-1.0, NAN, INF])
def test_wrong_class_weights(weight):
    X, y, _ = make(0)
    message = refused(MKLClassifier(KERNELS, class_weight={"ant": 1.0, "bee": weight}), X, y)
    assert f"class_weight must be finite and not negative, got {weight} for class 'bee'" in message


@pytest.mark.parametrize("weighting", [n for n, w in WEIGHTINGS.items() if "classes" in w.targets])
@pytest.mark.parametrize("class_weight", [None, "balanced"])
@pytest.mark.filterwarnings("error", "ignore:no kernel")
def test_a_class_without_weight_is_never_found(weighting, class_weight, global_seed):
    X, y, _ = make(global_seed, n_classes=4)
    weight = np.where(y == "bee", 0.0, 1.0)
    for multi_class in ("shared", "per_class", "ovo"):
        model = MKLClassifier(
            KERNELS, weighting=weighting, class_weight=class_weight, multi_class=multi_class
        )
        found = model.fit(X, y, sample_weight=weight).predict(X)
        assert list(model.classes_) == ["ant", "bee", "cow", "dog"]
        assert "bee" not in found
        assert not (model.dual_coef_[:, np.isin(model.support_, np.flatnonzero(y == "bee"))]).any()


@pytest.mark.parametrize("way", ["sample_weight", "class_weight"])
def test_one_class_with_weight_is_refused(way):
    X, y, _ = make(0)
    weight = np.where(y == "bee", 0.0, 1.0) if way == "sample_weight" else None
    by_class = {"ant": 1.0, "bee": 0.0} if way == "class_weight" else "balanced"
    message = refused(MKLClassifier(KERNELS, class_weight=by_class), X, y, sample_weight=weight)
    assert "of the classes 'ant', 'bee' sample_weight and class_weight leave 'ant'" in message


@pytest.mark.parametrize("value", [NAN, INF])
def test_numbers_missing_inside_a_modality(value, global_seed):
    X, y, _ = make(global_seed)
    model = MKLClassifier(KERNELS, weighting="uniform").fit(X, y)
    bad = X.copy()
    bad.iloc[7, 3] = value
    for call in (lambda: clone(model).fit(bad, y), lambda: model.predict(bad)):
        with pytest.raises(ValueError, match="NaN" if np.isnan(value) else "infinity") as caught:
            call()
        assert "'video'" in str(caught.value.__notes__)


def test_a_gram_matrix_of_another_width():
    X, y, _ = make(0)
    K = grams(X)[0]
    columns = {"graph": slice(0, N)}
    model = MKLClassifier(Precomputed(), columns).fit(K, y)
    with pytest.raises(ValueError, match="50 features, but MKLClassifier is expecting 60"):
        model.predict(K[:5, :50])
    narrow = MKLClassifier(Precomputed(), {"graph": slice(0, 50)}, normalize=None)
    assert "Gram matrix" in refused(narrow, K[:, :50], y)
    message = refused(MKLClassifier(Precomputed(), columns), 2 * K, y)
    assert "use normalize='trace' or None" in message


EXTREMES = [1e308, 1e200, 1e154, 1e-154, 1e-200, 1e-310]


@pytest.mark.parametrize("scale", EXTREMES)
@pytest.mark.parametrize("kernel", ["rbf", "linear", RBF(1.0), "polynomial"], ids=str)
@pytest.mark.parametrize("normalize", ["cosine", "trace", None])
@pytest.mark.filterwarnings("ignore")
def test_extreme_features_are_answered_or_refused_by_name(scale, kernel, normalize):
    X, y, _ = make(0)
    new, X = 0.5 * np.sign(X) * scale, np.sign(X) * scale
    model = MKLClassifier(kernel=kernel, normalize=normalize)
    try:
        found = model.fit(X, y).decision_function(new)
        assert np.isfinite(found).all()
    except ValueError as error:
        text = "\n".join([str(error), *getattr(error, "__notes__", [])])
        assert "'audio'" in text
        assert "rescale" in text or "must be a table of finite numbers" in text


def test_new_samples_that_overflow_are_refused(global_seed):
    X, y, _ = make(global_seed)
    for normalize in ("cosine", "trace", None):
        model = MKLClassifier(kernel="linear", normalize=normalize).fit(X, y)
        with pytest.raises(ValueError, match=r"overflow.* rescale"):
            model.predict(np.sign(X) * 1e308 if normalize != "cosine" else X * 1e200)


@pytest.mark.parametrize("multi_class", ["shared", "per_class"])
def test_three_hundred_classes(multi_class):
    rng = np.random.default_rng(0)
    y = np.arange(600) % 300
    V = rng.normal(size=(300, 6))[y] + 0.1 * rng.normal(size=(600, 6))
    columns = {"audio": [0, 1], "video": [2, 3, 4], "text": [5]}
    model = MKLClassifier(modalities=columns, multi_class=multi_class)
    assert model.fit(V, y).score(V, y) > 0.95
    assert model.decision_function(V[:3]).shape == (3, 300)


def test_weights_by_class_make_no_kernel_twice(monkeypatch):
    X, y, _ = make(0, n_classes=4)
    calls = []

    def counted(A, B):
        calls.append(len(A))
        return A @ B.T

    kernels = [("own", counted, "audio"), *KERNELS[1:]]
    options = {"normalize": None, "multi_class": "per_class"}
    for weighting in ("svm", "uniform", [1, 1, 1]):
        model = MKLClassifier(kernels, weighting=weighting, **options)
        calls.clear()
        model.fit(X, y)
        assert sum(size > 1 for size in calls) <= 3  # checked, stored or summed
        calls.clear()
        model.decision_function(X)
        assert len(calls) <= 1


def test_not_converged_is_warned_of_with_the_gap(global_seed):
    X, y, _ = make(global_seed)
    model = MKLClassifier(KERNELS, max_iter=1, tol=1e-9)
    with pytest.warns(ConvergenceWarning, match="duality gap relative to the obj") as caught:
        model.fit(X, y)
    left = float(re.search(r"left is ([\d.e+-]+)", str(caught[0].message))[1])
    assert left == pytest.approx(model.duality_gap_ / model.objective_, rel=0.06)
    assert model.n_iter_ == 1
    assert np.isfinite(model.decision_function(X)).all()
