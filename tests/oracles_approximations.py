"""Low-rank kernels as their docstrings define them, by whole matrices and loops."""

from __future__ import annotations

import math

import numpy as np


def nystroem_gram(K_xz, K_zz, K_zy):
    """K_xz K_zz^+ K_zy with the pseudoinverse of numpy."""
    return K_xz @ np.linalg.pinv(K_zz, hermitian=True) @ K_zy


def leverage_scores(K, ridge):
    """The diagonal of K (K + ridge I)^-1."""
    return np.diagonal(K @ np.linalg.inv(K + ridge * np.eye(len(K))))


def sketched_leverage_scores(K, ridge, sketch, weights):
    """The diagonal of (K - K S (S' K S + ridge I)^-1 S' K) / ridge, with S written out."""
    S = np.zeros((len(K), len(sketch)))
    for column, (row, weight) in enumerate(zip(sketch, weights, strict=True)):
        S[row, column] = weight
    inner = np.linalg.inv(S.T @ K @ S + ridge * np.eye(len(sketch)))
    return np.diagonal(K - K @ S @ inner @ S.T @ K) / ridge


def masked_sum(grams, betas, rows, columns):
    """sum_m beta_m z_im z_jm K_m(i, j) / sqrt(r_i r_j) from masks of shape (n_samples, M)."""
    M = len(grams)
    total = np.zeros((len(rows), len(columns)))
    for i, z in enumerate(rows):
        for j, w in enumerate(columns):
            shares = sum(z) / M * sum(w) / M
            for m in range(M):
                if z[m] and w[m]:
                    total[i, j] += betas[m] * grams[m][i, j] / math.sqrt(shares)
    return total


def fourier_gram(frequencies, phases, n_components, X, Y):
    """The inner products of features sqrt(2 / D) cos(w'x + b), then of the sines, one by one."""
    total = np.zeros((len(X), len(Y)))
    for i, x in enumerate(X):
        for j, y in enumerate(Y):
            for k, (w, b) in enumerate(zip(frequencies.T, phases, strict=True)):
                u, v = w @ x + b, w @ y + b
                total[i, j] += math.cos(u) * math.cos(v)
                if k < n_components - len(phases):
                    total[i, j] += math.sin(u) * math.sin(v)
    return 2 * total / n_components


def within_cluster_sum(X, centres):
    """The sum of squared distances to the nearest centre."""
    return sum(min(float((x - c) @ (x - c)) for c in centres) for x in X)
