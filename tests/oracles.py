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
        return EPS
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
    believed, doubt = _unknown([w for w in weights if w > 0]), 1.0
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


# Rules that are learnt ----------------------------------------------------------------------


def _said(row):
    row = list(row)
    return row.index(max(row))


def label_likelihoods(p, mask, y, w, smoothing):
    """Return {(m, c): [P(s | c) for every s]}; no entry where m was never asked of c."""
    n_experts, n_samples, n_classes = p.shape
    table = {}
    for m in range(n_experts):
        for c in range(n_classes):
            rows = [i for i in range(n_samples) if mask[m][i] and y[i] == c and w[i] > 0]
            asked = sum(float(w[i]) for i in rows)
            if not asked:
                continue
            table[m, c] = []
            for s in range(n_classes):
                count = sum(float(w[i]) for i in rows if _said(p[m, i]) == s)
                likelihood = (count + smoothing / n_classes) / (asked + smoothing)
                table[m, c].append(max(likelihood, EPS))
    return table


def naive_bayes(p, mask, priors, training, smoothing=1.0):
    """P(c) prod P(s_m | c); of a class that m was never asked of, the mean over the others."""
    table = label_likelihoods(*training, smoothing)
    n_experts, n_samples, n_classes = p.shape
    scores = np.zeros((n_samples, n_classes))
    for i in range(n_samples):
        for c in range(n_classes):
            scores[i, c] = float(priors[c])
            for m in range(n_experts):
                if not mask[m][i]:
                    continue
                s = _said(p[m, i])
                asked = [k for k in range(n_classes) if (m, k) in table]
                known = sum(float(priors[k]) for k in asked)
                if (m, c) in table:
                    scores[i, c] *= table[m, c][s]
                elif known:
                    usual = sum(float(priors[k]) * table[m, k][s] for k in asked)
                    scores[i, c] *= usual / known
    return _normalised(scores, mask, priors)


def _normalised(scores, mask, priors):
    rows = [
        row / row.sum() if any(mask[m][i] for m in range(len(mask))) and row.sum() > 0 else priors
        for i, row in enumerate(scores)
    ]
    return np.array(rows).reshape(scores.shape)


def bks(p, mask, priors, training, strength=1.0):
    """n(c, s) in the table of those present, as if y had the priors, and kappa P(c | s)."""
    known, present, y, w = training
    expected = naive_bayes(p, mask, priors, training)
    n_experts, n_samples, n_classes = p.shape
    scores = np.zeros((n_samples, n_classes))
    for i in range(n_samples):
        here = [m for m in range(n_experts) if mask[m][i]]
        had = [j for j in range(len(y)) if all(present[m][j] for m in here) and w[j] > 0]
        total = sum(float(w[j]) for j in had)
        alike = [j for j in had if all(_said(known[m, j]) == _said(p[m, i]) for m in here)]
        for c in range(n_classes):
            of_class = sum(float(w[j]) for j in had if y[j] == c)
            count = sum(float(w[j]) for j in alike if y[j] == c)
            if of_class:
                scores[i, c] = count * float(priors[c]) / (of_class / total)
            scores[i, c] += strength * expected[i, c]
    return _normalised(scores, mask, priors)


def templates(p, mask, y, w):
    """Return {(m, c): weighted mean posteriors of expert m over class c}."""
    found = {}
    for m in range(len(p)):
        for c in range(p.shape[2]):
            rows = [i for i in range(len(y)) if mask[m][i] and y[i] == c and w[i] > 0]
            if rows:
                total = sum(float(w[i]) for i in rows)
                found[m, c] = sum(float(w[i]) * p[m, i] for i in rows) / total
    return found


def decision_template(p, mask, priors, training, steepness):
    """Logs of exp(-beta / R sum_m |p_m - t_mc|^2), R those present that have a template of c."""
    found = templates(*training)
    logs = np.zeros(p.shape[1:])
    for i in range(p.shape[1]):
        for c in range(p.shape[2]):
            squares = [
                sum((float(a) - float(b)) ** 2 for a, b in zip(p[m, i], found[m, c], strict=True))
                for m in range(len(p))
                if mask[m][i] and (m, c) in found
            ]
            logs[i, c] = -steepness * sum(squares) / len(squares) if squares else math.log(EPS)
        if not any(mask[m][i] for m in range(len(p))):
            logs[i] = np.log(priors)
        logs[i] -= max(logs[i])
        logs[i] -= math.log(sum(math.exp(value) for value in logs[i]))
    return logs


def mean_log_loss(logs, y, w):
    """Return the weighted mean of -log P(y)."""
    losses = [-float(row[c]) for row, c in zip(logs, y, strict=True)]
    return sum(float(a) * b for a, b in zip(w, losses, strict=True)) / float(sum(w))


def learnt_pool(name, p, mask, priors, expert_priors, weights, temperature):
    """Return the scores of a pool to the power 1 / T, normalised; the priors where nobody speaks.

    The linear pool's scores are floored at the float's epsilon first.
    """
    scores = rule_scores(name, p, mask, priors, expert_priors, weights)
    rows = []
    for i, row in enumerate(scores):
        heard = any(mask[m][i] and weights[m] > 0 for m in range(len(mask)))
        if not heard or not max(row) > 0:
            rows.append(priors)
            continue
        logs = [math.log(max(v, EPS) if name == "weighted" else v) / temperature for v in row]
        powers = np.array([math.exp(value - max(logs)) for value in logs])
        rows.append(powers / powers.sum())
    return np.array(rows).reshape(scores.shape)


def stacked(answers, mask, fill, marked):
    """Return the rows that a stacked model is asked about: answers, then marks of absence."""
    rows = []
    for i in range(answers.shape[1]):
        row = []
        for m in range(len(answers)):
            row += list(answers[m, i]) if mask[m][i] else list(fill)
        rows.append(row + [0.0 if mask[m][i] else 1.0 for m in marked])
    return np.array(rows)


def mean_squared_residuals(f, mask, y, w):
    """Return the weighted mean squared residual of each expert, NaN for one without rows."""
    found = []
    for m in range(len(f)):
        rows = [i for i in range(len(y)) if mask[m][i] and w[i] > 0]
        total = sum(float(w[i]) for i in rows)
        squares = sum(float(w[i]) * (float(f[m, i]) - float(y[i])) ** 2 for i in rows)
        found.append(squares / total if rows else math.nan)
    return np.array(found)


def log_pool_optimum(p, y, w):
    """Minimise the log loss of softmax(sum g log p) over g >= 0, as a cone programme."""
    import cvxpy as cp

    logs = np.log(np.maximum(p, EPS))
    g = cp.Variable(len(p), nonneg=True)
    losses = []
    for c in range(p.shape[2]):
        rows = np.flatnonzero(y == c)
        if rows.size:
            spread = logs[:, rows] - logs[:, rows, c][:, :, None]
            cells = sum(g[m] * spread[m] for m in range(len(p)))
            losses.append(w[rows] @ cp.log_sum_exp(cells, axis=1) / w.sum())
    problem = cp.Problem(cp.Minimize(sum(losses)))
    problem.solve(solver="CLARABEL")
    return g.value, problem.value


def linear_pool_optimum(p, y, w):
    """Minimise the log loss of sum w p over the simplex, as a cone programme."""
    import cvxpy as cp

    shares = cp.Variable(len(p), nonneg=True)
    true = p[:, np.arange(len(y)), y]
    loss = -(w @ cp.log(true.T @ shares)) / w.sum()
    problem = cp.Problem(cp.Minimize(loss), [cp.sum(shares) == 1])
    problem.solve(solver="CLARABEL")
    return shares.value, problem.value


def shares_optimum(f, y, w):
    """Minimise the squared error, in units of y's variance, over the simplex."""
    import cvxpy as cp

    shares = cp.Variable(len(f), nonneg=True)
    variance = w @ np.square(y - w @ y / w.sum()) / w.sum()
    root = np.sqrt(w / w.sum() / (variance if variance > 0 else 1.0))
    loss = cp.sum_squares(cp.multiply(root, f.T @ shares - y))
    problem = cp.Problem(cp.Minimize(loss), [cp.sum(shares) == 1])
    problem.solve(solver="CLARABEL")
    return shares.value, problem.value
