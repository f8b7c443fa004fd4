"""The fast solver of exact multiple kernel learning, judged by a conic one and by its bounds."""

import numpy as np
import pytest

from mkfusion.kernels import RBF, KernelStore, Linear, Precomputed, stack
from mkfusion.solvers import solve_mkl, solve_mkl_conic, solve_svm
from mkfusion.solvers._machines import MACHINES, Problems
from mkfusion.solvers._mkl import _Search

NORMS = (1.0, 4 / 3, 2.0, np.inf)


def problem(seed, n=80, n_classes=2, noise=1):
    """Draw overlapping classes in two informative views and some views of noise."""
    rng = np.random.default_rng(seed)
    y = rng.integers(n_classes, size=n)
    y[:n_classes] = range(n_classes)
    centres = rng.normal(size=(n_classes, 6))
    X = centres[y] + rng.normal(size=(n, 6))
    blocks = [X[:, :3], X[:, 3:], *(rng.normal(size=(n, 3)) for _ in range(noise))]
    kernels = [RBF().resolve(block) for block in blocks]
    signs = np.array([np.where(y == c, 1.0, -1.0) for c in range(n_classes)])
    return (
        KernelStore(kernels, blocks),
        stack(kernels, blocks),
        signs[1:] if n_classes == 2 else signs,
    )


def bounds(K, Y, C, norm, solution):
    """Recompute both bounds from what the solution stores, by their definitions."""
    M = len(K)
    beta = solution.coef
    mixed = np.tensordot(solution.theta, K, 1)
    decision = beta @ mixed + solution.bias[:, None]
    upper = 0.5 * np.einsum("ci,ij,cj->", beta, mixed, beta)
    upper += (C * np.maximum(0, 1 - Y * decision)).sum()
    low = solution.lower_coef
    q = np.einsum("ci,mij,cj->m", low, K, low)
    dual = np.inf if norm == 1 else 1 if np.isinf(norm) else norm / (norm - 1)
    radius = M ** (-1.0 if np.isinf(norm) else 1 / norm - 1)
    return upper, (low * Y).sum() - 0.5 * radius * np.linalg.norm(q, dual)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("norm", NORMS)
def test_equals_the_conic_optimum(norm, n_classes, global_seed):
    store, K, Y = problem(global_seed, n_classes=n_classes)
    found = solve_mkl(store, Y, 1.0, norm=norm, tol=1e-6)
    conic = solve_mkl_conic(K, Y.T if n_classes > 2 else Y[0], 1.0, norm=norm)
    assert found.converged
    # Each optimum lies between the other's bounds.
    slack = 1e-7 * conic.upper
    assert conic.lower - slack <= found.objective
    assert found.lower - slack <= conic.upper
    assert abs(found.objective - conic.upper) <= found.gap + conic.gap + slack


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("norm", NORMS)
def test_bounds_are_what_they_say(norm, n_classes, global_seed):
    store, K, Y = problem(global_seed, n_classes=n_classes)
    C = np.random.default_rng(global_seed).uniform(0.5, 2, Y.shape[1])
    found = solve_mkl(store, Y, C, norm=norm)
    upper, lower = bounds(K, Y, C, norm, found)
    assert found.objective == pytest.approx(upper, rel=1e-10)
    assert found.lower == pytest.approx(lower, rel=1e-10)
    assert 0 <= found.gap <= 1e-3 * found.objective
    assert (found.coef * Y >= 0).all()
    assert (found.coef * Y <= C).all()
    np.testing.assert_allclose((found.lower_coef).sum(axis=1), 0, atol=1e-10)
    size = np.linalg.norm(found.theta, np.inf if np.isinf(norm) else norm)
    assert size <= len(K) ** (-1.0 if np.isinf(norm) else 1 / norm - 1) * (1 + 1e-12)
    assert found.history.shape == (found.n_solves, 2)
    assert found.history[:, 0].min() == found.objective


@pytest.mark.parametrize("norm", NORMS)
def test_at_the_size_of_the_reference(norm):
    """120 samples: the conic optimum within 1e-5, and the conic weights."""
    store, K, Y = problem(7, n=120)
    found = solve_mkl(store, Y, 1.0, norm=norm, tol=1e-7)
    conic = solve_mkl_conic(K, Y[0], 1.0, norm=norm)
    assert found.objective == pytest.approx(conic.objective, rel=1e-5)
    np.testing.assert_allclose(found.theta, conic.theta, atol=2e-3)
    assert conic.theta[-1] > 0.05  # the kernel on noise has weight, and the same


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("task", ["svr", "ridge", "one_class"])
def test_other_machines_equal_the_conic_optimum(task, norm, global_seed):
    store, K, _ = problem(global_seed, n=60)
    rng = np.random.default_rng(global_seed)
    C = rng.uniform(0.5, 2, 60)
    if task == "one_class":
        y, C = None, C / (0.3 * C.sum())
    else:
        y = 5 * K[0, 0] + 2 * K[1, 3] + 0.3 * rng.normal(size=60)
    found = solve_mkl(store, y, C, norm=norm, task=task, epsilon=0.2, tol=1e-6)
    conic = solve_mkl_conic(K, y, C, norm=norm, task=task, epsilon=0.2)
    assert found.converged
    slack = 1e-7 * abs(conic.upper)
    assert conic.lower - slack <= found.objective
    assert found.lower - slack <= conic.upper
    assert abs(found.objective - conic.upper) <= found.gap + conic.gap + slack
    assert found.n_solves <= 100


@pytest.mark.parametrize("task", ["svr", "ridge"])
def test_several_outputs_share_weights(task, global_seed):
    store, K, _ = problem(global_seed, n=60)
    Y = np.random.default_rng(global_seed).normal(size=(2, 60)) + K[0, :2]
    found = solve_mkl(store, Y, task=task, tol=1e-6)
    conic = solve_mkl_conic(K, Y.T, task=task)
    assert found.objective == pytest.approx(conic.upper, rel=1e-5)


def test_slope_and_curvature_by_finite_differences(global_seed):
    """The slope of J is -q/2, and its second derivatives are what Newton's step takes them for."""
    store, _, Y = problem(global_seed, n=60)
    theta, step = np.array([0.3, 0.3, 0.4]), 1e-5

    def solved(weights):
        problems = Problems(Y, np.full_like(Y, 3.0), 0.0)
        K = store.combine(weights)
        search = _Search(store, MACHINES["svm"], problems, 1.0, 1e-3, 10, {}, None, np.float64)
        search.K = K
        return search, search.bounded(weights, solve_svm(K, Y[0], 3.0, tol=1e-9).alpha * Y)

    search, point = solved(theta)
    H = search.curvature(point, np.arange(3))
    for m in range(3):
        above, below = (solved(theta + sign * step * np.eye(3)[m])[1] for sign in (1, -1))
        slope = (above.upper - below.upper) / (2 * step)
        assert slope == pytest.approx(-0.5 * point.forms[m], rel=1e-4, abs=1e-6)
        same = [(np.abs(p.coef) > 0) & (np.abs(p.coef) < 3.0) for p in (above, point, below)]
        if (same[0] == same[1]).all() and (same[2] == same[1]).all():
            bend = -0.5 * (above.forms - below.forms) / (2 * step)
            np.testing.assert_allclose(H[m], bend, rtol=1e-3, atol=1e-3 * np.abs(H).max())


def test_the_order_of_kernels_does_not_matter(global_seed):
    rng = np.random.default_rng(global_seed)
    X = [rng.normal(size=(60, d)) for d in (1, 2, 3)]
    y = np.where(X[0][:, 0] + X[1][:, 0] + rng.normal(size=60) > 0, 1.0, -1.0)
    kernels = [RBF(0.5), RBF(0.3), Linear()]
    forth = solve_mkl(KernelStore(kernels, X), y, tol=1e-7)
    back = solve_mkl(KernelStore(kernels[::-1], X[::-1]), y, tol=1e-7)
    np.testing.assert_allclose(back.theta[::-1], forth.theta, atol=2e-3)


def test_hundreds_of_kernels(global_seed):
    """Above a hundred kernels a step moves some of them, and the bound still covers them all."""
    rng = np.random.default_rng(global_seed)
    X = rng.normal(size=(60, 30))
    y = np.where(X[:, 0] + X[:, 1] + rng.normal(size=60) > 0, 1.0, -1.0)
    kernels = [RBF(gamma) for _ in range(30) for gamma in (0.01, 0.1, 1.0, 10.0)]
    blocks = [X[:, [j]] for j in range(30) for _ in range(4)]
    store = KernelStore(kernels, blocks)
    found = solve_mkl(store, y, 100.0, tol=1e-2)
    assert found.converged
    assert found.n_solves <= 60
    q = store.quadratic_forms(found.lower_coef[0])
    assert found.lower == pytest.approx(np.abs(found.lower_coef).sum() - 0.5 * q.max(), rel=1e-9)


@pytest.mark.parametrize("norm", [1.0, 4 / 3, 2.0])
@pytest.mark.parametrize("C", [0.1, 1.0, 100.0])
@pytest.mark.parametrize("case", ["tied", "one column", "missing", "doubled"])
def test_kinks_are_no_obstacle(case, C, norm, global_seed):
    """Kernels of low rank leave dual variables undetermined, and J has kinks at the corners."""
    rng = np.random.default_rng(global_seed)
    blocks = [rng.normal(size=(60, 3)) for _ in range(3)]
    score = blocks[0][:, 0] + 0.5 * blocks[1][:, 0] + 0.5 * rng.normal(size=60)
    kernels, scales = [RBF(1.0)] * 3, None
    if case == "tied":
        blocks = [np.sign(block) * 3 for block in blocks]
    elif case == "one column":
        kernels, blocks = [Linear()] * 3, [block[:, :1] for block in blocks]
    elif case == "doubled":
        blocks = [blocks[0]] * 3
    else:
        there = rng.random((3, 60)) < 0.6
        there[0] |= ~there.any(axis=0)
        blocks, scales = (
            [np.sign(block[:, :2]) for block in blocks],
            there / np.sqrt(there.mean(0)),
        )
    store = KernelStore(kernels, blocks, scales=scales)
    found = solve_mkl(store, np.where(score > 0, 1.0, -1.0), C, norm=norm)
    assert found.converged
    assert found.n_solves <= 60


def test_kernels_of_low_rank_in_single_precision(global_seed):
    X = np.random.default_rng(global_seed).normal(size=(40, 2)).astype(np.float32)
    G = X @ X.T
    y = np.where(X[:, 0] > 0, 1.0, -1.0)
    found = solve_mkl(KernelStore([Precomputed(), Precomputed()], [G, G**2]), y, 10.0)
    assert found.converged


def test_single_precision_of_the_combined_kernel(global_seed):
    """The bounds are made in float64: what the machines read does not blur them."""
    store, K, Y = problem(global_seed)
    found = solve_mkl(store, Y, dtype=np.float32)
    upper, lower = bounds(K, Y, 1.0, 1.0, found)
    assert found.converged
    assert found.objective == pytest.approx(upper, rel=1e-12)
    assert found.lower == pytest.approx(lower, rel=1e-12)


def test_a_solution_nearby_saves_machines(global_seed):
    store, _, Y = problem(global_seed, n=100)
    first = solve_mkl(store, Y, 1.0)
    again = solve_mkl(store, Y, 1.0, start=first)
    assert again.n_solves == 0
    assert again.gap <= first.gap * (1 + 1e-9)
    assert solve_mkl(store, Y, 1.1, start=first).n_solves <= first.n_solves + 1


def test_weights_of_zero_are_left_behind(global_seed):
    """A sparse solution starts a problem in which every kernel has weight."""
    store, _, Y = problem(global_seed, n=100)
    sparse = solve_mkl(store, Y, 0.05)._replace(theta=np.array([1.0, 0.0, 0.0]))
    found = solve_mkl(store, Y, 0.05, norm=2, start=sparse)
    assert found.converged
    assert (found.theta > 0).all()


def test_bounds_are_called_back():
    store, _, Y = problem(3)
    told = []
    found = solve_mkl(store, Y, callback=lambda upper, lower: told.append((upper, lower)))
    assert len(told) == found.n_solves
    assert told[-1] == (found.objective, found.lower)


def test_few_machines_are_solved(global_seed):
    """Newton's steps need few; the wrapper's closed form alone takes many at p = 1."""
    solves = [solve_mkl(problem(100 * k + global_seed)[0], problem(100 * k + global_seed)[2]).n_solves for k in range(5)]  # fmt: skip # noqa: E501
    assert np.median(solves) <= 8


def test_one_kernel_is_a_support_vector_machine(global_seed):
    rng = np.random.default_rng(global_seed)
    X = rng.normal(size=(40, 2))
    y = np.where(X[:, 0] + rng.normal(size=40) > 0, 1.0, -1.0)
    store = KernelStore([RBF(0.5)], X)
    found = solve_mkl(store, y, tol=1e-7)
    machine = solve_svm(store.combine([1.0]), y, 1.0, tol=1e-8)
    np.testing.assert_array_equal(found.theta, [1.0])
    assert found.objective == pytest.approx(machine.objective, rel=1e-6)


def test_infinite_norm_is_the_mean(global_seed):
    store, _, Y = problem(global_seed)
    found = solve_mkl(store, Y, norm=np.inf, tol=1e-8)
    np.testing.assert_array_equal(found.theta, np.full(3, 1 / 3))


def test_no_weights_of_a_grid_are_better(global_seed):
    store, K, Y = problem(global_seed)
    found = solve_mkl(store, Y, tol=1e-6)
    for a in np.linspace(0, 1, 6):
        for b in np.linspace(0, 1 - a, 6):
            mixed = np.tensordot([a, b, 1 - a - b], K, 1)
            assert solve_svm(mixed, Y[0], 1.0).objective >= found.lower * (1 - 1e-9) - 1e-3


def test_a_doubled_kernel_leaves_the_objective(global_seed):
    rng = np.random.default_rng(global_seed)
    X = [rng.normal(size=(60, 2)), rng.normal(size=(60, 3))]
    y = np.where(X[0][:, 0] + 0.5 * rng.normal(size=60) > 0, 1.0, -1.0)
    kernels = [RBF(0.5), RBF(0.3)]
    once = solve_mkl(KernelStore(kernels, X), y, tol=1e-6)
    twice = solve_mkl(KernelStore([*kernels, RBF(0.5)], [*X, X[0]]), y, tol=1e-6)
    assert twice.objective == pytest.approx(once.objective, rel=3e-6)


def test_scaling_kernels_and_costs_against_one_another(global_seed):
    rng = np.random.default_rng(global_seed)
    X = [rng.normal(size=(60, 2)), rng.normal(size=(60, 3))]
    y = np.where(X[0][:, 0] + X[1][:, 0] + rng.normal(size=60) > 0, 1.0, -1.0)
    plain = solve_mkl(KernelStore([RBF(0.5), RBF(0.3)], X), y, 1.0, tol=1e-7)
    scaled = solve_mkl(KernelStore([8.0 * RBF(0.5), 8.0 * RBF(0.3)], X), y, 1 / 8, tol=1e-7)
    np.testing.assert_allclose(scaled.theta, plain.theta, atol=1e-3)


def test_inactive_kernels_have_smaller_forms(global_seed):
    store, K, Y = problem(global_seed)
    found = solve_mkl(store, Y, tol=1e-7)
    beta = found.coef
    q = np.einsum("ci,mij,cj->m", beta, K, beta)
    active = found.theta > 1e-6
    assert q[~active].max(initial=0) <= q[active].max() * (1 + 1e-3)
    np.testing.assert_allclose(q[active], q[active].max(), rtol=1e-2)


def test_any_number_of_threads(global_seed):
    store, _, Y = problem(global_seed, n_classes=3)
    one, two = (solve_mkl(store, Y, n_threads=n) for n in (1, 2))
    np.testing.assert_array_equal(one.theta, two.theta)
    np.testing.assert_array_equal(one.coef, two.coef)


def test_one_class_around_the_origin_ends(global_seed):
    """Nothing separates samples from their mean: the optimum is 0, and no gap relative to it."""
    X = np.random.default_rng(global_seed).normal(size=(50, 2))
    X -= X.mean(axis=0)
    found = solve_mkl(KernelStore([Linear(), Linear()], [X, X**3]), None, 0.05, task="one_class")
    assert found.converged
    assert abs(found.objective) <= 1e-2


@pytest.mark.parametrize("case", ["zero kernels", "one class", "no costs", "constant kernels"])
def test_degenerate_problems_end(case):
    X, y = np.arange(12.0)[:, None], np.repeat([-1.0, 1.0], 6)
    kernels, C = [RBF(0.1), RBF(1.0)], 1.0
    if case == "zero kernels":
        X, kernels = np.zeros((12, 1)), [Linear(), Linear()]
    elif case == "constant kernels":
        X = np.zeros((12, 1))
    elif case == "one class":
        y = np.ones(12)
    else:
        C = 0.0
    found = solve_mkl(KernelStore(kernels, X), y, C)
    assert np.isfinite([found.objective, found.lower, *found.theta]).all()
    assert found.converged


def test_stopping_early_is_told():
    store, _, Y = problem(0)
    found = solve_mkl(store, Y, tol=1e-9, max_solves=2)
    assert not found.converged
    assert found.n_solves == 2
    assert found.gap > 0


@pytest.mark.parametrize("norm", [0.5, np.nan, "two"])
def test_wrong_norms_are_refused(norm):
    store, _, Y = problem(0)
    with pytest.raises(ValueError, match="norm must be a number p >= 1"):
        solve_mkl(store, Y, norm=norm)
