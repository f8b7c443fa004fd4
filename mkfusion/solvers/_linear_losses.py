"""Losses of linear machines as sums over rows, with what their dual variables are worth.

Of each row the decision f, the target t and the cost c give the loss, the dual variable
``alpha = -c dl/df`` and a few numbers more. Their sums are all that the lower bound needs, also
where the dual variables do not yet sum to 0 as an intercept asks for: what would mend them is
known from sums as well, so that no row is read again for it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy import special

__all__ = ["LOSSES", "LinearTerms", "Loss", "Moments"]

Array = np.ndarray

RAREST = 1e-6  # share of a class that the search begins with
ABSENT = 1e-16  # that of a class without cost
NONE = 1e-12  # less than this share of the cost is rounding


class Moments(NamedTuple):
    """Sums over rows that depend on no machine.

    Attributes
    ----------
    cost : float
        ``sum_i c_i``.
    targets : ndarray of shape (n_outputs,)
        ``sum_i c_i t_i``.
    features : ndarray of shape (n_features,)
        ``sum_i c_i x_i``.
    products : ndarray of shape (n_features, n_outputs)
        ``sum_i c_i x_i t_i'``.
    """

    cost: float
    targets: Array
    features: Array
    products: Array

    def times(self, C: float) -> Moments:
        """Return the sums for costs that are multiplied."""
        return Moments(C * self.cost, C * self.targets, C * self.features, C * self.products)


class LinearTerms(NamedTuple):
    """Sums over rows at one machine.

    Attributes
    ----------
    loss : float
        ``sum_i c_i l(t_i, f_i)``.
    gradient : ndarray of shape (n_features, n_outputs)
        ``sum_i x_i alpha_i'``: what the loss falls by along each coefficient.
    residual : ndarray of shape (n_outputs,)
        ``sum_i alpha_i``: what it falls by along each intercept.
    extra : ndarray of shape (n_outputs,) or (2, n_outputs)
        What else the loss's lower bound needs.
    """

    loss: float
    gradient: Array
    residual: Array
    extra: Array

    def times(self, C: float) -> LinearTerms:
        """Return the sums for costs that are multiplied."""
        return LinearTerms(C * self.loss, C * self.gradient, C * self.residual, C * self.extra)

    def plus(self, other: LinearTerms) -> LinearTerms:
        """Return the sums over the rows of both."""
        return LinearTerms(
            self.loss + other.loss,
            self.gradient + other.gradient,
            self.residual + other.residual,
            self.extra + other.extra,
        )


class Loss:
    """A loss; subclasses say what each row adds."""

    def rows(self, F: Array, T: Array, c: Array) -> tuple[float, Array, Array]:
        """Return the summed loss, alpha of shape (n_rows, n_outputs), and the extra sums.

        F and T have shape (n_rows, n_outputs), c has (n_rows,).
        """
        raise NotImplementedError

    quadratic = False  # the second derivatives are the same everywhere
    negative = -1.0  # the target of what is not of the class

    def start(self, means: Array) -> Array:
        """Return intercepts to begin with, from the means of the targets."""
        return means

    def rounding(self, moments: Moments) -> float:
        """Return a gap that may come of rounding: a share of what is lost without a machine."""
        return 1e-14 * moments.cost * len(moments.targets)

    def bends(self, F: Array, T: Array, c: Array) -> Array:
        """Return the second derivative along each output, of shape (n_rows, n_outputs)."""
        raise NotImplementedError

    def mended(self, terms: LinearTerms, moments: Moments) -> tuple[float, Array]:
        """Return what dual variables that sum to 0 earn without penalty, and their gradient."""
        raise NotImplementedError

    def gain(self, terms: LinearTerms) -> float:
        """Return what the dual variables earn without penalty, where there is no intercept."""
        raise NotImplementedError


class Logistic(Loss):
    """``log(1 + exp(f)) - t f`` with t of 0 or 1, each class against the rest.

    Its dual variables are ``c (t - p)`` with any probabilities p, which earn c times their
    entropy. The extra sums are what p earns.
    """

    negative = 0.0

    def rows(self, F: Array, T: Array, c: Array) -> tuple[float, Array, Array]:
        p = special.expit(F)
        loss = c @ (np.logaddexp(0.0, F) - T * F)
        entropy = special.entr(p) + special.entr(1 - p)
        return float(loss.sum()), c[:, None] * (T - p), c @ entropy

    def start(self, means: Array) -> Array:
        least = np.where((means > NONE) & (means < 1 - NONE), RAREST, ABSENT)
        rare = np.maximum(np.minimum(means, 1 - means), least)
        return np.where(means < 0.5, 1.0, -1.0) * special.logit(rare)

    def bends(self, F: Array, T: Array, c: Array) -> Array:
        p = special.expit(F)
        return c[:, None] * p * (1 - p)

    def gain(self, terms: LinearTerms) -> float:
        return float(terms.extra.sum())

    def mended(self, terms: LinearTerms, moments: Moments) -> tuple[float, Array]:
        """Mix the probabilities with 0 or 1, until the classes have their own shares.

        The entropy is concave: a mixture's is at least the mixed one.
        """
        wanted, found = moments.targets, moments.targets - terms.residual
        above = found > wanted  # then mix with 0, else with 1
        rest = np.where(above, wanted, moments.cost - wanted)
        mass = np.where(above, found, moments.cost - found)
        kept = np.clip(np.divide(rest, mass, out=np.zeros_like(mass), where=mass > 0), 0.0, 1.0)
        after = moments.products - np.where(above, 0.0, moments.features[:, None])
        gradient = kept * terms.gradient + (1 - kept) * after
        return float(kept @ terms.extra), gradient


class SquaredHinge(Loss):
    """``max(0, 1 - t f)^2`` with t of -1 or 1, each class against the rest.

    Its dual variables are ``2 c t u`` with any u >= 0, which earn ``c (2 u - u^2)``. The extra
    sums are ``sum c u`` over the rows of class 1, and the loss of each output.
    """

    def rows(self, F: Array, T: Array, c: Array) -> tuple[float, Array, Array]:
        u = np.maximum(0.0, 1 - T * F)
        cu = c[:, None] * u
        upper, losses = np.einsum("np,np->p", cu, T > 0), np.einsum("np,np->p", cu, u)
        return float(losses.sum()), 2 * T * cu, np.stack([upper, losses])

    def bends(self, F: Array, T: Array, c: Array) -> Array:
        return 2.0 * c[:, None] * (T * F < 1)

    def gain(self, terms: LinearTerms) -> float:
        return float(self._gains(terms).sum())

    def _gains(self, terms: LinearTerms) -> Array:
        upper, losses = terms.extra
        return 2 * (2 * upper - terms.residual / 2) - losses

    def mended(self, terms: LinearTerms, moments: Moments) -> tuple[float, Array]:
        """Raise u on the side that has too little of it; where that has no rows, u is 0."""
        upper = terms.extra[0]
        lower = upper - terms.residual / 2
        short = lower > upper  # class 1 is the side that is raised
        side = np.where(short, 1.0, -1.0)
        sizes = (moments.cost + side * moments.targets) / 2
        both = sizes > NONE * moments.cost
        sizes = np.where(both, sizes, 1.0)
        raised = np.abs(lower - upper) / sizes
        before = np.where(short, upper, lower)
        gains = self._gains(terms) + raised * (2 * sizes - 2 * before - raised * sizes)
        features = (moments.features[:, None] + side * moments.products) / 2
        gradient = terms.gradient + 2 * raised * side * features
        return float(gains[both].sum()), np.where(both, gradient, 0.0)


class Squared(Loss):
    """``(t - f)^2``.

    Its dual variables are ``2 c r`` with any r, which earn ``c (2 r t - r^2)``. The extra sums are
    ``sum c r t``.
    """

    def rows(self, F: Array, T: Array, c: Array) -> tuple[float, Array, Array]:
        r = T - F
        cr = c[:, None] * r
        return float(np.vdot(cr, r)), 2 * cr, np.einsum("np,np->p", cr, T)

    quadratic = True

    def rounding(self, moments: Moments) -> float:
        return 1e-28 * float(moments.targets @ moments.targets) / (moments.cost or 1.0)

    def bends(self, F: Array, T: Array, c: Array) -> Array:
        return np.broadcast_to(2.0 * c[:, None], F.shape)

    def gain(self, terms: LinearTerms) -> float:
        return float(2 * terms.extra.sum() - terms.loss)

    def mended(self, terms: LinearTerms, moments: Moments) -> tuple[float, Array]:
        """Take the mean from the residuals."""
        mean = terms.residual / (2 * moments.cost or 1.0)
        gain = self.gain(terms) - 2 * float(mean @ moments.targets)
        gain += moments.cost * float(mean @ mean)
        return gain, terms.gradient - 2 * np.multiply.outer(moments.features, mean)


LOSSES: dict[str, Any] = {
    "logistic": Logistic(),
    "squared_hinge": SquaredHinge(),
    "squared": Squared(),
}
