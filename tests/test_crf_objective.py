"""The objective of conditional random fields, its gradient and its optimum, on arrays."""

import numpy as np
import pytest
from oracles_crf import context_rows, label_log_probability, objective
from scipy.optimize import approx_fprime, minimize

from mkfusion.chains._crf_curvature import drawn_scores
from mkfusion.chains._crf_design import Design, chunks, gradient, scores, windows
from mkfusion.chains._crf_objective import (
    Potentials,
    by_parameters,
    chain_loss,
    crf_layout,
    observe,
)
from mkfusion.chains._crf_optimum import Penalties, fit_chain
from mkfusion.chains._latent_objective import fit_latent, latent_layout, n_latent_states

LENGTHS = [1, 3, 4, 2, 5]


def small_design(rng, contexts=(0, 0), lengths=LENGTHS, widths=(2, 3)):
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    blocks = tuple(rng.normal(size=(offsets[-1], d)) for d in widths)
    return Design(blocks, contexts, offsets)


def labels(rng, n, n_labels=3):
    return np.concatenate([np.arange(n_labels), rng.integers(0, n_labels, n - n_labels)])


def sequences(design):
    """The windows of each sequence, all modalities side by side, by the oracle."""
    return [
        np.hstack([context_rows(b[i:j], c) for b, c in zip(*design[:2], strict=True)])
        for i, j in zip(design.offsets[:-1], design.offsets[1:], strict=True)
    ]


def cut(values, offsets):
    return np.split(values, offsets[1:-1])


LAYOUTS = {
    "crf": crf_layout(2, 3),
    "joint": latent_layout([[0, 1]], 3, [2]),
    "linked": latent_layout([[0], [1]], 3, [2, 1], linked=True),
    "coupled": latent_layout([[0], [1]], 2, [1, 2], coupled=True),
    "linked-coupled": latent_layout([[0], [1]], 2, [2, 2], linked=True, coupled=True),
    "separate": latent_layout([[0], [1]], 2, [2, 1]),
}


def drawn(rng, layout, design):
    """Potentials at random."""
    k = layout.n_states
    widths = [sum(design.widths[m] for m in which) for which in layout.views]
    return Potentials(
        [rng.normal(size=(a, d)) for a, d in zip(k, widths, strict=True)],
        [rng.normal(size=a) for a in k],
        [rng.normal(size=(a, a)) for a in k],
        [rng.normal(size=(k[v], k[w])) for v, w in layout.links],
        [rng.normal(size=(k[v], k[w])) for v, w in layout.couplings],
    )


def by_hand(layout, potentials, rows):
    """Scores of joint states as sums over their parts, one entry at a time."""
    S = len(layout.labels)
    own = [np.arange(S) if m is None else m for m in layout.maps]
    columns, at = [], 0
    for which in layout.views:
        width = potentials.coefs[len(columns)].shape[1]
        columns.append(slice(at, at + width))
        at += width
        assert list(which) == sorted(which)
    unary = np.zeros((len(rows), S))
    transition = np.zeros((S, S))
    for s in range(S):
        for v in range(len(own)):
            state = own[v][s]
            unary[:, s] += potentials.intercepts[v][state]
            unary[:, s] += rows[:, columns[v]] @ potentials.coefs[v][state]
        for (v, w), link in zip(layout.links, potentials.links, strict=True):
            unary[:, s] += link[own[v][s], own[w][s]]
        for r in range(S):
            for v in range(len(own)):
                transition[s, r] += potentials.transitions[v][own[v][s], own[v][r]]
            for (v, w), coupling in zip(layout.couplings, potentials.couplings, strict=True):
                transition[s, r] += coupling[own[v][s], own[w][r]]
    return unary, transition


# Windows


@pytest.mark.parametrize("contexts", [(0, 0), (1, 0), (2, 3), (7, 1)])
def test_windows_are_those_of_the_sequence(contexts, global_seed):
    rng = np.random.default_rng(global_seed)
    design = small_design(rng, contexts)
    expected = np.vstack(sequences(design))
    found = windows(design, (0, 1), np.arange(len(expected)))
    np.testing.assert_array_equal(found, expected)
    coef = rng.normal(size=(4, expected.shape[1]))
    out = np.ones((len(expected), 4))
    scores(design, (0, 1), coef, out)
    np.testing.assert_allclose(out, 1 + expected @ coef.T, atol=1e-13)
    residuals = rng.normal(size=(len(expected), 4))
    np.testing.assert_allclose(
        gradient(design, (0, 1), residuals), residuals.T @ expected, atol=1e-13
    )


def test_chunks_cut_at_ends_of_sequences(global_seed):
    rng = np.random.default_rng(global_seed)
    design = small_design(rng, lengths=rng.integers(1, 900, 40), widths=(2, 3))
    found = chunks(design)
    assert len(found) > 2
    for m in range(2):
        joined = np.vstack([piece.blocks[m] for _, piece in found])
        np.testing.assert_array_equal(joined, design.blocks[m])
    lengths = np.concatenate([np.diff(piece.offsets) for _, piece in found])
    np.testing.assert_array_equal(lengths, np.diff(design.offsets))


# The objective


@pytest.mark.parametrize("name", LAYOUTS)
def test_loss_is_that_of_all_paths(name, global_seed):
    rng = np.random.default_rng(global_seed)
    layout = LAYOUTS[name]
    design = small_design(rng, (1, 0), lengths=[1, 3, 2])
    n_labels = layout.labels.max() + 1
    y, weights = labels(rng, 6, n_labels), rng.uniform(0.5, 2, 3)
    at = drawn(rng, layout, design)
    expected = 0.0
    for rows, own, weight in zip(sequences(design), cut(y, design.offsets), weights, strict=True):
        unary, transition = by_hand(layout, at, rows)
        expected -= weight * label_log_probability(unary, transition, layout.labels, own)
    found, _ = chain_loss(observe(design, y, weights, n_labels), layout, at)
    assert found == pytest.approx(expected, rel=1e-12)
    bias_and_features = at.unary(design, layout)
    np.testing.assert_allclose(
        bias_and_features,
        np.vstack([by_hand(layout, at, rows)[0] for rows in sequences(design)]),
        atol=1e-12,
    )


@pytest.mark.parametrize("name", LAYOUTS)
def test_gradient_is_that_of_finite_differences(name, global_seed):
    rng = np.random.default_rng(global_seed)
    layout = LAYOUTS[name]
    design = small_design(rng, (1, 0))
    n_labels = layout.labels.max() + 1
    y, weights = labels(rng, 15, n_labels), rng.uniform(0.5, 2, 5)
    observed = observe(design, y, weights, n_labels)
    at = drawn(rng, layout, design)

    def arrays(potentials):
        return [array for group in potentials for array in group]

    def remade(vector):
        made, k = [], 0
        for group in at:
            own = []
            for array in group:
                own.append(vector[k : k + array.size].reshape(array.shape))
                k += array.size
            made.append(own)
        return Potentials(*made)

    vector = np.concatenate([array.ravel() for array in arrays(at)])
    _, by_chain = chain_loss(observed, layout, at)
    found = np.concatenate([a.ravel() for a in arrays(by_parameters(layout, by_chain))])
    numeric = approx_fprime(vector, lambda v: chain_loss(observed, layout, remade(v))[0], 1e-6)
    np.testing.assert_allclose(found, numeric, atol=2e-4)
    direction = rng.normal(size=len(vector))  # central, in one direction: many more digits
    h = 1e-5
    ahead, behind = (
        chain_loss(observed, layout, remade(vector + s * h * direction))[0] for s in (1, -1)
    )
    assert found @ direction == pytest.approx((ahead - behind) / (2 * h), rel=1e-6, abs=1e-7)


def test_forbidden_transitions_have_no_probability(global_seed):
    rng = np.random.default_rng(global_seed)
    forbidden = np.zeros((3, 3), bool)
    forbidden[0, 2] = True
    layout = latent_layout([[0, 1]], 3, [2], forbidden=forbidden)
    design = small_design(rng)
    at = drawn(rng, layout, design)
    _, transition = at.on_chain(layout)
    assert (transition[:2, 4:] == -np.inf).all()
    assert np.isfinite(transition).sum() == 32


# The optimum


def fitted(design, y, layout, l2, l2_transition=0.3, l1=0.0, tol=1e-8, **options):
    views = [np.full(sum(design.widths[m] for m in which), float(l2)) for which in layout.views]
    return fit_chain(design, y, layout, Penalties(views, l2_transition, l1), tol=tol, **options)


@pytest.mark.parametrize("l1", [0.0, 0.7])
def test_optimum_is_the_documented_objective(l1, global_seed):
    """The objective at the optimum is the formula's, and no step from there is lower."""
    rng = np.random.default_rng(global_seed)
    design = small_design(rng, (1, 0))
    design = design._replace(blocks=(design.blocks[0] * 30 + 7, design.blocks[1] * 0.2))
    y, weights = labels(rng, 15), rng.uniform(0.5, 2, 5)
    layout = crf_layout(2, 3)
    fit = fitted(design, y, layout, 0.4, l1=l1, tol=1e-7, weights=weights)
    assert fit.converged
    assert fit.residual <= 1e-7
    rows, own = sequences(design), cut(y, design.offsets)

    def value(coef, intercept, transition):
        return objective(rows, own, weights, coef, intercept, transition, [0, 1, 2], 0.4, 0.3, l1)

    best = [fit.potentials.coefs[0], fit.potentials.intercepts[0], fit.potentials.transitions[0]]
    assert value(*best) == pytest.approx(fit.objective, rel=1e-9)
    for _ in range(20):
        step = [rng.normal(size=part.shape) for part in best]
        step[0] *= rng.random(step[0].shape) < 0.3
        for size in (1e-2, 1e-4):
            moved = [part + size * s for part, s in zip(best, step, strict=True)]
            assert value(*moved) >= fit.objective * (1 - 1e-10)


def test_optimum_is_that_of_a_general_solver(global_seed):
    rng = np.random.default_rng(global_seed)
    design = small_design(rng, lengths=[2, 3, 1, 3])
    y = labels(rng, 9)
    fit = fitted(design, y, crf_layout(2, 3), 0.5, 0.5)
    rows, own = sequences(design), cut(y, design.offsets)

    def value(v):
        coef, intercept, transition = v[:15].reshape(3, 5), v[15:18], v[18:].reshape(3, 3)
        return objective(
            rows, own, np.ones(4), coef, intercept, transition, [0, 1, 2], 0.5, 0.5, 0.0
        )

    found = minimize(value, np.zeros(27), method="BFGS", options={"gtol": 1e-6})
    assert fit.objective == pytest.approx(found.fun, rel=1e-7)
    np.testing.assert_allclose(fit.potentials.coefs[0].ravel(), found.x[:15], atol=1e-4)


def test_without_intercept(global_seed):
    rng = np.random.default_rng(global_seed)
    design = small_design(rng)
    y = labels(rng, 15)
    fit = fitted(design, y, crf_layout(2, 3), 0.5, fit_intercept=False)
    assert fit.converged
    np.testing.assert_array_equal(fit.potentials.intercepts[0], np.zeros(3))
    assert fit.objective > fitted(design, y, crf_layout(2, 3), 0.5).objective


def test_far_columns_lose_no_digits(global_seed):
    """A column that lies 1e8 deviations from 0, as a time stamp does, is the same column."""
    rng = np.random.default_rng(global_seed)
    design = small_design(rng)
    y = labels(rng, 15)
    far = design._replace(blocks=(design.blocks[0] + 2.0**27, design.blocks[1]))
    near = design._replace(blocks=(far.blocks[0] - 2.0**27, design.blocks[1]))
    fits = [fitted(d, y, crf_layout(2, 3), 0.5) for d in (near, far)]
    assert fits[1].converged
    assert fits[0].objective == pytest.approx(fits[1].objective, rel=1e-9)
    np.testing.assert_allclose(fits[0].potentials.coefs[0], fits[1].potentials.coefs[0], rtol=1e-4)


def test_many_columns_have_a_diagonal_factor(global_seed):
    """Beyond a width the factor is a diagonal; the optimum is the same."""
    rng = np.random.default_rng(global_seed)
    design = small_design(rng, widths=(300, 301), lengths=[20] * 5)
    y = labels(rng, 100)
    wide = fitted(design, y, crf_layout(2, 3), 5.0, tol=1e-7)
    narrow = design._replace(blocks=(np.hstack(design.blocks)[:, :600],), contexts=(0,))
    kept = fitted(narrow, y, crf_layout(1, 3), 5.0, tol=1e-7)
    assert wide.converged
    assert kept.converged
    assert wide.objective < kept.objective  # one column more
    padded = narrow._replace(
        blocks=(np.hstack([narrow.blocks[0], np.zeros((100, 1))]),), contexts=(0,)
    )
    again = fitted(padded, y, crf_layout(1, 3), 5.0, tol=1e-7)
    assert again.objective == pytest.approx(kept.objective, rel=1e-9)


@pytest.mark.parametrize("name", ["crf", "linked-coupled"])
def test_threads_change_no_bit(name, global_seed):
    rng = np.random.default_rng(global_seed)
    design = small_design(rng, (1, 0), lengths=rng.integers(1, 400, 60))
    layout = LAYOUTS[name]
    y = labels(rng, int(design.offsets[-1]), layout.labels.max() + 1)
    fits = [
        fitted(design, y, layout, 1.0, max_iter=8, rng=np.random.default_rng(0), n_threads=n)
        for n in (1, 2, 3)
    ]
    for other in fits[1:]:
        for a, b in zip(fits[0].potentials, other.potentials, strict=True):
            for one, two in zip(a, b, strict=True):
                np.testing.assert_array_equal(one, two)
        assert other.objective == fits[0].objective


def test_iterations_are_bounded_and_said(global_seed):
    rng = np.random.default_rng(global_seed)
    design = small_design(rng)
    fit = fitted(design, labels(rng, 15), crf_layout(2, 3), 0.1, max_iter=3)
    assert fit.n_iter == 3
    assert not fit.converged
    assert fit.residual > 1e-8


def test_drawn_scores_make_the_hessian(global_seed):
    """Their outer products, against differences of the gradient in the intercepts and pairs."""
    rng = np.random.default_rng(global_seed)
    design = small_design(rng, (1, 0), lengths=[6] * 10)
    y, weights = labels(rng, 60), rng.uniform(0.5, 2, 10)
    layout = crf_layout(2, 3)
    observed = observe(design, y, weights, 3)
    at = drawn(rng, layout, design)

    def slope(shift):
        bias, pairs = shift[:3], shift[3:].reshape(3, 3)
        moved = at._replace(
            intercepts=[at.intercepts[0] + bias], transitions=[at.transitions[0] + pairs]
        )
        _, found = chain_loss(observed, layout, moved)
        return np.concatenate([found.bias, found.transition.ravel()])

    h = 1e-5
    expected = np.array([(slope(h * e) - slope(-h * e)) / (2 * h) for e in np.eye(12)])
    total, n = np.zeros((12, 12)), 40
    for seed in range(n):
        for score in drawn_scores(design, layout, at, weights, 150, seed):
            own = np.concatenate([score.bias, score.transition.ravel()])
            total += np.outer(own, own) / n
    assert np.linalg.norm(total - expected) < 0.15 * np.linalg.norm(expected)


def test_labels_that_last_take_few_iterations():
    """Sticky labels make steps hang together, which slows a search that does not know it."""
    rng = np.random.default_rng(0)
    y = np.repeat(rng.integers(0, 4, 200), 50)
    offsets = np.arange(0, 10001, 1000)
    means = rng.normal(size=(4, 6)) * 0.3
    slow = np.repeat(rng.normal(size=(1000, 6)), 10, axis=0)  # what a sensor does between labels
    design = Design((means[y] + slow + 0.3 * rng.normal(size=(10000, 6)),), (0,), offsets)
    fit = fitted(design, y, crf_layout(1, 4), 1.0, 1.0, tol=1e-5)
    assert fit.converged
    assert fit.n_iter < 120


# Hidden states


@pytest.mark.parametrize("name", ["joint", "linked", "coupled", "linked-coupled", "separate"])
def test_latent_fit_is_a_minimum(name, global_seed):
    rng = np.random.default_rng(global_seed)
    layout = LAYOUTS[name]
    design = small_design(rng, lengths=[20] * 3)
    y = labels(rng, 60, layout.labels.max() + 1)
    views = [np.ones(sum(design.widths[m] for m in which)) for which in layout.views]
    fit = fit_latent(
        design, y, layout, Penalties(views, 1.0), [np.random.default_rng(s) for s in (0, 1)],
        tol=1e-6, max_iter=2000,
    )  # fmt: skip
    assert fit.best.converged
    assert fit.best.residual <= 1e-6
    assert fit.best.objective == fit.objectives.min()
    assert len(fit.objectives) == 2


def test_one_state_per_label_is_no_hidden_state(global_seed):
    rng = np.random.default_rng(global_seed)
    design = small_design(rng)
    y = labels(rng, 15)
    plain = fitted(design, y, crf_layout(2, 3), 0.5)
    latent = fit_latent(
        design,
        y,
        latent_layout([[0, 1]], 3, [1]),
        Penalties([np.full(5, 0.5)], 0.3),
        [np.random.default_rng(0)] * 3,
        tol=1e-8,
    )
    assert len(latent.objectives) == 1  # convex: nothing to start anew
    assert latent.best.objective == plain.objective
    np.testing.assert_array_equal(latent.best.potentials.coefs[0], plain.potentials.coefs[0])


def test_states_are_counted():
    assert n_latent_states(5, [3, 2]) == 30
    assert n_latent_states(2, [10**6] * 6) == 2 * 10**36  # beyond 64 bits
    layout = latent_layout([[0], [1]], 2, [2, 3])
    np.testing.assert_array_equal(layout.labels, np.repeat([0, 1], 6))
    np.testing.assert_array_equal(layout.maps[0], [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3])
    np.testing.assert_array_equal(layout.maps[1], [0, 1, 2, 0, 1, 2, 3, 4, 5, 3, 4, 5])
