"""The hidden conditional random field on arrays, against the listing of all hidden paths."""

import numpy as np
import oracles_hidden
import pytest
from scipy.special import log_softmax

from mkfusion.chains._hidden_objective import (
    HiddenModel,
    Observed,
    Problem,
    draw_model,
    fit_hidden,
    free_parameters,
    hidden_objective,
    hidden_scores,
    model_of,
    penalties,
)
from mkfusion.chains._hidden_views import (
    Product,
    Views,
    collapse,
    expand,
    n_parameters,
    unpack,
)

N_CLASSES = 3
WIDTHS = (2, 1)
STATES = (2, 3)
LENGTHS = (1, 3, 2, 1, 2)
CODES = np.array([0, 1, 2, 1, 0])
WEIGHTS = np.array([1.0, 0.5, 2.0, 1.5, 0.0])


def views_of(chains, states=STATES, widths=WIDTHS, allowed=None):
    if chains == "joint":
        return (Views((states[0],), (sum(widths),), N_CLASSES, allowed=allowed),)
    if chains == "separate":
        return tuple(
            Views((size,), (width,), N_CLASSES, allowed=None if allowed is None else (allowed[m],))
            for m, (size, width) in enumerate(zip(states, widths, strict=True))
        )
    return (Views(states, widths, N_CLASSES, "linked" in chains, "coupled" in chains, allowed),)


def samples_of(chains, rng):
    """Return what the chains see, and for the oracle an array per view and sample."""
    lengths = [LENGTHS, LENGTHS[::-1]] if chains == "separate" else [LENGTHS, LENGTHS]
    blocks = [
        [rng.normal(size=(length, width)) for length in own]
        for own, width in zip(lengths, WIDTHS, strict=True)
    ]
    if chains == "separate":
        blocks[1][2] = np.empty((0, WIDTHS[1]))  # this sample lacks the second modality
        seen = tuple(observed(block) for block in blocks)
        return seen, [dict(enumerate(each)) for each in zip(*blocks, strict=True)]
    joined = [np.hstack(each) for each in zip(*blocks, strict=True)]
    if chains == "joint":
        return (observed(joined),), [{0: each} for each in joined]
    return (observed(joined),), [dict(enumerate(each)) for each in zip(*blocks, strict=True)]


def observed(cells):
    offsets = np.append(0, np.cumsum([len(cell) for cell in cells]))
    return Observed(np.ascontiguousarray(np.vstack(cells)), offsets)


def as_oracle(model):
    """Return the oracle's dict; views of separate chains are numbered through."""
    found = {"intercept": model.intercept, "links": {}, "couplings": {}}
    found |= {"weights": {}, "states": {}, "transitions": {}}
    for views, potentials in zip(model.views, model.potentials, strict=True):
        first = len(found["weights"])
        for m in range(len(views.n_states)):
            found["weights"][first + m] = potentials.weights[m]
            states = potentials.states[m]
            if views.allowed is not None:
                states = np.where(views.allowed[m], states, -np.inf)
            found["states"][first + m] = states
            found["transitions"][first + m] = potentials.transitions[m]
        found["links"] |= potentials.links
        found["couplings"] |= potentials.couplings
    return found


def drawn(views, rng):
    model = draw_model(views, np.random.RandomState(rng.integers(2**31)), 1.0)
    return model_of(views, np.append(model.vector()[:-N_CLASSES], rng.normal(size=N_CLASSES)))


def problem_of(chains, rng, views=None, l2=(0.3, 0.7), chain=0.2, intercept=True):
    views = views_of(chains) if views is None else views
    seen, samples = samples_of(chains, rng)
    columns = np.repeat(l2, WIDTHS)
    parts = np.split(columns, [WIDTHS[0]]) if chains == "separate" else [columns]
    penalty = penalties(views, parts, chain)
    free = free_parameters(views, intercept)
    return Problem(views, seen, CODES, WEIGHTS, penalty, free), samples


CHAINS = ("joint", "linked", "coupled", "linked-coupled", "separate", "beside")
over_chains = pytest.mark.parametrize("chains", CHAINS)  # beside: no edges, on the product space


@over_chains
def test_scores_are_those_of_all_paths(chains, global_seed):
    rng = np.random.default_rng(global_seed)
    model = drawn(views_of(chains), rng)
    seen, samples = samples_of(chains, rng)
    expected = [oracles_hidden.class_scores(as_oracle(model), x) for x in samples]
    np.testing.assert_allclose(hidden_scores(model, seen), expected, rtol=1e-11, atol=1e-11)


@over_chains
def test_objective_is_the_formula(chains, global_seed):
    rng = np.random.default_rng(global_seed)
    problem, samples = problem_of(chains, rng)
    model = drawn(problem.views, rng)

    def penalty(oracle):
        weights = oracle["weights"].values()
        if chains == "joint":
            (theta,) = weights
            total = 0.3 * np.sum(theta[:, :2] ** 2) + 0.7 * np.sum(theta[:, 2:] ** 2)
        else:
            total = sum(l2 * np.sum(w**2) for l2, w in zip((0.3, 0.7), weights, strict=True))
        for part in ("states", "transitions", "links", "couplings"):
            total += 0.2 * sum(np.sum(table**2) for table in oracle[part].values())
        return total / 2

    expected = oracles_hidden.objective(as_oracle(model), samples, CODES, WEIGHTS, penalty)
    assert hidden_objective(problem, model.vector())[0] == pytest.approx(expected, rel=1e-11)


@over_chains
def test_gradient_is_that_of_finite_differences(chains, global_seed):
    rng = np.random.default_rng(global_seed)
    problem, _ = problem_of(chains, rng)
    vector = drawn(problem.views, rng).vector()
    gradient = hidden_objective(problem, vector)[1]
    step = 1e-5
    numeric = np.array(
        [
            hidden_objective(problem, vector + step * unit)[0]
            - hidden_objective(problem, vector - step * unit)[0]
            for unit in np.eye(len(vector))
        ]
    ) / (2 * step)
    np.testing.assert_allclose(gradient, numeric, rtol=1e-6, atol=1e-7)
    assert np.abs(gradient).min() > 0  # every parameter matters


@pytest.mark.parametrize("chains", ["joint", "linked-coupled", "separate"])
def test_states_of_some_classes_only(chains, global_seed):
    rng = np.random.default_rng(global_seed)
    allowed = [np.array([[1, 0], [0, 1], [1, 1]], dtype=bool)]
    if chains != "joint":
        allowed.append(np.array([[1, 1, 0], [0, 0, 1], [1, 1, 1]], dtype=bool))
    views = views_of(chains, allowed=tuple(allowed))
    problem, samples = problem_of(chains, rng, views)
    model = drawn(views, rng)
    expected = [oracles_hidden.class_scores(as_oracle(model), x) for x in samples]
    np.testing.assert_allclose(hidden_scores(model, problem.chains), expected, rtol=1e-11)
    vector = model.vector()
    slope = hidden_objective(problem, vector)[1] - problem.penalty * vector
    np.testing.assert_array_equal(slope != 0, problem.free)
    moved = hidden_objective(problem._replace(penalty=0 * vector), vector + ~problem.free)[0]
    assert moved == hidden_objective(problem._replace(penalty=0 * vector), vector)[0]


def test_one_private_state_per_class_is_a_softmax_of_sums(global_seed):
    rng = np.random.default_rng(global_seed)
    views = views_of("joint", (N_CLASSES,), allowed=(np.eye(N_CLASSES, dtype=bool),))
    model = drawn(views, rng)
    seen, samples = samples_of("joint", rng)
    (potentials,) = model.potentials
    own = np.arange(N_CLASSES)
    sums = np.array([x[0].sum(axis=0) for x in samples])
    T = np.array(LENGTHS)[:, None]
    expected = (
        sums @ potentials.weights[0].T
        + T * potentials.states[0][own, own]
        + (T - 1) * potentials.transitions[0][own, own, own]
        + model.intercept
    )
    np.testing.assert_allclose(
        log_softmax(hidden_scores(model, seen), axis=1), log_softmax(expected, axis=1), rtol=1e-11
    )


@pytest.mark.parametrize("chains", ["linked", "coupled", "linked-coupled"])
def test_without_interaction_chains_are_separate(chains, global_seed):
    rng = np.random.default_rng(global_seed)
    views = views_of(chains)
    model = drawn(views, rng)
    (potentials,) = model.potentials
    for table in (*potentials.links.values(), *potentials.couplings.values()):
        table[:] = 0
    apart = HiddenModel(
        views_of("separate"),
        tuple(
            unpack(each, np.concatenate([part[m].ravel() for part in potentials[:3]]))
            for m, each in enumerate(views_of("separate"))
        ),
        model.intercept,
    )
    (joined,), _ = samples_of(chains, rng)
    blocks = np.split(joined.values, [WIDTHS[0]], axis=1)
    seen = tuple(Observed(np.ascontiguousarray(block), joined.offsets) for block in blocks)
    np.testing.assert_allclose(
        hidden_scores(model, (joined,)), hidden_scores(apart, seen), rtol=1e-12
    )


def test_three_views_and_the_adjoint(global_seed):
    rng = np.random.default_rng(global_seed)
    views = Views((2, 3, 2), (1, 2, 1), 2, linked=True, coupled=True)
    vector = rng.normal(size=n_parameters(views))
    product = expand(views, unpack(views, vector))
    other = Product(*[rng.normal(size=part.shape) for part in product])
    there = sum(np.vdot(a, b) for a, b in zip(product, other, strict=True))
    back = np.vdot(vector, collapse(views, other).vector())
    assert there == pytest.approx(back, rel=1e-11)
    x = rng.normal(size=(2, 4))
    model = HiddenModel((views,), (unpack(views, vector),), np.zeros(2))
    sample = dict(enumerate(np.split(x, [1, 3], axis=1)))
    np.testing.assert_allclose(
        hidden_scores(model, (observed([x]),))[0],
        oracles_hidden.class_scores(as_oracle(model), sample),
        rtol=1e-11,
    )


@pytest.mark.parametrize("chains", ["joint", "linked-coupled", "separate"])
def test_order_of_samples_does_not_matter(chains, global_seed):
    rng = np.random.default_rng(global_seed)
    problem, _ = problem_of(chains, rng)
    order = rng.permutation(len(LENGTHS))
    moved = tuple(
        observed([seen.values[seen.offsets[i] : seen.offsets[i + 1]] for i in order])
        for seen in problem.chains
    )
    other = problem._replace(chains=moved, codes=CODES[order], weights=WEIGHTS[order])
    vector = drawn(problem.views, rng).vector()
    for here, there in zip(
        hidden_objective(problem, vector), hidden_objective(other, vector), strict=True
    ):
        np.testing.assert_allclose(here, there, rtol=1e-10, atol=1e-12)


def test_certain_sequences_add_what_they_add():
    """What is left out of the gradient lies below what floats can tell."""
    rng = np.random.default_rng(0)
    views = views_of("joint")
    cells = [rng.normal(size=(40, 3)) + 3 * label for label in (0, 1, 2, 0, 1)]
    problem = Problem(
        views,
        (observed(cells),),
        CODES,
        np.ones(5),
        penalties(views, [np.ones(3)], 1.0),
        free_parameters(views, True),
    )
    vector = 3 * drawn(views, rng).vector()
    gradient = hidden_objective(problem, vector)[1]
    step = 1e-6
    for j in range(0, len(vector), 5):
        unit = step * np.eye(len(vector))[j]
        up, down = (hidden_objective(problem, vector + s * unit)[0] for s in (1, -1))
        assert gradient[j] == pytest.approx((up - down) / (2 * step), rel=1e-4, abs=1e-3)


@over_chains
def test_the_search_ends_where_the_gradient_does(chains, global_seed):
    rng = np.random.default_rng(global_seed)
    problem, _ = problem_of(chains, rng)
    start = draw_model(problem.views, np.random.RandomState(global_seed), 0.1)
    before = start.vector()
    fit = fit_hidden(problem, start, max_iter=500, tol=1e-6)
    np.testing.assert_array_equal(start.vector(), before)
    value, gradient = hidden_objective(problem, fit.model.vector())
    assert fit.converged
    lengths = np.maximum(LENGTHS, LENGTHS[::-1]) if chains == "separate" else np.array(LENGTHS)
    steps = WEIGHTS @ lengths
    assert fit.gradient_norm == pytest.approx(np.abs(gradient).max() / steps, abs=1e-9)
    assert fit.gradient_norm <= 1e-6
    assert fit.objective == pytest.approx(value, rel=1e-12)
    assert (np.diff(fit.history) <= 1e-12).all()
    assert len(fit.history) == fit.n_iter + 1
    short = fit_hidden(problem, start, max_iter=1, tol=1e-6)
    assert not short.converged
    assert short.gradient_norm > 1e-6


@over_chains
def test_threads_change_nothing(chains, global_seed):
    rng = np.random.default_rng(global_seed)
    views = views_of(chains)
    seen, _ = samples_of(chains, rng)
    many = tuple(
        Observed(
            np.ascontiguousarray(rng.normal(size=(20_000, each.values.shape[1]))),
            np.arange(0, 20_001, 50),
        )
        for each in seen
    )
    codes = rng.integers(N_CLASSES, size=400)
    columns = [np.ones(each.values.shape[1]) for each in many]
    problem = Problem(
        views, many, codes, np.ones(400), penalties(views, columns, 1.0),
        free_parameters(views, True),
    )  # fmt: skip
    vector = drawn(views, rng).vector()
    value, gradient = hidden_objective(problem, vector, n_threads=1)
    other, its_gradient = hidden_objective(problem, vector, n_threads=2)
    assert value == other
    np.testing.assert_array_equal(gradient, its_gradient)
