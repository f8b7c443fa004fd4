"""Hidden chains side by side: their potentials, and the one chain on the product of their states.

Each view has a hidden chain of its own. A state of the product space is a state of every view,
the last view's running fastest; what belongs to a view, or to two, is spread over the product
space (:func:`expand`), and a gradient there is summed back (:func:`collapse`).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, permutations
from typing import NamedTuple

import numpy as np

__all__ = ["Potentials", "Product", "Views", "collapse", "expand", "n_parameters", "unpack"]

Array = np.ndarray
Pair = tuple[int, int]


class Views(NamedTuple):
    """Chains that may interact, and what they see.

    ``n_states`` (S_m) and ``widths`` (d_m, columns seen) have an entry for each view, which sees
    the columns after those of the views before it. ``linked`` chains interact at the same step,
    ``coupled`` ones from a step to the next. ``allowed`` says by view which classes know which
    states: bool of shape (n_classes, S_m), None for all.
    """

    n_states: tuple[int, ...]
    widths: tuple[int, ...]
    n_classes: int
    linked: bool = False
    coupled: bool = False
    allowed: tuple[Array, ...] | None = None

    @property
    def n_product(self) -> int:
        return int(np.prod(self.n_states, dtype=object))

    @property
    def links(self) -> list[Pair]:
        return list(combinations(range(len(self.n_states)), 2)) if self.linked else []

    @property
    def couplings(self) -> list[Pair]:
        return list(permutations(range(len(self.n_states)), 2)) if self.coupled else []


class Potentials(NamedTuple):
    """Log-potentials by view, and by pair of views.

    weights[m] (S_m, d_m): theta of the view's state, times the columns of the step.
    states[m] (n_classes, S_m): eta, added at each step.
    transitions[m] (n_classes, S_m, S_m): tau, from row to column.
    links[m, n] (n_classes, S_m, S_n), m < n: both views' states at one step.
    couplings[n, m] (n_classes, S_n, S_m): the state of n at a step and of m at the next one.
    """

    weights: tuple[Array, ...]
    states: tuple[Array, ...]
    transitions: tuple[Array, ...]
    links: dict[Pair, Array]
    couplings: dict[Pair, Array]

    def arrays(self) -> Iterator[Array]:
        """Yield the arrays in the order in which a vector holds them."""
        yield from self.weights
        yield from self.states
        yield from self.transitions
        yield from self.links.values()
        yield from self.couplings.values()

    def vector(self) -> Array:
        return np.concatenate([array.ravel() for array in self.arrays()])


class Product(NamedTuple):
    """The same log-potentials on the product of the states, S in number."""

    weights: Array  # (S, sum of d_m)
    states: Array  # (n_classes, S)
    transitions: Array  # (n_classes, S, S)


def _sizes(views: Views) -> list[tuple[int, ...]]:
    n, states = views.n_classes, views.n_states
    return [
        *zip(states, views.widths, strict=True),
        *[(n, size) for size in states],
        *[(n, size, size) for size in states],
        *[(n, states[a], states[b]) for a, b in views.links + views.couplings],
    ]


def n_parameters(views: Views) -> int:
    """Return how many numbers :func:`unpack` reads."""
    return sum(int(np.prod(size)) for size in _sizes(views))


def unpack(views: Views, vector: Array) -> Potentials:
    """Return the potentials that a vector holds, as views of its memory."""
    arrays, first = [], 0
    for size in _sizes(views):
        last = first + int(np.prod(size))
        arrays.append(vector[first:last].reshape(size))
        first = last
    m = len(views.n_states)
    pairs = arrays[3 * m :]
    return Potentials(
        tuple(arrays[:m]),
        tuple(arrays[m : 2 * m]),
        tuple(arrays[2 * m : 3 * m]),
        dict(zip(views.links, pairs, strict=False)),
        dict(zip(views.couplings, pairs[len(views.links) :], strict=True)),
    )


def known_states(views: Views) -> list[Array]:
    """Return by class the states of the product space that it knows."""
    if views.allowed is None:
        return [np.arange(views.n_product)] * views.n_classes
    places = np.indices(views.n_states).reshape(len(views.n_states), -1)
    known = np.logical_and.reduce(
        [mask[:, place] for mask, place in zip(views.allowed, places, strict=True)]
    )
    return [np.flatnonzero(row) for row in known]


def expand(views: Views, potentials: Potentials) -> Product:
    """Spread the potentials of views over the product of their states."""
    places = np.indices(views.n_states).reshape(len(views.n_states), -1)
    own = list(zip(places, potentials.states, potentials.transitions, strict=True))
    states = sum(eta[:, at] for at, eta, _ in own)
    transitions = sum(tau[:, at[:, None], at] for at, _, tau in own)
    for (a, b), link in potentials.links.items():
        states = states + link[:, places[a], places[b]]
    for (a, b), coupling in potentials.couplings.items():
        transitions = transitions + coupling[:, places[a][:, None], places[b]]
    weights = [theta[at] for at, theta in zip(places, potentials.weights, strict=True)]
    return Product(np.concatenate(weights, axis=1), np.asarray(states), np.asarray(transitions))


def collapse(views: Views, product: Product) -> Potentials:
    """Sum over the product space what belongs to each view: the adjoint of :func:`expand`."""
    places = np.indices(views.n_states).reshape(len(views.n_states), -1)
    ones = [np.eye(size)[at] for size, at in zip(views.n_states, places, strict=True)]
    ends = np.cumsum(views.widths)[:-1]
    blocks = np.split(product.weights, ends, axis=1)
    return Potentials(
        tuple(one.T @ block for one, block in zip(ones, blocks, strict=True)),
        tuple(product.states @ one for one in ones),
        tuple(one.T @ product.transitions @ one for one in ones),
        {(a, b): ones[a].T @ (product.states[:, :, None] * ones[b]) for a, b in views.links},
        {(a, b): ones[a].T @ product.transitions @ ones[b] for a, b in views.couplings},
    )
