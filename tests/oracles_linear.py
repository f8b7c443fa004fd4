"""Linear machines with shared weights, slow and obviously right: row by row, and by cvxpy."""

from __future__ import annotations

import math
import warnings

import numpy as np
from scipy import optimize

# One row and one output, as the docstrings state them ---------------------------------------


def loss_of_row(loss, t, f):
    if loss == "logistic":
        return max(f, 0.0) + math.log1p(math.exp(-abs(f))) - t * f
    if loss == "squared_hinge":
        return max(0.0, 1 - t * f) ** 2
    return (t - f) ** 2


def dual_of_row(loss, t, f):
    """Return minus the derivative along f."""
    if loss == "logistic":
        return t - 1 / (1 + math.exp(-f)) if f > 0 else t - math.exp(f) / (1 + math.exp(f))
    if loss == "squared_hinge":
        return 2 * t * max(0.0, 1 - t * f)
    return 2 * (t - f)


def earned_by_row(loss, t, alpha):
    """Return the least of ``l(t, f) + alpha f`` over f; -inf where it falls without end."""
    if loss == "logistic":
        p = t - alpha
        if not -1e-12 <= p <= 1 + 1e-12:
            return -math.inf
        return -sum(q * math.log(q) for q in (p, 1 - p) if q > 0)
    if loss == "squared_hinge":
        u = alpha * t / 2
        return 2 * u - u * u if u >= 0 else -math.inf
    return alpha * t - alpha * alpha / 4


# The two bounds ------------------------------------------------------------------------------


def blocks_of(places):
    return list(map(slice, places[:-1], places[1:]))


def radius(n_blocks, norm):
    return n_blocks ** ((0.0 if math.isinf(norm) else 1 / norm) - 1)


def length(values, norm):
    largest = max(values)
    if math.isinf(norm) or largest == 0:
        return largest
    return largest * sum((v / largest) ** norm for v in values) ** (1 / norm)


def losses(loss, T, c, F):
    rows = zip(T, c, F, strict=True)
    return sum(
        cost * sum(loss_of_row(loss, *pair) for pair in zip(t, f, strict=True))
        for t, cost, f in rows
    )


def primal(loss, Z, places, T, c, theta, W, b):
    """Return the objective at a machine and weights; nothing is divided by a weight of 0."""
    total = losses(loss, T, c, Z @ W + b)
    for weight, block in zip(theta, blocks_of(places), strict=True):
        square = float((W[block] ** 2).sum())
        total += 0.5 * square / weight if square else 0.0
    return total


def group_lasso(loss, Z, places, T, c, W, b):
    """Return the objective of p = 1 without its weights."""
    sizes = sum(float(np.linalg.norm(W[block])) for block in blocks_of(places))
    return 0.5 * sizes**2 + losses(loss, T, c, Z @ W + b)


def duals(loss, T, c, F):
    return np.array(
        [[c[i] * dual_of_row(loss, t, f) for t, f in zip(T[i], F[i], strict=True)]
         for i in range(len(T))]
    ).reshape(T.shape)  # fmt: skip


def mended(loss, T, c, alpha):
    """Return feasible dual variables that sum to 0 in each output, row by row."""
    fixed = alpha.copy()
    for p in range(T.shape[1]):
        t, a = T[:, p], alpha[:, p]
        if loss == "squared":
            fixed[:, p] = a - c * a.sum() / c.sum()
        elif loss == "logistic":
            probability = np.divide(a, -c, out=np.zeros_like(a), where=c > 0) + t
            found, wanted = c @ probability, c @ t
            if found > wanted:
                mixed = probability * wanted / found
            elif found < wanted:
                left = c.sum() - found
                kept = min(1.0, max(0.0, c.sum() - wanted) / left) if left > 0 else 0.0
                mixed = kept * probability + 1 - kept
            else:
                mixed = probability
            fixed[:, p] = c * (t - mixed)
        else:
            lacks = 1.0 if a.sum() < 0 else -1.0
            side = (t == lacks) * c
            if side.sum() > 0:
                fixed[:, p] = a - side * a.sum() / side.sum()
            else:
                fixed[:, p] = 0.0
    return fixed


def dual(loss, Z, places, T, c, alpha, norm):
    """Return what any dual variables prove, -inf if they are none."""
    earned = 0.0
    for i in range(len(T)):
        for p in range(T.shape[1]):
            if c[i] > 0:
                earned += c[i] * earned_by_row(loss, T[i, p], alpha[i, p] / c[i])
            elif alpha[i, p] != 0:
                return -math.inf
    forms = [float(((Z[:, block].T @ alpha) ** 2).sum()) for block in blocks_of(places)]
    conjugate = math.inf if norm == 1 else 1.0 if math.isinf(norm) else norm / (norm - 1)
    return earned - 0.5 * radius(len(forms), norm) * length(forms, conjugate)


# The optimum, by a conic solver --------------------------------------------------------------


def conic_optimum(loss, Z, places, T, c, norm=1.0, intercept=True):
    """Return the objective, theta, W and b that Clarabel finds for the primal."""
    import cvxpy as cp

    blocks, P = blocks_of(places), T.shape[1]
    Z, T, c = Z[c > 0], T[c > 0], c[c > 0]  # a cone that nothing holds stops Clarabel
    W, theta = cp.Variable((Z.shape[1], P)), cp.Variable(len(blocks))
    b = cp.Variable((1, P)) if intercept else np.zeros((1, P))
    F = Z @ W + np.ones((len(T), 1)) @ b
    costs = np.repeat(c[:, None], P, axis=1)
    conditions = [theta >= 0]
    if loss == "logistic":
        objective = cp.sum(cp.multiply(costs, cp.logistic(F) - cp.multiply(T, F)))
    else:
        rest = T - F
        if loss == "squared_hinge":
            rest = cp.Variable(T.shape, nonneg=True)
            conditions += [rest >= 1 - cp.multiply(T, F)]
        objective = cp.sum_squares(cp.multiply(np.sqrt(costs), rest))
    for m, block in enumerate(blocks):
        objective += 0.5 * cp.quad_over_lin(W[block], theta[m])
    ball = cp.pnorm(theta, "inf" if math.isinf(norm) else norm) <= radius(len(blocks), norm)
    problem = cp.Problem(cp.Minimize(objective), [ball, *conditions])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for tight in (1e-9, 1e-8, 1e-7):  # the tightest that it comes to the end of
            try:
                problem.solve(
                    solver="CLARABEL",
                    use_quad_obj=False,  # cones alone: with a quadratic objective it stops early
                    tol_gap_abs=tight,
                    tol_gap_rel=tight,
                    tol_feas=tight,
                )
            except cp.SolverError:
                continue
            if problem.status == "optimal":
                break
    assert problem.status == "optimal", problem.status
    return problem.value, theta.value, W.value, b.value[0] if intercept else np.zeros(P)


# The optimum of one block, and of a model ----------------------------------------------------


def smooth_optimum(loss, Z, T, c, intercept=True, weights=None):
    """Return the least of ``1/2 sum w^2 / weights + losses`` of one output, by scipy."""
    d = Z.shape[1]
    weights = np.ones(d) if weights is None else weights

    def value(v):
        f = Z @ v[:d] + (v[d] if intercept else 0.0)
        slopes = -duals(loss, T, c, f[:, None])[:, 0]
        total = 0.5 * float(v[:d] @ (v[:d] / weights)) + losses(loss, T, c, f[:, None])
        slope = np.append(v[:d] / weights + Z.T @ slopes, [slopes.sum()] * intercept)
        return total, slope

    options = {"ftol": 1e-15, "gtol": 1e-9, "maxiter": 5000}
    found = optimize.minimize(
        value, np.zeros(d + intercept), jac=True, method="L-BFGS-B", options=options
    )
    return found.fun, found.x


def model_optimum(B, places, V, G, norm, damping=1.0):
    """Return the least of penalty and quadratic model over V, by scipy on theta.

    B has shape (size, size) for all outputs; rows of V behind the blocks are not penalised.
    """
    M, d = len(places) - 1, places[-1]

    def machine(theta):
        diagonal = np.append(np.repeat(1 / theta, np.diff(places)), np.zeros(len(V) - d))
        right = G + damping * B @ V
        found = np.linalg.lstsq(damping * B + np.diag(diagonal), right, rcond=None)[0]
        step = found - V
        value = 0.5 * float((diagonal[:, None] * found**2).sum())
        return value - float((G * step).sum()) + 0.5 * damping * float((step * (B @ step)).sum())

    def on_surface(z):
        weights = np.exp(z - z.max()) + 1e-12
        if math.isinf(norm):
            return np.full(M, 1 / M)
        return radius(M, norm) * weights / length(list(weights), norm)

    options = {"xatol": 1e-10, "fatol": 1e-13, "maxiter": 4000, "maxfev": 8000}
    found = optimize.minimize(
        lambda z: machine(on_surface(z)), np.zeros(M), method="Nelder-Mead", options=options
    )
    return found.fun, on_surface(found.x)
