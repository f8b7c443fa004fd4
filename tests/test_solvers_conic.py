"""The exact problems of multiple kernel learning as cone programmes, and their certificates."""

import cvxpy as cp
import numpy as np
import oracles_mkl as oracles
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.svm import SVC, SVR, OneClassSVM

from mkfusion.solvers import solve_mkl_conic
from mkfusion.solvers._bounds import (
    check_norm,
    dual_norm,
    lower_bound,
    on_ball,
    theta_from_forms,
    theta_step,
    upper_bound,
)
from mkfusion.solvers._tasks import TASKS, Hinges, lowest_point, project

NORMS = [1, 4 / 3, 2, np.inf]
EVERY_NORM = [*NORMS, 1.01, 1.2345, 3, 50]
N = 24


def rbf(X, gamma):
    return np.exp(-gamma * np.square(X[:, None] - X[None]).sum(axis=2))


def kernels_of(rng, n=N, n_kernels=3):
    """Return kernels of which the first know the labels, and a target of each kind."""
    X = rng.normal(size=(n, 2 * n_kernels))
    y = np.where(X[:, 0] + X[:, 2] + rng.normal(scale=0.7, size=n) > 0, 1.0, -1.0)
    y[:2] = 1.0, -1.0
    Ks = np.stack([rbf(X[:, 2 * m : 2 * m + 2], 0.5) for m in range(n_kernels)])
    return Ks, y, X[:, 0] + np.sin(2 * X[:, 2])


def target_of(task, y, numbers):
    return {"svm": y, "svr": numbers, "ridge": numbers, "one_class": None}[task]


def costs_of(task, rng, n=N):
    """Return costs by sample, that sum to more than 1."""
    return rng.uniform(0.5, 2.0, size=n) * (4 / n if task == "one_class" else 1.0)


def filled(task, target, n=N):
    return np.ones(n) if task == "one_class" else target


@pytest.fixture
def rng(global_seed):
    return np.random.default_rng(global_seed)


# What a solution certifies


@pytest.mark.parametrize("norm", EVERY_NORM)
@pytest.mark.parametrize("task", TASKS)
def test_both_bounds_are_what_the_definitions_say_and_enclose_the_optimum(task, norm, rng):
    Ks, y, numbers = kernels_of(rng)
    target, C = target_of(task, y, numbers), costs_of(task, rng)
    found = solve_mkl_conic(Ks, target, C, norm=norm, task=task)
    assert found.status in ("optimal", "optimal_inaccurate")
    y = filled(task, target)
    lower = oracles.lower_bound(task, Ks, y, C, found.alpha, norm)
    upper = oracles.upper_bound(task, Ks, y, C, found.theta, found.alpha, found.bias)
    size = max(abs(upper), 1e-3)
    assert found.lower == pytest.approx(lower, abs=1e-11 * size)
    assert found.upper == pytest.approx(upper, abs=1e-11 * size)
    assert found.gap == pytest.approx(upper - lower, abs=1e-10 * size)
    assert -1e-12 * size <= found.gap <= 1e-4 * size
    assert abs(found.objective - lower) <= 1e-6 * size
    combined = np.tensordot(found.theta, Ks, axes=1)
    at_theta = oracles.machine_optimum(task, combined, y, C)
    assert lower - 1e-7 * size <= at_theta <= upper + 1e-9 * size


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("task", TASKS)
def test_what_comes_back_is_feasible(task, norm, rng):
    Ks, y, numbers = kernels_of(rng)
    C = costs_of(task, rng)
    found = solve_mkl_conic(Ks, target_of(task, y, numbers), C, norm=norm, task=task)
    signs = y if task == "svm" else np.ones(N)
    assert signs @ found.alpha == pytest.approx(float(task == "one_class"), abs=1e-12)
    if task != "ridge":
        assert (found.alpha <= C).all()
        assert (found.alpha >= (-C if task == "svr" else 0.0)).all()
    assert found.theta.min() >= 0
    assert found.theta.sum() <= 1 + 1e-12
    if np.isfinite(norm):
        length = np.sum(found.theta**norm) ** (1 / norm)
        assert length == pytest.approx(len(Ks) ** (1 / norm - 1), rel=1e-12)


@pytest.mark.parametrize("norm", [1, 4 / 3, 2])
def test_no_weights_of_a_grid_are_better_and_the_best_are_near(norm, rng):
    Ks, y, _ = kernels_of(rng)
    C = costs_of("svm", rng)
    found = solve_mkl_conic(Ks, y, C, norm=norm)
    shapes = oracles.simplex_grid(3, 12)
    best = min(
        svc_optimum(np.tensordot(oracles.on_ball(shape, norm), Ks, axes=1), y, C)
        for shape in shapes
    )
    assert found.lower <= best * (1 + 1e-9)
    assert best <= found.upper * 1.01


def svc_optimum(K, y, C):
    machine = SVC(C=1.0, kernel="precomputed", tol=1e-8).fit(
        K, y, sample_weight=np.ascontiguousarray(C)
    )
    beta = np.zeros(len(y))
    beta[machine.support_] = machine.dual_coef_[0]
    return np.abs(beta).sum() - beta @ K @ beta / 2


def test_finite_differences_of_the_optimum_are_the_forms(rng):
    """J falls by q_m / 2 with theta_m; at the optimum no direction of the simplex descends."""
    Ks, y, _ = kernels_of(rng)
    C = np.ones(N)
    found = solve_mkl_conic(Ks, y, C)
    active = found.theta > 1e-4
    assert found.forms[active] == pytest.approx(np.full(active.sum(), found.forms.max()), rel=1e-3)
    step = 1e-4

    def optimum(theta):
        return oracles.machine_optimum("svm", np.tensordot(theta, Ks, axes=1), y, C)

    for m in np.flatnonzero(active):
        moved = step * np.eye(3)[m]
        slope = (optimum(found.theta + moved) - optimum(found.theta)) / step
        assert slope == pytest.approx(-found.forms[m] / 2, rel=1e-2)


# One kernel is one machine


def test_one_kernel_is_one_svm(rng):
    Ks, y, _ = kernels_of(rng)
    C = costs_of("svm", rng)
    found = solve_mkl_conic(Ks[:1], y, C)
    machine = SVC(C=1.0, kernel="precomputed", tol=1e-9).fit(Ks[0], y, sample_weight=C)
    assert found.theta.tolist() == [1.0]
    assert found.objective == pytest.approx(svc_optimum(Ks[0], y, C), rel=1e-7)
    decision = Ks[0] @ (y * found.alpha) + found.bias
    np.testing.assert_allclose(decision, machine.decision_function(Ks[0]), atol=1e-3)


def test_one_kernel_is_one_regression(rng):
    Ks, _, numbers = kernels_of(rng)
    found = solve_mkl_conic(Ks[:1], numbers, 2.0, task="svr", epsilon=0.2)
    machine = SVR(C=2.0, epsilon=0.2, kernel="precomputed", tol=1e-9).fit(Ks[0], numbers)
    np.testing.assert_allclose(Ks[0] @ found.alpha + found.bias, machine.predict(Ks[0]), atol=1e-3)


def test_one_kernel_is_one_novelty_machine(rng):
    Ks, _, _ = kernels_of(rng)
    found = solve_mkl_conic(Ks[:1], None, 1 / (0.3 * N), task="one_class")
    machine = OneClassSVM(nu=0.3, kernel="precomputed", tol=1e-10).fit(Ks[0])
    decision = (Ks[0] @ found.alpha + found.bias) * 0.3 * N  # scikit-learn's sum to nu n
    np.testing.assert_allclose(decision, machine.decision_function(Ks[0]), atol=1e-3)


@pytest.mark.parametrize("intercept", [True, False])
def test_one_kernel_is_one_ridge_regression(intercept, rng):
    Ks, _, numbers = kernels_of(rng)
    found = solve_mkl_conic(Ks[:1], numbers, 0.5, task="ridge", intercept=intercept)
    shift = found.bias if intercept else 0.0
    alpha = np.linalg.solve(Ks[0] + 2 * np.eye(N), numbers - shift)
    np.testing.assert_allclose(found.alpha, alpha, atol=1e-3)
    assert found.objective == pytest.approx(alpha @ (numbers - shift) / 2, rel=1e-6)
    assert found.bias == pytest.approx(shift)
    assert intercept == (abs(found.alpha.sum()) < 1e-10)


def test_without_an_intercept_the_sum_is_free(rng):
    Ks, y, _ = kernels_of(rng)
    free, held = (solve_mkl_conic(Ks, y, 1.0, intercept=value) for value in (False, True))
    assert free.bias == 0.0
    assert abs(y @ free.alpha) > 1e-6
    assert free.lower >= held.objective - 1e-7 * held.objective
    assert free.gap <= 1e-3 * free.upper
    all_ones = solve_mkl_conic(Ks, np.ones(N), 1.0, intercept=False)
    assert all_ones.gap <= 1e-3 * all_ones.upper


# What must not matter


def test_infinity_is_exactly_the_mean_kernel(rng):
    Ks, y, _ = kernels_of(rng)
    found = solve_mkl_conic(Ks, y, 1.0, norm=np.inf)
    assert found.theta.tolist() == [1 / 3] * 3
    assert found.objective == pytest.approx(svc_optimum(Ks.mean(axis=0), y, np.ones(N)), rel=1e-7)


def test_a_duplicated_kernel_leaves_the_optimum_at_norm_1_and_moves_it_elsewhere(rng):
    Ks, y, _ = kernels_of(rng)
    twice = np.concatenate([Ks, Ks[:1]])
    found, again = solve_mkl_conic(Ks, y, 1.0), solve_mkl_conic(twice, y, 1.0)
    assert again.objective == pytest.approx(found.objective, rel=1e-7)
    assert again.theta[0] + again.theta[3] == pytest.approx(found.theta[0], abs=1e-3)
    moved = [solve_mkl_conic(kernels, y, 1.0, norm=2).objective for kernels in (Ks, twice)]
    assert abs(moved[1] / moved[0] - 1) > 1e-5


def test_an_inactive_kernel_has_no_larger_form(rng):
    Ks, y, _ = kernels_of(rng)
    found = solve_mkl_conic(np.concatenate([Ks, 0.05 * Ks[:1]]), y, 1.0)
    assert found.theta[3] < 1e-6
    assert found.forms[3] < 0.06 * found.forms.max()


@pytest.mark.parametrize("norm", [1, 2])
@pytest.mark.parametrize("scale", [1e-6, 37.0, 1e6])
def test_scaled_kernels_with_scaled_costs_have_the_same_weights(scale, norm, rng):
    Ks, y, _ = kernels_of(rng)
    found = solve_mkl_conic(Ks, y, 1.0, norm=norm)
    scaled = solve_mkl_conic(Ks * scale, y, 1.0 / scale, norm=norm)
    np.testing.assert_allclose(scaled.theta, found.theta, atol=1e-4)
    assert scaled.objective * scale == pytest.approx(found.objective, rel=1e-7)


@pytest.mark.parametrize("norm", [1, 4 / 3])
def test_the_order_of_kernels_and_of_samples_does_not_matter(norm, rng):
    Ks, y, _ = kernels_of(rng)
    C = costs_of("svm", rng)
    found = solve_mkl_conic(Ks, y, C, norm=norm)
    kernels, rows = rng.permutation(3), rng.permutation(N)
    moved = Ks[kernels][:, rows][:, :, rows]
    again = solve_mkl_conic(moved, y[rows], C[rows], norm=norm)
    np.testing.assert_allclose(again.theta, found.theta[kernels], atol=1e-4)
    assert again.objective == pytest.approx(found.objective, rel=1e-7)


def test_a_sample_without_cost_is_left_out_and_a_double_cost_is_two_samples(rng):
    Ks, y, _ = kernels_of(rng)
    C = np.ones(N)
    C[5], C[6] = 0.0, 2.0
    rows = np.r_[0:5, 6:N, 6]
    found = solve_mkl_conic(Ks, y, C)
    plain = solve_mkl_conic(Ks[:, rows][:, :, rows], y[rows], 1.0)
    assert found.alpha[5] == 0.0
    assert found.objective == pytest.approx(plain.objective, rel=1e-7)
    np.testing.assert_allclose(found.theta, plain.theta, atol=1e-4)


# Several machines, one theta


@pytest.mark.parametrize("norm", NORMS)
def test_machines_that_share_their_weights(norm, rng):
    Ks, y, numbers = kernels_of(rng)
    Y = np.stack([y, np.where(numbers > np.median(numbers), 1.0, -1.0), -y], axis=1)
    C = rng.uniform(0.5, 2.0, size=Y.shape)
    found = solve_mkl_conic(Ks, Y, C, norm=norm)
    assert found.alpha.shape == Y.shape
    assert found.bias.shape == (3,)
    lower = oracles.lower_bound("svm", Ks, Y, C, found.alpha, norm)
    upper = oracles.upper_bound("svm", Ks, Y, C, found.theta, found.alpha, found.bias)
    assert (found.lower, found.upper) == pytest.approx((lower, upper), rel=1e-11)
    assert 0 <= found.gap <= 1e-4 * upper  # the norm of summed forms: it would not close else
    combined = np.tensordot(found.theta, Ks, axes=1)
    optima = [svc_optimum(combined, t, c) for t, c in zip(Y.T, C.T, strict=True)]
    assert sum(optima) == pytest.approx(found.objective, rel=1e-5)


def test_two_equal_machines_are_one_twice(rng):
    Ks, y, _ = kernels_of(rng)
    one, two = solve_mkl_conic(Ks, y, 1.0), solve_mkl_conic(Ks, np.stack([y, -y], axis=1), 1.0)
    assert two.objective == pytest.approx(2 * one.objective, rel=1e-7)
    np.testing.assert_allclose(two.theta, one.theta, atol=1e-4)
    column = solve_mkl_conic(Ks, y[:, None], 1.0)
    assert column.alpha.shape == (N, 1)
    np.testing.assert_array_equal(column.alpha[:, 0], one.alpha)


def test_costs_of_0_make_machines_of_parts_of_the_samples(rng):
    """As one class against one other needs: each machine sees its own rows."""
    Ks, y, _ = kernels_of(rng)
    C = np.ones((N, 2))
    C[: N // 2, 0] = C[N // 2 :, 1] = 0.0
    y[[0, N - 1]], y[[1, N - 2]] = 1.0, -1.0
    found = solve_mkl_conic(Ks, np.stack([y, y], axis=1), C)
    combined = np.tensordot(found.theta, Ks, axes=1)
    halves = [np.arange(N // 2, N), np.arange(N // 2)]
    optima = [svc_optimum(combined[h][:, h], y[h], np.ones(len(h))) for h in halves]
    assert sum(optima) == pytest.approx(found.objective, rel=1e-5)


# Numbers at the edge


@pytest.mark.parametrize("norm", [1, 2, np.inf])
def test_singular_and_zero_kernels(norm, rng):
    x, y = rng.normal(size=N), np.repeat([1.0, -1.0], N // 2)
    Ks = np.stack([np.outer(x, x), np.zeros((N, N)), np.ones((N, N)), np.outer(y, y)])
    found = solve_mkl_conic(Ks, y, 1.0, norm=norm)
    assert 0 <= found.gap <= 1e-4 * found.upper
    if norm == 1:
        np.testing.assert_allclose(found.theta, [0, 0, 0, 1], atol=1e-4)
    nothing = solve_mkl_conic(np.zeros((2, N, N)), y, 1.0, norm=norm)
    np.testing.assert_allclose(nothing.theta, 0.5, rtol=1e-14)
    assert nothing.objective == pytest.approx(N, rel=1e-7)  # every alpha is C


def test_a_large_cost_is_the_hard_margin(rng):
    x = np.sort(rng.normal(size=N))
    x[N // 2 :] += 1.0
    y = np.repeat([-1.0, 1.0], N // 2)
    found = solve_mkl_conic([np.outer(x, x)], y, 1e6)
    margin = (x[N // 2] - x[N // 2 - 1]) / 2
    assert found.objective == pytest.approx(0.5 / margin**2, rel=1e-5)


def test_an_indefinite_kernel_is_refused_with_its_smallest_eigenvalue(rng):
    Ks, y, _ = kernels_of(rng)
    Ks[1] -= 0.5 * np.eye(N)
    smallest = np.linalg.eigvalsh(Ks[1])[0]
    with pytest.raises(ValueError, match=rf"Ks\[1\].*{smallest:.4g}"[:-1]):
        solve_mkl_conic(Ks, y)


def test_rounding_in_float32_does_not_make_a_kernel_indefinite(rng):
    Ks, y, _ = kernels_of(rng)
    Ks = np.concatenate([Ks, [np.outer(y, y) * 0.3]])
    single, double = (solve_mkl_conic(Ks.astype(t), y, 1.0) for t in (np.float32, np.float64))
    np.testing.assert_allclose(single.theta, double.theta, atol=1e-3)


def test_inputs_are_read_only_lists_or_of_any_type(rng):
    Ks, y, _ = kernels_of(rng)
    C = np.ones(N)
    for array in (Ks, y, C):
        array.flags.writeable = False
    found = solve_mkl_conic(Ks, y, C)
    lists = solve_mkl_conic(Ks.tolist(), y.astype(int).tolist(), C.tolist())
    np.testing.assert_array_equal(found.theta, lists.theta)


# Refusals

SIGNS = np.array([1.0, -1.0, 1.0, -1.0])
EYES = np.stack([np.eye(4), np.ones((4, 4))])


def spoiled(array, value):
    array = np.array(array, dtype=float)
    array[..., 0] = value
    return array


REFUSALS = {
    "no kernel": ((np.empty((0, 4, 4)), SIGNS), {}, "Ks holds no kernel"),
    "a number": ((3.0, SIGNS), {}, "one Gram matrix per kernel"),
    "one matrix": ((np.eye(4), SIGNS), {}, r"Ks\[0\] must be a 2-D array"),
    "not square": ((np.ones((1, 4, 3)), SIGNS), {}, "square"),
    "other shapes": (([np.eye(4), np.eye(3)], SIGNS), {}, r"Ks\[1\] has \(3, 3\)"),
    "ragged": (([[[1.0], [2.0, 3.0]]], SIGNS), {}, r"Ks\[0\] must be an array of numbers"),
    "text": (([[["a"]]], [1.0]), {}, "real numbers"),
    "asymmetric": (([np.arange(16.0).reshape(4, 4)], SIGNS), {}, "symmetric"),
    "NaN in a kernel": (([spoiled(np.eye(4), np.nan)], SIGNS), {}, r"finite.*\(0, 0\)"),
    "infinity": (([spoiled(np.eye(4), np.inf)], SIGNS), {}, "finite"),
    "masked": (([np.ma.masked_equal(np.eye(4), 0)], SIGNS), {}, "masked"),
    "indefinite": (([np.eye(4) - 1], SIGNS), {}, "smallest eigenvalue is -3"),
    "NaN in y": ((EYES, spoiled(SIGNS, np.nan)), {}, "y must be finite"),
    "no y": ((EYES, None), {}, "y must be"),
    "short y": ((EYES, SIGNS[:3]), {}, r"4 samples, got shape \(3,\)"),
    "labels": ((EYES, [0, 1, 0, 1]), {}, "-1 and 1 only, got 0"),
    "one class": ((EYES, np.ones(4)), {}, "both -1 and 1.*got 1 only"),
    "one class in a column": (
        (EYES, np.stack([SIGNS, np.ones(4)], axis=1)),
        {},
        "column 1 of y must hold both",
    ),
    "one class with cost": ((EYES, SIGNS, [1, 0, 1, 0]), {}, "got 1 only"),
    "no cost": ((EYES, SIGNS, 0.0), {}, "above 0"),
    "negative cost": ((EYES, SIGNS, [1, -1, 1, 1]), {}, "not be negative, got -1"),
    "NaN cost": ((EYES, SIGNS, np.nan), {}, "C must be finite"),
    "infinite cost": ((EYES, SIGNS, np.inf), {}, "C must be finite"),
    "costs of another length": ((EYES, SIGNS, np.ones(3)), {}, "one per sample"),
    "norm": ((EYES, SIGNS), {"norm": 0.5}, "p >= 1"),
    "norm of NaN": ((EYES, SIGNS), {"norm": np.nan}, "p >= 1"),
    "norm by name": ((EYES, SIGNS), {"norm": "l1"}, "p >= 1"),
    "task": ((EYES, SIGNS), {"task": "svc"}, "task must be one of"),
    "epsilon": ((EYES, SIGNS), {"task": "svr", "epsilon": -1}, "epsilon must be"),
    "solver": ((EYES, SIGNS), {"solver": "CPLEXX"}, "CLARABEL.*'CPLEXX'"),
    "target of one class": ((EYES, SIGNS), {"task": "one_class"}, "y must be None"),
    "costs of one class": ((EYES, None, 0.1), {"task": "one_class"}, "sum to at least 1"),
    "one class without bias": (
        (EYES, None, 1.0),
        {"task": "one_class", "intercept": False},
        "needs intercept",
    ),
}


@pytest.mark.parametrize(("args", "kwargs", "message"), REFUSALS.values(), ids=REFUSALS.keys())
def test_refusals_say_what_is_wrong(args, kwargs, message):
    with pytest.raises(ValueError, match=message):
        solve_mkl_conic(*args, **kwargs)


def test_a_solver_that_fails_says_so(rng):
    Ks, y, _ = kernels_of(rng)
    with pytest.raises(RuntimeError, match="CLARABEL failed"):
        solve_mkl_conic(Ks, y, options={"max_iter": 1})


def test_another_solver_has_bounds_of_its_own(rng):
    Ks, y, _ = kernels_of(rng)
    best = solve_mkl_conic(Ks, y, 1.0)
    other = solve_mkl_conic(Ks, y, 1.0, solver="SCS", options={"eps": 1e-3})
    upper = oracles.upper_bound("svm", Ks, y, np.ones(N), other.theta, other.alpha, other.bias)
    assert other.upper == pytest.approx(upper, rel=1e-11)
    assert other.lower <= best.upper
    assert best.lower <= other.upper
    assert 0 <= other.gap < 1e-1 * best.upper


def test_too_large_a_programme_is_refused_beforehand(monkeypatch):
    monkeypatch.setattr("mkfusion.solvers._conic.available_memory", lambda: 1000.0)
    with pytest.raises(MemoryError, match="take fewer samples"):
        solve_mkl_conic(EYES, SIGNS)


# The ball of weights, and what the forms say


@pytest.mark.parametrize("norm", [*EVERY_NORM, 1e6, 1 + 1e-6])
def test_the_dual_norm_is_the_largest_product_with_weights_of_the_ball(norm, rng):
    q = rng.exponential(size=5)
    theta = theta_from_forms(q, norm)
    assert theta @ q == pytest.approx(dual_norm(q, norm), rel=1e-9)
    expected = oracles.ball_factor(5, norm) * oracles.dual_length(list(q), norm)
    assert dual_norm(q, norm) == pytest.approx(expected, rel=1e-9)
    for _ in range(50):
        shape = on_ball(rng.exponential(size=5) ** 2, norm)
        assert shape @ q <= dual_norm(q, norm) * (1 + 1e-9)


@pytest.mark.filterwarnings("ignore:pnorm with p=")
@pytest.mark.parametrize("norm", [1.01, 4 / 3, 2, 50])
def test_weights_from_forms_are_the_conic_ones(norm, rng):
    Ks, y, _ = kernels_of(rng)
    beta, t = cp.Variable(N), cp.Variable(3)
    roots = [np.linalg.cholesky(K + 1e-12 * np.eye(N)) for K in Ks]
    cones = [cp.sum_squares(L.T @ beta) <= t[m] for m, L in enumerate(roots)]
    cost = 0.5 * 3 ** (1 / norm - 1) * cp.pnorm(t, norm / (norm - 1)) - y @ beta
    within = [cp.sum(beta) == 0, cp.multiply(y, beta) >= 0, cp.multiply(y, beta) <= 1]
    cp.Problem(cp.Minimize(cost), [*cones, *within]).solve(solver="CLARABEL")
    duals = 2 * np.array([float(np.max(cone.dual_value)) for cone in cones])
    np.testing.assert_allclose(theta_from_forms(t.value, norm), duals, atol=2e-3 / (norm - 1))
    np.testing.assert_allclose(solve_mkl_conic(Ks, y, norm=norm).theta, duals, atol=1e-4)


@pytest.mark.parametrize("norm", [1, *NORMS, 50])
def test_steps_of_the_wrapper_descend_to_weights_that_stay(norm, rng):
    """In the problem without bounds, alpha = (theta'K + I)^-1 y, every step has a closed form."""
    Ks, y, _ = kernels_of(rng)

    def solve(theta):
        alpha = np.linalg.solve(np.tensordot(theta, Ks, axes=1) + np.eye(N), y)
        return y @ alpha / 2, np.einsum("i,mij,j->m", alpha, Ks, alpha)

    theta = on_ball(rng.uniform(0.5, 1.0, size=3), norm)
    value, q = solve(theta)
    for _ in range(300):
        theta = theta_step(theta, q, norm)
        before, (value, q) = value, solve(theta)
        assert value <= before * (1 + 1e-12)
    exact = solve_mkl_conic(Ks, y, 1.0, norm=norm, task="ridge", intercept=False)
    assert value == pytest.approx(exact.objective, rel=1e-3 if norm == 1 else 1e-6)
    if norm > 1:
        np.testing.assert_allclose(theta_from_forms(q, norm), theta, atol=1e-6)


@pytest.mark.parametrize("norm", EVERY_NORM)
def test_forms_of_any_size_and_none(norm):
    q = np.array([3.0, 1.0, 2.0])
    for scale in (1e-300, 1e300):
        np.testing.assert_allclose(theta_from_forms(q * scale, norm), theta_from_forms(q, norm))
        assert dual_norm(q * scale, norm) == pytest.approx(dual_norm(q, norm) * scale, rel=1e-12)
    for nothing in (np.zeros(3), np.full(3, -1e-18)):
        np.testing.assert_allclose(theta_from_forms(nothing, norm), 1 / 3, rtol=1e-15)
        np.testing.assert_allclose(theta_step(np.ones(3) / 3, nothing, norm), 1 / 3, rtol=1e-15)
        assert dual_norm(nothing, norm) == 0.0


def test_bounds_are_sums():
    assert lower_bound(5.0, np.array([1.0, 3.0]), 1) == 3.5
    assert upper_bound(np.array([0.5, 0.5]), np.array([1.0, 3.0]), 2.0) == 3.0
    assert check_norm("inf") == np.inf


# The intercept, and the projection

quarters = st.integers(-8, 8).map(lambda value: value / 4)


@given(
    st.lists(st.tuples(quarters, st.sampled_from([-1.0, 1.0]), st.integers(0, 3)), min_size=1),
    st.sampled_from([0.0, 0.0, 0.5]),
)
def test_the_intercept_has_the_least_loss(hinges, slope):
    places, signs, costs = map(np.array, zip(*hinges, strict=True))
    if slope and costs[signs > 0].sum() <= slope:
        return  # falls without end

    def value(b):
        return slope * b + float(costs @ np.maximum(0.0, signs * (places - b)))

    best = lowest_point(Hinges(places, signs, costs), slope)
    # Convex and linear between places: one of them, or all between two, has the least.
    assert value(best) == pytest.approx(min(map(value, places)), abs=1e-12)


def test_the_intercept_is_the_middle_of_those_with_the_least_loss():
    for signs in ([1.0, -1.0], [-1.0, 1.0]):
        assert lowest_point(Hinges(np.array([1.0, 3.0]), np.array(signs), np.ones(2))) == 2.0


@given(st.integers(0, 2**32 - 1), st.integers(1, 8), st.booleans())
def test_the_projection_is_the_nearest_feasible_point(seed, n, unbounded):
    rng = np.random.default_rng(seed)
    beta, low = rng.normal(size=n), -rng.exponential(size=n) * rng.integers(0, 2, size=n)
    high = low + rng.exponential(size=n) * rng.integers(0, 2, size=n)
    total = float(rng.uniform(low.sum(), high.sum()))
    if unbounded:
        low[0], high[0] = -np.inf, np.inf
    found = project(beta, low, high, total)
    assert found.sum() == pytest.approx(total, abs=1e-12)
    assert (found >= low).all()
    assert (found <= high).all()
    nearest = oracles.nearest_in_slab(beta, low, high, np.ones(n), total)
    np.testing.assert_allclose(found, nearest, atol=1e-8)
