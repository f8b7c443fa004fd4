"""All weights that a search tries, at once.

What the weights multiply (posteriors, their logarithms, votes, ranks) does not depend on them, so
it is made once for a batch of samples and multiplied by all weights that are tried.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ._rule import FLOOR, Array, Rule, ratio

__all__ = ["Judged", "judge_shares"]

_CELLS = 2**18  # scores at once: they stay in the cache


class Judged(NamedTuple):
    """The mean log loss, floored, and the share of errors of each of the weights tried."""

    losses: Array
    wrong: Array


def judge_shares(
    rule: Rule,
    posteriors: Array,
    mask: Array,
    y: Array,
    sample_weight: Array,
    priors: Array,
    expert_priors: Array,
    tried: Array,
) -> Judged:
    """Judge every one of the shares tried, of shape (n_tried, n_experts[, n_classes])."""
    n_classes = posteriors.shape[2]
    weights = tried if tried.ndim == 2 else np.ascontiguousarray(tried.transpose(2, 0, 1))
    voices = (tried if tried.ndim == 2 else tried.sum(axis=2)) > 0
    losses, wrong = np.zeros(len(tried)), np.zeros(len(tried))
    width = max(16, _CELLS // (len(tried) * n_classes))
    for start in range(0, len(y), width):
        rows = slice(start, start + width)
        p, here = posteriors[:, rows], mask[:, rows]
        scores = _scores(rule, p, here, expert_priors, weights)
        silent = voices.astype(float) @ here <= 0
        support = voices.astype(float) @ (p.transpose(2, 0, 1) * here) if rule.ties else None
        true, right = _judge(rule, scores, silent, support, y[rows], priors)
        losses -= np.log(np.maximum(true, FLOOR)) @ sample_weight[rows]
        wrong += ~right @ sample_weight[rows]
    total = sample_weight.sum()
    return Judged(losses / total, wrong / total)


def _scores(rule: Rule, p: Array, mask: Array, expert_priors: Array, weights: Array) -> Array:
    """Return the scores by class, weights tried and sample."""
    told = rule.told(p, mask, expert_priors)  # type: ignore[misc]
    speaks = mask
    if rule.by_class and not (expert_priors > 0).all():
        speaks = mask[None] & (expert_priors > 0).T[:, :, None]
    if speaks.all():
        scores = weights @ told.transpose(2, 0, 1)
        total = weights.sum(axis=-1)[..., None]
    else:
        scores = weights @ (told.transpose(2, 0, 1) * speaks)
        total = weights @ speaks.astype(float)
    total = np.broadcast_to(total, scores.shape)
    scores = ratio(scores, total)
    if rule.log:
        scores[total <= 0] = np.log(FLOOR)
    return scores


def _judge(
    rule: Rule, scores: Array, silent: Array, support: Array | None, y: Array, priors: Array
) -> tuple[Array, Array]:
    """Return the probabilities of the true classes, and who is right."""
    best = scores.max(axis=0)
    if support is None:
        said = scores.argmax(axis=0)
    else:  # ties go to the higher mean posterior of those who have a weight
        said = np.where(scores >= best - 4 * FLOOR, support, -1.0).argmax(axis=0)
    if rule.log:
        scores -= best
        np.exp(scores, out=scores)
    total = scores.sum(axis=0)
    lost = silent | (total <= 0)
    true = ratio(scores[y, :, np.arange(len(y))].T, total)
    usual = np.broadcast_to(priors[y], true.shape)
    right = np.where(lost, priors.argmax() == y, said == y)
    return np.where(lost, usual, true), right
