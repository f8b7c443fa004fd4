"""The fronts: fuse posteriors by a rule, take a decision apart, learn what a rule needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy.special import logsumexp

from .._parallel import single_blas_thread
from .._validation import (
    check_distribution,
    check_masked,
    check_option,
    listed,
    sample_weights,
)
from ._fixed import FIXED_RULES
from ._rule import (
    Array,
    Decomposition,
    LearntWeights,
    Rule,
    additive_names,
    by_class,
    check_learnt,
    check_weights,
    floored_log,
    get_rule,
    log_priors,
    with_unheard,
)
from ._search import judge_shares
from ._trained import TRAINED_RULES
from ._weights import best_of, draw_weights, log_loss

__all__ = ["RULES", "check_rule_weights", "decompose", "fuse", "learn_rule"]

#: Every rule of classes by its name. Their formulas stand at :func:`fuse`, and what the trained
#: ones learn at :func:`learn_rule`; the fields are those of :class:`Rule`.
RULES: dict[str, Rule] = FIXED_RULES | TRAINED_RULES

_BATCH = 8192  # rows at once: their intermediate arrays stay in the cache


def check_rule_weights(rule: Rule, weights: Any, name: Any = "this rule") -> None:
    """Refuse weights that the rule would not heed, or could not."""
    if weights is None:
        return
    if rule.weights is None and rule.scores in _BUILT_IN:
        weighted = [key for key, entry in RULES.items() if entry.weights]
        raise ValueError(f"rule {name!r} takes no weights; those that do: {listed(weighted)}")
    if rule.weights is not None:
        check_weights(weights)
    if rule.weights == "share" and not np.any(weights):
        raise ValueError("weights must not all be zero")
    if rule.weights == "reliability" and np.max(weights) > 1:
        raise ValueError(f"rule {name!r} takes reliabilities in [0, 1], got {np.max(weights)}")
    if np.ndim(weights) == 2 and rule.additive is None and rule.scores in _BUILT_IN:
        raise ValueError(f"rule {name!r} takes one weight for each expert, not one for each class")


_BUILT_IN = {rule.scores for rule in RULES.values()}
_COUNTED = {RULES[name].scores for name in ("vote", "borda")}  # shares, not probabilities


class _Case(NamedTuple):
    """The arguments of a rule, checked and filled in."""

    posteriors: Array
    mask: Array
    priors: Array
    expert_priors: Array
    weights: Any  # for a trained rule what it has learnt
    temperature: float = 1.0
    trained: bool = False

    @property
    def silent(self) -> Array:
        """The samples of which nobody speaks whose word has any weight."""
        if self.trained:
            return np.asarray(~self.mask.any(axis=0))
        weight = self.weights if self.weights.ndim == 1 else self.weights.sum(axis=1)
        return np.asarray(~self.mask[weight > 0].any(axis=0))

    def rows(self, chosen: Any) -> _Case:
        """Return the case of some of the samples."""
        return self._replace(posteriors=self.posteriors[:, chosen], mask=self.mask[:, chosen])


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
    if not (expert_priors >= 0).all() or not np.isfinite(expert_priors).all():
        raise ValueError("expert_priors must be non-negative and finite")
    if rule.trained:
        return _Case(posteriors, mask, priors, expert_priors, weights, trained=True)
    temperature = 1.0
    if isinstance(weights, LearntWeights):
        weights, temperature = weights.weights, weights.temperature
    check_rule_weights(rule, weights)
    weights = np.ones(n_experts) if weights is None else np.asarray(weights, dtype=np.float64)
    if weights.shape not in ((n_experts,), (n_experts, n_classes)):
        raise ValueError(f"weights must have shape ({n_experts},), got {weights.shape}")
    return _Case(posteriors, mask, priors, expert_priors, weights, temperature)


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

    ====================  ====================================================================
    ``bayes``             :math:`P(c) \prod_m p_m(c) / P_m(c)`
    ``product``           :math:`\prod_m p_m(c)`
    ``mean``              :math:`\frac1R \sum_m p_m(c)`
    ``sum``               :math:`(1 - R) P(c) + \sum_m p_m(c)`
    ``max, min, median``  of :math:`p_m(c)` over m
    ``kittler_max``       :math:`(1 - R) P(c) + R \max_m p_m(c)`
    ``kittler_min``       :math:`P(c)^{1 - R} \min_m p_m(c)`
    ``vote``              the share of experts whose first choice is c
    ``borda``             the mean share of classes that an expert ranks below c
    ``weighted``          :math:`\sum_m w_m p_m(c)`
    ``log_pool``          :math:`\prod_m p_m(c)^{w_m}`
    ``dempster_shafer``   pignistic probability of c after Dempster's combination of the
                          masses :math:`w_m p_m(c)` on classes and :math:`1 - w_m` on all
    ====================  ====================================================================

    and of the trained rules, see :func:`learn_rule`,

    =====================  ==================================================================
    ``naive_bayes``        :math:`P(c) \prod_m P(s_m \mid c)`, s_m the label that expert m says
    ``bks``                :math:`n(c, s) + \kappa \hat P(c \mid s)`: what stands beside the same
                           labels in the training data, and naive Bayes for want of them
    ``decision_template``  :math:`\exp(-\tfrac{\beta}{R} \sum_m \lVert p_m - t_{mc} \rVert^2)`
    ``stacking``           any model on the posteriors side by side
    =====================  ==================================================================

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
        (None is 1). What :func:`learn_rule` returned is taken for every rule that can be learnt.
    log : bool, default=False
        Return logarithms.

    Returns
    -------
    probabilities : ndarray of shape (n_samples, n_classes)
        Rows sum to 1.

    Raises
    ------
    ValueError
        For an unknown rule, shapes that do not fit, NaN, negative values, weights that the
        rule does not take, or a trained rule that has not been learnt.

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
    check_learnt(chosen, rule, weights, case.posteriors.shape[::2], "learn_rule")
    if chosen.trained or chosen.scores not in _BUILT_IN:
        return _apply(chosen, case, log)
    fused = np.empty(case.posteriors.shape[1:])
    for start in range(0, len(fused), _BATCH):
        piece = slice(start, start + _BATCH)
        fused[piece] = _apply(chosen, case.rows(piece), log)
    return fused


def _apply(rule: Rule, case: _Case, log: bool) -> Array:
    scores = rule.scores(*case[:5])
    if rule.scores not in _BUILT_IN:
        scores = _check_scores(scores, case.posteriors.shape[1:])
    if case.temperature == 1:
        normalise = _normalise_log if rule.log else _normalise
        return normalise(scores, case.priors, case.silent, log)
    silent = case.silent
    if not rule.log:
        silent, scores = silent | (scores <= 0).all(axis=1), floored_log(scores)
    return _normalise_log(scores / case.temperature, case.priors, silent, log)


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
    return log_priors(scores) if log else scores


def _normalise_log(scores: Array, priors: Array, silent: Array, log: bool) -> Array:
    silent = silent | np.isneginf(scores.max(axis=1, initial=-np.inf))
    if silent.any():
        scores = np.where(silent[:, None], log_priors(priors), scores)
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
    ``sum`` clips it at 0, before a learnt temperature of the linear pool). An expert that does
    not speak has contribution 0.

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
        raise ValueError(f"rule {rule!r} is not additive; those that are: {additive_names(RULES)}")
    case = _case(chosen, posteriors, mask, priors, expert_priors, weights)
    check_learnt(chosen, rule, weights, case.posteriors.shape[::2], "learn_rule")
    base, coefficients, offsets, values = chosen.additive(*case[:5])
    if values is None:
        values = floored_log(case.posteriors) if chosen.log else case.posteriors
    if offsets is not None:
        values = values - offsets[:, None, :]
    contributions = by_class(coefficients) * values + 0.0  # no -0.0 for those who are absent
    contributions[:, case.silent] = 0.0
    fallback = log_priors(case.priors) if chosen.log else case.priors
    base = np.where(case.silent[:, None], fallback, np.broadcast_to(base, values.shape[1:]))
    if chosen.log:
        contributions /= case.temperature
        base = np.where(case.silent[:, None], base, base / case.temperature)
        base = base - logsumexp(base + contributions.sum(axis=0), axis=1, keepdims=True)
    else:
        total = (base + contributions.sum(axis=0)).sum(axis=1)
        total = np.where(total > 0, total, 1.0)[:, None]
        base, contributions = base / total, contributions / total
    return Decomposition(contributions, base, base + contributions.sum(axis=0))


# Learning -----------------------------------------------------------------------------------


def learn_rule(
    posteriors: Any,
    y: Any,
    rule: str | Rule,
    *,
    mask: Any = None,
    priors: Any = None,
    expert_priors: Any = None,
    sample_weight: Any = None,
    weights: str | None = None,
    random_state: Any = None,
    **params: Any,
) -> Any:
    r"""Learn from out-of-fold posteriors what a rule needs.

    ======================  =================================================================
    ``naive_bayes``         :math:`P(s \mid c) = (n_m(c, s) + \lambda / K) / (n_m(c) + \lambda)`,
                            ``smoothing`` :math:`\lambda`; of a class that an expert was never
                            asked of, the mean over the others as the priors have them
    ``bks``                 the table n(c, s) of classes beside labels; ``strength``
                            :math:`\kappa` of naive Bayes beside it. Of the experts present the
                            table of those alone counts, each class as the priors have it
    ``decision_template``   :math:`t_{mc}`, the mean posteriors of expert m over class c, and the
                            steepness :math:`\beta` by log loss
    ``stacking``            ``final_estimator``, fitted on the posteriors side by side; an absent
                            expert is NaN to it if ``takes_nan``, else the priors and a mark
    ``weighted, log_pool``  weights and a temperature T by log loss: the fused logarithms are
                            divided by T
    ``dempster_shafer``     reliabilities by log loss
    ======================  =================================================================

    ``weights="search"`` takes, for any rule that takes weights, the best of the centre, the
    corners and ``n_draws`` draws: shares from the flat Dirichlet distribution
    ("search_by_class" draws them for each class), reliabilities uniformly. The best has the
    least log loss; for ``vote`` and ``borda``, whose shares are no probabilities, the most
    samples right (``scoring="log_loss"`` or ``"accuracy"`` says otherwise).

    Parameters
    ----------
    posteriors : array-like of shape (n_experts, n_samples, n_classes)
        Out of fold: of experts that have not seen the sample. NaN in every class says that the
        expert is absent.
    y : array-like of int of shape (n_samples,)
        Places of the true classes on the last axis of ``posteriors``.
    rule : str or Rule
        One that can be learnt, or whose weights can be searched.
    mask : array-like of bool of shape (n_experts, n_samples), default=None
        True where the expert is present.
    priors : array-like of shape (n_classes,), default=None
        P(c). None is uniform.
    expert_priors : array-like of shape (n_experts, n_classes), default=None
        P_m(c), 0 for a class that expert m never saw. None takes ``priors``.
    sample_weight : array-like of shape (n_samples,), default=None
    weights : {None, "learn", "search", "search_by_class"}, default=None
        How weights are found; None learns them.
    random_state : int, Generator or None, default=None
        Draws the weights that are tried.
    **params : dict
        Options of the rule: those named above, and ``max_iter`` of the descents.

    Returns
    -------
    learnt : LearntWeights, or a NamedTuple of the rule's own
        For the ``weights`` of :func:`fuse`.

    Raises
    ------
    ValueError
        If the rule has nothing to learn, shapes do not fit, or no sample has an expert.

    Warns
    -----
    ConvergenceWarning
        If a descent stops early; it says the projected gradient that is left.

    References
    ----------
    Xu, Krzyzak, Suen (1992), "Methods of combining multiple classifiers", IEEE SMC 22(3), for
    ``naive_bayes``; its smoothing is that of Titterington et al. (1981).
    Huang, Suen (1995), "A method of combining multiple experts for the recognition of
    unconstrained handwritten numerals", IEEE TPAMI 17(1), for ``bks``.
    Kuncheva, Bezdek, Duin (2001), "Decision templates for multiple classifier fusion", Pattern
    Recognition 34(2): the decision is theirs, with squared Euclidean distance.
    Wolpert (1992), "Stacked generalization", Neural Networks 5(2).
    Kahou et al. (2013), "Combining modality specific deep neural networks for emotion
    recognition in video", ICMI, for the random search.

    Examples
    --------
    >>> from mkfusion.rules import fuse, learn_rule
    >>> good, poor = [[0.9, 0.1], [0.1, 0.9], [0.8, 0.2]], [[0.5, 0.5], [0.5, 0.5], [0.4, 0.6]]
    >>> learnt = learn_rule([good, poor], [0, 1, 0], "naive_bayes")
    >>> fuse([[[0.7, 0.3]], [[0.2, 0.8]]], "naive_bayes", weights=learnt).argmax()
    np.int64(0)
    """
    chosen = get_rule(rule, RULES)
    check_option("weights", weights, [None, "learn", "search", "search_by_class"])
    case = _case(chosen, posteriors, mask, priors, expert_priors, None)
    codes, weight = _check_codes(y, sample_weight, case.posteriors.shape)
    kept = case.mask.any(axis=0) & (weight > 0)
    if not kept.any():
        raise ValueError("there is nothing to learn from: no sample has an expert")
    case, codes, weight = case.rows(kept), codes[kept], weight[kept]
    with single_blas_thread:
        if weights in ("search", "search_by_class"):
            by_class = weights == "search_by_class"
            return _search(chosen, rule, case, codes, weight, by_class, random_state, **params)
        if chosen.learn is None:
            learnable = [name for name, entry in RULES.items() if entry.learn]
            raise ValueError(f"rule {rule!r} has nothing to learn; those that have: {learnable}")
        # Of weights a silent expert is no part: where a descent starts depends on their number.
        heard: Array = np.asarray(case.mask.any(axis=1) | (chosen.weights is None))
        told, mask, own = case.posteriors[heard], case.mask[heard], case.expert_priors[heard]
        found = chosen.learn(told, mask, codes, weight, case.priors, own, **params)
        return with_unheard(found, heard)


def _check_codes(y: Any, sample_weight: Any, shape: tuple[int, ...]) -> tuple[Array, Array]:
    codes = np.asarray(y)
    if codes.shape != shape[1:2] or codes.dtype.kind not in "iu":
        raise ValueError(
            f"y must hold {shape[1]} places of classes, got shape {codes.shape} of {codes.dtype}"
        )
    if codes.size and not 0 <= codes.min() <= codes.max() < shape[2]:
        raise ValueError(f"y must lie in 0 ... {shape[2] - 1}, got {codes.min()} to {codes.max()}")
    weight = sample_weights(sample_weight, codes) if len(codes) else None
    return codes, np.ones(len(codes)) if weight is None else weight


def _search(
    rule: Rule,
    name: Any,
    case: _Case,
    y: Array,
    sample_weight: Array,
    by_class: bool,
    random_state: Any,
    *,
    n_draws: int = 500,
    scoring: str | None = None,
) -> LearntWeights:
    if rule.weights is None:
        raise ValueError(f"rule {name!r} takes no weights that could be searched")
    if by_class and rule.additive is None:
        raise ValueError(f"rule {name!r} takes one weight for each expert, not one for each class")
    check_option("scoring", scoring, [None, "log_loss", "accuracy"])
    counts = scoring == "accuracy" or (scoring is None and rule.scores in _COUNTED)

    n_experts, _, n_classes = case.posteriors.shape
    width = n_classes if by_class else None
    tried = draw_weights(rule.weights, n_experts, width, n_draws, random_state)
    if rule.told is None:
        losses, wrong = _judge_one_by_one(rule, case, y, sample_weight, tried)
    else:
        losses, wrong = judge_shares(rule, *case[:2], y, sample_weight, *case[2:4], tried)
    return best_of(tried, (wrong, losses) if counts else (losses, wrong))


def _judge_one_by_one(
    rule: Rule, case: _Case, y: Array, sample_weight: Array, tried: Array
) -> tuple[Array, Array]:
    losses, wrong = np.empty(len(tried)), np.empty(len(tried))
    for number, weights in enumerate(tried):
        logs = _apply(rule, case._replace(weights=weights), log=True)
        losses[number] = log_loss(logs, y, sample_weight)
        wrong[number] = (logs.argmax(axis=1) != y) @ sample_weight / sample_weight.sum()
    return losses, wrong
