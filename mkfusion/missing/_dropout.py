"""Whole modalities dropped at random in training, so that a model learns to live without."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    MetaEstimatorMixin,
    RegressorMixin,
    TransformerMixin,
    clone,
    is_classifier,
    is_regressor,
)
from sklearn.utils import check_random_state, get_tags
from sklearn.utils.metadata_routing import (
    MetadataRouter,
    MethodMapping,
    _raise_for_params,
    _routing_enabled,
    process_routing,
)
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import (
    _check_feature_names_in,
    _check_method_params,
    check_is_fitted,
)

from .._models import default_classifier, default_regressor, takes_nan, weight_params
from .._parallel import single_blas_thread
from .._policy import missing_policy
from .._selectors import as_list
from .._validation import (
    check_class_target,
    check_lengths,
    check_numeric_target,
    listed,
    sample_weights,
)
from ..modality import MultimodalMixin, presence, take_block
from ._blocks import blank_modalities, check_rates, refuse_sparse

__all__ = ["ModalityDropout", "ModalityDropoutClassifier", "ModalityDropoutRegressor"]

Array = np.ndarray

_SPARSE = "the entries of a dropped modality would be NaN"


def draw_losses(there: Array, rates: Array, rng: np.random.RandomState) -> Array:
    """Return which modality each sample loses: bool of shape (n_modalities, n_samples).

    A sample that would lose all it has keeps one of them, each with equal chance.
    """
    lost = there & (rng.random_sample(there.shape) < rates[:, None])
    chosen = (rng.random_sample(there.shape) * there).argmax(axis=0)
    bare = np.flatnonzero(there.any(axis=0) & ~(there & ~lost).any(axis=0))
    lost[chosen[bare], bare] = False
    return lost


class _Dropping(MultimodalMixin):
    """What the transformer and the wrappers share: which columns, which losses."""

    rates: Any
    random_state: Any

    def _read_rates(self, X: Any) -> Any:
        """Check X and the rates, and return the columns of the modalities."""
        table = self._read_fit(X)
        refuse_sparse(table, _SPARSE)
        names = list(self._columns)
        self.rates_ = check_rates(self.rates, names)
        self._kept = sorted({j for own in self._columns.values() for j in as_list(own)})
        return self._own(table)

    def _own(self, table: Any) -> Any:
        """Return the columns of the modalities; the table itself if these are all."""
        whole = len(self._kept) == table.shape[1]
        return table if whole else take_block(table, self._kept)

    def _places(self) -> dict[str, list[int]]:
        """Return where each modality's columns stand among those of all."""
        places = {j: k for k, j in enumerate(self._kept)}
        return {name: [places[j] for j in as_list(own)] for name, own in self._columns.items()}

    def _dropped(self, table: Any, there: Array, rng: np.random.RandomState) -> Any:
        lost = draw_losses(there, np.array(list(self.rates_.values())), rng)
        return blank_modalities(table, self._places(), dict(zip(self._columns, lost, strict=True)))


class ModalityDropout(_Dropping, TransformerMixin, BaseEstimator):
    """Drop whole modalities at random from training samples, and leave new samples as they are.

    Each modality of each sample is lost with its rate, independently; a sample that would lose
    all it has keeps one, each with equal chance. Only :meth:`fit_transform` drops, which a
    Pipeline calls on training samples alone; :meth:`transform` changes nothing. The steps behind
    see NaN where a modality was dropped.

    Parameters
    ----------
    rates : float or mapping of str to float, default=0.3
        The share of the samples, from 0 to 1, that lose a modality: one for all, or one by
        name; a modality that is not named is never dropped.
    modalities : mapping of str to column selector, default=None
        As ``ColumnTransformer`` takes them; None reads the prefixes before ``__`` in the column
        names of a DataFrame.
    random_state : int, RandomState or None, default=None
        Of the draws.
    remainder : {"drop", "error"}, default="drop"
        Columns of no modality are left out with a warning, or refused.
    allow_overlap : bool, default=False
        Let two modalities share columns.

    Attributes
    ----------
    rates_ : dict of str to float
        The rate of each modality.
    modalities_ : dict
        The selectors in use.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)

    Raises
    ------
    ValueError
        If a rate lies outside 0 to 1, or names no modality.

    See Also
    --------
    ModalityDropoutClassifier : Keeps the whole samples beside several copies with losses.
    ModalityImputer : May stand behind it in a Pipeline.

    References
    ----------
    Neverova, Wolf, Taylor, Nebout (2016), "ModDrop: adaptive multi-modal gesture recognition",
    IEEE TPAMI 38(8), section 4.2.

    Examples
    --------
    >>> import numpy as np
    >>> from mkfusion import ModalityDropout
    >>> X = np.arange(8.0).reshape(4, 2)
    >>> dropout = ModalityDropout(0.5, {"audio": [0], "video": [1]}, random_state=3)
    >>> dropout.fit_transform(X)
    array([[ 0.,  1.],
           [ 2.,  3.],
           [nan,  5.],
           [ 6., nan]])
    >>> bool((dropout.transform(X) == X).all())
    True
    """

    missing_modality = "passes"

    def __init__(
        self,
        rates: Any = 0.3,
        modalities: Mapping[str, Any] | None = None,
        *,
        random_state: Any = None,
        remainder: str = "drop",
        allow_overlap: bool = False,
    ) -> None:
        self.rates = rates
        self.modalities = modalities
        self.random_state = random_state
        self.remainder = remainder
        self.allow_overlap = allow_overlap

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = tags.input_tags.string = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def fit(self, X: Any, y: Any = None) -> Any:
        """Read which columns belong to which modality.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
        y : ignored

        Returns
        -------
        self : object
        """
        self._read_rates(X)
        return self

    def fit_transform(self, X: Any, y: Any = None) -> Any:
        """Return the training samples with modalities dropped.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
        y : ignored

        Returns
        -------
        Z : DataFrame or ndarray of shape (n_samples, n_columns)
            A copy. Whole numbers become floats in a modality that is dropped somewhere.
        """
        table = self._read_rates(X)
        there = presence(table, self._places())
        return self._dropped(table, there, check_random_state(self.random_state))

    def transform(self, X: Any) -> Any:
        """Return the samples as they are.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)

        Returns
        -------
        Z : DataFrame or ndarray of shape (n_samples, n_columns)
        """
        table = self._read(X)
        refuse_sparse(table, _SPARSE)
        return self._own(table)

    def get_feature_names_out(self, input_features: Any = None) -> Array:
        """Return the names of the columns that belong to modalities.

        Parameters
        ----------
        input_features : array-like of str, default=None
            The names of the input columns; None takes those seen at fit.

        Returns
        -------
        names : ndarray of str
        """
        check_is_fitted(self)
        return _check_feature_names_in(self, input_features)[self._kept]


def _inner_has(method: str) -> Any:
    def check(self: Any) -> bool:
        getattr(getattr(self, "estimator_", None) or self._model(), method)
        return True

    return available_if(check)


class _DropoutTraining(_Dropping, MetaEstimatorMixin, BaseEstimator):
    """The part that classifiers and regressors share."""

    _other_kind: Any
    _kind: str

    def __init__(
        self,
        estimator: Any = None,
        modalities: Mapping[str, Any] | None = None,
        *,
        rates: Any = 0.3,
        n_copies: int = 1,
        include_original: bool = True,
        random_state: Any = None,
        remainder: str = "drop",
        allow_overlap: bool = False,
    ) -> None:
        self.estimator = estimator
        self.modalities = modalities
        self.rates = rates
        self.n_copies = n_copies
        self.include_original = include_original
        self.random_state = random_state
        self.remainder = remainder
        self.allow_overlap = allow_overlap

    def _model(self) -> Any:
        return self._default() if self.estimator is None else self.estimator

    def _default(self) -> Any:
        raise NotImplementedError

    def _check_target(self, y: Any) -> Array:
        raise NotImplementedError

    @property
    def missing_modality(self) -> str:
        """What the inner model does with a missing modality."""
        return missing_policy(self._model())

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        model = self._model()
        inner = get_tags(model)
        tags.input_tags.allow_nan = takes_nan(model)
        tags.target_tags.multi_output = inner.target_tags.multi_output
        tags.target_tags.single_output = inner.target_tags.single_output
        return tags

    def get_metadata_routing(self) -> MetadataRouter:
        """Return how metadata reach the model.

        Returns
        -------
        routing : MetadataRouter
        """
        fit = MethodMapping().add(caller="fit", callee="fit")
        return MetadataRouter(owner=self).add(estimator=self._model(), method_mapping=fit)

    def fit(self, X: Any, y: Any, sample_weight: Any = None, **fit_params: Any) -> Any:
        """Fit the model on the samples and on copies of them that have lost modalities.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            A modality that is NaN (None for text) in all its columns is missing for the sample.
        y : array-like of shape (n_samples,)
        sample_weight : array-like of shape (n_samples,), default=None
            Handed to the model; a copy has the weight of its sample.
        **fit_params : dict
            Handed to the model by metadata routing, repeated for the copies.

        Returns
        -------
        self : object
        """
        _raise_for_params(fit_params, self, "fit")
        self._check_parameters()
        table = self._read_rates(X)
        target = self._check_target(y)
        check_lengths(X=table, y=target)
        weight = sample_weights(sample_weight, table)
        model = clone(self._model())
        if self._other_kind(model):
            raise ValueError(f"estimator must be a {self._kind}, got {type(model).__name__}")
        parts = [table] if self.include_original else []
        there = presence(table, self._places())
        rng = check_random_state(self.random_state)
        parts += [self._dropped(table, there, rng) for _ in range(self.n_copies)]
        rows = np.tile(np.arange(len(target)), len(parts))
        params = self._route(model, weight, fit_params)
        params = _check_method_params(table, params, indices=rows)
        with self._about_nan(model), single_blas_thread:
            model.fit(_stacked(parts), target[rows], **params)
        self.estimator_ = model
        return self

    def _check_parameters(self) -> None:
        count = self.n_copies
        if not isinstance(count, Integral) or isinstance(count, bool) or count < 1:
            raise ValueError(f"n_copies must be a whole number of at least 1, got {count!r}")
        if not isinstance(self.include_original, bool | np.bool_):
            raise ValueError(
                f"include_original must be True or False, got {self.include_original!r}"
            )

    def _route(
        self, model: Any, weight: Array | None, fit_params: dict[str, Any]
    ) -> dict[str, Any]:
        if _routing_enabled():
            given = {} if weight is None else {"sample_weight": weight}
            return dict(process_routing(self, "fit", **given, **fit_params).estimator.fit)
        if weight is None:
            return {}
        params = weight_params(model, weight)
        if params is None:
            raise TypeError(f"{type(model).__name__} takes no sample_weight")
        return params

    @contextmanager
    def _about_nan(self, model: Any) -> Iterator[None]:
        """Say what to do where the model refuses the NaN of dropped modalities."""
        try:
            yield
        except ValueError as error:
            dropped = [name for name, rate in self.rates_.items() if rate]
            if missing_policy(model) != "refuses" or not dropped:
                raise
            raise ValueError(
                f"modalities {listed(dropped)} are dropped, and {type(model).__name__} did not "
                f"take their NaN ({error}). Take a model that lives without a modality, such as "
                "late fusion, or put ModalityImputer before it in a Pipeline"
            ) from error

    def _ask(self, method: str, X: Any) -> Any:
        table = self._read(X)
        refuse_sparse(table, _SPARSE)
        with single_blas_thread:
            return getattr(self.estimator_, method)(self._own(table))

    def predict(self, X: Any) -> Array:
        """Predict by the model, with nothing dropped.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)

        Returns
        -------
        predictions : ndarray of shape (n_samples,)
        """
        return self._ask("predict", X)


def _stacked(parts: list[Any]) -> Any:
    if len(parts) == 1:
        return parts[0]
    if isinstance(parts[0], pd.DataFrame):
        return pd.concat(parts, axis=0)
    return np.concatenate(parts)


class ModalityDropoutClassifier(ClassifierMixin, _DropoutTraining):
    """Train a classifier on samples and on copies of them that have lost whole modalities.

    Each modality of each copy is lost with its rate, independently; a copy that would lose all
    it has keeps one, each with equal chance. New samples reach the classifier as they are. It
    sees NaN where a modality is lost, and must take it.

    Parameters
    ----------
    estimator : estimator, default=None
        The classifier, or a Pipeline that ends in one. None is logistic regression on
        standardised columns whose gaps are filled with their means.
    modalities : mapping of str to column selector, default=None
        As ``ColumnTransformer`` takes them; None reads the prefixes before ``__`` in the column
        names of a DataFrame. The classifier gets their columns in the order of X.
    rates : float or mapping of str to float, default=0.3
        The share of the copies, from 0 to 1, that lose a modality: one for all, or one by name;
        a modality that is not named is never lost.
    n_copies : int, default=1
        Copies of every sample.
    include_original : bool, default=True
        Train on the samples as they are too.
    random_state : int, RandomState or None, default=None
        Of the losses.
    remainder : {"drop", "error"}, default="drop"
        Columns of no modality are left out with a warning, or refused.
    allow_overlap : bool, default=False
        Let two modalities share columns.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    estimator_ : estimator
        The fitted classifier.
    rates_ : dict of str to float
        The rate of each modality.
    modalities_ : dict
        The selectors in use.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)

    Raises
    ------
    ValueError
        If a rate lies outside 0 to 1 or names no modality, or the classifier does not take NaN.

    See Also
    --------
    ModalityDropout : The same as a step of a Pipeline, without copies.

    Notes
    -----
    Copies of a sample are no independent samples: where the classifier divides its training data
    by itself (calibration, early stopping, a search), keep them in one fold. Copies keep the
    index of their sample, so that ``groups`` of the fusions may name an index level.

    References
    ----------
    Neverova, Wolf, Taylor, Nebout (2016), "ModDrop: adaptive multi-modal gesture recognition",
    IEEE TPAMI 38(8), section 4.2.

    Examples
    --------
    >>> from mkfusion import ModalityDropoutClassifier
    >>> from mkfusion.datasets import load_multiple_features, simulate_missing
    >>> X, y = load_multiple_features(return_X_y=True)
    >>> X = X.filter(regex="zer|mor|kar")
    >>> trained = ModalityDropoutClassifier(random_state=0).fit(X[::4], y[::4])
    >>> damaged = simulate_missing(X[1::4], rate=0.4, random_state=0)
    >>> bool(trained.score(damaged, y[1::4]) > trained.estimator_.fit(X[::4], y[::4]).score(
    ...     damaged, y[1::4]))
    True
    """

    _other_kind = staticmethod(is_regressor)
    _kind = "classifier"

    def _default(self) -> Any:
        return _after_means(default_classifier())

    def _check_target(self, y: Any) -> Array:
        return check_class_target(y)

    @property
    def classes_(self) -> Array:
        """The class labels, sorted."""
        return self.estimator_.classes_

    @_inner_has("predict_proba")
    def predict_proba(self, X: Any) -> Array:
        """Return the classifier's posteriors.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)

        Returns
        -------
        probabilities : ndarray of shape (n_samples, n_classes)
        """
        return self._ask("predict_proba", X)

    @_inner_has("predict_log_proba")
    def predict_log_proba(self, X: Any) -> Array:
        """Return the logarithms of the classifier's posteriors.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)

        Returns
        -------
        log_probabilities : ndarray of shape (n_samples, n_classes)
        """
        return self._ask("predict_log_proba", X)

    @_inner_has("decision_function")
    def decision_function(self, X: Any) -> Array:
        """Return the classifier's decision function.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)

        Returns
        -------
        scores : ndarray of shape (n_samples,) or (n_samples, n_classes)
        """
        return self._ask("decision_function", X)


class ModalityDropoutRegressor(RegressorMixin, _DropoutTraining):
    """Train a regressor on samples and on copies of them that have lost whole modalities.

    Each modality of each copy is lost with its rate, independently; a copy that would lose all
    it has keeps one, each with equal chance. New samples reach the regressor as they are. It
    sees NaN where a modality is lost, and must take it.

    Parameters
    ----------
    estimator : estimator, default=None
        The regressor, or a Pipeline that ends in one. None is ridge regression on standardised
        columns whose gaps are filled with their means.
    modalities : mapping of str to column selector, default=None
        As ``ColumnTransformer`` takes them; None reads the prefixes before ``__`` in the column
        names of a DataFrame. The regressor gets their columns in the order of X.
    rates : float or mapping of str to float, default=0.3
        The share of the copies, from 0 to 1, that lose a modality: one for all, or one by name;
        a modality that is not named is never lost.
    n_copies : int, default=1
        Copies of every sample.
    include_original : bool, default=True
        Train on the samples as they are too.
    random_state : int, RandomState or None, default=None
        Of the losses.
    remainder : {"drop", "error"}, default="drop"
        Columns of no modality are left out with a warning, or refused.
    allow_overlap : bool, default=False
        Let two modalities share columns.

    Attributes
    ----------
    estimator_ : estimator
        The fitted regressor.
    rates_ : dict of str to float
        The rate of each modality.
    modalities_ : dict
        The selectors in use.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)

    Raises
    ------
    ValueError
        If a rate lies outside 0 to 1 or names no modality, or the regressor does not take NaN.

    See Also
    --------
    ModalityDropout : The same as a step of a Pipeline, without copies.

    Notes
    -----
    Copies of a sample are no independent samples: where the regressor divides its training data
    by itself (early stopping, a search), keep them in one fold. Copies keep the index of their
    sample, so that ``groups`` of the fusions may name an index level.

    References
    ----------
    Neverova, Wolf, Taylor, Nebout (2016), "ModDrop: adaptive multi-modal gesture recognition",
    IEEE TPAMI 38(8), section 4.2.

    Examples
    --------
    >>> import numpy as np
    >>> from mkfusion import ModalityDropoutRegressor
    >>> y = np.random.default_rng(0).normal(size=200)
    >>> X = np.column_stack([y, y])
    >>> two = {"audio": [0], "video": [1]}
    >>> trained = ModalityDropoutRegressor(modalities=two, n_copies=5, random_state=0).fit(X, y)
    >>> whole, half = trained.predict([[1.0, 1.0], [1.0, np.nan]])
    >>> bool(half > 0.5)  # plain training gives one half to each
    True
    """

    _other_kind = staticmethod(is_classifier)
    _kind = "regressor"

    def _default(self) -> Any:
        return _after_means(default_regressor())

    def _check_target(self, y: Any) -> Array:
        return check_numeric_target(y)


def _after_means(model: Any) -> Any:
    """Return a Pipeline with the means of columns filled in before its other steps."""
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline

    return make_pipeline(
        SimpleImputer(keep_empty_features=True), *(step for _, step in model.steps)
    )
