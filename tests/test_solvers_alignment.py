"""Kernel weights by alignment: both quadratic programmes, and the inner products they need."""

from itertools import pairwise

import numpy as np
import oracles_alignment as oracles
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import nnls
from threadpoolctl import threadpool_limits

from mkfusion.kernels import alignment, ideal_kernel
from mkfusion.solvers import alignment_terms, solve_alignment

CONSTRAINTS = ["cone", "simplex"]
seeds = st.integers(0, 2**32 - 1)


@pytest.fixture
def rng(global_seed):
    return np.random.default_rng(global_seed)


def products(rng, n_kernels, rank=None, tilt=0.3):
    """Return M = root' root, and the inner products with one more vector."""
    root = rng.normal(size=(rank or n_kernels + 2, n_kernels)) + tilt
    return root.T @ root, root.T @ (rng.normal(size=len(root)) + tilt), root


def kernels_of(rng, n=20, n_kernels=4):
    X = rng.normal(size=(n, n_kernels))
    y = np.where(X[:, 0] + rng.normal(size=n) > 0, 1.0, -1.0)
    y[:2] = 1.0, -1.0
    squares = np.square(X[:, None] - X[None])
    return np.exp(-np.moveaxis(squares, 2, 0)), y


def violation(M, a, v, constraint):
    """Return the largest violation of the optimality conditions."""
    gradient = M @ v - a
    level = gradient @ v if constraint == "simplex" else 0.0
    return max(np.abs((gradient - level) * (v > 0)).max(), (level - gradient).max(), 0.0)


# The optimum


@given(seeds, st.integers(1, 6), st.sampled_from(CONSTRAINTS), st.integers(-9, 9))
def test_no_choice_of_kernels_has_a_lower_objective(seed, n_kernels, constraint, power):
    M, a, _ = products(np.random.default_rng(seed), n_kernels)
    scale = 10.0**power if constraint == "cone" else 1.0
    found = solve_alignment(M * scale, a, constraint=constraint)
    best = oracles.optimum(M, a, constraint == "simplex") / scale
    np.testing.assert_allclose(found.v * scale, best * scale, atol=1e-7 * (1 + best.max() * scale))
    assert found.objective == pytest.approx(
        oracles.objective(M * scale, a, best), rel=1e-9, abs=1e-9 * abs(a).max() / scale
    )
    assert found.converged
    assert found.weights.sum() == pytest.approx(1.0)
    assert found.weights.min() >= 0


@pytest.mark.parametrize("constraint", CONSTRAINTS)
@pytest.mark.parametrize(("n_kernels", "rank"), [(12, 40), (40, 60), (40, 15)])
def test_a_conic_solver_finds_no_better(n_kernels, rank, constraint, rng):
    M, a, root = products(rng, n_kernels, rank)
    found = solve_alignment(M, a, constraint=constraint)
    other = oracles.cone_programme(root, a, constraint == "simplex")
    assert found.objective <= oracles.objective(M, a, other) + 1e-7 * abs(found.objective)
    assert violation(M, a, found.v, constraint) <= 1e-9 * np.abs(a).max()
    if rank >= n_kernels:
        np.testing.assert_allclose(found.v, other, atol=1e-5)


def test_the_cone_is_non_negative_least_squares(rng):
    M, a, root = products(rng, 60, 90)
    b = np.linalg.lstsq(root.T, a, rcond=None)[0]
    np.testing.assert_allclose(solve_alignment(M, a).v, nnls(root, b)[0], atol=1e-9)


@pytest.mark.parametrize("constraint", CONSTRAINTS)
def test_the_grid_of_the_simplex(constraint, rng):
    Ks, y = kernels_of(rng, n_kernels=3)
    M, a, _ = alignment_terms([Ks], y)
    found = solve_alignment(M, a, constraint=constraint)
    steps = 60
    grid = [(i, j, steps - i - j) for i in range(steps + 1) for j in range(steps + 1 - i)]
    points = np.array(grid) / steps
    if constraint == "cone":
        best = max(oracles.alignment(M, a, v) for v in points)
        ours = oracles.alignment(M, a, found.weights)
        assert best * (1 - 1e-12) <= ours <= best + 0.01 * abs(best)
        ideal = alignment(np.tensordot(found.weights, Ks, axes=1), np.outer(y, y))
        norm = alignment_terms([Ks], y).target_norm
        assert ours / norm == pytest.approx(ideal, abs=1e-12)
    else:
        best = min(oracles.objective(M, a, v) for v in points)
        assert found.objective <= best + 1e-12 * abs(best)
        assert found.objective >= best - 1e-3 * M.max()


def test_the_two_problems_differ_and_only_the_cone_ignores_scales(rng):
    M, a, _ = products(rng, 5, tilt=1.0)
    scales = np.exp(rng.normal(size=5))
    scaled, target = M * np.outer(scales, scales), a * scales
    cone = solve_alignment(M, a), solve_alignment(scaled, target)
    np.testing.assert_allclose(cone[0].v, cone[1].v * scales, rtol=1e-9, atol=1e-12)
    simplex = [
        solve_alignment(m, t, constraint="simplex").objective
        for m, t in ((M, a), (scaled, target))
    ]
    assert abs(simplex[0] - simplex[1]) > 1e-6 * abs(simplex[0])
    assert cone[0].objective <= simplex[0] + 1e-12
    assert cone[0].objective == pytest.approx(cone[1].objective)


@pytest.mark.parametrize("constraint", CONSTRAINTS)
def test_equal_kernels_share_what_one_would_have(constraint, rng):
    M, a, _ = products(rng, 5, tilt=1.0)
    a += 1.0  # at least some kernel is aligned
    index = [0, 1, 2, 3, 4, 0, 1, 1]
    found = solve_alignment(M, a, constraint=constraint)
    twice = solve_alignment(M[np.ix_(index, index)], a[index], constraint=constraint)
    joined = np.bincount(index, weights=twice.v)
    np.testing.assert_allclose(joined, found.v, atol=1e-9)
    assert twice.converged


@pytest.mark.parametrize("constraint", CONSTRAINTS)
def test_a_kernel_that_is_the_sum_of_others(constraint, rng):
    root = np.abs(rng.normal(size=(8, 3)))
    root = np.column_stack([root, root.sum(axis=1), root[:, 0] + root[:, 1]])
    M, a = root.T @ root, root.T @ np.abs(rng.normal(size=8))
    found = solve_alignment(M, a, constraint=constraint)
    assert violation(M, a, found.v, constraint) <= 1e-9 * a.max()
    other = oracles.cone_programme(root, a, constraint == "simplex")
    assert found.objective == pytest.approx(oracles.objective(M, a, other), rel=1e-7)


def test_nearly_equal_kernels_are_told_apart_as_far_as_digits_go():
    M = np.array([[1.0, 1.0 - 1e-9], [1.0 - 1e-9, 1.0]])
    found = solve_alignment(M, M @ [0.3, 0.7])
    np.testing.assert_allclose(found.v, [0.3, 0.7], atol=1e-6)


def test_a_singular_matrix_with_any_target_on_the_simplex(rng):
    """A linear programme, where M is 0: all weight on the kernel that is aligned best."""
    a = rng.normal(size=7)
    found = solve_alignment(np.zeros((7, 7)), a, constraint="simplex")
    np.testing.assert_array_equal(found.weights, np.eye(7)[a.argmax()])
    M = np.ones((3, 3))
    found = solve_alignment(M, [1.0, 3.0, 2.0], constraint="simplex")
    np.testing.assert_allclose(found.weights, [0, 1, 0], atol=1e-12)


def test_no_alignment_falls_back_to_uniform_weights():
    for M, a in [
        (np.eye(3), [-1.0, -2.0, -0.5]),
        (np.eye(3), np.zeros(3)),
        (np.zeros((3, 3)), np.zeros(3)),
        (np.zeros((3, 3)), np.ones(3)),  # rounding of kernels that are 0
    ]:
        found = solve_alignment(M, a)
        assert found.uniform
        assert found.converged
        assert found.weights.tolist() == [1 / 3] * 3
        assert found.v.tolist() == [0.0] * 3
        assert found.objective == 0.0
    assert not solve_alignment(np.eye(2), [-1.0, 1.0]).uniform
    assert not solve_alignment(np.eye(2), [-1.0, -2.0], constraint="simplex").uniform


def test_a_kernel_without_length_gets_no_weight(rng):
    M, a, _ = products(rng, 4, tilt=1.0)
    padded = np.zeros((5, 5))
    padded[:4, :4] = M
    found = solve_alignment(padded, [*(a + 1), 0.0])
    assert found.v[4] == 0.0
    np.testing.assert_array_equal(found.v[:4], solve_alignment(M, a + 1).v)


@pytest.mark.parametrize("constraint", CONSTRAINTS)
def test_the_residual_is_what_is_left(constraint, rng):
    M, a, _ = products(rng, 8)
    found = solve_alignment(M, a, constraint=constraint)
    gradient = M @ found.v - a
    if constraint == "simplex":
        left = (gradient @ found.v - gradient.min()) / np.abs(a).max()
    else:
        lengths = np.sqrt(M.diagonal())
        missed = np.where(found.v > 0, np.abs(gradient), np.maximum(-gradient, 0)) / lengths
        left = missed.max() / np.abs(a / lengths).max()
    assert found.residual == pytest.approx(left, abs=1e-13)
    assert type(found.residual) is float
    assert type(found.converged) is bool


@pytest.mark.parametrize("constraint", CONSTRAINTS)
def test_as_many_kernels_as_there_may_be(constraint, rng):
    M, a, _ = products(rng, 400, 300)
    found = solve_alignment(M, a, constraint=constraint)
    assert found.converged
    assert violation(M, a, found.v, constraint) <= 1e-8 * np.abs(a).max()


@pytest.mark.parametrize("constraint", CONSTRAINTS)
def test_the_order_of_kernels_does_not_matter(constraint, rng):
    M, a, _ = products(rng, 10)
    order = rng.permutation(10)
    found = solve_alignment(M, a, constraint=constraint)
    moved = solve_alignment(M[np.ix_(order, order)], a[order], constraint=constraint)
    np.testing.assert_allclose(moved.v, found.v[order], atol=1e-10)


EYE = np.eye(3)
REFUSALS = {
    "not square": (np.ones((2, 3)), np.ones(2), "square"),
    "empty": (np.empty((0, 0)), np.empty(0), "at least one"),
    "one number": (3.0, [1.0], "2-D"),
    "NaN": (np.diag([1.0, np.nan]), np.ones(2), "M must be finite"),
    "NaN in a": (EYE, [1.0, np.nan, 1.0], "a must be finite"),
    "asymmetric": (np.array([[1.0, 0.5], [0.0, 1.0]]), np.ones(2), "symmetric"),
    "indefinite": (np.array([[1.0, 2.0], [2.0, 1.0]]), np.ones(2), "smallest eigenvalue is -1"),
    "negative": (-EYE, np.ones(3), "smallest eigenvalue is -1"),
    "length of a": (EYE, np.ones(2), r"3 kernels of M, got shape \(2,\)"),
    "text": (EYE, ["a", "b", "c"], "real numbers"),
    "no inner products": (np.array([[1.0, -1.0], [-1.0, 1.0]]), np.ones(2), "without end"),
}


@pytest.mark.parametrize(("M", "a", "message"), REFUSALS.values(), ids=REFUSALS.keys())
def test_refusals_say_what_is_wrong(M, a, message):
    with pytest.raises(ValueError, match=message):
        solve_alignment(M, a)


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_extreme_scales(scale):
    M, a = np.array([[4.0, 1.0], [1.0, 1.0]]), np.array([4.0, 3.0])
    found, plain = solve_alignment(M * scale, a), solve_alignment(M, a)
    np.testing.assert_allclose(found.weights, plain.weights, rtol=1e-12)
    assert found.converged


def test_an_unknown_constraint():
    with pytest.raises(ValueError, match="constraint must be one of"):
        solve_alignment(EYE, np.ones(3), constraint="ball")


# What goes into them


def cut(Ks, heights):
    edges = np.cumsum([0, *heights])
    return [Ks[:, top:bottom] for top, bottom in pairwise(edges)]


@given(seeds, st.booleans(), st.booleans())
def test_terms_of_blocks_are_those_of_centred_kernels(seed, weighted, several):
    rng = np.random.default_rng(seed)
    Ks, y = kernels_of(rng, n=9, n_kernels=3)
    features = rng.normal(size=(9, 2)) if several else y
    weights = rng.integers(0, 3, size=9).astype(float) if weighted else None
    if weighted:
        weights[4] = 1.0
    found = alignment_terms(cut(Ks, [1, 4, 0, 4]), features, sample_weight=weights)
    used = np.ones(9) if weights is None else weights
    M, a, norm = oracles.terms(Ks, features.reshape(9, -1), used)
    np.testing.assert_allclose(found.products, M, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found.targets, a, rtol=1e-9, atol=1e-12)
    assert found.target_norm == pytest.approx(norm, abs=1e-12)
    np.testing.assert_array_equal(found.products, found.products.T)


def test_classes_by_indicators_are_the_ideal_kernel(rng):
    Ks, _ = kernels_of(rng)
    labels = rng.integers(0, 3, size=20)
    labels[:3] = 0, 1, 2
    found = alignment_terms([Ks], np.sqrt(3 / 2) * np.eye(3)[labels])
    ideal = ideal_kernel(labels)
    for K, m, a in zip(Ks, found.products.diagonal(), found.targets, strict=True):
        ours = a / np.sqrt(m) / found.target_norm
        assert ours == pytest.approx(alignment(K, ideal), abs=1e-12)


def test_nearly_constant_kernels_keep_their_digits(rng):
    """1 + 1e-7 of a kernel: its square loses 14 digits where it is centred after the sum."""
    X = rng.integers(-8, 8, size=(20, 2)).astype(float)
    y = np.repeat([1.0, -1.0], 10)
    small = np.stack([np.outer(x, x) for x in X.T]) * 2.0**-24
    plain, lifted = (alignment_terms([Ks], y) for Ks in (small, 1.0 + small))
    np.testing.assert_allclose(lifted.products, plain.products, rtol=1e-9, atol=1e-24)
    np.testing.assert_allclose(lifted.targets, plain.targets, rtol=1e-9, atol=1e-12)


def test_blocks_of_any_size_and_type_give_the_same(rng, monkeypatch):
    Ks, y = kernels_of(rng)
    whole = alignment_terms([Ks], y)
    monkeypatch.setattr("mkfusion.solvers._alignment.BLOCK_SIZE", 1)
    rows = alignment_terms((Ks[:, i : i + 1] for i in range(20)), y)
    np.testing.assert_allclose(rows.products, whole.products, rtol=1e-12)
    single = alignment_terms([Ks.astype(np.float32)], y)
    np.testing.assert_allclose(single.products, whole.products, rtol=1e-5)
    exact = alignment_terms([Ks.astype(np.float32).astype(np.float64)], y)
    np.testing.assert_array_equal(single.products, exact.products)


def test_inputs_are_not_written_to_and_threads_do_not_matter(rng):
    Ks, y = kernels_of(rng, n=80)
    Ks.flags.writeable = y.flags.writeable = False
    results = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            terms = alignment_terms([Ks], y)
            results.append((*terms[:2], solve_alignment(*terms[:2]).v))
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)


STACK = np.stack([np.eye(4), np.ones((4, 4))])
TERM_REFUSALS = {
    "too few rows": ([STACK[:, :3]], np.ones(4), None, "3 rows, but there are 4"),
    "no block": ([], np.ones(4), None, "0 rows"),
    "too many rows": ([STACK, STACK[:, :1]], np.ones(4), None, "more than 4 rows"),
    "columns": ([STACK[:, :, :3]], np.ones(4), None, r"\(n_kernels, n_rows, 4\)"),
    "other kernels": ([STACK[:, :2], STACK[:1, 2:]], np.ones(4), None, "same kernels"),
    "no kernel": ([STACK[:0]], np.ones(4), None, "same kernels"),
    "a matrix": ([np.eye(4)], np.ones(4), None, "block 0 must be a 3-D"),
    "NaN": ([STACK * np.nan], np.ones(4), None, "block 0 must be finite"),
    "NaN in the target": ([STACK], [1.0, np.nan, 1, 1], None, "target must be finite"),
    "negative weight": ([STACK], np.ones(4), [1, -1, 1, 1], "non-negative weight"),
    "no weight": ([STACK], np.ones(4), np.zeros(4), "some above 0"),
    "weights of another length": ([STACK], np.ones(4), np.ones(3), "sample_weight must hold"),
}


@pytest.mark.parametrize(
    ("blocks", "target", "weights", "message"), TERM_REFUSALS.values(), ids=TERM_REFUSALS.keys()
)
def test_refusals_of_blocks(blocks, target, weights, message):
    with pytest.raises(ValueError, match=message):
        alignment_terms(blocks, target, sample_weight=weights)
