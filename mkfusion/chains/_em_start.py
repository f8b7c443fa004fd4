"""Where expectation-maximisation begins: a first guess of the states, and a model made of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .._validation import check_distribution, check_option
from ._chain import step_sequence
from ._em_model import HMM, checked_stream_weights
from ._emission_base import weighted_moments
from ._emission_clusters import cluster
from ._emissions import Emission, Stream, resolve_emission

__all__ = [
    "TOPOLOGIES",
    "initial_model",
    "initial_responsibilities",
    "stream_features",
    "structure",
]

Array = np.ndarray

TOPOLOGIES = ("ergodic", "left-right")
SMOOTH = 0.1  # of all transitions of the start of EM: spread evenly over those that may be


def initial_responsibilities(
    streams: Sequence[Stream],
    offsets: Array,
    n_states: int,
    families: Sequence[Any],
    *,
    rng: np.random.Generator,
    topology: str = "ergodic",
    stream_weights: Any = None,
    step_weights: Array | None = None,
    clamped: Array | None = None,
    restart: int = 0,
) -> Array:
    """Return a first guess of the states of every step, (n_steps, S).

    Left-right sequences are cut into equal parts, at other places in later restarts; else the
    steps are clustered by all streams together, among the states that are allowed to them.
    """
    n_steps = int(offsets[-1])
    if topology == "left-right" and clamped is None:
        labels = _parts(offsets, n_states, rng, restart)
    else:
        weights = np.ones(n_steps) if step_weights is None else step_weights
        features = stream_features(
            streams, families, checked_stream_weights(stream_weights, len(streams)), weights
        )
        labels = cluster(features, weights, n_states, rng, clamped)
    guess = np.zeros((n_steps, n_states))
    guess[np.arange(n_steps), labels] = 1.0
    return guess


def _parts(offsets: Array, n_states: int, rng: np.random.Generator, restart: int) -> Array:
    lengths = np.diff(offsets)
    place = (np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths)) / np.repeat(
        lengths, lengths
    )
    cuts = np.arange(1, n_states) / n_states
    if restart:
        cuts = np.sort(rng.random(n_states - 1))
    return np.searchsorted(cuts, place, side="right")


def stream_features(
    streams: Sequence[Stream], families: Sequence[Any], stream_weights: Array, weights: Array
) -> Array:
    """Return columns of all streams that count; a stream's squares sum to its weight a step."""
    blocks = []
    for stream, spec, weight in zip(streams, families, stream_weights, strict=True):
        if not weight:
            continue
        shown = np.where(stream.present, weights, 0.0)
        block = resolve_emission(spec)[0].embed(stream.values, shown)
        spread = weighted_moments(block, shown)[1].sum()
        blocks.append(block * np.sqrt(weight / spread) if spread > 0 else block)
    return np.hstack(blocks) if blocks else np.zeros((len(weights), 1))


def initial_model(
    streams: Sequence[Stream],
    offsets: Array,
    families: Sequence[Any],
    guess: Array,
    start: Array,
    transition: Array,
    given: tuple[bool, bool],
    rng: np.random.Generator,
    stream_weights: Array,
    sequence_weights: Array,
) -> HMM:
    """Return the model that the first guess of the states suggests."""
    weights = guess * sequence_weights[step_sequence(offsets), None]
    emissions: dict[int, Emission] = {}
    # Streams of weight 0 come last, so that what is drawn for the others is as if without them.
    for m in np.argsort(stream_weights == 0, kind="stable"):
        family, options = resolve_emission(families[m])
        shown = np.where(streams[m].present[:, None], weights, 0.0)
        emissions[int(m)] = family.initial(
            streams[m].values, shown, guess.shape[1], rng, **options
        )
    if not given[0]:
        first = weights[offsets[:-1]].sum(axis=0)
        start = _suggested(first[None], start[None])[0]
    if not given[1]:
        inner = np.ones(len(guess), bool)
        inner[offsets[1:] - 1] = False
        at = np.flatnonzero(inner)
        transition = _suggested(weights[at].T @ guess[at + 1], transition)
    return HMM(start, transition, tuple(emissions[m] for m in range(len(streams))))


def _suggested(counts: Array, even: Array) -> Array:
    """Return counts as distributions where ``even`` is above 0, with a share spread evenly."""
    counts = np.where(even > 0, counts, 0.0)
    sums = counts.sum(axis=1, keepdims=True)
    shares = np.where(sums > 0, counts / np.where(sums > 0, sums, 1.0), even)
    return (1 - SMOOTH) * shares + SMOOTH * even


def structure(
    n_states: int, topology: str, start: Any, transition: Any
) -> tuple[Array, Array, tuple[bool, bool]]:
    """Return starts and transitions as they were given, or even ones that the topology allows."""
    check_option("topology", topology, TOPOLOGIES)
    given = start is not None, transition is not None
    if start is not None:
        first = check_distribution("start", start, n_states)
    elif topology == "left-right":
        first = np.eye(n_states)[0]
    else:
        first = np.full(n_states, 1 / n_states)
    if transition is not None:
        matrix = np.asarray(transition, dtype=np.float64)
        if matrix.shape != (n_states, n_states):
            raise ValueError(
                f"transition must have shape {(n_states, n_states)}, got {matrix.shape}"
            )
        for i, row in enumerate(matrix):
            check_distribution(f"row {i} of transition", row, n_states)
    elif topology == "left-right":
        matrix = np.eye(n_states) + np.eye(n_states, k=1)
        matrix /= matrix.sum(axis=1, keepdims=True)
    else:
        matrix = np.full((n_states, n_states), 1 / n_states)
    return first, matrix, given
