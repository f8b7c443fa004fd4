"""Rules that combine what several experts say of the same samples.

A rule is a function of one signature on arrays, and :data:`RULES` names them all::

    scores = rule(posteriors, mask, priors, expert_priors, weights)

========================  ===========================================================
``posteriors``            (n_experts, n_samples, n_classes), p_m(c | x)
``mask``                  (n_experts, n_samples), True where expert m speaks of sample i
``priors``                (n_classes,), P(c) where the rule is used
``expert_priors``         (n_experts, n_classes), P_m(c) that expert m was trained with;
                          0 says that it never saw the class
``weights``               (n_experts,) or (n_experts, n_classes)
``scores``                (n_samples, n_classes), to scale; logarithms if the rule says so
========================  ===========================================================

:func:`fuse` is the front: it checks, fills in the defaults, calls the rule, gives the priors to
samples of which no expert speaks, and normalises. :func:`fuse_predictions` and
:data:`REGRESSION_RULES` are the same for numbers instead of classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.special import logsumexp
from scipy.stats import rankdata

from ._validation import check_distribution, check_masked, check_option, listed

__all__ = [
    "REGRESSION_RULES",
    "RULES",
    "Decomposition",
    "Rule",
    "decompose",
    "decompose_predictions",
    "fuse",
    "fuse_predictions",
    "get_rule",
]

_FLOOR = np.finfo(np.float64).eps
_TIE = 8 * _FLOOR
_BATCH = 8192  # rows at once: their intermediate arrays stay in the cache

Array = np.ndarray
Scores = Callable[..., Array]


@dataclass(frozen=True)
class Rule:
    """A rule and what must be known of it to use it.

    Parameters
    ----------
    scores : callable
        ``scores(posteriors, mask, priors, expert_priors, weights)``.
    log : bool
        The scores are logarithms.
    weights : {None, "share", "reliability"}
        What ``weights`` mean to the rule: nothing, shares that are scaled to sum to 1, or
        reliabilities in [0, 1]. A rule to which they mean nothing refuses them.
    additive : callable or None
        The :class:`Parts` of an additive rule; for numbers the share of each expert.
    trained : bool
        The rule has parameters of its own that are learnt from out-of-fold posteriors.
    order_free : bool
        The order of the experts does not matter.
    probabilities : bool
        The rule needs posteriors; otherwise predicted labels are enough.
    """

    scores: Scores
    log: bool = False
    weights: str | None = None
    additive: Callable[..., Any] | None = None
    trained: bool = False
    order_free: bool = True
    probabilities: bool = True


class Parts(NamedTuple):
    """An additive rule: score_i(c) = base_i(c) + sum_m a_mi(c) [phi(p_mi(c)) - offset_m(c)].

    phi is the logarithm, of posteriors floored at the float's epsilon, if the rule is ``log``,
    and the identity otherwise.
    """

    base: Array  # shape: broadcasts to (n_samples, n_classes)
    coefficients: Array  # shape: (n_experts, n_samples) or (n_experts, n_samples, n_classes)
    offsets: Array | None = None  # shape: (n_experts, n_classes)


class Decomposition(NamedTuple):
    """A fused decision and what each expert added to it.

    ``base + contributions.sum(axis=0)`` is ``decision``.
    """

    contributions: Array  # shape: (n_experts, n_samples, n_classes)
    base: Array  # shape: (n_samples, n_classes)
    decision: Array  # shape: (n_samples, n_classes)


# What the experts say -----------------------------------------------------------------------


def _speaks(mask: Array, expert_priors: Array) -> Array:
    """Return who speaks of what: by class too, where some expert never saw a class.

    Where every expert speaks of every sample, one column stands for all.
    """
    seen = expert_priors > 0
    if mask.all():
        mask = mask[:, :1]
    return mask if seen.all() else mask[:, :, None] & seen[:, None, :]


def _by_class(array: Array) -> Array:
    """Give an array (n_experts, n_samples) an axis for the classes."""
    return array if array.ndim == 3 else array[:, :, None]


def _where(speaks: Array, values: Array, otherwise: float) -> Array:
    return values if speaks.all() else np.where(_by_class(speaks), values, otherwise)


def _log(posteriors: Array) -> Array:
    floored = np.maximum(posteriors, _FLOOR)
    return np.log(floored, out=floored)


def _ratio(numerator: Array, denominator: Array) -> Array:
    """Divide, with 0 where the denominator is 0."""
    return np.divide(
        numerator, denominator, out=np.zeros(np.shape(numerator)), where=denominator > 0
    )


def _shares(speaks: Array, weights: Array) -> Array:
    """Return the weights of those who speak, scaled to sum to 1 over the experts."""
    if weights.ndim == 2:
        speaks = _by_class(speaks)
        weights = weights[:, None, :]
    else:
        weights = weights.reshape(-1, *[1] * (speaks.ndim - 1))
    given = weights * speaks
    return _ratio(given, np.broadcast_to(given.sum(axis=0), given.shape))


def _log_priors(priors: Array) -> Array:
    with np.errstate(divide="ignore"):
        return np.log(priors)


# Additive rules -----------------------------------------------------------------------------


def _mean(mask, priors, expert_priors, weights):
    return Parts(np.zeros(1), _shares(_speaks(mask, expert_priors), np.ones(len(mask))))


def _sum(mask, priors, expert_priors, weights):
    speaks = _speaks(mask, expert_priors)
    return Parts((1 - _by_class(speaks).sum(axis=0)) * priors, speaks.astype(float))


def _weighted(mask, priors, expert_priors, weights):
    return Parts(np.zeros(1), _shares(_speaks(mask, expert_priors), weights))


def _product(mask, priors, expert_priors, weights):
    speaks = _speaks(mask, expert_priors)
    return Parts(_unknown_class(speaks), speaks.astype(float))


def _bayes(mask, priors, expert_priors, weights):
    offsets = np.log(np.where(expert_priors > 0, expert_priors, 1.0))
    return Parts(_log_priors(priors), _speaks(mask, expert_priors).astype(float), offsets)


def _log_pool(mask, priors, expert_priors, weights):
    speaks = _speaks(mask, expert_priors)
    return Parts(_unknown_class(speaks), _shares(speaks, weights))


def _unknown_class(speaks: Array) -> Array:
    """Return log epsilon for classes that none who speaks ever saw, or factors 1 would win."""
    return np.where(_by_class(speaks).any(axis=0), 0.0, np.log(_FLOOR))


def _additive_rule(parts: Callable[..., Parts], *, log: bool, **traits: Any) -> Rule:
    def scores(posteriors, mask, priors, expert_priors, weights):
        base, coefficients, offsets = parts(mask, priors, expert_priors, weights)
        values = _log(posteriors) if log else posteriors
        fused = _contract(coefficients, values)
        if offsets is not None:
            fused -= _contract(coefficients, offsets)
        fused += base
        return fused

    scores.__name__ = parts.__name__.lstrip("_")
    return Rule(scores, log=log, additive=parts, **traits)


def _contract(coefficients: Array, values: Array) -> Array:
    """Sum coefficients times values over the experts; shape (n_samples, n_classes)."""
    experts = "mic" if coefficients.ndim == 3 else "mi"
    return np.einsum(f"{experts},{'mic' if values.ndim == 3 else 'mc'}->ic", coefficients, values)


# Rules by order, by votes, by evidence ------------------------------------------------------


def _max(posteriors, mask, priors, expert_priors, weights):
    return _where(_speaks(mask, expert_priors), posteriors, 0.0).max(axis=0)


def _min(posteriors, mask, priors, expert_priors, weights):
    speaks = _speaks(mask, expert_priors)
    least = _where(speaks, posteriors, np.inf).min(axis=0)
    return np.where(np.isinf(least), 0.0, least)


def _median(posteriors, mask, priors, expert_priors, weights):
    speaks = _speaks(mask, expert_priors)
    if speaks.all():
        return np.median(posteriors, axis=0)
    ordered = np.sort(_where(speaks, posteriors, np.inf), axis=0)
    count = np.broadcast_to(_by_class(speaks).sum(axis=0), ordered.shape[1:])[None]
    middle = np.maximum(count - 1, 0) // 2, np.maximum(count, 1) // 2
    low, high = (np.take_along_axis(ordered, index, axis=0)[0] for index in middle)
    return np.where(count[0] > 0, (low + high) / 2, 0.0)


def _kittler_max(posteriors, mask, priors, expert_priors, weights):
    count = _by_class(_speaks(mask, expert_priors)).sum(axis=0)
    return (1 - count) * priors + count * _max(posteriors, mask, priors, expert_priors, weights)


def _kittler_min(posteriors, mask, priors, expert_priors, weights):
    count = _by_class(_speaks(mask, expert_priors)).sum(axis=0)
    with np.errstate(invalid="ignore"):
        correction = (1 - count) * _log_priors(priors)
    least = _log(_min(posteriors, mask, priors, expert_priors, weights))
    return np.where((count > 0) & (priors > 0), correction + least, -np.inf)


def _vote(posteriors, mask, priors, expert_priors, weights):
    n_experts, n_samples, n_classes = posteriors.shape
    shares = _shares(mask, weights)
    votes = np.zeros((n_samples, n_classes))
    rows = np.arange(n_samples)
    for expert in range(n_experts):
        votes[rows, posteriors[expert].argmax(axis=1)] += shares[expert]
    return _break_ties(votes, posteriors, mask)


def _borda(posteriors, mask, priors, expert_priors, weights):
    speaks = _speaks(mask, expert_priors)
    below = np.empty(posteriors.shape)
    for expert, seen in enumerate(expert_priors > 0):
        below[expert][:, ~seen] = 0.0
        ranks = rankdata(posteriors[expert][:, seen], axis=1)
        below[expert][:, seen] = (ranks - 1) / max(seen.sum() - 1, 1)
    return _break_ties(_contract(_shares(speaks, weights), below), posteriors, mask)


def _break_ties(scores: Array, posteriors: Array, mask: Array) -> Array:
    """Raise the tied class of highest mean posterior by a few units in the last place."""
    best = scores.max(axis=1, keepdims=True)
    tied = scores >= best - 4 * _FLOOR
    rows = np.flatnonzero(tied.sum(axis=1) > 1)
    support = _contract(mask[:, rows].astype(float), posteriors[:, rows])
    winners = np.where(tied[rows], support, -1.0).argmax(axis=1)
    scores[rows] = np.where(tied[rows], best[rows], scores[rows])
    scores[rows, winners] *= 1 + _TIE
    return scores


def _dempster_shafer(posteriors, mask, priors, expert_priors, weights):
    speaks = _speaks(mask, expert_priors)
    reliability = weights[:, None, None]
    with np.errstate(divide="ignore"):
        belief = np.log(np.maximum(reliability * posteriors + (1 - reliability), _FLOOR))
        doubt = np.log1p(-weights)
    believed = _where(speaks, belief, 0.0).sum(axis=0)
    doubted = np.where(mask, doubt[:, None], 0.0).sum(axis=0)[:, None]
    ignorance = np.exp(doubted - believed)
    share = 1 - 1 / posteriors.shape[2]
    return believed + np.log1p(-share * ignorance) + _unknown_class(speaks)


RULES: dict[str, Rule] = {
    "bayes": _additive_rule(_bayes, log=True),
    "product": _additive_rule(_product, log=True),
    "mean": _additive_rule(_mean, log=False),
    "sum": _additive_rule(_sum, log=False),
    "max": Rule(_max),
    "min": Rule(_min),
    "median": Rule(_median),
    "kittler_max": Rule(_kittler_max),
    "kittler_min": Rule(_kittler_min, log=True),
    "vote": Rule(_vote, weights="share", probabilities=False),
    "borda": Rule(_borda, weights="share"),
    "weighted": _additive_rule(_weighted, log=False, weights="share"),
    "log_pool": _additive_rule(_log_pool, log=True, weights="share"),
    "dempster_shafer": Rule(_dempster_shafer, log=True, weights="reliability"),
}


# Numbers instead of classes -----------------------------------------------------------------


def _equal_shares(mask, weights, variances):
    return _shares(mask, np.ones(len(mask)))


def _weighted_shares(mask, weights, variances):
    return _shares(mask, weights)


def _precision_shares(mask, weights, variances):
    # Scaled by the least variance, so that no reciprocal overflows.
    least = np.where(mask, variances, np.inf).min(axis=0)
    precision = np.where(mask, least / np.where(mask, variances, 1.0), 0.0)
    return _ratio(precision, np.broadcast_to(precision.sum(axis=0), precision.shape))


def _shared_rule(shares: Callable[..., Array], **traits: Any) -> Rule:
    def scores(predictions, mask, weights, variances):
        return np.einsum("mi,mik->ik", shares(mask, weights, variances), predictions)

    return Rule(scores, additive=shares, probabilities=False, **traits)


def _median_prediction(predictions, mask, weights, variances):
    seen = np.ones((len(mask), 1))
    return _median(predictions, mask, seen[0], seen, weights)


REGRESSION_RULES: dict[str, Rule] = {
    "mean": _shared_rule(_equal_shares),
    "median": Rule(_median_prediction, probabilities=False),
    "weighted": _shared_rule(_weighted_shares, weights="share"),
    "inverse_variance": _shared_rule(_precision_shares, weights="variance"),
}


# Fronts -------------------------------------------------------------------------------------


def get_rule(rule: str | Rule | Callable[..., Array], rules: Mapping[str, Rule]) -> Rule:
    """Return the rule of that name, or a callable as a rule without further traits."""
    if isinstance(rule, Rule):
        return rule
    if callable(rule):
        return Rule(rule)
    check_option("rule", rule, rules)
    return rules[rule]


def check_rule_weights(rule: Rule, weights: Any, name: Any = "this rule") -> None:
    """Refuse weights that the rule would not heed, or could not."""
    if weights is None:
        return
    if rule.weights not in ("share", "reliability") and rule.scores in _BUILT_IN:
        weighted = [key for key, entry in RULES.items() if entry.weights]
        raise ValueError(f"rule {name!r} takes no weights; those that do: {listed(weighted)}")
    if rule.weights == "share" and not np.any(weights):
        raise ValueError("weights must not all be zero")
    if rule.weights == "reliability" and np.max(weights) > 1:
        raise ValueError(f"rule {name!r} takes reliabilities in [0, 1], got {np.max(weights)}")
    if np.ndim(weights) == 2 and rule.additive is None and rule.scores in _BUILT_IN:
        raise ValueError(f"rule {name!r} takes one weight for each expert, not one for each class")


_BUILT_IN = {rule.scores for rule in (*RULES.values(), *REGRESSION_RULES.values())}


class _Case(NamedTuple):
    """The arguments of a rule, checked and filled in."""

    posteriors: Array
    mask: Array
    priors: Array
    expert_priors: Array
    weights: Array

    @property
    def silent(self) -> Array:
        """The samples of which nobody speaks whose word has any weight."""
        weight = self.weights if self.weights.ndim == 1 else self.weights.sum(axis=1)
        return np.asarray(~self.mask[weight > 0].any(axis=0))


def _case(
    rule: Rule, posteriors: Any, mask: Any, priors: Any, expert_priors: Any, weights: Any
) -> _Case:
    posteriors = np.asarray(posteriors, dtype=np.float64)
    if posteriors.ndim != 3 or 0 in (posteriors.shape[0], posteriors.shape[2]):
        raise ValueError(
            "posteriors must have shape (n_experts, n_samples, n_classes) with at least one "
            f"expert and one class, got {posteriors.shape}"
        )
    n_experts, _, n_classes = posteriors.shape
    posteriors, mask = check_masked(posteriors, mask, "posteriors", least=0.0)
    uniform = np.full(n_classes, 1 / n_classes)
    priors = uniform if priors is None else check_distribution("priors", priors, n_classes)
    if expert_priors is None:
        expert_priors = np.tile(priors, (n_experts, 1))
    expert_priors = np.asarray(expert_priors, dtype=np.float64)
    if expert_priors.shape != (n_experts, n_classes):
        raise ValueError(
            f"expert_priors must have shape {(n_experts, n_classes)}, got {expert_priors.shape}"
        )
    check_rule_weights(rule, weights)
    weights = np.ones(n_experts) if weights is None else np.asarray(weights, dtype=np.float64)
    if weights.shape not in ((n_experts,), (n_experts, n_classes)):
        raise ValueError(f"weights must have shape ({n_experts},), got {weights.shape}")
    return _Case(posteriors, mask, priors, expert_priors, weights)


def fuse(
    posteriors: Any,
    rule: str | Rule | Callable[..., Array] = "bayes",
    *,
    mask: Any = None,
    priors: Any = None,
    expert_priors: Any = None,
    weights: Any = None,
    log: bool = False,
) -> Array:
    r"""Combine the posteriors of several experts by a rule.

    With :math:`R` experts present, :math:`P` the priors and :math:`P_m` those of expert m, the
    score of class c is

    ===================  ====================================================================
    ``bayes``            :math:`P(c) \prod_m p_m(c) / P_m(c)`
    ``product``          :math:`\prod_m p_m(c)`
    ``mean``             :math:`\frac1R \sum_m p_m(c)`
    ``sum``              :math:`(1 - R) P(c) + \sum_m p_m(c)`
    ``max, min, median`` of :math:`p_m(c)` over m
    ``kittler_max``      :math:`(1 - R) P(c) + R \max_m p_m(c)`
    ``kittler_min``      :math:`P(c)^{1 - R} \min_m p_m(c)`
    ``vote``             the share of experts whose first choice is c
    ``borda``            the mean share of classes that an expert ranks below c
    ``weighted``         :math:`\sum_m w_m p_m(c)`
    ``log_pool``         :math:`\prod_m p_m(c)^{w_m}`
    ``dempster_shafer``  pignistic probability of c after Dempster's combination of the
                         masses :math:`w_m p_m(c)` on classes and :math:`1 - w_m` on all
    ===================  ====================================================================

    Absent experts are left out and weights renormalise over those present. An expert says
    nothing of a class that it never saw: a factor 1 in products, left out of averages. Ties of
    votes and ranks go to the higher mean posterior. In logarithms posteriors are floored at the
    float's epsilon. A sample of which no expert speaks, or all of whose scores are 0, gets the
    priors.

    Parameters
    ----------
    posteriors : array-like of shape (n_experts, n_samples, n_classes)
        p_m(c | x). NaN in every class says that the expert is absent.
    rule : str, Rule or callable
        A name in :data:`RULES`, or a function
        ``scores(posteriors, mask, priors, expert_priors, weights)`` that returns non-negative
        scores of shape (n_samples, n_classes). ``Rule(function, log=True)`` for logarithms.
    mask : array-like of bool of shape (n_experts, n_samples), default=None
        True where the expert is present.
    priors : array-like of shape (n_classes,), default=None
        P(c). None is uniform.
    expert_priors : array-like of shape (n_experts, n_classes), default=None
        P_m(c), 0 for a class that expert m never saw. None takes ``priors``.
    weights : array-like of shape (n_experts,) or (n_experts, n_classes), default=None
        Shares for ``vote``, ``borda``, ``weighted`` and ``log_pool`` (None is uniform; the
        last two also take them by class), reliabilities in [0, 1] for ``dempster_shafer``
        (None is 1).
    log : bool, default=False
        Return logarithms.

    Returns
    -------
    probabilities : ndarray of shape (n_samples, n_classes)
        Rows sum to 1.

    Raises
    ------
    ValueError
        For an unknown rule, shapes that do not fit, NaN, negative values, or weights that the
        rule does not take.

    References
    ----------
    Kittler, Hatef, Duin, Matas (1998), "On combining classifiers", IEEE TPAMI 20(3), eqs 7-20.
    Genest, Zidek (1986), "Combining probability distributions", Statistical Science 1(1).
    Dempster (1967), Annals of Mathematical Statistics 38(2); Smets, Kennes (1994), "The
    transferable belief model", Artificial Intelligence 66(2) for the pignistic probability.

    Examples
    --------
    >>> from mkfusion.rules import fuse
    >>> fuse([[[0.8, 0.2]], [[0.6, 0.4]]], "mean")
    array([[0.7, 0.3]])
    >>> fuse([[[0.8, 0.2]], [[0.6, 0.4]]], "product")
    array([[0.85714286, 0.14285714]])
    """
    chosen = get_rule(rule, RULES)
    case = _case(chosen, posteriors, mask, priors, expert_priors, weights)
    if chosen.scores not in _BUILT_IN:
        return _apply(chosen, case, log)
    fused = np.empty(case.posteriors.shape[1:])
    for start in range(0, len(fused), _BATCH):
        piece = slice(start, start + _BATCH)
        rows = case._replace(posteriors=case.posteriors[:, piece], mask=case.mask[:, piece])
        fused[piece] = _apply(chosen, rows, log)
    return fused


def _apply(rule: Rule, case: _Case, log: bool) -> Array:
    scores = rule.scores(*case)
    if rule.scores not in _BUILT_IN:
        scores = _check_scores(scores, case.posteriors.shape[1:])
    normalise = _normalise_log if rule.log else _normalise
    return normalise(scores, case.priors, case.silent, log)


def _check_scores(scores: Any, shape: tuple[int, ...]) -> Array:
    scores = np.array(scores, dtype=np.float64)
    if scores.shape != shape:
        raise ValueError(f"the rule must return scores of shape {shape}, got {scores.shape}")
    if np.isnan(scores).any() or np.isposinf(scores).any():
        raise ValueError("the rule returned NaN or infinity")
    return scores


def _normalise(scores: Array, priors: Array, silent: Array, log: bool) -> Array:
    np.maximum(scores, 0.0, out=scores)
    total = np.einsum("ic->i", scores)[:, None]
    silent = silent | (total[:, 0] <= 0)
    if silent.any():
        scores[silent], total[silent] = priors, 1.0
    scores /= total
    return _log_priors(scores) if log else scores


def _normalise_log(scores: Array, priors: Array, silent: Array, log: bool) -> Array:
    silent = silent | np.isneginf(scores.max(axis=1, initial=-np.inf))
    if silent.any():
        scores = np.where(silent[:, None], _log_priors(priors), scores)
    logs = scores - logsumexp(scores, axis=1, keepdims=True)
    return logs if log else np.exp(logs, out=logs)


def decompose(
    posteriors: Any,
    rule: str | Rule,
    *,
    mask: Any = None,
    priors: Any = None,
    expert_priors: Any = None,
    weights: Any = None,
) -> Decomposition:
    """Say what each expert added to the decision of an additive rule.

    ``decision = base + contributions.sum(axis=0)`` is the logarithm of the fused probability
    for the rules that work in logarithms, and the fused probability for the others (before
    ``sum`` clips it at 0). An expert that does not speak has contribution 0.

    Parameters
    ----------
    posteriors, rule, mask, priors, expert_priors, weights
        As for :func:`fuse`.

    Returns
    -------
    decomposition : Decomposition

    Raises
    ------
    ValueError
        If the rule is not additive.

    Examples
    --------
    >>> from mkfusion.rules import decompose
    >>> decompose([[[0.8, 0.2]], [[0.6, 0.4]]], "mean").contributions
    array([[[0.4, 0.1]],
    <BLANKLINE>
           [[0.3, 0.2]]])
    """
    chosen = get_rule(rule, RULES)
    if chosen.additive is None:
        raise ValueError(
            f"rule {rule!r} is not additive; those that are: {_additive_names(RULES)}"
        )
    case = _case(chosen, posteriors, mask, priors, expert_priors, weights)
    base, coefficients, offsets = chosen.additive(*case[1:])
    values = _log(case.posteriors) if chosen.log else case.posteriors
    if offsets is not None:
        values = values - offsets[:, None, :]
    contributions = _by_class(coefficients) * values + 0.0  # no -0.0 for those who are absent
    contributions[:, case.silent] = 0.0
    fallback = _log_priors(case.priors) if chosen.log else case.priors
    base = np.where(case.silent[:, None], fallback, np.broadcast_to(base, values.shape[1:]))
    if chosen.log:
        base = base - logsumexp(base + contributions.sum(axis=0), axis=1, keepdims=True)
    else:
        total = (base + contributions.sum(axis=0)).sum(axis=1)
        total = np.where(total > 0, total, 1.0)[:, None]
        base, contributions = base / total, contributions / total
    return Decomposition(contributions, base, base + contributions.sum(axis=0))


def _additive_names(rules: Mapping[str, Rule]) -> str:
    return listed([name for name, rule in rules.items() if rule.additive], 30)


def fuse_predictions(
    predictions: Any,
    rule: str | Rule | Callable[..., Array] = "mean",
    *,
    mask: Any = None,
    weights: Any = None,
    variances: Any = None,
    fallback: Any = 0.0,
) -> Array:
    r"""Combine the predictions of several regressors by a rule.

    ====================  ==================================================================
    ``mean, median``      of :math:`f_m` over the experts present
    ``weighted``          :math:`\sum_m w_m f_m / \sum_m w_m`
    ``inverse_variance``  :math:`\sum_m f_m \sigma_m^{-2} / \sum_m \sigma_m^{-2}`, the product of
                          Gaussian experts
    ====================  ==================================================================

    Parameters
    ----------
    predictions : array-like of shape (n_experts, n_samples[, n_outputs])
        NaN in every output says that the expert is absent.
    rule : str, Rule or callable
        A name in :data:`REGRESSION_RULES`, or a function
        ``fused(predictions, mask, weights, variances)`` on predictions of shape
        (n_experts, n_samples, n_outputs) that returns (n_samples, n_outputs).
    mask : array-like of bool of shape (n_experts, n_samples), default=None
        True where the expert is present.
    weights : array-like of shape (n_experts,), default=None
        Shares for ``weighted``; None is uniform.
    variances : array-like of shape (n_experts,) or (n_experts, n_samples), default=None
        Error variances for ``inverse_variance``, positive.
    fallback : float or array-like of shape (n_outputs,), default=0.0
        The prediction for a sample of which no expert speaks.

    Returns
    -------
    fused : ndarray of shape (n_samples[, n_outputs])

    Raises
    ------
    ValueError
        For an unknown rule, shapes that do not fit, NaN, or missing or non-positive variances.

    References
    ----------
    Bates, Granger (1969), "The combination of forecasts", Operational Research Quarterly 20(4).

    Examples
    --------
    >>> from mkfusion.rules import fuse_predictions
    >>> fuse_predictions([[1.0], [4.0]], "inverse_variance", variances=[1.0, 2.0])
    array([2.])
    """
    chosen = get_rule(rule, REGRESSION_RULES)
    values, *arguments = _regression_case(chosen, predictions, mask, weights, variances)
    fused = np.asarray(chosen.scores(values, *arguments), dtype=np.float64)
    if fused.shape != values.shape[1:]:
        raise ValueError(f"the rule must return shape {values.shape[1:]}, got {fused.shape}")
    fused = np.where(_unheard(chosen, *arguments)[:, None], fallback, fused)
    return fused[:, 0] if np.ndim(predictions) == 2 else fused


def _unheard(rule: Rule, mask: Array, weights: Array, variances: Any) -> Array:
    heard = mask[weights > 0] if rule.weights == "share" else mask
    return np.asarray(~heard.any(axis=0))


def _regression_case(
    rule: Rule, predictions: Any, mask: Any, weights: Any, variances: Any
) -> tuple[Any, ...]:
    values = np.asarray(predictions, dtype=np.float64)
    if values.ndim == 2:
        values = values[:, :, None]
    if values.ndim != 3 or values.shape[0] == 0:
        raise ValueError(
            "predictions must have shape (n_experts, n_samples[, n_outputs]) with at least one "
            f"expert, got {np.shape(predictions)}"
        )
    values, mask = check_masked(values, mask, "predictions")
    check_rule_weights(rule, weights)
    weights = np.ones(len(values)) if weights is None else np.asarray(weights, dtype=np.float64)
    if weights.shape != values.shape[:1]:
        raise ValueError(f"weights must have shape {values.shape[:1]}, got {weights.shape}")
    if rule.weights == "variance":
        variances = _check_variances(variances, mask)
    return values, mask, weights, variances


def _check_variances(variances: Any, mask: Array) -> Array:
    if variances is None:
        raise ValueError("rule 'inverse_variance' needs variances")
    variances = np.asarray(variances, dtype=np.float64)
    if variances.ndim == 1:
        variances = variances[:, None]
    if variances.shape not in (mask.shape, (len(mask), 1)):
        raise ValueError(f"variances must have shape ({len(mask)},), got {variances.shape}")
    variances = np.broadcast_to(variances, mask.shape)
    if not (variances[mask] > 0).all() or not np.isfinite(variances[mask]).all():
        raise ValueError("variances must be positive and finite")
    return variances


def decompose_predictions(
    predictions: Any,
    rule: str | Rule,
    *,
    mask: Any = None,
    weights: Any = None,
    variances: Any = None,
    fallback: Any = 0.0,
) -> Decomposition:
    """Say what each expert added to a fused prediction; see :func:`decompose`.

    Parameters
    ----------
    predictions, rule, mask, weights, variances, fallback
        As for :func:`fuse_predictions`.

    Returns
    -------
    decomposition : Decomposition
        Outputs take the place of classes.

    Raises
    ------
    ValueError
        If the rule is not additive.

    Examples
    --------
    >>> from mkfusion.rules import decompose_predictions
    >>> decompose_predictions([[1.0], [4.0]], "mean").contributions.ravel()
    array([0.5, 2. ])
    """
    chosen = get_rule(rule, REGRESSION_RULES)
    if chosen.additive is None:
        names = _additive_names(REGRESSION_RULES)
        raise ValueError(f"rule {rule!r} is not additive; those that are: {names}")
    values, *arguments = _regression_case(chosen, predictions, mask, weights, variances)
    contributions = chosen.additive(*arguments)[:, :, None] * values
    unheard = _unheard(chosen, *arguments)[:, None]
    base = np.where(unheard, fallback, np.zeros(values.shape[1:]))
    return Decomposition(contributions, base, base + contributions.sum(axis=0))
