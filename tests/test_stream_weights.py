"""Weights of streams that tell the classes apart: scores, slopes, optimum, certificate."""

import numpy as np
import pytest
from oracles_chain import enumerate_chain
from scipy.optimize import minimize

from mkfusion.chains._stream_weights import (
    Chain,
    learn_stream_weights,
    linear_scores,
    path_scores,
    stream_weight_loss,
)

PRIORS = np.log([0.6, 0.4])
OFFSETS = np.array([0, 3, 4, 8])


def logs(rng, *shape):
    shares = rng.dirichlet(np.ones(shape[-1]), size=shape[:-1] or None)
    return np.log(shares)


def tiny_chains(seed, n_streams=2, n_states=3, n_steps=8):
    rng = np.random.default_rng(seed)
    return [
        Chain(
            logs(rng, n_states),
            logs(rng, n_states, n_states),
            rng.normal(scale=2, size=(n_streams, n_steps, n_states)),
        )
        for _ in range(2)
    ]


def noisy_table(seed, n=300):
    """Log-likelihoods of a stream that tells two classes apart and of one of mere noise."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, size=n)
    lengths = rng.integers(10, 100, size=n)
    table = rng.normal(scale=4.0, size=(n, 2, 2)) * np.sqrt(lengths)[:, None, None]
    table[np.arange(n), 0, y] += 6.0 * np.sqrt(lengths)
    return table, y, lengths


def test_path_scores_are_those_of_all_paths(global_seed):
    chains = tiny_chains(global_seed)
    chains[1].transition[0, 2] = -np.inf
    weights = np.array([0.4, 1.6])
    scores, _ = path_scores(chains, OFFSETS)(weights)
    for c, chain in enumerate(chains):
        unary = np.tensordot(weights, chain.densities, axes=1)
        for i in range(3):
            own = unary[OFFSETS[i] : OFFSETS[i + 1]]
            expected = enumerate_chain(chain.start, chain.transition, own)[0]
            assert scores[i, c] == pytest.approx(expected, abs=1e-10)


def test_a_stream_of_weight_0_is_not_looked_at(global_seed):
    chains = tiny_chains(global_seed)
    alone = [chain._replace(densities=chain.densities[:1]) for chain in chains]
    for chain in chains:
        chain.densities[1, 2:5] = -np.inf
    found = path_scores(chains, OFFSETS)(np.array([1.0, 0.0]))[0]
    np.testing.assert_array_equal(found, path_scores(alone, OFFSETS)(np.ones(1))[0])


def test_a_class_without_a_chain_has_no_score(global_seed):
    chains = tiny_chains(global_seed)
    scores, slopes = path_scores([None, chains[1]], OFFSETS)(np.ones(2))
    assert np.isneginf(scores[:, 0]).all()
    assert not slopes[:, 0].any()
    np.testing.assert_array_equal(scores[:, 1], path_scores(chains, OFFSETS)(np.ones(2))[0][:, 1])


def test_threads_change_nothing(global_seed):
    chains = tiny_chains(global_seed, n_steps=9000)
    offsets = np.arange(0, 9001, 30)
    for one, two in zip(
        path_scores(chains, offsets)(np.ones(2)),
        path_scores(chains, offsets, n_threads=3)(np.ones(2)),
        strict=True,
    ):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.3, 1.7), (0.0, 2.0)])
def test_slopes_of_paths_are_those_of_finite_differences(weights, global_seed):
    scorer = path_scores(tiny_chains(global_seed), OFFSETS)
    weights, step = np.array(weights), 1e-5
    _, slopes = scorer(weights)
    for m in range(2):
        up, down = (scorer(weights + sign * step * np.eye(2)[m])[0] for sign in (1, -1))
        np.testing.assert_allclose((up - down) / (2 * step), slopes[:, :, m], atol=1e-6)


def test_linear_scores_are_weighted_sums(global_seed):
    table, _, _ = noisy_table(global_seed, 20)
    table[3, 1, 0] = -np.inf
    scores, slopes = linear_scores(table)(np.array([0.5, 1.5]))
    expected = 0.5 * table[:, 0] + 1.5 * table[:, 1]
    np.testing.assert_allclose(scores, expected)
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(slopes[finite], table.transpose(0, 2, 1)[finite])


def loss_at(point, scorer, y, lengths):
    n_streams = len(point) - 2
    scores, slopes = scorer(point[:n_streams])
    t = np.log(lengths) - np.log(lengths).mean()
    return stream_weight_loss(point, scores, slopes, y, t, PRIORS, np.linspace(1, 2, len(y)))


@pytest.mark.parametrize("kind", ["separate", "shared"])
def test_gradient_is_that_of_finite_differences(kind, global_seed):
    if kind == "separate":
        table, y, lengths = noisy_table(global_seed, 40)
        scorer = linear_scores(table)
    else:
        y, lengths = np.array([0, 1, 1]), np.diff(OFFSETS)
        scorer = path_scores(tiny_chains(global_seed), OFFSETS)
    point, step = np.array([0.7, 1.9, 1.1, 0.4]), 1e-5
    _, gradient = loss_at(point, scorer, y, lengths)
    for k in range(4):
        ends = [
            loss_at(point + sign * step * np.eye(4)[k], scorer, y, lengths)[0] for sign in (1, -1)
        ]
        assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(gradient[k], abs=1e-6, rel=1e-5)


def test_the_optimum_is_that_of_a_general_solver(global_seed):
    table, y, lengths = noisy_table(global_seed)
    scorer = linear_scores(table)
    found = learn_stream_weights(scorer, 2, y, lengths, PRIORS)
    ones = np.ones(len(y))
    t = np.log(lengths) - np.log(lengths).mean()

    def loss(point):
        x = np.array([point[0], 2 - point[0]])
        scores, slopes = scorer(x)
        full = np.r_[x, point[1:]]
        return stream_weight_loss(full, scores, slopes, y, t, PRIORS, ones)[0]

    bounds = [(0, 2), (-20, 20), (-5, 5)]
    starts = [[x, a, b] for x in (0.5, 1.5) for a in (1.0, 4.0) for b in (0.0, 1.0)]
    best = min(
        minimize(loss, start, bounds=bounds, method="Nelder-Mead", options={"fatol": 1e-12}).fun
        for start in starts
    )
    assert found.objective <= best + 1e-6
    assert found.converged
    assert found.gap < 1e-5
    assert found.weights.sum() == pytest.approx(2)
    assert found.weights[0] > 1.5  # the other is noise


def test_a_misleading_stream_gets_weight_0(global_seed):
    table, y, lengths = noisy_table(global_seed)
    table[np.arange(len(y)), 1, y] -= 3 * np.sqrt(lengths)
    found = learn_stream_weights(linear_scores(table), 2, y, lengths, PRIORS)
    np.testing.assert_allclose(found.weights, [2, 0], atol=1e-6)
    assert found.converged


def test_equal_streams_share_their_weight_and_one_has_it_all(global_seed):
    table, y, lengths = noisy_table(global_seed)
    twice = np.repeat(table[:, :1], 2, axis=1)
    both = learn_stream_weights(linear_scores(twice), 2, y, lengths, PRIORS)
    np.testing.assert_allclose(both.weights, 1.0)
    one = learn_stream_weights(linear_scores(table[:, :1]), 1, y, lengths, PRIORS)
    np.testing.assert_allclose(one.weights, 1.0)
    # Two equal voices are one voice at twice the temperature.
    assert both.objective == pytest.approx(one.objective, abs=5e-3)


def test_samples_that_teach_nothing(global_seed):
    table, y, lengths = noisy_table(global_seed, 30)
    found = learn_stream_weights(
        linear_scores(np.full_like(table, -np.inf)), 2, y, lengths, PRIORS
    )
    np.testing.assert_array_equal(found.weights, 1.0)
    weights = np.random.default_rng(global_seed).integers(0, 3, size=30)
    weighted = learn_stream_weights(
        linear_scores(table), 2, y, lengths, PRIORS, sample_weight=weights
    )
    repeated = learn_stream_weights(
        linear_scores(np.repeat(table, weights, axis=0)),
        2,
        np.repeat(y, weights),
        np.repeat(lengths, weights),
        PRIORS,
    )
    np.testing.assert_allclose(weighted.weights, repeated.weights, atol=1e-4)
    assert weighted.objective == pytest.approx(repeated.objective, abs=1e-7)
