"""Classifiers of single steps in place of a hidden Markov model's emissions."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils.validation import _check_method_params

from .._classifier_experts import ClassifierExperts, answer_of
from .._diagram import single
from .._folds import Split, _refuse_cut_sequences, group_codes, groups_column, split_rows
from .._models import default_classifier
from .._out_of_fold import OutOfFold, calibrated_posteriors
from .._parallel import thread_count
from .._validation import check_lengths, check_weight_vector, listed, warn_unconverged
from ..chains._chain import step_sequence
from ..chains._label_chain import (
    LabelChain,
    allowed_chain,
    counted_chain,
    learn_stream_weights,
    weighted_scores,
)
from ..rules._rule import floored_log
from ._hmm_tagger import check_smoothing
from ._steps import Steps
from ._tagger import BaseTagger

__all__ = ["HybridHMMTagger"]

Array = np.ndarray

_TABLE = ""  # no modality has this name


class HybridHMMTagger(BaseTagger, ClassifierExperts):
    r"""Label the steps of sequences by a classifier per modality, and a chain over the labels.

    .. math:: P(y \mid x) \propto \pi_{y_1} \prod_{t > 1} A_{y_{t-1} y_t}
        \prod_t \prod_m \left[\frac{P_m(y_t \mid x_{mt})}{P_m(y_t)}\right]^{w_m}

    A classifier's posterior, divided by the prior P_m that it was trained with, stands for the
    likelihood that an HMM would have there. The classifiers see single steps; starts and
    transitions are counted from the labels. A modality that is NaN in all its columns is absent
    from a step, and has factor 1.

    What is learnt beside the classifiers (stream weights, calibration) is learnt from what they
    answer about sequences that they have not seen: folds never cut a sequence.

    Parameters
    ----------
    estimators : list of (str, estimator), default=None
        Classifiers by modality; "drop" leaves a modality out. One without ``predict_proba`` is
        calibrated by a sigmoid.
    modalities : mapping of str to column selector, default=None
        As ``ColumnTransformer`` takes them: names, positions, a slice, a mask or a callable; a
        scalar gives the model a 1-D column. None reads the prefixes before ``__`` in the column
        names of a DataFrame.
    estimator : estimator, default=None
        The prototype for every modality that has none of its own; None is logistic regression on
        standardised columns.
    stream_weights : "learn", array-like of shape (n_modalities,) or mapping of str to float, \
            default=None
        w_m, from 0 on; they need not sum to 1. None is 1 for each. "learn" finds those under
        which the labels of the training sequences are most probable, given what the classifiers
        say out of fold.
    calibration : {"sigmoid", "isotonic", "temperature"} or mapping of str to these, default=None
        How the posteriors of all classifiers, or of those named, are calibrated.
    smoothing : float, default=1.0
        Is added to the count of each start and each transition that may be.
    start : array-like of shape (n_classes,), default=None
        In the order of ``classes_``: no sequence starts with a label that has 0.
    transition : array-like of shape (n_classes, n_classes), default=None
        From row to column: what is 0 may not follow.
    cv : int, cross-validation generator or iterable, default=None
        The inner folds. None is five stratified folds, or as many as the smallest class has
        steps. A splitter that divides a sequence or a group is refused.
    groups : str, default=None
        The index level or column of X that names groups of sequences, which one fold keeps
        together; a column is no feature then. None takes the sequences.
    decode : {"viterbi", "marginals"}, default="viterbi"
        Labels of the best path, or of each step the most probable.
    sequence : str, default="sequence"
        The index level or column of X that names the sequence of a step.
    step : str, default="step"
        The index level or column that holds the place of a step, looked at for gaps only.
    remainder : {"drop", "error"}, default="drop"
        Columns of no modality are left out with a warning, or refused.
    allow_overlap : bool, default=False
        Let two modalities share columns.
    n_jobs : int, default=None
        Classifiers that are fitted at a time, through joblib, and threads of the chain.
    verbose : int, default=0
        Above 0 a progress bar is shown.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    estimators_ : list of estimators
        The fitted classifiers. A modality with fewer than two classes among its steps has none.
    named_estimators_ : Bunch
        The fitted classifiers by modality.
    calibrators_ : dict of str to CalibratedClassifierCV
        What calibrates the answers of each classifier that is calibrated.
    expert_priors_ : ndarray of shape (n_estimators, n_classes)
        P_m, 0 for a class that the classifier never saw: it has factor 1 for that class.
    stream_weights_ : ndarray of shape (n_estimators,)
    learnt_ : NamedTuple or None
        Of ``stream_weights="learn"``: the weights, the mean log-likelihood of a step's label, the
        gradient that is left, iterations, and whether they converged.
    start_ : ndarray of shape (n_classes,)
    transition_ : ndarray of shape (n_classes, n_classes)
        Rows sum to 1.
    modalities_ : dict
        The selectors in use.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)

    Raises
    ------
    ValueError
        If labels follow one another that ``start`` and ``transition`` keep apart, ids are missing
        where there were some at fit, the inner folds cannot be made or divide a sequence, or a
        parameter is out of range.

    Warns
    -----
    UserWarning
        If a modality or a step cannot take part, and which; if X names no sequences.
    ConvergenceWarning
        If the stream weights did not converge, with the projected gradient that is left.

    See Also
    --------
    HMMTagger : Emissions in place of the classifiers.
    LateFusionClassifier : The same classifiers without a chain.

    References
    ----------
    Bourlard, Morgan (1994), "Connectionist speech recognition: a hybrid approach", Kluwer,
    chapter 7, for the scaled posteriors.
    Potamianos, Neti, Gravier, Garg, Senior (2003), "Recent advances in the automatic recognition
    of audiovisual speech", Proceedings of the IEEE 91(9), equation 11, for the weights.

    Examples
    --------
    >>> from mkfusion.datasets import load_watch
    >>> from mkfusion.graphical import HybridHMMTagger
    >>> watch = load_watch(layout="sessions")
    >>> train, test = watch.groups > 2, watch.groups <= 2
    >>> tagger = HybridHMMTagger(stream_weights={"accelerometer": 1.0, "gyroscope": 0.5})
    >>> tagger = tagger.fit(watch.data[train], watch.target[train])
    >>> list(tagger.named_estimators_)
    ['accelerometer', 'gyroscope']
    >>> bool(tagger.score(watch.data[test], watch.target[test]) > 0.5)
    True
    """

    learnt_: Any
    _without_modality = "what the steps beside them say"
    _takes_frames = True

    def __init__(
        self,
        estimators: list[tuple[str, Any]] | None = None,
        modalities: Mapping[str, Any] | None = None,
        *,
        estimator: Any = None,
        stream_weights: Any = None,
        calibration: Any = None,
        smoothing: float = 1.0,
        start: Any = None,
        transition: Any = None,
        cv: Any = None,
        groups: str | None = None,
        decode: str = "viterbi",
        sequence: str = "sequence",
        step: str = "step",
        remainder: str = "drop",
        allow_overlap: bool = False,
        n_jobs: int | None = None,
        verbose: int = 0,
    ) -> None:
        self.estimators = estimators
        self.modalities = modalities
        self.estimator = estimator
        self.stream_weights = stream_weights
        self.calibration = calibration
        self.smoothing = smoothing
        self.start = start
        self.transition = transition
        self.cv = cv
        self.groups = groups
        self.decode = decode
        self.sequence = sequence
        self.step = step
        self.remainder = remainder
        self.allow_overlap = allow_overlap
        self.n_jobs = n_jobs
        self.verbose = verbose

    def _prototype(self) -> Any:
        return default_classifier() if self.estimator is None else self.estimator

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = False
        return tags

    def _rule_picture(self) -> list[Any]:
        return [single("chain over labels", "")]

    def _aside(self, table: Any) -> list[int]:
        return list(dict.fromkeys([*super()._aside(table), *groups_column(table, self.groups)]))

    def _steps_of(self, table: Any, runs: Any) -> Any:
        """Return the steps with the table itself, from which each classifier takes its own."""
        steps, marks = super()._steps_of(table, runs)
        if steps.order is not None:
            table = table.iloc[steps.order]
        return steps._replace(blocks={_TABLE: table}), marks

    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None, **fit_params: Any
    ) -> Any:
        """Fit the classifiers, count the transitions, and learn what has to be learnt.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_steps, n_features)
            One row per step. Without ids each row is a sequence of one step.
        y : array-like of shape (n_steps,)
            The label of each step.
        sample_weight : array-like of shape (n_steps,), default=None
            The same within a sequence. Handed to the classifiers that take weights, and counted
            in all that is learnt.
        groups : array-like of shape (n_steps,), default=None
            Sequences of one group stay in one inner fold.
        **fit_params : dict
            Handed to the classifiers by metadata routing.

        Returns
        -------
        self : object
        """
        self._given = groups, fit_params
        try:
            return super().fit(X, y, sample_weight)
        finally:
            del self._given

    def _learn(self, steps: Steps, y: Array, weights: Array | None) -> None:
        table, labels = steps.blocks[_TABLE], self.classes_[y]
        groups, fit_params = self._in_order(steps, *self._given)
        smoothing = check_smoothing(self.smoothing)
        chosen = self._chosen()
        self._methods = self._calibration_methods(chosen, "the chain")
        chain = self._counted(steps, y, smoothing, weights)
        learns = isinstance(self.stream_weights, str)
        given = self._given_weights(learns)
        rows = None if weights is None else weights[step_sequence(steps.offsets)]
        units = self._units(steps, table, groups)
        needed = learns or any(self._methods.values())
        counted = np.ones(len(y), bool) if rows is None else rows > 0
        splits: list[Split] = []
        if needed:
            splits = split_rows(self.cv, labels, units, classes=True, counted=counted)
        ask = partial(answer_of, responses=self._responses(chosen))
        masks, answers = self._fit_experts(
            table, labels, rows, fit_params, chosen, splits, ask, groups
        )
        self.expert_priors_ = self._check_expert_priors(labels, rows, masks)
        self.calibrators_: dict[str, Any] = {}
        self.learnt_ = None
        self.start_, self.transition_ = chain
        if needed:
            told = self._gather(labels, splits, units, answers)
            posteriors, self.calibrators_ = calibrated_posteriors(
                told,
                self.named_estimators_,
                self._methods,
                self._responses(self.named_estimators_),
                self.classes_,
                labels,
                rows,
            )
            if learns:
                scores = _by_step(self._scores(posteriors, told.asked), told, len(y))
                self._learn_weights(scores, y, steps, chain, weights)
        names = list(self._voices())
        kept = [names.index(name) for name in self._kept]
        self.stream_weights_ = self.learnt_.weights if learns else given[kept]

    def _in_order(self, steps: Steps, groups: Any, params: dict[str, Any]) -> tuple[Any, Any]:
        """Return groups and fit parameters in the order of the steps."""
        n = int(steps.offsets[-1])
        if groups is not None:
            check_lengths(X=np.empty(n), groups=groups)
        if steps.order is None:
            return groups, params
        given = {**params, "groups": groups}
        if groups is not None and not hasattr(groups, "shape"):
            given["groups"] = pd.Series(list(groups), dtype=object)
        given = _check_method_params(np.empty((n, 1)), given, indices=steps.order)
        return given.pop("groups"), given

    def _given_weights(self, learns: bool) -> Array:
        """Return the weights of all modalities that are given, 1 where they are not."""
        names = list(self._voices())
        if learns:
            if self.stream_weights != "learn":
                raise ValueError(
                    'stream_weights must be "learn", a number for each modality or a mapping, '
                    f"got {self.stream_weights!r}"
                )
        elif self.stream_weights is not None:
            weights = check_weight_vector("stream_weights", self.stream_weights, names)
            if weights.ndim != 1:
                raise ValueError(
                    f"stream_weights must have shape ({len(names)},), got {weights.shape}"
                )
            return weights
        return np.ones(len(names))

    def _units(self, steps: Steps, table: Any, groups: Any) -> Array:
        """Return of each step what no fold divides: its sequence, or its group of sequences."""
        sequence = step_sequence(steps.offsets)
        if groups is None and self.groups is None:
            return sequence
        codes = group_codes(table, self.groups, groups)
        assert codes is not None
        if self._has_ids:
            ids = pd.Index(pd.Series(steps.ids, dtype=object))
            _refuse_cut_sequences(ids[sequence], codes)
        return codes

    def _counted(
        self, steps: Steps, y: Array, smoothing: float, weights: Array | None
    ) -> LabelChain:
        n = len(self.classes_)
        allowed = allowed_chain(np.arange(n), n, "ergodic", self.start, self.transition)
        first, inside = steps.offsets[:-1], np.ones(len(y), bool)
        inside[steps.offsets[1:] - 1] = False
        at = np.flatnonzero(inside)
        lost = np.flatnonzero(allowed.start[y[first]] == 0)
        if lost.size:
            raise ValueError(
                f"start forbids label {listed([self.classes_[y[first[lost[0]]]]])}, with which "
                f"sequence {steps.ids[lost[0]]!r} begins"
            )
        lost = at[allowed.transition[y[at], y[at + 1]] == 0]
        if lost.size:
            before, after = (listed([self.classes_[y[lost[0] + j]]]) for j in (0, 1))
            where = steps.ids[step_sequence(steps.offsets)[lost[0]]]
            raise ValueError(
                f"transition forbids label {after} after {before}, which stand so in sequence "
                f"{where!r}"
            )
        return counted_chain(y, steps.offsets, allowed, smoothing, weights)

    def _learn_weights(
        self, scores: Array, y: Array, steps: Steps, chain: LabelChain, weights: Array | None
    ) -> None:
        self.learnt_ = learn_stream_weights(
            scores,
            y,
            steps.offsets,
            chain,
            sample_weight=weights,
            n_threads=thread_count(self.n_jobs),
        )
        if not self.learnt_.converged:
            warn_unconverged(
                "stream weights",
                "projected gradient",
                self.learnt_.gradient_norm,
                self.learnt_.n_iter,
            )

    def _scores(self, posteriors: Array, mask: Array) -> Array:
        """Return the logarithms of the scaled posteriors, 0 where nothing is said."""
        known = self.expert_priors_ > 0
        priors = np.log(np.where(known, self.expert_priors_, 1.0))
        scores = floored_log(posteriors) - priors[:, None, :]
        return np.where(mask[:, :, None] & known[:, None, :], scores, 0.0)

    def _potentials(self, steps: Steps) -> tuple[Array, Array, Array]:
        scores = self._scores(*self._posteriors(steps.blocks[_TABLE]))
        with np.errstate(divide="ignore"):
            start, transition = np.log(self.start_), np.log(self.transition_)
        return start, transition, weighted_scores(scores, self.stream_weights_)


def _by_step(scores: Array, told: OutOfFold, n_steps: int) -> Array:
    """Return the mean of what was said of each step, 0 where it was in no fold's test rows."""
    count = np.bincount(told.rows, minlength=n_steps)
    found = np.zeros((len(scores), n_steps, scores.shape[2]))
    for own, values in zip(found, scores, strict=True):
        np.add.at(own, told.rows, values)
    return found / np.maximum(count, 1)[:, None]
