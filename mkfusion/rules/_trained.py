"""The rules of classes that are learnt from out-of-fold posteriors.

A rule is a pair of functions: ``learn(posteriors, mask, y, sample_weight, priors, expert_priors)``
returns arrays, and ``scores(posteriors, mask, priors, expert_priors, learnt)`` uses them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import minimize_scalar
from sklearn.base import clone

from ._rule import Array, Parts, Rule, additive_rule, log_priors, ratio, shares, unknown_class
from ._weights import log_loss

__all__ = ["TRAINED_RULES", "Stacked", "learn_stacked_numbers", "stacked_columns"]


# What one class says of an expert's label ---------------------------------------------------


class LabelLikelihoods(NamedTuple):
    """log P(s | c): how often an expert says s where c is true; 0 where it was never asked."""

    logs: Array  # shape: (n_experts, n_classes true, n_classes said)
    known: Array  # shape: (n_experts, n_classes), the classes that an expert was asked of

    @property
    def shape(self) -> tuple[int, ...]:
        """The numbers of experts and classes."""
        return self.known.shape


def _learn_naive_bayes(
    posteriors, mask, y, sample_weight, priors, expert_priors, *, smoothing=1.0
):
    _check_strength("smoothing", smoothing)
    n_experts, _, n_classes = posteriors.shape
    said = posteriors.argmax(axis=2)
    counts = np.zeros((n_experts, n_classes, n_classes))
    for expert, rows in enumerate(mask):
        np.add.at(counts[expert], (y[rows], said[expert, rows]), sample_weight[rows])
    total = counts.sum(axis=2)
    known = total > 0
    likelihood = (counts + smoothing / n_classes) / np.maximum(total + smoothing, 1e-300)[
        ..., None
    ]
    return LabelLikelihoods(_floored(likelihood, known), known)


def _check_strength(name: str, value: Any) -> None:
    if not isinstance(value, int | float | np.number) or not 0 <= value < np.inf:
        raise ValueError(f"{name} must be a non-negative number, got {value!r}")


def _floored(likelihood: Array, known: Array) -> Array:
    logs = np.log(np.maximum(likelihood, np.finfo(np.float64).eps))
    return np.where(known[:, :, None], logs, 0.0)


def _naive_bayes(posteriors, mask, priors, expert_priors, learnt):
    said = posteriors.argmax(axis=2)
    experts = np.arange(len(posteriors))[:, None]
    values = learnt.logs.transpose(0, 2, 1)[experts, said]
    # Divided by what the label is worth over all classes, a class that an expert does not know
    # has factor 1.
    own = np.where(learnt.known, priors, 0.0)
    weight = own / np.maximum(own.sum(axis=1, keepdims=True), 1e-300)
    evidence = np.einsum("mcs,mc->ms", np.exp(learnt.logs), weight)
    usual = np.log(np.maximum(evidence, 1e-300))[experts, said][:, :, None]
    values = np.where(learnt.known[:, None, :], values - usual, 0.0)
    return Parts(log_priors(priors), mask.astype(float), values=values)


# What stands in the training data beside the same labels ------------------------------------


class BehaviourTable(NamedTuple):
    """The training samples by what the experts said of them, and where to go for want of them."""

    labels: Array  # shape: (n_cells, n_experts), -1 where an expert was absent
    classes: Array  # shape: (n_cells,), the true class
    counts: Array  # shape: (n_cells,), the weight of the samples
    strength: float
    likelihoods: LabelLikelihoods

    @property
    def shape(self) -> tuple[int, ...]:
        """The numbers of experts and classes."""
        return self.likelihoods.shape


def _learn_bks(posteriors, mask, y, sample_weight, priors, expert_priors, *, strength=1.0):
    _check_strength("strength", strength)
    said = np.where(mask, posteriors.argmax(axis=2), -1).T
    cells, place = np.unique(np.column_stack([said, y]), axis=0, return_inverse=True)
    counts = np.bincount(place.ravel(), sample_weight, minlength=len(cells))
    likelihoods = _learn_naive_bayes(posteriors, mask, y, sample_weight, priors, expert_priors)
    return BehaviourTable(cells[:, :-1], cells[:, -1], counts, float(strength), likelihoods)


def _bks(posteriors, mask, priors, expert_priors, learnt):
    parts = _naive_bayes(posteriors, mask, priors, expert_priors, learnt.likelihoods)
    logs = np.einsum("mi,mic->ic", parts.coefficients, parts.values) + parts.base
    expected = np.exp(logs - logs.max(axis=1, keepdims=True))
    expected /= expected.sum(axis=1, keepdims=True)
    said = posteriors.argmax(axis=2)
    found = np.zeros(expected.shape)
    patterns, place = np.unique(mask.T, axis=0, return_inverse=True)
    for number, present in enumerate(patterns):
        rows = np.flatnonzero(place.ravel() == number)
        if present.any():
            found[rows] = _cells(learnt, present, said[present][:, rows].T, priors)
    return found + learnt.strength * expected


def _cells(table: BehaviourTable, present: Array, said: Array, priors: Array) -> Array:
    """Return the weight of each class in the cells of some experts' labels.

    The cells are those of the table of these experts alone, over all training samples that had
    them. A class counts as it would if the training samples had the priors in use.
    """
    have = (table.labels[:, present] >= 0).all(axis=1)
    keys = np.concatenate([table.labels[have][:, present], said])
    codes = np.unique(keys, axis=0, return_inverse=True)[1].ravel()
    known, asked = codes[: have.sum()], codes[have.sum() :]
    cells = np.zeros((codes.max(initial=-1) + 1, len(priors)))
    np.add.at(cells, (known, table.classes[have]), table.counts[have])
    total = cells.sum(axis=0)
    return ratio(cells, np.broadcast_to(total, cells.shape))[asked] * (priors * total.sum())


# What is typical of a class -----------------------------------------------------------------


class DecisionTemplates(NamedTuple):
    """The mean posteriors of each class, and how fast support falls with the distance to them."""

    templates: Array  # shape: (n_experts, n_classes, n_classes), [m, c] is the mean of class c
    known: Array  # shape: (n_experts, n_classes), the classes that have a template
    steepness: float

    @property
    def shape(self) -> tuple[int, ...]:
        """The numbers of experts and classes."""
        return self.known.shape


def _learn_decision_template(posteriors, mask, y, sample_weight, priors, expert_priors):
    _, n_samples, n_classes = posteriors.shape
    posteriors = np.where(mask[:, :, None], posteriors, 0.0)
    member = np.zeros((n_classes, n_samples))
    member[y, np.arange(n_samples)] = sample_weight
    weights = member[None] * mask[:, None, :]
    total = weights.sum(axis=2)
    sums = np.einsum("mci,mik->mck", weights, posteriors)
    templates = sums / np.where(total > 0, total, 1.0)[:, :, None]
    flat = DecisionTemplates(templates, total > 0, 1.0)
    base, coefficients, _, values = _decision_template(posteriors, mask, priors, None, flat)
    support = np.einsum("mic,mic->ic", np.broadcast_to(coefficients, values.shape), values)

    # Convex in the steepness, as long as it is not floored: a floor makes a second valley of
    # far too steep ones.
    def loss(log_steepness: float) -> float:
        logs = np.exp(log_steepness) * support + base
        return log_loss(logs, y, sample_weight, least=0.0)

    best = minimize_scalar(loss, bounds=(-3.0, 10.0), method="bounded")
    return flat._replace(steepness=float(np.exp(best.x)))


def _decision_template(posteriors, mask, priors, expert_priors, learnt):
    posteriors = np.where(mask[:, :, None], posteriors, 0.0)  # what is absent may be anything
    squares = np.square(posteriors).sum(axis=2)[:, :, None]
    crossed = np.einsum("mik,mck->mic", posteriors, learnt.templates)
    own = np.square(learnt.templates).sum(axis=2)[:, None, :]
    distances = np.maximum(squares - 2 * crossed + own, 0.0)
    speaks = mask[:, :, None] & learnt.known[:, None, :]
    base = unknown_class(speaks)
    return Parts(base, shares(speaks, np.ones(len(mask))), values=-learnt.steepness * distances)


# Any model on what the experts say ----------------------------------------------------------


class Stacked(NamedTuple):
    """A fitted model on the answers of all experts side by side, and how these become columns."""

    model: Any
    fill: Array | None  # shape: (width,), what stands for an absent expert; None leaves NaN
    marked: Array  # shape: (n_experts,), the experts whose absence has a column
    places: Array  # shape: (n_classes known to the model,), which classes these are
    join: Callable[..., Any] | None = None
    extra: Any = None  # more columns: ``join(columns, marked, extra)`` puts them beside

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of experts; that of columns is the model's to check."""
        return self.marked.shape


def stack(answers: Array, mask: Array, fill: Array | None, marked: Array) -> Array:
    """Return the answers of all experts side by side, then a column for each marked absence."""
    columns = np.where(mask[:, :, None], answers, np.nan if fill is None else fill)
    columns = columns.transpose(1, 0, 2).reshape(mask.shape[1], -1)
    absent = ~mask[marked].T
    return np.hstack([columns, absent.astype(np.float64)]) if absent.size else columns


def _told(posteriors: Array) -> Array:
    """Of two classes the second alone stands for both."""
    return posteriors[..., 1:] if posteriors.shape[-1] == 2 else posteriors


def _fit(model: Any, columns: Any, y: Array, sample_weight: Array) -> Any:
    return (
        model.fit(columns, y)
        if (sample_weight == 1).all()
        else model.fit(columns, y, sample_weight=sample_weight)
    )


def _learn_stacked(
    answers: Array,
    mask: Array,
    y: Array,
    sample_weight: Array,
    usual: Array,
    final_estimator: Any,
    takes_nan: bool,
    fit: Callable[..., Any],
    join: Callable[..., Any] | None,
    extra: Any,
    labels: Array | None = None,
) -> Stacked:
    fill = None if takes_nan else usual
    marked: Array = np.asarray((not takes_nan) & ~mask.all(axis=1))
    columns = stack(answers, mask, fill, marked)
    if join is not None:
        columns = join(columns, marked, extra)
    if labels is None:
        model = fit(clone(final_estimator), columns, y, sample_weight)
        return Stacked(model, fill, marked, np.arange(0), join)
    model = fit(clone(final_estimator), columns, labels[y], sample_weight)
    return Stacked(model, fill, marked, np.searchsorted(labels, model.classes_), join)


def _learn_stacking(
    posteriors,
    mask,
    y,
    sample_weight,
    priors,
    expert_priors,
    *,
    final_estimator=None,
    takes_nan=False,
    fit=_fit,
    join=None,
    extra=None,
    labels=None,
):
    if final_estimator is None:
        raise ValueError("rule 'stacking' needs final_estimator, a classifier that is cloned")
    labels = np.arange(len(priors)) if labels is None else labels
    told = _told(posteriors), mask, y, sample_weight, _told(priors)
    return _learn_stacked(*told, final_estimator, takes_nan, fit, join, extra, labels)


def stacked_columns(answers: Array, mask: Array, learnt: Stacked) -> Any:
    """Return what a fitted stack's model is asked about."""
    columns = stack(answers, mask, learnt.fill, learnt.marked)
    return columns if learnt.join is None else learnt.join(columns, learnt.marked, learnt.extra)


def _stacking(posteriors, mask, priors, expert_priors, learnt):
    if not posteriors.shape[1]:
        return np.empty(posteriors.shape[1:])
    scores = np.zeros(posteriors.shape[1:])
    scores[:, learnt.places] = learnt.model.predict_proba(
        stacked_columns(_told(posteriors), mask, learnt)
    )
    return scores


def learn_stacked_numbers(
    predictions: Array,
    mask: Array,
    y: Array,
    sample_weight: Array,
    *,
    final_estimator: Any = None,
    takes_nan: bool = False,
    fit: Callable[..., Any] = _fit,
    join: Callable[..., Any] | None = None,
    extra: Any = None,
) -> Stacked:
    """Fit a regressor on the predictions of all experts side by side."""
    if final_estimator is None:
        raise ValueError("rule 'stacking' needs final_estimator, a regressor that is cloned")
    usual = np.average(y, axis=0, weights=sample_weight)
    target = y[:, 0] if y.shape[1] == 1 else y
    told = predictions, mask, target, sample_weight, usual
    return _learn_stacked(*told, final_estimator, takes_nan, fit, join, extra)


TRAINED_RULES: dict[str, Rule] = {
    "naive_bayes": additive_rule(
        _naive_bayes,
        log=True,
        learn=_learn_naive_bayes,
        learnt=LabelLikelihoods,
        probabilities=False,
    ),
    "bks": Rule(_bks, learn=_learn_bks, learnt=BehaviourTable, probabilities=False),
    "decision_template": additive_rule(
        _decision_template, log=True, learn=_learn_decision_template, learnt=DecisionTemplates
    ),
    "stacking": Rule(_stacking, learn=_learn_stacking, learnt=Stacked, order_free=False),
}
