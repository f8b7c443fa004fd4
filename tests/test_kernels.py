"""Every kernel against loops in long double, and what its traits say; how kernels compose."""

import inspect
import itertools
import pickle
import tracemalloc

import numpy as np
import oracles_kernels as oracles
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from scipy.spatial.distance import pdist
from sklearn.base import clone
from sklearn.gaussian_process import kernels as gaussian_process
from sklearn.metrics import pairwise
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.svm import SVC

from mkfusion.kernels import (
    KERNELS,
    RBF,
    AdditiveChi2,
    Categorical,
    Chi2,
    Cosine,
    FunctionKernel,
    Laplacian,
    Linear,
    Matern,
    Polynomial,
    Precomputed,
    Product,
    RationalQuadratic,
    Scaled,
    Sigmoid,
    Sum,
    _plan,
    _tile,
    as_kernel,
    combine,
    diagonal,
    gram,
    stack,
)
from mkfusion.kernels._vector import MEDIAN_SAMPLES, VECTOR_KERNELS

NAMES = list(VECTOR_KERNELS)
TYPES = [np.float64, np.float32]
ignore_matrix = pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
SIZES = [0, 1, 2, 3, 7, 11]  # rows; those near a panel have a test of their own
needs_long_double = pytest.mark.skipif(
    not oracles.EXACT, reason="long double is no wider than double here"
)

#: Every kernel in every form that changes its formula.
FORMS = {
    "polynomial": [{"degree": degree} for degree in (1, 2, 3, 8, 63)],
    "matern": [{"nu": nu} for nu in (0.5, 1.5, 2.5)],
    "rational_quadratic": [{"alpha": alpha} for alpha in (0.3, 1.0, 5.0, 1e8)],
}
CASES = [(name, form) for name in NAMES for form in FORMS.get(name, [{}])]
case_of = pytest.mark.parametrize(
    ("name", "form"),
    CASES,
    ids=lambda value: value if isinstance(value, str) else "-".join(map(str, value.values())),
)


def rows(name, rng, n, d):
    """Return ordinary data that the kernel takes."""
    if name == "categorical":
        return rng.integers(0, 3, (n, d)).astype(float)
    X = rng.normal(size=(n, d))
    return np.abs(X) if VECTOR_KERNELS[name].nonnegative_input else X


def kernel_for(name, X, form=None):
    """Return the kernel with its defaults, made numbers on X."""
    return VECTOR_KERNELS[name](**(form or {})).resolve(X)


def numbered(name, **others):
    """Return the kernel with gamma or length_scale a number."""
    known = VECTOR_KERNELS[name]().get_params()
    given = {"gamma": 0.2} if "gamma" in known else {}
    given |= {"length_scale": 2.0} if "length_scale" in known else {}
    return VECTOR_KERNELS[name](**given, **others)


def all_kernels(rng, n, d):
    """Yield every kernel of the registry with data for it."""
    for name, form in CASES:
        X = rows(name, rng, n, d)
        yield kernel_for(name, X, form), X


# Against loops in long double ---------------------------------------------------------------


def check_values(K, name, X, Y, params, entries=None):
    """Compare with the loop at some entries, each within the bound that its arithmetic has."""
    if entries is None:
        entries = itertools.product(range(len(X)), range(len(Y)))
    largest = np.finfo(K.dtype).max
    for i, j in entries:
        exact, bound = oracles.value_and_bound(name, X[i], Y[j], K.dtype, **params)
        if abs(exact) > largest:
            assert abs(exact) - bound <= largest or K[i, j] == np.sign(exact) * np.inf
        else:
            assert abs(K[i, j] - exact) <= bound, (name, params, i, j, K[i, j], exact)


@st.composite
def blocks(draw, name, dtype):
    """Return X, Y, and parameters of the kernel in the proportion of the data."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_x, n_y = draw(st.sampled_from(SIZES)), draw(st.sampled_from(SIZES))
    d = draw(st.sampled_from([1, 2, 3, 4, 5, 8, 13]))
    offset = draw(st.sampled_from([0.0, 0.0, 1e3, 1e6]))
    form = draw(st.sampled_from(FORMS.get(name, [{}])))
    # Squares of the largest stay finite, and those of the smallest stay normal numbers.
    narrow = offset or form.get("alpha", 0) > 100
    widest = (140 if narrow else 150) if dtype == np.float64 else (10 if narrow else 15)
    scale = 10.0 ** draw(st.integers(-widest, widest))
    content = draw(st.sampled_from(["normal", "few values", "zeros"]))
    X, Y = (rng.normal(size=(n, d)) for n in (n_x, n_y))
    if content == "few values":
        X, Y = (rng.integers(-2, 3, size=block.shape).astype(float) for block in (X, Y))
    if content == "zeros":
        X, Y = (block * (rng.random(block.shape) < 0.4) for block in (X, Y))
    X, Y = ((scale * (block + offset)).astype(dtype) for block in (X, Y))
    if VECTOR_KERNELS[name].nonnegative_input:
        X, Y = np.abs(X), np.abs(Y)
    factor = 10.0 ** draw(st.floats(-2, 2))
    params = dict(form)
    known = inspect.signature(VECTOR_KERNELS[name]).parameters
    if "gamma" in known:
        power = 1 if name in ("laplacian", "chi2") else 2
        params["gamma"] = factor / d / scale**power
    if "length_scale" in known:
        params["length_scale"] = factor * scale
    if "coef0" in known:
        params["coef0"] = draw(st.sampled_from([0.0, 1.0, -0.7]))
    return X, Y, params


def layouts(X):
    """Return the same numbers as they may lie in memory."""
    wide = np.zeros((2 * len(X) + 1, 2 * X.shape[1] + 1), X.dtype)
    wide[1::2, 1::2] = X
    fixed = X.copy()
    fixed.flags.writeable = False
    return {
        "C": X.copy(),
        "Fortran": np.asfortranarray(X),
        "strided": wide[1::2, 1::2],
        "negative strides": X[::-1, ::-1].copy()[::-1, ::-1],
        "read-only": fixed,
    }


def test_every_kernel_has_its_loop():
    assert set(oracles.NAMES) == set(NAMES)
    assert list(KERNELS) == [*NAMES, "global_alignment", "spectrum", "precomputed"]
    for name, forms in FORMS.items():
        assert set(forms[0]) <= set(inspect.signature(KERNELS[name]).parameters)


@needs_long_double
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("name", NAMES)
def test_values_equal_loops(name, dtype):
    @settings(max_examples=20)
    @given(blocks(name, dtype))
    def check(case):
        X, Y, params = case
        kernel = VECTOR_KERNELS[name](**params)
        K = gram(X, Y, kernel)
        assert K.dtype == dtype
        assert K.shape == (len(X), len(Y))
        check_values(K, name, X, Y, params)
        assert_array_equal(gram(X, kernel=kernel), gram(X, X.copy(), kernel))
        for way, laid in layouts(X).items():
            before = laid.copy()
            assert_array_equal(gram(laid, Y, kernel), K, err_msg=way)
            assert_array_equal(laid, before)

    check()


@needs_long_double
@pytest.mark.parametrize("dtype", TYPES)
@case_of
def test_twelve_digits_on_ordinary_data(name, form, dtype, global_seed):
    """Features of one sign, so that sums do not cancel: the whole error is relative."""
    rng = np.random.default_rng(global_seed)
    for n, d in [(3, 300), (130, 17)]:
        X = np.abs(rows(name, rng, n, d)).astype(dtype)
        kernel = kernel_for(name, X, form)
        K = gram(X, kernel=kernel)
        entries = [(0, 0), (0, n - 1), (n - 1, 0), *rng.integers(0, n, (20, 2))]
        for i, j in entries:
            exact = oracles.value(name, X[i], X[j], **kernel.get_params())
            if dtype == np.float64:
                assert abs(K[i, j] - exact) <= 1e-12 * abs(exact)
            else:  # d roundings of the sum and some more, for each power and in the exponent
                roundings = (d + 30) * form.get("degree", 1) * (1 + abs(np.log(abs(exact or 1))))
                off = roundings * np.finfo(dtype).eps / 2 * abs(exact)
                assert abs(exact) > np.finfo(dtype).max or (
                    abs(K[i, j] - exact) <= off + np.finfo(dtype).smallest_subnormal * 4
                )


@needs_long_double
@pytest.mark.parametrize("dtype", TYPES)
def test_elementary_functions_to_the_last_digits(dtype, global_seed):
    """One feature, so that the sum is exact: what is left is exp, tanh, and exp of a logarithm."""
    rng = np.random.default_rng(global_seed)
    largest = 745 if dtype == np.float64 else 104
    x = np.concatenate([
        np.linspace(0, largest, 5001), 10 ** rng.uniform(-20, 3, 5000), rng.uniform(0, 2, 5000),
    ]).astype(dtype)[:, None]  # fmt: skip
    zero, one = np.zeros((1, 1), dtype), np.ones((1, 1), dtype)
    exact = x[:, 0].astype(np.longdouble)
    logs = np.log1p(exact**2 / 2)
    for kernel, Y, X, expected, units in [
        (Laplacian(gamma=1.0), zero, x, np.exp(-exact), 1.0),
        (Sigmoid(gamma=1.0), one, x, np.tanh(exact), 4.0),
        (Sigmoid(gamma=1.0), one, -x, -np.tanh(exact), 4.0),
        (RationalQuadratic(1.0, 1.0), zero, x, np.exp(-logs), 3 + 2 * logs),
    ]:
        K = gram(X, Y, kernel)[:, 0]
        unit = np.spacing(np.abs(expected).astype(dtype)).astype(np.longdouble)
        assert (np.abs(K - expected) <= units * unit).all(), kernel


@needs_long_double
@pytest.mark.parametrize("n", [127, 128, 129])
@pytest.mark.parametrize("name", NAMES)
def test_values_equal_loops_around_a_panel(name, n, global_seed):
    rng = np.random.default_rng([global_seed, n])
    d = int(rng.choice([1, 4, 63, 65]))
    X, Y = rows(name, rng, n, d), rows(name, rng, 256 + n, d)
    kernel = kernel_for(name, X)
    edges = [0, 1, 3, 4, 126, 127, 128, 129, 255, 256, 257, n - 1, n + 255]
    entries = [(i, j) for i in edges if i < n for j in edges]
    entries = [entries[k] for k in rng.choice(len(entries), 25, replace=False)]
    check_values(gram(X, Y, kernel), name, X, Y, kernel.get_params(), entries)
    K = gram(Y, kernel=kernel)
    check_values(K, name, Y, Y, kernel.get_params(), [(n + 255, 0), (127, 128), (128, n + 127)])


@needs_long_double
@pytest.mark.parametrize("offset", [1e3, 1e6])
@pytest.mark.parametrize("name", NAMES)
def test_data_far_from_the_origin_lose_nothing(name, offset, global_seed):
    rng = np.random.default_rng(global_seed)
    X = rows(name, rng, 40, 5) + offset
    spread = float(np.square(X - X.mean(axis=0)).sum(axis=1).mean())
    params = {"gamma": 1 / spread} if hasattr(VECTOR_KERNELS[name](), "gamma") else {}
    if hasattr(VECTOR_KERNELS[name](), "length_scale"):
        params = {"length_scale": np.sqrt(spread)}
    kernel = VECTOR_KERNELS[name](**params)
    K = gram(X, kernel=kernel)
    expected = oracles.matrix(name, X, X, **kernel.get_params())
    assert (np.abs(K - expected) <= 1e-12 * np.abs(expected)).all()
    if name == "rbf":  # the usual way to distances, |x|^2 - 2 x'y + |y|^2, does lose
        assert np.abs(pairwise.rbf_kernel(X, gamma=1 / spread) / expected - 1).max() > 1e-12


@pytest.mark.parametrize("name", NAMES)
@given(
    signs=arrays(
        np.float64,
        array_shapes(min_dims=2, max_dims=2, max_side=5),
        elements=st.sampled_from([-1.0, 0.0, 0.5, 1.0]),
    ),
    scale=st.sampled_from([1e-320, 1e-200, 1e-160, 1e160, 1e200, 1e308]),
)
@settings(max_examples=15)
def test_beyond_the_range_of_squares(name, signs, scale):
    """Sums overflow to infinity or underflow to 0 as IEEE has it, and what is bounded stays so."""
    X = scale * (np.abs(signs) if VECTOR_KERNELS[name].nonnegative_input else signs)
    kernel = numbered(name)
    K = gram(X, kernel=kernel)
    assert_array_equal(K, K.T)
    if name not in ("linear", "polynomial", "sigmoid"):  # infinity - infinity is none of theirs
        assert not np.isnan(K).any()
    if kernel.unit_diagonal:
        assert np.abs(K).max() <= 1.0 + 1e-15
        present = X.any(axis=1) if name == "cosine" else np.ones(len(X))
        assert_array_equal(K.diagonal(), present)


@pytest.mark.parametrize("dtype", TYPES)
def test_chi2_of_the_smallest_and_the_largest_numbers(dtype):
    """The squared difference alone would be 0 or infinity."""
    for x in (np.finfo(dtype).tiny * 8, np.finfo(dtype).max / 8):
        X = np.array([[x], [3 * x]], dtype)
        K = gram(X, kernel="additive_chi2")
        assert_allclose(K, [[0, -x], [-x, 0]], rtol=4 * np.finfo(dtype).eps)


# Against scikit-learn -----------------------------------------------------------------------

THEIRS = {
    "linear": lambda X, Y: pairwise.linear_kernel(X, Y),
    "polynomial": lambda X, Y: pairwise.polynomial_kernel(X, Y, degree=3, gamma=0.2, coef0=1.0),
    "sigmoid": lambda X, Y: pairwise.sigmoid_kernel(X, Y, gamma=0.2, coef0=0.0),
    "cosine": lambda X, Y: pairwise.cosine_similarity(X, Y),
    "rbf": lambda X, Y: pairwise.rbf_kernel(X, Y, gamma=0.2),
    "laplacian": lambda X, Y: pairwise.laplacian_kernel(X, Y, gamma=0.2),
    "chi2": lambda X, Y: pairwise.chi2_kernel(X, Y, gamma=0.2),
    "additive_chi2": lambda X, Y: pairwise.additive_chi2_kernel(X, Y),
    "histogram_intersection": lambda X, Y: np.array([np.minimum(x, Y).sum(axis=1) for x in X]),
    "matern": lambda X, Y: gaussian_process.Matern(2.0, nu=1.5)(X, Y),
    "rational_quadratic": lambda X, Y: gaussian_process.RationalQuadratic(2.0, alpha=1.0)(X, Y),
    "categorical": lambda X, Y: 1 - pairwise.pairwise_distances(X, Y, metric="hamming"),
}


@pytest.mark.interface
@pytest.mark.parametrize("name", NAMES)
def test_equals_scikit_learn(name, global_seed):
    rng = np.random.default_rng(global_seed)
    X, Y = rows(name, rng, 150, 6), rows(name, rng, 131, 6)
    ours = gram(X, Y, numbered(name))
    assert_allclose(ours, THEIRS[name](X, Y), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("nu", [0.5, 1.5, 2.5])
def test_matern_equals_scikit_learn(nu, global_seed):
    X = rows("matern", np.random.default_rng(global_seed), 60, 3)
    for length_scale in (0.3, 4.0):
        theirs = gaussian_process.Matern(length_scale, nu=nu)(X)
        assert_allclose(Matern(length_scale, nu)(X), theirs, rtol=1e-12, atol=1e-15)


def test_rational_quadratic_equals_scikit_learn_and_goes_to_the_gaussian(global_seed):
    X = rows("rbf", np.random.default_rng(global_seed), 60, 3)
    for alpha in (0.2, 3.0):
        theirs = gaussian_process.RationalQuadratic(1.5, alpha=alpha)(X)
        assert_allclose(RationalQuadratic(1.5, alpha)(X), theirs, rtol=1e-12)
    wide = RationalQuadratic(1.5, alpha=1e9)(X)
    assert_allclose(wide, RBF(gamma=0.5 / 1.5**2)(X), rtol=1e-6)


def test_a_support_vector_machine_takes_a_kernel(global_seed):
    rng = np.random.default_rng(global_seed)
    X = rng.normal(size=(80, 4))
    y = (X[:, 0] + rng.normal(size=80) > 0).astype(int)
    theirs = SVC(kernel="rbf", gamma=0.3).fit(X, y)
    ours = SVC(kernel=RBF(gamma=0.3)).fit(X, y)
    assert_allclose(ours.decision_function(X), theirs.decision_function(X), rtol=0, atol=1e-9)
    scale = SVC(kernel="rbf", gamma="scale").fit(X, y)
    assert_allclose(RBF(gamma="scale").resolve(X).gamma, scale._gamma, rtol=1e-14)


def test_a_grid_search_names_the_parameters_of_parts(global_seed):
    rng = np.random.default_rng(global_seed)
    X, y = rng.normal(size=(60, 3)), rng.integers(0, 2, 60)
    kernel = RBF(gamma=1.0) + 0.5 * Polynomial(gamma=1.0)
    grid = {"kernel__k1__gamma": [0.1, 1.0], "kernel__k2__kernel__degree": [2]}
    search = GridSearchCV(SVC(kernel=kernel), grid, cv=2).fit(X, y)
    best = search.best_estimator_.kernel
    assert best.k1.gamma == search.best_params_["kernel__k1__gamma"]
    assert best.k2.kernel.degree == 2
    assert kernel.k2.kernel.degree == 3  # the grid's own copies


# What the traits say ------------------------------------------------------------------------


@pytest.mark.interface
@pytest.mark.parametrize("dtype", TYPES)
@case_of
def test_traits(name, form, dtype, global_seed):
    rng = np.random.default_rng(global_seed)
    X = rows(name, rng, 140, 5).astype(dtype)
    X[7] = 0
    X[9] = X[8]
    kernel = kernel_for(name, X, form)
    K = gram(X, kernel=kernel)
    assert_array_equal(K, K.T)
    assert_array_equal(K, gram(X, X.copy(), kernel))
    assert_array_equal(gram(X, X[::-1], kernel), K[:, ::-1])
    assert_array_equal(K[8], K[9])
    if kernel.unit_diagonal:
        present = X.any(axis=1) if name == "cosine" else np.ones(len(X))
        assert_array_equal(K.diagonal(), present)
    else:
        assert (K.diagonal() != 1).any()
    if not np.isfinite(K).all():
        assert form == {"degree": 63}
        return
    rounding = len(X) * float(np.abs(K).max()) * float(np.finfo(dtype).eps)
    wide = K.astype(float)
    if kernel.positive_definite:
        assert np.linalg.eigvalsh(wide).min() >= -rounding
        assert kernel.conditionally_positive_definite
    if kernel.conditionally_positive_definite:
        centred = wide - wide.mean(axis=0) - wide.mean(axis=1)[:, None] + wide.mean()
        assert np.linalg.eigvalsh(centred).min() >= -4 * rounding
    if kernel.nonnegative_input:
        below = X.copy()
        below[3, 2] = -1e-30
        for given in [(below,), (X, below)]:
            message = r"not negative; [XY] holds -1e-30 in row 3, column 2"
            with pytest.raises(ValueError, match=message):
                gram(*given, kernel=kernel)
    else:
        gram(-X, kernel=kernel)


@pytest.mark.parametrize(
    ("kernel", "X", "trait"),
    [
        (Sigmoid(gamma=1.0), [[1.0], [2.0]], "conditionally_positive_definite"),
        (AdditiveChi2(), [[1.0], [2.0]], "positive_definite"),
        (Polynomial(gamma=1.0, degree=2, coef0=-1.0), [[1.0], [2.0], [0.5]], "positive_definite"),
    ],
)
def test_traits_that_are_false_are_false(kernel, X, trait):
    assert getattr(kernel, trait) is False
    K = kernel(X)
    if trait == "conditionally_positive_definite":
        assert K[0, 0] - 2 * K[0, 1] + K[1, 1] < -1e-3
    else:
        assert np.linalg.eigvalsh(K).min() < -1e-3


def test_diagonal_is_that_of_the_gram(global_seed):
    rng = np.random.default_rng(global_seed)
    for kernel, X in all_kernels(rng, 30, 4):
        K = gram(X, kernel=kernel)
        if kernel.unit_diagonal:
            assert_array_equal(diagonal(X, kernel), K.diagonal())
        tolerance = 1e-13 * max(1, getattr(kernel, "degree", 1))
        assert_allclose(diagonal(X, kernel), K.diagonal(), rtol=tolerance)
    composite = 0.5 * RBF(gamma=1.0) * Linear() + Categorical()
    assert_allclose(diagonal(X, composite), gram(X, kernel=composite).diagonal(), rtol=1e-14)
    with pytest.raises(ValueError, match="is a bank"):
        diagonal(X, RBF(gamma=[1.0, 2.0]))
    with pytest.raises(TypeError, match="k1 of Sum must be a kernel"):
        diagonal(X, Sum("rbf", Linear()))


# The cut does not matter ---------------------------------------------------------------------


def cut_by_chance(seed):
    """Return a way to cut plans into tasks of any height and width, in any order."""

    def tasks(plan, n_threads):
        rng = np.random.default_rng(seed)
        n_panels = -(-plan.n_columns // _tile.PANEL)
        widest = n_panels if plan.single else _plan.CHUNK
        found = []
        for strip in range(-(-plan.n_rows // _tile.PANEL)):
            i0, end = strip * _tile.PANEL, min((strip + 1) * _tile.PANEL, plan.n_rows)
            while i0 < end:
                i1 = min(end, i0 + int(rng.integers(1, _tile.PANEL + 1)))
                p0 = strip if plan.symmetric else 0
                while p0 < n_panels:
                    p1 = min(n_panels, p0 + int(rng.integers(1, widest + 1)))
                    found.append(_plan.Task(i0, i1, p0, p1))
                    p0 = p1
                i0 = i1
        rng.shuffle(found)
        return [_plan.Task(*map(int, task)) for task in found]

    return tasks


def mixtures(rng, n, d):
    """Return kernels that take every way through a plan, with data for all of them."""
    X = np.abs(rng.normal(size=(n, d)))
    rbf, product = RBF(gamma=0.3), Linear() * Cosine() * RBF(gamma=0.1)
    given = FunctionKernel(lambda A, B: np.tanh(A @ B.T))
    return X, [rbf, rbf + 0.5 * Chi2() + product, RBF(gamma=[0.1, 1.0]), product * given + given]


@pytest.mark.parametrize("chunk", [1, 2, 3, 7])
def test_any_cut_gives_the_same_bits(chunk, monkeypatch, global_seed):
    rng = np.random.default_rng([global_seed, chunk])
    X, kernels = mixtures(rng, 400, 3)
    Y = X[:300] + 0.1
    whole = [(gram(X, kernel=kernel), gram(X, Y, kernel)) for kernel in kernels]
    monkeypatch.setattr(_plan, "CHUNK", chunk)
    for cut in (_plan.Plan.tasks, cut_by_chance(global_seed)):
        monkeypatch.setattr(_plan.Plan, "tasks", cut)
        for kernel, (K, L) in zip(kernels, whole, strict=True):
            assert_array_equal(gram(X, kernel=kernel), K)
            assert_array_equal(gram(X, Y, kernel), L)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("name", NAMES)
def test_rows_alone_are_rows_of_the_whole(name, dtype, global_seed):
    rng = np.random.default_rng(global_seed)
    X = rows(name, rng, 261, 70).astype(dtype)
    kernel = kernel_for(name, X)
    K = gram(X, kernel=kernel)
    for i in (0, 1, 127, 128, 130, 260):
        assert_array_equal(gram(X[i : i + 1], X, kernel), K[i : i + 1])
        assert_array_equal(gram(X, X[i : i + 1], kernel), K[:, i : i + 1])
    some = rng.permutation(261)[:50]
    assert_array_equal(gram(X[some], kernel=kernel), K[np.ix_(some, some)])


@pytest.mark.interface
def test_any_number_of_threads_gives_the_same_bits(monkeypatch, global_seed):
    rng = np.random.default_rng(global_seed)
    monkeypatch.setattr(_plan, "SERIAL", 0)
    used = []
    on_threads = _plan.on_threads
    monkeypatch.setattr(
        _plan,
        "on_threads",
        lambda work, tasks, n: (used.append(min(n, len(tasks))), on_threads(work, tasks, n)),
    )
    for kernel, X in [*all_kernels(rng, 400, 3), *((k, mixtures(rng, 400, 3)[0])
                                                   for k in mixtures(rng, 1, 3)[1])]:  # fmt: skip
        ones = gram(X, kernel=kernel, n_jobs=1)
        for n_jobs in (2, 4):
            assert_array_equal(gram(X, kernel=kernel, n_jobs=n_jobs), ones)
    assert set(used) == {1, 2, 4}


def test_large_matrices_use_threads_by_themselves(global_seed):
    X = np.random.default_rng(global_seed).normal(size=(1400, 3))
    assert len(X) ** 2 * 3 > _plan.SERIAL
    ones = gram(X, kernel=RBF(gamma=0.5))
    for n_jobs in (2, 4, -1):
        assert_array_equal(gram(X, kernel=RBF(gamma=0.5), n_jobs=n_jobs), ones)
    assert_allclose(ones[:5], np.exp(-0.5 * ((X[:5, None] - X) ** 2).sum(axis=2)), rtol=1e-13)


# What goes in -------------------------------------------------------------------------------


def test_all_kinds_of_tables(tmp_path, global_seed):
    whole = np.random.default_rng(global_seed).integers(0, 9, (20, 3))
    np.save(tmp_path / "X.npy", whole.astype(float))
    frame = pd.DataFrame(whole, columns=["a", 2, ("b", "c")], index=np.zeros(20, int))
    tables = {
        "int8": whole.astype(np.int8),
        "uint64": whole.astype(np.uint64),
        "float16": whole.astype(np.float16),
        "long double": whole.astype(np.longdouble),
        "big-endian": whole.astype(">f8"),
        "objects": whole.astype(object),
        "list": whole.tolist(),
        "tuples": tuple(map(tuple, whole.tolist())),
        "frame": frame,
        "nullable": frame.astype("Int64"),
        "nullable floats": frame.astype("Float64"),
        "polars": pl.DataFrame(whole),
        "mapped": np.load(tmp_path / "X.npy", mmap_mode="r"),
        "unmasked": np.ma.masked_array(whole),
    }
    for kernel in (RBF(gamma=0.1), Chi2(), Cosine(), Categorical()):
        expected = gram(whole.astype(float), kernel=kernel)
        for kind, table in tables.items():
            assert_array_equal(gram(table, kernel=kernel), expected, err_msg=kind)
            assert_array_equal(gram(table, whole, kernel), expected, err_msg=kind)
    truth = whole > 4
    assert_array_equal(gram(truth, kernel="linear"), truth.astype(float) @ truth.T.astype(float))


def test_empty_tables_make_empty_matrices():
    none, some = np.empty((0, 3)), np.ones((200, 3))
    given = FunctionKernel(lambda A, B: A @ B.T)
    for kernel in (RBF(gamma=1.0), RBF(gamma=1.0) + Linear() * Chi2(), given, given * Linear()):
        assert gram(none, kernel=kernel).shape == (0, 0)
        assert gram(none, some, kernel).shape == (0, 200)
        assert gram(some, none, kernel).shape == (200, 0)
    assert gram(some, none, RBF(gamma=[1.0, 2.0])).shape == (2, 200, 0)
    assert combine(["linear", "cosine"], [1.0, 1.0], some, none).shape == (200, 0)
    with pytest.raises(ValueError, match="gamma='scale' needs samples, and X has none"):
        gram(none)


WRONG = {
    "NaN": ([[np.nan, 1.0]], "NaN"),
    "infinity": ([[np.inf, 1.0]], "infinity"),
    "too large": (
        np.array([[np.longdouble("1e400"), 1]]) if oracles.EXACT else [[np.inf, 1]],
        "inf",
    ),
    "text": (np.array([["a", "b"]]), "numeric"),
    "digits": (np.array([["1", "2"]]), "numeric"),
    "text in objects": (np.array([["a", 1.0]], object), "'a'"),
    "dates": (np.array([["2020-01-01", "2020-01-02"]], "M8[D]"), "datetime64"),
    "a column of dates": (
        pd.DataFrame({"a": pd.to_datetime(["2020"]), "b": [1.0]}),
        "(?i)datetime|timestamp",
    ),
    "categories": (pd.DataFrame({"a": pd.Categorical(["x"]), "b": [1.0]}), "'x'"),
    "missing cells": (pd.DataFrame({"a": pd.array([None], "Int64"), "b": [1.0]}), "NaN"),
    "complex": (np.array([[1j, 1.0]]), "[Cc]omplex"),
    "one dimension": ([1.0, 2.0], "1D array"),
    "three dimensions": (np.ones((1, 2, 1)), "dim 3"),
    "no features": (np.ones((1, 0)), "0 feature"),
    "ragged": ([[1.0, 2.0], [1.0]], "inhomogeneous"),
    "sparse": (sparse.csr_array(np.ones((1, 2))), "toarray"),
    "masked": (np.ma.masked_array([[1.0, 2.0]], [[True, False]]), "mask"),
    "nothing": (None, "None"),
    "a word": ("rbf", "rbf"),
    "a number": (3.0, "scalar"),
    "a dict": ({"a": [1.0]}, "dict|scalar"),
    "an iterator": (iter([[1.0, 2.0]]), "scalar|iterator"),
}


@pytest.mark.filterwarnings("ignore:overflow encountered in cast:RuntimeWarning")
@pytest.mark.parametrize("what", WRONG)
@pytest.mark.parametrize("kernel", [RBF(gamma=1.0), Chi2(), RBF(), Linear() + Cosine()], ids=str)
def test_what_is_no_table_of_numbers_is_refused_by_name(what, kernel):
    table, message = WRONG[what]
    with pytest.raises((ValueError, TypeError), match=message) as caught:
        gram(table, kernel=kernel)
    assert str(caught.value).startswith("X ")
    if table is not None and kernel.get_params() != RBF().get_params():
        with pytest.raises((ValueError, TypeError), match=message) as caught:
            gram([[1.0, 2.0]], table, kernel)
        assert str(caught.value).startswith("Y ")


def test_different_features_are_refused():
    for kernel in (RBF(gamma=1.0), Linear() * Cosine()):
        with pytest.raises(ValueError, match="X has 2, Y has 3"):
            gram(np.ones((4, 2)), np.ones((4, 3)), kernel)


# What comes out ------------------------------------------------------------------------------


def test_types_of_results(global_seed):
    X = np.random.default_rng(global_seed).normal(size=(140, 3))
    single = X.astype(np.float32)
    for kernel in (RBF(gamma=0.5), Cosine(), RBF(gamma=0.5) + Linear() * Cosine()):
        K = gram(X, kernel=kernel)
        assert_array_equal(gram(X, kernel=kernel, dtype=np.float32), K.astype(np.float32))
        assert_array_equal(
            gram(X, kernel=kernel, out=np.empty((140, 140), np.float32)), K.astype(np.float32)
        )
        L = gram(single, kernel=kernel)
        assert L.dtype == np.float32
        assert_array_equal(gram(single, kernel=kernel, dtype="float64"), L.astype(float))
        # One block of float64 is enough to work in it.
        assert gram(single, X, kernel).dtype == np.float64
        assert_array_equal(gram(single, X, kernel), gram(single.astype(float), X, kernel))
    assert gram(single, kernel=FunctionKernel(pairwise.linear_kernel)).dtype == np.float64
    for wrong in (int, np.float16, complex, ">f8"):
        with pytest.raises(ValueError, match="float64 or float32"):
            gram(X, kernel="linear", dtype=wrong)


def test_out_is_written_and_returned(tmp_path, global_seed):
    rng = np.random.default_rng(global_seed)
    X, Y = rng.normal(size=(130, 3)), rng.normal(size=(150, 3))
    K, bank = gram(X, Y, RBF(gamma=1.0)), gram(X, Y, RBF(gamma=[1.0, 2.0]))
    out = np.full((130, 150), np.nan)
    assert gram(X, Y, RBF(gamma=1.0), out=out) is out
    assert_array_equal(out, K)
    assert_array_equal(bank[0], K)
    mapped = np.memmap(tmp_path / "K", np.float64, "w+", shape=bank.shape)
    assert gram(X, Y, RBF(gamma=[1.0, 2.0]), out=mapped) is mapped
    assert_array_equal(mapped, bank)
    larger = np.full((140, 150), 7.0)
    gram(X, Y, RBF(gamma=1.0), out=larger[:130])
    assert (larger[130:] == 7).all()  # nothing beyond it is touched
    sums = combine([RBF(gamma=1.0)], [2.0], X, Y, out=np.empty((130, 150)))
    assert_array_equal(sums, 2 * K)


@ignore_matrix
def test_wrong_outs_are_refused():
    X = np.ones((4, 2))
    fixed = np.empty((4, 4))
    fixed.flags.writeable = False
    wrong = {
        "shape": np.empty((4, 5)),
        "dimensions": np.empty(16),
        "type": np.empty((4, 4), int),
        "half": np.empty((4, 4), np.float16),
        "byte order": np.empty((4, 4), ">f8"),
        "Fortran": np.empty((4, 4), order="F"),
        "strided": np.empty((4, 8))[:, ::2],
        "read-only": fixed,
        "list": [[0.0] * 4] * 4,
        "matrix": np.matrix(np.empty((4, 4))),
        "masked": np.ma.masked_array(np.empty((4, 4))),
        "frame": pd.DataFrame(np.empty((4, 4))),
    }
    for what, out in wrong.items():
        for call in (
            lambda out: gram(X, kernel="linear", out=out),
            lambda out: combine(["linear"], [1.0], X, out=out),
        ):
            with pytest.raises((ValueError, TypeError), match=r"out must be|dtype must be"):
                pytest.fail(f"{what} was taken: {call(out)}")
    with pytest.raises(ValueError, match=r"float32.*float64"):
        gram(X, kernel="linear", out=np.empty((4, 4)), dtype=np.float32)


def test_out_within_the_features_is_refused(global_seed):
    X = np.random.default_rng(global_seed).normal(size=(6, 6))
    before = X.copy()
    for kernel in (Linear(), Precomputed(), Linear() + RBF(gamma=1.0)):
        with pytest.raises(ValueError, match=r"memory of X|symmetric"):
            gram(X, kernel=kernel, out=X)
    with pytest.raises(ValueError, match="memory of X"):
        gram(X, np.ones((6, 6)), "linear", out=X)
    assert_array_equal(X, before)


# Bandwidths ---------------------------------------------------------------------------------


def test_scale_is_what_it_says(global_seed):
    rng = np.random.default_rng(global_seed)
    X = rng.normal(3.0, 2.0, size=(50, 4))
    variance, deviation = 1 / (4 * X.var()), 1 / (4 * X.std())
    for kernel, name, expected in [
        (RBF(), "gamma", variance),
        (Polynomial(), "gamma", variance),
        (Sigmoid(), "gamma", variance),
        (Laplacian(), "gamma", deviation),
        (Chi2("scale"), "gamma", deviation),
        (Matern(), "length_scale", np.sqrt(4 * X.var() / 2)),
        (RationalQuadratic(), "length_scale", np.sqrt(4 * X.var() / 2)),
    ]:
        data = np.abs(X) if kernel.nonnegative_input else X
        if kernel.nonnegative_input:
            expected = 1 / (4 * data.std())
        resolved = kernel.resolve(data)
        assert type(resolved) is type(kernel)
        assert_allclose(getattr(resolved, name), expected, rtol=1e-13)
        assert getattr(kernel, name) == "scale"  # the kernel itself is as it was
        assert_array_equal(gram(data, kernel=kernel), gram(data, kernel=resolved))
        for constant in (np.ones((5, 4)), np.full((5, 4), 0.1), np.zeros((5, 4))):
            assert np.isin(getattr(kernel.resolve(constant), name), [1.0, np.sqrt(0.5)])


def test_median_is_what_it_says(global_seed):
    rng = np.random.default_rng(global_seed)
    X = np.abs(rng.normal(size=(41, 3)))
    X[5] = X[6]  # a distance of 0 does not count
    chi2 = [((x - y) ** 2 / (x + y)).sum() for x, y in itertools.combinations(X, 2)]
    euclidean = np.median(pdist(X)[pdist(X) > 0])
    city = pdist(X, "cityblock")
    for kernel, name, expected in [
        (RBF("median"), "gamma", 1 / (2 * euclidean**2)),
        (Laplacian("median"), "gamma", 1 / np.median(city[city > 0])),
        (Chi2("median"), "gamma", 1 / np.median([c for c in chi2 if c > 0])),
        (Matern("median"), "length_scale", euclidean),
        (RationalQuadratic("median"), "length_scale", euclidean),
    ]:
        assert_allclose(getattr(kernel.resolve(X), name), expected, rtol=1e-13)
    assert RBF("median").resolve([[1.0], [1.0]]).gamma == 0.5
    assert RBF("median").resolve([[1.0]]).gamma == 0.5


def test_median_of_many_is_seeded_and_near_that_of_all(global_seed):
    X = np.random.default_rng(global_seed).normal(size=(3 * MEDIAN_SAMPLES, 4))
    found = Matern("median").resolve(X).length_scale
    assert found == Matern("median").resolve(X).length_scale
    assert_allclose(found, np.median(pdist(X)), rtol=0.05)


@pytest.mark.parametrize("scale", [1e-150, 1e-3, 1e100, 1e150])
def test_bandwidths_follow_the_scale(scale, global_seed):
    X = np.abs(np.random.default_rng(global_seed).normal(size=(20, 3)))
    for kind, way in itertools.product((RBF, Laplacian, Matern, Chi2), ("scale", "median")):
        assert_allclose(kind(way)(scale * X), kind(way)(X), rtol=1e-12)


@pytest.mark.parametrize("scale", [1e-308, 1e-200, 1e-160, 1e160, 1e200, 1e307])
def test_bandwidths_at_any_scale_are_right_or_refused(scale):
    X = np.array([[1.0, 0.0], [0.5, 0.25], [0.0, 0.75], [0.5, 1.0]])
    for kind, way in itertools.product((RBF, Laplacian, Matern, Chi2), ("scale", "median")):
        if kind in (RBF, Matern):  # their squares are out of range
            with pytest.raises(ValueError, match="rescale X or give a number"):
                kind(way)(scale * X)
        elif scale > 1e-300:  # 1 / scale is in range
            assert_allclose(kind(way)(scale * X), kind(way)(X), rtol=1e-12)


def test_bandwidths_out_of_the_range_of_the_type_are_refused():
    for kernel, dtype in [
        (RBF(gamma=1e300), np.float32),
        (RBF(gamma=1e-60), np.float32),
        (RBF(gamma=1e-40), np.float32),
        (RBF(gamma=1e-310), np.float64),
        (Matern(length_scale=1e-310), np.float64),
        (RationalQuadratic(length_scale=1e-160), np.float64),
        (Polynomial(gamma=1.0, coef0=1e300), np.float32),
    ]:
        X = np.array([[1.0], [2.0]], dtype)
        with pytest.raises(ValueError, match=f"out of the range of {np.dtype(dtype)}"):
            gram(X, kernel=kernel)
    with pytest.raises(ValueError, match="out of the range of float32"):
        gram(np.array([[1e25], [2e25]], np.float32))


def test_unresolved_kernels_need_training_samples(global_seed):
    X = np.random.default_rng(global_seed).normal(size=(9, 2))
    for kernel in (RBF(), Laplacian("median"), Matern(), RBF(["scale", 1.0]), RBF() + Linear()):
        for call in (
            lambda kernel: gram(X, X, kernel),
            lambda kernel: kernel(X, X[:3]),
            lambda kernel: combine([kernel], [1.0] * len(kernel.expand()), X, X),
        ):
            with pytest.raises(ValueError, match=r"use kernel\.resolve\(X_train\)"):
                call(kernel)
        resolved = kernel.resolve(X)
        assert_array_equal(gram(X, X, resolved), gram(X, kernel=kernel))


PARAMETERS = [
    (RBF, "gamma", [0, -1.0, np.nan, np.inf, None, "auto", True, 1j, [[1.0]], np.array(1.0)]),
    (RBF, "gamma", [10**400, -np.inf, "", b"scale", {}]),
    (Polynomial, "gamma", [0, "median", None]),
    (Polynomial, "degree", [0, 64, 2.5, -1, "3", None, True, np.nan]),
    (Polynomial, "coef0", [np.nan, np.inf, None, "1"]),
    (Sigmoid, "coef0", [np.nan, None]),
    (Laplacian, "gamma", [0.0, "mean"]),
    (Chi2, "gamma", [-1]),
    (Matern, "length_scale", [0, -1.0, np.inf, "auto"]),
    (Matern, "nu", [1.0, 0, np.inf, None, "1.5"]),
    (RationalQuadratic, "length_scale", [0]),
    (RationalQuadratic, "alpha", [0, -1, np.nan, None]),
    (Scaled, "scale", [-1, np.nan, np.inf, None, True, "2"]),
]


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [(kind, name, value) for kind, name, values in PARAMETERS for value in values],
)
def test_parameters_out_of_range_are_refused_by_name(kind, name, value):
    given = {"kernel": Linear()} if kind is Scaled else {}
    kernel = kind(**given, **{name: value})  # the constructor only stores
    assert kernel.get_params()[name] is value
    with pytest.raises(ValueError, match=f"^{name}"):
        gram([[1.0], [2.0]], kernel=kernel)


def test_parameters_in_range(global_seed):
    X = np.random.default_rng(global_seed).normal(size=(9, 2))
    base = X @ X.T + 1
    for degree in range(1, 64):
        kernel = Polynomial(gamma=1.0, degree=degree)
        assert_allclose(kernel(X), base**degree, rtol=degree * 1e-14)
    for degree in (np.int8(3), 3.0, np.float32(3)):
        assert_array_equal(Polynomial(1.0, degree)(X), Polynomial(1.0, 3)(X))
    for gamma in (np.float32(0.5), np.float64(0.5)):
        assert_array_equal(RBF(gamma)(X), RBF(0.5)(X))
    assert_array_equal(Matern(1, 0.5)(X), Matern(1.0, np.float32(0.5))(X))


@pytest.mark.parametrize("kind", [*KERNELS.values(), Sum, Product, Scaled, FunctionKernel])
def test_constructors_only_store(kind):
    marks = {name: object() for name in inspect.signature(kind).parameters}
    kernel = kind(**marks)
    assert vars(kernel) == marks
    assert kernel.get_params(deep=False) == marks


# Banks --------------------------------------------------------------------------------------


def test_banks_stack_their_kernels_in_one_pass(global_seed):
    rng = np.random.default_rng(global_seed)
    X, Y = np.abs(rng.normal(size=(140, 3))), np.abs(rng.normal(size=(20, 3)))
    for kind, name, values in [
        (RBF, "gamma", [0.1, 1.0, 5.0]),
        (Laplacian, "gamma", np.array([0.1, 1.0])),
        (Polynomial, "gamma", (0.1, 1.0)),
        (Chi2, "gamma", [2.0]),
        (Matern, "length_scale", [0.5, 2.0]),
        (RBF, "gamma", ["scale", 2.0, "median"]),
    ]:
        bank = kind(**{name: values}).resolve(X)
        singles = bank.expand()
        assert [getattr(single, name) for single in singles] == list(getattr(bank, name))
        for pair in [(X,), (X, Y)]:
            K = gram(*pair, kernel=bank)
            assert K.shape[0] == len(values)
            for matrix, single in zip(K, singles, strict=True):
                assert_array_equal(matrix, gram(*pair, kernel=single))
    plan, _ = _plan.make_plan([[(1.0, _plan.Part(k, X))] for k in RBF([0.1, 1.0, 5.0]).expand()])
    assert len(plan.steps) == 1


def test_banks_that_mean_nothing_are_refused():
    X = [[1.0], [2.0]]
    with pytest.raises(ValueError, match="gamma is an empty list"):
        gram(X, kernel=RBF(gamma=[]))
    with pytest.raises(ValueError, match="gamma of RBF must be"):
        gram(X, kernel=RBF(gamma=[[1.0, 2.0], 3.0]))
    bank = RBF(gamma=[1.0, 2.0])
    deep = 2.0 * (bank + Linear()) * Linear()
    for composite in (bank + Linear(), Linear() * bank, 2.0 * bank, deep):
        with pytest.raises(ValueError, match="is a bank of 2 kernels and cannot be part of"):
            gram(X, kernel=composite)


# Composition --------------------------------------------------------------------------------


def test_composites_are_what_they_say(global_seed):
    rng = np.random.default_rng(global_seed)
    X, Y = np.abs(rng.normal(size=(200, 3))), np.abs(rng.normal(size=(140, 3)))
    rbf, linear, chi2 = RBF(gamma=0.4), Linear(), Chi2(gamma=0.5)
    given = FunctionKernel(lambda A, B: np.cos(A.sum(axis=1)[:, None] - B.sum(axis=1)))
    for pair in [(X,), (X, Y)]:
        r, s, c, g = (gram(*pair, kernel=kernel) for kernel in (rbf, linear, chi2, given))
        for kernel, expected in [
            (rbf + linear, r + s),
            (rbf * linear, r * s),
            (2.5 * rbf, 2.5 * r),
            (rbf * 2, 2 * r),
            (np.float64(0.3) * rbf, 0.3 * r),
            (0.0 * rbf, 0 * r),
            (rbf + rbf, 2 * r),
            (rbf + linear + chi2, r + s + c),
            ((rbf + linear) * chi2, (r + s) * c),
            ((rbf + linear) * (chi2 + rbf), (r + s) * (c + r)),
            (0.5 * (rbf + 3 * linear) * rbf * chi2, 0.5 * (r + 3 * s) * r * c),
            (0.5 * linear * chi2 + given * rbf, 0.5 * s * c + g * r),
            (given + 2 * given * given + linear, g + 2 * g * g + s),
            (Cosine() * Cosine() + RBF(gamma=2.0), gram(*pair, kernel="cosine") ** 2
             + gram(*pair, kernel=RBF(gamma=2.0))),
        ]:  # fmt: skip
            K = gram(*pair, kernel=kernel)
            assert_allclose(K, expected, rtol=1e-13, atol=1e-14, err_msg=str(kernel))
            if len(pair) == 1:
                assert_array_equal(K, K.T)
                assert_array_equal(K, gram(X, X.copy(), kernel))


def test_traits_of_composites():
    chi2, rbf, sigmoid = AdditiveChi2(), RBF(), Sigmoid()
    traits = {
        rbf + Linear(): (True, True, False, False),
        rbf * Cosine(): (True, True, True, False),
        rbf * Linear(): (True, True, False, False),
        2.0 * rbf: (True, True, False, False),
        rbf + chi2: (False, True, False, True),
        rbf * chi2: (False, False, False, True),
        3.0 * chi2: (False, True, False, True),
        rbf + sigmoid: (False, False, False, False),
        rbf + Polynomial(coef0=-1.0): (False, False, False, False),
        (rbf * rbf) * (rbf * Chi2()): (True, True, True, True),
    }
    for kernel, expected in traits.items():
        found = (
            kernel.positive_definite,
            kernel.conditionally_positive_definite,
            kernel.unit_diagonal,
            kernel.nonnegative_input,
        )
        assert found == expected, kernel
    with pytest.raises(ValueError, match="Chi2 needs features that are not negative"):
        gram([[-1.0]], kernel=rbf + AdditiveChi2())


def test_parameters_of_composites_are_addressed_cloned_and_pickled(global_seed):
    X = np.random.default_rng(global_seed).normal(size=(12, 3))
    kernel = 0.5 * (RBF(gamma=1.0) + Linear()) * Matern(length_scale=2.0)
    assert kernel.get_params()["k1__kernel__k1__gamma"] == 1.0
    K = kernel(X)
    for twin in (clone(kernel), pickle.loads(pickle.dumps(kernel))):
        assert twin is not kernel
        assert twin.k1.kernel.k1 is not kernel.k1.kernel.k1
        assert_array_equal(twin(X), K)
        twin.set_params(k1__kernel__k1__gamma=3.0, k2__length_scale=1.0, k1__scale=2.0)
        expected = 2.0 * (RBF(gamma=3.0) + Linear()) * Matern(length_scale=1.0)
        assert_array_equal(twin(X), expected(X))
        assert repr(twin) == repr(expected)
    assert_array_equal(kernel(X), K)
    for name in NAMES:
        twin = pickle.loads(pickle.dumps(clone(VECTOR_KERNELS[name]())))
        assert twin.get_params() == VECTOR_KERNELS[name]().get_params()


def test_resolving_goes_into_composites_and_copies_no_matrix(global_seed):
    X = np.random.default_rng(global_seed).normal(size=(12, 3))
    kernel = (RBF() + 2.0 * Laplacian("median")).resolve(X)
    assert kernel.k1.gamma == RBF().resolve(X).gamma
    assert kernel.k2.kernel.gamma == Laplacian("median").resolve(X).gamma
    matrix = np.eye(12)
    assert (Precomputed(matrix) + RBF()).resolve(X).k1.matrix is matrix


def test_what_does_not_compose():
    for call in (
        lambda: RBF() + 1,
        lambda: 1 + RBF(),
        lambda: RBF() * "a",
        lambda: RBF() * [1, 2],
        lambda: RBF() + "linear",
        lambda: RBF() - Linear(),
    ):
        with pytest.raises(TypeError):
            call()
    for composite in (Sum("rbf", Linear()), Product(Linear(), None), Scaled("rbf")):
        with pytest.raises(TypeError, match="must be a kernel such as RBF"):
            gram([[1.0]], kernel=composite)


# Given kernels ------------------------------------------------------------------------------


def test_what_is_a_kernel():
    for name in KERNELS:
        assert type(as_kernel(name)) is KERNELS[name]
    kernel = RBF()
    assert as_kernel(kernel) is kernel
    assert isinstance(as_kernel(pairwise.linear_kernel), FunctionKernel)
    for wrong, message in [
        ("rbff", "'rational_quadratic'.*'rbff'"),
        (RBF, "RBF"),
        (None, "None"),
        (3, "3"),
        (["rbf"], "rbf"),
        (np.eye(2), "array"),
    ]:
        with pytest.raises((ValueError, TypeError), match=f"(?s)kernel must be.*{message}"):
            as_kernel(wrong)


@ignore_matrix
def test_functions_are_kernels(global_seed):
    rng = np.random.default_rng(global_seed)
    X, Y = rng.normal(size=(140, 3)), rng.normal(size=(9, 3))
    assert_allclose(gram(X, Y, lambda A, B: A @ B.T), X @ Y.T, rtol=1e-15)
    for back in (
        lambda A, B: np.asfortranarray(A @ B.T),
        lambda A, B: (A @ B.T).tolist(),
        lambda A, B: np.matrix(A @ B.T),
    ):
        assert_allclose(gram(X, Y, back), X @ Y.T, rtol=1e-15)
    assert_allclose(gram(X, Y, lambda A, B: (A @ B.T).astype(np.float32)), X @ Y.T, rtol=1e-5)
    assert_array_equal(gram(X, Y, lambda A, B: A @ B.T > 0), X @ Y.T > 0)
    for wrong, message in [
        (lambda A, B: np.ones(len(A)), r"must return numbers of shape \(140, 140\)"),
        (lambda A, B: np.full((len(A), len(B)), np.nan), "returned NaN"),
        (lambda A, B: np.full((len(A), len(B)), "a"), "must return numbers"),
        (lambda A, B: sparse.csr_array(A @ B.T), "must return numbers"),
        (lambda A, B: None, "must return numbers"),
        (lambda A, B: A @ rng.normal(size=(3, 3)) @ B.T, "symmetric"),
    ]:
        with pytest.raises(ValueError, match=message):
            gram(X, kernel=wrong)


@pytest.mark.parametrize("rounding", [1e-12, 1e-7])
def test_given_matrices_are_symmetric_to_the_bit(rounding, global_seed):
    rng = np.random.default_rng(global_seed)
    A = rng.normal(size=(150, 150))
    K = A @ A.T * (1 + rounding * rng.random((150, 150)))
    index = np.arange(150)[:, None]
    for ours in (
        gram(K, kernel=Precomputed()),
        gram(index, kernel=Precomputed(K)),
        gram(index, index.copy(), Precomputed(K)),
        gram(A, kernel=lambda X, Y: K),
        combine([Precomputed(K)], [1.0], index),
    ):
        assert_array_equal(ours, ours.T)
        assert_allclose(ours, K, rtol=2 * rounding)


def test_precomputed_matrices_and_row_numbers(global_seed):
    rng = np.random.default_rng(global_seed)
    X = rng.normal(size=(30, 3))
    K = gram(X, kernel=RBF(gamma=0.5))
    some, others = rng.permutation(30)[:9], rng.permutation(30)[:7]
    known = Precomputed(K)
    assert_array_equal(gram(some[:, None], others[:, None], known), K[np.ix_(some, others)])
    assert_array_equal(gram(some, kernel=known), K[np.ix_(some, some)])
    assert_array_equal(gram(some[:, None].astype(np.float32), kernel=known), K[np.ix_(some, some)])
    assert_array_equal(gram(K, kernel="precomputed"), K)
    assert_array_equal(gram(K[others], np.arange(30)[:, None], Precomputed()), K[others])
    for X_wrong, kernel, message in [
        ([[0], [30]], known, "from 0 to 29, got 30 in row 1"),
        ([[-1]], known, "got -1 in row 0"),
        ([[0.5]], known, "got 0.5 in row 0"),
        ([[0, 1]], known, "one column of row numbers"),
        ([[0]], Precomputed([[1.0, 2.0], [3.0, 4.0]]), "matrix must be symmetric"),
        ([[0]], Precomputed([[1.0, 2.0]]), "matrix must be a square matrix"),
        ([[0]], Precomputed([[np.nan]]), "matrix must be.*NaN"),
        (K[:5], Precomputed(), "a column for each of the 5 samples, got 30"),
        (np.triu(K), Precomputed(), "X must be symmetric"),
    ]:
        with pytest.raises(ValueError, match=message):
            gram(X_wrong, kernel=kernel)


def test_row_numbers_go_through_cross_validation(global_seed):
    rng = np.random.default_rng(global_seed)
    X = rng.normal(size=(60, 3))
    y = np.tile([0, 1], 30)
    K = gram(X, kernel=RBF(gamma=0.5))
    index = np.arange(60)[:, None]
    ours = cross_val_score(SVC(kernel=Precomputed(K)), index, y, cv=3)
    assert_array_equal(ours, cross_val_score(SVC(kernel="precomputed"), K, y, cv=3))
    direct = SVC(kernel=Precomputed(K) + RBF(gamma=1e-3)).fit(index, y)
    assert direct.score(index, y) >= 0.5


# Sums in one pass ---------------------------------------------------------------------------


@st.composite
def sums(draw):
    """Return kernels, weights, and a block for each kernel or one for all."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, m = draw(st.sampled_from([1, 2, 5, 130])), draw(st.sampled_from([1, 3, 140]))
    single = [RBF(gamma=0.3), RBF(gamma=2.0), Linear(), Chi2(), Cosine(), Laplacian(gamma=0.2)]
    pool = [*single, RBF(gamma=0.3) * Linear(), 0.5 * Chi2() + Linear(),
            FunctionKernel(lambda A, B: A @ B.T)]  # fmt: skip
    kernels = draw(st.lists(st.sampled_from(pool), min_size=1, max_size=6))
    shared = draw(st.booleans())
    widths = [draw(st.integers(1, 5)) for _ in kernels]
    X, Y = (
        np.abs(rng.normal(size=(size, 3))) if shared
        else [np.abs(rng.normal(size=(size, d))) for d in widths]
        for size in (n, m)
    )  # fmt: skip
    return rng, kernels, rng.normal(size=len(kernels)), X, Y, draw(st.booleans())


@pytest.mark.interface
@given(sums())
@settings(max_examples=40)
def test_sums_equal_those_of_plain_grams(case):
    rng, kernels, weights, X, Y, scaled = case
    pick = lambda block, k: block[k] if isinstance(block, list) else block  # noqa: E731
    n, m = len(pick(X, 0)), len(pick(Y, 0))
    scales = rng.random((len(kernels), n)) if scaled else None
    others = rng.random((len(kernels), m)) if scaled else None
    square, wide, size = np.zeros((n, n)), np.zeros((n, m)), 0.0
    for k, (kernel, weight) in enumerate(zip(kernels, weights, strict=True)):
        A, B = pick(X, k), pick(Y, k)
        K, L = gram(A, kernel=kernel), gram(A, B, kernel)
        if scaled:
            K, L = K * np.outer(scales[k], scales[k]), L * np.outer(scales[k], others[k])
        square, wide = square + weight * K, wide + weight * L
        size += abs(weight) * max(np.abs(K).max(), np.abs(L).max())
    ours = combine(kernels, weights, X, row_scales=scales)
    assert_array_equal(ours, ours.T)
    assert_allclose(ours, square, rtol=0, atol=1e-14 * size)
    ours = combine(kernels, weights, X, Y, row_scales=scales, column_scales=others)
    assert_allclose(ours, wide, rtol=0, atol=1e-14 * size)


def test_stacks_equal_plain_grams(global_seed):
    rng = np.random.default_rng(global_seed)
    blocks = [np.abs(rng.normal(size=(130, d))) for d in (2, 3, 2)]
    kernels = [RBF(gamma=[0.3, 2.0]), Linear() + Cosine(), "chi2"]
    expected = [*gram(blocks[0], kernel=kernels[0]), gram(blocks[1], kernel=kernels[1]),
                gram(blocks[2], kernel="chi2")]  # fmt: skip
    assert_allclose(stack(kernels, blocks), expected, rtol=1e-15)


def test_kernels_of_one_operation_share_a_pass(monkeypatch, global_seed):
    rng = np.random.default_rng(global_seed)
    X, scales = np.abs(rng.normal(size=(50, 4))), rng.random(50)
    calls = []
    loops = _plan._loops

    class Counted:
        fold, load = staticmethod(loops.fold), staticmethod(loops.load)

        @staticmethod
        def evaluate(op, *rest):
            calls.append(type(op).__name__)
            loops.evaluate(op, *rest)

    monkeypatch.setattr(_plan, "_loops", Counted)
    banks = [RBF(gamma=[0.1, 1.0]), Linear(), RBF(gamma=3.0), Matern(1.0), Matern(2.0, nu=0.5)]
    combine(banks, np.ones(6), X)
    assert len(calls) == 3
    calls.clear()
    combine(banks, np.ones(6), X, row_scales=np.tile(scales, (6, 1)))
    assert len(calls) == 3  # equal scales are one pass
    calls.clear()
    combine(banks, np.ones(6), [X, X.copy(), X, X, X])
    assert len(calls) == 3
    calls.clear()
    combine([RBF(gamma=1.0)] * 2, [1.0, 1.0], [X, X.copy()])
    assert len(calls) == 2
    calls.clear()
    gram(X, kernel=RBF(gamma=1.0) * RBF(gamma=2.0) + RBF(gamma=1.0))
    assert len(calls) == 2  # one for the product, one for the rest


def test_memory_of_a_sum_does_not_grow_with_kernels(global_seed):
    rng = np.random.default_rng(global_seed)
    X = rng.random((1000, 2))
    kernels = [
        RBF(gamma=1.0),
        Linear(),
        Cosine(),
        Laplacian(gamma=1.0),
        Matern(1.0),
        Chi2(),
    ]

    def peak(kernels):
        combine(kernels, np.ones(len(kernels)), X)  # compiled
        tracemalloc.start()
        combine(kernels, np.ones(len(kernels)), X)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    matrix = 8 * len(X) ** 2
    one, six = peak(kernels[:2]), peak(kernels)
    assert matrix <= one < 1.25 * matrix
    assert six - one < 0.05 * matrix


def test_sums_that_mean_nothing_are_refused(global_seed):
    X = np.random.default_rng(global_seed).normal(size=(5, 2))
    two = ["linear", "cosine"]
    for arguments, message in [
        (("linear", [1.0], X), "kernels must be a list"),
        ((RBF(), [1.0], X), "kernels must be a list"),
        (([], [], X), "kernels is empty"),
        ((two, [1.0], X), r"weights must have one entry for each of 2 kernels .* shape \(1,\)"),
        (([RBF(gamma=[1.0, 2.0])], [1.0], X), "a bank counts as its single kernels"),
        ((two, [1.0, np.nan], X), "weights must be finite"),
        ((two, [[1.0, 1.0]], X), "shape"),
        ((two, ["a", "b"], X), "weights must be"),
        ((two, [1j, 1.0], X), "weights must be"),
        ((two, np.ma.masked_array([1.0, 2.0], [0, 1]), X), "weights is a masked array"),
        ((two, [1.0, 1.0], [X]), "a list with one block for each of 2 kernels; got a list of 1"),
        ((two, [1.0, 1.0], [X, X[:3]]), "same samples"),
        ((two, [1.0, 1.0], X, [X, X[:3]]), "same samples"),
        ((two, [1.0, 1.0], X, np.ones((5, 3))), "X has 2, Y has 3"),
        ((two, [1.0, 1.0], [X, np.full((5, 2), np.nan)]), "^X .*NaN"),
    ]:
        with pytest.raises((ValueError, TypeError), match=message):
            combine(*arguments)
    good = np.ones((2, 5))
    for scales, message in [
        ({"row_scales": np.ones((1, 5))}, r"row_scales must have shape \(2, 5\), got \(1, 5\)"),
        ({"row_scales": good * np.nan}, "row_scales must be finite"),
        ({"row_scales": [["a"] * 5] * 2}, "row_scales must be"),
        ({"column_scales": good}, "column_scales need Y"),
    ]:
        with pytest.raises(ValueError, match=message):
            combine(two, [1.0, 1.0], X, **scales)
    with pytest.raises(ValueError, match="column_scales must have shape"):
        combine(two, [1.0, 1.0], X, X[:3], row_scales=good, column_scales=good)


def test_a_kernel_of_weight_0_is_not_worked_out(global_seed):
    X = np.random.default_rng(global_seed).normal(size=(20, 3))

    def never(X, Y):
        raise AssertionError("it was")

    np.testing.assert_array_equal(
        combine([never, RBF(gamma=0.5), never], [0.0, 2.0, 0.0], X),
        combine([RBF(gamma=0.5)], [2.0], X),
    )
    np.testing.assert_array_equal(combine(["linear", "cosine"], [0.0, 0.0], X), 0.0)
