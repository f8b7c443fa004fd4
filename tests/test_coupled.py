"""Coupled chains on the product space: joint paths, expected counts, EM, what they equal."""

import numpy as np
import pytest
from oracles_coupled import enumerate_coupled, forward_log_likelihood

from mkfusion.chains._coupling import (
    CoupledHMM,
    coupled_log_likelihoods,
    coupled_paths,
    coupled_posteriors,
    factored,
    fit_coupled,
    product_chain,
)
from mkfusion.chains._emissions import Emission, Stream

SIZES = (2, 3)


class Symbols(Emission):
    """Symbols 0, 1, 2 by a table of probabilities: only the chains are tested here."""

    family = "symbols of this test"

    def __init__(self, table):
        self.table = table

    def prepare(self, stream):
        return stream.values[:, 0].astype(int)

    def scores(self, prepared, n_threads=1):
        return np.log(self.table.T[prepared])

    def statistics(self, prepared, weights, n_threads=1):
        return np.array([weights[prepared == k].sum(axis=0) for k in range(self.table.shape[1])]).T

    def maximized(self, statistics):
        statistics = statistics + 1e-9 * (statistics.sum(axis=1, keepdims=True) == 0)
        return Symbols(statistics / statistics.sum(axis=1, keepdims=True))


def drawn_model(rng, sizes=SIZES):
    return CoupledHMM(
        tuple(rng.dirichlet(np.ones(size)) for size in sizes),
        tuple(rng.dirichlet(np.ones(size), size=sizes) for size in sizes),
        tuple(Symbols(rng.dirichlet(np.ones(3), size=size)) for size in sizes),
    )


def drawn_streams(rng, n_steps, n_chains=2, absent=0.0):
    return [
        Stream(
            rng.integers(0, 3, size=(n_steps, 1)).astype(float),
            rng.uniform(size=n_steps) >= absent,
        )
        for _ in range(n_chains)
    ]


def densities_of(model, streams, steps, weights=None):
    weights = np.ones(len(streams)) if weights is None else weights
    return [
        w * np.where(s.present[steps, None], e.scores(e.prepare(s))[steps], 0.0)
        for e, s, w in zip(model.emissions, streams, weights, strict=True)
    ]


@pytest.fixture
def rng(global_seed):
    return np.random.default_rng(global_seed)


@pytest.mark.parametrize("sizes", [(2, 3), (3, 2), (2, 2, 2), (4,), (1, 3)])
def test_everything_is_that_of_all_joint_paths(sizes, rng):
    model = drawn_model(rng, sizes)
    streams = drawn_streams(rng, 3, len(sizes), absent=0.3)
    weights = rng.uniform(0.2, 1.8, size=len(sizes))
    offsets = np.array([0, 3])
    densities = densities_of(model, streams, slice(None), weights)
    log_z, marginals, firsts, counts, path, score = enumerate_coupled(
        model.starts, model.tables, densities
    )
    found = coupled_posteriors(model, streams, offsets, weights)
    assert found.log_partition[0] == pytest.approx(log_z, abs=1e-10)
    assert coupled_log_likelihoods(model, streams, offsets, weights)[0] == pytest.approx(log_z)
    for c in range(len(sizes)):
        np.testing.assert_allclose(found.marginals[c], marginals[c], atol=1e-10)
        np.testing.assert_allclose(found.starts[c], firsts[c], atol=1e-10)
        np.testing.assert_allclose(found.counts[c], counts[c], atol=1e-10)
    states, scores = coupled_paths(model, streams, offsets, weights)
    assert scores[0] == pytest.approx(score, abs=1e-10)
    np.testing.assert_array_equal(states, path)


def test_counts_are_weighted_by_sequence(rng):
    model, streams = drawn_model(rng), drawn_streams(rng, 7)
    offsets, weights = np.array([0, 3, 4, 7]), np.array([2.0, 5.0, 0.5])
    found = coupled_posteriors(model, streams, offsets, weights=weights)
    expected = [np.zeros_like(table) for table in model.tables]
    for i in range(3):
        own = densities_of(model, streams, slice(offsets[i], offsets[i + 1]))
        for c, counts in enumerate(enumerate_coupled(model.starts, model.tables, own)[3]):
            expected[c] += weights[i] * counts
    for c in range(2):
        np.testing.assert_allclose(found.counts[c], expected[c], atol=1e-10)


def test_the_joint_chain_is_a_chain(rng):
    start, transition = product_chain(*drawn_model(rng)[:2])
    assert start.sum() == pytest.approx(1)
    np.testing.assert_allclose(transition.sum(axis=1), 1)


def independent(rng, sizes=SIZES):
    return (
        [rng.dirichlet(np.ones(size)) for size in sizes],
        [rng.dirichlet(np.ones(size), size=size) for size in sizes],
        [Symbols(rng.dirichlet(np.ones(3), size=size)) for size in sizes],
    )


def test_factored_coupling_is_independent_chains(rng):
    starts, transitions, emissions = independent(rng)
    streams, offsets = drawn_streams(rng, 60, absent=0.2), np.array([0, 13, 14, 60])
    model = factored(starts, transitions, emissions)
    found = coupled_posteriors(model, streams, offsets)
    for i in range(3):
        steps = slice(offsets[i], offsets[i + 1])
        densities = densities_of(model, streams, steps)
        alone = [
            forward_log_likelihood(*own)
            for own in zip(starts, transitions, densities, strict=True)
        ]
        assert found.log_partition[i] == pytest.approx(sum(alone), abs=1e-10)


def test_a_chain_of_one_state_couples_nothing(rng):
    """Two chains of which one has one state are the other chain, times its own emissions."""
    model, streams = drawn_model(rng, (1, 3)), drawn_streams(rng, 20)
    densities = densities_of(model, streams, slice(None))
    alone = forward_log_likelihood(model.starts[1], model.tables[1][0], densities[1])
    found = coupled_log_likelihoods(model, streams, np.array([0, 20]))[0]
    assert found == pytest.approx(alone + densities[0].sum(), abs=1e-10)


def test_order_of_chains_does_not_matter(rng):
    model, streams = drawn_model(rng), drawn_streams(rng, 30)
    offsets = np.array([0, 11, 30])
    swapped = CoupledHMM(
        model.starts[::-1],
        tuple(table.transpose(1, 0, 2) for table in model.tables[::-1]),
        model.emissions[::-1],
    )
    np.testing.assert_allclose(
        coupled_log_likelihoods(model, streams, offsets),
        coupled_log_likelihoods(swapped, streams[::-1], offsets),
        atol=1e-10,
    )


def test_em_never_falls_and_threads_change_nothing(rng):
    streams, offsets = drawn_streams(rng, 400, absent=0.1), np.arange(0, 401, 20)
    initial = drawn_model(rng)
    weights = rng.integers(0, 4, size=20).astype(float)
    fits = [
        fit_coupled(
            initial, streams, offsets, sample_weight=weights, stream_weights=np.array([1.0, 0.5]),
            transition_prior=1.3, max_iter=30, tol=0.0, n_threads=n_threads,
        )
        for n_threads in (1, 3)
    ]  # fmt: skip
    history = fits[0].history
    assert len(history) == 31
    assert (np.diff(history) >= -1e-9 * abs(history[0])).all()
    assert history[-1] > history[0] + 1
    np.testing.assert_array_equal(history, fits[1].history)
    for one, two in zip(fits[0].model.tables, fits[1].model.tables, strict=True):
        np.testing.assert_array_equal(one, two)


def test_weights_are_repetitions(rng):
    streams, offsets = drawn_streams(rng, 40), np.arange(0, 41, 5)
    weights = rng.integers(0, 3, size=8)
    weights[0] = 2
    rows = np.concatenate(
        [np.arange(5 * i, 5 * i + 5) for i in range(8) for _ in range(weights[i])]
    )
    repeated = [Stream(s.values[rows], s.present[rows]) for s in streams]
    initial = drawn_model(rng)
    options = {"max_iter": 10, "tol": 0.0}
    one = fit_coupled(initial, streams, offsets, sample_weight=weights.astype(float), **options)
    two = fit_coupled(initial, repeated, np.arange(0, len(rows) + 1, 5), **options)
    np.testing.assert_allclose(one.history, two.history, rtol=1e-9)
    for first, second in zip(one.model.tables, two.model.tables, strict=True):
        np.testing.assert_allclose(first, second, atol=1e-8)


def test_one_step_of_em_is_counts_over_sums(rng):
    model, streams = drawn_model(rng), drawn_streams(rng, 4)
    counts = enumerate_coupled(
        model.starts, model.tables, densities_of(model, streams, slice(None))
    )[3]
    found = fit_coupled(model, streams, np.array([0, 4]), max_iter=1, tol=0.0)
    for c in range(2):
        expected = counts[c] / counts[c].sum(axis=-1, keepdims=True)
        np.testing.assert_allclose(found.model.tables[c], expected, atol=1e-8)
    assert found.n_iter == 1


def test_zeros_stay_and_unvisited_rows_are_kept(rng):
    model = drawn_model(rng)
    table = model.tables[0].copy()
    table[:, :, 0], table[:, :, 1] = 0.0, 1.0  # the first chain never comes back to its state 0
    start = np.array([0.0, 1.0])
    model = CoupledHMM((start, model.starts[1]), (table, model.tables[1]), model.emissions)
    streams, offsets = drawn_streams(rng, 50), np.array([0, 25, 50])
    found = fit_coupled(model, streams, offsets, transition_prior=2.0, max_iter=5, tol=0.0)
    np.testing.assert_array_equal(found.model.starts[0], start)
    np.testing.assert_array_equal(found.model.tables[0], table)
    kept = fit_coupled(model, streams, offsets, max_iter=5, tol=0.0).model.tables[1][0]
    np.testing.assert_array_equal(kept, model.tables[1][0])


def test_an_impossible_sequence_is_refused(rng):
    model = drawn_model(rng)
    dead = np.zeros_like(model.tables[0])
    with pytest.raises(ValueError, match="impossible under the zeros"):
        fit_coupled(
            model._replace(tables=(dead, model.tables[1])), drawn_streams(rng, 5), np.array([0, 5])
        )


def test_coupling_is_found_where_there_is_one(rng):
    """The second chain repeats the first's last symbol; chains by themselves cannot know."""
    first = rng.integers(0, 2, size=600)
    second = np.r_[0, first[:-1]]
    streams = [Stream(own[:, None].astype(float), np.ones(600, bool)) for own in (first, second)]
    sharp = [Symbols(np.array([[0.98, 0.01, 0.01], [0.01, 0.98, 0.01]])) for _ in range(2)]
    flat = [np.full(2, 0.5)] * 2, [np.full((2, 2), 0.5)] * 2
    start = factored(*flat, sharp)
    offsets = np.arange(0, 601, 60)
    found = fit_coupled(start, streams, offsets, max_iter=30)
    # log 2 for each step of the second chain, less what is not sharp.
    assert found.history[-1] - found.history[0] > 0.8 * np.log(2) * 590
    assert found.converged
    np.testing.assert_allclose(found.model.tables[1][0, :, 0], 1, atol=0.05)
    np.testing.assert_allclose(found.model.tables[1][1, :, 1], 1, atol=0.05)
