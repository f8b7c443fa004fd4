"""Steps as a hidden conditional random field sees them: scaled, in windows, 0 where absent."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

__all__ = ["Scaling", "context_windows", "scaling_of"]

Array = np.ndarray

CONSTANT = 1e-12  # of a column's largest value: a standard deviation below it is rounding


class Scaling(NamedTuple):
    """Means and standard deviations of the columns, and which columns vary at all."""

    means: Array
    scales: Array  # 1 where a column is constant
    varies: Array  # bool

    def apply(self, stream: Any) -> Array:
        """Return the scaled columns: 0 where a step is absent or a column tells nothing."""
        # Divided first: the difference of two large numbers could overflow.
        scaled = stream.values / self.scales
        scaled -= self.means / self.scales
        scaled[:, ~self.varies] = 0.0
        scaled[~stream.present] = 0.0
        return scaled


def scaling_of(stream: Any, weights: Array) -> Scaling:
    """Return the statistics of the steps that are present, by the weights of their sequences."""
    shares = np.repeat(weights, np.diff(stream.offsets))
    shares = np.where(stream.present, shares, 0.0)
    total = shares.sum()
    if not total > 0:
        width = stream.values.shape[1]
        return Scaling(np.zeros(width), np.ones(width), np.zeros(width, bool))
    shares = shares / total
    counted = shares > 0
    shares, values = shares[counted], stream.values[counted]
    largest = np.abs(values).max(axis=0)
    units = np.where(largest > 0, largest, 1.0)
    values = values / units
    means = shares @ values
    scales = np.sqrt(shares @ (values - means) ** 2)
    varies = scales > CONSTANT
    return Scaling(means * units, np.where(varies, scales * units, 1.0), varies)


def context_windows(values: Array, offsets: Array, context: int) -> Array:
    """Return each step beside those up to ``context`` before and after it, the earliest first.

    Beyond the ends of a sequence there is 0. The shape is (n_steps, d * (2 * context + 1)).
    """
    if context == 0:
        return np.ascontiguousarray(values)
    n_steps, width = values.shape
    sequence = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    windows = np.zeros((n_steps, 2 * context + 1, width))
    for place, shift in enumerate(range(-context, context + 1)):
        if abs(shift) >= n_steps:
            continue
        here = slice(max(0, -shift), n_steps - max(0, shift))
        there = slice(max(0, shift), n_steps - max(0, -shift))
        same = sequence[here] == sequence[there]
        windows[here, place][same] = values[there][same]
    return windows.reshape(n_steps, -1)
