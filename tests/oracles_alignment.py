"""Kernel alignment, slow and obviously right: centring by projections, weights by enumeration."""

from __future__ import annotations

import itertools
import warnings

import numpy as np


def terms(Ks, features, weights):
    """Return <K_k, K_l>, <K_k, T> and ||T|| of matrices that are centred by a projection."""
    n = len(weights)
    H = np.eye(n) - np.outer(np.ones(n), weights) / weights.sum()
    centred = [H @ np.asarray(K, dtype=float) @ H.T for K in Ks]
    target = H @ features @ features.T @ H.T
    pairs = np.outer(weights, weights)
    products = np.array([[np.sum(pairs * K * L) for L in centred] for K in centred])
    targets = np.array([np.sum(pairs * K * target) for K in centred])
    return products, targets, np.sqrt(np.sum(pairs * target**2))


def objective(M, a, v):
    return float(v @ M @ v - 2 * v @ a)


def alignment(M, a, v):
    return float(v @ a / np.sqrt(v @ M @ v))


def optimum(M, a, on_simplex):
    """Return the best v of all sets of kernels that may be in, by their stationary points."""
    best, best_value = np.zeros(len(a)), np.inf if on_simplex else 0.0
    for size in range(1, len(a) + 1):
        for chosen in map(list, itertools.combinations(range(len(a)), size)):
            system = np.zeros((size + 1, size + 1))
            system[:size, :size] = M[np.ix_(chosen, chosen)]
            system[size, :size] = system[:size, size] = 1.0
            right = np.append(a[chosen], 1.0)
            if not on_simplex:
                system, right = system[:size, :size], right[:size]
            v = np.zeros(len(a))
            v[chosen] = np.linalg.lstsq(system, right, rcond=None)[0][:size]
            if v.min() >= 0 and objective(M, a, v) < best_value:
                best, best_value = v, objective(M, a, v)
    return best


def cone_programme(root, a, on_simplex):
    """Return v by a general conic solver, for M = root' root."""
    import cvxpy as cp

    v = cp.Variable(root.shape[1], nonneg=True)
    constraints = [cp.sum(v) == 1] if on_simplex else []
    cost = cp.sum_squares(root @ v) - 2 * (a @ v)
    programme = cp.Problem(cp.Minimize(cost), constraints)
    with warnings.catch_warnings():  # of a tolerance that is not always reached
        warnings.simplefilter("ignore", UserWarning)
        programme.solve(solver="CLARABEL", tol_gap_abs=1e-11, tol_gap_rel=1e-11, tol_feas=1e-11)
    return v.value
