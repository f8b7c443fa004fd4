"""The slow, obviously right versions, written from the docstrings' formulas."""

from __future__ import annotations

import math

import numpy as np

EPS = np.finfo(np.float64).eps


def _speaking(i, c, mask, expert_priors):
    return [m for m in range(len(mask)) if mask[m][i] and expert_priors[m][c] > 0]


def rule_scores(name, p, mask, priors, expert_priors, weights):
    """Return the scores of a rule by loops over samples, classes and experts."""
    _, n_samples, n_classes = p.shape
    scores = np.zeros((n_samples, n_classes))
    for i in range(n_samples):
        for c in range(n_classes):
            who = _speaking(i, c, mask, expert_priors)
            scores[i, c] = _SCORES[name](
                [float(p[m, i, c]) for m in who],
                float(priors[c]),
                [float(expert_priors[m][c]) for m in who],
                [_weight(weights, m, c) for m in who],
                _Context(p, mask, expert_priors, weights, i, c, who),
            )
    return scores


class _Context:
    """What the rules need that look beyond one class."""

    def __init__(self, p, mask, expert_priors, weights, i, c, who):
        self.p, self.mask, self.expert_priors, self.weights = p, mask, expert_priors, weights
        self.i, self.c, self.who = i, c, who
        self.n_classes = p.shape[2]
        self.present = [m for m in range(len(mask)) if mask[m][i]]


def _weight(weights, m, c):
    return float(weights[m] if np.ndim(weights) == 1 else weights[m][c])


def _floored(values):
    return [max(value, EPS) for value in values]


def _unknown(values):
    """The factor of a class that nobody who speaks ever saw."""
    return 1.0 if values else EPS


def _bayes(values, prior, own, weights, context):
    ratios = [value / before for value, before in zip(_floored(values), own, strict=True)]
    return prior * math.prod(ratios)


def _product(values, prior, own, weights, context):
    return _unknown(values) * math.prod(_floored(values))


def _mean(values, prior, own, weights, context):
    return sum(values) / len(values) if values else 0.0


def _sum(values, prior, own, weights, context):
    return (1 - len(values)) * prior + sum(values)


def _weighted(values, prior, own, weights, context):
    total = sum(weights)
    return sum(w * v for w, v in zip(weights, values, strict=True)) / total if total else 0.0


def _log_pool(values, prior, own, weights, context):
    total = sum(weights)
    if not total:
        return _unknown(values)
    shares = [w / total for w in weights]
    return math.prod(v**w for v, w in zip(_floored(values), shares, strict=True))


def _max(values, prior, own, weights, context):
    return max(values, default=0.0)


def _min(values, prior, own, weights, context):
    return min(values, default=0.0)


def _median(values, prior, own, weights, context):
    return float(np.median(values)) if values else 0.0


def _kittler_max(values, prior, own, weights, context):
    count = len(values)
    return (1 - count) * prior + count * max(values, default=0.0)


def _kittler_min(values, prior, own, weights, context):
    count = len(values)
    return prior ** (1 - count) * min(_floored(values)) if count and prior > 0 else 0.0


def _vote(values, prior, own, weights, context):
    votes, total = 0.0, 0.0
    for m in context.present:
        row = list(context.p[m, context.i])
        total += float(context.weights[m])
        if row.index(max(row)) == context.c:
            votes += float(context.weights[m])
    return votes / total if total else 0.0


def _borda(values, prior, own, weights, context):
    points, total = 0.0, 0.0
    for m in context.who:
        row = context.p[m, context.i]
        rivals = [
            float(row[k])
            for k in range(context.n_classes)
            if context.expert_priors[m][k] > 0 and k != context.c
        ]
        mine = float(row[context.c])
        below = sum(r < mine for r in rivals) + sum(r == mine for r in rivals) / 2
        points += float(context.weights[m]) * below / max(len(rivals), 1)
        total += float(context.weights[m])
    return points / total if total else 0.0


def _dempster_shafer(values, prior, own, weights, context):
    """Combine the masses one expert at a time by Dempster's rule, then the pignistic share."""
    believed, doubt = _unknown(values), 1.0
    belief = 1.0
    for m in context.present:
        reliability = float(context.weights[m])
        doubt *= 1 - reliability
        if m in context.who:
            belief *= max(
                reliability * float(context.p[m, context.i, context.c]) + 1 - reliability, EPS
            )
    return believed * (belief - min(doubt, belief) * (1 - 1 / context.n_classes))


_SCORES = {
    "bayes": _bayes,
    "product": _product,
    "mean": _mean,
    "sum": _sum,
    "weighted": _weighted,
    "log_pool": _log_pool,
    "max": _max,
    "min": _min,
    "median": _median,
    "kittler_max": _kittler_max,
    "kittler_min": _kittler_min,
    "vote": _vote,
    "borda": _borda,
    "dempster_shafer": _dempster_shafer,
}


def fused(name, p, mask, priors, expert_priors, weights):
    """Return normalised probabilities; the priors where nobody speaks or all scores are 0."""
    scores = np.maximum(rule_scores(name, p, mask, priors, expert_priors, weights), 0.0)
    heard = np.array(weights) if np.ndim(weights) == 1 else np.sum(weights, axis=1)
    rows = []
    for i, row in enumerate(scores):
        silent = not any(mask[m][i] and heard[m] > 0 for m in range(len(mask)))
        rows.append(priors if silent or row.sum() <= 0 else row / row.sum())
    return np.array(rows).reshape(scores.shape)


def dempster(masses_a, masses_b):
    """Combine two mass functions, dicts from frozenset of classes to mass, by Dempster's rule."""
    combined = {}
    for first, a in masses_a.items():
        for second, b in masses_b.items():
            both = first & second
            if both:
                combined[both] = combined.get(both, 0.0) + a * b
    total = sum(combined.values())
    return {key: value / total for key, value in combined.items()}


def pignistic(masses, n_classes):
    """Share every mass equally among the classes of its set."""
    shares = np.zeros(n_classes)
    for key, mass in masses.items():
        for c in key:
            shares[c] += mass / len(key)
    return shares


def fused_predictions(name, f, mask, weights, variances, fallback):
    """Return fused numbers of shape (n_samples,) by a loop."""
    out = []
    for i in range(f.shape[1]):
        who = [m for m in range(len(f)) if mask[m][i]]
        if name == "weighted":
            who = [m for m in who if weights[m] > 0]
        values = [float(f[m, i]) for m in who]
        share = {
            "mean": [1.0] * len(who),
            "median": [1.0] * len(who),
            "weighted": [float(weights[m]) for m in who],
            "inverse_variance": [1 / float(variances[m]) for m in who],
        }[name]
        if not who:
            out.append(fallback)
        elif name == "median":
            out.append(float(np.median(values)))
        else:
            out.append(sum(s * v for s, v in zip(share, values, strict=True)) / sum(share))
    return np.array(out)
