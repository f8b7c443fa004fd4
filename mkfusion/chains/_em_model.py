"""Hidden Markov models of several streams, on arrays: log-potentials and log-likelihoods."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .._parallel import single_blas_thread
from ._chain import log_partition
from ._emissions import Emission, Stream

__all__ = [
    "HMM",
    "checked_stream_weights",
    "emission_scores",
    "log_likelihoods",
    "log_potentials",
    "n_parameters",
    "prepare",
    "unary_scores",
]

Array = np.ndarray


class HMM(NamedTuple):
    """A hidden Markov model of several streams; zeros in its probabilities are structural.

    Attributes
    ----------
    start : ndarray of shape (S,)
    transition : ndarray of shape (S, S)
        From row to column; rows sum to 1.
    emissions : tuple of Emission
        One for each stream.
    """

    start: Array
    transition: Array
    emissions: tuple[Emission, ...]


def log_potentials(model: HMM) -> tuple[Array, Array]:
    """Return the log-potentials of starts and transitions."""
    with np.errstate(divide="ignore"):
        return np.log(model.start), np.log(model.transition)


def emission_scores(
    model: HMM,
    streams: Sequence[Stream],
    stream_weights: Any = None,
    n_threads: int = 1,
) -> Array:
    """Return sum_m w_m log b_m of every step under every state, (n_steps, S).

    A stream that is absent at a step, or that has the weight 0, has the factor 1.
    """
    weights = checked_stream_weights(stream_weights, len(streams))
    prepared = [
        emission.prepare(stream) if weight else None
        for emission, stream, weight in zip(model.emissions, streams, weights, strict=True)
    ]
    return unary_scores(model, streams, prepared, weights, n_threads)


def prepare(model: HMM, streams: Sequence[Stream]) -> list[Any]:
    """Return what the emissions' loops read of each stream, once for many passes."""
    return [
        emission.prepare(stream) for emission, stream in zip(model.emissions, streams, strict=True)
    ]


def unary_scores(
    model: HMM, streams: Sequence[Stream], prepared: Sequence[Any], weights: Array, n_threads: int
) -> Array:
    """Return the weighted sum of the log densities of prepared streams, (n_steps, S)."""
    total = None
    for emission, stream, ready, weight in zip(
        model.emissions, streams, prepared, weights, strict=True
    ):
        if not weight:
            continue
        scores = emission.scores(ready, n_threads)
        if weight != 1:
            scores *= weight
        if not stream.present.all():
            scores[~stream.present] = 0.0
        total = scores if total is None else np.add(total, scores, out=total)
    if total is None:
        return np.zeros((len(streams[0].present), len(model.start)))
    return total


def checked_stream_weights(stream_weights: Any, n_streams: int) -> Array:
    """Return one finite weight for each stream, or refuse them."""
    if stream_weights is None:
        return np.ones(n_streams)
    weights = np.asarray(stream_weights, dtype=np.float64)
    if weights.shape != (n_streams,) or not (np.isfinite(weights) & (weights >= 0)).all():
        raise ValueError(
            f"stream_weights must be {n_streams} finite numbers, 0 or more, got {stream_weights!r}"
        )
    return weights


def log_likelihoods(
    model: HMM,
    streams: Sequence[Stream],
    offsets: Array,
    stream_weights: Any = None,
    n_threads: int = 1,
) -> Array:
    """Return the log-likelihood of every sequence; minus infinity where no path is possible."""
    with single_blas_thread:
        unary = emission_scores(model, streams, stream_weights, n_threads)
    return log_partition(*log_potentials(model), unary, offsets, n_threads=n_threads)


def n_parameters(model: HMM) -> int:
    """Return the number of free parameters; a structural zero is none."""
    rows = np.vstack([model.start, model.transition])
    free = int(np.maximum((rows > 0).sum(axis=1) - 1, 0).sum())
    return free + sum(emission.n_parameters for emission in model.emissions)
