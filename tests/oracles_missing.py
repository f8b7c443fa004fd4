"""Slow twins of the package's missing-data functions: one row at a time, from the formulas."""

import numpy as np


def conditional_mean(mean, covariance, row):
    """Fill the NaN of one row by ``mu_y + S_yx S_xx^-1 (x - mu_x)``."""
    row = row.copy()
    lost = np.isnan(row)
    inner = covariance[np.ix_(~lost, ~lost)]
    across = covariance[np.ix_(lost, ~lost)]
    row[lost] = mean[lost] + across @ np.linalg.solve(inner, row[~lost] - mean[~lost])
    return row


def conditional_covariance(covariance, lost):
    inner = covariance[np.ix_(~lost, ~lost)]
    across = covariance[np.ix_(lost, ~lost)]
    return covariance[np.ix_(lost, lost)] - across @ np.linalg.solve(inner, across.T)


def expectation_maximisation(rows, mean, covariance, n_iter):
    """Update the moments of a Gaussian, row by row."""
    for _ in range(n_iter):
        filled = np.array([conditional_mean(mean, covariance, row) for row in rows])
        new_mean = filled.mean(axis=0)
        total = np.zeros_like(covariance)
        for row, full in zip(rows, filled, strict=True):
            total += np.outer(full - new_mean, full - new_mean)
            lost = np.isnan(row)
            total[np.ix_(lost, lost)] += conditional_covariance(covariance, lost)
        mean, covariance = new_mean, total / len(rows)
    return mean, covariance


def observed_log_likelihood(rows, mean, covariance):
    """Sum the Gaussian log-densities of what each row has."""
    total = 0.0
    for row in rows:
        seen = ~np.isnan(row)
        inner = covariance[np.ix_(seen, seen)]
        off = row[seen] - mean[seen]
        _, logdet = np.linalg.slogdet(2 * np.pi * inner)
        total -= 0.5 * (logdet + off @ np.linalg.solve(inner, off))
    return total


def nearest_mean(train, row, blocks, n_neighbors):
    """Fill a row's missing blocks by the mean of its nearest neighbours, block by block.

    ``blocks`` are lists of columns; columns are on one scale already, and a block's squared
    differences are averaged over its columns. The distance over the blocks that both have is
    scaled up to all columns that the row has.
    """
    present = [own for own in blocks if not np.isnan(row[own]).all()]
    result = row.copy()
    for own in blocks:
        if not np.isnan(row[own]).all():
            continue
        distances = []
        for place, other in enumerate(train):
            shared = [block for block in present if not np.isnan(other[block]).any()]
            if np.isnan(other[own]).all() or not shared:
                continue
            total = sum(np.mean((row[block] - other[block]) ** 2) for block in shared)
            width = sum(map(len, present)) / sum(map(len, shared))
            distances.append((total * width, place))
        near = [place for _, place in sorted(distances)[:n_neighbors]]
        result[own] = train[near][:, own].mean(axis=0)
    return result


def best_sub_pattern(pattern, fitted):
    """Return the fitted set that lies within the pattern and has most members; None if none."""
    within = [own for own in fitted if set(own) <= set(pattern)]
    return max(within, key=len, default=None)
