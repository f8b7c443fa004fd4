"""Conditional random fields by listing every labelling and every hidden path, from the formula."""

from itertools import pairwise, product

import numpy as np


def context_rows(block, context):
    """The windows t - c .. t + c of one sequence, zeros beyond its ends."""
    T, d = block.shape
    rows = np.zeros((T, (2 * context + 1) * d))
    for t in range(T):
        for k, source in enumerate(range(t - context, t + context + 1)):
            if 0 <= source < T:
                rows[t, k * d : (k + 1) * d] = block[source]
    return rows


def path_score(unary, transition, path):
    score = sum(unary[t, state] for t, state in enumerate(path))
    return score + sum(transition[a, b] for a, b in pairwise(path))


def label_log_probability(unary, transition, labels_of_states, y):
    """log p(y | x) of one sequence: the paths whose labels are y, among all."""
    S = unary.shape[1]
    every, told = [], []
    for path in product(range(S), repeat=len(unary)):
        score = path_score(unary, transition, path)
        every.append(score)
        if all(labels_of_states[state] == label for state, label in zip(path, y, strict=True)):
            told.append(score)
    return np.logaddexp.reduce(told) - np.logaddexp.reduce(every)


def objective(
    rows, labels, weights, coef, intercept, transition, of_states, l2, l2_transition, l1
):
    """The documented objective over sequences; `l2` by column."""
    loss = 0.0
    for x, y, weight in zip(rows, labels, weights, strict=True):
        unary = x @ coef.T + intercept
        loss -= weight * label_log_probability(unary, transition, of_states, y)
    loss += 0.5 * np.sum(l2 * coef**2) + 0.5 * l2_transition * np.sum(transition**2)
    return loss + l1 * (np.abs(coef).sum() + np.abs(transition).sum())


def label_marginals(unary, transition, of_states):
    """P(y_t | x) of one sequence, by all paths."""
    T, S = unary.shape
    totals = np.zeros((T, max(of_states) + 1))
    scores, paths = [], list(product(range(S), repeat=T))
    scores = np.array([path_score(unary, transition, path) for path in paths])
    probabilities = np.exp(scores - np.logaddexp.reduce(scores))
    for path, probability in zip(paths, probabilities, strict=True):
        for t, state in enumerate(path):
            totals[t, of_states[state]] += probability
    return totals
