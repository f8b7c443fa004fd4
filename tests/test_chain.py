"""Sums and maxima over paths, against a list of all of them."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles_chain import enumerate_chain, path_score

from mkfusion.chains._chain import log_partition, posteriors, step_sequence, viterbi

LENGTHS = (1, 3, 5, 2, 4)


def drawn(seed, n_states=3, lengths=LENGTHS, scale=2.0, zeros=0.0):
    rng = np.random.default_rng(seed)
    start = scale * rng.normal(size=n_states)
    transition = scale * rng.normal(size=(n_states, n_states))
    unary = scale * rng.normal(size=(sum(lengths), n_states))
    for potentials in (start, transition, unary):
        potentials[rng.random(potentials.shape) < zeros] = -np.inf
    return start, transition, unary, np.cumsum([0, *lengths])


def check(start, transition, unary, offsets, tolerance=1e-12):
    weights = np.arange(1.0, len(offsets))
    found = posteriors(start, transition, unary, offsets, weights=weights)
    paths = viterbi(start, transition, unary, offsets)
    logs = log_partition(start, transition, unary, offsets)
    n_states = len(start)
    first, pairs = np.zeros(n_states), np.zeros((n_states, n_states))
    for n, (a, b) in enumerate(pairwise(offsets)):
        log_z, marginals, own, _, score = enumerate_chain(start, transition, unary[a:b])
        size = tolerance * max(1.0, abs(log_z) if np.isfinite(log_z) else 1.0)
        for value in (found.log_partition[n], logs[n]):
            assert value == log_z or abs(value - log_z) <= size
        np.testing.assert_allclose(found.marginals[a:b], marginals, atol=10 * tolerance)
        assert paths.scores[n] == pytest.approx(score, rel=1e-14, abs=1e-12)
        if score > -np.inf:
            own_path = paths.states[a:b]
            assert path_score(start, transition, unary[a:b], own_path) == pytest.approx(
                score, rel=1e-14, abs=1e-12
            )
        first += weights[n] * marginals[0]
        pairs += weights[n] * own
    np.testing.assert_allclose(found.start, first, atol=100 * tolerance)
    np.testing.assert_allclose(found.pairs, pairs, atol=100 * tolerance)


@pytest.mark.parametrize("n_states", [1, 2, 3])
@pytest.mark.parametrize("scale", [0.1, 2.0, 100.0])
def test_equals_the_sum_over_all_paths(global_seed, n_states, scale):
    check(*drawn(global_seed, n_states, scale=scale), tolerance=1e-12)


@given(st.integers(0, 10**6), st.sampled_from([0.1, 0.3, 0.6]))
def test_structural_zeros_anywhere(seed, zeros):
    check(*drawn(seed, zeros=zeros))


@given(st.integers(0, 10**6), st.sampled_from([300.0, 1e3, 1e5]))
def test_potentials_that_no_exponential_holds(seed, scale):
    check(*drawn(seed, scale=scale), tolerance=1e-11)


@given(st.integers(0, 10**6))
def test_left_right_with_far_apart_densities(seed):
    start, transition, unary, offsets = drawn(seed, scale=1.0)
    start[1:] = -np.inf
    transition[np.tril_indices(3, -1)] = -np.inf
    check(start, transition, 400 * unary, offsets, tolerance=1e-11)


def test_what_is_lost_at_first_and_wins_in_the_end():
    """State 1 falls below the range of floats, and later evidence prefers it little by little."""
    start, transition = np.zeros(2), np.array([[0.0, -np.inf], [-np.inf, 0.0]])
    unary = np.array([[0.0, -800.0]] + [[-150.0, 0.0]] * 9)
    found = posteriors(start, transition, unary, [0, 10])
    np.testing.assert_allclose(found.log_partition, [-800.0], rtol=1e-14)
    np.testing.assert_allclose(found.marginals[:, 1], 1.0)
    assert viterbi(start, transition, unary, [0, 10]).states.tolist() == [1] * 10
    np.testing.assert_allclose(log_partition(start, transition, unary, [0, 10]), [-800.0])


@pytest.mark.parametrize("n_states", [9, 10, 11, 12])
def test_few_and_many_states_have_the_same_paths(n_states, global_seed):
    """A state that cannot be reached changes nothing but the way that the maximum is found."""
    start, transition, unary, offsets = drawn(global_seed, n_states, (40, 7))
    wide = np.full(n_states + 8, -np.inf), np.full((n_states + 8, n_states + 8), -np.inf)
    wide[0][:n_states], wide[1][:n_states, :n_states] = start, transition
    more = np.hstack([unary, np.zeros((47, 8))])
    one, two = viterbi(start, transition, unary, offsets), viterbi(*wide, more, offsets)
    np.testing.assert_array_equal(one.states, two.states)
    np.testing.assert_array_equal(one.scores, two.scores)


def test_one_outlier_row(global_seed):
    start, transition, unary, offsets = drawn(global_seed, lengths=(5,))
    unary[2] -= 1e6
    check(start, transition, unary, offsets, tolerance=1e-14)


def test_no_possible_path():
    start, transition = np.array([0.0, -np.inf]), np.array([[-np.inf, -np.inf], [0.0, 0.0]])
    found = posteriors(start, transition, np.zeros((3, 2)), [0, 2, 3])
    assert found.log_partition.tolist() == [-np.inf, 0.0]
    assert found.marginals.tolist() == [[0, 0], [0, 0], [1, 0]]
    assert found.start.tolist() == [1, 0]
    assert not found.pairs.any()
    assert viterbi(start, transition, np.zeros((3, 2)), [0, 2, 3]).scores[0] == -np.inf


def test_empty_sequences_change_nothing(global_seed):
    start, transition, unary, offsets = drawn(global_seed)
    padded = np.sort(np.concatenate([offsets, offsets]))
    once = posteriors(start, transition, unary, offsets)
    more = posteriors(start, transition, unary, padded)
    np.testing.assert_array_equal(more.log_partition[1::2], once.log_partition)
    assert not more.log_partition[::2].any()
    np.testing.assert_array_equal(more.pairs, once.pairs)
    np.testing.assert_array_equal(
        viterbi(start, transition, unary, padded).states,
        viterbi(start, transition, unary, offsets).states,
    )


def test_no_bit_depends_on_threads(global_seed):
    lengths = np.random.default_rng(global_seed).integers(1, 900, 60)
    model = drawn(global_seed, 5, lengths)
    one, two = posteriors(*model), posteriors(*model, n_threads=3)
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(log_partition(*model, n_threads=2), one.log_partition)
    for a, b in zip(viterbi(*model), viterbi(*model, n_threads=3), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_sequence_does_not_depend_on_the_others(global_seed):
    lengths = np.random.default_rng(global_seed).integers(1, 900, 30)
    start, transition, unary, offsets = drawn(global_seed, 4, lengths)
    together = posteriors(start, transition, unary, offsets)
    for n in (0, 17, 29):
        a, b = offsets[n : n + 2]
        alone = posteriors(start, transition, unary[a:b], [0, b - a])
        assert alone.log_partition[0] == together.log_partition[n]
        np.testing.assert_array_equal(alone.marginals, together.marginals[a:b])


def test_arguments_are_not_written_to(global_seed):
    arrays = drawn(global_seed)
    for values in arrays:
        values.flags.writeable = False
    before = [values.copy() for values in arrays]
    posteriors(*arrays)
    viterbi(*arrays)
    for values, copy in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(values, copy)


def test_ties_go_to_the_lowest_state():
    assert (
        viterbi(np.zeros(3), np.zeros((3, 3)), np.zeros((4, 3)), [0, 4]).states.tolist() == [0] * 4
    )


def test_step_sequence():
    assert step_sequence(np.array([0, 2, 2, 5])).tolist() == [0, 0, 2, 2, 2]
