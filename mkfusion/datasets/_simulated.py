"""What the simulated data sets are made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ._checks import Interval, listed, per_modality
from ._frames import column_names
from ._missing import Labels, blank, draw_mask

__all__ = [
    "NOISE",
    "STRENGTH",
    "informative_modalities",
    "lossy_frames",
    "orthonormal",
    "simplex",
    "unique_parts",
]

STRENGTH = Interval(0, 1e6)
NOISE = Interval(1e-6, 1e6)


def simplex(n: int) -> np.ndarray:
    """Return n points about 0, every two at distance 1, of shape (n, n - 1)."""
    points = np.zeros((n, n - 1))
    for j in range(1, n):
        points[:j, j - 1] = 1
        points[j, j - 1] = -j
        points[:, j - 1] /= np.sqrt(2 * j * (j + 1))
    return points


def orthonormal(n_rows: int, n_columns: int, rng: np.random.RandomState) -> np.ndarray:
    """Return random orthonormal columns."""
    return np.linalg.qr(rng.standard_normal((n_rows, n_columns)))[0]


def informative_modalities(dims: Mapping[str, int], noise_modalities: Any) -> tuple[str, ...]:
    """Return the modalities that are not named as noise, in their order."""
    names = list(dims)
    iterable = isinstance(noise_modalities, Iterable) and not isinstance(noise_modalities, str)
    if not iterable or not all(name in names for name in noise_modalities):
        raise ValueError(
            f"noise_modalities must be a list of some of {listed(names, 30)}, "
            f"got {noise_modalities!r}"
        )
    return tuple(name for name in names if name not in noise_modalities)


def unique_parts(
    unique: Any, dims: Mapping[str, int], informative: Sequence[str]
) -> dict[str, float]:
    """Return the strength of what each modality alone knows; 0 for noise."""
    given = per_modality("unique", unique, list(dims), STRENGTH)
    silent = [name for name in dims if name not in informative]
    if isinstance(unique, Mapping) and any(given[name] for name in silent):
        raise ValueError(f"unique must be 0 for the noise_modalities {silent}, got {dict(unique)}")
    return {name: given[name] if name in informative else 0.0 for name in dims}


def lossy_frames(
    x: np.ndarray,
    dims: Mapping[str, int],
    rates: Mapping[str, float],
    pattern: str,
    labels: Labels | None,
    rng: np.random.RandomState,
) -> dict[str, Any]:
    """Return the frames before and after the loss of modalities, and what they consist of."""
    modalities = column_names(dims)
    names = [column for columns in modalities.values() for column in columns]
    complete = pd.DataFrame(x, columns=names)
    everything = np.full((len(x), len(dims)), True)
    mask = draw_mask(everything, rates, pattern, labels, True, rng)
    positions = {
        name: complete.columns.get_indexer(pd.Index(own)) for name, own in modalities.items()
    }
    return {
        "data": blank(complete, positions, mask, rates),
        "complete": complete,
        "mask": pd.DataFrame(mask, columns=list(dims)),
        "modalities": modalities,
        "feature_names": names,
    }
