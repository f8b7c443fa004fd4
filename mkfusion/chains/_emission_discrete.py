"""Emissions of symbols and of counts."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from scipy.special import gammaln

from .._jit import JIT
from .._parallel import single_blas_thread
from .._validation import check_option, listed
from ._emission_base import (
    Emission,
    Stream,
    grouped,
    merged_options,
    n_groups,
    real_values,
    standardized,
    weighted_moments,
)
from ._emission_loops import add_symbol_weights

__all__ = ["CategoricalEmission", "CountStatistics", "PoissonEmission"]

Array = np.ndarray

NOISE = 0.3  # of the start's probabilities: what is 0 at the start stays 0
COLUMNS = 32  # in which symbols are told apart for clusters
TINY = 1e-300


class CategoricalEmission(Emission):
    r"""A distribution over symbols for each state.

    .. math:: b_j(x) = p_{j x}

    Parameters
    ----------
    table : ndarray of shape (n_states, n_symbols)
    vocabulary : ndarray of shape (n_symbols,), default=None
        The symbols, sorted: text or numbers; None is 0, 1, 2 and so on. Among the options of a
        family to train, symbols that may be besides those in the training values.
    **options
        ``emissionprob_prior=1``, the concentration of the Dirichlet prior, at least 1;
        ``unknown="error"`` refuses symbols outside of the vocabulary, "ignore" gives them the
        factor 1.
    """

    family = "categorical"
    symbols = True
    probabilities = True
    options = MappingProxyType({"emissionprob_prior": 1.0, "unknown": "error", "vocabulary": None})

    def __init__(self, table: Array, vocabulary: Array | None = None, **options: Any) -> None:
        self.settings = merged_options(type(self), {**options, "vocabulary": vocabulary})
        check_option("unknown", self.settings["unknown"], ("error", "ignore"))
        if self.settings["emissionprob_prior"] < 1:
            raise ValueError(
                "emissionprob_prior must be at least 1, "
                f"got {self.settings['emissionprob_prior']!r}"
            )
        self.table = np.asarray(table, dtype=np.float64)
        self.vocabulary = (
            np.arange(self.table.shape[1]) if vocabulary is None else np.asarray(vocabulary)
        )
        if len(self.vocabulary) != self.table.shape[1]:
            raise ValueError(
                f"the vocabulary holds {len(self.vocabulary)} symbols, "
                f"the table {self.table.shape[1]} columns"
            )

    @property
    def n_states(self) -> int:
        return len(self.table)

    @property
    def n_parameters(self) -> int:
        return len(self.table) * (self.table.shape[1] - 1)

    @property
    def params(self) -> dict[str, Array]:
        return {"table": self.table, "vocabulary": self.vocabulary}

    def prepare(self, stream: Stream) -> Array:
        """Return the code of every step's symbol, -1 where there is none."""
        values = _one_column(stream.values)
        codes = np.full(len(values), -1, np.int64)
        shown = np.flatnonzero(stream.present)
        if not len(shown):
            return codes
        kinds, inverse = np.unique(values[shown], return_inverse=True)
        places = np.searchsorted(self.vocabulary, kinds)
        places = np.minimum(places, len(self.vocabulary) - 1)
        known = np.asarray(self.vocabulary[places] == kinds, dtype=bool)
        if not known.all() and self.settings["unknown"] == "error":
            raise ValueError(
                f"symbols {listed(kinds[~known])} were not seen in training, which had "
                f"{listed(self.vocabulary)}; unknown='ignore' gives them the factor 1"
            )
        codes[shown] = np.where(known, places, -1)[inverse.ravel()]
        return codes

    def scores(self, prepared: Array, n_threads: int = 1) -> Array:
        with np.errstate(divide="ignore"):
            logs = np.log(self.table.T)
        return np.vstack([logs, np.zeros(self.n_states)])[prepared]

    def statistics(self, prepared: Array, weights: Array, n_threads: int = 1) -> Array:
        """Return the weight of every symbol in every state, (n_symbols, n_states)."""
        shape = (len(self.vocabulary), self.n_states)
        count = n_groups(len(prepared), shape[0] * shape[1])
        sums = np.zeros((count, *shape))

        def work(i: int, steps: slice) -> None:
            if JIT:
                add_symbol_weights(prepared[steps], weights[steps], sums[i])
            else:
                known = prepared[steps] >= 0
                np.add.at(sums[i], prepared[steps][known], weights[steps][known])

        grouped(len(prepared), count, work, n_threads)
        return sums.sum(axis=0)

    def maximized(self, statistics: Array) -> CategoricalEmission:
        counts = statistics.T + (self.settings["emissionprob_prior"] - 1)
        sums = counts.sum(axis=1, keepdims=True)
        table = np.where(sums > 0, counts / np.where(sums > 0, sums, 1.0), self.table)
        return type(self)(table, **self.settings)

    def log_prior(self) -> float:
        excess = self.settings["emissionprob_prior"] - 1
        return excess * float(np.log(self.table).sum()) if excess else 0.0

    def sample(self, states: Array, rng: np.random.Generator) -> Array:
        ends = np.cumsum(self.table, axis=1)
        draws = rng.random(len(states)) * ends[states, -1]
        codes = np.minimum((ends[states] <= draws[:, None]).sum(axis=1), self.table.shape[1] - 1)
        return self.vocabulary[codes][:, None]

    @classmethod
    def initial(
        cls, values: Array, weights: Array, n_states: int, rng: np.random.Generator, **options: Any
    ) -> CategoricalEmission:
        settings = merged_options(cls, options)
        shown = np.asarray(weights.any(axis=1))
        vocabulary = _symbols(_one_column(values)[shown])
        if settings["vocabulary"] is not None:
            vocabulary = np.union1d(vocabulary, _symbols(np.asarray(settings["vocabulary"])))
        if not len(vocabulary):
            raise ValueError("categorical emissions need at least one symbol, and there is none")
        size = len(vocabulary)
        settings["vocabulary"] = vocabulary
        start = cls(np.full((n_states, size), 1 / size), **settings)
        counts = start.statistics(start.prepare(Stream(values, shown)), weights)
        whole = cls(counts.sum(axis=1)[None] / max(counts.sum(), TINY), vocabulary).table
        table = (1 - NOISE) * start.maximized(counts).table
        table += NOISE * (whole + 1 / size) * (0.5 + rng.random((n_states, size)))
        return cls(table / table.sum(axis=1, keepdims=True), **settings)

    @classmethod
    def check(cls, stream: Stream) -> None:
        _symbols(_one_column(stream.values)[stream.present])

    @classmethod
    def embed(cls, values: Array, weights: Array) -> Array:
        codes = np.zeros(len(values), np.int64)
        shown = weights > 0
        kinds, inverse = np.unique(_one_column(values)[shown], return_inverse=True)
        codes[shown] = inverse.ravel()
        if len(kinds) <= COLUMNS:
            columns = np.eye(max(len(kinds), 1))[codes]
        else:  # as many directions, the same in every run
            columns = np.random.default_rng(0).standard_normal((len(kinds), COLUMNS))[codes]
        return standardized(columns, weights)


def _one_column(values: Any) -> Array:
    values = np.asarray(values)
    if values.ndim == 2 and values.shape[1] == 1:
        return values[:, 0]
    if values.ndim == 1:
        return values
    raise ValueError(
        f"categorical emissions need one symbol for each step, got values of shape {values.shape}"
    )


def _symbols(values: Array) -> Array:
    """Return the different symbols, sorted."""
    try:
        return np.unique(values)
    except TypeError as error:
        raise TypeError(f"symbols must be all text or all numbers: {error}") from None


class CountStatistics(NamedTuple):
    """Weighted sums of counts by state."""

    weights: Array  # shape: (n_states,)
    sums: Array  # shape: (n_states, d)


class PoissonEmission(Emission):
    r"""Independent Poisson counts for each state.

    .. math:: b_j(x) = \prod_i \lambda_{ji}^{x_i} e^{-\lambda_{ji}} / x_i!

    Parameters
    ----------
    rates : ndarray of shape (n_states, d)
    floor : ndarray of shape (d,), default=None
        Rates do not fall below it in re-estimation; None is ``min_rate`` times 1.
    **options
        ``min_rate=1e-3``: the floor, as a share of each column's mean (a column of zeros counts as
        one of mean 1). ``lambdas_prior=0, lambdas_weight=0``: counts that the prior adds to the
        sum, and steps that it adds to their number.
    """

    family = "poisson"
    counts = True
    probabilities = True
    options = MappingProxyType({"min_rate": 1e-3, "lambdas_prior": 0.0, "lambdas_weight": 0.0})

    def __init__(self, rates: Array, *, floor: Array | None = None, **options: Any) -> None:
        self.settings = merged_options(type(self), options)
        if not (0 < self.settings["min_rate"] < np.inf):
            raise ValueError(f"min_rate must be above 0, got {self.settings['min_rate']!r}")
        for name in ("lambdas_prior", "lambdas_weight"):
            if not (0 <= self.settings[name] < np.inf):
                raise ValueError(f"{name} must be 0 or more, got {self.settings[name]!r}")
        self.rates = np.asarray(rates, dtype=np.float64)
        width = self.rates.shape[1]
        self.floor = np.full(width, self.settings["min_rate"]) if floor is None else floor

    @property
    def n_states(self) -> int:
        return len(self.rates)

    @property
    def n_parameters(self) -> int:
        return self.rates.size

    @property
    def params(self) -> dict[str, Array]:
        return {"rates": self.rates}

    def prepare(self, stream: Stream) -> tuple[Array, Array]:
        """Return the counts, and the sum of log x! of every step."""
        values = _counts(stream)
        if values.shape[1] != self.rates.shape[1]:
            raise ValueError(
                f"the emission is of {self.rates.shape[1]} columns, "
                f"the values have {values.shape[1]}"
            )
        return values, gammaln(values + 1).sum(axis=1)

    def scores(self, prepared: tuple[Array, Array], n_threads: int = 1) -> Array:
        values, base = prepared
        out = np.empty((len(values), self.n_states))
        logs = np.ascontiguousarray(np.log(np.maximum(self.rates, TINY)).T)
        sums = self.rates.sum(axis=1)

        def work(_: int, steps: slice) -> None:
            np.matmul(values[steps], logs, out=out[steps])
            out[steps] -= sums
            out[steps] -= base[steps, None]

        with single_blas_thread:
            grouped(len(values), n_groups(len(values)), work, n_threads)
        return out

    def statistics(
        self, prepared: tuple[Array, Array], weights: Array, n_threads: int = 1
    ) -> CountStatistics:
        values, _ = prepared
        count = n_groups(len(values), self.rates.size)
        totals = np.zeros((count, self.n_states))
        sums = np.zeros((count, *self.rates.shape))

        def work(i: int, steps: slice) -> None:
            totals[i] = weights[steps].sum(axis=0)
            sums[i] = weights[steps].T @ values[steps]

        with single_blas_thread:
            grouped(len(values), count, work, n_threads)
        return CountStatistics(totals.sum(axis=0), sums.sum(axis=0))

    def maximized(self, statistics: CountStatistics) -> PoissonEmission:
        mass = statistics.weights + self.settings["lambdas_weight"]
        seen = mass > 0
        sums = statistics.sums + self.settings["lambdas_prior"]
        rates = np.maximum(sums / np.where(seen, mass, 1.0)[:, None], self.floor)
        rates = np.where(seen[:, None], rates, self.rates)
        return type(self)(rates, floor=self.floor, **self.settings)

    def log_prior(self) -> float:
        prior, weight = self.settings["lambdas_prior"], self.settings["lambdas_weight"]
        if not (prior or weight):
            return 0.0
        return float(prior * np.log(self.rates).sum() - weight * self.rates.sum())

    def sample(self, states: Array, rng: np.random.Generator) -> Array:
        return rng.poisson(self.rates[states]).astype(np.float64)

    @classmethod
    def initial(
        cls, values: Array, weights: Array, n_states: int, rng: np.random.Generator, **options: Any
    ) -> PoissonEmission:
        settings = merged_options(cls, options)
        totals = weights.sum(axis=1)
        stream = Stream(values, totals > 0)
        means, _ = weighted_moments(_counts(stream), totals)
        means = np.where(means > 0, means, 1.0)
        floor = settings["min_rate"] * means
        start = cls(np.tile(means, (n_states, 1)), floor=floor, **settings)
        return start.maximized(start.statistics(start.prepare(stream), weights))

    @classmethod
    def check(cls, stream: Stream) -> None:
        _counts(stream)

    @classmethod
    def embed(cls, values: Array, weights: Array) -> Array:
        return standardized(np.sqrt(_counts(Stream(values, weights > 0))), weights)


def _counts(stream: Stream) -> Array:
    """Return the counts, with 0 where a step is absent; what is no count is refused."""
    values = real_values(stream, "poisson")
    if not stream.present.all():
        values = np.where(stream.present[:, None], values, 0.0)
    bad = np.argwhere((values < 0) | (values != np.floor(values)))
    if len(bad):
        step, column = bad[0]
        raise ValueError(
            "poisson emissions need counts, whole numbers from 0 on; "
            f"column {column} at step {step} holds {values[step, column]}"
        )
    return values
