"""One model on the joined features of all modalities."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.base import ClassifierMixin, RegressorMixin, clone
from sklearn.utils import get_tags
from sklearn.utils.metadata_routing import (
    MetadataRouter,
    MethodMapping,
    _raise_for_params,
    _routing_enabled,
    process_routing,
)
from sklearn.utils.metaestimators import _BaseComposition, available_if
from sklearn.utils.validation import (
    check_is_fitted,
)

from .._models import weight_params
from .._parallel import single_blas_thread
from .._policy import missing_policy
from .._sharing import Sharing
from .._validation import (
    as_table,
    check_class_target,
    check_lengths,
    check_numeric_target,
    listed,
    sample_weights,
)
from ._concatenator import ModalityConcatenator


def _inner_has(method: str) -> Any:
    def check(self: Any) -> bool:
        getattr(getattr(self, "estimator_", None) or self._model(), method)
        return True

    return available_if(check)


class _EarlyFusion(Sharing, _BaseComposition):
    """The part that classifiers and regressors share: join, then one model."""

    def __init__(
        self,
        estimator: Any = None,
        modalities: Mapping[str, Any] | None = None,
        *,
        transformers: list[tuple[str, Any]] | None = None,
        transformer: Any = None,
        scaling: str | None = None,
        weights: Any = None,
        remainder: str = "drop",
        allow_overlap: bool = False,
        n_jobs: int | None = None,
    ) -> None:
        self.estimator = estimator
        self.modalities = modalities
        self.transformers = transformers
        self.transformer = transformer
        self.scaling = scaling
        self.weights = weights
        self.remainder = remainder
        self.allow_overlap = allow_overlap
        self.n_jobs = n_jobs

    @property
    def missing_modality(self) -> str:
        """What the model does with a missing modality, whose columns are NaN."""
        return missing_policy(self._model())

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters, those of the transformers as ``modality__parameter``.

        Parameters
        ----------
        deep : bool, default=True
            Include the parameters of the transformers and of the model.

        Returns
        -------
        params : dict
        """
        return self._get_params("transformers", deep=deep)

    def set_params(self, **params: Any) -> Any:
        """Set parameters.

        Parameters
        ----------
        **params : dict
            Parameters of the fusion, of the transformers as ``modality__parameter``, and of the
            model as ``estimator__parameter``.

        Returns
        -------
        self : object
        """
        self._set_params("transformers", **params)
        return self

    def _concatenator(self) -> ModalityConcatenator:
        transformer = self.transformer
        if transformer is None and self.estimator is None:
            from sklearn.preprocessing import StandardScaler

            transformer = StandardScaler()
        concatenator = ModalityConcatenator(
            self.transformers,
            self.modalities,
            transformer=transformer,
            scaling=self.scaling,
            weights=self.weights,
            remainder=self.remainder,
            allow_overlap=self.allow_overlap,
            n_jobs=self.n_jobs,
        )
        # Weights count in the scales, whether or not a transformer asks for them.
        return (
            concatenator.set_fit_request(sample_weight=True)
            if _routing_enabled()
            else concatenator
        )

    def _sk_visual_block_(self) -> Any:
        """Return the picture that scikit-learn shows of this estimator."""
        fitted = hasattr(self, "concatenator_")
        joined = self.concatenator_ if fitted else self._concatenator()
        return joined._picture([self.estimator_ if fitted else self._model()])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        inner = get_tags(self._model())
        joined = get_tags(self._concatenator())
        tags.input_tags.allow_nan = inner.input_tags.allow_nan
        tags.input_tags.sparse = inner.input_tags.sparse and joined.input_tags.sparse
        tags.target_tags.multi_output = inner.target_tags.multi_output
        tags.target_tags.single_output = inner.target_tags.single_output
        return tags

    def get_metadata_routing(self) -> MetadataRouter:
        """Return how metadata reach the transformers and the model.

        Returns
        -------
        routing : MetadataRouter
        """
        fit = MethodMapping().add(caller="fit", callee="fit")
        return (
            MetadataRouter(owner=self)
            .add(concatenator=self._concatenator(), method_mapping=fit)
            .add(estimator=self._model(), method_mapping=fit)
        )

    @property
    def n_features_in_(self) -> int:
        """The number of columns seen at fit."""
        return self.concatenator_.n_features_in_

    @property
    def feature_names_in_(self) -> np.ndarray:
        """The names of the columns seen at fit, where they have names."""
        return self.concatenator_.feature_names_in_

    @property
    def modalities_(self) -> dict[str, Any]:
        """The selectors in use."""
        return self.concatenator_.modalities_

    def fit(self, X: Any, y: Any, sample_weight: Any = None, **fit_params: Any) -> Any:
        """Fit the transformers, then the model.

        Parameters
        ----------
        X : DataFrame, array-like or sparse matrix of shape (n_samples, n_features)
            A modality that is NaN (None for text) in all its columns is missing for the sample,
            and the model must be able to take its NaN.
        y : array-like of shape (n_samples,)
        sample_weight : array-like of shape (n_samples,), default=None
            Handed to the model, to the transformers that take weights, and counted in the scales.
        **fit_params : dict
            Handed on by metadata routing.

        Returns
        -------
        self : object
        """
        _raise_for_params(fit_params, self, "fit")
        table = as_table(X, self)
        target = self._check_target(y)
        check_lengths(X=table, y=target)
        weight = sample_weights(sample_weight, table)
        if isinstance(self.estimator, list | tuple):
            raise TypeError(
                f"estimator must be one model of the joined columns, got a "
                f"{type(self.estimator).__name__}; what each modality goes through first is given "
                "as transformers=[(modality, transformer), ...]"
            )
        concatenator, model = self._concatenator(), clone(self._model())
        joining, modelling = self._route(model, weight, fit_params)
        concatenator._known = self._known
        Z = concatenator.fit_transform(X, target, **joining)
        with _about_missing(Z, concatenator, model), single_blas_thread:
            model.fit(Z, target, **modelling)
        self.concatenator_, self.estimator_ = concatenator, model
        return self

    def _route(
        self, model: Any, weight: np.ndarray | None, fit_params: dict[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the fit parameters of the concatenator and of the model."""
        given = {} if weight is None else {"sample_weight": weight}
        if _routing_enabled():
            routed = process_routing(self, "fit", **given, **fit_params)
            return routed.concatenator.fit, routed.estimator.fit
        if weight is None:
            return {}, {}
        modelling = weight_params(model, weight)
        if modelling is None:
            raise TypeError(f"{type(model).__name__} takes no sample_weight")
        return given, modelling

    def _ask(self, method: str, X: Any) -> Any:
        check_is_fitted(self)
        Z = self.concatenator_.transform(X)
        with _about_missing(Z, self.concatenator_, self.estimator_), single_blas_thread:
            return getattr(self.estimator_, method)(Z)

    def predict(self, X: Any) -> np.ndarray:
        """Predict by the model on the joined features.

        Parameters
        ----------
        X : DataFrame, array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        predictions : ndarray of shape (n_samples,)
        """
        return self._ask("predict", X)


@contextmanager
def _about_missing(Z: Any, concatenator: ModalityConcatenator, model: Any) -> Iterator[None]:
    """Say what to do where a model refuses the NaN of an absent modality."""
    try:
        yield
    except ValueError as error:
        holes = _missing_somewhere(Z, concatenator.output_slices_)
        if not holes or get_tags(model).input_tags.allow_nan:
            raise
        said = str(error).splitlines()[0].rstrip(".")
        raise ValueError(
            f"modalities {listed(holes)} are missing for some samples, and "
            f"{type(model).__name__} did not take their NaN ({said}). Take a "
            "model that does, such as HistGradientBoostingClassifier, put SimpleImputer before "
            "the model (one among the transformers does not see what is absent as a whole), or "
            "use late fusion, which leaves absent modalities out"
        ) from error


def _missing_somewhere(Z: Any, slices: dict[str, slice]) -> list[str]:
    if sparse.issparse(Z):
        return []
    values = np.asarray(Z)
    return [name for name, cut in slices.items() if np.isnan(values[:, cut]).all(axis=1).any()]


class EarlyFusionClassifier(ClassifierMixin, _EarlyFusion):
    r"""Join the features of all modalities and fit one classifier on them.

    .. math:: \hat y = f(z), \quad z = [w_1 s_1(x_1) / c_1; \dots; w_M s_M(x_M) / c_M]

    Where a modality is missing, z is NaN in its columns: the model takes them or refuses.

    Parameters
    ----------
    estimator : estimator, default=None
        The classifier f. None is logistic regression on modalities that are standardised, unless
        ``transformer`` says otherwise.
    modalities : mapping of str to column selector, default=None
        As ``ColumnTransformer`` takes them; None reads the prefixes before ``__`` in the column
        names of a DataFrame.
    transformers : list of (str, transformer), default=None
        Transformers s_m by modality; "passthrough" and "drop" as in ``ColumnTransformer``.
    transformer : transformer, default=None
        The prototype for every modality that has none of its own; None passes it through.
    scaling : {None, "sqrt_dim", "frobenius", "spectral"}, default=None
        c_m, by which a block is divided once it is transformed, see
        :class:`ModalityConcatenator`, also on what is left for the penalty of logistic
        regression. A classifier that standardises its input itself undoes it.
    weights : array-like of shape (n_modalities,) or mapping of str to float, default=None
        w_m, in the order of the modalities; 0 leaves a modality out. None is 1.
    remainder : {"drop", "error"}, default="drop"
        Columns of no modality are left out with a warning, or refused.
    allow_overlap : bool, default=False
        Let two modalities share columns.
    n_jobs : int, default=None
        Transformers that are fitted at a time, through joblib.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    concatenator_ : ModalityConcatenator
        The fitted transformers and scales.
    estimator_ : estimator
        The fitted classifier.
    modalities_ : dict
        The selectors in use.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)

    Raises
    ------
    ValueError
        If a selector selects nothing, the target has several labels per sample, or a modality
        is missing for some samples and the classifier does not take NaN.

    See Also
    --------
    LateFusionClassifier : A model per modality; leaves absent modalities out.

    References
    ----------
    Snoek, Worring, Smeulders (2005), "Early versus late fusion in semantic video analysis",
    ACM Multimedia, 399-402.

    Examples
    --------
    >>> from mkfusion import EarlyFusionClassifier
    >>> from mkfusion.datasets import load_multiple_features
    >>> X, y = load_multiple_features(return_X_y=True)
    >>> fusion = EarlyFusionClassifier().fit(X[::2], y[::2])
    >>> bool(fusion.score(X[1::2], y[1::2]) > 0.95)
    True
    """

    def _model(self) -> Any:
        if self.estimator is not None:
            return self.estimator
        from sklearn.linear_model import LogisticRegression

        return LogisticRegression(max_iter=1000)

    def _check_target(self, y: Any) -> np.ndarray:
        return check_class_target(y)

    @property
    def classes_(self) -> np.ndarray:
        """The class labels, sorted."""
        return self.estimator_.classes_

    @_inner_has("predict_proba")
    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the classifier's posteriors.

        Parameters
        ----------
        X : DataFrame, array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        probabilities : ndarray of shape (n_samples, n_classes)
        """
        return self._ask("predict_proba", X)

    @_inner_has("predict_log_proba")
    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Return the logarithms of the classifier's posteriors.

        Parameters
        ----------
        X : DataFrame, array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        log_probabilities : ndarray of shape (n_samples, n_classes)
        """
        return self._ask("predict_log_proba", X)

    @_inner_has("decision_function")
    def decision_function(self, X: Any) -> np.ndarray:
        """Return the classifier's decision function.

        Parameters
        ----------
        X : DataFrame, array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        scores : ndarray of shape (n_samples,) or (n_samples, n_classes)
        """
        return self._ask("decision_function", X)


class EarlyFusionRegressor(RegressorMixin, _EarlyFusion):
    r"""Join the features of all modalities and fit one regressor on them.

    .. math:: \hat y = f(z), \quad z = [w_1 s_1(x_1) / c_1; \dots; w_M s_M(x_M) / c_M]

    Where a modality is missing, z is NaN in its columns: the model takes them or refuses.

    Parameters
    ----------
    estimator : estimator, default=None
        The regressor f. None is ridge regression on modalities that are standardised, unless
        ``transformer`` says otherwise.
    modalities : mapping of str to column selector, default=None
        As ``ColumnTransformer`` takes them; None reads the prefixes before ``__`` in the column
        names of a DataFrame.
    transformers : list of (str, transformer), default=None
        Transformers s_m by modality; "passthrough" and "drop" as in ``ColumnTransformer``.
    transformer : transformer, default=None
        The prototype for every modality that has none of its own; None passes it through.
    scaling : {None, "sqrt_dim", "frobenius", "spectral"}, default=None
        c_m, by which a block is divided once it is transformed, see
        :class:`ModalityConcatenator`, also on what is left for the penalty of ridge regression.
        A regressor that standardises its input itself undoes it.
    weights : array-like of shape (n_modalities,) or mapping of str to float, default=None
        w_m, in the order of the modalities; 0 leaves a modality out. None is 1.
    remainder : {"drop", "error"}, default="drop"
        Columns of no modality are left out with a warning, or refused.
    allow_overlap : bool, default=False
        Let two modalities share columns.
    n_jobs : int, default=None
        Transformers that are fitted at a time, through joblib.

    Attributes
    ----------
    concatenator_ : ModalityConcatenator
        The fitted transformers and scales.
    estimator_ : estimator
        The fitted regressor.
    modalities_ : dict
        The selectors in use.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)

    Raises
    ------
    ValueError
        If a selector selects nothing, or a modality is missing for some samples and the
        regressor does not take NaN.

    See Also
    --------
    LateFusionRegressor : A model per modality; leaves absent modalities out.

    References
    ----------
    Snoek, Worring, Smeulders (2005), "Early versus late fusion in semantic video analysis",
    ACM Multimedia, 399-402.

    Examples
    --------
    >>> import numpy as np
    >>> from mkfusion import EarlyFusionRegressor
    >>> X = np.random.default_rng(0).normal(size=(50, 4))
    >>> fusion = EarlyFusionRegressor(modalities={"audio": [0, 1], "video": [2, 3]})
    >>> bool(fusion.fit(X, X.sum(axis=1)).score(X, X.sum(axis=1)) > 0.99)
    True
    """

    def _model(self) -> Any:
        if self.estimator is not None:
            return self.estimator
        from sklearn.linear_model import Ridge

        return Ridge()

    def _check_target(self, y: Any) -> np.ndarray:
        return check_numeric_target(y)
