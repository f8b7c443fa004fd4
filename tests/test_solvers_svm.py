"""Support vector machines and kernel ridge regression against general solvers and libsvm."""

import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import oracles_svm as oracles
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.svm import SVC, SVR, OneClassSVM
from threadpoolctl import threadpool_limits

from mkfusion import _jit
from mkfusion.solvers import _smo, _smo_loops
from mkfusion.solvers._ridge import solve_ridge
from mkfusion.solvers._smo import solve_one_class, solve_svm, solve_svms, solve_svr

TIGHT = 1e-9
MACHINES = ("svm", "svr", "one_class")


def rbf(X, gamma=0.3):
    return np.exp(-gamma * ((X[:, None] - X[None]) ** 2).sum(axis=2))


def samples(seed, n=40, d=3):
    """Return a kernel, overlapping classes, targets and costs, some of which are 0."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    score = np.sin(2 * X[:, 0]) + 0.5 * rng.normal(size=n)
    y = np.where(score > 0, 1.0, -1.0)
    y[:2] = 1, -1
    costs = rng.choice([0.0, 0.5, 1.0, 3.0], size=n)
    costs[:4] = 1.0
    return rbf(X), y, score, costs


def solve(machine, K, y, score, costs, **options):
    if machine == "svm":
        return solve_svm(K, y, costs, **options)
    if machine == "svr":
        return solve_svr(K, score, costs, 0.2, **options)
    return solve_one_class(K, 0.3, sample_weight=costs, **options)


def signed(machine, solution, y):
    return solution.alpha * y if machine == "svm" else solution.alpha


def stated(machine, y, score, costs):
    """Return target, bounds, epsilon and total of the one problem of all."""
    if machine == "svm":
        return y, np.minimum(y * costs, 0), np.maximum(y * costs, 0), 0.0, 0.0
    if machine == "svr":
        return score, -costs, costs, 0.2, 0.0
    return 0 * y, 0 * y, costs, 0.0, 0.3 * costs.sum()


def bounds_by_oracles(machine, solution, K, y, score, costs):
    """Return the primal and the dual objective, recomputed from the solution alone."""
    alpha, bias = solution.alpha, solution.bias
    if machine == "svm":
        return oracles.svm_primal(alpha, bias, K, y, costs), oracles.svm_dual(alpha, K, y)
    if machine == "svr":
        primal = oracles.svr_primal(alpha, bias, K, score, costs, 0.2)
        return primal, oracles.svr_dual(alpha, K, score, 0.2)
    primal = oracles.one_class_primal(alpha, bias, K, 0.3, costs)
    return primal, oracles.one_class_dual(alpha, K)


# The optimum --------------------------------------------------------------------------------


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
def test_optimum_is_the_conic_one(machine, scale, global_seed):
    K, y, score, costs = samples(global_seed)
    solution = solve(machine, K, y, score, scale * costs, tol=TIGHT)
    beta, objective = oracles.conic(K, *stated(machine, y, score, scale * costs))
    assert solution.converged
    np.testing.assert_allclose(solution.objective, objective, rtol=1e-7, atol=1e-9)
    fit = solution.decision - solution.bias
    np.testing.assert_allclose(fit, K @ beta, atol=2e-4 * max(1, np.abs(fit).max()))


@pytest.mark.parametrize("machine", MACHINES)
def test_solution_is_feasible(machine, global_seed):
    K, y, score, costs = samples(global_seed)
    beta = signed(machine, solve(machine, K, y, score, costs), y)
    _, low, high, _, total = stated(machine, y, score, costs)
    assert (beta >= low).all()
    assert (beta <= high).all()
    assert abs(beta.sum() - total) < 1e-12
    assert (beta[costs == 0] == 0).all()


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("tol", [0.3, 1e-3, 1e-9])
def test_gap_is_a_true_bound(machine, tol, global_seed):
    K, y, score, costs = samples(global_seed, n=25)
    solution = solve(machine, K, y, score, costs, tol=tol)
    primal, dual = bounds_by_oracles(machine, solution, K, y, score, costs)
    optimum = oracles.conic(K, *stated(machine, y, score, costs))[1]
    assert dual - 1e-7 <= optimum <= primal + 1e-7
    np.testing.assert_allclose(solution.objective, dual, atol=1e-10)
    np.testing.assert_allclose(solution.gap, primal - dual, atol=1e-10)
    assert solution.gap <= 2 * tol * costs.sum() + 1e-12


@pytest.mark.parametrize("machine", MACHINES)
def test_gap_is_a_bound_when_stopped_early(machine, global_seed):
    K, y, score, costs = samples(global_seed, n=25)
    solution = solve(machine, K, y, score, costs, tol=1e-6, max_iter=5)
    primal, dual = bounds_by_oracles(machine, solution, K, y, score, costs)
    assert solution.iterations == 5
    assert not solution.converged
    assert solution.violation > 1e-6
    np.testing.assert_allclose(solution.gap, primal - dual, rtol=1e-9)
    assert solution.gap > 0


def test_no_bias_has_a_smaller_gap(global_seed):
    K, y, _, costs = samples(global_seed, n=25)
    solution = solve_svm(K, y, costs, tol=0.3)
    primal = oracles.svm_primal(solution.alpha, solution.bias, K, y, costs)
    for bias in np.linspace(-2, 2, 101):
        assert oracles.svm_primal(solution.alpha, bias, K, y, costs) >= primal - 1e-12


def test_violation_is_that_of_the_pairs(global_seed):
    K, y, _, costs = samples(global_seed, n=25)
    for tol in (0.3, 1e-3, 1e-9):
        solution = solve_svm(K, y, costs, tol=tol)
        found = oracles.svm_violation(solution.alpha, K, y, costs)
        np.testing.assert_allclose(solution.violation, max(found, 0.0), atol=1e-13)
        assert solution.violation <= tol


def test_machine_in_extended_precision(global_seed):
    K, y, _, costs = samples(global_seed, n=12)
    solution = solve_svm(K, y, 5 * costs, tol=1e-12)
    alpha = oracles.long_smo(K, y, 5 * costs)
    best = oracles.svm_dual(alpha, K.astype(np.longdouble), y)
    np.testing.assert_allclose(solution.objective, float(best), rtol=1e-12)
    np.testing.assert_allclose(solution.alpha, alpha.astype(float), atol=1e-8)


@given(data=st.data())
def test_small_machines(data):
    """Any kernel of whole-numbered features: duplicates, zeros, rank 1, one class, no cost."""
    n, d = data.draw(st.integers(1, 8)), data.draw(st.integers(1, 3))
    numbers = st.integers(-3, 3)
    X = np.array(data.draw(st.lists(st.tuples(*[numbers] * d), min_size=n, max_size=n)), float)
    y = np.array(data.draw(st.lists(st.sampled_from([-1.0, 1.0]), min_size=n, max_size=n)))
    costs = data.draw(st.lists(st.sampled_from([0.0, 0.25, 1, 7]), min_size=n, max_size=n))
    K = X @ X.T
    solution = solve_svm(K, y, costs, tol=1e-6)
    primal = oracles.svm_primal(solution.alpha, solution.bias, K, y, costs)
    dual = oracles.svm_dual(solution.alpha, K, y)
    assert solution.converged
    assert -1e-9 <= primal - dual <= 2e-6 * sum(costs) + 1e-9


# libsvm -------------------------------------------------------------------------------------


def test_decision_is_that_of_svc(global_seed):
    K, y, _, costs = samples(global_seed, n=150)
    weights = np.where(costs == 0, 0.2, costs)  # libsvm drops samples of weight 0 from its count
    solution = solve_svm(K, y, 4 * weights, tol=TIGHT)
    peer = SVC(C=4, kernel="precomputed", tol=TIGHT).fit(K, y, sample_weight=weights)
    np.testing.assert_allclose(solution.decision, peer.decision_function(K), atol=1e-5)


def test_decision_is_that_of_svr(global_seed):
    K, _, score, costs = samples(global_seed, n=150)
    weights = np.where(costs == 0, 0.2, costs)
    solution = solve_svr(K, score, 2 * weights, 0.1, tol=TIGHT)
    peer = SVR(C=2, epsilon=0.1, kernel="precomputed", tol=TIGHT)
    peer.fit(K, score, sample_weight=weights)
    np.testing.assert_allclose(solution.decision, peer.predict(K), atol=1e-5)


@pytest.mark.parametrize("nu", [0.05, 0.5, 0.95])
def test_decision_is_that_of_one_class(nu, global_seed):
    K, _, _, costs = samples(global_seed, n=150)
    weights = np.where(costs == 0, 0.2, costs)
    solution = solve_one_class(K, nu, sample_weight=weights, tol=TIGHT)
    peer = OneClassSVM(nu=nu, kernel="precomputed", tol=TIGHT).fit(K, sample_weight=weights)
    np.testing.assert_allclose(solution.decision, peer.decision_function(K), atol=1e-5)
    assert (solution.decision < -1e-6).sum() <= (weights > 0).sum()


def test_steps_are_about_those_of_svc(global_seed):
    K, y, _, _ = samples(global_seed, n=400)
    solution = solve_svm(K, y, 10.0)
    peer = SVC(C=10, kernel="precomputed").fit(K, y)
    assert 0.5 < solution.iterations / peer.n_iter_[0] < 2


# What must not matter -----------------------------------------------------------------------


@pytest.mark.parametrize("machine", MACHINES)
def test_weights_are_repeated_rows(machine, global_seed):
    K, y, score, _ = samples(global_seed, n=20)
    times = np.random.default_rng(global_seed).integers(0, 4, size=20)
    times[:4] = 1
    rows = np.repeat(np.arange(20), times)
    weighted = solve(machine, K, y, score, times.astype(float), tol=TIGHT)
    repeated = solve(
        machine, K[np.ix_(rows, rows)], y[rows], score[rows], np.ones(len(rows)), tol=TIGHT
    )
    np.testing.assert_allclose(weighted.objective, repeated.objective, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(weighted.decision[rows], repeated.decision, atol=1e-6)


@pytest.mark.parametrize("machine", MACHINES)
def test_order_of_samples(machine, global_seed):
    case = samples(global_seed, n=60)
    K, y, score, costs = case
    order = np.random.default_rng(global_seed).permutation(60)
    plain = solve(machine, *case, tol=TIGHT)
    other = solve(
        machine, K[np.ix_(order, order)], y[order], score[order], costs[order], tol=TIGHT
    )
    np.testing.assert_allclose(other.objective, plain.objective, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(other.decision, plain.decision[order], atol=1e-6)


@pytest.mark.parametrize("power", [-500, -40, 3, 500])
def test_unit_of_the_kernel(power, global_seed):
    """K 2^p with C 2^-p is the same problem, to the last bit."""
    K, y, _, costs = samples(global_seed)
    plain = solve_svm(K, y, costs)
    other = solve_svm(np.ldexp(K, power), y, np.ldexp(costs, -power))
    np.testing.assert_array_equal(other.decision, plain.decision)
    np.testing.assert_array_equal(np.ldexp(other.alpha, power), plain.alpha)
    assert other.iterations == plain.iterations
    np.testing.assert_allclose(np.ldexp(other.gap, power), plain.gap, rtol=1e-12)


@pytest.mark.parametrize("scale", [1e-150, 1e-12, 1e12, 1e150])
@pytest.mark.parametrize("machine", MACHINES)
def test_any_unit_of_the_kernel(machine, scale, global_seed):
    K, y, score, costs = samples(global_seed)
    plain = solve(machine, K, y, score, costs, tol=1e-6)
    if machine == "one_class":  # its decision has the unit of the kernel
        other = solve(machine, scale * K, y, score, costs, tol=scale * 1e-6)
        np.testing.assert_allclose(other.decision / scale, plain.decision, atol=1e-5)
    else:
        other = solve(machine, scale * K, y, score, costs / scale, tol=1e-6)
        np.testing.assert_allclose(other.decision, plain.decision, atol=1e-5)
    assert other.converged
    assert np.isfinite(other[1:5]).all()


@pytest.mark.parametrize("scale", [1e-150, 1e-6, 1e9, 1e150])
def test_unit_of_a_target(scale, global_seed):
    K, _, score, costs = samples(global_seed)
    plain = solve_svr(K, score, costs, 0.2, tol=1e-6)
    other = solve_svr(K, scale * score, scale * costs, scale * 0.2, tol=scale * 1e-6)
    np.testing.assert_allclose(other.decision / scale, plain.decision, atol=1e-5)
    assert other.converged


@pytest.mark.parametrize("machine", MACHINES)
def test_shrinking_leaves_the_optimum(machine, monkeypatch, global_seed):
    case = samples(global_seed, n=700, d=6)
    copied, smaller = [], _smo._smaller

    def watched(*arguments):
        part, numbers = smaller(*arguments)
        copied.append(len(part.places))
        return part, numbers

    monkeypatch.setattr(_smo, "_smaller", watched)
    monkeypatch.setattr(_smo, "_SHARE_TO_COPY", 0.9)
    options = {"tol": 1e-5}
    with_it = solve(machine, *case[:3], 2 * case[3], **options)
    assert copied
    assert max(copied) < 700
    without = solve(machine, *case[:3], 2 * case[3], shrinking=False, **options)
    assert with_it.converged
    assert without.converged
    assert with_it.violation <= 1e-5
    assert abs(with_it.objective - without.objective) <= max(with_it.gap, without.gap)
    np.testing.assert_allclose(with_it.decision, without.decision, atol=2e-3)


def test_copies_are_closed_up(global_seed):
    rng = np.random.default_rng(global_seed)
    K = rng.normal(size=(9, 9))
    kept, copied = np.array([0, 3, 4, 8]), rng.random(9) < 0.6
    for close_ranks in (_smo_loops.close_ranks, _smo_loops.close_ranks_plain):
        numbers = K.ravel().copy()
        close_ranks(numbers, 9, kept, copied)
        rows = copied[kept]
        np.testing.assert_array_equal(
            numbers[:16].reshape(4, 4)[rows], K[np.ix_(kept, kept)][rows]
        )


def test_left_out_samples_are_never_looked_at(global_seed):
    K, y, _, costs = samples(global_seed)
    out = costs == 0
    wild = K.copy()
    wild[out] = 1e300
    wild[:, out] = 1e300
    wild[np.ix_(~out, ~out)] = K[np.ix_(~out, ~out)]
    plain, other = solve_svm(K, y, costs), solve_svm(wild, y, costs, check_finite=False)
    np.testing.assert_allclose(other.alpha, plain.alpha, atol=1e-2)
    np.testing.assert_allclose(other.objective, plain.objective, atol=plain.gap + other.gap)


@pytest.mark.parametrize("machine", MACHINES)
def test_float32_storage(machine, global_seed):
    K, y, score, costs = samples(global_seed)
    wide = solve(machine, K, y, score, costs, tol=1e-6)
    narrow = solve(machine, K.astype(np.float32), y, score, costs, tol=1e-6)
    assert narrow.converged
    assert narrow.alpha.dtype == narrow.decision.dtype == np.float64
    np.testing.assert_allclose(narrow.objective, wide.objective, rtol=1e-5)
    np.testing.assert_allclose(narrow.decision, wide.decision, atol=1e-4)
    beta = signed(machine, narrow, y)  # sums in float64 of what is stored
    exact = K.astype(np.float32).astype(float) @ beta + narrow.bias
    np.testing.assert_allclose(narrow.decision, exact, atol=1e-12)


@pytest.mark.parametrize("machine", MACHINES)
def test_inputs_are_never_written_to(machine, global_seed):
    case = samples(global_seed)
    K, y, score, costs = (a.copy() for a in case)
    start = np.full(40, 0.3)
    for array in (K, y, score, costs, start):
        array.flags.writeable = False
    frozen = solve(machine, K, y, score, costs, alpha=start)
    for array, before in zip((K, y, score, costs), case, strict=True):
        np.testing.assert_array_equal(array, before)
    for kernel in (np.asfortranarray(case[0]), np.repeat(case[0], 2, axis=1)[:, ::2]):
        other = solve(machine, kernel, y, score, costs, alpha=start)
        np.testing.assert_array_equal(other.alpha, frozen.alpha)


def test_whole_numbers_and_lists():
    plain = solve_svm(np.array([[4.0, -2.0], [-2.0, 1.0]]), np.array([1.0, -1.0]), np.ones(2))
    listed = solve_svm([[4, -2], [-2, 1]], [1, -1], 1)
    np.testing.assert_array_equal(listed.alpha, plain.alpha)


# Where to start -----------------------------------------------------------------------------


@pytest.mark.parametrize("machine", MACHINES)
def test_warm_start_needs_fewer_steps(machine, global_seed):
    steps = []
    for draw in range(5):  # of a single one, chance may make the steps more
        K, y, score, costs = samples(100 * draw + global_seed, n=200)
        first = solve(machine, K, y, score, costs, tol=1e-6)
        near = K + 1e-3 * np.eye(200)
        cold = solve(machine, near, y, score, costs, tol=1e-6)
        warm = solve(machine, near, y, score, costs, tol=1e-6, alpha=first.alpha)
        steps.append((warm.iterations, cold.iterations))
        assert abs(warm.objective - cold.objective) <= warm.gap + cold.gap
        again = solve(machine, K, y, score, costs, tol=2e-6, alpha=first.alpha)
        assert again.iterations == 0
        np.testing.assert_array_equal(again.alpha, first.alpha)
    warm_steps, cold_steps = np.sum(steps, axis=0)
    assert warm_steps < 0.9 * cold_steps


@pytest.mark.parametrize("machine", MACHINES)
@given(data=st.data())
def test_any_start_becomes_feasible(machine, data):
    seed = data.draw(st.integers(0, 1000))
    K, y, score, costs = samples(seed, n=12)
    start = data.draw(
        st.lists(st.sampled_from([-1e300, -2, 0, 0.1, 0.3, 1, 9, 1e300]), min_size=12, max_size=12)
    )
    _, low, high, _, total = stated(machine, y, score, costs)
    beta = signed(machine, solve(machine, K, y, score, costs, alpha=start, max_iter=0), y)
    assert (beta >= low).all()
    assert (beta <= high).all()
    assert abs(beta.sum() - total) < 1e-12
    ends = [solve(machine, K, y, score, costs, alpha=a, tol=1e-7) for a in (None, start)]
    np.testing.assert_allclose(ends[0].objective, ends[1].objective, atol=1e-5)


# Several at a time --------------------------------------------------------------------------


def test_many_machines_are_single_ones(global_seed):
    K, _, score, costs = samples(global_seed, n=350)
    Y = np.where(score[None] > np.array([-0.5, 0.0, 0.3])[:, None], 1, -1)
    singles = [solve_svm(K, y, 3 * costs) for y in Y]
    for n_threads in (1, 2, 5):
        for C in (3 * costs, np.tile(3 * costs, (3, 1))):
            many = solve_svms(K, Y, C, n_threads=n_threads)
            for one, other in zip(singles, many, strict=True):
                for a, b in zip(one, other, strict=True):
                    np.testing.assert_array_equal(a, b)
    starts = np.array([one.alpha for one in singles])
    again = solve_svms(K, Y, 3 * costs, alpha=starts, n_threads=2)
    assert [one.iterations for one in again] == [0, 0, 0]


def test_number_of_threads_of_blas(global_seed):
    K, y, score, costs = samples(global_seed, n=300)
    results = []
    for limit in (1, 2):
        with threadpool_limits(limit):
            results.append(
                [
                    *solve_svm(K, y, costs),
                    *solve_ridge(K, score, 0.1, method="cholesky"),
                    *solve_ridge(K, score, 0.1, method="cg"),
                ]
            )
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)


# Edges --------------------------------------------------------------------------------------


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_one_class_alone(sign, global_seed):
    K, y, _, _ = samples(global_seed)
    for labels, costs in ((np.full(40, sign), 1.0), (y, np.where(y == sign, 2.0, 0.0))):
        solution = solve_svm(K, labels, costs)
        assert not solution.alpha.any()
        assert (solution.bias, solution.objective, solution.gap) == (sign, 0.0, 0.0)
        assert solution.converged
        assert (solution.decision == sign).all()


def test_no_cost_at_all(global_seed):
    K, y, score, _ = samples(global_seed)
    for machine in MACHINES:
        solution = solve(machine, K, y, score, np.zeros(40))
        assert not solution.alpha.any()
        assert not solution.decision.any()
        assert solution.bias == solution.gap == solution.violation == 0
        assert solution.converged


@pytest.mark.parametrize("value", [0.0, 1.0, 1e-200])
def test_constant_kernel(value):
    """No coefficient changes a decision but by the bias: the lighter class is at its bound."""
    y = np.array([1.0, 1, 1, -1, -1])
    solution = solve_svm(np.full((5, 5), value), y, 2.0)
    assert solution.converged
    assert solution.bias == 1.0
    np.testing.assert_array_equal(solution.alpha[3:], 2.0)
    assert (solution.objective, solution.gap) == (8.0, 0.0)


def test_duplicated_rows(global_seed):
    K, y, _, costs = samples(global_seed, n=30)
    rows = np.repeat(np.arange(30), 2)
    signs = y[rows] * np.where(np.arange(60) % 6 == 1, -1, 1)  # some against their twins
    solution = solve_svm(K[np.ix_(rows, rows)], signs, costs[rows], tol=1e-8)
    assert solution.converged
    assert solution.gap < 1e-5


@pytest.mark.parametrize("machine", MACHINES)
def test_no_sample_and_one(machine):
    nothing = np.empty(0)
    empty = solve(machine, np.empty((0, 0)), nothing, nothing, nothing)
    assert empty.alpha.shape == empty.decision.shape == (0,)
    assert empty.converged
    one = np.ones(1)
    single = solve(machine, np.array([[2.0]]), -one, -3 * one, one)
    assert single.converged
    assert single.gap < 1e-12
    assert single.decision[0] == {"svm": -1, "svr": -3, "one_class": 0}[machine]


@pytest.mark.parametrize("C", [1e-300, 1e-12, 1e10, 1e200])
def test_tiny_and_huge_costs(C, global_seed):
    K, y, _, _ = samples(global_seed)
    solution = solve_svm(K, y, C, tol=1e-6, max_iter=100_000)
    assert np.isfinite(solution.objective)
    assert (solution.alpha <= C).all()
    fewer = min((y > 0).sum(), (y < 0).sum())
    if C < 1:  # the lighter class is at its bound
        assert solution.converged
        np.testing.assert_allclose(solution.objective, 2 * fewer * C, rtol=1e-9)
    else:  # an RBF kernel separates: no margin is violated
        assert solution.converged
        assert (y * solution.decision > 1 - 1e-5).all()


@pytest.mark.parametrize("machine", MACHINES)
def test_indefinite_kernel_ends(machine, global_seed):
    _, y, score, costs = samples(global_seed)
    A = np.random.default_rng(global_seed).normal(size=(40, 40))
    for K in (A + A.T, -rbf(A), A + A.T - np.diag(2 * A.diagonal())):
        solution = solve(machine, K, y, score, costs, max_iter=100_000)
        assert solution.converged
        assert np.isfinite(solution.objective)


def test_huge_indefinite_kernel_ends_without_nan(global_seed):
    _, y, _, _ = samples(global_seed)
    A = np.random.default_rng(global_seed).normal(size=(40, 40))
    solution = solve_svm(A + A.T, y, 1e300, max_iter=10_000)
    assert not np.isnan(solution.gap)


def test_tolerance_of_zero_ends(global_seed):
    K, y, _, costs = samples(global_seed)
    solution = solve_svm(K, y, costs, tol=0.0, max_iter=1_000_000)
    assert solution.violation < 1e-9


def test_nan_ends_when_nobody_looks(global_seed):
    K, y, score, costs = samples(global_seed)
    for value in (np.nan, np.inf, -np.inf):
        K[3, 5] = K[5, 3] = value
        for machine in MACHINES:
            with np.errstate(invalid="ignore"):
                solution = solve(machine, K, y, score, costs + 1, check_finite=False)
            assert not (solution.converged and np.isnan(solution.objective))


GOOD = (np.eye(3), [1, -1, 1], 1.0)
BAD = [
    ((np.eye(3)[:2], *GOOD[1:]), {}, "K must be a square matrix.*shape \\(2, 3\\)"),
    ((np.ones(3), *GOOD[1:]), {}, "K must be a square matrix"),
    ((np.eye(3) * 1j, *GOOD[1:]), {}, "real numbers"),
    ((np.diag([1, np.nan, 1]), *GOOD[1:]), {}, "K must be finite, got nan at row 1, column 1"),
    ((np.diag([1, 1, np.inf]), *GOOD[1:]), {}, "K must be finite, got inf at row 2, column 2"),
    ((np.ma.masked_equal(np.eye(3), 0), *GOOD[1:]), {}, "masked"),
    ((GOOD[0], [1, -1], 1.0), {}, "y must have shape \\(3,\\) as K has, got shape \\(2,\\)"),
    ((GOOD[0], [1, 0, 1], 1.0), {}, "y must hold -1 and 1 only, got 0"),
    ((GOOD[0], [1, np.nan, 1], 1.0), {}, "y must be finite, got nan at index \\(1,\\)"),
    ((GOOD[0], ["a", "b", "c"], 1.0), {}, "y must be a 1-D or 2-D array of real numbers"),
    ((*GOOD[:2], -1.0), {}, "C must not be negative, got -1"),
    ((*GOOD[:2], [1, 1]), {}, "C must have shape"),
    ((*GOOD[:2], [1, 1, np.nan]), {}, "C must be finite, got nan at index \\(2,\\)"),
    ((*GOOD[:2], np.inf), {}, "C must be finite"),
    (GOOD, {"alpha": [0, 0]}, "alpha must have shape"),
    (GOOD, {"alpha": [0, 0, np.nan]}, "alpha must be finite"),
    (GOOD, {"tol": -1}, "tol must be a finite number of at least 0, got -1"),
    (GOOD, {"tol": np.nan}, "tol must be a finite number"),
    (GOOD, {"max_iter": -1}, "max_iter must be"),
]


@pytest.mark.parametrize(("arguments", "options", "message"), BAD)
def test_refusals(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        solve_svm(*arguments, **options)
    K, y, C = arguments
    if "y must hold -1" not in message:
        with pytest.raises(ValueError, match=message):
            solve_svr(K, y, C, **options)


def test_refusals_of_the_others():
    for nu in (0.0, 1.5, -1, np.nan, "a"):
        with pytest.raises(ValueError, match="nu must be"):
            solve_one_class(np.eye(2), nu)
    with pytest.raises(ValueError, match="sample_weight must not be negative"):
        solve_one_class(np.eye(2), sample_weight=[1, -1])
    with pytest.raises(ValueError, match="epsilon must be"):
        solve_svr(np.eye(2), [1, 2], 1.0, -0.1)
    with pytest.raises(ValueError, match=r"Y must have shape \(n_problems, 2\)"):
        solve_svms(np.eye(2), [1, -1], 1.0)
    with pytest.raises(ValueError, match=r"Y\[1\] must hold -1 and 1 only, got 3"):
        solve_svms(np.eye(2), [[1, -1], [1, 3]], 1.0)
    with pytest.raises(ValueError, match="C must have 2 rows as Y has, got 1"):
        solve_svms(np.eye(2), [[1, -1], [1, -1]], [[1.0, 1.0]])


# The loops ----------------------------------------------------------------------------------


@pytest.mark.skipif(not _jit.JIT, reason="nothing is compiled")
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("n", [1, 7, 64, 203])
def test_compiled_loops_are_the_plain_ones(dtype, n, global_seed):
    rng = np.random.default_rng(global_seed)
    A = rng.normal(size=(n, n))
    K = _smo.frozen((A @ A.T).astype(dtype))
    up = np.where(rng.random(n) < 0.3, -np.inf, rng.normal(size=n))
    down = np.where(rng.random(n) < 0.3, np.inf, up)
    down = np.where(np.isinf(down) & (rng.random(n) < 0.5), rng.normal(size=n), down)
    i, j = np.uintp(n // 2), np.uintp(n // 3)
    loops = _smo_loops
    assert loops.largest_magnitude(K) == np.abs(K).max()
    assert loops.count_kept(up, down, 0.3, -0.2) == loops.count_kept_plain(up, down, 0.3, -0.2)
    assert loops.find(up, up[j]) == loops.find_plain(up, up[j])
    diagonal, top = K.diagonal().astype(float), 0.5
    ours, plain = (f(K, i, 1.0, diagonal, top, down) for f in (loops.partner, loops.partner_plain))
    curvature = np.maximum(diagonal[i] + diagonal - 2.0 * K[i].astype(float), loops.TAU)
    gains = np.maximum(top - down, 0) ** 2 / curvature
    assert gains.max() <= 0 or gains[ours] >= gains[plain] * (1 - 1e-9)
    ends = []
    for move in (loops.move, loops.move_plain):
        moved = up.copy(), down.copy()
        ends.append((*move(K, i, j, 0.3, *moved), *moved))
        assert ends[-1][:2] == (moved[0].max(), moved[1].min())
    for a, b in zip(*ends, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13, atol=1e-13)
    sums = np.zeros(n), np.zeros(n)
    places = np.flatnonzero(rng.random(n) < 0.7)
    factors = rng.normal(size=len(places))
    loops.add_products(K, places, factors, sums[0])
    loops.add_products_plain(K, places, factors, sums[1])
    np.testing.assert_allclose(*sums, atol=1e-10 * n)


CHILD = """
import numpy as np
from mkfusion.solvers._ridge import solve_ridge
from mkfusion.solvers._smo import solve_one_class, solve_svm, solve_svms, solve_svr
from mkfusion.solvers import _smo, _smo_loops
_smo._FEWEST_TO_COPY, _smo._SHARE_TO_COPY = 2, 0.9
rng = np.random.default_rng(0)
X = rng.normal(size=(90, 3))
K = np.exp(-0.5 * ((X[:, None] - X) ** 2).sum(axis=2))
score = np.sin(2 * X[:, 0]) + 0.3 * rng.normal(size=90)
y = np.sign(score)
costs = rng.choice([0.0, 1.0, 30.0], size=90)
for kernel in (K, K.astype(np.float32)):
    for solution in (
        solve_svm(kernel, y, costs, tol=1e-9),
        solve_svms(kernel, [y, -y], costs, tol=1e-9, n_threads=2)[1],
        solve_svr(kernel, score, costs, tol=1e-9),
        solve_one_class(kernel, 0.2, sample_weight=costs, tol=1e-9),
        solve_ridge(kernel, score, 0.1, sample_weight=costs, method="cholesky"),
        solve_ridge(kernel, score, 0.1, sample_weight=costs, method="cg", tol=1e-12),
    ):
        print(solution.objective, *solution.decision)
"""


@pytest.mark.parametrize("variable", ["NUMBA_DISABLE_JIT", "NUMBA_BOUNDSCHECK"])
def test_other_modes_of_numba(variable, tmp_path):
    root = str(Path(__file__).resolve().parents[1])
    results = []
    for added in ({}, {variable: "1", "NUMBA_CACHE_DIR": str(tmp_path)}):
        environment = {
            **{name: value for name, value in os.environ.items() if name != variable},
            "PYTHONPATH": root,
            **added,
        }
        command = [sys.executable, "-W", "error", "-c", CHILD]
        child = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=300
        )
        assert child.returncode == 0, child.stderr
        results.append(np.array(child.stdout.split(), float))
    np.testing.assert_allclose(results[0], results[1], rtol=1e-5, atol=1e-6)


# Ridge --------------------------------------------------------------------------------------


def ridge_objective(K, y, penalty, weights, coef, bias):
    f = K @ coef + bias
    return sum(w * (a - b) ** 2 for w, a, b in zip(weights, y, f, strict=True)) + (
        penalty * coef @ K @ coef
    )


@pytest.mark.parametrize("method", ["cholesky", "cg"])
@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_ridge_is_where_the_derivatives_are_zero(method, fit_intercept, weighted, global_seed):
    K, y, score, costs = samples(global_seed)
    Y = np.column_stack([y, score, score**2 + 3, np.zeros(40)])
    weights = costs if weighted else np.ones(40)
    solution = solve_ridge(
        K, Y, 0.1, sample_weight=weights if weighted else None, method=method,
        fit_intercept=fit_intercept, tol=1e-11,
    )  # fmt: skip
    coef, bias = oracles.ridge(K, Y, 0.1, weights, fit_intercept)
    assert solution.converged
    assert solution.residual <= 1e-11
    np.testing.assert_allclose(solution.coef, coef, atol=1e-7)
    np.testing.assert_allclose(solution.bias, bias, atol=1e-7)
    np.testing.assert_allclose(solution.decision, K @ solution.coef + solution.bias, atol=1e-12)
    for k in range(4):
        found = ridge_objective(K, Y[:, k], 0.1, weights, solution.coef[:, k], solution.bias[k])
        np.testing.assert_allclose(solution.objective[k], found, rtol=1e-10, atol=1e-14)
    assert (solution.coef[weights == 0] == 0).all()
    single = solve_ridge(
        K, score, 0.1, sample_weight=weights, method=method, fit_intercept=fit_intercept, tol=1e-11
    )
    np.testing.assert_allclose(single.coef, solution.coef[:, 1], atol=1e-8)
    assert isinstance(single.bias, float)
    assert isinstance(single.objective, float)


@pytest.mark.parametrize("method", ["cholesky", "cg"])
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_ridge_weights_are_repeated_rows(method, fit_intercept, global_seed):
    K, _, score, _ = samples(global_seed, n=20)
    times = np.random.default_rng(global_seed).integers(0, 4, size=20)
    times[0] = 2
    rows = np.repeat(np.arange(20), times)
    options = {"method": method, "fit_intercept": fit_intercept, "tol": 1e-11}
    weighted = solve_ridge(K, score, 0.3, sample_weight=times, **options)
    repeated = solve_ridge(K[np.ix_(rows, rows)], score[rows], 0.3, **options)
    np.testing.assert_allclose(weighted.decision[rows], repeated.decision, atol=1e-8)
    np.testing.assert_allclose(weighted.objective, repeated.objective, rtol=1e-8)


def test_ridge_intercept_is_centring(global_seed):
    K, _, score, costs = samples(global_seed)
    share = costs / costs.sum()
    centre = np.eye(40) - np.outer(np.ones(40), share)
    plain = solve_ridge(K, score + 5, 0.2, sample_weight=costs, fit_intercept=True)
    centred = solve_ridge(centre @ K @ centre.T, score - share @ score, 0.2, sample_weight=costs)
    np.testing.assert_allclose(plain.decision, centred.decision + share @ (score + 5), atol=1e-9)


@pytest.mark.parametrize("method", ["cholesky", "cg"])
@pytest.mark.parametrize("scale", [1e-200, 1e-150, 1e150])
def test_ridge_of_any_unit(method, scale, global_seed):
    K, _, score, costs = samples(global_seed)
    options = {"sample_weight": costs, "method": method, "fit_intercept": True}
    plain = solve_ridge(K, score, 0.2, **options)
    kernel = solve_ridge(scale * K, score, 0.2 * scale, **options)
    np.testing.assert_allclose(kernel.decision, plain.decision, atol=1e-6)
    with np.errstate(over="ignore", under="ignore"):
        target = solve_ridge(K, scale * score, 0.2, **options)
    np.testing.assert_allclose(target.decision / scale, plain.decision, atol=1e-6)
    assert kernel.converged
    assert target.converged


def test_ridge_residual_tells_of_early_stops(global_seed):
    K, _, score, _ = samples(global_seed)
    solution = solve_ridge(K, score, 1e-3, method="cg", max_iter=3, tol=1e-10)
    left = score - K @ solution.coef - 1e-3 * solution.coef
    assert not solution.converged
    assert solution.iterations == 3
    np.testing.assert_allclose(
        solution.residual, np.linalg.norm(left) / np.linalg.norm(score), rtol=1e-9
    )


def test_ridge_float32_and_frozen(global_seed):
    K, _, score, costs = samples(global_seed)
    for array in (K, score, costs):
        array.flags.writeable = False
    for method in ("auto", "cholesky", "cg"):
        wide = solve_ridge(K, score, 0.1, sample_weight=costs, method=method)
        narrow = solve_ridge(K.astype(np.float32), score, 0.1, sample_weight=costs, method=method)
        np.testing.assert_allclose(narrow.decision, wide.decision, atol=1e-4)
        assert narrow.converged
        assert narrow.decision.dtype == np.float64


def test_ridge_edges():
    for method in ("cholesky", "cg"):
        empty = solve_ridge(np.empty((0, 0)), np.empty(0), 1.0, method=method)
        assert empty.coef.shape == (0,)
        assert empty.converged
        none = solve_ridge(
            np.eye(3), np.ones(3), 1.0, sample_weight=0.0, method=method, fit_intercept=True
        )
        assert not none.coef.any()
        assert none.bias == 0
        assert none.converged
        flat = solve_ridge(np.zeros((3, 3)), [1, 2, 6], 1.0, method=method, fit_intercept=True)
        np.testing.assert_allclose(flat.decision, 3.0, atol=1e-12)
        exact = solve_ridge(np.diag([1.0, 2, 4]), [1, 2, 6], 0.0, method=method)
        np.testing.assert_allclose(exact.coef, [1, 1, 1.5])


def test_ridge_refusals():
    K = np.eye(2)
    for method in ("cholesky", "cg"):
        with pytest.raises(ValueError, match=r"not positive definite.*nearest_psd"):
            solve_ridge(-K, [1, 2], 0.5, method=method)
    for arguments, options, message in (
        ((K, [1, 2, 3], 1.0), {}, "Y must have shape"),
        ((K, [1, np.nan], 1.0), {}, "Y must be finite"),
        ((K, [1, 2], -1.0), {}, "penalty must be"),
        ((K, [1, 2], 1.0), {"sample_weight": [1, -1]}, "sample_weight must not be negative"),
        ((K, [1, 2], 1.0), {"method": "lu"}, "method must be one of"),
        ((np.diag([1, np.nan]), [1, 2], 1.0), {}, "K must be finite"),
    ):
        with pytest.raises(ValueError, match=message):
            solve_ridge(*arguments, **options)


# Rows on demand -----------------------------------------------------------------------------


class Served:
    """A matrix that counts the rows that are asked for."""

    def __init__(self, K):
        self.K, self.n_samples, self.fetched = K, len(K), 0

    def rows(self, indices):
        self.fetched += len(indices)
        return self.K[indices]

    def diagonal(self):
        return self.K.diagonal()

    def matvec(self, vector):
        return self.K @ vector


def two_clouds(seed, n=200):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 3))
    y = np.where(X[:, 0] + 0.5 * rng.normal(size=n) > 0, 1.0, -1.0)
    return np.exp(-0.3 * ((X[:, None] - X) ** 2).sum(axis=2)), y, X[:, 0]


@pytest.mark.parametrize("n_rows", [16, 64, None])
@pytest.mark.parametrize("C", [0.1, 1.0, 100.0])
def test_rows_on_demand_give_the_same_machine(C, n_rows, global_seed):
    K, y, _ = two_clouds(global_seed)
    budget = None if n_rows is None else 8 * len(K) * n_rows
    served = Served(K)
    found = solve_svm(served, y, C, tol=1e-5, budget=budget)
    whole = solve_svm(K, y, C, tol=1e-5)
    assert found.converged
    assert found.objective == pytest.approx(whole.objective, rel=1e-5)
    np.testing.assert_allclose(found.decision, K @ (found.alpha * y) + found.bias, atol=1e-10)
    beta = found.alpha * y
    primal = 0.5 * beta @ K @ beta + C * np.maximum(0, 1 - y * found.decision).sum()
    dual = found.alpha.sum() - 0.5 * beta @ K @ beta
    assert found.gap == pytest.approx(primal - dual, rel=1e-6, abs=1e-9)
    if n_rows is None:
        assert served.fetched <= 2 * len(K)


def test_rows_on_demand_of_the_other_machines(global_seed):
    K, _, target = two_clouds(global_seed)
    for solve in (
        lambda K: solve_svr(K, target, 1.0, tol=1e-6, budget=8 * 200 * 20),
        lambda K: solve_one_class(K, 0.2, tol=1e-6, budget=8 * 200 * 20),
    ):
        found, whole = solve(Served(K)), solve(K)
        assert found.converged
        assert found.objective == pytest.approx(whole.objective, rel=1e-5)


def test_rows_on_demand_for_any_number_of_threads(global_seed):
    K, y, _ = two_clouds(global_seed)
    one, two = (
        solve_svms(Served(K), [y, -y], 1.0, n_threads=n, budget=8 * 200 * 40) for n in (1, 2)
    )
    for own, other in zip(one, two, strict=True):
        np.testing.assert_array_equal(own.alpha, other.alpha)


def test_rows_that_do_not_fit_are_refused():
    K, y, _ = two_clouds(0)
    served = Served(K)
    served.rows = lambda indices: K[indices, :10]
    with pytest.raises(ValueError, match=r"rows of \d+ samples must have shape"):
        solve_svm(served, y, 1.0)
    served.rows = lambda indices: K[indices] * np.nan
    with pytest.raises(ValueError, match="K must be finite"):
        solve_svm(served, y, 1.0)


def test_copies_keep_to_their_budget(monkeypatch):
    """Parts of K are copied when fewer samples matter than the budget has room for."""
    K, y, _ = two_clouds(0, n=800)
    sizes = []
    smaller = _smo._smaller

    def counted(K, part, numbers):
        found = smaller(K, part, numbers)
        sizes.append(found[0].copies.nbytes)
        return found

    monkeypatch.setattr(_smo, "_smaller", counted)
    free = solve_svm(K, y, 100.0)
    assert max(sizes) > 1e5
    sizes.clear()
    bound = solve_svm(K, y, 100.0, budget=1e5)
    assert 0 < max(sizes, default=0) <= 1e5
    assert bound.objective == pytest.approx(free.objective, rel=1e-5)
    sizes.clear()
    solve_svm(K, y, 100.0, budget=0)
    assert not sizes


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("budget", [5e5, 2e6])
def test_rows_keep_to_their_budget(budget, dtype):
    K, y, _ = two_clouds(0, n=1500)
    served = Served(K.astype(dtype))
    served.matvec = lambda vector: np.zeros(len(K)) + K @ vector
    solve_svm(served, y, 10.0, budget=budget)  # compiled, and the rest loaded
    tracemalloc.start()
    found = solve_svm(served, y, 10.0, budget=budget)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.converged
    assert peak <= 1.1 * budget + 60 * 8 * len(K)  # vectors come on top of rows


@pytest.mark.parametrize("threads", [1, 2])
def test_rows_on_demand_whatever_the_threads_of_blas(threads, global_seed):
    K, y, _ = two_clouds(global_seed, n=400)
    with threadpool_limits(1):
        one = solve_svm(Served(K), y, 1.0, budget=8 * 400 * 60)
    with threadpool_limits(threads):
        other = solve_svm(Served(K), y, 1.0, budget=8 * 400 * 60)
    np.testing.assert_array_equal(one.alpha, other.alpha)


@pytest.mark.parametrize("budget", [-1, np.nan, "much"])
def test_budgets_are_numbers(budget):
    K, y, _ = two_clouds(0, n=20)
    with pytest.raises(ValueError, match="budget must be a finite number of at least 0"):
        solve_svm(K, y, 1.0, budget=budget)
