"""Chains that see one another's past, by listing every joint path."""

from itertools import product
from math import exp, log

import numpy as np


def enumerate_coupled(starts, tables, densities):
    """List all joint paths of one sequence.

    starts[c][i] = P(q_1^c = i), tables[c][i_1, .., i_C, j] = P(q_t^c = j | q_{t-1} = i), both as
    probabilities; densities[c] of shape (n_steps, S_c) are (weighted) log b_c.

    Returns log Z, the marginals of every chain (n_steps, S_c), the expected counts of every
    chain's first state and table, and the best joint path with its score.
    """
    n_chains, n_steps = len(starts), len(densities[0])
    sizes = [len(start) for start in starts]
    joint = list(product(*(range(size) for size in sizes)))
    paths = list(product(joint, repeat=n_steps))
    scores = []
    for path in paths:
        total = 0.0
        for t, states in enumerate(path):
            for c in range(n_chains):
                chance = starts[c][states[c]] if t == 0 else tables[c][path[t - 1]][states[c]]
                total += (log(chance) if chance > 0 else -np.inf) + densities[c][t][states[c]]
        scores.append(total)
    top = max(scores)
    log_z = top + log(sum(exp(score - top) for score in scores))
    marginals = [np.zeros((n_steps, size)) for size in sizes]
    firsts = [np.zeros(size) for size in sizes]
    counts = [np.zeros((*sizes, size)) for size in sizes]
    for path, score in zip(paths, scores, strict=True):
        share = exp(score - log_z)
        for c in range(n_chains):
            firsts[c][path[0][c]] += share
            for t, states in enumerate(path):
                marginals[c][t, states[c]] += share
                if t:
                    counts[c][(*path[t - 1], states[c])] += share
    best = int(np.argmax(scores))
    return log_z, marginals, firsts, counts, paths[best], scores[best]


def forward_log_likelihood(start, transition, unary):
    """log Z of one plain chain by the forward recursion, in probabilities."""
    alpha = np.asarray(start) * np.exp(unary[0])
    total = log(alpha.sum())
    alpha = alpha / alpha.sum()
    for row in unary[1:]:
        alpha = (alpha @ transition) * np.exp(row)
        total += log(alpha.sum())
        alpha = alpha / alpha.sum()
    return total
