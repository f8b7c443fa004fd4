"""The kernels by loops in long double, from the docstrings' formulas, and how far off one may be.

A kernel here is a value of two rows: every sum over features is a loop, nothing is rearranged.
"""

from __future__ import annotations

import numpy as np

LONG = np.longdouble

#: Where long double is no wider than double, these loops are no better than what they judge.
EXACT = np.finfo(LONG).eps < 1e-18


def matrix(name, X, Y, **params):
    """Return k(x_i, y_j) for all i and j."""
    values = np.empty((len(X), len(Y)), LONG)
    for i in range(len(X)):
        for j in range(len(Y)):
            values[i, j] = value(name, X[i], Y[j], **params)
    return values


def value(name, x, y, **params):
    """Return k(x, y)."""
    total, _ = _SUMS[name](_long(x), _long(y))
    return _VALUES[name](total, len(x), **params)


def value_and_bound(name, x, y, dtype, **params):
    """Return k(x, y), and how far from it arithmetic of ``dtype`` may end, by what it must do.

    With unit roundoff u, the sum of d terms is off by at most (d + 8) u times the sum of their
    magnitudes (three roundings in a term, d - 1 in the sum, one of a parameter, and slack) and by
    the smallest float for each term that underflows. The value is off by what becomes of that, and
    by 8 u of itself for the elementary function; an exponential of e is off by 4 |e| u of itself
    too, and a power p by 2 p u of itself.
    """
    x, y, d = _long(x), _long(y), len(x)
    u, tiny = LONG(np.finfo(dtype).eps) / 2, LONG(np.finfo(dtype).smallest_subnormal)
    total, size = _SUMS[name](x, y)
    exact = _VALUES[name](total, d, **params)
    if name == "cosine":
        # Rows of unit length are off by (d / 2 + 4) u, their difference by twice that.
        return exact, 4 * (d + 10) * u
    if "coef0" in params:
        size = size + abs(LONG(params["coef0"])) / LONG(params["gamma"])
    off = (d + 8) * u * size + d * tiny
    low = total - off if name in _SIGNED else max(total - off, LONG(0))
    moved = max(
        abs(_VALUES[name](total + off, d, **params) - exact),
        abs(_VALUES[name](low, d, **params) - exact),
    )
    exponent = abs(np.log(abs(exact))) if name in _EXPONENTIALS and exact else LONG(0)
    own = (8 + 4 * exponent + 2 * params.get("degree", 0)) * u * abs(exact)
    if name == "matern":  # its exponential, a subnormal perhaps, is multiplied by a polynomial
        tiny = tiny * (2 + 2 * exact / np.exp(-_matern_distance(total, **params)))
    return exact, moved + own + tiny


def _long(row):
    return [LONG(entry) for entry in row]


# Sums over features, and the sums of the magnitudes of their terms -----------------------------


def _sum(terms):
    total, size = LONG(0), LONG(0)
    for term in terms:
        total += term
        size += abs(term)
    return total, size


def _products(x, y):
    return _sum(a * b for a, b in zip(x, y, strict=True))


def _squares(x, y):
    return _sum((a - b) ** 2 for a, b in zip(x, y, strict=True))


def _distances(x, y):
    return _sum(abs(a - b) for a, b in zip(x, y, strict=True))


def _chi2(x, y):
    return _sum((a - b) ** 2 / (a + b) if a + b else LONG(0) for a, b in zip(x, y, strict=True))


def _minima(x, y):
    return _sum(min(a, b) for a, b in zip(x, y, strict=True))


def _matches(x, y):
    return _sum(LONG(1) if a == b else LONG(0) for a, b in zip(x, y, strict=True))


def _cosine(x, y):
    products, size = _products(x, y)
    norms = np.sqrt(_products(x, x)[0]) * np.sqrt(_products(y, y)[0])
    return (products / norms, size / norms) if norms else (LONG(0), LONG(0))


_SUMS = {
    "linear": _products,
    "polynomial": _products,
    "sigmoid": _products,
    "cosine": _cosine,
    "rbf": _squares,
    "laplacian": _distances,
    "chi2": _chi2,
    "additive_chi2": _chi2,
    "histogram_intersection": _minima,
    "matern": _squares,
    "rational_quadratic": _squares,
    "categorical": _matches,
}
_SIGNED = {"linear", "polynomial", "sigmoid", "cosine"}
_EXPONENTIALS = {"rbf", "laplacian", "chi2", "matern", "rational_quadratic"}

# What becomes of a sum ----------------------------------------------------------------------


def _itself(total, d):
    return total


def _polynomial(total, d, gamma, degree, coef0):
    base, result = LONG(gamma) * total + LONG(coef0), LONG(1)
    for _ in range(degree):
        result = result * base
    return result


def _sigmoid(total, d, gamma, coef0):
    return np.tanh(LONG(gamma) * total + LONG(coef0))


def _exponential(total, d, gamma):
    return np.exp(-LONG(gamma) * total)


def _matern_distance(total, length_scale, nu):
    return np.sqrt(2 * LONG(nu)) * np.sqrt(total) / LONG(length_scale)


def _matern(total, d, length_scale, nu):
    t = _matern_distance(total, length_scale, nu)
    polynomial = {0.5: LONG(1), 1.5: 1 + t, 2.5: 1 + t + t * t / 3}[nu]
    return polynomial * np.exp(-t)


def _rational_quadratic(total, d, length_scale, alpha):
    more = total / (2 * LONG(alpha) * LONG(length_scale) ** 2)
    return np.exp(-LONG(alpha) * np.log1p(more))  # (1 + more)^-alpha, for large alpha too


def _negative(total, d):
    return -total


def _share(total, d):
    return total / d


_VALUES = {
    "linear": _itself,
    "polynomial": _polynomial,
    "sigmoid": _sigmoid,
    "cosine": _itself,
    "rbf": _exponential,
    "laplacian": _exponential,
    "chi2": _exponential,
    "additive_chi2": _negative,
    "histogram_intersection": _itself,
    "matern": _matern,
    "rational_quadratic": _rational_quadratic,
    "categorical": _share,
}

NAMES = list(_VALUES)
