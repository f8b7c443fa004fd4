r"""Conditional random fields on a chain: the objective, its gradient, and its optimum.

.. math:: \min\ -\sum_i s_i \log p(y_i \mid x_i)
    + \tfrac12 \sum_j l_j \|W_{\cdot j}\|^2 + \tfrac{l_T}2 \|T\|^2 + \lambda (\|W\|_1 + \|T\|_1)

with :math:`p(y|x) \propto \sum_{h \in H(y)} \exp \sum_t (W_{h_t} \cdot x_t + b_{h_t} +
T_{h_{t-1}, h_t})`, where :math:`H(y)` are the paths of states whose labels are y; without hidden
states it is the one path y. The intercepts b carry no penalty.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .._parallel import on_threads, single_blas_thread
from ._chain import posteriors
from ._crf_design import Design, chunks, gradient, scores

__all__ = [
    "ChainGradient",
    "Layout",
    "Potentials",
    "by_parameters",
    "chain_loss",
    "crf_layout",
    "observe",
    "view_indicator",
]

Array = np.ndarray


class Layout(NamedTuple):
    """How the states of the chain are made of the states of views, each with its own blocks.

    Attributes
    ----------
    views : tuple of tuple of int
        The numbers of the blocks that each view reads.
    n_states : tuple of int
        The states of each view.
    maps : tuple of ndarray of int of shape (S,), or of None
        The state of the view in each state of the chain; None where they are the same.
    links, couplings : tuple of (int, int)
        The pairs of views with a potential of both states at one step, and of the first view's
        state at a step with the second's at the next.
    labels : ndarray of int of shape (S,)
        The label of each state of the chain.
    forbidden : ndarray of bool of shape (n_labels, n_labels) or None
        Transitions between labels that have no probability.
    """

    views: tuple[tuple[int, ...], ...]
    n_states: tuple[int, ...]
    maps: tuple[Array | None, ...]
    links: tuple[tuple[int, int], ...]
    couplings: tuple[tuple[int, int], ...]
    labels: Array
    forbidden: Array | None


def crf_layout(n_blocks: int, n_labels: int, forbidden: Array | None = None) -> Layout:
    """Return the layout without hidden states: one view, whose states are the labels."""
    labels = np.arange(n_labels)
    return Layout((tuple(range(n_blocks)),), (n_labels,), (None,), (), (), labels, forbidden)


class Potentials(NamedTuple):
    """The parameters, in the units of the features; a list has one entry for each view or pair.

    Attributes
    ----------
    coefs : list of ndarray of shape (S_v, D_v)
    intercepts : list of ndarray of shape (S_v,)
    transitions : list of ndarray of shape (S_v, S_v)
    links, couplings : list of ndarray of shape (S_v, S_w)
    """

    coefs: list[Array]
    intercepts: list[Array]
    transitions: list[Array]
    links: list[Array]
    couplings: list[Array]

    def on_chain(self, layout: Layout) -> tuple[Array, Array]:
        """Return the bias (S,) and the transition (S, S) of the chain's states."""
        n = len(layout.labels)
        bias, transition = np.zeros(n), np.zeros((n, n))
        own = [_states_of(layout, v) for v in range(len(layout.views))]
        for v, states in enumerate(own):
            bias += self.intercepts[v][states]
            transition = transition + self.transitions[v][np.ix_(states, states)]
        for (v, w), link in zip(layout.links, self.links, strict=True):
            bias += link[own[v], own[w]]
        for (v, w), coupling in zip(layout.couplings, self.couplings, strict=True):
            transition = transition + coupling[np.ix_(own[v], own[w])]
        if layout.forbidden is not None:
            no_way = layout.forbidden[np.ix_(layout.labels, layout.labels)]
            transition = np.where(no_way, -np.inf, transition)
        return bias, transition

    def unary(self, design: Design, layout: Layout) -> Array:
        """Return the scores of the chain's states at all steps, shape (n_steps, S)."""
        bias, _ = self.on_chain(layout)
        out = np.empty((int(design.offsets[-1]), len(bias)))
        with single_blas_thread:
            for sequences, piece in chunks(design):
                a, b = design.offsets[sequences.start], design.offsets[sequences.stop]
                _fill_unary(piece, layout, self.coefs, bias, out[a:b])
        return out


class ChainGradient(NamedTuple):
    """By the coefficients of views, and by the bias and transition of the chain."""

    coefs: list[Array]
    bias: Array  # (S,)
    transition: Array  # (S, S)


def _states_of(layout: Layout, view: int) -> Array:
    states = layout.maps[view]
    return np.arange(layout.n_states[view]) if states is None else states


def _fill_unary(
    piece: Design, layout: Layout, coefs: list[Array], bias: Array, out: Array
) -> None:
    out[:] = bias
    for which, states, coef in zip(layout.views, layout.maps, coefs, strict=True):
        if states is None:
            scores(piece, which, coef, out)
        else:
            own = np.zeros((len(out), len(coef)))
            scores(piece, which, coef, own)
            out += own[:, states]


class _Observed(NamedTuple):
    """A piece of the data and what was seen there."""

    piece: Design
    codes: Array
    weights: Array  # of the sequences
    steps: Array | None  # the same of the steps; None where all are 1
    pairs: Array  # (n_labels, n_labels), weighted


def observe(design: Design, codes: Array, weights: Array | None, n_labels: int) -> list[_Observed]:
    """Cut design and labels into pieces, in order."""
    found = []
    for sequences, piece in chunks(design):
        a, b = design.offsets[sequences.start], design.offsets[sequences.stop]
        own = np.ones(len(piece.offsets) - 1) if weights is None else weights[sequences]
        steps = np.repeat(own, np.diff(piece.offsets))
        seen = codes[a:b]
        follows = np.ones(len(seen), dtype=bool)
        follows[piece.offsets[:-1]] = False
        at = np.flatnonzero(follows)
        pairs = np.bincount(
            seen[at - 1] * n_labels + seen[at], weights=steps[at], minlength=n_labels**2
        ).reshape(n_labels, n_labels)
        found.append(_Observed(piece, seen, own, None if weights is None else steps, pairs))
    return found


def chain_loss(
    observed: list[_Observed], layout: Layout, potentials: Potentials, n_threads: int = 1
) -> tuple[float, ChainGradient]:
    """Return -sum_i s_i log p(y_i | x_i), and its gradient by coefficients, bias, transition."""
    bias, transition = potentials.on_chain(layout)
    results: list[Any] = [None] * len(observed)
    hidden = len(layout.labels) > len(observed[0].pairs) if observed else False

    def run(k: int) -> None:
        results[k] = _piece_loss(
            observed[k], layout, potentials.coefs, bias, transition, hidden=hidden
        )

    with single_blas_thread:
        on_threads(run, range(len(observed)), n_threads)
    loss, coefs = 0.0, [np.zeros_like(coef) for coef in potentials.coefs]
    by_bias, by_transition = np.zeros(len(bias)), np.zeros(transition.shape)
    for value, parts, states, pairs in results:
        loss += value
        for total, part in zip(coefs, parts, strict=True):
            total += part
        by_bias += states
        by_transition += pairs
    return loss, ChainGradient(coefs, by_bias, by_transition)


def _piece_loss(
    seen: _Observed,
    layout: Layout,
    coefs: list[Array],
    bias: Array,
    transition: Array,
    *,
    hidden: bool,
) -> tuple[float, list[Array], Array, Array]:
    offsets, start = seen.piece.offsets, np.zeros(len(bias))
    unary = np.empty((len(seen.codes), len(bias)))
    _fill_unary(seen.piece, layout, coefs, bias, unary)
    free = posteriors(start, transition, unary, offsets, weights=seen.weights)
    residuals = free.marginals
    if hidden:
        inside = np.where(layout.labels == seen.codes[:, None], unary, -np.inf)
        told = posteriors(start, transition, inside, offsets, weights=seen.weights)
        loss = seen.weights @ (free.log_partition - told.log_partition)
        residuals -= told.marginals
        pairs = free.pairs - told.pairs
    else:
        at = np.arange(len(unary)), seen.codes
        path = unary[at].sum() if seen.steps is None else seen.steps @ unary[at]
        counted = seen.pairs > 0
        path += seen.pairs[counted] @ transition[counted]
        loss = seen.weights @ free.log_partition - path
        residuals[at] -= 1.0
        pairs = free.pairs - seen.pairs
    if seen.steps is not None:
        residuals *= seen.steps[:, None]
    parts = []
    for v, which in enumerate(layout.views):
        own = residuals if layout.maps[v] is None else residuals @ view_indicator(layout, v)
        parts.append(gradient(seen.piece, which, own))
    return float(loss), parts, residuals.sum(axis=0), pairs


def view_indicator(layout: Layout, view: int) -> Array:
    """Return the 0 and 1 of shape (S, S_v) that tell the view's state in each of the chain."""
    return np.eye(layout.n_states[view])[_states_of(layout, view)]


def by_parameters(layout: Layout, found: ChainGradient) -> Potentials:
    """Return the gradient by every parameter: the adjoint of `Potentials.on_chain`."""
    marks = [view_indicator(layout, v) for v in range(len(layout.views))]
    bias, transition = found.bias, found.transition
    return Potentials(
        found.coefs,
        [mark.T @ bias for mark in marks],
        [mark.T @ transition @ mark for mark in marks],
        [marks[v].T @ (bias[:, None] * marks[w]) for v, w in layout.links],
        [marks[v].T @ transition @ marks[w] for v, w in layout.couplings],
    )
