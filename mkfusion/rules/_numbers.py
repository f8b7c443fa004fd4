"""The rules of numbers: predictions of several regressors combined."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .._parallel import single_blas_thread
from .._validation import check_masked, check_option, sample_weights
from ._fixed import median
from ._rule import (
    Array,
    Decomposition,
    LearntWeights,
    Rule,
    additive_names,
    by_class,
    check_learnt,
    check_weights,
    get_rule,
    ratio,
    shares,
    with_unheard,
)
from ._trained import Stacked, learn_stacked_numbers, stacked_columns
from ._weights import best_of, draw_weights, learn_shares

__all__ = [
    "REGRESSION_RULES",
    "LearntVariances",
    "decompose_predictions",
    "fuse_predictions",
    "learn_regression_rule",
]


class LearntVariances(NamedTuple):
    """The error variance of each expert, by output, from out-of-fold residuals.

    Examples
    --------
    >>> from mkfusion.rules import learn_regression_rule
    >>> learn_regression_rule([[1.0, 2.0], [2.0, 3.0]], [1.5, 2.5], "inverse_variance").variances
    array([[0.25],
           [0.25]])
    """

    variances: Array  # shape: (n_experts, n_outputs)


def _equal_shares(mask, weights, variances):
    return shares(mask, np.ones(len(mask)))


def _weighted_shares(mask, weights, variances):
    return shares(mask, weights)


def _precision_shares(mask, weights, variances):
    if variances.ndim == 3:
        mask = mask[:, :, None]
    # Scaled by the least variance, so that no reciprocal overflows.
    least = np.where(mask, variances, np.inf).min(axis=0)
    precision = np.where(mask, least / np.where(mask, variances, 1.0), 0.0)
    return ratio(precision, np.broadcast_to(precision.sum(axis=0), precision.shape))


def _shared_rule(share: Callable[..., Array], **traits: Any) -> Rule:
    def scores(predictions, mask, weights, variances):
        return (by_class(share(mask, weights, variances)) * predictions).sum(axis=0)

    return Rule(scores, additive=share, probabilities=False, **traits)


def _median_prediction(predictions, mask, weights, variances):
    seen = np.ones((len(mask), 1))
    return median(predictions, mask, seen[0], seen, weights)


def _learn_variances(predictions, mask, y, sample_weight):
    weights = mask * sample_weight
    total = weights.sum(axis=1)
    squares = np.einsum("mi,mik->mk", weights, np.square(predictions - y))
    variances = squares / np.where(total > 0, total, 1.0)[:, None]
    # An expert without error would leave no share to any other, and one that was never asked
    # is no better than the spread of y.
    spread = np.average(np.square(y - np.average(y, 0, sample_weight)), 0, sample_weight)
    spread = np.where(spread > 0, spread, 1.0)
    known = np.where(total[:, None] > 0, variances, spread)
    return LearntVariances(np.maximum(known, 1e-12 * spread))


def _stacked_prediction(predictions, mask, learnt, variances):
    if not predictions.shape[1]:
        return np.empty(predictions.shape[1:])
    told = learnt.model.predict(stacked_columns(predictions, mask, learnt))
    return np.reshape(told, predictions.shape[1:])


#: Every rule of numbers by its name. Their formulas stand at :func:`fuse_predictions`, and what
#: the trained ones learn at :func:`learn_regression_rule`; the fields are those of :class:`Rule`.
REGRESSION_RULES: dict[str, Rule] = {
    "mean": _shared_rule(_equal_shares),
    "median": Rule(_median_prediction, probabilities=False),
    "weighted": _shared_rule(_weighted_shares, weights="share", learn=learn_shares),
    "inverse_variance": _shared_rule(
        _precision_shares, weights="variance", learn=_learn_variances
    ),
    "stacking": Rule(
        _stacked_prediction,
        learn=learn_stacked_numbers,
        learnt=Stacked,
        order_free=False,
        probabilities=False,
    ),
}


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
    ``stacking``          any regressor on the predictions side by side (trained)
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
        Shares for ``weighted``; None is uniform. What :func:`learn_regression_rule` returned is
        taken for every rule that can be learnt.
    variances : array-like of shape (n_experts,) or (n_experts, n_samples), default=None
        Error variances for ``inverse_variance``, positive; (n_experts, n_samples, n_outputs)
        where they differ by output.
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
    Wolpert (1992), "Stacked generalization", Neural Networks 5(2); Breiman (1996), "Stacked
    regressions", Machine Learning 24.

    Examples
    --------
    >>> from mkfusion.rules import fuse_predictions
    >>> fuse_predictions([[1.0], [4.0]], "inverse_variance", variances=[1.0, 2.0])
    array([2.])
    """
    chosen = get_rule(rule, REGRESSION_RULES)
    values, *arguments = _regression_case(chosen, rule, predictions, mask, weights, variances)
    fused = np.asarray(chosen.scores(values, *arguments), dtype=np.float64)
    if fused.shape != values.shape[1:]:
        raise ValueError(f"the rule must return shape {values.shape[1:]}, got {fused.shape}")
    fused = np.where(_unheard(chosen, *arguments)[:, None], fallback, fused)
    return fused[:, 0] if np.ndim(predictions) == 2 else fused


def _unheard(rule: Rule, mask: Array, weights: Any, variances: Any) -> Array:
    heard = mask[weights > 0] if rule.weights == "share" else mask
    return np.asarray(~heard.any(axis=0))


def _regression_case(
    rule: Rule, name: Any, predictions: Any, mask: Any, weights: Any, variances: Any
) -> tuple[Any, ...]:
    values, mask = _predictions(predictions, mask)
    if isinstance(weights, LearntVariances) and rule.weights == "variance":
        weights, variances = None, weights.variances[:, None, :]
    elif isinstance(weights, LearntWeights):
        weights = weights.weights
    if rule.trained:
        check_learnt(rule, name, weights, (len(values),), "learn_regression_rule")
        return values, mask, weights, variances
    _check_rule_weights(rule, weights)
    weights = np.ones(len(values)) if weights is None else np.asarray(weights, dtype=np.float64)
    if weights.shape != values.shape[:1]:
        raise ValueError(f"weights must have shape {values.shape[:1]}, got {weights.shape}")
    if rule.weights == "variance":
        variances = _check_variances(variances, mask, values.shape[2])
    return values, mask, weights, variances


def _predictions(predictions: Any, mask: Any) -> tuple[Array, Array]:
    values = np.asarray(predictions, dtype=np.float64)
    if values.ndim == 2:
        values = values[:, :, None]
    if values.ndim != 3 or values.shape[0] == 0:
        raise ValueError(
            "predictions must have shape (n_experts, n_samples[, n_outputs]) with at least one "
            f"expert, got {np.shape(predictions)}"
        )
    return check_masked(values, mask, "predictions")


def _check_rule_weights(rule: Rule, weights: Any) -> None:
    if weights is None or rule.scores not in _BUILT_IN:
        return
    if rule.weights != "share":
        raise ValueError("this rule takes no weights; 'weighted' does")
    check_weights(weights)
    if not np.any(weights):
        raise ValueError("weights must not all be zero")


_BUILT_IN = {rule.scores for rule in REGRESSION_RULES.values()}


def _check_variances(variances: Any, mask: Array, n_outputs: int) -> Array:
    if variances is None:
        raise ValueError("rule 'inverse_variance' needs variances")
    variances = np.asarray(variances, dtype=np.float64)
    if variances.ndim == 1:
        variances = variances[:, None]
    shapes = [(n, *tail) for n in {mask.shape[1], 1} for tail in ((), (n_outputs,))]
    if variances.shape not in [(len(mask), *shape) for shape in shapes]:
        raise ValueError(f"variances must have shape ({len(mask)},), got {variances.shape}")
    variances = np.broadcast_to(variances, (*mask.shape, *variances.shape[2:]))
    if not (variances[mask] > 0).all() or not np.isfinite(variances[mask]).all():
        raise ValueError("variances must be positive and finite")
    return variances


def learn_regression_rule(
    predictions: Any,
    y: Any,
    rule: str | Rule,
    *,
    mask: Any = None,
    sample_weight: Any = None,
    weights: str | None = None,
    random_state: Any = None,
    **params: Any,
) -> Any:
    r"""Learn from out-of-fold predictions what a rule of numbers needs.

    ====================  ==================================================================
    ``weighted``          shares :math:`w \ge 0, \sum_m w_m = 1` of least squared error: by
                          descent, or the best of ``n_draws`` Dirichlet draws, the centre and the
                          corners with ``weights="search"``
    ``inverse_variance``  :math:`\sigma_m^2`, the mean squared residual of expert m
    ``stacking``          ``final_estimator``, fitted on the predictions side by side; an absent
                          expert is NaN to it if ``takes_nan``, else the mean of y and a mark
    ====================  ==================================================================

    Parameters
    ----------
    predictions : array-like of shape (n_experts, n_samples[, n_outputs])
        Out of fold. NaN in every output says that the expert is absent.
    y : array-like of shape (n_samples[, n_outputs])
    rule : str or Rule
        One that can be learnt.
    mask : array-like of bool of shape (n_experts, n_samples), default=None
        True where the expert is present.
    sample_weight : array-like of shape (n_samples,), default=None
    weights : {None, "learn", "search"}, default=None
        How ``weighted`` finds its shares; None learns them.
    random_state : int, Generator or None, default=None
        Draws the shares that are tried.
    **params : dict
        Options of the rule.

    Returns
    -------
    learnt : LearntWeights, LearntVariances or Stacked
        For the ``weights`` of :func:`fuse_predictions`.

    Raises
    ------
    ValueError
        If the rule has nothing to learn, or no sample has an expert.

    Examples
    --------
    >>> from mkfusion.rules import learn_regression_rule
    >>> learnt = learn_regression_rule([[1.0, 2.0], [2.0, 4.0]], [1.0, 2.0], "weighted")
    >>> learnt.weights.round(3)
    array([1., 0.])
    """
    chosen = get_rule(rule, REGRESSION_RULES)
    check_option("weights", weights, [None, "learn", "search"])
    if weights is not None and chosen.weights != "share":
        raise ValueError(f"weights={weights!r} is for a rule that takes weights: 'weighted'")
    values, mask = _predictions(predictions, mask)
    target, weight = _check_target(y, sample_weight, values.shape[1:])
    kept = mask.any(axis=0) & (weight > 0)
    if not kept.any():
        raise ValueError("there is nothing to learn from: no sample has an expert")
    case = values[:, kept], mask[:, kept], target[kept], weight[kept]
    with single_blas_thread:
        if weights == "search":
            return _search(chosen, *case, random_state=random_state, **params)
        if chosen.learn is None:
            raise ValueError(f"rule {rule!r} has nothing to learn")
        heard = mask[:, kept].any(axis=1) | (chosen.weights != "share")
        values, mask, *rest = case
        found = chosen.learn(values[heard], mask[heard], *rest, **params)
        return with_unheard(found, heard)


def _check_target(y: Any, sample_weight: Any, shape: tuple[int, ...]) -> tuple[Array, Array]:
    target = np.asarray(y, dtype=np.float64)
    columns = target[:, None] if target.ndim == 1 else target
    if columns.shape != shape:
        raise ValueError(f"y must have shape {shape}, as the predictions, got {target.shape}")
    if not np.isfinite(target).all():
        raise ValueError("y holds NaN or infinity")
    weight = sample_weights(sample_weight, target) if len(target) else None
    return columns, np.ones(len(target)) if weight is None else weight


def _search(
    rule: Rule,
    values: Array,
    mask: Array,
    y: Array,
    weight: Array,
    *,
    random_state: Any,
    n_draws: int = 500,
) -> LearntWeights:
    mean = np.average(y, axis=0, weights=weight)
    spread = np.average(np.square(y - mean), axis=0, weights=weight)
    unit = np.where(spread > 0, spread, 1.0)

    def loss(weights: Array) -> float:
        fused = rule.scores(values, mask, weights, None)
        fused = np.where(_unheard(rule, mask, weights, None)[:, None], mean, fused)
        return float(np.average((np.square(fused - y) / unit).mean(axis=1), weights=weight))

    tried = draw_weights("share", len(values), None, n_draws, random_state)
    return best_of(tried, [np.array([loss(weights) for weights in tried])])


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
        names = additive_names(REGRESSION_RULES)
        raise ValueError(f"rule {rule!r} is not additive; those that are: {names}")
    values, *arguments = _regression_case(chosen, rule, predictions, mask, weights, variances)
    contributions = by_class(chosen.additive(*arguments)) * values
    unheard = _unheard(chosen, *arguments)[:, None]
    base = np.where(unheard, fallback, np.zeros(values.shape[1:]))
    return Decomposition(contributions, base, base + contributions.sum(axis=0))
