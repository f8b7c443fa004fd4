"""Support vector machines and kernel ridge regression, slow and obviously right.

All machines are one convex problem in the dual variables, stated to a general solver or solved by
sequential minimal optimisation that looks at every pair in extended precision.
"""

from __future__ import annotations

import cvxpy as cp
import numpy as np


def svm_dual(alpha, K, y):
    """Return 1'alpha - 1/2 (alpha * y)'K(alpha * y), a sum over all pairs of samples."""
    n = len(y)
    pairs = sum(alpha[i] * y[i] * K[i][j] * y[j] * alpha[j] for i in range(n) for j in range(n))
    return sum(alpha) - pairs / 2


def svr_dual(alpha, K, y, epsilon):
    n = len(y)
    pairs = sum(alpha[i] * K[i][j] * alpha[j] for i in range(n) for j in range(n))
    return sum(y[i] * alpha[i] - epsilon * abs(alpha[i]) for i in range(n)) - pairs / 2


def one_class_dual(alpha, K):
    n = len(alpha)
    return -sum(alpha[i] * K[i][j] * alpha[j] for i in range(n) for j in range(n)) / 2


def svm_primal(alpha, bias, K, y, C):
    """Return 1/2 ||w||^2 + sum_i C_i hinge_i of w = sum_i alpha_i y_i phi_i."""
    n = len(y)
    f = [sum(K[i][j] * y[j] * alpha[j] for j in range(n)) for i in range(n)]
    squared_norm = sum(alpha[i] * y[i] * f[i] for i in range(n))
    losses = [C[i] * max(0.0, 1 - y[i] * (f[i] + bias)) for i in range(n)]
    return squared_norm / 2 + sum(losses)


def svr_primal(alpha, bias, K, y, C, epsilon):
    n = len(y)
    f = [sum(K[i][j] * alpha[j] for j in range(n)) for i in range(n)]
    squared_norm = sum(alpha[i] * f[i] for i in range(n))
    losses = [C[i] * max(0.0, abs(y[i] - f[i] - bias) - epsilon) for i in range(n)]
    return squared_norm / 2 + sum(losses)


def one_class_primal(alpha, bias, K, nu, weights):
    n = len(alpha)
    f = [sum(K[i][j] * alpha[j] for j in range(n)) for i in range(n)]
    squared_norm = sum(alpha[i] * f[i] for i in range(n))
    losses = [weights[i] * max(0.0, -(f[i] + bias)) for i in range(n)]
    return squared_norm / 2 + nu * sum(weights) * bias + sum(losses)


def svm_violation(alpha, K, y, C):
    """Return the most that a pair violates the optimality conditions.

    The gradient of the dual is 1 - y_i f_i; y_i times it tells what moving alpha_i along y_i, and
    another against it, would gain.
    """
    n = len(y)
    f = [sum(K[i][j] * y[j] * alpha[j] for j in range(n)) for i in range(n)]
    gains = [y[i] * (1 - y[i] * f[i]) for i in range(n)]
    up = [i for i in range(n) if (alpha[i] < C[i] if y[i] > 0 else alpha[i] > 0)]
    down = [i for i in range(n) if (alpha[i] > 0 if y[i] > 0 else alpha[i] < C[i])]
    return max((gains[i] - gains[j] for i in up for j in down), default=0.0)


def conic(K, target, low, high, epsilon=0.0, total=0.0):
    """Return the optimal beta and objective of the problem of all, by an interior point method."""
    values, vectors = np.linalg.eigh(K)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    beta = cp.Variable(len(K))
    gain = target @ beta - epsilon * cp.norm1(beta) - 0.5 * cp.sum_squares(root.T @ beta)
    problem = cp.Problem(cp.Maximize(gain), [beta >= low, beta <= high, cp.sum(beta) == total])
    problem.solve(solver=cp.CLARABEL, tol_gap_abs=1e-10, tol_gap_rel=1e-10, tol_feas=1e-10)
    return beta.value, problem.value


def long_smo(K, y, C, steps=20_000):
    """Return alpha of the two-class machine: the best step of all pairs, in extended precision."""
    K, y, C = (np.asarray(a, np.longdouble) for a in (K, y, C))
    n = len(y)
    beta, low, high = np.zeros(n, np.longdouble), np.minimum(y * C, 0), np.maximum(y * C, 0)
    curvature = K.diagonal()[:, None] + K.diagonal()[None, :] - 2 * K
    curvature = np.where(curvature > 0, curvature, np.longdouble(1e-12))
    for _ in range(steps):
        residual = y - K @ beta
        slope = residual[:, None] - residual[None, :]
        step = np.minimum(slope / curvature, (high - beta)[:, None])
        step = np.minimum(step, (beta - low)[None, :])
        step = np.where(slope > 0, step, 0)
        gain = slope * step - curvature * step**2 / 2
        i, j = np.unravel_index(gain.argmax(), gain.shape)
        if gain[i, j] <= 0:
            break
        beta[i] += step[i, j]
        beta[j] -= step[i, j]
    return np.abs(beta)


def ridge(K, Y, penalty, weights, fit_intercept):
    """Return beta and bias where the derivatives of the objective are 0, by least squares.

    d/dbeta: K (W (K beta + bias - y) + penalty beta) = 0, met by the bracket; d/dbias: 1'W(...).
    """
    n = len(K)
    W = np.diag(weights)
    matrix = np.block(
        [
            [W @ K + penalty * np.eye(n), (W @ np.ones(n))[:, None]],
            [(weights @ K)[None, :], np.array([[weights.sum()]])],
        ]
    )
    right = np.vstack([W @ Y, (weights @ Y)[None, :]])
    if not fit_intercept:
        return np.linalg.lstsq(matrix[:n, :n], right[:n], rcond=None)[0], np.zeros(Y.shape[1])
    found = np.linalg.lstsq(matrix, right, rcond=None)[0]
    return found[:n], found[n]
