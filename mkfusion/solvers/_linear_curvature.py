"""Second derivatives of losses, as far as they are known: from one sum over rows, and from steps.

They are of shape (n_features, n_outputs), the outputs apart. What a sum over rows does not tell,
how outputs depend on one another and how the derivatives change along the way, the gradients of
later passes do: each step and what the gradient changed by is a secant.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import linalg

from .._parallel import single_blas_thread

__all__ = ["Curvature", "GramCurvature", "SecantCurvature"]

Array = np.ndarray
Solver = Callable[[Array], Array]

MOST_SECANTS = 20
LEAST_BEND = 1e-10  # of a step times the change of the gradient: less is rounding
MOST_ROUNDS = 100  # of conjugate gradients
EXACT = 1e-10  # of the right side, what they leave
RIDGES = (1e-14, 1e-13, 1e-12, 1e-11, 1e-10)  # of the diagonal, where rounding asks for more


class Curvature:
    """Second derivatives B."""

    def product(self, V: Array) -> Array:
        """Return B V, of shape (n_features, n_outputs)."""
        raise NotImplementedError

    def solver(self, roots: Array, scale: float = 1.0) -> Solver:
        """Return what solves with ``I + scale R B R``, R being diagonal."""
        raise NotImplementedError

    def outputs(self, roots: Array, scale: float = 1.0) -> list[tuple[Solver, Solver]]:
        """Return for each output by itself what multiplies by scale B, and what solves."""
        raise NotImplementedError


class GramCurvature(Curvature):
    """``sum_i D_ip x_i x_i'`` of each output p.

    Parameters
    ----------
    grams : ndarray of shape (1 or n_outputs, n_features, n_features), or without the last axis
        One stands for all outputs. Where features are very many, the diagonals alone.
    n_outputs : int
    """

    def __init__(self, grams: Array, n_outputs: int) -> None:
        self.grams, self.n_outputs = grams, n_outputs
        self._held: tuple[Any, list[Solver]] = (None, [])  # the last factors, and whose they are

    def product(self, V: Array) -> Array:
        """Return B V."""
        if self.grams.ndim == 2:
            return self.grams.T * V
        with single_blas_thread:
            if len(self.grams) == 1:
                return self.grams[0] @ V
            return np.column_stack([B @ v for B, v in zip(self.grams, V.T, strict=True)])

    def solver(self, roots: Array, scale: float = 1.0) -> Solver:
        """Return what solves for all outputs."""
        solvers = self._factors(roots, scale)
        if len(solvers) == 1:
            return solvers[0]
        return lambda right: np.column_stack(
            [own(column) for own, column in zip(solvers, right.T, strict=True)]
        )

    def outputs(self, roots: Array, scale: float = 1.0) -> list[tuple[Solver, Solver]]:
        """Return what multiplies and what solves for each output."""
        factors = self._factors(roots, scale)  # first, for it may change the grams
        found = list(zip((_multiplier(B, scale) for B in self.grams), factors, strict=True))
        return found if len(found) > 1 else found * self.n_outputs

    def _factors(self, roots: Array, scale: float) -> list[Solver]:
        asked = scale, roots.tobytes()
        if self._held[0] != asked:
            self._held = None, []  # before the next are made, for they are large
            self._held = asked, self._factored(roots, scale)
        return self._held[1]

    def _factored(self, roots: Array, scale: float) -> list[Solver]:
        for ridge in RIDGES:
            try:
                return [_factored(B, roots, scale) for B in self.grams]
            except linalg.LinAlgError:  # sums of large numbers: rounding made them indefinite
                self.grams = self.grams.copy()
                diagonal = np.arange(self.grams.shape[1])
                self.grams[:, diagonal, diagonal] *= 1 + ridge
        raise ValueError(
            "rounding made the second derivatives of the loss indefinite; centre the features"
        )


def _multiplier(B: Array, scale: float) -> Solver:
    if B.ndim == 1:
        return lambda V: scale * B[:, None] * V
    return lambda V: scale * (B @ V)


def _factored(B: Array, roots: Array, scale: float) -> Solver:
    """Return what solves with ``I + scale R B R``."""
    if B.ndim == 1:
        diagonal = 1 + scale * B * roots**2
        return lambda right: (right.T / diagonal).T
    with single_blas_thread:
        A = roots[:, None] * B
        A *= scale * roots
        A[np.diag_indices_from(A)] += 1.0
        held = linalg.cho_factor(A, lower=True, overwrite_a=True, check_finite=False)
    return lambda right: linalg.cho_solve(held, right, check_finite=False)


class SecantCurvature(Curvature):
    """What sums over rows told, corrected by secants: the matrix of L-BFGS.

    Parameters
    ----------
    base : Curvature
    """

    def __init__(self, base: Curvature) -> None:
        self.base = base
        self.steps: list[Array] = []
        self.bends: list[Array] = []
        self._sides: Any = None
        self.scale = 1.0  # of the base, so that it has the last secant's bend

    def learn(self, step: Array, bend: Array) -> None:
        """Take in a step and what it changed of the gradient."""
        size = float(np.vdot(step, bend))
        if not size > LEAST_BEND * float(np.linalg.norm(step) * np.linalg.norm(bend)):
            return
        steps, bends = [*self.steps, step], [*self.bends, bend]
        for kept in (MOST_SECANTS, 1, 0):  # fewer, if rounding makes them contradict each other
            first = max(0, len(steps) - kept)
            self.steps, self.bends = steps[first:], bends[first:]
            if self._arranged():
                break

    def secants(self) -> list[tuple[Array, Array]]:
        """Return what was learnt, the oldest first."""
        return list(zip(self.steps, self.bends, strict=True))

    def _arranged(self) -> bool:
        """Factor what is between the secants, and return whether that can be done."""
        if not self.steps:
            self._sides, self.scale = None, 1.0
            return True
        S = np.array([own.ravel() for own in self.steps])
        Y = np.array([own.ravel() for own in self.bends])
        BS = np.array([self.base.product(own).ravel() for own in self.steps])
        self.scale = self._last_bend(self.steps[-1], self.bends[-1])
        BS *= self.scale
        with single_blas_thread:
            mixed, both = S @ Y.T, S @ BS.T
            lower = np.tril(mixed, -1)
            middle = np.block([[both, lower], [lower.T, -np.diag(np.diag(mixed))]])
            factors, pivots, failed = linalg.lapack.dgetrf(middle)
        self._sides = np.concatenate([BS, Y]), (factors, pivots)
        return not failed and bool(np.isfinite(factors).all())

    def _last_bend(self, step: Array, bend: Array) -> float:
        """Return what the base is multiplied by, so that it bends as the last secant does.

        A matrix as much as the secant bends along the step; a diagonal, which knows nothing of
        how features go together, as much as it bends where it bends most.
        """
        grams = getattr(self.base, "grams", None)
        size = float(np.vdot(step, bend))
        if grams is not None and grams.ndim == 2:
            known = np.divide(bend, grams.T, out=np.zeros_like(bend), where=grams.T > 0)
            return min(1.0, float(np.vdot(bend, known)) / size)
        along = float(np.vdot(step, self.base.product(step)))
        return min(1.0, size / along) if along > 0 else 1.0

    def product(self, V: Array) -> Array:
        """Return B V."""
        found = self.scale * self.base.product(V)
        if self._sides is None:
            return found
        sides, middle = self._sides
        with single_blas_thread:
            inner = linalg.lu_solve(middle, sides @ V.ravel(), check_finite=False)
            return found - (inner @ sides).reshape(V.shape)

    def solver(self, roots: Array, scale: float = 1.0) -> Solver:
        """Return what solves by conjugate gradients, few of them as secants are few."""
        rough = self.base.solver(roots, scale * self.scale)
        if self._sides is None:
            return rough
        R = roots[:, None]
        return lambda right: _conjugate(
            lambda V: V + scale * R * self.product(R * V), right, rough
        )

    def outputs(self, roots: Array, scale: float = 1.0) -> list[tuple[Solver, Solver]]:
        """Return those of the base."""
        return self.base.outputs(roots, scale * self.scale)


def _conjugate(times: Solver, right: Array, rough: Solver) -> Array:
    """Solve by conjugate gradients, with a rough solver as preconditioner."""
    x = np.zeros_like(right)
    left = right.copy()
    goal = EXACT * float(np.linalg.norm(right))
    direction, before = np.zeros_like(right), 1.0
    for _ in range(MOST_ROUNDS):
        if np.linalg.norm(left) <= goal:
            break
        ahead = rough(left)
        now = float(np.vdot(left, ahead))
        if now <= 0:
            break
        direction = ahead + (now / before) * direction
        before = now
        moved = times(direction)
        length = now / float(np.vdot(direction, moved))
        x += length * direction
        left -= length * moved
    return x
