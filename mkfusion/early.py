"""Early fusion: the modalities' features side by side, and one model on them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.base import ClassifierMixin, RegressorMixin, TransformerMixin, clone
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
    _check_feature_names_in,
    _check_method_params,
    check_is_fitted,
)

from ._columns import SCALINGS, as_numbers, block_scale, spread
from ._experts import concerning, named_by_modality, weight_params
from ._parallel import delayed, run, single_blas_thread
from ._picture import columns_text, picture
from ._validation import (
    as_table,
    check_class_target,
    check_lengths,
    check_numeric_target,
    check_option,
    check_weight_vector,
    listed,
    sample_weights,
    warn,
)
from .modality import MultimodalMixin, as_list, presence, take_block

__all__ = ["EarlyFusionClassifier", "EarlyFusionRegressor", "ModalityConcatenator"]


# Joining ------------------------------------------------------------------------------------


class ModalityConcatenator(MultimodalMixin, TransformerMixin, _BaseComposition):
    r"""Transform each modality by itself and put the results side by side.

    .. math:: z = [w_1 s_1(x_1) / c_1; \dots; w_M s_M(x_M) / c_M]

    with the transformer :math:`s_m`, the scale :math:`c_m` and the weight :math:`w_m` of modality
    m. Transformers are fitted on the samples that have the modality; where it is missing, z is
    NaN in its columns.

    Parameters
    ----------
    transformers : list of (str, transformer), default=None
        Transformers by modality; "passthrough" and "drop" as in ``ColumnTransformer``.
    modalities : mapping of str to column selector, default=None
        As ``ColumnTransformer`` takes them; None reads the prefixes before ``__`` in the column
        names of a DataFrame.
    transformer : transformer, default=None
        The prototype for every modality that has none of its own; None passes it through.
    scaling : {None, "sqrt_dim", "frobenius", "spectral"}, default=None
        What a transformed block is divided by: 1, the square root of its number of columns, its
        Frobenius norm, or its first singular value (as in multiple factor analysis), over the
        training samples.
    weights : array-like of shape (n_modalities,) or mapping of str to float, default=None
        Factors, in the order of the modalities; 0 leaves a modality out. None is 1.
    remainder : {"drop", "error"}, default="drop"
        Columns of no modality are left out with a warning, or refused.
    allow_overlap : bool, default=False
        Let two modalities share columns.
    n_jobs : int, default=None
        Transformers that are fitted at a time, through joblib.

    Attributes
    ----------
    named_transformers_ : dict of str to transformer
        The fitted transformers, or "passthrough", of the modalities in use.
    scales_ : dict of str to float
        c_m by modality.
    output_slices_ : dict of str to slice
        Where each modality's columns stand in the output.
    modalities_ : dict
        The selectors in use.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)

    Raises
    ------
    ValueError
        If a selector selects nothing, a name of ``transformers`` is no modality, or a block that
        is passed through holds something else than numbers.

    References
    ----------
    Escofier, Pages (1994), "Multiple factor analysis", Computational Statistics & Data
    Analysis 18(1), 121-140, for ``scaling="spectral"``.

    Examples
    --------
    >>> import numpy as np
    >>> from mkfusion import ModalityConcatenator
    >>> X = np.arange(12.0).reshape(3, 4)
    >>> joined = ModalityConcatenator(modalities={"a": [0], "b": [1, 2, 3]}, scaling="sqrt_dim")
    >>> joined.fit_transform(X).shape
    (3, 4)
    >>> joined.get_feature_names_out()
    array(['a__x0', 'b__x1', 'b__x2', 'b__x3'], dtype=object)
    """

    def __init__(
        self,
        transformers: list[tuple[str, Any]] | None = None,
        modalities: Mapping[str, Any] | None = None,
        *,
        transformer: Any = None,
        scaling: str | None = None,
        weights: Any = None,
        remainder: str = "drop",
        allow_overlap: bool = False,
        n_jobs: int | None = None,
    ) -> None:
        self.transformers = transformers
        self.modalities = modalities
        self.transformer = transformer
        self.scaling = scaling
        self.weights = weights
        self.remainder = remainder
        self.allow_overlap = allow_overlap
        self.n_jobs = n_jobs

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters, those of the transformers as ``modality__parameter``.

        Parameters
        ----------
        deep : bool, default=True
            Include the parameters of the transformers.

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
            Parameters of the concatenator, and of the transformers as ``modality__parameter``.

        Returns
        -------
        self : object
        """
        self._set_params("transformers", **params)
        return self

    def _sk_visual_block_(self) -> Any:
        """Return the picture that scikit-learn shows of this estimator."""
        return self._picture([])

    def _picture(self, then: list[Any]) -> Any:
        if not hasattr(self, "named_transformers_"):
            models = self._models()
            return picture(models, dict.fromkeys(models, ""), then)
        chosen = {name: self.modalities_[name] for name in self.named_transformers_}
        texts = {n: columns_text(c if isinstance(c, list) else [c]) for n, c in chosen.items()}
        return picture(self.named_transformers_, texts, then)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        models = [get_tags(model).input_tags for model in self._models().values()]
        tags.input_tags.allow_nan = all(model.allow_nan for model in models)
        tags.input_tags.sparse = all(model.sparse for model in models)
        return tags

    def _models(self) -> dict[str, Any]:
        """Return the unfitted transformers that are named before X is seen."""
        try:
            models = dict(self.transformers or [])
        except (TypeError, ValueError):
            models = {}
        models["transformer"] = self.transformer
        return {name: model for name, model in models.items() if hasattr(model, "fit")}

    def get_metadata_routing(self) -> MetadataRouter:
        """Return how metadata reach the transformers.

        Returns
        -------
        routing : MetadataRouter
        """
        router = MetadataRouter(owner=self).add_self_request(self)
        mapping = MethodMapping()
        for caller in ("fit", "fit_transform"):
            for callee in ("fit", "fit_transform"):
                mapping.add(caller=caller, callee=callee)
        mapping.add(caller="transform", callee="transform")
        for name, model in self._models().items():
            router.add(**{name: model}, method_mapping=mapping)
        return router

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None, **fit_params: Any) -> Any:
        """Fit the transformers and the scales.

        Parameters
        ----------
        X : DataFrame, array-like or sparse matrix of shape (n_samples, n_features)
            A modality that is NaN (None for text) in all its columns is missing for the sample.
        y : array-like of shape (n_samples,), default=None
            Handed to the transformers.
        sample_weight : array-like of shape (n_samples,), default=None
            Handed to the transformers that take weights, and counted in the scales.
        **fit_params : dict
            Handed to the transformers by metadata routing.

        Returns
        -------
        self : object
        """
        self.fit_transform(X, y, sample_weight=sample_weight, **fit_params)
        return self

    def fit_transform(
        self, X: Any, y: Any = None, sample_weight: Any = None, **fit_params: Any
    ) -> Any:
        """Fit, and return the training samples as the transformers' own fit_transform has them.

        Parameters
        ----------
        X : DataFrame, array-like or sparse matrix of shape (n_samples, n_features)
        y : array-like of shape (n_samples,), default=None
        sample_weight : array-like of shape (n_samples,), default=None
        **fit_params : dict

        Returns
        -------
        Z : ndarray or sparse matrix of shape (n_samples, n_features_out)
        """
        check_option("scaling", self.scaling, [None, *SCALINGS])
        _raise_for_params(fit_params, self, "fit")
        table = self._read_fit(X)
        check_lengths(X=table, y=y)
        weight = sample_weights(sample_weight, table)
        routed = self._route(sample_weight, fit_params)
        chosen = named_by_modality(
            "transformers", self.transformers, self.transformer, list(self._columns)
        )
        factors = self._factors()
        masks = dict(zip(self._columns, presence(table, self._columns), strict=True))
        kept = [name for name in chosen if not _is("drop", chosen[name]) and factors[name] != 0]
        for name in [name for name in kept if not masks[name].any()]:
            warn(f"modality {name!r} is missing for every sample and is left out")
            kept.remove(name)
        if not kept:
            raise ValueError("no modality is left to join: each is dropped, missing or weighs 0")
        own = dict(self.transformers or [])
        answers = run(
            (
                delayed(_fit_transform)(
                    name,
                    _fresh(chosen[name]),
                    table,
                    self._columns[name],
                    masks[name],
                    y,
                    weight,
                    routed.get(name if name in own else "transformer"),
                )
                for name in kept
            ),
            n_jobs=self.n_jobs,
        )
        self.named_transformers_ = {
            name: model for name, (model, _) in zip(kept, answers, strict=True)
        }
        blocks = {name: block for name, (_, block) in zip(kept, answers, strict=True)}
        divisors = {}
        for name, block in blocks.items():
            rows_weight = None if weight is None else weight[masks[name]]
            with concerning(name), single_blas_thread:
                divisors[name] = block_scale(block, self.scaling, rows_weight)
        self._divisors = divisors
        self.scales_ = {name: largest * rest for name, (largest, rest) in divisors.items()}
        self.output_slices_ = _slices(blocks)
        return self._join(blocks, masks, factors)

    def _route(self, sample_weight: Any, fit_params: dict[str, Any]) -> dict[str, Any]:
        if not _routing_enabled():
            return {}
        if sample_weight is not None:
            fit_params = {**fit_params, "sample_weight": sample_weight}
        routed = process_routing(self, "fit", **fit_params)
        return {name: routed[name]["fit"] for name in self._models()}

    def _factors(self) -> dict[str, float]:
        if self.weights is None:
            return dict.fromkeys(self._columns, 1.0)
        weights = check_weight_vector("weights", self.weights, list(self._columns))
        return dict(zip(self._columns, weights.tolist(), strict=True))

    def transform(self, X: Any) -> Any:
        """Transform each modality and put the results side by side.

        Parameters
        ----------
        X : DataFrame, array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        Z : ndarray or sparse matrix of shape (n_samples, n_features_out)
            NaN in the columns of a modality that the sample lacks.
        """
        table = self._read(X)
        used = {name: self._columns[name] for name in self.named_transformers_}
        masks = dict(zip(used, presence(table, used), strict=True))
        answers = run(
            (
                delayed(_transform)(name, model, table, used[name], masks[name])
                for name, model in self.named_transformers_.items()
            ),
            n_jobs=self.n_jobs,
            threads=True,
        )
        return self._join(dict(zip(used, answers, strict=True)), masks, self._factors())

    def _join(
        self, blocks: dict[str, Any], masks: dict[str, np.ndarray], factors: dict[str, float]
    ) -> Any:
        parts = []
        for name, block in blocks.items():
            width = self.output_slices_[name].stop - self.output_slices_[name].start
            block = np.empty((0, width)) if block is None else block
            if block.shape[1] != width:
                raise ValueError(
                    f"modality {name!r} gave {block.shape[1]} columns, but {width} at fit"
                )
            largest, rest = self._divisors[name]
            if (factors[name], largest, rest) != (1, 1, 1):
                block = block / largest * factors[name] / rest
            parts.append(spread(name, block, masks[name]))
        if any(sparse.issparse(part) for part in parts):
            return sparse.hstack(parts, format="csr")
        return parts[0] if len(parts) == 1 else np.hstack(parts)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the output columns, each with its modality as prefix.

        Parameters
        ----------
        input_features : array-like of str, default=None
            The names of the input columns; None takes those seen at fit.

        Returns
        -------
        names : ndarray of str
        """
        check_is_fitted(self)
        given = _check_feature_names_in(self, input_features)
        names = []
        for modality, model in self.named_transformers_.items():
            inputs = given[as_list(self._columns[modality])]
            out = inputs if _is("passthrough", model) else _names_out(modality, model, inputs)
            prefix = f"{modality}__"
            names += [name if str(name).startswith(prefix) else f"{prefix}{name}" for name in out]
        return np.array(names, dtype=object)


def _is(word: str, model: Any) -> bool:
    return isinstance(model, str) and model == word


def _fresh(model: Any) -> Any:
    return "passthrough" if model is None or _is("passthrough", model) else clone(model)


def _names_out(modality: str, model: Any, inputs: np.ndarray) -> Any:
    if not hasattr(model, "get_feature_names_out"):
        raise AttributeError(
            f"the transformer of modality {modality!r} ({type(model).__name__}) has no "
            "get_feature_names_out"
        )
    # A text vectoriser takes one document column and no names.
    vectoriser = not hasattr(model, "n_features_in_") and not hasattr(model, "steps")
    return model.get_feature_names_out() if vectoriser else model.get_feature_names_out(inputs)


def _fit_transform(
    name: str,
    model: Any,
    X: Any,
    columns: Any,
    rows: np.ndarray,
    y: Any,
    weight: np.ndarray | None,
    routed: Any,
) -> tuple[Any, Any]:
    block = take_block(X, columns, rows)
    if _is("passthrough", model):
        return model, as_numbers(name, block)
    if routed is None:
        params = {} if weight is None else weight_params(model, weight) or {}
    else:
        params = dict(routed)
    places = np.flatnonzero(rows)
    params = _check_method_params(X, params, indices=places)
    target = None if y is None else np.asarray(y)[places]
    with concerning(name), single_blas_thread:
        if hasattr(model, "fit_transform"):
            return model, as_numbers(name, model.fit_transform(block, target, **params))
        model.fit(block, target, **params)
        return model, as_numbers(name, model.transform(block))


def _transform(name: str, model: Any, X: Any, columns: Any, rows: np.ndarray) -> Any:
    if not rows.any():
        return None
    block = take_block(X, columns, rows)
    if _is("passthrough", model):
        return as_numbers(name, block)
    with concerning(name), single_blas_thread:
        return as_numbers(name, model.transform(block))


def _slices(blocks: dict[str, Any]) -> dict[str, slice]:
    ends = np.cumsum([0, *(block.shape[1] for block in blocks.values())]).tolist()
    return {name: slice(*pair) for name, pair in zip(blocks, pairwise(ends), strict=True)}


def _inner_has(method: str) -> Any:
    def check(self: Any) -> bool:
        getattr(getattr(self, "estimator_", None) or self._model(), method)
        return True

    return available_if(check)


class _EarlyFusion(_BaseComposition):
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
        concatenator, model = self._concatenator(), clone(self._model())
        joining, modelling = self._route(model, weight, fit_params)
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
        raise ValueError(
            f"modalities {listed(holes)} are missing for some samples, and "
            f"{type(model).__name__} did not take their NaN ({error}). Take a model that does, "
            "such as HistGradientBoostingClassifier, put SimpleImputer before it, or use late "
            "fusion, which leaves absent modalities out"
        ) from error


def _missing_somewhere(Z: Any, slices: dict[str, slice]) -> list[str]:
    if sparse.issparse(Z):
        return []
    values = np.asarray(Z)
    return [name for name, cut in slices.items() if np.isnan(values[:, cut]).all(axis=1).any()]


class EarlyFusionClassifier(ClassifierMixin, _EarlyFusion):
    r"""Join the features of all modalities and fit one classifier on them.

    .. math:: \hat y = f(z), \quad z = [w_1 s_1(x_1) / c_1; \dots; w_M s_M(x_M) / c_M]

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
        c_m, see :class:`ModalityConcatenator`. A classifier that standardises its input undoes
        it.
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
        c_m, see :class:`ModalityConcatenator`. A regressor that standardises its input undoes it.
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
