"""Linear machines with shared weights, judged by a conic solver, by hand and by identities."""

import numpy as np
import oracles_linear as oracles
import pytest
from scipy import sparse
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.svm import LinearSVC

from mkfusion.kernels import KernelStore, Linear
from mkfusion.solvers import LinearArrays, _linear_rows, solve_linear_mkl, solve_mkl
from mkfusion.solvers._bounds import on_ball
from mkfusion.solvers._linear_curvature import GramCurvature, SecantCurvature
from mkfusion.solvers._linear_losses import LOSSES
from mkfusion.solvers._linear_mkl import _Search
from mkfusion.solvers._linear_model import best_of_model, penalty, squares_by_block
from mkfusion.solvers._linear_rows import grams_of, moments_of, terms_of

NORMS = (1.0, 4 / 3, 2.0, np.inf)
EXACT = 1e-8
each_loss = pytest.mark.parametrize("loss", sorted(LOSSES))
each_norm = pytest.mark.parametrize("norm", NORMS)


def targets(loss, F):
    """Return what the loss takes for targets: the numbers, or which of them are positive."""
    if loss == "squared":
        return F
    return np.where(F > 0, 1.0, LOSSES[loss].negative)


def problem(seed, loss, n_outputs=1, n=60, sizes=(3, 2, 4)):
    """Draw rows of which the second block says nothing, with costs that differ, some 0."""
    rng = np.random.default_rng(seed)
    places = np.concatenate([[0], np.cumsum(sizes)])
    Z = rng.normal(size=(n, places[-1]))
    A = rng.normal(size=(places[-1], n_outputs))
    if len(sizes) > 1:
        A[places[1] : places[2]] = 0
    F = Z @ A + 0.5 * rng.normal(size=n_outputs) + 0.8 * rng.normal(size=(n, n_outputs))
    c = rng.uniform(0.2, 2, n)
    c[rng.random(n) < 0.15] = 0
    T = targets(loss, F)
    return Z, places, T, c


def solved(loss, Z, places, T, c=None, C=1.0, **options):
    options = {"tol": EXACT, **options}
    return solve_linear_mkl(LinearArrays(Z, places, T, loss, c), C, **options)


class Recorded(LinearArrays):
    """Rows that remember the machines they were asked for."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.machines = []

    def terms(self, W, b):
        self.machines.append((W.copy(), b.copy()))
        return super().terms(W, b)


# The conic optimum ---------------------------------------------------------------------------


@each_loss
@each_norm
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("n_outputs", [1, 3])
def test_equals_the_conic_optimum(loss, norm, intercept, n_outputs, global_seed):
    data = problem(global_seed, loss, n_outputs)
    optimum, theta, W, b = oracles.conic_optimum(loss, *data, norm, intercept)
    found = solved(loss, *data, norm=norm, intercept=intercept)
    assert found.converged
    assert found.objective == pytest.approx(optimum, rel=1e-6)
    assert found.lower <= optimum * (1 + 1e-7)
    np.testing.assert_allclose(found.theta, theta, atol=1e-3)
    np.testing.assert_allclose(found.coef, W, atol=2e-3 * np.abs(W).max())
    np.testing.assert_allclose(found.intercept, b, atol=2e-3 * max(1, np.abs(b).max()))


@each_loss
def test_costs_are_multiplied(loss, global_seed):
    Z, places, T, c = problem(global_seed, loss, 2)
    found, same = solved(loss, Z, places, T, c, 3.0), solved(loss, Z, places, T, 3.0 * c)
    assert found.objective == pytest.approx(same.objective, rel=1e-7)
    optimum = oracles.conic_optimum(loss, Z, places, T, 3.0 * c)[0]
    assert found.objective == pytest.approx(optimum, rel=1e-6)


# The losses ----------------------------------------------------------------------------------


@each_loss
def test_sums_over_rows_are_those_of_the_formulas(loss, global_seed):
    Z, places, T, c = problem(global_seed, loss, 2)
    rng = np.random.default_rng(global_seed)
    W, b = rng.normal(size=(places[-1], 2)), rng.normal(size=2)
    F = Z @ W + b
    terms = terms_of(loss, Z, T, c, W, b)
    alpha = oracles.duals(loss, T, c, F)
    assert terms.loss == pytest.approx(oracles.losses(loss, T, c, F), rel=1e-12)
    np.testing.assert_allclose(terms.gradient, Z.T @ alpha, atol=1e-10)
    np.testing.assert_allclose(terms.residual, alpha.sum(axis=0), atol=1e-10)
    moments = moments_of(Z, T, c)
    assert moments.cost == pytest.approx(c.sum())
    np.testing.assert_allclose(moments.targets, c @ T)
    np.testing.assert_allclose(moments.features, c @ Z)
    np.testing.assert_allclose(moments.products, (Z * c[:, None]).T @ T, atol=1e-12)


@each_loss
def test_alpha_and_bends_are_finite_differences(loss, global_seed):
    rng = np.random.default_rng(global_seed)
    F = 2 * rng.normal(size=(40, 3))
    T = targets(loss, rng.normal(size=F.shape))
    away = np.abs(1 - T * F) > 1e-3  # from the kink of the squared hinge's derivative
    c = rng.uniform(0.1, 3, 40)
    h = 1e-5
    sides = [LOSSES[loss].rows(F + step, T, c)[1] for step in (h, -h)]
    bends = LOSSES[loss].bends(F, T, c)
    np.testing.assert_allclose(
        np.where(away, (sides[1] - sides[0]) / (2 * h), bends), bends, atol=1e-6
    )
    alpha = LOSSES[loss].rows(F, T, c)[1]
    for i, p in ((0, 0), (7, 1), (39, 2)):
        shift = np.zeros_like(F)
        shift[i, p] = h
        up, down = (LOSSES[loss].rows(F + sign * shift, T, c)[0] for sign in (1, -1))
        assert alpha[i, p] == pytest.approx((down - up) / (2 * h), abs=1e-5)


@each_loss
def test_grams_are_the_second_derivatives(loss, global_seed):
    Z, places, T, c = problem(global_seed, loss, 2)
    rng = np.random.default_rng(global_seed)
    W, b = rng.normal(size=(places[-1], 2)), rng.normal(size=2)
    D = LOSSES[loss].bends(Z @ W + b, T, c)
    ones = np.hstack([Z, np.ones((len(Z), 1))])
    grams = grams_of(loss, Z, T, c, W, b, True)
    for p, gram in enumerate(grams):
        np.testing.assert_allclose(gram, ones.T @ (D[:, [p]] * ones), atol=1e-10)
    assert len(grams) == (1 if loss == "squared" else 2)
    np.testing.assert_allclose(grams_of(loss, Z, T, c, W, b, False), grams[:, :-1, :-1])


@each_loss
def test_decisions_far_away_stay_finite(loss):
    F = np.array([[-1e5], [-800.0], [0.0], [800.0], [1e5]])
    for sign in (-1, 1):
        T = targets(loss, np.full_like(F, sign))
        value, alpha, extra = LOSSES[loss].rows(F, T, np.ones(5))
        expected = oracles.losses(loss, T, np.ones(5), F)
        assert value == pytest.approx(expected, rel=1e-12)
        assert np.isfinite(alpha).all()
        assert np.isfinite(extra).all()
        assert np.isfinite(LOSSES[loss].bends(F, T, np.ones(5))).all()


# The certificate -----------------------------------------------------------------------------


def best_share(loss, Z, places, T, c, alpha, norm):
    """Return the best that shares of dual variables prove."""
    shares = np.append(np.geomspace(1e-8, 1, 200), 0.0)
    return max(oracles.dual(loss, Z, places, T, c, s * alpha, norm) for s in shares)


@each_loss
@each_norm
@pytest.mark.parametrize("intercept", [True, False])
def test_bounds_of_every_pass_hold(loss, norm, intercept, global_seed):
    Z, places, T, c = problem(global_seed, loss, 2, n=30)
    rows = Recorded(Z, places, T, loss, c)
    found = solve_linear_mkl(rows, 2.0, norm=norm, intercept=intercept, tol=1e-5)
    optimum = oracles.conic_optimum(loss, Z, places, T, 2 * c, norm, intercept)[0]
    assert found.history.shape == (found.n_passes, 2) == (len(rows.machines), 2)
    for (W, b), (upper, lower) in zip(rows.machines, found.history, strict=True):
        theta = penalty(W, places, norm)[1] if W.any() else np.ones(3)
        by_hand = oracles.primal(loss, Z, places, T, 2 * c, theta, W, b)
        assert upper == pytest.approx(by_hand, rel=1e-9)
        assert upper >= optimum * (1 - 1e-7)
        assert lower <= optimum * (1 + 1e-7)
    W, b = found.coef, found.intercept
    by_hand = oracles.primal(loss, Z, places, T, 2 * c, found.theta, W, b)
    assert found.objective == pytest.approx(by_hand, rel=1e-9)
    assert (found.objective, found.lower) == (found.history[:, 0].min(), found.history[:, 1].max())
    assert found.gap == max(0.0, found.objective - found.lower) <= 1e-5 * found.objective
    size = np.linalg.norm(found.theta, norm)
    assert size <= oracles.radius(3, norm) * (1 + 1e-9)
    assert (found.theta >= 0).all()
    # Some machine's dual variables prove the lower bound, worked out row by row.
    k = int(found.history[:, 1].argmax())
    W, b = rows.machines[k]
    alpha = oracles.duals(loss, T, 2 * c, Z @ W + b)
    if intercept:
        alpha = oracles.mended(loss, T, 2 * c, alpha)
        np.testing.assert_allclose(alpha.sum(axis=0), 0, atol=1e-9)
    proven = oracles.dual(loss, Z, places, T, 2 * c, alpha, norm)
    assert found.lower <= best_share(loss, Z, places, T, 2 * c, alpha, norm) + 1e-4 * abs(proven)
    assert found.lower == pytest.approx(proven, rel=1e-4)


def far_machines(seed, places, n_outputs):
    rng = np.random.default_rng(seed)
    for size in (0.0, 0.1, 1.0, 30.0):
        for b in (0.0, -40.0, 40.0, -2.0, 3.0):
            yield size * rng.normal(size=(places[-1], n_outputs)), np.full(n_outputs, b)


@each_loss
@pytest.mark.parametrize("classes", ["common", "rare", "absent"])
def test_mended_dual_variables_are_feasible_however_far(loss, classes, global_seed):
    Z, places, T, c = problem(global_seed, loss, 2, n=30)
    if classes == "absent":  # of one output, the other has both
        T[:, 0] = targets(loss, np.ones(30))
    elif classes == "rare":  # one row against all others, on either side
        c = c + 0.1
        T = targets(loss, np.where(np.eye(30)[:, :2] > 0, 1.0, -1.0))
        T[:, 1] = targets(loss, -np.where(np.eye(30)[:, 1] > 0, 1.0, -1.0))
    moments = moments_of(Z, T, c)
    optimum = oracles.conic_optimum(loss, Z, places, T, c)[0]
    for W, b in far_machines(global_seed, places, 2):
        gain, gradient = LOSSES[loss].mended(terms_of(loss, Z, T, c, W, b), moments)
        alpha = oracles.mended(loss, T, c, oracles.duals(loss, T, c, Z @ W + b))
        scale = 1 + np.abs(alpha).max()
        np.testing.assert_allclose(gradient, Z.T @ alpha, atol=1e-9 * scale * len(Z))
        earned = sum(
            c[i] * oracles.earned_by_row(loss, T[i, p], alpha[i, p] / c[i])
            for i, p in np.argwhere((c > 0)[:, None] & (T == T))
        )
        slack = 1e-9 * scale**2 * len(Z)
        assert gain <= earned + slack
        if loss != "logistic":
            assert gain == pytest.approx(earned, abs=slack)
        assert oracles.dual(loss, Z, places, T, c, alpha, 1.0) <= optimum * (1 + 1e-7)


@each_loss
@each_norm
def test_bounds_enclose_the_optimum_from_anywhere(loss, norm, global_seed):
    Z, places, T, c = problem(global_seed, loss, 2, n=30)
    optimum = oracles.conic_optimum(loss, Z, places, T, c, norm)[0]
    cold = solved(loss, Z, places, T, c, norm=norm)
    for W, b in far_machines(global_seed, places, 2):
        start = cold._replace(coef=W, intercept=b)
        found = solved(loss, Z, places, T, c, norm=norm, start=start, max_passes=1)
        assert 0 <= found.lower <= optimum * (1 + 1e-7)
        assert found.objective >= optimum * (1 - 1e-7)
        again = solved(loss, Z, places, T, c, norm=norm, start=start, tol=1e-3)
        assert again.converged
        assert again.objective <= optimum * (1 + 1.1e-3)


@each_loss
def test_rare_classes_converge(loss, global_seed):
    Z, places, T, c = problem(global_seed, loss, 2, n=80)
    T = targets(loss, np.where(np.arange(80)[:, None] < [1, 79], 1.0, -1.0))
    c = c + 0.1
    found = solved(loss, Z, places, T, c, tol=1e-6)
    optimum = oracles.conic_optimum(loss, Z, places, T, c)[0]
    assert found.converged
    assert found.objective == pytest.approx(optimum, rel=2e-6)


# Identities ----------------------------------------------------------------------------------


@pytest.mark.parametrize("C", [0.05, 1.0, 20.0])
def test_one_block_is_logistic_regression(C, global_seed):
    Z, places, T, c = problem(global_seed, "logistic", sizes=(5,))
    theirs = LogisticRegression(C=C, tol=1e-10, max_iter=10000).fit(Z, T[:, 0], sample_weight=c)
    found = solved("logistic", Z, places, T, c, C, tol=1e-10)
    np.testing.assert_allclose(found.coef[:, 0], theirs.coef_[0], atol=1e-4)
    np.testing.assert_allclose(found.intercept, theirs.intercept_, atol=1e-4)


@pytest.mark.parametrize("C", [0.05, 1.0, 20.0])
@pytest.mark.parametrize("intercept", [True, False])
def test_one_block_is_ridge_regression(C, intercept, global_seed):
    Z, places, T, c = problem(global_seed, "squared", 3, sizes=(5,))
    theirs = Ridge(alpha=1 / (2 * C), fit_intercept=intercept).fit(Z, T, sample_weight=c)
    found = solved("squared", Z, places, T, c, C, intercept=intercept, tol=1e-10)
    np.testing.assert_allclose(found.coef.T, theirs.coef_, atol=1e-5)
    np.testing.assert_allclose(found.intercept, theirs.intercept_, atol=1e-5)


def test_one_block_is_a_squared_hinge_machine(global_seed):
    Z, places, T, c = problem(global_seed, "squared_hinge", sizes=(5,))
    theirs = LinearSVC(C=0.7, fit_intercept=False, tol=1e-9, max_iter=100000)
    theirs.fit(Z, T[:, 0], sample_weight=c)
    found = solved("squared_hinge", Z, places, T, c, 0.7, intercept=False, tol=1e-10)
    np.testing.assert_allclose(found.coef[:, 0], theirs.coef_[0], atol=1e-4)


@each_loss
@pytest.mark.parametrize("intercept", [True, False])
def test_one_block_is_what_gradients_find(loss, intercept, global_seed):
    Z, places, T, c = problem(global_seed, loss, sizes=(5,))
    value, machine = oracles.smooth_optimum(loss, Z, T, c, intercept)
    found = solved(loss, Z, places, T, c, intercept=intercept)
    assert found.objective == pytest.approx(value, rel=1e-7)
    np.testing.assert_allclose(found.coef[:, 0], machine[:5], atol=1e-3)


def test_a_squared_hinge_that_all_rows_feel_is_ridge(global_seed):
    Z, places, T, c = problem(global_seed, "squared_hinge", sizes=(5,))
    C = 1e-3  # so little that no decision reaches its margin
    found = solved("squared_hinge", Z, places, T, c, C, intercept=False, tol=1e-10)
    assert (T * (Z @ found.coef) < 1).all()
    closed = np.linalg.solve(np.eye(5) / (2 * C) + (Z.T * c) @ Z, Z.T @ (c[:, None] * T))
    np.testing.assert_allclose(found.coef, closed, atol=1e-6)


@each_norm
def test_squared_loss_is_the_ridge_of_kernels(norm, global_seed):
    Z, places, T, _ = problem(global_seed, "squared", 2)
    blocks = [Z[:, block] for block in oracles.blocks_of(places)]
    store = KernelStore([Linear().resolve(block) for block in blocks], blocks)
    theirs = solve_mkl(store, T.T, 2 * 0.8, norm=norm, task="ridge", tol=1e-9)
    found = solved("squared", Z, places, T, None, 0.8, norm=norm)
    assert found.objective == pytest.approx(theirs.objective, rel=1e-7)
    np.testing.assert_allclose(found.theta, theirs.theta, atol=1e-3)


@each_loss
def test_infinite_norm_fixes_uniform_weights(loss, global_seed):
    Z, places, T, c = problem(global_seed, loss)
    found = solved(loss, Z, places, T, c, norm=np.inf)
    np.testing.assert_array_equal(found.theta, np.full(3, 1 / 3))
    value, _ = oracles.smooth_optimum(loss, Z, T, c, weights=np.full(Z.shape[1], 1 / 3))
    assert found.objective == pytest.approx(value, rel=1e-7)


@each_loss
def test_a_repeated_block_changes_nothing_on_the_simplex(loss, global_seed):
    Z, places, T, c = problem(global_seed, loss, 2)
    once = solved(loss, Z, places, T, c)
    twice = solved(loss, np.hstack([Z, Z[:, :3]]), [*places, places[-1] + 3], T, c)
    assert twice.objective == pytest.approx(once.objective, rel=1e-7)
    assert twice.theta[0] + twice.theta[3] == pytest.approx(once.theta[0], abs=1e-3)


@each_loss
def test_simplex_is_the_group_lasso_squared(loss, global_seed):
    Z, places, T, c = problem(global_seed, loss, 2)
    found = solved(loss, Z, places, T, c, tol=1e-4)
    by_hand = oracles.group_lasso(loss, Z, places, T, c, found.coef, found.intercept)
    assert found.objective == pytest.approx(by_hand, rel=1e-9)


@each_loss
@each_norm
def test_rotations_inside_a_block_turn_its_coefficients(loss, norm, global_seed):
    Z, places, T, c = problem(global_seed, loss, 2)
    turn = np.linalg.qr(np.random.default_rng(global_seed).normal(size=(3, 3)))[0]
    turned = np.hstack([Z[:, :3] @ turn, Z[:, 3:]])
    plain = solved(loss, Z, places, T, c, norm=norm)
    found = solved(loss, turned, places, T, c, norm=norm)
    assert found.objective == pytest.approx(plain.objective, rel=1e-7)
    np.testing.assert_allclose(turn @ found.coef[:3], plain.coef[:3], atol=1e-3)
    np.testing.assert_allclose(found.theta, plain.theta, atol=1e-3)


@each_loss
def test_the_order_of_blocks_is_that_of_the_weights(loss, global_seed):
    Z, places, T, c = problem(global_seed, loss, 2)
    found = solved(loss, np.hstack([Z[:, 5:], Z[:, :5]]), [0, 4, 7, 9], T, c)
    plain = solved(loss, Z, places, T, c)
    np.testing.assert_allclose(found.theta, plain.theta[[2, 0, 1]], atol=1e-3)


# The rows ------------------------------------------------------------------------------------


@each_loss
@pytest.mark.parametrize("form", [sparse.csr_array, sparse.csr_matrix])
@pytest.mark.parametrize("most_dense", [4096, 4])
def test_sparse_rows_are_dense_ones(loss, form, most_dense, global_seed, monkeypatch):
    monkeypatch.setattr(_linear_rows, "MOST_DENSE", most_dense)
    Z, places, T, c = problem(global_seed, loss, 2)
    Z[np.abs(Z) < 0.8] = 0
    rng = np.random.default_rng(global_seed)
    W, b = rng.normal(size=(places[-1], 2)), rng.normal(size=2)
    for intercept in (True, False):
        ours, theirs = (grams_of(loss, z, T, c, W, b, intercept) for z in (form(Z), Z))
        assert ours.ndim == (3 if most_dense > 9 else 2)
        np.testing.assert_allclose(ours, theirs, atol=1e-10)
    for ours, theirs in zip(moments_of(form(Z), T, c), moments_of(Z, T, c), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-10)
    pairs = zip(terms_of(loss, form(Z), T, c, W, b), terms_of(loss, Z, T, c, W, b), strict=True)
    for ours, theirs in pairs:
        np.testing.assert_allclose(ours, theirs, atol=1e-10)
    dense, found = solved(loss, Z, places, T, c), solved(loss, form(Z), places, T, c)
    np.testing.assert_allclose(found.coef, dense.coef, atol=1e-3)


@each_loss
@each_norm
@pytest.mark.parametrize("intercept", [True, False])
def test_diagonals_alone_lead_to_the_same_optimum(loss, norm, intercept, global_seed, monkeypatch):
    data = problem(global_seed, loss, 2)
    full = solved(loss, *data, norm=norm, intercept=intercept)
    monkeypatch.setattr(_linear_rows, "MOST_DENSE", 4)
    found = solved(loss, *data, norm=norm, intercept=intercept, tol=1e-4, max_passes=200)
    assert found.converged
    assert found.objective == pytest.approx(full.objective, rel=1.1e-4)


@each_loss
def test_the_size_of_pieces_is_rounding(loss, global_seed, monkeypatch):
    Z, places, T, c = problem(global_seed, loss, 2, n=500)
    whole = solved(loss, Z, places, T, c)
    monkeypatch.setattr(_linear_rows, "PIECE", 1)
    assert len(list(_linear_rows.pieces(Z))) == 8
    pieces = solved(loss, Z, places, T, c)
    start = min(5, whole.n_passes, pieces.n_passes)  # one may need a pass more at the very end
    np.testing.assert_allclose(pieces.history[:start], whole.history[:start], rtol=1e-7)
    assert pieces.objective == pytest.approx(whole.objective, rel=2 * EXACT)


@each_loss
def test_blocks_of_rows_add_up(loss, global_seed):
    Z, places, T, c = problem(global_seed, loss, 2)
    W, b = np.ones((places[-1], 2)), np.zeros(2)
    whole = terms_of(loss, Z, T, c, W, b)
    cuts = [slice(0, 25), slice(25, 25), slice(25, 60)]  # one of them empty
    parts = [terms_of(loss, Z[rows], T[rows], c[rows], W, b) for rows in cuts]
    total = parts[1].plus(parts[0]).plus(parts[2])
    for ours, theirs in zip(total, whole, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-10)


@each_loss
def test_rows_are_not_written_to(loss, global_seed):
    Z, places, T, c = problem(global_seed, loss, 2)
    for array in (Z, places, T, c):
        array.setflags(write=False)
    first = solved(loss, Z, places, T, c)
    for array in first[:3]:
        array.setflags(write=False)
    assert solved(loss, Z, places, T, c, 2.0, start=first).converged


# The search ----------------------------------------------------------------------------------


@each_loss
@each_norm
def test_a_solution_is_its_own_start(loss, norm, global_seed):
    data = problem(global_seed, loss, 2)
    first = solved(loss, *data, norm=norm, tol=1e-6)
    again = solved(loss, *data, norm=norm, tol=1e-5, start=first)
    assert again.n_passes == 1
    assert again.n_grams == 0
    assert again.objective == pytest.approx(first.objective, rel=1e-12)
    near = solved(loss, *data, 1.1, norm=norm, tol=1e-6, start=first)
    cold = solved(loss, *data, 1.1, norm=norm, tol=1e-6)
    assert near.objective == pytest.approx(cold.objective, rel=2e-6)
    assert near.n_passes <= cold.n_passes + 2


@each_loss
@pytest.mark.parametrize("norm", [4 / 3, 2.0])
def test_a_sparse_start_does_not_hold_weights_at_zero(loss, norm, global_seed):
    Z, places, T, c = problem(global_seed, loss)
    sparse_one = solved(loss, Z, places, T, c, 0.05)
    start = sparse_one._replace(theta=np.array([1.0, 0.0, 0.0]))
    found = solved(loss, Z, places, T, c, norm=norm, start=start, tol=1e-6)
    cold = solved(loss, Z, places, T, c, norm=norm, tol=1e-6)
    assert found.converged
    assert found.objective == pytest.approx(cold.objective, rel=2e-6)


def test_a_start_of_another_shape_is_refused(global_seed):
    Z, places, T, c = problem(global_seed, "squared", 2)
    start = solved("squared", Z, places, T, c)
    with pytest.raises(ValueError, match="start must have coefficients of shape"):
        solved("squared", Z[:, :5], [0, 3, 5], T, c, start=start)
    with pytest.raises(ValueError, match="start must have coefficients of shape"):
        solved("squared", Z, places, T[:, :1], c, start=start)


@each_loss
@each_norm
def test_too_few_passes_tell_the_true_gap(loss, norm, global_seed):
    Z, places, T, c = problem(global_seed, loss, 2)
    seen = []
    most = 1 if loss == "squared" else 2
    found = solved(
        loss, Z, places, T, c, norm=norm, max_passes=most, callback=lambda *both: seen.append(both)
    )
    optimum = solved(loss, Z, places, T, c, norm=norm).objective
    assert not found.converged
    assert found.n_passes == len(seen) == most
    assert seen[-1] == (found.objective, found.lower)
    assert found.gap == found.objective - found.lower > 0
    assert found.lower * (1 - 1e-7) <= optimum <= found.objective * (1 + 1e-7)


@each_loss
@pytest.mark.parametrize("norm", [1.0, 4 / 3, 2.0])
def test_a_model_promises_descent_from_any_weights(loss, norm, global_seed):
    Z, places, T, c = problem(global_seed, loss, 2)
    near = solved(loss, Z, places, T, c, norm=norm, tol=1e-2)
    search = _Search(LinearArrays(Z, places, T, loss, c), 1.0, norm, True, 1.0, 100, None)
    search.tol = -1.0  # so that it begins
    away = near._replace(coef=1.002 * near.coef)
    point = search.first(away)._replace(theta=on_ball(np.array([1e-3, 1.0, 1e-3]), norm))
    search.tol = 1.0  # at which the first weights would be good enough
    assert search.best_step(point)[1] > 0


KINDS = ("noisy", "low noise", "separable", "correlated", "scales", "offset", "rare")


def drawn(kind, loss, seed, n=300, n_outputs=1):
    rng = np.random.default_rng(seed)
    places = np.arange(0, 25, 4)
    Z = rng.normal(size=(n, 24))
    if kind == "correlated":
        Z = 0.1 * Z + rng.normal(size=(n, 3)) @ rng.normal(size=(3, 24))
    if kind == "scales":
        Z = Z * 10.0 ** rng.uniform(-2, 2, 24)
    if kind == "offset":
        Z = Z + 100
    A = rng.normal(size=(24, n_outputs))
    A[8:] = 0
    F = (Z - Z.mean(axis=0)) @ A
    F /= F.std(axis=0)
    F += {"separable": 0, "low noise": 0.01}.get(kind, 1.0) * rng.normal(size=F.shape)
    if kind == "rare":
        F -= 2 * F.std(axis=0)
    if kind == "separable":
        Z[:, :8] *= 3
    T = targets(loss, F)
    return Z, places, T


MOST = {"squared": 4, "logistic": 25, "squared_hinge": 40}


@each_loss
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("norm", [1.0, 1.02, 2.0])
def test_few_passes_are_enough(loss, kind, norm, global_seed):
    Z, places, T = drawn(kind, loss, global_seed, n_outputs=1 + global_seed % 3)
    for C in (0.01, 1.0, 100.0):
        found = solved(loss, Z, places, T, C=C, norm=norm, tol=1e-3, max_passes=200)
        assert found.converged
        # Next to nothing is lost at the end, and few rows have a say: each pass brings others.
        hard = loss == "squared_hinge" and C == 100 and kind in ("low noise", "separable", "rare")
        assert found.n_passes <= (120 if hard else MOST[loss]), C
        assert found.n_grams <= found.n_passes


@each_loss
@pytest.mark.parametrize("norm", [1.0, 2.0])
def test_many_blocks(loss, norm, global_seed):
    rng = np.random.default_rng(global_seed)
    Z = rng.normal(size=(200, 120))
    T = targets(loss, Z[:, :3].sum(axis=1, keepdims=True) + rng.normal(size=(200, 1)))
    found = solved(loss, Z, np.arange(0, 121, 3), T, C=0.05, norm=norm, tol=1e-5)
    assert found.converged
    assert found.theta.argmax() == 0
    if norm == 1:
        assert (found.theta == 0).sum() > 10


# What tables hold ----------------------------------------------------------------------------


def damaged(Z, kind):
    Z = Z.copy()
    if kind == "constant column":
        Z[:, 1] = 3.0
    elif kind == "zero column":
        Z[:, 1] = 0.0
    elif kind == "zero block":
        Z[:, 3:5] = 0.0
    elif kind == "zeros":
        Z[:] = 0.0
    elif kind == "equal columns":
        Z[:, 1] = Z[:, 5] = Z[:, 0]
    elif kind == "equal rows":
        Z[:] = Z[0]
    elif kind == "offset":
        Z += 1e4
    elif kind == "tiny":
        Z *= 1e-100
    elif kind == "denormal":
        Z *= 1e-310
    elif kind == "large":
        Z *= 10.0
    elif kind == "one large":
        Z[:, 1] *= 1e6
    return Z


DAMAGES = (
    "constant column", "zero column", "zero block", "zeros", "equal columns", "equal rows",
    "offset", "tiny", "denormal", "large", "one large",
)  # fmt: skip


@each_loss
@pytest.mark.parametrize("norm", [1.0, 2.0])
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("kind", DAMAGES)
def test_any_columns_give_an_optimum(loss, norm, intercept, kind, global_seed):
    Z, places, T, c = problem(global_seed, loss, 2)
    Z = damaged(Z, kind)
    if kind == "offset" and not intercept:
        Z -= 1e4 - 10
    found = solved(loss, Z, places, T, c, norm=norm, intercept=intercept, tol=1e-3)
    assert found.converged
    assert np.isfinite(found.coef).all()
    assert 0 <= found.lower <= found.objective * (1 + 1e-12)
    by_hand = oracles.primal(loss, Z, places, T, c, found.theta, found.coef, found.intercept)
    assert found.objective == pytest.approx(by_hand, rel=1e-6)
    if kind == "zero block" and norm == 1:
        assert found.theta[1] == 0


@each_loss
@pytest.mark.parametrize("places", [[0, 0, 5, 9], [0, 5, 5, 9], [0, 5, 9, 9]])
@pytest.mark.parametrize("norm", [1.0, 2.0])
def test_a_block_without_features_has_no_say(loss, places, norm, global_seed):
    Z, _, T, c = problem(global_seed, loss)
    found = solved(loss, Z, places, T, c, norm=norm)
    assert found.converged
    assert found.theta[np.diff(places) == 0] == 0
    if norm == 1:
        without = solved(loss, Z, [0, 5, 9], T, c)
        assert found.objective == pytest.approx(without.objective, rel=1e-7)


@pytest.mark.parametrize("loss", ["logistic", "squared_hinge"])
@pytest.mark.parametrize("norm", [1.0, 2.0])
@pytest.mark.parametrize("value", [-1.0, 1.0])
def test_one_class_is_told_by_the_intercept(loss, norm, value, global_seed):
    Z, places, _, c = problem(global_seed, loss)
    T = targets(loss, np.full((60, 1), value))
    found = solved(loss, Z, places, T, c, norm=norm)
    assert found.converged
    assert found.objective < 1e-12
    assert found.intercept[0] * value > 0
    assert found.n_passes <= 5


@pytest.mark.parametrize("loss", ["logistic", "squared_hinge"])
@pytest.mark.parametrize("n_outputs", [1, 3])
@pytest.mark.parametrize("value", [0, 1])
def test_a_class_without_cost_is_no_class(loss, n_outputs, value, global_seed):
    Z, places, T, c = problem(global_seed, loss, n_outputs)
    c = np.where((T[:, 0] > 0) == value, 0.0, c)
    found = solved(loss, Z, places, T, c, tol=1e-6)
    assert found.converged
    assert found.intercept[0] * (0.5 - value) > 0
    if n_outputs > 1:  # the others are as they are by themselves
        others = solved(loss, Z, places, T[:, 1:], c, tol=1e-6)
        assert found.objective == pytest.approx(others.objective, rel=1e-5)


@each_loss
@pytest.mark.parametrize("intercept", [True, False])
def test_one_row_and_no_row(loss, intercept, global_seed):
    Z, places, T, _ = problem(global_seed, loss, 2)
    one = solved(loss, Z[:1], places, T[:1], intercept=intercept)
    assert one.converged
    if intercept:
        assert one.objective < 1e-12
    else:
        optimum = oracles.conic_optimum(loss, Z[:1], places, T[:1], np.ones(1), 1.0, False)[0]
        assert one.objective == pytest.approx(optimum, rel=1e-6)
    for found in (
        solved(loss, Z[:0], places, T[:0], intercept=intercept),
        solved(loss, Z, places, T, np.zeros(60), intercept=intercept),
    ):
        assert found.converged
        assert (found.objective, found.lower) == (0, 0)
        assert not found.coef.any()


def test_a_constant_target_is_the_intercept(global_seed):
    Z, places, T, c = problem(global_seed, "squared")
    for value in (0.0, 0.1, 1e8, -1e100):
        found = solved("squared", Z, places, np.full_like(T, value), c, tol=1e-3)
        assert found.converged
        assert found.intercept[0] == pytest.approx(value, rel=1e-12)


def test_targets_far_from_zero_change_the_intercept_alone(global_seed):
    Z, places, T, c = problem(global_seed, "squared", 2)
    near, far = (solved("squared", Z, places, T + m, c, tol=1e-5) for m in (0, 1e6))
    assert far.converged
    np.testing.assert_allclose(far.coef, near.coef, atol=1e-2)
    assert far.objective == pytest.approx(near.objective, rel=2e-5)


@each_loss
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("norm", [1.0, 2.0])
@pytest.mark.parametrize("factor", [1e50, 1e100])
def test_huge_features_give_a_finite_answer(loss, norm, factor, global_seed):
    Z, places, T, c = problem(global_seed, loss, 2)
    for z in (Z * factor, Z * np.append(np.ones(8), factor)):
        found = solved(loss, z, places, T, c, norm=norm, max_passes=6)
        assert np.isfinite([found.objective, found.lower]).all()
        assert np.isfinite(found.coef).all()
        assert np.isfinite(found.theta).all()
        assert found.gap == found.objective - found.lower >= 0
        assert not found.converged  # rounding of such gradients is above any penalty


@each_loss
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("norm", [1.0, 2.0])
@pytest.mark.parametrize("value", [1e160, 1e300, np.nan, np.inf])
def test_what_overflows_is_refused(loss, norm, value, global_seed):
    Z, places, T, c = problem(global_seed, loss, 2)
    Z[np.argmax(c), 2] = value
    with pytest.raises(ValueError, match="must be finite and their squares must not overflow"):
        solved(loss, Z, places, T, c, norm=norm)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("value", [1e200, np.nan, -np.inf])
def test_targets_and_costs_that_overflow_are_refused(value, global_seed):
    Z, places, T, c = problem(global_seed, "squared")
    wrong = T.copy()
    wrong[np.argmax(c)] = value
    with pytest.raises(ValueError, match="targets and costs must be finite"):
        solved("squared", Z, places, wrong, c)
    if not abs(value) < np.inf:
        with pytest.raises(ValueError, match="targets and costs must be finite"):
            solved("squared", Z, places, T, np.where(np.arange(60) == 3, value, c))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@each_loss
@pytest.mark.parametrize("norm", [1.0, 2.0])
def test_what_rounding_hides_is_not_certified(loss, norm, global_seed):
    Z, places, T, c = problem(global_seed, loss)
    optimum = solved(loss, Z, places, T, c, norm=norm).objective
    found = solved(loss, Z + 1e8, places, T, c, norm=norm, max_passes=10)
    assert np.isfinite(found.objective)
    assert found.lower <= optimum * 1.01
    assert found.objective >= optimum * 0.99


@pytest.mark.parametrize("C", [0, -1.0, np.nan, np.inf, "much"])
def test_costs_are_multiplied_by_what_is_above_zero(C, global_seed):
    with pytest.raises(ValueError, match="C must be"):
        solved("squared", *problem(global_seed, "squared"), C)


@pytest.mark.parametrize("norm", [0.5, 0, np.nan, "two"])
def test_norms_below_one_are_refused(norm, global_seed):
    with pytest.raises(ValueError, match="norm must be"):
        solved("squared", *problem(global_seed, "squared"), norm=norm)


@each_loss
@pytest.mark.parametrize("C", [1e-9, 1e-4, 1e3])
def test_any_multiple_of_the_costs(loss, C, global_seed):
    Z, places, T, c = problem(global_seed, loss, 2)
    found = solved(loss, Z, places, T, c, C, tol=1e-3, max_passes=200)
    assert found.converged
    idle = solved(loss, Z, places, T, c, 1e-12, tol=1e-3).objective / 1e-12
    assert found.objective <= C * idle * (1 + 2e-3)


# The model -----------------------------------------------------------------------------------


def second_order(seed, free, n_outputs=2):
    """Draw second derivatives, a machine, and what the loss falls by along it."""
    rng = np.random.default_rng(seed)
    places, size = np.array([0, 2, 4, 7]), 7 + free
    root = rng.normal(size=(12, size))
    V = 0.3 * rng.normal(size=(size, n_outputs))
    return root.T @ root, places, V, 5 * rng.normal(size=(size, n_outputs))


@each_norm
@pytest.mark.parametrize("free", [0, 1])
def test_the_model_is_least_where_scipy_finds_it(norm, free, global_seed):
    B, places, V, G = second_order(global_seed, free)
    start = np.full(3, 1 / 3)
    found = best_of_model(GramCurvature(B[None], 2), places, V, G, start, norm, 1e-10)
    value, theta = oracles.model_optimum(B, places, V, G, norm)
    assert found.value == pytest.approx(value, rel=1e-5, abs=1e-5)
    np.testing.assert_allclose(found.theta, theta, atol=5e-3)
    step = found.V - V
    by_hand = penalty(found.V[:7], places, norm)[0] - (G * step).sum()
    assert found.value == pytest.approx(by_hand + 0.5 * (step * (B @ step)).sum(), rel=1e-9)


@each_norm
def test_a_penalty_is_the_least_over_weights(norm, global_seed):
    rng = np.random.default_rng(global_seed)
    W, places = rng.normal(size=(9, 2)), np.array([0, 3, 5, 9])
    value, theta = penalty(W, places, norm)
    squares = squares_by_block(W, places)
    assert value == pytest.approx(0.5 * (squares / theta).sum())
    for _ in range(50):
        other = rng.exponential(size=3) + 1e-3
        other *= oracles.radius(3, norm) / oracles.length(list(other), norm)
        assert 0.5 * (squares / other).sum() >= value * (1 - 1e-12)


def test_a_penalty_of_blocks_of_very_different_size():
    W, places = np.array([[1e100], [1e-100], [0.0]]), np.array([0, 1, 2, 3])
    value, theta = penalty(W, places, 1.0)
    assert value == pytest.approx(0.5e200)
    np.testing.assert_array_equal(theta, [1.0, 0.0, 0.0])
    assert penalty(0 * W, places, 1.0)[0] == 0


@pytest.mark.parametrize("n_grams", [1, 2])
def test_secants_are_kept_and_solved_with(n_grams, global_seed):
    rng = np.random.default_rng(global_seed)
    B = np.stack([second_order(global_seed + k, 0)[0] for k in range(n_grams)])
    curvature = SecantCurvature(GramCurvature(B, 2))
    true = 1.5 * second_order(global_seed, 0)[0] + np.eye(7)
    for _ in range(25):
        step = rng.normal(size=(7, 2))
        bend = true @ step[:, ::-1] * 0.1 + true @ step  # the outputs bend one another
        curvature.learn(step, bend)
        np.testing.assert_allclose(curvature.product(step), bend, atol=1e-7 * np.abs(bend).max())
    roots, right = rng.uniform(0, 1, 7), rng.normal(size=(7, 2))
    x = curvature.solver(roots)(right)
    back = x + roots[:, None] * curvature.product(roots[:, None] * x)
    np.testing.assert_allclose(back, right, atol=1e-7)


def test_secants_that_say_nothing_are_left_out():
    curvature = SecantCurvature(GramCurvature(np.eye(3)[None], 1))
    right = np.ones((3, 1))
    for step, bend in ((right, -right), (right, 0 * right), (right, np.nan * right)):
        curvature.learn(step, bend)
    for _ in range(3):  # one that is said again and again is one
        curvature.learn(right, 2 * right)
    np.testing.assert_allclose(curvature.product(right), 2 * right)


def test_costs_whose_squares_overflow_are_refused(global_seed):
    Z, places, T, c = problem(global_seed, "logistic", 1, n=40)
    with pytest.raises(ValueError, match=r"C times the summed costs is .*e\+3\d\d, whose squares"):
        solve_linear_mkl(LinearArrays(Z, places, T, "logistic", c), 1e300)


@pytest.mark.parametrize("norm", [True, 0.5, np.nan, "one"])
def test_norms_are_numbers_from_one(norm, global_seed):
    Z, places, T, c = problem(global_seed, "squared", 1, n=40)
    with pytest.raises(ValueError, match="norm must be a number p >= 1"):
        solve_linear_mkl(LinearArrays(Z, places, T, "squared", c), norm=norm)
