"""A model for every pattern of availability."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import combinations, islice
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils.metaestimators import available_if

from .._experts import BaseExperts, Voice
from .._models import concerning, default_classifier, default_regressor, refuse_kind
from .._parallel import delayed, run, single_blas_thread
from .._validation import (
    check_class_target,
    check_lengths,
    check_numeric_target,
    listed,
    sample_weights,
    warn,
)
from ..modality import presence
from ._moments import unique_patterns

__all__ = ["SubsetFusionClassifier", "SubsetFusionRegressor"]

Array = np.ndarray

_MOST_SUBSETS = 10_000  # that are looked at


class _SubsetFusion(BaseExperts):
    """The part that classifiers and regressors share."""

    estimators = None  # BaseExperts would take models by name
    _kind: str

    def __init__(
        self,
        estimator: Any = None,
        modalities: Mapping[str, Any] | None = None,
        *,
        max_patterns: int = 16,
        min_samples: int = 10,
        remainder: str = "drop",
        allow_overlap: bool = False,
        n_jobs: int | None = None,
        verbose: int = 0,
    ) -> None:
        self.estimator = estimator
        self.modalities = modalities
        self.max_patterns = max_patterns
        self.min_samples = min_samples
        self.remainder = remainder
        self.allow_overlap = allow_overlap
        self.n_jobs = n_jobs
        self.verbose = verbose

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters.

        Parameters
        ----------
        deep : bool, default=True
            Include those of the prototype, as ``estimator__parameter``.

        Returns
        -------
        params : dict
        """
        return super(BaseExperts, self).get_params(deep=deep)

    def set_params(self, **params: Any) -> Any:
        """Set parameters.

        Parameters
        ----------
        **params : dict
            Parameters of the fusion, and of the prototype as ``estimator__parameter``.

        Returns
        -------
        self : object
        """
        return super(BaseExperts, self).set_params(**params)

    def _prototype(self) -> Any:
        raise NotImplementedError

    def _check_target(self, y: Any) -> Array:
        raise NotImplementedError

    def _unfit(self, y: Array) -> str:
        raise NotImplementedError

    def _learn_fallback(self, y: Array, weight: Array | None) -> None:
        raise NotImplementedError

    def fit(self, X: Any, y: Any, sample_weight: Any = None, **fit_params: Any) -> Any:
        """Fit a model for each pattern, on the samples that have all of its modalities.

        Parameters
        ----------
        X : DataFrame, array-like or sparse matrix of shape (n_samples, n_features)
            A modality that is NaN (None for text) in all its columns is missing for the sample.
        y : array-like of shape (n_samples,)
        sample_weight : array-like of shape (n_samples,), default=None
            Handed to the models that take weights.
        **fit_params : dict
            Handed to the models by metadata routing.

        Returns
        -------
        self : object
        """
        for name in ("max_patterns", "min_samples"):
            value = getattr(self, name)
            if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")
        table = self._read_fit(X)
        target = self._check_target(y)
        check_lengths(X=table, y=target)
        weight = sample_weights(sample_weight, table)
        self._learn_fallback(target, weight)
        prototype = self._prototype()
        refuse_kind("all", prototype, self._kind)
        there = presence(table, self._columns)
        counted = np.ones(len(target), bool) if weight is None else weight > 0
        self._heard = {
            "+".join(names): Voice(names) for names in self._patterns(there, target, counted)
        }
        chosen = dict.fromkeys(self._heard, prototype)
        masks, _ = self._fit_experts(table, target, weight, fit_params, chosen)
        self.patterns_ = [self._heard[name].modalities for name in self._kept]
        self.n_samples_by_pattern_ = {
            name: int((masks[name] & counted).sum()) for name in self._kept
        }
        return self

    def _patterns(self, there: Array, y: Array, counted: Array) -> list[tuple[str, ...]]:
        """Return the patterns that get a model, as the modalities that each has."""
        names = np.array(list(self._columns), dtype=object)
        if len(names) > 1 and any("+" in name for name in names):
            raise ValueError(
                f"modalities {listed(name for name in names if '+' in name)}: the name of a "
                "model joins those of modalities by '+'; rename them"
            )
        seen, codes = unique_patterns(there.T[counted])
        counts = np.bincount(codes, minlength=len(seen))
        order = sorted(
            (k for k in range(len(seen)) if seen[k].any()),
            key=lambda k: (-counts[k], -seen[k].sum(), tuple(~seen[k])),
        )
        candidates = [tuple(np.flatnonzero(seen[k]).tolist()) for k in order]
        candidates += [(m,) for m in range(len(names))]
        sizes = range(len(names), 1, -1)
        rest = (own for size in sizes for own in combinations(range(len(names)), size))
        candidates = list(dict.fromkeys([*candidates, *islice(rest, _MOST_SUBSETS)]))
        found: list[tuple[int, ...]] = []
        most, largest = -1, candidates[0]
        for own in candidates:
            rows = there[list(own)].all(axis=0) & counted
            if rows.sum() > most:
                most, largest = int(rows.sum()), own
            if rows.sum() >= self.min_samples and not self._unfit(y[rows]):
                found.append(own)
                if len(found) == self.max_patterns:
                    break
        # With too few samples for any, the pattern that has most is better than none.
        return [tuple(names[list(own)]) for own in found or [largest]]

    def _answering(self, X: Any) -> Array:
        """Return the place of the model that answers each sample, -1 where there is none."""
        there = presence(X, self._columns)
        names = list(self._columns)
        needs = np.array([[name in own for name in names] for own in self.patterns_])
        learnt = np.array([self.n_samples_by_pattern_[name] for name in self._kept])
        patterns, codes = unique_patterns(there.T)
        places = np.full(len(patterns), -1)
        for k, pattern in enumerate(patterns):
            able = np.flatnonzero(~(needs & ~pattern).any(axis=1))
            if len(able):
                places[k] = max(able, key=lambda j: (needs[j].sum(), learnt[j], -j))
        return places[codes]

    def answering_models(self, X: Any) -> Array:
        """Tell which model answers each sample.

        Parameters
        ----------
        X : DataFrame, array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        names : ndarray of str of shape (n_samples,)
            Names of ``named_estimators_``; None where a sample has nothing that a model needs.
        """
        places = self._answering(self._read(X))
        return np.array([*self._kept, None], dtype=object)[places]

    def _by_model(
        self, X: Any, ask: Callable[[str, Any, Any], Any], default: str
    ) -> list[tuple[str, Array, Any]]:
        """Return name, samples and answer of each model that has something to answer."""
        places = self._answering(X)
        silent = int((places < 0).sum())
        if silent:
            warn(
                f"{silent} of {len(places)} samples have none of the patterns {listed(self._kept)}"
                f"; they get {default}"
            )
        asked = [(name, places == k) for k, name in enumerate(self._kept) if (places == k).any()]

        def answer(name: str, rows: Array) -> Any:
            block = self._block(X, name, rows)
            with concerning(name), single_blas_thread:
                return ask(name, self.named_estimators_[name], block)

        tasks = (delayed(answer)(name, rows) for name, rows in asked)
        answers = run(tasks, n_jobs=self.n_jobs, threads=True)
        return [(*own, found) for own, found in zip(asked, answers, strict=True)]

    def patterns_frame(self) -> pd.DataFrame:
        """List the patterns that have a model.

        Returns
        -------
        table : DataFrame of shape (n_patterns, n_modalities + 1)
            Which modalities each has, and "n_samples" that its model was fitted on; by the names
            of ``named_estimators_``.
        """
        table = pd.DataFrame(
            [[name in own for name in self._columns] for own in self.patterns_],
            index=pd.Index(self._kept, name="pattern"),
            columns=list(self._columns),
        )
        return table.assign(n_samples=list(self.n_samples_by_pattern_.values()))


def _has_proba(self: Any) -> bool:
    models = getattr(self, "estimators_", None) or [self._prototype()]
    for model in models:
        _ = model.predict_proba
    return True


class SubsetFusionClassifier(ClassifierMixin, _SubsetFusion):
    """Keep a classifier for every pattern of availability.

    A sample that has the modalities P is answered by the classifier of P; where P has none, by
    that of the largest pattern within P that has one, and of equally large ones by the one that
    was fitted on most samples. The classifier of P is fitted on all samples that have at least
    the modalities of P, on their columns.

    Parameters
    ----------
    estimator : estimator, default=None
        The prototype for every pattern; None is logistic regression on standardised columns.
    modalities : mapping of str to column selector, default=None
        As ``ColumnTransformer`` takes them; None reads the prefixes before ``__`` in the column
        names of a DataFrame.
    max_patterns : int, default=16
        The most classifiers: for the patterns of the training samples first, those of most
        samples before others, then for single modalities, then for all other sets of modalities,
        larger ones first. Up to 4 modalities, 16 are enough for all.
    min_samples : int, default=10
        The fewest samples to fit a classifier on. If no pattern has so many, the one that has
        most gets the only classifier.
    remainder : {"drop", "error"}, default="drop"
        Columns of no modality are left out with a warning, or refused.
    allow_overlap : bool, default=False
        Let two modalities share columns.
    n_jobs : int, default=None
        Classifiers that are fitted at a time, through joblib.
    verbose : int, default=0
        Above 0 shows a progress bar.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    class_prior_ : ndarray of shape (n_classes,)
        The shares of the classes, which a sample gets that no classifier can answer.
    patterns_ : list of tuple of str
        The patterns that have a classifier, as the modalities that are there.
    n_samples_by_pattern_ : dict of str to int
        How many samples each classifier was fitted on.
    estimators_ : list of classifier
    named_estimators_ : Bunch
        The classifiers by pattern, ``"audio+video"``.
    modalities_ : dict
        The selectors in use.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)

    Raises
    ------
    ValueError
        If there is one class only, or a modality's name has a "+".

    Warns
    -----
    UserWarning
        If samples have no pattern that has a classifier; they get the shares of the classes.

    See Also
    --------
    mkfusion.LateFusionClassifier : One classifier per modality for any number of patterns.

    References
    ----------
    Saar-Tsechansky, Provost (2007), "Handling missing values when applying classification
    models", JMLR 8, 1625-1657, the reduced models of section 3.

    Examples
    --------
    >>> from mkfusion import SubsetFusionClassifier
    >>> from mkfusion.datasets import load_multiple_features, simulate_missing
    >>> X, y = load_multiple_features(return_X_y=True)
    >>> X = simulate_missing(X.filter(regex="zer|mor"), rate=0.3, random_state=0)
    >>> fusion = SubsetFusionClassifier().fit(X[::4], y[::4])
    >>> fusion.patterns_frame()["n_samples"].to_dict()
    {'zer+mor': 237, 'mor': 374, 'zer': 363}
    """

    _kind = "classifier"

    def _prototype(self) -> Any:
        return default_classifier() if self.estimator is None else self.estimator

    def _check_target(self, y: Any) -> Array:
        return check_class_target(y)

    def _unfit(self, y: Array) -> str:
        if not len(y):
            return "is missing for every sample"
        return "has one class among its samples" if (y == y[0]).all() else ""

    def _learn_fallback(self, y: Array, weight: Array | None) -> None:
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"y has one class ({listed(self.classes_)}); a classifier needs at least two "
                "classes"
            )
        counts = np.bincount(codes, weight)
        self.class_prior_ = counts / counts.sum()

    def predict(self, X: Any) -> Array:
        """Return the class that each sample's classifier predicts.

        Parameters
        ----------
        X : DataFrame, array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        labels : ndarray of shape (n_samples,)
        """
        table = self._read(X)
        found = np.full(table.shape[0], self.class_prior_.argmax())
        asked = self._by_model(table, _labels, "the most frequent class")
        for _, rows, labels in asked:
            found[rows] = np.searchsorted(self.classes_, labels)
        return self.classes_[found]

    @available_if(_has_proba)
    def predict_proba(self, X: Any) -> Array:
        """Return the posteriors of each sample's classifier.

        Parameters
        ----------
        X : DataFrame, array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        probabilities : ndarray of shape (n_samples, n_classes)
            0 for classes that the classifier has not seen.
        """
        table = self._read(X)
        found = np.tile(self.class_prior_, (table.shape[0], 1))
        for name, rows, posteriors in self._by_model(table, _posteriors, "the priors"):
            own = np.zeros((len(posteriors), len(self.classes_)))
            classes = self.named_estimators_[name].classes_
            own[:, np.searchsorted(self.classes_, classes)] = posteriors
            found[rows] = own
        return found


class SubsetFusionRegressor(RegressorMixin, _SubsetFusion):
    """Keep a regressor for every pattern of availability.

    A sample that has the modalities P is answered by the regressor of P; where P has none, by
    that of the largest pattern within P that has one, and of equally large ones by the one that
    was fitted on most samples. The regressor of P is fitted on all samples that have at least
    the modalities of P, on their columns.

    Parameters
    ----------
    estimator : estimator, default=None
        The prototype for every pattern; None is ridge regression on standardised columns.
    modalities : mapping of str to column selector, default=None
        As ``ColumnTransformer`` takes them; None reads the prefixes before ``__`` in the column
        names of a DataFrame.
    max_patterns : int, default=16
        The most regressors: for the patterns of the training samples first, those of most
        samples before others, then for single modalities, then for all other sets of modalities,
        larger ones first. Up to 4 modalities, 16 are enough for all.
    min_samples : int, default=10
        The fewest samples to fit a regressor on. If no pattern has so many, the one that has
        most gets the only regressor.
    remainder : {"drop", "error"}, default="drop"
        Columns of no modality are left out with a warning, or refused.
    allow_overlap : bool, default=False
        Let two modalities share columns.
    n_jobs : int, default=None
        Regressors that are fitted at a time, through joblib.
    verbose : int, default=0
        Above 0 shows a progress bar.

    Attributes
    ----------
    mean_ : ndarray of shape (n_outputs,)
        The mean of y, which a sample gets that no regressor can answer.
    patterns_ : list of tuple of str
        The patterns that have a regressor, as the modalities that are there.
    n_samples_by_pattern_ : dict of str to int
        How many samples each regressor was fitted on.
    estimators_ : list of regressor
    named_estimators_ : Bunch
        The regressors by pattern, ``"audio+video"``.
    modalities_ : dict
        The selectors in use.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)

    Raises
    ------
    ValueError
        If a modality's name has a "+".

    Warns
    -----
    UserWarning
        If samples have no pattern that has a regressor; they get the mean of y.

    See Also
    --------
    mkfusion.LateFusionRegressor : One regressor per modality for any number of patterns.

    References
    ----------
    Saar-Tsechansky, Provost (2007), "Handling missing values when applying classification
    models", JMLR 8, 1625-1657, the reduced models of section 3.

    Examples
    --------
    >>> import numpy as np
    >>> from mkfusion import SubsetFusionRegressor
    >>> X = np.random.default_rng(0).normal(size=(50, 2))
    >>> fusion = SubsetFusionRegressor(modalities={"audio": [0], "video": [1]})
    >>> fusion.fit(X, X.sum(axis=1)).answering_models([[1.0, 2.0], [1.0, np.nan]])
    array(['audio+video', 'audio'], dtype=object)
    """

    _kind = "regressor"

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def _prototype(self) -> Any:
        return default_regressor() if self.estimator is None else self.estimator

    def _check_target(self, y: Any) -> Array:
        return check_numeric_target(y)

    def _unfit(self, y: Array) -> str:
        return "" if len(y) else "is missing for every sample"

    def _learn_fallback(self, y: Array, weight: Array | None) -> None:
        self._one_output = y.ndim == 1
        self.mean_ = np.average(y.reshape(len(y), -1), axis=0, weights=weight)

    def predict(self, X: Any) -> Array:
        """Return the prediction of each sample's regressor.

        Parameters
        ----------
        X : DataFrame, array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        predictions : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        """
        table = self._read(X)
        found = np.tile(self.mean_, (table.shape[0], 1))
        for _, rows, numbers in self._by_model(table, _labels, "the mean"):
            found[rows] = np.asarray(numbers, dtype=np.float64).reshape(int(rows.sum()), -1)
        return found[:, 0] if self._one_output else found


def _labels(name: str, model: Any, block: Any) -> Any:
    return model.predict(block)


def _posteriors(name: str, model: Any, block: Any) -> Any:
    return model.predict_proba(block)
