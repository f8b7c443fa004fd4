"""A hidden Markov model whose states stand for labels."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from .._models import noting
from .._parallel import single_blas_thread, thread_count
from .._validation import check_count, check_option, check_weight_vector, listed, warn_unconverged
from ..chains._chain import log_partition, step_sequence
from ..chains._em import HMM, TOPOLOGIES, HMMFit, fit_hmm, log_potentials, stream_features
from ..chains._emissions import Stream, resolve_emission
from ..chains._label_chain import LabelChain, allowed_chain, guessed_states
from ._steps import Steps
from ._streams import refuse_text
from ._tagger import BaseTagger

__all__ = ["HMMTagger"]

Array = np.ndarray


class HMMTagger(BaseTagger):
    r"""Label the steps of sequences by a hidden Markov model whose states stand for labels.

    Each label has one state or several; a state emits every modality m, with weight w_m:

    .. math:: p(x, q) = \pi_{q_1} \prod_{t > 1} A_{q_{t-1} q_t}
        \prod_t \prod_m b_m(x_{mt} \mid q_t)^{w_m}

    A labelled step is in one of the states of its label. With one state per label and all steps
    labelled, starts and transitions are counted and the emissions are those of the labels' own
    steps. Else expectation-maximisation runs over what is not known: the states inside labels,
    and the labels of steps whose label is None, NaN or -1, which may be most. (Where y holds -1
    and a single other label, -1 is a label.) A modality that is NaN at a step has factor 1 there.

    Parameters
    ----------
    n_states : int or mapping of label to int, default=1
        States of each label. Labels that a mapping does not name have one.
    modalities : mapping of str to column selector, default=None
        As ``ColumnTransformer`` takes them: names, positions, a slice, a mask or a callable. None
        reads the prefixes before ``__`` in the column names of a DataFrame.
    emissions : str, pair of str and mapping, or mapping by modality to these, \
            default="gaussian"
        "gaussian", "gmm", "categorical" or "poisson", or a pair of a name and its options, such
        as ``("gmm", {"n_mix": 3})``. Modalities that a mapping does not name are Gaussian.
    stream_weights : array-like of shape (n_modalities,) or mapping of str to float, default=None
        w_m, from 0 on. None is 1 for each.
    smoothing : float, default=1.0
        Is added to the count of each start and each transition that may be.
    start : array-like of shape (n_classes,) or (n_total,), default=None
        Over the labels in the order of ``classes_``, or over all their states. What is 0 stays 0:
        no sequence starts there. Other values say where EM begins.
    transition : array-like of shape (n_classes, n_classes) or (n_total, n_total), default=None
        From row to column, as ``start``.
    topology : {"ergodic", "left-right"}, default="ergodic"
        "left-right" enters a label in its first state, and stays in a state or goes to the next
        one; EM begins with segments that are cut into equal parts, and ``n_init`` is 1.
    n_init : int, default=1
        Starts of EM, of which the best is kept.
    max_iter : int, default=100
    tol : float, default=1e-4
        EM stops when it gains less than this in log-likelihood by step.
    random_state : int, RandomState instance or None, default=None
        Draws where EM begins, which matters only where something is unknown.
    decode : {"viterbi", "marginals"}, default="viterbi"
        Labels of the best path of states, or of each step the most probable.
    sequence : str, default="sequence"
        The index level or column of X that names the sequence of a step.
    step : str, default="step"
        The index level or column that holds the place of a step, looked at for gaps only.
    remainder : {"drop", "error"}, default="drop"
        Columns of no modality are left out with a warning, or refused.
    allow_overlap : bool, default=False
        Let two modalities share columns.
    n_jobs : int, default=None
        Threads. Results do not depend on it.
    verbose : int, default=0
        Not used.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    state_labels_ : ndarray of shape (n_total,)
        The label of each state.
    start_ : ndarray of shape (n_total,)
    transition_ : ndarray of shape (n_total, n_total)
        Rows sum to 1.
    emissions_ : dict of str to Emission
        By modality.
    stream_weights_ : ndarray of shape (n_modalities,)
    history_ : ndarray of shape (n_iter_ + 1,)
        The objective before EM and after each iteration: log-likelihood plus log prior.
    n_iter_ : int
    converged_ : bool
    modalities_ : dict
        The selectors in use.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)

    Raises
    ------
    ValueError
        If no step has a label, labels follow one another that ``start`` and ``transition`` keep
        apart, ids are missing where there were some at fit, or a parameter is out of range.

    Warns
    -----
    ConvergenceWarning
        If EM was stopped before its gain fell below ``tol``, with the gain.
    UserWarning
        If X names no sequences, steps are left out inside them, or a sequence seen at fit has
        other rows.

    See Also
    --------
    HybridHMMTagger : Classifiers in place of the emissions.
    MultistreamHMM : Without labels.

    References
    ----------
    Rabiner (1989), "A tutorial on hidden Markov models and selected applications in speech
    recognition", Proceedings of the IEEE 77(2), equations 17-37.
    Potamianos, Neti, Gravier, Garg, Senior (2003), "Recent advances in the automatic recognition
    of audiovisual speech", Proceedings of the IEEE 91(9), equation 11, for the weights.

    Examples
    --------
    >>> from mkfusion.datasets import load_watch
    >>> from mkfusion.graphical import HMMTagger
    >>> watch = load_watch(layout="sessions")
    >>> train, test = watch.groups > 2, watch.groups <= 2
    >>> tagger = HMMTagger().fit(watch.data[train], watch.target[train])
    >>> tagger.transition_.shape
    (7, 7)
    >>> bool(tagger.score(watch.data[test], watch.target[test]) > 0.5)
    True

    Steps of unknown label, here 9 of 10:

    >>> y = watch.target[train].astype(object).where(watch.data[train].index.codes[1] % 10 == 0)
    >>> bool(HMMTagger().fit(watch.data[train], y).converged_)
    True
    """

    missing_modality = "marginalises"
    _semi_supervised = True
    _takes_symbols = True
    _least_classes = 1

    def __init__(
        self,
        n_states: int | Mapping[Any, int] = 1,
        modalities: Mapping[str, Any] | None = None,
        *,
        emissions: Any = "gaussian",
        stream_weights: Any = None,
        smoothing: float = 1.0,
        start: Any = None,
        transition: Any = None,
        topology: str = "ergodic",
        n_init: int = 1,
        max_iter: int = 100,
        tol: float = 1e-4,
        random_state: Any = None,
        decode: str = "viterbi",
        sequence: str = "sequence",
        step: str = "step",
        remainder: str = "drop",
        allow_overlap: bool = False,
        n_jobs: int | None = None,
        verbose: int = 0,
    ) -> None:
        self.n_states = n_states
        self.modalities = modalities
        self.emissions = emissions
        self.stream_weights = stream_weights
        self.smoothing = smoothing
        self.start = start
        self.transition = transition
        self.topology = topology
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state
        self.decode = decode
        self.sequence = sequence
        self.step = step
        self.remainder = remainder
        self.allow_overlap = allow_overlap
        self.n_jobs = n_jobs
        self.verbose = verbose

    def _learn(self, steps: Steps, y: Array, weights: Array | None) -> None:
        check_option("topology", self.topology, TOPOLOGIES)
        smoothing = check_smoothing(self.smoothing)
        names = list(steps.blocks)
        streams = self._streams(steps)
        families = _families(self.emissions, names)
        stream_weights = np.ones(len(names))
        if self.stream_weights is not None:
            stream_weights = check_weight_vector("stream_weights", self.stream_weights, names)
            if stream_weights.ndim != 1:
                raise ValueError(
                    f"stream_weights must have shape ({len(names)},), got {stream_weights.shape}"
                )
        for name, (family, _) in zip(names, map(resolve_emission, families), strict=True):
            if steps.blocks[name].dtype == object and not family.symbols:
                refuse_text(name)
        labels = self._labels_of_states()
        allowed = allowed_chain(
            labels, len(self.classes_), self.topology, self.start, self.transition
        )
        clamped = (labels == y[:, None]) | (y[:, None] < 0)
        self._refuse_impossible(steps, allowed, clamped)
        structured = self.topology != "ergodic"
        options = {
            "stream_weights": stream_weights,
            "start": allowed.start if structured or self.start is not None else None,
            "transition": (
                allowed.transition if structured or self.transition is not None else None
            ),
            "start_prior": 1 + smoothing,
            "transition_prior": 1 + smoothing,
            "clamped": None if clamped.all() else clamped,
            "sample_weight": weights,
            "max_iter": self.max_iter,
            "tol": self.tol,
            "n_threads": thread_count(self.n_jobs),
        }
        rng = _generator(self.random_state)
        fit = self._best_fit(steps, streams, families, y, labels, rng, options)
        self._store(fit, labels, names, stream_weights)

    def _best_fit(
        self,
        steps: Steps,
        streams: list[Stream],
        families: list[Any],
        y: Array,
        labels: Array,
        rng: np.random.Generator,
        options: dict[str, Any],
    ) -> HMMFit:
        """Return the best of the runs of EM, each of which begins with the labelled steps."""
        run = partial(fit_hmm, streams, steps.offsets, len(labels), families, rng=rng, **options)
        weights = options["sample_weight"]
        sequence = step_sequence(steps.offsets)
        counted = np.ones(len(y)) if weights is None else weights[sequence]
        if (y[counted > 0] < 0).all():
            return run(n_init=self.n_init)
        check_count("n_init", self.n_init)
        features = stream_features(streams, families, options["stream_weights"], counted)
        settled = len(labels) == len(self.classes_) and (y >= 0).all()
        best = None
        for _ in range(1 if settled or self.topology != "ergodic" else self.n_init):
            guess = guessed_states(
                features,
                y,
                steps.offsets,
                labels,
                weights=counted,
                topology=self.topology,
                rng=rng,
            )
            fit = run(initial=guess)
            if best is None or fit.history[-1] > best.history[-1]:
                best = fit
        assert best is not None
        return best

    def _store(self, fit: HMMFit, labels: Array, names: list[str], weights: Array) -> None:
        self._codes_of_states = labels
        self.state_labels_ = self.classes_[labels]
        self.start_, self.transition_ = fit.model.start, fit.model.transition
        self.emissions_ = dict(zip(names, fit.model.emissions, strict=True))
        self.stream_weights_ = weights
        self.history_, self.n_iter_, self.converged_ = fit.history, fit.n_iter, fit.converged
        if not fit.converged:
            warn_unconverged("HMMTagger", "gain in log-likelihood by step", fit.gain, fit.n_iter)

    def _labels_of_states(self) -> Array:
        """Return the code of the label of each state."""
        classes = self.classes_.tolist()
        counts: list[Any]
        if isinstance(self.n_states, Mapping):
            unknown = [label for label in self.n_states if label not in classes]
            if unknown:
                raise ValueError(
                    f"n_states names {listed(unknown)}, which is no label of y; the labels are "
                    f"{listed(classes, 30)}"
                )
            counts = [self.n_states.get(label, 1) for label in classes]
        else:
            counts = [self.n_states] * len(classes)
        for count in counts:
            check_count("n_states", count)
        return np.repeat(np.arange(len(classes)), counts)

    def _refuse_impossible(self, steps: Steps, allowed: LabelChain, clamped: Array) -> None:
        """Refuse labels that follow one another, though what is given keeps them apart."""
        if self.start is None and self.transition is None and self.topology == "ergodic":
            return
        with np.errstate(divide="ignore"):
            start, transition = np.log(allowed.start), np.log(allowed.transition)
        logs = log_partition(start, transition, np.where(clamped, 0.0, -np.inf), steps.offsets)
        lost = np.flatnonzero(logs == -np.inf)
        if lost.size:
            raise ValueError(
                f"start and transition forbid the labels of {lost.size} sequences "
                f"({listed([steps.ids[i] for i in lost[:3]], 3)}): a label stands first, or "
                "follows on another, where they have 0"
            )

    @property
    def _label_of_state(self) -> Array:
        return self._codes_of_states

    def _streams(self, steps: Steps) -> list[Stream]:
        return [Stream(block, steps.present[name]) for name, block in steps.blocks.items()]

    def _potentials(self, steps: Steps) -> tuple[Array, Array, Array]:
        model = HMM(self.start_, self.transition_, tuple(self.emissions_.values()))
        unary = np.zeros((int(steps.offsets[-1]), len(self.start_)))
        n_threads = thread_count(self.n_jobs)
        with single_blas_thread:
            for (name, emission), stream, weight in zip(
                self.emissions_.items(), self._streams(steps), self.stream_weights_, strict=True
            ):
                if weight:
                    with noting(f"raised by the emissions of modality {name!r}"):
                        scores = emission.scores(emission.prepare(stream), n_threads)
                    unary += np.where(stream.present[:, None], weight * scores, 0.0)
        return *log_potentials(model), unary


def check_smoothing(smoothing: Any) -> float:
    """Return what is added to counts, or refuse it."""
    if not isinstance(smoothing, int | float | np.number) or not 0 <= smoothing < np.inf:
        raise ValueError(f"smoothing must be a finite number, 0 or more, got {smoothing!r}")
    return float(smoothing)


def _families(emissions: Any, names: list[str]) -> list[Any]:
    """Return the family of each modality, with its options where it has some."""
    if not isinstance(emissions, Mapping):
        return [emissions] * len(names)
    unknown = [name for name in emissions if name not in names]
    if unknown:
        raise ValueError(
            f"emissions names {listed(unknown)}, which is no modality of X; the modalities are "
            f"{listed(names, 30)}"
        )
    return [emissions.get(name, "gaussian") for name in names]


def _generator(random_state: Any) -> np.random.Generator:
    from sklearn.utils import check_random_state

    return np.random.default_rng(check_random_state(random_state).randint(2**31 - 1))
