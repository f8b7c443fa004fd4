"""Hidden Markov models the slow way: densities of scipy.stats, EM by listing every path."""

from itertools import pairwise

import numpy as np
from oracles_chain import enumerate_chain
from scipy import stats


def gaussian_log_density(x, means, covars, kind):
    """Return log N(x; mean, covariance) of one row under each component."""
    return np.array(
        [
            stats.multivariate_normal(mean, covariance(covars, kind, k, len(x))).logpdf(x)
            for k, mean in enumerate(means)
        ]
    )


def covariance(covars, kind, k, width):
    return {
        "spherical": lambda: covars[k] * np.eye(width),
        "diag": lambda: np.diag(covars[k]),
        "full": lambda: covars[k],
        "tied": lambda: covars,
    }[kind]()


def mixture_log_density(x, weights, means, covars, kind):
    """Return log sum_k c_k N(x; mean_k, covariance_k) of one row under each state."""
    logs = []
    for j in range(len(weights)):
        # A tied covariance is shared by the components of a state.
        own = covars[j]
        parts = gaussian_log_density(x, means[j], own, kind)
        logs.append(np.log(np.sum(weights[j] * np.exp(parts))))
    return np.array(logs)


def poisson_log_density(x, rates):
    return np.array([stats.poisson(rate).logpmf(x).sum() for rate in rates])


def symbol_log_density(x, table, vocabulary):
    place = list(vocabulary).index(x[0])
    return np.log(table[:, place])


def log_density(emission, values):
    """Return the log densities of all rows under all states."""
    if emission.family == "gaussian":
        rows = [
            gaussian_log_density(x, emission.means, emission.covars, emission.covariance_type)
            for x in values
        ]
    elif emission.family == "gmm":
        rows = [
            mixture_log_density(
                x, emission.weights, emission.means, emission.covars, emission.covariance_type
            )
            for x in values
        ]
    elif emission.family == "poisson":
        rows = [poisson_log_density(x, emission.rates) for x in values]
    else:
        rows = [symbol_log_density(x, emission.table, emission.vocabulary) for x in values]
    return np.array(rows)


def weighted_gaussians(values, weights, kind, groups=1):
    """Return the means and covariances of greatest likelihood, a column of weights for each."""
    n_components, width = weights.shape[1], values.shape[1]
    means = np.array(
        [np.average(values, axis=0, weights=weights[:, k]) for k in range(n_components)]
    )
    scatters = np.zeros((n_components, width, width))
    for k in range(n_components):
        for x, weight in zip(values, weights[:, k], strict=True):
            scatters[k] += weight * np.outer(x - means[k], x - means[k])
    sums = weights.sum(axis=0)
    if kind == "tied":
        size = n_components // groups
        covars = np.array(
            [
                scatters[g * size : (g + 1) * size].sum(axis=0)
                / sums[g * size : (g + 1) * size].sum()
                for g in range(groups)
            ]
        )
        return means, covars
    full = scatters / sums[:, None, None]
    diagonal = np.array([np.diag(matrix) for matrix in full])
    return means, {"full": full, "diag": diagonal, "spherical": diagonal.mean(axis=1)}[kind]


def reestimated(emission, values, weights):
    """Return the parameters of greatest expected log density, by family."""
    if emission.family == "gaussian":
        kind = emission.covariance_type
        means, covars = weighted_gaussians(values, weights, kind)
        return {"means": means, "covars": covars[0] if kind == "tied" else covars}
    if emission.family == "gmm":
        kind = emission.covariance_type
        n_states, n_mix, _ = emission.means.shape
        shares = np.empty((len(values), n_states, n_mix))
        for t, x in enumerate(values):
            for j in range(n_states):
                parts = np.exp(
                    gaussian_log_density(x, emission.means[j], emission.covars[j], kind)
                )
                parts = emission.weights[j] * parts
                shares[t, j] = weights[t, j] * parts / parts.sum()
        flat = shares.reshape(len(values), -1)
        means, covars = weighted_gaussians(values, flat, kind, n_states)
        mixed = shares.sum(axis=0)
        return {
            "weights": mixed / mixed.sum(axis=1, keepdims=True),
            "means": means.reshape(emission.means.shape),
            "covars": covars.reshape(emission.covars.shape),
        }
    if emission.family == "poisson":
        rates = [np.average(values, axis=0, weights=column) for column in weights.T]
        return {"rates": np.array(rates)}
    table = np.zeros((weights.shape[1], len(emission.vocabulary)))
    for x, row in zip(values[:, 0], weights, strict=True):
        table[:, list(emission.vocabulary).index(x)] += row
    return {"table": table / table.sum(axis=1, keepdims=True)}


def log_likelihoods_and_responsibilities(model, streams, offsets, stream_weights, clamped=None):
    """Return log p of each sequence, responsibilities, sums of starts and of pairs."""
    with np.errstate(divide="ignore"):
        start, transition = np.log(model.start), np.log(model.transition)
    unary = np.zeros((offsets[-1], len(start)))
    for emission, stream, weight in zip(model.emissions, streams, stream_weights, strict=True):
        shown = stream.present
        unary[shown] += weight * log_density(emission, stream.values[shown])
    if clamped is not None:
        unary[~clamped] = -np.inf
    found = [enumerate_chain(start, transition, unary[a:b]) for a, b in pairwise(offsets)]
    logs = np.array([own[0] for own in found])
    gamma = [np.asarray(own[1]) for own in found]
    return logs, gamma, [own[2] for own in found]


def em_step(model, streams, offsets, stream_weights, sequence_weights, clamped=None):
    """Return the log-likelihood before, and start, transition, parameters after one iteration."""
    logs, gamma, pairs = log_likelihoods_and_responsibilities(
        model, streams, offsets, stream_weights, clamped
    )
    start = sum(w * own[0] for w, own in zip(sequence_weights, gamma, strict=True))
    counts = sum(w * own for w, own in zip(sequence_weights, pairs, strict=True))
    rows = np.vstack([w * own for w, own in zip(sequence_weights, gamma, strict=True)])
    params = [
        reestimated(emission, stream.values[stream.present], rows[stream.present])
        for emission, stream in zip(model.emissions, streams, strict=True)
    ]
    transition = counts / counts.sum(axis=1, keepdims=True)
    return float(sequence_weights @ logs), start / start.sum(), transition, params
