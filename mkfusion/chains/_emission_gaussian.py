"""Gaussian emissions, alone and mixed, with the covariance types that hmmlearn has."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import numpy as np
from scipy import linalg
from scipy.special import logsumexp

from .._validation import check_option
from ._emission_base import Emission, Stream, merged_options, real_values, weighted_moments
from ._emission_clusters import cluster
from ._emission_moments import (
    COVARIANCE_TYPES,
    GaussianPrior,
    GaussianStatistics,
    as_diagonal,
    gaussian_log_prior,
    gaussian_scores,
    gaussian_statistics,
    maximized,
    n_covariances,
)

__all__ = ["COVARIANCE_TYPES", "GMMEmission", "GaussianEmission", "GaussianStatistics"]

Array = np.ndarray


def _draw(mean: Array, covar: Array, rng: np.random.Generator) -> Array:
    root = linalg.cholesky(covar, lower=True)
    return mean + root @ rng.standard_normal(len(mean))


class GaussianEmission(Emission):
    r"""A Gaussian for each state.

    .. math:: b_j(x) = N(x; \mu_j, \Sigma_j)

    Parameters
    ----------
    means : ndarray of shape (n_states, d)
    covars : ndarray
        (n_states,) if spherical, (n_states, d) if diagonal, (n_states, d, d) if full and (d, d) if
        tied: one for all states.
    covariance_type : {"spherical", "diag", "full", "tied"}
    floor : ndarray of shape (d,), default=None
        Variances do not fall below it in re-estimation: the eigenvalues of a full covariance, in
        units of the floor, stay 1 or more. None is ``min_covar`` times 1.
    **options
        ``min_covar=1e-3``: the floor, as a share of each column's variance (a constant column
        counts as one of variance 1). ``means_prior=0, means_weight=0``: the mean of the prior of
        means, and the number of steps that it counts for. ``covars_prior=0, covars_weight=0``: the
        prior adds ``covars_prior`` to the scatter in every dimension, and its weight above 1
        (above d for full and tied ones) counts as steps.
    """

    family = "gaussian"
    options = MappingProxyType(
        {
            "covariance_type": "diag",
            "min_covar": 1e-3,
            "means_prior": 0.0,
            "means_weight": 0.0,
            "covars_prior": 0.0,
            "covars_weight": 0.0,
        }
    )

    def __init__(
        self,
        means: Array,
        covars: Array,
        covariance_type: str = "diag",
        *,
        floor: Array | None = None,
        **options: Any,
    ) -> None:
        self.settings = merged_options(type(self), {"covariance_type": covariance_type, **options})
        _check_settings(self.settings)
        self.means = np.asarray(means, dtype=np.float64)
        self.covars = np.asarray(covars, dtype=np.float64)
        self.covariance_type = covariance_type
        width = self.means.shape[-1]
        self.floor = np.full(width, self.settings["min_covar"]) if floor is None else floor
        self._check_shape()

    def _check_shape(self) -> None:
        n_states, width = self.means.shape
        _refuse_shape(self.covars, self.covariance_type, (n_states,), (), width)

    @property
    def n_states(self) -> int:
        return len(self.means)

    @property
    def n_parameters(self) -> int:
        n_states, width = self.means.shape
        return self.means.size + n_covariances(self.covariance_type, n_states, 1, width)

    @property
    def params(self) -> dict[str, Array]:
        return {"means": self.means, "covars": self.covars}

    @property
    def _prior(self) -> GaussianPrior:
        return _prior_of(self.settings, self.means.shape[-1])

    def prepare(self, stream: Stream) -> Array:
        values = real_values(stream, self.family)
        _refuse_width(values, self.means.shape[-1])
        return values

    def scores(self, prepared: Array, n_threads: int = 1) -> Array:
        kind = self.covariance_type
        return gaussian_scores(prepared, self.means, self.covars, kind, n_threads)

    def statistics(self, prepared: Array, weights: Array, n_threads: int = 1) -> Any:
        kind = self.covariance_type
        return gaussian_statistics(prepared, weights, self.means, kind, n_threads)

    def maximized(self, statistics: GaussianStatistics) -> GaussianEmission:
        means, covars = maximized(
            statistics, self.means, self.covars, self.covariance_type, self._prior, self.floor
        )
        if self.covariance_type == "tied":
            covars = covars[0]
        return type(self)(means, covars, floor=self.floor, **self.settings)

    def log_prior(self) -> float:
        return gaussian_log_prior(self.means, self.covars, self.covariance_type, self._prior)

    def sample(self, states: Array, rng: np.random.Generator) -> Array:
        matrices = _matrices(self.covars, self.covariance_type, *self.means.shape)
        drawn = [_draw(self.means[k], matrices[k], rng) for k in states]
        return np.array(drawn).reshape(len(states), self.means.shape[1])

    @classmethod
    def initial(
        cls, values: Array, weights: Array, n_states: int, rng: np.random.Generator, **options: Any
    ) -> GaussianEmission:
        settings = merged_options(cls, options)
        _check_settings(settings)
        values, mean, variances, floor = _neutral(cls, values, weights, settings)
        kind = settings["covariance_type"]
        covars = _spread(variances, kind, (n_states,))
        start = cls(np.tile(mean, (n_states, 1)), covars, floor=floor, **settings)
        return start.maximized(start.statistics(values, weights))


class GMMEmission(GaussianEmission):
    r"""A mixture of Gaussians for each state.

    .. math:: b_j(x) = \sum_k c_{jk} N(x; \mu_{jk}, \Sigma_{jk})

    Parameters
    ----------
    weights : ndarray of shape (n_states, n_mix)
    means : ndarray of shape (n_states, n_mix, d)
    covars : ndarray
        (n_states, n_mix) if spherical, (n_states, n_mix, d) if diagonal, (n_states, n_mix, d, d)
        if full and (n_states, d, d) if tied: one for each state.
    covariance_type : {"spherical", "diag", "full", "tied"}
    floor : ndarray of shape (d,), default=None
    **options
        Those of the Gaussian, ``n_mix=1``, and ``weights_prior=1``, the concentration of the
        Dirichlet prior of the mixtures' weights, at least 1.
    """

    family = "gmm"
    options = MappingProxyType({"n_mix": 2, **GaussianEmission.options, "weights_prior": 1.0})

    def __init__(
        self,
        weights: Array,
        means: Array,
        covars: Array,
        covariance_type: str = "diag",
        *,
        floor: Array | None = None,
        **options: Any,
    ) -> None:
        self.weights = np.asarray(weights, dtype=np.float64)
        options = {**options, "n_mix": self.weights.shape[1]}
        super().__init__(means, covars, covariance_type, floor=floor, **options)

    def _check_shape(self) -> None:
        width = self.means.shape[-1]
        shape = self.weights.shape
        if self.means.shape != (*shape, width):
            raise ValueError(
                f"means must have shape {(*shape, width)}, for weights of shape {shape}; "
                f"got {self.means.shape}"
            )
        _refuse_shape(self.covars, self.covariance_type, shape, shape[:1], width)

    @property
    def n_states(self) -> int:
        return len(self.weights)

    @property
    def n_parameters(self) -> int:
        n_states, n_mix, width = self.means.shape
        covars = n_covariances(self.covariance_type, n_states * n_mix, n_states, width)
        return self.means.size + covars + n_states * (n_mix - 1)

    @property
    def params(self) -> dict[str, Array]:
        return {"weights": self.weights, "means": self.means, "covars": self.covars}

    def _flat(self) -> tuple[Array, Array, str]:
        """Return means, covariances and their type with a row for each component."""
        n_states, n_mix, width = self.means.shape
        means = self.means.reshape(-1, width)
        if self.covariance_type == "tied":
            return means, np.repeat(self.covars, n_mix, axis=0), "full"
        return (
            means,
            self.covars.reshape(n_states * n_mix, *self.covars.shape[2:]),
            (self.covariance_type),
        )

    def _joint(self, prepared: Array, n_threads: int) -> Array:
        """Return log c + log N for every component, (n_steps, n_states, n_mix)."""
        joint = gaussian_scores(prepared, *self._flat(), n_threads)
        with np.errstate(divide="ignore"):
            joint += np.log(self.weights).ravel()
        return joint.reshape(-1, *self.weights.shape)

    def scores(self, prepared: Array, n_threads: int = 1) -> Array:
        return logsumexp(self._joint(prepared, n_threads), axis=2)

    def statistics(self, prepared: Array, weights: Array, n_threads: int = 1) -> Any:
        joint = self._joint(prepared, n_threads)
        top = joint.max(axis=2, keepdims=True)
        shares = np.exp(joint - top)
        shares /= shares.sum(axis=2, keepdims=True)
        shares *= weights[:, :, None]
        flat = np.ascontiguousarray(shares.reshape(len(shares), -1))
        means, _, kind = self._flat()
        return gaussian_statistics(prepared, flat, means, kind, n_threads)

    def maximized(self, statistics: GaussianStatistics) -> GMMEmission:
        n_states = self.n_states
        width = self.means.shape[-1]
        flat_covars = self.covars if self.covariance_type == "tied" else self._flat()[1]
        means, covars = maximized(
            statistics,
            self.means.reshape(-1, width),
            flat_covars,
            self.covariance_type,
            self._prior,
            self.floor,
            n_states,
        )
        counts = statistics.weights.reshape(self.weights.shape)
        counts = counts + (self.settings["weights_prior"] - 1)
        sums = counts.sum(axis=1, keepdims=True)
        weights = np.where(sums > 0, counts / np.where(sums > 0, sums, 1.0), self.weights)
        means = means.reshape(self.means.shape)
        covars = covars.reshape(self.covars.shape)
        return type(self)(weights, means, covars, floor=self.floor, **self.settings)

    def log_prior(self) -> float:
        width = self.means.shape[-1]
        flat_covars = self.covars if self.covariance_type == "tied" else self._flat()[1]
        means = self.means.reshape(-1, width)
        value = gaussian_log_prior(means, flat_covars, self.covariance_type, self._prior)
        if self.settings["weights_prior"] != 1:
            value += (self.settings["weights_prior"] - 1) * float(np.log(self.weights).sum())
        return value

    def sample(self, states: Array, rng: np.random.Generator) -> Array:
        n_mix, width = self.means.shape[1:]
        means, covars, kind = self._flat()
        matrices = _matrices(covars, kind, *means.shape)
        drawn = np.empty((len(states), width))
        for t, state in enumerate(states):
            k = state * n_mix + rng.choice(n_mix, p=self.weights[state])
            drawn[t] = _draw(means[k], matrices[k], rng)
        return drawn

    @classmethod
    def initial(
        cls, values: Array, weights: Array, n_states: int, rng: np.random.Generator, **options: Any
    ) -> GMMEmission:
        settings = merged_options(cls, options)
        _check_settings(settings)
        n_mix = settings["n_mix"]
        values, mean, variances, floor = _neutral(cls, values, weights, settings)
        flat = np.zeros((len(values), n_states, n_mix))
        looks = cls.embed(values, weights.sum(axis=1))
        for k in range(n_states):
            labels = cluster(looks, weights[:, k], n_mix, rng)
            flat[np.arange(len(values)), k, labels] = weights[:, k]
        kind = settings["covariance_type"]
        groups = (n_states,) if kind == "tied" else (n_states, n_mix)
        start = cls(
            np.full((n_states, n_mix), 1 / n_mix),
            np.tile(mean, (n_states, n_mix, 1)),
            _spread(variances, "full" if kind == "tied" else kind, groups),
            floor=floor,
            **settings,
        )
        means, _, flat_kind = start._flat()
        flat = flat.reshape(len(values), -1)
        return start.maximized(gaussian_statistics(values, flat, means, flat_kind, 1))


def _neutral(
    cls: type[Emission], values: Array, weights: Array, settings: dict[str, Any]
) -> tuple[Array, Array, Array, Array]:
    """Return values, and the means, variances and floor of all steps together."""
    totals = weights.sum(axis=1)
    values = real_values(Stream(values, totals > 0), cls.family)
    mean, variances = weighted_moments(values, totals)
    variances = np.where(variances > 0, variances, 1.0)
    return values, mean, variances, settings["min_covar"] * variances


def _spread(variances: Array, kind: str, groups: tuple[int, ...]) -> Array:
    if kind == "spherical":
        return np.full(groups, variances.mean())
    if kind == "diag":
        return np.tile(variances, (*groups, 1))
    matrix = np.diag(variances)
    return matrix if kind == "tied" else np.tile(matrix, (*groups, 1, 1))


def _matrices(covars: Array, kind: str, n_components: int, width: int) -> Array:
    """Return the covariances as matrices, one for each component."""
    if kind == "tied":
        return np.broadcast_to(covars, (n_components, width, width))
    if kind == "full":
        return covars
    return np.array([np.diag(row) for row in as_diagonal(covars, (n_components, width))])


def _prior_of(settings: dict[str, Any], width: int) -> GaussianPrior:
    free = width if settings["covariance_type"] in ("full", "tied") else 1
    return GaussianPrior(
        settings["means_prior"],
        settings["means_weight"],
        settings["covars_prior"],
        max(settings["covars_weight"] - free, 0.0),
    )


def _check_settings(settings: dict[str, Any]) -> None:
    check_option("covariance_type", settings["covariance_type"], COVARIANCE_TYPES)
    if not (0 < settings["min_covar"] < np.inf):
        raise ValueError(f"min_covar must be above 0, got {settings['min_covar']!r}")
    for name in ("means_weight", "covars_prior", "covars_weight"):
        if not (0 <= settings[name] < np.inf):
            raise ValueError(f"{name} must be 0 or more, got {settings[name]!r}")
    if settings.get("n_mix", 1) < 1:
        raise ValueError(f"n_mix must be at least 1, got {settings['n_mix']!r}")
    if settings.get("weights_prior", 1) < 1:
        raise ValueError(f"weights_prior must be at least 1, got {settings['weights_prior']!r}")


def _refuse_shape(
    covars: Array, kind: str, each: tuple[int, ...], tied: tuple[int, ...], width: int
) -> None:
    right = {
        "spherical": each,
        "diag": (*each, width),
        "full": (*each, width, width),
        "tied": (*tied, width, width),
    }[kind]
    if covars.shape != right:
        raise ValueError(f"{kind} covars must have shape {right}, got {covars.shape}")


def _refuse_width(values: Array, width: int) -> None:
    if values.shape[1] != width:
        raise ValueError(f"the emission is of {width} columns, the values have {values.shape[1]}")
