"""Waiting times: a rate for each state and column, for hidden Markov models."""

from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from mkfusion.chains import Emission, Stream


class Sums(NamedTuple):
    """Weighted sums of steps and of values by state."""

    weights: np.ndarray  # shape: (n_states,)
    values: np.ndarray  # shape: (n_states, d)


class ExponentialEmission(Emission):
    r"""Independent exponential times, b_j(x) = prod_i r_ji exp(-r_ji x_i).

    Parameters
    ----------
    rates : ndarray of shape (n_states, d)
    **options
        ``max_rate=1e6``: rates do not rise above it, however short the times of a state.
    """

    family = "exponential"
    options = MappingProxyType({"max_rate": 1e6})

    def __init__(self, rates, **options):
        self.settings = {**self.options, **options}
        self.rates = np.asarray(rates, dtype=np.float64)

    @property
    def n_states(self):
        return len(self.rates)

    @property
    def n_parameters(self):
        return self.rates.size

    @property
    def params(self):
        return {"rates": self.rates}

    def prepare(self, stream):
        """Return the times, 0 where a step is absent."""
        self.check(stream)
        return np.where(stream.present[:, None], np.asarray(stream.values, float), 0.0)

    def scores(self, prepared, n_threads=1):
        return np.log(self.rates).sum(axis=1) - prepared @ self.rates.T

    def statistics(self, prepared, weights, n_threads=1):
        return Sums(weights.sum(axis=0), weights.T @ prepared)

    def maximized(self, statistics):
        """Return steps over time, the rates of greatest expected log density."""
        steps, time = statistics.weights[:, None], statistics.values
        with np.errstate(divide="ignore", invalid="ignore"):
            rates = np.where(steps > 0, steps / time, self.rates)
        return type(self)(np.minimum(rates, self.settings["max_rate"]), **self.settings)

    def sample(self, states, rng):
        return rng.exponential(1 / self.rates[states])

    @classmethod
    def initial(cls, values, weights, n_states, rng, **options):
        """Return rates of the times under the weights, jittered so that states differ."""
        start = cls(np.ones((n_states, np.shape(values)[1])), **options)
        shown = Stream(values, weights.any(axis=1))
        found = start.maximized(start.statistics(start.prepare(shown), weights))
        return cls(found.rates * rng.uniform(0.8, 1.25, found.rates.shape), **options)

    @classmethod
    def check(cls, stream):
        """Refuse what is no time."""
        values = np.asarray(stream.values, dtype=np.float64)[stream.present]
        if not (np.isfinite(values) & (values >= 0)).all():
            raise ValueError(f"{cls.family} emissions need finite times of 0 or more")
