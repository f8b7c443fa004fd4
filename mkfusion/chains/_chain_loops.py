# mypy: ignore-errors
"""The loops behind the chain: sums and maxima over all paths, sequence by sequence.

Steps of several sequences stand one after another; ``offsets`` says where each begins.
"""

import math

import numpy as np

from .._jit import njit

__all__ = ["best_paths", "forward_backward", "reachable", "take_tops"]

# Relative to the sum of its row, what a float loses lies below 1e-308. As long as forward and
# backward weights agree better than this, none of it can matter.
_TINY = 1e-150

_FEW = 10  # states


def _with_sums(function):
    return njit(function, reassociate=True)


@njit
def reachable(start, transition, out):
    """Say which states a path can be in at each step: positive weights only, bool (n, S)."""
    n_steps, n_states = out.shape
    for j in range(n_states):
        out[0, j] = start[j] > 0
    for t in range(1, n_steps):
        for j in range(n_states):
            out[t, j] = False
            for i in range(n_states):
                if out[t - 1, i] and transition[i, j] > 0:
                    out[t, j] = True
                    break


@njit
def take_tops(unary, offsets, within, tops, out):
    """Take the maximum of each row off it, over states that can be reached; others are -inf.

    ``within`` (n, S) says which states these are at each step of a sequence; without rows, all.
    """
    n_states = unary.shape[1]
    for s in range(len(offsets) - 1):
        for t in range(offsets[s], offsets[s + 1]):
            top = -np.inf
            for j in range(n_states):
                value = unary[t, j]
                if len(within) and not within[t - offsets[s], j]:
                    value = -np.inf
                out[t, j] = value
                if value > top:
                    top = value
            if top == -np.inf:
                top = 0.0
            tops[t] = top
            for j in range(n_states):
                out[t, j] -= top


@_with_sums
def _scaled(start, transition, transposed, weights, tops, alpha, pairs, beta, carried):
    """Run forward and backward on one sequence; return the log of the sum of all paths.

    ``weights`` (n, S) are the exponentials of the unary potentials, each row divided by its
    maximum, exp(tops[t]). ``alpha`` becomes the marginals. NaN is returned where floats do not
    reach.
    """
    n_steps, n_states = alpha.shape
    total = 0.0
    for t in range(n_steps):
        if t == 0:
            for j in range(n_states):
                carried[j] = start[j]
        else:
            for j in range(n_states):
                arriving = 0.0
                for i in range(n_states):
                    arriving += alpha[t - 1, i] * transposed[j, i]
                carried[j] = arriving
        row = 0.0
        for j in range(n_states):
            carried[j] *= weights[t, j]
            row += carried[j]
        if not row > _TINY:
            return np.nan
        scale = 1.0 / row
        for j in range(n_states):
            alpha[t, j] = carried[j] * scale
        total += math.log(row) + tops[t]

    for j in range(n_states):
        beta[j] = 1.0
    for t in range(n_steps - 1, 0, -1):
        for j in range(n_states):
            carried[j] = weights[t, j] * beta[j]
        both, alone = 0.0, 0.0
        for i in range(n_states):
            leaving = 0.0
            for j in range(n_states):
                leaving += transition[i, j] * carried[j]
            beta[i] = leaving
            both += alpha[t - 1, i] * leaving
            alone += leaving
        if not both > _TINY * alone:
            return np.nan
        scale = 1.0 / both
        for i in range(n_states):
            before = alpha[t - 1, i] * scale
            alpha[t - 1, i] = before * beta[i]
            for j in range(n_states):
                pairs[i, j] += before * carried[j]
        scale = 1.0 / alone
        for i in range(n_states):
            beta[i] *= scale
    for i in range(n_states):
        for j in range(n_states):
            pairs[i, j] *= transition[i, j]
    return total


@njit
def _log_sum(terms):
    top = -np.inf
    for term in terms:
        top = max(top, term)
    if top == -np.inf:
        return top
    total = 0.0
    for term in terms:
        total += math.exp(term - top)
    return top + math.log(total)


@njit
def _in_logarithms(start, transition, unary, alpha, pairs, beta, carried):
    """Do what `_scaled` does for potentials of any size."""
    n_steps, n_states = alpha.shape
    for j in range(n_states):
        alpha[0, j] = start[j] + unary[0, j]
    for t in range(1, n_steps):
        for j in range(n_states):
            for i in range(n_states):
                carried[i] = alpha[t - 1, i] + transition[i, j]
            alpha[t, j] = _log_sum(carried) + unary[t, j]
    total = _log_sum(alpha[n_steps - 1])
    for i in range(n_states):
        beta[i] = 0.0
        for j in range(n_states):
            pairs[i, j] = 0.0
    if total == -np.inf:
        for t in range(n_steps):
            for j in range(n_states):
                alpha[t, j] = 0.0
        return total
    after = np.empty(n_states)
    for t in range(n_steps - 1, -1, -1):
        if t < n_steps - 1:
            for j in range(n_states):
                after[j] = unary[t + 1, j] + beta[j]
            for i in range(n_states):
                for j in range(n_states):
                    carried[j] = transition[i, j] + after[j]
                    pairs[i, j] += math.exp(alpha[t, i] + carried[j] - total)
                beta[i] = _log_sum(carried)
        for i in range(n_states):
            carried[i] = alpha[t, i] + beta[i]
        top = _log_sum(carried)
        for i in range(n_states):  # alpha is still needed as it was at t - 1 only
            alpha[t, i] = math.exp(carried[i] - top)
    return total


@njit
def forward_backward(
    log_start,
    log_transition,
    unary,
    start,
    transition,
    transposed,
    weights,
    tops,
    shift,
    offsets,
    sample_weights,
    fits,
    log_partition,
    marginals,
    start_sum,
    pair_sum,
):
    """Run every sequence of a block; what has no room in floats runs in logarithms.

    ``start``, ``transition`` and ``weights`` are exponentials of the potentials, divided by their
    maxima: exp(tops[t]) for each row, exp(shift[0]) and exp(shift[1]) for start and transition.
    ``fits`` says whether the exponentials kept all of the potentials.
    """
    n_states = len(start)
    beta, carried = np.empty(n_states), np.empty(n_states)
    pairs = np.empty((n_states, n_states))
    for s in range(len(offsets) - 1):
        a, b = offsets[s], offsets[s + 1]
        if a == b:
            log_partition[s] = 0.0
            continue
        total = np.nan
        if fits:
            pairs[:] = 0.0
            total = _scaled(
                start,
                transition,
                transposed,
                weights[a:b],
                tops[a:b],
                marginals[a:b],
                pairs,
                beta,
                carried,
            )
            total += shift[0] + (b - a - 1) * shift[1]
        if math.isnan(total):
            total = _in_logarithms(
                log_start, log_transition, unary[a:b], marginals[a:b], pairs, beta, carried
            )
        log_partition[s] = total
        weight = sample_weights[s]
        for i in range(n_states):
            start_sum[i] += weight * marginals[a, i]
            for j in range(n_states):
                pair_sum[i, j] += weight * pairs[i, j]


@njit
def best_paths(start, transition, transposed, unary, offsets, best, states, scores):
    """Find the best path of every sequence; ``best`` (n, S) is scratch.

    The maximum over few states is quickest state by state, over many all states at once.

    The way back asks again which state led to the next one, and needs no table of answers.
    """
    n_states = len(start)
    for s in range(len(offsets) - 1):
        a, b = offsets[s], offsets[s + 1]
        if a == b:
            scores[s] = 0.0
            continue
        for j in range(n_states):
            best[a, j] = start[j] + unary[a, j]
        for t in range(a + 1, b):
            if n_states <= _FEW:
                for j in range(n_states):
                    top = best[t - 1, 0] + transposed[j, 0]
                    for i in range(1, n_states):
                        there = best[t - 1, i] + transposed[j, i]
                        top = there if there > top else top
                    best[t, j] = top + unary[t, j]
            else:
                for j in range(n_states):
                    best[t, j] = best[t - 1, 0] + transition[0, j]
                for i in range(1, n_states):
                    before = best[t - 1, i]
                    for j in range(n_states):
                        there = before + transition[i, j]
                        if there > best[t, j]:
                            best[t, j] = there
                for j in range(n_states):
                    best[t, j] += unary[t, j]
        state = 0
        for j in range(1, n_states):
            if best[b - 1, j] > best[b - 1, state]:
                state = j
        scores[s] = best[b - 1, state]
        states[b - 1] = state
        for t in range(b - 1, a, -1):
            came = 0
            top = best[t - 1, 0] + transposed[state, 0]
            for i in range(1, n_states):
                there = best[t - 1, i] + transposed[state, i]
                if there > top:
                    came, top = i, there
            state = came
            states[t - 1] = state
