"""Simulated sequences of several modalities that share one hidden Markov chain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.utils import Bunch

from ._checks import (
    RATE,
    Interval,
    as_random_state,
    check_choice,
    check_dimensions,
    check_flags,
    check_probabilities,
    check_real,
    check_whole,
    per_modality,
)
from ._frames import cell_frame, column_names, step_index
from ._missing import draw_mask
from ._simulated import STRENGTH, orthonormal, simplex

__all__ = ["make_multimodal_sequences"]


def make_multimodal_sequences(
    n_sequences: int = 60,
    *,
    modalities: Mapping[str, int] | None = None,
    n_classes: int = 2,
    n_states: int = 3,
    lengths: int | tuple[int, int] = (20, 40),
    separation: float | Mapping[str, float] = 3.0,
    persistence: float = 0.5,
    start: Any = None,
    transition: Any = None,
    missing: float | Mapping[str, float] = 0.0,
    layout: str = "sequences",
    return_X_y: bool = False,
    random_state: Any = None,
) -> Bunch | tuple[pd.DataFrame, pd.Series]:
    r"""Draw sequences from hidden Markov chains, one per class, seen through several modalities.

    A sequence of class c has hidden states q and, in each modality m, observations

    .. math::

        P(q_1 = i) = \pi^c_i, \qquad P(q_t = j \mid q_{t-1} = i) = A^c_{ij}, \qquad
        x_{tm} \sim N(\mu_{m q_t}, I)

    independently given the states. All modalities share the chain; the classes differ in the
    chain only, so that a state means the same in every class.

    Parameters
    ----------
    n_sequences : int
    modalities : dict or None
        Number of features of each modality; None is ``{"audio": 2, "video": 3}``.
    n_classes : int
        K, at least 1. The classes are as equal in number as can be, in random order.
    n_states : int
        S, at least 2.
    lengths : int or (int, int)
        Number of steps of every sequence, or the least and the greatest; uniform between them.
    separation : float or dict
        Distance between the means of two states in standard deviations, one for all modalities
        or one per name (0 where left out, which makes the modality noise). With at least S - 1
        features every two states are that far apart; with fewer they stand in order along a
        line, and neighbours are.
    persistence : float
        Where ``transition`` is None: A = persistence * I + (1 - persistence) * D, the rows of D
        uniform on the simplex, in [0, 1].
    start : array-like of shape (n_states,) or (n_classes, n_states), or None
        Initial probabilities; None draws them uniformly from the simplex.
    transition : array-like of shape (n_states, n_states) or (n_classes, n_states, n_states)
        Transition probabilities, row to column; None draws them.
    missing : float or dict
        Share of the sequences that lose a whole modality; at least one is kept.
    layout : {"sequences", "steps"}
        "sequences": one row per sequence, each cell a (T, d) array, the target its class.
        "steps": one row per step, the target its state.
    return_X_y : bool
        Return ``(data, target)`` instead of a Bunch.
    random_state : int, RandomState or None
        Equal seeds give the same sequences in both layouts, and a seed's ``complete`` is the
        same for every ``missing``.

    Returns
    -------
    Bunch or tuple
        With these fields (n sequences, M modalities, d_m features, T_i steps):

        data : DataFrame
            "sequences": shape (n, M), columns ``audio`` ..., cells (T_i, d_m) or None where the
            modality is lost, index ``sequence``. "steps": shape (sum of T_i, sum of d_m), columns
            ``audio__0`` ..., NaN where lost, index levels ``sequence`` and ``step``.
        target : Series
            The class of each sequence, or the state of each step.
        target_names : ndarray of shape (K,) or (S,)
        modalities : dict of lists of column names
        feature_names : list of str
        complete : DataFrame
            The data before any loss.
        mask : DataFrame of shape (n, M)
            True where a sequence has a modality.
        sequence : Series
            The id of each row's sequence, as in the index.
        classes : ndarray of shape (n,)
        states : list of n ndarray of shape (T_i,)
        start : ndarray of shape (K, S)
        transition : ndarray of shape (K, S, S)
        means : dict of ndarray of shape (S, d_m)
        covariances : dict of ndarray of shape (S, d_m, d_m)

    Raises
    ------
    ValueError
        A parameter out of its range, unknown names, or probabilities that do not sum to 1.

    References
    ----------
    L. R. Rabiner, "A tutorial on hidden Markov models and selected applications in speech
    recognition", Proceedings of the IEEE 77(2), 1989, doi:10.1109/5.18626.

    Examples
    --------
    >>> from mkfusion.datasets import make_multimodal_sequences
    >>> truth = make_multimodal_sequences(8, lengths=(5, 9), random_state=0)
    >>> truth.data.shape, truth.data["video"].iloc[0].shape[1]
    ((8, 2), 3)
    >>> steps = make_multimodal_sequences(8, lengths=5, layout="steps", random_state=0)
    >>> steps.data.shape, list(steps.data.index.names)
    ((40, 5), ['sequence', 'step'])
    """
    check_flags(return_X_y=return_X_y)
    check_choice("layout", layout, ("sequences", "steps"))
    n_sequences = check_whole("n_sequences", n_sequences, 1)
    dims = check_dimensions({"audio": 2, "video": 3} if modalities is None else modalities)
    rates = per_modality("missing", missing, list(dims), RATE)
    shortest, longest = _check_lengths(lengths)
    rng = as_random_state(random_state)
    chain = _chain(n_classes, n_states, persistence, start, transition, rng)
    means = _means(dims, chain.start.shape[1], separation, rng)

    classes = rng.permutation(np.arange(n_sequences) % len(chain.start))
    ends = np.cumsum(rng.randint(shortest, longest + 1, size=n_sequences))
    states = _walk(chain, classes, np.diff(ends, prepend=0), rng)
    emitted = {
        name: means[name][states] + rng.standard_normal((len(states), size))
        for name, size in dims.items()
    }
    everything = np.full((n_sequences, len(dims)), True)
    mask = draw_mask(everything, rates, "random", None, True, rng)
    lay_out = _as_sequences if layout == "sequences" else _as_steps
    tables = lay_out(emitted, classes, states, ends, mask)
    if return_X_y:
        return tables["data"], tables["target"]
    return Bunch(
        **tables,
        target_names=np.arange(chain.start.shape[0 if layout == "sequences" else 1]),
        feature_names=list(tables["data"].columns),
        mask=pd.DataFrame(mask, columns=list(dims)).rename_axis("sequence"),
        classes=classes,
        states=np.split(states, ends[:-1]),
        start=chain.start,
        transition=chain.transition,
        means=means,
        covariances={
            name: np.tile(np.eye(size), (chain.start.shape[1], 1, 1))
            for name, size in dims.items()
        },
    )


class _Chain(NamedTuple):
    start: np.ndarray
    transition: np.ndarray


def _check_lengths(lengths: Any) -> tuple[int, int]:
    pair = lengths if isinstance(lengths, tuple | list) else (lengths, lengths)
    if len(pair) != 2:
        raise ValueError(f"lengths must be one number or (least, greatest), got {lengths!r}")
    shortest, longest = (check_whole("lengths", length, 1) for length in pair)
    if shortest > longest:
        raise ValueError(f"lengths must be (least, greatest), got {lengths!r}")
    return shortest, longest


def _chain(
    n_classes: Any,
    n_states: Any,
    persistence: Any,
    start: Any,
    transition: Any,
    rng: np.random.RandomState,
) -> _Chain:
    shape = check_whole("n_classes", n_classes, 1), check_whole("n_states", n_states, 2)
    stay = check_real("persistence", persistence, Interval(0, 1))
    rows = rng.dirichlet(np.ones(shape[1]), size=shape)
    drawn_start = rng.dirichlet(np.ones(shape[1]), size=shape[0])
    drawn_transition = stay * np.eye(shape[1]) + (1 - stay) * rows
    return _Chain(
        _given("start", start, drawn_start),
        _given("transition", transition, drawn_transition),
    )


def _given(name: str, values: Any, drawn: np.ndarray) -> np.ndarray:
    if values is None:
        return drawn
    table = check_probabilities(name, values, drawn.shape[1:], drawn.shape)
    return np.array(np.broadcast_to(table, drawn.shape))


def _means(
    dims: Mapping[str, int], n_states: int, separation: Any, rng: np.random.RandomState
) -> dict[str, np.ndarray]:
    distances = per_modality("separation", separation, list(dims), STRENGTH)
    line = np.arange(n_states)[:, np.newaxis] - (n_states - 1) / 2
    means = {}
    for name, size in dims.items():
        points = simplex(n_states) if size >= n_states - 1 else line
        means[name] = distances[name] * points @ orthonormal(size, points.shape[1], rng).T
    return means


def _walk(
    chain: _Chain, classes: np.ndarray, lengths: np.ndarray, rng: np.random.RandomState
) -> np.ndarray:
    """Draw the states of all sequences, one behind the other."""
    start, transition = (_cumulative(table) for table in chain)
    chances = rng.random_sample((lengths.max(), len(lengths), 1))
    states = np.empty(chances.shape[:2], dtype=np.int64)
    states[0] = (start[classes] <= chances[0]).sum(axis=1)
    for t in range(1, len(states)):
        states[t] = (transition[classes, states[t - 1]] <= chances[t]).sum(axis=1)
    return states.T[np.arange(len(states)) < lengths[:, np.newaxis]]


def _cumulative(probabilities: np.ndarray) -> np.ndarray:
    sums = np.cumsum(probabilities, axis=-1)
    return sums / sums[..., -1:]


def _as_sequences(
    emitted: Mapping[str, np.ndarray],
    classes: np.ndarray,
    states: np.ndarray,
    ends: np.ndarray,
    mask: np.ndarray,
) -> dict[str, Any]:
    index = pd.RangeIndex(len(classes), name="sequence")
    cells = {name: np.split(values, ends[:-1]) for name, values in emitted.items()}
    kept = {
        name: [cell.copy() if present else None for cell, present in zip(own, column, strict=True)]
        for (name, own), column in zip(cells.items(), mask.T, strict=True)
    }
    return {
        "data": cell_frame(kept, index),
        "complete": cell_frame(cells, index),
        "target": pd.Series(classes, index=index, name="class"),
        "sequence": pd.Series(index, index=index),
        "modalities": {name: [name] for name in emitted},
    }


def _as_steps(
    emitted: Mapping[str, np.ndarray],
    classes: np.ndarray,
    states: np.ndarray,
    ends: np.ndarray,
    mask: np.ndarray,
) -> dict[str, Any]:
    ids = np.repeat(np.arange(len(ends)), np.diff(ends, prepend=0))
    index = step_index(ids)
    modalities = column_names({name: values.shape[1] for name, values in emitted.items()})
    names = [column for columns in modalities.values() for column in columns]
    complete = pd.DataFrame(np.hstack(list(emitted.values())), index=index, columns=names)
    present = np.repeat(mask[ids], [len(own) for own in modalities.values()], axis=1)
    return {
        "data": complete.where(present),
        "complete": complete,
        "target": pd.Series(states, index=index, name="state"),
        "sequence": pd.Series(ids, index=index, name="sequence"),
        "modalities": modalities,
    }
