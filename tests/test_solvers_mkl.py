"""The fast solver of exact multiple kernel learning, judged by a conic one and by its bounds."""

import numpy as np
import pytest

from mkfusion.kernels import RBF, KernelStore, Linear, stack
from mkfusion.solvers import solve_mkl, solve_mkl_conic, solve_svm

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
    beta = solution.alpha * Y
    mixed = np.tensordot(solution.theta, K, 1)
    decision = beta @ mixed + solution.bias[:, None]
    upper = 0.5 * np.einsum("ci,ij,cj->", beta, mixed, beta)
    upper += (C * np.maximum(0, 1 - Y * decision)).sum()
    low = solution.lower_alpha * Y
    q = np.einsum("ci,mij,cj->m", low, K, low)
    dual = np.inf if norm == 1 else 1 if np.isinf(norm) else norm / (norm - 1)
    radius = M ** (-1.0 if np.isinf(norm) else 1 / norm - 1)
    return upper, solution.lower_alpha.sum() - 0.5 * radius * np.linalg.norm(q, dual)


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
    assert (found.alpha >= 0).all()
    assert (found.alpha <= C).all()
    np.testing.assert_allclose((found.lower_alpha * Y).sum(axis=1), 0, atol=1e-10)
    size = np.linalg.norm(found.theta, np.inf if np.isinf(norm) else norm)
    assert size <= len(K) ** (-1.0 if np.isinf(norm) else 1 / norm - 1) * (1 + 1e-12)
    assert found.history.shape == (found.n_solves, 2)
    assert found.history[:, 0].min() == found.objective


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
    beta = found.alpha * Y
    q = np.einsum("ci,mij,cj->m", beta, K, beta)
    active = found.theta > 1e-6
    assert q[~active].max(initial=0) <= q[active].max() * (1 + 1e-3)
    np.testing.assert_allclose(q[active], q[active].max(), rtol=1e-2)


def test_any_number_of_threads(global_seed):
    store, _, Y = problem(global_seed, n_classes=3)
    one, two = (solve_mkl(store, Y, n_threads=n) for n in (1, 2))
    np.testing.assert_array_equal(one.theta, two.theta)
    np.testing.assert_array_equal(one.alpha, two.alpha)


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
