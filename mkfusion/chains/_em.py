"""Training of hidden Markov models of several streams, by expectation-maximisation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .._parallel import single_blas_thread
from ._chain import posteriors, step_sequence
from ._em_model import (
    HMM,
    checked_stream_weights,
    emission_scores,
    log_likelihoods,
    log_potentials,
    n_parameters,
    prepare,
    unary_scores,
)
from ._em_start import (
    TOPOLOGIES,
    initial_model,
    initial_responsibilities,
    stream_features,
    structure,
)
from ._emissions import Stream

__all__ = [
    "HMM",
    "TOPOLOGIES",
    "Expectation",
    "HMMFit",
    "emission_scores",
    "expect",
    "fit_hmm",
    "initial_responsibilities",
    "log_likelihoods",
    "log_potentials",
    "maximize",
    "n_parameters",
    "prepare",
    "stream_features",
]

Array = np.ndarray


class Expectation(NamedTuple):
    """What one pass over the sequences finds under a model.

    Attributes
    ----------
    log_likelihoods : ndarray of shape (n_sequences,)
    start : ndarray of shape (S,)
    pairs : ndarray of shape (S, S)
    statistics : tuple
        What each emission is re-estimated from.
    """

    log_likelihoods: Array
    start: Array
    pairs: Array
    statistics: tuple[Any, ...]


class HMMFit(NamedTuple):
    """A trained model, with its certificate.

    Attributes
    ----------
    model : HMM
    log_likelihood : float
        The weighted sum over sequences, under the model.
    history : ndarray of shape (n_iter + 1,)
        The objective before the first and after every iteration: log-likelihood and log prior.
    n_iter : int
    converged : bool
    gain : float
        Of the last iteration, by step.
    """

    model: HMM
    log_likelihood: float
    history: Array
    n_iter: int
    converged: bool
    gain: float


# Expectation and maximisation ---------------------------------------------------------------


def expect(
    model: HMM,
    streams: Sequence[Stream],
    prepared: Sequence[Any],
    offsets: Array,
    *,
    stream_weights: Array,
    sample_weight: Array | None = None,
    clamped: Array | None = None,
    n_threads: int = 1,
) -> Expectation:
    """Return log-likelihoods and expected statistics under a model (the E-step).

    The states' responsibilities are those of the weighted model, in every stream.
    """
    unary = unary_scores(model, streams, prepared, stream_weights, n_threads)
    if clamped is not None:
        unary[~clamped] = -np.inf
    chain = posteriors(
        *log_potentials(model), unary, offsets, weights=sample_weight, n_threads=n_threads
    )
    gamma = chain.marginals
    if sample_weight is not None:
        gamma *= sample_weight[step_sequence(offsets), None]
    statistics = []
    for emission, stream, ready in zip(model.emissions, streams, prepared, strict=True):
        whole = stream.present.all()
        shown = gamma if whole else np.where(stream.present[:, None], gamma, 0.0)
        statistics.append(emission.statistics(ready, shown, n_threads))
    return Expectation(chain.log_partition, chain.start, chain.pairs, tuple(statistics))


def maximize(
    model: HMM, found: Expectation, start_prior: float = 1.0, transition_prior: float = 1.0
) -> HMM:
    """Return the model of greatest expected log-likelihood plus log prior (the M-step)."""
    start = _distribution(found.start[None], model.start[None], start_prior)[0]
    transition = _distribution(found.pairs, model.transition, transition_prior)
    emissions = tuple(
        emission.maximized(statistics)
        for emission, statistics in zip(model.emissions, found.statistics, strict=True)
    )
    return HMM(start, transition, emissions)


def _distribution(counts: Array, before: Array, prior: float) -> Array:
    """Return each row's distribution; zeros stay, and a row that nothing is known of stays."""
    counts = np.where(before > 0, counts + (prior - 1), 0.0)
    sums = counts.sum(axis=1, keepdims=True)
    return np.where(sums > 0, counts / np.where(sums > 0, sums, 1.0), before)


def _log_prior(model: HMM, stream_weights: Array, start_prior: float, prior: float) -> float:
    total = 0.0
    if start_prior != 1:
        total += (start_prior - 1) * float(np.log(model.start[model.start > 0]).sum())
    if prior != 1:
        total += (prior - 1) * float(np.log(model.transition[model.transition > 0]).sum())
    for emission, weight in zip(model.emissions, stream_weights, strict=True):
        if weight:
            total += weight * emission.log_prior()
    return total


# Training -----------------------------------------------------------------------------------


def fit_hmm(
    streams: Sequence[Stream],
    offsets: Array,
    n_states: int,
    families: Sequence[Any],
    *,
    stream_weights: Any = None,
    start: Any = None,
    transition: Any = None,
    topology: str = "ergodic",
    start_prior: float = 1.0,
    transition_prior: float = 1.0,
    clamped: Array | None = None,
    sample_weight: Array | None = None,
    n_init: int = 1,
    max_iter: int = 100,
    tol: float = 1e-4,
    rng: np.random.Generator | None = None,
    n_threads: int = 1,
    initial: Any = None,
    progress: Any = None,
) -> HMMFit:
    r"""Train a hidden Markov model of several streams by expectation-maximisation.

    .. math:: \max \sum_i s_i \log \sum_q \pi_{q_1} \prod_t A_{q_{t-1} q_t}
        \prod_m b_{q_t m}(x_{itm})^{w_m} + \log p(\theta)

    which never falls from one iteration to the next, for any weights of streams: what a stream's
    log prior counts is its weight times.

    Parameters
    ----------
    streams : sequence of Stream
        The same steps in every stream. A step that is absent has the factor 1.
    offsets : ndarray of int64 of shape (n_sequences + 1,)
    n_states : int
    families : sequence
        A name, or a pair of a name and options, for each stream.
    stream_weights : array-like of shape (n_streams,), default=None
        w; None is 1.
    start : array-like of shape (n_states,), default=None
        Where EM begins; zeros stay.
    transition : array-like of shape (n_states, n_states), default=None
        As ``start``.
    topology : {"ergodic", "left-right"}, default="ergodic"
        "left-right" starts in the first state and stays or goes to the next one.
    start_prior, transition_prior : float, default=1
        Concentration of the Dirichlet priors, at least 1, over what is no structural zero.
    clamped : ndarray of bool of shape (n_steps, n_states), default=None
        The states that are allowed at each step.
    sample_weight : ndarray of shape (n_sequences,), default=None
        s: of weight 2, a sequence stands twice; of weight 0, not at all.
    n_init : int, default=1
        Restarts, of which the best is kept.
    max_iter : int, default=100
    tol : float, default=1e-4
        Stop when an iteration gains less than this by step.
    rng : Generator, default=None
        None is a generator of seed 0.
    n_threads : int, default=1
        The result does not depend on it.
    initial : HMM or ndarray of shape (n_steps, n_states), default=None
        A model to begin with, or responsibilities to make it of; there is one run then.
    progress : callable, default=None
        Called with the restart, the iteration and the gain.

    Returns
    -------
    fit : HMMFit

    References
    ----------
    Rabiner (1989), A tutorial on hidden Markov models and selected applications in speech
    recognition, equations (40) and (52) to (54). Potamianos, Neti, Gravier, Garg and Senior
    (2003), Recent advances in the automatic recognition of audiovisual speech, equation (11).
    """
    rng = np.random.default_rng(0) if rng is None else rng
    offsets = np.asarray(offsets, dtype=np.int64)
    weights = checked_stream_weights(stream_weights, len(streams))
    _check_numbers(n_states, n_init, max_iter, tol, start_prior, transition_prior)
    _check_steps(streams, offsets, n_states, families, clamped, sample_weight)
    if isinstance(initial, np.ndarray) and initial.shape != (offsets[-1], n_states):
        raise ValueError(
            f"initial must have shape {(int(offsets[-1]), n_states)}, got {initial.shape}"
        )
    kept = np.ones(len(offsets) - 1, bool) if sample_weight is None else sample_weight > 0
    if not kept.any():
        raise ValueError("no sequence has a weight above 0")
    if not kept.all():
        steps = kept[step_sequence(offsets)]
        streams = [Stream(stream.values[steps], stream.present[steps]) for stream in streams]
        offsets = np.r_[0, np.cumsum(np.diff(offsets)[kept])]
        clamped = None if clamped is None else clamped[steps]
        initial = initial[steps] if isinstance(initial, np.ndarray) else initial
        sample_weight = None if sample_weight is None else sample_weight[kept]
    begin_with = structure(n_states, topology, start, transition)
    begin = _Beginning(
        streams, offsets, n_states, families, topology, weights, clamped, sample_weight, begin_with
    )
    best = None
    with single_blas_thread:
        seeds = rng.integers(2**63, size=n_init if initial is None else 1)
        for restart, seed in enumerate(seeds):
            model = begin.model(initial, np.random.default_rng(seed), restart)
            fit = _run(
                model,
                streams,
                offsets,
                weights,
                clamped,
                sample_weight,
                (start_prior, transition_prior),
                (max_iter, tol),
                n_threads,
                None if progress is None else lambda *at, i=restart: progress(i, *at),
            )
            if best is None or fit.history[-1] > best.history[-1]:
                best = fit
    assert best is not None
    return best


class _Beginning(NamedTuple):
    """What every restart begins with."""

    streams: Sequence[Stream]
    offsets: Array
    n_states: int
    families: Sequence[Any]
    topology: str
    stream_weights: Array
    clamped: Array | None
    sample_weight: Array | None
    structure: tuple[Array, Array, tuple[bool, bool]]

    def model(self, initial: Any, rng: np.random.Generator, restart: int) -> HMM:
        if isinstance(initial, HMM):
            return initial
        own = self.sample_weight
        sequence_weights = np.ones(len(self.offsets) - 1) if own is None else own
        guess = initial
        if guess is None:
            guess = initial_responsibilities(
                self.streams,
                self.offsets,
                self.n_states,
                self.families,
                rng=rng,
                topology=self.topology,
                stream_weights=self.stream_weights,
                step_weights=sequence_weights[step_sequence(self.offsets)],
                clamped=self.clamped,
                restart=restart,
            )
        return initial_model(
            self.streams,
            self.offsets,
            self.families,
            guess,
            *self.structure,
            rng,
            self.stream_weights,
            sequence_weights,
        )


def _run(
    model: HMM,
    streams: Sequence[Stream],
    offsets: Array,
    stream_weights: Array,
    clamped: Array | None,
    sample_weight: Array | None,
    priors: tuple[float, float],
    stop: tuple[int, float],
    n_threads: int,
    progress: Any,
) -> HMMFit:
    """Iterate from one model to a local optimum."""
    max_iter, tol = stop
    prepared = prepare(model, streams)
    sequence_weights = np.ones(len(offsets) - 1) if sample_weight is None else sample_weight
    n_steps = float(sequence_weights @ np.diff(offsets))
    history: list[float] = []
    gain = np.inf
    while True:
        found = expect(
            model,
            streams,
            prepared,
            offsets,
            stream_weights=stream_weights,
            sample_weight=sample_weight,
            clamped=clamped,
            n_threads=n_threads,
        )
        log_likelihood = float(sequence_weights @ found.log_likelihoods)
        if not np.isfinite(log_likelihood):
            i = int(np.flatnonzero(~np.isfinite(found.log_likelihoods))[0])
            raise ValueError(
                f"sequence {i} has no possible path: zeros in start, transition or emissions, or "
                "the states that its steps are clamped to, forbid all"
            )
        history.append(log_likelihood + _log_prior(model, stream_weights, *priors))
        if len(history) > 1:
            gain = (history[-1] - history[-2]) / n_steps
        if progress is not None:
            progress(len(history) - 1, gain)
        if gain < tol or len(history) > max_iter:
            break
        model = maximize(model, found, *priors)
    n_iter = len(history) - 1
    return HMMFit(model, log_likelihood, np.array(history), n_iter, gain < tol, gain)


def _check_numbers(
    n_states: int,
    n_init: int,
    max_iter: int,
    tol: float,
    start_prior: float,
    transition_prior: float,
) -> None:
    for name, value, least in (
        ("n_states", n_states, 1),
        ("n_init", n_init, 1),
        ("max_iter", max_iter, 0),
    ):
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
            raise ValueError(f"{name} must be a whole number, at least {least}, got {value!r}")
    for name, number, floor in (
        ("tol", tol, 0.0),
        ("start_prior", start_prior, 1.0),
        ("transition_prior", transition_prior, 1.0),
    ):
        if not (floor <= number < np.inf):
            raise ValueError(f"{name} must be at least {floor:g}, got {number!r}")


def _check_steps(
    streams: Sequence[Stream],
    offsets: Array,
    n_states: int,
    families: Sequence[Any],
    clamped: Array | None,
    sample_weight: Array | None,
) -> None:
    n_steps = int(offsets[-1])
    if not len(streams) or len(streams) != len(families):
        raise ValueError(f"{len(streams)} streams and {len(families)} families of emissions")
    for m, stream in enumerate(streams):
        if len(stream.values) != n_steps or stream.present.shape != (n_steps,):
            raise ValueError(
                f"stream {m} has {len(stream.values)} steps, the offsets end at {n_steps}"
            )
    lengths = np.diff(offsets)
    if not len(lengths) or (lengths < 1).any():
        raise ValueError("every sequence must have at least one step")
    if clamped is not None:
        if clamped.shape != (n_steps, n_states):
            raise ValueError(f"clamped must have shape {(n_steps, n_states)}, got {clamped.shape}")
        if not clamped.any(axis=1).all():
            step = int(np.flatnonzero(~clamped.any(axis=1))[0])
            raise ValueError(f"step {step} is clamped to no state at all")
    if sample_weight is not None and sample_weight.shape != lengths.shape:
        raise ValueError(
            f"sample_weight must have shape {lengths.shape}, got {sample_weight.shape}"
        )
