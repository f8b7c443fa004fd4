"""The chain on which every graphical model runs: sums and maxima over all its paths.

A model hands over log-potentials ``start`` (S,), ``transition`` (S, S), from row to column, and
``unary`` (n_steps, S), with the steps of all sequences one after another. A path q of a sequence
of T steps has the score ::

    start[q_1] + sum_{t > 1} transition[q_{t-1}, q_t] + sum_t unary[t, q_t]

and minus infinity is a structural zero, anywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from .._parallel import on_threads
from ._chain_loops import best_paths, forward_backward, reachable, take_tops

__all__ = ["Paths", "Posteriors", "log_partition", "posteriors", "step_sequence", "viterbi"]

Array = np.ndarray

_STEPS = 4096  # of a block: its weights stay in the cache
_BLOCKS = 64  # at most, so that their pair sums take little room


class Posteriors(NamedTuple):
    """What all paths together say.

    Attributes
    ----------
    log_partition : ndarray of shape (n_sequences,)
        log sum_q exp(score(q)); minus infinity where no path is possible.
    marginals : ndarray of shape (n_steps, S)
        P(q_t = i). Rows sum to 1, and are 0 where no path is possible.
    start : ndarray of shape (S,)
        sum_n w_n P(q_1 = i), over the sequences n and their weights w_n.
    pairs : ndarray of shape (S, S)
        sum_n w_n sum_t P(q_t = i, q_{t+1} = j).

    Examples
    --------
    >>> import numpy as np
    >>> from mkfusion.chains import posteriors
    >>> posteriors(np.zeros(2), np.zeros((2, 2)), np.zeros((2, 2)), [0, 2]).marginals
    array([[0.5, 0.5],
           [0.5, 0.5]])
    """

    log_partition: Array
    marginals: Array
    start: Array
    pairs: Array


class Paths(NamedTuple):
    """The best path of each sequence.

    Attributes
    ----------
    states : ndarray of int64 of shape (n_steps,)
        Of paths that are equally good, one whose states are lowest, seen from the end.
    scores : ndarray of shape (n_sequences,)
        The paths' scores; minus infinity where no path is possible.

    Examples
    --------
    >>> import numpy as np
    >>> from mkfusion.chains import viterbi
    >>> viterbi(np.zeros(2), np.zeros((2, 2)), np.array([[0.0, 1.0], [2.0, 0.0]]), [0, 2]).scores
    array([3.])
    """

    states: Array
    scores: Array


def posteriors(
    start: Array,
    transition: Array,
    unary: Array,
    offsets: Array,
    *,
    weights: Array | None = None,
    n_threads: int = 1,
) -> Posteriors:
    """Return partition functions, marginals and the sums of pairs, by forward and backward.

    Sums are scaled row by row, with the maximum over the states that can be reached, and run in
    logarithms where a float has no room. The sums of pairs are made on the way back, so that
    nothing of shape (n_steps, S, S) is held. The result does not depend on the threads.

    Parameters
    ----------
    start : ndarray of shape (S,)
    transition : ndarray of shape (S, S)
    unary : ndarray of shape (n_steps, S)
    offsets : ndarray of int of shape (n_sequences + 1,)
        Sequence n has the steps from ``offsets[n]`` to ``offsets[n + 1]``.
    weights : ndarray of shape (n_sequences,), default=None
        Of the sequences, in the sums of starts and pairs.
    n_threads : int, default=1

    Returns
    -------
    posteriors : Posteriors

    References
    ----------
    Rabiner (1989), A tutorial on hidden Markov models and selected applications in speech
    recognition, equations (19) to (27) and (37).

    Examples
    --------
    >>> import numpy as np
    >>> from mkfusion.chains import posteriors
    >>> half = np.log(np.full(2, 0.5))
    >>> found = posteriors(half, np.log([[0.9, 0.1], [0.1, 0.9]]), np.zeros((3, 2)), [0, 3])
    >>> found.log_partition.round(12) + 0, found.pairs
    (array([0.]), array([[0.9, 0.1],
           [0.1, 0.9]]))
    """
    offsets = np.asarray(offsets, dtype=np.int64)
    marginals = np.empty(unary.shape)
    logs, first, pairs = _sum_paths(
        start, transition, unary, offsets, weights, n_threads, lambda a, b: marginals[a:b]
    )
    return Posteriors(logs, marginals, first, pairs)


def log_partition(
    start: Array, transition: Array, unary: Array, offsets: Array, *, n_threads: int = 1
) -> Array:
    """Return log sum_q exp(score(q)) of each sequence.

    Parameters
    ----------
    start, transition, unary, offsets, n_threads : as in `posteriors`

    Returns
    -------
    log_partition : ndarray of shape (n_sequences,)

    Examples
    --------
    >>> import numpy as np
    >>> from mkfusion.chains import log_partition
    >>> np.exp(log_partition(np.zeros(2), np.zeros((2, 2)), np.zeros((3, 2)), [0, 3])).round(9)
    array([8.])
    """
    offsets = np.asarray(offsets, dtype=np.int64)
    n_states = len(start)
    return _sum_paths(
        start,
        transition,
        unary,
        offsets,
        None,
        n_threads,
        lambda a, b: np.empty((b - a, n_states)),
    )[0]


def viterbi(
    start: Array, transition: Array, unary: Array, offsets: Array, *, n_threads: int = 1
) -> Paths:
    """Return the best path of each sequence.

    Parameters
    ----------
    start, transition, unary, offsets, n_threads : as in `posteriors`

    Returns
    -------
    paths : Paths

    References
    ----------
    Viterbi (1967), Error bounds for convolutional codes and an asymptotically optimum decoding
    algorithm.

    Examples
    --------
    >>> import numpy as np
    >>> from mkfusion.chains import viterbi
    >>> stay = np.array([[0.0, -2.0], [-2.0, 0.0]])
    >>> viterbi(np.zeros(2), stay, np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]), [0, 3]).states
    array([1, 1, 1])
    """
    offsets = np.asarray(offsets, dtype=np.int64)
    start, transition, unary = _floats(start), _floats(transition), _floats(unary)
    transposed = np.ascontiguousarray(transition.T)
    states = np.empty(len(unary), dtype=np.int64)
    scores = np.empty(len(offsets) - 1)

    def run(block: slice) -> None:
        own = offsets[block.start : block.stop + 1]
        a, b = own[0], own[-1]
        best = np.empty((b - a, len(start)))
        best_paths(
            start, transition, transposed, unary[a:b], own - a, best, states[a:b], scores[block]
        )

    on_threads(run, _blocks(offsets), n_threads)
    return Paths(states, scores)


def step_sequence(offsets: Array) -> Array:
    """Return the number of each step's sequence.

    Parameters
    ----------
    offsets : ndarray of int of shape (n_sequences + 1,)

    Returns
    -------
    numbers : ndarray of int of shape (n_steps,)

    Examples
    --------
    >>> import numpy as np
    >>> from mkfusion.chains import step_sequence
    >>> step_sequence(np.array([0, 2, 2, 5]))
    array([0, 0, 2, 2, 2])
    """
    return np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))


def _sum_paths(
    start: Array,
    transition: Array,
    unary: Array,
    offsets: Array,
    weights: Array | None,
    n_threads: int,
    marginals: Callable[[int, int], Array],
) -> tuple[Array, Array, Array]:
    start, transition, unary = _floats(start), _floats(transition), _floats(unary)
    n_states, lengths = len(start), np.diff(offsets)
    weights = np.ones(len(lengths)) if weights is None else _floats(weights)
    (first, first_top), (steps, steps_top) = _exponential(start), _exponential(transition)
    fits = bool(((first > 0) == (start > -np.inf)).all())
    fits = fits and bool(((steps > 0) == (transition > -np.inf)).all())
    shift = np.array([first_top, steps_top])
    within = np.empty((0, n_states), dtype=bool)
    if fits and not ((first > 0).all() and (steps > 0).all()):
        within = np.empty((max(1, lengths.max(initial=0)), n_states), dtype=bool)
        reachable(first, steps, within)
    blocks = _blocks(offsets)
    sums = [(np.zeros(n_states), np.zeros((n_states, n_states))) for _ in blocks]
    logs = np.empty(len(lengths))

    def run(number: int) -> None:
        block = blocks[number]
        own = offsets[block.start : block.stop + 1]
        a, b = own[0], own[-1]
        exponentials, tops = np.empty((b - a, n_states)), np.empty(b - a)
        take_tops(unary[a:b], own - a, within, tops, exponentials)
        np.exp(exponentials, out=exponentials)
        forward_backward(
            start,
            transition,
            unary[a:b],
            first,
            steps,
            np.ascontiguousarray(steps.T),
            exponentials,
            tops,
            shift,
            own - a,
            weights[block],
            fits,
            logs[block],
            marginals(a, b),
            *sums[number],
        )

    on_threads(run, range(len(blocks)), n_threads)
    first_sum, pair_sum = np.zeros(n_states), np.zeros((n_states, n_states))
    for own_first, own_pairs in sums:
        first_sum += own_first
        pair_sum += own_pairs
    return logs, first_sum, pair_sum


def _floats(values: Array) -> Array:
    return np.ascontiguousarray(values, dtype=np.float64)


def _exponential(potentials: Array) -> tuple[Array, float]:
    """Return exp(potentials - top), and top: their maximum."""
    top = float(potentials.max())
    top = top if top > -np.inf else 0.0
    return np.exp(potentials - top), top


def _blocks(offsets: Array) -> list[slice]:
    """Divide the sequences into runs of about as many steps, whatever the number of threads."""
    n_steps, n_sequences = int(offsets[-1]), len(offsets) - 1
    size = max(_STEPS, -(-n_steps // _BLOCKS))
    cuts = np.searchsorted(offsets, np.arange(size, n_steps, size))
    edges = np.unique(np.concatenate([[0], cuts, [n_sequences]]))
    return [slice(int(a), int(b)) for a, b in pairwise(edges)]
