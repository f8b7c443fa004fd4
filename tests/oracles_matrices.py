"""Operations on Gram matrices, slow and obviously right: loops, and explicit feature vectors."""

from __future__ import annotations

import math

import numpy as np

# On features: what the operations mean. Each takes training features and any others, and returns
# the others' features in the new space.


def centered_features(train, others, weights):
    mean = sum(w * x for w, x in zip(weights, train, strict=True)) / sum(weights)
    return others - mean


def unit_features(train, others, weights):
    return np.array([x / math.hypot(*x) if x.any() else x for x in others]).reshape(others.shape)


def trace_features(train, others, weights):
    """Divide by the root of the mean squared length."""
    squares = sum(w * float(x @ x) for w, x in zip(weights, train, strict=True))
    return others / math.sqrt(squares / sum(weights)) if squares else others


def variance_features(train, others, weights):
    """Divide by the root of the mean squared distance to the mean."""
    return others / math.sqrt(variance(train, weights) or math.inf)


def variance(train, weights):
    apart = centered_features(train, train, weights)
    squares = sum(w * float(x @ x) for w, x in zip(weights, apart, strict=True))
    return squares / sum(weights)


FEATURES = {
    "center": centered_features,
    "cosine": unit_features,
    "spherical": unit_features,
    "trace": trace_features,
    "variance": variance_features,
}


def steps(train, operations, weights):
    """Return the training features before every operation, and after the last."""
    features = [train]
    for name in operations:
        features.append(FEATURES[name](features[-1], features[-1], weights))
    return features


def transformed_features(train, others, operations, weights):
    """Return other features after the operations, one after another."""
    for before, name in zip(steps(train, operations, weights), operations, strict=False):
        others = FEATURES[name](before, others, weights)
    return others


# On matrices: the formulas, term by term.


def centered(K, K_train, weights):
    """Return K_ij - m_i - m_j + m by loops; rows of K may be test samples."""
    n, total = len(K_train), sum(weights)
    column = [sum(weights[k] * K_train[k][j] for k in range(n)) / total for j in range(n)]
    mean = sum(weights[j] * column[j] for j in range(n)) / total
    result = np.zeros((len(K), n))
    for i in range(len(K)):
        row = sum(weights[k] * K[i][k] for k in range(n)) / total
        for j in range(n):
            result[i, j] = K[i][j] - row - column[j] + mean
    return result


def alignment(K, L, weights, centering):
    if centering:
        K, L = centered(K, K, weights), centered(L, L, weights)

    def product(A, B):
        n = len(A)
        return sum(weights[i] * weights[j] * A[i][j] * B[i][j] for i in range(n) for j in range(n))

    norms = math.sqrt(product(K, K) * product(L, L))
    return product(K, L) / norms if norms else 0.0


def ideal_classes(y):
    classes = sorted(set(y))
    n = len(y)
    result = np.ones((n, n))
    for i in range(n):
        for j in range(n):
            if y[i] != y[j]:
                result[i, j] = -1 / (len(classes) - 1)
    return result


def ideal_numbers(y, weights):
    n = len(y)
    mean = sum(weights[i] * y[i] for i in range(n)) / sum(weights)
    return np.array([[np.dot(y[i] - mean, y[j] - mean) for j in range(n)] for i in range(n)])


def nearest_psd(K):
    """Return (K + H) / 2 with the polar factor H = (K'K)^(1/2): Higham's theorem 2.1."""
    U, singular, _ = np.linalg.svd(K)
    return (K + U @ np.diag(singular) @ U.T) / 2
