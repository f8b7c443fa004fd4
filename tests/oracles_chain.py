"""All paths of a tiny chain, one by one."""

import itertools
import math

import numpy as np


def path_score(start, transition, unary, path):
    score = start[path[0]] + unary[0][path[0]]
    for t in range(1, len(path)):
        score += transition[path[t - 1]][path[t]] + unary[t][path[t]]
    return score


def enumerate_chain(start, transition, unary):
    """Return log Z, marginals (T, S), pair sums (S, S), the best path and its score."""
    n_steps, n_states = np.shape(unary)
    paths = list(itertools.product(range(n_states), repeat=n_steps))
    scores = [path_score(start, transition, unary, path) for path in paths]
    top = max(scores)
    marginals, pairs = np.zeros((n_steps, n_states)), np.zeros((n_states, n_states))
    if top == -np.inf:
        return -np.inf, marginals, pairs, None, -np.inf
    log_z = top + math.log(math.fsum(math.exp(score - top) for score in scores))
    for path, score in zip(paths, scores, strict=True):
        probability = math.exp(score - log_z)
        for t, state in enumerate(path):
            marginals[t, state] += probability
            if t:
                pairs[path[t - 1], state] += probability
    return log_z, marginals, pairs, paths[scores.index(top)], top
