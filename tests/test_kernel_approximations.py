"""Low-rank kernels: Nystroem and random Fourier features, as arrays and by modality."""

import math
import pickle

import numpy as np
import pandas as pd
import pytest
from oracles_approximations import (
    fourier_gram,
    leverage_scores,
    masked_sum,
    nystroem_gram,
    sketched_leverage_scores,
    within_cluster_sum,
)
from scipy import sparse
from sklearn.base import clone
from sklearn.kernel_approximation import Nystroem, RBFSampler
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC, LinearSVC
from threadpoolctl import threadpool_limits

from mkfusion.kernels import (
    RBF,
    AdditiveChi2,
    Categorical,
    Chi2,
    Cosine,
    FunctionKernel,
    GlobalAlignment,
    HistogramIntersection,
    Laplacian,
    Linear,
    Matern,
    Polynomial,
    Precomputed,
    RationalQuadratic,
    Sigmoid,
    gram,
)
from mkfusion.kernels._approx import (
    SPECTRA,
    fourier_features,
    fourier_map,
    nystroem_features,
    nystroem_map,
)
from mkfusion.kernels._base import MatrixKernel
from mkfusion.kernels._landmarks import (
    LANDMARKS,
    choose_landmarks,
    kmeans_centres,
    ridge_leverage_scores,
)
from mkfusion.mkl import ModalityFourierFeatures, ModalityKernels, ModalityNystroem

POSITIVE = [
    Linear(),
    Polynomial(gamma=0.5),
    RBF(gamma=0.3),
    Laplacian(gamma=0.3),
    Cosine(),
    Chi2(),
    HistogramIntersection(),
    Matern(length_scale=2.0, nu=0.5),
    RationalQuadratic(length_scale=2.0),
    Categorical(),
    0.5 * RBF(gamma=1.0) + Linear() * Laplacian(gamma=0.1),
    FunctionKernel(lambda X, Y: (1 + X @ Y.T) ** 2),
]
STATIONARY = [
    RBF(gamma=0.4),
    Laplacian(gamma=0.5),
    Matern(length_scale=1.5, nu=0.5),
    Matern(length_scale=1.5, nu=2.5),
    RationalQuadratic(length_scale=1.2, alpha=0.7),
]
TRANSFORMERS = [ModalityNystroem, ModalityFourierFeatures]


def named(kernels):
    return pytest.mark.parametrize("kernel", kernels, ids=lambda kernel: type(kernel).__name__)


@pytest.fixture
def rng(global_seed):
    return np.random.default_rng(global_seed)


@pytest.fixture(name="X")
def samples(rng):
    return rng.uniform(0, 2, size=(40, 3))


# Nystroem -----------------------------------------------------------------------------------


@named(POSITIVE)
def test_nystroem_with_every_sample_is_the_kernel(kernel, X, rng):
    K = gram(X, kernel=kernel)
    features = nystroem_features(nystroem_map(X, kernel, 40, rng=rng), X)
    np.testing.assert_allclose(features @ features.T, K, atol=1e-8 * K.max())


@named(POSITIVE)
def test_nystroem_is_its_definition(kernel, X, rng):
    new = rng.uniform(0, 2, size=(7, 3))
    found = nystroem_map(X, kernel, 6, rng=rng)
    Z = found.landmarks
    expected = nystroem_gram(gram(X, Z, kernel), gram(Z, kernel=kernel), gram(Z, new, kernel))
    product = nystroem_features(found, X) @ nystroem_features(found, new).T
    # The pseudoinverse cuts elsewhere than we do, where eigenvalues are as good as 0.
    np.testing.assert_allclose(product, expected, atol=1e-6 * np.abs(expected).max())
    np.testing.assert_allclose(found.factor, found.factor.T)
    np.testing.assert_array_equal(Z, X[found.indices])


@pytest.mark.parametrize("method", LANDMARKS)
def test_nystroem_errs_less_with_more_landmarks_and_never_above(method, rng):
    X = rng.standard_normal((150, 3))
    K = gram(X, kernel=RBF(gamma=0.2))
    errors = []
    for count in (2, 10, 40, 150):
        features = nystroem_features(nystroem_map(X, RBF(gamma=0.2), count, method, rng=rng), X)
        rest = K - features @ features.T
        assert np.linalg.eigvalsh(rest)[0] > -1e-7  # what is left is positive semi-definite
        errors.append(np.linalg.norm(rest))
    assert errors[0] > errors[1] > errors[2] > errors[3]
    assert errors[3] < 1e-7
    assert errors[2] < 0.2 * errors[0]


def test_nystroem_is_that_of_sklearn(X, global_seed):
    peer = Nystroem(gamma=0.7, n_components=12, random_state=global_seed).fit(X)
    found = nystroem_map(X, RBF(gamma=0.7), landmarks=peer.components_)
    np.testing.assert_allclose(nystroem_features(found, X), peer.transform(X), atol=1e-6)


@pytest.mark.parametrize("kind", [np.float64, np.float32])
def test_landmarks_that_repeat_do_no_harm(kind, rng):
    X = np.repeat(rng.standard_normal((5, 2)), 8, axis=0).astype(kind)
    found = nystroem_map(X, RBF(gamma=1.0), 40, rng=rng)
    features = nystroem_features(found, X)
    assert found.rank == 5
    assert features.dtype == kind
    assert np.linalg.norm(features, axis=1).max() < 1.001
    K = gram(X, kernel=RBF(gamma=1.0))
    np.testing.assert_allclose(
        features @ features.T, K, atol=1e-10 if kind == np.float64 else 1e-4
    )


def test_rank_is_that_of_the_kernel(X, rng):
    assert nystroem_map(X, Linear(), 30, rng=rng).rank == 3
    assert nystroem_map(np.zeros((5, 2)), Linear(), 5, rng=rng).rank == 0
    assert not nystroem_features(
        nystroem_map(np.zeros((5, 2)), Linear(), 5, rng=rng), X[:, :2]
    ).any()


def test_nystroem_learns_bandwidths_from_all_samples(X, rng):
    found = nystroem_map(X, "rbf", 5, rng=rng)
    assert found.kernel.gamma == RBF().resolve(X).gamma


@pytest.mark.parametrize("scale", [1e-150, 1e150])
def test_nystroem_of_extreme_values(scale, X, rng):
    features = nystroem_features(nystroem_map(X * scale, Linear(), 10, rng=rng), X * scale)
    np.testing.assert_allclose(features @ features.T, scale * X @ (X.T * scale), rtol=1e-8)


class Overlap(MatrixKernel):
    """How many symbols two sets share: samples are cells, not rows of numbers."""

    def _check(self, X, name):
        return [set(cell) for cell in X]

    def _matrix(self, X, Y, n_threads):
        return np.array([[len(x & y) for y in (X if Y is None else Y)] for x in X], float)

    def _diagonal(self, X):
        return np.array([len(x) for x in X], float)


@pytest.mark.parametrize("method", ["uniform", "leverage"])
@pytest.mark.parametrize("wrap", [list, lambda cells: pd.DataFrame({"text": cells})])
def test_nystroem_of_cells(method, wrap, rng):
    words = ["".join(rng.choice(list("abcdef"), 4)) for _ in range(30)]
    cells = wrap(words)
    found = nystroem_map(cells, Overlap(), 12, method, rng=rng)
    assert all(word in words for word in found.landmarks)
    everyone = nystroem_map(cells, Overlap(), 30, rng=rng)
    features = nystroem_features(everyone, cells)
    np.testing.assert_allclose(features @ features.T, Overlap()(words, words), atol=1e-8)


@pytest.mark.parametrize("method", ["uniform", "leverage"])
def test_nystroem_of_a_known_matrix(method, X, rng):
    K = gram(X, kernel=RBF(gamma=1.0))
    rows = rng.permutation(40)[:, None]
    found = nystroem_map(rows[:30], Precomputed(K), 10, method, rng=np.random.default_rng(1))
    plain = nystroem_map(X[rows[:30, 0]], RBF(gamma=1.0), 10, method, rng=np.random.default_rng(1))
    np.testing.assert_array_equal(found.indices, plain.indices)
    np.testing.assert_allclose(
        nystroem_features(found, rows), nystroem_features(plain, X[rows[:, 0]]), atol=1e-7
    )


# Landmarks ----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["uniform", "leverage"])
def test_landmarks_are_different_rows_in_order(method, rng):
    X = rng.standard_normal((200, 2))
    for count in (1, 7, 50, 199):
        points, indices = choose_landmarks(X, count, method, rng=rng)
        assert len(indices) == count
        assert (np.diff(indices) > 0).all()
        np.testing.assert_array_equal(points, X[indices])


@pytest.mark.parametrize("method", LANDMARKS)
def test_as_many_landmarks_as_samples_are_the_samples(method, X, rng):
    for count in (40, 1000):
        np.testing.assert_array_equal(choose_landmarks(X, count, method, rng=rng).points, X)


def test_uniform_landmarks_are_equally_likely(rng):
    X = np.arange(20.0)[:, None]
    counts = np.zeros(20)
    for _ in range(2000):
        counts[choose_landmarks(X, 5, rng=rng).indices] += 1
    # Hoeffding, with a chance of 1e-9 that any of 20 shares strays further.
    assert np.abs(counts / 2000 - 0.25).max() < math.sqrt(math.log(2 * 20 / 1e-9) / 2 / 2000)


def test_kmeans_finds_clusters_that_lie_apart(rng):
    centres = 100.0 * np.arange(6)[:, None] + np.array([0.0, 1e6])
    X = np.repeat(centres, 30, axis=0) + rng.uniform(-1, 1, (180, 2))
    found = kmeans_centres(X[rng.permutation(180)], 6, rng)
    expected = X.reshape(6, 30, 2).mean(axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_kmeans_centres_are_the_means_of_what_is_near(rng):
    X = rng.standard_normal((30, 2))
    centres = kmeans_centres(X, 3, rng)
    nearest = ((X[:, None] - centres) ** 2).sum(axis=2).argmin(axis=1)
    for k in range(3):
        np.testing.assert_allclose(centres[k], X[nearest == k].mean(axis=0), atol=1e-12)
    chance = [X[rng.choice(30, 3, replace=False)] for _ in range(20)]
    sums = [within_cluster_sum(X, some) for some in chance]
    assert within_cluster_sum(X, centres) < np.median(sums)


def test_kmeans_of_few_different_rows(rng):
    X = np.repeat(np.array([[0.1, 5.0], [3.0, 0.3], [0.2, 0.7]]), 10, axis=0)
    found = kmeans_centres(X, 8, rng)
    np.testing.assert_allclose(found[np.argsort(found[:, 0])], X[[0, 20, 10]], rtol=1e-14)
    assert kmeans_centres(np.zeros((9, 2)), 3, rng).tolist() == [[0, 0]]
    assert np.isfinite(kmeans_centres(1e308 * rng.uniform(-1, 1, (30, 2)), 3, rng)).all()


def test_kmeans_keeps_features_that_are_not_negative(rng):
    X = rng.uniform(size=(50, 3)) * (rng.random((50, 3)) < 0.3)
    assert kmeans_centres(X, 9, rng).min() >= 0
    nystroem_map(X, Chi2(), 9, "kmeans", rng=rng)


@named([RBF(gamma=0.5), Linear(), Polynomial(gamma=1.0, degree=2)])
def test_leverage_scores_are_exact_without_a_sketch(kernel, X):
    for ridge in (1e-3, 0.1, 10.0):
        expected = leverage_scores(gram(X, kernel=kernel), ridge)
        found = ridge_leverage_scores(X, ridge, kernel)
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)


def test_leverage_scores_by_a_sketch(X, rng):
    kernel = RBF(gamma=0.5)
    K = gram(X, kernel=kernel)
    sketch = rng.choice(40, 12, replace=False)
    weights = rng.uniform(0.5, 3, 12)
    found = ridge_leverage_scores(X, 0.2, kernel, sketch=sketch, weights=weights)
    np.testing.assert_allclose(found, sketched_leverage_scores(K, 0.2, sketch, weights), rtol=1e-8)
    light = ridge_leverage_scores(X, 0.2, kernel, sketch=sketch)
    assert (light > leverage_scores(K, 0.2) - 1e-10).all()  # it never says too little


def test_leverage_landmarks_find_what_is_rare(rng):
    """Twelve samples far from 600 and from one another: drawn by chance, few are among 30."""
    crowd = 0.1 * rng.standard_normal((600, 2))
    turn = 2 * np.pi * np.arange(12) / 12
    X = np.concatenate([crowd, 10 * np.column_stack([np.cos(turn), np.sin(turn)])])
    found = choose_landmarks(X, 30, "leverage", kernel=RBF(gamma=1.0), rng=rng).indices
    assert (found >= 600).sum() >= 6


def test_leverage_landmarks_err_less_where_samples_are_uneven(rng):
    crowd, group = rng.standard_normal((2, 450, 5)) * 0.3
    X = np.concatenate([crowd, group[:40] + 4, rng.standard_normal((20, 5)) - 5])
    kernel = RBF(gamma=0.3)
    K = gram(X, kernel=kernel)
    errors = {"uniform": [], "leverage": []}
    for method, found in errors.items():
        for _ in range(7):
            features = nystroem_features(nystroem_map(X, kernel, 60, method, rng=rng), X)
            found.append(np.linalg.norm(K - features @ features.T))
    assert np.median(errors["leverage"]) < 0.8 * np.median(errors["uniform"])


# Fourier ------------------------------------------------------------------------------------


@pytest.mark.parametrize("orthogonal", [False, True])
@pytest.mark.parametrize("paired", [False, True])
@named(STATIONARY)
def test_fourier_features_are_unbiased(kernel, paired, orthogonal, rng):
    """Inner products are means of bounded numbers, independent by frequency or by block of 3."""
    X = rng.standard_normal((6, 3))
    n_frequencies = 150_000
    found = fourier_map(
        X, kernel, n_frequencies * (1 + paired), orthogonal=orthogonal, paired=paired, rng=rng
    )
    assert found.frequencies.shape == (3, n_frequencies)
    features = fourier_features(found, X)
    independent = n_frequencies / 3 if orthogonal else n_frequencies
    bound = 1 if paired else 2
    # Hoeffding, with a chance of 1e-9 that any of 21 values strays further.
    tolerance = bound * math.sqrt(2 * math.log(2 * 21 / 1e-9) / independent)
    assert np.abs(features @ features.T - gram(X, kernel=kernel)).max() < tolerance


@pytest.mark.parametrize("n_components", [1, 2, 7, 8])
@pytest.mark.parametrize("paired", [False, True])
def test_fourier_features_are_their_definition(n_components, paired, X, rng):
    found = fourier_map(X, RBF(gamma=1.0), n_components, paired=paired, rng=rng)
    product = fourier_features(found, X[:5]) @ fourier_features(found, X[5:9]).T
    # The kernel sees differences only, but a phase without its sine sees the centre too.
    parts = found.frequencies, found.phases, n_components
    expected = fourier_gram(*parts, X[:5] - X.mean(axis=0), X[5:9] - X.mean(axis=0))
    np.testing.assert_allclose(product, expected, atol=1e-13)


def test_odd_numbers_of_features_are_unbiased(rng):
    X = rng.standard_normal((4, 2))
    total = np.zeros((4, 4))
    for _ in range(4000):
        features = fourier_features(fourier_map(X, RBF(gamma=0.4), 3, rng=rng), X)
        total += features @ features.T / 4000
    # Each is within 2 (one pair, 2/3, and one with a phase, 4/3 of a cosine's square).
    tolerance = 2 * math.sqrt(2 * math.log(2 * 10 / 1e-9) / 4000)
    assert np.abs(total - gram(X, kernel=RBF(gamma=0.4))).max() < tolerance


@named(STATIONARY)
def test_pairs_have_the_length_that_the_kernel_says(kernel, X, rng):
    features = fourier_features(fourier_map(X, kernel, 60, rng=rng), 10 * X)
    np.testing.assert_allclose((features**2).sum(axis=1), 1, rtol=1e-13)


def test_frequencies_are_orthogonal_in_blocks(X, rng):
    for kernel in STATIONARY:
        W = fourier_map(X, kernel, 40, orthogonal=True, rng=rng).frequencies
        for start in range(0, 20, 3):
            block = W[:, start : start + 3]
            cosines = block.T @ block / np.outer(*2 * [np.linalg.norm(block, axis=0)])
            orthogonal = np.abs(cosines - np.eye(len(cosines))).max() < 1e-12
            assert orthogonal == (not isinstance(kernel, Laplacian) or len(cosines) == 1)


def mean_square(X, kernel, n_components, rng, repeats=60, **options):
    K = gram(X, kernel=kernel)
    errors = []
    for _ in range(repeats):
        features = fourier_features(fourier_map(X, kernel, n_components, rng=rng, **options), X)
        errors.append(((features @ features.T - K) ** 2).mean())
    return np.mean(errors)


def test_variance_falls_by_pairs_and_by_orthogonality(rng):
    X = rng.standard_normal((20, 8))
    kernel = RBF(gamma=0.06)
    phases = mean_square(X, kernel, 32, rng, paired=False)
    pairs = mean_square(X, kernel, 32, rng)
    orthogonal = mean_square(X, kernel, 32, rng, orthogonal=True)
    assert orthogonal < 0.7 * pairs < 0.7 * phases
    peer = [RBFSampler(gamma=0.06, n_components=32, random_state=k).fit(X) for k in range(60)]
    K = gram(X, kernel=kernel)
    theirs = np.mean([((p.transform(X) @ p.transform(X).T - K) ** 2).mean() for p in peer])
    assert 0.7 < phases / theirs < 1.4


def test_orthogonality_does_the_laplacian_no_harm(rng):
    X = rng.standard_normal((20, 8))
    plain = mean_square(X, Laplacian(gamma=0.15), 32, rng)
    assert mean_square(X, Laplacian(gamma=0.15), 32, rng, orthogonal=True) < 1.2 * plain


def test_fourier_features_far_from_the_origin(rng):
    """Angles are those of differences from the centre: nothing is lost to their magnitude."""
    X = rng.standard_normal((20, 4))
    seed = rng.integers(2**31)
    for kind, tolerance in ((np.float64, 1e-9), (np.float32, 3e-2)):
        far = (X + 1e4).astype(kind)
        near = far.astype(np.float64) - 1e4
        features = [
            fourier_features(
                fourier_map(values, RBF(gamma=0.5), 50, rng=np.random.default_rng(seed)), values
            )
            for values in (far, near)
        ]
        np.testing.assert_allclose(*features, atol=tolerance)


def test_angles_beyond_the_polynomial(X, rng):
    found = fourier_map(X, RBF(gamma=1.0), 20, rng=rng)
    features = fourier_features(found, 1e9 * X)
    angles = (1e9 * X - found.centre) @ found.frequencies
    np.testing.assert_allclose(features[:, :10], np.cos(angles) * math.sqrt(0.1), atol=1e-5)
    assert np.abs(fourier_features(found, 1e20 * X)).max() < 0.3163
    with pytest.raises(ValueError, match="overflow"):
        fourier_features(found, np.full((2, 3), 1e308))


def test_float32_is_close_to_float64(X, rng):
    for found, features in (
        (fourier_map(X, RBF(gamma=1.0), 50, rng=rng), fourier_features),
        (nystroem_map(X.astype(np.float32), RBF(gamma=1.0), 20, rng=rng), nystroem_features),
    ):
        single = features(found, X.astype(np.float32))
        assert single.dtype == np.float32
        double = features(found, X.astype(np.float32).astype(np.float64))
        assert double.dtype == np.float64
        np.testing.assert_allclose(single @ single.T, double @ double.T, atol=2e-3)


# Both, as functions -------------------------------------------------------------------------


def maps(X, rng):
    return [
        (nystroem_map(X, Laplacian(gamma=0.3), 9, rng=rng), nystroem_features),
        (fourier_map(X, Laplacian(gamma=0.3), 9, rng=rng), fourier_features),
    ]


def test_no_bit_depends_on_threads(rng):
    X = rng.standard_normal((3000, 5))
    for method in LANDMARKS:
        results = [
            nystroem_map(X, "rbf", 40, method, rng=np.random.default_rng(3), n_jobs=n_jobs)
            for n_jobs in (1, 2, 4)
        ]
        for found in results[1:]:
            np.testing.assert_array_equal(found.factor, results[0].factor)
    for found, features in maps(X, rng):
        results = [features(found, X, n_jobs=n_jobs) for n_jobs in (1, 2, 4)]
        for result in results[1:]:
            np.testing.assert_array_equal(result, results[0])


def test_no_bit_depends_on_blas_threads(rng):
    X = rng.standard_normal((700, 60))
    results = []
    for limit in (1, 2):
        with threadpool_limits(limit, user_api="blas"):
            for method in LANDMARKS:
                found = nystroem_map(X, "rbf", 300, method, rng=np.random.default_rng(3))
                results.append((found.factor, nystroem_features(found, X)))
            found = fourier_map(X, "rbf", 600, orthogonal=True, rng=np.random.default_rng(3))
            results.append((found.frequencies, fourier_features(found, X)))
    for one, two in zip(results[:4], results[4:], strict=True):
        np.testing.assert_array_equal(one[0], two[0])
        np.testing.assert_array_equal(one[1], two[1])


def test_scales_and_outputs(X, rng):
    scales = rng.uniform(size=40)
    for found, features in maps(X, rng):
        plain = features(found, X)
        wide = np.full((40, 30), 7.0, np.float32)
        out = wide[:, 5:14]
        assert features(found, X, scales=scales, out=out) is out
        np.testing.assert_allclose(out, plain * scales[:, None], rtol=1e-6)
        assert (wide[:, :5] == 7).all()
        assert (wide[:, 14:] == 7).all()
        assert features(found, X[:0]).shape == (0, 9)
        for wrong in (np.empty((40, 8)), np.empty((40, 9), int), [[0.0] * 9] * 40):
            with pytest.raises(ValueError, match=r"shape \(40, 9\)"):
                features(found, X, out=wrong)
        for wrong in (scales[:5], scales * np.nan):
            with pytest.raises(ValueError, match="scales must be 40 finite"):
                features(found, X, scales=wrong)


def test_inputs_are_left_as_they_were(X):
    before = X.copy()
    X.flags.writeable = False
    for method in LANDMARKS:
        nystroem_map(X, "rbf", 9, method, rng=np.random.default_rng(0))
    for found, features in maps(X, np.random.default_rng(0)):
        features(found, X)
    np.testing.assert_array_equal(X, before)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda X, rng: nystroem_map(X, AdditiveChi2(), rng=rng), "not positive definite"),
        (lambda X, rng: nystroem_map(X, Sigmoid(gamma=1.0), rng=rng), "not positive definite"),
        (
            lambda X, rng: nystroem_map(X, lambda A, B: -(A @ B.T), rng=rng),
            "not positive definite: between landmarks its eigenvalues go from -",
        ),
        (lambda X, rng: nystroem_map(X, RBF(gamma=[1.0, 2.0]), rng=rng), "bank of 2"),
        (lambda X, rng: nystroem_map(X @ X.T, Precomputed(), rng=rng), "row numbers"),
        (lambda X, rng: nystroem_map(1e200 * X, Linear(), rng=rng), "overflow"),
        (lambda X, rng: nystroem_map(X, "rbf", 0, rng=rng), "n_landmarks must be a whole number"),
        (
            lambda X, rng: nystroem_map(X, "rbf", 2.5, rng=rng),
            "n_landmarks must be a whole number",
        ),
        (lambda X, rng: nystroem_map(X, "rbf", 3, "best", rng=rng), "'uniform', 'kmeans'"),
        (lambda X, rng: nystroem_map(X[:0], Linear(), 3, rng=rng), "no samples"),
        (lambda X, rng: nystroem_map(X * np.nan, Linear(), 3, rng=rng), "NaN"),
        (
            lambda X, rng: choose_landmarks(X, 3, "kmeans", kernel=Categorical(), rng=rng),
            "average",
        ),
        (lambda X, rng: ridge_leverage_scores(X, 0.0), "ridge must be a finite number > 0"),
        (lambda X, rng: fourier_map(X, Linear(), rng=rng), "RBF, Laplacian, Matern, Rational"),
        (lambda X, rng: fourier_map(X, Chi2(), rng=rng), "RBF, Laplacian, Matern, Rational"),
        (lambda X, rng: fourier_map(X, RBF(gamma=[1.0, 2.0]), rng=rng), "bank of 2"),
        (lambda X, rng: fourier_map(X, "rbf", -1, rng=rng), "n_components must be a whole"),
        (lambda X, rng: fourier_map(X[:0], RBF(gamma=1.0), rng=rng), "no samples"),
        (lambda X, rng: fourier_features(fourier_map(X, rng=rng), X[:, :2]), "the 3 features"),
    ],
)
def test_refusals(call, message, X, rng):
    with pytest.raises(ValueError, match=message):
        call(X, rng)


def test_choosing_needs_a_generator(X):
    with pytest.raises(TypeError, match="default_rng"):
        nystroem_map(X, "rbf", 3)


def test_spectra_are_of_kernels_of_differences(X):
    for kernel in SPECTRA:
        assert kernel.unit_diagonal
        made = kernel().resolve(X)
        np.testing.assert_allclose(gram(X, kernel=made), gram(X + 0.5, kernel=made), atol=1e-12)


# By modality --------------------------------------------------------------------------------


@pytest.fixture
def frame(rng):
    names = ["audio__a", "audio__b", "video__c", "video__d", "video__e", "text__f"]
    return pd.DataFrame(rng.normal(size=(60, 6)), columns=names)


COLUMNS = {
    "audio": ["audio__a", "audio__b"],
    "video": ["video__c", "video__d", "video__e"],
    "text": ["text__f"],
}


def with_holes(frame, rng):
    """Lose modalities at random, at most all but one of a sample."""
    there = rng.random((len(frame), 3)) < 0.6
    there[~there.any(axis=1), 0] = True
    frame = frame.copy()
    for z, columns in zip(there.T, COLUMNS.values(), strict=True):
        frame.loc[~z, columns] = np.nan
    return frame, there


TRIPLES = [
    ("near", RBF(gamma=1.0), "audio"),
    ("far", Laplacian(gamma=0.1), "audio"),
    ("seen", Matern(length_scale=2.0), "video"),
    ("words", "rbf", "text"),
]


def test_features_are_the_masked_kernel(frame, rng):
    """With every sample a landmark, inner products are those of ModalityKernels and of loops."""
    lossy, there = with_holes(frame, rng)
    betas = {"near": 0.3, "far": 0.0, "seen": 2.0, "words": 0.5}
    triples = [*TRIPLES[:2], ("seen", Polynomial(gamma=0.3), "video"), TRIPLES[3]]
    features = ModalityNystroem(triples, weights=betas, random_state=0).fit(lossy)
    other, there_too = with_holes(frame.sample(frac=1, random_state=1), rng)
    Z, Z_too = features.transform(lossy), features.transform(other)
    kernels = ModalityKernels(triples).fit(lossy)
    np.testing.assert_allclose(Z @ Z.T, kernels.combine(betas), atol=1e-7)
    # Of a new sample, what lies in directions that rounding hides from the landmarks is lost.
    np.testing.assert_allclose(Z_too @ Z.T, kernels.combine(betas, other), atol=1e-5)

    grams = []
    for kernel, columns in zip(features.kernels_, [*2 * ["audio"], "video", "text"], strict=True):
        one, two = (data[COLUMNS[columns]].fillna(0).to_numpy() for data in (lossy, other))
        K = gram(one, two, kernel)
        if not kernel.unit_diagonal:
            norms = [np.sqrt(gram(data, kernel=kernel).diagonal()) for data in (one, two)]
            K = K / np.outer(*norms)
        grams.append(K)
    # A kernel counts for its modality: near alone, since far has no weight.
    audio, _, video, text = grams
    expected = masked_sum([audio, video, text], [0.3, 2.0, 0.5], there, there_too)
    np.testing.assert_allclose(Z @ Z_too.T, expected, atol=1e-5)


def test_fourier_features_of_what_is_there(frame, rng):
    lossy, there = with_holes(frame, rng)
    features = ModalityFourierFeatures(TRIPLES, n_components=4000, random_state=0)
    Z = features.fit_transform(lossy)
    kernels = ModalityKernels(TRIPLES).fit(lossy)
    K = kernels.combine(np.ones(4))
    # Hoeffding for 2000 frequencies, four kernels and values up to 3 times the kernel's.
    tolerance = 4 * 3 * math.sqrt(2 * math.log(2 * 4 * 60**2 / 1e-9) / 2000)
    assert np.abs(Z @ Z.T - K).max() < tolerance
    np.testing.assert_allclose((Z**2).sum(axis=1), np.diagonal(K), rtol=1e-12)
    for name, modality in zip(features.kernel_names_, features.kernel_modalities_, strict=True):
        absent = ~there[:, list(COLUMNS).index(modality)]
        block = Z[:, features.output_slices_[name]]
        assert not block[absent].any()
        assert block[~absent].all(axis=1).any()


@pytest.mark.parametrize("cls", TRANSFORMERS)
def test_absence_is_the_fusion_without_it(cls, frame, rng):
    """Where a modality is missing for all, features are those of the others, scaled."""
    features = cls(n_components=8, random_state=0).fit(frame)
    whole = features.transform(frame)
    lossy = frame.copy()
    lossy[COLUMNS["video"]] = np.nan
    kept = [features.output_slices_[name] for name in ("audio", "text")]
    Z = features.transform(lossy)
    for part in kept:
        np.testing.assert_allclose(Z[:, part], whole[:, part] * math.sqrt(1.5), rtol=1e-12)
    assert not Z[:, features.output_slices_["video"]].any()


@pytest.mark.parametrize("cls", TRANSFORMERS)
def test_samples_without_any_modality(cls, frame):
    features = cls(n_components=8, random_state=0).fit(frame)
    lossy = frame.copy()
    lossy.iloc[3] = np.nan
    with pytest.warns(UserWarning, match="1 of 60 samples have none of the modalities"):
        Z = features.transform(lossy)
    assert not Z[3].any()
    assert Z[2].any()
    np.testing.assert_array_equal(np.delete(Z, 3, 0), features.transform(frame.drop(index=3)))
    with pytest.raises(ValueError, match=r"1 samples have none of the modalities.*row 3"):
        cls().fit(lossy)


@pytest.mark.parametrize("cls", TRANSFORMERS)
def test_a_modality_that_nobody_has_is_left_out(cls, frame):
    lossy = frame.assign(text__f=np.nan)
    with pytest.warns(UserWarning, match="'text' is missing for every sample"):
        features = cls(n_components=6, random_state=0).fit(lossy)
    plain = cls(n_components=6, random_state=0).fit(frame.drop(columns="text__f"))
    np.testing.assert_array_equal(
        features.transform(frame), plain.transform(frame.drop(columns="text__f"))
    )


@pytest.mark.parametrize("method", LANDMARKS)
def test_landmarks_are_chosen_among_who_is_there(method, frame, rng):
    lossy, there = with_holes(frame, rng)
    features = ModalityNystroem(n_components=5, landmarks=method, random_state=0).fit(lossy)
    for name, z in zip(COLUMNS, there.T, strict=True):
        found = features.maps_[name]
        assert np.isfinite(found.landmarks).all()
        if found.indices is not None:
            present = lossy.loc[z, COLUMNS[name]].to_numpy()
            np.testing.assert_array_equal(found.landmarks, present[found.indices])


@pytest.mark.parametrize("cls", TRANSFORMERS)
def test_features_of_a_modality_depend_on_no_other(cls, frame):
    both = cls(n_components=6, random_state=0).fit(frame)
    turned = cls(n_components=6, random_state=0).fit(frame[frame.columns[::-1]])
    alone = cls(n_components=6, random_state=0, modalities={"audio": COLUMNS["audio"]})
    with pytest.warns(UserWarning, match="belong to no modality"):
        alone.fit(frame)
    Z, one = both.transform(frame), alone.transform(frame)
    np.testing.assert_array_equal(Z[:, both.output_slices_["audio"]], one)
    text = turned.transform(frame[frame.columns[::-1]])[:, turned.output_slices_["text"]]
    np.testing.assert_array_equal(Z[:, both.output_slices_["text"]], text)


def test_models_on_features_are_kernel_machines(frame, rng):
    target = np.sin(2 * frame["audio__a"]) + frame["video__c"] * frame["video__d"]
    labels = (target > np.median(target)).astype(int)
    features = ModalityNystroem(TRIPLES, weights=[1.0, 0.5, 2.0, 0.1], random_state=0)
    new = frame + 0.1 * rng.standard_normal(frame.shape)
    kernels = ModalityKernels(TRIPLES).fit(frame)
    K, K_new = (kernels.combine([1.0, 0.5, 2.0, 0.1], X=data) for data in (None, new))
    model = make_pipeline(features, Ridge(alpha=0.3, fit_intercept=False)).fit(frame, target)
    dual = np.linalg.solve(K + 0.3 * np.eye(60), target)
    np.testing.assert_allclose(model.predict(new), K_new @ dual, atol=1e-4)

    machine = SVC(kernel="precomputed", C=1.0, tol=1e-9).fit(K, labels)
    linear = SVC(kernel="linear", C=1.0, tol=1e-9).fit(features.fit_transform(frame), labels)
    np.testing.assert_allclose(
        linear.decision_function(features.transform(new)),
        machine.decision_function(K_new),
        atol=1e-4,
    )
    quick = make_pipeline(ModalityFourierFeatures(n_components=300, random_state=0), LinearSVC())
    assert quick.fit(frame, labels).score(frame, labels) > 0.9


@pytest.mark.parametrize("cls", TRANSFORMERS)
def test_names_shapes_and_weights(cls, frame):
    counts = {"text": 6, "video": 2, "audio": 4}
    features = cls(n_components=counts, weights={"audio": 1, "video": 0, "text": 4})
    features.set_params(random_state=0).fit(frame)
    kind = "nystroem" if cls is ModalityNystroem else "fourier"
    expected = [f"audio__{kind}{j}" for j in range(4)] + [f"text__{kind}{j}" for j in range(6)]
    assert features.get_feature_names_out().tolist() == expected
    assert features.output_slices_ == {"audio": slice(0, 4), "text": slice(4, 10)}
    Z = features.transform(frame)
    plain = clone(features).set_params(weights=None).fit(frame).transform(frame)
    np.testing.assert_allclose(Z[:, :4], plain[:, :4])
    np.testing.assert_allclose(Z[:, 4:], 2 * plain[:, 6:])
    table = features.set_output(transform="pandas").transform(frame)
    assert table.columns.tolist() == expected
    assert table.index.equals(frame.index)
    with pytest.raises(ValueError, match="input_features"):
        features.get_feature_names_out(["a"])


@pytest.mark.parametrize("cls", TRANSFORMERS)
def test_nested_parameters_banks_and_drops(cls, frame):
    features = cls(TRIPLES, n_components=4, random_state=0)
    assert features.get_params()["far__gamma"] == 0.1
    features.set_params(far__gamma=[0.1, 0.2], words="drop").fit(frame)
    assert list(features.maps_) == ["near", "far_0", "far_1", "seen"]
    assert features.maps_["far_1"].kernel.gamma == 0.2
    assert TRIPLES[1][1].gamma == [0.1, 0.2]  # the user's own kernel, as in any composition
    TRIPLES[1][1].set_params(gamma=0.1)


@pytest.mark.parametrize("cls", TRANSFORMERS)
def test_clone_pickle_and_seed(cls, frame):
    features = cls(TRIPLES, n_components=5, random_state=3).fit(frame)
    Z = features.transform(frame)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(features)).transform(frame), Z)
    np.testing.assert_array_equal(clone(features).fit_transform(frame), Z)
    state = np.random.RandomState(3)
    by_state = clone(features).set_params(random_state=state)
    np.testing.assert_array_equal(by_state.fit_transform(frame), Z)
    assert not np.array_equal(by_state.fit_transform(frame), Z)  # the state has moved on
    assert not np.array_equal(clone(features).set_params(random_state=4).fit_transform(frame), Z)


@pytest.mark.parametrize("cls", TRANSFORMERS)
@pytest.mark.parametrize("method", LANDMARKS)
def test_estimators_do_not_depend_on_threads(cls, method, rng):
    X = rng.standard_normal((1500, 6)).astype(np.float32)
    X[:200, :2] = np.nan
    options = {"landmarks": method} if cls is ModalityNystroem else {}
    results = [
        cls(modalities={"a": [0, 1], "b": [2, 3, 4, 5]}, n_components=30, random_state=0,
            n_jobs=n_jobs, **options).fit_transform(X)
        for n_jobs in (1, 2, 4)
    ]  # fmt: skip
    assert results[0].dtype == np.float32
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


@pytest.mark.parametrize("cls", TRANSFORMERS)
def test_any_table_gives_the_same(cls, frame):
    modalities = {"audio": [0, 1], "video": [2, 3, 4], "text": [5]}
    features = cls(modalities=modalities, n_components=6, random_state=0)
    Z = features.fit_transform(frame)
    values = frame.to_numpy()
    for same in (
        values,
        np.asfortranarray(values),
        values[::-1].copy()[::-1],
        values.tolist(),
        frame.convert_dtypes(),
        frame.set_axis(range(6), axis=1),
    ):
        np.testing.assert_array_equal(clone(features).fit_transform(same), Z)


def test_sequences_by_modality(rng):
    words = ["".join(rng.choice(list("abcdef"), 4)) for _ in range(30)]
    X = pd.DataFrame({"text__word": words, "audio__pitch": rng.standard_normal(30)})
    X.loc[3, "text__word"] = None
    triples = [("overlap", Overlap(), "text")]
    features = ModalityNystroem(triples, n_components=30, random_state=0).fit(X)
    Z = features.transform(X)
    K = ModalityKernels(triples).fit(X).combine([1.0, 1.0])
    np.testing.assert_allclose(Z @ Z.T, K, atol=1e-9)


def test_series_and_strings_have_features(rng):
    X = pd.DataFrame({"gyro": [rng.standard_normal((n, 2)) for n in rng.integers(3, 9, 25)]})
    X["text"] = ["".join(rng.choice(list("abc"), n)) for n in rng.integers(4, 9, 25)]
    X.loc[2, "gyro"] = None
    X.loc[7, "text"] = None
    modalities = {"gyro": "gyro", "text": "text"}
    triples = [("paths", GlobalAlignment(), "gyro"), ("words", "spectrum", "text")]
    for method in ("uniform", "leverage"):
        features = ModalityNystroem(
            triples, modalities, n_components={"paths": 25, "words": 9}, landmarks=method
        )
        Z = features.set_params(random_state=0).fit_transform(X)
        assert Z.shape == (25, 24 + 9)
        K = ModalityKernels(triples, modalities).fit(X).gram()
        paths = Z[:, features.output_slices_["paths"]]
        np.testing.assert_allclose(paths @ paths.T, K[0], atol=1e-7)
    with pytest.raises(ValueError, match="average"):
        features.set_params(landmarks="kmeans").fit(X)


@pytest.mark.parametrize("cls", TRANSFORMERS)
@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"weights": [1.0, 1.0]}, "weights must have length 3"),
        ({"weights": [0.0, 0.0, 0.0]}, "not all 0"),
        ({"weights": [-1.0, 1.0, 1.0]}, "non-negative"),
        ({"weights": np.ones((3, 2))}, "one number for each"),
        ({"weights": {"audio": 1.0}}, "one weight for each"),
        ({"n_components": {"audio": 4}}, "one for each of 'audio', 'video', 'text'"),
        ({"n_components": 0}, "whole number >= 1"),
        ({"n_components": "many"}, "whole number >= 1"),
        ({"kernel": "sigmoid"}, "not positive definite|Fourier features need"),
        ({"kernel": "precise"}, "kernel must be one of"),
        ({"kernel": "drop"}, "no kernel is left"),
        ({"kernels": [("near", "rbf")]}, r"list of \(name, kernel, modality\)"),
        ({"kernels": [("near", "rbf", "smell")]}, "no modality of X"),
        ({"kernels": [("near", "rbf", "audio")] * 2}, "not unique"),
        ({"kernels": [("weights", "rbf", "audio")]}, "conflict"),
        ({"random_state": "lucky"}, "cannot be used to seed"),
        ({"remainder": "keep"}, "remainder must be one of"),
    ],
)
def test_estimators_refuse(cls, params, message, frame):
    with pytest.raises(ValueError, match=message):
        cls(**params).fit(frame)


def test_estimators_refuse_their_own(frame):
    with pytest.raises(ValueError, match="landmarks must be one of 'uniform'"):
        ModalityNystroem(landmarks="best").fit(frame)
    with pytest.raises(ValueError, match="normalize must be one of"):
        ModalityNystroem(normalize="trace").fit(frame)
    for cls in TRANSFORMERS:
        with pytest.raises(TypeError, match="sparse"):
            cls(modalities={"a": [0, 1], "b": [2]}).fit(sparse.random(9, 3, 0.5, format="csr"))
        for hole in (np.nan, np.inf):
            with pytest.raises(ValueError, match=r"NaN|infinity") as caught:
                cls().fit(frame.assign(video__c=hole))
            assert any("video" in note for note in caught.value.__notes__)
        fitted = cls(n_components=4).fit(frame)
        with pytest.raises(ValueError, match="modality 'text' lacks the columns 'text__f'"):
            fitted.transform(frame.drop(columns="text__f"))


@pytest.mark.parametrize("cls", TRANSFORMERS)
def test_a_refit_keeps_nothing(cls, frame):
    features = cls(n_components=6, random_state=0).fit(frame)
    other = frame[["audio__a", "video__c", "video__d"]]
    again = features.fit(other).transform(other)
    fresh = cls(n_components=6, random_state=0).fit(other)
    np.testing.assert_array_equal(again, fresh.transform(other))
    assert list(features.maps_) == ["audio", "video"]
