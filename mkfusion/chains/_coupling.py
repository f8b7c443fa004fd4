"""Coupled chains: each chain's state depends on the states of all chains a step before.

The joint state of the chains is one state of a plain chain, on which everything is exact; the
conditional tables are sums of its pairs. The number of joint states is the product of the chains'
numbers, and so is the price: a pass over T steps takes T S^2 operations.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ._chain import Posteriors, log_partition, posteriors, viterbi
from ._emissions import Emission, Stream

__all__ = [
    "CoupledFit",
    "CoupledHMM",
    "CoupledPosteriors",
    "chain_counts",
    "chain_marginals",
    "coupled_log_likelihoods",
    "coupled_paths",
    "coupled_posteriors",
    "factored",
    "fit_coupled",
    "joint_densities",
    "product_chain",
    "product_unary",
]

Array = np.ndarray


class CoupledHMM(NamedTuple):
    r"""A coupled hidden Markov model of C chains.

    .. math::

        P(q_1) = \prod_c \pi_c(q_1^c), \qquad
        P(q_t \mid q_{t-1}) = \prod_c P(q_t^c \mid q_{t-1}^1, \dots, q_{t-1}^C), \qquad
        x_{ct} \sim b_c(\cdot \mid q_t^c)

    Attributes
    ----------
    starts : tuple of ndarray of shape (S_c,)
    tables : tuple of ndarray of shape (S_1, ..., S_C, S_c)
        The last axis is the chain's own next state, and sums to 1. Zeros are structural.
    emissions : tuple of Emission
    """

    starts: tuple[Array, ...]
    tables: tuple[Array, ...]
    emissions: tuple[Emission, ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """The number of states of each chain."""
        return tuple(len(start) for start in self.starts)


class CoupledPosteriors(NamedTuple):
    """What all joint paths together say of each chain.

    Attributes
    ----------
    log_partition : ndarray of shape (n_sequences,)
    marginals : tuple of ndarray of shape (n_steps, S_c)
    starts : tuple of ndarray of shape (S_c,)
        Weighted sums over the sequences.
    counts : tuple of ndarray of shape (S_1, ..., S_C, S_c)
        Weighted sums over sequences and steps of P(q_{t-1}, q_t^c).
    """

    log_partition: Array
    marginals: tuple[Array, ...]
    starts: tuple[Array, ...]
    counts: tuple[Array, ...]


class CoupledFit(NamedTuple):
    """What EM found, and its certificate.

    Attributes
    ----------
    model : CoupledHMM
    log_likelihood : float
        Of all sequences, weighted, at the model.
    history : ndarray of shape (n_iter + 1,)
        Log-likelihood plus log prior at the start and after every iteration; it never falls.
    n_iter : int
    converged : bool
    gain : float
        Of the last iteration, by step.
    """

    model: CoupledHMM
    log_likelihood: float
    history: Array
    n_iter: int
    converged: bool
    gain: float


def product_chain(starts: Sequence[Array], tables: Sequence[Array]) -> tuple[Array, Array]:
    """Return start (S,) and transition (S, S) of the joint chain, as probabilities.

    Joint states are counted with the last chain's state running fastest.
    """
    start = np.ones(())
    for own in starts:
        start = np.multiply.outer(start, own)
    n_joint = start.size
    transition = np.ones((n_joint, 1))
    for table in tables:
        rows = table.reshape(n_joint, 1, -1)
        transition = (transition[:, :, None] * rows).reshape(n_joint, -1)
    return start.ravel(), transition


def product_unary(scores: Sequence[Array]) -> Array:
    """Return the sums of the chains' scores at every joint state, (n_steps, S)."""
    total = scores[0]
    for own in scores[1:]:
        total = (total[:, :, None] + own[:, None, :]).reshape(len(own), -1)
    return total


def joint_densities(scores: Sequence[Array]) -> Array:
    """Return each chain's scores at every joint state, (C, n_steps, S)."""
    silent = [np.zeros_like(own) for own in scores]
    return np.array(
        [product_unary([*silent[:c], own, *silent[c + 1 :]]) for c, own in enumerate(scores)]
    )


def chain_marginals(marginals: Array, sizes: Sequence[int]) -> tuple[Array, ...]:
    """Return every chain's marginals (n_steps, S_c) from those of joint states (n_steps, S)."""
    joint = marginals.reshape(len(marginals), *sizes)
    axes = range(1, len(sizes) + 1)
    return tuple(joint.sum(axis=tuple(a for a in axes if a != c)) for c in axes)


def chain_counts(pairs: Array, sizes: Sequence[int]) -> tuple[Array, ...]:
    """Return the counts of every chain's table from the joint chain's pairs (S, S)."""
    return tuple(own.reshape(*sizes, -1) for own in chain_marginals(pairs, sizes))


def factored(
    starts: Sequence[Array], transitions: Sequence[Array], emissions: Sequence[Emission]
) -> CoupledHMM:
    """Return the coupled model of chains that do not know of one another.

    Parameters
    ----------
    starts : sequence of ndarray of shape (S_c,)
    transitions : sequence of ndarray of shape (S_c, S_c)
    emissions : sequence of Emission

    Returns
    -------
    model : CoupledHMM
        Its log-likelihood is the sum of the chains' own.
    """
    sizes = tuple(len(start) for start in starts)
    tables = []
    for c, transition in enumerate(transitions):
        rows = [size if k == c else 1 for k, size in enumerate(sizes)]
        own = transition.reshape(*rows, sizes[c])
        tables.append(np.array(np.broadcast_to(own, (*sizes, sizes[c]))))
    return CoupledHMM(tuple(starts), tuple(tables), tuple(emissions))


def coupled_log_likelihoods(
    model: CoupledHMM,
    streams: Sequence[Stream],
    offsets: Array,
    stream_weights: Array | None = None,
    n_threads: int = 1,
) -> Array:
    """Return log p(X) of each sequence, summed over all joint paths.

    Parameters
    ----------
    model : CoupledHMM
    streams : sequence of Stream
        One for each chain, all with the same steps; an absent step has factor 1.
    offsets : ndarray of int of shape (n_sequences + 1,)
    stream_weights : ndarray of shape (C,), default=None
        Exponents of the densities; None is 1 each.
    n_threads : int

    Returns
    -------
    log_likelihoods : ndarray of shape (n_sequences,)
    """
    start, transition, unary = _potentials(model, streams, stream_weights, n_threads)
    return log_partition(start, transition, unary, offsets, n_threads=n_threads)


def coupled_posteriors(
    model: CoupledHMM,
    streams: Sequence[Stream],
    offsets: Array,
    stream_weights: Array | None = None,
    *,
    weights: Array | None = None,
    n_threads: int = 1,
) -> CoupledPosteriors:
    """Return what all joint paths say of each chain: the E-step.

    Parameters
    ----------
    model, streams, offsets, stream_weights, n_threads : as in `coupled_log_likelihoods`
    weights : ndarray of shape (n_sequences,), default=None
        Of the sequences, in starts and counts.

    Returns
    -------
    posteriors : CoupledPosteriors
    """
    start, transition, unary = _potentials(model, streams, stream_weights, n_threads)
    found = posteriors(start, transition, unary, offsets, weights=weights, n_threads=n_threads)
    return _by_chain(found, model.sizes)


def coupled_paths(
    model: CoupledHMM,
    streams: Sequence[Stream],
    offsets: Array,
    stream_weights: Array | None = None,
    n_threads: int = 1,
) -> tuple[Array, Array]:
    """Return the best joint path, (n_steps, C), and its score for each sequence."""
    potentials = _potentials(model, streams, stream_weights, n_threads)
    found = viterbi(*potentials, offsets, n_threads=n_threads)
    return np.stack(np.unravel_index(found.states, model.sizes), axis=1), found.scores


def fit_coupled(
    initial: CoupledHMM,
    streams: Sequence[Stream],
    offsets: Array,
    *,
    stream_weights: Array | None = None,
    sample_weight: Array | None = None,
    start_prior: float = 1.0,
    transition_prior: float = 1.0,
    max_iter: int = 100,
    tol: float = 1e-4,
    n_threads: int = 1,
) -> CoupledFit:
    r"""Improve a coupled model by expectation and maximisation.

    The M-step of a table divides its expected counts by their sums over the chain's own next
    state; a joint state that no sequence visits keeps its row, and a zero stays a zero. From a
    :func:`factored` model of chains that were fitted by themselves, the result is at least as
    likely as these.

    Parameters
    ----------
    initial : CoupledHMM
    streams : sequence of Stream
    offsets : ndarray of int of shape (n_sequences + 1,)
    stream_weights : ndarray of shape (C,), default=None
    sample_weight : ndarray of shape (n_sequences,), default=None
    start_prior, transition_prior : float
        Dirichlet parameter of every start, and of every row of a table, where they may be above 0;
        1 is none.
    max_iter : int
    tol : float
        Stop when an iteration gains less than this by step.
    n_threads : int

    Returns
    -------
    fit : CoupledFit

    References
    ----------
    Brand, Oliver, Pentland (1997), Coupled hidden Markov models for complex action recognition,
    CVPR, section 3. Nefian, Liang, Pi, Liu, Murphy (2002), Dynamic Bayesian networks for
    audio-visual speech recognition, EURASIP JASP 11, equations (7) to (13).
    """
    shares = np.ones(len(offsets) - 1) if sample_weight is None else sample_weight
    by_step = np.repeat(shares, np.diff(offsets))
    used = _weights(stream_weights, len(streams))
    ready = [e.prepare(s) for e, s in zip(initial.emissions, streams, strict=True)]
    lasting = [np.where(s.present, by_step, 0.0)[:, None] for s in streams]
    n_steps = float(by_step.sum())
    model, history, converged, gain = initial, [], False, np.inf
    likelihood = -np.inf
    for n_iter in range(max_iter + 1):
        scores = _scores(model, ready, streams, n_threads)
        start, transition = map(_log, product_chain(model.starts, model.tables))
        unary = product_unary([_scaled(own, w) for own, w in zip(scores, used, strict=True)])
        found = posteriors(start, transition, unary, offsets, weights=shares, n_threads=n_threads)
        if np.isneginf(found.log_partition[shares > 0]).any():
            raise ValueError(
                "a sequence is impossible under the zeros of start and transition; allow more"
            )
        counted = np.where(shares > 0, found.log_partition, 0.0)
        likelihood = float(shares @ counted)
        prior = _log_prior(model, used, start_prior, transition_prior)
        history.append(likelihood + prior)
        if n_iter:
            gain = (history[-1] - history[-2]) / n_steps
            if gain < tol:
                converged = True
                break
        if n_iter == max_iter:
            break
        expected = _by_chain(found, model.sizes)
        model = CoupledHMM(
            _normalised(expected.starts, model.starts, start_prior),
            _normalised(expected.counts, model.tables, transition_prior),
            tuple(
                emission.maximized(emission.statistics(own, marginals * share, n_threads))
                for emission, own, marginals, share in zip(
                    model.emissions, ready, expected.marginals, lasting, strict=True
                )
            ),
        )
    return CoupledFit(model, likelihood, np.array(history), n_iter, converged, float(gain))


def _potentials(
    model: CoupledHMM, streams: Sequence[Stream], stream_weights: Array | None, n_threads: int
) -> tuple[Array, Array, Array]:
    ready = [e.prepare(s) for e, s in zip(model.emissions, streams, strict=True)]
    scores = _scores(model, ready, streams, n_threads)
    used = _weights(stream_weights, len(streams))
    unary = product_unary([_scaled(own, w) for own, w in zip(scores, used, strict=True)])
    start, transition = product_chain(model.starts, model.tables)
    return _log(start), _log(transition), unary


def _scores(
    model: CoupledHMM, ready: Sequence[object], streams: Sequence[Stream], n_threads: int
) -> list[Array]:
    found = []
    for emission, own, stream in zip(model.emissions, ready, streams, strict=True):
        scores = emission.scores(own, n_threads)
        if not stream.present.all():
            scores = np.where(stream.present[:, None], scores, 0.0)
        found.append(scores)
    return found


def _scaled(scores: Array, weight: float) -> Array:
    """Return weighted scores; those of weight 0 are 0 even where they are -inf."""
    if weight == 1:
        return scores
    return weight * scores if weight else np.zeros_like(scores)


def _weights(stream_weights: Array | None, n_streams: int) -> Array:
    return np.ones(n_streams) if stream_weights is None else np.asarray(stream_weights, float)


def _by_chain(found: Posteriors, sizes: Sequence[int]) -> CoupledPosteriors:
    return CoupledPosteriors(
        found.log_partition,
        chain_marginals(found.marginals, sizes),
        tuple(own[0] for own in chain_marginals(found.start[None], sizes)),
        chain_counts(found.pairs, sizes),
    )


def _normalised(
    counts: Sequence[Array], old: Sequence[Array], concentration: float
) -> tuple[Array, ...]:
    """Return the most probable tables under their counts; rows without any stay as they are."""
    found = []
    for own, before in zip(counts, old, strict=True):
        own = np.where(before > 0, np.maximum(own + (concentration - 1.0), 0.0), 0.0)
        sums = own.sum(axis=-1, keepdims=True)
        found.append(np.where(sums > 0, own / np.where(sums > 0, sums, 1.0), before))
    return tuple(found)


def _log_prior(
    model: CoupledHMM, used: Array, start_prior: float, transition_prior: float
) -> float:
    total = sum(
        weight * emission.log_prior()
        for emission, weight in zip(model.emissions, used, strict=True)
        if weight
    )
    for arrays, concentration in ((model.starts, start_prior), (model.tables, transition_prior)):
        if concentration != 1:
            total += (concentration - 1) * sum(np.log(own[own > 0]).sum() for own in arrays)
    return float(total)


def _log(probabilities: Array) -> Array:
    with np.errstate(divide="ignore"):
        return np.log(probabilities)
