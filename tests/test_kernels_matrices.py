"""Operations on Gram matrices against loops and explicit features, in and out of sample."""

import pickle

import cvxpy as cp
import numpy as np
import oracles_matrices as oracles
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.preprocessing import KernelCenterer
from threadpoolctl import threadpool_limits

from mkfusion.kernels._matrices import (
    OPERATIONS,
    alignment,
    center,
    fit_transform_gram,
    ideal_kernel,
    nearest_psd,
    normalize,
    transform_gram,
)

ON_FEATURES = sorted(oracles.FEATURES)
CHAINS = [[name] for name in ON_FEATURES] + [
    ["cosine", "center", "trace"],
    ["center", "cosine"],
    ["center", "spherical", "center", "variance"],
    ["variance", "center"],
    ["trace", "cosine", "variance"],
]
BLOCKS = "mkfusion.kernels._matrices.BLOCK_SIZE"


@st.composite
def features(draw, least=1):
    """Return features of training and test samples, and weights."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, n_test, d = draw(st.integers(least, 9)), draw(st.integers(0, 4)), draw(st.integers(1, 5))
    scale = draw(st.sampled_from([1e-60, 1e-3, 1.0, 1e60]))
    train, test = rng.normal(0.5, 1, size=(n, d)), rng.normal(0.5, 1, size=(n_test, d))
    if draw(st.booleans()):
        train[rng.integers(n)] = 0.0
        test[: n_test // 2] = 0.0
    return train * scale, test * scale, rng.integers(1, 4, size=n).astype(float)


def gram(X, Y=None):
    K = X @ (X if Y is None else Y).T
    return (K + K.T) / 2 if Y is None else K


def similarities(rng, n):
    """Return a symmetric matrix that is far from positive semi-definite."""
    S = rng.normal(size=(n, n))
    return S + S.T


def has_variance(X, weights):
    return oracles.variance(X, weights) > 1e-6 * np.square(X).sum(axis=1).max()


def have_directions(train, others, operations, weights):
    """Tell that no sample comes so near to the mean that rounding decides on its cosines."""
    for k, name in enumerate(operations):
        if OPERATIONS[name] is OPERATIONS["cosine"]:
            before = oracles.transformed_features(train, others, operations[:k], weights)
            squares = np.square(before).sum(axis=1)
            if ((squares > 0) & (squares < 1e-4 * squares.max())).any():
                return False
    return True


def assert_near(ours, theirs, rtol=1e-12):
    largest = np.abs(theirs).max(initial=0.0)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=rtol * largest + 1e-300)


def as_given(K, dtype, order):
    """Return a read-only K of some type and memory order."""
    K = np.array(K, dtype=dtype, order=order)
    K.flags.writeable = False
    return K


# What an operation means


@pytest.mark.parametrize("operations", CHAINS, ids="-".join)
@pytest.mark.parametrize("weighted", [False, True])
@given(case=features(least=3))
def test_operations_equal_those_on_features(operations, weighted, case):
    train, test, weights = case
    given_weights = weights if weighted else None
    weights = weights if weighted else np.ones(len(train))
    assume(all(has_variance(X, weights) for X in oracles.steps(train, operations, weights)))
    assume(have_directions(train, np.vstack([train, test]), operations, weights))
    ours, fitted = fit_transform_gram(gram(train), operations, sample_weight=given_weights)
    diagonal = np.square(test).sum(axis=1)
    ours_test = transform_gram(gram(test, train), fitted, diagonal=diagonal)
    before = oracles.transformed_features(train, train, operations, weights)
    after = oracles.transformed_features(train, test, operations, weights)
    assert_near(ours, gram(before), rtol=1e-9)
    assert_near(ours_test, gram(after, before), rtol=1e-9)


@pytest.mark.parametrize("operations", [*CHAINS, ["nearest_psd"], ["nearest_psd", "cosine"]])
@given(case=features(least=2))
def test_training_rows_are_treated_as_in_training(operations, case):
    train, _, weights = case
    K = gram(train)
    if "nearest_psd" in operations:
        size = np.abs(K).max()
        K = K + size * similarities(np.random.default_rng(len(K)), len(K))
    ours, fitted = fit_transform_gram(K, operations, sample_weight=weights)
    rows = np.arange(0, len(K), 2)
    again = transform_gram(K[rows], fitted, diagonal=K.diagonal()[rows])
    assert_near(again, ours[rows], rtol=1e-7 if len(operations) > 1 else 1e-13)


@given(case=features())
def test_centre_equals_loop(case):
    train, test, weights = case
    K, K_test = gram(train), gram(test, train)
    ours, fitted = fit_transform_gram(K, "center", sample_weight=weights)
    largest = np.abs(K).max()
    atol = 1e-14 * max(largest, np.abs(K_test).max(initial=0.0))
    np.testing.assert_allclose(ours, oracles.centered(K, K, weights), rtol=0, atol=atol)
    ours = transform_gram(K_test, fitted)
    np.testing.assert_allclose(ours, oracles.centered(K_test, K, weights), rtol=0, atol=atol)


def test_centre_equals_the_joint_matrix_by_definition(global_seed):
    """H K H' with H = I - 1 w', w the training shares, of training and test samples together."""
    rng = np.random.default_rng(global_seed)
    X = rng.normal(size=(12, 3))
    K, train = gram(X), slice(0, 8)
    shares = np.r_[np.full(8, 1 / 8), np.zeros(4)]
    H = np.eye(12) - np.ones((12, 1)) * shares
    joint = H @ K @ H.T
    ours, fitted = fit_transform_gram(K[train, train], "center")
    assert_near(ours, joint[train, train])
    assert_near(transform_gram(K[8:, train], fitted), joint[8:, train])


@pytest.mark.parametrize("name", ["center", "trace", "variance", "cosine"])
def test_weights_are_repetitions(name, global_seed):
    rng = np.random.default_rng(global_seed)
    X, test = rng.normal(size=(6, 3)), rng.normal(size=(4, 3))
    weights = np.array([1, 3, 1, 2, 2, 1])
    often = np.repeat(np.arange(6), weights)
    ours, fitted = fit_transform_gram(gram(X), name, sample_weight=weights * 0.7)
    repeated, refitted = fit_transform_gram(gram(X[often]), name)
    assert_near(ours[np.ix_(often, often)], repeated)
    diagonal = np.square(test).sum(axis=1)
    ours = transform_gram(gram(test, X), fitted, diagonal=diagonal)
    repeated = transform_gram(gram(test, X[often]), refitted, diagonal=diagonal)
    assert_near(ours[:, often], repeated)


@pytest.mark.parametrize("name", ["center", "trace", "variance"])
def test_only_the_ratios_of_weights_count(name, global_seed):
    rng = np.random.default_rng(global_seed)
    K, weights = gram(rng.normal(size=(6, 3))), rng.random(6)
    expected = fit_transform_gram(K, name, sample_weight=weights).K
    for unit in (1e-300, 1e150):
        ours = fit_transform_gram(K * 1e200, name, sample_weight=weights * unit).K
        assert_near(ours if name != "center" else ours / 1e200, expected)
    ours = alignment(K * 1e200, np.eye(6), sample_weight=weights * 1e150)
    assert ours == pytest.approx(alignment(K, np.eye(6), sample_weight=weights))


def test_a_sample_of_weight_zero_is_a_test_sample(global_seed):
    rng = np.random.default_rng(global_seed)
    K = gram(rng.normal(size=(7, 3)))
    weights = np.r_[np.ones(5), np.zeros(2)]
    _, fitted = fit_transform_gram(K[:5, :5], "center")
    ours = center(K, sample_weight=weights)
    assert_near(ours[5:, :5], transform_gram(K[5:, :5], fitted))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_centre_equals_scikit_learn(dtype, global_seed):
    rng = np.random.default_rng(global_seed)
    X, test = rng.normal(size=(30, 4)) + 1, rng.normal(size=(11, 4)) + 1
    K, K_test = gram(X).astype(dtype), gram(test, X).astype(dtype)
    theirs = KernelCenterer().fit(K)
    ours, fitted = fit_transform_gram(K, "center")
    rtol = 1e-12 if dtype == np.float64 else 1e-6
    assert_near(ours, theirs.transform(K), rtol)
    assert_near(transform_gram(K_test, fitted), theirs.transform(K_test), rtol)


# What holds for every matrix


@pytest.mark.parametrize("name", OPERATIONS)
@given(case=features(), size=st.sampled_from([1, 7, 2**16]))
def test_symmetric_to_the_bit_for_any_blocks(name, case, size):
    train, _, weights = case
    K = gram(train)
    if name == "nearest_psd":
        K = K + np.abs(K).max() * similarities(np.random.default_rng(len(K)), len(K))
    ours = fit_transform_gram(K, name, sample_weight=weights).K
    np.testing.assert_array_equal(ours, ours.T)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BLOCKS, size)
        cut = fit_transform_gram(K, name, sample_weight=weights).K
    if name == "nearest_psd":  # BLAS sums in another order for other shapes
        assert_near(cut, ours)
    else:
        np.testing.assert_array_equal(cut, ours)


@pytest.mark.parametrize("n", [255, 256, 257, 600])
@pytest.mark.parametrize("name", OPERATIONS)
def test_symmetric_to_the_bit_over_tiles(name, n, global_seed):
    rng = np.random.default_rng(global_seed)
    K = similarities(rng, n) if name == "nearest_psd" else gram(rng.normal(size=(n, 5)))
    ours = fit_transform_gram(K, name).K
    np.testing.assert_array_equal(ours, ours.T)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64, np.int8, np.uint8, bool])
@pytest.mark.parametrize("operations", [*OPERATIONS, ["center", "cosine"]])
def test_any_type_and_order(operations, dtype, order, global_seed):
    rng = np.random.default_rng(global_seed)
    X = np.eye(3)[np.r_[0, 1, 2, rng.integers(3, size=6)]]
    plain = gram(X if dtype is bool else X * [1, 2, 3] + [0, 0, 1])
    K, test = as_given(plain, dtype, order), as_given(plain[:4], dtype, order)
    expected, reference = fit_transform_gram(plain, operations)
    ours, fitted = fit_transform_gram(K, operations)
    ours_test = transform_gram(test, fitted, diagonal=plain.diagonal()[:4])
    expected_test = transform_gram(plain[:4], reference, diagonal=plain.diagonal()[:4])
    wanted = np.float32 if dtype == np.float32 else np.float64
    assert ours.dtype == ours_test.dtype == wanted
    rtol = 2e-6 if wanted == np.float32 else 1e-14
    assert_near(ours, expected, rtol)
    assert_near(ours_test, expected_test, rtol)
    np.testing.assert_array_equal(K, plain)


def test_float32_is_summed_in_float64():
    """Sums in float32 would lose the small part beside 1000."""
    rng = np.random.default_rng(0)
    n = 3000
    z = rng.normal(size=n).astype(np.float32)
    K = np.float32(1000) + np.multiply.outer(z, z)
    gap = np.abs(center(K) - center(K.astype(np.float64)))
    np.fill_diagonal(gap, 0.0)  # where rounding alone makes a number, there is 0
    assert gap.max() < 1e-6


@pytest.mark.parametrize("operations", [*OPERATIONS, ["center", "cosine", "nearest_psd"]])
@pytest.mark.parametrize("order", ["C", "F"])
def test_in_place_and_into_an_array(operations, order, global_seed):
    rng = np.random.default_rng(global_seed)
    K = np.array(gram(rng.normal(size=(8, 3))), order=order)
    if "nearest_psd" in operations:
        K += np.diag(rng.normal(size=8)) * 3 * (operations == "nearest_psd")
    before = K.copy(order="K")
    diagonal = K.diagonal()[:3].copy()
    expected, fitted = fit_transform_gram(K, operations)
    np.testing.assert_array_equal(K, before)
    out = np.full((8, 8), np.nan)
    assert fit_transform_gram(K, operations, out=out).K is out
    np.testing.assert_array_equal(out, expected)
    rows = K[:3].copy(order="K")
    expected_rows = transform_gram(rows, fitted, diagonal=diagonal)
    np.testing.assert_array_equal(rows, before[:3])
    assert transform_gram(rows, fitted, diagonal=diagonal, out=rows) is rows
    np.testing.assert_array_equal(rows, expected_rows)
    assert fit_transform_gram(K, operations, out=K).K is K
    np.testing.assert_array_equal(K, expected)


def test_memory_mapped(tmp_path, global_seed):
    K = gram(np.random.default_rng(global_seed).normal(size=(20, 3)))
    np.save(tmp_path / "K.npy", K)
    mapped = np.load(tmp_path / "K.npy", mmap_mode="r")
    np.testing.assert_array_equal(center(mapped), center(K))


@pytest.mark.parametrize("operations", [*OPERATIONS, ["cosine", "center", "trace"]])
def test_one_sample_no_test_sample_and_pickles(operations):
    ours, fitted = fit_transform_gram([[4.0]], operations)
    assert ours.shape == (1, 1)
    assert np.isfinite(ours).all()
    assert transform_gram(np.empty((0, 1)), fitted).shape == (0, 1)
    again = pickle.loads(pickle.dumps(fitted))
    expected = transform_gram([[2.0]], fitted, diagonal=[1.0])
    np.testing.assert_array_equal(transform_gram([[2.0]], again, diagonal=[1.0]), expected)


def test_no_operation_is_a_copy():
    K = np.eye(2)
    ours, fitted = fit_transform_gram(K, [])
    np.testing.assert_array_equal(ours, K)
    assert not np.shares_memory(ours, K)
    np.testing.assert_array_equal(transform_gram([[3.0, 4.0]], fitted), [[3.0, 4.0]])


def test_the_names_do_what_the_chain_does(global_seed):
    K = gram(np.random.default_rng(global_seed).normal(size=(5, 2)))
    np.testing.assert_array_equal(center(K), fit_transform_gram(K, "center").K)
    for method in ("cosine", "spherical", "trace", "variance"):
        np.testing.assert_array_equal(normalize(K, method), fit_transform_gram(K, method).K)
    np.testing.assert_array_equal(normalize(K, "spherical"), normalize(K, "cosine"))
    np.testing.assert_array_equal(nearest_psd(K - 1), fit_transform_gram(K - 1, "nearest_psd").K)


# Normalising


@given(case=features())
def test_cosine_has_an_exact_diagonal(case):
    train, _, _ = case
    ours = normalize(gram(train))
    np.testing.assert_array_equal(ours.diagonal(), train.any(axis=1).astype(float))
    np.testing.assert_array_equal(ours[~train.any(axis=1)], 0.0)
    assert np.abs(ours).max() <= 1 + 1e-14


@given(case=features(least=2))
def test_normalised_kernels_have_trace_or_variance_one(case):
    train, _, weights = case
    assume(has_variance(train, weights))
    K, shares = gram(train), weights / weights.sum()
    trace = normalize(K, "trace", sample_weight=weights)
    np.testing.assert_allclose(shares @ trace.diagonal(), 1.0, rtol=1e-12)
    ours = normalize(K, "variance", sample_weight=weights)
    np.testing.assert_allclose(shares @ ours.diagonal() - shares @ ours @ shares, 1.0, rtol=1e-6)
    both = fit_transform_gram(K, ["center", "trace"], sample_weight=weights).K
    swapped = fit_transform_gram(K, ["variance", "center"], sample_weight=weights).K
    assert_near(both, swapped, rtol=1e-6)


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, 1 / 3, 1e10])
@pytest.mark.parametrize("n", [1, 3, 7, 100])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_constant_kernel_has_no_direction_and_no_variance(value, n, dtype):
    K, test = np.full((n, n), value, dtype), np.full((2, n), value, dtype)
    for operations in (
        ["center", "cosine"],
        ["center", "trace"],
        ["center", "variance"],
        "variance",
    ):
        ours, fitted = fit_transform_gram(K, operations)
        np.testing.assert_array_equal(ours, 0.0)
        ours = transform_gram(test, fitted, diagonal=[value] * 2)
        np.testing.assert_array_equal(ours, 0.0)


def test_a_sample_at_the_mean_has_no_direction():
    X = np.array([[0.1, 0.1], [0.5, 0.1], [0.1, 0.7], [0.7 / 3, 0.9 / 3]]) + 1000
    weights = [1, 1, 1, 0]
    ours, fitted = fit_transform_gram(gram(X), ["center", "cosine"], sample_weight=weights)
    np.testing.assert_array_equal(ours[3], 0.0)
    diagonal = np.square(X).sum(axis=1)
    np.testing.assert_array_equal(transform_gram(gram(X), fitted, diagonal=diagonal)[3], 0.0)


@pytest.mark.parametrize("scale", [1e-300, 1e-150, 1e150, 1e300])
@pytest.mark.parametrize("operations", ["cosine", "trace", "variance", ["center", "cosine"]])
def test_scale_is_taken_out_at_any_size(operations, scale, global_seed):
    rng = np.random.default_rng(global_seed)
    K, test = gram(rng.normal(size=(6, 8))), rng.normal(size=(2, 6))
    ours, fitted = fit_transform_gram(K * scale, operations)
    expected, reference = fit_transform_gram(K, operations)
    assert_near(ours, expected, rtol=1e-11)
    ours = transform_gram(test * scale, fitted, diagonal=np.full(2, 20.0) * scale)
    assert_near(ours, transform_gram(test, reference, diagonal=[20.0, 20.0]), rtol=1e-11)


# The nearest positive semi-definite matrix


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 9))
def test_nearest_psd_equals_highams_formula(seed, n):
    K = similarities(np.random.default_rng(seed), n)
    ours, atol = nearest_psd(K), 1e-13 * np.abs(K).max()
    np.testing.assert_allclose(ours, oracles.nearest_psd(K), rtol=0, atol=atol)
    assert np.linalg.eigvalsh(ours).min() > -atol
    np.testing.assert_allclose(nearest_psd(ours), ours, rtol=0, atol=atol)


def test_nearest_psd_equals_the_cone_solver():
    K = similarities(np.random.default_rng(3), 6)
    X = cp.Variable((6, 6), PSD=True)
    cp.Problem(cp.Minimize(cp.sum_squares(X - K))).solve(solver="CLARABEL")
    np.testing.assert_allclose(nearest_psd(K), X.value, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_psd_matrix_is_its_own_nearest(dtype, global_seed):
    """Also where rounding makes eigenvalues of 0 negative."""
    rng = np.random.default_rng(global_seed)
    X = rng.normal(size=(80, 3))
    for K in (gram(X), np.exp(-np.square(X[:, None] - X).sum(axis=2) / 100), np.ones((80, 80))):
        K = K.astype(dtype)
        test = rng.normal(size=(3, 80)).astype(dtype)
        ours, fitted = fit_transform_gram(K, "nearest_psd")
        np.testing.assert_array_equal(ours, K)
        np.testing.assert_array_equal(transform_gram(test, fitted), test)


def test_nearest_psd_projects_test_rows(global_seed):
    """The rows lose what they have along eigenvectors of negative eigenvalues, and no more."""
    rng = np.random.default_rng(global_seed)
    K, test = similarities(rng, 9), rng.normal(size=(4, 9))
    _, fitted = fit_transform_gram(K, "nearest_psd")
    ours = transform_gram(test, fitted)
    values, vectors = np.linalg.eigh(K)
    along = ours @ vectors
    np.testing.assert_allclose(along[:, values < 0], 0.0, atol=1e-13)
    np.testing.assert_allclose(along[:, values > 0], (test @ vectors)[:, values > 0], atol=1e-13)


def test_nearest_psd_keeps_what_test_rows_have_along_eigenvalues_of_zero(global_seed):
    rng = np.random.default_rng(global_seed)
    vectors = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    K = (vectors * [3.0, 2.0, 1.0, 0.0, 0.0, -1.0]) @ vectors.T
    _, fitted = fit_transform_gram((K + K.T) / 2, "nearest_psd")
    ours = transform_gram(vectors.T, fitted)
    np.testing.assert_allclose(ours[:5], vectors.T[:5], atol=1e-13)
    np.testing.assert_allclose(ours[5], 0.0, atol=1e-13)


def test_nearest_psd_of_negative_definite_is_zero():
    np.testing.assert_array_equal(nearest_psd([[-2.0]]), [[0.0]])
    assert np.abs(nearest_psd(-gram(np.eye(4) + 0.1))).max() < 1e-14


def test_diagonal_goes_through_nearest_psd(global_seed):
    """A training sample given as a test sample gets the cosines that it got in training."""
    K = similarities(np.random.default_rng(global_seed), 9) + 2 * np.eye(9)
    ours, fitted = fit_transform_gram(K, ["nearest_psd", "center", "cosine"])
    again = transform_gram(K, fitted, diagonal=K.diagonal())
    assert_near(again, ours, rtol=1e-9)


@pytest.mark.parametrize("operations", [*OPERATIONS, ["nearest_psd", "center", "cosine"]])
def test_same_bits_for_any_number_of_threads(operations, global_seed):
    rng = np.random.default_rng(global_seed)
    K, test = similarities(rng, 300), rng.normal(size=(40, 300))
    K = K if "nearest_psd" in operations else gram(K)

    def results(n_threads):
        with threadpool_limits(n_threads, user_api="blas"):
            ours, fitted = fit_transform_gram(K, operations)
            rows = transform_gram(test, fitted, diagonal=np.full(40, 1e4))
            return ours, rows, alignment(K, ours), ideal_kernel(test.T, task="regression")

    for one, two in zip(results(1), results(2), strict=True):
        np.testing.assert_array_equal(one, two)


# Alignment


@given(case=features(least=2), other=st.integers(0, 2**32 - 1))
@pytest.mark.parametrize("centered", [False, True])
def test_alignment_equals_loop(centered, case, other):
    train, _, weights = case
    K = gram(train)
    rng = np.random.default_rng(other)
    L = gram(rng.normal(size=(len(K), 3)))
    assume(has_variance(train, weights))
    unit = K / np.abs(K).max()  # the loop has no care for overflow
    for given_weights, used in ((None, np.ones(len(K))), (weights, weights)):
        ours = alignment(K, L, centered=centered, sample_weight=given_weights)
        theirs = oracles.alignment(unit, L, used, centered)
        assert ours == pytest.approx(theirs, abs=1e-9)
        turned = alignment(L, K, centered=centered, sample_weight=given_weights)
        assert turned == pytest.approx(ours, abs=1e-14)


def test_alignment_is_invariant(global_seed):
    rng = np.random.default_rng(global_seed)
    K, L = gram(rng.normal(size=(20, 3))), gram(rng.normal(size=(20, 3)))
    shift = rng.normal(size=20)
    for centered in (False, True):
        ours = alignment(K, L, centered=centered)
        assert 0 <= ours <= 1
        assert alignment(1e100 * K, 1e-200 * L, centered=centered) == pytest.approx(ours)
        assert alignment(4 * K, L, centered=centered) == ours
        assert alignment(-K, L, centered=centered) == pytest.approx(-ours)
        assert alignment(K, 3 * K, centered=centered) == pytest.approx(1.0, abs=1e-14)
        order = rng.permutation(20)
        turned = [A[np.ix_(order, order)] for A in (K, L)]
        assert alignment(*turned, centered=centered) == pytest.approx(ours)
    moved = K + shift[:, None] + shift + 5
    assert alignment(moved, L) == pytest.approx(alignment(K, L), rel=1e-9)
    assert alignment(moved, L, centered=False) != pytest.approx(alignment(K, L, centered=False))
    assert alignment(center(K), center(L), centered=False) == pytest.approx(alignment(K, L))


def test_alignment_of_repeated_rows_is_weighted(global_seed):
    rng = np.random.default_rng(global_seed)
    K, L = gram(rng.normal(size=(6, 3))), gram(rng.normal(size=(6, 3)))
    weights = rng.integers(1, 4, size=6)
    often = np.repeat(np.arange(6), weights)
    repeated = [A[np.ix_(often, often)] for A in (K, L)]
    for centered in (False, True):
        ours = alignment(K, L, centered=centered, sample_weight=weights)
        assert ours == pytest.approx(alignment(*repeated, centered=centered))


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, 1 / 3, 1e200])
@pytest.mark.parametrize("n", [1, 3, 70])
def test_a_constant_kernel_is_aligned_with_nothing(value, n):
    other = gram(np.random.default_rng(n).normal(size=(n, 2)))
    constant = np.full((n, n), value)
    assert alignment(constant, other) == 0.0
    assert alignment(other, constant.astype(np.float32) if value < 1e30 else constant) == 0.0
    assert alignment(np.zeros((n, n)), other, centered=False) == 0.0
    if value and n > 1:
        assert alignment(constant, other, centered=False) > 0.0


@pytest.mark.parametrize(
    "labels", [[0, 1], ["b", "a", "c"], [True, False], [1, 5, 7, 9, 11], ["x"]]
)
def test_ideal_kernel_of_classes(labels, global_seed):
    rng = np.random.default_rng(global_seed)
    y = np.r_[labels, rng.choice(labels, size=10)]
    ours = ideal_kernel(y)
    np.testing.assert_array_equal(ours, oracles.ideal_classes(list(y)))
    assert np.linalg.eigvalsh(ours).min() > -1e-12
    if len(labels) == 2:
        signs = np.where(y == y[0], 1.0, -1.0)
        np.testing.assert_array_equal(ours, np.multiply.outer(signs, signs))


@pytest.mark.parametrize("shape", [(9,), (9, 1), (9, 3)])
def test_ideal_kernel_of_numbers(shape, global_seed):
    rng = np.random.default_rng(global_seed)
    y, weights = rng.normal(3, 1, size=shape), rng.random(9)
    y = y[:, 0] if shape[1:] == (1,) else y
    for given_weights, used in ((None, np.ones(9)), (weights, weights)):
        ours = ideal_kernel(y, task="regression", sample_weight=given_weights)
        assert_near(ours, oracles.ideal_numbers(y, used))
        np.testing.assert_array_equal(ours, ours.T)


def test_alignment_finds_the_kernel_of_the_target(global_seed):
    rng = np.random.default_rng(global_seed)
    y = np.repeat([0, 1, 2], 20)
    informative = gram(np.eye(3)[y] + 0.1 * rng.normal(size=(60, 3)))
    assert alignment(informative, ideal_kernel(y)) > 0.8
    assert alignment(gram(rng.normal(size=(60, 3))), ideal_kernel(y)) < 0.3


# What is refused

GOOD = np.array([[2.0, 1.0], [1.0, 2.0]])
FITTED = fit_transform_gram(GOOD, ["center", "cosine"]).fitted


@pytest.mark.parametrize(
    ("K", "message"),
    [
        (np.ones((2, 3)), r"K must be the square Gram matrix .* got shape \(2, 3\)"),
        (np.empty((0, 0)), r"K must be the square .* at least one training sample"),
        (np.ones(3), r"K must be a 2-D array of real numbers, got ndarray of shape \(3,\)"),
        (np.ones((2, 2, 2)), "K must be a 2-D array"),
        ([["a", "b"], ["b", "a"]], "K must be a 2-D array of real numbers, got list"),
        (np.array([[1, None], [None, 1]]), "dtype object"),
        (GOOD * 1j, "dtype complex128"),
        (np.ma.array(GOOD, mask=np.eye(2)), "K is a masked array"),
        ([[1.0, 2.0], [3.0, 1.0]], "K must be symmetric, got 2 at row 0, column 1 and 3 at"),
        ([[1.0, np.nan], [np.nan, 1.0]], "K must be finite, got nan at row 0, column 1"),
        ([[1.0, 2.0], [-np.inf, 1.0]], "K must be finite, got -inf at row 1, column 0"),
        (np.full((2, 2), 1e308), "K goes up to 1e[+]308, which overflows"),
        (np.full((2, 2), 1e38, np.float32), "K goes up to 1e[+]38, which overflows"),
    ],
)
def test_bad_training_matrix(K, message):
    for operation in OPERATIONS:
        with pytest.raises(ValueError, match=message):
            fit_transform_gram(K, operation)
    with pytest.raises(ValueError, match=message):
        alignment(K, GOOD)
    with pytest.raises(ValueError, match=message.replace("K", "L")):
        alignment(GOOD, K)


def test_symmetry_up_to_rounding_is_enough():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 7))
    K = X @ X.T + 1e-13 * rng.normal(size=(300, 300))
    assert_near(center(K), center(gram(X)), rtol=1e-11)
    K[299, 3] += 1e-3
    with pytest.raises(ValueError, match="row 299, column 3"):
        center(K)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"K": np.ones((1, 3))}, "K has 3 columns, but .* 2 training samples"),
        ({"K": [[1.0, np.nan]]}, "K must be finite, got nan at row 0, column 1"),
        ({"diagonal": None}, "cosine normalisation needs k"),
        ({"diagonal": [1.0, 2.0]}, r"diagonal must be .* of the 1 samples.* shape \(2,\)"),
        ({"diagonal": [np.nan]}, "diagonal must be .* finite"),
        ({"diagonal": [-5.0]}, r"diagonal, after .* must be non-negative.*got -\d"),
        ({"out": np.empty((2, 2))}, r"out must be a float64 array of shape \(1, 2\)"),
        ({"out": np.empty((1, 2), np.float32)}, r"out must be a float64 array"),
        ({"out": [[0.0, 0.0]]}, "got list"),
    ],
)
def test_bad_test_matrix(arguments, message):
    good = {"K": [[1.0, 2.0]], "fitted": FITTED, "diagonal": [4.0]}
    transform_gram(**good)
    with pytest.raises(ValueError, match=message):
        transform_gram(**(good | arguments))


def test_other_refusals():
    with pytest.raises(TypeError, match="fitted must come from fit_transform_gram, got ndarray"):
        transform_gram(GOOD, GOOD)
    with pytest.raises(ValueError, match=r"operations must be one of 'center'.*got 'centre'"):
        fit_transform_gram(GOOD, ["trace", "centre"])
    with pytest.raises(ValueError, match=r"method must be one of 'cosine'.*got 'center'"):
        normalize(GOOD, "center")
    for method in ("cosine", "trace", "variance"):
        with pytest.raises(ValueError, match=r"the diagonal of K must be non-neg.*got -0.1"):
            normalize([[1.0, 0.0], [0.0, -0.1]], method)
    with pytest.raises(ValueError, match=r"variance of K .* negative"):
        normalize([[1.0, 2.0], [2.0, 1.0]], "variance")
    with pytest.raises(ValueError, match=r"one shape, got \(2, 2\) and \(3, 3\)"):
        alignment(GOOD, np.eye(3))
    with pytest.raises(ValueError, match="sample_weight"):
        center(GOOD, sample_weight=[1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="Negative values"):
        center(GOOD, sample_weight=[1.0, -2.0])
    with pytest.raises(ValueError, match="at least one non-zero"):
        alignment(GOOD, GOOD, sample_weight=[0.0, 0.0])
    with pytest.raises(ValueError, match="task must be one of"):
        ideal_kernel([0, 1], task="ranking")
    locked = GOOD.copy()
    locked.flags.writeable = False
    with pytest.raises(ValueError, match="out must be writeable"):
        center(GOOD, out=locked)
    square = np.eye(3)
    with pytest.raises(ValueError, match="out must be K itself or share no memory"):
        center(square, out=square.T)


def test_a_refusal_leaves_the_matrix_alone():
    K = np.array([[1.0, 0.0], [0.0, -0.1]])
    before = K.copy()
    for out in (None, K):
        with pytest.raises(ValueError, match="non-negative"):
            normalize(K, out=out)
        np.testing.assert_array_equal(K, before)


@pytest.mark.parametrize("operation", ["center", "cosine", "trace", "variance"])
def test_memory_is_one_result(operation):
    import tracemalloc

    K = gram(np.random.default_rng(0).normal(size=(1500, 4)))
    tracemalloc.start()
    try:
        fit_transform_gram(K, operation)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        alignment(K, K)
        assert tracemalloc.get_traced_memory()[1] < 0.4 * K.nbytes
    finally:
        tracemalloc.stop()
    assert peak < 1.2 * K.nbytes
