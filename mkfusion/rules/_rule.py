"""What a rule is, and the pieces that rules are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .._validation import check_option, listed

Array = np.ndarray
FLOOR = np.finfo(np.float64).eps


@dataclass(frozen=True)
class Rule:
    """A rule and what must be known of it to use it.

    Parameters
    ----------
    scores : callable
        ``scores(posteriors, mask, priors, expert_priors, weights)``.
    log : bool
        The scores are logarithms.
    weights : {None, "share", "reliability", "variance"}
        What ``weights`` mean to the rule: nothing, shares that are scaled to sum to 1,
        reliabilities in [0, 1], or (for numbers) error variances. A rule to which they mean
        nothing refuses them.
    additive : callable or None
        Of the same arguments as ``scores``: the :class:`Parts` of an additive rule; for numbers
        the share of each expert.
    learn : callable or None
        ``learn(posteriors, mask, y, sample_weight, priors, expert_priors, **params)`` returns
        from out-of-fold posteriors and class codes what stands for ``weights``. A rule that
        takes weights can do without, any other is :attr:`trained`.
    order_free : bool
        The order of the experts does not matter.
    probabilities : bool
        The rule needs posteriors; otherwise predicted labels are enough.
    learnt : type or None
        Of what ``learn`` returns; None for any.
    told : callable or None
        ``told(posteriors, mask, expert_priors)`` is what shares multiply, of the shape of the
        posteriors; None for a rule whose scores are no means.
    by_class : bool
        An expert has no share in the scores of classes that it never saw.
    ties : bool
        Ties go to the higher mean posterior.

    Examples
    --------
    A rule of one's own, which works in logarithms:

    >>> import numpy as np
    >>> from mkfusion.rules import Rule, fuse
    >>> geometric = Rule(lambda p, *_: np.log(p).mean(axis=0), log=True)
    >>> fuse([[[0.8, 0.2]], [[0.2, 0.8]]], geometric)
    array([[0.5, 0.5]])
    """

    scores: Callable[..., Array]
    log: bool = False
    weights: str | None = None
    additive: Callable[..., Any] | None = None
    learn: Callable[..., Any] | None = None
    order_free: bool = True
    probabilities: bool = True
    learnt: type | None = None
    told: Callable[..., Array] | None = None
    by_class: bool = True
    ties: bool = False

    @property
    def trained(self) -> bool:
        """Tell whether the rule must be learnt before it can be used."""
        return self.learn is not None and self.weights is None


class Parts(NamedTuple):
    """An additive rule: score_i(c) = base_i(c) + sum_m a_mi(c) [v_mi(c) - offset_m(c)].

    v are the values given; where none are, the posteriors, or their logarithms (floored at the
    float's epsilon) if the rule is ``log``.

    Examples
    --------
    >>> import numpy as np
    >>> from mkfusion.rules import RULES
    >>> p = np.array([[[0.8, 0.2]], [[0.6, 0.4]]])
    >>> everyone, equal = np.ones((2, 1), bool), np.full((2, 2), 0.5)
    >>> RULES["mean"].additive(p, everyone, equal[0], equal, None).coefficients
    array([[0.5],
           [0.5]])
    """

    base: Array  # shape: broadcasts to (n_samples, n_classes)
    coefficients: Array  # shape: (n_experts, n_samples) or (n_experts, n_samples, n_classes)
    offsets: Array | None = None  # shape: (n_experts, n_classes)
    values: Array | None = None  # shape: (n_experts, n_samples, n_classes)


class Decomposition(NamedTuple):
    """A fused decision and what each expert added to it.

    ``base + contributions.sum(axis=0)`` is ``decision``.

    Examples
    --------
    >>> from mkfusion.rules import decompose
    >>> decompose([[[0.8, 0.2]], [[0.6, 0.4]]], "mean").decision
    array([[0.7, 0.3]])
    """

    contributions: Array  # shape: (n_experts, n_samples, n_classes)
    base: Array  # shape: (n_samples, n_classes)
    decision: Array  # shape: (n_samples, n_classes)


class LearntWeights(NamedTuple):
    """Weights that were learnt or searched, with the certificate of their optimum.

    Parameters
    ----------
    weights : ndarray of shape (n_experts,) or (n_experts, n_classes)
        Shares that sum to 1, or reliabilities.
    temperature : float
        The logarithms of the fused scores are divided by it.
    loss : float
        The mean loss on the answers that they were learnt from: log loss, share of errors or
        squared error.
    residual : float
        The largest violation of the conditions of an optimum, NaN where the weights were searched:
        the projected gradient of the loss in w / T for a logarithmic pool of whom all speak of
        all, in log(w / T) for any other pool, in -log(1 - w) for reliabilities; for numbers of
        which all speak the duality gap.
    n_iter : int
        Iterations, or weights tried.
    converged : bool

    Examples
    --------
    >>> from mkfusion.rules import learn_rule
    >>> right, noise = [[0.9, 0.1], [0.2, 0.8]], [[0.5, 0.5], [0.5, 0.5]]
    >>> learn_rule([right, noise], [0, 1], "weighted", weights="learn").weights.round(2)
    array([1., 0.])
    """

    weights: Array
    temperature: float
    loss: float
    residual: float
    n_iter: int
    converged: bool


def with_unheard(found: Any, heard: Array) -> Any:
    """Give weight 0 to the experts of whom nothing was learnt, because they never spoke."""
    if heard.all() or not isinstance(found, LearntWeights):
        return found
    weights = np.zeros((len(heard), *found.weights.shape[1:]))
    weights[heard] = found.weights
    return found._replace(weights=weights)


def get_rule(rule: str | Rule | Callable[..., Array], rules: Mapping[str, Rule]) -> Rule:
    """Return the rule of that name, or a callable as a rule without further traits."""
    if isinstance(rule, Rule):
        return rule
    if callable(rule):
        return Rule(rule)
    check_option("rule", rule, rules)
    return rules[rule]


def check_learnt(rule: Rule, name: Any, learnt: Any, shape: tuple[int, ...], by: str) -> None:
    """Refuse to use a trained rule before it is learnt, or on what it was not learnt from.

    ``shape`` is the number of experts and, where classes are fused, that of classes.
    """
    if not rule.trained:
        return
    if learnt is None or (rule.learnt is not None and not isinstance(learnt, rule.learnt)):
        raise ValueError(f"rule {name!r} must be learnt first: weights={by}(...)")
    found = shape if rule.learnt is None else learnt.shape
    if found != shape[: len(found)]:
        raise ValueError(
            f"rule {name!r} was learnt from {_counted(found)}, got {_counted(shape[: len(found)])}"
        )


def _counted(shape: tuple[int, ...]) -> str:
    words = ("experts", "classes")
    return " and ".join(f"{n} {word}" for n, word in zip(shape, words, strict=False))


def check_weights(weights: Any) -> None:
    """Refuse weights that are negative, NaN or too large to be summed."""
    values = np.asarray(weights, dtype=np.float64)
    with np.errstate(over="ignore"):
        total = values.sum()
    if not (values >= 0).all() or not np.isfinite(total):
        raise ValueError(f"weights must be non-negative and finite, got {values.tolist()}")


def additive_names(rules: Mapping[str, Rule]) -> str:
    """List the additive rules of a registry."""
    return listed([name for name, rule in rules.items() if rule.additive], 30)


# What the experts say -----------------------------------------------------------------------


def who_speaks(mask: Array, expert_priors: Array) -> Array:
    """Return who speaks of what: by class too, where some expert never saw a class.

    Where every expert speaks of every sample, one column stands for all.
    """
    seen = expert_priors > 0
    if mask.all():
        mask = mask[:, :1]
    return mask if seen.all() else mask[:, :, None] & seen[:, None, :]


def by_class(array: Array) -> Array:
    """Give an array (n_experts, n_samples) an axis for the classes."""
    return array if array.ndim == 3 else array[:, :, None]


def where(speaks: Array, values: Array, otherwise: float) -> Array:
    """Return the values of those who speak, and another for those who do not."""
    return values if speaks.all() else np.where(by_class(speaks), values, otherwise)


def floored_log(posteriors: Array) -> Array:
    """Return logarithms of posteriors floored at the float's epsilon."""
    floored = np.maximum(posteriors, FLOOR)
    return np.log(floored, out=floored)


def ratio(numerator: Array, denominator: Array) -> Array:
    """Divide, with 0 where the denominator is 0."""
    return np.divide(
        numerator, denominator, out=np.zeros(np.shape(numerator)), where=denominator > 0
    )


def shares(speaks: Array, weights: Array) -> Array:
    """Return the weights of those who speak, scaled to sum to 1 over the experts."""
    if weights.ndim == 2:
        speaks = by_class(speaks)
        weights = weights[:, None, :]
    else:
        weights = weights.reshape(-1, *[1] * (speaks.ndim - 1))
    given = weights * speaks
    return ratio(given, np.broadcast_to(given.sum(axis=0), given.shape))


def contract(coefficients: Array, values: Array) -> Array:
    """Sum coefficients times values over the experts; shape (n_samples, n_classes)."""
    experts = "mic" if coefficients.ndim == 3 else "mi"
    return np.einsum(f"{experts},{'mic' if values.ndim == 3 else 'mc'}->ic", coefficients, values)


def log_priors(priors: Array) -> Array:
    """Return log P(c), minus infinity for 0."""
    with np.errstate(divide="ignore"):
        return np.log(priors)


def unknown_class(speaks: Array) -> Array:
    """Return log epsilon for classes that none who speaks ever saw, or factors 1 would win."""
    return np.where(by_class(speaks).any(axis=0), 0.0, np.log(FLOOR))


def additive_rule(parts: Callable[..., Parts], *, log: bool, **traits: Any) -> Rule:
    """Make a rule of its parts."""

    def scores(posteriors, mask, priors, expert_priors, weights):
        base, coefficients, offsets, values = parts(
            posteriors, mask, priors, expert_priors, weights
        )
        if values is None:
            values = floored_log(posteriors) if log else posteriors
        fused = contract(coefficients, values)
        if offsets is not None:
            fused -= contract(coefficients, offsets)
        fused += base
        return fused

    scores.__name__ = parts.__name__.lstrip("_")
    return Rule(scores, log=log, additive=parts, **traits)
