"""Modalities transformed by themselves and put side by side."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.base import TransformerMixin, clone
from sklearn.utils import get_tags
from sklearn.utils.metadata_routing import (
    MetadataRouter,
    MethodMapping,
    _raise_for_params,
    _routing_enabled,
    process_routing,
)
from sklearn.utils.metaestimators import _BaseComposition
from sklearn.utils.validation import (
    _check_feature_names_in,
    _check_method_params,
    check_is_fitted,
)

from .._columns import SCALINGS, as_numbers, block_scale, spread
from .._diagram import columns_text, picture
from .._models import concerning, named_by_modality, weight_params
from .._parallel import delayed, single_blas_thread
from .._sharing import Sharing
from .._validation import (
    check_lengths,
    check_option,
    check_weight_vector,
    sample_weights,
    warn,
)
from ..modality import MultimodalMixin, as_list, presence, take_block


class ModalityConcatenator(Sharing, MultimodalMixin, TransformerMixin, _BaseComposition):
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
        What a block is divided by after its transformer: 1, the square root of its number of
        columns, its Frobenius norm, or its first singular value (as in multiple factor analysis),
        over the training samples. One number for the block: its columns keep their proportions.
        The norm and the singular value are of sums over the samples, and grow with the square
        root of their number; see the notes.
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

    Notes
    -----
    Standardised columns have lost their units already. What a scale takes away then is that a
    block is wide, and that its columns say the same. Each column is left with deviation 1 / c_m,
    which under "frobenius" and "spectral" falls with the number of samples, so that a penalised
    model holds it down: lower the penalty (raise ``C``, lower ``alpha``), or take "sqrt_dim".

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

    missing_modality = "passes"

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

        def fit(name: str) -> Any:
            return delayed(_fit_transform)(
                name,
                _fresh(chosen[name]),
                table,
                self._columns[name],
                masks[name],
                y,
                weight,
                routed.get(name if name in own else "transformer"),
            )

        answers = self._recall(
            [(("fit", name), partial(fit, name)) for name in kept], n_jobs=self.n_jobs
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
        asked = self._asked(table)
        jobs = [
            (
                ("transform", asked, name),
                partial(delayed(_transform), name, model, table, used[name], masks[name]),
            )
            for name, model in self.named_transformers_.items()
        ]
        answers = self._recall(jobs, n_jobs=self.n_jobs, threads=True)
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
            names += _prefixed(f"{modality}__", out)
        return np.array(names, dtype=object)


def _is(word: str, model: Any) -> bool:
    return isinstance(model, str) and model == word


def _fresh(model: Any) -> Any:
    return "passthrough" if model is None or _is("passthrough", model) else clone(model)


def _prefixed(prefix: str, names: Any) -> list[str]:
    """Put the prefix before the names that have it not; before all, were two the same after."""
    found = [name if str(name).startswith(prefix) else f"{prefix}{name}" for name in names]
    return found if len(set(found)) == len(found) else [f"{prefix}{name}" for name in names]


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
