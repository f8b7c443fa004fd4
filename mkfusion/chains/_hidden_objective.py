"""The conditional likelihood of hidden conditional random fields, and its maximum.

.. math:: P(y \\mid x) = \\frac{\\sum_h e^{\\Psi(y, h, x)}}{\\sum_{y', h} e^{\\Psi(y', h, x)}}

The classes are chains of hidden states that share what a state sees and differ in how states
follow one another, so that one matrix product makes the unary potentials of all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import OptimizeResult, minimize
from scipy.special import log_softmax

from .._parallel import single_blas_thread
from ._chain import log_partition, posteriors
from ._hidden_views import (
    Potentials,
    Product,
    Views,
    collapse,
    expand,
    known_states,
    n_parameters,
    unpack,
)

__all__ = ["HiddenFit", "HiddenModel", "Observed", "Problem", "fit_hidden", "hidden_scores"]

Array = np.ndarray

MEMORY = 20  # pairs of steps and gradients that L-BFGS keeps
NEGLIGIBLE = 1e-22  # of the largest error: far below what a sum of floats can tell
ALIKE = 0.1  # potentials of states that differ by less are as good as the same
ALIKE_TOL = 1e-6  # of a search whose states are alike, at most


class Observed(NamedTuple):
    """What one chain sees: a sequence for each sample, of length 0 where the sample has none."""

    values: Array  # (n_steps, d), 0 where absent
    offsets: Array  # (n_samples + 1,)


class HiddenModel(NamedTuple):
    """Chains that are independent given the class, and what the class itself adds."""

    views: tuple[Views, ...]
    potentials: tuple[Potentials, ...]
    intercept: Array  # (n_classes,)

    def vector(self) -> Array:
        return np.concatenate([*[part.vector() for part in self.potentials], self.intercept])


class Problem(NamedTuple):
    """What is minimised: ``-sum_i w_i log P(y_i | x_i) + 1/2 sum_j penalty_j v_j^2``.

    Over the parameters v that are ``free``; the others keep their value.
    """

    views: tuple[Views, ...]
    chains: tuple[Observed, ...]
    codes: Array  # (n_samples,) of classes
    weights: Array  # (n_samples,)
    penalty: Array  # (n_parameters,)
    free: Array  # (n_parameters,) bool


class HiddenFit(NamedTuple):
    """A local optimum with its certificate."""

    model: HiddenModel
    objective: float
    gradient_norm: float  # the largest partial derivative, divided by the steps by their weights
    history: Array  # (n_iter + 1,) objectives
    n_iter: int
    converged: bool
    alike: bool  # whether all hidden states are as good as the same


def model_of(views: Sequence[Views], vector: Array) -> HiddenModel:
    """Return the model that a vector holds, as views of its memory."""
    potentials, first = [], 0
    for each in views:
        last = first + n_parameters(each)
        potentials.append(unpack(each, vector[first:last]))
        first = last
    return HiddenModel(tuple(views), tuple(potentials), vector[first:])


def draw_model(views: Sequence[Views], rng: np.random.RandomState, scale: float) -> HiddenModel:
    """Draw small weights, so that hidden states differ; the intercept starts at 0."""
    size = sum(map(n_parameters, views))
    vector = np.append(scale * rng.standard_normal(size), np.zeros(views[0].n_classes))
    return model_of(views, vector)


def penalties(views: Sequence[Views], columns: Sequence[Array], chain: float) -> Array:
    """Return the penalty of every parameter: by column for weights, none for the intercept."""
    parts = []
    for each, by_column in zip(views, columns, strict=True):
        part = np.full(n_parameters(each), float(chain))
        first = 0
        for weights in unpack(each, part).weights:
            weights[:] = by_column[first : first + weights.shape[1]]
            first += weights.shape[1]
        parts.append(part)
    return np.concatenate([*parts, np.zeros(views[0].n_classes)])


def free_parameters(views: Sequence[Views], intercept: bool) -> Array:
    """Return which parameters any class can use."""
    vector = np.ones(sum(map(n_parameters, views)) + views[0].n_classes, dtype=bool)
    model = model_of(views, vector)
    model.intercept[:] = intercept
    for each, part in zip(views, model.potentials, strict=True):
        if each.allowed is None:
            continue
        for m, known in enumerate(each.allowed):
            part.states[m][:] = known
            part.transitions[m][:] = known[:, :, None] & known[:, None, :]
        for pairs in (part.links, part.couplings):
            for (a, b), table in pairs.items():
                table[:] = each.allowed[a][:, :, None] & each.allowed[b][:, None, :]
    return vector


# Scores and gradients -----------------------------------------------------------------------


def _class_chains(
    views: Views, product: Product, unary: Array
) -> Iterator[tuple[Array, Array, Array]]:
    """Yield by class the states it knows, and its transition and unary potentials over them."""
    for y, known in enumerate(known_states(views)):
        if len(known) == views.n_product:
            yield known, product.transitions[y], unary + product.states[y]
        else:
            own = unary[:, known]
            own += product.states[y, known]
            yield known, product.transitions[y][np.ix_(known, known)], own


def hidden_scores(model: HiddenModel, chains: Sequence[Observed], *, n_threads: int = 1) -> Array:
    """Return ``log sum_h exp Psi(y, h, x)``, of shape (n_samples, n_classes)."""
    scores = np.repeat(model.intercept[None], len(chains[0].offsets) - 1, axis=0)
    with single_blas_thread:
        for views, potentials, seen in zip(model.views, model.potentials, chains, strict=True):
            product = expand(views, potentials)
            unary = seen.values @ product.weights.T
            for y, (known, transition, own) in enumerate(_class_chains(views, product, unary)):
                scores[:, y] += log_partition(
                    np.zeros(len(known)), transition, own, seen.offsets, n_threads=n_threads
                )
    return scores


def hidden_objective(
    problem: Problem, vector: Array, *, n_threads: int = 1
) -> tuple[float, Array]:
    """Return the penalised negative log-likelihood of a vector of parameters, and its gradient."""
    model = model_of(problem.views, vector)
    scores = hidden_scores(model, problem.chains, n_threads=n_threads)
    log_posterior = log_softmax(scores, axis=1)
    rows = np.arange(len(scores))
    value = -float(problem.weights @ log_posterior[rows, problem.codes])
    errors = np.exp(log_posterior)
    errors[rows, problem.codes] -= 1
    errors *= problem.weights[:, None]
    parts = [
        _chain_gradient(*each, errors, n_threads)
        for each in zip(model.views, model.potentials, problem.chains, strict=True)
    ]
    gradient = np.concatenate([*parts, errors.sum(axis=0)])
    pull = problem.penalty * vector
    return value + 0.5 * float(pull @ vector), gradient + pull


def _chain_gradient(
    views: Views, potentials: Potentials, seen: Observed, errors: Array, n_threads: int
) -> Array:
    """Return the derivatives by one chain's parameters, ``errors`` being those by the scores.

    Where a class is certain, all errors of a sequence are as good as 0, and it is left out.
    """
    product = expand(views, potentials)
    by_step = np.zeros((len(seen.values), views.n_product))
    by_state = np.zeros_like(product.states)
    by_transition = np.zeros_like(product.transitions)
    lengths = np.diff(seen.offsets)
    least = NEGLIGIBLE * np.abs(errors).max(initial=0.0)
    with single_blas_thread:
        unary = seen.values @ product.weights.T
        for y, (known, transition, own) in enumerate(_class_chains(views, product, unary)):
            error, offsets, steps = errors[:, y], seen.offsets, None
            matters = np.abs(error) > least
            if not matters.all():
                steps = np.flatnonzero(np.repeat(matters, lengths))
                own, error = own[steps], error[matters]
                offsets = np.append(0, np.cumsum(lengths[matters]))
            found = posteriors(
                np.zeros(len(known)), transition, own, offsets, weights=error, n_threads=n_threads
            )
            marginals = found.marginals
            marginals *= np.repeat(error, np.diff(offsets))[:, None]
            by_state[y, known] = marginals.sum(axis=0)
            by_transition[y][np.ix_(known, known)] = found.pairs
            if len(known) < views.n_product:
                by_step[np.ix_(np.arange(len(by_step)) if steps is None else steps, known)] += (
                    marginals
                )
            elif steps is None:
                by_step += marginals
            else:
                by_step[steps] += marginals
        derivatives = Product(by_step.T @ seen.values, by_state, by_transition)
        return collapse(views, derivatives).vector()


def distance_of_states(model: HiddenModel) -> float:
    """Return by how much hidden states differ, in what they see or in their chains if less there.

    1 at most, and where no class has two states in any chain.
    """
    seen, chained = [], []
    for views, part in zip(model.views, model.potentials, strict=True):
        for m, weights in enumerate(part.weights):
            every = np.ones((views.n_classes, len(weights)), bool)
            for y, known in enumerate(every if views.allowed is None else views.allowed[m]):
                if known.sum() > 1:
                    seen.append(np.ptp(weights[known], axis=0).max(initial=0.0))
                    chained.append(np.ptp(part.states[m][y, known]))
                    chained.append(np.ptp(part.transitions[m][y][np.ix_(known, known)]))
        chained += [np.ptp(table) for table in (*part.links.values(), *part.couplings.values())]
    return float(min(1.0, max(seen), max(chained))) if seen else 1.0


# The search ---------------------------------------------------------------------------------


def fit_hidden(
    problem: Problem,
    start: HiddenModel,
    *,
    max_iter: int = 200,
    tol: float = 1e-4,
    n_threads: int = 1,
    callback: Callable[[int, float], None] | None = None,
) -> HiddenFit:
    """Go down from ``start`` by L-BFGS until no partial derivative is large.

    It has converged when the largest one is at most ``tol`` times the number of steps, each
    counted by the weight of its sequence; of chains of different lengths the longest counts.
    Where hidden states are alike there is a saddle: what would part them has derivatives of the
    order of their differences. ``tol`` is therefore multiplied by these, where they are below 1,
    and is at most ``ALIKE_TOL`` where they are below ``ALIKE``.
    """
    vector = start.vector()
    free = problem.free
    lengths = np.max([np.diff(seen.offsets) for seen in problem.chains], axis=0)
    total = float(problem.weights @ lengths)

    largest = np.inf  # of the partial derivatives where the objective was asked last

    def objective(values: Array) -> tuple[float, Array]:
        nonlocal largest
        vector[free] = values
        value, gradient = hidden_objective(problem, vector, n_threads=n_threads)
        largest = float(np.abs(gradient[free]).max(initial=0.0)) / total
        return value, gradient[free]

    def asked(values: Array) -> tuple[float, bool]:
        """Return the tolerance there, and whether states are alike."""
        vector[free] = values
        distance = distance_of_states(model_of(problem.views, vector))
        alike = distance < ALIKE
        return min(tol, ALIKE_TOL) if alike else tol * distance, alike

    history = [objective(vector[free])[0]]

    def report(intermediate_result: OptimizeResult) -> None:
        history.append(float(intermediate_result.fun))
        if callback is not None:
            callback(len(history) - 1, history[-1])
        if largest <= asked(intermediate_result.x)[0]:
            raise StopIteration

    with single_blas_thread:
        found = minimize(
            objective, vector[free], jac=True, method="L-BFGS-B", callback=report,
            options={
                "maxcor": MEMORY, "maxiter": max_iter, "maxfun": 20 * max_iter,
                "gtol": min(tol * ALIKE, ALIKE_TOL) * total, "ftol": 0.0,
            },
        )  # fmt: skip
    needed, alike = asked(found.x)
    norm = float(np.abs(found.jac).max(initial=0.0)) / total
    return HiddenFit(
        model_of(problem.views, vector), float(found.fun), norm, np.array(history),
        int(found.nit), norm <= needed, alike,
    )  # fmt: skip
