"""Chains over labels: what may follow what, counted transitions, weights of streams."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import minimize

from .._validation import finite_array
from ._chain import posteriors, step_sequence
from ._emission_clusters import cluster, nearest

__all__ = [
    "LARGEST_WEIGHT",
    "LabelChain",
    "LearntStreamWeights",
    "allowed_chain",
    "counted_chain",
    "guessed_states",
    "learn_stream_weights",
    "weighted_scores",
]

Array = np.ndarray

_LLOYD = 20
LARGEST_WEIGHT = 100.0  # where streams tell the labels without an error, no weight is too large


class LabelChain(NamedTuple):
    """Probabilities of starts and transitions; zeros are structural."""

    start: Array  # shape: (S,)
    transition: Array  # shape: (S, S), from row to column


def allowed_chain(
    labels: Array, n_labels: int, topology: str, start: Any = None, transition: Any = None
) -> LabelChain:
    """Return the chain of all that may be, as even as what is given.

    Parameters
    ----------
    labels : ndarray of int of shape (S,)
        The label of each state; the states of a label stand side by side.
    n_labels : int
    topology : {"ergodic", "left-right"}
        "left-right" enters a label in its first state, and stays there or goes to its next one.
    start, transition : array-like over labels or over states, default=None
        What is 0 may not be.

    Returns
    -------
    chain : LabelChain
    """
    begins = np.r_[True, labels[1:] != labels[:-1]]
    first, matrix = np.ones(len(labels)), np.ones((len(labels), len(labels)))
    if topology == "left-right":
        same = labels[:, None] == labels
        inside = np.eye(len(labels)) + np.eye(len(labels), k=1)
        first, matrix = 1.0 * begins, np.where(same, inside, begins)
    share = 1 / np.bincount(labels, minlength=n_labels)[labels]
    if start is not None:
        first = first * _over_states("start", start, labels, n_labels, 1, share)
    if transition is not None:
        matrix = matrix * _over_states("transition", transition, labels, n_labels, 2, share)
    if not first.any():
        raise ValueError("start is 0 for every state that may be the first")
    stuck = np.flatnonzero(~matrix.any(axis=1))
    if stuck.size:
        raise ValueError(
            f"transition lets nothing follow on state {stuck[0]} (row {labels[stuck[0]]} of the "
            "labels): a row that is 0 throughout"
        )
    return LabelChain(first / first.sum(), matrix / matrix.sum(axis=1, keepdims=True))


def _over_states(
    name: str, given: Any, labels: Array, n_labels: int, ndim: int, share: Array
) -> Array:
    values = finite_array(name, given)
    shapes = [(size,) * ndim for size in dict.fromkeys((n_labels, len(labels)))]
    if values.shape not in shapes:
        raise ValueError(
            f"{name} must have shape {' or '.join(map(str, shapes))}, over the labels or over "
            f"the states, got {values.shape}"
        )
    if (values < 0).any():
        raise ValueError(f"{name} must be non-negative, got {values.min():g}")
    if values.shape[0] == len(labels):
        return values
    return (values[labels] if ndim == 1 else values[np.ix_(labels, labels)]) * share


def counted_chain(
    codes: Array,
    offsets: Array,
    allowed: LabelChain,
    smoothing: float = 0.0,
    weights: Array | None = None,
) -> LabelChain:
    r"""Return the chain of labelled sequences.

    .. math:: A_{ij} = \frac{n_{ij} + \alpha}{\sum_{j'} (n_{ij'} + \alpha)},

    over the transitions that may be; the start alike. Where nothing is counted and alpha is 0,
    what is allowed stays as it is.

    Parameters
    ----------
    codes : ndarray of int of shape (n_steps,)
    offsets : ndarray of int64 of shape (n_sequences + 1,)
    allowed : LabelChain
    smoothing : float, default=0
        The number alpha that is added to each count.
    weights : ndarray of shape (n_sequences,), default=None

    Returns
    -------
    chain : LabelChain
    """
    n = len(allowed.start)
    weights = np.ones(len(offsets) - 1) if weights is None else weights
    first = np.bincount(codes[offsets[:-1]], weights, n)
    inside = np.ones(len(codes), bool)
    inside[offsets[1:] - 1] = False
    at = np.flatnonzero(inside)
    pairs = np.bincount(codes[at] * n + codes[at + 1], weights[step_sequence(offsets)[at]], n * n)
    start = _smoothed(first[None], allowed.start[None], smoothing)[0]
    return LabelChain(start, _smoothed(pairs.reshape(n, n), allowed.transition, smoothing))


def _smoothed(counts: Array, allowed: Array, smoothing: float) -> Array:
    counts = np.where(allowed > 0, counts + smoothing, 0.0)
    sums = counts.sum(axis=1, keepdims=True)
    return np.where(sums > 0, counts / np.where(sums > 0, sums, 1.0), allowed)


# Where EM begins ----------------------------------------------------------------------------


def guessed_states(
    features: Array,
    y: Array,
    offsets: Array,
    labels: Array,
    *,
    weights: Array,
    topology: str,
    rng: np.random.Generator,
) -> Array:
    """Return a first guess of the states of every step: 0 and 1, of shape (n_steps, S).

    A step without a label gets that of the nearest mean, as k-means that begins with the labelled
    steps and leaves them their labels. Then the steps of a label are divided among its states: by
    clusters, or where a label goes from left to right, each segment in equal parts.

    Parameters
    ----------
    features : ndarray of shape (n_steps, d)
        Columns in which steps that look alike are near.
    y : ndarray of int of shape (n_steps,)
        Codes of labels, -1 where unknown.
    offsets : ndarray of int64 of shape (n_sequences + 1,)
    labels : ndarray of int of shape (S,)
        The label of each state.
    weights : ndarray of shape (n_steps,)
    topology : {"ergodic", "left-right"}
    rng : Generator

    Returns
    -------
    guess : ndarray of shape (n_steps, S)
    """
    counts = np.bincount(labels)
    filled = _filled(features, y, weights, len(counts))
    first = np.r_[0, np.cumsum(counts)[:-1]]
    part = np.zeros(len(y), np.int64)
    if topology == "left-right":
        part = (_places(filled, offsets) * counts[filled]).astype(np.int64)
    else:
        for label in np.flatnonzero(counts > 1):
            own = np.flatnonzero(filled == label)
            part[own] = cluster(features[own], weights[own], int(counts[label]), rng)
    guess = np.zeros((len(y), len(labels)))
    guess[np.arange(len(y)), first[filled] + part] = 1.0
    return guess


def _filled(features: Array, y: Array, weights: Array, n_labels: int) -> Array:
    """Return the labels with those of the nearest means where they are unknown."""
    allowed = (y[:, None] < 0) | (y[:, None] == np.arange(n_labels))
    filled, before = y, None
    centers = np.zeros((n_labels, features.shape[1]))
    for _ in range(_LLOYD):
        if before is not None and np.array_equal(filled, before):
            break
        for label in range(n_labels):
            own = np.flatnonzero((filled == label) & (weights > 0))
            if own.size:
                centers[label] = np.average(features[own], axis=0, weights=weights[own])
        before, filled = filled, nearest(features, centers, allowed)
    return filled


def _places(labels: Array, offsets: Array) -> Array:
    """Return how far each step lies in its segment, from 0 to below 1."""
    sequence = step_sequence(offsets)
    begins = np.r_[True, (labels[1:] != labels[:-1]) | (sequence[1:] != sequence[:-1])]
    starts = np.flatnonzero(begins)
    lengths = np.diff(np.r_[starts, len(labels)])
    return (np.arange(len(labels)) - np.repeat(starts, lengths)) / np.repeat(lengths, lengths)


# Weights of streams -------------------------------------------------------------------------


class LearntStreamWeights(NamedTuple):
    """Weights of streams, with the certificate of their optimum.

    Attributes
    ----------
    weights : ndarray of shape (n_streams,)
    log_likelihood : float
        The mean log-likelihood of a step's label, given its sequence.
    gradient_norm : float
        The largest entry of the projected gradient.
    n_iter : int
    converged : bool
    """

    weights: Array
    log_likelihood: float
    gradient_norm: float
    n_iter: int
    converged: bool


def weighted_scores(scores: Array, weights: Array) -> Array:
    """Return sum_m w_m s_m(t, c); summed in the order of the streams."""
    total = np.zeros(scores.shape[1:])
    for weight, own in zip(weights, scores, strict=True):
        if weight:
            total += weight * own
    return total


def learn_stream_weights(
    scores: Array,
    codes: Array,
    offsets: Array,
    chain: LabelChain,
    *,
    sample_weight: Array | None = None,
    max_iter: int = 200,
    tol: float = 1e-6,
    n_threads: int = 1,
) -> LearntStreamWeights:
    r"""Return the weights under which the labels of the sequences are most probable.

    .. math:: \max_{0 \le w \le 100} \frac{1}{N} \sum_i \omega_i \log
        \frac{\exp f_w(y_i)}{\sum_y \exp f_w(y)}, \qquad
        f_w(y) = \sum_t \Big[\log A_{y_{t-1} y_t} + \sum_m w_m s_m(t, y_t)\Big]

    It is concave in w, with the gradient :math:`\sum_t s_m(t, y_t) - E\, s_m(t, y)`.

    Parameters
    ----------
    scores : ndarray of shape (n_streams, n_steps, S)
        What each stream says of each label; 0 where it says nothing.
    codes : ndarray of int of shape (n_steps,)
    offsets : ndarray of int64 of shape (n_sequences + 1,)
    chain : LabelChain
    sample_weight : ndarray of shape (n_sequences,), default=None
    max_iter : int, default=200
    tol : float, default=1e-6
        Of the projected gradient.
    n_threads : int, default=1

    Returns
    -------
    learnt : LearntStreamWeights
    """
    weights = np.ones(len(offsets) - 1) if sample_weight is None else sample_weight
    by_step = weights[step_sequence(offsets)]
    total = by_step.sum()
    with np.errstate(divide="ignore"):
        start, transition = np.log(chain.start), np.log(chain.transition)
    true = scores[:, np.arange(len(codes)), codes]
    path = _path_score(start, transition, codes, offsets, weights)
    observed = true @ by_step

    def loss(w: Array) -> tuple[float, Array]:
        unary = weighted_scores(scores, w)
        found = posteriors(start, transition, unary, offsets, n_threads=n_threads)
        shown = found.marginals * by_step[:, None]
        expected = np.array([np.vdot(shown, own) for own in scores])
        value = path + w @ observed - weights @ found.log_partition
        return -value / total, (expected - observed) / total

    run = minimize(
        loss,
        np.ones(len(scores)),
        jac=True,
        method="L-BFGS-B",
        bounds=[(0.0, LARGEST_WEIGHT)] * len(scores),
        options={"maxiter": max_iter, "gtol": tol, "ftol": 1e-14},
    )
    w = np.clip(run.x, 0.0, LARGEST_WEIGHT)
    value, gradient = loss(w)
    left = float(np.abs(w - np.clip(w - gradient, 0.0, LARGEST_WEIGHT)).max())
    return LearntStreamWeights(w, -value, left, int(run.nit), left <= 10 * tol)


def _path_score(
    start: Array, transition: Array, codes: Array, offsets: Array, weights: Array
) -> float:
    """Return the weighted sum of the log-probabilities of the labels' own transitions."""
    inside = np.ones(len(codes), bool)
    inside[offsets[1:] - 1] = False
    at = np.flatnonzero(inside)
    steps = transition[codes[at], codes[at + 1]] @ weights[step_sequence(offsets)[at]]
    return float(start[codes[offsets[:-1]]] @ weights + steps)
