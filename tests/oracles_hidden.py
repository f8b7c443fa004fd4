"""The hidden conditional random field, written from its formula: every hidden path is listed.

A model is a dict: "weights" {m: (S_m, d_m)}, "states" {m: (C, S_m)}, "transitions"
{m: (C, S_m, S_m)}, "links" {(m, n): (C, S_m, S_n)}, "couplings" {(n, m): (C, S_n, S_m)} and
"intercept" (C,); a state that a class does not know has -inf in "states".
"""

from itertools import product

import numpy as np
from scipy.special import logsumexp


def psi(model, y, paths, x):
    """Return Psi(y, h, x) of one path per view and one (T, d_m) array per view."""
    total = model["intercept"][y]
    for m, h in paths.items():
        for t in range(len(h)):
            total += model["weights"][m][h[t]] @ x[m][t] + model["states"][m][y, h[t]]
        for t in range(1, len(h)):
            total += model["transitions"][m][y, h[t - 1], h[t]]
    for (m, n), link in model.get("links", {}).items():
        for t in range(len(paths[m])):
            total += link[y, paths[m][t], paths[n][t]]
    for (n, m), coupling in model.get("couplings", {}).items():
        for t in range(1, len(paths[m])):
            total += coupling[y, paths[n][t - 1], paths[m][t]]
    return total


def every_path(model, x):
    """Yield all hidden paths of a sample: {view: states}."""
    views = list(x)
    each = [product(range(len(model["weights"][m])), repeat=len(x[m])) for m in views]
    for paths in product(*each):
        yield dict(zip(views, paths, strict=True))


def class_scores(model, x):
    """Return log sum over h of exp Psi(y, h, x) for every class y."""
    n_classes = len(model["intercept"])
    return np.array(
        [
            logsumexp([psi(model, y, paths, x) for paths in every_path(model, x)])
            for y in range(n_classes)
        ]
    )


def objective(model, samples, y, weights, penalty):
    """Return -sum_i w_i log P(y_i | x_i) + penalty(model)."""
    loss = 0.0
    for x, label, weight in zip(samples, y, weights, strict=True):
        scores = class_scores(model, x)
        loss -= weight * (scores[label] - logsumexp(scores))
    return loss + penalty(model)
