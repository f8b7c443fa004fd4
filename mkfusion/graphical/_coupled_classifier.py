"""A coupled hidden Markov model for each class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from .._validation import check_count, listed
from ..chains._coupling import (
    CoupledFit,
    CoupledHMM,
    coupled_log_likelihoods,
    factored,
    fit_coupled,
    joint_densities,
    product_chain,
)
from ..chains._em import fit_hmm
from ..chains._stream_weights import Chain, Scorer, path_scores
from ._class_data import Data, by_name, observed_scores, streams_of
from ._class_models import ClassFit, ClassModels
from ._streams import synchronous

__all__ = ["CoupledHMMClassifier"]

Array = np.ndarray


class CoupledHMMClassifier(ClassModels):
    r"""Classify sequences by one coupled hidden Markov model for each class.

    Each modality m has a chain of its own, whose next state depends on the states of all chains:

    .. math::

        p_w(X \mid c) = \sum_q \prod_m \pi^c_m(q_1^m)\, b^c_m(x_{m1} \mid q_1^m)^{w_m}
            \prod_{t > 1} P^c(q_t^m \mid q_{t-1}^1, \dots, q_{t-1}^M)\,
            b^c_m(x_{mt} \mid q_t^m)^{w_m}

    It is between a chain that all modalities share and chains that know nothing of one another:
    modalities may run apart, and still lead one another. Inference is exact on the product of the
    chains' states, whose number S is limited by ``max_states``; a pass over T steps takes T S^2
    operations. EM begins with chains that were fitted by themselves, so that a model is at least
    as likely as these. Modalities have the same steps; one that a sample lacks, and a step that
    is NaN, has factor 1. Posteriors, temperature and weights are those of
    :class:`HMMClassifier`.

    Parameters
    ----------
    n_states : int or mapping of str to int, default=2
        States of each chain, one number for all or one by modality.
    modalities : mapping of str to column selector, default=None
        As ``ColumnTransformer`` takes them. None reads the prefixes before ``__`` in the column
        names of a DataFrame; a column whose cells hold sequences is a modality by itself.
    emissions : str, (str, mapping) or mapping of str to these, default="gaussian"
        "gaussian", "gmm", "categorical" or "poisson", alone or with its options, such as
        ``("gaussian", {"covariance_type": "full"})``; one for all modalities, or a mapping
        by modality in which those that are left out are Gaussian. Symbols that any class has seen
        are known to all.
    stream_weights : "learn", array-like or mapping of str to float, default=None
        w in the order of the modalities, also by class of shape (n_modalities, n_classes); None
        is 1 each. "learn" finds those of the smallest log loss of samples that the models have
        not seen, divided by the greatest; the models are then fitted again with these.
    max_states : int, default=128
        The most joint states.
    topology : {"ergodic", "left-right"}, default="ergodic"
        "left-right" begins in each chain's first state, and stays or goes one further.
    start : mapping of str to array-like of shape (n_states,), default=None
        By modality, the probabilities that EM begins with; zeros stay zeros.
    transition : mapping of str to array-like of shape (n_states, n_states), default=None
        As ``start``: a zero holds whatever the other chains' states are.
    start_prior, transition_prior : float, default=1
        Dirichlet parameter of the probabilities that are not structural zeros; 1 is none.
    priors : "empirical" or array-like of shape (n_classes,), default="empirical"
        P(c), in the order of ``classes_``; "empirical" takes the weighted frequencies.
    temperature : "learn", float or None, default="learn"
        "learn" finds a and b by log loss on samples that the models have not seen, which takes as
        many more fits as there are folds. It needs sequences of more than one step, at least 4
        samples of each class and 2 groups: else tau is 1, and ``temperature_.origin`` says why.
        A number is tau for all lengths; None is 1. It is learnt at the classes' frequencies, and
        ``priors`` may be others.
    n_init : int, default=1
        Restarts of EM, of which the best is kept.
    max_iter : int, default=100
        Iterations of EM, of the chains by themselves and then together.
    tol : float, default=1e-3
        The gain of log-likelihood by step at which EM stops.
    cv : int, cross-validation generator or iterable, default=None
        The inner folds. None is five stratified folds, or as many as the smallest class has
        samples; a number or None keeps groups together.
    groups : str, default=None
        The index level or column of X that names the groups; a column is no feature then. None
        takes an index level named "sequence".
    remainder : {"drop", "error"}, default="drop"
        Columns of no modality are left out with a warning, or refused.
    allow_overlap : bool, default=False
        Let two modalities share columns.
    n_jobs : int, default=None
        Models that are fitted at a time, on threads. No result depends on it.
    random_state : int, RandomState instance or None, default=None
        Draws the starts of EM.
    verbose : int, default=0
        Above 0 a progress bar is shown.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    models_ : dict
        The model of each class: ``starts``, ``tables`` of shape (S_1, ..., S_M, S_m) whose last
        axis is the chain's next state, and ``emissions``.
    history_ : dict
        By class, log-likelihood plus log prior when the chains are put together and after every
        iteration; it never falls.
    stream_weights_ : ndarray of shape (n_modalities,) or (n_modalities, n_classes)
    temperature_ : Temperature
        a, b, the certificate of the optimum, and where it comes from (``origin``);
        ``temperature_.at(lengths)`` is tau.
    learnt_ : StreamWeights or None
        Learnt weights, as their sum is ``n_modalities``, with the certificate of the optimum.
    priors_ : ndarray of shape (n_classes,)
    n_iter_ : int
        The most iterations that a class took.
    modalities_ : dict
        The selectors in use.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)

    Raises
    ------
    ValueError
        If there are more joint states than ``max_states``, modalities differ in their steps, a
        class has no sample with some modality, a symbol was not seen in training, a step holds
        some NaN or infinity, or parameters are out of range.

    Warns
    -----
    ConvergenceWarning
        If a model, the weights or the temperature did not converge, with what is left.
    UserWarning
        If the temperature cannot be learnt for want of samples or groups, or a sample has no
        modality: it gets P(c).

    See Also
    --------
    HMMClassifier : One chain for all modalities, or chains that know nothing of one another.

    References
    ----------
    Brand, Oliver, Pentland (1997), Coupled hidden Markov models for complex action recognition,
    CVPR, section 3.
    Nefian, Liang, Pi, Liu, Murphy (2002), Dynamic Bayesian networks for audio-visual speech
    recognition, EURASIP Journal on Advances in Signal Processing 11, equations (7) to (13).

    Examples
    --------
    >>> from mkfusion.datasets import make_multimodal_sequences
    >>> from mkfusion.graphical import CoupledHMMClassifier
    >>> X, y = make_multimodal_sequences(60, return_X_y=True, random_state=0)
    >>> model = CoupledHMMClassifier({"audio": 2, "video": 3}, random_state=0)
    >>> model.fit(X[:40], y[:40]).models_[0].tables[1].shape
    (2, 3, 3)
    """

    def __init__(
        self,
        n_states: Any = 2,
        modalities: Mapping[str, Any] | None = None,
        *,
        emissions: Any = "gaussian",
        stream_weights: Any = None,
        max_states: int = 128,
        topology: str = "ergodic",
        start: Mapping[str, Any] | None = None,
        transition: Mapping[str, Any] | None = None,
        start_prior: float = 1.0,
        transition_prior: float = 1.0,
        priors: Any = "empirical",
        temperature: Any = "learn",
        n_init: int = 1,
        max_iter: int = 100,
        tol: float = 1e-3,
        cv: Any = None,
        groups: str | None = None,
        remainder: str = "drop",
        allow_overlap: bool = False,
        n_jobs: int | None = None,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.n_states = n_states
        self.modalities = modalities
        self.emissions = emissions
        self.stream_weights = stream_weights
        self.max_states = max_states
        self.topology = topology
        self.start = start
        self.transition = transition
        self.start_prior = start_prior
        self.transition_prior = transition_prior
        self.priors = priors
        self.temperature = temperature
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.cv = cv
        self.groups = groups
        self.remainder = remainder
        self.allow_overlap = allow_overlap
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    def _check_parameters(self) -> None:
        check_count("n_init", self.n_init)
        check_count("max_states", self.max_states)

    def _arrange(self, data: Data) -> Data:
        return dict(zip(data, synchronous(data)[0], strict=True))

    def _prepare_classes(self, data: Data) -> None:
        names = list(data)
        counts = by_name("n_states", self.n_states, names)
        sizes = [check_count("n_states", counts[name]) for name in names]
        if prod(sizes) > self.max_states:
            product = " * ".join(map(str, sizes))
            raise ValueError(
                f"the chains of {listed(names)} have {product} = {prod(sizes)} joint states, more "
                f"than max_states={self.max_states}; take fewer states or modalities, "
                "HMMClassifier, or a greater max_states: a pass over T steps takes "
                f"T * {prod(sizes)}**2 operations"
            )
        starts = by_name("start", self.start, names)
        transitions = by_name("transition", self.transition, names)
        self._options = [
            {"n_states": size, "start": starts[name], "transition": transitions[name],
             "families": [self._choices[name]]}
            for name, size in zip(names, sizes, strict=True)
        ]  # fmt: skip

    def _fit_class(
        self, data: Data, c: int, weights: Array, own: Array, seed: Sequence[int]
    ) -> ClassFit:
        streams, offsets = streams_of(data), next(iter(data.values())).offsets
        best: CoupledFit | None = None
        for restart in range(self.n_init):
            begin = self._apart(streams, offsets, weights, [*seed, restart])
            found = fit_coupled(
                begin, streams, offsets, stream_weights=own, sample_weight=weights,
                start_prior=self.start_prior, transition_prior=self.transition_prior,
                max_iter=self.max_iter, tol=self.tol,
            )  # fmt: skip
            if best is None or found.history[-1] > best.history[-1]:
                best = found
        assert best is not None
        return ClassFit(best.model, best.history, best.n_iter, best.converged, best.gain)

    def _apart(
        self, streams: Sequence[Any], offsets: Array, weights: Array, seed: Sequence[int]
    ) -> CoupledHMM:
        """Return chains that were fitted by themselves, as a model of all of them."""
        fits = [
            fit_hmm(
                [stream], offsets, **options, sample_weight=weights, topology=self.topology,
                start_prior=self.start_prior, transition_prior=self.transition_prior,
                max_iter=self.max_iter, tol=self.tol, rng=np.random.default_rng([*seed, m]),
            ).model
            for m, (stream, options) in enumerate(zip(streams, self._options, strict=True))
        ]  # fmt: skip
        return factored(
            [model.start for model in fits],
            [model.transition for model in fits],
            [model.emissions[0] for model in fits],
        )

    def _scorer(self, models: Sequence[Any], data: Data) -> Scorer:
        chains = [None if model is None else _chain_of(model, data) for model in models]
        return path_scores(chains, next(iter(data.values())).offsets)

    def _log_likelihoods(self, model: Any, data: Data, weights: Array) -> Array:
        offsets = next(iter(data.values())).offsets
        return coupled_log_likelihoods(model, streams_of(data), offsets, weights)


def _chain_of(model: CoupledHMM, data: Data) -> Chain:
    """Return the chain of joint states, and what each stream says under each of them."""
    pairs = zip(model.emissions, data.values(), strict=True)
    scores = [observed_scores(emission, own) for emission, own in pairs]
    start, transition = product_chain(model.starts, model.tables)
    with np.errstate(divide="ignore"):
        return Chain(np.log(start), np.log(transition), joint_densities(scores))
