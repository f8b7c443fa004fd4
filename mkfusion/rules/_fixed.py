"""The rules of classes that have nothing to learn."""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata

from ._rule import (
    FLOOR,
    Array,
    Parts,
    Rule,
    additive_rule,
    by_class,
    contract,
    floored_log,
    log_priors,
    shares,
    unknown_class,
    where,
    who_speaks,
)
from ._weights import learn_log_pool, learn_reliabilities, learn_weighted

__all__ = ["FIXED_RULES", "median"]

_TIE = 8 * FLOOR

# Additive rules -----------------------------------------------------------------------------


def _mean(posteriors, mask, priors, expert_priors, weights):
    return Parts(np.zeros(1), shares(who_speaks(mask, expert_priors), np.ones(len(mask))))


def _sum(posteriors, mask, priors, expert_priors, weights):
    speaks = who_speaks(mask, expert_priors)
    return Parts((1 - by_class(speaks).sum(axis=0)) * priors, speaks.astype(float))


def _weighted(posteriors, mask, priors, expert_priors, weights):
    return Parts(np.zeros(1), shares(who_speaks(mask, expert_priors), weights))


def _product(posteriors, mask, priors, expert_priors, weights):
    speaks = who_speaks(mask, expert_priors)
    return Parts(unknown_class(speaks), speaks.astype(float))


def _bayes(posteriors, mask, priors, expert_priors, weights):
    offsets = np.log(np.where(expert_priors > 0, expert_priors, 1.0))
    return Parts(log_priors(priors), who_speaks(mask, expert_priors).astype(float), offsets)


def _log_pool(posteriors, mask, priors, expert_priors, weights):
    given = shares(who_speaks(mask, expert_priors), weights)
    return Parts(unknown_class(given > 0), given)


def _posteriors(posteriors, mask, expert_priors):
    return posteriors


def _logs(posteriors, mask, expert_priors):
    return floored_log(posteriors)


# Rules by order, by votes, by evidence ------------------------------------------------------


def _max(posteriors, mask, priors, expert_priors, weights):
    return where(who_speaks(mask, expert_priors), posteriors, 0.0).max(axis=0)


def _min(posteriors, mask, priors, expert_priors, weights):
    speaks = who_speaks(mask, expert_priors)
    least = where(speaks, posteriors, np.inf).min(axis=0)
    return np.where(np.isinf(least), 0.0, least)


def median(posteriors, mask, priors, expert_priors, weights):
    """Return the median of those who speak."""
    speaks = who_speaks(mask, expert_priors)
    if speaks.all():
        return np.median(posteriors, axis=0)
    ordered = np.sort(where(speaks, posteriors, np.inf), axis=0)
    count = np.broadcast_to(by_class(speaks).sum(axis=0), ordered.shape[1:])[None]
    middle = np.maximum(count - 1, 0) // 2, np.maximum(count, 1) // 2
    low, high = (np.take_along_axis(ordered, index, axis=0)[0] for index in middle)
    return np.where(count[0] > 0, (low + high) / 2, 0.0)


def _kittler_max(posteriors, mask, priors, expert_priors, weights):
    count = by_class(who_speaks(mask, expert_priors)).sum(axis=0)
    return (1 - count) * priors + count * _max(posteriors, mask, priors, expert_priors, weights)


def _kittler_min(posteriors, mask, priors, expert_priors, weights):
    count = by_class(who_speaks(mask, expert_priors)).sum(axis=0)
    with np.errstate(invalid="ignore"):
        correction = (1 - count) * log_priors(priors)
    least = floored_log(_min(posteriors, mask, priors, expert_priors, weights))
    return np.where((count > 0) & (priors > 0), correction + least, -np.inf)


def _vote(posteriors, mask, priors, expert_priors, weights):
    n_experts, n_samples, n_classes = posteriors.shape
    given = shares(mask, weights)
    votes = np.zeros((n_samples, n_classes))
    rows = np.arange(n_samples)
    for expert in range(n_experts):
        votes[rows, posteriors[expert].argmax(axis=1)] += given[expert]
    return _break_ties(votes, posteriors, mask & (weights > 0)[:, None])


def _votes(posteriors, mask, expert_priors):
    return np.eye(posteriors.shape[2])[posteriors.argmax(axis=2)]


def _borda(posteriors, mask, priors, expert_priors, weights):
    speaks = who_speaks(mask, expert_priors)
    below = _below(posteriors, mask, expert_priors)
    scores = contract(shares(speaks, weights), below)
    return _break_ties(scores, posteriors, mask & (weights > 0)[:, None])


def _below(posteriors, mask, expert_priors):
    """Return the share of classes that an expert ranks below each."""
    below = np.empty(posteriors.shape)
    for expert, seen in enumerate(expert_priors > 0):
        below[expert][:, ~seen] = 0.0
        ranks = rankdata(posteriors[expert][:, seen], axis=1)
        below[expert][:, seen] = (ranks - 1) / max(seen.sum() - 1, 1)
    return below


def _break_ties(scores: Array, posteriors: Array, mask: Array) -> Array:
    """Raise the tied class of highest mean posterior by a few units in the last place."""
    best = scores.max(axis=1, keepdims=True)
    tied = scores >= best - 4 * FLOOR
    rows = np.flatnonzero(tied.sum(axis=1) > 1)
    support = contract(mask[:, rows].astype(float), posteriors[:, rows])
    winners = np.where(tied[rows], support, -1.0).argmax(axis=1)
    scores[rows] = np.where(tied[rows], best[rows], scores[rows])
    scores[rows, winners] *= 1 + _TIE
    return scores


def _dempster_shafer(posteriors, mask, priors, expert_priors, weights):
    speaks = who_speaks(mask, expert_priors)
    reliability = weights[:, None, None]
    with np.errstate(divide="ignore"):
        belief = np.log(np.maximum(reliability * posteriors + (1 - reliability), FLOOR))
        doubt = np.log1p(-weights)
    believed = where(speaks, belief, 0.0).sum(axis=0)
    doubted = np.where(mask, doubt[:, None], 0.0).sum(axis=0)[:, None]
    ignorance = np.exp(doubted - believed)
    share = 1 - 1 / posteriors.shape[2]
    heard = by_class(speaks) & (reliability > 0)
    return believed + np.log1p(-share * ignorance) + unknown_class(heard)


FIXED_RULES: dict[str, Rule] = {
    "bayes": additive_rule(_bayes, log=True),
    "product": additive_rule(_product, log=True),
    "mean": additive_rule(_mean, log=False),
    "sum": additive_rule(_sum, log=False),
    "max": Rule(_max),
    "min": Rule(_min),
    "median": Rule(median),
    "kittler_max": Rule(_kittler_max),
    "kittler_min": Rule(_kittler_min, log=True),
    "vote": Rule(
        _vote, weights="share", probabilities=False, told=_votes, by_class=False, ties=True
    ),
    "borda": Rule(_borda, weights="share", told=_below, ties=True),
    "weighted": additive_rule(
        _weighted, log=False, weights="share", learn=learn_weighted, told=_posteriors
    ),
    "log_pool": additive_rule(
        _log_pool, log=True, weights="share", learn=learn_log_pool, told=_logs
    ),
    "dempster_shafer": Rule(
        _dempster_shafer, log=True, weights="reliability", learn=learn_reliabilities
    ),
}
