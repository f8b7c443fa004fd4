"""Multiple kernel learning, slow and obviously right: formulas term by term, plain gradients."""

from __future__ import annotations

import itertools
import math
import warnings

import numpy as np

# The two bounds, by loops, as the definitions state them ------------------------------------


def quadratic_form(K, beta):
    n = len(beta)
    return sum(float(beta[i] * K[i][j] * beta[j]) for i in range(n) for j in range(n))


def coefficients(task, y, alpha):
    """Return beta of f = K beta, one column per machine."""
    return (y * alpha if task == "svm" else alpha).reshape(len(alpha), -1)


def ball_factor(n_kernels, norm):
    return n_kernels ** ((0.0 if math.isinf(norm) else 1.0 / norm) - 1.0)


def dual_length(q, norm):
    """Return ||q||_p* of the dual exponent."""
    if norm == 1:
        return max(q)
    dual = 1.0 if math.isinf(norm) else norm / (norm - 1.0)
    largest = max(q) or 1.0
    return largest * sum((value / largest) ** dual for value in q) ** (1.0 / dual)


def gain(task, beta, y, C, epsilon):
    if task == "one_class":
        return 0.0
    total = 0.0
    for b, target, c in zip(beta, y, C, strict=True):
        total += b * target
        if task == "svr":
            total -= epsilon * abs(b)
        if task == "ridge" and c > 0:
            total -= b * b / (2 * c)
    return float(total)


def loss(task, decision, y, C, epsilon):
    total = 0.0
    for f, target, c in zip(decision, y, C, strict=True):
        total += {
            "svm": c * max(0.0, 1 - target * f),
            "svr": c * max(0.0, abs(target - f) - epsilon),
            "one_class": c * max(0.0, -f),
            "ridge": c / 2 * (target - f) ** 2,
        }[task]
    return float(total)


def lower_bound(task, Ks, y, C, alpha, norm, epsilon=0.1):
    beta = coefficients(task, y, alpha)
    Y, costs = y.reshape(beta.shape), C.reshape(beta.shape)
    columns = range(beta.shape[1])
    q = [sum(quadratic_form(K, beta[:, k]) for k in columns) for K in Ks]
    earned = sum(gain(task, beta[:, k], Y[:, k], costs[:, k], epsilon) for k in columns)
    return earned - ball_factor(len(Ks), norm) * dual_length(q, norm) / 2


def upper_bound(task, Ks, y, C, theta, alpha, bias, epsilon=0.1):
    beta = coefficients(task, y, alpha)
    Y, costs = y.reshape(beta.shape), C.reshape(beta.shape)
    combined = sum(weight * K for weight, K in zip(theta, Ks, strict=True))
    total = 0.0
    for k, b in enumerate(np.atleast_1d(bias)):
        total += quadratic_form(combined, beta[:, k]) / 2 + (b if task == "one_class" else 0.0)
        total += loss(task, combined @ beta[:, k] + b, Y[:, k], costs[:, k], epsilon)
    return total


# One machine, by projected gradients --------------------------------------------------------


def nearest_in_slab(z, low, high, signs, total):
    """Return the point with signs'z = total within bounds that is nearest to z, by bisection."""
    left, right = -1e3, 1e3
    for _ in range(60):
        middle = (left + right) / 2
        if signs @ np.clip(z - middle * signs, low, high) > total:
            left = middle
        else:
            right = middle
    return np.clip(z - right * signs, low, high)


def machine_optimum(task, K, y, C, epsilon=0.1, n_steps=4000):
    """Return the optimum of one machine with an intercept on one kernel."""
    n = len(K)
    if task == "ridge":  # stationarity of the dual, and coefficients that sum to 0
        system = np.zeros((n + 1, n + 1))
        system[:n, :n] = K + np.diag(1 / C)
        system[n, :n] = system[:n, n] = 1
        beta = np.linalg.solve(system, np.append(y, 0.0))[:n]
        return float(y @ beta - beta @ (K + np.diag(1 / C)) @ beta / 2)
    if task == "svr":
        Q = np.block([[K, -K], [-K, K]])
        p, signs = np.concatenate([y - epsilon, -y - epsilon]), np.repeat([1.0, -1.0], n)
        high, total = np.concatenate([C, C]), 0.0
    elif task == "svm":
        Q, p, signs, high, total = K * np.outer(y, y), np.ones(n), y, C, 0.0
    else:
        Q, p, signs, high, total = K, np.zeros(n), np.ones(n), C, 1.0
    step = 1 / np.linalg.eigvalsh(Q)[-1]
    z = ahead = nearest_in_slab(high / 2, 0.0, high, signs, total)
    momentum = 1.0
    for _ in range(n_steps):
        new = nearest_in_slab(ahead + step * (p - Q @ ahead), 0.0, high, signs, total)
        if (new - z) @ (ahead - new) > 0:  # the momentum points uphill: begin anew
            momentum = 1.0
        grown = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
        ahead = new + (momentum - 1) / grown * (new - z)
        if np.abs(new - z).max() < 1e-13 * np.abs(z).max():
            break
        z, momentum = new, grown
    return float(p @ z - z @ Q @ z / 2)


# Weights ------------------------------------------------------------------------------------


def simplex_grid(n, steps):
    """Return every point of the simplex with coordinates that are multiples of 1/steps."""
    points = itertools.product(range(steps + 1), repeat=n - 1)
    kept = [point for point in points if sum(point) <= steps]
    return np.array([(*point, steps - sum(point)) for point in kept]) / steps


def on_ball(shape, norm):
    """Scale a direction to ||theta||_p = M^(1/p - 1)."""
    if math.isinf(norm):
        return np.full(len(shape), 1 / len(shape))
    length = sum(value**norm for value in shape) ** (1 / norm)
    return np.asarray(shape) * ball_factor(len(shape), norm) / length


# EasyMKL ------------------------------------------------------------------------------------


def easy_matrix(K, y, lam):
    return (1 - lam) * K * np.outer(y, y) + lam * np.eye(len(y))


def easy_optimum(K, y, lam):
    """Return the optimum by a cone programme on a root of the matrix."""
    import cvxpy as cp

    values, vectors = np.linalg.eigh(easy_matrix(K, y, lam))
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    gamma = cp.Variable(len(y), nonneg=True)
    sums = [cp.sum(gamma[y > 0]) == 1, cp.sum(gamma[y < 0]) == 1]
    programme = cp.Problem(cp.Minimize(cp.norm(root.T @ gamma)), sums)
    with warnings.catch_warnings():  # of a tolerance that is not always reached
        warnings.simplefilter("ignore", UserWarning)
        programme.solve(solver="CLARABEL", tol_gap_abs=1e-11, tol_gap_rel=1e-11, tol_feas=1e-11)
    return programme.value**2


def easy_descent(K, y, lam, n_steps=20_000):
    """Return gamma by accelerated projected gradients: exact where the ridge is large."""
    Q = easy_matrix(K, y, lam)
    step = 1 / np.linalg.eigvalsh(Q)[-1]
    rate = math.sqrt(lam * step)  # strong convexity over smoothness
    momentum = (1 - rate) / (1 + rate)
    gamma = ahead = np.where(y > 0, 1 / (y > 0).sum(), 1 / (y < 0).sum())
    for _ in range(n_steps):
        moved, new = ahead - step * Q @ ahead, np.empty(len(y))
        for members in (y > 0, y < 0):
            new[members] = onto_simplex(moved[members])
        ahead = new + momentum * (new - gamma)
        if np.abs(new - gamma).max() < 1e-16:
            break
        gamma = new
    return gamma


def onto_simplex(z):
    """Return the nearest point of the simplex: z less the one number that leaves a sum of 1."""
    falling = np.sort(z)[::-1]
    levels = (np.cumsum(falling) - 1) / np.arange(1, len(z) + 1)
    return np.maximum(z - levels[np.flatnonzero(falling > levels)[-1]], 0.0)
