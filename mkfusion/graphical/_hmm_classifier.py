"""A hidden Markov model for each class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from .._validation import check_count, check_option
from ..chains._em import HMM, HMMFit, fit_hmm, log_likelihoods, log_potentials
from ..chains._stream_weights import Chain, Scorer, linear_scores, path_scores
from ._class_data import Data, by_class, observed_scores, streams_of, take_samples
from ._class_models import ClassFit, ClassModels
from ._streams import synchronous

__all__ = ["HMMClassifier"]

Array = np.ndarray

CHAINS = ("shared", "separate")


class HMMClassifier(ClassModels):
    r"""Classify sequences of several modalities by one hidden Markov model for each class.

    With a shared chain, the states q of class c emit every modality m, with weight :math:`w_m`:

    .. math::

        p_w(X \mid c) = \sum_q \pi^c_{q_1} \prod_t A^c_{q_{t-1} q_t}
            \prod_m b^c_m(x_{mt} \mid q_t)^{w_m}

    and with separate ones each modality has its own states, length and rate:
    :math:`p_w(X \mid c) = \prod_m p_m(X_m \mid c)^{w_m}`. A modality that a sample lacks, and a
    step that is NaN, has factor 1, in training too. The posteriors are

    .. math::

        P(c \mid X) \propto P(c) \exp\{\log p_w(X \mid c) / \tau(T)\}, \qquad
        \tau(T) = e^{a + b \log T}

    with T the number of observed steps, summed over modalities. A model takes its steps for more
    evidence than they are, so that its posteriors at tau = 1 are nearly 0 and 1 for long
    sequences; with a and b learnt out of fold they can stand beside others in a late fusion.

    Parameters
    ----------
    n_states : int or mapping of label to int, default=3
        States of the model of each class.
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
        is 1 each, and 0 removes a modality. "learn" finds those of the smallest log loss of
        samples that the models have not seen, divided by the greatest; the models of a shared
        chain are then fitted again with these.
    chain : {"shared", "separate"}, default="shared"
        Whether all modalities see the same states, and then have the same steps, or each has a
        model of its own.
    topology : {"ergodic", "left-right"}, default="ergodic"
        "left-right" begins in the first state, and stays or goes one further.
    start : array-like of shape (n_states,) or mapping of label to these, default=None
        The probabilities that EM begins with; zeros stay zeros.
    transition : array-like of shape (n_states, n_states) or mapping of label to these, \
            default=None
        As ``start``, from row to column.
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
        Iterations of EM.
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
        The model of each class: ``start``, ``transition`` and ``emissions``; with separate chains
        a dict of them by modality.
    history_ : dict
        By class (and modality), log-likelihood plus log prior at the start and after every
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
        If streams of a shared chain differ in their steps, a class has no sample with some
        modality, a symbol was not seen in training, a step holds some NaN or infinity, zeros
        leave no path for a training sequence, or parameters are out of range.

    Warns
    -----
    ConvergenceWarning
        If a model, the weights or the temperature did not converge, with what is left.
    UserWarning
        If the temperature cannot be learnt for want of samples or groups, or a sample has no
        modality: it gets P(c).

    See Also
    --------
    CoupledHMMClassifier : A chain for each modality, and each sees all chains' past.
    mkfusion.LateFusionClassifier : Any classifier for each modality; this one may be one of them.

    References
    ----------
    Rabiner (1989), A tutorial on hidden Markov models and selected applications in speech
    recognition, Proceedings of the IEEE 77, equations (40) and (52) to (54).
    Potamianos, Neti, Gravier, Garg, Senior (2003), Recent advances in the automatic recognition
    of audiovisual speech, Proceedings of the IEEE 91, section IV, for weights of streams.

    Examples
    --------
    >>> from mkfusion.datasets import make_multimodal_sequences
    >>> from mkfusion.graphical import HMMClassifier
    >>> X, y = make_multimodal_sequences(60, return_X_y=True, random_state=0)
    >>> model = HMMClassifier(stream_weights={"audio": 1, "video": 0.5}, random_state=0)
    >>> model.fit(X[:40], y[:40]).predict_proba(X[40:]).shape
    (20, 2)
    >>> model.temperature_.origin
    'learnt out of fold'
    """

    def __init__(
        self,
        n_states: Any = 3,
        modalities: Mapping[str, Any] | None = None,
        *,
        emissions: Any = "gaussian",
        stream_weights: Any = None,
        chain: str = "shared",
        topology: str = "ergodic",
        start: Any = None,
        transition: Any = None,
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
        self.chain = chain
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
        check_option("chain", self.chain, CHAINS)

    def _weights_are_outside(self) -> bool:
        return bool(self.chain == "separate")

    def _arrange(self, data: Data) -> Data:
        if self._weights_are_outside():
            return data
        return dict(zip(data, synchronous(data)[0], strict=True))

    def _prepare_classes(self, data: Data) -> None:
        classes = self.classes_.tolist()
        self._options = [
            {"n_states": check_count("n_states", count), "start": start, "transition": transition}
            for count, start, transition in zip(
                by_class("n_states", self.n_states, classes),
                by_class("start", self.start, classes),
                by_class("transition", self.transition, classes),
                strict=True,
            )
        ]

    def _fit_class(
        self, data: Data, c: int, weights: Array, own: Array, seed: Sequence[int]
    ) -> ClassFit:
        fit: Any = partial(
            fit_hmm,
            **self._options[c],
            topology=self.topology,
            start_prior=self.start_prior,
            transition_prior=self.transition_prior,
            n_init=self.n_init,
            max_iter=self.max_iter,
            tol=self.tol,
        )
        if not self._weights_are_outside():
            found = fit(
                streams_of(data),
                next(iter(data.values())).offsets,
                families=list(self._choices.values()),
                stream_weights=own,
                sample_weight=weights,
                rng=np.random.default_rng(seed),
            )
            return ClassFit(found.model, found.history, found.n_iter, found.converged, found.gain)
        fits: dict[str, HMMFit] = {}
        for m, (name, sequences) in enumerate(data.items()):
            there = np.flatnonzero(np.diff(sequences.offsets) > 0)
            kept = take_samples({name: sequences}, there)
            fits[name] = fit(
                streams_of(kept),
                kept[name].offsets,
                families=[self._choices[name]],
                sample_weight=weights[there],
                rng=np.random.default_rng([*seed, m]),
            )
        return ClassFit(
            {name: found.model for name, found in fits.items()},
            {name: found.history for name, found in fits.items()},
            max(found.n_iter for found in fits.values()),
            all(found.converged for found in fits.values()),
            max(found.gain for found in fits.values()),
        )

    def _scorer(self, models: Sequence[Any], data: Data) -> Scorer:
        if not self._weights_are_outside():
            chains = [None if model is None else _chain_of(model, data) for model in models]
            return path_scores(chains, next(iter(data.values())).offsets)
        n_samples = len(next(iter(data.values())).offsets) - 1
        table = np.full((n_samples, len(data), len(models)), -np.inf)
        for c, model in enumerate(models):
            if model is not None:
                table[:, :, c] = _by_modality(model, data)
        return linear_scores(table)

    def _log_likelihoods(self, model: Any, data: Data, weights: Array) -> Array:
        if self._weights_are_outside():
            heard = np.flatnonzero(weights)
            names = list(data)
            some = {names[m]: data[names[m]] for m in heard}
            return _by_modality(model, some) @ weights[heard]
        offsets = next(iter(data.values())).offsets
        return log_likelihoods(model, streams_of(data), offsets, weights)


def _chain_of(model: HMM, data: Data) -> Chain:
    """Return the chain of a model, and what each stream says under each state."""
    pairs = zip(model.emissions, data.values(), strict=True)
    densities = np.array([observed_scores(emission, own) for emission, own in pairs])
    return Chain(*log_potentials(model), densities)


def _by_modality(models: Mapping[str, HMM], data: Data) -> Array:
    """Return the log-likelihood of each modality, (n_samples, n_modalities); 0 if absent."""
    columns = []
    for name, sequences in data.items():
        there = np.flatnonzero(np.diff(sequences.offsets) > 0)
        column = np.zeros(len(sequences.offsets) - 1)
        kept = take_samples({name: sequences}, there)
        column[there] = log_likelihoods(models[name], streams_of(kept), kept[name].offsets)
        columns.append(column)
    return np.column_stack(columns)
