"""Sequences by sample, settings by modality and by class: what class models are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .._validation import listed
from ..chains._chain import step_sequence
from ..chains._emissions import Emission, Stream, resolve_emission
from ..chains._stream_weights import Scorer
from ._streams import Sequences

__all__ = [
    "Data",
    "by_class",
    "by_name",
    "check_values",
    "emission_by_name",
    "joined_scorer",
    "observed_scores",
    "observed_steps",
    "streams_of",
    "take_samples",
]

Array = np.ndarray
Data = Mapping[str, Sequences]


def by_name(parameter: str, given: Any, names: Any) -> dict[str, Any]:
    """Return a setting for each modality: one for all, or a mapping by name."""
    if not isinstance(given, Mapping):
        return dict.fromkeys(names, given)
    if set(given) != set(names):
        raise ValueError(
            f"{parameter} must name each of the modalities {listed(names, 30)}, "
            f"got {listed(given, 30)}"
        )
    return {name: given[name] for name in names}


def by_class(parameter: str, given: Any, classes: Sequence[Any]) -> list[Any]:
    """Return a setting for each class: one for all, or a mapping by label."""
    if not isinstance(given, Mapping):
        return [given] * len(classes)
    if set(given) != set(classes):
        raise ValueError(
            f"{parameter} must name each of the classes {listed(classes, 30)}, "
            f"got {listed(given, 30)}"
        )
    return [given[label] for label in classes]


def take_samples(data: Data, rows: Array) -> dict[str, Sequences]:
    """Return the sequences of some samples."""
    return {name: _take(own, rows) for name, own in data.items()}


def _take(own: Sequences, rows: Array) -> Sequences:
    lengths = np.diff(own.offsets)[rows]
    offsets = np.zeros(len(rows) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    steps = np.arange(offsets[-1]) + np.repeat(own.offsets[rows] - offsets[:-1], lengths)
    return Sequences(own.values[steps], offsets, own.present[steps])


def observed_steps(data: Data) -> Array:
    """Return how many steps of any modality each sample has."""
    total: Any = 0
    for own in data.values():
        n_samples = len(own.offsets) - 1
        total = total + np.bincount(step_sequence(own.offsets), own.present, n_samples)
    return total


def observed_scores(emission: Emission, own: Sequences | Stream) -> Array:
    """Return log densities (n_steps, n_states), 0 where the step is absent."""
    scores = emission.scores(emission.prepare(Stream(own.values, own.present)))
    return scores if own.present.all() else np.where(own.present[:, None], scores, 0.0)


def streams_of(data: Data) -> list[Stream]:
    """Return the sequences as streams."""
    return [Stream(own.values, own.present) for own in data.values()]


def emission_by_name(given: Any, data: Data) -> dict[str, tuple[type[Emission], dict[str, Any]]]:
    """Return each modality's family and options, with the symbols that any class has seen.

    A modality that a mapping leaves out is Gaussian.
    """
    chosen = dict.fromkeys(data, given)
    if isinstance(given, Mapping):
        unknown = [name for name in given if name not in data]
        if unknown:
            raise ValueError(
                f"emissions names {listed(unknown)}, which is no modality; "
                f"there are {listed(data, 30)}"
            )
        chosen = {name: given.get(name, "gaussian") for name in data}
    found = {}
    for name, choice in chosen.items():
        family, options = resolve_emission(choice)
        own = data[name]
        if own.values.dtype == object and not family.symbols:
            raise ValueError(
                f"modality {name!r} holds text, and {family.family} emissions need numbers; pass "
                f"emissions={{{name!r}: 'categorical'}}, or encode it"
            )
        check_values(name, family.check, own)
        if family.symbols:
            shown = np.unique(own.values[own.present])
            if options.get("vocabulary") is not None:
                shown = np.union1d(shown, np.asarray(options["vocabulary"]))
            options = {**options, "vocabulary": shown}
        found[name] = (family, options)
    return found


def check_values(name: str, check: Any, own: Sequences) -> None:
    """Run a check of a stream, and name the modality in what it says."""
    try:
        check(Stream(own.values, own.present))
    except (TypeError, ValueError) as error:
        raise type(error)(f"modality {name!r}: {error}") from None


def joined_scorer(parts: Sequence[Scorer]) -> Scorer:
    """Return the scorer of several sets of samples, one behind the other."""

    def scores(weights: Array) -> tuple[Array, Array]:
        pairs = [part(weights) for part in parts]
        return np.concatenate([p[0] for p in pairs]), np.concatenate([p[1] for p in pairs])

    return scores
