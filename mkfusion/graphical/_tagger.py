"""The base of all labellers of steps: what is read, learnt from, decoded and given back."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted, column_or_1d

from .._parallel import thread_count
from .._validation import (
    check_class_target,
    check_lengths,
    check_option,
    listed,
    refuse_masked,
    sample_weights,
    warn,
)
from ..chains._chain import posteriors, viterbi
from ._steps import StepMixin, Steps

__all__ = ["BaseTagger"]

Array = np.ndarray


class BaseTagger(ClassifierMixin, StepMixin, BaseEstimator):
    """Labels each step of a sequence, by the chain that a subclass makes of X.

    A subclass has the parameters ``decode``, ``sequence``, ``step``, ``remainder``,
    ``allow_overlap``, ``n_jobs`` and ``verbose``, and implements ``_learn`` and ``_potentials``.
    """

    decode: str
    n_jobs: int | None
    verbose: int
    classes_: Array

    _semi_supervised = False  # y may be unknown: -1, NaN or None
    _least_classes = 2  # that can be learnt from

    def _learn(self, steps: Steps, y: Array, weights: Array | None) -> None:
        """Learn from the class codes of the steps, -1 where unknown, and weights of sequences."""
        raise NotImplementedError

    def _potentials(self, steps: Steps) -> tuple[Array, Array, Array]:
        """Return the log-potentials of the start, of transitions and of states at steps."""
        raise NotImplementedError

    @property
    def _label_of_state(self) -> Array:
        """The code of the class that each state stands for."""
        return np.arange(len(self.classes_))

    def __sklearn_is_fitted__(self) -> bool:
        return "_learnt" in vars(self)

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Learn from labelled steps.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_steps, n_features)
            One row per step. Without ids each row is a sequence of one step.
        y : array-like of shape (n_steps,)
            The label of each step.
        sample_weight : array-like of shape (n_steps,), default=None
            The same within a sequence: a sequence of weight 2 counts as if it stood there twice.

        Returns
        -------
        self : object
        """
        self.__dict__.pop("_learnt", None)  # until the end of this fit nothing is fitted
        check_option("decode", self.decode, ("viterbi", "marginals"))
        steps = self._read_fit_steps(X)
        check_lengths(X=np.empty(steps.offsets[-1]), y=y)
        classes, codes = self._encoded(y)
        weights = weights_of_sequences(sample_weights(sample_weight, X), steps)
        if len(classes) < self._least_classes:
            raise ValueError(
                f"{type(self).__name__} needs at least {self._least_classes} classes, and y holds "
                f"one class: {listed(classes)}"
            )
        self.classes_ = classes
        self._learn(steps, steps.ordered(codes), weights)
        self._learnt = True
        return self

    def _encoded(self, y: Any) -> tuple[Array, Array]:
        """Return the classes, and the code of each label, -1 where it is unknown."""
        if not self._semi_supervised or y is None:
            classes, codes = np.unique(check_class_target(y), return_inverse=True)
            return classes, codes
        refuse_masked("y", y)
        known = _known(y)
        if len(set(_labels(y, known).tolist())) == 1 and _known(y, {-1}).sum() > known.sum():
            known = _known(y, {-1})  # -1 and one other: two classes, as in a pair of signs
        if not known.any():
            raise ValueError("y holds no label: all are unknown (-1, NaN or None)")
        classes, found = np.unique(check_class_target(_labels(y, known)), return_inverse=True)
        codes = np.full(len(known), -1, np.int64)
        codes[known] = found
        return classes, codes

    def _chain(self, X: Any) -> tuple[Steps, tuple[Array, Array, Array]]:
        check_is_fitted(self)
        check_option("decode", self.decode, ("viterbi", "marginals"))
        steps = self._read_steps(X)
        return steps, self._potentials(steps)

    def _states(self, X: Any) -> Array:
        """Return the state of each row on its sequence's best path."""
        steps, chain = self._chain(X)
        return steps.restored(self._best(steps, chain))

    def _best(self, steps: Steps, chain: tuple[Array, Array, Array]) -> Array:
        paths = viterbi(*chain, steps.offsets, n_threads=thread_count(self.n_jobs))
        self._warn_of_impossible(steps, paths.scores)
        return paths.states

    def _warn_of_impossible(self, steps: Steps, scores: Array) -> None:
        lost = np.flatnonzero(scores == -np.inf)
        if lost.size:
            warn(
                f"no path of states is possible through {lost.size} sequences "
                f"({listed([steps.ids[i] for i in lost[:3]], 3)}): structural zeros forbid all"
            )

    def _proba(self, steps: Steps, chain: tuple[Array, Array, Array]) -> Array:
        """Return the probabilities of the classes at the steps."""
        found = posteriors(*chain, steps.offsets, n_threads=thread_count(self.n_jobs))
        self._warn_of_impossible(steps, found.log_partition)
        labels, proba = self._label_of_state, found.marginals
        if not np.array_equal(labels, np.arange(len(self.classes_))):
            proba = np.zeros((len(found.marginals), len(self.classes_)))
            for state, label in enumerate(labels):
                proba[:, label] += found.marginals[:, state]
        total = proba.sum(axis=1, keepdims=True)
        if (total == 0).any():  # no path
            proba = np.where(total == 0, 1.0, proba)
            total = proba.sum(axis=1, keepdims=True)
        return proba / total

    def predict(self, X: Any) -> Array:
        """Return the label of each step.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_steps, n_features)

        Returns
        -------
        labels : ndarray of shape (n_steps,)
            Those of the best path, or each step's most probable one (``decode="marginals"``).
        """
        steps, chain = self._chain(X)
        if self.decode == "viterbi":
            codes = self._label_of_state[self._best(steps, chain)]
        else:
            codes = self._proba(steps, chain).argmax(axis=1)
        return self.classes_[steps.restored(codes)]

    def predict_proba(self, X: Any) -> Array:
        """Return the probability of each class at each step, given the whole sequence.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_steps, n_features)

        Returns
        -------
        proba : ndarray of shape (n_steps, n_classes)
        """
        steps, chain = self._chain(X)
        return steps.restored(self._proba(steps, chain))

    def predict_log_proba(self, X: Any) -> Array:
        """Return the logarithm of :meth:`predict_proba`.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_steps, n_features)

        Returns
        -------
        log_proba : ndarray of shape (n_steps, n_classes)
        """
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the share of steps whose label is found, of those whose label is known.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_steps, n_features)
        y : array-like of shape (n_steps,)
        sample_weight : array-like of shape (n_steps,), default=None
            Any weights of the steps.

        Returns
        -------
        score : float
        """
        found = self.predict(X)
        if self._semi_supervised and y is not None:
            known = _known(y, set(self.classes_.tolist()))
            found, y = found[known], _labels(y, known)
            sample_weight = None if sample_weight is None else np.asarray(sample_weight)[known]
        from sklearn.metrics import accuracy_score

        return float(accuracy_score(y, found, sample_weight=sample_weight))


def _known(y: Any, classes: Collection[Any] = ()) -> Array:
    """Tell which labels are known: not NaN, not None and not -1, unless that is a class."""
    labels = _column(y)
    unknown = np.asarray(pd.isna(labels))
    if -1 in classes:
        return ~unknown
    if labels.dtype.kind in "if":
        unknown = unknown | (labels == -1)
    elif labels.dtype == object:
        unknown = unknown | np.array([_is_minus_one(label) for label in labels], bool)
    return ~unknown


def _is_minus_one(label: Any) -> bool:
    return isinstance(label, int | float | np.number) and label == -1


def _column(y: Any) -> Array:
    # numpy would make text of what is missing beside text
    labels = np.asarray(y, dtype=object) if isinstance(y, list | tuple) else np.asarray(y)
    return column_or_1d(labels, warn=True)


def _labels(y: Any, known: Array) -> Array:
    """Return the labels that are known, as numbers or text."""
    found = _column(y)[known]
    return pd.Series(found).infer_objects().to_numpy() if found.dtype == object else found


def weights_of_sequences(weights: Array | None, steps: Steps) -> Array | None:
    """Return the weight of each sequence, which all of its steps have."""
    if weights is None:
        return None
    weights = steps.ordered(weights)
    starts = steps.offsets[:-1]
    lowest, highest = np.minimum.reduceat(weights, starts), np.maximum.reduceat(weights, starts)
    wrong = np.flatnonzero(lowest != highest)
    if wrong.size:
        i = int(wrong[0])
        raise ValueError(
            f"sample_weight varies within {wrong.size} sequences (first: {steps.ids[i]!r}, from "
            f"{lowest[i]:g} to {highest[i]:g}); a sequence counts as a whole: give its steps one "
            "weight"
        )
    return highest
