"""EasyMKL's margin problem against a conic solver and closed forms."""

import numpy as np
import oracles_mkl as oracles
import pytest
from threadpoolctl import threadpool_limits

from mkfusion.solvers import _easy, solve_easy

LAMBDAS = [0.0, 1e-3, 0.1, 0.5, 0.9, 1.0]


@pytest.fixture
def rng(global_seed):
    return np.random.default_rng(global_seed)


def problem(rng, n=40, kind="smooth"):
    X = rng.normal(size=(n, 3))
    y = np.where(X[:, 0] + rng.normal(scale=0.5, size=n) > 0, 1.0, -1.0)
    y[:2] = 1.0, -1.0
    squares = np.square(X[:, None] - X[None]).sum(axis=2)
    Ks = {
        "rough": [np.exp(-squares), np.exp(-4 * squares), np.eye(n)],
        "smooth": [np.exp(-0.05 * squares), np.exp(-0.2 * squares), 1 + X @ X.T / 3],
        "linear": [np.outer(x, x) for x in X.T],
    }[kind]
    return np.stack(Ks), y


def recomputed(K, y, lam, gamma):
    """Return the objective and the bound that the docstring of EasySolution states."""
    slope = oracles.easy_matrix(K, y, lam) @ gamma
    objective = gamma @ slope
    least = max(slope[y > 0].min() + slope[y < 0].min(), 0.0)
    return objective, least**2 / objective if objective > 0 else 0.0


@pytest.mark.parametrize("kind", ["rough", "smooth", "linear"])
@pytest.mark.parametrize("lam", LAMBDAS)
def test_a_conic_solver_finds_the_same(lam, kind, rng):
    Ks, y = problem(rng, kind=kind)
    K = Ks.sum(axis=0)
    found = solve_easy(K, y, lam=lam)
    optimum = oracles.easy_optimum(K, y, lam)
    assert found.converged
    assert found.gamma.min() >= 0
    assert found.gamma[y > 0].sum() == pytest.approx(1.0, abs=1e-12)
    assert found.gamma[y < 0].sum() == pytest.approx(1.0, abs=1e-12)
    objective, lower = recomputed(K, y, lam, found.gamma)
    assert found.objective == pytest.approx(objective, abs=1e-13 * K.max())
    assert found.lower == pytest.approx(lower, rel=1e-6, abs=1e-12)
    assert found.gap == found.objective - found.lower
    noise = 1e-11 * K.max()
    assert found.lower - 1e-7 * optimum - noise <= optimum
    assert optimum <= found.objective + 1e-7 * optimum + noise


@pytest.mark.parametrize("kind", ["rough", "smooth", "linear"])
@pytest.mark.parametrize("lam", [0.1, 0.5, 0.9])
def test_the_weights_are_those_of_plain_projected_gradients(lam, kind, rng):
    Ks, y = problem(rng, kind=kind)
    K = Ks.sum(axis=0)
    ours, theirs = (
        np.einsum("i,mij,j->m", y * gamma, Ks, y * gamma)
        for gamma in (solve_easy(K, y, lam=lam).gamma, oracles.easy_descent(K, y, lam))
    )
    np.testing.assert_allclose(ours / ours.sum(), theirs / theirs.sum(), atol=3e-8)


def test_all_ridge_is_uniform_over_each_class(rng):
    Ks, y = problem(rng)
    found = solve_easy(Ks.sum(axis=0), y, lam=1.0)
    expected = np.where(y > 0, 1 / (y > 0).sum(), 1 / (y < 0).sum())
    np.testing.assert_array_equal(found.gamma, expected)
    assert found.objective == pytest.approx(1 / (y > 0).sum() + 1 / (y < 0).sum())
    assert found.gap == pytest.approx(0.0, abs=1e-15)
    assert (found.iterations, found.systems, found.converged) == (0, 0, True)


def test_no_ridge_is_the_distance_of_the_hulls(rng):
    x = np.sort(rng.normal(size=30))
    x[15:] += 1.0
    y, order = np.repeat([-1.0, 1.0], 15), rng.permutation(30)
    found = solve_easy(np.outer(x, x)[np.ix_(order, order)], y[order], lam=0.0)
    assert found.objective == pytest.approx((x[15] - x[14]) ** 2, rel=1e-7)
    nearest = np.zeros(30)
    nearest[14:16] = 1.0
    np.testing.assert_allclose(found.gamma, nearest[order], atol=1e-6)


def test_hulls_that_overlap_have_the_distance_0(rng):
    x = rng.normal(size=30)
    y = np.where(rng.random(30) > 0.5, 1.0, -1.0)
    y[x.argmin()], y[x.argmax()] = 1.0, 1.0  # the others lie between
    y[np.argsort(x)[10:12]] = -1.0
    found = solve_easy(np.outer(x, x), y, lam=0.0)
    assert found.objective <= 1e-12 * np.square(x).max()
    assert found.converged


def test_equal_samples_and_equal_classes(rng):
    """Twins share what one would have; a class that copies the other has distance 0."""
    Ks, y = problem(rng)
    K = Ks.sum(axis=0)
    rows = np.r_[np.arange(40), 5, 5]
    once, thrice = solve_easy(K, y, lam=0.0), solve_easy(K[np.ix_(rows, rows)], y[rows], lam=0.0)
    assert thrice.objective == pytest.approx(once.objective, rel=1e-6, abs=1e-12)
    copied = np.tile(K, (2, 2))
    labels = np.repeat([1.0, -1.0], 40)
    found = solve_easy(copied, labels, lam=0.0)
    assert found.objective <= 1e-12 * K.max()


@pytest.mark.parametrize("scale", [1e-8, 1e8])
def test_the_scale_of_the_kernel_trades_with_lambda(scale, rng):
    Ks, y = problem(rng, kind="rough")
    K = Ks.sum(axis=0)
    lam = 0.3
    scaled = scale * (1 - lam) / lam  # the same ratio of both terms
    other = scaled / (1 + scaled)
    found = solve_easy(K * scale, y, lam=lam)
    plain = solve_easy(K, y, lam=1 - other)
    np.testing.assert_allclose(found.gamma, plain.gamma, atol=1e-6)


@pytest.mark.parametrize("scale", [1e-150, 1e150])
def test_extreme_scales(scale, rng):
    Ks, y = problem(rng, kind="rough")
    K = Ks.sum(axis=0)
    found, plain = (solve_easy(kernel, y, lam=0.0) for kernel in (K * scale, K))
    assert found.converged
    assert np.isfinite(found.gap)
    np.testing.assert_allclose(found.gamma, plain.gamma, atol=1e-6)


def test_the_order_of_samples_and_the_sign_of_labels_do_not_matter(rng):
    Ks, y = problem(rng)
    K, order = Ks.sum(axis=0), rng.permutation(40)
    found = solve_easy(K, y, lam=0.2).gamma
    moved = solve_easy(K[np.ix_(order, order)], y[order], lam=0.2).gamma
    np.testing.assert_allclose(moved, found[order], atol=1e-7)
    np.testing.assert_allclose(solve_easy(K, -y, lam=0.2).gamma, found, atol=1e-7)


def test_one_sample_of_a_class_has_all_its_weight(rng):
    Ks, _ = problem(rng)
    y = np.ones(40)
    y[7] = -1.0
    found = solve_easy(Ks.sum(axis=0), y, lam=0.1)
    assert found.gamma[7] == 1.0
    assert found.converged
    pair = solve_easy(np.eye(2), [1.0, -1.0])
    assert pair.gamma.tolist() == [1.0, 1.0]


@pytest.mark.parametrize(("lam", "kind"), [(0.0, "smooth"), (1e-6, "linear"), (1e-3, "linear")])
def test_where_pairs_are_slow_linear_systems_take_over(lam, kind, rng):
    Ks, y = problem(rng, n=300, kind=kind)
    K = Ks.sum(axis=0)
    found = solve_easy(K, y, lam=lam)
    assert found.systems > 0
    objective, lower = recomputed(K, y, lam, found.gamma)
    if lam == 0:  # nearly singular: the distance itself is nearly rounding
        assert objective - lower <= 1e-9 * K.max()
    else:
        assert found.converged
        assert found.iterations < 100 * len(K)
        assert objective - lower <= 1e-8 * objective + 1e-12 * K.max()


def test_stopped_early_it_says_so(rng):
    Ks, y = problem(rng)
    K = Ks.sum(axis=0)
    few, none = solve_easy(K, y, max_iter=3), solve_easy(K, y, max_iter=0)
    assert none.gamma.tolist() == solve_easy(K, y, lam=1.0).gamma.tolist()
    assert (none.converged, none.iterations) == (False, 0)
    assert few.iterations <= 3
    objective, lower = recomputed(K, y, 0.1, none.gamma)
    assert (none.objective, none.lower) == pytest.approx((objective, lower))
    assert none.gap > 1e-3 * none.objective


def test_compiled_and_plain_moves_are_the_same(rng, monkeypatch):
    Ks, y = problem(rng)
    K = Ks.sum(axis=0)
    ours = solve_easy(K, y, lam=0.1)
    monkeypatch.setattr(_easy, "_MOVE", _easy._move_pairs_plain)
    plain = solve_easy(K, y, lam=0.1)
    np.testing.assert_allclose(plain.gamma, ours.gamma, atol=1e-9)
    assert abs(plain.iterations - ours.iterations) <= 0.2 * ours.iterations + 20


def test_float32_is_summed_in_float64(rng):
    Ks, y = problem(rng, kind="rough")
    single = Ks.sum(axis=0).astype(np.float32)
    ours, exact = solve_easy(single, y), solve_easy(single.astype(np.float64), y)
    np.testing.assert_allclose(ours.gamma, exact.gamma, atol=1e-9)


def test_inputs_are_not_written_to_and_may_lie_in_any_order(rng):
    Ks, y = problem(rng)
    K = Ks.sum(axis=0)
    K.flags.writeable = y.flags.writeable = False
    found = solve_easy(K, y).gamma
    np.testing.assert_array_equal(solve_easy(np.asfortranarray(K), y).gamma, found)
    wide = np.zeros((80, 80))
    wide[::2, ::2] = K
    np.testing.assert_array_equal(solve_easy(wide[::2, ::2], y.astype(int).tolist()).gamma, found)


def test_threads_do_not_matter(rng):
    Ks, y = problem(rng, n=200)
    results = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            results.append(solve_easy(Ks.sum(axis=0), y, lam=0.01).gamma)
    np.testing.assert_array_equal(*results)


FOUR = np.eye(4)
SIGNS = np.array([1.0, -1.0, 1.0, -1.0])
INDEFINITE = np.array([[1.0, 3.0, 0, 0], [3.0, 1.0, 0, 0], [0, 0, 1.0, 3.0], [0, 0, 3.0, 1.0]])
REFUSALS = {
    "not square": (np.ones((4, 3)), SIGNS, {}, "square"),
    "empty": (np.empty((0, 0)), [], {}, "at least one sample"),
    "a number": (1.0, SIGNS, {}, "2-D"),
    "NaN": (np.where(FOUR, 1.0, np.nan), SIGNS, {}, r"K must be finite, got nan at index \(0, 1"),
    "infinity": (FOUR + np.inf, SIGNS, {}, "K must be finite"),
    "asymmetric": (np.triu(np.ones((4, 4))), SIGNS, {}, "symmetric"),
    "indefinite within a class": (INDEFINITE, [1.0, 1, 1, -1], {}, "smallest eigenvalue is -2"),
    "indefinite between classes": (INDEFINITE, SIGNS, {}, "smallest eigenvalue is -2"),
    "one class": (FOUR, np.ones(4), {}, "both -1 and 1"),
    "labels": (FOUR, [0, 1, 0, 1], {}, "-1 and 1 only"),
    "short": (FOUR, [1, -1], {}, "4 samples"),
    "two columns": (FOUR, np.stack([SIGNS, SIGNS], axis=1), {}, "1-D"),
    "lambda": (
        FOUR,
        SIGNS,
        {"lam": 1.1},
        "lam must be a finite number of at least 0 and at most 1",
    ),
    "lambda of NaN": (FOUR, SIGNS, {"lam": np.nan}, "lam must be"),
    "tolerance": (FOUR, SIGNS, {"tol": -1.0}, "tol must be"),
}


@pytest.mark.parametrize(("K", "y", "kwargs", "message"), REFUSALS.values(), ids=REFUSALS.keys())
def test_refusals_say_what_is_wrong(K, y, kwargs, message):
    with pytest.raises(ValueError, match=message):
        solve_easy(K, y, **kwargs)
